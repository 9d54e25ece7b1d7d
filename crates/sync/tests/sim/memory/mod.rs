//! A server's store and a replica file in memory: the simulator's databases.
//!
//! They keep the promises of the traits and nothing more, in ordered maps, so that a seed replays exactly.

mod replica;
mod state;
mod store;

pub use replica::MemoryReplica;
pub use store::{MemoryStore, StoreFault};
