//! Plans, batches, groups and device scalars against the fake driver: what they call, and what they refuse.

use super::*;
use flash_llm::capi::batch::*;
use flash_llm::capi::logger::*;
use flash_llm::capi::plan::*;

fn test(name: &str, body: impl FnOnce(&Fake)) {
    with_driver(&format!("plan::{name}"), None, body);
}

const BIAS: c_int = 0;
const ACTIVATION: c_int = 2;
pub(super) const GATE: c_int = 3;
const RESIDUAL: c_int = 4;
pub(super) const ALG_ID: c_int = 5;
pub(super) const SPLITS: c_int = 6;
const PROGRAMMATIC_LAUNCH: c_int = 9;

pub(super) fn set<T>(plan: flashllmSpMMPlan_t, attr: c_int, value: T) -> flashllmStatus_t {
    // SAFETY: a value of its own size; the plan is looked up.
    unsafe {
        flashllmSpMMPlanSetAttribute(
            plan,
            RawSpMMPlanAttribute(attr),
            (&raw const value).cast(),
            size_of::<T>(),
        )
    }
}

pub(super) fn get(plan: flashllmSpMMPlan_t, attr: c_int) -> c_int {
    let mut value: c_int = -1;
    // SAFETY: a place of its own size; the plan is looked up.
    ok(unsafe {
        flashllmSpMMPlanGetAttribute(
            plan,
            RawSpMMPlanAttribute(attr),
            (&raw mut value).cast(),
            size_of::<c_int>(),
        )
    })
    .unwrap();
    value
}

pub(super) fn plan_for(program: &Program, r: &Ready) -> flashllmSpMMPlan_t {
    let mut plan = ptr::null_mut();
    // SAFETY: live descriptors and a valid place.
    ok(unsafe {
        flashllmSpMMPlanCreate(
            program.handle(),
            &raw mut plan,
            NON_TRANSPOSE,
            NON_TRANSPOSE,
            r.sparse,
            r.b,
            r.c,
            R_32F,
            RawSpMMAlg(0),
        )
    })
    .unwrap_or_else(|s| panic!("{s:?}: {}", message()));
    plan
}

pub(super) fn size_of_workspace(program: &Program, plan: flashllmSpMMPlan_t) -> usize {
    let mut bytes = 0;
    // SAFETY: a live plan and a valid place.
    ok(unsafe { flashllmSpMMPlan_bufferSize(program.handle(), plan, &raw mut bytes) }).unwrap();
    bytes
}

pub(super) fn execute(
    program: &Program,
    plan: flashllmSpMMPlan_t,
    (alpha, beta): (*const c_void, *const c_void),
    r: &Ready,
    workspace: *mut c_void,
) -> flashllmStatus_t {
    // SAFETY: live descriptors of device memory, and a workspace of the size asked for.
    unsafe {
        flashllmSpMMPlanExecute(program.handle(), plan, alpha, r.sparse, r.b, beta, r.c, workspace)
    }
}

fn group(program: &Program, count: usize, r: &Ready, workspace: *mut c_void) -> flashllmStatus_t {
    let (one, zero) = (1.0_f32, 0.0_f32);
    let a: Vec<flashllmConstSpMatDescr_t> = vec![r.sparse.cast_const(); count];
    let (b, c) = (vec![r.b.cast_const(); count], vec![r.c; count]);
    // SAFETY: arrays of `count` live descriptors, readable floats, a workspace of the size asked for.
    unsafe {
        flashllmSpMMGrouped(
            program.handle(),
            count as i64,
            NON_TRANSPOSE,
            (&raw const one).cast(),
            a.as_ptr(),
            b.as_ptr(),
            (&raw const zero).cast(),
            c.as_ptr(),
            R_32F,
            RawSpMMAlg(0),
            workspace,
        )
    }
}

fn size_of_group(program: &Program, count: usize, r: &Ready) -> usize {
    let (one, zero, mut bytes) = (1.0_f32, 0.0_f32, 0);
    let a: Vec<flashllmConstSpMatDescr_t> = vec![r.sparse.cast_const(); count];
    let (b, c) = (vec![r.b.cast_const(); count], vec![r.c; count]);
    // SAFETY: arrays of `count` live descriptors, readable floats, a valid place.
    ok(unsafe {
        flashllmSpMMGrouped_bufferSize(
            program.handle(),
            count as i64,
            NON_TRANSPOSE,
            (&raw const one).cast(),
            a.as_ptr(),
            b.as_ptr(),
            (&raw const zero).cast(),
            c.as_ptr(),
            R_32F,
            RawSpMMAlg(0),
            &raw mut bytes,
        )
    })
    .unwrap_or_else(|s| panic!("{s:?}: {}", message()));
    bytes
}

static ONE: f32 = 1.0;

pub(super) fn ones() -> (*const c_void, *const c_void) {
    ((&raw const ONE).cast(), (&raw const ONE).cast())
}

/// Only launches and, where the context is another, pushes and pops.
fn assert_computes_only(fake: &Fake, launches: c_int) {
    let (plain, extended) = self::launches(fake);
    let counts = fake.counts();
    assert_eq!(plain + extended, launches, "{counts:?}");
    assert_eq!(counts.get("cuCtxPushCurrent_v2"), counts.get("cuCtxPopCurrent_v2"), "{counts:?}");
    const COMPUTE: [&str; 5] = [
        "cuLaunchKernel",
        "cuLaunchKernelEx",
        "cuCtxGetCurrent",
        "cuCtxPushCurrent_v2",
        "cuCtxPopCurrent_v2",
    ];
    for name in counts.keys() {
        assert!(COMPUTE.contains(&name.as_str()), "{name} is called: {counts:?}");
    }
}

#[test]
fn an_execution_launches_and_does_nothing_else() {
    test("an_execution_launches_and_does_nothing_else", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
        let bias = program.malloc(ROWS * 2).unwrap();
        fake.reset();
        let plan = plan_for(&program, &ready);
        assert_eq!(set(plan, BIAS, bias), FLASHLLM_STATUS_SUCCESS);
        assert_eq!(set(plan, ACTIVATION, 1_i32), FLASHLLM_STATUS_SUCCESS);
        assert_eq!(set(plan, RESIDUAL, ready.c), FLASHLLM_STATUS_SUCCESS);
        let small = size_of_workspace(&program, plan);
        assert_eq!(set(plan, GATE, ready.sparse), FLASHLLM_STATUS_SUCCESS);
        let need = size_of_workspace(&program, plan);
        assert!(need >= small + ROWS * N * 4);
        assert!(fake.counts().is_empty(), "planning asks the driver nothing: {:?}", fake.counts());
        let workspace = program.malloc(need).unwrap();
        fake.reset();
        let status = execute(&program, plan, ones(), &ready, workspace);
        assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
        // B is packed once (300 columns of A are no multiple of 8), then the gate and the product.
        assert_computes_only(fake, 3);

        fake.reset();
        assert_eq!(set(plan, GATE, ptr::null::<c_void>()), FLASHLLM_STATUS_SUCCESS);
        assert_eq!(execute(&program, plan, ones(), &ready, workspace), FLASHLLM_STATUS_SUCCESS);
        assert_computes_only(fake, 2);

        let null = ptr::null_mut();
        let status = execute(&program, plan, ones(), &ready, null);
        assert_eq!(status, FLASHLLM_STATUS_NULL_POINTER, "{}", message());
        let status = execute(&program, plan, ones(), &ready, workspace.wrapping_byte_add(64));
        assert_eq!(status, FLASHLLM_STATUS_MISALIGNED, "{}", message());
        assert_eq!(set(plan, ALG_ID, 10_101_i32), FLASHLLM_STATUS_NOT_SUPPORTED);

        assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

/// One multiprocessor: no two CTAs of a row group run at a time, and launches with attributes are those that begin early.
fn without_clusters(fake: &Fake) {
    const MULTIPROCESSOR_COUNT: c_int = 16;
    fake.set_attribute(MULTIPROCESSOR_COUNT, 1);
}

#[test]
fn b_is_packed_again_for_a_product_whose_planes_are_not_the_gates() {
    test("b_is_packed_again_for_a_product_whose_planes_are_not_the_gates", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
        let full = vec![0x3c00_u16; ROWS * COLS];
        let (fuller, ..) = program.compressed(&full, RawFormat(3)).unwrap();
        let (b, c) =
            (program.malloc(COLS * 64 * 2).unwrap(), program.malloc(ROWS * 64 * 2).unwrap());
        let wide = Ready { b: program.dense(COLS, 64, b), c: program.dense(ROWS, 64, c), ..ready };
        // Slots for 48 columns, two slices, with more room than the gate's blocks leave: it takes 64, one slice.
        for (gate, packed) in [(ready.sparse, 1), (fuller, 2)] {
            let plan = plan_for(&program, &wide);
            assert_eq!(
                set(plan, ALG_ID, 306_050_612_i32),
                FLASHLLM_STATUS_SUCCESS,
                "{}",
                message()
            );
            assert_eq!(set(plan, GATE, gate), FLASHLLM_STATUS_SUCCESS, "{}", message());
            let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
            fake.reset();
            let status = execute(&program, plan, ones(), &wide, workspace);
            assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
            let (plain, with_attributes) = launches(fake);
            assert_eq!(plain + with_attributes, packed + 2, "{gate:p}");
            assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        }
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

/// How often the two kinds of launches were made.
fn launches(fake: &Fake) -> (c_int, c_int) {
    let counts = fake.counts();
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    (count("cuLaunchKernel"), count("cuLaunchKernelEx"))
}

/// The two kinds of launches of a product with a gate, for which B is packed.
fn launches_of_a_gated_product(fake: &Fake, programmatic: i32) -> (c_int, c_int) {
    let mut program = Program::default();
    let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
    let plan = plan_for(&program, &ready);
    assert_eq!(set(plan, GATE, ready.sparse), FLASHLLM_STATUS_SUCCESS);
    assert_eq!(set(plan, PROGRAMMATIC_LAUNCH, programmatic), FLASHLLM_STATUS_SUCCESS);
    let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
    let before = launches(fake);
    let status = execute(&program, plan, ones(), &ready, workspace);
    assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
    let after = launches(fake);
    assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
    program.end();
    fake.assert_nothing_alive("at the end");
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn only_kernels_that_wait_are_launched_before_the_work_ahead_has_ended() {
    test("only_kernels_that_wait_are_launched_before_the_work_ahead_has_ended", |fake| {
        without_clusters(fake);
        assert_eq!(launches_of_a_gated_product(fake, 0), (3, 0));
        // Not the one that packs B.
        assert_eq!(launches_of_a_gated_product(fake, 1), (1, 2));
        // An Ampere GPU, whose kernels do not wait.
        fake.set_attribute(75, 8);
        assert_eq!(launches_of_a_gated_product(fake, 1), (3, 0));
    });
}

#[test]
fn b_of_many_columns_is_packed_beside_the_start_of_the_product() {
    test("b_of_many_columns_is_packed_beside_the_start_of_the_product", |fake| {
        // Slots on Hopper; drivers before 12.3 do not capture launches that overlap.
        for (driver, columns, expected) in
            [(12030, 40, (1, 1)), (12020, 40, (2, 0)), (12030, 64, (1, 1)), (12030, 20, (2, 0))]
        {
            fake.nth("fake_set_driver_version", driver);
            without_clusters(fake);
            let mut program = Program::default();
            let ready =
                program.prepare_as(RawFormat(3)).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            let (b, c) =
                (program.malloc(COLS * 64 * 2).unwrap(), program.malloc(ROWS * 64 * 2).unwrap());
            let wide = Ready {
                b: program.dense(COLS, columns, b),
                c: program.dense(ROWS, columns, c),
                ..ready
            };
            let workspace = program.malloc(size_of_product(&program, &wide)).unwrap();
            fake.reset();
            program.multiply(&Ready { workspace, ..wide }, false).unwrap();
            assert_eq!(launches(fake), expected, "{columns} columns, driver {driver}");
            program.end();
            fake.assert_nothing_alive("at the end");
        }
    });
}

#[test]
fn b_of_banked_is_described_to_the_driver_where_its_kernel_reads_it() {
    test("b_of_banked_is_described_to_the_driver_where_its_kernel_reads_it", |fake| {
        let maps = |fake: &Fake| fake.counts().get("cuTensorMapEncodeTiled").copied().unwrap_or(0);
        // Banked on Hopper and on Ampere, and Slots; B where it is, and where 16 bytes are no multiple of its columns' distance.
        for (format, major, columns, expected) in
            [(4, 9, 1, 1), (4, 9, 40, 1), (4, 8, 40, 0), (3, 9, 40, 0), (4, 9, 100, 1)]
        {
            for distance in [COLS, COLS + 1] {
                fake.set_attribute(75, major);
                let mut program = Program::default();
                let ready = program
                    .prepare_as(RawFormat(format))
                    .unwrap_or_else(|s| panic!("{s:?}: {}", message()));
                let b = program.malloc((COLS + 1) * columns * 2).unwrap();
                let c = program.malloc(ROWS * columns * 2).unwrap();
                let wide = Ready {
                    b: program.dense_apart(COLS, columns, distance, b),
                    c: program.dense(ROWS, columns, c),
                    ..ready
                };
                let workspace = program.malloc(size_of_product(&program, &wide)).unwrap();
                let wide = Ready { workspace, ..wide };
                fake.reset();
                program.multiply(&wide, false).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
                assert_eq!(maps(fake), expected, "format {format}, {columns} columns");
                if expected > 0 {
                    fake.reset();
                    fake.fail("cuTensorMapEncodeTiled", 1, 1);
                    let status = program.multiply(&wide, false).unwrap_err();
                    assert_ne!(status, FLASHLLM_STATUS_SUCCESS);
                    assert!(message().contains("cuTensorMapEncodeTiled"), "{}", message());
                    fake.reset();
                    program.multiply(&wide, false).unwrap();
                }
                program.end();
                fake.assert_nothing_alive("at the end");
            }
        }
    });
}

/// How often the library said that it had planned.
static PLANNED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

unsafe extern "C" fn count_plans(_: c_int, function: *const c_char, _: *const c_char) {
    // SAFETY: the library gives strings that end in NUL.
    if unsafe { CStr::from_ptr(function) } == c"SpMMPlan" {
        PLANNED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn attributes_that_cannot_change_a_plan_do_not_plan_anew() {
    test("attributes_that_cannot_change_a_plan_do_not_plan_anew", |fake| {
        // SAFETY: a function that lives as long as the program.
        unsafe {
            assert_eq!(flashllmLoggerSetCallback(Some(count_plans)), FLASHLLM_STATUS_SUCCESS);
        };
        assert_eq!(flashllmLoggerSetLevel(3), FLASHLLM_STATUS_SUCCESS);
        let planned = || PLANNED.swap(0, std::sync::atomic::Ordering::Relaxed);
        let mut program = Program::default();
        let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
        let plan = plan_for(&program, &ready);
        assert_eq!(planned(), 1);
        for (attribute, status) in [
            (BIAS, set(plan, BIAS, program.malloc(ROWS * 2).unwrap())),
            (ACTIVATION, set(plan, ACTIVATION, 1)),
            (RESIDUAL, set(plan, RESIDUAL, ready.c)),
            (PROGRAMMATIC_LAUNCH, set(plan, PROGRAMMATIC_LAUNCH, 1)),
        ] {
            assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
            assert_eq!(planned(), 0, "attribute {attribute}");
        }
        // The gate's blocks may be larger; those of the same gate are not.
        for (gate, times) in [(ready.sparse, 1), (ready.sparse, 0), (ptr::null_mut(), 1)] {
            assert_eq!(set(plan, GATE, gate), FLASHLLM_STATUS_SUCCESS, "{}", message());
            assert_eq!(planned(), times);
        }
        assert_eq!(set(plan, SPLITS, 1), FLASHLLM_STATUS_SUCCESS, "{}", message());
        assert_eq!(planned(), 1);
        assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn two_ctas_that_share_a_row_group_are_launched_as_a_cluster() {
    test("two_ctas_that_share_a_row_group_are_launched_as_a_cluster", |fake| {
        // Ampere has none.
        for (format, major, splits, early, expected) in [
            (4, 9, 1, 0, (2, 0)),
            (4, 9, 2, 0, (1, 1)),
            (4, 9, 2, 1, (1, 1)),
            (2, 9, 2, 0, (1, 1)),
            (3, 9, 2, 0, (1, 1)),
            (1, 9, 2, 0, (2, 0)),
            (4, 8, 2, 0, (2, 0)),
        ] {
            fake.set_attribute(75, major);
            let mut program = Program::default();
            let ready = program
                .prepare_as(RawFormat(format))
                .unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            let plan = plan_for(&program, &ready);
            assert_eq!(set(plan, SPLITS, splits), FLASHLLM_STATUS_SUCCESS, "{}", message());
            assert_eq!(set(plan, PROGRAMMATIC_LAUNCH, early), FLASHLLM_STATUS_SUCCESS);
            let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
            fake.reset();
            let status = execute(&program, plan, ones(), &ready, workspace);
            assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
            // The other one packs B.
            assert_eq!(launches(fake), expected, "format {format}, {splits} splits");
            assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
            program.end();
            fake.assert_nothing_alive("at the end");
        }
    });
}

#[test]
fn scalars_in_device_memory_are_not_touched_by_the_host() {
    test("scalars_in_device_memory_are_not_touched_by_the_host", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        let h = program.handle();
        assert_eq!(flashllmSetPointerMode(h, RawPointerMode(1)), FLASHLLM_STATUS_SUCCESS);
        let mut mode = flashllmPointerMode_t::FLASHLLM_POINTER_MODE_HOST;
        // SAFETY: a valid place.
        ok(unsafe { flashllmGetPointerMode(h, &raw mut mode) }).unwrap();
        assert_eq!(mode, flashllmPointerMode_t::FLASHLLM_POINTER_MODE_DEVICE);
        let plan = plan_for(&program, &ready);
        let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
        // Addresses that no host could read.
        let at = |address: usize| ptr::without_provenance::<c_void>(address);
        let run = |alpha, beta| execute(&program, plan, (alpha, beta), &ready, workspace);
        assert_eq!(run(at(0x1000), at(0x1004)), FLASHLLM_STATUS_SUCCESS, "{}", message());
        assert_eq!(run(at(0x1002), at(0x1004)), FLASHLLM_STATUS_MISALIGNED);
        assert_eq!(run(at(0x1000), at(0)), FLASHLLM_STATUS_NULL_POINTER);
        assert_eq!(flashllmSetPointerMode(h, RawPointerMode(0)), FLASHLLM_STATUS_SUCCESS);
        assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn a_planned_batch_is_one_launch_where_it_folds_and_one_each_where_not() {
    test("a_planned_batch_is_one_launch_where_it_folds_and_one_each_where_not", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        // Strides are all that decides; the fake kernels touch nothing.
        for (b_stride, c_stride, launches) in
            [(COLS * N, ROWS * N, 1), (COLS * N, ROWS * N + 8, 3), (0, ROWS * N, 3)]
        {
            let (b, c) = (b_stride as i64, c_stride as i64);
            ok(flashllmDnMatSetStridedBatch(ready.b, 3, b)).unwrap();
            ok(flashllmDnMatSetStridedBatch(ready.c, 3, c)).unwrap();
            let plan = plan_for(&program, &ready);
            let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
            fake.reset();
            let status = execute(&program, plan, ones(), &ready, workspace);
            assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
            // And as many to pack B.
            assert_computes_only(fake, 2 * launches);
            assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        }
        ok(flashllmDnMatSetStridedBatch(ready.b, 2, 0)).unwrap();
        assert_eq!(program.multiply(&ready, false), Err(FLASHLLM_STATUS_INVALID_VALUE));
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn a_plan_without_columns_knows_its_algorithm() {
    test("a_plan_without_columns_knows_its_algorithm", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        let none = Ready {
            b: program.dense(COLS, 0, ready.workspace),
            c: program.dense(ROWS, 0, ready.workspace),
            ..ready
        };
        let columns = plan_for(&program, &ready);
        let algorithm = get(columns, ALG_ID);
        let plan = plan_for(&program, &none);
        assert_eq!(set(plan, ALG_ID, 999_999_i32), FLASHLLM_STATUS_NOT_SUPPORTED);
        assert_eq!(set(plan, ALG_ID, algorithm), FLASHLLM_STATUS_SUCCESS, "{}", message());
        assert_eq!(get(plan, ALG_ID), algorithm);
        assert_eq!(size_of_workspace(&program, plan), 0);
        for plan in [plan, columns] {
            assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        }
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn columns_without_number_are_packed_and_multiplied() {
    test("columns_without_number_are_packed_and_multiplied", |fake| {
        let mut program = Program::default();
        // The fake kernels touch nothing, so that a few bytes do for all columns. COLS is no multiple of 8.
        let few = program.prepare_as(RawFormat(1)).unwrap();
        let columns = 65_535 * 32 + 1;
        let many = Ready {
            b: program.dense(COLS, columns, few.workspace),
            c: program.dense(ROWS, columns, few.workspace),
            ..few
        };
        assert!(size_of_product(&program, &many) > COLS * columns * 2);
        fake.reset();
        program.multiply(&many, false).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
        let (plain, extended) = launches(fake);
        assert_eq!(plain + extended, 2);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn a_batch_folds_only_as_far_as_one_launch_goes() {
    test("a_batch_folds_only_as_far_as_one_launch_goes", |fake| {
        let mut program = Program::default();
        let few = program.prepare_as(RawFormat(5)).unwrap();
        let most = 65_535 * 8;
        // B of each is packed; two that do not fold share a launch.
        for (columns, count, expected) in
            [(most / 3, 3, Some(2)), (most / 2 + 8, 2, Some(3)), (most + 1, 1, None)]
        {
            let wide = Ready {
                b: program.dense(COLS, columns, few.workspace),
                c: program.dense(ROWS, columns, few.workspace),
                ..few
            };
            ok(flashllmDnMatSetStridedBatch(wide.b, count, (COLS * columns) as i64)).unwrap();
            ok(flashllmDnMatSetStridedBatch(wide.c, count, (ROWS * columns) as i64)).unwrap();
            fake.reset();
            let result = program.multiply(&wide, false);
            if let Some(expected) = expected {
                result.unwrap_or_else(|s| panic!("{s:?}: {}", message()));
                let (plain, extended) = launches(fake);
                assert_eq!(plain + extended, expected, "{columns} x {count}");
            } else {
                assert_eq!(result, Err(FLASHLLM_STATUS_SIZE_OVERFLOW));
                assert!(message().contains("N = 524281"), "{}", message());
            }
        }
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

/// The bytes that flashllmSpMM needs for the descriptors as they are.
fn size_of_product(program: &Program, r: &Ready) -> usize {
    let ((alpha, beta), mut bytes) = (ones(), 0);
    // SAFETY: live descriptors, readable floats, a valid place.
    ok(unsafe {
        flashllmSpMM_bufferSize(
            program.handle(),
            NON_TRANSPOSE,
            NON_TRANSPOSE,
            alpha,
            r.sparse,
            r.b,
            beta,
            r.c,
            R_32F,
            RawSpMMAlg(0),
            &raw mut bytes,
        )
    })
    .unwrap_or_else(|s| panic!("{s:?}: {}", message()));
    bytes
}

/// Makes B and C batches that do not continue each other.
pub(super) fn set_apart(r: &Ready, count: usize) {
    let (b, c) = (COLS * N, ROWS * N + 8);
    ok(flashllmDnMatSetStridedBatch(r.b, count as i64, b as i64)).unwrap();
    ok(flashllmDnMatSetStridedBatch(r.c, count as i64, c as i64)).unwrap();
}

#[test]
fn sixteen_products_of_a_batch_share_a_launch() {
    test("sixteen_products_of_a_batch_share_a_launch", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        let single = size_of_product(&program, &ready);
        let mut at_16 = 0;
        for count in [2, 15, 16, 17, 33, 100] {
            set_apart(&ready, count);
            fake.reset();
            let need = size_of_product(&program, &ready);
            assert!(fake.counts().is_empty(), "{:?}", fake.counts());
            assert!(need > single, "{count}: {need} bytes");
            if count == 16 {
                at_16 = need;
            }
            // Later launches use the workspace of the first again.
            assert!(at_16 == 0 || need <= 2 * at_16, "{count}: {need} bytes, {at_16} for 16");
            let workspace = program.malloc(need).unwrap();
            let batch = Ready { workspace, ..ready };
            program.multiply(&batch, true).unwrap();
            fake.reset();
            program.multiply(&batch, false).unwrap_or_else(|s| panic!("{s:?}: {}", message()));
            // Each B has to be packed.
            assert_computes_only(fake, (count.div_ceil(16) + count) as c_int);
            let misplaced = Ready { workspace: ptr::null_mut(), ..ready };
            let status = program.multiply(&misplaced, false);
            assert_eq!(status, Err(FLASHLLM_STATUS_NULL_POINTER));
            assert!(message().contains(&need.to_string()), "{}", message());
            ok(flashllmFree(program.handle(), workspace)).unwrap();
        }
        // What continues is one product, packed once.
        ok(flashllmDnMatSetStridedBatch(ready.b, 4, (COLS * N) as i64)).unwrap();
        ok(flashllmDnMatSetStridedBatch(ready.c, 4, (ROWS * N) as i64)).unwrap();
        let workspace = program.malloc(size_of_product(&program, &ready)).unwrap();
        fake.reset();
        program.multiply(&Ready { workspace, ..ready }, false).unwrap();
        assert_computes_only(fake, 2);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn sixteen_products_of_a_group_share_a_launch() {
    test("sixteen_products_of_a_group_share_a_launch", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        for (count, launches) in [(1, 1), (16, 1), (17, 2), (40, 3)] {
            let need = size_of_group(&program, count, &ready);
            let workspace = program.malloc(need).unwrap();
            fake.reset();
            let status = group(&program, count, &ready, workspace);
            assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
            // Each B has to be packed.
            assert_computes_only(fake, launches + count as c_int);
        }
        let status = group(&program, 3, &ready, ptr::null_mut());
        assert_eq!(status, FLASHLLM_STATUS_NULL_POINTER, "{}", message());
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn a_capturing_stream_takes_plans_batches_and_groups() {
    test("a_capturing_stream_takes_plans_batches_and_groups", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        let workspace = program.malloc(1 << 24).unwrap();
        let stream = fake.stream(0, ptr::null_mut());
        ok(flashllmSetStream(program.handle(), stream.cast())).unwrap();
        fake.set_capturing(stream, 1);
        fake.reset();
        let plan = plan_for(&program, &ready);
        assert_eq!(set(plan, GATE, ready.sparse), FLASHLLM_STATUS_SUCCESS);
        assert!(size_of_workspace(&program, plan) <= 1 << 24);
        assert_eq!(execute(&program, plan, ones(), &ready, workspace), FLASHLLM_STATUS_SUCCESS);
        assert!(size_of_group(&program, 5, &ready) <= 1 << 24);
        assert_eq!(group(&program, 5, &ready, workspace), FLASHLLM_STATUS_SUCCESS);
        assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        set_apart(&ready, 5);
        assert!(size_of_product(&program, &ready) <= 1 << 24);
        program.multiply(&Ready { workspace, ..ready }, false).unwrap();
        assert_computes_only(fake, 3 + 6 + 6);
        let capturing = fake.pointer("fake_capturing", stream).addr() as c_int;
        assert_eq!(capturing, 1, "the capture is spoilt");
        fake.set_capturing(stream, 0);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn every_failing_launch_of_a_plan_or_group_is_reported() {
    test("every_failing_launch_of_a_plan_or_group_is_reported", |fake| {
        without_clusters(fake);
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        let workspace = program.malloc(1 << 24).unwrap();
        let plan = plan_for(&program, &ready);
        assert_eq!(set(plan, GATE, ready.sparse), FLASHLLM_STATUS_SUCCESS);
        for nth in 1..=3 {
            fake.fail("cuLaunchKernel", nth, 719);
            let status = execute(&program, plan, ones(), &ready, workspace);
            assert_eq!(status, FLASHLLM_STATUS_EXECUTION_FAILED, "launch {nth}");
            assert_eq!(driver_code(), 719);
            assert!(fake.failed());
        }
        for nth in 1..=20 {
            fake.fail("cuLaunchKernel", nth, 2);
            let status = group(&program, 18, &ready, workspace);
            assert_eq!(status, FLASHLLM_STATUS_ALLOC_FAILED, "launch {nth}");
        }
        set_apart(&ready, 18);
        assert!(size_of_product(&program, &ready) <= 1 << 24);
        for nth in 1..=20 {
            fake.fail("cuLaunchKernel", nth, 2);
            let status = program.multiply(&Ready { workspace, ..ready }, false);
            assert_eq!(status, Err(FLASHLLM_STATUS_ALLOC_FAILED), "launch {nth}");
        }
        fake.reset();
        assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn estimates_are_read_and_not_set() {
    test("estimates_are_read_and_not_set", |_| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}: {}", message()));
        let plan = plan_for(&program, &ready);
        for attr in [10, 11] {
            let mut us = -1.0_f64;
            // SAFETY: a place of its own size; the plan is looked up.
            ok(unsafe {
                flashllmSpMMPlanGetAttribute(
                    plan,
                    RawSpMMPlanAttribute(attr),
                    (&raw mut us).cast(),
                    size_of::<f64>(),
                )
            })
            .unwrap();
            // Nobody has measured this device.
            assert_eq!(us.to_bits(), 0.0_f64.to_bits(), "attribute {attr}");
            assert_eq!(set(plan, attr, 1.0_f64), FLASHLLM_STATUS_INVALID_VALUE);
            assert!(message().contains("can be read, not set"), "{}", message());
        }
        ok(flashllmSpMMPlanDestroy(plan)).unwrap();
    });
}

#[test]
fn a_plan_belongs_to_its_context() {
    test("a_plan_belongs_to_its_context", |fake| {
        let (one, two) = (fake.nth("fake_context", 0), fake.nth("fake_context", 1));
        fake.set_current(one);
        let mut first = Program::default();
        let ready = first.prepare().unwrap();
        let plan = plan_for(&first, &ready);
        fake.set_current(two);
        let mut second = Program::default();
        let other = second.prepare().unwrap();
        let status = execute(&second, plan, ones(), &other, other.workspace);
        assert_eq!(status, FLASHLLM_STATUS_INVALID_VALUE, "{}", message());
        assert!(message().contains("another device or CUDA context"), "{}", message());
        // Its gate has to be of the same context too, which shows when it is used.
        assert_eq!(set(plan, GATE, other.sparse), FLASHLLM_STATUS_SUCCESS);
        let workspace = first.malloc(size_of_workspace(&first, plan)).unwrap();
        let status = execute(&first, plan, ones(), &ready, workspace);
        assert_eq!(status, FLASHLLM_STATUS_WRONG_CONTEXT, "{}", message());
        assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        second.end();
        first.end();
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn sixteen_threads_with_handles_and_streams_of_their_own() {
    test("sixteen_threads_with_handles_and_streams_of_their_own", |fake| {
        // The streams of the fake driver belong to the primary context, which somebody has to keep.
        let keeper = create().unwrap();
        let streams: Vec<usize> = (0..16).map(|i| fake.stream(i, ptr::null_mut()).addr()).collect();
        std::thread::scope(|scope| {
            for stream in streams {
                scope.spawn(move || {
                    let mut program = Program::default();
                    let ready = program.prepare().unwrap_or_else(|s| panic!("{s:?}"));
                    let stream = ptr::without_provenance_mut(stream);
                    ok(flashllmSetStream(program.handle(), stream)).unwrap();
                    let plan = plan_for(&program, &ready);
                    let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
                    for round in 0..50_i32 {
                        assert_eq!(set(plan, ACTIVATION, round % 5), FLASHLLM_STATUS_SUCCESS);
                        let status = execute(&program, plan, ones(), &ready, workspace);
                        assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
                    }
                    assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
                    program.end();
                });
            }
        });
        assert_eq!(flashllmDestroy(keeper), FLASHLLM_STATUS_SUCCESS);
        fake.assert_nothing_alive("at the end");
    });
}

#[test]
fn one_plan_is_set_and_executed_by_many_threads() {
    test("one_plan_is_set_and_executed_by_many_threads", |fake| {
        let mut program = Program::default();
        let ready = program.prepare().unwrap();
        let plan = plan_for(&program, &ready);
        assert_eq!(set(plan, GATE, ready.sparse), FLASHLLM_STATUS_SUCCESS);
        // Enough for the plan with and without its gate.
        let workspace = program.malloc(size_of_workspace(&program, plan)).unwrap();
        let (handle, plan_key) = (program.handle().addr(), plan.addr());
        let (sparse, b, c) = (ready.sparse.addr(), ready.b.addr(), ready.c.addr());
        let workspace = workspace.addr();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    let plan = ptr::without_provenance_mut(plan_key);
                    let program = Program {
                        handle: Some(ptr::without_provenance_mut(handle)),
                        ..Program::default()
                    };
                    let workspace = ptr::without_provenance_mut(workspace);
                    let ready = Ready {
                        sparse: ptr::without_provenance_mut(sparse),
                        b: ptr::without_provenance_mut(b),
                        c: ptr::without_provenance_mut(c),
                        workspace,
                    };
                    for round in 0..100 {
                        if thread % 2 == 0 {
                            let gate = if round % 2 == 0 { ptr::null_mut() } else { ready.sparse };
                            assert_eq!(set(plan, GATE, gate), FLASHLLM_STATUS_SUCCESS);
                        }
                        let status = execute(&program, plan, ones(), &ready, workspace);
                        assert_eq!(status, FLASHLLM_STATUS_SUCCESS, "{}", message());
                    }
                });
            }
        });
        assert_eq!(flashllmSpMMPlanDestroy(plan), FLASHLLM_STATUS_SUCCESS);
        program.end();
        fake.assert_nothing_alive("at the end");
    });
}
