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
    source: "fitted to 60547 measurements; its choices take 1.4 % longer than the best on average",
    dense: Some(Dense { launch: 7.197, bytes: 4298000.0, least: 16777216, wide: Some(Wide { columns: 512, flops: 828000000.0 }) }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.868, unit: 0.356, tile: 0.317, fill: 7.367e-5, overflow: 5.204e-7, fix_up: 0.3737, latency: 0.1835, bytes: 40470.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 7.114, unit: 0.3349, tile: 0.3432, fill: 2.866e-5, overflow: 5.197e-8, fix_up: 0.2894, latency: 0.1371, bytes: 38700.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.08, unit: 0.3566, tile: 0.3898, fill: 2.813e-5, overflow: 4.985e-8, fix_up: 0.3793, latency: 0.1004, bytes: 38080.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 6.838, unit: 0.3216, tile: 0.4316, fill: 2.898e-5, overflow: 5.124e-8, fix_up: 0.6031, latency: 0.1256, bytes: 37930.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.649, unit: 0.189, tile: 0.5289, fill: 4.101e-5, overflow: 5.258e-8, fix_up: 0.4992, latency: 0.003427, bytes: 34110.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 8.15, unit: 0.2247, tile: 0.5625, fill: 0.0007348, overflow: 2.579e-6, fix_up: 0.977, latency: 0.204, bytes: 1123000.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3733, tile: 0.6326, fill: 0.0007246, overflow: 1.204e-6, fix_up: 1.468, latency: 0.04564, bytes: 85540.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.261, unit: 0.3604, tile: 0.7818, fill: 0.000803, overflow: 1.356e-6, fix_up: 1.457, latency: 0.1637, bytes: 133500.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.123, unit: 0.5013, tile: 0.7977, fill: 0.001576, overflow: 2.413e-6, fix_up: 2.037, latency: 0.3858, bytes: 712600.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.33, unit: 0.4954, tile: 1.043, fill: 0.00157, overflow: 4.206e-6, fix_up: 2.275, latency: 0.3535, bytes: 7215000.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 7.53, unit: 0.006885, tile: 0.4062, fill: 6.986e-5, overflow: 3.642e-7, fix_up: 0.4002, latency: 0.1105, bytes: 38050.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 7.639, unit: 0.02332, tile: 0.3913, fill: 0.0001475, overflow: 1.216e-6, fix_up: 0.3842, latency: 0.1303, bytes: 38360.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 7.76, unit: 0.02071, tile: 0.4436, fill: 7.792e-5, overflow: 4.215e-7, fix_up: 0.4043, latency: 0.05499, bytes: 33890.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 7.309, unit: 0.01738, tile: 0.5006, fill: 0.0001272, overflow: 6.009e-7, fix_up: 0.7818, latency: 0.03552, bytes: 28680.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 7.728, unit: 0.01193, tile: 0.5431, fill: 8.515e-5, overflow: 5.861e-7, fix_up: 0.7844, latency: 0.0209, bytes: 27940.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 6.112, unit: 0.427, tile: 1.113e-8, fill: 0.002094, overflow: 2.651e-5, fix_up: 0.3795, latency: 0.3777, bytes: 47130.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.939, unit: 0.5172, tile: 3.162e-12, fill: 0.002465, overflow: 2.395e-5, fix_up: 0.4693, latency: 0.3545, bytes: 49270.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.59, unit: 0.4824, tile: 0.03974, fill: 0.002205, overflow: 5.035e-5, fix_up: 0.4292, latency: 0.3525, bytes: 40680.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.303, unit: 0.5607, tile: 0.06847, fill: 0.001767, overflow: 5.773e-5, fix_up: 0.611, latency: 0.3108, bytes: 38780.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 7.937, unit: 0.6571, tile: 2.343e-5, fill: 0.003015, overflow: 4.404e-5, fix_up: 0.796, latency: 0.4065, bytes: 32060.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.609, unit: 0.391, tile: 0.1498, fill: 9.117e-6, overflow: 2.948e-8, fix_up: 0.3457, latency: 0.08637, bytes: 35740.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 6.842, unit: 0.3939, tile: 0.172, fill: 1.642e-5, overflow: 4.105e-8, fix_up: 0.3293, latency: 0.06563, bytes: 35280.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.631, unit: 0.1767, tile: 0.3589, fill: 2.033e-5, overflow: 4.635e-8, fix_up: 0.5332, latency: 0.002844, bytes: 33020.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.029, unit: 0.2284, tile: 0.445, fill: 1.101e-5, overflow: 3.939e-8, fix_up: 0.9682, latency: 0.001064, bytes: 32610.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 6.622, unit: 0.4084, tile: 0.4722, fill: 0.0004863, overflow: 2.978e-6, fix_up: 1.607, latency: 0.06568, bytes: 94180.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.268, unit: 0.3913, tile: 0.5993, fill: 0.0006458, overflow: 3.431e-6, fix_up: 1.668, latency: 0.1724, bytes: 197900.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 5.122, unit: 0.572, tile: 0.6309, fill: 0.001351, overflow: 4.864e-6, fix_up: 2.293, latency: 0.3041, bytes: 987400.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.573, unit: 0.5901, tile: 0.888, fill: 0.00116, overflow: 7.079e-6, fix_up: 2.334, latency: 0.2768, bytes: 12620000.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 7.208, unit: 0.01941, tile: 0.2226, fill: 2.775e-5, overflow: 1.835e-7, fix_up: 0.4771, latency: 0.1598, bytes: 37150.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 7.241, unit: 0.01412, tile: 0.2536, fill: 1.775e-5, overflow: 1.139e-7, fix_up: 0.4484, latency: 0.1986, bytes: 37330.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 7.229, unit: 0.1517, tile: 0.2176, fill: 2.99e-5, overflow: 1.899e-7, fix_up: 0.5777, latency: 0.1097, bytes: 34820.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 7.03, unit: 0.05858, tile: 0.3343, fill: 0.0001548, overflow: 3.291e-7, fix_up: 0.8637, latency: 0.06208, bytes: 29200.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 7.519, unit: 0.07218, tile: 0.356, fill: 0.0001501, overflow: 4.444e-7, fix_up: 0.831, latency: 0.07353, bytes: 28150.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
