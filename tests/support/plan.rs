//! Plans, batches and device scalars against exact sums, on any handle: the host tests and the GPU tests run
//! the same bodies.

use std::ffi::{c_char, c_int, c_void};

use half::{bf16, f16};

use super::api::{self, Buffer, DnMat, Failure, Handle, Raw, SpMat};
use super::{GuardedWorkspace, Placed, Rng, integer_product, integer_weights};

pub const R_16BF: c_int = 14;

pub const BIAS: c_int = 0;
pub const BIAS_TYPE: c_int = 1;
pub const ACTIVATION: c_int = 2;
pub const GATE: c_int = 3;
pub const RESIDUAL: c_int = 4;
pub const ALG_ID: c_int = 5;
pub const SPLITS: c_int = 6;
pub const DETERMINISTIC: c_int = 7;
pub const WORKSPACE_LIMIT: c_int = 8;
pub const PROGRAMMATIC_LAUNCH: c_int = 9;

pub const NONE: c_int = 0;
pub const RELU: c_int = 1;
pub const GELU_TANH: c_int = 2;
pub const GELU_ERF: c_int = 3;
pub const SILU: c_int = 4;

mod ffi {
    use super::{Raw, c_char, c_int, c_void};

    unsafe extern "C" {
        pub fn flashllmSpMMPlanCreate(
            h: Raw,
            plan: *mut Raw,
            op_a: c_int,
            op_b: c_int,
            a: Raw,
            b: Raw,
            c: Raw,
            compute: c_int,
            alg: c_int,
        ) -> c_int;
        pub fn flashllmSpMMPlanDestroy(plan: Raw) -> c_int;
        pub fn flashllmSpMMPlanSetAttribute(
            plan: Raw,
            attr: c_int,
            value: *const c_void,
            bytes: usize,
        ) -> c_int;
        pub fn flashllmSpMMPlanGetAttribute(
            plan: Raw,
            attr: c_int,
            value: *mut c_void,
            bytes: usize,
        ) -> c_int;
        pub fn flashllmSpMMPlan_bufferSize(h: Raw, plan: Raw, bytes: *mut usize) -> c_int;
        pub fn flashllmSpMMPlanExecute(
            h: Raw,
            plan: Raw,
            alpha: *const c_void,
            a: Raw,
            b: Raw,
            beta: *const c_void,
            c: Raw,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmSpMMPlanSearch(
            h: Raw,
            plan: Raw,
            a: Raw,
            b: Raw,
            ways: i32,
            us: *mut f32,
        ) -> c_int;
        pub fn flashllmSpMMPlanExplain(
            h: Raw,
            plan: Raw,
            text: *mut c_char,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmSpMMAlgGetIds(
            h: Raw,
            a: Raw,
            n: i64,
            ids: *mut c_int,
            count: *mut c_int,
        ) -> c_int;
        pub fn flashllmDnMatSetStridedBatch(descr: Raw, count: i64, stride: i64) -> c_int;
        pub fn flashllmSetPointerMode(h: Raw, mode: c_int) -> c_int;
        pub fn flashllmSpMMGrouped_bufferSize(
            h: Raw,
            count: i64,
            op_b: c_int,
            alpha: *const c_void,
            a: *const Raw,
            b: *const Raw,
            beta: *const c_void,
            c: *const Raw,
            compute: c_int,
            alg: c_int,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmSpMMGrouped(
            h: Raw,
            count: i64,
            op_b: c_int,
            alpha: *const c_void,
            a: *const Raw,
            b: *const Raw,
            beta: *const c_void,
            c: *const Raw,
            compute: c_int,
            alg: c_int,
            workspace: Raw,
        ) -> c_int;
    }
}

pub fn set_batch(descr: &DnMat, count: usize, stride: usize) {
    // SAFETY: a live descriptor.
    api::check(unsafe {
        ffi::flashllmDnMatSetStridedBatch(descr.raw(), count as i64, stride as i64)
    })
    .unwrap();
}

pub fn set_device_scalars(handle: &Handle, device: bool) {
    // SAFETY: a live handle.
    api::check(unsafe { ffi::flashllmSetPointerMode(handle.raw(), c_int::from(device)) }).unwrap();
}

/// The algorithms for a matrix and n columns.
pub fn algorithms(handle: &Handle, a: &SpMat, n: usize) -> Vec<c_int> {
    let mut count = 0;
    let query = |ids: *mut c_int, count: &mut c_int| {
        // SAFETY: live objects; `ids` is NULL or has room for `count`.
        api::check(unsafe {
            ffi::flashllmSpMMAlgGetIds(handle.raw(), a.raw(), n as i64, ids, count)
        })
        .unwrap();
    };
    query(std::ptr::null_mut(), &mut count);
    let mut ids = vec![0; count as usize];
    query(ids.as_mut_ptr(), &mut count);
    ids
}

/// A plan; destroyed on drop.
pub struct Plan<'h> {
    handle: &'h Handle,
    raw: Raw,
}

impl<'h> Plan<'h> {
    pub fn new(
        handle: &'h Handle,
        op_b: c_int,
        a: &SpMat,
        b: &DnMat,
        c: &DnMat,
    ) -> api::Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: live objects and a place for the plan.
        api::check(unsafe {
            ffi::flashllmSpMMPlanCreate(
                handle.raw(),
                &mut raw,
                api::NON_TRANSPOSE,
                op_b,
                a.raw(),
                b.raw(),
                c.raw(),
                api::R_32F,
                api::ALG_DEFAULT,
            )
        })?;
        Ok(Self { handle, raw })
    }

    pub fn set<T>(&self, attr: c_int, value: T) -> api::Result<()> {
        let place = (&raw const value).cast();
        // SAFETY: a live plan and a value of its own size.
        api::check(unsafe {
            ffi::flashllmSpMMPlanSetAttribute(self.raw, attr, place, size_of::<T>())
        })
    }

    pub fn get<T: Default>(&self, attr: c_int) -> T {
        let mut value = T::default();
        let place = (&raw mut value).cast();
        // SAFETY: a live plan and a place of its own size.
        api::check(unsafe {
            ffi::flashllmSpMMPlanGetAttribute(self.raw, attr, place, size_of::<T>())
        })
        .unwrap();
        value
    }

    pub fn workspace_bytes(&self) -> usize {
        let mut bytes = 0;
        // SAFETY: live objects and a place for the size.
        api::check(unsafe {
            ffi::flashllmSpMMPlan_bufferSize(self.handle.raw(), self.raw, &mut bytes)
        })
        .unwrap();
        bytes
    }

    pub fn explain(&self) -> String {
        let mut bytes = 0;
        let query = |text: *mut c_char, bytes: &mut usize| {
            // SAFETY: live objects; `text` is NULL or has room for `bytes`.
            api::check(unsafe {
                ffi::flashllmSpMMPlanExplain(self.handle.raw(), self.raw, text, bytes)
            })
            .unwrap();
        };
        query(std::ptr::null_mut(), &mut bytes);
        let mut text = vec![0_u8; bytes];
        query(text.as_mut_ptr().cast(), &mut bytes);
        assert_eq!(text.pop(), Some(0));
        String::from_utf8(text).unwrap()
    }

    /// Takes the fastest of so many ways, and gives its microseconds.
    pub fn search(&self, a: &SpMat, b: &DnMat, ways: i32) -> api::Result<f32> {
        let (h, mut us) = (self.handle.raw(), f32::NAN);
        // SAFETY: live objects and a place for the time.
        api::check(unsafe {
            ffi::flashllmSpMMPlanSearch(h, self.raw, a.raw(), b.raw(), ways, &mut us)
        })?;
        Ok(us)
    }

    /// alpha and beta are where the pointer mode says.
    pub fn execute(
        &self,
        (alpha, beta): (*const c_void, *const c_void),
        a: &SpMat,
        b: &DnMat,
        c: &DnMat,
        workspace: Raw,
    ) -> api::Result<()> {
        // SAFETY: live objects, readable scalars, a workspace of the size that was asked for.
        api::check(unsafe {
            ffi::flashllmSpMMPlanExecute(
                self.handle.raw(),
                self.raw,
                alpha,
                a.raw(),
                b.raw(),
                beta,
                c.raw(),
                workspace,
            )
        })
    }
}

impl Drop for Plan<'_> {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        let _ = unsafe { ffi::flashllmSpMMPlanDestroy(self.raw) };
    }
}

/// Bytes of one value in an element type, rounded as the library rounds.
pub fn encode(dtype: c_int, value: f64) -> Vec<u8> {
    // Through single precision first: that is what is rounded.
    let single = value as f32;
    match dtype {
        api::R_16F => f16::from_f32(single).to_bits().to_le_bytes().to_vec(),
        R_16BF => bf16::from_f32(single).to_bits().to_le_bytes().to_vec(),
        _ => single.to_le_bytes().to_vec(),
    }
}

pub fn decode(dtype: c_int, bytes: &[u8]) -> f64 {
    match dtype {
        api::R_16F => f16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
        R_16BF => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f64(),
        _ => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
    }
}

pub fn size_of_type(dtype: c_int) -> usize {
    if dtype == api::R_32F { 4 } else { 2 }
}

/// Integers compressed on the host in a 16-bit type, where the handle computes.
pub fn compressed<'h>(
    handle: &'h Handle,
    (m, k): (usize, usize),
    values: &[i32],
    format: c_int,
    dtype: c_int,
) -> (SpMat, Buffer<'h>) {
    let host = Handle::host().unwrap();
    let mut bits: Vec<u16> = values
        .iter()
        .map(|&v| u16::from_le_bytes(encode(dtype, f64::from(v)).try_into().unwrap()))
        .collect();
    let dense = DnMat::new(m, k, k, bits.as_mut_ptr().cast(), dtype, api::ORDER_ROW).unwrap();
    let sparse = SpMat::with_type(m, k, format, dtype).unwrap();
    let none = host.alloc(0).unwrap();
    sparse.analyse(&host, &dense, &none).unwrap();
    let on_host = host.alloc(sparse.size().unwrap().bytes).unwrap();
    sparse.set_buffer(&host, &on_host).unwrap();
    sparse.convert(&host, &dense, &none).unwrap();
    let bytes: Vec<u8> = on_host.read(0, on_host.bytes()).unwrap();
    let buffer = handle.upload(&bytes).unwrap();
    let adopted = SpMat::with_type(m, k, sparse.format().unwrap(), dtype).unwrap();
    adopted.set_buffer(handle, &buffer).unwrap();
    (adopted, buffer)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extra {
    None,
    /// The residual is C.
    InPlace,
    /// Element type and order of a matrix of its own.
    Matrix(c_int, c_int),
}

/// One planned product.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub dtype: c_int,
    pub c_type: c_int,
    pub format: c_int,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub alpha: f64,
    pub beta: f64,
    /// Element type.
    pub bias: Option<c_int>,
    pub activation: c_int,
    /// Format.
    pub gate: Option<c_int>,
    pub residual: Extra,
    pub device_scalars: bool,
    pub batch: usize,
    pub b_order: c_int,
    pub c_order: c_int,
    /// Elements between the end of a matrix of the batch and the next, and more of ld.
    pub gap: usize,
    pub op_b: c_int,
    pub algorithm: c_int,
    pub splits: c_int,
    pub limit: usize,
}

impl Case {
    pub const PLAIN: Self = Self {
        dtype: api::R_16F,
        c_type: api::R_32F,
        format: api::FORMAT_BITMAP,
        m: 70,
        k: 300,
        n: 16,
        alpha: 1.0,
        beta: 0.0,
        bias: None,
        activation: NONE,
        gate: None,
        residual: Extra::None,
        device_scalars: false,
        batch: 1,
        b_order: api::ORDER_COL,
        c_order: api::ORDER_COL,
        gap: 0,
        op_b: api::NON_TRANSPOSE,
        algorithm: 0,
        splits: 0,
        limit: usize::MAX,
    };

    /// Whether every rounding before the last is exact for small integers.
    fn exact(&self) -> bool {
        matches!(self.activation, NONE | RELU)
    }

    fn activated(&self, v: f64) -> f64 {
        use flash_llm::types::Activation;
        let activation = match self.activation {
            NONE => Activation::None,
            RELU => Activation::Relu,
            GELU_TANH => Activation::GeluTanh,
            GELU_ERF => Activation::GeluErf,
            _ => Activation::Silu,
        };
        activation.apply_f64(v)
    }
}

/// A batch of dense matrices where the handle computes, NaN or the canary around them.
struct Matrices<'h> {
    place: Placed,
    stride: usize,
    dtype: c_int,
    /// What the buffer held at first.
    original: Vec<u8>,
    buffer: Buffer<'h>,
    descr: DnMat,
}

const BAND: usize = 256;
const CANARY: u8 = 0xa5;

impl<'h> Matrices<'h> {
    /// `value` gives element (batch, row, column); None leaves what is around.
    fn new(
        handle: &'h Handle,
        place: Placed,
        batch: usize,
        gap: usize,
        dtype: c_int,
        around: u8,
        value: impl Fn(usize, usize, usize) -> f64,
    ) -> Self {
        let size = size_of_type(dtype);
        // Without a gap the matrices of a batch continue each other.
        let outer = if place.order == api::ORDER_COL { place.cols } else { place.rows };
        let stride = outer * place.ld + gap;
        let elements = (batch - 1) * stride + place.extent();
        let mut bytes = vec![around; (elements + 2 * BAND) * size];
        for i in 0..batch {
            for row in 0..place.rows {
                for col in 0..place.cols {
                    let at = (BAND + i * stride + place.index(row, col)) * size;
                    bytes[at..at + size].copy_from_slice(&encode(dtype, value(i, row, col)));
                }
            }
        }
        let buffer = handle.upload(&bytes).unwrap();
        let at = buffer.at(BAND * size);
        let descr = DnMat::new(place.rows, place.cols, place.ld, at, dtype, place.order).unwrap();
        if batch > 1 {
            set_batch(&descr, batch, stride);
        }
        Self { place, stride, dtype, original: bytes, buffer, descr }
    }

    /// Matrix `i` by itself.
    fn one(&self, i: usize) -> DnMat {
        let Placed { rows, cols, ld, order } = self.place;
        let at = self.buffer.at((BAND + i * self.stride) * size_of_type(self.dtype));
        DnMat::new(rows, cols, ld, at, self.dtype, order).unwrap()
    }

    /// Elements (batch, row, column), and a check that nothing else was written.
    fn read(&self, batch: usize, name: &str) -> Vec<Vec<u8>> {
        let size = size_of_type(self.dtype);
        let mut bytes: Vec<u8> = self.buffer.read(0, self.buffer.bytes()).unwrap();
        let mut elements = Vec::new();
        for i in 0..batch {
            for row in 0..self.place.rows {
                for col in 0..self.place.cols {
                    let at = (BAND + i * self.stride + self.place.index(row, col)) * size;
                    elements.push(bytes[at..at + size].to_vec());
                    bytes[at..at + size].fill(CANARY);
                }
            }
        }
        let wrong = bytes.iter().position(|&b| b != CANARY);
        assert_eq!(wrong, None, "{name}: C was written outside its matrices");
        elements
    }
}

/// flashllmSpMM with a watched workspace.
fn spmm(
    handle: &Handle,
    op_b: c_int,
    (alpha, beta): (*const c_void, *const c_void),
    a: &SpMat,
    b: &DnMat,
    c: &DnMat,
    name: &str,
) {
    use api::ffi::{flashllmSpMM, flashllmSpMM_bufferSize};
    let fail = |e: Failure| panic!("{name}: {e}");
    let (h, none, mut need) = (handle.raw(), api::NON_TRANSPOSE, 0);
    let (a, b, c) = (a.raw(), b.raw(), c.raw());
    let (single, alg) = (api::R_32F, api::ALG_DEFAULT);
    // SAFETY: live objects, scalars where the mode says, a place for the size.
    api::check(unsafe {
        flashllmSpMM_bufferSize(h, none, op_b, alpha, a, b, beta, c, single, alg, &mut need)
    })
    .unwrap_or_else(fail);
    let workspace = GuardedWorkspace::new(handle, need);
    // SAFETY: as above, and a workspace of that size.
    api::check(unsafe {
        flashllmSpMM(h, none, op_b, alpha, a, b, beta, c, single, alg, workspace.pointer())
    })
    .unwrap_or_else(fail);
    handle.synchronize().unwrap_or_else(fail);
    workspace.check(name);
}

/// Runs a case and compares every element.
pub fn check(handle: &Handle, case: &Case) {
    try_check(handle, case).unwrap_or_else(|e| panic!("{case:?}: {e}"));
}

/// As `check`, for cases that may be refused.
pub fn try_check(handle: &Handle, case: &Case) -> api::Result<()> {
    let name = format!("{case:?}");
    let Case { m, k, n, batch, .. } = *case;
    let seed = (m * 31 + k * 7 + n) as u64;
    let weights = integer_weights(m, k, 80, seed);
    let gates = integer_weights(m, k, 80, seed + 1);
    let mut rng = Rng(seed + 2);
    let mut integers = |count: usize, bound: usize| -> Vec<i32> {
        (0..count).map(|_| rng.below(2 * bound + 1) as i32 - bound as i32).collect()
    };
    let b_values: Vec<Vec<i32>> = (0..batch).map(|_| integers(k * n, 3)).collect();
    let c_values: Vec<Vec<i32>> = (0..batch).map(|_| integers(m * n, 8)).collect();
    let r_values: Vec<Vec<i32>> = (0..batch).map(|_| integers(m * n, 16)).collect();
    let bias_values = integers(m, 20);

    let (a, _a_buffer) = compressed(handle, (m, k), &weights, case.format, case.dtype);
    let (b_rows, b_cols) = if case.op_b == api::NON_TRANSPOSE { (k, n) } else { (n, k) };
    let b_place = Placed::new(b_rows, b_cols, case.gap, case.b_order);
    let b = Matrices::new(handle, b_place, batch, case.gap, case.dtype, 0xff, |i, row, col| {
        let (row, col) = if case.op_b == api::NON_TRANSPOSE { (row, col) } else { (col, row) };
        f64::from(b_values[i][row * n + col])
    });
    let reads_c = case.beta != 0.0 || case.residual == Extra::InPlace;
    let c_place = Placed::new(m, n, case.gap, case.c_order);
    let c = Matrices::new(handle, c_place, batch, case.gap, case.c_type, CANARY, |i, row, col| {
        if reads_c { f64::from(c_values[i][row * n + col]) } else { f64::NAN }
    });

    let plan = Plan::new(handle, case.op_b, &a, &b.descr, &c.descr)?;
    let bias_buffer;
    if let Some(dtype) = case.bias {
        let bytes: Vec<u8> =
            bias_values.iter().flat_map(|&v| encode(dtype, f64::from(v) / 2.0)).collect();
        bias_buffer = handle.upload(&bytes).unwrap();
        plan.set(BIAS_TYPE, dtype)?;
        plan.set(BIAS, bias_buffer.pointer())?;
    }
    plan.set(ACTIVATION, case.activation)?;
    let gate;
    if let Some(format) = case.gate {
        gate = compressed(handle, (m, k), &gates, format, case.dtype);
        plan.set(GATE, gate.0.raw())?;
    }
    let residual;
    match case.residual {
        Extra::None => {}
        Extra::InPlace => plan.set(RESIDUAL, c.descr.raw())?,
        Extra::Matrix(dtype, order) => {
            let place = Placed::new(m, n, 1, order);
            residual = Matrices::new(handle, place, batch, 0, dtype, 0xff, |i, row, col| {
                f64::from(r_values[i][row * n + col])
            });
            plan.set(RESIDUAL, residual.descr.raw())?;
        }
    }
    plan.set(ALG_ID, case.algorithm)?;
    plan.set(SPLITS, case.splits)?;
    plan.set(WORKSPACE_LIMIT, case.limit)?;
    if case.algorithm != 0 {
        assert_eq!(plan.get::<c_int>(ALG_ID), case.algorithm, "{name}");
    }

    let need = plan.workspace_bytes();
    assert!(need <= case.limit, "{name}: {need}");
    let workspace = GuardedWorkspace::new(handle, need);
    let scalars = [case.alpha as f32, case.beta as f32];
    let on_device = handle.upload(&scalars).unwrap();
    let pointers: (*const c_void, *const c_void) = if case.device_scalars {
        (on_device.at(0).cast_const(), on_device.at(4).cast_const())
    } else {
        ((&raw const scalars[0]).cast(), (&raw const scalars[1]).cast())
    };
    set_device_scalars(handle, case.device_scalars);
    let result = plan.execute(pointers, &a, &b.descr, &c.descr, workspace.pointer());
    set_device_scalars(handle, false);
    result?;
    handle.synchronize()?;
    workspace.check(&name);

    let got = c.read(batch, &name);
    let plain = case.bias.is_none()
        && case.activation == NONE
        && case.gate.is_none()
        && case.residual == Extra::None
        && (case.algorithm, case.splits, case.limit) == (0, 0, usize::MAX);
    if plain {
        // Without anything around, flashllmSpMM gives the same bits.
        c.buffer.write(0, &c.original).unwrap();
        set_device_scalars(handle, case.device_scalars);
        spmm(handle, case.op_b, pointers, &a, &b.descr, &c.descr, &name);
        set_device_scalars(handle, false);
        assert!(c.read(batch, &name) == got, "{name}: flashllmSpMM gives other bits");
    }
    for i in 0..batch {
        let product = integer_product(&weights, &b_values[i], k, n);
        let factors = case.gate.map(|_| integer_product(&gates, &b_values[i], k, n));
        for at in 0..m * n {
            let mut v = case.alpha * f64::from(product[at]);
            if case.beta != 0.0 {
                v += case.beta * f64::from(c_values[i][at]);
            }
            if case.bias.is_some() {
                v += f64::from(bias_values[at / n]) / 2.0;
            }
            match &factors {
                Some(factors) => v *= case.activated(f64::from(factors[at])),
                None => v = case.activated(v),
            }
            match case.residual {
                Extra::None => {}
                Extra::InPlace => v += f64::from(c_values[i][at]),
                Extra::Matrix(..) => v += f64::from(r_values[i][at]),
            }
            let element = &got[i * m * n + at];
            let want = encode(case.c_type, v);
            let value = decode(case.c_type, element);
            let place = format!("{name}: C({i}, {}, {})", at / n, at % n);
            if case.exact() {
                // Zeros of either sign are equal.
                let same = *element == want || value == 0.0 && decode(case.c_type, &want) == 0.0;
                assert!(
                    same,
                    "{place} is {value}, exactly {v} = {want:x?} was expected, not {element:x?}"
                );
            } else {
                let rounding = match case.c_type {
                    api::R_16F => 2.0_f64.powi(-11) * v.abs() + 2.0_f64.powi(-25),
                    R_16BF => 2.0_f64.powi(-8) * v.abs(),
                    _ => 0.0,
                };
                let scale = if case.gate.is_some() { 300.0 } else { 1.0 };
                let allowed = 2e-5 * v.abs() + 2e-5 * scale + rounding;
                let apart = (value - v).abs() <= allowed || decode(case.c_type, &want) == value;
                assert!(apart, "{place} is {value}, {v} +- {allowed:e} was expected");
            }
        }
    }
    Ok(())
}

pub fn status_of(result: api::Result<()>) -> Option<c_int> {
    result.err().map(|Failure { status, .. }| status)
}

/// flashllmSpMMGrouped with a watched workspace.
fn grouped(
    handle: &Handle,
    op_b: c_int,
    (alpha, beta): (*const c_void, *const c_void),
    a: &[Raw],
    b: &[Raw],
    c: &[Raw],
    name: &str,
) {
    use ffi::{flashllmSpMMGrouped, flashllmSpMMGrouped_bufferSize};
    let fail = |e: Failure| panic!("{name}: {e}");
    let (h, count, mut need) = (handle.raw(), a.len() as i64, 0);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_ptr());
    let (single, alg) = (api::R_32F, api::ALG_DEFAULT);
    // SAFETY: live objects, arrays of `count` descriptors, scalars where the mode says, a place for the size.
    api::check(unsafe {
        flashllmSpMMGrouped_bufferSize(h, count, op_b, alpha, a, b, beta, c, single, alg, &mut need)
    })
    .unwrap_or_else(fail);
    let workspace = GuardedWorkspace::new(handle, need);
    let at = workspace.pointer();
    // SAFETY: as above, and a workspace of the size that was asked for.
    api::check(unsafe {
        flashllmSpMMGrouped(h, count, op_b, alpha, a, b, beta, c, single, alg, at)
    })
    .unwrap_or_else(fail);
    handle.synchronize().unwrap_or_else(fail);
    workspace.check(name);
}

/// A batch, each of its products alone, and all of them as a group give the same bits; the products alone only
/// where sums are exact, because theirs may be split otherwise.
pub fn check_batch(handle: &Handle, case: &Case, exact: bool) {
    let name = format!("{case:?}");
    let Case { m, k, n, batch, .. } = *case;
    let weights = integer_weights(m, k, 80, (m * 31 + k * 7 + n) as u64);
    let (a, _a_buffer) = compressed(handle, (m, k), &weights, case.format, case.dtype);
    let mut rng = Rng((batch * 100 + n) as u64);
    let scale = if exact { 1.0 } else { 0.173 };
    let values: Vec<f64> =
        (0..batch * k * n).map(|_| (rng.below(7) as f64 - 3.0) * scale).collect();
    let (b_rows, b_cols) = if case.op_b == api::NON_TRANSPOSE { (k, n) } else { (n, k) };
    let b_place = Placed::new(b_rows, b_cols, case.gap, case.b_order);
    let b = Matrices::new(handle, b_place, batch, case.gap, case.dtype, 0xff, |i, row, col| {
        values[(i * b_rows + row) * b_cols + col]
    });
    let c_place = Placed::new(m, n, case.gap, case.c_order);
    let c = Matrices::new(handle, c_place, batch, case.gap, case.c_type, CANARY, |i, row, col| {
        if case.beta == 0.0 { f64::NAN } else { ((i + row + col) % 17) as f64 }
    });
    let (alpha, beta) = (case.alpha as f32, case.beta as f32);
    let scalars: (*const c_void, *const c_void) =
        ((&raw const alpha).cast(), (&raw const beta).cast());

    spmm(handle, case.op_b, scalars, &a, &b.descr, &c.descr, &name);
    let together = c.read(batch, &name);
    let (b_each, c_each): (Vec<DnMat>, Vec<DnMat>) =
        (0..batch).map(|i| (b.one(i), c.one(i))).unzip();
    if exact {
        c.buffer.write(0, &c.original).unwrap();
        for (b, c) in b_each.iter().zip(&c_each) {
            spmm(handle, case.op_b, scalars, &a, b, c, &name);
        }
        assert!(c.read(batch, &name) == together, "{name}: the products alone give other bits");
    }
    c.buffer.write(0, &c.original).unwrap();
    let raw = |all: &[DnMat]| -> Vec<Raw> { all.iter().map(DnMat::raw).collect() };
    let a_each = vec![a.raw(); batch];
    grouped(handle, case.op_b, scalars, &a_each, &raw(&b_each), &raw(&c_each), &name);
    assert!(c.read(batch, &name) == together, "{name}: the group gives other bits");
}

/// One group: products of (M, N) with one K.
pub struct GroupCase<'a> {
    pub format: c_int,
    pub dtype: c_int,
    pub k: usize,
    pub shapes: &'a [(usize, usize)],
    pub op_b: c_int,
    pub b_order: c_int,
    pub c_order: c_int,
    pub gap: usize,
    pub alpha: f32,
    pub beta: f32,
    pub device_scalars: bool,
}

/// Runs a group and compares every element. The types of C alternate.
pub fn check_group(handle: &Handle, case: &GroupCase<'_>) {
    let GroupCase { format, dtype, k, op_b, gap, .. } = *case;
    let name = format!(
        "format {format} type {dtype} K={k} {:?} alpha {} beta {}",
        case.shapes, case.alpha, case.beta
    );
    struct One<'h> {
        a: (SpMat, Buffer<'h>),
        b: Matrices<'h>,
        c: Matrices<'h>,
        want: Vec<f64>,
    }
    let all: Vec<One<'_>> = case
        .shapes
        .iter()
        .enumerate()
        .map(|(i, &(m, n))| {
            let percent = [80, 50, 95, 0, 100][i % 5];
            let weights = integer_weights(m, k, percent, (i * 13 + k) as u64);
            let mut rng = Rng(i as u64);
            let mut integers = |count: usize| -> Vec<i32> {
                (0..count).map(|_| rng.below(7) as i32 - 3).collect()
            };
            // An empty matrix still needs a place: one column that is not described.
            let (b_values, c_values) = (integers(k * n.max(1)), integers(m * n.max(1)));
            let (rows, cols) = if op_b == api::NON_TRANSPOSE { (k, n) } else { (n, k) };
            let b_place = Placed::new(rows.max(1), cols.max(1), gap, case.b_order);
            let mut b = Matrices::new(handle, b_place, 1, 0, dtype, 0xff, |_, row, col| {
                let (row, col) = if op_b == api::NON_TRANSPOSE { (row, col) } else { (col, row) };
                f64::from(b_values[row * n.max(1) + col])
            });
            let c_type = [api::R_32F, dtype][i % 2];
            let c_place = Placed::new(m, n.max(1), gap, case.c_order);
            let mut c = Matrices::new(handle, c_place, 1, 0, c_type, CANARY, |_, row, col| {
                let old = f64::from(c_values[row * n.max(1) + col]);
                if case.beta == 0.0 && n > 0 { f64::NAN } else { old }
            });
            let product = integer_product(&weights, &b_values, k, n.max(1));
            let want = product
                .iter()
                .zip(&c_values)
                .map(|(&p, &old)| {
                    let old = f64::from(old);
                    if n == 0 {
                        old
                    } else if case.beta == 0.0 {
                        f64::from(case.alpha) * f64::from(p)
                    } else {
                        f64::from(case.alpha) * f64::from(p) + f64::from(case.beta) * old
                    }
                })
                .collect();
            if n == 0 {
                let none = std::ptr::null_mut();
                b.descr = DnMat::new(rows, cols, b_place.ld, none, dtype, case.b_order).unwrap();
                c.descr = DnMat::new(m, 0, c_place.ld, none, c_type, case.c_order).unwrap();
            }
            One { a: compressed(handle, (m, k), &weights, format, dtype), b, c, want }
        })
        .collect();
    let a: Vec<Raw> = all.iter().map(|one| one.a.0.raw()).collect();
    let b: Vec<Raw> = all.iter().map(|one| one.b.descr.raw()).collect();
    let c: Vec<Raw> = all.iter().map(|one| one.c.descr.raw()).collect();
    let scalars = [case.alpha, case.beta];
    let on_device = handle.upload(&scalars).unwrap();
    let at = |i: usize| -> *const c_void {
        if case.device_scalars { on_device.at(4 * i) } else { (&raw const scalars[i]).cast() }
    };
    set_device_scalars(handle, case.device_scalars);
    grouped(handle, op_b, (at(0), at(1)), &a, &b, &c, &name);
    set_device_scalars(handle, false);
    for (i, one) in all.iter().enumerate() {
        for (at, (element, &want)) in one.c.read(1, &name).iter().zip(&one.want).enumerate() {
            let (got, bits) = (decode(one.c.dtype, element), encode(one.c.dtype, want));
            let same = *element == bits || got == 0.0 && decode(one.c.dtype, &bits) == 0.0;
            assert!(same, "{name}: product {i}, element {at} is {got}, {want} was expected");
        }
    }
}
