//! Places the memory map of the chosen board where the linker finds it.

use std::path::PathBuf;
use std::{env, fs};

/// Feature, flash, RAM: origins and lengths.
const BOARDS: [(&str, &str, &str); 6] = [
    ("MICROBIT", "ORIGIN = 0x00000000, LENGTH = 256K", "ORIGIN = 0x20000000, LENGTH = 16K"),
    ("MPS2_AN385", "ORIGIN = 0x00000000, LENGTH = 4M", "ORIGIN = 0x20000000, LENGTH = 4M"),
    ("MPS2_AN386", "ORIGIN = 0x00000000, LENGTH = 4M", "ORIGIN = 0x20000000, LENGTH = 4M"),
    ("MPS2_AN500", "ORIGIN = 0x00000000, LENGTH = 4M", "ORIGIN = 0x20000000, LENGTH = 4M"),
    // Secure aliases: the core starts in the secure state.
    ("MPS2_AN505", "ORIGIN = 0x10000000, LENGTH = 4M", "ORIGIN = 0x38000000, LENGTH = 4M"),
    // The tightly coupled memories.
    ("MPS3_AN547", "ORIGIN = 0x00000000, LENGTH = 512K", "ORIGIN = 0x20000000, LENGTH = 512K"),
];

fn main() {
    let chosen =
        |board: &&(&str, &str, &str)| env::var_os(format!("CARGO_FEATURE_{}", board.0)).is_some();
    let mut boards = BOARDS.iter().filter(chosen);
    let (Some((_, flash, ram)), None) = (boards.next(), boards.next()) else {
        panic!("choose exactly one board, as in `--features mps2-an386`");
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let memory = format!("MEMORY {{\n  FLASH : {flash}\n  RAM : {ram}\n}}\n");
    fs::write(out.join("memory.x"), memory).expect("cannot write memory.x");
    // cortex-m-rt asks for the names of a device's interrupt handlers: there are none.
    fs::write(out.join("device.x"), "").expect("cannot write device.x");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bins=--nmagic");
    println!("cargo::rustc-link-arg-bin=answer=-Tdefmt.x");
}
