//! A corpus of a million simulations answered from a few kilobytes, against the exact search through all of it.
//!
//! One network is trained with the study's own seed. Each seed of the settings then is a corpus of its own, with its own validation, held-out
//! and test simulations: banks are fitted to the corpus and chosen on validation simulations, and judged on the test simulations alone.

mod faiss;
mod hard;
mod judge;
mod memory;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use simground_runtime::artifact::Theta;
use simground_runtime::{Model, kernel};

use self::faiss::Faiss;
use self::judge::{Answers, Scores, TestSet};
use super::{Experiment, ExperimentError, Findings, Settings};
use crate::artifact::{BankTable, ThetaRange, index_bytes, with_bank};
use crate::bank::exact::{Bandwidth, Exact, Marginal};
use crate::bank::{Answer, Bank, Codec, Embedded, Layout, Selection, Subject, agreement};
use crate::pipeline::{self, Options, Talk};
use crate::simulator::{Simulator, Split};
use crate::source::Source;
use crate::study::Study;
use crate::training::Silent;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "bank-compression",
    about: "a million simulations answered from 1 to 256 KiB, against exact search and FAISS",
    takes: "40 minutes",
    seeds: &[401, 402, 403],
    run,
};

const STUDY: &str = include_str!("../../studies/outbreak.toml");
/// Budget of the bank that the summary is about.
const MAIN_BUDGET: usize = 16 << 10;
/// Turns in which our search and FAISS's are timed.
const TURNS: usize = 9;

/// How much is computed.
struct Effort {
    simulations: u64,
    validation: u64,
    held_out: u64,
    test: u64,
    /// Budgets of the curves, bytes.
    budgets: Vec<usize>,
    /// Budgets at which the other ways to choose and to store prototypes are compared.
    compared: Vec<usize>,
}

/// One bank, or what takes its place, under one seed.
struct Measured {
    method: &'static str,
    /// `None` for what has no budget.
    budget: Option<usize>,
    /// Of all sections.
    bytes: Option<usize>,
    prototypes: usize,
    d: usize,
    scores: Scores,
    seconds: f64,
    /// Microseconds to find the nearest five on this machine, where it was timed.
    search: Option<f64>,
}

impl Measured {
    /// For the progress: a run that is cut short leaves its figures.
    fn line(&self) -> String {
        let Measured { method, prototypes, d, scores, seconds, .. } = self;
        format!(
            "{method}: {prototypes} prototypes in {d} dimensions, total variation {:.4}, the same mechanism {:.1} %, {seconds:.0} s",
            scores.mechanism_tv,
            100.0 * scores.top1_agreement
        )
    }
}

/// What the whole way from the simulator to a bank of [`MAIN_BUDGET`] took.
struct Build {
    time: Duration,
    /// `None` where the system does not say.
    peak_bytes: Option<u64>,
}

/// Everything under one seed.
struct Run {
    measured: Vec<Measured>,
    build: Build,
    /// Simulations that an exact posterior rests on: median.
    effective_simulations: f64,
    bandwidth: Bandwidth,
    faiss: Result<String, String>,
}

fn run(settings: &Settings, talk: &mut dyn Talk) -> Result<Findings, ExperimentError> {
    let failed = |error: &dyn std::fmt::Display| ExperimentError(error.to_string());
    let mut study = Study::parse(STUDY, "outbreak.toml").map_err(|e| failed(&e))?;
    let kib = |sizes: &[usize]| sizes.iter().map(|size| size << 10).collect();
    let mut effort = Effort {
        simulations: settings.at_most.min(1_000_000),
        validation: 2_048,
        held_out: 4_096,
        test: 4_096,
        budgets: kib(&[1, 2, 4, 8, 16, 32, 64, 128, 256]),
        compared: kib(&[4, 16, 64]),
    };
    if settings.quick {
        study.training.simulations = 20_000;
        study.training.steps = 500;
        study.training.validate_every = 250;
        effort = Effort {
            simulations: 20_000,
            validation: 256,
            held_out: 512,
            test: 256,
            budgets: kib(&[4, 16]),
            compared: kib(&[4]),
        };
    }
    let simulator = Arc::new(study.simulator().expect("the study has mechanisms"));
    let source = Source::Simulator { simulator: simulator.clone(), seed: study.seed };
    let outcome = pipeline::run(&study, &source, &Options::default(), &mut Silent, talk);
    let artifact = outcome.map_err(|e| failed(&e))?.artifact;
    let model = Model::from_bytes(&artifact).map_err(|e| failed(&e))?;
    let device = Device { artifact: &artifact, model: &model };
    let runs: Result<Vec<Run>, ExperimentError> = settings
        .seeds
        .iter()
        .map(|&seed| measure(&device, &simulator, &effort, seed, talk))
        .collect();
    Ok(table::findings(&runs?, effort.simulations))
}

/// The trained network, whose bank is exchanged.
struct Device<'d> {
    artifact: &'d [u8],
    model: &'d Model<'d>,
}

impl Device<'_> {
    /// What the integer runtime answers for windows, with this bank in the artifact.
    fn answers(&self, bank: &Bank, corpus: &Embedded, x: &[f32]) -> Result<Vec<Answer>, String> {
        let record = self.model.manifest().bank.as_ref().expect("a model with a bank");
        let parameter = |theta: Theta<'_>| ThetaRange {
            name: theta.name.into(),
            unit: theta.unit.into(),
            low: theta.low,
            high: theta.high,
        };
        let table = BankTable {
            d_embed: usize::from(record.embedding.d_output).min(bank.d),
            index: bank.rows.iter().map(|&row| corpus.index[row]).collect(),
            parameters: record.theta.iter().map(parameter).collect(),
            num_simulations: corpus.len() as u64,
            bank: bank.clone(),
        };
        let bytes = with_bank(self.artifact, &table).map_err(|error| error.to_string())?;
        let model = Model::from_bytes(&bytes).map_err(|error| error.to_string())?;
        Ok(agreement::runtime_answers(&model, x))
    }
}

fn measure(
    device: &Device<'_>,
    simulator: &Simulator,
    effort: &Effort,
    seed: u64,
    talk: &mut dyn Talk,
) -> Result<Run, ExperimentError> {
    let model = device.model;
    let embed = |split: Split, from: u64, count: u64| {
        let first = split.base() + from;
        Embedded::new(model, first..first + count, |range| simulator.simulate(seed, range))
    };
    talk.stage(&format!("seed {seed}: {} simulations", effort.simulations));
    memory::reset_peak();
    let started = Instant::now();
    let corpus = embed(Split::Train, 0, effort.simulations);
    let validation = embed(Split::Validation, 0, effort.validation);
    let held_out = embed(Split::Calibration, 0, effort.held_out);
    let bank_record = model.manifest().bank.as_ref().expect("a model with a bank");
    let ranges: Vec<(f32, f32)> = bank_record.theta.iter().map(|t| (t.low, t.high)).collect();
    let layout = Layout {
        d_hidden: usize::from(bank_record.embedding.d_input),
        d_embed: usize::from(bank_record.embedding.d_output),
        mechanisms: model.manifest().mechanisms.len(),
        d_theta: ranges.len(),
        index_bytes: index_bytes(&corpus.index),
        codec: Codec::Int8,
    };
    let subject = Subject::new(&corpus, &validation, &held_out, layout.mechanisms, &ranges);
    let bank = subject.compress(&layout, MAIN_BUDGET, seed);
    let build = Build { time: started.elapsed(), peak_bytes: memory::peak_bytes() };
    drop(bank);

    talk.stage(&format!("seed {seed}: exact posteriors"));
    let observations = embed(Split::Test, 0, effort.test);
    let first = Split::Test.base();
    let windows = simulator.simulate(seed, first..first + effort.test).x;
    let test = TestSet::new(observations, &corpus, &subject.exact, subject.bandwidth);
    let mut measured = references(&test, &corpus, &subject, &ranges, || {
        let other = embed(Split::Train, effort.simulations, effort.simulations);
        Exact::new(&other, layout.mechanisms, &ranges)
    });
    let mut banks = Vec::new();
    for &budget in &effort.budgets {
        talk.stage(&format!("seed {seed}: {} KiB", budget >> 10));
        let record = |method, bank: &Bank, bytes, answers: &Answers, started: Instant| Measured {
            method,
            budget: Some(budget),
            bytes: Some(bytes),
            prototypes: bank.len(),
            d: bank.d,
            scores: test.judge(answers),
            seconds: started.elapsed().as_secs_f64(),
            search: None,
        };
        let started = Instant::now();
        let chosen = subject.compress(&layout, budget, seed);
        let Some(chosen) = chosen else { continue };
        // What ships is judged by the code that ships.
        let answers = device.answers(&chosen, &corpus, &windows).map_err(ExperimentError)?;
        let answers = Answers::new(&chosen, answers);
        let ours = record("ours", &chosen, chosen.bytes(&layout), &answers, started);
        talk.note(&ours.line());
        measured.push(ours);
        let d = chosen.d;
        banks.push((budget, chosen));
        let mut add = |method: &'static str, make: &dyn Fn() -> Option<(Bank, usize)>| {
            let started = Instant::now();
            if let Some((bank, bytes)) = make() {
                let answers = Answers::of(&bank, &test.observations);
                let rival = record(method, &bank, bytes, &answers, started);
                talk.note(&rival.line());
                measured.push(rival);
            }
        };
        add("hard labels", &|| {
            let bank = hard::compress(&subject, &layout, budget, d, seed);
            let bytes = hard::bytes(&bank, &layout);
            Some((bank, bytes))
        });
        if !effort.compared.contains(&budget) {
            continue;
        }
        let compress = |selection: Selection, codec: Codec| {
            let layout = Layout { codec, ..layout };
            let bank = subject.compress_to(d, &layout, budget, selection, seed)?;
            let bytes = bank.bytes(&layout);
            Some((bank, bytes))
        };
        for selection in
            [Selection::Medoids, Selection::Herding, Selection::KCenter, Selection::Random]
        {
            add(selection.name(), &|| compress(selection, Codec::Int8));
        }
        for (name, group, bits) in [
            ("product codes 2 x 4 bits", 2, 4),
            ("product codes 2 x 8 bits", 2, 8),
            ("product codes 4 x 8 bits", 4, 8),
        ] {
            add(name, &|| compress(Selection::Medoids, Codec::Product { group, bits }));
        }
    }
    talk.stage(&format!("seed {seed}: FAISS"));
    let faiss = rival(&subject, &layout, &banks, seed, &test, &mut measured);
    if let Err(reason) = &faiss {
        talk.note(&format!("FAISS is left out: {reason}"));
    }
    let mut effective: Vec<f64> = test.posteriors.iter().map(|p| p.effective_simulations).collect();
    effective.sort_by(f64::total_cmp);
    Ok(Run {
        measured,
        build,
        effective_simulations: effective[effective.len() / 2],
        bandwidth: subject.bandwidth,
        faiss,
    })
}

/// What the figures are to be read beside: the exact search over as many other simulations, the exact answers said by mean and standard
/// deviation alone, and the prior.
fn references(
    test: &TestSet,
    corpus: &Embedded,
    subject: &Subject<'_>,
    ranges: &[(f32, f32)],
    other: impl FnOnce() -> Exact,
) -> Vec<Measured> {
    let n = test.observations.len();
    let reference = |method, answers: &Answers| Measured {
        method,
        budget: None,
        bytes: None,
        prototypes: 0,
        d: corpus.d,
        scores: test.judge(answers),
        seconds: f64::NAN,
        search: None,
    };
    let other = other();
    let posteriors: Vec<_> = (0..n)
        .into_par_iter()
        .map(|at| other.posterior(test.observations.row(at), subject.bandwidth, None))
        .collect();
    let elsewhere = Answers {
        mechanism: posteriors.iter().map(|p| p.mechanism.clone()).collect(),
        theta: posteriors.into_iter().map(|p| p.theta).collect(),
        ..test.exact_answers()
    };
    let (mechanism, theta) = prior(corpus, test.posteriors[0].mechanism.len(), ranges);
    let prior =
        Answers { mechanism: vec![mechanism; n], theta: vec![theta; n], ..test.exact_answers() };
    vec![
        reference("exact", &test.exact_answers()),
        reference("exact over other simulations", &elsewhere),
        reference("prior", &prior),
    ]
}

/// The corpus without looking at the observation.
fn prior(corpus: &Embedded, mechanisms: usize, ranges: &[(f32, f32)]) -> (Vec<f64>, Vec<Marginal>) {
    let n = corpus.len() as f64;
    let share =
        |m: usize| corpus.mechanism.iter().filter(|&&own| usize::from(own) == m).count() as f64 / n;
    let marginal = |(at, (low, high)): (usize, &(f32, f32))| {
        let values = corpus.theta.iter().skip(at).step_by(ranges.len()).filter(|v| !v.is_nan());
        let shares = values.map(|v| f64::from((v - low) / (high - low)));
        let (count, first, second) =
            shares.fold((0.0, 0.0, 0.0), |(c, f, s), x| (c + 1.0, f + x, s + x * x));
        let mean = first / count;
        Marginal { present: count / n, mean, sd: (second / count - mean * mean).sqrt() }
    };
    ((0..mechanisms).map(share).collect(), ranges.iter().enumerate().map(marginal).collect())
}

/// FAISS's product quantization at equal bytes, judged as ours is, and both searches in turns.
fn rival(
    subject: &Subject<'_>,
    layout: &Layout,
    banks: &[(usize, Bank)],
    seed: u64,
    test: &TestSet,
    measured: &mut Vec<Measured>,
) -> Result<String, String> {
    let budgets: Vec<usize> = banks.iter().map(|(budget, _)| *budget).collect();
    let mut faiss = Faiss::start(subject, layout, &budgets, seed, &test.observations)?;
    for &(budget, ref bank) in banks {
        let Some(index) = faiss.index(budget)? else { continue };
        let ours = measured.iter().position(|m| m.method == "ours" && m.budget == Some(budget));
        let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            our_times.push(nearest_five(bank, &test.observations));
            their_times.push(faiss.time(budget)?);
        }
        if let Some(at) = ours {
            measured[at].search = Some(median(our_times));
        }
        measured.push(Measured {
            method: "FAISS product quantization",
            budget: Some(budget),
            bytes: Some(index.bytes),
            prototypes: index.count,
            d: index.d,
            scores: test.judge(&index.answers),
            seconds: index.seconds,
            search: Some(median(their_times)),
        });
    }
    Ok(faiss.version.clone())
}

/// Microseconds that the runtime takes on this machine to find the nearest five prototypes of an observation.
fn nearest_five(bank: &Bank, observations: &Embedded) -> f64 {
    let vectors: Vec<u8> = bank.vectors.iter().map(|q| q.cast_unsigned()).collect();
    let started = Instant::now();
    for at in 0..observations.len() {
        let query = &observations.row(at)[..bank.d];
        std::hint::black_box(kernel::nearest::<5>(&vectors, query));
    }
    started.elapsed().as_secs_f64() * 1e6 / observations.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
