//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-29",
    commit: "d9464d5",
    source: "fitted to 19927 measurements; its choices take 1.4 % longer than the best on average",
    dense: Some(Dense { launch: 8.637, bytes: 4247000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 5.949, unit: 1.059, tile: 0.1871, fill: 0.000368, overflow: 1.085e-6, fix_up: 4.357, single: 1.028, bytes: 36220.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 7.609, unit: 0.7826, tile: 0.2459, fill: 0.0004098, overflow: 7.693e-7, fix_up: 5.45, single: 1.007, bytes: 31600.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 6.671, unit: 1.63, tile: 0.2191, fill: 0.0004589, overflow: 6.509e-7, fix_up: 6.438, single: 1.026, bytes: 27260.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.095, unit: 1.662, tile: 0.09321, fill: 0.0003204, overflow: 2.632e-7, fix_up: 2.538, single: 1.109, bytes: 30960.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.768, unit: 2.498, tile: 0.0007737, fill: 0.0004358, overflow: 2.06e-7, fix_up: 2.9, single: 1.095, bytes: 28060.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 9.493, unit: 2.805, tile: 0.03443, fill: 0.0004067, overflow: 2.789e-7, fix_up: 4.46, single: 1.056, bytes: 23610.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.37, unit: 0.4533, tile: 7.5e-6, fill: 0.00247, overflow: 1.681e-5, fix_up: 1.663, single: 1.398, bytes: 54160.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 6.575, unit: 0.5112, tile: 2.202e-7, fill: 0.002675, overflow: 2.616e-5, fix_up: 1.732, single: 1.343, bytes: 31390.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 7.019, unit: 0.4961, tile: 0.02543, fill: 0.002692, overflow: 3.434e-5, fix_up: 2.026, single: 1.316, bytes: 29260.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.784, unit: 0.2971, tile: 0.09377, fill: 0.002448, overflow: 4.484e-5, fix_up: 2.058, single: 1.21, bytes: 39820.0 }),
        SlotsN6Sm90 | SlotsN8Sm90 => Law::Units(Units { launch: 8.784, unit: 0.2971, tile: 0.09377, fill: 0.0034, overflow: 4.484e-5, fix_up: 2.058, single: 1.21, bytes: 39820.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 7.633, unit: 0.01516, tile: 0.376, fill: 0.001905, overflow: 1.138e-6, fix_up: 1.847, single: 1.136, bytes: 32090.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 7.458, unit: 0.0009858, tile: 0.4037, fill: 0.001942, overflow: 1.03e-6, fix_up: 2.419, single: 1.127, bytes: 31210.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 7.588, unit: 0.001463, tile: 0.4493, fill: 0.002034, overflow: 4.66e-7, fix_up: 3.133, single: 1.103, bytes: 29490.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.642, unit: 0.04797, tile: 0.486, fill: 0.001801, overflow: 6.122e-7, fix_up: 6.255, single: 1.073, bytes: 27700.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 10.9, unit: 0.002568, tile: 0.7576, fill: 0.003158, overflow: 2.093e-7, fix_up: 4.289, single: 1.0, bytes: 18270.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 5.951, unit: 0.9702, tile: 1.341e-7, fill: 0.001304, overflow: 4.788e-5, fix_up: 2.653, single: 1.246, bytes: 20660.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
