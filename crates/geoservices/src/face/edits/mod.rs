//! Edits while online: features and attachments become edits of the sync core, receipts become result objects.
//!
//! Every edit gets exactly one result, in the order of the request. What cannot even be read is a failed result too, and
//! does not hinder the others unless all or nothing was asked. Rights and row filters are checked by the core, on the old
//! and the new row. Source: `spec/geoservices.md` 5.

pub(crate) mod attached;
pub(crate) mod calculate;
pub(crate) mod layer;
pub(crate) mod plan;
pub(crate) mod results;
pub(crate) mod service;

use haversack_model::{CollectionId, Edit, Policy, Right, WriteTx};
use haversack_sync::{Applied, Ids, Uploader, apply_edits};
use serde_json::Value;

use super::call::{Call, Opened};
use super::problem::{Problem, Result};
use plan::Plan;
use results::{LayerResults, Verdict};

/// What is asked of one layer.
#[derive(Debug)]
pub(crate) struct LayerEdits {
    /// Which layer.
    pub(crate) id: CollectionId,
    /// Features to add.
    pub(crate) adds: Vec<Value>,
    /// Features to update.
    pub(crate) updates: Vec<Value>,
    /// Object ids or global ids to delete.
    pub(crate) deletes: Vec<String>,
    /// Attachments to add, update and delete.
    pub(crate) attachments: Option<Value>,
}

/// How edits are applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Rows are addressed by global id, and adds keep the ones they bring.
    pub(crate) use_global_ids: bool,
    /// One failure undoes everything.
    pub(crate) rollback: bool,
}

/// Applies edits of some layers in one transaction.
pub(crate) fn apply(
    call: &Call,
    opened: &Opened,
    layers: &[LayerEdits],
    options: Options,
) -> Result<Vec<LayerResults>> {
    call.require(&opened.access, Right::Edit)?;
    for edits in layers {
        let attached = edits.attachments.is_some();
        if !edits.adds.is_empty() {
            opened.offers("Create")?;
        }
        if !edits.updates.is_empty() || attached {
            opened.offers("Update")?;
        }
        if !edits.deletes.is_empty() {
            opened.offers("Delete")?;
        }
    }
    let mut tx = opened.store.begin_write(call.now())?;
    let mut plan = Plan::new(call, opened, options);
    for edits in layers {
        plan.add_layer(tx.as_mut(), edits)?;
    }
    let Plan {
        slots,
        edits,
        failures,
        ..
    } = plan;
    if options.rollback && failures > 0 {
        // Dropping the transaction undoes what it staged.
        return Ok(results::rolled_back(slots));
    }
    if edits.is_empty() {
        return Ok(results::of(slots, &[]));
    }
    let applied = commit(call, opened, tx, &edits, options.rollback)?;
    Ok(results::of(slots, &applied.receipts))
}

/// Applies edits that were planned in `tx` and commits them, unless they were rolled back.
pub(crate) fn commit(
    call: &Call,
    opened: &Opened,
    mut tx: Box<dyn WriteTx + '_>,
    edits: &[(CollectionId, Edit)],
    rollback: bool,
) -> Result<Applied> {
    let uploader = Uploader {
        user: &call.principal.name,
        replica: None,
        policy: Policy::Client,
        access: &opened.access,
        cursor: None,
    };
    let mut fresh = || call.host.fresh_uuid();
    let applied = apply_edits(
        tx.as_mut(),
        &uploader,
        edits,
        rollback,
        call.now(),
        &mut Ids(&mut fresh),
    )?;
    if !applied.rolled_back {
        tx.commit()?;
    }
    Ok(applied)
}

/// A request-level error if everything was undone, for operations that answer no results.
pub(crate) fn refuse_failures(results: &[Verdict]) -> Result<()> {
    let failed: Vec<String> = results.iter().filter_map(Verdict::description).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Problem::RolledBack(failed.into_iter().take(20).collect()))
    }
}
