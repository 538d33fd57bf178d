//! What every example firmware does, whatever its board.
//!
//! A board gives a counter of instructions, a painted stack and an exit; [`answer`], [`streaming`], [`stress`], [`measure`] and
//! [`kernels`] are the programs. None of them allocates.
#![no_std]

pub mod answer;
pub mod bare;
pub mod compiled;
pub mod growth;
pub mod kernels;
pub mod linked;
pub mod measure;
pub mod streaming;
pub mod stress;
