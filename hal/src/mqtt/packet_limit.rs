//! A stream that shortens large messages while they arrive.
//!
//! The MQTT client ends the connection if a packet exceeds its limit; a large retained message would then end every
//! connection, and no sensor of the broker would be read. So the rest of a large PUBLISH packet is discarded here, and its
//! length is corrected: the client receives a message that is still larger than [`MAX_PAYLOAD`], and only the sensor of this
//! topic fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::MAX_PAYLOAD;

/// Maximum length of a packet after its header: the longest topic with its length, a packet identifier, and a payload of
/// one byte more than allowed.
const MAX_LENGTH: usize = 2 + 65_535 + 2 + MAX_PAYLOAD + 1;

/// Maximum size of a packet that this stream lets through, for the limit of the client.
pub(super) const MAX_PACKET: usize = MAX_HEADER + MAX_LENGTH;

/// Maximum length of a header: the type, and four bytes of length.
const MAX_HEADER: usize = 5;

const CHUNK: usize = 8 * 1024;

/// Stream whose PUBLISH packets have at most [`MAX_PACKET`] bytes.
pub(super) struct PacketLimit<S> {
    stream: S,
    parser: Parser,
    /// Bytes that the client has not read yet, from `read` on.
    ready: Vec<u8>,
    read: usize,
}

/// Position in the sequence of packets.
#[derive(Debug, Default)]
struct Parser {
    /// Header that is not complete.
    header: Vec<u8>,
    /// Bytes of the current packet that are passed on, and those after them that are discarded.
    keep: usize,
    discard: usize,
    /// The peer does not send MQTT: the client receives everything, and refuses it.
    is_broken: bool,
}

impl Parser {
    /// Appends to `output` the bytes of `input` that are passed on.
    fn push(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        while let Some((first, rest)) = input.split_first() {
            if self.is_broken {
                return output.extend_from_slice(input);
            }
            if self.keep > 0 {
                let (kept, rest) = input.split_at(self.keep.min(input.len()));
                output.extend_from_slice(kept);
                self.keep -= kept.len();
                input = rest;
            } else if self.discard > 0 {
                let count = self.discard.min(input.len());
                self.discard -= count;
                input = &input[count..];
            } else {
                self.header.push(*first);
                input = rest;
                self.end_header(output);
            }
        }
    }

    /// Starts the packet if its header is complete.
    fn end_header(&mut self, output: &mut Vec<u8>) {
        let Some((kind, length)) = self.header.split_first().filter(|(_, length)| !length.is_empty()) else {
            return;
        };
        let is_last = length.last().is_some_and(|byte| byte & 0x80 == 0);
        if !is_last && self.header.len() < MAX_HEADER {
            return;
        }
        let total = length.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
        const PUBLISH: u8 = 3;
        if is_last && kind >> 4 == PUBLISH && total > MAX_LENGTH {
            output.push(*kind);
            write_length(MAX_LENGTH, output);
            (self.keep, self.discard) = (MAX_LENGTH, total - MAX_LENGTH);
        } else {
            output.extend_from_slice(&self.header);
            (self.keep, self.is_broken) = (total, !is_last);
        }
        self.header.clear();
    }
}

fn write_length(mut length: usize, output: &mut Vec<u8>) {
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            return output.push(byte);
        }
        output.push(byte | 0x80);
    }
}

impl<S> PacketLimit<S> {
    pub(super) fn new(stream: S) -> PacketLimit<S> {
        PacketLimit { stream, parser: Parser::default(), ready: Vec::new(), read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacketLimit<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read == this.ready.len() {
            this.ready.clear();
            this.read = 0;
            let mut bytes = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.parser.push(chunk.filled(), &mut this.ready);
        }
        let count = buffer.remaining().min(this.ready.len() - this.read);
        buffer.put_slice(&this.ready[this.read..this.read + count]);
        this.read += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacketLimit<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a packet with a body of `length` bytes.
    fn packet(kind: u8, length: usize) -> Vec<u8> {
        let mut packet = vec![kind << 4 | 0x02];
        write_length(length, &mut packet);
        packet.extend((0..length).map(|index| index as u8));
        packet
    }

    fn pass(input: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (mut parser, mut output, mut rest) = (Parser::default(), Vec::new(), input);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, later) = rest.split_at((*size).min(rest.len()));
            parser.push(chunk, &mut output);
            rest = later;
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn large_messages_are_shortened_and_all_other_bytes_pass(
            packets in prop::collection::vec(
                (prop_oneof![Just(2_u8), Just(3), Just(9), Just(13)], prop_oneof![0..300_usize, Just(MAX_LENGTH), 100_000..400_000_usize]),
                1..5,
            ),
            sizes in prop::collection::vec(prop_oneof![1..10_usize, 1..100_000_usize], 1..5),
        ) {
            let (mut input, mut want) = (Vec::new(), Vec::new());
            for (kind, length) in packets {
                input.extend(packet(kind, length));
                want.extend(packet(kind, if kind == 3 { length.min(MAX_LENGTH) } else { length }));
            }
            prop_assert!(pass(&input, &sizes) == want);
        }

        #[test]
        fn any_bytes_pass_in_bounded_memory(input in prop::collection::vec(any::<u8>(), 0..2000), size in 1..50_usize) {
            let output = pass(&input, &[size]);
            prop_assert!(output.len() <= input.len());
        }
    }

    #[test]
    fn a_length_of_more_than_four_bytes_passes_unchanged() {
        let input = [0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        // Four bytes that continue are as long as a header can be.
        assert_eq!(pass(&input, &[1]), input);
        let longest = [0x32, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(pass(&longest, &[2])[0], 0x32);
        assert!(pass(&longest, &[5]).len() < longest.len());
    }

    #[tokio::test]
    async fn a_stream_is_read_to_its_end_with_any_buffer() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let input = [packet(3, 3 * MAX_LENGTH), packet(3, 10), packet(13, 0)].concat();
        let want = [packet(3, MAX_LENGTH), packet(3, 10), packet(13, 0)].concat();
        let (mut sender, receiver) = tokio::io::duplex(1000);
        let send = async move { sender.write_all(&input).await.unwrap() };
        let receive = async move {
            let (mut stream, mut output, mut buffer) = (PacketLimit::new(receiver), Vec::new(), [0; 777]);
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => return output,
                    count => output.extend_from_slice(&buffer[..count]),
                }
            }
        };
        let ((), output) = tokio::join!(send, receive);
        assert!(output == want);
    }
}
