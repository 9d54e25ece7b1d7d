use serde_json::json;

use super::*;

#[test]
fn nested_summaries_are_told_object_by_object() {
    let body = json!({
        "httpStatus": "Conflict", "httpStatusCode": 409, "status": "ERROR",
        "response": {"responseType": "ImportSummaries", "status": "ERROR", "imported": 1, "ignored": 2, "importSummaries": [
            {"responseType": "ImportSummary", "status": "SUCCESS", "reference": "t1", "conflicts": [], "enrollments": {
                "importSummaries": [{"status": "SUCCESS", "reference": "e1", "events": {"importSummaries": [
                    {"status": "ERROR", "reference": "v1", "conflicts": [{"object": "a3kGcGDCuk6", "value": "value_not_numeric"}]}
                ]}}]}},
            {"status": "ERROR", "reference": "t2", "description": "Missing mandatory attribute lZGmxYbs97q", "enrollments": null},
            {"status": "WARNING", "reference": "t3", "conflicts": [{"object": "x", "value": "look"}]},
            {"status": "ERROR", "description": "no reference"}
        ]}
    });
    let report = Report::of_summaries(Kind::TrackedEntity, &body).unwrap();
    let verdict = |kind, uid: &str| report.outcome(kind, uid).map(|outcome| outcome.verdict);
    assert_eq!(verdict(Kind::TrackedEntity, "t1"), Some(Verdict::Success));
    assert_eq!(verdict(Kind::Enrollment, "e1"), Some(Verdict::Success));
    assert_eq!(verdict(Kind::Event, "v1"), Some(Verdict::Error));
    assert_eq!(verdict(Kind::TrackedEntity, "t2"), Some(Verdict::Error));
    assert_eq!(verdict(Kind::TrackedEntity, "t3"), Some(Verdict::Warning));
    assert_eq!(verdict(Kind::TrackedEntity, "t4"), None);
    let told = |kind, uid: &str| report.outcome(kind, uid).unwrap().problems[0].clone();
    assert_eq!(
        told(Kind::Event, "v1").data_element.as_deref(),
        Some("a3kGcGDCuk6")
    );
    assert_eq!(told(Kind::TrackedEntity, "t2").code, "E1018");
    assert_eq!(report.unnamed.len(), 1);
    assert_eq!(
        (
            report.stats.created,
            report.stats.ignored,
            report.stats.total
        ),
        (1, 2, 3)
    );
    assert!(report.has_errors() && report.has_warnings());
}

#[test]
fn a_bare_summary_is_a_report_and_an_error_message_is_none() {
    let bare = json!({"responseType": "ImportSummary", "status": "SUCCESS", "reference": "r", "importCount": {"deleted": 1},
        "description": "Deletion of relationship r was successful"});
    let report = Report::of_summaries(Kind::Relationship, &bare).unwrap();
    assert_eq!(report.stats.deleted, 1);
    assert!(
        report
            .outcome(Kind::Relationship, "r")
            .unwrap()
            .problems
            .is_empty()
    );
    let refused = json!({"httpStatus": "Not Found", "message": "no such thing"});
    let error = Report::of_summaries(Kind::Relationship, &refused).unwrap_err();
    assert!(error.to_string().contains("no such thing"), "{error}");
}

#[test]
fn a_job_report_tells_errors_before_successes_and_keeps_warnings() {
    let body = json!({"status": "ERROR", "stats": {"created": 1, "ignored": 1, "total": 2},
        "validationReport": {
            "errorReports": [{"message": "Non-unique attribute value `A` for attribute `lZGmxYbs97q`.", "errorCode": "E1064",
                "trackerType": "TRACKED_ENTITY", "uid": "t2"}],
            "warningReports": [{"message": "look", "errorCode": "E1120", "trackerType": "EVENT", "uid": "v1"},
                {"message": "gone", "trackerType": "EVENT", "uid": "v9"}]},
        "bundleReport": {"typeReportMap": {"EVENT": {"objectReports": [{"uid": "v1", "errorReports": []}]},
            "TRACKED_ENTITY": {"objectReports": [{"uid": "t2", "errorReports": ["again"]}]}, "OTHER": {}}}});
    let report = Report::of_job(&body).unwrap();
    let event = report.outcome(Kind::Event, "v1").unwrap();
    assert_eq!(
        event.verdict,
        Verdict::Success,
        "a warning leaves it stored"
    );
    assert!(event.problems[0].is_warning);
    let entity = report.outcome(Kind::TrackedEntity, "t2").unwrap();
    assert_eq!(entity.verdict, Verdict::Error);
    assert_eq!(entity.problems.len(), 2);
    assert_eq!(entity.problems[0].attribute.as_deref(), Some("lZGmxYbs97q"));
    assert_eq!(
        report.outcome(Kind::Event, "v9"),
        None,
        "a warning alone is no outcome"
    );
    assert_eq!(report.stats.total, 2);
}

#[test]
fn jobs_are_accepted_and_followed() {
    let accepted = json!({"response": {"responseType": "TrackerJob", "id": "j1"}});
    assert_eq!(job_id(&accepted).unwrap(), "j1");
    assert!(job_id(&json!({"message": "refused"})).is_err());
    let running = json!([{"completed": false}]);
    assert_eq!(progress(&running).unwrap(), Progress::Running);
    let done = json!([{"completed": true}, {"completed": false}]);
    assert_eq!(progress(&done).unwrap(), Progress::Completed);
    assert!(progress(&json!({})).is_err());
    assert!(Report::of_job(&json!({"status": "ERROR"})).is_err());
}

#[test]
fn what_is_written_is_read_back() {
    let mut report = Report::default();
    let stored = Outcome::default();
    report.note(Kind::TrackedEntity, "t1", stored.clone());
    report.note(Kind::Event, "v1", stored);
    let refused = Outcome {
        verdict: Verdict::Error,
        problems: vec![Problem {
            code: "E1018".to_owned(),
            message: "Missing mandatory attribute lZGmxYbs97q".to_owned(),
            attribute: Some("lZGmxYbs97q".to_owned()),
            ..Problem::default()
        }],
    };
    report.note(Kind::Enrollment, "e1", refused);
    let job = report.to_job(&[], true, false);
    for kind in Kind::ALL {
        assert!(job["bundleReport"]["typeReportMap"][kind.name()]["objectReports"].is_array());
    }
    let read = Report::of_job(&job).unwrap();
    assert_eq!(
        read.outcome(Kind::Enrollment, "e1").unwrap().problems[0].code,
        "E1018"
    );
    assert_eq!(
        read.outcome(Kind::Event, "v1").unwrap().verdict,
        Verdict::Success
    );
    let count = |created, ignored| Stats {
        created,
        ignored,
        ..Stats::default()
    };
    let told = [Told {
        object: Some((Kind::TrackedEntity, "t1".to_owned())),
        count: count(1, 0),
        children: vec![Told {
            object: Some((Kind::Enrollment, "e1".to_owned())),
            count: count(0, 1),
            children: Vec::new(),
        }],
    }];
    let (status, body) = report.to_summaries(&told);
    assert_eq!(status, 409);
    let read = Report::of_summaries(Kind::TrackedEntity, &body).unwrap();
    assert_eq!(
        read.outcome(Kind::TrackedEntity, "t1").unwrap().verdict,
        Verdict::Success
    );
    let enrollment = read.outcome(Kind::Enrollment, "e1").unwrap();
    assert_eq!(enrollment.verdict, Verdict::Error);
    assert_eq!(enrollment.problems[0].code, "E1018");
}
