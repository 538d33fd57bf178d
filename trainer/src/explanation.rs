//! Which simulations an answer comes from, and the simulations themselves, regenerated and verified.
//!
//! The attribution is the integer runtime's. A replay counts only if the regenerated series has exactly the embedding, and the
//! parameters exactly the codes, that the artifact stores: then the simulation that is shown is the one that the device named.

use serde::Serialize;
use simground_runtime::{Model, Nearest};

use crate::artifact::{ThetaRange, theta_code};
use crate::named::Named;
use crate::simulator::{SIMULATOR_VERSION, Simulator};

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

/// A prototype regenerated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// Its series; missing values are `null` in JSON.
    pub x: Vec<f32>,
    /// What was observed after it.
    pub forecast: Vec<f32>,
    /// Its parameters.
    pub theta: Named<f32>,
    /// Whether embedding and parameters equal the bank's; anything else is a [`ReplayError`].
    pub verified: bool,
}

/// A regenerated simulation is not the stored one.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "simulation {index} does not verify: its {what} differs from the bank's\nhint: the artifact was made by simground {trainer} from simulator {simulator_hash} with seed {seed}; this is simulator {here_hash}, version {SIMULATOR_VERSION}{corpus}"
)]
pub struct ReplayError {
    /// Index of the simulation.
    pub index: u64,
    /// What differs.
    pub what: &'static str,
    trainer: String,
    simulator_hash: String,
    seed: u64,
    here_hash: String,
    corpus: &'static str,
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
            .map(|near| near_simulation(model, near))
            .collect(),
    })
}

fn near_simulation(model: &Model<'_>, near: &Nearest) -> NearSimulation {
    let manifest = model.manifest();
    let mechanism = manifest.mechanisms.at(usize::from(near.mechanism)).unwrap_or_default();
    let mass = model.prototype_mass(near.prototype).unwrap_or(0);
    let parameters = manifest.bank.iter().flat_map(|bank| bank.theta.iter().enumerate());
    let theta = parameters.filter_map(|(at, theta)| {
        Some((theta.name.to_owned(), model.prototype_theta(near.prototype, at)?))
    });
    NearSimulation {
        prototype: near.prototype,
        index: near.index,
        mechanism: mechanism.to_owned(),
        squared_distance: near.squared_distance,
        distance: (near.squared_distance as f32).sqrt(),
        mass: f32::from(mass) / 65_536.0,
        weight: near.weight,
        theta: theta.collect(),
        replay: None,
    }
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

/// Regenerates a prototype and verifies it against what the artifact stores.
///
/// # Errors
///
/// [`ReplayError`] when embedding or parameters are not exactly the stored ones.
pub fn replay(
    model: &Model<'_>,
    simulator: &Simulator,
    simulator_hash: &[u8],
    seed: u64,
    near: &NearSimulation,
) -> Result<Replayed, ReplayError> {
    let provenance = &model.manifest().provenance;
    let same_simulator = provenance.simulator_hash == simulator_hash;
    let fail = |what| {
        Err(ReplayError {
            index: near.index,
            what,
            trainer: provenance.trainer.to_owned(),
            simulator_hash: short_hash(provenance.simulator_hash),
            seed: provenance.seed,
            here_hash: short_hash(simulator_hash),
            corpus: if same_simulator && seed == provenance.seed {
                "; a corpus that was stored with another seed needs `--seed`"
            } else {
                ""
            },
        })
    };
    let replayed = simulator.replay(seed, near.index);
    if replayed.x.len() != model.d_values() {
        return fail("window");
    }
    let mechanism = model.manifest().mechanisms.iter().nth(replayed.mechanism);
    if mechanism != Some(near.mechanism.as_str()) {
        return fail("mechanism");
    }
    let mut scratch = vec![0; model.scratch_words()];
    let inference = model.infer(&replayed.x, &mut scratch).expect("the width was compared");
    let here = inference.embedding().iter().map(|&q| crate::prototypes::on_grid(q));
    if !model.prototype_vector(near.prototype).is_some_and(|stored| stored.eq(here)) {
        return fail("embedding");
    }
    let parameters = model.manifest().bank.iter().flat_map(|bank| bank.theta.iter());
    let mut theta = Named::default();
    for (at, parameter) in parameters.enumerate() {
        let value = replayed.theta.get(at).map_or(f32::NAN, |value| *value as f32);
        let range = ThetaRange {
            name: String::new(),
            unit: String::new(),
            low: parameter.low,
            high: parameter.high,
        };
        if model.prototype_theta_code(near.prototype, at) != Some(theta_code(value, &range)) {
            return fail("parameters");
        }
        if !value.is_nan() {
            theta.0.push((parameter.name.to_owned(), value));
        }
    }
    Ok(Replayed { x: replayed.x, forecast: replayed.forecast, theta, verified: true })
}

/// The first bytes of a hash, for people.
pub fn short_hash(hash: &[u8]) -> String {
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
