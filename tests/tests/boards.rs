//! Every board against the host.

use std::path::PathBuf;

use simground_tests::board::{BOARDS, Board};
use simground_tests::{budgets, firmware, golden, qemu, size, stress};

fn board(name: &str) -> Board {
    Board::named(name).expect("a known board")
}

/// Golden artifacts and the standard networks, in one image.
fn artifacts(board: Board) -> Vec<PathBuf> {
    let mut paths = golden::artifacts().expect("golden artifacts");
    paths.extend(golden::workloads(board).expect("workloads"));
    paths
}

fn answers(name: &str) {
    let board = board(name);
    let image = firmware::build(board, "answer", &artifacts(board)).expect("builds");
    let run = qemu::run_alone(board, &image).expect("runs");
    let log = run.log(&image).expect("decodes");
    assert_eq!(run.code, 0, "{log}{}", run.stderr);
    for line in
        ["small: self-test passed", "small: mechanism posterior [", "small: novelty p-value "]
    {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    assert_eq!(log.matches("small: nearest simulation").count(), 5, "{log}");
}

fn equals_the_host(name: &str) {
    let artifacts = artifacts(board(name));
    let windows = stress::compare(board(name), &artifacts, &[]);
    let windows = windows.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(windows, artifacts.len() * stress::NUM_WINDOWS);
}

fn kernels_equal_their_definition(name: &str) {
    let board = board(name);
    let artifacts = golden::artifacts().expect("golden artifacts");
    let image = firmware::build(board, "kernels", &artifacts).expect("builds");
    let run = qemu::run_alone(board, &image).expect("runs").passed();
    let run = run.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(String::from_utf8_lossy(&run.stdout), "1800 comparisons\n");
}

fn keeps_to_its_budget(name: &str) {
    let artifacts = golden::workloads(board(name)).expect("workloads");
    let figures = size::figures(board(name), &artifacts).expect("measures");
    let exceeded = budgets::exceeded(&figures, &budgets::read().expect("budgets"));
    assert!(exceeded.is_empty(), "{}", exceeded.join("\n"));
}

/// Models that are proved while the firmware is built: their self-tests compare with the host's answers.
fn compiled_models_answer_alike(name: &str) {
    let artifacts = golden::artifacts().expect("golden artifacts");
    let measured = size::measure_compiled(board(name), &artifacts).expect("self-tests pass");
    assert_eq!(measured.len(), artifacts.len());
    for model in &measured {
        assert!(model.vectors > 0, "{model:?}");
    }
}

fn counts_repeat(name: &str) {
    let artifacts = golden::workloads(board(name)).expect("workloads");
    let first = size::measure(board(name), &artifacts).expect("measures");
    let second = size::measure(board(name), &artifacts).expect("measures");
    assert_eq!(first, second);
    assert_eq!(first.len(), artifacts.len());
}

macro_rules! each_board {
    ($($module:ident: $core:literal),+) => {
        $(mod $module {
            #[test]
            fn answers() {
                super::answers($core);
            }
            #[test]
            fn equals_the_host() {
                super::equals_the_host($core);
            }
            #[test]
            fn kernels_equal_their_definition() {
                super::kernels_equal_their_definition($core);
            }
            #[test]
            fn keeps_to_its_budget() {
                super::keeps_to_its_budget($core);
            }
            #[test]
            fn compiled_models_answer_alike() {
                super::compiled_models_answer_alike($core);
            }
            #[test]
            fn counts_repeat() {
                super::counts_repeat($core);
            }
        })+
        #[test]
        fn every_board_is_tested() {
            assert_eq!(BOARDS.map(|board| board.core), [$($core),+]);
        }
    };
}

each_board! {
    cortex_m0: "cortex-m0",
    cortex_m3: "cortex-m3",
    cortex_m4: "cortex-m4",
    cortex_m7: "cortex-m7",
    cortex_m33: "cortex-m33",
    cortex_m55: "cortex-m55",
    rv32imc: "rv32imc"
}

#[test]
fn a_failing_firmware_says_so() {
    // An artifact with one changed bit: the firmware must log the refusal and exit with 1, not hang.
    let mut bytes = std::fs::read(golden::folder().join("small.sgnn")).expect("small.sgnn");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let path = simground_tests::target_dir().join("workloads/damaged.sgnn");
    firmware::replace(&path, &bytes).expect("written");
    let board = board("cortex-m4");
    let image = firmware::build(board, "answer", &[path]).expect("builds");
    let run = qemu::run_alone(board, &image).expect("runs");
    assert_eq!(run.code, 1);
    let log = run.log(&image).expect("decodes");
    assert!(log.contains("damaged: artifact refused: ChecksumMismatch"), "{log}");
}

/// Firmware that links only when the linker drops its panic handler.
const PROOFS: [&str; 4] = ["bare", "bare-theta", "bare-growth", "compiled"];

#[test]
fn no_panic_is_reachable() {
    for (board, bin) in BOARDS.into_iter().flat_map(|board| PROOFS.map(|bin| (board, bin))) {
        firmware::build(board, bin, &artifacts(board)).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
#[ignore = "slow: a hundred links"]
fn no_panic_is_reachable_at_any_optimization() {
    for board in BOARDS {
        for bin in PROOFS {
            for level in ["1", "2", "3", "\"s\"", "\"z\""] {
                firmware::build_at(level, board, bin, &artifacts(board))
                    .unwrap_or_else(|error| panic!("{} at {level}: {error:#}", board.core));
            }
        }
    }
}
