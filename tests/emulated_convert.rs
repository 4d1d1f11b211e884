//! The conversion kernels on an emulation of a GPU's thread blocks (`emulation/`), through the C functions and the
//! fake driver: what they compute, where there is no GPU. tests/gpu_convert.rs has the same cases and more.
#![cfg(not(no_kernels))]

mod build_support;
mod convert_cases;
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use build_support::{fake_driver, run};
use convert_cases::FORMATS;
use support::api::{self, Handle};

const CHILD: &str = "FLASH_LLM_TEST_CHILD";

/// In the parent: runs the calling test again in a child with the fake driver. In the child: the body.
fn emulated(test: &str, body: impl FnOnce(&Handle)) {
    if std::env::var_os(CHILD).is_some() {
        // SAFETY: the fake driver is loaded in this process, and its function takes nothing.
        let driver = unsafe { libloading::Library::new("libcuda.so.1") }.unwrap();
        // SAFETY: as above.
        unsafe { driver.get::<unsafe extern "C" fn()>(b"fake_reset\0").unwrap()() };
        body(&Handle::device().unwrap());
        return;
    }
    static DRIVER: OnceLock<PathBuf> = OnceLock::new();
    let driver = DRIVER.get_or_init(|| fake_driver(None));
    let output = run(Command::new(std::env::current_exe().expect("a test knows its own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("LD_LIBRARY_PATH", driver));
    assert!(output.contains("1 passed"), "the child ran no test called {test}:\n{output}");
}

#[test]
fn conversions_are_the_hosts() {
    emulated("conversions_are_the_hosts", |device| {
        for (shape, percents, extra, offset) in [
            ((1, 1), &[0, 100][..], 0, 0),
            ((33, 300), &[0, 20, 50, 80, 95, 100], 0, 0),
            ((33, 300), &[70], 5, 1),
            ((64, 256), &[0, 60], 8, 0),
            ((130, 70), &[10, 90], 0, 3),
            ((31, 1100), &[50, 97, 100], 4, 0),
        ] {
            for &percent in percents {
                convert_cases::converts_as_the_host_does(
                    device, shape, percent, extra, offset, &FORMATS,
                );
            }
        }
        // Whole tiles: groups of vectors with items of every bank, and the turns behind the first empty bank.
        for percent in [5, 40, 75, 92] {
            convert_cases::converts_as_the_host_does(
                device,
                (128, 128),
                percent,
                0,
                0,
                &[api::FORMAT_TILED_CSL],
            );
        }
    });
}

/// Banked and Bitmap, whose blocks are of the same elements.
fn fragment_conversions_are_the_hosts(device: &Handle, format: i32) {
    for percent in (0..=100).step_by(10).chain([1, 99]) {
        convert_cases::converts_as_the_host_does(device, (64, 256), percent, 0, 0, &[format]);
    }
    for shape in [(1, 257), (65, 1), (63, 129), (80, 384), (130, 520)] {
        for (percent, extra, offset) in [(55, 0, 0), (80, 8, 0), (93, 3, 1)] {
            convert_cases::converts_as_the_host_does(
                device,
                shape,
                percent,
                extra,
                offset,
                &[format],
            );
        }
    }
    convert_cases::banks_of_every_length_are_the_hosts(device, format);
}

#[test]
fn banked_conversions_are_the_hosts() {
    emulated("banked_conversions_are_the_hosts", |device| {
        fragment_conversions_are_the_hosts(device, api::FORMAT_BANKED);
    });
}

#[test]
fn bitmap_conversions_are_the_hosts() {
    emulated("bitmap_conversions_are_the_hosts", |device| {
        fragment_conversions_are_the_hosts(device, api::FORMAT_BITMAP);
    });
}

#[test]
fn sell_conversions_are_the_hosts() {
    emulated("sell_conversions_are_the_hosts", |device| {
        let formats = &[api::FORMAT_SELL];
        for percent in [0, 30, 50, 70, 80, 90, 95, 99, 100] {
            convert_cases::converts_as_the_host_does(device, (32, 2048), percent, 0, 0, formats);
        }
        for shape in [(1, 2049), (33, 63), (31, 64), (70, 129), (35, 4100)] {
            for (percent, extra, offset) in [(55, 0, 0), (80, 8, 0), (97, 3, 1)] {
                convert_cases::converts_as_the_host_does(
                    device, shape, percent, extra, offset, formats,
                );
            }
        }
        convert_cases::sell_rows_of_every_length_are_the_hosts(device);
    });
}

#[test]
fn slots_dense_rows_are_the_hosts() {
    emulated("slots_dense_rows_are_the_hosts", |device| {
        convert_cases::slots_dense_rows_are_the_hosts(device);
    });
}

#[test]
fn full_slots_blocks_with_dense_rows_are_the_hosts() {
    emulated("full_slots_blocks_with_dense_rows_are_the_hosts", |device| {
        convert_cases::full_slots_blocks_with_dense_rows_are_the_hosts(device);
    });
}

#[test]
fn bfloat16_converts_as_the_host_does() {
    emulated("bfloat16_converts_as_the_host_does", |device| {
        convert_cases::bfloat16_converts_as_the_host_does(device, (33, 300));
    });
}

#[test]
fn auto_chooses_as_the_host_does() {
    emulated("auto_chooses_as_the_host_does", |device| {
        for percent in [50, 96, 99, 100] {
            let formats = &[api::FORMAT_AUTO];
            convert_cases::converts_as_the_host_does(device, (40, 600), percent, 0, 0, formats);
        }
        convert_cases::auto_leaves_uneven_rows_to_banked(device);
        convert_cases::auto_takes_slots_for_groups_of_four(device);
    });
}

#[test]
fn damaged_buffers_are_refused_as_by_the_host() {
    emulated("damaged_buffers_are_refused_as_by_the_host", |device| {
        convert_cases::refuses_what_the_host_refuses(device, (40, 300), 120);
    });
}

#[test]
fn changed_values_never_break_the_buffer() {
    emulated("changed_values_never_break_the_buffer", |device| {
        convert_cases::changed_values_never_break_the_buffer(device, (40, 300));
    });
}

#[test]
fn a_damaged_workspace_never_breaks_the_buffer() {
    emulated("a_damaged_workspace_never_breaks_the_buffer", |device| {
        convert_cases::a_damaged_workspace_never_breaks_the_buffer(device, (40, 300));
    });
}

#[test]
fn pruning_is_exact() {
    emulated("pruning_is_exact", |device| {
        convert_cases::prunes_exactly(device, (33, 300), &[0.0, 0.5, 0.8, 1.0]);
        convert_cases::prunes_exactly(device, (1, 1), &[0.4, 0.5]);
    });
}

#[test]
fn a_compressed_matrix_agrees_with_its_source_alone() {
    emulated("a_compressed_matrix_agrees_with_its_source_alone", |device| {
        convert_cases::agrees_with_its_source_alone(device, (40, 300));
    });
}

#[test]
fn csr_compresses_as_dense_does() {
    emulated("csr_compresses_as_dense_does", |device| {
        convert_cases::csr_compresses_as_dense_does(device, (130, 70));
    });
}

#[test]
fn csr_refuses_wrong_indices() {
    emulated("csr_refuses_wrong_indices", |device| {
        convert_cases::csr_refuses_wrong_indices(device, 90);
    });
}
