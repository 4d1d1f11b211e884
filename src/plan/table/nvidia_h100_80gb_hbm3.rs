//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

#[rustfmt::skip]
pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "2eb976b",
    source: "fitted to 8308 measurements; its choices take 1.3 % longer than the best on average. Banked, Bitmap: the H200's, of 0.76 times the bandwidth",
    dense: Some(Dense { launch: 5.799, bytes: 2836000.0, least: 16777216, wide: None }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.991, unit: 0.3619, tile: 0.3143, fill: 9.461e-5, overflow: 6.78e-7, fix_up: 0.3748, latency: 0.1688, bytes: 30890.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 7.114, unit: 0.3349, tile: 0.3432, fill: 2.866e-5, overflow: 5.197e-8, fix_up: 0.2894, latency: 0.1371, bytes: 29410.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.215, unit: 0.3665, tile: 0.3857, fill: 2.983e-5, overflow: 5.076e-8, fix_up: 0.3762, latency: 0.1032, bytes: 29020.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 6.838, unit: 0.3216, tile: 0.4316, fill: 2.898e-5, overflow: 5.124e-8, fix_up: 0.6031, latency: 0.1256, bytes: 28830.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.81, unit: 0.1901, tile: 0.5278, fill: 3.592e-5, overflow: 5.202e-8, fix_up: 0.5088, latency: 0.003517, bytes: 25620.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 8.15, unit: 0.2248, tile: 0.5644, fill: 0.0007079, overflow: 2.759e-6, fix_up: 0.9769, latency: 0.1969, bytes: 530300.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3733, tile: 0.6336, fill: 0.0007084, overflow: 1.347e-6, fix_up: 1.468, latency: 0.04811, bytes: 66000.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3604, tile: 0.7832, fill: 0.0007815, overflow: 1.52e-6, fix_up: 1.457, latency: 0.1627, bytes: 100500.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.123, unit: 0.5013, tile: 0.7991, fill: 0.001556, overflow: 2.576e-6, fix_up: 2.037, latency: 0.3857, bytes: 539100.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.327, unit: 0.4963, tile: 1.04, fill: 0.001606, overflow: 3.933e-6, fix_up: 2.276, latency: 0.3525, bytes: 3421000.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 7.823, unit: 0.01046, tile: 0.3776, fill: 9.011e-5, overflow: 5.491e-7, fix_up: 0.3924, latency: 0.1161, bytes: 29610.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 7.639, unit: 0.02332, tile: 0.3913, fill: 0.0001475, overflow: 1.216e-6, fix_up: 0.3842, latency: 0.1303, bytes: 29150.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 7.828, unit: 0.1225, tile: 0.3788, fill: 0.0001329, overflow: 7.045e-7, fix_up: 0.3763, latency: 0.02492, bytes: 24020.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 8.097, unit: 0.07518, tile: 0.4494, fill: 0.000206, overflow: 9.42e-7, fix_up: 0.584, latency: 0.02971, bytes: 22500.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 8.502, unit: 0.04442, tile: 0.5059, fill: 0.0001289, overflow: 1.022e-6, fix_up: 0.5642, latency: 0.01646, bytes: 21230.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.546, unit: 0.4463, tile: 0.0006207, fill: 0.002045, overflow: 2.953e-5, fix_up: 0.5782, latency: 0.3609, bytes: 33174.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.714, unit: 0.823, tile: 1.606e-10, fill: 0.003266, overflow: 9.915e-6, fix_up: 0.4397, latency: 0.2539, bytes: 33810.0 }),
        SlotsN3Sm90 | SlotsN4Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.003935, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        SlotsN6Sm90 | SlotsN8Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.0054, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.609, unit: 0.391, tile: 0.1498, fill: 9.117e-6, overflow: 2.948e-8, fix_up: 0.3457, latency: 0.08637, bytes: 27160.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 6.842, unit: 0.3939, tile: 0.172, fill: 1.642e-5, overflow: 4.105e-8, fix_up: 0.3293, latency: 0.06563, bytes: 26810.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 26360.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 25660.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.729, unit: 0.1793, tile: 0.3564, fill: 2.173e-5, overflow: 4.78e-8, fix_up: 0.5459, latency: 0.003282, bytes: 25150.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.029, unit: 0.2284, tile: 0.445, fill: 1.101e-5, overflow: 3.939e-8, fix_up: 0.9682, latency: 0.001064, bytes: 24780.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.622, unit: 0.4084, tile: 0.4722, fill: 0.0004863, overflow: 2.978e-6, fix_up: 1.607, latency: 0.06568, bytes: 71580.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.268, unit: 0.3913, tile: 0.5992, fill: 0.000647, overflow: 3.424e-6, fix_up: 1.668, latency: 0.1725, bytes: 150500.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 5.116, unit: 0.5728, tile: 0.6302, fill: 0.001361, overflow: 4.745e-6, fix_up: 2.295, latency: 0.2911, bytes: 417600.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.573, unit: 0.5902, tile: 0.8875, fill: 0.001167, overflow: 7.028e-6, fix_up: 2.334, latency: 0.2761, bytes: 5808000.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 7.284, unit: 0.05865, tile: 0.2045, fill: 7.108e-5, overflow: 5.406e-7, fix_up: 0.5442, latency: 0.1524, bytes: 28710.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 7.431, unit: 0.03747, tile: 0.2412, fill: 2.78e-5, overflow: 1.915e-7, fix_up: 0.4258, latency: 0.1436, bytes: 28350.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 7.42, unit: 0.3424, tile: 0.1127, fill: 7.987e-5, overflow: 5.699e-7, fix_up: 0.5592, latency: 0.1286, bytes: 27350.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.967, unit: 0.2419, tile: 0.2192, fill: 0.0004449, overflow: 6.842e-7, fix_up: 0.7688, latency: 0.05512, bytes: 20090.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 7.796, unit: 0.2208, tile: 0.2674, fill: 0.0003421, overflow: 7.559e-7, fix_up: 0.7619, latency: 0.04941, bytes: 21230.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, latency: 0.5, bytes: 18468.0 }),
        _ => Law::Unknown,
    }
}
