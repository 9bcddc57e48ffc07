//! Splits the input of a connection into frames, and parses them as requests. Pure. Used by
//! [`connection`](super::connection).

use bytes::{Buf as _, Bytes, BytesMut};

use super::error::Code;
use super::jute::{MAX_FRAME, Reader};
use super::protocol::{ConnectRequest, Operation, Request, header};
use super::state_machine::Incoming;

/// Minimum space for one read.
const MIN_READ: usize = 8 << 10;

/// Splits a stream into frames.
#[derive(Debug, Default)]
struct Frames {
    buffer: BytesMut,
}

/// Error: the length of a frame exceeds the maximum or is negative.
#[derive(Debug, PartialEq, Eq)]
struct BadLength;

impl Frames {
    /// Returns the next complete frame, without its length.
    fn next(&mut self) -> Result<Option<Bytes>, BadLength> {
        let Some(length) = self.buffer.first_chunk().copied().map(i32::from_be_bytes) else {
            return Ok(None);
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_FRAME).ok_or(BadLength)?;
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Returns the buffer for the next bytes. An idle connection holds no buffer.
    fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(MIN_READ);
        &mut self.buffer
    }

    /// Releases the memory of an empty buffer.
    fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

/// Error: the stream contains data that is not a request. The rest of the stream is ignored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidInput;

/// Parser of a client's stream.
#[derive(Debug, Default)]
pub(crate) struct RequestReader {
    frames: Frames,
    /// True after the first frame, which has its own format.
    connected: bool,
}

impl RequestReader {
    /// Returns the next request, once it is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, InvalidInput> {
        match self.frames.next().map_err(|BadLength| InvalidInput)? {
            Some(frame) => self.decode(frame).ok_or(InvalidInput).map(Some),
            None => {
                self.frames.release();
                Ok(None)
            }
        }
    }

    /// Returns the buffer for the next bytes.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.frames.buffer()
    }

    /// Releases the buffer, unless it has the beginning of a request.
    pub(crate) fn release(&mut self) {
        self.frames.release();
    }

    /// Returns the first four bytes without consuming them.
    pub(crate) fn start(&self) -> Option<[u8; 4]> {
        self.frames.buffer.first_chunk().copied()
    }

    /// Parses a frame; returns `None` if it is not a request.
    fn decode(&mut self, frame: Bytes) -> Option<Incoming> {
        if !std::mem::replace(&mut self.connected, true) {
            return ConnectRequest::decode(frame).ok().map(Incoming::Connect);
        }
        let mut reader = Reader::new(frame);
        let (xid, number) = header(&mut reader).ok()?;
        let operation = Operation::from_number(number);
        let request = match operation {
            Some(operation) => match Request::decode(operation, &mut reader) {
                // The only malformed request without an error reply, as in Apache ZooKeeper.
                Err(Code::Marshalling) if operation == Operation::Auth => return None,
                request => request,
            },
            None => Err(Code::Unimplemented),
        };
        Some(Incoming::Request { xid, operation, request })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_are_found_in_any_pieces(
            whole in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
            piece in 1..400_usize,
        ) {
            let mut stream = Vec::new();
            for frame in &whole {
                stream.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
                stream.extend(frame);
            }
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in stream.chunks(piece) {
                frames.buffer().extend_from_slice(piece);
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame.to_vec());
                }
                frames.release();
            }
            prop_assert_eq!(found, whole);
        }
    }

    #[test]
    fn frames_longer_than_a_mebibyte_less_one_are_refused() {
        for (length, refused) in [(0xf_ffff, false), (0x10_0000, true), (i32::MAX, true), (-1, true)] {
            let mut frames = Frames::default();
            frames.buffer().extend_from_slice(&length.to_be_bytes());
            assert_eq!(frames.next().is_err(), refused, "{length}");
        }
    }
}
