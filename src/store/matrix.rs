//! One compressed matrix as a file or a block of bytes: a 256-byte header with checksums, and the compressed
//! buffer behind it, as it is. The byte specification is docs/format-store.md.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{ALIGN, AtomicFile, Found, Unverified, corrupt};
use crate::error::{Error, Kind, Result};
use crate::format::{self, Header, Verify};
use crate::types::{DType, Format, checked_add};

/// Bytes of the header, and where the compressed buffer begins.
pub const HEADER_BYTES: usize = 256;
/// The version this library writes, and the only one it reads.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"FLLMSTOR";
const SECTIONS: usize = 2;
const FIRST_SECTION: usize = 64;
const SECTION_BYTES: usize = 32;
const END: usize = FIRST_SECTION + SECTIONS * SECTION_BYTES;
const CHECKSUM: usize = 248;
/// The most bytes that a file or a block of memory has, in whole alignments.
const MOST_BYTES: u64 = i64::MAX as u64 / ALIGN as u64 * ALIGN as u64;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Storage format.
    pub format: Format,
    /// Element type.
    pub dtype: DType,
    /// Rows (M). Rows times columns, and so each of the numbers, is within 63 bits.
    pub rows: u64,
    /// Columns (K).
    pub cols: u64,
    /// Stored non-zeros.
    pub nnz: u64,
    /// Bytes of the compressed buffer.
    pub buffer_bytes: usize,
    /// Bytes of header, buffer and padding.
    pub serialized_bytes: usize,
    sections: [Section; SECTIONS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Section {
    offset: u64,
    bytes: u64,
    xxh3: u64,
}

/// Bytes that a matrix takes when stored.
pub fn serialized_bytes(header: &Header) -> Result<usize> {
    let what = "the stored matrix";
    let padded = checked_add(header.total_bytes as usize, ALIGN - 1, what)? / ALIGN * ALIGN;
    checked_add(HEADER_BYTES, padded, what)
}

/// The sections: header and table of the buffer, and its data. They touch, so that the buffer is in one piece.
fn sections(header: &Header, xxh3: [u64; SECTIONS]) -> [Section; SECTIONS] {
    let first = HEADER_BYTES as u64;
    [
        Section { offset: first, bytes: header.data_offset, xxh3: xxh3[0] },
        Section { offset: first + header.data_offset, bytes: header.data_bytes, xxh3: xxh3[1] },
    ]
}

fn header_bytes(header: &Header, xxh3: [u64; SECTIONS]) -> Result<[u8; HEADER_BYTES]> {
    let mut out = [0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    let words = [
        (8, VERSION),
        (12, HEADER_BYTES as u32),
        (16, SECTIONS as u32),
        (20, 0),
        (56, header.format as u32),
        (60, header.dtype as u32),
    ];
    for (at, word) in words {
        put(at, &word.to_le_bytes());
    }
    let longs = [
        (24, serialized_bytes(header)? as u64),
        (32, header.rows),
        (40, header.cols),
        (48, header.nnz),
    ];
    for (at, long) in longs {
        put(at, &long.to_le_bytes());
    }
    for (index, section) in sections(header, xxh3).into_iter().enumerate() {
        let at = FIRST_SECTION + index * SECTION_BYTES;
        put(at, &(index as u32 + 1).to_le_bytes());
        put(at + 8, &section.offset.to_le_bytes());
        put(at + 16, &section.bytes.to_le_bytes());
        put(at + 24, &section.xxh3.to_le_bytes());
    }
    let checksum = xxh3_64(&out[..CHECKSUM]);
    out[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    Ok(out)
}

/// Takes a compressed buffer in pieces; both checksums are known when all have been seen.
struct Digest {
    header: Header,
    seen: u64,
    parts: [Xxh3; SECTIONS],
}

impl Digest {
    fn new(header: &Header) -> Self {
        Self { header: *header, seen: 0, parts: [Xxh3::new(), Xxh3::new()] }
    }

    fn push(&mut self, piece: &[u8]) -> Result<()> {
        if self.seen == 0 && !piece.starts_with(&self.header.to_bytes()) {
            return Err(corrupt(
                "the buffer is not the one that the descriptor has: its header was overwritten",
            ));
        }
        let end = self.seen + piece.len() as u64;
        if end > self.header.total_bytes {
            return Err(Error::new(Kind::InternalError, "more bytes than the matrix has"));
        }
        let first = self.header.data_offset.saturating_sub(self.seen).min(piece.len() as u64);
        let (head, data) = piece.split_at(first as usize);
        self.parts[0].update(head);
        self.parts[1].update(data);
        self.seen = end;
        Ok(())
    }

    fn finish(&self) -> Result<[u8; HEADER_BYTES]> {
        if self.seen != self.header.total_bytes {
            return Err(Error::new(Kind::InternalError, "fewer bytes than the matrix has"));
        }
        header_bytes(&self.header, [self.parts[0].digest(), self.parts[1].digest()])
    }
}

/// A compressed buffer in pieces, in order; the first has at least the buffer's header in it.
pub type Pieces<'a> = dyn FnMut(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> + 'a;

/// Stores a matrix in memory. `out` is at least [`serialized_bytes`] long.
///
/// The header is written last: what a failure leaves is not taken for a matrix.
pub fn write(header: &Header, pieces: &mut Pieces<'_>, out: &mut [u8]) -> Result<()> {
    let (needed, given) = (serialized_bytes(header)?, out.len());
    let Some(out) = out.get_mut(..needed) else {
        return Err(Error::new(
            Kind::WorkspaceTooSmall,
            format!("bytes = {given}, and the stored matrix needs {needed}"),
        ));
    };
    let (front, body) = out.split_at_mut(HEADER_BYTES);
    let mut digest = Digest::new(header);
    pieces(&mut |piece| {
        let at = digest.seen as usize;
        digest.push(piece)?;
        if at == 0 {
            front.fill(0);
        }
        body[at..at + piece.len()].copy_from_slice(piece);
        Ok(())
    })?;
    let front_bytes = digest.finish()?;
    body[header.total_bytes as usize..].fill(0);
    front.copy_from_slice(&front_bytes);
    Ok(())
}

/// Stores a matrix in a file, which has its name only once it is whole.
pub fn save(header: &Header, pieces: &mut Pieces<'_>, path: &std::path::Path) -> Result<()> {
    let bytes = serialized_bytes(header)? as u64;
    let file = AtomicFile::create(path)?;
    let mut digest = Digest::new(header);
    pieces(&mut |piece| {
        let at = digest.seen;
        digest.push(piece)?;
        file.write_at(piece, HEADER_BYTES as u64 + at)
    })?;
    file.write_at(&digest.finish()?, 0)?;
    // Extends the file by the padding's zeros.
    file.commit(bytes)
}

fn wrong(field: &str, value: impl std::fmt::Display, needs: impl std::fmt::Display) -> Error {
    corrupt(format!("stored matrix: {field} = {value}, needs {needs}"))
}

/// Reads and checks the header, of which `bytes` has at least the 256. What follows is not looked at, but a matrix can
/// have these sizes: a caller allocates by them.
pub fn info(bytes: &[u8]) -> Result<Info> {
    let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(corrupt(format!(
            "stored matrix: {} bytes, and its header has {HEADER_BYTES}",
            bytes.len()
        )));
    };
    let u64_at = |at: usize| {
        let mut long = [0; 8];
        long.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(long)
    };
    let u32_at = |at: usize| (u64_at(at & !7) >> (8 * (at & 4))) as u32;
    if !bytes.starts_with(&MAGIC) {
        let shown = bytes[..8].escape_ascii();
        return Err(corrupt(format!("stored matrix: magic = \"{shown}\", needs \"FLLMSTOR\"")));
    }
    let version = u32_at(8);
    if version != VERSION {
        return Err(Error::new(
            Kind::VersionMismatch,
            format!("stored matrix: version = {version}, this library reads version {VERSION}"),
        ));
    }
    let checksum = xxh3_64(&bytes[..CHECKSUM]);
    if u64_at(CHECKSUM) != checksum {
        return Err(wrong(
            "checksum of the header",
            format!("{:016x}", u64_at(CHECKSUM)),
            format!("{checksum:016x}"),
        ));
    }
    for (name, at, value) in [
        ("header bytes", 12, HEADER_BYTES as u32),
        ("sections", 16, SECTIONS as u32),
        ("flags", 20, 0),
    ] {
        if u32_at(at) != value {
            return Err(wrong(name, u32_at(at), value));
        }
    }
    let format = Format::ALL
        .into_iter()
        .find(|&format| format as u32 == u32_at(56))
        .ok_or_else(|| wrong("format", u32_at(56), "1, 2, 3, 4 or 5"))?;
    let dtype = match u32_at(60) {
        2 => DType::F16,
        14 => DType::BF16,
        other => return Err(wrong("element type", other, "2 (fp16) or 14 (bfloat16)")),
    };
    if let Some(at) = bytes[END..CHECKSUM].iter().position(|&byte| byte != 0) {
        return Err(wrong("reserved byte", END + at, "zero there"));
    }
    let mut found = [Section { offset: 0, bytes: 0, xxh3: 0 }; SECTIONS];
    let mut next = HEADER_BYTES as u64;
    for (index, section) in found.iter_mut().enumerate() {
        let at = FIRST_SECTION + index * SECTION_BYTES;
        if u64_at(at) != index as u64 + 1 {
            return Err(wrong(&format!("kind of section {index}"), u64_at(at), index + 1));
        }
        *section =
            Section { offset: u64_at(at + 8), bytes: u64_at(at + 16), xxh3: u64_at(at + 24) };
        if section.offset != next || section.offset % ALIGN as u64 != 0 {
            return Err(wrong(
                &format!("offset of section {index}"),
                section.offset,
                format!("{next} and a multiple of {ALIGN}"),
            ));
        }
        next =
            next.checked_add(section.bytes).filter(|&end| end <= MOST_BYTES).ok_or_else(|| {
                wrong(&format!("bytes of section {index}"), section.bytes, "an end within 63 bits")
            })?;
    }
    let total = next.next_multiple_of(ALIGN as u64);
    if u64_at(24) != total {
        return Err(wrong("total bytes", u64_at(24), total));
    }
    let (rows, cols, nnz) = (u64_at(32), u64_at(40), u64_at(48));
    if rows.checked_mul(cols).is_none_or(|elements| i64::try_from(elements).is_err()) {
        return Err(wrong("rows x cols", format!("{rows} x {cols}"), "a product within 63 bits"));
    }
    let (front, data) = format::header::sizes(format, rows, cols, nnz)
        .map_err(|error| corrupt(format!("stored matrix: {}", error.message())))?;
    if found[0].bytes != front {
        return Err(wrong("bytes of section 0", found[0].bytes, front));
    }
    if !data.contains(&found[1].bytes) {
        let needs = format!("{} to {} for its rows and columns", data.start(), data.end());
        return Err(wrong("bytes of section 1", found[1].bytes, needs));
    }
    Ok(Info {
        format,
        dtype,
        rows,
        cols,
        nnz,
        buffer_bytes: (next - HEADER_BYTES as u64) as usize,
        serialized_bytes: total as usize,
        sections: found,
    })
}

/// [`info`] of bytes that are all there are, and fewer than the header says in a file that was cut short.
pub fn info_of_whole(bytes: &[u8]) -> Result<Info> {
    let info = info(bytes)?;
    if info.serialized_bytes > bytes.len() {
        return Err(corrupt(format!(
            "stored matrix: total bytes = {}, and {} are there",
            info.serialized_bytes,
            bytes.len()
        )));
    }
    Ok(info)
}

/// Checks a stored matrix and gives the compressed buffer in it.
pub fn read(bytes: &[u8], verify: Verify) -> Result<(Header, &[u8])> {
    let found = find(bytes, verify)?;
    if let Some(unverified) = &found.unverified {
        unverified.check(unverified.hash())?;
    }
    // A checksum is no signature: whoever wants to can make one that fits.
    if verify == Verify::Full {
        format::validate(found.content)?;
    }
    Ok((found.header, found.content))
}

/// [`read`] of a matrix that is checked further while, and after, it is copied: the checksum of its data and the
/// contents of its blocks are left to do.
pub fn find(bytes: &[u8], verify: Verify) -> Result<Found<'_>> {
    let info = info_of_whole(bytes)?;
    let (buffer, padding) = bytes[HEADER_BYTES..info.serialized_bytes].split_at(info.buffer_bytes);
    let [front, data] = info.sections;
    let later = |index: usize, section: Section| {
        let begin = section.offset as usize - HEADER_BYTES;
        let part = begin..begin + section.bytes as usize;
        Unverified {
            name: format!("stored matrix: checksum of section {index}"),
            bytes: &buffer[part.clone()],
            part,
            xxh3: section.xxh3,
        }
    };
    let mut unverified = None;
    if verify != Verify::Header {
        let front = later(0, front);
        front.check(front.hash())?;
        unverified = Some(later(1, data));
    }
    if padding.iter().any(|&byte| byte != 0) {
        return Err(corrupt("stored matrix: the padding at its end is not zero"));
    }
    let header = format::validate_front(buffer)?;
    let says = (info.format, info.dtype as u32, info.rows, info.cols, info.nnz);
    let holds = (header.format, header.dtype as u32, header.rows, header.cols, header.nnz);
    if says != holds {
        return Err(corrupt(format!(
            "stored matrix: its header says {says:?}, it holds {holds:?}"
        )));
    }
    if header.total_bytes != info.buffer_bytes as u64
        || header.data_offset != info.sections[0].bytes
    {
        return Err(wrong("bytes of its sections", info.buffer_bytes, header.total_bytes));
    }
    Ok(Found { header, content: buffer, unverified })
}
