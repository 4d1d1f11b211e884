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
        BitmapN1Sm90 => Law::Units(Units { launch: 6.978, unit: 0.3603, tile: 0.3124, fill: 0.0001265, overflow: 9.446e-7, fix_up: 0.3781, latency: 0.1712, bytes: 41220.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 7.111, unit: 0.3351, tile: 0.343, fill: 3.141e-5, overflow: 5.292e-8, fix_up: 0.2901, latency: 0.1371, bytes: 38720.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.213, unit: 0.3666, tile: 0.3856, fill: 3.139e-5, overflow: 5.18e-8, fix_up: 0.3767, latency: 0.1047, bytes: 38230.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 6.838, unit: 0.3216, tile: 0.4316, fill: 2.898e-5, overflow: 5.124e-8, fix_up: 0.6031, latency: 0.1256, bytes: 37930.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.673, unit: 0.195, tile: 0.5271, fill: 3.158e-5, overflow: 5.144e-8, fix_up: 0.5377, latency: 0.00363, bytes: 34780.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 8.151, unit: 0.2249, tile: 0.5671, fill: 0.0006687, overflow: 3.011e-6, fix_up: 0.9769, latency: 0.1852, bytes: 429300.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.259, unit: 0.3737, tile: 0.635, fill: 0.0006823, overflow: 1.534e-6, fix_up: 1.468, latency: 0.05145, bytes: 86420.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3604, tile: 0.7851, fill: 0.0007521, overflow: 1.739e-6, fix_up: 1.457, latency: 0.161, bytes: 130000.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.123, unit: 0.5013, tile: 0.8008, fill: 0.001528, overflow: 2.796e-6, fix_up: 2.037, latency: 0.3855, bytes: 705700.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.331, unit: 0.4955, tile: 1.039, fill: 0.001628, overflow: 3.705e-6, fix_up: 2.275, latency: 0.3508, bytes: 2804000.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 7.713, unit: 0.02268, tile: 0.3664, fill: 0.0001475, overflow: 1.119e-6, fix_up: 0.445, latency: 0.1323, bytes: 39910.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 7.639, unit: 0.02332, tile: 0.3913, fill: 0.0001475, overflow: 1.216e-6, fix_up: 0.3842, latency: 0.1303, bytes: 38360.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 7.731, unit: 0.1288, tile: 0.3706, fill: 0.0002316, overflow: 1.513e-6, fix_up: 0.422, latency: 0.05656, bytes: 33810.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 8.006, unit: 0.08377, tile: 0.4396, fill: 0.0002824, overflow: 1.781e-6, fix_up: 0.627, latency: 0.06248, bytes: 30860.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 8.357, unit: 0.05705, tile: 0.494, fill: 0.000249, overflow: 2.122e-6, fix_up: 0.6283, latency: 0.0444, bytes: 30210.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.112, unit: 0.427, tile: 1.237e-7, fill: 0.002094, overflow: 2.651e-5, fix_up: 0.3795, latency: 0.3777, bytes: 47130.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.939, unit: 0.5172, tile: 3.513e-11, fill: 0.002465, overflow: 2.395e-5, fix_up: 0.4693, latency: 0.3545, bytes: 49270.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.59, unit: 0.4824, tile: 0.03974, fill: 0.002205, overflow: 5.035e-5, fix_up: 0.4292, latency: 0.3525, bytes: 40680.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.609, unit: 0.3908, tile: 0.1497, fill: 1.067e-5, overflow: 3.227e-8, fix_up: 0.3457, latency: 0.08703, bytes: 35750.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 6.828, unit: 0.3927, tile: 0.172, fill: 2.139e-5, overflow: 4.609e-8, fix_up: 0.3325, latency: 0.07035, bytes: 35350.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.104, unit: 0.2054, tile: 0.35, fill: 2.35e-5, overflow: 4.94e-8, fix_up: 0.6871, latency: 0.003856, bytes: 35340.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.029, unit: 0.2284, tile: 0.445, fill: 1.101e-5, overflow: 3.939e-8, fix_up: 0.9682, latency: 0.001064, bytes: 32610.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.622, unit: 0.4084, tile: 0.4722, fill: 0.0004863, overflow: 2.978e-6, fix_up: 1.607, latency: 0.06568, bytes: 94180.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.268, unit: 0.3913, tile: 0.599, fill: 0.0006494, overflow: 3.411e-6, fix_up: 1.668, latency: 0.1725, bytes: 198200.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 4.737, unit: 0.6261, tile: 0.6187, fill: 0.001343, overflow: 4.531e-6, fix_up: 2.401, latency: 0.2619, bytes: 271700.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.577, unit: 0.5892, tile: 0.8872, fill: 0.001182, overflow: 6.909e-6, fix_up: 2.332, latency: 0.2747, bytes: 4532000.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 7.284, unit: 0.05865, tile: 0.2045, fill: 7.108e-5, overflow: 5.406e-7, fix_up: 0.5442, latency: 0.1524, bytes: 37780.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 7.376, unit: 0.04721, tile: 0.2324, fill: 6.338e-5, overflow: 4.891e-7, fix_up: 0.4583, latency: 0.1463, bytes: 37520.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 7.42, unit: 0.3424, tile: 0.1127, fill: 7.987e-5, overflow: 5.699e-7, fix_up: 0.5592, latency: 0.1286, bytes: 35990.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.949, unit: 0.2399, tile: 0.222, fill: 0.0004062, overflow: 1.413e-6, fix_up: 0.7826, latency: 0.09104, bytes: 26860.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 7.759, unit: 0.2163, tile: 0.2695, fill: 0.0003397, overflow: 1.483e-6, fix_up: 0.7806, latency: 0.08467, bytes: 28560.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
