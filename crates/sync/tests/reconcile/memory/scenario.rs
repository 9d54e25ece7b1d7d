//! Ways in which a copy comes to differ from its primary. The example shares them.

use haversack_model::GlobalId;
use haversack_sync::reconcile::Options;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{Collection, Shared, id, sync};

/// A body as long as those of the measured tables, so that a record takes 150 bytes with its id and revision.
pub(crate) fn body(n: u64, version: u64) -> Vec<u8> {
    let mut text = format!("{{\"n\":{n},\"version\":{version},\"name\":\"").into_bytes();
    text.resize(124, b'x');
    text.extend_from_slice(b"\"}");
    text
}

pub(crate) struct Chance(ChaCha8Rng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n.max(1)
    }
}

/// A primary of `n` records and an equal copy.
pub(crate) fn equal(n: u64) -> (Shared, Collection) {
    let mut primary = Collection::new(1);
    for start in (0..n).step_by(1000) {
        primary.put((start..n.min(start + 1000)).map(|at| (id(at), body(at, 0))));
    }
    copied(primary)
}

fn copied(primary: Collection) -> (Shared, Collection) {
    let primary = Shared::new(primary);
    let mut copy = Collection::new(2);
    sync(&primary, &mut copy, Options::default()).expect("an empty copy is filled");
    (primary, copy)
}

/// Edits of the primary: 80 % updates, 10 % deletes, 10 % inserts, scattered over its records.
pub(crate) fn edit(primary: &mut Collection, n: u64, d: u64, chance: &mut Chance) {
    let edits: Vec<(GlobalId, Option<Vec<u8>>)> = (0..d)
        .map(|at| match at % 10 {
            0 => (id(n + at), Some(body(n + at, 1))),
            1 => (id(chance.below(n)), None),
            _ => {
                let of = chance.below(n);
                (id(of), Some(body(of, 1 + at)))
            }
        })
        .collect();
    primary.write(edits);
}

/// A record that a copy missed a change of, and what it had before.
type Missed = (GlobalId, Option<(u64, Vec<u8>)>);

/// A primary that grew with `d` such edits scattered over its whole history, and a copy that missed just these: the
/// differences are anywhere on both sides. Nothing else is as hard.
pub(crate) fn scattered(n: u64, d: u64, seed: u64) -> (Shared, Collection) {
    let mut chance = Chance::new(seed);
    let mut primary = Collection::new(1);
    let mut missed: Vec<Missed> = Vec::new();
    let mut edited = std::collections::HashSet::new();
    let mut edits = 0;
    for at in 0..n {
        primary.put([(id(at), body(at, 0))]);
        // As many edits as are due by now; the first records are not edited before there are some.
        while at > 10 && edits * (n - 10) < (at - 10) * d {
            edits += 1;
            let of = chance.below(at);
            if edits % 10 == 0 {
                primary.put([(id(n + edits), body(edits, 1))]);
                missed.push((id(n + edits), None));
            } else if edited.insert(of) {
                let before = (primary.rows[&id(of)].generation, body(of, 0));
                let after = (edits % 10 != 1).then(|| body(of, edits));
                primary.write([(id(of), after)]);
                missed.push((id(of), Some(before)));
            }
        }
    }
    let (primary, mut copy) = copied(primary);
    for (id, older) in missed {
        copy.lose(&id, older);
    }
    copy.lose_cursor();
    (primary, copy)
}
