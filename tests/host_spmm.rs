//! The host executor against the f64 oracle.

use flash_llm::error::Kind;
use flash_llm::format::{EncodeOptions, Header, analyse, encode, parse_header};
use flash_llm::host::{Dense, DenseMut, Epilogue, HostSpmm, Residual, spmm};
use flash_llm::reference::{EpilogueF64, epilogue_f64, spmm_f64};
use flash_llm::types::{Activation, DType, DenseLayout, Format, Order, Preference};
use half::f16;

const FORMATS: [(Format, bool); 6] = [
    (Format::Bitmap, false),
    (Format::TiledCsl, false),
    (Format::TiledCsl, true),
    (Format::Slots, false),
    (Format::Banked, false),
    (Format::Sell, false),
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn integers(&mut self, len: usize, limit: u64) -> Vec<u16> {
        let span = 2 * limit + 1;
        (0..len)
            .map(|_| f16::from_f64((self.next() % span) as f64 - limit as f64).to_bits())
            .collect()
    }

    /// Uniform in -1..1, or zero.
    fn reals(&mut self, len: usize, keep_percent: u64) -> Vec<u16> {
        (0..len)
            .map(|_| {
                let value = (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
                if self.next() % 100 < keep_percent { f16::from_f64(value).to_bits() } else { 0 }
            })
            .collect()
    }
}

fn compress(
    layout: &DenseLayout,
    values: &[u16],
    format: Format,
    reorder: bool,
) -> (Header, Vec<u8>) {
    let options = EncodeOptions { format: Some(format), reorder, preference: Preference::Speed };
    let analysis = analyse(layout, values, &options).unwrap();
    let mut out = vec![0; analysis.bytes()];
    encode(&analysis, layout, values, &mut out).unwrap();
    (analysis.header, out)
}

fn row_major(rows: usize, cols: usize) -> DenseLayout {
    DenseLayout::new(rows, cols, cols, Order::Row).unwrap()
}

/// C = A * B in f32 for contiguous column-major B and C.
fn product(header: &Header, a: &[u8], b: &[u16], n: usize) -> Vec<f32> {
    let (m, k) = (header.rows as usize, header.cols as usize);
    let mut c = vec![f32::NAN; m * n];
    let args = HostSpmm {
        a,
        n,
        alpha: 1.0,
        beta: 0.0,
        b,
        b_strides: (1, k),
        c_dtype: DType::F32,
        c_strides: (1, m),
        epilogue: Epilogue::default(),
    };
    spmm(&args, header, DenseMut::F32(&mut c)).unwrap();
    c
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Sums of small integers are exact, so that C must have the oracle's bits, rounded once to its type.
#[test]
fn integer_products_are_exact_for_every_n_and_layout() {
    let mut random = Random(1);
    for (m, k) in [(1, 1), (5, 3), (33, 65), (128, 64), (130, 300), (70, 1100)] {
        let layout = row_major(m, k);
        let mut a = random.integers(m * k, 3);
        for value in &mut a {
            if random.next() % 3 == 0 {
                *value = 0x8000;
            }
        }
        let widest = 100;
        let b_full = random.integers(k * widest, 4);
        let c_full = random.integers(m * widest, 9);
        let c_f64: Vec<f64> = c_full.iter().map(|&bits| f16::from_bits(bits).to_f64()).collect();
        let plain = spmm_f64(&layout, &a, (1, k), &b_full, widest, 1.0, 0.0, None);
        let scaled = spmm_f64(&layout, &a, (1, k), &b_full, widest, 2.0, -3.0, Some(&c_f64));
        let compressed = FORMATS.map(|(format, reorder)| compress(&layout, &a, format, reorder));
        for n in (1..=17).chain([24, 32, 33, 64, 100]) {
            for b_order in [Order::Row, Order::Col] {
                // Canaries behind every row or column of B would change a sum if they were read.
                let ld = if b_order == Order::Row { n + 3 } else { k + 1 };
                let b_layout = DenseLayout::new(k, n, ld, b_order).unwrap();
                let mut b = vec![0x7c00; b_layout.extent()];
                for i in 0..k {
                    for j in 0..n {
                        b[b_layout.index(i, j)] = b_full[i + j * k];
                    }
                }
                for c_order in [Order::Row, Order::Col] {
                    let ld = if c_order == Order::Row { n + 2 } else { m + 5 };
                    let c_layout = DenseLayout::new(m, n, ld, c_order).unwrap();
                    let (header, buffer) = &compressed[(n + m) % compressed.len()];
                    for (alpha, beta, expected) in [(1.0, 0.0, &plain), (2.0, -3.0, &scaled)] {
                        let mut args = HostSpmm {
                            a: buffer,
                            n,
                            alpha,
                            beta,
                            b: &b,
                            b_strides: b_layout.strides(),
                            c_dtype: DType::F32,
                            c_strides: c_layout.strides(),
                            epilogue: Epilogue::default(),
                        };
                        let inside =
                            |c: &dyn Fn(usize) -> u32, canary: u32, round: &dyn Fn(f64) -> u32| {
                                let mut touched = vec![false; c_layout.extent()];
                                for i in 0..m {
                                    for j in 0..n {
                                        let at = c_layout.index(i, j);
                                        touched[at] = true;
                                        let want = round(expected[i * widest + j]);
                                        assert_eq!(
                                            c(at),
                                            want,
                                            "{m} x {k} x {n}, C({i}, {j}), {:?}",
                                            header.format
                                        );
                                    }
                                }
                                for (at, touched) in touched.into_iter().enumerate() {
                                    assert!(
                                        touched || c(at) == canary,
                                        "padding at {at} was written"
                                    );
                                }
                            };
                        let start = |canary: f32| {
                            let mut c = vec![canary; c_layout.extent()];
                            for i in 0..m {
                                for j in 0..n {
                                    let old = c_f64[i * widest + j] as f32;
                                    c[c_layout.index(i, j)] =
                                        if beta == 0.0 { f32::NAN } else { old };
                                }
                            }
                            c
                        };
                        let mut c = start(-77.0);
                        spmm(&args, header, DenseMut::F32(&mut c)).unwrap();
                        inside(&|at| c[at].to_bits(), (-77f32).to_bits(), &|v| {
                            zero((v as f32).to_bits())
                        });
                        args.c_dtype = DType::F16;
                        let mut c: Vec<u16> =
                            start(-77.0).into_iter().map(|v| f16::from_f32(v).to_bits()).collect();
                        spmm(&args, header, DenseMut::F16(&mut c)).unwrap();
                        let canary = u32::from(f16::from_f32(-77.0).to_bits());
                        inside(&|at| u32::from(c[at]), canary, &|v| {
                            u32::from(f16::from_f64(v + 0.0).to_bits())
                        });
                    }
                }
            }
        }
    }
}

/// Rows that are much fuller than the others, of which Slots has some whole, and one all of them.
#[test]
fn products_with_dense_rows_are_exact() {
    let (m, k, n) = (70, 700, 21);
    let mut random = Random(5);
    let layout = row_major(m, k);
    let mut a = random.integers(m * k, 3);
    for (at, value) in a.iter_mut().enumerate() {
        // Two rows of each tile, and of the second more than a tile may have whole.
        let full = at / k % 32 < if at / k / 32 == 1 { 20 } else { 2 };
        if !full && random.next() % 6 != 0 {
            *value = 0;
        }
    }
    let b = random.integers(k * n, 4);
    let exact = spmm_f64(&layout, &a, (1, k), &b, n, 1.0, 0.0, None);
    for (format, reorder) in FORMATS {
        let (header, buffer) = compress(&layout, &a, format, reorder);
        if format == Format::Slots {
            let rows: Vec<u8> = (0..9)
                .map(|block| {
                    let entry = 256 + 4 * block;
                    let start = u32::from_le_bytes(*buffer[entry..].first_chunk().unwrap());
                    buffer[header.data_offset as usize + start as usize * 128 + 1024 + 15]
                })
                .collect();
            assert_eq!(rows, [2, 2, 2, 8, 8, 8, 2, 2, 2]);
        }
        let c = product(&header, &buffer, &b, n);
        for i in 0..m {
            for j in 0..n {
                let want = zero((exact[i * n + j] as f32).to_bits());
                assert_eq!(zero(c[i + j * m].to_bits()), want, "C({i}, {j}), {format:?}");
            }
        }
    }
}

/// The oracle's -0 (from a negative factor of a zero sum) and +0 are one value.
fn zero(bits: u32) -> u32 {
    if bits == 0x8000_0000 { 0 } else { bits }
}

#[test]
fn errors_stay_within_twice_those_of_a_dense_f32_product() {
    let (m, k, n) = (96, 2000, 24);
    let mut random = Random(2);
    for keep in [5, 30, 100] {
        let a = random.reals(m * k, keep);
        let b = random.reals(k * n, 100);
        let layout = row_major(m, k);
        let exact = spmm_f64(&layout, &a, (1, k), &b, n, 1.0, 0.0, None);
        let wide =
            |bits: &[u16]| bits.iter().map(|&v| f16::from_bits(v).to_f32()).collect::<Vec<f32>>();
        let (a32, b32) = (wide(&a), wide(&b));
        let mut dense_squares = 0.0;
        for i in 0..m {
            for j in 0..n {
                let sum = (0..k).fold(0f32, |sum, p| sum + a32[i * k + p] * b32[p + j * k]);
                dense_squares += (f64::from(sum) - exact[i * n + j]).powi(2);
            }
        }
        for (format, reorder) in FORMATS {
            let (header, buffer) = compress(&layout, &a, format, reorder);
            let c = product(&header, &buffer, &b, n);
            let mut squares = 0.0;
            for i in 0..m {
                for j in 0..n {
                    squares += (f64::from(c[i + j * m]) - exact[i * n + j]).powi(2);
                }
            }
            assert!(
                squares <= 4.0 * dense_squares,
                "{format:?}, {keep} %: {squares:e} against {dense_squares:e}"
            );

            let mut c16 = vec![0; m * n];
            let args = HostSpmm {
                a: &buffer,
                n,
                alpha: 1.0,
                beta: 0.0,
                b: &b,
                b_strides: (1, k),
                c_dtype: DType::F16,
                c_strides: (1, m),
                epilogue: Epilogue::default(),
            };
            spmm(&args, &header, DenseMut::F16(&mut c16)).unwrap();
            for (half, single) in c16.iter().zip(&c) {
                assert_eq!(*half, f16::from_f32(*single).to_bits());
            }
        }
    }
}

#[test]
fn bits_depend_on_the_operands_alone() {
    let (m, k, n) = (300, 700, 150);
    let mut random = Random(3);
    let a = random.reals(m * k, 35);
    let b = random.reals(k * n, 100);
    let layout = row_major(m, k);
    let mut all = Vec::new();
    for (format, reorder) in FORMATS {
        let (header, buffer) = compress(&layout, &a, format, reorder);
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            all.push(bits(&pool.install(|| product(&header, &buffer, &b, n))));
        }
        // A column's result does not depend on how many there are.
        for few in [1, 9, 40] {
            let part = bits(&product(&header, &buffer, &b[..k * few], few));
            assert_eq!(part, all[0][..m * few]);
        }
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn special_values_propagate_and_zeros_of_a_do_not_multiply() {
    let (m, k) = (3, 4);
    let one = 0x3c00;
    let (inf, nan) = (0x7c00, 0x7e00);
    #[rustfmt::skip]
    let a = vec![
        one, 0, 0, 0,
        inf, one, 0, 0,
        0, 0x8000, nan, one,
    ];
    let b = vec![one, one, one, inf];
    for (format, reorder) in FORMATS {
        let (header, buffer) = compress(&row_major(m, k), &a, format, reorder);
        let c = product(&header, &buffer, &b, 1);
        assert_eq!(c[0], 1.0);
        assert_eq!(c[1], f32::INFINITY);
        assert!(c[2].is_nan());
        let c = product(&header, &buffer, &[one, one, 0, 0], 1);
        assert!(c[2].is_nan());
        let c = product(&header, &buffer, &[one, 0xbc00, 0, nan], 1);
        assert_eq!(c[0], 1.0);
    }
}

#[test]
fn bad_arguments_are_refused() {
    let (m, k, n) = (40, 50, 6);
    let a = Random(4).reals(m * k, 50);
    let (header, buffer) = compress(&row_major(m, k), &a, Format::Bitmap, false);
    let (other, _) = compress(&row_major(m, k), &a, Format::TiledCsl, false);
    let b = vec![0x3c00; k * n];
    let good = HostSpmm {
        a: &buffer,
        n,
        alpha: 1.0,
        beta: 0.0,
        b: &b,
        b_strides: (1, k),
        c_dtype: DType::F32,
        c_strides: (1, m),
        epilogue: Epilogue::default(),
    };
    let run = |args: HostSpmm<'_>, header: &Header, len: usize| {
        spmm(&args, header, DenseMut::F32(&mut vec![0.0; len])).map_err(|error| error.kind())
    };
    assert_eq!(run(good, &header, m * n), Ok(()));
    assert_eq!(run(HostSpmm { n: 0, b: &[], ..good }, &header, 0), Ok(()));
    assert_eq!(run(good, &header, m * n - 1), Err(Kind::InvalidValue));
    assert_eq!(run(good, &other, m * n), Err(Kind::InvalidValue));
    assert_eq!(run(HostSpmm { b: &b[1..], ..good }, &header, m * n), Err(Kind::InvalidValue));
    assert_eq!(
        run(HostSpmm { b_strides: (usize::MAX, 1), ..good }, &header, m * n),
        Err(Kind::InvalidValue)
    );
    assert_eq!(
        run(HostSpmm { c_strides: (1, m - 1), ..good }, &header, m * n),
        Err(Kind::InvalidValue)
    );
    assert_eq!(
        run(HostSpmm { c_strides: (1, usize::MAX / 2), ..good }, &header, m * n),
        Err(Kind::InvalidValue)
    );
    assert_eq!(
        run(HostSpmm { c_dtype: DType::F16, ..good }, &header, m * n),
        Err(Kind::InvalidValue)
    );
    assert_eq!(
        run(HostSpmm { a: &buffer[..buffer.len() - 1], ..good }, &header, m * n),
        Err(Kind::CorruptData)
    );
}

#[test]
fn buffers_that_were_never_validated_stay_in_bounds() {
    let (m, k, n) = (150, 600, 3);
    let mut random = Random(5);
    let a = random.reals(m * k, 40);
    let b = random.reals(k * n, 100);
    for (format, reorder) in FORMATS {
        let (_, good) = compress(&row_major(m, k), &a, format, reorder);
        for round in 0..60 {
            let mut bytes = good.clone();
            for _ in 0..1 << (round % 12) {
                let at = Header::BYTES + random.next() as usize % (bytes.len() - Header::BYTES);
                bytes[at] = random.next() as u8;
            }
            let header = parse_header(&bytes).unwrap();
            let args = HostSpmm {
                a: &bytes,
                n,
                alpha: 1.0,
                beta: 0.0,
                b: &b,
                b_strides: (n, 1),
                c_dtype: DType::F32,
                c_strides: (n, 1),
                epilogue: Epilogue::default(),
            };
            if let Err(error) = spmm(&args, &header, DenseMut::F32(&mut vec![0.0; m * n])) {
                assert_eq!(error.kind(), Kind::CorruptData);
            }
        }
    }
}

/// The executor earns its place only when it beats the loop anyone would write.
#[test]
#[cfg_attr(debug_assertions, ignore = "measures optimised code: cargo test --release")]
fn executor_is_four_times_as_fast_as_the_plain_loop() {
    let (m, k, n) = (1024, 2048, 32);
    let mut random = Random(6);
    let a = random.reals(m * k, 30);
    let b = random.reals(k * n, 100);
    let wide =
        |bits: &[u16]| bits.iter().map(|&v| f16::from_bits(v).to_f32()).collect::<Vec<f32>>();
    let (a32, b32) = (wide(&a), wide(&b));
    let best = |run: &mut dyn FnMut()| {
        (0..5)
            .map(|_| {
                let start = std::time::Instant::now();
                run();
                start.elapsed()
            })
            .min()
            .unwrap()
    };
    let mut c = vec![0f32; m * n];
    let plain = best(&mut || {
        for i in 0..m {
            for j in 0..n {
                c[i + j * m] = (0..k).fold(0f32, |sum, p| sum + a32[i * k + p] * b32[p + j * k]);
            }
        }
        std::hint::black_box(&c);
    });
    for format in Format::ALL {
        let (header, buffer) = compress(&row_major(m, k), &a, format, true);
        let ours = best(&mut || {
            std::hint::black_box(product(&header, &buffer, &b, n));
        });
        let ratio = plain.as_secs_f64() / ours.as_secs_f64();
        assert!(ratio >= 4.0, "{format:?}: {ours:?} against {plain:?}, {ratio:.1} times as fast");
    }
}

/// Every activation, with and without each of the operands, in both orders of C and both element types.
#[test]
fn epilogues_agree_with_the_oracle() {
    const ACTIVATIONS: [Activation; 5] = [
        Activation::None,
        Activation::Relu,
        Activation::GeluTanh,
        Activation::GeluErf,
        Activation::Silu,
    ];
    let (m, k, n) = (70, 300, 37);
    let mut random = Random(11);
    let layout = row_major(m, k);
    let (a, b) = (random.reals(m * k, 30), random.reals(k * n, 100));
    let (header, buffer) = compress(&layout, &a, Format::Slots, false);
    let wide = |bits: &[u16]| bits.iter().map(|&v| f16::from_bits(v).to_f64()).collect::<Vec<_>>();
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let (bias, residual, old) =
        (random.reals(m, 100), random.reals(m * n, 100), random.reals(m * n, 100));
    // Row-major for the oracle, column-major for the executor.
    let gate = wide(&random.reals(m * n, 100));
    let mut gate_by_columns = vec![0.0; m * n];
    for (at, &v) in gate.iter().enumerate() {
        gate_by_columns[at % n * m + at / n] = v as f32;
    }
    let (bias_f32, residual_f32) = (narrow(&wide(&bias)), narrow(&wide(&residual)));
    for choice in 0..ACTIVATIONS.len() * 2 * 2 * 3 * 2 * 2 * 2 {
        let mut rest = choice;
        let mut pick = |count: usize| {
            let picked = rest % count;
            rest /= count;
            picked
        };
        let activation = ACTIVATIONS[pick(ACTIVATIONS.len())];
        let (with_bias, with_gate, which_residual) = (pick(2) == 1, pick(2) == 1, pick(3));
        let (by_rows, half, beta) = (pick(2) == 1, pick(2) == 1, [0.0, -0.5][pick(2)]);
        let mut want =
            spmm_f64(&layout, &a, (n, 1), &b, n, 1.5, f64::from(beta), Some(&wide(&old)));
        let residual_f64 = wide(if which_residual == 1 { &old } else { &residual });
        epilogue_f64(
            &mut want,
            n,
            &EpilogueF64 {
                bias: with_bias.then_some(wide(&bias)).as_deref(),
                activation,
                gate: with_gate.then_some(gate.as_slice()),
                residual: (which_residual != 0).then_some(residual_f64.as_slice()),
            },
        );
        let strides = if by_rows { (n, 1) } else { (1, m) };
        let args = HostSpmm {
            a: &buffer,
            n,
            alpha: 1.5,
            beta,
            b: &b,
            b_strides: (n, 1),
            c_dtype: if half { DType::F16 } else { DType::F32 },
            c_strides: strides,
            epilogue: Epilogue {
                bias: with_bias.then_some(if half {
                    Dense::F16(&bias)
                } else {
                    Dense::F32(&bias_f32)
                }),
                activation,
                gate: with_gate.then_some(gate_by_columns.as_slice()),
                residual: match which_residual {
                    0 => Residual::None,
                    1 => Residual::InPlace,
                    _ if half => Residual::Matrix(Dense::F32(&residual_f32), (n, 1)),
                    _ => Residual::Matrix(Dense::F16(&residual), (n, 1)),
                },
            },
        };
        let place = |at: usize| at / n * strides.0 + at % n * strides.1;
        let mut c32 = vec![0f32; m * n];
        let mut c16 = vec![0u16; m * n];
        for (at, &v) in old.iter().enumerate() {
            c32[place(at)] = f16::from_bits(v).to_f32();
            c16[place(at)] = v;
        }
        let c = if half { DenseMut::F16(&mut c16) } else { DenseMut::F32(&mut c32) };
        spmm(&args, &header, c).unwrap();
        for (at, &want) in want.iter().enumerate() {
            let (got, rounding) = if half {
                (f16::from_bits(c16[place(at)]).to_f64(), want.abs() / 2048.0)
            } else {
                (f64::from(c32[place(at)]), 0.0)
            };
            assert!(
                (got - want).abs() <= 2e-5 + rounding,
                "choice {choice}, C({}, {}): {got}, not {want}",
                at / n,
                at % n
            );
        }
    }
}

#[test]
fn operands_of_an_epilogue_that_are_too_short_are_refused() {
    let (m, k, n) = (5, 3, 4);
    let layout = row_major(m, k);
    let (header, buffer) = compress(&layout, &vec![0x3c00; m * k], Format::Bitmap, false);
    let b = vec![0x3c00; k * n];
    let short = vec![0f32; m * n - 1];
    let matrix = |strides| Residual::Matrix(Dense::F32(&short), strides);
    for epilogue in [
        Epilogue { bias: Some(Dense::F32(&short[..m - 1])), ..Epilogue::default() },
        Epilogue { gate: Some(&short), ..Epilogue::default() },
        Epilogue { residual: matrix((n, 1)), ..Epilogue::default() },
        Epilogue { residual: matrix((1, usize::MAX)), ..Epilogue::default() },
    ] {
        let mut c = vec![7f32; m * n];
        let args = HostSpmm {
            a: &buffer,
            n,
            alpha: 1.0,
            beta: 0.0,
            b: &b,
            b_strides: (n, 1),
            c_dtype: DType::F32,
            c_strides: (n, 1),
            epilogue,
        };
        let error = spmm(&args, &header, DenseMut::F32(&mut c)).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidValue, "{error}");
        assert!(c.iter().all(|&v| v == 7.0), "C was written");
    }
}
