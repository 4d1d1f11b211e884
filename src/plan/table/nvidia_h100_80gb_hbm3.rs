//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-24",
    commit: "6593b88",
    source: "by hand from the ablations of docs/kernels-log.md",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 | BitmapN2W15Sm90 | BitmapN4W11Sm90 | BitmapN8W7Sm90 | BitmapN1W7Sm90 | BitmapN2W7Sm90 | BitmapN4W7Sm90 | BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 0.0, unit: 0.5, tile: 0.145, fill: 0.0, overflow: 0.000135, fix_up: 2.9, single: 1.15, bytes: 24888.9 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 0.0, unit: 0.5, tile: 0.165, fill: 0.0, overflow: 0.000135, fix_up: 3.3, single: 1.15, bytes: 24888.9 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 0.0, unit: 0.6, tile: 0.205, fill: 0.0, overflow: 0.00027, fix_up: 4.1, single: 1.15, bytes: 24888.9 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 0.0, unit: 0.5, tile: 0.21, fill: 0.0, overflow: 0.00027, fix_up: 4.1, single: 1.15, bytes: 24888.9 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 0.0, unit: 0.6, tile: 0.33, fill: 0.0, overflow: 0.0006, fix_up: 5.7, single: 1.15, bytes: 24888.9 }),
        _ => Law::Unknown,
    }
}
