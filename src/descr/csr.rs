//! CSR matrix descriptor.

use crate::error::{Error, Kind, Result};
use crate::format::csr::CsrShape;
use crate::types::{DType, checked_add, checked_mul};

/// A CSR matrix in the caller's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsrMat {
    shape: CsrShape,
    dtype: DType,
    offsets: usize,
    columns: usize,
    values: usize,
    offset_bytes: usize,
    column_bytes: usize,
}

impl CsrMat {
    /// Checks shape, sizes and addresses; `offsets` and `columns` are (exposed address, bytes of an index).
    pub fn new(
        (rows, cols, nnz): (i64, i64, i64),
        offsets: (usize, usize),
        columns: (usize, usize),
        values: usize,
        base: i64,
        dtype: DType,
    ) -> Result<Self> {
        let size = |name: &str, value: i64, least: usize| match usize::try_from(value) {
            Ok(v) if v >= least => Ok(v),
            _ => Err(Error::invalid(format!("{name} = {value}, needs at least {least}"))),
        };
        let shape = CsrShape {
            rows: size("rows", rows, 1)?,
            cols: size("cols", cols, 1)?,
            nnz: size("nnz", nnz, 0)?,
            base,
        };
        if dtype == DType::F32 {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!("the values of a CSR matrix have 16 bits, not {dtype:?}"),
            ));
        }
        let elements = checked_mul(shape.rows, shape.cols, "rows x cols")?;
        if shape.nnz > elements {
            return Err(Error::invalid(format!(
                "nnz = {nnz}, needs at most rows x cols = {elements}"
            )));
        }
        checked_mul(checked_add(shape.rows, 1, "rowOffsets")?, 8, "rowOffsets in bytes")?;
        checked_mul(shape.nnz, 8, "colIndices in bytes")?;
        let needed = shape.nnz > 0;
        for (name, address, bytes, needed) in [
            ("rowOffsets", offsets.0, offsets.1, true),
            ("colIndices", columns.0, columns.1, needed),
            ("values", values, dtype.size(), needed),
        ] {
            if needed && address == 0 {
                return Err(Error::new(Kind::NullPointer, format!("{name} is NULL")));
            }
            if address % bytes != 0 {
                return Err(Error::new(
                    Kind::Misaligned,
                    format!(
                        "{name} = {address:#x} is not aligned to its elements of {bytes} bytes"
                    ),
                ));
            }
        }
        Ok(Self {
            shape,
            dtype,
            offsets: offsets.0,
            columns: columns.0,
            values,
            offset_bytes: offsets.1,
            column_bytes: columns.1,
        })
    }

    /// Shape and index base.
    pub fn shape(&self) -> CsrShape {
        self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Element type, rows and columns.
    pub fn typed_shape(&self) -> (DType, usize, usize) {
        (self.dtype, self.shape.rows, self.shape.cols)
    }

    /// Address of rows + 1 offsets.
    pub fn offsets(&self) -> usize {
        self.offsets
    }

    /// Address of nnz columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Address of nnz values.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Bytes of an offset: 4 or 8.
    pub fn offset_bytes(&self) -> usize {
        self.offset_bytes
    }

    /// Bytes of a column index: 4 or 8.
    pub fn column_bytes(&self) -> usize {
        self.column_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_describe_a_matrix() {
        let kind = |shape, offsets, columns, values, dtype| {
            CsrMat::new(shape, (offsets, 8), (columns, 4), values, 0, dtype).err().map(|e| e.kind())
        };
        let f16 = DType::F16;
        assert_eq!(kind((2, 3, 6), 64, 64, 64, f16), None);
        assert_eq!(kind((2, 3, 0), 64, 0, 0, f16), None);
        assert_eq!(kind((0, 3, 0), 64, 64, 64, f16), Some(Kind::InvalidValue));
        assert_eq!(kind((2, -3, 0), 64, 64, 64, f16), Some(Kind::InvalidValue));
        assert_eq!(kind((2, 3, -1), 64, 64, 64, f16), Some(Kind::InvalidValue));
        assert_eq!(kind((2, 3, 7), 64, 64, 64, f16), Some(Kind::InvalidValue));
        assert_eq!(kind((i64::MAX, 3, 7), 64, 64, 64, f16), Some(Kind::SizeOverflow));
        assert_eq!(kind((2, 3, 6), 0, 64, 64, f16), Some(Kind::NullPointer));
        assert_eq!(kind((2, 3, 6), 64, 0, 64, f16), Some(Kind::NullPointer));
        assert_eq!(kind((2, 3, 6), 68, 64, 64, f16), Some(Kind::Misaligned));
        assert_eq!(kind((2, 3, 6), 64, 66, 64, f16), Some(Kind::Misaligned));
        assert_eq!(kind((2, 3, 6), 64, 64, 65, f16), Some(Kind::Misaligned));
        assert_eq!(kind((2, 3, 6), 64, 64, 64, DType::F32), Some(Kind::MatrixTypeNotSupported));
    }
}
