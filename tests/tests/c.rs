//! The C interface, from C.

use std::path::PathBuf;
use std::process::Command;

use simground_tests::board::Board;
use simground_tests::{c, golden, root, stress};

fn small() -> PathBuf {
    golden::folder().join("small.sgnn")
}

#[test]
fn the_header_is_up_to_date() {
    c::check_header(false).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn the_header_compiles_as_c_and_as_cpp() {
    let include = format!("-I{}", root().join("include").display());
    for (compiler, language, standard) in [
        ("arm-none-eabi-gcc", "c", "-std=c99"),
        ("arm-none-eabi-gcc", "c", "-std=c17"),
        ("arm-none-eabi-g++", "c++", "-std=c++11"),
        ("arm-none-eabi-g++", "c++", "-std=c++20"),
    ] {
        let mut command = Command::new(compiler);
        command.args(["-fsyntax-only", "-ffreestanding", "-Wall", "-Wextra", "-Wpedantic"]);
        command.args(["-Werror", standard, &include, "-include", "simground.h", "-x", language]);
        c::run(command.arg("/dev/null")).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
fn a_firmware_in_c_equals_the_host() {
    for (core, flags) in c::BOARDS {
        let board = Board::named(core).expect("a known board");
        let image = c::firmware(board, flags, &small()).unwrap_or_else(|e| panic!("{e:#}"));
        let windows = stress::compare_image(board, &image, &[small()], &[]);
        assert_eq!(windows.unwrap_or_else(|e| panic!("{e:#}")), stress::NUM_WINDOWS);
    }
}

#[test]
fn a_firmware_in_c_holds_no_panic() {
    for (core, flags) in c::BOARDS {
        let board = Board::named(core).expect("a known board");
        let image = c::firmware(board, flags, &small()).unwrap_or_else(|e| panic!("{e:#}"));
        let symbols = c::symbols(&image).expect("symbols");
        assert!(symbols.iter().any(|symbol| symbol == "simground_infer"));
        let panics: Vec<_> = symbols.iter().filter(|symbol| symbol.contains("panic")).collect();
        assert!(panics.is_empty(), "{core}: {panics:?}");
    }
}
