//! Every way to run a product, to be measured.

use super::candidates::{CLASSES, candidates, ctas_of_a_slice, fair_slices, straddles, width};
use super::line::Line;
use super::model::Features;
use super::{Algorithm, Choice, DeviceProps, Problem};

/// Pieces of a row group that are worth trying. One piece a unit spreads the work most evenly; fewer may leave
/// row groups whole, which saves adding up their parts, and have CTAs read the same of B at a time; or as many as give each of
/// `sms` CTAs one.
pub(super) fn splits(line: &Line, sms: u32) -> impl Iterator<Item = u32> {
    let most = line.k_blocks;
    let one_each = Some(sms / line.groups.max(1)).filter(|&parts| parts > 4 && parts != 8);
    let few = [1, 2, 3, 4].into_iter().chain(one_each).chain([8]);
    few.filter(move |&parts| parts < most).chain([most])
}

/// A way to run a product: what a tuning program measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Kernel, row tiles of a CTA and staged blocks.
    pub algorithm: Algorithm,
    /// Pieces of a row group.
    pub parts: u32,
    /// What its time depends on.
    pub features: Features,
}

impl Algorithm {
    /// `features` with what follows from the problem and from how row groups are cut into `parts`: [`Features::fair`],
    /// [`Features::owners`], [`Features::starts`] and [`Features::straddles`], of blocks of `block_cols` columns on `sms` multiprocessors.
    pub fn completed(
        &self,
        features: Features,
        (m, n, k): (u32, u32, u32),
        block_cols: u32,
        parts: u32,
        sms: u32,
    ) -> Features {
        let line = Line::of(self.kernel, self.group_tiles, m, k, block_cols);
        let slices = self.kernel.facts().slices(n);
        let ctas = ctas_of_a_slice(self.kernel, sms, slices);
        Features {
            fair: line.fair(fair_slices(self.kernel, slices, features.together), sms),
            owners: line.owners(parts, ctas),
            starts: line.starts(parts, ctas),
            straddles: straddles(k),
            ..features
        }
    }
}

/// Every way to run a product with the kernels of its width, or of the widest that there are, each once: splits that deal
/// the work alike are one.
pub fn ways(problem: &Problem, props: &DeviceProps) -> Vec<Way> {
    ways_of(problem, props, &Choice::default())
}

/// As [`ways`], those that have what `choice` fixes of the algorithm and the splits.
pub(super) fn ways_of(problem: &Problem, props: &DeviceProps, choice: &Choice) -> Vec<Way> {
    let mut found: Vec<Way> = Vec::new();
    let wanted = width(problem, props);
    let candidates = CLASSES.into_iter().find_map(|class| {
        let fits = |n_tiles: &u32| *n_tiles <= wanted || choice.kernel.is_some();
        let widths = class.iter().copied().filter(fits);
        let of_class: Vec<_> = widths
            .flat_map(|n| candidates(problem, props, n))
            .filter(|c| choice.allows(c))
            .collect();
        Some(of_class).filter(|of_class| !of_class.is_empty())
    });
    for c in candidates.into_iter().flatten() {
        let line = Line::new(&c, problem);
        let algorithm =
            Algorithm { kernel: c.kernel, group_tiles: c.group_tiles, a_slots: c.a_slots };
        let slices = c.slices(problem);
        let sms = c.ctas_at_a_time(props, slices);
        let fixed = choice.parts.map(|parts| parts.clamp(1, line.k_blocks));
        let free = fixed.is_none().then(|| splits(&line, sms));
        for parts in fixed.into_iter().chain(free.into_iter().flatten()) {
            if !line.takes(parts, sms) {
                continue;
            }
            let features = c.features(&line, problem, props, parts, sms, slices);
            if !found.iter().any(|w| w.algorithm == algorithm && w.features == features) {
                found.push(Way { algorithm, parts, features });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::KernelId;

    #[test]
    fn row_groups_are_cut_into_few_pieces_or_one_for_each_cta_or_one_for_each_block() {
        let cut = |m, k, sms| {
            splits(&Line::of(KernelId::BankedN16Sm90, 2, m, k, 256), sms).collect::<Vec<_>>()
        };
        // 24 row groups of 36 blocks.
        assert_eq!(cut(3072, 9216, 132), [1, 2, 3, 4, 5, 8, 36]);
        // With so many row groups nobody has one piece only, with so few blocks there are no eight.
        assert_eq!(cut(28_672, 7168, 132), [1, 2, 3, 4, 8, 28]);
        assert_eq!(cut(3072, 1024, 132), [1, 2, 3, 4]);
        assert_eq!(cut(128, 9216, 8), [1, 2, 3, 4, 8, 36]);
        assert_eq!(cut(128, 9216, 132), [1, 2, 3, 4, 8, 36]);
    }
}
