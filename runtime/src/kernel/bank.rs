//! Searches of the bank by routines in assembly: what those are given, and what they rely on.

use core::marker::PhantomData;

use heapless::Vec;

#[cfg(kernel = "armv6m")]
use super::armv6m::bank as routines;
#[cfg(any(kernel = "armv7em", kernel = "helium"))]
use super::armv7em::bank as routines;
#[cfg(kernel = "armv7m")]
use super::armv7m::bank as routines;
use super::{Ranked, Ranking, portable};

/// Widest query that the routines take; the definition answers for a wider one.
pub(super) const MAX_WIDTH: usize = 32;

/// Vectors as the routines take them.
///
/// From `first` to `end` lie whole vectors, one or more, each of `words` words, 1 to `MAX_WIDTH / 4`; `first` is aligned to
/// four bytes.
pub(super) struct Bank<'a> {
    pub first: *const u8,
    pub end: *const u8,
    pub words: usize,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> Bank<'a> {
    /// Vectors of `width` values; `None` where the definition has to answer.
    #[inline]
    fn new(vectors: &'a [u8], width: usize) -> Option<Self> {
        let sound = width.is_multiple_of(4)
            && (4..=MAX_WIDTH).contains(&width)
            && vectors.as_ptr().addr().is_multiple_of(4)
            && vectors.len() >= width;
        if !sound {
            return None;
        }
        let rest = vectors.len().checked_rem(width)?;
        let whole = vectors.get(..vectors.len().wrapping_sub(rest))?.as_ptr_range();
        let (words, borrow) = (width.wrapping_shr(2), PhantomData);
        Some(Bank { first: whole.start, end: whole.end, words, borrow })
    }

    /// The position of a vector whose name is the address behind it.
    fn position(&self, name: u32) -> u32 {
        let behind = usize::try_from(name).unwrap_or(0);
        let words = behind.wrapping_sub(self.first.addr()).wrapping_shr(2);
        let vectors = match self.words {
            // Armv6-M cannot divide.
            4 if cfg!(kernel = "armv6m") => words.wrapping_shr(2),
            _ => words.checked_div(self.words).unwrap_or(0),
        };
        u32::try_from(vectors).unwrap_or(0).wrapping_sub(1)
    }
}

/// See [`portable::nearest`].
pub fn nearest<const K: usize>(vectors: &[u8], query: &[i16]) -> Vec<Ranked, K> {
    let Some(bank) = Bank::new(vectors, query.len()) else {
        return portable::nearest(vectors, query);
    };
    let mut ranking = Ranking::<K>::new();
    let mut prepared = [0; _];
    routines::prepare(query, &mut prepared);
    if let Some(last) = ranking.last() {
        routines::rank(&bank, &prepared, last);
    }
    for place in ranking.taken() {
        place.prototype = bank.position(place.prototype);
    }
    ranking.finish()
}

/// See [`portable::squared_distances`].
pub fn squared_distances(vectors: &[u8], query: &[i16], out: &mut [u32]) {
    let Some(bank) = Bank::new(vectors, query.len()) else {
        return portable::squared_distances(vectors, query, out);
    };
    let mut prepared = [0; _];
    routines::prepare(query, &mut prepared);
    let count = vectors.len().checked_div(query.len()).unwrap_or(0).min(out.len());
    if let Some(out) = out.get_mut(..count).filter(|out| !out.is_empty()) {
        routines::distances(&bank, &prepared, out);
    }
}
