//! The head `flow` through the commands, held against exact posteriors.

mod place;

use std::path::Path;
use std::sync::LazyLock;

use place::{Place, number};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use simground_runtime::Model;
use simground_trainer::float_model::FloatModel;
use simground_trainer::head::{Flow, Head};
use simground_trainer::study::Study;

/// Three of ten Gaussian means: the posterior of each is `N(x / 2, 0.05)`, whatever the others.
const GAUSSIAN: &str = r#"
name = "gaussian"
seed = 1
[[mechanism]]
kind = "gaussian-linear"
theta_1 = { normal = [0.0, 0.31622776601683794] }
theta_2 = { normal = [0.0, 0.31622776601683794] }
theta_3 = { normal = [0.0, 0.31622776601683794] }
theta_4 = { normal = [0.0, 0.31622776601683794] }
theta_5 = { normal = [0.0, 0.31622776601683794] }
theta_6 = { normal = [0.0, 0.31622776601683794] }
theta_7 = { normal = [0.0, 0.31622776601683794] }
theta_8 = { normal = [0.0, 0.31622776601683794] }
theta_9 = { normal = [0.0, 0.31622776601683794] }
theta_10 = { normal = [0.0, 0.31622776601683794] }
[network]
hidden = [32]
[[head]]
kind = "flow"
parameters = ["theta_1", "theta_2", "theta_3"]
hidden = [24, 24]
[bank]
prototypes = 16
[training]
simulations = 6_000
steps = 3_000
batch = 64
learning_rate = 3e-3
validation = 256
calibration = 1_024
validate_every = 200
patience = 1_000
"#;

/// Two crescents, between four ends.
const MOONS: &str = r#"
name = "moons"
seed = 1
[[mechanism]]
kind = "two-moons"
theta_1 = { uniform = [-1.0, 1.0] }
theta_2 = { uniform = [-1.0, 1.0] }
[network]
hidden = [32]
[[head]]
kind = "flow"
hidden = [32, 32]
[bank]
prototypes = 16
[training]
simulations = 4_000
steps = 3_000
batch = 64
learning_rate = 3e-3
validation = 256
calibration = 512
validate_every = 200
patience = 1_000
"#;

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::with("gaussian.toml", GAUSSIAN);
    place.write("moons.toml", MOONS);
    place.text("train gaussian.toml --out gaussian.sgnn --allow-uncalibrated");
    place.text("train moons.toml --out moons.sgnn --allow-uncalibrated");
    let header: Vec<String> = (1..=10).map(|at| format!("x_{at}")).collect();
    place.write("gaussian.csv", format!("{}\n{}\n", header.join(","), ["0.1"; 10].join(",")));
    place.write("point.csv", "x_1,x_2\n0.0,0.0\n0.2,-0.3\n");
    place
});

/// `[rows, samples, d]` for simulations that nothing saw, and their windows.
fn samples(artifact: &str, study: &str, rows: u64, count: usize) -> (Vec<Vec<f32>>, Vec<f32>) {
    let bytes = PLACE.bytes(artifact);
    let model = Model::from_bytes(&bytes).unwrap();
    let simulator = Study::parse(study, "study.toml").unwrap().simulator().unwrap();
    let corpus = simulator.simulate(77, 1 << 50..(1 << 50) + rows);
    let mut scratch = vec![0; model.scratch_words()];
    let of = |row: usize| {
        let mut inference = model.infer(corpus.x_row(row), &mut scratch).unwrap();
        let mut flow = inference.flow().unwrap();
        let d = flow.parameters().len();
        let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
        let mut drawn = vec![0.0; count * d];
        drawn.chunks_exact_mut(d).for_each(|theta| flow.sample(&mut rng, theta));
        drawn
    };
    ((0..corpus.len()).map(of).collect(), corpus.x.clone())
}

#[test]
fn samples_have_the_moments_of_the_exact_posterior() {
    let (drawn, x) = samples("gaussian.sgnn", GAUSSIAN, 60, 400);
    let (mut squares, mut variance, mut correlation, mut all) = (0.0, 0.0, 0.0, 0.0);
    for (drawn, x) in drawn.iter().zip(x.chunks_exact(10)) {
        let mean = |of: &dyn Fn(&[f32]) -> f64| drawn.chunks_exact(3).map(of).sum::<f64>() / 400.0;
        let center: Vec<f64> = (0..3).map(|at| mean(&|theta| f64::from(theta[at]))).collect();
        for at in 0..3 {
            squares += (center[at] - f64::from(x[at]) / 2.0).powi(2);
            variance += mean(&|theta| (f64::from(theta[at]) - center[at]).powi(2));
            all += 1.0;
        }
        correlation +=
            mean(&|theta| (f64::from(theta[0]) - center[0]) * (f64::from(theta[1]) - center[1]));
    }
    let (error, variance) = ((squares / all).sqrt(), variance / all);
    println!("error of means {error:.4}, variance {variance:.4}, covariance {correlation:.4}");
    // The exact means have a deviation of 0.22 themselves.
    assert!(error < 0.07, "{error}");
    assert!((variance / 0.05 - 1.0).abs() < 0.2, "{variance}");
    assert!((correlation / 60.0).abs() < 0.01, "{correlation}");
}

#[test]
fn both_crescents_have_samples_and_the_support_all() {
    let (drawn, x) = samples("moons.sgnn", MOONS, 60, 200);
    let mut nearer = 0.0;
    for (drawn, x) in drawn.iter().zip(x.chunks_exact(2)) {
        assert!(drawn.iter().all(|theta| (-1.0..=1.0).contains(theta)));
        // |theta_1 + theta_2| is fixed by the first value to within the crescent, whatever its sign.
        let along = |theta: &[f32]| (theta[0] + theta[1]) / 2.0_f32.sqrt();
        let near = |theta: &[f32]| ((along(theta).abs() + x[0]) - 0.3).abs() < 0.15;
        nearer += drawn.chunks_exact(2).filter(|theta| near(theta)).count() as f64 / 200.0;
    }
    assert!(nearer / 60.0 > 0.8, "{nearer}");
    let both = PLACE.json("predict moons.sgnn --input point.csv --samples 400 --seed 3");
    let drawn = both["predictions"][0]["samples"].as_array().unwrap();
    let above =
        drawn.iter().filter(|theta| theta[0].as_f64().unwrap() + theta[1].as_f64().unwrap() > 0.0);
    let share = above.count() as f64 / 400.0;
    assert!((0.3..0.7).contains(&share), "{share}");
}

#[test]
fn figures_beat_the_prior_and_integers_lose_little() {
    let judged = PLACE.json("evaluate moons.sgnn --count 500 --seed 77");
    let of = |model: &[&str]| number(&judged, &[model, &["energy_score", "theta"]].concat());
    let (integer, float, prior) = (of(&["integer"]), of(&["float"]), of(&["baselines", "prior"]));
    assert!(integer < 0.65 * prior, "{integer} {prior}");
    assert!((integer - float).abs() < 0.01 * float, "{integer} {float}");
}

#[test]
fn a_float_model_whose_parts_do_not_fit_is_refused() {
    let sound = FloatModel::from_bytes(&PLACE.bytes("moons.float"), Path::new("a")).unwrap();
    let refused = |change: &dyn Fn(&mut FloatModel)| {
        let mut model = sound.clone();
        change(&mut model);
        assert!(FloatModel::from_bytes(&model.to_bytes(), Path::new("a")).is_err());
    };
    let flow = |change: &'static dyn Fn(&mut Flow)| {
        move |model: &mut FloatModel| {
            if let Head::Flow(flow) = &mut model.heads[0] {
                change(flow);
            }
        }
    };
    refused(&flow(&|flow| flow.schedule.steps = 0));
    refused(&flow(&|flow| flow.schedule.steps = usize::MAX));
    refused(&flow(&|flow| flow.coordinates.truncate(1)));
    refused(&flow(&|flow| flow.hidden.clear()));
    refused(&flow(&|flow| flow.parameters.truncate(1)));
    refused(&|model| model.network.tails.clear());
    refused(&|model| {
        let last = model.network.tails[0].layers.pop().unwrap();
        model.network.tails[0].layers.push(last.leading(1));
    });
    refused(&|model| model.heads.clear());
}

#[test]
fn answers_are_read_and_repeated() {
    let text = PLACE.text("predict gaussian.sgnn --input gaussian.csv");
    assert!(text.contains("theta_3") && text.contains("mean"), "{text}");
    for name in ["a.parquet", "b.parquet"] {
        PLACE.text(&format!("predict moons.sgnn --input point.csv --samples 50 --out {name}"));
    }
    assert_eq!(PLACE.bytes("a.parquet"), PLACE.bytes("b.parquet"));
    let described = PLACE.json("inspect moons.sgnn");
    assert_eq!(described["heads"][0]["kind"], "flow");
    assert!(described["heads"][0]["steps"].as_u64().unwrap() >= 4, "{described}");
}
