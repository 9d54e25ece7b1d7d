//! A file that the country does not take is not sent in each round.

use serde_json::json;

use crate::world::{World, named};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_refused_file_is_offered_again_after_longer_and_longer_or_when_what_names_it_changes() {
    let world = World::with_files();
    world.country.gate.refuse("fileResources");
    let file = world.clinic.add_file(b"signed");
    world.clinic.consents(1, &file);
    let rounds_after = |ms: i64| {
        world.clinic.host.wait(ms);
        world.round();
        world.round();
        world.country.gate.refused()
    };
    assert_eq!(rounds_after(0), 1);
    let state = world.state();
    let [said] = state.said.as_slice() else {
        panic!("{state:?}");
    };
    assert!(said.conflict.message.contains("no room"), "{said:?}");
    assert!(said.conflict.hint.contains("offered again"), "{said:?}");
    assert_eq!((state.refused, state.waiting), (1, 1), "{state:?}");
    assert_eq!(rounds_after(HOUR_MS), 2);
    assert_eq!(rounds_after(HOUR_MS), 2, "it waits for twice as long");
    assert_eq!(rounds_after(HOUR_MS), 3);
    for _ in 0..5 {
        rounds_after(24 * HOUR_MS);
    }
    assert_eq!(world.country.gate.refused(), 8, "once a day at least");
    // A clock that jumps back by ten years does not make it wait for them.
    assert_eq!(rounds_after(-10 * 366 * 24 * HOUR_MS), 9);
    assert_eq!(rounds_after(10 * 366 * 24 * HOUR_MS), 10);

    world.clinic.send(&named(1, "device"));
    assert_eq!(rounds_after(0), 11, "what names it was edited");
    assert_eq!(rounds_after(0), 11);
    world.country.gate.accept();
    world.round();
    assert_ne!(world.country.name(1), "device");
    world.clinic.host.wait(24 * HOUR_MS);
    world.round();
    assert_eq!(world.country.consent(1).unwrap(), b"signed");
    assert_eq!(world.country.name(1), "device");
    let state = world.state();
    assert_eq!((state.waiting, state.refused, state.said.len()), (0, 0, 0));
    world.assert_quiet();
}

#[test]
fn a_file_that_nothing_names_any_more_is_offered_to_nobody() {
    let world = World::with_files();
    world.country.gate.refuse("fileResources");
    let file = world.clinic.add_file(b"signed");
    world.clinic.consents(1, &file);
    world.round();
    world.clinic.send(&json!({"trackedEntities": [{"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrFile1", "value": null}]}]}));
    world.round();
    let refused = world.country.gate.refused();
    world.clinic.host.wait(48 * HOUR_MS);
    world.round();
    assert_eq!(world.country.gate.refused(), refused);
    let state = world.state();
    assert_eq!((state.waiting, state.refused, state.said.len()), (0, 0, 0));
}
