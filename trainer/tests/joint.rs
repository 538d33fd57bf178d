//! The heads that answer theta, through the commands: scores, samples, supports.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

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
static PLACE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("joint.toml"), STUDY).unwrap();
    let header: Vec<String> = (1..=20).map(|day| format!("day_{day}")).collect();
    let window = |growth: f64| {
        let counts = (0..20).map(|day| format!("{}", (4.0 * growth.powi(day)).round()));
        counts.collect::<Vec<_>>().join(",")
    };
    let table = format!("{}\n{}\n{}\n", header.join(","), window(1.2), window(1.35));
    std::fs::write(place.path().join("data.csv"), table).unwrap();
    let output = run(place.path(), "run joint.toml");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    place
});

fn run(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simground"));
    command.args(arguments.split_whitespace()).current_dir(folder).output().unwrap()
}

#[track_caller]
fn json(arguments: &str) -> Value {
    let output = run(PLACE.path(), &format!("{arguments} --json"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(arguments: &str, says: &str) {
    let output = run(PLACE.path(), arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(says) && output.stdout.is_empty(), "{message}");
}

#[track_caller]
fn number(document: &Value, path: &[&str]) -> f64 {
    let value = path.iter().fold(document, |value, key| &value[*key]);
    value.as_f64().unwrap_or_else(|| panic!("no {path:?} in {document}"))
}

#[test]
fn scores_beat_the_prior_and_integers_lose_little() {
    let judged = json("evaluate joint.sgnn --count 2000 --seed 77");
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
    let document = json(command);
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
    assert_eq!(document, json(command));
    assert_ne!(document, json(&command.replace("--seed 9", "--seed 10")));
    // Without the float model and without samples: the means stay.
    let plain = json("predict joint.sgnn --input data.csv");
    assert_eq!(plain["predictions"][0]["mean"], document["predictions"][0]["mean"]);
    assert!(plain["predictions"][0].get("samples").is_none());
}

#[test]
fn samples_go_into_a_parquet_file() {
    let out: PathBuf = PLACE.path().join("samples.parquet");
    let document = json("predict joint.sgnn --input data.csv --samples 200 --seed 9");
    let told =
        json("predict joint.sgnn --input data.csv --samples 200 --seed 9 --out samples.parquet");
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
    fails("predict joint.sgnn --input data.csv --samples 5", "say where they go");
    fails("predict joint.sgnn --input data.csv --samples 5 --out .", "is a folder");
    fails("predict joint.sgnn --input data.csv --seed 5", "--samples");
    let without = STUDY.replace("kind = \"mixture\"\ncomponents = 3", "kind = \"point\"");
    let without = without.replace("[[head]]\nkind = \"point\"\nparameters = [\"gamma\"]\n", "");
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("means.toml"), without).unwrap();
    std::fs::copy(PLACE.path().join("data.csv"), place.path().join("data.csv")).unwrap();
    assert_eq!(run(place.path(), "run means.toml --out means.sgnn").status.code(), Some(0));
    let output = run(place.path(), "predict means.sgnn --input data.csv --samples 5 --json");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no joint posterior"));
    let output = run(place.path(), "predict means.sgnn --input data.csv");
    assert!(String::from_utf8_lossy(&output.stdout).contains("mean       beta"));
}

#[test]
fn inspection_and_report_tell_the_heads() {
    let inspection = json("inspect joint.sgnn");
    let mixture = &inspection["heads"][0];
    assert_eq!(
        (mixture["kind"].as_str(), mixture["components"].as_u64()),
        (Some("mixture"), Some(3))
    );
    assert_eq!(mixture["parameters"][0]["name"], "beta");
    assert!((number(&mixture["parameters"][0], &["high"]) - 0.9).abs() < 1e-6);
    let page = std::fs::read_to_string(PLACE.path().join("joint.html")).unwrap();
    assert!(page.contains("mixture of 3 Gaussians") && page.contains("highest-density region"));
}
