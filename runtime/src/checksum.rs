//! CRC-32 with the polynomial of ISO-HDLC, as in zip and PNG.

/// A checksum that grows.
pub(crate) struct Checksum(u32);

/// The remainder of each four bits. The usual table, of eight bits each, is a kilobyte of flash.
#[rustfmt::skip]
static REMAINDERS: [u32; 16] = [
    remainder(0), remainder(1), remainder(2), remainder(3),
    remainder(4), remainder(5), remainder(6), remainder(7),
    remainder(8), remainder(9), remainder(10), remainder(11),
    remainder(12), remainder(13), remainder(14), remainder(15),
];

/// Four steps of the division, the lowest bit first.
const fn remainder(bits: u32) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut remainder = bits;
    let mut step = 0_u32;
    while step < 4 {
        let divisor = if remainder & 1 == 1 { POLYNOMIAL } else { 0 };
        remainder = remainder.wrapping_shr(1) ^ divisor;
        step = step.wrapping_add(1);
    }
    remainder
}

impl Checksum {
    pub(crate) fn new() -> Self {
        Checksum(u32::MAX)
    }

    #[inline(never)]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let shifted = |crc: u32| {
            let [low, ..] = (crc & 15).to_le_bytes();
            crc.wrapping_shr(4) ^ REMAINDERS.get(usize::from(low)).copied().unwrap_or(0)
        };
        self.0 = bytes.iter().fold(self.0, |crc, &byte| shifted(shifted(crc ^ u32::from(byte))));
    }

    pub(crate) fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn in_any_pieces_equals_the_usual_table(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let mut crc = Checksum::new();
            pieces.iter().for_each(|piece| crc.update(piece));
            let usual = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
            prop_assert_eq!(crc.finish(), usual.checksum(&pieces.concat()));
        }
    }
}
