//! Instructions, flash, RAM and stack of each workload on each core.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::{firmware, golden, qemu, target_dir};

/// One line of `cargo xtask size`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// The core.
    pub core: String,
    /// `A`, `B`: one inference from quantized inputs; `A-bytes`, `B-bytes`: in Helium's layout from inputs of 8 bits; `A-wide`,
    /// `B-wide`: from inputs of 12. `bank`: the search for the nearest five. `A-float`, `B-float`: one
    /// inference from raw units. `bank-attribute`: one attribution. `bank-grown`: one with sixteen labels of the field; a firmware
    /// that writes and reads them. `ratio`: a likelihood at one theta of three parameters, by two hidden layers of 32;
    /// `ratio-maximum`: its maximum, 337 of them. `demo`: inference and attribution of the demo's model. `A-compiled`,
    /// `B-compiled`, `bank-compiled`, `demo-compiled`: the same of models that were proved while the firmware was built.
    pub workload: String,
    /// Instructions that the workload executes, exact.
    pub instructions: u64,
    /// A whole firmware that makes this model and runs this workload, and does nothing else.
    pub flash_bytes: u64,
    /// Scratch, and the stack at its highest.
    pub ram_bytes: u64,
    /// The stack at its highest, over every call of the runtime, self-test included.
    pub stack_bytes: u64,
}

/// One line of the firmware `measure`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Measured {
    /// File name of the artifact without its extension.
    pub model: String,
    /// Bytes of the artifact.
    pub artifact_bytes: u64,
    /// Bytes of scratch.
    pub scratch_bytes: u64,
    /// Instructions of `Model::from_bytes`.
    pub from_bytes: u64,
    /// Instructions of `Model::self_test`.
    pub self_test: u64,
    /// Instructions of `Model::infer`.
    pub infer: u64,
    /// Instructions of `Model::infer_integers`.
    pub integers: u64,
    /// Instructions of `Inference::nearest`.
    pub nearest: u64,
    /// Instructions of `Inference::attribute`.
    pub attribute: u64,
    /// Instructions of `Ratio::log_ratio`: one theta; 0 without a `ratio` head.
    pub log_ratio: u64,
    /// Instructions of `Ratio::maximum`.
    pub maximum: u64,
    /// Stack below the caller's frame, in bytes.
    pub stack_bytes: u64,
}

/// One line of the firmware `measure-growth`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Grown {
    /// File name of the artifact without its extension.
    pub model: String,
    /// Labeled windows in force.
    pub labels: u64,
    /// Bytes of a region that holds them and no more.
    pub region_bytes: u64,
    /// Instructions of `Additions::from_bytes`.
    pub from_bytes: u64,
    /// Instructions of the last `Additions::label`.
    pub label: u64,
    /// Instructions of `Inference::attribute_with` without labels.
    pub without_labels: u64,
    /// Instructions of `Inference::attribute_with`.
    pub attribute_with: u64,
    /// Stack below the caller's frame, in bytes.
    pub stack_bytes: u64,
}

/// One line of the firmware `measure-compiled`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Compiled {
    /// File name of the artifact without its extension.
    pub model: String,
    /// Vectors of the self-test that it passed.
    pub vectors: u16,
    /// Instructions of `Model::infer`.
    pub infer: u64,
    /// Instructions of `Model::infer_integers`.
    pub integers: u64,
    /// Instructions of `Inference::nearest`.
    pub nearest: u64,
    /// Instructions of `Inference::attribute`.
    pub attribute: u64,
    /// Stack below the caller's frame, in bytes.
    pub stack_bytes: u64,
}

/// Artifacts of the workloads; the demo's model is among them once `cargo xtask demo` has made it.
pub fn workloads(board: Board) -> Result<Vec<PathBuf>> {
    let mut paths = golden::workloads(board)?;
    let demo = target_dir().join("demo/outbreak.sgnn");
    if demo.exists() {
        paths.push(demo);
    }
    Ok(paths)
}

/// What `measure` says on `board`.
pub fn measure(board: Board, artifacts: &[PathBuf]) -> Result<Vec<Measured>> {
    lines(board, "measure", artifacts)
}

/// What `measure-growth` says of the artifact at `path` on `board`.
pub fn measure_growth(board: Board, path: &PathBuf) -> Result<Grown> {
    let mut grown = lines(board, "measure-growth", std::slice::from_ref(path))?;
    grown.pop().context("`measure-growth` said nothing")
}

/// What `measure-compiled` says of the models of `artifacts` on `board`.
pub fn measure_compiled(board: Board, artifacts: &[PathBuf]) -> Result<Vec<Compiled>> {
    lines(board, "measure-compiled", artifacts)
}

/// What a firmware that measures says on `board`, a document for each line.
fn lines<T: DeserializeOwned>(board: Board, bin: &str, artifacts: &[PathBuf]) -> Result<Vec<T>> {
    let image = firmware::build(board, bin, artifacts)?;
    let run = qemu::run_alone(board, &image)?.passed().context(board.core)?;
    let text = String::from_utf8(run.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Every figure of `board`.
pub fn figures(board: Board, artifacts: &[PathBuf]) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (path, measured) in artifacts.iter().zip(measure(board, artifacts)?) {
        let m = &measured;
        let workloads = match m.model.as_str() {
            "A" => vec![("A", "bare-integers", m.integers), ("A-float", "bare-infer", m.infer)],
            "B" => vec![("B", "bare-integers", m.integers), ("B-float", "bare-infer", m.infer)],
            "A-bytes" | "B-bytes" | "A-wide" | "B-wide" => {
                vec![(m.model.as_str(), "bare-integers", m.integers)]
            }
            "bank" => vec![("bank", "bare", m.nearest), ("bank-attribute", "bare", m.attribute)],
            "surface" => vec![
                ("ratio", "bare-theta", m.log_ratio),
                ("ratio-maximum", "bare-theta", m.maximum),
            ],
            _ => vec![("demo", "bare", m.infer + m.attribute)],
        };
        let mut figure = |workload: &str, bin, instructions, stack_bytes| -> Result<()> {
            let image = firmware::build(board, bin, std::slice::from_ref(path))?;
            figures.push(Figure {
                core: board.core.into(),
                workload: workload.into(),
                instructions,
                flash_bytes: firmware::flash_bytes(&image)?,
                ram_bytes: m.scratch_bytes + stack_bytes,
                stack_bytes,
            });
            Ok(())
        };
        for (workload, bin, instructions) in workloads {
            figure(workload, bin, instructions, m.stack_bytes)?;
        }
        if let "A" | "B" | "bank" | "outbreak" = m.model.as_str() {
            let measured = measure_compiled(board, std::slice::from_ref(path))?;
            let c = measured.first().context("`measure-compiled` said nothing")?;
            let (workload, bin, instructions) = match m.model.as_str() {
                "A" => ("A-compiled", "compiled-integers", c.integers),
                "B" => ("B-compiled", "compiled-integers", c.integers),
                "bank" => ("bank-compiled", "compiled", c.nearest),
                _ => ("demo-compiled", "compiled", c.infer + c.attribute),
            };
            figure(workload, bin, instructions, c.stack_bytes)?;
        }
        if m.model == "bank" {
            let grown = measure_growth(board, path)?;
            let stack_bytes = m.stack_bytes.max(grown.stack_bytes);
            figure("bank-grown", "bare-growth", grown.attribute_with, stack_bytes)?;
        }
    }
    Ok(figures)
}
