//! Drives firmware in QEMU and compares it with the host.
//!
//! ```text
//! artifact --firmware::build--> image --qemu::run--> Run --+--> stress: outputs.bin against the host's records
//!    ^                                                     +--> size: instructions, stack; flash from the image
//!    +-- builder (networks of fixed shapes) or the trainer
//! ```

pub mod board;
pub mod budgets;
pub mod builder;
pub mod c;
pub mod firmware;
pub mod golden;
pub mod qemu;
pub mod size;
pub mod stress;

use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where everything is built: `CARGO_TARGET_DIR`, else `target/` of the repository.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => root().join(path),
        None => root().join("target"),
    }
}
