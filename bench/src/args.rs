//! Command line options: `--name value` and flags.

use std::collections::HashMap;

use crate::data::Mask;

/// Parsed options of one subcommand.
#[derive(Debug)]
pub struct Args {
    values: HashMap<String, String>,
    flags: Vec<String>,
}

impl Args {
    /// `valued` and `flags` are the names a subcommand knows, without the dashes.
    pub fn parse(arguments: &[String], valued: &[&str], flags: &[&str]) -> Result<Self, String> {
        let mut args = Self { values: HashMap::new(), flags: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let name = argument
                .strip_prefix("--")
                .ok_or_else(|| format!("unexpected argument {argument}"))?;
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            if flags.contains(&name) && inline.is_none() {
                args.flags.push(name.to_owned());
            } else if valued.contains(&name) {
                let value = inline
                    .or_else(|| rest.next().cloned())
                    .ok_or_else(|| format!("--{name} needs a value"))?;
                args.values.insert(name.to_owned(), value);
            } else {
                return Err(format!("unknown option {argument}"));
            }
        }
        Ok(args)
    }

    pub fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    pub fn text<'a>(&'a self, name: &str, otherwise: &'a str) -> &'a str {
        self.values.get(name).map_or(otherwise, String::as_str)
    }

    pub fn optional(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str, otherwise: usize) -> Result<usize, String> {
        let text = self.text(name, "");
        if text.is_empty() {
            return Ok(otherwise);
        }
        text.parse()
            .ok()
            .filter(|&v| v > 0)
            .ok_or_else(|| format!("--{name} is a positive number, not {text}"))
    }

    /// A comma-separated list of positive numbers.
    pub fn numbers(&self, name: &str, otherwise: &str) -> Result<Vec<usize>, String> {
        let item = |text: &str| text.parse().ok().filter(|&v| v > 0);
        let list: Option<Vec<usize>> = self.text(name, otherwise).split(',').map(item).collect();
        list.ok_or_else(|| {
            format!("--{name} is a list of positive numbers, not {}", self.text(name, ""))
        })
    }

    /// The floor's bandwidth in bytes a second, if it is given.
    pub fn bandwidth(&self) -> Result<Option<f64>, String> {
        let Some(text) = self.optional("bandwidth") else { return Ok(None) };
        let given = text.parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0);
        let given =
            given.ok_or_else(|| format!("--bandwidth is a number of 1e9 bytes/s, not {text}"))?;
        Ok(Some(given * 1e9))
    }

    /// A comma-separated list of per cents as fractions.
    pub fn sparsities(&self, otherwise: &str) -> Result<Vec<f64>, String> {
        let item = |text: &str| {
            text.parse().ok().filter(|v: &f64| (0.0..=100.0).contains(v)).map(|v| v / 100.0)
        };
        let list: Option<Vec<f64>> =
            self.text("sparsity", otherwise).split(',').map(item).collect();
        list.ok_or_else(|| {
            format!("--sparsity is a list of per cents, not {}", self.text("sparsity", ""))
        })
    }

    /// The distribution of zeros; `--uneven` is an older name of one.
    pub fn mask(&self) -> Result<Mask, String> {
        match self.masks("uniform")?.as_slice() {
            [Mask::Uniform] if self.flag("uneven") => Ok(Mask::Spread),
            [mask] => Ok(*mask),
            _ => Err("--mask takes one mask here".to_owned()),
        }
    }

    /// A comma-separated list of masks.
    pub fn masks(&self, otherwise: &str) -> Result<Vec<Mask>, String> {
        let item = |text: &str| {
            Mask::ALL.into_iter().find(|mask| mask.name() == text).ok_or_else(|| {
                let names: Vec<_> = Mask::ALL.iter().map(|mask| mask.name()).collect();
                format!("--mask is one of {}, not {text}", names.join(", "))
            })
        };
        self.text("mask", otherwise).split(',').map(item).collect()
    }

    /// A comma-separated list of formats, as the C API numbers them.
    pub fn formats(&self, otherwise: &str) -> Result<Vec<i32>, String> {
        let item = |text: &str| match text {
            "auto" => Ok(crate::api::FORMAT_AUTO),
            "tiled-csl" => Ok(crate::api::FORMAT_TILED_CSL),
            "bitmap" => Ok(crate::api::FORMAT_BITMAP),
            "slots" => Ok(crate::api::FORMAT_SLOTS),
            "banked" => Ok(crate::api::FORMAT_BANKED),
            "sell" => Ok(crate::api::FORMAT_SELL),
            other => Err(format!(
                "--format is a list of auto, banked, bitmap, sell, slots and tiled-csl, not {other}"
            )),
        };
        self.text("format", otherwise).split(',').map(item).collect()
    }
}

/// The name of a format in rows and on the command line.
pub fn format_name(format: i32) -> &'static str {
    match format {
        crate::api::FORMAT_TILED_CSL => "tiled-csl",
        crate::api::FORMAT_BITMAP => "bitmap",
        crate::api::FORMAT_SLOTS => "slots",
        crate::api::FORMAT_BANKED => "banked",
        crate::api::FORMAT_SELL => "sell",
        _ => "auto",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Args, String> {
        let list: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Args::parse(&list, &["n", "sparsity", "format", "iters", "mask"], &["check", "uneven"])
    }

    #[test]
    fn lists_numbers_and_flags() {
        let a = args("--n 1,16 --sparsity=50,87.5 --format bitmap,auto --check").unwrap();
        assert_eq!(a.numbers("n", "8").unwrap(), [1, 16]);
        assert_eq!(a.sparsities("80").unwrap(), [0.5, 0.875]);
        assert_eq!(a.formats("auto").unwrap(), [2, 0]);
        assert_eq!(a.number("iters", 7).unwrap(), 7);
        assert!(a.flag("check"));
        assert_eq!(a.mask().unwrap(), Mask::Uniform);
        assert_eq!(args("--uneven").unwrap().mask().unwrap(), Mask::Spread);
        let both = args("--mask uniform,rows").unwrap();
        assert_eq!(both.masks("uniform").unwrap(), [Mask::Uniform, Mask::Rows]);
        assert!(both.mask().is_err());
    }

    #[test]
    fn mistakes_are_refused() {
        assert!(args("--bogus").is_err());
        assert!(args("--n").is_err());
        assert!(args("stray").is_err());
        assert!(args("--check=1").is_err());
        assert!(args("--n 0").unwrap().numbers("n", "8").is_err());
        assert!(args("--sparsity 101").unwrap().sparsities("80").is_err());
        assert!(args("--mask odd").unwrap().masks("uniform").is_err());
        assert!(args("--format csr").unwrap().formats("auto").is_err());
    }
}
