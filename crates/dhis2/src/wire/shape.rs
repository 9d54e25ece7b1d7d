//! The way between the shapes of the old and the new tracker API: what is called otherwise, as tables, and the few things that are
//! built otherwise.
//!
//! Works on JSON, so that members that neither side's types know pass through. Source: `spec/dhis2.md` 5.1.

use serde_json::{Map, Value, json};

use super::tracker::Kind;

/// Old name, new name.
type Names = &'static [(&'static str, &'static str)];

const ENTITY: Names = &[
    ("trackedEntityInstance", "trackedEntity"),
    ("created", "createdAt"),
    ("lastUpdated", "updatedAt"),
    ("lastUpdatedAtClient", "updatedAtClient"),
];
const ENROLLMENT: Names = &[
    ("trackedEntityInstance", "trackedEntity"),
    ("created", "createdAt"),
    ("lastUpdated", "updatedAt"),
    ("lastUpdatedAtClient", "updatedAtClient"),
    ("enrollmentDate", "enrolledAt"),
    ("incidentDate", "occurredAt"),
    ("completedDate", "completedAt"),
    ("followup", "followUp"),
];
const EVENT: Names = &[
    ("trackedEntityInstance", "trackedEntity"),
    ("created", "createdAt"),
    ("lastUpdated", "updatedAt"),
    ("lastUpdatedAtClient", "updatedAtClient"),
    ("eventDate", "occurredAt"),
    ("dueDate", "scheduledAt"),
    ("completedDate", "completedAt"),
    ("followup", "followUp"),
];
const RELATIONSHIP: Names = &[("created", "createdAt"), ("lastUpdated", "updatedAt")];
const VALUE: Names = &[("created", "createdAt"), ("lastUpdated", "updatedAt")];
const NOTE: Names = &[("storedDate", "storedAt")];
const OWNER: Names = &[
    ("trackedEntityInstance", "trackedEntity"),
    ("ownerOrgUnit", "orgUnit"),
];

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToNew,
    ToOld,
}

/// An object of the old API in the shape of the new one.
pub fn to_new(kind: Kind, object: Value) -> Value {
    convert(kind, object, Way::ToNew)
}

/// An object of the new API in the shape of the old one. The attributes of a tracked entity's enrollments join its own; where an
/// attribute is in both, the first counts.
pub fn to_old(kind: Kind, object: Value) -> Value {
    convert(kind, object, Way::ToOld)
}

fn convert(kind: Kind, object: Value, way: Way) -> Value {
    let Value::Object(mut members) = object else {
        return object;
    };
    let names = match kind {
        Kind::TrackedEntity => ENTITY,
        Kind::Enrollment => ENROLLMENT,
        Kind::Event => EVENT,
        Kind::Relationship => RELATIONSHIP,
    };
    if way == Way::ToNew {
        old_coordinates(&mut members);
    }
    rename(&mut members, names, way);
    for (list, names) in [
        ("attributes", VALUE),
        ("dataValues", VALUE),
        ("notes", NOTE),
        ("programOwners", OWNER),
    ] {
        each(&mut members, list, |mut item| {
            if let Value::Object(members) = &mut item {
                rename(members, names, way);
            }
            item
        });
    }
    each(&mut members, "enrollments", |item| {
        convert(Kind::Enrollment, item, way)
    });
    each(&mut members, "events", |item| {
        convert(Kind::Event, item, way)
    });
    each(&mut members, "relationships", |item| {
        convert(Kind::Relationship, item, way)
    });
    match kind {
        Kind::Relationship => sides(&mut members, way),
        Kind::Event => assigned_user(&mut members, way),
        Kind::TrackedEntity if way == Way::ToOld => join_attributes(&mut members),
        _ => {}
    }
    Value::Object(members)
}

/// Renames in place, keeping the order. A member that is there under both names keeps the one that is wanted.
fn rename(members: &mut Map<String, Value>, names: Names, way: Way) {
    let renamed = |name: &str| {
        let found = names.iter().find(|(old, new)| match way {
            Way::ToNew => *old == name,
            Way::ToOld => *new == name,
        });
        found.map(|(old, new)| if way == Way::ToNew { *new } else { *old })
    };
    if !members.keys().any(|name| renamed(name).is_some()) {
        return;
    }
    let before = std::mem::take(members);
    let wanted: Vec<String> = before
        .keys()
        .filter(|name| renamed(name).is_none())
        .cloned()
        .collect();
    for (name, value) in before {
        match renamed(&name) {
            Some(new) if wanted.iter().any(|there| there == new) => {}
            Some(new) => {
                members.insert(new.to_owned(), value);
            }
            None => {
                members.insert(name, value);
            }
        }
    }
}

fn each(members: &mut Map<String, Value>, list: &str, change: impl Fn(Value) -> Value) {
    if let Some(Value::Array(items)) = members.get_mut(list) {
        for item in items {
            *item = change(item.take());
        }
    }
}

/// `{"trackedEntityInstance":{..}}` and `{"trackedEntity":{..}}`; the new API also takes a bare uid.
fn sides(members: &mut Map<String, Value>, way: Way) {
    for side in ["from", "to"] {
        let Some(Value::Object(item)) = members.get_mut(side) else {
            continue;
        };
        rename(item, &ENTITY[..1], way);
        for (name, inner) in item.iter_mut() {
            let kind = match name.as_str() {
                "trackedEntity" | "trackedEntityInstance" => Kind::TrackedEntity,
                "enrollment" => Kind::Enrollment,
                "event" => Kind::Event,
                _ => continue,
            };
            *inner = match inner.take() {
                Value::String(uid) => json!({ name.as_str(): uid }),
                object => convert(kind, object, way),
            };
        }
    }
}

/// A bare uid beside a name, or an object of both.
fn assigned_user(members: &mut Map<String, Value>, way: Way) {
    match (way, members.get("assignedUser")) {
        (Way::ToNew, Some(Value::String(uid))) => {
            let user = json!({"uid": uid, "username": members.get("assignedUserUsername")});
            members.insert("assignedUser".to_owned(), user);
        }
        (Way::ToOld, Some(Value::Object(user))) => {
            let uid = user.get("uid").cloned();
            let name = user.get("username").cloned();
            members.shift_remove("assignedUser");
            for (member, value) in [("assignedUser", uid), ("assignedUserUsername", name)] {
                if let Some(value) = value {
                    members.insert(member.to_owned(), value);
                }
            }
        }
        _ => {}
    }
}

/// Below 2.30 a place is `{"latitude","longitude"}`, or a text that holds a pair.
fn old_coordinates(members: &mut Map<String, Value>) {
    if members
        .get("geometry")
        .is_some_and(|there| !there.is_null())
    {
        return;
    }
    let pair = match (members.get("coordinate"), members.get("coordinates")) {
        (Some(Value::Object(at)), _) => at
            .get("longitude")
            .zip(at.get("latitude"))
            .map(|(x, y)| json!([x, y])),
        (_, Some(Value::String(text))) => serde_json::from_str(text).ok(),
        _ => None,
    };
    let is_pair = |pair: &Value| {
        pair.as_array()
            .is_some_and(|pair| pair.len() == 2 && pair.iter().all(Value::is_number))
    };
    if let Some(pair) = pair.filter(is_pair) {
        members.insert(
            "geometry".to_owned(),
            json!({"type": "Point", "coordinates": pair}),
        );
    }
}

fn join_attributes(members: &mut Map<String, Value>) {
    let mut joined = match members.get_mut("attributes") {
        Some(Value::Array(own)) => std::mem::take(own),
        _ => Vec::new(),
    };
    let id = |value: &Value| {
        value
            .get("attribute")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    if let Some(Value::Array(enrollments)) = members.get_mut("enrollments") {
        for enrollment in enrollments {
            let Some(Value::Array(more)) = enrollment.get_mut("attributes") else {
                continue;
            };
            for attribute in std::mem::take(more) {
                if !joined.iter().any(|there| id(there) == id(&attribute)) {
                    joined.push(attribute);
                }
            }
        }
    }
    members.insert("attributes".to_owned(), Value::Array(joined));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_the_old_api_reads_as_one_of_the_new() {
        let old = json!({
            "trackedEntityInstance": "t", "lastUpdated": "2026-01-01", "coordinates": "[1.5,2]",
            "programOwners": [{"trackedEntityInstance": "t", "program": "p", "ownerOrgUnit": "o"}],
            "enrollments": [{"enrollment": "e", "enrollmentDate": "2026-01-02", "followup": true,
                "notes": [{"note": "n", "storedDate": "d"}],
                "events": [{"event": "v", "eventDate": "a", "dueDate": "b", "assignedUser": "u", "assignedUserUsername": "nurse"}]}],
            "relationships": [{"relationship": "r", "from": {"trackedEntityInstance": {"trackedEntityInstance": "t"}},
                "to": {"event": {"event": "v"}}}]
        });
        let new = to_new(Kind::TrackedEntity, old);
        assert_eq!(new["trackedEntity"], "t");
        assert_eq!(new["updatedAt"], "2026-01-01");
        assert_eq!(
            new["geometry"],
            json!({"type": "Point", "coordinates": [1.5, 2]})
        );
        assert_eq!(new["programOwners"][0]["orgUnit"], "o");
        let enrollment = &new["enrollments"][0];
        assert_eq!(enrollment["enrolledAt"], "2026-01-02");
        assert_eq!(enrollment["followUp"], true);
        assert_eq!(enrollment["notes"][0]["storedAt"], "d");
        assert_eq!(enrollment["events"][0]["scheduledAt"], "b");
        assert_eq!(
            enrollment["events"][0]["assignedUser"],
            json!({"uid": "u", "username": "nurse"})
        );
        assert_eq!(
            new["relationships"][0]["from"],
            json!({"trackedEntity": {"trackedEntity": "t"}})
        );
        assert_eq!(
            to_new(Kind::TrackedEntity, new.clone()),
            new,
            "what is new stays"
        );
    }

    #[test]
    fn attributes_of_enrollments_join_those_of_the_entity_and_the_first_counts() {
        let new = json!({
            "trackedEntity": "t", "attributes": [{"attribute": "a", "value": "1", "updatedAt": "x"}],
            "enrollments": [{"attributes": [{"attribute": "a", "value": "2"}, {"attribute": "b", "value": "3"}]}]
        });
        let old = to_old(Kind::TrackedEntity, new);
        assert_eq!(
            old["attributes"],
            json!([{"attribute": "a", "value": "1", "lastUpdated": "x"}, {"attribute": "b", "value": "3"}])
        );
        assert_eq!(old["enrollments"][0]["attributes"], json!([]));
    }

    #[test]
    fn a_name_that_is_there_twice_keeps_what_was_asked_for() {
        let both = json!({"eventDate": "old", "occurredAt": "new"});
        assert_eq!(
            to_new(Kind::Event, both.clone()),
            json!({"occurredAt": "new"})
        );
        assert_eq!(to_old(Kind::Event, both), json!({"eventDate": "old"}));
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        assert_eq!(to_new(Kind::Event, json!("uid")), json!("uid"));
        let odd = json!({"events": "none", "from": 3});
        assert_eq!(to_old(Kind::Enrollment, odd.clone()), odd);
    }
}
