//! A server's store and a replica file in memory: the simulator's databases.
//!
//! They keep the promises of the traits and nothing more, in ordered maps, so that a seed replays exactly.

pub mod bug;
mod cheap;
mod replica;
mod seal;
mod spoil;
mod state;
mod store;

pub use replica::{File, FileEvent, MemoryReplica, SharedReplica};
pub use state::State;
pub use store::MemoryStore;
