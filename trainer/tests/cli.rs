//! The commands as processes: their documents, their exit codes, and that nothing half done is left behind.

mod place;

use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use place::{Place, stderr};

const STUDY: &str = include_str!("data/tiny.toml");

/// A folder with the study in it.
fn with_study() -> Place {
    Place::with("tiny.toml", STUDY)
}

/// A place with a trained artifact and two observations.
fn trained() -> Place {
    static TRAINED: LazyLock<Place> = LazyLock::new(|| {
        let place = with_study();
        place.text("run tiny.toml");
        place
    });
    let place = with_study();
    for name in ["tiny.sgnn", "tiny.float"] {
        place.write(name, TRAINED.bytes(name));
    }
    place.write("data.csv", csv(&[window(1.25), window(1.4).replacen("6", "", 1)]));
    place
}

/// Twenty counts that grow.
fn window(growth: f64) -> String {
    let counts = (0..20).map(|day| format!("{}", (6.0 * growth.powi(day)).round()));
    counts.collect::<Vec<_>>().join(",")
}

fn csv(windows: &[String]) -> String {
    let header: Vec<String> = (1..=20).map(|day| format!("day_{day}")).collect();
    format!("# reported cases\n{}\n{}\n", header.join(","), windows.join("\n"))
}

#[track_caller]
fn has_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no key {key} in {value}");
    }
}

#[test]
fn run_leaves_everything_and_is_reproducible() {
    let place = with_study();
    let made = place.json("run tiny.toml");
    has_keys(
        &made,
        &[
            "artifact",
            "flash_bytes",
            "ram_bytes",
            "budget",
            "training",
            "quantization",
            "evaluation",
        ],
    );
    has_keys(&made["evaluation"], &["integer", "float", "baselines", "gate_failures"]);
    assert_eq!(place.names(), ["tiny.float", "tiny.html", "tiny.sgnn", "tiny.toml"]);
    let page = String::from_utf8(place.bytes("tiny.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("verified against the artifact"));
    for external in ["src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(external), "{external}");
    }

    std::fs::create_dir(place.path("again")).unwrap();
    place.write("again/tiny.toml", STUDY);
    place.text("run again/tiny.toml --out again/b.sgnn --threads 1");
    place.text("train tiny.toml --out again/c.sgnn --threads 2");
    assert!(place.bytes("tiny.sgnn") == place.bytes("again/b.sgnn"));
    assert!(place.bytes("tiny.sgnn") == place.bytes("again/c.sgnn"));
    assert!(place.bytes("tiny.float") == place.bytes("again/b.float"));
    place.text("run tiny.toml --out again/d.sgnn --seed 2");
    assert!(place.bytes("tiny.sgnn") != place.bytes("again/d.sgnn"));
    assert_eq!(place.json("inspect again/d.sgnn")["provenance"]["seed"], 2);
}

#[test]
fn an_embedding_wider_than_the_last_layer_is_narrowed() {
    let place = with_study();
    let (before, after) = STUDY.split_once("[bank]").unwrap();
    let (_, after) = after.split_once("[budget]").unwrap();
    // By default 256 prototypes of 16 dimensions; the last hidden layer has 8.
    place.write("bare.toml", format!("{before}[budget]{after}"));
    place.text("run bare.toml --out bare.sgnn");
    assert_eq!(place.json("inspect bare.sgnn")["bank"]["prototypes"], 256);
}

#[test]
fn a_bank_of_bytes_fits_them() {
    let place = with_study();
    place.write("tiny.toml", STUDY.replace("prototypes = 32", "kib = 2"));
    place.text("run tiny.toml --out tiny.sgnn");
    let inspection = place.json("inspect tiny.sgnn");
    let bytes = inspection["bank"]["bytes"].as_u64().unwrap();
    assert!((1_900..=2_048).contains(&bytes), "{bytes}");
    let agreement = inspection["metrics"]["bank_agreement/mechanism"].as_f64();
    assert!(agreement.is_some_and(|share| share > 0.5), "{}", inspection["metrics"]);
    place.write("data.csv", csv(&[window(1.25)]));
    let document = place.json("explain tiny.sgnn --input data.csv -k 1");
    let index = &document["explanations"][0]["nearest"][0]["index"];
    assert_eq!(place.json(&format!("replay tiny.sgnn --index {index}"))["verified"], true);
}

#[test]
fn inspect_needs_the_artifact_alone() {
    let place = trained();
    std::fs::remove_file(place.path("tiny.float")).unwrap();
    let inspection = place.json("inspect tiny.sgnn");
    has_keys(
        &inspection,
        &["flash_bytes", "ram_bytes", "parameters", "heads", "calibrated", "mechanisms", "metrics"],
    );
    has_keys(&inspection["bank"], &["prototypes", "bytes"]);
    has_keys(&inspection["provenance"], &["study_hash", "seed", "trainer"]);
    assert_eq!(inspection["flash_bytes"], place.bytes("tiny.sgnn").len());
    // 20 values with an indicator each -> 16 -> 8 -> 2 mechanisms and 4 targets at 5 levels.
    assert_eq!(inspection["parameters"], 41 * 16 + 17 * 8 + 9 * 22);
    assert!(place.text("inspect tiny.sgnn").contains("SIR, SEIR"));
}

#[test]
fn compile_writes_rust() {
    let place = trained();
    let document = place.json("compile tiny.sgnn");
    assert_eq!(document["file"], "tiny.rs");
    let bytes = place.bytes("tiny.sgnn");
    let model = simground_runtime::Model::from_bytes(&bytes).expect("an artifact");
    assert_eq!(document["scratch_words"], model.scratch_words());
    let whole = simground_compile::source(&model, simground_compile::Contents::Whole);
    assert_eq!(place.bytes("tiny.rs"), whole.as_bytes());

    let smaller = place.json("compile tiny.sgnn --answers-only --out answers.rs");
    assert!(smaller["tensor_bytes"].as_u64() < document["tensor_bytes"].as_u64());
    let answers = String::from_utf8(place.bytes("answers.rs")).expect("text");
    assert!(answers.contains("pub static MODEL") && answers.contains("study_hash: b\"\""));

    for own in ["main.rs", "tiny.sgnn"] {
        place.write("main.rs", "fn main() {}\n");
        let before = place.bytes(own);
        place.fails(&format!("compile tiny.sgnn --out {own}"), &[own, "hint: "]);
        assert_eq!(place.bytes(own), before);
    }
    place.write("tiny.sgnn", &bytes[..bytes.len() - 1]);
    place.fails("compile tiny.sgnn", &["error: tiny.sgnn: "]);
    assert_eq!(place.bytes("tiny.rs"), whole.as_bytes(), "an error leaves what was there");
}

#[test]
fn predict_answers_each_row() {
    let place = trained();
    std::fs::remove_file(place.path("tiny.float")).unwrap();
    let document = place.json("predict tiny.sgnn --input data.csv");
    assert_eq!(document["model"], "tiny");
    let predictions = document["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    for (row, prediction) in predictions.iter().enumerate() {
        assert_eq!(prediction["row"], row);
        assert_eq!(prediction["missing"], row);
        let probability = |name: &str| prediction["mechanism"][name].as_f64().unwrap();
        assert!((probability("SIR") + probability("SEIR") - 1.0).abs() < 1e-6);
        for target in ["R0", "cases+1", "cases+3"] {
            let quantile = |level: &str| prediction["quantiles"][target][level].as_f64().unwrap();
            let levels = ["0.05", "0.25", "0.5", "0.75", "0.95"];
            assert!(levels.windows(2).all(|pair| quantile(pair[0]) <= quantile(pair[1])));
        }
        let novelty = prediction["novelty"].as_f64().unwrap();
        assert!(0.0 < novelty && novelty <= 1.0);
        assert!(prediction.get("samples").is_none() && prediction.get("mean").is_none());
    }
    assert!(place.text("predict tiny.sgnn --input data.csv").contains("cases+1"));
}

#[test]
fn explain_replays_exactly() {
    let place = trained();
    let document = place.json("explain tiny.sgnn --input data.csv --replay -k 32");
    assert_eq!(document["theta_units"]["beta"], "1/day");
    for row in document["explanations"].as_array().unwrap() {
        has_keys(row, &["mechanism", "kernel_mechanism", "novelty", "novelty_words", "theta"]);
        let nearest = row["nearest"].as_array().unwrap();
        assert_eq!(nearest.len(), 32);
        let distances: Vec<u64> =
            nearest.iter().map(|near| near["squared_distance"].as_u64().unwrap()).collect();
        assert!(distances.is_sorted());
        for near in nearest {
            assert_eq!(near["replay"]["verified"], true);
            assert_eq!(near["replay"]["x"].as_array().unwrap().len(), 20);
            let beta = |value: &Value| value["theta"]["beta"].as_f64().unwrap();
            assert!((beta(near) - beta(&near["replay"])).abs() < 0.6 / 254.0);
        }
    }
    let text = place.text("explain tiny.sgnn --input data.csv --replay");
    assert!(text.contains("▁") && text.contains("verified"));
    // Without replays the artifact is enough.
    std::fs::remove_file(place.path("tiny.float")).unwrap();
    let document = place.json("explain tiny.sgnn --input data.csv -k 3");
    let nearest = &document["explanations"][0]["nearest"];
    assert_eq!(nearest.as_array().unwrap().len(), 3);
    assert!(nearest[0].get("replay").is_none());
    place.fails("explain tiny.sgnn --input data.csv --replay", &["tiny.float", "hint:"]);
    place.text("explain tiny.sgnn --input data.csv --replay --study tiny.toml");
}

#[test]
fn explain_draws_and_contrasts() {
    let place = trained();
    let explain = "explain tiny.sgnn --input data.csv";
    let document = place.json(&format!("{explain} --row 1 --svg near.svg"));
    assert_eq!(document["explanations"].as_array().unwrap().len(), 1);
    assert_eq!(document["explanations"][0]["row"], 1);
    let svg = String::from_utf8(place.bytes("near.svg")).unwrap();
    let nearest = document["explanations"][0]["nearest"][0]["index"].to_string();
    for text in ["<svg", "observed", "what followed", "novelty", &nearest] {
        assert!(svg.contains(text), "{text}");
    }

    let document = place.json(&format!("{explain} --row 0 --contrast SEIR --svg contrast.svg"));
    let contrast = &document["explanations"][0]["contrast"];
    assert_eq!(contrast["nearest"]["mechanism"], "SEIR");
    assert_eq!(contrast["against"]["mechanism"], "SIR");
    let inputs = contrast["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), 20);
    let sum: f64 = inputs.iter().map(|input| input["share"].as_f64().unwrap()).sum();
    let float = contrast["float_difference"].as_f64().unwrap();
    assert!((sum - float).abs() < 1e-3 * float.abs().max(1.0), "{sum} {float}");
    // The device's integers say the same up to rounding.
    let distance = |near: &str| contrast[near]["squared_distance"].as_f64().unwrap();
    assert_eq!(contrast["difference"].as_f64().unwrap(), distance("nearest") - distance("against"));
    let rounding = 0.05 * (distance("nearest") + distance("against")) + 50.0;
    assert!((float - contrast["difference"].as_f64().unwrap()).abs() < rounding, "{contrast}");
    assert!(String::from_utf8(place.bytes("contrast.svg")).unwrap().contains("speaks for SEIR"));
    let text = place.text(&format!("{explain} --row 0 --contrast SEIR"));
    assert!(text.contains("SIR or SEIR") || text.contains("or SEIR"), "{text}");
    assert!(
        text.lines().count() <= 40 && text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );

    place.fails(&format!("{explain} --svg near.svg"), &["data.csv: 2 windows", "--row"]);
    place.fails(&format!("{explain} --row 2"), &["data.csv: no row 2", "0 to 1"]);
    place.fails(&format!("{explain} --contrast SIS"), &["no mechanism `SIS`", "SIR, SEIR"]);
    place.fails(&format!("{explain} --seed 3"), &["hint: add `--replay`"]);
}

#[test]
fn clamped_inputs_are_named() {
    let place = trained();
    let row = window(1.2).replacen("6,", "9e12,", 1);
    place.write("far.csv", csv(&[row]));
    let warning =
        "warning: far.csv:3: 1 value outside the range of the simulations, clamped to it: day_1";
    for command in ["explain tiny.sgnn --input far.csv", "predict tiny.sgnn --input far.csv"] {
        let output = place.run(command);
        assert_eq!(output.status.code(), Some(0));
        assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    }
    let document = place.json("explain tiny.sgnn --input far.csv");
    assert_eq!(document["explanations"][0]["clamped"][0], "day_1");
}

#[test]
fn replay_regenerates_and_verifies() {
    let place = trained();
    let document = place.json("explain tiny.sgnn --input data.csv --replay -k 1");
    let near = &document["explanations"][0]["nearest"][0];
    let index = near["index"].as_u64().unwrap();
    let replayed = place.json(&format!("replay tiny.sgnn --index {index} --svg one.svg"));
    assert_eq!((&replayed["index"], &replayed["seed"]), (&near["index"], &1.into()));
    assert_eq!((&replayed["verified"], &replayed["prototype"]), (&true.into(), &near["prototype"]));
    assert_eq!(replayed["mechanism"], near["mechanism"]);
    assert_eq!(replayed["mass"], near["mass"]);
    assert_eq!(replayed["split"], "training");
    assert_eq!(replayed["x"], near["replay"]["x"]);
    assert_eq!(replayed["forecast"].as_array().unwrap().len(), 3);
    assert_eq!(replayed["theta_units"]["beta"], "1/day");
    assert!(String::from_utf8(place.bytes("one.svg")).unwrap().contains("before noise"));
    let text = place.text(&format!("replay tiny.sgnn --index {index}"));
    assert!(text.contains("verified: prototype") && text.contains("1/day"), "{text}");

    // The same simulation as any other way to simulate it.
    let other = 1_u64 << 40;
    let held_out = place.json(&format!("replay tiny.sgnn --index {other}"));
    assert_eq!((&held_out["verified"], &held_out["split"]), (&false.into(), &"validation".into()));
    assert_eq!(held_out["prototype"], Value::Null);
    let output = place.run(&format!("replay tiny.sgnn --index {other}"));
    assert!(stderr(&output).contains("the bank has no simulation"), "{}", stderr(&output));
    place.fails(&format!("replay tiny.sgnn --index {}", 1_u64 << 42), &["no simulation", "hint:"]);

    // The float model holds the study; without it the study must be named.
    std::fs::remove_file(place.path("tiny.float")).unwrap();
    place.fails(&format!("replay tiny.sgnn --index {index}"), &["tiny.float", "hint:"]);
    let named = place.json(&format!("replay tiny.sgnn --index {index} --study tiny.toml"));
    assert_eq!(named["verified"], true);
}

#[test]
fn a_replay_that_does_not_verify_is_an_error() {
    let place = trained();
    place.write("other.toml", STUDY.replace("uniform = [0.3, 0.9]", "uniform = [0.4, 0.9]"));
    let (before, after) = STUDY.split_once("[population]").unwrap();
    let (_, after) = after.split_once("[network]").unwrap();
    let foreign = format!("{before}[network]{after}").replace("steps = 20\n", "");
    place.write("foreign.toml", foreign);
    let index =
        place.json("explain tiny.sgnn --input data.csv")["explanations"][0]["nearest"][0]["index"]
            .as_u64()
            .unwrap();
    for command in [
        &format!("replay tiny.sgnn --index {index}"),
        "explain tiny.sgnn --input data.csv --replay",
    ] {
        let other = ["other.toml: not the study of this artifact", "hint:"];
        place.fails(&format!("{command} --study other.toml"), &other);
        place.fails(&format!("{command} --study foreign.toml"), &["foreign.toml: has no [[mech"]);
        place.fails(&format!("{command} --seed 9"), &["does not verify", "seed 9"]);
    }
}

#[test]
fn evaluate_judges_fresh_and_stored_simulations() {
    let place = trained();
    let fresh = place.json("evaluate tiny.sgnn --count 500 --seed 7");
    has_keys(
        &fresh,
        &["integer", "float", "baselines", "calibration", "largest_change", "gate_failures"],
    );
    assert_eq!(fresh["num_simulations"], 500);
    assert_eq!(fresh["seed"], 7);
    has_keys(&fresh["integer"], &["mae", "rmse", "coverage90", "accuracy", "ece", "log_score"]);
    has_keys(&fresh["baselines"], &["prior", "last_value"]);
    assert!(
        fresh["integer"]["mae"]["cases"].as_f64()
            < fresh["baselines"]["prior"]["mae"]["cases"].as_f64()
    );
    assert_eq!(fresh["calibration"]["quantiles"]["R0"][0]["level"].to_string(), "0.05");

    place.text("simulate tiny.toml --out corpus --count 400 --seed 8 --shard 0/2");
    place.text("simulate tiny.toml --out corpus --count 400 --seed 8 --shard 1/2");
    let all = place.json("evaluate tiny.sgnn --corpus corpus");
    assert_eq!((&all["num_simulations"], &all["corpus_simulations"]), (&400.into(), &400.into()));
    let some = place.run("evaluate tiny.sgnn --corpus corpus --count 100 --json");
    assert!(
        stderr(&some).contains("note: corpus: judged on 100 of 400 simulations, drawn at random")
    );
    let again = place.json("evaluate tiny.sgnn --corpus corpus --count 100");
    let some: serde_json::Value = serde_json::from_slice(&some.stdout).unwrap();
    assert_eq!((&some["num_simulations"], &some["corpus_simulations"]), (&100.into(), &400.into()));
    assert!(some == again && some["integer"] != all["integer"]);

    // The corpus that it was trained on flatters it; the same indices under another seed do not.
    let judged = place.run("evaluate tiny.sgnn --corpus corpus");
    assert!(!stderr(&judged).contains("flatter"), "{}", stderr(&judged));
    place.text("simulate tiny.toml --out trained --count 100");
    let judged = place.run("evaluate tiny.sgnn --corpus trained");
    assert_eq!(judged.status.code(), Some(0));
    let message = stderr(&judged);
    assert!(message.contains("warning: trained: 100 of 100 simulations"), "{message}");

    // Epidemics that no training saw: the intervals are wrong, and the gate says so.
    let slow = STUDY.replace("uniform = [0.1, 0.3]", "uniform = [0.02, 0.05]");
    place.write("slow.toml", slow);
    place.text("simulate slow.toml --out slow --count 400");
    let output = place.run("evaluate tiny.sgnn --corpus slow --gate");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("gate failed: the 90 % interval"));
    assert_eq!(place.run("evaluate tiny.sgnn --corpus slow").status.code(), Some(0));
}

#[test]
fn calibration_is_drawn_and_told() {
    let place = trained();
    let judged = place.json("evaluate tiny.sgnn --count 1000 --seed 7 --figures figures");
    let calibration = &judged["calibration"];
    has_keys(calibration, &["mechanism", "mechanisms", "quantiles", "sbc", "novelty", "gate"]);
    has_keys(&calibration["gate"], &["level", "tolerance", "tests", "resolution", "failures"]);
    // R0 and three steps of the forecast, each with six cells around five levels.
    let sbc = calibration["sbc"].as_array().unwrap();
    assert_eq!(sbc.len(), 4);
    for marginal in sbc {
        has_keys(marginal, &["target", "edges", "counts", "p_value", "width90", "prior_width90"]);
        let counts = marginal["counts"].as_array().unwrap().iter();
        assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 1_000);
    }
    for name in ["ranks", "ecdf", "coverage", "reliability"] {
        let svg = String::from_utf8(place.bytes(&format!("figures/{name}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{name}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count(), "{name}");
        assert!(svg.contains("tiny: ") && !svg.contains("#123456"), "{name}");
    }
    assert!(!place.path("figures/contraction.svg").exists(), "no head has moments");
    let text = place.text("evaluate tiny.sgnn --count 1000 --seed 7");
    assert!(text.contains("p of ranks") && text.contains("calibration gate passed"), "{text}");
}

#[test]
fn a_model_that_is_not_calibrated_needs_leave_to_be_written() {
    let place = Place::with("tiny.toml", include_str!("data/one-gaussian.toml"));
    let refused = place.run("run tiny.toml");
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    let message = stderr(&refused);
    assert!(message.contains("gate failed: not calibrated: the "), "{message}");
    let again = "simground run tiny.toml --out tiny.sgnn --resume --allow-uncalibrated";
    assert!(message.contains("tiny.sgnn: not written") && message.contains(again), "{message}");
    assert_eq!(place.names(), ["tiny.checkpoint", "tiny.html", "tiny.toml"]);
    let page = String::from_utf8(place.bytes("tiny.html")).unwrap();
    assert!(page.contains("Not calibrated: "));

    let allowed = place.run("run tiny.toml --resume --allow-uncalibrated --json");
    assert_eq!(allowed.status.code(), Some(0), "{}", stderr(&allowed));
    let message = stderr(&allowed);
    assert!(
        message.contains("warning: not calibrated") && !message.contains("step 10/"),
        "{message}"
    );
    let made: Value = serde_json::from_slice(&allowed.stdout).unwrap();
    assert_eq!(made["artifact"], "tiny.sgnn");
    assert_eq!(place.names(), ["tiny.float", "tiny.html", "tiny.sgnn", "tiny.toml"]);
    assert_eq!(place.json("inspect tiny.sgnn")["calibrated"], false);
    assert!(place.text("inspect tiny.sgnn").contains("no: failed the calibration gate"));
}

#[test]
fn simulate_leaves_complete_shards_alone() {
    let place = with_study();
    let shard = "simulate tiny.toml --out corpus --count 100 --shard 1/4";
    let first = place.json(shard);
    assert_eq!((&first["written"], &first["num_simulations"]), (&true.into(), &25.into()));
    assert_eq!(place.json(shard)["written"], false);
    place.fails("simulate tiny.toml --out corpus --count 100 --shard 4/4", &["0 to N - 1"]);
    place.fails(
        "simulate tiny.toml --out corpus --count 99 --shard 0/4",
        &["the number of simulations"],
    );
}

#[test]
fn train_reads_a_stored_corpus() {
    let place = with_study();
    place.text("simulate tiny.toml --out corpus --count 2000");
    place.text("train tiny.toml --corpus corpus --out a.sgnn");
    place.write("data.csv", csv(&[window(1.3)]));
    let document = place.json("explain a.sgnn --input data.csv --replay");
    assert_eq!(document["explanations"][0]["nearest"][4]["replay"]["verified"], true);

    // A corpus with a seed of its own is replayed by that one, and known again when it judges.
    place.text("simulate tiny.toml --out nine --count 1000 --seed 9");
    place.text("train tiny.toml --corpus nine --out n.sgnn");
    let document = place.json("explain n.sgnn --input data.csv --replay");
    assert_eq!(document["seed"], 9);
    assert_eq!(document["explanations"][0]["nearest"][4]["replay"]["verified"], true);
    let page = String::from_utf8(place.bytes("n.html")).unwrap();
    assert!(page.contains("seed of the stored corpus") && page.contains("verified against"));
    assert!(stderr(&place.run("evaluate n.sgnn --corpus nine")).contains("1000 of 1000"));
    assert!(!stderr(&place.run("evaluate n.sgnn --corpus corpus")).contains("flatter"));

    // A study without a simulator: enough to train from a corpus, not to simulate.
    let cut = |from: &str, to: &str, text: &str| {
        let (start, end) = (text.find(from).unwrap(), text.find(to).unwrap());
        format!("{}{}", &text[..start], &text[end..])
    };
    let foreign = cut("[population]", "[network]", STUDY).replace("steps = 20\n", "");
    place.write("foreign.toml", &foreign);
    place.text("train foreign.toml --corpus corpus --out f.sgnn");
    place.fails("run foreign.toml --out g.sgnn", &["foreign.toml", "[[mechanism]]", "--corpus"]);
    place.fails("explain f.sgnn --input data.csv --replay", &["f.sgnn", "foreign corpus"]);
    let document = place.json("explain f.sgnn --input data.csv");
    let near = &document["explanations"][0]["nearest"][0];
    let (index, mechanism) = (&near["index"], near["mechanism"].as_str().unwrap());
    place.fails(
        &format!("replay f.sgnn --index {index}"),
        &["foreign corpus", &format!("simulation {index}"), mechanism, "beta = ", "hint:"],
    );
    place
        .fails("replay f.sgnn --index 123456", &["simulation 123456", "does not have it", "hint:"]);
    place.fails("evaluate f.sgnn", &["f.sgnn", "foreign corpus", "--corpus"]);
    // Missing values in the corpus of a study that refuses them.
    place.write("strict.toml", foreign.replace("\"allow\"", "\"refuse\""));
    place.fails(
        "train strict.toml --corpus corpus --out s.sgnn",
        &["corpus/shard-00000-of-00001.parquet: row ", "column `x`: entry ", "is missing", "hint:"],
    );
    assert!(!place.path("s.checkpoint").exists());

    place.text("evaluate f.sgnn --corpus corpus");
    place.text("report f.sgnn --corpus corpus --out page.html");
}

#[test]
fn init_writes_a_study_that_trains() {
    let place = with_study();
    place.text("simulate tiny.toml --out corpus --count 200");
    let made = place.json("init --corpus corpus");
    assert_eq!((&made["study"], &made["name"]), (&"study.toml".into(), &"corpus".into()));
    assert_eq!(made["heads"], serde_json::json!(["categorical", "quantiles", "mixture"]));
    let study = place.bytes("study.toml");
    assert!(String::from_utf8_lossy(&study).contains("missing = \"allow\""));
    place.fails("init --corpus corpus", &["study.toml: exists", "hint:", "--out"]);
    assert!(study == place.bytes("study.toml"));
    place.text("train study.toml --corpus corpus --out made.sgnn");
    assert_eq!(place.json("inspect made.sgnn")["heads"].as_array().unwrap().len(), 3);
    place.text("simulate tiny.toml --out few --count 100");
    place.fails("init --corpus few --out few.toml", &["few: ", "125 rows at least"]);
    assert!(!place.path("few.toml").exists());
}

#[test]
fn reproduce_lists_and_runs_experiments() {
    let place = with_study();
    let listed = place.json("reproduce --list");
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"outbreak"), "{names:?}");
    let document = place.json("reproduce outbreak --quick --seeds 5,7-8 --figures pictures");
    has_keys(&document, &["rows", "summary", "seeds", "command"]);
    assert_eq!(document["seeds"], serde_json::json!([5, 7, 8]));
    let row = document["rows"].as_array().unwrap().iter().find(|row| row["metric"] == "mae");
    has_keys(row.unwrap(), &["value", "value_sd", "value_min", "value_max"]);
    let mae = document["summary"]["mae"].as_f64().unwrap();
    assert!(mae < document["summary"]["last_value_mae"].as_f64().unwrap(), "{document}");
    let document = place.json("reproduce score-sis --quick --seeds 1");
    let summary = &document["summary"];
    has_keys(summary, &["data_equivalence", "time_ratio", "score_seconds"]);
    assert!(summary["data_equivalence"].as_f64().unwrap() > 0.0, "{document}");
    let rows = document["rows"].as_array().unwrap();
    let figure = |method: &str, column: &str| {
        rows.iter().rfind(|row| row["method"] == method).unwrap()[column].as_f64().unwrap()
    };
    for method in ["plain", "augmented"] {
        assert!(figure(method, "bce") < figure("constant ratio", "bce"), "{document}");
        assert!(figure(method, "bce") > figure("exact likelihood", "bce"), "{document}");
    }
    let document = place.json("reproduce galton --quick --seeds 1-2 --at-most 200");
    let summary = &document["summary"];
    let (plain, alices) = (&summary["plain_200"], &summary["alices_200"]);
    assert!(alices.as_f64().unwrap() < 0.5 * plain.as_f64().unwrap(), "{document}");
    assert!(summary.get("plain_1000").is_none(), "{document}");
    place.fails("reproduce score-sis --at-most 10", &["the smallest training has 1000"]);
    place.fails("reproduce nothing", &["no experiment `nothing`", "outbreak"]);
    place.fails("reproduce outbreak --seeds 3-1", &["`3-1` is no seed"]);
}

/// Uniform on simulations, and not on what the study does not know.
#[test]
fn reproduce_compares_posteriors_with_exact_ones() {
    let place = with_study();
    let document = place.json("reproduce posteriors --quick --seeds 1");
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 10, "two tasks, five observations each");
    has_keys(&rows[0], &["task", "simulations", "observation", "c2st_integer", "c2st_float"]);
    // In ten dimensions 250 simulations bring samples hardly nearer to the posterior; the log score sees what they do bring.
    for (task, gain) in [("two-moons", 0.05), ("gaussian-linear-uniform", 0.0)] {
        let figure = |name: &str| {
            document["summary"][format!("{task}_250_{name}")].as_f64().unwrap_or(f64::NAN)
        };
        assert!(figure("c2st_integer") < figure("c2st_prior") - gain, "{document}");
        assert!(figure("log_score_integer") > figure("log_score_prior") + 1.0, "{document}");
        assert!(figure("flash_bytes") <= 65_536.0, "{document}");
    }
    place.fails("reproduce posteriors --at-most 10", &["the smallest training has 1000"]);
}

#[test]
fn reproduce_measures_the_power_of_novelty() {
    let place = with_study();
    let document = place.json("reproduce novelty-power --quick --seeds 5,6");
    let rows = document["rows"].as_array().unwrap();
    let power = |fault: &str, level: f64| {
        let row = rows.iter().find(|row| {
            row["fault"] == fault
                && row["method"] == "novelty on the device"
                && (fault == "none" || row["level"] == level)
        });
        row.unwrap()["power"].as_f64().unwrap()
    };
    // P-values of simulations are uniform, small ones included; those of a broken sensor are not.
    let uniform =
        &document["summary"]["novelty on the device: smallest p of Kolmogorov and Smirnov"];
    assert!(uniform.as_f64().unwrap() > 1e-4, "{document}");
    assert!((power("none", 0.0) - 0.05).abs() < 0.025, "{document}");
    assert!(power("sensor fault: zeros", 16.0) > 0.25, "{document}");
}

/// A mechanism with an exact likelihood: simulated with scores, trained from the stored corpus and replayed.
#[test]
fn a_mechanism_that_comes_to_its_x_by_itself_goes_the_whole_way() {
    const SIS: &str = include_str!("../studies/sis.toml");
    let place = with_study();
    let small = "[training]\nsimulations = 2_000\nsteps = 300\nbatch = 64\nvalidation = 256\nvalidate_every = 10\npatience = 1_000\ncalibration = 1_024\n[bank]\nprototypes = 32\n";
    let study = SIS.replace("[training]\nsimulations = 100_000\n", small);
    assert!(study.contains("validation = 256"));
    place.write("sis.toml", &study);
    place.text("simulate sis.toml --out corpus --count 1000");
    place.text("train sis.toml --corpus corpus --out s.sgnn");
    let header: Vec<String> = (1..=20).map(|at| format!("infected_{at}")).collect();
    let row = ["9"; 20].join(",");
    place.write("counts.csv", format!("{}\n{row}\n", header.join(",")));
    let document = place.json("explain s.sgnn --input counts.csv --replay");
    let nearest = &document["explanations"][0]["nearest"];
    for near in nearest.as_array().unwrap() {
        assert_eq!(near["mechanism"], "SIS");
        assert_eq!(near["replay"]["verified"], true);
        assert_eq!(near["replay"]["x"].as_array().unwrap().len(), 20);
        assert!(near["theta"]["infection_rate"].as_f64().unwrap() > 0.39);
    }
    place.text("run sis.toml --out r.sgnn");
    let again = place.json("evaluate r.sgnn --count 500 --seed 3");
    let mae = |of: &Value| of["mae"]["recovery_rate"].as_f64().unwrap();
    assert!(mae(&again["integer"]) < 0.8 * mae(&again["baselines"]["prior"]), "{again}");
}

#[test]
fn report_is_one_page() {
    let place = trained();
    let document = place.json("report tiny.sgnn --out page.html --count 300");
    assert_eq!(document["bytes"], place.bytes("page.html").len());
    place.fails("report tiny.sgnn --out nowhere/page.html --count 300", &["nowhere/page.html"]);
    place.fails("report tiny.sgnn --out . --count 300", &["is a folder"]);
    // What is not a page stays what it is.
    place.fails("replay tiny.sgnn --index 1 --svg tiny.float", &["is not an SVG picture"]);
    let before = (place.bytes("tiny.sgnn"), place.bytes("tiny.float"));
    for out in ["tiny.sgnn", "./tiny.sgnn", "tiny.float", "../{}/tiny.float"] {
        let folder = place.path("").file_name().unwrap().to_str().unwrap().to_owned();
        let out = out.replace("{}", &folder);
        place.fails(&format!("report tiny.sgnn --out {out} --count 300"), &["is not an HTML page"]);
    }
    assert!(before == (place.bytes("tiny.sgnn"), place.bytes("tiny.float")));
}

#[test]
fn bad_artifacts_are_errors() {
    let place = trained();
    let artifact = place.bytes("tiny.sgnn");
    let check = |bytes: &[u8], what: &str| {
        place.write("bad.sgnn", bytes);
        for command in
            ["inspect bad.sgnn", "predict bad.sgnn --input data.csv", "evaluate bad.sgnn"]
        {
            place.fails(command, &["error: bad.sgnn: ", what]);
        }
    };
    for length in [0, 3, 31, 32, artifact.len() / 2, artifact.len() - 1] {
        check(&artifact[..length], "cut");
    }
    let mut changed = artifact.clone();
    changed[artifact.len() / 2] ^= 4;
    check(&changed, "checksum");
    check(b"PAR1 is something else", "not an artifact");
    place.fails("inspect absent.sgnn", &["absent.sgnn"]);
    let other = place.bytes("tiny.float");
    place.write("tiny.float", &other[..other.len() - 1]);
    place.fails("evaluate tiny.sgnn --count 100", &["tiny.float", "another artifact"]);
}

#[test]
fn bad_inputs_are_errors() {
    let place = trained();
    let check = |content: &str, expected: &[&str]| {
        place.write("bad.csv", content);
        place.fails("predict tiny.sgnn --input bad.csv", expected);
        place.fails("explain tiny.sgnn --input bad.csv", expected);
    };
    let good = csv(&[window(1.2)]);
    check("", &["bad.csv: empty", "hint:"]);
    check(&csv(&[]), &["bad.csv: a header without rows"]);
    check("a,b\n1,2\n", &["bad.csv:1: 2 columns", "20 values"]);
    check(&format!("{good}1,2,3\n"), &["bad.csv:4: 3 columns where the header has 20"]);
    check(&good.replace("\n6,", "\nsix,"), &["bad.csv:3: column `day_1`: `six` is not a number"]);
    check(&good.replace("\n6,", "\n-6,"), &["bad.csv:3: column `day_1`: -6 is negative"]);
    check(&good.replace("\n6,", "\ninf,"), &["bad.csv:3: column `day_1`: `inf` is not finite"]);
    check(&good.replace("day_2,", "day_1,"), &["bad.csv:2: two columns are named `day_1`"]);
    place.fails("predict tiny.sgnn --input absent.csv", &["absent.csv"]);

    // A model that was trained without missing values refuses them.
    let strict = STUDY.replace("missing = \"allow\"", "missing = \"refuse\"");
    let strict = strict.replace("missing_fraction = { uniform = [0.0, 0.2], unit = \"1\" }\n", "");
    place.write("strict.toml", strict.replace("name = \"tiny\"", "name = \"strict\""));
    place.text("run strict.toml");
    place.write("gap.csv", good.replace("\n6,", "\n,"));
    place.fails(
        "predict strict.sgnn --input gap.csv",
        &["gap.csv:3: column `day_1`: missing", "hint:"],
    );
    place.text("predict tiny.sgnn --input gap.csv");
    place.text("simulate tiny.toml --out gaps --count 100");
    let expected = ["gaps: row ", "of the corpus, column `x`", "is missing"];
    place.fails("evaluate strict.sgnn --corpus gaps", &expected);
    place.fails("report strict.sgnn --corpus gaps --out gaps.html", &expected);
    assert!(!place.path("gaps.html").exists());
}

#[test]
fn bad_studies_and_places_are_found_before_training() {
    let place = with_study();
    let check = |study: &str, expected: &[&str]| {
        place.write("bad.toml", study);
        place.fails("run bad.toml --out bad.sgnn", expected);
    };
    check(&STUDY.replace("[0.3, 0.9]", "[-0.3, 0.9]"), &["bad.toml:15:21:", "beta"]);
    check(&STUDY.replace("hidden =", "hiden ="), &["bad.toml:", "hidden"]);
    check(&STUDY.replace("flash_kib = 16", "flash_kib = 4"), &["bad.toml", "flash", "hint:"]);
    let name = |name: &str| STUDY.replace("name = \"tiny\"", &format!("name = '{name}'"));
    check(&name("../tiny"), &["bad.toml:3:8: `name`", "name a file"]);
    check(
        &STUDY.replace("hidden = [16, 8]", "hidden = [4096, 4096, 4096, 4096]"),
        &["bad.toml: flash", "network alone"],
    );
    check(
        &STUDY.replace("steps = 20\n", "steps = 2049\n"),
        &["bad.toml: the window", "has 4098 values", "at most 4096"],
    );
    let known = STUDY.replace("beta = { uniform = [0.3, 0.9]", "beta = { fixed = 0.5");
    check(
        &known.replace("\"R0\", ", "\"beta\", "),
        &["bad.toml:43:12: target `beta` is 0.5 in all", "hint: remove `beta`"],
    );
    let (before, after) = STUDY.split_once("[observation]").unwrap();
    let more = (0..15).map(|at| {
        format!(
            "[[mechanism]]\nkind = \"SIR\"\nname = \"m{at}\"\nbeta = {{ fixed = 0.5, unit = \"1/day\" }}\n\
             gamma = {{ fixed = 0.2, unit = \"1/day\" }}\ninitial_infected = {{ fixed = 5, unit = \"people\" }}\n\n"
        )
    });
    let many: String = more.collect();
    check(
        &format!("{before}{many}[observation]{after}"),
        &["bad.toml: the corpus has 17 mechanisms", "at most 16"],
    );
    let levels: Vec<String> = (1..18).map(|at| (f64::from(at) / 18.0).to_string()).collect();
    check(
        &STUDY.replace("0.05, 0.25, 0.5, 0.75, 0.95", &levels.join(", ")),
        &["bad.toml:44:10: `levels` has 17", "at most 16"],
    );
    place.fails("run absent.toml", &["absent.toml"]);
    place.fails("run tiny.toml --out nowhere/a.sgnn", &["nowhere/a.sgnn", "cannot write"]);
    place.fails("run tiny.toml --out .", &["is a folder"]);
    place.fails("run tiny.toml --out a.float", &["a.sgnn"]);
    place.fails("train tiny.toml --corpus nowhere --out a.sgnn", &["nowhere"]);
    place.fails("run tiny.toml --backend abacus", &["abacus"]);
    if !cfg!(feature = "cuda") {
        let missing =
            ["no backend `cuda`", "hint: build with `--features cuda`", "`--backend flex`"];
        place.fails("run tiny.toml --backend cuda", &missing);
    }
    place.fails("frobnicate", &["frobnicate"]);
    assert_eq!(place.names(), ["bad.toml", "tiny.toml"]);
}

/// A study that trains long enough to be stopped.
fn long() -> String {
    STUDY.replace("steps = 300", "steps = 6_000")
}

/// Starts a training and waits for its first checkpoint.
fn until_checkpoint(place: &Place) -> Child {
    let mut command = place.command("run tiny.toml --out stopped.sgnn");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !place.path("stopped.checkpoint").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_killed_training_resumes_to_the_same_bytes() {
    let place = with_study();
    place.write("tiny.toml", long());
    let mut child = until_checkpoint(&place);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "the training ended before it was killed");
    assert!(!place.path("stopped.sgnn").exists() && !place.path("stopped.float").exists());

    place.text("run tiny.toml --out whole.sgnn");
    let resumed = place.run("run tiny.toml --out stopped.sgnn --resume");
    assert_eq!(resumed.status.code(), Some(0), "{}", stderr(&resumed));
    assert!(!stderr(&resumed).contains("step 10/"), "started anew");
    assert!(place.bytes("whole.sgnn") == place.bytes("stopped.sgnn"));
    assert!(place.bytes("whole.float") == place.bytes("stopped.float"));
    assert!(!place.path("stopped.checkpoint").exists());

    // Without `--resume` whatever lies there is ignored.
    place.write("whole.checkpoint", "rubbish");
    place.fails("run tiny.toml --out whole.sgnn --resume", &["whole.checkpoint"]);
    place.text("run tiny.toml --out whole.sgnn");
    assert!(place.bytes("whole.sgnn") == place.bytes("stopped.sgnn"));
    let anew = place.run("run tiny.toml --out whole.sgnn --resume");
    assert!(stderr(&anew).contains("whole.checkpoint: no such checkpoint, starting anew"));
}

#[test]
fn two_trainings_do_not_share_a_name() {
    let place = with_study();
    // Long enough for any machine: it is killed.
    let endless = long().replace("steps = 6_000", "steps = 2_000_000");
    place.write("tiny.toml", endless.replace("patience = 1_000", "patience = 1_000_000"));
    let mut child = until_checkpoint(&place);
    place.fails("run tiny.toml --out stopped.sgnn", &["another training is writing it", "hint:"]);
    place.write(".stopped.sgnn.abcdef.partial", "half");
    place.write("stopped.checkpoint.partial", "half");
    child.kill().unwrap();
    child.wait().unwrap();
    // What the kill left behind is no obstacle, and goes.
    place.write("tiny.toml", STUDY);
    place.text("run tiny.toml --out stopped.sgnn");
    let left = ["stopped.float", "stopped.html", "stopped.sgnn", "tiny.toml"];
    assert_eq!(place.names(), left);
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_says_how_to_go_on() {
    let place = with_study();
    place.write("tiny.toml", long());
    let child = until_checkpoint(&place);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains("interrupted at step"), "{message}");
    assert!(message.contains("simground run tiny.toml --out stopped.sgnn --resume"), "{message}");
    assert!(!place.path("stopped.sgnn").exists());
    place.text("run tiny.toml --out stopped.sgnn --resume");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = trained();
    let mut command = place.command("inspect tiny.sgnn");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn help_names_the_exit_codes() {
    let place = with_study();
    for command in [
        "", "init", "run", "simulate", "train", "inspect", "predict", "explain", "replay",
        "evaluate",
    ] {
        let help = place.text(&format!("{command} --help"));
        assert!(help.contains("Exit codes: 0 done, 1 a gate failed, 2 an error."), "{command}");
    }
}

/// A file that pyarrow wrote; `tests/data/pyarrow/make.py` says how.
fn pyarrow(name: &str) -> String {
    format!("{}/tests/data/pyarrow/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn windows_come_from_parquet_too() {
    let place = trained();
    let from_csv = place.json("predict tiny.sgnn --input data.csv");
    for name in ["windows.parquet", "windows-backward.parquet"] {
        let found = place.json(&format!("predict tiny.sgnn --input {}", pyarrow(name)));
        assert_eq!(found, from_csv, "{name}");
    }
    let explained =
        place.json(&format!("explain tiny.sgnn --input {}", pyarrow("windows.parquet")));
    assert_eq!(explained["explanations"].as_array().unwrap().len(), 2);
    place.fails(
        &format!("predict tiny.sgnn --input {}", pyarrow("windows-plain.parquet")),
        &["windows-plain.parquet: column `x` has 19 values a row where the model takes 20"],
    );
    place.fails(
        &format!("predict tiny.sgnn --input {}", pyarrow("samples.parquet")),
        &["samples.parquet: column `x` is missing; the file has b, a"],
    );
}

#[test]
fn columns_of_another_order_are_found_by_name() {
    let place = trained();
    let text = String::from_utf8(place.bytes("data.csv")).unwrap();
    let backward = text.lines().map(|line| {
        let cells: Vec<&str> = line.split(',').rev().collect();
        cells.join(",") + "\n"
    });
    place.write("backward.csv", backward.collect::<String>());
    let found = place.json("predict tiny.sgnn --input backward.csv");
    assert_eq!(found, place.json("predict tiny.sgnn --input data.csv"));
    place.write("other.csv", text.replace("day_", "count_"));
    let output = place.run("predict tiny.sgnn --input other.csv --json");
    let message = stderr(&output);
    assert!(message.contains("note: other.csv: columns are taken by position"), "{message}");
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), found);
}

#[test]
fn samples_are_compared_with_samples() {
    let place = with_study();
    let compared = |samples: &str, reference: &str| {
        place.json(&format!(
            "evaluate {} --against {} --seed 3",
            pyarrow(samples),
            pyarrow(reference)
        ))
    };
    let apart = compared("samples.parquet", "reference.parquet");
    has_keys(&apart, &["c2st", "c2st_folds", "mmd", "mmd_bandwidth", "sliced_wasserstein"]);
    assert_eq!(apart["parameters"], serde_json::json!(["a", "b"]));
    let numbers = ["num_samples", "num_reference_samples", "num_compared", "seed"];
    assert_eq!(numbers.map(|key| apart[key].as_u64().unwrap()), [400, 500, 400, 3]);
    // A shift of one standard deviation: Phi(1/2), three standard errors of 800 rows and what 640 rows cannot teach.
    let c2st = apart["c2st"].as_f64().unwrap();
    assert!((c2st - 0.691).abs() < 0.08, "{c2st}");
    assert!((apart["sliced_wasserstein"].as_f64().unwrap() - 0.5_f64.sqrt()).abs() < 0.15);
    let same = compared("reference-theta.parquet", "reference.parquet");
    assert!(same["sliced_wasserstein"].as_f64().unwrap() < 1e-6);
    assert!(same["mmd"].as_f64().unwrap() < 0.0, "{same}");
    let text = place.text(&format!("evaluate {0} --against {0}", pyarrow("samples.parquet")));
    assert!(text.contains("c2st") && text.contains("400 samples of each file"), "{text}");

    let against = |file: &str| format!("evaluate {} --against {file}", pyarrow("samples.parquet"));
    place.fails(&against("tiny.toml"), &["tiny.toml: not a readable Parquet file"]);
    place.fails(&against("none.parquet"), &["none.parquet: No such file"]);
    place.fails(
        &against(&pyarrow("windows.parquet")),
        &["windows.parquet: column `x` holds FixedSizeList", "write a number a row"],
    );
    place.fails(
        &format!("evaluate {}", pyarrow("samples.parquet")),
        &[
            "samples.parquet: a Parquet file, not an artifact",
            "hint: `--against REFERENCE.parquet`",
        ],
    );
}
