use super::*;

/// `[n, d]` normal samples around `mean` in the first dimension, with one standard deviation for all.
fn normal(n: usize, d: usize, mean: f64, sd: f64, stream: u64) -> Vec<f32> {
    let mut generator = Generator::new(11, stream);
    let mut values = vec![0.0; n * d];
    generator.normals(&mut values);
    let mean_of = |at: usize| if at.is_multiple_of(d) { mean } else { 0.0 };
    values.iter().enumerate().map(|(at, z)| (sd * z + mean_of(at)) as f32).collect()
}

#[test]
fn equal_distributions_cannot_be_told_apart() {
    let (n, d) = (2_000, 2);
    let found = compare(&normal(n, d, 0.0, 1.0, 1), &normal(n, d, 0.0, 1.0, 2), d, 1);
    // Four standard errors of an accuracy over 4,000 rows.
    assert!((found.c2st - 0.5).abs() < 0.032, "{found:?}");
    assert!(found.mmd.abs() < 2e-3, "{found:?}");
    assert!(found.sliced_wasserstein < 0.08, "{found:?}");
}

#[test]
fn shifted_normals_have_the_accuracy_of_bayes_rule() {
    let (n, d, shift) = (2_000, 2, 1.0);
    let found = compare(&normal(n, d, shift, 1.0, 1), &normal(n, d, 0.0, 1.0, 2), d, 1);
    // Phi(shift / 2).
    assert!((found.c2st - 0.69146).abs() < 0.035, "{found:?}");
    // A shift moves every projection by shift u_1, whose mean square is shift^2 / d.
    assert!((found.sliced_wasserstein - (0.5_f64).sqrt()).abs() < 0.05, "{found:?}");
}

#[test]
fn wider_normals_have_the_accuracy_of_bayes_rule() {
    let (n, d, sd) = (2_000, 2, 2.0_f64);
    let found = compare(&normal(n, d, 0.0, sd, 1), &normal(n, d, 0.0, 1.0, 2), d, 1);
    // The densities are equal at |x|^2 = r2, and |x|^2 is exponential in two dimensions.
    let r2 = 2.0 * (sd * sd).ln() / (1.0 - 1.0 / (sd * sd));
    let bayes = 0.5 * (1.0 - (-r2 / 2.0).exp() + (-r2 / (2.0 * sd * sd)).exp());
    assert!((found.c2st - bayes).abs() < 0.035, "{bayes}: {found:?}");
}

#[test]
fn the_mean_discrepancy_of_normals_is_that_of_the_formula() {
    let (n, d, bandwidth) = (2_000, 3, 1.5_f64);
    for shift in [0.0, 0.5, 2.0] {
        let (a, b) = (normal(n, d, shift, 1.0, 1), normal(n, d, 0.0, 1.0, 2));
        let found = squared_mean_discrepancy(&a, &b, d, bandwidth);
        // The mean of the kernel over a difference of two normals, itself normal with variance 2.
        let s2 = bandwidth * bandwidth;
        let mean = |shift: f64| {
            (s2 / (s2 + 2.0)).powf(d as f64 / 2.0) * (-shift * shift / (2.0 * (s2 + 2.0))).exp()
        };
        let expected = 2.0 * (mean(0.0) - mean(shift));
        assert!((found - expected).abs() < 0.02, "{shift}: {found} against {expected}");
    }
}

#[test]
fn the_mean_discrepancy_of_three_points_is_computed_by_hand() {
    let (a, b) = ([0.0, 1.0, 3.0], [0.0, 2.0]);
    let k = |distance: f64| (-distance * distance / 8.0).exp();
    let within_a = (k(1.0) + k(3.0) + k(2.0)) / 3.0;
    let between = (k(0.0) + k(2.0) + k(1.0) + k(1.0) + k(3.0) + k(1.0)) / 6.0;
    let expected = within_a + k(2.0) - 2.0 * between;
    assert!((squared_mean_discrepancy(&a, &b, 1, 2.0) - expected).abs() < 1e-6);
    assert_eq!(median_distance(&a, 1), 2.0);
    assert_eq!(median_distance(&[5.0, 5.0], 1), 1.0);
}

#[test]
fn in_one_dimension_the_wasserstein_distance_is_that_of_sorted_rows() {
    // Sorted: -1, 2, 4 against 0, 1, 2.
    let found = sliced_wasserstein(&[4.0, -1.0, 2.0], &[2.0, 0.0, 1.0], 1, 5);
    assert!((found - 2.0_f64.sqrt()).abs() < 1e-6, "{found}");
}

#[test]
fn a_comparison_is_a_function_of_samples_and_seed() {
    let (n, d) = (200, 2);
    let (a, b) = (normal(n, d, 0.5, 1.0, 1), normal(n, d, 0.0, 1.0, 2));
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one_thread.install(|| compare(&a, &b, d, 4)), compare(&a, &b, d, 4));
    assert_ne!(compare(&a, &b, d, 5).c2st_folds, compare(&a, &b, d, 4).c2st_folds);
}

#[test]
fn drawn_rows_are_rows_and_each_once() {
    let values: Vec<f32> = (0..40).map(|value| value as f32).collect();
    let drawn = draw_rows(&values, 2, 10, 1, 0);
    assert!(drawn.chunks(2).all(|row| row[1] == row[0] + 1.0));
    let mut firsts: Vec<i32> = drawn.iter().step_by(2).map(|value| *value as i32).collect();
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts.len(), 10);
    assert_eq!(draw_rows(&values, 2, 99, 1, 0).len(), 40);
}
