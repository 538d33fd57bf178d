//! A mechanism with an exact likelihood, on the network's scale.

use std::sync::Arc;

use cpu_time::ThreadTime;
use rayon::prelude::*;

use super::super::ExperimentError;
use crate::corpus::Corpus;
use crate::simulator::{Likelihood, Mechanism, Simulator, Split};
use crate::standardization::InputScaling;
use crate::study::{Input, Prior, Study};
use crate::training::ratio::{Contrastive, Pairs, ScoredPairs};

/// A study of one mechanism with two parameters and an exact likelihood.
pub(super) struct Problem {
    simulator: Simulator,
    mechanism: Arc<dyn Mechanism>,
    input: Input,
    /// Names of the parameters.
    pub names: Vec<String>,
    scales: Vec<Scale>,
    seed: u64,
}

/// From a parameter to the network's scale: zero mean and unit variance under the prior, whose support becomes `+-sqrt(3)`.
#[derive(Debug, Clone, Copy)]
struct Scale {
    logarithmic: bool,
    center: f64,
    sd: f64,
}

/// Simulations for one training, on the network's scale.
pub(super) struct Data {
    pub train: Pairs,
    pub held_out: Pairs,
    pub scaling: InputScaling,
    /// CPU seconds of the exact scores.
    pub score_seconds: f64,
}

/// Other simulations whose theta each simulation is scored with. Preparing the likelihood at a theta is what costs.
const NUM_PARTNERS: usize = 4;

impl Scale {
    fn new(prior: Prior) -> Option<Scale> {
        let (logarithmic, lower, upper) = match prior {
            Prior::Uniform(lower, upper) => (false, lower, upper),
            Prior::LogUniform(lower, upper) => (true, libm::log(lower), libm::log(upper)),
            _ => return None,
        };
        let sd = (upper - lower) / 12.0_f64.sqrt();
        Some(Scale { logarithmic, center: 0.5 * (lower + upper), sd })
    }

    fn scaled(self, theta: f64) -> f64 {
        let value = if self.logarithmic { libm::log(theta) } else { theta };
        (value - self.center) / self.sd
    }

    fn theta(self, scaled: f64) -> f64 {
        let value = self.center + self.sd * scaled;
        if self.logarithmic { libm::exp(value) } else { value }
    }

    /// Derivative of theta by the scaled value.
    fn slope(self, theta: f64) -> f64 {
        if self.logarithmic { self.sd * theta } else { self.sd }
    }
}

impl Problem {
    pub fn parse(file: &str, study: &str) -> Result<Problem, ExperimentError> {
        let study = Study::parse(study, file).map_err(|e| ExperimentError(e.to_string()))?;
        let simulation = study.simulation.as_ref().expect("the study has a mechanism");
        let prior = &simulation.mechanisms[0];
        let scales: Option<Vec<Scale>> =
            prior.priors.iter().map(|prior| Scale::new(*prior)).collect();
        let simulator = Simulator::new(simulation, &study.heads);
        Ok(Problem {
            names: simulator.schema().theta.iter().map(|p| p.name.clone()).collect(),
            simulator,
            mechanism: prior.mechanism(simulation.epidemic.as_ref()),
            input: study.input,
            scales: scales.expect("priors with bounds"),
            seed: study.seed,
        })
    }

    pub fn d_x(&self) -> usize {
        self.simulator.schema().d_x()
    }

    pub fn d_theta(&self) -> usize {
        self.scales.len()
    }

    pub fn likelihood(&self) -> &dyn Likelihood {
        self.mechanism.likelihood().expect("a mechanism with a likelihood")
    }

    /// Simulations that no training sees, the same for all.
    pub fn test(&self, count: usize) -> Corpus {
        self.simulator.simulate(self.seed, Split::Test.first(count as u64))
    }

    /// `[n, d_theta]` in units of the study to the network's scale.
    pub fn scaled(&self, theta: &[f32]) -> Vec<f32> {
        let each = theta.chunks_exact(self.d_theta()).flat_map(|theta| {
            theta.iter().zip(&self.scales).map(|(&t, scale)| scale.scaled(f64::from(t)) as f32)
        });
        each.collect()
    }

    /// One theta from the network's scale to units of the study.
    pub fn theta(&self, scaled: &[f64]) -> Vec<f64> {
        scaled.iter().zip(&self.scales).map(|(&u, scale)| scale.theta(u)).collect()
    }

    /// Multiplies a score in units of the study into one on the network's scale.
    pub fn scale_score(&self, theta: &[f64], score: &mut [f64]) {
        let values = score.iter_mut().zip(theta.iter().zip(&self.scales));
        values.for_each(|(score, (&theta, scale))| *score *= scale.slope(theta));
    }

    /// The first `count` simulations of a seed: nine tenths to train on, with scores, the last tenth to stop by.
    pub fn data(&self, seed: u64, count: usize) -> Data {
        let base = Split::Train.base();
        let (middle, end) = (base + (count - count / 10) as u64, base + count as u64);
        let corpus = self.simulator.simulate(seed, base..middle);
        let held_out = self.simulator.simulate(seed, middle..end);
        let scaling = InputScaling::fit(&corpus, self.input);
        let pairs = |corpus: &Corpus, scored| {
            Pairs::Contrastive(Contrastive {
                d_x: self.d_x(),
                d_theta: self.d_theta(),
                x: scaling.apply_rows(&corpus.x),
                theta: self.scaled(&corpus.theta),
                scored,
            })
        };
        let (scored, score_seconds) = self.scored(&corpus);
        let train = pairs(&corpus, Some(scored));
        Data { train, held_out: pairs(&held_out, None), scaling, score_seconds }
    }

    /// Exact scores at each simulation's own theta and at those of the next [`NUM_PARTNERS`], with CPU seconds.
    fn scored(&self, corpus: &Corpus) -> (ScoredPairs, f64) {
        let (n, d_theta) = (corpus.len(), self.d_theta());
        let partner = |row: usize, which: usize| (row + 1 + which) % n;
        // Row by row of theta, since preparing theta is what costs: its own x, then the x whose partner it is.
        let of_theta = |row: usize| {
            let theta: Vec<f64> = corpus.theta_row(row).iter().map(|&t| f64::from(t)).collect();
            let at = self.likelihood().at(&theta);
            let mut score = vec![0.0; d_theta];
            let mut scores = Vec::with_capacity((1 + NUM_PARTNERS) * d_theta);
            for back in 0..=NUM_PARTNERS {
                at.score(corpus.x_row((row + n - back % n) % n), &mut score);
                self.scale_score(&theta, &mut score);
                scores.extend(score.iter().map(|&s| s as f32));
            }
            scores
        };
        const CHUNK: usize = 64;
        let rows: Vec<usize> = (0..n).collect();
        let chunks = rows.par_chunks(CHUNK).map(|rows| {
            let clock = ThreadTime::now();
            let scores: Vec<f32> = rows.iter().flat_map(|&row| of_theta(row)).collect();
            (scores, clock.elapsed().as_secs_f64())
        });
        let chunks: Vec<(Vec<f32>, f64)> = chunks.collect();
        let seconds = chunks.iter().map(|(_, seconds)| seconds).sum();
        let all: Vec<f32> = chunks.into_iter().flat_map(|(scores, _)| scores).collect();
        let score = |theta: usize, back: usize| {
            all[(theta * (1 + NUM_PARTNERS) + back) * d_theta..][..d_theta].iter().copied()
        };
        let pairs = || (0..n).flat_map(|row| (0..NUM_PARTNERS).map(move |which| (row, which)));
        let scored = ScoredPairs {
            num_partners: NUM_PARTNERS,
            partners: pairs().map(|(row, which)| partner(row, which) as u32).collect(),
            joint: (0..n).flat_map(|row| score(row, 0)).collect(),
            marginal: pairs()
                .flat_map(|(row, which)| score(partner(row, which), which + 1))
                .collect(),
        };
        (scored, seconds)
    }
}
