//! Hostile bytes: whatever a stored matrix, a .safetensors file or an adopted buffer holds, it is refused with
//! a sentence or it is what it says; nothing outside of it is read, and no buffer is written to on the way.
// Buffers and handles are live for the whole of each test.
#![allow(clippy::undocumented_unsafe_blocks)]

use flash_llm::capi::context::*;
use flash_llm::capi::matrix::*;
use flash_llm::capi::safetensors::*;
use flash_llm::capi::status::flashllmStatus_t::{self, *};
use flash_llm::capi::store::*;
use flash_llm::capi::types::*;
use flash_llm::error::Kind;
use flash_llm::format::{EncodeOptions, Header, Verify, analyse, encode};
use flash_llm::store::matrix;
use flash_llm::store::safetensors::Reader;
use flash_llm::types::{DenseLayout, Format, Order, Preference};
use proptest::prelude::*;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::ptr;
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64;

const ROWS: usize = 70;
const COLS: usize = 300;

fn compress(format: Format) -> (Header, Vec<u8>) {
    let layout = DenseLayout::new(ROWS, COLS, COLS, Order::Row).unwrap();
    let values: Vec<u16> =
        (0..ROWS * COLS).map(|i| if i % 7 == 0 { 0x3c00 + (i % 100) as u16 } else { 0 }).collect();
    let options =
        EncodeOptions { format: Some(format), reorder: true, preference: Preference::Speed };
    let analysis = analyse(&layout, &values, &options).unwrap();
    let mut out = vec![0; analysis.bytes()];
    encode(&analysis, &layout, &values, &mut out).unwrap();
    (analysis.header, out)
}

static STORED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    Format::ALL
        .map(|format| {
            let (header, buffer) = compress(format);
            let mut out = vec![0; matrix::serialized_bytes(&header).unwrap()];
            matrix::write(&header, &mut |sink| sink(&buffer), &mut out).unwrap();
            out
        })
        .to_vec()
});

/// Makes the header's checksum fit again: an attacker can compute it too.
fn seal(bytes: &mut [u8]) {
    let checksum = xxh3_64(&bytes[..248]);
    bytes[248..256].copy_from_slice(&checksum.to_le_bytes());
}

/// The checksums of both sections, too.
fn seal_all(bytes: &mut [u8]) {
    for section in 0..2 {
        let at = 64 + 32 * section;
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (offset, length) = (long(at + 8), long(at + 16));
        let Some(content) = offset.checked_add(length).and_then(|end| bytes.get(offset..end))
        else {
            continue;
        };
        let checksum = xxh3_64(content);
        bytes[at + 24..at + 32].copy_from_slice(&checksum.to_le_bytes());
    }
    seal(bytes);
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn every_flipped_bit_of_a_stored_matrix_is_found() {
    for good in STORED.iter() {
        matrix::read(good, Verify::Full).unwrap();
        let mut bytes = good.clone();
        // Every bit of the header, and one of each byte behind it.
        for at in 0..bytes.len() {
            for bit in 0..if at < 256 { 8 } else { 1 } {
                let flip = 1 << ((bit + at) % 8);
                bytes[at] ^= flip;
                let error = matrix::read(&bytes, Verify::Full).unwrap_err();
                assert!(
                    matches!(error.kind(), Kind::CorruptData | Kind::VersionMismatch),
                    "byte {at}: {error}"
                );
                bytes[at] ^= flip;
            }
        }
        for length in (0..good.len()).step_by(61).chain([255, 256, 257, good.len() - 1]) {
            assert_eq!(
                matrix::read(&good[..length], Verify::Full).unwrap_err().kind(),
                Kind::CorruptData
            );
        }
    }
}

#[test]
fn lies_with_right_checksums_are_named() {
    for good in STORED.iter() {
        let refused = |at: usize, value: u64, name: &str| {
            let mut bytes = good.clone();
            put64(&mut bytes, at, value);
            seal(&mut bytes);
            let error = matrix::read(&bytes, Verify::Full).unwrap_err();
            assert_eq!(error.kind(), Kind::CorruptData);
            assert!(error.message().contains(name), "byte {at} = {value:#x}: {error}");
        };
        for value in [0, 255, 257, u64::MAX, 1 << 63] {
            refused(72, value, "offset of section 0");
            refused(104, value, "offset of section 1");
            refused(24, value, "total bytes");
        }
        // Section 0 over section 1 and the other way round, and sections of absurd sizes.
        refused(80, 256, "offset of section 1");
        refused(80, u64::MAX, "bytes of section 0");
        refused(112, u64::MAX, "bytes of section 1");
        refused(112, 1 << 62, "total bytes");
        // Refused by what a matrix can be, or by what this one is.
        refused(32, 1 << 40, "section 0");
        refused(40, u64::MAX, "cols");
        refused(32, 69, "its header says");
        refused(48, 0, "its header says");
        refused(16, 2 << 32 | 2, "flags");
        refused(16, 3, "sections");
        refused(56, 9 | 2 << 32, "format");
        refused(64, 2, "kind of section 0");
        refused(128, 1, "reserved byte");
        refused(240, 1 << 56, "reserved byte");
        // A total that the file does not have.
        let mut bytes = good.clone();
        put64(&mut bytes, 112, u64::from_le_bytes(good[112..120].try_into().unwrap()) + 256);
        put64(&mut bytes, 24, good.len() as u64 + 256);
        seal(&mut bytes);
        let error = matrix::read(&bytes, Verify::Full).unwrap_err();
        assert!(error.message().contains("are there"), "{error}");
    }
}

/// The status of a function that tells sizes, rows, columns and non-zeros, and the two sizes that a caller allocates by.
type Told = (flashllmStatus_t, [i64; 3], usize, usize);

/// What `ask` puts into places of numbers that no matrix has.
fn told_by(
    ask: impl FnOnce(
        [*mut i64; 3],
        *mut flashllmDataType_t,
        *mut flashllmFormat_t,
        [*mut usize; 2],
    ) -> flashllmStatus_t,
) -> Told {
    let (mut rows, mut cols, mut nnz, mut buffer, mut total) = (-7, -7, -7, 7, 7);
    let mut dtype = flashllmDataType_t::FLASHLLM_R_32F;
    let mut format = flashllmFormat_t::FLASHLLM_FORMAT_AUTO;
    let status = ask(
        [&raw mut rows, &raw mut cols, &raw mut nnz],
        &raw mut dtype,
        &raw mut format,
        [&raw mut buffer, &raw mut total],
    );
    (status, [rows, cols, nnz], buffer, total)
}

/// Of the 256 bytes of a header, whose checksum fits.
fn told(bytes: &[u8]) -> Told {
    let (from, len) = (bytes.as_ptr().cast(), bytes.len());
    told_by(|[rows, cols, nnz], dtype, format, [buffer, total]| unsafe {
        flashllmSpMatGetSerializedInfo(from, len, rows, cols, nnz, dtype, format, buffer, total)
    })
}

/// The same of a file that consists of these bytes.
fn told_of_file(name: &str, bytes: &[u8]) -> Told {
    let path = scratch(name);
    std::fs::write(&path, bytes).unwrap();
    let text = CString::new(path.to_str().unwrap()).unwrap();
    let told = told_by(|[rows, cols, nnz], dtype, format, [buffer, total]| unsafe {
        flashllmSpMatGetFileInfo(text.as_ptr(), rows, cols, nnz, dtype, format, buffer, total)
    });
    std::fs::remove_file(path).unwrap();
    told
}

fn said() -> String {
    unsafe { CStr::from_ptr(flashllmGetLastErrorMessage()) }.to_str().unwrap().to_owned()
}

/// (name in the sentence, offset in the header, value)
type Lie = (&'static str, usize, u64);

#[test]
fn sizes_that_no_matrix_has_are_not_told() {
    let untouched = (FLASHLLM_STATUS_CORRUPT_DATA, [-7; 3], 7, 7);
    for good in STORED.iter() {
        let (status, [rows, cols, nnz], buffer, total) = told(&good[..256]);
        assert_eq!((status, rows, cols, total), (FLASHLLM_STATUS_SUCCESS, 70, 300, good.len()));
        assert!(nnz == 3000 && buffer > 256 && buffer <= total - 256);
        let dtype = u64::from_le_bytes(good[56..64].try_into().unwrap());
        let typed = |number: u64| dtype & 0xffff_ffff | number << 32;
        let at = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap());
        // Section 1 and the total longer by this much.
        let longer = |by: u64| [("section 1", 112, at(112) + by), ("", 24, at(24) + by)];
        let mut cases: Vec<Vec<Lie>> = vec![
            vec![("rows", 32, 0)],
            vec![("rows", 32, u64::MAX)],
            vec![("rows", 32, 1 << 63)],
            vec![("cols", 40, 0)],
            vec![("cols", 40, u64::MAX)],
            vec![("cols", 40, (1 << 63) + 7)],
            // 2^64 and 2^63 elements.
            vec![("rows", 32, 1 << 32), ("", 40, 1 << 32)],
            vec![("rows", 32, 1 << 32), ("", 40, 1 << 31)],
            vec![("nnz", 48, 70 * 300 + 1)],
            vec![("nnz", 48, u64::MAX - 4)],
            vec![("element type", 56, typed(0))],
            vec![("element type", 56, typed(1))],
            vec![("element type", 56, typed(u64::from(u32::MAX)))],
            // A table of other rows and columns.
            vec![("section 0", 32, 1 << 30)],
            vec![("section 0", 40, 1 << 30)],
            // As large as an address space, and more than these blocks can have.
            longer((1 << 63) - 256 - at(24)).to_vec(),
            longer((1 << 63) - 512 - at(24)).to_vec(),
            longer(1 << 40).to_vec(),
            longer(1 << 24).to_vec(),
        ];
        // Blocks of Tiled-CSL may be empty.
        if good[56] != Format::TiledCsl as u8 {
            cases.push(vec![("section 1", 112, 0), ("", 24, at(104))]);
        }
        for lies in cases {
            let mut bytes = good[..256].to_vec();
            for (_, at, value) in &lies {
                put64(&mut bytes, *at, *value);
            }
            seal(&mut bytes);
            assert_eq!(told(&bytes), untouched, "{lies:?}");
            assert!(said().contains(lies[0].0), "{lies:?}: {}", said());
            assert_eq!(told_of_file("hostile-info", &bytes), untouched, "{lies:?}");
        }
    }
}

#[test]
fn a_file_that_was_cut_short_does_not_tell_sizes() {
    for good in STORED.iter() {
        let whole = told_of_file("hostile-cut", good);
        assert_eq!(whole, told(&good[..256]));
        for length in [256, 257, good.len() - 1] {
            let cut = told_of_file("hostile-cut", &good[..length]);
            assert_eq!(cut, (FLASHLLM_STATUS_CORRUPT_DATA, [-7; 3], 7, 7), "{length} bytes");
            assert!(said().contains(&format!("{length} are there")), "{}", said());
        }
        // What follows is not looked at.
        assert_eq!(told_of_file("hostile-cut", &[good, &[1][..]].concat()), whole);
    }
}

/// A .safetensors file of a matrix of each format and two dense tensors, as other writers make them.
static MODEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = scratch("hostile-model");
    let mut writer = flash_llm::store::safetensors::Writer::create(&path, 1).unwrap();
    for (format, name) in Format::ALL.into_iter().zip(["a", "b", "c", "f", "g"]) {
        let (header, buffer) = compress(format);
        writer.add_matrix(name, &header, |sink| sink(&buffer)).unwrap();
    }
    writer.add_dense("d", "F16", &[2, 3], |sink| sink(&[1; 12])).unwrap();
    writer.add_dense("e", "F32", &[64], |sink| sink(&[2; 256])).unwrap();
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
});

fn scratch(name: &str) -> PathBuf {
    let name = format!("{name}-{}", std::process::id());
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Opens a file and loads all that is in it. Gives how many matrices were accepted.
fn load_all(bytes: &[u8]) -> Result<usize, Kind> {
    let reader = Reader::open(bytes).map_err(|error| {
        assert!(error.message().len() > 10, "{error}");
        error.kind()
    })?;
    let mut accepted = 0;
    for tensor in reader.tensors() {
        assert!(tensor.range().end <= bytes.len());
        assert_eq!(reader.bytes(tensor).len(), tensor.range().len());
        if let Some(header) = tensor.matrix() {
            assert!(header.total_bytes as usize <= tensor.range().len());
            if let Ok((header, content)) = reader.compressed(tensor, Verify::Full) {
                assert_eq!(content.len() as u64, header.total_bytes);
                accepted += 1;
            }
        }
    }
    Ok(accepted)
}

/// The model with its JSON changed and its length made to fit.
fn with_json(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let length = u64::from_le_bytes(MODEL[..8].try_into().unwrap()) as usize;
    let json = std::str::from_utf8(&MODEL[8..8 + length]).unwrap().to_owned();
    let changed = change(json.clone());
    assert_ne!(changed, json, "nothing was changed");
    let mut bytes = (changed.len() as u64).to_le_bytes().to_vec();
    bytes.extend(changed.as_bytes());
    bytes.extend(&MODEL[8 + length..]);
    bytes
}

#[test]
fn lies_in_the_header_of_a_model_are_refused() {
    assert_eq!(load_all(&MODEL), Ok(Format::ALL.len()));
    for (what, from, to) in [
        ("version", r#""flash_llm.version":"1""#, r#""flash_llm.version":"2""#),
        ("no entry for a matrix", r#""flash_llm.a":"#, r#""other.a":"#),
        (
            "an entry without a matrix",
            r#""flash_llm.version":"1""#,
            r#""flash_llm.version":"1","flash_llm.z":"{}""#,
        ),
        ("rows", r#"\"rows\":70"#, r#"\"rows\":71"#),
        ("rows of another type", r#"\"rows\":70"#, r#"\"rows\":\"70\""#),
        ("negative columns", r#"\"cols\":300"#, r#"\"cols\":-1"#),
        ("absurd nnz", r#"\"nnz\":3000"#, r#"\"nnz\":99999999999999999999999"#),
        ("short checksum", r#"\"xxh3\":\""#, r#"\"xxh3\":\"0"#),
        ("no checksum", r#"\"xxh3\""#, r#"\"xxh4\""#),
        ("entry is no JSON", r#""flash_llm.b":"{"#, r#""flash_llm.b":"["#),
        (
            "type of a matrix",
            r#""a.flash_llm":{"data_offsets":"#,
            r#""a.flash_llm":{"dtype":"I8","data_offsets":"#,
        ),
        ("overlapping ranges", r#""data_offsets":[0,"#, r#""data_offsets":[8,"#),
        ("ranges backwards", r#""data_offsets":[0,"#, r#""data_offsets":[18446744073709551615,"#),
        ("an unknown type", r#""dtype":"F32""#, r#""dtype":"F33""#),
        (
            "absurd shape",
            r#""shape":[64]"#,
            r#""shape":[18446744073709551615,18446744073709551615]"#,
        ),
        ("a shape of another size", r#""shape":[2,3]"#, r#""shape":[2,4]"#),
        ("a NUL in a name", r#""d":{"#, r#""d\u0000":{"#),
        ("two of a name", r#""d":{"#, r#""a":{"#),
        ("no object", "{", "["),
    ] {
        let bytes = with_json(|json| {
            assert!(json.contains(from), "{what}: {from} is not in {json}");
            json.replacen(from, to, 1)
        });
        match load_all(&bytes) {
            Err(Kind::CorruptData | Kind::VersionMismatch) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    // A wrong checksum of the right form is found when the matrix is loaded.
    let bytes = with_json(|json| {
        let at = json.find(r#"xxh3\":\""#).unwrap() + 9;
        let digit = if json.as_bytes()[at] == b'0' { "1" } else { "0" };
        format!("{}{digit}{}", &json[..at], &json[at + 1..])
    });
    assert_eq!(load_all(&bytes), Ok(Format::ALL.len() - 1));
    // And an ordinary file that happens to use the suffix is an ordinary file.
    let bytes = with_json(|json| {
        let start = json.find(r#""__metadata__""#).unwrap();
        let end = json.find(r#""a.flash_llm""#).unwrap();
        format!("{}{}", &json[..start], &json[end..])
    });
    assert_eq!(load_all(&bytes), Ok(0));
}

#[test]
fn truncated_models_are_refused() {
    for length in (0..MODEL.len()).step_by(997).chain([0, 7, 8, 9, MODEL.len() - 1]) {
        assert_eq!(load_all(&MODEL[..length]), Err(Kind::CorruptData), "{length} bytes");
    }
    let mut longer = MODEL.clone();
    longer.push(0);
    assert_eq!(load_all(&longer), Err(Kind::CorruptData));
    for length in [0, 1, 1 << 20, 100_000_001, u64::MAX, u64::MAX - 7, 1 << 63] {
        let mut bytes = MODEL.clone();
        put64(&mut bytes, 0, length);
        assert_eq!(load_all(&bytes), Err(Kind::CorruptData), "a header of {length}");
    }
}

/// Room for a matrix between two guards.
struct Target {
    memory: Vec<u8>,
    skip: usize,
    bytes: usize,
}

impl Target {
    fn new(bytes: usize) -> Self {
        let memory = vec![0xa5; bytes + 1024];
        let skip = memory.as_ptr().align_offset(256) + 256;
        Self { memory, skip, bytes }
    }

    fn pointer(&mut self) -> *mut std::ffi::c_void {
        self.memory[self.skip..].as_mut_ptr().cast()
    }

    fn untouched(&self) -> bool {
        self.memory.iter().all(|&b| b == 0xa5)
    }

    fn guards_untouched(&self) -> bool {
        let (start, end) = (self.skip, self.skip + self.bytes);
        self.memory[..start].iter().chain(&self.memory[end..]).all(|&b| b == 0xa5)
    }
}

fn host() -> flashllmHandle_t {
    static HANDLE: LazyLock<usize> = LazyLock::new(|| {
        let mut handle = ptr::null_mut();
        assert_eq!(unsafe { flashllmCreateHost(&raw mut handle) }, FLASHLLM_STATUS_SUCCESS);
        handle.addr()
    });
    ptr::without_provenance_mut(*HANDLE)
}

/// A descriptor exists exactly if the call succeeded, and the buffer was written only then.
fn check(status: flashllmStatus_t, descr: flashllmSpMatDescr_t, target: &Target) {
    assert!(target.guards_untouched(), "written outside of the buffer");
    if status == FLASHLLM_STATUS_SUCCESS {
        assert_eq!(flashllmDestroySpMat(descr), FLASHLLM_STATUS_SUCCESS);
    } else {
        assert!(descr.is_null() && target.untouched(), "{status:?} left traces");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Damage whose checksums were made to fit: the format's own checks have to find it.
    #[test]
    fn sealed_damage_is_refused_or_loaded_in_bounds(
        which in 0..Format::ALL.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        low in any::<bool>(),
        level in 0..3,
    ) {
        let mut bytes = STORED[which].clone();
        for (at, byte) in damage {
            // Headers and tables are where the dangerous bytes are.
            let reach = if low { 1024.min(bytes.len()) } else { bytes.len() };
            let at = at.index(reach);
            bytes[at] ^= byte;
        }
        seal_all(&mut bytes);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut target = Target::new(1 << 17);
        let mut descr = ptr::null_mut();
        let status = unsafe {
            flashllmSpMatDeserialize(
                host(),
                &raw mut descr,
                bytes.as_ptr().cast(),
                bytes.len(),
                RawVerify(level),
                target.pointer(),
                target.bytes,
            )
        };
        check(status, descr, &target);
    }

    #[test]
    fn damaged_models_are_refused_or_read_in_bounds(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        header_only in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = MODEL.clone();
        let reach = if header_only { 2600 } else { bytes.len() };
        for (at, byte) in damage {
            bytes[at.index(reach)] ^= byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Err(kind) = load_all(&bytes) {
            prop_assert!(matches!(kind, Kind::CorruptData | Kind::VersionMismatch), "{kind:?}");
        }
    }

    /// Numbers of the JSON header replaced by others, with the file otherwise whole.
    #[test]
    fn absurd_numbers_in_a_model_are_refused_or_read_in_bounds(
        which in any::<prop::sample::Index>(),
        number in prop_oneof![
            any::<u64>(),
            0u64..5000,
            Just(u64::MAX),
            Just(i64::MAX as u64),
            Just(1 << 62),
        ],
    ) {
        let bytes = with_json(|json| {
            let digits: Vec<(usize, usize)> = json
                .char_indices()
                .filter(|&(at, c)| {
                    c.is_ascii_digit() && !json[..at].ends_with(|c: char| c.is_ascii_alphanumeric())
                })
                .map(|(at, _)| {
                    let end = json[at..].find(|c: char| !c.is_ascii_digit()).unwrap();
                    (at, at + end)
                })
                .collect();
            let (start, end) = digits[which.index(digits.len())];
            format!("{}{number} {}", &json[..start], &json[end..])
        });
        let _ = load_all(&bytes);
    }

    #[test]
    fn damaged_buffers_are_refused_or_adopted_unchanged(
        which in 0..Format::ALL.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        given in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (header, mut bytes) = compress(Format::ALL[which]);
        let fronts = header.data_offset as usize;
        for (k, (at, byte)) in damage.into_iter().enumerate() {
            let reach = if k % 2 == 0 { fronts } else { bytes.len() };
            bytes[at.index(reach)] ^= byte;
        }
        let mut target = Target::new(bytes.len());
        let skip = target.skip;
        target.memory[skip..skip + bytes.len()].copy_from_slice(&bytes);
        let before = target.memory.clone();
        let size = given.map_or(bytes.len(), |index| index.index(bytes.len()));
        let mut descr = ptr::null_mut();
        unsafe {
            let status = flashllmCreateSpMat(
                &raw mut descr,
                ROWS as i64,
                COLS as i64,
                RawDataType(2),
                RawFormat(0),
            );
            assert_eq!(status, FLASHLLM_STATUS_SUCCESS);
            let status = flashllmSpMatSetBuffer(host(), descr, target.pointer(), size);
            let (mut p, mut n) = (ptr::null_mut(), 1);
            let _ = flashllmSpMatGetBuffer(descr, &raw mut p, &raw mut n);
            prop_assert_eq!(status == FLASHLLM_STATUS_SUCCESS, !p.is_null());
            let _ = flashllmDestroySpMat(descr);
        }
        prop_assert!(target.memory == before, "the buffer was written to");
    }
}

#[test]
fn a_damaged_matrix_in_a_file_leaves_the_buffer_as_it_was() {
    let path = scratch("hostile.safetensors");
    let text = CString::new(path.to_str().unwrap()).unwrap();
    let mut bytes = MODEL.clone();
    let reader = Reader::open(bytes.as_slice()).unwrap();
    let range = reader.tensors()[1].range();
    drop(reader);
    bytes[range.start + 700] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut file = ptr::null_mut();
    unsafe {
        assert_eq!(flashllmSafetensorsOpen(&raw mut file, text.as_ptr()), FLASHLLM_STATUS_SUCCESS);
        for (index, want) in
            [FLASHLLM_STATUS_SUCCESS, FLASHLLM_STATUS_CORRUPT_DATA].iter().enumerate()
        {
            let mut target = Target::new(1 << 17);
            let mut descr = ptr::null_mut();
            let (to, room) = (target.pointer(), target.bytes);
            let status = flashllmSafetensorsLoadSpMat(
                host(),
                file,
                index,
                &raw mut descr,
                RawVerify(0),
                to,
                room,
            );
            assert_eq!(status, *want);
            check(status, descr, &target);
        }
        assert_eq!(flashllmSafetensorsClose(file), FLASHLLM_STATUS_SUCCESS);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn less_verification_still_finds_what_it_promises() {
    for good in STORED.iter() {
        let last = good.len() - 300;
        for (at, checksum, header) in
            [(last, true, false), (256 + 8, true, true), (256 + 24, true, true)]
        {
            let mut bytes = good.clone();
            bytes[at] ^= 2;
            assert_eq!(matrix::read(&bytes, Verify::Checksum).is_err(), checksum, "byte {at}");
            assert_eq!(matrix::read(&bytes, Verify::Header).is_err(), header, "byte {at}");
        }
        let (header, buffer) = matrix::read(good, Verify::Full).unwrap();
        for verify in [Verify::Checksum, Verify::Header] {
            assert_eq!(matrix::read(good, verify).unwrap(), (header, buffer));
        }
    }
    let mut bytes = MODEL.clone();
    let reader = Reader::open(bytes.as_slice()).unwrap();
    let range = reader.tensors()[2].range();
    drop(reader);
    bytes[range.start + 700] ^= 1;
    let reader = Reader::open(bytes.as_slice()).unwrap();
    let tensor = &reader.tensors()[2];
    assert!(reader.compressed(tensor, Verify::Full).is_err());
    assert!(reader.compressed(tensor, Verify::Checksum).is_err());
    assert!(reader.compressed(tensor, Verify::Header).is_ok());
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let path = scratch("hostile-pipe");
    let text = CString::new(path.to_str().unwrap()).unwrap();
    assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
    let mut file = ptr::null_mut();
    let status = unsafe { flashllmSafetensorsOpen(&raw mut file, text.as_ptr()) };
    std::fs::remove_file(path).unwrap();
    assert_eq!(status, FLASHLLM_STATUS_IO_ERROR);
    assert!(file.is_null());
}
