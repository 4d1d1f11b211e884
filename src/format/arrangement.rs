//! The order in which a Slots block has its columns, and the search for one.
//!
//! A place of the block takes a column of its own number mod 8 (B's eight rows that one `ldmatrix` reads then always lie
//! in different shared-memory banks), from any of the 32 octets of columns. Places 0 and 4 of an octet keep their columns,
//! since the order of the groups among each other does not matter; so there are six permutations of 32 octets.
//!
//! The search wants no group of four places to have more than two elements in any of the 32 rows, and of sparse blocks
//! not more than one. It goes through the pairs of octets and exchanges their columns of one number whenever that makes the
//! block's *excess*, the elements beyond the limit, no larger. That equals are exchanged, too, is what lets it leave a local
//! minimum. Where little is left, going through all pairs is much for little: each column that has some of it is exchanged
//! with the best of its 31 others, and in between one number's pairs are gone through, which mixes them. At 72 % zeros that
//! leaves no excess, at 70 % in three blocks of five; at 60 % 140 elements of 422 are left.

use std::array::from_fn;

use super::slots::{BlockTile, STEPS, TILE_ROWS};

/// Octets of columns of a block.
const OCTETS: usize = 32;
/// Columns of a group, of which an octet has two.
const GROUP: usize = 4;
/// A half's numbers are three words of `FIELD` bits for each step of a plane.
const FIELD: u32 = 5;
const PLANE_STEPS: usize = STEPS / 2;
/// Bytes of a stored arrangement.
pub(crate) const BYTES: usize = 128;

/// Elements of a block up to which an order with one element a group is looked for.
const SPARSE: u32 = 1024;
/// How long the search goes on.
struct Effort {
    /// Times that it goes through all pairs.
    sweeps: usize,
    /// Elements beyond the limit from which on it goes over to mending single columns.
    few: u32,
    /// Times that it mends.
    mendings: usize,
    /// After so many at most `hope` elements are left, or the search ends.
    hopeful: usize,
    hope: u32,
}

/// For one element a group. It is worth more than an order for two: the kernels have a shorter way for such blocks.
const OF_ONE: Effort = Effort { sweeps: 8, few: 24, mendings: 24, hopeful: 8, hope: 4 };
const OF_TWO: Effort = Effort { sweeps: 8, few: 12, mendings: 16, hopeful: 4, hope: 4 };
/// A block in which something is left has a round of overflow, whether these are two elements or twelve: in one of more than `DENSE`
/// elements something always is.
const OF_DENSE: Effort = Effort { sweeps: 5, few: 10, mendings: 16, hopeful: 3, hope: 3 };
const DENSE: u32 = 2500;

/// By number mod 8 and octet of a place: the octet of its column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arrangement {
    octets: [[u8; OCTETS]; 8],
}

/// Columns of one half of all octets, by number mod 4: the rows in which they have elements.
type Half = [[u32; OCTETS]; GROUP];

impl Default for Arrangement {
    fn default() -> Self {
        Self::identity()
    }
}

impl Arrangement {
    /// Every column in its own place.
    pub(crate) fn identity() -> Self {
        Self { octets: [from_fn(|octet| octet as u8); 8] }
    }

    /// One in which groups have few elements. `words` are the stored elements by row and 32 columns.
    pub(crate) fn search(words: &[[u32; STEPS]; TILE_ROWS]) -> Self {
        let mut found = Self::identity();
        let mut columns = [[[0; OCTETS]; GROUP]; 2];
        let mut elements = 0;
        for (row, words) in words.iter().enumerate() {
            for (step, &word) in words.iter().enumerate() {
                elements += word.count_ones();
                let mut rest = word;
                while rest != 0 {
                    let bit = rest.trailing_zeros() as usize;
                    columns[bit / GROUP % 2][bit % GROUP][4 * step + bit / 8] |= 1 << row;
                    rest &= rest - 1;
                }
            }
        }
        let of_two = if elements <= DENSE { OF_TWO } else { OF_DENSE };
        for (columns, octets) in columns.iter_mut().zip(found.octets.chunks_exact_mut(GROUP)) {
            if elements > SPARSE || !arrange(columns, octets, 1, &OF_ONE) {
                arrange(columns, octets, 2, &of_two);
            }
        }
        found
    }

    /// The column that a place has.
    #[inline]
    pub(crate) fn column(&self, place: usize) -> usize {
        8 * usize::from(self.octets[place % 8][place / 8]) + place % 8
    }

    /// Writes the block with its columns in this order over `arranged`.
    pub(crate) fn apply(&self, tile: &BlockTile, arranged: &mut BlockTile) {
        for (to, from) in arranged.iter_mut().zip(tile) {
            for (place, to) in to.iter_mut().enumerate() {
                *to = from[self.column(place)];
            }
        }
    }

    /// As the block has it: for each plane, octet of a step and half eight bytes.
    pub(crate) fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (i, bytes) in bytes.chunks_exact_mut(8).enumerate() {
            let mut word = 0u64;
            for (step, number, shift) in fields() {
                let place = place(i, step, number);
                word |= u64::from(self.octets[place % 8][place / 8]) << shift;
            }
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From what a block has; refused where two places have the same column.
    pub(crate) fn read(bytes: &[u8; BYTES]) -> Result<Self, String> {
        let mut found = Self::identity();
        for (i, bytes) in bytes.chunks_exact(8).enumerate() {
            let word = bytes.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            for (step, number, shift) in fields() {
                let place = place(i, step, number);
                found.octets[place % 8][place / 8] = (word >> shift & 31) as u8;
            }
        }
        for (number, octets) in found.octets.iter().enumerate() {
            let mut seen = 0u32;
            for &octet in octets {
                if seen >> octet & 1 == 1 {
                    let column = 8 * usize::from(octet) + number;
                    return Err(format!("the arrangement has column {column} in two places"));
                }
                seen |= 1 << octet;
            }
        }
        Ok(found)
    }
}

/// The twelve numbers of a stored word: step of the plane, number mod 4 of the place, lowest bit.
fn fields() -> impl Iterator<Item = (usize, usize, u32)> {
    (1..GROUP).flat_map(|number| {
        (0..PLANE_STEPS).map(move |step| {
            (step, number, FIELD * (PLANE_STEPS as u32 * (number as u32 - 1) + step as u32))
        })
    })
}

/// Place that a number of stored word `i` is for.
fn place(i: usize, step: usize, number: usize) -> usize {
    let (plane, octet, half) = (i / 8, i / 2 % 4, i % 2);
    32 * (PLANE_STEPS * plane + step) + 8 * octet + GROUP * half + number
}

/// Looks for an order in which groups have at most `limit` elements, beginning with the one that there is; whether it
/// was found. `octets` are moved as `columns` are.
fn arrange(columns: &mut Half, octets: &mut [[u8; OCTETS]], limit: u32, effort: &Effort) -> bool {
    let mut left = excess_of(columns, limit);
    for i in 0..effort.sweeps {
        if left == 0 || i > 0 && left <= effort.few {
            break;
        }
        for number in (1..GROUP).rev() {
            sweep(columns, octets, limit, number);
        }
        let before = left;
        left = excess_of(columns, limit);
        // Dense blocks come to their end early, and every further sweep costs as much as the first.
        if 16 * (before - left) + 4 < left {
            break;
        }
    }
    if left > effort.few {
        return false;
    }
    // Of numbers that are not random at all.
    let mut random = 1u32;
    let mut number = GROUP - 1;
    for i in 0..effort.mendings {
        if left == 0 || i == effort.hopeful && left > effort.hope {
            break;
        }
        if i % 2 == 1 {
            sweep(columns, octets, limit, number);
            number = if number == 1 { GROUP - 1 } else { number - 1 };
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        for number in (1..GROUP).rev() {
            mend(columns, octets, limit, number, (random >> 27) as usize);
        }
        left = excess_of(columns, limit);
    }
    left == 0
}

/// Exchanges every column of one number that has an element beyond the limit with that of the octet with which the excess is
/// smallest afterwards, if it is no larger; of equals with the first from `turn` octets after it on.
fn mend(columns: &mut Half, octets: &mut [[u8; OCTETS]], limit: u32, number: usize, turn: usize) {
    let full = full(columns, number, limit);
    let columns = &mut columns[number];
    let bad: [bool; OCTETS] = from_fn(|octet| columns[octet] & full[octet] != 0);
    for octet in (0..OCTETS).filter(|&octet| bad[octet]) {
        // It may have been exchanged meanwhile.
        if columns[octet] & full[octet] == 0 {
            continue;
        }
        let after = |i: usize| (octet + turn + i) % OCTETS;
        let others = (0..OCTETS).map(after).filter(|&other| other != octet);
        let best =
            others.map(|other| (added(columns, &full, octet, other), other)).min_by_key(|b| b.0);
        if let Some((..=0, other)) = best {
            columns.swap(octet, other);
            octets[number].swap(octet, other);
        }
    }
}

/// What an exchange of the columns of two octets adds to the excess.
fn added(columns: &[u32; OCTETS], full: &[u32; OCTETS], one: usize, other: usize) -> i32 {
    let beyond = |column: usize, octet: usize| (columns[column] & full[octet]).count_ones() as i32;
    beyond(other, one) + beyond(one, other) - beyond(one, one) - beyond(other, other)
}

/// Elements beyond `limit` of a group and row.
fn excess_of(columns: &Half, limit: u32) -> u32 {
    let [a, b, c, d] = columns;
    let mut sum = 0;
    for octet in 0..OCTETS {
        let (a, b, c, d) = (a[octet], b[octet], c[octet], d[octet]);
        let (first, last, any_first, any_last) = (a & b, c & d, a | b, c | d);
        let two = first | last | any_first & any_last;
        let three = first & any_last | last & any_first;
        sum += three.count_ones() + (first & last).count_ones();
        if limit == 1 {
            sum += two.count_ones();
        }
    }
    sum
}

/// Rows in which the other three columns of a group have `limit` elements already.
fn full(columns: &Half, number: usize, limit: u32) -> [u32; OCTETS] {
    let [a, b, c] = [1, 2, 3].map(|other| &columns[(number + other) % GROUP]);
    let mut full = [0; OCTETS];
    for (octet, full) in full.iter_mut().enumerate() {
        let (a, b, c) = (a[octet], b[octet], c[octet]);
        *full = if limit == 1 { a | b | c } else { a & b | c & (a | b) };
    }
    full
}

/// Goes through all pairs of octets and exchanges their columns of one number where that leaves no more excess.
fn sweep(columns: &mut Half, octets: &mut [[u8; OCTETS]], limit: u32, number: usize) {
    let full = full(columns, number, limit);
    let (columns, octets) = (&mut columns[number], &mut octets[number]);
    let beyond = |octet: usize, column: u32| (column & full[octet]).count_ones();
    let mut now: [u32; OCTETS] = from_fn(|octet| beyond(octet, columns[octet]));
    for distance in 1..OCTETS {
        let then: [u32; OCTETS] = from_fn(|octet| beyond(octet, columns[octet ^ distance]));
        for octet in 0..OCTETS {
            let other = octet ^ distance;
            if octet < other && then[octet] + then[other] <= now[octet] + now[other] {
                columns.swap(octet, other);
                octets.swap(octet, other);
                (now[octet], now[other]) = (then[octet], then[other]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::slots::TILE_COLS;

    /// Every element is stored with a probability of `percent`.
    fn random(percent: u32, mut x: u32) -> [[u32; STEPS]; TILE_ROWS] {
        let mut words = [[0; STEPS]; TILE_ROWS];
        for word in words.iter_mut().flatten() {
            for bit in 0..32 {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *word |= u32::from(x >> 8 < (1 << 24) / 100 * percent) << bit;
            }
        }
        words
    }

    /// Largest number of elements of a group, and elements beyond two.
    fn groups(words: &[[u32; STEPS]; TILE_ROWS], order: &Arrangement) -> (u32, u32) {
        let (mut most, mut beyond) = (0, 0);
        for row in words {
            for first in (0..TILE_COLS).step_by(GROUP) {
                let stored = |place: usize| {
                    let column = order.column(place);
                    row[column / 32] >> (column % 32) & 1
                };
                let count = (first..first + GROUP).map(stored).sum::<u32>();
                most = most.max(count);
                beyond += count.saturating_sub(2);
            }
        }
        (most, beyond)
    }

    #[test]
    fn groups_have_two_elements_at_most_from_72_percent_of_zeros_on() {
        for (percent, seed) in [(20, 1), (20, 2), (20, 3), (25, 4), (28, 5), (28, 6), (28, 7)] {
            let words = random(percent, seed);
            assert!(groups(&words, &Arrangement::identity()).1 > 40);
            assert_eq!(groups(&words, &Arrangement::search(&words)), (2, 0), "{percent} %");
        }
    }

    #[test]
    fn half_of_the_blocks_have_two_elements_a_group_at_most_at_70_percent_of_zeros() {
        let left: Vec<u32> = (0..16)
            .map(|seed| random(30, 7919 * seed + 13))
            .map(|words| groups(&words, &Arrangement::search(&words)).1)
            .collect();
        assert!(left.iter().filter(|&&left| left == 0).count() >= 8, "{left:?}");
        assert!(left.iter().all(|&left| left < 10), "{left:?}");
    }

    #[test]
    fn groups_have_one_element_at_most_at_nine_tenths_of_zeros() {
        for (percent, seed) in [(10, 1), (10, 2), (5, 3), (1, 4), (0, 5)] {
            let words = random(percent, seed);
            let (most, _) = groups(&words, &Arrangement::search(&words));
            assert_eq!(most, u32::from(percent > 0), "{percent} %");
        }
    }

    #[test]
    fn a_search_never_makes_more_overflow() {
        for (percent, seed) in [(40, 1), (50, 2), (60, 3), (90, 4), (100, 5)] {
            let words = random(percent, seed);
            let before = groups(&words, &Arrangement::identity()).1;
            let after = groups(&words, &Arrangement::search(&words)).1;
            assert!(after < before || percent == 100 && after == before, "{percent} %");
        }
    }

    #[test]
    fn an_arrangement_is_read_as_it_was_written() {
        let order = Arrangement::search(&random(20, 9));
        assert_ne!(order, Arrangement::identity());
        assert_eq!(Arrangement::read(&order.to_bytes()), Ok(order));
        let identity = Arrangement::identity().to_bytes();
        // Word 0 has the places 1, 2 and 3 of the octets 0, 4, 8 and 12.
        let numbers: u64 = 4 << 5 | 8 << 10 | 12 << 15;
        assert_eq!(identity[..8], (numbers | numbers << 20 | numbers << 40).to_le_bytes());
        assert_eq!(
            (0..TILE_COLS).find(|&place| Arrangement::identity().column(place) != place),
            None
        );
    }

    #[test]
    fn a_column_in_two_places_is_refused() {
        let mut bytes = Arrangement::identity().to_bytes();
        bytes[0] |= 1;
        let reason = "the arrangement has column 9 in two places";
        assert_eq!(Arrangement::read(&bytes), Err(reason.to_owned()));
    }
}
