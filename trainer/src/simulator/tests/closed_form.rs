//! Every mechanism that comes to its x by itself, against what is known of it in closed form.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::Arc;

use nalgebra::DMatrix;

use super::*;

fn mechanism(kind: MechanismKind, settings: &[f64]) -> Arc<dyn Mechanism> {
    match kind.structure() {
        Structure::Complete { make, .. } => make(settings),
        Structure::Compartments(_) => panic!("{kind:?} needs an observation model"),
    }
}

fn draws(mechanism: &dyn Mechanism, theta: &[f64], count: u64) -> Vec<Vec<f32>> {
    (0..count)
        .map(|index| {
            let mut draw = Draw::default();
            mechanism.simulate(theta, &mut Generator::new(17, index), &mut draw);
            assert_eq!(draw.x.len(), mechanism.x_names().len());
            draw.x
        })
        .collect()
}

fn log_likelihood(mechanism: &dyn Mechanism, theta: &[f64], x: &[f32]) -> f64 {
    mechanism.likelihood().expect("an exact likelihood").at(theta).log_likelihood(x)
}

fn score(mechanism: &dyn Mechanism, theta: &[f64], x: &[f32]) -> Vec<f64> {
    let mut score = vec![0.0; theta.len()];
    mechanism.likelihood().expect("an exact likelihood").at(theta).score(x, &mut score);
    score
}

/// Simulations at one theta, judged at that theta and at another, as the pairs of a ratio estimator are.
#[track_caller]
fn check_score(kind: MechanismKind, settings: &[f64], thetas: [&[f64]; 2]) {
    let mechanism = mechanism(kind, settings);
    for x in draws(&*mechanism, thetas[0], 6) {
        for theta in thetas {
            let exact = score(&*mechanism, theta, &x);
            for at in 0..theta.len() {
                let moved = |by: f64| {
                    let mut theta = theta.to_vec();
                    theta[at] += by;
                    log_likelihood(&*mechanism, &theta, &x)
                };
                // Five points: the error is of order h^4 beside rounding of order 1e-16 / h.
                let h = 1e-3 * theta[at].abs().max(0.1);
                let slope = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h)))
                    / (12.0 * h);
                let error = (exact[at] - slope).abs() / slope.abs().max(1.0);
                assert!(error < 1e-6, "{kind:?} {theta:?} entry {at}: {} for {slope}", exact[at]);
            }
        }
    }
}

#[test]
fn scores_equal_finite_differences() {
    let linear: Vec<f64> = (0..10).map(|at| 0.1 * f64::from(at) - 0.3).collect();
    check_score(MechanismKind::GaussianLinear, &[], [&linear, &[0.0; 10]]);
    check_score(MechanismKind::Sis, &[45.0, 5.0, 20.0, 0.5], [&[1.2, 0.4], &[0.5, 0.9]]);
    // One count after so long that the interval is cut into parts.
    check_score(MechanismKind::Sis, &[30.0, 10.0, 2.0, 30.0], [&[2.0, 1.0], &[1.5, 1.1]]);
    check_score(MechanismKind::GaussianField, &[6.0, 1.0], [&[2.0, 0.3], &[4.5, 0.1]]);
    check_score(MechanismKind::GaussianField, &[3.0, 4.0], [&[0.7, 1.3], &[9.0, 0.4]]);
    check_score(MechanismKind::StudentTField, &[5.0, 1.0], [&[2.0, 3.0], &[5.0, 0.8]]);
    check_score(MechanismKind::StudentTField, &[3.0, 6.0], [&[1.5, 8.0], &[0.6, 40.0]]);
}

/// The mean of the score is zero under its own theta, and its variance the Fisher information: here minus the mean slope of
/// the score.
#[test]
fn scores_have_mean_zero_and_the_variance_of_fishers_information() {
    let table: &[(MechanismKind, &[f64], [f64; 2])] = &[
        (MechanismKind::Sis, &[20.0, 4.0, 6.0, 0.5], [1.1, 0.5]),
        (MechanismKind::GaussianField, &[4.0, 1.0], [1.8, 0.4]),
        (MechanismKind::StudentTField, &[3.0, 3.0], [1.8, 4.0]),
    ];
    for (kind, settings, theta) in table {
        let mechanism = mechanism(*kind, settings);
        let count = 20_000;
        let xs = draws(&*mechanism, theta, count);
        let likelihood = mechanism.likelihood().expect("an exact likelihood");
        let here = likelihood.at(theta);
        for at in 0..2 {
            let h = 1e-3 * theta[at];
            let shifted = |by: f64| {
                let mut theta = *theta;
                theta[at] += by;
                likelihood.at(&theta)
            };
            let (above, below) = (shifted(h), shifted(-h));
            let of = |likelihood: &dyn LikelihoodAt, x: &[f32]| {
                let mut score = [0.0; 2];
                likelihood.score(x, &mut score);
                score[at]
            };
            let n = count as f64;
            let mean = xs.iter().map(|x| of(&*here, x)).sum::<f64>() / n;
            let variance = xs.iter().map(|x| of(&*here, x).powi(2)).sum::<f64>() / n;
            let slopes = xs.iter().map(|x| (of(&*above, x) - of(&*below, x)) / (2.0 * h));
            let information = -slopes.sum::<f64>() / n;
            assert!(mean.abs() < 4.0 * (variance / n).sqrt(), "{kind:?} {at}: mean {mean}");
            assert!(
                (variance / information - 1.0).abs() < 0.08,
                "{kind:?} {at}: variance {variance}, information {information}"
            );
        }
    }
}

#[test]
fn gaussian_linear_has_its_posterior() {
    let study = study("gaussian-linear");
    let corpus = simulate(&study, 1, 0..20_000);
    let n = corpus.x.len() as f64;
    let pairs = || corpus.theta.iter().zip(&corpus.x).map(|(t, x)| (f64::from(*t), f64::from(*x)));
    // Under N(0, 0.1) the posterior is N(x / 2, 0.05): the regression of theta on x has that slope and that variance.
    let slope = pairs().map(|(t, x)| t * x).sum::<f64>() / pairs().map(|(_, x)| x * x).sum::<f64>();
    let variance = pairs().map(|(t, x)| (t - 0.5 * x).powi(2)).sum::<f64>() / n;
    assert!((slope - 0.5).abs() < 0.01, "{slope}");
    assert!((variance / 0.05 - 1.0).abs() < 0.02, "{variance}");
    let (lower, upper) = (corpus.schema.theta[0].lower, corpus.schema.theta[0].upper);
    assert_eq!((lower, upper), (None, None));

    let theta = [0.2; 10];
    let x = [0.3_f32; 10];
    let sd = 0.1_f64.sqrt();
    let plain = -10.0 * ((sd * (2.0 * PI).sqrt()).ln() + 0.5 * ((0.3 - 0.2) / sd).powi(2));
    let mechanism = mechanism(MechanismKind::GaussianLinear, &[]);
    assert!((log_likelihood(&*mechanism, &theta, &x) - plain).abs() < 1e-6);
}

#[test]
fn two_moons_draws_a_crescent_around_its_center() {
    let mechanism = mechanism(MechanismKind::TwoMoons, &[]);
    assert!(mechanism.likelihood().is_none());
    for theta in [[0.3, 0.5], [-0.5, -0.3]] {
        let xs = draws(&*mechanism, &theta, 20_000);
        // Both thetas have the same crescent: the other moon is the reflection.
        let center = [0.25 - FRAC_1_SQRT_2 * 0.8, FRAC_1_SQRT_2 * 0.2];
        let polar: Vec<(f64, f64)> = xs
            .iter()
            .map(|x| (f64::from(x[0]) - center[0], f64::from(x[1]) - center[1]))
            .map(|(right, up)| (right.hypot(up), up.atan2(right)))
            .collect();
        let n = polar.len() as f64;
        let mean = polar.iter().map(|p| p.0).sum::<f64>() / n;
        let sd = (polar.iter().map(|p| (p.0 - 0.1).powi(2)).sum::<f64>() / n).sqrt();
        assert!((mean - 0.1).abs() < 3e-4, "{mean}");
        assert!((sd - 0.01).abs() < 2e-4, "{sd}");
        // The angle is uniform on the right half: Kolmogorov and Smirnov at 1e-6.
        let mut angles: Vec<f64> = polar.iter().map(|p| p.1 / PI + 0.5).collect();
        angles.sort_by(f64::total_cmp);
        let gap = angles.iter().enumerate().map(|(at, u)| (u - at as f64 / n).abs());
        assert!(gap.fold(0.0, f64::max) < 2.7 / n.sqrt());
    }
}

#[test]
fn sis_without_infection_is_a_binomial_of_survivors() {
    let mechanism = mechanism(MechanismKind::Sis, &[3.0, 12.0, 2.0, 1.5]);
    let theta = [0.0, 0.8];
    let survives = (-0.8_f64 * 1.5).exp();
    let binomial = |n: u64, k: u64| {
        let choose = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>();
        choose * survives.powi(k as i32) * (1.0 - survives).powi((n - k) as i32)
    };
    for (first, second) in [(12, 12), (12, 0), (4, 1), (1, 1), (0, 0)] {
        let exact = (binomial(12, first) * binomial(first, second)).ln();
        let found = log_likelihood(&*mechanism, &theta, &[first as f32, second as f32]);
        assert!((found - exact).abs() < 1e-9, "{first} {second}: {found} for {exact}");
    }
    for impossible in [[13.0, 1.0], [3.0, 4.0], [2.5, 1.0], [-1.0, 0.0], [f32::NAN, 1.0]] {
        assert_eq!(log_likelihood(&*mechanism, &theta, &impossible), f64::NEG_INFINITY);
        assert!(score(&*mechanism, &theta, &impossible)[0].is_nan());
    }
}

#[test]
fn sis_steps_by_the_matrix_exponential() {
    for (interval, theta) in [(0.5, [1.2, 0.4]), (2.0, [0.7, 0.9]), (40.0, [2.0, 0.5])] {
        let n = 24;
        let mut generator = DMatrix::zeros(n + 1, n + 1);
        for i in 0..=n {
            let up = theta[0] * (i * (n - i)) as f64 / n as f64;
            let down = theta[1] * i as f64;
            generator[(i, i)] = -(up + down);
            if i < n {
                generator[(i, i + 1)] = up;
            }
            if i > 0 {
                generator[(i, i - 1)] = down;
            }
        }
        let exact = (generator * interval).exp();
        for from in [1, 6, 24] {
            let start = (n - from).max(1) as f64;
            let settings = [start, n as f64 - start, 2.0, interval];
            let mechanism = mechanism(MechanismKind::Sis, &settings);
            let mut total = 0.0;
            for to in 0..=n {
                // From the start to `from`, then the step that is looked at.
                let first = log_likelihood(&*mechanism, &theta, &[from as f32, from as f32])
                    - libm::log(exact[(from, from)]);
                let both = log_likelihood(&*mechanism, &theta, &[from as f32, to as f32]);
                let p = libm::exp(both - first);
                assert!((p - exact[(from, to)]).abs() < 1e-11, "{interval} {from} {to}: {p}");
                total += p;
            }
            assert!((total - 1.0).abs() < 1e-10, "{total}");
        }
    }
}

#[test]
fn sis_simulates_what_its_likelihood_says() {
    let mechanism = mechanism(MechanismKind::Sis, &[8.0, 4.0, 1.0, 1.3]);
    let theta = [1.1, 0.6];
    let mut counts = [0.0; 13];
    let draws = draws(&*mechanism, &theta, 100_000);
    draws.iter().for_each(|x| counts[x[0] as usize] += 1.0);
    let mut chi = 0.0;
    for (infected, count) in counts.iter().enumerate() {
        let p = libm::exp(log_likelihood(&*mechanism, &theta, &[infected as f32]));
        let expected = 100_000.0 * p;
        assert!(expected > 5.0);
        chi += (count - expected) * (count - expected) / expected;
    }
    // Twelve degrees of freedom: 45.1 has a p-value of 1e-5.
    assert!(chi < 45.1, "{chi}");
}

/// The covariance of `N(0, K)` and of a multivariate t with more than two degrees of freedom.
#[test]
fn fields_have_the_covariance_of_their_distance() {
    for (kind, theta, factor, nugget) in [
        (MechanismKind::GaussianField, [2.5, 0.4], 1.0, 0.4),
        (MechanismKind::StudentTField, [2.5, 8.0], 8.0 / 6.0, 0.0),
    ] {
        let mechanism = mechanism(kind, &[3.0, 2.0]);
        let xs = draws(&*mechanism, &theta, 40_000);
        let covariance = |a: usize, b: usize| {
            xs.iter().map(|x| f64::from(x[a]) * f64::from(x[b])).sum::<f64>() / xs.len() as f64
        };
        // Itself, its neighbor, the opposite corner, and the same place of the other replicate.
        for (other, expected) in [
            (0, factor * (1.0 + nugget)),
            (1, factor * (-1.0_f64 / 2.5).exp()),
            (8, factor * (-8.0_f64.sqrt() / 2.5).exp()),
            (9, 0.0),
        ] {
            let found = covariance(0, other);
            assert!((found - expected).abs() < 0.04, "{kind:?} {other}: {found} for {expected}");
        }
    }
}

#[test]
fn a_field_of_one_point_is_a_plain_distribution() {
    let gaussian = mechanism(MechanismKind::GaussianField, &[1.0, 2.0]);
    let x = [0.7_f32, -1.9];
    let variance = 1.5_f64;
    let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
    let plain = -(2.0 * PI * variance).ln() - 0.5 * squares / variance;
    assert!((log_likelihood(&*gaussian, &[3.0, 0.5], &x) - plain).abs() < 1e-12);
    let score_of_nugget = -1.0 / variance + 0.5 * squares / (variance * variance);
    assert!((score(&*gaussian, &[3.0, 0.5], &x)[1] - score_of_nugget).abs() < 1e-12);

    // One degree of freedom is Cauchy's distribution.
    let student = mechanism(MechanismKind::StudentTField, &[1.0, 2.0]);
    let cauchy = |x: f32| -(PI * (1.0 + f64::from(x).powi(2))).ln();
    let plain = cauchy(x[0]) + cauchy(x[1]);
    assert!((log_likelihood(&*student, &[3.0, 1.0], &x) - plain).abs() < 1e-12);
    let draws = draws(&*student, &[3.0, 1.0], 20_000);
    let beyond = draws.iter().filter(|x| x[0].abs() > 1.0).count();
    // Half lie beyond one; the standard deviation is 71.
    assert!((9_700..10_300).contains(&beyond), "{beyond}");
}

#[test]
fn many_degrees_of_freedom_are_a_gaussian_field_without_a_nugget() {
    let gaussian = mechanism(MechanismKind::GaussianField, &[4.0, 1.0]);
    let student = mechanism(MechanismKind::StudentTField, &[4.0, 1.0]);
    let x = draws(&*gaussian, &[2.0, 0.0], 1).remove(0);
    let a = log_likelihood(&*gaussian, &[2.0, 0.0], &x);
    let b = log_likelihood(&*student, &[2.0, 1e6], &x);
    assert!((a - b).abs() < 1e-3, "{a} {b}");
}

#[test]
fn a_corpus_carries_the_score_of_its_own_theta() {
    for name in ["sis", "gaussian-field", "student-t-field", "gaussian-linear-uniform"] {
        let study = study(name);
        let simulator = study.simulator().expect("a simulator");
        assert!(simulator.has_scores(), "{name}");
        let mut corpus = simulator.simulate(study.seed, 0..20);
        simulator.add_scores(&mut corpus);
        let prior = &study.simulation.as_ref().expect("it simulates").mechanisms[0];
        let mechanism = prior.mechanism(None);
        let d = corpus.schema.d_theta();
        for row in 0..corpus.len() {
            let theta: Vec<f64> = corpus.theta_row(row).iter().map(|&t| f64::from(t)).collect();
            let plain = score(&*mechanism, &theta, corpus.x_row(row));
            let stored = &corpus.score.as_ref().expect("scores")[row * d..][..d];
            assert!(plain.iter().zip(stored).all(|(a, b)| *a as f32 == *b), "{name} {row}");
        }
    }
    assert!(!study("two-moons").simulator().expect("a simulator").has_scores());
    assert!(!study("outbreak").simulator().expect("a simulator").has_scores());
}
