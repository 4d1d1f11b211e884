//! Plans, bfloat16, batches, device scalars and graphs on the GPU. Fails where there is no GPU.
//!
//! `FLASHLLM_GPU_TESTS_SMALL=1`: fewer cases, for compute-sanitizer.

mod support;

use std::ffi::{c_int, c_void};

use support::api::{self, DnMat, Handle, Spmm};
use support::driver::Driver;
use support::plan::{
    ACTIVATION, ALG_ID, BIAS, BIAS_TYPE, Case, Extra, GATE, PROGRAMMATIC_LAUNCH, Plan, R_16BF,
    RELU, RESIDUAL, SILU, SPLITS, check, compressed, encode, set_batch, set_device_scalars,
};
use support::{
    GuardedWorkspace, Progress, device, integer_product, integer_weights, plan_cases, small,
};

fn driver() -> Driver {
    Driver::load().unwrap_or_else(|e| panic!("the GPU tests need a GPU: {e}"))
}

#[test]
fn every_format_type_and_width_is_exact() {
    plan_cases::plain(&device(), small());
}

#[test]
fn activations_and_biases_follow_the_product() {
    plan_cases::activations(&device(), small());
}

#[test]
fn a_gate_is_activated_and_multiplies() {
    plan_cases::gates(&device(), small());
}

#[test]
fn residuals_are_added_at_the_end_and_may_be_c() {
    plan_cases::residuals(&device(), small());
}

#[test]
fn scalars_are_read_from_device_memory() {
    plan_cases::device_scalars(&device(), small());
}

#[test]
fn batches_are_products_of_one_a() {
    plan_cases::batches(&device(), small());
}

#[test]
fn a_batch_that_does_not_fold_is_its_products_bit_for_bit() {
    plan_cases::batches_together(&device(), small());
}

#[test]
fn groups_are_products_of_many_a() {
    plan_cases::groups(&device(), small());
}

#[test]
fn every_algorithm_and_split_is_exact() {
    plan_cases::algorithms_and_splits(&device(), small());
}

#[test]
fn row_groups_in_turn_are_exact() {
    plan_cases::row_groups_in_turn(&device(), small());
}

#[test]
fn slices_of_k_are_exact() {
    plan_cases::slices_of_k(&device(), &[1, 3], small());
}

#[test]
fn slices_of_k_in_clusters_are_exact() {
    plan_cases::slices_of_k(&device(), &[2], small());
}

#[test]
fn row_groups_of_clusters_are_exact() {
    plan_cases::pairs_of_ctas(&device(), small());
}

#[test]
fn sliced_k_of_too_many_row_groups_is_refused() {
    plan_cases::too_many_row_groups_to_slice(&device());
}

#[test]
fn uneven_rows_are_exact() {
    plan_cases::uneven_rows(&device(), small());
}

#[test]
fn dense_rows_of_slots_are_exact() {
    plan_cases::dense_rows(&device(), small());
}

#[test]
fn workspace_limits_are_kept() {
    plan_cases::workspace_limits(&device());
}

#[test]
fn a_searched_plan_is_exact_and_its_numbers_reproduce_it() {
    plan_cases::searches(&device(), small());
}

#[test]
fn anything_goes_with_anything() {
    plan_cases::mixtures(&device(), if small() { 20 } else { 500 });
}

#[test]
fn attributes_are_read_back_and_refusals_change_nothing() {
    plan_cases::attributes(&device());
}

#[test]
fn a_plan_serves_other_matrices_with_smaller_blocks() {
    plan_cases::other_matrices(&device());
}

#[test]
fn large_products_split_over_all_multiprocessors_are_exact() {
    let handle = device();
    let (m, k) = if small() { (130, 520) } else { (1000, 4104) };
    let mut progress = Progress::new("large planned products");
    let cases: Vec<_> = api::FORMATS
        .into_iter()
        .flat_map(|format| [api::R_16F, R_16BF].map(|dtype| (format, dtype)))
        .flat_map(|(format, dtype)| [1, 16, 33, 100].map(|n| (format, dtype, n)))
        .collect();
    for (done, &(format, dtype, n)) in cases.iter().enumerate() {
        let case = Case {
            format,
            dtype,
            m,
            k,
            n,
            bias: Some(dtype),
            activation: RELU,
            residual: Extra::InPlace,
            ..Case::PLAIN
        };
        check(&handle, &case);
        check(&handle, &Case { gate: Some(format), residual: Extra::None, ..case });
        progress.tick(done, cases.len());
    }
}

/// A plan is captured once; each replay takes what B, the bias, alpha and the residual hold then.
#[test]
fn a_captured_plan_replays_with_new_data() {
    let driver = driver();
    let stream = driver.stream().unwrap();
    let handle = device();
    handle.set_stream(stream.raw()).unwrap();
    let (m, k, n) = (150, 1000, 12);
    for format in api::FORMATS {
        let weights = integer_weights(m, k, 80, 5);
        let (a, _a) = compressed(&handle, (m, k), &weights, format, R_16BF);
        let (b, c) = (handle.alloc(k * n * 2).unwrap(), handle.alloc(m * n * 4).unwrap());
        let (bias, scalars) = (handle.alloc(m * 4).unwrap(), handle.alloc(8).unwrap());
        let b_descr = DnMat::new(k, n, k, b.pointer(), R_16BF, api::ORDER_COL).unwrap();
        let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
        let plan = Plan::new(&handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
        plan.set(BIAS_TYPE, api::R_32F).unwrap();
        plan.set(BIAS, bias.pointer()).unwrap();
        plan.set(ACTIVATION, RELU).unwrap();
        plan.set(RESIDUAL, c_descr.raw()).unwrap();
        let workspace = GuardedWorkspace::new(&handle, plan.workspace_bytes());
        set_device_scalars(&handle, true);
        let at = (scalars.at(0).cast_const(), scalars.at(4).cast_const());

        stream.begin_capture().unwrap();
        // Planning is allowed while the stream captures, and does not disturb it.
        let second = Plan::new(&handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
        assert!(!second.explain().is_empty());
        plan.execute(at, &a, &b_descr, &c_descr, workspace.pointer()).unwrap();
        let graph = stream.end_capture().unwrap();
        for round in 1..4_i32 {
            let b_values: Vec<i32> = (0..k * n).map(|i| (i as i32 * round) % 7 - 3).collect();
            let mut b_bytes = vec![0_u8; k * n * 2];
            for row in 0..k {
                for col in 0..n {
                    let bytes = encode(R_16BF, f64::from(b_values[row * n + col]));
                    b_bytes[(col * k + row) * 2..][..2].copy_from_slice(&bytes);
                }
            }
            b.write(0, &b_bytes).unwrap();
            bias.write(0, &vec![round as f32; m]).unwrap();
            scalars.write(0, &[round as f32, 0.0_f32]).unwrap();
            c.write(0, &vec![100.0_f32 * round as f32; m * n]).unwrap();
            graph.launch(&stream).unwrap();
            stream.synchronize().unwrap();
            workspace.check("replay");
            let product = integer_product(&weights, &b_values, k, n);
            let got: Vec<f32> = c.read(0, m * n).unwrap();
            for (at, value) in got.into_iter().enumerate() {
                let sum = product[at % m * n + at / m];
                let want = (round * sum + round).max(0) + 100 * round;
                assert_eq!(value, want as f32, "format {format}, replay {round}, element {at}");
            }
        }
        set_device_scalars(&handle, false);
    }
}

/// Products of which each takes what the two before it gave, launched on each other's heels and sharing a workspace.
#[test]
fn programmatic_launches_give_the_bits_of_plain_ones() {
    let (driver, handle) = (driver(), device());
    let stream = driver.stream().unwrap();
    handle.set_stream(stream.raw()).unwrap();
    let (size, steps) = if small() { (512, 6) } else { (4096, 60) };
    let scale = (1.0_f32 / 4096.0, 1.0_f32 / 8.0);
    let scalars: (*const c_void, *const c_void) =
        ((&raw const scale.0).cast(), (&raw const scale.1).cast());
    for format in api::FORMATS {
        let matrices = [1, 2].map(|seed| {
            let weights = integer_weights(size, size, 70, seed);
            compressed(&handle, (size, size), &weights, format, api::R_16F)
        });
        for n in if small() { vec![1, 16] } else { vec![1, 8, 20, 64, 130] } {
            let start: Vec<u8> = (0..3 * size * n)
                .flat_map(|i| encode(api::R_16F, ((i * 7919) % 1000) as f64 / 777.0))
                .collect();
            let memory = handle.alloc(start.len()).unwrap();
            let x = [0, 1, 2].map(|i| {
                let at = memory.at(i * size * n * 2);
                DnMat::new(size, n, size, at, api::R_16F, api::ORDER_COL).unwrap()
            });
            let plans: Vec<Plan<'_>> = (0..6)
                .map(|i| {
                    let (a, b, c) = (&matrices[i % 2].0, &x[i % 3], &x[(i + 1) % 3]);
                    let plan = Plan::new(&handle, api::NON_TRANSPOSE, a, b, c).unwrap();
                    plan.set(RESIDUAL, x[(i + 2) % 3].raw()).unwrap();
                    plan
                })
                .collect();
            let need = plans.iter().map(Plan::workspace_bytes).max().unwrap();
            let workspace = GuardedWorkspace::new(&handle, need);
            let launch = || {
                for i in 0..steps {
                    let (a, b, c) = (&matrices[i % 2].0, &x[i % 3], &x[(i + 1) % 3]);
                    plans[i % 6].execute(scalars, a, b, c, workspace.pointer()).unwrap();
                }
            };
            let result_of = |work: &dyn Fn()| {
                memory.write(0, &start).unwrap();
                work();
                stream.synchronize().unwrap();
                workspace.check("a chain");
                memory.read::<u16>(0, 3 * size * n).unwrap()
            };
            let plain = result_of(&launch);
            let finite = |bits: &u16| bits & 0x7c00 != 0x7c00;
            assert!(plain.iter().all(finite), "format {format}, {n} columns: no number");
            for plan in &plans {
                plan.set(PROGRAMMATIC_LAUNCH, 1).unwrap();
            }
            for text in plans.iter().map(Plan::explain) {
                assert_eq!(text.contains("may begin while"), text.contains("_sm90 ("), "{text}");
            }
            for round in 0..if small() { 1 } else { 4 } {
                let name = format!("format {format}, {n} columns, round {round}");
                assert!(result_of(&launch) == plain, "{name}: launched");
            }
            stream.begin_capture().unwrap();
            launch();
            let graph = stream.end_capture().unwrap();
            for round in 0..if small() { 1 } else { 4 } {
                let replay = || graph.launch(&stream).unwrap();
                let name = format!("format {format}, {n} columns, round {round}");
                assert!(result_of(&replay) == plain, "{name}: replayed");
            }
        }
    }
}

/// The same plan a hundred times gives the same bits, also where sums are rounded.
#[test]
fn a_hundred_executions_give_the_same_bits() {
    let handle = device();
    let (m, k, n) = if small() { (64, 512, 16) } else { (512, 4096, 24) };
    for format in api::FORMATS {
        let weights = integer_weights(m, k, 70, 6);
        let (a, _a) = compressed(&handle, (m, k), &weights, format, R_16BF);
        let (g, _g) = compressed(&handle, (m, k), &integer_weights(m, k, 70, 7), format, R_16BF);
        let b_bytes: Vec<u8> =
            (0..k * n).flat_map(|i| encode(R_16BF, ((i * 7919) % 1000) as f64 / 777.0)).collect();
        let (b, c) = (handle.upload(&b_bytes).unwrap(), handle.alloc(m * n * 2).unwrap());
        let b_descr = DnMat::new(k, n, k, b.pointer(), R_16BF, api::ORDER_COL).unwrap();
        let c_descr = DnMat::new(m, n, m, c.pointer(), R_16BF, api::ORDER_COL).unwrap();
        let plan = Plan::new(&handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
        plan.set(GATE, g.raw()).unwrap();
        plan.set(ACTIVATION, SILU).unwrap();
        let workspace = GuardedWorkspace::new(&handle, plan.workspace_bytes());
        let (one, zero) = (1.0_f32 / 1024.0, 0.0_f32);
        let scalars: (*const c_void, *const c_void) =
            ((&raw const one).cast(), (&raw const zero).cast());
        let mut first = Vec::new();
        for run in 0..if small() { 5 } else { 100 } {
            c.write(0, &vec![0xffff_u16; m * n]).unwrap();
            plan.execute(scalars, &a, &b_descr, &c_descr, workspace.pointer()).unwrap();
            handle.synchronize().unwrap();
            let bits: Vec<u16> = c.read(0, m * n).unwrap();
            if run == 0 {
                assert!(bits.iter().all(|b| b & 0x7f80 != 0x7f80), "format {format}: no number");
                first = bits;
            } else {
                assert!(bits == first, "format {format}: run {run} differs");
            }
        }
        workspace.check("a hundred executions");
    }
}

#[test]
fn threads_with_handles_and_streams_of_their_own_and_one_shared_handle() {
    let shared = device();
    let shared = &shared;
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || {
                let driver = driver();
                let stream = driver.stream().unwrap();
                let mine = device();
                mine.set_stream(stream.raw()).unwrap();
                for round in 0..if small() { 1 } else { 5 } {
                    let case = Case {
                        m: 40 + 8 * thread,
                        n: 1 + 5 * round,
                        dtype: [api::R_16F, R_16BF][thread % 2],
                        format: api::FORMATS[thread % api::FORMATS.len()],
                        activation: RELU,
                        bias: Some(api::R_32F),
                        ..Case::PLAIN
                    };
                    check(&mine, &case);
                    check(shared, &case);
                }
            });
        }
    });
}

#[test]
fn two_contexts_in_one_process_have_handles_of_their_own() {
    let driver = driver();
    let first = device();
    let other = driver.create_context().unwrap();
    {
        let second = device();
        driver.set_current(std::ptr::null_mut()).unwrap();
        for format in api::FORMATS {
            for handle in [&first, &second] {
                check(handle, &Case { format, gate: Some(format), ..Case::PLAIN });
            }
        }
        // A plan of one is refused by the other.
        let weights = integer_weights(64, 256, 80, 1);
        let (a, _a) = compressed(&first, (64, 256), &weights, api::FORMAT_BITMAP, api::R_16F);
        let memory = first.alloc(1 << 16).unwrap();
        let b = DnMat::new(256, 8, 256, memory.pointer(), api::R_16F, api::ORDER_COL).unwrap();
        let c = DnMat::new(64, 8, 64, memory.at(1 << 15), api::R_32F, api::ORDER_COL).unwrap();
        let plan = Plan::new(&first, api::NON_TRANSPOSE, &a, &b, &c).unwrap();
        assert!(Plan::new(&second, api::NON_TRANSPOSE, &a, &b, &c).is_err());
        drop(plan);
        let host = Handle::host().unwrap();
        assert!(Plan::new(&host, api::NON_TRANSPOSE, &a, &b, &c).is_err());
    }
    driver.destroy_context(other).unwrap();
    driver.set_current(driver.primary()).unwrap();
}

/// A call has to be cheap for the host: planning is behind it.
#[test]
fn an_execution_takes_the_host_few_microseconds() {
    let handle = device();
    let weights = integer_weights(512, 512, 80, 1);
    let (a, _a) = compressed(&handle, (512, 512), &weights, api::FORMAT_BITMAP, api::R_16F);
    let memory = handle.alloc(1 << 17).unwrap();
    let b = DnMat::new(512, 8, 512, memory.pointer(), api::R_16F, api::ORDER_COL).unwrap();
    let c = DnMat::new(512, 8, 512, memory.at(1 << 16), api::R_32F, api::ORDER_COL).unwrap();
    let plan = Plan::new(&handle, api::NON_TRANSPOSE, &a, &b, &c).unwrap();
    let workspace = handle.alloc(plan.workspace_bytes()).unwrap();
    let (one, zero) = (1.0_f32, 0.0_f32);
    let scalars: (*const c_void, *const c_void) =
        ((&raw const one).cast(), (&raw const zero).cast());
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        // Few enough that the stream's queue never is full.
        let start = std::time::Instant::now();
        for _ in 0..100 {
            plan.execute(scalars, &a, &b, &c, workspace.pointer()).unwrap();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / 100.0);
        handle.synchronize().unwrap();
    }
    println!("{best:.2} us an execution");
    // Measured on its own it is below 4 us; the bound leaves room for sanitizers and busy machines.
    assert!(small() || best < 40.0, "{best:.2} us an execution");
}

/// A search on a stream of its own says what it finds, beside the present choice, and is over soon.
#[test]
fn a_search_takes_milliseconds() {
    let (driver, handle) = (driver(), device());
    let stream = driver.stream().unwrap();
    handle.set_stream(stream.raw()).unwrap();
    let (m, k) = if small() { (128, 1024) } else { (4096, 4096) };
    let weights = integer_weights(m, k, 80, 1);
    for format in api::FORMATS {
        let (a, _a) = compressed(&handle, (m, k), &weights, format, api::R_16F);
        for n in [8, 16, 64] {
            let b = handle.upload(&vec![0x3c00_u16; k * n]).unwrap();
            let c = handle.alloc(m * n * 4).unwrap();
            let b_descr = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).unwrap();
            let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
            let plan = Plan::new(&handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
            let (id, splits) = (plan.get::<c_int>(ALG_ID), plan.get::<c_int>(SPLITS));
            let start = std::time::Instant::now();
            let found = plan.search(&a, &b_descr, 0).unwrap();
            let ms = start.elapsed().as_secs_f64() * 1e3;
            let present = Plan::new(&handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
            let before = present.search(&a, &b_descr, 1).unwrap();
            println!(
                "format {format}, {m}x{k}, N={n}: algorithm {id} in {splits} splits {before:.1} us, {} in {} {found:.1} us, found in {ms:.1} ms",
                plan.get::<c_int>(ALG_ID),
                plan.get::<c_int>(SPLITS)
            );
            // Tests that run beside this one take the device from it now and then: these are no measurements.
            assert!(found > 0.0 && before > 0.0, "{found} {before}");
            assert!(small() || ms < 2000.0, "{ms} ms");
            // During a capture it is refused, and the capture goes on.
            stream.begin_capture().unwrap();
            let refused = plan.search(&a, &b_descr, 0).unwrap_err();
            assert!(refused.to_string().contains("before the capture begins"), "{refused}");
            stream.end_capture().unwrap();
        }
    }
}

/// A batch in shared launches beside the plan of it, which launches its products one by one.
#[test]
fn the_time_of_a_batch_is_told() {
    if small() {
        return;
    }
    let handle = device();
    let (m, k, count) = (4096, 4096, 16);
    let weights = integer_weights(m, k, 80, 1);
    for format in api::FORMATS {
        let (a, _a) = compressed(&handle, (m, k), &weights, format, api::R_16F);
        for n in [4, 16, 64] {
            // Eight elements between the matrices: the batch does not fold.
            let b = handle.upload(&vec![0x3c00_u16; count * (k * n + 8)]).unwrap();
            let c = handle.upload(&vec![0.0_f32; count * (m * n + 8)]).unwrap();
            let b_descr = DnMat::new(k, n, k, b.pointer(), api::R_16F, api::ORDER_COL).unwrap();
            let c_descr = DnMat::new(m, n, m, c.pointer(), api::R_32F, api::ORDER_COL).unwrap();
            set_batch(&b_descr, count, k * n + 8);
            set_batch(&c_descr, count, m * n + 8);
            let call = Spmm {
                handle: &handle,
                op_b: api::NON_TRANSPOSE,
                alpha: 1.0,
                a: &a,
                b: &b_descr,
                beta: 0.0,
                c: &c_descr,
            };
            let together = GuardedWorkspace::new(&handle, call.workspace_bytes().unwrap());
            let plan = Plan::new(&handle, api::NON_TRANSPOSE, &a, &b_descr, &c_descr).unwrap();
            let each = handle.alloc(plan.workspace_bytes()).unwrap();
            let (one, zero) = (1.0_f32, 0.0_f32);
            let scalars = ((&raw const one).cast(), (&raw const zero).cast());
            let time = |run: &dyn Fn()| {
                let mut best = f64::INFINITY;
                for _ in 0..10 {
                    let start = std::time::Instant::now();
                    for _ in 0..10 {
                        run();
                    }
                    handle.synchronize().unwrap();
                    best = best.min(start.elapsed().as_secs_f64() * 1e6 / 10.0);
                }
                best
            };
            let shared = time(&|| call.run(together.pointer()).unwrap());
            let single = time(&|| {
                plan.execute(scalars, &a, &b_descr, &c_descr, each.pointer()).unwrap();
            });
            println!(
                "format {format}: {count} products of {m}x{k}, N={n}: {shared:.1} us together, {single:.1} us one by one"
            );
            together.check("together");
        }
    }
}
