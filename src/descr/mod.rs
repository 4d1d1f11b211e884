//! Descriptors: validated views of the caller's matrices. They own no element memory.
#![forbid(unsafe_code)]

mod csr;
mod dense;
mod sparse;

pub use csr::CsrMat;
pub use dense::{Batch, DnMat, DnView};
pub use sparse::{Buffer, Origin, Place, SpMat, SpState, Stage};
