//! Descriptors: validated views of the caller's matrices. They own no element memory.
#![forbid(unsafe_code)]

mod dense;
mod sparse;

pub use dense::{Batch, DnMat};
pub use sparse::{Buffer, Place, SpMat, SpState, Stage};
