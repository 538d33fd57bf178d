//! Chooses the kernels: rustc has no `cfg` on stable that tells the Arm profiles apart.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(kernel, values(\"portable\", \"riscv\", \"armv6m\", \"armv7m\", \"armv7em\", \"helium\"))"
    );
    println!("cargo::rustc-check-cfg=cfg(assembly)");
    println!("cargo::rustc-check-cfg=cfg(armv8m)");
    let target = env::var("TARGET").unwrap_or_default();
    // Armv8-M leaves the DSP extension and Helium to the chip, and the target's name does not tell.
    let has = |feature| env::var_os(feature).is_some();
    let (dsp, helium) = (has("CARGO_FEATURE_DSP"), has("CARGO_FEATURE_HELIUM"));
    if target.starts_with("thumbv8m.") {
        println!("cargo::rustc-cfg=armv8m");
    }
    let kernel = kernel(&target, dsp, helium);
    if !matches!(kernel, "portable" | "riscv") {
        println!("cargo::rustc-cfg=assembly");
    }
    println!("cargo::rustc-cfg=kernel=\"{kernel}\"");
}

fn kernel(target: &str, dsp: bool, helium: bool) -> &'static str {
    let starts = |prefix| target.starts_with(prefix);
    if starts("thumbv8m.main-") && helium {
        "helium"
    } else if starts("thumbv7em-") || (starts("thumbv8m.main-") && dsp) {
        "armv7em"
    } else if starts("thumbv7m-") || starts("thumbv8m.main-") {
        "armv7m"
    } else if starts("thumbv6m-") || starts("thumbv8m.base-") {
        "armv6m"
    } else if starts("riscv32") {
        "riscv"
    } else {
        "portable"
    }
}
