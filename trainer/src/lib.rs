//! From a study to an artifact that a microcontroller answers from.
//!
//! ```text
//! study -> simulator -> corpus -> training -> quantization -> embedding, bank -> artifact -> evaluation
//! ```
//!
//! [`pipeline`] walks the whole way; every other module is one stage and knows only the type that its left neighbor hands over.

pub mod artifact;
pub mod bank;
pub mod comparison;
pub mod contrast;
pub mod corpus;
pub mod disk;
pub mod embedding;
pub mod evaluation;
pub mod explanation;
pub mod float_model;
pub mod flow_path;
pub mod growth;
pub mod head;
pub mod input_table;
pub mod named;
pub mod network;
pub mod parquet_file;
pub mod picture;
pub mod pipeline;
pub mod posterior_calibration;
pub mod proposal;
pub mod quantization;
pub mod records;
pub mod replay;
pub mod report;
pub mod reproduce;
pub mod samples;
pub mod simulator;
pub mod source;
pub mod standardization;
pub mod study;
pub mod training;
