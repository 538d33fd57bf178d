//! Figures of one bank on one test set, the same for every method.

use rayon::prelude::*;

use crate::bank::agreement::{self, wasserstein};
use crate::bank::exact::{BINS, Bandwidth, Exact, Marginal, Posterior};
use crate::bank::{Answer, Bank, Embedded, squared_distance};

/// Nearest simulations of the corpus that are looked for.
const NEIGHBORS: usize = 10;
/// Prototypes that an explanation names.
const NAMED: usize = 5;

/// Test simulations and what the exact search says of them.
pub(super) struct TestSet {
    pub observations: Embedded,
    pub posteriors: Vec<Posterior>,
    /// Of each observation and parameter.
    marginals: Vec<Vec<[f64; BINS]>>,
    /// Embeddings of the nearest simulations of the corpus.
    neighbors: Vec<Vec<i16>>,
}

/// What a method says of the test simulations.
pub(super) struct Answers {
    pub mechanism: Vec<Vec<f64>>,
    pub theta: Vec<Vec<Marginal>>,
    /// Conformal p-values; empty where a method has none.
    pub novelty: Vec<f64>,
    /// Embeddings of what the method keeps, `[count, d]`; empty for the whole corpus.
    pub vectors: Vec<i16>,
    pub d: usize,
}

/// Means over a test set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scores {
    pub mechanism_tv: f64,
    pub top1_agreement: f64,
    pub theta_distance: f64,
    /// 1-Wasserstein distance of the exact marginals from normals with the answered moments, clamped to the parameter's range.
    pub theta_w1: f64,
    /// Share of the nearest simulations of the corpus that belong to the named prototypes: are nearer to them than to any other.
    pub recall: f64,
    /// Largest difference of the p-values' distribution from the uniform one (Kolmogorov and Smirnov).
    pub novelty_ks: f64,
}

impl TestSet {
    pub fn new(
        observations: Embedded,
        corpus: &Embedded,
        exact: &Exact,
        bandwidth: Bandwidth,
    ) -> Self {
        let rows = || (0..observations.len()).into_par_iter();
        let neighbors = |at: usize| {
            let nearest = exact.nearest(observations.row(at), NEIGHBORS);
            nearest.iter().flat_map(|(row, _)| corpus.row(*row)).copied().collect()
        };
        TestSet {
            posteriors: rows()
                .map(|at| exact.posterior(observations.row(at), bandwidth, None))
                .collect(),
            marginals: rows().map(|at| exact.marginals(observations.row(at), bandwidth)).collect(),
            neighbors: rows().map(neighbors).collect(),
            observations,
        }
    }

    pub fn judge(&self, answers: &Answers) -> Scores {
        let pairs = answers.mechanism.iter().zip(&answers.theta);
        let agreement = agreement::agreement(
            pairs.map(|(mechanism, theta)| (&mechanism[..], &theta[..])),
            &self.posteriors,
        );
        Scores {
            mechanism_tv: agreement.mechanism_tv,
            top1_agreement: agreement.top1_agreement,
            theta_distance: agreement.theta_distance,
            theta_w1: self.theta_w1(&answers.theta),
            recall: self.recall(&answers.vectors, answers.d),
            novelty_ks: distance_from_uniform(answers.novelty.clone()),
        }
    }

    /// The exact answers themselves, whose distance `theta_w1` shows what a mean and a standard deviation cannot say.
    pub fn exact_answers(&self) -> Answers {
        Answers {
            mechanism: self.posteriors.iter().map(|p| p.mechanism.clone()).collect(),
            theta: self.posteriors.iter().map(|p| p.theta.clone()).collect(),
            novelty: Vec::new(),
            vectors: Vec::new(),
            d: 0,
        }
    }

    fn theta_w1(&self, answers: &[Vec<Marginal>]) -> f64 {
        let each = |at: usize| {
            let parameters = self.posteriors[at].theta.iter().zip(&self.marginals[at]);
            let present = parameters
                .zip(&answers[at])
                .filter(|((exact, _), _)| exact.present >= agreement::LEAST_PRESENT);
            let distances = present.map(|((_, bins), answer)| wasserstein(bins, answer));
            let (sum, count) = distances.fold((0.0, 0.0), |(sum, n), d| (sum + d, n + 1.0));
            sum / f64::max(count, 1.0)
        };
        (0..answers.len()).map(each).sum::<f64>() / answers.len() as f64
    }

    fn recall(&self, vectors: &[i16], d: usize) -> f64 {
        if vectors.is_empty() {
            return f64::NAN;
        }
        let whole = self.observations.d;
        let nearest = |query: &[i16], count: usize| {
            let distances = vectors.chunks_exact(d).map(|v| squared_distance(&query[..d], v));
            let mut order: Vec<(u32, usize)> = distances.zip(0..).collect();
            let count = count.min(order.len());
            order.select_nth_unstable(count - 1);
            order.truncate(count);
            order
        };
        let found = |at: usize| {
            let named = nearest(self.observations.row(at), NAMED);
            let owner = |neighbor: &[i16]| nearest(neighbor, 1)[0].1;
            let neighbors = self.neighbors[at].chunks_exact(whole);
            let count = neighbors.len() as f64;
            let owned = neighbors.filter(|n| named.iter().any(|(_, at)| *at == owner(n)));
            owned.count() as f64 / count
        };
        let all: Vec<f64> = (0..self.observations.len()).into_par_iter().map(found).collect();
        all.iter().sum::<f64>() / all.len() as f64
    }
}

impl Answers {
    /// By the host's own sums.
    pub fn of(bank: &Bank, observations: &Embedded) -> Answers {
        let rows = (0..observations.len()).into_par_iter();
        Answers::new(bank, rows.map(|at| bank.answer(observations.row(at))).collect())
    }

    /// What `bank` answered.
    pub fn new(bank: &Bank, all: Vec<Answer>) -> Answers {
        Answers {
            novelty: all.iter().map(|answer| answer.novelty).collect(),
            theta: all.iter().map(|answer| answer.theta.clone()).collect(),
            mechanism: all.into_iter().map(|answer| answer.mechanism).collect(),
            vectors: bank.vectors.iter().map(|q| i16::from(*q)).collect(),
            d: bank.d,
        }
    }
}

fn distance_from_uniform(mut p_values: Vec<f64>) -> f64 {
    if p_values.is_empty() {
        return f64::NAN;
    }
    p_values.sort_by(f64::total_cmp);
    let n = p_values.len() as f64;
    // P-values are discrete: the distribution counts where its steps end.
    let ends = p_values.iter().enumerate().filter(|(at, p)| p_values.get(at + 1) != Some(p));
    ends.map(|(at, p)| ((at + 1) as f64 / n - p).abs()).fold(0.0, f64::max)
}
