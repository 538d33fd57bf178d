//! Integer inference and back-to-simulation attribution for simulation-grounded neural networks.
//!
//! ```text
//! bytes --Model::from_bytes--> Model --infer--> Inference --+--> mechanism_posterior, quantiles
//!          proves every bound          integers             +--> attribute: nearest simulations, novelty
//! ```
//!
//! [`Model::from_bytes`] treats its bytes as hostile and proves, once, everything that the rest relies on.
//! After it, [`Model::infer`] refuses only a wrong length, and no function of this crate panics,
//! allocates, or gives another bit on another core.
//!
//! ```
//! use simground_runtime::{ArtifactError, Model};
//!
//! // A file that was cut says so, and by how much.
//! let cut = b"SGNN\x01\x00\x00\x00";
//! assert!(matches!(
//!     Model::from_bytes(cut),
//!     Err(ArtifactError::Truncated { needed: 32, found: 8 })
//! ));
//! ```
//!
//! # Features
//!
//! - `defmt`: `defmt::Format` for errors and answers.
//! - `micromath`: coarser, faster transcendental functions between raw units and integers. Answers may
//!   differ from those of `libm`, never between targets.
#![no_std]
#![deny(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

pub mod artifact;
mod attribution;
mod dense;
mod error;
mod head;
mod input;
pub mod kernel;
mod math;
mod network;
mod requantize;
mod self_test;

pub use artifact::Model;
pub use attribution::{Attribution, Nearest, Ranked, THETA_ABSENT, ThetaSummary, kernel_weight};
pub use dense::{DenseShape, row_bound};
pub use error::{ArtifactError, InputError, Part, SelfTestError};
pub use head::quantiles::rearrange;
pub use input::InputReport;
pub use network::Inference;
pub use requantize::requantize;
pub use self_test::Checksums;

/// The first `N` items. Collecting into a `heapless::Vec` would panic past its capacity, which the proof of the bounds
/// rules out but the compiler cannot see.
pub(crate) fn first_items<T, const N: usize>(
    items: impl Iterator<Item = T>,
) -> heapless::Vec<T, N> {
    let mut first = heapless::Vec::new();
    for item in items {
        if first.push(item).is_err() {
            break;
        }
    }
    first
}

/// Embeds an artifact in flash at an alignment that every kernel accepts.
///
/// Evaluates to a `&'static [u8]`; the path is relative to the file it stands in, as for `include_bytes!`.
///
/// ```ignore
/// static MODEL: &[u8] = simground_runtime::include_model!("outbreak.sgnn");
/// ```
#[macro_export]
macro_rules! include_model {
    ($path:expr) => {{
        #[repr(C, align(16))]
        struct Aligned<T: ?Sized>(T);
        static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        &ALIGNED.0
    }};
}
