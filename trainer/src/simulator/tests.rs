use proptest::prelude::*;

use super::*;
use crate::corpus::simulate;

mod closed_form;

fn study(name: &str) -> Study {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("studies/{name}.toml"));
    Study::load(path).unwrap_or_else(|error| panic!("{error}"))
}

fn compartments(kind: MechanismKind) -> &'static dyn Compartments {
    match kind.structure() {
        Structure::Compartments(compartments) => compartments,
        Structure::Complete { .. } => panic!("{kind:?} has no compartments"),
    }
}

/// Bits, so that NaN equals NaN.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn assert_same(a: &Corpus, b: &Corpus) {
    assert_eq!(a.index, b.index);
    assert_eq!(a.mechanism, b.mechanism);
    assert_eq!(bits(&a.x), bits(&b.x));
    assert_eq!(bits(&a.theta), bits(&b.theta));
    assert_eq!(bits(&a.target), bits(&b.target));
}

proptest! {
    #[test]
    fn people_are_conserved_and_no_compartment_is_overdrawn(
        seed: u64,
        kind in 0usize..3,
        beta in 0.0f64..20.0,
        gamma in 1e-4f64..20.0,
        sigma in 1e-4f64..20.0,
        silent in 0.0f64..=1.0,
        population in 1u32..5_000,
        initial in 0u32..6_000,
        steps_per_day in 1u32..5,
    ) {
        let mechanism = compartments(MechanismKind::ALL[kind]);
        let theta: Vec<f64> = mechanism.parameters().iter().map(|spec| match spec.name {
            "beta" => beta,
            "gamma" => gamma,
            "sigma" => sigma,
            "asymptomatic_fraction" => silent,
            _ => f64::from(initial),
        }).collect();
        let setting = Setting { population, days: 60, steps_per_day };
        let mut path = Path::default();
        mechanism.simulate(&theta, setting, &mut Generator::new(seed, 0), &mut path);
        prop_assert_eq!(path.incidence.len(), 60);
        let d_state = mechanism.states().len();
        let mut susceptible = population - initial.min(population);
        for (day, states) in path.states.chunks(d_state).enumerate() {
            // An overdrawn compartment would wrap around and break the sum (debug builds panic before).
            prop_assert_eq!(states.iter().map(|&s| u64::from(s)).sum::<u64>(), u64::from(population));
            prop_assert_eq!(susceptible - states[0], path.incidence[day]);
            prop_assert_eq!(states[d_state - 2], path.prevalence[day]);
            susceptible = states[0];
        }
    }
}

#[test]
fn a_simulation_depends_on_its_index_alone() {
    let study = study("outbreak");
    let whole = simulate(&study, 5, 100..400);
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        assert_same(&whole, &pool.install(|| simulate(&study, 5, 100..400)));
    }
    let mut parts = simulate(&study, 5, 100..163);
    parts.append(simulate(&study, 5, 163..164));
    parts.append(simulate(&study, 5, 164..400));
    assert_same(&whole, &parts);
    assert_ne!(bits(&whole.x), bits(&simulate(&study, 6, 100..400).x), "the seed matters");
}

#[test]
fn replay_tells_the_very_simulation() {
    for name in ["outbreak", "boarding-school", "two-moons", "sis", "student-t-field"] {
        let study = study(name);
        let corpus = simulate(&study, 9, Split::Test.first(50));
        for row in 0..corpus.len() {
            let replay = replay(&study, 9, corpus.index[row]).expect("a simulator");
            assert_eq!(bits(&replay.x), bits(corpus.x_row(row)));
            assert_eq!(replay.mechanism, usize::from(corpus.mechanism[row]));
            let theta: Vec<f32> = replay.theta.iter().map(|&value| value as f32).collect();
            assert_eq!(bits(&theta), bits(corpus.theta_row(row)));
            assert_eq!(bits(&replay.target), bits(corpus.target_row(row)));
        }
    }
}

#[test]
fn the_generator_is_pinned() {
    // A change here changes every simulation ever named by an index: raise SIMULATOR_VERSION with it.
    for (name, expected) in [
        ("outbreak", "b2f60ca72ae3850f"),
        ("gaussian-linear", "0c134bc506ef8bcf"),
        ("two-moons", "12d29bc4b3ae9668"),
        ("sis", "1ae36b76399b2907"),
        ("gaussian-field", "72405d8e9a8e2804"),
        ("student-t-field", "89692162066edaeb"),
    ] {
        let simulator = study(name).simulator().expect("a simulator");
        let mut corpus = simulator.simulate(1, 0..64);
        if simulator.has_scores() {
            simulator.add_scores(&mut corpus);
        }
        let score = corpus.score.unwrap_or_default();
        let bytes: Vec<u8> = bits(&[corpus.x, corpus.target, score].concat())
            .iter()
            .flat_map(|b| b.to_le_bytes())
            .collect();
        let hash = <sha2::Sha256 as sha2::Digest>::digest(bytes);
        let hex: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{name}");
    }
}

#[test]
fn splits_are_disjoint_and_named_by_an_index() {
    for split in Split::ALL {
        assert_eq!(Split::of(split.base()), Some(split));
        assert_eq!(Split::of(split.first(1 << 40).end - 1), Some(split));
    }
    assert_eq!(Split::of(u64::MAX), None);
}

#[test]
fn theta_is_within_its_prior_and_absent_where_the_mechanism_lacks_it() {
    let study = study("outbreak");
    let corpus = simulate(&study, 3, 0..600);
    let schema = &corpus.schema;
    assert_eq!(schema.mechanisms, ["SIR", "SEIR", "SEAIR"]);
    let sigma = schema.theta.iter().position(|p| p.name == "sigma").expect("sigma");
    let mut seen = [0; 3];
    for row in 0..corpus.len() {
        seen[usize::from(corpus.mechanism[row])] += 1;
        assert_eq!(corpus.theta_row(row)[sigma].is_nan(), corpus.mechanism[row] == 0);
        for (value, p) in corpus.theta_row(row).iter().zip(&schema.theta) {
            let (lower, upper) = (p.lower.expect("bounded"), p.upper.expect("bounded"));
            assert!(value.is_nan() || (lower..=upper).contains(value), "{} {value}", p.name);
        }
        for (value, t) in corpus.target_row(row).iter().zip(&schema.targets) {
            assert!(
                *value >= t.lower.unwrap_or(f32::MIN) && *value <= t.upper.unwrap_or(f32::MAX),
                "{}",
                t.name
            );
        }
    }
    // 200 expected of each, standard deviation 11.5.
    assert!(seen.iter().all(|count| (150..250).contains(count)), "{seen:?}");
    assert_eq!(schema.target_indices("cases"), (1..15).collect::<Vec<_>>());
    assert_eq!(schema.targets[14].name, "cases+14");
}

/// The share `z` infected in the end solves `z = 1 - exp(-R0 z)` (Kermack and McKendrick 1927).
#[test]
fn a_large_population_reaches_the_final_size_of_the_differential_equations() {
    for kind in [MechanismKind::Sir, MechanismKind::Seir, MechanismKind::Seair] {
        let mechanism = compartments(kind);
        let (population, r0, gamma) = (2_000_000, 2.4, 0.2);
        let theta: Vec<f64> = (mechanism.parameters().iter())
            .map(|spec| match spec.name {
                "beta" => r0 * gamma,
                "gamma" => gamma,
                "sigma" => 0.4,
                "asymptomatic_fraction" => 0.3,
                _ => 200.0,
            })
            .collect();
        let mut z = 0.9;
        for _ in 0..100 {
            z = 1.0 - libm::exp(-r0 * z);
        }
        let mut path = Path::default();
        let setting = Setting { population, days: 400, steps_per_day: 24 };
        mechanism.simulate(&theta, setting, &mut Generator::new(2, 0), &mut path);
        let infected: u64 = path.incidence.iter().map(|&count| u64::from(count)).sum();
        let share = infected as f64 / f64::from(population);
        assert!((share - z).abs() < 0.004, "{kind:?}: {share} against {z}");
    }
}

/// The published scale of the tutorial forecaster: last value repeated errs by 511-521 cases a day, and the observation
/// noise around the true latent path by 134.
#[test]
fn outbreak_has_the_published_scale() {
    let study = study("outbreak");
    let simulator = study.simulator().expect("a simulator");
    let (mut error, mut noise, mut days) = (0.0, 0.0, 0.0);
    for index in Split::Test.first(4_000) {
        let replay = simulator.replay(11, index);
        let last = f64::from(replay.x[63]);
        for (&count, &mean) in replay.forecast.iter().zip(&replay.latent.expected[64..]) {
            error += (f64::from(count) - last).abs();
            noise += (f64::from(count) - mean).abs();
            days += 1.0;
        }
    }
    let (error, noise) = (error / days, noise / days);
    println!("last value repeated: MAE {error:.1}; observation noise alone: MAE {noise:.1}");
    assert!((490.0..535.0).contains(&error), "last value repeated: MAE {error:.1}");
    assert!((125.0..143.0).contains(&noise), "observation noise alone: MAE {noise:.1}");
}

#[test]
fn boarding_school_observes_prevalence_of_at_most_everyone() {
    let study = study("boarding-school");
    let corpus = simulate(&study, 1, 0..2_000);
    assert_eq!(corpus.schema.d_x(), 14);
    assert!(corpus.x.iter().all(|count| (0.0..=763.0).contains(count)));
    // The record's peak of 298 is nothing unusual under the prior.
    let large = (0..corpus.len())
        .filter(|&row| corpus.x_row(row).iter().any(|count| *count > 298.0))
        .count();
    assert!((200..1_800).contains(&large), "{large}");
}

#[test]
fn the_example_is_the_simulation_that_the_study_names() {
    let csv = include_str!("../../studies/outbreak-example.csv");
    let values = csv
        .lines()
        .nth(1)
        .expect("a row")
        .split(',')
        .map(|cell| cell.parse::<f32>().expect("a count"));
    let replay = replay(&study("outbreak"), 2026, Split::Test.base() + 6).expect("a simulator");
    assert_eq!(values.collect::<Vec<_>>(), replay.x);
    assert_eq!(replay.mechanism, 0);
}
