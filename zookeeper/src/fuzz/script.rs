//! Fuzz target that interprets bytes as a script: input and faults of several clients, and the passage of time, on a
//! server without its I/O layer.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Buf as _, Bytes, BytesMut};

use super::input::Input;
use crate::builder::Builder;
use crate::four_letter;
use crate::frames::RequestReader;
use crate::jute;
use crate::protocol::{ConnectRequest, Operation};
use crate::sasl::Users;
use crate::sessions::ConnectionId;
use crate::state_machine::{Disconnect, Incoming, Now, RequestFilter, StateMachine};

/// Maximum number of simultaneous clients of a script.
const MAX_CLIENTS: usize = 4;
/// Number of steps between checks of all tables of the server.
const CHECK_INTERVAL: usize = 16;
/// Request number whose reply looks like a watch event.
const EVENT_XID: i32 = -1;

/// Runs a script. Checks that replies come in the order of requests and in complete frames, and that the server's
/// tables are always consistent.
pub fn frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut simulation = Simulation::new(input.byte());
    let mut steps = 0;
    while !input.is_over() {
        simulation.step(&mut input);
        simulation.deliver();
        steps += 1;
        if steps % CHECK_INTERVAL == 0 {
            simulation.state.check();
        }
    }
    simulation.state.check();
}

/// Lengths that are invalid for a string, a buffer or a list, or that denote null or empty.
const LENGTHS: [i32; 8] = [-1, -2, i32::MIN, i32::MAX, 0, 1, 0xf_ffff, 0x10_0000];

/// Replaces one of the fields of a request that may be a length: numbers that do not exceed the remaining bytes.
fn change_length(body: &mut [u8], input: &mut Input<'_>) {
    let number = |at: usize| body[at..].first_chunk().copied().map(i32::from_be_bytes);
    let is_length = |at: &usize| {
        let length = number(*at).map_or(-2, i64::from);
        length == -1 || usize::try_from(length).is_ok_and(|length| length <= body.len() - at - 4)
    };
    let positions: Vec<usize> = (0..body.len().saturating_sub(3)).filter(is_length).collect();
    let (position, length) = (usize::from(input.byte()), usize::from(input.byte()));
    if let Some(at) = positions.get(position % positions.len().max(1)) {
        body[*at..at + 4].copy_from_slice(&LENGTHS[length % LENGTHS.len()].to_be_bytes());
    }
}

/// The server and its clients.
struct Simulation {
    state: StateMachine,
    now: Now,
    clients: [Option<Client>; MAX_CLIENTS],
    connections: ConnectionId,
    /// Sessions that clients have had, with their passwords.
    sessions: Vec<(i64, Bytes)>,
}

/// Client side of a connection.
struct Client {
    connection: ConnectionId,
    reader: RequestReader,
    /// True if the first frame was answered.
    connected: bool,
    /// Numbers of the unanswered requests; `None` after a request whose reply is indistinguishable from an event.
    pending: Option<VecDeque<i32>>,
}

impl Simulation {
    fn new(settings: u8) -> Self {
        let now = Now { steady: 0, wall: 1_790_000_000_000 };
        let server_settings = Builder::default().enforce_quota(settings & 1 == 1).settings();
        let clients = [const { None }; MAX_CLIENTS];
        let mut state = StateMachine::new(server_settings, Users::default(), now);
        if settings & 2 == 2 {
            state.zxid = i64::from(u32::MAX) - 8;
            state.tree.near_limits();
        }
        Self { state, now, clients, connections: 0, sessions: Vec::new() }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let step = input.byte();
        let (index, kind) = (usize::from(step) % MAX_CLIENTS, usize::from(step) / MAX_CLIENTS);
        match kind % 16 {
            // Arbitrary bytes.
            0 => {
                let bytes = input.bytes().to_vec();
                self.send(index, &bytes, input);
            }
            // Arbitrary bytes, in a frame.
            1 => {
                let mut frame = BytesMut::new();
                jute::frame(&mut frame, |out| out.extend_from_slice(input.bytes()));
                self.send(index, &frame, input);
            }
            2 => self.connect(index, input),
            3 => self.disconnect(index),
            4 => {
                let elapsed = i64::from(input.byte()) * 100;
                self.now.steady += elapsed;
                self.now.wall += elapsed;
                self.state.tick(self.now);
            }
            5 => self.fault(input),
            // A request with one length replaced.
            _ if step >= 240 => {
                let mut frame = self.request(input);
                change_length(&mut frame[12..], input);
                self.send(index, &frame, input);
            }
            _ => {
                let frame = self.request(input);
                self.send(index, &frame, input);
            }
        }
    }

    fn request(&mut self, input: &mut Input<'_>) -> BytesMut {
        let (mut frame, xid) = (BytesMut::new(), i32::from(input.byte()));
        jute::frame(&mut frame, |out| input.request().encode(xid, out));
        frame
    }

    /// Connects a client, with a new session or one that a client has or had.
    fn connect(&mut self, index: usize, input: &mut Input<'_>) {
        self.disconnect(index);
        let how = input.byte();
        let known = match how % 4 {
            0 | 1 => None,
            _ => self.sessions.get(usize::from(input.byte()) % self.sessions.len().max(1)).cloned(),
        };
        let (session, mut password) = known.unwrap_or((0, Bytes::from_static(&[0; 16])));
        if how % 4 == 3 {
            password = Bytes::copy_from_slice(input.bytes());
        }
        let request = ConnectRequest {
            last_zxid: i64::from(how / 4 % 8 == 7) * 20,
            timeout: i32::from(input.byte()) * 200,
            session,
            password,
            read_only: (how < 128).then_some(false),
        };
        let mut frame = BytesMut::new();
        jute::frame(&mut frame, |out| request.encode(out));
        if how == 255 {
            change_length(&mut frame[4..], input);
        }
        self.send(index, &frame, input);
    }

    fn disconnect(&mut self, index: usize) {
        if let Some(client) = self.clients[index].take() {
            self.state.disconnected(client.connection);
        }
    }

    fn fault(&mut self, input: &mut Input<'_>) {
        match input.byte() % 6 {
            0 => {
                self.state.stop();
                self.clients = [const { None }; MAX_CLIENTS];
                self.now.steady += i64::from(input.byte()) * 1000;
                self.state.restart(self.now);
            }
            1 => {
                let at = usize::from(input.byte()) % self.sessions.len().max(1);
                if let Some((session, _)) = self.sessions.get(at) {
                    self.state.end_session(*session, self.now);
                }
            }
            2 => {
                self.state.disconnects.add(Disconnect::BeforeEffect, RequestFilter::default());
            }
            3 => {
                self.state.disconnects.add(Disconnect::BeforeReply, RequestFilter::default());
            }
            _ => {
                if let Some(word) = four_letter::recognise(input.word()) {
                    four_letter::answer(word, &mut self.state, 2181, self.now);
                }
            }
        }
    }

    /// Sends bytes from a client, in several pieces.
    fn send(&mut self, index: usize, bytes: &[u8], input: &mut Input<'_>) {
        if self.clients[index].is_none() {
            self.connections += 1;
            let connection = self.connections;
            self.state.connected(connection, SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)));
            let (reader, pending) = (RequestReader::default(), Some(VecDeque::new()));
            self.clients[index] = Some(Client { connection, reader, connected: false, pending });
        }
        let Some(client) = &mut self.clients[index] else { return };
        for piece in bytes.chunks(usize::from(input.byte()) + 1) {
            client.reader.buffer().extend_from_slice(piece);
            loop {
                match client.reader.next() {
                    Ok(Some(incoming)) => {
                        client.expect(&incoming);
                        self.state.handle(client.connection, incoming, self.now);
                    }
                    Ok(None) => break,
                    Err(_) => return self.disconnect(index),
                }
            }
        }
    }

    /// Delivers the server's output to the clients, and checks it.
    fn deliver(&mut self) {
        let (clients, sessions) = (&mut self.clients, &mut self.sessions);
        self.state.drain(|output| {
            let of_connection = |client: &&mut Option<Client>| {
                client.as_ref().map(|client| client.connection) == Some(output.connection)
            };
            let Some(slot) = clients.iter_mut().find(of_connection) else { return };
            if let Some(client) = slot {
                client.read(output.bytes, sessions);
            }
            if output.close.is_some() {
                *slot = None;
            }
        });
        self.state.disconnects.take_happened();
    }
}

impl Client {
    /// Records a request that is about to reach the server.
    fn expect(&mut self, incoming: &Incoming) {
        let Incoming::Request { xid, operation, .. } = incoming else { return };
        let xid = if *operation == Some(Operation::Ping) { -2 } else { *xid };
        match &mut self.pending {
            Some(pending) if xid != EVENT_XID => pending.push_back(xid),
            _ => self.pending = None,
        }
    }

    fn read(&mut self, mut output: BytesMut, sessions: &mut Vec<(i64, Bytes)>) {
        while !output.is_empty() {
            let length = usize::try_from(output.get_i32()).unwrap_or(usize::MAX);
            assert!(length <= output.len(), "a frame is whole");
            let mut frame = output.split_to(length).freeze();
            if !std::mem::replace(&mut self.connected, true) {
                frame.advance(8);
                let session = frame.get_i64();
                frame.advance(4);
                if session != 0 && !sessions.iter().any(|(known, _)| *known == session) {
                    sessions.push((session, frame.slice(..16)));
                }
                continue;
            }
            let xid = frame.get_i32();
            if xid != EVENT_XID
                && let Some(pending) = &mut self.pending
            {
                assert_eq!(pending.pop_front(), Some(xid), "replies come in the order of requests");
            }
        }
    }
}
