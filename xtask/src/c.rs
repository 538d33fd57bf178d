//! The C interface: its header, and a static library for each core.

use anyhow::Result;
use simground_tests::board::BOARDS;
use simground_tests::c;

/// Checks the header, or writes it with `bless`, then builds every library and prints where it lies.
pub fn run(bless: bool) -> Result<()> {
    c::check_header(bless)?;
    let plain = BOARDS.iter().map(|board| (board.target, None));
    let extended = BOARDS.iter().map(|board| (board.target, board.extension));
    let mut libraries: Vec<_> = plain.chain(extended).collect();
    libraries.sort_unstable();
    libraries.dedup();
    for (target, extension) in libraries {
        println!("{}", c::library(target, extension)?.display());
    }
    Ok(())
}
