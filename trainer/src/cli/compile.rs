//! `simground compile`: an artifact as Rust source, for firmware whose model is never replaced without it.

use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;
use simground_compile::{Contents, HEADER, source, tensors};
use simground_trainer::artifact::replace_file;

use super::{Output, Verdict, files};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact. It is proved here, so that the device need not do it.
    artifact: PathBuf,
    /// The Rust file; by default the artifact's name with `.rs`.
    #[arg(long, value_name = "FILE.rs")]
    out: Option<PathBuf>,
    /// Leave out what no answer is made of: names of study, channels and mechanisms, self-test, provenance.
    #[arg(long)]
    answers_only: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    file: String,
    /// Words of scratch that the model takes.
    scratch_words: usize,
    /// Bytes of flash for weights, bank and tables.
    tensor_bytes: usize,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let bytes = files::read_artifact(&arguments.artifact)?;
    let model = files::model(&bytes, &arguments.artifact)?;
    let contents = if arguments.answers_only { Contents::Answers } else { Contents::Whole };
    let file = arguments.out.clone().unwrap_or_else(|| arguments.artifact.with_extension("rs"));
    // By default the name is the artifact's, and somebody's own source may have it.
    if std::fs::read(&file).is_ok_and(|found| !found.starts_with(HEADER.as_bytes())) {
        bail!(
            "{}: exists, and `simground compile` did not write it\nhint: name another file with `--out`",
            file.display()
        );
    }
    replace_file(&file, source(&model, contents).as_bytes())?;
    let document = Document {
        file: file.display().to_string(),
        scratch_words: model.scratch_words(),
        tensor_bytes: tensors(&model, contents).len(),
    };
    output.print(&document, |document| {
        let Document { file, scratch_words, tensor_bytes } = document;
        format!("{file}: MODEL, {tensor_bytes} bytes of tensors in flash, {scratch_words} words of scratch\n")
    })?;
    Ok(Verdict::Passed)
}
