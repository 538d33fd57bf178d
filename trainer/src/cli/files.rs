//! Artifacts and the float models beside them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use simground_runtime::Model;
use simground_trainer::float_model::FloatModel;
use simground_trainer::input_table::{Expectation, InputTable};
use simground_trainer::simulator::Simulator;
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

/// The simulator of the study that an artifact was trained on.
pub fn simulator_of(study: &Study, artifact: &Path) -> anyhow::Result<Arc<Simulator>> {
    let Some(simulator) = study.simulator() else {
        bail!(
            "{}: trained on a foreign corpus: its study `{}` has no [[mechanism]] to simulate",
            artifact.display(),
            study.name
        );
    };
    Ok(Arc::new(simulator))
}
