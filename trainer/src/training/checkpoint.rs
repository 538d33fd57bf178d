//! The state of a training on disk: enough that going on gives the very bits of a training that was never interrupted.
//!
//! ```text
//! magic "SGTRAIN\x02" | run, u64 | hash of the body, u64 | body, postcard
//! ```
//!
//! `run` is a hash of everything that decides the result. The file is written under another name and renamed, so a kill at any moment
//! leaves the checkpoint before or the one after.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FitConfig, Stop, TrainingError, Validation};
use crate::training::examples::Examples;

/// All that steps change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps made.
    pub step: u64,
    pub parameters: Vec<f32>,
    /// Running average of the parameters; empty where none is kept.
    pub average: Vec<f32>,
    pub first_moment: Vec<f32>,
    pub second_moment: Vec<f32>,
    pub best: Option<Best>,
    /// Validations since the best.
    pub without_best: u64,
    pub history: Vec<Validation>,
    /// Sum of the losses of the steps since the last validation.
    pub loss_sum: f64,
    pub loss_count: u64,
    pub stop: Option<Stop>,
    /// By which heads balance their losses.
    pub averages: Vec<[f64; 2]>,
}

/// The weights that did best on the held-out examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Best {
    pub loss: f64,
    pub step: u64,
    pub parameters: Vec<f32>,
}

const MAGIC: [u8; 8] = *b"SGTRAIN\x02";
const HEADER: usize = 24;

/// Identifies a run: its settings, except those that have no influence on the result, its data and the version of this crate.
pub(super) fn run(config: &FitConfig, source: u64, validation: &Examples) -> u64 {
    let mut hash = Fnv::new();
    hash.add(env!("CARGO_PKG_VERSION").as_bytes());
    let decisive = FitConfig {
        simulation_threads: 0,
        checkpoint: None,
        resume: false,
        checkpoint_every: 0,
        ..config.clone()
    };
    hash.add(&postcard::to_stdvec(&decisive).expect("plain numbers"));
    hash.add(&source.to_le_bytes());
    for values in [&validation.inputs, &validation.targets, &validation.weight] {
        hash.add(&(values.len() as u64).to_le_bytes());
        for value in values {
            hash.add(&value.to_le_bytes());
        }
    }
    for mechanism in &validation.mechanism {
        hash.add(&mechanism.to_le_bytes());
    }
    hash.0
}

/// Identifies a run that starts at these parameters and rounds to these grids.
pub(super) fn continued(run: u64, values: impl Iterator<Item = f32>) -> u64 {
    let mut hash = Fnv(run);
    values.for_each(|value| hash.add(&value.to_le_bytes()));
    hash.0
}

impl State {
    /// Writes the state so that `path` holds, at any moment, a whole checkpoint.
    pub fn save(&self, path: &Path, run: u64) -> Result<(), TrainingError> {
        let body = postcard::to_stdvec(self).expect("plain numbers");
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let write = || {
            let mut file = File::create(&partial)?;
            file.write_all(&MAGIC)?;
            file.write_all(&run.to_le_bytes())?;
            file.write_all(&Fnv::of(&body).to_le_bytes())?;
            file.write_all(&body)?;
            // Without this the new name may reach the disk before the bytes do.
            file.sync_all()?;
            std::fs::rename(&partial, path)
        };
        write().map_err(|source| TrainingError::Io { path: path.to_owned(), source })
    }

    /// Reads the state of this run, with `len` parameters; `None` if there is no such file.
    pub fn load(path: &Path, run: u64, len: usize) -> Result<Option<State>, TrainingError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = path.to_owned();
                return Err(TrainingError::Io { path, source });
            }
        };
        let fail = |message: &str| {
            Err(TrainingError::Checkpoint { path: path.to_owned(), message: message.into() })
        };
        if bytes.len() < HEADER || bytes[..7] != MAGIC[..7] {
            return fail("not a checkpoint of simground");
        }
        if bytes[7] != MAGIC[7] {
            return fail(
                "written by another version of simground\nhint: finish it with that version, or train without resuming",
            );
        }
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let body = &bytes[HEADER..];
        if word(16) != Fnv::of(body) {
            return fail("damaged: its checksum does not match\nhint: train without resuming");
        }
        if word(8) != run {
            return fail(
                "belongs to another run: the settings, the data or the version differ\nhint: restore them, or train without resuming",
            );
        }
        match postcard::from_bytes::<State>(body) {
            Ok(state)
                if state.parameters.len() == len
                    && (state.average.is_empty() || state.average.len() == len)
                    && state.first_moment.len() == len
                    && state.second_moment.len() == len
                    && state.best.as_ref().is_none_or(|best| best.parameters.len() == len) =>
            {
                Ok(Some(state))
            }
            _ => fail("damaged: its contents do not fit the network\nhint: train without resuming"),
        }
    }
}

/// 64-bit FNV-1a: stable across versions and machines, which the standard library's hasher does not promise.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn of(bytes: &[u8]) -> u64 {
        let mut hash = Fnv::new();
        hash.add(bytes);
        hash.0
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(parameters: Vec<f32>, step: u64) -> State {
        let best = Best { loss: 0.25, step, parameters: parameters.clone() };
        State {
            step,
            first_moment: parameters.iter().map(|value| -value).collect(),
            second_moment: parameters.clone(),
            average: parameters.clone(),
            parameters,
            best: Some(best),
            without_best: 2,
            history: Vec::new(),
            loss_sum: 1.5,
            loss_count: 3,
            stop: None,
            averages: vec![[0.5, 0.25]],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn save_then_load_is_identity_and_any_damage_an_error(
            parameters in prop::collection::vec(-1e30_f32..1e30, 1..40),
            step: u64,
            run: u64,
            damage: prop::sample::Index,
            bit in 0..8_u32,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("checkpoint");
            let (saved, len) = (state(parameters.clone(), step), parameters.len());
            saved.save(&path, run).unwrap();
            prop_assert_eq!(State::load(&path, run, len).unwrap(), Some(saved));
            prop_assert!(State::load(&path, run ^ 1, len).is_err());
            prop_assert!(State::load(&path, run, len + 1).is_err());
            let good = std::fs::read(&path).unwrap();
            let at = damage.index(good.len());
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            prop_assert!(State::load(&path, run, len).is_err());
            std::fs::write(&path, &good[..at]).unwrap();
            prop_assert!(State::load(&path, run, len).is_err());
        }
    }
}
