//! Compressed matrix descriptor: a small state machine.
//!
//! ```text
//!             analysis                SetBuffer               convert
//!   Empty ───────────────▶ Analysed ───────────▶ Analysed ───────────────▶ Ready
//!     │                    (no buffer)           (buffer)                   │ ▲
//!     │ SetBuffer: validates and adopts                                     │ │ SetBuffer: adopts
//!     └─────────────────────────────────────────────────────────────────────┴─┘
//! ```
//! `analysis` is possible in every state and leads to Analysed without a buffer.

use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, Kind, Result};
use crate::format::{Analysis, EncodeOptions, Header};
use crate::types::{DType, DenseLayout, Format, Order, Preference};

/// Which memory a buffer lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Memory of this process.
    Host,
    /// Device memory of the CUDA context with this address.
    Cuda(usize),
}

impl Place {
    /// Refuses a buffer in `self` for a handle that works in `handle`.
    fn usable_from(self, handle: Place) -> Result<()> {
        match (self, handle) {
            (Self::Host, Self::Host) => Ok(()),
            (Self::Cuda(a), Self::Cuda(b)) if a == b => Ok(()),
            (Self::Cuda(_), Self::Cuda(_)) => Err(Error::new(
                Kind::WrongContext,
                "the compressed buffer was set with a handle of another CUDA context",
            )),
            (Self::Host, Self::Cuda(_)) => Err(Error::invalid(
                "the compressed buffer was set with a host handle, and this is a CUDA handle",
            )),
            (Self::Cuda(_), Self::Host) => Err(Error::invalid(
                "the compressed buffer was set with a CUDA handle, and this is a host handle",
            )),
        }
    }
}

/// The caller's memory for the compressed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Exposed address, a multiple of 256.
    pub address: usize,
    /// Bytes that the caller gave.
    pub bytes: usize,
    /// Where it lies.
    pub place: Place,
}

/// What was analysed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A dense matrix.
    Dense,
    /// A CSR matrix.
    Csr,
}

impl Origin {
    /// The function that analyses such a matrix.
    fn analysis(self) -> &'static str {
        match self {
            Self::Dense => "flashllmDenseToSparse_analysis",
            Self::Csr => "flashllmCsrToSparse_analysis",
        }
    }

    /// The function that converts it.
    fn convert(self) -> &'static str {
        match self {
            Self::Dense => "flashllmDenseToSparse_convert",
            Self::Csr => "flashllmCsrToSparse_convert",
        }
    }
}

/// How far the matrix is.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Nothing is known but the shape.
    Empty,
    /// Sizes are known; `convert` may write to the buffer once it is set.
    Analysed(Arc<Analysis>),
    /// The buffer holds a valid compressed matrix with this header.
    Ready(Header),
}

/// Everything about a compressed matrix that changes.
#[derive(Clone, Debug)]
pub struct SpState {
    /// Tiled-CSL: order items by bank at the next analysis.
    pub reorder: bool,
    /// AUTO prefers fewer bytes to speed at the next analysis.
    pub preference: Preference,
    /// Progress.
    pub stage: Stage,
    /// The caller's memory, if set.
    pub buffer: Option<Buffer>,
    /// Analysed: where and from what, and the address of the workspace that holds the table, 0 on a host.
    pub analysed: Option<(Place, Origin, usize)>,
}

impl SpState {
    /// Goes to Analysed, where a buffer is set anew.
    pub fn set_analysed(
        &mut self,
        analysis: Analysis,
        place: Place,
        origin: Origin,
        workspace: usize,
    ) {
        self.stage = Stage::Analysed(Arc::new(analysis));
        self.buffer = None;
        self.analysed = Some((place, origin, workspace));
    }

    /// What a conversion writes, and where to. Refuses one of matrix `name` that is not analysed, has no buffer, or was
    /// given it for another place.
    pub fn target(
        &self,
        name: &str,
        place: Place,
        origin: Origin,
        workspace: usize,
    ) -> Result<(Arc<Analysis>, Buffer)> {
        let Stage::Analysed(analysis) = &self.stage else {
            return Err(Error::invalid(format!(
                "{name} is not analysed: call {} first",
                origin.analysis()
            )));
        };
        let Some(buffer) = self.buffer else {
            return Err(Error::invalid(format!(
                "{name} has no buffer: give it {} bytes with flashllmSpMatSetBuffer first",
                analysis.bytes()
            )));
        };
        buffer.place.usable_from(place)?;
        self.convertible(place, origin, workspace)?;
        Ok((Arc::clone(analysis), buffer))
    }

    /// Refuses to convert in another place, from another kind of matrix, or with another workspace, than the
    /// analysis.
    fn convertible(&self, place: Place, origin: Origin, workspace: usize) -> Result<()> {
        let Some((at, from, table)) = self.analysed else {
            return Err(Error::invalid("the matrix is not analysed"));
        };
        match (at, place) {
            _ if at == place => {}
            (Place::Cuda(_), Place::Cuda(_)) => {
                return Err(Error::new(
                    Kind::WrongContext,
                    "the matrix was analysed with a handle of another CUDA context",
                ));
            }
            (Place::Cuda(_), _) => {
                return Err(Error::invalid(
                    "the matrix was analysed with a CUDA handle, and this is a host handle",
                ));
            }
            (Place::Host, _) => {
                return Err(Error::invalid(
                    "the matrix was analysed with a host handle, and this is a CUDA handle",
                ));
            }
        }
        if from != origin {
            return Err(Error::invalid(format!(
                "the matrix was analysed from a {from:?} matrix, and this conversion is from a {origin:?} one"
            )));
        }
        if place != Place::Host && table != workspace {
            return Err(Error::invalid(format!(
                "workspace = {workspace:#x}, and the analysis left its results in {table:#x}"
            )));
        }
        Ok(())
    }

    /// The header, known from the analysis on.
    pub fn header(&self) -> Option<&Header> {
        match &self.stage {
            Stage::Empty => None,
            Stage::Analysed(analysis) => Some(&analysis.header),
            Stage::Ready(header) => Some(header),
        }
    }

    /// The header of matrix `name`.
    pub fn sized(&self, name: &str) -> Result<Header> {
        self.header().copied().ok_or_else(|| {
            Error::invalid(format!(
                "{name} has no size yet: analyse a dense matrix, or adopt a buffer with flashllmSpMatSetBuffer"
            ))
        })
    }
}

/// Shape, type and state of a compressed matrix.
#[derive(Debug)]
pub struct SpMat {
    rows: usize,
    cols: usize,
    dtype: DType,
    /// `None` is AUTO.
    requested: Option<Format>,
    state: RwLock<SpState>,
}

impl SpMat {
    /// Checks the shape. The dense extent has to fit the address space too, since it can be decoded.
    pub fn new(rows: i64, cols: i64, dtype: DType, requested: Option<Format>) -> Result<Self> {
        if dtype.size() != 2 {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!(
                    "a compressed matrix holds FLASHLLM_R_16F or FLASHLLM_R_16BF, not {dtype:?}"
                ),
            ));
        }
        let (rows, cols) = (positive("rows", rows)?, positive("cols", cols)?);
        DenseLayout::new(rows, cols, cols, Order::Row)?;
        let state = SpState {
            reorder: true,
            preference: Preference::Speed,
            stage: Stage::Empty,
            buffer: None,
            analysed: None,
        };
        Ok(Self { rows, cols, dtype, requested, state: RwLock::new(state) })
    }

    /// Rows (M).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns (K).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Element type, rows and columns.
    pub fn typed_shape(&self) -> (DType, usize, usize) {
        (self.dtype, self.rows, self.cols)
    }

    /// The format asked for at creation; `None` is AUTO.
    pub fn requested(&self) -> Option<Format> {
        self.requested
    }

    /// What an analysis of this matrix in this state may choose.
    pub fn encode_options(&self, state: &SpState) -> EncodeOptions {
        EncodeOptions {
            format: self.requested,
            reorder: state.reorder,
            preference: state.preference,
        }
    }

    /// Reads the state.
    #[inline(always)] // capi/spmm.rs says why.
    pub fn read<R>(&self, f: impl FnOnce(&SpState) -> R) -> R {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state with nobody else looking. `f` assigns fields only when all that can fail is
    /// done, so that an error or a panic leaves the state as it was.
    pub fn update<R>(&self, f: impl FnOnce(&mut SpState) -> R) -> R {
        f(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The header, known from the analysis on; a buffer, if there is one, has to be usable from `place`.
    pub fn header(&self, name: &str, place: Place) -> Result<Header> {
        self.read(|state| {
            if let Some(buffer) = state.buffer {
                buffer.place.usable_from(place)?;
            }
            state.sized(name)
        })
    }

    /// The header and buffer of a matrix that can be multiplied or decoded in `place`.
    #[inline(always)] // capi/spmm.rs says why.
    pub fn ready(&self, name: &str, place: Place) -> Result<(Header, Buffer)> {
        self.read(|state| match (&state.stage, state.buffer) {
            (Stage::Ready(header), Some(buffer)) => {
                buffer.place.usable_from(place)?;
                Ok((*header, buffer))
            }
            (Stage::Analysed(_), _) => {
                let convert = state.analysed.map_or(Origin::Dense, |(_, origin, _)| origin).convert();
                Err(Error::invalid(format!("{name} is analysed but not converted: call {convert}")))
            }
            _ => Err(Error::invalid(format!(
                "{name} has no compressed buffer: convert a dense matrix, or adopt a buffer with flashllmSpMatSetBuffer"
            ))),
        })
    }

    /// Refuses a header that does not describe this matrix.
    pub fn accepts(&self, header: &Header) -> Result<()> {
        if (header.rows, header.cols) != (self.rows as u64, self.cols as u64) {
            return Err(Error::invalid(format!(
                "the buffer holds a {} x {} matrix, the descriptor is {} x {}",
                header.rows, header.cols, self.rows, self.cols
            )));
        }
        if header.dtype != self.dtype {
            return Err(Error::new(
                Kind::MatrixTypeNotSupported,
                format!("the buffer holds {:?}, the descriptor {:?}", header.dtype, self.dtype),
            ));
        }
        match self.requested {
            Some(format) if format != header.format => Err(Error::invalid(format!(
                "the buffer is in format {:?}, the descriptor asks for {format:?}",
                header.format
            ))),
            _ => Ok(()),
        }
    }
}

fn positive(name: &str, value: i64) -> Result<usize> {
    match usize::try_from(value) {
        Ok(v) if v > 0 => Ok(v),
        _ => Err(Error::invalid(format!("{name} = {value} is not positive"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::analyse;

    fn kind(rows: i64, cols: i64, dtype: DType) -> Option<Kind> {
        SpMat::new(rows, cols, dtype, None).err().map(|e| e.kind())
    }

    #[test]
    fn refuses_what_is_not_a_compressible_matrix() {
        assert_eq!(kind(1, 1, DType::F16), None);
        assert_eq!(kind(1, 1, DType::BF16), None);
        assert_eq!(kind(0, 1, DType::F16), Some(Kind::InvalidValue));
        assert_eq!(kind(1, 0, DType::F16), Some(Kind::InvalidValue));
        assert_eq!(kind(-5, 1, DType::F16), Some(Kind::InvalidValue));
        assert_eq!(kind(i64::MAX, 2, DType::F16), Some(Kind::SizeOverflow));
        assert_eq!(kind(1, 1, DType::F32), Some(Kind::MatrixTypeNotSupported));
    }

    #[test]
    fn buffers_stay_on_their_side() {
        assert!(Place::Host.usable_from(Place::Host).is_ok());
        assert!(Place::Cuda(1).usable_from(Place::Cuda(1)).is_ok());
        assert_eq!(
            Place::Cuda(1).usable_from(Place::Cuda(2)).unwrap_err().kind(),
            Kind::WrongContext
        );
        assert_eq!(Place::Host.usable_from(Place::Cuda(2)).unwrap_err().kind(), Kind::InvalidValue);
        assert_eq!(Place::Cuda(1).usable_from(Place::Host).unwrap_err().kind(), Kind::InvalidValue);
    }

    #[test]
    fn a_conversion_belongs_to_its_analysis() {
        let m = SpMat::new(8, 8, DType::F16, None).unwrap();
        let refusal = |place, origin, workspace| {
            m.read(|s| s.convertible(place, origin, workspace)).err().map(|e| e.kind())
        };
        let (host, cuda, other) = (Place::Host, Place::Cuda(1), Place::Cuda(2));
        assert_eq!(refusal(host, Origin::Dense, 0), Some(Kind::InvalidValue));
        m.update(|s| s.analysed = Some((cuda, Origin::Csr, 256)));
        assert_eq!(refusal(cuda, Origin::Csr, 256), None);
        assert_eq!(refusal(cuda, Origin::Csr, 512), Some(Kind::InvalidValue));
        assert_eq!(refusal(cuda, Origin::Dense, 256), Some(Kind::InvalidValue));
        assert_eq!(refusal(other, Origin::Csr, 256), Some(Kind::WrongContext));
        assert_eq!(refusal(host, Origin::Csr, 256), Some(Kind::InvalidValue));
        m.update(|s| s.analysed = Some((host, Origin::Dense, 0)));
        assert_eq!(refusal(host, Origin::Dense, 64), None);
        assert_eq!(refusal(cuda, Origin::Dense, 64), Some(Kind::InvalidValue));
    }

    #[test]
    fn a_conversion_needs_an_analysis_and_a_buffer() {
        let m = SpMat::new(8, 8, DType::F16, None).unwrap();
        let refusal = |origin| {
            m.read(|s| s.target("matB", Place::Host, origin, 0))
                .err()
                .map(|e| e.message().to_owned())
        };
        let text = refusal(Origin::Csr).unwrap();
        assert_eq!(text, "matB is not analysed: call flashllmCsrToSparse_analysis first");
        let text = refusal(Origin::Dense).unwrap();
        assert_eq!(text, "matB is not analysed: call flashllmDenseToSparse_analysis first");
        let layout = DenseLayout::new(8, 8, 8, Order::Row).unwrap();
        let options = m.read(|s| m.encode_options(s));
        let analysis = analyse(&layout, &[0x3c00; 64], &options).unwrap();
        let bytes = analysis.bytes();
        for (origin, convert) in [
            (Origin::Csr, "flashllmCsrToSparse_convert"),
            (Origin::Dense, "flashllmDenseToSparse_convert"),
        ] {
            m.update(|s| s.set_analysed(analysis.clone(), Place::Host, origin, 0));
            let text = m.ready("matA", Place::Host).unwrap_err().message().to_owned();
            assert_eq!(text, format!("matA is analysed but not converted: call {convert}"));
        }
        let text = refusal(Origin::Dense).unwrap();
        assert!(text.starts_with(&format!("matB has no buffer: give it {bytes} bytes")), "{text}");
        let given = |place| Some(Buffer { address: 256, bytes, place });
        m.update(|s| s.buffer = given(Place::Cuda(1)));
        assert!(refusal(Origin::Dense).unwrap().contains("set with a CUDA handle"));
        m.update(|s| s.buffer = given(Place::Host));
        assert_eq!(refusal(Origin::Dense), None);
        assert!(refusal(Origin::Csr).unwrap().contains("analysed from a Dense matrix"));
    }

    #[test]
    fn nothing_is_ready_before_a_buffer() {
        let m = SpMat::new(8, 8, DType::F16, None).unwrap();
        assert_eq!(m.ready("matA", Place::Host).unwrap_err().kind(), Kind::InvalidValue);
        assert!(m.read(|s| s.header().is_none()));
    }
}
