//! The baseline: dense fp16 `cublasGemmEx`, loaded at run time from wherever the machine has it.

use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;
use libloading::os::unix;

use crate::driver::{Ptr, Stream};

const OP_N: c_int = 0;
const OP_T: c_int = 1;
const CUDA_R_16F: c_int = 2;
const COMPUTE_32F: c_int = 68;
const GEMM_DEFAULT: c_int = -1;

type GemmEx = unsafe extern "C" fn(
    Ptr,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    *const c_void,
    u64,
    c_int,
    c_int,
    u64,
    c_int,
    c_int,
    *const c_void,
    u64,
    c_int,
    c_int,
    c_int,
    c_int,
) -> c_int;

/// A cuBLAS handle on a stream.
pub struct Cublas {
    handle: Ptr,
    gemm_ex: GemmEx,
    destroy: unsafe extern "C" fn(Ptr) -> c_int,
    /// "cublas-13.1.0".
    pub name: String,
    /// Where it was found.
    pub path: PathBuf,
    _library: Library,
    _lt: Option<Library>,
}

/// Dimensions and device addresses of one product C = A B: A row-major `m` x `k`, B column-major
/// `k` x `n`, C column-major `m` x `n`, all dense fp16.
#[derive(Clone, Copy)]
pub struct Gemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: u64,
    pub b: u64,
    pub c: u64,
}

impl Cublas {
    /// Loads cuBLAS on the current context. The error lists where it was looked for.
    pub fn load(stream: &Stream<'_>) -> Result<Self, String> {
        let mut tried = Vec::new();
        for path in candidates() {
            match Self::open(&path, stream) {
                Ok(cublas) => return Ok(cublas),
                Err(e) => tried.push(format!("  {}: {e}", path.display())),
            }
        }
        Err(format!(
            "cuBLAS was not found (pip install nvidia-cublas, or set CUBLAS_LIBRARY to its path); tried\n{}",
            tried.join("\n")
        ))
    }

    fn open(path: &Path, stream: &Stream<'_>) -> Result<Self, String> {
        // libcublas needs its libcublasLt; loaded first and for all, it need not be on any search path.
        let lt = path.parent().filter(|dir| !dir.as_os_str().is_empty()).and_then(|dir| {
            let name = path.file_name()?.to_str()?.replace("libcublas.", "libcublasLt.");
            // SAFETY: NVIDIA's libraries have no initialisers that ask anything of the caller.
            let library = unsafe {
                unix::Library::open(Some(dir.join(name)), unix::RTLD_NOW | unix::RTLD_GLOBAL)
            };
            library.ok().map(Library::from)
        });
        // SAFETY: as above.
        let library = unsafe { Library::new(path) }.map_err(|e| e.to_string())?;
        // SAFETY: the types are those of cublas_v2.h.
        let (create, destroy, set_stream, get_version, gemm_ex) = unsafe {
            (
                symbol::<unsafe extern "C" fn(*mut Ptr) -> c_int>(&library, "cublasCreate_v2")?,
                symbol::<unsafe extern "C" fn(Ptr) -> c_int>(&library, "cublasDestroy_v2")?,
                symbol::<unsafe extern "C" fn(Ptr, Ptr) -> c_int>(&library, "cublasSetStream_v2")?,
                symbol::<unsafe extern "C" fn(Ptr, *mut c_int) -> c_int>(
                    &library,
                    "cublasGetVersion_v2",
                )?,
                symbol::<GemmEx>(&library, "cublasGemmEx")?,
            )
        };
        let mut handle = std::ptr::null_mut();
        let mut version = 0;
        // SAFETY: a context is current; the out-pointers are places on the stack; the stream is alive.
        let status = unsafe {
            match create(&mut handle) {
                0 => get_version(handle, &mut version).max(set_stream(handle, stream.raw())),
                status => status,
            }
        };
        if status != 0 {
            return Err(format!("cublasCreate returned {status}"));
        }
        let name =
            format!("cublas-{}.{}.{}", version / 10_000, version % 10_000 / 100, version % 100);
        Ok(Self {
            handle,
            gemm_ex,
            destroy,
            name,
            path: path.to_owned(),
            _library: library,
            _lt: lt,
        })
    }

    /// Enqueues one product. cuBLAS is column-major: row-major A is its transposed k x m matrix (TN),
    /// so that both sides read the weights as [m, k] row-major.
    pub fn gemm(&self, g: &Gemm) -> Result<(), String> {
        let (alpha, beta) = (1.0f32, 0.0f32);
        let dim =
            |v: usize| c_int::try_from(v).map_err(|_| format!("cuBLAS takes no dimension of {v}"));
        let (m, n, k) = (dim(g.m)?, dim(g.n)?, dim(g.k)?);
        // SAFETY: the addresses are live device allocations of these sizes.
        let status = unsafe {
            (self.gemm_ex)(
                self.handle,
                OP_T,
                OP_N,
                m,
                n,
                k,
                (&raw const alpha).cast(),
                g.a,
                CUDA_R_16F,
                k,
                g.b,
                CUDA_R_16F,
                k,
                (&raw const beta).cast(),
                g.c,
                CUDA_R_16F,
                m,
                COMPUTE_32F,
                GEMM_DEFAULT,
            )
        };
        if status == 0 { Ok(()) } else { Err(format!("cublasGemmEx returned {status}")) }
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        // SAFETY: created by this library, destroyed once.
        unsafe { (self.destroy)(self.handle) };
    }
}

/// # Safety
/// `T` must be the symbol's type.
unsafe fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T, String> {
    // SAFETY: the caller's promise.
    unsafe { library.get::<T>(name.as_bytes()) }.map(|s| *s).map_err(|e| e.to_string())
}

/// What CUBLAS_LIBRARY names, and nothing else then. Newest first: the loader's search path (LD_LIBRARY_PATH, ldconfig), the toolkit's directories, then
/// the wheels of pip and of torch under every Python on the machine.
fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("CUBLAS_LIBRARY") {
        return vec![path.into()];
    }
    let names = ["libcublas.so.13", "libcublas.so.12"];
    let mut paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    let mut dirs: Vec<PathBuf> = Vec::new();
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(root) = std::env::var_os(variable) {
            dirs.push(Path::new(&root).join("lib64"));
        }
    }
    dirs.push("/usr/local/cuda/lib64".into());
    dirs.push("/usr/lib/x86_64-linux-gnu".into());
    for site in python_site_packages() {
        for package in ["nvidia/cu13/lib", "nvidia/cublas/lib", "torch/lib"] {
            dirs.push(site.join(package));
        }
    }
    for dir in dirs {
        paths.extend(names.iter().map(|name| dir.join(name)).filter(|path| path.exists()));
    }
    paths
}

fn python_site_packages() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = Vec::new();
    // A virtual environment, then the Pythons on PATH (their lib/ is beside their bin/).
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        roots.extend(std::env::var_os(variable).map(PathBuf::from));
    }
    for bin in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let python = bin.join("python3");
        if python.exists() {
            roots.extend(bin.parent().map(Path::to_owned));
            let real = std::fs::canonicalize(python).ok();
            roots.extend(real.and_then(|p| Some(p.parent()?.parent()?.to_owned())));
        }
    }
    roots.extend(["/usr", "/usr/local"].map(PathBuf::from));
    roots.extend(std::env::var_os("HOME").map(|home| Path::new(&home).join(".local")));
    let mut sites: Vec<PathBuf> = Vec::new();
    for root in roots {
        let versions = std::fs::read_dir(root.join("lib")).into_iter().flatten().flatten();
        let pythons = versions.filter(|e| e.file_name().to_string_lossy().starts_with("python3"));
        for python in pythons.map(|e| e.path()) {
            for site in [python.join("site-packages"), python.join("dist-packages")] {
                if site.is_dir() && !sites.contains(&site) {
                    sites.push(site);
                }
            }
        }
    }
    sites
}
