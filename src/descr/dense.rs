//! Dense matrix descriptor.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// Exposed address of element (0, 0). Atomic, because one thread may set it while another reads.
    values: AtomicUsize,
    batch: Mutex<Batch>,
    /// Whether `batch` is more than one matrix: as long as it is not, nobody needs the lock.
    batched: AtomicBool,
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
        let new = Self {
            layout,
            dtype,
            read_only,
            values: AtomicUsize::new(0),
            batch: Mutex::new(Batch::ONE),
            batched: AtomicBool::new(false),
        };
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
        self.values.store(address, Ordering::Release);
        Ok(())
    }

    /// Address of element (0, 0).
    pub fn values(&self) -> usize {
        self.values.load(Ordering::Acquire)
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
        let mut place = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        *place = batch;
        self.batched.store(batch != Batch::ONE, Ordering::Release);
        Ok(())
    }

    /// The batch; one matrix unless it was set.
    pub fn batch(&self) -> Batch {
        if !self.batched.load(Ordering::Acquire) {
            return Batch::ONE;
        }
        *self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it describes now.
    pub fn view(&self) -> DnView {
        DnView {
            layout: self.layout,
            dtype: self.dtype,
            values: self.values(),
            batch: self.batch(),
        }
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

    /// Bytes from the first element to one past the last.
    pub fn extent_bytes(&self) -> usize {
        // DenseLayout::new has checked that 8 bytes an element fit.
        self.layout.extent() * self.dtype.size()
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
        assert_eq!(m.batch(), Batch { count: 1, stride: 0 });
        assert_eq!(m.view().batch_bytes(), m.extent_bytes());
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
            assert_eq!(m.batch(), Batch { count: 3, stride: 40 }, "a refusal changes nothing");
        }
        m.set_batch(1, 0).unwrap();
        assert_eq!(m.view().batch, Batch { count: 1, stride: 0 });
    }
}
