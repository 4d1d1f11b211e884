//! Searches of plans against the fake driver: what is timed, what is taken, and what is left behind.

use super::plan::{
    ALG_ID, GATE, SPLITS, execute, get, ones, plan_for, set, set_apart, size_of_workspace,
};
use super::*;
use flash_llm::capi::plan::*;
use std::collections::BTreeSet;

fn test(name: &str, body: impl FnOnce(&Fake)) {
    with_driver(&format!("search::{name}"), None, body);
}

const WORKSPACE_LIMIT: c_int = 8;
const BANKED: RawFormat = RawFormat(4);
/// The L2 of the tests, so small that few copies of A are twice as large.
const L2_BYTES: c_int = 100_000;

/// Kernel, blocks along x and shared memory.
type Shape = (String, c_int, c_int);

/// A program with a plan of a Banked matrix.
fn planned(fake: &Fake) -> (Program, Ready, flashllmSpMMPlan_t) {
    fake.set_attribute(38, L2_BYTES);
    let mut program = Program::default();
    let ready = program.prepare_as(BANKED).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
    let plan = plan_for(&program, &ready);
    (program, ready, plan)
}

fn end(fake: &Fake, program: Program, plan: flashllmSpMMPlan_t) {
    assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
    program.end();
    fake.assert_nothing_alive("at the end");
    assert_eq!(fake.get("fake_live_staging"), 0, "events are left");
}

fn try_search(
    program: &Program,
    plan: flashllmSpMMPlan_t,
    r: &Ready,
    ways: i32,
) -> (flashllmStatus_t, f32) {
    let mut us = -1.0;
    // SAFETY: live descriptors of device memory and a valid place.
    let status =
        unsafe { flashllmSpMMPlanSearch(program.handle(), plan, r.sparse, r.b, ways, &raw mut us) };
    (status, us)
}

fn search(program: &Program, plan: flashllmSpMMPlan_t, r: &Ready, ways: i32) -> f32 {
    let (status, us) = try_search(program, plan, r, ways);
    assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
    us
}

/// What of a plan a search may change.
fn numbers(program: &Program, plan: flashllmSpMMPlan_t) -> (c_int, c_int, usize) {
    (get(plan, ALG_ID), get(plan, SPLITS), size_of_workspace(program, plan))
}

/// The products that were launched since the last reset, in order.
fn products(fake: &Fake) -> Vec<(Shape, u64)> {
    fake.launches()
        .into_iter()
        .filter(|launch| launch.0.contains("spmm"))
        .map(|(name, grid, smem, word)| ((name, grid, smem), word))
        .collect()
}

fn shapes(fake: &Fake) -> BTreeSet<Shape> {
    products(fake).into_iter().map(|product| product.0).collect()
}

/// What an execution of the plan launches.
fn executed(fake: &Fake, program: &Program, plan: flashllmSpMMPlan_t, r: &Ready) -> Shape {
    let workspace = program.malloc(size_of_workspace(program, plan)).unwrap();
    let before = products(fake).len();
    let status = execute(program, plan, ones(), r, workspace);
    assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
    ok(flashllmFree(program.handle(), workspace)).unwrap();
    products(fake).swap_remove(before).0
}

#[test]
fn the_plan_takes_whichever_way_is_fastest() {
    test("the_plan_takes_whichever_way_is_fastest", |fake| {
        let (program, ready, plan) = planned(fake);
        let before = executed(fake, &program, plan, &ready);
        search(&program, plan, &ready, 0);
        let ways = shapes(fake);
        assert!(ways.len() >= 4, "{ways:?}");
        assert!(ways.contains(&before));
        for way in &ways {
            ok(set(plan, ALG_ID, 0)).unwrap();
            ok(set(plan, SPLITS, 0)).unwrap();
            // Packing B takes as long with every way.
            fake.set_duration("spmm", 0, 0, 20.0);
            fake.set_duration(&way.0, way.1, way.2, 7.0);
            let us = search(&program, plan, &ready, 0);
            assert!((us - 17.0).abs() < 0.1, "{us}");
            assert_eq!(&executed(fake, &program, plan, &ready), way);
            // The whole number: row tiles and staged blocks too. Another plan that forces it runs the same.
            let (id, splits, bytes) = numbers(&program, plan);
            assert!(id > 100_000_000, "{id}");
            let other = plan_for(&program, &ready);
            ok(set(other, ALG_ID, id)).unwrap();
            ok(set(other, SPLITS, splits)).unwrap();
            assert_eq!(numbers(&program, other), (id, splits, bytes));
            assert_eq!(&executed(fake, &program, other, &ready), way);
            ok(flashllmSpMMPlanDestroy(other)).unwrap();
            fake.reset();
        }
        end(fake, program, plan);
    });
}

#[test]
fn a_way_that_is_hardly_faster_does_not_replace_the_present_one() {
    test("a_way_that_is_hardly_faster_does_not_replace_the_present_one", |fake| {
        for (us, taken) in [(100.0, false), (99.5, false), (99.2, false), (98.5, true)] {
            let (program, ready, plan) = planned(fake);
            let before = executed(fake, &program, plan, &ready);
            fake.set_duration("pack", 0, 0, 0.0);
            fake.set_duration("spmm", 0, 0, us);
            fake.set_duration(&before.0, before.1, before.2, 100.0);
            let found = search(&program, plan, &ready, 0);
            let after = executed(fake, &program, plan, &ready);
            assert_eq!(after != before, taken, "{us}: {after:?}");
            let expected = if taken { us as f32 } else { 100.0 };
            assert!((found - expected).abs() < 0.01, "{found}");
            assert!(get(plan, ALG_ID) > 100_000_000);
            end(fake, program, plan);
            fake.reset();
        }
    });
}

#[test]
fn what_was_forced_before_a_search_stays_forced() {
    test("what_was_forced_before_a_search_stays_forced", |fake| {
        let (program, ready, plan) = planned(fake);
        let kernel = get(plan, ALG_ID);
        search(&program, plan, &ready, 1000);
        let all = shapes(fake).len();
        // The kernel, two row tiles of it, and one piece of each row group.
        for (algorithm, splits) in [(kernel, 0), (kernel + 2_000_000, 0), (0, 1), (kernel, 1)] {
            ok(set(plan, ALG_ID, algorithm)).unwrap();
            ok(set(plan, SPLITS, splits)).unwrap();
            let before = executed(fake, &program, plan, &ready);
            fake.reset();
            fake.set_duration(&before.0, before.1, before.2, 50.0);
            search(&program, plan, &ready, 1000);
            let ways = shapes(fake);
            assert!(ways.len() > 1 && ways.len() < all, "{} of {all}", ways.len());
            assert_ne!(executed(fake, &program, plan, &ready), before);
            let id = get(plan, ALG_ID);
            if algorithm != 0 {
                assert_eq!(id % 1_000_000, kernel);
            }
            if algorithm > 1_000_000 {
                assert_eq!(id / 1_000_000 % 100, 2);
            }
            if splits != 0 {
                assert_eq!(get(plan, SPLITS), splits);
            }
            fake.reset();
            // Both are fixed now: there is one way left.
            let before = numbers(&program, plan);
            search(&program, plan, &ready, 1000);
            assert_eq!(shapes(fake).len(), 1);
            assert_eq!(numbers(&program, plan), before);
        }
        end(fake, program, plan);
    });
}

#[test]
fn as_many_ways_are_timed_as_were_asked_for_and_they_take_turns() {
    test("as_many_ways_are_timed_as_were_asked_for_and_they_take_turns", |fake| {
        let (program, ready, plan) = planned(fake);
        let present = executed(fake, &program, plan, &ready);
        for (asked, us, rounds) in [(1, 10.0, 9), (3, 10.0, 9), (3, 1500.0, 5), (3, 9000.0, 3)] {
            ok(set(plan, ALG_ID, 0)).unwrap();
            ok(set(plan, SPLITS, 0)).unwrap();
            fake.reset();
            fake.set_duration("pack", 0, 0, 0.0);
            fake.set_duration("spmm", 0, 0, us);
            search(&program, plan, &ready, asked);
            let launched: Vec<Shape> = products(fake).into_iter().map(|p| p.0).collect();
            // Four ahead of each round, and a round that does not count.
            let a_round = 4 + asked as usize;
            assert_eq!(launched.len(), a_round * (1 + rounds), "{us}");
            assert_eq!(launched[4], present, "the present choice is first");
            for (round, of_round) in launched.chunks(a_round).enumerate() {
                let ways: BTreeSet<_> = of_round.iter().collect();
                assert!(ways.len() <= asked as usize, "round {round}: {ways:?}");
            }
            let counts = fake.counts();
            assert_eq!(counts["cuEventCreate"], 2 * asked);
            assert_eq!(counts["cuEventDestroy_v2"], 2 * asked);
            assert_eq!(counts["cuEventElapsedTime"], asked * (1 + rounds as c_int));
            assert_eq!((counts["cuMemAlloc_v2"], counts["cuMemFree_v2"]), (1, 1));
        }
        end(fake, program, plan);
    });
}

#[test]
fn twice_the_l2_passes_before_a_copy_is_read_again() {
    test("twice_the_l2_passes_before_a_copy_is_read_again", |fake| {
        let (program, ready, plan) = planned(fake);
        let mut bytes = 0;
        // SAFETY: a live descriptor and valid places.
        ok(unsafe {
            let (mut m, mut k, mut nnz) = (0, 0, 0);
            flashllmSpMatGetSize(ready.sparse, &raw mut m, &raw mut k, &raw mut nnz, &raw mut bytes)
        })
        .unwrap();
        executed(fake, &program, plan, &ready);
        let own = products(fake)[0].1;
        fake.reset();
        search(&program, plan, &ready, 0);
        // Where the table of each A lies.
        let read: Vec<u64> = products(fake).into_iter().map(|p| p.1).collect();
        let copies = read.iter().collect::<BTreeSet<_>>().len();
        assert_eq!(read[0], own, "A itself is one of them");
        assert!((copies - 1) * bytes >= 2 * L2_BYTES as usize, "{copies} of {bytes} bytes");
        assert!(read.len() > 2 * copies);
        for window in read.windows(copies) {
            assert_eq!(window.iter().collect::<BTreeSet<_>>().len(), copies);
        }
        end(fake, program, plan);

        // A that is as large as twice the L2 needs none.
        fake.reset();
        fake.set_attribute(38, 1000);
        let mut program = Program::default();
        let ready = program.prepare_as(BANKED).unwrap();
        let plan = plan_for(&program, &ready);
        fake.reset();
        search(&program, plan, &ready, 0);
        let read: BTreeSet<u64> = products(fake).into_iter().map(|p| p.1).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(fake.counts().get("cuMemcpyDtoDAsync_v2"), None);
        end(fake, program, plan);
    });
}

#[test]
fn a_copy_holds_the_bytes_of_a() {
    test("a_copy_holds_the_bytes_of_a", |fake| {
        let (program, ready, plan) = planned(fake);
        let (mut buffer, mut bytes) = (ptr::null_mut(), 0);
        // SAFETY: a live descriptor and valid places.
        ok(unsafe { flashllmSpMatGetBuffer(ready.sparse, &raw mut buffer, &raw mut bytes) })
            .unwrap();
        executed(fake, &program, plan, &ready);
        let table = products(fake)[0].1 - buffer.addr() as u64;
        fake.reset();
        // The memory is still there when the first free fails, and goes with the handle.
        fake.fail("cuMemFree_v2", 1, 719);
        search(&program, plan, &ready, 0);
        assert!(fake.failed());
        // SAFETY: what plays device memory is host memory of this size.
        let own = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), bytes) };
        let copies: BTreeSet<u64> = products(fake).into_iter().map(|p| p.1 - table).collect();
        assert!(copies.len() > 2);
        for copy in copies {
            let at = ptr::with_exposed_provenance::<u8>(copy as usize);
            // SAFETY: as above; the search did not get to free it.
            let copy = unsafe { std::slice::from_raw_parts(at, bytes) };
            assert!(copy == own);
        }
        end(fake, program, plan);
    });
}

#[test]
fn a_search_writes_memory_of_its_own_alone() {
    test("a_search_writes_memory_of_its_own_alone", |fake| {
        let (program, ready, plan) = planned(fake);
        let bytes = ROWS * N * 2;
        let mut values = ptr::null_mut();
        // SAFETY: a live descriptor and a valid place.
        ok(unsafe { flashllmDnMatGetValues(ready.c, &raw mut values) }).unwrap();
        // SAFETY: what plays device memory is host memory of this size.
        unsafe { values.cast::<u8>().write_bytes(0x5a, bytes) };
        let alive = fake.get("fake_live_allocations");
        fake.reset();
        search(&program, plan, &ready, 0);
        assert_eq!(fake.get("fake_live_allocations"), alive);
        assert_eq!(fake.get("fake_live_staging"), 0);
        // SAFETY: as above.
        let c = unsafe { std::slice::from_raw_parts(values.cast::<u8>(), bytes) };
        assert!(c.iter().all(|&byte| byte == 0x5a));
        assert_eq!(fake.get("fake_depth"), 0, "the caller's context is not as it was");
        end(fake, program, plan);
    });
}

#[test]
fn a_search_of_a_capturing_stream_is_refused_before_it_does_anything() {
    test("a_search_of_a_capturing_stream_is_refused_before_it_does_anything", |fake| {
        let (program, ready, plan) = planned(fake);
        let before = numbers(&program, plan);
        let stream = fake.stream(0, ptr::null_mut());
        ok(flashllmSetStream(program.handle(), stream.cast())).unwrap();
        fake.set_capturing(stream, 1);
        fake.reset();
        let (status, us) = try_search(&program, plan, &ready, 0);
        assert_eq!(status, FLASHLLM_STATUS_NOT_SUPPORTED);
        assert!(message().contains("make it before the capture begins"), "{}", message());
        assert_eq!(us.to_bits(), (-1.0_f32).to_bits(), "nothing is written");
        let mut counts = fake.counts();
        assert_eq!(counts.remove("cuStreamIsCapturing"), Some(1), "{counts:?}");
        assert!(counts.keys().all(|name| name.starts_with("cuCtx")), "{counts:?}");
        let capturing = fake.pointer("fake_capturing", stream).addr() as c_int;
        assert_eq!(capturing, 1, "the capture is spoilt");
        assert_eq!(numbers(&program, plan), before);
        fake.set_capturing(stream, 0);
        // And then it runs on that stream.
        search(&program, plan, &ready, 0);
        assert_eq!(fake.pointer("fake_last_stream", ptr::null_mut()), stream);
        end(fake, program, plan);
    });
}

#[test]
fn a_search_that_the_driver_ends_changes_nothing_and_leaves_nothing() {
    test("a_search_that_the_driver_ends_changes_nothing_and_leaves_nothing", |fake| {
        let (program, ready, plan) = planned(fake);
        let before = numbers(&program, plan);
        let mut alive = (fake.get("fake_live_allocations"), fake.get("fake_live_staging"));
        fake.reset();
        search(&program, plan, &ready, 4);
        let healthy = fake.counts();
        for name in ["cuMemAlloc_v2", "cuMemcpyDtoDAsync_v2", "cuEventRecord", "cuLaunchKernel"] {
            assert!(healthy.contains_key(name), "{name}: {healthy:?}");
        }
        let mut refused = 0;
        for (function, &calls) in &healthy {
            for nth in (1..=calls.min(12)).chain([calls / 2, calls]) {
                ok(set(plan, ALG_ID, 0)).unwrap();
                ok(set(plan, SPLITS, 0)).unwrap();
                for code in [2, 719] {
                    fake.reset();
                    // Another way would be taken, if the search went on.
                    fake.set_duration("spmm", 1, 0, 1.0);
                    fake.fail(function, nth.max(1), code);
                    let what = format!("{function} #{nth} of {calls} giving {code}");
                    let (status, us) = try_search(&program, plan, &ready, 4);
                    // What gives things back at the end has nobody to report to; memory then goes with the handle.
                    let gives_back = ["cuMemFree_v2", "cuEventDestroy_v2", "cuCtxPopCurrent_v2"]
                        .contains(&function.as_str())
                        || nth > calls - 4;
                    if status == FLASHLLM_STATUS_SUCCESS {
                        assert!(gives_back, "{what}");
                        ok(set(plan, ALG_ID, 0)).unwrap();
                        ok(set(plan, SPLITS, 0)).unwrap();
                    } else {
                        assert!(fake.failed(), "{what}: {status:?} {}", message());
                        assert_eq!(status, expected(code), "{what}: {}", message());
                        let stem = function.trim_end_matches("_v2").trim_end_matches("Ex");
                        assert!(message().contains(stem), "{what}: {}", message());
                        assert_eq!(us.to_bits(), (-1.0_f32).to_bits(), "{what}");
                        assert_eq!(numbers(&program, plan), before, "{what}");
                        refused += 1;
                    }
                    if function == "cuCtxPopCurrent_v2" {
                        // The fake refused to pop, so the stack is one too high: the driver's doing.
                        fake.set_current(ptr::null_mut());
                    }
                    assert!(fake.current().is_null(), "{what}");
                    let left = (fake.get("fake_live_allocations"), fake.get("fake_live_staging"));
                    assert!(left == alive || status == FLASHLLM_STATUS_SUCCESS, "{what}");
                    alive = left;
                }
            }
        }
        assert!(refused > 50, "{refused}");
        fake.reset();
        ok(flashllmSpMMPlanDestroy(plan)).unwrap();
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn a_limit_of_workspace_holds_for_what_a_search_finds() {
    test("a_limit_of_workspace_holds_for_what_a_search_finds", |fake| {
        let (program, ready, plan) = planned(fake);
        search(&program, plan, &ready, 1000);
        let all = shapes(fake);
        ok(set(plan, ALG_ID, 0)).unwrap();
        ok(set(plan, SPLITS, 0)).unwrap();
        let limit = size_of_workspace(&program, plan);
        ok(set(plan, WORKSPACE_LIMIT, limit)).unwrap();
        fake.reset();
        let before = executed(fake, &program, plan, &ready);
        fake.set_duration(&before.0, before.1, before.2, 50.0);
        search(&program, plan, &ready, 1000);
        assert!(size_of_workspace(&program, plan) <= limit);
        assert!(shapes(fake) != all, "ways that need more are timed all the same");
        end(fake, program, plan);
    });
}

#[test]
fn of_a_batch_one_product_is_timed_and_of_a_gate_none() {
    test("of_a_batch_one_product_is_timed_and_of_a_gate_none", |fake| {
        let (program, ready, plan) = planned(fake);
        search(&program, plan, &ready, 2);
        let single = products(fake).len();
        ok(flashllmSpMMPlanDestroy(plan)).unwrap();
        for (batch, gate) in [(3, false), (1, true)] {
            set_apart(&ready, batch);
            let plan = plan_for(&program, &ready);
            if gate {
                assert_eq!(set(plan, GATE, ready.sparse), FLASHLLM_STATUS_SUCCESS);
            }
            fake.reset();
            search(&program, plan, &ready, 2);
            assert_eq!(products(fake).len(), single);
            // All of it runs with what was found.
            let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
            fake.reset();
            let status = execute(&program, plan, ones(), &ready, workspace);
            assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
            assert_eq!(products(fake).len(), if gate { 2 } else { batch });
            assert_eq!(shapes(fake).len(), 1, "the gate takes the algorithm, too");
            ok(flashllmSpMMPlanDestroy(plan)).unwrap();
        }
        end(fake, program, ptr::null_mut());
    });
}

#[test]
fn a_plan_of_another_matrix_or_context_is_not_searched() {
    test("a_plan_of_another_matrix_or_context_is_not_searched", |fake| {
        let (one, two) = (fake.nth("fake_context", 0), fake.nth("fake_context", 1));
        fake.set_current(one);
        let (first, ready, plan) = planned(fake);
        fake.set_current(two);
        let mut second = Program::default();
        let other = second.prepare().unwrap();
        let status = |program: &Program, r: &Ready| try_search(program, plan, r, 0).0;
        assert_eq!(status(&second, &other), FLASHLLM_STATUS_INVALID_VALUE);
        assert!(message().contains("another device or CUDA context"), "{}", message());
        let foreign = Ready { sparse: other.sparse, ..ready };
        assert_eq!(status(&first, &foreign), FLASHLLM_STATUS_WRONG_CONTEXT, "{}", message());
        // Bitmap, in the right context.
        let mut third = Program::default();
        fake.set_current(one);
        let bitmap = third.prepare().unwrap();
        let foreign = Ready { sparse: bitmap.sparse, ..ready };
        assert_eq!(status(&first, &foreign), FLASHLLM_STATUS_INVALID_VALUE);
        assert!(message().contains("make a plan for matA"), "{}", message());
        let foreign = Ready { b: bitmap.c, ..ready };
        assert_eq!(status(&first, &foreign), FLASHLLM_STATUS_INVALID_VALUE);
        ok(flashllmSpMMPlanDestroy(plan)).unwrap();
        third.end();
        second.end();
        first.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn a_product_without_columns_is_not_timed() {
    test("a_product_without_columns_is_not_timed", |fake| {
        let mut program = Program::default();
        let ready = program.prepare_as(BANKED).unwrap();
        let empty = Ready {
            b: program.dense(COLS, 0, ptr::null_mut()),
            c: program.dense(ROWS, 0, ptr::null_mut()),
            ..ready
        };
        let plan = plan_for(&program, &empty);
        fake.reset();
        assert_eq!(search(&program, plan, &empty, 0).to_bits(), 0.0_f32.to_bits());
        assert!(fake.counts().is_empty(), "{:?}", fake.counts());
        end(fake, program, plan);
    });
}
