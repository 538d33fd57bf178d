//! Reaches, shares and places of the prototypes by descent.

use rayon::prelude::*;

use super::{BATCH, Mixture, Neighborhoods, Places};
use crate::head::softmax;

/// Parts of a batch that are summed one by one, so that the result does not depend on the number of threads.
const PARTS: usize = 8;
/// Steps of the fit.
const STEPS: usize = 800;
/// Steps of the fit in which the prototypes move as well.
const REFINEMENT_STEPS: usize = 800;
/// Steps after which the nearest prototypes are looked for again.
const NEIGHBORHOOD_STEPS: usize = 100;
/// Largest change of a logarithm in a step.
const LEARNING_RATE: f32 = 0.05;
/// Simulations that the pull towards the cell counts as.
const PULL: f32 = 0.3;
/// Responsibilities below do not move what is fitted.
const LEAST_RESPONSIBILITY: f32 = 1e-6;

/// Derivatives with respect to what is fitted, summed over observations.
#[derive(Debug, Clone)]
pub(super) struct Gradient {
    pub(super) log_rate: Vec<f32>,
    /// With respect to the shares themselves.
    pub(super) share: Vec<f32>,
    /// With respect to the places; empty where these stay.
    place: Vec<f32>,
}

impl Mixture {
    /// Fits shares, and reaches unless they are `fixed`.
    pub fn fit(&mut self, observations: &Neighborhoods, exact: &[f32], fixed: bool) {
        let steps = if fixed { STEPS / 4 } else { STEPS };
        let mut fit = Fit::new(self, observations.len(), steps);
        while let Some((rows, size)) = fit.next() {
            let gradient = self.gradient(observations, exact, &rows, None);
            if !fixed {
                fit.step_rates(self, &gradient, size);
            }
            fit.step_shares(self, &gradient, size);
        }
    }

    /// Fits shares, reaches and places together.
    pub fn refine(&mut self, places: &mut Places<'_>, exact: &[f32]) {
        let mut moves = Adam::new(places.values.len());
        let mut fit = Fit::new(self, places.observations.len() / places.d, REFINEMENT_STEPS);
        let reach = (std::f32::consts::LN_2 / self.log_rate[0].exp()).sqrt();
        let mut near = Neighborhoods::new(places.observations, &places.rounded(), places.d);
        while let Some((rows, size)) = fit.next() {
            let gradient = self.gradient(&near, exact, &rows, Some(places));
            fit.step_rates(self, &gradient, size);
            fit.step_shares(self, &gradient, size);
            moves.step(&mut places.values, &gradient.place, size * reach);
            if fit.step.is_multiple_of(NEIGHBORHOOD_STEPS) {
                near = Neighborhoods::new(places.observations, &places.rounded(), places.d);
            }
        }
    }

    /// Through the softmax of each row, with the pull towards the cell's shares.
    fn share_gradient(&self, by_share: &[f32], n: usize) -> Vec<f32> {
        let k = self.mechanisms;
        let rows = self.log_share.chunks_exact(k).zip(by_share.chunks_exact(k));
        let rows = rows.zip(self.cell_share.chunks_exact(k));
        rows.flat_map(|((logits, by_share), cell)| {
            let shares = softmax(logits);
            let mean: f32 = shares.iter().zip(by_share).map(|(s, g)| s * g).sum();
            let pull = PULL / n as f32;
            let each = shares.into_iter().zip(by_share).zip(cell);
            each.map(move |((s, g), cell)| s * (g - mean) + pull * (s - cell)).collect::<Vec<_>>()
        })
        .collect()
    }

    /// Mean over the rows of the cross-entropy's derivatives.
    pub(super) fn gradient(
        &self,
        observations: &Neighborhoods,
        exact: &[f32],
        rows: &[usize],
        places: Option<&Places<'_>>,
    ) -> Gradient {
        let (kernels, shares) = (self.kernels(), self.shares());
        let k = self.mechanisms;
        let part = |rows: &[usize]| {
            let mut gradient = Gradient {
                log_rate: vec![0.0; self.log_rate.len()],
                share: vec![0.0; self.log_share.len()],
                place: vec![0.0; places.map_or(0, |places| places.values.len())],
            };
            let (mut weights, mut moved) = (Vec::new(), Vec::new());
            for &row in rows {
                let mut near = observations.of(row);
                if let Some(places) = places {
                    places.measure(row, near, &mut moved);
                    near = &moved;
                }
                kernels.responsibilities(near, &mut weights);
                let posterior = self.posterior(near, &weights, &shares);
                // Derivative of -sum of target ln p with respect to p; its mean under the mixture is -1.
                let target = &exact[row * k..][..k];
                let slope: Vec<f32> = target.iter().zip(&posterior).map(|(t, p)| -t / p).collect();
                let pairs = near.iter().zip(&weights);
                for (&(prototype, distance), weight) in
                    pairs.filter(|(_, weight)| **weight > LEAST_RESPONSIBILITY)
                {
                    let at = prototype as usize;
                    let own = &shares[at * k..][..k];
                    let mean: f32 = own.iter().zip(&slope).map(|(s, g)| s * g).sum();
                    let by_logarithm = weight * (mean + 1.0);
                    gradient.log_rate[at] -= by_logarithm * distance;
                    let by_share = &mut gradient.share[at * k..][..k];
                    by_share.iter_mut().zip(&slope).for_each(|(sum, g)| *sum += weight * g);
                    let Some(places) = places else { continue };
                    let pull = 2.0 * by_logarithm * kernels.0[at].1;
                    let pairs = places.observation(row).iter().zip(places.of(prototype));
                    let by_place = &mut gradient.place[at * places.d..][..places.d];
                    for (sum, (q, p)) in by_place.iter_mut().zip(pairs) {
                        *sum += pull * (f32::from(*q) - p);
                    }
                }
            }
            gradient
        };
        let parts: Vec<Gradient> = rows.par_chunks(rows.len().div_ceil(PARTS)).map(part).collect();
        let mean = |field: fn(&Gradient) -> &[f32]| {
            let mut sum = vec![0.0; field(&parts[0]).len()];
            for part in &parts {
                sum.iter_mut().zip(field(part)).for_each(|(sum, g)| *sum += g / rows.len() as f32);
            }
            sum
        };
        let mut gradient = Gradient {
            log_rate: mean(|part| &part.log_rate),
            share: mean(|part| &part.share),
            place: mean(|part| &part.place),
        };
        gradient.log_rate.iter_mut().zip(&self.log_rate).for_each(|(g, rate)| *g *= rate.exp());
        gradient
    }
}

/// The state of a fit by Adam (Kingma and Ba 2015) with a cosine schedule.
struct Fit {
    /// Reaches that are pulled towards.
    common: Vec<f32>,
    rates: Adam,
    shares: Adam,
    /// Observations.
    n: usize,
    steps: usize,
    /// Coprime to n: visits every observation once before any twice.
    stride: usize,
    step: usize,
}

impl Fit {
    fn new(mixture: &Mixture, n: usize, steps: usize) -> Fit {
        Fit {
            common: mixture.log_rate.clone(),
            rates: Adam::new(mixture.log_rate.len()),
            shares: Adam::new(mixture.log_share.len()),
            n,
            steps,
            stride: (1..).map(|k| n * 38 / 100 + k).find(|s| gcd(*s, n) == 1).unwrap_or(1),
            step: 0,
        }
    }

    /// Observations of the next step, and how far it goes; `None` after the last.
    fn next(&mut self) -> Option<(Vec<usize>, f32)> {
        let (n, batch) = (self.n, BATCH.min(self.n));
        let first = self.step * batch % n * self.stride % n;
        let progress = self.step as f32 / self.steps as f32;
        self.step += 1;
        let size = LEARNING_RATE * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos());
        let rows = (0..batch).map(|at| (first + at * self.stride) % n).collect();
        (self.step <= self.steps).then_some((rows, size))
    }

    fn step_rates(&mut self, mixture: &mut Mixture, gradient: &Gradient, size: f32) {
        let pull = PULL / self.n as f32;
        let parts = gradient.log_rate.iter().zip(&mixture.log_rate).zip(&self.common);
        let total: Vec<f32> = parts.map(|((g, rate), common)| g + pull * (rate - common)).collect();
        self.rates.step(&mut mixture.log_rate, &total, size);
    }

    fn step_shares(&mut self, mixture: &mut Mixture, gradient: &Gradient, size: f32) {
        let total = mixture.share_gradient(&gradient.share, self.n);
        self.shares.step(&mut mixture.log_share, &total, size);
    }
}

/// First and second moments of Adam, with its usual constants but a shorter memory of squares for a short fit.
struct Adam {
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Adam {
    fn new(size: usize) -> Adam {
        Adam { first: vec![0.0; size], second: vec![0.0; size], steps: 0 }
    }

    fn step(&mut self, values: &mut [f32], gradient: &[f32], size: f32) {
        const BETAS: [f32; 2] = [0.9, 0.99];
        self.steps += 1;
        let correction = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            *first += (1.0 - BETAS[0]) * (gradient - *first);
            *second += (1.0 - BETAS[1]) * (gradient * gradient - *second);
            let direction = *first / correction[0];
            *value -= size * direction / ((*second / correction[1]).sqrt() + 1e-12);
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
