//! The [`Remote`] of one service on a server that speaks `/v1`: what a replica file synchronises with.
//!
//! Does not own: requests and their failures ([`Client`]).

use reqwest::Method;

use haversack_model::conflict::Decided;
use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{BlobHash, CollectionId, ConflictId, GlobalId, Remote, ReplicaId, Result};

use super::remote::{Client, LONG, answered, json_of, network, packed, to_json};
use super::wire::{Decisions, LayerRequest, PullRequest, RenewRequest, ReplicaRequest};

/// The native remote of one service.
#[derive(Clone, Debug)]
pub struct NativeRemote {
    client: Client,
    service: String,
    holding: Vec<CollectionId>,
}

impl NativeRemote {
    /// The remote of a service.
    pub fn new(client: Client, service: &str) -> Self {
        Self {
            client,
            service: service.to_owned(),
            holding: Vec::new(),
        }
    }
    /// The same, for a file with these collections: should the server not know the replica, it is registered again with
    /// them.
    #[must_use]
    pub fn holding(mut self, collections: impl IntoIterator<Item = CollectionId>) -> Self {
        self.holding = collections.into_iter().collect();
        self
    }
    /// The server.
    pub fn client(&self) -> &Client {
        &self.client
    }
    /// The service's name.
    pub fn service(&self) -> &str {
        &self.service
    }
    /// What would be asked for to get the file of a header; `None` if it is not known what is in it.
    pub fn registration(&self, header: &ReplicaHeader) -> Option<ReplicaRequest> {
        let asked: Vec<LayerRequest> = serde_json::from_str(&header.filter).ok()?;
        let (attachments, visible): (Vec<CollectionId>, Vec<_>) = self
            .holding
            .iter()
            .copied()
            .partition(|id| id.attachments_of().is_some());
        let layers: Vec<_> = visible
            .into_iter()
            .map(|id| {
                let known = asked.iter().find(|layer| layer.collection == id);
                known.cloned().unwrap_or(LayerRequest {
                    collection: id,
                    condition: None,
                    bbox: None,
                    bbox_srid: None,
                })
            })
            .collect();
        (!layers.is_empty()).then(|| ReplicaRequest {
            name: header.name.clone(),
            url: header.url.clone(),
            layers,
            policy: header.policy,
            direction: header.direction,
            attachments: !attachments.is_empty(),
            spatial_index: true,
            key: None,
        })
    }
    /// Sends a batch and waits for its answer.
    fn send(&self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        let path = self.path(header.id, &format!("/batches/{}", batch.number));
        let request = self
            .client
            .request(Method::POST, &path)?
            .timeout(self.client.within(LONG))
            .header("content-type", "application/json")
            .header("idempotency-key", format!("{}/{}", header.id, batch.number));
        json_of(answered(packed(request, &to_json(batch)?)?)?)
    }
    fn path(&self, id: ReplicaId, rest: &str) -> String {
        format!("/v1/services/{}/replicas/{id}{rest}", self.service)
    }
}

impl Remote for NativeRemote {
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        self.send(header, batch)
    }
    fn push_while(
        &mut self,
        header: &ReplicaHeader,
        batch: &FrozenBatch,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<BatchReply> {
        let remote = &*self;
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| remote.send(header, batch));
            meanwhile();
            sending
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
    fn pull(&mut self, header: &ReplicaHeader) -> Result<Page> {
        let asked = PullRequest {
            cursor: header.cursor,
            download: header.download,
            ahead: header.ahead.clone(),
            schema_version: header.schema_version,
            max_changes: None,
        };
        self.client.post(&self.path(header.id, "/pull"), &asked)
    }
    fn push_blob(&mut self, header: &ReplicaHeader, hash: BlobHash, content: &[u8]) -> Result<()> {
        let path = self.path(header.id, &format!("/blobs/{hash}"));
        let request = self
            .client
            .request(Method::PUT, &path)?
            .timeout(self.client.within(LONG));
        answered(request.body(content.to_vec()))?;
        Ok(())
    }
    fn pull_blob(
        &mut self,
        header: &ReplicaHeader,
        collection: CollectionId,
        attachment: &GlobalId,
        hash: BlobHash,
    ) -> Result<Vec<u8>> {
        let path = self.path(header.id, &format!("/blobs/{hash}"));
        let request = self
            .client
            .request(Method::GET, &path)?
            .timeout(self.client.within(LONG))
            .query(&[
                ("collection", collection.to_string()),
                ("attachment", attachment.to_string()),
            ]);
        let response = answered(request)?;
        Ok(response.bytes().map_err(network)?.to_vec())
    }
    fn renew(&mut self, header: &ReplicaHeader) -> Result<Renewed> {
        let asked = RenewRequest {
            cursor: header.cursor,
            registration: self.registration(header),
        };
        self.client.post(&self.path(header.id, "/renew"), &asked)
    }
    fn exchange_decisions(
        &mut self,
        header: &ReplicaHeader,
        decided: &[Decided],
        open: &[ConflictId],
    ) -> Result<Vec<Decided>> {
        let asked = Decisions {
            decided: decided.to_vec(),
            open: open.to_vec(),
        };
        self.client
            .post(&self.path(header.id, "/decisions"), &asked)
    }
    fn release(&mut self, header: &ReplicaHeader) -> Result<()> {
        self.client.release(&self.service, header.id)
    }
}
