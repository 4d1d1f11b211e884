//! The header that follows from measured sizes, whether on the host or on a device.

use super::header::{Content, Header, unit_bytes};
use crate::error::{Error, Kind, Result};
use crate::types::{Format, reserved};

/// What the first pass finds out of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Format.
    pub format: Format,
    /// Tiled-CSL: items are ordered by bank.
    pub reordered: bool,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Stored elements.
    pub nnz: u64,
    /// Units of all blocks.
    pub units: u64,
    /// Units (items of Tiled-CSL) of the largest block.
    pub max_block: u32,
}

impl Measured {
    /// The header, or SIZE_OVERFLOW if the table's offsets cannot hold the units.
    pub fn header(&self) -> Result<Header> {
        let unit = unit_bytes(self.format);
        // Tiled-CSL has signed offsets.
        let bits = if self.format == Format::TiledCsl { 31 } else { 32 };
        let limit = (1_u64 << bits) - 1;
        if self.units > limit {
            return Err(Error::new(
                Kind::SizeOverflow,
                format!(
                    "{:?}: the blocks take {} units of {unit} bytes, the table counts up to {limit}",
                    self.format, self.units
                ),
            ));
        }
        Header::new(&Content {
            format: self.format,
            reordered: self.reordered && self.format == Format::TiledCsl,
            rows: self.rows as u64,
            cols: self.cols as u64,
            nnz: self.nnz,
            data_bytes: self.units * unit,
            max_block: self.max_block,
        })
    }
}

/// Where each block begins and the last one ends, from the units of each; their sum; and the largest. Offsets that do not
/// fit are cut: [`Measured::header`] refuses the sum then.
pub(super) fn offsets(units: impl ExactSizeIterator<Item = u32>) -> Result<(Vec<u32>, u64, u32)> {
    // One more is for Tiled-CSL, which has the end twice.
    let mut table = reserved(units.len() + 2, "the table of the blocks")?;
    let (mut end, mut largest) = (0_u64, 0);
    table.push(0);
    for units in units {
        largest = largest.max(units);
        end += u64::from(units);
        table.push(end as u32);
    }
    Ok((table, end, largest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{EncodeOptions, analyse};
    use crate::types::{DenseLayout, Order};

    #[test]
    fn offsets_that_do_not_fit_are_refused_by_their_sum() {
        assert_eq!(offsets([].into_iter()).unwrap(), (vec![0], 0, 0));
        assert_eq!(offsets([3, 5, 0].into_iter()).unwrap(), (vec![0, 3, 8, 8], 8, 5));
        let (_, units, max_block) = offsets([u32::MAX, 1].into_iter()).unwrap();
        for format in Format::ALL {
            let measured = Measured {
                format,
                reordered: false,
                rows: 70,
                cols: 700,
                nnz: 0,
                units,
                max_block,
            };
            assert_eq!(measured.header().unwrap_err().kind(), Kind::SizeOverflow);
        }
    }

    #[test]
    fn the_header_is_that_of_the_encoder() {
        let layout = DenseLayout::new(70, 700, 700, Order::Row).unwrap();
        let values: Vec<u16> =
            (0..layout.extent()).map(|i| u16::from(i % 3 == 0) * 0x3c00).collect();
        for format in Format::ALL {
            let options = EncodeOptions {
                format: Some(format),
                reorder: true,
                preference: crate::types::Preference::Speed,
            };
            let header = analyse(&layout, &values, &options).unwrap().header;
            let measured = Measured {
                format,
                reordered: true,
                rows: 70,
                cols: 700,
                nnz: header.nnz,
                units: header.data_bytes / header.unit_bytes(),
                max_block: header.max_block,
            };
            assert_eq!(measured.header().unwrap(), header);
        }
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let measured = Measured {
            format: Format::TiledCsl,
            reordered: false,
            rows: 1 << 20,
            cols: 1 << 20,
            nnz: 1 << 33,
            units: 1 << 31,
            max_block: 8,
        };
        assert_eq!(measured.header().unwrap_err().kind(), Kind::SizeOverflow);
    }
}
