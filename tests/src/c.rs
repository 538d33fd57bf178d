//! The C interface: its header, its static libraries, and a firmware in C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::board::Board;
use crate::{firmware, root, target_dir};

/// The boards of the firmware in C, with the flags that choose their core.
pub const BOARDS: [(&str, &[&str]); 3] = [
    ("cortex-m0", &["-mcpu=cortex-m0", "-mfloat-abi=soft"]),
    ("cortex-m4", &["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]),
    ("cortex-m55", &["-mcpu=cortex-m55", "-mfloat-abi=hard"]),
];

/// Where the header is checked in.
pub fn header_path() -> PathBuf {
    root().join("include/simground.h")
}

const PREAMBLE: &str = "\
/* The C interface of simground: small simulation-grounded networks in integers, with the explanation of every answer.
 *
 * Written by `cargo xtask c --bless` from c-interface/src/; docs/c.md says how to link it.
 */";

const WIDTH: &str = "
#if UINTPTR_MAX > 0xffffffff
#define SIMGROUND_64_BIT
#else
#define SIMGROUND_32_BIT
#endif";

/// The header, generated from the source.
pub fn header() -> Result<String> {
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some(PREAMBLE.into()),
        after_includes: Some(WIDTH.into()),
        include_guard: Some("SIMGROUND_H".into()),
        cpp_compat: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        usize_is_size_t: true,
        style: cbindgen::Style::Both,
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h"].map(String::from).to_vec(),
        ..cbindgen::Config::default()
    };
    for (cfg, define) in [("64", "SIMGROUND_64_BIT"), ("32", "SIMGROUND_32_BIT")] {
        config.defines.insert(format!("target_pointer_width = {cfg}"), define.into());
    }
    // The other modules are found from here.
    let source = root().join("c-interface/src/lib.rs");
    let builder = cbindgen::Builder::new().with_config(config).with_src(source);
    let mut text = Vec::new();
    builder.generate().context("cannot generate the header")?.write(&mut text);
    // Rust's heading says nothing to a reader of C.
    Ok(String::from_utf8(text)?.replace("// # Safety\n//\n", ""))
}

/// Builds the static library for a target and returns its path.
///
/// `extension` is a feature of `simground-c` for a core that has more than its target's name says; such a library has a
/// folder of its own.
pub fn library(target: &str, extension: Option<&str>) -> Result<PathBuf> {
    let folder = extension.map_or(directory(), |extension| directory().join(extension));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root()).args(["build", "--quiet", "--locked", "--package", "simground-c"]);
    cargo.args(["--lib", "--profile", "c-library", "--target", target]);
    cargo.args(extension.iter().flat_map(|extension| ["--features", extension]));
    cargo.arg("--target-dir").arg(&folder);
    // Flags for the host's compiler (coverage, for one) are not the firmware's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut cargo)?;
    Ok(folder.join(target).join("c-library/libsimground_c.a"))
}

/// Builds `firmware-examples/c-link` with one artifact in flash and returns the image.
pub fn firmware(board: Board, flags: &[&str], artifact: &Path) -> Result<PathBuf> {
    let library = library(board.target, board.extension)?;
    let source = root().join("firmware-examples/c-link");
    let name = artifact.file_stem().unwrap_or_default().display();
    let image = directory().join(format!("{}-{name}.elf", board.machine));
    let unique = image.with_added_extension(format!("{:?}", std::thread::current().id()));
    let mut gcc = Command::new("arm-none-eabi-gcc");
    gcc.args(flags).args(["-mthumb", "-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic"]);
    gcc.args([
        "-Werror",
        "-ffreestanding",
        "-nostdlib",
        "-ffunction-sections",
        "-Wl,--gc-sections",
    ]);
    gcc.arg("-I").arg(root().join("include"));
    gcc.arg(format!("-DARTIFACT_FILE=\"{}\"", artifact.display()));
    gcc.args(["main.c", "startup.c"].map(|file| source.join(file)));
    gcc.arg("-T").arg(source.join(format!("{}.ld", board.machine)));
    gcc.arg("-L").arg(&source).arg(library).arg("-lgcc").arg("-o").arg(&unique);
    run(&mut gcc)?;
    fs::rename(&unique, &image)?;
    Ok(image)
}

/// Names of the functions and data that an image holds.
pub fn symbols(image: &Path) -> Result<Vec<String>> {
    let output = Command::new("arm-none-eabi-nm").arg("--format=posix").arg(image).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(String::from).collect())
}

/// Where static libraries and firmware in C are built.
pub fn directory() -> PathBuf {
    target_dir().join("c")
}

/// Checks the header, or replaces it with `bless`.
pub fn check_header(bless: bool) -> Result<()> {
    let generated = header()?;
    if bless {
        return firmware::replace(&header_path(), generated.as_bytes());
    }
    if fs::read_to_string(header_path()).unwrap_or_default() != generated {
        bail!("include/simground.h is stale\nhint: `cargo xtask c --bless` writes it");
    }
    Ok(())
}

/// Runs a command, quiet when it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
