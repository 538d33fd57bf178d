//! Hostile bytes and windows, by libFuzzer.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use simground_tests::{root, target_dir};

use crate::miri::{nightly, nightly_component};
use crate::setup::Missing;
use crate::stage::execute;

/// The programs of `runtime/fuzz/`.
const TARGETS: [&str; 5] = ["from_bytes", "infer", "attribute", "manifest", "additions"];

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
        cargo.args(["-max_len=12288", "-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
        cargo.env("CARGO_TARGET_DIR", target_dir().join("fuzz"));
        execute(&mut cargo)?;
    }
    Ok(())
}

/// Installs cargo-fuzz when it is missing. libFuzzer itself is C++, built by the machine's compiler.
fn cargo_fuzz() -> Result<()> {
    if !starts("c++") {
        let (what, cure) = ("c++".into(), "apt-get install -y g++, as root".into());
        return Err(Missing { what, cure }.into());
    }
    if starts("cargo-fuzz") {
        return Ok(());
    }
    eprintln!("==> setup: cargo install cargo-fuzz");
    let _ = nightly(&["install", "cargo-fuzz", "--locked", "--quiet"]).status();
    if starts("cargo-fuzz") {
        return Ok(());
    }
    Err(Missing { what: "cargo-fuzz".into(), cure: "cargo install cargo-fuzz".into() }.into())
}

fn starts(program: &str) -> bool {
    let mut probe = Command::new(program);
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
