//! How long several ways to run one product take on this device, with A not in the L2.

use std::ptr;

use super::context::DeviceContext;
use super::spmm::{SpmmArgs, planned};
use super::sys::{self, RawEvent, RawStream};
use crate::error::Result;
use crate::plan::search::{copies, rounds};
use crate::plan::{Planned, checked_aligned};
use crate::types::{checked_add, checked_mul};

/// Launches ahead of those that are timed: while they run the stream fills, so that none that is timed waits for the host.
const AHEAD: usize = 4;

/// The microseconds of each way, one for each round; the ways take turns in a round, so that all see the same clocks. `args` says
/// where A and B are; C, which begins at the top of a column-major matrix, and the workspace are memory of the call's own.
/// It waits for the stream.
pub fn time(ctx: &DeviceContext, args: &SpmmArgs<'_>, ways: &[Planned]) -> Result<Vec<Vec<f32>>> {
    // Declared first, so that the context is current until the events and the memory are gone.
    let _entered = ctx.enter()?;
    let mut stand = Stand::new(ctx, args, ways)?;
    // What the first launches take is not kept; it says how many may follow.
    let warm = stand.round(0)?;
    let mut times = vec![Vec::new(); ways.len()];
    for round in 0..rounds(warm.iter().sum()) {
        for (times, us) in times.iter_mut().zip(stand.round(round)?) {
            times.push(us);
        }
    }
    Ok(times)
}

/// Everything that the launches need.
struct Stand<'a> {
    ctx: &'a DeviceContext,
    ways: &'a [Planned],
    /// With the A of the caller, and C and the workspace in `memory`.
    args: SpmmArgs<'a>,
    /// The first of the copies of A, bytes from one to the next, and their number.
    copies: (u64, u64, u64),
    launched: u64,
    /// One pair for each way.
    events: Vec<(Event, Event)>,
    _memory: Memory<'a>,
}

impl<'a> Stand<'a> {
    fn new(ctx: &'a DeviceContext, args: &SpmmArgs<'a>, ways: &'a [Planned]) -> Result<Self> {
        let what = "memory of the search";
        let align = |bytes: usize| checked_aligned(bytes, what);
        let workspace = align(ways.iter().map(|way| way.workspace_bytes).max().unwrap_or(0))?;
        let rows = args.header.rows as usize;
        let c = checked_mul(checked_mul(rows, args.n, what)?, args.c_dtype.size(), what)?;
        let front = checked_add(workspace, align(c)?, what)?;
        let (step, count) = copies(ctx.props().l2_bytes, args.header.total_bytes);
        let ring = checked_mul(step as usize, count as usize, what)?;
        let memory = Memory::new(ctx, args.stream, checked_add(front, ring, what)?)?;
        let at = memory.address as u64;
        let first = at + front as u64;
        let args =
            SpmmArgs { workspace: at, c: at + workspace as u64, c_strides: (1, rows), ..*args };
        let events: Result<_> = ways.iter().map(|_| Ok((Event::new()?, Event::new()?))).collect();
        let stand = Self {
            ctx,
            ways,
            args,
            copies: (first, step, count),
            launched: 0,
            events: events?,
            _memory: memory,
        };
        stand.fill()?;
        Ok(stand)
    }

    /// Makes the copies of A: one, and then as many at a time as there are.
    fn fill(&self) -> Result<()> {
        let (first, step, count) = self.copies;
        if count == 0 {
            return Ok(());
        }
        self.copy(first, self.args.a, self.args.header.total_bytes)?;
        let mut filled = 1;
        while filled < count {
            let more = filled.min(count - filled);
            self.copy(first + filled * step, first, more * step)?;
            filled += more;
        }
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<()> {
        // SAFETY: `from` is A, as long as its header says, or copies of it; `to` is memory of the search behind those copies.
        unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes as usize, self.args.stream) }
            .check("cuMemcpyDtoDAsync")
    }

    /// Puts the product on the stream, with the next A.
    fn launch(&mut self, way: usize) -> Result<()> {
        let (first, step, count) = self.copies;
        let a = match self.launched % (count + 1) {
            0 => self.args.a,
            copy => first + (copy - 1) * step,
        };
        self.launched += 1;
        planned(self.ctx, &SpmmArgs { a, ..self.args }, &self.ways[way], None)
    }

    /// Microseconds of every way, each once; the round's number says which is first.
    fn round(&mut self, number: usize) -> Result<Vec<f32>> {
        let (ways, stream) = (self.ways.len(), self.args.stream);
        for _ in 0..AHEAD {
            self.launch(number % ways)?;
        }
        for way in (0..ways).map(|i| (number + i) % ways) {
            self.events[way].0.record(stream)?;
            self.launch(way)?;
            self.events[way].1.record(stream)?;
        }
        self.ctx.synchronize(stream)?;
        self.events.iter().map(|(start, end)| end.us_since(start)).collect()
    }
}

/// Device memory that is freed when it is dropped, after the work on the stream.
struct Memory<'a> {
    ctx: &'a DeviceContext,
    stream: RawStream,
    address: usize,
}

impl<'a> Memory<'a> {
    fn new(ctx: &'a DeviceContext, stream: RawStream, bytes: usize) -> Result<Self> {
        Ok(Self { ctx, stream, address: ctx.alloc(stream, bytes)? })
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // Work that a failure left on the stream may still use the memory. What the driver refuses to free stays in the
        // context's books, and goes with it.
        let _ = self.ctx.synchronize(self.stream);
        let _ = self.ctx.free(self.stream, self.address);
    }
}

/// An event that takes the time. Made, used and dropped with its context current.
struct Event {
    raw: RawEvent,
}

impl Event {
    fn new() -> Result<Self> {
        let mut raw: RawEvent = ptr::null_mut();
        // SAFETY: a valid place for an event; a context is current.
        unsafe { sys::cuEventCreate(&raw mut raw, sys::EVENT_DEFAULT) }.check("cuEventCreate")?;
        Ok(Self { raw })
    }

    fn record(&self, stream: RawStream) -> Result<()> {
        // SAFETY: a live event and the handle's stream, both of the current context.
        unsafe { sys::cuEventRecord(self.raw, stream) }.check("cuEventRecord")
    }

    /// Microseconds from `start`; both have been recorded, and their stream was waited for.
    fn us_since(&self, start: &Self) -> Result<f32> {
        let mut ms = 0.0_f32;
        // SAFETY: live events of the current context and a valid place for a float.
        unsafe { sys::cuEventElapsedTime(&raw mut ms, start.raw, self.raw) }
            .check("cuEventElapsedTime")?;
        Ok(ms * 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by `new`; nobody uses it any more. A refusal leaves nothing to try.
        let _ = unsafe { sys::cuEventDestroy_v2(self.raw) };
    }
}
