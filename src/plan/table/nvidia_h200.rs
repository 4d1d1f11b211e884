//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units, Wide};

#[rustfmt::skip]
pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-30",
    commit: "592d50d",
    source: "fitted to 40680 measurements; its choices take 1.1 % longer than the best on average",
    dense: Some(Dense { launch: 6.837, bytes: 4149000.0, least: 16777216, wide: Some(Wide { columns: 512, flops: 818100000.0 }) }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 5.533, unit: 3.506, tile: 0.02742, fill: 0.0002813, overflow: 2.349e-7, fix_up: 0.2475, latency: 0.08883, bytes: 47050.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 8.207, unit: 0.7743, tile: 0.2204, fill: 0.0001751, overflow: 3.858e-7, fix_up: 0.6536, latency: 0.02056, bytes: 39130.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 5.889, unit: 3.542, tile: 0.03879, fill: 0.0001241, overflow: 2.377e-7, fix_up: 0.8998, latency: 0.08926, bytes: 38230.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 10.8, unit: 0.2881, tile: 0.4915, fill: 2.555e-5, overflow: 3.096e-7, fix_up: 0.9506, latency: 0.1243, bytes: 34820.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.321, unit: 2.093, tile: 0.0001285, fill: 0.0003671, overflow: 1.016e-7, fix_up: 0.3759, latency: 0.2188, bytes: 61960.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.792, unit: 2.24, tile: 4.569e-7, fill: 0.0005348, overflow: 8.995e-8, fix_up: 0.4832, latency: 0.2105, bytes: 62260.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.384, unit: 2.244, tile: 0.05825, fill: 0.0004493, overflow: 1.189e-7, fix_up: 0.6889, latency: 0.2292, bytes: 53250.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.113, unit: 0.427, tile: 1.527e-5, fill: 0.002093, overflow: 2.652e-5, fix_up: 0.3795, latency: 0.3777, bytes: 47130.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.939, unit: 0.5172, tile: 4.335e-9, fill: 0.002465, overflow: 2.395e-5, fix_up: 0.4693, latency: 0.3545, bytes: 49270.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.59, unit: 0.4824, tile: 0.03974, fill: 0.002205, overflow: 5.035e-5, fix_up: 0.4292, latency: 0.3525, bytes: 40680.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 5.786, unit: 0.4195, tile: 0.1459, fill: 2.64e-5, overflow: 4.766e-8, fix_up: 0.5554, latency: 0.1107, bytes: 36690.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 35940.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.945, unit: 0.1897, tile: 0.3631, fill: 2.445e-5, overflow: 5.029e-8, fix_up: 0.5942, latency: 0.004201, bytes: 33810.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 7.594, unit: 0.2736, tile: 0.4325, fill: 1.267e-5, overflow: 4.537e-8, fix_up: 1.067, latency: 0.0013, bytes: 31810.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.313, unit: 0.4784, tile: 0.4767, fill: 9.105e-6, overflow: 2.775e-8, fix_up: 1.641, latency: 0.0007892, bytes: 32270.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 5.06, unit: 0.6868, tile: 0.5758, fill: 0.001173, overflow: 5.254e-6, fix_up: 2.6, latency: 0.2201, bytes: 128500.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.054, unit: 0.6668, tile: 0.8433, fill: 0.001157, overflow: 5.375e-6, fix_up: 2.438, latency: 0.2162, bytes: 227400.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
