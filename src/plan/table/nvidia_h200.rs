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
    source: "fitted to 88738 measurements; its choices take 1.4 % longer than the best on average",
    dense: Some(Dense { launch: 6.812, bytes: 4148000.0, least: 16777216, wide: Some(Wide { columns: 512, flops: 831300000.0 }) }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.208, unit: 0.4195, tile: 0.3418, fill: 6.112e-5, overflow: 4.572e-7, fix_up: 0.3748, latency: 0.1083, bytes: 40230.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 8.139, unit: 0.3349, tile: 0.3432, fill: 2.866e-5, overflow: 5.197e-8, fix_up: 0.2894, latency: 0.1371, bytes: 38700.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.08, unit: 0.3566, tile: 0.3898, fill: 2.813e-5, overflow: 4.985e-8, fix_up: 0.434, latency: 0.1004, bytes: 38080.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 7.359, unit: 0.3386, tile: 0.4466, fill: 2.738e-5, overflow: 5.033e-8, fix_up: 0.4291, latency: 0.1115, bytes: 33730.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.955, unit: 0.189, tile: 0.5289, fill: 4.101e-5, overflow: 5.258e-8, fix_up: 0.4992, latency: 0.003427, bytes: 34110.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 7.598, unit: 0.2728, tile: 0.5822, fill: 0.0005749, overflow: 3.222e-6, fix_up: 1.041, latency: 0.2138, bytes: 384400.0 }),
        BitmapN14Sm90 => Law::Units(Units { launch: 7.061, unit: 0.3718, tile: 0.6779, fill: 0.000625, overflow: 1.123e-6, fix_up: 1.336, latency: 0.03844, bytes: 75270.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.061, unit: 0.3718, tile: 0.6779, fill: 0.000625, overflow: 1.123e-6, fix_up: 1.336, latency: 0.03844, bytes: 75270.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.338, unit: 0.3374, tile: 0.8227, fill: 0.0009485, overflow: 1.626e-6, fix_up: 1.206, latency: 0.1433, bytes: 101600.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.37, unit: 0.5272, tile: 0.8243, fill: 0.001499, overflow: 5.722e-6, fix_up: 1.825, latency: 0.357, bytes: 236400.0 }),
        BitmapN28Sm90 => Law::Units(Units { launch: 6.302, unit: 0.5512, tile: 1.026, fill: 0.00159, overflow: 5.641e-6, fix_up: 2.018, latency: 0.3913, bytes: 29560000.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.302, unit: 0.5512, tile: 1.026, fill: 0.00159, overflow: 5.641e-6, fix_up: 2.018, latency: 0.3913, bytes: 29560000.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 6.554, unit: 0.03849, tile: 0.4373, fill: 0.0001604, overflow: 2.547e-7, fix_up: 0.5338, latency: 0.1142, bytes: 38960.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 6.733, unit: 0.03015, tile: 0.4298, fill: 0.0001864, overflow: 3.436e-7, fix_up: 0.531, latency: 0.1017, bytes: 39980.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 6.549, unit: 0.04218, tile: 0.4771, fill: 8.485e-5, overflow: 2.705e-7, fix_up: 0.6874, latency: 0.05796, bytes: 32520.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 6.731, unit: 0.01318, tile: 0.5146, fill: 0.0001003, overflow: 4.312e-7, fix_up: 0.8619, latency: 0.04571, bytes: 28900.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 7.728, unit: 0.01193, tile: 0.5431, fill: 8.515e-5, overflow: 5.861e-7, fix_up: 0.7844, latency: 0.0209, bytes: 27940.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.847, unit: 0.4221, tile: 3.339e-9, fill: 0.001958, overflow: 2.674e-5, fix_up: 0.536, latency: 0.3809, bytes: 40640.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.955, unit: 0.5042, tile: 9.486e-13, fill: 0.002345, overflow: 2.889e-5, fix_up: 0.5371, latency: 0.3443, bytes: 44480.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.395, unit: 0.4286, tile: 0.04555, fill: 0.002198, overflow: 5.447e-5, fix_up: 0.3819, latency: 0.4206, bytes: 47130.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.514, unit: 0.531, tile: 0.07065, fill: 0.001905, overflow: 5.52e-5, fix_up: 0.3274, latency: 0.3833, bytes: 45600.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 8.236, unit: 0.55, tile: 0.04874, fill: 0.002367, overflow: 6.648e-5, fix_up: 0.6253, latency: 0.424, bytes: 34560.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.6912, tile: 0.03, fill: 0.003432, overflow: 9.375e-5, fix_up: 0.96, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 5.954, unit: 0.4094, tile: 0.1559, fill: 6.674e-6, overflow: 2.448e-8, fix_up: 0.4722, latency: 0.07426, bytes: 35610.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.986, unit: 0.4154, tile: 0.1756, fill: 1.355e-5, overflow: 3.768e-8, fix_up: 0.517, latency: 0.07578, bytes: 35060.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 6.064, unit: 0.394, tile: 0.2105, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.6837, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.45, unit: 0.1792, tile: 0.364, fill: 1.782e-5, overflow: 4.334e-8, fix_up: 0.4942, latency: 0.002403, bytes: 32830.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 7.708, unit: 0.2855, tile: 0.445, fill: 1.101e-5, overflow: 3.939e-8, fix_up: 0.7746, latency: 0.001064, bytes: 32610.0 }),
        BankedN14Sm90 => Law::Units(Units { launch: 7.46, unit: 0.3277, tile: 0.5397, fill: 0.0002008, overflow: 9.399e-7, fix_up: 1.404, latency: 0.01516, bytes: 34860.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 7.46, unit: 0.3277, tile: 0.5397, fill: 0.0002008, overflow: 9.399e-7, fix_up: 1.404, latency: 0.01516, bytes: 34860.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.286, unit: 0.3902, tile: 0.6288, fill: 0.0006059, overflow: 4.622e-6, fix_up: 1.382, latency: 0.2063, bytes: 278600.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 4.61, unit: 0.572, tile: 0.6561, fill: 0.001351, overflow: 4.864e-6, fix_up: 1.834, latency: 0.3041, bytes: 987400.0 }),
        BankedN28Sm90 => Law::Units(Units { launch: 5.573, unit: 0.5901, tile: 0.888, fill: 0.00116, overflow: 7.079e-6, fix_up: 2.334, latency: 0.2768, bytes: 12620000.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.573, unit: 0.5901, tile: 0.888, fill: 0.00116, overflow: 7.079e-6, fix_up: 2.334, latency: 0.2768, bytes: 12620000.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 6.535, unit: 0.04264, tile: 0.2351, fill: 1.769e-5, overflow: 1.068e-7, fix_up: 0.6307, latency: 0.1294, bytes: 36710.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 6.588, unit: 0.02738, tile: 0.2649, fill: 1.371e-5, overflow: 8.205e-8, fix_up: 0.602, latency: 0.1696, bytes: 36790.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 6.594, unit: 0.1662, tile: 0.2257, fill: 2.034e-5, overflow: 1.182e-7, fix_up: 0.7447, latency: 0.09373, bytes: 34600.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.165, unit: 0.08888, tile: 0.3463, fill: 7.253e-5, overflow: 1.514e-7, fix_up: 1.0, latency: 0.1066, bytes: 28810.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 6.286, unit: 0.09888, tile: 0.3631, fill: 0.0004998, overflow: 4.378e-7, fix_up: 1.219, latency: 0.04377, bytes: 29520.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.5506, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
