//! Networks that a device computes together. Networks this small leave a GPU idle; several of one shape fill it as one batched product.
//!
//! Each network is trained by a thread of its own that knows nothing of the others: it asks for its gradient at its [`Seat`] and waits
//! until everyone who is still there has asked. Then one of the threads computes for all.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Backend, TrainingError};

/// The place of one network.
pub(super) struct Seat {
    company: Arc<Company>,
    at: usize,
}

struct Company {
    /// `(d_input, d_output)` of each layer, the same for all networks.
    layers: Vec<(usize, usize)>,
    backend: Backend,
    device: Device,
    table: Mutex<Table>,
    turn: Condvar,
}

struct Table {
    /// What each network asks or was answered.
    places: Vec<Place>,
    /// What is between forward and backward.
    pending: Option<Pending>,
    /// Why nobody gets an answer any more.
    failure: Option<String>,
}

enum Place {
    /// Asks nothing at the moment.
    Busy,
    Inputs {
        parameters: Vec<f32>,
        inputs: Vec<f32>,
    },
    Outputs(Vec<f32>),
    ByOutput(Vec<f32>),
    Gradient(Vec<f32>),
    /// Has left, and asks nothing again.
    Gone,
}

/// Of the networks that asked, in the order of their places.
struct Pending {
    networks: Vec<usize>,
    /// `[networks, d_input, d_output]` and `[networks, 1, d_output]` of each layer.
    layers: Vec<(Tensor<3>, Tensor<3>)>,
    /// `[networks, rows, d_output]`.
    outputs: Tensor<3>,
}

/// Seats for `count` networks of one shape.
pub(super) fn seats(
    count: usize,
    layers: &[(usize, usize)],
    backend: Backend,
) -> Result<Vec<Seat>, TrainingError> {
    let table =
        Table { places: (0..count).map(|_| Place::Busy).collect(), pending: None, failure: None };
    let company = Arc::new(Company {
        layers: layers.to_vec(),
        backend,
        device: backend.device()?.autodiff(),
        table: Mutex::new(table),
        turn: Condvar::new(),
    });
    Ok((0..count).map(|at| Seat { company: Arc::clone(&company), at }).collect())
}

impl Seat {
    /// As [`Graph::gradient`](super::graph::Graph::gradient); all networks must ask with equally many rows.
    ///
    /// # Errors
    ///
    /// [`TrainingError::Device`], for all networks alike.
    pub fn gradient(
        &self,
        parameters: &[f32],
        inputs: &[f32],
        gradient: &mut [f32],
        loss: impl FnOnce(&[f32], &mut [f32]),
    ) -> Result<(), TrainingError> {
        let asked = Place::Inputs { parameters: parameters.to_vec(), inputs: inputs.to_vec() };
        let Place::Outputs(outputs) = self.company.answer(self.at, asked)? else {
            unreachable!("inputs are answered with outputs")
        };
        let mut by_output = vec![0.0; outputs.len()];
        loss(&outputs, &mut by_output);
        let asked = Place::ByOutput(by_output);
        let Place::Gradient(answer) = self.company.answer(self.at, asked)? else {
            unreachable!("slopes are answered with a gradient")
        };
        gradient.copy_from_slice(&answer);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.company.lock().places[self.at] = Place::Gone;
        self.company.turn.notify_all();
    }
}

impl Company {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a question at a place, and waits for its answer.
    fn answer(&self, at: usize, asked: Place) -> Result<Place, TrainingError> {
        let mut table = self.lock();
        table.places[at] = asked;
        self.turn.notify_all();
        loop {
            if let Some(failure) = &table.failure {
                return Err(self.backend.failed(failure));
            }
            if matches!(table.places[at], Place::Outputs(_) | Place::Gradient(_)) {
                return Ok(std::mem::replace(&mut table.places[at], Place::Busy));
            }
            let all = |asks: fn(&Place) -> bool| {
                table.places.iter().all(|place| asks(place) || matches!(place, Place::Gone))
            };
            let outcome = if all(|place| matches!(place, Place::Inputs { .. })) {
                self.backend.guard(|| self.forward(&mut table))
            } else if all(|place| matches!(place, Place::ByOutput(_))) {
                self.backend.guard(|| self.backward(&mut table))
            } else {
                table = self.turn.wait(table).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            table.failure = outcome.err().map(|error| match error {
                TrainingError::Device { message, .. } => message,
                other => other.to_string(),
            });
            self.turn.notify_all();
        }
    }

    fn forward(&self, table: &mut Table) {
        let mut asked = Vec::new();
        for (at, place) in table.places.iter_mut().enumerate() {
            if let Place::Inputs { parameters, inputs } = place {
                asked.push((at, std::mem::take(parameters), std::mem::take(inputs)));
            }
        }
        let networks = asked.len();
        let mut start = 0;
        let mut take = |shape: [usize; 2]| {
            let count = shape[0] * shape[1];
            let parts = asked.iter().flat_map(|(_, all, _)| &all[start..start + count]).copied();
            let data = TensorData::new(parts.collect::<Vec<f32>>(), [networks, shape[0], shape[1]]);
            start += count;
            Tensor::<3>::from_data(data, &self.device).require_grad()
        };
        let layers: Vec<(Tensor<3>, Tensor<3>)> = self
            .layers
            .iter()
            .map(|&(d_input, d_output)| (take([d_input, d_output]), take([1, d_output])))
            .collect();
        let d_input = self.layers[0].0;
        let rows = asked[0].2.len() / d_input;
        let inputs: Vec<f32> = asked.iter().flat_map(|(_, _, inputs)| inputs).copied().collect();
        let inputs = TensorData::new(inputs, [networks, rows, d_input]);
        let mut x = Tensor::<3>::from_data(inputs, &self.device);
        for (i, (weight, bias)) in layers.iter().enumerate() {
            if i > 0 {
                x = relu(x);
            }
            x = x.matmul(weight.clone()) + bias.clone();
        }
        let values = x.clone().inner().into_data();
        let values = values.as_slice::<f32>().expect("every tensor here is f32");
        let each = values.len() / networks;
        for ((at, ..), outputs) in asked.iter().zip(values.chunks_exact(each)) {
            table.places[*at] = Place::Outputs(outputs.to_vec());
        }
        let networks = asked.into_iter().map(|(at, ..)| at).collect();
        table.pending = Some(Pending { networks, layers, outputs: x });
    }

    fn backward(&self, table: &mut Table) {
        let Some(Pending { networks, layers, outputs }) = table.pending.take() else { return };
        let [_, rows, d_output] = outputs.dims();
        let mut by_output = Vec::with_capacity(networks.len() * rows * d_output);
        for &at in &networks {
            match &table.places[at] {
                Place::ByOutput(values) => by_output.extend_from_slice(values),
                // Whoever has left in between needs no gradient.
                _ => by_output.resize(by_output.len() + rows * d_output, 0.0),
            }
        }
        let by_output = Tensor::from_data(TensorData::new(by_output, outputs.dims()), &self.device);
        let mut slopes = (outputs * by_output).sum().backward();
        let parts: Vec<TensorData> = layers
            .iter()
            .flat_map(|(weight, bias)| [weight, bias])
            .map(|tensor| {
                let slope = tensor.grad_remove(&mut slopes);
                slope.expect("every layer is on the way to the loss").into_data()
            })
            .collect();
        for (position, &at) in networks.iter().enumerate() {
            if !matches!(table.places[at], Place::ByOutput(_)) {
                continue;
            }
            let mut gradient = Vec::new();
            for part in &parts {
                let values = part.as_slice::<f32>().expect("every tensor here is f32");
                let each = values.len() / networks.len();
                gradient.extend_from_slice(&values[position * each..(position + 1) * each]);
            }
            table.places[at] = Place::Gradient(gradient);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::Graph;
    use super::super::random::{Purpose, Stream};
    use super::*;

    const LAYERS: [(usize, usize); 2] = [(3, 4), (4, 2)];

    fn values(seed: u64, count: usize) -> Vec<f32> {
        let mut noise = Stream::new(seed, Purpose::Batch, 0);
        (0..count).map(|_| noise.unit() as f32 - 0.5).collect()
    }

    fn squares(outputs: &[f32], by_output: &mut [f32]) {
        by_output.iter_mut().zip(outputs).for_each(|(by, output)| *by = 2.0 * output);
    }

    /// Each network makes as many steps as its number says, so that they leave one after the other.
    #[test]
    fn each_network_gets_its_own_gradient_whoever_else_is_there() {
        let seats = seats(4, &LAYERS, Backend::Flex).unwrap();
        std::thread::scope(|scope| {
            for (network, seat) in seats.into_iter().enumerate() {
                scope.spawn(move || {
                    let graph =
                        Graph { layers: LAYERS.to_vec(), device: Backend::Flex.device().unwrap() };
                    for step in 0..=network {
                        let seed = (10 * network + step) as u64;
                        let (parameters, inputs) = (values(seed, 26), values(seed + 1, 15));
                        let (mut own, mut alone) = ([0.0; 26], [0.0; 26]);
                        seat.gradient(&parameters, &inputs, &mut own, squares).unwrap();
                        graph.gradient(&parameters, &inputs, &mut alone, |_, outputs, by| {
                            squares(outputs, by);
                        });
                        assert!(alone.iter().any(|slope| slope.abs() > 1e-3));
                        for (own, alone) in own.iter().zip(alone) {
                            assert!((own - alone).abs() < 1e-5, "{network}, {step}: {own} {alone}");
                        }
                    }
                });
            }
        });
    }
}
