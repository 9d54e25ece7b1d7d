//! What people do to records: the same for native and foreign clients and online editors.

use std::collections::BTreeMap;

use haversack_model::schema::attachment_field;
use haversack_model::{BlobHash, Changes, Collection, GlobalId, Record, Value};

use crate::chance::Chance;
use crate::ground::{Key, PLOTS, SIZE, SIZES, TOKENS, TREE, TREES, VISITS, pictures, point, token};
use crate::message::Party;
use crate::oracle::Oracle;

/// One thing that a person does.
#[derive(Clone, Debug)]
pub enum Deed {
    Add {
        key: Key,
        record: Record,
        marks: Vec<(usize, u64)>,
        /// The content of a picture, if it is to be there.
        blob: Option<BlobHash>,
    },
    Update {
        key: Key,
        changes: Changes,
        marks: Vec<(usize, u64)>,
    },
    Delete {
        key: Key,
    },
}

/// How people are inclined in a case.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Of a hundred updates so many set something that the server refuses.
    pub wrong: usize,
    pub adds: u32,
    pub updates: u32,
    pub deletes: u32,
    pub undeletes: u32,
    pub pictures: bool,
}

fn token_fields(key: &Key) -> [usize; 2] {
    if key.0.attachments_of().is_some() {
        [attachment_field::NAME, attachment_field::KEYWORDS]
    } else {
        TOKENS
    }
}

/// Something to do, given the rows that are seen and records that were deleted.
pub fn deed(
    chance: &mut Chance,
    oracle: &mut Oracle,
    party: Party,
    habits: Habits,
    shapes: &[Collection],
    rows: &BTreeMap<Key, Record>,
    graves: &[Key],
) -> Option<Deed> {
    let weights = [
        habits.adds,
        habits.updates,
        habits.deletes,
        if graves.is_empty() {
            0
        } else {
            habits.undeletes
        },
    ];
    let keys: Vec<&Key> = rows.keys().collect();
    match chance.weighted(&weights)? {
        0 => add(chance, oracle, party, habits, shapes, rows, None),
        1 => {
            let key = (*chance.pick(&keys)?).clone();
            Some(update(chance, oracle, party, habits, rows, key))
        }
        2 => Some(Deed::Delete {
            key: (*chance.pick(&keys)?).clone(),
        }),
        _ => {
            let grave = chance.pick(graves)?.clone();
            if rows.contains_key(&grave) {
                return None;
            }
            add(chance, oracle, party, habits, shapes, rows, Some(grave))
        }
    }
}

fn some_tree(chance: &mut Chance, rows: &BTreeMap<Key, Record>) -> Option<GlobalId> {
    let trees: Vec<_> = rows.keys().filter(|key| key.0 == TREES).collect();
    chance.pick(&trees).map(|key| key.1.clone())
}

fn add(
    chance: &mut Chance,
    oracle: &mut Oracle,
    party: Party,
    habits: Habits,
    shapes: &[Collection],
    rows: &BTreeMap<Key, Record>,
    grave: Option<Key>,
) -> Option<Deed> {
    let kinds = [3, 3, 2, if habits.pictures { 2 } else { 0 }];
    let kind = chance.weighted(&kinds)?;
    let (collection, id) = match grave {
        Some(key) => key,
        None => (
            [TREES, PLOTS, VISITS, pictures()][kind],
            GlobalId::Uuid(chance.uuid()),
        ),
    };
    let shape = shapes.iter().find(|shape| shape.id == collection)?;
    let tree = some_tree(chance, rows);
    if collection == pictures() && tree.is_none() {
        return None;
    }
    let key = (collection, id.clone());
    let mut values = vec![Value::Null; shape.fields.len()];
    let mut marks = Vec::new();
    for at in token_fields(&key) {
        let number = oracle.mark(party, &key, at);
        values[at] = token(number);
        marks.push((at, number));
    }
    let mut blob = None;
    if collection == pictures() {
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(chance.uuid().as_bytes());
        values[attachment_field::PARENT] = tree.map_or(Value::Null, |id| id.braced().into());
        values[attachment_field::SHA256] = Value::from(BlobHash(hash).to_string());
        blob = (!chance.percent(habits.wrong)).then_some(BlobHash(hash));
    } else {
        values[SIZE] = Value::Integer(chance.below(SIZES) as i64);
        if collection == VISITS {
            values[TREE] = tree.map_or(Value::Null, |id| id.braced().into());
        }
    }
    let geometry = shape.geometry.as_ref().map(|_| point(chance.below(8)));
    let record = Record {
        global_id: id,
        object_id: None,
        values,
        geometry,
    };
    Some(Deed::Add {
        key,
        record,
        marks,
        blob,
    })
}

fn update(
    chance: &mut Chance,
    oracle: &mut Oracle,
    party: Party,
    habits: Habits,
    rows: &BTreeMap<Key, Record>,
    key: Key,
) -> Deed {
    let mut changes = Changes::default();
    let mut marks = Vec::new();
    let fields = token_fields(&key);
    let first = chance.below(2);
    let both = chance.percent(25);
    for (index, at) in fields.into_iter().enumerate() {
        if both || index == first {
            let number = oracle.mark(party, &key, at);
            changes.values.insert(at, token(number));
            marks.push((at, number));
        }
    }
    if key.0.attachments_of().is_none() {
        if chance.percent(habits.wrong) {
            changes.values.insert(SIZE, Value::Integer(99));
        } else if chance.percent(35) {
            let size = Value::Integer(chance.below(SIZES) as i64);
            changes.values.insert(SIZE, size);
        }
        let has_geometry = rows.get(&key).is_some_and(|row| row.geometry.is_some());
        if has_geometry && chance.percent(20) {
            changes.geometry = Some(Some(point(chance.below(8))));
        }
        if key.0 == VISITS
            && chance.percent(20)
            && let Some(tree) = some_tree(chance, rows)
        {
            changes.values.insert(TREE, Value::from(tree.braced()));
        }
        let extra = rows.get(&key).map_or(0, |row| row.values.len());
        let own = if key.0 == VISITS { TREE + 1 } else { SIZE + 1 };
        if extra > own && chance.percent(50) {
            // The column that was added while the service was in use.
            let number = oracle.mark(party, &key, own);
            changes.values.insert(own, token(number));
            marks.push((own, number));
        }
    }
    Deed::Update {
        key,
        changes,
        marks,
    }
}
