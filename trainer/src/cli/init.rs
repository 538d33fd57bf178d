//! `simground init`: a study for a corpus that another program made, from a look at it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use serde::Serialize;
use simground_trainer::corpus::{Reader, Sample, Scratch};
use simground_trainer::disk;
use simground_trainer::proposal::{self, Proposal};
use simground_trainer::source::IN_MEMORY_BYTES;

use super::output::{counted, say, shortest};
use super::{Output, Verdict};

/// Of the rows that are looked at where a corpus has more than memory should hold.
const SEED: u64 = 1;

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Stored simulations: a Parquet file or a folder of them, with columns `x` and `theta`, perhaps `target` and `mechanism`.
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// The study to write; one that exists is left alone.
    #[arg(long, value_name = "STUDY", default_value = "study.toml")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Document {
    study: PathBuf,
    #[serde(flatten)]
    proposal: Proposal,
    /// The command that trains it.
    next: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let Arguments { corpus: folder, out } = arguments;
    if out.exists() {
        return Err(exists(out));
    }
    let reader = Reader::open(folder)?;
    let has_target = reader.has_target();
    let most = IN_MEMORY_BYTES / Scratch::row_bytes_of(&reader);
    let sample = reader.sample(most, SEED)?;
    if let Some(part) = sample.left_out() {
        say(&format!("note: {}: looked at {part}", folder.display()));
    }
    let Sample { corpus, of, .. } = sample;
    let proposal = proposal::propose_from(&name_of(folder), corpus, of as usize, has_target)
        .map_err(|error| anyhow!("{}: {error}", folder.display()))?;
    write_new(out, &proposal.text)?;
    let (study, folder, name) = (out.display(), folder.display(), &proposal.name);
    let next = format!("simground train {study} --corpus {folder} --out {name}.sgnn");
    output.print(&Document { study: out.clone(), proposal, next }, text)?;
    Ok(Verdict::Passed)
}

fn text(document: &Document) -> String {
    let Proposal { name, num_simulations, d_x, heads, supports, .. } = &document.proposal;
    let mut text = format!(
        "{}  {name}: {num_simulations} simulations of {}; heads {}\n",
        document.study.display(),
        counted(*d_x, "value"),
        heads.join(", ")
    );
    for support in supports {
        let high = support.high.map_or("no end".into(), shortest);
        text +=
            &format!("guessed    {} from {} to {high}\n", support.parameter, shortest(support.low));
    }
    text + &format!("next       {}\n", document.next)
}

/// A name for studies and files after that of the corpus.
fn name_of(corpus: &Path) -> String {
    let whole = corpus.canonicalize().unwrap_or_else(|_| corpus.to_owned());
    let stem = if whole.is_file() { whole.file_stem() } else { whole.file_name() };
    let stem = stem.map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    match name.trim_matches('-') {
        "" => "study".to_owned(),
        name => name.to_owned(),
    }
}

/// Writes a file that is whole or absent, and never over another.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.file_name().is_none() {
        bail!("{}: no name of a file", path.display());
    }
    let named = |error: std::io::Error| anyhow!("{}: {error}", path.display());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(disk::without_its_name);
    let mut file = file.map_err(named)?;
    file.write_all(text.as_bytes()).map_err(named)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(named(error.error)),
    }
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow!(
        "{}: exists, and is left as it is\nhint: name another file with `--out`, or remove this one",
        path.display()
    )
}
