//! `simground inspect`: what an artifact holds and what it costs.

use std::path::PathBuf;

use serde::Serialize;
use simground_runtime::artifact::{FLOW_TIMES, Head, Missing, Transform};
use simground_runtime::{DenseShape, Model};
use simground_trainer::head::{Description, describe};
use simground_trainer::named::Named;
use simground_trainer::pipeline::ram_bytes;

use super::output::{counted, shortest, significant, table};
use super::{Output, Verdict, files};

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact.
    artifact: PathBuf,
}

#[derive(Debug, Serialize)]
struct Inspection {
    name: String,
    flash_bytes: usize,
    ram_bytes: usize,
    scratch_bytes: usize,
    parameters: usize,
    multiply_accumulates: usize,
    /// Of each theta at which a likelihood is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    multiply_accumulates_per_theta: Option<usize>,
    window: Window,
    layers: Vec<LayerInfo>,
    heads: Vec<Description>,
    mechanisms: Vec<String>,
    bank: Option<BankInfo>,
    self_test_vectors: u16,
    calibrated: bool,
    metrics: Named<f32>,
    provenance: ProvenanceInfo,
}

#[derive(Debug, Serialize)]
struct Window {
    steps: u16,
    channels: Vec<String>,
    period: String,
    values: usize,
    transform: Vec<&'static str>,
    missing: &'static str,
    q_max: i16,
}

#[derive(Debug, Serialize)]
struct LayerInfo {
    role: String,
    d_input: u16,
    d_output: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    q_max: Option<i16>,
    bytes: u32,
    multiply_accumulates: usize,
    /// Biases.
    #[serde(skip)]
    biases: usize,
    /// Whether it runs for each theta, not for each observation.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    per_theta: bool,
}

#[derive(Debug, Serialize)]
struct BankInfo {
    prototypes: u32,
    bytes: u32,
    d_embed: u16,
    num_simulations: u64,
    theta: Vec<ThetaInfo>,
}

#[derive(Debug, Serialize)]
struct ThetaInfo {
    name: String,
    unit: String,
    low: f32,
    high: f32,
}

#[derive(Debug, Serialize)]
struct ProvenanceInfo {
    study_hash: String,
    simulator_hash: String,
    corpus_hash: String,
    float_hash: String,
    seed: u64,
    num_simulations: u64,
    trainer: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let bytes = files::read_artifact(&arguments.artifact)?;
    let model = files::model(&bytes, &arguments.artifact)?;
    output.print(&inspection(&model, bytes.len()), inspection_text)?;
    Ok(Verdict::Passed)
}

fn inspection(model: &Model<'_>, flash_bytes: usize) -> Inspection {
    let manifest = model.manifest();
    let layers = layers(model);
    let network = layers.iter().filter(|layer| layer.role != EMBEDDING);
    let weights =
        |layer: &LayerInfo| usize::from(layer.d_input) * usize::from(layer.d_output) + layer.biases;
    let operations = |per_theta: bool| {
        let own = layers.iter().filter(|layer| layer.per_theta == per_theta);
        own.map(|layer| layer.multiply_accumulates).sum::<usize>()
    };
    let provenance = &manifest.provenance;
    Inspection {
        name: manifest.name.to_owned(),
        flash_bytes,
        ram_bytes: ram_bytes(model),
        scratch_bytes: 4 * model.scratch_words(),
        parameters: network.map(weights).sum(),
        multiply_accumulates: operations(false) + bank_multiply_accumulates(model),
        multiply_accumulates_per_theta: Some(operations(true)).filter(|count| *count > 0),
        window: window(model),
        layers,
        heads: manifest.heads.iter().map(|record| describe(&record)).collect(),
        mechanisms: manifest.mechanisms.iter().map(str::to_owned).collect(),
        bank: bank(model),
        self_test_vectors: manifest.self_test.vectors,
        calibrated: provenance.calibrated,
        metrics: provenance.metrics.iter().map(|m| (m.name.to_owned(), m.value)).collect(),
        provenance: ProvenanceInfo {
            study_hash: hex(provenance.study_hash),
            simulator_hash: hex(provenance.simulator_hash),
            corpus_hash: hex(provenance.corpus_hash),
            float_hash: hex(provenance.float_hash),
            seed: provenance.seed,
            num_simulations: provenance.num_simulations,
            trainer: provenance.trainer.to_owned(),
        },
    }
}

const EMBEDDING: &str = "embedding";

fn layers(model: &Model<'_>) -> Vec<LayerInfo> {
    let manifest = model.manifest();
    let info = |role: String, shape: DenseShape, q_max: Option<i16>, bytes: u32| LayerInfo {
        role,
        d_input: shape.d_input,
        d_output: shape.d_output,
        q_max,
        bytes,
        multiply_accumulates: usize::from(shape.d_input) * usize::from(shape.d_output),
        biases: shape.d_output.into(),
        per_theta: false,
    };
    let mut layers = Vec::new();
    let mut width = model.d_values() as u16;
    for (at, layer) in manifest.trunk.iter().enumerate() {
        layers.push(info(
            format!("hidden {at}"),
            layer.shape(),
            Some(layer.high),
            layer.stream.length,
        ));
        width = layer.d_output;
    }
    for (at, head) in manifest.heads.iter().enumerate() {
        let layer = head.layer();
        let shape = DenseShape { d_input: width, d_output: layer.d_output };
        layers.push(info(format!("head {at}"), shape, None, layer.stream.length));
        let Some(stack) = head.stack() else { continue };
        let d_read = match &head {
            Head::Ratio { parameters, .. } => parameters.len(),
            Head::Flow { parameters, .. } => parameters.len() + FLOW_TIMES,
            _ => continue,
        };
        let mut push = |role: &str, shape, q_max, bytes| {
            let layer = info(format!("head {at}, {role}"), shape, q_max, bytes);
            layers.push(LayerInfo { per_theta: true, ..layer });
        };
        let shape = DenseShape { d_input: d_read as u16, d_output: layer.d_output };
        push("theta", shape, Some(stack.high), stack.theta.length);
        let mut d_input = layer.d_output;
        for layer in stack.hidden.iter() {
            push("hidden", layer.shape(), Some(layer.high), layer.stream.length);
            d_input = layer.d_output;
        }
        let shape = DenseShape { d_input, d_output: stack.output.d_output };
        push("output", shape, None, stack.output.stream.length);
        // The biases of a split layer are those of its other part.
        if let Some(theta) = layers.iter_mut().rfind(|layer| layer.role.ends_with("theta")) {
            theta.biases = 0;
        }
    }
    if let Some(bank) = &manifest.bank {
        let layer = &bank.embedding;
        layers.push(info(EMBEDDING.into(), layer.shape(), Some(layer.high), layer.stream.length));
    }
    layers
}

/// A squared distance costs one for each dimension.
fn bank_multiply_accumulates(model: &Model<'_>) -> usize {
    let bank = model.manifest().bank.as_ref();
    bank.map_or(0, |bank| bank.prototypes as usize * usize::from(bank.embedding.d_output))
}

fn window(model: &Model<'_>) -> Window {
    let input = &model.manifest().input;
    let mut transform: Vec<&'static str> = Vec::new();
    for name in input.transforms.iter().map(|transform| match transform {
        Transform::Identity => "identity",
        Transform::Log1p => "log1p",
        Transform::SignedLog1p => "signed_log1p",
    }) {
        if !transform.contains(&name) {
            transform.push(name);
        }
    }
    Window {
        steps: input.steps,
        channels: input.channels.iter().map(|channel| channel.name.to_owned()).collect(),
        period: input.period.to_owned(),
        values: model.d_values(),
        transform,
        missing: match input.missing {
            Missing::Refuse => "refuse",
            Missing::Indicator => "allow",
        },
        q_max: input.q_max,
    }
}

fn bank(model: &Model<'_>) -> Option<BankInfo> {
    let bank = model.manifest().bank.as_ref()?;
    let sections = [
        bank.embedding.stream,
        bank.vectors,
        bank.mechanisms,
        bank.masses,
        bank.reaches,
        bank.shares,
        bank.indices,
        bank.thetas,
        bank.moments,
        bank.novelty,
    ];
    let theta = bank.theta.iter().map(|theta| ThetaInfo {
        name: theta.name.to_owned(),
        unit: theta.unit.to_owned(),
        low: theta.low,
        high: theta.high,
    });
    Some(BankInfo {
        prototypes: bank.prototypes,
        bytes: sections.iter().map(|section| section.length).sum(),
        d_embed: bank.embedding.d_output,
        num_simulations: bank.num_simulations,
        theta: theta.collect(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn head_text(head: &Description) -> String {
    if !head.levels.is_empty() {
        let levels: Vec<String> = head.levels.iter().map(f32::to_string).collect();
        return format!("{} at levels {}", head.targets.join(", "), levels.join(", "));
    }
    let supports = head.parameters.iter().map(|parameter| {
        let end = |end: Option<f32>, none: &str| end.map_or(none.to_owned(), shortest);
        let (low, high) = (end(parameter.low, "-inf"), end(parameter.high, "inf"));
        format!("{} ({low} to {high})", parameter.name)
    });
    let supports = supports.collect::<Vec<_>>().join(", ");
    match (head.components, head.steps) {
        (Some(components), _) => {
            format!("{} over {supports}", counted(components.into(), "component"))
        }
        (None, Some(steps)) => format!("{} a sample of {supports}", counted(steps, "step")),
        (None, None) if supports.is_empty() => counted(head.d_output.into(), "output"),
        (None, None) => supports,
    }
}

fn inspection_text(inspection: &Inspection) -> String {
    let window = &inspection.window;
    let mut facts = vec![
        ("name", inspection.name.clone()),
        (
            "window",
            format!(
                "{}: {} of {}{}, {}, missing values: {}",
                counted(window.values, "value"),
                counted(window.steps.into(), "step"),
                window.channels.join(", "),
                if window.period.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", window.period)
                },
                window.transform.join(" and "),
                window.missing
            ),
        ),
        ("mechanisms", inspection.mechanisms.join(", ")),
    ];
    for head in &inspection.heads {
        let answer = head_text(head);
        facts.push((head.kind, answer));
    }
    let bank = inspection.bank.as_ref();
    facts.extend([
        ("flash", format!("{} bytes", inspection.flash_bytes)),
        (
            "RAM",
            format!(
                "{} bytes, of which {} scratch",
                inspection.ram_bytes, inspection.scratch_bytes
            ),
        ),
        ("parameters", inspection.parameters.to_string()),
        (
            "operations",
            format!(
                "{} multiply-accumulates an answer, attribution included{}",
                inspection.multiply_accumulates,
                inspection.multiply_accumulates_per_theta.map_or_else(String::new, |count| {
                    format!("; {count} for each theta of a likelihood or step of a flow")
                })
            ),
        ),
        (
            "bank",
            bank.map_or("none".into(), |bank| {
                format!(
                    "{} of {} simulations, {}, {} bytes",
                    counted(bank.prototypes as usize, "prototype"),
                    bank.num_simulations,
                    counted(bank.d_embed.into(), "dimension"),
                    bank.bytes
                )
            }),
        ),
        ("self-test", counted(inspection.self_test_vectors as usize, "vector")),
        (
            "calibrated",
            if inspection.calibrated {
                "yes"
            } else {
                "no: failed the calibration gate, exported with --allow-uncalibrated"
            }
            .into(),
        ),
        ("seed", inspection.provenance.seed.to_string()),
        ("trained on", format!("{} simulations", inspection.provenance.num_simulations)),
        ("trainer", inspection.provenance.trainer.clone()),
        ("study", inspection.provenance.study_hash.clone()),
        ("simulator", inspection.provenance.simulator_hash.clone()),
        ("corpus", inspection.provenance.corpus_hash.clone()),
        ("float model", inspection.provenance.float_hash.clone()),
    ]);
    let mut text: String =
        facts.iter().map(|(name, fact)| format!("{name:<12} {fact}\n")).collect();
    let mut rows =
        vec![["layer", "inputs", "outputs", "q_max", "bytes"].map(str::to_owned).to_vec()];
    rows.extend(inspection.layers.iter().map(|layer| {
        vec![
            layer.role.clone(),
            layer.d_input.to_string(),
            layer.d_output.to_string(),
            layer.q_max.map_or("-".into(), |q| q.to_string()),
            layer.bytes.to_string(),
        ]
    }));
    text += &format!("\n{}", table(&rows));
    let rows: Vec<Vec<String>> = inspection
        .metrics
        .iter()
        .map(|(name, value)| vec![name.clone(), significant(f64::from(*value), 4)])
        .collect();
    text += &format!("\nfigures on held-out simulations, by the integer runtime\n{}", table(&rows));
    text
}
