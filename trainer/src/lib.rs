//! From a study to an artifact: `simulator -> corpus -> training -> quantization -> bank -> artifact`.

pub mod corpus;
pub mod simulator;
pub mod study;
