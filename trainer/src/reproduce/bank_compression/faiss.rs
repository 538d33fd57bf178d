//! The rival in Python, `trainer/benches/bank_faiss.py`: it gets the same embeddings by file and hands back its answers by file.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::judge::Answers;
use crate::bank::exact::{Marginal, Posterior};
use crate::bank::{Embedded, Layout, Subject};

const SCRIPT: &str = include_str!("../../../benches/bank_faiss.py");

/// A running rival.
pub(super) struct Faiss {
    /// Of the library.
    pub version: String,
    folder: tempfile::TempDir,
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    mechanisms: usize,
    d_theta: usize,
}

/// An index of FAISS at one budget.
pub(super) struct Index {
    pub bytes: usize,
    pub count: usize,
    pub d: usize,
    pub seconds: f64,
    pub answers: Answers,
}

#[derive(Deserialize)]
struct Hello {
    version: String,
}

#[derive(Deserialize)]
struct Built {
    bytes: usize,
    count: usize,
    d: usize,
    seconds: f64,
    novelty_entries: usize,
}

#[derive(Deserialize)]
struct Timed {
    microseconds: f64,
}

impl Faiss {
    /// Writes the files and starts Python.
    ///
    /// # Errors
    ///
    /// Why there is no rival, in words: no Python, or no FAISS.
    pub fn start(
        subject: &Subject<'_>,
        layout: &Layout,
        budgets: &[usize],
        seed: u64,
        test: &Embedded,
    ) -> Result<Faiss, String> {
        let said = |error: std::io::Error| error.to_string();
        let folder = tempfile::tempdir().map_err(said)?;
        let path = folder.path();
        let (validation, posteriors) = subject.validation();
        let parts = [
            ("corpus", subject.corpus),
            ("validation", validation),
            ("held_out", subject.held_out()),
            ("test", test),
        ];
        for (name, part) in parts {
            write(
                path,
                &format!("{name}_embedding.i2"),
                part.embedding.iter().map(|q| q.to_le_bytes()),
            )?;
        }
        let theta = subject.corpus.theta.iter().zip(subject.exact.ranges().iter().cycle());
        let shares = theta.map(|(value, (low, high))| ((value - low) / (high - low)).to_le_bytes());
        write(path, "corpus_theta.f4", shares)?;
        write(
            path,
            "corpus_mechanism.u2",
            subject.corpus.mechanism.iter().map(|m| m.to_le_bytes()),
        )?;
        let numbers = posteriors.iter().flat_map(row).map(|value| (value as f32).to_le_bytes());
        write(path, "validation_exact.f4", numbers)?;
        let entries: Vec<usize> = budgets.iter().map(|b| Layout::novelty_entries(*b)).collect();
        let settings = json!({
            "seed": seed,
            "d": subject.corpus.d,
            "d_hidden": layout.d_hidden,
            "mechanisms": layout.mechanisms,
            "d_theta": layout.d_theta,
            "index_bytes": layout.index_bytes,
            "half_lives": [subject.bandwidth.mechanism, subject.bandwidth.theta],
            "novelty_entries": budgets.iter().zip(&entries).map(|(b, e)| (b.to_string(), *e)).collect::<std::collections::BTreeMap<_, _>>(),
        });
        std::fs::write(path.join("settings.json"), settings.to_string()).map_err(said)?;
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("python3 does not start ({error})"))?;
        let requests = child.stdin.take().ok_or("no pipe to Python")?;
        let replies = BufReader::new(child.stdout.take().ok_or("no pipe from Python")?);
        let (mechanisms, d_theta) = (layout.mechanisms, layout.d_theta);
        let version = String::new();
        let mut faiss = Faiss { version, folder, child, requests, replies, mechanisms, d_theta };
        let hello: Hello = faiss
            .reply()
            .map_err(|_| "Python has no `faiss` (`pip install faiss-cpu`)".to_owned())?;
        faiss.version = hello.version;
        Ok(faiss)
    }

    /// The best index that a budget holds; `None` where it holds none.
    pub fn index(&mut self, budget: usize) -> Result<Option<Index>, String> {
        self.ask(&format!("build {budget}"))?;
        let Some(built) = self.reply::<Option<Built>>()? else { return Ok(None) };
        let width = self.mechanisms + 3 * self.d_theta;
        let numbers = self.read(&format!("{budget}_test.f4"))?;
        let rows = || numbers.chunks_exact(width).map(|row| row.split_at(self.mechanisms));
        let marginal = |m: &[f64]| Marginal { present: m[0], mean: m[1], sd: m[2] };
        let mut held_out = self.read(&format!("{budget}_held_out_least.f4"))?;
        held_out.sort_by(f64::total_cmp);
        let entries = built.novelty_entries.min(held_out.len());
        let table: Vec<f64> =
            (1..=entries).map(|entry| held_out[entry * held_out.len() / entries - 1]).collect();
        let least = self.read(&format!("{budget}_test_least.f4"))?;
        let p_value = |least: &f64| {
            let at_or_above = table.len() - table.partition_point(|t| t < least);
            (1 + at_or_above) as f64 / (1 + table.len()) as f64
        };
        let answers = Answers {
            mechanism: rows().map(|(mechanism, _)| mechanism.to_vec()).collect(),
            theta: rows().map(|(_, theta)| theta.chunks_exact(3).map(marginal).collect()).collect(),
            novelty: least.iter().map(p_value).collect(),
            vectors: self
                .read(&format!("{budget}_vectors.f4"))?
                .iter()
                .map(|v| v.round() as i16)
                .collect(),
            d: built.d,
        };
        let Built { bytes, count, d, seconds, .. } = built;
        Ok(Some(Index { bytes, count, d, seconds, answers }))
    }

    /// Microseconds of a search for the nearest five.
    pub fn time(&mut self, budget: usize) -> Result<f64, String> {
        self.ask(&format!("time {budget}"))?;
        Ok(self.reply::<Timed>()?.microseconds)
    }

    fn ask(&mut self, request: &str) -> Result<(), String> {
        writeln!(self.requests, "{request}").map_err(|error| error.to_string())
    }

    fn reply<T: for<'d> Deserialize<'d>>(&mut self) -> Result<T, String> {
        let mut line = String::new();
        self.replies.read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line).map_err(|_| format!("the rival said `{}`", line.trim()))
    }

    fn read(&self, name: &str) -> Result<Vec<f64>, String> {
        let bytes =
            std::fs::read(self.folder.path().join(name)).map_err(|e| format!("{name}: {e}"))?;
        let values = bytes.as_chunks::<4>().0.iter();
        Ok(values.map(|value| f64::from(f32::from_le_bytes(*value))).collect())
    }
}

impl Drop for Faiss {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A posterior as a row of numbers: mechanisms, then presence, mean and standard deviation of each parameter.
fn row(posterior: &Posterior) -> impl Iterator<Item = f64> {
    let theta = posterior.theta.iter().flat_map(|m| [m.present, m.mean, m.sd]);
    posterior.mechanism.iter().copied().chain(theta)
}

fn write<const N: usize>(
    folder: &Path,
    name: &str,
    values: impl Iterator<Item = [u8; N]>,
) -> Result<(), String> {
    let bytes: Vec<u8> = values.flatten().collect();
    std::fs::write(folder.join(name), bytes).map_err(|error| format!("{name}: {error}"))
}
