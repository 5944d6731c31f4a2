//! The operations of the API, one by one.

use axum::http::Method;
use gatekeeper_client::{
    AggregatedHealth, Applied, AuditEntry, Inquiry, NewToken, Node, ObjectChange, Registration, Reloaded, Revision,
    RuleState, ServiceHealth, Status, Token, TokenMade, Upgraded,
};
use gatekeeper_model::raw;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::schemas::{file, patch, shown, written};
use super::{below, reason, schema_of};
use crate::actor::Role;

/// The groups of operations.
pub const TAGS: [(&str, &str); 6] = [
    ("Objects", "Routes, services, rate limits and the CORS policy"),
    ("Configuration", "Declarative files and revisions"),
    ("Registry", "Services and their registered instances"),
    ("Operation", "The running gateway"),
    ("Access", "Tokens and the audit"),
    ("Health", "Whether the gateway and its services are well"),
];

const JSON: &[&str] = &["application/json"];
const PATCH: &[&str] = &["application/merge-patch+json", "application/json"];
const FILE: &[&str] = &["application/yaml", "application/json"];

/// What a client asks for, and what it gets.
pub struct Operation {
    pub method: Method,
    pub path: String,
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    /// Who may; nobody has to show a token if absent.
    pub role: Option<Role>,
    pub parameters: &'static [&'static str],
    pub body: Option<Payload>,
    pub answers: Vec<Answer>,
    pub errors: &'static [u16],
}

/// A body and its media types.
pub struct Payload {
    pub media: &'static [&'static str],
    pub schema: Value,
    pub example: Value,
}

/// An answer that is no error.
pub struct Answer {
    pub status: u16,
    pub description: &'static str,
    pub content: Option<Payload>,
}

/// Lists take these.
const LISTING: &[&str] = &["Search", "Sort", "Fields", "Limit", "Offset", "Cursor"];

fn operation(method: Method, path: &str, id: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation {
        method,
        path: below(path),
        id,
        tag,
        summary,
        role: Some(Role::Viewer),
        parameters: &[],
        body: None,
        answers: Vec::new(),
        errors: &[],
    }
}

impl Operation {
    fn by(self, role: Role) -> Self {
        Operation { role: Some(role), ..self }
    }

    fn with(self, parameters: &'static [&'static str]) -> Self {
        Operation { parameters, ..self }
    }

    fn takes(self, media: &'static [&'static str], schema: Value, example: Value) -> Self {
        Operation { body: Some(Payload { media, schema, example }), ..self }
    }

    fn gives(mut self, status: u16, schema: Value) -> Self {
        let content = Some(Payload { media: JSON, schema, example: Value::Null });
        self.answers.push(Answer { status, description: reason(status), content });
        self
    }

    fn gives_nothing(mut self, status: u16) -> Self {
        self.answers.push(Answer { status, description: reason(status), content: None });
        self
    }

    fn fails(self, errors: &'static [u16]) -> Self {
        Operation { errors, ..self }
    }
}

fn list(item: Value) -> Value {
    json!({ "type": "array", "items": item })
}

/// All operations.
pub fn all(generator: &mut SchemaGenerator) -> Vec<Operation> {
    let mut all = objects(generator);
    all.extend(configuration(generator));
    all.extend(registry(generator));
    all.extend(running(generator));
    all.extend(access(generator));
    all
}

/// The names of the operations on the objects of a kind.
struct Named {
    list: (&'static str, &'static str, &'static str),
    create: Option<(&'static str, &'static str)>,
    show: (&'static str, &'static str, &'static str),
    replace: (&'static str, &'static str, &'static str),
    patch: Option<(&'static str, &'static str)>,
    delete: (&'static str, &'static str),
}

fn objects(generator: &mut SchemaGenerator) -> Vec<Operation> {
    let route = Named {
        list: ("/routes", "listRoutes", "Lists the routes"),
        create: Some(("createRoute", "Makes a route")),
        show: ("/routes/{id}", "getRoute", "Shows a route"),
        replace: ("/routes/{id}", "replaceRoute", "Replaces a route, or makes one with this name"),
        patch: Some(("patchRoute", "Changes fields of a route")),
        delete: ("deleteRoute", "Removes a route"),
    };
    let rule = Named {
        list: ("/config/rate-limits", "listRateLimitRules", "Lists the rate limits"),
        create: Some(("createRateLimitRule", "Makes a rate limit")),
        show: ("/config/rate-limits/{id}", "getRateLimitRule", "Shows a rate limit"),
        replace: (
            "/config/rate-limits/{id}",
            "replaceRateLimitRule",
            "Replaces a rate limit, or makes one with this name",
        ),
        patch: Some(("patchRateLimitRule", "Changes fields of a rate limit")),
        delete: ("deleteRateLimitRule", "Removes a rate limit"),
    };
    let service = Named {
        list: ("/config/services", "listServiceSettings", "Lists the services as they are declared"),
        create: None,
        show: ("/config/services/{id}", "getServiceSettings", "Shows a service as it is declared"),
        replace: ("/services/{name}", "replaceService", "Replaces a service, or makes one with this name"),
        patch: Some(("patchService", "Changes fields of a service")),
        delete: ("deleteService", "Removes a service, or one of its registered instances"),
    };
    let cors = Named {
        list: ("", "", ""),
        create: None,
        show: ("/config/cors", "getCors", "Shows the CORS policy"),
        replace: ("/config/cors", "replaceCors", "Replaces the CORS policy"),
        patch: None,
        delete: ("deleteCors", "Removes the CORS policy"),
    };
    let example =
        json!({ "name": "orders", "path_pattern": "/orders/*", "target_service": "orders", "timeout": "10s" });
    let mut all = of_kind::<raw::Route>(&route, "ShownRoute", "WrittenRoute", example, generator);
    let example = json!({ "rule_name": "orders", "limit_type": "per_ip", "max_requests": 100, "window_seconds": 60 });
    all.extend(of_kind::<raw::RateLimitRule>(&rule, "ShownRateLimit", "WrittenRateLimit", example, generator));
    let example = json!({ "targets": ["http://10.0.0.5:8003"], "max_in_flight": 500 });
    all.extend(of_kind::<raw::Service>(&service, "ShownService", "WrittenService", example, generator));
    let example = json!({ "allow_origins": ["https://app.example"], "allow_credentials": true });
    all.extend(of_kind::<raw::Cors>(&cors, "ShownCors", "WrittenCors", example, generator));
    all
}

fn of_kind<T: JsonSchema>(
    named: &Named,
    shown_as: &str,
    written_as: &str,
    example: Value,
    generator: &mut SchemaGenerator,
) -> Vec<Operation> {
    const TAG: &str = "Objects";
    let (raw, shown) = (schema_of::<T>(generator), shown::<T>(shown_as, generator));
    let written = written(written_as, &shown, generator);
    let (path, id, summary) = named.show;
    let mut all = vec![operation(Method::GET, path, id, TAG, summary).gives(200, shown.clone()).fails(&[404])];
    if let (path, id, summary) = named.list
        && !path.is_empty()
    {
        all.push(
            operation(Method::GET, path, id, TAG, summary).with(LISTING).gives(200, list(shown)).fails(&[400, 422]),
        );
        if let Some((id, summary)) = named.create {
            let create = operation(Method::POST, path, id, TAG, summary).by(Role::Admin);
            let create =
                create.with(&["DryRun", "IdempotencyKey", "Nodes", "Wait"]).takes(JSON, raw.clone(), example.clone());
            let create = create.gives(200, written.clone()).gives(201, written.clone());
            all.push(create.fails(&[400, 409, 413, 415, 422, 503]));
        }
    }
    let (path, id, summary) = named.replace;
    let replace = operation(Method::PUT, path, id, TAG, summary).by(Role::Admin);
    let replace = replace.with(&["DryRun", "IfMatch", "IfNoneMatch", "Nodes", "Wait"]).takes(JSON, raw, example);
    let replace = replace.gives(200, written.clone()).gives(201, written.clone());
    all.push(replace.fails(&[400, 404, 409, 412, 413, 415, 422, 428, 503]));
    if let Some((id, summary)) = named.patch {
        let change = operation(Method::PATCH, path, id, TAG, summary)
            .by(Role::Admin)
            .with(&["DryRun", "IfMatch", "Nodes", "Wait"]);
        let change = change.takes(PATCH, patch(), json!({ "is_active": false })).gives(200, written);
        all.push(change.fails(&[400, 404, 409, 412, 413, 415, 422, 428, 503]));
    }
    let (id, summary) = named.delete;
    let delete = operation(Method::DELETE, path, id, TAG, summary).by(Role::Admin);
    let parameters: &[&str] =
        if path.starts_with("/services") { &["DryRun", "IfMatch", "ServiceUrl"] } else { &["DryRun", "IfMatch"] };
    let delete = delete.with(parameters).gives(200, schema_of::<Applied>(generator)).gives_nothing(204);
    all.push(delete.fails(&[400, 404, 409, 412, 422, 428, 503]));
    all
}

fn configuration(generator: &mut SchemaGenerator) -> Vec<Operation> {
    const TAG: &str = "Configuration";
    let file = file(generator);
    let example = json!({ "services": { "orders": "http://10.0.0.5:8003" }, "routes": [{ "path_pattern": "/orders/*", "target_service": "orders" }] });
    let (applied, revision) = (schema_of::<Applied>(generator), schema_of::<Revision>(generator));
    let changes = list(schema_of::<ObjectChange>(generator));
    let any = json!({ "type": "object" });
    vec![
        operation(Method::GET, "/config/effective", "getEffective", TAG, "Shows files and objects together")
            .gives(200, any),
        export(file.clone()),
        operation(Method::POST, "/config/validate", "validate", TAG, "Checks a file of objects, and changes nothing")
            .with(&["Prune", "TakeOver"])
            .takes(FILE, file.clone(), example.clone())
            .gives(200, applied.clone())
            .fails(&[400, 409, 413, 422]),
        operation(Method::POST, "/config/apply", "apply", TAG, "Applies a file of objects as a whole")
            .by(Role::Admin)
            .with(&["DryRun", "Prune", "TakeOver", "IdempotencyKey", "Nodes", "Wait"])
            .takes(FILE, file, example)
            .gives(200, applied.clone())
            .fails(&[400, 409, 413, 422, 503]),
        operation(Method::GET, "/config/revisions", "listRevisions", TAG, "Lists revisions, the newest first")
            .with(&["Before", "Limit"])
            .gives(200, list(revision.clone()))
            .fails(&[400, 409, 422, 503]),
        operation(Method::GET, "/config/revisions/{number}", "getRevision", TAG, "Shows what a revision changed")
            .gives(200, revision)
            .fails(&[400, 404, 409, 503]),
        operation(Method::GET, "/config/revisions/{from}/diff/{to}", "compareRevisions", TAG, "Compares two revisions")
            .gives(200, changes)
            .fails(&[400, 404, 409, 503]),
        operation(Method::POST, "/config/revisions/{number}/rollback", "rollBack", TAG, "Goes back to a revision")
            .by(Role::Admin)
            .with(&["DryRun", "IdempotencyKey", "Nodes", "Wait"])
            .gives(200, applied)
            .fails(&[400, 404, 409, 422, 503]),
        watch(),
        operation(Method::POST, "/config/reload", "reload", TAG, "Reads the configuration files anew")
            .by(Role::Admin)
            .gives(200, schema_of::<Reloaded>(generator))
            .fails(&[409, 422]),
        operation(Method::GET, "/nodes", "listNodes", TAG, "Lists the gateways that share the store")
            .gives(200, list(schema_of::<Node>(generator)))
            .fails(&[409, 503]),
    ]
}

/// The export is YAML unless JSON is asked for.
fn export(file: Value) -> Operation {
    let mut export =
        operation(Method::GET, "/config/export", "exportObjects", "Configuration", "Exports what the API made");
    let content = Some(Payload { media: FILE, schema: file, example: Value::Null });
    export.answers.push(Answer { status: 200, description: reason(200), content });
    export
}

fn watch() -> Operation {
    let mut watch = operation(Method::GET, "/config/watch", "watchRevisions", "Configuration", "Streams revisions");
    let schema = json!({ "type": "string" });
    let content = Some(Payload { media: &["text/event-stream"], schema, example: Value::Null });
    let description = "Server-sent events, each with a revision";
    watch.answers.push(Answer { status: 200, description, content });
    watch.with(&["Since"]).fails(&[400, 404, 409])
}

fn registry(generator: &mut SchemaGenerator) -> Vec<Operation> {
    const TAG: &str = "Registry";
    let (registration, health) = (schema_of::<Registration>(generator), schema_of::<ServiceHealth>(generator));
    let instance = json!({ "type": "object", "required": ["service_url"], "additionalProperties": false, "properties": { "service_url": { "type": "string" } } });
    let url = json!({ "service_url": "http://10.0.0.7:9000" });
    let example = json!({ "service_name": "live", "service_url": "http://10.0.0.7:9000", "ttl_seconds": 30 });
    let act = |path: &str, id: &'static str, summary: &'static str| {
        let act = operation(Method::POST, path, id, TAG, summary).by(Role::Operator).with(&["Target"]);
        act.gives(200, health.clone()).fails(&[400, 404, 415, 422, 503])
    };
    vec![
        operation(Method::GET, "/services", "listServices", TAG, "Lists the services and how they stand")
            .with(&["Limit", "Offset"])
            .gives(200, list(health.clone()))
            .fails(&[400, 422]),
        operation(Method::GET, "/services/{name}", "getService", TAG, "Shows how a service stands")
            .gives(200, health.clone())
            .fails(&[404]),
        operation(Method::GET, "/services/{name}/health", "getServiceHealth", TAG, "Shows the health of a service")
            .gives(200, health.clone())
            .fails(&[404]),
        operation(Method::POST, "/services", "register", TAG, "Registers an instance, or renews it")
            .by(Role::Operator)
            .with(&["IdempotencyKey"])
            .takes(JSON, registration.clone(), example)
            .gives(200, registration.clone())
            .gives(201, registration)
            .fails(&[400, 404, 409, 413, 415, 422, 503]),
        operation(Method::POST, "/services/{name}/heartbeat", "heartbeat", TAG, "Renews an instance")
            .by(Role::Operator)
            .takes(JSON, instance, url)
            .gives_nothing(204)
            .fails(&[400, 404, 413, 415, 422, 503]),
        act("/services/{name}/reset", "resetService", "Closes the circuit breaker and ends ejections"),
        act("/services/{name}/drain", "drainService", "Sends no new requests"),
        act("/services/{name}/undrain", "undrainService", "Sends new requests again"),
    ]
}

fn running(generator: &mut SchemaGenerator) -> Vec<Operation> {
    const TAG: &str = "Operation";
    let any = || json!({ "type": "object" });
    let upgrade = operation(Method::POST, "/upgrade", "upgrade", TAG, "Replaces the process by the installed program");
    let health = operation(Method::GET, "/health", "getHealth", "Health", "Shows the health of all services together");
    let health = Operation { role: None, ..health.with(&["Strict"]) };
    let aggregated = schema_of::<AggregatedHealth>(generator);
    vec![
        operation(Method::GET, "/status", "getStatus", TAG, "Shows the state of the gateway")
            .gives(200, schema_of::<Status>(generator)),
        operation(Method::POST, "/explain", "explain", TAG, "Explains how a request is routed and judged")
            .takes(JSON, schema_of::<Inquiry>(generator), json!({ "request": "GET /orders/1" }))
            .gives(200, any())
            .fails(&[400, 413, 415, 422]),
        operation(Method::GET, "/why/{request_id}", "why", TAG, "Explains why a request was refused")
            .gives(200, any())
            .fails(&[404]),
        operation(Method::GET, "/rate-limits", "listRateLimits", TAG, "Lists the rate limits and what they decided")
            .gives(200, list(schema_of::<RuleState>(generator))),
        operation(Method::GET, "/rate-limits/status", "getRateLimitStatus", TAG, "Shows how much a subject has used")
            .with(&["Subject", "Issuer"])
            .gives(200, list(any()))
            .fails(&[400]),
        upgrade.by(Role::Admin).gives(200, schema_of::<Upgraded>(generator)).fails(&[400, 409, 500]),
        health.gives(200, aggregated.clone()).gives(503, aggregated).fails(&[400]),
    ]
}

fn access(generator: &mut SchemaGenerator) -> Vec<Operation> {
    const TAG: &str = "Access";
    let (token, made) = (schema_of::<Token>(generator), schema_of::<TokenMade>(generator));
    let wanted = schema_of::<NewToken>(generator);
    let example = json!({ "name": "ci", "role": "operator", "expires_in": "90d" });
    vec![
        operation(Method::GET, "/tokens", "listTokens", TAG, "Lists the tokens")
            .by(Role::Admin)
            .gives(200, list(token))
            .fails(&[409, 503]),
        operation(Method::POST, "/tokens", "createToken", TAG, "Makes a token; its secret is in this answer only")
            .by(Role::Admin)
            .takes(JSON, wanted, example)
            .gives(201, made.clone())
            .fails(&[400, 409, 413, 415, 422, 503]),
        operation(Method::DELETE, "/tokens/{id}", "revokeToken", TAG, "Revokes a token")
            .by(Role::Admin)
            .gives_nothing(204)
            .fails(&[404, 409, 503]),
        operation(Method::POST, "/tokens/{id}/rotate", "rotateToken", TAG, "Gives a token a new secret")
            .by(Role::Admin)
            .gives(200, made)
            .fails(&[404, 409, 503]),
        operation(Method::GET, "/audit", "listAudit", TAG, "Lists who did what, the newest first")
            .with(&["Before", "Limit"])
            .gives(200, list(schema_of::<AuditEntry>(generator)))
            .fails(&[400, 409, 422, 503]),
    ]
}
