//! Choice of the fleet and of the page: the averages or the nodes.

use std::collections::BTreeSet;

use axum::response::Redirect;
use maud::{Markup, html};

use super::params::PageParams;
use crate::app::App;
use crate::fleet_name::FleetName;

/// Kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Averages,
    Nodes,
    /// Page of one node.
    Node,
}

/// Fleets and pages to choose from.
#[derive(Debug, Default)]
pub(super) struct Navigation {
    /// Names of all fleets.
    fleets: BTreeSet<FleetName>,
    /// True if the chosen fleet has samples.
    has_samples: bool,
}

impl Navigation {
    /// Reads the names of the fleets. A store that fails has none.
    pub(super) async fn load(app: &App, chosen: &FleetName) -> Navigation {
        let (reporting, measuring) = futures_util::join!(
            app.with_store_timeout(app.store.fleets()),
            app.with_store_timeout(app.store.measurements().sample_fleets())
        );
        let measuring =
            measuring.unwrap_or_default().into_iter().filter_map(|summary| summary.fleet.parse().ok());
        let measuring: BTreeSet<FleetName> = measuring.collect();
        let has_samples = measuring.contains(chosen);
        let fleets = reporting.unwrap_or_default().into_iter().chain(measuring).collect();
        Navigation { fleets, has_samples }
    }

    /// Returns the page at `path` of the first named fleet, if the address names no fleet, the fleet without a
    /// name has no samples, and there is a named one.
    pub(super) fn other_fleet(&self, params: &PageParams, path: &str) -> Option<Redirect> {
        if params.has_fleet || self.has_samples {
            return None;
        }
        let named = self.fleets.iter().find(|fleet| !fleet.is_default())?;
        Some(Redirect::temporary(&params.in_fleet(named.clone()).link(path, &[])))
    }

    /// Returns the links to the pages of the fleet, if there are several: address, text, and true for the current page.
    pub(super) fn pages(&self, params: &PageParams, current: PageKind) -> Vec<(String, &'static str, bool)> {
        let messages = params.lang.messages();
        if current == PageKind::Averages && !self.has_samples {
            return Vec::new();
        }
        let page = |path, text, kind| (params.link(path, &[]), text, current == kind);
        vec![
            page("./", messages.averages, PageKind::Averages),
            page("nodes", messages.nodes, PageKind::Nodes),
        ]
    }

    /// Renders the control that selects one of several fleets, for a form.
    pub(super) fn fleet_field(&self, params: &PageParams) -> Markup {
        html! {
            @if self.fleets.len() > 1 {
                label {
                    span { (params.lang.messages().fleet_field) }
                    select name="fleet" {
                        @for fleet in &self.fleets {
                            option value=(fleet) selected[*fleet == params.fleet] { (fleet) }
                        }
                    }
                }
            } @else if !params.fleet.is_default() {
                input type="hidden" name="fleet" value=(params.fleet);
            }
        }
    }

    /// Renders the form that selects one of several fleets.
    pub(super) fn fleet_form(&self, params: &PageParams) -> Markup {
        html! {
            @if self.fleets.len() > 1 {
                form.filter method="get" action="./" {
                    (self.fleet_field(params))
                    (hidden_fields(&params.common()))
                    button { (params.lang.messages().show) }
                }
            }
        }
    }
}

/// Renders parameters of the address that a form keeps.
pub(super) fn hidden_fields(pairs: &[(&str, &str)]) -> Markup {
    html! {
        @for (name, value) in pairs { input type="hidden" name=(name) value=(value); }
    }
}
