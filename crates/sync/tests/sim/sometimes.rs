//! Rare states: each must occur at least once in a run, or the generator has become too weak to prove anything.

use std::collections::BTreeMap;

/// A state that must occur sometimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rare {
    Conflict,
    DeletionConflict,
    Merged,
    Rejected,
    RolledBack,
    StoredReplyReplayed,
    ForeignRepeat,
    RequestLost,
    ReplyLost,
    ServerCrash,
    ClientCrash,
    FullResync,
    ResyncWithUnsent,
    NewHistory,
    SentAgainAfterRestore,
    RewindNoticed,
    FileRenewed,
    ConcurrentCommits,
    RetriedWhole,
    PulledBetweenCommits,
    Undelete,
    EchoSuppressed,
    RowLeft,
    RowEntered,
    SchemaChange,
    TheirsBesideMine,
    EditedInFlight,
    SeveralPages,
    StalePage,
    LateReply,
    Pruned,
    GrantChanged,
    Resolved,
    DecidedThere,
    DecidedTwice,
    Discarded,
    ConcurrentSync,
    WorkMeanwhile,
    Warned,
    WarningSentAgain,
}

/// All of them.
pub const ALL: &[Rare] = &[
    Rare::Conflict,
    Rare::DeletionConflict,
    Rare::Merged,
    Rare::Rejected,
    Rare::RolledBack,
    Rare::StoredReplyReplayed,
    Rare::ForeignRepeat,
    Rare::RequestLost,
    Rare::ReplyLost,
    Rare::ServerCrash,
    Rare::ClientCrash,
    Rare::FullResync,
    Rare::ResyncWithUnsent,
    Rare::NewHistory,
    Rare::SentAgainAfterRestore,
    Rare::RewindNoticed,
    Rare::FileRenewed,
    Rare::ConcurrentCommits,
    Rare::RetriedWhole,
    Rare::PulledBetweenCommits,
    Rare::Undelete,
    Rare::EchoSuppressed,
    Rare::RowLeft,
    Rare::RowEntered,
    Rare::SchemaChange,
    Rare::TheirsBesideMine,
    Rare::EditedInFlight,
    Rare::SeveralPages,
    Rare::StalePage,
    Rare::LateReply,
    Rare::Pruned,
    Rare::GrantChanged,
    Rare::Resolved,
    Rare::DecidedThere,
    Rare::DecidedTwice,
    Rare::Discarded,
    Rare::ConcurrentSync,
    Rare::WorkMeanwhile,
    Rare::Warned,
    Rare::WarningSentAgain,
];

/// How often each occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sometimes(pub BTreeMap<Rare, u64>);

impl Sometimes {
    pub fn saw(&mut self, rare: Rare) {
        *self.0.entry(rare).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (rare, count) in &other.0 {
            *self.0.entry(*rare).or_default() += count;
        }
    }

    /// Those that never occurred.
    pub fn missing(&self) -> Vec<Rare> {
        let seen = |rare: &&Rare| !self.0.contains_key(rare);
        ALL.iter().filter(seen).copied().collect()
    }
}
