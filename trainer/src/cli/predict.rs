//! `simground predict`: answers to windows in a file, by the integer runtime.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::bail;
use rand_chacha::ChaCha8Rng;
use serde::ser::{Serialize, SerializeSeq, Serializer};
use simground_runtime::artifact::{Head, Manifest};
use simground_runtime::{Additions, Flow, Inference, MixturePosterior, Model};
use simground_trainer::disk;
use simground_trainer::evaluation::sample_quantile;
use simground_trainer::explanation::{self, novelty_words};
use simground_trainer::growth::{self, Grown};
use simground_trainer::input_table::InputTable;
use simground_trainer::named::Named;
use simground_trainer::samples::{ROW, generator, write_samples};

use super::explain::grown_text;
use super::likelihood::{self, Likelihood, Prior, Resampling};
use super::output::{counted, say, significant, table};
use super::place::{self, Kind};
use super::{Output, Verdict, files, label};

/// Levels at which the marginals of a joint posterior are told.
const MARGINAL_LEVELS: [f32; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Samples of a flow that they and the mean are estimated from.
const MARGINAL_SAMPLES: usize = 1_000;

/// How many of both parts of the bank are named beside an answer.
const GROWN_NEAREST: usize = 1;

/// What the user says.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The artifact.
    artifact: PathBuf,
    /// Windows, one a row, time-major. CSV: a header with a name per column, matched by name where the header has the names of
    /// the corpus; an empty cell, NA or NaN is a missing value. Parquet: a column `x` of lists.
    #[arg(long, value_name = "DATA")]
    input: PathBuf,
    /// Draw this many samples of theta for each window from the joint posterior; with `--json` into the document, with `--out`
    /// into a file. Of several heads that have one `flow` is asked, then `mixture`; for a `ratio` alone draws of the prior are weighted by
    /// the likelihood and drawn again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    samples: Option<u64>,
    /// Seed of the samples: the same seed draws the same samples, on every machine.
    #[arg(long, value_name = "S", default_value_t = 1, requires = "samples")]
    seed: u64,
    /// Write the samples as Parquet: a float32 column for each parameter, and `row` if there are several windows.
    #[arg(long, value_name = "FILE.parquet", requires = "samples")]
    out: Option<PathBuf>,
    /// For samples from a `ratio` head: take the thetas of this corpus for the prior, instead of draws of the study's.
    #[arg(long, value_name = "DIR", requires = "samples")]
    corpus: Option<PathBuf>,
    /// Windows that `label` or a device labeled: say as well what both parts of the bank say.
    #[arg(long, value_name = "FILE.sgad")]
    additions: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Verdict> {
    let bytes = files::read_artifact(&arguments.artifact)?;
    let model = files::model(&bytes, &arguments.artifact)?;
    let region = arguments.additions.as_ref();
    let region = region.map(|file| label::read(file, &arguments.artifact, &model)).transpose()?;
    let additions = region.as_ref().map(|region| region.read(&model)).transpose()?;
    if arguments.samples.is_some() {
        check_samples(arguments, &model, output)?;
    }
    let input = files::windows(&arguments.input, &model, &arguments.artifact)?;
    let prior = match joint(model.manifest()) {
        None if arguments.samples.is_some() => {
            Some(Prior::new(&model, &arguments.artifact, arguments.corpus.as_deref())?)
        }
        _ => None,
    };
    if let (Some(out), Some(count)) = (&arguments.out, arguments.samples) {
        write(out, &model, &input, prior.as_ref(), (count, arguments.seed))?;
    }
    let document = Document {
        model: &model,
        input: &input,
        additions: additions.as_ref(),
        samples: arguments.samples.filter(|_| arguments.out.is_none()).unwrap_or(0),
        seed: arguments.seed,
        prior: prior.as_ref(),
    };
    output.print(&document, document_text)?;
    for (row, window) in input.windows().enumerate() {
        let clamped = explanation::clamped(&model, window);
        let names: Vec<String> = clamped.iter().map(|at| input.columns[*at].clone()).collect();
        warn_of_clamped(&input.place(row), &names);
    }
    Ok(Verdict::Passed)
}

/// Warns of values that no simulation came near to, by the names of their columns.
pub fn warn_of_clamped(place: &str, clamped: &[String]) {
    /// Names in one warning.
    const NAMED: usize = 8;
    if clamped.is_empty() {
        return;
    }
    let more = if clamped.len() > NAMED { ", ..." } else { "" };
    say(&format!(
        "warning: {place}: {} outside the range of the simulations, clamped to it: {}{more}",
        counted(clamped.len(), "value"),
        clamped[..clamped.len().min(NAMED)].join(", "),
    ));
}

/// Refuses samples of a model that has none to give, or that nobody would see.
fn check_samples(arguments: &Arguments, model: &Model<'_>, output: Output) -> anyhow::Result<()> {
    if sampled(model.manifest()).is_none() {
        bail!(
            "{}: has no joint posterior to draw samples from\nhint: add a [[head]] of kind `mixture` or `flow` to its study",
            arguments.artifact.display()
        );
    }
    match &arguments.out {
        None if !output.json => {
            bail!("--samples: say where they go\nhint: `--out FILE.parquet`, or `--json`")
        }
        Some(out) => place::check(out, Kind::Samples, &[&arguments.input]),
        None => Ok(()),
    }
}

/// Names of the parameters of the joint posterior that samples are drawn from.
fn joint(manifest: &Manifest<'_>) -> Option<Vec<String>> {
    let heads = || manifest.heads.iter();
    let flow = heads().find_map(|head| match head {
        Head::Flow { parameters, .. } => Some(parameters),
        _ => None,
    });
    let mixture = || {
        heads().find_map(|head| match head {
            Head::Mixture { parameters, .. } => Some(parameters),
            _ => None,
        })
    };
    let parameters = flow.or_else(mixture)?;
    Some(parameters.iter().map(|parameter| parameter.name.to_owned()).collect())
}

/// Names of the parameters of samples.
fn sampled(manifest: &Manifest<'_>) -> Option<Vec<String>> {
    joint(manifest).or_else(|| likelihood::parameters(manifest))
}

fn write(
    out: &Path,
    model: &Model<'_>,
    input: &InputTable,
    prior: Option<&Prior>,
    (count, seed): (u64, u64),
) -> anyhow::Result<()> {
    let names = sampled(model.manifest()).unwrap_or_default();
    let windows: Vec<&[f32]> = input.windows().collect();
    if windows.len() > 1 && names.iter().any(|name| name == ROW) {
        bail!(
            "{}: a parameter is named `{ROW}`, like the column that tells the windows apart\nhint: ask about one window at a time",
            out.display()
        );
    }
    let values = (windows.len() as u64).saturating_mul(count).saturating_mul(names.len() as u64);
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Random numbers hardly get smaller, but a little.
    let needed = values.saturating_mul(3);
    if let Some(free) = disk::free_bytes(folder).filter(|free| *free < needed) {
        bail!(
            "{}: these samples take {} at least, and here {} are free\nhint: ask for fewer with `--samples`",
            out.display(),
            disk::size(needed),
            disk::size(free)
        );
    }
    let mut scratch = vec![0; model.scratch_words()];
    let mut current: Option<(usize, ChaCha8Rng, Option<Resampling<'_>>)> = None;
    write_samples(out, &names, windows.len(), count, |row, samples| {
        let mut inference =
            model.infer(windows[row], &mut scratch).expect("the table has the model's width");
        // The second part of a window's samples goes on where the first ended.
        let under_way = current.take().filter(|(of, ..)| *of == row);
        let (_, rng, resampling) = current.insert(under_way.unwrap_or_else(|| {
            (row, generator(seed, row), weighed(&mut inference, prior, &input.place(row)))
        }));
        if let Some(mut flow) = inference.flow() {
            samples.chunks_exact_mut(names.len()).for_each(|theta| flow.sample(rng, theta));
            return;
        }
        let mixture = inference.mixture();
        for theta in samples.chunks_exact_mut(names.len()) {
            match (&mixture, &*resampling) {
                (Some(mixture), _) => mixture.sample(rng, theta),
                (None, Some(resampling)) => resampling.draw(rng, theta),
                (None, None) => {}
            }
        }
    })?;
    Ok(())
}

/// The prior under one window's ratio.
fn weighed<'p>(
    inference: &mut Inference<'_, '_, '_>,
    prior: Option<&'p Prior>,
    place: &str,
) -> Option<Resampling<'p>> {
    Some(prior?.weigh(&mut inference.ratio()?, place))
}

/// Answers, made one after the other while they are printed.
struct Document<'d> {
    model: &'d Model<'d>,
    input: &'d InputTable,
    additions: Option<&'d Additions<'d>>,
    /// Samples of each window.
    samples: u64,
    seed: u64,
    /// What a `ratio` head resamples.
    prior: Option<&'d Prior>,
}

impl Document<'_> {
    /// Hands the answers to `take`, in order, until it fails.
    fn each<E>(&self, mut take: impl FnMut(&Prediction<'_, '_>) -> Result<(), E>) -> Result<(), E> {
        let targets = targets(self.model.manifest());
        let mut scratch = vec![0; self.model.scratch_words()];
        let mut scratch_of_flow = scratch.clone();
        for (row, window) in self.input.windows().enumerate() {
            let mut inference =
                self.model.infer(window, &mut scratch).expect("the table has the model's width");
            // Samples are drawn while the other answers are written.
            let mut of_flow =
                self.model.infer(window, &mut scratch_of_flow).expect("the same width");
            let novelty = inference.attribute::<1>().map(|attribution| attribution.novelty);
            let likelihood = Likelihood::of(&mut inference);
            let prior = self.prior.filter(|_| self.samples > 0);
            let resampling = weighed(&mut inference, prior, &self.input.place(row));
            let mut prediction = Prediction::new(row, &inference, &targets, self);
            if let Some(mut flow) = of_flow.flow() {
                prediction.add_flow(&mut flow);
                if self.samples > 0 {
                    let draws = Draws::Flow(Box::new(RefCell::new(flow)));
                    prediction.samples = Some(self.samples_of(row, draws));
                }
            }
            (prediction.novelty, prediction.likelihood) = (novelty, likelihood);
            if let Some(resampling) = resampling {
                prediction.samples = Some(self.samples_of(row, Draws::Resampled(resampling)));
            }
            prediction.grown = self.additions.and_then(|additions| {
                growth::explain(self.model, additions, window, GROWN_NEAREST).ok()
            });
            take(&prediction)?;
        }
        Ok(())
    }

    fn samples_of<'i, 'a>(&self, row: usize, draws: Draws<'i, 'a>) -> Samples<'i, 'a> {
        let names = sampled(self.model.manifest()).unwrap_or_default();
        Samples {
            draws,
            d: names.len(),
            count: self.samples,
            generator: RefCell::new(generator(self.seed, row)),
        }
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut document = serializer.serialize_struct("Document", 2)?;
        document.serialize_field("model", self.model.manifest().name)?;
        document.serialize_field("predictions", &Predictions(self))?;
        document.end()
    }
}

struct Predictions<'d>(&'d Document<'d>);

impl Serialize for Predictions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        self.0.each(|prediction| list.serialize_element(prediction))?;
        list.end()
    }
}

/// Names of the quantile heads' targets, each with its levels.
type Targets = Vec<(String, Vec<String>)>;

fn targets(manifest: &Manifest<'_>) -> Targets {
    let mut targets = Targets::new();
    for head in manifest.heads.iter() {
        if let Head::Quantiles { levels, targets: answered, .. } = head {
            // The shortest decimal that is this number: 0.05, not 0.05000000074505806.
            let levels: Vec<String> = levels.iter().map(|level| level.to_string()).collect();
            targets.extend(answered.iter().map(|t| (t.name.to_owned(), levels.clone())));
        }
    }
    targets
}

/// The answer to one window.
#[derive(serde::Serialize)]
struct Prediction<'i, 'a> {
    row: usize,
    #[serde(skip_serializing_if = "Named::is_empty")]
    mechanism: Named<f32>,
    #[serde(skip_serializing_if = "Named::is_empty")]
    quantiles: Named<Named<f32>>,
    #[serde(skip_serializing_if = "Named::is_empty")]
    mean: Named<f32>,
    /// Quantiles of the joint posterior's marginals.
    #[serde(skip_serializing_if = "Named::is_empty")]
    marginals: Named<Named<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    likelihood: Option<Likelihood>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<Samples<'i, 'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    novelty: Option<f32>,
    /// With the field's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    grown: Option<Grown>,
    missing: u16,
    clamped: u16,
}

impl<'i, 'a> Prediction<'i, 'a> {
    fn new(
        row: usize,
        inference: &'i Inference<'_, '_, 'a>,
        targets: &Targets,
        document: &Document<'_>,
    ) -> Self {
        let manifest = inference.model().manifest();
        let report = inference.input_report();
        let names = manifest.mechanisms.iter().map(str::to_owned);
        let mechanism = inference.mechanism_posterior();
        let quantiles = targets.iter().enumerate().filter_map(|(at, (name, levels))| {
            let values = inference.quantiles(at)?;
            Some((name.clone(), levels.iter().cloned().zip(values).collect()))
        });
        let mixture = inference.mixture();
        let marginals = mixture.iter().flat_map(|mixture| {
            mixture.parameters().iter().enumerate().map(|(at, parameter)| {
                let quantile = |level: f32| Some((level.to_string(), mixture.quantile(at, level)?));
                let quantiles = MARGINAL_LEVELS.into_iter().filter_map(quantile).collect();
                (parameter.name.to_owned(), quantiles)
            })
        });
        Prediction {
            row,
            mechanism: mechanism.map_or_else(Named::default, |p| names.zip(p).collect()),
            quantiles: quantiles.collect(),
            mean: means(inference, mixture.as_ref()),
            marginals: marginals.collect(),
            likelihood: None,
            novelty: None,
            grown: None,
            missing: report.missing,
            clamped: report.clamped,
            samples: mixture
                .filter(|_| document.samples > 0)
                .map(|mixture| document.samples_of(row, Draws::Mixture(Box::new(mixture)))),
        }
    }
}

impl Prediction<'_, '_> {
    /// Quantiles and means of a flow's samples, where no other head has said them.
    fn add_flow(&mut self, flow: &mut Flow<'_, '_>) {
        let names: Vec<String> = flow.parameters().iter().map(|p| p.name.to_owned()).collect();
        let mut rng = generator(0, 0);
        let mut columns = vec![Vec::with_capacity(MARGINAL_SAMPLES); names.len()];
        let mut theta = vec![0.0; names.len()];
        for _ in 0..MARGINAL_SAMPLES {
            flow.sample(&mut rng, &mut theta);
            columns.iter_mut().zip(&theta).for_each(|(values, theta)| values.push(*theta));
        }
        for (name, mut values) in names.into_iter().zip(columns) {
            values.sort_by(f32::total_cmp);
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
            let quantile =
                |level: f32| (level.to_string(), sample_quantile(&values, f64::from(level)) as f32);
            if self.mean.value(&name).is_none() {
                self.mean.0.push((name.clone(), mean as f32));
            }
            if self.marginals.value(&name).is_none() {
                self.marginals.0.push((name, MARGINAL_LEVELS.map(quantile).into_iter().collect()));
            }
        }
    }
}

/// Posterior means: of the `point` head where there is one, which learned nothing else, then of the joint posterior.
fn means(
    inference: &Inference<'_, '_, '_>,
    mixture: Option<&MixturePosterior<'_, '_>>,
) -> Named<f32> {
    let mut means: Vec<(String, f32)> = Vec::new();
    for head in inference.model().manifest().heads.iter() {
        if let Head::Point { parameters, .. } = head {
            let named = parameters.iter().enumerate();
            means.extend(
                named.filter_map(|(at, p)| Some((p.name.to_owned(), inference.point(at)?))),
            );
        }
    }
    if let Some(mixture) = mixture {
        for (at, parameter) in mixture.parameters().iter().enumerate() {
            if !means.iter().any(|(name, _)| name == parameter.name) {
                means.extend(mixture.mean(at).map(|mean| (parameter.name.to_owned(), mean)));
            }
        }
    }
    means.into_iter().collect()
}

/// Where samples come from.
enum Draws<'i, 'a> {
    Flow(Box<RefCell<Flow<'i, 'a>>>),
    Mixture(Box<MixturePosterior<'i, 'a>>),
    Resampled(Resampling<'i>),
}

/// Samples that are drawn while they are written.
struct Samples<'i, 'a> {
    draws: Draws<'i, 'a>,
    /// Parameters.
    d: usize,
    count: u64,
    generator: RefCell<ChaCha8Rng>,
}

impl Serialize for Samples<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut theta = vec![0.0; self.d];
        let mut list = serializer.serialize_seq(usize::try_from(self.count).ok())?;
        for _ in 0..self.count {
            let rng = &mut *self.generator.borrow_mut();
            match &self.draws {
                Draws::Flow(flow) => flow.borrow_mut().sample(rng, &mut theta),
                Draws::Mixture(mixture) => mixture.sample(rng, &mut theta),
                Draws::Resampled(resampling) => resampling.draw(rng, &mut theta),
            }
            list.serialize_element(&theta)?;
        }
        list.end()
    }
}

fn document_text(document: &Document<'_>) -> String {
    let mut text = String::new();
    let _ = document.each(|prediction| {
        text += &prediction_text(prediction);
        Ok::<(), std::convert::Infallible>(())
    });
    text
}

fn prediction_text(prediction: &Prediction<'_, '_>) -> String {
    let mut text = format!("row {}\n", prediction.row);
    if !prediction.mechanism.is_empty() {
        text += &format!("  mechanism  {}\n", probabilities(&prediction.mechanism));
    }
    let both = !prediction.quantiles.is_empty() && !prediction.marginals.is_empty();
    let tables = [(&prediction.quantiles, "each alone"), (&prediction.marginals, "jointly")];
    for (quantiles, title) in tables {
        let title = if both { title } else { "" };
        text += &super::output::indented(&table(&quantile_rows(quantiles, title)));
    }
    if !prediction.mean.is_empty() {
        let mean =
            |(name, mean): &(String, f32)| format!("{name} {}", significant(f64::from(*mean), 4));
        let means: Vec<String> = prediction.mean.iter().map(mean).collect();
        text += &format!("  mean       {}\n", means.join(", "));
    }
    if let Some(likelihood) = &prediction.likelihood {
        text += &super::output::indented(&table(&likelihood.rows()));
    }
    if let Some(novelty) = prediction.novelty {
        text += &format!("  novelty    {novelty:.3}: {}\n", novelty_words(novelty));
    }
    if let Some(grown) = &prediction.grown {
        text += &grown_text(grown);
    }
    if prediction.missing > 0 {
        text += &format!("  missing    {}\n", counted(prediction.missing.into(), "value"));
    }
    text
}

/// A row for each target; a row of levels behind `title` above the first, and wherever the levels change.
fn quantile_rows(named: &Named<Named<f32>>, title: &str) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut header: Vec<&str> = Vec::new();
    for (target, quantiles) in named.iter() {
        let levels: Vec<&str> = quantiles.iter().map(|(level, _)| level.as_str()).collect();
        if levels != header {
            let titles = levels.iter().map(|level| (*level).to_owned());
            rows.push([title.to_owned()].into_iter().chain(titles).collect());
            header = levels;
        }
        let values = quantiles.iter().map(|(_, q)| significant(f64::from(*q), 4));
        rows.push([target.clone()].into_iter().chain(values).collect());
    }
    rows
}

/// `SIR 2 %, SEIR 91 %`.
pub fn probabilities(named: &Named<f32>) -> String {
    let each = named.iter().map(|(name, p)| format!("{name} {:.1} %", 100.0 * p));
    each.collect::<Vec<_>>().join(", ")
}
