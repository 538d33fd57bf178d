//! What can be wrong with a region of additions, split by who can fix it: the bytes, or the call.

use core::fmt;

/// The bytes hold no additions to this model. Nothing of them is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AdditionsError {
    /// The model has no bank to add to.
    NoBank,
    /// The region is erased: write [`Additions::header`](crate::Additions::header) to its start.
    Blank,
    /// The first four bytes are not `SGAD`.
    NotAdditions {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A format version that this runtime does not read.
    UnsupportedVersion {
        /// Version in the header.
        found: u16,
        /// Newest version that this runtime reads.
        supported: u16,
    },
    /// The region has no room for the header.
    Truncated {
        /// Bytes of a header.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// A bit of the header changed.
    ChecksumMismatch {
        /// CRC-32 in the header.
        expected: u32,
        /// CRC-32 of its bytes.
        found: u32,
    },
    /// The additions were made with another artifact, in whose space their embeddings lie: label the windows anew.
    OtherArtifact {
        /// Fingerprint of the model.
        expected: u32,
        /// Fingerprint in the header.
        found: u32,
    },
    /// A number of the header does not fit the model, or a prior for a new one is not 1 to 4,096 observations.
    Shape,
}

/// The call does not fit the model or the region. Fix the code, or erase the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum GrowthError {
    /// The inference is of another model than the additions.
    OtherModel,
    /// A mechanism past the last that a region can add, or one of the artifact's where a new one is to be named.
    Mechanism {
        /// The mechanism.
        found: u8,
        /// Mechanisms of the artifact.
        known: u8,
        /// Past the last that a region can add.
        end: u8,
    },
    /// A count of zero.
    Count,
    /// Another number of parameters than the bank's.
    WrongWidth {
        /// Parameters of the bank.
        needed: usize,
        /// Parameters that were passed.
        found: usize,
    },
    /// A parameter outside the range of the bank's codes, which is that of the simulations.
    Theta {
        /// Its position.
        parameter: usize,
    },
    /// An empty name, or one that is too long for a record.
    Name {
        /// Most bytes.
        most: usize,
        /// Bytes that were passed.
        found: usize,
    },
    /// Every slot is written: compact into another page with [`Additions::compact`](crate::Additions::compact), or erase.
    Full {
        /// Records for which the region has room.
        capacity: usize,
    },
    /// No labeled window in force has this number.
    NotInForce {
        /// The record.
        record: u16,
    },
    /// A buffer of the caller's is too short.
    RoomTooSmall {
        /// Bytes of a record or a region, or words of weights.
        needed: usize,
        /// What was passed.
        found: usize,
    },
}

impl AdditionsError {
    /// A number that stays the same from version to version: what the C interface returns.
    pub const fn code(self) -> u8 {
        match self {
            Self::NoBank => 43,
            Self::Blank => 16,
            Self::NotAdditions { .. } => 17,
            Self::UnsupportedVersion { .. } => 2,
            Self::Truncated { .. } => 4,
            Self::ChecksumMismatch { .. } => 6,
            Self::OtherArtifact { .. } => 18,
            Self::Shape => 10,
        }
    }
}

impl GrowthError {
    /// A number that stays the same from version to version: what the C interface returns.
    pub const fn code(self) -> u8 {
        match self {
            Self::OtherModel => 34,
            Self::Mechanism { .. } => 35,
            Self::Count => 36,
            Self::WrongWidth { .. } => 32,
            Self::Theta { .. } => 37,
            Self::Name { .. } => 38,
            Self::Full { .. } => 39,
            Self::NotInForce { .. } => 43,
            Self::RoomTooSmall { .. } => 42,
        }
    }
}

impl fmt::Display for AdditionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBank => f.write_str("the model has no bank to add to"),
            Self::Blank => f.write_str("the region is erased and has no header"),
            Self::NotAdditions { found } => {
                write!(f, "not a region of additions: starts with {found:02x?} instead of \"SGAD\"")
            }
            Self::UnsupportedVersion { found, supported } => {
                write!(f, "format version {found}, but this runtime reads up to {supported}")
            }
            Self::Truncated { needed, found } => {
                write!(f, "{found} bytes where the header alone has {needed}")
            }
            Self::ChecksumMismatch { expected, found } => {
                write!(f, "checksum {found:#010x} instead of {expected:#010x}: the header changed")
            }
            Self::OtherArtifact { expected, found } => write!(
                f,
                "additions to another artifact: fingerprint {found:#010x} instead of {expected:#010x}"
            ),
            Self::Shape => f.write_str("a number of the header does not fit the model"),
        }
    }
}

impl fmt::Display for GrowthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherModel => f.write_str("the inference is of another model than the additions"),
            Self::Mechanism { found, known, end } => write!(
                f,
                "mechanism {found}, where the artifact has 0 to {} and a region can add {known} to {}",
                known.saturating_sub(1),
                end.saturating_sub(1)
            ),
            Self::Count => f.write_str("a number of observations outside its range"),
            Self::WrongWidth { needed, found } => {
                write!(f, "{found} parameters where the bank has {needed}")
            }
            Self::Theta { parameter } => {
                write!(f, "parameter {parameter} lies outside the range of the simulations")
            }
            Self::Name { most, found } => {
                write!(f, "a name of {found} bytes where a record has room for 1 to {most}")
            }
            Self::Full { capacity } => write!(f, "all {capacity} records are written"),
            Self::NotInForce { record } => {
                write!(f, "no labeled window in force is record {record}")
            }
            Self::RoomTooSmall { needed, found } => {
                write!(f, "room for {found} where {needed} are needed")
            }
        }
    }
}

impl core::error::Error for AdditionsError {}
impl core::error::Error for GrowthError {}
