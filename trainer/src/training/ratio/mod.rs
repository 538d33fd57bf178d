//! Likelihood-to-evidence ratio by classification, with or without the exact score.
//!
//! A network `f(x, theta)` is trained to tell joint pairs `(x_i, theta_i)` from marginal pairs, whose theta is another
//! simulation's, by binary cross-entropy; at its optimum `f = log r(x, theta) = log p(x | theta) / p(x)` (Hermans et al. 2020,
//! <https://arxiv.org/abs/1903.04057>, eq. (7)). Since `p(x)` does not depend on theta, the gradient of `log r` with respect to
//! theta is the score `s(x, theta)` of the exact likelihood, at joint and at marginal pairs alike, with the score taken at the
//! pair's own theta. Score-augmented training adds that (Brehmer et al. 2020, <https://arxiv.org/abs/1805.12244>):
//!
//! ```text
//! L_B = mean of BCE over all pairs of a batch
//! L_S = mean over a random part of the pairs of  w (v . (grad_theta f - s))^2
//! step along  grad L_B + lambda grad L_S,   lambda = sqrt(E |grad L_B|^2 / E |grad L_S|^2)
//! ```
//!
//! Where scores of one x are known over the whole prior, their integral is `log r` itself, its constant fixed by
//! `integral p(theta) r(x, theta) = 1`. `r / (1 + r)` then replaces the label of a pair ([`Labels`]): its expectation is what labels of 0 and 1
//! scatter around, at joint and at marginal pairs alike, so that the optimum of `L_B` is the same and its noise is gone. That is
//! ALICE (Stoye et al. 2018) with the ratio of x for that of a latent path.
//!
//! - `v`: random signs over the root mean square `m_k` of each parameter's score at joint pairs. `E (v . e)^2 = sum_k (e_k / m_k)^2`, so
//!   that one direction is an unbiased estimate of all (Hutchinson 1990), and no parameter counts for more because of its unit.
//! - `w = 1 / (1 + mean_k (s_k / m_k)^2)`: at marginal pairs where x is all but impossible, exact scores are orders of magnitude
//!   larger than at any pair that an answer depends on. The weight bounds what one pair contributes and, depending on the pair
//!   alone, moves no optimum.
//! - `lambda`: see [`Weighting`].
//!
//! The derivatives of both losses are written out as matrix products ([`Tail`]): no graph, no pass over the network for
//! each parameter. The score costs three products over twice the scored rows in each layer, which are 1 of 32.

mod activation;
mod fit;
mod matrix;
mod network;
mod pairs;
mod tail;
#[cfg(test)]
mod tests;
mod weighting;
mod workspace;

pub use activation::Activation;
pub(super) use fit::cross_entropy;
pub use fit::{Settings, Trained, Training};
pub use network::{RatioNetwork, Shape};
pub use pairs::{Batch, Contrastive, Labeled, Labels, Pairs, ScoredPairs, ScoredRows, Symmetry};
pub use tail::{Tail, TailLayout, TailShape};
pub(super) use weighting::Balance;
pub use weighting::Weighting;
pub use workspace::{Losses, Workspace};
