//! Simulations of a stored corpus for those who need not see all of it: drawn without replacement, in one pass.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Corpus, CorpusError, Reader};

/// Some rows of a stored corpus, or all.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The simulations, in the order of the corpus.
    pub corpus: Corpus,
    /// Row of each in the corpus, over all files.
    pub rows: Vec<u64>,
    /// Rows of the whole corpus.
    pub of: u64,
}

impl Sample {
    /// What it is, in words, where rows were left out: `10 of 40 simulations, drawn at random`.
    pub fn left_out(&self) -> Option<String> {
        let kept = self.rows.len() as u64;
        (kept < self.of).then(|| format!("{kept} of {} simulations, drawn at random", self.of))
    }
}

impl Reader {
    /// Reads the corpus through, every row checked, and keeps `most` of its rows: each set of that many is equally probable, and which
    /// one it is depends on the seed and on the number of rows alone.
    ///
    /// A row is kept with the probability `wanted / left`, of those wanted still among those left (selection sampling: Knuth, The Art
    /// of Computer Programming, volume 2, section 3.4.2, algorithm S). Memory is that of the rows kept and of one batch.
    ///
    /// # Errors
    /// [`CorpusError`] of the first wrong row, whether it would be kept or not.
    pub fn sample(self, most: u64, seed: u64) -> Result<Sample, CorpusError> {
        let of = self.num_simulations();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut wanted, mut left) = (most.min(of), of);
        let mut corpus = Corpus::empty(Arc::clone(self.schema()));
        let mut rows = Vec::new();
        for part in self {
            let part = part?;
            let first = of - left;
            let mut kept = Vec::new();
            for row in 0..part.len() {
                // The bias of the remainder is below 2^-32.
                if wanted == left || rng.next_u64() % left < wanted {
                    kept.push(row);
                    wanted -= 1;
                }
                left -= 1;
            }
            rows.extend(kept.iter().map(|&row| first + row as u64));
            corpus.append(if kept.len() == part.len() { part } else { part.select(&kept) });
        }
        Ok(Sample { corpus, rows, of })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::corpus::write_shard;
    use crate::study::Study;

    #[test]
    fn a_sample_is_rows_of_the_corpus_and_every_row_is_as_probable() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny.toml");
        let study = Study::load(path).unwrap_or_else(|error| panic!("{error}"));
        let dir = tempfile::tempdir().unwrap();
        for shard in 0..2 {
            write_shard(&study, 4, 40, (shard, 2), dir.path(), |_| ()).unwrap();
        }
        let sample = |most, seed| Reader::open(dir.path()).unwrap().sample(most, seed).unwrap();
        let whole = Corpus::read(dir.path()).unwrap();
        for most in [40, u64::MAX] {
            let all = sample(most, 1);
            assert_eq!(all.left_out(), None);
            assert_eq!((all.of, all.corpus.index), (40, whole.index.clone()));
        }
        assert!(sample(0, 1).corpus.is_empty());
        assert_eq!(sample(10, 1).rows, sample(10, 1).rows);
        let mut kept = [0_u32; 40];
        for seed in 0..2_000 {
            let part = sample(10, seed);
            assert_eq!(part.left_out().unwrap(), "10 of 40 simulations, drawn at random");
            assert!(part.rows.is_sorted());
            assert_eq!((part.rows.len(), part.corpus.len(), part.of), (10, 10, 40));
            for (at, &row) in part.rows.iter().enumerate() {
                kept[row as usize] += 1;
                assert_eq!(part.corpus.index[at], whole.index[row as usize]);
                assert_eq!(part.corpus.target_row(at), whole.target_row(row as usize));
            }
        }
        // Binomial of mean 500 and standard deviation 19.4: five of them.
        assert!(kept.iter().all(|&count| (403..=597).contains(&count)), "{kept:?}");
    }
}
