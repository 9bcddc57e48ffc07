//! A TCP proxy for any protocol, whose server seems to be away, or to answer never.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Behaviour of a [`TcpProxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpFault {
    /// Forwards all data.
    None,
    /// Closes new connections at once, and current ones with the next data.
    Refuse,
    /// Forwards requests, and closes the connection instead of the answer: the server has processed the request.
    CutAnswers,
    /// Forwards requests, and drops the answers: the client waits until its timeout.
    DropAnswers,
}

/// A TCP proxy on loopback. Its threads end with the connections, or with the process.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    fault: Arc<Mutex<TcpFault>>,
}

impl TcpProxy {
    /// Creates a proxy for the server that listens, or will listen, on `port` of loopback.
    #[track_caller]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let fault = Arc::new(Mutex::new(TcpFault::None));
        let shared = Arc::clone(&fault);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // An error ends the connection.
                thread::spawn(move || serve(&client, port, &shared));
            }
        });
        Self { address, fault }
    }

    /// Returns `host:port` of the proxy, for clients.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets the behaviour for all further data of all connections.
    pub fn set(&self, fault: TcpFault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

fn serve(client: &TcpStream, port: u16, fault: &Arc<Mutex<TcpFault>>) -> io::Result<()> {
    if current(fault) == TcpFault::Refuse {
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    let shared = Arc::clone(fault);
    let answers = thread::spawn(move || {
        let _ = forward(&from_server, &to_client, &shared, true);
    });
    let _ = forward(client, &server, fault, false);
    let _ = answers.join();
    Ok(())
}

/// Forwards data until one side closes, or a fault closes both.
fn forward(from: &TcpStream, to: &TcpStream, fault: &Mutex<TcpFault>, is_answer: bool) -> io::Result<()> {
    let (mut source, mut target) = (from, to);
    let mut data = [0; 16 * 1024];
    let result = loop {
        let length = match source.read(&mut data) {
            Ok(0) => break Ok(()),
            Ok(length) => length,
            Err(error) => break Err(error),
        };
        match (current(fault), is_answer) {
            (TcpFault::Refuse, _) | (TcpFault::CutAnswers, true) => break Ok(()),
            (TcpFault::DropAnswers, true) => {}
            _ => target.write_all(&data[..length])?,
        }
    };
    // An error means that the other side has closed it already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    result
}

fn current(fault: &Mutex<TcpFault>) -> TcpFault {
    *fault.lock().unwrap_or_else(PoisonError::into_inner)
}
