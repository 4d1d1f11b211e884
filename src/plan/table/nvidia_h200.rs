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
    source: "fitted to 9165 measurements; its choices take 1.3 % longer than the best on average",
    law,
};

#[rustfmt::skip]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.154, unit: 0.3444, tile: 0.2491, fill: 0.00027, overflow: 3.932e-6, fix_up: 3.395, single: 1.033, bytes: 38520.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 5.932, unit: 0.3077, tile: 0.269, fill: 0.0004191, overflow: 3.491e-6, fix_up: 5.564, single: 1.011, bytes: 34990.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 8.544, unit: 0.3828, tile: 0.3432, fill: 0.0003288, overflow: 2.348e-6, fix_up: 4.98, single: 1.022, bytes: 40000.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 12.23, unit: 0.3027, tile: 0.522, fill: 0.0003593, overflow: 3.084e-6, fix_up: 4.67, single: 1.046, bytes: 30100.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 7.436, unit: 0.5468, tile: 0.2454, fill: 0.0002694, overflow: 1.746e-6, fix_up: 1.745, single: 1.12, bytes: 40000.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 7.429, unit: 0.3155, tile: 0.3159, fill: 0.0004405, overflow: 2.011e-6, fix_up: 2.742, single: 1.081, bytes: 29230.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 8.82, unit: 0.4401, tile: 0.3635, fill: 0.000516, overflow: 1.772e-6, fix_up: 3.582, single: 1.056, bytes: 40000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 8.215, unit: 0.8022, tile: 0.001231, fill: 0.002704, overflow: 3.259e-6, fix_up: 1.438, single: 1.35, bytes: 39820.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 8.715, unit: 0.8522, tile: 0.001166, fill: 0.003064, overflow: 2.541e-6, fix_up: 1.508, single: 1.324, bytes: 39820.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 8.623, unit: 1.043, tile: 0.0009974, fill: 0.003672, overflow: 6.004e-6, fix_up: 2.031, single: 1.249, bytes: 24890.0 }),
        SlotsN4WgmmaSm90 => Law::Units(Units { launch: 11.13, unit: 1.085, tile: 0.0004132, fill: 0.004236, overflow: 1.876e-5, fix_up: 2.965, single: 1.162, bytes: 39820.0 }),
        SlotsN8WgmmaSm90 => Law::Units(Units { launch: 12.56, unit: 1.3, tile: 0.0003758, fill: 0.00556, overflow: 3.506e-5, fix_up: 6.411, single: 1.144, bytes: 26160.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 8.744, unit: 0.02932, tile: 0.3792, fill: 0.001679, overflow: 1.953e-6, fix_up: 1.741, single: 1.146, bytes: 33100.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 8.959, unit: 0.004646, tile: 0.3885, fill: 0.001855, overflow: 1.589e-6, fix_up: 2.389, single: 1.142, bytes: 33000.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 9.376, unit: 0.004855, tile: 0.4242, fill: 0.001913, overflow: 1.293e-6, fix_up: 3.434, single: 1.121, bytes: 33000.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 10.64, unit: 0.00379, tile: 0.4984, fill: 0.00153, overflow: 2.107e-6, fix_up: 5.838, single: 1.098, bytes: 30480.0 }),
        _ => Law::Unknown,
    }
}
