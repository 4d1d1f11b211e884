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
    source: "fitted to 51143 measurements; its choices take 1.4 % longer than the best on average",
    dense: Some(Dense { launch: 6.837, bytes: 4149000.0, least: 16777216, wide: Some(Wide { columns: 512, flops: 818100000.0 }) }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.797, unit: 0.3936, tile: 0.2985, fill: 0.0002507, overflow: 1.943e-6, fix_up: 0.4382, latency: 0.1903, bytes: 44070.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 6.975, unit: 0.3603, tile: 0.3398, fill: 3.484e-5, overflow: 5.393e-8, fix_up: 0.3127, latency: 0.1367, bytes: 39050.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.008, unit: 0.3697, tile: 0.3884, fill: 3.315e-5, overflow: 5.288e-8, fix_up: 0.4058, latency: 0.1154, bytes: 38800.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 6.838, unit: 0.3216, tile: 0.4316, fill: 2.898e-5, overflow: 5.124e-8, fix_up: 0.6031, latency: 0.1256, bytes: 37930.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.605, unit: 0.1708, tile: 0.535, fill: 2.81e-5, overflow: 5.085e-8, fix_up: 0.5592, latency: 0.003697, bytes: 34920.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 8.151, unit: 0.2252, tile: 0.5711, fill: 0.0006099, overflow: 3.373e-6, fix_up: 0.9769, latency: 0.1658, bytes: 257400.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.259, unit: 0.3733, tile: 0.6363, fill: 0.0006598, overflow: 1.804e-6, fix_up: 1.468, latency: 0.06286, bytes: 93770.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3606, tile: 0.7876, fill: 0.0007119, overflow: 2.047e-6, fix_up: 1.457, latency: 0.1593, bytes: 125700.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.123, unit: 0.5013, tile: 0.8034, fill: 0.001489, overflow: 3.111e-6, fix_up: 2.037, latency: 0.3852, bytes: 701900.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.331, unit: 0.4956, tile: 1.036, fill: 0.00167, overflow: 3.336e-6, fix_up: 2.275, latency: 0.3481, bytes: 1743000.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.112, unit: 0.427, tile: 4.122e-7, fill: 0.002094, overflow: 2.651e-5, fix_up: 0.3795, latency: 0.3777, bytes: 47130.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.939, unit: 0.5172, tile: 1.171e-10, fill: 0.002465, overflow: 2.395e-5, fix_up: 0.4693, latency: 0.3545, bytes: 49270.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.59, unit: 0.4824, tile: 0.03974, fill: 0.002205, overflow: 5.035e-5, fix_up: 0.4292, latency: 0.3525, bytes: 40680.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.607, unit: 0.3869, tile: 0.1488, fill: 1.285e-5, overflow: 3.566e-8, fix_up: 0.3417, latency: 0.09435, bytes: 35760.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 35940.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.928, unit: 0.1819, tile: 0.3602, fill: 2.4e-5, overflow: 4.983e-8, fix_up: 0.6976, latency: 0.003994, bytes: 35640.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.03, unit: 0.2284, tile: 0.445, fill: 1.151e-5, overflow: 4.121e-8, fix_up: 0.9683, latency: 0.001133, bytes: 32620.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.622, unit: 0.4084, tile: 0.4722, fill: 0.0004863, overflow: 2.978e-6, fix_up: 1.607, latency: 0.06568, bytes: 94180.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.271, unit: 0.3906, tile: 0.5992, fill: 0.0006536, overflow: 3.384e-6, fix_up: 1.667, latency: 0.1727, bytes: 199000.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 4.737, unit: 0.6261, tile: 0.6187, fill: 0.001343, overflow: 4.531e-6, fix_up: 2.401, latency: 0.2619, bytes: 271700.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.574, unit: 0.59, tile: 0.8796, fill: 0.001282, overflow: 6.266e-6, fix_up: 2.333, latency: 0.2732, bytes: 2593000.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
