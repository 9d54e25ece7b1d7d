//! Single tracked entities, and what stands before them.

use haversack_dhis2::remote::pull::{self, Denied};
use serde_json::json;

use crate::fake::{Does, Fake, NOW, person};

#[test]
fn whoever_may_not_see_a_tracked_entity_is_told_why() {
    let denied = |version: &str, status: u16, message: &'static str, is_there: bool| {
        let fake = Fake::start(version);
        fake.add_program();
        let mut copy = fake.copy();
        fake.script(move |asked| {
            if asked.path.ends_with("person00001") {
                let refusal = json!({"httpStatusCode": status, "message": message});
                return Some(Does::Answers(status, refusal));
            }
            asked.path.ends_with("trackedEntities").then(|| {
                let all = if is_there { vec![person(1)] } else { vec![] };
                Does::Answers(200, json!({"trackedEntities": all}))
            })
        });
        let uids = ["person00001".to_owned()];
        let (done, denied) = pull::by_uid(
            &fake.server(),
            &mut copy.file,
            &uids,
            Some("progChild01"),
            &|| NOW,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(done.entities, 0);
        denied.into_iter().next().unwrap().1
    };
    let ownership = "OWNERSHIP_ACCESS_DENIED";
    for status in [401, 403, 409] {
        assert_eq!(denied("2.41.0", status, ownership, true), Denied::Ownership);
    }
    assert_eq!(
        denied("2.41.0", 401, "PROGRAM_ACCESS_CLOSED", true),
        Denied::Closed
    );
    let missing = "TrackedEntity with id person00001 could not be found.";
    assert_eq!(denied("2.42.0", 404, missing, true), Denied::Ownership);
    assert_eq!(denied("2.42.0", 404, missing, false), Denied::NotFound);
}

#[test]
fn glass_is_broken_in_the_words_of_the_version_and_the_entity_comes_whole() {
    for (version, name) in [
        ("2.40.0", "trackedEntityInstance"),
        ("2.41.0", "trackedEntity"),
    ] {
        let fake = Fake::start(version);
        fake.add_program();
        let mut copy = fake.copy();
        fake.script(|asked| match asked.path.as_str() {
            "tracker/ownership/override" => Some(Does::Answers(
                200,
                json!({"message": "Temporary Ownership granted"}),
            )),
            "tracker/trackedEntities/person00001" => Some(Does::Answers(200, person(1))),
            _ => None,
        });
        let server = fake.server();
        fake.asked("");
        pull::break_glass(&server, "person00001", "progChild01", "an emergency").unwrap();
        let asked = fake.asked("override");
        assert_eq!(asked[0].param(name).as_deref(), Some("person00001"));
        assert_eq!(asked[0].param("reason").as_deref(), Some("an emergency"));
        let uids = ["person00001".to_owned()];
        let (done, denied) = pull::by_uid(
            &server,
            &mut copy.file,
            &uids,
            Some("progChild01"),
            &|| NOW,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!((done.entities, denied.len()), (1, 0));
        assert_eq!(copy.number("SELECT count(*) FROM Child_Visit"), 1);
    }
}
