//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "8cb79024b7",
    source: "fitted to 6843 measurements on an NVIDIA H200, bandwidths times 0.7",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 11.8, unit: 0.3428, tile: 0.2367, fill: 0.0002876, overflow: 3.372e-6, fix_up: 3.478, single: 1.032, bytes: 26964.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 11.36, unit: 0.3075, tile: 0.2667, fill: 0.0003476, overflow: 3.321e-6, fix_up: 5.761, single: 1.016, bytes: 24493.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 14.32, unit: 0.339, tile: 0.3448, fill: 0.0003092, overflow: 3.582e-6, fix_up: 4.475, single: 1.036, bytes: 28000.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 19.05, unit: 0.3033, tile: 0.5343, fill: 0.0002931, overflow: 2.834e-6, fix_up: 1.357, single: 1.053, bytes: 18810.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 9.819, unit: 0.384, tile: 0.2697, fill: 0.0002951, overflow: 3.041e-6, fix_up: 1.809, single: 1.105, bytes: 28000.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 10.94, unit: 0.2661, tile: 0.3195, fill: 0.0003592, overflow: 2.865e-6, fix_up: 1.869, single: 1.079, bytes: 20461.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 13.99, unit: 0.3579, tile: 0.3671, fill: 0.0004004, overflow: 2.821e-6, fix_up: 1.866, single: 1.081, bytes: 28000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 9.103, unit: 0.8014, tile: 0.006121, fill: 0.002574, overflow: 7.439e-6, fix_up: 2.277, single: 1.341, bytes: 27874.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.187, unit: 0.8705, tile: 0.00566, fill: 0.002943, overflow: 7.33e-6, fix_up: 2.662, single: 1.306, bytes: 27874.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.504, unit: 1.088, tile: 0.005516, fill: 0.003511, overflow: 9.92e-6, fix_up: 3.849, single: 1.229, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 13.98, unit: 1.023, tile: 0.002388, fill: 0.004322, overflow: 1.918e-5, fix_up: 3.499, single: 1.178, bytes: 27874.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 14.61, unit: 1.347, tile: 0.002055, fill: 0.00546, overflow: 3.858e-5, fix_up: 7.988, single: 1.139, bytes: 16350.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.0, unit: 0.05, tile: 0.37, fill: 0.0026, overflow: 0.0, fix_up: 3.0, single: 1.15, bytes: 24000.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.2, unit: 0.05, tile: 0.4, fill: 0.0026, overflow: 0.0, fix_up: 3.0, single: 1.15, bytes: 24000.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.5, unit: 0.05, tile: 0.44, fill: 0.0028, overflow: 0.0, fix_up: 3.0, single: 1.15, bytes: 24000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 9.0, unit: 0.05, tile: 0.52, fill: 0.0029, overflow: 0.0, fix_up: 3.0, single: 1.15, bytes: 22080.0 }),
        _ => Law::Unknown,
    }
}
