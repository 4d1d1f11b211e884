//! Plans of a device that were made before: an engine asks for the same few products thousands of times a second,
//! and weighing every algorithm takes longer than telling the driver to launch one.

use std::sync::{Mutex, OnceLock};

use super::{DeviceProps, GroupShape, LaunchPlan, Problem, group, select};
use crate::error::{Kind, Result};

/// Problems that are remembered at a time: those of a large model's layers at a few batch sizes.
const PLACES: usize = 256;
/// Groups that are remembered at a time.
const GROUPS: usize = 64;

/// What [`select`] and [`group`] said, by problem.
pub struct Cache {
    props: DeviceProps,
    products: Places<Problem, LaunchPlan, PLACES>,
    groups: Places<(GroupShape, usize), Option<LaunchPlan>, GROUPS>,
}

impl Cache {
    /// An empty one. Later calls allocate nothing.
    pub fn new(props: DeviceProps) -> Self {
        Self { props, products: Places::new(), groups: Places::new() }
    }

    /// The device that plans are for.
    pub fn props(&self) -> &DeviceProps {
        &self.props
    }

    /// As [`select`].
    #[inline(always)] // capi/spmm.rs says why.
    pub fn select(&self, problem: &Problem) -> Result<LaunchPlan> {
        self.products.get(hash(words(problem)), problem, || select(problem, &self.props))
    }

    /// As [`group`]; none if the kernels that take groups have no room for the blocks.
    pub fn group(&self, shape: &GroupShape, together: usize) -> Result<Option<LaunchPlan>> {
        let GroupShape { header, least_rows, most_rows, max_block, uneven, n, count } = shape;
        let words = [
            header.format as u64,
            header.cols,
            *least_rows,
            *most_rows,
            u64::from(*max_block),
            u64::from(*uneven),
            *n as u64,
            *count as u64,
        ];
        self.groups.get(hash(words), &(*shape, together), || {
            match group(&self.props, shape, together) {
                Ok(plan) => Ok(Some(plan)),
                Err(error) if error.kind() == Kind::InsufficientResources => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

/// What was made before, by what it was made for. The first key of a place stays and is found without a lock, by any
/// number of threads at once; of its later ones, the last stays behind a lock.
struct Places<K, V, const N: usize> {
    first: Vec<OnceLock<(K, V)>>,
    later: Mutex<Vec<Option<(K, V)>>>,
}

impl<K: Copy + PartialEq, V: Copy, const N: usize> Places<K, V, N> {
    fn new() -> Self {
        let first = (0..N).map(|_| OnceLock::new()).collect();
        Self { first, later: Mutex::new(vec![None; N]) }
    }

    #[inline(always)] // capi/spmm.rs says why.
    fn get(&self, hash: usize, key: &K, make: impl FnOnce() -> Result<V>) -> Result<V> {
        let place = hash % N;
        match self.first.get(place).and_then(OnceLock::get) {
            Some((known, value)) if known == key => Ok(*value),
            _ => self.get_later(place, key, make),
        }
    }

    #[cold]
    fn get_later(&self, place: usize, key: &K, make: impl FnOnce() -> Result<V>) -> Result<V> {
        // A thread that finds the rest in use, or left by a panic, makes its own.
        if let Ok(later) = self.later.try_lock()
            && let Some(Some((known, value))) = later.get(place)
            && known == key
        {
            return Ok(*value);
        }
        let value = make()?;
        if self.first.get(place).is_some_and(|first| first.set((*key, value)).is_err())
            && let Ok(mut later) = self.later.try_lock()
            && let Some(entry) = later.get_mut(place)
        {
            *entry = Some((*key, value));
        }
        Ok(value)
    }
}

fn words(problem: &Problem) -> [u64; 7] {
    let Problem { format, m, n, k, block_cols, max_block, uneven, b } = *problem;
    let flags = b as u32 + 2 * u32::from(uneven);
    [format as u32, m, n, k, block_cols, max_block, flags].map(u64::from)
}

/// Fowler-Noll-Vo, by words, and its better half.
fn hash(words: impl IntoIterator<Item = u64>) -> usize {
    let hash = words
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3));
    (hash >> 40) as usize
}

#[cfg(test)]
mod tests {
    use super::super::devices::h100;
    use super::super::header;
    use super::*;
    use crate::plan::BAccess;
    use crate::types::Format;

    #[test]
    fn plans_are_those_that_selection_makes_however_often_they_are_asked_for() {
        let cache = Cache::new(h100());
        for _ in 0..2 {
            for m in [4096, 7168, 28672] {
                for n in 1..=64 {
                    for b in [BAccess::Direct, BAccess::Packed] {
                        let problem = Problem {
                            format: Format::Slots,
                            m,
                            n,
                            k: 7168,
                            block_cols: 256,
                            max_block: 43,
                            uneven: false,
                            b,
                        };
                        let plan = cache.select(&problem).unwrap();
                        assert_eq!(plan, select(&problem, &h100()).unwrap());
                    }
                }
            }
        }
    }

    #[test]
    fn plans_of_groups_are_those_that_are_made_however_often_they_are_asked_for() {
        let cache = Cache::new(h100());
        let header = header(Format::Bitmap, 4096, 4096);
        for _ in 0..2 {
            for max_block in [43, 700] {
                for count in [1, 2, 7, 100] {
                    for n in 1..=20 {
                        let shape = GroupShape {
                            header,
                            least_rows: 64,
                            most_rows: 4096,
                            max_block,
                            uneven: false,
                            n,
                            count,
                        };
                        let made = group(&h100(), &shape, 16);
                        assert_eq!(cache.group(&shape, 16).unwrap(), made.ok());
                    }
                }
            }
        }
    }

    #[test]
    fn problems_of_a_model_spread_over_the_places() {
        let mut taken = std::collections::HashSet::new();
        let mut problems = 0;
        for (m, k) in [(21504, 7168), (7168, 7168), (28672, 7168), (7168, 28672)] {
            for n in [1, 2, 4, 8, 16, 24, 32, 48, 64] {
                let b = BAccess::Direct;
                let (format, block_cols) = (Format::Banked, 256);
                let problem =
                    Problem { format, m, n, k, block_cols, max_block: 112, uneven: false, b };
                taken.insert(hash(words(&problem)) % PLACES);
                problems += 1;
            }
        }
        assert!(taken.len() * 10 >= problems * 8, "{} places for {problems}", taken.len());
    }
}
