//! Formatting, lints, documentation, and the runtime on targets without compare-and-swap.

use anyhow::Result;
use simground_tests::board::BOARDS;
use simground_tests::{c, firmware};

use crate::stage::{Stages, cargo, cargo_in, execute};

/// Every check, the quick ones first.
pub fn run(stages: &mut Stages) -> Result<()> {
    stages.run("format", || {
        execute(&mut cargo(&["fmt", "--check"]))?;
        execute(&mut cargo_in("runtime/fuzz", &["fmt", "--check"]))?;
        execute(&mut cargo_in("firmware-examples", &["fmt", "--check"]))
    })?;
    stages.run("C header", || c::check_header(false))?;
    stages.run("runtime on bare targets", bare_targets)?;
    stages.run("clippy, firmware", firmware_lints)?;
    // In release: burn takes minutes, and the tests need it in release.
    stages.run("clippy, host", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--release", "--quiet"];
        execute(cargo(&arguments).args(["--", "-D", "warnings"]))
    })?;
    stages.run("documentation", || {
        let arguments = ["doc", "--workspace", "--no-deps", "--release", "--quiet"];
        execute(cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
    })
}

/// Builds the library alone: no allocator, no compare-and-swap, no standard library.
fn bare_targets() -> Result<()> {
    let targets = ["thumbv6m-none-eabi", "riscv32imc-unknown-none-elf", "wasm32-unknown-unknown"];
    for target in targets {
        for features in ["", "defmt", "micromath"] {
            let arguments = ["build", "--package", "simground-runtime", "--lib", "--quiet"];
            execute(cargo(&arguments).args(["--target", target, "--features", features]))?;
        }
    }
    Ok(())
}

fn firmware_lints() -> Result<()> {
    let clippy = |more: &[&str]| {
        let mut cargo = cargo_in("firmware-examples", &["clippy", "--quiet", "--target-dir"]);
        execute(cargo.arg(firmware::directory()).args(more).args(["--", "-D", "warnings"]))
    };
    for board in BOARDS {
        let target = ["--release", "--target", board.target, "--features", board.machine];
        clippy(&[&target[..], &["--package", board.package]].concat())?;
    }
    let wasm = ["--release", "--target", "wasm32-unknown-unknown", "--package", "firmware-wasm"];
    clippy(&wasm)?;
    clippy(&["--package", "log-decoder", "--package", "simground-record"])
}
