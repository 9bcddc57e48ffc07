//! Reads a whole fleet: few requests, bounded memory.

use atalaya_recipes::contenders::{Naming, in_line};
use atalaya_recipes::wrong_znode::is_ephemeral;
use atalaya_recipes::{Error, Link, Problem, Stat, WrongZnode};

use crate::leader::office::{BARRIER, COUNTER};
use crate::leader::outbox;
use crate::leader::roster::Roster;
use crate::leader::settling;
use crate::leader::term::{self, Term};
use crate::live::{self, Key};
use crate::overview::znodes::{all, children, read};
use crate::overview::{Measurement, Said, Seen};
use crate::presence;
use crate::settings::Settings;

/// Who reads, and remembers how large the znodes were: what has been read before takes fewer requests.
#[derive(Default)]
pub(super) struct Reader {
    measurements: Roster,
    presences: Roster,
    contenders: Roster,
}

impl Reader {
    pub(super) async fn read(&mut self, link: &Link, settings: &Settings) -> Result<Seen, Error> {
        // What others have written just now is to be seen.
        link.sync().await?;
        let mut seen = Seen::default();
        if let Some((data, stat)) = get(link, term::PATH).await? {
            seen.written(&stat);
            seen.wrong.extend(WrongZnode::not_persistent(term::PATH, &stat));
            seen.term = Term::parse(&data);
        }
        let period = format!("{}/{}", live::FLEET, Key::SamplingPeriod.name());
        if let Some((data, _)) = get(link, &period).await? {
            seen.period = live::period(&data);
        }
        seen.waiting = settling::cycles(link, outbox::PATH).await?.map_or(0, |cycles| cycles.len());
        seen.aside = below(link, outbox::ASIDE).await?;
        self.read_line(link, &settings.election, &mut seen).await?;
        read_barrier_and_counter(link, &mut seen).await?;
        let found = all(link, &settings.measurements, &mut self.measurements, Measurement::of).await?;
        for (name, stat, measurement) in found {
            seen.written(&stat);
            let path = format!("{}/{name}", settings.measurements);
            seen.wrong.extend(WrongZnode::not_ephemeral(&path, &stat));
            // What is called otherwise than this fleet's measurements is shown by its name.
            let id = settings.id_of(&name).unwrap_or(&name);
            seen.measurements.insert(id.to_owned(), measurement);
        }
        let found = all(link, presence::PARENT, &mut self.presences, |data, _| Said::of(data)).await?;
        for (id, stat, said) in found {
            seen.written(&stat);
            seen.wrong.extend(WrongZnode::not_ephemeral(&format!("{}/{id}", presence::PARENT), &stat));
            seen.presences.insert(id, said);
        }
        Ok(seen)
    }

    /// Reads the contenders of the election. A contender that is not ephemeral is not shown as the leader, although it blocks the
    /// election.
    async fn read_line(&mut self, link: &Link, election: &str, seen: &mut Seen) -> Result<(), Error> {
        let names = children(link, election).await?;
        let line: Vec<String> = in_line(Naming::Kazoo, &names).into_iter().map(str::to_owned).collect();
        seen.in_line = line.len();
        let Some(first) = line.first().cloned() else { return Ok(()) };
        for (name, stat, ()) in read(link, election, line, &mut self.contenders, |_, _| ()).await? {
            seen.wrong.extend(WrongZnode::not_ephemeral(&format!("{election}/{name}"), &stat));
        }
        if let Some((data, stat)) = get(link, &format!("{election}/{first}")).await?
            && is_ephemeral(stat.ephemeral_owner)
        {
            seen.leader = Some((String::from_utf8_lossy(&data).into_owned(), stat.ctime));
        }
        Ok(())
    }
}

/// Checks that the barrier can be opened, and that the counter holds a number.
async fn read_barrier_and_counter(link: &Link, seen: &mut Seen) -> Result<(), Error> {
    if let Some(stat) = link.stat(BARRIER).await? {
        seen.wrong.extend(WrongZnode::not_childless(BARRIER, &stat));
        seen.wrong.extend(WrongZnode::not_persistent(BARRIER, &stat));
    }
    if let Some((data, stat)) = get(link, COUNTER).await? {
        seen.wrong.extend(WrongZnode::not_persistent(COUNTER, &stat));
        let text = String::from_utf8_lossy(&data);
        if !text.trim().is_empty() && text.trim().parse::<i64>().is_err() {
            seen.wrong.push(WrongZnode::new(COUNTER, Problem::NotANumber));
        }
    }
    Ok(())
}

async fn get(link: &Link, path: &str) -> Result<Option<(Vec<u8>, Stat)>, Error> {
    match link.get(path).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_no_node() => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many children there are at `path`; their names are not read.
async fn below(link: &Link, path: &str) -> Result<usize, Error> {
    let stat = link.stat(path).await?;
    Ok(stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0)))
}
