//! Hostile and broken servers: memory stays bounded, the reason is clear and logged once, and the next server is used.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atalaya_recipes::session::BadResponse;
use atalaya_recipes::{ConnectError, Error, Session, SessionOptions};
use atalaya_zookeeper::Server;

use crate::support::memory::{DEADLINE, soon};
use crate::support::{Logs, until};

/// Name of the attack that the process of a test plays, in its environment.
const ATTACK: &str = "ATALAYA_TEST_ATTACK";
/// Maximum growth of the process.
const MAX_GROWTH: usize = 64 * 1024 * 1024;
const MAX_RESPONSE: usize = 16 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(1);
/// Pause between the bytes of a response that is never complete.
const PAUSE: Duration = Duration::from_millis(20);

const PING: i32 = 11;
const CLOSE: i32 = -11;

/// Name of the attack with a response of 2 GiB.
pub(crate) const TOO_LONG: &str = "2-gib";
/// Attacks instead of the first response: announced length, and the bytes that follow without end.
const BEFORE_SESSION: [(&str, [u8; 4], &[u8]); 6] = [
    (TOO_LONG, i32::MAX.to_be_bytes(), &[0; 65_536]),
    ("16-mib-and-1", (MAX_RESPONSE as i32 + 1).to_be_bytes(), &[0; 65_536]),
    ("negative", (-1i32).to_be_bytes(), &[0; 65_536]),
    ("zero", [0; 4], &[0; 65_536]),
    ("four-letter-word", *b"rwrw", b"rw"),
    ("text", *b"HTTP", b"/1.1 400 Bad Request"),
];
/// Attacks in a session, in the response to `getChildren` or `getData`: body after the header.
const IN_SESSION: [(&str, &[u8]); 2] = [("huge-list", &[0x7f, 0xff, 0xff, 0xff]), ("no-data", &[])];
const TRICKLE: &str = "never-complete";
const READ_ONLY: &str = "read-only";

fn write_frame(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(&[&(body.len() as i32).to_be_bytes()[..], body].concat())
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    assert_ne!(&length, b"isro", "the client sends no four-letter words");
    let mut body = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Serves one connection of the client. Ends with an error when the client closes the connection.
fn attack(attack: &str, stream: &mut TcpStream) -> std::io::Result<()> {
    read_frame(stream)?;
    if let Some((_, announced, endless)) = BEFORE_SESSION.iter().find(|(name, ..)| *name == attack) {
        stream.write_all(announced)?;
        loop {
            stream.write_all(endless)?;
        }
    }
    let read_only = u8::from(attack == READ_ONLY);
    let session = 0x0100_0000_0000_0001_i64.to_be_bytes();
    let timeout = (TIMEOUT.as_millis() as i32).to_be_bytes();
    write_frame(
        stream,
        &[&[0; 4], &timeout[..], &session, &16i32.to_be_bytes(), &[1; 16], &[read_only]].concat(),
    )?;
    loop {
        let request = read_frame(stream)?;
        let header = [&request[..4], &[0; 12]].concat();
        match i32::from_be_bytes(request[4..8].try_into().unwrap()) {
            PING | CLOSE => write_frame(stream, &header)?,
            _ if attack == TRICKLE => trickle(stream)?,
            _ => {
                let body = IN_SESSION.iter().find(|(name, _)| *name == attack).unwrap().1;
                write_frame(stream, &[&header, body].concat())?;
            }
        }
    }
}

/// Announces a response of the maximum length and sends it byte by byte.
fn trickle(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&(MAX_RESPONSE as i32).to_be_bytes())?;
    stream.set_read_timeout(Some(PAUSE))?;
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        stream.write_all(&[0])?;
    }
}

/// Starts a hostile server. Returns its address and the number of its connections.
pub(crate) fn start_hostile(name: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::Relaxed);
            let name = name.clone();
            // An error is the end of the connection.
            std::thread::spawn(move || attack(&name, &mut stream.unwrap()).unwrap_err());
        }
    });
    (address, connections)
}

/// Returns a size of this process in bytes, such as `VmRSS` or `VmHWM`, the maximum of it.
fn memory(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn expected(attack: &str, server: &str) -> ConnectError {
    let problem = match attack {
        READ_ONLY => return ConnectError::Unreachable,
        TRICKLE => BadResponse::Incomplete(TIMEOUT * 2),
        "huge-list" => BadResponse::Count { count: i32::MAX, length: 20 },
        "no-data" => BadResponse::NoStat { length: 16 },
        name => {
            let (_, announced, _) = BEFORE_SESSION.iter().find(|(known, ..)| *known == name).unwrap();
            BadResponse::Length { length: i32::from_be_bytes(*announced), max: MAX_RESPONSE }
        }
    };
    ConnectError::BadResponse { server: server.to_owned(), problem }
}

/// Makes the request that the attack answers.
async fn request(attack: &str, session: &Session) -> Result<(), Error> {
    let connection = session.connection().await;
    match attack {
        "no-data" => connection.get("/").await.map(drop),
        _ => connection.children("/").await.map(drop),
    }
}

/// Plays one attack in this process, with a good server beside the hostile one, which refuses connections at first.
async fn play(attack: &str, logs: &Logs) {
    let good = Server::builder().tick(TIMEOUT / 4).start().await.unwrap();
    good.faults().refuse_connections(true);
    let (hostile, connections) = start_hostile(attack.to_owned());
    let before = memory("VmRSS");

    let servers = format!("{hostile},{}", good.connect_string());
    let session = Session::start(SessionOptions::new(servers.parse().unwrap(), TIMEOUT));
    let mut errors = session.connect_error();
    let error = expected(attack, &hostile);
    let reason = error.to_string();
    let is_in_session = attack == TRICKLE || IN_SESSION.iter().any(|(name, _)| *name == attack);
    for _ in 0..3 {
        let attacked = connections.load(Ordering::Relaxed);
        if is_in_session {
            // The client reconnects at once, and the reason is withdrawn.
            soon("the failed request", request(attack, &session)).await.unwrap_err();
        } else {
            soon("the reason", errors.wait_for(|found| found.as_ref() == Some(&error))).await.unwrap();
        }
        until("another attack", async || (connections.load(Ordering::Relaxed) > attacked).then_some(()))
            .await;
    }
    let logged = || logs.warnings().iter().filter(|line| line.contains(&reason)).count();
    until("the reason in the log", async || (logged() > 0).then_some(())).await;
    assert_eq!(logged(), 1, "{reason}: {:#?}", logs.warnings());

    good.faults().refuse_connections(false);
    until("a session with the good server", async || {
        // The client tries the servers in random order. A session that the hostile server has begun does not exist on
        // the good server.
        request(attack, &session).await.ok()?;
        let connection = session.connection().await;
        (good.faults().sessions().await == [connection.session_id()]).then_some(())
    })
    .await;
    let growth = memory("VmHWM").saturating_sub(before);
    assert!(growth < MAX_GROWTH, "{attack}: grew by {growth} bytes");
    println!("{attack}: grew by {} KiB; {reason}", growth / 1024);
}

#[test]
fn hostile_server_is_refused_within_64_mib_and_the_next_server_is_used() {
    if let Ok(attack) = std::env::var(ATTACK) {
        let logs = Logs::default();
        let writer = logs.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(play(&attack, &logs));
    }
    let attacks = BEFORE_SESSION.iter().map(|(name, ..)| *name);
    let attacks = attacks.chain(IN_SESSION.iter().map(|(name, _)| *name)).chain([TRICKLE, READ_ONLY]);
    let test = "limits::hostile_server_is_refused_within_64_mib_and_the_next_server_is_used";
    let start = |attack: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(ATTACK, attack);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let processes: Vec<_> = attacks.map(|attack| (attack, start(attack))).collect();
    for (attack, process) in processes {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{attack}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(&format!("{attack}: grew by")), "{attack}: {text}");
        print!("{text}");
    }
}

#[tokio::test]
async fn session_leaves_no_task_when_it_is_closed_or_dropped() {
    let server = Server::builder().tick(TIMEOUT / 4).start_thread().unwrap();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let start = |servers: String| Session::start(SessionOptions::new(servers.parse().unwrap(), TIMEOUT));
    let closed = start(server.connect_string());
    let dropped = start(server.connect_string());
    let connecting = start(silent);
    for session in [&closed, &dropped] {
        soon("a connection", session.connection()).await;
    }
    assert!(tasks() > before);
    assert!(closed.close(DEADLINE).await);
    drop((dropped, connecting, closed));
    // A task of the relay owns its port and its connections.
    until("the end of all tasks", async || (tasks() == before).then_some(())).await;
    until("the end of all sessions", async || server.faults().sessions().await.is_empty().then_some(()))
        .await;
}
