//! Every command that a person or CI runs.
//!
//! ```text
//! cargo xtask check                  formatting, lints, documentation, targets without compare-and-swap
//! cargo xtask test [--slow]          check, host tests, firmware in QEMU
//! cargo xtask qemu [BOARD]           firmware in QEMU alone; --bless NAME writes a golden artifact
//! cargo xtask device FILE.sgnn       what an artifact of yours answers and costs on a board in QEMU
//! cargo xtask size [BOARD]           instructions, flash, RAM and stack on every core; --json, --bless
//! cargo xtask c [--bless]            the C header, checked, and a static library for each core
//! cargo xtask fuzz [--seconds N]     hostile bytes and windows for N seconds a target
//! cargo xtask miri                   the runtime's tests under Miri, big-endian included
//! cargo xtask gpu                    trains by wgpu on this machine's GPU or on Mesa's software Vulkan, against the CPU
//! cargo xtask peers                  rivals beside us: instructions, flash, agreement; --json; needs package registries
//! cargo xtask demo                   study to artifact to microcontroller to explained answer
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod c;
mod check;
mod demo;
mod device;
mod fuzz;
mod gpu;
mod miri;
mod peers;
mod qemu;
mod setup;
mod size;
mod stage;
mod test;

/// Every command that a person or CI runs. Exit codes: 0; 1 a stage failed; 2 the machine lacks something.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formatting, lints, documentation, and the runtime on targets without compare-and-swap
    Check,
    /// Check, host tests and firmware in QEMU
    Test {
        /// Also the science and stress tests that take minutes
        #[arg(long)]
        slow: bool,
    },
    /// Runs the firmware in QEMU and prints its log
    Qemu {
        /// A core (cortex-m4) or a machine (mps2-an386); every board without it
        board: Option<String>,
        /// Writes the golden artifact NAME and what must come of it
        #[arg(long, value_name = "NAME")]
        bless: Option<String>,
    },
    /// An artifact on a board in QEMU: its answer, whether every bit is this host's, instructions, flash and RAM
    Device {
        /// The artifact
        artifact: PathBuf,
        /// CSV with a header; the first window is answered
        #[arg(long)]
        input: PathBuf,
        /// A core (cortex-m4) or a machine (mps2-an386)
        #[arg(long, default_value = "cortex-m4")]
        board: String,
    },
    /// Instructions, flash, RAM and stack of each workload on each core
    Size {
        /// A core (cortex-m4) or a machine (mps2-an386); every board without it
        board: Option<String>,
        /// One JSON document on stdout
        #[arg(long)]
        json: bool,
        /// Makes these figures the budget
        #[arg(long)]
        bless: bool,
    },
    /// Checks the C header and builds the static library for each core
    C {
        /// Writes the header
        #[arg(long)]
        bless: bool,
    },
    /// Hostile bytes and windows, by libFuzzer; installs cargo-fuzz and needs a nightly toolchain
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// The runtime's tests and the C interface's under Miri, little-endian and big-endian; needs a nightly toolchain
    Miri,
    /// Trains by wgpu on this machine's GPU, or on Mesa's software Vulkan, and compares with the CPU
    Gpu,
    /// Rivals on the same networks, in QEMU; fetches them from package registries the first time
    Peers {
        /// One JSON document on stdout
        #[arg(long)]
        json: bool,
    },
    /// Study, artifact, microcontroller, explained answer
    Demo,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<setup::Missing>() => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    setup::run()?;
    match command {
        Command::Check => {
            let mut stages = stage::Stages::default();
            let outcome = check::run(&mut stages);
            stages.finish(outcome)
        }
        Command::Test { slow } => test::run(slow),
        Command::Qemu { board: _, bless: Some(name) } => qemu::bless(&name),
        Command::Qemu { board, bless: None } => qemu::run(board.as_deref()),
        Command::Device { artifact, input, board } => device::run(&artifact, &input, &board),
        Command::Size { board, json, bless } => size::run(board.as_deref(), json, bless),
        Command::C { bless } => c::run(bless),
        Command::Fuzz { seconds } => fuzz::run(seconds),
        Command::Miri => miri::run(),
        Command::Gpu => gpu::run(),
        Command::Peers { json } => peers::run(json),
        Command::Demo => demo::run(),
    }
}
