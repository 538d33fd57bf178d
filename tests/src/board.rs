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
    /// The feature of `simground-runtime` for what the core has beyond its target's name.
    pub extension: Option<&'static str>,
    /// The package of `firmware-examples/` that knows the board.
    pub package: &'static str,
    /// QEMU's program.
    pub emulator: &'static str,
}

/// Every board.
pub const BOARDS: [Board; 7] = [
    cortex_m("cortex-m0", "microbit", "thumbv6m-none-eabi", None),
    cortex_m("cortex-m3", "mps2-an385", "thumbv7m-none-eabi", None),
    cortex_m("cortex-m4", "mps2-an386", "thumbv7em-none-eabihf", None),
    cortex_m("cortex-m7", "mps2-an500", "thumbv7em-none-eabihf", None),
    cortex_m("cortex-m33", "mps2-an505", "thumbv8m.main-none-eabihf", Some("dsp")),
    cortex_m("cortex-m55", "mps3-an547", "thumbv8m.main-none-eabihf", Some("helium")),
    Board {
        core: "rv32imc",
        machine: "virt",
        target: "riscv32imc-unknown-none-elf",
        extension: None,
        package: "firmware-riscv",
        emulator: "qemu-system-riscv32",
    },
];

const fn cortex_m(
    core: &'static str,
    machine: &'static str,
    target: &'static str,
    extension: Option<&'static str>,
) -> Board {
    let (package, emulator) = ("firmware-cortex-m", "qemu-system-arm");
    Board { core, machine, target, extension, package, emulator }
}

impl Board {
    /// The board of a core (`cortex-m4`) or a machine (`mps2-an386`).
    pub fn named(name: &str) -> Option<Board> {
        BOARDS.into_iter().find(|board| board.core == name || board.machine == name)
    }
}
