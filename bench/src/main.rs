//! flash_llm_bench: one front end for every measurement. See docs/benchmarking.md.

#[path = "../../tests/support/api.rs"]
#[allow(dead_code)] // shared with the GPU tests; each uses its part
mod api;
mod args;
mod codec;
mod convert;
mod csv;
mod cublas;
mod data;
#[path = "../../tests/support/driver.rs"]
#[allow(dead_code)]
mod driver;
mod e2e;
mod env;
mod fused;
mod gpu;
mod host;
mod host_call;
mod load;
mod planned;
mod plot;
mod report;
mod shapes;
mod spmm;
mod stats;
mod summary;
mod sweep;
mod tune;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let help = [
        spmm::HELP,
        fused::HELP,
        sweep::HELP,
        tune::HELP,
        codec::HELP,
        convert::HELP,
        load::HELP,
        host::HELP,
        host_call::HELP,
        report::HELP,
    ]
    .join("\n\n");
    let result = match command {
        "help" | "--help" | "-h" => {
            println!("usage: flash_llm_bench COMMAND [OPTIONS]\n\n{help}");
            Ok(())
        }
        _ if rest.iter().any(|a| a == "--help" || a == "-h") => {
            println!("{help}");
            Ok(())
        }
        "spmm" => spmm::run(rest),
        "sweep" => sweep::run(rest),
        "tune" => tune::run(rest),
        "codec" => codec::run(rest),
        "convert" => convert::run(rest),
        "fused" => fused::run(rest),
        "load" => load::run(rest),
        "host" => host::run(rest),
        "host-call" => host_call::run(rest),
        "report" => report::run(rest),
        other => Err(format!(
            "no command {other}; there are spmm, fused, sweep, tune, codec, convert, load, host, host-call, report \
             and help"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("flash_llm_bench: {sentence}");
            ExitCode::FAILURE
        }
    }
}
