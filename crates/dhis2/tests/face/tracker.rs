//! Tracker objects for tests, and servers that hold some.

use serde_json::{Value, json};

use crate::web::{Client, Told};

/// A tracked entity with an enrollment and an event, in a unit; `n` makes their uids.
pub(crate) fn family(n: u32, unit: &str) -> Value {
    json!({"trackedEntities": [{
        "trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": unit,
        "attributes": [{"attribute": "hvAttrName1", "value": format!("Name {n}")}],
        "enrollments": [{
            "enrollment": format!("hvEn{n:07}"), "program": "hvProgram01", "orgUnit": unit, "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01",
            "attributes": [{"attribute": "hvAttrName1", "value": format!("Name {n}")}, {"attribute": "hvAttrAge01", "value": "30"}],
            "events": [{
                "event": format!("hvEv{n:07}"), "programStage": "hvStage0001", "orgUnit": unit, "status": "ACTIVE",
                "occurredAt": "2026-10-02", "dataValues": [{"dataElement": "hvDeWeight1", "value": "10"}]
            }]
        }]
    }]})
}

impl Client {
    /// A server with users: ada enters data in the north, bob in the south; both may search the whole country.
    pub(crate) async fn with_users(search: &str) -> Self {
        let client = Self::new().await;
        let user = |id: &str, name: &str, unit: &str| {
            json!({"id": id, "username": name, "userRoles": [{"id": "hvRole00001"}], "organisationUnits": [{"id": unit}],
                "teiSearchOrganisationUnits": if search.is_empty() { json!([]) } else { json!([{"id": search}]) }})
        };
        let users = json!({
            "userRoles": [{"id": "hvRole00001", "authorities": []}],
            "users": [user("hvUser00ada", "ada", "hvOuFacil01"), user("hvUser00bob", "bob", "hvOuFacil02")]
        });
        assert_eq!(client.post("/api/metadata", users).await.status, 200);
        client
    }
    /// Imports and waits.
    pub(crate) async fn import(&self, parameters: &str, body: Value) -> Told {
        self.post(
            &format!("/api/tracker?async=false&atomicMode=OBJECT&{parameters}"),
            body,
        )
        .await
    }
    /// Imports something in which nothing may be refused.
    pub(crate) async fn put(&self, body: Value) {
        let told = self.import("", body).await;
        assert_eq!(told.status, 200, "{}", told.text);
    }
    /// Codes of refusals, and of warnings where they are asked for, by uid.
    pub(crate) async fn codes(&self, parameters: &str, body: Value) -> Vec<(String, String)> {
        let told = self.import(parameters, body).await.json();
        let said = &told["validationReport"];
        let errors = said["errorReports"].as_array().unwrap();
        let warnings = said["warningReports"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        errors
            .iter()
            .chain(warnings)
            .map(|error| (text(&error["uid"]), text(&error["errorCode"])))
            .collect()
    }
    /// Uids that a list gives.
    pub(crate) async fn uids(&self, path: &str) -> Vec<String> {
        let told = self.json(path).await;
        let (name, member) = if path.contains("/events") {
            ("events", "event")
        } else {
            ("trackedEntities", "trackedEntity")
        };
        let objects = told[name].as_array().unwrap();
        objects
            .iter()
            .map(|object| object[member].as_str().unwrap().to_owned())
            .collect()
    }
}
