//! Every exported function is called wrongly in every way that its documentation names, on a host handle,
//! and answers with the documented status, a sentence, and outputs that are as they were.
//!
//! (What needs a device is in fake_driver.rs.) A meta-test holds the table against the list of exported
//! symbols, so that no function can be forgotten.

#![allow(non_camel_case_types, non_snake_case)]
// The table is unsafe from end to end, for one reason: pointers are NULL or lead to the case's own area,
// handles are never dereferenced, and whatever else a function may access is the world's live memory.
#![allow(clippy::undocumented_unsafe_blocks)]

mod build_support;
#[path = "capi_abuse/plan.rs"]
mod plan;
#[path = "capi_abuse/prune_csr.rs"]
mod prune_csr;

// The product's own guard, compiled into this test, so that the product needs no way to panic on demand.
#[allow(dead_code)]
#[path = "../src/capi/guard.rs"]
mod guard;
#[allow(dead_code)]
#[path = "../src/capi/status.rs"]
mod status;

#[path = "capi_abuse/store.rs"]
mod store_cases;

use flash_llm::capi::context::*;
use flash_llm::capi::convert::*;
use flash_llm::capi::matrix::*;
use flash_llm::capi::memory::*;
use flash_llm::capi::spmm::*;
use flash_llm::capi::status::{RawStatus, flashllmStatus_t, flashllmStatus_t::*};
use flash_llm::capi::types::*;
// guard.rs and status.rs say crate::error and crate::log.
use flash_llm::{error, log};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

const F32: RawDataType = RawDataType(0);
const F16: RawDataType = RawDataType(2);
const BF16: RawDataType = RawDataType(14);
const COL: RawOrder = RawOrder(1);
const ROW: RawOrder = RawOrder(2);
const M: usize = 40;
const K: usize = 70;
const N: usize = 6;
/// No enumerator of any enum.
const UNKNOWN: [c_int; 5] = [-1, 40, 77, c_int::MIN, c_int::MAX];

/// Live objects of every kind and state, dead ones, and their memory.
struct World {
    handle: flashllmHandle_t,
    dead_handle: flashllmHandle_t,
    /// M x K, fp16, row-major.
    dense: flashllmDnMatDescr_t,
    /// The same, made as const.
    dense_const: flashllmConstDnMatDescr_t,
    dense_f32: flashllmDnMatDescr_t,
    /// K x M.
    dense_turned: flashllmDnMatDescr_t,
    /// K x N.
    b: flashllmDnMatDescr_t,
    b_f32: flashllmDnMatDescr_t,
    /// M x N.
    c: flashllmDnMatDescr_t,
    c_other: flashllmDnMatDescr_t,
    c_const: flashllmConstDnMatDescr_t,
    /// M x N inside B's memory, and inside the compressed buffer.
    c_over_b: flashllmDnMatDescr_t,
    c_over_a: flashllmDnMatDescr_t,
    dead_dense: flashllmDnMatDescr_t,
    /// Converted.
    sparse: flashllmSpMatDescr_t,
    sparse_empty: flashllmSpMatDescr_t,
    sparse_tiled: flashllmSpMatDescr_t,
    sparse_other_shape: flashllmSpMatDescr_t,
    /// Analysed, no buffer.
    sparse_analysed: flashllmSpMatDescr_t,
    /// Analysed, with a buffer that overlaps `dense`.
    sparse_over_dense: flashllmSpMatDescr_t,
    dead_sparse: flashllmSpMatDescr_t,
    /// Compressed matrix and its size.
    buffer: *mut u8,
    bytes: usize,
    /// A copy to spoil.
    spoilt: *mut u8,
    /// All memory, for comparison.
    memory: Vec<(*mut u8, usize)>,
}

fn good(status: flashllmStatus_t) {
    assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
}

fn message() -> String {
    // SAFETY: the library gives a NUL-terminated string that lives until the next failure.
    unsafe { CStr::from_ptr(flashllmGetLastErrorMessage()) }.to_str().unwrap().to_owned()
}

fn text(p: *const c_char) -> &'static str {
    // SAFETY: static NUL-terminated strings of the library.
    unsafe { CStr::from_ptr(p) }.to_str().unwrap()
}

fn dense(
    rows: usize,
    cols: usize,
    ld: usize,
    values: *mut u8,
    dtype: RawDataType,
) -> flashllmDnMatDescr_t {
    let mut d = ptr::null_mut();
    // SAFETY: a valid place; the caller gives memory of that size.
    good(unsafe {
        flashllmCreateDnMat(
            &raw mut d,
            rows as i64,
            cols as i64,
            ld as i64,
            values.cast(),
            dtype,
            ROW,
        )
    });
    d
}

fn dense_const(rows: usize, cols: usize, values: *mut u8) -> flashllmConstDnMatDescr_t {
    let mut d = ptr::null();
    // SAFETY: a valid place; the caller gives memory of that size.
    good(unsafe {
        flashllmCreateConstDnMat(
            &raw mut d,
            rows as i64,
            cols as i64,
            cols as i64,
            values.cast::<c_void>().cast_const(),
            F16,
            ROW,
        )
    });
    d
}

fn sparse(rows: usize, cols: usize, format: c_int) -> flashllmSpMatDescr_t {
    let mut s = ptr::null_mut();
    // SAFETY: a valid place.
    good(unsafe {
        flashllmCreateSpMat(&raw mut s, rows as i64, cols as i64, F16, RawFormat(format))
    });
    s
}

fn size_of_sparse(s: flashllmSpMatDescr_t) -> usize {
    let (mut rows, mut cols, mut nnz, mut bytes) = (0, 0, 0, 0);
    // SAFETY: valid places.
    good(unsafe {
        flashllmSpMatGetSize(s, &raw mut rows, &raw mut cols, &raw mut nnz, &raw mut bytes)
    });
    bytes
}

impl World {
    fn new() -> Self {
        let mut handle = ptr::null_mut();
        let mut dead_handle = ptr::null_mut();
        // SAFETY: valid places.
        unsafe {
            good(flashllmCreateHost(&raw mut handle));
            good(flashllmCreateHost(&raw mut dead_handle));
        }
        good(flashllmDestroy(dead_handle));
        let mut memory = Vec::new();
        let mut room = |bytes: usize| {
            let mut p = ptr::null_mut();
            // SAFETY: a valid place.
            good(unsafe { flashllmMalloc(handle, &raw mut p, bytes) });
            // SAFETY: just allocated.
            unsafe { p.cast::<u8>().write_bytes(0, bytes) };
            memory.push((p.cast::<u8>(), bytes));
            p.cast::<u8>()
        };
        let a = room(M * K * 2);
        for i in (0..M * K).step_by(4) {
            // SAFETY: inside the M * K elements.
            unsafe { a.cast::<u16>().add(i).write(0x3c00 + (i % 256) as u16) };
        }
        let dense_a = dense(M, K, K, a, F16);
        let alg = RawDenseToSparseAlg(0);
        let analyse = |d, s| {
            // SAFETY: live descriptors of host memory.
            good(unsafe { flashllmDenseToSparse_analysis(handle, d, s, alg, ptr::null_mut()) });
        };
        let ready = sparse(M, K, 2);
        analyse(dense_a, ready);
        let bytes = size_of_sparse(ready);
        let buffer = room(bytes);
        // SAFETY: live descriptors, memory of the size asked for.
        unsafe {
            good(flashllmSpMatSetBuffer(handle, ready, buffer.cast(), bytes));
            good(flashllmDenseToSparse_convert(handle, dense_a, ready, alg, ptr::null_mut()));
        }
        let analysed = sparse(M, K, 2);
        analyse(dense_a, analysed);
        // Large enough for the compressed matrix that is to overlap it.
        let shared = room(M * K * 2 + bytes);
        let over = dense(M, K, K, shared, F16);
        let sparse_over_dense = sparse(M, K, 2);
        analyse(over, sparse_over_dense);
        // SAFETY: large enough.
        good(unsafe {
            flashllmSpMatSetBuffer(handle, sparse_over_dense, shared.cast(), M * K * 2 + bytes)
        });
        good(flashllmDnMatSetValues(over, a.cast()));
        good(flashllmDestroyDnMat(over));
        let b = room(K * N * 2);
        let c = room(M * N * 4);
        let spoilt = room(bytes);
        let dead_dense = dense(1, 1, 1, a, F16);
        good(flashllmDestroyDnMat(dead_dense));
        let dead_sparse = sparse(M, K, 2);
        good(flashllmDestroySpMat(dead_sparse));
        Self {
            handle,
            dead_handle,
            dense: dense_a,
            dense_const: dense_const(M, K, a),
            dense_f32: dense(M, K, K, shared, F32),
            dense_turned: dense(K, M, M, a, F16),
            b: dense(K, N, N, b, F16),
            b_f32: dense(K, N, N, c, F32),
            c: dense(M, N, N, c, F16),
            c_other: dense(M, N, N, c.wrapping_add(M * N * 2), F16),
            c_const: dense_const(M, N, c),
            c_over_b: dense(M, N, N, b, F16),
            c_over_a: dense(M, N, N, buffer, F16),
            dead_dense,
            sparse: ready,
            sparse_empty: sparse(M, K, 0),
            sparse_tiled: sparse(M, K, 1),
            sparse_other_shape: sparse(M + 1, K, 2),
            sparse_analysed: analysed,
            sparse_over_dense,
            dead_sparse,
            buffer,
            bytes,
            spoilt,
            memory,
        }
    }

    /// The compressed buffer with one byte changed, in the copy's memory.
    fn spoil(&self, offset: usize, value: u8) -> *mut c_void {
        // SAFETY: both are `bytes` long.
        unsafe { ptr::copy_nonoverlapping(self.buffer, self.spoilt, self.bytes) };
        // SAFETY: inside the copy.
        unsafe { self.spoilt.add(offset).write(value) };
        self.spoilt.cast()
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        // SAFETY: live allocations of these sizes.
        self.memory
            .iter()
            .filter(|(p, _)| *p != self.spoilt)
            .map(|&(p, n)| unsafe { std::slice::from_raw_parts(p, n) }.to_vec())
            .collect()
    }

    fn bad_handles(&self) -> Vec<(&'static str, flashllmHandle_t)> {
        vec![
            ("NULL handle", ptr::null_mut()),
            ("wild handle", ptr::without_provenance_mut(0x10)),
            ("wild handle like an address", ptr::without_provenance_mut(0x7fff_1234_5678)),
            ("wild handle of ones", ptr::without_provenance_mut(usize::MAX)),
            ("destroyed handle", self.dead_handle),
            ("dense descriptor as handle", self.dense.cast()),
            ("sparse descriptor as handle", self.sparse.cast()),
        ]
    }

    fn bad_dense(&self) -> Vec<(&'static str, flashllmDnMatDescr_t)> {
        vec![
            ("NULL dense", ptr::null_mut()),
            ("wild dense", ptr::without_provenance_mut(0x18)),
            ("destroyed dense", self.dead_dense),
            ("handle as dense", self.handle.cast()),
            ("sparse as dense", self.sparse.cast()),
        ]
    }

    fn bad_sparse(&self) -> Vec<(&'static str, flashllmSpMatDescr_t)> {
        vec![
            ("NULL sparse", ptr::null_mut()),
            ("wild sparse", ptr::without_provenance_mut(0x5555_5555_5555_5555)),
            ("destroyed sparse", self.dead_sparse),
            ("handle as sparse", self.handle.cast()),
            ("dense as sparse", self.dense.cast()),
        ]
    }
}

/// Room for out-parameters, filled with a pattern that no result is.
struct Area([u64; 8]);

const PATTERN: u64 = 0xa5a5_5a5a_c3c3_3c3c;

impl Area {
    fn at<T>(&mut self, i: usize) -> *mut T {
        (&raw mut self.0[i]).cast()
    }
}

type Call = Box<dyn Fn(&World, &mut Area) -> flashllmStatus_t>;

/// What outputs must look like after the call.
#[derive(Clone, Copy, PartialEq)]
enum Outputs {
    Untouched,
    /// Create functions set their first out-parameter to NULL.
    Null,
    /// The call is right.
    Written,
}

struct Case {
    function: &'static str,
    what: String,
    want: flashllmStatus_t,
    outputs: Outputs,
    call: Call,
}

#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn add(
        &mut self,
        function: &'static str,
        what: impl Into<String>,
        want: flashllmStatus_t,
        call: impl Fn(&World, &mut Area) -> flashllmStatus_t + 'static,
    ) {
        let outputs =
            if want == FLASHLLM_STATUS_SUCCESS { Outputs::Written } else { Outputs::Untouched };
        self.0.push(Case { function, what: what.into(), want, outputs, call: Box::new(call) });
    }

    /// As `add`, for Create functions.
    fn create(
        &mut self,
        function: &'static str,
        what: impl Into<String>,
        want: flashllmStatus_t,
        call: impl Fn(&World, &mut Area) -> flashllmStatus_t + 'static,
    ) {
        self.add(function, what, want, call);
        self.0.last_mut().unwrap().outputs = Outputs::Null;
    }

    /// A function with a bad handle in each way.
    fn handles(
        &mut self,
        world: &World,
        function: &'static str,
        call: impl Fn(&World, &mut Area, flashllmHandle_t) -> flashllmStatus_t + Clone + 'static,
    ) {
        for (what, bad) in world.bad_handles() {
            let call = call.clone();
            self.add(function, what, FLASHLLM_STATUS_NOT_INITIALIZED, move |w, a| call(w, a, bad));
        }
    }

    fn dense(
        &mut self,
        world: &World,
        function: &'static str,
        call: impl Fn(&World, &mut Area, flashllmDnMatDescr_t) -> flashllmStatus_t + Clone + 'static,
    ) {
        for (what, bad) in world.bad_dense() {
            let call = call.clone();
            self.add(function, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| call(w, a, bad));
        }
    }

    fn sparse(
        &mut self,
        world: &World,
        function: &'static str,
        call: impl Fn(&World, &mut Area, flashllmSpMatDescr_t) -> flashllmStatus_t + Clone + 'static,
    ) {
        for (what, bad) in world.bad_sparse() {
            let call = call.clone();
            self.add(function, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| call(w, a, bad));
        }
    }
}

fn context_cases(t: &mut Table, world: &World) {
    t.add("flashllmCreate", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |_, _| unsafe {
        flashllmCreate(ptr::null_mut())
    });
    t.add("flashllmCreateHost", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |_, _| unsafe {
        flashllmCreateHost(ptr::null_mut())
    });
    t.add("flashllmDestroy", "NULL is nothing", FLASHLLM_STATUS_SUCCESS, |_, _| {
        flashllmDestroy(ptr::null_mut())
    });
    for (what, bad) in world.bad_handles().into_iter().filter(|b| !b.1.is_null()) {
        t.add("flashllmDestroy", what, FLASHLLM_STATUS_NOT_INITIALIZED, move |_, _| {
            flashllmDestroy(bad)
        });
    }
    t.handles(world, "flashllmSetStream", |_, _, h| flashllmSetStream(h, ptr::null_mut()));
    t.add("flashllmSetStream", "stream of a host handle", FLASHLLM_STATUS_INVALID_VALUE, |w, _| {
        flashllmSetStream(w.handle, ptr::without_provenance_mut(0x1000))
    });
    t.handles(world, "flashllmGetStream", |_, a, h| unsafe { flashllmGetStream(h, a.at(0)) });
    t.add("flashllmGetStream", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmGetStream(w.handle, ptr::null_mut())
    });
    t.handles(world, "flashllmGetDeviceType", |_, a, h| unsafe {
        flashllmGetDeviceType(h, a.at(0))
    });
    t.add("flashllmGetDeviceType", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmGetDeviceType(w.handle, ptr::null_mut())
    });
    for (what, bad) in world.bad_handles().into_iter().filter(|b| !b.1.is_null()) {
        t.add("flashllmGetVersion", what, FLASHLLM_STATUS_NOT_INITIALIZED, move |_, a| unsafe {
            flashllmGetVersion(bad, a.at(0))
        });
    }
    t.add("flashllmGetVersion", "NULL handle is fine", FLASHLLM_STATUS_SUCCESS, |_, a| unsafe {
        flashllmGetVersion(ptr::null_mut(), a.at(0))
    });
    t.add("flashllmGetVersion", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmGetVersion(w.handle, ptr::null_mut())
    });
    for value in UNKNOWN {
        t.add(
            "flashllmGetProperty",
            format!("type {value}"),
            FLASHLLM_STATUS_INVALID_VALUE,
            move |_, a| unsafe { flashllmGetProperty(RawPropertyType(value), a.at(0)) },
        );
        t.add(
            "flashllmSetPointerMode",
            format!("mode {value}"),
            FLASHLLM_STATUS_INVALID_VALUE,
            move |w, _| flashllmSetPointerMode(w.handle, RawPointerMode(value)),
        );
        for (function, name) in [
            (
                "flashllmGetErrorName",
                flashllmGetErrorName as extern "C" fn(RawStatus) -> *const c_char,
            ),
            ("flashllmGetErrorString", flashllmGetErrorString),
        ] {
            // 3 is a status, of course.
            if value != 3 {
                t.add(function, format!("status {value}"), FLASHLLM_STATUS_SUCCESS, move |_, _| {
                    assert_eq!(text(name(RawStatus(value))), "unrecognized status");
                    FLASHLLM_STATUS_SUCCESS
                });
            }
        }
    }
    t.add("flashllmGetProperty", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |_, _| unsafe {
        flashllmGetProperty(RawPropertyType(0), ptr::null_mut())
    });
    t.add("flashllmGetBuildInfo", "always text", FLASHLLM_STATUS_SUCCESS, |_, _| {
        assert!(text(flashllmGetBuildInfo()).starts_with("flash_llm "));
        FLASHLLM_STATUS_SUCCESS
    });
    t.add(
        "flashllmGetLastErrorMessage",
        "thread without failures",
        FLASHLLM_STATUS_SUCCESS,
        |_, _| {
            std::thread::spawn(|| {
                assert_eq!(message(), "no error");
                let mut code = -1;
                good(unsafe { flashllmGetLastDriverError(&raw mut code) });
                assert_eq!(code, 0);
            })
            .join()
            .unwrap();
            FLASHLLM_STATUS_SUCCESS
        },
    );
    t.add("flashllmGetLastDriverError", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |_, _| unsafe {
        flashllmGetLastDriverError(ptr::null_mut())
    });
    t.handles(world, "flashllmSetPointerMode", |_, _, h| {
        flashllmSetPointerMode(h, RawPointerMode(0))
    });
    t.add("flashllmSetPointerMode", "device mode, and back", FLASHLLM_STATUS_SUCCESS, |w, _| {
        good(flashllmSetPointerMode(w.handle, RawPointerMode(1)));
        flashllmSetPointerMode(w.handle, RawPointerMode(0))
    });
    t.handles(world, "flashllmGetPointerMode", |_, a, h| unsafe {
        flashllmGetPointerMode(h, a.at(0))
    });
    t.add("flashllmGetPointerMode", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmGetPointerMode(w.handle, ptr::null_mut())
    });
}

fn memory_cases(t: &mut Table, world: &World) {
    t.handles(world, "flashllmMalloc", |_, a, h| unsafe { flashllmMalloc(h, a.at(0), 16) });
    t.add("flashllmMalloc", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmMalloc(w.handle, ptr::null_mut(), 16)
    });
    for bytes in [usize::MAX, isize::MAX as usize, 1 << 60] {
        t.add(
            "flashllmMalloc",
            format!("{bytes} bytes"),
            FLASHLLM_STATUS_ALLOC_FAILED,
            move |w, a| unsafe { flashllmMalloc(w.handle, a.at(0), bytes) },
        );
    }
    t.add("flashllmMalloc", "0 bytes are NULL", FLASHLLM_STATUS_SUCCESS, |w, a| {
        let status = unsafe { flashllmMalloc(w.handle, a.at(0), 0) };
        assert_eq!(a.0[0], 0);
        status
    });
    t.handles(world, "flashllmFree", |w, _, h| flashllmFree(h, w.buffer.cast()));
    t.add("flashllmFree", "NULL is nothing", FLASHLLM_STATUS_SUCCESS, |w, _| {
        flashllmFree(w.handle, ptr::null_mut())
    });
    t.add("flashllmFree", "wild pointer", FLASHLLM_STATUS_INVALID_VALUE, |w, _| {
        flashllmFree(w.handle, ptr::without_provenance_mut(0x1000))
    });
    t.add("flashllmFree", "middle of an allocation", FLASHLLM_STATUS_INVALID_VALUE, |w, _| {
        flashllmFree(w.handle, w.buffer.wrapping_add(256).cast())
    });
    t.add("flashllmFree", "twice", FLASHLLM_STATUS_INVALID_VALUE, |w, _| {
        let mut p = ptr::null_mut();
        good(unsafe { flashllmMalloc(w.handle, &raw mut p, 16) });
        good(flashllmFree(w.handle, p));
        flashllmFree(w.handle, p)
    });
    t.add("flashllmFree", "of another handle", FLASHLLM_STATUS_INVALID_VALUE, |w, _| {
        let mut other = ptr::null_mut();
        good(unsafe { flashllmCreateHost(&raw mut other) });
        let status = flashllmFree(other, w.buffer.cast());
        good(flashllmDestroy(other));
        status
    });
    t.handles(world, "flashllmMemcpy", |w, a, h| unsafe {
        flashllmMemcpy(h, a.at(0), w.buffer.cast(), 8, RawMemcpyKind(0))
    });
    for kind in [-1, 4, 77, c_int::MIN, c_int::MAX] {
        t.add(
            "flashllmMemcpy",
            format!("kind {kind}"),
            FLASHLLM_STATUS_INVALID_VALUE,
            move |w, a| unsafe {
                flashllmMemcpy(w.handle, a.at(0), w.buffer.cast(), 8, RawMemcpyKind(kind))
            },
        );
    }
    t.add("flashllmMemcpy", "NULL dst", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmMemcpy(w.handle, ptr::null_mut(), w.buffer.cast(), 8, RawMemcpyKind(0))
    });
    t.add("flashllmMemcpy", "NULL src", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmMemcpy(w.handle, a.at(0), ptr::null(), 8, RawMemcpyKind(0))
    });
    t.add("flashllmMemcpy", "too many bytes", FLASHLLM_STATUS_SIZE_OVERFLOW, |w, a| unsafe {
        flashllmMemcpy(w.handle, a.at(0), w.buffer.cast(), usize::MAX, RawMemcpyKind(0))
    });
    t.add("flashllmMemcpy", "0 bytes of NULL", FLASHLLM_STATUS_SUCCESS, |w, _| unsafe {
        flashllmMemcpy(w.handle, ptr::null_mut(), ptr::null(), 0, RawMemcpyKind(3))
    });
    t.handles(world, "flashllmSynchronize", |_, _, h| flashllmSynchronize(h));
}

/// (what, rows, cols, ld, order, type, NULL or misaligned values, status) of a bad dense matrix.
type BadDense = (&'static str, i64, i64, i64, RawOrder, RawDataType, usize, flashllmStatus_t);

fn dense_cases(t: &mut Table, world: &World) {
    let values = world.buffer.addr();
    let bad: Vec<BadDense> = vec![
        ("rows < 0", -1, 4, 4, ROW, F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("rows = MIN", i64::MIN, 4, 4, ROW, F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("cols < 0", 4, -1, 4, COL, F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("ld < 0", 4, 4, -4, ROW, F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("ld = 0", 4, 4, 0, ROW, F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("ld < cols, row-major", 2, 4, 3, ROW, F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("ld < rows, column-major", 4, 2, 3, COL, F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("rows * ld overflows", i64::MAX, 4, 4, ROW, F16, values, FLASHLLM_STATUS_SIZE_OVERFLOW),
        ("ld * cols overflows", 4, 4, i64::MAX, COL, F16, values, FLASHLLM_STATUS_SIZE_OVERFLOW),
        (
            "bytes overflow",
            1 << 31,
            1 << 31,
            1 << 31,
            ROW,
            F32,
            values,
            FLASHLLM_STATUS_SIZE_OVERFLOW,
        ),
        ("NULL values", 4, 4, 4, ROW, F16, 0, FLASHLLM_STATUS_NULL_POINTER),
        ("odd address", 4, 4, 4, ROW, F16, values + 1, FLASHLLM_STATUS_MISALIGNED),
        ("address of half a float", 4, 4, 4, ROW, F32, values + 2, FLASHLLM_STATUS_MISALIGNED),
        ("odd address of bfloat16", 4, 4, 4, ROW, BF16, values + 1, FLASHLLM_STATUS_MISALIGNED),
        ("type 1", 4, 4, 4, ROW, RawDataType(1), values, FLASHLLM_STATUS_INVALID_VALUE),
        ("type -1", 4, 4, 4, ROW, RawDataType(-1), values, FLASHLLM_STATUS_INVALID_VALUE),
        ("order 0", 4, 4, 4, RawOrder(0), F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        ("order MAX", 4, 4, 4, RawOrder(c_int::MAX), F16, values, FLASHLLM_STATUS_INVALID_VALUE),
        // Enums are checked before dimensions.
        ("order 3 and rows < 0", -4, 4, 4, RawOrder(3), F16, 0, FLASHLLM_STATUS_INVALID_VALUE),
    ];
    for (what, rows, cols, ld, order, dtype, address, want) in bad {
        let values = ptr::without_provenance_mut::<c_void>(address);
        let values = values.addr();
        t.create("flashllmCreateDnMat", what, want, move |_, a| unsafe {
            let values = ptr::without_provenance_mut(values);
            flashllmCreateDnMat(a.at(0), rows, cols, ld, values, dtype, order)
        });
        t.create("flashllmCreateConstDnMat", what, want, move |_, a| unsafe {
            let values = ptr::without_provenance(values);
            flashllmCreateConstDnMat(a.at(0), rows, cols, ld, values, dtype, order)
        });
    }
    t.add("flashllmCreateDnMat", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmCreateDnMat(ptr::null_mut(), 4, 4, 4, w.buffer.cast(), F16, ROW)
    });
    t.add("flashllmCreateConstDnMat", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmCreateConstDnMat(ptr::null_mut(), 4, 4, 4, w.buffer.cast(), F16, ROW)
    });
    t.add("flashllmDestroyDnMat", "NULL is nothing", FLASHLLM_STATUS_SUCCESS, |_, _| {
        flashllmDestroyDnMat(ptr::null())
    });
    for (what, bad) in world.bad_dense().into_iter().filter(|b| !b.1.is_null()) {
        t.add("flashllmDestroyDnMat", what, FLASHLLM_STATUS_INVALID_VALUE, move |_, _| {
            flashllmDestroyDnMat(bad)
        });
    }
    t.dense(world, "flashllmDnMatGet", |_, a, d| unsafe {
        flashllmDnMatGet(d, a.at(0), a.at(1), a.at(2), a.at(3), a.at(4), a.at(5))
    });
    t.dense(world, "flashllmConstDnMatGet", |_, a, d| unsafe {
        flashllmConstDnMatGet(d, a.at(0), a.at(1), a.at(2), a.at(3), a.at(4), a.at(5))
    });
    t.add("flashllmDnMatGet", "const values", FLASHLLM_STATUS_INVALID_VALUE, |w, a| unsafe {
        let d = w.dense_const.cast_mut();
        flashllmDnMatGet(d, a.at(0), a.at(1), a.at(2), a.at(3), a.at(4), a.at(5))
    });
    for missing in 0..6 {
        t.add(
            "flashllmDnMatGet",
            format!("out-parameter {missing} is NULL"),
            FLASHLLM_STATUS_NULL_POINTER,
            move |w, a| unsafe {
                macro_rules! at {
                    ($i:literal) => {
                        if missing == $i { ptr::null_mut() } else { a.at($i) }
                    };
                }
                flashllmDnMatGet(w.dense, at!(0), at!(1), at!(2), at!(3), at!(4), at!(5))
            },
        );
        t.add(
            "flashllmConstDnMatGet",
            format!("out-parameter {missing} is NULL"),
            FLASHLLM_STATUS_NULL_POINTER,
            move |w, a| unsafe {
                macro_rules! at {
                    ($i:literal) => {
                        if missing == $i { ptr::null_mut() } else { a.at($i) }
                    };
                }
                flashllmConstDnMatGet(w.dense, at!(0), at!(1), at!(2), at!(3), at!(4), at!(5))
            },
        );
    }
    t.dense(world, "flashllmDnMatGetValues", |_, a, d| unsafe {
        flashllmDnMatGetValues(d, a.at(0))
    });
    t.add("flashllmDnMatGetValues", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmDnMatGetValues(w.dense, ptr::null_mut())
    });
    t.add("flashllmDnMatGetValues", "const values", FLASHLLM_STATUS_INVALID_VALUE, |w, a| unsafe {
        flashllmDnMatGetValues(w.dense_const.cast_mut(), a.at(0))
    });
    t.dense(world, "flashllmConstDnMatGetValues", |_, a, d| unsafe {
        flashllmConstDnMatGetValues(d, a.at(0))
    });
    t.add("flashllmConstDnMatGetValues", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmConstDnMatGetValues(w.dense, ptr::null_mut())
    });
    t.dense(world, "flashllmDnMatSetValues", |w, _, d| flashllmDnMatSetValues(d, w.buffer.cast()));
    t.add("flashllmDnMatSetValues", "const values", FLASHLLM_STATUS_INVALID_VALUE, |w, _| {
        flashllmDnMatSetValues(w.dense_const.cast_mut(), w.buffer.cast())
    });
    t.add("flashllmDnMatSetValues", "NULL values", FLASHLLM_STATUS_NULL_POINTER, |w, a| {
        let status = flashllmDnMatSetValues(w.dense, ptr::null_mut());
        let mut now = ptr::null_mut();
        good(unsafe { flashllmDnMatGetValues(w.dense, &raw mut now) });
        assert!(!now.is_null() && a.0[0] == PATTERN);
        status
    });
    t.add("flashllmDnMatSetValues", "misaligned", FLASHLLM_STATUS_MISALIGNED, |w, _| {
        flashllmDnMatSetValues(w.dense, w.buffer.wrapping_add(1).cast())
    });
}

fn sparse_cases(t: &mut Table, world: &World) {
    let bad = [
        ("rows = 0", 0, 4, F16, 0, FLASHLLM_STATUS_INVALID_VALUE),
        ("rows < 0", -1, 4, F16, 0, FLASHLLM_STATUS_INVALID_VALUE),
        ("cols = 0", 4, 0, F16, 0, FLASHLLM_STATUS_INVALID_VALUE),
        ("cols = MIN", 4, i64::MIN, F16, 0, FLASHLLM_STATUS_INVALID_VALUE),
        ("rows * cols overflows", i64::MAX, i64::MAX, F16, 0, FLASHLLM_STATUS_SIZE_OVERFLOW),
        ("bytes overflow", 1 << 31, 1 << 31, F16, 0, FLASHLLM_STATUS_SIZE_OVERFLOW),
        ("fp32", 4, 4, F32, 0, FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED),
        ("bfloat16 without rows", 0, 4, BF16, 0, FLASHLLM_STATUS_INVALID_VALUE),
        ("type 3", 4, 4, RawDataType(3), 0, FLASHLLM_STATUS_INVALID_VALUE),
        ("format 6", 4, 4, F16, 6, FLASHLLM_STATUS_INVALID_VALUE),
        ("format -1", 4, 4, F16, -1, FLASHLLM_STATUS_INVALID_VALUE),
    ];
    for (what, rows, cols, dtype, format, want) in bad {
        t.create("flashllmCreateSpMat", what, want, move |_, a| unsafe {
            flashllmCreateSpMat(a.at(0), rows, cols, dtype, RawFormat(format))
        });
    }
    t.add("flashllmCreateSpMat", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |_, _| unsafe {
        flashllmCreateSpMat(ptr::null_mut(), 4, 4, F16, RawFormat(0))
    });
    t.add("flashllmDestroySpMat", "NULL is nothing", FLASHLLM_STATUS_SUCCESS, |_, _| {
        flashllmDestroySpMat(ptr::null())
    });
    for (what, bad) in world.bad_sparse().into_iter().filter(|b| !b.1.is_null()) {
        t.add("flashllmDestroySpMat", what, FLASHLLM_STATUS_INVALID_VALUE, move |_, _| {
            flashllmDestroySpMat(bad)
        });
    }
    t.sparse(world, "flashllmSpMatGetSize", |_, a, s| unsafe {
        flashllmSpMatGetSize(s, a.at(0), a.at(1), a.at(2), a.at(3))
    });
    for missing in 0..4 {
        t.add(
            "flashllmSpMatGetSize",
            format!("out-parameter {missing} is NULL"),
            FLASHLLM_STATUS_NULL_POINTER,
            move |w, a| unsafe {
                macro_rules! at {
                    ($i:literal) => {
                        if missing == $i { ptr::null_mut() } else { a.at($i) }
                    };
                }
                flashllmSpMatGetSize(w.sparse, at!(0), at!(1), at!(2), at!(3))
            },
        );
    }
    t.sparse(world, "flashllmSpMatGetFormat", |_, a, s| unsafe {
        flashllmSpMatGetFormat(s, a.at(0))
    });
    t.add("flashllmSpMatGetFormat", "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmSpMatGetFormat(w.sparse, ptr::null_mut())
    });
    t.sparse(world, "flashllmSpMatGetBuffer", |_, a, s| unsafe {
        flashllmSpMatGetBuffer(s, a.at(0), a.at(1))
    });
    t.add("flashllmSpMatGetBuffer", "NULL buffer", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmSpMatGetBuffer(w.sparse, ptr::null_mut(), a.at(1))
    });
    t.add("flashllmSpMatGetBuffer", "NULL bytes", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmSpMatGetBuffer(w.sparse, a.at(0), ptr::null_mut())
    });

    const SET: &str = "flashllmSpMatSetBuffer";
    t.handles(world, SET, |w, _, h| unsafe {
        flashllmSpMatSetBuffer(h, w.sparse_empty, w.buffer.cast(), w.bytes)
    });
    t.sparse(world, SET, |w, _, s| unsafe {
        flashllmSpMatSetBuffer(w.handle, s, w.buffer.cast(), w.bytes)
    });
    t.add(SET, "NULL buffer", FLASHLLM_STATUS_NULL_POINTER, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_empty, ptr::null_mut(), w.bytes)
    });
    for off in [1, 8, 128, 255] {
        t.add(SET, format!("address + {off}"), FLASHLLM_STATUS_MISALIGNED, move |w, _| unsafe {
            let p = w.buffer.wrapping_add(off);
            flashllmSpMatSetBuffer(w.handle, w.sparse_empty, p.cast(), w.bytes - off)
        });
    }
    t.add(SET, "too many bytes", FLASHLLM_STATUS_SIZE_OVERFLOW, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_empty, w.buffer.cast(), usize::MAX)
    });
    t.add(
        SET,
        "one byte short after analysis",
        FLASHLLM_STATUS_WORKSPACE_TOO_SMALL,
        |w, _| unsafe {
            flashllmSpMatSetBuffer(w.handle, w.sparse_analysed, w.buffer.cast(), w.bytes - 1)
        },
    );
    t.add(SET, "no bytes after analysis", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_analysed, w.buffer.cast(), 0)
    });
    for short in [0, 1, 255, 256] {
        t.add(
            SET,
            format!("only {short} bytes"),
            FLASHLLM_STATUS_CORRUPT_DATA,
            move |w, _| unsafe {
                flashllmSpMatSetBuffer(w.handle, w.sparse_empty, w.buffer.cast(), short)
            },
        );
    }
    t.add(SET, "last byte missing", FLASHLLM_STATUS_CORRUPT_DATA, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_empty, w.buffer.cast(), w.bytes - 1)
    });
    t.add(SET, "another format version", FLASHLLM_STATUS_VERSION_MISMATCH, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_empty, w.spoil(8, 1), w.bytes)
    });
    // Magic, header size, type, flags, nnz, tile, table, reserved, and a byte of the data.
    for (offset, value) in
        [(0, b'X'), (12, 1), (16, 9), (20, 0x80), (40, 0xff), (48, 31), (64, 0), (200, 1)]
    {
        t.add(
            SET,
            format!("byte {offset} = {value}"),
            FLASHLLM_STATUS_CORRUPT_DATA,
            move |w, _| unsafe {
                flashllmSpMatSetBuffer(w.handle, w.sparse_empty, w.spoil(offset, value), w.bytes)
            },
        );
    }
    t.add(SET, "data spoilt", FLASHLLM_STATUS_CORRUPT_DATA, |w, _| unsafe {
        // The elements of the first mask byte, of which there are some, are gone.
        let p = w.spoil(512, 0);
        flashllmSpMatSetBuffer(w.handle, w.sparse_empty, p, w.bytes)
    });
    t.add(SET, "of another shape", FLASHLLM_STATUS_INVALID_VALUE, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_other_shape, w.buffer.cast(), w.bytes)
    });
    t.add(SET, "of another format", FLASHLLM_STATUS_INVALID_VALUE, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_tiled, w.buffer.cast(), w.bytes)
    });

    const GET_A: &str = "flashllmSpMatGetAttribute";
    const SET_A: &str = "flashllmSpMatSetAttribute";
    t.sparse(world, GET_A, |_, a, s| unsafe {
        flashllmSpMatGetAttribute(s, RawSpMatAttribute(0), a.at(0), 4)
    });
    t.sparse(world, SET_A, |_, _, s| unsafe {
        let mut one = 1_i32;
        flashllmSpMatSetAttribute(s, RawSpMatAttribute(0), (&raw mut one).cast(), 4)
    });
    for attribute in [-1, 2, 77, c_int::MIN, c_int::MAX] {
        t.add(
            GET_A,
            format!("attribute {attribute}"),
            FLASHLLM_STATUS_INVALID_VALUE,
            move |w, a| unsafe {
                flashllmSpMatGetAttribute(w.sparse, RawSpMatAttribute(attribute), a.at(0), 4)
            },
        );
        t.add(
            SET_A,
            format!("attribute {attribute}"),
            FLASHLLM_STATUS_INVALID_VALUE,
            move |w, _| unsafe {
                let mut one = 1_i32;
                flashllmSpMatSetAttribute(
                    w.sparse,
                    RawSpMatAttribute(attribute),
                    (&raw mut one).cast(),
                    4,
                )
            },
        );
    }
    for bytes in [0, 3, 5, 8, usize::MAX] {
        t.add(GET_A, format!("{bytes} bytes"), FLASHLLM_STATUS_INVALID_VALUE, move |w, a| unsafe {
            flashllmSpMatGetAttribute(w.sparse, RawSpMatAttribute(1), a.at(0), bytes)
        });
        t.add(SET_A, format!("{bytes} bytes"), FLASHLLM_STATUS_INVALID_VALUE, move |w, _| unsafe {
            let mut one = 1_i32;
            flashllmSpMatSetAttribute(w.sparse, RawSpMatAttribute(1), (&raw mut one).cast(), bytes)
        });
    }
    for attribute in [0, 1] {
        t.add(GET_A, "NULL data", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
            flashllmSpMatGetAttribute(w.sparse, RawSpMatAttribute(attribute), ptr::null_mut(), 4)
        });
        t.add(SET_A, "NULL data", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
            flashllmSpMatSetAttribute(w.sparse, RawSpMatAttribute(attribute), ptr::null_mut(), 4)
        });
        // A flag has two values, a flashllmPreference_t four.
        for value in [-1, 2 + 2 * attribute, i32::MIN, i32::MAX] {
            t.add(
                SET_A,
                format!("value {value}"),
                FLASHLLM_STATUS_INVALID_VALUE,
                move |w, _| unsafe {
                    let mut value = value;
                    let attribute = RawSpMatAttribute(attribute);
                    let status = flashllmSpMatSetAttribute(
                        w.sparse_empty,
                        attribute,
                        (&raw mut value).cast(),
                        4,
                    );
                    let mut now = -5_i32;
                    good(flashllmSpMatGetAttribute(
                        w.sparse_empty,
                        attribute,
                        (&raw mut now).cast(),
                        4,
                    ));
                    assert_eq!(now, i32::from(attribute.0 == 0), "the default is kept");
                    status
                },
            );
        }
    }
}

/// The arguments of the conversions; `last` is the workspace or the out-parameter.
#[derive(Clone, Copy)]
struct Convert {
    handle: flashllmHandle_t,
    dense: flashllmDnMatDescr_t,
    sparse: flashllmSpMatDescr_t,
    alg: c_int,
    last: *mut c_void,
}

type ConvertFn = fn(&Convert) -> flashllmStatus_t;

fn convert_cases(t: &mut Table, world: &World) {
    let functions: [(&str, bool, bool, ConvertFn); 5] = [
        ("flashllmDenseToSparse_bufferSize", true, true, |c| unsafe {
            let alg = RawDenseToSparseAlg(c.alg);
            flashllmDenseToSparse_bufferSize(c.handle, c.dense, c.sparse, alg, c.last.cast())
        }),
        ("flashllmDenseToSparse_analysis", true, false, |c| unsafe {
            let alg = RawDenseToSparseAlg(c.alg);
            flashllmDenseToSparse_analysis(c.handle, c.dense, c.sparse, alg, c.last)
        }),
        ("flashllmDenseToSparse_convert", true, false, |c| unsafe {
            let alg = RawDenseToSparseAlg(c.alg);
            flashllmDenseToSparse_convert(c.handle, c.dense, c.sparse, alg, c.last)
        }),
        ("flashllmSparseToDense_bufferSize", false, true, |c| unsafe {
            let alg = RawSparseToDenseAlg(c.alg);
            flashllmSparseToDense_bufferSize(c.handle, c.sparse, c.dense, alg, c.last.cast())
        }),
        ("flashllmSparseToDense", false, false, |c| unsafe {
            let alg = RawSparseToDenseAlg(c.alg);
            flashllmSparseToDense(c.handle, c.sparse, c.dense, alg, c.last)
        }),
    ];
    for (name, to_sparse, has_out, call) in functions {
        let base = move |w: &World, a: &mut Area| Convert {
            handle: w.handle,
            dense: w.dense,
            sparse: w.sparse,
            alg: 0,
            last: if has_out { a.at(0) } else { ptr::null_mut() },
        };
        t.handles(world, name, move |w, a, handle| call(&Convert { handle, ..base(w, a) }));
        t.dense(world, name, move |w, a, dense| call(&Convert { dense, ..base(w, a) }));
        t.sparse(world, name, move |w, a, sparse| call(&Convert { sparse, ..base(w, a) }));
        for alg in [-1, 1, c_int::MIN, c_int::MAX] {
            t.add(name, format!("alg {alg}"), FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
                call(&Convert { alg, ..base(w, a) })
            });
        }
        t.add(name, "shapes differ", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            call(&Convert { sparse: w.sparse_other_shape, ..base(w, a) })
        });
        t.add(name, "shapes turned", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            call(&Convert { dense: w.dense_turned, ..base(w, a) })
        });
        t.add(name, "dense is fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, move |w, a| {
            call(&Convert { dense: w.dense_f32, ..base(w, a) })
        });
        if has_out {
            t.add(name, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
                call(&Convert { last: ptr::null_mut(), ..base(w, a) })
            });
            t.add(name, "right", FLASHLLM_STATUS_SUCCESS, move |w, a| {
                let status = call(&base(w, a));
                assert_eq!(a.0[0], 0);
                status
            });
        }
        if !to_sparse {
            t.add(name, "const destination", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
                call(&Convert { dense: w.dense_const.cast_mut(), ..base(w, a) })
            });
        }
        // The first failure in the documented order wins.
        t.add(name, "bad handle before bad alg", FLASHLLM_STATUS_NOT_INITIALIZED, move |w, a| {
            call(&Convert { handle: ptr::null_mut(), alg: 9, ..base(w, a) })
        });
    }
    t.add(
        "flashllmDenseToSparse_convert",
        "not analysed",
        FLASHLLM_STATUS_INVALID_VALUE,
        |w, _| unsafe {
            let alg = RawDenseToSparseAlg(0);
            flashllmDenseToSparse_convert(w.handle, w.dense, w.sparse_empty, alg, ptr::null_mut())
        },
    );
    t.add(
        "flashllmDenseToSparse_convert",
        "converted already",
        FLASHLLM_STATUS_INVALID_VALUE,
        |w, _| unsafe {
            let alg = RawDenseToSparseAlg(0);
            flashllmDenseToSparse_convert(w.handle, w.dense, w.sparse, alg, ptr::null_mut())
        },
    );
    t.add(
        "flashllmDenseToSparse_convert",
        "no buffer",
        FLASHLLM_STATUS_INVALID_VALUE,
        |w, _| unsafe {
            let alg = RawDenseToSparseAlg(0);
            flashllmDenseToSparse_convert(
                w.handle,
                w.dense,
                w.sparse_analysed,
                alg,
                ptr::null_mut(),
            )
        },
    );
    t.add(
        "flashllmDenseToSparse_convert",
        "overlap",
        FLASHLLM_STATUS_INVALID_VALUE,
        |w, _| unsafe {
            let mut shared = ptr::null_mut();
            let mut bytes = 0;
            good(flashllmSpMatGetBuffer(w.sparse_over_dense, &raw mut shared, &raw mut bytes));
            let over = dense(M, K, K, shared.cast(), F16);
            let alg = RawDenseToSparseAlg(0);
            let status = flashllmDenseToSparse_convert(
                w.handle,
                over,
                w.sparse_over_dense,
                alg,
                ptr::null_mut(),
            );
            good(flashllmDestroyDnMat(over));
            status
        },
    );
    for (what, state) in [("no data", 0), ("analysed only", 1)] {
        t.add("flashllmSparseToDense", what, FLASHLLM_STATUS_INVALID_VALUE, move |w, _| unsafe {
            let s = if state == 0 { w.sparse_empty } else { w.sparse_analysed };
            flashllmSparseToDense(w.handle, s, w.dense, RawSparseToDenseAlg(0), ptr::null_mut())
        });
    }
    t.add("flashllmSparseToDense", "overlap", FLASHLLM_STATUS_INVALID_VALUE, |w, _| unsafe {
        let over = dense(M, K, K, w.buffer, F16);
        let status = flashllmSparseToDense(
            w.handle,
            w.sparse,
            over,
            RawSparseToDenseAlg(0),
            ptr::null_mut(),
        );
        good(flashllmDestroyDnMat(over));
        status
    });
}

/// The arguments of the three SpMM functions; `last` is the workspace or the out-parameter.
#[derive(Clone, Copy)]
struct Spmm {
    handle: flashllmHandle_t,
    op_a: c_int,
    op_b: c_int,
    alpha: *const c_void,
    a: flashllmSpMatDescr_t,
    b: flashllmDnMatDescr_t,
    beta: *const c_void,
    c: flashllmDnMatDescr_t,
    compute: RawDataType,
    alg: c_int,
    last: *mut c_void,
}

static ONE: f32 = 1.0;

type SpmmFn = fn(&Spmm) -> flashllmStatus_t;
type Change = fn(&World, &mut Spmm);

fn spmm_cases(t: &mut Table, world: &World) {
    macro_rules! spmm {
        ($function:ident) => {
            |s: &Spmm| unsafe {
                $function(
                    s.handle,
                    RawOperation(s.op_a),
                    RawOperation(s.op_b),
                    s.alpha,
                    s.a,
                    s.b,
                    s.beta,
                    s.c,
                    s.compute,
                    RawSpMMAlg(s.alg),
                    s.last.cast(),
                )
            }
        };
    }
    let functions: [(&str, bool, SpmmFn); 3] = [
        ("flashllmSpMM_bufferSize", true, spmm!(flashllmSpMM_bufferSize)),
        ("flashllmSpMM_preprocess", false, spmm!(flashllmSpMM_preprocess)),
        ("flashllmSpMM", false, spmm!(flashllmSpMM)),
    ];
    let changes: [(&str, flashllmStatus_t, Change); 31] = [
        ("opA transposed", FLASHLLM_STATUS_NOT_SUPPORTED, |_, s| s.op_a = 1),
        ("opA 2", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.op_a = 2),
        ("opA MIN", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.op_a = c_int::MIN),
        ("opB 2", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.op_b = 2),
        ("opB -1", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.op_b = -1),
        ("computeType fp16", FLASHLLM_STATUS_NOT_SUPPORTED, |_, s| s.compute = F16),
        ("computeType bfloat16", FLASHLLM_STATUS_NOT_SUPPORTED, |_, s| s.compute = BF16),
        ("computeType 5", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.compute = RawDataType(5)),
        ("alg 1", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.alg = 1),
        ("alg -1", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.alg = -1),
        ("NULL alpha", FLASHLLM_STATUS_NULL_POINTER, |_, s| s.alpha = ptr::null()),
        ("NULL beta", FLASHLLM_STATUS_NULL_POINTER, |_, s| s.beta = ptr::null()),
        ("matC is const", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.c = w.c_const.cast_mut()),
        ("matB is fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, |w, s| s.b = w.b_f32),
        ("matB is turned", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.op_b = 1),
        ("matB has M rows", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.b = w.c),
        ("matC has K rows", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.c = w.b),
        ("matC has other columns", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.c = w.dense),
        ("matA has other rows", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.a = w.sparse_other_shape),
        ("matA is empty", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.a = w.sparse_empty),
        // The documented order: handle, descriptors, enums, host scalars, out-parameters, shapes, buffers.
        ("handle before descriptor", FLASHLLM_STATUS_NOT_INITIALIZED, |w, s| {
            s.handle = w.dead_handle;
            s.a = w.dead_sparse;
        }),
        ("descriptor before scalar", FLASHLLM_STATUS_INVALID_VALUE, |w, s| {
            s.a = w.dead_sparse;
            s.alpha = ptr::null();
        }),
        ("operation before scalar", FLASHLLM_STATUS_NOT_SUPPORTED, |_, s| {
            s.op_a = 1;
            s.beta = ptr::null();
        }),
        ("enum before scalar", FLASHLLM_STATUS_INVALID_VALUE, |_, s| {
            s.alg = 7;
            s.beta = ptr::null();
        }),
        ("scalar before type", FLASHLLM_STATUS_NULL_POINTER, |w, s| {
            s.alpha = ptr::null();
            s.b = w.b_f32;
        }),
        ("scalar before shape", FLASHLLM_STATUS_NULL_POINTER, |w, s| {
            s.alpha = ptr::null();
            s.c = w.dense;
        }),
        ("type before shape", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, |w, s| {
            s.b = w.b_f32;
            s.c = w.dense;
        }),
        ("shape before data", FLASHLLM_STATUS_INVALID_VALUE, |w, s| {
            s.a = w.sparse_empty;
            s.c = w.dense;
        }),
        ("matB is a destroyed descriptor", FLASHLLM_STATUS_INVALID_VALUE, |w, s| {
            s.b = w.dead_dense;
        }),
        ("matC is a destroyed descriptor", FLASHLLM_STATUS_INVALID_VALUE, |w, s| {
            s.c = w.dead_dense;
        }),
        ("NULL everywhere", FLASHLLM_STATUS_NOT_INITIALIZED, |_, s| {
            s.handle = ptr::null_mut();
            s.alpha = ptr::null();
            s.beta = ptr::null();
            s.a = ptr::null_mut();
            s.b = ptr::null_mut();
            s.c = ptr::null_mut();
            s.last = ptr::null_mut();
        }),
    ];
    for (name, has_out, call) in functions {
        let base = move |w: &World, a: &mut Area| Spmm {
            handle: w.handle,
            op_a: 0,
            op_b: 0,
            alpha: (&raw const ONE).cast(),
            a: w.sparse,
            b: w.b,
            beta: (&raw const ONE).cast(),
            c: w.c,
            compute: F32,
            alg: 0,
            last: if has_out { a.at(0) } else { ptr::null_mut() },
        };
        t.handles(world, name, move |w, a, handle| call(&Spmm { handle, ..base(w, a) }));
        t.sparse(world, name, move |w, a, s| call(&Spmm { a: s, ..base(w, a) }));
        t.dense(world, name, move |w, a, b| call(&Spmm { b, ..base(w, a) }));
        t.dense(world, name, move |w, a, c| call(&Spmm { c, ..base(w, a) }));
        for (what, want, change) in changes {
            t.add(name, what, want, move |w, a| {
                let mut s = base(w, a);
                change(w, &mut s);
                call(&s)
            });
        }
        if has_out {
            t.add(name, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
                call(&Spmm { last: ptr::null_mut(), ..base(w, a) })
            });
            t.add(name, "NULL out before shape", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
                call(&Spmm { last: ptr::null_mut(), c: w.dense, ..base(w, a) })
            });
            t.add(name, "analysed is enough", FLASHLLM_STATUS_SUCCESS, move |w, a| {
                call(&Spmm { a: w.sparse_analysed, ..base(w, a) })
            });
        } else {
            t.add(name, "analysed only", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
                call(&Spmm { a: w.sparse_analysed, ..base(w, a) })
            });
        }
        t.add(name, "no columns is nothing to do", FLASHLLM_STATUS_SUCCESS, move |w, a| {
            let (b, c) =
                (dense(K, 0, 0, ptr::null_mut(), F16), dense(M, 0, 0, ptr::null_mut(), F16));
            let status = call(&Spmm { b, c, ..base(w, a) });
            good(flashllmDestroyDnMat(b));
            good(flashllmDestroyDnMat(c));
            status
        });
    }
    let base = move |w: &World| Spmm {
        handle: w.handle,
        op_a: 0,
        op_b: 0,
        alpha: (&raw const ONE).cast(),
        a: w.sparse,
        b: w.b,
        beta: (&raw const ONE).cast(),
        c: w.c,
        compute: F32,
        alg: 0,
        last: ptr::null_mut(),
    };
    let call: SpmmFn = spmm!(flashllmSpMM);
    t.add("flashllmSpMM", "matC over matB", FLASHLLM_STATUS_INVALID_VALUE, move |w, _| {
        call(&Spmm { c: w.c_over_b, ..base(w) })
    });
    t.add("flashllmSpMM", "matC over matA", FLASHLLM_STATUS_INVALID_VALUE, move |w, _| {
        call(&Spmm { c: w.c_over_a, ..base(w) })
    });
}

fn table(world: &World) -> Vec<Case> {
    let mut t = Table::default();
    context_cases(&mut t, world);
    memory_cases(&mut t, world);
    dense_cases(&mut t, world);
    sparse_cases(&mut t, world);
    convert_cases(&mut t, world);
    spmm_cases(&mut t, world);
    plan::cases(&mut t, world);
    store_cases::cases(&mut t, world);
    prune_csr::cases(&mut t, world);
    t.0
}

#[test]
fn every_abuse_has_its_status_and_changes_nothing() {
    let world = World::new();
    let before = world.snapshot();
    let cases = table(&world);
    let mut wrong = Vec::new();
    for case in &cases {
        let name = format!("{} ({})", case.function, case.what);
        let mut area = Area([PATTERN; 8]);
        // A failure of our own, so that a stale sentence is told from a new one.
        // SAFETY: NULL is refused.
        let _ = unsafe { flashllmGetLastDriverError(ptr::null_mut()) };
        let status = (case.call)(&world, &mut area);
        if status != case.want {
            wrong.push(format!("{name}: {status:?} instead of {:?}: {}", case.want, message()));
            continue;
        }
        if status != FLASHLLM_STATUS_SUCCESS {
            let sentence = message();
            let prefix = format!("{}: ", case.function);
            if !sentence.starts_with(&prefix) || sentence.len() < prefix.len() + 10 {
                wrong.push(format!("{name}: the sentence is {sentence:?}"));
            }
        }
        let first = match case.outputs {
            Outputs::Written => continue,
            Outputs::Untouched => PATTERN,
            Outputs::Null => 0,
        };
        if area.0[0] != first || area.0[1..].iter().any(|&w| w != PATTERN) {
            wrong.push(format!("{name}: outputs are {:x?}", area.0));
        }
        if world.snapshot() != before {
            wrong.push(format!("{name}: the caller's memory changed"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() > 400, "{}", cases.len());
    // Nothing that was alive has died of it.
    assert_eq!(size_of_sparse(world.sparse), world.bytes);
    good(flashllmDestroy(world.handle));
}

#[test]
fn every_exported_function_is_abused() {
    let world = World::new();
    let abused: BTreeSet<String> = table(&world).iter().map(|c| c.function.to_owned()).collect();
    let exported = std::fs::read_to_string(build_support::root().join("tests/abi/symbols.txt"))
        .expect("the list of exported symbols is committed");
    let exported: BTreeSet<String> = exported.lines().map(str::to_owned).collect();
    let forgotten: Vec<_> = exported.difference(&abused).collect();
    assert!(forgotten.is_empty(), "not in the table: {forgotten:?}");
    let unknown: Vec<_> = abused.difference(&exported).collect();
    assert!(unknown.is_empty(), "in the table and not exported: {unknown:?}");
}

#[test]
fn names_and_texts_of_statuses_are_their_own() {
    let numbers =
        [0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109];
    let names: BTreeSet<_> =
        numbers.iter().map(|&n| text(flashllmGetErrorName(RawStatus(n)))).collect();
    let texts: BTreeSet<_> =
        numbers.iter().map(|&n| text(flashllmGetErrorString(RawStatus(n)))).collect();
    assert_eq!((names.len(), texts.len()), (numbers.len(), numbers.len()));
    assert!(names.iter().all(|n| n.starts_with("FLASHLLM_STATUS_")));
}

#[test]
fn the_call_that_the_table_spoils_is_right() {
    // 1 * A * B + 1 * C with B = 0 keeps C; with beta = 0, NaN in C does not survive.
    let world = World::new();
    let w = &world;
    let zero = 0.0_f32;
    let one = (&raw const ONE).cast();
    let product = |beta, c| {
        let op = RawOperation(0);
        // SAFETY: live descriptors of host memory, readable floats.
        unsafe {
            let alg = RawSpMMAlg(0);
            let null = ptr::null_mut();
            good(flashllmSpMM_preprocess(
                w.handle, op, op, one, w.sparse, w.b, beta, c, F32, alg, null,
            ));
            good(flashllmSpMM(w.handle, op, op, one, w.sparse, w.b, beta, c, F32, alg, null));
        }
    };
    let mut values = vec![0x4200_u16; M * N];
    let c = dense(M, N, N, values.as_mut_ptr().cast(), F16);
    product(one, c);
    assert!(values.iter().all(|&v| v == 0x4200));
    values.fill(0x7e00);
    product((&raw const zero).cast(), c);
    assert!(values.iter().all(|&v| v == 0));
    let mut wide = vec![f32::NAN; M * N];
    let c32 = dense(M, N, N, wide.as_mut_ptr().cast(), F32);
    product((&raw const zero).cast(), c32);
    assert!(wide.iter().all(|&v| v == 0.0));
    good(flashllmDestroyDnMat(c));
    good(flashllmDestroyDnMat(c32));
}

#[test]
fn a_matrix_can_move_and_be_compressed_again() {
    let world = World::new();
    let w = &world;
    // A copy of the buffer elsewhere is adopted by the same descriptor.
    let moved = w.spoil(0, b'F');
    // SAFETY: live descriptors and memory.
    unsafe {
        good(flashllmSpMatSetBuffer(w.handle, w.sparse, moved, w.bytes));
        let (mut p, mut n) = (ptr::null_mut(), 0);
        good(flashllmSpMatGetBuffer(w.sparse, &raw mut p, &raw mut n));
        assert_eq!((p, n), (moved, w.bytes));
        // AUTO takes the format of what it adopts.
        let mut format = flashllmFormat_t::FLASHLLM_FORMAT_TILED_CSL;
        good(flashllmSpMatGetFormat(w.sparse_empty, &raw mut format));
        assert_eq!(format, flashllmFormat_t::FLASHLLM_FORMAT_AUTO);
        good(flashllmSpMatSetBuffer(w.handle, w.sparse_empty, moved, w.bytes));
        good(flashllmSpMatGetFormat(w.sparse_empty, &raw mut format));
        assert_eq!(format, flashllmFormat_t::FLASHLLM_FORMAT_BITMAP);
        // A new analysis forgets the buffer.
        let alg = RawDenseToSparseAlg(0);
        good(flashllmDenseToSparse_analysis(w.handle, w.dense, w.sparse, alg, ptr::null_mut()));
        good(flashllmSpMatGetBuffer(w.sparse, &raw mut p, &raw mut n));
        assert_eq!((p, n), (ptr::null_mut(), 0));
        good(flashllmSpMatSetBuffer(w.handle, w.sparse, moved, w.bytes));
        good(flashllmDenseToSparse_convert(w.handle, w.dense, w.sparse, alg, ptr::null_mut()));
        let (first, second) = (
            std::slice::from_raw_parts(w.buffer, w.bytes),
            std::slice::from_raw_parts(moved.cast::<u8>(), w.bytes),
        );
        assert_eq!(first, second);
    }
}

#[test]
fn weights_that_changed_since_the_analysis_are_refused_or_written_in_bounds() {
    let world = World::new();
    let w = &world;
    let mut values = vec![0x3c00_u16; M * K];
    let full = dense(M, K, K, values.as_mut_ptr().cast(), F16);
    let mut buffer = ptr::null_mut();
    // SAFETY: live descriptors and memory; the guard bytes behind the buffer are ours.
    unsafe {
        good(flashllmMalloc(w.handle, &raw mut buffer, w.bytes + 256));
        buffer.cast::<u8>().add(w.bytes).write_bytes(0xee, 256);
        good(flashllmSpMatSetBuffer(w.handle, w.sparse_analysed, buffer, w.bytes));
        let status = flashllmDenseToSparse_convert(
            w.handle,
            full,
            w.sparse_analysed,
            RawDenseToSparseAlg(0),
            ptr::null_mut(),
        );
        assert_eq!(status, FLASHLLM_STATUS_INVALID_VALUE, "{}", message());
        let guard = std::slice::from_raw_parts(buffer.cast::<u8>().add(w.bytes), 256);
        assert!(guard.iter().all(|&b| b == 0xee));
    }
    good(flashllmDestroyDnMat(full));
}

#[test]
fn a_csr_matrix_with_one_value_less_or_more_than_was_analysed_is_refused() {
    use flash_llm::capi::csr::*;
    let world = World::new();
    let alg = RawDenseToSparseAlg(0);
    let offsets: Vec<i32> = (0..=M as i32).map(|row| 2 * row).collect();
    let columns: Vec<i32> = [0, 9].repeat(M);
    // Every row stores a one and a zero, which is none of the compressed matrix's elements.
    let mut values: Vec<u16> = [0x3c00, 0].repeat(M);
    for format in 1..=5 {
        // SAFETY: live descriptors and memory.
        unsafe {
            let (mut csr, mut sparse) = (ptr::null_mut(), ptr::null_mut());
            good(flashllmCreateCsr(
                &raw mut csr,
                M as i64,
                K as i64,
                values.len() as i64,
                offsets.as_ptr().cast(),
                columns.as_ptr().cast(),
                values.as_mut_ptr().cast(),
                RawIndexType(2),
                RawIndexType(2),
                RawIndexBase(0),
                F16,
            ));
            let (m, k) = (M as i64, K as i64);
            good(flashllmCreateSpMat(&raw mut sparse, m, k, F16, RawFormat(format)));
            good(flashllmCsrToSparse_analysis(world.handle, csr, sparse, alg, ptr::null_mut()));
            let (mut rows, mut cols, mut nnz, mut bytes) = (0, 0, 0, 0);
            let size = (&raw mut rows, &raw mut cols, &raw mut nnz);
            good(flashllmSpMatGetSize(sparse, size.0, size.1, size.2, &raw mut bytes));
            assert_eq!(nnz, M as i64);
            let mut buffer = ptr::null_mut();
            good(flashllmMalloc(world.handle, &raw mut buffer, bytes));
            good(flashllmSpMatSetBuffer(world.handle, sparse, buffer, bytes));
            let convert =
                || flashllmCsrToSparse_convert(world.handle, csr, sparse, alg, ptr::null_mut());
            for (at, value) in [(0, 0), (1, 0x4000)] {
                let place = values.as_mut_ptr().add(at);
                let old = place.replace(value);
                assert_eq!(convert(), FLASHLLM_STATUS_INVALID_VALUE, "format {format}");
                assert!(message().ends_with("not those that were analysed"), "{}", message());
                place.write(old);
            }
            good(convert());
            good(flashllmDestroySpMat(sparse));
            good(flashllmDestroyCsr(csr));
            good(flashllmFree(world.handle, buffer));
        }
    }
}

#[test]
fn creating_destroying_and_using_race_without_harm() {
    let world = World::new();
    let (handle, shared) = (world.handle.addr(), world.dense.addr());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for i in 0..2000_usize {
                    let mut values = 0_u16;
                    let d = dense(1, 1, 1, (&raw mut values).cast(), F16);
                    let mut version = 0;
                    // SAFETY: valid places; keys are never dereferenced.
                    unsafe {
                        good(flashllmGetVersion(
                            ptr::without_provenance_mut(handle),
                            &raw mut version,
                        ));
                        let mut p = ptr::null();
                        let shared = ptr::without_provenance(shared);
                        let status = flashllmConstDnMatGetValues(shared, &raw mut p);
                        assert!(
                            matches!(
                                status,
                                FLASHLLM_STATUS_SUCCESS | FLASHLLM_STATUS_INVALID_VALUE
                            ),
                            "{status:?}"
                        );
                        if thread == 0 && i == 1000 {
                            good(flashllmDestroyDnMat(shared));
                        }
                    }
                    good(flashllmDestroyDnMat(d));
                    assert_eq!(flashllmDestroyDnMat(d), FLASHLLM_STATUS_INVALID_VALUE);
                }
            });
        }
    });
}

/// Functions as the product exports them, which panic.
mod fixture {
    use crate::{guard, status};

    /// A payload that is as unpleasant as can be.
    pub struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }

    pub extern "C" fn panics(how: std::ffi::c_int) -> status::flashllmStatus_t {
        guard::guard("fixture", || match how {
            0 => Ok(()),
            1 => panic!("a plain text"),
            2 => panic!("a text with {}", 42),
            3 => std::panic::panic_any(7_u8),
            4 => std::panic::panic_any(Bomb),
            _ => Err(crate::error::Error::invalid("an ordinary error")),
        })
    }
}

#[test]
fn a_panic_becomes_a_status() {
    let said = || {
        // SAFETY: a NUL-terminated string that lives until the next failure.
        unsafe { CStr::from_ptr(status::last_message()) }.to_str().unwrap().to_owned()
    };
    assert_eq!(fixture::panics(0) as c_int, 0);
    for (how, want) in
        [(1, "a plain text"), (2, "a text with 42"), (3, "not text"), (4, "not text")]
    {
        assert_eq!(fixture::panics(how) as c_int, 7, "{how}");
        assert!(
            said().starts_with("fixture: internal error") && said().contains(want),
            "{}",
            said()
        );
    }
    assert_eq!(fixture::panics(5) as c_int, 3);
    assert_eq!(said(), "fixture: an ordinary error");
}
