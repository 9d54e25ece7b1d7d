//! Words of a server that would be something else in SQL, in an address or in a name of a file: they stay words.

use haversack_dhis2::remote::error::Error;
use haversack_model::SyncState;
use haversack_model::local::LocalReplica as _;
use serde_json::{Value as Json, json};

use crate::fake::{Copy, Does, Fake, UNIT, page};

const EVIL: &[&str] = &[
    "x\"; DROP TABLE haversack_outbox; --'",
    "'); DELETE FROM gpkg_contents; --",
    "a\"b'c`d[e]f;g%h_i\\j/k?l#m&n=o",
    "haversack_outbox",
    "rowid",
    "\u{202e}\u{7f}\n\t ",
];

/// A server on which everything that has a name has this one, and its metadata that are not in addresses this uid.
fn server(word: &str) -> Fake {
    let fake = Fake::start("2.41.0");
    fake.add(
        "optionSets",
        json!({"id": "optSet00001", "name": word, "options": [{"id": "option00001"}]}),
    );
    fake.add(
        "options",
        json!({"id": "option00001", "name": word, "code": word, "optionSet": {"id": "optSet00001"}}),
    );
    fake.add(
        "trackedEntityAttributes",
        json!({"id": "attrName001", "name": word, "valueType": "TEXT", "optionSet": {"id": "optSet00001"}}),
    );
    // Of the same name as the other one: its uid becomes a part of its column's name.
    fake.add(
        "trackedEntityAttributes",
        json!({"id": word, "name": word, "valueType": "NUMBER"}),
    );
    fake.add(
        "dataElements",
        json!({"id": word, "name": word, "valueType": "TEXT"}),
    );
    let attributes = json!([{"trackedEntityAttribute": {"id": "attrName001"}}, {"trackedEntityAttribute": {"id": word}}]);
    fake.add(
        "trackedEntityTypes",
        json!({"id": word, "name": word, "trackedEntityTypeAttributes": attributes}),
    );
    fake.add(
        "programs",
        json!({"id": word, "name": word, "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": word}}),
    );
    fake.add(
        "programStages",
        json!({"id": word, "name": word, "program": {"id": word}, "programStageDataElements": [{"dataElement": {"id": word}}]}),
    );
    fake.link();
    fake
}

/// An entity with everything in it, in which all uids and values are this word.
fn object(word: &str) -> Json {
    json!({"trackedEntity": word, "trackedEntityType": word, "orgUnit": UNIT,
        "attributes": [{"attribute": "attrName001", "value": word}, {"attribute": word, "value": word}],
        "enrollments": [{"enrollment": word, "program": word, "orgUnit": UNIT, "status": word, "notes": [{"note": word, "value": word}],
            "events": [{"event": word, "program": word, "programStage": word, "orgUnit": UNIT, "occurredAt": word,
                "dataValues": [{"dataElement": word, "value": word}]}]}],
        "relationships": [{"relationship": word, "relationshipType": word, "from": {"trackedEntity": {"trackedEntity": word}},
            "to": {"event": {"event": word}}}]})
}

fn tables(copy: &Copy) -> Vec<String> {
    let data = copy.file.collections().into_iter().filter(|of| {
        let role = of.properties["role"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        [
            "trackedEntities",
            "enrollments",
            "events",
            "relationships",
            "notes",
        ]
        .contains(&role.as_str())
    });
    data.map(|of| copy.file.table(of.id).unwrap().to_owned())
        .collect()
}

#[test]
fn words_of_a_server_are_no_sql() {
    for word in EVIL {
        let fake = server(word);
        let mut copy = fake.copy();
        fake.script(move |asked| {
            (asked.path == "tracker/trackedEntities")
                .then(|| Does::Answers(200, page("2.41", "trackedEntities", &[object(word)])))
        });
        let found = copy.download(&fake);
        assert_eq!(
            (found.put, found.failed.len()),
            (5, 0),
            "{word:?}: {found:?}"
        );
        let asked = fake.asked("tracker/trackedEntities");
        assert_eq!(asked[0].param("program").as_deref(), Some(*word));
        assert!(copy.file.problems().unwrap().is_empty(), "{word:?}");
        assert_eq!(copy.number("SELECT count(*) FROM haversack_outbox"), 0);
        let all = tables(&copy);
        assert_eq!(all.len(), 5, "{word:?}");
        // All are there, and each is captured when somebody edits it.
        for (at, table) in all.iter().enumerate() {
            let quoted = format!("\"{}\"", table.replace('"', "\"\""));
            let there = format!("SELECT count(*) FROM {quoted} WHERE uid IS NOT NULL");
            assert_eq!(copy.number(&there), 1, "{word:?} {table}");
            copy.edit(&format!("DELETE FROM {quoted}"));
            let captured = copy.number("SELECT count(*) FROM haversack_outbox");
            assert_eq!(captured, at as i64 + 1, "{word:?} {table}");
        }
        let entries = copy.file.begin().unwrap().entries().unwrap();
        let is_deletion = |state| state == SyncState::ToUpdate;
        assert!(
            entries
                .iter()
                .all(|entry| entry.deleted && is_deletion(entry.state))
        );
        assert!(
            entries
                .iter()
                .all(|entry| entry.global_id.to_string() == *word)
        );
    }
}

#[test]
fn a_word_in_an_address_leads_nowhere_else() {
    let fake = Fake::start("2.41.0");
    let server = fake.server();
    fake.asked("");
    for path in [
        "relationships/../users/admin",
        "relationships/..",
        "events/a?strategy=DELETE",
        "events/a#b",
        "//127.0.0.1:1/x",
        "http://127.0.0.1:1/",
        "events/a%2f..",
        "events/a b",
        "",
    ] {
        let refused = server.http.delete(path, &[]);
        assert!(
            matches!(refused, Err(Error::Parameter { what: "path", .. })),
            "{path:?}: {refused:?}"
        );
    }
    assert_eq!(fake.asked(""), [], "nothing was asked");
}
