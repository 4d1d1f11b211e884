//! Rows for pruning, its check, and CSR matrices.

use super::*;
use flash_llm::capi::csr::*;
use flash_llm::capi::prune::*;

/// An empty M x K matrix.
static OFFSETS: [i32; M + 1] = [0; M + 1];
/// Element (0, 0) and nothing else.
static ONE_OFFSETS: [i64; M + 1] = {
    let mut all = [1; M + 1];
    all[0] = 0;
    all
};
static COLUMNS: [i32; 1] = [0];
static VALUES: [u16; 1] = [0x3c00];

#[derive(Clone, Copy)]
struct Create {
    shape: (i64, i64, i64),
    offsets: *const c_void,
    columns: *const c_void,
    values: *const c_void,
    types: (c_int, c_int),
    base: c_int,
    dtype: RawDataType,
}

impl Create {
    fn right() -> Self {
        Self {
            shape: (M as i64, K as i64, 1),
            offsets: (&raw const ONE_OFFSETS).cast(),
            columns: (&raw const COLUMNS).cast(),
            values: (&raw const VALUES).cast(),
            types: (3, 2),
            base: 0,
            dtype: F16,
        }
    }

    fn call(&self, out: *mut flashllmCsrDescr_t) -> flashllmStatus_t {
        unsafe {
            flashllmCreateCsr(
                out,
                self.shape.0,
                self.shape.1,
                self.shape.2,
                self.offsets,
                self.columns,
                self.values,
                RawIndexType(self.types.0),
                RawIndexType(self.types.1),
                RawIndexBase(self.base),
                self.dtype,
            )
        }
    }
}

fn csr(create: &Create) -> flashllmCsrDescr_t {
    let mut d = ptr::null_mut();
    good(create.call(&raw mut d));
    d
}

fn csr_cases(t: &mut Table, world: &World) {
    let name = "flashllmCreateCsr";
    t.add(name, "NULL out", FLASHLLM_STATUS_NULL_POINTER, |_, _| {
        Create::right().call(ptr::null_mut())
    });
    let mut wrong = |what: &str, want, change: fn(&mut Create)| {
        t.create(name, what, want, move |_, a| {
            let mut create = Create::right();
            change(&mut create);
            create.call(a.at(0))
        });
    };
    let invalid = FLASHLLM_STATUS_INVALID_VALUE;
    wrong("no rows", invalid, |c| c.shape.0 = 0);
    wrong("negative columns", invalid, |c| c.shape.1 = -1);
    wrong("negative nnz", invalid, |c| c.shape.2 = -1);
    wrong("nnz above rows x cols", invalid, |c| c.shape.2 = (M * K + 1) as i64);
    wrong("rows x cols overflow", FLASHLLM_STATUS_SIZE_OVERFLOW, |c| c.shape.0 = i64::MAX);
    wrong("NULL offsets", FLASHLLM_STATUS_NULL_POINTER, |c| c.offsets = ptr::null());
    wrong("NULL columns", FLASHLLM_STATUS_NULL_POINTER, |c| c.columns = ptr::null());
    wrong("NULL values", FLASHLLM_STATUS_NULL_POINTER, |c| c.values = ptr::null());
    let misaligned = FLASHLLM_STATUS_MISALIGNED;
    wrong("misaligned offsets", misaligned, |c| c.offsets = c.offsets.wrapping_byte_add(4));
    wrong("misaligned columns", misaligned, |c| c.columns = c.columns.wrapping_byte_add(2));
    wrong("misaligned values", misaligned, |c| c.values = c.values.wrapping_byte_add(1));
    wrong("offsets of 16 bits", invalid, |c| c.types.0 = 1);
    wrong("columns of no type", invalid, |c| c.types.1 = c_int::MIN);
    wrong("base 2", invalid, |c| c.base = 2);
    wrong("no type", invalid, |c| c.dtype = RawDataType(77));
    wrong("fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, |c| c.dtype = F32);

    let name = "flashllmDestroyCsr";
    t.add(name, "NULL", FLASHLLM_STATUS_SUCCESS, |_, _| flashllmDestroyCsr(ptr::null_mut()));
    t.add(name, "dense as CSR", invalid, |w, _| flashllmDestroyCsr(w.dense.cast()));
    t.add(name, "twice", invalid, |_, _| {
        let d = csr(&Create::right());
        good(flashllmDestroyCsr(d));
        flashllmDestroyCsr(d)
    });

    #[derive(Clone, Copy)]
    struct Call {
        handle: flashllmHandle_t,
        csr: flashllmCsrDescr_t,
        sparse: flashllmSpMatDescr_t,
        alg: c_int,
        last: *mut c_void,
    }
    type Function = fn(&Call) -> flashllmStatus_t;
    let functions: [(&str, Function); 3] = [
        ("flashllmCsrToSparse_bufferSize", |c| unsafe {
            let alg = RawDenseToSparseAlg(c.alg);
            flashllmCsrToSparse_bufferSize(c.handle, c.csr, c.sparse, alg, c.last.cast())
        }),
        ("flashllmCsrToSparse_analysis", |c| unsafe {
            let alg = RawDenseToSparseAlg(c.alg);
            flashllmCsrToSparse_analysis(c.handle, c.csr, c.sparse, alg, c.last)
        }),
        ("flashllmCsrToSparse_convert", |c| unsafe {
            let alg = RawDenseToSparseAlg(c.alg);
            flashllmCsrToSparse_convert(c.handle, c.csr, c.sparse, alg, c.last)
        }),
    ];
    for (name, call) in functions {
        let with = move |w: &World, a: &mut Area, create: &Create, change: &dyn Fn(&mut Call)| {
            let csr = csr(create);
            let mut arguments =
                Call { handle: w.handle, csr, sparse: w.sparse_analysed, alg: 0, last: a.at(0) };
            change(&mut arguments);
            let status = call(&arguments);
            good(flashllmDestroyCsr(csr));
            status
        };
        let right = Create::right;
        t.handles(world, name, move |w, a, h| with(w, a, &right(), &move |c| c.handle = h));
        t.sparse(world, name, move |w, a, s| with(w, a, &right(), &move |c| c.sparse = s));
        t.add(name, "NULL CSR", invalid, move |w, a| {
            with(w, a, &right(), &|c| c.csr = ptr::null_mut())
        });
        t.add(name, "dense as CSR", invalid, move |w, a| {
            let dense = w.dense;
            with(w, a, &right(), &move |c| c.csr = dense.cast())
        });
        for alg in [-1, 1, c_int::MAX] {
            t.add(name, format!("alg {alg}"), invalid, move |w, a| {
                with(w, a, &right(), &move |c| c.alg = alg)
            });
        }
        t.add(name, "shapes differ", invalid, move |w, a| {
            let other = w.sparse_other_shape;
            with(w, a, &right(), &move |c| c.sparse = other)
        });
        if name.ends_with("bufferSize") {
            t.add(name, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
                with(w, a, &right(), &|c| c.last = ptr::null_mut())
            });
            t.add(name, "right", FLASHLLM_STATUS_SUCCESS, move |w, a| {
                let status = with(w, a, &right(), &|_| ());
                assert_eq!(a.0[0], 0, "a host handle needs no workspace");
                status
            });
        }
        if name.ends_with("analysis") {
            t.add(name, "offsets that do not end after nnz", invalid, move |w, a| {
                let create =
                    Create { offsets: (&raw const OFFSETS).cast(), types: (2, 2), ..right() };
                with(w, a, &create, &|_| ())
            });
            t.add(name, "offsets below the base", invalid, move |w, a| {
                with(w, a, &Create { base: 1, ..right() }, &|_| ())
            });
        }
        if name.ends_with("convert") {
            t.add(name, "analysed from a dense matrix, no buffer", invalid, move |w, a| {
                with(w, a, &right(), &|_| ())
            });
            t.add(name, "analysed from a dense matrix", invalid, move |w, a| {
                let over = w.sparse_over_dense;
                with(w, a, &right(), &move |c| c.sparse = over)
            });
            t.add(name, "not analysed", invalid, move |w, a| {
                let empty = w.sparse_empty;
                with(w, a, &right(), &move |c| c.sparse = empty)
            });
        }
    }
}

fn prune_cases(t: &mut Table, world: &World) {
    let invalid = FLASHLLM_STATUS_INVALID_VALUE;
    #[derive(Clone, Copy)]
    struct Call {
        handle: flashllmHandle_t,
        from: flashllmDnMatDescr_t,
        to: flashllmDnMatDescr_t,
        alg: c_int,
        sparsity: f64,
        last: *mut c_void,
    }
    type Function = fn(&Call) -> flashllmStatus_t;
    let functions: [(&str, Function); 2] = [
        ("flashllmPrune_bufferSize", |c| unsafe {
            flashllmPrune_bufferSize(c.handle, c.from, c.to, RawPruneAlg(c.alg), c.last.cast())
        }),
        ("flashllmPrune", |c| unsafe {
            flashllmPrune(c.handle, c.from, c.to, RawPruneAlg(c.alg), c.sparsity, ptr::null_mut())
        }),
    ];
    for (name, call) in functions {
        // In place, and nothing is zeroed.
        let base = |w: &World, a: &mut Area| Call {
            handle: w.handle,
            from: w.dense,
            to: w.dense,
            alg: 0,
            sparsity: 0.0,
            last: a.at(0),
        };
        t.handles(world, name, move |w, a, handle| call(&Call { handle, ..base(w, a) }));
        t.dense(world, name, move |w, a, from| call(&Call { from, ..base(w, a) }));
        t.dense(world, name, move |w, a, to| call(&Call { to, ..base(w, a) }));
        for alg in [-1, 2, c_int::MIN] {
            t.add(name, format!("alg {alg}"), invalid, move |w, a| {
                call(&Call { alg, ..base(w, a) })
            });
        }
        t.add(name, "const destination", invalid, move |w, a| {
            call(&Call { to: w.dense_const.cast_mut(), ..base(w, a) })
        });
        t.add(name, "shapes differ", invalid, move |w, a| {
            call(&Call { to: w.dense_turned, ..base(w, a) })
        });
        let other_type = FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED;
        t.add(name, "in is fp32", other_type, move |w, a| {
            call(&Call { from: w.dense_f32, ..base(w, a) })
        });
        t.add(name, "out is fp32", other_type, move |w, a| {
            call(&Call { to: w.dense_f32, ..base(w, a) })
        });
        t.add(name, "right", FLASHLLM_STATUS_SUCCESS, move |w, a| call(&base(w, a)));
        if name == "flashllmPrune_bufferSize" {
            t.add(name, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
                call(&Call { last: ptr::null_mut(), ..base(w, a) })
            });
            continue;
        }
        for sparsity in [-0.001, 1.001, f64::NAN, f64::INFINITY, f64::MIN] {
            t.add(name, format!("sparsity {sparsity}"), invalid, move |w, a| {
                call(&Call { sparsity, ..base(w, a) })
            });
        }
        t.add(name, "overlap", invalid, move |w, a| {
            let mut values = ptr::null_mut();
            good(unsafe { flashllmDnMatGetValues(w.dense, &raw mut values) });
            let shifted = dense(M, K, K, values.cast::<u8>().wrapping_add(2), F16);
            let status = call(&Call { to: shifted, ..base(w, a) });
            good(flashllmDestroyDnMat(shifted));
            status
        });
    }

    #[derive(Clone, Copy)]
    struct Check {
        handle: flashllmHandle_t,
        sparse: flashllmSpMatDescr_t,
        dense: flashllmDnMatDescr_t,
        last: *mut c_void,
    }
    type CheckFunction = fn(&Check) -> flashllmStatus_t;
    let functions: [(&str, CheckFunction); 2] = [
        ("flashllmPruneCheck_bufferSize", |c| unsafe {
            flashllmPruneCheck_bufferSize(c.handle, c.sparse, c.dense, c.last.cast())
        }),
        ("flashllmPruneCheck", |c| unsafe {
            flashllmPruneCheck(c.handle, c.sparse, c.dense, c.last.cast(), ptr::null_mut())
        }),
    ];
    for (name, call) in functions {
        let base = |w: &World, a: &mut Area| Check {
            handle: w.handle,
            sparse: w.sparse,
            dense: w.dense,
            last: a.at(0),
        };
        t.handles(world, name, move |w, a, handle| call(&Check { handle, ..base(w, a) }));
        t.sparse(world, name, move |w, a, sparse| call(&Check { sparse, ..base(w, a) }));
        t.dense(world, name, move |w, a, dense| call(&Check { dense, ..base(w, a) }));
        t.add(name, "shapes differ", invalid, move |w, a| {
            call(&Check { dense: w.dense_turned, ..base(w, a) })
        });
        t.add(name, "dense is fp32", FLASHLLM_STATUS_MATRIX_TYPE_NOT_SUPPORTED, move |w, a| {
            call(&Check { dense: w.dense_f32, ..base(w, a) })
        });
        t.add(name, "NULL out", FLASHLLM_STATUS_NULL_POINTER, move |w, a| {
            call(&Check { last: ptr::null_mut(), ..base(w, a) })
        });
        t.add(name, "right", FLASHLLM_STATUS_SUCCESS, move |w, a| call(&base(w, a)));
    }
    t.add("flashllmPruneCheck", "what it was made from agrees", FLASHLLM_STATUS_SUCCESS, |w, a| {
        let out = a.at(0);
        let status =
            unsafe { flashllmPruneCheck(w.handle, w.sparse, w.dense, out, ptr::null_mut()) };
        // The upper half of the word is the pattern's.
        assert_eq!(a.0[0] as u32, 1);
        status
    });
    t.add("flashllmPruneCheck", "no data", invalid, |w, a| unsafe {
        flashllmPruneCheck(w.handle, w.sparse_empty, w.dense, a.at(0), ptr::null_mut())
    });
}

pub fn cases(t: &mut Table, world: &World) {
    csr_cases(t, world);
    prune_cases(t, world);
}
