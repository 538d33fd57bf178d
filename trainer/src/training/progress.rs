//! Who watches a training: nobody, or a person at a terminal, or a log.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Stop, Validation};

/// The state of a training after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps made.
    pub step: u64,
    /// Steps to make.
    pub steps: u64,
    /// Loss of this step's batch.
    pub loss: f64,
    /// Loss of the last validation, if there was one.
    pub validation_loss: Option<f64>,
    /// Of this step.
    pub learning_rate: f64,
    /// Since the call or the resume.
    pub steps_per_second: f64,
    /// Time until the last step at this speed; training may stop earlier.
    pub remaining: Duration,
    /// Simulations this step could draw from.
    pub pool: u64,
    /// Which of several networks made this step; `None` where there is one. A step then counts the steps of all.
    pub seed: Option<u64>,
}

/// Watches a training, and may stop it.
pub trait Observer: Send {
    /// After every step; `Break` ends the training, with a checkpoint if there is one to write.
    fn step(&mut self, _progress: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// After every validation; `best` if none before was better.
    fn validation(&mut self, _progress: &Progress, _validation: &Validation, _best: bool) {}

    /// When training ends without an error.
    fn finish(&mut self, _stop: Stop) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

/// A bar on a terminal, else a line for each validation; both on stderr.
#[derive(Debug)]
pub struct ProgressObserver {
    bar: Option<ProgressBar>,
    drawn: Instant,
    smooth_loss: Option<f64>,
    interrupt: Option<Arc<AtomicBool>>,
}

impl ProgressObserver {
    /// Looks once whether stderr is a terminal.
    pub fn new() -> ProgressObserver {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "{bar:24} {pos}/{len}  {msg}";
            let style = ProgressStyle::with_template(style).expect("a constant template");
            ProgressBar::new(0).with_style(style)
        });
        ProgressObserver { bar, drawn: Instant::now(), smooth_loss: None, interrupt: None }
    }

    /// Stops the training, after its step, once `interrupt` is set; meant for a signal handler.
    pub fn with_interrupt(mut self, interrupt: Arc<AtomicBool>) -> ProgressObserver {
        self.interrupt = Some(interrupt);
        self
    }
}

impl Default for ProgressObserver {
    fn default() -> ProgressObserver {
        ProgressObserver::new()
    }
}

impl Observer for ProgressObserver {
    fn step(&mut self, progress: &Progress) -> ControlFlow<()> {
        let smooth = self.smooth_loss.unwrap_or(progress.loss);
        self.smooth_loss = Some(smooth + 0.02 * (progress.loss - smooth));
        if let Some(bar) = &self.bar
            && (self.drawn.elapsed() > Duration::from_millis(100)
                || progress.step == progress.steps)
        {
            self.drawn = Instant::now();
            bar.set_length(progress.steps);
            bar.set_position(progress.step);
            let validation =
                progress.validation_loss.map_or("-".into(), |loss| format!("{loss:.4}"));
            bar.set_message(format!(
                "loss {smooth:.4}  held-out {validation}  {:.0} steps/s  rate {:.1e}  {} left",
                progress.steps_per_second,
                progress.learning_rate,
                clock(progress.remaining)
            ));
        }
        match &self.interrupt {
            Some(interrupt) if interrupt.load(Ordering::Relaxed) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn validation(&mut self, progress: &Progress, validation: &Validation, best: bool) {
        if self.bar.is_some() {
            return;
        }
        let seed = progress.seed.map_or(String::new(), |seed| format!("seed {seed}  "));
        say(&format!(
            "{seed}step {}/{}  loss {:.4}  held-out {:.4}{}  {:.0} steps/s  rate {:.1e}  {} left",
            validation.step,
            progress.steps,
            validation.train_loss,
            validation.loss,
            if best { " (best)" } else { "" },
            progress.steps_per_second,
            validation.learning_rate,
            clock(progress.remaining)
        ));
    }

    fn finish(&mut self, stop: Stop) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        match stop {
            Stop::Completed => {}
            Stop::Patience => say("training stopped early: no better held-out loss"),
            Stop::Observer => say("training interrupted"),
        }
    }
}

/// A reader that has left, such as a closed pipe, must not end a training.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}
