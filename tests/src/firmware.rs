//! Builds a firmware image for a board, with artifacts linked in.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::board::Board;
use crate::{root, target_dir};

/// The runtime's optimization for speed, where the compiler and not assembly makes its kernels.
const FOR_SPEED: &str = "3";

/// Builds the program `bin` for `board` with `artifacts` in flash and returns the image.
///
/// Tests run in parallel and cargo writes every image of a program to one place, so the image is copied to a place of
/// its own before the next build may begin.
pub fn build(board: Board, bin: &str, artifacts: &[PathBuf]) -> Result<PathBuf> {
    let level = if board.target.starts_with("thumb") { "\"s\"" } else { FOR_SPEED };
    build_at(level, board, bin, artifacts)
}

/// The same with the runtime at another level of optimization, as Cargo writes it.
pub fn build_at(level: &str, board: Board, bin: &str, artifacts: &[PathBuf]) -> Result<PathBuf> {
    let _lock = lock()?;
    let mut cargo = cargo("build");
    cargo.args(["--release", "--package", board.package, "--bin", bin]);
    cargo.args(["--target", board.target, "--features", board.machine]);
    optimize(&mut cargo, level);
    cargo.env("SIMGROUND_ARTIFACTS", env::join_paths(artifacts)?);
    run(&mut cargo).with_context(|| format!("cannot build `{bin}` for {}", board.machine))?;
    let built = directory().join(board.target).join("release").join(bin);
    let mut hasher = DefaultHasher::new();
    (artifacts, level).hash(&mut hasher);
    let images = directory().join("images");
    let image = images.join(format!("{}-{bin}-{:016x}.elf", board.machine, hasher.finish()));
    replace(&image, &fs::read(built)?)?;
    Ok(image)
}

/// Builds the runtime as a WebAssembly module and returns its path.
pub fn wasm() -> Result<PathBuf> {
    let _lock = lock()?;
    const TARGET: &str = "wasm32-unknown-unknown";
    let mut cargo = cargo("build");
    cargo.args(["--release", "--package", "firmware-wasm", "--target", TARGET]);
    optimize(&mut cargo, FOR_SPEED);
    run(&mut cargo).context("cannot build the WebAssembly module")?;
    Ok(directory().join(TARGET).join("release/firmware_wasm.wasm"))
}

/// Builds the program that turns defmt frames into text, for the host.
pub fn log_decoder() -> Result<PathBuf> {
    let _lock = lock()?;
    run(cargo("build").args(["--package", "log-decoder"]))
        .context("cannot build the log decoder")?;
    Ok(directory().join("debug/log-decoder"))
}

/// Bytes of flash that an image occupies: everything that is loaded, initial values of statics included.
pub fn flash_bytes(image: &Path) -> Result<u64> {
    let elf = fs::read(image)?;
    let word = |at: usize| -> Result<u32> {
        let bytes = elf.get(at..).and_then(|rest| rest.first_chunk()).context("ELF file is cut")?;
        Ok(u32::from_le_bytes(*bytes))
    };
    // ELF-32, little endian: `e_phoff` at 28; `e_phentsize` and `e_phnum` share the word at 42.
    let (headers, sizes) = (word(28)? as usize, word(42)?);
    let (entry_bytes, count) = ((sizes & 0xffff) as usize, (sizes >> 16) as usize);
    let mut total = 0;
    for header in (0..count).map(|i| headers + i * entry_bytes) {
        const PT_LOAD: u32 = 1;
        if word(header)? == PT_LOAD {
            total += u64::from(word(header + 16)?); // p_filesz
        }
    }
    Ok(total)
}

/// Replaces a file in one step, and not at all when it holds these bytes: cargo rebuilds what is newer.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder)?;
    let unique = format!("tmp-{}-{:?}", std::process::id(), std::thread::current().id());
    let temporary = path.with_added_extension(unique);
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Where firmware is built.
pub fn directory() -> PathBuf {
    target_dir().join("firmware")
}

fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    // The folder's own configuration holds the log level.
    cargo.current_dir(root().join("firmware-examples"));
    cargo.args([command, "--quiet", "--locked", "--target-dir"]).arg(directory());
    // Flags for the host's compiler (coverage, for one) are not the firmware's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

fn optimize(cargo: &mut Command, level: &str) {
    cargo.arg("--config");
    cargo.arg(format!("profile.release.package.simground-runtime.opt-level={level}"));
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Held while an image is built and copied, by this process or another.
fn lock() -> Result<File> {
    fs::create_dir_all(directory())?;
    let file = File::create(directory().join("images.lock"))?;
    file.lock()?;
    Ok(file)
}
