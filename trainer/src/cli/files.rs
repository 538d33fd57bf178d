//! Artifacts, the float models beside them, and the simulations behind both.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use simground_runtime::Model;
use simground_trainer::corpus::Reader;
use simground_trainer::float_model::FloatModel;
use simground_trainer::input_table::{Expectation, InputTable};
use simground_trainer::picture::Frame;
use simground_trainer::replay::{Replayer, is_foreign};
use simground_trainer::source::CorpusOrigin;
use simground_trainer::study::Study;

use super::output::say;

/// Bytes of an artifact, to be proved by [`model`].
pub fn read_artifact(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// Proves an artifact.
pub fn model<'b>(bytes: &'b [u8], path: &Path) -> anyhow::Result<Model<'b>> {
    Model::from_bytes(bytes).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// The float model that belongs to an artifact.
pub fn float_model(model: &Model<'_>, path: &Path) -> anyhow::Result<FloatModel> {
    Ok(FloatModel::read_beside(path, model.manifest().provenance.float_hash)?)
}

/// Windows for a model; the names of their values are known where the float model lies beside the artifact.
pub fn windows(input: &Path, model: &Model<'_>, artifact: &Path) -> anyhow::Result<InputTable> {
    let names = float_model(model, artifact).ok().map(|float| float.schema.x_names);
    let table = InputTable::read(input, &Expectation::of(model, names))?;
    if let Some(note) = &table.note {
        say(&format!("note: {}: {note}", input.display()));
    }
    Ok(table)
}

/// The study inside a float model.
pub fn study_of(float_model: &FloatModel) -> anyhow::Result<Study> {
    Study::parse(&float_model.study, &float_model.study_file)
        .context("the study inside the float model is not one of this version of simground")
}

/// A stored corpus, held to the supports that a study declares.
pub fn stored(dir: &Path, study: &Study) -> anyhow::Result<Reader> {
    let mut reader = Reader::open(dir)?;
    reader.declare(&study.parameters)?;
    Ok(reader)
}

/// How to simulate again what an artifact was trained on.
#[derive(Debug, clap::Args)]
pub struct Replays {
    /// Study to replay from, instead of the one in the float model.
    #[arg(long, value_name = "STUDY")]
    pub study: Option<PathBuf>,
    /// Seed to replay with, instead of the one in the float model or the artifact.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
}

/// Simulations that only who made them can make again.
#[derive(Debug, thiserror::Error)]
#[error("{artifact}: trained on a foreign corpus, which nothing here can simulate")]
pub struct Foreign {
    artifact: String,
}

impl Replays {
    /// The simulator behind the artifact at `path`.
    ///
    /// With `--study` and `--seed` the artifact is enough; otherwise the float model beside it says what they are.
    pub fn replayer<'m>(&self, model: &'m Model<'m>, path: &Path) -> anyhow::Result<Replayer<'m>> {
        let foreign = || Foreign { artifact: path.display().to_string() };
        let provenance = &model.manifest().provenance;
        if is_foreign(model) {
            return Err(foreign().into());
        }
        let float_model = match float_model(model, path) {
            Ok(float_model) => Some(float_model),
            Err(_) if self.study.is_some() => None,
            Err(error) => return Err(error),
        };
        let origin = float_model.as_ref().map_or(CorpusOrigin::Simulated, |float| float.corpus);
        let seed = self.seed.or(origin.seed(provenance.seed)).ok_or_else(foreign)?;
        let study = match (&self.study, &float_model) {
            (Some(study), _) => Study::load(study)?,
            (None, Some(float_model)) => study_of(float_model)?,
            (None, None) => unreachable!("a missing float model was an error"),
        };
        Replayer::new(model, &study, seed).map_err(|error| anyhow!("{}: {error}", path.display()))
    }

    /// Whether the user said anything.
    pub fn given(&self) -> bool {
        self.study.is_some() || self.seed.is_some()
    }
}

/// What pictures of an artifact's windows share.
pub fn frame(model: &Model<'_>) -> Frame {
    let manifest = model.manifest();
    let channels = manifest.input.channels.iter();
    Frame {
        mechanisms: manifest.mechanisms.iter().map(str::to_owned).collect(),
        channels: channels.map(|c| (c.name.to_owned(), c.unit.to_owned())).collect(),
        period: manifest.input.period.to_owned(),
    }
}
