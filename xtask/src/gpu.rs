//! Training by wgpu against the CPU, on a GPU or on Mesa's software Vulkan.

use anyhow::Result;
use simground_tests::target_dir;

use crate::setup;
use crate::stage::{cargo, execute};

/// Builds the trainer with its feature `wgpu` and runs what needs it.
pub fn run() -> Result<()> {
    setup::vulkan()?;
    let mut cargo = cargo(&["test", "--package", "simground-trainer", "--release"]);
    cargo.args(["--features", "wgpu", "--lib", "wgpu", "--", "--include-ignored", "--nocapture"]);
    // A folder of its own: with another set of burn's features the usual build would be made again.
    cargo.env("CARGO_TARGET_DIR", target_dir().join("gpu"));
    // Measuring every kernel takes minutes where a processor plays the GPU.
    cargo.env("CUBECL_AUTOTUNE_LEVEL", "minimal").env("CUBECL_AUTOTUNE_CACHE", "0");
    execute(&mut cargo)
}
