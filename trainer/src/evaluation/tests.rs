//! Posteriors known to be calibrated pass the gate at the stated rate; wrong ones fail it.

use std::sync::Arc;

use super::*;
use crate::corpus::{Parameter, Target};
use crate::head::{Context, Mixture, ParameterScaling};
use crate::posterior_calibration::conformal_offset;
use crate::simulator::sampling::Generator;
use crate::standardization::TargetScaling;
use crate::study;
use simground_runtime::artifact::ParameterTransform;

const LEVELS: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Of a standard normal at these levels.
const QUANTILES: [f64; 5] = [-1.644_853_6, -0.674_489_8, 0.0, 0.674_489_8, 1.644_853_6];
/// Standard deviations of the posterior: of theta 0, and of theta 1 given theta 0.
const SD: [f64; 2] = [0.6, 0.3];
/// Regression of theta 1 on theta 0 in the posterior.
const SLOPE: f64 = 0.7;

/// How a model is wrong.
#[derive(Clone, Copy)]
struct Fault {
    /// Factor of every width.
    width: f64,
    /// Shift of every mean, in posterior standard deviations.
    shift: f64,
    /// Factor of the regression.
    slope: f64,
    /// Factor of the logits.
    confidence: f64,
}

const NONE: Fault = Fault { width: 1.0, shift: 0.0, slope: 1.0, confidence: 1.0 };

/// Simulations with their true posterior, distorted by a fault.
fn world(n: usize, seed: u64, fault: Fault) -> (Corpus, Vec<Answer>) {
    let parameter = |name: &str| Parameter {
        name: name.into(),
        unit: String::new(),
        lower: None,
        upper: None,
        integer: false,
    };
    let target = |name: &str| Target {
        name: name.into(),
        group: name.into(),
        lower: None,
        upper: None,
        integer: false,
    };
    let mut corpus = Corpus::empty(Arc::new(crate::corpus::Schema {
        x_names: vec!["x".into()],
        theta: vec![parameter("a"), parameter("b")],
        targets: vec![target("a"), target("b")],
        mechanisms: ["one", "two", "three"].map(str::to_owned).to_vec(),
    }));
    let mut answers = Vec::new();
    for row in 0..n {
        let mut rng = Generator::new(seed, row as u64);
        let mut normals = [0.0; 7];
        rng.normals(&mut normals);
        let [m, n, e, f, ref logits @ ..] = normals;
        let mean = [0.8 * m, 0.8 * n];
        let theta = [mean[0] + SD[0] * e, mean[1] + SLOPE * SD[0] * e + SD[1] * f];
        let softmax = |factor: f64| {
            let each = logits.map(|l| (factor * l).exp());
            each.map(|e| e / each.iter().sum::<f64>())
        };
        let p = softmax(1.0);
        let u = rng.uniform();
        let mechanism = if u < p[0] { 0 } else { usize::from(u >= p[0] + p[1]) + 1 };
        let theta = theta.map(|t| t as f32);
        corpus.x.push(0.0);
        corpus.theta.extend(theta);
        corpus.target.extend(theta);
        corpus.mechanism.push(mechanism as u16);
        corpus.index.push(row as u64);

        let marginal = [SD[0], (SLOPE * SD[0]).hypot(SD[1])];
        let stated = |at: usize| mean[at] + fault.shift * marginal[at];
        let quantile = |at: usize| {
            QUANTILES.map(|q| (stated(at) + fault.width * marginal[at] * q) as f32).to_vec()
        };
        let precision = |at: usize| -(fault.width * SD[at]).ln();
        let mixture = [0.0, stated(0), stated(1), precision(0), precision(1), fault.slope * SLOPE];
        answers.push(Answer {
            mechanism: softmax(fault.confidence).map(|p| p as f32).to_vec(),
            quantiles: vec![quantile(0), quantile(1)],
            mixture: mixture.map(|value| value as f32).to_vec(),
            ..Answer::default()
        });
    }
    (corpus, answers)
}

fn calibration(n: usize, seed: u64, fault: Fault) -> Calibration {
    let (corpus, answers) = world(n, seed, fault);
    judged(&corpus, &answers, 3, 0)
}

/// By the first so many of the heads `quantiles`, `categorical` and `mixture`.
fn judged(corpus: &Corpus, answers: &[Answer], count: usize, calibrated_on: u64) -> Calibration {
    let targets = TargetScaling::fit(corpus);
    let context = Context {
        sample: corpus,
        scored: None,
        targets: &targets,
        d_hidden: 8,
        flash_bytes: 1 << 20,
    };
    let quantiles =
        study::Head::Quantiles { targets: vec!["a".into(), "b".into()], levels: LEVELS.to_vec() };
    let heads =
        [quantiles, study::Head::Categorical].map(|head| Head::new(&head, context).unwrap());
    let scaling = |name: &str| ParameterScaling {
        name: name.into(),
        unit: String::new(),
        transform: ParameterTransform::Identity,
        integer: false,
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
        center: 0.0,
        spread: 1.0,
    };
    let mixture = Mixture { parameters: vec![scaling("a"), scaling("b")], components: 1 };
    let heads: Vec<Head> = heads.into_iter().chain([Head::Mixture(mixture)]).take(count).collect();
    let mechanisms = corpus.schema.mechanisms.clone();
    let judge = Judge::new(corpus, &heads, &mechanisms, 1).unwrap();
    judge.calibration(answers, calibrated_on, None, None)
}

/// Answers whose quantiles `m` simulations shifted to conformal coverage; then their width is made wrong. How many of `repeats` fail a gate
/// that knows of the `m`, and one that does not, on `n` more simulations.
fn failing_of_calibrated(m: usize, n: usize, repeats: u64, width: f32) -> (usize, usize) {
    let fails = |seed: u64| {
        let (corpus, mut answers) = world(m + n, 1_000 + seed, NONE);
        for (at, level) in (0..2).flat_map(|at| (0..LEVELS.len()).map(move |level| (at, level))) {
            let residual =
                |row: usize| corpus.theta[2 * row + at] - answers[row].quantiles[at][level];
            let mut residuals: Vec<f32> = (0..m).map(residual).collect();
            let offset = conformal_offset(&mut residuals, LEVELS[level] as f32);
            answers.iter_mut().for_each(|answer| answer.quantiles[at][level] += offset);
        }
        for quantiles in answers.iter_mut().flat_map(|answer| &mut answer.quantiles) {
            let median = quantiles[2];
            quantiles.iter_mut().for_each(|q| *q = median + width * (*q - median));
        }
        let fresh = corpus.select(&(m..m + n).collect::<Vec<_>>());
        [m as u64, 0].map(|on| !judged(&fresh, &answers[m..], 1, on).gate.failures.is_empty())
    };
    let found: Vec<[bool; 2]> = (0..repeats).into_par_iter().map(fails).collect();
    let count = |gate: usize| found.iter().filter(|failed| failed[gate]).count();
    (count(0), count(1))
}

#[test]
fn a_model_that_few_simulations_calibrated_passes_and_a_wrong_one_fails() {
    for (m, blamed) in [(70, 30), (280, 1)] {
        let (failing, without) = failing_of_calibrated(m, 4_000, 60, 1.0);
        assert!(failing <= 3 && without >= blamed, "{m}: {failing}, {without}");
    }
    for (m, width) in [(70, 0.5), (70, 2.5), (280, 0.65), (1_000, 0.75)] {
        let (failing, _) = failing_of_calibrated(m, 4_000, 20, width);
        assert!(failing >= 19, "{m} {width}: {failing}");
    }
}

/// How many of `repeats` models fail.
fn failing(n: usize, repeats: u64, fault: Fault) -> usize {
    let seeds: Vec<u64> = (0..repeats).collect();
    let fails = |seed: &&u64| !calibration(n, **seed, fault).gate.failures.is_empty();
    seeds.par_iter().filter(fails).count()
}

#[test]
fn a_calibrated_model_passes_at_the_stated_rate() {
    // At a rate of one in a hundred, ten of 300 would have a probability of 0.1 %.
    let failing = [200, 1_000, 5_000].map(|n| failing(n, 100, NONE));
    assert!(failing.iter().sum::<usize>() < 10, "{failing:?}");
    // Four quantile heads' steps and parameters with 14 tests each, regions and TARP with 12 and 11, 30 bins and 4 classes.
    let found = calibration(1_000, 1, NONE);
    assert_eq!(found.sbc.len(), 4);
    assert!((100..200).contains(&found.gate.tests), "{}", found.gate.tests);
}

#[test]
fn a_harmless_fault_passes_however_many_simulations() {
    // A shift of 0.05 standard deviations moves the median by two points.
    let fault = Fault { shift: 0.05, width: 1.03, ..NONE };
    let found = calibration(100_000, 1, fault);
    assert_eq!(found.gate.failures, []);
    let least = found.sbc.iter().map(|marginal| marginal.p_value).fold(1.0, f64::min);
    assert!(least < 1e-6, "the test of uniformity sees it all the same: {least}");
}

#[test]
fn a_wrong_model_fails() {
    for (fault, group) in [
        (Fault { width: 0.65, ..NONE }, "interval"),
        (Fault { width: 1.8, ..NONE }, "interval"),
        (Fault { shift: 0.4, ..NONE }, "quantile"),
        (Fault { shift: -0.4, ..NONE }, "quantile"),
        (Fault { confidence: 2.5, ..NONE }, "mechanism"),
        // Every marginal of theta but their dependence: only joint regions see it.
        (Fault { slope: -1.0, ..NONE }, "region of theta"),
    ] {
        assert_eq!(failing(1_000, 30, fault), 30, "{group}");
        let found = calibration(1_000, 1, fault).gate;
        assert!(found.failures.iter().any(|f| f.what.contains(group)), "{:?}", found.messages());
    }
}

/// What `docs/calibration.md` says of known faults.
#[test]
#[ignore = "slow: judges thousands of models"]
fn power_of_the_gate() {
    const REPEATS: u64 = 200;
    let faults = [
        ("none", NONE),
        (
            "means shifted by 0.05 sd, widths 3 % too large",
            Fault { shift: 0.05, width: 1.03, ..NONE },
        ),
        ("means shifted by 0.1 sd", Fault { shift: 0.1, ..NONE }),
        ("means shifted by 0.2 sd", Fault { shift: 0.2, ..NONE }),
        ("means shifted by 0.3 sd", Fault { shift: 0.3, ..NONE }),
        ("widths 10 % too small", Fault { width: 0.9, ..NONE }),
        ("widths 20 % too small", Fault { width: 0.8, ..NONE }),
        ("widths 30 % too small", Fault { width: 0.7, ..NONE }),
        ("widths 50 % too large", Fault { width: 1.5, ..NONE }),
        ("dependence of the parameters left out", Fault { slope: 0.0, ..NONE }),
        ("logits 1.5 times too large", Fault { confidence: 1.5, ..NONE }),
        ("logits twice too large", Fault { confidence: 2.0, ..NONE }),
    ];
    println!("| fault | 1,000 simulations | 4,000 | 16,000 |\n|---|---|---|---|");
    for (name, fault) in faults {
        let shares = [1_000, 4_000, 16_000].map(|n| {
            let failing = failing(n, REPEATS, fault);
            format!("{:.1} %", 100.0 * failing as f64 / REPEATS as f64)
        });
        println!("| {name} | {} |", shares.join(" | "));
    }
}

/// What it says of faults after a calibration.
#[test]
#[ignore = "slow: judges thousands of models"]
fn power_of_the_gate_after_a_calibration() {
    const REPEATS: u64 = 200;
    println!("| widths, after a calibration on | 70 | 280 | 1,000 |\n|---|---|---|---|");
    for width in [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 1.5, 2.0] {
        let shares = [70, 280, 1_000].map(|m| {
            let (failing, without) = failing_of_calibrated(m, 4_000, REPEATS, width);
            let share = |count: usize| 100.0 * count as f64 / REPEATS as f64;
            format!("{:.1} % ({:.1} %)", share(failing), share(without))
        });
        println!("| times {width} | {} |", shares.join(" | "));
    }
}

#[test]
fn widths_and_contraction_of_a_known_posterior() {
    let found = calibration(4_000, 1, NONE);
    for marginal in &found.sbc[2..] {
        let sd = if marginal.target == "a" { SD[0] } else { (SLOPE * SD[0]).hypot(SD[1]) };
        let prior_sd = 0.8_f64.hypot(sd);
        let near = |found: Option<f64>, expected: f64| {
            let found = found.unwrap();
            assert!((found - expected).abs() < 0.05, "{found} {expected}");
        };
        near(marginal.contraction, 1.0 - (sd / prior_sd).powi(2));
        near(marginal.z_mean, 0.0);
        near(marginal.z_sd, 1.0);
        near(marginal.width90.map(|w| w / sd), 2.0 * 1.645);
        near(marginal.prior_width90.map(|w| w / (3.29 * prior_sd)), 1.0);
    }
    // Too narrow: errors of more standard deviations than stated.
    let narrow = calibration(4_000, 1, Fault { width: 0.5, ..NONE });
    assert!(narrow.sbc[2].z_sd.unwrap() > 1.8);
}

#[test]
fn a_count_on_its_quantile_is_no_fault() {
    // Half of all truths are 0, and so is every quantile up to the median.
    let (mut corpus, mut answers) = world(2_000, 1, NONE);
    for (row, answer) in answers.iter_mut().enumerate() {
        let y = (row % 2) as f32 * (1.0 + (row / 2 % 10) as f32);
        corpus.target[2 * row] = y;
        answer.quantiles = vec![vec![0.0, 0.0, 0.0, 5.0, 9.0]];
    }
    let targets = TargetScaling::fit(&corpus);
    let context = Context {
        sample: &corpus,
        scored: None,
        targets: &targets,
        d_hidden: 8,
        flash_bytes: 1 << 20,
    };
    let head = study::Head::Quantiles { targets: vec!["a".into()], levels: LEVELS.to_vec() };
    let heads = [Head::new(&head, context).unwrap()];
    let judge = Judge::new(&corpus, &heads, &[], 1).unwrap();
    let found = judge.calibration(&answers, 0, None, None);
    assert_eq!(found.gate.failures, []);
    assert_eq!(found.sbc[0].total(), 2_000);
    assert!(found.mechanism.is_empty() && found.theta.is_empty() && found.tarp.is_empty());
}

#[test]
fn interval_score_of_hand_values() {
    let target = Judged {
        column: 0,
        name: "y".into(),
        series: "y".into(),
        levels: vec![0.25, 0.5, 0.75],
        relative: false,
    };
    // Interval score of the 50 % interval [1, 3] at y = 5: width 2 + (2 / 0.5) * 2 = 10; weighted: (0.5 * |5 - 2| + 0.25 * 10) / 1.5.
    let expected = (0.5 * 3.0 + 0.25 * 10.0) / 1.5;
    assert!((2.0 * target.pinball(5.0, &[1.0, 2.0, 3.0]) - expected).abs() < 1e-12);
    assert_eq!(target.median(&[1.0, 2.0, 3.0]), 2.0);
}

#[test]
fn change_is_relative_and_named() {
    let metrics =
        |mae: f64| Metrics::from([("mae".to_string(), BTreeMap::from([("R0".to_string(), mae)]))]);
    let (change, place) = largest_change(&metrics(1.01), &metrics(1.0), 90);
    assert!((change - 0.01).abs() < 1e-9);
    assert_eq!(place, "mae/R0");
}

#[test]
fn two_simulations_more_or_less_inside_are_no_change() {
    let metrics = |inside: u8| {
        let share = f64::from(inside) / 90.0;
        Metrics::from([("coverage90".to_string(), BTreeMap::from([("R0".to_string(), share)]))])
    };
    assert!(largest_change(&metrics(79), &metrics(81), 90).0 < 1e-12);
    assert!((largest_change(&metrics(78), &metrics(81), 90).0 - 1.0 / 81.0).abs() < 1e-9);
}
