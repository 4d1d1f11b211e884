//! The registry of live objects. A C handle is a generational key into it, dressed as a pointer.
//!
//! Nothing here dereferences what C passes, so a NULL, wild, stale, twice-destroyed or wrong-kind
//! handle is always found out. A key is (slot, generation): a slot's generation changes when it is
//! emptied, so an old key does not fit the slot's next tenant. Generations are 31 bits wide: a stale
//! key could only be mistaken after 2^31 reuses of its slot.

use std::ptr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use slotmap::{DefaultKey, Key, KeyData, SlotMap};

use super::csr::flashllmCsrDescr;
use super::plan::SpMMPlan;
use super::safetensors::{SafetensorsFile, SafetensorsWriter};
use super::types::{
    flashllmContext, flashllmDnMatDescr, flashllmSafetensors, flashllmSafetensorsWriter,
    flashllmSpMMPlan, flashllmSpMatDescr,
};
use crate::descr::{CsrMat, DnMat, SpMat};
use crate::error::{Error, Kind, Result};
use crate::handle::Context;

/// A live object; the variant is the kind tag.
enum Object {
    Context(Arc<Context>),
    DnMat(Arc<DnMat>),
    SpMat(Arc<SpMat>),
    Plan(Arc<SpMMPlan>),
    SafetensorsFile(Arc<SafetensorsFile>),
    SafetensorsWriter(Arc<SafetensorsWriter>),
    CsrMat(Arc<CsrMat>),
}

impl Object {
    fn noun(&self) -> &'static str {
        match self {
            Self::Context(_) => "a library handle",
            Self::DnMat(_) => "a dense matrix descriptor",
            Self::SpMat(_) => "a compressed matrix descriptor",
            Self::Plan(_) => "a plan",
            Self::SafetensorsFile(_) => "an open .safetensors file",
            Self::SafetensorsWriter(_) => "a writer of a .safetensors file",
            Self::CsrMat(_) => "a CSR matrix descriptor",
        }
    }
}

/// Every live object, by key.
type Objects = SlotMap<DefaultKey, Wrapped>;

/// Read-mostly: a lookup takes the read lock and clones an `Arc`; only Create and Destroy write.
/// The lock is never held while an object is used or ends.
static OBJECTS: RwLock<Option<Objects>> = RwLock::new(None);

/// A type whose values live in the registry.
pub trait Registered: Sized {
    /// The opaque C type.
    type Opaque;
    /// What the error for a bad handle says and which status it has.
    const NOUN: &'static str;
    /// Status of a bad handle of this kind.
    const KIND: Kind;
    #[doc(hidden)]
    fn wrap(this: Arc<Self>) -> Wrapped;
    #[doc(hidden)]
    fn unwrap(object: &Wrapped) -> std::result::Result<&Arc<Self>, &'static str>;
}

/// An object in the registry.
pub struct Wrapped(Object);

macro_rules! registered {
    ($type:ty, $variant:ident, $opaque:ty, $noun:literal, $kind:expr) => {
        impl Registered for $type {
            type Opaque = $opaque;
            const NOUN: &'static str = $noun;
            const KIND: Kind = $kind;
            fn wrap(this: Arc<Self>) -> Wrapped {
                Wrapped(Object::$variant(this))
            }
            fn unwrap(object: &Wrapped) -> std::result::Result<&Arc<Self>, &'static str> {
                match &object.0 {
                    Object::$variant(this) => Ok(this),
                    other => Err(other.noun()),
                }
            }
        }
    };
}
registered!(Context, Context, flashllmContext, "a library handle", Kind::NotInitialized);
registered!(DnMat, DnMat, flashllmDnMatDescr, "a dense matrix descriptor", Kind::InvalidValue);
registered!(
    SafetensorsFile,
    SafetensorsFile,
    flashllmSafetensors,
    "an open .safetensors file",
    Kind::InvalidValue
);
registered!(
    SafetensorsWriter,
    SafetensorsWriter,
    flashllmSafetensorsWriter,
    "a writer of a .safetensors file",
    Kind::InvalidValue
);
registered!(CsrMat, CsrMat, flashllmCsrDescr, "a CSR matrix descriptor", Kind::InvalidValue);
registered!(SpMat, SpMat, flashllmSpMatDescr, "a compressed matrix descriptor", Kind::InvalidValue);
registered!(SpMMPlan, Plan, flashllmSpMMPlan, "a plan", Kind::InvalidValue);

/// Registers `object` and gives its key to C.
pub fn insert<T: Registered>(object: T) -> *mut T::Opaque {
    let wrapped = T::wrap(Arc::new(object));
    let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
    let key = objects.get_or_insert_with(SlotMap::new).insert(wrapped);
    // Keys are never 0 (a generation in use is odd), so none looks like NULL.
    ptr::without_provenance_mut(key.data().as_ffi() as usize)
}

/// The registry while nothing enters or leaves it. A product looks its objects up through one of these: a lock
/// for each of them would cost more than everything else that is done with them.
pub struct Look(RwLockReadGuard<'static, Option<Objects>>);

/// Takes the registry's lock, for look-ups alone: Create and Destroy wait until the result is dropped, and so would
/// another look of this thread behind them.
pub fn look() -> Look {
    Look(OBJECTS.read().unwrap_or_else(PoisonError::into_inner))
}

impl Look {
    /// The live object behind a handle.
    #[inline(always)] // capi/spmm.rs says why.
    pub fn get<T: Registered>(&self, handle: *const T::Opaque, name: &str) -> Result<Arc<T>> {
        find(self.0.as_ref(), handle, name).map(Arc::clone)
    }

    /// What `f` says of the live object behind a handle. It looks nothing up itself, nor waits for who does.
    #[inline(always)] // capi/spmm.rs says why.
    pub fn read<T: Registered, R>(
        &self,
        handle: *const T::Opaque,
        name: &str,
        f: impl FnOnce(&T) -> R,
    ) -> Result<R> {
        find(self.0.as_ref(), handle, name).map(|object| f(object))
    }
}

/// The live object behind a handle.
pub fn get<T: Registered>(handle: *const T::Opaque, name: &str) -> Result<Arc<T>> {
    look().get(handle, name)
}

/// Takes the object out of the registry. It ends when the last call that still uses it returns.
pub fn remove<T: Registered>(handle: *const T::Opaque, name: &str) -> Result<Arc<T>> {
    // Holding the write lock over check and removal lets one of two concurrent Destroys win.
    let (object, _slot) = {
        let mut objects = OBJECTS.write().unwrap_or_else(PoisonError::into_inner);
        let object = Arc::clone(find(objects.as_ref(), handle, name)?);
        (object, objects.as_mut().zip(key_of(handle)).and_then(|(o, key)| o.remove(key)))
    };
    Ok(object)
}

#[inline(always)] // capi/spmm.rs says why.
fn find<'o, T: Registered>(
    objects: Option<&'o Objects>,
    handle: *const T::Opaque,
    name: &str,
) -> Result<&'o Arc<T>> {
    match objects.zip(key_of(handle)).and_then(|(o, key)| o.get(key)).map(T::unwrap) {
        Some(Ok(object)) => Ok(object),
        Some(Err(other)) => Err(refused::<T>(handle, name, Some(other))),
        None => Err(refused::<T>(handle, name, None)),
    }
}

fn key_of<O>(handle: *const O) -> Option<DefaultKey> {
    let bits = handle.addr() as u64;
    let data = KeyData::from_ffi(bits);
    // from_ffi repairs bits that no key has; what it had to repair is not one of ours.
    (data.as_ffi() == bits).then(|| DefaultKey::from(data))
}

#[cold]
fn refused<T: Registered>(handle: *const T::Opaque, name: &str, other: Option<&str>) -> Error {
    let reason = match other {
        _ if handle.is_null() => format!("{name} is NULL"),
        Some(other) => format!("{name} = {handle:p} is {other}, not {}", T::NOUN),
        None => format!("{name} = {handle:p} is not {}, or was destroyed", T::NOUN),
    };
    Error::new(T::KIND, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DType, Order};

    fn dense() -> DnMat {
        DnMat::new(1, 1, 1, Order::Row, DType::F16, 64, false).unwrap()
    }

    #[test]
    fn only_live_keys_of_the_right_kind_are_found() {
        let d = insert(dense());
        assert!(get::<DnMat>(d, "d").is_ok());
        let e = get::<Context>(d.cast(), "handle").err().unwrap();
        assert_eq!(e.kind(), Kind::NotInitialized);
        assert!(e.message().contains("is a dense matrix descriptor, not a library handle"), "{e}");
        assert_eq!(remove::<SpMat>(d.cast(), "s").err().unwrap().kind(), Kind::InvalidValue);
        assert!(remove::<DnMat>(d, "d").is_ok());
        assert_eq!(remove::<DnMat>(d, "d").err().unwrap().kind(), Kind::InvalidValue);
        assert_eq!(get::<DnMat>(d, "d").err().unwrap().kind(), Kind::InvalidValue);
        // The slot's next tenant has another generation.
        let next = insert(dense());
        assert_ne!(next, d);
        assert!(get::<DnMat>(d, "d").is_err());
        remove::<DnMat>(next, "d").unwrap();
    }

    #[test]
    fn wild_pointers_are_refused() {
        for address in [0, 1, 0x10, 0x7fff_ffff_f000, 0xdead_beef_dead_beef, usize::MAX, 1 << 32] {
            let p = ptr::without_provenance::<flashllmContext>(address);
            assert_eq!(get::<Context>(p, "handle").err().unwrap().kind(), Kind::NotInitialized);
        }
    }

    #[test]
    fn an_object_in_use_outlives_its_removal() {
        let d = insert(dense());
        let used = get::<DnMat>(d, "d").unwrap();
        remove::<DnMat>(d, "d").unwrap();
        assert_eq!(used.layout().rows, 1);
    }

    #[test]
    fn lookups_are_cheap() {
        let d = insert(dense());
        let start = std::time::Instant::now();
        let calls = 100_000_u32;
        for _ in 0..calls {
            std::hint::black_box(get::<DnMat>(d, "d").unwrap());
        }
        let each = start.elapsed() / calls;
        remove::<DnMat>(d, "d").unwrap();
        // Measured at tens of ns in release; the bound leaves room for debug builds and busy machines.
        assert!(each.as_micros() < 20, "{each:?} a lookup");
    }
}
