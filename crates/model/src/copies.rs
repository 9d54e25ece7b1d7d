//! Copies of collections from another server of this kind, as a face that speaks another protocol asks for them.
//!
//! The host knows how two servers of this kind compare collections at the cost of what differs; a face knows who asked, what was
//! asked, and what of its own must change together with the documents.

use std::any::Any;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::documents::DocumentWrite;
use crate::{CollectionId, Error, Generation, Result};

/// What copies collections from other servers of this kind.
pub trait Copies: Send + Sync + Debug {
    /// Keeps a collection for one copy until what this gives is dropped; `None` while another copy has it.
    fn hold(&self, service: &str, collection: CollectionId) -> Option<Box<dyn Any + Send>>;
    /// Makes a collection equal to the other server's, in one transaction at the end. What arrived stays beside it until then,
    /// so that the same call goes on after [`CopyError::NoResponse`] and [`CopyError::Stopped`].
    ///
    /// # Errors
    /// [`CopyError`]; the collection is as it was.
    fn fetch(
        &self,
        wanted: &Wanted<'_>,
        merging: &mut dyn Merging,
    ) -> std::result::Result<Fetched, CopyError>;
}

/// A collection of another server, and where its copy is to be.
#[derive(Clone)]
pub struct Wanted<'a> {
    /// URL of the other server: scheme, host, port.
    pub url: &'a str,
    /// Its host name and the addresses that were found for it and checked.
    pub host: (&'a str, &'a [SocketAddr]),
    /// More certificates (PEM) by which it may show who it is, beside those that the operator named.
    pub more_ca: Option<&'a str>,
    /// Accept any certificate.
    pub insecure: bool,
    /// User name and password there, or a token as the password of no user.
    pub login: (&'a str, &'a str),
    /// The service there.
    pub service: &'a str,
    /// The collection there.
    pub collection: CollectionId,
    /// The service and the collection here.
    pub into: (&'a str, CollectionId),
    /// The longest silence of the other server.
    pub max_wait: Duration,
    /// Set when it must stop.
    pub stop: &'a Arc<AtomicBool>,
    /// Where it is told how many documents and bytes came so far.
    pub progress: &'a dyn Fn(u64, u64),
}

impl Debug for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted")
            .field("url", &self.url)
            .field("service", &self.service)
            .field("collection", &self.collection)
            .finish_non_exhaustive()
    }
}

/// What changes in the transaction that merges a copy.
pub trait Merging: Debug {
    /// Before the documents are merged.
    fn before(&mut self, tx: &mut dyn DocumentWrite) -> Result<()>;
    /// After them; an error undoes both.
    fn after(&mut self, tx: &mut dyn DocumentWrite) -> Result<()>;
}

/// What came of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The generation of the other server to which it is equal.
    pub generation: Generation,
    /// Whether documents that were here already were matched by content: those keep the revisions that they had here.
    pub matched: bool,
    /// Whether something was merged. If not, the collection was equal to begin with.
    pub merged: bool,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The other server does not do this, or not for this user.
    #[error("the other server refuses: {0}")]
    Refused(String),
    /// It does not answer.
    #[error("the other server does not answer: {0}")]
    NoResponse(String),
    /// It was told to stop.
    #[error("it was told to stop")]
    Stopped,
    /// The store refused.
    #[error(transparent)]
    Model(#[from] Error),
}
