//! The CUDA driver: the only module that calls it.
//!
//! The driver library is opened at run time (shim/), so that this code loads, and says what is missing,
//! on a machine without one.

pub mod context;
pub mod convert;
pub mod kernels;
pub mod launch;
pub mod memory;
mod module;
pub mod params;
pub mod spmm;
pub mod sys;

pub use context::{ContextGuard, DeviceContext};
pub use sys::{RawFunction, RawStream};
