//! Compressed sparse rows as a source of weights: checks, and expansion into dense rows.

use crate::error::{Error, Result};

/// Row offsets or column indices.
#[derive(Clone, Copy, Debug)]
pub enum Indices<'a> {
    /// 32-bit.
    I32(&'a [i32]),
    /// 64-bit.
    I64(&'a [i64]),
}

impl Indices<'_> {
    fn get(&self, at: usize) -> Option<i64> {
        match self {
            Self::I32(all) => all.get(at).map(|&v| i64::from(v)),
            Self::I64(all) => all.get(at).copied(),
        }
    }
}

/// Shape of a CSR matrix, and the number that its indices begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsrShape {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Stored elements.
    pub nnz: usize,
    /// 0 or 1.
    pub base: i64,
}

impl CsrShape {
    /// Where the elements of `row` are, from its two offsets.
    pub fn extent(&self, row: usize, start: i64, end: i64) -> Result<(usize, usize)> {
        let (base, nnz) = (i128::from(self.base), self.nnz as i128);
        let (from, to) = (i128::from(start) - base, i128::from(end) - base);
        if from < 0 || to < from || to > nnz {
            return Err(Error::invalid(format!(
                "rowOffsets[{row}] = {start} and rowOffsets[{}] = {end}, needs numbers that do not fall, from {base} to {}",
                row + 1,
                nnz + base
            )));
        }
        if row == 0 && from != 0 {
            return Err(Error::invalid(format!("rowOffsets[0] = {start}, needs {base}")));
        }
        if row + 1 == self.rows && to != nnz {
            return Err(Error::invalid(format!(
                "rowOffsets[{}] = {end}, needs {} after the last of nnz = {nnz}",
                self.rows,
                nnz + base
            )));
        }
        Ok((from as usize, to as usize))
    }

    /// Whether the columns of a row, whose first is element `first`, ascend and lie in the matrix.
    pub fn columns(
        &self,
        row: usize,
        first: usize,
        columns: impl Iterator<Item = i64>,
    ) -> Result<()> {
        let mut previous = None;
        for (i, column) in columns.enumerate() {
            let at = first + i;
            let inside = column >= self.base
                && i128::from(column) - i128::from(self.base) < self.cols as i128;
            if !inside {
                return Err(Error::invalid(format!(
                    "colIndices[{at}] = {column} of row {row}, needs {} to {}",
                    self.base,
                    self.cols as i128 - 1 + i128::from(self.base)
                )));
            }
            if let Some(previous) = previous.filter(|&p| p >= column) {
                let what = if previous == column { "twice" } else { "not ascending" };
                return Err(Error::invalid(format!(
                    "colIndices[{at}] = {column} of row {row} follows {previous}: columns are {what}"
                )));
            }
            previous = Some(column);
        }
        Ok(())
    }
}

/// A CSR matrix of 16-bit elements in host memory.
#[derive(Clone, Copy, Debug)]
pub struct Csr<'a> {
    /// Shape.
    pub shape: CsrShape,
    /// rows + 1 offsets.
    pub offsets: Indices<'a>,
    /// nnz columns.
    pub columns: Indices<'a>,
    /// nnz values.
    pub values: &'a [u16],
}

impl Csr<'_> {
    fn row(&self, row: usize) -> Result<(usize, usize)> {
        let (Some(start), Some(end)) = (self.offsets.get(row), self.offsets.get(row + 1)) else {
            return Err(Error::invalid(format!("rowOffsets ends before row {row}")));
        };
        self.shape.extent(row, start, end)
    }

    /// Checks every index; the first wrong row is named.
    pub fn check(&self) -> Result<()> {
        for row in 0..self.shape.rows {
            let (start, end) = self.row(row)?;
            self.shape.columns(row, start, (start..end).filter_map(|at| self.columns.get(at)))?;
        }
        Ok(())
    }

    /// Writes the stored elements over zeros; `out` is rows x cols, row-major.
    pub fn expand(&self, out: &mut [u16]) -> Result<()> {
        for (row, out) in out.chunks_exact_mut(self.shape.cols).enumerate() {
            let (start, end) = self.row(row)?;
            for at in start..end {
                let column = self.columns.get(at).map(|column| column - self.shape.base);
                let to = column.and_then(|c| usize::try_from(c).ok()).and_then(|c| out.get_mut(c));
                if let (Some(to), Some(&value)) = (to, self.values.get(at)) {
                    *to = value;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: i64, offsets: &[i64], columns: &[i64]) -> std::result::Result<(), String> {
        let values = vec![1; columns.len()];
        let shape = CsrShape { rows: offsets.len() - 1, cols: 5, nnz: columns.len(), base };
        let csr = Csr {
            shape,
            offsets: Indices::I64(offsets),
            columns: Indices::I64(columns),
            values: &values,
        };
        csr.check().map_err(|e| e.message().to_owned())
    }

    #[test]
    fn rows_are_expanded_from_either_base_and_width() {
        let shape = CsrShape { rows: 3, cols: 4, nnz: 4, base: 1 };
        let csr = Csr {
            shape,
            offsets: Indices::I32(&[1, 3, 3, 5]),
            columns: Indices::I64(&[1, 4, 2, 3]),
            values: &[10, 11, 12, 13],
        };
        csr.check().unwrap();
        let mut out = [0; 12];
        csr.expand(&mut out).unwrap();
        assert_eq!(out, [10, 0, 0, 11, 0, 0, 0, 0, 0, 12, 13, 0]);
    }

    #[test]
    fn wrong_indices_are_named() {
        check(0, &[0, 2, 3], &[0, 4, 1]).unwrap();
        let sentence = |result: std::result::Result<(), String>| result.unwrap_err();
        assert!(sentence(check(0, &[1, 2, 3], &[0, 4, 1])).contains("rowOffsets[0] = 1, needs 0"));
        assert!(sentence(check(0, &[0, 2, 2], &[0, 4, 1])).contains("rowOffsets[2] = 2, needs 3"));
        assert!(sentence(check(0, &[0, 3, 2], &[0, 1, 4])).contains("rowOffsets[1] = 3"));
        assert!(sentence(check(0, &[0, -1, 3], &[0, 4, 1])).contains("rowOffsets[1] = -1"));
        assert!(sentence(check(0, &[0, 4, 3], &[0, 4, 1])).contains("do not fall"));
        assert!(sentence(check(0, &[i64::MIN, i64::MAX, 3], &[0, 4, 1])).contains("do not fall"));
        assert!(sentence(check(0, &[0, 2, 3], &[0, 5, 1])).contains("colIndices[1] = 5 of row 0"));
        assert!(sentence(check(0, &[0, 2, 3], &[-1, 4, 1])).contains("colIndices[0] = -1"));
        assert!(sentence(check(0, &[0, 2, 3], &[4, 0, 1])).contains("not ascending"));
        assert!(sentence(check(0, &[0, 2, 3], &[4, 4, 1])).contains("twice"));
        assert!(sentence(check(1, &[1, 2], &[0])).contains("needs 1 to 5"));
        assert!(sentence(check(1, &[0, 1], &[1])).contains("rowOffsets[0] = 0"));
        assert!(sentence(check(1, &[1, 2], &[i64::MAX])).contains("colIndices[0]"));
    }
}
