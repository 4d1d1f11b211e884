//! The CUDA driver: the only module that calls it.
//!
//! The driver library is opened at run time (shim/), so that this code loads, and says what is missing,
//! on a machine without one.

// Streams are raw pointers because that is what the caller's CUstream is. Nothing here dereferences one;
// that it lives is part of the contract of flashllmSetStream.
#![allow(clippy::not_unsafe_ptr_arg_deref)]

pub mod context;
pub mod convert;
pub mod csr;
pub mod kernels;
pub mod launch;
pub mod memory;
mod module;
pub mod params;
pub mod params_convert;
pub mod prune;
pub mod search;
pub mod spmm;
pub mod staging;
pub mod sys;

pub use context::{ContextGuard, DeviceContext};
pub use sys::{RawFunction, RawStream};
