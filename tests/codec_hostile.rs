//! Hostile buffers: each lie is refused with the right kind and an error that names the lying field.

use flash_llm::error::Kind;
use flash_llm::format::{EncodeOptions, analyse, decode, encode, validate};
use flash_llm::types::{DenseLayout, Format, Order, Preference};

const ROWS: usize = 70;
const COLS: usize = 300;

fn buffer(format: Format, reorder: bool) -> Vec<u8> {
    let layout = DenseLayout::new(ROWS, COLS, COLS, Order::Row).unwrap();
    let values: Vec<u16> =
        (0..ROWS * COLS).map(|i| if i % 7 == 0 { 0x3c00 + (i % 100) as u16 } else { 0 }).collect();
    let options = EncodeOptions { format: Some(format), reorder, preference: Preference::Size };
    let analysis = analyse(&layout, &values, &options).unwrap();
    let mut out = vec![0; analysis.bytes()];
    encode(&analysis, &layout, &values, &mut out).unwrap();
    validate(&out).unwrap();
    out
}

/// Elements 0x3c00 to 0x3c63 where they are stored, compressed, and where the blocks begin.
fn compressed(
    format: Format,
    rows: usize,
    cols: usize,
    stored: impl Fn(usize, usize) -> bool,
) -> (Vec<u8>, Vec<usize>) {
    let layout = DenseLayout::new(rows, cols, cols, Order::Row).unwrap();
    let values: Vec<u16> = (0..rows * cols)
        .map(|i| if stored(i / cols, i % cols) { 0x3c00 + (i % 100) as u16 } else { 0 })
        .collect();
    let options =
        EncodeOptions { format: Some(format), reorder: false, preference: Preference::Speed };
    let analysis = analyse(&layout, &values, &options).unwrap();
    let mut out = vec![0; analysis.bytes()];
    encode(&analysis, &layout, &values, &mut out).unwrap();
    validate(&out).unwrap();
    let data = analysis.header.data_offset as usize;
    (out, analysis.table.iter().map(|&start| data + start as usize * 128).collect())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[track_caller]
fn refused(bytes: &[u8], kind: Kind, names: &[&str]) {
    let error = validate(bytes).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for name in names {
        assert!(error.message().contains(name), "\"{error}\" does not name {name}");
    }
}

#[track_caller]
fn corrupt(good: &[u8], names: &[&str], damage: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = good.to_vec();
    damage(&mut bytes);
    refused(&bytes, Kind::CorruptData, names);
}

#[test]
fn header_lies_are_named() {
    for (format, reorder) in [
        (Format::Bitmap, false),
        (Format::TiledCsl, false),
        (Format::TiledCsl, true),
        (Format::Slots, false),
        (Format::Banked, false),
        (Format::Sell, false),
    ] {
        let good = buffer(format, reorder);
        refused(&[], Kind::CorruptData, &["0 bytes", "256"]);
        refused(&good[..255], Kind::CorruptData, &["255 bytes"]);
        refused(&good[..good.len() - 1], Kind::CorruptData, &["total bytes"]);
        corrupt(&good, &["magic"], |b| b[0] = b'X');
        corrupt(&good, &["magic"], |b| b[0..8].fill(0xff));
        let current = u32_at(&good, 8);
        let known = match format {
            Format::Slots => 4,
            Format::Banked => 3,
            Format::Bitmap => 2,
            Format::Sell | Format::TiledCsl => 1,
        };
        assert_eq!(current, known);
        for version in [0, current - 1, current + 1, u32::MAX] {
            let mut bytes = good.clone();
            put32(&mut bytes, 8, version);
            refused(&bytes, Kind::VersionMismatch, &["version", &version.to_string()]);
        }
        corrupt(&good, &["header bytes"], |b| put32(b, 12, 128));
        for wrong in [0_u32, 3, 15, u32::MAX] {
            corrupt(&good, &["element type", &wrong.to_string()], |b| put32(b, 16, wrong));
        }
        // Order by bank of a buffer that is not Tiled-CSL, and what no buffer has.
        for flags in [1, 2, 3, 1 << 31] {
            if (format, flags) != (Format::TiledCsl, 1) {
                corrupt(&good, &["flags"], |b| put32(b, 20, flags));
            }
        }
        for (name, at) in [("rows", 24), ("cols", 32)] {
            corrupt(&good, &[name, "= 0"], |b| put64(b, at, 0));
            corrupt(&good, &["needs"], |b| put64(b, at, u64::MAX));
            corrupt(&good, &["table entries"], |b| put64(b, at, u64_at(&good, at) + 5000));
        }
        corrupt(&good, &["nnz"], |b| put64(b, 40, u64_at(&good, 40) + 1));
        corrupt(&good, &["nnz", "rows x cols"], |b| put64(b, 40, u64::MAX));
        corrupt(&good, &["tile rows"], |b| put32(b, 48, 96));
        corrupt(&good, &["tile cols"], |b| put32(b, 52, 96));
        corrupt(&good, &["tile cols"], |b| put32(b, 52, 0));
        corrupt(&good, &["table offset"], |b| put64(b, 56, 260));
        corrupt(&good, &["table entries"], |b| put64(b, 64, u64_at(&good, 64) + 1));
        corrupt(&good, &["table entries"], |b| put64(b, 64, u64::MAX));
        corrupt(&good, &["data offset"], |b| put64(b, 72, u64_at(&good, 72) + 256));
        corrupt(&good, &["data bytes"], |b| put64(b, 80, u64_at(&good, 80) + 1));
        corrupt(&good, &["total bytes"], |b| put64(b, 80, u64_at(&good, 80) + 128));
        corrupt(&good, &["total bytes"], |b| put64(b, 88, u64_at(&good, 88) + 1));
        corrupt(&good, &["max block"], |b| put32(b, 96, u32_at(&good, 96) + 4));
        corrupt(&good, &["max block"], |b| put32(b, 96, u32::MAX));
        corrupt(&good, &["reserved", "byte 100"], |b| b[100] = 1);
        corrupt(&good, &["reserved", "byte 255"], |b| b[255] = 1);
        // A consistent header that claims more than the buffer has.
        corrupt(&good, &["total bytes"], |b| {
            put64(b, 80, u64_at(&good, 80) + (1 << 20));
            put64(b, 88, u64_at(&good, 88) + (1 << 20));
        });
    }
}

#[test]
fn table_lies_are_named() {
    for format in Format::ALL {
        let good = buffer(format, false);
        let entries = u64_at(&good, 64) as usize;
        let last = 256 + 4 * (entries - 1);
        corrupt(&good, &["table", "entry 0"], |b| put32(b, 256, 1));
        corrupt(&good, &["table", "entry"], |b| put32(b, last, u32_at(&good, last) + 1));
        corrupt(&good, &["table", "entry"], |b| put32(b, last, u32::MAX));
        corrupt(&good, &["table"], |b| put32(b, 260, u32::MAX));
        corrupt(&good, &["table"], |b| put32(b, 260, u32_at(&good, 264) + 1));
        corrupt(&good, &["table padding"], |b| b[256 + 4 * entries] = 7);
    }
    let good = buffer(Format::Bitmap, false);
    // A block without room for its masks; one with a row of values too many, one too few.
    corrupt(&good, &["table", "block 0"], |b| put32(b, 260, 7));
    corrupt(&good, &["table", "block 0", "elements need"], |b| {
        put32(b, 260, u32_at(&good, 260) + 1);
    });
    corrupt(&good, &["starts: block 0", "out of it"], |b| put32(b, 260, u32_at(&good, 260) - 1));
}

#[test]
fn a_value_row_nobody_needs_is_refused() {
    let good = buffer(Format::Bitmap, false);
    let mut bytes = good.clone();
    bytes.extend([0; 128]);
    let entries = u64_at(&good, 64) as usize;
    let last = 256 + 4 * (entries - 1);
    put32(&mut bytes, last, u32_at(&good, last) + 1);
    put64(&mut bytes, 80, u64_at(&good, 80) + 128);
    put64(&mut bytes, 88, u64_at(&good, 88) + 128);
    refused(&bytes, Kind::CorruptData, &["table", "elements need"]);
}

#[test]
fn bitmap_lies_are_named() {
    let good = buffer(Format::Bitmap, false);
    let data = u64_at(&good, 72) as usize;
    let block = |index: usize| data + u32_at(&good, 256 + 4 * index) as usize * 128;
    let first = block(0);
    let mask_at = |w: usize, lane: usize, half: usize| first + 512 * w + 16 * lane + 8 * half;
    let start_at =
        |w: usize, lane: usize, half: usize| first + 2048 + 128 * w + 4 * lane + 2 * half;
    let count = |w: usize, lane: usize, half: usize| {
        u64_at(&good, mask_at(w, lane, half)).count_ones() as usize
    };
    let row = |w: usize, lane: usize, half: usize| usize::from(good[start_at(w, lane, half)]);
    let bank = |w: usize, lane: usize, half: usize| usize::from(good[start_at(w, lane, half) + 1]);

    // Sizes that no block has, in a table and in a header that would fit it.
    corrupt(&good, &["table", "block 0", "20 to 276"], |b| put32(b, 260, 19));
    corrupt(&good, &["max block", "20 to 276"], |b| put32(b, 96, 277));
    corrupt(&good, &["max block", "20 to 276"], |b| put32(b, 96, 19));
    corrupt(&good, &["tile rows", "64"], |b| put32(b, 48, 32));
    for width in [512, 1024] {
        corrupt(&good, &["tile cols", "256"], |b| put32(b, 52, width));
    }

    for (w, lane) in [(0, 0), (1, 13), (3, 31)] {
        for half in 0..2 {
            // Masks: an element more or less.
            for bit in 0..64 {
                corrupt(&good, &["block 0"], |b| {
                    b[mask_at(w, lane, half) + bit / 8] ^= 1 << (bit % 8);
                });
            }
            // Starts: another row, another bank, one that there is not, and behind the block.
            let at = start_at(w, lane, half);
            for bit in 0..16 {
                corrupt(&good, &["block 0"], |b| b[at + bit / 8] ^= 1 << (bit % 8));
            }
            corrupt(&good, &["starts: block 0", "out of it"], |b| b[at] = 0xff);
            corrupt(&good, &["starts: block 0", "out of it"], |b| b[at + 1] = 32);
        }
    }
    let (ragged, blocks) = compressed(Format::Bitmap, 20, 40, |r, c| r < 16 && c < 8);
    // Section 1 has no elements, and its lanes have starts all the same.
    for byte in 0..128 {
        corrupt(&ragged, &["starts: block 0", "byte"], |b| b[blocks[0] + 2048 + 128 + byte] ^= 4);
    }

    // Beyond the rows of the matrix, of which the second tile has 6: register 1 is 8 rows below register 0.
    let below = block(2);
    let lane = (0..32).find(|&lane| good[below + 16 * lane] != 0).expect("a lane with elements");
    corrupt(&good, &["block 2", "outside rows x cols"], |b| {
        b.swap(below + 16 * lane, below + 16 * lane + 1);
    });
    // Beyond its columns, of which the second block has 44: step 3 is behind step 2.
    let beside = block(1);
    let lane = (0..32).find(|&lane| good[beside + 16 * lane] & 0x30 != 0).expect("one in step 2");
    corrupt(&good, &["block 1", "outside rows x cols"], |b| {
        let mask = b[beside + 16 * lane];
        b[beside + 16 * lane] = mask & 0x0f | (mask & 0x30) << 2;
    });

    // Values: zeros of either sign where an element is.
    assert!(count(0, 3, 1) > 0, "lane 3 has elements");
    let from = first + 2560 + 128 * row(0, 3, 1) + 4 * bank(0, 3, 1) + 2;
    for zero in [0_u16, 0x8000] {
        corrupt(&good, &["block 0"], |b| b[from..from + 2].copy_from_slice(&zero.to_le_bytes()));
    }

    // A value that nobody uses, in a bank that ends before the block does.
    let rows = u32_at(&good, 260) as usize - 20;
    for half in 0..2 {
        let used = |of: usize| {
            let last = (0..32).find(|&lane| bank(3, lane, half) == of).expect("a lane");
            row(3, last, half) + count(3, last, half)
        };
        let free = (0..32).find(|&bank| used(bank) < rows).expect("a bank that ends early");
        let at = first + 2560 + 128 * (rows - 1) + 4 * free + 2 * half;
        for byte in [at, at + 1] {
            corrupt(&good, &["values: block 0", "need 0x00"], |b| b[byte] = 1);
        }
    }
}

#[test]
fn tiled_csl_lies_are_named() {
    let good = buffer(Format::TiledCsl, false);
    let data = u64_at(&good, 72) as usize;
    let item = |index: usize| data + 4 * index;
    let location = |at: usize| u16::from_le_bytes([good[at + 2], good[at + 3]]);
    let put = |b: &mut [u8], at: usize, location: u16| {
        b[at + 2..at + 4].copy_from_slice(&location.to_le_bytes());
    };
    corrupt(&good, &["items", "location 8192"], |b| put(b, item(0), 8192));
    corrupt(&good, &["items", "twice"], |b| put(b, item(0), location(item(1))));
    corrupt(&good, &["items", "which is a zero"], |b| {
        b[item(0)..item(0) + 2].copy_from_slice(&[0, 0x80]);
    });
    corrupt(&good, &["items", "outside"], |b| put(b, item(0), 127 * 64));
    corrupt(&good, &["items", "order"], |b| {
        let (a, c) = (b[item(0)..item(1)].to_vec(), b[item(1)..item(2)].to_vec());
        b[item(0)..item(1)].copy_from_slice(&c);
        b[item(1)..item(2)].copy_from_slice(&a);
    });
    // Four items that store nothing.
    corrupt(&good, &["padding", "tile 0"], |b| {
        let end = u32_at(b, 260) as usize * 4;
        for index in end - 4..end {
            b[item(index)..item(index) + 2].fill(0);
        }
    });
    // The same swap is any other order to a reader that was told so.
    let mut bytes = good.clone();
    put32(&mut bytes, 20, 1);
    validate(&bytes).unwrap();
}

#[test]
fn slots_lies_are_named() {
    // Of the groups of 22 octets all have three elements, of the others one: no order spreads them on fewer than 24
    // columns with overflow, in two rounds.
    let (good, blocks) = compressed(Format::Slots, ROWS, COLS, |_, col| {
        let (octet, col) = (col / 8 % 32, col % 4);
        col == 0 || octet < 22 && col < 3
    });
    let (first, end) = (blocks[0], blocks[1]);
    let (rounds_at, rows_at, single_at) = (first + 1024 + 3, first + 1024 + 7, first + 1024 + 11);
    let (rounds, entries) = (2, 24 * 32);
    assert_eq!(good[rounds_at], rounds as u8);
    let rows = usize::from(good[rows_at]);
    let (order, values) = (first + 1152, first + 1280);
    let ends = values + 128 * rows;
    assert_eq!(end - ends, (16 + 16 * rounds + 4 * entries as usize).next_multiple_of(128));
    let columns = ends + 16;
    let stored = columns + 16 * rounds;
    let u16_at = |at: usize| u16::from_le_bytes([good[at], good[at + 1]]);
    assert_eq!(u16_at(ends + 14), entries);

    // A code that is never written.
    corrupt(&good, &["block 0", "code 0", "row 0", "group 0", "step 0"], |b| b[first] &= 0xf0);
    // The columns of places: one twice, and two exchanged, of which one is beyond the matrix. Numbers of places with
    // number 1 of an octet.
    corrupt(&good, &["block 0", "in two places"], |b| b[order] ^= 1);
    corrupt(&good, &["arrangement", "block 0", "need 0x"], |b| b[order + 7] |= 0x80);
    let number = |octet: usize| {
        let at = blocks[1] + 1152 + 64 * (octet / 16) + 16 * (octet % 4);
        (at, 5 * (octet / 4 % 4))
    };
    let word = |b: &[u8], at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap());
    let column_octet = |octet: usize| {
        let (at, shift) = number(octet);
        word(&good, at) >> shift & 31
    };
    let inside = (0..32).find(|&octet| column_octet(octet) == 0).unwrap();
    let beyond = (0..32).find(|&octet| column_octet(octet) == 9).unwrap();
    corrupt(&good, &["block 1", "outside"], |b| {
        for (octet, column) in [(inside, 9), (beyond, 0)] {
            let (at, shift) = number(octet);
            let changed = word(b, at) & !(31 << shift) | column << shift;
            b[at..at + 8].copy_from_slice(&changed.to_le_bytes());
        }
    });
    // Streams that begin elsewhere.
    corrupt(&good, &["block 0"], |b| b[first + 1024] ^= 1);
    corrupt(&good, &["block 0", "before its values"], |b| b[first + 1024 + 1] |= 0x0f);
    // Rounds of the overflow, rows of values, and whether groups have one value at most.
    for wrong in [0, 1, 3, 8, 9, 255] {
        corrupt(&good, &["block 0"], |b| b[rounds_at] = wrong);
    }
    corrupt(&good, &["overflow", "round 1 has entries", "1 rounds"], |b| b[rounds_at] = 1);
    for wrong in [0, rows as u8 - 1, rows as u8 + 1, 66, 255] {
        corrupt(&good, &["block 0"], |b| b[rows_at] = wrong);
    }
    assert_eq!(good[single_at], 0);
    for lane in (2..32).filter(|&lane| lane != 3) {
        corrupt(&good, &["starts", "block 0"], |b| b[first + 1024 + 4 * lane + 3] = 1);
    }
    // Ends that fall, that are beyond the entries, and those of rounds that are not there.
    for at in (ends..columns).step_by(2) {
        for wrong in [0, 1, u16_at(at) - 1, u16_at(at) + 1, 4096, 4097, u16::MAX] {
            if wrong != u16_at(at) {
                corrupt(&good, &["block 0"], |b| {
                    b[at..at + 2].copy_from_slice(&wrong.to_le_bytes());
                });
            }
        }
    }
    corrupt(&good, &["before its overflow"], |b| b[ends + 2..ends + 4].fill(0xff));
    // Columns: another, one twice, two exchanged, and what the last round does not use.
    corrupt(&good, &["block 0"], |b| b[columns] ^= 1);
    corrupt(&good, &["block 0"], |b| b[columns] = b[columns + 1]);
    corrupt(&good, &["overflow", "block 0"], |b| b.swap(columns, columns + 1));
    assert_eq!(good[columns + 31], 15);
    corrupt(&good, &["overflow", "block 0", "0x0f"], |b| b[columns + 31] = 16);
    // Entries: a zero of either sign, another place, bits that no place has, two exchanged, one twice.
    corrupt(&good, &["block 0"], |b| b[stored..stored + 2].fill(0));
    corrupt(&good, &["block 0"], |b| b[stored..stored + 2].copy_from_slice(&[0, 0x80]));
    corrupt(&good, &["block 0"], |b| b[stored + 2] ^= 0x20);
    for bit in [16, 26, 27, 28, 29, 30, 31] {
        corrupt(&good, &["overflow", "block 0"], |b| b[stored + bit / 8] ^= 1 << (bit % 8));
    }
    corrupt(&good, &["overflow", "block 0"], |b| {
        for i in 0..4 {
            b.swap(stored + i, stored + 4 + i);
        }
    });
    corrupt(&good, &["block 0"], |b| b.copy_within(stored..stored + 4, stored + 4));
    // What fills the last unit, and halves of the values that nobody uses.
    let filler = stored + 4 * usize::from(entries);
    assert!(filler < end, "the section has a gap");
    corrupt(&good, &["overflow", "need 0x00"], |b| b[filler] = 1);
    // Of block 1, because the streams of block 0 are all full.
    let second = blocks[1] + 1280;
    let free = (second..second + 128 * usize::from(good[blocks[1] + 1024 + 7]))
        .step_by(2)
        .find(|&at| u16_at(at) == 0)
        .unwrap();
    corrupt(&good, &["values", "need 0x00"], |b| b[free] = 1);
}

#[test]
fn slots_dense_rows_lies_are_named() {
    // The rows 3, 17 and 30 of the first tile are full, and of the other rows so many elements that blocks have overflow.
    let (good, blocks) = compressed(Format::Slots, ROWS, COLS, |row, col| {
        [3, 17, 30].contains(&row) || col % 4 == 0 || col / 8 % 32 < 22 && col % 4 < 3
    });
    let block = blocks[0];
    let (rounds_at, count_at) = (block + 1024 + 3, block + 1024 + 15);
    let row = |nth: usize| block + 1280 + 128 * usize::from(good[block + 1024 + 7]) + 528 * nth;
    let overflow = row(0) + (3 * 528usize).next_multiple_of(128);
    assert_eq!([good[count_at], good[row(0)], good[row(1)], good[row(2)]], [3, 3, 17, 30]);
    assert_eq!((good[rounds_at], u32_at(&good, overflow + 12) >> 16), (2, 24 * 29));
    let put = |b: &mut [u8], at: usize, bits: u16| {
        b[at..at + 2].copy_from_slice(&bits.to_le_bytes());
    };

    // How many there are.
    for wrong in (0..=255).filter(|&wrong| wrong != 3) {
        corrupt(&good, &["block 0"], |b| b[count_at] = wrong);
    }
    for wrong in [9, 16, 255] {
        let names = ["block 0", &format!("{wrong} dense rows"), "8 at most"];
        corrupt(&good, &names, |b| b[count_at] = wrong);
    }
    // Tiles that have none: blocks 2 and 3 are a tile, 4 and 5 another.
    for (index, &block) in blocks.iter().enumerate().take(6).skip(2) {
        assert_eq!(good[block + 1024 + 15], 0);
        for wrong in [1, 8, 9, 255] {
            corrupt(&good, &["block"], |b| b[block + 1024 + 15] = wrong);
        }
        corrupt(&good, &[&format!("block {index}"), "200 dense rows"], |b| {
            b[block + 1024 + 15] = 200;
        });
    }

    // Numbers: of no row, one twice, descending, and that of another row.
    for wrong in [32, 33, 128, 255] {
        let names = ["block 0", &format!("dense row {wrong} ")];
        corrupt(&good, &names, |b| b[row(2)] = wrong);
    }
    for (nth, wrong, named) in [(1, 3, 3), (1, 2, 2), (2, 17, 17), (0, 17, 17), (0, 18, 17)] {
        let names = ["block 0", &format!("dense row {named} "), "not in its place"];
        corrupt(&good, &names, |b| b[row(nth)] = wrong);
    }
    corrupt(&good, &["block 0", "dense row 3 "], |b| b.swap(row(0), row(1)));
    corrupt(&good, &["block 0"], |b| b[row(0)] = 4);
    // Bytes behind a number, and behind the last row.
    for at in (0..3).flat_map(|nth| row(nth) + 1..row(nth) + 16).chain(row(3)..overflow) {
        corrupt(&good, &["dense rows", "block 0", "need 0x00"], |b| b[at] = 0x80);
    }
    // A zero is an element less, and has no sign.
    corrupt(&good, &["nnz"], |b| put(b, row(0) + 16, 0));
    corrupt(&good, &["dense rows", "block 0", "need 0x00"], |b| put(b, row(0) + 16, 0x8000));
    // A code, and an entry of the overflow, of a dense row: row 3, groups 0 and 1 of step 0, and column 0 of round 0.
    assert_eq!(good[block + 8 * 12], 0x22);
    corrupt(&good, &["block 0"], |b| b[block + 8 * 12] = 0x24);
    corrupt(&good, &["block 0"], |b| put(b, overflow + 16 + 32 + 2, 16 * 3));
}

#[test]
fn slots_blocks_of_a_tile_have_the_same_dense_rows() {
    // Rows 5 and 9 are full in two of three blocks, and none of the first twelve has anything in the last.
    let (good, blocks) = compressed(Format::Slots, 32, 768, |row, col| {
        [5, 9].contains(&row) && col < 512 || row >= 12 && col % 9 == 0
    });
    let begin = |block: usize| block + 1280 + 128 * usize::from(good[block + 1024 + 7]);
    for &block in &blocks[..3] {
        let rows = [good[begin(block)], good[begin(block) + 528]];
        assert_eq!((good[block + 1024 + 15], rows), (2, [5, 9]));
    }
    // By itself the last block is as good with any other two.
    for (index, other) in [(1, 4), (1, 6), (2, 0), (2, 4), (2, 6)] {
        let said = format!("block {index}: its dense rows are others than those of block");
        corrupt(&good, &[&said, &(index - 1).to_string()], |b| b[begin(blocks[index])] = other);
    }
    for index in [1, 2] {
        corrupt(&good, &["others than those of block"], |b| b[blocks[index] + 1024 + 15] = 1);
    }
    corrupt(&good, &["block"], |b| b[begin(blocks[0])] = 4);
    // Of all three blocks at once it is the element count of the first two that is wrong.
    corrupt(&good, &["block 0"], |b| blocks[..3].iter().for_each(|&at| b[begin(at)] = 12));
}

#[test]
fn slots_dense_rows_end_where_the_matrix_does() {
    // Row 1 of the last tile is full. It has rows 32 to 39, and columns up to 239.
    let (good, blocks) = compressed(Format::Slots, 40, 240, |row, col| row == 33 || col % 9 == 0);
    let block = blocks[1];
    let row = block + 1280 + 128 * usize::from(good[block + 1024 + 7]);
    assert_eq!([good[block + 1024 + 15], good[row]], [1, 1]);
    // No group has two elements, so that each column is in its own place.
    for (col, bits) in [(240, 0x3c00u16), (255, 1)] {
        corrupt(&good, &["block 1", &format!("(33, {col})"), "outside"], |b| {
            b[row + 16 + 2 * col..][..2].copy_from_slice(&bits.to_le_bytes());
        });
    }
    corrupt(&good, &["dense rows", "block 1", "need 0x00"], |b| b[row + 16 + 2 * 255 + 1] = 0x80);
    for number in [8u8, 31] {
        corrupt(&good, &["block 1", &format!("({}, 0)", 32 + number), "outside"], |b| {
            b[row] = number;
        });
    }
}

/// The same with another number of units, in a header and a table that fit it; of a matrix of one block.
fn resized(good: &[u8], units: usize) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let data = u64_at(good, 72) as usize;
    bytes.resize(data + 128 * units, 0);
    let total = bytes.len() as u64;
    put32(&mut bytes, 260, units as u32);
    put64(&mut bytes, 80, 128 * units as u64);
    put64(&mut bytes, 88, total);
    put32(&mut bytes, 96, units as u32);
    bytes
}

#[test]
fn a_slots_block_that_ends_within_its_dense_rows_is_refused() {
    let (good, blocks) = compressed(Format::Slots, 32, 256, |row, col| row == 5 || col % 9 == 0);
    let (block, units) = (blocks[0], (blocks[1] - blocks[0]) / 128);
    assert_eq!((good[block + 1024 + 15], good[block + 1024 + 3]), (1, 0));
    assert_eq!(units, 10 + usize::from(good[block + 1024 + 7]) + 5);
    assert_eq!(resized(&good, units), good);
    for missing in 1..=5 {
        let short = resized(&good, units - missing);
        refused(&short, Kind::CorruptData, &["block 0", "before its dense rows"]);
    }
    let long = resized(&good, units + 1);
    refused(&long, Kind::CorruptData, &["table", "block 0", "its elements need"]);
}

#[test]
fn any_set_of_dense_rows_of_slots_is_valid() {
    // The encoder takes row 5 alone. Row 0 has no elements, and is a dense row as good as any other.
    let (good, blocks) =
        compressed(Format::Slots, 32, 256, |row, col| row == 5 || row > 0 && col % 9 == 0);
    let units = (blocks[1] - blocks[0]) / 128;
    let count_at = blocks[0] + 1024 + 15;
    let row = blocks[0] + 1280 + 128 * usize::from(good[blocks[0] + 1024 + 7]);
    assert_eq!([good[count_at], good[row]], [1, 5]);
    let mut two = resized(&good, units - 5 + 9);
    two[count_at] = 2;
    two.copy_within(row..row + 528, row + 528);
    two[row..row + 528].fill(0);
    assert_eq!(validate(&two).unwrap().nnz, u64_at(&good, 40));
    let layout = DenseLayout::new(32, 256, 256, Order::Row).unwrap();
    let [one, two] = [good, two].map(|bytes| {
        let mut values = vec![1; 32 * 256];
        decode(&bytes, &layout, &mut values).unwrap();
        values
    });
    assert_eq!(one, two);
}

#[test]
fn banked_lies_are_named() {
    let good = buffer(Format::Banked, false);
    let data = u64_at(&good, 72) as usize;
    let block = |index: usize| data + u32_at(&good, 256 + 4 * index) as usize * 128;
    let first = block(0);
    let mask_at = |w: usize, lane: usize, half: usize| first + 256 * w + 8 * lane + 4 * half;
    let start_at = |w: usize, lane: usize| first + 1024 + 64 * w + 2 * lane;
    let mask = |w: usize, lane: usize, half: usize| u32_at(&good, mask_at(w, lane, half));
    let count = |w: usize, lane: usize, half: usize| mask(w, lane, half).count_ones() as usize;
    let row = |w: usize, lane: usize| usize::from(good[start_at(w, lane)]);
    let bank = |w: usize, lane: usize| usize::from(good[start_at(w, lane) + 1]);

    // Sizes that no block has, in a table and in a header that would fit it, and a row more and fewer than needed.
    corrupt(&good, &["table", "block 0", "10 to 266"], |b| put32(b, 260, 9));
    corrupt(&good, &["max block", "10 to 266"], |b| put32(b, 96, 267));
    corrupt(&good, &["max block", "10 to 266"], |b| put32(b, 96, 9));
    corrupt(&good, &["table", "block 0"], |b| put32(b, 260, u32_at(&good, 260) + 1));
    corrupt(&good, &["block 0"], |b| put32(b, 260, u32_at(&good, 260) - 1));

    for (w, lane) in [(0, 0), (1, 13), (3, 31)] {
        // Masks: a word more or less, and one for another.
        for half in 0..2 {
            for bit in 0..32 {
                corrupt(&good, &["block 0"], |b| {
                    put32(b, mask_at(w, lane, half), mask(w, lane, half) ^ 1 << bit);
                });
            }
        }
        // Starts: another row, another bank, one that there is not, and behind the block.
        for bit in 0..16 {
            corrupt(&good, &["block 0"], |b| b[start_at(w, lane) + bit / 8] ^= 1 << (bit % 8));
        }
        corrupt(&good, &["starts: block 0", "out of it"], |b| b[start_at(w, lane)] = 0xff);
        corrupt(&good, &["starts: block 0", "out of it"], |b| b[start_at(w, lane) + 1] = 32);
    }
    let (ragged, blocks) = compressed(Format::Banked, 20, 40, |r, c| r < 16 && c < 8);
    // Section 1 has no words, and its lanes have starts all the same.
    for byte in 0..64 {
        corrupt(&ragged, &["starts: block 0", "byte"], |b| b[blocks[0] + 1024 + 64 + byte] ^= 4);
    }

    // Beyond the rows of the matrix, of which the second tile has 6: a word's second register is 8 rows below.
    let below = block(2);
    let lane = (0..32).find(|&lane| u32_at(&good, below + 8 * lane) & 0xff != 0);
    let at = below + 8 * lane.expect("a lane with words");
    let (low, bit) = (u32_at(&good, at), u32_at(&good, at).trailing_zeros());
    let moved = low ^ 1 << bit | 1 << (bit + 8);
    corrupt(&good, &["block 2", "outside rows x cols"], |b| put32(b, at, moved));

    // Words: without an element, and with a zero of the other sign.
    let words = count(0, 3, 1);
    let from = 1280 + 4 * bank(0, 3) + 128 * (row(0, bank(0, 3)) + count(0, bank(0, 3), 0));
    assert!(words > 0, "lane 3 has words");
    corrupt(&good, &["block 0"], |b| put32(b, first + from, 0));
    corrupt(&good, &["block 0"], |b| put32(b, first + from, 0x8000_8000));
    let (at, shift) = (0..words)
        .find_map(|k| {
            let at = first + from + 128 * k;
            let word = u32_at(&good, at);
            [0, 16].into_iter().find(|shift| word >> shift & 0xffff == 0).map(|shift| (at, shift))
        })
        .expect("a word of one element");
    corrupt(&good, &["words: block 0", "0x80"], |b| {
        put32(b, at, u32_at(&good, at) | 0x8000 << shift);
    });

    // A word that nobody uses, in a bank that ends before the block does.
    let rows = u32_at(&good, 260) as usize - 10;
    let used = |of: usize| {
        let last = (0..32).find(|&lane| bank(3, lane) == of).expect("a lane");
        row(3, of) + count(3, of, 0) + count(3, last, 1)
    };
    let free = (0..32).find(|&bank| used(bank) < rows).expect("a bank that ends early");
    for byte in 0..4 {
        corrupt(&good, &["words: block 0", "need 0x00"], |b| {
            b[first + 1280 + 128 * (rows - 1) + 4 * free + byte] = 1;
        });
    }
}

#[test]
fn sell_lies_are_named() {
    // Rows without a zero, without elements, with a few that are far apart, and what is between.
    let (good, blocks) = compressed(Format::Sell, 70, 2100, |r, c| match r % 8 {
        0 => true,
        1 => false,
        2 => c % 700 == 3,
        _ => (r * 31 + c * 17) % 64 < r % 32,
    });
    let first = blocks[0];
    let end = |i: usize| u16::from_le_bytes([good[first + 2 * i], good[first + 2 * i + 1]]);
    let put = |b: &mut [u8], at: usize, value: u16| {
        b[at..at + 2].copy_from_slice(&value.to_le_bytes());
    };
    assert_eq!(end(0), 16 * 22);
    assert_eq!(end(7), end(6));

    // Ends that fall, that are behind the block, that leave no packet, and any other.
    corrupt(&good, &["block 0", "end 1 = 1,", "needs 352"], |b| put(b, first + 2, 1));
    corrupt(&good, &["block 0", "end 7 = 65535"], |b| put(b, first + 14, u16::MAX));
    corrupt(&good, &["block 0", "slice 0", "64 bytes left"], |b| put(b, first, end(0) + 1));
    for i in 0..8 {
        for wrong in [0, end(i).wrapping_sub(1), end(i) + 1, end(i) + 2, u16::MAX] {
            if wrong != end(i) {
                corrupt(&good, &["block 0"], |b| put(b, first + 2 * i, wrong));
            }
        }
    }

    // Orders: rows that no tile has, a row twice, two exchanged in a slice and between slices.
    let order = first + 16;
    corrupt(&good, &["block 0", "order 5 is row 32"], |b| b[order + 5] = 32);
    corrupt(&good, &["block 0", "order 31 is row 255"], |b| b[order + 31] = 255);
    assert_eq!(good[order..order + 4], [0, 8, 16, 24]);
    corrupt(&good, &["order: block 0", "byte 16"], |b| b.swap(order, order + 1));
    corrupt(&good, &["block 0"], |b| b.swap(order, order + 4));
    corrupt(&good, &["block 0"], |b| b[order + 1] = b[order]);
    corrupt(&good, &["order: block 0", "byte 47"], |b| b[order + 31] = b[order + 30]);
    corrupt(&good, &["head: block 0", "byte 48"], |b| b[first + 48] = 1);
    corrupt(&good, &["head: block 0", "byte 63"], |b| b[first + 63] = 0x80);

    // Deltas: any bit of the first packet's, and one that leaves the block.
    let packet = first + 64;
    for byte in 0..384 {
        for bit in 0..8 {
            corrupt(&good, &["block"], |b| b[packet + byte] ^= 1 << bit);
        }
    }
    let last = packet + 15 * 1408;
    corrupt(&good, &["block 0", "row 0", "behind column 2048"], |b| b[last] |= 0x3f);

    // Values: a zero of either sign where there is an element, and where there is none.
    corrupt(&good, &["block 0"], |b| put(b, packet + 384, 0));
    corrupt(&good, &["block 0"], |b| put(b, packet + 384, 0x8000));
    let third = first + 64 + 64 * usize::from(end(6));
    let free = (first + 64..third).step_by(2).rev().find(|&at| good[at..at + 2] == [0, 0]);
    corrupt(&good, &["block 0"], |b| put(b, free.expect("a lane that ends early"), 0x8000));

    // What fills the last unit.
    if third < blocks[1] {
        corrupt(&good, &["slices: block 0", "need 0x00"], |b| b[blocks[1] - 1] = 1);
    }
}

#[test]
fn sell_has_one_encoding() {
    // Columns 0, 10 and 20 of one row: lane 0 has places 0 and 4, lane 5 has place 3 (docs/format-sell.md).
    let (good, blocks) = compressed(Format::Sell, 1, 24, |_, c| c % 10 == 0);
    let (first, values) = (blocks[0], blocks[0] + 64 + 128);
    let delta = |lane: usize, step: usize| first + 64 + 4 * lane + step;
    let value = |lane: usize, step: usize| values + 64 * step + 4 * (lane / 2) + 2 * (lane % 2);
    assert_eq!(good[first..first + 2], [4, 0]);
    assert_eq!([good[delta(0, 0)], good[delta(0, 1)], good[delta(5, 0)]], [0, 4, 3]);
    let swap = |b: &mut [u8], one: usize, other: usize| {
        b.swap(one, other);
        b.swap(one + 1, other + 1);
    };

    // Columns 10 and 20 in the other lane of each.
    corrupt(&good, &["slices: block 0"], |b| {
        b[delta(0, 1)] = 2;
        b[delta(5, 0)] = 5;
        swap(b, value(0, 1), value(5, 0));
    });
    // A filler that nobody needs, shorter than a filler is.
    corrupt(&good, &["slices: block 0"], |b| {
        b[delta(5, 0)] = 1;
        b[delta(5, 1)] = 2;
        swap(b, value(5, 0), value(5, 1));
    });
    // Padding that goes on.
    corrupt(&good, &["slices: block 0"], |b| b[delta(5, 1)] = 1);
    corrupt(&good, &["slices: block 0"], |b| b[delta(7, 0)] = 1);
    // Steps behind those of the packet.
    corrupt(&good, &["slices: block 0"], |b| b[delta(0, 2)] = 1);
    corrupt(&good, &["slices: block 0"], |b| b[delta(0, 0)] |= 0x40);
    // The same column twice.
    corrupt(&good, &["slices: block 0"], |b| {
        b[delta(5, 1)] = 2;
        b.copy_within(value(0, 1)..value(0, 1) + 2, value(5, 1));
    });
    // Columns and rows that the matrix has not.
    corrupt(&good, &["block 0", "outside rows x cols = 1 x 24"], |b| b[delta(0, 1)] += 2);
    corrupt(&good, &["block 0", "(1, 0)", "outside"], |b| b.swap(first + 16, first + 17));
}
