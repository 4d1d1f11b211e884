//! `load`: stored matrices to device memory, in compressed bytes a second, beside a copy from pinned memory.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Instant;

use crate::api::{self, Buffer, Handle, Raw, SpMat};
use crate::args::{Args, format_name};
use crate::csv::{self, Row};
use crate::data;
use crate::driver::{Driver, Stream};
use crate::env;
use crate::gpu::Gpu;
use crate::shapes;
use crate::stats::Summary;

pub const HELP: &str = "\
load: stored matrices from the page cache to the GPU, beside a copy from pinned memory
  --shapes LIST     as for spmm                                       [12288x12288]
  --sparsity LIST   per cents                                         [80]
  --format LIST     banked, bitmap, sell, slots, tiled-csl, auto     [slots,banked,bitmap]
  --dir DIR         where the files are written, and removed          [the system's temporary folder]
  --iters N         timed repetitions                                 [10]
  --out FILE        CSV to append to        [bench/results/<device>-<date>.csv]
  --commit NAME, --seed N";

mod ffi {
    use super::{Raw, c_char, c_int, c_void};

    unsafe extern "C" {
        pub fn flashllmSpMatSave(h: Raw, a: Raw, path: *const c_char) -> c_int;
        pub fn flashllmSpMatLoad(
            h: Raw,
            a: *mut Raw,
            path: *const c_char,
            verify: c_int,
            buffer: Raw,
            bytes: usize,
        ) -> c_int;
        pub fn flashllmSpMatDeserialize(
            h: Raw,
            a: *mut Raw,
            stored: *const c_void,
            stored_bytes: usize,
            verify: c_int,
            buffer: Raw,
            bytes: usize,
        ) -> c_int;
        pub fn flashllmDestroySpMat(a: Raw) -> c_int;
        pub fn flashllmSafetensorsOpen(file: *mut Raw, path: *const c_char) -> c_int;
        pub fn flashllmSafetensorsClose(file: Raw) -> c_int;
        pub fn flashllmSafetensorsLoadSpMat(
            h: Raw,
            file: Raw,
            index: usize,
            a: *mut Raw,
            verify: c_int,
            buffer: Raw,
            bytes: usize,
        ) -> c_int;
        pub fn flashllmSafetensorsWriterCreate(
            writer: *mut Raw,
            path: *const c_char,
            expected: usize,
        ) -> c_int;
        pub fn flashllmSafetensorsWriterAddSpMat(
            h: Raw,
            writer: Raw,
            name: *const c_char,
            a: Raw,
        ) -> c_int;
        pub fn flashllmSafetensorsWriterFinish(writer: Raw) -> c_int;
        pub fn flashllmSafetensorsWriterDestroy(writer: Raw) -> c_int;
    }
}

const NAME: &CStr = c"weight";
/// What `flashllmVerify_t` calls them.
const VERIFY: [(&str, c_int); 3] = [("full", 0), ("checksum", 1), ("header", 2)];

/// Two files of one matrix, removed on drop.
struct Files {
    store: PathBuf,
    model: PathBuf,
}

impl Files {
    fn write(host: &Handle, sparse: &SpMat, dir: &Path) -> Result<Self, String> {
        let path = |end: &str| dir.join(format!("flash_llm_bench-{}.{end}", std::process::id()));
        let files = Self { store: path("fllm"), model: path("safetensors") };
        let text = |e: api::Failure| format!("{}: {e}", dir.display());
        // SAFETY: a live handle and matrix, and a NUL-terminated path.
        api::check(unsafe {
            ffi::flashllmSpMatSave(host.raw(), sparse.raw(), c_path(&files.store)?.as_ptr())
        })
        .map_err(text)?;
        let mut writer = ptr::null_mut();
        // SAFETY: a place for the writer; it is destroyed below.
        api::check(unsafe {
            ffi::flashllmSafetensorsWriterCreate(&raw mut writer, c_path(&files.model)?.as_ptr(), 1)
        })
        .map_err(text)?;
        // SAFETY: live objects.
        let written = api::check(unsafe {
            ffi::flashllmSafetensorsWriterAddSpMat(host.raw(), writer, NAME.as_ptr(), sparse.raw())
        })
        .and_then(|()| {
            // SAFETY: a live writer.
            api::check(unsafe { ffi::flashllmSafetensorsWriterFinish(writer) })
        });
        // SAFETY: destroyed once.
        unsafe { ffi::flashllmSafetensorsWriterDestroy(writer) };
        written.map_err(text)?;
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.store);
        let _ = std::fs::remove_file(&self.model);
    }
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| format!("{}: a path without NUL is needed", path.display()))
}

/// An open .safetensors file.
struct Model(Raw);

impl Model {
    fn open(path: &Path) -> Result<Self, String> {
        let mut raw = ptr::null_mut();
        // SAFETY: a place for the file and a NUL-terminated path.
        api::check(unsafe { ffi::flashllmSafetensorsOpen(&raw mut raw, c_path(path)?.as_ptr()) })
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(raw))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: closed once.
        unsafe { ffi::flashllmSafetensorsClose(self.0) };
    }
}

/// Wall clock of calls that wait for the device themselves; the first one is not counted.
fn time(iters: usize, mut run: impl FnMut() -> Result<(), String>) -> Result<Summary, String> {
    run()?;
    let mut samples = Vec::with_capacity(iters);
    for _ in 0..iters {
        let started = Instant::now();
        run()?;
        samples.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Summary::of(&samples).ok_or_else(|| "nothing was timed".to_owned())
}

/// One stored matrix in its three places.
struct Stored<'a> {
    path: CString,
    bytes: Vec<u8>,
    model: Model,
    handle: &'a Handle,
    buffer: &'a Buffer<'a>,
}

impl Stored<'_> {
    fn load(&self, op: &str, verify: c_int) -> Result<(), String> {
        let (handle, mut a) = (self.handle.raw(), ptr::null_mut());
        let (to, room) = (self.buffer.pointer(), self.buffer.bytes());
        // SAFETY: live objects, a place for the descriptor, a buffer of the device and its size.
        let status = unsafe {
            match op {
                "load-memory" => ffi::flashllmSpMatDeserialize(
                    handle,
                    &raw mut a,
                    self.bytes.as_ptr().cast(),
                    self.bytes.len(),
                    verify,
                    to,
                    room,
                ),
                "load-file" => {
                    ffi::flashllmSpMatLoad(handle, &raw mut a, self.path.as_ptr(), verify, to, room)
                }
                _ => ffi::flashllmSafetensorsLoadSpMat(
                    handle,
                    self.model.0,
                    0,
                    &raw mut a,
                    verify,
                    to,
                    room,
                ),
            }
        };
        api::check(status).map_err(|e| format!("{op}: {e}"))?;
        // SAFETY: made above, destroyed once.
        api::check(unsafe { ffi::flashllmDestroySpMat(a) }).map_err(|e| e.to_string())
    }
}

pub fn run(arguments: &[String]) -> Result<(), String> {
    let valued = ["shapes", "sparsity", "format", "dir", "iters", "out", "commit", "seed"];
    let args = Args::parse(arguments, &valued, &[])?;
    let layers = shapes::select(args.text("shapes", "12288x12288"))?;
    let sparsities = args.sparsities("80")?;
    let formats = args.formats("slots,banked,bitmap")?;
    let iters = args.number("iters", 10)?;
    let seed = args.number("seed", 1)? as u64;
    let dir = args.optional("dir").map_or_else(std::env::temp_dir, PathBuf::from);

    let driver = Driver::load()?;
    let stream = driver.stream()?;
    let gpu = Gpu::new(&driver, &stream)?;
    let host = Handle::host().map_err(|e| e.to_string())?;
    let default_out = format!("bench/results/{}-{}.csv", env::slug(&gpu.device), env::today());
    let out = args.text("out", &default_out);

    println!("{}; {}; files in {}; library: {}", gpu.device, env::cpu(), dir.display(), gpu.build);
    println!(
        "\n{:<18} {:>13} {:>6} {:<9} {:<17} {:<9} {:>10} {:>20} {:>7} {:>9} {:>10}",
        "layer",
        "shape",
        "zeros",
        "format",
        "op",
        "verify",
        "us",
        "p5..p95",
        "GB/s",
        "pinned us",
        "bytes"
    );
    for layer in &layers {
        let (m, k) = (layer.m, layer.k);
        let text = |e: api::Failure| format!("{m}x{k}: {e}");
        for &sparsity in &sparsities {
            let mut dense = data::pruned_weights(m, k, sparsity, data::Mask::Uniform, seed);
            for &format in &formats {
                let values = dense.as_mut_ptr().cast();
                let (sparse, compressed) =
                    SpMat::compress(&host, m, k, k, api::ORDER_ROW, values, format)
                        .map_err(text)?;
                let format = format_name(sparse.format().map_err(text)?);
                let content: Vec<u8> = compressed.read(0, compressed.bytes()).map_err(text)?;
                let files = Files::write(&host, &sparse, &dir)?;
                let buffer = gpu.handle.alloc(content.len()).map_err(text)?;
                let pinned = pinned_copy(&driver, &stream, content.len(), iters)?;
                let stored = Stored {
                    path: c_path(&files.store)?,
                    bytes: std::fs::read(&files.store).map_err(|e| e.to_string())?,
                    model: Model::open(&files.model)?,
                    handle: &gpu.handle,
                    buffer: &buffer,
                };
                let mut rows = Vec::new();
                for op in ["load-memory", "load-file", "load-safetensors"] {
                    for (verify, number) in VERIFY {
                        buffer.write(0, &vec![0xa5_u8; content.len()]).map_err(text)?;
                        let us = time(iters, || stored.load(op, number))?;
                        let loaded: Vec<u8> = buffer.read(0, content.len()).map_err(text)?;
                        if loaded != content {
                            return Err(format!("WRONG: {m}x{k} {format}: {op} changed bytes"));
                        }
                        let row = Row {
                            format: format.to_owned(),
                            m,
                            k,
                            sparsity,
                            us: us.median,
                            us_p5: us.p5,
                            us_p95: us.p95,
                            baseline: "pinned-copy".to_owned(),
                            baseline_us: Some(pinned.median),
                            bytes: content.len(),
                            gbps: content.len() as f64 / us.median * 1e-3,
                            kernel: format!("verify-{verify}"),
                            ..gpu.row(op, args.text("commit", env::COMMIT))?
                        };
                        println!(
                            "{:<18.18} {:>13} {:>4.0} % {format:<9} {op:<17} {verify:<9} {:>10.1} {:>9.1}..{:<9.1} {:>7.1} {:>9.1} {:>10}",
                            layer.name,
                            format!("{m}x{k}"),
                            100.0 * sparsity,
                            row.us,
                            row.us_p5,
                            row.us_p95,
                            row.gbps,
                            pinned.median,
                            row.bytes
                        );
                        rows.push(row);
                    }
                }
                csv::append(Path::new(out), &rows)?;
            }
        }
    }
    println!("\nrows appended to {out}");
    Ok(())
}

/// A copy of as many bytes from pinned host memory, which is what PCIe gives.
fn pinned_copy(
    driver: &Driver,
    stream: &Stream<'_>,
    bytes: usize,
    iters: usize,
) -> Result<Summary, String> {
    let (from, to) = (driver.pinned(bytes)?, driver.alloc(bytes)?);
    time(iters, || {
        to.copy_from_host(&from, stream)?;
        stream.synchronize()
    })
}
