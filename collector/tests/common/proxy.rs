//! A reverse proxy that serves a collector below a prefix, which it removes from the path of each request.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Listens on loopback until the runtime ends. Answers paths that are not below `prefix` with 404, and the prefix
/// itself with a redirect to the folder, as nginx does.
pub async fn start(upstream: SocketAddr, prefix: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A browser closes connections at any time.
            tokio::spawn(async move { drop(serve(client, upstream, prefix).await) });
        }
    });
    address
}

/// Forwards one request and its answer.
async fn serve(mut client: TcpStream, upstream: SocketAddr, prefix: &str) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let Some(path) = target.strip_prefix(prefix).filter(|path| path.starts_with('/')) else {
        let answer = match target {
            target if target == prefix => format!("301 Moved Permanently\r\nLocation: {prefix}/"),
            _ => "404 Not Found".to_owned(),
        };
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return client.write_all(answer.as_bytes()).await;
    };
    let headers = lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let headers: String = headers.map(|line| format!("{line}\r\n")).collect();
    let mut server = TcpStream::connect(upstream).await?;
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    server.write_all(request.as_bytes()).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
