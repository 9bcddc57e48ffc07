//! Parameters of the page, from the address and the headers. Values that cannot be parsed are ignored, because people
//! mistype addresses. Pure.

use axum::http::{HeaderMap, header};
use jiff::tz;

use super::i18n::Lang;
use super::range::Range;
use crate::auth::COOKIE;
use crate::fleet_name::FleetName;
use crate::params::cookie;
use crate::report::Report;

/// Parameters of the page.
#[derive(Clone, Debug)]
pub(super) struct PageParams {
    /// Fleet, or one of its zones.
    pub(super) fleet: FleetName,
    /// True if the address names a fleet as a whole: neither a zone nor, with a `/` at the end, the part without a zone.
    pub(super) is_whole: bool,
    /// True if the address contains the fleet.
    pub(super) has_fleet: bool,
    pub(super) lang: Lang,
    /// True if the address contains the language.
    has_lang: bool,
    pub(super) range: Range,
    /// True if the address contains the range.
    pub(super) has_range: bool,
    quantity: Option<String>,
    unit: Option<String>,
    /// True if the address contains the quantity that is displayed large.
    has_kind: bool,
    /// Offset from UTC of the browser's clock, in seconds, from a cookie that the script has set.
    ahead: i32,
    /// True if the user may sign out.
    pub(super) may_leave: bool,
}

/// Parameters in the address of a page.
pub(super) trait FromAddress {
    /// Parses the parameters.
    fn of(query: Option<&str>, headers: &HeaderMap) -> Self;
}

impl FromAddress for PageParams {
    fn of(query: Option<&str>, headers: &HeaderMap) -> PageParams {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let get = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
        let some = |name| get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let accept = headers.get(header::ACCEPT_LANGUAGE).and_then(|accept| accept.to_str().ok());
        let minutes = cookie(headers, "tz").and_then(|minutes| minutes.parse::<i32>().ok());
        let fleet = get("fleet").and_then(fleet_or_zone);
        PageParams {
            is_whole: fleet.as_ref().is_none_or(|(_, is_whole)| *is_whole),
            fleet: fleet.map(|(fleet, _)| fleet).unwrap_or_default(),
            has_fleet: get("fleet").is_some(),
            lang: Lang::choose(get("lang"), accept),
            has_lang: get("lang").is_some(),
            range: Range::named(get("range")),
            has_range: get("range").is_some(),
            quantity: some("quantity"),
            unit: some("unit"),
            has_kind: get("quantity").or(get("unit")).is_some(),
            ahead: minutes.filter(|minutes| minutes.abs() <= 18 * 60).map_or(0, |minutes| minutes * 60),
            may_leave: cookie(headers, COOKIE).is_some(),
        }
    }
}

impl PageParams {
    /// Returns the offset from UTC of the browser's clock.
    pub(super) fn offset(&self) -> tz::Offset {
        tz::Offset::from_seconds(self.ahead).unwrap_or(tz::Offset::UTC)
    }

    /// Returns true if the address selects this report to be displayed large.
    pub(super) fn selects(&self, report: &Report) -> bool {
        self.has_kind && report.quantity == self.quantity && report.unit == self.unit
    }

    fn address(
        &self,
        range: Range,
        kind: Option<(Option<&str>, Option<&str>)>,
        lang: Option<Lang>,
    ) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
        if let Some(fleet) = self.fleet_text() {
            query.append_pair("fleet", &fleet);
        }
        query.append_pair("range", range.name);
        if let Some((quantity, unit)) = kind {
            query.append_pair("quantity", quantity.unwrap_or_default());
            query.append_pair("unit", unit.unwrap_or_default());
        }
        if let Some(lang) = lang {
            query.append_pair("lang", lang.messages().code);
        }
        query.finish()
    }

    /// Returns the range and the language as pairs, if the address contains them.
    pub(super) fn common(&self) -> Vec<(&'static str, &'static str)> {
        let range = self.has_range.then_some(("range", self.range.name));
        let lang = self.has_lang.then_some(("lang", self.lang.messages().code));
        range.into_iter().chain(lang).collect()
    }

    /// Returns the address of a page of the same fleet, range and language, with further parameters.
    pub(super) fn link(&self, path: &str, pairs: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
        if let Some(fleet) = self.fleet_text() {
            query.append_pair("fleet", &fleet);
        }
        query.extend_pairs(pairs).extend_pairs(self.common());
        query.finish().trim_end_matches('?').to_owned()
    }

    /// Returns the parameters of the same address in another language.
    pub(super) fn in_lang(&self, lang: Lang) -> PageParams {
        PageParams { lang, has_lang: true, ..self.clone() }
    }

    /// Returns the fleet or zone as the address has it; `None` for the default fleet.
    pub(super) fn fleet_text(&self) -> Option<String> {
        match self.is_whole || self.fleet.zone().is_some() {
            true => (!self.fleet.is_default()).then(|| self.fleet.to_string()),
            false => Some(part_without_zone(&self.fleet)),
        }
    }

    /// Returns the parameters of the same address for another fleet as a whole, for a zone, or for the part of a fleet
    /// without a zone.
    pub(super) fn in_fleet(&self, fleet: FleetName, is_whole: bool) -> PageParams {
        PageParams { is_whole, fleet, has_fleet: true, ..self.clone() }
    }

    /// Returns the parameters of the same address with another range.
    pub(super) fn in_range(&self, range: Range) -> PageParams {
        PageParams { range, has_range: true, ..self.clone() }
    }

    fn kind(&self) -> Option<(Option<&str>, Option<&str>)> {
        self.has_kind.then_some((self.quantity.as_deref(), self.unit.as_deref()))
    }

    fn lang(&self) -> Option<Lang> {
        self.has_lang.then_some(self.lang)
    }

    /// Returns the address of the same page with another range.
    pub(super) fn with_range(&self, range: Range) -> String {
        self.address(range, self.kind(), self.lang())
    }

    /// Returns the address of the same page with another quantity.
    pub(super) fn with_kind(&self, report: &Report) -> String {
        self.address(self.range, Some((report.quantity.as_deref(), report.unit.as_deref())), self.lang())
    }

    /// Returns the address of the same page in another language.
    pub(super) fn with_lang(&self, lang: Lang) -> String {
        self.address(self.range, self.kind(), Some(lang))
    }
}

/// Returns the part of a fleet without a zone, as the address has it.
pub(super) fn part_without_zone(fleet: &FleetName) -> String {
    format!("{fleet}/")
}

/// Parses `FLEET`, `FLEET/ZONE` or `FLEET/`. Returns true for a fleet as a whole.
fn fleet_or_zone(text: &str) -> Option<(FleetName, bool)> {
    if let Some(fleet) = text.strip_suffix('/') {
        return Some((fleet.parse().ok()?, false));
    }
    let name = FleetName::from_key(text).ok()?;
    let is_whole = name.zone().is_none();
    Some((name, is_whole))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn address_of_the_page_is_parsed_and_formatted() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; tz=120"));
        let params = PageParams::of(Some("range=7d&quantity=%26x&unit=%25RH"), &headers);
        assert_eq!((params.range.name, params.ahead), ("7d", 7_200));
        let day = params.with_range(Range::named(Some("24h")));
        assert_eq!(day, "?range=24h&quantity=%26x&unit=%25RH");
        assert!(params.with_lang(Lang::Es).ends_with("&lang=es"));
        let mut report = Report::bare(1.0, Timestamp::UNIX_EPOCH);
        assert!(!params.selects(&report));
        (report.quantity, report.unit) = (Some("&x".to_owned()), Some("%RH".to_owned()));
        assert!(params.selects(&report));
        let same = PageParams::of(Some(&params.with_kind(&report)[1..]), &headers);
        assert!(same.selects(&report));
    }

    #[test]
    fn address_names_a_fleet_a_zone_or_the_part_without_a_zone() {
        for (query, name, is_whole) in [
            ("", "default", true),
            ("fleet=home", "home", true),
            ("fleet=home%2Fnorth", "home/north", false),
            ("fleet=home%2F", "home", false),
            ("fleet=default%2F", "default", false),
            ("fleet=a%2Fb%2Fc", "default", true),
        ] {
            let params = PageParams::of(Some(query), &HeaderMap::new());
            assert_eq!((params.fleet.as_str(), params.is_whole), (name, is_whole), "{query}");
            let link = params.link("./", &[]);
            let again = PageParams::of(link.strip_prefix("./?"), &HeaderMap::new());
            assert_eq!((again.fleet, again.is_whole), (params.fleet, is_whole), "{link}");
        }
    }

    #[test]
    fn invalid_parameters_are_ignored() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("tz=99999999; ="));
        let params = PageParams::of(Some("range=%ff&lang=&&=&unit=a&unit=b"), &headers);
        assert_eq!((params.range.name, params.ahead, params.lang), ("1h", 0, Lang::En));
    }
}
