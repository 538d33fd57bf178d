//! The network in training: one dense stack whose last layer holds all heads side by side, and what computes it.
//!
//! The parameters live in one flat vector: per layer the weights, `[d_input, d_output]` row-major, then the biases; behind them those of each
//! head's stack on `[h, theta]`.

use std::ops::Range;

use super::company::{self, Seat};
use super::examples::Examples;
use super::graph::Graph;
use super::loss::conditional::{Block, ConditionalHead};
use super::loss::{Loss, LossSums};
use super::rounding::Grid;
use super::stack::Stack;
use super::{Backend, HeadSpec, TrainingError, random};
use crate::network::{self, Dense, FloatNetwork};

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
    /// The heads with a stack of their own.
    stacks: Vec<ConditionalHead>,
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
        let stacks = ConditionalHead::all(heads);
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
        Ok(Model { layers, heads, backend, graph, stack, seat: None, stacks })
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
        let dense = self.layers.iter().map(|&(d_input, d_output)| (d_input * d_output, d_output));
        let tails = self.stacks.iter().flat_map(|head| head.loss.tail().shape().parts());
        dense.chain(tails).collect()
    }

    /// Number of parameters of the dense stack, which come first.
    fn dense_len(&self) -> usize {
        self.layers.iter().map(|&(d_input, d_output)| (d_input + 1) * d_output).sum()
    }

    /// Running averages of the heads with a stack, for a checkpoint.
    pub fn averages(&self) -> Vec<[f64; 2]> {
        self.stacks.iter().map(|head| head.loss.averages()).collect()
    }

    /// Goes on from [`Model::averages`].
    pub fn restore(&mut self, averages: &[[f64; 2]]) {
        let heads = self.stacks.iter_mut().zip(averages);
        heads.for_each(|(head, averages)| head.loss.restore(*averages));
    }

    /// Takes the gradients of the last step into the running averages.
    pub fn learn(&mut self) {
        self.stacks.iter_mut().for_each(|head| head.loss.learn());
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
    /// start near the prior: small weights, and as bias of a quantile that of a standard normal, which a standardized target resembles. A
    /// head with a stack starts as a network does.
    pub fn initial(&self, seed: u64, heads: &[HeadSpec]) -> Vec<f32> {
        let mut flat = Vec::with_capacity(self.len());
        let last = self.layers.len() - 1;
        for (i, &(d_input, d_output)) in self.layers.iter().enumerate() {
            let gains: Vec<f64> = if i == last {
                let gain =
                    |head: &HeadSpec| std::iter::repeat_n(head.initial_gain(), head.d_output());
                heads.iter().flat_map(gain).collect()
            } else {
                vec![std::f64::consts::SQRT_2; d_output]
            };
            let mut uniform = random::Stream::new(seed, random::Purpose::Initialization, i as u64);
            let weights = (0..d_input * d_output).map(|at| {
                let bound = (3.0 * gains[at % d_output].powi(2) / d_input as f64).sqrt();
                (bound * (2.0 * uniform.unit() - 1.0)) as f32
            });
            flat.extend(weights);
            if i == last {
                flat.extend(heads.iter().flat_map(HeadSpec::initial_bias));
            } else {
                flat.resize(flat.len() + d_output, 0.0);
            }
        }
        let (d_hidden, _) = self.layers[last];
        for (layer, head) in (16..).step_by(16).zip(&self.stacks) {
            let start = flat.len();
            flat.resize(start + head.len(), 0.0);
            let shape = head.loss.tail().shape();
            shape.initialize(&mut flat[start..], d_hidden + shape.d_theta, seed, layer);
        }
        flat
    }

    /// Losses of a batch; the gradient of their total is written to `gradient`, laid out like `parameters`. `step` decides along which
    /// directions scores are compared.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Device`].
    pub fn gradient(
        &mut self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        step: u64,
        gradient: &mut [f32],
    ) -> Result<LossSums, TrainingError> {
        if self.seat.is_some() {
            return self.gradient_at_seat(parameters, batch, loss, step, gradient);
        }
        if self.backend == Backend::Flex {
            return Ok(self.gradient_by_stack(parameters, batch, loss, step, gradient));
        }
        self.gradient_by_burn(parameters, batch, loss, step, gradient)
    }

    fn gradient_at_seat(
        &mut self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        step: u64,
        gradient: &mut [f32],
    ) -> Result<LossSums, TrainingError> {
        let (dense, _) = parameters.split_at(self.dense_len());
        let (by_dense, by_tails) = gradient.split_at_mut(dense.len());
        let mut pass = Pass::new(parameters, batch, loss, step, &mut self.stacks);
        if let Some(seat) = &self.seat {
            seat.gradient(dense, &batch.inputs, by_dense, |outputs, by_output| {
                pass.block(0..batch.len(), outputs, by_output);
            })?;
        }
        Ok(pass.end(by_tails))
    }

    fn gradient_by_stack(
        &mut self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        step: u64,
        gradient: &mut [f32],
    ) -> LossSums {
        let (dense, _) = parameters.split_at(self.dense_len());
        let (by_dense, by_tails) = gradient.split_at_mut(dense.len());
        let mut pass = Pass::new(parameters, batch, loss, step, &mut self.stacks);
        self.stack.gradient(dense, &batch.inputs, by_dense, |rows, outputs, by_output| {
            pass.block(rows, outputs, by_output);
        });
        pass.end(by_tails)
    }

    fn gradient_by_burn(
        &mut self,
        parameters: &[f32],
        batch: &Examples,
        loss: &Loss,
        step: u64,
        gradient: &mut [f32],
    ) -> Result<LossSums, TrainingError> {
        let (dense, _) = parameters.split_at(self.dense_len());
        let (by_dense, by_tails) = gradient.split_at_mut(dense.len());
        let mut pass = Pass::new(parameters, batch, loss, step, &mut self.stacks);
        let graph = &self.graph;
        self.backend.guard(|| {
            graph.gradient(dense, &batch.inputs, by_dense, |rows, outputs, by_output| {
                pass.block(rows, outputs, by_output);
            });
        })?;
        Ok(pass.end(by_tails))
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
        step: u64,
        gradient: &[f32],
    ) -> Result<(), TrainingError> {
        let mut other = vec![0.0; gradient.len()];
        if self.backend == Backend::Flex {
            self.gradient_by_burn(parameters, batch, loss, step, &mut other)?;
        } else {
            self.gradient_by_stack(parameters, batch, loss, step, &mut other);
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
        let (dense, tails) = parameters.split_at(self.dense_len());
        let mut sums = LossSums::default();
        let stacks = &mut self.stacks;
        let of_rows = |rows: Range<usize>, outputs: &[f32]| {
            loss.add(outputs, examples, rows.clone(), &mut sums);
            let mut tails = tails;
            for head in stacks.iter_mut() {
                let (own, others) = tails.split_at(head.len());
                tails = others;
                let d_output = loss.d_output;
                let block = Block { examples, rows: &rows, outputs, d_output };
                sums.heads[head.head] += head.loss.evaluate(own, block);
            }
        };
        if self.backend == Backend::Flex {
            self.stack.outputs(dense, &examples.inputs, of_rows);
        } else {
            self.backend.guard(|| self.graph.outputs(dense, &examples.inputs, of_rows))?;
        }
        Ok(sums)
    }

    /// Rounds activations from now on, where the CPU's own code computes.
    pub fn round_activations(&mut self, grids: Vec<Grid>) {
        self.stack.round_to(grids);
    }

    /// The inverse of [`Model::network`].
    pub fn parameters(&self, network: &FloatNetwork) -> Vec<f32> {
        let mut flat = Vec::with_capacity(self.len());
        let trunk = network.trunk.iter().map(std::slice::from_ref);
        for side_by_side in trunk.chain([&network.heads[..]]) {
            for input in 0..side_by_side[0].d_input {
                for dense in side_by_side {
                    flat.extend(dense.weight.iter().skip(input).step_by(dense.d_input));
                }
            }
            flat.extend(side_by_side.iter().flat_map(|dense| &dense.bias));
        }
        for tail in &network.tails {
            let (first, d_theta) = (tail.theta.len() / tail.d_theta, tail.d_theta);
            let column = |column: usize| (0..first).map(move |row| row * d_theta + column);
            flat.extend((0..d_theta).flat_map(column).map(|at| tail.theta[at]));
            for layer in &tail.layers {
                flat.extend(layer.weight.iter().chain(&layer.bias));
            }
        }
        flat
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
        let tails = self.stacks.iter().map(|head| {
            let (own, others) = rest.split_at(head.len());
            rest = others;
            tail(head, own)
        });
        FloatNetwork { tails: tails.collect(), trunk, heads }
    }
}

/// The stack of a head as plain layers.
fn tail(head: &ConditionalHead, parameters: &[f32]) -> network::Tail {
    let shape = head.loss.tail().shape();
    let layout = shape.layout();
    let first = shape.hidden[0];
    let theta = &parameters[layout.theta];
    let row = |row: usize| (0..shape.d_theta).map(move |column| theta[column * first + row]);
    let layers = layout.layers.into_iter().zip(&shape.hidden).map(|((weights, bias), d_input)| {
        let (weight, bias) = (parameters[weights].to_vec(), parameters[bias].to_vec());
        Dense { d_input: *d_input, d_output: bias.len(), weight, bias }
    });
    network::Tail {
        head: head.head,
        d_theta: shape.d_theta,
        theta: (0..first).flat_map(row).collect(),
        layers: layers.collect(),
    }
}

/// One pass over a batch with the derivative of the loss.
struct Pass<'p> {
    batch: &'p Examples,
    loss: &'p Loss,
    weight: f32,
    sums: LossSums,
    stacks: &'p mut [ConditionalHead],
    /// Of each of `stacks`.
    parameters: Vec<&'p [f32]>,
}

impl<'p> Pass<'p> {
    fn new(
        parameters: &'p [f32],
        batch: &'p Examples,
        loss: &'p Loss,
        step: u64,
        stacks: &'p mut [ConditionalHead],
    ) -> Pass<'p> {
        let mut end = parameters.len() - stacks.iter().map(ConditionalHead::len).sum::<usize>();
        let own = stacks.iter_mut().map(|head| {
            head.loss.begin(step);
            end += head.len();
            &parameters[end - head.len()..end]
        });
        let parameters = own.collect();
        let weight = batch.total_weight();
        Pass { batch, loss, weight, sums: LossSums::default(), parameters, stacks }
    }

    fn block(&mut self, rows: Range<usize>, outputs: &[f32], by_output: &mut [f32]) {
        let Pass { batch, loss, weight, sums, .. } = self;
        loss.add_with_gradient(outputs, batch, rows.clone(), *weight, by_output, sums);
        for (head, parameters) in self.stacks.iter_mut().zip(&self.parameters) {
            let d_output = loss.d_output;
            let block = Block { examples: batch, rows: &rows, outputs, d_output };
            let sum = &mut sums.heads[head.head];
            head.loss.add(parameters, block, *weight, by_output, sum);
        }
    }

    /// Writes the gradient by the heads' own parameters.
    fn end(self, mut gradient: &mut [f32]) -> LossSums {
        for head in self.stacks {
            let (own, others) = gradient.split_at_mut(head.len());
            head.loss.end(own);
            gradient = others;
        }
        self.sums
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
        model.gradient(&parameters, &batch, &loss, 0, &mut gradient).unwrap();
        let mut check =
            |gradient: &[f32]| model.check_gradient(&parameters, &batch, &loss, 0, gradient);
        assert!(check(&gradient).is_ok());
        gradient[7] += 0.01;
        let error = check(&gradient).unwrap_err().to_string();
        assert!(error.contains("gradients of burn and of"), "{error}");
    }

    fn with_ratio() -> Vec<HeadSpec> {
        let ratio = HeadSpec::Ratio {
            targets: vec![1, 0],
            scores: Vec::new(),
            score_scales: Vec::new(),
            hidden: vec![6, 5],
            loss_share: 2.0,
        };
        [heads(), vec![ratio]].concat()
    }

    #[test]
    fn a_head_that_reads_theta_shares_the_trunk() {
        let specs = with_ratio();
        let mut model = Model::new(5, &[20, 17], &specs, Backend::Flex).unwrap();
        let loss = Loss::new(&specs, 2);
        let parameters = model.initial(3, &specs);
        let network = model.network(&parameters);
        assert_eq!(network.check(), Ok(()));
        assert_eq!(network.num_parameters(), model.len());
        assert_eq!(model.parameters(&network), parameters);
        let examples = batch(64);
        let mut gradient = vec![0.0; model.len()];
        let sums = model.gradient(&parameters, &examples, &loss, 0, &mut gradient).unwrap();
        assert!(model.check_gradient(&parameters, &examples, &loss, 0, &gradient).is_ok());
        // The plain network's answers to the joint and the neighbor's pairs give the same loss.
        let data = network.forward_batch(&examples.inputs, false).heads.pop().unwrap();
        let theta = |shift: usize| -> Vec<f32> {
            let rows = (0..64).map(|row| (row + shift) % 64 * 2);
            rows.flat_map(|at| [examples.targets[at + 1], examples.targets[at]]).collect()
        };
        let of = |shift, sign: f32| {
            let values = network.tails[0].forward(&data, &theta(shift)).1;
            values.iter().map(|f| f64::from((sign * f).exp().ln_1p())).sum::<f64>()
        };
        let expected = 0.5 * (of(0, -1.0) + of(1, 1.0));
        assert!((sums.heads[2] / expected - 1.0).abs() < 1e-5, "{} {expected}", sums.heads[2]);
        // Along the gradient the slope is its squared norm; the loss in training has one marginal pair, so it is taken there.
        let squared: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
        let mut along = |step: f32| {
            let moved: Vec<f32> =
                parameters.iter().zip(&gradient).map(|(p, g)| p + step * g).collect();
            let mut unused = vec![0.0; moved.len()];
            let sums = model.gradient(&moved, &examples, &loss, 0, &mut unused).unwrap();
            loss.total(&sums)
        };
        let slope = (along(1e-2) - along(-1e-2)) / 2e-2;
        assert!((slope / squared - 1.0).abs() < 0.02, "{slope} {squared}");
    }

    #[test]
    fn the_gradient_is_the_slope() {
        let mut model = model();
        let loss = Loss::new(&heads(), 2);
        let parameters = model.initial(3, &heads());
        let batch = batch(64);
        let mut gradient = vec![0.0; model.len()];
        let sums = model.gradient(&parameters, &batch, &loss, 0, &mut gradient).unwrap();
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
