//! Host executor: C = alpha * A * B + beta * C on all cores, from a compressed A, and what an [`Epilogue`]
//! asks for besides.
//!
//! A task is a group of row tiles times at most [`SUPER`] columns of C. It walks K in chunks of 256:
//! the chunk of B is converted once to f32 *panels* of 32 columns (32 KiB each), then every row tile of
//! the group is *expanded* into one list of (value, column) per row, and each list is multiplied with
//! each panel, the sums of the row staying in registers ([`row`]). So the price of reading a compressed
//! block is shared by up to 128 columns, and that of converting B by up to 256 rows.
//!
//! Every element of C is computed by one task, in an order that follows from A alone: results have the
//! same bits for every thread count, every N, every stride and every instruction set. The product of two
//! fp16 or bfloat16 numbers is exact in f32 unless it leaves its range, so fused and separate multiply-add agree.
//!
//! Zeros of A are not multiplied: an Inf or NaN in B that meets only zeros of A does not reach C.

pub mod prune;
mod row;

use std::sync::{Mutex, PoisonError};

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::error::{Error, Kind, Result};
use crate::format::list::{RowList, SPAN};
use crate::format::{self, Header, banked, bitmap, fragments, sell, slots, tiled_csl};
use crate::pool::{self, Spare};
use crate::types::{Activation, DType, Format, boxed, filled};

use row::{Isa, PANEL, Panel};

/// Columns of A that are expanded at a time.
const CHUNK: usize = SPAN;
/// Rows of A that are listed at a time.
const STRIPE: usize = slots::TILE_ROWS;
/// Chunks of a block of SELL.
const SELL_CHUNKS: usize = sell::TILE_COLS / CHUNK;
/// Rows of C a task holds.
const GROUP_ROWS: usize = 256;
/// Columns of C a task holds.
const SUPER: usize = 4 * PANEL;

/// What [`spmm`] multiplies. Strides are in elements.
#[derive(Clone, Copy, Debug)]
pub struct HostSpmm<'a> {
    /// Compressed A, M x K, as accepted by [`format::validate`].
    pub a: &'a [u8],
    /// Columns of B and C.
    pub n: usize,
    /// Factor of A * B.
    pub alpha: f32,
    /// Factor of C; 0 means that C is not read.
    pub beta: f32,
    /// Bits of op(B), K x N, in A's element type.
    pub b: &'a [u16],
    /// Strides of op(B) along k and n.
    pub b_strides: (usize, usize),
    /// Element type of C.
    pub c_dtype: DType,
    /// Strides of C along m and n.
    pub c_strides: (usize, usize),
    /// What follows the product.
    pub epilogue: Epilogue<'a>,
}

/// C = activation(alpha * A * B + beta * C + bias) * gate + residual, in f32 and rounded once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// M elements.
    pub bias: Option<Dense<'a>>,
    /// Applied to every element.
    pub activation: Activation,
    /// Element (m, n) at n * M + m.
    pub gate: Option<&'a [f32]>,
    /// Added at the end.
    pub residual: Residual<'a>,
}

/// What is added to a finished element.
#[derive(Clone, Copy, Debug, Default)]
pub enum Residual<'a> {
    /// Nothing.
    #[default]
    None,
    /// What C held.
    InPlace,
    /// An M x N matrix and its strides along m and n.
    Matrix(Dense<'a>, (usize, usize)),
}

/// Elements that are read, in any element type.
#[derive(Clone, Copy, Debug)]
pub enum Dense<'a> {
    /// fp16 bits.
    F16(&'a [u16]),
    /// bfloat16 bits.
    BF16(&'a [u16]),
    /// Single precision.
    F32(&'a [f32]),
}

impl Dense<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F16(values) | Self::BF16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    fn get(&self, at: usize) -> f32 {
        match self {
            Self::F16(values) => f16::from_bits(values[at]).to_f32(),
            Self::BF16(values) => bf16::from_bits(values[at]).to_f32(),
            Self::F32(values) => values[at],
        }
    }
}

/// C, in any element type.
#[derive(Debug)]
pub enum DenseMut<'a> {
    /// fp16 bits.
    F16(&'a mut [u16]),
    /// bfloat16 bits.
    BF16(&'a mut [u16]),
    /// Single precision.
    F32(&'a mut [f32]),
}

impl DenseMut<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F16(values) | Self::BF16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Self::F16(_) => DType::F16,
            Self::BF16(_) => DType::BF16,
            Self::F32(_) => DType::F32,
        }
    }
}

/// Bits of a 16-bit type to single precision; both slices have one length.
fn widen(dtype: DType, bits: &[u16], values: &mut [f32]) {
    if dtype == DType::BF16 {
        bits.reinterpret_cast::<bf16>().convert_to_f32_slice(values);
    } else {
        bits.reinterpret_cast::<f16>().convert_to_f32_slice(values);
    }
}

/// Single precision to bits of a 16-bit type, to nearest even; both slices have one length.
fn narrow(dtype: DType, values: &[f32], bits: &mut [u16]) {
    if dtype == DType::BF16 {
        bits.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(values);
    } else {
        bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values);
    }
}

/// C = alpha * A * op(B) + beta * C.
///
/// Elements of `c` outside the M x N matrix stay untouched. A buffer that was never validated gives an
/// error or a wrong product, never an access outside the slices.
pub fn spmm(args: &HostSpmm<'_>, header: &Header, c: DenseMut<'_>) -> Result<()> {
    spmm_with(Isa::detect(), args, header, c)
}

fn spmm_with(isa: Isa, args: &HostSpmm<'_>, header: &Header, c: DenseMut<'_>) -> Result<()> {
    if format::parse_header(args.a)? != *header {
        return Err(Error::invalid("the header is not that of the compressed buffer"));
    }
    let size = |value: u64, name: &str| {
        usize::try_from(value).map_err(|_| {
            Error::new(Kind::SizeOverflow, format!("{name} = {value} does not fit usize"))
        })
    };
    let (m, k) = (size(header.rows, "rows")?, size(header.cols, "cols")?);
    if args.c_dtype != c.dtype() {
        return Err(Error::invalid(format!(
            "C has type {:?}, its storage is {:?}",
            args.c_dtype,
            c.dtype()
        )));
    }
    if args.n == 0 {
        return Ok(());
    }
    check_extent("B", (k, args.n), args.b_strides, args.b.len())?;
    check_extent("C", (m, args.n), args.c_strides, c.len())?;
    check_distinct((m, args.n), args.c_strides)?;
    check_epilogue(&args.epilogue, m, args.n)?;

    let tile_rows = header.tile_rows as usize;
    let tiles = m.div_ceil(tile_rows);
    let supers = args.n.div_ceil(SUPER);
    let c = Mutex::new(c);
    // Groups shrink when there would be too few tasks to share. The bits of C do not depend on this.
    let wanted = (4 * pool::threads()).div_ceil(supers);
    let group = (GROUP_ROWS / tile_rows).min(tiles.div_ceil(wanted)).max(1);
    let groups = tiles.div_ceil(group);
    let tasks = groups * supers;
    let job = Job { args, header, isa, m, k, tile_rows };
    let new = || Scratch::new(args.n, group, header);
    let compute = |scratch: &mut Scratch, task: usize| {
        let first = task % groups * group;
        let n0 = task / groups * SUPER;
        job.multiply(first..(first + group).min(tiles), n0, scratch)?;
        // Tasks write disjoint elements, but with strides that no slices can tell apart. The
        // lock is held for a small part of a task's time.
        let mut c = c.lock().unwrap_or_else(PoisonError::into_inner);
        job.store(first * tile_rows, n0, scratch, &mut c);
        Ok(())
    };
    if tasks == 1 {
        // Done before another thread has woken.
        return compute(&mut new()?, 0);
    }
    let failure = pool::run(|| {
        let spare = Spare::new(new);
        // Before the first task: where memory lacks, C stays as it was.
        if let Err(error) = spare.prepare(tasks) {
            return Some(error);
        }
        let each = (0..tasks).into_par_iter();
        each.map(|task| spare.lend(|own| compute(own, task))).find_map_first(Result::err)
    });
    failure.map_or(Ok(()), Err)
}

fn check_extent(
    name: &str,
    shape: (usize, usize),
    strides: (usize, usize),
    len: usize,
) -> Result<()> {
    let last = (shape.0 - 1)
        .checked_mul(strides.0)
        .zip((shape.1 - 1).checked_mul(strides.1))
        .and_then(|(a, b)| a.checked_add(b));
    if last.is_some_and(|last| last < len) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name} is {} x {} with strides {strides:?}, which {len} elements do not hold",
        shape.0, shape.1
    )))
}

fn check_epilogue(epilogue: &Epilogue<'_>, m: usize, n: usize) -> Result<()> {
    if let Some(bias) = epilogue.bias {
        check_extent("the bias", (m, 1), (1, 0), bias.len())?;
    }
    if let Some(gate) = epilogue.gate {
        check_extent("the gate", (m, n), (1, m), gate.len())?;
    }
    match epilogue.residual {
        Residual::Matrix(values, strides) => {
            check_extent("the residual", (m, n), strides, values.len())
        }
        Residual::None | Residual::InPlace => Ok(()),
    }
}

/// Two elements of C in one place would make the result depend on the order of the tasks.
fn check_distinct((m, n): (usize, usize), (sm, sn): (usize, usize)) -> Result<()> {
    let rows_inside =
        (m == 1 || sm > 0) && (n == 1 || (m - 1).checked_mul(sm).is_some_and(|end| end < sn));
    let cols_inside =
        (n == 1 || sn > 0) && (m == 1 || (n - 1).checked_mul(sn).is_some_and(|end| end < sm));
    if rows_inside || cols_inside {
        return Ok(());
    }
    Err(Error::invalid(format!("elements of C, {m} x {n} with strides ({sm}, {sn}), overlap")))
}

/// Buffers of one task; their size does not depend on the matrices.
struct Scratch {
    panels: Vec<Panel>,
    /// Sums: panel by panel, row by row.
    sums: Vec<[f32; PANEL]>,
    rows: Vec<RowList>,
    /// Values of `rows` as f32.
    values: Vec<[f32; CHUNK]>,
    unpacked: Unpacked,
}

/// What of A is listed next, dense.
enum Unpacked {
    /// One chunk of a tile.
    TiledCsl(Box<tiled_csl::DenseChunk>),
    /// One block.
    Slots(Box<slots::BlockTile>),
    /// One block.
    Banked(Box<fragments::BlockTile>),
    /// One block.
    Bitmap(Box<fragments::BlockTile>),
    /// One block of each tile of the group.
    Sell(Vec<Box<sell::BlockTile>>),
}

/// What the memory of a task is for.
const PART: &str = "a thread's part of the product";

impl Scratch {
    fn new(n: usize, group: usize, header: &Header) -> Result<Self> {
        let panels = n.min(SUPER).div_ceil(PANEL);
        Ok(Self {
            panels: filled([[0.0; PANEL]; CHUNK], panels, PART)?,
            sums: filled([0.0; PANEL], panels * group * header.tile_rows as usize, PART)?,
            rows: filled(RowList::new(), STRIPE, PART)?,
            values: filled([0.0; CHUNK], STRIPE, PART)?,
            unpacked: Unpacked::new(header.format, group)?,
        })
    }
}

impl Unpacked {
    fn new(format: Format, group: usize) -> Result<Self> {
        Ok(match format {
            Format::TiledCsl => Self::TiledCsl(boxed([0; CHUNK], PART)?),
            Format::Slots => Self::Slots(boxed([0; CHUNK], PART)?),
            Format::Banked => Self::Banked(boxed([0; CHUNK], PART)?),
            Format::Bitmap => Self::Bitmap(boxed([0; CHUNK], PART)?),
            Format::Sell => {
                let blocks = (0..group).map(|_| boxed([0; sell::TILE_COLS], PART));
                Self::Sell(blocks.collect::<Result<_>>()?)
            }
        })
    }
}

struct Job<'a> {
    args: &'a HostSpmm<'a>,
    header: &'a Header,
    isa: Isa,
    m: usize,
    k: usize,
    tile_rows: usize,
}

impl Job<'_> {
    fn multiply(
        &self,
        tiles: std::ops::Range<usize>,
        n0: usize,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let cols = (self.args.n - n0).min(SUPER);
        let group_rows = scratch.sums.len() / scratch.panels.len();
        scratch.sums.fill([0.0; PANEL]);
        for chunk in 0..self.k.div_ceil(CHUNK) {
            for (p, panel) in scratch.panels.iter_mut().enumerate().take(cols.div_ceil(PANEL)) {
                self.pack(chunk * CHUNK, n0 + p * PANEL, panel);
            }
            for tile in tiles.clone() {
                let local = tile - tiles.start;
                self.unpack(tile, local, chunk, &mut scratch.unpacked)?;
                for stripe in 0..self.tile_rows / STRIPE {
                    list(local, chunk, stripe, scratch);
                    for (values, row) in scratch.values.iter_mut().zip(scratch.rows.iter()) {
                        let bits = row.bits();
                        widen(self.header.dtype, bits, &mut values[..bits.len()]);
                    }
                    for (p, panel) in scratch.panels.iter().enumerate().take(cols.div_ceil(PANEL)) {
                        let first = p * group_rows + local * self.tile_rows + stripe * STRIPE;
                        let sums = &mut scratch.sums[first..first + STRIPE];
                        let lists = scratch.rows.iter().zip(scratch.values.iter());
                        let rows =
                            lists.map(|(row, values)| (row.cols(), &values[..row.cols().len()]));
                        row::multiply(self.isa, rows, panel, sums, (cols - p * PANEL).min(PANEL));
                    }
                }
            }
        }
        Ok(())
    }

    /// Unpacks one chunk of a tile, the `local`-th of its group.
    fn unpack(
        &self,
        tile: usize,
        local: usize,
        chunk: usize,
        unpacked: &mut Unpacked,
    ) -> Result<()> {
        let (a, header) = (self.args.a, self.header);
        let index = tile * self.k.div_ceil(CHUNK) + chunk;
        match unpacked {
            Unpacked::TiledCsl(dense) => self.unpack_tiles(tile, chunk, dense),
            Unpacked::Slots(block) => slots::unpack(a, header, index, block).map(drop),
            Unpacked::Banked(block) => fragments::unpack::<banked::Block>(a, header, index, block),
            Unpacked::Bitmap(block) => fragments::unpack::<bitmap::Block>(a, header, index, block),
            // A block is unpacked where its first chunk is asked for.
            Unpacked::Sell(_) if chunk % SELL_CHUNKS != 0 => Ok(()),
            Unpacked::Sell(blocks) => {
                let index = tile * self.k.div_ceil(sell::TILE_COLS) + chunk / SELL_CHUNKS;
                sell::unpack(a, header, index, &mut blocks[local])
            }
        }
    }

    /// Unpacks the Tiled-CSL tiles of one chunk.
    fn unpack_tiles(
        &self,
        tile: usize,
        chunk: usize,
        dense: &mut tiled_csl::DenseChunk,
    ) -> Result<()> {
        let blocks = self.k.div_ceil(tiled_csl::TILE_COLS);
        for part in 0..CHUNK / tiled_csl::TILE_COLS {
            let block = chunk * (CHUNK / tiled_csl::TILE_COLS) + part;
            let index = (block < blocks).then_some(tile * blocks + block);
            tiled_csl::unpack(self.args.a, self.header, index, part * tiled_csl::TILE_COLS, dense)?;
        }
        Ok(())
    }

    /// Converts the rectangle of B at (`k0`, `n0`) to a panel.
    fn pack(&self, k0: usize, n0: usize, panel: &mut Panel) {
        let (sk, sn) = self.args.b_strides;
        let depth = (self.k - k0).min(CHUNK);
        let width = (self.args.n - n0).min(PANEL);
        let b = &self.args.b[k0 * sk + n0 * sn..];
        if sn == 1 {
            for (k, row) in panel.iter_mut().enumerate().take(depth) {
                let from = &b[k * sk..k * sk + width];
                widen(self.header.dtype, from, &mut row[..width]);
            }
            return;
        }
        let mut bits = [0u16; CHUNK];
        let mut values = [0f32; CHUNK];
        for n in 0..width {
            let column = &b[n * sn..];
            let column = if sk == 1 {
                &column[..depth]
            } else {
                for (k, bits) in bits[..depth].iter_mut().enumerate() {
                    *bits = column[k * sk];
                }
                &bits[..depth]
            };
            widen(self.header.dtype, column, &mut values[..depth]);
            for (row, &value) in panel.iter_mut().zip(&values[..depth]) {
                row[n] = value;
            }
        }
    }

    /// Writes a task's part of C, line by line along the smaller stride.
    fn store(&self, r0: usize, n0: usize, scratch: &Scratch, c: &mut DenseMut<'_>) {
        let (sm, sn) = self.args.c_strides;
        let group_rows = scratch.sums.len() / scratch.panels.len();
        let rows = (self.m - r0).min(group_rows);
        let cols = (self.args.n - n0).min(SUPER);
        let sum = |r: usize, n: usize| scratch.sums[n / PANEL * group_rows + r][n % PANEL];
        let mut line = [0f32; GROUP_ROWS];
        if sm <= sn {
            for n in 0..cols {
                for (r, out) in line[..rows].iter_mut().enumerate() {
                    *out = sum(r, n);
                }
                self.store_line(&line[..rows], (r0, n0 + n), (1, 0), c);
            }
        } else {
            for r in 0..rows {
                for (n, out) in line[..cols].iter_mut().enumerate() {
                    *out = sum(r, n);
                }
                self.store_line(&line[..cols], (r0 + r, n0), (0, 1), c);
            }
        }
    }

    /// Finishes and writes the elements of C from `first` on in steps of `step`, both (m, n).
    fn store_line(
        &self,
        sums: &[f32],
        first: (usize, usize),
        step: (usize, usize),
        c: &mut DenseMut<'_>,
    ) {
        let (sm, sn) = self.args.c_strides;
        let (at, stride) = (first.0 * sm + first.1 * sn, (step.0 * sm + step.1 * sn).max(1));
        let reads_c =
            self.args.beta != 0.0 || matches!(self.args.epilogue.residual, Residual::InPlace);
        let mut line = [0f32; GROUP_ROWS];
        let mut bits = [0u16; GROUP_ROWS];
        let (line, bits) = (&mut line[..sums.len()], &mut bits[..sums.len()]);
        if reads_c {
            match c {
                DenseMut::F32(c) => {
                    for (old, &c) in line.iter_mut().zip(c[at..].iter().step_by(stride)) {
                        *old = c;
                    }
                }
                DenseMut::F16(c) | DenseMut::BF16(c) => {
                    for (bits, &c) in bits.iter_mut().zip(c[at..].iter().step_by(stride)) {
                        *bits = c;
                    }
                    widen(self.args.c_dtype, bits, line);
                }
            }
        }
        for (i, (value, &sum)) in line.iter_mut().zip(sums).enumerate() {
            *value = self.finish(sum, *value, (first.0 + i * step.0, first.1 + i * step.1));
        }
        match c {
            DenseMut::F32(c) => {
                for (c, &value) in c[at..].iter_mut().step_by(stride).zip(line.iter()) {
                    *c = value;
                }
            }
            DenseMut::F16(c) | DenseMut::BF16(c) => {
                narrow(self.args.c_dtype, line, bits);
                for (c, &bits) in c[at..].iter_mut().step_by(stride).zip(bits.iter()) {
                    *c = bits;
                }
            }
        }
    }

    /// The element of C at (m, n) from its sum and, where that counts, what it was before.
    #[inline]
    fn finish(&self, sum: f32, old: f32, (m, n): (usize, usize)) -> f32 {
        let HostSpmm { alpha, beta, epilogue, .. } = self.args;
        let mut v = if *beta == 0.0 { alpha * sum } else { alpha * sum + beta * old };
        if let Some(bias) = epilogue.bias {
            v += bias.get(m);
        }
        v = epilogue.activation.apply(v);
        if let Some(gate) = epilogue.gate {
            v *= gate[n * self.m + m];
        }
        match epilogue.residual {
            Residual::None => v,
            Residual::InPlace => v + old,
            Residual::Matrix(values, (sm, sn)) => v + values.get(m * sm + n * sn),
        }
    }
}

/// Lists the stored elements of 32 rows of a tile, the `local`-th of its group, in one chunk.
fn list(local: usize, chunk: usize, stripe: usize, scratch: &mut Scratch) {
    let Scratch { rows, unpacked, .. } = scratch;
    for row in rows.iter_mut() {
        row.clear();
    }
    let first = stripe * STRIPE;
    let elements = match unpacked {
        Unpacked::TiledCsl(dense) => &dense[first..],
        Unpacked::Slots(block) => &block[first..],
        Unpacked::Banked(block) | Unpacked::Bitmap(block) => &block[first..],
        Unpacked::Sell(blocks) => {
            let first = chunk % SELL_CHUNKS * CHUNK;
            for (list, values) in rows.iter_mut().zip(blocks[local].iter()) {
                if let Some(values) = values[first..].first_chunk() {
                    list.append_row(values);
                }
            }
            return;
        }
    };
    for (list, values) in rows.iter_mut().zip(elements) {
        list.append_row(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{EncodeOptions, analyse, encode};
    use crate::types::{DenseLayout, Order};

    fn random(len: usize, keep_percent: u32, seed: u32) -> Vec<u16> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x >> 8
        };
        (0..len)
            .map(|_| {
                let value = next() as f32 / 8_388_608.0 - 1.0;
                if next() % 100 < keep_percent { f16::from_f32(value).to_bits() } else { 0 }
            })
            .collect()
    }

    #[test]
    fn portable_and_vectorised_code_give_the_same_bits() {
        let (m, k, n) = (70, 530, 45);
        let a = random(m * k, 40, 1);
        let b = random(k * n, 100, 2);
        for format in [Format::Bitmap, Format::TiledCsl] {
            let layout = DenseLayout::new(m, k, k, Order::Row).unwrap();
            let options = EncodeOptions {
                format: Some(format),
                reorder: true,
                preference: crate::types::Preference::Speed,
            };
            let analysis = analyse(&layout, &a, &options).unwrap();
            let mut buffer = vec![0; analysis.bytes()];
            encode(&analysis, &layout, &a, &mut buffer).unwrap();
            let args = HostSpmm {
                a: &buffer,
                n,
                alpha: 0.75,
                beta: 0.0,
                b: &b,
                b_strides: (1, k),
                c_dtype: DType::F32,
                c_strides: (1, m),
                epilogue: Epilogue::default(),
            };
            let mut portable = vec![0.0; m * n];
            spmm_with(Isa::Portable, &args, &analysis.header, DenseMut::F32(&mut portable))
                .unwrap();
            let mut detected = vec![1.0; m * n];
            spmm(&args, &analysis.header, DenseMut::F32(&mut detected)).unwrap();
            assert!(portable.iter().zip(&detected).all(|(a, b)| a.to_bits() == b.to_bits()));
            assert!(portable.iter().any(|&v| v != 0.0));
        }
    }

    #[test]
    fn bfloat16_products_stay_within_the_error_of_single_precision() {
        let (m, k, n) = (70, 530, 37);
        let bits = |values: Vec<u16>| -> Vec<u16> {
            let single = values.iter().map(|&v| f16::from_bits(v).to_f32() * 1e15);
            single.map(|v| bf16::from_f32(v).to_bits()).collect()
        };
        let (a, b) = (bits(random(m * k, 40, 3)), bits(random(k * n, 100, 4)));
        let layout = DenseLayout::new(m, k, k, Order::Row).unwrap();
        let expected =
            crate::reference::spmm_f64_of(DType::BF16, &layout, &a, (1, k), &b, n, 1e-3, 0.0, None);
        let magnitudes =
            |values: &[u16]| -> Vec<u16> { values.iter().map(|v| v & 0x7fff).collect() };
        let scale = crate::reference::spmm_f64_of(
            DType::BF16,
            &layout,
            &magnitudes(&a),
            (1, k),
            &magnitudes(&b),
            n,
            1e-3,
            0.0,
            None,
        );
        for format in Format::ALL {
            let options = EncodeOptions {
                format: Some(format),
                reorder: true,
                preference: crate::types::Preference::Speed,
            };
            let analysis = analyse(&layout, &a, &options).unwrap().of_type(DType::BF16);
            let mut buffer = vec![0; analysis.bytes()];
            encode(&analysis, &layout, &a, &mut buffer).unwrap();
            assert_eq!(format::validate(&buffer).unwrap().dtype, DType::BF16);
            let args = HostSpmm {
                a: &buffer,
                n,
                alpha: 1e-3,
                beta: 0.0,
                b: &b,
                b_strides: (1, k),
                c_dtype: DType::BF16,
                c_strides: (1, m),
                epilogue: Epilogue::default(),
            };
            let mut c = vec![0_u16; m * n];
            spmm(&args, &analysis.header, DenseMut::BF16(&mut c)).unwrap();
            for (at, &got) in c.iter().enumerate() {
                let (want, scale) = (expected[at % m * n + at / m], scale[at % m * n + at / m]);
                let got = bf16::from_bits(got).to_f64();
                let allowed = want.abs() / 256.0 + scale * k as f64 * f64::from(f32::EPSILON);
                assert!((got - want).abs() <= allowed, "{format:?} {at}: {got:e}, not {want:e}");
            }
        }
    }

    #[test]
    fn overlapping_strides_of_c_are_refused() {
        assert!(check_distinct((4, 3), (1, 4)).is_ok());
        assert!(check_distinct((4, 3), (3, 1)).is_ok());
        assert!(check_distinct((4, 3), (2, 8)).is_ok());
        assert!(check_distinct((4, 3), (1, 3)).is_err());
        assert!(check_distinct((4, 3), (0, 1)).is_err());
        assert!(check_distinct((1, 3), (0, 1)).is_ok());
        assert!(check_distinct((4, 1), (1, 0)).is_ok());
        assert!(check_distinct((4, 3), (usize::MAX, 1)).is_ok());
    }
}
