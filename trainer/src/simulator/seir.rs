//! SEIR: a latent period between infection and infectiousness.

use super::compartments::{
    BETA, Compartments, GAMMA, INITIAL_EXPOSED, ParameterSpec, Path, SIGMA, Setting,
};
use super::sampling::{Chance, Generator};

/// Anderson and May 1991, *Infectious Diseases of Humans*, chapter 6, as a chain binomial.
///
/// States `S`, `E`, `I`, `R`. Flows in a step of `dt`: `S -> E` at rate `beta I / N`, `E -> I` at rate `sigma`,
/// `I -> R` at rate `gamma`. `R0 = beta / gamma`. It starts with `initial_exposed` in `E` and nobody infectious.
#[derive(Debug)]
pub struct Seir;

impl Compartments for Seir {
    fn states(&self) -> &'static [&'static str] {
        &["S", "E", "I", "R"]
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        &[BETA, GAMMA, SIGMA, INITIAL_EXPOSED]
    }

    fn basic_reproduction_number(&self, theta: &[f64]) -> f64 {
        theta[0] / theta[1]
    }

    fn simulate(
        &self,
        theta: &[f64],
        setting: Setting,
        generator: &mut Generator,
        path: &mut Path,
    ) {
        let dt = 1.0 / f64::from(setting.steps_per_day);
        let force = theta[0] / f64::from(setting.population);
        let recovery = Chance::of_rate(theta[1], dt);
        let onset = Chance::of_rate(theta[2], dt);
        let mut e = (theta[3] as u32).min(setting.population);
        let (mut s, mut i, mut r) = (setting.population - e, 0, 0);
        for _ in 0..setting.days {
            if e + i == 0 {
                break;
            }
            let mut incidence = 0;
            for _ in 0..setting.steps_per_day {
                let infected = generator.binomial(s, &Chance::of_rate(force * f64::from(i), dt));
                let infectious = generator.binomial(e, &onset);
                let recovered = generator.binomial(i, &recovery);
                s -= infected;
                e = e + infected - infectious;
                i = i + infectious - recovered;
                r += recovered;
                incidence += infected;
            }
            path.push(incidence, i, &[s, e, i, r]);
        }
        path.extinct(setting.days, &[s, e, i, r]);
    }
}
