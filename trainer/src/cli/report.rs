//! `simground report`: one self-contained page about an artifact.

use std::path::PathBuf;

use serde::Serialize;
use simground_trainer::artifact::replace_file;
use simground_trainer::report::{self, Subject};

use super::place::{self, Kind};
use super::{Output, Verdict, evaluate, files};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact; the float model must lie beside it.
    artifact: PathBuf,
    /// The page.
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
    /// Judge on stored simulations: a Parquet file or a folder of them.
    #[arg(long, value_name = "DIR", conflicts_with = "seed")]
    corpus: Option<PathBuf>,
    /// Judge on this many fresh simulations of the artifact's study, 4000 by default; with `--corpus` on this many of the stored ones at
    /// most, drawn at random, by default as many as can be judged in 512 MiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    count: Option<u64>,
    /// Seed of the fresh simulations, instead of the artifact's.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Document {
    model: String,
    report: PathBuf,
    bytes: usize,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let path = &arguments.artifact;
    place::check(&arguments.out, Kind::Page, &[])?;
    let bytes = files::read_artifact(path)?;
    let model = files::model(&bytes, path)?;
    let float_model = files::float_model(&model, path)?;
    let study = files::study_of(&float_model)?;
    let seed = arguments.seed.unwrap_or(model.manifest().provenance.seed);
    let subject = evaluate::Subject { model: &model, float_model: &float_model, path };
    let judged = match &arguments.corpus {
        Some(dir) => subject.judge_stored(dir, arguments.count, seed)?,
        None => subject.judge_fresh(arguments.count, seed)?,
    };
    let page = report::page(&Subject {
        model: &model,
        flash_bytes: bytes.len(),
        float_model: &float_model,
        evaluation: &judged.evaluation,
        corpus: &judged.corpus,
        corpus_simulations: judged.of,
        study: &study,
        seed,
    });
    replace_file(&arguments.out, page.as_bytes())?;
    let document = Document {
        model: model.manifest().name.to_owned(),
        report: arguments.out.clone(),
        bytes: page.len(),
    };
    output.print(&document, |document| {
        format!("{}  {} bytes\n", document.report.display(), document.bytes)
    })?;
    Ok(Verdict::Passed)
}
