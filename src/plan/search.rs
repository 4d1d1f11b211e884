//! What a search on a device times, how often, and which of the times decides. The clock is not here.

use super::ways::ways_of;
use super::{
    Algorithm, BAccess, Choice, DeviceProps, Planned, Problem, WORKSPACE_ALIGN, Way, table,
};
use crate::error::Result;
use crate::format::Header;

/// Ways that are timed where nobody says how many.
pub const DEFAULT_WAYS: usize = 12;

/// What a way may take of the present choice's time to be taken in its place: with less of a difference the next search could
/// say the opposite.
const GAIN: f32 = 0.99;

/// Rounds of the ways, at least and at most. Odd, so that a median is one of the times.
const ROUNDS: (usize, usize) = (3, 9);

/// Microseconds that the rounds may take together, unless the fewest take longer.
const BUDGET: f32 = 20_000.0;

/// The ways to run a planned product that are worth timing, each as it would be planned if its numbers were forced: the
/// present choice, then up to `most` in all by estimated time. Those that contradict `choice`, or need more than `limit`
/// bytes of workspace, are not among them.
pub fn promising(
    props: &DeviceProps,
    header: &Header,
    gate: Option<&Header>,
    present: &Planned,
    choice: &Choice,
    limit: usize,
    most: usize,
) -> Result<Vec<Planned>> {
    let problem = Problem::new(header, present.n, BAccess::Packed)?;
    let forced = |algorithm: Algorithm, parts: u32| {
        let choice = Choice { parts: Some(parts), ..*choice }.force(algorithm);
        Planned::new(props, header, gate, present.n, &choice, limit)
    };
    let (algorithm, parts) = (present.product.algorithm(), present.product.parts);
    let first = forced(algorithm, parts)?;
    let only = Choice { parts: Some(parts), ..*choice }.force(algorithm);
    // The present splits may deal the work as other ones do.
    let same = ways_of(&problem, props, &only);
    let is_present =
        |way: &Way| same.iter().any(|p| (p.algorithm, p.features) == (way.algorithm, way.features));
    let law = table::of(&props.name).law;
    let mut others: Vec<(f64, Way)> = ways_of(&problem, props, choice)
        .into_iter()
        .filter(|way| !is_present(way))
        .map(|way| (law(way.algorithm.kernel).time(&way.features), way))
        .collect();
    others.sort_by(|a, b| a.0.total_cmp(&b.0));
    let others = others.into_iter().filter_map(|(_, way)| forced(way.algorithm, way.parts).ok());
    Ok(std::iter::once(first).chain(others).take(most.max(1)).collect())
}

/// How often every way is timed, if one round of them takes so many microseconds.
pub fn rounds(round_us: f32) -> usize {
    let (least, most) = ROUNDS;
    // Whatever is no number of microseconds gives the fewest.
    ((BUDGET / round_us) as usize).clamp(least, most) | 1
}

/// The median of each way's times; of an even number the larger one of the two in the middle.
pub fn medians(times: &[Vec<f32>]) -> Vec<f32> {
    times
        .iter()
        .map(|times| {
            let mut sorted = times.clone();
            sorted.sort_by(f32::total_cmp);
            sorted.get(sorted.len() / 2).copied().unwrap_or(f32::INFINITY)
        })
        .collect()
}

/// Which way to take, of one time for each of them: the first, unless another one is clearly faster.
pub fn fastest(times: &[f32]) -> usize {
    let least = times.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
    match (least, times.first()) {
        (Some((way, time)), Some(first)) if time <= first * GAIN => way,
        _ => 0,
    }
}

/// Bytes from one copy of A to the next, and how many copies there have to be beside A itself, so that at least twice the L2
/// passes through it between two readings of one of them.
pub fn copies(l2_bytes: u64, a_bytes: u64) -> (u64, u64) {
    let step = a_bytes.next_multiple_of(WORKSPACE_ALIGN as u64);
    let passes = 2 * l2_bytes;
    (step, if a_bytes < passes { passes.div_ceil(a_bytes.max(1)) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::super::devices::h100;
    use super::super::{KernelId, header, ways};
    use super::*;
    use crate::error::Kind;
    use crate::types::Format;

    fn plan(header: &Header, n: usize, choice: &Choice, limit: usize) -> Planned {
        Planned::new(&h100(), header, None, n, choice, limit).unwrap()
    }

    fn numbers(p: &Planned) -> (Algorithm, u32) {
        (p.product.algorithm(), p.product.parts)
    }

    #[test]
    fn the_present_choice_is_first_and_the_others_follow_by_estimated_time() {
        for format in Format::ALL {
            for n in [1, 8, 16, 33, 64, 128] {
                let header = header(format, 4096, 4096);
                let free = Choice::default();
                let present = plan(&header, n, &free, usize::MAX);
                let problem = Problem::new(&header, n, BAccess::Packed).unwrap();
                let all =
                    promising(&h100(), &header, None, &present, &free, usize::MAX, usize::MAX)
                        .unwrap();
                assert_eq!(numbers(&all[0]), numbers(&present), "{format:?} {n}");
                // Where tiles are dealt by their bytes, fixed row tiles need fewer counters.
                assert!(all[0] == present || present.product.deals_tiles, "{format:?} {n}");
                let every = ways(&problem, &h100());
                // Each way once; the present splits stand for those that deal alike.
                assert_eq!(all.len(), every.len(), "{format:?} {n}");
                let law = table::of(&h100().name).law;
                let mut before = 0.0;
                for (i, way) in all.iter().enumerate() {
                    assert!(all[..i].iter().all(|other| numbers(other) != numbers(way)));
                    if i == 0 {
                        continue;
                    }
                    let (algorithm, parts) = numbers(way);
                    let found = every.iter().find(|w| (w.algorithm, w.parts) == (algorithm, parts));
                    let time = law(algorithm.kernel).time(&found.unwrap().features);
                    assert!(time >= before, "{format:?} {n}: {time} after {before}");
                    before = time;
                }
                for most in [0, 1, 2, 12, every.len() + 5] {
                    let some = promising(&h100(), &header, None, &present, &free, usize::MAX, most)
                        .unwrap();
                    assert_eq!(some, all[..most.clamp(1, all.len())], "{format:?} {n} {most}");
                }
            }
        }
    }

    #[test]
    fn what_the_caller_fixed_stays_fixed() {
        let header = header(Format::Banked, 4096, 4096);
        let kernel = KernelId::BankedN8Sm90;
        let algorithm = |group_tiles, a_slots| {
            Choice::default().force(Algorithm { kernel, group_tiles, a_slots })
        };
        for (choice, at_least) in [
            (algorithm(0, 0), 10),
            (algorithm(2, 0), 5),
            (algorithm(0, 2), 5),
            (algorithm(2, 2), 3),
            (Choice { parts: Some(3), ..Choice::default() }, 5),
            // As many as there are blocks along K, which is 16.
            (Choice { parts: Some(99), ..algorithm(2, 0) }, 2),
            (Choice { parts: Some(7), ..algorithm(2, 2) }, 1),
        ] {
            let present = plan(&header, 64, &choice, usize::MAX);
            let found =
                promising(&h100(), &header, None, &present, &choice, usize::MAX, usize::MAX)
                    .unwrap();
            assert_eq!(numbers(&found[0]), numbers(&present));
            assert!(found.len() >= at_least, "{choice:?}: {}", found.len());
            for (got, parts) in found.iter().map(numbers) {
                assert!(choice.kernel.is_none_or(|kernel| kernel == got.kernel));
                assert!(choice.group_tiles.is_none_or(|tiles| tiles == got.group_tiles));
                assert!(choice.a_slots.is_none_or(|slots| slots == got.a_slots));
                assert!(choice.parts.is_none_or(|asked| asked.min(16) == parts));
            }
            if choice.kernel.is_some() && choice.parts == Some(7) {
                assert_eq!(found.len(), 1, "nothing is left open");
            }
        }
    }

    #[test]
    fn a_kernel_of_another_width_is_searched_where_it_was_forced() {
        let header = header(Format::Slots, 4096, 4096);
        let kernel = KernelId::SlotsN8Sm90;
        let choice = Choice { kernel: Some(kernel), ..Choice::default() };
        let present = plan(&header, 8, &choice, usize::MAX);
        let found = promising(&h100(), &header, None, &present, &choice, usize::MAX, 50).unwrap();
        assert!(found.len() > 3, "{}", found.len());
        assert!(found.iter().all(|way| way.product.kernel == kernel));
    }

    #[test]
    fn no_way_needs_more_than_the_limit() {
        for format in Format::ALL {
            let header = header(format, 4096, 4096);
            let free = Choice::default();
            let without = plan(&header, 16, &free, usize::MAX);
            let mut fewest = usize::MAX;
            for limit in [usize::MAX, without.workspace_bytes, without.workspace_bytes / 2] {
                let present = plan(&header, 16, &free, limit);
                let found =
                    promising(&h100(), &header, None, &present, &free, limit, usize::MAX).unwrap();
                assert_eq!(numbers(&found[0]), numbers(&present));
                assert!(found.iter().all(|way| way.workspace_bytes <= limit));
                assert!(found.len() <= fewest, "{format:?}");
                fewest = found.len();
            }
            let present = plan(&header, 16, &free, usize::MAX);
            let refused = promising(&h100(), &header, None, &present, &free, 1000, usize::MAX);
            assert_eq!(refused.unwrap_err().kind(), Kind::InsufficientResources);
        }
    }

    #[test]
    fn a_gate_is_planned_with_every_way() {
        let (header, gate) =
            (header(Format::Slots, 1000, 4096), header(Format::Bitmap, 1000, 4096));
        let free = Choice::default();
        let present = Planned::new(&h100(), &header, Some(&gate), 30, &free, usize::MAX).unwrap();
        let found =
            promising(&h100(), &header, Some(&gate), &present, &free, usize::MAX, 12).unwrap();
        assert_eq!(found.len(), 12);
        assert!(found.iter().all(|way| way.gate.is_some()));
    }

    #[test]
    fn long_products_are_timed_less_often() {
        for (round_us, expected) in [
            (1.0, 9),
            (2000.0, 9),
            (3000.0, 7),
            (4000.0, 5),
            (5000.0, 5),
            (20_000.0, 3),
            (1e9, 3),
            (0.0, 9),
            (f32::NAN, 3),
        ] {
            assert_eq!(rounds(round_us), expected, "{round_us}");
        }
    }

    #[test]
    fn a_median_is_not_moved_by_an_outlier() {
        let times = [vec![3.0, 1.0, 900.0], vec![5.0], vec![2.0, 1.0], vec![]];
        assert_eq!(medians(&times), [3.0, 5.0, 2.0, f32::INFINITY]);
    }

    #[test]
    fn a_way_has_to_be_a_hundredth_faster_than_the_present_choice() {
        for (times, expected) in [
            (&[][..], 0),
            (&[10.0], 0),
            (&[10.0, 9.0], 1),
            (&[10.0, 10.0], 0),
            (&[10.0, 9.95, 9.91], 0),
            (&[10.0, 9.95, 9.89], 2),
            (&[10.0, 8.0, 7.0, 7.0], 2),
            (&[10.0, f32::NAN, f32::INFINITY], 0),
            (&[0.0, 0.0], 0),
        ] {
            assert_eq!(fastest(times), expected, "{times:?}");
        }
    }

    #[test]
    fn twice_the_l2_passes_between_two_readings_of_a_copy() {
        for (l2, a) in [(50 << 20, 5000), (50 << 20, 1 << 20), (50 << 20, 99 << 20), (6, 1)] {
            let (step, count) = copies(l2, a);
            assert!(step >= a && step % 256 == 0);
            assert!(count * a >= 2 * l2 && (count - 1) * a < 2 * l2, "{l2} {a}: {count}");
        }
        for (l2, a) in [(50 << 20, 100 << 20), (50 << 20, 1 << 30), (0, 1000)] {
            assert_eq!(copies(l2, a).1, 0, "{l2} {a}");
        }
    }
}
