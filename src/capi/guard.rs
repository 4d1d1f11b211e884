//! What every exported body runs inside, and the checked access to a caller's pointers.
//!
//! Nothing unwinds into C: a panic becomes `FLASHLLM_STATUS_INTERNAL_ERROR` and its text the thread's
//! message. (Rust would abort the process if one got through, so the abort is only the backstop.)

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Instant;

use super::status::{flashllmStatus_t, record};
use crate::error::{Error, Kind, Result};
use crate::log::{self, Level};

/// Runs `body`; records what went wrong under the exported function's name.
pub fn guard(function: &str, body: impl FnOnce() -> Result<()>) -> flashllmStatus_t {
    if !log::enabled(Level::Api) {
        return run(function, body);
    }
    log::log(Level::Api, function, || "called".to_owned());
    let start = Instant::now();
    let status = run(function, body);
    let time = start.elapsed();
    log::log(Level::Api, function, || format!("{status:?} after {time:?}"));
    status
}

fn run(function: &str, body: impl FnOnce() -> Result<()>) -> flashllmStatus_t {
    // AssertUnwindSafe: shared state is behind locks that are only written once an operation is done.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => flashllmStatus_t::FLASHLLM_STATUS_SUCCESS,
        Ok(Err(error)) => failed(function, &error),
        Err(payload) => {
            let text = format!("internal error, please report: {}", panic_text(payload.as_ref()));
            drop_quietly(payload);
            failed(function, &Error::new(Kind::InternalError, text))
        }
    }
}

#[cold]
fn failed(function: &str, error: &Error) -> flashllmStatus_t {
    let status = record(function, error);
    log::log(Level::Error, function, || format!("{status:?}: {}", error.message()));
    status
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(s) = payload.downcast_ref::<&str>() {
        s
    } else if let Some(s) = payload.downcast_ref::<String>() {
        s
    } else {
        "panic with a payload that is not text"
    }
}

/// A payload's own Drop may panic, and so may the payload of that panic: the second one is leaked.
fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Dropping it could panic for ever.
        #[expect(clippy::mem_forget, reason = "leaking is the way out")]
        std::mem::forget(second);
    }
}

/// An out-parameter that is known not to be NULL.
#[derive(Clone, Copy)]
pub struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// Stores the result. C promises no alignment to Rust, so none is assumed.
    ///
    /// # Safety
    /// The pointer given to [`out`] must be valid for writing a `T`.
    pub unsafe fn write(self, value: T) {
        // SAFETY: not NULL by construction, valid by the caller's contract.
        unsafe { self.0.as_ptr().write_unaligned(value) }
    }
}

/// NULL_POINTER unless `pointer` can take a result.
pub fn out<T>(pointer: *mut T, name: &str) -> Result<Out<T>> {
    NonNull::new(pointer).map(Out).ok_or_else(|| null(name))
}

/// Reads a host scalar that a required pointer gives.
///
/// # Safety
/// `pointer` must be NULL or valid for reading a `T`.
pub unsafe fn scalar<T: Copy>(pointer: *const T, name: &str) -> Result<T> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, valid by the caller's contract; no alignment is assumed.
    Ok(unsafe { pointer.read_unaligned() })
}

/// `count` elements of the caller's host memory; none need an address.
///
/// # Safety
/// They must be readable, aligned to their type, and unchanged for `'a`.
pub unsafe fn host_slice<'a, T>(address: usize, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's contract.
    unsafe { slice::from_raw_parts(ptr::with_exposed_provenance(address), count) }
}

/// As [`host_slice`], to write to.
///
/// # Safety
/// They must be writable, hold values of their type, be aligned to it, and be used by nobody else for `'a`.
pub unsafe fn host_slice_mut<'a, T>(address: usize, count: usize) -> &'a mut [T] {
    if count == 0 {
        return &mut [];
    }
    // SAFETY: the caller's contract.
    unsafe { slice::from_raw_parts_mut(ptr::with_exposed_provenance_mut(address), count) }
}

/// The NULL_POINTER error of argument `name`.
pub fn null(name: &str) -> Error {
    Error::new(Kind::NullPointer, format!("{name} is NULL"))
}

/// MISALIGNED unless `address` is a multiple of `alignment` bytes.
pub fn aligned(address: usize, alignment: usize, name: &str) -> Result<()> {
    if address % alignment == 0 {
        return Ok(());
    }
    Err(Error::new(
        Kind::Misaligned,
        format!("{name} = {address:#x} is not aligned to {alignment} bytes"),
    ))
}
