//! The OpenAPI document: general information, and rules that hold for many routes.

use serde_json::json;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Header, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

use crate::fleet::{MAX_TEXT, TEXT};
use crate::report::{MAX_NAME, NAME};
use crate::tokens::{Role, Tokens};

#[derive(OpenApi)]
#[openapi(
    info(title = "Atalaya collector", description = "Takes the reports of a fleet, keeps each once, and tells them again."),
    servers((url = "../..", description = "Relative to the address of this document")),
    modifiers(&Bearer),
    tags(
        (name = "write", description = "Needs a writer's token, if there are tokens"),
        (name = "read", description = "Needs a reader's token, if there are tokens"),
        (name = "operate", description = "How the collector is"),
    )
)]
pub(super) struct Described;

/// Adds the authentication scheme for tokens.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// Completes each operation with facts that its code does not contain: permitted values of parameters, required roles,
/// and refusals.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi, tokens: &Tokens) {
    let texts: [(&str, &[&str], usize, &str); 6] = [
        ("Incoming", &["quantity", "unit"], MAX_NAME, NAME),
        ("Form", &["quantity", "unit"], MAX_NAME, NAME),
        ("Status", &["leader"], MAX_TEXT, TEXT),
        ("Node", &["id", "problem", "host"], MAX_TEXT, TEXT),
        ("Reading", &["unit"], MAX_TEXT, TEXT),
        ("Task", &["id", "action", "node", "progress", "reason"], MAX_TEXT, TEXT),
    ];
    let schemas = document.components.iter_mut().flat_map(|components| &mut components.schemas);
    for (schema, described) in schemas {
        let RefOr::T(Schema::Object(described)) = described else { continue };
        for (_, names, most, pattern) in texts.iter().filter(|(name, ..)| name == schema) {
            for name in *names {
                if let Some(RefOr::T(Schema::Object(property))) = described.properties.get_mut(*name) {
                    property.max_length = Some(*most);
                    property.pattern = Some((*pattern).to_owned());
                }
            }
        }
    }
    for (path, item) in &mut document.paths.paths {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    refine(path, parameter);
                }
            }
            let role = role(operation);
            if let Some(role) = role {
                operation.security = Some(security(tokens, role));
                refusal(operation, "401", "A token is needed");
                refusal(operation, "403", "The token is for something else");
            }
            if path != "/healthz" {
                refusal(operation, "429", "Too many requests: later");
            }
            if operation.request_body.is_some() {
                refusal(operation, "408", "The body did not come in time");
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                match status.as_str() {
                    "429" | "503" => {
                        header(response, "Retry-After", "Seconds", json!({"type": "integer", "minimum": 1}))
                    }
                    "401" => header(response, "WWW-Authenticate", "Bearer", json!({"type": "string"})),
                    _ => {}
                }
            }
        }
    }
}

fn role(operation: &Operation) -> Option<Role> {
    let tagged = |name: &str| operation.tags.iter().flatten().any(|tag| tag == name);
    // The metrics are tagged `operate`, but need a reader's token like the routes tagged `read`.
    let figures = operation.operation_id.as_deref() == Some("metrics");
    match () {
        () if tagged("write") => Some(Role::Write),
        () if tagged("read") || figures => Some(Role::Read),
        () => None,
    }
}

fn security(tokens: &Tokens, role: Role) -> Vec<SecurityRequirement> {
    let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
    if tokens.are_needed(role) { vec![bearer] } else { vec![SecurityRequirement::default(), bearer] }
}

fn refusal(operation: &mut Operation, status: &str, description: &str) {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(description);
    let response = response.content("application/problem+json", problem).build();
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
}

fn header(response: &mut Response, name: &str, description: &str, schema: serde_json::Value) {
    let Some(schema) = schema_of(schema) else { return };
    let mut header = Header::new(schema);
    header.description = Some(description.to_owned());
    response.headers.insert(name.to_owned(), header.into());
}

/// Adds the limits that [`super::query`] and [`crate::report`] check.
fn refine(path: &str, parameter: &mut Parameter) {
    let most = match path {
        "/api/v1/reports" => 5_000,
        "/api/v1/fleet" => 1_000,
        _ => 10_000,
    };
    let taken = match parameter.name.as_str() {
        "from" | "to" => json!({"type": "string", "format": "date-time"}),
        "quantity" | "unit" => {
            json!({"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": NAME})
        }
        "order" => json!({"type": "string", "enum": ["asc", "desc"]}),
        "limit" => json!({"type": "integer", "minimum": 1, "maximum": most}),
        "step" => json!({"type": "string",
            "pattern": "^([1-9][0-9]{0,6}s?|[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h|([1-9][0-9]?|[12][0-9][0-9]|3[0-5][0-9]|36[0-6])d)$"}),
        "cursor" => json!({"type": "string", "pattern": "^[0-9]{1,15}-[0-9]{1,15}$"}),
        "Idempotency-Key" => {
            json!({"type": "string", "pattern": "^[1-9][0-9]{0,17}-[0-9]{1,18}(-[!#-~]{1,64})?$", "examples": ["7-3"]})
        }
        "Last-Event-ID" | "after" => json!({"type": "integer", "format": "int64"}),
        _ => return,
    };
    if let Some(schema) = schema_of(taken) {
        parameter.schema = Some(schema.into());
    }
}

fn schema_of(schema: serde_json::Value) -> Option<Schema> {
    serde_json::from_value(schema).ok()
}
