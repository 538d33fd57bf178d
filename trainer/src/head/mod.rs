//! The answers of a network. One file a kind of head: from the study's words, through training and calibration, to the artifact.

mod categorical;
mod columns;
mod description;
pub mod flow;
mod mixture;
mod parameters;
mod point;
mod quantiles;
pub mod ratio;

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{Conditional, FLOW_TIMES, OutputLayer};

pub use categorical::{Categorical, softmax};
pub use columns::{Column, Columns, LARGEST};
pub use description::{Description, describe};
pub use flow::Flow;
pub use mixture::Mixture;
pub use parameters::ParameterScaling;
pub use point::Point;
pub use quantiles::Quantiles;
pub use ratio::Ratio;

use crate::corpus::Corpus;
use crate::evaluation::Answer;
use crate::network::{Dense, Tail};
use crate::standardization::TargetScaling;
use crate::study;
use crate::training::HeadSpec;

/// A head that was resolved against a corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Head {
    /// Posterior over mechanisms.
    Categorical(Categorical),
    /// Marginal quantiles of targets.
    Quantiles(Quantiles),
    /// Posterior mean of theta.
    Point(Point),
    /// Joint posterior of theta: a mixture of Gaussians.
    Mixture(Mixture),
    /// Likelihood-to-evidence ratio.
    Ratio(Ratio),
    /// Joint posterior of theta: a flow from noise.
    Flow(Flow),
}

/// What a head is between the study and the artifact.
pub trait Answering {
    /// Number of outputs.
    fn d_output(&self) -> usize;

    /// How it is trained; the columns that it learns are added to `columns`.
    fn spec(&self, sample: &Corpus, columns: &mut Columns) -> HeadSpec;

    /// Makes stated probabilities true on held-out simulations by a change of the last layer.
    ///
    /// `outputs` are the uncalibrated integer model's real outputs for each row of `held_out`.
    fn calibrate(&self, layer: &mut Dense, outputs: &[&[f32]], held_out: &Corpus);

    /// Its record in the manifest, encoded; `stack` is that on `[h, theta]` behind the layer, where the head has one.
    fn record(&self, layer: OutputLayer, stack: Option<Conditional<'_>>) -> Vec<u8>;

    /// Adds what these real outputs answer.
    fn answer(&self, outputs: &[f32], answer: &mut Answer);
}

/// What a head of a study is resolved against.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// Training simulations from which scalings are estimated.
    pub sample: &'c Corpus,
    /// A few training simulations with their exact score, where it is known.
    pub scored: Option<&'c Corpus>,
    /// Standardization of every target of the schema.
    pub targets: &'c [TargetScaling],
    /// Width of the layer that the heads read.
    pub d_hidden: usize,
    /// Flash that the study allows.
    pub flash_bytes: usize,
}

/// A head that this corpus cannot teach.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct HeadError {
    /// What is wrong; what would be right.
    pub message: String,
    /// The name among those that the study lists for the head, where it is about one.
    pub name: Option<String>,
}

impl HeadError {
    fn new(message: impl Into<String>) -> HeadError {
        HeadError { message: message.into(), name: None }
    }

    fn about(name: &str, message: String) -> HeadError {
        HeadError { message, name: Some(name.to_owned()) }
    }
}

impl Head {
    /// Resolves a head of the study.
    ///
    /// # Errors
    ///
    /// [`HeadError`] where the corpus lacks what the head answers, or the format cannot hold it.
    pub fn new(head: &study::Head, context: Context<'_>) -> Result<Head, HeadError> {
        let head = match head {
            study::Head::Categorical => Head::Categorical(Categorical::new(context)?),
            study::Head::Quantiles { targets, levels } => {
                Head::Quantiles(Quantiles::new(targets, levels, context)?)
            }
            study::Head::Point { parameters } => {
                Head::Point(Point::new(parameters.as_deref(), context)?)
            }
            study::Head::Mixture { parameters, components } => {
                Head::Mixture(Mixture::new(parameters.as_deref(), *components, context)?)
            }
            study::Head::Ratio { parameters, hidden } => {
                Head::Ratio(Ratio::new(parameters.as_deref(), hidden, context)?)
            }
            study::Head::Flow { parameters, hidden } => {
                Head::Flow(Flow::new(parameters.as_deref(), hidden, context)?)
            }
        };
        Ok(head)
    }
}

impl Head {
    /// Whether a layer and a stack behind it have the widths of this head.
    pub fn fits(&self, layer: Option<&Dense>, tail: Option<&Tail>) -> bool {
        let stack = match self {
            Head::Ratio(head) => Some((head.parameters.len(), 1)),
            Head::Flow(head) if !head.is_sound() => return false,
            Head::Flow(head) => {
                let d = head.parameters.len();
                Some((d + FLOW_TIMES, d))
            }
            _ => None,
        };
        let of_tail =
            |tail: &Tail| (tail.d_theta, tail.layers.last().map_or(0, |layer| layer.d_output));
        layer.is_some_and(|layer| layer.d_output == self.d_output()) && tail.map(of_tail) == stack
    }
}

impl std::ops::Deref for Head {
    type Target = dyn Answering;

    fn deref(&self) -> &Self::Target {
        match self {
            Head::Categorical(head) => head,
            Head::Quantiles(head) => head,
            Head::Point(head) => head,
            Head::Mixture(head) => head,
            Head::Ratio(head) => head,
            Head::Flow(head) => head,
        }
    }
}
