//! Lists of postcard records, as the manifest holds them.

use serde::{Deserialize, Serialize};
use simground_runtime::artifact::Records;

/// Encoded records and their count.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    count: u16,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Encodes records one behind the other.
    pub fn new<T: Serialize>(records: impl IntoIterator<Item = T>) -> Encoded {
        Encoded::join(records.into_iter().map(|record| encode(&record)))
    }

    /// Records that are encoded already.
    pub fn join(records: impl IntoIterator<Item = Vec<u8>>) -> Encoded {
        let mut encoded = Encoded::default();
        for bytes in records {
            encoded.count += 1;
            encoded.bytes.extend(bytes);
        }
        encoded
    }

    /// The list as the manifest holds it.
    pub fn records<'e, T: Deserialize<'e>>(&'e self) -> Records<'e, T> {
        Records::new(self.count, &self.bytes)
    }
}

/// The postcard bytes of a record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("plain records always encode")
}
