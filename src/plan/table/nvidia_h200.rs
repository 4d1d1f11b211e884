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
    source: "fitted to 77738 measurements; its choices take 1.6 % longer than the best on average",
    dense: Some(Dense { launch: 7.196, bytes: 4296000.0, least: 16777216, wide: Some(Wide { columns: 512, flops: 828000000.0 }) }),
    law,
};

#[rustfmt::skip]
#[allow(clippy::approx_constant, reason = "a fitted number may look like one")]
const fn law(kernel: KernelId) -> Law {
    match kernel {
        BitmapN1Sm90 => Law::Units(Units { launch: 6.208, unit: 0.3814, tile: 0.3418, fill: 6.112e-5, overflow: 4.572e-7, fix_up: 0.3748, latency: 0.1762, bytes: 40230.0 }),
        BitmapN2Sm90 => Law::Units(Units { launch: 7.114, unit: 0.3349, tile: 0.3432, fill: 2.866e-5, overflow: 5.197e-8, fix_up: 0.2894, latency: 0.1371, bytes: 38700.0 }),
        BitmapN4Sm90 => Law::Units(Units { launch: 7.08, unit: 0.3566, tile: 0.3898, fill: 2.813e-5, overflow: 4.985e-8, fix_up: 0.3793, latency: 0.1004, bytes: 38080.0 }),
        BitmapN6Sm90 => Law::Units(Units { launch: 7.359, unit: 0.3386, tile: 0.4466, fill: 2.738e-5, overflow: 5.033e-8, fix_up: 0.4291, latency: 0.1115, bytes: 37480.0 }),
        BitmapN8Sm90 => Law::Units(Units { launch: 7.649, unit: 0.189, tile: 0.5289, fill: 4.101e-5, overflow: 5.258e-8, fix_up: 0.4992, latency: 0.003427, bytes: 34110.0 }),
        BitmapN12Sm90 => Law::Units(Units { launch: 7.606, unit: 0.272, tile: 0.5778, fill: 0.000643, overflow: 2.791e-6, fix_up: 1.039, latency: 0.2267, bytes: 653600.0 }),
        BitmapN16Sm90 => Law::Units(Units { launch: 7.061, unit: 0.3718, tile: 0.6779, fill: 0.000625, overflow: 1.123e-6, fix_up: 1.336, latency: 0.03844, bytes: 75270.0 }),
        BitmapN20Sm90 => Law::Units(Units { launch: 7.333, unit: 0.3389, tile: 0.8214, fill: 0.0009563, overflow: 1.464e-6, fix_up: 1.208, latency: 0.1403, bytes: 97090.0 }),
        BitmapN24Sm90 => Law::Units(Units { launch: 6.367, unit: 0.5274, tile: 0.8069, fill: 0.001764, overflow: 3.594e-6, fix_up: 1.826, latency: 0.3797, bytes: 404800.0 }),
        BitmapN32Sm90 => Law::Units(Units { launch: 6.302, unit: 0.5512, tile: 1.021, fill: 0.00167, overflow: 4.938e-6, fix_up: 2.019, latency: 0.3905, bytes: 11540000.0 }),
        BitmapN1SlicedSm90 => Law::Units(Units { launch: 6.571, unit: 0.01688, tile: 0.4496, fill: 9.041e-5, overflow: 3.254e-7, fix_up: 0.5844, latency: 0.1116, bytes: 38520.0 }),
        BitmapN2SlicedSm90 => Law::Units(Units { launch: 6.81, unit: 0.0215, tile: 0.4373, fill: 0.0001542, overflow: 6.807e-7, fix_up: 0.5722, latency: 0.1354, bytes: 40840.0 }),
        BitmapN4SlicedSm90 => Law::Units(Units { launch: 6.583, unit: 0.03569, tile: 0.4814, fill: 7.883e-5, overflow: 3.543e-7, fix_up: 0.7009, latency: 0.07042, bytes: 32640.0 }),
        BitmapN6SlicedSm90 => Law::Units(Units { launch: 6.731, unit: 0.01318, tile: 0.5146, fill: 0.0001003, overflow: 4.312e-7, fix_up: 0.8619, latency: 0.04571, bytes: 28900.0 }),
        BitmapN8SlicedSm90 => Law::Units(Units { launch: 7.728, unit: 0.01193, tile: 0.5431, fill: 8.515e-5, overflow: 5.861e-7, fix_up: 0.7844, latency: 0.0209, bytes: 27940.0 }),
        BitmapN1Sm80 | BitmapN2Sm80 | BitmapN4Sm80 | BitmapN8Sm80 | TiledCslN1Sm80 | TiledCslN2Sm80 | TiledCslN4Sm80 | TiledCslN8Sm80 | SlotsN1Sm80 | SlotsN2Sm80 | SlotsN4Sm80 | SlotsN8Sm80 | BankedN1Sm80 | BankedN2Sm80 | BankedN4Sm80 | BankedN8Sm80 | SellN1Sm80 => Law::Decoding(Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 8192 }),
        TiledCslN1W7Sm90 | TiledCslN2W7Sm90 | TiledCslN1W4Sm90 | TiledCslN2W4Sm90 => Law::Decoding(Decoding { enough: 6.0, waiting: 0.85, waiting_bytes: 0 }),
        SlotsN1Sm90 => Law::Units(Units { launch: 5.847, unit: 0.4221, tile: 3.339e-9, fill: 0.001958, overflow: 3.343e-5, fix_up: 0.4873, latency: 0.3809, bytes: 45160.0 }),
        SlotsN2Sm90 => Law::Units(Units { launch: 5.955, unit: 0.5042, tile: 9.486e-13, fill: 0.002345, overflow: 2.889e-5, fix_up: 0.5371, latency: 0.3443, bytes: 44480.0 }),
        SlotsN3Sm90 => Law::Units(Units { launch: 6.59, unit: 0.4824, tile: 0.03974, fill: 0.002205, overflow: 5.035e-5, fix_up: 0.4292, latency: 0.3525, bytes: 40680.0 }),
        SlotsN4Sm90 => Law::Units(Units { launch: 6.449, unit: 0.5741, tile: 0.06634, fill: 0.001745, overflow: 6.016e-5, fix_up: 0.445, latency: 0.3315, bytes: 40060.0 }),
        SlotsN6Sm90 => Law::Units(Units { launch: 8.236, unit: 0.55, tile: 0.04874, fill: 0.002367, overflow: 6.648e-5, fix_up: 0.6253, latency: 0.424, bytes: 34560.0 }),
        SlotsN8Sm90 => Law::Units(Units { launch: 7.2, unit: 0.8, tile: 0.03, fill: 0.003, overflow: 6e-5, fix_up: 1.2, latency: 0.4, bytes: 30000.0 }),
        BankedN1Sm90 => Law::Units(Units { launch: 6.016, unit: 0.3992, tile: 0.1587, fill: 8.157e-6, overflow: 2.766e-8, fix_up: 0.4297, latency: 0.07308, bytes: 35660.0 }),
        BankedN2Sm90 => Law::Units(Units { launch: 5.986, unit: 0.4154, tile: 0.1756, fill: 1.355e-5, overflow: 3.768e-8, fix_up: 0.4136, latency: 0.07578, bytes: 35060.0 }),
        BankedN4Sm90 => Law::Units(Units { launch: 5.513, unit: 0.394, tile: 0.1914, fill: 3.091e-5, overflow: 5.283e-8, fix_up: 0.9496, latency: 0.07056, bytes: 34690.0 }),
        BankedN6Sm90 => Law::Units(Units { launch: 5.948, unit: 0.4069, tile: 0.2341, fill: 2.945e-5, overflow: 5.179e-8, fix_up: 1.011, latency: 0.07818, bytes: 33760.0 }),
        BankedN8Sm90 => Law::Units(Units { launch: 7.631, unit: 0.1767, tile: 0.3589, fill: 2.033e-5, overflow: 4.635e-8, fix_up: 0.5332, latency: 0.002844, bytes: 33020.0 }),
        BankedN12Sm90 => Law::Units(Units { launch: 8.029, unit: 0.2284, tile: 0.445, fill: 1.101e-5, overflow: 3.939e-8, fix_up: 0.9682, latency: 0.001064, bytes: 32610.0 }),
        BankedN16Sm90 => Law::Units(Units { launch: 7.46, unit: 0.4267, tile: 0.4914, fill: 0.0002008, overflow: 9.399e-7, fix_up: 1.227, latency: 0.01516, bytes: 34860.0 }),
        BankedN20Sm90 => Law::Units(Units { launch: 6.284, unit: 0.3892, tile: 0.6265, fill: 0.0006474, overflow: 4.386e-6, fix_up: 1.383, latency: 0.2069, bytes: 289700.0 }),
        BankedN24Sm90 => Law::Units(Units { launch: 5.122, unit: 0.572, tile: 0.6309, fill: 0.001351, overflow: 4.864e-6, fix_up: 2.293, latency: 0.3041, bytes: 987400.0 }),
        BankedN32Sm90 => Law::Units(Units { launch: 5.573, unit: 0.5901, tile: 0.888, fill: 0.00116, overflow: 7.079e-6, fix_up: 2.334, latency: 0.2768, bytes: 12620000.0 }),
        BankedN1SlicedSm90 => Law::Units(Units { launch: 6.535, unit: 0.04264, tile: 0.2351, fill: 1.769e-5, overflow: 1.068e-7, fix_up: 0.6307, latency: 0.1294, bytes: 36710.0 }),
        BankedN2SlicedSm90 => Law::Units(Units { launch: 6.588, unit: 0.02738, tile: 0.2649, fill: 1.371e-5, overflow: 8.205e-8, fix_up: 0.602, latency: 0.1696, bytes: 36790.0 }),
        BankedN4SlicedSm90 => Law::Units(Units { launch: 6.594, unit: 0.1662, tile: 0.2257, fill: 2.034e-5, overflow: 1.182e-7, fix_up: 0.7447, latency: 0.09373, bytes: 34600.0 }),
        BankedN6SlicedSm90 => Law::Units(Units { launch: 6.382, unit: 0.05997, tile: 0.3554, fill: 0.0001175, overflow: 2.382e-7, fix_up: 1.01, latency: 0.06922, bytes: 28880.0 }),
        BankedN8SlicedSm90 => Law::Units(Units { launch: 6.286, unit: 0.103, tile: 0.3631, fill: 0.0004998, overflow: 4.378e-7, fix_up: 1.219, latency: 0.04377, bytes: 29520.0 }),
        SellN1Sm90 => Law::Units(Units { launch: 6.98, unit: 0.7294, tile: 0.3276, fill: 0.00377, overflow: 2.548e-7, fix_up: 0.4405, latency: 0.5, bytes: 35350.0 }),
        _ => Law::Unknown,
    }
}
