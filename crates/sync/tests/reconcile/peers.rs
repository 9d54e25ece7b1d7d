//! The same differences as two other implementations find: the crate `riblt` for sketches, `negentropy` for ranges.

use std::collections::BTreeSet;

use haversack_model::GlobalId;
use haversack_sync::reconcile::{Method, Options};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use riblt::{RatelessIBLT, Symbol, UnmanagedRatelessIBLT};

use crate::memory::scenario::scattered;
use crate::memory::{Collection, sync};

type Items = BTreeSet<(u64, GlobalId, bool)>;

/// What our walk finds: items of the primary that the copy lacks, and ids of those that the primary lacks.
fn found(n: u64, d: u64) -> (Items, Items, Collection, Method) {
    let (primary, mut copy) = scattered(n, d, d + 5);
    let (here, there) = (primary.collection.borrow().items_here(), copy.items_up());
    let options = Options {
        dry_run: true,
        ..Options::default()
    };
    let report = sync(&primary, &mut copy, options).unwrap();
    // A weaker finder would be healed by what follows a failed proof, and not be seen.
    assert_eq!(report.failed_proofs, 0);
    (here, there, copy, report.method)
}

/// Eight bytes that stand for an item, as a peer sees it.
fn short((generation, id, deleted): &(u64, GlobalId, bool)) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(&[u8::from(*deleted)]);
    hasher.update(id.as_bytes());
    u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap())
}

/// The primary's items that our walk staged, and the copy's that it replaced or marked.
fn ours(here: &Items, there: &Items, copy: &Collection) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (staged, marked) = copy.staged();
    let named =
        |(generation, id, _): &&(u64, GlobalId, bool)| staged.contains(&(*generation, id.clone()));
    let missing = here.iter().filter(named).map(short).collect();
    let replaced: BTreeSet<_> = staged.iter().map(|(_, id)| id).chain(&marked).collect();
    let gone = |(_, id, _): &&(u64, GlobalId, bool)| replaced.contains(id);
    (missing, there.iter().filter(gone).map(short).collect())
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Short(u64);

impl Symbol for Short {
    const BYTE_ARRAY_LENGTH: usize = 8;
    fn encode_to_bytes(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }
    fn decode_from_bytes(buffer: &Vec<u8>) -> Self {
        Self(u64::from_le_bytes(buffer[..8].try_into().unwrap()))
    }
}

#[test]
fn a_sketch_finds_what_the_crate_riblt_finds() {
    let (here, there, copy, method) = found(6000, 400);
    assert_eq!(method, Method::Sketch);
    let set = |items: &Items| {
        items
            .iter()
            .map(|item| Short(short(item)))
            .collect::<Vec<_>>()
    };
    let (mut a, mut b) = (
        RatelessIBLT::new(set(&here)),
        RatelessIBLT::new(set(&there)),
    );
    let mut apart = UnmanagedRatelessIBLT::new();
    for at in 0..4000 {
        apart.add_coded_symbol(&a.get_coded_symbol(at).collapse(&b.get_coded_symbol(at)));
    }
    let mut found = (BTreeSet::new(), BTreeSet::new());
    for peeled in apart.peel_all_symbols() {
        // The crate does not export the type, but its text says what it is.
        let text = format!("{peeled:?}");
        let id = text
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap();
        if text.starts_with("Local") {
            found.0.insert(id);
        } else {
            found.1.insert(id);
        }
    }
    assert!(apart.is_empty());
    assert_eq!(ours(&here, &there, &copy), found);
}

#[test]
fn a_walk_finds_what_ranges_of_negentropy_find() {
    for d in [1, 10, 300] {
        let (here, there, copy, _) = found(4000, d);
        let storage = |items: &Items| {
            let mut storage = NegentropyStorageVector::new();
            for item in items {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&short(item).to_le_bytes());
                storage.insert(item.0, Id::from_byte_array(id)).unwrap();
            }
            storage.seal().unwrap();
            storage
        };
        let (primary, secondary) = (storage(&here), storage(&there));
        let mut answering = Negentropy::borrowed(&primary, 0).unwrap();
        let mut asking = Negentropy::borrowed(&secondary, 0).unwrap();
        let mut question = asking.initiate().unwrap();
        let (mut have, mut need) = (Vec::new(), Vec::new());
        loop {
            let answer = answering.reconcile(&question).unwrap();
            match asking
                .reconcile_with_ids(&answer, &mut have, &mut need)
                .unwrap()
            {
                Some(next) => question = next,
                None => break,
            }
        }
        let set = |ids: Vec<Id>| -> BTreeSet<u64> {
            let short = |id: Id| u64::from_le_bytes(id.to_bytes()[..8].try_into().unwrap());
            ids.into_iter().map(short).collect()
        };
        assert_eq!(ours(&here, &there, &copy), (set(need), set(have)));
    }
}
