//! From a study to an artifact: `simulator -> corpus -> training -> quantization -> bank -> artifact`.

pub mod network;
pub mod training;
