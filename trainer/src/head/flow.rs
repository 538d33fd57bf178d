//! `flow`: joint posterior of theta of any shape, by flow matching.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{self as format, Conditional, Coordinate, OutputLayer};
use simground_runtime::{Model, integrate, normal_of_bits};

use super::columns::{Column, Columns};
use super::parameters::{self, ParameterScaling};
use super::{Answering, Context, HeadError};
use crate::corpus::Corpus;
use crate::evaluation::Answer;
use crate::flow_path::{self, Schedule};
use crate::network::{Dense, Tail};
use crate::posterior_calibration::golden_section;
use crate::quantization::StackInputs;
use crate::records::{Encoded, encode};
use crate::training::HeadSpec;

/// Widths of the hidden layers of the stack where the study names none.
pub const HIDDEN: [usize; 3] = [64, 64, 64];
/// Steps that are tried, and powers of their distances.
const STEPS: [usize; 7] = [4, 6, 8, 12, 16, 24, 32];
const POWERS: [f64; 2] = [1.0, 2.0];
/// What they are compared with.
const REFERENCE: Schedule = Schedule { steps: format::MAX_FLOW_STEPS, power: 1.5 };
/// Steps are enough where samples come to lie this near to those of many steps from the same noise, in units of the distance between two
/// samples of one observation.
const NEAR: f64 = 0.01;
/// Held-out simulations, and samples of each, that judge steps; and those that judge the noise.
const JUDGED: (usize, usize) = (256, 16);
const JUDGED_NOISE: (usize, usize) = (1024, 16);
/// The noise's deviation is `e^-x` to `e^x`.
const LOG_NOISE_LIMIT: f64 = 0.4;

/// Joint posterior of some entries of theta, as a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// The parameters.
    pub parameters: Vec<ParameterScaling>,
    /// Center and spread of each parameter's coordinate; see [`Coordinate`].
    pub coordinates: Vec<(f32, f32)>,
    /// Widths of the hidden layers of the stack on `[h, theta, time]`; the first is the split one.
    pub hidden: Vec<usize>,
    /// Steps of a sample.
    pub schedule: Schedule,
    /// Standard deviation of the noise.
    pub noise: f32,
}

impl Flow {
    /// Over the entries that the study names, or over all that every mechanism has.
    ///
    /// # Errors
    ///
    /// [`HeadError`] for an entry that the corpus does not have everywhere, and for too many.
    pub fn new(
        names: Option<&[String]>,
        hidden: &[usize],
        context: Context<'_>,
    ) -> Result<Flow, HeadError> {
        let Context { sample, .. } = context;
        let positions = parameters::chosen(names, sample)?;
        if positions.len() > format::MAX_FLOW_THETA {
            return Err(HeadError::new(format!(
                "{} parameters; a flow has at most {}\nhint: name fewer with `parameters`",
                positions.len(),
                format::MAX_FLOW_THETA
            )));
        }
        let scaling = |at: &usize| {
            let values = parameters::values(sample, *at);
            ParameterScaling::modelled(&sample.schema.theta[*at], &values)
        };
        let parameters: Vec<ParameterScaling> = positions.iter().map(scaling).collect();
        let plain = Flow {
            coordinates: vec![(0.0, 1.0); parameters.len()],
            parameters,
            hidden: hidden.to_vec(),
            schedule: Schedule { steps: STEPS[STEPS.len() - 1], power: POWERS[0] },
            noise: 1.0,
        };
        let values = plain.coordinates_of(sample);
        let moments = |at: usize| {
            let own = values.iter().skip(at).step_by(plain.parameters.len());
            let (center, spread) = crate::standardization::moments(own.copied());
            (center as f32, spread as f32)
        };
        Ok(Flow { coordinates: (0..plain.parameters.len()).map(moments).collect(), ..plain })
    }

    /// Whether its lists agree and its steps can be taken, if it was read from a file.
    pub(super) fn is_sound(&self) -> bool {
        let d = self.parameters.len();
        (1..=format::MAX_FLOW_STEPS).contains(&self.schedule.steps)
            && (1..=format::MAX_FLOW_THETA).contains(&d)
            && self.coordinates.len() == d
            && !self.hidden.is_empty()
    }

    /// Each parameter's coordinate.
    fn coordinate(&self, at: usize) -> Coordinate {
        let (center, spread) = self.coordinates[at];
        Coordinate { center, spread }
    }

    fn columns(&self, sample: &Corpus, columns: &mut Columns) -> Vec<usize> {
        let column = |(own, scaling): (usize, &ParameterScaling)| {
            let at = sample.schema.theta.iter().position(|p| p.name == scaling.name);
            let at = at.expect("scalings are made from the schema");
            let coordinate = self.coordinates[own];
            columns.position(Column::Coordinate { at, scaling: scaling.clone(), coordinate })
        };
        self.parameters.iter().enumerate().map(column).collect()
    }

    /// Coordinates of a corpus, `[num_simulations, parameters]`.
    fn coordinates_of(&self, corpus: &Corpus) -> Vec<f32> {
        let mut columns = Columns::default();
        self.columns(corpus, &mut columns);
        columns.standardize(corpus)
    }

    /// What the stack reads on the way of each simulation.
    pub fn points(&self, corpus: &Corpus) -> StackInputs {
        /// Shares of the training's angles at which each simulation is looked at.
        const SHARES: [f64; 7] = [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999];
        /// Noise and theta seldom are farther out, and farther out is read as here.
        const REACH: f32 = 6.0;
        let values = self.coordinates_of(corpus);
        let d = self.parameters.len();
        let (mut points, mut data_scales) = (Vec::new(), Vec::new());
        for (draw, share) in SHARES.into_iter().enumerate() {
            let angle = flow_path::training_angle(share);
            let sharpness = flow_path::sharpness(angle) as f32;
            data_scales.push(sharpness);
            let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
            for (row, own) in values.chunks_exact(d).enumerate() {
                let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
                rng.set_stream(draw as u64);
                points.extend(own.iter().map(|u| sharpness * (cos * normal(&mut rng) + sin * u)));
                points.extend(flow_path::time(angle));
            }
        }
        let reach = REACH * data_scales.iter().fold(0.0_f32, |most, scale| most.max(*scale));
        StackInputs { points, reach, data_scales }
    }

    /// Samples of the float model in physical units, `[count, parameters]`; `data` is what the observation adds to the stack's first layer.
    pub fn float_samples(
        &self,
        tail: &Tail,
        data: &[f32],
        rng: &mut ChaCha8Rng,
        count: usize,
    ) -> Vec<f32> {
        let d = self.parameters.len();
        let mut y: Vec<f32> = (0..count * d).map(|_| self.noise * normal(rng)).collect();
        let mut times = self.schedule.times().into_iter();
        let steps = self.schedule.records(0.0, 0).into_iter();
        integrate(steps, &mut y, &mut vec![0.0; 2 * count * d], |y, _, velocity| {
            let (sharpness, time) = times.next().expect("a time for each step");
            let sharp =
                |values: &[f32]| -> Vec<f32> { values.iter().map(|v| sharpness * v).collect() };
            let points: Vec<f32> =
                y.chunks_exact(d).flat_map(|y| sharp(y).into_iter().chain(time)).collect();
            velocity.copy_from_slice(&tail.forward(&sharp(data).repeat(count), &points).1);
        });
        y.iter().enumerate().map(|(at, y)| self.theta(at % d, *y)).collect()
    }

    /// Samples that know nothing of an observation: the noise in the place of theta.
    pub fn prior_samples(&self, rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
        let d = self.parameters.len();
        (0..count * d).map(|at| self.theta(at % d, normal(rng))).collect()
    }

    /// A parameter in physical units at `y`.
    fn theta(&self, at: usize, y: f32) -> f32 {
        let record = self.parameters[at].record();
        record.from_z(self.coordinate(at).z(record.ends(), y))
    }

    /// Finds the fewest steps that end where many do, and the noise that makes the spread true by the energy score of held-out
    /// simulations; `write` gives an artifact with such a head.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn calibrate_steps<E>(
        &mut self,
        held_out: &Corpus,
        mut write: impl FnMut(&Flow) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let mut drawn = |flow: &Flow, judged| {
            let bytes = write(flow)?;
            let model = Model::from_bytes(&bytes).expect("the trainer writes sound artifacts");
            Ok(flow.held_out_samples(&model, held_out, judged))
        };
        let with = |own: &Flow, schedule| Flow { schedule, ..own.clone() };
        let reference = drawn(&with(self, REFERENCE), JUDGED)?;
        let spread = mean_distance(reference.iter().map(|own| (own, rotated(own))));
        let each =
            STEPS.into_iter().flat_map(|steps| POWERS.map(|power| Schedule { steps, power }));
        for schedule in each {
            self.schedule = schedule;
            let found = drawn(self, JUDGED)?;
            let moved = mean_distance(found.iter().zip(reference.iter().cloned()));
            if moved <= NEAR * spread {
                break;
            }
        }
        let mut failure = None;
        let own = self.clone();
        let loss = |log_noise: f64| {
            let flow = Flow { noise: libm::exp(log_noise) as f32, ..own.clone() };
            let drawn = drawn(&flow, JUDGED_NOISE);
            let score = drawn.map(|drawn| flow.energy_score(&drawn, held_out));
            score.unwrap_or_else(|error| {
                failure = Some(error);
                f64::INFINITY
            })
        };
        let log_noise = golden_section(loss, -LOG_NOISE_LIMIT, LOG_NOISE_LIMIT, 10);
        self.noise = libm::exp(log_noise) as f32;
        failure.map_or(Ok(()), Err)
    }

    /// Mean energy score of samples of the first rows of a corpus.
    fn energy_score(&self, drawn: &[Vec<Vec<f32>>], corpus: &Corpus) -> f64 {
        let judge = |(row, drawn): (usize, &Vec<Vec<f32>>)| {
            let truth = self.standardized(&self.truth(corpus, row));
            crate::evaluation::energy_score(drawn, &truth)
        };
        drawn.iter().enumerate().map(judge).sum::<f64>() / drawn.len().max(1) as f64
    }

    /// Standardized samples of the integer model for the first rows of a corpus, always from the same noise.
    fn held_out_samples(
        &self,
        model: &Model<'_>,
        corpus: &Corpus,
        (rows, samples): (usize, usize),
    ) -> Vec<Vec<Vec<f32>>> {
        let scratch = || vec![0_u32; model.scratch_words()];
        let draw = |scratch: &mut Vec<u32>, row: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
            let drawn = self.integer_samples(model, scratch, corpus.x_row(row), &mut rng, samples);
            let each = drawn.chunks_exact(self.parameters.len());
            each.map(|theta| self.standardized(theta)).collect()
        };
        (0..rows.min(corpus.len())).into_par_iter().map_init(scratch, draw).collect()
    }

    /// Samples of the integer model in physical units, `[count, parameters]`.
    ///
    /// # Panics
    ///
    /// For a model without a `flow` head, and for a window of another width.
    pub fn integer_samples(
        &self,
        model: &Model<'_>,
        scratch: &mut [u32],
        window: &[f32],
        rng: &mut ChaCha8Rng,
        count: usize,
    ) -> Vec<f32> {
        let d = self.parameters.len();
        let mut inference = model.infer(window, scratch).expect("windows of the model");
        let mut flow = inference.flow().expect("a model with a flow head");
        let mut theta = vec![0.0; count * d];
        theta.chunks_exact_mut(d).for_each(|theta| flow.sample(rng, theta));
        theta
    }

    /// Standardized values of a theta of the head.
    pub fn standardized(&self, theta: &[f32]) -> Vec<f32> {
        self.parameters.iter().zip(theta).map(|(p, theta)| p.record().to_z(*theta)).collect()
    }

    /// Physical theta of the head's parameters in one row of a corpus.
    pub fn truth(&self, corpus: &Corpus, row: usize) -> Vec<f32> {
        parameters::of_row(&self.parameters, corpus, row)
    }
}

/// Mean distance between the samples of two lists of each observation.
fn mean_distance<'s>(pairs: impl Iterator<Item = (&'s Vec<Vec<f32>>, Vec<Vec<f32>>)>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for (own, others) in pairs {
        for (own, other) in own.iter().zip(&others) {
            let squares = own.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2));
            sum += squares.sum::<f64>().sqrt();
            count += 1;
        }
    }
    sum / f64::from(count.max(1))
}

/// Each sample in the place of the one before.
fn rotated(samples: &[Vec<f32>]) -> Vec<Vec<f32>> {
    samples.iter().cycle().skip(1).take(samples.len()).cloned().collect()
}

/// A standard normal number from a word, as the runtime makes it.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    normal_of_bits(rng.next_u32())
}

impl Answering for Flow {
    fn d_output(&self) -> usize {
        self.hidden[0]
    }

    fn spec(&self, sample: &Corpus, columns: &mut Columns) -> HeadSpec {
        let targets = self.columns(sample, columns);
        // As for a density, a sum over coordinates.
        let loss_share = self.parameters.len() as f32;
        HeadSpec::Flow { targets, hidden: self.hidden.clone(), loss_share }
    }

    /// See [`Flow::calibrate_steps`]: the data's part of the first layer stays as it is.
    fn calibrate(&self, _: &mut Dense, _: &[&[f32]], _: &Corpus) {}

    fn record(&self, layer: OutputLayer, stack: Option<Conditional<'_>>) -> Vec<u8> {
        let stack = stack.expect("the network has the stack of every flow head");
        let parameters = Encoded::new(self.parameters.iter().map(ParameterScaling::record));
        let coordinates = Encoded::new((0..self.parameters.len()).map(|at| self.coordinate(at)));
        let steps = Encoded::new(self.schedule.records(stack.grid, stack.q_max));
        encode(&format::Head::Flow {
            layer,
            parameters: parameters.records(),
            coordinates: coordinates.records(),
            noise: self.noise,
            steps: steps.records(),
            stack,
        })
    }

    fn answer(&self, outputs: &[f32], answer: &mut Answer) {
        answer.flow_data = outputs.to_vec();
    }
}
