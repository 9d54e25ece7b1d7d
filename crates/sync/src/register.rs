//! The life cycle of a replica on the server: register, find, unregister, and its effective filters.
//!
//! Owns: who may see a replica and which part of each collection it holds. A foreign and an unknown replica get the
//! same answer. Called by the faces. Rule source: DESIGN 5, GUARANTEES 4.2 (8).

use haversack_model::{
    Access, BatchNumber, CollectionId, Direction, Error, Filter, Generation, Policy, Principal,
    ReadTx, Replica, ReplicaId, ReplicaLayer, Result, Right, SyncModel, Timestamp, WriteTx,
};

use crate::Ids;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewReplica {
    /// Name for people.
    pub name: String,
    /// User name of the owner.
    pub owner: String,
    /// Whether it speaks the native protocol.
    pub native: bool,
    /// How its generations are counted.
    pub sync_model: SyncModel,
    /// What it may do.
    pub direction: Direction,
    /// How conflicts are decided when it uploads.
    pub policy: Policy,
    /// Collections with the replica's own filters. An attachment collection holds the attachments of the records of
    /// its layer that the replica holds, narrowed by its filter.
    pub layers: Vec<(CollectionId, Filter)>,
    /// What its dialect wants remembered.
    pub dialect: String,
}

/// Registers a replica as of the present generation, which is its cursor.
///
/// # Errors
/// [`Error::NoCollection`]; [`Error::Refused`] (403) if the user may not synchronise; [`Error::Invalid`] for a
/// collection named twice.
pub fn register(
    tx: &mut dyn WriteTx,
    new: NewReplica,
    access: &Access,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Replica> {
    if !access.allows(Right::Sync) {
        return Err(Error::Refused {
            code: 403,
            message: "this user may not take replicas of this service".to_owned(),
        });
    }
    let head = tx.head()?;
    let schema_version = tx.service()?.schema_version;
    let mut layers = Vec::with_capacity(new.layers.len());
    for (at, (collection, filter)) in new.layers.iter().enumerate() {
        tx.collection(*collection)?;
        if new.layers[..at]
            .iter()
            .any(|(other, _)| other == collection)
        {
            return Err(Error::Invalid {
                what: "layers".to_owned(),
                problem: format!("collection {collection} is named twice"),
            });
        }
        let effective = effective_filter(*collection, &new.layers, access);
        layers.push(ReplicaLayer {
            collection: *collection,
            cursor: head.generation,
            filter: filter.clone(),
            filters: vec![(Generation::ZERO, effective)],
        });
    }
    let replica = Replica {
        id: ReplicaId((ids.0)()),
        name: new.name,
        owner: new.owner,
        native: new.native,
        sync_model: new.sync_model,
        direction: new.direction,
        policy: new.policy,
        layers,
        schema_version,
        created_at: now,
        synced_at: now,
        is_dormant: false,
        last_batch: BatchNumber(0),
        dialect: new.dialect,
    };
    tx.store_replica(&replica)?;
    Ok(replica)
}

/// Registers a replica anew whose file was cloned or rewound: same layers, filters and owner, another identity,
/// batches from 1. Its cursor can be continued, since the filters of all generations come along.
///
/// # Errors
/// [`Error::NoReplica`] as [`find`].
pub fn renew(
    tx: &mut dyn WriteTx,
    old: ReplicaId,
    principal: &Principal,
    now: Timestamp,
    ids: &mut Ids<'_>,
) -> Result<Replica> {
    let old = find(tx, old, principal)?;
    let replica = Replica {
        id: ReplicaId((ids.0)()),
        created_at: now,
        last_batch: BatchNumber(0),
        ..old
    };
    tx.store_replica(&replica)?;
    Ok(replica)
}

/// A replica that is this principal's own, or any for an administrator.
///
/// # Errors
/// [`Error::NoReplica`] if unknown or another's: nobody can tell which.
pub fn find(tx: &dyn ReadTx, id: ReplicaId, principal: &Principal) -> Result<Replica> {
    tx.replica(id)?
        .filter(|replica| principal.is_admin || replica.owner == principal.name)
        .ok_or(Error::NoReplica(id))
}

/// Forgets a replica.
///
/// # Errors
/// [`Error::NoReplica`] as [`find`].
pub fn unregister(tx: &mut dyn WriteTx, id: ReplicaId, principal: &Principal) -> Result<()> {
    find(tx, id, principal)?;
    tx.remove_replica(id)?;
    Ok(())
}

/// Brings the effective filters up to date with the user's present grants. A change takes a generation of its own,
/// so that a cursor tells which filter held. Call it at the start of every sync.
pub fn refresh_filters(tx: &mut dyn WriteTx, replica: &mut Replica, access: &Access) -> Result<()> {
    let own: Vec<_> = replica
        .layers
        .iter()
        .map(|layer| (layer.collection, layer.filter.clone()))
        .collect();
    let mut taken = None;
    for layer in &mut replica.layers {
        let effective = effective_filter(layer.collection, &own, access);
        if *layer.filter_now() != effective {
            let from = match taken {
                Some(generation) => generation,
                None => *taken.insert(tx.take_generation()?),
            };
            layer.filters.push((from, effective));
        }
    }
    if taken.is_some() {
        tx.store_replica(replica)?;
    }
    Ok(())
}

/// Whether [`refresh_filters`] has something to do; answers without a write transaction.
pub fn filters_are_stale(replica: &Replica, access: &Access) -> bool {
    let own: Vec<_> = replica
        .layers
        .iter()
        .map(|layer| (layer.collection, layer.filter.clone()))
        .collect();
    replica
        .layers
        .iter()
        .any(|layer| *layer.filter_now() != effective_filter(layer.collection, &own, access))
}

/// What a replica holds of a collection: its own filter and the grant's; for attachments, those of records it holds.
pub fn effective_filter(
    collection: CollectionId,
    own: &[(CollectionId, Filter)],
    access: &Access,
) -> Filter {
    if !access.allows(Right::Read) {
        return Filter::Nothing;
    }
    let mine = own
        .iter()
        .find(|(id, _)| *id == collection)
        .map_or(Filter::Nothing, |(_, filter)| filter.clone());
    let granted = access.filter(collection).and(mine);
    let Some(parent) = collection.attachments_of() else {
        return granted;
    };
    match effective_filter(parent, own, access) {
        Filter::All => granted,
        of_parent => granted.and(Filter::ParentMatches {
            field: "parent".to_owned(),
            parent,
            filter: Box::new(of_parent),
        }),
    }
}
