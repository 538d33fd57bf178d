//! The training step.
//!
//! `cargo bench -p simground-trainer --bench training` measures one step of the outbreak study, everything included, and the step of a
//! plain network on a fixed batch (gradient of a mean squared error, Adam). With `-- --paired` it measures the latter in turns with
//! another program: it reads a line `case blocks steps` and answers with the least CPU time of a step, in microseconds.
//! `training_pytorch.py` is that other program.

use std::hint::black_box;
use std::io::BufRead;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use simground_trainer::training::{
    AdamW, ExampleSource, Examples, FitConfig, HeadSpec, Observer, Progress, Stack, Update, fit,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Widths and batch; `training_pytorch.py` has the same.
const CASES: [(&[usize], usize); 4] = [
    (&[32, 64, 64, 16, 4], 256),
    (&[32, 64, 64, 16, 4], 4_096),
    (&[64, 256, 256, 64, 16], 256),
    (&[64, 256, 256, 64, 16], 4_096),
];

/// A plain network, a fixed batch and the optimizer.
struct Step {
    stack: Stack,
    parts: Vec<(usize, usize)>,
    parameters: Vec<f32>,
    gradient: Vec<f32>,
    adam: AdamW,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    d_output: usize,
    done: u64,
}

impl Step {
    fn new((widths, batch): (&[usize], usize)) -> Step {
        let mut state = 1_u64;
        // Uniform with this variance; the generator is Knuth's.
        let mut uniform = |count: usize, variance: f64| -> Vec<f32> {
            let bound = (3.0 * variance).sqrt();
            let draw = |_| {
                state =
                    state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                (bound * ((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)) as f32
            };
            (0..count).map(draw).collect()
        };
        let layers: Vec<_> = widths.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut parameters = Vec::new();
        for &(d_input, d_output) in &layers {
            parameters.extend(uniform(d_input * d_output, 2.0 / d_input as f64));
            parameters.extend(vec![0.0; d_output]);
        }
        let d_output = widths[widths.len() - 1];
        Step {
            stack: Stack::new(&layers),
            parts: layers
                .iter()
                .map(|&(d_input, d_output)| (d_input * d_output, d_output))
                .collect(),
            gradient: vec![0.0; parameters.len()],
            adam: AdamW::new(parameters.len()),
            parameters,
            inputs: uniform(batch * widths[0], 1.0),
            targets: uniform(batch * d_output, 1.0),
            d_output,
            done: 0,
        }
    }

    fn make(&mut self) -> f32 {
        let scale = 2.0 / self.targets.len() as f32;
        let (targets, d_output) = (&self.targets, self.d_output);
        let mut loss = 0.0;
        self.stack.gradient(
            &self.parameters,
            &self.inputs,
            &mut self.gradient,
            |rows, outputs, by_output| {
                let targets = &targets[rows.start * d_output..rows.end * d_output];
                for ((output, target), by_output) in outputs.iter().zip(targets).zip(by_output) {
                    let error = output - target;
                    loss += error * error;
                    *by_output = scale * error;
                }
            },
        );
        let update = Update {
            step: self.done,
            learning_rate: 1e-3,
            weight_decay: 0.0,
            clip_norm: f64::INFINITY,
        };
        self.adam.update(&mut self.parameters, &self.gradient, &self.parts, update);
        self.done += 1;
        loss
    }
}

/// Answers each line of standard input with a measurement from the same start.
fn paired() {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let numbers: Vec<usize> =
            line.split_whitespace().map(|word| word.parse().expect("three numbers")).collect();
        let [case, blocks, steps] = numbers[..] else { panic!("three numbers a line: {line}") };
        let mut step = Step::new(CASES[case]);
        let mut least = Duration::MAX;
        for _ in 0..blocks {
            let before = thread_time();
            for _ in 0..steps {
                black_box(step.make());
            }
            least = least.min(thread_time() - before);
        }
        println!("{}", least.as_secs_f64() * 1e6 / steps as f64);
    }
}

/// CPU time of this thread, which leaves out what other programs take.
#[expect(unsafe_code, reason = "the standard library cannot ask for it")]
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write a `timespec` to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "this system has no clock of threads");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn plain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training");
    for case in CASES {
        let widths: Vec<String> = case.0.iter().map(usize::to_string).collect();
        let mut step = Step::new(case);
        group.bench_function(format!("step {}, batch {}", widths.join("-"), case.1), |bencher| {
            bencher.iter(|| step.make());
        });
    }
    group.finish();
}

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

fn outbreak(criterion: &mut Criterion) {
    let validation = Ramp.examples(1 << 20..(1 << 20) + 256);
    let mut group = criterion.benchmark_group("training");
    group.bench_function("whole step 64-128-128-64-(3+105), batch 256", |bencher| {
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

criterion_group!(benches, outbreak, plain);

fn main() {
    if std::env::args().any(|argument| argument == "--paired") {
        return paired();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
