//! Coefficients for NVIDIA H200. Written by `flash_llm_bench tune`; not to be edited.

use super::Table;
use crate::plan::KernelId::{self, *};
use crate::plan::model::{Decoding, Law, Units};

pub const TABLE: Table = Table {
    device: "NVIDIA H200",
    driver: "13.0",
    toolkit: "13.0",
    date: "2026-11-28",
    commit: "412b3bd",
    source: "fitted to 9165 measurements; its choices take 1.0 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.122, unit: 0.3445, tile: 0.2497, fill: 0.000255, overflow: 4.198e-6, fix_up: 3.41, single: 1.033, bytes: 38520.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 5.899, unit: 0.3077, tile: 0.2689, fill: 0.0004247, overflow: 3.437e-6, fix_up: 5.581, single: 1.01, bytes: 34990.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 8.287, unit: 0.4407, tile: 0.3395, fill: 0.0003819, overflow: 1.774e-6, fix_up: 5.036, single: 1.021, bytes: 40000.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 12.08, unit: 0.3384, tile: 0.5231, fill: 0.0003685, overflow: 2.946e-6, fix_up: 4.583, single: 1.047, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 7.287, unit: 1.277, tile: 0.1434, fill: 0.0002915, overflow: 1.28e-6, fix_up: 1.765, single: 1.12, bytes: 40000.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 7.058, unit: 0.3906, tile: 0.3095, fill: 0.0004665, overflow: 1.561e-6, fix_up: 2.862, single: 1.081, bytes: 29230.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.42, unit: 0.5803, tile: 0.3488, fill: 0.0005481, overflow: 1.276e-6, fix_up: 3.682, single: 1.055, bytes: 40000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.027, unit: 0.8154, tile: 0.0003317, fill: 0.002764, overflow: 2.222e-6, fix_up: 1.474, single: 1.346, bytes: 39820.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.559, unit: 0.8656, tile: 0.0003162, fill: 0.003127, overflow: 1.499e-6, fix_up: 1.512, single: 1.322, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.413, unit: 1.062, tile: 0.0002625, fill: 0.003756, overflow: 4.686e-6, fix_up: 2.026, single: 1.247, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 10.79, unit: 1.118, tile: 0.0001075, fill: 0.004274, overflow: 1.807e-5, fix_up: 3.039, single: 1.161, bytes: 39820.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 11.51, unit: 1.375, tile: 9.926e-5, fill: 0.005652, overflow: 3.415e-5, fix_up: 6.771, single: 1.138, bytes: 26160.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.535, unit: 0.04516, tile: 0.3753, fill: 0.001739, overflow: 1.512e-6, fix_up: 1.829, single: 1.146, bytes: 32720.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.497, unit: 0.002985, tile: 0.3997, fill: 0.001951, overflow: 1.069e-6, fix_up: 2.652, single: 1.142, bytes: 33000.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 8.708, unit: 0.003808, tile: 0.4403, fill: 0.002026, overflow: 7.119e-7, fix_up: 3.823, single: 1.121, bytes: 33000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 9.291, unit: 0.002641, tile: 0.5317, fill: 0.001626, overflow: 1.576e-6, fix_up: 6.682, single: 1.095, bytes: 30480.0 }),
        _ => Law::Unknown,
    }
}
