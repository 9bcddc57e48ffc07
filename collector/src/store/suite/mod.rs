//! Tests of the guarantees of every store: `store_suite!` generates the tests for one store.

mod epochs;
mod fleets;
mod model;
mod reading;
mod recording;
mod samples;
mod samples_model;
mod series;
mod zones;

use jiff::{SignedDuration, Timestamp};

use super::interface::HOUR;
use super::*;
use crate::fence::Stale;
use crate::fleet_name::FleetName;
use crate::report::{Incoming, Record, Report};

pub(super) use epochs::*;
pub(super) use fleets::*;
pub(super) use model::*;
pub(super) use reading::*;
pub(super) use recording::*;
pub(super) use samples::*;
pub(super) use samples_model::*;
pub(super) use series::*;
pub(super) use zones::*;

/// `$open` takes the path of a folder that outlives the store, and opens the data in it; besides the store it may
/// return values that must live as long.
macro_rules! store_suite {
    ($open:expr) => {
        $crate::store::suite::store_suite!(@ $open;
            records_each_key_once, refuses_reports_of_a_deposed_leader, returns_pages_by_time, returns_reports_after_an_id, series_sums_up_steps,
            series_equals_the_sums_of_its_reports, latest_report_is_one_of_each_unit, latest_report_is_that_of_the_highest_epoch_and_cycle,
            latest_report_without_epoch_is_the_last_to_arrive, deletes_an_epoch_and_its_reports, deletes_an_epoch_but_not_its_pruned_reports,
            compares_numbers_at_the_limits_of_their_types, pruned_reports_are_summed_up_and_their_keys_stay_known, returns_every_number_unchanged, returns_no_negative_zero,
            records_concurrent_repeats_once, returns_the_beginnings_of_epochs, keeps_fleets_apart, prunes_all_fleets, moments_are_those_of_all_readings, forgets_a_fleet, agrees_with_the_memory_store,
            adds_each_sample_once, adds_samples_of_concurrent_repeats_once, latest_sample_is_the_last_of_its_boot, steps_sum_up_samples,
            samples_and_sums_past_their_retention_are_deleted, marks_of_old_boots_are_deleted, samples_of_a_node_without_a_clock_are_kept,
            forgets_a_node, series_fleets_and_boots_are_bounded, returns_every_sample_unchanged, samples_agree_with_the_memory_store);
    };
    (@ $open:expr; $($test:ident),*) => {
        $(
            #[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let open = $open;
                let (store, _part) = open(folder.path());
                $crate::store::suite::$test(&store).await;
            }
        )*
    };
}
pub(super) use store_suite;

/// Returns the fleet of most tests.
pub(super) fn fleet() -> FleetName {
    FleetName::default()
}

/// Returns the time this many seconds after the beginning of 2026.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap() + SignedDuration::from_secs(seconds)
}

pub(super) fn keyed(epoch: i64, cycle: i64, unit: Option<&str>, mean: f64) -> Report {
    let incoming = Incoming {
        epoch: Some(epoch),
        cycle: Some(cycle),
        unit: unit.map(str::to_owned),
        time: Some(at(cycle)),
        ..Incoming::bare(mean)
    };
    incoming.accept(None, at(1_000_000 + cycle), Some("test")).unwrap()
}

async fn record(store: &impl Store, report: Report) -> Outcome {
    store.record(vec![report]).await.unwrap().remove(0)
}

fn all() -> Page {
    Page { filter: Filter::default(), after: None, newest_first: false, limit: 10_000 }
}

pub(super) async fn means(store: &impl Store) -> Vec<f64> {
    let page = Page { limit: 100_000, ..all() };
    store.page(page).await.unwrap().iter().map(|record| record.report.mean).collect()
}

pub(super) fn unavailable_because<T: std::fmt::Debug>(result: &Result<T, StoreError>, reason: &str) {
    assert!(matches!(result, Err(StoreError::Unavailable(found)) if found.contains(reason)), "{result:?}");
}
