//! A country that was put back to a backup: reports, files and reserved values. Tracker data are in `faults`.

use std::collections::BTreeSet;

use haversack_dhis2::uplink::values;
use haversack_model::local::LocalReplica as _;
use haversack_model::{ConflictKind, Winner};
use haversack_sqlite::replica::ReplicaFile;
use haversack_sync::client::{self, Choice};
use serde_json::json;

use crate::aggregate::pairs;
use crate::world::{Place, World, person};

impl World {
    fn rewind(&self, backup: &[u8]) {
        self.country.host.put_back("dhis2", backup);
        self.country.host.forget_jobs();
    }
}

impl Place {
    fn value(&self, period: &str) -> Option<String> {
        let params = [
            ("dataSet", "hvDataSet01"),
            ("period", period),
            ("orgUnit", "hvOuFacil01"),
        ];
        let told = self.http.get("dataValueSets", &params).unwrap();
        let all = told["dataValues"].as_array().into_iter().flatten();
        let mut live = all.filter(|one| one["deleted"] != true);
        live.next()?["value"].as_str().map(str::to_owned)
    }
}

#[test]
fn reports_that_a_country_lost_with_a_backup_are_sent_again_those_of_old_periods_too() {
    let world = World::new();
    world
        .country
        .enter(&[("202605", "5"), ("202606", "6"), ("202607", "7")]);
    world.round();
    world.clinic.enter(&[("201801", "18")]);
    world.round();
    let backup = world.country.host.backup("dhis2");
    // Nothing but reports changes since: they show what happened.
    world
        .clinic
        .enter(&[("201802", "19"), ("202607", "77"), ("202608", "8")]);
    world.clinic.complete("202608", true);
    world.round();
    assert_eq!(world.country.value("201802").as_deref(), Some("19"));
    world.rewind(&backup);
    assert_eq!(world.country.value("202608"), None);
    world
        .country
        .enter(&[("202605", ""), ("202606", "66"), ("201801", "181")]);
    // Devices go on.
    world.clinic.enter(&[("202609", "9")]);
    let done = world.round();
    assert!(done.was_put_back);
    assert_eq!(done.refused, 0, "{:?}", world.state());
    let all = pairs(&[
        ("202606", "66"),
        ("202607", "7"),
        ("202608", "8"),
        ("202609", "9"),
    ]);
    assert_eq!(world.country.values(), all);
    assert_eq!(world.country.completed(), ["202608"]);
    assert_eq!(world.country.value("201802").as_deref(), Some("19"));
    assert_eq!(world.clinic.value("201802").as_deref(), Some("19"));
    assert_eq!(world.country.value("201801").as_deref(), Some("181"));
    assert_eq!(world.clinic.value("201801").as_deref(), Some("181"));

    // The country's stands where it has another version, or deleted it.
    let conflicts = world.conflicts();
    let of = |kind: ConflictKind| conflicts.iter().filter(|one| one.kind == kind).count();
    assert_eq!(conflicts.len(), 4, "{conflicts:?}");
    assert_eq!(of(ConflictKind::UpdateUpdate), 3);
    assert_eq!(of(ConflictKind::UpdateDelete), 1);
    for conflict in &conflicts {
        assert_eq!(conflict.winner, Winner::Theirs, "{conflict:?}");
        assert!(conflict.reason.contains("backup"), "{conflict:?}");
    }
    assert_eq!(world.clinic.value("202606").as_deref(), Some("66"));
    assert_eq!(world.clinic.value("202607").as_deref(), Some("7"));
    assert_eq!(world.clinic.value("202605"), None);
    let again = world.round();
    assert!(!again.was_put_back);
    world.assert_quiet();
    assert_eq!(world.conflicts().len(), 4);

    // Whoever knows better decides.
    let mut file = ReplicaFile::open(&world.path).unwrap();
    let mut tx = file.begin().unwrap();
    for conflict in conflicts {
        let now = world.clinic.now();
        client::resolve(&mut *tx, conflict.id, Choice::Mine, "ada", now).unwrap();
    }
    tx.commit().unwrap();
    drop(file);
    world.round();
    for (period, value) in [("202605", "5"), ("202606", "6"), ("202607", "77")] {
        for place in [&world.country, &world.clinic] {
            assert_eq!(place.value(period).as_deref(), Some(value));
        }
    }
    world.assert_quiet();
}

#[test]
fn a_country_that_fails_at_any_request_of_the_comparison_gets_back_what_it_lost() {
    let world = World::new();
    world.country.enter(&[("202605", "5")]);
    world.round();
    let mut n = 0;
    for requests in (0..).step_by(5) {
        n += 1;
        let value = n.to_string();
        let backup = world.country.host.backup("dhis2");
        world.clinic.enter(&[("202608", &value)]);
        world
            .clinic
            .send(&json!({"trackedEntities": [person(10 + n)]}));
        world.round();
        world.rewind(&backup);
        world.country.gate.break_after(requests);
        let _cut = world.try_round(|| ());
        let was_missed = world.country.gate.mend();
        world.round();
        world.round();
        assert_eq!(world.country.name(10 + n), format!("Name {}", 10 + n));
        if !was_missed {
            break;
        }
    }
    assert!(n > 3, "a comparison has several requests");
    world.assert_equal(&[1, 2, 3, 11]);
    assert_eq!(world.country.value("202605").as_deref(), Some("5"));
    assert_eq!(world.country.value("202608"), world.clinic.value("202608"));
    assert_eq!(world.state().waiting, 0);
}

#[test]
fn a_data_set_that_always_fails_keeps_no_other_lost_and_the_comparison_ends() {
    let world = World::new();
    let path = "organisationUnits/hvOuFacil01";
    let fields = [("fields", "*")];
    let mut unit = world.country.http.get(path, &fields).unwrap();
    let sets = unit["dataSets"].as_array_mut().unwrap();
    sets.push(json!({"id": "hvDataSet99"}));
    let odd = json!({"organisationUnits": [unit], "dataElements": [{"id": "hvDeOther01", "name": "Other", "valueType": "NUMBER", "domainType": "AGGREGATE"}],
        "dataSets": [{"id": "hvDataSet99", "name": "Odd", "periodType": "Sometimes", "dataSetElements": [{"dataElement": {"id": "hvDeOther01"}}]}]});
    let told = world
        .country
        .http
        .post("metadata", &[], Some(&odd))
        .unwrap();
    assert_eq!(told.status, 200, "{}", told.body);
    world.round_with_metadata(true);
    let backup = world.country.host.backup("dhis2");
    world.clinic.enter(&[("202608", "8")]);
    world.round();
    world.rewind(&backup);
    let done = world.round();
    assert!(done.was_put_back && done.failed_pages > 0, "{done:?}");
    assert_eq!(world.country.value("202608").as_deref(), Some("8"));
    let again = (0..20).take_while(|_| world.round().was_put_back).count();
    assert!((1..20).contains(&again), "{again}");
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
}

#[test]
fn files_that_a_country_lost_are_sent_again_with_what_names_them() {
    let world = World::with_files();
    let theirs = world.country.add_file(b"numbers");
    world.country.consents(3, &theirs);
    world.round();
    let backup = world.country.host.backup("dhis2");
    let (consent, report) = (
        world.clinic.add_file(b"signed"),
        world.clinic.add_file(b"counted"),
    );
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world.clinic.consents(9, &consent);
    world.clinic.reports(&report);
    world.round();
    assert_eq!(world.country.consent(9).unwrap(), b"signed");
    for _ in 0..2 {
        world.rewind(&backup);
        assert_eq!(world.country.consent(9), None);
        let done = world.round();
        assert!(done.was_put_back);
        assert_eq!(done.refused, 0, "{:?}", world.state());
        assert_eq!(world.country.consent(9).unwrap(), b"signed");
        assert_eq!(world.country.report().unwrap(), b"counted");
        assert_eq!(world.clinic.named_by(9), consent);
        assert_eq!(world.clinic.named_by(3), theirs);
        world.assert_quiet();
        assert_eq!(world.state().waiting, 0);
    }
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
}

const NUMBERS: (&str, Option<&str>) = ("hvAttrSeq01", Some("HVF1"));

impl World {
    fn numbers(&self, full: u64, count: u64) -> Vec<String> {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        let http = &self.country.http;
        let now = self.country.now();
        let taken = values::take(&mut file, http, NUMBERS, (full, count), now).unwrap();
        taken.into_iter().map(|one| one.value).collect()
    }
}

#[test]
fn numbers_that_a_country_forgot_are_given_to_nobody_twice() {
    let world = World::new();
    let first = world.numbers(20, 5);
    let backup = world.country.host.backup("dhis2");
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world.round();
    let mut given: BTreeSet<String> = first.into_iter().collect();
    given.extend(world.numbers(60, 30));
    assert_eq!(given.len(), 35);
    world.rewind(&backup);
    let done = world.round();
    assert!(done.was_put_back);
    // Another clinic asks first: it gets what this one has in its hands, and nobody can know.
    let path = "trackedEntityAttributes/hvAttrSeq01/generateAndReserve";
    let params = [("numberToReserve", "40"), ("ORG_UNIT_CODE", "HVF1")];
    let told = world.country.http.get(path, &params).unwrap();
    let others: Vec<&str> = told
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["value"].as_str())
        .collect();
    assert_eq!(others.len(), 40);
    // From now on all are different.
    let after = world.numbers(60, 40);
    for value in &after {
        assert!(given.insert(value.clone()), "{value} was given out before");
        assert!(
            !others.contains(&value.as_str()),
            "{value} is another clinic's"
        );
    }
}
