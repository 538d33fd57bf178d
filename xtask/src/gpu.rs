//! Training by wgpu against the CPU, on a GPU or on Mesa's software Vulkan.

use anyhow::Result;
use simground_tests::target_dir;

use crate::setup;
use crate::stage::{cargo, execute};

/// Builds the trainer with its feature `wgpu` and runs what needs it: losses of the first steps beside the CPU's, the command from a
/// study to its artifact, and the error without a driver.
pub fn run() -> Result<()> {
    setup::vulkan()?;
    let mut cargo = cargo(&["test", "--package", "simground-trainer", "--profile", "gpu"]);
    cargo.args(["--features", "wgpu", "--lib", "--test", "gpu"]);
    // One at a time: a driver that is a processor has no room for two.
    cargo.args(["wgpu", "--", "--include-ignored", "--nocapture", "--test-threads", "1"]);
    // A folder of its own: with another set of burn's features the usual build would be made again.
    cargo.env("CARGO_TARGET_DIR", target_dir().join("gpu"));
    // Measuring every kernel takes minutes where a processor plays the GPU.
    cargo.env("CUBECL_AUTOTUNE_LEVEL", "minimal").env("CUBECL_AUTOTUNE_CACHE", "0");
    execute(&mut cargo)
}
