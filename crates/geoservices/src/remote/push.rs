//! Uploads: what changed on the server is asked for, edits are merged with it, and what is left is sent.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::record::Track;
use haversack_model::remote::BatchReply;
use haversack_model::schema::attachment_field;
use haversack_model::{
    BlobHash, Changes, CollectionId, Direction, Edit, Generation, GlobalId, Outcome, Receipt,
    Record, RejectCode, Revision, Service, Timestamp, Value, Versioned,
};
use serde_json::{Map, Value as Json};

use super::blobs::Blobs;
use super::checkout::cursors;
use super::merge::{Decision, Newer, Send, Uploading};
use super::pull::{params, record_of};
use super::request::Kept;
use super::{GeoServicesRemote, document};
use crate::wire::codes;
use crate::wire::feature::IncomingFeature;
use crate::wire::json::{integer, member};
use crate::wire::sync::{
    AttachmentUpload, DocumentHead, DocumentVisitor, IncomingAttachmentLine, LayerUpload, Part,
    write_upload,
};
use crate::{Error, Result};

type Key = (CollectionId, GlobalId);

pub(super) fn push(
    remote: &mut GeoServicesRemote,
    header: &ReplicaHeader,
    batch: &FrozenBatch,
) -> Result<BatchReply> {
    let kept = Kept::of(header)?;
    let (newer, seen) = newer(remote, header, &kept, batch)?;
    let user = remote.http.credentials.user().to_owned();
    let uploading = Uploading {
        replica: header.id,
        policy: header.policy,
        user: &user,
        batch,
        now: now(),
        seen,
    };
    let mut decisions = Vec::with_capacity(batch.edits.len());
    for (collection, edit) in &batch.edits {
        let found = newer.get(&(*collection, edit.global_id().clone()));
        let found = found.cloned().unwrap_or(Newer::Unchanged);
        decisions.push(decide(
            &remote.service,
            &uploading,
            *collection,
            edit,
            found,
        ));
    }
    let layers = layers(&remote.service, &remote.blobs, batch, &mut decisions);
    if !layers.is_empty() {
        let mut edits = Vec::new();
        write_upload(&mut edits, &layers)?;
        let edits = String::from_utf8_lossy(&edits).into_owned();
        let results = send(remote, header, &kept, &edits)?;
        for ((collection, edit), decision) in batch.edits.iter().zip(&mut decisions) {
            let key = (*collection, edit.global_id().clone());
            if decision.send != Send::Nothing
                && let Some(refusal) = results.get(&key)
            {
                refuse(decision, refusal);
            }
        }
    }
    remote.blobs.forget_sent();
    Ok(reply(batch, decisions, seen))
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(since.as_millis() as i64)
}

/// What the server changed of the batch's records since the replica's cursor, and where it stood then.
fn newer(
    remote: &mut GeoServicesRemote,
    header: &ReplicaHeader,
    kept: &Kept,
    batch: &FrozenBatch,
) -> Result<(BTreeMap<Key, Newer>, Generation)> {
    if header.direction == Direction::Upload || header.cursor.generation == Generation::ZERO {
        return Ok((BTreeMap::new(), header.cursor.generation));
    }
    let params = params(header, kept, &remote.service, "download")?;
    let params: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let mut document = document::ask(&mut remote.http, "synchronizeReplica", &params, &mut |_| {})?;
    let mut watch = Watch {
        service: &remote.service,
        found: batch
            .edits
            .iter()
            .map(|(collection, edit)| ((*collection, edit.global_id().clone()), Newer::Unchanged))
            .collect(),
    };
    let head = document.read(&remote.service, &mut watch)?;
    let found = watch.found;
    let told = cursors(&head, kept.sync_model, &kept.layers(&remote.service)?)?;
    Ok((found, told.cursor.generation))
}

/// Looks at the records of a batch only.
struct Watch<'a> {
    service: &'a Service,
    found: BTreeMap<Key, Newer>,
}

impl DocumentVisitor for Watch<'_> {
    fn layer(&mut self, _: CollectionId) -> Result<()> {
        Ok(())
    }
    fn feature(&mut self, layer: CollectionId, _: Part, feature: IncomingFeature) -> Result<()> {
        let record = record_of(self.service, layer, &feature)?;
        if let Some(found) = self.found.get_mut(&(layer, record.global_id.clone())) {
            *found = Newer::Row(record);
        }
        Ok(())
    }
    fn removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        if let Some(found) = self.found.get_mut(&(layer, id)) {
            *found = Newer::Gone;
        }
        Ok(())
    }
    fn attachment(&mut self, _: CollectionId, _: Part, _: IncomingAttachmentLine) -> Result<()> {
        Ok(())
    }
    fn attachment_removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        if let Some(found) = self.found.get_mut(&(layer.attachments(), id)) {
            *found = Newer::Gone;
        }
        Ok(())
    }
}

fn decide(
    service: &Service,
    uploading: &Uploading<'_>,
    id: CollectionId,
    edit: &Edit,
    newer: Newer,
) -> Decision {
    if let Some(layer) = id.attachments_of() {
        // Attachments are replaced whole; the last sync wins.
        let hidden = service
            .collection(layer)
            .map(haversack_model::Collection::attachments);
        return match hidden {
            Some(hidden) => uploading.decide(&hidden, edit, newer),
            None => unknown_layer(layer),
        };
    }
    match service.collection(id) {
        Some(collection) => uploading.decide(collection, edit, newer),
        None => unknown_layer(id),
    }
}

fn unknown_layer(id: CollectionId) -> Decision {
    Decision::rejected(
        RejectCode::Refused,
        format!("the service has no layer {id} any more"),
    )
}

/// The upload, layer by layer. An attachment whose content is not at hand is refused here.
fn layers<'a>(
    service: &'a Service,
    blobs: &'a Blobs,
    batch: &FrozenBatch,
    decisions: &mut [Decision],
) -> Vec<LayerUpload<'a>> {
    let mut layers: Vec<LayerUpload<'a>> = Vec::new();
    for ((id, edit), decision) in batch.edits.iter().zip(decisions) {
        if decision.send == Send::Nothing {
            continue;
        }
        let layer_id = id.attachments_of().unwrap_or(*id);
        let Some(collection) = service.collection(layer_id) else {
            continue;
        };
        let at = layers
            .iter()
            .position(|layer| layer.collection.id == layer_id);
        let at = at.unwrap_or_else(|| {
            layers.push(LayerUpload::new(collection));
            layers.len() - 1
        });
        let layer = &mut layers[at];
        let global_id = edit.global_id().clone();
        let is_attachment = id.attachments_of().is_some();
        match (&decision.send, is_attachment) {
            (Send::Nothing, _) => {}
            (Send::Add(record), false) => layer.adds.push(record.clone()),
            (Send::Update(changes), false) => layer.updates.push((global_id, changes.clone())),
            (Send::Delete, false) => layer.deletes.push(global_id),
            (Send::Delete, true) => layer.attachment_deletes.push(global_id),
            (Send::Add(record), true) => {
                let changes = haversack_sync::merge::whole(record);
                match attachment(blobs, global_id, &changes, None) {
                    Some(upload) => layer.attachment_adds.push(upload),
                    None => *decision = without_content(),
                }
            }
            (Send::Update(changes), true) => {
                let base = match edit {
                    Edit::Update { base, .. } => base.as_ref().map(|base| &base.content),
                    _ => None,
                };
                match attachment(blobs, global_id, changes, base) {
                    Some(upload) => layer.attachment_updates.push(upload),
                    None => *decision = without_content(),
                }
            }
        }
    }
    layers.retain(|layer| {
        !(layer.adds.is_empty()
            && layer.updates.is_empty()
            && layer.deletes.is_empty()
            && layer.attachment_adds.is_empty()
            && layer.attachment_updates.is_empty()
            && layer.attachment_deletes.is_empty())
    });
    layers
}

fn without_content() -> Decision {
    Decision::rejected(
        RejectCode::NoBlob,
        "the content of the attachment is not in the replica",
    )
}

/// `None` if the changes name a content that is not at hand.
fn attachment<'a>(
    blobs: &'a Blobs,
    global_id: GlobalId,
    changes: &Changes,
    base: Option<&Changes>,
) -> Option<AttachmentUpload<'a>> {
    let text = |at: usize| match changes.values.get(&at) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let content = match text(attachment_field::SHA256) {
        None => None,
        Some(hash) => Some(blobs.content(BlobHash::from_hex(&hash)?)?),
    };
    let known_parent = || match base?.values.get(&attachment_field::PARENT) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    Some(AttachmentUpload {
        global_id,
        parent: text(attachment_field::PARENT).or_else(known_parent),
        name: text(attachment_field::NAME),
        content_type: text(attachment_field::CONTENT_TYPE),
        keywords: text(attachment_field::KEYWORDS),
        content,
    })
}

/// Why the server refused an edit.
#[derive(Clone, Debug)]
struct Refusal {
    code: i64,
    description: String,
}

/// Sends the edits; gives those that the server refused.
fn send(
    remote: &mut GeoServicesRemote,
    header: &ReplicaHeader,
    kept: &Kept,
    edits: &str,
) -> Result<BTreeMap<Key, Refusal>> {
    let params = params(header, kept, &remote.service, "upload")?;
    let mut params: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
    params.push(("edits", edits));
    params.push(("returnIdsForAdds", "true"));
    let mut document = document::ask(&mut remote.http, "synchronizeReplica", &params, &mut |_| {})?;
    let head = document.read(&remote.service, &mut super::pull::Ignore)?;
    refusals(&head)
}

/// The failed results of an answer.
fn refusals(head: &DocumentHead) -> Result<BTreeMap<Key, Refusal>> {
    let mut refused = BTreeMap::new();
    let attached = head
        .attachment_results
        .iter()
        .map(|(id, results)| (id.attachments(), results));
    let all = head.results.iter().map(|(id, results)| (*id, results));
    for (id, results) in all.chain(attached) {
        for name in ["addResults", "updateResults", "deleteResults"] {
            let list = member(results, name).and_then(Json::as_array);
            for result in list.into_iter().flatten().filter_map(Json::as_object) {
                if let Some((global_id, refusal)) = refusal(result)? {
                    refused.insert((id, global_id), refusal);
                }
            }
        }
    }
    Ok(refused)
}

fn refusal(result: &Map<String, Json>) -> Result<Option<(GlobalId, Refusal)>> {
    if member(result, "success").and_then(Json::as_bool) != Some(false) {
        return Ok(None);
    }
    let error = member(result, "error").and_then(Json::as_object);
    let code = error.and_then(|e| member(e, "code")).and_then(integer);
    let text = error.and_then(|e| member(e, "description").or_else(|| member(e, "message")));
    let description = text
        .and_then(Json::as_str)
        .unwrap_or("the server does not say why")
        .to_owned();
    let id = member(result, "globalId").and_then(Json::as_str);
    let id = id.and_then(|id| GlobalId::parse_uuid(id).ok());
    match id {
        Some(id) => Ok(Some((
            id,
            Refusal {
                code: code.unwrap_or(codes::EDIT_FAILED),
                description,
            },
        ))),
        // Somebody's edit failed, and it is not said whose: nothing may be settled.
        None => Err(Error::Refused {
            code: code.unwrap_or(codes::EDIT_FAILED),
            message: format!("an edit failed, and the answer does not say which: {description}"),
        }),
    }
}

fn refuse(decision: &mut Decision, refusal: &Refusal) {
    let code = match refusal.code {
        codes::EDIT_GEOMETRY => RejectCode::InvalidGeometry,
        codes::EDIT_NO_PARENT => RejectCode::NoParent,
        codes::EDIT_ROLLED_BACK => RejectCode::RolledBack,
        codes::FORBIDDEN => RejectCode::Forbidden,
        _ => RejectCode::Refused,
    };
    // What the server has is what it had: the base stays, and nothing was decided.
    *decision = Decision::rejected(code, refusal.description.clone());
}

fn reply(batch: &FrozenBatch, decisions: Vec<Decision>, seen: Generation) -> BatchReply {
    let mut conflicts = Vec::new();
    let mut receipts = Vec::with_capacity(decisions.len());
    for ((collection, edit), decision) in batch.edits.iter().zip(decisions) {
        conflicts.extend(decision.conflict);
        let is_rejected = matches!(decision.outcome, Outcome::Rejected { .. });
        receipts.push(Receipt {
            collection: *collection,
            global_id: edit.global_id().clone(),
            outcome: decision.outcome,
            object_id: None,
            after: decision
                .after
                .filter(|_| !is_rejected)
                .map(|record| versioned(record, seen)),
            version: None,
            left: false,
        });
    }
    BatchReply {
        receipts,
        conflicts,
        generation: seen,
    }
}

fn versioned(record: Record, seen: Generation) -> Versioned {
    Versioned {
        record,
        track: Track {
            generation: seen,
            stamp: Timestamp(0),
            revision: Revision(0),
            deleted: false,
            origin: None,
        },
    }
}
