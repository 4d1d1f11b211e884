//! Bitmap v2: a mask bit an element and the stored elements, in the order of Tensor Core fragments and dealt to the 32 banks of
//! shared memory. The byte specification is docs/format-bitmap.md.
//!
//! A block is 64 rows x 256 columns, four sections of two halves ([`super::fragments`]). Each half has a *plane* of values, of which
//! every bank has two bytes in a row of 128. A lane's values of a half lie in one bank, so that 32 lanes load from 32 banks.

use super::banks::{Deal, LANES};
use super::fragments::{
    self, BlockTile, HALF_COLS, HALF_REGISTERS, HALVES, REGISTERS, SECTION_ROWS, SECTIONS, element,
    step_bits,
};
use crate::types::Format;

pub use super::fragments::{TILE_COLS, TILE_ROWS, UNIT};

/// Units of a block without elements.
pub const LEAST_UNITS: u32 = (HEAD / UNIT) as u32;
/// Units of a block without zeros.
pub const MOST_UNITS: u32 = LEAST_UNITS + (SECTIONS * 2 * HALF_REGISTERS) as u32;

/// Byte offset of the starts; the masks are before them.
const STARTS: usize = 8 * SECTIONS * LANES * HALVES;
/// Bytes of masks and starts.
const HEAD: usize = STARTS + 2 * SECTIONS * LANES * HALVES;

/// A lane's mask as it is stored, from one in the order of the values (step, register, element), and back: of each half of it, the
/// steps and the registers of a 4 x 4 matrix of pairs of bits change places.
const fn transposed(mask: u64) -> u64 {
    let odd = (mask >> 6 ^ mask) & 0x00cc_00cc_00cc_00cc;
    let mask = mask ^ odd ^ odd << 6;
    let high = (mask >> 12 ^ mask) & 0x0000_f0f0_0000_f0f0;
    mask ^ high ^ high << 12
}

/// (row, column) in their section and half of the elements of a lane's mask, in their order.
fn elements(lane: usize, mask: u64) -> impl Iterator<Item = (usize, usize)> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let at = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        let (row, col) = element(lane, at / (2 * REGISTERS), at / 2 % REGISTERS);
        Some((row, col + at % 2))
    })
}

/// What the lanes of a section have of a half, and where their values go.
#[derive(Clone, Copy, Default)]
struct Lanes {
    /// Stored elements, in the order of the values.
    masks: [u64; LANES],
    /// Row at which each lane begins.
    row: [u8; LANES],
    /// Its bank.
    bank: [u8; LANES],
}

impl Lanes {
    /// Those of half `half` of section `w` of a block that is not checked yet. None if a lane's bank is none.
    fn read(bytes: &[u8], w: usize, half: usize) -> Option<Self> {
        let mut lanes = Self::default();
        for lane in 0..LANES {
            let index = HALVES * (LANES * w + lane) + half;
            let mask = bytes.get(8 * index..)?.first_chunk()?;
            let &[row, bank] = bytes.get(STARTS + 2 * index..)?.first_chunk()?;
            if usize::from(bank) >= LANES {
                return None;
            }
            lanes.masks[lane] = transposed(u64::from_le_bytes(*mask));
            (lanes.row[lane], lanes.bank[lane]) = (row, bank);
        }
        Some(lanes)
    }

    /// Deals the values to banks that have `filled` rows each, and says how many they have then.
    fn deal(&mut self, filled: &[usize; LANES]) -> [usize; LANES] {
        // At most 192 before the last section.
        let before = filled.map(|rows| rows as u8);
        let counts = self.masks.map(|mask| mask.count_ones() as u8);
        let deal = Deal::of(&before, &counts);
        self.bank = deal.bank;
        self.row = self.bank.map(|bank| before[usize::from(bank)]);
        deal.filled
    }

    /// Byte offset in the block of a lane's values.
    fn begin(&self, half: usize, lane: usize) -> usize {
        HEAD + UNIT * usize::from(self.row[lane]) + 4 * usize::from(self.bank[lane]) + 2 * half
    }
}

/// The lanes of all sections and halves of a block.
pub(crate) struct Block {
    sections: [[Lanes; HALVES]; SECTIONS],
    /// Rows of values that the longest bank needs.
    rows: usize,
}

impl fragments::Block for Block {
    const FORMAT: Format = Format::Bitmap;
    const LEAST_UNITS: u32 = LEAST_UNITS;

    fn of(tile: &BlockTile) -> Self {
        let mut sections = [[Lanes::default(); HALVES]; SECTIONS];
        let mut filled = [[0; LANES]; HALVES];
        for (section, rows) in sections.iter_mut().zip(tile.chunks_exact(SECTION_ROWS)) {
            for (r, row) in rows.iter().enumerate() {
                for (lanes, half) in section.iter_mut().zip(row.chunks_exact(HALF_COLS)) {
                    for (right, bits) in step_bits(half).into_iter().enumerate() {
                        for (t, mask) in lanes.masks[4 * (r % 8)..][..4].iter_mut().enumerate() {
                            let pairs = bits >> (2 * t) & 0x0303_0303_0303_0303;
                            *mask |= pairs << (2 * (r / 8 + 2 * right));
                        }
                    }
                }
            }
            for (lanes, filled) in section.iter_mut().zip(&mut filled) {
                *filled = lanes.deal(filled);
            }
        }
        Self { sections, rows: filled.into_iter().flatten().max().unwrap_or(0) }
    }

    fn nnz(&self) -> u32 {
        let lanes = self.sections.iter().flatten();
        lanes.flat_map(|lanes| lanes.masks).map(u64::count_ones).sum()
    }

    fn units(&self) -> u32 {
        LEAST_UNITS + self.rows as u32
    }

    fn write(&self, tile: &BlockTile, out: &mut [u8]) {
        for (w, section) in self.sections.iter().enumerate() {
            let rows = &tile[SECTION_ROWS * w..][..SECTION_ROWS];
            for (half, lanes) in section.iter().enumerate() {
                for lane in 0..LANES {
                    let index = HALVES * (LANES * w + lane) + half;
                    let mask = lanes.masks[lane];
                    out[8 * index..][..8].copy_from_slice(&transposed(mask).to_le_bytes());
                    out[STARTS + 2 * index..][..2]
                        .copy_from_slice(&[lanes.row[lane], lanes.bank[lane]]);
                    let mut to = lanes.begin(half, lane);
                    for (row, col) in elements(lane, mask) {
                        let value = rows[row][HALF_COLS * half + col];
                        out[to..to + 2].copy_from_slice(&value.to_le_bytes());
                        to += UNIT;
                    }
                }
            }
        }
    }

    fn read(bytes: &[u8], tile: &mut BlockTile) -> Option<()> {
        for (w, rows) in tile.chunks_exact_mut(SECTION_ROWS).enumerate() {
            for half in 0..HALVES {
                let lanes = Lanes::read(bytes, w, half)?;
                for (lane, mask) in lanes.masks.into_iter().enumerate() {
                    let mut from = lanes.begin(half, lane);
                    for (row, col) in elements(lane, mask) {
                        let value = bytes.get(from..)?.first_chunk()?;
                        rows[row][HALF_COLS * half + col] = u16::from_le_bytes(*value);
                        from += UNIT;
                    }
                }
            }
        }
        Some(())
    }

    fn part(at: usize) -> &'static str {
        match at {
            0..STARTS => "masks",
            STARTS..HEAD => "starts",
            _ => "values",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::fragments::Block as _;
    use crate::format::fragments::tests::{place, random, round_trips};
    use crate::format::tile::new_tile;

    #[test]
    fn an_element_has_the_bit_of_the_specification() {
        let mut tile = new_tile().unwrap();
        for row in 0..TILE_ROWS {
            for col in 0..TILE_COLS {
                let (w, half, lane, q, r) = place(row, col);
                tile[row][col] = 1;
                let found = Block::of(&tile);
                tile[row][col] = 0;
                assert_eq!((found.nnz(), found.rows), (1, 1));
                let mask = found.sections[w][half].masks[lane];
                assert_eq!(mask, 1 << (8 * q + 2 * r + col % 2));
                assert_eq!(transposed(mask), 1 << (32 * (q / 4) + 8 * r + 2 * (q % 4) + col % 2));
                let at = elements(lane, mask).next();
                assert_eq!(at, Some((row % SECTION_ROWS, col % HALF_COLS)));
            }
        }
    }

    #[test]
    fn transposing_twice_changes_nothing() {
        let mut x = 1u64;
        for _ in 0..1000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            assert_eq!(transposed(transposed(x)), x);
        }
    }

    #[test]
    fn a_dense_block_is_the_largest() {
        let units = |value| Block::of(&[[value; TILE_COLS]; TILE_ROWS]).units();
        assert_eq!(units(0x3c00), MOST_UNITS);
        assert_eq!(units(0x8000), LEAST_UNITS);
        assert_eq!((LEAST_UNITS, MOST_UNITS), (20, 276));
        let before_the_last = (SECTIONS - 1) * 2 * HALF_REGISTERS;
        assert!(before_the_last <= usize::from(u8::MAX), "a start's row has 8 bits");
    }

    #[test]
    fn banks_of_a_random_block_end_close_together() {
        for keep_one_of in [2, 3, 5, 20] {
            let block = Block::of(&random(keep_one_of));
            let mean = f64::from(block.nnz()) / (HALVES * LANES) as f64;
            assert!(
                (block.rows as f64) <= 7.0 + mean,
                "1 of {keep_one_of}: {} rows, {mean} on average",
                block.rows
            );
        }
    }

    #[test]
    fn a_block_decodes_to_what_was_encoded() {
        round_trips::<Block>();
    }
}
