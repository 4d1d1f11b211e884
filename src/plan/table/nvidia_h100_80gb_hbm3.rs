//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "2eb976b",
    source: "fitted to 18051 measurements; its choices take 1.2 % longer than the best on average",
    dense: Some(Dense { launch: 5.85, bytes: 2835000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.92, unit: 0.2967, tile: 0.2547, fill: 0.0003063, overflow: 1.023e-6, fix_up: 3.307, single: 1.013, bytes: 25220.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 6.434, unit: 0.2986, tile: 0.2699, fill: 0.0006091, overflow: 2.096e-6, fix_up: 5.555, single: 1.0, bytes: 24260.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.112, unit: 0.402, tile: 0.3423, fill: 0.0004836, overflow: 2.509e-6, fix_up: 6.518, single: 1.013, bytes: 23860.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.271, unit: 0.3847, tile: 0.5216, fill: 0.0005346, overflow: 2.491e-6, fix_up: 7.59, single: 1.028, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 7.296, unit: 2.16, tile: 0.03493, fill: 0.0003805, overflow: 4.414e-7, fix_up: 2.183, single: 1.075, bytes: 25460.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 7.283, unit: 1.918, tile: 0.09386, fill: 0.0005215, overflow: 3.761e-7, fix_up: 3.397, single: 1.054, bytes: 24060.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.917, unit: 2.127, tile: 0.1166, fill: 0.0008293, overflow: 1.196e-6, fix_up: 4.908, single: 1.053, bytes: 28000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 7.927, unit: 0.8296, tile: 7.967e-6, fill: 0.003102, overflow: 7.181e-6, fix_up: 1.655, single: 1.247, bytes: 25300.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.699, unit: 0.8804, tile: 6.172e-7, fill: 0.00334, overflow: 7.309e-6, fix_up: 1.676, single: 1.258, bytes: 27870.0 }),
        SlotsN3Sm90 | SlotsN4Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.003935, overflow: 6.111e-6, fix_up: 1.936, single: 1.217, bytes: 24890.0 }),
        SlotsN6Sm90 | SlotsN8Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.0054, overflow: 6.111e-6, fix_up: 1.936, single: 1.217, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.869, unit: 0.02658, tile: 0.3746, fill: 0.001861, overflow: 1.629e-6, fix_up: 1.724, single: 1.12, bytes: 24280.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.653, unit: 0.003301, tile: 0.4154, fill: 0.00181, overflow: 1.935e-6, fix_up: 2.452, single: 1.106, bytes: 23690.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.692, unit: 0.006275, tile: 0.4506, fill: 0.00197, overflow: 8.613e-7, fix_up: 3.248, single: 1.097, bytes: 23100.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 7.027, unit: 0.1042, tile: 0.459, fill: 0.001885, overflow: 9.499e-7, fix_up: 6.608, single: 1.072, bytes: 23400.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.027, unit: 0.1042, tile: 0.459, fill: 0.001885, overflow: 9.499e-7, fix_up: 6.608, single: 1.072, bytes: 23400.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 11.97, unit: 0.005757, tile: 0.756, fill: 0.00317, overflow: 1.887e-6, fix_up: 4.339, single: 1.0, bytes: 26360.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 11.97, unit: 0.005757, tile: 0.756, fill: 0.00317, overflow: 1.887e-6, fix_up: 4.339, single: 1.0, bytes: 26360.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.609, unit: 0.841, tile: 0.3065, fill: 0.004346, overflow: 3.764e-7, fix_up: 2.371, single: 1.0, bytes: 23340.0 }),
        _ => Law::Unknown,
    }
}
