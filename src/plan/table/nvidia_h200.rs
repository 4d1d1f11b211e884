//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-29",
    commit: "d2cc35c",
    source: "fitted to 21088 measurements; its choices take 1.2 % longer than the best on average",
    dense: Some(Dense { launch: 8.637, bytes: 4247000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.009, unit: 0.811, tile: 0.2046, fill: 0.0003249, overflow: 1.089e-6, fix_up: 4.298, single: 1.026, bytes: 36600.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 7.609, unit: 0.7826, tile: 0.2459, fill: 0.0004098, overflow: 7.693e-7, fix_up: 5.45, single: 1.007, bytes: 31600.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 6.802, unit: 3.172, tile: 0.08022, fill: 0.0004203, overflow: 5.913e-7, fix_up: 6.351, single: 1.026, bytes: 27310.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 9.405, unit: 0.3394, tile: 0.5404, fill: 0.0003028, overflow: 2.229e-6, fix_up: 7.177, single: 1.031, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.077, unit: 1.091, tile: 0.1745, fill: 0.00027, overflow: 2.288e-7, fix_up: 2.613, single: 1.111, bytes: 31360.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.505, unit: 2.498, tile: 0.0002321, fill: 0.0004302, overflow: 1.812e-7, fix_up: 3.142, single: 1.093, bytes: 28090.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.347, unit: 2.291, tile: 0.09732, fill: 0.0003526, overflow: 2.426e-7, fix_up: 4.624, single: 1.072, bytes: 24150.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.267, unit: 0.4522, tile: 2.254e-5, fill: 0.002474, overflow: 1.68e-5, fix_up: 1.679, single: 1.394, bytes: 54160.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 6.575, unit: 0.5112, tile: 2.202e-7, fill: 0.002675, overflow: 2.616e-5, fix_up: 1.732, single: 1.343, bytes: 31390.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.927, unit: 0.4828, tile: 0.0307, fill: 0.002544, overflow: 3.71e-5, fix_up: 2.133, single: 1.315, bytes: 29610.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.784, unit: 0.2971, tile: 0.09377, fill: 0.002448, overflow: 4.484e-5, fix_up: 2.058, single: 1.21, bytes: 39820.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 8.697, unit: 0.7691, tile: 0.003595, fill: 0.002989, overflow: 5.221e-5, fix_up: 2.827, single: 1.307, bytes: 39820.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 8.784, unit: 0.2971, tile: 0.09377, fill: 0.0034, overflow: 4.484e-5, fix_up: 2.058, single: 1.21, bytes: 39820.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 7.635, unit: 0.01474, tile: 0.3756, fill: 0.001886, overflow: 1.302e-6, fix_up: 1.809, single: 1.135, bytes: 32060.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 7.371, unit: 0.0008959, tile: 0.4044, fill: 0.001916, overflow: 1.113e-6, fix_up: 2.453, single: 1.126, bytes: 31270.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 7.44, unit: 0.001225, tile: 0.4481, fill: 0.002041, overflow: 4.522e-7, fix_up: 3.222, single: 1.102, bytes: 29510.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.931, unit: 0.04952, tile: 0.4859, fill: 0.001781, overflow: 6.17e-7, fix_up: 6.042, single: 1.072, bytes: 27820.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 10.8, unit: 0.002556, tile: 0.7588, fill: 0.003144, overflow: 2.244e-7, fix_up: 4.32, single: 1.0, bytes: 18270.0 }),
        BankedVectorSm90 => Law::Units(Units { launch: 5.366, unit: 0.9857, tile: 4.023e-8, fill: 0.001327, overflow: 4.624e-5, fix_up: 2.764, single: 1.242, bytes: 20410.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, single: 1.0, bytes: 24300.0 }),
        _ => Law::Unknown,
    }
}
