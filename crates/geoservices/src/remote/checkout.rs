//! Checkout: createReplica, and its document into an empty replica file.

use std::str::FromStr as _;

use haversack_model::local::{LocalReplica, ReplicaHeader, ReplicaTx};
use haversack_model::remote::{RemoteChange, Renewed};
use haversack_model::{
    BatchNumber, Collection, CollectionId, Cursor, Direction, Generation, HistoryId, Policy,
    ReplicaId, SyncModel,
};
use uuid::Uuid;

use super::pull::{Stage, Staged};
use super::request::{CheckoutRequest, Kept, create_params, sync_model};
use super::{GeoServicesRemote, PROTOCOL, document};
use crate::wire::sync::DocumentHead;
use crate::{Error, Result};

/// Rows of one transaction while a file is filled.
const ROWS: usize = 5_000;

/// The history of a server that names none.
pub(super) const NO_HISTORY: HistoryId = HistoryId(Uuid::nil());

/// A replica that the server has registered, with its data read and checked; to be filled into a file.
#[derive(Debug)]
pub struct Checkout {
    header: ReplicaHeader,
    collections: Vec<Collection>,
    staged: Staged,
}

impl GeoServicesRemote {
    /// Registers a replica and fetches its data. If that fails after the registration, the replica is unregistered.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a layer that the service does not have; what the server says.
    pub fn checkout(
        &mut self,
        request: CheckoutRequest,
        policy: Policy,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Checkout> {
        if !self.service.has_capability("Sync") {
            let problem = "does not offer Sync, so nothing can be checked out";
            return Err(Error::document("the service", problem));
        }
        let kept = Kept {
            request,
            sync_model: sync_model(self.capabilities)?,
        };
        let created = create(self, &kept, progress)?;
        match self.stage_checkout(&kept, policy, created.head, created.document) {
            Ok(checkout) => Ok(checkout),
            Err(error) => {
                if let Some(id) = created.id {
                    // The first error is the one to tell; a replica left behind expires.
                    let _ = self.unregister(id);
                }
                Err(error)
            }
        }
    }

    fn stage_checkout(
        &mut self,
        kept: &Kept,
        policy: Policy,
        short: DocumentHead,
        mut document: document::Document,
    ) -> Result<Checkout> {
        let mut stage = Stage::new(
            &self.service,
            &self.http,
            &self.blobs,
            kept.request.attachments,
        )?;
        let mut head = document.read(&self.service, &mut stage)?;
        for (name, value) in short.members {
            head.members.entry(name).or_insert(value);
        }
        if !head.has_data {
            return Err(Error::document("the replica's document", "holds no layers"));
        }
        let id = replica_id(&head)?;
        let layers = kept.layers(&self.service)?;
        let cursors = cursors(&head, kept.sync_model, &layers)?;
        let mut collections = Vec::new();
        for id in &layers {
            let Some(collection) = self.service.collection(*id) else {
                continue;
            };
            collections.push(collection.clone());
            if kept.request.attachments && collection.has_attachments {
                collections.push(collection.attachments());
            }
        }
        let direction =
            if self.service.has_capability("Update") || self.service.has_capability("Editing") {
                Direction::Bidirectional
            } else {
                Direction::Download
            };
        let header = ReplicaHeader {
            id,
            name: head
                .text("replicaName")
                .unwrap_or(&kept.request.name)
                .to_owned(),
            url: self.url().to_owned(),
            protocol: PROTOCOL.to_owned(),
            cursor: cursors.cursor,
            layer_cursors: cursors.layers,
            direction,
            policy,
            next_batch: BatchNumber(1),
            schema_version: self.service.schema_version,
            resyncing: false,
            download: None,
            ahead: haversack_model::Versions::default(),
            synced_at: None,
            filter: kept.to_text(),
        };
        let staged = stage.finish(&header, header.cursor, header.layer_cursors.clone())?;
        Ok(Checkout {
            header,
            collections,
            staged,
        })
    }
}

impl Checkout {
    /// What the file says of itself.
    pub fn header(&self) -> &ReplicaHeader {
        &self.header
    }
    /// The collections of the file, those of attachments included.
    pub fn collections(&self) -> &[Collection] {
        &self.collections
    }
    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.staged.left()
    }

    /// Fills an empty file that was made with [`Self::header`] and [`Self::collections`]; gives how many records.
    /// Contents of attachments are taken from the remote that made the checkout.
    pub fn fill(
        mut self,
        remote: &mut GeoServicesRemote,
        local: &mut dyn LocalReplica,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64> {
        let all = self.staged.left();
        let mut done = 0;
        while self.staged.left() > 0 {
            let rows = self.staged.next(ROWS)?;
            let mut tx = local.begin()?;
            for row in &rows {
                if let RemoteChange::Put {
                    collection,
                    record,
                    version,
                } = row
                {
                    store_content(remote, tx.as_mut(), *collection, record)?;
                    tx.put_row(*collection, record)?;
                    tx.store_version(*collection, &record.global_id, Some(*version))?;
                }
            }
            tx.commit()?;
            done += rows.len() as u64;
            progress(done, all);
        }
        Ok(done)
    }
}

fn store_content(
    remote: &GeoServicesRemote,
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    record: &haversack_model::Record,
) -> Result<()> {
    use haversack_model::schema::attachment_field;
    if collection.attachments_of().is_none() {
        return Ok(());
    }
    let hash = record
        .values
        .get(attachment_field::SHA256)
        .and_then(haversack_model::Value::as_text);
    let Some(hash) = hash.and_then(haversack_model::BlobHash::from_hex) else {
        return Ok(());
    };
    if let Some(content) = remote.blobs.take(hash)? {
        tx.store_blob(hash, &content)?;
    }
    Ok(())
}

/// Registers the replica anew with the request of its header. Its data is compared by the full resync that follows.
pub(super) fn renew(remote: &mut GeoServicesRemote, header: &ReplicaHeader) -> Result<Renewed> {
    let kept = Kept::of(header)?;
    let mut created = create(remote, &kept, &mut |_| {})?;
    let id = match created.id {
        Some(id) => id,
        None => replica_id(
            &created
                .document
                .read(&remote.service, &mut super::pull::Ignore)?,
        )?,
    };
    Ok(Renewed {
        id,
        continues: false,
        cursor: None,
    })
}

struct Created {
    document: document::Document,
    head: DocumentHead,
    /// The id, if the short answer names it already.
    id: Option<ReplicaId>,
}

fn create(
    remote: &mut GeoServicesRemote,
    kept: &Kept,
    progress: &mut dyn FnMut(&str),
) -> Result<Created> {
    let params = create_params(kept, &remote.service, remote.capabilities)?;
    let params: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let document = document::ask(&mut remote.http, "createReplica", &params, progress)?;
    let head = document.short.clone().unwrap_or_default();
    let id = replica_id(&head).ok();
    Ok(Created { document, head, id })
}

fn replica_id(head: &DocumentHead) -> Result<ReplicaId> {
    let text = head.text("replicaID").unwrap_or_default();
    ReplicaId::from_str(text).map_err(|_not_an_id| {
        Error::document(
            "the replica's document",
            format!("names no replica: {text:?}"),
        )
    })
}

/// Up to where the server's changes are in a document.
#[derive(Clone, Debug)]
pub(super) struct Cursors {
    pub(super) cursor: Cursor,
    pub(super) layers: Vec<(CollectionId, Generation)>,
}

/// The generations of a document. A replica with one per layer must be given one for each.
pub(super) fn cursors(
    head: &DocumentHead,
    model: SyncModel,
    layers: &[CollectionId],
) -> Result<Cursors> {
    let wrong = |problem: String| Error::document("the server's answer", problem);
    match model {
        SyncModel::PerReplica => {
            let generation = head
                .generation()
                .ok_or_else(|| wrong("names no replicaServerGen".to_owned()))?;
            Ok(Cursors {
                cursor: Cursor::bare(NO_HISTORY, generation),
                layers: Vec::new(),
            })
        }
        SyncModel::PerLayer => {
            let told = head.layer_generations();
            let mut all = Vec::new();
            for id in layers {
                let found = told.iter().find(|(of, _)| of == id);
                all.push(
                    *found.ok_or_else(|| wrong(format!("names no serverGen for layer {id}")))?,
                );
            }
            // One number for people; downloads use those of the layers.
            let generation = all.iter().map(|(_, generation)| *generation).max();
            Ok(Cursors {
                cursor: Cursor::bare(NO_HISTORY, generation.unwrap_or_default()),
                layers: all,
            })
        }
    }
}
