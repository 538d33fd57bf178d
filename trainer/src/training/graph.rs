//! A dense stack as a graph of burn's tensors, on any of burn's devices: what [`Stack`](super::Stack) is held to, and what other
//! devices than the CPU compute with.

use std::ops::Range;

use burn::tensor::activation::relu;
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, TensorData};

/// A dense stack of fixed widths on a device, with ReLU between its layers; parameters lie as in [`Stack`](super::Stack).
pub(super) struct Graph {
    /// `(d_input, d_output)` of each layer.
    pub layers: Vec<(usize, usize)>,
    pub device: Device,
}

impl Graph {
    /// As [`Stack::outputs`](super::Stack::outputs).
    pub fn outputs(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        mut each: impl FnMut(Range<usize>, &[f32]),
    ) {
        /// Rows at a time: their activations stay in cache.
        const BLOCK: usize = 1_024;
        let layers = self.tensors(parameters, &self.device);
        let d_input = self.layers[0].0;
        for (block, inputs) in inputs.chunks(BLOCK * d_input).enumerate() {
            let first = block * BLOCK;
            let outputs = stack(&layers, matrix(inputs, d_input, &self.device)).into_data();
            each(first..first + inputs.len() / d_input, slice(&outputs));
        }
    }

    /// As [`Stack::gradient`](super::Stack::gradient), all rows at once.
    ///
    /// The loss is differentiated by hand up to the outputs. burn then carries that derivative `G` down: the gradient of
    /// `sum(outputs * G)`, `G` constant, is the gradient of the loss.
    pub fn gradient(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        gradient: &mut [f32],
        loss: impl FnOnce(Range<usize>, &[f32], &mut [f32]),
    ) {
        let device = self.device.clone().autodiff();
        let layers: Vec<(Tensor<2>, Tensor<1>)> = self
            .tensors(parameters, &device)
            .into_iter()
            .map(|(weight, bias)| (weight.require_grad(), bias.require_grad()))
            .collect();
        let d_input = self.layers[0].0;
        let outputs = stack(&layers, matrix(inputs, d_input, &device));
        let values = outputs.clone().inner().into_data();
        let mut by_output = vec![0.0; slice(&values).len()];
        loss(0..inputs.len() / d_input, slice(&values), &mut by_output);
        let by_output = Tensor::from_data(TensorData::new(by_output, outputs.dims()), &device);
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

fn matrix(values: &[f32], columns: usize, device: &Device) -> Tensor<2> {
    let shape = [values.len() / columns, columns];
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn slice(data: &TensorData) -> &[f32] {
    data.as_slice().expect("every tensor here is f32")
}
