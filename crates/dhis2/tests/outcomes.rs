//! Every report of the SDK's own tests, read as the answer to an upload. They are not in the repository: see `cargo xtask test`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use haversack_dhis2::remote::push::outcome::{Fate, Sent, decide};
use haversack_dhis2::wire::conflict_text;
use haversack_dhis2::wire::report::Report;
use haversack_dhis2::wire::tracker::Kind;
use haversack_dhis2::wire::version::Api;
use serde_json::Value;

fn folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("HAVERSACK_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("fixtures/dhis2");
    assert!(
        folder.is_dir(),
        "there is no {}: set HAVERSACK_SHARED to the folder that holds fixtures/dhis2",
        folder.display()
    );
    folder
}

/// The reports below a folder, by name.
fn reports(below: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder().join(below)).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = std::fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.insert(name, serde_json::from_slice(&text).unwrap());
        }
    }
    found
}

fn sent(kind: Kind, uid: &str) -> Sent {
    Sent {
        kind: Some(kind),
        uid: uid.to_owned(),
        is_new: true,
        ..Sent::default()
    }
}

/// What a document says of objects, read without our types: uid to whether any mention of it is an error.
fn mentions(
    value: &Value,
    id: &str,
    is_error: &dyn Fn(&Value) -> bool,
    found: &mut BTreeMap<String, bool>,
) {
    if let Some(uid) = value
        .get(id)
        .and_then(Value::as_str)
        .filter(|uid| !uid.is_empty())
    {
        *found.entry(uid.to_owned()).or_default() |= is_error(value);
    }
    match value {
        Value::Array(items) => items
            .iter()
            .for_each(|item| mentions(item, id, is_error, found)),
        Value::Object(members) => members
            .values()
            .for_each(|member| mentions(member, id, is_error, found)),
        _ => {}
    }
}

/// Compares what each named object is taken to be with the document itself. Gives how many objects and sentences there were.
fn check(name: &str, api: Api, report: &Report, told: &BTreeMap<String, bool>) -> (usize, usize) {
    let all: Vec<Sent> = report
        .outcomes
        .keys()
        .map(|(kind, uid)| sent(*kind, uid))
        .collect();
    let mut sentences = 0;
    for one in &all {
        let outcome = decide(api, one, &all, report);
        let is_error = told[&one.uid];
        match &outcome.fate {
            Fate::Stored | Fate::Warned(_) => assert!(!is_error, "{name}: {one:?}"),
            Fate::Refused(_, reason) => assert!(is_error && !reason.is_empty(), "{name}: {one:?}"),
            Fate::Waits(_) => assert!(
                is_error && one.kind == Some(Kind::Relationship),
                "{name}: {one:?}"
            ),
        }
        for conflict in &outcome.conflicts {
            assert_eq!(conflict.object, one.uid, "{name}");
            assert!(!conflict.message.is_empty(), "{name}: {conflict:?}");
            assert_eq!(conflict.is_warning, !is_error, "{name}: {conflict:?}");
            if conflict_text::hint(&conflict.code).is_some()
                || conflict.message.starts_with("value_")
            {
                assert!(!conflict.hint.is_empty(), "{name}: {conflict:?}");
            }
            sentences += 1;
        }
    }
    let missing = sent(Kind::Event, "notThere001");
    assert!(
        matches!(decide(api, &missing, &all, report).fate, Fate::Waits(_)),
        "{name}"
    );
    let named: Vec<&String> = report.outcomes.keys().map(|(_, uid)| uid).collect();
    for uid in told.keys() {
        assert!(named.contains(&uid), "{name}: {uid} is lost");
    }
    (all.len(), sentences)
}

#[test]
fn the_real_data_of_dhis2_tells_what_became_of_every_object_by_the_old_importer() {
    let (mut objects, mut sentences, mut files) = (0, 0, 0);
    let both = [reports("imports"), reports("imports/tracker-importer")];
    for (name, body) in both.into_iter().flatten() {
        let text = body.to_string();
        let is_summary = text.contains("importSummar") || text.contains("\"ImportSummary\"");
        // Aggregate data values have no references.
        if !is_summary || name.contains("data_value") {
            continue;
        }
        let kind = ["relationship", "event"]
            .iter()
            .position(|word| name.contains(word));
        let kind = match kind {
            Some(0) => Kind::Relationship,
            Some(_) => Kind::Event,
            None => Kind::TrackedEntity,
        };
        let Ok(report) = Report::of_summaries(kind, &body) else {
            panic!("{name} is no report");
        };
        let mut told = BTreeMap::new();
        mentions(
            &body,
            "reference",
            &|value| value["status"] == "ERROR",
            &mut told,
        );
        let (more, said) = check(&name, Api::Old, &report, &told);
        objects += more;
        sentences += said;
        files += 1;
    }
    assert!(
        files >= 10 && objects >= 15 && sentences >= 8,
        "{files} {objects} {sentences}"
    );
}

#[test]
fn the_real_data_of_dhis2_tells_what_became_of_every_object_by_the_new_importer() {
    let (mut objects, mut sentences, mut files) = (0, 0, 0);
    let all = [
        reports("imports"),
        reports("imports/tracker-importer"),
        reports("tracker/importer"),
    ];
    for (name, body) in all.into_iter().flatten() {
        if body.get("validationReport").is_none() {
            continue;
        }
        let report = Report::of_job(&body).unwrap();
        let mut told = BTreeMap::new();
        mentions(
            &body,
            "uid",
            &|value| value.get("errorCode").is_some(),
            &mut told,
        );
        let (more, said) = check(&name, Api::New, &report, &told);
        objects += more;
        sentences += said;
        files += 1;
    }
    assert!(
        files >= 7 && objects >= 8 && sentences >= 5,
        "{files} {objects} {sentences}"
    );
}
