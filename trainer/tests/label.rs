//! `simground label` as a process: what it writes, what it refuses, and that answers say where they come from.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

const STUDY: &str = include_str!("data/tiny.toml");

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with a trained artifact and two observations.
    fn trained() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::write(place.path("tiny.toml"), STUDY).unwrap();
        let header: Vec<String> = (1..=20).map(|day| format!("day_{day}")).collect();
        let window = |growth: f64| {
            let counts = (0..20).map(|day| format!("{}", (6.0 * growth.powi(day)).round()));
            counts.collect::<Vec<_>>().join(",")
        };
        let data = format!("{}\n{}\n{}\n", header.join(","), window(1.25), window(1.4));
        std::fs::write(place.path("data.csv"), data).unwrap();
        place.text("run tiny.toml");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simground"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path()).output().unwrap()
    }

    #[track_caller]
    fn text(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {message}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{arguments} --json"))).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &str, expected: &[&str]) {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
        for part in expected {
            assert!(message.contains(part), "{arguments}: no {part:?} in {message}");
        }
    }
}

#[test]
fn labels_are_kept_beside_the_artifact_and_name_what_is_like_them() {
    let place = Place::trained();
    let artifact = std::fs::read(place.path("tiny.sgnn")).unwrap();
    let before = place.json("predict tiny.sgnn --input data.csv");
    let label = "label tiny.sgnn --input data.csv --additions field.sgad";
    place.fails(
        &format!("{label} --mechanism spill"),
        &["no mechanism `spill`", "hint: there are SIR, SEIR", "--new"],
    );
    assert!(!place.path("field.sgad").exists(), "a refusal leaves nothing behind");
    let document = place.json(&format!("{label} --mechanism spill --new --row 0 --tag 7"));
    assert_eq!(document["in_force"], 1);
    assert_eq!(document["mechanisms"], serde_json::json!(["SIR", "SEIR", "spill"]));
    // The same window again is more of the same.
    let document = place.json(&format!("{label} --mechanism spill --row 0 --tag 8"));
    assert_eq!(document["appended"][0]["replaces"], 1);
    assert_eq!(document["appended"][0]["observations"], 2.0);

    let document = place.json("predict tiny.sgnn --input data.csv --additions field.sgad");
    for (row, prediction) in document["predictions"].as_array().unwrap().iter().enumerate() {
        let plain = &before["predictions"][row];
        for key in ["mechanism", "quantiles", "novelty"] {
            assert_eq!(prediction[key], plain[key], "the artifact's own answer stays");
        }
        let grown = &prediction["grown"];
        assert!(grown["novelty_of_both"].as_f64() >= plain["novelty"].as_f64());
    }
    let grown = &document["predictions"][0]["grown"];
    let spill = &grown["mechanism"]["spill"];
    assert_eq!(spill["probability"], spill["from_field"]);
    assert!(spill["probability"].as_f64().unwrap() > 0.0);
    assert_eq!(grown["nearest"][0]["part"], "field");
    assert_eq!(grown["nearest"][0]["tag"], 8);
    assert_eq!(grown["nearest"][0]["squared_distance"], 0);
    let text = place.text("explain tiny.sgnn --input data.csv --additions field.sgad");
    assert!(text.contains("mechanism, with the field") && text.contains("tag 8"), "{text}");

    let held = std::fs::read(place.path("field.sgad")).unwrap();
    place.fails(&format!("{label} --mechanism SIR --theta R9=2"), &["no parameter `R9`", "hint:"]);
    place.fails(&format!("{label} --mechanism SIR --row 2"), &["no row 2", "hint:"]);
    place.fails(&format!("{label} --mechanism SIR --prior 9"), &["hint: leave `--prior` out"]);
    assert!(std::fs::read(place.path("field.sgad")).unwrap() == held);
    place.text("label tiny.sgnn --additions field.sgad --retract 2");
    place.fails(
        "label tiny.sgnn --additions field.sgad --retract 2",
        &["no labeled window in force is record 2", "in force are none"],
    );
    place.fails(
        "predict tiny.sgnn --input data.csv --additions data.csv",
        &["data.csv: not a region of additions"],
    );
    assert!(std::fs::read(place.path("tiny.sgnn")).unwrap() == artifact, "never written");

    // Another training's embeddings are other ones.
    place.text("run tiny.toml --seed 2 --out other.sgnn");
    place.fails(
        "predict other.sgnn --input data.csv --additions field.sgad",
        &["additions to another artifact", "hint: an embedding means something"],
    );
}
