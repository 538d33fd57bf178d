//! The generalized Galton board of Brehmer et al. 2020, "Mining gold from implicit models to improve likelihood-free inference",
//! <https://arxiv.org/abs/1805.12244>, section V A: what the joint ratio and the joint score of the latent path are worth.
//!
//! Half of the simulations fall at a `theta` of the training grid, half at the reference. A network of ten tanh units estimates
//! `log r(x | theta, reference)`; it is judged at `theta = -0.8`.

mod board;

use super::{Experiment, ExperimentError, Findings, Row, Settings, Spread};
use crate::named::Named;
use crate::pipeline::Talk;
use crate::simulator::Generator;
use crate::training::ratio::{
    Activation, Labeled, Pairs, Settings as Fit, Shape, Training, Weighting,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "galton",
    about: "likelihood ratio of a Galton board: classifier, joint score, joint ratio (ALICE), both (ALICES)",
    takes: "1 minute",
    seeds: &[1, 2, 3, 4, 5],
    run,
};

const REFERENCE: f64 = -0.6;
const JUDGED: f64 = -0.8;

/// -1 to -0.4.
const NUM_THETAS: u64 = 13;

fn grid(at: u64) -> f64 {
    -1.0 + 0.6 * at as f64 / (NUM_THETAS - 1) as f64
}

/// What a training knows of the latent paths.
struct Method {
    name: &'static str,
    joint_ratio: bool,
    weighting: Weighting,
}

const METHODS: [Method; 4] = [
    Method { name: "plain classifier", joint_ratio: false, weighting: Weighting::Plain },
    Method { name: "classifier + joint score", joint_ratio: false, weighting: Weighting::Balanced },
    Method { name: "ALICE", joint_ratio: true, weighting: Weighting::Plain },
    Method { name: "ALICES", joint_ratio: true, weighting: Weighting::Balanced },
];

fn run(settings: &Settings, talk: &mut dyn Talk) -> Result<Findings, ExperimentError> {
    let (sizes, steps): (&[u64], u64) =
        if settings.quick { (&[200, 1_000], 300) } else { (&[200, 1_000, 10_000], 4_000) };
    let mut rows = Vec::new();
    let mut summary = Named(Vec::new());
    let mut means: Vec<(&str, u64, f64)> = Vec::new();
    let sizes = || sizes.iter().copied().filter(|count| *count <= settings.at_most);
    for count in sizes() {
        talk.stage(&format!("{count} simulations"));
        rows.push(
            Row::new("method", "constant ratio")
                .text("simulations", count.to_string())
                .spread("log_r_mse", &Spread::of(&[log_r_mse(|_| 0.0)])),
        );
        for method in &METHODS {
            let errors: Vec<f64> =
                settings.seeds.iter().map(|&seed| trained(method, seed, count, steps)).collect();
            let spread = Spread::of(&errors);
            means.push((method.name, count, spread.mean));
            rows.push(
                Row::new("method", method.name)
                    .text("simulations", count.to_string())
                    .spread("log_r_mse", &spread),
            );
        }
    }
    let mean = |name: &str, count: u64| {
        means.iter().find(|(n, c, _)| *n == name && *c == count).map(|(_, _, mean)| *mean)
    };
    for count in sizes() {
        for (key, name) in [("plain", METHODS[0].name), ("alices", METHODS[3].name)] {
            summary.0.push((format!("{key}_{count}"), mean(name, count).into()));
        }
    }
    Ok(Findings { rows, summary, figures: Vec::new() })
}

/// Mean squared error of `log r(x | -0.8, -0.6)` over `x` of the reference.
fn log_r_mse(log_ratio: impl Fn(usize) -> f64) -> f64 {
    let (p, reference) = (board::probabilities(JUDGED), board::probabilities(REFERENCE));
    let error = |x: usize| {
        let exact = libm::log(p[x] / reference[x]);
        reference[x] * (log_ratio(x) - exact).powi(2)
    };
    (0..p.len()).filter(|&x| reference[x] > 0.0).map(error).sum()
}

/// Position and theta on the network's scale.
fn scaled(x: usize, theta: f64) -> (f32, f32) {
    ((x as f32 - board::START as f32) / 3.0, ((theta + 0.7) / 0.2) as f32)
}

/// `count` simulations, of which every second one falls at the reference.
fn simulate(seed: u64, indices: std::ops::Range<u64>, joint_ratio: bool) -> Pairs {
    let mut pairs = Labeled {
        d_x: 1,
        d_theta: 1,
        x: Vec::new(),
        theta: Vec::new(),
        target: Vec::new(),
        score: Some(Vec::new()),
    };
    for index in indices {
        let mut generator = Generator::new(seed, index);
        let theta = grid(generator.integer(0, NUM_THETAS - 1));
        let numerator = index.is_multiple_of(2);
        let falls_at = if numerator { theta } else { REFERENCE };
        let fall = board::fall(falls_at, theta, REFERENCE, &mut generator);
        let (x, scaled_theta) = scaled(fall.x, theta);
        pairs.x.push(x);
        pairs.theta.push(scaled_theta);
        let certain = if numerator { 1.0 } else { 0.0 };
        let probability = 1.0 / (1.0 + libm::exp(-fall.log_ratio));
        pairs.target.push(if joint_ratio { probability as f32 } else { certain });
        // Only under the numerator is the mean of the joint score, given x, the score of x.
        let score = if numerator { 0.2 * fall.score } else { f64::NAN };
        pairs.score.as_mut().expect("scores").push(score as f32);
    }
    Pairs::Labeled(pairs)
}

/// Error of one training, a fifth of whose simulations are held out.
fn trained(method: &Method, seed: u64, count: u64, steps: u64) -> f64 {
    let middle = count - count / 5;
    let data = simulate(seed, 0..middle, method.joint_ratio);
    let held_out = simulate(seed, middle..count, method.joint_ratio);
    let shape = Shape { d_x: 1, d_theta: 1, hidden: vec![10], activation: Activation::Tanh };
    let settings = Fit {
        steps,
        batch: 128,
        learning_rate: 1e-2,
        weight_decay: 1e-3,
        weighting: method.weighting,
        seed,
    };
    let mut training = Training::new(&shape, &data, &held_out, settings);
    while training.advance(steps) {}
    let network = training.finish().network;
    log_r_mse(|x| {
        let (x, theta) = scaled(x, JUDGED);
        f64::from(network.log_ratio(&[x], &[theta])[0])
    })
}
