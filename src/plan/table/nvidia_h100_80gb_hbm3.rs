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
        BitmapN1Sm90 => Law::Units(Units { launch: 6.355, unit: 0.4244, tile: 0.3434, fill: 5.701e-5, overflow: 4.023e-7, fix_up: 0.6653, latency: 0.1147, bytes: 30840.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 5.676, unit: 0.3915, tile: 0.3561, fill: 2.63e-5, overflow: 5.064e-8, fix_up: 0.6104, latency: 0.1735, bytes: 32640.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 6.364, unit: 0.3603, tile: 0.4016, fill: 1.977e-5, overflow: 4.836e-8, fix_up: 0.5224, latency: 0.161, bytes: 32810.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 7.267, unit: 0.352, tile: 0.4363, fill: 2.554e-5, overflow: 4.947e-8, fix_up: 0.4864, latency: 0.1791, bytes: 31180.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 6.471, unit: 0.3231, tile: 0.4913, fill: 4.085e-5, overflow: 5.134e-8, fix_up: 0.4955, latency: 0.004216, bytes: 26910.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 6.162, unit: 0.4779, tile: 0.5595, fill: 0.0001506, overflow: 1.633e-6, fix_up: 0.8946, latency: 0.07101, bytes: 33140.0 }),
        BitmapN14Sm90 => Law::Units(Units { launch: 5.668, unit: 0.3885, tile: 0.5913, fill: 0.0004527, overflow: 9.886e-7, fix_up: 1.313, latency: 0.03452, bytes: 40890.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 5.388, unit: 0.5013, tile: 0.6324, fill: 0.0003357, overflow: 1.016e-6, fix_up: 0.8728, latency: 0.03322, bytes: 38760.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 6.193, unit: 0.4326, tile: 0.8155, fill: 0.0004774, overflow: 4.234e-6, fix_up: 0.8831, latency: 0.181, bytes: 83140.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.802, unit: 0.3887, tile: 0.8521, fill: 0.0007746, overflow: 1.779e-6, fix_up: 0.7684, latency: 0.1183, bytes: 58690.0 }),
        BitmapN28Sm90 => Law::Units(Units { launch: 6.286, unit: 0.3355, tile: 1.037, fill: 0.0008097, overflow: 3.728e-6, fix_up: 0.7416, latency: 0.1835, bytes: 84970.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.809, unit: 0.3611, tile: 1.092, fill: 0.0009802, overflow: 3.527e-6, fix_up: 0.7109, latency: 0.1899, bytes: 112400.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 6.292, unit: 0.02838, tile: 0.4373, fill: 0.0001604, overflow: 2.547e-7, fix_up: 0.4804, latency: 0.1632, bytes: 29610.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 6.733, unit: 0.03015, tile: 0.4298, fill: 0.0001864, overflow: 3.436e-7, fix_up: 0.531, latency: 0.06509, bytes: 33420.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 6.68, unit: 0.02804, tile: 0.4843, fill: 6.549e-5, overflow: 1.903e-7, fix_up: 0.5348, latency: 0.1218, bytes: 28480.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 6.731, unit: 0.01318, tile: 0.5146, fill: 0.0001003, overflow: 4.312e-7, fix_up: 0.8619, latency: 0.04571, bytes: 24160.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 7.087, unit: 0.01152, tile: 0.5585, fill: 8.592e-5, overflow: 5.238e-7, fix_up: 0.5743, latency: 0.01877, bytes: 21710.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.546, unit: 0.4463, tile: 0.0006207, fill: 0.002045, overflow: 2.953e-5, fix_up: 0.5782, latency: 0.3609, bytes: 33174.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 9.714, unit: 0.823, tile: 1.606e-10, fill: 0.003266, overflow: 9.915e-6, fix_up: 0.4397, latency: 0.2539, bytes: 33810.0 }),
        SlotsN3Sm90 | SlotsN4Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.003935, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        SlotsN6Sm90 | SlotsN8Sm90 => Law::Units(Units { launch: 9.068, unit: 1.053, tile: 5.779e-7, fill: 0.0054, overflow: 6.111e-6, fix_up: 1.936, latency: 0.5, bytes: 24890.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.212, unit: 0.3996, tile: 0.1511, fill: 5.246e-6, overflow: 2.042e-8, fix_up: 0.7309, latency: 0.06595, bytes: 28870.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.441, unit: 0.4326, tile: 0.1644, fill: 7.657e-6, overflow: 2.796e-8, fix_up: 0.629, latency: 0.07639, bytes: 27380.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 6.054, unit: 0.3934, tile: 0.197, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.711, latency: 0.07056, bytes: 26360.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.819, unit: 0.4115, tile: 0.2453, fill: 2.265e-5, overflow: 4.811e-8, fix_up: 0.8698, latency: 0.09265, bytes: 26540.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 6.268, unit: 0.3784, tile: 0.3032, fill: 1.256e-5, overflow: 4.036e-8, fix_up: 0.762, latency: 0.002324, bytes: 24740.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 5.311, unit: 0.4894, tile: 0.3809, fill: 1.009e-5, overflow: 3.639e-8, fix_up: 0.9231, latency: 0.000948, bytes: 24780.0 }),
        BankedN14Sm90 => Law::Units(Units { launch: 4.597, unit: 0.7404, tile: 0.3606, fill: 0.000109, overflow: 4.89e-7, fix_up: 1.481, latency: 0.009094, bytes: 36010.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 4.273, unit: 0.5985, tile: 0.4628, fill: 6.133e-5, overflow: 2.931e-7, fix_up: 1.593, latency: 0.00763, bytes: 40360.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.06, unit: 0.2966, tile: 0.6537, fill: 0.0001848, overflow: 4.943e-6, fix_up: 0.8163, latency: 0.2148, bytes: 234800.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 4.446, unit: 0.3674, tile: 0.6506, fill: 0.001026, overflow: 1.598e-6, fix_up: 1.378, latency: 0.2259, bytes: 146800.0 }),
        BankedN28Sm90 => Law::Units(Units { launch: 4.267, unit: 0.476, tile: 0.7168, fill: 0.0008144, overflow: 2.716e-6, fix_up: 1.389, latency: 0.339, bytes: 3380000.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.275, unit: 0.2363, tile: 1.044, fill: 0.0003438, overflow: 4.9e-6, fix_up: 0.9051, latency: 0.108, bytes: 125800.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 6.61, unit: 0.04186, tile: 0.2119, fill: 1.173e-5, overflow: 6.878e-8, fix_up: 0.5706, latency: 0.1295, bytes: 28360.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 6.304, unit: 0.04093, tile: 0.2488, fill: 5.567e-6, overflow: 3.143e-8, fix_up: 0.6682, latency: 0.1788, bytes: 29420.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 6.322, unit: 0.1543, tile: 0.2301, fill: 1.498e-5, overflow: 8.315e-8, fix_up: 0.6823, latency: 0.09745, bytes: 26650.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.165, unit: 0.08888, tile: 0.3463, fill: 7.253e-5, overflow: 1.514e-7, fix_up: 0.8, latency: 0.1066, bytes: 21900.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 6.717, unit: 0.09984, tile: 0.354, fill: 0.0004866, overflow: 2.741e-7, fix_up: 0.6844, latency: 0.02398, bytes: 23470.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 7.431, unit: 0.7945, tile: 0.3075, fill: 0.004362, overflow: 3.557e-7, fix_up: 2.13, latency: 0.5, bytes: 18468.0 }),
        _ => Law::Unknown,
    }
}
