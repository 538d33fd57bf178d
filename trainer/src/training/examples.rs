//! Where examples come from: a producer simulates ahead of the optimizer, which reads a pool that grows, and where memory does not
//! hold all of them moves on.
//!
//! Which examples a step may draw is a function of the step alone, so the trained weights never depend on how fast the producer is.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::TrainingError;

/// Network-ready examples: inputs transformed, targets standardized.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// Row-major `[n, d_input]`.
    pub inputs: Vec<f32>,
    /// Row-major `[n, d_target]`, in prior standard deviations from the prior mean.
    pub targets: Vec<f32>,
    /// Index of the mechanism that made each example, `[n]`.
    pub mechanism: Vec<u16>,
    /// Importance of each example, `[n]`, or empty when all count the same.
    pub weight: Vec<f32>,
}

/// Makes examples by index, by simulation or from a stored corpus.
pub trait ExampleSource: Send {
    /// Examples of these indices, in order; must be a pure function of the indices.
    ///
    /// Training calls it from a thread of its own, inside a rayon pool of
    /// [`FitConfig::simulation_threads`](super::FitConfig::simulation_threads) threads.
    fn examples(&mut self, indices: Range<u64>) -> Examples;

    /// Identifies the data, so that a checkpoint of another study is refused; a hash of the study and of its seed will do.
    fn fingerprint(&self) -> u64 {
        0
    }
}

/// Widths that examples must have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub d_input: usize,
    pub d_target: usize,
    /// Number of mechanisms, if a head depends on it.
    pub mechanisms: Option<usize>,
}

impl Examples {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.mechanism.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mechanism.is_empty()
    }

    /// Some of the rows, in this order.
    ///
    /// # Panics
    ///
    /// Past the last row.
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Examples {
        let (d_input, d_target) = self.widths();
        let mut selected = Examples::default();
        for row in rows {
            selected.inputs.extend_from_slice(&self.inputs[row * d_input..][..d_input]);
            selected.targets.extend_from_slice(&self.targets[row * d_target..][..d_target]);
            selected.mechanism.push(self.mechanism[row]);
            selected.weight.extend(self.weight.get(row));
        }
        selected
    }

    /// Adds the rows of `others`, which have the same columns; a missing weight is 1.
    pub fn append(&mut self, others: Examples) {
        if !(self.weight.is_empty() && others.weight.is_empty()) {
            let (count, more) = (self.len(), others.len());
            self.weight.resize(count, 1.0);
            self.weight.extend(&others.weight);
            self.weight.resize(count + more, 1.0);
        }
        self.inputs.extend(others.inputs);
        self.targets.extend(others.targets);
        self.mechanism.extend(others.mechanism);
    }

    /// Width of the inputs and of the targets.
    fn widths(&self) -> (usize, usize) {
        let n = self.len().max(1);
        (self.inputs.len() / n, self.targets.len() / n)
    }

    /// Sum of the weights.
    pub(super) fn total_weight(&self) -> f32 {
        if self.weight.is_empty() { self.len() as f32 } else { self.weight.iter().sum() }
    }

    /// Checks `n` rows of these widths, all finite; `first` is the index that messages give to row 0.
    pub(super) fn check(&self, n: usize, first: u64, widths: Widths) -> Result<(), TrainingError> {
        let fail = |message| Err(TrainingError::Examples { message });
        let Widths { d_input, d_target, .. } = widths;
        if self.len() != n
            || self.inputs.len() != n * d_input
            || self.targets.len() != n * d_target
            || !(self.weight.is_empty() || self.weight.len() == n)
        {
            return fail(format!(
                "from example {first}: {n} rows of {d_input} inputs and {d_target} targets were asked for; found {} inputs, {} targets, {} mechanisms, {} weights",
                self.inputs.len(),
                self.targets.len(),
                self.len(),
                self.weight.len()
            ));
        }
        let columns = [
            ("input", &self.inputs, d_input),
            ("target", &self.targets, d_target),
            ("weight", &self.weight, 1),
        ];
        for (what, values, width) in columns {
            if let Some(i) = values.iter().position(|value| !value.is_finite()) {
                let (row, column) = (first + (i / width) as u64, i % width);
                return fail(format!("example {row}: {what} {column} is {}", values[i]));
            }
        }
        if let Some(i) = self.weight.iter().position(|&weight| weight < 0.0) {
            return fail(format!(
                "example {}: weight {} is negative",
                first + i as u64,
                self.weight[i]
            ));
        }
        if let Some(mechanisms) = widths.mechanisms
            && let Some(i) = self.mechanism.iter().position(|&m| usize::from(m) >= mechanisms)
        {
            return fail(format!(
                "example {}: mechanism {}, but the head answers for {mechanisms}",
                first + i as u64,
                self.mechanism[i]
            ));
        }
        Ok(())
    }
}

/// Examples a producer hands over at a time.
pub(super) const CHUNK: u64 = 4_096;

/// Chunks the producer may be ahead of the optimizer; bounds the memory of simulations not yet in use.
const CHUNKS_AHEAD: usize = 4;

/// Where a pool's examples come from: places `first..end` of a stream that repeats the examples `0..period`.
///
/// Chunks do not cross the end of a period, which is a whole number of them unless the stream ends within the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub first: u64,
    pub end: u64,
    pub period: u64,
}

/// The examples that steps may draw from, and the thread that makes more.
pub(super) struct Pool {
    widths: Widths,
    span: Span,
    /// Chunks before the first that is kept.
    dropped: u64,
    chunks: VecDeque<Examples>,
    receiver: Option<Receiver<Examples>>,
    producer: Option<JoinHandle<()>>,
    /// How long the optimizer has waited for examples.
    pub stalled: Duration,
}

impl Span {
    /// The examples of the chunk that begins at a place.
    fn indices(self, first: u64) -> Range<u64> {
        let count = CHUNK.min(self.end - first);
        let start = first % self.period;
        start..start + count
    }
}

impl Pool {
    /// Starts to make the examples of a span.
    pub fn start(
        mut source: impl ExampleSource + 'static,
        span: Span,
        threads: usize,
        widths: Widths,
    ) -> Result<Pool, TrainingError> {
        let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("simulate-{i}"))
            .build()?;
        let dropped = span.first / CHUNK;
        let produce = move || {
            for first in (dropped * CHUNK..span.end).step_by(CHUNK as usize) {
                let indices = span.indices(first);
                let chunk = workers.install(|| source.examples(indices));
                // The optimizer hangs up when it has stopped early.
                if sender.send(chunk).is_err() {
                    return;
                }
            }
        };
        let producer = std::thread::Builder::new()
            .name("simulate".into())
            .spawn(produce)
            .map_err(|source| TrainingError::Thread { source })?;
        Ok(Pool {
            widths,
            span,
            dropped,
            chunks: VecDeque::new(),
            receiver: Some(receiver),
            producer: Some(producer),
            stalled: Duration::ZERO,
        })
    }

    /// Waits until the examples of these places are there, and lets those before them go.
    pub fn move_to(&mut self, places: Range<u64>) -> Result<(), TrainingError> {
        debug_assert!(self.span.first <= places.start && places.end <= self.span.end);
        while (self.dropped + 1) * CHUNK <= places.start && !self.chunks.is_empty() {
            self.chunks.pop_front();
            self.dropped += 1;
        }
        loop {
            let first = (self.dropped + self.chunks.len() as u64) * CHUNK;
            if first.min(self.span.end) >= places.end {
                return Ok(());
            }
            let receiver = self.receiver.as_ref().expect("open until the pool drops");
            let chunk = match receiver.try_recv() {
                Ok(chunk) => chunk,
                Err(_) => {
                    let since = Instant::now();
                    let chunk = receiver.recv();
                    self.stalled += since.elapsed();
                    match chunk {
                        Ok(chunk) => chunk,
                        Err(_) => self.raise_panic(first),
                    }
                }
            };
            let indices = self.span.indices(first);
            let expected = (indices.end - indices.start) as usize;
            chunk.check(expected, indices.start, self.widths)?;
            self.chunks.push_back(chunk);
        }
    }

    /// Copies the examples of these places; `batch` is overwritten.
    pub fn gather(&self, places: &[u64], batch: &mut Examples) {
        let Widths { d_input, d_target, .. } = self.widths;
        batch.inputs.clear();
        batch.targets.clear();
        batch.mechanism.clear();
        batch.weight.clear();
        for &place in places {
            let chunk = &self.chunks[(place / CHUNK - self.dropped) as usize];
            let row = (place % CHUNK) as usize;
            batch.inputs.extend_from_slice(&chunk.inputs[row * d_input..(row + 1) * d_input]);
            batch.targets.extend_from_slice(&chunk.targets[row * d_target..(row + 1) * d_target]);
            batch.mechanism.push(chunk.mechanism[row]);
            batch.weight.push(chunk.weight.get(row).copied().unwrap_or(1.0));
        }
    }

    /// The producer hung up before its last example: it panicked, and its panic belongs to the caller.
    fn raise_panic(&mut self, first: u64) -> ! {
        let producer = self.producer.take().expect("joined once");
        match producer.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the producer stopped at example {first}"),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(producer) = self.producer.take() {
            // A panic in a chunk that no step needed changes no result.
            let _ = producer.join();
        }
    }
}
