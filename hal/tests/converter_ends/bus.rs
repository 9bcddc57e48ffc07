//! Bus with one chip that answers each command or register with fixed bytes.

use std::collections::BTreeMap;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, Operation};
use embedded_hal::spi::{self, SpiDevice};

/// Bytes that the chip receives, and those that it answers, in hexadecimal.
pub(crate) type Answer = (&'static str, &'static str);

/// The chip on the bus. Registers keep the values written to them, unless they have a fixed answer.
pub(crate) struct Fixed {
    answers: Vec<(Vec<u8>, Vec<u8>)>,
    registers: BTreeMap<u8, Vec<u8>>,
    last: Vec<u8>,
    pub(crate) checksums: bool,
}

impl Fixed {
    pub(crate) fn new<'a>(answers: impl IntoIterator<Item = &'a Answer>, checksums: bool) -> Fixed {
        let answers = answers.into_iter().map(|(after, answer)| (bytes(after), bytes(answer)));
        Fixed { answers: answers.collect(), registers: BTreeMap::new(), last: Vec::new(), checksums }
    }

    /// Appends `byte` to the first answer after `after`.
    pub(crate) fn append(&mut self, after: &[u8], byte: u8) {
        if let Some((_, bytes)) = self.answers.iter_mut().find(|(known, _)| known == after) {
            bytes.push(byte);
        }
    }

    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
        // Uses the first answer of that length: the answers of the case precede the permanent answers of the chip.
        let known = self
            .answers
            .iter()
            .find(|(after, bytes)| *after == self.last && self.sent(bytes).len() == buffer.len());
        let kept = self.last.first().and_then(|register| self.registers.get(register));
        if let Some(bytes) = known.map(|(_, bytes)| self.sent(bytes)).or(kept.cloned())
            && bytes.len() == buffer.len()
        {
            buffer.copy_from_slice(&bytes);
        }
    }

    /// Returns the bytes, as words with checksums if the chip has them.
    fn sent(&self, bytes: &[u8]) -> Vec<u8> {
        if !self.checksums {
            return bytes.to_vec();
        }
        bytes.chunks(2).flat_map(|word| [word[0], word[1], crc8(word)]).collect()
    }
}

/// Converts a text such as `655ac0 7eed00`.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let digits = text.replace(' ', "");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Computes the CRC-8 with the polynomial 0x31 (SHT3x-DIS datasheet, section 4.12).
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| if crc & 0x80 != 0 { crc << 1 ^ 0x31 } else { crc << 1 })
    })
}

impl ErrorType for Fixed {
    type Error = ErrorKind;
}

impl I2c for Fixed {
    fn transaction(&mut self, _: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        for operation in operations {
            match operation {
                Operation::Write(bytes) => {
                    if let [register, rest @ ..] = bytes
                        && !rest.is_empty()
                    {
                        self.registers.insert(*register, rest.to_vec());
                    }
                    self.last = bytes.to_vec();
                }
                Operation::Read(buffer) => self.fill(buffer),
            }
        }
        Ok(())
    }
}

impl spi::ErrorType for Fixed {
    type Error = spi::ErrorKind;
}

impl SpiDevice for Fixed {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), spi::ErrorKind> {
        for operation in operations {
            match operation {
                spi::Operation::TransferInPlace([register, rest @ ..]) => {
                    self.last = vec![*register];
                    self.fill(rest);
                }
                // The write address of a register is 0x80 above its read address.
                spi::Operation::Write([register, rest @ ..]) => {
                    self.registers.insert(register & 0x7f, rest.to_vec());
                }
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    }
}

/// Delay that does not wait.
pub(crate) struct Now;

impl DelayNs for Now {
    fn delay_ns(&mut self, _: u32) {}
}
