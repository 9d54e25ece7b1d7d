//! The far sides of relationships: an event brings its enrollment, an enrollment its tracked entity, and all of them are stubs.

use serde_json::{Value as Json, json};

use crate::fake::{Asked, Copy, Does, Fake, UNIT, page, person};

/// The last version but one that lists with the old API, and one that lists with the new one.
const OLD: &str = "2.38.0";
const NEW: &str = "2.41.0";

fn program(version: &str) -> Fake {
    let fake = Fake::start(version);
    fake.add_program();
    fake.add(
        "relationshipTypes",
        json!({"id": "tieType0001", "name": "Contact"}),
    );
    fake
}

fn side(version: &str, kind: &str, uid: &str) -> Json {
    match (version, kind) {
        (OLD, "trackedEntity") => {
            json!({"trackedEntityInstance": {"trackedEntityInstance": uid}})
        }
        _ => json!({ kind: { kind: uid } }),
    }
}

/// The first person, tied to the seventh one's visit and to the eighth one's enrollment.
fn tied(version: &str) -> Json {
    let tie = |uid: &str, to: Json| json!({"relationship": uid, "relationshipType": "tieType0001", "from": side(version, "trackedEntity", "person00001"), "to": to});
    let ties = json!([
        tie("tie00000007", side(version, "event", "events00007")),
        tie("tie00000008", side(version, "enrollment", "enroll00008")),
    ]);
    if version == OLD {
        return json!({"trackedEntityInstance": "person00001", "trackedEntityType": "typePerson1", "orgUnit": UNIT, "relationships": ties});
    }
    let mut one = person(1);
    one["relationships"] = ties;
    one
}

fn tracked(version: &str, n: u32) -> Json {
    let uid = format!("person{n:05}");
    match version {
        OLD => {
            json!({"trackedEntityInstance": uid, "trackedEntityType": "typePerson1", "orgUnit": UNIT})
        }
        _ => person(n),
    }
}

fn enrollment(version: &str, n: u32) -> Json {
    let (entity, uid) = (format!("person{n:05}"), format!("enroll{n:05}"));
    let name = if version == OLD {
        "trackedEntityInstance"
    } else {
        "trackedEntity"
    };
    json!({"enrollment": uid, name: entity, "program": "progChild01", "orgUnit": UNIT, "status": "ACTIVE",
        "events": [{"event": format!("events{n:05}"), "program": "progChild01", "programStage": "stageVisit1", "orgUnit": UNIT}]})
}

fn visit(n: u32) -> Json {
    json!({"event": format!("events{n:05}"), "enrollment": format!("enroll{n:05}"), "program": "progChild01", "programStage": "stageVisit1",
        "orgUnit": UNIT, "dataValues": [{"dataElement": "elemWeight1", "value": "3.5"}]})
}

/// What a server of a version answers that holds all of it; `lost` are paths that it has not.
fn answer(version: &str, asked: &Asked, lost: &[&str]) -> Option<Does> {
    let path = asked.path.as_str();
    if lost.contains(&path) {
        return Some(Does::Answers(404, json!({"httpStatusCode": 404})));
    }
    let of = |name: &str| asked.param(name);
    let is_old = version == OLD;
    let listed = |kind: &str, objects: &[Json]| {
        let body = if is_old {
            json!({"pager": {"page": 1, "pageSize": 50}, kind: objects})
        } else {
            page(version, kind, objects)
        };
        Some(Does::Answers(200, body))
    };
    match path {
        "trackedEntityInstances" | "tracker/trackedEntities" => {
            let kind = path.trim_start_matches("tracker/");
            let wanted = of("trackedEntityInstance").or_else(|| of("trackedEntities"));
            match wanted {
                Some(uids) => {
                    assert_eq!(mode(asked), "ACCESSIBLE");
                    let uids = uids.split([',', ';']);
                    let found = uids.map(|uid| tracked(version, uid[6..].parse().unwrap()));
                    listed(kind, &found.collect::<Vec<_>>())
                }
                None => listed(kind, &[tied(version)]),
            }
        }
        "events" | "tracker/events" => match of("event").or_else(|| of("events")) {
            Some(uid) => {
                assert_eq!(
                    (uid.as_str(), mode(asked).as_str()),
                    ("events00007", "ACCESSIBLE")
                );
                listed("events", &[visit(7)])
            }
            None => listed("events", &[]),
        },
        path => {
            let uid = path.rsplit('/').next()?;
            let n = uid.strip_prefix("enroll")?.parse().ok()?;
            Some(Does::Answers(200, enrollment(version, n)))
        }
    }
}

fn mode(asked: &Asked) -> String {
    let mode = asked.param("ouMode").or_else(|| asked.param("orgUnitMode"));
    mode.unwrap()
}

fn stubs(copy: &Copy, table: &str) -> Vec<i64> {
    ["00001", "00007", "00008"]
        .iter()
        .map(|n| {
            copy.number(&format!(
                "SELECT COALESCE(sum(is_stub), -1) FROM {table} WHERE uid LIKE '%{n}'"
            ))
        })
        .collect()
}

#[test]
fn an_event_brings_its_enrollment_and_an_enrollment_its_tracked_entity_and_all_are_stubs() {
    for version in [OLD, NEW] {
        let fake = program(version);
        let mut copy = fake.copy();
        fake.script(move |asked| answer(version, asked, &[]));
        fake.asked("");
        let found = copy.download(&fake);
        assert_eq!(
            (found.stubs, found.dropped_relationships, found.failed.len()),
            (5, 0, 0),
            "{version}: {found:?}"
        );
        // Events first, then enrollments, then tracked entities, each only once.
        let prefix = if version == OLD { "" } else { "tracker/" };
        let asked: Vec<String> = fake
            .asked("")
            .into_iter()
            .filter_map(|asked| {
                let is_named = [
                    "event",
                    "events",
                    "trackedEntities",
                    "trackedEntityInstance",
                ]
                .iter()
                .any(|name| asked.param(name).is_some());
                (is_named || asked.path.contains("enroll")).then_some(asked.path)
            })
            .collect();
        let entities = if version == OLD {
            "trackedEntityInstances"
        } else {
            "tracker/trackedEntities"
        };
        assert_eq!(
            asked,
            [
                format!("{prefix}events"),
                format!("{prefix}enrollments/enroll00007"),
                format!("{prefix}enrollments/enroll00008"),
                entities.to_owned()
            ],
            "{version}"
        );
        let own = if version == OLD { -1 } else { 0 };
        assert_eq!(stubs(&copy, "Person"), [0, 1, 1], "{version}");
        assert_eq!(stubs(&copy, "Child_enrollments"), [own, 1, 1], "{version}");
        // The visit of the eighth one is no far side and stays away.
        assert_eq!(stubs(&copy, "Child_Visit"), [own, 1, -1], "{version}");
        assert_eq!(copy.number("SELECT count(*) FROM Relationships"), 2);
        let weight = "SELECT count(*) FROM Child_Visit WHERE uid = 'events00007' AND weight = 3.5";
        assert_eq!(copy.number(weight), 1, "{version}");

        // What is here is not asked for again.
        copy.download(&fake);
        let again = fake.asked("enroll");
        assert_eq!(again, [], "{version}");
        assert_eq!(copy.number("SELECT count(*) FROM Relationships"), 2);
    }
}

#[test]
fn a_far_side_that_is_gone_takes_its_tie_along_and_leaves_the_others() {
    for (version, lost) in [
        (OLD, "enrollments/enroll00008"),
        (NEW, "tracker/enrollments/enroll00008"),
    ] {
        let fake = program(version);
        let mut copy = fake.copy();
        fake.script(move |asked| answer(version, asked, &[lost]));
        let found = copy.download(&fake);
        assert_eq!(
            (found.stubs, found.dropped_relationships),
            (3, 1),
            "{version}: {found:?}"
        );
        assert_eq!(stubs(&copy, "Child_enrollments")[1..], [1, -1], "{version}");
        let left = "SELECT count(*) FROM Relationships WHERE uid = 'tie00000007'";
        assert_eq!(copy.number(left), 1, "{version}");
        assert_eq!(copy.number("SELECT count(*) FROM Relationships"), 1);
    }
}
