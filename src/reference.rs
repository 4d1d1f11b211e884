//! The oracle: the plainest SpMM there is, in f64, for tests and benchmarks.

#![forbid(unsafe_code)]

use half::{bf16, f16};

use crate::types::{Activation, DType, DenseLayout};

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
    spmm_f64_of(DType::F16, layout_a, a, b_strides, b, n, alpha, beta, c)
}

/// As [`spmm_f64`], for the bits of another 16-bit type.
#[allow(clippy::too_many_arguments)] // as above
pub fn spmm_f64_of(
    dtype: DType,
    layout_a: &DenseLayout,
    a: &[u16],
    b_strides: (usize, usize),
    b: &[u16],
    n: usize,
    alpha: f64,
    beta: f64,
    c: Option<&[f64]>,
) -> Vec<f64> {
    let value_of = |bits: u16| match dtype {
        DType::BF16 => bf16::from_bits(bits).to_f64(),
        _ => f16::from_bits(bits).to_f64(),
    };
    let mut out = vec![0.0; layout_a.rows * n];
    for i in 0..layout_a.rows {
        for j in 0..n {
            let mut sum = 0.0;
            for k in 0..layout_a.cols {
                let value = a[layout_a.index(i, k)];
                if value & 0x7fff != 0 {
                    let factor = b[k * b_strides.0 + j * b_strides.1];
                    sum += value_of(value) * value_of(factor);
                }
            }
            out[i * n + j] = alpha * sum + c.map_or(0.0, |c| beta * c[i * n + j]);
        }
    }
    out
}

/// What follows a product. The matrices are M x N, row-major.
#[derive(Clone, Copy, Debug, Default)]
pub struct EpilogueF64<'a> {
    /// One element a row, added before the activation.
    pub bias: Option<&'a [f64]>,
    /// Applied to every element.
    pub activation: Activation,
    /// Factors of the activated elements.
    pub gate: Option<&'a [f64]>,
    /// Added at the end.
    pub residual: Option<&'a [f64]>,
}

/// activation(c + bias) * gate + residual, in place, for the result of [`spmm_f64`] with `n` columns.
pub fn epilogue_f64(c: &mut [f64], n: usize, epilogue: &EpilogueF64<'_>) {
    for (at, v) in c.iter_mut().enumerate() {
        *v = epilogue.activation.apply_f64(*v + epilogue.bias.map_or(0.0, |bias| bias[at / n]));
        *v = *v * epilogue.gate.map_or(1.0, |gate| gate[at])
            + epilogue.residual.map_or(0.0, |residual| residual[at]);
    }
}
