//! Coefficients for NVIDIA H100 80GB HBM3. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Dense, Law, Units};

#[rustfmt::skip]
pub const TABLE: Table = Table {
    device: "NVIDIA H100 80GB HBM3",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "2eb976b",
    source: "fitted to 10264 measurements; its choices take 1.3 % longer than the best on average. Banked: the H200's, of 0.76 times the bandwidth",
    dense: Some(Dense { launch: 5.799, bytes: 2836000.0, least: 16777216, wide: None }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 5.786, unit: 0.4195, tile: 0.1459, fill: 2.64e-5, overflow: 4.766e-8, fix_up: 0.5554, latency: 0.1107, bytes: 27880.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 27310.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 26360.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 25660.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 6.945, unit: 0.1897, tile: 0.3631, fill: 2.445e-5, overflow: 5.029e-8, fix_up: 0.5942, latency: 0.004201, bytes: 25700.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 7.594, unit: 0.2736, tile: 0.4325, fill: 1.267e-5, overflow: 4.537e-8, fix_up: 1.067, latency: 0.0013, bytes: 24180.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 6.313, unit: 0.4784, tile: 0.4767, fill: 9.105e-6, overflow: 2.775e-8, fix_up: 1.641, latency: 0.0007892, bytes: 24530.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 5.06, unit: 0.6868, tile: 0.5758, fill: 0.001173, overflow: 5.254e-6, fix_up: 2.6, latency: 0.2201, bytes: 97660.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 5.06, unit: 0.6868, tile: 0.5758, fill: 0.001173, overflow: 5.254e-6, fix_up: 2.6, latency: 0.2201, bytes: 97660.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 5.054, unit: 0.6668, tile: 0.8433, fill: 0.001157, overflow: 5.375e-6, fix_up: 2.438, latency: 0.2162, bytes: 172800.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.546, unit: 0.4463, tile: 0.0006207, fill: 0.002045, overflow: 2.953e-5, fix_up: 0.5782, latency: 0.3609, bytes: 33174.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.714, unit: 0.823, tile: 1.606e-10, fill: 0.003266, overflow: 9.915e-6, fix_up: 0.4397, latency: 0.2539, bytes: 33810.0 }),
        SlotsN3Sm90 | SlotsN4Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.003935, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        SlotsN6Sm90 | SlotsN8Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.0054, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 5.786, unit: 0.4195, tile: 0.1459, fill: 2.64e-5, overflow: 4.766e-8, fix_up: 0.5554, latency: 0.1107, bytes: 27880.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 27310.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 26360.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 25660.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.945, unit: 0.1897, tile: 0.3631, fill: 2.445e-5, overflow: 5.029e-8, fix_up: 0.5942, latency: 0.004201, bytes: 25700.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 7.594, unit: 0.2736, tile: 0.4325, fill: 1.267e-5, overflow: 4.537e-8, fix_up: 1.067, latency: 0.0013, bytes: 24180.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.313, unit: 0.4784, tile: 0.4767, fill: 9.105e-6, overflow: 2.775e-8, fix_up: 1.641, latency: 0.0007892, bytes: 24530.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 5.06, unit: 0.6868, tile: 0.5758, fill: 0.001173, overflow: 5.254e-6, fix_up: 2.6, latency: 0.2201, bytes: 97660.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 5.06, unit: 0.6868, tile: 0.5758, fill: 0.001173, overflow: 5.254e-6, fix_up: 2.6, latency: 0.2201, bytes: 97660.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.054, unit: 0.6668, tile: 0.8433, fill: 0.001157, overflow: 5.375e-6, fix_up: 2.438, latency: 0.2162, bytes: 172800.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, latency: 0.5, bytes: 18468.0 }),
        _ => Law::Unknown,
    }
}
