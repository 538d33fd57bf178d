//! Writing a simulated corpus, or one shard of it, so that several machines can share the work and any of them can stop.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::description::SCHEMA_KEY;
use super::reader::{SEED_KEY, files};
use super::record::{arrow_schema, record_batch};
use super::{CorpusError, Schema};
use crate::parquet_file::ParquetFile;
use crate::simulator::{SIMULATOR_VERSION, Split};
use crate::study::Study;

/// Simulations in a row group, hence in memory.
const ROW_GROUP: u64 = 16_384;

/// Why a shard was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The study has no mechanism.
    #[error("{study}: nothing to simulate, the study has no [[mechanism]]")]
    NothingToSimulate {
        /// The study's file.
        study: String,
    },
    /// The shard does not exist.
    #[error(
        "shard {shard}/{shards} does not exist; shards are numbered from 0 to one less than their number"
    )]
    NoSuchShard {
        /// Asked for.
        shard: u32,
        /// How many there are.
        shards: u32,
    },
    /// The directory holds something else.
    #[error("{}: {what} is {found}, and {expected} here; one directory holds one corpus\nhint: choose another directory, or remove this file", .path.display())]
    Foreign {
        /// The file in the way.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the file.
        found: String,
        /// Wanted.
        expected: String,
    },
    /// An existing file cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("{}: cannot write: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Parquet's reason.
        source: ParquetError,
    },
}

/// What happened to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardOutcome {
    /// It was simulated and written.
    Written(PathBuf),
    /// The identical shard was complete already.
    Complete(PathBuf),
}

/// Indices of shard `shard` of `shards`: contiguous, in order, sizes differing by at most one.
pub fn shard_range(count: u64, (shard, shards): (u32, u32)) -> Range<u64> {
    let cut = |at: u32| (u128::from(count) * u128::from(at) / u128::from(shards)) as u64;
    Split::Train.base() + cut(shard)..Split::Train.base() + cut(shard + 1)
}

/// Simulates one shard of the first `count` training simulations into `dir`, calling `progress` with the number done.
///
/// The file appears under its name only when it is whole, so a shard that exists is complete: an identical one is left as it
/// is, which makes a stopped job resumable. Memory is bounded by a row group.
///
/// # Errors
/// [`ShardError`]; nothing is left behind.
pub fn write_shard(
    study: &Study,
    seed: u64,
    count: u64,
    (shard, shards): (u32, u32),
    dir: &Path,
    mut progress: impl FnMut(u64),
) -> Result<ShardOutcome, ShardError> {
    let simulator = study
        .simulator()
        .ok_or_else(|| ShardError::NothingToSimulate { study: study.file.clone() })?;
    if shard >= shards {
        return Err(ShardError::NoSuchShard { shard, shards });
    }
    std::fs::create_dir_all(dir)
        .map_err(|source| ShardError::Io { path: dir.to_owned(), source })?;
    let path = dir.join(format!("shard-{shard:05}-of-{shards:05}.parquet"));
    let identity = identity(study, seed, count, shards, simulator.schema());
    check_directory(dir, &identity)?;
    if path.exists() {
        progress(shard_range(count, (shard, shards)).count() as u64);
        return Ok(ShardOutcome::Complete(path));
    }

    // In the same directory, hence on the same file system, so that the rename is atomic; hidden, so that no reader takes it.
    let partial =
        dir.join(format!(".shard-{shard:05}-of-{shards:05}.{}.partial", std::process::id()));
    let written = write(
        &simulator,
        seed,
        shard_range(count, (shard, shards)),
        &partial,
        &identity,
        shard,
        &mut progress,
    )
    .and_then(|()| {
        std::fs::rename(&partial, &path)
            .map_err(|source| ShardError::Io { path: path.clone(), source })
    });
    match written {
        Ok(()) => Ok(ShardOutcome::Written(path)),
        Err(error) => {
            // The first error is the one to report.
            let _ = std::fs::remove_file(&partial);
            Err(error)
        }
    }
}

fn write(
    simulator: &crate::simulator::Simulator,
    seed: u64,
    indices: Range<u64>,
    path: &Path,
    identity: &[Fact],
    shard: u32,
    progress: &mut impl FnMut(u64),
) -> Result<(), ShardError> {
    let failed = |source: ParquetError| ShardError::Write { path: path.to_owned(), source };
    let io = |source| ShardError::Io { path: path.to_owned(), source };
    let schema = simulator.schema();
    let names = |names: Vec<&str>| serde_json::to_string(&names).expect("strings");
    let mut metadata: Vec<KeyValue> = identity
        .iter()
        .map(|fact| KeyValue::new(fact.key.to_owned(), fact.value.clone()))
        .collect();
    metadata.extend([
        KeyValue::new("simground_shard".to_owned(), shard.to_string()),
        KeyValue::new(
            "theta_names".to_owned(),
            names(schema.theta.iter().map(|p| p.name.as_str()).collect()),
        ),
        KeyValue::new(
            "target_names".to_owned(),
            names(schema.targets.iter().map(|t| t.name.as_str()).collect()),
        ),
        KeyValue::new(
            "x_names".to_owned(),
            names(schema.x_names.iter().map(String::as_str).collect()),
        ),
    ]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(failed)?))
        // Counts and parameters rarely repeat; names of mechanisms always do.
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(ColumnPath::from("mechanism"), true)
        .set_max_row_group_row_count(Some(ROW_GROUP as usize))
        .set_key_value_metadata(Some(metadata))
        .build();
    let arrow = arrow_schema(schema, simulator.has_scores());
    let file = File::create(path).map_err(io)?;
    let mut writer = ArrowWriter::try_new(file, arrow.clone(), Some(properties)).map_err(failed)?;
    let mut next = indices.start;
    while next < indices.end {
        let end = indices.end.min(next + ROW_GROUP);
        let mut corpus = simulator.simulate(seed, next..end);
        if simulator.has_scores() {
            simulator.add_scores(&mut corpus);
        }
        let batch = record_batch(corpus, &arrow).map_err(|error| failed(error.into()))?;
        writer.write(&batch).map_err(failed)?;
        writer.flush().map_err(failed)?;
        next = end;
        progress(next - indices.start);
    }
    let file = writer.into_inner().map_err(failed)?;
    // Without this a power cut could leave a complete name with an incomplete content.
    file.sync_all().map_err(io)
}

/// What must agree among the shards of one corpus.
struct Fact {
    /// Its key in the file's metadata.
    key: &'static str,
    /// What it is, in words.
    what: &'static str,
    value: String,
}

fn identity(study: &Study, seed: u64, count: u64, shards: u32, schema: &Schema) -> Vec<Fact> {
    let hash: String = study.simulator_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    let fact = |key, what, value| Fact { key, what, value };
    let schema = serde_json::to_string(schema).expect("plain fields");
    vec![
        fact("simground_study", "the study's name", study.name.clone()),
        fact(
            "simground_simulator_version",
            "the simulator's version",
            SIMULATOR_VERSION.to_string(),
        ),
        fact("simground_simulator_hash", "the hash of the study's simulator", hash),
        fact(SEED_KEY, "the seed", seed.to_string()),
        fact("simground_count", "the number of simulations", count.to_string()),
        fact("simground_shards", "the number of shards", shards.to_string()),
        fact(SCHEMA_KEY, "the description of the columns", schema),
    ]
}

fn check_directory(dir: &Path, identity: &[Fact]) -> Result<(), ShardError> {
    let existing = match files(dir) {
        Err(CorpusError::NoFiles { .. }) => return Ok(()),
        other => other?,
    };
    for path in existing {
        let file = ParquetFile::open(&path).map_err(CorpusError::from)?;
        for Fact { key, what, value } in identity {
            let found = file.metadata_value(key);
            if found != Some(value) {
                return Err(ShardError::Foreign {
                    path,
                    what,
                    found: found.unwrap_or("not said").to_owned(),
                    expected: value.clone(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
