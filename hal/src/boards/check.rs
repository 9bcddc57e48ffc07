//! Checks that need more than one value of boards.toml, and the conversion from the serde structs to the public
//! structs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;

use super::error::{BoardsError, Located, Source, printable};
use super::raw::{RawBoard, RawFile, RawFleet};
use super::raw_tasks::tasks;
use super::sensor::{Seen, sensor};
use super::value::{Period, Table};
use super::{Board, Boards, Fleet, builtin_boards};

/// Maximum length of the name of a sensor or board.
const MAX_NAME: usize = 64;

pub(super) fn boards(raw: RawFile, source: &Source<'_>) -> Result<Boards, BoardsError> {
    let fleet = fleet(raw.fleet.map(|Table(fleet)| fleet).unwrap_or_default(), source)?;
    let mut boards = BTreeMap::new();
    for (name, Table(raw)) in raw.boards {
        check_name("board", &name, source)?;
        let board = board(raw, &name, source)?;
        boards.insert(name.into_inner(), board);
    }
    if boards.is_empty() {
        boards = builtin_boards();
    }
    Ok(Boards { fleet, boards, base_dir: PathBuf::new(), origin: source.origin().to_owned() })
}

fn fleet(raw: RawFleet, source: &Source<'_>) -> Result<Fleet, BoardsError> {
    let located = |text: Option<Spanned<String>>, check: fn(&str) -> Checked| {
        let Some(text) = text else { return Ok(None) };
        match check(text.get_ref()) {
            Ok(()) => Ok(Some(locate(text, source))),
            Err((problem, remedy)) => Err(source.error(text.span(), problem, remedy)),
        }
    };
    let duration = |period: Option<Spanned<Period>>| {
        period.map(|period| {
            let Located { value: Period(value), at } = locate(period, source);
            Located { value, at }
        })
    };
    Ok(Fleet {
        zookeeper: located(raw.zookeeper, check_hosts)?,
        zookeeper_ca: located(raw.zookeeper_ca, check_file)?,
        zookeeper_certificate: located(raw.zookeeper_certificate, check_file)?,
        zookeeper_key: located(raw.zookeeper_key, check_file)?,
        zookeeper_auth: located(raw.zookeeper_auth, check_text)?,
        zookeeper_user: located(raw.zookeeper_user, check_text)?,
        zookeeper_password_file: located(raw.zookeeper_password_file, check_file)?,
        acl: located(raw.acl, check_text)?,
        acl_fleet: located(raw.acl_fleet, check_text)?,
        acl_admin: located(raw.acl_admin, check_text)?,
        session_timeout: duration(raw.session_timeout),
        sampling_period: duration(raw.sampling_period),
        sync: raw.sync.map(|sync| locate(sync, source)),
        release: raw.release.map(|release| locate(release, source)),
        counter: raw.counter.map(|counter| locate(counter, source)),
        measurements: located(raw.measurements, check_path)?,
        name: located(raw.name, check_znode_name)?,
        election: located(raw.election, check_path)?,
        lead: raw.lead.map(|lead| locate(lead, source)),
        api_url: located(raw.api_url, check_url)?,
        api_method: raw.api_method.map(|method| locate(method, source)),
        api_token_file: located(raw.api_token_file, check_file)?,
        api_token_origin: located(raw.api_token_origin, check_url)?,
        api_origins: raw.api_origins.map(|origins| locate(origins, source)),
        metrics_listen: raw.metrics_listen.map(|listen| locate(listen, source)),
    })
}

fn locate<T>(value: Spanned<T>, source: &Source<'_>) -> Located<T> {
    let at = source.location(value.span());
    Located { value: value.into_inner(), at }
}

type Checked = Result<(), (String, &'static str)>;

fn check_hosts(text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(("no hosts".to_owned(), "write hosts with ports, such as \"127.0.0.1:2181\""));
    }
    Ok(())
}

/// Checks an absolute path that is not the root, by ZooKeeper's rules.
fn check_path(text: &str) -> Checked {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
    match text.strip_prefix('/') {
        Some(parts) if !parts.split('/').any(bad) => Ok(()),
        _ => Err((
            format!("`{}` is no path of ZooKeeper", printable(text)),
            "write an absolute path that does not end in `/`, such as \"/mediciones\"",
        )),
    }
}

fn check_znode_name(text: &str) -> Checked {
    let remedy = "write `{id}` exactly once and no `/`, such as \"{id}\" or \"app{id}\"";
    let shown = printable(text);
    match text.matches("{id}").count() {
        _ if text.contains('/') => Err((format!("`{shown}` contains a `/`"), remedy)),
        _ if text.contains(char::is_control) => {
            Err((format!("`{shown}` contains a control character"), remedy))
        }
        0 => Err((format!("`{shown}` is the same for every node"), remedy)),
        1 => Ok(()),
        _ => Err((format!("`{shown}` contains `{{id}}` more than once"), remedy)),
    }
}

fn check_text(text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(("the value is empty".to_owned(), "write a value, or remove the key"));
    }
    Ok(())
}

fn check_file(text: &str) -> Checked {
    if text.trim().is_empty() || text.contains('\0') {
        let problem = format!("`{}` is no path of a file", printable(text));
        return Err((problem, "write the path of a file, such as \"/etc/atalaya/api-token\""));
    }
    Ok(())
}

fn check_url(text: &str) -> Checked {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
        return Ok(());
    }
    Err((
        format!("`{}` is no URL of HTTP", printable(text)),
        "write it with scheme and host, such as \"http://127.0.0.1:8000/nuevo\"",
    ))
}

/// Checks a name. Names appear in logs, JSON and SenML (RFC 8428, section 4.5.1, allows these characters).
pub(super) fn check_name(what: &str, name: &Spanned<String>, source: &Source<'_>) -> Result<(), BoardsError> {
    let text = name.get_ref();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.len() <= MAX_NAME && text.bytes().all(allowed) {
        return Ok(());
    }
    let problem = format!("`{}` is no name for a {what}", printable(text));
    let remedy = "use 1 to 64 letters, digits, `-`, `_`, `.` and `:`, a letter or digit first";
    Err(source.error(name.span(), problem, remedy))
}

fn board(raw: RawBoard, name: &Spanned<String>, source: &Source<'_>) -> Result<Board, BoardsError> {
    let board = name.get_ref();
    let remedy = || format!("add a sensor below a header [[boards.{board}.sensors]]");
    let Some(sensors) = raw.sensors else {
        return Err(source.error(name.span(), format!("the board `{board}` has no sensors"), remedy()));
    };
    if sensors.get_ref().is_empty() {
        return Err(source.error(sensors.span(), format!("the board `{board}` has no sensors"), remedy()));
    }
    let backend = *raw.backend.get_ref();
    let mut seen = Seen::default();
    let mut checked = Vec::new();
    for Table(raw) in sensors.into_inner() {
        checked.push(sensor(raw, backend, &mut seen, source)?);
    }
    let tasks = raw.tasks.map(|raw| tasks(raw, &checked, source)).transpose()?;
    Ok(Board { backend, sensors: checked, tasks })
}
