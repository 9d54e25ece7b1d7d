//! Which requests are made of which objects, in which order.

use serde_json::{Value, json};

use crate::remote::push::collect::Item;
use crate::remote::push::outcome::Sent;
use crate::remote::push::plan::plan;
use crate::wire::tracker::Kind;
use crate::wire::version::{Api, Version};

fn item(kind: Kind, uid: &str, parent: Option<(Kind, &str)>, is_delete: bool) -> Item {
    let parents = parent.map(|(kind, uid)| (kind, uid.to_owned()));
    Item {
        at: Some(0),
        sent: Sent {
            kind: Some(kind),
            uid: uid.to_owned(),
            is_delete,
            parents: parents.into_iter().collect(),
            ..Sent::default()
        },
        object: json!({ kind.member(): uid, "orgUnit": "o" }),
        notes: Vec::new(),
        waits_for: None,
        hand_over: None,
    }
}

fn version(line: u16) -> Version {
    Version { line, patch: 0 }
}

fn requests(items: &[Item], api: Api, line: u16) -> Vec<(String, Value)> {
    let planned = plan(items, api, version(line)).into_iter();
    planned
        .map(|request| {
            let params = request.params(version(line));
            let strategy = params.iter().find(|(name, _)| name.ends_with("trategy"));
            let strategy = strategy.map_or("", |(_, value)| value);
            let line = format!("{} {strategy}", request.path(items));
            (line.trim_end().to_owned(), request.body(items))
        })
        .collect()
}

fn family(n: u32) -> Vec<Item> {
    let (t, e, v) = (format!("t{n}"), format!("e{n}"), format!("v{n}"));
    vec![
        item(Kind::TrackedEntity, &t, None, false),
        item(Kind::Enrollment, &e, Some((Kind::TrackedEntity, &t)), false),
        item(Kind::Event, &v, Some((Kind::Enrollment, &e)), false),
    ]
}

fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by_key(|item| item.sent.kind);
    items
}

#[test]
fn the_new_importer_gets_deletions_first_and_then_flat_lists_of_what_was_edited() {
    let mut items = family(1);
    items.push(item(
        Kind::Event,
        "v9",
        Some((Kind::Enrollment, "e9")),
        true,
    ));
    items.push(item(Kind::Relationship, "r1", None, false));
    let told = requests(&items, Api::New, 41);
    let lines: Vec<&str> = told.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(lines, ["tracker DELETE", "tracker CREATE_AND_UPDATE"]);
    assert_eq!(
        told[0].1,
        json!({"trackedEntities": [], "enrollments": [], "events": [{"event": "v9"}], "relationships": []})
    );
    for (list, count) in [
        ("trackedEntities", 1),
        ("enrollments", 1),
        ("events", 1),
        ("relationships", 1),
    ] {
        assert_eq!(told[1].1[list].as_array().unwrap().len(), count, "{list}");
    }
    assert!(told[1].1["trackedEntities"][0].get("enrollments").is_none());
}

#[test]
fn the_old_importer_gets_families_in_chunks_of_twenty_and_orphans_by_their_kind() {
    let mut items: Vec<Item> = (0..41).flat_map(family).collect();
    items.push(item(
        Kind::Enrollment,
        "e99",
        Some((Kind::TrackedEntity, "known")),
        true,
    ));
    items.push(item(
        Kind::Event,
        "v98",
        Some((Kind::Enrollment, "e99")),
        false,
    ));
    items.push(item(Kind::Event, "v99", None, false));
    items.push(item(Kind::Relationship, "r1", None, true));
    items.push(item(Kind::Relationship, "r2", None, false));
    let told = requests(&sorted(items), Api::Old, 40);
    let lines: Vec<&str> = told.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "relationships/r1",
            "trackedEntityInstances SYNC",
            "trackedEntityInstances SYNC",
            "trackedEntityInstances SYNC",
            "enrollments SYNC",
            "events SYNC",
            "relationships CREATE_AND_UPDATE"
        ]
    );
    let chunk = told[1].1["trackedEntityInstances"].as_array().unwrap();
    assert_eq!(chunk.len(), 20);
    assert_eq!(chunk[0]["trackedEntityInstance"], "t0");
    assert_eq!(chunk[0]["enrollments"][0]["enrollment"], "e0");
    assert_eq!(chunk[0]["enrollments"][0]["events"][0]["event"], "v0");
    assert_eq!(
        told[3].1["trackedEntityInstances"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let orphan = &told[4].1["enrollments"][0];
    assert_eq!(
        (&orphan["enrollment"], &orphan["deleted"]),
        (&json!("e99"), &json!(true))
    );
    assert_eq!(orphan["events"][0]["event"], "v98");
    assert_eq!(told[5].1["events"].as_array().unwrap().len(), 1);
}

#[test]
fn a_server_of_the_oldest_line_deletes_one_by_one_children_first() {
    let items = vec![
        item(Kind::TrackedEntity, "t1", None, true),
        item(
            Kind::Enrollment,
            "e1",
            Some((Kind::TrackedEntity, "t1")),
            true,
        ),
        item(Kind::Event, "v1", None, false),
    ];
    let told = requests(&items, Api::Old, 29);
    let lines: Vec<&str> = told.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "enrollments/e1",
            "trackedEntityInstances/t1",
            "events CREATE_AND_UPDATE"
        ]
    );
}
