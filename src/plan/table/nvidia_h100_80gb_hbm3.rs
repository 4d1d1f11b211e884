//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "8ee8e8a",
    source: "fitted to 14943 measurements; its choices take 1.5 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 4.967, unit: 0.2671, tile: 0.2538, fill: 0.0003546, overflow: 1.038e-5, fix_up: 4.655, single: 1.02, bytes: 32770.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 4.882, unit: 0.2479, tile: 0.2755, fill: 0.0005797, overflow: 8.305e-6, fix_up: 6.59, single: 1.004, bytes: 29000.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.372, unit: 0.3171, tile: 0.3555, fill: 0.0004224, overflow: 8.079e-6, fix_up: 6.709, single: 1.009, bytes: 44800.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.553, unit: 0.34, tile: 0.5392, fill: 0.000442, overflow: 2.865e-6, fix_up: 7.79, single: 1.028, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.785, unit: 2.071, tile: 0.04333, fill: 0.0005312, overflow: 3.029e-6, fix_up: 2.496, single: 1.075, bytes: 27970.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.904, unit: 0.3954, tile: 0.3033, fill: 0.0007555, overflow: 2.835e-6, fix_up: 3.619, single: 1.053, bytes: 26000.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.192, unit: 0.9804, tile: 0.2887, fill: 0.0007537, overflow: 1.396e-6, fix_up: 5.063, single: 1.053, bytes: 28000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.159, unit: 0.8405, tile: 8.911e-5, fill: 0.003116, overflow: 7.759e-6, fix_up: 1.647, single: 1.25, bytes: 44600.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.786, unit: 0.8809, tile: 7.731e-5, fill: 0.003357, overflow: 7.694e-6, fix_up: 1.648, single: 1.257, bytes: 27870.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 9.058, unit: 1.059, tile: 7.266e-5, fill: 0.003945, overflow: 6.171e-6, fix_up: 1.946, single: 1.216, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 11.02, unit: 1.052, tile: 3e-5, fill: 0.004601, overflow: 2.409e-5, fix_up: 3.615, single: 1.14, bytes: 20030.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.75, unit: 1.442, tile: 2.849e-5, fill: 0.00591, overflow: 3.507e-5, fix_up: 7.533, single: 1.103, bytes: 16350.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.229, unit: 0.02475, tile: 0.3884, fill: 0.001559, overflow: 6.024e-6, fix_up: 2.238, single: 1.138, bytes: 46500.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.097, unit: 0.004647, tile: 0.4303, fill: 0.001468, overflow: 6.545e-6, fix_up: 2.94, single: 1.126, bytes: 46340.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.257, unit: 0.006573, tile: 0.4631, fill: 0.00164, overflow: 5.415e-6, fix_up: 3.706, single: 1.116, bytes: 38400.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.378, unit: 0.08458, tile: 0.478, fill: 0.001691, overflow: 3.717e-6, fix_up: 7.019, single: 1.079, bytes: 27100.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 11.31, unit: 0.005662, tile: 1.182, fill: 0.0004476, overflow: 8.428e-6, fix_up: 4.066, single: 1.004, bytes: 43940.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 6.775, unit: 1.151, tile: 0.003797, fill: 0.0004376, overflow: 4.014e-5, fix_up: 3.028, single: 1.196, bytes: 19670.0 }),
        _ => Law::Unknown,
    }
}
