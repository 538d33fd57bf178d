//! SIR: susceptible, infectious, recovered.

use super::compartments::{
    BETA, Compartments, GAMMA, INITIAL_INFECTED, ParameterSpec, Path, Setting,
};
use super::sampling::{Chance, Generator};

/// Kermack and McKendrick 1927, <https://doi.org/10.1098/rspa.1927.0118>, as a chain binomial.
///
/// States `S`, `I`, `R`. Flows in a step of `dt`:
/// `S -> I` at rate `beta I / N`, `I -> R` at rate `gamma`. `R0 = beta / gamma`.
#[derive(Debug)]
pub struct Sir;

impl Compartments for Sir {
    fn states(&self) -> &'static [&'static str] {
        &["S", "I", "R"]
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        &[BETA, GAMMA, INITIAL_INFECTED]
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
        let mut i = (theta[2] as u32).min(setting.population);
        let (mut s, mut r) = (setting.population - i, 0);
        for _ in 0..setting.days {
            if i == 0 {
                break;
            }
            let mut incidence = 0;
            for _ in 0..setting.steps_per_day {
                let infected = generator.binomial(s, &Chance::of_rate(force * f64::from(i), dt));
                let recovered = generator.binomial(i, &recovery);
                s -= infected;
                i = i + infected - recovered;
                r += recovered;
                incidence += infected;
            }
            path.push(incidence, i, &[s, i, r]);
        }
        path.extinct(setting.days, &[s, i, r]);
    }
}
