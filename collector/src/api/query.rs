//! Strict parser for the parameters of a request: each parameter at most once, in UTF-8. Also derives filters and
//! limits.

use jiff::{SignedDuration, Timestamp};

use crate::report::{Invalid, name, shortened};
use crate::store::{Cursor, Filter};

/// Parameters that have not been read yet.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses the part after `?`, or a form.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Query, Invalid> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(encoded).map(|(name, value)| (name.into(), value.into())).collect();
        // The decoder replaces bytes that are not UTF-8 with this character.
        let broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        if pairs.iter().any(|(name, value)| broken(name) || broken(value)) {
            return Err(Invalid::new("the parameters are not UTF-8"));
        }
        Ok(Query { pairs })
    }

    pub(crate) fn take(&mut self, wanted: &str) -> Result<Option<String>, Invalid> {
        let Some(at) = self.pairs.iter().position(|(name, _)| name == wanted) else { return Ok(None) };
        let (_, value) = self.pairs.swap_remove(at);
        if self.pairs.iter().any(|(name, _)| name == wanted) {
            return Err(Invalid::new(format!("{wanted} is there more than once")));
        }
        Ok(Some(value))
    }

    /// Reads a limit from 1 to `most`; the default is `usual`.
    pub(super) fn limit(&mut self, usual: usize, most: usize) -> Result<usize, Invalid> {
        let Some(limit) = self.take("limit")? else { return Ok(usual) };
        match limit.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(Invalid::new(format!("limit: {:?} is not 1 to {most}", shortened(&limit)))),
        }
    }

    pub(super) fn filter(&mut self) -> Result<Filter, Invalid> {
        let from = self.time("from")?;
        let to = self.time("to")?;
        let quantity = self.take("quantity")?.map(|text| name("quantity", &text)).transpose()?;
        let unit = self.take("unit")?.map(|text| name("unit", &text)).transpose()?;
        Ok(Filter { from, to, quantity, unit })
    }

    fn time(&mut self, wanted: &str) -> Result<Option<Timestamp>, Invalid> {
        let Some(text) = self.take(wanted)? else { return Ok(None) };
        // The plus sign of an offset that was not encoded has become a space.
        let time = text.replace(' ', "+").parse().map_err(|_| {
            Invalid::new(format!("{wanted}: {:?} is not a time like 2026-11-21T08:00:00Z", shortened(&text)))
        })?;
        Ok(Some(time))
    }

    /// Reads the step, in microseconds.
    pub(super) fn step(&mut self) -> Result<Option<i64>, Invalid> {
        let Some(text) = self.take("step")? else { return Ok(None) };
        let wrong =
            || Invalid::new(format!("step: {:?} is not 1s to 366d, like 30, 5m or 1h", shortened(&text)));
        let step = match text.parse::<i64>() {
            Ok(seconds) => SignedDuration::from_secs(seconds),
            // A day always has 24 hours here.
            Err(_) => match text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()) {
                Some(days) => SignedDuration::from_secs(days.checked_mul(86_400).ok_or_else(wrong)?),
                None => text.parse().map_err(|_| wrong())?,
            },
        };
        if step < SignedDuration::from_secs(1) || step > SignedDuration::from_hours(366 * 24) {
            return Err(wrong());
        }
        i64::try_from(step.as_micros()).map(Some).map_err(|_| wrong())
    }

    pub(super) fn cursor(&mut self) -> Result<Option<Cursor>, Invalid> {
        let Some(text) = self.take("cursor")? else { return Ok(None) };
        let read = |text: &str| {
            let (time, id) = text.split_once('-')?;
            Some(Cursor { time: time.parse().ok()?, id: id.parse().ok()? })
        };
        read(&text).map(Some).ok_or_else(|| Invalid::new("cursor: not one of ours"))
    }

    /// Refuses parameters that were not read: a misspelt name would otherwise change the meaning of the request.
    pub(super) fn finish(self) -> Result<(), Invalid> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(Invalid::new(format!("{:?} is no parameter here", shortened(name)))),
        }
    }
}

/// Formats a cursor for [`Query::cursor`].
pub(super) fn cursor_text(cursor: Cursor) -> String {
    format!("{}-{}", cursor.time, cursor.id)
}

/// Returns true if an `Accept` header prefers `wanted` to `usual`, the default format.
pub(super) fn prefers(accept: Option<&str>, wanted: &str, usual: &str) -> bool {
    let Some(accept) = accept else { return false };
    let quality = |media: &str| {
        let group = format!("{}/*", media.split('/').next().unwrap_or_default());
        // The most specific media range decides.
        [media, &group, "*/*"].into_iter().find_map(|range| {
            accept.split(',').find_map(|part| {
                let mut parameters = part.split(';').map(str::trim);
                let same = parameters.next().is_some_and(|own| own.eq_ignore_ascii_case(range));
                let quality = parameters
                    .find_map(|parameter| parameter.strip_prefix("q="))
                    .map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(0.0));
                same.then_some(quality)
            })
        })
    };
    quality(wanted).unwrap_or(0.0) > quality(usual).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_is_taken_once() {
        assert_eq!(query("a=1&b=%C3%B1+x").take("b"), Ok(Some("ñ x".to_owned())));
        assert_eq!(query("a=1").take("b"), Ok(None));
        assert!(query("a=1&a=1").take("a").is_err());
        assert!(Query::parse(b"a=%FF").is_err() && Query::parse(b"a=\xff").is_err());
        assert!(query("limt=5").finish().is_err() && query("").finish().is_ok());
    }

    #[test]
    fn times_steps_and_limits() {
        let zulu = query("from=2026-11-21T08:00:00Z").filter().unwrap().from.unwrap();
        for same in ["2026-11-21T09:00:00+01:00", "2026-11-21T09:00:00%2B01:00"] {
            assert_eq!(query(&format!("from={same}")).filter().unwrap().from, Some(zulu));
        }
        for (text, seconds) in [("30", 30), ("5m", 300), ("1h", 3600), ("2d", 172_800)] {
            assert_eq!(query(&format!("step={text}")).step(), Ok(Some(seconds * 1_000_000)));
        }
        for wrong in [
            "0",
            "-1",
            "",
            "0.1s",
            "367d",
            "9223372036854775807",
            "9223372036854775807d",
            "99999999999999999d",
            "x",
        ] {
            assert!(query(&format!("step={wrong}")).step().is_err(), "{wrong}");
        }
        assert_eq!(query("limit=5").limit(1, 9), Ok(5));
        assert_eq!(query("").limit(1, 9), Ok(1));
        for wrong in ["0", "10", "-1", "x", "99999999999999999999"] {
            assert!(query(&format!("limit={wrong}")).limit(1, 9).is_err());
        }
    }

    #[test]
    fn what_is_preferred() {
        let csv = |accept| prefers(accept, "text/csv", "application/json");
        for yes in ["text/csv", "text/*", "application/json;q=0.5, text/csv", "TEXT/CSV; q=0.9, */*;q=0.1"] {
            assert!(csv(Some(yes)), "{yes}");
        }
        for no in ["*/*", "application/json", "", "text/html", "text/csv;q=0", "text/csv, application/json"] {
            assert!(!csv(Some(no)), "{no}");
        }
        assert!(!csv(None));
    }

    proptest! {
        #[test]
        fn parameters_of_arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(mut query) = Query::parse(&bytes) {
                let _ = (query.filter(), query.step(), query.cursor(), query.limit(1, 2), query.finish());
            }
        }

        #[test]
        fn nothing_asked_panics(text in ".*", cursor in any::<(i64, i64)>(), days in any::<i64>()) {
            if let Ok(mut query) = Query::parse(text.as_bytes()) {
                let _ = (query.filter(), query.step(), query.cursor(), query.limit(1, 2));
            }
            let _ = query(&format!("step={days}d")).step();
            prefers(Some(&text), "text/csv", "application/json");
            let cursor = Cursor { time: cursor.0.saturating_abs(), id: cursor.1 };
            prop_assert_eq!(query(&format!("cursor={}", cursor_text(cursor))).cursor(), Ok(Some(cursor)));
        }
    }
}
