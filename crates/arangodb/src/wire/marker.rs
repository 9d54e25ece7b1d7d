//! Numbers of the kinds of markers in a log tail. Source: `spec/arangodb.md` 6.6.

/// A collection was made; its data are the parameters.
pub const COLLECTION_CREATE: u64 = 2000;
/// A collection was dropped.
pub const COLLECTION_DROP: u64 = 2001;
/// A document was inserted or replaced.
pub const DOCUMENT: u64 = 2300;
/// A document was removed.
pub const REMOVE: u64 = 2302;
