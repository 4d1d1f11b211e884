//! The time of a launch, as a function of what the launch does and of coefficients that measurements gave.
//!
//! The functions are here, with the numbers that are one for all kernels and were found on an H200 (docs/kernels-log.md,
//! "Where CTAs read B"); the coefficients of each kernel, by device, are in [`table`](super::table): a tuning program fits
//! those with the very functions that selection uses, and leaves the others as they are.

use super::KernelId;

/// What the time of a launch depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The kernel.
    pub kernel: KernelId,
    /// Row tiles that a CTA works on at a time.
    pub group_tiles: u32,
    /// Staged blocks of A.
    pub a_slots: u32,
    /// Shared memory of one staged block, bytes.
    pub slot_bytes: u32,
    /// Largest block of A, in the format's units.
    pub max_block: u32,
    /// Bytes of the largest block of A.
    pub block_bytes: u32,
    /// Units of the CTA that has most.
    pub busiest: u64,
    /// Units of all CTAs, over the device's multiprocessors, rounded up; of all slices, unless they run side by side.
    pub fair: u64,
    /// CTAs that share a multiprocessor, at a time or one after the other.
    pub together: u32,
    /// Parts of cut row groups that a CTA waits for, at most: 0, 1, or 2 where it begins within one, ends within another,
    /// and has fewer units than [`LONG`].
    pub cut: u32,
    /// CTAs that have parts of one row group, at most: whoever is last adds up so many. Two are a cluster if `cut` is 0.
    pub owners: u32,
    /// Blocks along K at which CTAs begin, at most: what they read of B at a time lies in so many places.
    pub starts: u32,
    /// Whether columns of B, where they follow each other, begin elsewhere than lines of the L2 do, each 128 bytes.
    pub straddles: bool,
}

/// How a kernel's time follows from the features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// Never measured: taken where nothing else serves.
    Unknown,
    /// By units of work, in microseconds.
    Units(Units),
    /// By the rate at which warps decode: relative times, comparable within a format and width.
    Decoding(Decoding),
}

/// The busiest CTA takes as long as its units' (row group x block along K) tiles need to be multiplied, or as the bytes of all
/// CTAs need to arrive, and a little more than the longer of the two where they are close: where some have less to do, the others
/// get what they leave of the bandwidth, up to [`SHARES`]. Few staged blocks hide little of a block's latency from either. Times
/// in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Of every launch.
    pub launch: f64,
    /// Of a unit, however many tiles it has.
    pub unit: f64,
    /// Of a tile of a unit.
    pub tile: f64,
    /// More for each unit of the format (128 bytes, or an item of Tiled-CSL) in the largest block.
    pub fill: f64,
    /// More for the square of what a block holds beyond [`FULL`]: overflow entries of Slots.
    pub overflow: f64,
    /// Of a part of a cut row group: of storing it, or of adding up all of them.
    pub fix_up: f64,
    /// From asking for a block of A until it is there: a tile's next block is asked for when the first of its staged ones has been
    /// multiplied.
    pub latency: f64,
    /// A multiprocessor's share of the bandwidth, bytes of the largest block a microsecond.
    pub bytes: f64,
}

/// The rows x columns that a multiprocessor decodes, over the rate at which its warps do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoding {
    /// Warps from which on more of them change nothing.
    pub enough: f64,
    /// What is left of the rate where one block alone is staged and larger than `waiting_bytes`.
    pub waiting: f64,
    /// Smaller blocks arrive in time.
    pub waiting_bytes: u32,
}

/// What staged blocks delay the first of them and B, of the time in which they come.
pub const STAGED: f64 = 0.15;

/// How many multiprocessors' shares of the bandwidth one can take.
pub const SHARES: f64 = 2.0;

/// Rows of a part of a row group that take as long to be stored as a part takes to be counted.
pub const PART_ROWS: f64 = 128.0;

/// What the part that a CTA begins with takes, of what the one that it ends with does: it is stored and counted in the middle of its work.
pub const SECOND: f64 = 0.3;

/// What adding up takes for each part and each 8 columns, of what storing a part takes.
pub const SUMMED: f64 = 0.06;

/// What adding up takes where two CTAs are a cluster, of what storing a part takes: of every product, and more for each 8 columns.
pub const PAIRED: (f64, f64) = (0.4, 0.04);

/// Bytes of B a microsecond that a multiprocessor has from the L2 where CTAs begin at [`SPREAD`] places along K or more. Of fewer places
/// many CTAs read the same at a time, which the L2 gives them together: the time goes with the cube root of the places.
pub const B_BYTES: f64 = 60_000.0;

/// Places along K from which on more of them change nothing.
pub const SPREAD: u32 = 24;

/// As [`B_BYTES`], from wherever CTAs begin, where each 128 bytes of a column lie in two lines.
pub const STRADDLING_B_BYTES: f64 = 45_000.0;

/// Units of a Slots block of 256 columns up to which there is hardly any overflow.
pub const FULL: u32 = 46;

/// Units from which on a CTA stores the part that it begins with while it works on what follows, where its warps end one by one.
pub const LONG: u64 = 24;

/// The time of the same product with dense 16-bit weights: cuBLAS, L2 cold. It reads them once, and up to
/// [`Dense::FEW_COLUMNS`] columns nothing else takes as long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dense {
    /// Microseconds of every product.
    pub launch: f64,
    /// Bytes of weights a microsecond.
    pub bytes: f64,
    /// Weights of the smallest matrix that was measured: what is smaller takes another time than the line says.
    pub least: u64,
    /// Of more columns, where they were measured.
    pub wide: Option<Wide>,
}

/// What counts with many columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wide {
    /// Columns up to which products were measured.
    pub columns: u32,
    /// Operations, a multiplication and an addition being two, a microsecond.
    pub flops: f64,
}

impl Dense {
    /// Columns up to which only weights count.
    pub const FEW_COLUMNS: u32 = 64;

    /// Microseconds, of what lies within the measurements.
    pub fn time(&self, m: u32, n: u32, k: u32) -> Option<f64> {
        let weights = u64::from(m) * u64::from(k);
        let columns = self.wide.map_or(Self::FEW_COLUMNS, |wide| wide.columns);
        if n > columns || weights < self.least {
            return None;
        }
        let read = 2.0 * weights as f64 / self.bytes;
        let wide = self.wide.filter(|_| n > Self::FEW_COLUMNS);
        let computed = wide.map_or(0.0, |wide| 2.0 * weights as f64 * f64::from(n) / wide.flops);
        Some(self.launch + longer(read, computed))
    }
}

/// The longer of two times that go by together, and a little more where they are close: now one waits and now the other.
fn longer(one: f64, other: f64) -> f64 {
    (one.powi(4) + other.powi(4)).sqrt().sqrt()
}

impl Law {
    /// The time, as far as the law knows it; only to be compared with those of laws of the same kind.
    pub fn time(&self, f: &Features) -> f64 {
        match self {
            Self::Unknown => f64::MAX,
            Self::Units(units) => units.time(f),
            Self::Decoding(decoding) => decoding.time(f),
        }
    }
}

impl Units {
    /// Microseconds.
    pub fn time(&self, f: &Features) -> f64 {
        let tiles = f64::from(f.group_tiles);
        let block = f64::from(f.block_bytes) / self.bytes;
        let together = f64::from(f.together);
        let over = f64::from(f.max_block.saturating_sub(FULL));
        let tile = self.tile + self.fill * f64::from(f.max_block) + self.overflow * over * over;
        // Units that are multiplied at a time.
        let slices = f.kernel.k_slices(f.group_tiles);
        // What is asked for at once at the start comes at once.
        let at_once = u64::from(f.a_slots * slices).min(f.busiest) as f64 * tiles;
        let rate = if f.straddles {
            STRADDLING_B_BYTES
        } else {
            B_BYTES * (f64::from(SPREAD) / f64::from(f.starts.clamp(1, SPREAD))).cbrt()
        };
        let read = f64::from(f.kernel.b_bytes()) / rate;
        let unit = f64::from(slices) * longer(self.unit + tiles * tile, read);
        // A slot is asked for, filled and multiplied, while the others of its tile are. Who has none waits for none.
        let staged = if f.a_slots == 0 { f64::INFINITY } else { f64::from(f.a_slots) };
        let in_turn = (unit + self.latency + block) / staged;
        let busiest = together * f.busiest as f64;
        let turns = together * f.busiest.div_ceil(u64::from(slices)) as f64;
        let multiplied = turns * unit.max(in_turn);
        let all_staged = staged * f64::from(slices);
        let arrived =
            (tiles * block + self.latency / all_staged) * (f.fair as f64).max(busiest / SHARES);
        let either = longer(multiplied, arrived);
        // A part is as large as the row group.
        let facts = f.kernel.facts();
        let rows = tiles * f64::from(facts.tile_rows);
        let parts = rows / PART_ROWS;
        let columns = f64::from(facts.n_tiles);
        let summed = match (f.cut, f.owners) {
            (0, 1) => 0.0,
            (0, _) => PAIRED.0 + PAIRED.1 * columns,
            _ => SUMMED * columns * f64::from(f.owners) * parts,
        };
        let waits = match f.cut {
            0 => 0.0,
            cut => 1.0 + SECOND * f64::from(cut - 1),
        };
        let ends = together * self.fix_up * (waits * (1.0 + parts) + summed);
        self.launch + either + ends + STAGED * at_once * block
    }
}

impl Decoding {
    fn time(&self, f: &Features) -> f64 {
        let facts = f.kernel.facts();
        let warps = f64::from(facts.warps * f.together);
        let waiting = f.a_slots == 1 && f.slot_bytes > self.waiting_bytes;
        let rate = (warps / self.enough).min(1.0) * if waiting { self.waiting } else { 1.0 };
        let units = (f.busiest * u64::from(f.together)) as f64;
        units * f64::from(facts.warps * facts.tile_rows) / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: Features = Features {
        kernel: KernelId::SlotsN2Sm90,
        group_tiles: 7,
        a_slots: 2,
        slot_bytes: 43 * 128,
        max_block: 43,
        block_bytes: 43 * 128,
        busiest: 28,
        fair: 28,
        together: 1,
        cut: 0,
        owners: 1,
        starts: 1,
        straddles: false,
    };

    #[test]
    fn dense_products_take_as_long_as_their_weights_and_then_as_their_operations() {
        let wide = Wide { columns: 512, flops: 8e8 };
        let dense = Dense { launch: 6.0, bytes: 4e6, least: 1 << 20, wide: Some(wide) };
        let time = |n| dense.time(20_000, n, 10_000).unwrap();
        assert_eq!(time(1), 106.0);
        assert_eq!(time(64), 106.0);
        assert!(time(65) > 106.0 && time(65) < 107.0, "{}", time(65));
        assert!((200.0..213.0).contains(&time(384)), "{}", time(384));
        assert!((65..512).all(|n| time(n) < time(n + 1)));
        assert_eq!(dense.time(20_000, 513, 10_000), None);
        assert_eq!(Dense { wide: None, ..dense }.time(20_000, 65, 10_000), None);
        assert_eq!(dense.time(1000, 8, 1000), None);
    }

    #[test]
    fn a_cluster_adds_up_faster_than_the_workspace_and_slower_than_one_cta() {
        let units = Units { tile: 0.1, fix_up: 1.0, bytes: 25_000.0, ..Units::default() };
        for group_tiles in [1, 2, 4] {
            let whole = Features { kernel: KernelId::BankedN8Sm90, group_tiles, ..FEATURES };
            let pair = units.time(&Features { owners: 2, ..whole });
            assert!(units.time(&whole) < pair);
            assert!(pair < units.time(&Features { owners: 2, cut: 1, ..whole }));
        }
    }

    #[test]
    fn b_of_many_places_takes_longer_where_it_is_wide() {
        let units = Units {
            launch: 6.0,
            unit: 0.4,
            tile: 0.5,
            bytes: 1e5,
            latency: 0.2,
            ..Units::default()
        };
        let more = |kernel| {
            let of = |starts| {
                units.time(&Features { kernel, group_tiles: 1, busiest: 40, starts, ..FEATURES })
            };
            assert!(of(1) <= of(4) && of(4) <= of(SPREAD) && of(SPREAD) == of(144));
            of(SPREAD) / of(1)
        };
        assert!(more(KernelId::BankedN32Sm90) > 1.5);
        assert!(more(KernelId::BankedN8Sm90) < 1.1);
        assert_eq!(more(KernelId::SlotsN8Sm90), 1.0);
        let wide = Features { kernel: KernelId::BankedN32Sm90, group_tiles: 1, ..FEATURES };
        assert!(
            units.time(&Features { straddles: true, ..wide }) > 1.2 * units.time(&wide),
            "one place, but two lines for each"
        );
    }

    #[test]
    fn more_work_takes_no_less_time() {
        let units = Units {
            launch: 3.0,
            unit: 0.5,
            tile: 0.1,
            fill: 0.002,
            overflow: 1e-4,
            fix_up: 3.0,
            latency: 1.15,
            bytes: 25_000.0,
        };
        let decoding = Decoding { enough: 8.0, waiting: 0.85, waiting_bytes: 4096 };
        for law in [Law::Units(units), Law::Decoding(decoding)] {
            let time = law.time(&FEATURES);
            assert!(time.is_finite() && time > 0.0);
            assert!(law.time(&Features { busiest: 29, ..FEATURES }) > time);
            assert!(law.time(&Features { a_slots: 1, ..FEATURES }) > time);
            assert!(
                law.time(&Features { max_block: 60, block_bytes: 60 * 128, ..FEATURES }) >= time
            );
            assert!(law.time(&Features { cut: 1, ..FEATURES }) >= time);
            assert!(time < Law::Unknown.time(&FEATURES));
        }
    }
}
