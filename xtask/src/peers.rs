//! Rivals measured with the method that measures this runtime: exact instructions in QEMU, flash of a firmware that does
//! nothing else, and answers compared with the definition of the workload.
//!
//! ```text
//! peers/generate.py -> models, vectors, expected answers -> gcc, cargo (build.rs) -> QEMU -> Figure
//! ```
//!
//! Needs package registries the first time; afterwards `target/peers` holds everything.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use simground_tests::board::Board;
use simground_tests::{budgets, c, firmware, qemu, root, target_dir};

use crate::setup;

mod build;

/// A core and how gcc is told about it.
struct Core {
    name: &'static str,
    flags: &'static [&'static str],
    /// Linker script of `firmware-examples/c-link`; the boards of M3 and M4 share a memory map.
    script: &'static str,
    /// SysTick's ticks in the time of 125 instructions.
    ticks: u32,
    /// Rust's target.
    target: &'static str,
    /// BakeNN's name for the nearest core that it knows.
    bakenn: &'static str,
}

const CORES: [Core; 3] = [
    Core {
        name: "cortex-m4",
        flags: &["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
        script: "mps2-an386.ld",
        ticks: 200,
        target: "thumbv7em-none-eabihf",
        bakenn: "cortex-m4",
    },
    Core {
        name: "cortex-m3",
        flags: &["-mcpu=cortex-m3", "-mfloat-abi=soft"],
        script: "mps2-an386.ld",
        ticks: 200,
        target: "thumbv7m-none-eabi",
        bakenn: "cortex-m0plus",
    },
    Core {
        name: "cortex-m0",
        flags: &["-mcpu=cortex-m0", "-mfloat-abi=soft"],
        script: "microbit.ld",
        ticks: 128,
        target: "thumbv6m-none-eabi",
        bakenn: "cortex-m0plus",
    },
];

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Naive,
    Emlearn,
    BakeNn,
    MicroFlow,
}

/// Every peer and what it runs.
const PEERS: [(Peer, &[&str]); 4] = [
    (Peer::Naive, &["A", "B", "bank"]),
    (Peer::Emlearn, &["A", "B", "bank"]),
    (Peer::BakeNn, &["A", "B"]),
    (Peer::MicroFlow, &["A", "B"]),
];

/// One line of the table.
struct Figure {
    peer: &'static str,
    version: String,
    core: &'static str,
    workload: &'static str,
    /// Mean over the vectors, and the least and the most.
    instructions: u64,
    least: u64,
    most: u64,
    flash_bytes: u64,
    /// Nothing for this runtime, whose answers the tests compare bit for bit.
    agreement: Option<Agreement>,
}

/// How a peer's outputs compare with the workload's definition.
struct Agreement {
    equal: usize,
    outputs: usize,
    /// In steps of the output's grid; no measure of anything for the bank, whose outputs are indices.
    largest_difference: i64,
}

/// Measures every peer on every core and prints the table, this runtime's budgets included.
pub fn run(json: bool) -> Result<()> {
    setup::newlib()?;
    let folder = target_dir().join("peers");
    generate(&folder)?;
    let mut figures = Vec::new();
    for core in &CORES {
        for workload in ["A", "B", "bank"] {
            figures.push(ours(core.name, workload)?);
            for (peer, workloads) in PEERS {
                if workloads.contains(&workload) {
                    eprintln!("==> {}, {workload}, {}", peer.name(), core.name);
                    figures.push(measure(peer, workload, core, &folder)?);
                }
            }
        }
    }
    if json {
        let figures: Vec<_> = figures.iter().map(Figure::json).collect();
        println!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    println!(
        "core       workload  peer       version  instructions  [least, most]  flash_bytes  equal"
    );
    for f in &figures {
        let equal = match &f.agreement {
            Some(a) if f.workload == "bank" => format!("{} of {}", a.equal, a.outputs),
            Some(a) => {
                format!("{} of {}, at most {} apart", a.equal, a.outputs, a.largest_difference)
            }
            None => "bit for bit, by the tests".into(),
        };
        println!(
            "{:<10} {:<9} {:<10} {:<8} {:>12}  [{}, {}] {:>12}  {equal}",
            f.core, f.workload, f.peer, f.version, f.instructions, f.least, f.most, f.flash_bytes
        );
    }
    Ok(())
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Naive => "naive C",
            Peer::Emlearn => "emlearn",
            Peer::BakeNn => "BakeNN",
            Peer::MicroFlow => "MicroFlow",
        }
    }

    /// The pinned version; the compiler's for what nobody publishes.
    fn version(self) -> Result<String> {
        let pinned = |file: &str, before: &str| -> Result<String> {
            let text = fs::read_to_string(root().join(file))?;
            let (_, rest) =
                text.split_once(before).with_context(|| format!("no {before} in {file}"))?;
            Ok(rest.split(['"', '\n']).next().unwrap_or(rest).into())
        };
        match self {
            Peer::Naive => {
                let output = Command::new("arm-none-eabi-gcc").arg("-dumpversion").output()?;
                Ok(format!("gcc {}", String::from_utf8(output.stdout)?.trim()))
            }
            Peer::Emlearn => pinned("peers/requirements.txt", "emlearn=="),
            Peer::BakeNn => pinned("peers/requirements.txt", "bakenn=="),
            Peer::MicroFlow => pinned("peers/microflow/Cargo.toml", "microflow = \"="),
        }
    }
}

impl Figure {
    fn json(&self) -> Value {
        let agreement = self.agreement.as_ref();
        json!({
            "peer": self.peer, "version": self.version, "core": self.core, "workload": self.workload,
            "instructions": self.instructions, "least": self.least, "most": self.most,
            "flash_bytes": self.flash_bytes,
            "outputs_equal": agreement.map(|a| a.equal), "outputs": agreement.map(|a| a.outputs),
            "largest_difference": agreement.map(|a| a.largest_difference),
        })
    }
}

/// An environment of Python's with the pinned packages, and everything that [`measure`] reads.
fn generate(folder: &Path) -> Result<()> {
    let requirements = root().join("peers/requirements.txt");
    let (environment, installed) = (folder.join("venv"), folder.join("venv/requirements.txt"));
    let wanted = fs::read(&requirements)?;
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        fs::create_dir_all(folder)?;
        let mut venv = Command::new("python3");
        c::run(venv.args(["-m", "venv"]).arg(&environment)).context("peers need Python's venv")?;
        let mut pip = Command::new(environment.join("bin/pip"));
        c::run(pip.args(["install", "--quiet", "--no-deps", "--requirement"]).arg(&requirements))?;
        fs::write(installed, wanted)?;
    }
    let mut python = Command::new(environment.join("bin/python"));
    c::run(python.arg(root().join("peers/generate.py")).arg(folder))
}

/// This runtime's budget, which `cargo xtask test` holds to 2 %.
fn ours(core: &'static str, workload: &'static str) -> Result<Figure> {
    let budgets = budgets::read()?;
    let budget = budgets
        .into_iter()
        .find(|budget| budget.core == core && budget.workload == workload)
        .with_context(|| format!("no budget of {core}, {workload}"))?;
    let instructions = budget.instructions;
    Ok(Figure {
        peer: "simground",
        version: env!("CARGO_PKG_VERSION").into(),
        core,
        workload,
        instructions,
        least: instructions,
        most: instructions,
        flash_bytes: budget.flash_bytes,
        agreement: None,
    })
}

fn measure(peer: Peer, workload: &'static str, core: &Core, folder: &Path) -> Result<Figure> {
    let name = format!("{}, {workload}, {}", peer.name(), core.name);
    let board = Board::named(core.name).context("every core has a board")?;
    let image = build::image(peer, workload, core, folder, false).with_context(|| name.clone())?;
    let run = qemu::run_alone(board, &image)?.passed().with_context(|| name.clone())?;
    let bare = build::image(peer, workload, core, folder, true).with_context(|| name.clone())?;
    let expected = fs::read_to_string(folder.join(workload).join("expected.json"))?;
    let mut expected: HashMap<String, Vec<Vec<i64>>> = serde_json::from_str(&expected)?;
    // A float network rounds nothing between its layers.
    let arithmetic = if peer == Peer::Emlearn && workload != "bank" { "real" } else { "integer" };
    let expected = expected.remove(arithmetic).context("no expected answers")?;
    let (mut counts, mut answers) = (Vec::new(), Vec::new());
    for line in String::from_utf8(run.stdout)?.lines() {
        let words = line.split(' ').map(|word| u32::from_str_radix(word, 16));
        let words = words.collect::<Result<Vec<_>, _>>().with_context(|| line.to_owned())?;
        let (count, outputs) = words.split_first().context("an empty line")?;
        counts.push(u64::from(*count));
        answers.push(outputs.iter().map(|&word| i64::from(word.cast_signed())).collect::<Vec<_>>());
    }
    ensure!(!counts.is_empty() && counts.len() == expected.len(), "{name}: too few lines");
    let apart: Vec<_> = answers
        .iter()
        .flatten()
        .zip(expected.iter().flatten())
        .map(|(found, expected)| (found - expected).abs())
        .collect();
    let equal = apart.iter().filter(|&&difference| difference == 0).count();
    // Other rounding and other ties cost a few; a peer that runs something else is not measured.
    ensure!(4 * equal >= 3 * apart.len(), "{name}: {equal} of {} answers are right", apart.len());
    let total: u64 = counts.iter().sum();
    let length = counts.len() as u64;
    Ok(Figure {
        peer: peer.name(),
        version: peer.version()?,
        core: core.name,
        workload,
        instructions: (total + length / 2) / length,
        least: counts.iter().copied().min().unwrap_or(0),
        most: counts.iter().copied().max().unwrap_or(0),
        flash_bytes: firmware::flash_bytes(&bare)?,
        agreement: Some(Agreement {
            equal,
            outputs: apart.len(),
            largest_difference: apart.iter().copied().max().unwrap_or(0),
        }),
    })
}
