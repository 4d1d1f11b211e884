//! Properties of the planner: every product gets a plan that its device can run, or a typed refusal.

use flash_llm::error::Kind;
use flash_llm::format::Header;
use flash_llm::format::header::tile;
use flash_llm::plan::{self, BAccess, Choice, DeviceProps, KernelId, Problem, WORKSPACE_ALIGN};
use flash_llm::types::{DType, Format};
use proptest::prelude::*;

#[path = "support/headers.rs"]
mod headers;
use headers::header_of;

fn device() -> impl Strategy<Value = DeviceProps> {
    let generation = prop_oneof![
        Just(((8, 0), 166_912, 167_936)),
        Just(((8, 6), 101_376, 102_400)),
        Just(((8, 9), 101_376, 102_400)),
        Just(((9, 0), 232_448, 233_472)),
        Just(((10, 0), 232_448, 233_472)),
        Just(((12, 0), 101_376, 102_400)),
    ];
    (generation, 1_u32..256).prop_map(|((cc, smem_per_block_optin, smem_per_sm), sm_count)| {
        DeviceProps {
            sm_count,
            cc,
            smem_per_block_optin,
            smem_per_sm,
            l2_bytes: 50 << 20,
            name: "a device".into(),
        }
    })
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Bitmap),
        Just(Format::TiledCsl),
        Just(Format::Slots),
        Just(Format::Banked),
        Just(Format::Sell)
    ]
}

fn header() -> impl Strategy<Value = Header> {
    let dim = || prop_oneof![1_u64..300, 1_u64..70_000];
    (dim(), dim(), any_format(), 0_u32..=1000).prop_map(|(rows, cols, format, fill)| {
        // Up to a dense block.
        let max_block = match format {
            Format::TiledCsl => 8192 * fill / 1000 / 4 * 4,
            Format::Slots => 10 + 195 * fill / 1000,
            Format::Banked => 10 + 256 * fill / 1000,
            Format::Bitmap => 20 + 256 * fill / 1000,
            Format::Sell => 1 + 1408 * fill / 1000,
        };
        header_of(format, (rows, cols), max_block)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_problem_gets_a_plan_within_its_device_or_a_typed_refusal(
        props in device(), header in header(), n in 1_usize..5000, packed in any::<bool>()
    ) {
        let access = if packed { BAccess::Packed } else { BAccess::Direct };
        let problem = Problem::new(&header, n, access).expect("small dimensions");
        match plan::select(&problem, &props) {
            Ok(plan) => {
                let facts = plan.kernel.facts();
                prop_assert!(plan.kernel.runs_on(props.cc));
                prop_assert!(plan.smem_bytes <= props.smem_per_block_optin);
                prop_assert!(plan.threads <= 1024);
                prop_assert!((plan.slices * facts.n_tiles * 8) as usize >= n);
                prop_assert!(plan.row_tiles * facts.tile_rows >= problem.m);
                prop_assert!(plan.partials_offset >= (plan.row_tiles * plan.slices) as usize * 8);
                let tile_bytes = (facts.tile_rows * 8 * facts.n_tiles * 4) as usize;
                let partials = (plan.slices * plan.ctas * 2 * plan.group_tiles) as usize * tile_bytes;
                prop_assert!(1 <= plan.parts && plan.parts <= plan.k_blocks);
                prop_assert!(1 <= plan.group_tiles && plan.group_tiles * facts.warps_a_tile <= facts.warps);
                prop_assert!(plan.packed_offset >= plan.partials_offset + partials);
                prop_assert!(plan.workspace_bytes >= plan.packed_offset + plan.packed_bytes);
                for offset in [plan.partials_offset, plan.packed_offset, plan.workspace_bytes] {
                    prop_assert_eq!(offset % WORKSPACE_ALIGN, 0);
                }
                prop_assert_eq!(plan.packed_bytes == 0, !packed && !plan.kernel.reads_planes());
                let cols = if plan.kernel.reads_planes() { (plan.slices * facts.n_tiles * 8) as usize } else { n };
                prop_assert!(plan.packed_bytes == 0 || plan.packed_bytes >= problem.k as usize * cols * 2);
            }
            Err(error) => prop_assert_eq!(error.kind(), Kind::InsufficientResources),
        }
    }

    #[test]
    fn workspace_covers_every_smaller_n_and_every_b(props in device(), header in header(), n in 1_usize..2000, less in 0_usize..2000) {
        let Ok(bytes) = plan::workspace_bytes(&props, &header, n) else { return Ok(()) };
        let fewer = n.saturating_sub(less).max(1);
        prop_assert!(plan::workspace_bytes(&props, &header, fewer).expect("less is possible too") <= bytes);
        for access in [BAccess::Direct, BAccess::Packed] {
            let problem = Problem::new(&header, fewer, access).expect("small dimensions");
            prop_assert!(plan::select(&problem, &props).expect("as above").workspace_bytes <= bytes);
        }
    }
}

proptest! {
    // Its kernels would wait for each other for ever, or leave rows out, if a CTA had two pieces or none.
    #[test]
    fn sliced_k_gives_every_cta_one_piece_or_is_refused(
        props in device(), rows in 1_u64..20_000, cols in 1_u64..20_000, n in 1_usize..300,
        parts in proptest::option::of(1_u32..9), max_ctas in proptest::option::of(1_u32..200)
    ) {
        for &kernel in KernelId::ALL.iter().filter(|k| k.facts().family.is_sliced()) {
            let format = if kernel.facts().symbol.contains("banked") { Format::Banked } else { Format::Bitmap };
            let header = header_of(format, (rows, cols), 84);
            let problem = Problem::new(&header, n, BAccess::Direct).expect("small dimensions");
            let choice = Choice { kernel: Some(kernel), parts, max_ctas, ..Choice::default() };
            match plan::select_chosen(&problem, &props, &choice) {
                Ok(plan) => {
                    prop_assert_eq!(plan.ctas, plan.row_tiles.div_ceil(plan.group_tiles) * plan.parts);
                    prop_assert!(plan.ctas <= max_ctas.unwrap_or(u32::MAX).min(props.sm_count));
                    prop_assert_eq!(plan.threads, 640);
                    prop_assert!(plan.group_tiles <= 2);
                }
                Err(error) => {
                    prop_assert_eq!(error.kind(), Kind::NotSupported);
                    // Two tiles a group would have been few enough pieces.
                    let pieces = header.rows.div_ceil(128) * u64::from(parts.unwrap_or(1));
                    prop_assert!(
                        !kernel.runs_on(props.cc) || pieces > u64::from(max_ctas.unwrap_or(u32::MAX).min(props.sm_count)),
                        "{}", error
                    );
                }
            }
        }
    }
}

#[test]
fn dimensions_beyond_the_kernels_are_refused_by_name() {
    let header = header_of(Format::Bitmap, (1 << 32, 64), 8);
    let error = Problem::new(&header, 1, BAccess::Direct).unwrap_err();
    assert_eq!(error.kind(), Kind::SizeOverflow);
    assert!(error.message().contains("M = 4294967296"), "{error}");
}

#[test]
fn no_two_kernels_share_a_symbol() {
    let mut symbols: Vec<_> = KernelId::ALL
        .iter()
        .flat_map(|id| id.types().iter().map(|&dtype| id.symbol(dtype)))
        .collect();
    symbols.sort_unstable();
    let all = symbols.len();
    symbols.dedup();
    assert_eq!(symbols.len(), all);
    assert!(all > KernelId::ALL.len());
}
