//! What the network answers: `[[head]]`, and `[parameters]` of a foreign corpus.

use simground_runtime::artifact::{MAX_COMPONENTS, MAX_CONDITIONAL_LAYERS, MAX_LEVELS, MAX_THETA};

use super::{Entry, Result, Section};
use crate::head::{LARGEST, flow, ratio};
use crate::simulator::{
    CASES, HEAD_START, MISSING_FRACTION, OVERDISPERSION, R0, REPORTING_DELAY_MEAN,
    REPORTING_FRACTION, WEEKEND_FACTOR,
};
use crate::study::document::{nearest, quoted};
use crate::study::{DeclaredParameter, Head, Simulation};

pub(super) fn heads(root: &mut Section, simulation: Option<&Simulation>) -> Result<Vec<Head>> {
    let entry = root.require("head", "[{ kind = \"categorical\" }]")?;
    let mut heads: Vec<Head> = Vec::new();
    for item in entry.items()? {
        let mut section = item.section("[[head]]")?;
        section.span = item.value.span();
        let kind = section.require("kind", "\"quantiles\"")?;
        let word =
            kind.choice(&["categorical", "quantiles", "point", "mixture", "flow", "ratio"])?;
        section.name = format!("[[head]] {word}");
        let head = match word {
            "categorical" => {
                if simulation.is_some_and(|s| s.mechanisms.len() < 2) {
                    let message = "`categorical` chooses among mechanisms, and there is one; remove the head or add a mechanism";
                    return Err(kind.error(message, None));
                }
                Head::Categorical
            }
            "quantiles" => Head::Quantiles {
                targets: targets(&mut section, simulation)?,
                levels: levels(&mut section)?,
            },
            "point" => Head::Point { parameters: names(&mut section, simulation)? },
            "ratio" => Head::Ratio {
                parameters: names(&mut section, simulation)?,
                hidden: hidden(&mut section, &ratio::HIDDEN)?,
            },
            "flow" => Head::Flow {
                parameters: names(&mut section, simulation)?,
                hidden: hidden(&mut section, &flow::HIDDEN)?,
            },
            _ => Head::Mixture {
                parameters: names(&mut section, simulation)?,
                components: components(&mut section)?,
            },
        };
        if heads.iter().any(|other| other.kind() == word) {
            let hint = "one head takes several targets or parameters".to_owned();
            return Err(kind.error(format!("two heads are `{word}`; keep one"), Some(hint)));
        }
        section.finish()?;
        heads.push(head);
    }
    if heads.is_empty() {
        return Err(entry.error("no head at all; the network needs an answer to give", None));
    }
    Ok(heads)
}

fn targets(section: &mut Section, simulation: Option<&Simulation>) -> Result<Vec<String>> {
    let entry = section.require("targets", "[\"R0\"]")?;
    let mut targets: Vec<String> = Vec::new();
    for item in entry.items()? {
        let name = item.text()?;
        if let Some(simulation) = simulation {
            check_target(&item, name, simulation)?;
        }
        if targets.iter().any(|other| other == name) {
            return Err(item.error(format!("target `{name}` appears twice; keep one"), None));
        }
        targets.push(name.to_owned());
    }
    if targets.is_empty() {
        return Err(entry.error("`targets` is empty; name at least one", None));
    }
    Ok(targets)
}

fn check_target(item: &Entry, name: &str, simulation: &Simulation) -> Result<()> {
    let epidemic = simulation.epidemic.as_ref();
    let has_forecast = epidemic.is_some_and(|epidemic| epidemic.forecast_steps > 0);
    if name == CASES && epidemic.is_some() && !has_forecast {
        let hint = "add [forecast] with `steps = 14`".to_owned();
        return Err(item
            .error("target `cases` is the forecast, and the study has none; add one", Some(hint)));
    }
    let derived: &[&str] = match (epidemic, has_forecast) {
        (None, _) => &[],
        (Some(_), false) => &[R0],
        (Some(_), true) => &[R0, CASES],
    };
    check_name(item, "target", name, derived, simulation)
}

/// Refuses what is neither one of the `derived` quantities nor a parameter of every mechanism: the posterior of something absent
/// has no meaning.
fn check_name(
    item: &Entry,
    what: &str,
    name: &str,
    derived: &[&str],
    simulation: &Simulation,
) -> Result<()> {
    let mut shared = derived.to_vec();
    if let Some(epidemic) = &simulation.epidemic {
        let observation = &epidemic.observation;
        let effects = [
            (HEAD_START, observation.head_start.is_some()),
            (REPORTING_FRACTION, observation.reporting_fraction.is_some()),
            (REPORTING_DELAY_MEAN, observation.reporting_delay.is_some()),
            (WEEKEND_FACTOR, observation.weekend_factor.is_some()),
            (OVERDISPERSION, observation.overdispersion.is_some()),
            (MISSING_FRACTION, observation.missing_fraction.is_some()),
        ];
        shared.extend(effects.iter().filter(|(_, used)| *used).map(|(spec, _)| spec.name));
    }
    let of_mechanisms = simulation.mechanisms.iter().flat_map(|m| m.kind.parameters());
    let mut known: Vec<&str> =
        shared.iter().copied().chain(of_mechanisms.map(|spec| spec.name)).collect();
    known.sort_unstable();
    known.dedup();
    if !known.contains(&name) {
        let hint = nearest(name, &known).map(|near| format!("is `{near}` meant?"));
        let message = format!("unknown {what} `{name}`; write one of {}", quoted(&known));
        return Err(item.error(message, hint));
    }
    if shared.contains(&name) {
        return Ok(());
    }
    let without = (simulation.mechanisms.iter())
        .find(|mechanism| mechanism.kind.parameters().iter().all(|spec| spec.name != name));
    match without {
        None => Ok(()),
        Some(mechanism) => {
            let message = format!(
                "{what} `{name}` is not a parameter of mechanism `{}`; choose one that every mechanism has",
                mechanism.name
            );
            Err(item.error(message, None))
        }
    }
}

/// `parameters` of a head that answers theta.
fn names(section: &mut Section, simulation: Option<&Simulation>) -> Result<Option<Vec<String>>> {
    let Some(entry) = section.take("parameters") else { return Ok(None) };
    let mut names: Vec<String> = Vec::new();
    for item in entry.items()? {
        let name = item.text()?;
        if let Some(simulation) = simulation {
            check_name(&item, "parameter", name, &[], simulation)?;
        }
        if names.iter().any(|other| other == name) {
            return Err(item.error(format!("parameter `{name}` appears twice; keep one"), None));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() {
        let hint = Some("without it the head answers every parameter".to_owned());
        return Err(entry.error("`parameters` is empty; name at least one", hint));
    }
    if names.len() > MAX_THETA {
        let message =
            format!("`parameters` has {}; an artifact holds at most {MAX_THETA}", names.len());
        return Err(entry.error(message, None));
    }
    Ok(Some(names))
}

/// `hidden` of a head with layers of its own.
fn hidden(section: &mut Section, default: &[usize]) -> Result<Vec<usize>> {
    let Some(entry) = section.take("hidden") else { return Ok(default.to_vec()) };
    let items = entry.items()?;
    let most = 1 + MAX_CONDITIONAL_LAYERS;
    if items.is_empty() || items.len() > most {
        let message = format!("`hidden` has {} layers; write 1 to {most} widths", items.len());
        return Err(entry.error(message, None));
    }
    let width = |item: &Entry| Ok(item.integer(4, 256)? as usize);
    items.iter().map(width).collect()
}

fn components(section: &mut Section) -> Result<Option<usize>> {
    let Some(entry) = section.take("components") else { return Ok(None) };
    Ok(Some(entry.integer(1, MAX_COMPONENTS as u64)? as usize))
}

/// `[parameters]`: support and unit of entries of theta, for a corpus that does not say them itself.
pub(super) fn parameters(
    entry: Option<Entry>,
    simulation: Option<&Simulation>,
) -> Result<Vec<DeclaredParameter>> {
    let Some(entry) = entry else { return Ok(Vec::new()) };
    if simulation.is_some() {
        let message = "[parameters] beside [[mechanism]]: supports are those of the priors; remove the section";
        return Err(entry.document.error(entry.key_span.clone(), message, None));
    }
    let items = entry.section("[parameters]")?.take_rest();
    items.iter().map(declared).collect()
}

fn declared(entry: &Entry) -> Result<DeclaredParameter> {
    let mut section = entry.section(&format!("`{}` of [parameters]", entry.key))?;
    let (low, high) = (section.take("low"), section.take("high"));
    let unit = section.take("unit");
    let end = |entry: &Option<Entry>| -> Result<Option<f32>> {
        let Some(entry) = entry else { return Ok(None) };
        Ok(Some(entry.number_in(-f64::from(LARGEST), f64::from(LARGEST))? as f32))
    };
    let ends = (end(&low)?, end(&high)?);
    if let ((Some(lower), Some(upper)), Some(high)) = (ends, &high)
        && lower >= upper
    {
        let message =
            format!("`{}` reaches from {lower} to {upper}; `low` is the smaller one", entry.key);
        return Err(high.error(message, None));
    }
    section.finish()?;
    Ok(DeclaredParameter {
        name: entry.key.clone(),
        low: ends.0,
        high: ends.1,
        unit: unit.map_or(Ok(""), |unit| unit.any_text())?.to_owned(),
    })
}

fn levels(section: &mut Section) -> Result<Vec<f64>> {
    let entry = section.require("levels", "[0.05, 0.25, 0.5, 0.75, 0.95]")?;
    let items = entry.items()?;
    if items.len() > MAX_LEVELS {
        let message =
            format!("`levels` has {}; an artifact holds at most {MAX_LEVELS}", items.len());
        return Err(entry.error(message, None));
    }
    let mut levels: Vec<f64> = Vec::new();
    for item in &items {
        let level = item.number()?;
        if level <= 0.0 || level >= 1.0 {
            return Err(item.error(
                format!("level {level} is no probability; levels lie strictly between 0 and 1"),
                None,
            ));
        }
        if levels.last().is_some_and(|last| *last >= level) {
            return Err(item.error(
                format!("level {level} does not increase; write levels in increasing order"),
                None,
            ));
        }
        levels.push(level);
    }
    if levels.is_empty() {
        return Err(entry.error("`levels` is empty; write at least one", None));
    }
    for (item, level) in items.iter().zip(&levels) {
        let mirror = 1.0 - level;
        if !levels.iter().any(|other| (other - mirror).abs() < 1e-9) {
            let mirror = (mirror * 1e9).round() / 1e9;
            let message = format!(
                "level {level} has no counterpart; levels are symmetric around 0.5, so add {mirror}"
            );
            return Err(item.error(message, None));
        }
    }
    Ok(levels)
}
