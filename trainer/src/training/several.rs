//! Several networks from different seeds, trained at the same time.

use std::collections::VecDeque;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::company::Seat;
use super::fit::fit_seated;
use super::model::Model;
use super::{
    Backend, ExampleSource, Examples, FitConfig, Fitted, Observer, Progress, Stop, TrainingError,
    Validation,
};

/// Trains one network for each of `configs`, in whose order they are returned. They may differ in seed and checkpoint alone.
///
/// On the CPU as many train at once as there are cores, and each gets the bits that [`fit`](super::fit) alone would give it. Another
/// device computes the gradients of all of them as one batched product.
///
/// # Errors
///
/// The first error of any network; the others are stopped, with a checkpoint if they write one.
pub fn fit_several(
    configs: &[FitConfig],
    train: &(impl ExampleSource + Clone + Sync + 'static),
    validation: &Examples,
    observer: &mut dyn Observer,
) -> Result<Vec<Fitted>, TrainingError> {
    let Some(first) = configs.first() else { return Ok(Vec::new()) };
    let (seats, workers) = if first.backend == Backend::Flex {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        (configs.iter().map(|_| None).collect(), cores.min(configs.len()))
    } else {
        let model = Model::new(first.d_input, &first.hidden, &first.heads, first.backend)?;
        let seats = model.seats(configs.len())?;
        (seats.into_iter().map(Some).collect::<Vec<Option<Seat>>>(), configs.len())
    };
    let waiting: Mutex<VecDeque<_>> = Mutex::new(configs.iter().zip(seats).enumerate().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let board = Mutex::new(Board {
        observer,
        made: vec![0; configs.len()],
        all: configs.iter().map(|config| config.steps).sum(),
        started: Instant::now(),
        stop: false,
    });
    let work = || {
        let mut done = Vec::new();
        while let Some((at, (config, seat))) = next() {
            let mut member = Member { board: &board, at, config };
            let outcome = fit_seated(config, train.clone(), validation, &mut member, seat);
            if outcome.is_err() {
                member.board().stop = true;
            }
            done.push((at, outcome));
        }
        done
    };
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    });
    done.sort_by_key(|(at, _)| *at);
    let all: Vec<Fitted> =
        done.into_iter().map(|(_, outcome)| outcome).collect::<Result<_, TrainingError>>()?;
    let stopped = all.iter().any(|fitted| fitted.stop == Stop::Observer);
    observer.finish(if stopped { Stop::Observer } else { Stop::Completed });
    Ok(all)
}

/// What the networks' observers share.
struct Board<'o> {
    observer: &'o mut dyn Observer,
    /// Steps that each network has made.
    made: Vec<u64>,
    /// Steps that all are to make together.
    all: u64,
    started: Instant,
    stop: bool,
}

/// Tells the one observer what one of the networks does.
struct Member<'b, 'o> {
    board: &'b Mutex<Board<'o>>,
    at: usize,
    config: &'b FitConfig,
}

impl<'o> Member<'_, 'o> {
    fn board(&self) -> std::sync::MutexGuard<'_, Board<'o>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Member<'_, '_> {
    fn step(&mut self, progress: &Progress) -> ControlFlow<()> {
        let mut board = self.board();
        board.made[self.at] = progress.step;
        let step: u64 = board.made.iter().sum();
        let per_step = board.started.elapsed().as_secs_f64() / step as f64;
        let together = Progress {
            step,
            steps: board.all,
            steps_per_second: per_step.recip(),
            remaining: Duration::from_secs_f64(per_step * board.all.saturating_sub(step) as f64),
            seed: Some(self.config.seed),
            ..*progress
        };
        if board.observer.step(&together) == ControlFlow::Break(()) {
            board.stop = true;
        }
        if board.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn validation(&mut self, progress: &Progress, validation: &Validation, best: bool) {
        let own = Progress { seed: Some(self.config.seed), ..*progress };
        self.board().observer.validation(&own, validation, best);
    }

    fn finish(&mut self, _stop: Stop) {
        let mut board = self.board();
        // Steps that an early stop spared count as made.
        board.made[self.at] = self.config.steps;
    }
}
