//! One optimizer step of the outbreak study's network, everything included: batch, gradient, clipping, update.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use simground_trainer::training::{
    ExampleSource, Examples, FitConfig, HeadSpec, Observer, Progress, fit,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D_INPUT: usize = 64;
const D_TARGET: usize = 15;

/// Numbers that cost nothing to make: the step is measured, not the simulator.
struct Ramp;

impl ExampleSource for Ramp {
    fn examples(&mut self, indices: Range<u64>) -> Examples {
        let values = |width: u64| {
            let cells = indices.start * width..indices.end * width;
            cells
                .map(|cell| (cell.wrapping_mul(0x9E37_79B9) >> 8 & 0xFFFF) as f32 / 32_768.0 - 1.0)
                .collect()
        };
        Examples {
            inputs: values(D_INPUT as u64),
            targets: values(D_TARGET as u64),
            mechanism: indices.clone().map(|index| (index % 3) as u16).collect(),
            weight: Vec::new(),
        }
    }
}

fn config(steps: u64) -> FitConfig {
    let heads = vec![
        HeadSpec::Categorical { d_output: 3, loss_share: 1.0 },
        HeadSpec::Quantiles {
            targets: (0..D_TARGET).collect(),
            levels: vec![0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95],
            target_weights: vec![1.0; D_TARGET],
            loss_share: 1.0,
        },
    ];
    FitConfig {
        steps,
        validation_every: steps,
        simulations: 16_384,
        pool_start: 16_384,
        ..FitConfig::new(D_INPUT, vec![128, 128, 64], heads)
    }
}

/// Times the steps after the first few, so neither the start nor the last validation counts.
#[derive(Default)]
struct Stopwatch {
    last: u64,
    since: Option<Instant>,
    elapsed: Duration,
}

const WARM: u64 = 20;

impl Observer for Stopwatch {
    fn step(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.step == WARM {
            self.since = Some(Instant::now());
        }
        if progress.step == self.last {
            self.elapsed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

fn step(criterion: &mut Criterion) {
    let validation = Ramp.examples(1 << 20..(1 << 20) + 256);
    let mut group = criterion.benchmark_group("training");
    group.bench_function("step 64-128-128-64-(3+105), batch 256", |bencher| {
        bencher.iter_custom(|iterations| {
            let last = WARM + iterations;
            let mut stopwatch = Stopwatch { last, ..Stopwatch::default() };
            let fitted = fit(&config(last + 1), Ramp, &validation, &mut stopwatch);
            fitted.expect("sound settings");
            stopwatch.elapsed
        });
    });
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
