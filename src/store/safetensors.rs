//! Compressed matrices among ordinary tensors in .safetensors files.
//!
//! The matrix `NAME` is the U8 tensor `NAME.flash_llm`: the compressed buffer, followed by zeros up to a
//! multiple of 256 bytes. `__metadata__` has `flash_llm.version` and, for each matrix, `flash_llm.NAME`: a
//! compact JSON object with "format", "dtype", "rows", "cols", "nnz" and "xxh3", the checksum of the tensor's
//! bytes. docs/format-store.md specifies it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::{ALIGN, AtomicFile, Found, Unverified, corrupt};
use crate::error::{Error, Kind, Result};
use crate::format::{self, Header, Verify};
use crate::types::{Format, checked_add, checked_mul};

/// What the names of tensors that are compressed matrices end in.
const SUFFIX: &str = ".flash_llm";
/// What the metadata of this library begins with.
const PREFIX: &str = "flash_llm.";
const VERSION_KEY: &str = "flash_llm.version";
/// The version of the convention that this library writes, and the only one it reads.
const VERSION: &str = "1";
/// The longest JSON header that readers accept.
const MOST_HEADER: u64 = 100_000_000;
/// Bytes in front of the JSON header: its length.
const LENGTH: u64 = 8;
/// The tensors' data begin at a multiple of it in the file.
const PAGE: u64 = 4096;
/// Header bytes that are set aside for a tensor whose name is not known yet.
const HEADER_PER_TENSOR: u64 = 400;
/// Bytes that are moved at a time.
const CHUNK: usize = 4 << 20;

// ---------------------------------------------------------------------------------------------
// Reading
// ---------------------------------------------------------------------------------------------

/// A file that is open for reading. `B` is its bytes, mapped or not.
#[derive(Debug)]
pub struct Reader<B> {
    bytes: B,
    tensors: Vec<Tensor>,
    by_name: BTreeMap<String, usize>,
    metadata: BTreeMap<String, CString>,
}

/// One entry of a file.
#[derive(Debug)]
pub struct Tensor {
    name: CString,
    dtype: CString,
    shape: Vec<i64>,
    range: Range<usize>,
    matrix: Option<Matrix>,
}

#[derive(Clone, Copy, Debug)]
struct Matrix {
    header: Header,
    xxh3: u64,
}

impl Tensor {
    /// Its name, of a compressed matrix without the suffix.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// Element type in the format's spelling; of a compressed matrix "U8".
    pub fn dtype(&self) -> &CStr {
        &self.dtype
    }

    /// Dimensions.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Where its bytes are in the file.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The header of the compressed buffer, if it is one.
    pub fn matrix(&self) -> Option<&Header> {
        self.matrix.as_ref().map(|matrix| &matrix.header)
    }
}

fn c_string(text: &str, what: &str) -> Result<CString> {
    CString::new(text).map_err(|_| corrupt(format!("safetensors: {what} {text:?} contains a NUL")))
}

impl<B: AsRef<[u8]>> Reader<B> {
    /// Reads and checks the header of the file, and those of the compressed matrices.
    pub fn open(bytes: B) -> Result<Self> {
        let (length, parsed) = SafeTensors::read_metadata(bytes.as_ref())
            .map_err(|error| corrupt(format!("safetensors: {error}")))?;
        let data = length + LENGTH as usize;
        let empty = std::collections::HashMap::new();
        let texts = parsed.metadata().as_ref().unwrap_or(&empty);
        let ours = match texts.get(VERSION_KEY).map(String::as_str) {
            None => false,
            Some(VERSION) => true,
            Some(other) => {
                return Err(Error::new(
                    Kind::VersionMismatch,
                    format!(
                        "safetensors: {VERSION_KEY} = {other:?}, this library reads {VERSION:?}"
                    ),
                ));
            }
        };
        let mut tensors = Vec::new();
        let mut by_name = BTreeMap::new();
        for key in parsed.offset_keys() {
            let Some(info) = parsed.info(&key) else { continue };
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            let content = bytes.as_ref().get(range.clone()).ok_or_else(|| {
                corrupt(format!("safetensors: tensor {key:?} lies outside of the file"))
            })?;
            let name = key.strip_suffix(SUFFIX).filter(|name| ours && !name.is_empty());
            let matrix = match name {
                None => None,
                Some(name) => {
                    if info.dtype != Dtype::U8 || info.shape.len() != 1 {
                        return Err(corrupt(format!(
                            "safetensors: tensor {key:?} is {} of {} dimensions, a compressed matrix is U8 of one",
                            info.dtype,
                            info.shape.len()
                        )));
                    }
                    let text = texts.get(&format!("{PREFIX}{name}")).ok_or_else(|| {
                        corrupt(format!(
                            "safetensors: metadata has no entry {PREFIX}{name} for {key:?}"
                        ))
                    })?;
                    let checked = matrix(content, text).map_err(|error| {
                        Error::new(error.kind(), format!("matrix {name:?}: {error}"))
                    })?;
                    Some(checked)
                }
            };
            let name = name.unwrap_or(&key);
            let mut shape = Vec::with_capacity(info.shape.len());
            for &size in &info.shape {
                shape.push(i64::try_from(size).map_err(|_| {
                    corrupt(format!("safetensors: tensor {key:?} has a dimension of {size}"))
                })?);
            }
            if by_name.insert(name.to_owned(), tensors.len()).is_some() {
                return Err(corrupt(format!("safetensors: two tensors are called {name:?}")));
            }
            tensors.push(Tensor {
                name: c_string(name, "the name")?,
                dtype: c_string(&info.dtype.to_string(), "the type")?,
                shape,
                range,
                matrix,
            });
        }
        let mut metadata = BTreeMap::new();
        for (key, value) in texts {
            if let Some(name) = key.strip_prefix(PREFIX).filter(|_| ours && key != VERSION_KEY) {
                let there =
                    by_name.get(name).is_some_and(|&at: &usize| tensors[at].matrix.is_some());
                if !there {
                    return Err(corrupt(format!(
                        "safetensors: metadata has {key}, and there is no tensor {name}{SUFFIX}"
                    )));
                }
            }
            metadata.insert(key.clone(), c_string(value, "metadata")?);
        }
        Ok(Self { bytes, tensors, by_name, metadata })
    }

    /// What the file's bytes are kept in.
    pub fn storage(&self) -> &B {
        &self.bytes
    }

    /// Entries in the order in which they lie in the file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The entry with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A text of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&CStr> {
        self.metadata.get(key).map(CString::as_c_str)
    }

    /// The bytes of an entry.
    pub fn bytes(&self, tensor: &Tensor) -> &[u8] {
        &self.bytes.as_ref()[tensor.range.clone()]
    }

    /// The compressed buffer of an entry, checked.
    pub fn compressed(&self, tensor: &Tensor, verify: Verify) -> Result<(Header, &[u8])> {
        let found = self.compressed_front(tensor, verify)?;
        if let Some(unverified) = &found.unverified {
            unverified.check(unverified.hash())?;
        }
        if verify == Verify::Full {
            format::validate(found.content).map_err(|error| in_matrix(tensor, &error))?;
        }
        Ok((found.header, found.content))
    }

    /// [`Reader::compressed`] of a matrix that is checked further while, and after, it is copied: the checksum
    /// and the contents of its blocks are left to do.
    pub fn compressed_front(&self, tensor: &Tensor, verify: Verify) -> Result<Found<'_>> {
        let name = tensor.name.to_string_lossy();
        let Some(matrix) = &tensor.matrix else {
            return Err(Error::invalid(format!(
                "{name} is a dense tensor, not a compressed matrix"
            )));
        };
        let bytes = self.bytes(tensor);
        let header = format::validate_front(bytes).map_err(|error| in_matrix(tensor, &error))?;
        let content = &bytes[..header.total_bytes as usize];
        let unverified = (verify != Verify::Header).then(|| Unverified {
            name: format!("matrix {name:?}: checksum"),
            bytes,
            part: 0..content.len(),
            xxh3: matrix.xxh3,
        });
        Ok(Found { header, content, unverified })
    }
}

/// What is wrong with a compressed matrix, with its name.
fn in_matrix(tensor: &Tensor, error: &Error) -> Error {
    let name = tensor.name.to_string_lossy();
    Error::new(error.kind(), format!("matrix {name:?}: {}", error.message()))
}

/// Checks a matrix's bytes (its header only) and its entry in the metadata against each other.
fn matrix(content: &[u8], text: &str) -> Result<Matrix> {
    let header = format::parse_header(content)?;
    let rest = &content[header.total_bytes as usize..];
    if rest.len() >= ALIGN || rest.iter().any(|&byte| byte != 0) {
        return Err(corrupt(format!(
            "{} bytes follow the compressed buffer, needs fewer than {ALIGN} zeros",
            rest.len()
        )));
    }
    let entry: Value = serde_json::from_str(text)
        .map_err(|error| corrupt(format!("its metadata {text:?} is not JSON: {error}")))?;
    for (key, needs) in [("rows", header.rows), ("cols", header.cols), ("nnz", header.nnz)] {
        if entry.get(key).and_then(Value::as_u64) != Some(needs) {
            return Err(corrupt(format!(
                "its metadata has {key} = {}, its buffer {needs}",
                entry.get(key).unwrap_or(&Value::Null)
            )));
        }
    }
    let xxh3 = entry
        .get("xxh3")
        .and_then(Value::as_str)
        .filter(|text| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| corrupt("its metadata has no xxh3 of sixteen hexadecimal digits"))?;
    Ok(Matrix { header, xxh3 })
}

// ---------------------------------------------------------------------------------------------
// Writing
// ---------------------------------------------------------------------------------------------

/// A file that is being written. Each tensor goes to the disk as it is added; the header, which is in front
/// of them, when all are known. Nothing has the file's name before [`Writer::finish`].
///
/// Tensors of a multiple of 256 bytes, to which compressed matrices are padded, come first, in the order in
/// which they were added, and all begin at multiples of 256 bytes of the file. The others wait in a second
/// temporary file, and follow in descending alignment.
#[derive(Debug)]
pub struct Writer {
    file: AtomicFile,
    /// Where the data begin, unless the header turns out longer.
    data: u64,
    /// Bytes of data in `file`.
    written: u64,
    spool: Option<AtomicFile>,
    spooled: u64,
    entries: Vec<Entry>,
    names: BTreeSet<String>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: u64,
    /// Offset in the data, or, until the end, in the spool.
    offset: u64,
    spooled: bool,
}

/// What a tensor's bytes are given to, piece by piece and in order.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

impl Writer {
    /// Begins the file `path`, with room in its header for about `expected` tensors. If there are more, their
    /// data have to be moved at the end.
    pub fn create(path: &Path, expected: usize) -> Result<Self> {
        let most = (MOST_HEADER / HEADER_PER_TENSOR - 4) as usize;
        if expected > most {
            return Err(Error::invalid(format!(
                "expectedTensors = {expected}, and a header has room for about {most}"
            )));
        }
        let expected = if expected == 0 { 64 } else { expected as u64 };
        let data = (LENGTH + 512 + HEADER_PER_TENSOR * expected).next_multiple_of(PAGE);
        Ok(Self {
            file: AtomicFile::create(path)?,
            data,
            written: 0,
            spool: None,
            spooled: 0,
            entries: Vec::new(),
            names: BTreeSet::new(),
            metadata: BTreeMap::new(),
        })
    }

    /// Adds a text to the file's metadata; a text of the same key is replaced.
    pub fn add_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        if key.is_empty() || key.starts_with(PREFIX) {
            return Err(Error::invalid(format!(
                "key = {key:?} is empty or begins with {PREFIX:?}"
            )));
        }
        self.metadata.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<()> {
        if name.is_empty() || name == "__metadata__" || name.ends_with(SUFFIX) {
            return Err(Error::invalid(format!(
                "name = {name:?} is empty, \"__metadata__\" or ends in {SUFFIX:?}"
            )));
        }
        if self.names.contains(name) {
            return Err(Error::invalid(format!("name = {name:?} was added already")));
        }
        Ok(())
    }

    /// Adds a dense tensor; `pieces` gives its bytes to the sink. When it fails, the tensor is not added.
    pub fn add_dense(
        &mut self,
        name: &str,
        dtype: &str,
        shape: &[usize],
        pieces: impl FnOnce(&mut Sink<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check_name(name)?;
        let (dtype, bytes) = dense_bytes(dtype, shape)?;
        self.add(name, name, dtype, shape.to_vec(), bytes as u64, pieces)
    }

    /// Adds a compressed matrix; `pieces` gives the compressed buffer to the sink, in its first piece at least
    /// the header. When it fails, the matrix is not added.
    pub fn add_matrix(
        &mut self,
        name: &str,
        header: &Header,
        pieces: impl FnOnce(&mut Sink<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check_name(name)?;
        if format!("{PREFIX}{name}") == VERSION_KEY {
            return Err(Error::invalid(format!(
                "name = {name:?} cannot be a matrix: its metadata would be the version's"
            )));
        }
        let (bytes, front) = (header.total_bytes, header.to_bytes());
        let padded = checked_add(bytes as usize, ALIGN - 1, "the stored matrix")? / ALIGN * ALIGN;
        let mut hash = Xxh3::new();
        let mut seen = 0u64;
        let key = format!("{name}{SUFFIX}");
        self.add(name, &key, Dtype::U8, vec![padded], padded as u64, |sink| {
            pieces(&mut |piece| {
                if seen == 0 && !piece.starts_with(&front) {
                    return Err(corrupt(
                        "the buffer is not the one that the descriptor has: its header was overwritten",
                    ));
                }
                hash.update(piece);
                seen += piece.len() as u64;
                sink(piece)
            })?;
            let padding = [0; ALIGN];
            let padding = &padding[..padded - bytes as usize];
            hash.update(padding);
            sink(padding)
        })?;
        let entry = json!({
            "format": match header.format {
                Format::Bitmap => "bitmap",
                Format::Slots => "slots",
                Format::Banked => "banked",
                Format::Sell => "sell",
                Format::TiledCsl => "tiled_csl",
            },
            "dtype": match header.dtype as u32 {
                0 => "F32",
                2 => "F16",
                14 => "BF16",
                _ => "unknown",
            },
            "rows": header.rows,
            "cols": header.cols,
            "nnz": header.nnz,
            "xxh3": format!("{:016x}", hash.digest()),
        });
        self.metadata.insert(format!("{PREFIX}{name}"), entry.to_string());
        Ok(())
    }

    fn add(
        &mut self,
        name: &str,
        key: &str,
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: u64,
        pieces: impl FnOnce(&mut Sink<'_>) -> Result<()>,
    ) -> Result<()> {
        let spooled = bytes % ALIGN as u64 != 0;
        if spooled && self.spool.is_none() {
            self.spool = Some(self.file.beside()?);
        }
        let (file, base, offset) = match &self.spool {
            Some(spool) if spooled => (spool, 0, self.spooled),
            _ => (&self.file, self.data, self.written),
        };
        let end = checked_add(offset as usize, bytes as usize, "the file")? as u64;
        let mut at = offset;
        pieces(&mut |piece| {
            if piece.len() as u64 > end - at {
                return Err(Error::new(Kind::InternalError, "more bytes than the tensor has"));
            }
            file.write_at(piece, base + at)?;
            at += piece.len() as u64;
            Ok(())
        })?;
        if at != end {
            return Err(Error::new(Kind::InternalError, "fewer bytes than the tensor has"));
        }
        if spooled {
            self.spooled = end;
        } else {
            self.written = end;
        }
        self.entries.push(Entry { key: key.to_owned(), dtype, shape, bytes, offset, spooled });
        self.names.insert(name.to_owned());
        Ok(())
    }

    /// Writes the header, and puts the file in the place of the one that has its name.
    pub fn finish(mut self) -> Result<()> {
        self.append_spool()?;
        if self.metadata.keys().any(|key| key.starts_with(PREFIX)) {
            self.metadata.insert(VERSION_KEY.to_owned(), VERSION.to_owned());
        }
        let mut json = Map::new();
        if !self.metadata.is_empty() {
            json.insert("__metadata__".to_owned(), json!(self.metadata));
        }
        for entry in &self.entries {
            json.insert(
                entry.key.clone(),
                json!({
                    "dtype": entry.dtype.to_string(),
                    "shape": entry.shape,
                    "data_offsets": [entry.offset, entry.offset + entry.bytes],
                }),
            );
        }
        let mut header = Value::Object(json).to_string().into_bytes();
        let needed = LENGTH + header.len() as u64;
        if needed > self.data {
            let data = needed.next_multiple_of(PAGE);
            self.move_data(data)?;
        }
        let length = self.data - LENGTH;
        if length > MOST_HEADER {
            return Err(Error::invalid(format!(
                "the header would have {length} bytes, and readers accept {MOST_HEADER}"
            )));
        }
        header.resize(length as usize, b' ');
        self.file.write_at(&length.to_le_bytes(), 0)?;
        self.file.write_at(&header, LENGTH)?;
        self.file.commit(self.data + self.written)
    }

    /// Moves what is in the spool to the end of the data. The alignment of a tensor's size is at least that of
    /// its elements, and descending it keeps every tensor as well aligned as its size is.
    fn append_spool(&mut self) -> Result<()> {
        let Some(spool) = self.spool.take() else { return Ok(()) };
        let mut order: Vec<usize> =
            (0..self.entries.len()).filter(|&i| self.entries[i].spooled).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.entries[i].bytes.trailing_zeros()));
        let mut buffer = vec![0; CHUNK];
        for index in order {
            let entry = &mut self.entries[index];
            let (from, to) = (entry.offset, self.written);
            let mut done = 0;
            while done < entry.bytes {
                let count = (entry.bytes - done).min(CHUNK as u64);
                let part = &mut buffer[..count as usize];
                spool.read_at(part, from + done)?;
                self.file.write_at(part, self.data + to + done)?;
                done += count;
            }
            entry.offset = to;
            entry.spooled = false;
            self.written += entry.bytes;
        }
        Ok(())
    }

    /// Makes room for a longer header.
    fn move_data(&mut self, data: u64) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        // From the end, as the data move up.
        let mut left = self.written;
        while left > 0 {
            let count = left.min(CHUNK as u64);
            left -= count;
            let part = &mut buffer[..count as usize];
            self.file.read_at(part, self.data + left)?;
            self.file.write_at(part, data + left)?;
        }
        self.data = data;
        Ok(())
    }
}

/// Type and size of a dense tensor.
pub fn dense_bytes(dtype: &str, shape: &[usize]) -> Result<(Dtype, usize)> {
    let parsed: Dtype = serde_json::from_value(Value::from(dtype)).map_err(|_| {
        Error::invalid(format!(
            "dtype = {dtype:?} is not an element type of safetensors (\"F16\", ...)"
        ))
    })?;
    let mut elements = 1;
    for &size in shape {
        elements = checked_mul(elements, size, "elements of the tensor")?;
    }
    let bits = checked_mul(elements, parsed.bitsize(), "bits of the tensor")?;
    if bits % 8 != 0 {
        return Err(Error::invalid(format!(
            "{elements} elements of type {dtype} are no whole number of bytes"
        )));
    }
    Ok((parsed, bits / 8))
}
