//! The parameters that several operations share.

use serde_json::{Value, json};

/// All of them, by their names in the document.
pub fn all() -> Value {
    let switch = |name: &str, description: &str| {
        let schema = json!({ "type": "boolean", "default": false });
        json!({ "name": name, "in": "query", "schema": schema, "description": description })
    };
    let text = |name: &str, description: &str| json!({ "name": name, "in": "query", "schema": { "type": "string" }, "description": description });
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "schema": { "type": "string" }, "description": description });
    let number = |name: &str, least: u64, most: u64, usual: u64, description: &str| {
        let schema = json!({ "type": "integer", "minimum": least, "maximum": most, "default": usual });
        json!({ "name": name, "in": "query", "schema": schema, "description": description })
    };
    json!({
        "DryRun": switch("dry_run", "Change nothing, and answer what would change"),
        "Prune": switch("prune", "Remove objects that a file applied before, and that this one does not name"),
        "TakeOver": switch("take_over", "Change objects that were made one by one, too"),
        "Nodes": json!({ "name": "nodes", "in": "query", "schema": { "const": "all" }, "description": "Answer when every gateway that shares the store serves the change; 202 if one does not in time" }),
        "Wait": text("wait", "How long to wait for the other gateways, such as 500ms; 2s if absent, 30s at most"),
        "Strict": switch("strict", "Answer with 503 if a service is degraded, too"),
        "IfMatch": header("If-Match", "The etag of the version to change; another version is refused"),
        "IfNoneMatch": header("If-None-Match", "`*`: the object must not exist"),
        "IdempotencyKey": header("Idempotency-Key", "The same key gets the same answer again for 24 hours"),
        "Search": text("q", "Finds in names, paths, hosts and services"),
        "Sort": text("sort", "A field to sort by; a leading `-` sorts backwards"),
        "Fields": text("fields", "The fields to show, separated by commas"),
        "Cursor": text("cursor", "Where the page begins, from the `Link` of the page before"),
        "Limit": number("limit", 1, 1000, 100, "The most entries"),
        "Offset": number("offset", 0, 1_000_000_000, 0, "The number of entries before the page"),
        "Since": number("since", 0, u32::MAX.into(), 0, "The revision after which the stream begins"),
        "Before": text("before", "The entry before which the page ends, from the `Link` of the page before"),
        "Target": text("target", "The URL of a target; the whole service if absent"),
        "ServiceUrl": text("service_url", "The URL of an instance; the whole service if absent"),
        "Subject": json!({ "name": "subject", "in": "query", "required": true, "schema": { "type": "string" }, "description": "A client address or a user" }),
        "Issuer": text("issuer", "The authority for the user"),
    })
}
