//! The network in training: one dense stack whose last layer holds all heads side by side, and what computes it.
//!
//! The parameters live in one flat vector: per layer the weights, `[d_input, d_output]` row-major, then the biases.

use super::company::{self, Seat};
use super::examples::Examples;
use super::graph::Graph;
use super::loss::{Loss, LossSums};
use super::stack::Stack;
use super::{Backend, HeadSpec, TrainingError, random};
use crate::network::{Dense, FloatNetwork};

/// A dense stack of fixed widths.
pub(super) struct Model {
    /// `(d_input, d_output)` of each layer; the last holds all heads.
    layers: Vec<(usize, usize)>,
    /// Width of each head.
    heads: Vec<usize>,
    backend: Backend,
    /// Computes where the backend is burn's; where it is the CPU's own, what that is compared with.
    graph: Graph,
    /// The other way around.
    stack: Stack,
    /// Computes gradients in the place of `graph`, together with those of other networks.
    seat: Option<Seat>,
}

/// Largest difference between the gradients of burn and of [`Stack`], in units of the norm. Other orders of summation give about `1e-6`; an input of a ReLU that
/// is zero but for its rounding may add more.
const TOLERANCE: f64 = 1e-3;

impl Model {
    pub fn new(
        d_input: usize,
        hidden: &[usize],
        heads: &[HeadSpec],
        backend: Backend,
    ) -> Result<Model, TrainingError> {
        let heads: Vec<usize> = heads.iter().map(HeadSpec::d_output).collect();
        let widths: Vec<usize> = [d_input]
            .into_iter()
            .chain(hidden.iter().copied())
            .chain([heads.iter().sum()])
            .collect();
        let layers: Vec<(usize, usize)> =
            widths.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let stack = Stack::new(&layers);
        let graph = Graph { layers: layers.clone(), device: backend.device()? };
        Ok(Model { layers, heads, backend, graph, stack, seat: None })
    }

    /// Seats for `count` networks of this shape, whose gradients are computed together from then on.
    pub fn seats(&self, count: usize) -> Result<Vec<Seat>, TrainingError> {
        company::seats(count, &self.layers, self.backend)
    }

    /// Takes one of [`Model::seats`].
    pub fn sit(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    /// Lengths of `(weights, biases)` of each layer, as they lie in the flat vector.
    pub fn parts(&self) -> Vec<(usize, usize)> {
        self.layers.iter().map(|&(d_input, d_output)| (d_input * d_output, d_output)).collect()
    }

    /// `(d_input, d_output)` of each layer; the last holds all heads.
    pub fn layers(&self) -> &[(usize, usize)] {
        &self.layers
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.parts().iter().map(|(weights, biases)| weights + biases).sum()
    }

    /// Parameters to start from, a pure function of the seed.
    ///
    /// Hidden weights are uniform with variance `2 / d_input` (He et al. 2015, eq. (10), <https://arxiv.org/abs/1502.01852>). The heads
    /// start near the prior: small weights, and as bias of a quantile that of a standard normal, which a standardized target resembles.
    pub fn initial(&self, seed: u64, heads: &[HeadSpec]) -> Vec<f32> {
        /// The outputs' standard deviation at the start, in units of the targets'.
        const HEAD_GAIN: f64 = 0.1;
        let mut flat = Vec::with_capacity(self.len());
        let last = self.layers.len() - 1;
        for (i, &(d_input, d_output)) in self.layers.iter().enumerate() {
            let variance = if i == last { HEAD_GAIN.powi(2) } else { 2.0 } / d_input as f64;
            let bound = (3.0 * variance).sqrt();
            let mut uniform = random::Stream::new(seed, random::Purpose::Initialization, i as u64);
            let weights =
                (0..d_input * d_output).map(|_| (bound * (2.0 * uniform.unit() - 1.0)) as f32);
            flat.extend(weights);
            if i == last {
                flat.extend(heads.iter().flat_map(HeadSpec::initial_bias));
            } else {
                flat.resize(flat.len() + d_output, 0.0);
            }
        }
        flat
    }

    /// Losses of a batch; the gradient of their total is written to `gradient`, laid out like `parameters`.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Device`].
    pub fn gradient(
        &mut self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        gradient: &mut [f32],
    ) -> Result<LossSums, TrainingError> {
        if let Some(seat) = &self.seat {
            let (mut sums, weight) = (LossSums::default(), batch.total_weight());
            seat.gradient(parameters, &batch.inputs, gradient, |outputs, by_output| {
                loss.add_with_gradient(
                    outputs,
                    batch,
                    0..batch.len(),
                    weight,
                    by_output,
                    &mut sums,
                );
            })?;
            return Ok(sums);
        }
        if self.backend == Backend::Flex {
            return Ok(self.gradient_by_stack(parameters, batch, loss, gradient));
        }
        self.gradient_by_burn(parameters, batch, loss, gradient)
    }

    fn gradient_by_stack(
        &mut self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        gradient: &mut [f32],
    ) -> LossSums {
        let mut sums = LossSums::default();
        let weight = batch.total_weight();
        self.stack.gradient(parameters, &batch.inputs, gradient, |rows, outputs, by_output| {
            loss.add_with_gradient(outputs, batch, rows, weight, by_output, &mut sums);
        });
        sums
    }

    fn gradient_by_burn(
        &self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        gradient: &mut [f32],
    ) -> Result<LossSums, TrainingError> {
        let mut sums = LossSums::default();
        let weight = batch.total_weight();
        self.backend.guard(|| {
            self.graph.gradient(parameters, &batch.inputs, gradient, |rows, outputs, by_output| {
                loss.add_with_gradient(outputs, batch, rows, weight, by_output, &mut sums);
            });
        })?;
        Ok(sums)
    }

    /// Compares a gradient that [`Model::gradient`] gave with the other computation's, from the same parameters and batch: burn's where
    /// the CPU's own code trains, and that code's where burn trains.
    ///
    /// Which vector instructions a processor has decides which code computes gradients, and no test has seen every processor or driver.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Gradient`].
    pub fn check_gradient(
        &mut self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        gradient: &[f32],
    ) -> Result<(), TrainingError> {
        let mut other = vec![0.0; gradient.len()];
        if self.backend == Backend::Flex {
            self.gradient_by_burn(parameters, batch, loss, &mut other)?;
        } else {
            self.gradient_by_stack(parameters, batch, loss, &mut other);
        }
        let norm = |values: &mut dyn Iterator<Item = f32>| {
            values.map(|value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
        };
        let norm_of_other = norm(&mut other.iter().copied());
        let difference = norm(&mut gradient.iter().zip(&other).map(|(own, other)| own - other));
        // A gradient that is not a number is larger than anything.
        if difference <= TOLERANCE * norm_of_other {
            return Ok(());
        }
        Err(TrainingError::Gradient { difference: difference / norm_of_other })
    }

    /// Losses over any number of examples.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Device`].
    pub fn evaluate(
        &mut self,
        parameters: &[f32],
        examples: &Examples,
        loss: &Loss,
    ) -> Result<LossSums, TrainingError> {
        let mut sums = LossSums::default();
        let of_rows = |rows, outputs: &[f32]| loss.add(outputs, examples, rows, &mut sums);
        if self.backend == Backend::Flex {
            self.stack.outputs(parameters, &examples.inputs, of_rows);
        } else {
            self.backend.guard(|| self.graph.outputs(parameters, &examples.inputs, of_rows))?;
        }
        Ok(sums)
    }

    /// The parameters as a plain network, its heads taken apart.
    pub fn network(&self, parameters: &[f32]) -> FloatNetwork {
        let mut rest = parameters;
        let mut trunk = Vec::new();
        let mut heads = Vec::new();
        let last = self.layers.len() - 1;
        for (i, &(d_input, d_output)) in self.layers.iter().enumerate() {
            let (weight, others) = rest.split_at(d_input * d_output);
            let (bias, others) = others.split_at(d_output);
            rest = others;
            let columns = |first: usize, count: usize| Dense {
                d_input,
                d_output: count,
                weight: (first..first + count)
                    .flat_map(|column| (0..d_input).map(move |row| weight[row * d_output + column]))
                    .collect(),
                bias: bias[first..first + count].to_vec(),
            };
            if i < last {
                trunk.push(columns(0, d_output));
                continue;
            }
            let mut first = 0;
            for &width in &self.heads {
                heads.push(columns(first, width));
                first += width;
            }
        }
        FloatNetwork { trunk, heads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<HeadSpec> {
        vec![
            HeadSpec::Categorical { d_output: 3, loss_share: 1.0 },
            HeadSpec::Quantiles {
                targets: vec![0, 1],
                levels: vec![0.05, 0.5, 0.95],
                target_weights: vec![1.0, 2.0],
                loss_share: 1.5,
            },
        ]
    }

    fn batch(n: usize) -> Examples {
        let mut noise = random::Stream::new(5, random::Purpose::Batch, 0);
        let mut values = |count: usize| (0..count).map(|_| noise.unit() as f32 - 0.5).collect();
        Examples {
            inputs: values(n * 5),
            targets: values(n * 2),
            mechanism: (0..n).map(|i| (i % 3) as u16).collect(),
            weight: Vec::new(),
        }
    }

    fn model() -> Model {
        Model::new(5, &[20, 17], &heads(), Backend::Flex).unwrap()
    }

    #[test]
    fn stack_graph_and_plain_network_agree() {
        let mut model = model();
        let parameters = model.initial(3, &heads());
        let network = model.network(&parameters);
        assert_eq!(network.check(), Ok(()));
        assert_eq!(network.num_parameters(), model.len());
        let inputs = batch(33).inputs;
        let plain = network.forward_batch(&inputs, false).heads;
        let plain = plain[0].chunks_exact(3).zip(plain[1].chunks_exact(6));
        let plain: Vec<f32> = plain.flat_map(|(a, b)| [a, b].concat()).collect();
        let check = |rows, outputs: &[f32]| {
            assert_eq!(rows, 0..33);
            assert_eq!(outputs.len(), plain.len());
            for (plain, output) in plain.iter().zip(outputs) {
                assert!((plain - output).abs() < 1e-5, "{plain} {output}");
            }
        };
        model.graph.outputs(&parameters, &inputs, check);
        model.stack.outputs(&parameters, &inputs, check);
    }

    #[test]
    fn a_gradient_unlike_burns_is_refused() {
        let mut model = model();
        let (loss, batch) = (Loss::new(&heads(), 2), batch(64));
        let parameters = model.initial(3, &heads());
        let mut gradient = vec![0.0; model.len()];
        model.gradient(&parameters, &batch, &loss, &mut gradient).unwrap();
        let mut check =
            |gradient: &[f32]| model.check_gradient(&parameters, &batch, &loss, gradient);
        assert!(check(&gradient).is_ok());
        gradient[7] += 0.01;
        let error = check(&gradient).unwrap_err().to_string();
        assert!(error.contains("gradients of burn and of"), "{error}");
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let mut model = model();
        let loss = Loss::new(&heads(), 2);
        let parameters = model.initial(3, &heads());
        let batch = batch(64);
        let mut gradient = vec![0.0; model.len()];
        let sums = model.gradient(&parameters, &batch, &loss, &mut gradient).unwrap();
        let mut value =
            |parameters: &[f32]| loss.total(&model.evaluate(parameters, &batch, &loss).unwrap());
        assert!((loss.total(&sums) - value(&parameters)).abs() < 1e-6);
        // Along the gradient itself the slope is its squared norm.
        let squared: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        let mut along = |step: f32| {
            let moved: Vec<f32> =
                parameters.iter().zip(&gradient).map(|(p, g)| p + step * g).collect();
            value(&moved)
        };
        let slope = (along(1e-2) - along(-1e-2)) / 2e-2;
        assert!((slope / squared - 1.0).abs() < 0.02, "{slope} {squared}");
        // And along single parameters of every layer.
        for i in [0, 50, 105, 130, 460, 479, 490, 600, parameters.len() - 1] {
            let mut moved = |step: f32| {
                let mut moved = parameters.clone();
                moved[i] += step;
                value(&moved)
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[i])).abs() < 3e-3, "{i}: {slope} {}", gradient[i]);
        }
    }
}
