//! Conversions on a device handle, compared with the host's encoder: run on a GPU by gpu_convert.rs and on an
//! emulation of the kernels by emulated_convert.rs.
#![allow(dead_code)] // each test program uses its part

use super::support::api::{self, Buffer, DnMat, Handle, SpMat};
use super::support::{Placed, Rng};

pub const FORMATS: [i32; 5] = [
    api::FORMAT_SLOTS,
    api::FORMAT_BITMAP,
    api::FORMAT_TILED_CSL,
    api::FORMAT_BANKED,
    api::FORMAT_SELL,
];
const WITH_AUTO: [i32; 6] =
    [FORMATS[0], FORMATS[1], FORMATS[2], FORMATS[3], FORMATS[4], api::FORMAT_AUTO];
pub const ORDERS: [i32; 2] = [api::ORDER_ROW, api::ORDER_COL];

const CORRUPT_DATA: i32 = 102;
const VERSION_MISMATCH: i32 = 106;

/// fp16 bits, row-major: `percent` of them zeros of either sign, and among the others NaN, infinities,
/// subnormals and negative numbers.
pub fn weights(rows: usize, cols: usize, percent: usize, seed: u64) -> Vec<u16> {
    weights_by_row(rows, cols, |_| percent, seed)
}

/// The same, of row r `percent(r)` of them.
fn weights_by_row(
    rows: usize,
    cols: usize,
    percent: impl Fn(usize) -> usize,
    seed: u64,
) -> Vec<u16> {
    let mut rng = Rng(seed);
    (0..rows * cols)
        .map(|at| {
            let bits = rng.next();
            if (bits >> 32) % 100 < percent(at / cols) as u64 {
                return if bits >> 60 == 0 { 0x8000 } else { 0 };
            }
            match bits >> 56 {
                0 => 0x7c00,
                1 => 0xfc00,
                2 => 0x7e01,
                3 => 0x0001,
                4 => 0x8001,
                _ => match bits as u16 {
                    0 | 0x8000 => 1,
                    other => other,
                },
            }
        })
        .collect()
}

/// Where every element lies, what is between holding 0xfe00.
pub fn laid_out(place: &Placed, values: &[u16]) -> Vec<u16> {
    let mut dense = vec![0xfe00u16; place.extent()];
    for row in 0..place.rows {
        for col in 0..place.cols {
            dense[place.index(row, col)] = values[row * place.cols + col];
        }
    }
    dense
}

/// Guarded device memory for a compressed buffer: poisoned, with a canary behind.
pub struct Target<'h> {
    pub buffer: Buffer<'h>,
    bytes: usize,
}

impl<'h> Target<'h> {
    const CANARY: usize = 256;

    pub fn new(handle: &'h Handle, bytes: usize) -> Self {
        let buffer = handle.upload(&vec![0xa5u8; bytes + Self::CANARY]).unwrap();
        Self { buffer, bytes }
    }

    pub fn read(&self) -> Vec<u8> {
        let mut all = self.buffer.read::<u8>(0, self.bytes + Self::CANARY).unwrap();
        let canary = all.split_off(self.bytes);
        assert!(canary.iter().all(|&byte| byte == 0xa5), "written past the buffer");
        all
    }
}

/// Compresses on the handle; `offset` elements off an aligned address.
pub fn compress(
    handle: &Handle,
    place: &Placed,
    dense: &[u16],
    offset: usize,
    format: i32,
) -> (SpMat, Vec<u8>, i32) {
    compress_typed(handle, place, dense, offset, format, api::R_16F)
}

/// The same of either 16-bit type.
fn compress_typed(
    handle: &Handle,
    place: &Placed,
    dense: &[u16],
    offset: usize,
    format: i32,
    dtype: i32,
) -> (SpMat, Vec<u8>, i32) {
    let source = handle.alloc((dense.len() + offset) * 2).unwrap();
    source.write(offset * 2, dense).unwrap();
    let descr =
        DnMat::new(place.rows, place.cols, place.ld, source.at(offset * 2), dtype, place.order)
            .unwrap();
    let sparse = SpMat::with_type(place.rows, place.cols, format, dtype).unwrap();
    let scratch = handle.alloc(sparse.compress_scratch_bytes(handle, &descr).unwrap()).unwrap();
    sparse.analyse(handle, &descr, &scratch).unwrap();
    let target = Target::new(handle, sparse.size().unwrap().bytes);
    sparse.set_buffer(handle, &target.buffer).unwrap();
    sparse.convert(handle, &descr, &scratch).unwrap();
    handle.synchronize().unwrap();
    let bytes = target.read();
    let format = sparse.format().unwrap();
    (sparse, bytes, format)
}

/// The first byte in which two buffers differ, in words.
fn same_bytes(got: &[u8], want: &[u8], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: size");
    if let Some(at) = got.iter().zip(want).position(|(a, b)| a != b) {
        panic!("{what}: byte {at} of {} is {:#04x}, not {:#04x}", want.len(), got[at], want[at]);
    }
}

/// Device bytes are host bytes, and unpack to what was packed.
pub fn converts_as_the_host_does(
    device: &Handle,
    shape: (usize, usize),
    percent: usize,
    extra_ld: usize,
    offset: usize,
    formats: &[i32],
) {
    let (rows, cols) = shape;
    let values = weights(rows, cols, percent, (rows * 31 + cols * 7 + percent) as u64);
    let what = format!("{percent} %");
    values_convert_as_the_host_does(device, shape, &values, &what, extra_ld, offset, formats);
}

/// The same of these values.
fn values_convert_as_the_host_does(
    device: &Handle,
    shape: (usize, usize),
    values: &[u16],
    made: &str,
    extra_ld: usize,
    offset: usize,
    formats: &[i32],
) {
    let host = Handle::host().unwrap();
    let (rows, cols) = shape;
    for order in ORDERS {
        let place = Placed::new(rows, cols, extra_ld, order);
        let dense = laid_out(&place, values);
        for &format in formats {
            let what = format!(
                "{rows} x {cols}, {made}, order {order}, ld + {extra_ld}, offset {offset}, format {format}"
            );
            let (_, want, want_format) = compress(&host, &place, &dense, 0, format);
            let (_, got, got_format) = compress(device, &place, &dense, offset, format);
            assert_eq!(got_format, want_format, "{what}");
            same_bytes(&got, &want, &what);
            // Adopted, which checks every block, and unpacked; what ld skips stays.
            let buffer = device.upload(&got).unwrap();
            let adopted = SpMat::adopt(device, rows, cols, got_format, &buffer)
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            let back = device.upload(&vec![0xfe00u16; offset + place.extent() + 8]).unwrap();
            let target =
                DnMat::new(rows, cols, place.ld, back.at(2 * offset), api::R_16F, order).unwrap();
            adopted.decompress(device, &target).unwrap();
            let mut unpacked = back.read::<u16>(0, offset + place.extent() + 8).unwrap();
            let tail = unpacked.split_off(offset + place.extent());
            assert_eq!(tail, [0xfe00; 8], "{what}: written past the matrix");
            for (at, (&got, &want)) in unpacked[offset..].iter().zip(&dense).enumerate() {
                let same = got == want || got == 0 && want == 0x8000;
                assert!(same, "{what}: element {at} became {got:#06x}, was {want:#06x}");
            }
        }
    }
}

/// Of a matrix that AUTO would make Slots if its rows were alike, and makes Banked, device bytes are host bytes.
pub fn auto_leaves_uneven_rows_to_banked(device: &Handle) {
    let host = Handle::host().unwrap();
    let (rows, cols) = (300, 600);
    for (full_rows, chosen) in [(0, api::FORMAT_SLOTS), (32, api::FORMAT_BANKED)] {
        let values = weights_by_row(rows, cols, |row| if row < full_rows { 55 } else { 90 }, 5);
        let place = Placed::new(rows, cols, 0, api::ORDER_ROW);
        let (_, _, format) = compress(&host, &place, &values, 0, api::FORMAT_AUTO);
        assert_eq!(format, chosen);
        let (what, auto) = (format!("{full_rows} full rows"), &[api::FORMAT_AUTO]);
        values_convert_as_the_host_does(device, (rows, cols), &values, &what, 3, 1, auto);
    }
}

/// `rows` x `cols` values of which each four neighbours in a row of `grouped` have two that are not zero; of the other rows half are zero.
fn weights_by_group(
    rows: usize,
    cols: usize,
    grouped: impl Fn(usize) -> bool,
    seed: u64,
) -> Vec<u16> {
    let mut values = weights_by_row(rows, cols, |row| if grouped(row) { 0 } else { 50 }, seed);
    let mut rng = Rng(seed + 1);
    for (row, of_row) in values.chunks_mut(cols).enumerate().filter(|(row, _)| grouped(*row)) {
        for group in of_row.chunks_mut(4) {
            let first = (rng.next() >> 32) as usize + row;
            let second = first + 1 + (rng.next() >> 32) as usize % 3;
            for place in [first % 4, second % 4] {
                if let Some(value) = group.get_mut(place) {
                    *value = 0;
                }
            }
        }
    }
    values
}

/// AUTO takes Slots for 2:4 and Bitmap for as many elements elsewhere, on a device as on the host, and of CSR as of dense. What its first
/// rows look like does not decide.
pub fn auto_takes_slots_for_groups_of_four(device: &Handle) {
    let host = Handle::host().unwrap();
    let (rows, cols) = (600, 256);
    type Grouped = fn(usize) -> bool;
    let cases: [(&str, Grouped, i32); 4] = [
        ("2:4", |_| true, api::FORMAT_SLOTS),
        ("no groups", |_| false, api::FORMAT_BITMAP),
        ("the first rows 2:4", |row| row < 256, api::FORMAT_BITMAP),
        ("the other rows 2:4", |row| row >= 256, api::FORMAT_BITMAP),
    ];
    for (what, grouped, chosen) in cases {
        let values = weights_by_group(rows, cols, grouped, 5);
        let place = Placed::new(rows, cols, 0, api::ORDER_ROW);
        let (_, want, format) = compress(&host, &place, &values, 0, api::FORMAT_AUTO);
        assert_eq!(format, chosen, "{what}");
        let (_, got, format) = compress(device, &place, &values, 0, api::FORMAT_AUTO);
        assert_eq!(format, chosen, "{what}");
        same_bytes(&got, &want, what);
        let wide = (true, true, 0);
        same_bytes(&from_csr(device, (rows, cols), &values, wide, api::FORMAT_AUTO), &want, what);
    }
}

/// Banked or Bitmap blocks whose banks are as uneven as they can be: lanes with all of their words of a half, lanes with
/// none, halves and sections without any, in ragged tiles as well.
pub fn banks_of_every_length_are_the_hosts(device: &Handle, format: i32) {
    // Section, half and lane of an element, and the number of its word among theirs.
    let owner = |row: usize, col: usize| {
        let lane = row % 8 * 4 + col % 8 / 2;
        let word = col % 128 / 16 * 4 + col / 8 % 2 * 2 + row / 8 % 2;
        (row / 16 % 4, col / 128 % 2, lane, word)
    };
    type Kept = fn(usize, usize, usize, usize) -> bool;
    let cases: [(&str, Kept); 10] = [
        ("every lane", |_, _, _, _| true),
        ("one lane", |_, _, lane, _| lane == 5),
        ("one lane of the second half", |_, half, lane, _| lane == 31 && half == 1),
        ("all but one lane", |_, _, lane, _| lane != 0),
        // The longest block of Banked: a full second half behind a full first one.
        ("first half and one lane", |_, half, lane, _| half == 0 || lane == 7),
        ("longer from lane to lane", |w, half, lane, word| word < lane + w + 3 * half),
        ("other sections, other halves", |w, half, _, _| w % 2 == half),
        ("one section", |w, _, lane, word| w == 2 && (lane + word) % 3 == 0),
        ("the last words", |w, half, lane, word| word + lane % 6 + half + w > 32),
        ("one word", |w, half, lane, word| (w, half, lane, word) == (3, 1, 17, 31)),
    ];
    for (what, kept) in cases {
        for shape in [(64, 256), (100, 298)] {
            let mut values = weights(shape.0, shape.1, 0, 77);
            for (at, value) in values.iter_mut().enumerate() {
                let (w, half, lane, word) = owner(at / shape.1, at % shape.1);
                // Of every fifth word the second element alone.
                let alone = word % 5 == 4 && at % shape.1 % 2 == 0;
                if !kept(w, half, lane, word) || alone {
                    *value = 0x8000 * (at % 3 == 0) as u16;
                }
            }
            values_convert_as_the_host_does(device, shape, &values, what, 0, 0, &[format]);
        }
    }
}

/// SELL blocks whose rows and lanes are as uneven as they can be: lanes with all of the elements that they may have,
/// gaps that need fillers, full slices beside empty ones, and steps beside the multiples of a group and of a packet.
pub fn sell_rows_of_every_length_are_the_hosts(device: &Handle) {
    // The lane of an element's copy 0.
    let lane = |col: usize| {
        let octet = col / 8;
        (col % 8) ^ (2 * (octet % 4) + octet / 4 % 2)
    };
    type Kept<'a> = &'a dyn Fn(usize, usize) -> bool;
    let cases: [(&str, Kept); 11] = [
        ("a full block", &|_, _| true),
        ("one lane", &|_, col| lane(col) == 5),
        ("one lane and its partner", &|_, col| lane(col) == 1 || lane(col) == 4),
        ("a lane, and later the others", &|row, col| lane(col) == row % 8 || col > 1200),
        ("longer from row to row", &|row, col| col < 8 * row),
        ("every other row", &|row, col| row % 2 == 1 && col % 3 != 0),
        ("all but one lane", &|_, col| lane(col) != 3),
        ("long gaps", &|row, col| (col * 7 + row * 13) % (300 + 20 * row) == 0),
        ("gaps of one lane", &|row, col| lane(col) == row % 8 && col / 8 % (28 + row % 9) == 3),
        ("the last columns", &|row, col| col % 2048 > 2040 - 3 * row),
        ("one element", &|row, col| (row, col) == (17, 1999)),
    ];
    for (what, kept) in cases {
        for shape in [(32, 2048), (37, 2100)] {
            let mut values = weights(shape.0, shape.1, 0, 78);
            for (at, value) in values.iter_mut().enumerate() {
                if !kept(at / shape.1, at % shape.1) {
                    *value = 0x8000 * (at % 3 == 0) as u16;
                }
            }
            let formats = &[api::FORMAT_SELL];
            values_convert_as_the_host_does(device, shape, &values, what, 0, 0, formats);
        }
    }
}

/// Zeros in percent of rows of which some are much fuller than the others of their tile: dense rows of Slots.
fn uneven(row: usize) -> usize {
    match row % 32 {
        2 | 11 | 29 => 10,
        19 => 0,
        _ => 80,
    }
}

/// Keeps `count(row)` elements of 256 of each row, at columns far apart.
fn thinned(shape: (usize, usize), seed: u64, count: impl Fn(usize) -> usize) -> Vec<u16> {
    let mut values = weights(shape.0, shape.1, 0, seed);
    for (at, value) in values.iter_mut().enumerate() {
        let (row, col) = (at / shape.1, at % shape.1);
        if (col * 77 + row * 13) % 256 >= count(row) {
            *value = 0x8000 * (at % 3 == 0) as u16;
        }
    }
    values
}

/// Slots tiles with one dense row, with some, with as many as may be, and with more rows that would be dense, by either limit.
pub fn slots_dense_rows_are_the_hosts(device: &Handle) {
    let host = Handle::host().unwrap();
    let formats = &[api::FORMAT_SLOTS];
    // How many elements of 256 a row of a tile has, and how many rows are dense.
    type Count = fn(usize) -> usize;
    let cases: [(&str, Count, usize); 15] = [
        ("all full", |_| 256, 0),
        ("one row", |row| if row == 31 { 256 } else { 60 }, 1),
        ("one row, the others empty", |row| 256 * usize::from(row == 0), 1),
        ("just enough elements", |row| if row == 7 { 137 } else { 40 }, 1),
        ("just too few elements", |row| if row == 7 { 136 } else { 40 }, 0),
        ("just fuller than the mean", |row| if row == 7 { 200 } else { 158 }, 1),
        ("just not fuller than the mean", |row| if row == 7 { 200 } else { 159 }, 0),
        ("every eighth row", |row| if row % 8 == 3 { 240 - row } else { 50 }, 4),
        ("dense rows beside overflow", |row| if row % 6 == 0 { 256 } else { 120 }, 6),
        ("more than may be, equally full", |row| if row < 24 { 200 } else { 9 }, 8),
        ("more than may be", |row| if row < 22 { 150 + row * 7 % 22 } else { 0 }, 8),
        ("a few among sparse ones", |row| if row % 7 == 3 { 57 } else { 30 }, 5),
        ("not full enough among sparse ones", |row| if row % 7 == 3 { 56 } else { 30 }, 0),
        ("others too full", |row| if row % 7 == 3 { 57 } else { 38 }, 0),
        ("six among sparse ones", |row| if row % 6 == 3 || row == 0 { 100 } else { 20 }, 0),
    ];
    for (what, count, dense_rows) in cases {
        for shape in [(32, 256), (64, 512)] {
            let values = thinned(shape, 80, |row| count(row % 32));
            let place = Placed::new(shape.0, shape.1, 0, api::ORDER_ROW);
            let (_, bytes, _) = compress(&host, &place, &values, 0, api::FORMAT_SLOTS);
            let first = usize::from(bytes[72]) + 256 * usize::from(bytes[73]);
            assert_eq!(usize::from(bytes[first + 1024 + 15]), dense_rows, "{what}");
            values_convert_as_the_host_does(device, shape, &values, what, 0, 0, formats);
        }
        let values = thinned((69, 600), 83, |row| count(row % 32));
        values_convert_as_the_host_does(device, (69, 600), &values, what, 5, 1, formats);
    }
    // Last tiles, of which the mean is that of the rows that there are.
    for rows in [1, 2, 3, 34, 37] {
        let values = thinned((rows, 300), 84, |row| [256, 110, 150][row % 3]);
        values_convert_as_the_host_does(device, (rows, 300), &values, "few rows", 0, 0, formats);
    }
    // All formats; and rows of which some are dense and some only in a few blocks.
    for shape in [(33, 300), (70, 1100)] {
        let values = weights_by_row(shape.0, shape.1, uneven, 81);
        values_convert_as_the_host_does(device, shape, &values, "uneven rows", 3, 1, &WITH_AUTO);
        let mut values = weights_by_row(shape.0, shape.1, |row| 30 + row * 5 % 70, 82);
        for row in values.chunks_mut(shape.1).step_by(3) {
            row[..200].fill(0x3c00);
        }
        values_convert_as_the_host_does(device, shape, &values, "rows of all", 0, 0, formats);
    }
}

/// The largest blocks that there are: one row of a tile is dense in all blocks, and all rows are full in one.
pub fn full_slots_blocks_with_dense_rows_are_the_hosts(device: &Handle) {
    let shape = (32, 2560);
    for full in [1, 2, 3, 8] {
        let mut values = weights(shape.0, shape.1, 0, 85);
        for (at, value) in values.iter_mut().enumerate() {
            if at / shape.1 >= full && at % shape.1 >= 256 {
                *value = 0;
            }
        }
        let what = format!("{full} dense rows");
        let formats = &[api::FORMAT_SLOTS];
        values_convert_as_the_host_does(device, shape, &values, &what, 0, 0, formats);
    }
}

/// bfloat16 is compressed, from dense and CSR, adopted, unpacked, compared and pruned on the device as on the host:
/// only the header tells its bytes from fp16's.
pub fn bfloat16_converts_as_the_host_does(device: &Handle, shape: (usize, usize)) {
    let host = Handle::host().unwrap();
    let (rows, cols) = shape;
    let even = [0, 60, 90]
        .map(|percent| (format!("{percent} %"), weights(rows, cols, percent, 17 + percent as u64)));
    let uneven = ("uneven rows".to_owned(), weights_by_row(rows, cols, uneven, 17));
    for (made, values) in even.into_iter().chain([uneven]) {
        let place = Placed::new(rows, cols, 0, api::ORDER_ROW);
        for format in WITH_AUTO {
            let what = format!("{rows} x {cols}, {made}, format {format}");
            let (_, half, _) = compress(&host, &place, &values, 0, format);
            let (_, want, chosen) = compress_typed(&host, &place, &values, 0, format, api::R_16BF);
            let (_, got, got_format) =
                compress_typed(device, &place, &values, 0, format, api::R_16BF);
            assert_eq!(got_format, chosen, "{what}");
            same_bytes(&got, &want, &what);
            assert!(got[..256] != half[..256], "{what}: the header does not tell the type");
            same_bytes(&got[256..], &half[256..], &format!("{what}, beside fp16"));

            let buffer = device.upload(&got).unwrap();
            assert!(
                SpMat::adopt(device, rows, cols, chosen, &buffer).is_err(),
                "{what}: an fp16 descriptor adopted bfloat16"
            );
            let adopted = SpMat::with_type(rows, cols, chosen, api::R_16BF).unwrap();
            adopted.set_buffer(device, &buffer).unwrap_or_else(|e| panic!("{what}: {e}"));
            let back = device.upload(&vec![0xfe00u16; rows * cols]).unwrap();
            let dense =
                DnMat::new(rows, cols, cols, back.pointer(), api::R_16BF, api::ORDER_ROW).unwrap();
            adopted.decompress(device, &dense).unwrap();
            for (got, want) in back.read::<u16>(0, rows * cols).unwrap().iter().zip(&values) {
                assert!(got == want || *got == 0 && *want == 0x8000, "{what}: {got:#06x}");
            }
            assert!(adopted.agrees(device, &dense).unwrap(), "{what}");

            let (offsets, columns, stored) = csr_of(rows, cols, &values, 0);
            let nnz = columns.len();
            let (offsets, offsets_type) = index_array(device, false, &offsets);
            let (columns, columns_type) = index_array(device, true, &columns);
            let stored = device.upload(&stored).unwrap();
            let csr = api::CsrMat::with_type(
                (rows, cols, nnz),
                (offsets.pointer(), offsets_type),
                (columns.pointer(), columns_type),
                stored.pointer(),
                0,
                api::R_16BF,
            )
            .unwrap();
            let (_, buffer) = SpMat::compress_csr(device, rows, cols, &csr, format).unwrap();
            let got = buffer.read::<u8>(0, buffer.bytes()).unwrap();
            same_bytes(&got, &want, &format!("{what}, from CSR"));
        }
        let memory = device.upload(&values).unwrap();
        let dense =
            DnMat::new(rows, cols, cols, memory.pointer(), api::R_16BF, api::ORDER_ROW).unwrap();
        let bytes = dense.prune_scratch_bytes(device, &dense, api::PRUNE_ROW).unwrap();
        let scratch = device.alloc(bytes).unwrap();
        dense.prune(device, &dense, api::PRUNE_ROW, 0.95, &scratch).unwrap();
        device.synchronize().unwrap();
        let want = pruned(rows, cols, &values, true, 0.95);
        assert!(memory.read::<u16>(0, rows * cols).unwrap() == want, "{made}: pruned");
    }
}

/// Changes what a Slots buffer says of the dense rows of one of its first blocks.
fn damage_dense_rows(bytes: &mut [u8], rng: &mut Rng) {
    let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    let block = word(72) + 128 * word(256 + 4 * rng.below(3));
    let count_at = block + 1024 + 15;
    let begin = block + 1280 + 128 * usize::from(bytes[block + 1024 + 7]);
    let count = usize::from(bytes[count_at]).clamp(1, 8);
    let (row, at) = (begin + 528 * rng.below(count), begin + rng.below(528 * count));
    let (row, at) = (row.min(bytes.len() - 528), at.min(bytes.len() - 1));
    match rng.below(8) {
        0 => bytes[count_at] = [0, 1, 3, 5, 8, 9, 255, rng.next() as u8][rng.below(8)],
        1 => bytes[count_at] = bytes[count_at].wrapping_sub(1),
        2 => bytes[row] = rng.below(40) as u8,
        3 => bytes[row] = rng.next() as u8,
        4 => bytes[row + 1 + rng.below(15)] = 1,
        5 => bytes[at] = rng.next() as u8,
        6 => bytes[row + 16 + 2 * rng.below(256)..][..2].copy_from_slice(&[0, 0x80]),
        _ => bytes[at] ^= 1 << rng.below(8),
    }
}

/// Damaged buffers are refused with the host's sentence, or are whole on both.
pub fn refuses_what_the_host_refuses(device: &Handle, shape: (usize, usize), damages: usize) {
    let host = Handle::host().unwrap();
    let (rows, cols) = shape;
    let mut rng = Rng(rows as u64 ^ 0x5eed);
    let place = Placed::new(rows, cols, 0, api::ORDER_ROW);
    let even = FORMATS.map(|format| (format, weights(rows, cols, 70, 11)));
    let uneven = (api::FORMAT_SLOTS, weights_by_row(rows, cols, uneven, 11));
    for (format, dense) in even.into_iter().chain([uneven]) {
        let (_, good, _) = compress(&host, &place, &dense, 0, format);
        for damage in 0..damages {
            let mut bad = good.clone();
            if format == api::FORMAT_SLOTS && damage % 5 == 4 {
                damage_dense_rows(&mut bad, &mut rng);
            }
            let at = match damage % 4 {
                // The header, the table, and anywhere; of Slots the starts, the arrangement and values of the first block, of
                // Banked and Bitmap the masks and the starts, of SELL the ends and the order.
                0 => rng.below(104),
                1 => 256 + rng.below((bad.len() - 256).min(64)),
                3 if format == api::FORMAT_SLOTS => {
                    usize::from(bad[72]) + 256 * usize::from(bad[73]) + 1024 + rng.below(512)
                }
                3 if format == api::FORMAT_BANKED => {
                    usize::from(bad[72]) + 256 * usize::from(bad[73]) + rng.below(1280)
                }
                3 if format == api::FORMAT_BITMAP => {
                    usize::from(bad[72]) + 256 * usize::from(bad[73]) + rng.below(2560)
                }
                3 if format == api::FORMAT_SELL => {
                    usize::from(bad[72]) + 256 * usize::from(bad[73]) + rng.below(64)
                }
                _ => rng.below(bad.len()),
            };
            match damage % 3 {
                0 => bad[at] ^= 1 << rng.below(8),
                1 => bad[at] = rng.next() as u8,
                _ => {
                    let end = (at + 1 + rng.below(64)).min(bad.len());
                    bad[at..end].fill([0u8, 0xff][rng.below(2)]);
                }
            }
            let given = if damage % 7 == 6 { rng.below(bad.len()) + 1 } else { bad.len() };
            let outcome = |handle: &Handle| {
                // As long as it says it is: a read past it is seen by compute-sanitizer and AddressSanitizer.
                let buffer = handle.upload(&bad[..given]).unwrap();
                SpMat::adopt(handle, rows, cols, format, &buffer).err()
            };
            let (got, want) = (outcome(device), outcome(&host));
            assert_eq!(
                got.as_ref().map(|f| &f.text),
                want.as_ref().map(|f| &f.text),
                "format {format}, damage {damage} at {at} of {given}"
            );
            if let Some(failure) = got {
                assert!(
                    [CORRUPT_DATA, VERSION_MISMATCH, 7, 1].contains(&failure.status)
                        || !failure.text.is_empty(),
                    "{failure}"
                );
            }
        }
    }
}

/// Values that change between the analysis and the conversion give a buffer that is whole all the same.
pub fn changed_values_never_break_the_buffer(device: &Handle, shape: (usize, usize)) {
    type Percent = fn(usize) -> usize;
    let (rows, cols) = shape;
    let changes: [(Percent, Percent); 8] = [
        (|_| 90, |_| 20),
        (|_| 20, |_| 90),
        (|_| 50, |_| 50),
        (|_| 100, |_| 0),
        (|_| 0, |_| 100),
        (uneven, |row| uneven(row + 1)),
        (uneven, |_| 60),
        (|_| 60, uneven),
    ];
    for format in FORMATS {
        for (before, after) in changes {
            let source = device.upload(&weights_by_row(rows, cols, before, 1)).unwrap();
            let descr =
                DnMat::new(rows, cols, cols, source.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
            let sparse = SpMat::new(rows, cols, format).unwrap();
            let scratch =
                device.alloc(sparse.compress_scratch_bytes(device, &descr).unwrap()).unwrap();
            sparse.analyse(device, &descr, &scratch).unwrap();
            let target = Target::new(device, sparse.size().unwrap().bytes);
            sparse.set_buffer(device, &target.buffer).unwrap();
            let values = weights_by_row(rows, cols, after, 2);
            source.write(0, &values).unwrap();
            sparse.convert(device, &descr, &scratch).unwrap();
            device.synchronize().unwrap();
            target.read();
            // Every element is the new one or zero, also where a block was left empty.
            let back = device.upload(&vec![0xfe00u16; rows * cols]).unwrap();
            let dense =
                DnMat::new(rows, cols, cols, back.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
            sparse.decompress(device, &dense).unwrap();
            for (got, want) in back.read::<u16>(0, rows * cols).unwrap().iter().zip(&values) {
                assert!(*got == 0 || got == want, "format {format}: {got:#06x} for {want:#06x}");
            }
        }
    }
}

/// What pruning means, done in the plainest way: sort by magnitude and row-major position.
fn pruned(rows: usize, cols: usize, values: &[u16], by_row: bool, sparsity: f64) -> Vec<u16> {
    let mut out = values.to_vec();
    let spans = if by_row { rows } else { 1 };
    for span in out.chunks_mut(rows * cols / spans) {
        let mut order: Vec<usize> = (0..span.len()).collect();
        order.sort_by_key(|&i| (span[i] & 0x7fff, i));
        for &i in &order[..(sparsity * span.len() as f64).round() as usize] {
            span[i] = 0;
        }
    }
    out
}

/// Pruning zeroes what a sort would, in place and not, from and to any layout.
pub fn prunes_exactly(handle: &Handle, shape: (usize, usize), sparsities: &[f64]) {
    let (rows, cols) = shape;
    // Few magnitudes, so that there are ties, and all bits.
    let few: Vec<u16> = weights(rows, cols, 30, 3).iter().map(|v| v & 0x8003 | 0x3c00).collect();
    let mut sources = vec![few, weights(rows, cols, 10, 4)];
    sources.push(vec![0x4200; rows * cols]);
    for values in &sources {
        for &sparsity in sparsities {
            for alg in [api::PRUNE_MATRIX, api::PRUNE_ROW] {
                let want = pruned(rows, cols, values, alg == api::PRUNE_ROW, sparsity);
                for (from, to, extra) in [
                    (api::ORDER_ROW, api::ORDER_ROW, 0),
                    (api::ORDER_COL, api::ORDER_ROW, 3),
                    (api::ORDER_ROW, api::ORDER_COL, 8),
                ] {
                    let place = Placed::new(rows, cols, extra, from);
                    let target = Placed::new(rows, cols, 0, to);
                    let source = handle.upload(&laid_out(&place, values)).unwrap();
                    let out = handle.upload(&vec![0xfe00u16; target.extent() + 4]).unwrap();
                    let descr = |place: &Placed, memory: &Buffer<'_>| {
                        DnMat::new(rows, cols, place.ld, memory.pointer(), api::R_16F, place.order)
                            .unwrap()
                    };
                    let (a, b) = (descr(&place, &source), descr(&target, &out));
                    let bytes = a.prune_scratch_bytes(handle, &b, alg).unwrap();
                    let scratch = handle.alloc(bytes).unwrap();
                    a.prune(handle, &b, alg, sparsity, &scratch).unwrap();
                    handle.synchronize().unwrap();
                    let what =
                        format!("{rows} x {cols}, {sparsity}, alg {alg}, order {from} to {to}");
                    let mut expected = laid_out(&target, &want);
                    expected.extend([0xfe00; 4]);
                    assert!(out.read::<u16>(0, expected.len()).unwrap() == expected, "{what}");
                    let kept = source.read::<u16>(0, place.extent()).unwrap();
                    assert!(kept == laid_out(&place, values), "{what}: the source changed");
                    // In place; what ld skips stays.
                    a.prune(handle, &a, alg, sparsity, &scratch).unwrap();
                    handle.synchronize().unwrap();
                    let inside = source.read::<u16>(0, place.extent()).unwrap();
                    assert!(inside == laid_out(&place, &want), "{what}, in place");
                }
            }
        }
    }
}

/// A compressed matrix agrees with what it was made from, and with nothing that differs in one element.
pub fn agrees_with_its_source_alone(handle: &Handle, shape: (usize, usize)) {
    let (rows, cols) = shape;
    let mut rng = Rng(99);
    for format in FORMATS {
        for order in ORDERS {
            let place = Placed::new(rows, cols, 2, order);
            // Differences are looked for in the first row and the last, too.
            let percent = |row| if row == 0 || row == rows - 1 { 10 } else { uneven(row) };
            let values = weights_by_row(rows, cols, percent, 8);
            let dense = laid_out(&place, &values);
            let memory = handle.upload(&dense).unwrap();
            let descr =
                DnMat::new(rows, cols, place.ld, memory.pointer(), api::R_16F, order).unwrap();
            let (sparse, _buffer) =
                SpMat::compress(handle, rows, cols, place.ld, order, memory.pointer(), format)
                    .unwrap();
            assert!(sparse.agrees(handle, &descr).unwrap(), "format {format}, order {order}");
            // Zeros of either sign are equal.
            let flipped: Vec<u16> =
                dense.iter().map(|&v| if v & 0x7fff == 0 { v ^ 0x8000 } else { v }).collect();
            memory.write(0, &flipped).unwrap();
            assert!(sparse.agrees(handle, &descr).unwrap(), "format {format}, order {order}");
            for round in 0..4 {
                let (row, col) = match round {
                    0 => (0, 0),
                    1 => (rows - 1, cols - 1),
                    _ => (rng.below(rows), rng.below(cols)),
                };
                let at = place.index(row, col);
                let mut other = dense.clone();
                other[at] = if dense[at] & 0x7fff == 0 { 1 } else { dense[at] ^ 0x8000 };
                memory.write(0, &other).unwrap();
                assert!(!sparse.agrees(handle, &descr).unwrap(), "({row}, {col}) went unnoticed");
            }
        }
    }
}

/// Rows of a dense matrix: offsets, columns, values.
fn csr_of(rows: usize, cols: usize, values: &[u16], base: i64) -> (Vec<i64>, Vec<i64>, Vec<u16>) {
    let (mut offsets, mut columns, mut stored) = (vec![base], Vec::new(), Vec::new());
    for row in 0..rows {
        for col in 0..cols {
            let value = values[row * cols + col];
            // A stored zero now and then: it is no element.
            if value & 0x7fff != 0 || (row * cols + col) % 17 == 0 {
                columns.push(col as i64 + base);
                stored.push(value);
            }
        }
        offsets.push(columns.len() as i64 + base);
    }
    (offsets, columns, stored)
}

/// Indices of one width, where the handle computes.
fn index_array<'h>(handle: &'h Handle, wide: bool, indices: &[i64]) -> (Buffer<'h>, i32) {
    if wide {
        return (handle.upload(indices).unwrap(), api::INDEX_64I);
    }
    let narrow: Vec<i32> = indices.iter().map(|&i| i as i32).collect();
    (handle.upload(&narrow).unwrap(), api::INDEX_32I)
}

/// What the elements that are not zero are compressed to, as CSR: whether offsets and columns have 64 bits, and their base.
fn from_csr(
    handle: &Handle,
    (rows, cols): (usize, usize),
    values: &[u16],
    (wide_offsets, wide_columns, base): (bool, bool, i64),
    format: i32,
) -> Vec<u8> {
    let (offsets, columns, stored) = csr_of(rows, cols, values, base);
    let (offsets, offsets_type) = index_array(handle, wide_offsets, &offsets);
    let nnz = columns.len();
    let (columns, columns_type) = index_array(handle, wide_columns, &columns);
    let stored = handle.upload(&stored).unwrap();
    let csr = api::CsrMat::new(
        (rows, cols, nnz),
        (offsets.pointer(), offsets_type),
        (columns.pointer(), columns_type),
        stored.pointer(),
        base as i32,
    )
    .unwrap();
    let (_, buffer) = SpMat::compress_csr(handle, rows, cols, &csr, format).unwrap();
    buffer.read(0, buffer.bytes()).unwrap()
}

/// Bytes from CSR are those from the dense matrix, for every index width and base.
pub fn csr_compresses_as_dense_does(handle: &Handle, shape: (usize, usize)) {
    let host = Handle::host().unwrap();
    let (rows, cols) = shape;
    let place = Placed::new(rows, cols, 0, api::ORDER_ROW);
    let even = [0, 70, 98, 100].map(|percent| weights(rows, cols, percent, 21));
    for values in even.into_iter().chain([weights_by_row(rows, cols, uneven, 21)]) {
        for format in WITH_AUTO {
            let (_, want, _) = compress(&host, &place, &values, 0, format);
            for (wide_offsets, wide_columns, base) in
                [(false, false, 0), (true, false, 1), (true, true, 0), (false, true, 1)]
            {
                let indices = (wide_offsets, wide_columns, base);
                let got = from_csr(handle, shape, &values, indices, format);
                same_bytes(
                    &got,
                    &want,
                    &format!("{rows} x {cols}, indices {indices:?}, format {format}"),
                );
            }
        }
    }
}

/// Wrong indices are refused with the same sentence on both, and nothing is read outside of the arrays.
pub fn csr_refuses_wrong_indices(device: &Handle, rounds: usize) {
    let host = Handle::host().unwrap();
    let (rows, cols) = (23, 57);
    let values = weights(rows, cols, 80, 5);
    let mut rng = Rng(31);
    let wild =
        [-1, i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX), 1 << 20, cols as i64];
    for round in 0..rounds {
        let base = (round % 2) as i64;
        let (mut offsets, mut columns, stored) = csr_of(rows, cols, &values, base);
        let at = rng.below(if round % 3 == 0 { offsets.len() } else { columns.len() });
        let value = if round % 4 == 0 { rng.below(80) as i64 } else { wild[rng.below(wild.len())] };
        match round % 3 {
            0 => offsets[at] = value,
            1 => columns[at] = value,
            _ => {
                let other = (at + 1) % columns.len();
                columns[at] = columns[other];
            }
        }
        let outcome = |handle: &Handle| {
            let (offsets, offsets_type) = index_array(handle, true, &offsets);
            let (columns_memory, columns_type) = index_array(handle, true, &columns);
            let stored_memory = handle.upload(&stored).unwrap();
            let csr = api::CsrMat::new(
                (rows, cols, columns.len()),
                (offsets.pointer(), offsets_type),
                (columns_memory.pointer(), columns_type),
                stored_memory.pointer(),
                base as i32,
            )
            .unwrap();
            SpMat::compress_csr(handle, rows, cols, &csr, api::FORMAT_SLOTS).err().map(|e| e.text)
        };
        let (got, want) = (outcome(device), outcome(&host));
        assert_eq!(got, want, "round {round}");
        if round % 3 == 0 && value < 0 {
            assert!(want.is_some(), "round {round}: {value} as an offset was taken");
        }
    }
}

/// Whatever is written to the workspace between analysis and conversion, the buffer is written within its bounds, its
/// table leads nowhere else, and a check refuses it.
pub fn a_damaged_workspace_never_breaks_the_buffer(device: &Handle, shape: (usize, usize)) {
    let (rows, cols) = shape;
    for (format, uneven_rows) in
        FORMATS.map(|format| (format, false)).into_iter().chain([(api::FORMAT_SLOTS, true)])
    {
        let percent = |row| if uneven_rows { uneven(row) } else { 60 };
        let source = device.upload(&weights_by_row(rows, cols, percent, 1)).unwrap();
        let descr =
            DnMat::new(rows, cols, cols, source.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
        let mut rng = Rng(0x5eed);
        for damage in 0..7 {
            let sparse = SpMat::new(rows, cols, format).unwrap();
            let bytes = sparse.compress_scratch_bytes(device, &descr).unwrap();
            let scratch = device.alloc(bytes).unwrap();
            sparse.analyse(device, &descr, &scratch).unwrap();
            let left = scratch.read::<u32>(0, bytes / 4).unwrap();
            let target = Target::new(device, sparse.size().unwrap().bytes);
            sparse.set_buffer(device, &target.buffer).unwrap();
            let words: Vec<u32> = (0..bytes / 4)
                .map(|i| match damage {
                    0 => 0,
                    1 => u32::MAX,
                    2 => i as u32,
                    3 => rng.below(1000) as u32,
                    4 => 1000 - (i as u32).min(1000),
                    // Of Slots the table stays, and some of the orders.
                    5 if i < left.len() / 2 => left[i],
                    _ => rng.next() as u32,
                })
                .collect();
            scratch.write(0, &words).unwrap();
            sparse.convert(device, &descr, &scratch).unwrap();
            device.synchronize().unwrap();
            let compressed = target.read();
            let header = flash_llm::format::Header::from_bytes(&compressed).unwrap();
            let units = header.data_bytes / header.unit_bytes();
            let blocks =
                rows.div_ceil(header.tile_rows as usize) * cols.div_ceil(header.tile_cols as usize);
            let table: Vec<u64> = compressed[header.table_offset as usize..]
                .chunks_exact(4)
                .take(blocks + 1)
                .map(|b| u64::from(u32::from_le_bytes(b.try_into().unwrap())))
                .collect();
            let what = format!("format {format}, damage {damage}");
            assert!(table.is_sorted() && table.last() <= Some(&units), "{what}: {table:?}");
            let back = device.upload(&vec![0u16; rows * cols]).unwrap();
            let dense =
                DnMat::new(rows, cols, cols, back.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
            sparse.decompress(device, &dense).unwrap();
            assert!(!sparse.agrees(device, &descr).unwrap_or(false), "{what}");
            assert!(
                SpMat::adopt(device, rows, cols, format, &target.buffer).is_err(),
                "{what}: adopted"
            );
        }
    }
}
