//! A study joined with its source: everything that is known before training, and the steps that need it.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use simground_runtime::Model;
use simground_runtime::artifact as format;

use super::check::{check_corpus, check_variation, ranges_of_theta, window};
use super::last_layers::{self, Until};
use super::selection::{self, FEW, Refitted};
use super::{Options, PipelineError, Talk, ram_bytes};
use crate::artifact::{self, BankTable, Parts, Provenance, ThetaRange, WriteError};
use crate::bank::exact::Posterior;
use crate::bank::{self, Codec, Embedded, Layout, Size, Subject};
use crate::corpus::{Corpus, Schema};
use crate::embedding;
use crate::float_model::{FloatModel, hash};
use crate::head::{Columns, Context, Head, HeadError, Mixture, Ratio};
use crate::network::{Dense, FloatNetwork, Tail};
use crate::quantization::{self, IntegerNetwork, QuantizationError, Ranges};
use crate::simulator::Split;
use crate::source::Source;
use crate::standardization::{InputScaling, TargetScaling};
use crate::study::{self, BankSize, Study};
use crate::training::ratio::TailShape;
use crate::training::{self, ExampleSource, Examples, FitConfig, Fitted, HeadSpec, Observer, Stop};

/// Training simulations from which scalings are estimated.
const SCALING_SIMULATIONS: u64 = 16_384;
/// Training simulations from which the scale of exact scores is estimated: each costs a likelihood.
const SCORE_SIMULATIONS: u64 = 1_024;
/// Training simulations whose exact score is computed, so that a costly likelihood stays a bounded part of a training. A corpus brings all.
const SCORED_SIMULATIONS: u64 = 16_384;
/// Training simulations that the bank stands for.
const BANK_SIMULATIONS: u64 = 262_144;
/// Held-out simulations that choose the kernel's bandwidth and the bank's width.
const BANK_VALIDATION: u64 = 2_048;
/// Entries of the novelty table where the study says no bytes: p-values in steps of 1/256.
const NOVELTY_ENTRIES: usize = 255;
/// Weights are averaged over one of so many parts of the steps.
const AVERAGED_SHARE: u64 = 50;
/// Self-test vectors.
const SELF_TEST_VECTORS: usize = 3;
/// Bytes kept free for what is known only after training: lengths in the manifest and figures.
const MANIFEST_RESERVE: usize = 1_024;

/// A study joined with its source: everything that is known before training.
pub(super) struct Plan<'s> {
    pub(super) study: &'s Study,
    pub(super) source: &'s Source,
    schema: Arc<Schema>,
    pub(super) input: InputScaling,
    heads: Vec<Head>,
    pub(super) columns: Arc<Columns>,
    pub(super) specs: Vec<HeadSpec>,
    /// Numbers of components that training chooses from; none where the study names one or has no joint posterior.
    components: Vec<usize>,
    mechanisms: Vec<String>,
    channels: Vec<(String, String)>,
    period: String,
    parameters: Vec<ThetaRange>,
    simulations: u64,
    /// Simulations that a training step may draw from, at most.
    window: u64,
    pub(super) validation: u64,
    pub(super) calibration: u64,
    placeholder: BankTable,
    /// Outputs of all heads for the training and the validation simulations, by networks that did not learn from them; see [`selection`].
    out_of_fold: Vec<Vec<f32>>,
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
                "{simulations} training, {validation} validation and {calibration} calibration simulations are too few: a corpus needs 125 rows at least"
            )));
        }
        let sample = source.simulations(Split::Train, 0..simulations.min(SCALING_SIMULATIONS));
        let input = InputScaling::fit(&sample, study.input);
        let mechanisms = if schema.mechanisms.is_empty() {
            vec![study.name.clone()]
        } else {
            schema.mechanisms.clone()
        };
        check_variation(&sample)?;
        let d_hidden = study.network.hidden.last().copied().unwrap_or(input.d_input());
        let wanted = study.heads.iter().any(|head| matches!(head, study::Head::Ratio { .. }));
        let scored = (wanted && source.has_scores())
            .then(|| source.scored(Split::Train, 0..simulations.min(SCORE_SIMULATIONS)));
        let (heads, columns, specs) = heads(study, &sample, scored.as_ref(), d_hidden)?;
        let open =
            |head: &study::Head| matches!(head, study::Head::Mixture { components: None, .. });
        let components = match heads.iter().find_map(mixture) {
            Some(most) if study.heads.iter().any(open) => ladder(most.components),
            _ => Vec::new(),
        };
        // A mechanism and a weight beside the inputs and the columns.
        let window = window(source, simulations, input.d_input() + columns.len() + 2)?;
        let parameters = ranges_of_theta(&schema, &sample)?;
        // As in `embedding::fit`: an embedding is no wider than the layer that it is read from.
        let d_embed = study.bank.embedding.min(d_hidden);
        let placeholder = BankTable::blank(d_embed, mechanisms.len(), parameters.clone(), 1, 1);
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
            heads,
            columns: Arc::new(columns),
            specs,
            components,
            mechanisms,
            channels: vec![(channel.into(), String::new())],
            period,
            parameters,
            simulations,
            window,
            validation,
            calibration,
            placeholder,
            out_of_fold: Vec::new(),
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
        let tail = |(head, spec): (usize, &HeadSpec)| {
            let TailShape { d_theta, hidden, d_output, .. } = spec.tail()?;
            let widths = [&hidden[..], &[d_output]].concat();
            let layers = widths.windows(2).map(|w| blank(w[0], w[1])).collect();
            Some(Tail { head, d_theta, theta: vec![0.01; widths[0] * d_theta], layers })
        };
        let network = FloatNetwork {
            trunk: widths.windows(2).map(|w| blank(w[0], w[1])).collect(),
            heads: self.specs.iter().map(|spec| blank(d_hidden, spec.d_output())).collect(),
            tails: self.specs.iter().enumerate().filter_map(tail).collect(),
        };
        let layout = self.layout(d_hidden);
        let (d_embed, wanted, novelty_entries) = match self.study.bank.size {
            BankSize::Prototypes(count) => (layout.d_embed, count, NOVELTY_ENTRIES),
            // Where the embedding is narrowest, prototypes are most.
            BankSize::Kib(kib) => {
                let d = layout.d_embed.min(bank::WIDTHS[0]);
                (d, layout.prototypes(d, kib << 10), Layout::novelty_entries(kib << 10))
            }
        };
        if wanted < self.mechanisms.len() {
            return Err(PipelineError::Study(format!(
                "the bank holds {wanted} prototypes, fewer than there are mechanisms\nhint: give `[bank]` more"
            )));
        }
        let ranges = Ranges::unknown(&network);
        let embedding = blank(d_hidden, d_embed);
        let layout = self.study.budget.layout;
        let integers = quantization::quantize(&network, &ranges, &embedding, layout)?;
        let parameters = self.parameters.clone();
        let table =
            BankTable::blank(d_embed, self.mechanisms.len(), parameters, wanted, novelty_entries);
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
        let over = needed - budget;
        let hint = match self.study.bank.size {
            BankSize::Prototypes(_) => {
                let layout = self.layout(self.study.network.hidden.last().copied().unwrap_or(0));
                let each = layout.prototype_bytes(layout.d_embed);
                let fit = prototypes.saturating_sub(over.div_ceil(each));
                (fit >= self.mechanisms.len()).then(|| format!("prototypes = {fit}"))
            }
            BankSize::Kib(kib) => {
                let fit = kib.saturating_sub(over.div_ceil(1024));
                (fit > 0).then(|| format!("kib = {fit}"))
            }
        };
        let hint = hint.map_or_else(
            || "use narrower layers: the network alone exceeds it".into(),
            |size| format!("`[bank] {size}` would fit, or use narrower layers"),
        );
        Err(PipelineError::OverBudget { what: "flash", needed, budget, hint })
    }

    /// Trains the network, and finds out what the study leaves open: see [`selection`].
    pub(super) fn train(
        &mut self,
        options: &Options,
        observer: &mut dyn Observer,
        talk: &mut dyn Talk,
    ) -> Result<Vec<Fitted>, PipelineError> {
        let held_out = self.source.simulations(Split::Validation, 0..self.validation);
        let validation = examples(&held_out, &self.input, &self.columns);
        if !self.learns_from_all() {
            let mut shorter = None;
            if let [_, _, ..] = &self.components[..] {
                let judge = |components| {
                    let config = self.config(options, Some(components));
                    selection::trial(&config, self.training_examples(), &validation, observer)
                };
                let (components, trial) = selection::best_of(&self.components, talk, judge)?;
                self.set_components(components);
                shorter = Some(trial);
            }
            let config = self.config(options, None);
            let source = self.training_examples();
            let mut all = if options.seeds < 2 {
                let fitted = training::fit(&config, source, &validation, observer)?;
                vec![match shorter {
                    Some(shorter)
                        if fitted.stop != Stop::Observer
                            && shorter.best_loss < fitted.best_loss =>
                    {
                        talk.note(&format!(
                            "held-out loss {:.4}; {:.4} by the training that chose the components, which is kept",
                            fitted.best_loss, shorter.best_loss
                        ));
                        shorter
                    }
                    _ => fitted,
                }]
            } else {
                let members = options.members(self.study.seed).into_iter();
                let configs: Vec<FitConfig> = members
                    .map(|(seed, checkpoint)| FitConfig { seed, checkpoint, ..config.clone() })
                    .collect();
                training::fit_several(&configs, &source, &validation, observer)?
            };
            self.learn_last_layers(&config, &mut all, &validation, talk)?;
            return Ok(all);
        }
        let mut all = self.training_examples().examples(0..self.simulations);
        all.append(validation);
        let candidates = match &self.components[..] {
            [] => vec![self.heads.iter().find_map(mixture).map_or(1, |mixture| mixture.components)],
            several => several.to_vec(),
        };
        let judge = |components| {
            selection::cross_validate(&self.config(options, Some(components)), &all, observer)
        };
        let (components, judged) = selection::best_of(&candidates, talk, judge)?;
        self.set_components(components);
        let config = self.config(options, None);
        let judged = selection::with_shorter_schedule(&config, &all, judged, observer, talk)?;
        if options.seeds > 1 {
            talk.note("one seed: so few simulations leave none to judge several by");
        }
        let Refitted { fitted, out_of_fold } = selection::refit(&config, all, judged, observer)?;
        self.out_of_fold = out_of_fold;
        Ok(vec![fitted])
    }

    /// Learns the last layers of the heads that did not decide when training ended, and keeps them where the held-out loss falls.
    fn learn_last_layers(
        &self,
        config: &FitConfig,
        all: &mut [Fitted],
        validation: &Examples,
        talk: &mut dyn Talk,
    ) -> Result<(), PipelineError> {
        let ended = all.iter().all(|fitted| fitted.stop != Stop::Observer);
        if !ended || last_layers::others(config).is_empty() {
            return Ok(());
        }
        let train = self.training_examples().examples(0..self.simulations.min(last_layers::MOST));
        for fitted in all {
            let mut network = fitted.network.clone();
            let before = last_layers::loss(config, &network, validation);
            let until = Until::HeldOut(validation);
            let observer = &mut training::Silent;
            let (_, loss) = last_layers::learn(config, &mut network, &train, until, observer)?;
            if loss < before {
                fitted.network = network;
            }
            talk.note(&format!(
                "held-out loss of the other heads {before:.4}, {loss:.4} with last layers of their own"
            ));
        }
        Ok(())
    }

    /// Whether the network is trained on the validation split as well: a joint posterior from few simulations.
    pub(super) fn learns_from_all(&self) -> bool {
        self.specs.iter().any(is_joint) && self.simulations + self.validation <= FEW
    }

    pub(super) fn training_examples(&self) -> TrainingExamples {
        let fingerprint =
            hash(&[self.study.source.as_bytes(), &self.simulations.to_le_bytes()].concat());
        TrainingExamples {
            source: self.source.clone(),
            input: self.input.clone(),
            columns: Arc::clone(&self.columns),
            scored: self.ratios().any(|(_, ratio)| !ratio.score_scales.is_empty()),
            fingerprint: u64::from_le_bytes(fingerprint[..8].try_into().unwrap_or_default()),
        }
    }

    fn set_components(&mut self, count: usize) {
        for (head, spec) in self.heads.iter_mut().zip(&mut self.specs) {
            if let (Head::Mixture(head), HeadSpec::Mixture { components, .. }) = (head, spec) {
                (head.components, *components) = (count, count);
            }
        }
    }

    /// Settings of the training, perhaps with another number of components than that of the heads.
    pub(super) fn config(&self, options: &Options, components: Option<usize>) -> FitConfig {
        let training = &self.study.training;
        let mut heads = self.specs.clone();
        for head in &mut heads {
            if let (HeadSpec::Mixture { components, .. }, Some(count)) = (head, components) {
                *components = count;
            }
        }
        let mixture = heads.iter().position(|head| matches!(head, HeadSpec::Mixture { .. }));
        let judged_by = mixture.or_else(|| heads.iter().position(is_joint));
        let joint = judged_by.is_some();
        let batch = training.batch.min(self.simulations as usize);
        // What is stored is there from the start.
        let pool_start = match self.source {
            Source::Simulator { .. } => (32 * batch as u64).min(self.simulations),
            _ => self.simulations.min(self.window),
        };
        // The pool is complete after the first half of the steps at the latest.
        let fresh_per_step = (self.simulations - pool_start).div_ceil((training.steps / 2).max(1));
        FitConfig {
            d_input: self.input.d_input(),
            hidden: self.study.network.hidden.clone(),
            heads,
            seed: self.study.seed,
            steps: training.steps,
            batch,
            learning_rate: training.learning_rate,
            weight_decay: training.weight_decay,
            warmup: training.warmup,
            clip_norm: training.gradient_clip,
            averaging: if joint { (training.steps / AVERAGED_SHARE).max(1) } else { 0 },
            linear_start: mixture.is_some(),
            ends_at: None,
            judged_by,
            validation_every: training.validate_every,
            patience: training.patience,
            simulations: self.simulations,
            window: self.window,
            pool_start,
            fresh_per_step,
            simulation_threads: options.threads,
            backend: options.backend,
            checkpoint: options.checkpoint.clone(),
            resume: options.resume,
            checkpoint_every: 10 * training.validate_every,
        }
    }

    /// The `ratio` heads, each with its position.
    pub(super) fn ratios(&self) -> impl Iterator<Item = (usize, &Ratio)> {
        self.heads.iter().enumerate().filter_map(|(at, head)| match head {
            Head::Ratio(ratio) => Some((at, ratio)),
            _ => None,
        })
    }

    /// What each layer of the network reads on the validation simulations.
    pub(super) fn ranges(&self, network: &FloatNetwork, validation: &Corpus) -> Ranges {
        let inputs = self.input.apply_rows(&validation.x);
        let points = |head: &Head| match head {
            Head::Ratio(ratio) => Some(ratio.points(validation)),
            Head::Flow(flow) => Some(flow.points(validation)),
            _ => None,
        };
        let beside: Vec<_> = self.heads.iter().filter_map(points).collect();
        quantization::range_estimation(network, &inputs, &beside)
    }

    pub(super) fn fit_embedding(&self, network: &FloatNetwork) -> Dense {
        let sample =
            self.source.simulations(Split::Train, 0..self.simulations.min(SCALING_SIMULATIONS));
        let mut hidden = network.forward_batch(&self.input.apply_rows(&sample.x), true).hidden;
        let last = hidden.pop().unwrap_or_else(|| self.input.apply_rows(&sample.x));
        embedding::fit(network, &last, self.study.bank.embedding)
    }

    /// A network with what its quantization needs, from the validation simulations.
    pub(super) fn quantizable(&self, network: FloatNetwork, validation: &Corpus) -> Quantizable {
        let ranges = self.ranges(&network, validation);
        Quantizable { embedding: self.fit_embedding(&network), ranges, network }
    }

    pub(super) fn quantize(
        &self,
        subject: &Quantizable,
    ) -> Result<IntegerNetwork, QuantizationError> {
        let Quantizable { network, ranges, embedding } = subject;
        quantization::quantize(network, ranges, embedding, self.study.budget.layout)
    }

    /// An artifact with the placeholder bank, to judge a network by.
    pub(super) fn unfinished(&self, subject: &Quantizable) -> Result<Vec<u8>, PipelineError> {
        let integers = self.quantize(subject)?;
        Ok(artifact::write(&self.parts_of(&integers, &Provenance::default()))?)
    }

    /// Fits temperature, widths and offsets to the answers of the uncalibrated integer model and folds them into the float heads.
    ///
    /// After a cross-validation also to the answers of its networks: they are those of other networks than this one, which learned from
    /// more, but of very many more simulations.
    pub(super) fn calibrate(
        &mut self,
        subject: &mut Quantizable,
        held_out: &Corpus,
    ) -> Result<(), PipelineError> {
        let provenance = Provenance::default();
        let integers = self.quantize(subject)?;
        let bytes = artifact::write(&self.parts_of(&integers, &provenance))?;
        let network = &mut subject.network;
        let model = Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
        let mut outputs = self.out_of_fold.clone();
        outputs.extend(output_values(&model, &held_out.x));
        let judged = self.with_learned(held_out);
        let mut first = 0;
        for (layer, head) in network.heads.iter_mut().zip(&self.heads) {
            let own = first..first + layer.d_output;
            let rows: Vec<&[f32]> = outputs.iter().map(|row| &row[own.clone()]).collect();
            head.calibrate(layer, &rows, &judged);
            first = own.end;
        }
        for (at, ratio) in self.ratios() {
            if let Some(tail) = network.tails.iter_mut().find(|tail| tail.head == at) {
                ratio.temper(&model, tail, held_out);
            }
        }
        for at in 0..self.heads.len() {
            let Head::Flow(flow) = &self.heads[at] else { continue };
            let mut flow = flow.clone();
            flow.calibrate_steps(held_out, |flow| {
                let mut heads = self.heads.clone();
                heads[at] = Head::Flow(flow.clone());
                artifact::write(&Parts { heads: &heads, ..self.parts_of(&integers, &provenance) })
            })?;
            self.heads[at] = Head::Flow(flow);
        }
        Ok(())
    }

    /// Simulations that calibrate a network: those held out for it, behind those whose answers a cross-validation gave.
    fn with_learned(&self, held_out: &Corpus) -> Corpus {
        if self.out_of_fold.is_empty() {
            return held_out.clone();
        }
        let mut all = self.source.simulations(Split::Train, 0..self.simulations);
        all.append(self.source.simulations(Split::Validation, 0..self.validation));
        all.append(held_out.clone());
        all
    }

    /// Compresses the corpus to the bank.
    pub(super) fn bank(
        &self,
        parts: &Parts<'_>,
        held_out: &Corpus,
        test: &Corpus,
    ) -> Result<Compressed, PipelineError> {
        let bytes = artifact::write(parts)?;
        let model = Model::from_bytes(&bytes).map_err(WriteError::Refused)?;
        let count = self.simulations.min(BANK_SIMULATIONS);
        let mut hash = Sha256::new();
        let corpus = Embedded::new(&model, 0..count, |range| {
            let part = self.source.simulations(Split::Train, range);
            part.x.iter().for_each(|x| hash.update(x.to_le_bytes()));
            part
        });
        let chosen = self.source.available(Split::Validation, BANK_VALIDATION).min(self.validation);
        let validation =
            Embedded::of(&model, &self.source.simulations(Split::Validation, 0..chosen));
        let held_out = Embedded::of(&model, held_out);
        let ranges: Vec<(f32, f32)> = self.parameters.iter().map(|p| (p.low, p.high)).collect();
        let subject = Subject::new(&corpus, &validation, &held_out, self.mechanisms.len(), &ranges);
        let layout = Layout {
            index_bytes: artifact::index_bytes(&corpus.index),
            ..self.layout(parts.network.embedding.d_input)
        };
        let seed = self.study.seed;
        let bank = match self.study.bank.size {
            BankSize::Prototypes(wanted) => {
                let count = wanted.min(corpus.len() / 2);
                let size = Size { d: corpus.d, count, novelty_entries: NOVELTY_ENTRIES };
                subject.sized(size, layout.codec, seed)
            }
            // As `check_budget` found, there is room for prototypes.
            BankSize::Kib(kib) => {
                subject.compress(&layout, kib << 10, seed).expect("room for prototypes")
            }
        };
        let table = BankTable {
            d_embed: layout.d_embed.min(bank.d),
            index: bank.rows.iter().map(|&row| corpus.index[row]).collect(),
            bank,
            parameters: self.parameters.clone(),
            num_simulations: count,
        };
        let judged = Embedded::of(&model, test);
        let exact = |at: usize| subject.exact.posterior(judged.row(at), subject.bandwidth, None);
        let exact = (0..judged.len()).into_par_iter().map(exact).collect();
        Ok(Compressed { table, corpus_hash: hash.finalize().into(), exact })
    }

    /// What a prototype takes; an index as many bytes as the training simulations ask for.
    fn layout(&self, d_hidden: usize) -> Layout {
        Layout {
            d_hidden,
            d_embed: self.study.bank.embedding.min(d_hidden),
            mechanisms: self.mechanisms.len(),
            d_theta: self.parameters.len(),
            index_bytes: artifact::index_bytes(&[self.simulations]),
            codec: Codec::Int8,
        }
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
            calibrated_on: self.out_of_fold.len() as u64 + self.calibration,
            network: network.clone(),
            embedding: embedding.clone(),
            before_fine_tuning: None,
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

/// Whether a head learns a joint density.
fn is_joint(head: &HeadSpec) -> bool {
    matches!(head, HeadSpec::Mixture { .. } | HeadSpec::Flow { .. })
}

fn mixture(head: &Head) -> Option<&Mixture> {
    match head {
        Head::Mixture(mixture) => Some(mixture),
        _ => None,
    }
}

/// Numbers of components to choose from, the least first: powers of two up to `most`.
fn ladder(most: usize) -> Vec<usize> {
    std::iter::successors(Some(1), |count| Some(2 * count))
        .take_while(|count| *count <= most)
        .collect()
}

/// A network with what its quantization needs.
#[derive(Clone)]
pub(super) struct Quantizable {
    pub network: FloatNetwork,
    pub ranges: Ranges,
    pub embedding: Dense,
}

/// A bank and what it was made from.
pub(super) struct Compressed {
    pub table: BankTable,
    /// SHA-256 of the corpus.
    pub corpus_hash: [u8; 32],
    /// What an exact search through the corpus says of the test simulations.
    pub exact: Vec<Posterior>,
}

/// Examples of a source's training split.
#[derive(Clone)]
pub(super) struct TrainingExamples {
    source: Source,
    input: InputScaling,
    columns: Arc<Columns>,
    /// Whether some head learns the exact score.
    scored: bool,
    fingerprint: u64,
}

impl ExampleSource for TrainingExamples {
    fn examples(&mut self, indices: Range<u64>) -> Examples {
        let corpus = if self.scored && indices.start < SCORED_SIMULATIONS {
            self.source.scored(Split::Train, indices)
        } else {
            self.source.simulations(Split::Train, indices)
        };
        examples(&corpus, &self.input, &self.columns)
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Standardizes a corpus.
pub(super) fn examples(corpus: &Corpus, input: &InputScaling, columns: &Columns) -> Examples {
    Examples {
        inputs: input.apply_rows(&corpus.x),
        targets: columns.standardize(corpus),
        mechanism: corpus.mechanism.clone(),
        weight: corpus.weight.clone().unwrap_or_default(),
    }
}

/// Resolves the study's heads, with what they learn.
fn heads(
    study: &Study,
    sample: &Corpus,
    scored: Option<&Corpus>,
    d_hidden: usize,
) -> Result<(Vec<Head>, Columns, Vec<HeadSpec>), PipelineError> {
    let targets = TargetScaling::fit(sample);
    let flash_bytes = study.budget.flash_kib * 1024;
    let context = Context { sample, scored, targets: &targets, d_hidden, flash_bytes };
    let placed = |at: Option<usize>, HeadError { message, name }: HeadError| {
        PipelineError::Head(Box::new(study.complaint(at, name.as_deref(), &message)))
    };
    let new = |(at, head)| Head::new(head, context).map_err(|error| placed(Some(at), error));
    let heads: Vec<Head> = study.heads.iter().enumerate().map(new).collect::<Result<_, _>>()?;
    for (head, asked) in heads.iter().zip(&study.heads) {
        if head.d_output() > usize::from(format::MAX_WIDTH) {
            return Err(PipelineError::Study(format!(
                "the `{}` head has {} outputs; an artifact holds at most {}\nhint: answer fewer targets, levels, parameters or components",
                asked.kind(),
                head.d_output(),
                format::MAX_WIDTH
            )));
        }
    }
    let mut columns = Columns::default();
    let specs = heads.iter().map(|head| head.spec(sample, &mut columns)).collect();
    columns.check(sample).map_err(|error| placed(None, error))?;
    Ok((heads, columns, specs))
}

/// Outputs of all heads for each row, one head behind the other, from those of each head.
pub(super) fn interleaved(network: &FloatNetwork, outputs: &[Vec<f32>]) -> Vec<f32> {
    let widths = network.heads.iter().map(|layer| layer.d_output);
    let mut heads: Vec<_> =
        outputs.iter().zip(widths).map(|(values, width)| values.chunks_exact(width)).collect();
    let rows = heads.first().map_or(0, |rows| rows.len());
    let row = |_| heads.iter_mut().flat_map(|rows| rows.next().unwrap_or(&[])).copied().collect();
    (0..rows).map(row).collect::<Vec<Vec<f32>>>().concat()
}

/// Real values of all heads' outputs for each window, one head behind the other.
pub(super) fn output_values(model: &Model<'_>, x: &[f32]) -> Vec<Vec<f32>> {
    let scratch = || vec![0_u32; model.scratch_words()];
    x.par_chunks_exact(model.d_values())
        .map_init(scratch, |scratch, window| {
            let inference = model.infer(window, scratch).expect("windows of the model's width");
            inference.output_values().collect()
        })
        .collect()
}
