//! Small shared types and checked size arithmetic.

use crate::error::{Error, Kind, Result};

/// Element type of a matrix. The numbers are `cudaDataType`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DType {
    /// IEEE single precision.
    F32 = 0,
    /// IEEE half precision.
    F16 = 2,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Memory order of a dense matrix. The numbers are cuSPARSE's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Order {
    /// Element (r, c) at `r + c * ld`.
    Col = 1,
    /// Element (r, c) at `r * ld + c`.
    Row = 2,
}

/// Storage format of a compressed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Format {
    /// Flash-LLM's tiles of 32-bit (value, location) items.
    TiledCsl = 1,
    /// One mask bit an element in MMA fragment order, and packed values.
    Bitmap = 2,
    /// Metadata of sparse MMA instructions for every group of four columns, and the values of its slots.
    Slots = 3,
}

/// Shape, leading dimension and order of a dense matrix, checked by [`DenseLayout::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseLayout {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Distance between neighbouring columns (Col) or rows (Row), in elements.
    pub ld: usize,
    /// Memory order.
    pub order: Order,
}

impl DenseLayout {
    /// Checks that `ld` covers the contiguous dimension and that the extent fits `isize`.
    pub fn new(rows: usize, cols: usize, ld: usize, order: Order) -> Result<Self> {
        let (name, need) = match order {
            Order::Col => ("rows", rows),
            Order::Row => ("cols", cols),
        };
        if ld < need {
            return Err(Error::invalid(format!(
                "ld = {ld} is smaller than {name} = {need} ({order:?} order)"
            )));
        }
        let layout = Self { rows, cols, ld, order };
        let outer = match order {
            Order::Col => cols,
            Order::Row => rows,
        };
        checked_mul(checked_mul(outer, ld, "matrix extent")?, 8, "matrix extent in bytes")?;
        Ok(layout)
    }

    /// Position of element (r, c).
    #[inline]
    pub fn index(&self, r: usize, c: usize) -> usize {
        match self.order {
            Order::Col => r + c * self.ld,
            Order::Row => r * self.ld + c,
        }
    }

    /// Elements from the first to one past the last that the matrix touches.
    pub fn extent(&self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            0
        } else {
            self.index(self.rows - 1, self.cols - 1) + 1
        }
    }

    /// Strides of (row, column) in elements.
    pub fn strides(&self) -> (usize, usize) {
        match self.order {
            Order::Col => (1, self.ld),
            Order::Row => (self.ld, 1),
        }
    }
}

/// `a * b`, or SIZE_OVERFLOW naming `what`.
pub fn checked_mul(a: usize, b: usize, what: &str) -> Result<usize> {
    a.checked_mul(b).filter(|&v| isize::try_from(v).is_ok()).ok_or_else(|| {
        Error::new(Kind::SizeOverflow, format!("{what}: {a} x {b} does not fit the address space"))
    })
}

/// `a + b`, or SIZE_OVERFLOW naming `what`.
pub fn checked_add(a: usize, b: usize, what: &str) -> Result<usize> {
    a.checked_add(b).filter(|&v| isize::try_from(v).is_ok()).ok_or_else(|| {
        Error::new(Kind::SizeOverflow, format!("{what}: {a} + {b} does not fit the address space"))
    })
}
