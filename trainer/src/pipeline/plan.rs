//! A study joined with its source: everything that is known before training, and the steps that need it.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use simground_runtime::Model;
use simground_runtime::artifact as format;

use super::{Options, PipelineError, ram_bytes};
use crate::artifact::{self, BankTable, HeadAnswer, Parts, Provenance, ThetaRange, WriteError};
use crate::corpus::{Corpus, Schema};
use crate::embedding;
use crate::float_model::{FloatModel, hash};
use crate::network::{Dense, FloatNetwork};
use crate::posterior_calibration as calibration;
use crate::prototypes::{self, Embedded};
use crate::quantization;
use crate::simulator::Split;
use crate::source::Source;
use crate::standardization::{InputScaling, TargetScaling};
use crate::study::{Head, Missing, Study};
use crate::training::{self, ExampleSource, Examples, FitConfig, Fitted, HeadSpec, Observer};

/// Training simulations from which scalings are estimated.
const SCALING_SIMULATIONS: u64 = 16_384;
/// Training simulations among which prototypes are chosen.
const BANK_SIMULATIONS: u64 = 65_536;
/// Held-out simulations that choose the kernel's bandwidth.
const BANDWIDTH_SIMULATIONS: u64 = 2_048;
/// Memory for the pool of training simulations.
const POOL_BYTES: u64 = 8 << 30;
/// Entries of the novelty table: p-values in steps of 1/256.
const NOVELTY_ENTRIES: usize = 255;
/// Self-test vectors.
const SELF_TEST_VECTORS: usize = 3;
/// A mean pinball loss in standard deviations is a tenth to a twentieth of a cross-entropy in nats: this weighs the heads alike.
const QUANTILES_LOSS_SHARE: f32 = 20.0;
/// Largest magnitude of a parameter or a target: a little below the format's `2^96`.
const LARGEST: f32 = 7.9e28;
/// Bytes kept free for what is known only after training: lengths in the manifest and figures.
const MANIFEST_RESERVE: usize = 1_024;

/// A study joined with its source: everything that is known before training.
pub(super) struct Plan<'s> {
    study: &'s Study,
    pub(super) source: &'s Source,
    schema: Arc<Schema>,
    pub(super) input: InputScaling,
    targets: Arc<[TargetScaling]>,
    heads: Vec<HeadAnswer>,
    specs: Vec<HeadSpec>,
    mechanisms: Vec<String>,
    channels: Vec<(String, String)>,
    period: String,
    parameters: Vec<ThetaRange>,
    simulations: u64,
    pub(super) validation: u64,
    pub(super) calibration: u64,
    placeholder: BankTable,
}

impl<'s> Plan<'s> {
    pub(super) fn new(study: &'s Study, source: &'s Source) -> Result<Plan<'s>, PipelineError> {
        let schema = Arc::clone(source.schema());
        check_corpus(study, source)?;
        let training = &study.training;
        let simulations = source.available(Split::Train, training.simulations);
        let validation = source.available(Split::Validation, training.validation);
        let calibration = source.available(Split::Calibration, training.calibration);
        if simulations < 100 || validation < 8 || calibration < 8 {
            return Err(PipelineError::Study(format!(
                "{simulations} training, {validation} validation and {calibration} calibration simulations are too few: a corpus needs 128 rows at least"
            )));
        }
        check_memory(simulations, 2 * schema.d_x() + schema.d_target())?;
        let sample = source.simulations(Split::Train, 0..simulations.min(SCALING_SIMULATIONS));
        let input = InputScaling::fit(&sample, study.input);
        let targets: Arc<[TargetScaling]> = TargetScaling::fit(&sample).into();
        let mechanisms = if schema.mechanisms.is_empty() {
            vec![study.name.clone()]
        } else {
            schema.mechanisms.clone()
        };
        let mut heads = Vec::new();
        let mut specs = Vec::new();
        for head in &study.heads {
            let (answer, spec) = head_plan(head, &schema, &targets, mechanisms.len())?;
            if spec.d_output() > usize::from(format::MAX_WIDTH) {
                return Err(PipelineError::Study(format!(
                    "a head has {} outputs, targets times levels; an artifact holds at most {}\nhint: answer fewer targets or levels",
                    spec.d_output(),
                    format::MAX_WIDTH
                )));
            }
            heads.push(answer);
            specs.push(spec);
        }
        check_variation(&sample, &heads)?;
        let parameters = ranges_of_theta(&schema, &sample)?;
        // As in `embedding::fit`: an embedding is no wider than the layer that it is read from.
        let d_hidden = study.network.hidden.last().copied().unwrap_or(input.d_input());
        let d_embed = study.bank.embedding.min(d_hidden);
        let placeholder = BankTable {
            vectors: vec![0; d_embed],
            d_embed,
            mechanism: vec![0],
            mass: vec![1],
            index: vec![0],
            theta: vec![f32::NAN; parameters.len()],
            parameters: parameters.clone(),
            decay: 1,
            novelty: vec![0],
            num_simulations: 1,
        };
        let epidemic = study.simulation.as_ref().and_then(|s| s.epidemic.as_ref());
        let (period, channel) = match epidemic {
            Some(epidemic) if epidemic.period_days == 1 => {
                ("1 day".into(), crate::simulator::CASES)
            }
            Some(epidemic) => (format!("{} days", epidemic.period_days), crate::simulator::CASES),
            None => (String::new(), "x"),
        };
        Ok(Plan {
            study,
            source,
            schema,
            input,
            targets,
            heads,
            specs,
            mechanisms,
            channels: vec![(channel.into(), String::new())],
            period,
            parameters,
            simulations,
            validation,
            calibration,
            placeholder,
        })
    }

    /// Refuses before training what would not fit after it.
    pub(super) fn check_budget(&self) -> Result<(), PipelineError> {
        let widths: Vec<usize> = [self.input.d_input()]
            .into_iter()
            .chain(self.study.network.hidden.iter().copied())
            .collect();
        let d_hidden = *widths.last().unwrap_or(&0);
        // A byte a weight at least: quantizing a network that is far too large would take minutes.
        let d_heads = self.specs.iter().map(HeadSpec::d_output).sum::<usize>();
        let trunk_weights = widths.windows(2).map(|w| w[0] * w[1]).sum::<usize>();
        self.check_flash(trunk_weights + d_hidden * d_heads, 0)?;
        let blank = |d_input: usize, d_output: usize| Dense {
            d_input,
            d_output,
            weight: vec![0.01; d_input * d_output],
            bias: vec![0.0; d_output],
        };
        let network = FloatNetwork {
            trunk: widths.windows(2).map(|w| blank(w[0], w[1])).collect(),
            heads: self.specs.iter().map(|spec| blank(d_hidden, spec.d_output())).collect(),
        };
        let d_embed = self.study.bank.embedding.min(d_hidden);
        let read: Vec<_> = widths.iter().map(|&d| quantization::Activations::unknown(d)).collect();
        let integers = quantization::quantize(&network, &read, &blank(d_hidden, d_embed))?;
        let wanted = self.study.bank.prototypes;
        let novelty = vec![0; NOVELTY_ENTRIES];
        let table = BankTable {
            vectors: vec![0; d_embed * wanted],
            d_embed,
            mechanism: vec![0; wanted],
            mass: vec![1; wanted],
            index: vec![0; wanted],
            theta: vec![f32::NAN; self.parameters.len() * wanted],
            novelty,
            ..self.placeholder.clone()
        };
        let provenance = Provenance::default();
        let windows = vec![vec![0.0; self.input.d_x()]; SELF_TEST_VECTORS];
        let parts =
            Parts { bank: &table, self_test: &windows, ..self.parts_of(&integers, &provenance) };
        let bytes = artifact::write(&parts)?;
        self.check_flash(bytes.len() + MANIFEST_RESERVE, wanted)?;
        let model = Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
        let (needed, budget) = (ram_bytes(&model), self.study.budget.ram_kib * 1024);
        if needed > budget {
            let hint = "use narrower layers, fewer outputs or fewer prototypes".into();
            return Err(PipelineError::OverBudget { what: "RAM", needed, budget, hint });
        }
        Ok(())
    }

    pub(super) fn check_flash(
        &self,
        needed: usize,
        prototypes: usize,
    ) -> Result<(), PipelineError> {
        let budget = self.study.budget.flash_kib * 1024;
        if needed <= budget {
            return Ok(());
        }
        let each = self.study.bank.embedding.next_multiple_of(4) + 11 + 2 * self.parameters.len();
        let fit = prototypes.saturating_sub((needed - budget).div_ceil(each));
        let hint = if fit >= self.mechanisms.len() {
            format!("`[bank] prototypes = {fit}` would fit, or use narrower layers")
        } else {
            "use narrower layers: the network alone exceeds it".into()
        };
        Err(PipelineError::OverBudget { what: "flash", needed, budget, hint })
    }

    pub(super) fn train(
        &self,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Fitted, PipelineError> {
        let training = &self.study.training;
        let fingerprint =
            hash(&[self.study.source.as_bytes(), &self.simulations.to_le_bytes()].concat());
        let source = TrainingExamples {
            source: self.source.clone(),
            input: self.input.clone(),
            targets: Arc::clone(&self.targets),
            fingerprint: u64::from_le_bytes(fingerprint[..8].try_into().unwrap_or_default()),
        };
        let held_out = self.source.simulations(Split::Validation, 0..self.validation);
        let batch = training.batch.min(self.simulations as usize);
        let pool_start = (32 * batch as u64).min(self.simulations);
        // The pool is complete after the first half of the steps at the latest.
        let fresh_per_step = (self.simulations - pool_start).div_ceil((training.steps / 2).max(1));
        let config = FitConfig {
            d_input: self.input.d_input(),
            hidden: self.study.network.hidden.clone(),
            heads: self.specs.clone(),
            seed: self.study.seed,
            steps: training.steps,
            batch,
            learning_rate: training.learning_rate,
            weight_decay: training.weight_decay,
            warmup: training.warmup,
            clip_norm: training.gradient_clip,
            validation_every: training.validate_every,
            patience: training.patience,
            simulations: self.simulations,
            pool_start,
            fresh_per_step,
            simulation_threads: options.threads,
            backend: options.backend,
            checkpoint: options.checkpoint.clone(),
            resume: options.resume,
            checkpoint_every: 10 * training.validate_every,
        };
        let validation = examples(&held_out, &self.input, &self.targets);
        Ok(training::fit(&config, source, &validation, observer)?)
    }

    pub(super) fn fit_embedding(&self, network: &FloatNetwork) -> Dense {
        let sample =
            self.source.simulations(Split::Train, 0..self.simulations.min(SCALING_SIMULATIONS));
        let mut hidden = network.forward_batch(&self.input.apply_rows(&sample.x), true).hidden;
        let last = hidden.pop().unwrap_or_else(|| self.input.apply_rows(&sample.x));
        embedding::fit(network, &last, self.study.bank.embedding)
    }

    /// Fits temperature and offsets to the answers of the uncalibrated integer model and folds them into the float heads.
    pub(super) fn calibrate(
        &self,
        network: &mut FloatNetwork,
        activations: &[quantization::Activations],
        embedding: &Dense,
        held_out: &Corpus,
    ) -> Result<(), PipelineError> {
        let integers = quantization::quantize(network, activations, embedding)?;
        let provenance = Provenance::default();
        let bytes = artifact::write(&self.parts_of(&integers, &provenance))?;
        let model = Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
        let outputs = output_values(&model, &held_out.x);
        let mut first = 0;
        for (head, answer) in network.heads.iter_mut().zip(&self.heads) {
            let rows = outputs.iter().map(|row| &row[first..first + head.d_output]);
            match answer {
                HeadAnswer::Categorical => {
                    let logits: Vec<f32> = rows.flatten().copied().collect();
                    let temperature =
                        calibration::temperature(&logits, &held_out.mechanism, head.d_output);
                    calibration::fold_temperature(head, temperature);
                }
                HeadAnswer::Quantiles { levels, targets } => {
                    let rows: Vec<&[f32]> = rows.collect();
                    let mut offsets = Vec::with_capacity(head.d_output);
                    for (at, target) in targets.iter().enumerate() {
                        let column = self.schema.targets.iter().position(|t| t.name == target.name);
                        let column = column.expect("targets come from the schema");
                        for (position, level) in levels.iter().enumerate() {
                            let output = at * levels.len() + position;
                            let residual = |(row, q): (usize, &&[f32])| {
                                target.to_z(held_out.target_row(row)[column]) - q[output]
                            };
                            let mut residuals: Vec<f32> =
                                rows.iter().enumerate().map(residual).collect();
                            offsets.push(calibration::conformal_offset(&mut residuals, *level));
                        }
                    }
                    calibration::fold_offsets(head, &offsets);
                }
            }
            first += head.d_output;
        }
        Ok(())
    }

    /// Chooses prototypes, bandwidth and novelty table; also the hash of the corpus they come from.
    pub(super) fn bank(
        &self,
        parts: &Parts<'_>,
        held_out: &Corpus,
    ) -> Result<(BankTable, [u8; 32]), PipelineError> {
        let bytes = artifact::write(parts)?;
        let model = Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
        let count = self.simulations.min(BANK_SIMULATIONS);
        let corpus = self.source.simulations(Split::Train, 0..count);
        let corpus_hash = hash(&corpus.x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        let embedded = embed(&model, &corpus);
        let wanted = self.study.bank.prototypes.min(corpus.len() / 2);
        let chosen = prototypes::choose(&embedded, self.mechanisms.len(), wanted, self.study.seed);
        let bandwidth =
            self.source.available(Split::Validation, BANDWIDTH_SIMULATIONS).min(self.validation);
        let validation = embed(&model, &self.source.simulations(Split::Validation, 0..bandwidth));
        let decay = prototypes::choose_decay(&embedded, &chosen, &validation);
        let novelty = prototypes::novelty_table(&chosen, &embed(&model, held_out), NOVELTY_ENTRIES);
        let d_embed = self.study.bank.embedding.min(parts.network.embedding.d_output);
        let theta = chosen.rows.iter().flat_map(|&row| corpus.theta_row(row).iter().copied());
        let table = BankTable {
            vectors: chosen
                .vectors
                .chunks_exact(embedded.d)
                .flat_map(|v| v[..d_embed].to_vec())
                .collect(),
            d_embed,
            mechanism: chosen.rows.iter().map(|&row| corpus.mechanism[row] as u8).collect(),
            mass: chosen.masses,
            index: chosen.rows.iter().map(|&row| corpus.index[row]).collect(),
            theta: theta.collect(),
            parameters: self.parameters.clone(),
            decay,
            novelty,
            num_simulations: count,
        };
        Ok((table, corpus_hash))
    }

    pub(super) fn float_model(&self, network: &FloatNetwork, embedding: &Dense) -> FloatModel {
        FloatModel {
            study: self.study.source.clone(),
            // Without its folder: the same study gives the same bytes wherever it lies.
            study_file: std::path::Path::new(&self.study.file)
                .file_name()
                .map_or_else(|| self.study.file.clone(), |name| name.to_string_lossy().into()),
            corpus: self.source.origin(),
            schema: (*self.schema).clone(),
            input: self.input.clone(),
            heads: self.heads.clone(),
            network: network.clone(),
            embedding: embedding.clone(),
        }
    }

    /// Held-out windows for the device to check itself with; the last one with values that no simulator gives.
    pub(super) fn self_test_windows(&self, validation: &Corpus) -> Vec<Vec<f32>> {
        let rows = SELF_TEST_VECTORS.min(validation.len());
        let mut windows: Vec<Vec<f32>> =
            (0..rows).map(|row| validation.x_row(row).to_vec()).collect();
        if let Some(last) = windows.last_mut() {
            for (x, strange) in
                last.iter_mut().step_by(3).zip([f32::NAN, f32::INFINITY, -1.0, 1e30])
            {
                *x = strange;
            }
        }
        windows
    }

    /// Parts with the placeholder bank and no self-test.
    pub(super) fn parts_of<'p>(
        &'p self,
        network: &'p quantization::IntegerNetwork,
        provenance: &'p Provenance,
    ) -> Parts<'p> {
        Parts {
            name: &self.study.name,
            period: &self.period,
            channels: &self.channels,
            input: &self.input,
            network,
            heads: &self.heads,
            mechanisms: &self.mechanisms,
            bank: &self.placeholder,
            self_test: &[],
            provenance,
        }
    }
}

/// Examples of a source's training split.
struct TrainingExamples {
    source: Source,
    input: InputScaling,
    targets: Arc<[TargetScaling]>,
    fingerprint: u64,
}

impl ExampleSource for TrainingExamples {
    fn examples(&mut self, indices: Range<u64>) -> Examples {
        examples(&self.source.simulations(Split::Train, indices), &self.input, &self.targets)
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Standardizes a corpus.
fn examples(corpus: &Corpus, input: &InputScaling, targets: &[TargetScaling]) -> Examples {
    let rows = corpus.target.chunks_exact(targets.len().max(1));
    let standardized = rows.flat_map(|row| row.iter().zip(targets).map(|(y, t)| t.to_z(*y)));
    Examples {
        inputs: input.apply_rows(&corpus.x),
        targets: standardized.collect(),
        mechanism: corpus.mechanism.clone(),
        weight: corpus.weight.clone().unwrap_or_default(),
    }
}

fn head_plan(
    head: &Head,
    schema: &Schema,
    scalings: &[TargetScaling],
    mechanisms: usize,
) -> Result<(HeadAnswer, HeadSpec), PipelineError> {
    match head {
        Head::Categorical if schema.mechanisms.len() < 2 => Err(PipelineError::Study(
            "a `categorical` head needs a corpus with two mechanisms or more\nhint: remove this head".into(),
        )),
        Head::Categorical => {
            let spec = HeadSpec::Categorical { d_output: mechanisms, loss_share: 1.0 };
            Ok((HeadAnswer::Categorical, spec))
        }
        Head::Quantiles { targets, levels } => {
            let mut columns = Vec::new();
            let mut weights = Vec::new();
            for name in targets {
                let found = schema.target_indices(name);
                if found.is_empty() {
                    let known: Vec<&str> = schema.target_groups();
                    return Err(PipelineError::Study(format!(
                        "the corpus has no target `{name}`; it has {}",
                        known.join(", ")
                    )));
                }
                // Each name the study lists counts alike, however many steps it stands for.
                weights.extend(std::iter::repeat_n(1.0 / found.len() as f32, found.len()));
                columns.extend(found);
            }
            let levels: Vec<f32> = levels.iter().map(|level| *level as f32).collect();
            let answered = columns.iter().map(|&at| scalings[at].clone()).collect();
            let spec = HeadSpec::Quantiles {
                targets: columns,
                levels: levels.clone(),
                target_weights: weights,
                loss_share: QUANTILES_LOSS_SHARE,
            };
            Ok((HeadAnswer::Quantiles { levels, targets: answered }, spec))
        }
    }
}

/// Refuses what the format cannot hold, or the study does not allow, before anything is computed from it.
fn check_corpus(study: &Study, source: &Source) -> Result<(), PipelineError> {
    let schema = source.schema();
    let inputs = schema.d_x() * if study.input.missing == Missing::Allow { 2 } else { 1 };
    let indicators = if study.input.missing == Missing::Allow {
        "the window, with its indicators of missing values,"
    } else {
        "the window"
    };
    for (what, found, limit, hint) in [
        ("theta", schema.d_theta(), format::MAX_THETA, "store fewer parameters in the corpus"),
        ("the corpus", schema.mechanisms.len(), format::MAX_MECHANISMS, "merge some of them"),
        (indicators, inputs, usize::from(format::MAX_WIDTH), "shorten the window"),
    ] {
        if found > limit {
            let of = if what == "the corpus" { "mechanisms" } else { "values" };
            return Err(PipelineError::Study(format!(
                "{what} has {found} {of}; an artifact holds at most {limit}\nhint: {hint}"
            )));
        }
    }
    let Source::Stored { corpus, .. } = source else { return Ok(()) };
    let missing = corpus.x.iter().position(|x| x.is_nan());
    if let (Missing::Refuse, Some(at)) = (study.input.missing, missing) {
        return Err(PipelineError::Study(format!(
            "row {} of the corpus, column `x`: `{}` is missing, but the study refuses missing values\nhint: set `missing = \"allow\"` under [input]",
            at / schema.d_x(),
            schema.x_names[at % schema.d_x()],
        )));
    }
    Ok(())
}

/// Refuses a pool of training simulations that would not fit memory; `width` is the most values that one of them has.
fn check_memory(simulations: u64, width: usize) -> Result<(), PipelineError> {
    let fit = POOL_BYTES / (4 * width as u64);
    if simulations <= fit {
        return Ok(());
    }
    Err(PipelineError::Study(format!(
        "{simulations} training simulations do not fit {} GiB of memory\nhint: `[training] simulations = {fit}` would",
        POOL_BYTES >> 30
    )))
}

/// Refuses a corpus that teaches nothing: inputs that are all constant, or an answer that is.
fn check_variation(sample: &Corpus, heads: &[HeadAnswer]) -> Result<(), PipelineError> {
    let constant = |values: &[f32], d: usize, at: usize| {
        let mut column = values.iter().skip(at).step_by(d).filter(|value| !value.is_nan());
        let first = column.next();
        column.all(|value| Some(value) == first)
    };
    let d_x = sample.schema.d_x();
    if (0..d_x).all(|at| constant(&sample.x, d_x, at)) {
        return Err(PipelineError::Study(
            "`x` is the same in all training simulations, or missing; there is nothing to learn from".into(),
        ));
    }
    for head in heads {
        let HeadAnswer::Quantiles { targets, .. } = head else { continue };
        for target in targets {
            let column = sample.schema.targets.iter().position(|t| t.name == target.name);
            let column = column.expect("targets come from the schema");
            let mut values = sample.target.iter().skip(column).step_by(sample.schema.d_target());
            if let Some(value) = values.find(|value| value.abs() > LARGEST) {
                return Err(PipelineError::Study(format!(
                    "target `{}` reaches {value:e}; an artifact holds magnitudes up to {LARGEST:e}\nhint: store it in another unit, or its logarithm",
                    target.name
                )));
            }
            if constant(&sample.target, sample.schema.d_target(), column) {
                return Err(PipelineError::Study(format!(
                    "target `{}` is {} in all training simulations; there is nothing to learn\nhint: remove `{}` from the `targets` of the head, or widen what decides it",
                    target.name, sample.target[column], target.series
                )));
            }
        }
    }
    Ok(())
}

/// Code ranges of the parameters: the prior's bounds, or what a sample spans where they are unknown.
fn ranges_of_theta(schema: &Schema, sample: &Corpus) -> Result<Vec<ThetaRange>, PipelineError> {
    let d = schema.d_theta();
    let range = |(at, parameter): (usize, &crate::corpus::Parameter)| {
        let values = || sample.theta.iter().skip(at).step_by(d).copied().filter(|v| v.is_finite());
        let low = parameter.lower.unwrap_or_else(|| values().fold(f32::INFINITY, f32::min));
        let high = parameter.upper.unwrap_or_else(|| values().fold(f32::NEG_INFINITY, f32::max));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        if low < -LARGEST || high > LARGEST {
            return Err(PipelineError::Study(format!(
                "parameter `{}` of theta spans {low:e} to {high:e}; an artifact holds magnitudes up to {LARGEST:e}\nhint: store it in another unit, or its logarithm",
                parameter.name
            )));
        }
        Ok(ThetaRange { name: parameter.name.clone(), unit: parameter.unit.clone(), low, high })
    };
    schema.theta.iter().enumerate().map(range).collect()
}

/// A corpus in the bank's space, by the integer runtime.
fn embed(model: &Model<'_>, corpus: &Corpus) -> Embedded {
    let scratch = || vec![0_u32; model.scratch_words()];
    let rows: Vec<Vec<i16>> = corpus
        .x
        .par_chunks_exact(model.d_values())
        .map_init(scratch, |scratch, window| {
            let inference = model.infer(window, scratch).expect("windows of the model's width");
            inference.embedding().to_vec()
        })
        .collect();
    Embedded {
        d: rows.first().map_or(4, Vec::len),
        embedding: rows.concat(),
        mechanism: corpus.mechanism.clone(),
        theta: corpus.theta.clone(),
        weight: corpus.weight.clone().unwrap_or_default(),
    }
}

/// Real values of all heads' outputs for each window, one head behind the other.
fn output_values(model: &Model<'_>, x: &[f32]) -> Vec<Vec<f32>> {
    let scratch = || vec![0_u32; model.scratch_words()];
    x.par_chunks_exact(model.d_values())
        .map_init(scratch, |scratch, window| {
            let inference = model.infer(window, scratch).expect("windows of the model's width");
            inference.output_values().collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Parameter;

    #[test]
    fn a_parameter_beyond_the_format_is_named() {
        let unbounded = |name: &str| Parameter {
            name: name.into(),
            unit: String::new(),
            lower: None,
            upper: None,
            integer: false,
        };
        let schema = Schema {
            x_names: vec!["x".into()],
            theta: vec![unbounded("mass"), unbounded("charge")],
            targets: Vec::new(),
            mechanisms: Vec::new(),
        };
        let mut sample = Corpus::empty(Arc::new(schema.clone()));
        sample.theta = vec![1.0, -1e28, 2.0, 1e28];
        assert_eq!(ranges_of_theta(&schema, &sample).unwrap()[1].high, 1e28);
        sample.theta = vec![1.0, -3e38, 2.0, 3e38];
        let message = ranges_of_theta(&schema, &sample).unwrap_err().to_string();
        assert!(
            message.starts_with("parameter `charge` of theta spans -3e38 to 3e38"),
            "{message}"
        );
    }
}
