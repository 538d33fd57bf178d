//! Bytes and sizes of a bank.

use super::Codec;

/// What one prototype and the bank as a whole take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Width of the hidden layer that the embedding reads.
    pub d_hidden: usize,
    /// Most dimensions that the embedding has.
    pub d_embed: usize,
    /// Number of mechanisms.
    pub mechanisms: usize,
    /// Number of parameters.
    pub d_theta: usize,
    /// Bytes of a simulation's index.
    pub index_bytes: usize,
    /// How embeddings are stored.
    pub codec: Codec,
}

impl Layout {
    /// Bytes of one prototype: embedding, mechanism, mass, reach, shares of all mechanisms but the last, index, parameters, their moments.
    pub fn prototype_bytes(&self, d: usize) -> usize {
        let each = 1 + 2 + 1 + (self.mechanisms - 1) + self.index_bytes + 3 * self.d_theta;
        self.codec.prototype_bytes(d) + each
    }

    /// Entries of the novelty table: a sixteenth of the budget, p-values in steps of at most 1/16.
    pub fn novelty_entries(budget: usize) -> usize {
        (budget / 64).saturating_sub(1).clamp(15, 255)
    }

    /// Bytes that do not depend on the number of prototypes: the embedding's layer, codebooks and the novelty table.
    pub fn fixed_bytes(&self, d: usize, novelty_entries: usize) -> usize {
        let block = self.d_hidden.next_multiple_of(4) * 4 + 32;
        block * d.div_ceil(4) + self.codec.codebook_bytes(d) + 4 * novelty_entries
    }

    /// Prototypes that a budget holds.
    pub fn prototypes(&self, d: usize, budget: usize) -> usize {
        let fixed = self.fixed_bytes(d, Layout::novelty_entries(budget));
        budget.saturating_sub(fixed) / self.prototype_bytes(d)
    }
}

/// How large a bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Leading dimensions of the embedding that it uses, a multiple of four.
    pub d: usize,
    /// Prototypes; a few less where the corpus repeats itself.
    pub count: usize,
    /// Entries of the novelty table.
    pub novelty_entries: usize,
}
