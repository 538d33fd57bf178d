//! `categorical`: posterior over mechanisms, by cross-entropy, tempered on held-out simulations.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{self as format, Conditional, OutputLayer};

use super::{Answering, Columns, Context, HeadError};
use crate::corpus::Corpus;
use crate::evaluation::Answer;
use crate::network::Dense;
use crate::posterior_calibration::temperature;
use crate::records::encode;
use crate::training::HeadSpec;

/// Posterior over mechanisms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Categorical {
    mechanisms: usize,
}

impl Categorical {
    /// Over the mechanisms of the corpus.
    ///
    /// # Errors
    ///
    /// [`HeadError`] where there is nothing to choose from.
    pub fn new(context: Context<'_>) -> Result<Categorical, HeadError> {
        let mechanisms = context.sample.schema.mechanisms.len();
        if mechanisms < 2 {
            return Err(HeadError::new(
                "a `categorical` head needs a corpus with two mechanisms or more\nhint: remove this head",
            ));
        }
        Ok(Categorical { mechanisms })
    }
}

impl Answering for Categorical {
    fn d_output(&self) -> usize {
        self.mechanisms
    }

    fn spec(&self, _: &Corpus, _: &mut Columns) -> HeadSpec {
        HeadSpec::Categorical { d_output: self.mechanisms, loss_share: 1.0 }
    }

    /// Divides the logits by the temperature that fits the held-out simulations best.
    fn calibrate(&self, layer: &mut Dense, outputs: &[&[f32]], held_out: &Corpus) {
        let temperature = temperature(&outputs.concat(), &held_out.mechanism, self.mechanisms);
        layer.weight.iter_mut().chain(&mut layer.bias).for_each(|value| *value /= temperature);
    }

    fn record(&self, layer: OutputLayer, _: Option<Conditional<'_>>) -> Vec<u8> {
        encode(&format::Head::Categorical { layer })
    }

    fn answer(&self, outputs: &[f32], answer: &mut Answer) {
        answer.mechanism = softmax(outputs);
    }
}

/// Probabilities from logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|l| libm::expf(l - largest)).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}
