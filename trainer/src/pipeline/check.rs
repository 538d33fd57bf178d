//! What is refused before training: what the format cannot hold, memory cannot, or nothing can be learned from.

use simground_runtime::artifact as format;

use super::PipelineError;
use crate::artifact::ThetaRange;
use crate::corpus::{Corpus, Schema};
use crate::head::LARGEST;
use crate::source::Source;
use crate::study::{Missing, Study};

/// Memory for all simulations of a training that simulates.
const POOL_BYTES: u64 = 8 << 30;
/// Memory for those of a stored corpus that a training draws from at a time. A part of what decides the result: no knob.
const WINDOW_BYTES: u64 = 512 << 20;

/// Refuses what the format cannot hold, or the study does not allow, before anything is computed from it.
pub(super) fn check_corpus(study: &Study, source: &Source) -> Result<(), PipelineError> {
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
    Ok(())
}

/// Training simulations of `width` values that memory holds at a time: of a stored corpus as many as [`WINDOW_BYTES`] take, of a
/// simulator all, or it is refused.
pub(super) fn window(
    source: &Source,
    simulations: u64,
    width: usize,
) -> Result<u64, PipelineError> {
    if !matches!(source, Source::Simulator { .. }) {
        return Ok(WINDOW_BYTES / (4 * width as u64));
    }
    let fit = POOL_BYTES / (4 * width as u64);
    if simulations <= fit {
        return Ok(simulations);
    }
    Err(PipelineError::Study(format!(
        "{simulations} training simulations do not fit {} GiB of memory\nhint: `[training] simulations = {fit}` would",
        POOL_BYTES >> 30
    )))
}

/// Refuses inputs that are all constant: they teach nothing.
pub(super) fn check_variation(sample: &Corpus) -> Result<(), PipelineError> {
    let d_x = sample.schema.d_x();
    let constant = |at: usize| {
        let mut column = sample.x.iter().skip(at).step_by(d_x).filter(|value| !value.is_nan());
        let first = column.next();
        column.all(|value| Some(value) == first)
    };
    if (0..d_x).all(constant) {
        return Err(PipelineError::Study(
            "`x` is the same in all training simulations, or missing; there is nothing to learn from".into(),
        ));
    }
    Ok(())
}

/// Code ranges of the parameters: the prior's bounds, or what a sample spans where they are unknown.
pub(super) fn ranges_of_theta(
    schema: &Schema,
    sample: &Corpus,
) -> Result<Vec<ThetaRange>, PipelineError> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
