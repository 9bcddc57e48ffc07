//! Fleets that this process knows, and the facts about each that are kept in memory. Pure: time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::fleet::FleetSnapshot;
use crate::fleet_name::FleetName;
use crate::rivals::Rivals;

/// Maximum number of fleets in a collector. Each zone counts as one.
pub(crate) const MAX_FLEETS: usize = 1_000;
/// Maximum number of zones of a fleet.
pub(crate) const MAX_ZONES: usize = 100;

/// Facts about one fleet.
#[derive(Debug, Default)]
pub(crate) struct FleetState {
    /// Last fleet status.
    pub(crate) status: Option<FleetSnapshot>,
    pub(crate) rivals: Rivals,
    /// Id and time of the newest report that this process recorded. It decides whether reports arrive, so its clock is
    /// monotonic.
    arrived: Option<(i64, Instant)>,
}

impl FleetState {
    /// Records that a report has just arrived.
    pub(crate) fn note_arrival(&mut self, id: i64, now: Instant) {
        if self.arrived.is_none_or(|(known, _)| id > known) {
            self.arrived = Some((id, now));
        }
    }
}

/// Known fleets.
#[derive(Debug)]
pub(crate) struct Fleets {
    states: HashMap<FleetName, FleetState>,
}

impl Default for Fleets {
    fn default() -> Fleets {
        Fleets { states: HashMap::from([(FleetName::default(), FleetState::default())]) }
    }
}

impl Fleets {
    pub(crate) fn contains(&self, fleet: &FleetName) -> bool {
        self.states.contains_key(fleet)
    }

    /// Adds the fleets that the store contains.
    pub(crate) fn add_stored(&mut self, fleets: Vec<FleetName>) {
        for fleet in fleets {
            self.states.entry(fleet).or_default();
        }
    }

    /// Returns true if the fleet of a new zone has the maximum number of zones.
    pub(crate) fn has_all_zones(&self, name: &FleetName) -> bool {
        let is_other = |known: &&FleetName| known.zone().is_some() && known.fleet() == name.fleet();
        name.zone().is_some() && self.states.keys().filter(is_other).count() >= MAX_ZONES
    }

    /// Adds a fleet or zone, unless there are too many. Returns true if it is known now.
    pub(crate) fn admit(&mut self, fleet: &FleetName) -> bool {
        if !self.contains(fleet) && self.states.len() < MAX_FLEETS && !self.has_all_zones(fleet) {
            self.states.insert(fleet.clone(), FleetState::default());
        }
        self.contains(fleet)
    }

    /// Removes a fleet or zone whose data was deleted.
    pub(crate) fn remove(&mut self, fleet: &FleetName) {
        self.states.remove(fleet);
    }

    /// Returns the facts about an admitted fleet.
    pub(crate) fn get(&self, fleet: &FleetName) -> Option<&FleetState> {
        self.states.get(fleet)
    }

    pub(crate) fn get_mut(&mut self, fleet: &FleetName) -> Option<&mut FleetState> {
        self.states.get_mut(fleet)
    }

    /// Returns the time since this process recorded report `id`, if that was the newest one of the fleet that it
    /// recorded.
    pub(crate) fn since_arrival(&self, fleet: &FleetName, id: i64, now: Instant) -> Option<Duration> {
        let (known, at) = self.get(fleet)?.arrived?;
        (known == id).then(|| now.saturating_duration_since(at))
    }

    /// Returns the warning if two fleets report under this name.
    pub(crate) fn warning(&self, fleet: &FleetName, now: Instant) -> Option<String> {
        self.get(fleet)?.rivals.are_two(now).then(|| two_fleets(fleet))
    }

    /// Returns the number of fleets, and the number of names under which two fleets report.
    pub(crate) fn counts(&self, now: Instant) -> (usize, usize) {
        let mixed = self.states.values().filter(|state| state.rivals.are_two(now));
        (self.states.len(), mixed.count())
    }
}

/// Returns the warning about two fleets under one name, with the remedy.
pub(crate) fn two_fleets(fleet: &FleetName) -> String {
    format!(
        "two fleets report under the name {fleet:?}, and refuse each other's reports: give each fleet its own name, with \
         fleet_name in the [fleet] table of its boards.toml or ATALAYA_FLEET_NAME",
        fleet = fleet.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_fleets_is_bounded() {
        let name = |number: usize| format!("fleet-{number}").parse::<FleetName>().unwrap();
        let mut fleets = Fleets::default();
        assert!(fleets.contains(&FleetName::default()));
        fleets.add_stored((0..500).map(name).collect());
        assert!((0..MAX_FLEETS - 1).all(|number| fleets.admit(&name(number))));
        assert!(!fleets.admit(&name(MAX_FLEETS)) && fleets.admit(&name(7)));
        assert_eq!(fleets.counts(Instant::now()), (MAX_FLEETS, 0));
    }

    #[test]
    fn number_of_zones_of_a_fleet_is_bounded() {
        let (mut fleets, home) = (Fleets::default(), "home".parse::<FleetName>().unwrap());
        let zone = |number: usize| home.in_zone(Some(&format!("zone-{number}").parse().unwrap()));
        assert!(fleets.admit(&home) && (0..MAX_ZONES).all(|number| fleets.admit(&zone(number))));
        assert!(!fleets.admit(&zone(MAX_ZONES)) && fleets.has_all_zones(&zone(MAX_ZONES)));
        let other = FleetName::default().in_zone(Some(&"north".parse().unwrap()));
        assert!(fleets.admit(&zone(7)) && fleets.admit(&other), "of another fleet");
        fleets.remove(&zone(7));
        assert!(fleets.admit(&zone(MAX_ZONES)));
    }

    #[test]
    fn arrivals_are_separate_for_each_fleet() {
        let (mut fleets, now) = (Fleets::default(), Instant::now());
        let (home, default) = ("home".parse().unwrap(), FleetName::default());
        fleets.admit(&home);
        fleets.get_mut(&home).unwrap().note_arrival(7, now);
        fleets.get_mut(&home).unwrap().note_arrival(6, now);
        let later = now + Duration::from_secs(3);
        assert_eq!(fleets.since_arrival(&home, 7, later), Some(Duration::from_secs(3)));
        assert_eq!(fleets.since_arrival(&home, 6, later), None);
        assert_eq!(fleets.since_arrival(&default, 7, later), None);
    }
}
