//! The kernel table, which belongs to the planner.

pub use crate::plan::convert::ConvertKernel;
pub use crate::plan::{Entry, KernelId};
