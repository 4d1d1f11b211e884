//! Parts of compressed matrices: their bytes are those of the part compressed by itself, and the products of
//! all parts make up the product of the whole.

use std::ops::Range;

use flash_llm::error::Kind;
use flash_llm::format::slice::{slice, slice_bytes};
use flash_llm::format::{EncodeOptions, Header, analyse, decode, encode, validate};
use flash_llm::types::{DenseLayout, Format, Order, Preference};
use proptest::prelude::*;

const FORMATS: [(Format, bool); 6] = [
    (Format::Bitmap, false),
    (Format::TiledCsl, false),
    (Format::TiledCsl, true),
    (Format::Slots, false),
    (Format::Banked, false),
    (Format::Sell, false),
];

/// A matrix with about `permille` of its elements, by a fixed generator.
fn dense(rows: usize, cols: usize, permille: u32) -> Vec<u16> {
    let mut x = 1u32;
    let mut draw = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x >> 8
    };
    (0..rows * cols)
        .map(|_| if draw() % 1000 < permille { (draw() % 30_000) as u16 + 1 } else { 0 })
        .collect()
}

fn compress(rows: usize, cols: usize, values: &[u16], format: (Format, bool)) -> Vec<u8> {
    let layout = DenseLayout::new(rows, cols, cols, Order::Row).unwrap();
    let options =
        EncodeOptions { format: Some(format.0), reorder: format.1, preference: Preference::Speed };
    let analysis = analyse(&layout, values, &options).unwrap();
    let mut out = vec![0; analysis.bytes()];
    encode(&analysis, &layout, values, &mut out).unwrap();
    out
}

fn part_of(values: &[u16], cols: usize, r: &Range<usize>, c: &Range<usize>) -> Vec<u16> {
    r.clone().flat_map(|row| values[row * cols + c.start..row * cols + c.end].to_vec()).collect()
}

fn cut(buffer: &[u8], r: &Range<usize>, c: &Range<usize>) -> Vec<u8> {
    let (r, c) = (r.start as u64..r.end as u64, c.start as u64..c.end as u64);
    let bytes = slice_bytes(buffer, r.clone(), c.clone()).unwrap();
    let mut out = vec![0xa5; bytes + 64];
    let header = slice(buffer, r, c, &mut out).unwrap();
    assert_eq!(header.total_bytes as usize, bytes);
    assert!(out[bytes..].iter().all(|&b| b == 0xa5), "written behind the part");
    out.truncate(bytes);
    assert_eq!(validate(&out).unwrap(), header);
    out
}

#[test]
fn parts_decode_to_the_parts_of_the_dense_matrix() {
    for format in FORMATS {
        for (rows, cols, permille) in
            [(300, 1100, 200), (129, 600, 0), (128, 512, 1000), (260, 2100, 20)]
        {
            let values = dense(rows, cols, permille);
            let buffer = compress(rows, cols, &values, format);
            let header = validate(&buffer).unwrap();
            let (tr, tc) = (header.tile_rows as usize, header.tile_cols as usize);
            let cuts = |size: usize, tile: usize| {
                let middle = size.div_ceil(tile) / 2 * tile;
                vec![0..size, 0..middle, middle..size, tile.min(size)..size]
                    .into_iter()
                    .filter(|range| range.start < range.end)
                    .collect::<Vec<_>>()
            };
            for r in cuts(rows, tr) {
                for c in cuts(cols, tc) {
                    let out = cut(&buffer, &r, &c);
                    let layout = DenseLayout::new(r.len(), c.len(), c.len(), Order::Row).unwrap();
                    let mut got = vec![1; r.len() * c.len()];
                    decode(&out, &layout, &mut got).unwrap();
                    assert!(got == part_of(&values, cols, &r, &c), "{format:?} {r:?} {c:?}");
                }
            }
            assert!(
                cut(&buffer, &(0..rows), &(0..cols)) == buffer,
                "{format:?}: the whole is the whole"
            );
        }
    }
}

#[test]
fn a_part_has_the_bytes_of_the_part_compressed_by_itself() {
    for format in FORMATS {
        let tile = if format.0 == Format::Sell { 2048 } else { 256 };
        let (rows, cols) = (389, 3 * tile + 20);
        let values = dense(rows, cols, 300);
        let buffer = compress(rows, cols, &values, format);
        let header = Header::from_bytes(&buffer).unwrap();
        assert!(tile % header.tile_cols as usize == 0);
        for (r, c) in [(128..389, tile..cols), (0..256, 2 * tile..3 * tile), (256..384, 0..tile)] {
            let alone = compress(r.len(), c.len(), &part_of(&values, cols, &r, &c), format);
            assert!(cut(&buffer, &r, &c) == alone, "{format:?} {r:?} {c:?}");
        }
    }
}

#[test]
fn parts_of_a_slots_matrix_keep_the_dense_rows_of_their_tiles() {
    // Rows 40 and 50 of the second tile are full in all blocks, row 100 of the last in the first block alone.
    let (rows, cols) = (128, 600);
    let mut values = dense(rows, cols, 100);
    for (row, full) in [(40, cols), (50, cols), (100, 256)] {
        values[row * cols..row * cols + full].fill(0x3c00);
    }
    let format = (Format::Slots, false);
    let buffer = compress(rows, cols, &values, format);
    let dense_rows = |bytes: &[u8]| -> Vec<u8> {
        let header = Header::from_bytes(bytes).unwrap();
        let start = |index: usize| {
            let entry = bytes[256 + 4 * index..].first_chunk().unwrap();
            header.data_offset as usize + u32::from_le_bytes(*entry) as usize * 128
        };
        (0..header.table_entries as usize - 1)
            .map(|index| bytes[start(index) + 1024 + 15])
            .collect()
    };
    assert_eq!(dense_rows(&buffer), [0, 0, 0, 2, 2, 2, 0, 0, 0, 1, 1, 1]);
    // The part, its blocks' dense rows, and whether the part by itself has the same.
    type Case<'a> = (Range<usize>, Range<usize>, &'a [u8], bool);
    let cases: [Case; 7] = [
        (0..128, 0..600, &[0, 0, 0, 2, 2, 2, 0, 0, 0, 1, 1, 1], true),
        // Rows are chosen tile by tile.
        (32..96, 0..600, &[2, 2, 2, 0, 0, 0], true),
        (0..32, 0..600, &[0, 0, 0], true),
        (0..64, 256..600, &[0, 0, 2, 2], true),
        (96..128, 0..256, &[1], true),
        // By its other columns alone row 100 is like its neighbours.
        (96..128, 256..600, &[1, 1], false),
        (64..128, 512..600, &[0, 1], false),
    ];
    for (r, c, expected, same) in cases {
        let part = cut(&buffer, &r, &c);
        assert_eq!(dense_rows(&part), expected, "{r:?} {c:?}");
        let wanted = part_of(&values, cols, &r, &c);
        let alone = compress(r.len(), c.len(), &wanted, format);
        assert_eq!(part == alone, same, "{r:?} {c:?}");
        let layout = DenseLayout::new(r.len(), c.len(), c.len(), Order::Row).unwrap();
        let mut got = vec![1; r.len() * c.len()];
        decode(&part, &layout, &mut got).unwrap();
        assert!(got == wanted, "{r:?} {c:?}");
    }
}

#[test]
fn ranges_that_are_no_whole_tiles_are_named() {
    for format in FORMATS {
        let cols = if format.0 == Format::Sell { 2100 } else { 700 };
        let buffer = compress(300, cols, &dense(300, cols, 300), format);
        let cols = cols as u64;
        let header = Header::from_bytes(&buffer).unwrap();
        let (tr, tc) = (u64::from(header.tile_rows), u64::from(header.tile_cols));
        let refused = |r: Range<u64>, c: Range<u64>, name: &str| {
            let error = slice_bytes(&buffer, r.clone(), c.clone()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidValue);
            assert!(error.message().contains(name), "{r:?} {c:?}: {error}");
            let mut out = vec![7; buffer.len()];
            assert!(slice(&buffer, r, c, &mut out).is_err());
            assert!(out.iter().all(|&b| b == 7), "something was written");
        };
        refused(1..300, 0..cols, "rowBegin = 1");
        refused(0..tr + 1, 0..cols, "rowEnd = ");
        refused(0..301, 0..cols, "rowEnd = 301");
        refused(0..u64::MAX, 0..cols, "rowEnd");
        refused(tr..tr, 0..cols, "rowBegin");
        refused(2 * tr..tr, 0..cols, "rowBegin");
        refused(0..300, 8..cols, "colBegin = 8");
        refused(0..300, 0..tc - 1, "colEnd = ");
        refused(0..300, 0..cols + 1, &format!("colEnd = {}", cols + 1));
        refused(0..300, tc..tc, "colBegin");
        let mut small = vec![7; 100];
        let error = slice(&buffer, 0..300, 0..cols, &mut small).unwrap_err();
        assert_eq!(error.kind(), Kind::WorkspaceTooSmall);
        assert!(small.iter().all(|&b| b == 7));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn damaged_matrices_are_cut_in_bounds_or_refused(
        which in 0..FORMATS.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        tiles in (0u64..4, 0u64..4, 0u64..3, 0u64..3),
    ) {
        // Every eleventh row is full.
        let mut values = dense(390, 600, 100);
        for row in values.chunks_mut(600).step_by(11) {
            row.fill(0x3c00);
        }
        let mut buffer = compress(390, 600, &values, FORMATS[which]);
        // The header is checked before anything else; damage what lies behind it.
        let len = buffer.len() - Header::BYTES;
        for (at, byte) in damage {
            buffer[Header::BYTES + at.index(len)] ^= byte;
        }
        let header = Header::from_bytes(&buffer).unwrap();
        let (tr, tc) = (u64::from(header.tile_rows), u64::from(header.tile_cols));
        let r = tiles.0 * tr..(tiles.1 * tr).min(390);
        let c = tiles.2 * tc..(tiles.3 * tc).min(600);
        if let Ok(bytes) = slice_bytes(&buffer, r.clone(), c.clone()) {
            prop_assume!(bytes < 1 << 24);
            let mut out = vec![0; bytes];
            if let Ok(header) = slice(&buffer, r, c, &mut out) {
                prop_assert_eq!(header.total_bytes as usize, bytes);
            }
        }
    }
}
