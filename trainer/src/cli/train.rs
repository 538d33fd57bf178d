//! `simground train`: an artifact from a study and stored or streaming simulations.

use std::path::{Path, PathBuf};

use simground_trainer::corpus::{self, Scratch};
use simground_trainer::disk;
use simground_trainer::source::{IN_MEMORY_BYTES, Source};
use simground_trainer::study::{Missing, Study};

use super::making::{self, Files, Making};
use super::output::say;
use super::{Output, Verdict, files, run::simulated};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The study, in TOML; with `--corpus` it needs no simulator.
    study: PathBuf,
    /// Train on stored simulations: a Parquet file or a folder of them, split by the seed into 80 % training, 8 % validation,
    /// 7 % calibration and 5 % test. Without it simulations are made as they are needed.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Folder for the temporary file into which a corpus of more than 256 MiB is put in random order, instead of that of `--out`. The
    /// file has no name, is as large as the corpus in float32, and is gone when the training ends, however it ends.
    #[arg(long, value_name = "DIR", requires = "corpus")]
    scratch: Option<PathBuf>,
    /// The artifact; its float model (`.float`) and its report (`.html`) are written beside it.
    #[arg(long, value_name = "FILE.sgnn")]
    out: PathBuf,
    #[command(flatten)]
    making: Making,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let study = making::read_study(&arguments.study, &arguments.making)?;
    let files = Files::new(&arguments.out)?;
    let source = match &arguments.corpus {
        Some(dir) => {
            let beside = arguments.out.parent().filter(|p| !p.as_os_str().is_empty());
            let folder = arguments.scratch.as_deref().or(beside).unwrap_or(Path::new("."));
            stored(dir, &study, folder)?
        }
        None => simulated(&study)?,
    };
    let mut again = format!("simground train {}", arguments.study.display());
    if let Some(dir) = &arguments.corpus {
        again += &format!(" --corpus {}", dir.display());
    }
    if let Some(folder) = &arguments.scratch {
        again += &format!(" --scratch {}", folder.display());
    }
    again += &format!(" --out {}", arguments.out.display());
    making::make(&study, &source, &arguments.making, &files, &again, output)
}

/// A stored corpus as the source, held to what the study declares and refuses.
fn stored(dir: &Path, study: &Study, folder: &Path) -> anyhow::Result<Source> {
    let mut reader = files::stored(dir, study)?;
    if study.input.missing == Missing::Refuse {
        reader.refuse_missing();
    }
    let (rows, size) = (reader.num_simulations(), Scratch::bytes_of(&reader));
    if size > IN_MEMORY_BYTES {
        let (size, folder) = (disk::size(size), folder.display());
        say(&format!(
            "{}: {rows} simulations, through {size} of temporary space in {folder}",
            dir.display()
        ));
    }
    let seed = corpus::simulation_seed(dir)?;
    Ok(Source::read(reader, study.seed, seed, folder, IN_MEMORY_BYTES)?)
}
