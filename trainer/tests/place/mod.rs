//! The command as a process in a folder of its own.

#![allow(dead_code, reason = "each test crate takes what it needs")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

const SIMGROUND: &str = env!("CARGO_BIN_EXE_simground");

/// A folder of its own, where the command runs.
pub struct Place(tempfile::TempDir);

impl Place {
    /// With nothing in it.
    pub fn empty() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// With one file in it.
    pub fn with(name: &str, content: &str) -> Place {
        let place = Place::empty();
        place.write(name, content);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(SIMGROUND);
        command.args(arguments.split_whitespace()).current_dir(self.0.path());
        command
    }

    pub fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub fn text(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{arguments} --json"))).unwrap()
    }

    /// Runs what must fail: exit code 2, all of `expected` on stderr, nothing on stdout.
    #[track_caller]
    pub fn fails(&self, arguments: &str, expected: &[&str]) {
        let output = self.run(arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
        assert!(output.stdout.is_empty(), "{arguments}");
        for part in expected {
            assert!(message.contains(part), "{arguments}: no {part:?} in {message}");
        }
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A number of a document.
#[track_caller]
pub fn number(document: &Value, path: &[&str]) -> f64 {
    let value = path.iter().fold(document, |value, key| &value[*key]);
    value.as_f64().unwrap_or_else(|| panic!("no {path:?} in {document}"))
}
