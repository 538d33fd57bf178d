//! `simground label` as a process: what it writes, what it refuses, and that answers say where they come from.

mod place;

use place::{Place, stderr};

const STUDY: &str = include_str!("data/tiny.toml");

/// A folder with a trained artifact and two observations.
fn trained() -> Place {
    let place = Place::with("tiny.toml", STUDY);
    let header: Vec<String> = (1..=20).map(|day| format!("day_{day}")).collect();
    let window = |growth: f64| {
        let counts = (0..20).map(|day| format!("{}", (6.0 * growth.powi(day)).round()));
        counts.collect::<Vec<_>>().join(",")
    };
    place.write("data.csv", format!("{}\n{}\n{}\n", header.join(","), window(1.25), window(1.4)));
    place.text("run tiny.toml");
    place
}

#[test]
fn labels_are_kept_beside_the_artifact_and_name_what_is_like_them() {
    let place = trained();
    let artifact = place.bytes("tiny.sgnn");
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

    let held = place.bytes("field.sgad");
    place.fails(&format!("{label} --mechanism SIR --theta R9=2"), &["no parameter `R9`", "hint:"]);
    place.fails(&format!("{label} --mechanism SIR --row 2"), &["no row 2", "hint:"]);
    place.fails(&format!("{label} --mechanism SIR --prior 9"), &["hint: leave `--prior` out"]);
    assert!(place.bytes("field.sgad") == held);
    place.fails(&format!("{label} --mechanism a\u{1b}[31m --new"), &[r"a\u{1b}[31m", "printable"]);
    let warned = |bytes: &[u8], says: &str| {
        place.write("damaged.sgad", bytes);
        let output = place.run("predict tiny.sgnn --input data.csv --additions damaged.sgad");
        assert_eq!(output.status.code(), Some(0));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    };
    warned(&held[..held.len() - 3], "ends within a record");
    let mut changed = held.clone();
    *changed.last_mut().unwrap() ^= 1;
    warned(&changed, "1 of 3 records are broken");
    place.text("label tiny.sgnn --additions field.sgad --retract 2");
    place.fails(
        "label tiny.sgnn --additions field.sgad --retract 2",
        &["no labeled window in force is record 2", "in force are none"],
    );
    place.fails(
        "predict tiny.sgnn --input data.csv --additions data.csv",
        &["data.csv: not a region of additions"],
    );
    assert!(place.bytes("tiny.sgnn") == artifact, "never written");

    // Another training's embeddings are other ones.
    place.text("run tiny.toml --seed 2 --out other.sgnn");
    place.fails(
        "predict other.sgnn --input data.csv --additions field.sgad",
        &["additions to another artifact", "hint: an embedding means something"],
    );
}
