//! What the outbreak study does not know: each fault by a level that makes it worse.

use crate::simulator::{Chance, Generator, Split};
use crate::study::{Study, StudyError};

/// A named misspecification.
pub(in crate::reproduce) struct Fault {
    /// Its name in tables.
    pub name: &'static str,
    /// What a level is.
    pub unit: &'static str,
    /// From mild to severe.
    pub levels: [f64; 5],
    kind: Kind,
}

/// How a fault comes about.
enum Kind {
    /// The observation model is another one: the study's line of the overdispersion becomes this.
    Observation(fn(f64) -> String),
    /// A second outbreak, independent of the first and so many days later, is counted with it.
    SecondIntroduction,
    /// The window changes after it was simulated.
    Window(fn(&mut [f32], f64, &mut Generator)),
}

/// The line of `outbreak.toml` that the observation faults replace.
const OVERDISPERSION: &str = "overdispersion = { uniform = [0.01, 0.05], unit = \"1\" }";

/// All faults.
pub(in crate::reproduce) const FAULTS: [Fault; 6] = [
    Fault {
        name: "missing mechanism: second introduction",
        unit: "days after the first",
        levels: [5.0, 15.0, 25.0, 35.0, 45.0],
        kind: Kind::SecondIntroduction,
    },
    Fault {
        name: "missing mechanism: weekends",
        unit: "share of weekend cases not counted",
        levels: [0.1, 0.3, 0.5, 0.7, 0.9],
        kind: Kind::Observation(|level| {
            format!(
                "{OVERDISPERSION}\nweekend_factor = {{ fixed = {:.3}, unit = \"1\" }}",
                1.0 - level
            )
        }),
    },
    Fault {
        name: "wrong noise",
        unit: "overdispersion; the study has 0.01 to 0.05",
        levels: [0.07, 0.15, 0.3, 0.6, 1.2],
        kind: Kind::Observation(|level| {
            format!("overdispersion = {{ fixed = {level:.3}, unit = \"1\" }}")
        }),
    },
    Fault {
        name: "drift: reporting fades",
        unit: "share of cases lost on the last day",
        levels: [0.2, 0.4, 0.6, 0.8, 0.95],
        kind: Kind::Window(fade),
    },
    Fault {
        name: "sensor fault: stuck",
        unit: "last days that repeat the day before",
        levels: [3.0, 7.0, 14.0, 21.0, 28.0],
        kind: Kind::Window(stick),
    },
    Fault {
        name: "sensor fault: zeros",
        unit: "random days that read 0",
        levels: [1.0, 2.0, 4.0, 8.0, 16.0],
        kind: Kind::Window(zeros),
    },
];

impl Fault {
    /// Test windows `[count, d_x]` with this fault; `study` is the text of the outbreak study.
    pub fn windows(
        &self,
        study: &str,
        level: f64,
        seed: u64,
        count: u64,
    ) -> Result<Vec<f32>, StudyError> {
        let text = match self.kind {
            Kind::Observation(line) => {
                assert!(study.contains(OVERDISPERSION), "the line that the fault replaces");
                study.replace(OVERDISPERSION, &line(level))
            }
            _ => study.to_owned(),
        };
        let study = Study::parse(&text, "outbreak.toml")?;
        let simulator = study.simulator().expect("the study has mechanisms");
        let corpus = simulator.simulate(seed, Split::Test.first(2 * count));
        let d_x = corpus.schema.d_x();
        let (first, second) = corpus.x.split_at(count as usize * d_x);
        let mut windows = first.to_vec();
        for (row, x) in windows.chunks_exact_mut(d_x).enumerate() {
            match self.kind {
                Kind::Observation(_) => {}
                Kind::SecondIntroduction => {
                    let later = x.iter_mut().skip(level as usize);
                    later.zip(&second[row * d_x..]).for_each(|(x, more)| *x += more);
                }
                Kind::Window(change) => {
                    // A key of its own: the seed's streams have made the window.
                    change(x, level, &mut Generator::new(!seed, row as u64));
                }
            }
        }
        Ok(windows)
    }
}

/// Each case of day `t` is lost with probability `level t / (d_x - 1)`.
fn fade(x: &mut [f32], level: f64, generator: &mut Generator) {
    let last = (x.len() - 1) as f64;
    for (day, x) in x.iter_mut().enumerate() {
        let kept = Chance::of_probability(1.0 - level * day as f64 / last);
        *x = generator.binomial(*x as u32, &kept) as f32;
    }
}

/// The last `level` days read what the day before them did.
fn stick(x: &mut [f32], level: f64, _: &mut Generator) {
    let from = x.len() - level as usize;
    let value = x[from - 1];
    x[from..].fill(value);
}

/// `level` different days read 0.
fn zeros(x: &mut [f32], level: f64, generator: &mut Generator) {
    let mut days: Vec<usize> = (0..x.len()).collect();
    for _ in 0..level as usize {
        let at = generator.integer(0, days.len() as u64 - 1) as usize;
        x[days.swap_remove(at)] = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_change_what_they_say() {
        let generator = &mut Generator::new(1, 2);
        let mut x = vec![1_000.0; 64];
        fade(&mut x, 0.9, generator);
        assert!(x[0] == 1_000.0 && (70.0..130.0).contains(&x[63]), "{x:?}");
        stick(&mut x, 3.0, generator);
        assert!(x[60] == x[61] && x[60] == x[63] && x[59] != x[60]);
        zeros(&mut x, 16.0, generator);
        assert_eq!(x.iter().filter(|x| **x == 0.0).count(), 16);
    }

    #[test]
    fn every_fault_has_windows_unlike_the_study() {
        let study = include_str!("../../../studies/outbreak.toml");
        let plain = Study::parse(study, "outbreak.toml").unwrap().simulator().unwrap();
        let plain = plain.simulate(3, Split::Test.first(4)).x;
        for fault in FAULTS {
            for level in fault.levels {
                let windows = fault.windows(study, level, 3, 4).unwrap();
                assert!(windows.len() == plain.len() && windows != plain, "{}", fault.name);
            }
        }
    }
}
