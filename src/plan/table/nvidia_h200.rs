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
    source: "fitted to 29828 measurements; its choices take 1.3 % longer than the best on average",
    dense: Some(Dense { launch: 7.148, bytes: 4176000.0, least: 16777216 }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1W15Sm90 => Law::Units(Units { launch: 6.352, unit: 2.396, tile: 0.09724, fill: 0.0001386, overflow: 2.606e-7, fix_up: 0.4693, latency: 0.06472, bytes: 42270.0 }),
        BitmapN2W15Sm90 => Law::Units(Units { launch: 8.207, unit: 0.7743, tile: 0.2204, fill: 0.0001751, overflow: 3.858e-7, fix_up: 0.6536, latency: 0.02056, bytes: 39130.0 }),
        BitmapN4W11Sm90 => Law::Units(Units { launch: 7.509, unit: 2.487, tile: 0.1239, fill: 0.000103, overflow: 2.42e-7, fix_up: 1.398, latency: 0.08999, bytes: 37500.0 }),
        BitmapN8W7Sm90 => Law::Units(Units { launch: 10.86, unit: 0.2606, tile: 0.4942, fill: 2.443e-5, overflow: 3.205e-7, fix_up: 1.393, latency: 0.1175, bytes: 34400.0 }),
        BitmapN1W7Sm90 => Law::Units(Units { launch: 6.526, unit: 2.123, tile: 0.001428, fill: 0.0001929, overflow: 1.13e-7, fix_up: 0.4791, latency: 0.1582, bytes: 44650.0 }),
        BitmapN2W7Sm90 => Law::Units(Units { launch: 6.739, unit: 2.258, tile: 1.692e-5, fill: 0.0004424, overflow: 9.962e-8, fix_up: 0.7396, latency: 0.1686, bytes: 47930.0 }),
        BitmapN4W7Sm90 => Law::Units(Units { launch: 7.787, unit: 0.4556, tile: 0.3273, fill: 0.0001276, overflow: 1.324e-7, fix_up: 1.117, latency: 0.1729, bytes: 36740.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.881, unit: 0.4159, tile: 0.001901, fill: 0.002051, overflow: 2.862e-5, fix_up: 0.5262, latency: 0.3583, bytes: 44680.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.766, unit: 0.5034, tile: 5.352e-9, fill: 0.002467, overflow: 2.549e-5, fix_up: 0.6453, latency: 0.3396, bytes: 46590.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.236, unit: 0.4564, tile: 0.04547, fill: 0.002164, overflow: 5.189e-5, fix_up: 0.6615, latency: 0.3422, bytes: 40180.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 5.786, unit: 0.4195, tile: 0.1459, fill: 2.64e-5, overflow: 4.766e-8, fix_up: 0.5554, latency: 0.1107, bytes: 36690.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.689, unit: 0.4286, tile: 0.1593, fill: 3.073e-5, overflow: 5.266e-8, fix_up: 0.6283, latency: 0.1097, bytes: 35940.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.218, unit: 0.2092, tile: 0.3535, fill: 3.418e-5, overflow: 5.614e-8, fix_up: 0.872, latency: 0.007387, bytes: 33760.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 7.562, unit: 0.4238, tile: 0.4044, fill: 1.464e-5, overflow: 5.246e-8, fix_up: 1.265, latency: 0.0015, bytes: 31050.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 5.689, unit: 0.5785, tile: 0.4677, fill: 9.723e-6, overflow: 2.981e-8, fix_up: 1.984, latency: 0.0009743, bytes: 29110.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
