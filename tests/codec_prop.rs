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
    seed: u64,
) -> Dense {
    dense_by_row(rows, cols, pad, order, |_| keep_permille, seed)
}

/// The same, of row r `keep_permille(r)`.
fn dense_by_row(
    rows: usize,
    cols: usize,
    pad: usize,
    order: Order,
    mut keep_permille: impl FnMut(usize) -> u64,
    mut seed: u64,
) -> Dense {
    let minimum = if order == Order::Row { cols } else { rows };
    let layout = DenseLayout::new(rows, cols, minimum + pad, order).unwrap();
    let mut values = vec![CANARY; layout.extent()];
    for r in 0..rows {
        let keep = keep_permille(r);
        for c in 0..cols {
            values[layout.index(r, c)] = element(&mut seed, keep);
        }
    }
    Dense { layout, values }
}

/// Of 32 rows about `full` keep 60 to 100 %, half of them everything, the others 10 to 30 %; or for half of the seeds 30 to 100 %, the
/// others up to 12 %.
fn uneven(rows: usize, cols: usize, pad: usize, order: Order, full: u64, seed: u64) -> Dense {
    let mut state = !seed;
    let (spread, least, most) = if seed % 2 == 0 { (401, 100, 300) } else { (701, 0, 120) };
    let keep = |_| match splitmix(&mut state) % 32 < full {
        true => 1000 - splitmix(&mut state) % 2 * (splitmix(&mut state) % spread),
        false => least + splitmix(&mut state) % (most - least + 1),
    };
    dense_by_row(rows, cols, pad, order, keep, seed)
}

prop_compose! {
    fn any_dense()(
        rows in prop_oneof![1usize..70, 100usize..280],
        cols in prop_oneof![1usize..70, 230usize..600, Just(1030usize), Just(2060usize)],
        pad in prop_oneof![Just(0usize), 1usize..9],
        row_major in any::<bool>(),
        keep in prop_oneof![Just(0u64), Just(1000), Just(500), Just(50), 0u64..1000],
        full in any_full(),
        seed in any::<u64>(),
    ) -> Dense {
        let order = if row_major { Order::Row } else { Order::Col };
        match full {
            0 => dense(rows, cols, pad, order, keep, seed),
            _ => uneven(rows, cols, pad, order, full, seed),
        }
    }
}

/// Of 32 rows those that are much fuller than the others: none, a few, and more than a tile of Slots may have whole.
fn any_full() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0u64), 1u64..8, 8u64..25]
}

prop_compose! {
    /// Matrices of blocks with dense rows of Slots.
    fn any_uneven()(
        rows in prop_oneof![1usize..70, 100usize..280],
        cols in prop_oneof![140usize..600, Just(1030usize)],
        row_major in any::<bool>(),
        full in 1u64..25,
        seed in any::<u64>(),
    ) -> Dense {
        uneven(rows, cols, 0, if row_major { Order::Row } else { Order::Col }, full, seed)
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

/// Bitmap v2, written down element by element from docs/format-bitmap.md.
fn naive_bitmap(matrix: &Dense) -> Vec<u8> {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let mut table = vec![0u32];
    let mut data = Vec::new();
    for r0 in (0..rows).step_by(64) {
        for c0 in (0..cols).step_by(256) {
            let element = |r: usize, k: usize| {
                if r0 + r >= rows || c0 + k >= cols {
                    return 0;
                }
                kept(matrix.values[matrix.layout.index(r0 + r, c0 + k)])
            };
            let (mut masks, mut starts) = ([0u32; 512], [0u16; 256]);
            // Values of each plane and bank.
            let mut planes = vec![vec![Vec::new(); 32]; 2];
            for w in 0..4 {
                for (h, banks) in planes.iter_mut().enumerate() {
                    let mut values = vec![Vec::new(); 32];
                    for (l, values) in values.iter_mut().enumerate() {
                        for (q, r, e) in (0..64).map(|i| (i / 8, i / 2 % 4, i % 2)) {
                            let row = 16 * w + l / 4 + 8 * (r % 2);
                            let col = 128 * h + 16 * q + 8 * (r / 2) + 2 * (l % 4) + e;
                            let value = element(row, col);
                            if value != 0 {
                                values.push(value);
                                let at = (512 * w + 16 * l + 4 * (2 * h + q / 4)) / 4;
                                masks[at] |= 1 << (8 * r + 2 * (q % 4) + e);
                            }
                        }
                    }
                    let mut fullest: Vec<usize> = (0..32).collect();
                    fullest.sort_by_key(|&bank| std::cmp::Reverse(banks[bank].len()));
                    let mut lanes: Vec<usize> = (0..32).collect();
                    lanes.sort_by_key(|&lane| values[lane].len());
                    for (bank, lane) in fullest.into_iter().zip(lanes) {
                        starts[64 * w + 2 * lane + h] = (banks[bank].len() + 256 * bank) as u16;
                        banks[bank].append(&mut values[lane]);
                    }
                }
            }
            data.extend(masks.iter().flat_map(|mask| mask.to_le_bytes()));
            data.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
            for row in 0..planes.iter().flatten().map(Vec::len).max().unwrap() {
                for bank in 0..32 {
                    for plane in &planes {
                        data.extend(plane[bank].get(row).copied().unwrap_or(0).to_le_bytes());
                    }
                }
            }
            table.push((data.len() / 128) as u32);
        }
    }
    let mut out: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    out.resize((256 + out.len()).next_multiple_of(256) - 256, 0);
    out.extend(data);
    out
}

/// The columns that a block of Slots v4 has in its places.
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

/// The dense rows of the tile of Slots v4 that begins at row `r0`, by the rule of docs/format-slots.md: their numbers, ascending.
fn naive_dense_rows(matrix: &Dense, r0: usize) -> Vec<usize> {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let count = |row: usize| {
        let value = |col| matrix.values[matrix.layout.index(row, col)];
        (0..cols).filter(|&col| value(col) & 0x7fff != 0).count()
    };
    let counts: Vec<usize> = (r0..rows.min(r0 + 32)).map(count).collect();
    let all: usize = counts.iter().sum();
    let over = |limit: usize| -> Vec<usize> {
        let fuller = |row: &usize| {
            256 * counts[*row] > limit * cols && 4 * counts.len() * counts[*row] > 5 * all
        };
        (0..counts.len()).filter(fuller).collect()
    };
    let few = over(56);
    let rest = all - few.iter().map(|&row| counts[row]).sum::<usize>();
    if few.len() <= 5 && 8 * rest <= 32 * cols {
        return few;
    }
    // Of equals the lower row comes first, as it did.
    let mut full = over(136);
    full.sort_by(|&a, &b| counts[b].cmp(&counts[a]));
    full.truncate(8);
    full.sort_unstable();
    full
}

/// The section of these dense rows in a block whose places have the columns `order`, byte by byte.
fn naive_dense_section(
    matrix: &Dense,
    r0: usize,
    c0: usize,
    order: &[usize],
    dense: &[usize],
) -> Vec<u8> {
    let mut section = Vec::new();
    for &row in dense {
        section.push(row as u8);
        section.extend([0; 15]);
        for col in order.iter().map(|col| c0 + col) {
            let inside = col < matrix.layout.cols;
            let value = if inside { matrix.values[matrix.layout.index(r0 + row, col)] } else { 0 };
            section.extend(kept(value).to_le_bytes());
        }
    }
    section.resize(section.len().next_multiple_of(128), 0);
    section
}

/// The blocks of a buffer of Slots, with their first rows and columns.
fn blocks_of<'a>(
    analysis: &'a Analysis,
    buffer: &'a [u8],
) -> impl Iterator<Item = (usize, usize, &'a [u8])> {
    let header = &analysis.header;
    let across = (header.cols as usize).div_ceil(256);
    let at = move |index: usize| header.data_offset as usize + analysis.table[index] as usize * 128;
    (0..analysis.table.len() - 1).map(move |index| {
        (index / across * 32, index % across * 256, &buffer[at(index)..at(index + 1)])
    })
}

/// The overflow of one block of Slots v4, whose places have the columns `order`, written down element by element from
/// docs/format-slots.md: the rounds, and the section. The rows `dense` count as empty.
fn naive_overflow(
    matrix: &Dense,
    r0: usize,
    c0: usize,
    order: &[usize],
    dense: &[usize],
) -> (usize, Vec<u8>) {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let mut elements = Vec::new();
    for row in (0..32.min(rows - r0)).filter(|row| !dense.contains(row)) {
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

/// Banked v3, written down element by element from docs/format-banked.md.
fn naive_banked(matrix: &Dense) -> Vec<u8> {
    let DenseLayout { rows, cols, .. } = matrix.layout;
    let mut table = vec![0u32];
    let mut data = Vec::new();
    for r0 in (0..rows).step_by(64) {
        for c0 in (0..cols).step_by(256) {
            let element = |r: usize, k: usize| {
                if r0 + r >= rows || c0 + k >= cols {
                    return 0;
                }
                kept(matrix.values[matrix.layout.index(r0 + r, c0 + k)])
            };
            let (mut masks, mut starts) = (Vec::new(), Vec::new());
            let mut banks: Vec<Vec<u32>> = vec![Vec::new(); 32];
            for w in 0..4 {
                // (bit of the mask, word) of each half and lane, in the order in which they are stored.
                let words = |half: usize, lane: usize| {
                    let (g, t) = (lane / 4, lane % 4);
                    let mut found = Vec::new();
                    for q in 0..8 {
                        for r in 0..4 {
                            let row = 16 * w + g + 8 * (r % 2);
                            let col = 128 * half + 16 * q + 8 * (r / 2) + 2 * t;
                            let (low, high) = (element(row, col), element(row, col + 1));
                            if low != 0 || high != 0 {
                                found.push((q + 8 * r, u32::from(low) | u32::from(high) << 16));
                            }
                        }
                    }
                    found
                };
                let halves: Vec<[Vec<(usize, u32)>; 2]> =
                    (0..32).map(|lane| [words(0, lane), words(1, lane)]).collect();
                let mut start: Vec<[usize; 2]> = banks.iter().map(|bank| [bank.len(), 0]).collect();
                for (bank, [first, _]) in banks.iter_mut().zip(&halves) {
                    bank.extend(first.iter().map(|f| f.1));
                }
                let mut fullest: Vec<usize> = (0..32).collect();
                fullest.sort_by_key(|&bank| std::cmp::Reverse(banks[bank].len()));
                let mut lanes: Vec<usize> = (0..32).collect();
                lanes.sort_by_key(|&lane| halves[lane][1].len());
                for (&bank, &lane) in fullest.iter().zip(&lanes) {
                    start[lane][1] = bank;
                    banks[bank].extend(halves[lane][1].iter().map(|f| f.1));
                }
                for (halves, start) in halves.iter().zip(start) {
                    for half in halves {
                        masks.push(half.iter().fold(0u32, |mask, &(bit, _)| mask | 1 << bit));
                    }
                    starts.push((start[0] + 256 * start[1]) as u16);
                }
            }
            data.extend(masks.iter().flat_map(|mask| mask.to_le_bytes()));
            data.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
            for row in 0..banks.iter().map(Vec::len).max().unwrap() {
                for bank in &banks {
                    data.extend(bank.get(row).copied().unwrap_or(0).to_le_bytes());
                }
            }
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
        rows in 1usize..200, cols in 1usize..600, keep in 0u64..1000, full in any_full(), seed in any::<u64>(),
        threads in 1usize..5
    ) {
        let by_row = match full {
            0 => dense(rows, cols, 0, Order::Row, keep, seed),
            _ => uneven(rows, cols, 0, Order::Row, full, seed),
        };
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
        let (_, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(Format::Bitmap), false));
        prop_assert!(buffer[Header::BYTES..] == naive_bitmap(&matrix));
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
    fn dense_rows_and_overflow_of_slots_are_those_of_the_specification(
        matrix in prop_oneof![any_dense(), any_uneven()]
    ) {
        let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &options(Some(Format::Slots), false));
        for (r0, c0, block) in blocks_of(&analysis, &buffer) {
            let order = naive_arrangement(block);
            let dense = naive_dense_rows(&matrix, r0);
            let (rounds, overflow) = naive_overflow(&matrix, r0, c0, &order, &dense);
            let whole = naive_dense_section(&matrix, r0, c0, &order, &dense);
            prop_assert_eq!(usize::from(block[1024 + 3]), rounds);
            prop_assert_eq!(usize::from(block[1024 + 15]), dense.len());
            let (values, overflow_at) = (1280 + 128 * usize::from(block[1024 + 7]), block.len() - overflow.len());
            prop_assert_eq!(&block[values..overflow_at], whole, "dense rows of the block at ({}, {})", r0, c0);
            prop_assert_eq!(&block[overflow_at..], overflow, "overflow of the block at ({}, {})", r0, c0);
            // The groups of dense rows say "none": rows r and r + 8 of a lane, four groups each.
            for (step, row, group) in (0..8).flat_map(|i| dense.iter().flat_map(move |&r| (0..8).map(move |q| (i, r, q)))) {
                let lane = 4 * (row % 8) + 2 * (row / 16) + group / 4;
                let at = 256 * (step / 2) + 8 * lane + 4 * (step % 2) + 2 * (row / 8 % 2) + group % 4 / 2;
                prop_assert_eq!(block[at] >> (4 * (group % 2)) & 15, 2);
            }
        }
        prop_assert_eq!(&buffer[20..24], [0; 4]);
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
        rows in 1usize..200, cols in 1usize..600, full in 0u64..9, which in 0..FORMATS.len(), seed in any::<u64>()
    ) {
        let matrix = uneven(rows, cols, 0, Order::Row, full, seed);
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

/// Numbers of the dense rows of every block.
fn stored_dense_rows(analysis: &Analysis, buffer: &[u8]) -> Vec<Vec<u8>> {
    blocks_of(analysis, buffer)
        .map(|(_, _, block)| {
            let begin = 1280 + 128 * usize::from(block[1024 + 7]);
            (0..usize::from(block[1024 + 15])).map(|i| block[begin + 528 * i]).collect()
        })
        .collect()
}

/// The dense rows that all blocks of `rows` x 512 have, of which row r has `counts(r)` elements.
#[track_caller]
fn dense_rows(rows: usize, counts: impl Fn(usize) -> usize) -> Vec<u8> {
    let layout = DenseLayout::new(rows, 512, 512, Order::Row).unwrap();
    let values: Vec<u16> = (0..rows * 512)
        .map(|at| 0x3c00 * u16::from(at % 512 * 77 % 512 < counts(at / 512)))
        .collect();
    let (analysis, buffer) = compress(&layout, &values, &options(Some(Format::Slots), false));
    validate(&buffer).unwrap();
    let stored = stored_dense_rows(&analysis, &buffer);
    assert!(stored.windows(2).all(|pair| pair[0] == pair[1]), "{stored:?}");
    stored[0].clone()
}

#[test]
fn rows_much_fuller_than_the_others_of_their_tile_are_stored_whole() {
    let none: [u8; 0] = [];
    // 136 of 256 are 272 of 512. The other rows have more than an eighth, so that no groups of one element are looked for.
    assert_eq!(dense_rows(32, |row| if row == 7 { 273 } else { 70 }), [7]);
    assert_eq!(dense_rows(32, |row| if row == 7 { 272 } else { 70 }), none);
    // A quarter more than the mean: 128 * 400 > 5 * (400 + 31 * 317), but not with 318.
    assert_eq!(dense_rows(32, |row| if row == 31 { 400 } else { 317 }), [31]);
    assert_eq!(dense_rows(32, |row| if row == 31 { 400 } else { 318 }), none);
    for all in [0, 300, 512] {
        assert_eq!(dense_rows(32, |_| all), none);
    }
    // Of too many the fullest, of equals the lower.
    let first: Vec<u8> = (0..8).collect();
    assert_eq!(dense_rows(32, |row| if row < 20 { 400 } else { 0 }), first);
    let last: Vec<u8> = (12..20).collect();
    assert_eq!(dense_rows(32, |row| if row < 20 { 300 + row } else { 0 }), last);
    let mixed: Vec<u8> = (0..6).chain([18, 19]).collect();
    assert_eq!(dense_rows(32, |row| if row < 20 { 360 + row / 18 } else { 0 }), mixed);
    // The mean is that of the rows that there are.
    assert_eq!(dense_rows(2, |row| if row == 1 { 512 } else { 300 }), [1]);
    assert_eq!(dense_rows(2, |row| if row == 1 { 512 } else { 308 }), none);
    assert_eq!(dense_rows(1, |_| 512), none);
}

#[test]
fn few_fuller_rows_of_a_sparse_tile_are_stored_whole() {
    let none: [u8; 0] = [];
    // 56 of 256 are 112 of 512, and 27 rows of an eighth of the tile have 2048 elements: 75 each, and 23 more.
    let rest = |row: usize| 75 + usize::from(row == 4) * 23;
    let five = |count: usize, rest: &dyn Fn(usize) -> usize, row: usize| {
        if row % 7 == 3 { count } else { rest(row) }
    };
    assert_eq!(dense_rows(32, |row| five(113, &rest, row)), [3, 10, 17, 24, 31]);
    assert_eq!(dense_rows(32, |row| five(112, &rest, row)), none);
    // One element too many in the others, unless the five are over the other limit, too.
    let more = |row: usize| rest(row) + usize::from(row == 5);
    assert_eq!(dense_rows(32, |row| five(113, &more, row)), none);
    assert_eq!(dense_rows(32, |row| five(273, &more, row)), [3, 10, 17, 24, 31]);
    // A sixth row.
    assert_eq!(dense_rows(32, |row| if row < 5 { 200 } else { 40 }), [0, 1, 2, 3, 4]);
    assert_eq!(dense_rows(32, |row| if row < 6 { 200 } else { 40 }), none);
    // A quarter more than the mean.
    assert_eq!(dense_rows(3, |row| [120, 180, 100][row]), [1]);
    assert_eq!(dense_rows(3, |row| [120, 157, 100][row]), none);
}

#[test]
fn a_full_block_of_a_tile_with_a_dense_row_is_valid() {
    // One row is full, and all others are in the first of ten blocks: the largest block that there is.
    let layout = DenseLayout::new(32, 2560, 2560, Order::Row).unwrap();
    for full in 1..=8 {
        let values: Vec<u16> = (0..32 * 2560)
            .map(|at| 0x3c00 * u16::from(at / 2560 < full || at % 2560 < 256))
            .collect();
        let (analysis, buffer) = compress(&layout, &values, &options(Some(Format::Slots), false));
        assert_eq!(stored_dense_rows(&analysis, &buffer)[0].len(), full);
        assert_eq!(validate(&buffer).unwrap(), analysis.header, "{full} rows");
        let mut out = vec![1; values.len()];
        decode(&buffer, &layout, &mut out).unwrap();
        assert_eq!(out, values);
    }
}

#[test]
fn every_single_byte_of_a_small_buffer_can_be_damaged() {
    let small = dense(33, 70, 0, Order::Row, 300, 5);
    let full = |row| if row == 2 { 900 } else { 200 };
    let with_dense_rows = dense_by_row(5, 150, 0, Order::Row, full, 5);
    let cases = FORMATS.map(|format| (&small, format));
    for (matrix, (format, reorder)) in
        cases.into_iter().chain([(&with_dense_rows, (Format::Slots, false))])
    {
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
    for (keep, csl_units) in [(0, 0), (1000, 2 * 64 * 64 / 4)] {
        let matrix = dense(64, 128, 0, Order::Row, keep, 9);
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
    for (keep, units) in [(0, 20), (1000, 20 + 4 * 64)] {
        // A block is 64 x 256; the second has half of its columns, of which one plane is as long as if it had all.
        let matrix = dense(64, 384, 0, Order::Row, keep, 9);
        let (_, bitmap) =
            compress(&matrix.layout, &matrix.values, &options(Some(Format::Bitmap), false));
        assert_eq!(bitmap.len(), 512 + 2 * units * 128);
    }
    for (keep, units) in [(0, 10), (1000, 10 + 4 * 64)] {
        let matrix = dense(128, 256, 0, Order::Row, keep, 9);
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
    let (speed, size, columns, few) =
        (Preference::Speed, Preference::Size, Preference::Columns, Preference::FewColumns);
    assert_eq!(choose(400, speed), Format::Bitmap);
    assert_eq!(choose(360, speed), Format::Slots);
    assert_eq!(choose(500, size), Format::Bitmap);
    assert_eq!(choose(390, columns), Format::Bitmap);
    assert_eq!(choose(350, columns), Format::Banked);
    assert_eq!(choose(300, speed), Format::Slots);
    // A Slots block of so few elements still has two slots a group.
    assert_eq!(choose(200, speed), Format::Slots);
    assert_eq!(choose(190, speed), Format::Banked);
    assert_eq!(choose(120, speed), Format::Banked);
    assert_eq!(choose(110, speed), Format::Slots);
    assert_eq!(choose(180, few), Format::Slots);
    assert_eq!(choose(170, few), Format::Banked);
    assert_eq!(choose(130, few), Format::Banked);
    assert_eq!(choose(120, few), Format::Slots);
    assert_eq!(choose(200, size), Format::Bitmap);
    assert_eq!(choose(10, speed), Format::Slots);
    assert_eq!(choose(10, size), Format::TiledCsl);
    assert_eq!(choose(10, columns), Format::Banked);
    assert_eq!(choose(400, few), Format::Bitmap);
    assert_eq!(choose(360, few), Format::Slots);
    assert_eq!(choose(90, few), Format::Slots);
    assert_eq!(choose(70, few), Format::Sell);
    assert_eq!(choose(10, few), Format::Sell);
}

#[test]
fn automatic_choice_of_some_thousand_rows_is_banked() {
    let choose = |rows, keep, preference| {
        let matrix = dense(rows, 64, 0, Order::Row, keep, 3);
        let options = EncodeOptions { format: None, reorder: true, preference };
        analyse(&matrix.layout, &matrix.values, &options).unwrap().header.format
    };
    for preference in [Preference::Speed, Preference::FewColumns] {
        assert_eq!(choose(2560, 200, preference), Format::Slots);
        assert_eq!(choose(2561, 200, preference), Format::Banked);
        assert_eq!(choose(4096, 240, preference), Format::Banked);
        assert_eq!(choose(4096, 260, preference), Format::Slots);
        assert_eq!(choose(4097, 200, preference), Format::Slots);
    }
    assert_eq!(choose(4096, 50, Preference::Speed), Format::Banked);
    assert_eq!(choose(4096, 50, Preference::FewColumns), Format::Sell);
}

#[test]
fn automatic_choice_for_few_columns_of_groups_of_four_is_slots() {
    let choose = |rows, kept: usize, preference| {
        // Any two of each four, or any three: the one or two that follow a random one are dropped.
        let mut matrix = dense(rows, 512, 0, Order::Row, 1000, 3);
        let mut state = 1u64;
        for group in matrix.values.chunks_mut(4) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (first, step) = ((state >> 33) as usize, 1 + (state >> 40) as usize % 3);
            for dropped in [first, first + step].into_iter().take(4 - kept) {
                group[dropped % 4] = 0;
            }
        }
        let options = EncodeOptions { format: None, reorder: true, preference };
        let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &options);
        assert_eq!(validate(&buffer).unwrap(), analysis.header);
        analysis.header.format
    };
    for preference in [Preference::Speed, Preference::FewColumns] {
        assert_eq!(choose(512, 2, preference), Format::Slots);
        assert_eq!(choose(512, 3, preference), Format::Bitmap);
        assert_eq!(choose(2561, 2, preference), Format::Bitmap, "too few warps");
    }
    assert_eq!(choose(512, 2, Preference::Columns), Format::Bitmap);
    assert_eq!(choose(512, 2, Preference::Size), Format::Bitmap);
}

#[test]
fn automatic_choice_leaves_uneven_rows_to_banked() {
    let choose = |full_tiles: usize, preference| {
        let keep = |row| if row / 32 < full_tiles { 450 } else { 100 };
        let matrix = dense_by_row(1024, 512, 0, Order::Row, keep, 3);
        let options = EncodeOptions { format: None, reorder: true, preference };
        let (analysis, buffer) = compress(&matrix.layout, &matrix.values, &options);
        assert_eq!(validate(&buffer).unwrap(), analysis.header);
        analysis.header.format
    };
    for preference in [Preference::Speed, Preference::FewColumns] {
        assert_eq!(choose(0, preference), Format::Slots);
        assert_eq!(choose(3, preference), Format::Banked);
        // All rows alike again.
        assert_eq!(choose(32, preference), Format::Bitmap);
    }
    assert_eq!(choose(3, Preference::Size), Format::Bitmap);
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

#[test]
fn one_element_less_or_more_than_was_analysed_is_refused() {
    let matrix = dense(130, 300, 0, Order::Row, 150, 1);
    for (format, reorder) in FORMATS {
        let wanted = options(Some(format), reorder);
        let (analysis, mut buffer) = compress(&matrix.layout, &matrix.values, &wanted);
        let good = buffer.clone();
        // Most of these leave every block as large as it was.
        for at in (0..130 * 300).step_by(997) {
            let mut values = matrix.values.clone();
            values[at] = if values[at] & 0x7fff == 0 { 0x3c00 } else { 0x8000 };
            let error = encode(&analysis, &matrix.layout, &values, &mut buffer).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidValue, "{format:?}, element {at}");
            assert_eq!(error.message(), "the dense values are not those that were analysed");
        }
        encode(&analysis, &matrix.layout, &matrix.values, &mut buffer).unwrap();
        assert!(buffer == good, "{format:?}");
    }
}
