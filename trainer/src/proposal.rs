//! A first study for a corpus, written from a look at its rows: the text that a user then edits.
//!
//! What can be counted is counted here; what the corpus cannot tell stands as a comment beside the choice. The study is checked
//! against the corpus as a training would check it before anyone sees it.

mod support;

use std::fmt::Write as _;

use serde::Serialize;
use simground_runtime::artifact::{MAX_THETA, Transform, component_outputs};

use crate::corpus::Corpus;
use crate::head::LARGEST;
use crate::pipeline::{self, PipelineError};
use crate::report::counted;
use crate::simulator::Split;
use crate::source::Source;
use crate::standardization::automatic_transform;
use crate::study::{Diagnostic, Study};

/// Flash that a proposed study allows for each [`WIDE`] inputs.
const FLASH_KIB: usize = 64;
/// Inputs up to which [`FLASH_KIB`] are enough: their scalings, the first layer and the windows of the self-test grow with them.
const WIDE: usize = 1_024;
/// RAM that a proposed study allows, unless its window alone needs more.
const RAM_KIB: usize = 8;
/// Part of the flash that the first layer may take: its width falls where windows are long.
const FIRST_LAYER_SHARE: usize = 4;
/// Bytes of flash for each output of one component of a joint posterior, beside its weights: bias and scale.
const OUTPUT_BYTES: usize = 8;
/// Part of the flash that a joint posterior may take, as [`crate::head::Mixture`] has it.
const JOINT_SHARE: usize = 2;
/// How often all sizes are halved before flash is said to be too small.
const HALVINGS: u32 = 5;

/// A study for a corpus, and what it rests on.
#[derive(Debug, Clone, Serialize)]
pub struct Proposal {
    /// The study, commented.
    #[serde(skip)]
    pub text: String,
    /// Its name.
    pub name: String,
    /// Rows of the corpus.
    pub num_simulations: usize,
    /// Values of a window.
    pub d_x: usize,
    /// Kinds of the heads, in order.
    pub heads: Vec<&'static str>,
    /// Parameters whose support was judged from their draws, with its ends.
    pub supports: Vec<Support>,
}

/// Where the prior of a parameter seems to end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Support {
    /// The parameter.
    pub parameter: String,
    /// Lower end.
    pub low: f64,
    /// Upper end; `None` where only the lower one is known.
    pub high: Option<f64>,
}

/// Proposes a study of this name; `has_target` tells whether the corpus has a column `target` beside theta.
///
/// # Errors
///
/// [`PipelineError`] for a corpus that no study can be trained on, such as one of too few rows.
pub fn propose(name: &str, corpus: Corpus, has_target: bool) -> Result<Proposal, PipelineError> {
    let num_simulations = corpus.len();
    propose_from(name, corpus, num_simulations, has_target)
}

/// The same from a part of a corpus of so many simulations.
///
/// # Errors
///
/// As [`propose`].
pub fn propose_from(
    name: &str,
    corpus: Corpus,
    num_simulations: usize,
    has_target: bool,
) -> Result<Proposal, PipelineError> {
    let source = Source::stored(corpus, 1, None);
    let Source::Stored { corpus, .. } = &source else { unreachable!("made of stored rows") };
    let facts = Facts { rows: num_simulations, ..Facts::of(corpus, has_target) };
    if facts.mechanisms.len() < 2 && facts.targets.is_empty() && facts.parameters.is_empty() {
        let what = if has_target { "targets" } else { "parameters" };
        return Err(PipelineError::Study(format!(
            "nothing to learn: all {what} are the same in every row, and there is one mechanism\nhint: a corpus spans what is to be inferred"
        )));
    }
    let train_rows = source.available(Split::Train, u64::MAX) as usize;
    let mut flash_kib = flash_kib(facts.d_input(), facts.parameters.len());
    let (mut ram_kib, mut halvings) = (RAM_KIB, 0);
    loop {
        let sizes = Sizes::of(train_rows, facts.d_input(), facts.parameters.len(), flash_kib)
            .halved(halvings);
        let text = facts.study(name, &sizes, flash_kib, ram_kib);
        let study = Study::parse(&text, "the proposed study")
            .map_err(|error| PipelineError::Study(error.to_string()))?;
        match pipeline::check(&study, &source) {
            Ok(()) => {
                return Ok(Proposal {
                    text,
                    name: name.to_owned(),
                    num_simulations: facts.rows,
                    d_x: corpus.schema.d_x(),
                    heads: study.heads.iter().map(|head| head.kind()).collect(),
                    supports: facts.supports,
                });
            }
            Err(PipelineError::OverBudget { what: "RAM", needed, .. }) => {
                ram_kib = needed.div_ceil(1024).next_power_of_two();
            }
            Err(PipelineError::OverBudget { .. }) if halvings < HALVINGS => halvings += 1,
            Err(PipelineError::OverBudget { needed, .. }) if needed > flash_kib << 10 => {
                flash_kib = needed.div_ceil(1024);
            }
            // Nobody has seen the study's lines.
            Err(PipelineError::Head(complaint)) => {
                let Diagnostic { message, hint, .. } = *complaint;
                let hint = hint.map_or(String::new(), |hint| format!("\nhint: {hint}"));
                return Err(PipelineError::Study(message + &hint));
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a corpus tells.
struct Facts {
    rows: usize,
    d_x: usize,
    /// Share of x that is missing.
    missing: f64,
    transform: Transform,
    mechanisms: Vec<String>,
    /// Names for the quantiles head.
    targets: Vec<String>,
    has_target: bool,
    /// Parameters that every simulation has and that vary.
    parameters: Vec<String>,
    supports: Vec<Support>,
    /// Whether the corpus states the supports itself.
    supports_stated: bool,
}

impl Facts {
    fn of(corpus: &Corpus, has_target: bool) -> Facts {
        let schema = &corpus.schema;
        let column = |values: &[f32], at: usize, width: usize| -> Vec<f32> {
            values.iter().skip(at).step_by(width).copied().collect()
        };
        let theta: Vec<Vec<f32>> =
            (0..schema.d_theta()).map(|at| column(&corpus.theta, at, schema.d_theta())).collect();
        let learnable = |values: &[f32]| {
            values.iter().all(|v| !v.is_nan()) && values.iter().any(|v| *v != values[0])
        };
        let supports_stated = schema.theta.iter().any(|p| p.lower.is_some() || p.upper.is_some());
        let support = |(parameter, values): (&crate::corpus::Parameter, &Vec<f32>)| {
            let (low, high) = support::support(values);
            // What no artifact holds, the check of the study names.
            let holds = |end: &f64| end.abs() <= f64::from(LARGEST);
            let (low, high) = (low.filter(holds)?, high.filter(holds));
            Some(Support { parameter: parameter.name.clone(), low, high })
        };
        let is_learnable = |(_, values): &(&crate::corpus::Parameter, &Vec<f32>)| learnable(values);
        let parameters = || schema.theta.iter().zip(&theta).filter(is_learnable);
        let target_varies = |at: &usize| learnable(&column(&corpus.target, *at, schema.d_target()));
        let mut targets = Vec::new();
        for group in schema.target_groups() {
            let members = schema.target_indices(group);
            if members.iter().all(&target_varies) {
                targets.push(group.to_owned());
            } else {
                let varying = members.into_iter().filter(&target_varies);
                targets.extend(varying.map(|at| schema.targets[at].name.clone()));
            }
        }
        Facts {
            rows: corpus.len(),
            d_x: schema.d_x(),
            missing: corpus.x.iter().filter(|x| x.is_nan()).count() as f64 / corpus.x.len() as f64,
            transform: automatic_transform(&corpus.x),
            mechanisms: schema.mechanisms.clone(),
            targets,
            has_target,
            parameters: parameters().map(|(parameter, _)| parameter.name.clone()).collect(),
            supports: if supports_stated {
                Vec::new()
            } else {
                parameters().filter_map(support).collect()
            },
            supports_stated,
        }
    }

    fn d_input(&self) -> usize {
        self.d_x * if self.missing > 0.0 { 2 } else { 1 }
    }

    fn study(&self, name: &str, sizes: &Sizes, flash_kib: usize, ram_kib: usize) -> String {
        let mut text = String::new();
        let mut line = |line: &str| text += &format!("{line}\n");
        line(&format!(
            "# A study for a stored corpus: {} simulations of {}, {} that vary.",
            self.rows,
            counted(self.d_x, "value"),
            counted(self.parameters.len(), "parameter")
        ));
        line("# Written by `simground init` from a look at the rows: a start, to be edited.");
        line(&format!("\nname = {}", quoted(name)));
        line(
            "# Decides which rows are held out: 80 % train, 8 % validate, 7 % calibrate, 5 % test.",
        );
        line("seed = 1");
        self.input(&mut text);
        self.heads(&mut text);
        self.parameters(&mut text);
        sizes.write(&mut text, flash_kib, ram_kib);
        text
    }

    fn input(&self, text: &mut String) {
        let (transform, why) = match self.transform {
            Transform::Identity => ("identity", "x does not span decades: as it is."),
            Transform::Log1p => ("log1p", "x is nonnegative and spans decades: log(1 + x)."),
            Transform::SignedLog1p => (
                "auto",
                "x spans decades on both sides of 0: sign(x) log(1 + |x|), which `auto` chooses.",
            ),
        };
        let (missing, why_missing) = if self.missing > 0.0 {
            let share = 100.0 * self.missing;
            (
                "allow",
                format!(
                    "{share:.2} % of x are missing (null or NaN): the network learns to do without them."
                ),
            )
        } else {
            ("refuse", "No value of x is missing; an observation with a gap is refused. `allow` needs gaps in the corpus.".into())
        };
        *text += &format!(
            "\n[input]\n# {why}\ntransform = \"{transform}\"\n# {why_missing}\nmissing = \"{missing}\"\n"
        );
    }

    fn heads(&self, text: &mut String) {
        if self.mechanisms.len() > 1 {
            *text += &format!(
                "\n# Which of {} mechanisms: {}.\n[[head]]\nkind = \"categorical\"\n",
                self.mechanisms.len(),
                list(&self.mechanisms)
            );
        }
        if !self.targets.is_empty() {
            let what = if self.has_target { "the column `target`" } else { "each parameter alone" };
            *text += &format!(
                "\n# Calibrated intervals for {what}.\n[[head]]\nkind = \"quantiles\"\ntargets = [{}]\nlevels = [0.05, 0.25, 0.5, 0.75, 0.95]\n",
                list(&self.targets)
            );
        }
        if !self.parameters.is_empty() && self.parameters.len() <= MAX_THETA {
            *text += "\n# The joint posterior of the parameters: `predict --samples` draws from it, `evaluate` judges it.\n[[head]]\nkind = \"mixture\"\n";
            *text += &format!("parameters = [{}]\n", list(&self.parameters));
            *text += "# How many Gaussians it is made of is chosen by held-out loss; `components = 4` would decide it.\n";
        }
    }

    fn parameters(&self, text: &mut String) {
        if self.supports_stated {
            *text += "\n# The corpus states the supports of its parameters.\n";
            return;
        }
        *text += "\n# Where the prior of a parameter ends, and its unit. The ends below are a guess from the draws: no answer lies beyond them,\n# and a corpus with a value beyond them is refused. Write those of your prior; remove a line whose prior has no ends.\n";
        if self.supports.is_empty() {
            *text += "# None was found.\n# [parameters]\n# rate = { low = 0.0, high = 1.0, unit = \"1/day\" }\n";
            return;
        }
        *text += "[parameters]\n";
        for Support { parameter, low, high } in &self.supports {
            let high = high.map_or(String::new(), |high| format!(", high = {}", number(high)));
            let _ = writeln!(text, "{} = {{ low = {}{high} }}", quoted(parameter), number(*low));
        }
        let without: Vec<String> = (self.parameters.iter())
            .filter(|name| self.supports.iter().all(|support| support.parameter != **name))
            .cloned()
            .collect();
        if !without.is_empty() {
            *text += &format!("# Without visible ends: {}.\n", list(&without));
        }
    }
}

/// Width of layers in which a joint posterior starts at a regression, which half of a layer carries in pairs of neurons; nothing without a
/// joint posterior.
fn carries(d_input: usize, parameters: usize) -> usize {
    if parameters > MAX_THETA { 0 } else { (4 * parameters.min(d_input)).next_multiple_of(8) }
}

/// Flash to start from: of many parameters one Gaussian alone takes more than few do with all else.
fn flash_kib(d_input: usize, parameters: usize) -> usize {
    let gaussian = component_outputs(parameters.min(MAX_THETA))
        * (carries(d_input, parameters) + OUTPUT_BYTES)
        * JOINT_SHARE;
    (FLASH_KIB * d_input.div_ceil(WIDE)).max(gaussian.div_ceil(1024).next_multiple_of(FLASH_KIB))
}

/// Everything whose size depends on how many rows there are to learn from.
struct Sizes {
    hidden: Vec<usize>,
    prototypes: usize,
    steps: usize,
    batch: usize,
    validate_every: usize,
    patience: usize,
    weight_decay: f64,
}

impl Sizes {
    /// The more rows, the wider; the fewer rows, the more passes over them, ended by the held-out loss, and by weight decay where that comes
    /// late: of few rows a few hundred steps are best, in which nothing decays.
    fn of(train_rows: usize, d_input: usize, parameters: usize, flash_kib: usize) -> Sizes {
        let (hidden, steps, batch, validate_every, patience, weight_decay) = match train_rows {
            ..400 => (vec![32, 32], 2_000, 32, 25, 20, 0.0),
            400..4_000 => (vec![64, 64], 4_000, 64, 50, 20, 0.0),
            4_000..40_000 => (vec![128, 64], 15_000, 128, 250, 25, 0.3),
            _ => (vec![128, 64], 20_000, 256, 500, 10, 0.0),
        };
        let first_layer_bytes = (flash_kib << 10) / FIRST_LAYER_SHARE;
        let narrowest = (first_layer_bytes / d_input.max(1)).next_multiple_of(8).max(8);
        let carries = carries(d_input, parameters);
        let width = |width: usize| width.max(carries).min(narrowest);
        let hidden = hidden.into_iter().map(width).collect();
        let prototypes = 256.min(train_rows / 2).max(1);
        Sizes { hidden, prototypes, steps, batch, validate_every, patience, weight_decay }
    }

    /// Everything that costs flash divided by `2^times`.
    fn halved(mut self, times: u32) -> Sizes {
        self.hidden.iter_mut().for_each(|width| *width = (*width >> times).max(8));
        self.prototypes = (self.prototypes >> times).max(self.prototypes.min(16));
        self
    }

    fn write(&self, text: &mut String, flash_kib: usize, ram_kib: usize) {
        let hidden: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        let Sizes { prototypes, steps, batch, validate_every, patience, weight_decay, .. } = self;
        *text += &format!("\n[network]\nhidden = [{}]\n", hidden.join(", "));
        *text += &format!(
            "\n# Simulations that the device keeps, to name those that an answer rests on.\n[bank]\nprototypes = {prototypes}\nneighbors = {}\n",
            5.min(*prototypes)
        );
        *text += &format!(
            "\n# What the artifact may cost on the device; more is refused.\n[budget]\nflash_kib = {flash_kib}\nram_kib = {ram_kib}\n"
        );
        *text += &format!(
            "\n# Up to {steps} steps of {batch} rows, fewer where {patience} validations in a row bring nothing.\n[training]\nsteps = {steps}\nbatch = {batch}\nvalidate_every = {validate_every}\npatience = {patience}\n"
        );
        if *weight_decay > 0.0 {
            *text += &format!(
                "# Keeps the weights small: so many rows are passed over often.\nweight_decay = {weight_decay:?}\n"
            );
        }
        *text += "# Ceilings; the corpus is split as said above.\nsimulations = 1_000_000\nvalidation = 4_096\ncalibration = 4_096\n";
    }
}

/// A basic string of TOML, which JSON's strings are.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// A float of TOML, which has a point or an exponent.
fn number(value: f64) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::corpus::{Parameter, Schema, Target};
    use crate::study::BankSize;

    /// Rows whose x is near theta, of two parameters: one within -1 to 1, one that is always 3.
    fn corpus(rows: usize, d_x: usize) -> Corpus {
        let parameter = |name: &str| Parameter {
            name: name.into(),
            unit: String::new(),
            lower: None,
            upper: None,
            integer: false,
        };
        let target = |name: &str| Target {
            name: name.into(),
            group: name.into(),
            lower: None,
            upper: None,
            integer: false,
        };
        let schema = Schema {
            x_names: (0..d_x).map(|at| format!("x_{at}")).collect(),
            theta: vec![parameter("a \"b\""), parameter("c")],
            targets: vec![target("a \"b\""), target("c")],
            mechanisms: Vec::new(),
        };
        let mut corpus = Corpus::empty(Arc::new(schema));
        for row in 0..rows {
            let theta = (row as f32 * 0.618_034).fract() * 2.0 - 1.0;
            corpus.x.extend((0..d_x).map(|at| theta + (at + row % 7) as f32 * 0.01));
            corpus.theta.extend([theta, 3.0]);
            corpus.target.extend([theta, 3.0]);
            corpus.mechanism.push(0);
            corpus.index.push(row as u64);
        }
        corpus
    }

    #[test]
    fn a_study_fits_small_and_large_corpora() {
        for (rows, d_x) in [(125, 1), (1_000, 100), (6_000, 3), (125, 512), (200, 4_096)] {
            let proposal = propose("it", corpus(rows, d_x), false).unwrap();
            assert_eq!(proposal.heads, ["quantiles", "mixture"]);
            let study = Study::parse(&proposal.text, "study.toml").unwrap();
            assert!(study.training.batch <= rows);
            assert_eq!(study.training.weight_decay > 0.0, rows == 6_000, "{rows} rows");
            assert!(matches!(study.bank.size, BankSize::Prototypes(count) if count <= rows / 2));
            let support = &proposal.supports[0];
            assert_eq!((support.low, support.high), (-1.0, Some(1.0)), "{rows} rows");
            assert_eq!(proposal.supports.len(), 1, "nothing is said of what does not vary");
        }
        let few = propose("it", corpus(124, 1), false).unwrap_err().to_string();
        assert!(few.contains("a corpus needs 125 rows at least"), "{few}");
    }

    #[test]
    fn layers_carry_the_regression_that_a_joint_posterior_starts_at() {
        let hidden = |parameters| Sizes::of(300, 10, parameters, FLASH_KIB).hidden;
        assert_eq!(hidden(2), [32, 32]);
        assert_eq!(hidden(10), [40, 40]);
        assert_eq!(Sizes::of(300, 30, 30, 128).hidden, [120, 120]);
        assert_eq!((flash_kib(10, 10), flash_kib(30, 30)), (FLASH_KIB, 2 * FLASH_KIB));
        // More parameters than a joint posterior takes.
        assert_eq!(Sizes::of(300, 50, 40, FLASH_KIB).hidden, [32, 32]);
        // No more than the inputs tell apart.
        assert_eq!(Sizes::of(300, 3, 10, FLASH_KIB).hidden, [32, 32]);
    }

    #[test]
    fn inputs_are_looked_at() {
        let mut gaps = corpus(300, 2);
        gaps.x.iter_mut().step_by(50).for_each(|x| *x = f32::NAN);
        let text = propose("it", gaps, false).unwrap().text;
        assert!(text.contains("2.00 % of x are missing") && text.contains("missing = \"allow\""));
        let mut decades = corpus(300, 2);
        decades.x.iter_mut().for_each(|x| *x = (*x * 8.0).exp());
        let text = propose("it", decades, false).unwrap().text;
        assert!(text.contains("transform = \"log1p\""), "{text}");
    }
}
