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
    source: "fitted to 9165 measurements; its choices take 1.3 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 3.943, unit: 0.2881, tile: 0.2487, fill: 0.0004962, overflow: 7.616e-6, fix_up: 4.79, single: 1.024, bytes: 32800.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 3.601, unit: 0.2642, tile: 0.2656, fill: 0.0006568, overflow: 5.684e-6, fix_up: 7.342, single: 1.009, bytes: 30030.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 6.686, unit: 0.3458, tile: 0.3455, fill: 0.0004717, overflow: 7.454e-6, fix_up: 6.385, single: 1.012, bytes: 44800.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 11.15, unit: 0.3386, tile: 0.5145, fill: 0.0005613, overflow: 3.171e-6, fix_up: 5.465, single: 1.045, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.917, unit: 1.302, tile: 0.1349, fill: 0.000474, overflow: 2.983e-6, fix_up: 2.127, single: 1.1, bytes: 29390.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.822, unit: 0.3169, tile: 0.3091, fill: 0.0007051, overflow: 3.05e-6, fix_up: 3.394, single: 1.069, bytes: 26690.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.853, unit: 0.5893, tile: 0.3372, fill: 0.0007728, overflow: 1.765e-6, fix_up: 4.505, single: 1.054, bytes: 28000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 7.633, unit: 0.7907, tile: 0.0003006, fill: 0.002932, overflow: 1.224e-5, fix_up: 1.897, single: 1.294, bytes: 44600.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.103, unit: 0.8472, tile: 0.0002664, fill: 0.003264, overflow: 7.807e-6, fix_up: 1.974, single: 1.284, bytes: 27870.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.164, unit: 1.037, tile: 0.0002525, fill: 0.003898, overflow: 5.335e-6, fix_up: 2.307, single: 1.237, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.3, unit: 1.098, tile: 0.0001044, fill: 0.004349, overflow: 2.238e-5, fix_up: 3.59, single: 1.155, bytes: 20670.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.65, unit: 1.346, tile: 9.834e-5, fill: 0.005742, overflow: 3.737e-5, fix_up: 7.613, single: 1.136, bytes: 16350.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 7.567, unit: 0.04778, tile: 0.3786, fill: 0.001596, overflow: 5.923e-6, fix_up: 2.695, single: 1.128, bytes: 29060.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 7.563, unit: 0.003444, tile: 0.4091, fill: 0.001744, overflow: 5.642e-6, fix_up: 3.509, single: 1.127, bytes: 28960.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 7.952, unit: 0.006089, tile: 0.4547, fill: 0.001727, overflow: 5.312e-6, fix_up: 4.583, single: 1.107, bytes: 38400.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 8.242, unit: 0.00568, tile: 0.5329, fill: 0.001579, overflow: 5.011e-6, fix_up: 7.713, single: 1.088, bytes: 43940.0 }),
        _ => Law::Unknown,
    }
}
