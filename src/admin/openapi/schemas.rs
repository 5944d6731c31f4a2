//! Schemas of what the API shows, from those of what is written.

use gatekeeper_client::ObjectChange;
use gatekeeper_model::raw;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::schema_of;

/// An object as it is shown: what is written, and what the gateway adds.
pub fn shown<T: JsonSchema>(name: &str, generator: &mut SchemaGenerator) -> Value {
    let mut schema = T::json_schema(generator).to_value();
    if let Value::Object(schema) = &mut schema {
        schema.remove("additionalProperties");
        // A route without a name has its pattern as its name, and so on: what is shown has all of it.
        schema.remove("required");
    }
    schema["type"] = json!("object");
    let added = json!({
        "id": { "type": "string", "format": "uuid", "description": "The id" },
        "managed_by": { "type": "string", "description": "`api`, `apply`, or `file:` and the name of the file that declares it" },
        "etag": { "type": "string", "description": "The version, for If-Match" },
        "created_at": { "type": ["string", "null"], "format": "date-time", "description": "When it was made; null if a file declares it" },
        "updated_at": { "type": ["string", "null"], "format": "date-time", "description": "When it was changed last; null if a file declares it" },
    });
    merge(&mut schema["properties"], added);
    define(name, schema, generator)
}

/// The answer to a write of an object.
pub fn written(name: &str, shown: &Value, generator: &mut SchemaGenerator) -> Value {
    let change = schema_of::<ObjectChange>(generator);
    let schema = json!({
        "allOf": [shown, { "type": "object", "properties": {
            "warnings": { "type": "array", "items": { "type": "string" }, "description": "Warnings about what was written" },
            "changes": { "type": "array", "items": change, "description": "For a dry run: what would change" },
        } }],
    });
    define(name, schema, generator)
}

/// A merge patch of an object: every field may be absent, or null to remove it.
pub fn patch() -> Value {
    json!({ "type": "object", "description": "The fields to change; null removes a field (RFC 7396)" })
}

/// A declarative file.
pub fn file(generator: &mut SchemaGenerator) -> Value {
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "version": { "const": 1 },
            "services": { "type": "object", "additionalProperties": schema_of::<raw::ServiceForm>(generator) },
            "routes": { "type": "array", "items": schema_of::<raw::Route>(generator) },
            "rate_limits": { "type": "array", "items": schema_of::<raw::RateLimitRule>(generator) },
            "cors": schema_of::<raw::Cors>(generator),
            "tests": { "type": "array", "items": schema_of::<raw::RouteTest>(generator) },
        },
    });
    define("DeclarativeFile", schema, generator)
}

fn define(name: &str, schema: Value, generator: &mut SchemaGenerator) -> Value {
    generator.definitions_mut().insert(name.to_owned(), schema);
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else { return };
    into.extend(from);
}

/// Takes out what means nothing to other programs.
pub fn clean(schemas: &mut Map<String, Value>) {
    schemas.values_mut().for_each(clean_one);
}

fn clean_one(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("format").is_some_and(|format| is_of_rust(format.as_str().unwrap_or_default())) {
                map.remove("format");
            }
            map.values_mut().for_each(clean_one);
        }
        Value::Array(list) => list.iter_mut().for_each(clean_one),
        _ => {}
    }
}

/// The names that Rust has for numbers, and paths.
fn is_of_rust(format: &str) -> bool {
    format.starts_with("uint") || matches!(format, "path" | "int8" | "int16")
}
