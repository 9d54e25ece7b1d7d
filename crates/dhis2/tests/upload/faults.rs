//! Networks that break, servers that forget, reports that leave out, payloads that spoil.

use std::cell::Cell;
use std::rc::Rc;

use haversack_dhis2::remote::http::Answer;
use serde_json::{Value, json};

use crate::world::{Meddler, NEW, OLD, World, cut, status};

#[test]
fn a_job_is_asked_for_again_when_the_program_was_killed_while_it_waited() {
    let world = World::new();
    world.family(1);
    let mut meddler = Meddler::new(&world.http);
    meddler.before = Box::new(|line, _| line.starts_with("GET tracker/jobs/").then(|| Err(cut())));
    assert!(world.upload_by(&meddler, NEW).is_err());
    assert_eq!(meddler.count("POST"), 1);
    assert!(
        world.states().iter().all(|(_, state)| state == "UPLOADING"),
        "{:?}",
        world.states()
    );
    // It starts again, and nothing is sent twice.
    world.host.run_jobs();
    let meddler = Meddler::new(&world.http);
    let told = world.upload_by(&meddler, NEW).unwrap();
    assert_eq!((told.applied, meddler.count("POST")), (3, 0));
    assert_eq!(world.states(), []);
}

#[test]
fn a_job_that_the_server_forgot_leads_to_a_repetition_that_does_no_harm() {
    let world = World::new();
    world.family(1);
    let forgets = Rc::new(Cell::new(true));
    let mut meddler = Meddler::new(&world.http);
    let so = Rc::clone(&forgets);
    meddler.before = Box::new(move |line, _| {
        let is_asked = line.starts_with("GET tracker/jobs/") && so.get();
        is_asked.then(|| Err(status(404, "no such job")))
    });
    assert!(world.upload_by(&meddler, NEW).is_err(), "it is never seen");
    assert_eq!(world.states().len(), 3);
    let before = world.entity(1);
    forgets.set(false);
    let told = world.upload_by(&meddler, NEW).unwrap();
    assert_eq!((told.applied, told.rejected.len()), (3, 0));
    assert_eq!(world.states(), []);
    let after = world.entity(1);
    assert_eq!(before["attributes"], after["attributes"]);
    assert_eq!(after["enrollments"].as_array().unwrap().len(), 1);
    assert_eq!(
        after["enrollments"][0]["events"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn an_answer_that_is_lost_leads_to_the_same_payload_again() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        let first = Rc::new(Cell::new(true));
        let mut meddler = Meddler::new(&world.http);
        meddler.after = Box::new(move |line, answer: Answer| {
            if line.starts_with("POST") && first.replace(false) {
                return Err(cut());
            }
            Ok(answer)
        });
        assert!(world.upload_by(&meddler, api).is_err());
        assert!(world.states().iter().all(|(_, state)| state == "UPLOADING"));
        let told = world.upload_by(&meddler, api).unwrap();
        assert_eq!((told.applied, told.rejected.len()), (3, 0), "{api:?}");
        assert_eq!(world.states(), []);
        assert_eq!(
            world.entity(1)["enrollments"][0]["events"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}

#[test]
fn what_a_report_leaves_out_waits_and_is_sent_with_the_next_upload() {
    for api in [NEW, OLD] {
        let world = World::new();
        world.family(1);
        world.family(2);
        let leaves_out = Rc::new(Cell::new(true));
        let so = Rc::clone(&leaves_out);
        let mut meddler = Meddler::new(&world.http);
        meddler.after = Box::new(move |_, mut answer: Answer| {
            if so.get() {
                strip(&mut answer.body, "hvTe0000002");
            }
            Ok(answer)
        });
        let told = world.upload_by(&meddler, api).unwrap();
        assert!(
            told.applied >= 3 && told.untold >= 1 && told.rejected.is_empty(),
            "{api:?}: {told:?}"
        );
        let states = world.states();
        assert!(
            states.contains(&("hvTe0000002".to_owned(), "TO_POST".to_owned())),
            "{api:?}: {states:?}"
        );
        leaves_out.set(false);
        world.upload_by(&meddler, api).unwrap();
        assert_eq!(world.states(), [], "{api:?}");
    }
}

/// Takes what names a uid out of a report.
fn strip(value: &mut Value, uid: &str) {
    let names = |value: &Value| {
        let is = |member: &str| value.get(member).and_then(Value::as_str) == Some(uid);
        is("uid") || is("reference")
    };
    match value {
        Value::Array(items) => {
            items.retain(|item| !names(item));
            items.iter_mut().for_each(|item| strip(item, uid));
        }
        Value::Object(members) => members.values_mut().for_each(|member| strip(member, uid)),
        _ => {}
    }
}

#[test]
fn reports_without_their_keys_settle_nothing_and_lose_nothing() {
    for spoilt in [
        json!({}),
        json!({"status": "OK"}),
        json!([]),
        Value::Null,
        json!({"bundleReport": null}),
    ] {
        let world = World::new();
        world.family(1);
        let told = spoilt.clone();
        let mut meddler = Meddler::new(&world.http);
        meddler.after = Box::new(move |line, answer: Answer| {
            let body = if line.ends_with("/report") {
                told.clone()
            } else {
                answer.body
            };
            Ok(Answer { body, ..answer })
        });
        let _failed = world.upload_by(&meddler, NEW);
        assert_eq!(world.states().len(), 3, "{spoilt}");
        let told = world.upload(NEW);
        assert_eq!(told.rejected, [], "{spoilt}");
        assert_eq!(world.states(), [], "{spoilt}");
    }
    let world = World::new();
    world.family(1);
    let mut meddler = Meddler::new(&world.http);
    meddler.after = Box::new(|_, answer| {
        Ok(Answer {
            body: json!({"httpStatus": "OK"}),
            ..answer
        })
    });
    assert!(world.upload_by(&meddler, OLD).is_err());
    assert_eq!(world.upload(OLD).applied, 3);
}

#[test]
fn one_object_that_spoils_a_payload_does_not_block_the_others() {
    for (api, refusal) in [(NEW, 400), (OLD, 400), (NEW, 413)] {
        let world = World::new();
        for n in 1..=9 {
            world.family(n);
        }
        world.sql("UPDATE person SET given_name = 'poison' WHERE uid = 'hvTe0000005'");
        let mut meddler = Meddler::new(&world.http);
        meddler.before = Box::new(move |line, body| {
            let spoils = line.starts_with("POST") && body.to_string().contains("poison");
            spoils.then(|| Err(status(refusal, "cannot be read")))
        });
        let told = world.upload_by(&meddler, api).unwrap();
        assert_eq!(told.applied, 24, "{api:?}");
        let states: Vec<String> = world.states().into_iter().map(|(uid, _)| uid).collect();
        assert_eq!(
            states,
            ["hvEn0000005", "hvEv0000005", "hvTe0000005"],
            "{api:?}"
        );
        world.sql("UPDATE person SET given_name = 'better' WHERE uid = 'hvTe0000005'");
        world.upload_by(&meddler, api).unwrap();
        world.upload_by(&meddler, api).unwrap();
        assert_eq!(world.states(), [], "{api:?}");
    }
}

#[test]
fn a_uid_of_another_shape_does_not_reach_the_server() {
    let world = World::new();
    world.sql("INSERT INTO person (uid, org_unit, given_name) VALUES ('short', 'hvOuFacil01', 'x'), ('it''s; DROP 1', 'hvOuFacil01', 'y')");
    let meddler = Meddler::new(&world.http);
    let told = world.upload_by(&meddler, NEW).unwrap();
    assert_eq!((told.applied, told.rejected.len()), (2, 0));
    let file = rusqlite::Connection::open(&world.path).unwrap();
    let uids: Vec<String> = file
        .prepare("SELECT uid FROM person")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for uid in uids {
        assert!(haversack_dhis2::wire::uid::is_uid(&uid), "{uid}");
        assert!(
            world
                .http
                .get(&format!("tracker/trackedEntities/{uid}"), &[])
                .is_ok()
        );
    }
}

#[test]
fn a_server_that_is_out_of_order_or_asks_for_a_login_changes_nothing() {
    for code in [500, 502, 503, 401, 403, 404] {
        for api in [NEW, OLD] {
            let world = World::new();
            world.family(1);
            let mut meddler = Meddler::new(&world.http);
            meddler.before = Box::new(move |_, _| Some(Err(status(code, "no"))));
            assert!(world.upload_by(&meddler, api).is_err(), "{code}");
            assert_eq!(world.states().len(), 3, "{code}");
            assert_eq!(world.upload(api).applied, 3, "{code}");
        }
    }
}

#[test]
fn what_is_edited_while_it_is_under_way_is_sent_after_it() {
    let world = World::new();
    world.family(1);
    let path = world.path.clone();
    let mut meddler = Meddler::new(&world.http);
    let first = Rc::new(Cell::new(true));
    meddler.after = Box::new(move |line, answer| {
        if line == "POST tracker" && first.replace(false) {
            let file = rusqlite::Connection::open(&path).unwrap();
            file.execute_batch("UPDATE person SET given_name = 'later'")
                .unwrap();
        }
        Ok(answer)
    });
    let told = world.upload_by(&meddler, NEW).unwrap();
    assert_eq!((told.applied, world.states().len()), (4, 0));
    assert!(world.entity(1)["attributes"].to_string().contains("later"));
}
