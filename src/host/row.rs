//! The inner loop: sparse rows times a dense panel of B.
//!
//! Each sum is kept in two chains, one of the row's elements at even places of its list and one of those
//! at odd places, which hides half of the latency of the additions. All code here adds in this order.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_storeu_ps,
};

use super::CHUNK;

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Columns of a vector.
const VECTOR: usize = 8;

/// 256 rows of B, 32 columns each. Its height makes every `u8` a row of it.
pub(super) type Panel = [[f32; PANEL]; CHUNK];

/// Instruction sets with their own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Isa {
    /// The best one the processor has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// Adds to each row of `sums` the products of that row's (columns, values) with the panel; at least the
/// first `width` columns of it.
pub(super) fn multiply<'a>(
    isa: Isa,
    rows: impl Iterator<Item = (&'a [u8], &'a [f32])>,
    panel: &Panel,
    sums: &mut [[f32; PANEL]],
    width: usize,
) {
    for ((cols, values), sums) in rows.zip(sums) {
        if cols.is_empty() {
            continue;
        }
        match isa {
            Isa::Portable => match width.div_ceil(VECTOR) {
                1 => portable::<8>(cols, values, panel, sums),
                2 => portable::<16>(cols, values, panel, sums),
                3 => portable::<24>(cols, values, panel, sums),
                _ => portable::<32>(cols, values, panel, sums),
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::Avx2` is made by `detect` only, after it found AVX2 and FMA.
            Isa::Avx2 => unsafe {
                match width.div_ceil(VECTOR) {
                    1 => avx2::<1>(cols, values, panel, sums),
                    2 => avx2::<2>(cols, values, panel, sums),
                    3 => avx2::<3>(cols, values, panel, sums),
                    _ => avx2::<4>(cols, values, panel, sums),
                }
            },
        }
    }
}

fn portable<const W: usize>(cols: &[u8], values: &[f32], panel: &Panel, sums: &mut [f32; PANEL]) {
    let mut chains = [[0f32; W]; 2];
    for (i, (&col, &value)) in cols.iter().zip(values).enumerate() {
        for (sum, b) in chains[i % 2].iter_mut().zip(&panel[usize::from(col)]) {
            *sum += value * b;
        }
    }
    for (n, sum) in sums[..W].iter_mut().enumerate() {
        *sum += chains[0][n] + chains[1][n];
    }
}

/// # Safety
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const V: usize>(
    cols: &[u8],
    values: &[f32],
    panel: &Panel,
    sums: &mut [f32; PANEL],
) {
    const { assert!(V * VECTOR <= PANEL) };
    // SAFETY: the vectors `0..V` of a panel row and of `sums` lie within their PANEL elements; loads and
    // stores need no alignment.
    unsafe {
        let add = |chain: &mut [__m256; V], col: u8, value: f32| {
            let value = _mm256_set1_ps(value);
            let row = panel[usize::from(col)].as_ptr();
            for (v, sum) in chain.iter_mut().enumerate() {
                *sum = _mm256_fmadd_ps(value, _mm256_loadu_ps(row.add(v * VECTOR)), *sum);
            }
        };
        let mut even = [_mm256_setzero_ps(); V];
        let mut odd = [_mm256_setzero_ps(); V];
        let (pairs, pair_values) = (cols.chunks_exact(2), values.chunks_exact(2));
        let last = pairs.remainder().first().zip(pair_values.remainder().first());
        for (cols, values) in pairs.zip(pair_values) {
            add(&mut even, cols[0], values[0]);
            add(&mut odd, cols[1], values[1]);
        }
        if let Some((&col, &value)) = last {
            add(&mut even, col, value);
        }
        for (v, (&even, &odd)) in even.iter().zip(&odd).enumerate() {
            let at = sums.as_mut_ptr().add(v * VECTOR);
            _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), _mm256_add_ps(even, odd)));
        }
    }
}
