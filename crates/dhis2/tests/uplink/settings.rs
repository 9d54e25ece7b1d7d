//! What the country's administrators chose for apps holds for a clinic, too.

use haversack_dhis2::remote::files::MAX_BYTES;
use serde_json::{Value, json};

use crate::world::{World, named, person};

impl World {
    /// What the settings app of the country says from now on.
    fn choose(&self, settings: &Value) {
        let documents = [
            ("info", &json!({"androidSettingsVersion": "2.0"})),
            ("synchronization", settings),
        ];
        for (name, document) in documents {
            let path = format!("dataStore/ANDROID_SETTINGS_APP/{name}");
            let told = self.country.http.put(&path, &[], Some(document)).unwrap();
            assert!(told.status < 300, "{}", told.body);
        }
    }
    /// How many people the clinic has.
    fn people(&self) -> usize {
        (1..=9)
            .filter(|n| !self.clinic.entity(*n).is_null())
            .count()
    }
}

fn most(people: usize) -> Value {
    json!({"programSettings": {"globalSettings": {"teiDownload": people, "settingDownload": "GLOBAL"}}})
}

#[test]
fn a_clinic_fetches_as_much_as_is_chosen_and_all_where_nothing_is() {
    let world = World::empty();
    world
        .country
        .send(&json!({"trackedEntities": (1..=5).map(person).collect::<Vec<_>>()}));
    world.choose(&most(2));
    world.round_with_metadata(true);
    assert_eq!(world.people(), 2);
    // Devices are not limited, and nothing goes because of it.
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world.round();
    assert_eq!(world.country.name(9), "Name 9");
    assert_eq!(world.people(), 3);
    world.choose(&most(4));
    world.round_with_metadata(true);
    assert_eq!(world.people(), 4);
    world.choose(&json!({}));
    world.round_with_metadata(true);
    assert_eq!(world.people(), 6);
}

#[test]
fn periods_of_data_sets_and_sizes_of_files_are_as_chosen() {
    let world = World::with_files();
    let small = world.country.add_file(b"signed");
    let large = world.country.add_file(&[b'x'; 200]);
    world.country.consents(1, &small);
    world.country.consents(2, &large);
    world
        .country
        .enter(&[("202602", "2"), ("202609", "9"), ("202610", "10")]);
    world.choose(&json!({"fileMaxLengthBytes": 100, "dataSetSettings": {"globalSettings": {"periodDSDownload": 2}}}));
    world.round_with_metadata(true);
    let periods = world.clinic.values();
    let periods: Vec<&str> = periods.iter().map(|(period, _)| period.as_str()).collect();
    assert_eq!(periods, ["202609", "202610"]);
    assert_eq!(world.clinic.consent(1).unwrap(), b"signed");
    assert_eq!(world.clinic.consent(2), None);
    let limit = json!({"fileMaxLengthBytes": MAX_BYTES});
    world.choose(&limit);
    world.round_with_metadata(true);
    assert_eq!(world.clinic.consent(2).unwrap().len(), 200);
    assert_eq!(world.clinic.values().len(), 3);
}

#[test]
fn what_is_chosen_not_to_come_is_not_taken_for_lost_with_a_backup() {
    let world = World::new();
    world.choose(&most(1));
    world.round_with_metadata(true);
    let backup = world.country.host.backup("dhis2");
    world.clinic.send(&json!({"trackedEntities": [person(9)]}));
    world.round();
    world.country.host.put_back("dhis2", &backup);
    world.country.host.forget_jobs();
    for n in 1..=3 {
        world.country.send(&named(n, "country again"));
    }
    let done = world.round();
    assert!(done.was_put_back);
    assert_eq!(world.country.name(9), "Name 9");
    for n in 1..=3 {
        assert_eq!(world.country.name(n), "country again");
        assert_eq!(world.clinic.name(n), "country again");
    }
    world.assert_equal(&[1, 2, 3, 9]);
}
