//! The description of the API (OpenAPI 3.1), made from the types that it reads and writes: those of the configuration have one
//! schema for the file and for the API.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use gatekeeper_client::{BASE, Problem};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::Control;
use crate::actor::Role;

mod operations;
mod parameters;
mod schemas;

use operations::{Answer, Operation, Payload};

/// The description. It is made once, when somebody asks for it.
pub async fn show(State(control): State<Arc<Control>>) -> Response {
    let text = control.description.get_or_init(|| document().to_string().into());
    ([(CONTENT_TYPE, "application/json")], text.clone()).into_response()
}

/// The whole document.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for operation in operations::all(&mut generator) {
        let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described(&operation);
    }
    let problem = generator.subschema_for::<Problem>();
    let mut schemas = generator.take_definitions(true);
    schemas::clean(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gatekeeper administration",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Configure, inspect and operate a running gateway",
            "description": "Objects that a file of the gateway declares are shown and not changed. Every change is a revision, and serves before it is answered.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "contact": { "name": "The operators of this gateway", "url": "https://gatekeeper.example/" },
        },
        "servers": [{ "url": "/", "description": "This gateway" }],
        "tags": operations::TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters::all(),
            "responses": { "Problem": {
                "description": "The request was refused",
                "content": { "application/problem+json": { "schema": problem, "example": {
                    "type": "urn:gatekeeper:error:taken", "title": "Conflict", "status": 409, "code": "taken",
                    "detail": "the route name \"orders\" is taken: it is managed by file:gatekeeper.yaml",
                } } },
            } },
            "securitySchemes": { "token": {
                "type": "http", "scheme": "bearer",
                "description": "A token of `POST /tokens`, or the content of `admin.token` in the state directory",
            } },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = in_path(&operation.path);
    parameters
        .extend(operation.parameters.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })));
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": format!("{}.{}", operation.summary, permitted(operation.role)),
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": responses(operation),
    });
    if let Some(Payload { media, schema, example }) = &operation.body {
        let content: Map<String, Value> =
            media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema, "example": example }))).collect();
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    if operation.role.is_none() {
        described["security"] = json!([]);
    }
    described
}

fn permitted(role: Option<Role>) -> String {
    role.map_or_else(
        || " It needs no token.".into(),
        |role| format!(" It needs the role {} or one above it.", role.as_str()),
    )
}

/// The parts of a path that are in braces.
fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let number = matches!(name, "number" | "from" | "to");
        let schema = if number {
            json!({ "type": "integer", "minimum": 0 })
        } else {
            json!({ "type": "string", "minLength": 1 })
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": what(name) })
    };
    names.map(parameter).collect()
}

fn what(name: &str) -> &'static str {
    match name {
        "number" | "from" | "to" => "The number of a revision",
        "request_id" => "The id of a request, as its response has it in X-Request-Id",
        "name" => "The name of a service",
        _ => "The id or the name",
    }
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    for Answer { status, description, content } in &operation.answers {
        let mut response = json!({ "description": description });
        if let Some(Payload { media, schema, .. }) = content {
            let content: Map<String, Value> =
                media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect();
            response["content"] = Value::Object(content);
        }
        responses.insert(status.to_string(), response);
    }
    let usual: &[u16] = if operation.role.is_some() { &[401, 403, 429] } else { &[] };
    for status in usual.iter().chain(operation.errors) {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    responses.entry("default").or_insert_with(|| json!({ "$ref": "#/components/responses/Problem" }));
    Value::Object(responses)
}

/// The path of the API below its base.
fn below(path: &str) -> String {
    format!("{BASE}{path}")
}

/// What a schema is called in the document.
fn schema_of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// A status in words.
fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Answer")
}
