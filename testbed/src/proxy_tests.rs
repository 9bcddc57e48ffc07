//! Tests of the proxy with a client and a server that use only ZooKeeper's frames.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use super::*;
use crate::wait::eventually;

const SOON: Duration = Duration::from_secs(10);

/// Starts a server that answers every frame with the same one, and sends the op codes that it has received (0 for the
/// first frame).
fn server() -> (u16, Receiver<i32>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), seen.clone());
            thread::spawn(move || {
                while let Ok(Some(frame)) = Frame::read(&mut stream) {
                    if seen.send(frame.int(4).unwrap_or_default()).is_err()
                        || stream.write_all(&frame.0).is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (port, requests)
}

/// Returns a proxy of a server, the op codes that the server has received, and a client.
fn connected() -> (Proxy, Receiver<i32>, Client) {
    let (port, requests) = server();
    let proxy = Proxy::to(port);
    let client = Client::greeted(&proxy, &requests);
    (proxy, requests, client)
}

struct Client(TcpStream);

impl Client {
    /// Connects, and waits for the reply to the first frame.
    fn greeted(proxy: &Proxy, requests: &Receiver<i32>) -> Client {
        let mut client = Client::new(proxy);
        client.send(7, 0);
        assert_eq!(client.receive(), Some(7));
        assert_eq!(requests.recv_timeout(SOON), Ok(0));
        client
    }

    fn new(proxy: &Proxy) -> Client {
        let stream = TcpStream::connect(proxy.connect_string()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Client(stream)
    }

    fn send(&mut self, xid: i32, op_code: i32) {
        let words = [8, xid, op_code].map(i32::to_be_bytes);
        self.0.write_all(&words.concat()).unwrap();
    }

    /// Returns the xid of the next reply; `None` if the connection is closed.
    fn receive(&mut self) -> Option<i32> {
        match Frame::read(&mut self.0) {
            Ok(frame) => frame?.int(0),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    /// Asserts that no reply arrives within a time in which it would have arrived.
    fn receives_nothing(&mut self) {
        self.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let received = Frame::read(&mut self.0).map(|frame| frame.map(|frame| frame.0));
        assert!(received.is_err(), "{received:?}");
        self.0.set_read_timeout(Some(SOON)).unwrap();
    }
}

#[test]
fn frozen_it_holds_everything_and_loses_nothing() {
    let (proxy, requests, mut client) = connected();
    proxy.freeze(true);
    client.send(1, 3);
    client.send(2, 4);
    client.receives_nothing();
    assert_eq!(requests.try_recv(), Err(TryRecvError::Empty));
    // Of two connections that are opened during the freeze, only the one that stays open is forwarded.
    let mut late = Client::new(&proxy);
    late.send(9, 0);
    let mut gone = Client::new(&proxy);
    gone.send(9, 5);
    drop(gone);
    eventually("all are there", SOON, || (proxy.connections() == 3).then_some(()));
    late.receives_nothing();
    proxy.freeze(false);
    assert_eq!((client.receive(), client.receive(), late.receive()), (Some(1), Some(2), Some(9)));
    eventually("the one that went is gone", SOON, || (proxy.connections() == 2).then_some(()));
    let mut seen: Vec<i32> = requests.try_iter().collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 3, 4]);
}

#[test]
fn cut_while_frozen() {
    let (proxy, requests, mut client) = connected();
    proxy.freeze(true);
    client.send(1, 3);
    proxy.cut();
    assert_eq!(client.receive(), None);
    proxy.freeze(false);
    Client::greeted(&proxy, &requests);
}

#[test]
fn cuts_once_between_a_request_and_its_reply() {
    let (proxy, requests, mut client) = connected();
    proxy.cut_after_request(15);
    client.send(1, 3);
    client.send(2, 15);
    client.send(3, 3);
    assert_eq!((client.receive(), client.receive()), (Some(1), None));
    assert!(!proxy.is_armed());
    assert_eq!((requests.recv_timeout(SOON), requests.recv_timeout(SOON)), (Ok(3), Ok(15)));

    let mut again = Client::new(&proxy);
    again.send(7, 15);
    assert_eq!(again.receive(), Some(7), "the first frame has no op code");
    again.send(8, 15);
    assert_eq!(again.receive(), Some(8));
}
