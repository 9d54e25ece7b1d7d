//! What sentences and silences of reports mean for each object.

use haversack_model::RejectCode;
use serde_json::{Value, json};

use crate::remote::push::outcome::{Fate, Sent, Told, decide};
use crate::wire::report::Report;
use crate::wire::tracker::Kind;
use crate::wire::version::Api;

fn sent(kind: Kind, uid: &str) -> Sent {
    Sent {
        kind: Some(kind),
        uid: uid.to_owned(),
        is_new: true,
        ..Sent::default()
    }
}
fn deleted(kind: Kind, uid: &str) -> Sent {
    Sent {
        is_delete: true,
        is_new: false,
        ..sent(kind, uid)
    }
}
fn below(kind: Kind, uid: &str, parent: (Kind, &str)) -> Sent {
    Sent {
        parents: vec![(parent.0, parent.1.to_owned())],
        ..sent(kind, uid)
    }
}

fn error(kind: Kind, uid: &str, code: &str, message: &str) -> Value {
    json!({"trackerType": kind.name(), "uid": uid, "errorCode": code, "message": message})
}

fn by_job(
    all: &[Sent],
    errors: &[Value],
    warnings: &[Value],
    stored: &[(Kind, &str)],
) -> Vec<Told> {
    let of = |kind: Kind| -> Vec<Value> {
        let of_kind = stored.iter().filter(|(of, _)| *of == kind);
        of_kind
            .map(|(_, uid)| json!({"uid": uid, "errorReports": []}))
            .collect()
    };
    let types: serde_json::Map<String, Value> = Kind::ALL
        .map(|kind| (kind.name().to_owned(), json!({"objectReports": of(kind)})))
        .into_iter()
        .collect();
    let body = json!({"validationReport": {"errorReports": errors, "warningReports": warnings},
        "bundleReport": {"typeReportMap": types}});
    let report = Report::of_job(&body).unwrap();
    all.iter()
        .map(|one| decide(Api::New, one, all, &report))
        .collect()
}

fn by_summaries(kind: Kind, all: &[Sent], summaries: &Value) -> Vec<Told> {
    let body = json!({"httpStatusCode": 409, "response": {"importSummaries": summaries}});
    let report = Report::of_summaries(kind, &body).unwrap();
    all.iter()
        .map(|one| decide(Api::Old, one, all, &report))
        .collect()
}

fn code(told: &Told) -> Option<RejectCode> {
    match told.fate {
        Fate::Refused(code, _) => Some(code),
        _ => None,
    }
}
fn waits(told: &Told) -> bool {
    matches!(told.fate, Fate::Waits(_))
}

#[test]
fn a_refusal_tells_code_field_value_and_what_to_do() {
    let all = [sent(Kind::TrackedEntity, "t1")];
    let said = "Non-unique attribute value `A-17` for attribute `lZGmxYbs97q`.";
    let told = by_job(
        &all,
        &[error(Kind::TrackedEntity, "t1", "E1064", said)],
        &[],
        &[],
    );
    assert_eq!(code(&told[0]), Some(RejectCode::InvalidValue));
    let conflict = &told[0].conflicts[0];
    assert_eq!(
        (
            conflict.kind.as_str(),
            conflict.object.as_str(),
            conflict.code.as_str()
        ),
        ("trackedEntity", "t1", "E1064")
    );
    assert_eq!(
        (conflict.field.as_str(), conflict.value.as_str()),
        ("lZGmxYbs97q", "A-17")
    );
    assert!(conflict.hint.contains("same person") && !conflict.is_warning);
    let Fate::Refused(_, reason) = &told[0].fate else {
        panic!("it is refused");
    };
    assert!(
        reason.starts_with("E1064: ") && reason.contains("same person"),
        "{reason}"
    );
}

#[test]
fn a_warning_is_kept_and_the_object_counts_as_stored() {
    let all = [sent(Kind::Event, "v1")];
    let warning = error(Kind::Event, "v1", "E1120", "look");
    let told = by_job(&all, &[], &[warning], &[(Kind::Event, "v1")]);
    assert_eq!(told[0].fate, Fate::Stored);
    assert!(told[0].conflicts[0].is_warning);
    let old = json!([{"status": "WARNING", "reference": "v1", "conflicts": [{"object": "x", "value": "look"}]}]);
    let told = by_summaries(Kind::Event, &all, &old);
    // The old importer may have left out what it warns of.
    assert_eq!(told[0].fate, Fate::Warned("look".to_owned()));
    assert!(told[0].conflicts[0].is_warning);
    let told = by_summaries(Kind::Event, &[deleted(Kind::Event, "v1")], &old);
    assert_eq!(told[0].fate, Fate::Stored, "what is gone warns nobody");
    let tie = [sent(Kind::Relationship, "v1")];
    assert!(waits(&by_summaries(Kind::Relationship, &tie, &old)[0]));
}

#[test]
fn deleting_what_the_server_does_not_have_is_done() {
    for (kind, code) in [
        (Kind::TrackedEntity, "E1063"),
        (Kind::Enrollment, "E1081"),
        (Kind::Event, "E1032"),
        (Kind::Event, "E1082"),
        (Kind::Relationship, "E4016"),
        (Kind::Relationship, "E4017"),
    ] {
        let said = &[error(kind, "x", code, "no such thing")];
        let told = by_job(&[deleted(kind, "x")], said, &[], &[]);
        assert_eq!(told[0].fate, Fate::Stored, "{code}");
        assert!(told[0].conflicts.is_empty());
        let told = by_job(&[sent(kind, "x")], said, &[], &[]);
        assert_ne!(told[0].fate, Fate::Stored, "an edit of it is not, {code}");
    }
    let both = vec![
        error(Kind::Event, "x", "E1032", "no such thing"),
        error(Kind::Event, "x", "E1000", "not yours"),
    ];
    let told = by_job(&[deleted(Kind::Event, "x")], &both, &[], &[]);
    assert_eq!(code(&told[0]), Some(RejectCode::NotFound));
}

#[test]
fn what_no_report_names_waits() {
    let all = [sent(Kind::Event, "v1"), deleted(Kind::Event, "v2")];
    let told = by_job(&all, &[], &[], &[]);
    assert!(told.iter().all(waits), "{told:?}");
    // A warning alone does not say that it is stored.
    let warning = error(Kind::Event, "v1", "E1120", "look");
    assert!(waits(&by_job(&all, &[], &[warning], &[])[0]));
    let report = Report::of_job(&json!({"validationReport": {}})).unwrap();
    assert!(waits(&decide(Api::New, &all[0], &all, &report)));
}

#[test]
fn what_depends_on_a_refused_object_waits_for_it() {
    let all = [
        sent(Kind::TrackedEntity, "t1"),
        below(Kind::Enrollment, "e1", (Kind::TrackedEntity, "t1")),
        below(Kind::Relationship, "r1", (Kind::TrackedEntity, "t1")),
    ];
    let errors = vec![
        error(Kind::TrackedEntity, "t1", "E1005", "unknown type"),
        error(Kind::Enrollment, "e1", "E5000", "depends"),
        error(Kind::Relationship, "r1", "E5000", "depends"),
    ];
    let told = by_job(&all, &errors, &[], &[]);
    assert_eq!(code(&told[1]), Some(RejectCode::NoParent));
    assert!(waits(&told[2]), "a tie is tried with every upload");
    // The old importer says nothing of the children of what it refuses.
    let told = by_summaries(
        Kind::TrackedEntity,
        &all,
        &json!([{"status": "ERROR", "reference": "t1"}]),
    );
    assert_eq!(code(&told[1]), Some(RejectCode::NoParent));
    let Fate::Refused(_, reason) = &told[0].fate else {
        panic!("it is refused");
    };
    assert!(!reason.is_empty());
}

#[test]
fn the_old_importer_leaves_out_what_it_does_not_know() {
    let gone = "Tracked entity instance cannot be deleted as it is not present in the system";
    let all = [
        deleted(Kind::TrackedEntity, "t1"),
        Sent {
            is_delete: true,
            ..below(Kind::Enrollment, "e1", (Kind::TrackedEntity, "t2"))
        },
        sent(Kind::TrackedEntity, "t2"),
        below(Kind::Event, "v1", (Kind::Enrollment, "e1")),
    ];
    let told = by_summaries(
        Kind::TrackedEntity,
        &all,
        &json!([{"status": "ERROR", "description": gone}, {"status": "SUCCESS", "reference": "t2"}]),
    );
    assert_eq!(
        told[0].fate,
        Fate::Stored,
        "the one that is not named is gone"
    );
    assert_eq!(
        told[1].fate,
        Fate::Stored,
        "a deleted enrollment is not named"
    );
    assert!(waits(&told[3]));
    // Of two that are not named one is gone: which one is not said.
    let two = [
        deleted(Kind::TrackedEntity, "t1"),
        deleted(Kind::TrackedEntity, "t3"),
    ];
    let told = by_summaries(
        Kind::TrackedEntity,
        &two,
        &json!([{"status": "ERROR", "description": gone}]),
    );
    assert!(told.iter().all(waits));
}

#[test]
fn the_old_importers_word_for_a_value_has_a_hint_too() {
    let all = [sent(Kind::Event, "v1")];
    let summary = json!([{"status": "ERROR", "reference": "v1",
        "conflicts": [{"object": "a3kGcGDCuk6", "value": "value_not_numeric"}, {"object": "", "value": "and more"}]}]);
    let told = by_summaries(Kind::Event, &all, &summary);
    let conflict = &told[0].conflicts[0];
    assert_eq!(conflict.field, "a3kGcGDCuk6");
    assert!(conflict.hint.contains("correct it"), "{conflict:?}");
    let Fate::Refused(code, reason) = &told[0].fate else {
        panic!("it is refused");
    };
    assert_eq!(*code, RejectCode::InvalidValue);
    assert!(reason.ends_with("and 1 more"), "{reason}");
    // A code that nobody knows is told as it is.
    let told = by_job(&all, &[error(Kind::Event, "v1", "E7777", "new")], &[], &[]);
    assert_eq!(told[0].conflicts[0].code, "E7777");
    assert!(told[0].conflicts[0].hint.contains("administrator"));
}
