//! The little of a portal that clients need before they talk to a service: who am I, what is there, how do I log in.
//!
//! Every readable service is an item. There are no groups, no folders and no content of users.
//! Source: `spec/geoservices.md` 2; read from what the Python client asks.

pub(crate) mod items;
pub(crate) mod oauth;
pub(crate) mod search;
pub(crate) mod tokens;

use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};

/// The version that is spoken; clients split it on the dot and compare numbers.
pub(crate) const VERSION: f64 = 11.3;
/// The user name that owns the items of services.
pub(crate) const ITEM_OWNER: &str = "haversack";

/// Operations below `/sharing/rest`.
pub(crate) fn dispatch(call: &Call, segments: &[String], words: &[&str]) -> Result<Answer> {
    match words {
        [] => Ok(Answer::Json(json!({"currentVersion": VERSION.to_string()}))),
        ["info"] => Ok(Answer::Json(info(call))),
        ["generatetoken"] => tokens::generate(call),
        ["oauth2", "authorize"] => oauth::authorize(call),
        ["oauth2", "signin"] => oauth::sign_in(call),
        ["oauth2", "token"] => oauth::exchange_code(call),
        ["oauth2", "revoketoken"] => Ok(oauth::revoke(call)),
        // bmi-arcgis-restapi 2.4.19 doubles the path after a login; proved by e2e/test_21_more_python_clients.py.
        ["portals"] | ["portals", "self"] | ["portals", "self", "rest", "portals", "self"] => {
            Ok(Answer::Json(portal(call)))
        }
        ["portals", "self", "roles"] => Ok(Answer::Json(
            json!({"total": 0, "start": 1, "num": 0, "nextStart": -1, "roles": []}),
        )),
        ["portals", "self", "servers"] => Ok(Answer::Json(json!({"servers": []}))),
        ["portals", id] if *id == portal_id(call) => Ok(Answer::Json(portal(call))),
        ["community", "self"] => match user(call, &call.principal.name) {
            Some(user) => Ok(Answer::Json(user)),
            None => Err(Problem::TokenRequired),
        },
        ["community", "users", _] => {
            let name = &segments[2];
            let found = user(call, name);
            found
                .map(Answer::Json)
                .ok_or_else(|| Problem::NotFound("this user".to_owned()))
        }
        ["community", "groups"] => Ok(Answer::Json(
            json!({"query": "", "total": 0, "start": 1, "num": 0, "nextStart": -1, "results": []}),
        )),
        ["search"] => search::search(call),
        ["content", "items", id] => items::item(call, id).map(Answer::Json),
        ["content", "items", id, "data"] => {
            items::item(call, id)?;
            Ok(Answer::Json(json!({})))
        }
        ["content", "users", _] => Ok(Answer::Json(
            json!({"username": segments[2], "total": 0, "start": 1, "num": 0, "nextStart": -1, "folders": [], "items": []}),
        )),
        _ => Err(Problem::NotFound("this portal resource".to_owned())),
    }
}

/// What a client reads first: where tokens come from.
pub(crate) fn info(call: &Call) -> Value {
    let portal = format!("{}/sharing/rest", call.base);
    json!({
        "currentVersion": VERSION,
        "fullVersion": VERSION.to_string(),
        "owningSystemUrl": call.base,
        "authInfo": {
            "isTokenBasedSecurity": true,
            "tokenServicesUrl": format!("{portal}/generateToken"),
            "shortLivedTokenValidity": 60,
        },
    })
}

fn portal_id(call: &Call) -> String {
    call.host.server_id().simple().to_string()
}

fn portal(call: &Call) -> Value {
    let authority = call.base.split("://").nth(1).unwrap_or_default();
    let host_name = authority.split('/').next().unwrap_or_default();
    let mut portal = json!({
        "id": portal_id(call),
        "name": "Haversack",
        "portalName": "Haversack",
        "access": "public",
        "isPortal": true,
        "portalHostname": authority,
        "portalMode": "singletenant",
        "urlKey": null,
        "customBaseUrl": host_name,
        "allSSL": call.base.starts_with("https:"),
        "currentVersion": VERSION.to_string(),
        "culture": "en",
        "region": "WO",
        "units": "metric",
        "supportsOAuth": true,
        "supportsHostedServices": false,
        "authorizedCrossOriginDomains": [],
        "helperServices": {},
    });
    if let Some(user) = user(call, &call.principal.name) {
        portal["user"] = user;
    }
    portal
}

/// A user as the asking principal may see it: itself, and the owner of items.
fn user(call: &Call, name: &str) -> Option<Value> {
    let own = !call.principal.is_anonymous() && name == call.principal.name;
    if !own && name != ITEM_OWNER {
        return None;
    }
    let admin = own && call.principal.is_admin;
    let mut privileges = vec!["portal:user:viewOrgItems", "features:user:edit"];
    if admin {
        privileges.extend(["features:user:fullEdit", "portal:admin:viewItems"]);
    }
    Some(json!({
        "username": name,
        "fullName": name,
        "description": null,
        "email": null,
        "orgId": portal_id(call),
        "role": if admin { "org_admin" } else { "org_user" },
        "roleId": if admin { "org_admin" } else { "org_user" },
        "level": "2",
        "userLicenseTypeId": "creatorUT",
        "privileges": if own { privileges } else { Vec::new() },
        "disabled": false,
        "access": "org",
        "tags": [],
        "culture": "en",
        "region": "WO",
        "units": "metric",
        "groups": [],
        "created": 0,
        "modified": 0,
    }))
}
