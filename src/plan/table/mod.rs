//! The coefficients of [`model`](super::model), a file for each device that was measured.
//!
//! The files are written by `flash_llm_bench tune` (docs/benchmarking.md); a new one is listed in [`TABLES`].

mod nvidia_h100_80gb_hbm3;
mod nvidia_h200;

use super::KernelId;
use super::model::{Dense, Law};

/// What was measured where, when and with which build.
#[derive(Debug)]
pub struct Table {
    /// The driver's name of the device.
    pub device: &'static str,
    /// CUDA version of the driver.
    pub driver: &'static str,
    /// nvcc that built the kernels.
    pub toolkit: &'static str,
    /// Day of the measurements.
    pub date: &'static str,
    /// Commit that was measured.
    pub commit: &'static str,
    /// Where the coefficients are from.
    pub source: &'static str,
    /// What dense weights cost, fitted to the baselines of bench/results; `None` while there are none of the device.
    pub dense: Option<Dense>,
    /// The law of a kernel.
    pub law: fn(KernelId) -> Law,
}

/// The measured devices. The first one's table serves devices that were not.
pub const TABLES: [&Table; 2] = [&nvidia_h100_80gb_hbm3::TABLE, &nvidia_h200::TABLE];

/// The table for a device.
pub fn of(device: &str) -> &'static Table {
    let [first, ..] = TABLES;
    of_measured(device).unwrap_or(first)
}

/// The table of a device that was measured: times from another one's would mislead.
pub fn of_measured(device: &str) -> Option<&'static Table> {
    TABLES.into_iter().find(|table| table.device == device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_says_where_it_is_from_and_knows_every_kernel() {
        for table in TABLES {
            for text in [table.device, table.driver, table.date, table.commit, table.source] {
                assert!(!text.is_empty(), "{table:?}");
            }
            for &kernel in KernelId::ALL.iter().filter(|k| k.facts().family.multiplies()) {
                assert_ne!((table.law)(kernel), Law::Unknown, "{kernel:?} on {}", table.device);
            }
            assert_eq!(of(table.device).device, table.device);
        }
        assert_eq!(of("a device that nobody has measured").device, TABLES[0].device);
    }

    #[test]
    fn laws_of_kernels_that_compete_are_comparable() {
        // Format, width and generation: fl_spmm_FORMAT_f16_..._sm90.
        let field = |kernel: KernelId| {
            let symbol = kernel.facts().symbol;
            let format = symbol.split("_f16_").next().unwrap();
            (format, kernel.facts().n_tiles, symbol.ends_with("_sm90"))
        };
        for table in TABLES {
            for &a in KernelId::ALL {
                for &b in KernelId::ALL.iter().filter(|&&b| field(a) == field(b)) {
                    let kind = |kernel| std::mem::discriminant(&(table.law)(kernel));
                    assert_eq!(kind(a), kind(b), "{a:?} and {b:?} on {}", table.device);
                }
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_listed() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/table");
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), TABLES.len() + 1);
    }
}
