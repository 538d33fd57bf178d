//! The runtime's tests and the C interface's under Miri: undefined behavior, and the other byte order.

use std::process::{Command, Stdio};

use anyhow::Result;
use simground_tests::{root, target_dir};

use crate::setup::Missing;
use crate::stage::execute;

/// Targets that Miri imitates: words of 64 bits in both byte orders, and of 32 bits.
///
/// Not this host: there `libm` takes square roots with inline assembly, which Miri cannot run.
const TARGETS: [&str; 3] =
    ["riscv64gc-unknown-linux-gnu", "s390x-unknown-linux-gnu", "powerpc-unknown-linux-gnu"];

/// Runs the tests on each target.
pub fn run() -> Result<()> {
    nightly_component("miri", &["miri", "--version"])?;
    for target in TARGETS {
        eprintln!("==> miri, {target}");
        let mut cargo = nightly(&["miri", "test", "--quiet", "--target", target]);
        cargo.args(["--package", "simground-runtime", "--package", "simground-c", "--tests"]);
        // Proptest writes failures to files, which an isolated program cannot.
        cargo.env("MIRIFLAGS", "-Zmiri-strict-provenance -Zmiri-disable-isolation");
        // Miri is some thousand times slower than the machine.
        cargo.env("PROPTEST_CASES", "8").env("CARGO_TARGET_DIR", target_dir().join("miri"));
        execute(&mut cargo)?;
    }
    Ok(())
}

/// Cargo of the nightly toolchain, in the repository.
pub fn nightly(arguments: &[&str]) -> Command {
    // What the pinned toolchain's cargo set for its children would keep the other one from being found.
    let mut cargo = Command::new("rustup");
    cargo.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    cargo.args(["run", "nightly", "cargo"]).args(arguments).current_dir(root());
    cargo
}

/// Adds a component to the nightly toolchain when `probe` fails.
pub fn nightly_component(name: &str, probe: &[&str]) -> Result<()> {
    let is_there = || {
        let mut probe = nightly(probe);
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    if is_there() {
        return Ok(());
    }
    let install = ["toolchain", "install", "nightly", "--profile", "minimal"];
    let install = [&install[..], &["--component", "miri,rust-src"]].concat();
    eprintln!("==> setup: rustup {}", install.join(" "));
    let _ = Command::new("rustup").args(&install).env_remove("RUSTUP_TOOLCHAIN").status();
    if is_there() {
        return Ok(());
    }
    let cure = format!("rustup {}", install.join(" "));
    Err(Missing { what: format!("{name} of the nightly toolchain"), cure }.into())
}
