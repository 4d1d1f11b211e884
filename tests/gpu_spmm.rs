//! SpMM on the GPU against exact and fp64 products. Fails where there is no GPU.
//!
//! `FLASHLLM_GPU_TESTS_SMALL=1`: small sizes only, for compute-sanitizer.

mod support;

use half::f16;
use support::api::{self, Handle};
use support::{
    Layout, Problem, Progress, Rng, compress_to_device, device, half_bits, integer_product,
    integer_weights, small,
};

const SPARSITIES: [usize; 6] = [0, 10, 50, 80, 95, 100];

fn tokens() -> Vec<usize> {
    if small() {
        vec![1, 2, 7, 8, 9, 16, 17, 33, 64, 100, 190, 220, 256]
    } else {
        (1..=17).chain([24, 32, 33, 48, 64, 90, 100, 128, 150, 190, 220, 256]).collect()
    }
}

/// Multiples of every tile, one off them on either side, single rows and columns, long and flat.
fn shapes() -> Vec<(usize, usize)> {
    let mut shapes =
        vec![(1, 1), (1, 300), (7, 13), (16, 16), (31, 257), (33, 31), (64, 64), (129, 65)];
    if !small() {
        shapes.extend([
            (17, 33),
            (127, 129),
            (128, 256),
            (200, 330),
            (256, 1024),
            (300, 1500),
            (513, 2049),
            (40, 8192),
            (2048, 96),
            (1, 4096),
            (1000, 1),
        ]);
    }
    shapes
}

fn integers(count: usize, bound: i32, seed: u64) -> Vec<i32> {
    let mut rng = Rng(seed);
    (0..count).map(|_| rng.below(2 * bound as usize + 1) as i32 - bound).collect()
}

fn halves(values: &[i32]) -> Vec<u16> {
    values.iter().map(|&v| half_bits(v)).collect()
}

#[test]
fn small_integers_are_exact_for_every_shape_sparsity_n_and_format() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let (shapes, tokens) = (shapes(), tokens());
    let total = shapes.len() * SPARSITIES.len() * tokens.len();
    let (mut progress, mut done) = (Progress::new("exact products"), 0);
    let mut rng = Rng(42);
    for &(m, k) in &shapes {
        for percent in SPARSITIES {
            let a = integer_weights(m, k, percent, (m * 31 + k * 7 + percent) as u64);
            let matrices = api::FORMATS
                .map(|format| compress_to_device(&host, &handle, m, k, &halves(&a), format));
            for &n in &tokens {
                let b = integers(k * n, 4, (k + n) as u64);
                let c_in = integers(m * n, 8, (m + n) as u64);
                let product = integer_product(&a, &b, k, n);
                let layout = Layout::random(&mut rng);
                for (format, (matrix, _)) in api::FORMATS.into_iter().zip(&matrices) {
                    Problem { handle: &handle, a: matrix, format, m, k, n, layout }
                        .check_exact(&b, &product, &c_in);
                }
                done += 1;
                progress.tick(done, total);
            }
        }
    }
}

#[test]
fn every_layout_gives_the_same_exact_product() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let mut progress = Progress::new("layouts");
    let cases: &[(usize, usize, usize)] = if small() {
        &[(33, 70, 9), (33, 272, 45)]
    } else {
        &[(33, 70, 1), (131, 264, 5), (130, 512, 16), (65, 300, 40)]
    };
    let mut done = 0;
    for &(m, k, n) in cases {
        let a = integer_weights(m, k, 70, 9);
        let b = integers(k * n, 4, 10);
        let c_in = integers(m * n, 8, 11);
        let product = integer_product(&a, &b, k, n);
        for format in api::FORMATS {
            let (matrix, _buffer) = compress_to_device(&host, &handle, m, k, &halves(&a), format);
            for choice in 0..2 * 2 * 2 * 2 * 3 * 3 * 3 {
                // Three choices more would be ten thousand runs: these fall as they fall.
                let mut rng = Rng(choice as u64);
                let mut rest = choice;
                let mut pick = |count: usize| {
                    let picked = rest % count;
                    rest /= count;
                    picked
                };
                let layout = Layout {
                    op_b: [api::NON_TRANSPOSE, api::TRANSPOSE][pick(2)],
                    b_order: [api::ORDER_COL, api::ORDER_ROW][pick(2)],
                    c_order: [api::ORDER_COL, api::ORDER_ROW][pick(2)],
                    c_type: [api::R_32F, api::R_16F][pick(2)],
                    ldb_extra: [0, 3, 8][pick(3)],
                    b_offset: [0, 1, 8][pick(3)],
                    ldc_extra: [0, 1, 8][rng.below(3)],
                    c_offset: [0, 1, 4][rng.below(3)],
                    alpha: [1.0, -2.0, 0.0][pick(3)],
                    beta: [0.0, 1.0][rng.below(2)],
                };
                Problem { handle: &handle, a: &matrix, format, m, k, n, layout }
                    .check_exact(&b, &product, &c_in);
                done += 1;
                progress.tick(done, cases.len() * 2 * 432);
            }
        }
    }
}

#[test]
fn rows_of_very_different_density_are_exact() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let (m, k) = if small() { (100, 200) } else { (700, 1600) };
    // Empty, nearly empty and full rows side by side, one full column, and a full block in a corner.
    let mut a = integer_weights(m, k, 50, 3);
    for row in 0..m {
        let keep = [0usize, 1, 5, 50, 100][row * 7 % 5];
        for col in 0..k {
            let corner = row < 40 && col < 70;
            let value = &mut a[row * k + col];
            if corner || col == 3 || keep == 100 {
                *value = (row + col) as i32 % 3 + 1;
            } else if (row * 13 + col * 29) % 100 >= keep {
                *value = 0;
            }
        }
    }
    for n in [1, 8, 16, 33] {
        let b = integers(k * n, 4, 5);
        let c_in = vec![0; m * n];
        let product = integer_product(&a, &b, k, n);
        for format in api::FORMATS {
            let (matrix, _buffer) = compress_to_device(&host, &handle, m, k, &halves(&a), format);
            Problem { handle: &handle, a: &matrix, format, m, k, n, layout: Layout::PLAIN }
                .check_exact(&b, &product, &c_in);
        }
    }
}

/// Banked gives such pairs to one lane, next to each other where it has nothing between them: one after the other in one
/// kernel, where all other elements are added side by side.
#[test]
fn elements_of_a_row_64_columns_apart_are_both_added() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let (m, k) = (130, 392);
    let mut a = vec![0; m * k];
    for (i, row) in [0, 1, 2, 3, 63, 64, 65, 127, 128, 129].into_iter().enumerate() {
        for pair in 0..=i % 3 {
            let col = (i * 8 + pair) % 64 + i % 3 * 128;
            a[row * k + col] = 1 + i as i32 % 4;
            a[row * k + col + 64] = -3 - pair as i32;
        }
    }
    for n in [1, 8, 64, 128] {
        let b = integers(k * n, 4, 6);
        let product = integer_product(&a, &b, k, n);
        for format in api::FORMATS {
            let (matrix, _buffer) = compress_to_device(&host, &handle, m, k, &halves(&a), format);
            Problem { handle: &handle, a: &matrix, format, m, k, n, layout: Layout::PLAIN }
                .check_exact(&b, &product, &vec![0; m * n]);
        }
    }
}

#[test]
fn random_values_stay_within_the_error_model() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let cases: &[(usize, usize, usize)] = if small() {
        &[(64, 256, 8)]
    } else {
        &[(256, 4096, 16), (1024, 1024, 64), (100, 11008, 3), (300, 777, 130)]
    };
    for &(m, k, n) in cases {
        for percent in [0, 50, 80] {
            let mut rng = Rng(percent as u64 + 1);
            let a: Vec<u16> = (0..m * k)
                .map(|_| {
                    let value = f16::from_f64(0.02 * rng.normal()).to_bits();
                    if rng.below(100) < percent { 0 } else { value }
                })
                .collect();
            let b: Vec<u16> = (0..k * n).map(|_| f16::from_f64(rng.normal()).to_bits()).collect();
            let (product, scale, naive) = float_products(&a, &b, m, k, n);
            for format in api::FORMATS {
                let (matrix, _buffer) = compress_to_device(&host, &handle, m, k, &a, format);
                for c_type in [api::R_32F, api::R_16F] {
                    let layout = Layout { c_type, ..Layout::PLAIN };
                    let got = Problem { handle: &handle, a: &matrix, format, m, k, n, layout }
                        .run(&b, &[]);
                    let (mut ours, mut dense) = (0.0f64, 0.0f64);
                    for (i, &bits) in got.iter().enumerate() {
                        let value = if c_type == api::R_16F {
                            f16::from_bits(bits as u16).to_f64()
                        } else {
                            f64::from(f32::from_bits(bits))
                        };
                        let rounding = if c_type == api::R_16F {
                            product[i].abs() / 2048.0 + 2.0f64.powi(-25)
                        } else {
                            0.0
                        };
                        // Any order of K additions in fp32, doubled because Tensor Cores truncate.
                        let allowed =
                            2.0 * (k as f64 + 1.0) * 2.0f64.powi(-24) * scale[i] + rounding;
                        let error = (value - product[i]).abs();
                        assert!(
                            error <= allowed,
                            "format {format} M={m} K={k} N={n} {percent} %: C({}, {}) is {value}, expected {} +- {allowed:e}",
                            i / n,
                            i % n,
                            product[i]
                        );
                        ours += error * error;
                        dense += (f64::from(naive[i]) - product[i]).powi(2);
                    }
                    // In the mean, Tensor Cores stay near one running fp32 sum. They truncate, which has a bias: where
                    // one accumulator goes through all of K, Banked with 64 columns was 4.6 times as far (K = 1024, 80 %
                    // zeros, of which a running sum does not round any). A wrong precision is a thousand times worse.
                    if c_type == api::R_32F {
                        let (ours, dense) =
                            ((ours / got.len() as f64).sqrt(), (dense / got.len() as f64).sqrt());
                        assert!(
                            ours <= 8.0 * dense,
                            "format {format} M={m} K={k} N={n} {percent} %: rms error {ours:e}, a plain fp32 sum {dense:e}"
                        );
                    }
                }
            }
        }
    }
}

/// The product in double, the sums of magnitudes, and the product by one running fp32 sum each.
fn float_products(
    a: &[u16],
    b: &[u16],
    m: usize,
    k: usize,
    n: usize,
) -> (Vec<f64>, Vec<f64>, Vec<f32>) {
    let b: Vec<f32> = b.iter().map(|&v| f16::from_bits(v).to_f32()).collect();
    let (mut product, mut scale, mut naive) =
        (vec![0.0f64; m * n], vec![0.0f64; m * n], vec![0.0f32; m * n]);
    for row in 0..m {
        for col in 0..k {
            let x = f16::from_bits(a[row * k + col]).to_f32();
            if x == 0.0 {
                continue;
            }
            for (j, &y) in b[col * n..][..n].iter().enumerate() {
                let term = f64::from(x) * f64::from(y);
                product[row * n + j] += term;
                scale[row * n + j] += term.abs();
                naive[row * n + j] += x * y;
            }
        }
    }
    (product, scale, naive)
}

#[test]
fn nan_infinity_and_subnormal_weights_reach_exactly_their_rows() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let (m, k, n) = (150, 300, 12);
    let mut a = halves(&integer_weights(m, k, 80, 1));
    a[5 * k + 17] = 0x7e01; // NaN
    a[70 * k + 299] = 0xfc00; // -infinity
    for value in &mut a[90 * k..91 * k] {
        *value = if *value & 0x7fff == 0 { 0 } else { 0x0003 }; // 3 * 2^-24
    }
    let b = vec![half_bits(2); k * n];
    let subnormals = a[90 * k..91 * k].iter().filter(|&&v| v != 0).count();
    for format in api::FORMATS {
        let (matrix, _buffer) = compress_to_device(&host, &handle, m, k, &a, format);
        let got = Problem { handle: &handle, a: &matrix, format, m, k, n, layout: Layout::PLAIN }
            .run(&b, &[]);
        for (i, bits) in got.into_iter().enumerate() {
            let value = f32::from_bits(bits);
            match i / n {
                5 => assert!(value.is_nan(), "row 5 holds {value}"),
                70 => assert_eq!(value, f32::NEG_INFINITY),
                90 => assert_eq!(value, subnormals as f32 * 6.0 * 2.0f32.powi(-24)),
                row => {
                    assert!(value.is_finite() && value.fract() == 0.0, "row {row} holds {value}");
                }
            }
        }
    }
}

#[test]
fn a_hundred_runs_give_the_same_bits() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let (m, k) = if small() { (64, 512) } else { (384, 8192) };
    let mut rng = Rng(8);
    let a: Vec<u16> = (0..m * k)
        .map(|_| {
            let value = f16::from_f64(rng.normal()).to_bits();
            if rng.below(10) < 7 { 0 } else { value }
        })
        .collect();
    let runs = if small() { 5 } else { 100 };
    for n in [1, 16, 64] {
        let b: Vec<u16> = (0..k * n).map(|_| f16::from_f64(rng.normal()).to_bits()).collect();
        for format in api::FORMATS {
            let (matrix, _buffer) = compress_to_device(&host, &handle, m, k, &a, format);
            let problem =
                Problem { handle: &handle, a: &matrix, format, m, k, n, layout: Layout::PLAIN };
            let first = problem.run(&b, &[]);
            for run in 1..runs {
                assert!(
                    problem.run(&b, &[]) == first,
                    "format {format} N={n}: run {run} differs from the first"
                );
            }
        }
    }
}
