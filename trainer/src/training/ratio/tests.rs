use super::super::random::{Purpose, Stream};
use super::pairs::{Labeled, ScoredRows};
use super::*;

fn shape(activation: Activation, hidden: &[usize]) -> Shape {
    Shape { d_x: 3, d_theta: 2, hidden: hidden.to_vec(), activation }
}

fn numbers(count: usize, counter: u64) -> Vec<f32> {
    let mut stream = Stream::new(1, Purpose::Initialization, counter);
    (0..count).map(|_| (2.0 * stream.unit() - 1.0) as f32).collect()
}

fn batch() -> Batch {
    Batch {
        x: numbers(4 * 3, 10),
        theta: numbers(8 * 2, 11),
        target: numbers(8, 12).iter().map(|t| 0.5 + 0.5 * t).collect(),
        scored: ScoredRows {
            directions: numbers(4 * 2, 13),
            slopes: numbers(4, 14),
            weights: vec![0.5, 1.0, 0.25, 0.75],
        },
    }
}

/// A network with biases, since new ones have none.
fn network(shape: Shape) -> RatioNetwork {
    let mut network = RatioNetwork::new(shape, 2);
    let noise = numbers(network.parameters.len(), 15);
    network.parameters.iter_mut().zip(noise).for_each(|(p, noise)| *p += 0.3 * noise);
    network
}

#[test]
fn both_gradients_are_those_of_their_losses() {
    for (activation, hidden) in [
        (Activation::Tanh, &[7, 6][..]),
        (Activation::Tanh, &[9]),
        (Activation::Tanh, &[6, 5, 7]),
        (Activation::SmoothRelu, &[7, 6]),
        (Activation::Relu, &[7, 6]),
    ] {
        let network = network(shape(activation, hidden));
        let batch = batch();
        let mut workspace = Workspace::new(&network.shape);
        workspace.losses(&network, &batch);
        let gradients = [workspace.cross_entropy.clone(), workspace.score.clone()];
        let moved = |at: usize, by: f32| {
            let mut moved = network.clone();
            moved.parameters[at] += by;
            let losses = Workspace::new(&network.shape).losses(&moved, &batch);
            [losses.cross_entropy, losses.score]
        };
        // A step that carries some pair over a kink, with all parameters of that neuron, shows no derivative; a shorter one does.
        const STEPS: [f32; 3] = [2e-3, 5e-4, 1e-4];
        for (which, gradient) in gradients.iter().enumerate() {
            let scale = gradient.iter().fold(0.0_f32, |max, g| max.max(g.abs()));
            assert!(scale > 1e-2, "{activation:?} {hidden:?}: {scale}");
            let differs_by = |at: usize, step: f32| {
                let (up, down) = (moved(at, step)[which], moved(at, -step)[which]);
                let difference = (up - down) / f64::from(2.0 * step);
                (difference - f64::from(gradient[at])).abs() > 5e-3 * f64::from(scale)
            };
            let differs = |at: &usize| STEPS.iter().all(|step| differs_by(*at, *step));
            let wrong: Vec<usize> = (0..gradient.len()).filter(differs).collect();
            assert!(wrong.is_empty(), "{activation:?} {hidden:?} loss {which}: {wrong:?}");
        }
    }
}

#[test]
fn the_score_is_the_slope_of_the_log_ratio() {
    for activation in [Activation::Tanh, Activation::SmoothRelu] {
        let network = network(shape(activation, &[8, 8]));
        let Batch { x, theta, .. } = batch();
        let score = network.score(&x, &theta);
        const STEP: f32 = 1e-2;
        for (at, slope) in score.iter().enumerate() {
            let moved = |by: f32| {
                let mut theta = theta.clone();
                theta[at] += by;
                network.log_ratio(&x, &theta)[at / 2]
            };
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            assert!((difference - slope).abs() < 5e-3, "{activation:?}: {difference} for {slope}");
        }
    }
}

#[test]
fn the_smooth_rectifier_joins_its_parts() {
    let z = [-3.0, -1.0, 0.0, 1.0, 2.5];
    let mut a = [0.0; 5];
    Activation::SmoothRelu.apply(&z, &mut a);
    assert_eq!(a, [0.0, 0.0, 0.25, 1.0, 2.5]);
    let slopes = z.map(|z| Activation::SmoothRelu.derivatives(z, 0.0).0);
    assert_eq!(slopes, [0.0, 0.0, 0.5, 1.0, 1.0]);
}

#[test]
fn widths_are_chosen_by_the_number_of_parameters() {
    for (d_x, parameters) in [(20, 3_000), (128, 3_000), (64, 30_000)] {
        let shape = Shape::with_parameters(d_x, 2, parameters);
        assert_eq!(RatioNetwork::new(shape.clone(), 0).parameters.len(), shape.parameters());
        let found = shape.parameters() as f64 / parameters as f64;
        assert!((0.85..1.15).contains(&found), "{shape:?}: {}", shape.parameters());
    }
}

/// `x ~ N(theta, 0.5^2)` with theta uniform on `[-1, 1]`: the score is `4 (x - theta)`.
fn location(count: usize, counter: u64, scored: bool) -> Pairs {
    let mut stream = Stream::new(3, Purpose::Initialization, counter);
    let mut normal = || (0..12).map(|_| stream.unit()).sum::<f64>() - 6.0;
    let noise: Vec<f32> = (0..count).map(|_| 0.5 * normal() as f32).collect();
    let theta = numbers(count, counter + 1);
    let x: Vec<f32> = theta.iter().zip(&noise).map(|(theta, noise)| theta + noise).collect();
    let partners: Vec<u32> = (0..count as u32).map(|at| (at + 1) % count as u32).collect();
    let score = |at: usize, of: u32| 4.0 * (x[at] - theta[of as usize]);
    let scored = scored.then(|| ScoredPairs {
        num_partners: 1,
        joint: (0..count).map(|at| score(at, at as u32)).collect(),
        marginal: partners.iter().enumerate().map(|(at, &of)| score(at, of)).collect(),
        partners,
        labels: None,
    });
    Pairs::Contrastive(Contrastive { d_x: 1, d_theta: 1, x, theta, scored, symmetries: Vec::new() })
}

#[test]
fn the_score_teaches_the_ratio_from_few_simulations() {
    let shape =
        Shape { d_x: 1, d_theta: 1, hidden: vec![16, 16], activation: Activation::SmoothRelu };
    let (data, held_out) = (location(200, 20, true), location(100, 30, false));
    let Pairs::Contrastive(test) = location(300, 40, false) else { unreachable!() };
    let error = |weighting| {
        let settings = Settings {
            steps: 600,
            batch: 100,
            learning_rate: 3e-3,
            weight_decay: 1e-4,
            weighting,
            seed: 5,
        };
        let mut training = Training::new(&shape, &data, &held_out, settings);
        while training.advance(100) {}
        let network = training.finish().network;
        let found = network.score(&test.x, &test.theta);
        let pairs = found.iter().zip(test.x.iter().zip(&test.theta));
        pairs.map(|(s, (x, theta))| (s - 4.0 * (x - theta)).powi(2)).sum::<f32>() / 300.0
    };
    let (plain, augmented) = (error(Weighting::Plain), error(Weighting::Balanced));
    assert!(augmented < 0.5 * plain, "{augmented} after {plain}");
}

#[test]
fn a_training_in_parts_is_the_same_training() {
    let (data, held_out) = (location(60, 50, true), location(20, 51, false));
    let shape = shape(Activation::SmoothRelu, &[8]);
    let shape = Shape { d_x: 1, d_theta: 1, ..shape };
    let settings = Settings {
        steps: 50,
        batch: 16,
        learning_rate: 1e-3,
        weight_decay: 0.0,
        weighting: Weighting::Balanced,
        seed: 1,
    };
    let run = |parts: u64| {
        let mut training = Training::new(&shape, &data, &held_out, settings);
        while training.advance(parts) {}
        training.finish().network
    };
    assert_eq!(run(50), run(7));
}

#[test]
fn a_soft_label_has_the_ratio_as_its_optimum() {
    // One x, one theta: the classifier can only answer the mean of the labels.
    let target = vec![0.9, 0.7, 0.8, 0.8];
    let labeled =
        Labeled { d_x: 1, d_theta: 1, x: vec![1.0; 4], theta: vec![0.5; 4], target, score: None };
    let pairs = Pairs::Labeled(labeled);
    let shape = Shape { d_x: 1, d_theta: 1, hidden: vec![8], activation: Activation::Tanh };
    let settings = Settings {
        steps: 500,
        batch: 4,
        learning_rate: 1e-2,
        weight_decay: 0.0,
        weighting: Weighting::Plain,
        seed: 1,
    };
    let mut training = Training::new(&shape, &pairs, &pairs, settings);
    while training.advance(500) {}
    let found = training.finish().network.log_ratio(&[1.0], &[0.5])[0];
    assert!((found - 4.0_f32.ln()).abs() < 1e-2, "{found}");
}

/// Both losses of a tail as a graph of burn's tensors, the derivative by theta written out as one more pass forward.
#[test]
fn the_gradients_of_a_tail_are_burns() {
    use burn::tensor::{Device, Tensor, TensorData, activation::relu};
    let shape = TailShape {
        d_theta: 2,
        hidden: vec![6, 5],
        d_output: 1,
        activation: Activation::SmoothRelu,
    };
    let mut parameters = numbers(shape.parameters(), 60);
    let layout = shape.layout();
    let (pairs, scored) = (8, 3);
    let (data, theta) = (numbers(pairs * 6, 61), numbers(pairs * 2, 62));
    let target: Vec<f32> = (0..pairs).map(|at| f32::from(u8::from(at % 2 == 0))).collect();
    let weight: Vec<f32> = numbers(pairs, 63).iter().map(|w| 1.0 + 0.5 * w).collect();
    let rows = ScoredRows {
        directions: numbers(scored * 2, 64),
        slopes: numbers(scored, 65),
        weights: vec![0.5, 1.0, 0.25],
    };
    parameters.iter_mut().for_each(|p| *p *= 1.5);

    let mut tail = Tail::new(shape.clone());
    tail.data(pairs).copy_from_slice(&data);
    tail.forward(&parameters, &theta);
    let mut own = [vec![0.0; parameters.len()], vec![0.0; parameters.len()]];
    let cross_entropy = tail.cross_entropy(&parameters, &theta, &target, &weight, &mut own[0]);
    let by_data = [tail.by_data().to_vec()];
    tail.tangents(&parameters, &rows.directions);
    let score = tail.score(&parameters, &theta, &rows, &mut own[1]);
    let score_by_data = tail.score_by_data().to_vec();

    let device = Device::flex().autodiff();
    let matrix = |values: &[f32], columns: usize| -> Tensor<2> {
        let shape = [values.len() / columns, columns];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &device)
    };
    let leaf = |range: std::ops::Range<usize>, columns: usize| {
        matrix(&parameters[range], columns).require_grad()
    };
    let ramp = |z: Tensor<2>| z.mul_scalar(0.5).add_scalar(0.5).clamp(0.0, 1.0);
    let phi = |z: Tensor<2>| {
        let slope = ramp(z.clone());
        slope.clone() * slope + relu(z.sub_scalar(1.0))
    };
    for (which, own) in own.iter().enumerate() {
        let w_theta = leaf(layout.theta.clone(), 6);
        let (w, b) = (leaf(layout.layers[0].0.clone(), 6), leaf(layout.layers[0].1.clone(), 5));
        let (v, c) = (leaf(layout.layers[1].0.clone(), 5), leaf(layout.layers[1].1.clone(), 1));
        let n = if which == 0 { pairs } else { scored };
        let h = matrix(&data[..n * 6], 6).require_grad();
        let z_1 = h.clone() + matrix(&theta[..n * 2], 2).matmul(w_theta.clone());
        let z_2 = phi(z_1.clone()).matmul(w.clone().transpose()) + b.clone();
        let loss = if which == 0 {
            let f = phi(z_2).matmul(v.clone().transpose()) + c.clone();
            // max(f, 0) - target f + ln(1 + exp(-|f|))
            let each = relu(f.clone()) - f.clone() * matrix(&target, 1)
                + f.abs().neg().exp().add_scalar(1.0).log();
            (each * matrix(&weight, 1)).sum()
        } else {
            let t_1 = matrix(&rows.directions, 2).matmul(w_theta.clone());
            let t_2 = (ramp(z_1) * t_1).matmul(w.clone().transpose());
            let slope = (ramp(z_2) * t_2).matmul(v.clone().transpose());
            let error = slope - matrix(&rows.slopes, 1);
            (error.clone() * error * matrix(&rows.weights, 1)).sum().div_scalar(scored as f32)
        };
        let value = loss.clone().into_data().as_slice::<f32>().unwrap()[0];
        let expected = if which == 0 { cross_entropy } else { score };
        assert!((f64::from(value) - expected).abs() < 1e-5, "{value} {expected}");
        let mut gradients = loss.backward();
        let parts: Vec<Option<Tensor<2>>> =
            [&w_theta, &w, &b, &v, &c].map(|leaf| leaf.grad_remove(&mut gradients)).into();
        let lengths = shape.parts().into_iter().flat_map(|(weights, biases)| [weights, biases]);
        let lengths: Vec<usize> = lengths.filter(|len| *len > 0).collect();
        let mut burns = Vec::new();
        for (part, len) in parts.into_iter().zip(lengths) {
            // What no path leads from has no gradient.
            match part {
                Some(part) => burns.extend_from_slice(part.into_data().as_slice::<f32>().unwrap()),
                None => burns.resize(burns.len() + len, 0.0),
            }
        }
        let close = |own: &[f32], burns: &[f32]| {
            assert_eq!(own.len(), burns.len());
            for (own, burn) in own.iter().zip(burns) {
                assert!((own - burn).abs() < 1e-5 * (1.0 + burn.abs()), "{which}: {own} {burn}");
            }
        };
        close(own, &burns);
        let by_h = h.grad_remove(&mut gradients).unwrap().into_data();
        let own_by_h = if which == 0 { &by_data[0] } else { &score_by_data };
        close(own_by_h, by_h.as_slice::<f32>().unwrap());
    }
}

#[test]
fn labels_and_symmetries_reach_the_batch() {
    let (n, d_x) = (6, 3);
    let x: Vec<f32> = (0..n * d_x).map(|at| at as f32).collect();
    let contrastive = Contrastive {
        d_x,
        d_theta: 1,
        x,
        theta: (0..n).map(|at| at as f32).collect(),
        scored: Some(ScoredPairs {
            num_partners: 1,
            partners: (0..n as u32).map(|at| (at + 2) % n as u32).collect(),
            joint: vec![1.0; n],
            marginal: vec![2.0; n],
            labels: Some(Labels {
                joint: (0..n).map(|at| 0.5 + 0.01 * at as f32).collect(),
                marginal: (0..n).map(|at| 0.01 * at as f32).collect(),
            }),
        }),
        symmetries: vec![Symmetry { source: vec![2, 0, 1], sign: -1.0 }],
    };
    let draw = |pairs: Contrastive| {
        let mut batch = Batch::default();
        let mut stream = Stream::new(1, Purpose::Batch, 0);
        Pairs::Contrastive(pairs).draw(&[4, 1], Some(&[1.0]), &mut stream, &mut batch);
        batch
    };
    let batch = draw(contrastive.clone());
    assert_eq!(batch.x, [-14.0, -12.0, -13.0, -5.0, -3.0, -4.0]);
    assert_eq!(batch.theta, [4.0, 0.0, 1.0, 3.0]);
    assert_eq!(batch.target, [0.54, 0.04, 0.51, 0.01]);
    assert_eq!(batch.scored.slopes.len(), 2);
    // Without labels only the scored row has a partner of its own.
    let batch = draw(contrastive.with_hard_labels());
    assert_eq!(batch.theta, [4.0, 0.0, 1.0, 4.0]);
    assert_eq!(batch.target, [1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn the_gradient_of_a_squared_error_is_that_of_differences() {
    let shape = TailShape {
        d_theta: 3,
        hidden: vec![5, 4],
        d_output: 2,
        activation: Activation::SmoothRelu,
    };
    let parameters: Vec<f32> = numbers(shape.parameters(), 70).iter().map(|p| 1.5 * p).collect();
    let pairs = 6;
    let (data, theta) = (numbers(pairs * 5, 71), numbers(pairs * 3, 72));
    let target = numbers(pairs * 2, 73);
    let weight: Vec<f32> = numbers(pairs, 74).iter().map(|w| 1.0 + 0.5 * w).collect();
    let mut tail = Tail::new(shape);
    let mut loss = |parameters: &[f32], data: &[f32], gradient: &mut [f32]| {
        tail.data(pairs).copy_from_slice(data);
        tail.forward(parameters, &theta);
        let loss = tail.squared_error(parameters, &theta, &target, &weight, gradient);
        (loss, tail.by_data().to_vec())
    };
    let mut gradient = vec![0.0; parameters.len()];
    let (found, by_data) = loss(&parameters, &data, &mut gradient);
    assert!(found > 0.0);
    let (step, mut unused) = (1e-2_f32, gradient.clone());
    let mut compare = |which: usize, found: &[f32]| {
        for (at, found) in found.iter().enumerate() {
            let mut moved = |by: f32| {
                let mut changed = [parameters.clone(), data.clone()];
                changed[which][at] += by;
                loss(&changed[0], &changed[1], &mut unused).0
            };
            let secant = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
            assert!((secant - f64::from(*found)).abs() < 2e-3, "{which} {at}: {secant} {found}");
        }
    };
    compare(0, &gradient);
    compare(1, &by_data);
}
