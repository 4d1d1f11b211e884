//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-29",
    commit: "5858693",
    source: "fitted to 18051 measurements; its choices take 1.1 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.386, unit: 0.5597, tile: 0.2358, fill: 0.0002361, overflow: 1.555e-6, fix_up: 3.341, single: 1.02, bytes: 35470.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 6.22, unit: 0.6105, tile: 0.2544, fill: 0.0003927, overflow: 8.361e-7, fix_up: 5.057, single: 1.008, bytes: 32090.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.962, unit: 0.6453, tile: 0.3213, fill: 0.0004054, overflow: 9.185e-7, fix_up: 5.687, single: 1.015, bytes: 26660.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.899, unit: 2.14, tile: 0.03739, fill: 0.0003085, overflow: 4.452e-7, fix_up: 1.888, single: 1.087, bytes: 30220.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.913, unit: 2.53, tile: 0.008599, fill: 0.0004156, overflow: 3.699e-7, fix_up: 2.98, single: 1.062, bytes: 27220.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.974, unit: 2.281, tile: 0.1127, fill: 0.0004324, overflow: 3.277e-7, fix_up: 4.358, single: 1.054, bytes: 23480.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.019, unit: 0.8491, tile: 2.821e-5, fill: 0.00296, overflow: 3.899e-7, fix_up: 1.348, single: 1.281, bytes: 39820.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.646, unit: 0.8897, tile: 7.342e-7, fill: 0.003253, overflow: 7.863e-7, fix_up: 1.383, single: 1.277, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.598, unit: 1.075, tile: 6.715e-6, fill: 0.003851, overflow: 4.349e-6, fix_up: 1.816, single: 1.213, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.53, unit: 1.083, tile: 2.46e-7, fill: 0.004485, overflow: 2.117e-5, fix_up: 3.369, single: 1.136, bytes: 39820.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.52, unit: 1.477, tile: 2.295e-7, fill: 0.005757, overflow: 3.26e-5, fix_up: 6.999, single: 1.101, bytes: 26160.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.639, unit: 0.01636, tile: 0.3796, fill: 0.001784, overflow: 1.456e-6, fix_up: 1.526, single: 1.144, bytes: 32440.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.39, unit: 0.002034, tile: 0.4113, fill: 0.001793, overflow: 1.437e-6, fix_up: 2.222, single: 1.124, bytes: 31500.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.328, unit: 0.003036, tile: 0.4469, fill: 0.00193, overflow: 8.854e-7, fix_up: 3.095, single: 1.124, bytes: 33000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.272, unit: 0.1012, tile: 0.4727, fill: 0.001686, overflow: 7.971e-7, fix_up: 6.306, single: 1.087, bytes: 29240.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 12.26, unit: 0.002598, tile: 0.7524, fill: 0.003317, overflow: 1.885e-7, fix_up: 3.818, single: 1.0, bytes: 18050.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 7.382, unit: 1.027, tile: 1.661e-5, fill: 0.0008142, overflow: 4.257e-5, fix_up: 2.32, single: 1.231, bytes: 20010.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
