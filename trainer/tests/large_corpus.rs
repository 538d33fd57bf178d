//! A corpus larger than the memory in which it is looked at, trained on and judged.
//!
//! `SIMGROUND_ROWS=10000000 cargo test --release -p simground-trainer --test large_corpus -- --ignored --nocapture` is the one of
//! 10 million rows; it needs 9 GB of disk in the folder for temporary files (`TMPDIR`).

#![cfg(unix)]

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

const D_X: usize = 100;
const FILES: usize = 4;
const ROW_GROUP: usize = 100_000;

const STUDY: &str = r#"
name = "large"
seed = 1
[input]
transform = "identity"
missing = "refuse"
[[head]]
kind = "quantiles"
targets = ["theta_0", "theta_1"]
levels = [0.05, 0.25, 0.5, 0.75, 0.95]
[[head]]
kind = "mixture"
components = 2
[network]
hidden = [32, 32]
[bank]
prototypes = 64
[budget]
flash_kib = 64
ram_kib = 16
[training]
simulations = 100_000_000
steps = 2_000
batch = 128
validate_every = 200
patience = 100
validation = 4_096
calibration = 4_096
"#;

/// Numbers from -1 to 1 without a pattern that a writer could save.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Two parameters, seen through a hundred noisy values.
fn write_file(path: &Path, rows: usize, noise: &mut Noise) {
    let list = |width: usize| {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        (Arc::clone(&item), DataType::FixedSizeList(item, width as i32))
    };
    let (x_list, theta_list) = (list(D_X), list(2));
    let schema = Arc::new(Schema::new(vec![
        Field::new("x", x_list.1, false),
        Field::new("theta", theta_list.1, false),
    ]));
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).unwrap();
    for first in (0..rows).step_by(ROW_GROUP) {
        let (mut x, mut theta) = (Vec::new(), Vec::new());
        for _ in first..rows.min(first + ROW_GROUP) {
            let (a, b) = (noise.next(), noise.next());
            theta.extend([a, b]);
            x.extend((0..D_X).map(|at| if at % 2 == 0 { a } else { b } + 3.0 * noise.next()));
        }
        let array = |values: Vec<f32>, item: &Arc<Field>, width: usize| -> ArrayRef {
            let values = Arc::new(Float32Array::from(values));
            Arc::new(FixedSizeListArray::new(Arc::clone(item), width as i32, values, None))
        };
        let columns = vec![array(x, &x_list.0, D_X), array(theta, &theta_list.0, 2)];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
}

/// Runs the command; what it says on stderr, and its largest resident memory in MiB.
#[expect(clippy::zombie_processes, reason = "wait4 waits, and knows the memory")]
fn run(place: &Path, arguments: &str) -> (String, f64) {
    let mut said = tempfile::tempfile().unwrap();
    let started = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_simground"))
        .args(arguments.split_whitespace())
        .current_dir(place)
        .stdout(File::create(place.join("stdout")).unwrap())
        .stderr(said.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut status = 0;
    // SAFETY: a plain structure of numbers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the child is ours and nobody else waits for it; both structures are ours.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    assert_eq!(waited, child.id() as i32);
    let mut message = String::new();
    said.rewind().unwrap();
    said.read_to_string(&mut message).unwrap();
    let mib = usage.ru_maxrss as f64 / 1024.0;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{message}simground {arguments}: peak {mib:.0} MiB, {seconds:.0} s\n");
    assert_eq!(libc::WEXITSTATUS(status), 0);
    (message, mib)
}

#[test]
#[ignore = "slow: writes and trains on gigabytes"]
fn memory_stays_bounded() {
    let rows = std::env::var("SIMGROUND_ROWS").map_or(2_000_000, |rows| rows.parse().unwrap());
    let place = tempfile::tempdir().unwrap();
    let corpus = place.path().join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    let mut noise = Noise(1);
    for file in 0..FILES {
        let rows = rows * (file + 1) / FILES - rows * file / FILES;
        write_file(&corpus.join(format!("{file}.parquet")), rows, &mut noise);
    }
    std::fs::write(place.path().join("study.toml"), STUDY).unwrap();
    let commands = [
        ("init --corpus corpus --out first.toml", "looked at"),
        ("train study.toml --corpus corpus --out large.sgnn", "of temporary space"),
        ("evaluate large.sgnn --corpus corpus --json", "judged on"),
        ("report large.sgnn --corpus corpus --count 4000 --out page.html", "judged on 4000 of"),
    ];
    for (command, expected) in commands {
        let (message, mib) = run(place.path(), command);
        assert!(message.contains(expected), "{message}");
        // Less than the rows take by themselves at 2.6 million, and far less than all of them at 10 million.
        assert!(mib < 1_024.0, "{command}: {mib}");
    }
    let names = std::fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.count(), 8, "no temporary file is left");
}
