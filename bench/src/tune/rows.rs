//! The times of a tuning run as a file, complete enough to fit them again elsewhere.

use std::path::Path;

use flash_llm::format::header::tile;
use flash_llm::plan::model::Features;
use flash_llm::plan::{Algorithm, DeviceProps, KernelId, Way};
use flash_llm::types::Format;

use super::fit::Sample;
use crate::args::format_name;

const COLUMNS: &str = "date,commit,device,driver,toolkit,sms,format,m,k,n,sparsity,algorithm,parts,slot_bytes,\
                       max_block,block_bytes,busiest,together,cut,us";

/// One way to run one product, and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub date: String,
    pub commit: String,
    pub driver: String,
    pub toolkit: String,
    pub props: DeviceProps,
    pub format: String,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub sparsity: f64,
    pub way: Way,
    pub us: f64,
}

impl Timing {
    /// Of a device, with nothing measured.
    pub fn of(props: &DeviceProps) -> Self {
        let algorithm = Algorithm { kernel: KernelId::PackBSm80, group_tiles: 0, a_slots: 0 };
        let features = Features {
            kernel: algorithm.kernel,
            group_tiles: 0,
            a_slots: 0,
            slot_bytes: 0,
            max_block: 0,
            block_bytes: 0,
            busiest: 0,
            fair: 0,
            together: 0,
            cut: 0,
            owners: 1,
            starts: 1,
            straddles: false,
        };
        Self {
            date: String::new(),
            commit: String::new(),
            driver: String::new(),
            toolkit: String::new(),
            props: props.clone(),
            format: String::new(),
            m: 0,
            k: 0,
            n: 0,
            sparsity: 0.0,
            way: Way { algorithm, parts: 0, features },
            us: 0.0,
        }
    }

    pub fn sample(&self) -> Sample {
        let name = format!(
            "{}x{} N={} {:.0} % {}",
            self.m,
            self.k,
            self.n,
            100.0 * self.sparsity,
            self.format
        );
        Sample { product: name, shape: (self.m, self.k), features: self.way.features, us: self.us }
    }

    fn to_line(&self) -> String {
        let f = &self.way.features;
        let fields = [
            self.date.clone(),
            self.commit.clone(),
            self.props.name.replace(',', " "),
            self.driver.clone(),
            self.toolkit.clone(),
            self.props.sm_count.to_string(),
            self.format.clone(),
            self.m.to_string(),
            self.k.to_string(),
            self.n.to_string(),
            format!("{:.4}", self.sparsity),
            self.way.algorithm.id().to_string(),
            self.way.parts.to_string(),
            f.slot_bytes.to_string(),
            f.max_block.to_string(),
            f.block_bytes.to_string(),
            f.busiest.to_string(),
            f.together.to_string(),
            f.cut.to_string(),
            format!("{:.2}", self.us),
        ];
        fields.join(",")
    }

    fn from_line(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split(',').collect();
        let [date, commit, device, driver, toolkit, sms, format, rest @ ..] = fields.as_slice()
        else {
            return Err("too few fields".to_owned());
        };
        let [
            m,
            k,
            n,
            sparsity,
            id,
            parts,
            slot_bytes,
            max_block,
            block_bytes,
            busiest,
            together,
            cut,
            us,
        ] = rest
        else {
            return Err(format!("{} fields, expected 20", fields.len()));
        };
        let algorithm = Algorithm::from_id(number(id)?)
            .filter(|algorithm| algorithm.group_tiles > 0)
            .ok_or_else(|| format!("algorithm {id}"))?;
        let block_cols = Format::ALL
            .into_iter()
            .find(|known| format_name(*known as i32) == *format)
            .map(|known| tile(known).1 as u32)
            .ok_or_else(|| format!("format {format}"))?;
        let props = DeviceProps {
            sm_count: number(sms)?,
            // What ways there are was decided when they were measured.
            cc: (0, 0),
            smem_per_block_optin: 0,
            smem_per_sm: 0,
            l2_bytes: 0,
            name: (*device).to_owned(),
        };
        let blank = Self::of(&props);
        let measured = Features {
            kernel: algorithm.kernel,
            group_tiles: algorithm.group_tiles,
            a_slots: algorithm.a_slots,
            slot_bytes: number(slot_bytes)?,
            max_block: number(max_block)?,
            block_bytes: number(block_bytes)?,
            busiest: number(busiest)?,
            together: number(together)?,
            cut: number(cut)?,
            ..blank.way.features
        };
        let parts = number(parts)?;
        let of = (number(m)?, number(n)?, number(k)?);
        let features = algorithm.completed(measured, of, block_cols, parts, props.sm_count);
        Ok(Self {
            date: (*date).to_owned(),
            commit: (*commit).to_owned(),
            driver: (*driver).to_owned(),
            toolkit: (*toolkit).to_owned(),
            format: (*format).to_owned(),
            m: number(m)?,
            k: number(k)?,
            n: number(n)?,
            sparsity: number(sparsity)?,
            way: Way { algorithm, parts, features },
            us: Some(number(us)?)
                .filter(|us: &f64| *us > 0.0)
                .ok_or_else(|| format!("us: {us}"))?,
            ..blank
        })
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number that fits"))
}

pub fn write(path: &Path, timings: &[Timing]) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(fail)?;
    }
    let lines: String = timings.iter().map(|t| t.to_line() + "\n").collect();
    std::fs::write(path, format!("{COLUMNS}\n{lines}")).map_err(fail)
}

pub fn parse(text: &str) -> Result<Vec<Timing>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(COLUMNS) {
        return Err("the first line is not that of a tuning run".to_owned());
    }
    lines
        .enumerate()
        .map(|(i, line)| Timing::from_line(line).map_err(|e| format!("line {}: {e}", i + 2)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_writing_and_reading() {
        let line = "2026-11-24,abc,NVIDIA H100 80GB HBM3,13.0,13.0,132,slots,28672,7168,16,0.8000,20760214,4,5504,43,\
                    5504,28,1,1,60.25";
        let line = line.replace("20760214", &way_id().to_string());
        let timing = Timing::from_line(&line).unwrap();
        assert_eq!(timing.to_line(), line);
        assert_eq!(timing.way.features.group_tiles, 7);
        assert_eq!(timing.way.features.cut, 1);
        let text = format!("{COLUMNS}\n{line}\n");
        assert_eq!(parse(&text).unwrap(), [timing]);
        assert!(parse(&text.replace("60.25", "0")).is_err());
        assert!(parse(&text.replace(",28672,", ",")).unwrap_err().contains("line 2"));
        assert!(parse("a,b").is_err());
    }

    fn way_id() -> i32 {
        Algorithm { kernel: KernelId::SlotsN2Sm90, group_tiles: 7, a_slots: 2 }.id()
    }

    #[test]
    fn the_times_in_the_repository_can_be_read() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tune");
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let timings = parse(&std::fs::read_to_string(&path).unwrap());
            assert!(timings.is_ok_and(|t| t.len() > 1000), "{}", path.display());
        }
    }
}
