//! What Banked and Bitmap have in common: blocks of 64 rows x 256 columns in the order of Tensor Core fragments.
//!
//! A block has four sections of 16 rows, each of two halves of 128 columns. A half of a section is eight steps, each an A fragment
//! of `mma.m16n8k16`: lane `l = 4 g + t` has four registers of it, of two neighbouring elements each.

use super::header::{Header, corrupt};
use super::list::stored_bits;
use super::tile::{Tile, check_edge};
use super::{Analysis, block, blocks, changed};
use crate::error::Result;
use crate::types::{DenseLayout, Format};

/// Rows of a block.
pub const TILE_ROWS: usize = SECTIONS * SECTION_ROWS;
/// Columns of a block.
pub const TILE_COLS: usize = HALVES * HALF_COLS;
/// Bytes of a row of all banks, and of one step of the table's offsets.
pub const UNIT: usize = 128;

/// Parts of a block that one warp decodes.
pub(super) const SECTIONS: usize = 4;
pub(super) const SECTION_ROWS: usize = 16;
pub(super) const HALVES: usize = 2;
pub(super) const HALF_COLS: usize = 128;
/// MMAs of a half: 16 columns each.
pub(super) const STEPS: usize = 8;
/// Registers of a lane and MMA.
pub(super) const REGISTERS: usize = 4;
/// Registers of a lane and half.
pub(super) const HALF_REGISTERS: usize = STEPS * REGISTERS;

/// One block, dense.
pub(crate) type BlockTile = Tile<TILE_ROWS, TILE_COLS>;

/// (row, column) in its section and half of the first element of a lane's register; the other one is in the next column.
#[inline]
pub(super) const fn element(lane: usize, step: usize, register: usize) -> (usize, usize) {
    (lane / 4 + 8 * (register % 2), 16 * step + 8 * (register / 2) + 2 * (lane % 4))
}

/// Which elements of a row of a half are stored: of the left (registers 0 and 1) and of the right eight columns of each step, a byte
/// a step.
#[inline]
pub(super) fn step_bits(half: &[u16]) -> [u64; 2] {
    let mut bits = [[0u8; STEPS]; 2];
    for (octet, values) in half.chunks_exact(8).enumerate() {
        if let Some(values) = values.first_chunk() {
            bits[octet % 2][octet / 2] = stored_bits(values);
        }
    }
    bits.map(u64::from_le_bytes)
}

/// What a format of such blocks knows of one. Its encoding is unique.
pub(crate) trait Block: Sized {
    const FORMAT: Format;
    /// Units of a block without elements.
    const LEAST_UNITS: u32;

    fn of(tile: &BlockTile) -> Self;
    /// Stored elements.
    fn nnz(&self) -> u32;
    fn units(&self) -> u32;
    /// Writes it over zeros, as many as its units; `tile` is what it was made of.
    fn write(&self, tile: &BlockTile, out: &mut [u8]);
    /// Writes what the bytes of a block decode to over zeros. None if they lead out of it.
    fn read(bytes: &[u8], tile: &mut BlockTile) -> Option<()>;
    /// What the byte at an offset belongs to.
    fn part(at: usize) -> &'static str;
}

fn encode_block<B: Block>(tile: &BlockTile, block: &B, out: &mut [u8]) -> Result<()> {
    if block.units() as usize * UNIT != out.len() {
        return Err(changed());
    }
    out.fill(0);
    block.write(tile, out);
    Ok(())
}

/// First pass: counts and sizes every block.
pub(super) fn analyse<B: Block>(layout: &DenseLayout, values: &[u16]) -> Result<Analysis> {
    let size = |_: &mut (), _, tile: &BlockTile| {
        let block = B::of(tile);
        (block.nnz(), block.units(), ())
    };
    Ok(blocks::analyse(B::FORMAT, layout, values, 4, || Ok(()), size)?.0)
}

/// Second pass: writes the data section, whose length is the header's, and tells the stored elements.
pub(super) fn encode<B: Block>(
    analysis: &Analysis,
    layout: &DenseLayout,
    values: &[u16],
    data: &mut [u8],
) -> Result<u64> {
    let encode = |_: &mut (), _, tile: &BlockTile, out: &mut [u8]| {
        let block = B::of(tile);
        encode_block(tile, &block, out)?;
        Ok(block.nnz())
    };
    blocks::encode(analysis, layout, values, data, 4, || Ok(()), encode)
}

/// Writes block `index` over `tile`.
pub(crate) fn unpack<B: Block>(
    buffer: &[u8],
    header: &Header,
    index: usize,
    tile: &mut BlockTile,
) -> Result<()> {
    let bytes = block(buffer, header, index, B::LEAST_UNITS)?;
    *tile = [[0; TILE_COLS]; TILE_ROWS];
    B::read(bytes, tile)
        .ok_or_else(|| corrupt(format!("starts: block {index}: they lead out of it")))
}

impl<B: Block> blocks::Decoded<(), TILE_ROWS, TILE_COLS> for B {
    fn stored(&self) -> u32 {
        self.nnz()
    }

    fn units(&self) -> u32 {
        Block::units(self)
    }

    fn encode(&self, _: &mut (), tile: &BlockTile, out: &mut [u8]) -> Result<()> {
        encode_block(tile, self, out)
    }

    fn part(&self, at: usize) -> &'static str {
        B::part(at)
    }
}

/// Checks every block ([`blocks::validate`]).
pub(super) fn validate<B: Block>(buffer: &[u8], header: &Header) -> Result<(u64, u32)> {
    blocks::validate(
        buffer,
        header,
        16,
        || Ok(()),
        |(), index, tile| {
            unpack::<B>(buffer, header, index, tile)?;
            check_edge(header, index, tile)?;
            Ok(B::of(tile))
        },
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::format::tile::new_tile;

    /// (section, half, lane, step, register) of an element.
    pub(in crate::format) fn place(row: usize, col: usize) -> (usize, usize, usize, usize, usize) {
        let lane = row % 8 * 4 + col % 8 / 2;
        let register = row / 8 % 2 + 2 * (col / 8 % 2);
        (row / SECTION_ROWS, col / HALF_COLS, lane, col % HALF_COLS / 16, register)
    }

    /// One element in `keep_one_of` is kept.
    pub(in crate::format) fn random(keep_one_of: u64) -> Box<BlockTile> {
        let mut tile: Box<BlockTile> = new_tile().unwrap();
        for (i, value) in tile.iter_mut().flatten().enumerate() {
            let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *value = if (x >> 33) % keep_one_of == 0 { 0x3c00 } else { 0 };
        }
        tile
    }

    /// Blocks of `B` decode to what was encoded.
    pub(in crate::format) fn round_trips<B: Block>() {
        for keep_one_of in [1, 2, 7, 100, u64::MAX] {
            let mut tile = random(keep_one_of);
            tile[5][9] = 0x8000;
            let block = B::of(&tile);
            let mut bytes = vec![0xa5; block.units() as usize * UNIT];
            encode_block(&tile, &block, &mut bytes).unwrap();
            let mut back = new_tile().unwrap();
            B::read(&bytes, &mut back).unwrap();
            tile[5][9] = 0;
            assert!(back == tile, "1 of {keep_one_of}");
        }
    }

    #[test]
    fn an_element_is_in_the_register_that_holds_it() {
        for row in 0..TILE_ROWS {
            for col in 0..TILE_COLS {
                let (w, half, lane, step, register) = place(row, col);
                let (r, c) = element(lane, step, register);
                assert_eq!((SECTION_ROWS * w + r, HALF_COLS * half + c), (row, col & !1));
            }
        }
    }
}
