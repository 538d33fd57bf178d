//! The classifier two-sample test: Lopez-Paz and Oquab 2017, <https://arxiv.org/abs/1610.06545>, by the protocol of Lueckmann et al.
//! 2021, <https://arxiv.org/abs/2101.04653>.

use rayon::prelude::*;

use super::classifier::Classifier;
use super::{generator, shuffle};

/// Parts of the cross-validation.
pub const FOLDS: usize = 5;

/// Width of both hidden layers for each dimension.
const UNITS_A_DIMENSION: usize = 10;

/// Accuracies with which a small network tells two standardized sets `[n, d]` apart, one for each of [`FOLDS`] parts that it was
/// not trained on.
///
/// The parts are cut from all rows at random, so the classes are only about equally frequent in each.
pub fn classifier_two_sample_test(
    samples: &[f32],
    reference: &[f32],
    d: usize,
    seed: u64,
) -> Vec<f64> {
    let inputs = [reference, samples].concat();
    let (n, first_sample) = (inputs.len() / d, reference.len() / d);
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(&mut order, &mut generator(seed, 0));
    let accuracy = |fold: usize| {
        let (from, to) = (n * fold / FOLDS, n * (fold + 1) / FOLDS);
        let rows = |rows: &[usize]| -> (Vec<f32>, Vec<f32>) {
            let inputs = rows.iter().flat_map(|&row| inputs[row * d..][..d].iter().copied());
            let labels = rows.iter().map(|&row| if row < first_sample { 0.0 } else { 1.0 });
            (inputs.collect(), labels.collect())
        };
        let (train, train_labels) = rows(&[&order[..from], &order[to..]].concat());
        let (test, test_labels) = rows(&order[from..to]);
        let mut generator = generator(seed, 1 + fold as u64);
        let mut classifier = Classifier::new(d, UNITS_A_DIMENSION * d, &mut generator);
        classifier.fit(&train, &train_labels, &mut generator);
        let logits = classifier.logits(&test);
        let right =
            logits.iter().zip(&test_labels).filter(|(z, label)| (**z > 0.0) == (**label > 0.5));
        right.count() as f64 / test_labels.len() as f64
    };
    (0..FOLDS).into_par_iter().map(accuracy).collect()
}
