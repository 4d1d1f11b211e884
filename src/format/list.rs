//! Stored elements of one row within 256 columns, the form in which executors on the host read a matrix.

/// Columns a list covers, and the most elements it holds.
pub(crate) const SPAN: usize = 256;
/// Elements are appended eight at a time, of which those that do not count are overwritten later.
const SPARE: usize = 8;

/// Positions of the set bits of a byte, lowest first, one a byte.
const POSITIONS: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut at) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[byte] |= bit << (8 * at);
                at += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// Which of eight values are stored, bit k for value k.
#[inline]
pub(crate) fn stored_bits(values: &[u16; 8]) -> u8 {
    const MAGNITUDE: u64 = 0x7fff_7fff_7fff_7fff;
    const ONES: u64 = 0x0001_0001_0001_0001;
    let half = |v: [u16; 4]| {
        let bits =
            u64::from(v[0]) | u64::from(v[1]) << 16 | u64::from(v[2]) << 32 | u64::from(v[3]) << 48;
        // Adding 0x7fff carries into bit 15 exactly when the magnitude is not zero.
        let stored = ((bits & MAGNITUDE) + MAGNITUDE) >> 15 & ONES;
        // Bits 0, 16, 32, 48 -> bits 48..52.
        (stored.wrapping_mul(0x0001_0002_0004_0008) >> 48) as u32
    };
    let [a, b, c, d, e, f, g, h] = *values;
    (half([a, b, c, d]) | half([e, f, g, h]) << 4) as u8
}

/// (column, fp16 bits) of a row's stored elements, columns ascending.
#[derive(Clone)]
pub(crate) struct RowList {
    len: usize,
    cols: [u8; SPAN + SPARE],
    bits: [u16; SPAN + SPARE],
}

impl RowList {
    pub(crate) fn new() -> Self {
        Self { len: 0, cols: [0; SPAN + SPARE], bits: [0; SPAN + SPARE] }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Columns, at most [`SPAN`].
    pub(crate) fn cols(&self) -> &[u8] {
        &self.cols[..self.len.min(SPAN)]
    }

    /// fp16 bits, as many as columns.
    pub(crate) fn bits(&self) -> &[u16] {
        &self.bits[..self.len.min(SPAN)]
    }

    /// Appends the stored elements of a whole row.
    pub(crate) fn append_row(&mut self, values: &[u16; SPAN]) {
        for (octet, values) in values.chunks_exact(8).enumerate() {
            if let Some(values) = values.first_chunk() {
                let stored = stored_bits(values);
                if stored != 0 {
                    self.append((8 * octet) as u8, stored, values);
                }
            }
        }
    }

    /// Appends those of eight neighbouring elements that `stored` has bits for.
    #[inline]
    fn append(&mut self, first: u8, stored: u8, values: &[u16; 8]) {
        let mut packed = [0u16; 8];
        let mut at = 0;
        for (k, &value) in values.iter().enumerate() {
            packed[at & 7] = value;
            at += usize::from(stored >> k & 1);
        }
        let cols =
            POSITIONS[usize::from(stored)].wrapping_add(u64::from(first) * 0x0101_0101_0101_0101);
        if let Some(to) = self.cols[self.len.min(SPAN)..].first_chunk_mut::<8>() {
            *to = cols.to_le_bytes();
        }
        if let Some(to) = self.bits[self.len.min(SPAN)..].first_chunk_mut::<8>() {
            *to = packed;
        }
        self.len += at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bits_keeps_all_but_zeros() {
        assert_eq!(stored_bits(&[0, 0x8000, 1, 0x8001, 0x7c00, 0xfe01, 0x3c00, 0]), 0b0111_1100);
        for value in 0..=u16::MAX {
            for k in 0..8 {
                let mut values = [0x8000; 8];
                values[k] = value;
                assert_eq!(stored_bits(&values), u8::from(value & 0x7fff != 0) << k);
            }
        }
    }

    #[test]
    fn lists_hold_a_full_span() {
        let mut list = RowList::new();
        let values: [u16; 8] = std::array::from_fn(|k| k as u16 + 1);
        for octet in 0..SPAN / 8 {
            list.append((octet * 8) as u8, 0xff, &values);
        }
        assert_eq!(list.cols(), (0..=255).collect::<Vec<u8>>());
        assert!(list.bits().chunks(8).all(|chunk| chunk == values));
    }

    #[test]
    fn what_is_stored_of_eight_is_appended() {
        let values: [u16; 8] = std::array::from_fn(|k| 100 + k as u16);
        for stored in 0..=255u8 {
            let chosen: Vec<usize> = (0..8).filter(|k| stored >> k & 1 == 1).collect();
            let mut list = RowList::new();
            list.append(40, stored, &values);
            assert_eq!(list.cols(), chosen.iter().map(|&k| 40 + k as u8).collect::<Vec<_>>());
            assert_eq!(list.bits(), chosen.iter().map(|&k| values[k]).collect::<Vec<_>>());
        }
    }
}
