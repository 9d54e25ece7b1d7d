//! Random edits of both sides, by our transactions and by other programs, with purges and synchronisations between.

use haversack_model::conformance::documents::NOTES;
use haversack_model::documents::document;
use haversack_model::{GlobalId, Store as _};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::common::Held;
use crate::ground::{NOW, bodies, file, sync};

#[derive(Clone, Debug)]
enum Act {
    Put {
        copy: bool,
        keys: Vec<u8>,
        version: u8,
    },
    Delete {
        copy: bool,
        keys: Vec<u8>,
    },
    Touch {
        copy: bool,
        key: u8,
    },
    Plain {
        copy: bool,
        key: u8,
        version: u8,
        what: u8,
    },
    Undone {
        copy: bool,
        key: u8,
    },
    Prune {
        copy: bool,
    },
    Sync,
}

fn act() -> impl Strategy<Value = Act> {
    let keys = || proptest::collection::vec(0_u8..40, 1..12);
    prop_oneof![
        4 => (any::<bool>(), keys(), any::<u8>())
            .prop_map(|(copy, keys, version)| Act::Put { copy, keys, version }),
        2 => (any::<bool>(), keys()).prop_map(|(copy, keys)| Act::Delete { copy, keys }),
        1 => (any::<bool>(), 0_u8..40).prop_map(|(copy, key)| Act::Touch { copy, key }),
        3 => (any::<bool>(), 0_u8..40, any::<u8>(), 0_u8..4)
            .prop_map(|(copy, key, version, what)| Act::Plain { copy, key, version, what }),
        1 => (any::<bool>(), 0_u8..40).prop_map(|(copy, key)| Act::Undone { copy, key }),
        1 => any::<bool>().prop_map(|copy| Act::Prune { copy }),
        2 => Just(Act::Sync),
    ]
}

fn run(primary: &Held, copy: &Held, act: &Act) {
    let side = |is_copy: bool| if is_copy { copy } else { primary };
    let id = |key: u8| GlobalId::Text(format!("k{key}").into());
    match act {
        Act::Put {
            copy,
            keys,
            version,
        } => {
            let mut tx = side(*copy).store.begin_write(NOW).unwrap();
            for (at, key) in keys.iter().enumerate() {
                let body = format!("{{\"v\":{}}}", usize::from(*version) + at);
                tx.put(NOTES, &document(&format!("k{key}"), body), None)
                    .unwrap();
            }
            tx.commit().unwrap();
        }
        Act::Delete { copy, keys } => {
            let mut tx = side(*copy).store.begin_write(NOW).unwrap();
            for key in keys {
                tx.delete(NOTES, &id(*key), None).unwrap();
            }
            tx.commit().unwrap();
        }
        Act::Touch { copy, key } => {
            let mut tx = side(*copy).store.begin_write(NOW).unwrap();
            // A record that is gone cannot be touched.
            let _refused = tx.touch(NOTES, &id(*key));
            tx.commit().unwrap();
        }
        Act::Undone { copy, key } => {
            let mut tx = side(*copy).store.begin_write(NOW).unwrap();
            tx.put(NOTES, &document("kept", "{}"), None).unwrap();
            tx.savepoint().unwrap();
            tx.put(NOTES, &document(&format!("k{key}"), "{\"undone\":1}"), None)
                .unwrap();
            tx.delete(NOTES, &id(key.wrapping_add(1)), None).unwrap();
            tx.rollback_to_savepoint().unwrap();
            assert!(
                tx.put(NOTES, &document("refused", "no json"), None)
                    .is_err()
            );
            tx.commit().unwrap();
        }
        Act::Plain {
            copy,
            key,
            version,
            what,
        } => {
            let plain = Connection::open(&side(*copy).path).unwrap();
            let sql = match what {
                0 => format!(
                    "UPDATE _notes SET document = '{{\"p\":{version}}}' WHERE _key = 'k{key}'"
                ),
                1 => format!("DELETE FROM _notes WHERE _key = 'k{key}'"),
                2 => format!(
                    "INSERT OR REPLACE INTO _notes (_key, document) VALUES ('k{key}', '{{\"p\":{version}}}')"
                ),
                _ => format!("UPDATE _notes SET OBJECTID = OBJECTID + 1000 WHERE _key = 'k{key}'"),
            };
            plain.execute_batch(&sql).unwrap();
        }
        Act::Prune { copy } => {
            let mut tx = side(*copy).store.begin_write(NOW).unwrap();
            let upto = tx.head().unwrap().generation;
            tx.prune_history(upto).unwrap();
            tx.commit().unwrap();
        }
        Act::Sync => {
            sync(primary, copy);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_done_to_either_side_a_sync_makes_them_equal(
        acts in proptest::collection::vec(act(), 1..25)
    ) {
        let (primary, copy) = (file(), file());
        for act in &acts {
            run(&primary, &copy, act);
        }
        for held in [&primary, &copy] {
            prop_assert!(held.store.check_summaries(NOTES, NOW).unwrap(), "a sum was not kept up");
        }
        sync(&primary, &copy);
        prop_assert_eq!(bodies(&primary), bodies(&copy));
        let again = sync(&primary, &copy);
        prop_assert_eq!(again.rounds, 1);
        prop_assert!(again.was_equal());
    }
}
