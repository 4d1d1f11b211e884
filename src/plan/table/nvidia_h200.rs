//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-30",
    commit: "592d50d",
    source: "fitted to 31746 measurements; its choices take 1.0 % longer than the best on average",
    dense: Some(Dense { launch: 8.294, bytes: 4220000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 5.536, unit: 3.508, tile: 0.02742, fill: 0.0002791, overflow: 2.41e-7, fix_up: 0.2474, latency: 0.08804, bytes: 47040.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 8.207, unit: 0.7743, tile: 0.2204, fill: 0.0001751, overflow: 3.858e-7, fix_up: 0.6536, latency: 0.02056, bytes: 39130.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 5.889, unit: 3.542, tile: 0.03879, fill: 0.0001241, overflow: 2.377e-7, fix_up: 0.8998, latency: 0.08926, bytes: 38230.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 10.8, unit: 0.2881, tile: 0.4915, fill: 2.555e-5, overflow: 3.096e-7, fix_up: 0.9506, latency: 0.1243, bytes: 34820.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.322, unit: 2.094, tile: 0.0001285, fill: 0.0003654, overflow: 1.041e-7, fix_up: 0.3758, latency: 0.2186, bytes: 61840.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.792, unit: 2.24, tile: 1.523e-6, fill: 0.0005343, overflow: 9.299e-8, fix_up: 0.4832, latency: 0.2104, bytes: 62220.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.386, unit: 2.244, tile: 0.05825, fill: 0.0004479, overflow: 1.221e-7, fix_up: 0.6887, latency: 0.2288, bytes: 53110.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.113, unit: 0.427, tile: 5.092e-5, fill: 0.002092, overflow: 2.655e-5, fix_up: 0.3795, latency: 0.3777, bytes: 47130.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.939, unit: 0.5172, tile: 1.445e-8, fill: 0.002464, overflow: 2.397e-5, fix_up: 0.4694, latency: 0.3545, bytes: 49270.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.59, unit: 0.4824, tile: 0.03976, fill: 0.002204, overflow: 5.036e-5, fix_up: 0.4291, latency: 0.3525, bytes: 40680.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 5.786, unit: 0.4195, tile: 0.1459, fill: 2.64e-5, overflow: 4.766e-8, fix_up: 0.5554, latency: 0.1107, bytes: 36690.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 35940.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.945, unit: 0.1897, tile: 0.3631, fill: 2.445e-5, overflow: 5.029e-8, fix_up: 0.5942, latency: 0.004201, bytes: 33810.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 6.535, unit: 0.4767, tile: 0.3846, fill: 1.304e-5, overflow: 4.708e-8, fix_up: 1.209, latency: 0.00138, bytes: 30980.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 5.634, unit: 0.5, tile: 0.4982, fill: 9.309e-6, overflow: 2.834e-8, fix_up: 1.584, latency: 0.0008383, bytes: 29210.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
