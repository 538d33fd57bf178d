//! One number for each thing that can be wrong, and its text.

use core::ffi::{CStr, c_char};

use simground_runtime::{AdditionsError, ArtifactError, InputError, Part, SelfTestError};

/// What a call came to. 1 to 31: the bytes, export again. 32 to 47: the call, fix the code. 48 to 63: this device.
///
/// The numbers stay the same from version to version.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "C's names")]
pub enum simground_status {
    /// All is well.
    SIMGROUND_OK = 0,
    /// The first four bytes are not `SGNN`.
    SIMGROUND_NOT_AN_ARTIFACT = 1,
    /// A format version that this library does not read.
    SIMGROUND_UNSUPPORTED_VERSION = 2,
    /// A flag whose meaning this library does not know.
    SIMGROUND_UNKNOWN_FLAGS = 3,
    /// The file was cut.
    SIMGROUND_TRUNCATED = 4,
    /// Bytes follow the artifact's end.
    SIMGROUND_TRAILING_BYTES = 5,
    /// A bit changed.
    SIMGROUND_CHECKSUM_MISMATCH = 6,
    /// The bytes lie at an address that this core's kernels cannot read: align the array to 16.
    SIMGROUND_MISALIGNED = 7,
    /// The lengths in the prelude contradict each other.
    SIMGROUND_PRELUDE = 8,
    /// Bytes that do not decode as the manifest.
    SIMGROUND_UNDECODABLE = 9,
    /// A shape of zero, over a limit, or that does not fit its neighbor.
    SIMGROUND_SHAPE = 10,
    /// A section outside the tensors, or of another length than its shape asks.
    SIMGROUND_SECTION = 11,
    /// A section that does not start at a multiple of 16 bytes.
    SIMGROUND_SECTION_ALIGNMENT = 12,
    /// A row of weights for which an accumulator could leave its range.
    SIMGROUND_ACCUMULATOR_BOUND = 13,
    /// A number outside its legal range.
    SIMGROUND_VALUE = 14,
    /// The region of additions is erased: write a header to its start.
    SIMGROUND_BLANK = 16,
    /// The first four bytes are not `SGAD`.
    SIMGROUND_NOT_ADDITIONS = 17,
    /// The additions were made with another artifact.
    SIMGROUND_OTHER_ARTIFACT = 18,
    /// An artifact is wrong in a way that only a newer header names.
    SIMGROUND_ARTIFACT = 31,
    /// The window has another number of values than the model's input.
    SIMGROUND_WRONG_WIDTH = 32,
    /// The scratch buffer is too small; `simground_scratch_words` tells its size.
    SIMGROUND_SCRATCH_TOO_SMALL = 33,
    /// The inference is of another model than the additions.
    SIMGROUND_OTHER_MODEL = 34,
    /// A mechanism past the last that a region can add, or one of the model's where a new one is to be named.
    SIMGROUND_MECHANISM = 35,
    /// A label that counts for nothing.
    SIMGROUND_COUNT = 36,
    /// A parameter of a label outside the range of the simulations.
    SIMGROUND_THETA = 37,
    /// A name that is empty, too long for a record, or not UTF-8.
    SIMGROUND_NAME = 38,
    /// Every record of the region is written: compact it, or erase it.
    SIMGROUND_FULL = 39,
    /// A pointer that must not be null is null, or is not aligned for its type.
    SIMGROUND_POINTER = 40,
    /// The model, inference, attribution or additions were not made by a call that returned `SIMGROUND_OK`.
    SIMGROUND_NOT_READY = 41,
    /// An array is too short for the answer, or longer than the library supports.
    SIMGROUND_LENGTH = 42,
    /// The model has no such head, target or bank; the region no such record or name.
    SIMGROUND_ABSENT = 43,
    /// A call is wrong in a way that only a newer header names.
    SIMGROUND_CALL = 47,
    /// Self-test: the input transform gave other integers.
    SIMGROUND_SELF_TEST_INPUT = 48,
    /// Self-test: network, embedding or attribution gave other integers.
    SIMGROUND_SELF_TEST_INTEGERS = 49,
    /// Self-test: the answers in physical units have other bits.
    SIMGROUND_SELF_TEST_ANSWERS = 50,
    /// Self-test: failed in a way that only a newer header names.
    SIMGROUND_SELF_TEST = 63,
}

impl simground_status {
    /// Every status.
    pub const ALL: &[simground_status] = &[
        simground_status::SIMGROUND_OK,
        simground_status::SIMGROUND_NOT_AN_ARTIFACT,
        simground_status::SIMGROUND_UNSUPPORTED_VERSION,
        simground_status::SIMGROUND_UNKNOWN_FLAGS,
        simground_status::SIMGROUND_TRUNCATED,
        simground_status::SIMGROUND_TRAILING_BYTES,
        simground_status::SIMGROUND_CHECKSUM_MISMATCH,
        simground_status::SIMGROUND_MISALIGNED,
        simground_status::SIMGROUND_PRELUDE,
        simground_status::SIMGROUND_UNDECODABLE,
        simground_status::SIMGROUND_SHAPE,
        simground_status::SIMGROUND_SECTION,
        simground_status::SIMGROUND_SECTION_ALIGNMENT,
        simground_status::SIMGROUND_ACCUMULATOR_BOUND,
        simground_status::SIMGROUND_VALUE,
        simground_status::SIMGROUND_BLANK,
        simground_status::SIMGROUND_NOT_ADDITIONS,
        simground_status::SIMGROUND_OTHER_ARTIFACT,
        simground_status::SIMGROUND_ARTIFACT,
        simground_status::SIMGROUND_WRONG_WIDTH,
        simground_status::SIMGROUND_SCRATCH_TOO_SMALL,
        simground_status::SIMGROUND_OTHER_MODEL,
        simground_status::SIMGROUND_MECHANISM,
        simground_status::SIMGROUND_COUNT,
        simground_status::SIMGROUND_THETA,
        simground_status::SIMGROUND_NAME,
        simground_status::SIMGROUND_FULL,
        simground_status::SIMGROUND_POINTER,
        simground_status::SIMGROUND_NOT_READY,
        simground_status::SIMGROUND_LENGTH,
        simground_status::SIMGROUND_ABSENT,
        simground_status::SIMGROUND_CALL,
        simground_status::SIMGROUND_SELF_TEST_INPUT,
        simground_status::SIMGROUND_SELF_TEST_INTEGERS,
        simground_status::SIMGROUND_SELF_TEST_ANSWERS,
        simground_status::SIMGROUND_SELF_TEST,
    ];

    fn message(self) -> &'static CStr {
        match self {
            Self::SIMGROUND_OK => c"ok",
            Self::SIMGROUND_NOT_AN_ARTIFACT => {
                c"not an artifact: the first four bytes are not SGNN"
            }
            Self::SIMGROUND_UNSUPPORTED_VERSION => {
                c"a format version that this library does not read"
            }
            Self::SIMGROUND_UNKNOWN_FLAGS => c"unknown flags",
            Self::SIMGROUND_TRUNCATED => c"the artifact was cut",
            Self::SIMGROUND_TRAILING_BYTES => c"bytes follow the artifact's end",
            Self::SIMGROUND_CHECKSUM_MISMATCH => c"checksum mismatch: the bytes changed",
            Self::SIMGROUND_MISALIGNED => c"the artifact is not aligned: align its array to 16",
            Self::SIMGROUND_PRELUDE => c"lengths in the prelude contradict each other",
            Self::SIMGROUND_UNDECODABLE => c"the manifest does not decode",
            Self::SIMGROUND_SHAPE => c"a shape is zero, too large or does not fit",
            Self::SIMGROUND_SECTION => c"a section has another length than its shape asks",
            Self::SIMGROUND_SECTION_ALIGNMENT => c"a section does not start at a multiple of 16",
            Self::SIMGROUND_ACCUMULATOR_BOUND => c"an accumulator could overflow",
            Self::SIMGROUND_VALUE => c"a number is outside its range",
            Self::SIMGROUND_BLANK => c"the region of additions is erased and has no header",
            Self::SIMGROUND_NOT_ADDITIONS => {
                c"not a region of additions: the first four bytes are not SGAD"
            }
            Self::SIMGROUND_OTHER_ARTIFACT => c"the additions were made with another artifact",
            Self::SIMGROUND_ARTIFACT => c"the artifact is refused",
            Self::SIMGROUND_WRONG_WIDTH => {
                c"the window has another number of values than the model takes"
            }
            Self::SIMGROUND_SCRATCH_TOO_SMALL => c"the scratch buffer is too small",
            Self::SIMGROUND_OTHER_MODEL => c"the inference is of another model than the additions",
            Self::SIMGROUND_MECHANISM => {
                c"a mechanism past the last that a region can add, or not one of its own"
            }
            Self::SIMGROUND_COUNT => c"a label that counts for nothing",
            Self::SIMGROUND_THETA => {
                c"a parameter of a label lies outside the range of the simulations"
            }
            Self::SIMGROUND_NAME => c"a name is empty, too long for a record, or not UTF-8",
            Self::SIMGROUND_FULL => c"every record of the region is written",
            Self::SIMGROUND_POINTER => c"a pointer is null or not aligned for its type",
            Self::SIMGROUND_NOT_READY => c"the object was not made by a call that succeeded",
            Self::SIMGROUND_LENGTH => c"an array is too short for the answer, or too long",
            Self::SIMGROUND_ABSENT => {
                c"the model has no such head, target or bank, or the region no such record or name"
            }
            Self::SIMGROUND_CALL => c"the call does not fit the model",
            Self::SIMGROUND_SELF_TEST_INPUT => {
                c"self-test: the input transform differs from the host's"
            }
            Self::SIMGROUND_SELF_TEST_INTEGERS => c"self-test: the integers differ from the host's",
            Self::SIMGROUND_SELF_TEST_ANSWERS => c"self-test: the answers differ from the host's",
            Self::SIMGROUND_SELF_TEST => c"self-test: failed",
        }
    }
}

impl simground_status {
    pub(crate) fn with_code(code: u8, otherwise: simground_status) -> simground_status {
        let same = |status: &&simground_status| **status as i32 == i32::from(code);
        simground_status::ALL.iter().find(same).copied().unwrap_or(otherwise)
    }
}

impl From<ArtifactError> for simground_status {
    fn from(error: ArtifactError) -> Self {
        simground_status::with_code(error.code(), simground_status::SIMGROUND_ARTIFACT)
    }
}

impl From<InputError> for simground_status {
    fn from(error: InputError) -> Self {
        simground_status::with_code(error.code(), simground_status::SIMGROUND_CALL)
    }
}

impl From<SelfTestError> for simground_status {
    fn from(error: SelfTestError) -> Self {
        simground_status::with_code(error.code(), simground_status::SIMGROUND_SELF_TEST)
    }
}

/// The text of a status, in English, ended by a zero byte, never freed. Any number has one.
#[unsafe(no_mangle)]
pub extern "C" fn simground_error_message(status: i32) -> *const c_char {
    let same = |known: &&simground_status| **known as i32 == status;
    let known = simground_status::ALL.iter().find(same);
    known.map_or(c"unknown status", |status| status.message()).as_ptr()
}

/// The part of an artifact that an error speaks of.
///
/// The numbers stay the same from version to version.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "C's names")]
pub enum simground_part {
    /// The file as a whole, or the call.
    SIMGROUND_PART_NONE = 0,
    /// Names, shapes and layout.
    SIMGROUND_PART_MANIFEST = 1,
    /// Input transform.
    SIMGROUND_PART_INPUT = 2,
    /// A layer of the trunk.
    SIMGROUND_PART_TRUNK = 3,
    /// A head.
    SIMGROUND_PART_HEAD = 4,
    /// The embedding layer of the bank.
    SIMGROUND_PART_EMBEDDING = 5,
    /// Prototype vectors, masses, parameters, mechanisms.
    SIMGROUND_PART_BANK = 6,
    /// Table of held-out distances.
    SIMGROUND_PART_NOVELTY = 7,
    /// Self-test vectors.
    SIMGROUND_PART_SELF_TEST = 8,
    /// Where the artifact comes from.
    SIMGROUND_PART_PROVENANCE = 9,
    /// A part that only a newer header names.
    SIMGROUND_PART_OTHER = 15,
}

/// What is wrong, where, and with which numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "C's name")]
pub struct simground_error {
    /// What is wrong; `SIMGROUND_OK` when nothing is.
    pub status: simground_status,
    /// Where.
    pub part: simground_part,
    /// Which layer, head or self-test vector; otherwise 0.
    pub position: u32,
    /// What the library or the artifact asks for: bytes, words of scratch, values of a window, the version, the checksum, the
    /// alignment; otherwise 0.
    pub needed: u32,
    /// What there is instead, or the row of weights or the flags that are wrong; otherwise 0.
    pub found: u32,
}

impl simground_error {
    /// Nothing is wrong.
    ///
    /// cbindgen:ignore
    pub const NONE: simground_error = simground_error {
        status: simground_status::SIMGROUND_OK,
        part: simground_part::SIMGROUND_PART_NONE,
        position: 0,
        needed: 0,
        found: 0,
    };

    fn at(self, part: Part) -> Self {
        use simground_part::*;
        let (part, position) = match part {
            Part::Manifest => (SIMGROUND_PART_MANIFEST, 0),
            Part::Input => (SIMGROUND_PART_INPUT, 0),
            Part::Trunk(position) => (SIMGROUND_PART_TRUNK, position),
            Part::Head(position) => (SIMGROUND_PART_HEAD, position),
            Part::Embedding => (SIMGROUND_PART_EMBEDDING, 0),
            Part::Bank => (SIMGROUND_PART_BANK, 0),
            Part::Novelty => (SIMGROUND_PART_NOVELTY, 0),
            Part::SelfTest => (SIMGROUND_PART_SELF_TEST, 0),
            Part::Provenance => (SIMGROUND_PART_PROVENANCE, 0),
            _ => (SIMGROUND_PART_OTHER, 0),
        };
        simground_error { part, position: position.into(), ..self }
    }

    fn numbers(self, needed: u32, found: u32) -> Self {
        simground_error { needed, found, ..self }
    }
}

/// A length as C reads it: there is none that 32 bits do not hold.
fn word(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl From<ArtifactError> for simground_error {
    fn from(error: ArtifactError) -> Self {
        let plain = simground_error { status: error.into(), ..Self::NONE };
        match error {
            ArtifactError::NotAnArtifact { found } => plain.numbers(0, u32::from_le_bytes(found)),
            ArtifactError::UnsupportedVersion { found, supported } => {
                plain.numbers(supported.into(), found.into())
            }
            ArtifactError::UnknownFlags { found } => plain.numbers(0, found.into()),
            ArtifactError::Truncated { needed, found } => plain.numbers(needed, found),
            ArtifactError::TrailingBytes { expected, found }
            | ArtifactError::ChecksumMismatch { expected, found } => plain.numbers(expected, found),
            ArtifactError::Misaligned { needed } => plain.numbers(needed, 0),
            ArtifactError::Undecodable(part)
            | ArtifactError::Shape(part)
            | ArtifactError::SectionAlignment(part)
            | ArtifactError::Value(part) => plain.at(part),
            ArtifactError::Section { part, needed, found } => plain.at(part).numbers(needed, found),
            ArtifactError::AccumulatorBound { part, row } => plain.at(part).numbers(0, row.into()),
            _ => plain,
        }
    }
}

impl From<AdditionsError> for simground_error {
    fn from(error: AdditionsError) -> Self {
        let plain = simground_error { status: error.into(), ..Self::NONE };
        match error {
            AdditionsError::NotAdditions { found } => plain.numbers(0, u32::from_le_bytes(found)),
            AdditionsError::UnsupportedVersion { found, supported } => {
                plain.numbers(supported.into(), found.into())
            }
            AdditionsError::Truncated { needed, found } => plain.numbers(word(needed), word(found)),
            AdditionsError::ChecksumMismatch { expected, found }
            | AdditionsError::OtherArtifact { expected, found } => plain.numbers(expected, found),
            _ => plain,
        }
    }
}

impl From<InputError> for simground_error {
    fn from(error: InputError) -> Self {
        let plain = simground_error { status: error.into(), ..Self::NONE };
        match error {
            InputError::WrongWidth { needed, found }
            | InputError::ScratchTooSmall { needed, found } => {
                plain.numbers(word(needed), word(found))
            }
            _ => plain,
        }
    }
}

impl From<SelfTestError> for simground_error {
    fn from(error: SelfTestError) -> Self {
        let plain = simground_error { status: error.into(), ..Self::NONE }.at(Part::SelfTest);
        match error {
            SelfTestError::Call(error) => error.into(),
            SelfTestError::Input { vector }
            | SelfTestError::Integers { vector }
            | SelfTestError::Answers { vector } => {
                simground_error { position: vector.into(), ..plain }
            }
            _ => plain,
        }
    }
}
