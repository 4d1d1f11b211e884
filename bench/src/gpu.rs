//! What every measurement on the GPU begins with: device, stream, handle, and launches between events.

use flash_llm::plan::DeviceProps;

use crate::api::{self, Handle};
use crate::csv::Row;
use crate::driver::{self, Driver, Event, Memory, Stream};
use crate::env;

/// `CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR`, `_PER_BLOCK_OPTIN`, `_COMPUTE_CAPABILITY_*`.
const SMEM_PER_SM: i32 = 81;
const SMEM_PER_BLOCK_OPTIN: i32 = 97;
const CC_MAJOR: i32 = 75;
const CC_MINOR: i32 = 76;

/// Enqueues the launch with a number: which copy of the weights it reads follows from that.
pub type Launch<'a> = dyn Fn(usize) -> Result<(), String> + 'a;

/// A device, the stream on it that is measured, and the library's handle.
pub struct Gpu<'d> {
    pub driver: &'d Driver,
    pub stream: &'d Stream<'d>,
    pub handle: Handle,
    pub l2_bytes: usize,
    pub device: String,
    pub build: String,
}

impl<'d> Gpu<'d> {
    pub fn new(driver: &'d Driver, stream: &'d Stream<'d>) -> Result<Self, String> {
        let handle = Handle::device().map_err(|e| e.to_string())?;
        handle.set_stream(stream.raw()).map_err(|e| e.to_string())?;
        Ok(Self {
            driver,
            stream,
            handle,
            l2_bytes: driver.attribute(driver::ATTRIBUTE_L2_BYTES)?,
            device: driver.device_name()?,
            build: api::build_info(),
        })
    }

    /// As the library's planner sees the device.
    pub fn props(&self) -> Result<DeviceProps, String> {
        let attribute = |number| {
            u32::try_from(self.driver.attribute(number)?).map_err(|e| format!("{number}: {e}"))
        };
        Ok(DeviceProps {
            sm_count: attribute(driver::ATTRIBUTE_SM_COUNT)?,
            cc: (attribute(CC_MAJOR)?, attribute(CC_MINOR)?),
            smem_per_block_optin: attribute(SMEM_PER_BLOCK_OPTIN)?,
            smem_per_sm: attribute(SMEM_PER_SM)?,
            l2_bytes: self.l2_bytes as u64,
            name: self.device.clone(),
        })
    }

    /// A row that says where and when, and nothing yet of what.
    pub fn row(&self, op: &str, commit: &str) -> Result<Row, String> {
        Ok(Row {
            date: env::today(),
            commit: commit.to_owned(),
            device: self.device.clone(),
            driver: self.driver.version()?,
            toolkit: env::toolkit(&self.build),
            op: op.to_owned(),
            format: String::new(),
            dtype: "f16".to_owned(),
            m: 0,
            k: 0,
            n: 0,
            sparsity: 0.0,
            us: 0.0,
            us_p5: 0.0,
            us_p95: 0.0,
            baseline: "none".to_owned(),
            baseline_us: None,
            bytes: 0,
            gbps: 0.0,
            floor_fraction: None,
            kernel: String::new(),
        })
    }

    /// Times `count` launches on this stream, after three that are not kept.
    pub fn time(
        &self,
        count: usize,
        offset: usize,
        samples: &mut Vec<f64>,
        launch: &Launch<'_>,
    ) -> Result<(), String> {
        time(self.driver, self.stream, None, count, offset, samples, launch)
    }
}

/// So many copies that one pass over all of them moves at least three times the L2: between two reads of the
/// same copy at least twice the L2 passes through.
pub fn copies(l2_bytes: usize, bytes: usize) -> usize {
    (3 * l2_bytes).div_ceil(bytes.max(1)).clamp(2, 1024)
}

/// Bytes read and written a second by the driver's device copy, the best of ten over 1 GiB.
pub fn copy_bandwidth(driver: &Driver, stream: &Stream<'_>) -> Result<f64, String> {
    let bytes = 1 << 30;
    let (from, to) = (driver.alloc(bytes)?, driver.alloc(bytes)?);
    let (start, end) = (driver.event()?, driver.event()?);
    from.fill(0x5a, stream)?;
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        start.record(stream)?;
        to.copy_from(&from, stream)?;
        end.record(stream)?;
        stream.synchronize()?;
        best = best.min(end.micros_since(&start)?);
    }
    Ok(2.0 * bytes as f64 / (best * 1e-6))
}

/// Times `count` launches, an event before and after each. The first few are not kept. `flush` is overwritten
/// before each.
pub fn time(
    driver: &Driver,
    stream: &Stream<'_>,
    flush: Option<&Memory<'_>>,
    count: usize,
    offset: usize,
    samples: &mut Vec<f64>,
    launch: &Launch<'_>,
) -> Result<(), String> {
    let warmup = 3;
    let mut events: Vec<(Event<'_>, Event<'_>)> = Vec::with_capacity(count);
    for _ in 0..count {
        events.push((driver.event()?, driver.event()?));
    }
    for i in 0..warmup {
        launch(offset + i)?;
    }
    // Nothing synchronises inside the loop: the queue runs ahead, and the cost of enqueueing stays off the GPU's
    // clock.
    for (i, (start, end)) in events.iter().enumerate() {
        if let Some(flush) = flush {
            flush.fill(i as u8, stream)?;
        }
        start.record(stream)?;
        launch(offset + warmup + i)?;
        end.record(stream)?;
    }
    stream.synchronize()?;
    for (start, end) in &events {
        samples.push(end.micros_since(start)?);
    }
    Ok(())
}
