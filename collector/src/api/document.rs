//! The OpenAPI document: general information, and rules that hold for many routes.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type};
use utoipa::{Modify, OpenApi, ToSchema};

use super::measurements::Measurement;
use crate::fleet::{MAX_TEXT, TEXT_PATTERN};
use crate::fleet_name::{FleetName, ZoneName};
use crate::params::{After, Name, Number, Order, SampleResolution, SensorName, Step, Time, ZoneChoice};
use crate::problem::Problem;
use crate::tokens::{Role, Tokens};
use crate::values::{MAX_NAME, NAME_PATTERN};

#[derive(OpenApi)]
#[openapi(
    info(title = "Atalaya collector", description = "Receives the reports of a fleet, stores each once, and serves them."),
    servers((url = "../..", description = "Relative to the address of this document")),
    modifiers(&Bearer),
    components(schemas(After, FleetName, ZoneChoice, ZoneName, Measurement, Name, Number, Order, Problem, SampleResolution, SensorName, Step, Time)),
    tags(
        (name = "write", description = "Requires a writer's token, if tokens are configured"),
        (name = "read", description = "Requires a reader's token, if tokens are configured"),
        (name = "operate", description = "Health and metrics of the collector"),
    )
)]
pub(super) struct General;

/// Adds the authentication scheme for tokens.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// Completes the document with facts that the code of the routes does not contain: permitted texts, required roles, and
/// refusals.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi, tokens: &Tokens) {
    let texts: [(&str, &[&str], usize, &str); 9] = [
        ("Incoming", &["quantity", "unit"], MAX_NAME, NAME_PATTERN),
        ("MeasurementBatch", &["node"], MAX_NAME, NAME_PATTERN),
        ("Status", &["leader"], MAX_TEXT, TEXT_PATTERN),
        ("Node", &["id", "problem", "host", "group"], MAX_TEXT, TEXT_PATTERN),
        ("Reading", &["unit"], MAX_TEXT, TEXT_PATTERN),
        ("Withheld", &["unit"], MAX_TEXT, TEXT_PATTERN),
        ("Outlier", &["node", "unit"], MAX_TEXT, TEXT_PATTERN),
        ("GroupValue", &["group", "unit"], MAX_TEXT, TEXT_PATTERN),
        ("Task", &["id", "action", "node", "progress", "reason"], MAX_TEXT, TEXT_PATTERN),
    ];
    let schemas = document.components.iter_mut().flat_map(|components| &mut components.schemas);
    for (schema, described) in schemas {
        let RefOr::T(Schema::Object(described)) = described else { continue };
        for (_, names, max, pattern) in texts.iter().filter(|(name, ..)| name == schema) {
            for name in *names {
                if let Some(RefOr::T(Schema::Object(property))) = described.properties.get_mut(*name) {
                    property.max_length = Some(*max);
                    property.pattern = Some((*pattern).to_owned());
                }
            }
        }
    }
    for (path, item) in &mut document.paths.paths {
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            add_refusals(path, operation);
            if let Some(role) = role(operation) {
                operation.security = Some(security(tokens, role));
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                match status.as_str() {
                    "429" | "503" => {
                        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
                        header(response, "Retry-After", "Seconds", seconds);
                    }
                    "401" => header(
                        response,
                        "WWW-Authenticate",
                        "Bearer",
                        ObjectBuilder::new().schema_type(Type::String),
                    ),
                    _ => {}
                }
            }
        }
    }
}

/// Adds the refusals that many routes have in common.
fn add_refusals(path: &str, operation: &mut Operation) {
    let role = role(operation);
    let id = operation.operation_id.clone().unwrap_or_default();
    let is_status = id == "post_fleet";
    let has_body = operation.request_body.is_some();
    let conflict = match is_status {
        true => "Problem `stale`: the sender is a deposed leader, or a newer status is known",
        false => {
            "Problem `conflict`: the key is recorded with another mean; \
                  problem `stale`: a later epoch has reported this cycle"
        }
    };
    let refusals = [
        ("400", has_body || operation.parameters.is_some(), "Bad request: nothing is recorded"),
        ("401", role.is_some(), "Token required"),
        ("403", role.is_some(), "Token of another role"),
        ("408", has_body, "Body too slow"),
        ("409", role == Some(Role::Write) && path != "/api/v1/measurements", conflict),
        ("413", has_body, "Body too large"),
        ("415", has_body, "Unsupported media type"),
        ("429", path != "/healthz", "Too many requests"),
        (
            "503",
            role.is_some() && !is_status && id != "metrics",
            "Storage unavailable: send the request again later",
        ),
    ];
    for (status, _, description) in refusals.into_iter().filter(|(_, applies, _)| *applies) {
        let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
        let response = ResponseBuilder::new().description(description);
        let response = response.content("application/problem+json", problem).build();
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
}

fn role(operation: &Operation) -> Option<Role> {
    let tagged = |name: &str| operation.tags.iter().flatten().any(|tag| tag == name);
    // The metrics are tagged `operate`, but need a reader's token like the routes tagged `read`.
    let is_metrics = operation.operation_id.as_deref() == Some("metrics");
    match () {
        () if tagged("write") => Some(Role::Write),
        () if tagged("read") || is_metrics => Some(Role::Read),
        () => None,
    }
}

fn security(tokens: &Tokens, role: Role) -> Vec<SecurityRequirement> {
    let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
    if tokens.are_needed(role) { vec![bearer] } else { vec![SecurityRequirement::default(), bearer] }
}

fn header(response: &mut Response, name: &str, description: &str, schema: ObjectBuilder) {
    let mut header = Header::new(schema);
    header.description = Some(description.to_owned());
    response.headers.insert(name.to_owned(), header.into());
}
