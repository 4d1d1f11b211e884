//! Rows of bench/results/*.csv.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The columns, in order. Files are read by other tools: never reorder, never leave one out.
pub const COLUMNS: [&str; 22] = [
    "date",
    "commit",
    "device",
    "driver",
    "toolkit",
    "op",
    "format",
    "dtype",
    "m",
    "k",
    "n",
    "sparsity",
    "us",
    "us_p5",
    "us_p95",
    "baseline",
    "baseline_us",
    "ratio",
    "bytes",
    "gbps",
    "floor_fraction",
    "kernel",
];

/// One measurement. Times in microseconds; `bytes` is the size of the compressed matrix; `gbps` what
/// was moved (spmm: compressed bytes; encode, decode: dense bytes) over the median time, in 1e9
/// bytes a second; `None` leaves a field empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub date: String,
    pub commit: String,
    pub device: String,
    pub driver: String,
    pub toolkit: String,
    pub op: String,
    pub format: String,
    pub dtype: String,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub sparsity: f64,
    pub us: f64,
    pub us_p5: f64,
    pub us_p95: f64,
    pub baseline: String,
    pub baseline_us: Option<f64>,
    pub bytes: usize,
    pub gbps: f64,
    pub floor_fraction: Option<f64>,
    pub kernel: String,
}

impl Row {
    /// How many times faster than the baseline.
    pub fn ratio(&self) -> Option<f64> {
        self.baseline_us.map(|baseline| baseline / self.us)
    }

    pub fn to_line(&self) -> String {
        let optional = |value: Option<f64>, digits: usize| {
            value.map_or(String::new(), |v| format!("{v:.digits$}"))
        };
        let fields = [
            self.date.clone(),
            self.commit.clone(),
            self.device.clone(),
            self.driver.clone(),
            self.toolkit.clone(),
            self.op.clone(),
            self.format.clone(),
            self.dtype.clone(),
            self.m.to_string(),
            self.k.to_string(),
            self.n.to_string(),
            format!("{:.4}", self.sparsity),
            format!("{:.2}", self.us),
            format!("{:.2}", self.us_p5),
            format!("{:.2}", self.us_p95),
            self.baseline.clone(),
            optional(self.baseline_us, 2),
            optional(self.ratio(), 3),
            self.bytes.to_string(),
            format!("{:.2}", self.gbps),
            optional(self.floor_fraction, 3),
            self.kernel.clone(),
        ];
        // No field of ours needs quotes; what would is made harmless rather than quoted.
        fields.map(|field| field.replace([',', '"', '\n', '\r'], " ")).join(",")
    }

    pub fn from_line(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != COLUMNS.len() {
            return Err(format!("{} fields, expected {}", fields.len(), COLUMNS.len()));
        }
        let text = |i: usize| fields[i].to_owned();
        let integer =
            |i: usize| fields[i].parse().map_err(|_| format!("{}: '{}'", COLUMNS[i], fields[i]));
        let number = |i: usize| -> Result<f64, String> {
            let bad = || format!("{}: '{}'", COLUMNS[i], fields[i]);
            fields[i].parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0).ok_or_else(bad)
        };
        let optional = |i: usize| if fields[i].is_empty() { Ok(None) } else { number(i).map(Some) };
        optional(17)?; // the ratio is computed again from the two times
        Ok(Self {
            date: text(0),
            commit: text(1),
            device: text(2),
            driver: text(3),
            toolkit: text(4),
            op: text(5),
            format: text(6),
            dtype: text(7),
            m: integer(8)?,
            k: integer(9)?,
            n: integer(10)?,
            sparsity: number(11)?,
            us: number(12)?,
            us_p5: number(13)?,
            us_p95: number(14)?,
            baseline: text(15),
            baseline_us: optional(16)?,
            bytes: integer(18)?,
            gbps: number(19)?,
            floor_fraction: optional(20)?,
            kernel: text(21),
        })
    }
}

/// Appends rows; a new file starts with the column names. A file with other columns is refused.
pub fn append(path: &Path, rows: &[Row]) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    let mut text = String::new();
    match std::fs::read_to_string(path) {
        Ok(existing) if !existing.is_empty() => {
            if existing.lines().next() != Some(COLUMNS.join(",").as_str()) {
                return Err(format!("{}: its columns are not this program's", path.display()));
            }
            if !existing.ends_with('\n') {
                text.push('\n');
            }
        }
        _ => text = COLUMNS.join(",") + "\n",
    }
    for row in rows {
        text += &row.to_line();
        text.push('\n');
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)
}

/// All rows of a file's text.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(COLUMNS.join(",").as_str()) {
        return Err("the first line is not the column names".to_owned());
    }
    let mut rows = Vec::new();
    for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        rows.push(Row::from_line(line).map_err(|e| format!("line {}: {e}", index + 2))?);
    }
    Ok(rows)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn sample() -> Row {
        Row {
            date: "2026-01-02".into(),
            commit: "abc".into(),
            device: "NVIDIA H100 80GB HBM3".into(),
            driver: "13.0".into(),
            toolkit: "13.0".into(),
            op: "spmm".into(),
            format: "bitmap".into(),
            dtype: "f16".into(),
            m: 28672,
            k: 7168,
            n: 16,
            sparsity: 0.8,
            us: 80.0,
            us_p5: 79.0,
            us_p95: 82.5,
            baseline: "cublas-13.1.0".into(),
            baseline_us: Some(160.0),
            bytes: 109_000_000,
            gbps: 1362.5,
            floor_fraction: Some(0.45),
            kernel: "default".into(),
        }
    }

    #[test]
    fn columns_are_the_documented_ones() {
        assert_eq!(
            COLUMNS.join(","),
            "date,commit,device,driver,toolkit,op,format,dtype,m,k,n,sparsity,us,us_p5,us_p95,baseline,\
             baseline_us,ratio,bytes,gbps,floor_fraction,kernel"
        );
    }

    #[test]
    fn a_row_survives_writing_and_reading() {
        let row = sample();
        assert_eq!(row.to_line().split(',').count(), COLUMNS.len());
        assert_eq!(row.to_line().split(',').nth(17), Some("2.000"));
        assert_eq!(Row::from_line(&row.to_line()).unwrap(), row);
        let bare = Row { baseline_us: None, floor_fraction: None, ..row };
        assert_eq!(Row::from_line(&bare.to_line()).unwrap(), bare);
    }

    #[test]
    fn commas_in_names_cannot_shift_columns() {
        let row = Row { device: "Some, \"GPU\"".into(), ..sample() };
        assert_eq!(Row::from_line(&row.to_line()).unwrap().m, row.m);
    }

    #[test]
    fn bad_rows_name_the_column_or_the_count() {
        assert!(Row::from_line("a,b").unwrap_err().contains("22"));
        let line = sample().to_line().replace("28672", "many");
        assert!(Row::from_line(&line).unwrap_err().contains("m: 'many'"));
        let line = sample().to_line().replace("80.00", "NaN");
        assert!(Row::from_line(&line).is_err());
        assert!(parse("x,y\n").is_err());
    }

    #[test]
    fn appending_writes_the_header_once_and_refuses_other_files() {
        let dir = std::env::temp_dir().join(format!("flash_llm_bench_csv_{}", std::process::id()));
        let path = dir.join("deep/results.csv");
        append(&path, &[sample()]).unwrap();
        append(&path, &[sample(), sample()]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(parse(&text).unwrap().len(), 3);
        let other = dir.join("other.csv");
        std::fs::write(&other, "a,b,c\n").unwrap();
        assert!(append(&other, &[sample()]).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
