//! The walls between the crates stand.

use xtask::{metadata, walls};

#[test]
fn the_walls_between_the_crates_stand() {
    let metadata = metadata::load().unwrap();
    let breaches = walls::breaches(&metadata).unwrap();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_pure_crate_links_neither_a_runtime_nor_a_source_of_randomness() {
    let tree = metadata::normal_tree("haversack-sync").unwrap();
    assert!(tree.contains("haversack-model"), "{tree:?}");
    assert!(
        !tree.contains("tokio") && !tree.contains("getrandom"),
        "{tree:?}"
    );
}
