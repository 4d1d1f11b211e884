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
    source: "fitted to 14943 measurements; its choices take 1.5 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 4.115, unit: 0.2486, tile: 0.2537, fill: 0.0003506, overflow: 1.214e-5, fix_up: 4.864, single: 1.019, bytes: 32660.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 4.142, unit: 0.2329, tile: 0.2746, fill: 0.0005674, overflow: 1.107e-5, fix_up: 6.692, single: 1.004, bytes: 29690.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 6.614, unit: 0.3538, tile: 0.3453, fill: 0.0005114, overflow: 6.129e-6, fix_up: 6.855, single: 1.013, bytes: 44800.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.271, unit: 0.3847, tile: 0.5216, fill: 0.0005346, overflow: 2.491e-6, fix_up: 7.59, single: 1.028, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.304, unit: 2.25, tile: 0.01304, fill: 0.0005806, overflow: 2.976e-6, fix_up: 2.552, single: 1.076, bytes: 28020.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.468, unit: 0.3846, tile: 0.2967, fill: 0.0008687, overflow: 2.284e-6, fix_up: 3.653, single: 1.054, bytes: 26120.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.917, unit: 2.127, tile: 0.1166, fill: 0.0008293, overflow: 1.196e-6, fix_up: 4.908, single: 1.053, bytes: 28000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 7.915, unit: 0.8247, tile: 2.66e-5, fill: 0.003114, overflow: 8.157e-6, fix_up: 1.666, single: 1.249, bytes: 44600.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.463, unit: 0.8712, tile: 2.296e-5, fill: 0.003343, overflow: 8.116e-6, fix_up: 1.688, single: 1.254, bytes: 27870.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.7, unit: 1.049, tile: 2.152e-5, fill: 0.003936, overflow: 6.379e-6, fix_up: 1.995, single: 1.214, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.54, unit: 1.054, tile: 8.888e-6, fill: 0.004561, overflow: 2.556e-5, fix_up: 3.661, single: 1.137, bytes: 20140.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 10.16, unit: 1.443, tile: 8.455e-6, fill: 0.005834, overflow: 3.582e-5, fix_up: 7.501, single: 1.103, bytes: 16350.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 7.664, unit: 0.01635, tile: 0.3824, fill: 0.00167, overflow: 5.654e-6, fix_up: 2.646, single: 1.125, bytes: 46500.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 7.714, unit: 0.004294, tile: 0.4207, fill: 0.001591, overflow: 6.061e-6, fix_up: 2.933, single: 1.117, bytes: 46340.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 7.797, unit: 0.005949, tile: 0.4668, fill: 0.001605, overflow: 5.679e-6, fix_up: 3.672, single: 1.104, bytes: 38400.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.928, unit: 0.1023, tile: 0.4669, fill: 0.001694, overflow: 3.396e-6, fix_up: 6.737, single: 1.075, bytes: 27360.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 11.97, unit: 0.005757, tile: 0.756, fill: 0.00317, overflow: 1.887e-6, fix_up: 4.339, single: 1.0, bytes: 26360.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 7.406, unit: 1.054, tile: 0.0007152, fill: 0.0006899, overflow: 3.687e-5, fix_up: 2.523, single: 1.207, bytes: 20400.0 }),
        _ => Law::Unknown,
    }
}
