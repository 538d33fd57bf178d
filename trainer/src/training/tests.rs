//! The whole of training on a problem whose posterior is known.
//!
//! `theta_0` and `theta_1` are standard normal; four inputs are `theta_0` plus noise of variance 0.5, a fifth is a unit normal around
//! the mechanism, 0 or 1. So `theta_0 | x` is normal with variance `1 / (1 + 4 / 0.5)` and mean `variance * sum(x) / 0.5`, `theta_1 | x`
//! is its prior, and the log odds of the mechanisms are `x_4 - 0.5`.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const NOISE_VAR: f64 = 0.5;
const POSTERIOR_VAR: f64 = 1.0 / (1.0 + 4.0 / NOISE_VAR);
const LEVELS: [f32; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Quantiles of the standard normal at `LEVELS`.
const NORMAL: [f64; 5] = [-1.644_854, -0.674_490, 0.0, 0.674_490, 1.644_854];

#[derive(Clone, Default)]
struct Toy {
    fingerprint: u64,
    made: Arc<AtomicU64>,
}

impl ExampleSource for Toy {
    fn examples(&mut self, indices: Range<u64>) -> Examples {
        self.made.fetch_max(indices.end, Ordering::Relaxed);
        let mut examples = Examples::default();
        for index in indices {
            let mut uniform = random::Stream::new(99, random::Purpose::Initialization, index);
            let mut normal = || {
                let (u, v) = (1.0 - uniform.unit(), uniform.unit());
                (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
            };
            let theta = [normal(), normal()];
            let mechanism = u16::from(normal() > 0.0);
            for _ in 0..4 {
                let x = theta[0] + NOISE_VAR.sqrt() * normal();
                examples.inputs.push(x as f32);
            }
            examples.inputs.push((f64::from(mechanism) + normal()) as f32);
            examples.targets.extend(theta.map(|theta| theta as f32));
            examples.mechanism.push(mechanism);
        }
        examples
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

fn held_out() -> Examples {
    Toy::default().examples(1_000_000..1_004_000)
}

fn config() -> FitConfig {
    let heads = vec![
        HeadSpec::Categorical { d_output: 2, loss_share: 1.0 },
        HeadSpec::Quantiles {
            targets: vec![0, 1],
            levels: LEVELS.to_vec(),
            target_weights: vec![1.0, 1.0],
            loss_share: 2.0,
        },
    ];
    FitConfig {
        steps: 300,
        batch: 64,
        warmup: 20,
        validation_every: 50,
        checkpoint_every: 70,
        simulations: 10_000,
        pool_start: 1_000,
        fresh_per_step: 60,
        simulation_threads: 1,
        ..FitConfig::new(5, vec![16, 16], heads)
    }
}

fn train(config: &FitConfig) -> Fitted {
    fit(config, Toy::default(), &held_out(), &mut Silent).unwrap()
}

/// Same bits of weights, same history.
fn assert_same(a: &Fitted, b: &Fitted) {
    let bits = |fitted: &Fitted| {
        let layers = fitted.network.trunk.iter().chain(&fitted.network.heads);
        layers
            .flat_map(|layer| layer.weight.iter().chain(&layer.bias))
            .map(|value| value.to_bits())
            .collect::<Vec<u32>>()
    };
    assert_eq!(bits(a), bits(b));
    assert_eq!(a.history, b.history);
    assert_eq!(
        (a.best_step, a.steps, a.stop, a.simulations_used),
        (b.best_step, b.steps, b.stop, b.simulations_used)
    );
}

/// A configuration for each seed.
fn of_seeds(seeds: impl Iterator<Item = u64>) -> Vec<FitConfig> {
    seeds.map(|seed| FitConfig { seed, ..config() }).collect()
}

#[test]
fn several_networks_are_those_that_each_seed_gives_alone() {
    let configs = of_seeds(3..6);
    let together = fit_several(&configs, &Toy::default(), &held_out(), &mut Silent).unwrap();
    assert_eq!(together.len(), 3);
    for (config, fitted) in configs.iter().zip(&together) {
        assert_same(fitted, &train(config));
    }
    assert_ne!(together[0].best_loss, together[1].best_loss);
}

#[test]
fn several_networks_stop_together_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut configs = of_seeds(3..6);
    for config in &mut configs {
        config.checkpoint = Some(folder.path().join(config.seed.to_string()));
    }
    let fit = |configs: &[FitConfig], observer: &mut dyn Observer| {
        fit_several(configs, &Toy::default(), &held_out(), observer).unwrap()
    };
    let stopped = fit(&configs, &mut StopAt(400));
    assert!(stopped.iter().any(|fitted| fitted.stop == Stop::Observer));
    configs.iter_mut().for_each(|config| config.resume = true);
    for (config, fitted) in configs.iter().zip(fit(&configs, &mut Silent)) {
        assert_same(
            &fitted,
            &train(&FitConfig { checkpoint: None, resume: false, ..config.clone() }),
        );
    }
}

/// Losses of the first steps on a GPU, or on Mesa's software Vulkan, against those of the CPU.
#[cfg(feature = "wgpu")]
#[test]
#[ignore = "compiles shaders for a minute where there is no GPU"]
fn wgpu_trains_as_the_cpu_does() {
    let on = |backend| {
        let mut configs = of_seeds(3..5);
        for config in &mut configs {
            config.backend = backend;
            config.steps = 20;
            config.validation_every = 1;
        }
        let together = fit_several(&configs, &Toy::default(), &held_out(), &mut Silent).unwrap();
        let alone = fit(&configs[0], Toy::default(), &held_out(), &mut Silent).unwrap();
        [together, vec![alone]].concat()
    };
    for (gpu, cpu) in on(Backend::Wgpu).iter().zip(on(Backend::Flex)) {
        assert!(cpu.history.last().unwrap().loss < 0.99 * cpu.history[0].loss);
        for (gpu, cpu) in gpu.history.iter().zip(&cpu.history) {
            println!("step {}: {} on the GPU, {} on the CPU", gpu.step, gpu.loss, cpu.loss);
            assert!((gpu.loss - cpu.loss).abs() < 1e-4 * cpu.loss.abs(), "step {}", gpu.step);
            assert!((gpu.train_loss - cpu.train_loss).abs() < 1e-4 * cpu.train_loss.abs());
        }
    }
}

/// A fine-tuning of what `start` holds, judged in floats.
fn tune(start: &Fitted, config: &FitConfig, observer: &mut dyn Observer) -> Fitted {
    let held_out = held_out();
    let judge = |network: &FloatNetwork| {
        let heads = network.forward_batch(&held_out.inputs, false).heads;
        let rows = heads[0].chunks_exact(2).zip(heads[1].chunks_exact(10));
        let outputs: Vec<f32> = rows.flat_map(|(a, b)| [a, b].concat()).collect();
        Some(head_losses(&config.heads, &outputs, &held_out))
    };
    let rounding = Rounding {
        start: &start.network,
        grids: vec![
            Grid { unit: 0.01, low: -8.0, high: 8.0 },
            Grid { unit: 0.05, low: 0.0, high: 12.0 },
            Grid { unit: 0.05, low: 0.0, high: 12.0 },
        ],
        judge: Box::new(judge),
    };
    fine_tune(config, rounding, Toy::default(), &held_out, observer).unwrap()
}

#[test]
fn a_fine_tuning_repeats_and_resumes() {
    let start = train(&config());
    let config = FitConfig { learning_rate: 1e-4, ..config() };
    let whole = tune(&start, &config, &mut Silent);
    assert_same(&whole, &tune(&start, &config, &mut Silent));
    // The start is judged as well; what is best cannot be worse.
    assert_eq!(whole.history[0].step, 0);
    assert!(whole.best_loss <= whole.history[0].loss);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("integers.checkpoint");
    let resume = FitConfig { checkpoint: Some(path), resume: true, ..config };
    for stop in [33, 171] {
        assert_eq!(tune(&start, &resume, &mut StopAt(stop)).stop, Stop::Observer);
    }
    assert_same(&whole, &tune(&start, &resume, &mut Silent));
    // From other weights on it is another run.
    let held_out = held_out();
    let grids = Vec::new();
    let judge = Box::new(|_: &FloatNetwork| None);
    let rounding = Rounding { start: &whole.network, grids, judge };
    let other = fine_tune(&resume, rounding, Toy::default(), &held_out, &mut Silent);
    assert!(other.unwrap_err().to_string().contains("another run"));
}

/// Stops a training after a number of steps.
struct StopAt(u64);

impl Observer for StopAt {
    fn step(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.step == self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn quantiles_and_odds_approach_the_closed_form() {
    let config = FitConfig {
        steps: 6_000,
        batch: 256,
        simulations: 100_000,
        validation_every: 500,
        ..config()
    };
    let fitted = train(&config);
    let test = Toy::default().examples(2_000_000..2_002_000);
    let heads = fitted.network.forward_batch(&test.inputs, false).heads;
    let posterior_sd = POSTERIOR_VAR.sqrt();
    // Mean absolute errors, in standard deviations of the posterior (theta_0) or the prior (theta_1), and of the log odds.
    let (mut of_theta_0, mut of_theta_1, mut of_odds) = (0.0, 0.0, 0.0);
    for (row, x) in test.inputs.chunks_exact(5).enumerate() {
        let sum: f64 = x[..4].iter().map(|&x| f64::from(x)).sum();
        let mean = POSTERIOR_VAR * sum / NOISE_VAR;
        for (level, normal) in NORMAL.iter().enumerate() {
            let found = |target: usize| f64::from(heads[1][row * 10 + target * 5 + level]);
            of_theta_0 += (found(0) - mean - posterior_sd * normal).abs() / posterior_sd / 5.0;
            of_theta_1 += (found(1) - normal).abs() / 5.0;
        }
        let odds = f64::from(heads[0][row * 2 + 1] - heads[0][row * 2]);
        of_odds += (odds - (f64::from(x[4]) - 0.5)).abs();
    }
    let n = test.len() as f64;
    let errors = [of_theta_0 / n, of_theta_1 / n, of_odds / n];
    eprintln!("mean absolute errors {errors:?}");
    assert!(errors[0] < 0.08, "quantiles of theta_0: {errors:?}");
    assert!(errors[1] < 0.06, "quantiles of theta_1: {errors:?}");
    assert!(errors[2] < 0.10, "log odds: {errors:?}");
    // The pinball loss of a normal is proportional to its sd: theta_0 at 1/3 of the prior's, theta_1 at the prior's.
    let prior_loss: f64 = LEVELS
        .iter()
        .zip(NORMAL)
        .map(|(_, z)| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt() / 5.0)
        .sum();
    let optimum = prior_loss * (1.0 + posterior_sd) / 2.0;
    let best = &fitted.history[(fitted.best_step / config.validation_every) as usize - 1];
    let found = best.head_losses[1];
    assert!(found < 1.03 * optimum && found > 0.95 * optimum, "{found} {optimum}");
    assert!(best.head_losses[0] < 0.95 * 2.0_f64.ln());
}

#[test]
fn joint_density_and_means_approach_the_closed_form() {
    let heads = vec![
        HeadSpec::Point { targets: vec![1, 0], loss_share: 1.0 },
        HeadSpec::Mixture {
            targets: vec![0, 1],
            ends: vec![(f32::NEG_INFINITY, f32::INFINITY); 2],
            components: 3,
            loss_share: 1.0,
        },
    ];
    let config = FitConfig { heads, steps: 4_000, batch: 256, simulations: 50_000, ..config() };
    let fitted = train(&config);
    let test = Toy::default().examples(2_000_000..2_004_000);
    let outputs = fitted.network.forward_batch(&test.inputs, false).heads;
    // The log density of theta by the network falls short of the true one by the divergence between the two.
    let (mut shortfall, mut error) = (0.0, 0.0);
    for (row, x) in test.inputs.chunks_exact(5).enumerate() {
        let mean = POSTERIOR_VAR * x[..4].iter().map(|&x| f64::from(x)).sum::<f64>() / NOISE_VAR;
        let theta = &test.targets[row * 2..row * 2 + 2];
        let normal =
            |x: f64, var: f64| -0.5 * (std::f64::consts::TAU * var).ln() - 0.5 * x * x / var;
        let [a, b] = [0, 1].map(|i| f64::from(theta[i]));
        let truth = normal(a - mean, POSTERIOR_VAR) + normal(b, 1.0);
        let d_output = config.heads[1].d_output();
        let own = &outputs[1][row * d_output..][..d_output];
        let gaussians = simground_runtime::Gaussians::new(own, 2, 3);
        shortfall += truth
            - f64::from(gaussians.log_density(
                &gaussians.weights(),
                &[simground_runtime::Ends::NONE; 2],
                theta,
            ));
        // Outputs stand in the order of the head's targets: theta_1, theta_0.
        error += (f64::from(outputs[0][row * 2 + 1]) - mean).abs();
    }
    let n = test.len() as f64;
    eprintln!("divergence {}, error of the mean {}", shortfall / n, error / n);
    assert!(shortfall / n < 0.05, "{}", shortfall / n);
    assert!(error / n < 0.06 && error / n > 0.0, "{}", error / n);
}

#[test]
fn two_runs_are_equal_whatever_the_simulation_threads() {
    let once = train(&config());
    assert_same(&once, &train(&config()));
    let threads = FitConfig { simulation_threads: 3, ..config() };
    assert_same(&once, &train(&threads));
    let other_seed = FitConfig { seed: 1, ..config() };
    assert_ne!(once.network, train(&other_seed).network);
}

#[test]
fn resuming_equals_never_stopping() {
    let whole = train(&config());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("training.checkpoint");
    let resume = FitConfig { checkpoint: Some(path.clone()), resume: true, ..config() };
    // Before the first validation, on one, and between two; the first finds no file yet.
    for stop in [33, 150, 171] {
        let stopped = fit(&resume, Toy::default(), &held_out(), &mut StopAt(stop)).unwrap();
        assert_eq!((stopped.steps, stopped.stop), (stop, Stop::Observer));
    }
    assert_same(&whole, &train(&resume));
    // Resuming what is complete answers at once, from the checkpoint alone.
    let made = Toy::default();
    let again = fit(&resume, made.clone(), &held_out(), &mut Silent).unwrap();
    assert_same(&whole, &again);
    assert_eq!(made.made.load(Ordering::Relaxed), 0);
    assert!(!directory.path().join("training.checkpoint.partial").exists());
}

/// A kill leaves the last periodic checkpoint, and perhaps a partial file; a panicking source ends a run as abruptly.
#[test]
fn resuming_after_an_abrupt_end_equals_never_stopping() {
    struct Dies(Toy);
    impl ExampleSource for Dies {
        fn examples(&mut self, indices: Range<u64>) -> Examples {
            assert!(indices.end <= 8_192, "killed");
            self.0.examples(indices)
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("training.checkpoint");
    let resume = FitConfig { checkpoint: Some(path.clone()), resume: true, ..config() };
    let dies = || fit(&resume, Dies(Toy::default()), &held_out(), &mut Silent);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(dies)).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"killed"));
    std::fs::write(directory.path().join("training.checkpoint.partial"), b"SGTR").unwrap();
    assert_same(&train(&config()), &train(&resume));
}

#[test]
fn bad_checkpoints_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("training.checkpoint");
    let config = FitConfig { steps: 20, checkpoint: Some(path.clone()), resume: true, ..config() };
    train(&config);
    let good = std::fs::read(&path).unwrap();
    let message = |config: &FitConfig, source: Toy| {
        let error = fit(config, source, &held_out(), &mut Silent).unwrap_err();
        assert!(matches!(error, TrainingError::Checkpoint { .. }));
        assert!(error.to_string().contains("training.checkpoint"));
        error.to_string()
    };
    let other_study = Toy { fingerprint: 7, ..Toy::default() };
    assert!(message(&config, other_study).contains("another run"));
    let other_rate = FitConfig { learning_rate: 1e-4, ..config.clone() };
    assert!(message(&other_rate, Toy::default()).contains("another run"));
    for at in [16, 24, good.len() / 2, good.len() - 1] {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert!(message(&config, Toy::default()).contains("damaged"), "{at}");
    }
    for len in [0, 7, 23] {
        std::fs::write(&path, &good[..len]).unwrap();
        assert!(message(&config, Toy::default()).contains("not a checkpoint"));
    }
    std::fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert!(message(&config, Toy::default()).contains("damaged"));
    let mut newer = good.clone();
    newer[7] += 1;
    std::fs::write(&path, newer).unwrap();
    assert!(message(&config, Toy::default()).contains("another version"));
    // Without resuming, the old file is no obstacle.
    std::fs::write(&path, b"rubbish").unwrap();
    train(&FitConfig { resume: false, ..config });
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn patience_ends_a_training_that_only_memorizes() {
    let config = FitConfig {
        steps: 100_000,
        simulations: 64,
        pool_start: 64,
        learning_rate: 1e-2,
        validation_every: 20,
        patience: 3,
        ..config()
    };
    let fitted = train(&config);
    assert_eq!(fitted.stop, Stop::Patience);
    assert!(fitted.steps < 2_000);
    assert_eq!(fitted.best_step + 3 * 20, fitted.steps);
    let losses = fitted.history.iter().map(|validation| validation.loss);
    assert_eq!(fitted.best_loss, losses.fold(f64::INFINITY, f64::min));
    // The returned weights are those of the best validation.
    let loss = loss::Loss::new(&config.heads, 2);
    let outputs = fitted.network.forward_batch(&held_out().inputs, false).heads;
    let joined: Vec<f32> = (0..held_out().len())
        .flat_map(|row| {
            [&outputs[0][row * 2..row * 2 + 2], &outputs[1][row * 10..row * 10 + 10]].concat()
        })
        .collect();
    let mut sums = loss::LossSums::default();
    loss.add(&joined, &held_out(), 0..held_out().len(), &mut sums);
    assert!((loss.total(&sums) - fitted.best_loss).abs() < 1e-5);
}

#[test]
fn simulations_are_made_no_further_than_training_needs() {
    let source = Toy::default();
    let config = FitConfig { simulations: 1_000_000, fresh_per_step: 1, steps: 50, ..config() };
    let fitted = fit(&config, source.clone(), &held_out(), &mut Silent).unwrap();
    assert_eq!(fitted.simulations_used, 1_049);
    // One chunk in use, four in the channel, one in the producer's hands.
    assert!(source.made.load(Ordering::Relaxed) <= 6 * 4_096);
}

/// 20,000 simulations, of which 8,192 are in memory at a time.
fn sliding() -> FitConfig {
    FitConfig { simulations: 20_000, window: 8_192, fresh_per_step: 150, ..config() }
}

#[test]
fn a_training_larger_than_its_window_repeats_and_resumes() {
    let config = sliding();
    assert_eq!(config.pool_at(10), 0..2_500);
    assert_eq!(config.pool_at(299), 45_850 - 8_192..45_850);
    let whole = train(&config);
    assert_eq!(whole.simulations_used, 16_384, "whole chunks");
    assert_same(&whole, &train(&FitConfig { simulation_threads: 3, ..config.clone() }));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("training.checkpoint");
    let resume = FitConfig { checkpoint: Some(path), resume: true, ..config };
    for stop in [33, 120] {
        fit(&resume, Toy::default(), &held_out(), &mut StopAt(stop)).unwrap();
    }
    // What has slid away is not made again.
    struct Late(Toy);
    impl ExampleSource for Late {
        fn examples(&mut self, indices: Range<u64>) -> Examples {
            assert!(
                self.0.made.load(Ordering::Relaxed) > 0 || indices.start == 8_192,
                "{indices:?}"
            );
            self.0.examples(indices)
        }
    }
    let late = fit(&resume, Late(Toy::default()), &held_out(), &mut Silent).unwrap();
    assert_same(&whole, &late);
    // A window that holds all changes nothing.
    let all = FitConfig { window: 10_000, ..super::tests::config() };
    assert_same(&train(&all), &train(&super::tests::config()));
    let narrow = FitConfig { window: 4_000, ..sliding() };
    let error = fit(&narrow, Toy::default(), &held_out(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("`window` is 4000"), "{error}");
}

#[test]
fn the_schedule_rises_and_falls() {
    let config = config();
    let rates: Vec<f64> = (0..config.steps).map(|step| config.learning_rate_at(step)).collect();
    assert_eq!(rates[20], config.learning_rate);
    assert!(rates[..21].windows(2).all(|pair| pair[0] < pair[1]));
    assert!(rates[20..].windows(2).all(|pair| pair[0] > pair[1]));
    assert!(rates[299] > 0.0 && rates[299] < 1e-3 * config.learning_rate);
    assert_eq!(config.pool_at(0), 0..1_000);
    assert_eq!(config.pool_at(100), 0..7_000);
    assert_eq!(config.pool_at(u64::MAX), 0..10_000);
}

#[test]
fn unusable_examples_and_settings_are_named() {
    struct Spoiled(fn(&mut Examples));
    impl ExampleSource for Spoiled {
        fn examples(&mut self, indices: Range<u64>) -> Examples {
            let mut examples = Toy::default().examples(indices);
            self.0(&mut examples);
            examples
        }
    }
    let message = |spoil: fn(&mut Examples)| {
        let error = fit(&config(), Spoiled(spoil), &held_out(), &mut Silent).unwrap_err();
        error.to_string()
    };
    assert!(message(|e| e.inputs[13] = f32::NAN).contains("example 2: input 3 is NaN"));
    assert!(message(|e| e.targets[3] = f32::INFINITY).contains("example 1: target 1 is inf"));
    assert!(message(|e| e.mechanism[5] = 2).contains("example 5: mechanism 2"));
    assert!(message(|e| e.targets.truncate(1)).contains("1 targets"));
    // Finite, but its gradient is not.
    assert!(message(|e| e.inputs.fill(3e38)).contains("at step 0"));

    let settings = |change: fn(&mut FitConfig)| {
        let mut config = config();
        change(&mut config);
        let error = fit(&config, Toy::default(), &held_out(), &mut Silent).unwrap_err();
        error.to_string()
    };
    assert!(settings(|c| c.learning_rate = -1.0).contains("`learning_rate` is -1"));
    assert!(settings(|c| c.batch = 0).contains("`batch` is 0"));
    assert!(settings(|c| c.resume = true).contains("`checkpoint`"));
    assert!(settings(|c| c.heads.clear()).contains("no head"));
    let crossing = |c: &mut FitConfig| {
        let HeadSpec::Quantiles { levels, .. } = &mut c.heads[1] else { unreachable!() };
        levels.swap(0, 1);
    };
    assert!(settings(crossing).contains("head 1: levels"));
    let unwritable = FitConfig {
        checkpoint: Some(Path::new("/nonexistent/training.checkpoint").into()),
        ..config()
    };
    let error = fit(&unwritable, Toy::default(), &held_out(), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("/nonexistent"));
}
