//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "3904246",
    source: "fitted to 14943 measurements; its choices take 0.9 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 5.874, unit: 0.2707, tile: 0.2591, fill: 0.0002504, overflow: 2.48e-6, fix_up: 3.621, single: 1.013, bytes: 25050.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 5.416, unit: 0.2512, tile: 0.2765, fill: 0.0005378, overflow: 3.269e-6, fix_up: 5.8, single: 1.0, bytes: 24150.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.112, unit: 0.402, tile: 0.3423, fill: 0.0004836, overflow: 2.509e-6, fix_up: 6.518, single: 1.013, bytes: 23860.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.271, unit: 0.3847, tile: 0.5216, fill: 0.0005346, overflow: 2.491e-6, fix_up: 7.59, single: 1.028, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.863, unit: 2.374, tile: 0.003915, fill: 0.0003672, overflow: 1.045e-6, fix_up: 2.217, single: 1.074, bytes: 25300.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.897, unit: 0.521, tile: 0.2907, fill: 0.0005548, overflow: 8.356e-7, fix_up: 3.385, single: 1.053, bytes: 24020.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.917, unit: 2.127, tile: 0.1166, fill: 0.0008293, overflow: 1.196e-6, fix_up: 4.908, single: 1.053, bytes: 28000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 7.927, unit: 0.8296, tile: 7.967e-6, fill: 0.003102, overflow: 7.181e-6, fix_up: 1.655, single: 1.247, bytes: 25300.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.463, unit: 0.8713, tile: 6.867e-6, fill: 0.003343, overflow: 8.137e-6, fix_up: 1.688, single: 1.254, bytes: 27870.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.7, unit: 1.049, tile: 6.431e-6, fill: 0.003935, overflow: 6.402e-6, fix_up: 1.995, single: 1.213, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.55, unit: 1.055, tile: 2.656e-6, fill: 0.004554, overflow: 2.583e-5, fix_up: 3.657, single: 1.136, bytes: 19730.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.16, unit: 1.443, tile: 8.455e-6, fill: 0.005834, overflow: 3.582e-5, fix_up: 7.501, single: 1.103, bytes: 16350.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.297, unit: 0.01421, tile: 0.3782, fill: 0.001826, overflow: 1.858e-6, fix_up: 2.172, single: 1.119, bytes: 24300.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.342, unit: 0.003713, tile: 0.4138, fill: 0.001768, overflow: 2.212e-6, fix_up: 2.476, single: 1.11, bytes: 23750.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.302, unit: 0.005273, tile: 0.4555, fill: 0.001865, overflow: 1.574e-6, fix_up: 3.302, single: 1.098, bytes: 23020.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.027, unit: 0.1042, tile: 0.459, fill: 0.001885, overflow: 9.499e-7, fix_up: 6.608, single: 1.072, bytes: 23400.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 11.97, unit: 0.005757, tile: 0.756, fill: 0.00317, overflow: 1.887e-6, fix_up: 4.339, single: 1.0, bytes: 26360.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 7.627, unit: 1.018, tile: 0.0001882, fill: 0.001041, overflow: 3.511e-5, fix_up: 2.353, single: 1.217, bytes: 19910.0 }),
        SellN1W16Sm90 => Law::Units(Units { launch: 7.5, unit: 0.3, tile: 0.15, fill: 0.0045, overflow: 0.0, fix_up: 2.5, single: 1.0, bytes: 24000.0 }),
        SellN1W24Sm90 => Law::Units(Units { launch: 7.8, unit: 0.3, tile: 0.13, fill: 0.0045, overflow: 0.0, fix_up: 2.5, single: 1.0, bytes: 24000.0 }),
        _ => Law::Unknown,
    }
}
