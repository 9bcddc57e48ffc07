//! Parameters of requests, in the address and in forms. Each type below contains the parser and the schema of a
//! parameter, so that the OpenAPI document cannot differ from the code.

use std::error::Error;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Form, FromRequest, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Uri, header};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::fleet_name::{FleetName, ZoneName};
use crate::invalid::Invalid;
use crate::measurements::MINUTE;
use crate::problem::Problem;
use crate::store::{Cursor, Filter};
use crate::values::{
    MAX_NAME, MAX_SENSOR, NAME_PATTERN, SENSOR_PATTERN, cut, name, number, printable, shortened,
};

/// Extractor of the parameters in the address, see [`from_address`].
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Params<T>, Problem> {
        from_address(&parts.uri).map(Params)
    }
}

/// Parses the parameters in the address: each at most once, in UTF-8.
pub(crate) fn from_address<T: DeserializeOwned>(address: &Uri) -> Result<T, Problem> {
    check_utf8(address.query().unwrap_or_default().as_bytes())?;
    let Query(parameters) = Query::try_from_uri(address).map_err(|error| invalid(&error))?;
    Ok(parameters)
}

/// Parses a form, with the same rules as for parameters in the address.
pub(crate) async fn from_form<T: DeserializeOwned>(form: Bytes) -> Result<T, Problem> {
    check_utf8(&form)?;
    let mut request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .map_err(|error| invalid(&error))?;
    // The length of the body was checked when it was received.
    DefaultBodyLimit::disable().apply(&mut request);
    let Form(parameters) = Form::from_request(request, &()).await.map_err(|error| invalid(&error))?;
    Ok(parameters)
}

/// Refuses text that is not UTF-8: the decoder replaces such bytes with U+FFFD.
fn check_utf8(encoded: &[u8]) -> Result<(), Invalid> {
    let broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    match form_urlencoded::parse(encoded).any(|(name, value)| broken(&name) || broken(&value)) {
        true => Err(Invalid::new("the parameters are not UTF-8")),
        false => Ok(()),
    }
}

fn invalid(error: &dyn Error) -> Problem {
    // The message may repeat a name of any length.
    Problem::invalid(cut(&error.source().unwrap_or(error).to_string()))
}

/// Returns the value of a parameter that occurs exactly once.
pub(crate) fn single_value(encoded: &[u8], name: &str) -> Option<String> {
    check_utf8(encoded).ok()?;
    let mut values = form_urlencoded::parse(encoded).filter(|(own, _)| own == name);
    let (Some((_, value)), None) = (values.next(), values.next()) else { return None };
    Some(value.into_owned())
}

/// Returns the value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(own, value)| (own == name).then_some(value))
}

/// Defines a parameter: its type, its schema, and its parser.
macro_rules! parameter {
    ($(#[$doc:meta])* $name:ident($type:ty), $schema:expr, $parse:expr) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name(pub(crate) $type);

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.build().into()
            }
        }

        impl ToSchema for $name {}

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<$name, Invalid> {
                $parse(&text).map($name)
            }
        }
    };
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

parameter!(
    /// Name of a quantity or a unit.
    Name(String),
    text().min_length(Some(1)).max_length(Some(MAX_NAME)).pattern(Some(NAME_PATTERN)),
    name
);
parameter!(
    /// A zone, or `*` for all zones together.
    ZoneChoice(Option<ZoneName>),
    text().pattern(Some("^([A-Za-z0-9._-]{1,64}|[*])$")),
    |text: &str| (text != "*").then(|| text.parse()).transpose()
);
parameter!(
    /// Name of a sensor or of the quantity that it measures.
    SensorName(String),
    text().min_length(Some(1)).max_length(Some(MAX_SENSOR)).pattern(Some(SENSOR_PATTERN)),
    |text: &str| printable(text, MAX_SENSOR)
);
parameter!(
    /// Resolution of measurements.
    SampleResolution(Wanted),
    text().pattern(Some(RESOLUTION_PATTERN)),
    resolution
);
parameter!(
    /// Finite number.
    Number(f64),
    ObjectBuilder::new().schema_type(Type::Number),
    number
);
parameter!(
    /// Time in RFC 3339.
    Time(Timestamp),
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
    time
);
parameter!(
    /// Length of a step, in microseconds.
    Step(i64),
    text().pattern(Some(STEP_PATTERN)),
    step
);
parameter!(
    /// Position after which a page begins.
    After(Cursor),
    text().pattern(Some("^[0-9]{1,15}-[0-9]{1,15}$")),
    cursor
);

/// Resolution that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Samples for a short range, otherwise a usual step.
    Auto,
    /// The samples themselves.
    Raw,
    /// Steps of this length in milliseconds, a multiple of a minute.
    Step(i64),
}

const RESOLUTION_PATTERN: &str = "^(raw|auto|minute|hour|day|[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h|([1-9][0-9]?|[12][0-9][0-9]|3[0-5][0-9]|36[0-6])d)$";

fn resolution(text: &str) -> Result<Wanted, Invalid> {
    let named = match text {
        "raw" => return Ok(Wanted::Raw),
        "auto" => return Ok(Wanted::Auto),
        "minute" => "1m",
        "hour" => "1h",
        "day" => "1d",
        other => other,
    };
    let millis = step(named).ok().map(|micros| micros / 1_000).filter(|millis| millis % MINUTE == 0);
    millis.map(Wanted::Step).ok_or_else(|| {
        let text = shortened(text);
        Invalid::new(format!("{text:?} is not raw, auto, minute, hour, day, or whole minutes such as 5m"))
    })
}

const STEP_PATTERN: &str = "^([1-9][0-9]{0,6}s?|[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h|([1-9][0-9]?|[12][0-9][0-9]|3[0-5][0-9]|36[0-6])d)$";

fn time(text: &str) -> Result<Timestamp, Invalid> {
    // The plus sign of an offset that was not encoded has become a space.
    let time = text.replace(' ', "+").parse();
    time.map_err(|_| {
        Invalid::new(format!("{:?} is not a time such as 2026-11-21T08:00:00Z", shortened(text)))
    })
}

fn step(text: &str) -> Result<i64, Invalid> {
    let step = match (text.parse::<i64>(), text.strip_suffix('d').map(str::parse::<i64>)) {
        (Ok(seconds), _) => Some(SignedDuration::from_secs(seconds)),
        // A day always has 24 hours here.
        (_, Some(Ok(days))) => days.checked_mul(86_400).map(SignedDuration::from_secs),
        _ => text.parse().ok(),
    };
    let allowed = SignedDuration::from_secs(1)..=SignedDuration::from_hours(366 * 24);
    let micros =
        step.filter(|step| allowed.contains(step)).and_then(|step| i64::try_from(step.as_micros()).ok());
    micros
        .ok_or_else(|| Invalid::new(format!("{:?} is not 1s to 366d, such as 30, 5m or 1h", shortened(text))))
}

fn cursor(text: &str) -> Result<Cursor, Invalid> {
    let parts = text.split_once('-').and_then(|(time, id)| Some((time.parse().ok()?, id.parse().ok()?)));
    parts.map(|(time, id)| Cursor { time, id }).ok_or_else(|| Invalid::new("not a cursor of this API"))
}

/// Returns the default step: the shortest usual one that divides `span` microseconds into at most 500 points.
pub(crate) fn default_step(span: i64) -> i64 {
    const SECONDS: [i64; 16] =
        [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 10_800, 21_600, 86_400];
    let min = span / 500;
    let usual = SECONDS.iter().map(|seconds| seconds * 1_000_000).find(|step| *step >= min);
    usual.unwrap_or_else(|| (min / 86_400_000_000 + 1) * 86_400_000_000)
}

impl std::fmt::Display for After {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.0.time, self.0.id)
    }
}

/// Order of reports by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    #[default]
    Asc,
    Desc,
}

/// Maximum number of results.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Limit<const DEFAULT: usize, const MAX: usize>(pub(crate) usize);

impl<const DEFAULT: usize, const MAX: usize> PartialSchema for Limit<DEFAULT, MAX> {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::Integer).default(Some(DEFAULT.into()));
        schema.minimum(Some(1)).maximum(Some(MAX)).build().into()
    }
}

impl<const DEFAULT: usize, const MAX: usize> ToSchema for Limit<DEFAULT, MAX> {}

impl<const DEFAULT: usize, const MAX: usize> Default for Limit<DEFAULT, MAX> {
    fn default() -> Self {
        Limit(DEFAULT)
    }
}

impl<const DEFAULT: usize, const MAX: usize> TryFrom<String> for Limit<DEFAULT, MAX> {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        match text.parse() {
            Ok(limit) if (1..=MAX).contains(&limit) => Ok(Limit(limit)),
            _ => Err(Invalid::new(format!("{:?} is not 1 to {MAX}", shortened(&text)))),
        }
    }
}

/// Returns the filter of these parameters.
pub(crate) fn filter(
    (fleet, zone): (Option<FleetName>, Option<ZoneName>),
    (from, to): (Option<Time>, Option<Time>),
    quantity: Option<Name>,
    unit: Option<Name>,
) -> Filter {
    let [from, to] = [from, to].map(|time| time.map(|Time(time)| time));
    let [quantity, unit] = [quantity, unit].map(|name| name.map(|Name(name)| name));
    Filter { fleet: fleet.unwrap_or_default().in_zone(zone.as_ref()), from, to, quantity, unit }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct All {
        from: Option<Time>,
        unit: Option<Name>,
        step: Option<Step>,
        cursor: Option<After>,
        order: Order,
        limit: Limit<1, 9>,
    }

    fn parse(query: &str) -> Result<All, String> {
        let (mut parts, ()) = Request::get(format!("/?{query}")).body(()).unwrap().into_parts();
        let parsed = Params::from_request_parts(&mut parts, &());
        let parsed = futures_util::FutureExt::now_or_never(parsed).unwrap();
        parsed.map(|Params(all)| all).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn parameter_occurs_once_and_is_known() {
        assert_eq!(single_value(b"a=1&b=%C3%B1+x", "b").as_deref(), Some("ñ x"));
        for none in [&b"a=1"[..], b"b=1&b=1", b"b=%FF", b"b=\xff"] {
            assert_eq!(single_value(none, "b"), None);
        }
        assert_eq!(parse("limit=1&limit=1").unwrap_err(), "duplicate field `limit`");
        assert!(parse("limt=5").unwrap_err().contains("unknown field `limt`, expected one of"));
        assert_eq!(parse("unit=%FF").unwrap_err(), "the parameters are not UTF-8");
        assert_eq!(parse("order=up").unwrap_err(), "order: unknown variant `up`, expected `asc` or `desc`");
        assert!(parse(&format!("{}=5", "x".repeat(5_000))).unwrap_err().len() <= 200);
    }

    #[test]
    fn times_steps_and_limits_are_parsed() {
        let time = |text: &str| parse(&format!("from={text}")).unwrap().from.unwrap().0;
        let zulu = time("2026-11-21T08:00:00Z");
        for same in ["2026-11-21T09:00:00+01:00", "2026-11-21T09:00:00%2B01:00"] {
            assert_eq!(time(same), zulu);
        }
        for (text, seconds) in [("30", 30), ("5m", 300), ("1h", 3600), ("2d", 172_800)] {
            assert_eq!(parse(&format!("step={text}")).unwrap().step.unwrap().0, seconds * 1_000_000);
        }
        let wrong = "0 -1 0.1s 367d 9223372036854775807 9223372036854775807d 99999999999999999d x";
        for wrong in wrong.split(' ').chain([""]) {
            let error = parse(&format!("step={wrong}")).unwrap_err();
            assert_eq!(error, format!("step: {wrong:?} is not 1s to 366d, such as 30, 5m or 1h"));
        }
        assert_eq!(parse("limit=5").unwrap().limit, Limit(5));
        assert_eq!(parse("").unwrap().limit, Limit(1));
        for wrong in ["0", "10", "-1", "x", "99999999999999999999"] {
            let error = parse(&format!("limit={wrong}")).unwrap_err();
            assert_eq!(error, format!("limit: {wrong:?} is not 1 to 9"));
        }
        assert_eq!((parse("order=desc").unwrap().order, parse("").unwrap().order), (Order::Desc, Order::Asc));
    }

    #[test]
    fn default_steps_are_usual_ones() {
        for (seconds, step) in
            [(1, 1), (500, 1), (501, 2), (86_400, 300), (7 * 86_400, 1_800), (366 * 86_400, 86_400)]
        {
            assert_eq!(default_step(seconds * 1_000_000), step * 1_000_000, "{seconds}");
        }
        let longest = Timestamp::MAX.as_microsecond() - Timestamp::MIN.as_microsecond();
        assert!(longest / default_step(longest) <= 500);
    }

    proptest! {
        #[test]
        fn arbitrary_parameters_do_not_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".*", cursor in any::<(i64, i64)>(), days in any::<i64>(),
        ) {
            let _ = (single_value(&bytes, "a"), futures_util::FutureExt::now_or_never(from_form::<All>(bytes.into())));
            let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
            for name in ["from", "unit", "step", "cursor", "order", "limit"] {
                let _ = parse(&format!("{name}={encoded}"));
            }
            let _ = parse(&format!("step={days}d"));
            let cursor = Cursor { time: cursor.0.saturating_abs(), id: cursor.1 };
            prop_assert_eq!(parse(&format!("cursor={}", After(cursor))).unwrap().cursor.unwrap().0, cursor);
        }
    }
}
