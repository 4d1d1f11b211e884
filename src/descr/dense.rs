//! Dense matrix descriptor.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Kind, Result};
use crate::types::{DType, DenseLayout, Order};

/// Shape, order and element type of a dense matrix, and where the caller keeps it.
#[derive(Debug)]
pub struct DnMat {
    layout: DenseLayout,
    dtype: DType,
    /// Made from a pointer to const: never written through.
    read_only: bool,
    /// Exposed address of element (0, 0). Atomic, because one thread may set it while another reads.
    values: AtomicUsize,
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
        let new = Self { layout, dtype, read_only, values: AtomicUsize::new(0) };
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

    /// Shape, leading dimension, order.
    pub fn layout(&self) -> &DenseLayout {
        &self.layout
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
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
}
