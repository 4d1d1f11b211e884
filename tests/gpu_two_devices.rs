//! Two devices in one process, a handle each: shards of one matrix multiplied at the same time make up the
//! whole, and no handle disturbs the other or the caller's current context. Fails where there is no GPU; where
//! there is one, it is listed as ignored (libtest could not say so after a test has begun).
// Handles, descriptors and memory are live for the whole of each test.
#![allow(clippy::undocumented_unsafe_blocks)]

#[path = "support/stored.rs"]
mod stored;
mod support;

use flash_llm::capi::context::*;
use flash_llm::capi::matrix::*;
use flash_llm::capi::status::flashllmStatus_t::*;
use flash_llm::capi::store::*;
use flash_llm::capi::types::*;
use std::process::ExitCode;
use std::ptr;
use stored::*;
use support::driver::Driver;

type Test = (&'static str, fn(&Driver));

fn main() -> ExitCode {
    let driver = match Driver::load() {
        Ok(driver) => driver,
        Err(error) => {
            println!("test two_devices ... FAILED: the GPU tests need a GPU: {error}");
            return ExitCode::FAILURE;
        }
    };
    let tests: [Test; 3] = [
        ("shards_on_two_devices_make_up_the_whole", shards_make_up_the_whole),
        ("handles_refuse_what_is_on_the_other_device", handles_refuse_the_other_device),
        ("two_threads_use_two_devices", two_threads_use_two_devices),
    ];
    let devices = driver.device_count().expect("the driver counts its devices");
    let (mut passed, mut ignored) = (0, 0);
    for (name, test) in tests {
        if devices < 2 {
            ignored += 1;
            println!("test {name} ... ignored, this machine has one GPU");
            continue;
        }
        // A panic ends the process with its message, which is failure enough.
        test(&driver);
        passed += 1;
        println!("test {name} ... ok");
    }
    println!(
        "\ntest result: ok. {passed} passed; 0 failed; {ignored} ignored; 0 measured; 0 filtered out\n"
    );
    ExitCode::SUCCESS
}

/// Handles of devices 0 and 1; afterwards the context of device 0 is current.
fn two_handles(driver: &Driver) -> [flashllmHandle_t; 2] {
    let contexts = [driver.primary(), driver.primary_of(1).unwrap()];
    let handles = contexts.map(|context| {
        driver.set_current(context).unwrap();
        device()
    });
    driver.set_current(contexts[0]).unwrap();
    handles
}

fn shards_make_up_the_whole(driver: &Driver) {
    let handles = two_handles(driver);
    let cpu = host();
    let (rows, cols, n) = (1290, 4200, 16);
    let (m, k) = (rows as i64, cols as i64);
    let weights = integers(rows * cols, 1, 180);
    let b = integers(cols * n, 2, 0);
    for format in FORMATS {
        let whole = compress(cpu, rows, cols, &weights, format);
        let want = product(cpu, whole, &b, n);
        let (tr, tc) = tile(whole);
        // The shards travel as a model's do: cut, stored, loaded.
        let send = |handle, part: flashllmSpMatDescr_t| {
            let stored = serialize(cpu, part);
            let bytes = size(part).3;
            let (mut there, to) = (ptr::null_mut(), room(handle, bytes));
            good(unsafe {
                let (from, n) = (stored.as_ptr().cast(), stored.len());
                flashllmSpMatDeserialize(handle, &raw mut there, from, n, RawVerify(0), to, bytes)
            });
            good(flashllmDestroySpMat(part));
            there
        };
        let half = |size: i64, tile: i64| (size / 2 + tile - 1) / tile * tile;
        let (r, c) = (half(m, tr), half(k, tc));
        let mut below = Vec::new();
        let mut sum = vec![0.0_f32; rows * n];
        for (device, handle) in handles.into_iter().enumerate() {
            let (r0, r1) = if device == 0 { (0, r) } else { (r, m) };
            let shard = send(handle, cut(cpu, whole, [r0, r1], [0, k]));
            below.extend(product(handle, shard, &b, n));
            good(flashllmDestroySpMat(shard));
            let (c0, c1) = if device == 0 { (0, c) } else { (c, k) };
            let shard = send(handle, cut(cpu, whole, [0, m], [c0, c1]));
            let part = product(handle, shard, &b[c0 as usize * n..c1 as usize * n], n);
            sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
            good(flashllmDestroySpMat(shard));
            assert_eq!(driver.current().unwrap(), driver.primary(), "the current context changed");
        }
        assert!(below == want, "format {format}: rows");
        assert!(sum == want, "format {format}: columns");
        good(flashllmDestroySpMat(whole));
    }
    for handle in handles.into_iter().chain([cpu]) {
        good(flashllmDestroy(handle));
    }
    assert_eq!(driver.current().unwrap(), driver.primary());
}

fn handles_refuse_the_other_device(driver: &Driver) {
    let [first, second] = two_handles(driver);
    let s = compress(first, 300, 700, &integers(300 * 700, 1, 120), 2);
    let mut bytes = 0;
    let status = unsafe { flashllmSpMatSerializedSize(second, s, &raw mut bytes) };
    assert_eq!(status, FLASHLLM_STATUS_WRONG_CONTEXT, "{}", message());
    let status =
        unsafe { flashllmSpMatSlice_bufferSize(second, s, 0, 300, 0, 700, &raw mut bytes) };
    assert_eq!(status, FLASHLLM_STATUS_WRONG_CONTEXT, "{}", message());
    let mut out = vec![0_u8; 1 << 20];
    let status = unsafe { flashllmSpMatSerialize(second, s, out.as_mut_ptr().cast(), out.len()) };
    assert_eq!(status, FLASHLLM_STATUS_WRONG_CONTEXT, "{}", message());
    good(flashllmDestroySpMat(s));
    good(flashllmDestroy(first));
    good(flashllmDestroy(second));
}

fn two_threads_use_two_devices(driver: &Driver) {
    let handles = two_handles(driver).map(<*mut flashllmContext>::addr);
    let (rows, cols, n) = (700, 2100, 8);
    let b = integers(cols * n, 2, 0);
    let cpu = host();
    let weights = integers(rows * cols, 9, 180);
    let reference = compress(cpu, rows, cols, &weights, 3);
    let want = product(cpu, reference, &b, n);
    std::thread::scope(|scope| {
        for handle in handles {
            let (b, want, weights) = (&b, &want, &weights);
            // A thread of its own has no current context: the handle brings its own.
            scope.spawn(move || {
                let handle = ptr::without_provenance_mut(handle);
                for _ in 0..10 {
                    let s = compress(handle, rows, cols, weights, 3);
                    assert!(product(handle, s, b, n) == *want);
                    let stored = serialize(handle, s);
                    assert_eq!(stored.len() % 256, 0);
                    good(flashllmDestroySpMat(s));
                }
            });
        }
    });
    good(flashllmDestroySpMat(reference));
    good(flashllmDestroy(cpu));
    for handle in handles {
        good(flashllmDestroy(ptr::without_provenance_mut(handle)));
    }
}
