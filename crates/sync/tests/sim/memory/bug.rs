//! Deliberate bugs: the test of the test. Each is built into the simulated store, file or server, never into the core.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    // The server's store.
    /// Generations come from a sequence when a record is written, not when the transaction commits.
    GenerationAtStart,
    /// Deletions leave no tombstone.
    NoTombstones,
    /// History is pruned past the cursors of replicas and the floor stays where it was.
    PruneWithoutFloor,
    /// The losing version of a conflict is not stored.
    LosingEditNotStored,
    /// A record is not touched when its membership changes because its parent did.
    NoTouch,
    /// The last edits of foreign clients are not kept.
    LastEditForgotten,
    /// A new history counts on from where the old one stood.
    NoJump,
    // The server.
    /// Numbers of batches are not looked at.
    NoIdempotency,
    /// A restored server goes on with its old history.
    SameHistory,
    /// A number that was used twice gets the first answer, whatever was sent.
    CloneUnnoticed,
    /// A download leaves out what the replica holds ahead of its cursor by generation, whatever stands there now.
    HeldByGeneration,
    /// A download takes what the replica holds ahead of its cursor for held even if it lies outside of the part.
    HeldOutside,
    /// A download leaves out what this replica itself changed last.
    EchoByOrigin,
    /// A download looks at the present filter alone.
    FilterByPresentAlone,
    /// A page is judged by the cursor of the page before it, not by where the download began.
    PageForgetsStart,
    /// A changed generation counts as a changed record.
    TouchIsAChange,
    /// A download holds what was changed since the time of the last sync.
    ClockCursor,
    /// An update of a deleted record brings it back.
    SilentUndelete,
    /// A later decision of a conflict takes the place of the one that closed it.
    LastDecisionWins,
    /// Replicas are not told what was decided elsewhere.
    DecisionNotTold,
    /// A batch is stored in two transactions.
    HalfBatch,
    // The replica.
    /// An answer clears everything that is unsent.
    ClearAllOnReply,
    /// An answer settles whatever batch is under way.
    ReceiptWithoutBatchCheck,
    /// An edit made since the upload keeps its old base.
    OldBaseAfterReceipt,
    /// A refused edit leaves the outbox.
    RejectedForgotten,
    /// What was stored with a warning leaves the outbox.
    WarningForgotten,
    /// Conflicts in an answer are not kept.
    ConflictForgotten,
    /// The cursor is stored before the rows.
    CursorBeforeRows,
    /// A download overwrites unsent rows.
    DownloadOverwritesDirty,
    /// The server's version of an unsent record is not kept.
    TheirsNotKept,
    /// A full resync leaves rows that the server no longer has.
    ResyncKeepsRows,
    /// A full resync empties the outbox.
    ResyncDropsEdits,
    /// Nothing is kept of what was sent.
    ReceiptsForgotten,
}

/// Every bug with the number of seeds within which it must be found: at least five times the first failing one.
pub const ALL: &[(Bug, u64)] = &[
    (Bug::GenerationAtStart, 50),
    (Bug::NoTombstones, 25),
    (Bug::PruneWithoutFloor, 25),
    (Bug::LosingEditNotStored, 25),
    (Bug::NoTouch, 150),
    (Bug::LastEditForgotten, 600),
    (Bug::NoJump, 400),
    (Bug::SameHistory, 200),
    (Bug::CloneUnnoticed, 50),
    (Bug::HeldByGeneration, 100),
    (Bug::HeldOutside, 400),
    (Bug::NoIdempotency, 30),
    (Bug::EchoByOrigin, 25),
    (Bug::FilterByPresentAlone, 30),
    (Bug::PageForgetsStart, 30),
    (Bug::TouchIsAChange, 30),
    (Bug::ClockCursor, 100),
    (Bug::SilentUndelete, 25),
    (Bug::LastDecisionWins, 50),
    (Bug::DecisionNotTold, 50),
    (Bug::HalfBatch, 25),
    (Bug::ClearAllOnReply, 25),
    (Bug::ReceiptWithoutBatchCheck, 400),
    (Bug::OldBaseAfterReceipt, 100),
    (Bug::RejectedForgotten, 25),
    (Bug::WarningForgotten, 100),
    (Bug::ConflictForgotten, 25),
    (Bug::CursorBeforeRows, 100),
    (Bug::DownloadOverwritesDirty, 25),
    (Bug::TheirsNotKept, 25),
    (Bug::ResyncKeepsRows, 100),
    (Bug::ResyncDropsEdits, 25),
    (Bug::ReceiptsForgotten, 100),
];
