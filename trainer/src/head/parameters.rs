//! The entries of theta that a head answers: chosen from the schema, standardized from training simulations.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::{MAX_THETA, Parameter, ParameterTransform};

use super::HeadError;
use super::columns::{Column, Columns};
use crate::corpus;
use crate::corpus::Corpus;

/// How one entry of theta is standardized: what the artifact's [`Parameter`] holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterScaling {
    /// Name.
    pub name: String,
    /// Unit; empty when unknown.
    pub unit: String,
    /// Way to the unbounded space.
    pub transform: ParameterTransform,
    /// Whether it is a whole number.
    pub integer: bool,
    /// Lower end of the support.
    pub low: f32,
    /// Upper end of the support.
    pub high: f32,
    /// Mean in transformed units.
    pub center: f32,
    /// Standard deviation in transformed units.
    pub spread: f32,
}

impl ParameterScaling {
    /// Into the space where a density or a likelihood is modelled: of those that the support allows, the one where the prior is least skewed.
    ///
    /// Between two ends a parameter stays as it is, or goes through its logarithm; with one end, as it is, or through the logarithm
    /// of the distance to it.
    pub fn modelled(parameter: &corpus::Parameter, values: &[f32]) -> ParameterScaling {
        let lowest = parameter.lower.map(|low| if parameter.integer { low - 0.5 } else { low });
        let logarithm = match (lowest, parameter.upper) {
            (None, None) => None,
            (Some(low), Some(_)) => (low > 0.0).then_some(ParameterTransform::LogValue),
            _ => Some(ParameterTransform::Log),
        };
        let fit =
            |transform| ParameterScaling::fit(parameter, transform, parameter.integer, values);
        let plain = fit(ParameterTransform::Identity);
        let Some(logarithm) = logarithm.map(fit) else { return plain };
        let skewness = |scaling: &ParameterScaling| {
            let record = scaling.record();
            let cubes = values.iter().map(|theta| f64::from(record.to_z(*theta)).powi(3));
            (cubes.sum::<f64>() / values.len().max(1) as f64).abs()
        };
        if skewness(&logarithm) < skewness(&plain) { logarithm } else { plain }
    }

    /// In physical units, up to center and spread: where the mean of a posterior is the mean of theta.
    pub fn physical(parameter: &corpus::Parameter, values: &[f32]) -> ParameterScaling {
        ParameterScaling::fit(parameter, ParameterTransform::Identity, false, values)
    }

    fn fit(
        parameter: &corpus::Parameter,
        transform: ParameterTransform,
        integer: bool,
        values: &[f32],
    ) -> ParameterScaling {
        let plain = ParameterScaling {
            name: parameter.name.clone(),
            unit: parameter.unit.clone(),
            transform,
            integer,
            low: parameter.lower.unwrap_or(f32::NEG_INFINITY),
            high: parameter.upper.unwrap_or(f32::INFINITY),
            center: 0.0,
            spread: 1.0,
        };
        let u = values.iter().map(|theta| plain.record().to_z(*theta));
        let (center, spread) = crate::standardization::moments(u);
        ParameterScaling { center: center as f32, spread: spread as f32, ..plain }
    }

    /// As the artifact stores it.
    pub fn record(&self) -> Parameter<'_> {
        Parameter {
            name: &self.name,
            unit: &self.unit,
            transform: self.transform,
            integer: self.integer,
            low: self.low,
            high: self.high,
            center: self.center,
            spread: self.spread,
        }
    }

    /// What to add to a whole number so that all of `n - 1/2 .. n + 1/2` is learned; a density of bare whole numbers has no bound.
    ///
    /// A pure function of the simulation's index and the parameter's position (SplitMix64's mixing); 0 for what is no whole number.
    pub fn spread_of_count(&self, index: u64, at: usize) -> f32 {
        if !self.integer {
            return 0.0;
        }
        let z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at as u64 + 1);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 40) as f32 + 0.5) / (1 << 24) as f32 - 0.5
    }
}

/// The entries of theta that a head answers: those named, or else all that every mechanism has and that vary.
///
/// # Errors
///
/// [`HeadError`] for a name that the corpus does not have, or that some mechanism does not have.
pub fn chosen(names: Option<&[String]>, sample: &Corpus) -> Result<Vec<usize>, HeadError> {
    let theta = &sample.schema.theta;
    let values = |at: usize| sample.theta.iter().skip(at).step_by(theta.len());
    let everywhere = |at: usize| values(at).all(|value| !value.is_nan());
    let positions: Vec<usize> = match names {
        None => {
            let varies = |at: usize| values(at).any(|value| Some(value) != values(at).next());
            (0..theta.len()).filter(|&at| everywhere(at) && varies(at)).collect()
        }
        Some(names) => names.iter().map(|name| {
            let Some(at) = theta.iter().position(|parameter| parameter.name == *name) else {
                let known: Vec<&str> = theta.iter().map(|p| p.name.as_str()).collect();
                let known = known.join(", ");
                let message = format!("the corpus has no parameter `{name}`; it has {known}");
                return Err(HeadError::about(name, message));
            };
            if !everywhere(at) {
                let message = format!(
                    "parameter `{name}` is absent in some simulations: not every mechanism has it\nhint: name parameters that all of them have"
                );
                return Err(HeadError::about(name, message));
            }
            Ok(at)
        }).collect::<Result<_, _>>()?,
    };
    if positions.is_empty() {
        return Err(HeadError::new(
            "no entry of theta varies in the simulations of every mechanism; there is nothing to answer",
        ));
    }
    if positions.len() > MAX_THETA {
        return Err(HeadError::new(format!(
            "{} parameters; a head answers at most {MAX_THETA}\nhint: name fewer with `parameters`",
            positions.len()
        )));
    }
    Ok(positions)
}

/// Values of one entry of theta in a sample.
pub fn values(sample: &Corpus, at: usize) -> Vec<f32> {
    sample.theta.iter().skip(at).step_by(sample.schema.d_theta()).copied().collect()
}

/// Physical theta of these parameters in one row of a corpus.
pub fn of_row(scalings: &[ParameterScaling], corpus: &Corpus, row: usize) -> Vec<f32> {
    let theta = &corpus.schema.theta;
    let position = |p: &ParameterScaling| theta.iter().position(|theta| theta.name == p.name);
    scalings.iter().filter_map(position).map(|at| corpus.theta_row(row)[at]).collect()
}

/// The columns of the heads' table in which these parameters stand.
pub fn columns(
    scalings: &[ParameterScaling],
    sample: &Corpus,
    columns: &mut Columns,
) -> Vec<usize> {
    let column = |scaling: &ParameterScaling| {
        let at = sample.schema.theta.iter().position(|p| p.name == scaling.name);
        let at = at.expect("scalings are made from the schema");
        columns.position(Column::Theta { at, scaling: scaling.clone() })
    };
    scalings.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(lower: Option<f32>, upper: Option<f32>, integer: bool) -> corpus::Parameter {
        corpus::Parameter { name: "a".into(), unit: String::new(), lower, upper, integer }
    }

    #[test]
    fn a_prior_goes_where_it_is_least_skewed() {
        use ParameterTransform::{Identity, Log, LogValue};
        let shares = || (0..1_000).map(|i| (i as f32 + 0.5) / 1_000.0);
        let chosen = |low, high, of: fn(f32) -> f32| {
            let values: Vec<f32> = shares().map(of).collect();
            ParameterScaling::modelled(&parameter(low, high, false), &values).transform
        };
        assert_eq!(chosen(Some(2.0), Some(5.0), |u| 2.0 + 3.0 * u), Identity);
        assert_eq!(chosen(Some(0.01), Some(1.0), |u| 0.01 * 100_f32.powf(u)), LogValue);
        assert_eq!(chosen(Some(0.0), None, |u| -(1.0 - u).ln()), Log);
        assert_eq!(chosen(Some(0.0), None, |u| u.sqrt()), Identity);
        assert_eq!(chosen(None, None, |u| u.powi(4)), Identity);
    }

    #[test]
    fn a_uniform_prior_has_its_ends() {
        let values: Vec<f32> = (0..1_000).map(|i| 2.0 + 3.0 * (i as f32 + 0.5) / 1_000.0).collect();
        let scaling = ParameterScaling::modelled(&parameter(Some(2.0), Some(5.0), false), &values);
        let ends = scaling.record().ends();
        let sd = 3_f32.sqrt();
        assert!((ends.low + sd).abs() < 1e-2 && (ends.high - sd).abs() < 1e-2, "{ends:?}");
        let physical = ParameterScaling::physical(&parameter(Some(2.0), Some(5.0), false), &values);
        assert!((physical.center - 3.5).abs() < 1e-3);
        assert_eq!(physical.record().from_z(1e9), 5.0);
    }

    #[test]
    fn counts_are_spread_over_their_neighborhood() {
        let scaling =
            ParameterScaling::modelled(&parameter(Some(1.0), Some(5.0), true), &[1.0, 5.0]);
        let offsets: Vec<f32> = (0..10_000).map(|i| scaling.spread_of_count(i, 3)).collect();
        assert!(offsets.iter().all(|offset| offset.abs() < 0.5));
        assert!(offsets.iter().sum::<f32>().abs() / 10_000.0 < 0.01);
        assert_ne!(offsets[7], scaling.spread_of_count(7, 4));
        let real = ParameterScaling::modelled(&parameter(None, None, false), &[1.0, 5.0]);
        assert_eq!(real.spread_of_count(7, 3), 0.0);
    }
}
