//! A simulation again, from its index, and the proof that it is the one that the bank stores.
//!
//! A [`Replayer`] in hand simulates what the artifact's training simulated: its simulator has the hash that the artifact names. A
//! replayed prototype counts only if the series has exactly the embedding, and the parameters exactly the codes, that the artifact
//! stores: then the simulation that is shown is the one that the device named.

use serde::Serialize;
use simground_runtime::Model;
use simground_runtime::artifact::Provenance;

use crate::bank::{on_grid, theta_code};
use crate::float_model::hash;
use crate::named::Named;
use crate::simulator::{self, SIMULATOR_VERSION, Simulator, Split};
use crate::study::Study;

/// One simulation, regenerated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// Its index.
    pub index: u64,
    /// What it was used for.
    pub split: &'static str,
    /// Name of its mechanism.
    pub mechanism: String,
    /// Its parameters, in the corpus's units.
    pub theta: Named<f32>,
    /// What the heads are asked for.
    pub target: Named<f32>,
    /// Its series; missing values are `null` in JSON.
    pub x: Vec<f32>,
    /// What was observed after it.
    pub forecast: Vec<f32>,
    /// Expectation of series and forecast, given the latent path of an epidemic; empty for other mechanisms.
    pub expected: Vec<f64>,
    /// The bank's entry, which it was verified against; absent where the bank has no such entry.
    pub prototype: Option<u32>,
    /// Whether embedding and parameters equal the entry's; false only where there is none, anything else is a [`ReplayError`].
    pub verified: bool,
}

/// What was replayed is not what the artifact was trained on.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ReplayError {
    /// A study without mechanisms.
    #[error("{study}: has no [[mechanism]] to simulate")]
    NothingToSimulate {
        /// File of the study.
        study: String,
    },
    /// The study simulates something else.
    #[error(
        "{study}: not the study of this artifact: its simulator has hash {here}, the artifact's has {needed}\nhint: leave `--study` out to simulate the study that lies in the float model"
    )]
    OtherStudy {
        /// File of the study.
        study: String,
        /// Hash of its simulator.
        here: String,
        /// Hash in the artifact.
        needed: String,
    },
    /// The study is right, the simulator is another.
    #[error(
        "{study}: the artifact's simulations are of another simulator{version}; this is version {SIMULATOR_VERSION}\nhint: replay them with simground {trainer}, which made the artifact"
    )]
    OtherSimulator {
        /// File of the study.
        study: String,
        /// ` (version N)`, where it is known.
        version: String,
        /// Version of simground that made the artifact.
        trainer: String,
    },
    /// No simulation has this index.
    #[error(
        "no simulation has the index {index}\nhint: training has the indices from 0, validation those from {0}, calibration from {1}, test from {2}, and none is above {3}",
        Split::Validation.base(), Split::Calibration.base(), Split::Test.base(), 4 * Split::Validation.base() - 1
    )]
    NoSuchIndex {
        /// The index.
        index: u64,
    },
    /// The bank stores something else under this index.
    #[error(
        "simulation {index} does not verify: its {what} differs from the bank's\nhint: simulator {simulator_hash} is the artifact's; seed {seed} is perhaps not the one that its corpus was simulated with"
    )]
    Unverified {
        /// Index of the simulation.
        index: u64,
        /// What differs.
        what: &'static str,
        /// Hash of the simulator.
        simulator_hash: String,
        /// Seed of the replay.
        seed: u64,
    },
}

/// Simulates again what an artifact was trained on.
#[derive(Debug, Clone)]
pub struct Replayer<'m> {
    model: &'m Model<'m>,
    simulator: Simulator,
    seed: u64,
}

impl<'m> Replayer<'m> {
    /// Prepares to simulate `study`, once it is proved to be the one that the artifact was trained on.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] for a study or a simulator that gives other simulations.
    pub fn new(model: &'m Model<'m>, study: &Study, seed: u64) -> Result<Self, ReplayError> {
        let simulator = simulator_of(study, &model.manifest().provenance)?;
        Ok(Replayer { model, simulator, seed })
    }

    /// The simulator, proved to be the artifact's.
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Seed of the simulations.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Simulation `index`; verified where the bank has it.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] for an index that no simulation has, and where the bank stores something else.
    pub fn index(&self, index: u64) -> Result<Replayed, ReplayError> {
        let prototypes = self.model.manifest().bank.as_ref().map_or(0, |bank| bank.prototypes);
        let entry = |prototype: &u32| self.model.prototype_index(*prototype) == Some(index);
        self.replay(index, (0..prototypes).find(entry))
    }

    /// The simulation behind an entry of the bank, verified.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] where the bank stores something else.
    ///
    /// # Panics
    ///
    /// If the bank has no such entry.
    pub fn prototype(&self, prototype: u32) -> Result<Replayed, ReplayError> {
        let index = self.model.prototype_index(prototype).expect("an entry of the bank");
        self.replay(index, Some(prototype))
    }

    fn replay(&self, index: u64, prototype: Option<u32>) -> Result<Replayed, ReplayError> {
        let split = Split::of(index).ok_or(ReplayError::NoSuchIndex { index })?;
        let replay = self.simulator.replay(self.seed, index);
        if let Some(prototype) = prototype {
            self.verify(&replay, prototype).map_err(|what| ReplayError::Unverified {
                index,
                what,
                simulator_hash: short_hash(self.model.manifest().provenance.simulator_hash),
                seed: self.seed,
            })?;
        }
        let schema = self.simulator.schema();
        let theta = schema.theta.iter().zip(&replay.theta).filter(|(_, value)| !value.is_nan());
        let target = schema.targets.iter().zip(&replay.target);
        Ok(Replayed {
            index,
            split: split.name(),
            mechanism: schema.mechanisms[replay.mechanism].clone(),
            theta: theta.map(|(theta, value)| (theta.name.clone(), *value as f32)).collect(),
            target: target.map(|(target, value)| (target.name.clone(), *value)).collect(),
            x: replay.x,
            forecast: replay.forecast,
            expected: replay.latent.expected,
            prototype,
            verified: prototype.is_some(),
        })
    }

    /// What differs from the bank's entry.
    fn verify(&self, replay: &simulator::Replay, prototype: u32) -> Result<(), &'static str> {
        let model = self.model;
        if replay.x.len() != model.d_values() {
            return Err("window");
        }
        let stored = model.prototype_mechanism(prototype).map_or(usize::MAX, usize::from);
        if model.manifest().mechanisms.at(stored)
            != Some(&self.simulator.schema().mechanisms[replay.mechanism])
        {
            return Err("mechanism");
        }
        let mut scratch = vec![0; model.scratch_words()];
        let inference = model.infer(&replay.x, &mut scratch).expect("the width was compared");
        let here = inference.embedding().iter().map(|&q| on_grid(q));
        if !model.prototype_vector(prototype).is_some_and(|stored| stored.eq(here)) {
            return Err("embedding");
        }
        let parameters = model.manifest().bank.iter().flat_map(|bank| bank.theta.iter());
        for (at, parameter) in parameters.enumerate() {
            let value = replay.theta.get(at).map_or(f32::NAN, |value| *value as f32);
            let code = theta_code(value, (parameter.low, parameter.high));
            if model.prototype_theta_code(prototype, at) != Some(code) {
                return Err("parameters");
            }
        }
        Ok(())
    }
}

/// The simulator of `study`, if it is the one of this provenance.
fn simulator_of(study: &Study, provenance: &Provenance<'_>) -> Result<Simulator, ReplayError> {
    let name = || study.file.clone();
    let Some(simulator) = study.simulator() else {
        return Err(ReplayError::NothingToSimulate { study: name() });
    };
    if study.simulator_hash() == provenance.simulator_hash {
        return Ok(simulator);
    }
    let version = (1..SIMULATOR_VERSION + 16)
        .find(|version| study.simulator_hash_of(*version) == provenance.simulator_hash);
    if version.is_some() || hash(study.source.as_bytes()) == provenance.study_hash {
        return Err(ReplayError::OtherSimulator {
            study: name(),
            version: version.map_or_else(String::new, |version| format!(" (version {version})")),
            trainer: provenance.trainer.to_owned(),
        });
    }
    Err(ReplayError::OtherStudy {
        study: name(),
        here: short_hash(&study.simulator_hash()),
        needed: short_hash(provenance.simulator_hash),
    })
}

/// Whether a model was trained on a corpus that no simulator here made: such a study has no mechanisms, and its hash is zero.
pub fn is_foreign(model: &Model<'_>) -> bool {
    model.manifest().provenance.simulator_hash.iter().all(|byte| *byte == 0)
}

/// The first bytes of a hash, for people.
pub fn short_hash(hash: &[u8]) -> String {
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study() -> Study {
        Study::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny.toml")).unwrap()
    }

    #[test]
    fn another_simulator_is_told_from_another_study() {
        let golden = include_bytes!("../../tests/golden/small.sgnn");
        let model = Model::from_bytes(golden).unwrap();
        let message = |study: &Study, simulator_hash: [u8; 32], study_hash: [u8; 32]| {
            let provenance = model.manifest().provenance.clone();
            let (simulator_hash, study_hash) = (&simulator_hash, &study_hash);
            let provenance = Provenance { simulator_hash, study_hash, ..provenance };
            simulator_of(study, &provenance).map_err(|error| error.to_string()).err()
        };
        let study = study();
        let of_source = hash(study.source.as_bytes());
        assert_eq!(message(&study, study.simulator_hash(), of_source), None);
        let later =
            message(&study, study.simulator_hash_of(SIMULATOR_VERSION + 1), [0; 32]).unwrap();
        let versions = format!("(version {}); this is version", SIMULATOR_VERSION + 1);
        assert!(later.contains(&versions) && later.contains("hint: replay them with"), "{later}");
        let unknown = message(&study, [7; 32], of_source).unwrap();
        assert!(unknown.contains("another simulator; this is version"), "{unknown}");
        let other = message(&study, [7; 32], [7; 32]).unwrap();
        assert!(other.contains("not the study of this artifact"), "{other}");
    }
}
