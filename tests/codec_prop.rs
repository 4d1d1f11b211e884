//! Properties of the codecs: what is encoded decodes to the same bits, what the encoder writes is valid,
//! and nothing that is damaged makes them panic.

use flash_llm::error::Kind;
use flash_llm::format::{
    Analysis, EncodeOptions, Header, analyse, decode, encode, parse_header, validate,
};
use flash_llm::types::{DenseLayout, Format, Order, Preference};
use proptest::prelude::*;

const CANARY: u16 = 0xdead;

fn options(format: Option<Format>, reorder: bool) -> EncodeOptions {
    EncodeOptions { format, reorder, preference: Preference::Speed }
}

const FORMATS: [(Format, bool); 6] = [
    (Format::Bitmap, false),
    (Format::TiledCsl, false),
    (Format::TiledCsl, true),
    (Format::Slots, false),
    (Format::Banked, false),
    (Format::Sell, false),
];

fn compress(layout: &DenseLayout, values: &[u16], options: &EncodeOptions) -> (Analysis, Vec<u8>) {
    let analysis = analyse(layout, values, options).unwrap();
    // Encoding must write every byte, whatever the memory held.
    let mut buffer = vec![0xa5; analysis.bytes()];
    encode(&analysis, layout, values, &mut buffer).unwrap();
    (analysis, buffer)
}

/// A matrix, its layout with a possibly larger ld, and canaries where the ld skips.
#[derive(Clone, Debug)]
struct Dense {
    layout: DenseLayout,
    values: Vec<u16>,
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// fp16 bits of all classes: ordinary, subnormal, NaN with payload, Inf, and zeros of both signs.
fn element(state: &mut u64, keep_permille: u64) -> u16 {
    let draw = splitmix(state);
    let sign = (draw >> 63) as u16 * 0x8000;
    if draw % 1000 >= keep_permille {
        return sign;
    }
    let bits = (draw >> 16) as u16;
    match draw >> 10 & 15 {
        0 => sign | 0x7c00,
        1 => sign | 0x7c00 | (bits & 0x3ff).max(1),
        2 => sign | (bits & 0x3ff).max(1),
        _ => sign | (bits & 0x7fff).max(1),
    }
}

fn dense(
    rows: usize,
    cols: usize,
    pad: usize,
    order: Order,
    keep_permille: u64,
    mut seed: u64,
) -> Dense {
    let minimum = if order == Order::Row { cols } else { rows };
    let layout = DenseLayout::new(rows, cols, minimum + pad, order).unwrap();
    let mut values = vec![CANARY; layout.extent()];
    for r in 0..rows {
        for c in 0..cols {
            values[layout.index(r, c)] = element(&mut seed, keep_permille);
        }
    }
    Dense { layout, values }
}

prop_compose! {
    fn any_dense()(
        rows in prop_oneof![1usize..70, 100usize..280],
        cols in prop_oneof![1usize..70, 230usize..600, Just(1030usize), Just(2060usize)],
        pad in prop_oneof![Just(0usize), 1usize..9],
        row_major in any::<bool>(),
        keep in prop_oneof![Just(0u64), Just(1000), Just(500), Just(50), 0u64..1000],
        seed in any::<u64>(),
    ) -> Dense {
        dense(rows, cols, pad, if row_major { Order::Row } else { Order::Col }, keep, seed)
    }
}

prop_compose! {
    /// Matrices of one and of several blocks of SELL, in which fillers are rare or many.
    fn any_wide()(
        rows in 1usize..70,
        cols in prop_oneof![1usize..600, 2000usize..2100, Just(4100usize)],
        keep in prop_oneof![Just(0u64), Just(1000), 0u64..30, 0u64..1000],
        row_major in any::<bool>(),
        seed in any::<u64>(),
    ) -> Dense {
        dense(rows, cols, 0, if row_major { Order::Row } else { Order::Col }, keep, seed)
    }
}

fn kept(value: u16) -> u16 {
    if value & 0x7fff == 0 { 0 } else { value }
}

/// Bitmap v1, written down element by element from docs/format-bitmap.md.
fn naive_bitmap(matrix: &Dense, width: usize) -> Vec<u8> {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let steps = width / 32;
    let mut table = vec![0u32];
    let mut data = Vec::new();
    for r0 in (0..rows).step_by(32) {
        for c0 in (0..cols).step_by(width) {
            let mut masks = vec![0u8; steps * 128];
            let mut streams = vec![Vec::new(); 32];
            for i in 0..steps {
                for l in 0..32 {
                    let mut word = 0u32;
                    for rho in 0..4 {
                        for k in 0..8 {
                            let (r, c) = (r0 + l / 4 + 8 * rho, c0 + 32 * i + 8 * (l % 4) + k);
                            let value = if r < rows && c < cols {
                                matrix.values[matrix.layout.index(r, c)]
                            } else {
                                0
                            };
                            if value & 0x7fff != 0 {
                                let j = rho * 4 + k / 2;
                                word |= 1
                                    << (16 * (j & 1) + if k % 2 == 0 { 7 } else { 15 } - (j >> 1));
                                streams[l ^ (((i & 7) << 2) | (i & 3))].push(value);
                            }
                        }
                    }
                    let at = (i / 4) * 512 + l * 16 + (i % 4) * 4;
                    masks[at..at + 4].copy_from_slice(&word.to_le_bytes());
                }
            }
            let value_rows = streams.iter().map(|s| s.len().div_ceil(2)).max().unwrap();
            let mut values = vec![0u8; value_rows * 128];
            for (s, stream) in streams.iter().enumerate() {
                for (q, value) in stream.iter().enumerate() {
                    let at = (q / 2) * 128 + s * 4 + (q % 2) * 2;
                    values[at..at + 2].copy_from_slice(&value.to_le_bytes());
                }
            }
            data.extend(masks);
            data.extend(values);
            table.push((data.len() / 128) as u32);
        }
    }
    let mut out: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    out.resize((256 + out.len()).next_multiple_of(256) - 256, 0);
    out.extend(data);
    out
}

/// The columns that a block of Slots v3 has in its places.
fn naive_arrangement(block: &[u8]) -> Vec<usize> {
    let column = |place: usize| {
        let (step, octet, half, number) = (place / 32, place / 8 % 4, place / 4 % 2, place % 4);
        if number == 0 {
            return place;
        }
        let at = 1152 + 64 * (step / 4) + 16 * octet + 8 * half;
        let word = u64::from_le_bytes(block[at..at + 8].try_into().unwrap());
        8 * (word >> (20 * (number - 1) + 5 * (step % 4)) & 31) as usize + place % 8
    };
    (0..256).map(column).collect()
}

/// The overflow of one block of Slots v3, whose places have the columns `order`, written down element by element from
/// docs/format-slots.md: the rounds, and the section.
fn naive_overflow(matrix: &Dense, r0: usize, c0: usize, order: &[usize]) -> (usize, Vec<u8>) {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let mut elements = Vec::new();
    for row in 0..32.min(rows - r0) {
        for group in (0..256).step_by(4) {
            let stored = (group..group + 4).filter_map(|place| {
                let col = c0 + order[place];
                let value =
                    if col < cols { matrix.values[matrix.layout.index(r0 + row, col)] } else { 0 };
                (value & 0x7fff != 0).then_some((row, place, value))
            });
            // Even octets keep the lowest two of a group, odd ones the highest.
            let stored: Vec<_> = stored.collect();
            let beyond = stored.len().saturating_sub(2);
            elements.extend(if group / 8 % 2 == 0 {
                &stored[stored.len() - beyond..]
            } else {
                &stored[..beyond]
            });
        }
    }
    if elements.is_empty() {
        return (0, Vec::new());
    }
    let distinct: std::collections::BTreeSet<usize> =
        elements.iter().map(|&(_, place, _)| place).collect();
    let mut apart: Vec<usize> = distinct.iter().copied().collect();
    apart.sort_by_key(|&place| {
        (distinct.range(..place).filter(|&&other| other % 8 == place % 8).count(), place % 8)
    });
    let rounds = apart.len().div_ceil(16);
    let mut ends = [elements.len() as u16; 8];
    let mut columns = Vec::new();
    let mut entries = Vec::new();
    for round in 0..rounds {
        let here = &apart[16 * round..apart.len().min(16 * (round + 1))];
        columns.extend((0..16).map(|k| here.get(k).map_or(k as u8, |&place| order[place] as u8)));
        let mut places: Vec<(u16, u16)> = elements
            .iter()
            .filter_map(|&(row, place, value)| {
                let k = here.iter().position(|&p| p == place)?;
                let offset = 512 * (row / 16)
                    + 256 * (k / 8)
                    + 128 * (row / 8 % 2)
                    + 16 * (row % 8)
                    + 2 * (k % 8);
                Some((offset as u16, value))
            })
            .collect();
        places.sort_unstable();
        entries.extend(places);
        ends[round] = entries.len() as u16;
    }
    let mut section: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
    section.extend(columns);
    for (offset, value) in entries {
        section.extend(value.to_le_bytes());
        section.extend(offset.to_le_bytes());
    }
    section.resize(section.len().next_multiple_of(128), 0);
    (rounds, section)
}

/// Banked v1, written down element by element from docs/format-banked.md.
fn naive_banked(matrix: &Dense) -> Vec<u8> {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let mut table = vec![0u32];
    let mut data = Vec::new();
    for r0 in (0..rows).step_by(128) {
        for c0 in (0..cols).step_by(128) {
            let mut image = vec![0u16; 2 * 8192];
            for r in 0..128.min(rows - r0) {
                for k in 0..128.min(cols - c0) {
                    let byte =
                        (k / 64) * 16384 + r * 128 + ((k % 64 / 8) ^ (r % 8)) * 16 + (k % 8) * 2;
                    image[byte / 2] = kept(matrix.values[matrix.layout.index(r0 + r, c0 + k)]);
                }
            }
            // (line, value) of each lane and parity, padded to whole chunks.
            let places = |lane: usize, parity: usize| {
                let at = |line: usize| image[64 * line + 2 * lane + parity];
                let mut found: Vec<(usize, u16)> =
                    (0..256).filter(|&line| at(line) != 0).map(|line| (line, at(line))).collect();
                let padding = found.len().next_multiple_of(4) - found.len();
                found.extend(
                    (0..256).filter(|&line| at(line) == 0).take(padding).map(|line| (line, 0)),
                );
                found
            };
            let passes: Vec<[Vec<(usize, u16)>; 2]> =
                (0..32).map(|lane| [places(lane, 0), places(lane, 1)]).collect();
            let chunks = |lane: usize, parity: usize| passes[lane][parity].len() / 4;
            let mut streams: Vec<usize> = (0..32).collect();
            streams.sort_by_key(|&s| std::cmp::Reverse(chunks(s, 0)));
            let mut lanes: Vec<usize> = (0..32).collect();
            lanes.sort_by_key(|&lane| chunks(lane, 1));
            let mut starts = [0u32; 32];
            let mut contents: Vec<Vec<(usize, u16)>> =
                passes.iter().map(|passes| passes[0].clone()).collect();
            for (&s, &lane) in streams.iter().zip(&lanes) {
                let (n0, n1, begin) = (chunks(lane, 0), chunks(lane, 1), chunks(s, 0));
                starts[lane] = (n0 | n1 << 7 | s << 14 | begin << 19) as u32;
                contents[s].extend(&passes[lane][1]);
            }
            let v = contents.iter().map(|stream| stream.len() / 4).max().unwrap();
            let mut block = vec![0u8; 128 + 384 * v];
            for (bytes, word) in block.chunks_exact_mut(4).zip(starts) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            for (s, stream) in contents.iter().enumerate() {
                for (q, &(line, value)) in stream.iter().enumerate() {
                    let (row, j) = (128 + 384 * (q / 4), q % 4);
                    block[row + 4 * s + j] = line as u8;
                    let at = row + 128 * (1 + j / 2) + 4 * s + 2 * (j % 2);
                    block[at..at + 2].copy_from_slice(&value.to_le_bytes());
                }
            }
            data.extend(block);
            table.push((data.len() / 128) as u32);
        }
    }
    let mut out: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    out.resize((256 + out.len()).next_multiple_of(256) - 256, 0);
    out.extend(data);
    out
}

/// (place, value) of the entries of the eight lanes of a row of SELL, fillers among them.
fn naive_lanes(row: &[u16]) -> [Vec<(usize, u16)>; 8] {
    let mut lanes: [Vec<(usize, u16)>; 8] = Default::default();
    for (q, octet) in row.chunks(8).enumerate() {
        let s = 2 * (q % 4) + q / 4 % 2;
        let d = if q / 8 % 8 == 0 { 5 } else { q / 8 % 8 };
        let last = |g: usize| lanes[g].last().map_or(0, |&(place, _)| place);
        let mut count: [usize; 8] = std::array::from_fn(|g| lanes[g].len());
        let mut new = Vec::new();
        for (x, &value) in octet.iter().enumerate().filter(|&(_, &value)| value != 0) {
            let (g0, g1) = (x ^ s, x ^ s ^ d);
            let copy = usize::from((count[g1], last(g1)) < (count[g0], last(g0)));
            let g = if copy == 1 { g1 } else { g0 };
            count[g] += 1;
            new.push((2 * q + copy, g, value));
        }
        new.sort_unstable();
        for (place, g, value) in new {
            let mut last = lanes[g].last().map_or(0, |&(place, _)| place);
            while place - last > 63 {
                last += 63;
                lanes[g].push((last, 0));
            }
            lanes[g].push((place, value));
        }
    }
    lanes
}

/// SELL v1, written down element by element from docs/format-sell.md.
fn naive_sell(matrix: &Dense) -> Vec<u8> {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let mut table = vec![0u32];
    let mut data = Vec::new();
    for r0 in (0..rows).step_by(32) {
        for c0 in (0..cols).step_by(2048) {
            let lanes: Vec<[Vec<(usize, u16)>; 8]> = (r0..r0 + 32)
                .map(|r| {
                    let columns = c0..if r < rows { cols.min(c0 + 2048) } else { c0 };
                    let row: Vec<u16> =
                        columns.map(|c| kept(matrix.values[matrix.layout.index(r, c)])).collect();
                    naive_lanes(&row)
                })
                .collect();
            let steps = |row: usize| lanes[row].iter().map(Vec::len).max().unwrap();
            let mut order: Vec<usize> = (0..32).collect();
            order.sort_by_key(|&row| std::cmp::Reverse(steps(row)));
            let mut block = vec![0u8; 64];
            for (i, rows) in order.chunks(4).enumerate() {
                let total = steps(rows[0]);
                for first in (0..total).step_by(16) {
                    let n = 16.min(total - first);
                    let w = n.div_ceil(4).min(3);
                    let at = block.len();
                    block.resize(at + 128 * w + 64 * n, 0);
                    for (j, &row) in rows.iter().enumerate() {
                        for (g, lane) in lanes[row].iter().enumerate() {
                            let mut before =
                                if first == 0 { 0 } else { lane.get(first - 1).map_or(0, |e| e.0) };
                            for s in 0..n.min(lane.len().saturating_sub(first)) {
                                let (place, value) = lane[first + s];
                                let delta = place - std::mem::replace(&mut before, place);
                                let mut or = |word: usize, bits: usize| {
                                    let byte = at + 128 * word + 4 * (8 * j + g) + s % 4;
                                    block[byte] |= bits as u8;
                                };
                                if s < 12 {
                                    or(s / 4, delta);
                                } else {
                                    for piece in 0..3 {
                                        or(piece, (delta >> (2 * piece) & 3) << 6);
                                    }
                                }
                                let (u, pos) = (s / 4, [0, 2, 1, 3][j]);
                                let to = at
                                    + 128 * w
                                    + 256 * u
                                    + if 4 * u + 4 <= n {
                                        64 * pos + 16 * (g / 2) + 4 * (s % 4) + 2 * (g % 2)
                                    } else {
                                        64 * (s % 4) + 16 * pos + 4 * (g / 2) + 2 * (g % 2)
                                    };
                                block[to..to + 2].copy_from_slice(&value.to_le_bytes());
                            }
                        }
                    }
                }
                for (j, &row) in rows.iter().enumerate() {
                    block[16 + 4 * i + j] = row as u8;
                }
                let end = ((block.len() - 64) / 64) as u16;
                block[2 * i..2 * i + 2].copy_from_slice(&end.to_le_bytes());
            }
            block.resize(block.len().next_multiple_of(128), 0);
            data.extend(block);
            table.push((data.len() / 128) as u32);
        }
    }
    let mut out: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    out.resize((256 + out.len()).next_multiple_of(256) - 256, 0);
    out.extend(data);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn decoding_gives_back_every_bit_but_the_sign_of_zero(matrix in any_dense()) {
        for (format, reorder) in FORMATS {
            let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(format), reorder));
            let header = validate(&buffer).unwrap();
            prop_assert_eq!(header, analysis.header);
            let Dense { layout, values } = &matrix;
            let mut out = vec![CANARY; values.len()];
            decode(&buffer, layout, &mut out).unwrap();
            let mut expected = vec![CANARY; values.len()];
            let mut nnz = 0;
            for r in 0..layout.rows {
                for c in 0..layout.cols {
                    expected[layout.index(r, c)] = kept(values[layout.index(r, c)]);
                    nnz += u64::from(kept(values[layout.index(r, c)]) != 0);
                }
            }
            prop_assert_eq!(out, expected, "{:?}", format);
            prop_assert_eq!(header.nnz, nnz);
        }
    }

    #[test]
    fn bytes_do_not_depend_on_the_memory_order_or_the_threads(
        rows in 1usize..200, cols in 1usize..600, keep in 0u64..1000, seed in any::<u64>(), threads in 1usize..5
    ) {
        let by_row = dense(rows, cols, 0, Order::Row, keep, seed);
        let mut by_col = dense(rows, cols, 3, Order::Col, 0, 0);
        for r in 0..rows {
            for c in 0..cols {
                by_col.values[by_col.layout.index(r, c)] = by_row.values[by_row.layout.index(r, c)];
            }
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (format, reorder) in FORMATS {
            let (_, a) = compress(&by_row.layout, &by_row.values, &options(Some(format), reorder));
            let (_, b) = pool.install(|| compress(&by_col.layout, &by_col.values, &options(Some(format), reorder)));
            prop_assert!(a == b);
        }
    }

    #[test]
    fn bitmap_bytes_are_those_of_the_specification(matrix in any_dense()) {
        let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(Format::Bitmap), false));
        let expected = naive_bitmap(&matrix, analysis.header.tile_cols as usize);
        prop_assert!(buffer[Header::BYTES..] == expected);
    }

    #[test]
    fn banked_bytes_are_those_of_the_specification(matrix in any_dense()) {
        let (_, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(Format::Banked), false));
        prop_assert!(buffer[Header::BYTES..] == naive_banked(&matrix));
    }

    #[test]
    fn sell_bytes_are_those_of_the_specification(matrix in any_wide()) {
        let (_, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(Format::Sell), false));
        prop_assert!(buffer[Header::BYTES..] == naive_sell(&matrix));
    }

    #[test]
    fn overflow_of_slots_is_that_of_the_specification(matrix in any_dense()) {
        let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(Format::Slots), false));
        let blocks = matrix.layout.cols.div_ceil(256);
        for index in 0..analysis.table.len() - 1 {
            let start = analysis.header.data_offset as usize + analysis.table[index] as usize * 128;
            let end = analysis.header.data_offset as usize + analysis.table[index + 1] as usize * 128;
            let block = &buffer[start..end];
            let order = naive_arrangement(block);
            let (rounds, section) = naive_overflow(&matrix, index / blocks * 32, index % blocks * 256, &order);
            let rows = usize::from(block[1024 + 7]);
            prop_assert_eq!(usize::from(block[1024 + 3]), rounds);
            prop_assert_eq!(&block[1280 + 128 * rows..], section, "block {}", index);
        }
    }

    #[test]
    fn a_damaged_byte_is_refused_or_decodes(
        matrix in any_dense(), which in 0..FORMATS.len(), at in any::<prop::sample::Index>(), flip in 1u8..=255
    ) {
        let (format, reorder) = FORMATS[which];
        let (_, mut buffer) = compress(&matrix.layout, &matrix.values, &options(Some(format), reorder));
        let at = at.index(buffer.len());
        buffer[at] ^= flip;
        survive(&buffer);
    }

    #[test]
    fn truncations_are_refused(matrix in any_dense(), which in 0..FORMATS.len(), at in any::<prop::sample::Index>()) {
        let (format, reorder) = FORMATS[which];
        let (_, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(format), reorder));
        let short = &buffer[..at.index(buffer.len())];
        prop_assert_eq!(validate(short).unwrap_err().kind(), Kind::CorruptData);
        let mut out = vec![0; matrix.values.len()];
        prop_assert!(decode(short, &matrix.layout, &mut out).is_err());
        // Bytes behind the matrix are not part of it.
        let mut long = buffer.clone();
        long.extend([0xff; 100]);
        prop_assert!(validate(&long).is_ok());
    }

    #[test]
    fn random_bytes_behind_a_good_header_do_not_panic(
        rows in 1u64..200, cols in 1u64..600, which in 0..FORMATS.len(), seed in any::<u64>()
    ) {
        let matrix = dense(rows as usize, cols as usize, 0, Order::Row, 300, seed);
        let (format, reorder) = FORMATS[which];
        let (_, mut buffer) = compress(&matrix.layout, &matrix.values, &options(Some(format), reorder));
        let mut state = seed;
        for byte in &mut buffer[Header::BYTES..] {
            if splitmix(&mut state) % 8 == 0 {
                *byte = splitmix(&mut state) as u8;
            }
        }
        survive(&buffer);
    }
}

/// Nothing may panic; what `validate` accepts must decode to a matrix that encodes again.
fn survive(buffer: &[u8]) {
    let verdict = validate(buffer);
    let Ok(header) = parse_header(buffer) else {
        assert!(verdict.is_err());
        return;
    };
    if header.rows * header.cols > 1 << 24 {
        return;
    }
    let layout = DenseLayout::new(
        header.rows as usize,
        header.cols as usize,
        header.rows as usize,
        Order::Col,
    )
    .unwrap();
    let mut out = vec![0; layout.extent()];
    let decoded = decode(buffer, &layout, &mut out);
    if verdict.is_ok() {
        decoded.unwrap();
        let nnz = out.iter().filter(|&&v| v & 0x7fff != 0).count();
        assert_eq!(nnz as u64, header.nnz);
    }
}

#[test]
fn every_single_byte_of_a_small_buffer_can_be_damaged() {
    let matrix = dense(33, 70, 0, Order::Row, 300, 5);
    for (format, reorder) in FORMATS {
        let (_, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(format), reorder));
        for at in 0..buffer.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = buffer.clone();
                damaged[at] ^= flip;
                survive(&damaged);
            }
        }
    }
}

#[test]
fn all_zero_and_all_dense_have_the_sizes_of_the_specification() {
    for (keep, bitmap_units, csl_units) in [(0, 2 * 8, 0), (1000, 2 * (8 + 128), 2 * 64 * 64 / 4)] {
        let matrix = dense(64, 128, 0, Order::Row, keep, 9);
        let (_, bitmap) =
            compress(&matrix.layout, &matrix.values, &options(Some(Format::Bitmap), false));
        let half = if keep == 1000 { 2 * (8 + 64) } else { bitmap_units };
        // A block is 256 wide: only half of its columns exist here.
        assert_eq!(bitmap.len(), 512 + half * 128);
        let (_, csl) =
            compress(&matrix.layout, &matrix.values, &options(Some(Format::TiledCsl), true));
        assert_eq!(csl.len(), 512 + csl_units * 16);
    }
    for (keep, units) in [(0, 10), (1000, 10 + 130 + 64)] {
        let matrix = dense(64, 256, 0, Order::Row, keep, 9);
        let (_, slots) =
            compress(&matrix.layout, &matrix.values, &options(Some(Format::Slots), false));
        assert_eq!(slots.len(), 512 + 2 * units * 128);
    }
    for (keep, units) in [(0, 1), (1000, 1409)] {
        let matrix = dense(64, 2048, 0, Order::Row, keep, 9);
        let (_, sell) =
            compress(&matrix.layout, &matrix.values, &options(Some(Format::Sell), false));
        assert_eq!(sell.len(), 512 + 2 * units * 128);
    }
    for (keep, units) in [(0, 1), (1000, 1 + 3 * 128)] {
        let matrix = dense(256, 128, 0, Order::Row, keep, 9);
        let (_, banked) =
            compress(&matrix.layout, &matrix.values, &options(Some(Format::Banked), false));
        assert_eq!(banked.len(), 512 + 2 * units * 128);
    }
}

#[test]
fn automatic_choice_follows_sparsity_and_preference() {
    let choose = |keep, preference| {
        let matrix = dense(512, 512, 0, Order::Row, keep, 3);
        let options = EncodeOptions { format: None, reorder: true, preference };
        let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &options);
        assert_eq!(validate(&buffer).unwrap(), analysis.header);
        analysis.header.format
    };
    let (speed, footprint, columns, few) =
        (Preference::Speed, Preference::Footprint, Preference::Columns, Preference::FewColumns);
    assert_eq!(choose(550, speed), Format::Bitmap);
    assert_eq!(choose(500, speed), Format::Slots);
    assert_eq!(choose(500, footprint), Format::Bitmap);
    assert_eq!(choose(500, columns), Format::Bitmap);
    assert_eq!(choose(450, columns), Format::Bitmap);
    assert_eq!(choose(400, speed), Format::Slots);
    assert_eq!(choose(400, columns), Format::Banked);
    assert_eq!(choose(300, speed), Format::Slots);
    assert_eq!(choose(200, footprint), Format::Bitmap);
    assert_eq!(choose(10, speed), Format::Slots);
    assert_eq!(choose(10, footprint), Format::TiledCsl);
    assert_eq!(choose(10, columns), Format::Banked);
    assert_eq!(choose(550, few), Format::Bitmap);
    assert_eq!(choose(500, few), Format::Slots);
    assert_eq!(choose(320, few), Format::Slots);
    assert_eq!(choose(90, few), Format::Slots);
    assert_eq!(choose(70, few), Format::Sell);
    assert_eq!(choose(10, few), Format::Sell);
}

#[test]
fn misuse_is_refused() {
    let matrix = dense(40, 50, 0, Order::Row, 500, 1);
    let wanted = options(Some(Format::Bitmap), false);
    let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &wanted);
    let kind = |result: flash_llm::error::Result<()>| result.unwrap_err().kind();

    let empty = DenseLayout::new(0, 50, 50, Order::Row).unwrap();
    assert_eq!(kind(analyse(&empty, &[], &wanted).map(drop)), Kind::InvalidValue);
    assert_eq!(
        kind(analyse(&matrix.layout, &matrix.values[1..], &wanted).map(drop)),
        Kind::InvalidValue
    );
    let mut small = vec![0; buffer.len() - 1];
    assert_eq!(
        kind(encode(&analysis, &matrix.layout, &matrix.values, &mut small)),
        Kind::WorkspaceTooSmall
    );
    let other = DenseLayout::new(50, 40, 40, Order::Row).unwrap();
    let mut out = vec![0; buffer.len()];
    assert_eq!(kind(encode(&analysis, &other, &matrix.values, &mut out)), Kind::InvalidValue);
    let mut values = vec![0; 2000];
    assert_eq!(kind(decode(&buffer, &other, &mut values)), Kind::InvalidValue);
    assert_eq!(kind(decode(&buffer, &matrix.layout, &mut values[1..])), Kind::InvalidValue);

    // Values that changed between the two passes.
    for (format, reorder) in FORMATS {
        let (analysis, mut buffer) =
            compress(&matrix.layout, &matrix.values, &options(Some(format), reorder));
        assert_eq!(
            kind(encode(&analysis, &matrix.layout, &[0x3c00; 2000], &mut buffer)),
            Kind::InvalidValue
        );
        assert_eq!(
            kind(encode(&analysis, &matrix.layout, &[0; 2000], &mut buffer)),
            Kind::InvalidValue
        );
        let mut torn = analysis.clone();
        torn.table[1] = u32::MAX;
        assert_eq!(
            kind(encode(&torn, &matrix.layout, &matrix.values, &mut buffer)),
            Kind::InvalidValue
        );
        let mut torn = analysis.clone();
        torn.table.clear();
        assert_eq!(
            kind(encode(&torn, &matrix.layout, &matrix.values, &mut buffer)),
            Kind::InvalidValue
        );
    }
}
