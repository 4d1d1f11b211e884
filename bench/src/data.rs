//! Random pruned weights, quickly, and a sampled oracle in double.

use half::f16;
use rayon::prelude::*;

/// xorshift64*; one stream a row, so that the data does not depend on the number of threads.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        // splitmix64 of the seed: neighbouring seeds give unrelated streams, and never state 0.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// A value as weights have them: sign, |x| in [2^-6, 2^-3), every mantissa bit random. Never zero.
fn weight(bits: u64) -> u16 {
    let exponent = 9 + (bits >> 11 & 0xffff) % 3;
    (bits & 0x83ff) as u16 | (exponent << 10) as u16
}

/// How the zeros are distributed over the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Every element has the mean density.
    Uniform,
    /// Rows evenly from a quarter to seven quarters of the mean, as far as that fits.
    Spread,
    /// Heavy-tailed: a row in 64 is empty, one in 64 is dense, the others are log-normal.
    Rows,
    /// The same with columns: what pruning leaves where some inputs matter much more than others.
    Columns,
    /// The same with patches of 64 x 64.
    Patches,
    /// Of each four neighbours in a row as many as the density says, or one more: 2:4 at 50 %, 1:4 at 75 %.
    Groups,
}

/// Rows, and columns, of a patch.
const PATCH: usize = 64;

/// Elements of a group.
const GROUP: usize = 4;

impl Mask {
    pub const ALL: [Self; 6] =
        [Self::Uniform, Self::Spread, Self::Rows, Self::Columns, Self::Patches, Self::Groups];

    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Spread => "spread",
            Self::Rows => "rows",
            Self::Columns => "columns",
            Self::Patches => "patches",
            Self::Groups => "groups",
        }
    }

    /// What the kernel column of a row says of it; nothing of the usual one.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Uniform => "",
            Self::Spread => " uneven",
            Self::Rows => " uneven-rows",
            Self::Columns => " uneven-columns",
            Self::Patches => " uneven-patches",
            Self::Groups => " groups",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Uniform => "even rows",
            Self::Spread => "uneven rows",
            Self::Rows => "very uneven rows",
            Self::Columns => "very uneven columns",
            Self::Patches => "very uneven patches",
            Self::Groups => "even groups of four",
        }
    }

    /// Quantiles of the density of a row, column or patch: each takes one at random. Their mean is `density`.
    fn densities(self, density: f64) -> Vec<f64> {
        match self {
            Self::Uniform | Self::Groups => vec![density],
            Self::Spread => {
                // Symmetric about the mean, so the mean stays.
                let spread = (0.75 * density).min(1.0 - density);
                let at = |i: usize| (2.0 * i as f64 + 1.0) / 1024.0 - 1.0;
                (0..1024).map(|i| density + spread * at(i)).collect()
            }
            Self::Rows | Self::Columns | Self::Patches => heavy_tailed(density),
        }
    }
}

/// 1024 quantiles: some zeros, some ones, between them exp(z), z normal, as much of it as gives the mean.
fn heavy_tailed(density: f64) -> Vec<f64> {
    const COUNT: usize = 1024;
    let empty = COUNT / 64;
    // No more dense rows than leave three quarters of the elements to the others.
    let dense = empty.min((density * COUNT as f64 / 4.0) as usize);
    let rest = COUNT - empty - dense;
    // A sum of twelve uniform numbers is normal enough; its order does not matter.
    let mut rng = Rng::new(64);
    let mut normal = || (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
    let shape: Vec<f64> = (0..rest).map(|_| normal().exp()).collect();
    let scaled = |factor: f64| shape.iter().map(move |s| (s * factor).min(1.0));
    let wanted = density * COUNT as f64 - dense as f64;
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if scaled(middle).sum::<f64>() < wanted { low = middle } else { high = middle }
    }
    let tail = std::iter::repeat_n(1.0, dense).chain(std::iter::repeat_n(0.0, empty));
    scaled(high).chain(tail).collect()
}

/// `m` x `k` fp16 bits, row-major. Each element is zero with the probability that the mask gives it; the
/// mean of those is `sparsity`, as far as the mask's extremes let it be.
pub fn pruned_weights(m: usize, k: usize, sparsity: f64, mask: Mask, seed: u64) -> Vec<u16> {
    let mut values = vec![0u16; m * k];
    let densities = mask.densities(1.0 - sparsity);
    let any = |rng: &mut Rng| densities[(rng.next() >> 32) as usize % densities.len()];
    // Densities of parts of a row: of columns the same in all rows, of patches in a row of patches.
    let parts = |rows: usize, count: usize| -> Vec<f64> {
        let mut rng = Rng::new(seed ^ 0xc01u64.wrapping_add((rows as u64) << 32));
        (0..count).map(|_| any(&mut rng)).collect()
    };
    let columns = if mask == Mask::Columns { parts(0, k) } else { Vec::new() };
    values.par_chunks_mut(k).enumerate().for_each(|(row, chunk)| {
        let mut rng = Rng::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(row as u64));
        let of_row = if densities.len() > 1 { any(&mut rng) } else { densities[0] };
        let fill = |rng: &mut Rng, chunk: &mut [u16], density: f64| {
            let threshold = (density * (1u64 << 32) as f64) as u64;
            for value in chunk {
                let bits = rng.next();
                if bits >> 32 < threshold {
                    *value = weight(bits);
                }
            }
        };
        match mask {
            Mask::Uniform | Mask::Spread | Mask::Rows => fill(&mut rng, chunk, of_row),
            Mask::Columns => {
                chunk.chunks_mut(1).zip(&columns).for_each(|(part, &d)| fill(&mut rng, part, d));
            }
            Mask::Patches => {
                let patches = parts(1 + row / PATCH, k.div_ceil(PATCH));
                chunk.chunks_mut(PATCH).zip(patches).for_each(|(part, d)| fill(&mut rng, part, d));
            }
            Mask::Groups => chunk.chunks_mut(GROUP).for_each(|group| {
                // Which of them is one of the first `kept` of a random order.
                let mut kept = of_row * group.len() as f64;
                kept = kept.floor() + f64::from(u8::from(rng.unit() < kept.fract()));
                let mut order = [0, 1, 2, 3];
                for last in (1..GROUP).rev() {
                    order.swap(last, (rng.next() >> 32) as usize % (last + 1));
                }
                let length = group.len();
                for place in order.into_iter().filter(|&p| p < length).take(kept as usize) {
                    group[place] = weight(rng.next());
                }
            }),
        }
    });
    values
}

/// Activations: `count` fp16 bits, uniform in (-1, 1), never zero.
pub fn activations(count: usize, seed: u64) -> Vec<u16> {
    let mut rng = Rng::new(seed);
    let uniform = |bits: u64| ((bits >> 41) as f32 + 0.5) / (1u64 << 22) as f32 - 1.0;
    (0..count).map(|_| f16::from_f32(uniform(rng.next())).to_bits()).collect()
}

/// Stored non-zeros.
pub fn nonzeros(values: &[u16]) -> usize {
    values.par_iter().filter(|&&v| v & 0x7fff != 0).count()
}

/// A row of the exact product, and for each element the sum of the magnitudes of its terms.
pub struct OracleRow {
    pub row: usize,
    pub product: Vec<f64>,
    pub scale: Vec<f64>,
}

/// `count` rows spread over the matrix, first and last among them, times B (n columns of k).
pub fn oracle(a: &[u16], b: &[u16], m: usize, k: usize, n: usize, count: usize) -> Vec<OracleRow> {
    let mut rng = Rng::new(m as u64 ^ 0x5eed);
    let mut rows: Vec<usize> =
        (0..count.min(m)).map(|_| (rng.next() % m as u64) as usize).collect();
    rows.extend([0, m - 1]);
    rows.sort_unstable();
    rows.dedup();
    let b: Vec<f64> = b.iter().map(|&v| f16::from_bits(v).to_f64()).collect();
    rows.into_par_iter()
        .map(|row| {
            let a: Vec<f64> =
                a[row * k..][..k].iter().map(|&v| f16::from_bits(v).to_f64()).collect();
            let (mut product, mut scale) = (vec![0.0; n], vec![0.0; n]);
            for (column, values) in b.chunks(k).enumerate() {
                for (x, y) in a.iter().zip(values) {
                    product[column] += x * y;
                    scale[column] += (x * y).abs();
                }
            }
            OracleRow { row, product, scale }
        })
        .collect()
}

/// Checks a column-major fp16 result against the oracle rows. fp32 accumulation of at most `k` terms
/// in any order (doubled: Tensor Cores truncate), then one rounding to fp16. Returns the largest
/// error relative to what is allowed.
pub fn check(c: &[u16], m: usize, k: usize, rows: &[OracleRow]) -> Result<f64, String> {
    let mut worst = 0.0f64;
    for oracle in rows {
        for (column, (&want, &scale)) in oracle.product.iter().zip(&oracle.scale).enumerate() {
            let got = f16::from_bits(c[column * m + oracle.row]).to_f64();
            let allowed =
                2.0 * (k as f64 + 1.0) / (1u64 << 24) as f64 * scale + want.abs() / 2048.0 + 6.0e-8;
            let error = (got - want).abs() / allowed;
            if error.is_nan() || error > 1.0 {
                return Err(format!(
                    "C({}, {column}) is {got}, expected {want} +- {allowed:.1e}",
                    oracle.row
                ));
            }
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparsity_is_as_asked_and_values_are_finite_and_not_zero() {
        for mask in Mask::ALL {
            for sparsity in [0.0, 0.5, 0.8, 1.0] {
                let values = pruned_weights(2000, 2000, sparsity, mask, 1);
                let found = 1.0 - nonzeros(&values) as f64 / values.len() as f64;
                assert!((found - sparsity).abs() < 0.03, "{sparsity} {mask:?}: {found}");
                assert!(values.iter().all(|&v| f16::from_bits(v).is_finite()));
            }
        }
    }

    #[test]
    fn uneven_rows_differ_much_more_than_even_ones() {
        let counts = |mask| -> Vec<usize> {
            pruned_weights(800, 2000, 0.8, mask, 3).chunks(2000).map(nonzeros).collect()
        };
        let spread = |mask| counts(mask).iter().max().unwrap() - counts(mask).iter().min().unwrap();
        assert!(spread(Mask::Spread) > 2 * spread(Mask::Uniform));
        assert!(spread(Mask::Rows) == 2000, "a dense row and an empty one");
    }

    #[test]
    fn uneven_columns_and_patches_are_dense_and_empty_where_rows_are_even() {
        let (m, k) = (256, 4096);
        let of = |mask| pruned_weights(m, k, 0.8, mask, 3);
        let filled = |values: &[u16], rows: usize, columns: usize| -> (usize, usize) {
            let (mut empty, mut full) = (0, 0);
            for (row, column) in
                (0..m / rows).flat_map(|r| (0..k / columns).map(move |c| (r * rows, c * columns)))
            {
                let count = (row..row + rows)
                    .map(|r| nonzeros(&values[r * k + column..][..columns]))
                    .sum::<usize>();
                empty += usize::from(count == 0);
                full += usize::from(count == rows * columns);
            }
            (empty, full)
        };
        assert_eq!(filled(&of(Mask::Uniform), m, 1), (0, 0));
        let (empty, full) = filled(&of(Mask::Columns), m, 1);
        assert!(empty > k / 128 && full > k / 128, "{empty} {full} of {k} columns");
        let (empty, full) = filled(&of(Mask::Patches), PATCH, PATCH);
        assert!(empty > 0 && full > 0, "{empty} {full} of 256 patches");
    }

    #[test]
    fn groups_have_as_many_elements_as_is_asked() {
        let counts = |sparsity| -> Vec<usize> {
            let values = pruned_weights(64, 1024, sparsity, Mask::Groups, 3);
            (0..=GROUP)
                .map(|count| values.chunks(GROUP).filter(|g| nonzeros(g) == count).count())
                .collect()
        };
        let all = 64 * 1024 / GROUP;
        assert_eq!(counts(0.5), [0, 0, all, 0, 0]);
        assert_eq!(counts(0.75), [0, all, 0, 0, 0]);
        let [none, one, two, ..] = counts(0.6)[..] else { unreachable!() };
        assert!(none == 0 && one + two == all && one * 3 < two * 2 + all / 16);
        // Every place of a group as often as the others.
        let values = pruned_weights(64, 1024, 0.75, Mask::Groups, 3);
        for place in 0..GROUP {
            let count = values.iter().skip(place).step_by(GROUP).filter(|&&v| v != 0).count();
            assert!(count.abs_diff(all / GROUP) < all / 50, "{count} at place {place}");
        }
    }

    #[test]
    fn the_check_accepts_the_rounded_product_and_refuses_a_wrong_element() {
        let (m, k, n) = (40, 100, 3);
        let a = pruned_weights(m, k, 0.5, Mask::Uniform, 5);
        let b = activations(k * n, 6);
        let rows = oracle(&a, &b, m, k, n, m);
        let mut c = vec![0xffffu16; m * n];
        for r in oracle(&a, &b, m, k, n, 4000) {
            for (column, value) in r.product.iter().enumerate() {
                c[column * m + r.row] = f16::from_f64(*value).to_bits();
            }
        }
        for r in &rows {
            assert!(check(&c, m, k, std::slice::from_ref(r)).is_ok());
        }
        let spoiled = rows[0].row + m;
        c[spoiled] ^= 0x0010;
        assert!(check(&c, m, k, &rows).is_err());
        c[spoiled] = 0xffff;
        assert!(check(&c, m, k, &rows).is_err());
    }
}
