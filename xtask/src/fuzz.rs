//! Hostile bytes and windows, by libFuzzer.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use simground_tests::{root, target_dir};

use crate::miri::{nightly, nightly_component};
use crate::setup::Missing;
use crate::stage::execute;

/// The programs of `runtime/fuzz/`.
const TARGETS: [&str; 3] = ["from_bytes", "infer", "attribute"];

/// Runs every target for `seconds`, from the checked-in seeds and whatever earlier runs found.
pub fn run(seconds: u32) -> Result<()> {
    nightly_component("cargo", &["--version"])?;
    cargo_fuzz()?;
    for target in TARGETS {
        eprintln!("==> fuzz {target}, {seconds} s");
        let seeds = root().join("runtime/fuzz/seeds").join(target);
        let corpus = target_dir().join("fuzz-corpus").join(target);
        fs::create_dir_all(&corpus).context("cannot create the corpus")?;
        let mut cargo = nightly(&["fuzz", "run", "--fuzz-dir", "runtime/fuzz", target]);
        cargo.arg(&corpus).arg(&seeds).arg("--");
        cargo.arg(format!("-max_total_time={seconds}"));
        cargo.args(["-max_len=8192", "-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
        cargo.env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
        execute(&mut cargo)?;
    }
    Ok(())
}

/// Installs cargo-fuzz when it is missing.
fn cargo_fuzz() -> Result<()> {
    let is_there = || {
        let mut probe = Command::new("cargo-fuzz");
        probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    if is_there() {
        return Ok(());
    }
    eprintln!("==> setup: cargo install cargo-fuzz");
    let _ = nightly(&["install", "cargo-fuzz", "--locked", "--quiet"]).status();
    if is_there() {
        return Ok(());
    }
    Err(Missing { what: "cargo-fuzz".into(), cure: "cargo install cargo-fuzz".into() }.into())
}
