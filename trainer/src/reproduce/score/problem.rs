//! A mechanism with an exact likelihood, on the network's scale.

use std::sync::Arc;

use cpu_time::ThreadTime;
use rayon::prelude::*;

use super::super::ExperimentError;
use super::integral::{Integral, NODES, interpolated};
use crate::corpus::Corpus;
use crate::simulator::{Likelihood, Mechanism, Simulator, Split};
use crate::standardization::InputScaling;
use crate::study::{Input, Prior, Study};
use crate::training::ratio::{Contrastive, Labels, Pairs, ScoredPairs, Symmetry};

/// A study of one mechanism with two parameters and an exact likelihood.
pub(super) struct Problem {
    simulator: Simulator,
    mechanism: Arc<dyn Mechanism>,
    input: Input,
    /// Names of the parameters.
    pub names: Vec<String>,
    scales: Vec<Scale>,
    symmetries: Vec<Symmetry>,
    seed: u64,
}

/// From a parameter to the network's scale: zero mean and unit variance under the prior, whose support becomes `+-sqrt(3)`.
#[derive(Debug, Clone, Copy)]
struct Scale {
    logarithmic: bool,
    center: f64,
    sd: f64,
}

/// Fields on a square grid, whose likelihood knows neither up from down nor left from right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub side: usize,
    /// Independent fields in each x.
    pub replicates: usize,
}

/// Simulations for trainings, on the network's scale.
pub(super) struct Data {
    /// To train on and to stop by.
    pub plain: [Pairs; 2],
    /// The same with exact scores and labels, unless they were not asked for.
    pub augmented: Option<[Contrastive; 2]>,
    pub scaling: InputScaling,
    /// CPU seconds of the exact scores.
    pub score_seconds: f64,
}

/// Other simulations whose theta each simulation is scored with.
const NUM_PARTNERS: usize = 32;

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
    pub fn parse(file: &str, study: &str, grid: Option<Grid>) -> Result<Problem, ExperimentError> {
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
            symmetries: grid.map_or(Vec::new(), Grid::symmetries),
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

    /// The first `count` simulations of a seed: nine tenths to train on, the last tenth to stop by.
    pub fn data(&self, seed: u64, count: usize, augmented: bool) -> Data {
        let base = Split::Train.base();
        let (middle, end) = (base + (count - count / 10) as u64, base + count as u64);
        let corpora = [base..middle, middle..end].map(|range| self.simulator.simulate(seed, range));
        let scaling = self.scaling(&corpora[0]);
        let pairs = |corpus: &Corpus, scored| Contrastive {
            d_x: self.d_x(),
            d_theta: self.d_theta(),
            x: scaling.apply_rows(&corpus.x),
            theta: self.scaled(&corpus.theta),
            scored,
            symmetries: self.symmetries.clone(),
        };
        let plain = corpora.each_ref().map(|corpus| Pairs::Contrastive(pairs(corpus, None)));
        let mut score_seconds = 0.0;
        let augmented = augmented.then(|| {
            corpora.each_ref().map(|corpus| {
                let (scored, seconds) = self.scored(corpus);
                score_seconds += seconds;
                pairs(corpus, Some(scored))
            })
        });
        Data { plain, augmented, scaling, score_seconds }
    }

    /// Fitted to a corpus; what a symmetry exchanges has one scale.
    fn scaling(&self, corpus: &Corpus) -> InputScaling {
        let mut scaling = InputScaling::fit(corpus, self.input);
        if !self.symmetries.is_empty() {
            let squares = scaling.center.iter().zip(&scaling.spread).map(|(c, s)| c * c + s * s);
            let spread = (squares.sum::<f32>() / scaling.center.len() as f32).sqrt();
            scaling.center.fill(0.0);
            scaling.spread.fill(spread);
        }
        scaling
    }

    /// Exact scores at each simulation's own theta and at those of the next [`NUM_PARTNERS`], labels by [`Integral`], and the CPU
    /// seconds of it all.
    fn scored(&self, corpus: &Corpus) -> (ScoredPairs, f64) {
        let n = corpus.len();
        let count = NUM_PARTNERS.min(n - 1);
        let own = |row: usize| -> Vec<f64> {
            corpus.theta_row(row).iter().map(|&t| f64::from(t)).collect()
        };
        // Theta by theta, since preparing theta is what costs: its own x, then the x whose partner it is.
        let thetas: Vec<Vec<f64>> = (0..n).map(own).collect();
        let (all, seconds) = self.scores_at(&thetas, corpus, |theta, back| {
            (back <= count).then(|| (theta + n - back) % n)
        });
        let integral = Integral::new();
        let nodes: Vec<Vec<f64>> = (0..NODES * NODES)
            .map(|at| self.theta(&[integral.nodes[at / NODES], integral.nodes[at % NODES]]))
            .collect();
        let (at_nodes, more_seconds) =
            self.scores_at(&nodes, corpus, |_, row| (row < n).then_some(row));
        let clock = ThreadTime::now();
        let partner = |row: usize, which: usize| (row + 1 + which) % n;
        let score = |theta: usize, back: usize| &all[theta][back * 2..][..2];
        let scaled = self.scaled(&corpus.theta);
        let bases: Vec<_> = scaled.chunks_exact(2).map(|theta| integral.basis(theta)).collect();
        let mut scored = ScoredPairs { num_partners: count, ..ScoredPairs::default() };
        let mut labels = Labels::default();
        for row in 0..n {
            let here = at_nodes.iter().flat_map(|scores| scores[row * 2..][..2].iter().copied());
            let log_ratio = integral.log_ratio(&here.collect::<Vec<f32>>());
            let label = |theta: usize| {
                (1.0 / (1.0 + libm::exp(-interpolated(&log_ratio, &bases[theta])))) as f32
            };
            scored.joint.extend(score(row, 0));
            labels.joint.push(label(row));
            for which in 0..count {
                let theta = partner(row, which);
                scored.partners.push(theta as u32);
                scored.marginal.extend(score(theta, which + 1));
                labels.marginal.push(label(theta));
            }
        }
        scored.labels = Some(labels);
        (scored, seconds + more_seconds + clock.elapsed().as_secs_f64())
    }

    /// The score of each theta, in units of the study, at the rows that `row(theta, 0..)` names until `None`, on the network's scale:
    /// `[thetas][rows, d_theta]`; and CPU seconds.
    fn scores_at(
        &self,
        thetas: &[Vec<f64>],
        corpus: &Corpus,
        row: impl Fn(usize, usize) -> Option<usize> + Sync,
    ) -> (Vec<Vec<f32>>, f64) {
        let each = thetas.par_iter().enumerate().map(|(of, theta)| {
            let clock = ThreadTime::now();
            let at = self.likelihood().at(theta);
            let mut score = vec![0.0; theta.len()];
            let mut scores = Vec::new();
            for row in (0..).map_while(|which| row(of, which)) {
                at.score(corpus.x_row(row), &mut score);
                self.scale_score(theta, &mut score);
                scores.extend(score.iter().map(|&s| s as f32));
            }
            (scores, clock.elapsed().as_secs_f64())
        });
        let (scores, seconds): (Vec<_>, Vec<f64>) = each.unzip();
        (scores, seconds.iter().sum())
    }
}

impl Grid {
    /// Rotations and reflections of the square, exchange of replicates in turn, and the sign.
    fn symmetries(self) -> Vec<Symmetry> {
        let Grid { side, replicates } = self;
        let last = side - 1;
        let mut symmetries = Vec::new();
        for which in 0..16 * replicates {
            let (bits, shift) = (which % 16, which / 16);
            let mut source = Vec::with_capacity(replicates * side * side);
            for at in 0..replicates * side * side {
                let (replicate, row, column) = (at / (side * side), at / side % side, at % side);
                let row = if bits & 1 == 0 { row } else { last - row };
                let column = if bits & 2 == 0 { column } else { last - column };
                let (row, column) = if bits & 4 == 0 { (row, column) } else { (column, row) };
                let replicate = (replicate + shift) % replicates;
                source.push(((replicate * side + row) * side + column) as u32);
            }
            symmetries.push(Symmetry { source, sign: if bits & 8 == 0 { 1.0 } else { -1.0 } });
        }
        symmetries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian() -> Problem {
        let study = include_str!("../../../studies/gaussian-field.toml");
        let grid = Grid { side: 8, replicates: 1 };
        Problem::parse("gaussian-field.toml", study, Some(grid)).expect("a study")
    }

    #[test]
    fn symmetries_leave_the_likelihood_alone() {
        let problem = gaussian();
        assert_eq!(problem.symmetries.len(), 16);
        let corpus = problem.test(1);
        let at = problem.likelihood().at(&[2.0, 0.3]);
        let right = at.log_likelihood(corpus.x_row(0));
        for Symmetry { source, sign } in &problem.symmetries {
            let mut places = source.clone();
            places.sort_unstable();
            assert!(places.iter().copied().eq(0..64), "a permutation");
            let x: Vec<f32> =
                source.iter().map(|&at| sign * corpus.x_row(0)[at as usize]).collect();
            assert!((at.log_likelihood(&x) - right).abs() < 1e-6);
        }
    }

    /// Labels against the likelihood itself, its evidence a mean over many thetas.
    #[test]
    fn labels_are_those_of_the_exact_ratio() {
        let problem = gaussian();
        let corpus = problem.test(12);
        let (scored, _) = problem.scored(&corpus);
        let exact = super::super::exact::Exact::new(&problem, 12);
        let labels = scored.labels.expect("labels");
        for (row, (label, log_ratio)) in labels.joint.iter().zip(&exact.surfaces.truth).enumerate()
        {
            let right = 1.0 / (1.0 + libm::exp(-log_ratio));
            assert!((f64::from(*label) - right).abs() < 5e-3, "row {row}: {label} for {right}");
        }
    }
}
