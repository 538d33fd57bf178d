//! Where simulations come from while a model is made: the simulator, or a stored corpus that is split once.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, Reader, Schema, Scratch, ScratchError};
use crate::simulator::{Simulator, Split};

/// What an index of a training simulation refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CorpusOrigin {
    /// Simulated on demand with the study's seed.
    Simulated,
    /// Stored by `simground simulate` with this seed, which may be another than the study's.
    Stored {
        /// The seed.
        seed: u64,
    },
    /// Rows of a corpus of another origin, or of several seeds: only who made it can make a simulation again.
    Foreign,
}

impl CorpusOrigin {
    /// Seed of the simulations, given that of the study; `None` for a foreign corpus.
    pub fn seed(self, of_study: u64) -> Option<u64> {
        match self {
            CorpusOrigin::Simulated => Some(of_study),
            CorpusOrigin::Stored { seed } => Some(seed),
            CorpusOrigin::Foreign => None,
        }
    }
}

/// A source of simulations with held-out parts.
#[derive(Debug, Clone)]
pub enum Source {
    /// Simulated on demand; every split is endless.
    Simulator {
        /// The study's simulator.
        simulator: Arc<Simulator>,
        /// The seed.
        seed: u64,
    },
    /// Rows of a stored corpus in a fixed random order: 80 % train, 8 % validate, 7 % calibrate, 5 % test.
    Stored {
        /// The corpus.
        corpus: Arc<Corpus>,
        /// The order.
        order: Arc<[usize]>,
        /// Seed that the corpus was simulated with, where it is one of ours.
        corpus_seed: Option<u64>,
    },
    /// The same of a corpus larger than [`IN_MEMORY_BYTES`], in a temporary file.
    Scratch {
        /// The rows, in their order.
        rows: Arc<Scratch>,
        /// Seed that the corpus was simulated with, where it is one of ours.
        corpus_seed: Option<u64>,
    },
}

/// Bytes of a stored corpus that lies in memory; a larger one is put in a temporary file. It changes no result.
pub const IN_MEMORY_BYTES: u64 = 256 << 20;

impl Source {
    /// Splits a stored corpus; the order depends on the seed and the number of rows alone.
    pub fn stored(corpus: Corpus, seed: u64, corpus_seed: Option<u64>) -> Source {
        let order = shuffled(corpus.len(), seed).into_iter().map(|row| row as usize).collect();
        Source::Stored { corpus: Arc::new(corpus), order, corpus_seed }
    }

    /// Reads a stored corpus through and splits it: in memory up to `in_memory` bytes, else in a temporary file in `folder`.
    ///
    /// # Errors
    ///
    /// [`ScratchError`]: the first wrong row, or a folder without the space.
    pub fn read(
        reader: Reader,
        seed: u64,
        corpus_seed: Option<u64>,
        folder: &Path,
        in_memory: u64,
    ) -> Result<Source, ScratchError> {
        if Scratch::bytes_of(&reader) <= in_memory {
            let mut corpus = Corpus::empty(Arc::clone(reader.schema()));
            for part in reader {
                corpus.append(part?);
            }
            return Ok(Source::stored(corpus, seed, corpus_seed));
        }
        let rows = reader.num_simulations();
        if rows > u64::from(u32::MAX) {
            return Err(ScratchError::TooMany { rows });
        }
        let order = shuffled(rows as usize, seed);
        let mut places = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(&row, place)| places[row as usize] = place);
        drop(order);
        let rows = Arc::new(Scratch::write(reader, &places, folder)?);
        Ok(Source::Scratch { rows, corpus_seed })
    }

    /// What the indices of its simulations refer to.
    pub fn origin(&self) -> CorpusOrigin {
        match self {
            Source::Simulator { .. } => CorpusOrigin::Simulated,
            Source::Stored { corpus_seed, .. } | Source::Scratch { corpus_seed, .. } => {
                corpus_seed.map_or(CorpusOrigin::Foreign, |seed| CorpusOrigin::Stored { seed })
            }
        }
    }

    /// Names, units and supports.
    pub fn schema(&self) -> &Arc<Schema> {
        match self {
            Source::Simulator { simulator, .. } => simulator.schema(),
            Source::Stored { corpus, .. } => &corpus.schema,
            Source::Scratch { rows, .. } => rows.schema(),
        }
    }

    /// Simulations in a split: `wanted`, or as many as a stored corpus has.
    pub fn available(&self, split: Split, wanted: u64) -> u64 {
        match self {
            Source::Simulator { .. } => wanted,
            Source::Stored { order, .. } => wanted.min(length(split, order.len() as u64)),
            Source::Scratch { rows, .. } => wanted.min(length(split, rows.len())),
        }
    }

    /// Simulations of a split by position.
    ///
    /// # Panics
    ///
    /// If a stored corpus has no such rows, or its temporary file cannot be read back.
    pub fn simulations(&self, split: Split, range: Range<u64>) -> Corpus {
        match self {
            Source::Simulator { simulator, seed } => {
                let base = split.base();
                simulator.simulate(*seed, base + range.start..base + range.end)
            }
            Source::Stored { corpus, order, .. } => {
                let first = places(split, order.len() as u64).start;
                let (from, to) = (first + range.start, first + range.end);
                corpus.select(&order[from as usize..to as usize])
            }
            Source::Scratch { rows, .. } => {
                let first = places(split, rows.len()).start;
                rows.rows(first + range.start..first + range.end)
            }
        }
    }

    /// Whether [`Source::scored`] has scores.
    pub fn has_scores(&self) -> bool {
        match self {
            Source::Simulator { simulator, .. } => simulator.has_scores(),
            Source::Stored { corpus, .. } => corpus.score.is_some(),
            Source::Scratch { rows, .. } => rows.has_scores(),
        }
    }

    /// As [`Source::simulations`], with the exact score of each simulation where it is known.
    ///
    /// # Panics
    ///
    /// As [`Source::simulations`].
    pub fn scored(&self, split: Split, range: Range<u64>) -> Corpus {
        let mut corpus = self.simulations(split, range);
        if let Source::Simulator { simulator, .. } = self
            && simulator.has_scores()
        {
            simulator.add_scores(&mut corpus);
        }
        corpus
    }
}

/// Rows in random order.
fn shuffled(rows: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for at in (1..order.len()).rev() {
        // The bias of the remainder is below 2^-32.
        order.swap(at, (rng.next_u64() % (at as u64 + 1)) as usize);
    }
    order
}

/// Places of a split in the order of this many rows.
fn places(split: Split, rows: u64) -> Range<u64> {
    let at = |percent: u64| rows * percent / 100;
    match split {
        Split::Train => 0..at(80),
        Split::Validation => at(80)..at(88),
        Split::Calibration => at(88)..at(95),
        Split::Test => at(95)..rows,
    }
}

fn length(split: Split, rows: u64) -> u64 {
    let places = places(split, rows);
    places.end - places.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::write_shard;
    use crate::study::Study;

    /// Everything of a corpus; NaN equals itself.
    fn bits(corpus: &Corpus) -> Vec<u64> {
        let numbers = [&corpus.x, &corpus.theta, &corpus.target].into_iter();
        let numbers = numbers.chain(&corpus.weight).chain(&corpus.score).flatten();
        let numbers = numbers.map(|x| if x.is_nan() { u64::MAX } else { x.to_bits().into() });
        let whole = corpus.mechanism.iter().map(|&m| m.into()).chain(corpus.index.iter().copied());
        numbers.chain(whole).collect()
    }

    #[test]
    fn a_temporary_file_holds_the_rows_that_memory_holds() {
        // Two mechanisms, absent parameters and missing values; and one with scores.
        for study in ["tests/data/tiny.toml", "studies/sis.toml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(study);
            let study = Study::load(path).unwrap_or_else(|error| panic!("{error}"));
            let dir = tempfile::tempdir().unwrap();
            for shard in 0..3 {
                write_shard(&study, 4, 10_000, (shard, 3), dir.path(), |_| ()).unwrap();
            }
            let read = |in_memory| {
                let reader = Reader::open(dir.path()).unwrap();
                Source::read(reader, 7, Some(4), dir.path(), in_memory).unwrap()
            };
            let (memory, file) = (read(u64::MAX), read(0));
            assert!(matches!(memory, Source::Stored { .. }));
            assert!(matches!(file, Source::Scratch { .. }));
            assert_eq!((memory.origin(), memory.schema()), (file.origin(), file.schema()));
            for split in [Split::Train, Split::Validation, Split::Calibration, Split::Test] {
                let count = memory.available(split, u64::MAX);
                assert_eq!(count, file.available(split, u64::MAX));
                for range in [0..count, 3..4, count / 2..count, 0..0] {
                    let [a, b] =
                        [&memory, &file].map(|s| bits(&s.simulations(split, range.clone())));
                    assert!(a == b, "{split:?} {range:?}");
                }
            }
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "no file is left");
        }
    }

    #[test]
    fn a_wrong_row_is_named_and_so_is_a_folder_that_takes_no_file() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny.toml");
        let study = Study::load(path).unwrap_or_else(|error| panic!("{error}"));
        let dir = tempfile::tempdir().unwrap();
        write_shard(&study, 4, 200, (0, 1), dir.path(), |_| ()).unwrap();
        let read = |folder: &Path, refuse: bool| {
            let mut reader = Reader::open(dir.path()).unwrap();
            if refuse {
                reader.refuse_missing();
            }
            Source::read(reader, 7, None, folder, 0).unwrap_err().to_string()
        };
        let missing = read(dir.path(), true);
        assert!(missing.contains("shard-00000-of-00001.parquet: row "), "{missing}");
        assert!(missing.contains("column `x`: entry ") && missing.contains("hint:"), "{missing}");
        let nowhere = read(&dir.path().join("nowhere"), false);
        assert!(nowhere.contains("nowhere: temporary file: "), "{nowhere}");
    }
}
