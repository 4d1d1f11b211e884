//! The table as a source file of the library.

use std::collections::BTreeMap;
use std::fmt::Write;

use flash_llm::plan::KernelId;
use flash_llm::plan::model::{Decoding, Dense, Law, Units, Wide};

/// Where the coefficients are from.
pub struct Head<'a> {
    pub device: &'a str,
    pub driver: &'a str,
    pub toolkit: &'a str,
    pub date: &'a str,
    pub commit: &'a str,
    pub source: &'a str,
    pub dense: Option<Dense>,
}

/// The file's text; kernels with the same law share a line.
pub fn render(head: &Head<'_>, law: &dyn Fn(KernelId) -> Law) -> String {
    let mut order: Vec<String> = Vec::new();
    let mut kernels: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for &kernel in KernelId::ALL.iter().filter(|k| k.facts().family.multiplies()) {
        let law = expression(&law(kernel));
        if !order.contains(&law) {
            order.push(law.clone());
        }
        kernels.entry(law).or_default().push(format!("{kernel:?}"));
    }
    // What is used of the model follows from the laws that there are.
    let mut names: Vec<&str> = ["Decoding", "Units"]
        .into_iter()
        .filter(|name| order.iter().any(|law| law.contains(&format!("({name} {{"))))
        .collect();
    names.push("Law");
    names.extend(head.dense.map(|_| "Dense"));
    names.extend(head.dense.and_then(|dense| dense.wide).map(|_| "Wide"));
    names.sort_unstable();
    let names = names.join(", ");
    let names = if names.contains(',') { format!("{{{names}}}") } else { names };
    let mut out = format!(
        "//! Coefficients for {}. Written by `flash_llm_bench tune`; not to be edited.\n\n\
         use super::Table;\nuse crate::plan::KernelId::{{self, *}};\nuse crate::plan::model::{names};\n\n\
         #[rustfmt::skip]\npub const TABLE: Table = Table {{\n",
        head.device
    );
    for (name, value) in [
        ("device", head.device),
        ("driver", head.driver),
        ("toolkit", head.toolkit),
        ("date", head.date),
        ("commit", head.commit),
        ("source", head.source),
    ] {
        let _ = writeln!(out, "    {name}: {value:?},");
    }
    let dense = head.dense.map_or("None".to_owned(), |Dense { launch, bytes, least, wide }| {
        let wide = wide.map_or("None".to_owned(), |Wide { columns, flops }| {
            format!("Some(Wide {{ columns: {columns}, flops: {flops:?} }})")
        });
        format!(
            "Some(Dense {{ launch: {launch:?}, bytes: {bytes:?}, least: {least}, wide: {wide} }})"
        )
    });
    let _ = writeln!(out, "    dense: {dense},");
    out += "    law,\n};\n\n#[rustfmt::skip]\n\
            #[allow(clippy::approx_constant, reason = \"a fitted number may look like one\")]\n\
            const fn law(kernel: KernelId) -> Law {\n    match kernel {\n";
    for law in order.iter().filter(|law| *law != "Law::Unknown") {
        let kernels = kernels.get(law).map_or(String::new(), |k| k.join(" | "));
        let _ = writeln!(out, "        {kernels} => {law},");
    }
    out + "        _ => Law::Unknown,\n    }\n}\n"
}

fn expression(law: &Law) -> String {
    match law {
        Law::Unknown => "Law::Unknown".to_owned(),
        Law::Decoding(Decoding { enough, waiting, waiting_bytes }) => format!(
            "Law::Decoding(Decoding {{ enough: {enough:?}, waiting: {waiting:?}, waiting_bytes: {waiting_bytes} }})"
        ),
        Law::Units(Units { launch, unit, tile, fill, overflow, fix_up, latency, bytes }) => {
            format!(
                "Law::Units(Units {{ launch: {launch:?}, unit: {unit:?}, tile: {tile:?}, fill: {fill:?}, \
             overflow: {overflow:?}, fix_up: {fix_up:?}, latency: {latency:?}, bytes: {bytes:?} }})"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_tables_are_what_is_written() {
        for table in flash_llm::plan::table::TABLES {
            let slug = crate::env::slug(table.device).replace('-', "_");
            let path = format!("{}/../src/plan/table/{slug}.rs", env!("CARGO_MANIFEST_DIR"));
            let head = Head {
                device: table.device,
                driver: table.driver,
                toolkit: table.toolkit,
                date: table.date,
                commit: table.commit,
                source: table.source,
                dense: table.dense,
            };
            let text = render(&head, &|kernel| (table.law)(kernel));
            assert_eq!(text, std::fs::read_to_string(path).unwrap());
        }
    }
}
