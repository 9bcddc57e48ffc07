//! Parameters of the page, from the address and the headers. Values that cannot be parsed are ignored, because people
//! mistype addresses. Pure.

use axum::http::{HeaderMap, header};

use super::range::Range;
use super::words::Lang;
use crate::report::Report;

/// Parameters of the page.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) lang: Lang,
    /// True if the address contains the language.
    said_lang: bool,
    pub(super) range: Range,
    /// True if the address contains the range.
    pub(super) said_range: bool,
    quantity: Option<String>,
    unit: Option<String>,
    /// True if the address contains the quantity that is displayed large.
    said_kind: bool,
    /// Offset from UTC of the browser's clock, in seconds, from a cookie that the script has set.
    pub(super) ahead: i32,
}

impl Asked {
    pub(super) fn of(query: Option<&str>, headers: &HeaderMap) -> Asked {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let get = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
        let some = |name| get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let accept = headers.get(header::ACCEPT_LANGUAGE).and_then(|accept| accept.to_str().ok());
        let minutes = cookie(headers, "tz").and_then(|minutes| minutes.parse::<i32>().ok());
        Asked {
            lang: Lang::choose(get("lang"), accept),
            said_lang: get("lang").is_some(),
            range: Range::named(get("range")),
            said_range: get("range").is_some(),
            quantity: some("quantity"),
            unit: some("unit"),
            said_kind: get("quantity").or(get("unit")).is_some(),
            ahead: minutes.filter(|minutes| minutes.abs() <= 18 * 60).map_or(0, |minutes| minutes * 60),
        }
    }

    /// Returns true if the address selects this report to be displayed large.
    pub(super) fn is_of(&self, report: &Report) -> bool {
        self.said_kind && report.quantity == self.quantity && report.unit == self.unit
    }

    fn address(
        &self,
        range: Range,
        kind: Option<(Option<&str>, Option<&str>)>,
        lang: Option<Lang>,
    ) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
        query.append_pair("range", range.name);
        if let Some((quantity, unit)) = kind {
            query.append_pair("quantity", quantity.unwrap_or_default());
            query.append_pair("unit", unit.unwrap_or_default());
        }
        if let Some(lang) = lang {
            query.append_pair("lang", lang.code());
        }
        query.finish()
    }

    fn kind(&self) -> Option<(Option<&str>, Option<&str>)> {
        self.said_kind.then_some((self.quantity.as_deref(), self.unit.as_deref()))
    }

    fn said(&self) -> Option<Lang> {
        self.said_lang.then_some(self.lang)
    }

    /// Returns the address of the same page with another range.
    pub(super) fn with_range(&self, range: Range) -> String {
        self.address(range, self.kind(), self.said())
    }

    /// Returns the address of the same page with another quantity.
    pub(super) fn with_kind(&self, report: &Report) -> String {
        self.address(self.range, Some((report.quantity.as_deref(), report.unit.as_deref())), self.said())
    }

    /// Returns the address of the same page in another language.
    pub(super) fn with_lang(&self, lang: Lang) -> String {
        self.address(self.range, self.kind(), Some(lang))
    }
}

/// Returns the value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(own, value)| (own == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; tz=120"));
        let asked = Asked::of(Some("range=7d&quantity=%26x&unit=%25RH"), &headers);
        assert_eq!((asked.range.name, asked.ahead), ("7d", 7_200));
        let day = asked.with_range(Range::named(Some("24h")));
        assert_eq!(day, "?range=24h&quantity=%26x&unit=%25RH");
        assert!(asked.with_lang(Lang::Es).ends_with("&lang=es"));
        let mut report = Report::bare(1.0, Timestamp::UNIX_EPOCH);
        assert!(!asked.is_of(&report));
        (report.quantity, report.unit) = (Some("&x".to_owned()), Some("%RH".to_owned()));
        assert!(asked.is_of(&report));
        let again = Asked::of(Some(&asked.with_kind(&report)[1..]), &headers);
        assert!(again.is_of(&report));
    }

    #[test]
    fn what_is_not_understood_is_not_there() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("tz=99999999; ="));
        let asked = Asked::of(Some("range=%ff&lang=&&=&unit=a&unit=b"), &headers);
        assert_eq!((asked.range.name, asked.ahead, asked.lang), ("1h", 0, Lang::En));
    }
}
