//! `simground simulate`: a corpus, or one shard of it, as Parquet.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use simground_trainer::corpus::{self, ShardOutcome};
use simground_trainer::study::Study;

use super::{Output, Verdict};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The study, in TOML.
    study: PathBuf,
    /// Folder of the corpus.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Simulations in the whole corpus; by default as many as the study trains on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    count: Option<u64>,
    /// Write one shard of the corpus: number I, from 0, of N.
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = shard)]
    shard: (u32, u32),
    /// Seed, instead of the study's.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Document {
    file: PathBuf,
    num_simulations: u64,
    first_index: u64,
    seed: u64,
    /// False where the identical shard was there already.
    written: bool,
}

fn shard(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/').and_then(|(shard, shards)| {
        Some((shard.parse::<u32>().ok()?, shards.parse::<u32>().ok()?))
    });
    match parts {
        Some((shard, shards)) if shard < shards => Ok((shard, shards)),
        _ => Err("write I/N with I from 0 to N - 1, such as 0/4".into()),
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let study = Study::load(&arguments.study)?;
    let seed = arguments.seed.unwrap_or(study.seed);
    let count = arguments.count.unwrap_or(study.training.simulations);
    if count < u64::from(arguments.shard.1) {
        bail!("{count} simulations do not fill {} shards", arguments.shard.1);
    }
    let range = corpus::shard_range(count, arguments.shard);
    let length = range.end - range.start;
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {per_sec}  {eta} left");
        ProgressBar::new(length).with_style(style.expect("a constant template"))
    });
    let progress = |done| bar.iter().for_each(|bar| bar.set_position(done));
    let outcome =
        corpus::write_shard(&study, seed, count, arguments.shard, &arguments.out, progress)?;
    bar.iter().for_each(ProgressBar::finish_and_clear);
    let (file, written) = match outcome {
        ShardOutcome::Written(file) => (file, true),
        ShardOutcome::Complete(file) => (file, false),
    };
    let document =
        Document { file, num_simulations: length, first_index: range.start, seed, written };
    output.print(&document, |document| {
        let what = if document.written { "simulations" } else { "simulations, complete before" };
        format!("{}  {} {what}\n", document.file.display(), document.num_simulations)
    })?;
    Ok(Verdict::Passed)
}
