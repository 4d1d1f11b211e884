//! The device half of the library against a driver that counts, refuses and keeps books
//! (`fakecuda/fakecuda.c`), so that no GPU is needed to see how failures are handled.
//!
//! Each test runs its body in a child process whose dynamic linker finds the fake libcuda.so.1 first.
//! A build without kernels has no CUDA handles: there the tests check that flashllmCreate says so, after
//! the checks of the driver.

// Without kernels only the failures of flashllmCreate are left to test.
#![cfg_attr(no_kernels, allow(dead_code, unused_imports))]

mod build_support;
#[cfg(not(no_kernels))]
#[path = "fake_driver/plan.rs"]
mod plan;
#[cfg(not(no_kernels))]
#[path = "fake_driver/search.rs"]
mod search;
#[path = "fake_driver/store.rs"]
mod store;

use build_support::{fake_driver, run};
use flash_llm::capi::context::*;
use flash_llm::capi::convert::*;
use flash_llm::capi::matrix::*;
use flash_llm::capi::memory::*;
use flash_llm::capi::spmm::*;
use flash_llm::capi::status::{flashllmStatus_t, flashllmStatus_t::*};
use flash_llm::capi::types::*;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::ptr;
use std::sync::OnceLock;

const CHILD: &str = "FLASH_LLM_TEST_CHILD";

/// In the parent: runs the calling test again in a child with the fake driver. In the child: the body.
fn with_driver(test: &str, absent: Option<&str>, body: impl FnOnce(&Fake)) {
    if std::env::var_os(CHILD).is_some() {
        body(&Fake::open());
        return;
    }
    static COMPLETE: OnceLock<PathBuf> = OnceLock::new();
    let dir = match absent {
        None => COMPLETE.get_or_init(|| fake_driver(None)).clone(),
        Some(_) => fake_driver(absent),
    };
    let output = run(Command::new(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("LD_LIBRARY_PATH", &dir));
    assert!(output.contains("1 passed"), "the child ran no test called {test}:\n{output}");
}

/// The controls of the fake driver.
struct Fake {
    library: *mut c_void,
}

impl Fake {
    fn open() -> Self {
        // SAFETY: a NUL-terminated name; the library is the one that the shim opens too.
        let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null(), "the fake driver is not found");
        let fake = Self { library };
        fake.reset();
        fake
    }

    fn symbol(&self, name: &str) -> *mut c_void {
        let c_name = CString::new(name).unwrap();
        // SAFETY: a live library and a NUL-terminated name.
        let symbol = unsafe { libc::dlsym(self.library, c_name.as_ptr()) };
        assert!(!symbol.is_null(), "{name} is not in the library: is it the fake driver?");
        symbol
    }

    /// A control that takes nothing and gives an int.
    fn get(&self, name: &str) -> c_int {
        // SAFETY: the control has this type.
        let f: extern "C" fn() -> c_int = unsafe { std::mem::transmute(self.symbol(name)) };
        f()
    }

    /// A control that takes a pointer and gives one.
    fn pointer(&self, name: &str, p: *mut c_void) -> *mut c_void {
        // SAFETY: the control has this type, or takes or gives less, which the C ABI here allows.
        let f: extern "C" fn(*mut c_void) -> *mut c_void =
            unsafe { std::mem::transmute(self.symbol(name)) };
        f(p)
    }

    /// A control that takes an int and gives a pointer.
    fn nth(&self, name: &str, i: c_int) -> *mut c_void {
        // SAFETY: the control has this type, or gives nothing.
        let f: extern "C" fn(c_int) -> *mut c_void =
            unsafe { std::mem::transmute(self.symbol(name)) };
        f(i)
    }

    fn reset(&self) {
        self.get("fake_reset");
    }

    fn clear(&self) {
        self.get("fake_clear");
    }

    fn fail(&self, function: &str, nth: c_int, code: c_int) {
        // SAFETY: the control has this type.
        let f: extern "C" fn(*const c_char, c_int, c_int) =
            unsafe { std::mem::transmute(self.symbol("fake_fail")) };
        let name = CString::new(function).unwrap();
        f(name.as_ptr(), nth, code);
    }

    fn failed(&self) -> bool {
        self.get("fake_failed") != 0
    }

    /// Calls since the last reset, by function.
    fn counts(&self) -> BTreeMap<String, c_int> {
        let mut counts = BTreeMap::new();
        for i in 0.. {
            let name = self.nth("fake_name", i);
            if name.is_null() {
                return counts;
            }
            // SAFETY: the fake gives a NUL-terminated string.
            let name = unsafe { CStr::from_ptr(name.cast()) }.to_str().unwrap().to_owned();
            let n = self.pointer(
                "fake_count",
                CString::new(name.as_str()).unwrap().as_ptr().cast_mut().cast(),
            );
            counts.insert(name, n.addr() as c_int);
        }
        unreachable!()
    }

    fn stream(&self, i: c_int, context: *mut c_void) -> *mut c_void {
        // SAFETY: the control has this type.
        let f: extern "C" fn(c_int, *mut c_void) -> *mut c_void =
            unsafe { std::mem::transmute(self.symbol("fake_stream")) };
        f(i, context)
    }

    fn set_capturing(&self, stream: *mut c_void, status: c_int) {
        // SAFETY: the control has this type.
        let f: extern "C" fn(*mut c_void, c_int) =
            unsafe { std::mem::transmute(self.symbol("fake_set_capturing")) };
        f(stream, status);
    }

    fn set_attribute(&self, attribute: c_int, value: c_int) {
        // SAFETY: the control has this type.
        let f: extern "C" fn(c_int, c_int) =
            unsafe { std::mem::transmute(self.symbol("fake_set_attribute")) };
        f(attribute, value);
    }

    /// Lets launches of the kernel that `part` names, or of all with it in their names, take so many microseconds; grid and shared memory
    /// 0: any.
    fn set_duration(&self, part: &str, grid: c_int, smem: c_int, us: f64) {
        // SAFETY: the control has this type.
        let f: extern "C" fn(*const c_char, c_int, c_int, f64) =
            unsafe { std::mem::transmute(self.symbol("fake_set_duration")) };
        let part = CString::new(part).unwrap();
        f(part.as_ptr(), grid, smem, us);
    }

    /// Launches since the last reset: kernel, blocks along x, shared memory, and the first word of the parameters.
    fn launches(&self) -> Vec<(String, c_int, c_int, u64)> {
        // SAFETY: the control has this type.
        let word: extern "C" fn(c_int) -> u64 =
            unsafe { std::mem::transmute(self.symbol("fake_launch_word")) };
        (0..self.get("fake_launches"))
            .map(|i| {
                let name = self.nth("fake_launch_name", i);
                // SAFETY: the fake gives a NUL-terminated string.
                let name = unsafe { CStr::from_ptr(name.cast()) }.to_str().unwrap().to_owned();
                let number = |control| self.nth(control, i).addr() as c_int;
                (name, number("fake_launch_grid"), number("fake_launch_smem"), word(i))
            })
            .collect()
    }

    fn current(&self) -> *mut c_void {
        self.pointer("fake_get_current", ptr::null_mut())
    }

    fn set_current(&self, context: *mut c_void) {
        self.pointer("fake_set_current", context);
    }

    fn assert_nothing_alive(&self, when: &str) {
        assert_eq!(self.get("fake_live_allocations"), 0, "allocations are left {when}");
        assert_eq!(self.get("fake_live_modules"), 0, "modules are left {when}");
        assert_eq!(
            self.get("fake_primary_references"),
            0,
            "the primary context is retained {when}"
        );
    }
}

fn message() -> String {
    // SAFETY: the library gives a NUL-terminated string that lives until the next failure.
    unsafe { CStr::from_ptr(flashllmGetLastErrorMessage()) }.to_str().unwrap().to_owned()
}

fn driver_code() -> c_int {
    let mut code = -1;
    // SAFETY: a valid place for an int.
    assert_eq!(unsafe { flashllmGetLastDriverError(&raw mut code) }, FLASHLLM_STATUS_SUCCESS);
    code
}

fn create() -> Result<flashllmHandle_t, flashllmStatus_t> {
    let mut handle = ptr::without_provenance_mut(1);
    // SAFETY: a valid place for a handle.
    match unsafe { flashllmCreate(&raw mut handle) } {
        FLASHLLM_STATUS_SUCCESS => Ok(handle),
        status => {
            assert!(handle.is_null(), "a failed Create leaves NULL");
            Err(status)
        }
    }
}

const ROWS: usize = 70;
const COLS: usize = 300;
const N: usize = 5;
const NON_TRANSPOSE: RawOperation = RawOperation(0);
const R_16F: RawDataType = RawDataType(2);
const R_32F: RawDataType = RawDataType(0);
const COL: RawOrder = RawOrder(1);

/// fp16 bits with four zeros of five.
fn weights() -> Vec<u16> {
    (0..ROWS * COLS)
        .map(|i| if i * 7919 % 5 == 0 { 0x3c00 + (i % 512) as u16 } else { 0 })
        .collect()
}

/// What a program does with a device: objects that it makes, in the order in which it makes them.
#[derive(Default)]
struct Program {
    handle: Option<flashllmHandle_t>,
    sparse: Vec<flashllmSpMatDescr_t>,
    dense: Vec<flashllmDnMatDescr_t>,
}

/// What a program's SpMM needs.
struct Ready {
    sparse: flashllmSpMatDescr_t,
    b: flashllmDnMatDescr_t,
    c: flashllmDnMatDescr_t,
    workspace: *mut c_void,
}

fn ok(status: flashllmStatus_t) -> Result<(), flashllmStatus_t> {
    if status == FLASHLLM_STATUS_SUCCESS { Ok(()) } else { Err(status) }
}

impl Program {
    fn handle(&self) -> flashllmHandle_t {
        self.handle.unwrap_or(ptr::null_mut())
    }

    fn malloc(&self, bytes: usize) -> Result<*mut c_void, flashllmStatus_t> {
        let mut p = ptr::null_mut();
        // SAFETY: a valid place for a pointer.
        ok(unsafe { flashllmMalloc(self.handle(), &raw mut p, bytes) })?;
        Ok(p)
    }

    fn dense(&mut self, rows: usize, cols: usize, values: *mut c_void) -> flashllmDnMatDescr_t {
        self.dense_apart(rows, cols, rows, values)
    }

    /// As above, columns so many elements apart.
    fn dense_apart(
        &mut self,
        rows: usize,
        cols: usize,
        distance: usize,
        values: *mut c_void,
    ) -> flashllmDnMatDescr_t {
        let mut d = ptr::null_mut();
        // SAFETY: a valid place for a descriptor; column-major device memory of rows x cols fp16.
        let status = unsafe {
            flashllmCreateDnMat(
                &raw mut d,
                rows as i64,
                cols as i64,
                distance as i64,
                values,
                R_16F,
                COL,
            )
        };
        assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "descriptors need no driver");
        self.dense.push(d);
        d
    }

    fn sparse(&mut self, format: RawFormat) -> flashllmSpMatDescr_t {
        let mut s = ptr::null_mut();
        // SAFETY: a valid place for a descriptor.
        let status =
            unsafe { flashllmCreateSpMat(&raw mut s, ROWS as i64, COLS as i64, R_16F, format) };
        assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "descriptors need no driver");
        self.sparse.push(s);
        s
    }

    /// Compresses weights on the device, as Slots, and prepares a product.
    fn prepare(&mut self) -> Result<Ready, flashllmStatus_t> {
        self.prepare_as(RawFormat(3))
    }

    /// ROWS x COLS values compressed on the device: the matrix, and its buffer's address and size.
    fn compressed(
        &mut self,
        host: &[u16],
        format: RawFormat,
    ) -> Result<(flashllmSpMatDescr_t, *mut c_void, usize), flashllmStatus_t> {
        let h = self.handle();
        let a = self.malloc(ROWS * COLS * 2)?;
        // SAFETY: both are ROWS * COLS * 2 bytes; one is device memory.
        ok(unsafe {
            flashllmMemcpy(h, a, host.as_ptr().cast(), ROWS * COLS * 2, RawMemcpyKind(1))
        })?;
        let a = self.dense(ROWS, COLS, a);
        let s = self.sparse(format);
        let alg = RawDenseToSparseAlg(0);
        let mut scratch = 0;
        // SAFETY: live descriptors, a valid place.
        ok(unsafe { flashllmDenseToSparse_bufferSize(h, a, s, alg, &raw mut scratch) })?;
        let scratch = self.malloc(scratch)?;
        // SAFETY: live descriptors of device memory, a workspace of the size asked for.
        ok(unsafe { flashllmDenseToSparse_analysis(h, a, s, alg, scratch) })?;
        let (mut rows, mut cols, mut nnz, mut bytes) = (0, 0, 0, 0);
        // SAFETY: valid places.
        ok(unsafe {
            flashllmSpMatGetSize(s, &raw mut rows, &raw mut cols, &raw mut nnz, &raw mut bytes)
        })?;
        assert_eq!(nnz as usize, host.iter().filter(|&&v| v != 0).count());
        let buffer = self.malloc(bytes)?;
        // SAFETY: device memory of this size.
        ok(unsafe { flashllmSpMatSetBuffer(h, s, buffer, bytes) })?;
        // SAFETY: live descriptors of device memory, the workspace of the analysis.
        ok(unsafe { flashllmDenseToSparse_convert(h, a, s, alg, scratch) })?;
        ok(flashllmFree(h, scratch))?;
        Ok((s, buffer, bytes))
    }

    fn prepare_as(&mut self, format: RawFormat) -> Result<Ready, flashllmStatus_t> {
        self.handle = Some(create()?);
        let h = self.handle();
        let host = weights();
        let (s, buffer, bytes) = self.compressed(&host, format)?;

        // A second descriptor adopts the same bytes.
        let adopted = self.sparse(format);
        // SAFETY: device memory of this size.
        ok(unsafe { flashllmSpMatSetBuffer(h, adopted, buffer, bytes) })?;

        // And back again.
        let back = self.malloc(ROWS * COLS * 2)?;
        let target = self.dense(ROWS, COLS, back);
        // SAFETY: live descriptors of device memory.
        ok(unsafe {
            flashllmSparseToDense(h, adopted, target, RawSparseToDenseAlg(0), ptr::null_mut())
        })?;
        let mut read = vec![0_u16; ROWS * COLS];
        // SAFETY: both are ROWS * COLS * 2 bytes; one is device memory.
        ok(unsafe {
            flashllmMemcpy(h, read.as_mut_ptr().cast(), back, ROWS * COLS * 2, RawMemcpyKind(2))
        })?;
        assert_eq!(read, host, "the device round trip changed the weights");
        // SAFETY: device memory, both ROWS * COLS * 2 bytes.
        ok(unsafe { flashllmMemcpy(h, back, back, ROWS * COLS * 2, RawMemcpyKind(3)) })?;
        ok(flashllmFree(h, back))?;

        let b = self.malloc(COLS * N * 2)?;
        let b = self.dense(COLS, N, b);
        let c = self.malloc(ROWS * N * 2)?;
        let c = self.dense(ROWS, N, c);
        let (one, zero, mut need) = (1.0_f32, 0.0_f32, 0);
        // SAFETY: live descriptors, readable floats, a valid place.
        ok(unsafe {
            flashllmSpMM_bufferSize(
                h,
                NON_TRANSPOSE,
                NON_TRANSPOSE,
                (&raw const one).cast(),
                s,
                b,
                (&raw const zero).cast(),
                c,
                R_32F,
                RawSpMMAlg(0),
                &raw mut need,
            )
        })?;
        let workspace = self.malloc(need)?;
        Ok(Ready { sparse: adopted, b, c, workspace })
    }

    fn multiply(&self, r: &Ready, preprocess: bool) -> Result<(), flashllmStatus_t> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let function = if preprocess { flashllmSpMM_preprocess } else { flashllmSpMM };
        // SAFETY: live descriptors of device memory, readable floats, a workspace of the size asked for.
        ok(unsafe {
            function(
                self.handle(),
                NON_TRANSPOSE,
                NON_TRANSPOSE,
                (&raw const one).cast(),
                r.sparse,
                r.b,
                (&raw const zero).cast(),
                r.c,
                R_32F,
                RawSpMMAlg(0),
                r.workspace,
            )
        })
    }

    fn whole(&mut self) -> Result<(), flashllmStatus_t> {
        let ready = self.prepare()?;
        self.multiply(&ready, true)?;
        self.multiply(&ready, false)?;
        ok(flashllmSynchronize(self.handle()))
    }

    /// Destroys everything; every Destroy has to succeed, whatever happened before.
    fn end(self) {
        for d in &self.dense {
            assert_eq!(flashllmDestroyDnMat(*d), FLASHLLM_STATUS_SUCCESS);
        }
        for s in &self.sparse {
            assert_eq!(flashllmDestroySpMat(*s), FLASHLLM_STATUS_SUCCESS);
        }
        if let Some(h) = self.handle {
            assert_eq!(flashllmDestroy(h), FLASHLLM_STATUS_SUCCESS, "{}", message());
            assert_eq!(flashllmDestroy(h), FLASHLLM_STATUS_NOT_INITIALIZED);
        }
    }
}

/// The status that a call's result has to become.
fn expected(code: c_int) -> flashllmStatus_t {
    match code {
        2 => FLASHLLM_STATUS_ALLOC_FAILED,
        34 | 100 | 101 => FLASHLLM_STATUS_NO_DEVICE,
        201 | 709 => FLASHLLM_STATUS_WRONG_CONTEXT,
        209 | 218 | 222 => FLASHLLM_STATUS_ARCH_MISMATCH,
        700..=719 => FLASHLLM_STATUS_EXECUTION_FAILED,
        900..=908 => FLASHLLM_STATUS_NOT_SUPPORTED,
        _ => FLASHLLM_STATUS_DRIVER_ERROR,
    }
}

#[test]
fn create_names_what_the_driver_lacks() {
    with_driver("create_names_what_the_driver_lacks", None, |fake| {
        fake.nth("fake_set_driver_version", 11080);
        assert_eq!(create(), Err(FLASHLLM_STATUS_NOT_SUPPORTED));
        assert!(message().contains("CUDA 11.8, and CUDA 12.0 or later"), "{}", message());
        assert_eq!(driver_code(), 0);

        fake.reset();
        fake.nth("fake_set_device_count", 0);
        assert_eq!(create(), Err(FLASHLLM_STATUS_NO_DEVICE));
        assert!(message().contains("no CUDA device"), "{}", message());

        for (function, code) in [
            ("cuInit", 100),
            ("cuInit", 999),
            ("cuDriverGetVersion", 34),
            ("cuDeviceGetCount", 912),
        ] {
            fake.reset();
            fake.fail(function, 1, code);
            assert_eq!(create(), Err(expected(code)), "{function} {code}");
            assert!(message().contains(function), "{}", message());
            assert_eq!(driver_code(), code, "the code is the driver's own, not a folded one");
            assert!(fake.failed());
        }
        fake.assert_nothing_alive("after Create failed");
    });
}

#[cfg(no_kernels)]
#[test]
fn create_says_that_there_are_no_kernels() {
    with_driver("create_says_that_there_are_no_kernels", None, |fake| {
        assert_eq!(create(), Err(FLASHLLM_STATUS_NOT_SUPPORTED));
        assert!(message().contains("built without GPU kernels"), "{}", message());
        assert!(fake.current().is_null());
        fake.assert_nothing_alive("after Create");
    });
}

#[cfg(not(no_kernels))]
mod with_kernels {
    use super::*;

    fn test(name: &str, body: impl FnOnce(&Fake)) {
        with_driver(&format!("with_kernels::{name}"), None, body);
    }

    #[test]
    fn spmm_allocates_waits_and_loads_nothing() {
        test("spmm_allocates_waits_and_loads_nothing", |fake| {
            let mut program = Program::default();
            let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            program.multiply(&ready, true).unwrap();
            fake.reset();
            for _ in 0..3 {
                program.multiply(&ready, false).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            }
            let counts = fake.counts();
            let count = |name: &str| counts.get(name).copied().unwrap_or(0);
            assert!(count("cuLaunchKernel") + count("cuLaunchKernelEx") >= 3, "{counts:?}");
            assert_eq!(count("cuCtxPushCurrent_v2"), count("cuCtxPopCurrent_v2"), "{counts:?}");
            const COMPUTE: [&str; 7] = [
                "cuLaunchKernel",
                "cuLaunchKernelEx",
                "cuCtxGetCurrent",
                "cuCtxPushCurrent_v2",
                "cuCtxPopCurrent_v2",
                "cuMemsetD8Async",
                "cuMemsetD32Async",
            ];
            for name in counts.keys() {
                assert!(COMPUTE.contains(&name.as_str()), "SpMM calls {name}: {counts:?}");
            }
            // The preparation asks whether the stream is capturing, and no more.
            fake.reset();
            program.multiply(&ready, true).unwrap();
            let mut counts = fake.counts();
            assert_eq!(counts.remove("cuStreamIsCapturing"), Some(1), "{counts:?}");
            assert!(counts.keys().all(|name| name.starts_with("cuCtx")), "{counts:?}");
            program.end();
            fake.assert_nothing_alive("at the end");
        });
    }

    #[test]
    fn the_callers_context_is_bound_and_never_changed() {
        test("the_callers_context_is_bound_and_never_changed", |fake| {
            let mine = fake.nth("fake_context", 0);
            let other = fake.nth("fake_context", 1);
            // None, then the handle's own, then a foreign one is current while the library works.
            for (bind, at_work) in [
                (ptr::null_mut(), ptr::null_mut()),
                (ptr::null_mut(), other),
                (mine, mine),
                (mine, other),
                (mine, ptr::null_mut()),
            ] {
                fake.reset();
                fake.set_current(bind);
                let mut program = Program::default();
                let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
                assert_eq!(fake.current(), bind);
                assert_eq!(fake.get("fake_primary_references"), c_int::from(bind.is_null()));
                fake.set_current(at_work);
                program.multiply(&ready, false).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
                assert_eq!(flashllmSynchronize(program.handle()), FLASHLLM_STATUS_SUCCESS);
                assert_eq!(fake.current(), at_work);
                program.end();
                assert_eq!(fake.current(), at_work);
                let counts = fake.counts();
                assert_eq!(counts.get("cuCtxPushCurrent_v2"), counts.get("cuCtxPopCurrent_v2"));
                if bind == mine && at_work == mine {
                    assert_eq!(
                        counts.get("cuCtxPushCurrent_v2"),
                        None,
                        "no push where none is needed"
                    );
                }
                assert_eq!(fake.get("fake_depth"), c_int::from(!at_work.is_null()));
                fake.assert_nothing_alive("at the end");
            }
        });
    }

    #[test]
    fn a_handle_outlives_the_context_that_it_was_bound_to() {
        test("a_handle_outlives_the_context_that_it_was_bound_to", |fake| {
            let mine = fake.nth("fake_context", 0);
            fake.set_current(mine);
            let mut program = Program::default();
            let ready = program.prepare().unwrap();
            fake.set_current(ptr::null_mut());
            fake.nth("fake_kill_context", 0);
            assert_eq!(program.multiply(&ready, false), Err(FLASHLLM_STATUS_WRONG_CONTEXT));
            assert!(message().contains("cuCtxPushCurrent"), "{}", message());
            assert!(fake.current().is_null());
            program.end();
            assert!(fake.current().is_null());
        });
    }

    #[test]
    fn every_failing_driver_call_is_mapped_and_leaks_nothing() {
        test("every_failing_driver_call_is_mapped_and_leaks_nothing", |fake| {
            // What a healthy run calls, and how often.
            let mut program = Program::default();
            program.whole().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            let before_end = fake.counts();
            program.end();
            assert!(before_end.len() > 20, "{before_end:?}");
            let mine = fake.nth("fake_context", 0);
            let mut runs = 0;
            for (function, &calls) in &before_end {
                for nth in 1..=calls {
                    // 912 and 4321 are newer than cust's list, 1 and 2 are plain, 700 is the device's.
                    for code in [1, 2, 201, 700, 912, 4321] {
                        // With and without a context of the caller.
                        for current in [ptr::null_mut(), mine] {
                            fake.clear();
                            fake.reset();
                            fake.nth("fake_context", 0);
                            fake.set_current(current);
                            fake.fail(function, nth, code);
                            let what = format!("{function} #{nth} giving {code}");
                            let mut program = Program::default();
                            let result = program.whole();
                            let fired = fake.failed();
                            // cuModuleGetFunction's "not found" is code 500, which is not in the list.
                            match result {
                                Err(status) => {
                                    assert!(fired, "{what}: {status:?} {}", message());
                                    assert_eq!(status, expected(code), "{what}: {}", message());
                                    assert_eq!(driver_code(), code, "{what}: {}", message());
                                    let text = message();
                                    let stem =
                                        function.trim_end_matches("_v2").trim_end_matches("Ex");
                                    assert!(text.contains(stem), "{what}: {text}");
                                }
                                // Giving things back has nobody to report to.
                                Ok(()) => assert!(
                                    !fired
                                        || function == "cuCtxPopCurrent_v2"
                                        || function == "cuThreadExchangeStreamCaptureMode"
                                            && nth == 2,
                                    "{what} went unnoticed"
                                ),
                            }
                            if function == "cuCtxPopCurrent_v2" && fired {
                                // The fake refused to pop, so the stack is one too high: the driver's doing.
                                fake.set_current(current);
                            }
                            assert_eq!(fake.current(), current, "{what}");
                            program.end();
                            fake.assert_nothing_alive(&what);
                            assert_eq!(fake.current(), current, "{what}");
                            runs += 1;
                        }
                    }
                }
            }
            assert!(runs > 500, "{runs}");
        });
    }

    #[test]
    fn destroy_succeeds_whatever_the_driver_says() {
        test("destroy_succeeds_whatever_the_driver_says", |fake| {
            for function in [
                "cuMemFree_v2",
                "cuModuleUnload",
                "cuThreadExchangeStreamCaptureMode",
                "cuDevicePrimaryCtxRelease_v2",
                "cuCtxPushCurrent_v2",
                "cuCtxPopCurrent_v2",
                "cuCtxGetCurrent",
            ] {
                fake.clear();
                fake.reset();
                let mut program = Program::default();
                program.whole().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
                fake.fail(function, 1, 719);
                program.end();
                assert!(fake.failed(), "{function} was not called by Destroy");
                if function != "cuDevicePrimaryCtxRelease_v2" {
                    assert_eq!(fake.get("fake_primary_references"), 0, "{function}");
                }
            }
        });
    }

    #[test]
    fn a_capturing_stream_takes_products_and_nothing_that_waits() {
        test("a_capturing_stream_takes_products_and_nothing_that_waits", |fake| {
            let mut program = Program::default();
            let ready = program.prepare().unwrap();
            let h = program.handle();
            let stream = fake.stream(0, ptr::null_mut());
            assert_eq!(flashllmSetStream(h, stream.cast()), FLASHLLM_STATUS_SUCCESS);
            fake.set_capturing(stream, 1);

            let (mut p, mut word) = (ptr::null_mut(), 0_u32);
            let to = (&raw mut word).cast::<c_void>();
            let spare = program.sparse(RawFormat(2));
            let alg = RawDenseToSparseAlg(0);
            let first = program.dense[0];
            // Nothing looks at what is there.
            let aligned = ptr::without_provenance_mut(256);
            // SAFETY: live descriptors, valid places.
            let refused = unsafe {
                [
                    flashllmMalloc(h, &raw mut p, 64),
                    flashllmFree(h, ready.workspace),
                    flashllmMemcpy(h, to, to, 4, RawMemcpyKind(0)),
                    flashllmSynchronize(h),
                    flashllmDenseToSparse_analysis(h, first, spare, alg, aligned),
                    flashllmSpMatSetBuffer(h, spare, aligned, 512),
                ]
            };
            // A product without a workspace has nothing to free, so NULL was freed successfully.
            for (i, status) in refused.into_iter().enumerate() {
                let nothing_to_do = i == 1 && ready.workspace.is_null();
                let want = if nothing_to_do {
                    FLASHLLM_STATUS_SUCCESS
                } else {
                    FLASHLLM_STATUS_NOT_SUPPORTED
                };
                assert_eq!(status, want, "call {i}: {}", message());
            }
            assert_eq!(program.multiply(&ready, true), Err(FLASHLLM_STATUS_NOT_SUPPORTED));
            assert!(message().contains("make it before the capture begins"), "{}", message());
            fake.reset();
            program.multiply(&ready, false).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            let unpack = RawSparseToDenseAlg(0);
            // SAFETY: live descriptors of device memory.
            ok(unsafe { flashllmSparseToDense(h, ready.sparse, first, unpack, ptr::null_mut()) })
                .unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            assert_eq!(fake.pointer("fake_last_stream", ptr::null_mut()), stream);
            assert_eq!(
                fake.pointer("fake_capturing", stream).addr() as c_int,
                1,
                "the capture is spoilt"
            );
            fake.set_capturing(stream, 0);
            assert_eq!(flashllmSynchronize(h), FLASHLLM_STATUS_SUCCESS);
            program.end();
            fake.assert_nothing_alive("at the end");
        });
    }

    #[test]
    fn handles_come_and_go_beside_a_capture_that_the_driver_does_not_tell_of() {
        let name = "handles_come_and_go_beside_a_capture_that_the_driver_does_not_tell_of";
        test(name, |fake| {
            let stream = fake.stream(0, ptr::null_mut());
            fake.set_capturing(stream, 1);
            // And one of another context, which is none of this one's business.
            let other = fake.stream(1, fake.nth("fake_context", 1));
            fake.pointer("fake_set_blocking", other);
            fake.set_capturing(other, 1);
            let h = create().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            assert_eq!(flashllmDestroy(h), FLASHLLM_STATUS_SUCCESS);
            let state = |name, stream| fake.pointer(name, stream).addr() as c_int;
            assert_eq!(state("fake_capturing", stream), 1, "the capture is spoilt");
            assert_eq!(state("fake_capturing", other), 1, "the other context's capture is spoilt");
            assert_eq!(state("fake_capture_mode", stream), 0, "the thread's mode was not restored");
            for stream in [stream, other] {
                fake.set_capturing(stream, 0);
            }
            fake.assert_nothing_alive("at the end");
        });
    }

    #[test]
    fn create_is_refused_while_a_blocking_stream_is_captured() {
        test("create_is_refused_while_a_blocking_stream_is_captured", |fake| {
            let mine = fake.nth("fake_context", 0);
            for context in [ptr::null_mut(), mine] {
                fake.clear();
                fake.reset();
                fake.nth("fake_context", 0);
                fake.set_current(context);
                let stream = fake.stream(0, context);
                fake.pointer("fake_set_blocking", stream);
                fake.set_capturing(stream, 1);
                assert_eq!(create(), Err(FLASHLLM_STATUS_NOT_SUPPORTED));
                for word in ["blocking stream", "before the capture", "CU_STREAM_NON_BLOCKING"] {
                    assert!(message().contains(word), "{}", message());
                }
                let state = |name| fake.pointer(name, stream).addr() as c_int;
                assert_eq!(state("fake_capturing"), 1, "the capture is spoilt");
                assert_eq!(state("fake_capture_mode"), 0, "the thread's mode was not restored");
                let counts = fake.counts();
                assert_eq!(counts.get("cuModuleLoadDataEx"), None, "{counts:?}");
                assert_eq!(fake.current(), context);
                fake.assert_nothing_alive("after Create was refused");

                // What the sentence says helps.
                fake.set_capturing(stream, 0);
                let h = create().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
                // The handle has no stream of its own yet: its default stream is the legacy one.
                fake.set_capturing(stream, 1);
                assert_eq!(flashllmSynchronize(h), FLASHLLM_STATUS_NOT_SUPPORTED);
                assert!(message().contains("before the capture"), "{}", message());
                assert_eq!(state("fake_capturing"), 1, "the capture is spoilt");
                assert_eq!(flashllmDestroy(h), FLASHLLM_STATUS_SUCCESS);
                assert_eq!(state("fake_capturing"), 1, "the capture is spoilt");
                fake.set_capturing(stream, 0);
                fake.assert_nothing_alive("at the end");
            }
        });
    }

    #[test]
    fn streams_and_buffers_of_another_context_are_refused() {
        test("streams_and_buffers_of_another_context_are_refused", |fake| {
            let (one, two) = (fake.nth("fake_context", 0), fake.nth("fake_context", 1));
            fake.set_current(one);
            let mut first = Program::default();
            let ready = first.prepare().unwrap();
            fake.set_current(two);
            let mut second = Program { handle: Some(create().unwrap()), ..Program::default() };
            let foreign = fake.stream(0, one);
            assert_eq!(
                flashllmSetStream(second.handle(), foreign.cast()),
                FLASHLLM_STATUS_WRONG_CONTEXT
            );
            let mut stream = ptr::without_provenance_mut(1);
            // SAFETY: a valid place for a stream.
            let status = unsafe { flashllmGetStream(second.handle(), &raw mut stream) };
            assert_eq!((status, stream), (FLASHLLM_STATUS_SUCCESS, ptr::null_mut()));
            assert_eq!(second.multiply(&ready, false), Err(FLASHLLM_STATUS_WRONG_CONTEXT));
            // The legacy and the per-thread stream belong to every context.
            for special in [1, 2] {
                let stream = ptr::without_provenance_mut(special);
                assert_eq!(flashllmSetStream(second.handle(), stream), FLASHLLM_STATUS_SUCCESS);
            }

            // Memory of one handle is not another one's, and host handles take no device buffers.
            let p = first.malloc(64).unwrap();
            assert_eq!(flashllmFree(second.handle(), p), FLASHLLM_STATUS_INVALID_VALUE);
            assert_eq!(flashllmFree(first.handle(), p), FLASHLLM_STATUS_SUCCESS);
            assert_eq!(flashllmFree(first.handle(), p), FLASHLLM_STATUS_INVALID_VALUE);
            let mut host = ptr::null_mut();
            // SAFETY: a valid place for a handle.
            assert_eq!(unsafe { flashllmCreateHost(&raw mut host) }, FLASHLLM_STATUS_SUCCESS);
            let on_host = Program { handle: Some(host), ..Program::default() };
            assert_eq!(on_host.multiply(&ready, false), Err(FLASHLLM_STATUS_INVALID_VALUE));
            assert!(message().contains("CUDA handle"), "{}", message());
            let mut values = vec![0_u16; ROWS * COLS];
            let mut on_host = on_host;
            let dense = on_host.dense(ROWS, COLS, values.as_mut_ptr().cast());
            let (unpack, pack) = (RawSparseToDenseAlg(0), RawDenseToSparseAlg(0));
            let spare = on_host.sparse(RawFormat(2));
            let mut room = vec![0_u8; 1 << 16];
            let aligned = room.as_ptr().align_offset(256);
            let room = room[aligned..].as_mut_ptr().cast::<c_void>();
            // SAFETY: live descriptors; `room` holds far more than the compressed matrix.
            unsafe {
                // Device data for a host handle.
                let status =
                    flashllmSparseToDense(host, ready.sparse, dense, unpack, ptr::null_mut());
                assert_eq!(status, FLASHLLM_STATUS_INVALID_VALUE, "{}", message());
                let device = first.malloc(1 << 15).unwrap();
                ok(flashllmDenseToSparse_analysis(host, dense, spare, pack, ptr::null_mut()))
                    .unwrap();
                ok(flashllmSpMatSetBuffer(first.handle(), spare, device, 1 << 15)).unwrap();
                let status =
                    flashllmDenseToSparse_convert(host, dense, spare, pack, ptr::null_mut());
                assert_eq!(status, FLASHLLM_STATUS_INVALID_VALUE, "{}", message());
                // Host data for a CUDA handle.
                ok(flashllmSpMatSetBuffer(host, spare, room, 1 << 15)).unwrap();
                let d = first.dense[0];
                let aligned = ptr::without_provenance_mut(256);
                let status = flashllmDenseToSparse_convert(first.handle(), d, spare, pack, aligned);
                assert_eq!(status, FLASHLLM_STATUS_INVALID_VALUE, "{}", message());
                ok(flashllmDenseToSparse_convert(host, dense, spare, pack, ptr::null_mut()))
                    .unwrap();
                let status =
                    flashllmSparseToDense(first.handle(), spare, d, unpack, ptr::null_mut());
                assert_eq!(status, FLASHLLM_STATUS_INVALID_VALUE, "{}", message());
                // And of one context for another.
                let status = flashllmSparseToDense(
                    second.handle(),
                    ready.sparse,
                    d,
                    unpack,
                    ptr::null_mut(),
                );
                assert_eq!(status, FLASHLLM_STATUS_WRONG_CONTEXT, "{}", message());
            }
            assert!(message().contains("another CUDA context"), "{}", message());
            let product = Ready { sparse: spare, ..ready };
            assert_eq!(first.multiply(&product, false), Err(FLASHLLM_STATUS_INVALID_VALUE));
            on_host.end();
            second.dense.clear();
            second.end();
            first.end();
            fake.assert_nothing_alive("at the end");
        });
    }

    #[test]
    fn too_much_memory_is_a_status_and_the_handle_lives_on() {
        test("too_much_memory_is_a_status_and_the_handle_lives_on", |fake| {
            let program = Program { handle: Some(create().unwrap()), ..Program::default() };
            for bytes in [1 << 40, isize::MAX as usize, usize::MAX] {
                assert_eq!(program.malloc(bytes), Err(FLASHLLM_STATUS_ALLOC_FAILED), "{bytes}");
            }
            assert_eq!(program.malloc(0), Ok(ptr::null_mut()));
            assert!(program.malloc(64).is_ok());
            // Destroy frees what the program did not.
            program.end();
            fake.assert_nothing_alive("at the end");
        });
    }

    #[test]
    fn an_old_device_is_refused() {
        test("an_old_device_is_refused", |fake| {
            fake.set_attribute(75, 7);
            fake.set_attribute(76, 5);
            assert_eq!(create(), Err(FLASHLLM_STATUS_ARCH_MISMATCH));
            assert!(message().contains("compute capability 7.5"), "{}", message());
            fake.assert_nothing_alive("after Create failed");
            assert!(fake.current().is_null());
        });
    }

    #[test]
    fn every_supported_device_loads_its_kernels() {
        test("every_supported_device_loads_its_kernels", |fake| {
            // Ampere with two sizes of shared memory, Ada, Hopper, and what came later.
            for (major, minor, optin) in [
                (8, 0, 166_912),
                (8, 6, 101_376),
                (8, 9, 101_376),
                (9, 0, 232_448),
                (10, 0, 232_448),
                (12, 0, 101_376),
            ] {
                fake.clear();
                fake.reset();
                fake.set_attribute(75, major);
                fake.set_attribute(76, minor);
                fake.set_attribute(97, optin);
                let mut program = Program::default();
                program.whole().unwrap_or_else(|s| panic!("{major}.{minor}: {s:?} {}", message()));
                program.end();
                fake.assert_nothing_alive("at the end");
            }
        });
    }

    #[test]
    fn a_driver_without_an_entry_point_is_a_status() {
        let absent = Some("cuFuncGetAttribute");
        with_driver("with_kernels::a_driver_without_an_entry_point_is_a_status", absent, |fake| {
            assert_eq!(create(), Err(FLASHLLM_STATUS_DRIVER_ERROR));
            assert!(message().contains("cuFuncGetAttribute"), "{}", message());
            assert_eq!(driver_code(), 500);
            fake.assert_nothing_alive("after Create failed");
            assert!(fake.current().is_null());
        });
    }

    #[test]
    fn handles_work_from_many_threads() {
        test("handles_work_from_many_threads", |fake| {
            let mut program = Program::default();
            let ready = program.prepare().unwrap();
            let (handle, sparse, b, c, w) = (
                program.handle().addr(),
                ready.sparse.addr(),
                ready.b.addr(),
                ready.c.addr(),
                ready.workspace.addr(),
            );
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(move || {
                        let mine = Program {
                            handle: Some(ptr::without_provenance_mut(handle)),
                            ..Program::default()
                        };
                        let ready = Ready {
                            sparse: ptr::without_provenance_mut(sparse),
                            b: ptr::without_provenance_mut(b),
                            c: ptr::without_provenance_mut(c),
                            workspace: ptr::without_provenance_mut(w),
                        };
                        for _ in 0..200 {
                            mine.multiply(&ready, false).unwrap();
                            let p = mine.malloc(256).unwrap();
                            assert_eq!(flashllmFree(mine.handle(), p), FLASHLLM_STATUS_SUCCESS);
                        }
                    });
                }
            });
            program.end();
            fake.assert_nothing_alive("at the end");
        });
    }
}
