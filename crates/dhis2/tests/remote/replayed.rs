//! The payloads of the SDK's own tests, page by page, as servers of each version would send them. They are not in the repository:
//! see `cargo xtask test`.

use std::path::Path;

use haversack_dhis2::wire::tracker::Kind;
use haversack_dhis2::wire::{page, shape};
use serde_json::{Value as Json, json};

use crate::fake::{Does, Fake, page as new_page};

fn fixture(name: &str) -> Json {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("HAVERSACK_SHARED").map_or(beside, std::path::PathBuf::from);
    let path = shared.join("fixtures/dhis2").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|_| {
        panic!(
            "there is no {}: set HAVERSACK_SHARED to the folder that holds fixtures/dhis2",
            path.display()
        )
    });
    serde_json::from_slice(&text).unwrap()
}

/// Metadata in which these objects (of the new shape) have a place.
fn describe(fake: &Fake, entities: &[Json]) {
    let list = |object: &Json, name: &str| object[name].as_array().cloned().unwrap_or_default();
    for entity in entities {
        let attributes = list(entity, "attributes");
        let named = |a: &Json| json!({"trackedEntityAttribute": {"id": a["attribute"]}});
        for attribute in &attributes {
            let id = attribute["attribute"].as_str().unwrap();
            fake.add(
                "trackedEntityAttributes",
                json!({"id": id, "name": id, "valueType": "TEXT"}),
            );
        }
        let of: Vec<Json> = attributes.iter().map(named).collect();
        let of_type = entity["trackedEntityType"].as_str().unwrap();
        fake.add(
            "trackedEntityTypes",
            json!({"id": of_type, "name": "Person", "trackedEntityTypeAttributes": of}),
        );
        for enrollment in list(entity, "enrollments") {
            let program = enrollment["program"].as_str().unwrap();
            fake.add("programs", json!({"id": program, "name": "Program", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": of_type}}));
            for event in list(&enrollment, "events") {
                for value in list(&event, "dataValues") {
                    let id = value["dataElement"].as_str().unwrap();
                    fake.add(
                        "dataElements",
                        json!({"id": id, "name": id, "valueType": "TEXT"}),
                    );
                }
                fake.add("programStages", json!({"id": event["programStage"], "name": "Stage", "program": {"id": program},
                    "programStageDataElements": list(&event, "dataValues").iter().map(|v| json!({"dataElement": {"id": v["dataElement"]}})).collect::<Vec<_>>()}));
            }
        }
        if list(entity, "enrollments").is_empty() {
            fake.add("programs", json!({"id": "progSome001", "name": "Program", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": of_type}}));
        }
    }
    fake.link();
}

/// A server of a version that answers with a page; gives how many entities, enrollments, events and notes are stored.
fn replay(version: &str, name: &str) -> [i64; 4] {
    let answer = fixture(name);
    let is_old = version < "2.40";
    let read = page::read(Kind::TrackedEntity, is_old, answer.clone()).unwrap();
    let objects: Vec<Json> = read
        .objects
        .into_iter()
        .map(|o| shape::to_new(Kind::TrackedEntity, o))
        .collect();
    let fake = Fake::start(version);
    describe(&fake, &objects);
    let path = if is_old {
        "trackedEntityInstances"
    } else {
        "tracker/trackedEntities"
    };
    fake.script(move |asked| {
        let is_page = asked.path == path && asked.param("page").is_some();
        is_page.then(|| Does::Answers(200, answer.clone()))
    });
    let mut copy = fake.copy();
    let found = copy.download(&fake);
    let pages: Vec<_> = found
        .failed
        .iter()
        .filter(|page| !page.program.is_empty())
        .collect();
    assert!(pages.is_empty(), "{name}: {found:?}");
    assert!(found.unknown.is_empty(), "{name}: {found:?}");
    let tables = |like: &str| -> Vec<String> {
        let all = copy.file.collections();
        let all = all.iter().filter(|c| c.properties["role"] == *like);
        all.map(|c| copy.file.table(c.id).unwrap().to_owned())
            .collect()
    };
    ["trackedEntities", "enrollments", "events", "notes"].map(|role| {
        let of = tables(role);
        of.iter()
            .map(|table| copy.number(&format!("SELECT count(*) FROM \"{table}\"")))
            .sum()
    })
}

#[test]
fn the_real_data_of_dhis2_is_stored_from_pages_of_every_version() {
    let folder = "trackedentity";
    for (version, name, stored) in [
        ("2.30.0", "tracked_entity_instances.json", [2, 2, 2, 7]),
        ("2.39.0", "tracked_entity_instances.json", [2, 2, 2, 7]),
        (
            "2.40.2",
            "new_tracker_importer_tracked_entities_lower_v41.json",
            [2, 0, 0, 0],
        ),
        (
            "2.41.0",
            "new_tracker_importer_tracked_entities_greater_equal_v41.json",
            [2, 0, 0, 0],
        ),
        (
            "2.43.0",
            "new_tracker_importer_tracked_entities_greater_equal_v41.json",
            [2, 0, 0, 0],
        ),
    ] {
        assert_eq!(
            replay(version, &format!("{folder}/{name}")),
            stored,
            "{version} {name}"
        );
    }
}

#[test]
fn the_real_data_of_dhis2_goes_from_a_copy_when_the_server_leaves_it_out() {
    let whole = fixture("trackedentity/new_tracker_importer_tracked_entity.json");
    let less =
        fixture("trackedentity/new_tracker_importer_tracked_entity_with_removed_data_single.json");
    let fake = Fake::start("2.41.0");
    describe(&fake, std::slice::from_ref(&whole));
    let mut copy = fake.copy();
    let answers = |fake: &Fake, object: &Json| {
        let answer = new_page("2.41", "trackedEntities", std::slice::from_ref(object));
        fake.script(move |asked| {
            (asked.path == "tracker/trackedEntities").then(|| Does::Answers(200, answer.clone()))
        });
    };
    answers(&fake, &whole);
    let found = copy.download(&fake);
    assert_eq!(found.entities, 1, "{found:?}");
    let events = "SELECT count(*) FROM Program_Stage";
    assert_eq!(
        (
            copy.number("SELECT count(*) FROM Program_enrollments"),
            copy.number(events)
        ),
        (2, 4)
    );
    // An enrollment and one event of the other are marked as deleted.
    answers(&fake, &less);
    copy.download(&fake);
    assert_eq!(
        (
            copy.number("SELECT count(*) FROM Program_enrollments"),
            copy.number(events)
        ),
        (1, 2)
    );

    // An enrollment and an event that are merely not told any more.
    let mut bare = less.clone();
    bare["enrollments"] = json!([less["enrollments"][1].clone()]);
    bare["enrollments"][0]["events"]
        .as_array_mut()
        .unwrap()
        .pop();
    answers(&fake, &bare);
    let found = copy.download(&fake);
    assert_eq!((found.removed, copy.number(events)), (1, 1), "{found:?}");

    // A whole enrollment that is not told any more, in a copy that has both.
    let mut copy = fake.copy();
    answers(&fake, &whole);
    copy.download(&fake);
    let mut bare = whole.clone();
    bare["enrollments"].as_array_mut().unwrap().remove(0);
    answers(&fake, &bare);
    let found = copy.download(&fake);
    assert_eq!((found.removed, copy.number(events)), (2, 3), "{found:?}");
}
