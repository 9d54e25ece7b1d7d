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
    assert!(
        asked[0].query.contains("access.data.read%3Aeq%3Atrue"),
        "{}",
        asked[0].query
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
