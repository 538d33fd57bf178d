//! Chooses the kernels: rustc has no `cfg` on stable that tells the Arm profiles apart.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(kernel, values(\"portable\", \"armv6m\", \"armv7m\", \"armv7em\"))"
    );
    let target = env::var("TARGET").unwrap_or_default();
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    println!("cargo::rustc-cfg=kernel=\"{}\"", kernel(&target, &flags));
}

fn kernel(target: &str, flags: &str) -> &'static str {
    let starts = |prefix| target.starts_with(prefix);
    if starts("thumbv7em-") || (starts("thumbv8m.main-") && has_dsp(flags)) {
        "armv7em"
    } else if starts("thumbv7m-") || starts("thumbv8m.main-") {
        "armv7m"
    } else if starts("thumbv6m-") || starts("thumbv8m.base-") {
        "armv6m"
    } else {
        "portable"
    }
}

/// Armv8-M leaves the DSP extension to the chip, so the flags must name a core that has it, or the feature itself.
fn has_dsp(flags: &str) -> bool {
    let has = |text| flags.contains(text);
    let cores = ["cortex-m33", "cortex-m35p", "cortex-m52", "cortex-m55", "cortex-m85"];
    let core = cores.iter().any(|core| flags.contains(&format!("target-cpu={core}")));
    (core || has("+dsp")) && !has("-dsp") && !has("nodsp")
}
