//! Data to stdout, talk to stderr, and a reader that has left is no error.

use std::borrow::Cow;
use std::fmt::{Display, LowerExp};
use std::io::{self, BufWriter, ErrorKind, Write};

use serde::Serialize;

/// How the user wants the data.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
}

impl Output {
    /// Prints `document`, or the text for people.
    pub fn print<T: Serialize>(
        self,
        document: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        // Written as it is made: a document with many samples never lies in memory as a whole.
        let written = if self.json {
            serde_json::to_writer_pretty(&mut stdout, document)
                .map_err(io::Error::from)
                .and_then(|()| stdout.write_all(b"\n"))
        } else {
            stdout.write_all(printable(&text(document)).as_bytes())
        };
        let written = written.and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                anyhow::bail!("stdout: {error}")
            }
            _ => Ok(()),
        }
    }
}

/// A line for people on stderr.
pub fn say(line: &str) {
    // Nobody to talk to is no reason to stop working.
    let _ = writeln!(io::stderr(), "{}", printable(line));
}

/// Text without what a terminal takes for a command: names come from files of anyone.
fn printable(text: &str) -> Cow<'_, str> {
    let unsafe_here = |c: char| c.is_control() && c != '\n';
    if text.contains(unsafe_here) {
        Cow::Owned(text.replace(unsafe_here, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Columns that line up: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let cell =
                if at == 0 { format!("{cell}{padding}") } else { format!("  {padding}{cell}") };
            line += &cell;
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

pub use simground_trainer::report::{counted, significant};

/// A number in as few characters as say all of it.
pub fn shortest<T: Copy + Into<f64> + Display + LowerExp>(value: T) -> String {
    let magnitude = value.into().abs();
    if magnitude == 0.0 || (1e-5..1e11).contains(&magnitude) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Text two places to the right.
pub fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// Each channel of a time-major series as a labeled sparkline, for [`table`].
pub fn series(
    label: &str,
    x: &[f32],
    channels: &[String],
    low: f32,
    high: f32,
) -> Vec<Vec<String>> {
    let line = |(at, channel): (usize, &String)| {
        let values: Vec<f32> = x.iter().skip(at).step_by(channels.len()).copied().collect();
        let label =
            if channels.len() > 1 { format!("{label}, {channel}") } else { label.to_owned() };
        vec![label, sparkline(&values, low, high)]
    };
    channels.iter().enumerate().map(line).collect()
}

/// A series as blocks of eight heights between `low` and `high`; a gap where a value is missing.
pub fn sparkline(values: &[f32], low: f32, high: f32) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let width = if high > low { high - low } else { 1.0 };
    let block = |value: &f32| {
        if value.is_nan() {
            return ' ';
        }
        let height = ((value - low) / width * 8.0).floor().clamp(0.0, 7.0);
        BLOCKS[height as usize]
    };
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_command_no_terminal() {
        assert_eq!(
            printable("leak: \u{1b}[31mA\u{7}\r\nB \u{9b}é"),
            "leak: \u{fffd}[31mA\u{fffd}\u{fffd}\nB \u{fffd}é"
        );
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let found = [1e-9_f32, 0.0, 8.5, 1e12].map(shortest);
        assert_eq!(found, ["1e-9", "0", "8.5", "1e12"]);
    }
}
