//! Records the commit, so that a row measured on a machine without the repository still names it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../src");
    println!("cargo:rerun-if-changed=../kernels");
    println!("cargo:rerun-if-changed=src");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Every commit and checkout appends to this file, in a worktree too.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = match git(&["rev-parse", "--short=10", "HEAD"]) {
        Some(hash) => {
            let changed = git(&["status", "--porcelain", "--untracked-files=no"])
                .is_none_or(|s| !s.is_empty());
            if changed { format!("{hash}-dirty") } else { hash }
        }
        None => "unknown".to_owned(),
    };
    println!("cargo:rustc-env=FLASHLLM_BENCH_COMMIT={commit}");
}
