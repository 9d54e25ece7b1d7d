//! The states of a record in a replica: one table of transitions, and the state of a whole family.
//!
//! Owns: what each event does to a record's state, and where events may lead. Does not own: versions and content (`client`), capture (the
//! triggers of the replica file follow the rows `Create`, `Edit` and `Delete`).
//!
//! Rule source: the state tables of the DHIS2 Android SDK, with these corrections of ours: whether a pending record
//! is an add or an update is read from its base and never lost on the way; a batch whose answer is missing stays
//! frozen instead of falling back; a removal by the server never takes local work along.

use std::collections::BTreeSet;

use haversack_model::{OutboxEntry, SyncState};

use SyncState::{Error, Relationship, Synced, ToPost, ToUpdate, Uploading, Warning};

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Made here.
    Create,
    /// A field was set here.
    Edit,
    /// Deleted here.
    Delete,
    /// Put in a numbered batch.
    Freeze,
    /// The receipt of the batch that it carries: applied, merged, or a conflict.
    Accepted,
    /// The receipt of the batch that it carries: stored, with reservations.
    Warned,
    /// The receipt of the batch that it carries: refused.
    Rejected,
    /// The batch is given up: the file was cloned, or the server began a new history.
    Thaw,
    /// The answer to the batch that it carries does not name it.
    Untold,
    /// Its parent was refused, so it cannot be sent.
    ParentRejected,
    /// Its parent was accepted after all, or someone asked to try again.
    Retry,
    /// A newer version came with a download.
    Downloaded,
    /// A download said that it is gone.
    Removed,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is in this state.
    To(SyncState),
    /// It waits to be sent: as an add without a base, as an update with one.
    Pending,
    /// It leaves the outbox and equals the server's version.
    Settled,
    /// The row goes, and nothing is to be told.
    Vanish,
    /// Its state stays; the server's version is kept beside it as *theirs*.
    Beside,
    /// It may not happen.
    Refused,
}

/// All transitions: an event, the states from which it leads, and where.
pub const TABLE: &[(Event, &[SyncState], Step)] = &[
    (Event::Create, &[], Step::Pending),
    // An edit of a record in flight leaves its batch number: the receipt finds it edited again.
    (
        Event::Edit,
        &[Synced, ToPost, ToUpdate, Uploading, Warning, Error],
        Step::Pending,
    ),
    (Event::Edit, &[Relationship], Step::Refused),
    // Only an add that was never frozen vanishes: a frozen one may be on the server.
    (Event::Delete, &[ToPost], Step::Vanish),
    (
        Event::Delete,
        &[Synced, ToUpdate, Uploading, Warning, Error],
        Step::Pending,
    ),
    (Event::Delete, &[Relationship], Step::Refused),
    (Event::Freeze, &[ToPost, ToUpdate], Step::To(Uploading)),
    (Event::Accepted, &[Uploading], Step::Settled),
    // Edited while the answer was under way: rebased, and sent again.
    (Event::Accepted, &[ToPost, ToUpdate], Step::Pending),
    (Event::Warned, &[Uploading], Step::To(Warning)),
    (Event::Warned, &[ToPost, ToUpdate], Step::Pending),
    (Event::Rejected, &[Uploading], Step::To(Error)),
    (Event::Rejected, &[ToPost, ToUpdate], Step::Pending),
    (Event::Thaw, &[Uploading, ToPost, ToUpdate], Step::Pending),
    (Event::Untold, &[Uploading, ToPost, ToUpdate], Step::Pending),
    (Event::ParentRejected, &[ToPost, ToUpdate], Step::To(Error)),
    (Event::Retry, &[Warning, Error], Step::Pending),
    // What was warned of stays, too: the server may have stored it without the value that it warned of.
    (Event::Downloaded, &[Synced, Relationship], Step::To(Synced)),
    (
        Event::Downloaded,
        &[ToPost, ToUpdate, Uploading, Warning, Error],
        Step::Beside,
    ),
    (Event::Removed, &[Synced, Relationship], Step::Vanish),
    (
        Event::Removed,
        &[ToPost, ToUpdate, Uploading, Warning, Error],
        Step::Beside,
    ),
];

/// What an event does to a record in a state; `None`: to one that does not exist. Events that the table does not
/// name are refused.
pub fn step(event: Event, from: Option<SyncState>) -> Step {
    let row = TABLE.iter().find(|(of, states, _)| {
        *of == event && from.map_or(states.is_empty(), |state| states.contains(&state))
    });
    row.map_or(Step::Refused, |(_, _, step)| *step)
}

/// Where events of the table may lead from a state, in any order and as often as one likes; the state itself is one of these.
/// `None`: the record has no entry in the outbox.
pub fn reachable(from: Option<SyncState>, events: &[Event]) -> BTreeSet<Option<SyncState>> {
    let mut found = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(state) = open.pop() {
        for event in events {
            let next = match step(*event, state) {
                Step::To(Synced) | Step::Settled | Step::Vanish => vec![None],
                Step::To(state) => vec![Some(state)],
                Step::Pending => vec![Some(ToPost), Some(ToUpdate)],
                Step::Beside | Step::Refused => Vec::new(),
            };
            open.extend(next.into_iter().filter(|state| found.insert(*state)));
        }
    }
    found
}

/// Whether an entry's state fits what else it holds: a batch that it is in says that it is under way, and its base says whether what
/// waits is an add or an update. One that was edited under way is told apart when its answer is here.
pub fn is_coherent(entry: &OutboxEntry) -> bool {
    match entry.state {
        ToPost | ToUpdate => entry.batch.is_some() || entry.state == pending(entry.base.is_some()),
        state => (state == Uploading) == entry.batch.is_some(),
    }
}

/// The state of a record that waits to be sent. Whether it is an add is told by its base alone.
pub fn pending(has_base: bool) -> SyncState {
    if has_base { ToUpdate } else { ToPost }
}

/// A record's own state: that of its outbox entry, else a warning if a conflict about it is open; such a record is the server's as
/// one that is synced, since the conflict holds what was here.
pub fn own(entry: Option<&OutboxEntry>, has_open_conflict: bool) -> SyncState {
    match entry {
        Some(entry) => entry.state,
        None if has_open_conflict => Warning,
        None => Synced,
    }
}

/// The name to show for an outbox entry: its state, or `TO_DELETE` for a deletion that was not sent.
pub fn shown(entry: &OutboxEntry) -> &'static str {
    match entry.state {
        ToPost | ToUpdate if entry.deleted => "TO_DELETE",
        state => name(state),
    }
}

/// The name of a state.
pub fn name(state: SyncState) -> &'static str {
    match state {
        Synced => "SYNCED",
        ToPost => "TO_POST",
        ToUpdate => "TO_UPDATE",
        Uploading => "UPLOADING",
        Warning => "WARNING",
        Error => "ERROR",
        Relationship => "RELATIONSHIP",
    }
}

/// The state of a family: the worst of a record's own and its children's aggregated states. Everything that has
/// something to send counts as `ToUpdate`.
pub fn aggregated(own: SyncState, children: impl IntoIterator<Item = SyncState>) -> SyncState {
    let severity = |state| match state {
        Synced => 0,
        ToPost | ToUpdate | Uploading => 1,
        Warning => 2,
        Error => 3,
        Relationship => 4,
    };
    let all = std::iter::once(own).chain(children);
    let worst = all.max_by_key(|state| severity(*state)).unwrap_or(own);
    if severity(worst) == 1 {
        ToUpdate
    } else {
        worst
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [SyncState; 7] = [
        Synced,
        ToPost,
        ToUpdate,
        Uploading,
        Warning,
        Error,
        Relationship,
    ];

    #[test]
    fn no_event_has_two_answers_for_one_state() {
        for (at, (event, states, _)) in TABLE.iter().enumerate() {
            for (other, others, _) in &TABLE[..at] {
                let both = states.iter().any(|state| others.contains(state));
                assert!(event != other || !both, "{event:?} from {states:?}");
            }
        }
    }

    #[test]
    fn events_lead_only_where_the_table_says() {
        let own = |state| BTreeSet::from([state]);
        assert_eq!(reachable(Some(ToPost), &[]), own(Some(ToPost)));
        assert_eq!(
            reachable(None, &[Event::Freeze, Event::Accepted]),
            own(None),
            "what has no entry is in no batch"
        );
        let expected = [
            None,
            Some(ToPost),
            Some(ToUpdate),
            Some(Uploading),
            Some(Error),
        ];
        let upload = [Event::Freeze, Event::Accepted, Event::Rejected];
        let from_add = reachable(Some(ToPost), &upload);
        assert_eq!(from_add, expected.into_iter().collect::<BTreeSet<_>>());
        assert!(!reachable(Some(Error), &upload).contains(&Some(Uploading)));
        for state in STATES {
            let all = reachable(Some(state), &[Event::Downloaded, Event::Removed]);
            let may_go = [Synced, Relationship].contains(&state);
            assert_eq!(all.contains(&None), may_go, "{state:?}");
        }
    }

    #[test]
    fn a_download_never_replaces_work_that_was_not_sent() {
        for state in [ToPost, ToUpdate, Uploading, Warning, Error] {
            assert_eq!(step(Event::Downloaded, Some(state)), Step::Beside);
            assert_eq!(step(Event::Removed, Some(state)), Step::Beside);
        }
    }

    #[test]
    fn every_state_has_an_answer_to_edits_deletions_and_downloads() {
        for event in [
            Event::Edit,
            Event::Delete,
            Event::Downloaded,
            Event::Removed,
        ] {
            for state in STATES {
                let named = TABLE
                    .iter()
                    .any(|(of, from, _)| *of == event && from.contains(&state));
                assert!(named, "{event:?} from {state:?}");
            }
        }
    }

    #[test]
    fn a_record_fetched_for_a_relationship_is_read_only() {
        assert_eq!(step(Event::Edit, Some(Relationship)), Step::Refused);
        assert_eq!(step(Event::Delete, Some(Relationship)), Step::Refused);
    }

    fn states() -> impl Strategy<Value = SyncState> {
        prop::sample::select(STATES.to_vec())
    }

    proptest! {
        #[test]
        fn a_family_is_synced_only_if_all_its_members_are(
            own in states(),
            children in prop::collection::vec(states(), 0..5),
        ) {
            let all_synced = own == Synced && children.iter().all(|state| *state == Synced);
            prop_assert_eq!(aggregated(own, children) == Synced, all_synced);
        }

        #[test]
        fn aggregation_does_not_depend_on_the_shape_of_the_family(
            own in states(),
            children in prop::collection::vec(states(), 0..6),
            split in 0..6_usize,
        ) {
            let split = split.min(children.len());
            let (near, far) = children.split_at(split);
            let nested = aggregated(Synced, far.iter().copied());
            let deep = aggregated(own, near.iter().copied().chain([nested]));
            prop_assert_eq!(deep, aggregated(own, children.iter().copied()));
        }
    }
}
