//! The C interface: its header, and a static library for each core.

use anyhow::Result;
use simground_tests::board::BOARDS;
use simground_tests::c;

/// Checks the header, or writes it with `bless`, then builds every library and prints where it lies.
pub fn run(bless: bool) -> Result<()> {
    c::check_header(bless)?;
    let mut targets: Vec<_> = BOARDS.iter().map(|board| board.target).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        println!("{}", c::library(target)?.display());
    }
    Ok(())
}
