use proptest::prelude::*;

use super::*;

const STEP: i64 = 60_000_000;
const DAY: i64 = 86_400_000_000;

fn sum(time: i64, unit: &str, readings: &[f64]) -> Sum {
    let count = readings.len() as f64;
    let mean = readings.iter().sum::<f64>() / count;
    let stddev = (readings.iter().map(|reading| (reading - mean).powi(2)).sum::<f64>() / count).sqrt();
    Sum {
        time,
        quantity: None,
        unit: Some(unit.to_owned()),
        reports: 1,
        sum: mean,
        min: readings.iter().copied().fold(f64::INFINITY, f64::min),
        max: readings.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        moments: Moments::new(i64::try_from(readings.len()).ok(), mean, Some(stddev), true),
    }
}

fn zone(name: &str, reported: (i64, i64), sums: Vec<Sum>) -> ZoneSums {
    ZoneSums { zone: name.to_owned(), sums, reported: Some(reported) }
}

#[test]
fn zones_are_weighted_by_their_readings() {
    let zones = [
        zone("north", (0, STEP), vec![sum(0, "Cel", &[20.0, 22.0]), sum(STEP, "Cel", &[1.0])]),
        zone("south", (0, STEP), vec![sum(0, "Cel", &[30.0]), sum(0, "%RH", &[40.0])]),
    ];
    let points = combine(&zones, STEP);
    let short: Vec<_> = points
        .iter()
        .map(|point| {
            (point.unit.as_deref(), point.zones, point.readings, point.mean, point.missing.join(","))
        })
        .collect();
    let expected = [
        (Some("%RH"), 1, 1, 40.0, "north".to_owned()),
        (Some("Cel"), 2, 3, 24.0, String::new()),
        (Some("Cel"), 1, 1, 1.0, "south".to_owned()),
    ];
    assert_eq!(short, expected);
    assert_eq!((points[1].min, points[1].max), (20.0, 30.0));
    assert!((points[1].stddev.unwrap() - (56.0_f64 / 3.0).sqrt()).abs() < 1e-12);
}

#[test]
fn zone_is_missing_from_its_first_report_until_a_week_after_its_last_one() {
    let here = |time| sum(time, "Cel", &[1.0]);
    let times = [0, DAY, 2 * DAY, 9 * DAY, 9 * DAY + STEP];
    let zones =
        [zone("", (0, 20 * DAY), times.map(here).to_vec()), zone("old", (DAY + 1, 2 * DAY + 1), Vec::new())];
    let missing: Vec<_> = combine(&zones, STEP).iter().map(|point| point.missing.len()).collect();
    assert_eq!(missing, [0, 1, 1, 1, 0]);
}

#[test]
fn zone_without_numbers_of_readings_is_missing() {
    let bare = Sum { moments: None, ..sum(0, "Cel", &[99.0]) };
    let zones =
        [zone("north", (0, 0), vec![sum(0, "Cel", &[1.0])]), zone("south", (0, 0), vec![bare.clone()])];
    let point = &combine(&zones, STEP)[0];
    assert_eq!((point.mean, point.max, point.missing.join("")), (1.0, 1.0, "south".to_owned()));
    assert_eq!(combine(&[zone("south", (0, 0), vec![bare])], STEP), []);
}

proptest! {
    /// The combined values equal those of one computation over all readings, however they are divided among zones.
    #[test]
    fn combined_values_are_those_of_all_readings(
        readings in prop::collection::vec((0..5_usize, -50.0..50.0), 1..200), offset in prop::sample::select(vec![0.0, 1e5, 1e9]),
    ) {
        let mut by_zone: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        let all: Vec<f64> = readings.iter().map(|(_, reading): &(usize, f64)| reading + offset).collect();
        for ((zone, _), reading) in readings.iter().zip(&all) {
            by_zone.entry(*zone).or_default().push(*reading);
        }
        let zones: Vec<ZoneSums> =
            by_zone.iter().map(|(name, own)| zone(&name.to_string(), (0, 0), vec![sum(0, "Cel", own)])).collect();
        let combined = combine(&zones, STEP);
        let flat = sum(0, "Cel", &all);
        prop_assert_eq!(combined.len(), 1);
        let (point, moments) = (&combined[0], flat.moments.unwrap());
        prop_assert_eq!((point.zones, point.readings), (by_zone.len(), moments.readings));
        prop_assert_eq!((point.min, point.max), (flat.min, flat.max));
        let slack = 1e-12 * (1.0 + offset);
        prop_assert!((point.mean - moments.mean).abs() <= slack);
        prop_assert!((point.stddev.unwrap() - moments.stddev().unwrap()).abs() <= slack + 1e-9);
    }
}
