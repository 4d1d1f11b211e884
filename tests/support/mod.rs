//! What the GPU tests share: problems with exact answers, guarded device memory, reports.
#![allow(dead_code)] // each test program uses its part

pub mod api;
pub mod driver;
pub mod plan;
pub mod plan_cases;

use std::io::Write;
use std::time::{Duration, Instant};

use api::{Buffer, DnMat, Handle, SpMat, Spmm};
use half::f16;

/// `FLASHLLM_GPU_TESTS_SMALL=1` runs every test at small sizes only, for compute-sanitizer, under
/// which a kernel is a hundred times slower.
pub fn small() -> bool {
    std::env::var("FLASHLLM_GPU_TESTS_SMALL").is_ok_and(|value| value == "1")
}

/// The device handle. These tests fail where there is no GPU: they are only run where one is expected.
pub fn device() -> Handle {
    match Handle::device() {
        Ok(handle) => handle,
        Err(failure) => panic!("the GPU tests need a GPU and a library with kernels: {failure}"),
    }
}

/// Lines on stderr, at most one every two seconds, whatever the test harness captures.
pub struct Progress {
    name: &'static str,
    last: Instant,
}

impl Progress {
    pub fn new(name: &'static str) -> Self {
        Self { name, last: Instant::now() }
    }

    pub fn tick(&mut self, done: usize, total: usize) {
        if self.last.elapsed() > Duration::from_secs(2) {
            self.last = Instant::now();
            // Through the handle: libtest captures the print macros only.
            let _ = writeln!(std::io::stderr(), "  {}: {done} of {total}", self.name);
        }
    }
}

/// splitmix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Approximately normal with standard deviation 1: twelve uniform numbers.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0
    }
}

pub fn half_bits(value: i32) -> u16 {
    f16::from_f32(value as f32).to_bits()
}

/// Weights of small integers, `m` x `k` row-major; each zero with the given per cent, none of the
/// others zero. Exactly empty at 100, exactly full at 0.
pub fn integer_weights(m: usize, k: usize, percent: usize, seed: u64) -> Vec<i32> {
    let mut rng = Rng(seed);
    let mut value = || {
        let zero = rng.below(100) < percent;
        let magnitude = 1 + rng.below(3) as i32;
        let sign = 1 - 2 * rng.below(2) as i32;
        if zero { 0 } else { sign * magnitude }
    };
    (0..m * k).map(|_| value()).collect()
}

/// How one multiplication is laid out in memory and scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    pub op_b: i32,
    pub b_order: i32,
    pub c_order: i32,
    pub c_type: i32,
    /// Elements that ldb and ldc have beyond the minimum.
    pub ldb_extra: usize,
    pub ldc_extra: usize,
    /// Elements by which the values pointers are off a 256-byte boundary.
    pub b_offset: usize,
    pub c_offset: usize,
    pub alpha: f32,
    pub beta: f32,
}

impl Layout {
    /// Tokens one after the other: the layout of inference.
    pub const PLAIN: Self = Self {
        op_b: api::NON_TRANSPOSE,
        b_order: api::ORDER_COL,
        c_order: api::ORDER_COL,
        c_type: api::R_32F,
        ldb_extra: 0,
        ldc_extra: 0,
        b_offset: 0,
        c_offset: 0,
        alpha: 1.0,
        beta: 0.0,
    };

    /// Any layout; every choice of each field comes up.
    pub fn random(rng: &mut Rng) -> Self {
        let (alpha, beta) =
            [(1.0, 0.0), (1.0, 1.0), (-2.0, 0.5), (0.5, 0.0), (0.0, 2.0)][rng.below(5)];
        Self {
            op_b: [api::NON_TRANSPOSE, api::TRANSPOSE][rng.below(2)],
            b_order: [api::ORDER_COL, api::ORDER_ROW][rng.below(2)],
            c_order: [api::ORDER_COL, api::ORDER_ROW][rng.below(2)],
            c_type: [api::R_32F, api::R_16F][rng.below(2)],
            ldb_extra: [0, 0, 1, 8, 13][rng.below(5)],
            ldc_extra: [0, 0, 1, 8, 13][rng.below(5)],
            b_offset: [0, 0, 1, 4][rng.below(4)],
            c_offset: [0, 0, 1, 4][rng.below(4)],
            alpha,
            beta,
        }
    }
}

/// A dense matrix as it lies in memory.
#[derive(Clone, Copy)]
pub struct Placed {
    pub rows: usize,
    pub cols: usize,
    pub ld: usize,
    pub order: i32,
}

impl Placed {
    pub fn new(rows: usize, cols: usize, extra: usize, order: i32) -> Self {
        let ld = extra + if order == api::ORDER_COL { rows } else { cols };
        Self { rows, cols, ld, order }
    }

    pub fn index(&self, row: usize, col: usize) -> usize {
        if self.order == api::ORDER_COL { row + col * self.ld } else { row * self.ld + col }
    }

    /// Elements up to and including the last one of the matrix.
    pub fn extent(&self) -> usize {
        self.index(self.rows - 1, self.cols - 1) + 1
    }
}

/// Elements before and after C that must stay as they are.
const BAND: usize = 512;
/// Bytes before and after the workspace that must stay as they are; a multiple of its alignment.
const WORKSPACE_BAND: usize = 4096;
const CANARY: u8 = 0xa5;

/// One multiplication with everything around it watched.
pub struct Problem<'a> {
    pub handle: &'a Handle,
    pub a: &'a SpMat,
    pub format: i32,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub layout: Layout,
}

impl Problem<'_> {
    fn name(&self) -> String {
        let format = match self.format {
            api::FORMAT_BITMAP => "bitmap",
            api::FORMAT_SLOTS => "slots",
            _ => "tiled-csl",
        };
        format!("{format} M={} K={} N={} {:?}", self.m, self.k, self.n, self.layout)
    }

    /// Multiplies by `b` (K x N, row-major fp16 bits) into C, which starts as `c_in` (M x N, row-major)
    /// or as NaN when beta is 0. Returns C as fp32 (M x N, row-major) and, for fp16, its bits.
    ///
    /// What surrounds B inside its allocation is NaN; the workspace starts as NaN; whatever lies
    /// around C, between its columns and around the workspace must not change.
    pub fn run(&self, b: &[u16], c_in: &[f32]) -> Vec<u32> {
        let (m, k, n, l) = (self.m, self.k, self.n, self.layout);
        let fail = |e: api::Failure| -> ! { panic!("{}: {e}", self.name()) };

        let b_place = if l.op_b == api::NON_TRANSPOSE {
            Placed::new(k, n, l.ldb_extra, l.b_order)
        } else {
            Placed::new(n, k, l.ldb_extra, l.b_order)
        };
        let mut b_values = vec![0xfe00u16; l.b_offset + b_place.extent() + BAND];
        for row in 0..k {
            for col in 0..n {
                let (r, c) = if l.op_b == api::NON_TRANSPOSE { (row, col) } else { (col, row) };
                b_values[l.b_offset + b_place.index(r, c)] = b[row * n + col];
            }
        }
        let b_buffer = self.handle.upload(&b_values).unwrap_or_else(|e| fail(e));

        // C as bytes: the canary everywhere but in the elements of the matrix.
        let size = if l.c_type == api::R_16F { 2 } else { 4 };
        let c_place = Placed::new(m, n, l.ldc_extra, l.c_order);
        let c_start = (BAND + l.c_offset) * size;
        let mut c_bytes = vec![CANARY; c_start + (c_place.extent() + BAND) * size];
        let c_at = |row: usize, col: usize| c_start + c_place.index(row, col) * size;
        for row in 0..m {
            for col in 0..n {
                let at = c_at(row, col);
                let value = if l.beta == 0.0 { f32::NAN } else { c_in[row * n + col] };
                if size == 2 {
                    c_bytes[at..at + 2]
                        .copy_from_slice(&f16::from_f32(value).to_bits().to_le_bytes());
                } else {
                    c_bytes[at..at + 4].copy_from_slice(&value.to_bits().to_le_bytes());
                }
            }
        }
        let c_buffer = self.handle.upload(&c_bytes).unwrap_or_else(|e| fail(e));

        let b_descr = DnMat::new(
            b_place.rows,
            b_place.cols,
            b_place.ld,
            b_buffer.at(l.b_offset * 2),
            api::R_16F,
            l.b_order,
        )
        .unwrap_or_else(|e| fail(e));
        let c_descr = DnMat::new(m, n, c_place.ld, c_buffer.at(c_start), l.c_type, l.c_order)
            .unwrap_or_else(|e| fail(e));
        let call = Spmm {
            handle: self.handle,
            op_b: l.op_b,
            alpha: l.alpha,
            a: self.a,
            b: &b_descr,
            beta: l.beta,
            c: &c_descr,
        };
        let need = call.workspace_bytes().unwrap_or_else(|e| fail(e));
        let workspace = GuardedWorkspace::new(self.handle, need);
        call.preprocess(workspace.pointer()).unwrap_or_else(|e| fail(e));
        call.run(workspace.pointer()).unwrap_or_else(|e| fail(e));
        self.handle.synchronize().unwrap_or_else(|e| fail(e));

        workspace.check(&self.name());
        let mut after: Vec<u8> = c_buffer.read(0, c_bytes.len()).unwrap_or_else(|e| fail(e));
        let mut result = vec![0u32; m * n];
        for row in 0..m {
            for col in 0..n {
                let at = c_at(row, col);
                let mut element = [0u8; 4];
                element[..size].copy_from_slice(&after[at..at + size]);
                result[row * n + col] = u32::from_le_bytes(element);
                after[at..at + size].fill(CANARY);
            }
        }
        if let Some(at) = after.iter().position(|&byte| byte != CANARY) {
            panic!(
                "{}: C was written outside the matrix, {} bytes from its start",
                self.name(),
                at as isize - c_start as isize
            );
        }
        result
    }

    /// Runs and compares with the exact integer product, bit for bit (zeros of either sign are equal).
    pub fn check_exact(&self, b: &[i32], product: &[i32], c_in: &[i32]) {
        let b_bits: Vec<u16> = b.iter().map(|&v| half_bits(v)).collect();
        let c_values: Vec<f32> = c_in.iter().map(|&v| v as f32).collect();
        let got = self.run(&b_bits, &c_values);
        let l = self.layout;
        for (i, &got) in got.iter().enumerate() {
            let old = if l.beta == 0.0 { 0.0 } else { f64::from(l.beta) * f64::from(c_in[i]) };
            let value = f64::from(l.alpha) * f64::from(product[i]) + old;
            let (want, sign) = if l.c_type == api::R_16F {
                (u32::from(f16::from_f64(value).to_bits()), 0x8000)
            } else {
                ((value as f32).to_bits(), 0x8000_0000)
            };
            if got != want && (got | want) & !sign != 0 {
                panic!(
                    "{}: first mismatch at C({}, {}): expected {value} = {want:#010x}, got {got:#010x}",
                    self.name(),
                    i / self.n,
                    i % self.n
                );
            }
        }
    }
}

/// Workspace of exactly the size that was asked for, NaN inside, canaries on both sides.
pub struct GuardedWorkspace<'h> {
    buffer: Buffer<'h>,
    bytes: usize,
}

impl<'h> GuardedWorkspace<'h> {
    pub fn new(handle: &'h Handle, bytes: usize) -> Self {
        let mut content = vec![CANARY; bytes + 2 * WORKSPACE_BAND];
        content[WORKSPACE_BAND..WORKSPACE_BAND + bytes].fill(0xff);
        let buffer =
            handle.upload(&content).unwrap_or_else(|e| panic!("workspace of {bytes} bytes: {e}"));
        Self { buffer, bytes }
    }

    pub fn pointer(&self) -> api::Raw {
        if self.bytes == 0 { std::ptr::null_mut() } else { self.buffer.at(WORKSPACE_BAND) }
    }

    pub fn check(&self, name: &str) {
        for (side, offset) in [("before", 0), ("after", WORKSPACE_BAND + self.bytes)] {
            let band: Vec<u8> =
                self.buffer.read(offset, WORKSPACE_BAND).unwrap_or_else(|e| panic!("{name}: {e}"));
            if let Some(at) = band.iter().position(|&byte| byte != CANARY) {
                panic!(
                    "{name}: the workspace was overrun: byte {at} of the band {side} its {} bytes changed",
                    self.bytes
                );
            }
        }
    }
}

/// The exact product of integer matrices, M x N row-major.
pub fn integer_product(a: &[i32], b: &[i32], k: usize, n: usize) -> Vec<i32> {
    let mut c = vec![0i32; a.len() / k * n];
    for (row, out) in a.chunks(k).zip(c.chunks_mut(n)) {
        for (&x, line) in row.iter().zip(b.chunks(n)) {
            if x != 0 {
                for (sum, &y) in out.iter_mut().zip(line) {
                    *sum += x * y;
                }
            }
        }
    }
    c
}

/// Compresses on the host and uploads: the GPU gets bytes that the CPU tests have proven.
pub fn compress_to_device<'h>(
    host: &Handle,
    device: &'h Handle,
    m: usize,
    k: usize,
    dense: &[u16],
    format: i32,
) -> (SpMat, Buffer<'h>) {
    let fail = |e: api::Failure| -> ! { panic!("compressing {m}x{k}, format {format}: {e}") };
    let mut dense = dense.to_vec();
    let (sparse, compressed) =
        SpMat::compress(host, m, k, k, api::ORDER_ROW, dense.as_mut_ptr().cast(), format)
            .unwrap_or_else(|e| fail(e));
    let bytes: Vec<u8> = compressed.read(0, compressed.bytes()).unwrap_or_else(|e| fail(e));
    let buffer = device.upload(&bytes).unwrap_or_else(|e| fail(e));
    let format = sparse.format().unwrap_or_else(|e| fail(e));
    let adopted = SpMat::adopt(device, m, k, format, &buffer).unwrap_or_else(|e| fail(e));
    (adopted, buffer)
}
