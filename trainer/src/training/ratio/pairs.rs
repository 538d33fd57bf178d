//! Pairs of x and theta to classify.

use super::super::random::Stream;

/// Which pairs a network is trained on.
#[derive(Debug, Clone)]
pub enum Pairs {
    /// Joint against marginal pairs.
    Contrastive(Contrastive),
    /// Pairs that come with what the classifier should say.
    Labeled(Labeled),
}

/// Simulations, each of which gives one joint pair and, with the theta of another one of the batch, one marginal pair.
///
/// x and theta are on the network's scale.
#[derive(Debug, Clone)]
pub struct Contrastive {
    /// Width of x.
    pub d_x: usize,
    /// Width of theta.
    pub d_theta: usize,
    /// `[n, d_x]`.
    pub x: Vec<f32>,
    /// `[n, d_theta]`.
    pub theta: Vec<f32>,
    /// Where the exact score is known; `None` for plain classification.
    pub scored: Option<ScoredPairs>,
    /// Of which a random one is applied to x each time it is drawn; empty for none.
    pub symmetries: Vec<Symmetry>,
}

/// A rearrangement of x under which the likelihood does not change at any theta: value `k` becomes `sign` times value `source[k]`.
#[derive(Debug, Clone)]
pub struct Symmetry {
    /// `[d_x]`.
    pub source: Vec<u32>,
    /// 1 or -1.
    pub sign: f32,
}

/// The exact score at the joint pair of each simulation, and at marginal pairs with the thetas of a few others.
#[derive(Debug, Clone, Default)]
pub struct ScoredPairs {
    /// How many others.
    pub num_partners: usize,
    /// Whose theta: `[n, num_partners]`.
    pub partners: Vec<u32>,
    /// Score at `(x_i, theta_i)`: `[n, d_theta]`.
    pub joint: Vec<f32>,
    /// Score at `(x_i, theta_partner)`: `[n, num_partners, d_theta]`.
    pub marginal: Vec<f32>,
    /// What the classifier should say at these pairs; `None` for 1 at joint and 0 at marginal ones.
    pub labels: Option<Labels>,
}

/// `r / (1 + r)` at scored pairs, where `log r` is the integral of the exact score: labels without the noise of 0 and 1, with the same
/// optimum.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    /// At `(x_i, theta_i)`: `[n]`.
    pub joint: Vec<f32>,
    /// At `(x_i, theta_partner)`: `[n, num_partners]`.
    pub marginal: Vec<f32>,
}

/// Pairs whose classification is known or, as a probability, better than known: with the joint ratio `r(x, z)` of a simulation
/// whose latent path is `z`, `r / (1 + r)` has the ratio of x as its optimum and less variance than a label of 0 or 1 (ALICE;
/// Stoye et al. 2018, <https://arxiv.org/abs/1808.00973>, eq. (7)).
#[derive(Debug, Clone)]
pub struct Labeled {
    /// Width of x.
    pub d_x: usize,
    /// Width of theta.
    pub d_theta: usize,
    /// `[n, d_x]`.
    pub x: Vec<f32>,
    /// `[n, d_theta]`.
    pub theta: Vec<f32>,
    /// Probability of the numerator's class: `[n]`.
    pub target: Vec<f32>,
    /// Score, exact or of the joint path, `[n, d_theta]`; NaN where there is none.
    pub score: Option<Vec<f32>>,
}

/// What one step sees.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// `[b, d_x]`.
    pub x: Vec<f32>,
    /// `[p, d_theta]`, the pairs of one x after another.
    pub theta: Vec<f32>,
    /// Probability of the numerator's class: `[p]`.
    pub target: Vec<f32>,
    /// The first pairs may be scored, all of an x together.
    pub scored: ScoredRows,
}

/// The goal of the score at the first pairs of a batch.
#[derive(Debug, Clone, Default)]
pub struct ScoredRows {
    /// `[s, d_theta]`.
    pub directions: Vec<f32>,
    /// The exact score along each direction: `[s]`.
    pub slopes: Vec<f32>,
    /// Weight of each squared error: `[s]`.
    pub weights: Vec<f32>,
}

/// One of so many pairs of a batch is scored.
const SCORED_SHARE: usize = 32;

impl Batch {
    /// How many pairs each x has.
    pub(super) fn pairs_per_x(&self, d_x: usize, d_theta: usize) -> usize {
        (self.theta.len() / d_theta) / (self.x.len() / d_x)
    }

    fn clear(&mut self) {
        self.scored.clear();
        [&mut self.x, &mut self.theta, &mut self.target].into_iter().for_each(Vec::clear);
    }
}

impl Pairs {
    /// Number of simulations.
    pub fn len(&self) -> usize {
        match self {
            Pairs::Contrastive(pairs) => pairs.x.len() / pairs.d_x,
            Pairs::Labeled(pairs) => pairs.target.len(),
        }
    }

    /// Whether there is no simulation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In how many orders to pair simulations for so many pairs, within 4 and 64; labeled pairs are the same in any order.
    pub(super) fn orders(&self, pairs: u64) -> u64 {
        match self {
            Pairs::Contrastive(_) => (pairs / (2 * self.len() as u64)).clamp(4, 64),
            Pairs::Labeled(_) => 1,
        }
    }

    /// The root mean square of each entry of the score at the pairs that a simulation's own theta makes; `None` without scores.
    pub(super) fn score_scale(&self) -> Option<Vec<f32>> {
        let (score, d_theta) = match self {
            Pairs::Contrastive(pairs) => (&pairs.scored.as_ref()?.joint, pairs.d_theta),
            Pairs::Labeled(pairs) => (pairs.score.as_ref()?, pairs.d_theta),
        };
        let scale = |parameter: usize| {
            let column = score.iter().skip(parameter).step_by(d_theta).filter(|s| s.is_finite());
            let (count, sum) =
                column.fold((0.0, 0.0), |(n, sum), &s| (n + 1.0, sum + f64::from(s).powi(2)));
            (sum / f64::max(count, 1.0)).sqrt().max(f64::from(f32::MIN_POSITIVE)) as f32
        };
        Some((0..d_theta).map(scale).collect())
    }

    /// The batch of these simulations. `scale` is [`score_scale`](Self::score_scale), `None` to score no pair.
    pub(super) fn draw(
        &self,
        rows: &[u32],
        scale: Option<&[f32]>,
        stream: &mut Stream,
        batch: &mut Batch,
    ) {
        batch.clear();
        match self {
            Pairs::Contrastive(pairs) => pairs.draw(rows, scale, stream, batch),
            Pairs::Labeled(pairs) => pairs.draw(rows, scale, stream, batch),
        }
    }
}

impl Contrastive {
    /// The same with labels of 0 and 1.
    pub fn with_hard_labels(mut self) -> Contrastive {
        self.scored.iter_mut().for_each(|scored| scored.labels = None);
        self
    }

    fn draw(&self, rows: &[u32], scale: Option<&[f32]>, stream: &mut Stream, batch: &mut Batch) {
        let d_theta = self.d_theta;
        let of = |values: &[f32], row: usize, out: &mut Vec<f32>| {
            out.extend_from_slice(&values[row * d_theta..][..d_theta]);
        };
        // Labels are known for an x's own partners alone; without them, a row that is not scored takes the next row's theta.
        let labels = self.scored.as_ref().and_then(|scored| scored.labels.as_ref());
        let scored_rows = match (&self.scored, scale) {
            (Some(_), Some(_)) => rows.len().div_ceil(SCORED_SHARE),
            _ => 0,
        };
        for (at, &next) in rows.iter().cycle().skip(1).take(rows.len()).enumerate() {
            let row = rows[at] as usize;
            self.draw_x(row, stream, &mut batch.x);
            of(&self.theta, row, &mut batch.theta);
            let scored = self.scored.as_ref().filter(|_| at < scored_rows || labels.is_some());
            let Some(scored) = scored else {
                of(&self.theta, next as usize, &mut batch.theta);
                batch.target.extend([1.0, 0.0]);
                continue;
            };
            // Partners are independent draws of the prior like any other, so that the classifier sees no difference.
            let count = scored.num_partners;
            let partner = row * count + stream.below(count as u64) as usize;
            of(&self.theta, scored.partners[partner] as usize, &mut batch.theta);
            let targets = labels.map(|labels| [labels.joint[row], labels.marginal[partner]]);
            batch.target.extend(targets.unwrap_or([1.0, 0.0]));
            if let Some(scale) = scale.filter(|_| at < scored_rows) {
                batch.scored.push(&scored.joint[row * d_theta..][..d_theta], scale, stream);
                batch.scored.push(&scored.marginal[partner * d_theta..][..d_theta], scale, stream);
            }
        }
    }

    fn draw_x(&self, row: usize, stream: &mut Stream, out: &mut Vec<f32>) {
        let x = &self.x[row * self.d_x..][..self.d_x];
        if self.symmetries.is_empty() {
            out.extend_from_slice(x);
        } else {
            let which = stream.below(self.symmetries.len() as u64) as usize;
            let Symmetry { source, sign } = &self.symmetries[which];
            out.extend(source.iter().map(|&at| sign * x[at as usize]));
        }
    }
}

impl Labeled {
    fn draw(&self, rows: &[u32], scale: Option<&[f32]>, stream: &mut Stream, batch: &mut Batch) {
        for &row in rows {
            let row = row as usize;
            let theta = row * self.d_theta..(row + 1) * self.d_theta;
            batch.x.extend_from_slice(&self.x[row * self.d_x..][..self.d_x]);
            batch.theta.extend_from_slice(&self.theta[theta.clone()]);
            batch.target.push(self.target[row]);
            if let Some((score, scale)) = self.score.as_ref().zip(scale) {
                batch.scored.push(&score[theta], scale, stream);
            }
        }
    }
}

impl ScoredRows {
    pub(in super::super) fn clear(&mut self) {
        [&mut self.directions, &mut self.slopes, &mut self.weights]
            .into_iter()
            .for_each(Vec::clear);
    }

    /// One pair with a random direction; a pair without a score has no weight.
    pub(in super::super) fn push(&mut self, score: &[f32], scale: &[f32], stream: &mut Stream) {
        let (mut slope, mut square) = (0.0, 0.0);
        let bits = stream.below(1 << 32);
        for (at, (score, scale)) in score.iter().zip(scale).enumerate() {
            let direction = if bits >> (at % 32) & 1 == 0 { 1.0 / scale } else { -1.0 / scale };
            self.directions.push(direction);
            slope += direction * score;
            square += (score / scale).powi(2);
        }
        let known = slope.is_finite() && square.is_finite();
        self.slopes.push(if known { slope } else { 0.0 });
        let weight = 1.0 / (1.0 + square / score.len() as f32);
        self.weights.push(if known { weight } else { 0.0 });
    }
}
