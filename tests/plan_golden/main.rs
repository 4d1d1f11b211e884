//! The planner's choices for well-known layers on well-known devices, as committed in `plans.txt`: a change of
//! selection is seen in review. `FLASHLLM_BLESS=1` rewrites the file.

#[path = "../support/devices.rs"]
mod devices;

use std::fmt::Write as _;

use flash_llm::format::header::tile;
use flash_llm::plan::{self, BAccess, DeviceProps, Problem};
use flash_llm::types::{DType, Format};

use devices::{device, h100};

/// Largest blocks of random 7168 x 7168 matrices with 50 and 80 % zeros: units, of Tiled-CSL items.
const BLOCKS: [(Format, [u32; 2]); 5] = [
    (Format::Bitmap, [161, 84]),
    (Format::TiledCsl, [4300, 1800]),
    (Format::Slots, [88, 44]),
    (Format::Banked, [209, 111]),
    (Format::Sell, [731, 306]),
];

#[test]
fn plans_are_those_committed() {
    let devices = [
        h100(),
        DeviceProps { name: "NVIDIA H200".to_owned(), ..h100() },
        device("A100", 108, (8, 0), (166_912, 167_936)),
        device("L40", 142, (8, 9), (101_376, 102_400)),
    ];
    let mut text = String::from(
        "device format zeros MxK N: kernel, CTAs x slices, staged blocks, shared bytes, workspace\n",
    );
    for props in &devices {
        for (format, max_blocks) in BLOCKS {
            for (zeros, max_block) in [50, 80].into_iter().zip(max_blocks) {
                for (m, k) in [(28672, 7168), (4096, 4096), (4096, 11008), (12288, 49152)] {
                    for n in [1, 16, 24, 32, 48, 64, 256] {
                        let problem = Problem {
                            format,
                            m,
                            n,
                            k,
                            block_cols: tile(format).1 as u32,
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
