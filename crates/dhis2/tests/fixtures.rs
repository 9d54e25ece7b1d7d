//! Every payload of the SDK's own tests, read by the wire. They are not in the repository: see `cargo xtask test`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use haversack_dhis2::wire::report::{self, Progress, Report, Verdict};
use haversack_dhis2::wire::tracker::{Event, Kind, Relationship, TrackedEntity};
use haversack_dhis2::wire::version::Version;
use haversack_dhis2::wire::{date, json, page, shape};
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

/// All payloads by their path.
fn all() -> BTreeMap<String, Value> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Value>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                let text = std::fs::read(&path).unwrap();
                found.insert(name, serde_json::from_slice(&text).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&folder(), &folder(), &mut found);
    found
}

fn fixture(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

fn entities(name: &str, is_old: bool) -> Vec<TrackedEntity> {
    let page = page::read(Kind::TrackedEntity, is_old, fixture(name)).unwrap();
    let read = |object: Value| {
        let object = if is_old {
            shape::to_new(Kind::TrackedEntity, object)
        } else {
            object
        };
        serde_json::from_value(object).unwrap()
    };
    page.objects.into_iter().map(read).collect()
}

#[test]
fn the_real_data_of_dhis2_is_accepted_by_the_strict_reader() {
    let mut count = 0;
    for name in all().keys() {
        let text = std::fs::read(folder().join(name)).unwrap();
        assert!(json::parse(&text).is_ok(), "{name}");
        count += 1;
    }
    assert!(count >= 126, "{count}");
}

#[test]
fn the_real_data_of_dhis2_holds_pages_of_every_version() {
    for (name, is_old) in [
        ("trackedentity/tracked_entity_instances.json", true),
        (
            "trackedentity/tracked_entity_instance_collection.json",
            true,
        ),
        (
            "trackedentity/tracked_entity_instances_with_relationship.json",
            true,
        ),
        (
            "trackedentity/new_tracker_importer_tracked_entities.json",
            false,
        ),
        (
            "trackedentity/new_tracker_importer_tracked_entities_lower_v41.json",
            false,
        ),
        (
            "trackedentity/new_tracker_importer_tracked_entities_greater_equal_v41.json",
            false,
        ),
    ] {
        let read = entities(name, is_old);
        assert!(!read.is_empty(), "{name}");
        for entity in &read {
            assert!(
                !entity.tracked_entity.is_empty() && !entity.org_unit.is_empty(),
                "{name}"
            );
            let told = &entity.times.updated_at;
            assert!(told.is_empty() || date::parse(told).is_some(), "{name}");
        }
    }
    assert!(
        entities(
            "trackedentity/new_tracker_importer_tracked_entities_empty.json",
            false
        )
        .is_empty()
    );
    for (name, is_old) in [
        ("event/events_1.json", true),
        ("event/events_with_uids.json", true),
        (
            "event/two_events_first_good_second_wrong_foreign_key.json",
            true,
        ),
        ("event/new_tracker_importer_events_lower_v41.json", false),
        (
            "event/new_tracker_importer_events_greater_equal_v41.json",
            false,
        ),
    ] {
        let page = page::read(Kind::Event, is_old, fixture(name)).unwrap();
        assert!(!page.objects.is_empty(), "{name}");
        for object in page.objects {
            let object = if is_old {
                shape::to_new(Kind::Event, object)
            } else {
                object
            };
            let event: Event = serde_json::from_value(object).unwrap();
            assert!(
                !event.event.is_empty() && !event.program_stage.is_empty(),
                "{name}"
            );
        }
    }
}

#[test]
fn the_real_data_of_dhis2_is_the_same_in_both_shapes() {
    let old = fixture("trackedentity/new_tracker_transformer_old_tracked_entity.json");
    let new = fixture("trackedentity/new_tracker_transformer_new_tracked_entity.json");
    let typed = |value: Value| serde_json::from_value::<TrackedEntity>(value).unwrap();
    let as_old = shape::to_old(Kind::TrackedEntity, new);
    let there_and_back = typed(shape::to_new(Kind::TrackedEntity, as_old));
    assert_eq!(
        there_and_back,
        typed(shape::to_new(Kind::TrackedEntity, old))
    );
    assert_eq!(there_and_back.enrollments[0].events[0].data_values.len(), 6);
    assert_eq!(there_and_back.attributes.len(), 2);
}

#[test]
fn the_real_data_of_dhis2_holds_relationships_of_both_shapes() {
    let new: Relationship =
        serde_json::from_value(fixture("relationship/new_relationship.json")).unwrap();
    assert!(new.from.object().is_some() && new.to.object().is_some());
    let old = shape::to_new(
        Kind::Relationship,
        fixture("relationship/relationship_30.json"),
    );
    let old: Relationship = serde_json::from_value(old).unwrap();
    assert!(old.from.object().is_some() && old.to.object().is_some());
    let with = entities(
        "trackedentity/tracked_entity_instances_with_relationship.json",
        true,
    );
    assert!(with.iter().any(|entity| !entity.relationships.is_empty()));
}

#[test]
fn the_real_data_of_dhis2_holds_import_summaries_that_are_all_read() {
    let mut read = 0;
    for (name, body) in all() {
        let is_answer = name.starts_with("imports/")
            && !name.ends_with("new.json")
            && !name.contains("job_response");
        let has_summaries = is_answer && body.to_string().contains("importSummar");
        if !has_summaries {
            continue;
        }
        let kind = if name.contains("relationship") {
            Kind::Relationship
        } else if name.contains("event") {
            Kind::Event
        } else {
            Kind::TrackedEntity
        };
        let report =
            Report::of_summaries(kind, &body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let says_error = body.to_string().contains(r#""status":"ERROR""#);
        assert_eq!(report.has_errors(), says_error, "{name}");
        read += 1;
    }
    assert!(read >= 8, "{read}");
    let refused = Report::of_summaries(
        Kind::Event,
        &fixture("imports/tracker-importer/event-conflict-old.json"),
    )
    .unwrap();
    let event = refused.outcome(Kind::Event, "STPIK5YTi4f").unwrap();
    assert_eq!(event.verdict, Verdict::Error);
    assert!(event.problems[0].message.contains("not assigned"));
    let dated = Report::of_summaries(
        Kind::TrackedEntity,
        &fixture("imports/import_summary_with_tei_conflicts.json"),
    )
    .unwrap();
    let entity = dated.outcome(Kind::TrackedEntity, "Rmp5T1vmZ74").unwrap();
    assert_eq!(entity.problems[0].attribute.as_deref(), Some("iESIqZ0R0R0"));
    assert_eq!(entity.problems[0].code, "E1007");
}

#[test]
fn the_real_data_of_dhis2_holds_jobs_and_reports_that_are_all_read() {
    assert_eq!(
        report::job_id(&fixture("imports/tracker-importer/job_response.json")).unwrap(),
        "LkXBUdIgbe3"
    );
    let done = fixture("imports/tracker-importer/job_response_completed.json");
    assert_eq!(report::progress(&done).unwrap(), Progress::Completed);
    for (name, kind, uid, verdict, code) in [
        (
            "imports/tracker-importer/event-ok-new.json",
            Kind::Event,
            "Y8FRzr4y2jG",
            Verdict::Success,
            "",
        ),
        (
            "imports/tracker-importer/tei-new.json",
            Kind::TrackedEntity,
            "e34WObjXCwl",
            Verdict::Success,
            "",
        ),
        (
            "imports/tracker-importer/event-conflict-new.json",
            Kind::Event,
            "STPIK5YTi4f",
            Verdict::Error,
            "E1029",
        ),
        (
            "imports/tracker-importer/tei-with-enrollment-error-new.json",
            Kind::Enrollment,
            "XJPm2lZzxtq",
            Verdict::Error,
            "E1041",
        ),
        (
            "tracker/importer/jobreport-success.json",
            Kind::Event,
            "UavzrupW3lZ",
            Verdict::Success,
            "",
        ),
        (
            "tracker/importer/jobreport-error.json",
            Kind::Event,
            "PXi7gfVIk1p",
            Verdict::Error,
            "E1033",
        ),
    ] {
        let report = Report::of_job(&fixture(name)).unwrap();
        let outcome = report
            .outcome(kind, uid)
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(outcome.verdict, verdict, "{name}");
        let told = outcome
            .problems
            .first()
            .map_or("", |problem| problem.code.as_str());
        assert_eq!(told, code, "{name}");
    }
}

#[test]
fn the_real_data_of_dhis2_tells_the_version_of_its_server() {
    let info = fixture("systeminfo/system_info.json");
    let version: Version = info["version"].as_str().unwrap().parse().unwrap();
    assert_eq!(version.line, 41);
    assert!(date::parse(info["serverDate"].as_str().unwrap()).is_some());
}
