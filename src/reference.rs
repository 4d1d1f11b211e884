//! The oracle: the plainest SpMM there is, in f64, for tests and benchmarks.

#![forbid(unsafe_code)]

use half::f16;

use crate::types::DenseLayout;

/// alpha * A * op(B) + beta * C for dense fp16 bits `a` (M x K) and `b` (K x N, strides along k and n in
/// elements). Returns the M x N result, row-major. `c` is row-major too; without it beta is ignored.
///
/// As in every executor of this library, zeros of A are not multiplied.
#[allow(clippy::too_many_arguments)] // the operands of a matrix product, spelled out
pub fn spmm_f64(
    layout_a: &DenseLayout,
    a: &[u16],
    b_strides: (usize, usize),
    b: &[u16],
    n: usize,
    alpha: f64,
    beta: f64,
    c: Option<&[f64]>,
) -> Vec<f64> {
    let mut out = vec![0.0; layout_a.rows * n];
    for i in 0..layout_a.rows {
        for j in 0..n {
            let mut sum = 0.0;
            for k in 0..layout_a.cols {
                let value = a[layout_a.index(i, k)];
                if value & 0x7fff != 0 {
                    let factor = b[k * b_strides.0 + j * b_strides.1];
                    sum += f16::from_bits(value).to_f64() * f16::from_bits(factor).to_f64();
                }
            }
            out[i * n + j] = alpha * sum + c.map_or(0.0, |c| beta * c[i * n + j]);
        }
    }
    out
}
