//! What a service holds at one moment, and the reads that a snapshot answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::conflict::ConflictId;
use haversack_model::filter::Parents;
use haversack_model::record::Digest;
use haversack_model::store::{ChangeQuery, Flow, Head, LastEdit, StoredReply};
use haversack_model::{
    BlobHash, Change, Collection, CollectionId, Conflict, Error, Filter, Generation, GlobalId,
    HistoryId, ObjectId, Query, QueryRow, Record, Replica, ReplicaId, Result, Select, Service,
    Timestamp, Track, Versioned,
};

use super::cheap::Cheap;

pub type Key = (CollectionId, GlobalId);

/// The newest version of a record, live or tombstone.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub track: Track,
    /// Generation since which the content is as it is: a touch moves `track.generation` alone.
    pub content_since: Generation,
    /// `None`: a tombstone.
    pub record: Option<Arc<Record>>,
}

/// A version that was replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct OldVersion {
    pub track: Track,
    pub from: Generation,
    /// Generation of the change that replaced it.
    pub until: Generation,
    pub record: Arc<Record>,
}

#[derive(Clone, Debug)]
pub struct State {
    pub service: Arc<Service>,
    /// The collections of the service, hidden ones included.
    shapes: Arc<BTreeMap<CollectionId, Collection>>,
    pub head: Head,
    /// Histories before this one, with the generation at which each was left.
    pub ancestors: Vec<(HistoryId, Generation)>,
    pub rows: Cheap<BTreeMap<Key, Row>>,
    pub history: Cheap<BTreeMap<Key, Vec<OldVersion>>>,
    pub next_object: Cheap<BTreeMap<CollectionId, i64>>,
    pub replicas: Cheap<BTreeMap<ReplicaId, Arc<Replica>>>,
    pub replies: Cheap<BTreeMap<ReplicaId, Arc<StoredReply>>>,
    pub last_edits: Cheap<BTreeMap<(ReplicaId, CollectionId, GlobalId), Arc<LastEdit>>>,
    pub conflicts: Cheap<BTreeMap<ConflictId, Arc<Conflict>>>,
    pub blobs: Cheap<BTreeMap<BlobHash, Arc<[u8]>>>,
}

impl State {
    pub fn new(service: Service, history: HistoryId) -> Self {
        Self {
            shapes: Arc::new(shapes(&service)),
            service: Arc::new(service),
            head: Head {
                history,
                generation: Generation::ZERO,
                stamp: Timestamp(0),
                revision: haversack_model::Revision(0),
                floor: Generation::ZERO,
            },
            ancestors: Vec::new(),
            rows: Cheap::default(),
            history: Cheap::default(),
            next_object: Cheap::default(),
            replicas: Cheap::default(),
            replies: Cheap::default(),
            last_edits: Cheap::default(),
            conflicts: Cheap::default(),
            blobs: Cheap::default(),
        }
    }

    pub fn collection(&self, id: CollectionId) -> Result<&Collection> {
        self.shapes.get(&id).ok_or(Error::NoCollection(id))
    }

    pub fn set_service(&mut self, service: Arc<Service>) {
        self.shapes = Arc::new(shapes(&service));
        self.service = service;
    }

    /// All versions of one collection's records, in key order.
    fn rows_of(&self, collection: CollectionId) -> impl Iterator<Item = (&GlobalId, &Row)> {
        self.rows
            .iter()
            .filter(move |((of, _), _)| *of == collection)
            .map(|((_, id), row)| (id, row))
    }

    pub fn record(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Versioned>> {
        let shape = self.collection(collection)?;
        let row = self.rows.get(&(collection, id.clone()));
        Ok(row.and_then(|row| {
            row.record.as_ref().map(|record| Versioned {
                record: fill(shape, record),
                track: row.track,
            })
        }))
    }

    pub fn track(&self, collection: CollectionId, id: &GlobalId) -> Option<Track> {
        self.rows
            .get(&(collection, id.clone()))
            .map(|row| row.track)
    }

    pub fn record_as_of(
        &self,
        collection: CollectionId,
        id: &GlobalId,
        at: Generation,
    ) -> Result<Option<Versioned>> {
        let shape = self.collection(collection)?;
        if at < self.head.floor {
            return Err(Error::Resync {
                asked: at,
                reason: "history was pruned",
            });
        }
        let key = (collection, id.clone());
        if let Some(row) = self.rows.get(&key).filter(|row| row.content_since <= at) {
            let record = row.record.as_ref();
            return Ok(record.map(|record| Versioned {
                record: fill(shape, record),
                track: row.track,
            }));
        }
        let old = self
            .history
            .get(&key)
            .into_iter()
            .flatten()
            .find(|old| old.from <= at && at < old.until);
        Ok(old.map(|old| Versioned {
            record: fill(shape, &old.record),
            track: old.track,
        }))
    }

    /// Versions that were replaced, newest first.
    pub fn history(&self, collection: CollectionId, id: &GlobalId) -> Result<Vec<Versioned>> {
        let shape = self.collection(collection)?;
        let versions = self.history.get(&(collection, id.clone()));
        let newest_first = versions.into_iter().flatten().rev();
        Ok(newest_first
            .map(|old| Versioned {
                record: fill(shape, &old.record),
                track: old.track,
            })
            .collect())
    }

    pub fn is_match(&self, shape: &Collection, record: &Record, filter: &Filter) -> bool {
        filter.matches(shape, record, self)
    }

    pub fn changes(
        &self,
        query: &ChangeQuery<'_>,
        visit: &mut dyn FnMut(Change) -> Result<Flow>,
    ) -> Result<()> {
        if query.since != Generation::ZERO && query.since < self.head.floor {
            return Err(Error::Resync {
                asked: query.since,
                reason: "history was pruned",
            });
        }
        let shape = self.collection(query.collection)?;
        let in_range =
            |row: &Row| row.track.generation > query.since && row.track.generation <= query.upto;
        let mut found: Vec<_> = self
            .rows_of(query.collection)
            .filter(|(_, row)| in_range(row))
            .collect();
        found.sort_by_key(|(_, row)| row.track.generation);
        for (id, row) in found {
            let then = match query.since {
                Generation::ZERO => None,
                since => self.record_as_of(query.collection, id, since)?,
            };
            let record = row.record.as_ref().map(|record| fill(shape, record));
            let change = Change {
                global_id: id.clone(),
                track: row.track,
                matches: record
                    .as_ref()
                    .is_some_and(|record| self.is_match(shape, record, query.filter)),
                matched: then
                    .is_some_and(|then| self.is_match(shape, &then.record, query.filter_then)),
                record,
            };
            if visit(change)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub fn membership(
        &self,
        query: &ChangeQuery<'_>,
        visit: &mut dyn FnMut(Change) -> Result<Flow>,
    ) -> Result<()> {
        let shape = self.collection(query.collection)?;
        for (id, row) in self.rows_of(query.collection) {
            let Some(record) = row
                .record
                .as_ref()
                .filter(|_| row.track.generation <= query.since)
            else {
                continue;
            };
            let record = fill(shape, record);
            let is_in = self.is_match(shape, &record, query.filter);
            let was_in = self.is_match(shape, &record, query.filter_then);
            if is_in == was_in {
                continue;
            }
            let change = Change {
                global_id: id.clone(),
                track: row.track,
                record: Some(record),
                matches: is_in,
                matched: was_in,
            };
            if visit(change)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Records, ids, counts and extents; sorting and statistics are a real store's work.
    pub fn query(
        &self,
        query: &Query,
        visit: &mut dyn FnMut(QueryRow) -> Result<Flow>,
    ) -> Result<()> {
        let shape = self.collection(query.collection)?;
        let mut found = Vec::new();
        for (_, row) in self.rows_of(query.collection) {
            let Some(record) = &row.record else { continue };
            let record = fill(shape, record);
            if self.is_match(shape, &record, &query.filter) {
                found.push(Versioned {
                    record,
                    track: row.track,
                });
            }
        }
        found.sort_by_key(|row| row.record.object_id);
        let skipped = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
        match &query.select {
            Select::Count => {
                let count = haversack_model::Value::Integer(found.len() as i64);
                visit(QueryRow::Values(vec![count])).map(|_| ())
            }
            Select::Extent => {
                let boxes = found
                    .iter()
                    .filter_map(|row| row.record.geometry.as_ref()?.envelope());
                visit(QueryRow::Extent(
                    boxes.reduce(haversack_model::Envelope::union),
                ))
                .map(|_| ())
            }
            Select::Records | Select::Ids => {
                for row in found.into_iter().skip(skipped).take(limit) {
                    let row = match query.select {
                        Select::Ids => QueryRow::Ids(
                            row.record.object_id.unwrap_or(ObjectId(0)),
                            row.record.global_id,
                        ),
                        _ => QueryRow::Record(Box::new(row)),
                    };
                    if visit(row)?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Select::Distinct(_) | Select::Statistics { .. } => Err(Error::Invalid {
                what: "query".to_owned(),
                problem: "the store in memory computes no statistics".to_owned(),
            }),
        }
    }

    pub fn digest(&self, collection: CollectionId, filter: &Filter) -> Result<Digest> {
        let mut digest = Digest::default();
        self.query(&Query::records(collection, filter.clone()), &mut |row| {
            if let QueryRow::Record(row) = row {
                digest.add(row.record.content_hash());
            }
            Ok(Flow::Continue(()))
        })?;
        Ok(digest)
    }

    /// Removes tombstones and old versions up to a generation, as far as no replica needs them.
    pub fn prune(&mut self, upto: Generation, ignore_replicas: bool) -> Generation {
        let pins = self
            .replicas
            .values()
            .flat_map(|replica| replica.layers.iter().map(|layer| layer.cursor));
        let pin = if ignore_replicas { None } else { pins.min() };
        let floor = upto
            .min(self.head.generation)
            .min(pin.unwrap_or(upto))
            .max(self.head.floor);
        self.rows
            .retain(|_, row| !row.track.deleted || row.track.generation > floor);
        for versions in self.history.values_mut() {
            versions.retain(|old| old.until > floor);
        }
        self.history.retain(|_, versions| !versions.is_empty());
        self.head.floor = floor;
        let live: BTreeSet<_> = self.replicas.keys().copied().collect();
        self.last_edits
            .retain(|(replica, _, _), _| live.contains(replica));
        floor
    }
}

impl Parents for State {
    fn parent(&self, collection: CollectionId, id: &GlobalId) -> Option<(Collection, Record)> {
        let found = self.record(collection, id).ok()??;
        Some((self.collection(collection).ok()?.clone(), found.record))
    }
}

fn shapes(service: &Service) -> BTreeMap<CollectionId, Collection> {
    let layers = service.collections.iter();
    let attachments = layers.clone().map(Collection::attachments);
    let all = layers.cloned().chain(attachments);
    all.map(|shape| (shape.id, shape)).collect()
}

/// A record in the present shape: columns added since it was written get their default.
fn fill(shape: &Collection, record: &Record) -> Record {
    let mut record = record.clone();
    let missing = shape.fields.iter().skip(record.values.len());
    record
        .values
        .extend(missing.map(|field| field.default.clone()));
    record
}
