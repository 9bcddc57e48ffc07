//! Choice of the fleet and of the page: the averages or the nodes.

use std::collections::BTreeSet;

use axum::response::Redirect;
use maud::{Markup, html};

use super::params::{PageParams, part_without_zone};
use crate::app::App;
use crate::fleet_name::FleetName;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Averages,
    Nodes,
    Node,
}

/// Fleets and pages to choose from.
#[derive(Debug, Default)]
pub(super) struct Navigation {
    /// Names of all fleets.
    fleets: BTreeSet<FleetName>,
    /// True if the chosen fleet has samples.
    has_samples: bool,
    /// First zone of the chosen fleet with samples, if all of them are of zones.
    sampled_zone: Option<FleetName>,
}

impl Navigation {
    /// Reads the names of the fleets. A store that fails has none.
    pub(super) async fn load(app: &App, chosen: &FleetName) -> Navigation {
        let (reporting, measuring) = futures_util::join!(
            app.with_store_timeout(app.store.fleets()),
            app.with_store_timeout(app.store.measurements().sample_fleets())
        );
        let measuring = measuring
            .unwrap_or_default()
            .into_iter()
            .filter_map(|summary| FleetName::from_key(&summary.fleet).ok());
        let measuring: BTreeSet<FleetName> = measuring.collect();
        let has_samples = measuring.iter().any(|name| name == chosen || name.fleet() == *chosen);
        let zone = measuring.iter().find(|name| name.fleet() == *chosen && name.zone().is_some());
        let sampled_zone = zone.filter(|_| !measuring.contains(chosen)).cloned();
        let fleets = reporting.unwrap_or_default().into_iter().chain(measuring).collect();
        Navigation { fleets, has_samples, sampled_zone }
    }

    /// Returns the page at `path` of the first named fleet, if the address names no fleet, the fleet without a
    /// name has no samples, and there is a named one.
    pub(super) fn other_fleet(&self, params: &PageParams, path: &str) -> Option<Redirect> {
        if params.has_fleet || self.has_samples {
            return None;
        }
        let named = self.fleets.iter().map(FleetName::fleet).find(|fleet| !fleet.is_default())?;
        Some(Redirect::temporary(&params.in_fleet(named, true).link(path, &[])))
    }

    /// Returns the list of nodes of the first zone, if the address names a fleet whose samples are all of zones.
    pub(super) fn first_zone(&self, params: &PageParams) -> Option<Redirect> {
        let zone = self.sampled_zone.as_ref().filter(|_| params.is_whole)?;
        Some(Redirect::temporary(&params.in_fleet(zone.clone(), false).link("nodes", &[])))
    }

    /// Returns the fleets and their zones as options: value, text, and true for the current one.
    fn options(&self, params: &PageParams) -> Vec<(String, String, bool)> {
        let messages = params.lang.messages();
        let mut options = Vec::new();
        let fleets: BTreeSet<FleetName> = self.fleets.iter().map(FleetName::fleet).collect();
        for fleet in fleets {
            let is_chosen = |name: &FleetName, is_whole| *name == params.fleet && is_whole == params.is_whole;
            let zones: Vec<&FleetName> = self.fleets.iter().filter(|name| name.fleet() == fleet).collect();
            if zones.iter().all(|name| name.zone().is_none()) {
                options.push((fleet.to_string(), fleet.to_string(), fleet == params.fleet));
                continue;
            }
            let all = format!("{fleet} · {}", messages.all_zones);
            options.push((fleet.to_string(), all, is_chosen(&fleet, true)));
            for name in zones {
                let (value, text) = match name.zone() {
                    Some(zone) => (name.to_string(), format!("{fleet} · {zone}")),
                    None => (part_without_zone(name), format!("{fleet} · {}", messages.without_zone)),
                };
                options.push((value, text, is_chosen(name, false)));
            }
        }
        options
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
                        @for (value, text, is_chosen) in self.options(params) {
                            option value=(value) selected[is_chosen] { (text) }
                        }
                    }
                }
            } @else if let Some(fleet) = params.fleet_text() {
                input type="hidden" name="fleet" value=(fleet);
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
