//! Conversions, pruning and checks by kernels, compared byte for byte with the host's. Fails where there is no GPU.
//!
//! `FLASHLLM_GPU_TESTS_SMALL=1`: small sizes only, for compute-sanitizer.

mod convert_cases;
mod support;

use convert_cases::FORMATS;
use support::{api, device, small};

#[test]
fn conversions_are_the_hosts_at_every_shape_and_sparsity() {
    let device = device();
    let shapes: &[(usize, usize)] = if small() {
        &[(1, 1), (33, 300), (130, 70)]
    } else {
        &[(1, 1), (33, 300), (130, 70), (1000, 777), (512, 1024), (31, 4100), (257, 384)]
    };
    for &shape in shapes {
        for percent in [0, 30, 50, 80, 90, 97, 100] {
            for (extra, offset) in [(0, 0), (8, 0), (5, 1)] {
                convert_cases::converts_as_the_host_does(
                    &device, shape, percent, extra, offset, &FORMATS,
                );
                if small() {
                    break;
                }
            }
        }
    }
}

#[test]
fn conversions_of_large_matrices_are_the_hosts() {
    if small() {
        return;
    }
    let device = device();
    for (shape, percent) in
        [((4096, 4096), 80), ((128, 49152), 60), ((4096, 4096), 50), ((4096, 4096), 20)]
    {
        convert_cases::converts_as_the_host_does(&device, shape, percent, 0, 0, &FORMATS);
    }
}

#[test]
fn banked_banks_of_every_length_are_the_hosts() {
    convert_cases::banks_of_every_length_are_the_hosts(&device(), api::FORMAT_BANKED);
}

#[test]
fn bitmap_banks_of_every_length_are_the_hosts() {
    convert_cases::banks_of_every_length_are_the_hosts(&device(), api::FORMAT_BITMAP);
}

#[test]
fn sell_rows_of_every_length_are_the_hosts() {
    convert_cases::sell_rows_of_every_length_are_the_hosts(&device());
}

#[test]
fn slots_dense_rows_are_the_hosts() {
    convert_cases::slots_dense_rows_are_the_hosts(&device());
}

#[test]
fn full_slots_blocks_with_dense_rows_are_the_hosts() {
    convert_cases::full_slots_blocks_with_dense_rows_are_the_hosts(&device());
}

#[test]
fn bfloat16_converts_as_the_host_does() {
    let device = device();
    convert_cases::bfloat16_converts_as_the_host_does(&device, (33, 300));
    if !small() {
        convert_cases::bfloat16_converts_as_the_host_does(&device, (517, 1031));
    }
}

#[test]
fn auto_chooses_as_the_host_does() {
    let device = device();
    let shapes: &[(usize, usize)] = if small() { &[(40, 600)] } else { &[(40, 600), (300, 2048)] };
    for percent in [50, 90, 96, 99, 100] {
        for &shape in shapes {
            let formats = &[api::FORMAT_AUTO];
            convert_cases::converts_as_the_host_does(&device, shape, percent, 0, 0, formats);
        }
    }
    convert_cases::auto_leaves_uneven_rows_to_banked(&device);
    convert_cases::auto_takes_slots_for_groups_of_four(&device);
}

#[test]
fn damaged_buffers_are_refused_as_by_the_host() {
    let device = device();
    convert_cases::refuses_what_the_host_refuses(
        &device,
        (40, 300),
        if small() { 60 } else { 600 },
    );
}

#[test]
fn changed_values_never_break_the_buffer() {
    convert_cases::changed_values_never_break_the_buffer(
        &device(),
        if small() { (40, 300) } else { (100, 600) },
    );
}

#[test]
fn pruning_is_exact() {
    let device = device();
    convert_cases::prunes_exactly(&device, (33, 300), &[0.0, 0.001, 0.5, 0.8, 0.999, 1.0]);
    if !small() {
        convert_cases::prunes_exactly(&device, (1000, 777), &[0.5, 0.8]);
    }
}

#[test]
fn a_compressed_matrix_agrees_with_its_source_alone() {
    convert_cases::agrees_with_its_source_alone(&device(), (100, 700));
}

#[test]
fn csr_compresses_as_dense_does() {
    let device = device();
    convert_cases::csr_compresses_as_dense_does(&device, (130, 70));
    if !small() {
        convert_cases::csr_compresses_as_dense_does(&device, (517, 1031));
    }
}

#[test]
fn csr_strips_join_without_a_seam() {
    if small() {
        return;
    }
    // More than the 64 MiB that are expanded at a time: two strips.
    convert_cases::csr_compresses_as_dense_does(&device(), (2100, 20000));
}

#[test]
fn csr_refuses_wrong_indices() {
    convert_cases::csr_refuses_wrong_indices(&device(), if small() { 60 } else { 600 });
}

#[test]
fn a_damaged_workspace_never_breaks_the_buffer() {
    convert_cases::a_damaged_workspace_never_breaks_the_buffer(
        &device(),
        if small() { (70, 600) } else { (200, 1600) },
    );
}
