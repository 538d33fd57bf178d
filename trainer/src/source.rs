//! Where simulations come from while a model is made: the simulator, or a stored corpus that is split once.

use std::ops::Range;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, Schema};
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
}

impl Source {
    /// Splits a stored corpus; the order depends on the seed and the number of rows alone.
    pub fn stored(corpus: Corpus, seed: u64, corpus_seed: Option<u64>) -> Source {
        let mut order: Vec<usize> = (0..corpus.len()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for at in (1..order.len()).rev() {
            // The bias of the remainder is below 2^-40 for any corpus that fits memory.
            order.swap(at, (rng.next_u64() % (at as u64 + 1)) as usize);
        }
        Source::Stored { corpus: Arc::new(corpus), order: order.into(), corpus_seed }
    }

    /// What the indices of its simulations refer to.
    pub fn origin(&self) -> CorpusOrigin {
        match self {
            Source::Simulator { .. } => CorpusOrigin::Simulated,
            Source::Stored { corpus_seed: Some(seed), .. } => CorpusOrigin::Stored { seed: *seed },
            Source::Stored { corpus_seed: None, .. } => CorpusOrigin::Foreign,
        }
    }

    /// Names, units and supports.
    pub fn schema(&self) -> &Arc<Schema> {
        match self {
            Source::Simulator { simulator, .. } => simulator.schema(),
            Source::Stored { corpus, .. } => &corpus.schema,
        }
    }

    /// Simulations in a split: `wanted`, or as many as a stored corpus has.
    pub fn available(&self, split: Split, wanted: u64) -> u64 {
        match self {
            Source::Simulator { .. } => wanted,
            Source::Stored { .. } => wanted.min(self.rows(split).len() as u64),
        }
    }

    /// Simulations of a split by position.
    ///
    /// # Panics
    ///
    /// If a stored corpus has no such rows.
    pub fn simulations(&self, split: Split, range: Range<u64>) -> Corpus {
        match self {
            Source::Simulator { simulator, seed } => {
                let base = split.base();
                simulator.simulate(*seed, base + range.start..base + range.end)
            }
            Source::Stored { corpus, .. } => {
                let rows = &self.rows(split)[range.start as usize..range.end as usize];
                select(corpus, rows)
            }
        }
    }

    /// Whether [`Source::scored`] has scores.
    pub fn has_scores(&self) -> bool {
        match self {
            Source::Simulator { simulator, .. } => simulator.has_scores(),
            Source::Stored { corpus, .. } => corpus.score.is_some(),
        }
    }

    /// As [`Source::simulations`], with the exact score of each simulation where it is known.
    ///
    /// # Panics
    ///
    /// If a stored corpus has no such rows.
    pub fn scored(&self, split: Split, range: Range<u64>) -> Corpus {
        let mut corpus = self.simulations(split, range);
        if let Source::Simulator { simulator, .. } = self
            && simulator.has_scores()
        {
            simulator.add_scores(&mut corpus);
        }
        corpus
    }

    fn rows(&self, split: Split) -> &[usize] {
        let Source::Stored { order, .. } = self else { return &[] };
        let at = |percent: usize| order.len() * percent / 100;
        match split {
            Split::Train => &order[..at(80)],
            Split::Validation => &order[at(80)..at(88)],
            Split::Calibration => &order[at(88)..at(95)],
            Split::Test => &order[at(95)..],
        }
    }
}

/// Rows of a corpus, in this order.
pub fn select(corpus: &Corpus, rows: &[usize]) -> Corpus {
    let mut selected = Corpus::empty(Arc::clone(&corpus.schema));
    for &row in rows {
        selected.x.extend(corpus.x_row(row));
        selected.theta.extend(corpus.theta_row(row));
        selected.target.extend(corpus.target_row(row));
        selected.mechanism.push(corpus.mechanism[row]);
        selected.index.push(corpus.index[row]);
    }
    let d_theta = corpus.schema.d_theta();
    selected.score = (corpus.score.as_ref())
        .map(|s| rows.iter().flat_map(|&row| &s[row * d_theta..][..d_theta]).copied().collect());
    selected.weight = corpus.weight.as_ref().map(|w| rows.iter().map(|&row| w[row]).collect());
    selected
}
