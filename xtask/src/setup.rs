//! What the commands need and a fresh machine lacks: emulators, a C compiler for firmware, Rust targets.
//!
//! Quiet when nothing is missing; afterwards everything works offline.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use simground_tests::board::BOARDS;

use crate::stage::execute;

/// Debian's packages. The trailing `-` keeps a recommendation out that conflicts on minimal systems.
const PACKAGES: [&str; 4] =
    ["qemu-system-arm", "qemu-system-misc", "qemu-utils-", "gcc-arm-none-eabi"];

/// A program of each package.
const PROGRAMS: [&str; 3] = ["qemu-system-arm", "qemu-system-riscv32", "arm-none-eabi-gcc"];

/// Targets that no board covers.
const MORE_TARGETS: [&str; 1] = ["wasm32-unknown-unknown"];

/// Something that only the machine's owner can install.
#[derive(Debug)]
pub struct Missing {
    pub what: String,
    pub cure: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "missing: {}\nhint: {}", self.what, self.cure)
    }
}

impl std::error::Error for Missing {}

/// Installs what is missing, or says which command would.
pub fn run() -> Result<()> {
    programs()?;
    targets()
}

/// The C library that peers include; nothing of ours needs one.
pub fn newlib() -> Result<()> {
    packages(&["libnewlib-arm-none-eabi"], || {
        let gcc = Command::new("arm-none-eabi-gcc").arg("-print-file-name=libm.a").output();
        // The bare name means that no folder has it.
        let found = gcc.is_ok_and(|output| output.stdout.contains(&b'/'));
        if found { Vec::new() } else { vec!["newlib for Arm"] }
    })
}

/// Mesa's Vulkan on the processor, for machines without a GPU.
pub fn vulkan() -> Result<()> {
    packages(&["mesa-vulkan-drivers", "libvulkan1"], || {
        let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
        let drivers = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let found = drivers.flatten().next().is_some();
        if found || !cfg!(target_os = "linux") { Vec::new() } else { vec!["a Vulkan driver"] }
    })
}

fn programs() -> Result<()> {
    packages(&PACKAGES, || PROGRAMS.into_iter().filter(|program| !is_there(program)).collect())
}

/// Installs packages of Debian's when `missing` names something.
fn packages(packages: &[&str], missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !is_root() || !is_there("apt-get") {
        let (what, cure) = (missing().join(", "), format!("apt-get update && {install}, as root"));
        return Err(Missing { what, cure }.into());
    }
    eprintln!("==> setup: {install}");
    // An index that cannot be refreshed may still be good enough to install from.
    let _ = Command::new("apt-get").args(["update", "-qq"]).status();
    execute(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages)
            .stdout(Stdio::null()),
    )?;
    if missing().is_empty() {
        return Ok(());
    }
    Err(Missing { what: missing().join(", "), cure: install }.into())
}

fn targets() -> Result<()> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(simground_tests::root())
        .output()
        .context("cannot start rustc")?;
    let sysroot = std::path::PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let wanted = BOARDS.iter().map(|board| board.target).chain(MORE_TARGETS);
    let mut missing: Vec<_> =
        wanted.filter(|target| !sysroot.join("lib/rustlib").join(target).exists()).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("==> setup: rustup target add {}", missing.join(" "));
    let added = Command::new("rustup")
        .args(["target", "add"])
        .args(&missing)
        .current_dir(simground_tests::root())
        .status();
    if added.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let what = format!("Rust targets {}", missing.join(", "));
    Err(Missing { what, cure: format!("rustup target add {}", missing.join(" ")) }.into())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
