//! A counter with several clients.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::bail;
use atalaya_recipes::{Counter, Session};

use super::{all, begin, now};

/// Handling of lost replies.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Exact,
    Compatible,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> anyhow::Result<Kind> {
        match word {
            "exact" => Ok(Kind::Exact),
            "compatible" => Ok(Kind::Compatible),
            _ => bail!("{word}: no such counter"),
        }
    }
}

impl Kind {
    pub(crate) fn counter(self, session: Session, path: &str) -> Counter {
        match self {
            Kind::Exact => Counter::exact(session, path),
            Kind::Compatible => Counter::compatible(session, path),
        }
    }
}

/// Adds for a time span, after one warm-up addition per client. Returns start, end, the number of additions in between,
/// and the total.
pub(crate) async fn add(
    sessions: &[Session],
    path: &str,
    kind: Kind,
    time: Duration,
) -> anyhow::Result<String> {
    let counters: Vec<Counter> = sessions.iter().map(|session| kind.counter(session.clone(), path)).collect();
    for counter in &counters {
        counter.add(1).await?;
    }
    let (start, end) = (now(), Instant::now() + time);
    let writers = counters.into_iter().map(|counter| async move {
        let mut added = 0;
        while Instant::now() < end {
            counter.add(1).await?;
            added += 1;
        }
        Ok::<_, anyhow::Error>((counter, added, now()))
    });
    let (mut added, mut end) = (0_u64, start);
    for (counter, more, until) in all(begin(writers)).await? {
        added += more;
        end = end.max(until);
        counter.close().await;
    }
    Ok(format!(
        "{{\"begin\":{start},\"end\":{end},\"added\":{added},\"all\":{},\"failed\":0}}",
        added + sessions.len() as u64
    ))
}

/// Returns the value of the counter.
pub(crate) async fn value(session: &Session, path: &str) -> anyhow::Result<String> {
    let value = Counter::compatible(session.clone(), path).get().await?;
    Ok(format!("{{\"value\":{value}}}"))
}
