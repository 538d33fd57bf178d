//! A corpus in the bank's space.

use std::ops::Range;

use rayon::prelude::*;
use simground_runtime::Model;

use crate::corpus::Corpus;

/// Simulations that are in memory at a time while a corpus is embedded.
const BLOCK: u64 = 16_384;

/// A corpus in the bank's space.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// Width of an embedding, a multiple of four.
    pub d: usize,
    /// `[n, d]`.
    pub embedding: Vec<i16>,
    /// Mechanism of each.
    pub mechanism: Vec<u16>,
    /// `[n, d_theta]`; NaN where the mechanism has no such parameter.
    pub theta: Vec<f32>,
    /// Weight of each; empty when all are one.
    pub weight: Vec<f32>,
    /// Index of each.
    pub index: Vec<u64>,
}

impl Embedded {
    /// Embeds the simulations of a range, of which `simulations` gives a part at a time.
    ///
    /// # Panics
    ///
    /// If the model has no bank, or its window another width.
    pub fn new(
        model: &Model<'_>,
        range: Range<u64>,
        mut simulations: impl FnMut(Range<u64>) -> Corpus,
    ) -> Embedded {
        let mut all: Option<Embedded> = None;
        let mut start = range.start;
        // An empty range gives one empty part, which has the widths.
        while all.is_none() || start < range.end {
            let end = range.end.min(start + BLOCK);
            let part = Embedded::of(model, &simulations(start..end));
            match &mut all {
                Some(all) => all.append(part),
                None => all = Some(part),
            }
            start = end;
        }
        all.expect("at least one part")
    }

    /// Embeds a corpus.
    ///
    /// # Panics
    ///
    /// If the model has no bank, or its window another width.
    pub fn of(model: &Model<'_>, corpus: &Corpus) -> Embedded {
        let scratch = || vec![0_u32; model.scratch_words()];
        let bank = model.manifest().bank.as_ref().expect("a model with a bank");
        let rows: Vec<Vec<i16>> = corpus
            .x
            .par_chunks_exact(model.d_values())
            .map_init(scratch, |scratch, window| {
                let inference = model.infer(window, scratch).expect("windows of the model's width");
                inference.embedding().to_vec()
            })
            .collect();
        Embedded {
            d: usize::from(bank.embedding.d_output).next_multiple_of(4),
            embedding: rows.concat(),
            mechanism: corpus.mechanism.clone(),
            theta: corpus.theta.clone(),
            weight: corpus.weight.clone().unwrap_or_default(),
            index: corpus.index.clone(),
        }
    }

    /// Number of simulations.
    pub fn len(&self) -> usize {
        self.mechanism.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mechanism.is_empty()
    }

    /// Number of parameters.
    pub fn d_theta(&self) -> usize {
        self.theta.len() / self.len().max(1)
    }

    /// One embedding.
    pub fn row(&self, at: usize) -> &[i16] {
        &self.embedding[at * self.d..][..self.d]
    }

    /// Weight of one simulation.
    pub fn weight(&self, at: usize) -> f64 {
        self.weight.get(at).map_or(1.0, |w| f64::from(*w))
    }

    /// The first `d` dimensions of each embedding.
    pub(super) fn leading(&self, d: usize) -> Vec<i16> {
        self.embedding.chunks_exact(self.d).flat_map(|row| &row[..d]).copied().collect()
    }

    fn append(&mut self, part: Embedded) {
        self.embedding.extend(part.embedding);
        self.mechanism.extend(part.mechanism);
        self.theta.extend(part.theta);
        self.weight.extend(part.weight);
        self.index.extend(part.index);
    }
}
