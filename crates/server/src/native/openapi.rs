//! The description of the API at `/v1/openapi.json`, made from the table of routes.

use serde_json::{Map, Value, json};

use super::face::{ROUTES, Route};

/// Names of bodies in and out, for routes whose shape a client must know.
fn shapes(route: &Route) -> (Option<&'static str>, Option<&'static str>) {
    match (route.method, route.path) {
        ("get", "/v1") => (None, Some("Discovery")),
        ("post", "/v1/login") => (Some("Login"), Some("LoggedIn")),
        ("post", "/v1/services/{service}/replicas") => (Some("ReplicaRequest"), Some("Registered")),
        ("post", path) if path.ends_with("/file") => (None, Some("Registered")),
        (_, path) if path.ends_with("/pull") => (Some("PullRequest"), Some("Page")),
        (_, path) if path.ends_with("/batches/{batch}") => {
            (Some("FrozenBatch"), Some("BatchReply"))
        }
        (_, path) if path.ends_with("/digest") => (None, Some("Digests")),
        ("post", path) if path.ends_with("/conflicts/{conflict}") => (Some("Decision"), None),
        (_, path) if path.ends_with("/decisions") => (Some("Decisions"), None),
        (_, "/v1/jobs/{job}" | "/v1/services/{service}/import") => (None, Some("Job")),
        ("post", "/v1/users") | ("put", "/v1/users/{user}/password") => (Some("NewUser"), None),
        ("put", "/v1/grants") => (Some("Grant"), None),
        _ => (None, None),
    }
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let entry = paths
            .entry(route.path)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(methods) = entry {
            methods.insert(route.method.to_owned(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Haversack",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Native API: services, replicas, synchronisation, conflicts, jobs, users. Bodies are JSON; requests and answers may be compressed with zstd.",
        },
        "security": [{}, { "bearer": [] }, { "basic": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic" },
            },
            "schemas": schemas(),
        },
    })
}

fn operation(route: &Route) -> Value {
    let parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    let (body, answer) = shapes(route);
    let reference = |name: &str| json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{name}") } } });
    let mut operation = json!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "2XX": { "description": "Done." },
            "default": {
                "description": "Why not.",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
        },
    });
    if let Some(name) = body {
        operation["requestBody"] = json!({ "required": true, "content": reference(name) });
    }
    if let Some(name) = answer {
        operation["responses"]["2XX"]["content"] = reference(name);
    }
    operation
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let number = || json!({ "type": "integer", "format": "int64" });
    let flag = || json!({ "type": "boolean" });
    let cursor = || json!({ "$ref": "#/components/schemas/Cursor" });
    let any = || json!({});
    let list = |of: Value| json!({ "type": "array", "items": of });
    json!({
        "Problem": object(&json!({ "code": text(), "message": text(), "what": text(), "detail": any() }), &["code", "message", "what"]),
        "Discovery": object(&json!({ "product": text(), "version": text(), "api": number(), "user": text() }), &["product", "api"]),
        "Login": object(&json!({ "user": text(), "password": text(), "lifetime_ms": number() }), &["user", "password"]),
        "LoggedIn": object(&json!({ "token": text(), "expires_at": number(), "user": text(), "is_admin": flag() }), &["token", "expires_at"]),
        "Cursor": json!({ "type": "string", "description": "Opaque: kept and sent back as it was handed out. {history, generation}, without a seal, is accepted too and proves nothing." }),
        "LayerRequest": object(&json!({ "collection": number(), "where": text(), "bbox": list(json!({ "type": "number" })), "bbox_srid": number() }), &["collection"]),
        "ReplicaRequest": object(&json!({
            "name": text(), "url": text(), "layers": list(json!({ "$ref": "#/components/schemas/LayerRequest" })),
            "policy": { "enum": ["Merge", "Client", "Server"] },
            "direction": { "enum": ["Bidirectional", "Upload", "Download"] },
            "attachments": flag(), "spatial_index": flag(), "key": uuid(),
        }), &["name", "url"]),
        "Registered": object(&json!({ "replica": uuid(), "job": uuid() }), &["replica", "job"]),
        "PullRequest": object(&json!({ "cursor": cursor(), "download": any(), "ahead": list(any()), "schema_version": number(), "max_changes": number() }), &["cursor", "schema_version"]),
        "Page": object(&json!({ "schema": any(), "changes": list(any()), "cursor": cursor(), "layer_cursors": list(any()), "more": flag(), "download": any(), "held": list(any()) }), &["changes", "cursor", "more"]),
        "FrozenBatch": object(&json!({ "number": number(), "edits": list(any()), "cursor": cursor() }), &["number", "edits", "cursor"]),
        "BatchReply": object(&json!({ "receipts": list(any()), "conflicts": list(any()), "generation": number() }), &["receipts", "conflicts", "generation"]),
        "Digests": object(&json!({ "cursor": cursor(), "collections": list(any()) }), &["cursor", "collections"]),
        "Decision": object(&json!({ "keep": { "enum": ["mine", "theirs", "base", "stored", "edited"] }, "record": any() }), &["keep"]),
        "Decisions": object(&json!({ "decided": list(any()), "open": list(uuid()) }), &["decided", "open"]),
        "Job": object(&json!({
            "id": uuid(), "kind": text(), "status": { "enum": ["Pending", "Running", "Completed", "Failed"] },
            "phase": text(), "done": number(), "total": number(), "result": any(),
        }), &["id", "status"]),
        "NewUser": object(&json!({ "name": text(), "password": text(), "is_admin": flag() }), &["password"]),
        "Grant": object(&json!({ "principal": text(), "service": text(), "rights": list(text()), "filters": list(any()) }), &["principal", "service", "rights"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method];
            assert_eq!(operation["summary"], route.summary, "{}", route.path);
            let named = route.path.matches('{').count();
            assert_eq!(operation["parameters"].as_array().unwrap().len(), named);
        }
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
    }
}
