//! Pages that fail, are cut or late; servers that begin anew; clocks that jump.

use haversack_dhis2::remote::error::Error;
use haversack_dhis2::remote::pull::Request;
use haversack_model::local::LocalReplica as _;
use haversack_model::{ConflictKind, SyncState, Theirs};
use serde_json::{Value as Json, json};

use crate::fake::{Asked, Does, Fake, NOW, page, person};

const ENTITIES: &str = "tracker/trackedEntities";
const PEOPLE: &str = "SELECT count(*) FROM Person";

fn program() -> Fake {
    let fake = Fake::start("2.41.0");
    fake.add_program();
    fake
}

/// So many people in pages of fifty; what is done with a page may be something else.
fn people(
    of: u32,
    instead: impl Fn(&Asked, u32) -> Option<Does> + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Option<Does> {
    move |asked| {
        if asked.path != ENTITIES {
            return None;
        }
        let number: u32 = asked.param("page").unwrap().parse().unwrap();
        if let Some(other) = instead(asked, number) {
            return Some(other);
        }
        let from = (number - 1) * 50;
        let all: Vec<Json> = (from..of.min(from + 50)).map(person).collect();
        Some(Does::Answers(200, page("2.41", "trackedEntities", &all)))
    }
}

#[test]
fn a_page_that_fails_is_skipped_and_asked_for_again_next_time() {
    let fake = program();
    for (at, fault) in [
        Does::Answers(500, json!({"message": "no"})),
        Does::Answers(409, json!({"message": "no"})),
        Does::Cuts(page("2.41", "trackedEntities", &[])),
        Does::Hangs,
        Does::Says("<html>"),
        Does::Says(""),
        Does::Answers(200, json!({"httpStatus": "OK"})),
        Does::Redirects("http://127.0.0.1:1/".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut copy = fake.copy();
        let done = fault.clone();
        fake.script(people(120, move |_, number| {
            (number == 2).then(|| done.clone())
        }));
        let found = copy.download(&fake);
        assert_eq!(found.failed.len(), 1, "{at} {fault:?}: {found:?}");
        assert_eq!(found.failed[0].page, 2);
        assert_eq!(found.entities, 70, "{fault:?}");
        assert_eq!(copy.number(PEOPLE), 70, "{fault:?}");
        fake.script(people(120, |_, _| None));
        fake.asked("");
        let found = copy.download(&fake);
        assert_eq!(copy.number(PEOPLE), 120, "{fault:?}: {found:?}");
        let asked = fake.asked(ENTITIES);
        assert_eq!(asked.len(), 3);
        assert!(
            asked.iter().all(|a| a.param("updatedAfter").is_none()),
            "the mark had not moved"
        );
        copy.download(&fake);
        let asked = fake.asked(ENTITIES);
        assert_eq!(
            asked[0].param("updatedAfter").as_deref(),
            Some("2026-11-22T10:00:00.000")
        );
    }
}

#[test]
fn a_server_that_fails_all_the_time_is_not_asked_for_ever() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(120, |_, _| Some(Does::Answers(503, json!({})))));
    let found = copy.download(&fake);
    assert_eq!((found.failed.len(), found.entities), (3, 0));
}

#[test]
fn an_object_that_cannot_be_read_or_placed_is_named_and_keeps_no_other_out() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(|asked| {
        (asked.path == ENTITIES).then(|| {
            let odd = json!({"trackedEntity": {"not": "a uid"}});
            let mut unknown = person(2);
            unknown["enrollments"][0]["events"][0]["programStage"] = json!("stageNew001");
            Does::Answers(
                200,
                page("2.41", "trackedEntities", &[odd, unknown, person(3)]),
            )
        })
    });
    let found = copy.download(&fake);
    assert_eq!((found.entities, found.failed.len()), (2, 1), "{found:?}");
    assert_eq!(found.unknown.iter().collect::<Vec<_>>(), ["stageNew001"]);
    fake.asked("");
    copy.download(&fake);
    assert!(fake.asked(ENTITIES)[0].param("updatedAfter").is_none());
}

#[test]
fn what_two_parts_miss_alike_keeps_the_marks_of_both() {
    let fake = program();
    let second = json!({"id": "progOther01", "name": "Other", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": "typePerson1"}});
    fake.add("programs", second);
    fake.link();
    let mut copy = fake.copy();
    fake.script(|asked| {
        (asked.path == ENTITIES).then(|| {
            let mut unknown = person(2);
            unknown["enrollments"][0]["events"][0]["programStage"] = json!("stageNew001");
            Does::Answers(200, page("2.41", "trackedEntities", &[unknown]))
        })
    });
    let request = Request {
        by_program: true,
        ..Request::default()
    };
    copy.download_as(&fake, &request);
    fake.asked("");
    copy.download_as(&fake, &request);
    let asked = fake.asked(ENTITIES);
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|a| a.param("updatedAfter").is_none()));
}

#[test]
fn the_limit_is_kept_and_what_changed_later_has_none() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(120, |_, _| None));
    let request = Request {
        limit: Some(60),
        ..Request::default()
    };
    let found = copy.download_as(&fake, &request);
    assert_eq!((found.entities, copy.number(PEOPLE)), (60, 60));
    assert_eq!(fake.asked(ENTITIES).len(), 2);
    let found = copy.download_as(&fake, &request);
    assert_eq!(
        (found.entities, copy.number(PEOPLE)),
        (120, 120),
        "all that changed"
    );
    // More is wanted than the mark was set for, then the same again.
    for (limit, is_full) in [(1000, true), (2000, false)] {
        let request = Request {
            limit: Some(limit),
            ..Request::default()
        };
        fake.asked("");
        copy.download_as(&fake, &request);
        let asked = fake.asked(ENTITIES);
        assert_eq!(asked[0].param("updatedAfter").is_none(), is_full, "{limit}");
    }
}

#[test]
fn marks_are_the_servers_time_whatever_the_device_thinks_that_it_is() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(1, |_, _| None));
    let ten_years = 10 * 365 * 24 * 3_600_000_i64;
    for jump in [ten_years, -ten_years, -NOW.0] {
        let clock = || haversack_model::Timestamp(NOW.0 + jump);
        let request = Request::default();
        haversack_dhis2::remote::pull::download(
            &fake.server(),
            &mut copy.file,
            &request,
            &clock,
            &mut |_| {},
        )
        .unwrap();
        fake.asked("");
        copy.download(&fake);
        let since = fake.asked(ENTITIES)[0].param("updatedAfter");
        assert_eq!(since.as_deref(), Some("2026-11-22T10:00:00.000"));
    }
    // The server's own clock is put back by a year: its word counts from then on.
    fake.set_date("2025-11-22T10:00:00.000");
    copy.download(&fake);
    fake.asked("");
    copy.download(&fake);
    let since = fake.asked(ENTITIES)[0].param("updatedAfter");
    assert_eq!(since.as_deref(), Some("2025-11-22T10:00:00.000"));
}

#[test]
fn unsent_work_is_protected_record_by_record_and_theirs_is_kept_beside() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(2, |_, _| None));
    copy.download(&fake);
    copy.edit("UPDATE Child_Visit SET weight = 50 WHERE uid = 'events00001'");
    fake.script(|asked| {
        (asked.path == ENTITIES).then(|| {
            let mut changed = person(1);
            changed["attributes"][0]["value"] = json!("Grace");
            changed["enrollments"][0]["events"][0]["dataValues"][0]["value"] = json!("60");
            Does::Answers(200, page("2.41", "trackedEntities", &[changed]))
        })
    });
    let found = copy.download(&fake);
    assert_eq!(found.protected, 1, "{found:?}");
    assert_eq!(
        copy.number("SELECT count(*) FROM Child_Visit WHERE weight = 50"),
        1
    );
    assert_eq!(
        copy.number("SELECT count(*) FROM Person WHERE name = 'Grace'"),
        1,
        "protection is per record"
    );
    let tx = copy.file.begin().unwrap();
    let entries = tx.entries().unwrap();
    assert_eq!((entries.len(), entries[0].state), (1, SyncState::ToUpdate));
    assert!(matches!(&entries[0].theirs, Theirs::Row { .. }));
}

#[test]
fn a_deletion_of_what_was_edited_here_is_a_conflict_once() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(2, |_, _| None));
    copy.download(&fake);
    copy.edit("UPDATE Person SET name = 'mine' WHERE uid = 'person00001'");
    fake.script(|asked| {
        (asked.path == ENTITIES).then(|| {
            let gone = json!({"trackedEntity": "person00001", "trackedEntityType": "typePerson1", "deleted": true});
            Does::Answers(200, page("2.41", "trackedEntities", &[gone]))
        })
    });
    for expected in [1, 0] {
        assert_eq!(copy.download(&fake).conflicts, expected);
    }
    assert_eq!(
        copy.number("SELECT count(*) FROM Person WHERE name = 'mine'"),
        1
    );
    assert_eq!(
        copy.number("SELECT count(*) FROM Child_Visit"),
        1,
        "what was not edited goes"
    );
    let conflicts = copy.file.read(|tx| tx.conflicts(true)).unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].kind, ConflictKind::UpdateDelete);
    assert!(
        conflicts[0].mine.is_some() && conflicts[0].base.is_some() && conflicts[0].theirs.is_none()
    );
}

#[test]
fn the_other_sides_of_relationships_come_as_stubs_and_those_that_cannot_be_had_take_the_tie_along()
{
    let fake = program();
    let mut copy = fake.copy();
    fake.script(|asked| {
        let tie = |uid: &str, to: &str| {
            json!({"relationship": uid, "relationshipType": "tieType0001", "from": {"trackedEntity": {"trackedEntity": "person00001"}},
                "to": {"trackedEntity": {"trackedEntity": to}}})
        };
        if asked.path != ENTITIES {
            return None;
        }
        let found = if let Some(uids) = asked.param("trackedEntities") {
            assert_eq!(asked.param("orgUnitMode").as_deref(), Some("ACCESSIBLE"));
            assert_eq!(uids, "person00007,person00009");
            person(7)
        } else {
            let mut one = person(1);
            one["relationships"] = json!([
                tie("tie00000001", "person00007"),
                tie("tie00000002", "person00009")
            ]);
            one
        };
        Some(Does::Answers(200, page("2.41", "trackedEntities", &[found])))
    });
    let found = copy.download(&fake);
    assert_eq!(
        (found.stubs, found.dropped_relationships),
        (1, 1),
        "{found:?}"
    );
    assert_eq!(
        copy.number("SELECT count(*) FROM Person WHERE is_stub = 1 AND uid = 'person00007'"),
        1
    );
    assert_eq!(copy.number("SELECT count(*) FROM Relationships"), 1);
    assert_eq!(
        copy.number("SELECT count(*) FROM Child_Visit"),
        1,
        "a stub comes alone"
    );
}

#[test]
fn a_login_that_is_not_accepted_is_told_apart_and_a_session_is_used_while_it_lasts() {
    let fake = program();
    for (message, is_it) in [
        (
            "Account disabled",
            (|e| matches!(e, Error::AccountDisabled)) as fn(&Error) -> bool,
        ),
        ("Account locked", |e| matches!(e, Error::AccountLocked)),
        ("Unauthorized", |e| matches!(e, Error::BadCredentials)),
    ] {
        fake.script(move |_| Some(Does::Answers(401, json!({"message": message}))));
        assert!(is_it(&fake.connect().unwrap_err()), "{message}");
    }
    fake.script(|_| Some(Does::Says("<html>a page</html>")));
    assert!(fake.connect().is_err());
    fake.script(|_| Some(Does::Answers(200, json!({"version": "3.0"}))));
    assert!(matches!(fake.connect(), Err(Error::NotDhis2 { .. })));

    fake.script(|_| None);
    let server = fake.server();
    fake.asked("");
    server.http.get("me", &[]).unwrap();
    let asked = fake.asked("me");
    assert_eq!(
        (asked[0].cookie.as_deref(), &asked[0].authorization),
        (Some("JSESSIONID=s1"), &None)
    );
    fake.script(|asked| {
        asked
            .cookie
            .is_some()
            .then(|| Does::Answers(401, json!({"message": "ended"})))
    });
    server.http.get("me", &[]).unwrap();
    let asked = fake.asked("me");
    assert_eq!(
        asked.len(),
        2,
        "once with the session, once with the password"
    );
    assert!(
        asked[1]
            .authorization
            .as_ref()
            .unwrap()
            .starts_with("Basic ")
    );
}

/// A server whose list shrinks by its first person once the first page was read.
fn shrinking(
    count: u32,
    is_counted: bool,
    leaves_each_time: bool,
) -> impl Fn(&Asked) -> Option<Does> {
    let left = std::sync::atomic::AtomicU32::new(0);
    move |asked| {
        if asked.path != ENTITIES {
            return None;
        }
        let gone = left.load(std::sync::atomic::Ordering::SeqCst);
        let all: Vec<Json> = (gone..count).map(person).collect();
        let number: usize = asked.param("page").unwrap().parse().unwrap();
        let some: Vec<Json> = all
            .iter()
            .skip((number - 1) * 50)
            .take(50)
            .cloned()
            .collect();
        if number == 1 && (leaves_each_time || gone == 0) {
            left.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        let mut told = page("2.41", "trackedEntities", &some);
        if is_counted && asked.param("totalPages").as_deref() == Some("true") {
            told["pager"]["total"] = json!(all.len());
        }
        Some(Does::Answers(200, told))
    }
}

#[test]
fn what_moves_to_another_page_while_pages_are_read_is_not_missed() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(shrinking(200, true, false));
    let found = copy.download(&fake);
    assert_eq!(found.failed, [], "{found:?}");
    assert_eq!(
        copy.number(PEOPLE),
        200,
        "the one that moved from page 2 to page 1 too"
    );
    let marks = "SELECT count(*) FROM DHIS2_marks";
    assert_eq!(copy.number(marks), 1);

    // Where something moves each time it is told, and the mark stays.
    let mut copy = fake.copy();
    fake.script(shrinking(200, true, true));
    let found = copy.download(&fake);
    assert_eq!(
        (found.failed.len(), copy.number(marks)),
        (1, 0),
        "{found:?}"
    );

    // A server that does not count is believed.
    let mut copy = fake.copy();
    fake.script(shrinking(120, false, false));
    assert_eq!(copy.download(&fake).failed, []);
    assert_eq!(copy.number(marks), 1);
}

#[test]
fn a_download_that_dies_between_pages_is_made_up_for_by_the_next() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(120, |_, _| None));
    let server = fake.server();
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut die = |now: haversack_dhis2::remote::pull::Progress<'_>| {
            assert!(now.objects < 100, "the process is killed");
        };
        let request = Request::default();
        let clock = || NOW;
        haversack_dhis2::remote::pull::download(&server, &mut copy.file, &request, &clock, &mut die)
    }));
    assert!(died.is_err());
    assert_eq!(copy.number(PEOPLE), 100, "two pages were stored whole");
    assert_eq!(copy.number("SELECT count(*) FROM DHIS2_marks"), 0);
    copy.edit("UPDATE Person SET name = 'mine' WHERE uid = 'person00001'");
    fake.asked("");
    let found = copy.download(&fake);
    assert_eq!((copy.number(PEOPLE), found.failed.len()), (120, 0));
    assert!(fake.asked(ENTITIES)[0].param("updatedAfter").is_none());
    assert_eq!(
        copy.number("SELECT count(*) FROM Person WHERE name = 'mine'"),
        1
    );
}

#[test]
fn a_device_that_was_offline_for_a_year_gets_what_changed_and_keeps_its_work() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(60, |_, _| None));
    copy.download(&fake);
    copy.edit("UPDATE Person SET name = 'a year ago' WHERE uid = 'person00001'");
    // A year later: the server has another version, and tells only what changed since.
    fake.set_date("2027-11-22T10:00:00.000");
    fake.asked("");
    fake.script(people(3, |_, _| None));
    let found = copy.download(&fake);
    assert_eq!((found.entities, found.failed.len()), (3, 0));
    let since = fake.asked(ENTITIES)[0].param("updatedAfter");
    assert_eq!(since.as_deref(), Some("2026-11-22T10:00:00.000"));
    assert_eq!(
        copy.number("SELECT count(*) FROM Person WHERE name = 'a year ago'"),
        1
    );
    assert_eq!(copy.number(PEOPLE), 60);
}

#[test]
fn the_same_page_twice_changes_nothing() {
    let fake = program();
    let mut copy = fake.copy();
    fake.script(people(50, |_, number| {
        // The second page is the first one once more, as when records were added in front of it.
        let all: Vec<Json> = (0..50).map(person).collect();
        (number == 2).then(|| Does::Answers(200, page("2.41", "trackedEntities", &all)))
    }));
    let found = copy.download(&fake);
    assert_eq!((found.put, copy.number(PEOPLE)), (150, 50), "{found:?}");
    let again = Request {
        full: true,
        ..Request::default()
    };
    let found = copy.download_as(&fake, &again);
    assert_eq!((found.entities, found.put, found.removed), (100, 0, 0));
    assert_eq!(copy.number("SELECT count(*) FROM haversack_outbox"), 0);
}

#[test]
fn an_error_that_comes_with_200_is_an_error() {
    let fake = program();
    let mut copy = fake.copy();
    let refusal = json!({"httpStatus": "Conflict", "httpStatusCode": 409, "status": "ERROR", "message": "no such unit"});
    fake.script(people(120, move |_, number| {
        (number == 2).then(|| Does::Answers(200, refusal.clone()))
    }));
    let found = copy.download(&fake);
    assert_eq!((found.failed.len(), copy.number(PEOPLE)), (1, 70));
    assert_eq!(copy.number("SELECT count(*) FROM DHIS2_marks"), 0);
    fake.script(|asked| {
        let is_asked = asked.path == "programStages";
        is_asked.then(|| Does::Answers(200, json!({"status": "ERROR", "message": "no"})))
    });
    let again = haversack_dhis2::remote::copy::sync_metadata(
        &fake.server(),
        &mut copy.file,
        NOW,
        &mut |_| {},
    );
    assert!(again.is_err());
    assert_eq!(copy.number("SELECT count(*) FROM DHIS2_program_stages"), 1);
}
