//! SEAIR: a latent period, after which some never show symptoms.

use super::compartments::{
    ASYMPTOMATIC_FRACTION, BETA, Compartments, GAMMA, INITIAL_EXPOSED, ParameterSpec, Path, SIGMA,
    Setting,
};
use super::sampling::{Chance, Generator};

/// SEIR with an asymptomatic class as infectious as the symptomatic one, as a chain binomial.
///
/// States `S`, `E`, `A`, `I`, `R`. Flows in a step of `dt`: `S -> E` at rate `beta (A + I) / N`; those who leave `E`
/// (at rate `sigma`) are split by a binomial, `asymptomatic_fraction` of them to `A`, the others to `I`; `A -> R` and `I -> R`
/// at rate `gamma`. `R0 = beta / gamma`. It starts with `initial_exposed` in `E` and nobody infectious. Compare Brauer,
/// Castillo-Chavez and Feng 2019, *Mathematical Models in Epidemiology*, section 9.2, with equal infectivity and recovery.
#[derive(Debug)]
pub struct Seair;

impl Compartments for Seair {
    fn states(&self) -> &'static [&'static str] {
        &["S", "E", "A", "I", "R"]
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        &[BETA, GAMMA, SIGMA, ASYMPTOMATIC_FRACTION, INITIAL_EXPOSED]
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
        let silent = Chance::of_probability(theta[3]);
        let mut e = (theta[4] as u32).min(setting.population);
        let (mut s, mut a, mut i, mut r) = (setting.population - e, 0, 0, 0);
        for _ in 0..setting.days {
            if e + a + i == 0 {
                break;
            }
            let mut incidence = 0;
            for _ in 0..setting.steps_per_day {
                let infected =
                    generator.binomial(s, &Chance::of_rate(force * f64::from(a + i), dt));
                let infectious = generator.binomial(e, &onset);
                let asymptomatic = generator.binomial(infectious, &silent);
                let recovered_a = generator.binomial(a, &recovery);
                let recovered_i = generator.binomial(i, &recovery);
                s -= infected;
                e = e + infected - infectious;
                a = a + asymptomatic - recovered_a;
                i = i + (infectious - asymptomatic) - recovered_i;
                r += recovered_a + recovered_i;
                incidence += infected;
            }
            path.push(incidence, i, &[s, e, a, i, r]);
        }
        path.extinct(setting.days, &[s, e, a, i, r]);
    }
}
