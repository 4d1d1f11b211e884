//! The kernel table, which belongs to the planner.

pub use crate::plan::KernelId;
pub use crate::plan::convert::ConvertKernel;
