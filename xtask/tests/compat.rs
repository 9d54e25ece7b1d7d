//! `COMPAT.md` tells the truth about its tests.

use xtask::compat;

#[test]
fn every_test_that_compat_names_exists_and_every_claim_names_one() {
    let breaches = compat::breaches().unwrap();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
