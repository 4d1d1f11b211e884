//! Stand-in until the executor lands.

use crate::error::Result;
use crate::format::Header;
use crate::types::DType;

/// Arguments.
pub struct HostSpmm<'a> {
    /// A.
    pub a: &'a [u8],
    /// Columns.
    pub n: usize,
    /// alpha.
    pub alpha: f32,
    /// beta.
    pub beta: f32,
    /// B.
    pub b: &'a [u16],
    /// Strides of B (k, n).
    pub b_strides: (usize, usize),
    /// Type of C.
    pub c_dtype: DType,
    /// Strides of C (m, n).
    pub c_strides: (usize, usize),
}

/// C.
pub enum DenseMut<'a> {
    /// fp16.
    F16(&'a mut [u16]),
    /// fp32.
    F32(&'a mut [f32]),
}

/// C = alpha A B + beta C.
pub fn spmm(_args: &HostSpmm<'_>, _header: &Header, _c: DenseMut<'_>) -> Result<()> {
    todo!()
}
