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
    source: "fitted to 8308 measurements; its choices take 1.3 % longer than the best on average. Banked, Bitmap: the H200's, of 0.76 times the bandwidth",
    dense: Some(Dense { launch: 5.799, bytes: 2836000.0, least: 16777216, wide: None }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.797, unit: 0.3936, tile: 0.2985, fill: 0.0002507, overflow: 1.943e-6, fix_up: 0.4382, latency: 0.1903, bytes: 33490.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 6.975, unit: 0.3603, tile: 0.3398, fill: 3.484e-5, overflow: 5.393e-8, fix_up: 0.3127, latency: 0.1367, bytes: 29680.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.008, unit: 0.3697, tile: 0.3884, fill: 3.315e-5, overflow: 5.288e-8, fix_up: 0.4058, latency: 0.1154, bytes: 29490.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 6.838, unit: 0.3216, tile: 0.4316, fill: 2.898e-5, overflow: 5.124e-8, fix_up: 0.6031, latency: 0.1256, bytes: 28830.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.605, unit: 0.1708, tile: 0.535, fill: 2.81e-5, overflow: 5.085e-8, fix_up: 0.5592, latency: 0.003697, bytes: 26540.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 8.151, unit: 0.2252, tile: 0.5711, fill: 0.0006099, overflow: 3.373e-6, fix_up: 0.9769, latency: 0.1658, bytes: 195600.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.259, unit: 0.3733, tile: 0.6363, fill: 0.0006598, overflow: 1.804e-6, fix_up: 1.468, latency: 0.06286, bytes: 71270.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3606, tile: 0.7876, fill: 0.0007119, overflow: 2.047e-6, fix_up: 1.457, latency: 0.1593, bytes: 95530.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.123, unit: 0.5013, tile: 0.8034, fill: 0.001489, overflow: 3.111e-6, fix_up: 2.037, latency: 0.3852, bytes: 533400.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.331, unit: 0.4956, tile: 1.036, fill: 0.00167, overflow: 3.336e-6, fix_up: 2.275, latency: 0.3481, bytes: 1325000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.546, unit: 0.4463, tile: 0.0006207, fill: 0.002045, overflow: 2.953e-5, fix_up: 0.5782, latency: 0.3609, bytes: 33174.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.714, unit: 0.823, tile: 1.606e-10, fill: 0.003266, overflow: 9.915e-6, fix_up: 0.4397, latency: 0.2539, bytes: 33810.0 }),
        SlotsN3Sm90 | SlotsN4Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.003935, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        SlotsN6Sm90 | SlotsN8Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.0054, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.607, unit: 0.3869, tile: 0.1488, fill: 1.285e-5, overflow: 3.566e-8, fix_up: 0.3417, latency: 0.09435, bytes: 27180.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 27310.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 26360.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 25660.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.928, unit: 0.1819, tile: 0.3602, fill: 2.4e-5, overflow: 4.983e-8, fix_up: 0.6976, latency: 0.003994, bytes: 27090.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.03, unit: 0.2284, tile: 0.445, fill: 1.151e-5, overflow: 4.121e-8, fix_up: 0.9683, latency: 0.001133, bytes: 24790.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.622, unit: 0.4084, tile: 0.4722, fill: 0.0004863, overflow: 2.978e-6, fix_up: 1.607, latency: 0.06568, bytes: 71580.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.271, unit: 0.3906, tile: 0.5992, fill: 0.0006536, overflow: 3.384e-6, fix_up: 1.667, latency: 0.1727, bytes: 151200.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 4.737, unit: 0.6261, tile: 0.6187, fill: 0.001343, overflow: 4.531e-6, fix_up: 2.401, latency: 0.2619, bytes: 206500.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.574, unit: 0.59, tile: 0.8796, fill: 0.001282, overflow: 6.266e-6, fix_up: 2.333, latency: 0.2732, bytes: 1971000.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, latency: 0.5, bytes: 18468.0 }),
        _ => Law::Unknown,
    }
}
