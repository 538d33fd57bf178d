//! What can be wrong, split by who can fix it: the bytes (export again) or the call (fix the code).

use core::fmt;

/// The part of an artifact that an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Part {
    /// Names, shapes and layout.
    Manifest,
    /// Input transform.
    Input,
    /// A layer of the trunk, by position.
    Trunk(u8),
    /// A head, by position.
    Head(u8),
    /// The embedding layer of the bank.
    Embedding,
    /// Prototype vectors, masses, parameters, mechanisms.
    Bank,
    /// Table of held-out distances.
    Novelty,
    /// Self-test vectors.
    SelfTest,
    /// Where the artifact comes from.
    Provenance,
}

/// The bytes are not an artifact that this version can run. Export again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ArtifactError {
    /// The first four bytes are not `SGNN`.
    NotAnArtifact {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A format version that this runtime does not read.
    UnsupportedVersion {
        /// Version in the file.
        found: u16,
        /// Newest version that this runtime reads.
        supported: u16,
    },
    /// A flag whose meaning this runtime does not know.
    UnknownFlags {
        /// All flags of the file.
        found: u16,
    },
    /// The file was cut.
    Truncated {
        /// Bytes that the file says it has.
        needed: u32,
        /// Bytes there are.
        found: u32,
    },
    /// Bytes follow the artifact's end.
    TrailingBytes {
        /// Bytes that the file says it has.
        expected: u32,
        /// Bytes there are.
        found: u32,
    },
    /// A bit changed.
    ChecksumMismatch {
        /// CRC-32 in the prelude.
        expected: u32,
        /// CRC-32 of the bytes.
        found: u32,
    },
    /// The bytes do not lie at an address that this core's kernels can read.
    Misaligned {
        /// Alignment in bytes that the kernels need; [`include_model!`](crate::include_model) gives it.
        needed: u32,
    },
    /// The lengths in the prelude contradict each other.
    Prelude,
    /// Bytes that do not decode as the manifest.
    Undecodable(Part),
    /// A shape of zero, over a limit, or that does not fit its neighbor.
    Shape(Part),
    /// A section outside the tensors, or of another length than its shape asks.
    Section {
        /// Whose section.
        part: Part,
        /// Bytes that the shape asks.
        needed: u32,
        /// Bytes that the section has.
        found: u32,
    },
    /// A section that does not start at a multiple of 16 bytes.
    SectionAlignment(Part),
    /// A row of weights for which an accumulator could leave its range.
    AccumulatorBound {
        /// Whose row.
        part: Part,
        /// The row.
        row: u16,
    },
    /// A number outside its legal range (not finite, negative scale, unsorted table ...).
    Value(Part),
}

/// The call does not fit the model. Fix the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InputError {
    /// The window has another number of values than the model's input.
    WrongWidth {
        /// Values that the model takes.
        needed: usize,
        /// Values that were passed.
        found: usize,
    },
    /// The scratch buffer is too small; [`Model::scratch_words`](crate::Model::scratch_words) tells its size.
    ScratchTooSmall {
        /// Words that the model takes.
        needed: usize,
        /// Words that were passed.
        found: usize,
    },
}

/// This device does not compute what the exporting host computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SelfTestError {
    /// The call itself was wrong.
    Call(InputError),
    /// The input transform gave other integers for this vector.
    Input {
        /// The self-test vector.
        vector: u16,
    },
    /// Network, embedding or attribution gave other integers for this vector.
    Integers {
        /// The self-test vector.
        vector: u16,
    },
    /// The answers in physical units have other bits for this vector.
    Answers {
        /// The self-test vector.
        vector: u16,
    },
}

impl ArtifactError {
    /// A number that stays the same from version to version: what the C interface returns.
    pub const fn code(self) -> u8 {
        match self {
            Self::NotAnArtifact { .. } => 1,
            Self::UnsupportedVersion { .. } => 2,
            Self::UnknownFlags { .. } => 3,
            Self::Truncated { .. } => 4,
            Self::TrailingBytes { .. } => 5,
            Self::ChecksumMismatch { .. } => 6,
            Self::Misaligned { .. } => 7,
            Self::Prelude => 8,
            Self::Undecodable(_) => 9,
            Self::Shape(_) => 10,
            Self::Section { .. } => 11,
            Self::SectionAlignment(_) => 12,
            Self::AccumulatorBound { .. } => 13,
            Self::Value(_) => 14,
        }
    }
}

impl InputError {
    /// A number that stays the same from version to version: what the C interface returns.
    pub const fn code(self) -> u8 {
        match self {
            Self::WrongWidth { .. } => 32,
            Self::ScratchTooSmall { .. } => 33,
        }
    }
}

impl SelfTestError {
    /// A number that stays the same from version to version: what the C interface returns.
    pub const fn code(self) -> u8 {
        match self {
            Self::Call(error) => error.code(),
            Self::Input { .. } => 48,
            Self::Integers { .. } => 49,
            Self::Answers { .. } => 50,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Manifest => f.write_str("manifest"),
            Part::Input => f.write_str("input transform"),
            Part::Trunk(layer) => write!(f, "trunk layer {layer}"),
            Part::Head(head) => write!(f, "head {head}"),
            Part::Embedding => f.write_str("embedding layer"),
            Part::Bank => f.write_str("bank"),
            Part::Novelty => f.write_str("novelty table"),
            Part::SelfTest => f.write_str("self-test vectors"),
            Part::Provenance => f.write_str("provenance"),
        }
    }
}

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnArtifact { found } => {
                write!(f, "not an artifact: starts with {found:02x?} instead of \"SGNN\"")
            }
            Self::UnsupportedVersion { found, supported } => {
                write!(f, "format version {found}, but this runtime reads up to {supported}")
            }
            Self::UnknownFlags { found } => write!(f, "unknown flags {found:#06x}"),
            Self::Truncated { needed, found } => {
                write!(f, "cut: {found} of {needed} bytes")
            }
            Self::TrailingBytes { expected, found } => {
                write!(f, "{found} bytes where the artifact ends at {expected}")
            }
            Self::ChecksumMismatch { expected, found } => {
                write!(f, "checksum {found:#010x} instead of {expected:#010x}: the bytes changed")
            }
            Self::Misaligned { needed } => {
                write!(f, "bytes must lie at a multiple of {needed}: use include_model!")
            }
            Self::Prelude => f.write_str("lengths in the prelude contradict each other"),
            Self::Undecodable(part) => write!(f, "{part} does not decode"),
            Self::Shape(part) => write!(f, "shape of {part} is zero, too large or does not fit"),
            Self::Section { part, needed, found } => {
                write!(f, "section of {part} has {found} bytes where its shape asks {needed}")
            }
            Self::SectionAlignment(part) => {
                write!(f, "a section of {part} does not start at a multiple of 16")
            }
            Self::AccumulatorBound { part, row } => {
                write!(f, "an accumulator of {part}, row {row}, could overflow")
            }
            Self::Value(part) => write!(f, "a number of {part} is outside its range"),
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongWidth { needed, found } => {
                write!(f, "{found} values where the model takes {needed}")
            }
            Self::ScratchTooSmall { needed, found } => {
                write!(f, "scratch of {found} words where the model takes {needed}")
            }
        }
    }
}

impl fmt::Display for SelfTestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Input { vector } => {
                write!(f, "self-test vector {vector}: the input transform differs")
            }
            Self::Integers { vector } => {
                write!(f, "self-test vector {vector}: the integers differ")
            }
            Self::Answers { vector } => write!(f, "self-test vector {vector}: the answers differ"),
        }
    }
}

impl core::error::Error for ArtifactError {}
impl core::error::Error for InputError {}
impl core::error::Error for SelfTestError {}
