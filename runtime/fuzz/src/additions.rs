//! Regions of additions to one fixed artifact.

use simground_runtime::additions::HEADER_BYTES;
use simground_runtime::{Additions, Model, include_model};

/// Bytes of a record of this artifact's regions.
const RECORD_BYTES: usize = 32;

/// A region of the fuzzer's, and its window from the same bytes.
///
/// Layout: one byte, whose lowest bit says that header and checksums are made right; a byte for each value of the window; the region.
pub fn with_region(data: &[u8], mut run: impl FnMut(&Model<'_>, &Additions<'_>, &[f32])) {
    let bytes =
        include_model!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/small.sgnn"));
    let model = Model::from_bytes(bytes).expect("golden");
    let Some((repaired, rest)) = data.split_first() else { return };
    let Some((window, region)) = rest.split_at_checked(model.d_values()) else { return };
    let value = |byte: &u8| if *byte == 0xff { f32::NAN } else { f32::from(*byte) * 9.0 };
    let window: Vec<f32> = window.iter().map(value).collect();
    let mut region = region.to_vec();
    if repaired & 1 == 1 {
        repair(&model, &mut region);
    }
    if let Ok(additions) = Additions::from_bytes(&model, &region) {
        run(&model, &additions, &window);
    }
}

/// Makes the header that of an empty region and every record's checksum right; what is erased stays so.
fn repair(model: &Model<'_>, region: &mut [u8]) {
    let Some((header, slots)) = region.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    let prior = 1 + u16::from_le_bytes([header[12], header[13]]) % 4096;
    *header = Additions::header(model, Some(prior)).expect("a bank");
    for (record, slot) in (0_u16..).zip(slots.chunks_exact_mut(RECORD_BYTES)) {
        if slot.iter().any(|byte| *byte != 0xff) {
            let (body, crc) = slot.split_last_chunk_mut::<4>().expect("a record");
            *crc = crc32(&[&header[..], &record.to_le_bytes(), body].concat()).to_le_bytes();
        }
    }
}

/// Bit by bit: CRC-32 of ISO-HDLC.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}
