//! A country that is slow, old, away, put back to a backup; a clinic that ends anywhere.

use std::cell::Cell;
use std::rc::Rc;

use haversack_dhis2::remote::http::{Http, Options};
use haversack_dhis2::uplink::Round;
use haversack_model::local::{LocalReplica, ReplicaTx};
use haversack_model::{ConflictKind, Error, Winner};
use haversack_sqlite::replica::ReplicaFile;
use serde_json::{Value, json};

use crate::aggregate::pairs;
use crate::world::{Place, Working, World, aged, login, named, person, send_by, visit};

impl Place {
    /// Sends objects from wherever this is called.
    fn sender(&self) -> impl Fn(&Value) + Send + 'static {
        let http = Http::new(&self.url, login("root"), &Options::default()).unwrap();
        move |payload| send_by(&http, "CREATE_AND_UPDATE", payload)
    }
    fn events_of(&self, n: u32) -> usize {
        let told = self.entity(n);
        told["enrollments"][0]["events"].as_array().unwrap().len()
    }
}

fn new_visit(uid: &str, n: u32) -> Value {
    let mut made = visit(n, "1.5", "ACTIVE");
    made["event"] = uid.into();
    json!({ "events": [made] })
}

#[test]
fn an_edit_that_is_made_while_its_forerunner_is_under_way_touches_only_what_it_changed() {
    let world = World::new();
    world.clinic.send(&named(1, "device"));
    let (here, above) = (world.clinic.sender(), world.country.sender());
    // The first edit was sent, its job is not done.
    world.round_with(move || {
        here(&named(1, "device again"));
        above(&aged(1, "77"));
        above(&json!({"trackedEntities": [{"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
            "attributes": [{"attribute": "hvAttrCode1", "value": "C-7"}]}]}));
        above(&json!({"events": [{"event": "hvEv0000001", "enrollment": "hvEn0000001", "programStage": "hvStage0001", "orgUnit": "hvOuFacil01",
            "status": "COMPLETED", "occurredAt": "2026-10-02"}]}));
    });
    world.round();
    for place in [&world.country, &world.clinic] {
        assert_eq!(
            (place.name(1), place.age(1)),
            ("device again".to_owned(), "77".to_owned())
        );
        assert_eq!(place.event(1)["status"], "COMPLETED");
        // In the record of the name, too.
        let attributes = place.entity(1)["attributes"].to_string();
        assert!(attributes.contains("C-7"), "{attributes}");
    }
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    world.assert_equal(&[1, 2, 3]);
}

#[test]
fn what_both_sides_made_under_one_uid_is_put_together_and_what_differs_is_a_conflict() {
    let world = World::new();
    let made = |name: &str, code: Value| {
        json!({"trackedEntities": [{"trackedEntity": "bothPerson1", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
            "attributes": [{"attribute": "hvAttrName1", "value": name}, {"attribute": "hvAttrCode1", "value": code}]}]})
    };
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world.country.send(&json!({"trackedEntities": [person(9)]}));
    world.clinic.send(&made("device", Value::Null));
    world.country.send(&made("country", json!("C-1")));
    // It comes with a program only.
    let enrolled = json!({"enrollments": [{"enrollment": "bothEnroll1", "trackedEntity": "bothPerson1", "program": "hvProgram01", "orgUnit": "hvOuFacil01",
        "enrolledAt": "2026-10-01", "occurredAt": "2026-10-01", "attributes": [{"attribute": "hvAttrName1", "value": "country"}]}]});
    world.country.send(&enrolled);
    let done = world.round();
    assert_eq!(done.refused, 0, "{:?}", world.state());
    let conflicts = world.conflicts();
    let [conflict] = conflicts.as_slice() else {
        panic!("{conflicts:?}");
    };
    assert_eq!(
        (conflict.kind, conflict.global_id.to_string().as_str()),
        (ConflictKind::AddAdd, "bothPerson1")
    );
    assert_eq!(conflict.fields, ["given_name"]);
    world.round();
    for place in [&world.country, &world.clinic] {
        let path = "tracker/trackedEntities/bothPerson1";
        let told = place.http.get(path, &[("fields", "*")]).unwrap();
        let attributes = told["attributes"].to_string();
        assert!(
            attributes.contains("device") && attributes.contains("C-1"),
            "{attributes}"
        );
    }
    world.assert_equal(&[1, 2, 3, 9]);
}

#[test]
fn a_country_that_goes_away_at_any_request_of_a_round_loses_and_doubles_nothing() {
    let world = World::new();
    let mut turn = 0;
    for requests in 0.. {
        turn += 1;
        world.clinic.send(&named(1, &format!("device {turn}")));
        world
            .clinic
            .send(&new_visit(&format!("newVis{turn:05}"), 2));
        world.country.send(&aged(2, &turn.to_string()));
        // The last request takes effect, and nobody hears of it.
        world.country.gate.break_after(requests);
        let _cut = world.try_round(|| ());
        let was_missed = world.country.gate.mend();
        world.round();
        let device = format!("device {turn}");
        assert_eq!(
            (world.country.name(1), world.country.age(2)),
            (device, turn.to_string())
        );
        assert_eq!(world.country.events_of(2), turn + 1);
        if !was_missed {
            break;
        }
    }
    assert!(turn > 10, "the round has several requests");
    world.assert_equal(&[1, 2, 3]);
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    assert_eq!(world.state().waiting, 0);
}

/// A copy whose process ends before its n-th transaction.
struct Dying {
    file: ReplicaFile,
    left: Rc<Cell<usize>>,
}

impl LocalReplica for Dying {
    fn begin(&mut self) -> haversack_model::Result<Box<dyn ReplicaTx + '_>> {
        let left = self.left.get().checked_sub(1);
        self.left
            .set(left.ok_or_else(|| Error::Corrupt("the process ended".to_owned()))?);
        self.file.begin()
    }
}

#[test]
fn a_clinic_that_ends_before_any_of_its_transactions_loses_and_doubles_nothing() {
    let world = World::with_files();
    let mut turn = 0;
    for transactions in (0..).step_by(3) {
        turn += 1;
        let value = turn.to_string();
        world
            .clinic
            .send(&new_visit(&format!("newVis{turn:05}"), 2));
        world.country.send(&aged(1, &value));
        world.clinic.enter(&[("202608", &value)]);
        world.country.enter(&[("202609", &value)]);
        world.clinic.complete("202608", turn % 2 == 0);
        world.country.complete("202609", turn % 2 == 0);
        let (here, above) = (
            world.clinic.add_file(format!("here {turn}").as_bytes()),
            world.country.add_file(format!("above {turn}").as_bytes()),
        );
        world.clinic.consents(1, &here);
        world.country.consents(3, &above);
        let left = Rc::new(Cell::new(transactions));
        let dying = || Dying {
            file: ReplicaFile::open(&world.path).unwrap(),
            left: Rc::clone(&left),
        };
        let round = Round {
            house: &world.house(),
            server: &world.server(),
            with_metadata: false,
            as_chosen: true,
            now: &|| world.clinic.now(),
        };
        let pace = Box::new(Working::of(&world.country));
        if round.run(&mut dying(), Box::new(dying()), pace).is_ok() {
            break;
        }
    }
    assert!(turn > 5, "a round has several transactions");
    world.round();
    assert_eq!(world.country.events_of(2), turn + 1);
    assert_eq!(world.clinic.age(1), turn.to_string());
    world.assert_all_equal(turn);
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    assert_eq!(world.state().waiting, 0);
    world.assert_quiet();
}

impl World {
    /// Both sides have the values, completions and files of a turn.
    fn assert_all_equal(&self, turn: usize) {
        let value = turn.to_string();
        let values = pairs(&[("202608", &value), ("202609", &value)]);
        let completed: &[&str] = if turn.is_multiple_of(2) {
            &["202608", "202609"]
        } else {
            &[]
        };
        for place in [&self.country, &self.clinic] {
            assert_eq!(place.values(), values);
            assert_eq!(place.completed(), completed);
            let (here, above) = (format!("here {turn}"), format!("above {turn}"));
            assert_eq!(place.consent(1).unwrap(), here.as_bytes());
            assert_eq!(place.consent(3).unwrap(), above.as_bytes());
        }
    }
}

const DAY_MS: i64 = 86_400_000;

#[test]
fn a_clinic_that_is_alone_for_a_year_or_whose_clock_jumps_ten_years_loses_and_doubles_nothing() {
    for days in [366, 3660, -3660] {
        let world = World::new();
        world.country.gate.break_after(0);
        world.clinic.send(&named(1, "device"));
        world.clinic.enter(&[("202608", "8")]);
        world.clinic.complete("202608", true);
        world.alone();
        world.clinic.host.wait(days * DAY_MS);
        world.clinic.send(&new_visit("newVisit001", 2));
        if days < 366 * 2 {
            world.clinic.send(&named(3, "device"));
        }
        // As a server does when time has passed: what nobody pins goes, and the clinic has not looked yet.
        world.clinic.host.prune("dhis2");
        assert!(world.try_round(|| ()).is_err());
        world.alone();
        world.clinic.host.prune("dhis2");
        world.country.gate.mend();
        world.country.send(&aged(2, "77"));
        world.country.enter(&[("202609", "9")]);
        world.clinic.send(&named(3, "device again"));
        let done = world.round();
        assert_eq!(done.refused, 0, "{:?}", world.state());
        world.round();
        for place in [&world.country, &world.clinic] {
            assert_eq!(place.name(1), "device", "{days}");
            assert_eq!(
                (place.name(3), place.age(2)),
                ("device again".to_owned(), "77".to_owned())
            );
            assert_eq!(place.events_of(2), 2);
            assert_eq!(place.values(), pairs(&[("202608", "8"), ("202609", "9")]));
            assert_eq!(place.completed(), ["202608"]);
        }
        world.assert_equal(&[1, 2, 3]);
        assert!(
            world.conflicts().is_empty(),
            "{days}: {:?}",
            world.conflicts()
        );
        assert_eq!(world.state().waiting, 0);
        world.assert_quiet();
    }
}

#[test]
fn devices_do_not_wait_for_a_country_that_does_not_answer() {
    let world = World::new();
    world.clinic.send(&named(1, "device"));
    world.country.gate.hold();
    std::thread::scope(|scope| {
        let round = scope.spawn(|| world.round());
        world.country.gate.await_guest();
        world.clinic.send(&named(2, "meanwhile"));
        assert_eq!(world.clinic.name(2), "meanwhile");
        world.country.gate.let_go();
        round.join().unwrap();
    });
    world.round();
    assert_eq!(
        (world.country.name(1), world.country.name(2)),
        ("device".to_owned(), "meanwhile".to_owned())
    );
}

#[test]
fn a_country_with_the_old_api_alone_is_a_country() {
    let world = World::of_version("2.36.8");
    assert_eq!(world.clinic.name(1), "Name 1");
    world.clinic.send(&named(1, "device"));
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world.clinic.send(&new_visit("newVisit001", 2));
    world
        .clinic
        .delete(&json!({"events": [{"event": "hvEv0000003"}]}));
    world.country.send(&aged(2, "44"));
    let done = world.round();
    assert_eq!(done.refused, 0, "{:?}", world.state());
    assert_eq!(world.country.name(1), "device");
    assert_eq!(world.country.event(3), Value::Null);
    assert_eq!(world.clinic.age(2), "44");
    world.round();
    world.assert_equal(&[1, 2, 3, 9]);
    assert_eq!(world.state().waiting, 0);
    assert!(world.conflicts().is_empty());
}

#[test]
fn two_rounds_at_once_send_everything_once() {
    let world = World::new();
    for n in 0..5 {
        world.clinic.send(&new_visit(&format!("newVis{n:05}"), 2));
    }
    world.country.send(&named(1, "country"));
    std::thread::scope(|scope| {
        // One may find what the other one has under way, and leave it.
        let rounds = [(); 2].map(|()| scope.spawn(|| world.try_round(|| ()).is_ok()));
        let done = rounds.map(|round| round.join().unwrap());
        assert!(done.contains(&true));
    });
    world.round();
    assert_eq!(world.country.events_of(2), 6);
    world.assert_equal(&[1, 2, 3]);
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
}

#[test]
fn a_large_first_round_comes_whole() {
    let world = World::empty();
    let people =
        |from: u32| json!({"trackedEntities": (from..from + 100).map(person).collect::<Vec<_>>()});
    for from in 0..4 {
        world.country.send(&people(from * 100 + 1));
    }
    world.clinic.send(&json!({"trackedEntities": []}));
    let done = world.round_with_metadata(true);
    assert!(done.installed >= 1200, "{done:?}");
    world.assert_equal(&[1, 200, 400]);
    let again = world.round();
    assert_eq!((again.collected, again.sent, again.installed), (0, 0, 0));
}

#[test]
fn what_a_country_lost_with_a_backup_is_sent_again_and_what_it_has_otherwise_is_a_conflict() {
    let world = World::new();
    let backup = world.country.host.backup("dhis2");
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world.clinic.send(&new_visit("newVisit001", 2));
    world.clinic.send(&named(1, "device"));
    world.round();
    assert_eq!(world.country.name(9), "Name 9");
    world.country.host.put_back("dhis2", &backup);
    world.country.host.forget_jobs();
    assert_eq!(world.country.entity(9), Value::Null);
    // Devices go on.
    world.clinic.send(&aged(3, "61"));
    let done = world.round();
    assert_eq!(done.refused, 0, "{:?}", world.state());
    assert_eq!(
        world.country.name(9),
        "Name 9",
        "what was lost is there again"
    );
    assert_eq!(world.country.events_of(2), 2);
    assert_eq!(world.country.age(3), "61");
    let conflicts = world.conflicts();
    assert!(!conflicts.is_empty());
    for conflict in &conflicts {
        assert_eq!(conflict.fields, ["given_name"], "{conflict:?}");
        assert_eq!(conflict.winner, Winner::Theirs);
        assert!(format!("{:?}", conflict.mine).contains("device"));
    }
    assert_eq!(world.clinic.name(1), "Name 1", "the country's stands");
    world.round();
    world.assert_equal(&[1, 2, 3, 9]);
    assert_eq!(world.state().waiting, 0);
    assert_eq!(world.conflicts().len(), conflicts.len());
}
