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
        BitmapN1Sm90 => Law::Units(Units { launch: 6.978, unit: 0.3603, tile: 0.3124, fill: 0.0001265, overflow: 9.446e-7, fix_up: 0.3781, latency: 0.1712, bytes: 31330.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 7.111, unit: 0.3351, tile: 0.343, fill: 3.141e-5, overflow: 5.292e-8, fix_up: 0.2901, latency: 0.1371, bytes: 29430.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.213, unit: 0.3666, tile: 0.3856, fill: 3.139e-5, overflow: 5.18e-8, fix_up: 0.3767, latency: 0.1047, bytes: 29050.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 6.838, unit: 0.3216, tile: 0.4316, fill: 2.898e-5, overflow: 5.124e-8, fix_up: 0.6031, latency: 0.1256, bytes: 28830.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.673, unit: 0.195, tile: 0.5271, fill: 3.158e-5, overflow: 5.144e-8, fix_up: 0.5377, latency: 0.00363, bytes: 26430.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 8.151, unit: 0.2249, tile: 0.5671, fill: 0.0006687, overflow: 3.011e-6, fix_up: 0.9769, latency: 0.1852, bytes: 326300.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.259, unit: 0.3737, tile: 0.635, fill: 0.0006823, overflow: 1.534e-6, fix_up: 1.468, latency: 0.05145, bytes: 65680.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3604, tile: 0.7851, fill: 0.0007521, overflow: 1.739e-6, fix_up: 1.457, latency: 0.161, bytes: 98800.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.123, unit: 0.5013, tile: 0.8008, fill: 0.001528, overflow: 2.796e-6, fix_up: 2.037, latency: 0.3855, bytes: 536300.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.331, unit: 0.4955, tile: 1.039, fill: 0.001628, overflow: 3.705e-6, fix_up: 2.275, latency: 0.3508, bytes: 2131000.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 7.713, unit: 0.02268, tile: 0.3664, fill: 0.0001475, overflow: 1.119e-6, fix_up: 0.445, latency: 0.1323, bytes: 30330.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 7.639, unit: 0.02332, tile: 0.3913, fill: 0.0001475, overflow: 1.216e-6, fix_up: 0.3842, latency: 0.1303, bytes: 29150.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 7.731, unit: 0.1288, tile: 0.3706, fill: 0.0002316, overflow: 1.513e-6, fix_up: 0.422, latency: 0.05656, bytes: 25700.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 8.006, unit: 0.08377, tile: 0.4396, fill: 0.0002824, overflow: 1.781e-6, fix_up: 0.627, latency: 0.06248, bytes: 23450.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 8.357, unit: 0.05705, tile: 0.494, fill: 0.000249, overflow: 2.122e-6, fix_up: 0.6283, latency: 0.0444, bytes: 22960.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.546, unit: 0.4463, tile: 0.0006207, fill: 0.002045, overflow: 2.953e-5, fix_up: 0.5782, latency: 0.3609, bytes: 33174.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.714, unit: 0.823, tile: 1.606e-10, fill: 0.003266, overflow: 9.915e-6, fix_up: 0.4397, latency: 0.2539, bytes: 33810.0 }),
        SlotsN3Sm90 | SlotsN4Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.003935, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        SlotsN6Sm90 | SlotsN8Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.0054, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.609, unit: 0.3908, tile: 0.1497, fill: 1.067e-5, overflow: 3.227e-8, fix_up: 0.3457, latency: 0.08703, bytes: 27170.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 6.828, unit: 0.3927, tile: 0.172, fill: 2.139e-5, overflow: 4.609e-8, fix_up: 0.3325, latency: 0.07035, bytes: 26870.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 26360.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 25660.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.104, unit: 0.2054, tile: 0.35, fill: 2.35e-5, overflow: 4.94e-8, fix_up: 0.6871, latency: 0.003856, bytes: 26860.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.029, unit: 0.2284, tile: 0.445, fill: 1.101e-5, overflow: 3.939e-8, fix_up: 0.9682, latency: 0.001064, bytes: 24780.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.622, unit: 0.4084, tile: 0.4722, fill: 0.0004863, overflow: 2.978e-6, fix_up: 1.607, latency: 0.06568, bytes: 71580.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.268, unit: 0.3913, tile: 0.599, fill: 0.0006494, overflow: 3.411e-6, fix_up: 1.668, latency: 0.1725, bytes: 150600.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 4.737, unit: 0.6261, tile: 0.6187, fill: 0.001343, overflow: 4.531e-6, fix_up: 2.401, latency: 0.2619, bytes: 206500.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.577, unit: 0.5892, tile: 0.8872, fill: 0.001182, overflow: 6.909e-6, fix_up: 2.332, latency: 0.2747, bytes: 3444000.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 7.284, unit: 0.05865, tile: 0.2045, fill: 7.108e-5, overflow: 5.406e-7, fix_up: 0.5442, latency: 0.1524, bytes: 28710.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 7.376, unit: 0.04721, tile: 0.2324, fill: 6.338e-5, overflow: 4.891e-7, fix_up: 0.4583, latency: 0.1463, bytes: 28520.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 7.42, unit: 0.3424, tile: 0.1127, fill: 7.987e-5, overflow: 5.699e-7, fix_up: 0.5592, latency: 0.1286, bytes: 27350.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.949, unit: 0.2399, tile: 0.222, fill: 0.0004062, overflow: 1.413e-6, fix_up: 0.7826, latency: 0.09104, bytes: 20410.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 7.759, unit: 0.2163, tile: 0.2695, fill: 0.0003397, overflow: 1.483e-6, fix_up: 0.7806, latency: 0.08467, bytes: 21710.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, latency: 0.5, bytes: 18468.0 }),
        _ => Law::Unknown,
    }
}
