//! Pools of reserved values: filled, taken from, outlived.

use std::collections::BTreeSet;

use haversack_dhis2::remote::error::Error;
use haversack_dhis2::remote::layout::Layout;
use haversack_dhis2::remote::push::Courier;
use haversack_dhis2::remote::reserved::{Away, Filled, Size, Taken, Wanted, fill, pools, take};
use haversack_dhis2::wire::date;
use haversack_model::Timestamp;
use haversack_model::local::LocalReplica as _;
use haversack_sqlite::replica::ReplicaFile;
use serde_json::json;

use crate::world::{Meddler, World, cut, status};

const YEAR_MS: i64 = 366 * 86_400_000;

fn sequential() -> Wanted {
    Wanted {
        attribute: "hvAttrSeq01".to_owned(),
        pattern: "ORG_UNIT_CODE(...) + \"-\" + CURRENT_DATE(yyyy) + \"-\" + SEQUENTIAL(#####)"
            .to_owned(),
        unit: Some(("hvOuFacil01".to_owned(), "NOR_01".to_owned())),
    }
}

fn random() -> Wanted {
    Wanted {
        attribute: "hvAttrRand1".to_owned(),
        pattern: "\"R-\" + RANDOM(####)".to_owned(),
        unit: None,
    }
}

/// The server's own time, nearly.
fn now() -> Timestamp {
    date::parse("2026-11-21T12:00:00.000").unwrap()
}

impl World {
    fn fill(&self, courier: &dyn Courier, wanted: &Wanted, size: Size, now: Timestamp) -> Filled {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        fill(&mut file, courier, wanted, size, now).unwrap()
    }
    fn take(&self, courier: &dyn Courier, wanted: &Wanted, now: Timestamp) -> Result<Taken, Error> {
        let mut file = ReplicaFile::open(&self.path).unwrap();
        take(&mut file, courier, wanted, Size::default(), now)
    }
}

fn offline(world: &World) -> Meddler<'_> {
    let mut meddler = Meddler::new(&world.http);
    meddler.before = Box::new(|_, _| Some(Err(cut())));
    meddler
}

#[test]
fn a_pool_is_filled_when_it_is_low_and_gives_each_value_once() {
    let world = World::new();
    let meddler = Meddler::new(&world.http);
    let filled = world.fill(&meddler, &sequential(), Size::default(), now());
    assert_eq!(
        (filled.left, filled.fetched, filled.is_low),
        (100, 100, false)
    );
    let again = world.fill(&meddler, &sequential(), Size::default(), now());
    assert_eq!(
        (again.left, again.fetched, meddler.count("GET")),
        (100, 0, 1)
    );
    let mut given = BTreeSet::new();
    for _ in 0..50 {
        let taken = world.take(&meddler, &sequential(), now()).unwrap();
        assert!(taken.value.starts_with("NOR-2026-"), "{}", taken.value);
        assert!(given.insert(taken.value));
    }
    assert_eq!(meddler.count("GET"), 1, "half of it is left");
    world.take(&meddler, &sequential(), now()).unwrap();
    let taken = world.take(&meddler, &sequential(), now()).unwrap();
    assert_eq!(
        (taken.pool.fetched, taken.pool.left),
        (51, 99),
        "49 were left"
    );
    assert!(!given.contains(&taken.value));
}

#[test]
fn a_pool_remembers_how_large_it_shall_be() {
    let world = World::new();
    let meddler = Meddler::new(&world.http);
    let size = Size {
        full: Some(10),
        threshold: None,
    };
    assert_eq!(world.fill(&meddler, &random(), size, now()).left, 10);
    for _ in 0..6 {
        world.take(&meddler, &random(), now()).unwrap();
    }
    let filled = world.fill(&meddler, &random(), Size::default(), now());
    assert_eq!((filled.left, filled.fetched), (10, 6));
}

#[test]
fn a_pool_is_as_large_as_is_chosen_for_apps_unless_told_otherwise() {
    let world = World::new();
    for (name, document) in [
        ("info", json!({"androidSettingsVersion": "2.0"})),
        ("generalSettings", json!({"reservedValues": "40"})),
    ] {
        let path = format!("dataStore/ANDROID_SETTINGS_APP/{name}");
        let told = world.http.post(&path, &[], Some(&document)).unwrap();
        assert!(told.status < 300, "{}", told.body);
    }
    let world = world.synced();
    let meddler = Meddler::new(&world.http);
    let filled = world.fill(&meddler, &random(), Size::default(), now());
    assert_eq!((filled.left, filled.is_low), (40, false));
    for _ in 0..20 {
        world.take(&meddler, &random(), now()).unwrap();
    }
    assert_eq!(meddler.count("GET"), 1, "half of it is left");
    let size = Size {
        full: Some(60),
        threshold: Some(60),
    };
    assert_eq!(world.fill(&meddler, &random(), size, now()).left, 60);
}

#[test]
fn without_a_network_the_pool_lasts_warns_and_then_says_that_it_is_empty() {
    let world = World::new();
    let size = Size {
        full: Some(3),
        threshold: Some(3),
    };
    world.fill(&world.http, &random(), size, now());
    let away = offline(&world);
    let warned: Vec<bool> = (0..3)
        .map(|_| world.take(&away, &random(), now()).unwrap().pool.is_low)
        .collect();
    assert_eq!(warned, [false, false, true]);
    let error = world.take(&away, &random(), now()).unwrap_err();
    assert!(
        matches!(&error, Error::NoReservedValues { problem, .. } if problem.contains("broke off")),
        "{error}"
    );
    assert_eq!(
        world.fill(&away, &random(), Size::default(), now()).left,
        0,
        "that is no error"
    );
}

#[test]
fn a_value_is_not_given_out_when_its_year_or_its_reservation_is_over() {
    let world = World::new();
    let filled = world.fill(&world.http, &sequential(), Size::default(), now());
    let end = date::parse("2027-01-01T00:00:00.000").unwrap();
    assert_eq!(filled.ends_at, Some(end));
    let away = offline(&world);
    assert!(
        world
            .take(&away, &sequential(), Timestamp(end.0 - 1))
            .is_ok()
    );
    assert!(world.take(&away, &sequential(), end).is_err());
    // Sixty days without a date in the pattern.
    world.fill(&world.http, &random(), Size::default(), now());
    let later = |days: i64| Timestamp(now().0 + days * 86_400_000);
    assert!(world.take(&away, &random(), later(58)).is_ok());
    assert!(world.take(&away, &random(), later(62)).is_err());
}

#[test]
fn a_clock_that_jumps_ten_years_neither_empties_a_pool_nor_revives_old_values() {
    let world = World::new();
    world.fill(&world.http, &random(), Size::default(), now());
    let away = offline(&world);
    let ahead = Timestamp(now().0 + 10 * YEAR_MS);
    assert!(world.take(&away, &random(), ahead).is_err());
    assert!(
        world.take(&away, &random(), now()).is_ok(),
        "they are still there"
    );
    // The server's time tells that the first ones are over, however slow the clock is.
    world.host.wait(YEAR_MS);
    let back = Timestamp(now().0 - 10 * YEAR_MS);
    let filled = world.fill(
        &world.http,
        &random(),
        Size {
            full: Some(200),
            threshold: Some(200),
        },
        back,
    );
    assert_eq!((filled.left, filled.fetched), (101, 101), "{filled:?}");
}

#[test]
fn another_pattern_begins_a_new_pool() {
    let world = World::new();
    world.fill(&world.http, &random(), Size::default(), now());
    let change = json!({"trackedEntityAttributes": [{"id": "hvAttrRand1", "name": "Random id", "valueType": "TEXT", "generated": true,
        "pattern": "\"Q-\" + RANDOM(####)", "aggregationType": "NONE", "shortName": "r"}]});
    assert_eq!(
        world
            .http
            .post("metadata", &[], Some(&change))
            .unwrap()
            .status,
        200
    );
    let other = Wanted {
        pattern: "\"Q-\" + RANDOM(####)".to_owned(),
        ..random()
    };
    let taken = world.take(&world.http, &other, now()).unwrap();
    assert!(taken.value.starts_with("Q-"));
    assert!(
        world.take(&offline(&world), &random(), now()).is_err(),
        "the old ones are gone"
    );
}

#[test]
fn whatever_the_server_says_a_short_pool_is_no_failure() {
    for refusal in [
        status(409, "Not enough values left to reserve 100 values."),
        status(404, "unknown"),
        status(500, ""),
        cut(),
    ] {
        let world = World::new();
        let refusal = std::cell::RefCell::new(Some(refusal));
        let mut meddler = Meddler::new(&world.http);
        meddler.before = Box::new(move |_, _| refusal.borrow_mut().take().map(Err));
        let filled = world.fill(&meddler, &random(), Size::default(), now());
        assert_eq!((filled.left, filled.is_low), (0, true));
        assert!(filled.problem.is_some());
        assert_eq!(
            world.fill(&meddler, &random(), Size::default(), now()).left,
            100
        );
    }
}

#[test]
fn programs_that_take_values_at_once_get_different_ones() {
    let world = World::new();
    let size = Size {
        full: Some(40),
        threshold: None,
    };
    world.fill(&world.http, &random(), size, now());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let path = world.path.clone();
            std::thread::spawn(move || {
                let mut file = ReplicaFile::open(&path).unwrap();
                let nobody = Away(String::new());
                let take = |_| {
                    take(&mut file, &nobody, &random(), Size::default(), now())
                        .unwrap()
                        .value
                };
                (0..10).map(take).collect::<Vec<_>>()
            })
        })
        .collect();
    let given: Vec<String> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let different: BTreeSet<&String> = given.iter().collect();
    assert_eq!((given.len(), different.len()), (40, 40));
}

#[test]
fn the_pools_of_a_user_are_those_of_the_units_in_which_data_is_entered() {
    let world = World::new();
    let mut file = ReplicaFile::open(&world.path).unwrap();
    let layout = Layout::of(&file.collections());
    let metadata: serde_json::Value =
        serde_json::from_str(include_str!("../../samples/metadata.json")).unwrap();
    let mut tx = file.begin().unwrap();
    let version = haversack_model::RowVersion {
        revision: haversack_model::Revision(1),
        generation: haversack_model::Generation(1),
    };
    for of in ["trackedEntityAttributes", "programs", "organisationUnits"] {
        let table = layout.metadata(of).unwrap();
        for object in metadata[of].as_array().unwrap() {
            let mut object = object.clone();
            if object["id"] != "hvOuFacil02" {
                object["haversackScope"] = json!("capture");
            }
            let id = object["id"].as_str().unwrap().to_owned();
            let row = table.record(&id, &[("object", &object.to_string())]);
            tx.put_row(table.id(), &row).unwrap();
            tx.store_version(table.id(), &row.global_id, Some(version))
                .unwrap();
        }
    }
    tx.commit().unwrap();
    let tx = file.begin().unwrap();
    let mut found: Vec<(String, Option<String>)> = pools(&*tx)
        .unwrap()
        .into_iter()
        .map(|wanted| (wanted.attribute, wanted.unit.map(|(uid, _)| uid)))
        .collect();
    found.sort();
    let expected = [("hvAttrRand1", None), ("hvAttrSeq01", Some("hvOuFacil01"))];
    assert_eq!(
        found,
        expected.map(|(a, u)| (a.to_owned(), u.map(str::to_owned)))
    );
}

#[test]
fn a_hundred_copies_that_reserve_a_hundred_numbers_each_get_every_number_once() {
    let world = World::new();
    let size = Size {
        full: Some(100),
        threshold: Some(1),
    };
    let client = |n: usize| {
        let path = world.path.with_file_name(format!("copy{n}.gpkg"));
        std::fs::copy(&world.path, &path).unwrap();
        let mut file = ReplicaFile::open(&path).unwrap();
        let filled = fill(&mut file, &world.http, &sequential(), size, now()).unwrap();
        assert_eq!((filled.left, filled.problem), (100, None));
        let taken = take(&mut file, &world.http, &sequential(), size, now()).unwrap();
        assert_eq!(taken.pool.left, 99);
        drop(file);
        let file = rusqlite::Connection::open(&path).unwrap();
        let mut left: Vec<String> = file
            .prepare("SELECT value FROM dhis2_reserved_values")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        left.push(taken.value);
        left
    };
    let mut all: Vec<String> = std::thread::scope(|scope| {
        let client = &client;
        let threads: Vec<_> = (0..100).map(|n| scope.spawn(move || client(n))).collect();
        let values = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        values.collect()
    });
    all.sort();
    let prefix = all[0].trim_end_matches("00001").to_owned();
    let expected: Vec<String> = (1..=10_000).map(|n| format!("{prefix}{n:05}")).collect();
    assert_eq!(all.len(), 10_000);
    assert!(all == expected, "some number is missing or there twice");
}
