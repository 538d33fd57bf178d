//! The network as burn sees it: one dense stack whose last layer holds all heads side by side, and its gradient.
//!
//! The parameters live in one flat vector: per layer the weights, `[d_input, d_output]` row-major, then the biases.

use burn::tensor::activation::relu;
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, TensorData};

use super::examples::Examples;
use super::loss::{Loss, LossSums};
use super::{Backend, HeadSpec, TrainingError, random};
use crate::network::{Dense, FloatNetwork};

/// A dense stack of fixed widths on a device.
pub(super) struct Model {
    /// `(d_input, d_output)` of each layer; the last holds all heads.
    layers: Vec<(usize, usize)>,
    /// Width of each head.
    heads: Vec<usize>,
    device: Device,
}

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
        let layers = widths.windows(2).map(|pair| (pair[0], pair[1])).collect();
        Ok(Model { layers, heads, device: device(backend)? })
    }

    /// Lengths of `(weights, biases)` of each layer, as they lie in the flat vector.
    pub fn parts(&self) -> Vec<(usize, usize)> {
        self.layers.iter().map(|&(d_input, d_output)| (d_input * d_output, d_output)).collect()
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
    /// The loss is differentiated by hand up to the outputs. burn then carries that derivative `G` down: the gradient of
    /// `sum(outputs * G)`, `G` constant, is the gradient of the loss.
    pub fn gradient(
        &self,
        parameters: &[f32],
        batch: &mut Examples,
        loss: &Loss,
        gradient: &mut [f32],
    ) -> LossSums {
        let device = self.device.clone().autodiff();
        let layers = self.tensors(parameters, &device);
        let layers: Vec<(Tensor<2>, Tensor<1>)> = layers
            .into_iter()
            .map(|(weight, bias)| (weight.require_grad(), bias.require_grad()))
            .collect();
        let n = batch.len();
        let inputs = std::mem::take(&mut batch.inputs);
        let inputs = Tensor::from_data(TensorData::new(inputs, [n, self.layers[0].0]), &device);
        let outputs = stack(&layers, inputs);
        let values = outputs.clone().inner().into_data();
        let mut by_output = vec![0.0; n * loss.d_output];
        let sums = loss.with_gradient(slice(&values), batch, &mut by_output);
        let by_output = Tensor::from_data(TensorData::new(by_output, [n, loss.d_output]), &device);
        let mut gradients = (outputs * by_output).sum().backward();
        let mut rest = gradient;
        for (weight, bias) in &layers {
            let weight = weight.grad_remove(&mut gradients).map(|tensor| tensor.into_data());
            let bias = bias.grad_remove(&mut gradients).map(|tensor| tensor.into_data());
            for data in [weight, bias] {
                let data = data.expect("every layer is on the way to the loss");
                let values = slice(&data);
                let (mine, others) = rest.split_at_mut(values.len());
                mine.copy_from_slice(values);
                rest = others;
            }
        }
        sums
    }

    /// Losses over any number of examples.
    pub fn evaluate(&self, parameters: &[f32], examples: &Examples, loss: &Loss) -> LossSums {
        /// Rows at a time: their activations stay in cache.
        const BLOCK: usize = 1_024;
        let layers = self.tensors(parameters, &self.device);
        let d_input = self.layers[0].0;
        let d_target = examples.targets.len() / examples.len().max(1);
        let mut sums = LossSums::default();
        for first in (0..examples.len()).step_by(BLOCK) {
            let rows = first..(first + BLOCK).min(examples.len());
            let inputs = examples.inputs[rows.start * d_input..rows.end * d_input].to_vec();
            let inputs =
                Tensor::from_data(TensorData::new(inputs, [rows.len(), d_input]), &self.device);
            let block = Examples {
                inputs: Vec::new(),
                targets: examples.targets[rows.start * d_target..rows.end * d_target].to_vec(),
                mechanism: examples.mechanism[rows.clone()].to_vec(),
                weight: examples.weight.get(rows).unwrap_or_default().to_vec(),
            };
            loss.add(slice(&stack(&layers, inputs).into_data()), &block, &mut sums);
        }
        sums
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

    fn tensors(&self, parameters: &[f32], device: &Device) -> Vec<(Tensor<2>, Tensor<1>)> {
        let mut rest = parameters;
        let mut take = |len: usize| {
            let (mine, others) = rest.split_at(len);
            rest = others;
            mine.to_vec()
        };
        let layer = |&(d_input, d_output): &(usize, usize)| {
            let weight = TensorData::new(take(d_input * d_output), [d_input, d_output]);
            let bias = TensorData::new(take(d_output), [d_output]);
            (Tensor::from_data(weight, device), Tensor::from_data(bias, device))
        };
        self.layers.iter().map(layer).collect()
    }
}

/// Dense layers with ReLU between them.
fn stack(layers: &[(Tensor<2>, Tensor<1>)], inputs: Tensor<2>) -> Tensor<2> {
    let mut x = inputs;
    for (i, (weight, bias)) in layers.iter().enumerate() {
        if i > 0 {
            x = relu(x);
        }
        x = linear(x, weight.clone(), Some(bias.clone()));
    }
    x
}

fn slice(data: &TensorData) -> &[f32] {
    data.as_slice().expect("every tensor here is f32")
}

fn device(backend: Backend) -> Result<Device, TrainingError> {
    match backend {
        Backend::Flex => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[expect(deprecated, reason = "kept for those who compare the two CPU backends")]
        Backend::NdArray => Ok(Device::ndarray()),
        #[cfg(not(feature = "ndarray"))]
        Backend::NdArray => Err(TrainingError::Config {
            message: "this build has no backend `ndarray`; hint: build with `--features ndarray`"
                .into(),
        }),
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
    fn the_plain_network_equals_burn() {
        let model = model();
        let parameters = model.initial(3, &heads());
        let network = model.network(&parameters);
        assert_eq!(network.check(), Ok(()));
        assert_eq!(network.num_parameters(), model.len());
        let n = 33;
        let batch = batch(n);
        let inputs =
            Tensor::from_data(TensorData::new(batch.inputs.clone(), [n, 5]), &model.device);
        let outputs = stack(&model.tensors(&parameters, &model.device), inputs).into_data();
        let plain = network.forward_batch(&batch.inputs, false);
        for row in 0..n {
            let plain = plain.heads[0][row * 3..row * 3 + 3]
                .iter()
                .chain(&plain.heads[1][row * 6..row * 6 + 6]);
            for (plain, burn) in plain.zip(&slice(&outputs)[row * 9..row * 9 + 9]) {
                assert!((plain - burn).abs() < 1e-5, "{plain} {burn}");
            }
        }
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let model = model();
        let loss = Loss::new(&heads(), 2);
        let parameters = model.initial(3, &heads());
        let batch = batch(64);
        let mut gradient = vec![0.0; model.len()];
        let sums = model.gradient(&parameters, &mut batch.clone(), &loss, &mut gradient);
        let value = |parameters: &[f32]| loss.total(&model.evaluate(parameters, &batch, &loss));
        assert!((loss.total(&sums) - value(&parameters)).abs() < 1e-6);
        // Along the gradient itself the slope is its squared norm.
        let squared: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        let along = |step: f32| {
            let moved: Vec<f32> =
                parameters.iter().zip(&gradient).map(|(p, g)| p + step * g).collect();
            value(&moved)
        };
        let slope = (along(1e-2) - along(-1e-2)) / 2e-2;
        assert!((slope / squared - 1.0).abs() < 0.02, "{slope} {squared}");
        // And along single parameters of every layer.
        for i in [0, 50, 105, 130, 460, 479, 490, 600, model.len() - 1] {
            let moved = |step: f32| {
                let mut moved = parameters.clone();
                moved[i] += step;
                value(&moved)
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[i])).abs() < 3e-3, "{i}: {slope} {}", gradient[i]);
        }
    }
}
