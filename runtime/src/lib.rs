//! Integer inference and back-to-simulation attribution for simulation-grounded neural networks.
//!
//! ```text
//! bytes --Model::from_bytes--> Model --infer--> Inference --+--> mechanism_posterior, quantiles, point, mixture, flow, ratio
//!          proves every bound          integers             +--> attribute: nearest simulations, novelty --Drift--> alarm
//! ```
//!
//! [`Model::from_bytes`] treats its bytes as hostile and proves, once, everything that the rest relies on.
//! After it, [`Model::infer`] refuses only a wrong length, and no function of this crate panics,
//! allocates, or gives another bit on another core.
//!
//! ```
//! use simground_runtime::{ArtifactError, Model, include_model};
//!
//! let bytes = include_model!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/small.sgnn"));
//! let model = Model::from_bytes(bytes)?;
//! let mut scratch = [0_u32; 512]; // model.scratch_words() or more, from anywhere
//! assert!(model.scratch_words() <= scratch.len());
//! model.self_test(&mut scratch).unwrap();
//!
//! let window = [3.0, 8.0, 26.0, 76.0, 225.0, 298.0, f32::NAN, 233.0, 189.0, 128.0, 68.0, 29.0, 14.0, 4.0];
//! let mut inference = model.infer(&window, &mut scratch).unwrap();
//! assert_eq!(inference.input_report().missing, 1);
//! let mechanisms = inference.mechanism_posterior().unwrap();
//! assert!((mechanisms.iter().sum::<f32>() - 1.0).abs() < 1e-5);
//! let quantiles = inference.quantiles(0).unwrap();
//! assert!(quantiles.is_sorted());
//! let attribution = inference.attribute::<5>().unwrap();
//! assert!(attribution.nearest[0].squared_distance <= attribution.nearest[1].squared_distance);
//!
//! // A file that was cut says so, and by how much.
//! assert!(matches!(
//!     Model::from_bytes(&bytes[..8]),
//!     Err(ArtifactError::Truncated { needed: 32, found: 8 })
//! ));
//! # Ok::<(), ArtifactError>(())
//! ```
//!
//! A model that is a part of its firmware, and never replaced without it, can be proved before that is built: [`compiled`].
//!
//! # Features
//!
//! - `defmt`: `defmt::Format` for errors and answers.
//! - `dsp`: the Armv8-M core has the DSP extension. Faster kernels, the same bits; on a core without it they fault.
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

pub mod additions;
pub mod artifact;
mod attribution;
mod checksum;
pub mod compiled;
mod conditional;
mod decode;
mod dense;
mod drift;
mod error;
mod head;
mod input;
pub mod kernel;
mod math;
mod network;
mod reach;
mod requantize;
mod self_test;

pub use additions::{
    Addition, Additions, AdditionsError, Appended, BankPart, GrownAttribution, GrownNearest,
    GrowthError, Label, MechanismShare,
};
pub use artifact::Model;
pub use attribution::{Attribution, Nearest, THETA_ABSENT, ThetaSummary};
pub use dense::{DenseShape, row_bound};
pub use drift::Drift;
pub use error::{ArtifactError, InputError, Part, SelfTestError};
pub use head::cut::{Cut, MEAN_REACH};
pub use head::flow::{Flow, integrate};
pub use head::gaussians::{Ends, Gaussian, Gaussians, LOG_PRECISION_RANGE, Outputs};
pub use head::mixture::MixturePosterior;
pub use head::quantiles::rearrange;
pub use head::ratio::{Axis, ConfidenceSet, Maximum, Ratio};
pub use input::InputReport;
pub use kernel::Ranked;
pub use math::normal_of_bits;
pub use network::Inference;
pub use reach::{Reach, kernel_weight};
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
/// ```
/// static MODEL: &[u8] =
///     simground_runtime::include_model!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/small.sgnn"));
/// assert_eq!(MODEL.as_ptr().addr() % 16, 0);
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
