//! The plain bank to compare with: prototypes that speak for their own mechanism and parameters alone, with one reach for all.

use simground_runtime::Reach;

use crate::bank::{Bank, Codec, Layout, Selection, Size, Subject, agreement};

/// Bytes that the plain bank lacks: reach, shares, and the moments of each parameter.
fn spared(layout: &Layout) -> usize {
    1 + (layout.mechanisms - 1) + 2 * layout.d_theta
}

/// The plain bank of `d` dimensions, with the common reach that agrees best on validation simulations.
pub(super) fn compress(
    subject: &Subject<'_>,
    layout: &Layout,
    budget: usize,
    d: usize,
    seed: u64,
) -> Bank {
    let novelty_entries = Layout::novelty_entries(budget);
    let each = layout.prototype_bytes(d) - spared(layout);
    let count = (budget - layout.fixed_bytes(d, novelty_entries)) / each;
    let size = Size { d, count, novelty_entries };
    let bank = harden(subject.bank(size, Codec::Int8, Selection::Medoids, seed));
    let (validation, exact) = subject.validation();
    let reaches = (0..=15).flat_map(|high| [0, 4, 8, 12].map(|low| Reach(high << 4 | low)));
    let candidates = reaches.map(|reach| {
        let reaches = vec![reach; bank.len()];
        let bank = Bank { reach_shift: 8, reaches, ..bank.clone() };
        let judged = agreement::judge(&bank, validation, exact);
        (judged.mechanism_tv + judged.theta_distance, bank)
    });
    candidates.min_by(|a, b| a.0.total_cmp(&b.0)).expect("some reach").1
}

/// Bytes of a plain bank.
pub(super) fn bytes(bank: &Bank, layout: &Layout) -> usize {
    bank.bytes(layout) - bank.len() * spared(layout)
}

fn harden(mut bank: Bank) -> Bank {
    let k = bank.num_mechanisms;
    bank.shares.fill(0);
    for (shares, mechanism) in bank.shares.chunks_exact_mut(k).zip(&bank.mechanism) {
        shares[usize::from(*mechanism)] = u8::MAX;
    }
    for (moments, own) in bank.moments.iter_mut().zip(&bank.theta) {
        *moments = [*own, 0];
    }
    bank
}
