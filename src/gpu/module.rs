//! The embedded kernels: loaded once, when a context is bound, and never while computing.

use std::ffi::c_int;

use cust::module::Module;

use super::kernels::{ConvertKernel, Entry, KernelId};
use super::sys::{self, RawFunction};
use crate::error::{Error, Kind, Result};
use crate::plan::DeviceProps;
use crate::types::DType;

#[cfg(not(no_kernels))]
include!(concat!(env!("OUT_DIR"), "/images.rs"));
/// (file stem of the kernel source, fatbin).
#[cfg(no_kernels)]
static IMAGES: &[(&str, &[u8])] = &[];

/// Dynamic shared memory that needs no opt-in.
const SMEM_WITHOUT_OPT_IN: u32 = 48 * 1024;

/// Place of an element type's kernels.
fn type_index(dtype: DType) -> usize {
    usize::from(dtype == DType::BF16)
}

/// Modules of one context and the kernels in them.
#[derive(Default)]
pub(super) struct Kernels {
    /// Kept so that the functions stay valid; dropping one unloads it, with the context current.
    modules: Vec<(String, Module)>,
    /// By `KernelId as usize`, `Entry as usize` and `type_index`; `None` where there is none, and for kernels that this device cannot
    /// run.
    functions: Vec<[[Option<RawFunction>; 2]; Entry::ALL.len()]>,
    /// By `ConvertKernel as usize`; every device can run them, and they do not look at the element type.
    conversions: Vec<RawFunction>,
}

impl Kernels {
    /// Loads every kernel that the device can run into the current context.
    pub(super) fn load(props: &DeviceProps) -> Result<Self> {
        let mut this = Self::default();
        for &id in KernelId::ALL {
            let mut functions = [[None; 2]; Entry::ALL.len()];
            if id.runs_on(props.cc) {
                let smem = id.max_dynamic_smem(props.smem_per_block_optin);
                for &dtype in id.types() {
                    for &entry in Entry::ALL.iter().filter(|&&entry| id.has(entry)) {
                        let symbol = id.entry_symbol(entry, dtype);
                        let function = this.load_function(&id.image(dtype), &symbol, smem)?;
                        functions[entry as usize][type_index(dtype)] = Some(function);
                    }
                }
            }
            this.functions.push(functions);
        }
        for &kernel in ConvertKernel::ALL {
            let function = this.load_function(kernel.image(), kernel.symbol(), 0)?;
            this.conversions.push(function);
        }
        Ok(this)
    }

    /// One kernel, ready to be launched with up to `smem` bytes of dynamic shared memory.
    fn load_function(&mut self, image: &str, symbol: &str, smem: u32) -> Result<RawFunction> {
        let index = self.module(image)?;
        let function: RawFunction = match self.modules[index].1.get_function(symbol) {
            Ok(function) => function.to_raw().cast(),
            Err(_) => {
                return Err(sys::last_error(&format!("cuModuleGetFunction({symbol})")));
            }
        };
        if smem > SMEM_WITHOUT_OPT_IN {
            let bytes = c_int::try_from(smem).map_err(|_| {
                Error::new(
                    Kind::InternalError,
                    format!(
                        "{symbol} asks for {smem} bytes of shared memory, at most {} exist",
                        c_int::MAX
                    ),
                )
            })?;
            // SAFETY: a function of a module that lives in `self`.
            unsafe {
                sys::cuFuncSetAttribute(
                    function,
                    sys::FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    bytes,
                )
            }
            .check("cuFuncSetAttribute")?;
        }
        // By default the driver loads a kernel's code at its first launch, which may allocate, synchronise,
        // or break a stream capture. Asking for an attribute loads it now.
        let mut registers: c_int = 0;
        // SAFETY: as above, and a valid place for an integer.
        unsafe {
            sys::cuFuncGetAttribute(&raw mut registers, sys::FUNC_ATTRIBUTE_NUM_REGS, function)
        }
        .check("cuFuncGetAttribute")?;
        Ok(function)
    }

    /// Index of the module of an image, loaded at its first use.
    fn module(&mut self, image: &str) -> Result<usize> {
        if let Some(index) = self.modules.iter().position(|m| m.0 == image) {
            return Ok(index);
        }
        let Some((_, bytes)) = IMAGES.iter().find(|i| i.0 == image) else {
            return Err(Error::new(
                Kind::InternalError,
                format!("kernel image {image} is not in this build"),
            ));
        };
        let module = Module::from_fatbin(bytes, &[])
            .map_err(|_| sys::last_error(&format!("cuModuleLoadData({image})")))?;
        self.modules.push((image.to_owned(), module));
        Ok(self.modules.len() - 1)
    }

    /// A loaded kernel.
    pub(super) fn function(&self, id: KernelId, entry: Entry, dtype: DType) -> Result<RawFunction> {
        let function = self
            .functions
            .get(id as usize)
            .and_then(|entries| entries[entry as usize][type_index(dtype)]);
        function.ok_or_else(|| {
            Error::new(
                Kind::ArchMismatch,
                format!("kernel {} cannot run on this device", id.entry_symbol(entry, dtype)),
            )
        })
    }

    /// A loaded conversion kernel.
    pub(super) fn convert_function(&self, kernel: ConvertKernel) -> Result<RawFunction> {
        self.conversions.get(kernel as usize).copied().ok_or_else(|| {
            Error::new(Kind::InternalError, format!("kernel {} is not loaded", kernel.symbol()))
        })
    }

    /// Lets the modules of a context that is gone go without asking the driver to unload them.
    pub(super) fn forget(self) {
        let _ = std::mem::ManuallyDrop::new(self);
    }
}
