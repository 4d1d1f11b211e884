//! The planner's choices for well-known layers on well-known devices, as committed in `plans.txt`: a change of
//! selection is seen in review. `FLASHLLM_BLESS=1` rewrites the file.

#[path = "../support/devices.rs"]
mod devices;

use std::fmt::Write as _;

use flash_llm::plan::{self, BAccess, DeviceProps, Problem};
use flash_llm::types::{DType, Format};

use devices::{device, h100};

/// Typical largest blocks at 50 and 80 % zeros: units of a 256-column Bitmap block, items of a Tiled-CSL tile,
/// units of a Banked and of a SELL block.
const BLOCKS: [(u32, u32, u32, u32, u32); 2] = [(50, 84, 4300, 217, 731), (80, 43, 1800, 97, 306)];

#[test]
fn plans_are_those_committed() {
    let devices = [
        h100(),
        device("A100", 108, (8, 0), (166_912, 167_936)),
        device("L40", 142, (8, 9), (101_376, 102_400)),
    ];
    let mut text = String::from(
        "device format zeros MxK N: kernel, CTAs x slices, staged blocks, shared bytes, workspace\n",
    );
    for props in &devices {
        for format in
            [Format::Bitmap, Format::TiledCsl, Format::Slots, Format::Banked, Format::Sell]
        {
            for (zeros, units, items, rows, wide) in BLOCKS {
                for (m, k) in [(28672, 7168), (4096, 4096), (4096, 11008), (12288, 49152)] {
                    for n in [1, 16, 24, 32, 48, 64, 256] {
                        let (block_cols, max_block) = match format {
                            Format::Bitmap | Format::Slots => (256, units),
                            Format::TiledCsl => (64, items),
                            Format::Banked => (128, rows),
                            Format::Sell => (2048, wide),
                        };
                        let problem = Problem {
                            format,
                            m,
                            n,
                            k,
                            block_cols,
                            max_block,
                            uneven: false,
                            b: BAccess::Direct,
                        };
                        let plan = plan::select(&problem, props).expect("a plan");
                        writeln!(
                            text,
                            "{} {format:?} {zeros} {m}x{k} {n}: {}, {} x {}, {}, {}, {}",
                            props.name,
                            plan.kernel.symbol(DType::F16),
                            plan.ctas,
                            plan.slices,
                            plan.a_slots,
                            plan.smem_bytes,
                            plan.workspace_bytes
                        )
                        .expect("writing to a string");
                    }
                }
            }
        }
    }
    if std::env::var_os("FLASHLLM_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plan_golden/plans.txt"), &text)
            .expect("plans.txt");
        return;
    }
    for (line, (got, committed)) in text.lines().zip(include_str!("plans.txt").lines()).enumerate()
    {
        assert_eq!(got, committed, "line {}", line + 1);
    }
    assert_eq!(text.lines().count(), include_str!("plans.txt").lines().count());
}
