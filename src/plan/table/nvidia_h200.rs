//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "2eb976b",
    source: "fitted to 18051 measurements; its choices take 1.1 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.546, unit: 0.465, tile: 0.2438, fill: 0.0002062, overflow: 1.864e-6, fix_up: 3.262, single: 1.02, bytes: 35400.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 6.293, unit: 0.5056, tile: 0.261, fill: 0.0003926, overflow: 9.817e-7, fix_up: 5.108, single: 1.009, bytes: 32130.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.946, unit: 0.6459, tile: 0.3232, fill: 0.0003593, overflow: 1.007e-6, fix_up: 5.661, single: 1.018, bytes: 26660.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.934, unit: 1.562, tile: 0.1199, fill: 0.0003182, overflow: 5.245e-7, fix_up: 1.927, single: 1.086, bytes: 30180.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.953, unit: 2.384, tile: 0.02862, fill: 0.0004416, overflow: 4.628e-7, fix_up: 3.003, single: 1.061, bytes: 27190.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.046, unit: 2.284, tile: 0.1128, fill: 0.0004335, overflow: 3.901e-7, fix_up: 4.365, single: 1.053, bytes: 23390.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.135, unit: 0.8499, tile: 9.412e-5, fill: 0.002952, overflow: 4.564e-7, fix_up: 1.319, single: 1.282, bytes: 39820.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.745, unit: 0.8795, tile: 2.448e-6, fill: 0.003285, overflow: 9.813e-7, fix_up: 1.358, single: 1.277, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.633, unit: 1.072, tile: 2.246e-5, fill: 0.003839, overflow: 4.406e-6, fix_up: 1.814, single: 1.222, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.48, unit: 1.111, tile: 8.202e-7, fill: 0.004417, overflow: 2.269e-5, fix_up: 3.376, single: 1.139, bytes: 39820.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.52, unit: 1.47, tile: 7.652e-7, fill: 0.005768, overflow: 3.32e-5, fix_up: 7.007, single: 1.101, bytes: 26160.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.703, unit: 0.02048, tile: 0.3809, fill: 0.00176, overflow: 1.52e-6, fix_up: 1.527, single: 1.143, bytes: 32240.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.468, unit: 0.002591, tile: 0.4152, fill: 0.001764, overflow: 1.607e-6, fix_up: 2.24, single: 1.121, bytes: 31410.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.328, unit: 0.003036, tile: 0.4469, fill: 0.00193, overflow: 8.854e-7, fix_up: 3.095, single: 1.124, bytes: 33000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.272, unit: 0.1012, tile: 0.4727, fill: 0.001686, overflow: 7.971e-7, fix_up: 6.306, single: 1.087, bytes: 29240.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 12.27, unit: 0.002594, tile: 0.7555, fill: 0.00329, overflow: 1.979e-7, fix_up: 3.827, single: 1.0, bytes: 18040.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 7.179, unit: 1.026, tile: 5.58e-5, fill: 0.0008553, overflow: 4.217e-5, fix_up: 2.445, single: 1.233, bytes: 20070.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
