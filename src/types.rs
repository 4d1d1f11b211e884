//! Small shared types and checked size arithmetic.

use crate::error::{Error, Kind, Result};

/// Element type of a matrix. The numbers are `cudaDataType`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DType {
    /// IEEE single precision.
    F32 = 0,
    /// IEEE half precision.
    F16 = 2,
    /// bfloat16: the upper half of single precision.
    BF16 = 14,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// Memory order of a dense matrix. The numbers are cuSPARSE's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Order {
    /// Element (r, c) at `r + c * ld`.
    Col = 1,
    /// Element (r, c) at `r * ld + c`.
    Row = 2,
}

/// Storage format of a compressed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Format {
    /// Flash-LLM's tiles of 32-bit (value, location) items.
    TiledCsl = 1,
    /// One mask bit an element in MMA fragment order, and packed values.
    Bitmap = 2,
    /// Metadata of sparse MMA instructions for every group of four columns, and the values of its slots.
    Slots = 3,
    /// Registers of MMA fragments, without those that are zero, dealt to the banks of shared memory.
    Banked = 4,
    /// Rows dealt to the eight 16-byte groups of shared memory's banks as sliced lists of column deltas and values.
    Sell = 5,
}

impl Format {
    /// Every format, by number.
    pub const ALL: [Self; 5] =
        [Self::TiledCsl, Self::Bitmap, Self::Slots, Self::Banked, Self::Sell];
}

/// What FORMAT_AUTO prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preference {
    /// Speed of products with up to 24 columns.
    #[default]
    Speed,
    /// Fewer bytes.
    Size,
    /// Speed of products with more columns.
    Columns,
    /// Speed of products with up to 8 columns.
    FewColumns,
}

/// What becomes of the elements of a product. The numbers are those of the kernels (fl_params.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Activation {
    /// The identity.
    #[default]
    None = 0,
    /// max(v, 0).
    Relu = 1,
    /// v / 2 * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 v^3))).
    GeluTanh = 2,
    /// v / 2 * (1 + erf(v / sqrt(2))).
    GeluErf = 3,
    /// v / (1 + exp(-v)), also called swish.
    Silu = 4,
}

impl Activation {
    /// In single precision; a NaN stays one.
    pub fn apply(self, v: f32) -> f32 {
        match self {
            Self::None => v,
            Self::Relu if v < 0.0 => 0.0,
            Self::Relu => v,
            // The tanh of half an argument is a sigmoid.
            Self::GeluTanh => v / (1.0 + (-v * (1.595_769 + 0.071_354_814 * v * v)).exp()),
            Self::GeluErf => 0.5 * v * (1.0 + libm::erff(v * std::f32::consts::FRAC_1_SQRT_2)),
            Self::Silu => v / (1.0 + (-v).exp()),
        }
    }

    /// As [`Activation::apply`], by the definitions and in double precision.
    pub fn apply_f64(self, v: f64) -> f64 {
        match self {
            Self::None => v,
            Self::Relu if v < 0.0 => 0.0,
            Self::Relu => v,
            Self::GeluTanh => {
                let cubic = v + 0.044_715 * v * v * v;
                0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * cubic).tanh())
            }
            Self::GeluErf => 0.5 * v * (1.0 + libm::erf(v * std::f64::consts::FRAC_1_SQRT_2)),
            Self::Silu => v / (1.0 + (-v).exp()),
        }
    }
}

/// Shape, leading dimension and order of a dense matrix, checked by [`DenseLayout::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseLayout {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Distance between neighbouring columns (Col) or rows (Row), in elements.
    pub ld: usize,
    /// Memory order.
    pub order: Order,
}

impl DenseLayout {
    /// Checks that `ld` covers the contiguous dimension and that the extent fits `isize`.
    pub fn new(rows: usize, cols: usize, ld: usize, order: Order) -> Result<Self> {
        let (name, need) = match order {
            Order::Col => ("rows", rows),
            Order::Row => ("cols", cols),
        };
        if ld < need {
            return Err(Error::invalid(format!(
                "ld = {ld} is smaller than {name} = {need} ({order:?} order)"
            )));
        }
        let layout = Self { rows, cols, ld, order };
        let outer = match order {
            Order::Col => cols,
            Order::Row => rows,
        };
        checked_mul(checked_mul(outer, ld, "matrix extent")?, 8, "matrix extent in bytes")?;
        Ok(layout)
    }

    /// Position of element (r, c).
    #[inline]
    pub fn index(&self, r: usize, c: usize) -> usize {
        match self.order {
            Order::Col => r + c * self.ld,
            Order::Row => r * self.ld + c,
        }
    }

    /// Elements from the first to one past the last that the matrix touches.
    pub fn extent(&self) -> usize {
        if self.rows == 0 || self.cols == 0 {
            0
        } else {
            self.index(self.rows - 1, self.cols - 1) + 1
        }
    }

    /// Strides of (row, column) in elements.
    pub fn strides(&self) -> (usize, usize) {
        match self.order {
            Order::Col => (1, self.ld),
            Order::Row => (self.ld, 1),
        }
    }
}

/// `a * b`, or SIZE_OVERFLOW naming `what`.
pub fn checked_mul(a: usize, b: usize, what: &str) -> Result<usize> {
    a.checked_mul(b).filter(|&v| isize::try_from(v).is_ok()).ok_or_else(|| {
        Error::new(Kind::SizeOverflow, format!("{what}: {a} x {b} does not fit the address space"))
    })
}

/// `count` zeros in host memory for `what`, or ALLOC_FAILED.
pub fn zeros<T: Clone + Default>(count: usize, what: &str) -> Result<Vec<T>> {
    filled(T::default(), count, what)
}

/// `count` times `value`, as [`zeros`].
pub fn filled<T: Clone>(value: T, count: usize, what: &str) -> Result<Vec<T>> {
    let mut memory = reserved(count, what)?;
    memory.resize(count, value);
    Ok(memory)
}

/// `N` times `value`, as [`zeros`].
pub fn boxed<T: Clone, const N: usize>(value: T, what: &str) -> Result<Box<[T; N]>> {
    let memory = filled(value, N, what)?.into_boxed_slice();
    memory.try_into().map_err(|_| Error::new(Kind::InternalError, format!("{what} is misshapen")))
}

/// Room for `count` elements in host memory for `what`, or ALLOC_FAILED.
pub fn reserved<T>(count: usize, what: &str) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    reserve(&mut memory, count, what)?;
    Ok(memory)
}

/// Room for `count` more elements, as [`reserved`].
pub fn reserve<T>(memory: &mut Vec<T>, count: usize, what: &str) -> Result<()> {
    memory.try_reserve_exact(count).map_err(|_| {
        let bytes = count.saturating_mul(size_of::<T>());
        let sentence = format!("{bytes} bytes of host memory for {what} could not be allocated");
        Error::new(Kind::AllocFailed, sentence)
    })
}

/// `a + b`, or SIZE_OVERFLOW naming `what`.
pub fn checked_add(a: usize, b: usize, what: &str) -> Result<usize> {
    a.checked_add(b).filter(|&v| isize::try_from(v).is_ok()).ok_or_else(|| {
        Error::new(Kind::SizeOverflow, format!("{what}: {a} + {b} does not fit the address space"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 5] = [
        Activation::None,
        Activation::Relu,
        Activation::GeluTanh,
        Activation::GeluErf,
        Activation::Silu,
    ];

    #[test]
    fn single_precision_activations_follow_their_definitions() {
        for activation in ALL {
            for i in -4000..4000 {
                let v = i as f32 / 200.0;
                let (got, want) = (activation.apply(v), activation.apply_f64(f64::from(v)));
                // 1 + erf and 1 + tanh cancel for negative arguments: the error is relative to v there.
                let allowed = 4.0 * f64::from(f32::EPSILON) * f64::from(v.abs()).max(1e-3);
                assert!(
                    (f64::from(got) - want).abs() <= allowed,
                    "{activation:?}({v}) = {got}, not {want}"
                );
            }
            assert!(activation.apply(f32::NAN).is_nan(), "{activation:?} hides a NaN");
            assert_eq!(activation.apply(0.0), 0.0);
            assert_eq!(
                activation.apply(3e38),
                3e38,
                "{activation:?} of a large number is that number"
            );
        }
    }
}
