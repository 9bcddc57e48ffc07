//! Bus protocol common to Sensirion's chips: words of 16 bits, each followed by a CRC-8 (SHT3x-DIS datasheet, section
//! 4.12: polynomial 0x31, start 0xff, no reflection, no final xor; the CRC of 0xbeef is 0x92). The AHT20 uses the same
//! CRC.

use std::time::Duration;

use crate::bus::{Answer, Direction};

/// Returns the checksum of `bytes`.
pub(super) fn crc8(bytes: &[u8]) -> u8 {
    crc8_with(0x31, 0xff, bytes)
}

/// Returns the CRC-8 of `bytes` with this polynomial and start, without reflection and final xor.
pub(super) fn crc8_with(polynomial: u8, start: u8, bytes: &[u8]) -> u8 {
    let one = |crc: u8| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ polynomial };
    bytes.iter().fold(start, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| one(crc)))
}

/// Response to a read, sent byte by byte; after its end the line stays high.
#[derive(Debug, Default)]
pub(super) struct Response {
    bytes: Vec<u8>,
    next: usize,
}

impl Response {
    /// Creates a response of words with their checksums.
    pub(super) fn words(words: &[u16]) -> Response {
        let with_crc = |word: &u16| {
            let [high, low] = word.to_be_bytes();
            [high, low, crc8(&[high, low])]
        };
        Response::bytes(words.iter().flat_map(with_crc).collect())
    }

    /// Creates a response of unmodified bytes.
    pub(super) fn bytes(bytes: Vec<u8>) -> Response {
        Response { bytes, next: 0 }
    }

    /// Restarts the response at its first byte. Returns the answer to the start of a transfer, which the chip delays by
    /// `left`.
    pub(super) fn start(&mut self, direction: Direction, left: Duration) -> Answer {
        self.next = 0;
        match direction {
            Direction::Read if self.bytes.is_empty() => Answer::Refuse,
            _ if left.is_zero() => Answer::Acknowledge,
            _ => Answer::Stretch(left),
        }
    }

    pub(super) fn next(&mut self) -> u8 {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0xff);
        self.next = self.next.saturating_add(1);
        byte
    }
}

/// Returns the 16-bit code nearest to `value` on a scale from `low` (code 0) to `low + span` (code `full`); finite
/// values are clamped to the datasheet's `range`, infinite ones map to the first or last code.
pub(super) fn code(value: f64, low: f64, span: f64, full: f64, range: [f64; 2]) -> u16 {
    match value {
        f64::INFINITY => u16::MAX,
        f64::NEG_INFINITY => 0,
        // A cast of a float saturates, and NaN becomes 0.
        finite => ((finite.max(range[0]).min(range[1]) - low) / span * full).round() as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_datasheets() {
        assert_eq!(crc8(&[0xbe, 0xef]), 0x92);
        // SCD4x datasheet, table 11: 500 ppm, 25 degrees, 37 %.
        assert_eq!([crc8(&[0x01, 0xf4]), crc8(&[0x66, 0x67]), crc8(&[0x5e, 0xb9])], [0x33, 0xa2, 0x3c]);
    }

    #[test]
    fn a_response_ends_in_a_high_line() {
        let mut response = Response::words(&[0xbeef]);
        let bytes: Vec<u8> = (0..5).map(|_| response.next()).collect();
        assert_eq!(bytes, [0xbe, 0xef, 0x92, 0xff, 0xff]);
        assert_eq!(response.start(Direction::Read, Duration::ZERO), Answer::Acknowledge);
        assert_eq!(response.next(), 0xbe);
    }
}
