//! Which simulations an answer comes from: the integer runtime's attribution, with names and units.

use serde::Serialize;
use simground_runtime::Model;

use crate::named::Named;
use crate::replay::Replayed;

/// Most simulations that an explanation names.
pub const MAX_NEAREST: usize = 32;

/// The explanation of one answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Posterior of the `categorical` head; absent without one.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub mechanism: Named<f32>,
    /// Kernel posterior over the bank.
    pub kernel_mechanism: Named<f32>,
    /// Kernel posterior of each parameter.
    pub theta: Named<Moments>,
    /// Conformal p-value of the distance to the nearest simulation.
    pub novelty: f32,
    /// The same in words.
    pub novelty_words: String,
    /// Nearest simulations, ascending.
    pub nearest: Vec<NearSimulation>,
}

/// Kernel-weighted moments of one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moments {
    /// Share of the kernel posterior whose mechanism has the parameter.
    pub present: f32,
    /// Mean over that share; absent where it is 0.
    pub mean: Option<f32>,
    /// Standard deviation over that share.
    pub sd: Option<f32>,
}

/// A simulation of the bank beside an observation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearSimulation {
    /// Position in the bank.
    pub prototype: u32,
    /// Index in the corpus.
    pub index: u64,
    /// Name of its mechanism.
    pub mechanism: String,
    /// In grid units of the bank.
    pub squared_distance: u32,
    /// Its root.
    pub distance: f32,
    /// Share of the corpus that it stands for.
    pub mass: f32,
    /// Share of the kernel posterior.
    pub weight: f32,
    /// Its parameters, in their units, as precisely as the bank stores them.
    pub theta: Named<f32>,
    /// The simulation itself, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replayed>,
}

/// Explains the answer to one window by the `k` nearest simulations; `None` for a model without a bank.
///
/// # Panics
///
/// If the window is not as wide as the model's.
pub fn explain(model: &Model<'_>, window: &[f32], k: usize) -> Option<Explanation> {
    let manifest = model.manifest();
    let bank = manifest.bank.as_ref()?;
    let mut scratch = vec![0; model.scratch_words()];
    let mut inference = model.infer(window, &mut scratch).expect("a window of the model's width");
    let mechanism = inference.mechanism_posterior();
    let attribution = inference.attribute::<MAX_NEAREST>()?;
    let named = |probabilities: &[f32]| {
        manifest.mechanisms.iter().map(str::to_owned).zip(probabilities.iter().copied()).collect()
    };
    let finite = |value: f32| value.is_finite().then_some(value);
    let theta = bank.theta.iter().zip(attribution.thetas()).map(|(theta, summary)| {
        let moments = Moments {
            present: summary.present,
            mean: finite(summary.mean),
            sd: finite(summary.sd),
        };
        (theta.name.to_owned(), moments)
    });
    Some(Explanation {
        mechanism: mechanism.map_or_else(Named::default, |p| named(&p)),
        kernel_mechanism: named(&attribution.mechanism_posterior),
        theta: theta.collect(),
        novelty: attribution.novelty,
        novelty_words: novelty_words(attribution.novelty),
        nearest: attribution
            .nearest
            .iter()
            .take(k)
            .map(|near| {
                NearSimulation::new(model, near.prototype, near.squared_distance, near.weight)
            })
            .collect(),
    })
}

impl NearSimulation {
    fn new(model: &Model<'_>, prototype: u32, squared_distance: u32, weight: f32) -> Self {
        let manifest = model.manifest();
        let mechanism = model.prototype_mechanism(prototype).map_or(usize::MAX, usize::from);
        let mass = model.prototype_mass(prototype).unwrap_or(0);
        let parameters = manifest.bank.iter().flat_map(|bank| bank.theta.iter().enumerate());
        let theta = parameters.filter_map(|(at, theta)| {
            Some((theta.name.to_owned(), model.prototype_theta(prototype, at)?))
        });
        NearSimulation {
            prototype,
            index: model.prototype_index(prototype).unwrap_or_default(),
            mechanism: manifest.mechanisms.at(mechanism).unwrap_or_default().to_owned(),
            squared_distance,
            distance: (squared_distance as f32).sqrt(),
            mass: f32::from(mass) / 65_536.0,
            weight,
            theta: theta.collect(),
            replay: None,
        }
    }
}

/// The simulation of the bank nearest to a window among those whose mechanism passes `of`; of equally near ones the first.
///
/// # Panics
///
/// If the window is not as wide as the model's.
pub fn nearest_of(
    model: &Model<'_>,
    window: &[f32],
    of: impl Fn(&str) -> bool,
) -> Option<NearSimulation> {
    let manifest = model.manifest();
    let bank = manifest.bank.as_ref()?;
    let mut scratch = vec![0; model.scratch_words()];
    let mut inference = model.infer(window, &mut scratch).expect("a window of the model's width");
    let embedding = inference.embedding().to_vec();
    let squared_distance = |prototype: u32| {
        let stored = model.prototype_vector(prototype)?;
        let differences = stored.zip(&embedding).map(|(p, q)| i32::from(p) - i32::from(*q));
        Some(differences.map(|difference| difference.pow(2) as u32).sum())
    };
    let passes = |prototype: &u32| {
        let mechanism = model.prototype_mechanism(*prototype)?;
        manifest.mechanisms.at(usize::from(mechanism)).map(&of)
    };
    let chosen = (0..bank.prototypes).filter(|prototype| passes(prototype) == Some(true));
    let distances = chosen.filter_map(|prototype| Some((squared_distance(prototype)?, prototype)));
    let (distance, prototype) = distances.min()?;
    let weight = inference.attribute::<1>()?.weight(prototype);
    Some(NearSimulation::new(model, prototype, distance, weight))
}

/// Positions of the values of a window that lie outside the range of the simulations, and so are clamped.
///
/// # Panics
///
/// If the window is not as wide as the model's.
pub fn clamped(model: &Model<'_>, window: &[f32]) -> Vec<usize> {
    assert_eq!(window.len(), model.d_values(), "a window of the model's width");
    let mut quantized = vec![0; model.padded_input()];
    if model.quantize_input(window, &mut quantized).clamped == 0 {
        return Vec::new();
    }
    let mut alone = vec![f32::NAN; window.len()];
    let mut is_clamped = |at: &usize| {
        alone[*at] = window[*at];
        let report = model.quantize_input(&alone, &mut quantized);
        alone[*at] = f32::NAN;
        report.clamped > 0
    };
    (0..window.len()).filter(|at| is_clamped(at)).collect()
}

/// What a p-value says about an observation.
///
/// ```
/// use simground_trainer::explanation::novelty_words;
/// assert_eq!(novelty_words(0.43), "closer to its nearest simulation than 43 % of held-out simulations");
/// ```
pub fn novelty_words(novelty: f32) -> String {
    let percent = f64::from(novelty) * 100.0;
    if novelty < 0.01 {
        return format!(
            "unlike the simulations: only {percent:.1} % of held-out simulations are as far from their nearest one"
        );
    }
    if novelty < 0.05 {
        return format!(
            "unusual: only {percent:.1} % of held-out simulations are as far from their nearest one"
        );
    }
    format!("closer to its nearest simulation than {percent:.0} % of held-out simulations")
}
