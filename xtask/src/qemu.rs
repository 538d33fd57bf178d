//! The firmware in QEMU, outside of tests.

use std::fs;

use anyhow::Result;
use simground_tests::board::{BOARDS, Board};
use simground_tests::{builder, firmware, golden, qemu, stress};

use crate::device;
use crate::stage::{cargo, execute};

/// Answers for the golden artifacts on one board or on all, with the log on stdout, and compares every bit.
pub fn run(board: Option<&str>) -> Result<()> {
    let artifacts = golden::artifacts()?;
    for board in boards(board)? {
        let image = firmware::build(board, "answer", &artifacts)?;
        let run = qemu::run_alone(board, &image)?;
        eprintln!("==> {} ({})", board.core, board.machine);
        print!("{}", run.log(&image)?);
        run.passed()?;
        let windows = stress::compare(board, &artifacts, &[])?;
        eprintln!("    {windows} windows equal the host's, bit for bit");
    }
    Ok(())
}

/// The board of that name, or all.
pub fn boards(name: Option<&str>) -> Result<Vec<Board>> {
    name.map_or_else(|| Ok(BOARDS.to_vec()), |name| Ok(vec![device::named(name)?]))
}

/// Writes the golden artifact `name`, its window and what must come of it.
pub fn bless(name: &str) -> Result<()> {
    let path = golden::folder().join(format!("{name}.sgnn"));
    if let Some(shape) = builder::GOLDEN.iter().find(|shape| shape.name == name) {
        golden::write(shape, golden::folder())?;
    } else {
        // Everything else is trained: the trainer's example writes NAME.sgnn, and NAME.csv with a window.
        let arguments =
            ["run", "--release", "--package", "simground-trainer", "--example", "golden"];
        execute(cargo(&arguments).args(["--", name]).arg(&path))?;
    }
    let expected = golden::expected(&path, format!("cargo xtask qemu --bless {name}"))?;
    let text = serde_json::to_string_pretty(&expected)?;
    fs::write(path.with_extension("json"), text + "\n")?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
