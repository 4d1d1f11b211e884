//! Algorithm ids, forced choices, and plans of a product with everything around it.

use super::candidates::{CLASSES, Candidate, candidates};
use super::{
    BAccess, DeviceProps, Estimates, KernelId, LaunchPlan, Problem, checked_aligned,
    dense_estimate, estimate, select, select_chosen, uneven,
};
use crate::error::{Error, Kind, Result};
use crate::format::Header;
use crate::types::{checked_add, checked_mul};

/// What is not left to the selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The kernel.
    pub kernel: Option<KernelId>,
    /// Row tiles that a CTA works on at a time.
    pub group_tiles: Option<u32>,
    /// Staged blocks of A.
    pub a_slots: Option<u32>,
    /// Pieces of a row group.
    pub parts: Option<u32>,
    /// CTAs along the line, at most.
    pub max_ctas: Option<u32>,
    /// Only kernels that take a group of products.
    pub grouped: bool,
}

impl Choice {
    /// Only this algorithm; what it leaves open stays open.
    pub fn force(self, algorithm: Algorithm) -> Self {
        Self {
            kernel: Some(algorithm.kernel),
            group_tiles: Some(algorithm.group_tiles).filter(|&tiles| tiles > 0),
            a_slots: Some(algorithm.a_slots).filter(|&slots| slots > 0),
            ..self
        }
    }

    /// Every algorithm.
    pub(super) fn free(self) -> Self {
        Self { kernel: None, group_tiles: None, a_slots: None, ..self }
    }

    /// The algorithm that was asked for, if `kernel` was.
    pub(super) fn algorithm(&self, kernel: KernelId) -> Algorithm {
        Algorithm {
            kernel,
            group_tiles: self.group_tiles.unwrap_or(0),
            a_slots: self.a_slots.unwrap_or(0),
        }
    }

    /// Whether the candidate may be chosen.
    pub(super) fn allows(&self, c: &Candidate) -> bool {
        self.kernel.is_none_or(|wanted| wanted == c.kernel)
            && self.group_tiles.is_none_or(|wanted| wanted == c.group_tiles)
            && self.a_slots.is_none_or(|wanted| wanted == c.a_slots)
            && (!self.grouped || c.kernel.has_group())
    }
}

/// A kernel, and what callers may fix of its mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Algorithm {
    /// The kernel.
    pub kernel: KernelId,
    /// Row tiles that a CTA works on at a time; 0: chosen.
    pub group_tiles: u32,
    /// Staged blocks of A; 0: chosen.
    pub a_slots: u32,
}

impl Algorithm {
    const TILES: i32 = 1_000_000;
    const SLOTS: i32 = 100_000_000;

    /// The number by which callers store and force it: the kernel's, and above it row tiles and staged blocks.
    pub fn id(&self) -> i32 {
        self.kernel.algorithm()
            + Self::TILES * self.group_tiles.min(99) as i32
            + Self::SLOTS * self.a_slots.min(20) as i32
    }

    /// The algorithm with this number.
    pub fn from_id(id: i32) -> Option<Self> {
        let kernel = KernelId::from_algorithm(id.checked_rem(Self::TILES)?)?;
        let group_tiles = u32::try_from(id / Self::TILES % (Self::SLOTS / Self::TILES)).ok()?;
        let a_slots = u32::try_from(id / Self::SLOTS).ok()?;
        Some(Self { kernel, group_tiles, a_slots })
    }
}

impl KernelId {
    /// The number by which callers store and force this kernel: family, tile width and warps, so that it names
    /// the same mapping in every release. 0 and 1 are never one: they stand for "automatic" and "the host".
    pub fn algorithm(self) -> i32 {
        let facts = self.facts();
        let family = facts.family as i32 + 1;
        family * 10_000 + (facts.n_tiles * 100 + facts.warps) as i32
    }

    /// The kernel with this number.
    pub fn from_algorithm(id: i32) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kernel| kernel.facts().family.multiplies() && kernel.algorithm() == id)
    }
}

/// Kernels that can run the product on the device, the automatic choice first, then by estimated time.
pub fn algorithms(problem: &Problem, props: &DeviceProps) -> Result<Vec<KernelId>> {
    let mut found = vec![select(problem, props)?.kernel];
    for n_tiles in CLASSES.into_iter().flatten().copied() {
        let estimates = Estimates::new(problem, props, n_tiles);
        let mut timed: Vec<(f64, KernelId)> =
            candidates(problem, props, n_tiles).map(|c| (estimates.time(&c), c.kernel)).collect();
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, kernel) in timed {
            if !found.contains(&kernel) {
                found.push(kernel);
            }
        }
    }
    Ok(found)
}

/// The launches of one product, and the gate's before it, in one workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Columns that it was made for.
    pub n: usize,
    /// A * B.
    pub product: LaunchPlan,
    /// G * B.
    pub gate: Option<LaunchPlan>,
    /// Workspace offset of the activated G * B, fp32, element (m, n) at n * M + m.
    pub gate_offset: usize,
    /// Bytes of workspace.
    pub workspace_bytes: usize,
}

impl Planned {
    /// Microseconds that the launches are estimated to take, and that cuBLAS takes for the same products with dense weights;
    /// `None` where nobody has measured that.
    pub fn estimates(
        &self,
        props: &DeviceProps,
        header: &Header,
        gate: Option<&Header>,
    ) -> Result<(Option<f64>, Option<f64>)> {
        let one = |header: &Header, plan: &LaunchPlan| {
            let problem = Problem::new(header, self.n, BAccess::Packed)?;
            Ok((estimate(&problem, props, plan), dense_estimate(&problem, props)))
        };
        let (mut time, mut dense) = one(header, &self.product)?;
        if let (Some(header), Some(plan)) = (gate, &self.gate) {
            let (gate_time, gate_dense) = one(header, plan)?;
            time = time.zip(gate_time).map(|(a, b)| a + b);
            dense = dense.zip(gate_dense).map(|(a, b)| a + b);
        }
        Ok((time, dense))
    }

    /// Plans A * B for `n` columns, and G * B if there is a gate, in at most `limit` bytes of workspace. B may
    /// lie anywhere. Fewer CTAs need less workspace, so that a limit costs speed before it is refused.
    pub fn new(
        props: &DeviceProps,
        header: &Header,
        gate: Option<&Header>,
        n: usize,
        choice: &Choice,
        limit: usize,
    ) -> Result<Self> {
        let too_much = |least: usize| {
            Error::new(
                Kind::InsufficientResources,
                format!(
                    "the product needs at least {least} bytes of workspace, the limit is {limit}"
                ),
            )
        };
        let mut max_ctas = choice.max_ctas.unwrap_or(u32::MAX);
        let mut least = None;
        loop {
            let bounded = Choice { max_ctas: Some(max_ctas), ..*choice };
            let planned = match (Self::unlimited(props, header, gate, n, &bounded), least) {
                // An algorithm that was asked for may not run on fewer.
                (Err(refused), Some(least)) if refused.kind() == Kind::NotSupported => {
                    return Err(too_much(least));
                }
                (planned, _) => planned?,
            };
            if planned.workspace_bytes <= limit {
                return Ok(planned);
            }
            let widest = planned.product.ctas.max(planned.gate.map_or(0, |g| g.ctas));
            if widest <= 1 {
                return Err(too_much(planned.workspace_bytes));
            }
            least = Some(planned.workspace_bytes);
            max_ctas = widest.div_ceil(2).min(widest - 1);
        }
    }

    fn unlimited(
        props: &DeviceProps,
        header: &Header,
        gate: Option<&Header>,
        n: usize,
        choice: &Choice,
    ) -> Result<Self> {
        let problem = Problem::new(header, n, BAccess::Packed)?;
        let mut product = select_chosen(&problem, props, choice)?;
        let mut gate_plan = None;
        if let Some(gate) = gate {
            let problem = Problem::new(gate, n, BAccess::Packed)?;
            // The kernel is chosen for A; the gate takes it where it can.
            let same = select_chosen(&problem, props, choice);
            gate_plan = Some(match same {
                Err(_) if choice.kernel.is_some() => {
                    select_chosen(&problem, props, &choice.free())?
                }
                same => same?,
            });
        }
        let mut workspace_bytes = product.workspace_bytes;
        let mut gate_offset = 0;
        if let Some(gate) = &mut gate_plan {
            // The two run one after the other and share what they need; B is packed behind both.
            let packed_offset = product.packed_offset.max(gate.packed_offset);
            let packed_bytes = product.packed_bytes.max(gate.packed_bytes);
            product.packed_offset = packed_offset;
            gate.packed_offset = packed_offset;
            gate_offset = checked_add(packed_offset, packed_bytes, "workspace")?;
            workspace_bytes =
                checked_add(gate_offset, gate_bytes(problem.m as usize, n)?, "workspace")?;
        }
        Ok(Self { n, product, gate: gate_plan, gate_offset, workspace_bytes })
    }

    /// Refuses a matrix for which a kernel would not have room.
    pub fn accepts(plan: &LaunchPlan, planned: &Header, given: &Header, name: &str) -> Result<()> {
        let fits = planned.format == given.format
            && planned.tile_cols == given.tile_cols
            && given.max_block <= planned.max_block
            && planned.dtype == given.dtype;
        if fits {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{name} is in format {:?}, blocks of {} columns and at most {} units of {:?}; the plan ({}) was made for {:?}, {}, {}, {:?}: make a plan for {name}",
            given.format,
            given.tile_cols,
            given.max_block,
            given.dtype,
            plan.kernel.algorithm(),
            planned.format,
            planned.tile_cols,
            planned.max_block,
            planned.dtype
        )))
    }
}

/// What the products of a group have in common, and the extremes of what they have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupShape {
    /// A header of one of them.
    pub header: Header,
    /// Fewest rows of an A.
    pub least_rows: u64,
    /// Most rows of an A.
    pub most_rows: u64,
    /// Largest block of an A.
    pub max_block: u32,
    /// Whether the rows of an A are uneven ([`Problem::uneven`]): of one the bytes and of another the largest block would not say.
    pub uneven: bool,
    /// Most columns of a B.
    pub n: usize,
    /// Products, at least 1.
    pub count: usize,
}

impl GroupShape {
    /// The shape of one product.
    pub fn of(header: &Header, n: usize) -> Self {
        let rows = header.rows;
        Self {
            header: *header,
            least_rows: rows,
            most_rows: rows,
            max_block: header.max_block,
            uneven: uneven(header),
            n,
            count: 1,
        }
    }

    /// The shape of `count` products of one matrix.
    pub fn batch(header: &Header, n: usize, count: usize) -> Self {
        Self { count, ..Self::of(header, n) }
    }

    /// Takes one more product in. Format, element type and K have to be the same.
    pub fn add(&mut self, header: &Header, n: usize) -> Result<()> {
        let one = &mut self.header;
        if (header.format, header.dtype, header.cols) != (one.format, one.dtype, one.cols) {
            return Err(Error::invalid(format!(
                "the matrices of a group are of one format, type and K: {:?} {:?} {} and {:?} {:?} {}",
                one.format, one.dtype, one.cols, header.format, header.dtype, header.cols
            )));
        }
        self.least_rows = self.least_rows.min(header.rows);
        self.most_rows = self.most_rows.max(header.rows);
        self.max_block = self.max_block.max(header.max_block);
        self.uneven |= uneven(header);
        self.n = self.n.max(n);
        self.count += 1;
        Ok(())
    }
}

/// One launch plan for every product of a group of which `together` run in one launch: room for the largest,
/// and no more CTAs than the smallest has work for. Its workspace is that of one product.
pub fn group(props: &DeviceProps, shape: &GroupShape, together: usize) -> Result<LaunchPlan> {
    let header = Header { rows: shape.most_rows, max_block: shape.max_block, ..shape.header };
    let problem =
        Problem { uneven: shape.uneven, ..Problem::new(&header, shape.n, BAccess::Packed)? };
    let share = (props.sm_count as usize / shape.count.min(together).max(1)).max(1);
    let mut choice = Choice {
        max_ctas: u32::try_from(share).ok(),
        // Every row group in as many pieces as it has: any number of CTAs is then right.
        parts: Some(u32::MAX),
        grouped: true,
        ..Choice::default()
    };
    let plan = select_chosen(&problem, props, &choice)?;
    let tiles = shape.least_rows.div_ceil(u64::from(plan.kernel.facts().tile_rows));
    let least = tiles.div_ceil(u64::from(plan.group_tiles)) * u64::from(plan.parts);
    if u64::from(plan.ctas) <= least {
        return Ok(plan);
    }
    choice.max_ctas = u32::try_from(least).ok();
    choice.kernel = Some(plan.kernel);
    let fewer = select_chosen(&problem, props, &choice)?;
    // Fewer CTAs may stage other blocks, or hold other row tiles at a time.
    if fewer.group_tiles <= plan.group_tiles {
        return Ok(fewer);
    }
    choice.max_ctas = Some(1);
    select_chosen(&problem, props, &choice)
}

/// Bytes of workspace that are enough for each product of a group of up to `shape.n` columns.
pub fn group_workspace_bytes(
    props: &DeviceProps,
    shape: &GroupShape,
    together: usize,
) -> Result<usize> {
    // There are kernels of two widths: the maximum over both makes the size monotone.
    let narrow = group(props, &GroupShape { n: shape.n.min(16), ..*shape }, together)?;
    let bytes = group(props, shape, together)?.workspace_bytes;
    Ok(bytes.max(narrow.workspace_bytes))
}

/// Bytes of the activated product with a gate.
pub fn gate_bytes(m: usize, n: usize) -> Result<usize> {
    let bytes = checked_mul(checked_mul(m, n, "workspace")?, 4, "workspace")?;
    checked_aligned(bytes, "workspace")
}

#[cfg(test)]
mod tests {
    use super::super::devices::h100;
    use super::super::{WORKSPACE_ALIGN, header};
    use super::*;
    use crate::types::Format;

    #[test]
    fn algorithm_numbers_are_distinct_and_come_back() {
        for &kernel in KernelId::ALL.iter().filter(|k| k.facts().family.multiplies()) {
            let id = kernel.algorithm();
            assert!(id > 1, "{kernel:?}");
            assert_eq!(KernelId::from_algorithm(id), Some(kernel));
            for (group_tiles, a_slots) in [(0, 0), (1, 0), (0, 1), (7, 3), (99, 20)] {
                let whole = Algorithm { kernel, group_tiles, a_slots };
                assert_eq!(Algorithm::from_id(whole.id()), Some(whole), "{whole:?}");
            }
        }
        for id in [i32::MIN, -1, 0, 1, 9_999, i32::MAX, KernelId::PackBSm80.algorithm()] {
            assert_eq!(KernelId::from_algorithm(id), None, "{id}");
            assert_eq!(Algorithm::from_id(id), None, "{id}");
        }
    }

    #[test]
    fn every_way_has_a_number_and_is_what_the_number_gives() {
        for format in Format::ALL {
            for n in [1, 16, 33, 64, 128] {
                let problem =
                    Problem::new(&header(format, 4096, 4096), n, BAccess::Direct).unwrap();
                let ways = super::super::ways(&problem, &h100());
                assert!(!ways.is_empty());
                for way in ways {
                    let id = way.algorithm.id();
                    assert_eq!(Algorithm::from_id(id), Some(way.algorithm));
                    let choice = Choice { parts: Some(way.parts), ..Choice::default() };
                    let plan =
                        select_chosen(&problem, &h100(), &choice.force(way.algorithm)).unwrap();
                    assert_eq!((plan.algorithm(), plan.parts), (way.algorithm, way.parts));
                }
            }
        }
    }

    #[test]
    fn more_row_tiles_or_staged_blocks_than_there_are_is_refused() {
        let header = header(Format::Slots, 4096, 4096);
        for (group_tiles, a_slots) in [(99, 0), (0, 99), (99, 99)] {
            let algorithm = Algorithm { kernel: KernelId::SlotsN2Sm90, group_tiles, a_slots };
            let choice = Choice::default().force(algorithm);
            let refused = Planned::new(&h100(), &header, None, 16, &choice, usize::MAX);
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), Kind::NotSupported);
            assert!(error.message().contains(&algorithm.id().to_string()), "{error}");
        }
    }

    #[test]
    fn every_listed_algorithm_can_be_forced_and_the_first_is_the_automatic_one() {
        for format in [Format::Bitmap, Format::TiledCsl, Format::Slots] {
            for n in [1, 16, 33, 200] {
                let header = header(format, 4096, 4096);
                let problem = Problem::new(&header, n, BAccess::Packed).unwrap();
                let ids = algorithms(&problem, &h100()).unwrap();
                let automatic =
                    Planned::new(&h100(), &header, None, n, &Choice::default(), usize::MAX)
                        .unwrap();
                assert_eq!(ids[0], automatic.product.kernel);
                assert!(ids.len() > 1, "{format:?} {n}: {ids:?}");
                for kernel in ids {
                    let choice = Choice { kernel: Some(kernel), ..Choice::default() };
                    let forced =
                        Planned::new(&h100(), &header, None, n, &choice, usize::MAX).unwrap();
                    assert_eq!(forced.product.kernel, kernel);
                }
            }
        }
    }

    #[test]
    fn a_kernel_of_another_format_or_device_is_refused() {
        let choice = Choice { kernel: Some(KernelId::SlotsN2Sm80), ..Choice::default() };
        for format in [Format::Bitmap, Format::Slots] {
            let refused =
                Planned::new(&h100(), &header(format, 64, 256), None, 16, &choice, usize::MAX);
            assert_eq!(refused.unwrap_err().kind(), Kind::NotSupported);
        }
    }

    #[test]
    fn splits_are_as_asked_and_bounded_by_the_units() {
        let header = header(Format::Slots, 4096, 4096);
        for (asked, got) in [(1, 1), (2, 2), (16, 16), (1000, 16)] {
            let choice = Choice { parts: Some(asked), ..Choice::default() };
            let planned = Planned::new(&h100(), &header, None, 16, &choice, usize::MAX).unwrap();
            assert_eq!(planned.product.parts, got);
        }
    }

    #[test]
    fn a_limit_takes_ctas_before_it_is_refused() {
        for format in [Format::Bitmap, Format::TiledCsl, Format::Slots] {
            let header = header(format, 4096, 4096);
            let free =
                Planned::new(&h100(), &header, None, 16, &Choice::default(), usize::MAX).unwrap();
            let limit = free.workspace_bytes / 2;
            let planned =
                Planned::new(&h100(), &header, None, 16, &Choice::default(), limit).unwrap();
            assert!(planned.workspace_bytes <= limit);
            assert!(planned.product.ctas < free.product.ctas);
            let refused = Planned::new(&h100(), &header, None, 16, &Choice::default(), 1000);
            assert_eq!(refused.unwrap_err().kind(), Kind::InsufficientResources);
        }
    }

    #[test]
    fn a_group_gives_no_cta_more_work_than_the_smallest_matrix_has() {
        for format in [Format::Bitmap, Format::TiledCsl, Format::Slots] {
            for (rows, n, count) in [
                (vec![4096; 8], 4, 8),
                (vec![1, 4096], 16, 2),
                (vec![33, 100, 7], 200, 3),
                (vec![512; 200], 1, 200),
            ] {
                let mut shape = GroupShape::of(&header(format, rows[0], 1000), n);
                for &rows in &rows[1..] {
                    shape.add(&header(format, rows, 1000), 0).unwrap();
                }
                assert_eq!((shape.count, shape.n), (count, n));
                let plan = group(&h100(), &shape, 16).unwrap();
                assert!(plan.kernel.has_group());
                assert_eq!(plan.parts, plan.k_blocks);
                for &rows in &rows {
                    let tiles = (rows as u32).div_ceil(plan.kernel.facts().tile_rows);
                    assert!(plan.ctas <= tiles.div_ceil(plan.group_tiles) * plan.parts);
                    assert!(tiles <= plan.row_tiles);
                }
                assert!(plan.slices * plan.kernel.facts().n_tiles * 8 >= n as u32);
            }
        }
        let mut shape = GroupShape::of(&header(Format::Slots, 64, 512), 1);
        for other in [header(Format::Bitmap, 64, 512), header(Format::Slots, 64, 513)] {
            assert_eq!(shape.add(&other, 1).unwrap_err().kind(), Kind::InvalidValue);
        }
    }

    #[test]
    fn the_gate_lies_behind_everything_else_and_b_is_packed_once() {
        let (header, gate) =
            (header(Format::Slots, 1000, 4096), header(Format::Bitmap, 1000, 4096));
        let planned =
            Planned::new(&h100(), &header, Some(&gate), 30, &Choice::default(), usize::MAX)
                .unwrap();
        let gate = planned.gate.unwrap();
        assert_eq!(planned.product.packed_offset, gate.packed_offset);
        assert_eq!(planned.product.packed_bytes, gate.packed_bytes);
        let packed_end = gate.packed_offset + gate.packed_bytes;
        assert!(planned.gate_offset >= packed_end);
        assert_eq!(planned.gate_offset % WORKSPACE_ALIGN, 0);
        assert!(planned.workspace_bytes >= planned.gate_offset + 1000 * 30 * 4);
    }

    #[test]
    fn the_workspace_of_a_batch_does_not_shrink_with_its_columns() {
        for format in Format::ALL {
            for (rows, cols) in [(33, 300), (4096, 4096), (28672, 7168)] {
                let header = header(format, rows, cols);
                for count in [2, 7, 16] {
                    let mut before = 0;
                    for n in 1..150 {
                        let shape = GroupShape::batch(&header, n, count);
                        let plan = group(&h100(), &shape, count).unwrap();
                        assert!(plan.kernel.has_group());
                        let bytes = group_workspace_bytes(&h100(), &shape, count).unwrap();
                        assert!(bytes >= plan.workspace_bytes && bytes >= before);
                        before = bytes;
                    }
                }
            }
        }
    }
}
