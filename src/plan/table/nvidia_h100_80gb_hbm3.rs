//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "412b3bd",
    source: "fitted to 9165 measurements; its choices take 1.7 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 4.015, unit: 0.3133, tile: 0.2457, fill: 0.0005326, overflow: 5.545e-6, fix_up: 4.752, single: 1.025, bytes: 32850.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 3.69, unit: 0.284, tile: 0.2638, fill: 0.0006698, overflow: 4.595e-6, fix_up: 7.296, single: 1.009, bytes: 30060.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 6.974, unit: 0.3099, tile: 0.3453, fill: 0.0004384, overflow: 7.981e-6, fix_up: 6.342, single: 1.013, bytes: 28000.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 11.39, unit: 0.3022, tile: 0.5123, fill: 0.0005518, overflow: 3.419e-6, fix_up: 5.525, single: 1.044, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.981, unit: 0.5474, tile: 0.2398, fill: 0.000464, overflow: 3.182e-6, fix_up: 2.176, single: 1.1, bytes: 29610.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 7.16, unit: 0.316, tile: 0.3037, fill: 0.0006953, overflow: 3.104e-6, fix_up: 3.315, single: 1.07, bytes: 27020.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.324, unit: 0.4407, tile: 0.3513, fill: 0.0007524, overflow: 2.249e-6, fix_up: 4.389, single: 1.054, bytes: 28000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 7.806, unit: 0.7719, tile: 0.001127, fill: 0.002878, overflow: 1.29e-5, fix_up: 1.905, single: 1.296, bytes: 44600.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.314, unit: 0.8286, tile: 0.001008, fill: 0.003204, overflow: 8.549e-6, fix_up: 1.96, single: 1.287, bytes: 27870.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.443, unit: 1.015, tile: 0.0009654, fill: 0.003816, overflow: 6.602e-6, fix_up: 2.277, single: 1.24, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.63, unit: 1.062, tile: 0.0004056, fill: 0.004304, overflow: 2.306e-5, fix_up: 3.535, single: 1.156, bytes: 20860.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 11.79, unit: 1.263, tile: 0.0003729, fill: 0.005642, overflow: 3.834e-5, fix_up: 7.232, single: 1.143, bytes: 16350.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 7.7, unit: 0.02475, tile: 0.3803, fill: 0.001579, overflow: 6.056e-6, fix_up: 2.699, single: 1.127, bytes: 29350.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 7.985, unit: 0.003786, tile: 0.3822, fill: 0.001845, overflow: 5.159e-6, fix_up: 3.294, single: 1.126, bytes: 28960.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.611, unit: 0.005182, tile: 0.4318, fill: 0.001684, overflow: 5.539e-6, fix_up: 4.227, single: 1.107, bytes: 38400.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 9.657, unit: 0.004532, tile: 0.494, fill: 0.001542, overflow: 5.163e-6, fix_up: 6.831, single: 1.089, bytes: 27460.0 }),
        _ => Law::Unknown,
    }
}
