//! The read transaction: a connection of the pool with an open snapshot.

use std::sync::Arc;

use haversack_model::record::Digest;
use haversack_model::store::{Change, ChangeQuery, Flow, Head, LastEdit, ReadTx, StoredReply};
use haversack_model::{
    BlobHash, Collection, CollectionId, Conflict, ConflictId, Filter, Generation, GlobalId,
    HistoryId, Query, QueryRow, Replica, ReplicaId, Result, Service, Track, Versioned,
};

use super::SqliteStore;
use super::connection::Linked;
use super::schema::Schema;
use super::view::View;

/// A snapshot. Its connection returns to the pool when it is dropped.
#[derive(Debug)]
pub(super) struct SqliteRead<'a> {
    store: &'a SqliteStore,
    /// `None` only while it is being dropped.
    linked: Option<Linked>,
    schema: Arc<Schema>,
    head: Head,
}

impl<'a> SqliteRead<'a> {
    pub(super) fn new(
        store: &'a SqliteStore,
        linked: Linked,
        schema: Arc<Schema>,
        head: Head,
    ) -> Self {
        Self {
            store,
            linked: Some(linked),
            schema,
            head,
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        let linked = self
            .linked
            .as_ref()
            .expect("the connection is here until drop");
        View {
            connection: &linked.connection,
            deadline: &linked.deadline,
            schema: &self.schema,
            head: self.head,
            limit: self.store.query_limit(),
            memory: None,
        }
    }
}

impl Drop for SqliteRead<'_> {
    fn drop(&mut self) {
        if let Some(linked) = self.linked.take() {
            self.store.give_back(linked);
        }
    }
}

/// Implements [`ReadTx`] for a type that has `view()`.
macro_rules! read_through_view {
    ($type:ty) => {
        impl ReadTx for $type {
            fn head(&self) -> Result<Head> {
                Ok(self.view().head)
            }
            fn common_with(&self, history: HistoryId) -> Result<Option<Generation>> {
                self.view().common_with(history)
            }
            fn service(&self) -> Result<Service> {
                Ok(self.view().schema.service.clone())
            }
            fn collection(&self, id: CollectionId) -> Result<Collection> {
                self.view().layer(id).map(|layer| layer.collection.clone())
            }
            fn record(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Versioned>> {
                self.view().record(collection, id)
            }
            fn track(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Track>> {
                let found = self.view().tracking(collection, id)?;
                Ok(found.map(|(track, _)| track))
            }
            fn record_as_of(
                &self,
                collection: CollectionId,
                id: &GlobalId,
                at: Generation,
            ) -> Result<Option<Versioned>> {
                self.view().record_as_of(collection, id, at)
            }
            fn matches(
                &self,
                collection: CollectionId,
                id: &GlobalId,
                filter: &Filter,
            ) -> Result<bool> {
                self.view().matches(collection, id, filter)
            }
            fn changes(
                &self,
                query: &ChangeQuery<'_>,
                visit: &mut dyn FnMut(Change) -> Result<Flow>,
            ) -> Result<()> {
                self.view().changes(query, visit)
            }
            fn live_after(
                &self,
                collection: CollectionId,
                after: Generation,
                filter: &Filter,
                visit: &mut dyn FnMut(Versioned) -> Result<Flow>,
            ) -> Result<()> {
                self.view().live_after(collection, after, filter, visit)
            }
            fn membership(
                &self,
                query: &ChangeQuery<'_>,
                visit: &mut dyn FnMut(Change) -> Result<Flow>,
            ) -> Result<()> {
                self.view().membership(query, visit)
            }
            fn query(
                &self,
                query: &Query,
                visit: &mut dyn FnMut(QueryRow) -> Result<Flow>,
            ) -> Result<()> {
                self.view().query(query, visit)
            }
            fn digest(&self, collection: CollectionId, filter: &Filter) -> Result<Digest> {
                self.view().digest(collection, filter)
            }
            fn replica(&self, id: ReplicaId) -> Result<Option<Replica>> {
                self.view().replica(id)
            }
            fn replicas(&self) -> Result<Vec<Replica>> {
                self.view().replicas()
            }
            fn stored_reply(&self, replica: ReplicaId) -> Result<Option<StoredReply>> {
                self.view().stored_reply(replica)
            }
            fn last_edit(
                &self,
                replica: ReplicaId,
                collection: CollectionId,
                id: &GlobalId,
            ) -> Result<Option<LastEdit>> {
                self.view().last_edit(replica, collection, id)
            }
            fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>> {
                self.view().conflict(id)
            }
            fn conflicts(
                &self,
                open_only: bool,
                visit: &mut dyn FnMut(Conflict) -> Result<Flow>,
            ) -> Result<()> {
                self.view().conflicts(open_only, visit)
            }
            fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>> {
                self.view().blob(hash)
            }
            fn has_blob(&self, hash: BlobHash) -> Result<bool> {
                self.view().has_blob(hash)
            }
            fn history(&self, collection: CollectionId, id: &GlobalId) -> Result<Vec<Versioned>> {
                self.view().history(collection, id)
            }
        }
    };
}
pub(super) use read_through_view;

read_through_view!(SqliteRead<'_>);
