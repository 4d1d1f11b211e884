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
    commit: "7129dc9",
    source: "fitted to 138579 measurements; its choices take 1.0 % longer than the best on average",
    dense: Some(Dense { launch: 6.779, bytes: 4147000.0, least: 16777216, wide: Some(Wide { columns: 512, flops: 831300000.0 }) }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.355, unit: 0.4244, tile: 0.3434, fill: 5.701e-5, overflow: 4.023e-7, fix_up: 0.6653, latency: 0.1147, bytes: 40580.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 5.676, unit: 0.3915, tile: 0.3561, fill: 2.63e-5, overflow: 5.064e-8, fix_up: 0.6104, latency: 0.1735, bytes: 42950.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 6.307, unit: 0.3673, tile: 0.4213, fill: 2.19e-5, overflow: 4.951e-8, fix_up: 0.5118, latency: 0.1629, bytes: 39110.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 7.267, unit: 0.352, tile: 0.4363, fill: 2.554e-5, overflow: 4.947e-8, fix_up: 0.4864, latency: 0.1628, bytes: 41030.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 6.471, unit: 0.3231, tile: 0.4913, fill: 4.085e-5, overflow: 5.134e-8, fix_up: 0.4955, latency: 0.004216, bytes: 35410.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 6.206, unit: 0.5041, tile: 0.552, fill: 0.000191, overflow: 2.12e-6, fix_up: 0.8437, latency: 0.1286, bytes: 59040.0 }),
        BitmapN14Sm90 => Law::Units(Units { launch: 5.668, unit: 0.3885, tile: 0.5913, fill: 0.0004527, overflow: 9.886e-7, fix_up: 1.313, latency: 0.03452, bytes: 53800.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 5.388, unit: 0.5013, tile: 0.6324, fill: 0.0003357, overflow: 1.016e-6, fix_up: 0.8728, latency: 0.03322, bytes: 51000.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 6.193, unit: 0.4326, tile: 0.8155, fill: 0.0004774, overflow: 4.234e-6, fix_up: 0.8831, latency: 0.181, bytes: 109400.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.807, unit: 0.3725, tile: 0.8589, fill: 0.0007941, overflow: 1.899e-6, fix_up: 0.7905, latency: 0.1724, bytes: 79880.0 }),
        BitmapN28Sm90 => Law::Units(Units { launch: 6.148, unit: 0.3465, tile: 1.05, fill: 0.000732, overflow: 3.882e-6, fix_up: 0.7248, latency: 0.2043, bytes: 102300.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.433, unit: 0.3868, tile: 1.126, fill: 0.0009822, overflow: 3.646e-6, fix_up: 0.6961, latency: 0.2294, bytes: 139300.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 6.292, unit: 0.02838, tile: 0.4373, fill: 0.0001604, overflow: 2.547e-7, fix_up: 0.4804, latency: 0.1632, bytes: 38960.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 6.733, unit: 0.03015, tile: 0.4298, fill: 0.0001864, overflow: 3.436e-7, fix_up: 0.531, latency: 0.06509, bytes: 43980.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 6.946, unit: 0.02595, tile: 0.4812, fill: 8.126e-5, overflow: 2.328e-7, fix_up: 0.5498, latency: 0.06611, bytes: 34200.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 6.731, unit: 0.01318, tile: 0.5146, fill: 0.0001003, overflow: 4.312e-7, fix_up: 0.8619, latency: 0.04571, bytes: 31790.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 7.087, unit: 0.01152, tile: 0.5585, fill: 8.592e-5, overflow: 5.238e-7, fix_up: 0.5743, latency: 0.01877, bytes: 28560.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.847, unit: 0.4457, tile: 3.339e-9, fill: 0.001958, overflow: 2.674e-5, fix_up: 0.8431, latency: 0.3047, bytes: 40640.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.442, unit: 0.5384, tile: 2.846e-13, fill: 0.00254, overflow: 2.546e-5, fix_up: 0.8787, latency: 0.2367, bytes: 48950.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 5.967, unit: 0.4914, tile: 0.02662, fill: 0.002481, overflow: 4.141e-5, fix_up: 0.5765, latency: 0.4392, bytes: 47750.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.428, unit: 0.5513, tile: 0.06343, fill: 0.001989, overflow: 5.56e-5, fix_up: 0.485, latency: 0.3055, bytes: 44700.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 8.236, unit: 0.604, tile: 0.04874, fill: 0.002045, overflow: 6.648e-5, fix_up: 0.6503, latency: 0.4664, bytes: 34560.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.7775, tile: 0.03, fill: 0.002899, overflow: 0.0001055, fix_up: 0.8435, latency: 0.32, bytes: 27650.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.208, unit: 0.3999, tile: 0.151, fill: 5.543e-6, overflow: 2.174e-8, fix_up: 0.7323, latency: 0.07659, bytes: 37960.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.437, unit: 0.4325, tile: 0.1643, fill: 9.135e-6, overflow: 3.091e-8, fix_up: 0.6305, latency: 0.07696, bytes: 36030.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 6.054, unit: 0.3934, tile: 0.197, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.711, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.819, unit: 0.4115, tile: 0.2453, fill: 2.265e-5, overflow: 4.811e-8, fix_up: 0.8698, latency: 0.09265, bytes: 34920.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.268, unit: 0.3638, tile: 0.3032, fill: 1.256e-5, overflow: 4.036e-8, fix_up: 0.762, latency: 0.002324, bytes: 32550.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 6.639, unit: 0.4894, tile: 0.3809, fill: 1.009e-5, overflow: 3.639e-8, fix_up: 0.8535, latency: 0.000948, bytes: 32600.0 }),
        BankedN14Sm90 => Law::Units(Units { launch: 5.108, unit: 0.7119, tile: 0.3467, fill: 0.000109, overflow: 4.89e-7, fix_up: 1.424, latency: 0.009094, bytes: 49350.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 5.136, unit: 0.5232, tile: 0.4628, fill: 7.666e-5, overflow: 3.664e-7, fix_up: 1.593, latency: 0.00763, bytes: 48280.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 5.9, unit: 0.3638, tile: 0.6654, fill: 0.0002323, overflow: 5.444e-6, fix_up: 0.776, latency: 0.2078, bytes: 192600.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 3.43, unit: 0.4726, tile: 0.5179, fill: 0.001236, overflow: 1.62e-6, fix_up: 1.395, latency: 0.329, bytes: 362000.0 }),
        BankedN28Sm90 => Law::Units(Units { launch: 3.793, unit: 0.476, tile: 0.7168, fill: 0.0008144, overflow: 2.716e-6, fix_up: 1.389, latency: 0.339, bytes: 4447000.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.004, unit: 0.2853, tile: 1.055, fill: 0.0004652, overflow: 4.618e-6, fix_up: 0.6924, latency: 0.1965, bytes: 132200.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 6.61, unit: 0.04186, tile: 0.2355, fill: 1.173e-5, overflow: 6.878e-8, fix_up: 0.7133, latency: 0.1295, bytes: 37310.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 6.303, unit: 0.04089, tile: 0.2489, fill: 6.695e-6, overflow: 3.799e-8, fix_up: 0.6698, latency: 0.1783, bytes: 38720.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 6.322, unit: 0.1543, tile: 0.2301, fill: 1.498e-5, overflow: 8.315e-8, fix_up: 0.6823, latency: 0.09745, bytes: 35060.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.165, unit: 0.08888, tile: 0.3463, fill: 7.253e-5, overflow: 1.514e-7, fix_up: 0.8, latency: 0.1066, bytes: 28810.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 6.717, unit: 0.09984, tile: 0.354, fill: 0.0004866, overflow: 2.741e-7, fix_up: 0.6844, latency: 0.02398, bytes: 30880.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.8344, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.5506, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
