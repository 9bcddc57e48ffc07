//! Reads a whole fleet: few requests, bounded memory.

use atalaya_recipes::contenders::{Naming, in_line};
use atalaya_recipes::{Error, Link, Stat};

use crate::leader::outbox;
use crate::leader::roster::Roster;
use crate::leader::term::{self, Term};
use crate::live::{self, Key};
use crate::overview::znodes::{all, children};
use crate::overview::{Measurement, Said, Seen};
use crate::presence;
use crate::settings::Settings;

/// Who reads, and remembers how large the znodes were: what has been read before takes fewer requests.
#[derive(Default)]
pub(super) struct Reader {
    measurements: Roster,
    presences: Roster,
}

impl Reader {
    pub(super) async fn read(&mut self, link: &Link, settings: &Settings) -> Result<Seen, Error> {
        // What others have written just now is to be seen.
        link.sync().await?;
        let mut seen = Seen::default();
        if let Some((data, stat)) = get(link, term::PATH).await? {
            seen.written(&stat);
            seen.term = Term::parse(&data);
        }
        let period = format!("{}/{}", live::FLEET, Key::SamplingPeriod.name());
        if let Some((data, _)) = get(link, &period).await? {
            seen.period = live::period(&data);
        }
        seen.waiting = below(link, outbox::PATH).await?;
        seen.aside = below(link, outbox::ASIDE).await?;
        let line = children(link, &settings.election).await?;
        let line = in_line(Naming::Kazoo, &line);
        seen.in_line = line.len();
        if let Some(first) = line.first()
            && let Some((data, stat)) = get(link, &format!("{}/{first}", settings.election)).await?
        {
            seen.leader = Some((String::from_utf8_lossy(&data).into_owned(), stat.ctime));
        }
        let found = all(link, &settings.measurements, &mut self.measurements, Measurement::of).await?;
        for (name, stat, measurement) in found {
            seen.written(&stat);
            // What is called otherwise than this fleet's measurements is shown by its name.
            let id = settings.id_of(&name).unwrap_or(&name);
            seen.measurements.insert(id.to_owned(), measurement);
        }
        let found = all(link, presence::PARENT, &mut self.presences, |data, _| Said::of(data)).await?;
        for (id, stat, said) in found {
            seen.written(&stat);
            seen.presences.insert(id, said);
        }
        Ok(seen)
    }
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
