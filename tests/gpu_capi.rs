//! The C API on a device handle: conversion, streams, graphs, contexts, hostile bytes. Fails where
//! there is no GPU.
//!
//! `FLASHLLM_GPU_TESTS_SMALL=1`: small sizes only, for compute-sanitizer.

mod support;

use half::f16;
use support::api::{self, DnMat, Handle, SpMat, Spmm};
use support::driver::{CAPTURE_GLOBAL, CAPTURE_RELAXED, CAPTURE_THREAD_LOCAL, Driver};
use support::{GuardedWorkspace, Placed, Rng, compress_to_device, device, small};

const STATUS_NOT_SUPPORTED: i32 = 10;
const STATUS_NULL_POINTER: i32 = 100;
const STATUS_CORRUPT_DATA: i32 = 102;
const STATUS_MISALIGNED: i32 = 103;
const STATUS_VERSION_MISMATCH: i32 = 106;

fn driver() -> Driver {
    Driver::load().unwrap_or_else(|e| panic!("the GPU tests need a GPU: {e}"))
}

fn random_weights(m: usize, k: usize, keep_percent: usize, seed: u64) -> Vec<u16> {
    let mut rng = Rng(seed);
    let mut value = || {
        let value = f16::from_f64(rng.normal()).to_bits();
        if rng.below(100) < keep_percent { value } else { 0 }
    };
    (0..m * k).map(|_| value()).collect()
}

/// Everything one multiplication needs, kept alive together.
struct Setup<'h> {
    handle: &'h Handle,
    matrix: SpMat,
    _compressed: api::Buffer<'h>,
    _b: api::Buffer<'h>,
    c: api::Buffer<'h>,
    b_descr: DnMat,
    c_descr: DnMat,
    workspace: GuardedWorkspace<'h>,
    m: usize,
    n: usize,
}

impl<'h> Setup<'h> {
    fn new(handle: &'h Handle, format: i32, m: usize, k: usize, n: usize, seed: u64) -> Self {
        let host = Handle::host().unwrap();
        let (matrix, compressed) =
            compress_to_device(&host, handle, m, k, &random_weights(m, k, 30, seed), format);
        let b = handle.upload(&random_weights(k, n, 100, seed + 1)).unwrap();
        let c = handle.upload(&vec![f32::NAN; m * n]).unwrap();
        let b_descr = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).unwrap();
        let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
        let bytes = Spmm {
            handle,
            op_b: api::NON_TRANSPOSE,
            alpha: 1.0,
            a: &matrix,
            b: &b_descr,
            beta: 0.0,
            c: &c_descr,
        }
        .workspace_bytes()
        .unwrap();
        let workspace = GuardedWorkspace::new(handle, bytes);
        Self {
            handle,
            matrix,
            _compressed: compressed,
            _b: b,
            c,
            b_descr,
            c_descr,
            workspace,
            m,
            n,
        }
    }

    fn call(&self) -> Spmm<'_> {
        Spmm {
            handle: self.handle,
            op_b: api::NON_TRANSPOSE,
            alpha: 1.0,
            a: &self.matrix,
            b: &self.b_descr,
            beta: 0.0,
            c: &self.c_descr,
        }
    }

    fn preprocess(&self) {
        self.call().preprocess(self.workspace.pointer()).unwrap();
    }

    fn run(&self) {
        self.call().run(self.workspace.pointer()).unwrap();
    }

    fn poison(&self) {
        self.c.write(0, &vec![f32::NAN; self.m * self.n]).unwrap();
    }

    fn result(&self) -> Vec<u32> {
        self.handle.synchronize().unwrap();
        self.workspace.check("workspace");
        self.c.read(0, self.m * self.n).unwrap()
    }
}

#[test]
fn device_and_host_compress_to_the_same_bytes_and_back() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let shapes: &[(usize, usize)] =
        if small() { &[(33, 70)] } else { &[(1, 1), (33, 70), (128, 512), (517, 1031)] };
    for &(m, k) in shapes {
        for order in [api::ORDER_ROW, api::ORDER_COL] {
            for format in api::FORMATS.into_iter().chain([api::FORMAT_AUTO]) {
                let place = Placed::new(m, k, 5, order);
                let values = random_weights(m, k, 25, (m + k) as u64);
                let mut dense = vec![0xfe00u16; place.extent()];
                for row in 0..m {
                    for col in 0..k {
                        dense[place.index(row, col)] = values[row * k + col];
                    }
                }
                let on_device = handle.upload(&dense).unwrap();
                let (a, a_buffer) =
                    SpMat::compress(&handle, m, k, place.ld, order, on_device.pointer(), format)
                        .unwrap();
                let (b, b_buffer) = SpMat::compress(
                    &host,
                    m,
                    k,
                    place.ld,
                    order,
                    dense.as_mut_ptr().cast(),
                    format,
                )
                .unwrap();
                assert_eq!(a.size().unwrap(), b.size().unwrap());
                assert_eq!(a.format().unwrap(), b.format().unwrap());
                let bytes = a_buffer.bytes();
                assert!(
                    a_buffer.read::<u8>(0, bytes).unwrap()
                        == b_buffer.read::<u8>(0, bytes).unwrap(),
                    "M={m} K={k} format {format} order {order}: the bytes differ"
                );

                let back = handle.upload(&vec![0xfe00u16; place.extent()]).unwrap();
                let target = DnMat::new(m, k, place.ld, back.pointer(), api::R_16F, order).unwrap();
                a.decompress(&handle, &target).unwrap();
                // Minus zero comes back as zero; the padding between columns stays NaN.
                let want: Vec<u16> =
                    dense.iter().map(|&v| if v & 0x7fff == 0 { 0 } else { v }).collect();
                assert!(
                    back.read::<u16>(0, dense.len()).unwrap() == want,
                    "M={m} K={k} format {format} order {order}"
                );
            }
        }
    }
}

#[test]
fn two_streams_do_not_disturb_each_other() {
    let driver = driver();
    let (first, second) = (driver.stream().unwrap(), driver.stream().unwrap());
    let handle = device();
    let (m, k) = if small() { (64, 256) } else { (2048, 4096) };
    for format in api::FORMATS {
        let (a, b) =
            (Setup::new(&handle, format, m, k, 16, 1), Setup::new(&handle, format, m, k, 8, 2));
        a.preprocess();
        b.preprocess();
        a.run();
        let a_alone = a.result();
        b.run();
        let b_alone = b.result();
        assert!(a_alone.iter().chain(&b_alone).all(|&bits| f32::from_bits(bits).is_finite()));
        a.poison();
        b.poison();
        // One handle, the stream changed between calls: each call belongs to the stream it was given.
        for _ in 0..10 {
            handle.set_stream(first.raw()).unwrap();
            a.run();
            handle.set_stream(second.raw()).unwrap();
            b.run();
        }
        first.synchronize().unwrap();
        second.synchronize().unwrap();
        assert!(a.result() == a_alone, "format {format}: the first stream's result changed");
        assert!(b.result() == b_alone, "format {format}: the second stream's result changed");
        handle.set_stream(std::ptr::null_mut()).unwrap();
    }
}

#[test]
fn two_threads_with_a_handle_each_get_right_results() {
    let expected: Vec<_> = [3, 4]
        .map(|seed| {
            let handle = device();
            let setup = Setup::new(&handle, api::FORMAT_BITMAP, 200, 1000, 16, seed);
            setup.preprocess();
            setup.run();
            setup.result()
        })
        .into();
    std::thread::scope(|scope| {
        for (seed, expected) in [3, 4].into_iter().zip(&expected) {
            scope.spawn(move || {
                let handle = device();
                let setup = Setup::new(&handle, api::FORMAT_BITMAP, 200, 1000, 16, seed);
                setup.preprocess();
                for _ in 0..if small() { 3 } else { 20 } {
                    setup.poison();
                    setup.run();
                    assert!(&setup.result() == expected, "thread with seed {seed}");
                }
            });
        }
    });
}

#[test]
fn a_captured_graph_replays_the_multiplication() {
    let driver = driver();
    let stream = driver.stream().unwrap();
    let handle = device();
    handle.set_stream(stream.raw()).unwrap();
    for format in api::FORMATS {
        for n in [1, 16, 100] {
            let setup = Setup::new(&handle, format, 150, 2000, n, 5);
            setup.preprocess();
            setup.run();
            let direct = setup.result();

            stream.begin_capture().unwrap();
            setup.run();
            let graph = stream.end_capture().unwrap();
            setup.poison();
            for _ in 0..3 {
                graph.launch(&stream).unwrap();
            }
            stream.synchronize().unwrap();
            assert!(setup.result() == direct, "format {format} N={n}: the replay differs");
        }
    }
}

#[test]
fn an_analysis_is_refused_while_the_stream_is_capturing() {
    let driver = driver();
    let stream = driver.stream().unwrap();
    let handle = device();
    let (m, k) = (64, 64);
    let dense = handle.upload(&random_weights(m, k, 50, 1)).unwrap();
    let source = DnMat::new(m, k, k, dense.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
    let matrix = SpMat::new(m, k, api::FORMAT_BITMAP).unwrap();
    let scratch = handle.alloc(matrix.compress_scratch_bytes(&handle, &source).unwrap()).unwrap();
    handle.set_stream(stream.raw()).unwrap();

    stream.begin_capture().unwrap();
    let refused = matrix.analyse(&handle, &source, &scratch).err().map(|e| e.status);
    // A refusal must leave the caller's capture intact.
    let graph = stream.end_capture();
    assert_eq!(refused, Some(STATUS_NOT_SUPPORTED));
    assert!(graph.is_ok(), "the refused call broke the capture: {:?}", graph.err());
}

/// Creating a handle loads all kernels, which takes a sanitizer seconds: the strictest mode has to do for it.
fn capture_modes() -> &'static [i32] {
    let all = &[CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, CAPTURE_RELAXED];
    if small() { &all[..1] } else { all }
}

/// Nothing is known of a capture but what the driver tells: a blocking stream's shows, and what belongs before it is
/// refused. The capture goes on.
#[test]
fn create_and_preprocess_are_refused_while_a_blocking_stream_is_captured() {
    let driver = driver();
    let stream = driver.blocking_stream().unwrap();
    let handle = device();
    handle.set_stream(stream.raw()).unwrap();
    let setup = Setup::new(&handle, api::FORMAT_SLOTS, 150, 2000, 16, 7);
    setup.preprocess();
    setup.run();
    let direct = setup.result();
    for &mode in capture_modes() {
        setup.poison();
        stream.begin_capture_as(mode).unwrap();
        let early = Handle::device().err();
        setup.run();
        let late = Handle::device().err();
        let preprocess = setup.call().preprocess(setup.workspace.pointer()).err();
        let graph = stream.end_capture();
        let graph = graph.unwrap_or_else(|e| panic!("mode {mode}: the capture is spoilt: {e}"));
        for refused in [early, late] {
            let refused = refused.unwrap_or_else(|| panic!("mode {mode}: Create did not refuse"));
            assert_eq!(refused.status, STATUS_NOT_SUPPORTED, "mode {mode}: {refused}");
            let text = refused.to_string();
            assert!(text.contains("before the capture begins"), "mode {mode}: {text}");
        }
        assert_eq!(preprocess.map(|e| e.status), Some(STATUS_NOT_SUPPORTED), "mode {mode}");
        graph.launch(&stream).unwrap();
        assert!(setup.result() == direct, "mode {mode}: the replay differs");
        // And after the capture everything is as before.
        drop(device());
        setup.preprocess();
    }
}

#[test]
fn handles_come_and_go_while_a_stream_that_is_not_blocking_is_captured() {
    let driver = driver();
    let stream = driver.stream().unwrap();
    let handle = device();
    handle.set_stream(stream.raw()).unwrap();
    let setup = Setup::new(&handle, api::FORMAT_BITMAP, 150, 2000, 16, 8);
    setup.run();
    let direct = setup.result();
    for &mode in capture_modes() {
        setup.poison();
        stream.begin_capture_as(mode).unwrap();
        let created = Handle::device().map(drop);
        setup.run();
        let again = Handle::device().map(drop);
        let graph = stream.end_capture();
        let graph = graph.unwrap_or_else(|e| panic!("mode {mode}: the capture is spoilt: {e}"));
        created.and(again).unwrap_or_else(|e| panic!("mode {mode}: {e}"));
        graph.launch(&stream).unwrap();
        assert!(setup.result() == direct, "mode {mode}: the replay differs");
    }
}

/// While one thread captures in the strictest mode, another one makes a handle, multiplies and destroys it.
#[test]
fn another_threads_handles_and_products_leave_a_capture_as_it_is() {
    let (ready, wait_ready) = std::sync::mpsc::channel::<()>();
    let (begun, wait_begun) = std::sync::mpsc::channel::<()>();
    let (done, wait_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let driver = driver();
            let stream = driver.stream().unwrap();
            let handle = device();
            let setup = Setup::new(&handle, api::FORMAT_SLOTS, 200, 1000, 16, 10);
            setup.run();
            let alone = setup.result();
            setup.poison();
            ready.send(()).unwrap();
            wait_begun.recv().unwrap();
            for _ in 0..if small() { 1 } else { 3 } {
                // In this thread's own mode, which is the strictest: the library relaxes what it has to.
                let mine = device();
                mine.set_stream(stream.raw()).unwrap();
                Spmm { handle: &mine, ..setup.call() }.run(setup.workspace.pointer()).unwrap();
                // A wait is this test's: a handle may go when its work is done.
                let strict = driver.exchange_capture_mode(CAPTURE_RELAXED).unwrap();
                stream.synchronize().unwrap();
                driver.exchange_capture_mode(strict).unwrap();
                drop(mine);
            }
            done.send(()).unwrap();
            // Copies wait, too: the other thread's capture is over when this is read.
            wait_begun.recv().unwrap();
            assert!(setup.result() == alone, "the other thread's product differs");
        });
        let driver = driver();
        let stream = driver.stream().unwrap();
        let handle = device();
        handle.set_stream(stream.raw()).unwrap();
        let setup = Setup::new(&handle, api::FORMAT_BITMAP, 150, 2000, 16, 9);
        setup.run();
        let direct = setup.result();
        setup.poison();
        wait_ready.recv().unwrap();
        stream.begin_capture_as(CAPTURE_GLOBAL).unwrap();
        setup.run();
        begun.send(()).unwrap();
        let other = wait_done.recv();
        setup.run();
        let graph = stream.end_capture();
        other.expect("the other thread has failed");
        let graph = graph.unwrap_or_else(|e| panic!("the capture is spoilt: {e}"));
        begun.send(()).unwrap();
        graph.launch(&stream).unwrap();
        assert!(setup.result() == direct, "the replay differs");
    });
}

#[test]
fn a_captured_graph_replays_conversions_of_new_values() {
    let driver = driver();
    let stream = driver.stream().unwrap();
    let handle = device();
    handle.set_stream(stream.raw()).unwrap();
    let (m, k) = (100, 700);
    let values = random_weights(m, k, 50, 1);
    for format in api::FORMATS {
        let dense = handle.upload(&values).unwrap();
        let source = DnMat::new(m, k, k, dense.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
        let back = handle.upload(&vec![0u16; m * k]).unwrap();
        let target = DnMat::new(m, k, k, back.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
        let matrix = SpMat::new(m, k, format).unwrap();
        let scratch =
            handle.alloc(matrix.compress_scratch_bytes(&handle, &source).unwrap()).unwrap();
        matrix.analyse(&handle, &source, &scratch).unwrap();
        let buffer = handle.alloc(matrix.size().unwrap().bytes).unwrap();
        matrix.set_buffer(&handle, &buffer).unwrap();

        stream.begin_capture().unwrap();
        matrix.convert(&handle, &source, &scratch).unwrap();
        matrix.start_decompress(&handle, &target).unwrap();
        let graph = stream.end_capture().unwrap();
        // The same pattern with other values.
        let new: Vec<u16> =
            values.iter().map(|&v| if v == 0 { 0 } else { v ^ 0x8001 | 2 }).collect();
        dense.write(0, &new).unwrap();
        for _ in 0..2 {
            graph.launch(&stream).unwrap();
        }
        stream.synchronize().unwrap();
        assert!(back.read::<u16>(0, m * k).unwrap() == new, "format {format}: the replay differs");
    }
}

#[test]
fn no_call_changes_the_current_context() {
    let driver = driver();
    let primary = driver.primary();
    let handle = device();
    let work = |name: &str, expected: support::driver::Ptr| {
        let same =
            |step: &str| assert_eq!(driver.current().unwrap(), expected, "{name}: after {step}");
        let setup = Setup::new(&handle, api::FORMAT_BITMAP, 100, 300, 8, 9);
        same("compress, allocate, copy");
        setup.preprocess();
        same("preprocess");
        setup.run();
        same("SpMM");
        let result = setup.result();
        same("synchronize, copy");
        assert!(setup.call().run(8 as api::Raw).is_err() || setup.workspace.pointer().is_null());
        same("a refused SpMM");
        drop(setup);
        same("free");
        result
    };
    let at_home = work("the handle's context is current", primary);

    driver.set_current(std::ptr::null_mut()).unwrap();
    let nowhere = work("no context is current", std::ptr::null_mut());

    let other = driver.create_context().unwrap();
    let elsewhere = work("another context is current", other);
    driver.destroy_context(other).unwrap();
    driver.set_current(primary).unwrap();

    assert!(at_home == nowhere && at_home == elsewhere);
}

#[test]
fn a_handle_belongs_to_the_context_that_was_current_when_it_was_created() {
    let driver = driver();
    let other = driver.create_context().unwrap();
    {
        let handle = device();
        let setup = Setup::new(&handle, api::FORMAT_TILED_CSL, 100, 300, 8, 9);
        driver.set_current(driver.primary()).unwrap();
        setup.preprocess();
        setup.run();
        assert!(setup.result().iter().all(|&bits| f32::from_bits(bits).is_finite()));
        assert_eq!(driver.current().unwrap(), driver.primary());
    }
    driver.destroy_context(other).unwrap();
    driver.set_current(driver.primary()).unwrap();
}

#[test]
fn hostile_bytes_on_the_device_are_refused() {
    let (handle, host) = (device(), Handle::host().unwrap());
    let (m, k) = (100, 300);
    for format in api::FORMATS {
        let mut dense = random_weights(m, k, 30, 2);
        let (_sparse, compressed) =
            SpMat::compress(&host, m, k, k, api::ORDER_ROW, dense.as_mut_ptr().cast(), format)
                .unwrap();
        let good: Vec<u8> = compressed.read(0, compressed.bytes()).unwrap();
        let refused = |bytes: &[u8], rows: usize| {
            let buffer = handle.upload(bytes).unwrap();
            SpMat::adopt(&handle, rows, k, format, &buffer).err().map(|e| e.status)
        };
        assert_eq!(refused(&good, m), None);
        // (byte, what is there, the status)
        for (at, status) in [
            (0, STATUS_CORRUPT_DATA), // magic
            (8, STATUS_VERSION_MISMATCH),
            (40, STATUS_CORRUPT_DATA),  // nnz
            (64, STATUS_CORRUPT_DATA),  // table entries
            (260, STATUS_CORRUPT_DATA), // table[1]
        ] {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert_eq!(refused(&bad, m), Some(status), "format {format}: byte {at}");
        }
        assert!(refused(&good[..good.len() - 4], m).is_some(), "a truncated buffer");
        assert!(refused(&good, m + 1).is_some(), "another shape");
    }
}

#[test]
fn a_missing_or_misaligned_workspace_is_refused_and_c_stays() {
    let handle = device();
    for format in api::FORMATS {
        // Long and thin, so that there is something to split.
        let setup = Setup::new(&handle, format, 32, 8192, 16, 6);
        setup.preprocess();
        if setup.workspace.pointer().is_null() {
            continue; // this plan needs none, and NULL is right
        }
        let before = setup.result();
        assert_eq!(setup.call().run(std::ptr::null_mut()).unwrap_err().status, STATUS_NULL_POINTER);
        let off = setup.workspace.pointer().wrapping_byte_add(16);
        assert_eq!(setup.call().run(off).unwrap_err().status, STATUS_MISALIGNED);
        assert!(setup.result() == before);
    }
}
