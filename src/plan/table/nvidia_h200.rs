//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "ead3ded",
    source: "fitted to 14943 measurements; its choices take 0.9 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.286, unit: 0.3149, tile: 0.2535, fill: 0.0001873, overflow: 4.562e-6, fix_up: 3.373, single: 1.022, bytes: 38610.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 5.959, unit: 0.3406, tile: 0.2706, fill: 0.0004155, overflow: 2.91e-6, fix_up: 5.304, single: 1.007, bytes: 55980.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.802, unit: 0.5217, tile: 0.3329, fill: 0.0004038, overflow: 1.36e-6, fix_up: 5.742, single: 1.019, bytes: 40000.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.83, unit: 2.066, tile: 0.0464, fill: 0.000362, overflow: 1.229e-6, fix_up: 1.877, single: 1.092, bytes: 40000.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.644, unit: 0.5242, tile: 0.2911, fill: 0.0005221, overflow: 1.396e-6, fix_up: 3.091, single: 1.068, bytes: 29230.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.821, unit: 0.921, tile: 0.3036, fill: 0.0005348, overflow: 9.771e-7, fix_up: 4.391, single: 1.058, bytes: 40000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.07, unit: 0.8558, tile: 0.001037, fill: 0.002887, overflow: 1.109e-6, fix_up: 1.311, single: 1.292, bytes: 39820.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.631, unit: 0.8849, tile: 9.194e-5, fill: 0.003251, overflow: 1.237e-6, fix_up: 1.383, single: 1.286, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.63, unit: 1.073, tile: 7.575e-5, fill: 0.003836, overflow: 4.472e-6, fix_up: 1.816, single: 1.222, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.52, unit: 1.101, tile: 3.091e-5, fill: 0.004422, overflow: 2.179e-5, fix_up: 3.341, single: 1.146, bytes: 39820.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.52, unit: 1.458, tile: 2.875e-5, fill: 0.005814, overflow: 3.206e-5, fix_up: 6.983, single: 1.101, bytes: 26160.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.383, unit: 0.01411, tile: 0.3869, fill: 0.001624, overflow: 2.341e-6, fix_up: 1.968, single: 1.161, bytes: 33360.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.299, unit: 0.002949, tile: 0.4222, fill: 0.001625, overflow: 2.251e-6, fix_up: 2.264, single: 1.143, bytes: 32580.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.328, unit: 0.003036, tile: 0.4469, fill: 0.00193, overflow: 8.854e-7, fix_up: 3.095, single: 1.124, bytes: 33000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.272, unit: 0.1012, tile: 0.4727, fill: 0.001686, overflow: 7.971e-7, fix_up: 6.306, single: 1.087, bytes: 29240.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 10.51, unit: 0.00265, tile: 1.256, fill: 0.001158, overflow: 4.723e-7, fix_up: 3.58, single: 1.021, bytes: 48770.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 7.058, unit: 1.006, tile: 0.003191, fill: 0.001096, overflow: 3.932e-5, fix_up: 2.429, single: 1.255, bytes: 32720.0 }),
        _ => Law::Unknown,
    }
}
