//! The stream-K line of a kernel, and how it is dealt.

use super::{CHUNK_COLS, Candidate, Family, KernelId, Problem, model};

/// The stream-K line of a kernel (fl_streamk.cuh).
pub(super) struct Line {
    pub(super) row_tiles: u32,
    pub(super) group_tiles: u32,
    pub(super) groups: u32,
    pub(super) k_blocks: u32,
    /// Whether whole rows are dealt a tile at a time, by their bytes, and not a row group at a time.
    pub(super) deals_tiles: bool,
    /// Whether the warps of a tile end a part of it together, so that nothing else goes on meanwhile.
    pub(super) ends_together: bool,
    /// Whether two CTAs that share a row group can be a cluster.
    pub(super) takes_pairs: bool,
    /// Whether a CTA can have one piece only.
    pub(super) one_piece: bool,
}

impl Line {
    pub(super) fn new(candidate: &Candidate, problem: &Problem) -> Self {
        let Problem { m, k, block_cols, uneven, .. } = *problem;
        let line = Self::of(candidate.kernel, candidate.group_tiles, m, k, block_cols);
        Self { deals_tiles: uneven && candidate.kernel.facts().family.warps_roam(), ..line }
    }

    pub(super) fn of(kernel: KernelId, group_tiles: u32, m: u32, k: u32, block_cols: u32) -> Self {
        let facts = kernel.facts();
        let unit_cols = match facts.family {
            Family::TiledCslSm90 => CHUNK_COLS,
            _ => block_cols,
        };
        let row_tiles = m.div_ceil(facts.tile_rows);
        Self {
            row_tiles,
            group_tiles,
            groups: row_tiles.div_ceil(group_tiles),
            k_blocks: k.div_ceil(unit_cols),
            deals_tiles: false,
            // With fewer columns one of the warps counts parts for the others.
            ends_together: facts.family.is_fragments() && facts.n_tiles >= 12,
            takes_pairs: kernel.takes_pairs(),
            one_piece: facts.family.is_sliced(),
        }
    }

    /// Whether so many CTAs at a time can be dealt row groups of so many pieces.
    pub(super) fn takes(&self, parts: u32, sms: u32) -> bool {
        !self.one_piece || u64::from(self.groups) * u64::from(parts) <= u64::from(sms)
    }

    /// Whether CTAs have whole tiles, as many as have about the same bytes.
    pub(super) fn tiles_by_bytes(&self, parts: u32) -> bool {
        self.deals_tiles && parts == 1
    }

    /// Where tiles are dealt by bytes: those of a CTA if all have alike, and in how many turns it takes them.
    fn dealt(&self, sms: u32) -> (u32, u32) {
        let tiles = self.row_tiles.div_ceil(self.ctas(1, sms).max(1));
        (tiles, tiles.div_ceil(self.group_tiles))
    }

    /// Row tiles that a CTA works on at a time.
    pub(super) fn tiles_at_a_time(&self, parts: u32, sms: u32) -> u32 {
        if !self.tiles_by_bytes(parts) {
            return self.group_tiles;
        }
        let (tiles, turns) = self.dealt(sms);
        tiles.div_ceil(turns.max(1))
    }

    /// What a multiprocessor has to do if all have alike.
    pub(super) fn fair(&self, slices: u32, sms: u32) -> u64 {
        (self.units() * u64::from(slices)).div_ceil(u64::from(sms.max(1)))
    }

    pub(super) fn units(&self) -> u64 {
        u64::from(self.groups) * u64::from(self.k_blocks)
    }

    pub(super) fn ctas(&self, parts: u32, sms: u32) -> u32 {
        if self.tiles_by_bytes(parts) {
            return sms.min(self.row_tiles);
        }
        u32::try_from(u64::from(sms).min(u64::from(self.groups) * u64::from(parts))).unwrap_or(sms)
    }

    /// Units of the CTA that has most.
    pub(super) fn busiest(&self, parts: u32, sms: u32) -> u64 {
        if self.tiles_by_bytes(parts) {
            return u64::from(self.dealt(sms).1) * u64::from(self.k_blocks);
        }
        let pieces = u64::from(self.groups) * u64::from(parts);
        let most = pieces.div_ceil(u64::from(self.ctas(parts, sms)));
        // Whole groups of pieces have k_blocks units, what is left at most the ceiling of its share.
        let (whole, rest) = (most / u64::from(parts), most % u64::from(parts));
        whole * u64::from(self.k_blocks)
            + (rest * u64::from(self.k_blocks)).div_ceil(u64::from(parts))
    }

    /// CTAs that have units of one row group, at most.
    pub(super) fn owners(&self, parts: u32, sms: u32) -> u32 {
        if self.pairs(parts, sms) {
            return 2;
        } else if self.cuts(parts, sms) == 0 {
            return 1;
        }
        let ctas = self.ctas(parts, sms);
        (ctas.div_ceil(self.groups.max(1)) + u32::from(ctas % self.groups.max(1) != 0)).min(parts)
    }

    /// Blocks along K at which CTAs begin, at most.
    pub(super) fn starts(&self, parts: u32, sms: u32) -> u32 {
        if self.tiles_by_bytes(parts) {
            return 1;
        }
        let pieces = u64::from(self.groups) * u64::from(parts);
        let ctas = u64::from(self.ctas(parts, sms));
        if pieces % ctas != 0 {
            return parts;
        }
        // Where all have as many pieces, that comes round.
        let step = (pieces / ctas % u64::from(parts)) as u32;
        parts / gcd(parts, step)
    }

    /// Whether two CTAs that are a cluster have every row group.
    pub(super) fn pairs(&self, parts: u32, sms: u32) -> bool {
        self.takes_pairs && parts == 2 && u64::from(sms) >= 2 * u64::from(self.groups)
    }

    /// Parts of cut row groups that a CTA waits for, at most.
    pub(super) fn cuts(&self, parts: u32, sms: u32) -> u32 {
        if self.tiles_by_bytes(parts) || self.pairs(parts, sms) {
            return 0;
        }
        let pieces = u64::from(self.groups) * u64::from(parts);
        let ctas = u64::from(self.ctas(parts, sms));
        let each = pieces / ctas;
        if pieces % ctas == 0 && each % u64::from(parts) == 0 {
            0
        } else if pieces % ctas == 0 && u64::from(parts) % each == 0
            || self.busiest(parts, sms) >= model::LONG && !self.ends_together
        {
            1
        } else {
            2
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctas_begin_where_pieces_do_and_at_no_more_places_than_that() {
        // Fourteen row groups of two tiles, of eight blocks.
        let line = Line::of(KernelId::BankedN16Sm90, 2, 28 * 64, 8 * 256, 256);
        assert_eq!((line.groups, line.k_blocks), (14, 8));
        // A CTA has one row group, or a half of one, or a quarter.
        assert_eq!(line.starts(1, 14), 1);
        assert_eq!(line.starts(8, 14), 1);
        assert_eq!(line.starts(2, 28), 2);
        assert_eq!(line.starts(8, 28), 2);
        assert_eq!(line.starts(8, 56), 4);
        // Nine or eight of 112 pieces: anywhere. Three quarters of a row group each do not come round before all four are there.
        assert_eq!(line.starts(8, 13), 8);
        let line = Line::of(KernelId::BankedN16Sm90, 2, 24 * 64, 8 * 256, 256);
        assert_eq!((line.groups, line.starts(4, 16)), (12, 4));
    }
}
