//! The steps: batches, rates, what is kept.

use cpu_time::ThreadTime;

use super::super::optimizer::{AdamW, Update};
use super::super::random::{Purpose, Stream};
use super::matrix::add_scaled;
use super::weighting::Balance;
use super::{Batch, Pairs, RatioNetwork, Shape, Weighting, Workspace};

/// How to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Number of steps.
    pub steps: u64,
    /// Simulations in a batch; all, where there are fewer.
    pub batch: usize,
    /// Of the first step after warmup; it falls to zero as a cosine.
    pub learning_rate: f64,
    /// Decoupled, in units of the learning rate.
    pub weight_decay: f64,
    /// What the score counts.
    pub weighting: Weighting,
    /// Of initial weights and batches.
    pub seed: u64,
}

/// A training under way. It is advanced in parts, so that two of them can share a machine's good and bad moments.
#[derive(Debug)]
pub struct Training<'d> {
    settings: Settings,
    data: &'d Pairs,
    held_out: &'d Pairs,
    scale: Option<Vec<f32>>,
    network: RatioNetwork,
    decayed: Vec<(usize, usize)>,
    optimizer: AdamW,
    balance: Balance,
    workspace: Workspace,
    batch: Batch,
    order: Vec<u32>,
    epoch: u64,
    at: usize,
    step: u64,
    seconds: f64,
    best: Best,
}

#[derive(Debug)]
struct Best {
    cross_entropy: f64,
    step: u64,
    parameters: Vec<f32>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// With the weights of the best validation.
    pub network: RatioNetwork,
    /// Its cross-entropy on the held-out pairs.
    pub cross_entropy: f64,
    /// After which step.
    pub step: u64,
    /// CPU seconds of this thread in training steps, validation not counted.
    pub seconds: f64,
}

/// Validations of one training.
const VALIDATIONS: u64 = 40;
/// Pairs of a validation, at least, where the simulations that are held out have so many.
const HELD_OUT_PAIRS: u64 = 16_384;

impl<'d> Training<'d> {
    /// Before the first step.
    ///
    /// # Panics
    /// When there are no simulations in `data` or `held_out`.
    pub fn new(shape: &Shape, data: &'d Pairs, held_out: &'d Pairs, settings: Settings) -> Self {
        assert!(!data.is_empty() && !held_out.is_empty(), "nothing to train on");
        let network = RatioNetwork::new(shape.clone(), settings.seed);
        let scale = match settings.weighting {
            Weighting::Plain => None,
            _ => data.score_scale(),
        };
        Training {
            settings,
            data,
            held_out,
            scale,
            decayed: [(shape.d_x * shape.hidden[0], shape.hidden[0])]
                .into_iter()
                .chain(shape.tail().parts())
                .collect(),
            optimizer: AdamW::new(network.parameters.len()),
            balance: Balance::new(settings.weighting),
            workspace: Workspace::new(shape),
            batch: Batch::default(),
            order: (0..data.len() as u32).collect(),
            epoch: 0,
            at: data.len(),
            step: 0,
            seconds: 0.0,
            best: Best {
                cross_entropy: f64::INFINITY,
                step: 0,
                parameters: network.parameters.clone(),
            },
            network,
        }
    }

    /// Trains for so many further steps, or to the end; whether steps are left.
    pub fn advance(&mut self, steps: u64) -> bool {
        let end = (self.step + steps).min(self.settings.steps);
        let every = (self.settings.steps / VALIDATIONS).max(1);
        while self.step < end {
            let until = (self.step / every + 1) * every;
            let clock = ThreadTime::now();
            while self.step < until.min(end) {
                self.one();
            }
            self.seconds += clock.elapsed().as_secs_f64();
            if self.step.is_multiple_of(every) || self.step == self.settings.steps {
                self.validate();
            }
        }
        self.step < self.settings.steps
    }

    /// The best network so far.
    pub fn finish(self) -> Trained {
        let Best { cross_entropy, step, parameters } = self.best;
        let network = RatioNetwork { shape: self.network.shape, parameters };
        Trained { network, cross_entropy, step, seconds: self.seconds }
    }

    fn one(&mut self) {
        let size = self.settings.batch.min(self.order.len());
        if self.at + size > self.order.len() {
            let mut stream = Stream::new(self.settings.seed, Purpose::Epoch, self.epoch);
            shuffle(&mut self.order, &mut stream);
            self.epoch += 1;
            self.at = 0;
        }
        let rows = &self.order[self.at..self.at + size];
        self.at += size;
        let mut stream = Stream::new(self.settings.seed, Purpose::Batch, self.step);
        self.data.draw(rows, self.scale.as_deref(), &mut stream, &mut self.batch);
        self.workspace.losses(&self.network, &self.batch);
        let learning_rate = self.learning_rate();
        let Workspace { cross_entropy: gradient, score, .. } = &mut self.workspace;
        if self.scale.is_some() {
            let factor = self.balance.factor(gradient, score);
            add_scaled(gradient, factor as f32, score);
        }
        let update = Update {
            step: self.step,
            learning_rate,
            weight_decay: self.settings.weight_decay,
            clip_norm: f64::INFINITY,
        };
        self.optimizer.update(&mut self.network.parameters, gradient, &self.decayed, update);
        self.step += 1;
    }

    /// Linear over the first twentieth, then a cosine.
    fn learning_rate(&self) -> f64 {
        let (step, steps) = (self.step as f64 + 1.0, self.settings.steps as f64);
        let warmup = (0.05 * steps).max(1.0);
        let progress = ((step - warmup) / (steps - warmup).max(1.0)).clamp(0.0, 1.0);
        let cosine = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress));
        self.settings.learning_rate * (step / warmup).min(cosine.max(0.0))
    }

    fn validate(&mut self) {
        let mut rows: Vec<u32> = (0..self.held_out.len() as u32).collect();
        let (mut sum, mut count) = (0.0, 0);
        for order in 0..self.held_out.orders(HELD_OUT_PAIRS) {
            // The same orders for every training, so that they compare on the same pairs.
            let mut stream = Stream::new(0, Purpose::HeldOut, order);
            shuffle(&mut rows, &mut stream);
            for rows in rows.chunks(1024) {
                self.held_out.draw(rows, None, &mut stream, &mut self.batch);
                self.workspace.forward(&self.network, &self.batch.x, &self.batch.theta);
                let pairs = self.workspace.logits().iter().zip(&self.batch.target);
                sum += pairs.map(|(&f, &target)| cross_entropy(f, target)).sum::<f64>();
                count += self.batch.target.len();
            }
        }
        let cross_entropy = sum / count as f64;
        if cross_entropy < self.best.cross_entropy {
            self.best = Best {
                cross_entropy,
                step: self.step,
                parameters: self.network.parameters.clone(),
            };
        }
    }
}

/// Of the probability `1 / (1 + exp(-f))` under `target`.
pub(in super::super) fn cross_entropy(f: f32, target: f32) -> f64 {
    let f = f64::from(f);
    f.max(0.0) - f64::from(target) * f + libm::log1p(libm::exp(-f.abs()))
}

fn shuffle(rows: &mut [u32], stream: &mut Stream) {
    for last in (1..rows.len()).rev() {
        rows.swap(last, stream.below(last as u64 + 1) as usize);
    }
}
