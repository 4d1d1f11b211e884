//! Banked v3: words of two elements in the order of Tensor Core fragments, dealt to the 32 banks of shared memory. The
//! byte specification is docs/format-banked.md.
//!
//! A block is 64 rows x 256 columns: four sections of 16 rows, each of two halves of 128 columns. A lane of a warp has 32
//! *words* of a half, the registers of its A fragments; words without an element are left out, and a mask says which. A
//! lane's words of a half lie in one bank, so that 32 lanes load from 32 banks, straight into the registers of an MMA.

use std::array::from_fn;

use super::banks::{Deal, LANES};
use super::fragments::{
    self, BlockTile, HALF_COLS, HALF_REGISTERS, HALVES, REGISTERS, SECTION_ROWS, SECTIONS, element,
    step_bits,
};
use super::word;
use crate::types::Format;

pub use super::fragments::{TILE_COLS, TILE_ROWS, UNIT};

/// Units of a block without elements.
pub const LEAST_UNITS: u32 = (HEAD / UNIT) as u32;
/// Units of a block without a word left out.
pub const MOST_UNITS: u32 = LEAST_UNITS + (SECTIONS * HALVES * HALF_REGISTERS) as u32;

/// Byte offset of the starts; the masks are before them.
const STARTS: usize = 4 * SECTIONS * LANES * HALVES;
/// Bytes of masks and starts.
const HEAD: usize = STARTS + 2 * SECTIONS * LANES;

/// Bits 0, 4, 8 and so on for those of a byte.
const SPREAD: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            table[byte] |= ((byte >> bit & 1) << (4 * bit)) as u32;
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// (step, register) of the words of a mask, in their order.
fn words(mask: u32) -> impl Iterator<Item = (usize, usize)> {
    let registers = mask.to_le_bytes();
    let mut rest = (0..REGISTERS).fold(0, |bits, r| bits | SPREAD[usize::from(registers[r])] << r);
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let at = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        Some((at / REGISTERS, at % REGISTERS))
    })
}

/// What the lanes of a section have, and where their words go.
#[derive(Clone, Copy, Default)]
struct Section {
    /// Words of either half that hold an element.
    masks: [[u32; LANES]; HALVES],
    /// Row at which each lane's half 0 begins, in the bank of its own number.
    row: [u8; LANES],
    /// Bank of each lane's half 1, which begins behind the half 0 that is there.
    bank: [u8; LANES],
}

impl Section {
    /// Puts down which words hold an element, and returns how many elements are stored.
    fn find(&mut self, rows: &[[u16; TILE_COLS]]) -> u32 {
        let masks = &mut self.masks;
        let mut nnz = 0;
        for (r, row) in rows.iter().enumerate() {
            for (masks, half) in masks.iter_mut().zip(row.chunks_exact(HALF_COLS)) {
                for (right, bits) in step_bits(half).into_iter().enumerate() {
                    nnz += bits.count_ones();
                    let either = bits | bits >> 1;
                    for t in 0..4 {
                        // Bit 2 t of byte q becomes bit q: the products of the multiplication do not meet.
                        let of_steps = (either >> (2 * t) & 0x0101_0101_0101_0101)
                            .wrapping_mul(0x0102_0408_1020_4080)
                            >> 56;
                        masks[4 * (r % 8) + t] |= (of_steps as u32) << (8 * (r / 8 + 2 * right));
                    }
                }
            }
        }
        nnz
    }

    /// Section `w` of a block that is not checked yet. None if a lane's bank is none.
    fn read(bytes: &[u8], w: usize) -> Option<Self> {
        let mut section = Self::default();
        for lane in 0..LANES {
            let index = LANES * w + lane;
            for half in 0..HALVES {
                section.masks[half][lane] = word(bytes, 4 * (HALVES * index + half))?;
            }
            let &[row, bank] = bytes.get(STARTS + 2 * index..)?.first_chunk()?;
            if usize::from(bank) >= LANES {
                return None;
            }
            (section.row[lane], section.bank[lane]) = (row, bank);
        }
        Some(section)
    }

    /// Words of a lane.
    fn count(&self, half: usize, lane: usize) -> u8 {
        self.masks[half][lane].count_ones() as u8
    }

    /// Deals the words to banks that have `filled` rows each, and says how many they have then.
    fn deal(&mut self, filled: &[u8; LANES]) -> [usize; LANES] {
        let first = from_fn(|lane| filled[lane] + self.count(0, lane));
        let second = from_fn(|lane| self.count(1, lane));
        let deal = Deal::of(&first, &second);
        (self.row, self.bank) = (*filled, deal.bank);
        deal.filled
    }

    /// Byte offset in the block of a lane's words of a half.
    fn begin(&self, half: usize, lane: usize) -> usize {
        let bank = if half == 0 { lane } else { usize::from(self.bank[lane]) };
        let before = if half == 0 { 0 } else { usize::from(self.count(0, bank)) };
        HEAD + 4 * bank + UNIT * (usize::from(self.row[bank]) + before)
    }

    /// What a lane reads to know where it begins.
    fn start(&self, lane: usize) -> u16 {
        u16::from_le_bytes([self.row[lane], self.bank[lane]])
    }
}

/// Zeros of either sign are +0.
const fn kept(bits: u16) -> u32 {
    if bits & 0x7fff == 0 { 0 } else { bits as u32 }
}

/// The sections of a block.
pub(crate) struct Block {
    sections: [Section; SECTIONS],
    nnz: u32,
    /// Rows of words that the longest bank needs.
    rows: usize,
}

impl fragments::Block for Block {
    const FORMAT: Format = Format::Banked;
    const LEAST_UNITS: u32 = LEAST_UNITS;

    fn of(tile: &BlockTile) -> Self {
        let mut sections = [Section::default(); SECTIONS];
        let mut nnz = 0;
        let mut filled = [0; LANES];
        for (section, rows) in sections.iter_mut().zip(tile.chunks_exact(SECTION_ROWS)) {
            nnz += section.find(rows);
            // Less than 256 before the last section.
            filled = section.deal(&filled.map(|rows| rows as u8));
        }
        Self { sections, nnz, rows: filled.into_iter().max().unwrap_or(0) }
    }

    fn nnz(&self) -> u32 {
        self.nnz
    }

    fn units(&self) -> u32 {
        LEAST_UNITS + self.rows as u32
    }

    fn write(&self, tile: &BlockTile, out: &mut [u8]) {
        for (w, section) in self.sections.iter().enumerate() {
            let rows = &tile[SECTION_ROWS * w..][..SECTION_ROWS];
            for lane in 0..LANES {
                let index = LANES * w + lane;
                out[STARTS + 2 * index..][..2].copy_from_slice(&section.start(lane).to_le_bytes());
                for half in 0..HALVES {
                    let mask = section.masks[half][lane];
                    let mut to = section.begin(half, lane);
                    out[4 * (HALVES * index + half)..][..4].copy_from_slice(&mask.to_le_bytes());
                    for (step, register) in words(mask) {
                        let (row, col) = element(lane, step, register);
                        let pair = &rows[row][HALF_COLS * half + col..][..2];
                        let word = kept(pair[0]) | kept(pair[1]) << 16;
                        out[to..to + 4].copy_from_slice(&word.to_le_bytes());
                        to += UNIT;
                    }
                }
            }
        }
    }

    fn read(bytes: &[u8], tile: &mut BlockTile) -> Option<()> {
        for (w, rows) in tile.chunks_exact_mut(SECTION_ROWS).enumerate() {
            let section = Section::read(bytes, w)?;
            for lane in 0..LANES {
                for half in 0..HALVES {
                    let mut from = section.begin(half, lane);
                    for (step, register) in words(section.masks[half][lane]) {
                        let (row, col) = element(lane, step, register);
                        let two = word(bytes, from)?;
                        let pair = rows[row][HALF_COLS * half + col..].first_chunk_mut()?;
                        *pair = [two as u16, (two >> 16) as u16];
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
            _ => "words",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::fragments::Block as _;
    use crate::format::fragments::STEPS;
    use crate::format::fragments::tests::{place, random, round_trips};
    use crate::format::tile::new_tile;

    #[test]
    fn an_element_is_in_the_word_that_holds_it() {
        let mut tile = new_tile().unwrap();
        for row in 0..TILE_ROWS {
            for col in 0..TILE_COLS {
                let (w, half, lane, step, register) = place(row, col);
                tile[row][col] = 1;
                let found = Block::of(&tile);
                tile[row][col] = 0;
                assert_eq!(found.nnz, 1);
                assert_eq!(found.rows, 1);
                for (i, section) in found.sections.iter().enumerate() {
                    let mut masks = [[0; LANES]; HALVES];
                    if i == w {
                        masks[half][lane] = 1 << (step + STEPS * register);
                    }
                    assert_eq!(section.masks, masks);
                }
            }
        }
    }

    #[test]
    fn words_are_in_order_of_steps_and_then_registers() {
        let all: Vec<_> = (0..STEPS).flat_map(|q| (0..REGISTERS).map(move |r| (q, r))).collect();
        assert_eq!(words(u32::MAX).collect::<Vec<_>>(), all);
        for mask in [0, 1, 0x8000_0001, 0x0102_0408, 0x1234_5678, 0xffff_0000] {
            let kept = |&(q, r): &(usize, usize)| mask >> (q + STEPS * r) & 1 == 1;
            let want: Vec<_> = all.iter().copied().filter(kept).collect();
            assert_eq!(words(mask).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn a_dense_block_is_the_largest() {
        let units = |value| Block::of(&[[value; TILE_COLS]; TILE_ROWS]).units();
        assert_eq!(units(0x3c00), MOST_UNITS);
        assert_eq!(units(0x8000), LEAST_UNITS);
        assert_eq!((LEAST_UNITS, MOST_UNITS), (10, 266));
        let before_the_last = (SECTIONS - 1) * HALVES * HALF_REGISTERS + HALF_REGISTERS;
        assert!(before_the_last <= usize::from(u8::MAX), "a start's row has 8 bits");
    }

    #[test]
    fn banks_of_a_random_block_end_close_together() {
        for keep_one_of in [2, 3, 5] {
            let block = Block::of(&random(keep_one_of));
            let masks = block.sections.iter().flat_map(|section| section.masks.iter().flatten());
            let words: u32 = masks.map(|mask| mask.count_ones()).sum();
            let (mean, rows) = (f64::from(words) / LANES as f64, block.units() - LEAST_UNITS);
            assert!(
                f64::from(rows) <= 1.0 + 1.03 * mean,
                "1 of {keep_one_of}: {rows} rows, {mean} on average"
            );
        }
    }

    #[test]
    fn a_block_decodes_to_what_was_encoded() {
        round_trips::<Block>();
    }
}
