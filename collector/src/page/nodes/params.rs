//! Parameters of the list of nodes. Values that cannot be parsed are ignored. Pure.

use axum::http::HeaderMap;

use crate::page::i18n::Lang;
use crate::page::params::{FromAddress, PageParams};
use crate::page::range::{RANGES, Range};

/// Order of the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// By name.
    #[default]
    Name,
    /// Oldest data first.
    Age,
    /// Highest value first.
    Highest,
    /// Lowest value first.
    Lowest,
}

/// All orders, in the order of their options.
pub(super) const SORTS: [Sort; 4] = [Sort::Name, Sort::Age, Sort::Highest, Sort::Lowest];

impl Sort {
    /// Returns the name in the address.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Age => "age",
            Sort::Highest => "highest",
            Sort::Lowest => "lowest",
        }
    }

    /// Returns the text of the option.
    pub(super) fn text(self, lang: Lang) -> &'static str {
        let messages = lang.messages();
        match self {
            Sort::Name => messages.sort_name,
            Sort::Age => messages.sort_age,
            Sort::Highest => messages.sort_highest,
            Sort::Lowest => messages.sort_lowest,
        }
    }
}

/// Parameters of the list of nodes.
#[derive(Clone, Debug)]
pub(in super::super) struct NodesParams {
    pub(super) page: PageParams,
    /// Text in the name of a node or a sensor.
    pub(super) find: String,
    pub(super) sort: Sort,
    /// Number of the part of the list, from 1.
    pub(super) part: usize,
}

/// Returns the ranges of the small charts.
pub(super) fn ranges() -> impl Iterator<Item = Range> {
    RANGES.into_iter().filter(|range| range.is_coarse())
}

impl FromAddress for NodesParams {
    fn of(query: Option<&str>, headers: &HeaderMap) -> NodesParams {
        let mut page = PageParams::of(query, headers);
        if !page.range.is_coarse() {
            page.range = Range::named(None);
        }
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let get = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
        let sort = get("sort").and_then(|name| SORTS.into_iter().find(|sort| sort.name() == name));
        let part = get("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        NodesParams {
            page,
            find: get("find").unwrap_or_default().trim().to_owned(),
            sort: sort.unwrap_or_default(),
            part,
        }
    }
}

impl NodesParams {
    /// Returns the address of another part of the list, in a language.
    pub(super) fn address(&self, part: usize, lang: Option<Lang>) -> String {
        let part = part.to_string();
        let mut pairs = Vec::new();
        if !self.find.is_empty() {
            pairs.push(("find", &*self.find));
        }
        if self.sort != Sort::default() {
            pairs.push(("sort", self.sort.name()));
        }
        if part != "1" {
            pairs.push(("page", &part));
        }
        match lang {
            Some(lang) => self.page.in_lang(lang).link("nodes", &pairs),
            None => self.page.link("nodes", &pairs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_the_list_is_parsed_and_formatted() {
        let query = "fleet=home&find=+r%26f+&sort=age&page=3&range=24h";
        let params = NodesParams::of(Some(query), &HeaderMap::new());
        assert_eq!((&*params.find, params.sort, params.part), ("r&f", Sort::Age, 3));
        assert_eq!(params.address(2, None), "nodes?fleet=home&find=r%26f&sort=age&page=2&range=24h");
        assert!(params.address(1, Some(Lang::Es)).ends_with("&sort=age&range=24h&lang=es"));
    }

    #[test]
    fn invalid_parameters_are_ignored() {
        let params = NodesParams::of(Some("sort=x&page=-1&range=1y&fleet=%20"), &HeaderMap::new());
        assert_eq!((params.sort, params.part, params.page.range.name), (Sort::Name, 1, "1h"));
        assert_eq!(params.address(1, None), "nodes?range=1h");
    }
}
