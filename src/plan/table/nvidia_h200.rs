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
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.577, unit: 0.3521, tile: 0.2525, fill: 0.0001555, overflow: 2.42e-6, fix_up: 3.187, single: 1.023, bytes: 35910.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 6.207, unit: 0.3814, tile: 0.2707, fill: 0.0003497, overflow: 1.742e-6, fix_up: 5.138, single: 1.008, bytes: 32430.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.946, unit: 0.6459, tile: 0.3232, fill: 0.0003593, overflow: 1.007e-6, fix_up: 5.661, single: 1.018, bytes: 26660.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.933, unit: 1.573, tile: 0.1203, fill: 0.0002713, overflow: 8.324e-7, fix_up: 1.846, single: 1.091, bytes: 30230.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.79, unit: 0.9031, tile: 0.2411, fill: 0.0004113, overflow: 9.052e-7, fix_up: 3.039, single: 1.067, bytes: 27280.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.982, unit: 2.163, tile: 0.1308, fill: 0.0004058, overflow: 6.657e-7, fix_up: 4.339, single: 1.058, bytes: 23470.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.069, unit: 0.8544, tile: 0.001045, fill: 0.002899, overflow: 7.467e-7, fix_up: 1.31, single: 1.292, bytes: 39820.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.624, unit: 0.8852, tile: 2.731e-5, fill: 0.003255, overflow: 1.088e-6, fix_up: 1.388, single: 1.286, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.633, unit: 1.072, tile: 2.246e-5, fill: 0.003839, overflow: 4.406e-6, fix_up: 1.814, single: 1.222, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.52, unit: 1.102, tile: 9.157e-6, fill: 0.004422, overflow: 2.186e-5, fix_up: 3.342, single: 1.146, bytes: 39820.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.52, unit: 1.458, tile: 8.535e-6, fill: 0.005815, overflow: 3.204e-5, fix_up: 6.984, single: 1.101, bytes: 26160.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.435, unit: 0.01111, tile: 0.3869, fill: 0.001665, overflow: 1.932e-6, fix_up: 1.933, single: 1.162, bytes: 32700.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.347, unit: 0.003062, tile: 0.421, fill: 0.001653, overflow: 1.859e-6, fix_up: 2.231, single: 1.143, bytes: 31780.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.328, unit: 0.003036, tile: 0.4469, fill: 0.00193, overflow: 8.854e-7, fix_up: 3.095, single: 1.124, bytes: 33000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.272, unit: 0.1012, tile: 0.4727, fill: 0.001686, overflow: 7.971e-7, fix_up: 6.306, single: 1.087, bytes: 29240.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 10.52, unit: 0.002657, tile: 1.254, fill: 0.001193, overflow: 2.551e-7, fix_up: 3.568, single: 1.021, bytes: 48770.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 7.214, unit: 1.035, tile: 0.0006941, fill: 0.0008406, overflow: 4.139e-5, fix_up: 2.336, single: 1.237, bytes: 20010.0 }),
        SellN1W16Sm90 => Law::Units(Units { launch: 7.5, unit: 0.3, tile: 0.15, fill: 0.0045, overflow: 0.0, fix_up: 2.5, single: 1.0, bytes: 24000.0 }),
        SellN1W24Sm90 => Law::Units(Units { launch: 7.8, unit: 0.3, tile: 0.13, fill: 0.0045, overflow: 0.0, fix_up: 2.5, single: 1.0, bytes: 24000.0 }),
        _ => Law::Unknown,
    }
}
