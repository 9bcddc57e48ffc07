//! A small HTTP server in place of the REST API: it records every request, and fails on demand.

mod request;

use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::ports::Port;
use crate::wait::eventually;
use request::read_request;

pub use request::Recorded;

/// Behaviour for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiMode {
    /// Answers 200.
    Accept,
    /// Does not listen: connections are refused, open ones are cut. The port stays reserved.
    Refuse,
    /// Reads the request and never answers it, not even when the mode changes.
    Hang,
    /// Answers with this status.
    Status(u16),
    /// Answers 200 after this time.
    Slow(Duration),
    /// Answers 200, or 409 if the request's `Idempotency-Key` has been kept before.
    Once,
    /// Keeps the request, but answers with this status.
    KeepAndAnswer(u16),
    /// Keeps the request, and cuts the connection instead of an answer.
    KeepAndCut,
    /// Like `Accept`, but the sample with this sequence number is refused in the answer.
    RefuseSample(u64),
    /// Like `Accept`, but answers 400 to a request that contains the sample with this sequence number.
    RefuseBatch(u64),
    /// Like `Accept`, but answers with this status to a posted report of this cycle.
    RefuseCycle(u64, u16),
    /// Answers 200 and identifies itself as a collector, but does not answer requests with the fleet status for this
    /// time.
    Collector(Duration),
}

type Watcher = Box<dyn Fn(&Recorded) + Send + Sync>;

struct Shared {
    port: Port,
    state: Mutex<State>,
    changed: Condvar,
    watcher: Watcher,
}

struct State {
    mode: ApiMode,
    requests: Vec<Recorded>,
    /// Open connections, to cut them. A closed one is removed.
    connections: Vec<Arc<TcpStream>>,
    /// Increases each time the listener closes: connections of an older generation end.
    generation: u64,
}

/// The listener. Dropping it closes all connections.
pub struct Api {
    shared: Arc<Shared>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Api {
    /// Listens on loopback, on a reserved port, in mode [`ApiMode::Accept`].
    #[track_caller]
    pub fn start() -> Self {
        Self::start_watched(|_| {})
    }

    /// Listens like [`start`](Self::start), and passes each request to `watcher` when it arrives, on the connection's
    /// thread.
    #[track_caller]
    pub fn start_watched(watcher: impl Fn(&Recorded) + Send + Sync + 'static) -> Self {
        let state =
            State { mode: ApiMode::Accept, requests: Vec::new(), connections: Vec::new(), generation: 0 };
        let (port, watcher) = (Port::reserve(), Box::new(watcher));
        let shared = Arc::new(Shared { port, state: Mutex::new(state), changed: Condvar::new(), watcher });
        Self { listener: Mutex::new(Some(listen(&shared))), shared }
    }

    /// Returns the URL for averages: `http://127.0.0.1:PORT/nuevo`.
    pub fn url(&self) -> String {
        format!("{}nuevo", self.base_url())
    }

    /// Returns the URL without `nuevo`, ending in `/`.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.shared.port.number())
    }

    /// Sets the mode. When this returns, a new connection meets the new behaviour; a request that already hangs or
    /// waits continues to do so.
    #[track_caller]
    pub fn set(&self, mode: ApiMode) {
        let mut listener = self.listener.lock();
        self.shared.state.lock().mode = mode;
        match (mode, listener.take()) {
            (ApiMode::Refuse, running) => self.close(running),
            (_, None) => *listener = Some(listen(&self.shared)),
            (_, running) => *listener = running,
        }
    }

    /// Returns all requests so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state.lock().requests.clone()
    }

    /// Waits until `pred` is true of the requests, and returns them. `pred` is called when a request arrives or is
    /// answered, and a few times a second, for conditions on time.
    ///
    /// # Panics
    ///
    /// At the deadline. The message contains `what`, the awaited condition, and the last requests.
    #[track_caller]
    pub fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        pred: impl Fn(&[Recorded]) -> bool,
    ) -> Vec<Recorded> {
        let end = Instant::now() + deadline;
        loop {
            let last = Instant::now() >= end;
            // The copy is checked without the lock: requests continue to arrive.
            let requests = self.requests();
            if pred(&requests) {
                return requests;
            }
            if last {
                let tail: Vec<_> = requests.iter().rev().take(10).rev().map(ToString::to_string).collect();
                let count = requests.len();
                panic!(
                    "{what}: not within {deadline:?}; {count} requests, at last:\n  {}",
                    tail.join("\n  ")
                );
            }
            let mut state = self.shared.state.lock();
            if state.requests.len() == requests.len() {
                let pause = Duration::from_millis(100).min(end.saturating_duration_since(Instant::now()));
                self.shared.changed.wait_for(&mut state, pause);
            }
        }
    }

    /// Stops listening, cuts every connection, and waits until that is done.
    fn close(&self, listener: Option<JoinHandle<()>>) {
        let Some(listener) = listener else { return };
        self.shared.state.lock().generation += 1;
        // The listener is blocked in accept: any connection wakes it, and it sees that the generation has changed.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.shared.port.number()));
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(5));
        let _ = listener.join();
        for connection in self.shared.state.lock().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let listener = self.listener.get_mut().take();
        self.close(listener);
    }
}

fn listen(shared: &Arc<Shared>) -> JoinHandle<()> {
    let address = (Ipv4Addr::LOCALHOST, shared.port.number());
    let listener = eventually("the API listens", Duration::from_secs(10), || TcpListener::bind(address).ok());
    let shared = Arc::clone(shared);
    let generation = shared.state.lock().generation;
    let accept = move || {
        for stream in listener.incoming() {
            let mut state = shared.state.lock();
            if state.generation != generation {
                return;
            }
            let Ok(stream) = stream.map(Arc::new) else { continue };
            state.connections.push(Arc::clone(&stream));
            drop(state);
            let shared = Arc::clone(&shared);
            let serve = move || {
                // An error on a connection concerns only its client.
                let _ = serve(&shared, &stream, generation);
                shared.state.lock().connections.retain(|open| !Arc::ptr_eq(open, &stream));
                let _ = stream.shutdown(Shutdown::Both);
            };
            thread::Builder::new().name("api connection".into()).spawn(serve).expect("start a thread");
        }
    };
    thread::Builder::new().name("api".into()).spawn(accept).expect("start the thread that listens")
}

/// Answers the requests of one connection, one after the other, until the client or the listener closes it.
fn serve(shared: &Shared, stream: &TcpStream, generation: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read_request(&mut input, stream)? {
        (shared.watcher)(&request);
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut state = shared.state.lock();
        let mode = state.mode;
        let number = state.requests.len();
        let samples = request.samples();
        let has_sample = |seq| samples.as_ref().is_some_and(|samples| samples.contains(&seq));
        let key = request.header("idempotency-key");
        let is_repeat = |other: &Recorded| other.kept && other.header("idempotency-key") == key;
        let (kept, status) = match mode {
            ApiMode::RefuseCycle(refused, status) if request.cycle() == Some(refused) => (false, status),
            ApiMode::RefuseBatch(seq) if has_sample(seq) => (false, 400),
            ApiMode::Once if key.is_some() && state.requests.iter().any(is_repeat) => (false, 409),
            ApiMode::Status(status) => ((200..300).contains(&status), status),
            ApiMode::KeepAndAnswer(status) => (true, status),
            mode => (mode != ApiMode::Hang, 200),
        };
        let is_fleet_status = request.path == "/api/v1/fleet";
        state.requests.push(Recorded { kept, ..request });
        shared.changed.notify_all();
        match mode {
            ApiMode::KeepAndCut => return Ok(()),
            ApiMode::Collector(_) if !is_fleet_status => {}
            ApiMode::Slow(time) | ApiMode::Collector(time) => {
                shared.changed.wait_while_for(&mut state, |state| state.generation == generation, time);
            }
            ApiMode::Hang => {
                drop(state);
                // Ends when the client disconnects or the listener closes. Further requests on this connection are
                // ignored.
                io::copy(&mut input, &mut io::sink())?;
                return Ok(());
            }
            _ => {}
        }
        let is_over = state.generation != generation;
        drop(state);
        if is_over || has_left(stream)? {
            return Ok(());
        }
        let refused = if let ApiMode::RefuseSample(seq) = mode { Some(seq) } else { None };
        let body = match &samples {
            Some(samples) if status == 200 => answer_about(samples, refused),
            _ if status < 300 => "ok\n".to_owned(),
            _ => "as told\n".to_owned(),
        };
        let own = if matches!(mode, ApiMode::Collector(_)) { "atalaya-collector: 1\r\n" } else { "" };
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!("content-type: text/plain\r\n{own}connection: {connection}\r\n");
        answer(shared, stream, number, status, &head, &body)?;
        if close {
            return Ok(());
        }
    }
    Ok(())
}

fn answer(
    shared: &Shared,
    mut stream: &TcpStream,
    number: usize,
    status: u16,
    head: &str,
    body: &str,
) -> io::Result<()> {
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} Answer\r\n{head}content-length: {length}\r\n\r\n{body}");
    // Set before the answer is sent: a client that has the answer may read this at once.
    shared.state.lock().requests[number].answered = Some(status);
    if let Err(error) = stream.write_all(answer.as_bytes()) {
        shared.state.lock().requests[number].answered = None;
        return Err(error);
    }
    shared.changed.notify_all();
    Ok(())
}

/// Returns a collector's answer about samples with these sequence numbers, of which it refuses one.
fn answer_about(samples: &[u64], refused: Option<u64>) -> String {
    let index = refused.and_then(|refused| samples.iter().position(|seq| *seq == refused));
    let refused: Vec<_> = index
        .map(|index| serde_json::json!({"index": index, "seq": samples[index], "code": "value", "detail": "as told"}))
        .into_iter()
        .collect();
    let (accepted, count) = (samples.len() - refused.len(), refused.len());
    serde_json::json!({"accepted": accepted, "repeated": 0, "refused": refused, "refused_count": count})
        .to_string()
}

/// Returns true if the client closed its end while it waited.
fn has_left(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    Ok(match peeked {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    })
}
