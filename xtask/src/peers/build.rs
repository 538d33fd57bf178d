//! A peer and the harness of `peers/`, compiled for a core.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use simground_tests::{c, root};

use super::{Core, Peer};

/// Compiles one peer with the harness that counts, or `bare`, with nothing else, and returns the image.
///
/// `folder` is where `peers/generate.py` wrote.
pub fn image(
    peer: Peer,
    workload: &str,
    core: &Core,
    folder: &Path,
    bare: bool,
) -> Result<PathBuf> {
    let (source, data) = (root().join("peers"), folder.join(workload));
    let startup = root().join("firmware-examples/c-link");
    let kind = if bare { "bare" } else { "measure" };
    let image = folder.join(format!("{peer:?}-{workload}-{}-{kind}.elf", core.name));
    let mut gcc = Command::new("arm-none-eabi-gcc");
    gcc.args(core.flags).args(["-mthumb", "-std=c11", "-O3", "-ffreestanding", "-nostdlib"]);
    gcc.args(["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]);
    gcc.arg(format!("-DTICKS={}", core.ticks)).arg("-I").arg(&source).arg("-I").arg(&data);
    gcc.args(bare.then_some("-DBARE"));
    gcc.arg(source.join("harness.c")).arg(startup.join("startup.c"));
    gcc.arg("-T").arg(startup.join(core.script)).arg("-L").arg(&startup);
    match (peer, workload) {
        (Peer::Naive, "bank") => {
            gcc.arg("-DPEER_BANK").arg(source.join("naive_bank.c"));
        }
        (Peer::Naive, _) => {
            gcc.arg(source.join("naive.c"));
        }
        (Peer::Emlearn, "bank") => {
            gcc.arg("-DPEER_BANK").arg(source.join("emlearn_bank.c"));
            gcc.arg("-I").arg(folder.join("emlearn"));
        }
        (Peer::Emlearn, _) => {
            gcc.args(["-DPEER_FLOAT_INPUT", "-DPEER_FLOAT_OUTPUT"]).arg(source.join("emlearn.c"));
            gcc.arg("-I").arg(folder.join("emlearn"));
        }
        (Peer::BakeNn, _) => {
            let library = data.join(format!("bakenn-{}", core.bakenn));
            gcc.arg("-DBAKENN_CMSIS_NN_BUILTIN_MEMORY").arg("-I").arg(&library);
            for include in ["cmsis_nn/Include", "cmsis_core/Include"] {
                gcc.arg("-I").arg(library.join("third_party").join(include));
            }
            gcc.arg(source.join("bakenn.c")).args(c_files(&library)?);
        }
        (Peer::MicroFlow, _) => {
            gcc.arg("-DPEER_FLOAT_OUTPUT").arg(microflow(&data, core)?);
        }
    }
    gcc.args(["-lm", "-lc", "-lgcc", "-o"]).arg(&image);
    c::run(&mut gcc)?;
    Ok(image)
}

/// Every C file below a folder.
fn c_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(c_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "c") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The static library of MicroFlow with the model in `data`.
///
/// Its macro wants the model beside the crate, so the crate is copied to the model. Each copy is built in a folder of its
/// own: cargo takes two copies of one workspace for the same.
fn microflow(data: &Path, core: &Core) -> Result<PathBuf> {
    let source = root().join("peers/microflow");
    for file in ["Cargo.toml", "Cargo.lock", "lib.rs"] {
        simground_tests::firmware::replace(&data.join(file), &fs::read(source.join(file))?)?;
    }
    let target_dir = data.join("microflow");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(data).args(["build", "--release", "--quiet", "--locked"]);
    cargo.args(["--target", core.target, "--target-dir"]).arg(&target_dir);
    // Flags for the host's compiler (coverage, for one) are not the firmware's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    c::run(&mut cargo)?;
    Ok(target_dir.join(core.target).join("release/libpeer_microflow.a"))
}
