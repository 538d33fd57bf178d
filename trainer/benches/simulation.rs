//! Simulations a second of `outbreak.toml` on one thread, and the cost of its random variates.
//!
//! The rival is `simulation_numpy.py` beside this file: run both in one session, in turn.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simground_trainer::simulator::{Chance, GammaFactor, Generator};
use simground_trainer::study::Study;

fn simulations(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread");
    let mut group = criterion.benchmark_group("simulate");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    for name in ["outbreak", "boarding-school"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("studies/{name}.toml"));
        let study = Study::load(path).expect("a shipped study");
        let simulator = study.simulator().expect("it has mechanisms");
        let count = 2048;
        group.throughput(Throughput::Elements(count));
        let mut start = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                start += count;
                pool.install(|| black_box(simulator.simulate(study.seed, start..start + count)))
            });
        });
    }
    group.finish();
}

/// Why flows are binomial: they respect their compartment, and cost no more than the Poisson flows that must be clipped.
fn variates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("variate");
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for mean in [3.0, 300.0] {
        let mut generator = Generator::new(1, 0);
        let n = 20_000;
        group.bench_function(format!("binomial/{mean}"), |bencher| {
            bencher.iter(|| {
                generator.binomial(n, &Chance::of_rate(black_box(mean / f64::from(n)), 1.0))
            });
        });
        group.bench_function(format!("poisson/{mean}"), |bencher| {
            bencher.iter(|| generator.poisson(black_box(mean)));
        });
    }
    let mut generator = Generator::new(1, 0);
    let mut factor = GammaFactor::new(0.03);
    group.bench_function("gamma", |bencher| bencher.iter(|| factor.sample(&mut generator)));
    group.bench_function("generator", |bencher| {
        bencher.iter(|| Generator::new(1, black_box(7)).uniform())
    });
    group.finish();
}

criterion_group!(benches, simulations, variates);
criterion_main!(benches);
