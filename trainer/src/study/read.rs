//! From TOML to a checked [`Study`].

use simground_runtime::artifact::Layout;

use super::document::{Document, Entry, Section};
use super::{
    Bank, BankSize, Budget, Epidemic, Input, MechanismPrior, Missing, Network, Observation, Prior,
    ReportingDelay, Series, Simulation, Study, StudyError, Training, Transform,
};
use crate::simulator::{
    HEAD_START, MISSING_FRACTION, MechanismKind, OVERDISPERSION, ParameterSpec,
    REPORTING_DELAY_MEAN, REPORTING_FRACTION, Structure, WEEKEND_FACTOR,
};

type Result<T> = std::result::Result<T, StudyError>;

pub(super) fn study(text: &str, file: &str) -> Result<Study> {
    let document = Document { file, text };
    let table = document.parse()?;
    let mut root = Section::new(&document, "the study", 0..0, &table);

    let entry = root.require("name", "\"my-study\"")?;
    let name = entry.text()?.to_owned();
    if name.contains(['/', '\\']) || name.contains(char::is_control) || name.starts_with('.') {
        let message = format!("`name` is {name:?}; write one that can name a file");
        return Err(entry.error(message, None));
    }
    let seed = optional(root.take("seed"), 1, |e| e.integer(0, i64::MAX as u64))?;
    let (input, steps) = input(root.take("input"))?;
    let parts = SimulationParts {
        population: root.take("population"),
        mechanisms: root.take("mechanism"),
        observation: root.take("observation"),
        forecast: root.take("forecast"),
        steps,
    };
    let simulation = simulation(&document, parts, input.missing)?;
    let network = network(root.take("network"))?;
    let heads = heads::heads(&mut root, simulation.as_ref())?;
    let parameters = heads::parameters(root.take("parameters"), simulation.as_ref())?;
    let bank = bank(root.take("bank"))?;
    let budget = budget(root.take("budget"))?;
    let training = training(root.take("training"))?;
    root.finish()?;
    Ok(Study {
        name,
        seed,
        input,
        simulation,
        network,
        heads,
        parameters,
        bank,
        budget,
        training,
        file: file.to_owned(),
        source: text.to_owned(),
    })
}

/// The value of an entry that may be absent.
fn optional<'d, 'a, T>(
    entry: Option<Entry<'d, 'a>>,
    default: T,
    read: impl FnOnce(&Entry<'d, 'a>) -> Result<T>,
) -> Result<T> {
    entry.map_or(Ok(default), |entry| read(&entry))
}

fn input<'d, 'a>(entry: Option<Entry<'d, 'a>>) -> Result<(Input, Option<Entry<'d, 'a>>)> {
    let mut input = Input { transform: Transform::Auto, missing: Missing::Refuse };
    let Some(entry) = entry else {
        return Ok((input, None));
    };
    let mut section = entry.section("[input]")?;
    let steps = section.take("steps");
    if let Some(period) = section.take("period") {
        let text = period.text()?;
        if text != "1 day" {
            let hint = Some(
                "the mechanisms advance by days; aggregate the data to daily values".to_owned(),
            );
            return Err(period.error(format!("`period` is `{text}`; write `1 day`"), hint));
        }
    }
    if let Some(entry) = section.take("transform") {
        input.transform = match entry.choice(&["auto", "identity", "log1p"])? {
            "auto" => Transform::Auto,
            "identity" => Transform::Identity,
            _ => Transform::Log1p,
        };
    }
    if let Some(entry) = section.take("missing") {
        input.missing = match entry.choice(&["refuse", "allow"])? {
            "refuse" => Missing::Refuse,
            _ => Missing::Allow,
        };
    }
    section.finish()?;
    Ok((input, steps))
}

struct SimulationParts<'d, 'a> {
    population: Option<Entry<'d, 'a>>,
    mechanisms: Option<Entry<'d, 'a>>,
    observation: Option<Entry<'d, 'a>>,
    forecast: Option<Entry<'d, 'a>>,
    steps: Option<Entry<'d, 'a>>,
}

fn simulation(
    document: &Document,
    parts: SimulationParts,
    missing: Missing,
) -> Result<Option<Simulation>> {
    let Some(mechanisms) = parts.mechanisms.clone() else {
        let orphan =
            [&parts.population, &parts.observation, &parts.forecast].into_iter().flatten().next();
        return match orphan {
            None => Ok(None),
            Some(entry) => {
                let message = format!(
                    "[{}] without any [[mechanism]]; add one, or remove the section",
                    entry.key
                );
                let hint = "only a study that simulates has it; one for a stored corpus does not"
                    .to_owned();
                Err(document.error(entry.key_span.clone(), message, Some(hint)))
            }
        };
    };
    let items = mechanisms.items()?;
    let kinds = items.iter().map(mechanism_kind).collect::<Result<Vec<_>>>()?;
    let Some((first, _)) = kinds.first() else {
        return Err(mechanisms.error("no mechanism at all; add at least one [[mechanism]]", None));
    };
    let is_epidemic = |kind: MechanismKind| matches!(kind.structure(), Structure::Compartments(_));
    if let Some((kind, entry)) = kinds.iter().find(|k| is_epidemic(k.0) != is_epidemic(*first)) {
        let message = format!(
            "`{}` and `{}` cannot be mixed: one is seen through [observation], the other comes to its x by itself",
            kind.name(),
            first.name()
        );
        return Err(entry.error(message, None));
    }
    let epidemic = if is_epidemic(*first) {
        Some(epidemic(document, &mechanisms, parts, missing)?)
    } else {
        let SimulationParts { population, observation, forecast, steps, .. } = parts;
        let orphan = [population, observation, forecast, steps].into_iter().flatten().next();
        if let Some(entry) = orphan {
            let message = format!(
                "`{}` is for compartments; `{}` comes to its x by itself: remove it",
                entry.key,
                first.name()
            );
            return Err(document.error(entry.key_span, message, None));
        }
        None
    };
    let mut priors: Vec<MechanismPrior> = Vec::new();
    for (item, (kind, entry)) in items.iter().zip(&kinds) {
        let (name, prior) = mechanism(item, *kind, entry, epidemic.as_ref())?;
        if priors.iter().any(|other| other.name == prior.name) {
            let message =
                format!("two mechanisms are named `{}`; each needs a name of its own", prior.name);
            let hint = "add `name = \"...\"` beside `kind`".to_owned();
            return Err(name.error(message, Some(hint)));
        }
        priors.push(prior);
    }
    same_x(&priors, &kinds, epidemic.as_ref())?;
    Ok(Some(Simulation { mechanisms: priors, epidemic }))
}

/// Whatever a network reads must not tell the mechanism by its width.
fn same_x(
    priors: &[MechanismPrior],
    kinds: &[(MechanismKind, Entry)],
    epidemic: Option<&Epidemic>,
) -> Result<()> {
    let widths: Vec<usize> =
        priors.iter().map(|prior| prior.mechanism(epidemic).x_names().len()).collect();
    match widths.iter().position(|width| *width != widths[0]) {
        None => Ok(()),
        Some(at) => {
            let message = format!(
                "x has {} values in `{}` and {} in `{}`; all mechanisms of a study need the same",
                widths[at], priors[at].name, widths[0], priors[0].name
            );
            Err(kinds[at].1.error(message, None))
        }
    }
}

fn epidemic(
    document: &Document,
    mechanisms: &Entry,
    parts: SimulationParts,
    missing: Missing,
) -> Result<Epidemic> {
    let missing_key = |what: &str, hint: &str| {
        let message = format!("{what} is missing; a study with compartments needs it");
        document.error(mechanisms.key_span.clone(), message, Some(hint.to_owned()))
    };
    let steps = parts
        .steps
        .ok_or_else(|| missing_key("`steps` of [input]", "add `steps = 64` under [input]"))?;
    let steps = steps.integer(1, 4096)? as usize;

    let population = parts
        .population
        .ok_or_else(|| missing_key("[population]", "add [population] with its `size`"))?;
    let mut section = population.section("[population]")?;
    let population = section.require("size", "200_000")?.integer(1, 1_000_000_000)? as u32;
    let steps_per_day = optional(section.take("steps_per_day"), 1, |e| e.integer(1, 1000))? as u32;
    section.finish()?;

    let mut forecast_steps = 0;
    if let Some(forecast) = parts.forecast {
        let mut section = forecast.section("[forecast]")?;
        forecast_steps = section.require("steps", "14")?.integer(1, 365)? as usize;
        section.finish()?;
    }

    let observation = parts
        .observation
        .ok_or_else(|| missing_key("[observation]", "add [observation] with its `series`"))?;
    let observation = self::observation(&observation, missing)?;
    Ok(Epidemic { steps, period_days: 1, forecast_steps, population, steps_per_day, observation })
}

fn mechanism_kind<'d, 'a>(item: &Entry<'d, 'a>) -> Result<(MechanismKind, Entry<'d, 'a>)> {
    let mut section = item.section("[[mechanism]]")?;
    section.span = item.value.span();
    let names = MechanismKind::ALL.map(MechanismKind::name);
    let entry = section.require("kind", "\"SEIR\"")?;
    let kind = entry.choice(&names)?;
    let at = names.iter().position(|name| *name == kind).expect("choice returns one of the names");
    Ok((MechanismKind::ALL[at], entry))
}

/// The mechanism, and the entry that names it.
fn mechanism<'d, 'a>(
    item: &Entry<'d, 'a>,
    kind: MechanismKind,
    kind_entry: &Entry<'d, 'a>,
    epidemic: Option<&Epidemic>,
) -> Result<(Entry<'d, 'a>, MechanismPrior)> {
    let mut section = item.section(&format!("[[mechanism]] {}", kind.name()))?;
    section.span = item.value.span();
    section.take("kind");
    let named = section.take("name");
    let name = named.as_ref().map_or(Ok(kind.name()), Entry::text)?.to_owned();
    let mut settings = Vec::new();
    if let Structure::Complete { settings: specs, .. } = kind.structure() {
        for spec in specs {
            let entry = section.require(spec.name, &spec.lower.max(1.0).to_string())?;
            settings.push(legal(&entry, spec)?);
        }
    }
    let mut priors = Vec::new();
    for spec in kind.parameters() {
        let entry = section.require(spec.name, &example(spec))?;
        let prior = prior(&entry, spec)?;
        if let Some(epidemic) = epidemic {
            check_pace(&entry, spec, prior, epidemic)?;
        }
        priors.push(prior);
    }
    section.finish()?;
    let prior = MechanismPrior { name, kind, settings, priors };
    Ok((named.unwrap_or_else(|| kind_entry.clone()), prior))
}

/// Nobody but the population can be infected, and no compartment empties more than once in a step.
fn check_pace(
    entry: &Entry,
    spec: &ParameterSpec,
    prior: Prior,
    epidemic: &Epidemic,
) -> Result<()> {
    let (largest, population) = (prior.bounds().1, epidemic.population);
    if spec.unit == "people" && largest > f64::from(population) {
        let message = format!(
            "`{}` reaches {largest}, more than the {population} people of [population]; stay below",
            spec.name
        );
        return Err(entry.error(message, None));
    }
    let steps_per_day = epidemic.steps_per_day;
    if spec.unit == "1/day" && largest > f64::from(steps_per_day) {
        let message = format!(
            "`{}` reaches {largest} 1/day, more than one in each of {steps_per_day} steps a day; use shorter steps",
            spec.name
        );
        let enough = largest.ceil();
        let hint = format!("add `steps_per_day = {enough}` under [population]");
        return Err(entry.error(message, Some(hint)));
    }
    Ok(())
}

fn observation(entry: &Entry, missing: Missing) -> Result<Observation> {
    let mut section = entry.section("[observation]")?;
    let series =
        match section.require("series", "\"incidence\"")?.choice(&["incidence", "prevalence"])? {
            "incidence" => Series::Incidence,
            _ => Series::Prevalence,
        };
    let mut effect =
        |spec: &ParameterSpec| section.take(spec.name).map(|entry| prior(&entry, spec)).transpose();
    let head_start = effect(&HEAD_START)?;
    let reporting_fraction = effect(&REPORTING_FRACTION)?;
    let weekend_factor = effect(&WEEKEND_FACTOR)?;
    let overdispersion = effect(&OVERDISPERSION)?;
    let mut reporting_delay = None;
    if let Some(entry) = section.take("reporting_delay") {
        let mut table = entry.section("`reporting_delay`")?;
        let spec = ParameterSpec { name: "mean", ..REPORTING_DELAY_MEAN };
        let mean = prior(&table.require("mean", &example(&spec))?, &spec)?;
        let max_days = table.require("max_days", "14")?.integer(0, 365)? as usize;
        table.finish()?;
        reporting_delay = Some(ReportingDelay { mean, max_days });
    }
    let mut missing_fraction = None;
    if let Some(entry) = section.take(MISSING_FRACTION.name) {
        missing_fraction = Some(prior(&entry, &MISSING_FRACTION)?);
        if missing == Missing::Refuse {
            let message = "`missing_fraction` loses values, but [input] refuses missing ones; make them agree";
            let hint = "add `missing = \"allow\"` under [input]".to_owned();
            return Err(section.document.error(entry.key_span, message, Some(hint)));
        }
    }
    section.finish()?;
    Ok(Observation {
        series,
        head_start,
        reporting_fraction,
        reporting_delay,
        weekend_factor,
        overdispersion,
        missing_fraction,
    })
}

/// `{ uniform = [a, b], unit = "..." }`, `log_uniform` or `fixed`, within what the parameter can mean.
fn prior(entry: &Entry, spec: &ParameterSpec) -> Result<Prior> {
    if entry.value.get_ref().as_table().is_none() {
        let message = format!("`{}` is not a prior; write `{}`", spec.name, example(spec));
        return Err(entry.error(message, None));
    }
    let mut section = entry.section(&format!("the prior of `{}`", spec.name))?;
    let forms = ["uniform", "log_uniform", "normal", "fixed"].map(|form| section.take(form));
    let prior = match &forms {
        [Some(pair), None, None, None] => {
            let (lower, upper) = bounds(pair, spec)?;
            Prior::Uniform(lower, upper)
        }
        [None, Some(pair), None, None] => {
            let (lower, upper) = bounds(pair, spec)?;
            if lower <= 0.0 {
                let message =
                    format!("`log_uniform` starts at {lower}; it needs a positive lower bound");
                return Err(pair.items()?[0].error(message, None));
            }
            Prior::LogUniform(lower, upper)
        }
        [None, None, Some(pair), None] => normal(pair, spec)?,
        [None, None, None, Some(value)] => Prior::Fixed(legal(value, spec)?),
        [None, None, None, None] => {
            let message = format!("`{}` has no distribution; write `{}`", spec.name, example(spec));
            // A misspelled form is the likelier reading when there is an unknown key.
            section.finish()?;
            return Err(entry.error(message, None));
        }
        _ => {
            let second = forms
                .iter()
                .flatten()
                .max_by_key(|form| form.key_span.start)
                .expect("two at least");
            let message = format!("`{}` has two distributions; keep one", spec.name);
            return Err(entry.document.error(second.key_span.clone(), message, None));
        }
    };
    match section.take("unit") {
        None if spec.unit == "1" => {}
        None => {
            let message = format!("`{}` has no unit; it is in `{}`", spec.name, spec.unit);
            return Err(entry.error(message, Some(format!("add `unit = \"{}\"`", spec.unit))));
        }
        Some(unit) => {
            let text = unit.text()?;
            if text != spec.unit {
                let message =
                    format!("`{}` has the unit `{text}`; it is in `{}`", spec.name, spec.unit);
                return Err(unit.error(message, conversion(text, spec.unit)));
            }
        }
    }
    section.finish()?;
    Ok(prior)
}

/// `[mean, standard deviation]`, for parameters that can have any value.
fn normal(pair: &Entry, spec: &ParameterSpec) -> Result<Prior> {
    let items = pair.items()?;
    let [mean, sd] = items.as_slice() else {
        let message =
            format!("`normal` has {} values; write two, `[mean, standard deviation]`", items.len());
        return Err(pair.error(message, None));
    };
    if spec.lower.is_finite() || spec.upper.is_finite() {
        let message = format!(
            "`{}` lies in {} to {}, and a normal prior has no bounds; use `uniform` or `log_uniform`",
            spec.name, spec.lower, spec.upper
        );
        return Err(pair.error(message, None));
    }
    let (mean, value) = (mean.number()?, sd.number()?);
    if value <= 0.0 {
        let message =
            format!("the standard deviation of `{}` is {value}; it is positive", spec.name);
        return Err(sd.error(message, None));
    }
    Ok(Prior::Normal(mean, value))
}

fn bounds(pair: &Entry, spec: &ParameterSpec) -> Result<(f64, f64)> {
    let items = pair.items()?;
    let [low, high] = items.as_slice() else {
        let message =
            format!("`{}` has {} values; write two, `[lower, upper]`", pair.key, items.len());
        return Err(pair.error(message, None));
    };
    let (lower, upper) = (legal(low, spec)?, legal(high, spec)?);
    if lower >= upper {
        let message = format!(
            "bounds of `{}` are {lower} and {upper}; the lower one comes first and is smaller",
            spec.name
        );
        let hint = (lower == upper).then(|| format!("for a known value write `fixed = {lower}`"));
        return Err(pair.error(message, hint));
    }
    Ok((lower, upper))
}

/// A number that the parameter can have.
fn legal(entry: &Entry, spec: &ParameterSpec) -> Result<f64> {
    let value = entry.number()?;
    let range = format!("{} to {} {}", spec.lower, spec.upper, unit_suffix(spec.unit));
    if value < spec.lower || value > spec.upper {
        let fault = if value < 0.0 { "negative" } else { "out of range" };
        let message =
            format!("`{}` is {fault} ({value}); it lies in {}", spec.name, range.trim_end());
        return Err(entry.error(message, None));
    }
    if spec.integer && value.fract() != 0.0 {
        return Err(entry.error(format!("`{}` is {value}; it is a whole number", spec.name), None));
    }
    Ok(value)
}

fn unit_suffix(unit: &str) -> &str {
    if unit == "1" { "" } else { unit }
}

fn example(spec: &ParameterSpec) -> String {
    let (lower, upper) = match (spec.unit, spec.integer) {
        ("people", _) => ("5", "49"),
        (_, true) => ("0", "10"),
        ("day", _) => ("1.5", "5.0"),
        _ => ("0.1", "0.5"),
    };
    format!("{{ uniform = [{lower}, {upper}], unit = \"{}\" }}", spec.unit)
}

/// How to rewrite values that were given in another unit.
fn conversion(from: &str, to: &str) -> Option<String> {
    let how = match (from, to) {
        ("1/week", "1/day") => "divide the values by 7",
        ("1/hour", "1/day") => "multiply the values by 24",
        ("1/month", "1/day") => "divide the values by 30.4",
        ("1/year", "1/day") => "divide the values by 365",
        ("week" | "weeks", "day") => "multiply the values by 7",
        ("hour" | "hours", "day") => "divide the values by 24",
        ("%" | "percent", "1") => "divide the values by 100",
        ("day" | "days", "1/day") => "a period of d days is a rate of 1/d",
        ("per day" | "/day" | "day^-1" | "days" | "d" | "1/d" | "person" | "persons", _) => {
            "it is spelled differently"
        }
        _ => return None,
    };
    Some(format!("{how}, and write `unit = \"{to}\"`"))
}

fn network(entry: Option<Entry>) -> Result<Network> {
    let mut network = Network { hidden: vec![128, 128, 64] };
    let Some(entry) = entry else {
        return Ok(network);
    };
    let mut section = entry.section("[network]")?;
    if let Some(hidden) = section.take("hidden") {
        let widths = hidden.items()?;
        if widths.is_empty() || widths.len() > 8 {
            return Err(hidden.error(
                format!("`hidden` has {} layers; write 1 to 8 widths", widths.len()),
                None,
            ));
        }
        network.hidden =
            widths.iter().map(|w| Ok(w.integer(1, 4096)? as usize)).collect::<Result<_>>()?;
    }
    section.finish()?;
    Ok(network)
}

fn bank(entry: Option<Entry>) -> Result<Bank> {
    let mut bank = Bank { size: BankSize::Prototypes(256), embedding: 16, neighbors: 5 };
    let Some(entry) = entry else { return Ok(bank) };
    let mut section = entry.section("[bank]")?;
    let prototypes = section.take("prototypes");
    if let Some(prototypes) = &prototypes {
        bank.size = BankSize::Prototypes(prototypes.integer(1, 65_535)? as usize);
    }
    if let Some(kib) = section.take("kib") {
        if prototypes.is_some() {
            let message = "`kib` decides how many `prototypes` there are; write one of the two";
            return Err(kib.error(message, None));
        }
        bank.size = BankSize::Kib(kib.integer(1, 1 << 14)? as usize);
    }
    bank.embedding =
        optional(section.take("embedding"), bank.embedding as u64, |e| e.integer(1, 256))? as usize;
    let neighbors = section.take("neighbors");
    bank.neighbors =
        optional(neighbors.clone(), bank.neighbors as u64, |e| e.integer(1, 64))? as usize;
    if let BankSize::Prototypes(prototypes) = bank.size
        && bank.neighbors > prototypes
    {
        let message = format!(
            "{} neighbors of {prototypes} prototypes; keep at least as many",
            bank.neighbors
        );
        return Err(neighbors.unwrap_or(entry).error(message, None));
    }
    section.finish()?;
    Ok(bank)
}

fn budget(entry: Option<Entry>) -> Result<Budget> {
    let mut budget = Budget { flash_kib: 64, ram_kib: 8, layout: Layout::Pairs };
    let Some(entry) = entry else {
        return Ok(budget);
    };
    let mut section = entry.section("[budget]")?;
    budget.flash_kib = optional(section.take("flash_kib"), 64, |e| e.integer(1, 1 << 20))? as usize;
    budget.ram_kib = optional(section.take("ram_kib"), 8, |e| e.integer(1, 1 << 20))? as usize;
    budget.layout = optional(section.take("target"), Layout::Pairs, |target| {
        // An artifact for one core runs on every other.
        Ok(match target.choice(&["any", "cortex-m55", "cortex-m85"])? {
            "any" => Layout::Pairs,
            _ => Layout::Bytes,
        })
    })?;
    section.finish()?;
    Ok(budget)
}

fn training(entry: Option<Entry>) -> Result<Training> {
    let mut t = Training {
        simulations: 200_000,
        steps: 20_000,
        batch: 256,
        learning_rate: 1e-3,
        warmup: 200,
        weight_decay: 0.0,
        gradient_clip: 1.0,
        validation: 4096,
        validate_every: 500,
        patience: 10,
        calibration: 4096,
    };
    let Some(entry) = entry else { return Ok(t) };
    let mut section = entry.section("[training]")?;
    t.simulations =
        optional(section.take("simulations"), t.simulations, |e| e.integer(1, 1 << 40))?;
    t.steps = optional(section.take("steps"), t.steps, |e| e.integer(1, 1 << 40))?;
    let batch = section.take("batch");
    t.batch = optional(batch.clone(), t.batch as u64, |e| e.integer(1, 1 << 20))? as usize;
    t.learning_rate =
        optional(section.take("learning_rate"), t.learning_rate, |e| e.number_in(1e-8, 10.0))?;
    let warmup = section.take("warmup");
    t.warmup = optional(warmup.clone(), t.warmup.min(t.steps / 10), |e| e.integer(0, 1 << 40))?;
    t.weight_decay =
        optional(section.take("weight_decay"), t.weight_decay, |e| e.number_in(0.0, 1.0))?;
    t.gradient_clip =
        optional(section.take("gradient_clip"), t.gradient_clip, |e| e.number_in(1e-6, 1e6))?;
    t.validation = optional(section.take("validation"), t.validation, |e| e.integer(16, 1 << 30))?;
    t.validate_every =
        optional(section.take("validate_every"), t.validate_every, |e| e.integer(1, 1 << 40))?;
    t.patience = optional(section.take("patience"), t.patience, |e| e.integer(1, 1 << 30))?;
    t.calibration =
        optional(section.take("calibration"), t.calibration, |e| e.integer(16, 1 << 30))?;
    if let Some(entry) = batch.filter(|_| t.batch as u64 > t.simulations) {
        let message = format!(
            "`batch` is {}, more than the {} `simulations`; make it smaller",
            t.batch, t.simulations
        );
        return Err(entry.error(message, None));
    }
    if let Some(entry) = warmup.filter(|_| t.warmup > t.steps) {
        let message =
            format!("`warmup` is {}, more than the {} `steps`; make it smaller", t.warmup, t.steps);
        return Err(entry.error(message, None));
    }
    section.finish()?;
    Ok(t)
}

mod heads;
#[cfg(test)]
mod tests;
