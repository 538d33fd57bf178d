//! Where the training of a joint posterior starts: at the Gaussian of a ridge regression of theta on the inputs, or, with several
//! components, at a mixture of such regressions.
//!
//! A ReLU network carries a linear map through a pair of neurons, `f = relu(f) - relu(-f)`. The first neurons of each hidden layer hand
//! such pairs on: of every input where the layers are wide enough, else of the regression's answers. So the heads read what is linear
//! in the inputs exactly, from the first step on, and the other neurons learn what is not.

mod experts;

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use simground_runtime::artifact::component_outputs;

use self::experts::{Expert, Rows};
use super::examples::Examples;
use super::loss::mixture::spread_point;
use super::spec::HeadSpec;

/// Part of a layer's neurons that the pairs may take.
const PAIRS_SHARE: usize = 2;
/// Inputs beyond this many are too many to regress on: the eigenvectors alone would take longer than the training.
const MOST_INPUTS: usize = 512;
/// The other neurons' first weights into the head, relative to those of a head that starts from nothing.
const OTHERS_GAIN: f32 = 0.2;
/// Widths of several components, relative to the residuals' that they share.
const WIDTH: f64 = 0.7;

/// Overwrites the start of a dense stack's `parameters` where one of `heads` is a joint posterior; `layers` are the widths of the
/// stack, whose last layer holds all heads.
pub(super) fn linear_start(
    parameters: &mut [f32],
    layers: &[(usize, usize)],
    heads: &[HeadSpec],
    examples: &Examples,
) {
    let mut first = 0;
    for head in heads {
        if let HeadSpec::Mixture { targets, components, .. } = head
            && let Some(regression) = Regression::fit(examples, layers[0].0, targets)
        {
            let hidden = &layers[..layers.len() - 1];
            let narrowest = hidden.iter().map(|&(_, width)| width).min();
            let features = regression.features(narrowest.map(|width| width / (2 * PAIRS_SHARE)));
            if let Some(features) = features {
                let rest = features.write_trunk(parameters, hidden);
                let start = apart(&regression.covariance, features.map.nrows(), *components);
                let experts = match &start[..] {
                    [_] => start,
                    _ => {
                        let rows = regression.rows(&features, examples, targets);
                        experts::fit(start, &rows, &regression.covariance)
                    }
                };
                let head = Head { first, d_output: layers[layers.len() - 1].1 };
                head.write(rest, &features, &regression, &experts, !hidden.is_empty());
            }
            return;
        }
        first += head.d_output();
    }
}

/// Ridge regression `y = mean_y + W (x - mean_x)`.
struct Regression {
    mean_x: Vec<f64>,
    mean_y: Vec<f64>,
    /// `[d_y, d_x]`.
    weight: DMatrix<f64>,
    /// Of the residuals.
    covariance: DMatrix<f64>,
}

impl Regression {
    /// The penalty is the one of least generalized cross-validation (Golub, Heath and Wahba 1979, <https://doi.org/10.2307/1268518>).
    fn fit(examples: &Examples, d_x: usize, targets: &[usize]) -> Option<Regression> {
        let n = examples.len();
        if n < 2 || d_x > MOST_INPUTS {
            return None;
        }
        let d_target = examples.targets.len() / n;
        let share = |row: usize| f64::from(examples.weight.get(row).copied().unwrap_or(1.0));
        let total: f64 = (0..n).map(share).sum();
        if total <= 0.0 {
            return None;
        }
        let x = DMatrix::from_fn(n, d_x, |row, at| f64::from(examples.inputs[row * d_x + at]));
        let y = DMatrix::from_fn(n, targets.len(), |row, at| {
            f64::from(examples.targets[row * d_target + targets[at]])
        });
        let mean = |m: &DMatrix<f64>| -> Vec<f64> {
            let column =
                |at: usize| (0..n).map(|row| share(row) * m[(row, at)]).sum::<f64>() / total;
            (0..m.ncols()).map(column).collect()
        };
        let (mean_x, mean_y) = (mean(&x), mean(&y));
        let centered = |m: &DMatrix<f64>, mean: &[f64]| {
            DMatrix::from_fn(n, m.ncols(), |row, at| {
                (share(row) / total).sqrt() * (m[(row, at)] - mean[at])
            })
        };
        let (x, y) = (centered(&x, &mean_x), centered(&y, &mean_y));
        let (xx, xy, yy) = (x.tr_mul(&x), x.tr_mul(&y), y.tr_mul(&y));
        let eigen = SymmetricEigen::new(xx.clone());
        let rotated = eigen.eigenvectors.tr_mul(&xy);
        let values: Vec<f64> = eigen.eigenvalues.iter().map(|value| value.max(0.0)).collect();
        let freedom = |penalty: f64| 1.0 + values.iter().map(|s| s / (s + penalty)).sum::<f64>();
        let score = |penalty: f64| {
            let left = 1.0 - freedom(penalty) / n as f64;
            if left <= 0.0 {
                return f64::INFINITY;
            }
            let residual = |at: usize| {
                let explained = values.iter().enumerate().map(|(i, s)| {
                    rotated[(i, at)].powi(2) * (s + 2.0 * penalty) / (s + penalty).powi(2)
                });
                1.0 - explained.sum::<f64>() / yy[(at, at)].max(f64::MIN_POSITIVE)
            };
            (0..targets.len()).map(residual).sum::<f64>() / (left * left)
        };
        let scale = xx.trace() / d_x as f64;
        let penalties = (0..=12).map(|i| scale.max(1e-12) * 10_f64.powf(-5.0 + 0.5 * f64::from(i)));
        let penalty = penalties.min_by(|a, b| score(*a).total_cmp(&score(*b)))?;
        let shrunk =
            DMatrix::from_fn(d_x, targets.len(), |i, at| rotated[(i, at)] / (values[i] + penalty));
        let weight = (&eigen.eigenvectors * shrunk).transpose();
        let explained = &weight * &xy;
        let left = (1.0 - freedom(penalty) / n as f64).max(0.1);
        let covariance =
            (yy - &explained - explained.transpose() + &weight * xx * weight.transpose()) / left;
        let finite = covariance.iter().chain(weight.iter()).all(|value| value.is_finite());
        finite.then_some(Regression { mean_x, mean_y, weight, covariance })
    }

    /// Features and residuals of the examples, for [`experts`].
    fn rows(&self, features: &Features, examples: &Examples, targets: &[usize]) -> Rows {
        let (n, d_x) = (examples.len(), self.weight.ncols());
        let d_target = examples.targets.len() / n;
        let mut values = Vec::new();
        for row in 0..n {
            let x = &examples.inputs[row * d_x..][..d_x];
            let centered: Vec<f64> =
                x.iter().zip(&self.mean_x).map(|(x, mean)| f64::from(*x) - mean).collect();
            let x = DVector::from_vec(centered);
            let answer = &self.weight * &x;
            values.push(1.0);
            values.extend((&features.map * x).iter());
            let target = |at: usize| f64::from(examples.targets[row * d_target + targets[at]]);
            let left = |at: usize| target(at) - self.mean_y[at] - answer[at];
            values.extend((0..targets.len()).map(left));
        }
        let share = |row: usize| f64::from(examples.weight.get(row).copied().unwrap_or(1.0));
        let weight = (0..n).map(share).collect();
        Rows { values, weight, features: features.map.nrows(), d_y: targets.len() }
    }

    /// What at most this many pairs hand on, `None` for as many as there are inputs; nothing where they cannot hold the regression.
    fn features(&self, most: Option<usize>) -> Option<Features> {
        let (d_y, d_x) = self.weight.shape();
        if most.is_none_or(|most| d_x <= most) {
            let identity = DMatrix::identity(d_x, d_x);
            return Some(Features {
                map: identity,
                back: self.weight.clone(),
                mean: self.mean_x.clone(),
            });
        }
        if most.is_some_and(|most| d_y > most) {
            return None;
        }
        // Answers of unit length along each row, so that no pair outweighs the others.
        let norms: Vec<f64> =
            self.weight.row_iter().map(|row| row.norm().max(f64::MIN_POSITIVE)).collect();
        let map = DMatrix::from_fn(d_y, d_x, |row, at| self.weight[(row, at)] / norms[row]);
        let back = DMatrix::from_fn(d_y, d_y, |a, b| if a == b { norms[a] } else { 0.0 });
        Some(Features { map, back, mean: self.mean_x.clone() })
    }
}

/// Linear features that pairs of neurons hand on, and how the regression is read from them.
struct Features {
    /// `[features, d_x]`.
    map: DMatrix<f64>,
    /// `[d_y, features]`.
    back: DMatrix<f64>,
    /// Where the features are zero.
    mean: Vec<f64>,
}

impl Features {
    /// Writes the pairs into the hidden layers; the parameters behind them.
    fn write_trunk<'p>(
        &self,
        parameters: &'p mut [f32],
        hidden: &[(usize, usize)],
    ) -> &'p mut [f32] {
        let mut rest = parameters;
        for (depth, &(d_input, d_output)) in hidden.iter().enumerate() {
            let (weights, others) = rest.split_at_mut(d_input * d_output);
            let (biases, others) = others.split_at_mut(d_output);
            for neuron in 0..2 * self.map.nrows() {
                let sign = if neuron % 2 == 0 { 1.0 } else { -1.0 };
                let feature = self.map.row(neuron / 2);
                for input in 0..d_input {
                    let weight = if depth == 0 {
                        sign * feature[input]
                    } else {
                        f64::from(u8::from(input == neuron))
                    };
                    weights[input * d_output + neuron] = weight as f32;
                }
                let shift: f64 = feature.iter().zip(&self.mean).map(|(w, mean)| w * mean).sum();
                biases[neuron] = if depth == 0 { (-sign * shift) as f32 } else { 0.0 };
            }
            rest = others;
        }
        rest
    }
}

/// Components that share the regression's slopes, apart from each other by its residuals' covariance.
fn apart(covariance: &DMatrix<f64>, features: usize, components: usize) -> Vec<Expert> {
    let d = covariance.nrows();
    let Factors { responses, sd, .. } = Factors::of(covariance);
    let width = if components == 1 { 1.0 } else { WIDTH };
    let expert = |k: usize| {
        let spread = |i: usize| f64::from(spread_point(k, i, components));
        let mut change = DMatrix::zeros(d, 1 + features);
        for i in 0..d {
            change[(i, 0)] = (0..=i).map(|j| responses[(i, j)] * sd[j] * spread(j)).sum();
        }
        Expert { weight: 1.0 / components as f64, change, covariance: covariance * (width * width) }
    };
    (0..components).map(expert).collect()
}

/// Where the joint posterior stands in the last layer.
struct Head {
    /// Its first column.
    first: usize,
    /// Columns of the layer.
    d_output: usize,
}

impl Head {
    /// Writes the components into the last layer's parameters; `pairs` tells whether the features come through ReLUs.
    fn write(
        &self,
        layer: &mut [f32],
        features: &Features,
        regression: &Regression,
        experts: &[Expert],
        pairs: bool,
    ) {
        let d = regression.mean_y.len();
        let each = component_outputs(d);
        let (weights, biases) = layer.split_at_mut(layer.len() - self.d_output);
        let own = self.first..self.first + experts.len() * each;
        for row in weights.chunks_exact_mut(self.d_output) {
            row[own.clone()].iter_mut().for_each(|weight| *weight *= OTHERS_GAIN);
        }
        let inputs = features.back.ncols() * if pairs { 2 } else { 1 };
        for (k, expert) in experts.iter().enumerate() {
            let slope = |i: usize, at: usize| features.back[(i, at)] + expert.change[(i, 1 + at)];
            for input in 0..inputs {
                let (feature, sign) = match (pairs, input % 2) {
                    (true, parity) => (input / 2, if parity == 0 { 1.0 } else { -1.0 }),
                    (false, _) => (input, 1.0),
                };
                for i in 0..d {
                    let column = self.first + k * each + 1 + i;
                    weights[input * self.d_output + column] = (sign * slope(i, feature)) as f32;
                }
            }
            let Factors { coefficients, sd, .. } = Factors::of(&expert.covariance);
            let outputs = &mut biases[self.first + k * each..][..each];
            outputs.fill(0.0);
            outputs[0] = (expert.weight * experts.len() as f64).ln() as f32;
            let mut below = 1 + 2 * d;
            for i in 0..d {
                // Without pairs the features are not centered.
                let shift: f64 = if pairs {
                    0.0
                } else {
                    (0..features.mean.len()).map(|at| slope(i, at) * features.mean[at]).sum()
                };
                outputs[1 + i] = (regression.mean_y[i] + expert.change[(i, 0)] - shift) as f32;
                outputs[1 + d + i] = -sd[i].ln() as f32;
                for j in 0..i {
                    outputs[below] = coefficients[(i, j)] as f32;
                    below += 1;
                }
            }
        }
    }
}

/// A covariance as regressions of each coordinate on those before it.
struct Factors {
    /// `B`.
    coefficients: DMatrix<f64>,
    /// `(I - B)^-1`.
    responses: DMatrix<f64>,
    /// Standard deviations of what is left.
    sd: Vec<f64>,
}

impl Factors {
    fn of(covariance: &DMatrix<f64>) -> Factors {
        let d = covariance.nrows();
        let damping = 1e-6 * (covariance.trace() / d as f64).max(1e-6);
        let damped = covariance + DMatrix::identity(d, d) * damping;
        let lower = damped.cholesky().map_or_else(|| DMatrix::identity(d, d), |factor| factor.l());
        let sd: Vec<f64> = (0..d).map(|i| lower[(i, i)].max(1e-4)).collect();
        let responses = DMatrix::from_fn(d, d, |i, j| lower[(i, j)] / lower[(j, j)]);
        let inverse = responses.clone().try_inverse().unwrap_or_else(|| DMatrix::identity(d, d));
        Factors { coefficients: DMatrix::identity(d, d) - inverse, responses, sd }
    }
}

#[cfg(test)]
mod tests {
    use simground_runtime::{Ends, Gaussians};

    use super::super::Backend;
    use super::super::model::Model;
    use super::super::random::{Purpose, Stream};
    use super::*;

    /// Inputs that are not centered, and two targets linear in them but for correlated noise.
    fn examples(n: usize, d_x: usize) -> Examples {
        let mut noise = Stream::new(3, Purpose::Batch, d_x as u64);
        let mut normal = || (0..12).map(|_| noise.unit()).sum::<f64>() - 6.0;
        let mut examples = Examples::default();
        for _ in 0..n {
            let x: Vec<f64> = (0..d_x).map(|_| 0.7 + normal()).collect();
            let (e, f) = (0.2 * normal(), 0.1 * normal());
            examples
                .targets
                .extend([0.5 * x[0] - x[1] + e, 0.3 * x[d_x - 1] + 1.0 + e + f].map(|y| y as f32));
            examples.inputs.extend(x.iter().map(|x| *x as f32));
            examples.mechanism.push(0);
        }
        examples
    }

    fn started(d_x: usize, hidden: &[usize], components: usize) -> Vec<f64> {
        let ends = vec![(f32::NEG_INFINITY, f32::INFINITY); 2];
        let heads = [
            HeadSpec::Point { targets: vec![1], loss_share: 1.0 },
            HeadSpec::Mixture { targets: vec![0, 1], ends, components, loss_share: 1.0 },
        ];
        let model = Model::new(d_x, hidden, &heads, Backend::Flex).unwrap();
        let mut parameters = model.initial(1, &heads);
        let examples = examples(4_000, d_x);
        linear_start(&mut parameters, model.layers(), &heads, &examples);
        let network = model.network(&parameters);
        let outputs = network.forward_batch(&examples.inputs, false).heads.remove(1);
        let each = component_outputs(2);
        let rows = outputs.chunks_exact(components * each).zip(examples.targets.chunks_exact(2));
        rows.map(|(outputs, z)| {
            let gaussians = Gaussians::new(outputs, 2, components);
            f64::from(gaussians.log_density(&gaussians.weights(), &[Ends::NONE; 2], z))
        })
        .collect()
    }

    #[test]
    fn the_start_is_the_regressions_density() {
        // Entropy of the noise, whose standard deviations given what stands before are 0.2 and 0.1.
        let best = -(0.2_f64 * 0.1).ln() - (std::f64::consts::TAU.ln() + 1.0);
        for (d_x, hidden) in [(4, vec![32, 32]), (40, vec![48, 24]), (4, vec![])] {
            for components in [1, 3] {
                let scores = started(d_x, &hidden, components);
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                // One component is the regression; what the others, which stand apart, take of the weight costs no more than this.
                let others = (components as f64).ln();
                assert!(
                    mean > best - 0.3 - others && mean < best + 0.05,
                    "{d_x} {components}: {mean} {best}"
                );
            }
        }
    }
}
