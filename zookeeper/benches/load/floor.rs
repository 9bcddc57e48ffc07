//! A server that answers immediately without processing: replies have the right length and number, but no content. It
//! shows the maximum throughput of a single-threaded server with this load on this machine.

use std::io::{self, Write as _};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::wire::{CLOSE, GET_DATA, SET_DATA};

/// Minimum space for one read; as in the in-memory server.
const CHUNK: usize = 8 << 10;
/// Length of a znode's `Stat`.
const STAT: usize = 68;

pub(crate) async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{{\"listening\":\"{}\"}}", listener.local_addr()?);
    io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(answer(stream));
    }
}

/// Answers requests until either side closes the connection.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let (mut received, mut out) = (BytesMut::new(), BytesMut::new());
    let (mut connected, mut closed) = (false, false);
    while !closed {
        received.reserve(CHUNK);
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
        while let Some(length) = received.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) {
            if received.len() < 4 + length {
                break;
            }
            let mut frame = received.split_to(4 + length);
            frame.advance(4);
            if !std::mem::replace(&mut connected, true) {
                // Protocol, timeout, session, a password of 16 bytes, read-only flag.
                reply(&mut out, 37);
                continue;
            }
            let (number, operation) = (frame.get_i32(), frame.get_i32());
            let start = reply(&mut out, 16 + body(operation));
            out[start..start + 4].copy_from_slice(&number.to_be_bytes());
            closed |= operation == CLOSE;
        }
        stream.write_all_buf(&mut out).await?;
    }
    Ok(())
}

/// Appends a frame of zeros; returns its start.
fn reply(out: &mut BytesMut, length: usize) -> usize {
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    let start = out.len();
    out.put_bytes(0, length);
    start
}

/// Returns the length of the reply's body after number, transaction and error.
fn body(operation: i32) -> usize {
    match operation {
        GET_DATA => 4 + 100 + STAT,
        SET_DATA => STAT,
        _ => 0,
    }
}
