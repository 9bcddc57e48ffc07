//! What arrives on a connection, cut into frames, and those read as requests. Pure. Used by
//! [`connection`](super::connection).

use bytes::{Buf as _, Bytes, BytesMut};

use super::core::Incoming;
use super::error::Code;
use super::jute::Reader;
use super::protocol::{ConnectRequest, MAX_FRAME, Operation, Request, header};

/// How much is read at once.
const CHUNK: usize = 8 << 10;

/// Cuts a stream into frames.
#[derive(Debug, Default)]
struct Frames {
    buffer: BytesMut,
}

/// A frame is longer than any may be, or its length is negative.
#[derive(Debug, PartialEq, Eq)]
struct BadLength;

impl Frames {
    /// The next whole frame, without its length.
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

    /// Where the next bytes go. An idle connection keeps no room.
    fn room(&mut self) -> &mut BytesMut {
        self.buffer.reserve(CHUNK);
        &mut self.buffer
    }

    fn settle(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

/// A stream that goes on with no request: whatever follows is not looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Reads a client's stream.
#[derive(Debug, Default)]
pub(crate) struct RequestReader {
    frames: Frames,
    /// Whether the first frame was read, which is unlike the others.
    connected: bool,
}

impl RequestReader {
    /// The next request, once all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Broken> {
        match self.frames.next().map_err(|BadLength| Broken)? {
            Some(frame) => self.decode(frame).ok_or(Broken).map(Some),
            None => {
                self.frames.settle();
                Ok(None)
            }
        }
    }

    /// Where the next bytes go.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        self.frames.room()
    }

    /// The first four bytes, before anything is read of them.
    pub(crate) fn start(&self) -> Option<[u8; 4]> {
        self.frames.buffer.first_chunk().copied()
    }

    /// `None` for a frame that is not even a request.
    fn decode(&mut self, frame: Bytes) -> Option<Incoming> {
        if !std::mem::replace(&mut self.connected, true) {
            return ConnectRequest::decode(frame).ok().map(Incoming::Connect);
        }
        let mut reader = Reader::new(frame);
        let (xid, number) = header(&mut reader).ok()?;
        let operation = Operation::from_number(number);
        let request = match operation {
            Some(operation) => match Request::decode(operation, reader) {
                // The only request whose client is not told so, as in Apache ZooKeeper.
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
        fn frames_are_found_however_they_are_cut(
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
                frames.room().extend_from_slice(piece);
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame.to_vec());
                }
                frames.settle();
            }
            prop_assert_eq!(found, whole);
        }
    }

    #[test]
    fn frames_longer_than_a_mebibyte_less_one_are_refused() {
        for (length, refused) in [(0xf_ffff, false), (0x10_0000, true), (i32::MAX, true), (-1, true)] {
            let mut frames = Frames::default();
            frames.room().extend_from_slice(&length.to_be_bytes());
            assert_eq!(frames.next().is_err(), refused, "{length}");
        }
    }
}
