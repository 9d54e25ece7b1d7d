//! Conflicts on the server: read them, close them with a decision.

use axum::body::Bytes;
use axum::response::Response;
use uuid::Uuid;

use haversack_model::store::Flow;
use haversack_model::{
    Access, Conflict, ConflictId, Edit, Outcome, Policy, ReadTx, Record, ReplicaId, Resolution,
    Right,
};
use haversack_sync::decision;
use haversack_sync::{Ids, Uploader, apply_edits, register};

use super::answer::{json, packed, parse, unpack};
use super::call::Call;
use super::problem::{Problem, Result};
use super::wire::{Decision, Decisions};
use crate::{clock, secret};

/// Conflicts of the caller's uploads; all of them for administrators of the service.
pub(super) fn list(call: &Call, service: &str, open_only: bool) -> Result<Response> {
    let (store, access) = call.service(service, Right::Read)?;
    let tx = store.begin_read()?;
    let mut conflicts = Vec::new();
    tx.conflicts(open_only, &mut |conflict| {
        if may_see(call, &access, &conflict) {
            conflicts.push(conflict);
        }
        Ok(Flow::Continue(()))
    })?;
    packed(&call.headers, &conflicts)
}

fn may_see(call: &Call, access: &Access, conflict: &Conflict) -> bool {
    access.allows(Right::Admin) || conflict.user == call.who.name
}

/// Closes a conflict. What is to be kept is stored as an online edit of whoever decides.
pub(super) fn resolve(call: &Call, service: &str, id: Uuid, body: &Bytes) -> Result<Response> {
    let (store, access) = call.service(service, Right::Edit)?;
    let decision: Decision = parse(&unpack(&call.headers, body, call.max_json())?)?;
    let now = clock::now();
    let mut tx = store.begin_write(now)?;
    let mut conflict = tx
        .conflict(ConflictId(id))?
        .filter(|conflict| may_see(call, &access, conflict))
        .ok_or_else(|| Problem::missing("conflict"))?;
    if let Some(resolution) = &conflict.resolution {
        let message = format!("{} closed it before: {}", resolution.user, resolution.kept);
        return Err(Problem::bad("conflict", message));
    }
    if let Some(edit) = edit_for(tx.as_ref(), &conflict, &decision)? {
        let by = Uploader {
            user: &call.who.name,
            replica: None,
            policy: Policy::Client,
            access: &access,
            cursor: None,
        };
        let edits = [(conflict.collection, edit)];
        let mut fresh = secret::random_uuid;
        let applied = apply_edits(tx.as_mut(), &by, &edits, true, now, &mut Ids(&mut fresh))?;
        for receipt in &applied.receipts {
            if let Outcome::Rejected { reason, .. } = &receipt.outcome {
                return Err(Problem::bad("record", reason));
            }
        }
    }
    conflict.resolution = Some(Resolution {
        told: true,
        kept: decision.keep,
        user: call.who.name.clone(),
        at: now,
    });
    tx.store_conflict(&conflict)?;
    tx.commit()?;
    json(&conflict)
}

/// Closes here what a replica decided, and tells what was decided here of the conflicts that it holds open.
pub(super) fn exchange(call: &Call, service: &str, id: Uuid, body: &Bytes) -> Result<Response> {
    let (store, access) = call.service(service, Right::Sync)?;
    let asked: Decisions = parse(&unpack(&call.headers, body, call.max_json())?)?;
    let id = ReplicaId(id);
    if asked.decided.is_empty() {
        let tx = store.begin_read()?;
        let replica = register::find(tx.as_ref(), id, &call.who)?;
        let stand = decision::closed(tx.as_ref(), &replica, &call.who, &asked.open)?;
        return packed(&call.headers, &stand);
    }
    let now = clock::now();
    let mut tx = store.begin_write(now)?;
    let replica = register::find(tx.as_ref(), id, &call.who)?;
    let may_edit = access.allows(Right::Edit);
    let Decisions { decided, open } = &asked;
    let stand = decision::exchange(
        tx.as_mut(),
        &replica,
        &call.who,
        may_edit,
        decided,
        open,
        now,
    )?;
    tx.commit()?;
    tracing::info!(replica = %id, user = call.who.name, decided = decided.len(), "decisions exchanged");
    packed(&call.headers, &stand)
}

/// The edit that makes the decision true; `None` if it is already.
fn edit_for(tx: &dyn ReadTx, conflict: &Conflict, decision: &Decision) -> Result<Option<Edit>> {
    let wanted: Option<Record> = match decision.keep.as_str() {
        "stored" => return Ok(None),
        "mine" => conflict.mine.clone(),
        "theirs" => conflict.theirs.clone(),
        "base" if conflict.base.is_none() => {
            let message = "the version that both started from is not known";
            return Err(Problem::bad("keep", message));
        }
        "base" => conflict.base.clone(),
        "edited" => {
            let missing = || Problem::bad("record", "the edited record is missing");
            Some(decision.record.clone().ok_or_else(missing)?)
        }
        _ => {
            let message = "it must be mine, theirs, base, stored or edited";
            return Err(Problem::bad("keep", message));
        }
    };
    let is_edited = decision.keep == "edited";
    let edit = decision::edit_for(tx, conflict, wanted.as_ref(), is_edited)?;
    Ok(edit)
}
