//! Rows of plans, batches and the logger.

use super::*;
use flash_llm::capi::batch::*;
use flash_llm::capi::logger::*;
use flash_llm::capi::plan::*;

const BIAS: c_int = 0;
const BIAS_TYPE: c_int = 1;
const ACTIVATION: c_int = 2;
const GATE: c_int = 3;
const RESIDUAL: c_int = 4;
const ALG_ID: c_int = 5;
const SPLITS: c_int = 6;
const DETERMINISTIC: c_int = 7;
const WORKSPACE_LIMIT: c_int = 8;
const PROGRAMMATIC_LAUNCH: c_int = 9;
const ESTIMATE: c_int = 10;
const DENSE_ESTIMATE: c_int = 11;

/// What is wrong, the status, and the change to a right call.
type Row<T> = (&'static str, flashllmStatus_t, fn(&World, &mut T));

/// What flashllmSpMMPlanCreate takes.
#[derive(Clone, Copy)]
struct Create {
    handle: flashllmHandle_t,
    op_a: c_int,
    op_b: c_int,
    a: flashllmSpMatDescr_t,
    b: flashllmDnMatDescr_t,
    c: flashllmDnMatDescr_t,
    compute: RawDataType,
    alg: c_int,
}

impl Create {
    fn right(w: &World) -> Self {
        let (a, b, c) = (w.sparse, w.b, w.c);
        Self { handle: w.handle, op_a: 0, op_b: 0, a, b, c, compute: F32, alg: 0 }
    }

    fn call(self, plan: *mut flashllmSpMMPlan_t) -> flashllmStatus_t {
        unsafe {
            flashllmSpMMPlanCreate(
                self.handle,
                plan,
                RawOperation(self.op_a),
                RawOperation(self.op_b),
                self.a,
                self.b,
                self.c,
                self.compute,
                RawSpMMAlg(self.alg),
            )
        }
    }

    fn plan(self) -> flashllmSpMMPlan_t {
        let mut plan = ptr::null_mut();
        good(self.call(&raw mut plan));
        plan
    }
}

/// What flashllmSpMMPlanExecute takes.
#[derive(Clone, Copy)]
struct Execute {
    handle: flashllmHandle_t,
    plan: flashllmSpMMPlan_t,
    alpha: *const c_void,
    a: flashllmSpMatDescr_t,
    b: flashllmDnMatDescr_t,
    beta: *const c_void,
    c: flashllmDnMatDescr_t,
    workspace: *mut c_void,
}

impl Execute {
    fn call(self) -> flashllmStatus_t {
        unsafe {
            flashllmSpMMPlanExecute(
                self.handle,
                self.plan,
                self.alpha,
                self.a,
                self.b,
                self.beta,
                self.c,
                self.workspace,
            )
        }
    }
}

fn set<T>(plan: flashllmSpMMPlan_t, attr: c_int, value: &T, bytes: usize) -> flashllmStatus_t {
    let value = ptr::from_ref(value).cast();
    unsafe { flashllmSpMMPlanSetAttribute(plan, RawSpMMPlanAttribute(attr), value, bytes) }
}

fn bad_plans(world: &World) -> Vec<(&'static str, flashllmSpMMPlan_t)> {
    let dead = Create::right(world).plan();
    good(flashllmSpMMPlanDestroy(dead));
    vec![
        ("NULL plan", ptr::null_mut()),
        ("wild plan", ptr::without_provenance_mut(0x28)),
        ("wild plan of ones", ptr::without_provenance_mut(usize::MAX)),
        ("destroyed plan", dead),
        ("handle as plan", world.handle.cast()),
        ("dense as plan", world.dense.cast()),
        ("sparse as plan", world.sparse.cast()),
    ]
}

pub fn cases(t: &mut Table, world: &World) {
    create_cases(t, world);
    attribute_cases(t, world);
    execute_cases(t, world);
    search_cases(t, world);
    query_cases(t, world);
    batch_cases(t, world);
    group_cases(t, world);
    type_cases(t);
    logger_cases(t);
}

fn create_cases(t: &mut Table, world: &World) {
    const NAME: &str = "flashllmSpMMPlanCreate";
    let rows: [Row<Create>; 16] = [
        ("opA transposed", FLASHLLM_STATUS_NOT_SUPPORTED, |_, c| c.op_a = 1),
        ("opA 2", FLASHLLM_STATUS_INVALID_VALUE, |_, c| c.op_a = 2),
        ("opB -1", FLASHLLM_STATUS_INVALID_VALUE, |_, c| c.op_b = -1),
        ("computeType fp16", FLASHLLM_STATUS_NOT_SUPPORTED, |_, c| c.compute = F16),
        ("computeType bfloat16", FLASHLLM_STATUS_NOT_SUPPORTED, |_, c| c.compute = BF16),
        ("computeType 1", FLASHLLM_STATUS_INVALID_VALUE, |_, c| c.compute = RawDataType(1)),
        ("alg 1", FLASHLLM_STATUS_INVALID_VALUE, |_, c| c.alg = 1),
        ("matC is const", FLASHLLM_STATUS_INVALID_VALUE, |w, c| c.c = w.c_const.cast_mut()),
        ("matB is fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, |w, c| c.b = w.b_f32),
        ("matB is turned", FLASHLLM_STATUS_INVALID_VALUE, |_, c| c.op_b = 1),
        ("matB has M rows", FLASHLLM_STATUS_INVALID_VALUE, |w, c| c.b = w.c),
        ("matC has other columns", FLASHLLM_STATUS_INVALID_VALUE, |w, c| c.c = w.dense),
        ("matA has other rows", FLASHLLM_STATUS_INVALID_VALUE, |w, c| c.a = w.sparse_other_shape),
        ("matA is empty", FLASHLLM_STATUS_INVALID_VALUE, |w, c| c.a = w.sparse_empty),
        ("handle before descriptor", FLASHLLM_STATUS_NOT_INITIALIZED, |w, c| {
            c.handle = w.dead_handle;
            c.a = w.dead_sparse;
        }),
        ("descriptor before operation", FLASHLLM_STATUS_INVALID_VALUE, |w, c| {
            c.b = w.dead_dense;
            c.op_a = 1;
        }),
    ];
    for (what, want, change) in rows {
        t.create(NAME, what, want, move |w, a| {
            let mut create = Create::right(w);
            change(w, &mut create);
            create.call(a.at(0))
        });
    }
    for (what, handle) in world.bad_handles() {
        t.create(NAME, what, FLASHLLM_STATUS_NOT_INITIALIZED, move |w, a| {
            Create { handle, ..Create::right(w) }.call(a.at(0))
        });
    }
    for (what, a) in world.bad_sparse() {
        t.create(NAME, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, area| {
            Create { a, ..Create::right(w) }.call(area.at(0))
        });
    }
    for (what, d) in world.bad_dense() {
        t.create(NAME, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            Create { b: d, ..Create::right(w) }.call(a.at(0))
        });
        t.create(NAME, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            Create { c: d, ..Create::right(w) }.call(a.at(0))
        });
    }
    t.add(NAME, "NULL out", FLASHLLM_STATUS_NULL_POINTER, |w, _| {
        Create::right(w).call(ptr::null_mut())
    });
    t.add(NAME, "analysed is enough", FLASHLLM_STATUS_SUCCESS, |w, _| {
        let create = Create { a: w.sparse_analysed, ..Create::right(w) };
        flashllmSpMMPlanDestroy(create.plan())
    });
    t.add("flashllmSpMMPlanDestroy", "NULL is nothing", FLASHLLM_STATUS_SUCCESS, |_, _| {
        flashllmSpMMPlanDestroy(ptr::null_mut())
    });
    for (what, bad) in bad_plans(world).into_iter().filter(|b| !b.1.is_null()) {
        t.add("flashllmSpMMPlanDestroy", what, FLASHLLM_STATUS_INVALID_VALUE, move |_, _| {
            flashllmSpMMPlanDestroy(bad)
        });
    }
    t.add("flashllmSynchronize", "plan as handle", FLASHLLM_STATUS_NOT_INITIALIZED, |w, _| {
        let plan = Create::right(w).plan();
        let status = flashllmSynchronize(plan.cast());
        good(flashllmSpMMPlanDestroy(plan));
        status
    });
}

fn attribute_cases(t: &mut Table, world: &World) {
    const SET: &str = "flashllmSpMMPlanSetAttribute";
    const GET: &str = "flashllmSpMMPlanGetAttribute";
    let plan = Create::right(world).plan();
    let key = |p: *const c_void| p.addr() as u64;
    let (sparse_types, dense_types) = (world.bad_sparse(), world.bad_dense());
    let mut bad: Vec<(String, c_int, u64, usize, flashllmStatus_t)> = Vec::new();
    let invalid = FLASHLLM_STATUS_INVALID_VALUE;
    for (attr, size) in [
        (BIAS, 8),
        (BIAS_TYPE, 4),
        (ACTIVATION, 4),
        (GATE, 8),
        (RESIDUAL, 8),
        (ALG_ID, 4),
        (SPLITS, 4),
        (DETERMINISTIC, 4),
        (WORKSPACE_LIMIT, 8),
        (PROGRAMMATIC_LAUNCH, 4),
        (ESTIMATE, 8),
        (DENSE_ESTIMATE, 8),
    ] {
        for bytes in [0, size - 1, size + 1, 12 - size, usize::MAX] {
            bad.push((format!("attribute {attr} of {bytes} bytes"), attr, 0, bytes, invalid));
            t.add(GET, format!("attribute {attr} of {bytes} bytes"), invalid, move |_, a| unsafe {
                flashllmSpMMPlanGetAttribute(plan, RawSpMMPlanAttribute(attr), a.at(0), bytes)
            });
        }
        t.add(SET, format!("attribute {attr}, NULL"), FLASHLLM_STATUS_NULL_POINTER, move |_, _| {
            let attr = RawSpMMPlanAttribute(attr);
            unsafe { flashllmSpMMPlanSetAttribute(plan, attr, ptr::null(), size) }
        });
        t.add(GET, format!("attribute {attr}, NULL"), FLASHLLM_STATUS_NULL_POINTER, move |_, _| {
            let attr = RawSpMMPlanAttribute(attr);
            unsafe { flashllmSpMMPlanGetAttribute(plan, attr, ptr::null_mut(), size) }
        });
    }
    let int = |v: c_int| u64::from(v as u32);
    for value in [-1, 10, 77, c_int::MIN, c_int::MAX] {
        let attr = RawSpMMPlanAttribute(value);
        t.add(SET, format!("attribute {value}"), invalid, move |_, a| unsafe {
            flashllmSpMMPlanSetAttribute(plan, attr, a.at::<c_void>(0), 4)
        });
        t.add(GET, format!("attribute {value}"), invalid, move |_, a| unsafe {
            flashllmSpMMPlanGetAttribute(plan, attr, a.at(0), 4)
        });
        bad.push((format!("activation {value}"), ACTIVATION, int(value), 4, invalid));
        bad.push((format!("bias type {value}"), BIAS_TYPE, int(value), 4, invalid));
        bad.push((format!("determinism {value}"), DETERMINISTIC, int(value), 4, invalid));
        let what = format!("programmatic launch {value}");
        bad.push((what, PROGRAMMATIC_LAUNCH, int(value), 4, invalid));
    }
    for value in [-1, c_int::MIN] {
        bad.push((format!("algorithm {value}"), ALG_ID, int(value), 4, invalid));
        bad.push((format!("{value} splits"), SPLITS, int(value), 4, invalid));
    }
    for attr in [ESTIMATE, DENSE_ESTIMATE] {
        bad.push((format!("attribute {attr}, which is read only"), attr, 0, 8, invalid));
    }
    for value in [2, 10_101, c_int::MAX] {
        let want = FLASHLLM_STATUS_NOT_SUPPORTED;
        bad.push((format!("algorithm {value} on the host"), ALG_ID, int(value), 4, want));
    }
    for (what, p) in sparse_types.into_iter().filter(|b| !b.1.is_null()) {
        bad.push((format!("gate: {what}"), GATE, key(p.cast()), 8, invalid));
    }
    for (what, p) in dense_types.into_iter().filter(|b| !b.1.is_null()) {
        bad.push((format!("residual: {what}"), RESIDUAL, key(p.cast()), 8, invalid));
    }
    for (what, p) in [("empty", world.sparse_empty), ("another shape", world.sparse_other_shape)] {
        bad.push((format!("gate: {what}"), GATE, key(p.cast()), 8, invalid));
    }
    bad.push(("residual: B".to_owned(), RESIDUAL, key(world.b.cast()), 8, invalid));
    for (what, attr, value, bytes, want) in bad {
        t.add(SET, what, want, move |_, _| {
            // Sixteen bytes, for the sizes that are too large.
            let status = set(plan, attr, &[value, 0], bytes);
            let mut id: c_int = 0;
            let out = (&raw mut id).cast();
            good(unsafe {
                flashllmSpMMPlanGetAttribute(plan, RawSpMMPlanAttribute(ALG_ID), out, 4)
            });
            assert_eq!(id, 1, "a refusal changes nothing");
            status
        });
    }
    t.add(SET, "gate of another type", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, move |_, _| {
        let mut gate: flashllmSpMatDescr_t = ptr::null_mut();
        good(unsafe { flashllmCreateSpMat(&raw mut gate, M as i64, K as i64, BF16, RawFormat(0)) });
        let status = set(plan, GATE, &gate, 8);
        good(flashllmDestroySpMat(gate));
        status
    });
    t.add(SET, "limit below the gate's need", FLASHLLM_STATUS_INSUFFICIENT_RESOURCES, |w, _| {
        let plan = Create::right(w).plan();
        good(set(plan, GATE, &w.sparse, 8));
        let status = set(plan, WORKSPACE_LIMIT, &100_usize, 8);
        good(flashllmSpMMPlanDestroy(plan));
        status
    });
    for (what, bad) in bad_plans(world) {
        t.add(SET, what, invalid, move |_, _| set(bad, SPLITS, &1_i32, 4));
        t.add(GET, what, invalid, move |_, a| unsafe {
            flashllmSpMMPlanGetAttribute(bad, RawSpMMPlanAttribute(SPLITS), a.at(0), 4)
        });
    }
}

fn execute_cases(t: &mut Table, world: &World) {
    const NAME: &str = "flashllmSpMMPlanExecute";
    let (plan, gated) = (Create::right(world).plan(), Create::right(world).plan());
    let residual = Create::right(world).plan();
    good(set(gated, GATE, &world.sparse, 8));
    let base = move |w: &World| Execute {
        handle: w.handle,
        plan,
        alpha: (&raw const ONE).cast(),
        a: w.sparse,
        b: w.b,
        beta: (&raw const ONE).cast(),
        c: w.c,
        workspace: ptr::null_mut(),
    };
    let rows: [Row<Execute>; 15] = [
        ("NULL alpha", FLASHLLM_STATUS_NULL_POINTER, |_, e| e.alpha = ptr::null()),
        ("NULL beta", FLASHLLM_STATUS_NULL_POINTER, |_, e| e.beta = ptr::null()),
        ("matC is const", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.c = w.c_const.cast_mut()),
        ("matB is fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, |w, e| e.b = w.b_f32),
        ("matB has M rows", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.b = w.c),
        ("matC has other columns", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.c = w.dense),
        ("matA has other rows", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.a = w.sparse_other_shape),
        ("matA is empty", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.a = w.sparse_empty),
        ("matA is analysed only", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.a = w.sparse_analysed),
        ("matC over matB", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.c = w.c_over_b),
        ("matC over matA", FLASHLLM_STATUS_INVALID_VALUE, |w, e| e.c = w.c_over_a),
        ("handle before plan", FLASHLLM_STATUS_NOT_INITIALIZED, |w, e| {
            e.handle = w.dead_handle;
            e.plan = ptr::null_mut();
        }),
        ("plan before descriptor", FLASHLLM_STATUS_INVALID_VALUE, |w, e| {
            e.plan = ptr::null_mut();
            e.a = w.dead_sparse;
        }),
        ("descriptor before scalar", FLASHLLM_STATUS_INVALID_VALUE, |w, e| {
            e.a = w.dead_sparse;
            e.alpha = ptr::null();
        }),
        ("scalar before type", FLASHLLM_STATUS_NULL_POINTER, |w, e| {
            e.alpha = ptr::null();
            e.b = w.b_f32;
        }),
    ];
    for (what, want, change) in rows {
        t.add(NAME, what, want, move |w, _| {
            let mut execute = base(w);
            change(w, &mut execute);
            execute.call()
        });
    }
    t.handles(world, NAME, move |w, _, handle| Execute { handle, ..base(w) }.call());
    t.sparse(world, NAME, move |w, _, a| Execute { a, ..base(w) }.call());
    t.dense(world, NAME, move |w, _, b| Execute { b, ..base(w) }.call());
    t.dense(world, NAME, move |w, _, c| Execute { c, ..base(w) }.call());
    for (what, plan) in bad_plans(world) {
        t.add(NAME, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, _| {
            Execute { plan, ..base(w) }.call()
        });
    }
    t.add(NAME, "a gate without workspace", FLASHLLM_STATUS_NULL_POINTER, move |w, _| {
        Execute { plan: gated, ..base(w) }.call()
    });
    t.add(NAME, "a misaligned workspace", FLASHLLM_STATUS_MISALIGNED, move |w, _| {
        let workspace = w.buffer.wrapping_add(16).cast();
        Execute { plan: gated, workspace, ..base(w) }.call()
    });
    t.add(NAME, "the workspace over matA", FLASHLLM_STATUS_INVALID_VALUE, move |w, _| {
        Execute { plan: gated, workspace: w.buffer.cast(), ..base(w) }.call()
    });
    t.add(NAME, "a misaligned bias", FLASHLLM_STATUS_MISALIGNED, |w, _| {
        let plan = Create::right(w).plan();
        good(set(plan, BIAS, &w.buffer.wrapping_add(1), 8));
        let status = Execute { plan, ..execute_of(w) }.call();
        good(flashllmSpMMPlanDestroy(plan));
        status
    });
    t.add(NAME, "matC over the bias", FLASHLLM_STATUS_INVALID_VALUE, |w, _| {
        let plan = Create::right(w).plan();
        let mut values = ptr::null_mut();
        good(unsafe { flashllmDnMatGetValues(w.c, &raw mut values) });
        good(set(plan, BIAS, &values, 8));
        let status = Execute { plan, ..execute_of(w) }.call();
        good(flashllmSpMMPlanDestroy(plan));
        status
    });
    t.add(NAME, "matC partly over the residual", FLASHLLM_STATUS_INVALID_VALUE, move |w, _| {
        let (mut values, mut shifted) = (ptr::null_mut(), ptr::null_mut());
        good(unsafe { flashllmDnMatGetValues(w.c, &raw mut values) });
        let at = values.wrapping_byte_add(2);
        good(unsafe {
            flashllmCreateDnMat(&raw mut shifted, M as i64, N as i64, N as i64, at, F16, ROW)
        });
        good(set(residual, RESIDUAL, &shifted, 8));
        let status = Execute { plan: residual, ..base(w) }.call();
        good(set(residual, RESIDUAL, &ptr::null::<c_void>(), 8));
        good(flashllmDestroyDnMat(shifted));
        status
    });
    t.add(NAME, "another batch count", FLASHLLM_STATUS_INVALID_VALUE, move |w, _| {
        let (b, c) = (dense(K, 0, 0, ptr::null_mut(), F16), dense(M, 0, 0, ptr::null_mut(), F16));
        let empty = Create { b, c, ..Create::right(w) }.plan();
        good(flashllmDnMatSetStridedBatch(b, 2, 0));
        let status = Execute { plan: empty, b, c, ..base(w) }.call();
        good(flashllmSpMMPlanDestroy(empty));
        good(flashllmDestroyDnMat(b));
        good(flashllmDestroyDnMat(c));
        status
    });
}

fn execute_of(w: &World) -> Execute {
    Execute {
        handle: w.handle,
        plan: ptr::null_mut(),
        alpha: (&raw const ONE).cast(),
        a: w.sparse,
        b: w.b,
        beta: (&raw const ONE).cast(),
        c: w.c,
        workspace: ptr::null_mut(),
    }
}

/// What flashllmSpMMPlanSearch takes, less its result.
#[derive(Clone, Copy)]
struct Search {
    handle: flashllmHandle_t,
    plan: flashllmSpMMPlan_t,
    a: flashllmSpMatDescr_t,
    b: flashllmDnMatDescr_t,
    ways: i32,
}

impl Search {
    fn call(self, us: *mut f32) -> flashllmStatus_t {
        unsafe { flashllmSpMMPlanSearch(self.handle, self.plan, self.a, self.b, self.ways, us) }
    }
}

fn search_cases(t: &mut Table, world: &World) {
    const NAME: &str = "flashllmSpMMPlanSearch";
    let plan = Create::right(world).plan();
    let base = move |w: &World| Search { handle: w.handle, plan, a: w.sparse, b: w.b, ways: 0 };
    let rows: [Row<Search>; 11] = [
        ("-1 ways", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.ways = -1),
        ("the fewest ways", FLASHLLM_STATUS_INVALID_VALUE, |_, s| s.ways = i32::MIN),
        ("matB is fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, |w, s| s.b = w.b_f32),
        ("matB has M rows", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.b = w.c),
        ("matB has other columns", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.b = w.dense_turned),
        ("matA has other rows", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.a = w.sparse_other_shape),
        ("matA is empty", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.a = w.sparse_empty),
        ("matA is analysed only", FLASHLLM_STATUS_INVALID_VALUE, |w, s| s.a = w.sparse_analysed),
        ("handle before plan", FLASHLLM_STATUS_NOT_INITIALIZED, |w, s| {
            s.handle = w.dead_handle;
            s.plan = ptr::null_mut();
        }),
        ("plan before descriptor", FLASHLLM_STATUS_INVALID_VALUE, |w, s| {
            s.plan = ptr::null_mut();
            s.a = w.dead_sparse;
        }),
        ("ways before type", FLASHLLM_STATUS_INVALID_VALUE, |w, s| {
            s.ways = -2;
            s.b = w.b_f32;
        }),
    ];
    for (what, want, change) in rows {
        t.add(NAME, what, want, move |w, a| {
            let mut search = base(w);
            change(w, &mut search);
            search.call(a.at(0))
        });
    }
    t.handles(world, NAME, move |w, a, handle| Search { handle, ..base(w) }.call(a.at(0)));
    t.sparse(world, NAME, move |w, area, a| Search { a, ..base(w) }.call(area.at(0)));
    t.dense(world, NAME, move |w, a, b| Search { b, ..base(w) }.call(a.at(0)));
    for (what, plan) in bad_plans(world) {
        t.add(NAME, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            Search { plan, ..base(w) }.call(a.at(0))
        });
    }
    t.add(NAME, "matA of another type", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, move |w, a| {
        let mut sparse: flashllmSpMatDescr_t = ptr::null_mut();
        let (m, k) = (M as i64, K as i64);
        good(unsafe { flashllmCreateSpMat(&raw mut sparse, m, k, BF16, RawFormat(0)) });
        let status = Search { a: sparse, ..base(w) }.call(a.at(0));
        assert!(message().contains("the plan is for FLASHLLM_R_16F"), "{}", message());
        good(flashllmDestroySpMat(sparse));
        status
    });
    t.add(NAME, "another batch count", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
        let b = dense(K, N, N, w.buffer, F16);
        good(flashllmDnMatSetStridedBatch(b, 2, 0));
        let status = Search { b, ..base(w) }.call(a.at(0));
        good(flashllmDestroyDnMat(b));
        status
    });
    for ways in [0, 1, i32::MAX] {
        t.add(NAME, format!("{ways} ways on the host"), FLASHLLM_STATUS_SUCCESS, move |w, _| {
            // One more byte, so that the place is misaligned.
            let mut place = [0xff_u8; 5];
            let us = place[1..].as_mut_ptr().cast();
            let status = Search { ways, ..base(w) }.call(us);
            assert_eq!(place, [0xff, 0, 0, 0, 0], "there is nothing to choose from");
            let (mut id, attr): (c_int, _) = (0, RawSpMMPlanAttribute(ALG_ID));
            good(unsafe { flashllmSpMMPlanGetAttribute(plan, attr, (&raw mut id).cast(), 4) });
            assert_eq!(id, 1);
            status
        });
    }
    t.add(NAME, "nobody asks for the time", FLASHLLM_STATUS_SUCCESS, move |w, _| {
        base(w).call(ptr::null_mut())
    });
}

fn query_cases(t: &mut Table, world: &World) {
    let plan = Create::right(world).plan();
    const SIZE: &str = "flashllmSpMMPlan_bufferSize";
    const EXPLAIN: &str = "flashllmSpMMPlanExplain";
    const IDS: &str = "flashllmSpMMAlgGetIds";
    t.handles(world, SIZE, move |_, a, h| unsafe { flashllmSpMMPlan_bufferSize(h, plan, a.at(0)) });
    t.handles(world, EXPLAIN, move |_, a, h| unsafe {
        flashllmSpMMPlanExplain(h, plan, ptr::null_mut(), a.at(0))
    });
    t.handles(world, IDS, |w, a, h| unsafe {
        flashllmSpMMAlgGetIds(h, w.sparse, 1, ptr::null_mut(), a.at(0))
    });
    t.sparse(world, IDS, |w, a, s| unsafe {
        flashllmSpMMAlgGetIds(w.handle, s, 1, ptr::null_mut(), a.at(0))
    });
    for (what, bad) in bad_plans(world) {
        t.add(SIZE, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| unsafe {
            flashllmSpMMPlan_bufferSize(w.handle, bad, a.at(0))
        });
        t.add(EXPLAIN, what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| unsafe {
            flashllmSpMMPlanExplain(w.handle, bad, ptr::null_mut(), a.at(0))
        });
    }
    t.add(SIZE, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, _| unsafe {
        flashllmSpMMPlan_bufferSize(w.handle, plan, ptr::null_mut())
    });
    t.add(EXPLAIN, "NULL bytes", FLASHLLM_STATUS_NULL_POINTER, move |w, a| unsafe {
        flashllmSpMMPlanExplain(w.handle, plan, a.at(0), ptr::null_mut())
    });
    for room in [0, 1, 60] {
        t.add(EXPLAIN, "no room", FLASHLLM_STATUS_WORKSPACE_TOO_SMALL, move |w, a| unsafe {
            let mut bytes: usize = room;
            let status = flashllmSpMMPlanExplain(w.handle, plan, a.at(0), &raw mut bytes);
            assert_eq!(bytes, room, "nothing is written");
            status
        });
    }
    for n in [0, -1, i64::MIN] {
        t.add(IDS, format!("n {n}"), FLASHLLM_STATUS_INVALID_VALUE, move |w, a| unsafe {
            flashllmSpMMAlgGetIds(w.handle, w.sparse, n, ptr::null_mut(), a.at(0))
        });
    }
    t.add(IDS, "NULL count", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmSpMMAlgGetIds(w.handle, w.sparse, 1, a.at(0), ptr::null_mut())
    });
    t.add(IDS, "matA is empty", FLASHLLM_STATUS_INVALID_VALUE, |w, a| unsafe {
        flashllmSpMMAlgGetIds(w.handle, w.sparse_empty, 1, ptr::null_mut(), a.at(0))
    });
    for (count, want) in
        [(0, FLASHLLM_STATUS_WORKSPACE_TOO_SMALL), (-1, FLASHLLM_STATUS_INVALID_VALUE)]
    {
        t.add(IDS, format!("room for {count}"), want, move |w, a| unsafe {
            let mut total: c_int = count;
            let status =
                flashllmSpMMAlgGetIds(w.handle, w.sparse, 1, a.at::<c_int>(0), &raw mut total);
            assert_eq!(total, count, "nothing is written");
            status
        });
    }
    t.add(IDS, "misaligned ids", FLASHLLM_STATUS_MISALIGNED, |w, a| unsafe {
        let ids = a.at::<c_int>(0).wrapping_byte_add(1);
        let mut total: c_int = 1;
        flashllmSpMMAlgGetIds(w.handle, w.sparse, 1, ids, &raw mut total)
    });
}

fn batch_cases(t: &mut Table, world: &World) {
    const SET: &str = "flashllmDnMatSetStridedBatch";
    const GET: &str = "flashllmDnMatGetStridedBatch";
    t.dense(world, SET, |_, _, d| flashllmDnMatSetStridedBatch(d, 1, 0));
    t.dense(world, GET, |_, a, d| unsafe { flashllmDnMatGetStridedBatch(d, a.at(0), a.at(1)) });
    for (count, stride, want) in [
        (0, 1, FLASHLLM_STATUS_INVALID_VALUE),
        (-1, 1, FLASHLLM_STATUS_INVALID_VALUE),
        (2, -1, FLASHLLM_STATUS_INVALID_VALUE),
        (i64::MIN, i64::MIN, FLASHLLM_STATUS_INVALID_VALUE),
        (i64::MAX, i64::MAX, FLASHLLM_STATUS_SIZE_OVERFLOW),
        (3, i64::MAX / 2, FLASHLLM_STATUS_SIZE_OVERFLOW),
    ] {
        t.add(SET, format!("{count} at {stride}"), want, move |w, _| {
            flashllmDnMatSetStridedBatch(w.dense, count, stride)
        });
    }
    t.add(GET, "NULL count", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmDnMatGetStridedBatch(w.dense, ptr::null_mut(), a.at(0))
    });
    t.add(GET, "NULL stride", FLASHLLM_STATUS_NULL_POINTER, |w, a| unsafe {
        flashllmDnMatGetStridedBatch(w.dense, a.at(0), ptr::null_mut())
    });
    for (what, b_count, c_count, c_stride) in [
        ("batches of two counts", 2, 3, 1 << 20),
        ("overlapping matrices of C", 2, 2, 1),
        ("one C for two products", 2, 2, 0),
    ] {
        t.add("flashllmSpMM", what, FLASHLLM_STATUS_INVALID_VALUE, move |w, _| {
            good(flashllmDnMatSetStridedBatch(w.b, b_count, 0));
            good(flashllmDnMatSetStridedBatch(w.c, c_count, c_stride));
            let status = unsafe {
                flashllmSpMM(
                    w.handle,
                    RawOperation(0),
                    RawOperation(0),
                    (&raw const ONE).cast(),
                    w.sparse,
                    w.b,
                    (&raw const ONE).cast(),
                    w.c,
                    F32,
                    RawSpMMAlg(0),
                    ptr::null_mut(),
                )
            };
            good(flashllmDnMatSetStridedBatch(w.b, 1, 0));
            good(flashllmDnMatSetStridedBatch(w.c, 1, 0));
            status
        });
    }
}

fn type_cases(t: &mut Table) {
    let want = FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED;
    t.add("flashllmSpMatSetBuffer", "bfloat16 for an fp16 descriptor", want, |w, _| unsafe {
        flashllmSpMatSetBuffer(w.handle, w.sparse_empty, w.spoil(16, 14), w.bytes)
    });
    t.add("flashllmDenseToSparse_analysis", "fp16 to bfloat16", want, |w, _| {
        let mut s: flashllmSpMatDescr_t = ptr::null_mut();
        let alg = RawDenseToSparseAlg(0);
        unsafe {
            good(flashllmCreateSpMat(&raw mut s, M as i64, K as i64, BF16, RawFormat(0)));
            let status = flashllmDenseToSparse_analysis(w.handle, w.dense, s, alg, ptr::null_mut());
            good(flashllmDestroySpMat(s));
            status
        }
    });
    t.add("flashllmSpMM", "C of bfloat16 for an A of fp16", want, |w, _| unsafe {
        let (mut values, mut c) = (ptr::null_mut(), ptr::null_mut());
        good(flashllmDnMatGetValues(w.c, &raw mut values));
        good(flashllmCreateDnMat(&raw mut c, M as i64, N as i64, N as i64, values, BF16, ROW));
        let status = flashllmSpMM(
            w.handle,
            RawOperation(0),
            RawOperation(0),
            (&raw const ONE).cast(),
            w.sparse,
            w.b,
            (&raw const ONE).cast(),
            c,
            F32,
            RawSpMMAlg(0),
            ptr::null_mut(),
        );
        good(flashllmDestroyDnMat(c));
        status
    });
}

fn logger_cases(t: &mut Table) {
    for level in [-1, 6, c_int::MIN, c_int::MAX] {
        let want = FLASHLLM_STATUS_INVALID_VALUE;
        t.add("flashllmLoggerSetLevel", format!("level {level}"), want, move |_, _| {
            flashllmLoggerSetLevel(level)
        });
    }
    for mask in [-1, 32, c_int::MIN, c_int::MAX] {
        let want = FLASHLLM_STATUS_INVALID_VALUE;
        t.add("flashllmLoggerSetMask", format!("mask {mask}"), want, move |_, _| {
            flashllmLoggerSetMask(mask)
        });
    }
    t.add("flashllmLoggerOpenFile", "NULL path", FLASHLLM_STATUS_NULL_POINTER, |_, _| unsafe {
        flashllmLoggerOpenFile(ptr::null())
    });
    for path in [c"", c"/nonexistent/x/y.log", c"/", c"\xff\xfe"] {
        let want = FLASHLLM_STATUS_INVALID_VALUE;
        t.add("flashllmLoggerOpenFile", format!("{path:?}"), want, move |_, _| unsafe {
            flashllmLoggerOpenFile(path.as_ptr())
        });
    }
    t.add("flashllmLoggerSetCallback", "NULL is none", FLASHLLM_STATUS_SUCCESS, |_, _| unsafe {
        flashllmLoggerSetCallback(None)
    });
    // Whatever other tests of this program log, they do it in processes of their own.
    t.add("flashllmLoggerForceDisable", "twice", FLASHLLM_STATUS_SUCCESS, |_, _| {
        good(flashllmLoggerForceDisable());
        flashllmLoggerForceDisable()
    });
}

/// What the functions of groups take, for a group of two.
#[derive(Clone, Copy)]
struct Group {
    handle: flashllmHandle_t,
    count: i64,
    op_b: c_int,
    alpha: *const c_void,
    a: Option<[flashllmSpMatDescr_t; 2]>,
    b: Option<[flashllmDnMatDescr_t; 2]>,
    beta: *const c_void,
    c: Option<[flashllmDnMatDescr_t; 2]>,
    compute: RawDataType,
    alg: c_int,
    last: *mut usize,
}

fn group_cases(t: &mut Table, world: &World) {
    fn pointer<T, U>(array: Option<&[T; 2]>) -> *const U {
        array.map_or(ptr::null(), |a| a.as_ptr().cast())
    }
    macro_rules! group {
        ($function:ident) => {
            |g: &Group| unsafe {
                $function(
                    g.handle,
                    g.count,
                    RawOperation(g.op_b),
                    g.alpha,
                    pointer(g.a.as_ref()),
                    pointer(g.b.as_ref()),
                    g.beta,
                    pointer(g.c.as_ref()),
                    g.compute,
                    RawSpMMAlg(g.alg),
                    g.last.cast(),
                )
            }
        };
    }
    type Fun = fn(&Group) -> flashllmStatus_t;
    let functions: [(&str, Fun); 2] = [
        ("flashllmSpMMGrouped_bufferSize", group!(flashllmSpMMGrouped_bufferSize)),
        ("flashllmSpMMGrouped", group!(flashllmSpMMGrouped)),
    ];
    let rows: [Row<Group>; 22] = [
        ("count -1", FLASHLLM_STATUS_INVALID_VALUE, |_, g| g.count = -1),
        ("count MIN", FLASHLLM_STATUS_INVALID_VALUE, |_, g| g.count = i64::MIN),
        ("opB 2", FLASHLLM_STATUS_INVALID_VALUE, |_, g| g.op_b = 2),
        ("computeType fp16", FLASHLLM_STATUS_NOT_SUPPORTED, |_, g| g.compute = F16),
        ("computeType 5", FLASHLLM_STATUS_INVALID_VALUE, |_, g| g.compute = RawDataType(5)),
        ("alg 1", FLASHLLM_STATUS_INVALID_VALUE, |_, g| g.alg = 1),
        ("NULL alpha", FLASHLLM_STATUS_NULL_POINTER, |_, g| g.alpha = ptr::null()),
        ("NULL beta", FLASHLLM_STATUS_NULL_POINTER, |_, g| g.beta = ptr::null()),
        ("NULL matA", FLASHLLM_STATUS_NULL_POINTER, |_, g| g.a = None),
        ("NULL matB", FLASHLLM_STATUS_NULL_POINTER, |_, g| g.b = None),
        ("NULL matC", FLASHLLM_STATUS_NULL_POINTER, |_, g| g.c = None),
        ("a dead A", FLASHLLM_STATUS_INVALID_VALUE, |w, g| g.a = Some([w.sparse, w.dead_sparse])),
        ("an empty A", FLASHLLM_STATUS_INVALID_VALUE, |w, g| {
            g.a = Some([w.sparse, w.sparse_empty]);
        }),
        ("a NULL A", FLASHLLM_STATUS_INVALID_VALUE, |w, g| g.a = Some([w.sparse, ptr::null_mut()])),
        ("an A of other rows", FLASHLLM_STATUS_INVALID_VALUE, |w, g| {
            g.a = Some([w.sparse, w.sparse_other_shape]);
        }),
        ("a dead B", FLASHLLM_STATUS_INVALID_VALUE, |w, g| g.b = Some([w.b, w.dead_dense])),
        ("a B of fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, |w, g| {
            g.b = Some([w.b, w.b_f32]);
        }),
        ("a dead C", FLASHLLM_STATUS_INVALID_VALUE, |w, g| g.c = Some([w.c, w.dead_dense])),
        ("a const C", FLASHLLM_STATUS_INVALID_VALUE, |w, g| {
            g.c = Some([w.c, w.c_const.cast_mut()]);
        }),
        ("a C of another shape", FLASHLLM_STATUS_INVALID_VALUE, |w, g| g.c = Some([w.c, w.dense])),
        ("handle before count", FLASHLLM_STATUS_NOT_INITIALIZED, |w, g| {
            g.handle = w.dead_handle;
            g.count = -1;
        }),
        ("enum before scalar", FLASHLLM_STATUS_INVALID_VALUE, |_, g| {
            g.alg = 5;
            g.alpha = ptr::null();
        }),
    ];
    let base = |w: &World, a: &mut Area, sized: bool| Group {
        handle: w.handle,
        count: 2,
        op_b: 0,
        alpha: (&raw const ONE).cast(),
        a: Some([w.sparse, w.sparse]),
        b: Some([w.b, w.b]),
        beta: (&raw const ONE).cast(),
        c: Some([w.c, w.c_other]),
        compute: F32,
        alg: 0,
        last: if sized { a.at(0) } else { ptr::null_mut() },
    };
    for (name, call) in functions {
        let sized = name.ends_with("bufferSize");
        t.handles(world, name, move |w, a, handle| call(&Group { handle, ..base(w, a, sized) }));
        for (what, want, change) in rows {
            t.add(name, what, want, move |w, a| {
                let mut group = base(w, a, sized);
                change(w, &mut group);
                call(&group)
            });
        }
        t.add(name, "a batch", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            good(flashllmDnMatSetStridedBatch(w.b, 2, 0));
            good(flashllmDnMatSetStridedBatch(w.c, 2, 1 << 20));
            let status = call(&base(w, a, sized));
            good(flashllmDnMatSetStridedBatch(w.b, 1, 0));
            good(flashllmDnMatSetStridedBatch(w.c, 1, 0));
            assert!(message().contains("product 0: "), "{}", message());
            status
        });
        t.add(name, "no products", FLASHLLM_STATUS_SUCCESS, move |w, a| {
            call(&Group { count: 0, a: None, b: None, c: None, ..base(w, a, sized) })
        });
    }
    t.add(
        "flashllmSpMMGrouped_bufferSize",
        "NULL out",
        FLASHLLM_STATUS_NULL_POINTER,
        move |w, a| functions[0].1(&Group { last: ptr::null_mut(), ..base(w, a, true) }),
    );
    type Pair = fn(&World) -> [flashllmDnMatDescr_t; 2];
    let overlapping: [(&str, Pair); 4] = [
        ("C over B", |w| [w.c_over_b, w.c]),
        ("the last C over B", |w| [w.c, w.c_over_b]),
        ("the last C over A", |w| [w.c, w.c_over_a]),
        ("two C in one place", |w| [w.c, w.c]),
    ];
    for (what, c) in overlapping {
        t.add("flashllmSpMMGrouped", what, FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
            functions[1].1(&Group { c: Some(c(w)), ..base(w, a, false) })
        });
    }
    t.add("flashllmSpMMGrouped", "analysed only", FLASHLLM_STATUS_INVALID_VALUE, move |w, a| {
        functions[1].1(&Group { a: Some([w.sparse, w.sparse_analysed]), ..base(w, a, false) })
    });
    t.add(
        "flashllmSpMMGrouped_bufferSize",
        "analysed is enough",
        FLASHLLM_STATUS_SUCCESS,
        move |w, a| {
            functions[0].1(&Group { a: Some([w.sparse, w.sparse_analysed]), ..base(w, a, true) })
        },
    );
}
