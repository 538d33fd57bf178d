//! `ratio`: the likelihood of an observation at any theta, by classification and, where it is known, by the exact score.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use simground_runtime::Model;
use simground_runtime::artifact::{self as format, Conditional, OutputLayer};

use super::columns::{Column, Columns};
use super::parameters::{self, ParameterScaling};
use super::{Answering, Context, HeadError};
use crate::corpus::Corpus;
use crate::evaluation::Answer;
use crate::network::{Dense, Tail};
use crate::posterior_calibration::golden_section;
use crate::quantization::StackInputs;
use crate::records::{Encoded, encode};
use crate::training::HeadSpec;

/// Widths of the hidden layers of the stack where the study names none.
pub const HIDDEN: [usize; 2] = [32, 32];
/// A cross-entropy over pairs moves between `ln 2` and 0: this weighs the heads alike.
const LOSS_SHARE: f32 = 2.0;
/// Marginal pairs of each held-out simulation that fit the temperature.
pub const PARTNERS: usize = 4;
/// Temperatures are `e^-x` to `e^x`.
const LOG_TEMPERATURE_LIMIT: f64 = 2.0;

/// Likelihood-to-evidence ratio over some entries of theta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The parameters.
    pub parameters: Vec<ParameterScaling>,
    /// Widths of the hidden layers of the stack on `[h, theta]`; the first is the split one.
    pub hidden: Vec<usize>,
    /// Root mean square of the exact score by each standardized parameter; empty where there is no score.
    pub score_scales: Vec<f32>,
}

impl Ratio {
    /// Over the entries that the study names, or over all that every mechanism has.
    ///
    /// # Errors
    ///
    /// [`HeadError`] for an entry that the corpus does not have everywhere.
    pub fn new(
        names: Option<&[String]>,
        hidden: &[usize],
        context: Context<'_>,
    ) -> Result<Ratio, HeadError> {
        let Context { sample, .. } = context;
        let positions = parameters::chosen(names, sample)?;
        let scaling = |at: &usize| {
            let values = parameters::values(sample, *at);
            ParameterScaling::modelled(&sample.schema.theta[*at], &values)
        };
        let parameters = positions.iter().map(scaling).collect();
        let plain = Ratio { parameters, hidden: hidden.to_vec(), score_scales: Vec::new() };
        // A score is that of the ratio only where nothing else was drawn beside these entries.
        let whole = parameters::chosen(None, sample)? == positions;
        let single = sample.schema.mechanisms.len() < 2;
        let Some(scored) = context.scored.filter(|_| whole && single) else { return Ok(plain) };
        Ok(Ratio { score_scales: plain.scales(scored), ..plain })
    }

    /// Root mean squares of the standardized score; empty where some entry of theta has none.
    fn scales(&self, scored: &Corpus) -> Vec<f32> {
        let mut columns = Columns::default();
        let places = self.scores(scored, &mut columns);
        let table = columns.standardize(scored);
        let scale = |at: &usize| {
            let values = table.iter().skip(*at).step_by(columns.len()).copied();
            let known: Vec<f64> = values.filter(|v| *v < f32::MAX).map(f64::from).collect();
            let squares = known.iter().map(|value| value * value).sum::<f64>();
            (squares / known.len().max(1) as f64).sqrt() as f32
        };
        let scales: Vec<f32> = places.iter().map(scale).collect();
        if scales.iter().all(|scale| scale.is_finite() && *scale > 0.0) {
            scales
        } else {
            Vec::new()
        }
    }

    fn scores(&self, sample: &Corpus, columns: &mut Columns) -> Vec<usize> {
        let column = |scaling: &ParameterScaling| {
            let at = sample.schema.theta.iter().position(|p| p.name == scaling.name);
            let at = at.expect("scalings are made from the schema");
            columns.position(Column::Score { at, scaling: scaling.clone() })
        };
        self.parameters.iter().map(column).collect()
    }

    /// Standardized thetas of a corpus, `[num_simulations, parameters]`.
    pub fn standardize(&self, corpus: &Corpus) -> Vec<f32> {
        let mut columns = Columns::default();
        parameters::columns(&self.parameters, corpus, &mut columns);
        columns.standardize(corpus)
    }

    /// What the stack reads beside each simulation of a corpus: its own theta, then those of two others.
    pub fn points(&self, corpus: &Corpus) -> StackInputs {
        let thetas = self.standardize(corpus);
        let (n, d) = (corpus.len(), self.parameters.len());
        let rotated = |by: usize| [&thetas[by * d..], &thetas[..by * d]].concat();
        let points = [0, n / 3, n / 2].map(rotated).concat();
        StackInputs { points, reach: self.reach(), data_scales: vec![1.0; 3] }
    }

    /// Largest magnitude of a standardized value inside the supports, as far as they are finite.
    fn reach(&self) -> f32 {
        let ends = self.parameters.iter().flat_map(|p| {
            let record = p.record();
            let finite = [p.low, p.high].into_iter().filter(|end| end.is_finite());
            let inside = finite.filter(|_| p.low.is_finite() && p.high.is_finite());
            inside.map(move |end| record.to_z(end).abs()).collect::<Vec<f32>>()
        });
        ends.fold(0.0, f32::max)
    }

    /// Divides the ratio's logarithm by the temperature with the smallest cross-entropy on held-out simulations.
    pub fn temper(&self, model: &Model<'_>, tail: &mut Tail, held_out: &Corpus) {
        let pairs = pairs(self, model, held_out);
        let loss = |log_temperature: f64| {
            let inverse = libm::exp(-log_temperature);
            pairs.iter().map(|pair| pair.cross_entropy(inverse)).sum::<f64>()
        };
        let log_temperature =
            golden_section(loss, -LOG_TEMPERATURE_LIMIT, LOG_TEMPERATURE_LIMIT, 30);
        let Some(last) = tail.layers.last_mut() else { return };
        let inverse = libm::exp(-log_temperature) as f32;
        last.weight.iter_mut().chain(&mut last.bias).for_each(|value| *value *= inverse);
    }

    /// Physical thetas of the head's parameters in one row of a corpus.
    pub fn theta(&self, corpus: &Corpus, row: usize) -> Vec<f32> {
        parameters::of_row(&self.parameters, corpus, row)
    }
}

/// Logarithms of the ratio for one observation: with its own theta, and with those of others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// With its own theta.
    pub joint: f32,
    /// With the thetas of [`PARTNERS`] other simulations.
    pub marginal: Vec<f32>,
}

impl Judged {
    /// Mean over joint and marginal pairs, each class half, of the cross-entropy of `log r` times `inverse`.
    pub fn cross_entropy(&self, inverse: f64) -> f64 {
        let of = |f: f32, sign: f64| {
            let f = f64::from(f) * inverse * sign;
            f.max(0.0) + libm::log1p(libm::exp(-f.abs()))
        };
        let marginal = self.marginal.iter().map(|f| of(*f, 1.0)).sum::<f64>();
        0.5 * (of(self.joint, -1.0) + marginal / self.marginal.len().max(1) as f64)
    }
}

/// The row whose theta makes marginal pair `partner` of row `row`.
pub fn partner(row: usize, partner: usize, rows: usize) -> usize {
    // Odd strides, so that neighbors do not share all partners.
    (row + 1 + partner * (partner + 3) * 7) % rows.max(1)
}

/// What the integer model says of joint and marginal pairs of a corpus.
pub fn pairs(head: &Ratio, model: &Model<'_>, corpus: &Corpus) -> Vec<Judged> {
    let rows = corpus.len();
    let judge = |scratch: &mut Vec<u32>, row: usize| {
        let mut inference = model.infer(corpus.x_row(row), scratch).expect("windows of the model");
        let mut ratio = inference.ratio().expect("a model with a ratio head");
        let mut at = |of: usize| ratio.log_ratio(&head.theta(corpus, of));
        Judged {
            joint: at(row),
            marginal: (0..PARTNERS).map(|p| at(partner(row, p, rows))).collect(),
        }
    };
    let scratch = || vec![0_u32; model.scratch_words()];
    (0..rows).into_par_iter().map_init(scratch, judge).collect()
}

/// What the float model says of the same pairs; `data` is what each observation adds to the first layer of the stack.
pub fn float_pairs(head: &Ratio, tail: &Tail, data: &[f32], corpus: &Corpus) -> Vec<Judged> {
    let (rows, d) = (corpus.len(), head.parameters.len());
    let z = head.standardize(corpus);
    let judge = |(row, data): (usize, &[f32])| {
        let partners = (0..PARTNERS).map(|p| partner(row, p, rows));
        let thetas = [row].into_iter().chain(partners);
        let thetas: Vec<f32> = thetas.flat_map(|of| z[of * d..][..d].to_vec()).collect();
        let values = tail.forward(&data.repeat(1 + PARTNERS), &thetas).1;
        Judged { joint: values[0], marginal: values[1..].to_vec() }
    };
    data.par_chunks_exact(head.hidden[0]).enumerate().map(judge).collect()
}

impl Answering for Ratio {
    fn d_output(&self) -> usize {
        self.hidden[0]
    }

    fn spec(&self, sample: &Corpus, columns: &mut Columns) -> HeadSpec {
        let targets = parameters::columns(&self.parameters, sample, columns);
        let scored = !self.score_scales.is_empty();
        let scores = if scored { self.scores(sample, columns) } else { Vec::new() };
        HeadSpec::Ratio {
            targets,
            scores,
            score_scales: self.score_scales.clone(),
            hidden: self.hidden.clone(),
            loss_share: LOSS_SHARE,
        }
    }

    /// See [`Ratio::temper`]: the temperature is one of the stack, not of the data's part of its first layer.
    fn calibrate(&self, _: &mut Dense, _: &[&[f32]], _: &Corpus) {}

    fn record(&self, layer: OutputLayer, stack: Option<Conditional<'_>>) -> Vec<u8> {
        let parameters = Encoded::new(self.parameters.iter().map(ParameterScaling::record));
        let stack = stack.expect("the network has the stack of every ratio head");
        encode(&format::Head::Ratio { layer, parameters: parameters.records(), stack })
    }

    fn answer(&self, outputs: &[f32], answer: &mut Answer) {
        answer.ratio_data = outputs.to_vec();
    }
}
