//! What a row must say about where and when it was measured.

use std::time::{SystemTime, UNIX_EPOCH};

/// The commit the binary was built from, unless `--commit` says otherwise.
pub const COMMIT: &str = env!("FLASHLLM_BENCH_COMMIT");

/// Today in UTC, as 2026-01-31.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    date_of((seconds / 86_400) as i64)
}

/// The Gregorian date of a day counted from 1970-01-01 (Hinnant's civil_from_days).
fn date_of(days: i64) -> String {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The CPU's name and the threads used, for rows measured on the host.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(':')))
        .map_or("unknown CPU", |(_, name)| name.trim());
    format!("{name} x{}", rayon::current_num_threads())
}

/// The CUDA toolkit that built the kernels, out of the library's build information.
pub fn toolkit(build_info: &str) -> String {
    let lower = build_info.to_lowercase();
    let version = ["nvcc ", "cuda ", " by "].iter().find_map(|word| {
        let rest = &lower[lower.find(word)? + word.len()..];
        let version: String =
            rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        (!version.is_empty()).then(|| version.trim_end_matches('.').to_owned())
    });
    version.unwrap_or_else(|| "none".to_owned())
}

/// A name as part of a file name: lower case, runs of other characters become one hyphen.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(11_016), "2000-02-29");
        assert_eq!(date_of(20_513), "2026-03-01");
    }

    #[test]
    fn slugs_and_toolkits() {
        assert_eq!(slug("NVIDIA H100 80GB HBM3"), "nvidia-h100-80gb-hbm3");
        assert_eq!(toolkit("flash_llm 0.1.0, nvcc 13.0.88, sm_80"), "13.0.88");
        assert_eq!(toolkit("flash_llm 0.1.0, release, GPU kernels for sm_80 by 13.0"), "13.0");
        assert_eq!(toolkit("flash_llm 0.1.0, release, without GPU kernels"), "none");
    }
}
