//! Bytes of fixed inputs never change within a format version, and the worked examples of the format
//! pages are what the encoder writes. `FLASHLLM_BLESS=1` rewrites the .hex files (never the pages).

use std::fmt::Write;
use std::path::PathBuf;

use flash_llm::format::{EncodeOptions, analyse, decode, encode, validate};
use flash_llm::types::{DenseLayout, Format, Order, Preference};

struct Case {
    name: &'static str,
    format: Format,
    reorder: bool,
    rows: usize,
    cols: usize,
    /// Of the rows, in turn.
    keep_permille: &'static [u32],
}

const CASES: [Case; 16] = [
    Case {
        name: "bitmap_ragged",
        format: Format::Bitmap,
        reorder: false,
        rows: 37,
        cols: 70,
        keep_permille: &[300],
    },
    Case {
        name: "bitmap_wide",
        format: Format::Bitmap,
        reorder: false,
        rows: 9,
        cols: 1100,
        keep_permille: &[20],
    },
    Case {
        name: "bitmap_empty",
        format: Format::Bitmap,
        reorder: false,
        rows: 1,
        cols: 1,
        keep_permille: &[0],
    },
    Case {
        name: "tiled_csl_plain",
        format: Format::TiledCsl,
        reorder: false,
        rows: 20,
        cols: 70,
        keep_permille: &[150],
    },
    Case {
        name: "tiled_csl_reordered",
        format: Format::TiledCsl,
        reorder: true,
        rows: 130,
        cols: 66,
        keep_permille: &[60],
    },
    Case {
        name: "tiled_csl_dense",
        format: Format::TiledCsl,
        reorder: true,
        rows: 5,
        cols: 9,
        keep_permille: &[1000],
    },
    Case {
        name: "slots_ragged",
        format: Format::Slots,
        reorder: false,
        rows: 37,
        cols: 70,
        keep_permille: &[300],
    },
    Case {
        name: "slots_wide",
        format: Format::Slots,
        reorder: false,
        rows: 33,
        cols: 600,
        keep_permille: &[100],
    },
    Case {
        name: "slots_dense",
        format: Format::Slots,
        reorder: false,
        rows: 3,
        cols: 35,
        keep_permille: &[1000],
    },
    Case {
        name: "slots_dense_rows",
        format: Format::Slots,
        reorder: false,
        rows: 37,
        cols: 300,
        keep_permille: &[150, 150, 900, 150, 150],
    },
    Case {
        name: "banked_ragged",
        format: Format::Banked,
        reorder: false,
        rows: 137,
        cols: 70,
        keep_permille: &[200],
    },
    Case {
        name: "banked_wide",
        format: Format::Banked,
        reorder: false,
        rows: 9,
        cols: 300,
        keep_permille: &[100],
    },
    Case {
        name: "banked_dense",
        format: Format::Banked,
        reorder: false,
        rows: 9,
        cols: 35,
        keep_permille: &[1000],
    },
    Case {
        name: "sell_ragged",
        format: Format::Sell,
        reorder: false,
        rows: 37,
        cols: 70,
        keep_permille: &[300],
    },
    Case {
        name: "sell_wide",
        format: Format::Sell,
        reorder: false,
        rows: 9,
        cols: 2100,
        keep_permille: &[20],
    },
    Case {
        name: "sell_dense",
        format: Format::Sell,
        reorder: false,
        rows: 3,
        cols: 150,
        keep_permille: &[1000],
    },
];

/// The inputs: a 32-bit linear congruential generator (Numerical Recipes) from seed 1, two draws an
/// element in row-major order. The top ten bits of the first decide whether it is kept, the top sixteen
/// of the second are its bits; what would be a zero becomes 1.0.
fn input(case: &Case) -> Vec<u16> {
    let mut state = 1u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state
    };
    (0..case.rows * case.cols)
        .map(|at| {
            let (keep, bits) = (draw() >> 22, (draw() >> 16) as u16);
            let permille = case.keep_permille[at / case.cols % case.keep_permille.len()];
            match (keep * 1000 / 1024 < permille, bits & 0x7fff) {
                (false, _) => 0,
                (true, 0) => 0x3c00,
                (true, _) => bits,
            }
        })
        .collect()
}

fn compress(rows: usize, cols: usize, values: &[u16], format: Format, reorder: bool) -> Vec<u8> {
    let layout = DenseLayout::new(rows, cols, cols, Order::Row).unwrap();
    let options = EncodeOptions { format: Some(format), reorder, preference: Preference::Size };
    let analysis = analyse(&layout, values, &options).unwrap();
    let mut out = vec![0xff; analysis.bytes()];
    encode(&analysis, &layout, values, &mut out).unwrap();
    validate(&out).unwrap();
    out
}

/// Sixteen bytes a line behind their offset; lines of zeros are left out, lines that repeat the one before
/// are one `*`, as hexdump has it, and the last line tells the length.
fn to_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut previous: &[u8] = &[];
    for (index, line) in bytes.chunks(16).enumerate() {
        let repeats = line == previous;
        previous = line;
        // After a `*` a line of zeros has to be there, or it would be taken for one that repeats.
        if line.iter().any(|&b| b != 0) || text.ends_with("*\n") {
            if repeats && line.iter().any(|&b| b != 0) {
                if !text.ends_with("*\n") {
                    text += "*\n";
                }
                continue;
            }
            write!(text, "{:04x}:", index * 16).unwrap();
            for byte in line {
                write!(text, " {byte:02x}").unwrap();
            }
            text.push('\n');
        }
    }
    writeln!(text, "{:04x}: end", bytes.len()).unwrap();
    text
}

fn from_text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut repeats = false;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line == "*" {
            repeats = true;
            continue;
        }
        let (offset, rest) =
            line.split_once(':').unwrap_or_else(|| panic!("no offset in {line:?}"));
        let offset = usize::from_str_radix(offset, 16).unwrap();
        assert!(offset >= bytes.len(), "{line:?} goes back");
        if std::mem::take(&mut repeats) {
            let last: Vec<u8> = bytes.last_chunk::<16>().expect("a line to repeat").to_vec();
            while bytes.len() < offset {
                bytes.extend(&last);
            }
        }
        bytes.resize(offset, 0);
        if rest.trim() != "end" {
            bytes.extend(rest.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
    }
    bytes
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn encoded_bytes_are_those_committed() {
    for case in &CASES {
        let bytes = compress(case.rows, case.cols, &input(case), case.format, case.reorder);
        let path = root().join("tests/format_golden").join(case.name).with_extension("hex");
        let text = to_text(&bytes);
        assert_eq!(from_text(&text), bytes);
        if std::env::var_os("FLASHLLM_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = from_text(&golden);
        let first = bytes.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(
            (first, bytes.len()),
            (None, expected.len()),
            "{}: first different byte, length",
            case.name
        );
        // And what was committed still decodes to the input.
        let layout = DenseLayout::new(case.rows, case.cols, case.cols, Order::Row).unwrap();
        let mut out = vec![0; case.rows * case.cols];
        validate(&expected).unwrap();
        decode(&expected, &layout, &mut out).unwrap();
        assert_eq!(out, input(case), "{}", case.name);
    }
}

/// The block fenced as ```hex of a page.
fn example(page: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(root().join("docs").join(page)).unwrap();
    let (_, rest) = text.split_once("```hex\n").expect("a hex block");
    let (hex, rest) = rest.split_once("```").expect("its end");
    assert!(!rest.contains("```hex"), "one worked example a page");
    from_text(hex)
}

/// 10 x 40: the matrix of the worked examples.
fn example_matrix() -> Vec<u16> {
    let mut values = vec![0; 10 * 40];
    for (r, c, bits) in
        [(0, 0, 0x3c00), (0, 2, 0x8000), (0, 9, 0x3800), (1, 33, 0x4200), (9, 1, 0xc000)]
    {
        values[r * 40 + c] = bits;
    }
    values
}

#[test]
fn the_worked_example_of_the_bitmap_page_is_what_is_written() {
    let bytes = compress(10, 40, &example_matrix(), Format::Bitmap, false);
    assert!(example("format-bitmap.md") == bytes, "the page should show\n{}", to_text(&bytes));
}

#[test]
fn the_worked_example_of_the_tiled_csl_page_is_what_is_written() {
    let mut values = example_matrix();
    values[40 + 34] = 0x3c00;
    let bytes = compress(10, 40, &values, Format::TiledCsl, true);
    assert!(example("format-tiled-csl.md") == bytes, "the page should show\n{}", to_text(&bytes));
}

#[test]
fn the_worked_example_of_the_slots_page_is_what_is_written() {
    let bytes = compress(10, 40, &example_matrix(), Format::Slots, false);
    assert!(example("format-slots.md") == bytes, "the page should show\n{}", to_text(&bytes));
}

#[test]
fn the_worked_example_of_the_banked_page_is_what_is_written() {
    let bytes = compress(10, 40, &example_matrix(), Format::Banked, false);
    assert!(example("format-banked.md") == bytes, "the page should show\n{}", to_text(&bytes));
}

#[test]
fn the_worked_example_of_the_sell_page_is_what_is_written() {
    let mut values = example_matrix();
    // A column whose two lanes both have an element before it.
    values[10] = 0x3c00;
    let bytes = compress(10, 40, &values, Format::Sell, false);
    assert!(example("format-sell.md") == bytes, "the page should show\n{}", to_text(&bytes));
}
