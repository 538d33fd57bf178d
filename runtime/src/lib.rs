//! Integer inference and attribution for simulation-grounded neural networks.
#![no_std]
