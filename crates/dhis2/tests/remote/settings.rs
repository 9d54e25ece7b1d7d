//! What the administrators of a server chose for its apps decides what is downloaded, unless the caller asks for something else.

use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::pull::{self, AggregateRequest, Request};
use serde_json::{Value as Json, json};

use crate::fake::{Asked, Copy, Does, Fake, NOW, UNIT, page, person};

const SECOND: &str = "unitSecond1";

/// A server with 120 people and 30 single events, two programs of people, one of events, and two units.
fn server() -> Fake {
    let fake = Fake::start("2.41.0");
    fake.add(
        "organisationUnits",
        json!({"id": SECOND, "name": "Second", "path": format!("/{UNIT}/{SECOND}"), "level": 2}),
    );
    fake.add(
        "programs",
        json!({"id": "progOther01", "name": "Other", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": "typePerson1"}}),
    );
    fake.add(
        "programs",
        json!({"id": "progSingle1", "name": "Single", "programType": "WITHOUT_REGISTRATION"}),
    );
    fake.add(
        "programStages",
        json!({"id": "stageForm01", "name": "Form", "program": {"id": "progSingle1"}}),
    );
    fake.add(
        "dataSets",
        json!({"id": "setMonthly1", "name": "Monthly", "periodType": "Monthly"}),
    );
    fake.add_program();
    choose(&fake, None);
    fake
}

/// What the settings app says from now on.
fn choose(fake: &Fake, settings: Option<Json>) {
    fake.script(move |asked| {
        let some = |total: u32, make: &dyn Fn(u32) -> Json| -> Vec<Json> {
            let from = (asked.param("page").unwrap().parse::<u32>().unwrap() - 1) * 50;
            (from..total.min(from + 50)).map(make).collect()
        };
        let body = match asked.path.as_str() {
            "dataStore/ANDROID_SETTINGS_APP/info" => {
                settings.as_ref()?;
                json!({"androidSettingsVersion": "2.0"})
            }
            "dataStore/ANDROID_SETTINGS_APP/synchronization" => settings.clone()?,
            "tracker/trackedEntities" => page("2.41", "trackedEntities", &some(120, &person)),
            "tracker/events" => {
                let event = |n: u32| {
                    json!({"event": format!("single{n:05}"), "program": "progSingle1", "programStage": "stageForm01", "orgUnit": UNIT})
                };
                page("2.41", "events", &some(30, &event))
            }
            "dataValueSets" | "completeDataSetRegistrations" => json!({}),
            _ => return None,
        };
        Some(Does::Answers(200, body))
    });
}

fn chosen() -> Json {
    json!({
        "dataSetSettings": {"globalSettings": {"periodDSDownload": 30}, "specificSettings": {"setMonthly1": {"periodDSDownload": "2"}}},
        "programSettings": {
            "globalSettings": {"teiDownload": 70, "eventsDownload": 5, "eventDateDownload": "LAST_MONTH", "settingDownload": "ALL_ORG_UNITS"},
            "specificSettings": {"progChild01": {"teiDownload": "40", "settingDownload": "PER_ORG_UNIT", "enrollmentDownload": "ONLY_ACTIVE",
                "enrollmentDateDownload": "LAST_3_MONTHS", "updateDownload": "LAST_12_MONTHS"}}}})
}

fn with_metadata(fake: &Fake, copy: &mut Copy) {
    copy::sync_metadata(&fake.server(), &mut copy.file, NOW, &mut |_| {}).unwrap();
}

/// The pages that were asked for of a program: mode, unit, status, since when it may have begun, since when it may have changed.
fn pages(asked: &[Asked], program: &str) -> Vec<[Option<String>; 5]> {
    let of = asked.iter().filter(|one| {
        one.path.starts_with("tracker/") && one.param("program").as_deref() == Some(program)
    });
    of.map(|one| {
        [
            one.param("orgUnitMode"),
            one.param("orgUnits").or_else(|| one.param("orgUnit")),
            one.param("programStatus"),
            one.param("enrollmentEnrolledAfter")
                .or_else(|| one.param("occurredAfter")),
            one.param("updatedAfter"),
        ]
    })
    .collect()
}

fn texts(of: [&str; 5]) -> [Option<String>; 5] {
    of.map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

#[test]
fn each_program_is_downloaded_as_is_chosen_for_it_and_the_others_as_is_chosen_for_all() {
    let fake = server();
    choose(&fake, Some(chosen()));
    let mut copy = fake.copy();
    fake.asked("");
    let found = copy.download(&fake);
    assert_eq!(found.failed, [], "{found:?}");
    assert_eq!((found.entities, found.events), (70 + 40 + 40, 5));
    let asked = fake.asked("tracker/");
    let other = texts(["DESCENDANTS", UNIT, "", "", ""]);
    assert_eq!(pages(&asked, "progOther01"), [other.clone(), other]);
    let child = |unit| {
        texts([
            "SELECTED",
            unit,
            "ACTIVE",
            "2026-08-22",
            "2025-11-22T00:00:00.000",
        ])
    };
    assert_eq!(pages(&asked, "progChild01"), [child(UNIT), child(SECOND)]);
    let events = texts(["DESCENDANTS", UNIT, "", "2026-10-22", ""]);
    assert_eq!(pages(&asked, "progSingle1"), [events]);

    // Then what changed, in the same part of the data.
    copy.download(&fake);
    let asked = fake.asked("tracker/");
    let since = Some("2026-11-22T10:00:00.000".to_owned());
    for program in ["progOther01", "progChild01", "progSingle1"] {
        let of = pages(&asked, program);
        assert!(of.iter().all(|page| page[4] == since), "{program}: {of:?}");
    }
    assert_eq!(
        pages(&asked, "progChild01")[0][2].as_deref(),
        Some("ACTIVE")
    );
}

#[test]
fn what_the_caller_asks_for_goes_before_what_is_chosen() {
    let fake = server();
    choose(&fake, Some(chosen()));
    let mut copy = fake.copy();
    let full = Request {
        full: true,
        ..Request::default()
    };
    let limited = Request {
        limit: Some(60),
        ..full.clone()
    };
    let found = copy.download_as(&fake, &limited);
    assert_eq!(
        (found.entities, found.events),
        (60 + 40 + 40, 30),
        "what a program has of its own stays: {found:?}"
    );
    let named = Request {
        limit: Some(10),
        program: Some("progChild01".to_owned()),
        ..full.clone()
    };
    let found = copy.download_as(&fake, &named);
    assert_eq!((found.entities, found.events), (10 + 10, 0), "{found:?}");
    fake.asked("");
    let heedless = Request {
        as_chosen: false,
        ..full
    };
    let found = copy.download_as(&fake, &heedless);
    assert_eq!(found.events, 30, "{found:?}");
    let all = texts(["DESCENDANTS", UNIT, "", "", ""]);
    for page in pages(&fake.asked("tracker/"), "progChild01") {
        assert_eq!(page, all);
    }
}

#[test]
fn what_is_chosen_anew_or_taken_back_begins_a_download_anew() {
    let fake = server();
    choose(&fake, Some(chosen()));
    let mut copy = fake.copy();
    copy.download(&fake);
    let mut wider = chosen();
    wider["programSettings"]["specificSettings"]["progChild01"]["updateDownload"] = json!("ANY");
    choose(&fake, Some(wider));
    with_metadata(&fake, &mut copy);
    fake.asked("");
    copy.download(&fake);
    let asked = fake.asked("tracker/");
    assert_eq!(pages(&asked, "progChild01")[0][4], None);
    assert!(
        pages(&asked, "progSingle1")[0][4].is_some(),
        "for the others nothing changed"
    );

    choose(&fake, None);
    with_metadata(&fake, &mut copy);
    let kept = "SELECT count(*) FROM DHIS2_instance WHERE uid LIKE 'setting_sync%'";
    assert_eq!(copy.number(kept), 0);
    fake.asked("");
    let found = copy.download(&fake);
    assert_eq!(found.events, 30, "{found:?}");
    let all = texts(["DESCENDANTS", UNIT, "", "", ""]);
    assert_eq!(pages(&fake.asked("tracker/"), "progChild01")[0], all);
}

#[test]
fn the_first_version_of_the_settings_app_is_understood() {
    let fake = Fake::start("2.36.0");
    fake.add_program();
    fake.script(|asked| {
        let body = match asked.path.as_str() {
            "dataStore/ANDROID_SETTING_APP/program_settings" => {
                json!({"specificSettings": {"progChild01": {"teiDownload": "40", "enrollmentDateDownload": "LAST_MONTH"}}})
            }
            "trackedEntityInstances" => {
                let one = |n: u32| json!({"trackedEntityInstance": format!("person{n:05}"), "trackedEntityType": "typePerson1", "orgUnit": UNIT});
                json!({"trackedEntityInstances": (0..50).map(one).collect::<Vec<_>>()})
            }
            _ => return None,
        };
        Some(Does::Answers(200, body))
    });
    let mut copy = fake.copy();
    fake.asked("");
    assert_eq!(copy.download(&fake).entities, 40);
    let asked = fake.asked("trackedEntityInstances");
    let begun = asked[0].param("programStartDate");
    assert_eq!(begun.as_deref(), Some("2026-10-22"));
}

#[test]
fn the_periods_of_a_data_set_are_those_that_are_chosen_for_it() {
    let fake = server();
    choose(&fake, Some(chosen()));
    let mut copy = fake.copy();
    let mut periods = |request: &AggregateRequest| {
        fake.asked("");
        let server = fake.server();
        let done = pull::aggregate(&server, &mut copy.file, request, &|| NOW, &mut |_| {}).unwrap();
        assert_eq!(done.failed, []);
        let asked = fake.asked("dataValueSets");
        asked[0].param("period").unwrap().split(',').count()
    };
    let request = AggregateRequest::default();
    assert_eq!(periods(&request), 3, "the present one and two before");
    let asked = AggregateRequest {
        past: Some(5),
        ..request.clone()
    };
    assert_eq!(periods(&asked), 6);
    let heedless = AggregateRequest {
        as_chosen: false,
        ..request
    };
    assert_eq!(periods(&heedless), 13);
}

#[test]
fn a_program_that_is_linked_later_comes_whole() {
    let fake = Fake::start("2.41.0");
    fake.add_program();
    choose(&fake, None);
    let mut copy = fake.copy();
    copy.download(&fake);
    fake.add(
        "programs",
        json!({"id": "progOther01", "name": "Other", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": "typePerson1"}}),
    );
    fake.link();
    with_metadata(&fake, &mut copy);
    fake.asked("");
    copy.download(&fake);
    let asked = fake.asked("tracker/");
    assert_eq!(pages(&asked, "progOther01")[0][4], None);
    // What all programs were brought up to date by tells of each of them.
    let named = Request {
        program: Some("progOther01".to_owned()),
        ..Request::default()
    };
    copy.download_as(&fake, &named);
    let asked = fake.asked("tracker/");
    assert!(pages(&asked, "progOther01")[0][4].is_some());
}
