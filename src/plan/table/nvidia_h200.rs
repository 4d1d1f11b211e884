//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-29",
    commit: "2372948",
    source: "fitted to 17963 measurements; its choices take 1.3 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.02, unit: 0.7147, tile: 0.2273, fill: 0.0003349, overflow: 1.109e-6, fix_up: 3.401, single: 1.027, bytes: 35010.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 7.609, unit: 0.7826, tile: 0.2459, fill: 0.0004098, overflow: 7.693e-7, fix_up: 5.45, single: 1.007, bytes: 31600.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.962, unit: 0.6453, tile: 0.3213, fill: 0.0004054, overflow: 9.185e-7, fix_up: 5.687, single: 1.015, bytes: 26660.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.461, unit: 2.152, tile: 0.03436, fill: 0.0005136, overflow: 3.744e-7, fix_up: 2.124, single: 1.087, bytes: 30490.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.674, unit: 2.541, tile: 0.002579, fill: 0.0004851, overflow: 2.704e-7, fix_up: 3.225, single: 1.07, bytes: 27150.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 9.493, unit: 2.805, tile: 0.03443, fill: 0.0004067, overflow: 2.789e-7, fix_up: 4.46, single: 1.056, bytes: 23610.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.218, unit: 0.5634, tile: 8.345e-6, fill: 0.002144, overflow: 4.946e-5, fix_up: 1.664, single: 1.349, bytes: 31410.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.144, unit: 0.8829, tile: 7.34e-7, fill: 0.003049, overflow: 6.882e-6, fix_up: 1.42, single: 1.291, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 9.0, unit: 0.4004, tile: 2.189e-5, fill: 0.004629, overflow: 8.264e-6, fix_up: 2.014, single: 1.184, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 7.548, unit: 0.01516, tile: 0.377, fill: 0.001899, overflow: 1.266e-6, fix_up: 1.846, single: 1.134, bytes: 32030.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 7.385, unit: 0.001227, tile: 0.4064, fill: 0.001898, overflow: 1.337e-6, fix_up: 2.428, single: 1.127, bytes: 31280.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 7.526, unit: 0.002212, tile: 0.4487, fill: 0.00203, overflow: 6.344e-7, fix_up: 3.123, single: 1.103, bytes: 29520.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.515, unit: 0.05049, tile: 0.486, fill: 0.001808, overflow: 6.144e-7, fix_up: 6.23, single: 1.071, bytes: 27520.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 10.62, unit: 0.002592, tile: 0.7576, fill: 0.003196, overflow: 2.001e-7, fix_up: 4.415, single: 1.0, bytes: 18090.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 4.818, unit: 1.034, tile: 1.49e-6, fill: 0.001496, overflow: 4.547e-5, fix_up: 3.189, single: 1.24, bytes: 31940.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
