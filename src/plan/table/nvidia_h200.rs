//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units, Wide};

#[rustfmt::skip]
pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-30",
    commit: "592d50d",
    source: "fitted to 60571 measurements; its choices take 1.4 % longer than the best on average",
    dense: Some(Dense { launch: 7.197, bytes: 4298000.0, least: 16777216, wide: Some(Wide { columns: 512, flops: 828000000.0 }) }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.991, unit: 0.3619, tile: 0.3143, fill: 9.461e-5, overflow: 6.78e-7, fix_up: 0.3748, latency: 0.1688, bytes: 40650.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 7.114, unit: 0.3349, tile: 0.3432, fill: 2.866e-5, overflow: 5.197e-8, fix_up: 0.2894, latency: 0.1371, bytes: 38700.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.215, unit: 0.3665, tile: 0.3857, fill: 2.983e-5, overflow: 5.076e-8, fix_up: 0.3762, latency: 0.1032, bytes: 38190.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 6.838, unit: 0.3216, tile: 0.4316, fill: 2.898e-5, overflow: 5.124e-8, fix_up: 0.6031, latency: 0.1256, bytes: 37930.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.81, unit: 0.1901, tile: 0.5278, fill: 3.592e-5, overflow: 5.202e-8, fix_up: 0.5088, latency: 0.003517, bytes: 33710.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 8.15, unit: 0.2248, tile: 0.5644, fill: 0.0007079, overflow: 2.759e-6, fix_up: 0.9769, latency: 0.1969, bytes: 697800.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3733, tile: 0.6336, fill: 0.0007084, overflow: 1.347e-6, fix_up: 1.468, latency: 0.04811, bytes: 86840.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3604, tile: 0.7832, fill: 0.0007815, overflow: 1.52e-6, fix_up: 1.457, latency: 0.1627, bytes: 132200.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.123, unit: 0.5013, tile: 0.7991, fill: 0.001556, overflow: 2.576e-6, fix_up: 2.037, latency: 0.3857, bytes: 709300.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.327, unit: 0.4963, tile: 1.04, fill: 0.001606, overflow: 3.933e-6, fix_up: 2.276, latency: 0.3525, bytes: 4501000.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 7.823, unit: 0.01046, tile: 0.3776, fill: 9.011e-5, overflow: 5.491e-7, fix_up: 0.3924, latency: 0.1161, bytes: 38960.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 7.639, unit: 0.02332, tile: 0.3913, fill: 0.0001475, overflow: 1.216e-6, fix_up: 0.3842, latency: 0.1303, bytes: 38360.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 7.828, unit: 0.1225, tile: 0.3788, fill: 0.0001329, overflow: 7.045e-7, fix_up: 0.3763, latency: 0.02492, bytes: 31610.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 8.097, unit: 0.07518, tile: 0.4494, fill: 0.000206, overflow: 9.42e-7, fix_up: 0.584, latency: 0.02971, bytes: 29600.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 8.502, unit: 0.04442, tile: 0.5059, fill: 0.0001289, overflow: 1.022e-6, fix_up: 0.5642, latency: 0.01646, bytes: 27940.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.112, unit: 0.427, tile: 3.711e-8, fill: 0.002094, overflow: 2.651e-5, fix_up: 0.3795, latency: 0.3777, bytes: 47130.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.939, unit: 0.5172, tile: 1.054e-11, fill: 0.002465, overflow: 2.395e-5, fix_up: 0.4693, latency: 0.3545, bytes: 49270.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.59, unit: 0.4824, tile: 0.03974, fill: 0.002205, overflow: 5.035e-5, fix_up: 0.4292, latency: 0.3525, bytes: 40680.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.609, unit: 0.391, tile: 0.1498, fill: 9.117e-6, overflow: 2.948e-8, fix_up: 0.3457, latency: 0.08637, bytes: 35740.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 6.842, unit: 0.3939, tile: 0.172, fill: 1.642e-5, overflow: 4.105e-8, fix_up: 0.3293, latency: 0.06563, bytes: 35280.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.729, unit: 0.1793, tile: 0.3564, fill: 2.173e-5, overflow: 4.78e-8, fix_up: 0.5459, latency: 0.003282, bytes: 33090.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.029, unit: 0.2284, tile: 0.445, fill: 1.101e-5, overflow: 3.939e-8, fix_up: 0.9682, latency: 0.001064, bytes: 32610.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.622, unit: 0.4084, tile: 0.4722, fill: 0.0004863, overflow: 2.978e-6, fix_up: 1.607, latency: 0.06568, bytes: 94180.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.268, unit: 0.3913, tile: 0.5992, fill: 0.000647, overflow: 3.424e-6, fix_up: 1.668, latency: 0.1725, bytes: 198000.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 5.116, unit: 0.5728, tile: 0.6302, fill: 0.001361, overflow: 4.745e-6, fix_up: 2.295, latency: 0.2911, bytes: 549500.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.573, unit: 0.5902, tile: 0.8875, fill: 0.001167, overflow: 7.028e-6, fix_up: 2.334, latency: 0.2761, bytes: 7642000.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 7.284, unit: 0.05865, tile: 0.2045, fill: 7.108e-5, overflow: 5.406e-7, fix_up: 0.5442, latency: 0.1524, bytes: 37780.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 7.431, unit: 0.03747, tile: 0.2412, fill: 2.78e-5, overflow: 1.915e-7, fix_up: 0.4258, latency: 0.1436, bytes: 37300.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 7.42, unit: 0.3424, tile: 0.1127, fill: 7.987e-5, overflow: 5.699e-7, fix_up: 0.5592, latency: 0.1286, bytes: 35990.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.967, unit: 0.2419, tile: 0.2192, fill: 0.0004449, overflow: 6.842e-7, fix_up: 0.7688, latency: 0.05512, bytes: 26430.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 7.796, unit: 0.2208, tile: 0.2674, fill: 0.0003421, overflow: 7.559e-7, fix_up: 0.7619, latency: 0.04941, bytes: 27930.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
