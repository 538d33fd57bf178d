//! The heads that answer theta, through the commands: scores, samples, supports.

mod place;

use std::sync::LazyLock;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use place::{Place, number};

/// One mechanism, so that every parameter belongs to all; `initial_infected` is a count.
const STUDY: &str = r#"
name = "joint"
seed = 1
[input]
steps = 20
[population]
size = 10_000
[[mechanism]]
kind = "SIR"
beta = { uniform = [0.3, 0.9], unit = "1/day" }
gamma = { uniform = [0.1, 0.3], unit = "1/day" }
initial_infected = { uniform = [5, 9], unit = "people" }
[observation]
series = "incidence"
reporting_fraction = { fixed = 0.8, unit = "1" }
[network]
hidden = [24, 16]
[[head]]
kind = "mixture"
components = 3
[[head]]
kind = "point"
parameters = ["gamma"]
[bank]
prototypes = 16
[training]
simulations = 4_000
steps = 1_500
batch = 64
learning_rate = 3e-3
validation = 256
calibration = 512
validate_every = 100
patience = 1_000
"#;

const PARAMETERS: [(&str, f64, f64); 3] =
    [("beta", 0.3, 0.9), ("gamma", 0.1, 0.3), ("initial_infected", 5.0, 9.0)];

/// A trained artifact and two observations.
static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::with("joint.toml", STUDY);
    let header: Vec<String> = (1..=20).map(|day| format!("day_{day}")).collect();
    let window = |growth: f64| {
        let counts = (0..20).map(|day| format!("{}", (4.0 * growth.powi(day)).round()));
        counts.collect::<Vec<_>>().join(",")
    };
    let table = format!("{}\n{}\n{}\n", header.join(","), window(1.2), window(1.35));
    place.write("data.csv", table);
    place.text("run joint.toml");
    place
});

#[test]
fn scores_beat_the_prior_and_integers_lose_little() {
    let judged = PLACE.json("evaluate joint.sgnn --count 2000 --seed 77");
    let of = |model: &[&str], metric: &str, target: &str| {
        number(&judged, &[model, &[metric, target]].concat())
    };
    let (integer, float, prior) = (["integer"], ["float"], ["baselines", "prior"]);
    let log_score = |model: &[&str]| of(model, "log_score", "theta");
    assert!(log_score(&integer) > log_score(&prior) + 1.0, "{judged}");
    assert!((log_score(&integer) - log_score(&float)).abs() < 0.05, "{judged}");
    // Uniform over ranges of 0.6, 0.2 and five whole numbers.
    assert!((log_score(&prior) + (0.6_f64 * 0.2 * 5.0).ln()).abs() < 0.03, "{judged}");
    for (name, ..) in PARAMETERS {
        assert!(of(&integer, "crps", name) < of(&prior, "crps", name), "{name}: {judged}");
    }
    assert!(of(&integer, "rmse", "gamma") < 0.95 * of(&prior, "rmse", "gamma"), "{judged}");
    let covered = of(&integer, "coverage90", "theta");
    assert!((0.83..0.97).contains(&covered), "{covered}");
    let levels = judged["calibration"]["theta"].as_array().unwrap();
    assert!(levels.iter().all(|l| (number(l, &["level"]) - number(l, &["observed"])).abs() < 0.1));
}

#[test]
fn samples_stay_inside_their_support_and_repeat() {
    let command = "predict joint.sgnn --input data.csv --samples 200 --seed 9";
    let document = PLACE.json(command);
    for prediction in document["predictions"].as_array().unwrap() {
        let samples = prediction["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 200);
        for (at, (name, low, high)) in PARAMETERS.into_iter().enumerate() {
            let values: Vec<f64> =
                samples.iter().map(|theta| theta[at].as_f64().unwrap()).collect();
            let inside = |value: f64| (low - 1e-6..=high + 1e-6).contains(&value);
            assert!(values.iter().all(|value| inside(*value)), "{name}: {values:?}");
            assert!(name != "initial_infected" || values.iter().all(|value| value.fract() == 0.0));
            let mean = values.iter().sum::<f64>() / 200.0;
            let stated = number(prediction, &["mean", name]);
            assert!(
                inside(stated) && (mean - stated).abs() < 0.1 * (high - low),
                "{mean} {stated}"
            );
            let quantile = |level| number(prediction, &["marginals", name, level]);
            assert!(quantile("0.05") < quantile("0.95"));
        }
    }
    assert_eq!(document, PLACE.json(command));
    assert_ne!(document, PLACE.json(&command.replace("--seed 9", "--seed 10")));
    // Without the float model and without samples: the means stay.
    let plain = PLACE.json("predict joint.sgnn --input data.csv");
    assert_eq!(plain["predictions"][0]["mean"], document["predictions"][0]["mean"]);
    assert!(plain["predictions"][0].get("samples").is_none());
}

#[test]
fn samples_go_into_a_parquet_file() {
    let out = PLACE.path("samples.parquet");
    let document = PLACE.json("predict joint.sgnn --input data.csv --samples 200 --seed 9");
    let told = PLACE
        .json("predict joint.sgnn --input data.csv --samples 200 --seed 9 --out samples.parquet");
    assert!(told["predictions"][0].get("samples").is_none());
    let file = std::fs::File::open(out).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut row = 0;
    for batch in reader.map(Result::unwrap) {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["row", "beta", "gamma", "initial_infected"]);
        let windows = batch.column(0).as_primitive::<UInt64Type>();
        for at in 0..batch.num_rows() {
            assert_eq!(windows.value(at), row / 200);
            let sample =
                &document["predictions"][(row / 200) as usize]["samples"][(row % 200) as usize];
            for column in 0..3 {
                let value = batch.column(column + 1).as_primitive::<Float32Type>().value(at);
                assert_eq!(f64::from(value), f64::from(sample[column].as_f64().unwrap() as f32));
            }
            row += 1;
        }
    }
    assert_eq!(row, 400);
}

#[test]
fn samples_that_nobody_can_have_are_refused() {
    PLACE.fails("predict joint.sgnn --input data.csv --samples 5", &["say where they go"]);
    PLACE.fails("predict joint.sgnn --input data.csv --samples 5 --out .", &["is a folder"]);
    for lost in ["joint.sgnn", "data.csv"] {
        let command = format!("predict joint.sgnn --input data.csv --samples 5 --out {lost}");
        PLACE.fails(&command, &[lost]);
    }
    PLACE.fails("predict joint.sgnn --input data.csv --seed 5", &["--samples"]);
    let without = STUDY.replace("kind = \"mixture\"\ncomponents = 3", "kind = \"point\"");
    let without = without.replace("[[head]]\nkind = \"point\"\nparameters = [\"gamma\"]\n", "");
    let place = Place::with("means.toml", &without);
    place.write("data.csv", PLACE.bytes("data.csv"));
    place.text("run means.toml --out means.sgnn");
    let samples = "predict means.sgnn --input data.csv --samples 5 --json";
    place.fails(samples, &["no joint posterior"]);
    assert!(place.text("predict means.sgnn --input data.csv").contains("mean       beta"));
}

#[test]
fn inspection_and_report_tell_the_heads() {
    let inspection = PLACE.json("inspect joint.sgnn");
    let mixture = &inspection["heads"][0];
    assert_eq!(
        (mixture["kind"].as_str(), mixture["components"].as_u64()),
        (Some("mixture"), Some(3))
    );
    assert_eq!(mixture["parameters"][0]["name"], "beta");
    assert!((number(&mixture["parameters"][0], &["high"]) - 0.9).abs() < 1e-6);
    let page = String::from_utf8(PLACE.bytes("joint.html")).unwrap();
    assert!(page.contains("mixture of 3 Gaussians") && page.contains("highest-density region"));
}
