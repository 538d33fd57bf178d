//! The boards that the firmware runs on.

/// A board of QEMU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// Its core, as in reports.
    pub core: &'static str,
    /// QEMU's name of the machine, and the firmware's feature.
    pub machine: &'static str,
    /// Rust's target.
    pub target: &'static str,
}

/// Every board.
pub const BOARDS: [Board; 5] = [
    Board { core: "cortex-m0", machine: "microbit", target: "thumbv6m-none-eabi" },
    Board { core: "cortex-m3", machine: "mps2-an385", target: "thumbv7m-none-eabi" },
    Board { core: "cortex-m4", machine: "mps2-an386", target: "thumbv7em-none-eabihf" },
    Board { core: "cortex-m7", machine: "mps2-an500", target: "thumbv7em-none-eabihf" },
    Board { core: "cortex-m33", machine: "mps2-an505", target: "thumbv8m.main-none-eabihf" },
];

impl Board {
    /// The board of a core (`cortex-m4`) or a machine (`mps2-an386`).
    pub fn named(name: &str) -> Option<Board> {
        BOARDS.into_iter().find(|board| board.core == name || board.machine == name)
    }
}
