//! Metadata: chunks, references that lead nowhere, what is gone, and downloads that break off.

use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::error::Error;
use serde_json::json;

use crate::fake::{Does, Fake, NOW, UNIT, page, person};

fn many(fake: &Fake, programs: usize) {
    for n in 0..programs {
        fake.add(
            "programs",
            json!({"id": format!("program{n:04}"), "name": format!("P{n}"), "programType": "WITHOUT_REGISTRATION",
                "categoryCombo": {"id": "comboGone01"}}),
        );
    }
    fake.link();
}

#[test]
fn uids_are_asked_for_in_chunks_and_references_that_lead_nowhere_are_listed() {
    let fake = Fake::start("2.41.0");
    many(&fake, 120);
    let copy = fake.copy();
    let asked = fake.asked("program");
    let uids = |path: &str, property: &str| -> Vec<usize> {
        let of = asked.iter().filter(|a| a.path == path);
        of.map(|a| {
            let filter = a.param("filter").unwrap();
            assert!(filter.starts_with(property), "{filter}");
            filter.split(',').count()
        })
        .collect()
    };
    assert_eq!(uids("programs", "id:in:"), [50, 50, 20]);
    assert_eq!(uids("programStages", "program.id:in:"), [64, 56]);
    let first = asked.iter().find(|a| a.path == "programs").unwrap();
    assert!(
        first.query.contains("access.data.read%3Aeq%3Atrue"),
        "{}",
        first.query
    );
    assert_eq!(copy.number("SELECT count(*) FROM DHIS2_programs"), 120);
    let missing = "SELECT count(*) FROM DHIS2_missing_references WHERE to_uid = 'comboGone01'";
    assert_eq!(copy.number(missing), 120);
}

#[test]
fn what_is_gone_is_removed_but_for_units_in_use_and_a_broken_download_changes_nothing() {
    let fake = Fake::start("2.41.0");
    fake.add_program();
    let mut copy = fake.copy();
    fake.script(|asked| {
        (asked.path == "tracker/trackedEntities")
            .then(|| Does::Answers(200, page("2.41", "trackedEntities", &[person(1)])))
    });
    copy.download(&fake);
    let programs = "SELECT count(*) FROM DHIS2_programs";
    let again = |copy: &mut crate::fake::Copy| {
        copy::sync_metadata(&fake.server(), &mut copy.file, NOW, &mut |_| {})
    };
    fake.script(|asked| (asked.path == "dataElements").then(|| Does::Answers(500, json!({}))));
    assert!(again(&mut copy).is_err());
    assert_eq!(copy.number(programs), 1);

    fake.script(|asked| {
        let of = asked.path.as_str();
        ["programs", "organisationUnits"]
            .contains(&of)
            .then(|| Does::Answers(200, json!({ of: [] })))
    });
    let (_, stored) = again(&mut copy).unwrap();
    assert!(stored.removed > 0, "{stored:?}");
    assert_eq!(copy.number(programs), 0);
    let unit = format!("SELECT count(*) FROM DHIS2_organisation_units WHERE uid = '{UNIT}'");
    assert_eq!(copy.number(&unit), 1, "a person is registered there");
    assert_eq!(copy.number("SELECT count(*) FROM Person"), 1);
}

#[test]
fn a_copy_stays_with_its_user() {
    let fake = Fake::start("2.41.0");
    fake.add_program();
    let mut copy = fake.copy();
    fake.script(|asked| {
        (asked.path == "me")
            .then(|| Does::Answers(200, json!({"id": "userBob0001", "username": "bob"})))
    });
    let ended = copy::sync_metadata(&fake.server(), &mut copy.file, NOW, &mut |_| {});
    assert!(matches!(ended, Err(Error::Parameter { what: "user", .. })));
}

#[test]
fn what_the_settings_app_chooses_comes_whole_or_in_its_first_version() {
    let fake = Fake::start("2.41.0");
    fake.add_program();
    for (id, of) in [
        ("visualChos1", "visualizations"),
        ("visualOther", "visualizations"),
        ("visualEvent", "eventVisualizations"),
    ] {
        fake.add(of, json!({"id": id, "name": id, "dataDimensionItems": [{"expressionDimensionItem": {"id": "expression1"}}]}));
    }
    fake.add(
        "expressionDimensionItems",
        json!({"id": "expression1", "name": "Ratio"}),
    );
    fake.add("icons", json!({"key": "our_clinic", "custom": true}));
    fake.script(|asked| {
        let chosen = json!({"dhisVisualizations": {"home": [{"visualizations": [{"id": "visualChos1"}]}], "program": {"progChild01": [{"visualizations": [{"id": "visualEvent"}]}]}}});
        let body = match asked.path.as_str() {
            "dataStore/ANDROID_SETTINGS_APP/info" => json!({"androidSettingsVersion": "2.0"}),
            "dataStore/ANDROID_SETTINGS_APP/analytics" => chosen,
            "dataStore/ANDROID_SETTINGS_APP/customIntents" => json!({"customIntents": []}),
            _ => return None,
        };
        Some(Does::Answers(200, body))
    });
    let copy = fake.copy();
    for (table, count) in [
        ("visualizations", 1),
        ("event_visualizations", 1),
        ("expression_dimension_items", 1),
        ("icons", 1),
    ] {
        assert_eq!(
            copy.number(&format!("SELECT count(*) FROM DHIS2_{table}")),
            count,
            "{table}"
        );
    }
    let setting =
        |name: &str| format!("SELECT count(*) FROM DHIS2_instance WHERE uid = 'setting_{name}'");
    for name in ["analytics", "customIntents", "loginConfig"] {
        assert_eq!(copy.number(&setting(name)), 1, "{name}");
    }
    let asked = fake.asked("isualizations");
    assert_eq!(
        asked.iter().filter(|a| a.path == "visualizations").count(),
        2,
        "one in a request"
    );

    let old = Fake::start("2.36.0");
    old.script(|asked| {
        (asked.path == "dataStore/ANDROID_SETTING_APP/program_settings")
            .then(|| Does::Answers(200, json!({"globalSettings": {}})))
    });
    let copy = old.copy();
    assert_eq!(copy.number(&setting("program_settings")), 1);
    assert_eq!(copy.number("SELECT count(*) FROM DHIS2_icons"), 0);
}

#[test]
fn options_tell_the_units_that_they_are_limited_to_and_programs_their_rule_variables() {
    let fake = Fake::start("2.41.0");
    fake.add("programs", json!({"id": "program0000", "name": "P", "programType": "WITHOUT_REGISTRATION", "categoryCombo": {"id": "comboSex001"},
        "programRuleVariables": [{"id": "ruleVar0001", "name": "age"}]}));
    fake.link();
    fake.add(
        "categoryCombos",
        json!({"id": "comboSex001", "name": "Sex", "categories": [{"id": "categSex001"}]}),
    );
    fake.add(
        "categories",
        json!({"id": "categSex001", "name": "Sex", "categoryOptions": [{"id": "optFemale01"}]}),
    );
    fake.add(
        "categoryOptions",
        json!({"id": "optFemale01", "name": "Female"}),
    );
    fake.script(|asked| {
        (asked.path == "categoryOptions/orgUnits").then(|| {
            assert_eq!(
                asked.param("categoryOptions").as_deref(),
                Some("optFemale01")
            );
            Does::Answers(200, json!({"optFemale01": [UNIT], "optNobody01": []}))
        })
    });
    let copy = fake.copy();
    let asked = fake.asked("programs");
    assert!(
        asked[0]
            .param("fields")
            .unwrap()
            .contains("programRuleVariables[*]")
    );
    let limited = format!(
        "SELECT count(*) FROM DHIS2_category_options WHERE object LIKE '%\"haversackOrgUnits\":[\"{UNIT}\"]%'"
    );
    assert_eq!(copy.number(&limited), 1);
    assert_eq!(
        copy.number("SELECT count(*) FROM DHIS2_programs WHERE object LIKE '%ruleVar0001%'"),
        1
    );
}

#[test]
fn a_relationship_counts_for_both_sides_if_its_type_says_so() {
    use haversack_dhis2::remote::families;
    use haversack_dhis2::wire::tracker::Kind;
    use haversack_model::SyncState;

    for (is_both, expected) in [(true, 2), (false, 1)] {
        let fake = Fake::start("2.41.0");
        fake.add_program();
        fake.add(
            "relationshipTypes",
            json!({"id": "tieSibling1", "name": "Sibling", "bidirectional": is_both}),
        );
        let mut copy = fake.copy();
        fake.script(|asked| {
            (asked.path == "tracker/trackedEntities").then(|| {
                Does::Answers(
                    200,
                    page("2.41", "trackedEntities", &[person(1), person(2)]),
                )
            })
        });
        copy.download(&fake);
        copy.edit("INSERT INTO relationships (relationship_type, from_kind, from_uid, to_kind, to_uid) VALUES ('tieSibling1', 'trackedEntity', 'person00001', 'trackedEntity', 'person00002')");
        let counts = copy.file.read(|tx| families::counts(tx)).unwrap();
        let people = &counts[&Kind::TrackedEntity];
        assert_eq!(
            people.get(&SyncState::ToUpdate),
            Some(&expected),
            "{is_both}: {counts:?}"
        );
    }
}
