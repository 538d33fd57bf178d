//! The float model that lies beside an artifact (`FILE.float`): what the integers are compared with, and what the host needs to
//! simulate, replay and evaluate again.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::corpus::Schema;
use crate::evaluation::Answer;
use crate::head::Head;
use crate::network::{Dense, FloatNetwork};
use crate::source::CorpusOrigin;
use crate::standardization::InputScaling;

/// First bytes of a float model.
const MAGIC: &[u8; 8] = b"SGFLOAT7";

/// Scaling, weights and study of a trained model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FloatModel {
    /// The study's text.
    pub study: String,
    /// The study's file, as errors name it.
    pub study_file: String,
    /// What the indices of the simulations that trained it refer to.
    pub corpus: CorpusOrigin,
    /// Names and supports of what it was trained on.
    pub schema: Schema,
    /// Input transform.
    pub input: InputScaling,
    /// What each head answers.
    pub heads: Vec<Head>,
    /// Weights that the integers stand for, posterior calibration folded into the heads.
    pub network: FloatNetwork,
    /// Simulations that calibrated its probabilities: how true these can be.
    pub calibrated_on: u64,
    /// From the last hidden layer to grid units of the bank.
    pub embedding: Dense,
    /// What training gave, where `network` was fine-tuned to its integers since: without rounding those weights answer worse.
    pub before_fine_tuning: Option<FloatNetwork>,
}

/// A float model cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FloatModelError {
    /// No file, or not readable.
    #[error(
        "{path}: {source}\nhint: training writes it beside the artifact; keep the two together"
    )]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Other bytes.
    #[error("{path}: not a float model of this version of simground")]
    Undecodable {
        /// The file.
        path: String,
    },
    /// Of another training than the artifact.
    #[error(
        "{path}: belongs to another artifact (its hash differs from the one in the artifact's provenance)"
    )]
    Mismatch {
        /// The file.
        path: String,
    },
}

impl FloatModel {
    /// Where the float model of an artifact lies: `outbreak.sgnn` and `outbreak.float`.
    pub fn path_beside(artifact: &Path) -> PathBuf {
        artifact.with_extension("float")
    }

    /// Bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(postcard::to_stdvec(self).expect("a float model always encodes"));
        bytes
    }

    /// Reads the float model beside `artifact` and proves that it belongs to it.
    ///
    /// # Errors
    ///
    /// [`FloatModelError`] names the file.
    pub fn read_beside(artifact: &Path, float_hash: &[u8]) -> Result<FloatModel, FloatModelError> {
        let path = Self::path_beside(artifact);
        let name = path.display().to_string();
        let bytes = std::fs::read(&path)
            .map_err(|source| FloatModelError::Read { path: name.clone(), source })?;
        if hash(&bytes) != *float_hash {
            return Err(FloatModelError::Mismatch { path: name });
        }
        Self::from_bytes(&bytes, &path)
    }

    /// Decodes the bytes of `path`.
    ///
    /// # Errors
    ///
    /// [`FloatModelError::Undecodable`] for bytes that [`FloatModel::to_bytes`] does not give.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<FloatModel, FloatModelError> {
        let undecodable = || FloatModelError::Undecodable { path: path.display().to_string() };
        let body = bytes.strip_prefix(MAGIC).ok_or_else(undecodable)?;
        let model: FloatModel = postcard::from_bytes(body).map_err(|_| undecodable())?;
        for network in [&model.network].into_iter().chain(&model.before_fine_tuning) {
            network.check().map_err(|_| undecodable())?;
            let fits =
                |(at, head): (usize, &Head)| head.fits(network.heads.get(at), network.tail(at));
            let all = model.heads.iter().enumerate().all(fits);
            if !all || network.heads.len() != model.heads.len() {
                return Err(undecodable());
            }
        }
        model.embedding.check(model.network.d_embed()).map_err(|_| undecodable())?;
        Ok(model)
    }

    /// The network that answers best in floats.
    pub fn answering(&self) -> &FloatNetwork {
        self.before_fine_tuning.as_ref().unwrap_or(&self.network)
    }

    /// Answers to windows `[n, d_x]` in raw units.
    pub fn answer(&self, x: &[f32]) -> Vec<Answer> {
        let inputs = self.input.apply_rows(x);
        let outputs = self.answering().forward_batch(&inputs, false).heads;
        let rows = x.len() / self.input.d_x();
        (0..rows).into_par_iter().map(|row| self.answer_row(&outputs, row)).collect()
    }

    fn answer_row(&self, outputs: &[Vec<f32>], row: usize) -> Answer {
        let mut answer = Answer::default();
        for ((layer, head), values) in self.answering().heads.iter().zip(&self.heads).zip(outputs) {
            head.answer(&values[row * layer.d_output..][..layer.d_output], &mut answer);
        }
        answer
    }
}

/// SHA-256.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
