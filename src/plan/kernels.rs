//! The kernels that exist, and the static facts that selection needs.

use super::CHUNK_COLS;
use crate::types::DType;

/// The kernels, a line each: file and mapping, columns of C over 8, warps of a CTA that sum something (Slots: at most), CTAs that the
/// registers of a multiprocessor hold, and the exported name in the fatbin for fp16.
macro_rules! kernels {
    ($($(#[$doc:meta])* $id:ident => ($family:ident, $n_tiles:literal, $warps:literal, $ctas:literal, $symbol:literal);)*) => {
        /// One compiled kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum KernelId {
            $($(#[$doc])* $id,)*
        }

        impl KernelId {
            /// Every kernel, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];

            const fn line(self) -> (Family, u32, u32, u32, &'static str) {
                match self {
                    $(Self::$id => (Family::$family, $n_tiles, $warps, $ctas, $symbol),)*
                }
            }
        }
    };
}

kernels! {
    /// Bitmap SpMM, Hopper, 8 columns.
    BitmapN1Sm90 => (BitmapSm90, 1, 16, 1, "fl_spmm_bitmap_f16_n1_sm90");
    /// Bitmap SpMM, Hopper, 16 columns.
    BitmapN2Sm90 => (BitmapSm90, 2, 16, 1, "fl_spmm_bitmap_f16_n2_sm90");
    /// Bitmap SpMM, Hopper, 32 columns.
    BitmapN4Sm90 => (BitmapSm90, 4, 16, 1, "fl_spmm_bitmap_f16_n4_sm90");
    /// Bitmap SpMM, Hopper, 48 columns.
    BitmapN6Sm90 => (BitmapSm90, 6, 16, 1, "fl_spmm_bitmap_f16_n6_sm90");
    /// Bitmap SpMM, Hopper, 64 columns.
    BitmapN8Sm90 => (BitmapSm90, 8, 16, 1, "fl_spmm_bitmap_f16_n8_sm90");
    /// Bitmap SpMM, Hopper, 96 columns.
    BitmapN12Sm90 => (BitmapSm90, 12, 16, 1, "fl_spmm_bitmap_f16_n12_sm90");
    /// Bitmap SpMM, Hopper, 112 columns.
    BitmapN14Sm90 => (BitmapSm90, 14, 16, 1, "fl_spmm_bitmap_f16_n14_sm90");
    /// Bitmap SpMM, Hopper, 128 columns.
    BitmapN16Sm90 => (BitmapSm90, 16, 16, 1, "fl_spmm_bitmap_f16_n16_sm90");
    /// Bitmap SpMM, Hopper, 160 columns.
    BitmapN20Sm90 => (BitmapSm90, 20, 12, 1, "fl_spmm_bitmap_f16_n20_sm90");
    /// Bitmap SpMM, Hopper, 192 columns.
    BitmapN24Sm90 => (BitmapSm90, 24, 12, 1, "fl_spmm_bitmap_f16_n24_sm90");
    /// Bitmap SpMM, Hopper, 224 columns.
    BitmapN28Sm90 => (BitmapSm90, 28, 8, 1, "fl_spmm_bitmap_f16_n28_sm90");
    /// Bitmap SpMM, Hopper, 256 columns.
    BitmapN32Sm90 => (BitmapSm90, 32, 8, 1, "fl_spmm_bitmap_f16_n32_sm90");
    /// Bitmap SpMM, Hopper, 8 columns, sliced-K.
    BitmapN1SlicedSm90 => (BitmapSlicedSm90, 1, 8, 1, "fl_spmm_bitmap_f16_n1_slicedk_sm90");
    /// Bitmap SpMM, Hopper, 16 columns, sliced-K.
    BitmapN2SlicedSm90 => (BitmapSlicedSm90, 2, 8, 1, "fl_spmm_bitmap_f16_n2_slicedk_sm90");
    /// Bitmap SpMM, Hopper, 32 columns, sliced-K.
    BitmapN4SlicedSm90 => (BitmapSlicedSm90, 4, 8, 1, "fl_spmm_bitmap_f16_n4_slicedk_sm90");
    /// Bitmap SpMM, Hopper, 48 columns, sliced-K.
    BitmapN6SlicedSm90 => (BitmapSlicedSm90, 6, 8, 1, "fl_spmm_bitmap_f16_n6_slicedk_sm90");
    /// Bitmap SpMM, Hopper, 64 columns, sliced-K.
    BitmapN8SlicedSm90 => (BitmapSlicedSm90, 8, 8, 1, "fl_spmm_bitmap_f16_n8_slicedk_sm90");
    /// Bitmap SpMM, Ampere and later, 8 columns.
    BitmapN1Sm80 => (BitmapSm80, 1, 4, 3, "fl_spmm_bitmap_f16_n1_sm80");
    /// Bitmap SpMM, Ampere and later, 16 columns.
    BitmapN2Sm80 => (BitmapSm80, 2, 4, 3, "fl_spmm_bitmap_f16_n2_sm80");
    /// Bitmap SpMM, Ampere and later, 32 columns.
    BitmapN4Sm80 => (BitmapSm80, 4, 4, 3, "fl_spmm_bitmap_f16_n4_sm80");
    /// Bitmap SpMM, Ampere and later, 64 columns.
    BitmapN8Sm80 => (BitmapSm80, 8, 4, 2, "fl_spmm_bitmap_f16_n8_sm80");
    /// Tiled-CSL SpMM, Hopper, 8 columns, 7 warps.
    TiledCslN1W7Sm90 => (TiledCslSm90, 1, 7, 1, "fl_spmm_tiled_csl_f16_n1w7_sm90");
    /// Tiled-CSL SpMM, Hopper, 16 columns, 7 warps.
    TiledCslN2W7Sm90 => (TiledCslSm90, 2, 7, 1, "fl_spmm_tiled_csl_f16_n2w7_sm90");
    /// Tiled-CSL SpMM, Hopper, 8 columns, 4 warps.
    TiledCslN1W4Sm90 => (TiledCslSm90, 1, 4, 1, "fl_spmm_tiled_csl_f16_n1w4_sm90");
    /// Tiled-CSL SpMM, Hopper, 16 columns, 4 warps.
    TiledCslN2W4Sm90 => (TiledCslSm90, 2, 4, 1, "fl_spmm_tiled_csl_f16_n2w4_sm90");
    /// Tiled-CSL SpMM, 8 columns.
    TiledCslN1Sm80 => (TiledCslSm80, 1, 4, 5, "fl_spmm_tiled_csl_f16_n1_sm80");
    /// Tiled-CSL SpMM, 16 columns.
    TiledCslN2Sm80 => (TiledCslSm80, 2, 4, 5, "fl_spmm_tiled_csl_f16_n2_sm80");
    /// Tiled-CSL SpMM, 32 columns.
    TiledCslN4Sm80 => (TiledCslSm80, 4, 4, 4, "fl_spmm_tiled_csl_f16_n4_sm80");
    /// Tiled-CSL SpMM, 64 columns.
    TiledCslN8Sm80 => (TiledCslSm80, 8, 4, 3, "fl_spmm_tiled_csl_f16_n8_sm80");
    /// Slots SpMM, Hopper, 8 columns.
    SlotsN1Sm90 => (SlotsSm90, 1, 14, 1, "fl_spmm_slots_f16_n1_sm90");
    /// Slots SpMM, Hopper, 16 columns.
    SlotsN2Sm90 => (SlotsSm90, 2, 14, 1, "fl_spmm_slots_f16_n2_sm90");
    /// Slots SpMM, Hopper, 24 columns.
    SlotsN3Sm90 => (SlotsSm90, 3, 16, 1, "fl_spmm_slots_f16_n3_sm90");
    /// Slots SpMM, Hopper, 32 columns.
    SlotsN4Sm90 => (SlotsSm90, 4, 16, 1, "fl_spmm_slots_f16_n4_sm90");
    /// Slots SpMM, Hopper, 48 columns.
    SlotsN6Sm90 => (SlotsSm90, 6, 12, 1, "fl_spmm_slots_f16_n6_sm90");
    /// Slots SpMM, Hopper, 64 columns.
    SlotsN8Sm90 => (SlotsSm90, 8, 12, 1, "fl_spmm_slots_f16_n8_sm90");
    /// Slots SpMM, Ampere and later, 8 columns.
    SlotsN1Sm80 => (SlotsSm80, 1, 4, 4, "fl_spmm_slots_f16_n1_sm80");
    /// Slots SpMM, Ampere and later, 16 columns.
    SlotsN2Sm80 => (SlotsSm80, 2, 4, 4, "fl_spmm_slots_f16_n2_sm80");
    /// Slots SpMM, Ampere and later, 32 columns.
    SlotsN4Sm80 => (SlotsSm80, 4, 4, 3, "fl_spmm_slots_f16_n4_sm80");
    /// Slots SpMM, Ampere and later, 64 columns.
    SlotsN8Sm80 => (SlotsSm80, 8, 4, 2, "fl_spmm_slots_f16_n8_sm80");
    /// Banked SpMM, Hopper, 8 columns.
    BankedN1Sm90 => (BankedSm90, 1, 16, 1, "fl_spmm_banked_f16_n1_sm90");
    /// Banked SpMM, Hopper, 16 columns.
    BankedN2Sm90 => (BankedSm90, 2, 16, 1, "fl_spmm_banked_f16_n2_sm90");
    /// Banked SpMM, Hopper, 32 columns.
    BankedN4Sm90 => (BankedSm90, 4, 16, 1, "fl_spmm_banked_f16_n4_sm90");
    /// Banked SpMM, Hopper, 48 columns.
    BankedN6Sm90 => (BankedSm90, 6, 16, 1, "fl_spmm_banked_f16_n6_sm90");
    /// Banked SpMM, Hopper, 64 columns.
    BankedN8Sm90 => (BankedSm90, 8, 16, 1, "fl_spmm_banked_f16_n8_sm90");
    /// Banked SpMM, Hopper, 96 columns.
    BankedN12Sm90 => (BankedSm90, 12, 16, 1, "fl_spmm_banked_f16_n12_sm90");
    /// Banked SpMM, Hopper, 112 columns.
    BankedN14Sm90 => (BankedSm90, 14, 16, 1, "fl_spmm_banked_f16_n14_sm90");
    /// Banked SpMM, Hopper, 128 columns.
    BankedN16Sm90 => (BankedSm90, 16, 16, 1, "fl_spmm_banked_f16_n16_sm90");
    /// Banked SpMM, Hopper, 160 columns.
    BankedN20Sm90 => (BankedSm90, 20, 12, 1, "fl_spmm_banked_f16_n20_sm90");
    /// Banked SpMM, Hopper, 192 columns.
    BankedN24Sm90 => (BankedSm90, 24, 12, 1, "fl_spmm_banked_f16_n24_sm90");
    /// Banked SpMM, Hopper, 224 columns.
    BankedN28Sm90 => (BankedSm90, 28, 8, 1, "fl_spmm_banked_f16_n28_sm90");
    /// Banked SpMM, Hopper, 256 columns.
    BankedN32Sm90 => (BankedSm90, 32, 8, 1, "fl_spmm_banked_f16_n32_sm90");
    /// Banked SpMM, Hopper, 8 columns, sliced-K.
    BankedN1SlicedSm90 => (BankedSlicedSm90, 1, 8, 1, "fl_spmm_banked_f16_n1_slicedk_sm90");
    /// Banked SpMM, Hopper, 16 columns, sliced-K.
    BankedN2SlicedSm90 => (BankedSlicedSm90, 2, 8, 1, "fl_spmm_banked_f16_n2_slicedk_sm90");
    /// Banked SpMM, Hopper, 32 columns, sliced-K.
    BankedN4SlicedSm90 => (BankedSlicedSm90, 4, 8, 1, "fl_spmm_banked_f16_n4_slicedk_sm90");
    /// Banked SpMM, Hopper, 48 columns, sliced-K.
    BankedN6SlicedSm90 => (BankedSlicedSm90, 6, 8, 1, "fl_spmm_banked_f16_n6_slicedk_sm90");
    /// Banked SpMM, Hopper, 64 columns, sliced-K.
    BankedN8SlicedSm90 => (BankedSlicedSm90, 8, 8, 1, "fl_spmm_banked_f16_n8_slicedk_sm90");
    /// Banked SpMM, Ampere and later, 8 columns.
    BankedN1Sm80 => (BankedSm80, 1, 4, 5, "fl_spmm_banked_f16_n1_sm80");
    /// Banked SpMM, Ampere and later, 16 columns.
    BankedN2Sm80 => (BankedSm80, 2, 4, 5, "fl_spmm_banked_f16_n2_sm80");
    /// Banked SpMM, Ampere and later, 32 columns.
    BankedN4Sm80 => (BankedSm80, 4, 4, 5, "fl_spmm_banked_f16_n4_sm80");
    /// Banked SpMM, Ampere and later, 64 columns.
    BankedN8Sm80 => (BankedSm80, 8, 4, 4, "fl_spmm_banked_f16_n8_sm80");
    /// SELL SpMM, Hopper, 8 columns.
    SellN1Sm90 => (SellSm90, 1, 16, 1, "fl_spmm_sell_f16_n1_sm90");
    /// SELL SpMM, Ampere and later, 8 columns.
    SellN1Sm80 => (SellSm80, 1, 8, 2, "fl_spmm_sell_f16_n1_sm80");
    /// Packs B along K.
    PackBSm80 => (PackB, 0, 0, 1, "fl_pack_b_f16_sm80");
    /// Packs B as kernels that read planes stage it, Hopper.
    PackBPlanesSm90 => (PackBPlanes, 0, 0, 1, "fl_pack_b_planes_f16_sm90");
}

/// The kernel files, one fatbin for each element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// kernels/spmm_bitmap_sm90.cu
    BitmapSm90,
    /// kernels/spmm_bitmap_sm80.cu
    BitmapSm80,
    /// kernels/spmm_tiled_csl_sm90.cu
    TiledCslSm90,
    /// kernels/spmm_tiled_csl_sm80.cu
    TiledCslSm80,
    /// kernels/spmm_slots_sm90.cu
    SlotsSm90,
    /// kernels/spmm_slots_sm80.cu
    SlotsSm80,
    /// kernels/pack_b.cu
    PackB,
    /// kernels/spmm_banked_sm90.cu. The number before it was that of a family that is no more.
    BankedSm90 = 8,
    /// kernels/spmm_banked_sm80.cu
    BankedSm80,
    /// kernels/spmm_sell_sm90.cu. As above.
    SellSm90 = 11,
    /// kernels/spmm_sell_sm80.cu
    SellSm80,
    /// kernels/pack_b_planes_sm90.cu
    PackBPlanes,
    /// kernels/spmm_bitmap_sm90.cu, sliced-K
    BitmapSlicedSm90,
    /// kernels/spmm_banked_sm90.cu, sliced-K
    BankedSlicedSm90,
}

impl Family {
    /// Whether any warp of a CTA sums any of its row tiles: a CTA has all warps, however many tiles it takes at a time, and
    /// tiles can be dealt one by one.
    pub const fn warps_roam(self) -> bool {
        matches!(self, Self::SellSm90)
    }

    /// Whether its kernels are kernels/include/fl_fragments_sm90.cuh, whatever gives them A's fragments.
    pub const fn is_fragments(self) -> bool {
        matches!(self, Self::BankedSm90 | Self::BitmapSm90) || self.is_sliced()
    }

    /// Whether warpgroups that share a row tile take its blocks in turn, and a CTA has one piece of a row group.
    pub const fn is_sliced(self) -> bool {
        matches!(self, Self::BankedSlicedSm90 | Self::BitmapSlicedSm90)
    }

    /// Whether its kernels multiply: the others prepare B for those.
    pub const fn multiplies(self) -> bool {
        !matches!(self, Self::PackB | Self::PackBPlanes)
    }

    /// Whether slices of N run side by side, so that A comes from memory once: kernels of eight columns.
    pub const fn slices_share_a(self) -> bool {
        matches!(self, Self::SellSm90)
    }
}

/// Warpgroups of a CTA of a sliced-K kernel, which share one row tile or two.
pub const SLICED_WARPGROUPS: u32 = 4;

/// What selection knows of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// File and mapping.
    pub family: Family,
    /// Columns of C that one CTA produces, over 8.
    pub n_tiles: u32,
    /// Warps of a CTA that sum something (Slots: at most).
    pub warps: u32,
    /// Warps that share a row tile.
    pub warps_a_tile: u32,
    /// Warps that do not multiply: they load, prepare or count.
    pub loaders: u32,
    /// Rows of a row tile.
    pub tile_rows: u32,
    /// CTAs that the registers of an SM hold.
    pub ctas_by_registers: u32,
    /// Exported name in the fatbin for fp16.
    pub symbol: &'static str,
}

impl Facts {
    /// Slices of `n` columns.
    pub const fn slices(&self, n: u32) -> u32 {
        n.div_ceil(self.n_tiles * 8)
    }
}

/// What a kernel can be launched as: entry points of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Entry {
    /// One product.
    Product,
    /// One product of which two CTAs that are a cluster have every row group.
    Pair,
    /// A group of products.
    Group,
}

impl Entry {
    /// Every one, in declaration order.
    pub const ALL: &'static [Self] = &[Self::Product, Self::Pair, Self::Group];
}

impl KernelId {
    /// The kernel's facts.
    pub const fn facts(self) -> Facts {
        use Family::{
            BankedSlicedSm90, BankedSm80, BankedSm90, BitmapSlicedSm90, BitmapSm80, BitmapSm90,
            PackB, PackBPlanes, SellSm80, SellSm90, SlotsSm80, SlotsSm90, TiledCslSm80,
            TiledCslSm90,
        };
        let (family, n_tiles, warps, ctas_by_registers, symbol) = self.line();
        let tile_rows = match family {
            TiledCslSm90 => 128,
            BankedSm80 | BankedSm90 | BankedSlicedSm90 | BitmapSm80 | BitmapSm90
            | BitmapSlicedSm90 => 64,
            _ => 32,
        };
        let warps_a_tile = match family {
            BankedSm80 | BankedSm90 | BankedSlicedSm90 | BitmapSm80 | BitmapSm90
            | BitmapSlicedSm90 => 4,
            SlotsSm90 => 2,
            // A slice each.
            SellSm80 => 8,
            _ => 1,
        };
        let loaders = match family {
            // One for A and one to three for B, and where registers change hands a whole warpgroup.
            SlotsSm90 if n_tiles >= 3 => 4,
            SlotsSm90 => 2,
            TiledCslSm90 => 1,
            BankedSm90 | BankedSlicedSm90 | BitmapSm90 | BitmapSlicedSm90 | SellSm90 => 4,
            BankedSm80 | BitmapSm80 | SellSm80 | SlotsSm80 | TiledCslSm80 | PackB | PackBPlanes => {
                0
            }
        };
        Facts {
            family,
            n_tiles,
            warps,
            warps_a_tile,
            loaders,
            tile_rows,
            ctas_by_registers,
            symbol,
        }
    }

    /// Element types of the matrices that there are kernels for; the first one's serve where the type does not
    /// matter.
    pub const fn types(self) -> &'static [DType] {
        if self.facts().family.multiplies() { &[DType::F16, DType::BF16] } else { &[DType::F16] }
    }

    /// Name of the embedded fatbin: the file stem of the source, and the element type if it is not fp16.
    pub fn image(self, dtype: DType) -> String {
        let stem = match self.facts().family {
            Family::BitmapSm90 | Family::BitmapSlicedSm90 => "spmm_bitmap_sm90",
            Family::BitmapSm80 => "spmm_bitmap_sm80",
            Family::TiledCslSm90 => "spmm_tiled_csl_sm90",
            Family::TiledCslSm80 => "spmm_tiled_csl_sm80",
            Family::SlotsSm90 => "spmm_slots_sm90",
            Family::SlotsSm80 => "spmm_slots_sm80",
            Family::BankedSm90 | Family::BankedSlicedSm90 => "spmm_banked_sm90",
            Family::BankedSm80 => "spmm_banked_sm80",
            Family::SellSm90 => "spmm_sell_sm90",
            Family::SellSm80 => "spmm_sell_sm80",
            Family::PackB => "pack_b",
            Family::PackBPlanes => "pack_b_planes_sm90",
        };
        if dtype == DType::BF16 { format!("{stem}_bf16") } else { stem.to_owned() }
    }

    /// Exported name in the fatbin.
    pub fn symbol(self, dtype: DType) -> String {
        let symbol = self.facts().symbol;
        if dtype == DType::BF16 { symbol.replacen("_f16_", "_bf16_", 1) } else { symbol.to_owned() }
    }

    /// As [`KernelId::symbol`], of one of its entry points.
    pub fn entry_symbol(self, entry: Entry, dtype: DType) -> String {
        let suffix = match entry {
            Entry::Product => "",
            Entry::Pair => "_pair",
            Entry::Group => "_group",
        };
        self.symbol(dtype) + suffix
    }

    /// Whether it has such an entry point.
    pub const fn has(self, entry: Entry) -> bool {
        match entry {
            Entry::Product => true,
            Entry::Pair => self.takes_pairs(),
            Entry::Group => self.has_group(),
        }
    }

    /// Whether it has an entry point that takes a group of products.
    pub const fn has_group(self) -> bool {
        matches!(
            self,
            Self::BitmapN2Sm90
                | Self::BitmapN8Sm90
                | Self::BitmapN2Sm80
                | Self::BitmapN8Sm80
                | Self::TiledCslN2W7Sm90
                | Self::TiledCslN2Sm80
                | Self::TiledCslN8Sm80
                | Self::SlotsN2Sm90
                | Self::SlotsN2Sm80
                | Self::SlotsN8Sm80
                | Self::BankedN2Sm90
                | Self::BankedN8Sm90
                | Self::BankedN2Sm80
                | Self::BankedN8Sm80
                | Self::SellN1Sm90
                | Self::SellN1Sm80
        )
    }

    /// Whether B must lie as a stage does ([`KernelId::PackBPlanesSm90`]).
    pub const fn reads_planes(self) -> bool {
        matches!(self, Self::SlotsN6Sm90 | Self::SlotsN8Sm90)
    }

    /// Planes of eight columns that a block along K of packed B has, if B must lie as a stage does: those of all slices of N.
    pub const fn planes(self, n: u32) -> Option<u32> {
        let facts = self.facts();
        if self.reads_planes() { Some(facts.slices(n) * facts.n_tiles) } else { None }
    }

    /// Whether a map of B for TMA is among its parameters.
    pub const fn takes_map(self) -> bool {
        self.facts().family.is_fragments()
    }

    /// Whether the two CTAs that share a row group may be a cluster, which adds up in shared memory what others add up by way of
    /// the workspace.
    pub const fn takes_pairs(self) -> bool {
        let family = self.facts().family;
        family.is_fragments() || matches!(family, Family::SlotsSm90)
    }

    /// Warpgroups that share a row tile where a CTA works on so many at a time (fl_fragments_sm90.cuh).
    pub const fn k_slices(self, group_tiles: u32) -> u32 {
        if self.facts().family.is_sliced() { SLICED_WARPGROUPS >> (group_tiles / 2) } else { 1 }
    }

    /// Bytes of B that a CTA brings for each block of A, where B comes as it lies and is not held.
    pub const fn b_bytes(self) -> u32 {
        let facts = self.facts();
        if facts.family.is_fragments() { facts.n_tiles * 8 * CHUNK_COLS * 2 } else { 0 }
    }

    /// Whether it is one of the Hopper kernels. Those are compiled for sm_90a alone, and read nothing but A before they
    /// have waited for the work before them, so that they may be launched while that still runs.
    pub const fn is_for_hopper(self) -> bool {
        match self.facts().family {
            Family::BitmapSm90
            | Family::SlotsSm90
            | Family::TiledCslSm90
            | Family::BankedSm90
            | Family::BitmapSlicedSm90
            | Family::BankedSlicedSm90
            | Family::SellSm90
            | Family::PackBPlanes => true,
            Family::BitmapSm80
            | Family::SlotsSm80
            | Family::TiledCslSm80
            | Family::BankedSm80
            | Family::SellSm80
            | Family::PackB => false,
        }
    }

    /// Whether a device of compute capability `cc` can run it: sm_90a is compute capability 9.0 alone.
    pub const fn runs_on(self, cc: (u32, u32)) -> bool {
        if self.is_for_hopper() { cc.0 == 9 && cc.1 == 0 } else { cc.0 >= 8 }
    }

    /// Dynamic shared memory that the kernel opts in to on a device that offers `optin` bytes a block.
    pub const fn max_dynamic_smem(self, optin: u32) -> u32 {
        if self.facts().family.multiplies() { optin } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hopper_kernels_run_on_hopper_alone_and_the_others_from_ampere_on() {
        for &id in KernelId::ALL {
            let hopper = id.facts().symbol.ends_with("_sm90");
            assert_eq!(id.is_for_hopper(), hopper, "{id:?}");
            for (cc, runs) in [
                ((7, 5), false),
                ((8, 0), !hopper),
                ((8, 9), !hopper),
                ((9, 0), true),
                ((10, 0), !hopper),
            ] {
                assert_eq!(id.runs_on(cc), runs, "{id:?} on {cc:?}");
            }
        }
    }
}
