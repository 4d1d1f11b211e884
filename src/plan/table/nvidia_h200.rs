//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-30",
    commit: "0390972",
    source: "fitted to 29828 measurements; its choices take 1.1 % longer than the best on average",
    dense: Some(Dense { launch: 8.294, bytes: 4220000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 5.299, unit: 3.488, tile: 0.03065, fill: 0.0002198, overflow: 2.537e-7, fix_up: 0.2488, latency: 0.06838, bytes: 42680.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 8.207, unit: 0.7743, tile: 0.2204, fill: 0.0001751, overflow: 3.858e-7, fix_up: 0.6536, latency: 0.02056, bytes: 39130.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 5.889, unit: 3.542, tile: 0.03879, fill: 0.0001241, overflow: 2.377e-7, fix_up: 0.8998, latency: 0.08926, bytes: 38230.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 10.8, unit: 0.2881, tile: 0.4915, fill: 2.555e-5, overflow: 3.096e-7, fix_up: 0.9506, latency: 0.1243, bytes: 34820.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.305, unit: 2.107, tile: 0.0004284, fill: 0.0003051, overflow: 1.095e-7, fix_up: 0.3489, latency: 0.1617, bytes: 46960.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.739, unit: 2.258, tile: 1.692e-5, fill: 0.0004424, overflow: 9.962e-8, fix_up: 0.7396, latency: 0.1686, bytes: 47930.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.173, unit: 0.641, tile: 0.2959, fill: 0.0003138, overflow: 1.288e-7, fix_up: 0.7165, latency: 0.16, bytes: 42250.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.825, unit: 0.4341, tile: 0.0005668, fill: 0.002027, overflow: 2.959e-5, fix_up: 0.3964, latency: 0.3569, bytes: 45010.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.671, unit: 0.5235, tile: 1.606e-9, fill: 0.00241, overflow: 2.741e-5, fix_up: 0.4886, latency: 0.3396, bytes: 47420.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.369, unit: 0.4786, tile: 0.04263, fill: 0.002153, overflow: 5.259e-5, fix_up: 0.4378, latency: 0.3423, bytes: 40100.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 5.786, unit: 0.4195, tile: 0.1459, fill: 2.64e-5, overflow: 4.766e-8, fix_up: 0.5554, latency: 0.1107, bytes: 36690.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 35940.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.613, unit: 0.1471, tile: 0.3702, fill: 2.888e-5, overflow: 5.333e-8, fix_up: 0.5386, latency: 0.005346, bytes: 33930.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 7.068, unit: 0.4737, tile: 0.3863, fill: 1.359e-5, overflow: 4.932e-8, fix_up: 1.103, latency: 0.001435, bytes: 30990.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 5.689, unit: 0.5785, tile: 0.4677, fill: 9.723e-6, overflow: 2.981e-8, fix_up: 1.984, latency: 0.0009743, bytes: 29110.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
