//! Conversions on a device handle, compared with the host's encoder: run on a GPU by gpu_convert.rs and on an
//! emulation of the kernels by emulated_convert.rs.
#![allow(dead_code)] // each test program uses its part

use super::support::api::{self, Buffer, DnMat, Handle, SpMat};
use super::support::{Placed, Rng};

pub const FORMATS: [i32; 3] = [api::FORMAT_SLOTS, api::FORMAT_BITMAP, api::FORMAT_TILED_CSL];
pub const ORDERS: [i32; 2] = [api::ORDER_ROW, api::ORDER_COL];

const CORRUPT_DATA: i32 = 102;
const VERSION_MISMATCH: i32 = 106;

/// fp16 bits, row-major: `percent` of them zeros of either sign, and among the others NaN, infinities,
/// subnormals and negative numbers.
pub fn weights(rows: usize, cols: usize, percent: usize, seed: u64) -> Vec<u16> {
    let mut rng = Rng(seed);
    (0..rows * cols)
        .map(|_| {
            let bits = rng.next();
            if (bits >> 32) % 100 < percent as u64 {
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
    let source = handle.alloc((dense.len() + offset) * 2).unwrap();
    source.write(offset * 2, dense).unwrap();
    let descr = DnMat::new(
        place.rows,
        place.cols,
        place.ld,
        source.at(offset * 2),
        api::R_16F,
        place.order,
    )
    .unwrap();
    let sparse = SpMat::new(place.rows, place.cols, format).unwrap();
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
    let host = Handle::host().unwrap();
    let (rows, cols) = shape;
    let values = weights(rows, cols, percent, (rows * 31 + cols * 7 + percent) as u64);
    for order in ORDERS {
        let place = Placed::new(rows, cols, extra_ld, order);
        let dense = laid_out(&place, &values);
        for &format in formats {
            let what = format!(
                "{rows} x {cols}, {percent} %, order {order}, ld + {extra_ld}, offset {offset}, format {format}"
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

/// Damaged buffers are refused with the host's sentence, or are whole on both.
pub fn refuses_what_the_host_refuses(device: &Handle, shape: (usize, usize), damages: usize) {
    let host = Handle::host().unwrap();
    let (rows, cols) = shape;
    let mut rng = Rng(rows as u64 ^ 0x5eed);
    let place = Placed::new(rows, cols, 0, api::ORDER_ROW);
    for format in FORMATS {
        let dense = weights(rows, cols, 70, 11);
        let (_, good, _) = compress(&host, &place, &dense, 0, format);
        for damage in 0..damages {
            let mut bad = good.clone();
            let at = match damage % 4 {
                // The header, the table, and anywhere.
                0 => rng.below(104),
                1 => 256 + rng.below((bad.len() - 256).min(64)),
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
    let (rows, cols) = shape;
    for format in FORMATS {
        for (before, after) in [(90, 20), (20, 90), (50, 50), (100, 0), (0, 100)] {
            let source = device.upload(&weights(rows, cols, before, 1)).unwrap();
            let descr =
                DnMat::new(rows, cols, cols, source.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
            let sparse = SpMat::new(rows, cols, format).unwrap();
            let scratch =
                device.alloc(sparse.compress_scratch_bytes(device, &descr).unwrap()).unwrap();
            sparse.analyse(device, &descr, &scratch).unwrap();
            let target = Target::new(device, sparse.size().unwrap().bytes);
            sparse.set_buffer(device, &target.buffer).unwrap();
            source.write(0, &weights(rows, cols, after, 2)).unwrap();
            sparse.convert(device, &descr, &scratch).unwrap();
            device.synchronize().unwrap();
            target.read();
            // Every element is the new one or zero, also where a block was left empty.
            let back = device.upload(&vec![0xfe00u16; rows * cols]).unwrap();
            let dense =
                DnMat::new(rows, cols, cols, back.pointer(), api::R_16F, api::ORDER_ROW).unwrap();
            sparse.decompress(device, &dense).unwrap();
            let values = weights(rows, cols, after, 2);
            for (got, want) in back.read::<u16>(0, rows * cols).unwrap().iter().zip(&values) {
                assert!(*got == 0 || got == want, "format {format}: {got:#06x} for {want:#06x}");
            }
        }
    }
}
