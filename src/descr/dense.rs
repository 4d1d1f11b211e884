//! Dense matrix descriptor.

use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Kind, Result};
use crate::types::{DType, DenseLayout, Order, checked_add, checked_mul};

/// Matrices of one shape at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many, at least 1.
    pub count: usize,
    /// Elements from one to the next.
    pub stride: usize,
}

/// Shape, order and element type of a dense matrix, and where the caller keeps it.
#[derive(Debug)]
pub struct DnMat {
    layout: DenseLayout,
    dtype: DType,
    /// Made from a pointer to const: never written through.
    read_only: bool,
    location: Location,
}

/// Where a matrix is, and the batch that it is the first of: one state, which one thread may set while another reads it. Values
/// that were set for one matrix must not be seen with the batch of others. Readers do not lock: a product is a call in the
/// path of every token.
#[derive(Debug)]
struct Location {
    /// Odd while the state changes.
    version: AtomicUsize,
    /// Exposed address of element (0, 0), count and stride of the batch.
    state: [AtomicUsize; 3],
    /// Who changes the state.
    writer: Mutex<()>,
}

impl Location {
    fn new(values: usize, batch: Batch) -> Self {
        let state = [values, batch.count, batch.stride].map(AtomicUsize::new);
        Self { version: AtomicUsize::new(0), state, writer: Mutex::new(()) }
    }

    fn get(&self) -> (usize, Batch) {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let [values, count, stride] = [0, 1, 2].map(|i| self.state[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before % 2 == 0 && self.version.load(Ordering::Relaxed) == before {
                return (values, Batch { count, stride });
            }
            hint::spin_loop();
        }
    }

    fn set(&self, change: impl FnOnce(&mut usize, &mut Batch)) {
        let _alone = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut values, mut batch) = self.get();
        change(&mut values, &mut batch);
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (at, value) in self.state.iter().zip([values, batch.count, batch.stride]) {
            at.store(value, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

/// A dense matrix at one moment: meanwhile another thread may set the values or the batch of its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnView {
    /// Shape, leading dimension, order.
    pub layout: DenseLayout,
    /// Element type.
    pub dtype: DType,
    /// Address of element (0, 0).
    pub values: usize,
    /// One matrix unless it was set.
    pub batch: Batch,
}

impl DnView {
    /// Bytes from the first element to one past the last, of one matrix.
    pub fn extent_bytes(&self) -> usize {
        // DenseLayout::new has checked that 8 bytes an element fit.
        self.layout.extent() * self.dtype.size()
    }

    /// Bytes from the first element of the first matrix to one past the last of the last.
    pub fn batch_bytes(&self) -> usize {
        let elements = match self.layout.extent() {
            0 => 0,
            // DnMat::set_batch has checked that 8 bytes an element fit.
            extent => (self.batch.count - 1) * self.batch.stride + extent,
        };
        elements * self.dtype.size()
    }
}

impl Batch {
    /// What a matrix is before a batch is set.
    const ONE: Self = Self { count: 1, stride: 0 };
}

impl DnMat {
    /// Checks dimensions and the pointer's address; 0 is accepted for an empty matrix only.
    pub fn new(
        rows: i64,
        cols: i64,
        ld: i64,
        order: Order,
        dtype: DType,
        values: usize,
        read_only: bool,
    ) -> Result<Self> {
        let layout = DenseLayout::new(
            extent("rows", rows)?,
            extent("cols", cols)?,
            extent("ld", ld)?,
            order,
        )?;
        let new = Self { layout, dtype, read_only, location: Location::new(0, Batch::ONE) };
        new.set_values(values)?;
        Ok(new)
    }

    /// Replaces the address.
    pub fn set_values(&self, address: usize) -> Result<()> {
        if address == 0 && self.layout.extent() > 0 {
            return Err(Error::new(Kind::NullPointer, "values is NULL"));
        }
        if address % self.dtype.size() != 0 {
            return Err(Error::new(
                Kind::Misaligned,
                format!(
                    "values = {address:#x} is not aligned to its elements of {} bytes",
                    self.dtype.size()
                ),
            ));
        }
        self.location.set(|values, _| *values = address);
        Ok(())
    }

    /// Makes it the first of `count` matrices, `stride` elements apart.
    pub fn set_batch(&self, count: i64, stride: i64) -> Result<()> {
        let batch =
            Batch { count: extent("batchCount", count)?, stride: extent("batchStride", stride)? };
        if batch.count == 0 {
            return Err(Error::invalid("batchCount = 0 is not positive"));
        }
        let elements = checked_mul(batch.count - 1, batch.stride, "batch extent")?;
        let elements = checked_add(elements, self.layout.extent(), "batch extent")?;
        checked_mul(elements, 8, "batch extent in bytes")?;
        self.location.set(|_, old| *old = batch);
        Ok(())
    }

    /// What it describes now.
    pub fn view(&self) -> DnView {
        let (values, batch) = self.location.get();
        DnView { layout: self.layout, dtype: self.dtype, values, batch }
    }

    /// Shape, leading dimension, order.
    pub fn layout(&self) -> &DenseLayout {
        &self.layout
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Element type, rows and columns.
    pub fn typed_shape(&self) -> (DType, usize, usize) {
        (self.dtype, self.layout.rows, self.layout.cols)
    }

    /// Whether the values may only be read.
    pub fn read_only(&self) -> bool {
        self.read_only
    }
}

fn extent(name: &str, value: i64) -> Result<usize> {
    usize::try_from(value).map_err(|_| Error::invalid(format!("{name} = {value} is negative")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(rows: i64, cols: i64, ld: i64, order: Order, values: usize) -> Option<Kind> {
        DnMat::new(rows, cols, ld, order, DType::F16, values, false).err().map(|e| e.kind())
    }

    #[test]
    fn refuses_what_does_not_describe_a_matrix() {
        assert_eq!(kind(4, 8, 8, Order::Row, 64), None);
        assert_eq!(kind(4, 8, 4, Order::Col, 64), None);
        assert_eq!(kind(-1, 8, 8, Order::Row, 64), Some(Kind::InvalidValue));
        assert_eq!(kind(4, -8, 8, Order::Row, 64), Some(Kind::InvalidValue));
        assert_eq!(kind(4, 8, -8, Order::Row, 64), Some(Kind::InvalidValue));
        assert_eq!(kind(4, 8, 7, Order::Row, 64), Some(Kind::InvalidValue));
        assert_eq!(kind(4, 8, 3, Order::Col, 64), Some(Kind::InvalidValue));
        assert_eq!(kind(i64::MAX, 1, i64::MAX, Order::Col, 64), Some(Kind::SizeOverflow));
        assert_eq!(kind(1 << 40, 1 << 40, 1 << 40, Order::Row, 64), Some(Kind::SizeOverflow));
        assert_eq!(kind(4, 8, 8, Order::Row, 0), Some(Kind::NullPointer));
        assert_eq!(kind(4, 8, 8, Order::Row, 65), Some(Kind::Misaligned));
        assert_eq!(kind(4, 0, 4, Order::Col, 0), None);
    }

    #[test]
    fn a_batch_spans_from_its_first_to_its_last_element() {
        let m = DnMat::new(4, 8, 8, Order::Row, DType::F16, 64, false).unwrap();
        assert_eq!(m.view().batch, Batch { count: 1, stride: 0 });
        assert_eq!(m.view().batch_bytes(), m.view().extent_bytes());
        m.set_batch(3, 40).unwrap();
        assert_eq!(m.view().batch_bytes(), (2 * 40 + 32) * 2);
        for (count, stride, kind) in [
            (0, 40, Kind::InvalidValue),
            (-1, 40, Kind::InvalidValue),
            (2, -1, Kind::InvalidValue),
            (i64::MAX, i64::MAX, Kind::SizeOverflow),
            (2, i64::MAX, Kind::SizeOverflow),
        ] {
            assert_eq!(m.set_batch(count, stride).unwrap_err().kind(), kind);
            assert_eq!(m.view().batch, Batch { count: 3, stride: 40 }, "a refusal changes nothing");
        }
        m.set_batch(1, 0).unwrap();
        assert_eq!(m.view().batch, Batch { count: 1, stride: 0 });
    }

    #[test]
    fn a_view_is_of_one_moment() {
        // Either a large buffer of eight matrices or a small one of one: never the small one of eight.
        let m = DnMat::new(4, 8, 8, Order::Row, DType::F16, 64, false).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let torn = std::thread::scope(|threads| {
            let reader = threads.spawn(|| {
                let mut torn = 0;
                while !done.load(Ordering::Relaxed) {
                    let view = m.view();
                    torn += usize::from(view.values == 64 && view.batch.count == 8);
                }
                torn
            });
            for _ in 0..200_000 {
                m.set_values(1 << 20).unwrap();
                m.set_batch(8, 40).unwrap();
                m.set_batch(1, 0).unwrap();
                m.set_values(64).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        assert_eq!(torn, 0);
    }
}
