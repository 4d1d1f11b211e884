//! The time of a launch, as a function of what the launch does and of coefficients that measurements gave.
//!
//! The functions are here, the coefficients in [`table`](super::table): a tuning program fits the latter with
//! the very functions that selection uses.

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

/// How many multiprocessors' shares of the bandwidth one can take.
pub const SHARES: f64 = 2.0;

/// Rows of a part of a row group that take as long to be stored as a part takes to be counted.
pub const PART_ROWS: f64 = 128.0;

/// What adding up takes for each part, of what storing a part takes.
pub const SUMMED: f64 = 0.2;

/// What adding up takes where two CTAs are a cluster, of what storing a part takes.
pub const PAIRED: f64 = 0.5;

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
        // A staged block that changes nothing only waits.
        self.launch + self.work(f) * (1.0 + 0.001 * f64::from(f.a_slots))
    }

    /// Of the work alone.
    fn work(&self, f: &Features) -> f64 {
        let tiles = f64::from(f.group_tiles);
        let block = f64::from(f.block_bytes) / self.bytes;
        let together = f64::from(f.together);
        let over = f64::from(f.max_block.saturating_sub(FULL));
        let tile = self.tile + self.fill * f64::from(f.max_block) + self.overflow * over * over;
        // Units that are multiplied at a time.
        let slices = f.kernel.k_slices(f.group_tiles);
        let unit = f64::from(slices) * (self.unit + tiles * tile);
        // A slot is asked for, filled and multiplied, while the others of its tile are. Who has none waits for none.
        let slots = if f.a_slots == 0 { f64::INFINITY } else { f64::from(f.a_slots) };
        let in_turn = (unit + self.latency + block) / slots;
        let busiest = together * f.busiest as f64;
        let turns = together * f.busiest.div_ceil(u64::from(slices)) as f64;
        let multiplied = turns * unit.max(in_turn);
        let slots = slots * f64::from(slices);
        let arrived =
            (tiles * block + self.latency / slots) * (f.fair as f64).max(busiest / SHARES);
        let either = longer(multiplied, arrived);
        // A part is as large as the row group.
        let rows = tiles * f64::from(f.kernel.facts().tile_rows);
        let parts = rows / PART_ROWS;
        let summed = match (f.cut, f.owners) {
            (0, 1) => 0.0,
            (0, _) => PAIRED,
            _ => SUMMED * f64::from(f.owners) * parts,
        };
        either + together * self.fix_up * (f64::from(f.cut) * (1.0 + parts) + summed)
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
