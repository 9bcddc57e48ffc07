//! A server that answers at once, without looking: replies have the right length and number, and say nothing. What a
//! single-threaded server could do at most with this load on this machine.

use std::io::{self, Write as _};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::wire::{CLOSE, GET_DATA, SET_DATA};

/// How much is read at once; as the server in memory does it.
const CHUNK: usize = 8 << 10;
/// A znode's numbers.
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

/// Until either side ends it.
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
                // Protocol, timeout, session, a password of 16, whether it is read-only.
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

/// A frame of nothing; where it starts.
fn reply(out: &mut BytesMut, length: usize) -> usize {
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    let start = out.len();
    out.put_bytes(0, length);
    start
}

/// The length of what follows after number, transaction and error.
fn body(operation: i32) -> usize {
    match operation {
        GET_DATA => 4 + 100 + STAT,
        SET_DATA => STAT,
        _ => 0,
    }
}
