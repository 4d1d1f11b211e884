//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-29",
    commit: "6bf4181",
    source: "fitted to 16533 measurements; its choices take 1.3 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 8.255, unit: 0.5601, tile: 0.2369, fill: 0.0002486, overflow: 1.417e-6, fix_up: 3.158, single: 1.023, bytes: 35210.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 7.609, unit: 0.7826, tile: 0.2459, fill: 0.0004098, overflow: 7.693e-7, fix_up: 5.45, single: 1.007, bytes: 31600.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.962, unit: 0.6453, tile: 0.3213, fill: 0.0004054, overflow: 9.185e-7, fix_up: 5.687, single: 1.015, bytes: 26660.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 7.04, unit: 1.686, tile: 0.1015, fill: 0.0003005, overflow: 3.925e-7, fix_up: 1.9, single: 1.098, bytes: 30460.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.938, unit: 2.485, tile: 0.002579, fill: 0.0004427, overflow: 3.154e-7, fix_up: 3.068, single: 1.096, bytes: 28160.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 9.493, unit: 2.805, tile: 0.03443, fill: 0.0004067, overflow: 2.789e-7, fix_up: 4.46, single: 1.056, bytes: 23610.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.675, unit: 0.8097, tile: 2.802e-5, fill: 0.002719, overflow: 4.604e-6, fix_up: 1.379, single: 1.325, bytes: 39820.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.144, unit: 0.8829, tile: 7.34e-7, fill: 0.003049, overflow: 6.882e-6, fix_up: 1.42, single: 1.291, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.598, unit: 1.075, tile: 6.715e-6, fill: 0.003851, overflow: 4.349e-6, fix_up: 1.816, single: 1.213, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.329, unit: 0.0122, tile: 0.3828, fill: 0.001832, overflow: 1.517e-6, fix_up: 1.515, single: 1.142, bytes: 32290.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.108, unit: 0.001443, tile: 0.4151, fill: 0.001804, overflow: 1.637e-6, fix_up: 2.198, single: 1.129, bytes: 31400.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.328, unit: 0.003036, tile: 0.4469, fill: 0.00193, overflow: 8.854e-7, fix_up: 3.095, single: 1.124, bytes: 33000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 8.424, unit: 0.04943, tile: 0.4887, fill: 0.001782, overflow: 7.311e-7, fix_up: 6.242, single: 1.069, bytes: 27290.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 11.73, unit: 0.002603, tile: 0.7524, fill: 0.003181, overflow: 1.984e-7, fix_up: 4.057, single: 1.0, bytes: 18250.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 7.936, unit: 1.034, tile: 4.971e-6, fill: 0.0008289, overflow: 4.31e-5, fix_up: 2.51, single: 1.231, bytes: 19960.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
