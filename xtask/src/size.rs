//! Instructions, flash, RAM and stack on every core.

use anyhow::Result;
use simground_tests::{budgets, size};

use crate::qemu;

/// Prints every figure of one board or of all; with `bless` also makes the standard ones the budget.
pub fn run(board: Option<&str>, json: bool, bless: bool) -> Result<()> {
    let mut figures = Vec::new();
    for board in qemu::boards(board)? {
        eprintln!("==> {} ({})", board.core, board.machine);
        figures.extend(size::figures(board, &size::workloads(board)?)?);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        println!("core         workload  instructions  flash_bytes  ram_bytes  stack_bytes");
        for f in &figures {
            println!(
                "{:<12} {:<8} {:>13} {:>12} {:>10} {:>12}",
                f.core, f.workload, f.instructions, f.flash_bytes, f.ram_bytes, f.stack_bytes
            );
        }
    }
    if bless {
        // The demo's model is trained anew on each machine; only the fixed networks have budgets.
        figures.retain(|figure| !figure.workload.starts_with("demo"));
        budgets::write(figures)?;
    }
    Ok(())
}
