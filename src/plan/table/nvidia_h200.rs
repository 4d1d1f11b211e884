//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-29",
    commit: "3d6dbf1",
    source: "fitted to 21088 measurements; its choices take 0.8 % longer than the best on average",
    dense: Some(Dense { launch: 8.637, bytes: 4247000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 4.513, unit: 1.439, tile: 0.1552, fill: 0.0003843, overflow: 9.011e-7, fix_up: 2.841, single: 1.05, bytes: 35500.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 4.887, unit: 1.144, tile: 0.191, fill: 0.0004924, overflow: 7.119e-7, fix_up: 4.318, single: 1.032, bytes: 32600.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 6.979, unit: 2.898, tile: 0.07811, fill: 0.000474, overflow: 5.436e-7, fix_up: 4.962, single: 1.056, bytes: 28550.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.122, unit: 1.686, tile: 0.05817, fill: 0.0003828, overflow: 2.058e-7, fix_up: 1.459, single: 1.144, bytes: 33020.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.123, unit: 2.276, tile: 6.963e-5, fill: 0.0004716, overflow: 1.627e-7, fix_up: 2.273, single: 1.126, bytes: 29840.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.529, unit: 2.09, tile: 0.07801, fill: 0.0006158, overflow: 2.322e-7, fix_up: 3.196, single: 1.117, bytes: 27150.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.267, unit: 0.4522, tile: 2.254e-5, fill: 0.002474, overflow: 1.68e-5, fix_up: 1.679, single: 1.394, bytes: 54160.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 6.575, unit: 0.5112, tile: 2.202e-7, fill: 0.002675, overflow: 2.616e-5, fix_up: 1.732, single: 1.343, bytes: 31390.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.927, unit: 0.4828, tile: 0.0307, fill: 0.002544, overflow: 3.71e-5, fix_up: 2.133, single: 1.315, bytes: 29610.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.784, unit: 0.2971, tile: 0.09377, fill: 0.002448, overflow: 4.484e-5, fix_up: 2.058, single: 1.21, bytes: 39820.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.405, unit: 0.7174, tile: 0.001023, fill: 0.003161, overflow: 4.599e-5, fix_up: 1.895, single: 1.364, bytes: 39820.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 8.784, unit: 0.2971, tile: 0.09377, fill: 0.0034, overflow: 4.484e-5, fix_up: 2.058, single: 1.21, bytes: 39820.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.969, unit: 0.02523, tile: 0.3726, fill: 0.001908, overflow: 1.086e-6, fix_up: 0.8493, single: 1.141, bytes: 31500.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 6.468, unit: 0.0009237, tile: 0.4111, fill: 0.001932, overflow: 9.366e-7, fix_up: 1.769, single: 1.123, bytes: 30590.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 6.288, unit: 0.001144, tile: 0.4496, fill: 0.002062, overflow: 3.691e-7, fix_up: 2.811, single: 1.1, bytes: 29110.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 6.931, unit: 0.04952, tile: 0.4859, fill: 0.001781, overflow: 6.17e-7, fix_up: 6.042, single: 1.072, bytes: 27820.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.931, unit: 0.04952, tile: 0.4859, fill: 0.001781, overflow: 6.17e-7, fix_up: 6.042, single: 1.072, bytes: 27820.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.452, unit: 0.002546, tile: 0.7483, fill: 0.002978, overflow: 2.273e-7, fix_up: 5.182, single: 1.007, bytes: 18610.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 8.452, unit: 0.002546, tile: 0.7483, fill: 0.002978, overflow: 2.273e-7, fix_up: 5.182, single: 1.007, bytes: 18610.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
