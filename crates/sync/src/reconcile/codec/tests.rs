//! Every frame is read as it was written, in bytes and in JSON; nothing else is read, and nothing panics.

use haversack_model::{Generation, GlobalId, HistoryId, Revision};
use proptest::prelude::*;
use uuid::Uuid;

use crate::reconcile::{
    Cell, Cells, Delivered, Family, Head, LeafBits, LeafNumbers, Open, Order, Part, Refusal,
    Request, Root, Sum,
};

use super::{decode_part, decode_request, encode_part, encode_request};

fn sum() -> impl Strategy<Value = Sum> {
    (1..u64::MAX / 2, any::<u64>(), any::<u64>()).prop_map(|(count, high, low)| Sum {
        count,
        high,
        low,
    })
}

fn root() -> impl Strategy<Value = Root> {
    (0..1u64 << 53, 0..1u64 << 53, sum()).prop_map(|(generation, floor, sum)| Root {
        generation: Generation(generation),
        floor: Generation(floor),
        sum,
    })
}

fn records() -> impl Strategy<Value = Vec<Delivered>> {
    let one = (
        any::<u64>(),
        any::<bool>(),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
    );
    prop::collection::btree_map(1..u64::MAX, one, 1..9).prop_map(|all| {
        let each = all
            .into_iter()
            .map(|(generation, (n, is_text, body))| Delivered {
                global_id: if is_text {
                    GlobalId::Text(format!("key-{n}").into())
                } else {
                    GlobalId::Uuid(Uuid::from_u128(n.into()))
                },
                generation: Generation(generation),
                revision: Revision(n),
                body: body.map(Vec::into_boxed_slice),
            });
        each.collect()
    })
}

fn part() -> impl Strategy<Value = Part> {
    let head = (
        any::<u64>(),
        any::<bool>(),
        6..43u8,
        any::<Option<u32>>(),
        root(),
    );
    let head = head.prop_map(|(n, by_key, bits, fork, root)| {
        Part::Head(Head {
            history: HistoryId(Uuid::from_u128(n.into())),
            order: if by_key {
                Order::Key
            } else {
                Order::Generation
            },
            bits: LeafBits::new(bits).unwrap(),
            fork: fork.map(|fork| Generation(fork.into())),
            key: by_key.then_some([bits; 32]),
            root,
        })
    });
    let families = prop::collection::btree_map(any::<u64>(), any::<u64>(), 1..9);
    let nodes = (any::<u8>(), families).prop_map(|(level, families)| Part::Nodes {
        level,
        families: families
            .into_iter()
            .map(|(parent, present)| Family {
                parent,
                present,
                prints: (0..present.count_ones()).collect(),
            })
            .collect(),
    });
    let cells = prop::collection::vec((any::<u64>(), any::<u64>(), any::<i64>()), 1..9);
    let cells = (0..1u64 << 40, sum(), cells).prop_map(|(from, sum, cells)| {
        let cells = cells
            .into_iter()
            .map(|(id, check, count)| Cell { id, check, count });
        Part::Cells(Cells {
            from,
            sum,
            cells: cells.collect(),
        })
    });
    let numbers = prop::collection::btree_map(
        any::<u64>(),
        (any::<u32>(), prop::collection::vec(any::<u64>(), 0..5)),
        1..9,
    );
    let numbers = numbers.prop_map(|leaves| {
        let leaves = leaves
            .into_iter()
            .map(|(leaf, (print, generations))| LeafNumbers {
                leaf,
                print,
                generations: generations.into_iter().map(Generation).collect(),
            });
        Part::Numbers(leaves.collect())
    });
    let drops = (any::<bool>(), prop::collection::vec(any::<u64>(), 1..9));
    prop_oneof![
        head,
        records().prop_map(Part::Missing),
        records().prop_map(Part::Changed),
        nodes,
        cells,
        numbers,
        root().prop_map(Part::Root),
        drops.prop_map(|(wide, ids)| Part::Drops {
            wide,
            ids: ids.into_iter().map(u128::from).collect()
        }),
        Just(Part::Refused(Refusal::Epoch)),
        Just(Part::Refused(Refusal::Damaged)),
        Just(Part::End),
    ]
}

proptest! {
    #[test]
    fn a_part_is_read_as_it_was_written_in_bytes_and_in_json(part in part()) {
        let bytes = encode_part(&part);
        prop_assert_eq!(&decode_part(&bytes).unwrap(), &part);
        let text = serde_json::to_string(&part).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Part>(&text).unwrap(), &part);
        for cut in 0..bytes.len() {
            prop_assert!(decode_part(&bytes[..cut]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(decode_part(&longer).is_err());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // What can be read has this one form alone.
        if let Ok(part) = decode_part(&bytes) {
            prop_assert_eq!(encode_part(&part), bytes.clone());
        }
        if let Ok(request) = decode_request(&bytes) {
            prop_assert_eq!(encode_request(&request), bytes);
        }
    }
}

#[test]
fn an_opening_question_takes_about_sixty_bytes() {
    let open = Request::Open(Open {
        history: Some(HistoryId(Uuid::from_u128(7))),
        key_name: 9,
        bits: LeafBits::NARROWEST,
        root: Sum {
            count: 1_000_000,
            high: 1,
            low: 2,
        },
        since: Generation(1_200_000),
        complete: true,
        has_records: true,
        deep: false,
        attempt: 0,
    });
    let bytes = encode_request(&open);
    assert_eq!(decode_request(&bytes).unwrap(), open);
    assert!(bytes.len() < 60, "{}", bytes.len());
}
