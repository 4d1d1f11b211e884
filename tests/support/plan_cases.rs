//! The bodies of the tests of plans, for a host handle (tests/host_plan.rs) and a device (tests/gpu_plan.rs).

use std::ffi::c_int;

use super::api::{self, Buffer, DnMat, Handle, SpMat};
use super::plan::{
    ACTIVATION, ALG_ID, BIAS, BIAS_TYPE, Case, DETERMINISTIC, Extra, GATE, GELU_ERF, GELU_TANH,
    GroupCase, NONE, PROGRAMMATIC_LAUNCH, Plan, R_16BF, RELU, RESIDUAL, SILU, SPLITS,
    WORKSPACE_LIMIT, algorithms, check, check_batch, check_group, compressed, encode, set_batch,
    status_of, try_check,
};
use super::{GuardedWorkspace, Rng, integer_product, integer_weights};

const TYPES: [c_int; 2] = [api::R_16F, R_16BF];
const ACTIVATIONS: [c_int; 5] = [NONE, RELU, GELU_TANH, GELU_ERF, SILU];

const NOT_SUPPORTED: c_int = 10;
const INSUFFICIENT_RESOURCES: c_int = 11;
const INVALID_VALUE: c_int = 3;
const MATRIX_TYPE_NOT_SUPPORTED: c_int = 8;

/// Cases of which all are run, or a sample.
struct Cases<'h> {
    handle: &'h Handle,
    every: usize,
    seen: usize,
}

impl<'h> Cases<'h> {
    /// A sample is every eleventh: no loop below has a multiple of that many turns, so that each value of each loop
    /// comes up, with others every time.
    fn new(handle: &'h Handle, sample: bool) -> Self {
        Self { handle, every: if sample { 11 } else { 1 }, seen: 0 }
    }

    /// Whether the next case is run.
    fn takes(&mut self) -> bool {
        self.seen += 1;
        self.seen % self.every == 0
    }

    fn check(&mut self, case: &Case) {
        if self.takes() {
            check(self.handle, case);
        }
    }
}

/// Every format, element type, type of C and width, without anything around.
pub fn plain(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for format in api::FORMATS {
        for dtype in TYPES {
            for c_type in [dtype, api::R_32F] {
                for n in [1, 3, 8, 16, 24, 32, 33, 64, 65] {
                    cases.check(&Case { format, dtype, c_type, n, ..Case::PLAIN });
                }
            }
        }
    }
}

/// Every activation with every type of bias, with and without a factor of C.
pub fn activations(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for format in api::FORMATS {
        for activation in ACTIVATIONS {
            for bias in [None, Some(api::R_16F), Some(R_16BF), Some(api::R_32F)] {
                for (dtype, c_type, n, beta) in [
                    (api::R_16F, api::R_32F, 16, 0.0),
                    (R_16BF, R_16BF, 5, -0.5),
                    (api::R_16F, api::R_16F, 33, 1.0),
                    (R_16BF, api::R_32F, 64, 0.0),
                ] {
                    let alpha = if n == 5 { 0.5 } else { 1.0 };
                    let case = Case {
                        format,
                        activation,
                        bias,
                        dtype,
                        c_type,
                        n,
                        alpha,
                        beta,
                        ..Case::PLAIN
                    };
                    cases.check(&case);
                }
            }
        }
    }
}

/// A gate in every format, alone and with all the rest.
pub fn gates(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for format in api::FORMATS {
        for gate in api::FORMATS {
            for activation in ACTIVATIONS {
                let case = Case { format, gate: Some(gate), activation, ..Case::PLAIN };
                cases.check(&case);
                // K is no multiple of 8: B is packed, once for both.
                let case = Case {
                    dtype: R_16BF,
                    k: 299,
                    n: 21,
                    bias: Some(api::R_32F),
                    residual: Extra::Matrix(R_16BF, api::ORDER_ROW),
                    beta: 1.0,
                    c_order: api::ORDER_ROW,
                    ..case
                };
                cases.check(&case);
                // One of the two may want B in planes and the other as it is.
                cases.check(&Case { n: 45, k: 304, ..case });
            }
        }
    }
}

/// A residual of its own in each type and order, and C itself.
pub fn residuals(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for format in api::FORMATS {
        for (dtype, c_type) in
            [(api::R_16F, api::R_16F), (R_16BF, R_16BF), (api::R_16F, api::R_32F)]
        {
            let mut residuals = vec![Extra::InPlace];
            for r_type in [api::R_16F, R_16BF, api::R_32F] {
                for order in [api::ORDER_COL, api::ORDER_ROW] {
                    residuals.push(Extra::Matrix(r_type, order));
                }
            }
            for residual in residuals {
                for (n, beta, c_order) in [(16, 0.0, api::ORDER_COL), (9, 2.0, api::ORDER_ROW)] {
                    let activation = if n == 9 { RELU } else { NONE };
                    let case = Case {
                        format,
                        dtype,
                        c_type,
                        residual,
                        n,
                        beta,
                        c_order,
                        activation,
                        ..Case::PLAIN
                    };
                    cases.check(&case);
                }
            }
        }
    }
}

/// Factors in the handle's memory.
pub fn device_scalars(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for format in api::FORMATS {
        for (alpha, beta) in [(1.0, 0.0), (0.0, 1.0), (-2.0, 0.5), (0.0, 0.0)] {
            for n in [4, 32] {
                let case = Case { format, alpha, beta, n, device_scalars: true, ..Case::PLAIN };
                cases.check(&case);
                cases.check(&Case { gate: Some(format), bias: Some(R_16BF), ..case });
            }
        }
    }
}

/// Batches that fold into one product and batches that do not, with everything around.
pub fn batches(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    let orders = [api::ORDER_COL, api::ORDER_ROW];
    for format in api::FORMATS {
        for (b_order, c_order, op_b) in [
            (orders[0], orders[0], api::NON_TRANSPOSE),
            (orders[1], orders[0], api::NON_TRANSPOSE),
            (orders[0], orders[1], api::TRANSPOSE),
            (orders[1], orders[1], api::TRANSPOSE),
        ] {
            for gap in [0, 8, 13] {
                for n in [1, 6] {
                    let case =
                        Case { format, b_order, c_order, op_b, gap, n, batch: 3, ..Case::PLAIN };
                    cases.check(&case);
                    let case = Case {
                        bias: Some(api::R_16F),
                        residual: Extra::Matrix(api::R_32F, b_order),
                        gate: Some(format),
                        activation: RELU,
                        beta: 1.0,
                        ..case
                    };
                    cases.check(&case);
                    cases.check(&Case { residual: Extra::InPlace, c_type: api::R_16F, ..case });
                }
            }
        }
    }
}

/// Batches that are no wider product: as many as one launch takes, and more, in the layouts that are read in place
/// and in those that are packed. (One column each is always a wider product.)
pub fn batches_together(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    // The host takes its time, and has no launches to deal.
    let large = handle.is_cuda() && !sample;
    let counts: &[usize] = if large { &[2, 5, 16, 17, 40] } else { &[2, 17] };
    let shapes = if large { vec![(70, 264), (1, 299), (500, 4104)] } else { vec![(70, 264)] };
    for format in api::FORMATS {
        for dtype in TYPES {
            for (at, &batch) in counts.iter().enumerate() {
                for &(m, k) in &shapes {
                    for n in [2, 6, 16, 40] {
                        let case = Case {
                            format,
                            dtype,
                            c_type: [api::R_32F, dtype][at % 2],
                            m,
                            k,
                            n,
                            beta: [0.0, 1.0][(at + n) % 2],
                            batch,
                            gap: 8,
                            ..Case::PLAIN
                        };
                        let transposed = Case {
                            op_b: api::TRANSPOSE,
                            b_order: [api::ORDER_ROW, api::ORDER_COL][at % 2],
                            c_order: api::ORDER_ROW,
                            gap: 5,
                            ..case
                        };
                        for exact in [true, false] {
                            for case in [&case, &transposed] {
                                if cases.takes() {
                                    check_batch(handle, case, exact);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every algorithm that is listed can be forced and is right, for every width; so is every split.
pub fn algorithms_and_splits(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for format in api::FORMATS {
        for dtype in TYPES {
            // Fragments of wgmma take more columns at a time.
            let wide: &[usize] = match format {
                api::FORMAT_BANKED | api::FORMAT_BITMAP => &[110, 190, 220, 250, 400],
                _ => &[],
            };
            for n in [1, 16, 40, 64, 130].into_iter().chain(wide.iter().copied()) {
                let (m, k) = (200, 1100);
                let case = Case { format, dtype, m, k, n, ..Case::PLAIN };
                let weights = integer_weights(m, k, 80, (m * 31 + k * 7 + n) as u64);
                let (a, _buffer) = compressed(handle, (m, k), &weights, format, dtype);
                let ids = algorithms(handle, &a, n);
                assert!(!ids.is_empty());
                for &algorithm in &ids {
                    cases.check(&Case { algorithm, ..case });
                }
                for splits in [1, 2, 3, 1000] {
                    cases.check(&Case { splits, algorithm: ids[0], ..case });
                }
            }
        }
    }
}

/// Whether an algorithm is one of sliced-K, by the number of its family.
fn is_sliced(algorithm: i32) -> bool {
    [15, 16].contains(&(algorithm % 1_000_000 / 10_000))
}

/// Warpgroups that take the blocks of a row tile in turn, of one tile or two: fewer blocks than warpgroups, numbers of them that are no
/// multiple of theirs, and so many pieces of a row group.
pub fn slices_of_k(handle: &Handle, splits: &[c_int], sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for (format, dtype) in [(api::FORMAT_BANKED, api::R_16F), (api::FORMAT_BITMAP, R_16BF)] {
        for (m, k) in [(64, 100), (200, 1100), (1000, 5000)] {
            for n in [3, 16, 30, 45, 64] {
                let case = Case { format, dtype, m, k, n, ..Case::PLAIN };
                let weights = integer_weights(m, k, 80, (m * 31 + k * 7 + n) as u64);
                let (a, _buffer) = compressed(handle, (m, k), &weights, format, dtype);
                let listed = algorithms(handle, &a, n);
                let sliced: Vec<_> = listed.iter().copied().filter(|id| is_sliced(*id)).collect();
                assert!(!sliced.is_empty(), "{listed:?}");
                for (id, tiles) in sliced.into_iter().flat_map(|id| [(id, 1), (id, 2)]) {
                    for &splits in splits {
                        cases.check(&Case { algorithm: id + tiles * 1_000_000, splits, ..case });
                    }
                }
            }
        }
    }
}

/// Sliced-K takes no more row groups than there are multiprocessors, however it is asked for.
pub fn too_many_row_groups_to_slice(handle: &Handle) {
    let (m, k, n) = (12_800, 256, 16);
    let weights = integer_weights(m, k, 95, 5);
    for format in [api::FORMAT_BANKED, api::FORMAT_BITMAP] {
        let (a, _buffer) = compressed(handle, (m, k), &weights, format, api::R_16F);
        let id = algorithms(handle, &a, n).into_iter().find(|id| is_sliced(*id)).unwrap();
        let b = handle.upload(&vec![0_u16; k * n]).unwrap();
        let c = handle.upload(&vec![0_u16; m * n]).unwrap();
        let b = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).unwrap();
        let c = DnMat::new(m, n, m, c.pointer(), api::R_16F, api::ORDER_COL).unwrap();
        let plan = Plan::new(handle, api::NON_TRANSPOSE, &a, &b, &c).unwrap();
        // Two hundred row tiles, two at a time; and each alone, and twice as many pieces.
        plan.set(ALG_ID, id + 2_000_000).unwrap();
        assert_eq!(status_of(plan.set(ALG_ID, id + 1_000_000)), Some(NOT_SUPPORTED));
        assert_eq!(status_of(plan.set(SPLITS, 2)), None, "one block is one piece");
    }
}

/// Two CTAs that share a row group are a cluster where that is chosen for them: every kernel that takes pairs.
pub fn pairs_of_ctas(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    for (format, dtype) in [
        (api::FORMAT_BANKED, api::R_16F),
        (api::FORMAT_BITMAP, R_16BF),
        (api::FORMAT_SLOTS, api::R_16F),
        (api::FORMAT_SLOTS, R_16BF),
    ] {
        for n in [3, 16, 21, 30, 45, 64, 96, 110, 128, 150, 190, 220, 250] {
            let case = Case { format, dtype, m: 1000, k: 1100, n, splits: 2, ..Case::PLAIN };
            let weights = integer_weights(case.m, case.k, 80, n as u64);
            let (a, _buffer) = compressed(handle, (case.m, case.k), &weights, format, dtype);
            let ids = algorithms(handle, &a, n);
            // From 24 columns on Slots takes even numbers.
            let fewest = if format == api::FORMAT_SLOTS { 2 } else { 1 };
            for (id, tiles) in ids.into_iter().flat_map(|id| [(id, fewest), (id, 2 * fewest)]) {
                if !is_sliced(id) {
                    cases.check(&Case { algorithm: id + tiles * 1_000_000, ..case });
                }
            }
        }
    }
}

/// A CTA with more than one row group goes from one to the next, whole or cut.
pub fn row_groups_in_turn(handle: &Handle, small: bool) {
    let (m, k) = (9000, if small { 520 } else { 2056 });
    // The fewest tiles a row group, so that there are more groups than multiprocessors; and several, each of whose blocks another
    // lane asks for.
    for (format, n, tiles) in [
        (api::FORMAT_SELL, 5, 1),
        (api::FORMAT_BANKED, 5, 1),
        (api::FORMAT_BANKED, 100, 1),
        (api::FORMAT_BANKED, 110, 1),
        (api::FORMAT_BANKED, 190, 1),
        (api::FORMAT_BANKED, 220, 1),
        (api::FORMAT_BANKED, 250, 1),
        (api::FORMAT_BITMAP, 190, 3),
        (api::FORMAT_BITMAP, 250, 2),
        (api::FORMAT_SLOTS, 40, 2),
        (api::FORMAT_BANKED, 5, 2),
        (api::FORMAT_BANKED, 60, 4),
        (api::FORMAT_SLOTS, 5, 3),
    ] {
        let case = Case { format, m, k, n, ..Case::PLAIN };
        let weights = integer_weights(m, k, 95, 5);
        let (a, _buffer) = compressed(handle, (m, k), &weights, format, case.dtype);
        let algorithm = algorithms(handle, &a, n)
            .into_iter()
            .find(|id| !is_sliced(*id))
            .expect("a kernel that takes any number of row groups")
            + tiles * 1_000_000;
        for splits in [1, 2] {
            check(handle, &Case { algorithm, splits, ..case });
        }
    }
}

/// Executes the plan over a poisoned fp32 C, column-major and without gaps, and compares every element with `product`, row-major.
fn is_exact(
    handle: &Handle,
    plan: &Plan,
    (a, b, c_descr): (&SpMat, &DnMat, &DnMat),
    c: &Buffer<'_>,
    product: &[i32],
    n: usize,
    name: &str,
) {
    let m = product.len() / n;
    let workspace = GuardedWorkspace::new(handle, plan.workspace_bytes());
    let (one, zero) = (1.0_f32, 0.0_f32);
    let scalars = ((&raw const one).cast(), (&raw const zero).cast());
    c.write(0, &vec![f32::NAN; m * n]).unwrap();
    plan.execute(scalars, a, b, c_descr, workspace.pointer()).unwrap();
    handle.synchronize().unwrap();
    workspace.check(name);
    let got: Vec<f32> = c.read(0, m * n).unwrap();
    for (at, value) in got.into_iter().enumerate() {
        assert_eq!(value, product[at % m * n + at / m] as f32, "{name}, element {at}");
    }
}

/// A plan that was searched is as exact as before, and its two numbers are all that there is to store. With a gap between B's
/// columns, a multiple of 16 bytes or not.
pub fn searches(handle: &Handle, sample: bool) {
    let (m, k) = if sample { (96, 520) } else { (1000, 2056) };
    for format in api::FORMATS {
        let weights = integer_weights(m, k, 80, 31);
        let (a, _a) = compressed(handle, (m, k), &weights, format, api::R_16F);
        for (n, gap) in [(1, 0), (8, 8), (16, 3), (33, 0), (64, 0), (100, 3)] {
            let b_values: Vec<i32> = (0..k * n).map(|i| (i * 7919 % 5) as i32 - 2).collect();
            let ld = k + gap;
            let mut b_bytes = vec![0xff_u8; ld * n * 2];
            for (row, col) in (0..k).flat_map(|row| (0..n).map(move |col| (row, col))) {
                let bytes = encode(api::R_16F, f64::from(b_values[row * n + col]));
                b_bytes[(col * ld + row) * 2..][..2].copy_from_slice(&bytes);
            }
            let b = handle.upload(&b_bytes).unwrap();
            let c = handle.upload(&vec![f32::NAN; m * n]).unwrap();
            let b_descr = DnMat::new(k, n, ld, b.pointer(), api::R_16F, api::ORDER_COL).unwrap();
            let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
            let product = integer_product(&weights, &b_values, k, n);
            let make = || Plan::new(handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
            let name = format!("format {format}, {m} x {k} x {n}, a gap of {gap}");
            let plan = make();
            for ways in [0, 1, 3] {
                plan.set(ALG_ID, 0).unwrap();
                plan.set(SPLITS, 0).unwrap();
                let us = plan.search(&a, &b_descr, ways).unwrap();
                let (id, splits) = (plan.get::<c_int>(ALG_ID), plan.get::<c_int>(SPLITS));
                if handle.is_cuda() {
                    assert!(us > 0.0 && us < 1e6, "{name}: {us}");
                    assert!(id > 1_000_000, "{name}: {id} leaves something open");
                    assert!(algorithms(handle, &a, n).contains(&(id % 1_000_000)), "{name}: {id}");
                } else {
                    assert_eq!((us.to_bits(), id, splits), (0, 1, 1), "{name}");
                }
                is_exact(handle, &plan, (&a, &b_descr, &c_descr), &c, &product, n, &name);
                let stored = make();
                stored.set(ALG_ID, id).unwrap();
                stored.set(SPLITS, splits).unwrap();
                assert_eq!(stored.workspace_bytes(), plan.workspace_bytes(), "{name}");
                if handle.is_cuda() {
                    assert_eq!(stored.explain(), plan.explain(), "{name}");
                }
            }
            assert_eq!(status_of(plan.search(&a, &b_descr, -1).map(drop)), Some(INVALID_VALUE));
            let b_after: Vec<u8> = b.read(0, b_bytes.len()).unwrap();
            assert!(b_after == b_bytes, "{name}: B was written to");
        }
    }
}

/// Some tiles without a zero, some empty: where that is so, SELL's tiles are dealt by their bytes.
pub fn uneven_rows(handle: &Handle, small: bool) {
    let n = 5;
    for format in api::FORMATS {
        for (m, k) in [(40, 300), (if small { 600 } else { 7000 }, 2104)] {
            let mut weights = integer_weights(m, k, 95, 11);
            let dense = integer_weights(m, k, 0, 12);
            for (row, values) in weights.chunks_exact_mut(k).enumerate() {
                match row / 32 {
                    tile if tile % 37 == 3 => values.copy_from_slice(&dense[row * k..][..k]),
                    tile if tile % 5 == 1 => values.fill(0),
                    _ => {}
                }
            }
            let (a, _a) = compressed(handle, (m, k), &weights, format, api::R_16F);
            let b_values: Vec<i32> = (0..k * n).map(|i| (i * 7919 % 7) as i32 - 3).collect();
            let b_bytes: Vec<u8> = (0..n)
                .flat_map(|col| (0..k).map(move |row| (row, col)))
                .flat_map(|(row, col)| encode(api::R_16F, f64::from(b_values[row * n + col])))
                .collect();
            let b = handle.upload(&b_bytes).unwrap();
            let c = handle.upload(&vec![f32::NAN; m * n]).unwrap();
            let b_descr = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).unwrap();
            let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
            let plan = Plan::new(handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
            let product = integer_product(&weights, &b_values, k, n);
            // As chosen, and one or two tiles of a CTA at a time.
            let chosen = if handle.is_cuda() { algorithms(handle, &a, n)[0] } else { 0 };
            let mut by_bytes = false;
            for algorithm in [0, chosen + 1_000_000, chosen + 2_000_000] {
                if algorithm != 0 && (!handle.is_cuda() || plan.set(ALG_ID, algorithm).is_err()) {
                    continue;
                }
                for splits in [0, 1] {
                    plan.set(SPLITS, splits).unwrap();
                    by_bytes |= plan.explain().contains("dealt by their bytes");
                    let name = format!(
                        "format {format}, {m} x {k}, algorithm {algorithm}, {splits} splits"
                    );
                    is_exact(handle, &plan, (&a, &b_descr, &c_descr), &c, &product, n, &name);
                }
            }
            let hopper = plan.explain().contains("_sm90 (");
            assert_eq!(by_bytes, hopper && format == api::FORMAT_SELL, "{format}");
        }
    }
}

/// Some rows of every tile fuller than the others, up to full: Slots stores up to eight of a tile whole, beside overflow, groups of two
/// elements and groups of one. Every algorithm, as many columns as each width has and some less, in both element types.
pub fn dense_rows(handle: &Handle, small: bool) {
    let shapes: &[(usize, usize)] =
        if small { &[(70, 600)] } else { &[(40, 300), (200, 1100), (1000, 2056)] };
    for &(m, k) in shapes {
        for (percent, dtype) in [(50, api::R_16F), (80, api::R_16BF), (92, api::R_16F)] {
            let mut weights = integer_weights(m, k, percent, 21);
            let fuller = integer_weights(m, k, 25, 22);
            let full = integer_weights(m, k, 0, 23);
            for (row, values) in weights.chunks_exact_mut(k).enumerate() {
                // Of the second tile more than Slots takes, of the third none.
                let (tile, range) = (row / 32, row * k..(row + 1) * k);
                match row % 32 {
                    i if tile % 3 == 0 && i % 11 == 4 => values.copy_from_slice(&full[range]),
                    i if tile % 3 == 1 && i % 3 == 1 => values.copy_from_slice(&fuller[range]),
                    i if tile % 3 < 2 && i % 7 == 6 => values.fill(0),
                    _ => {}
                }
            }
            let (a, _a) = compressed(handle, (m, k), &weights, api::FORMAT_SLOTS, dtype);
            for n in [1, 8, 13, 16, 19, 24, 30, 32, 41, 48, 50, 64, 70] {
                let b_values: Vec<i32> = (0..k * n).map(|i| (i * 7919 % 5) as i32 - 2).collect();
                let b_bytes: Vec<u8> = (0..n)
                    .flat_map(|col| (0..k).map(move |row| row * n + col))
                    .flat_map(|at| encode(dtype, f64::from(b_values[at])))
                    .collect();
                let b = handle.upload(&b_bytes).unwrap();
                let c = handle.upload(&vec![f32::NAN; m * n]).unwrap();
                let b_descr = DnMat::new(k, n, k, b.pointer(), dtype, api::ORDER_COL).unwrap();
                let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
                let plan = Plan::new(handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
                let product = integer_product(&weights, &b_values, k, n);
                for algorithm in algorithms(handle, &a, n) {
                    plan.set(ALG_ID, algorithm).unwrap();
                    for splits in [0, 1, 2, 3] {
                        plan.set(SPLITS, splits).unwrap();
                        let name = format!(
                            "{m} x {k} x {n}, {percent} %, algorithm {algorithm}, {splits} splits"
                        );
                        is_exact(handle, &plan, (&a, &b_descr, &c_descr), &c, &product, n, &name);
                    }
                }
            }
        }
    }
}

/// Less workspace means fewer CTAs, and the same sums.
pub fn workspace_limits(handle: &Handle) {
    for format in api::FORMATS {
        let case = Case { format, m: 300, k: 2000, n: 20, ..Case::PLAIN };
        let mut refused = 0;
        for limit in [usize::MAX, 1 << 22, 1 << 20, 200_000, 100_000, 50_000, 256] {
            match try_check(handle, &Case { limit, ..case }) {
                Ok(()) => assert_eq!(refused, 0, "a smaller limit was possible, {limit} is not"),
                Err(e) => {
                    assert_eq!(e.status, INSUFFICIENT_RESOURCES, "{e}");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused > 0, handle.is_cuda());
    }
}

/// Anything with anything.
pub fn mixtures(handle: &Handle, count: usize) {
    let mut rng = Rng(2026);
    let types = [api::R_16F, R_16BF, api::R_32F];
    let orders = [api::ORDER_COL, api::ORDER_ROW];
    for _ in 0..count {
        let dtype = TYPES[rng.below(2)];
        let (alpha, beta) = [(1.0, 0.0), (2.0, 1.0), (-1.0, 0.5)][rng.below(3)];
        let case = Case {
            dtype,
            c_type: [dtype, api::R_32F][rng.below(2)],
            format: api::FORMATS[rng.below(api::FORMATS.len())],
            m: 1 + rng.below(260),
            k: 1 + rng.below(700),
            n: 1 + rng.below(70),
            alpha,
            beta,
            bias: [None, Some(types[rng.below(3)])][rng.below(2)],
            activation: ACTIVATIONS[rng.below(2)],
            gate: [None, Some(api::FORMATS[rng.below(api::FORMATS.len())])][rng.below(2)],
            residual: [
                Extra::None,
                Extra::InPlace,
                Extra::Matrix(types[rng.below(3)], orders[rng.below(2)]),
            ][rng.below(3)],
            device_scalars: rng.below(2) == 1,
            batch: [1, 1, 2, 5][rng.below(4)],
            b_order: orders[rng.below(2)],
            c_order: orders[rng.below(2)],
            gap: [0, 8, 3][rng.below(3)],
            op_b: [api::NON_TRANSPOSE, api::TRANSPOSE][rng.below(2)],
            algorithm: 0,
            splits: [0, 0, 1, 4][rng.below(4)],
            limit: usize::MAX,
        };
        check(handle, &case);
    }
}

/// What attributes read as, and what is refused without a change.
pub fn attributes(handle: &Handle) {
    let (m, k, n) = (64, 512, 8);
    let weights = integer_weights(m, k, 80, 1);
    let (a, _a) = compressed(handle, (m, k), &weights, api::FORMAT_SLOTS, api::R_16F);
    let (other, _o) = compressed(handle, (m, k), &weights, api::FORMAT_SLOTS, R_16BF);
    let memory = handle.alloc(1 << 16).unwrap();
    let b = DnMat::new(k, n, k, memory.pointer(), api::R_16F, api::ORDER_COL).unwrap();
    let c = DnMat::new(m, n, m, memory.at(1 << 15), api::R_16F, api::ORDER_COL).unwrap();
    let plan = Plan::new(handle, api::NON_TRANSPOSE, &a, &b, &c).unwrap();
    assert_eq!(plan.get::<usize>(BIAS), 0);
    assert_eq!(plan.get::<c_int>(BIAS_TYPE), api::R_16F);
    assert_eq!(plan.get::<c_int>(ACTIVATION), NONE);
    assert_eq!(plan.get::<usize>(GATE), 0);
    assert_eq!(plan.get::<usize>(RESIDUAL), 0);
    assert_eq!(plan.get::<c_int>(DETERMINISTIC), 1);
    assert_eq!(plan.get::<usize>(WORKSPACE_LIMIT), usize::MAX);
    assert_eq!(plan.get::<c_int>(PROGRAMMATIC_LAUNCH), 0);
    // What was chosen can be stored and forced: a plan that forces it is the same.
    let (id, splits) = (plan.get::<c_int>(ALG_ID), plan.get::<c_int>(SPLITS));
    assert_eq!(id, algorithms(handle, &a, n)[0]);
    assert!(splits >= 1);
    let before = plan.explain();
    let forced = Plan::new(handle, api::NON_TRANSPOSE, &a, &b, &c).unwrap();
    forced.set(ALG_ID, id).unwrap();
    forced.set(SPLITS, splits).unwrap();
    assert_eq!(forced.get::<c_int>(SPLITS), splits);
    assert_eq!(forced.workspace_bytes(), plan.workspace_bytes());
    assert_eq!(forced.explain().contains("asked for"), handle.is_cuda());
    if handle.is_cuda() {
        // The number that fixes row tiles and staged blocks too.
        let whole = before.split_once("it is algorithm ").unwrap().1.lines().next().unwrap();
        let whole: c_int = whole.parse().unwrap();
        forced.set(ALG_ID, whole).unwrap();
        assert_eq!(forced.get::<c_int>(ALG_ID), whole);
        assert_eq!(forced.workspace_bytes(), plan.workspace_bytes());
        assert_eq!(status_of(forced.set(ALG_ID, id + 99 * 1_000_000)), Some(NOT_SUPPORTED));
    }

    plan.set(GATE, a.raw()).unwrap();
    assert_eq!(plan.get::<usize>(GATE), a.raw().addr());
    assert!(plan.workspace_bytes() >= m * n * 4);
    plan.set(GATE, std::ptr::null_mut::<u8>()).unwrap();
    plan.set(RESIDUAL, c.raw()).unwrap();
    assert_eq!(plan.get::<usize>(RESIDUAL), c.raw().addr());
    plan.set(RESIDUAL, std::ptr::null_mut::<u8>()).unwrap();
    plan.set(DETERMINISTIC, 0).unwrap();
    plan.set(DETERMINISTIC, 1).unwrap();

    assert_eq!(status_of(plan.set(GATE, other.raw())), Some(MATRIX_TYPE_NOT_SUPPORTED));
    assert_eq!(status_of(plan.set(GATE, b.raw())), Some(INVALID_VALUE));
    assert_eq!(status_of(plan.set(RESIDUAL, b.raw())), Some(INVALID_VALUE));
    assert_eq!(status_of(plan.set(ALG_ID, 99_999)), Some(NOT_SUPPORTED));
    assert_eq!(status_of(plan.set(ALG_ID, -1)), Some(INVALID_VALUE));
    assert_eq!(status_of(plan.set(ACTIVATION, 5)), Some(INVALID_VALUE));
    assert_eq!(plan.explain(), before, "what was refused has changed something");
    for word in ["product: A 64 x 512", "workspace: ", "kernel: ", "why: ", "splits: "] {
        assert!(before.contains(word), "{word:?} is not in:\n{before}");
    }

    // A plan refuses what it was not made for.
    let wide = DnMat::new(k, n + 1, k, memory.pointer(), api::R_16F, api::ORDER_COL).unwrap();
    let wide_c = DnMat::new(m, n + 1, m, memory.at(1 << 15), api::R_16F, api::ORDER_COL).unwrap();
    let single = DnMat::new(m, n, m, memory.at(1 << 15), api::R_32F, api::ORDER_COL).unwrap();
    let one = (&raw const ONE).cast();
    let bytes = plan.workspace_bytes();
    let workspace = handle.alloc(bytes).unwrap();
    let run =
        |b: &DnMat, c: &DnMat| status_of(plan.execute((one, one), &a, b, c, workspace.pointer()));
    assert_eq!(run(&wide, &wide_c), Some(INVALID_VALUE));
    assert_eq!(run(&b, &single), Some(MATRIX_TYPE_NOT_SUPPORTED));
    set_batch(&b, 2, k * n);
    assert_eq!(run(&b, &c), Some(INVALID_VALUE));
    set_batch(&c, 2, m * n);
    assert_eq!(run(&b, &c), Some(INVALID_VALUE));
    set_batch(&b, 1, 0);
    set_batch(&c, 1, 0);
    assert_eq!(run(&b, &c), None);
    handle.synchronize().unwrap();
}

static ONE: f32 = 1.0;

/// One plan serves another matrix of the same shape, as long as its blocks are not larger.
pub fn other_matrices(handle: &Handle) {
    let (m, k, n) = (96, 768, 12);
    for format in api::FORMATS {
        let dense = compressed(handle, (m, k), &integer_weights(m, k, 40, 1), format, api::R_16F);
        let sparse = compressed(handle, (m, k), &integer_weights(m, k, 60, 2), format, api::R_16F);
        // The width of a block, in the header: a plan is for one.
        let width = |b: &Buffer<'_>| -> Vec<u32> { b.read(52, 1).unwrap() };
        assert_eq!(width(&dense.1), width(&sparse.1));
        let b_bits = vec![0x3c00_u16; k * n]; // ones: C is the sums of the rows
        let b = handle.upload(&b_bits).unwrap();
        let c = handle.upload(&vec![f32::NAN; m * n]).unwrap();
        let b_descr = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).unwrap();
        let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
        let plan = Plan::new(handle, api::NON_TRANSPOSE, &dense.0, &b_descr, &c_descr).unwrap();
        let workspace = handle.alloc(plan.workspace_bytes()).unwrap();
        let zero = 0.0_f32;
        let scalars = ((&raw const ONE).cast(), (&raw const zero).cast());
        for (matrix, percent, seed) in [(&sparse, 60, 2), (&dense, 40, 1)] {
            plan.execute(scalars, &matrix.0, &b_descr, &c_descr, workspace.pointer()).unwrap();
            handle.synchronize().unwrap();
            let got: Vec<f32> = c.read(0, m * n).unwrap();
            let weights = integer_weights(m, k, percent, seed);
            for (at, value) in got.iter().enumerate() {
                let row = &weights[at % m * k..][..k];
                assert_eq!(*value, row.iter().sum::<i32>() as f32, "format {format}, {at}");
            }
        }
        let plan = Plan::new(handle, api::NON_TRANSPOSE, &sparse.0, &b_descr, &c_descr).unwrap();
        let workspace = handle.alloc(plan.workspace_bytes()).unwrap();
        let refused = plan.execute(scalars, &dense.0, &b_descr, &c_descr, workspace.pointer());
        // Only a device has staged blocks that could be too small.
        assert_eq!(status_of(refused), handle.is_cuda().then_some(INVALID_VALUE));
        handle.synchronize().unwrap();
    }
}

/// Groups of one shape and of many, with empty ones between, and more than a launch takes.
pub fn groups(handle: &Handle, sample: bool) {
    let mut cases = Cases::new(handle, sample);
    let uniform = vec![(64, 4); 8];
    let many: Vec<_> = (0..37).map(|i| (1 + i * 7 % 140, i % 19)).collect();
    let wide = vec![(130, 70), (33, 1), (257, 0), (96, 17)];
    let one = vec![(200, 16)];
    let tiny = vec![(1, 1), (300, 9)];
    let nothing = vec![(40, 0), (50, 0)];
    for format in api::FORMATS {
        for dtype in TYPES {
            for (i, shapes) in
                [&uniform, &many, &wide, &one, &tiny, &nothing].into_iter().enumerate()
            {
                for k in [if handle.is_cuda() && !sample { 1096 } else { 264 }, 299] {
                    let case = GroupCase {
                        format,
                        dtype,
                        k,
                        shapes,
                        op_b: [api::NON_TRANSPOSE, api::TRANSPOSE][(i + k) / 2 % 2],
                        b_order: [api::ORDER_COL, api::ORDER_ROW][i % 2],
                        c_order: [api::ORDER_COL, api::ORDER_ROW][i / 2 % 2],
                        gap: [0, 8, 3][i % 3],
                        alpha: [1.0, -2.0][i % 2],
                        beta: [0.0, 1.0][k % 2],
                        device_scalars: k == 299,
                    };
                    if cases.takes() {
                        check_group(handle, &case);
                    }
                }
            }
        }
    }
}
