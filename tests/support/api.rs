//! The C API as a caller sees it: by symbol and by the types of the header, with owners that free.
//!
//! Declared here by hand, not taken from `flash_llm::capi`, so that the tests and the benchmark go
//! through the exported symbols with C's types, as every other language does.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;

// Links the library's symbols into this executable.
use flash_llm as _;

pub type Raw = *mut c_void;

pub const R_32F: c_int = 0;
pub const R_16F: c_int = 2;
pub const R_16BF: c_int = 14;
pub const ORDER_COL: c_int = 1;
pub const ORDER_ROW: c_int = 2;
pub const NON_TRANSPOSE: c_int = 0;
pub const TRANSPOSE: c_int = 1;
pub const FORMAT_AUTO: c_int = 0;
pub const FORMAT_TILED_CSL: c_int = 1;
pub const FORMAT_BITMAP: c_int = 2;
pub const FORMAT_SLOTS: c_int = 3;
pub const FORMAT_BANKED: c_int = 4;
pub const FORMAT_SELL: c_int = 5;
/// Every one of them.
pub const FORMATS: [c_int; 5] =
    [FORMAT_BITMAP, FORMAT_TILED_CSL, FORMAT_SLOTS, FORMAT_BANKED, FORMAT_SELL];
pub const DEVICE_CUDA: c_int = 1;
pub const ALG_DEFAULT: c_int = 0;
pub const INDEX_32I: c_int = 2;
pub const INDEX_64I: c_int = 3;
pub const PRUNE_MATRIX: c_int = 0;
pub const PRUNE_ROW: c_int = 1;

pub mod ffi {
    use super::{Raw, c_char, c_int, c_void};

    unsafe extern "C" {
        pub fn flashllmCreate(handle: *mut Raw) -> c_int;
        pub fn flashllmCreateHost(handle: *mut Raw) -> c_int;
        pub fn flashllmDestroy(handle: Raw) -> c_int;
        pub fn flashllmSetStream(handle: Raw, stream: Raw) -> c_int;
        pub fn flashllmGetDeviceType(handle: Raw, kind: *mut c_int) -> c_int;
        pub fn flashllmGetBuildInfo() -> *const c_char;
        pub fn flashllmGetErrorName(status: c_int) -> *const c_char;
        pub fn flashllmGetLastErrorMessage() -> *const c_char;
        pub fn flashllmMalloc(handle: Raw, out: *mut Raw, bytes: usize) -> c_int;
        pub fn flashllmFree(handle: Raw, pointer: Raw) -> c_int;
        pub fn flashllmMemcpy(
            handle: Raw,
            to: Raw,
            from: *const c_void,
            bytes: usize,
            kind: c_int,
        ) -> c_int;
        pub fn flashllmSynchronize(handle: Raw) -> c_int;
        pub fn flashllmCreateDnMat(
            out: *mut Raw,
            rows: i64,
            cols: i64,
            ld: i64,
            values: Raw,
            dtype: c_int,
            order: c_int,
        ) -> c_int;
        pub fn flashllmDestroyDnMat(descr: Raw) -> c_int;
        pub fn flashllmCreateSpMat(
            out: *mut Raw,
            rows: i64,
            cols: i64,
            dtype: c_int,
            format: c_int,
        ) -> c_int;
        pub fn flashllmDestroySpMat(descr: Raw) -> c_int;
        pub fn flashllmSpMatGetSize(
            descr: Raw,
            rows: *mut i64,
            cols: *mut i64,
            nnz: *mut i64,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmSpMatGetFormat(descr: Raw, format: *mut c_int) -> c_int;
        pub fn flashllmSpMatSetBuffer(handle: Raw, descr: Raw, buffer: Raw, bytes: usize) -> c_int;
        pub fn flashllmDenseToSparse_bufferSize(
            h: Raw,
            a: Raw,
            b: Raw,
            alg: c_int,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmDenseToSparse_analysis(
            h: Raw,
            a: Raw,
            b: Raw,
            alg: c_int,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmDenseToSparse_convert(
            h: Raw,
            a: Raw,
            b: Raw,
            alg: c_int,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmSparseToDense_bufferSize(
            h: Raw,
            a: Raw,
            b: Raw,
            alg: c_int,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmSparseToDense(h: Raw, a: Raw, b: Raw, alg: c_int, workspace: Raw) -> c_int;
        pub fn flashllmCreateCsr(
            out: *mut Raw,
            rows: i64,
            cols: i64,
            nnz: i64,
            offsets: *const c_void,
            columns: *const c_void,
            values: *const c_void,
            offsets_type: c_int,
            columns_type: c_int,
            base: c_int,
            dtype: c_int,
        ) -> c_int;
        pub fn flashllmDestroyCsr(descr: Raw) -> c_int;
        pub fn flashllmCsrToSparse_bufferSize(
            h: Raw,
            a: Raw,
            b: Raw,
            alg: c_int,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmCsrToSparse_analysis(
            h: Raw,
            a: Raw,
            b: Raw,
            alg: c_int,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmCsrToSparse_convert(
            h: Raw,
            a: Raw,
            b: Raw,
            alg: c_int,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmPrune_bufferSize(
            h: Raw,
            from: Raw,
            to: Raw,
            alg: c_int,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmPrune(
            h: Raw,
            from: Raw,
            to: Raw,
            alg: c_int,
            sparsity: f64,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmPruneCheck_bufferSize(h: Raw, a: Raw, b: Raw, bytes: *mut usize) -> c_int;
        pub fn flashllmPruneCheck(
            h: Raw,
            a: Raw,
            b: Raw,
            agrees: *mut i32,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmSpMM_bufferSize(
            h: Raw,
            op_a: c_int,
            op_b: c_int,
            alpha: *const c_void,
            a: Raw,
            b: Raw,
            beta: *const c_void,
            c: Raw,
            compute: c_int,
            alg: c_int,
            bytes: *mut usize,
        ) -> c_int;
        pub fn flashllmSpMM_preprocess(
            h: Raw,
            op_a: c_int,
            op_b: c_int,
            alpha: *const c_void,
            a: Raw,
            b: Raw,
            beta: *const c_void,
            c: Raw,
            compute: c_int,
            alg: c_int,
            workspace: Raw,
        ) -> c_int;
        pub fn flashllmSpMM(
            h: Raw,
            op_a: c_int,
            op_b: c_int,
            alpha: *const c_void,
            a: Raw,
            b: Raw,
            beta: *const c_void,
            c: Raw,
            compute: c_int,
            alg: c_int,
            workspace: Raw,
        ) -> c_int;
    }
}

/// A status other than success, with the library's name and sentence for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    pub status: c_int,
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

// `unwrap` and `main` print this form.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl std::error::Error for Failure {}

pub type Result<T> = std::result::Result<T, Failure>;

fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the library returns NUL-terminated text that stays valid until its next call here.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

pub fn check(status: c_int) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: both take no pointers.
    let (name, message) =
        unsafe { (ffi::flashllmGetErrorName(status), ffi::flashllmGetLastErrorMessage()) };
    Err(Failure { status, text: format!("{}: {}", text(name), text(message)) })
}

/// Version, toolkit and architectures of the library that is linked.
pub fn build_info() -> String {
    // SAFETY: takes nothing.
    text(unsafe { ffi::flashllmGetBuildInfo() })
}

/// A library handle; destroyed on drop.
pub struct Handle {
    raw: Raw,
    cuda: bool,
}

impl Handle {
    pub fn device() -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the handle.
        check(unsafe { ffi::flashllmCreate(&mut raw) })?;
        Self::finish(raw)
    }

    pub fn host() -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the handle.
        check(unsafe { ffi::flashllmCreateHost(&mut raw) })?;
        Self::finish(raw)
    }

    fn finish(raw: Raw) -> Result<Self> {
        let mut kind = 0;
        // SAFETY: the handle was just created; `kind` is a place for the answer.
        check(unsafe { ffi::flashllmGetDeviceType(raw, &mut kind) })?;
        Ok(Self { raw, cuda: kind == DEVICE_CUDA })
    }

    pub fn is_cuda(&self) -> bool {
        self.cuda
    }

    pub fn set_stream(&self, stream: Raw) -> Result<()> {
        // SAFETY: the handle is alive; the caller's stream is only kept until it is used.
        check(unsafe { ffi::flashllmSetStream(self.raw, stream) })
    }

    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: the handle is alive.
        check(unsafe { ffi::flashllmSynchronize(self.raw) })
    }

    pub fn alloc(&self, bytes: usize) -> Result<Buffer<'_>> {
        let mut pointer = std::ptr::null_mut();
        if bytes != 0 {
            // SAFETY: the handle is alive; `pointer` is a place for the address.
            check(unsafe { ffi::flashllmMalloc(self.raw, &mut pointer, bytes) })?;
        }
        Ok(Buffer { handle: self, pointer, bytes })
    }

    /// A buffer that holds `values`.
    pub fn upload<T: Copy>(&self, values: &[T]) -> Result<Buffer<'_>> {
        let buffer = self.alloc(size_of_val(values))?;
        buffer.write(0, values)?;
        Ok(buffer)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: destroyed once; nothing that borrows it is left.
        let _ = unsafe { ffi::flashllmDestroy(self.raw) };
    }
}

/// Memory where the handle computes; freed on drop.
pub struct Buffer<'h> {
    handle: &'h Handle,
    pointer: Raw,
    bytes: usize,
}

impl Buffer<'_> {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn pointer(&self) -> Raw {
        self.pointer
    }

    /// The address `offset` bytes into the buffer.
    pub fn at(&self, offset: usize) -> Raw {
        assert!(offset <= self.bytes, "offset {offset} of a buffer of {} bytes", self.bytes);
        self.pointer.wrapping_byte_add(offset)
    }

    pub fn write<T: Copy>(&self, offset: usize, values: &[T]) -> Result<()> {
        let bytes = size_of_val(values);
        assert!(offset + bytes <= self.bytes, "write past the buffer");
        if bytes == 0 {
            return Ok(());
        }
        // HOST_TO_DEVICE, or HOST_TO_HOST on a host handle.
        let kind = c_int::from(self.handle.cuda);
        // SAFETY: the source is a live slice and the target range lies in this buffer.
        check(unsafe {
            ffi::flashllmMemcpy(
                self.handle.raw,
                self.at(offset),
                values.as_ptr().cast(),
                bytes,
                kind,
            )
        })
    }

    pub fn read<T: Copy + Default>(&self, offset: usize, count: usize) -> Result<Vec<T>> {
        let mut out = vec![T::default(); count];
        let bytes = count * size_of::<T>();
        assert!(offset + bytes <= self.bytes, "read past the buffer");
        if bytes == 0 {
            return Ok(out);
        }
        // DEVICE_TO_HOST, or HOST_TO_HOST on a host handle.
        let kind = 2 * c_int::from(self.handle.cuda);
        // SAFETY: the source range lies in this buffer; T is a plain number for which all bits are valid.
        check(unsafe {
            ffi::flashllmMemcpy(
                self.handle.raw,
                out.as_mut_ptr().cast(),
                self.at(offset),
                bytes,
                kind,
            )
        })?;
        Ok(out)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: allocated by this handle, freed once.
            let _ = unsafe { ffi::flashllmFree(self.handle.raw, self.pointer) };
        }
    }
}

/// A dense matrix descriptor. It borrows memory as the C API does: by address, unchecked.
pub struct DnMat {
    raw: Raw,
}

impl DnMat {
    pub fn new(
        rows: usize,
        cols: usize,
        ld: usize,
        values: Raw,
        dtype: c_int,
        order: c_int,
    ) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the descriptor; creating one does not touch `values`.
        check(unsafe {
            ffi::flashllmCreateDnMat(
                &mut raw,
                rows as i64,
                cols as i64,
                ld as i64,
                values,
                dtype,
                order,
            )
        })?;
        Ok(Self { raw })
    }
}

impl Drop for DnMat {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        let _ = unsafe { ffi::flashllmDestroyDnMat(self.raw) };
    }
}

// SAFETY: the header documents that one handle may be used by several threads.
unsafe impl Sync for Handle {}

// Access for tests of functions that are declared elsewhere, and other element types than fp16.
impl Handle {
    pub fn raw(&self) -> Raw {
        self.raw
    }
}

impl DnMat {
    pub fn raw(&self) -> Raw {
        self.raw
    }
}

impl SpMat {
    pub fn raw(&self) -> Raw {
        self.raw
    }

    pub fn with_type(rows: usize, cols: usize, format: c_int, dtype: c_int) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the descriptor.
        check(unsafe {
            ffi::flashllmCreateSpMat(&mut raw, rows as i64, cols as i64, dtype, format)
        })?;
        Ok(Self { raw })
    }
}

/// What SpMatGetSize reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpSize {
    pub rows: i64,
    pub cols: i64,
    pub nnz: i64,
    pub bytes: usize,
}

/// A sparse matrix descriptor.
pub struct SpMat {
    raw: Raw,
}

impl SpMat {
    pub fn new(rows: usize, cols: usize, format: c_int) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the descriptor.
        check(unsafe {
            ffi::flashllmCreateSpMat(&mut raw, rows as i64, cols as i64, R_16F, format)
        })?;
        Ok(Self { raw })
    }

    /// Compresses dense fp16 bits (`rows` x `cols`, `ld`, `order`) that lie where the handle computes.
    pub fn compress<'h>(
        handle: &'h Handle,
        rows: usize,
        cols: usize,
        ld: usize,
        order: c_int,
        values: Raw,
        format: c_int,
    ) -> Result<(Self, Buffer<'h>)> {
        let dense = DnMat::new(rows, cols, ld, values, R_16F, order)?;
        let sparse = Self::new(rows, cols, format)?;
        let scratch = handle.alloc(sparse.compress_scratch_bytes(handle, &dense)?)?;
        sparse.analyse(handle, &dense, &scratch)?;
        let buffer = handle.alloc(sparse.size()?.bytes)?;
        sparse.set_buffer(handle, &buffer)?;
        sparse.convert(handle, &dense, &scratch)?;
        handle.synchronize()?;
        Ok((sparse, buffer))
    }

    pub fn compress_scratch_bytes(&self, handle: &Handle, dense: &DnMat) -> Result<usize> {
        let mut bytes = 0;
        // SAFETY: all three objects are alive; `bytes` is a place for the size.
        check(unsafe {
            ffi::flashllmDenseToSparse_bufferSize(
                handle.raw,
                dense.raw,
                self.raw,
                ALG_DEFAULT,
                &mut bytes,
            )
        })?;
        Ok(bytes)
    }

    pub fn analyse(&self, handle: &Handle, dense: &DnMat, scratch: &Buffer<'_>) -> Result<()> {
        // SAFETY: the scratch is as large as was asked for; the descriptor has the caller's matrix.
        check(unsafe {
            ffi::flashllmDenseToSparse_analysis(
                handle.raw,
                dense.raw,
                self.raw,
                ALG_DEFAULT,
                scratch.pointer,
            )
        })
    }

    pub fn convert(&self, handle: &Handle, dense: &DnMat, scratch: &Buffer<'_>) -> Result<()> {
        // SAFETY: as above; the library has checked the size of the buffer it writes.
        check(unsafe {
            ffi::flashllmDenseToSparse_convert(
                handle.raw,
                dense.raw,
                self.raw,
                ALG_DEFAULT,
                scratch.pointer,
            )
        })
    }

    /// A descriptor of compressed bytes that already lie where the handle computes.
    pub fn adopt(
        handle: &Handle,
        rows: usize,
        cols: usize,
        format: c_int,
        buffer: &Buffer<'_>,
    ) -> Result<Self> {
        let sparse = Self::new(rows, cols, format)?;
        sparse.set_buffer(handle, buffer)?;
        Ok(sparse)
    }

    pub fn set_buffer(&self, handle: &Handle, buffer: &Buffer<'_>) -> Result<()> {
        // SAFETY: both are alive and the size is the buffer's own.
        check(unsafe {
            ffi::flashllmSpMatSetBuffer(handle.raw, self.raw, buffer.pointer, buffer.bytes)
        })
    }

    pub fn size(&self) -> Result<SpSize> {
        let mut s = SpSize { rows: 0, cols: 0, nnz: 0, bytes: 0 };
        // SAFETY: four places for four answers.
        check(unsafe {
            ffi::flashllmSpMatGetSize(self.raw, &mut s.rows, &mut s.cols, &mut s.nnz, &mut s.bytes)
        })?;
        Ok(s)
    }

    pub fn format(&self) -> Result<c_int> {
        let mut format = 0;
        // SAFETY: a place for the answer.
        check(unsafe { ffi::flashllmSpMatGetFormat(self.raw, &mut format) })?;
        Ok(format)
    }

    /// Decompresses into dense fp16 bits where the handle computes.
    pub fn decompress(&self, handle: &Handle, dense: &DnMat) -> Result<()> {
        self.start_decompress(handle, dense)?;
        handle.synchronize()
    }

    /// Puts that on the handle's stream.
    pub fn start_decompress(&self, handle: &Handle, dense: &DnMat) -> Result<()> {
        let mut bytes = 0;
        // SAFETY: all three objects are alive; `bytes` is a place for the size.
        check(unsafe {
            ffi::flashllmSparseToDense_bufferSize(
                handle.raw,
                self.raw,
                dense.raw,
                ALG_DEFAULT,
                &mut bytes,
            )
        })?;
        let scratch = handle.alloc(bytes)?;
        // SAFETY: as above, with a scratch of that size.
        check(unsafe {
            ffi::flashllmSparseToDense(
                handle.raw,
                self.raw,
                dense.raw,
                ALG_DEFAULT,
                scratch.pointer,
            )
        })
    }
}

impl Drop for SpMat {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        let _ = unsafe { ffi::flashllmDestroySpMat(self.raw) };
    }
}

impl DnMat {
    /// Bytes of workspace that [`DnMat::prune`] needs.
    pub fn prune_scratch_bytes(&self, handle: &Handle, to: &Self, alg: c_int) -> Result<usize> {
        let mut bytes = 0;
        // SAFETY: live objects, a place for the size.
        check(unsafe {
            ffi::flashllmPrune_bufferSize(handle.raw, self.raw, to.raw, alg, &mut bytes)
        })?;
        Ok(bytes)
    }

    /// Prunes into `to`, which may be `self`.
    pub fn prune(
        &self,
        handle: &Handle,
        to: &Self,
        alg: c_int,
        sparsity: f64,
        scratch: &Buffer<'_>,
    ) -> Result<()> {
        // SAFETY: live objects; the scratch is as large as was asked for.
        check(unsafe {
            ffi::flashllmPrune(handle.raw, self.raw, to.raw, alg, sparsity, scratch.pointer)
        })
    }
}

impl SpMat {
    /// Whether this is the dense matrix compressed.
    pub fn agrees(&self, handle: &Handle, dense: &DnMat) -> Result<bool> {
        let (mut bytes, mut agrees) = (0, -1);
        // SAFETY: live objects, a place for the size.
        check(unsafe {
            ffi::flashllmPruneCheck_bufferSize(handle.raw, self.raw, dense.raw, &mut bytes)
        })?;
        let scratch = handle.alloc(bytes)?;
        // SAFETY: as above, with a scratch of that size and a place for the answer.
        check(unsafe {
            ffi::flashllmPruneCheck(handle.raw, self.raw, dense.raw, &mut agrees, scratch.pointer)
        })?;
        assert!(agrees == 0 || agrees == 1, "agrees = {agrees}");
        Ok(agrees == 1)
    }

    /// Compresses a CSR matrix that lies where the handle computes; both passes.
    pub fn compress_csr<'h>(
        handle: &'h Handle,
        rows: usize,
        cols: usize,
        csr: &CsrMat,
        format: c_int,
    ) -> Result<(Self, Buffer<'h>)> {
        let sparse = Self::with_type(rows, cols, format, csr.dtype)?;
        let mut bytes = 0;
        // SAFETY: live objects, a place for the size.
        check(unsafe {
            ffi::flashllmCsrToSparse_bufferSize(
                handle.raw,
                csr.raw,
                sparse.raw,
                ALG_DEFAULT,
                &mut bytes,
            )
        })?;
        let scratch = handle.alloc(bytes)?;
        // SAFETY: as above, with a scratch of that size.
        check(unsafe {
            ffi::flashllmCsrToSparse_analysis(
                handle.raw,
                csr.raw,
                sparse.raw,
                ALG_DEFAULT,
                scratch.pointer,
            )
        })?;
        let buffer = handle.alloc(sparse.size()?.bytes)?;
        sparse.set_buffer(handle, &buffer)?;
        // SAFETY: as above.
        check(unsafe {
            ffi::flashllmCsrToSparse_convert(
                handle.raw,
                csr.raw,
                sparse.raw,
                ALG_DEFAULT,
                scratch.pointer,
            )
        })?;
        handle.synchronize()?;
        Ok((sparse, buffer))
    }
}

/// A CSR descriptor. It borrows memory by address, unchecked.
pub struct CsrMat {
    raw: Raw,
    dtype: c_int,
}

impl CsrMat {
    /// `offsets` and `columns` are (address, type).
    pub fn new(
        shape: (usize, usize, usize),
        offsets: (Raw, c_int),
        columns: (Raw, c_int),
        values: Raw,
        base: c_int,
    ) -> Result<Self> {
        Self::with_type(shape, offsets, columns, values, base, R_16F)
    }

    pub fn with_type(
        shape: (usize, usize, usize),
        offsets: (Raw, c_int),
        columns: (Raw, c_int),
        values: Raw,
        base: c_int,
        dtype: c_int,
    ) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is a place for the descriptor; creating one does not touch the arrays.
        check(unsafe {
            ffi::flashllmCreateCsr(
                &mut raw,
                shape.0 as i64,
                shape.1 as i64,
                shape.2 as i64,
                offsets.0,
                columns.0,
                values,
                offsets.1,
                columns.1,
                base,
                dtype,
            )
        })?;
        Ok(Self { raw, dtype })
    }
}

impl Drop for CsrMat {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        let _ = unsafe { ffi::flashllmDestroyCsr(self.raw) };
    }
}

/// The arguments of one multiplication.
pub struct Spmm<'a> {
    pub handle: &'a Handle,
    pub op_b: c_int,
    pub alpha: f32,
    pub a: &'a SpMat,
    pub b: &'a DnMat,
    pub beta: f32,
    pub c: &'a DnMat,
}

impl Spmm<'_> {
    pub fn workspace_bytes(&self) -> Result<usize> {
        let mut bytes = 0;
        // SAFETY: every object is alive, the scalars are host floats, `bytes` is a place for the size.
        check(unsafe {
            ffi::flashllmSpMM_bufferSize(
                self.handle.raw,
                NON_TRANSPOSE,
                self.op_b,
                (&raw const self.alpha).cast(),
                self.a.raw,
                self.b.raw,
                (&raw const self.beta).cast(),
                self.c.raw,
                R_32F,
                ALG_DEFAULT,
                &mut bytes,
            )
        })?;
        Ok(bytes)
    }

    pub fn preprocess(&self, workspace: Raw) -> Result<()> {
        // SAFETY: as above, with a workspace of the size that was asked for.
        check(unsafe {
            ffi::flashllmSpMM_preprocess(
                self.handle.raw,
                NON_TRANSPOSE,
                self.op_b,
                (&raw const self.alpha).cast(),
                self.a.raw,
                self.b.raw,
                (&raw const self.beta).cast(),
                self.c.raw,
                R_32F,
                ALG_DEFAULT,
                workspace,
            )
        })
    }

    pub fn run(&self, workspace: Raw) -> Result<()> {
        // SAFETY: as above; the memory behind the descriptors stays alive until the stream is synchronised.
        check(unsafe {
            ffi::flashllmSpMM(
                self.handle.raw,
                NON_TRANSPOSE,
                self.op_b,
                (&raw const self.alpha).cast(),
                self.a.raw,
                self.b.raw,
                (&raw const self.beta).cast(),
                self.c.raw,
                R_32F,
                ALG_DEFAULT,
                workspace,
            )
        })
    }
}
