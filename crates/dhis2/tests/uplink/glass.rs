//! Broken glass and entities that are handed over.

use haversack_dhis2::remote::http::{Credentials, Http, Options};
use haversack_model::documents::body_of;
use haversack_model::store::Flow;
use haversack_model::{Collection, CollectionId, Host as _};
use serde_json::{Value, json};
use std::ops::ControlFlow;

use crate::world::{Place, World, login};

impl Place {
    /// What is kept of broken glass.
    fn broken(&self) -> Vec<Value> {
        let store = self.host.documents("dhis2").unwrap();
        let read = store.read_documents().unwrap();
        let service = read.service().unwrap();
        let of = service.collection_named("temporaryOwners").unwrap().id;
        let shape = Collection::documents(CollectionId(0), "", "", false);
        let mut found = Vec::new();
        read.by_key(of, None, &mut |one| -> haversack_model::Result<Flow> {
            let body = body_of(&shape, &one.record);
            found.push(serde_json::from_str(&body).unwrap());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        found
    }
    fn as_user(&self, name: &str) -> Http {
        let credentials: Credentials = login(name);
        Http::new(&self.url, credentials, &Options::default()).unwrap()
    }
    fn break_glass(&self, user: &str, n: u32) -> u16 {
        let entity = format!("hvTe{n:07}");
        let params = [
            ("trackedEntity", entity.as_str()),
            ("program", "hvProgram01"),
            ("reason", "emergency"),
        ];
        let told = self
            .as_user(user)
            .post("tracker/ownership/override", &params, None);
        told.unwrap().status
    }
    fn owner(&self, n: u32) -> String {
        let owners = self.entity(n)["programOwners"].clone();
        owners[0]["orgUnit"].as_str().unwrap_or_default().to_owned()
    }
}

/// The program is protected, and ada enters data elsewhere.
fn protected() -> World {
    let world = World::new();
    let mut program = world
        .country
        .http
        .get("programs/hvProgram01", &[("fields", "*")])
        .unwrap();
    program["accessLevel"] = "PROTECTED".into();
    let told = world
        .country
        .http
        .post("metadata", &[], Some(&json!({"programs": [program]})));
    assert_eq!(told.unwrap().status, 200);
    let ada = json!({"users": [{"id": "clinicUser1", "username": "ada", "organisationUnits": [{"id": "hvOuFacil02"}],
        "teiSearchOrganisationUnits": [{"id": "hvOuRoot001"}]}]});
    let told = world.clinic.http.post("metadata", &[], Some(&ada)).unwrap();
    assert_eq!(told.status, 200);
    world.round_with_metadata(true);
    world
}

#[test]
fn the_country_learns_that_the_glass_was_broken_and_by_whom() {
    let world = protected();
    assert_eq!(world.clinic.break_glass("ada", 1), 200);
    world.alone();
    assert_eq!(world.state().waiting, 1);
    world.round();
    let kept = world.country.broken();
    let [broken] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    assert_eq!(broken["trackedEntity"], "hvTe0000001");
    let reason = broken["reason"].as_str().unwrap();
    assert!(reason.starts_with("emergency (ada, 20"), "{reason}");
    assert_eq!((world.state().waiting, world.state().said.len()), (0, 0));
    // It is told once.
    world.round();
    assert_eq!(world.country.broken(), kept);
}

#[test]
fn glass_that_the_country_does_not_let_break_is_told_and_a_country_that_is_away_hears_later() {
    let world = protected();
    assert_eq!(world.clinic.break_glass("ada", 1), 200);
    assert_eq!(world.clinic.break_glass("ada", 2), 200);
    let gone = json!({"trackedEntities": [{"trackedEntity": "hvTe0000002"}]});
    world.country.delete(&gone);
    world.country.gate.break_after(3);
    let _away = world.try_round(|| ());
    assert!(world.country.gate.mend());
    assert_eq!(world.country.broken(), [Value::Null; 0]);
    world.round();
    assert_eq!(world.country.broken().len(), 1);
    let state = world.state();
    let [said] = state.said.as_slice() else {
        panic!("{state:?}");
    };
    assert_eq!(
        (said.conflict.kind.as_str(), said.conflict.object.as_str()),
        ("brokenGlass", "hvTe0000002")
    );
    assert_eq!((said.user.as_str(), state.waiting), ("ada", 0));
    assert!(said.conflict.message.contains("hvTe0000002"), "{said:?}");
}

#[test]
fn an_entity_that_is_handed_over_on_either_side_is_so_on_the_other() {
    let world = World::new();
    let hand_over = |place: &Place, n: u32| {
        let entity = format!("hvTe{n:07}");
        let params = [
            ("trackedEntity", entity.as_str()),
            ("program", "hvProgram01"),
            ("orgUnit", "hvOuFacil02"),
        ];
        let told = place.http.put("tracker/ownership/transfer", &params, None);
        assert_eq!(told.unwrap().status, 200);
    };
    hand_over(&world.clinic, 1);
    hand_over(&world.country, 2);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (1, 0), "{:?}", world.state());
    for n in [1, 2] {
        assert_eq!(world.country.owner(n), "hvOuFacil02", "{n}");
        assert_eq!(world.clinic.owner(n), "hvOuFacil02", "{n}");
    }
    let again = world.round();
    assert_eq!((again.collected, again.sent, again.installed), (0, 0, 0));
}
