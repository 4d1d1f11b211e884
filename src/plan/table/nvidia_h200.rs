//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-29",
    commit: "cdbe4a7",
    source: "fitted to 17963 measurements; its choices take 1.4 % longer than the best on average",
    dense: Some(Dense { launch: 8.637, bytes: 4247000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 5.878, unit: 0.7028, tile: 0.2106, fill: 0.0003469, overflow: 1.115e-6, fix_up: 4.341, single: 1.028, bytes: 36260.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 7.609, unit: 0.7826, tile: 0.2459, fill: 0.0004098, overflow: 7.693e-7, fix_up: 5.45, single: 1.007, bytes: 31600.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 6.862, unit: 0.8725, tile: 0.29, fill: 0.0003994, overflow: 7.591e-7, fix_up: 6.384, single: 1.031, bytes: 27380.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.034, unit: 1.658, tile: 0.09309, fill: 0.0003106, overflow: 3.096e-7, fix_up: 2.504, single: 1.109, bytes: 31090.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.746, unit: 2.486, tile: 0.002579, fill: 0.0004293, overflow: 2.335e-7, fix_up: 2.83, single: 1.094, bytes: 27990.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 9.493, unit: 2.805, tile: 0.03443, fill: 0.0004067, overflow: 2.789e-7, fix_up: 4.46, single: 1.056, bytes: 23610.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.24, unit: 0.4526, tile: 2.499e-6, fill: 0.002255, overflow: 3.096e-5, fix_up: 1.645, single: 1.391, bytes: 33850.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 6.575, unit: 0.5112, tile: 2.202e-7, fill: 0.002675, overflow: 2.616e-5, fix_up: 1.732, single: 1.343, bytes: 31390.0 }),
        SlotsN3Sm90 | SlotsN4Sm90 => Law::Units(Units { launch: 8.614, unit: 0.2872, tile: 0.09848, fill: 0.002327, overflow: 4.713e-5, fix_up: 1.965, single: 1.2, bytes: 39820.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 7.586, unit: 0.01542, tile: 0.3731, fill: 0.001925, overflow: 1.117e-6, fix_up: 1.824, single: 1.133, bytes: 31950.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 7.409, unit: 0.001115, tile: 0.4028, fill: 0.001936, overflow: 1.079e-6, fix_up: 2.405, single: 1.126, bytes: 31190.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 7.482, unit: 0.001758, tile: 0.4471, fill: 0.002043, overflow: 5.094e-7, fix_up: 3.143, single: 1.103, bytes: 29580.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.504, unit: 0.04946, tile: 0.4852, fill: 0.001805, overflow: 5.515e-7, fix_up: 6.256, single: 1.071, bytes: 27560.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 10.65, unit: 0.00258, tile: 0.7557, fill: 0.00319, overflow: 2.004e-7, fix_up: 4.395, single: 1.0, bytes: 18140.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 6.004, unit: 0.9692, tile: 4.469e-7, fill: 0.001284, overflow: 4.771e-5, fix_up: 2.567, single: 1.247, bytes: 20630.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
