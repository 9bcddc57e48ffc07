//! The part of the interface of the crate `async-net` that `zookeeper-client` uses, with Tokio's connections.
//!
//! `Cargo.toml` of the workspace replaces `async-net` by this crate, so that the connections of the client library are
//! served by the runtime that runs the client, see `async-io`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::ToSocketAddrs;

/// TCP connection. Must be used within a Tokio runtime with I/O.
#[derive(Debug)]
pub struct TcpStream(tokio::net::TcpStream);

impl TcpStream {
    /// Connects to one of the addresses.
    ///
    /// # Errors
    /// No address is found, or none of them can be reached.
    pub async fn connect<A: ToSocketAddrs>(address: A) -> io::Result<TcpStream> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        // An optimization only: a request need not wait until an earlier one is acknowledged.
        let _ = stream.set_nodelay(true);
        Ok(TcpStream(stream))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use futures_util::AsyncWriteExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn connection_carries_both_directions_until_it_is_closed() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4];
        let parts = [IoSlice::new(b"ru"), IoSlice::new(b"ok")];
        assert_eq!(client.write_vectored(&parts).await.unwrap(), 4);
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ruok");
        server.write_all(b"imok").await.unwrap();
        futures_util::AsyncReadExt::read_exact(&mut client, &mut bytes).await.unwrap();
        assert_eq!(&bytes, b"imok");
        client.close().await.unwrap();
        assert_eq!(server.read(&mut bytes).await.unwrap(), 0);
    }
}
