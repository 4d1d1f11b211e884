//! Plans, as far as the benchmark needs them: what follows a product, a forced algorithm and split.

use std::ffi::{c_int, c_void};

use crate::api::{self, DnMat, Handle, Raw, SpMat};

/// Attributes of flashllmSpMMPlanAttribute_t.
pub const BIAS: c_int = 0;
pub const ACTIVATION: c_int = 2;
pub const GATE: c_int = 3;
pub const RESIDUAL: c_int = 4;
const ALG_ID: c_int = 5;
const SPLITS: c_int = 6;

mod ffi {
    use super::{Raw, c_int, c_void};

    unsafe extern "C" {
        pub fn flashllmSpMMPlanCreate(
            h: Raw,
            plan: *mut Raw,
            op_a: c_int,
            op_b: c_int,
            a: Raw,
            b: Raw,
            c: Raw,
            compute: c_int,
            alg: c_int,
        ) -> c_int;
        pub fn flashllmSpMMPlanDestroy(plan: Raw) -> c_int;
        pub fn flashllmSpMMPlanSetAttribute(
            plan: Raw,
            attr: c_int,
            value: *const c_void,
            bytes: usize,
        ) -> c_int;
        pub fn flashllmSpMMPlan_bufferSize(h: Raw, plan: Raw, bytes: *mut usize) -> c_int;
        pub fn flashllmSpMMPlanExecute(
            h: Raw,
            plan: Raw,
            alpha: *const c_void,
            a: Raw,
            b: Raw,
            beta: *const c_void,
            c: Raw,
            workspace: Raw,
        ) -> c_int;
    }
}

/// A plan of C = A B with B as it is; destroyed on drop.
pub struct Plan<'h> {
    handle: &'h Handle,
    raw: Raw,
}

impl<'h> Plan<'h> {
    pub fn new(handle: &'h Handle, a: &SpMat, b: &DnMat, c: &DnMat) -> api::Result<Self> {
        let mut raw = std::ptr::null_mut();
        let (none, compute) = (api::NON_TRANSPOSE, api::R_32F);
        // SAFETY: live objects and a place for the plan.
        api::check(unsafe {
            ffi::flashllmSpMMPlanCreate(
                handle.raw(),
                &mut raw,
                none,
                none,
                a.raw(),
                b.raw(),
                c.raw(),
                compute,
                api::ALG_DEFAULT,
            )
        })?;
        Ok(Self { handle, raw })
    }

    /// Sets an attribute; `value` is of the type that the library's header gives for it.
    pub fn set<T>(&self, attribute: c_int, value: T) -> api::Result<()> {
        let place = (&raw const value).cast();
        // SAFETY: a live plan and a value of its own size.
        api::check(unsafe {
            ffi::flashllmSpMMPlanSetAttribute(self.raw, attribute, place, size_of::<T>())
        })
    }

    /// Fixes the algorithm and the pieces of a row group.
    pub fn force(&self, algorithm: i32, splits: i32) -> api::Result<()> {
        // Not every algorithm takes the pieces of the one before.
        self.set(SPLITS, 0)?;
        self.set(ALG_ID, algorithm)?;
        self.set(SPLITS, splits)
    }

    pub fn workspace_bytes(&self) -> api::Result<usize> {
        let mut bytes = 0;
        // SAFETY: live objects and a place for the size.
        api::check(unsafe {
            ffi::flashllmSpMMPlan_bufferSize(self.handle.raw(), self.raw, &mut bytes)
        })?;
        Ok(bytes)
    }

    /// C = A B.
    pub fn execute(&self, a: &SpMat, b: &DnMat, c: &DnMat, workspace: Raw) -> api::Result<()> {
        let (one, zero) = (1.0f32, 0.0f32);
        // SAFETY: live objects, host scalars, a workspace of the size that was asked for.
        api::check(unsafe {
            ffi::flashllmSpMMPlanExecute(
                self.handle.raw(),
                self.raw,
                (&raw const one).cast(),
                a.raw(),
                b.raw(),
                (&raw const zero).cast(),
                c.raw(),
                workspace,
            )
        })
    }
}

impl Drop for Plan<'_> {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        let _ = unsafe { ffi::flashllmSpMMPlanDestroy(self.raw) };
    }
}
