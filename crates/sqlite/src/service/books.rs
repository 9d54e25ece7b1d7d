//! The books beside the records: replicas, replies, last edits, conflicts, blobs.

use haversack_model::conflict::{Conflict, ConflictId, ConflictKind, Resolution, Winner};
use haversack_model::store::{Flow, LastEdit, StoredReply};
use haversack_model::{
    BatchNumber, BlobHash, CollectionId, Generation, GlobalId, Policy, Record, Replica, ReplicaId,
    Result, Timestamp,
};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::readable;
use super::schema::Schema;
use super::view::{View, each_row};
use crate::error::{corrupt, while_doing};
use crate::gpkg::column;

/// JSON text of something of ours.
pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| corrupt(format!("cannot be kept as JSON: {e}")))
}

/// Reads JSON text of the file.
pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| corrupt(format!("{what}: {e}")))
}

/// The word for a unit variant.
fn word(value: &impl Serialize) -> Result<String> {
    to_json(value).map(|json| json.trim_matches('"').to_owned())
}

fn from_word<T: DeserializeOwned>(what: &str, word: String) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(word))
        .map_err(|e| corrupt(format!("{what}: {e}")))
}

const CONFLICT_COLUMNS: &str = "id, at, collection, global_id, kind, fields, base, mine, theirs, \
    policy, winner, reason, replica, user, generation, resolved_at, resolved_by, kept";

impl View<'_> {
    pub(super) fn replica(&self, id: ReplicaId) -> Result<Option<Replica>> {
        let doing = "reading a replica";
        let text: Option<String> = self
            .prepare(
                "SELECT definition FROM haversack_replicas WHERE id = ?1",
                doing,
            )?
            .query_row([id.to_string()], |row| row.get(0))
            .optional()
            .map_err(while_doing(doing))?;
        text.map(|text| from_json("a replica", &text)).transpose()
    }

    pub(super) fn replicas(&self) -> Result<Vec<Replica>> {
        let doing = "reading replicas";
        let mut statement = self.prepare(
            "SELECT definition FROM haversack_replicas ORDER BY id",
            doing,
        )?;
        let mut replicas = Vec::new();
        each_row(
            statement.query([]).map_err(while_doing(doing))?,
            doing,
            |row| {
                let text: String = row.get(0).map_err(while_doing(doing))?;
                replicas.push(from_json("a replica", &text)?);
                Ok(Flow::Continue(()))
            },
        )?;
        Ok(replicas)
    }

    pub(super) fn stored_reply(&self, replica: ReplicaId) -> Result<Option<StoredReply>> {
        let doing = "reading a stored reply";
        self.prepare(
            "SELECT batch, hash, reply FROM haversack_replies WHERE replica = ?1",
            doing,
        )?
        .query_row([replica.to_string()], |row| {
            Ok(StoredReply {
                batch: BatchNumber(row.get::<_, i64>(0)? as u64),
                hash: row.get(1)?,
                reply: row.get(2)?,
            })
        })
        .optional()
        .map_err(while_doing(doing))
    }

    pub(super) fn last_edit(
        &self,
        replica: ReplicaId,
        collection: CollectionId,
        id: &GlobalId,
    ) -> Result<Option<LastEdit>> {
        let doing = "reading the last edit of a replica";
        let found = self
            .prepare(
                "SELECT hash, sent, generation, outcome FROM haversack_last_edits \
                 WHERE replica = ?1 AND collection = ?2 AND global_id = ?3",
                doing,
            )?
            .query_row(
                params![
                    replica.to_string(),
                    collection.0,
                    column::global_id_text(id)?
                ],
                |row| {
                    Ok((
                        row.get::<_, [u8; 32]>(0)?,
                        row.get::<_, Option<String>>(1)?,
                        row.get::<_, i64>(2)? as u64,
                        row.get::<_, String>(3)?,
                    ))
                },
            )
            .optional()
            .map_err(while_doing(doing))?;
        found
            .map(|(hash, sent, generation, outcome)| {
                Ok(LastEdit {
                    hash,
                    sent: record_of(self.schema, collection, sent)?,
                    generation: Generation(generation),
                    outcome: from_json("the outcome of an edit", &outcome)?,
                })
            })
            .transpose()
    }

    pub(super) fn conflict(&self, id: ConflictId) -> Result<Option<Conflict>> {
        let doing = "reading a conflict";
        let sql = format!("SELECT {CONFLICT_COLUMNS} FROM haversack_conflicts WHERE id = ?1");
        let mut statement = self.prepare(&sql, doing)?;
        let mut rows = statement
            .query([id.to_string()])
            .map_err(while_doing(doing))?;
        match rows.next().map_err(while_doing(doing))? {
            None => Ok(None),
            Some(row) => conflict_of(self.schema, row).map(Some),
        }
    }

    pub(super) fn conflicts(
        &self,
        open_only: bool,
        visit: &mut dyn FnMut(Conflict) -> Result<Flow>,
    ) -> Result<()> {
        let doing = "reading conflicts";
        let open = if open_only {
            "WHERE resolved_at IS NULL"
        } else {
            ""
        };
        let sql =
            format!("SELECT {CONFLICT_COLUMNS} FROM haversack_conflicts {open} ORDER BY at, id");
        let mut statement = self.prepare(&sql, doing)?;
        let rows = statement.query([]).map_err(while_doing(doing))?;
        each_row(rows, doing, |row| visit(conflict_of(self.schema, row)?))
    }

    pub(super) fn blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>> {
        let doing = "reading a blob";
        self.prepare("SELECT content FROM haversack_blobs WHERE hash = ?1", doing)?
            .query_row([hash.0], |row| row.get(0))
            .optional()
            .map_err(while_doing(doing))
    }

    pub(super) fn has_blob(&self, hash: BlobHash) -> Result<bool> {
        let doing = "looking for a blob";
        self.prepare("SELECT 1 FROM haversack_blobs WHERE hash = ?1", doing)?
            .exists([hash.0])
            .map_err(while_doing(doing))
    }

    pub(super) fn store_replica(&self, replica: &Replica) -> Result<()> {
        let doing = "keeping a replica";
        let cursor = replica.layers.iter().map(|layer| layer.cursor.0).min();
        self.prepare(
            "INSERT OR REPLACE INTO haversack_replicas VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            doing,
        )?
        .execute(params![
            replica.id.to_string(),
            replica.name,
            replica.owner,
            cursor.unwrap_or(0) as i64,
            replica.synced_at.0,
            to_json(replica)?
        ])
        .map(|_| ())
        .map_err(while_doing(doing))
    }

    pub(super) fn remove_replica(&self, id: ReplicaId) -> Result<bool> {
        let doing = "forgetting a replica";
        let mut removed = 0;
        for table in ["haversack_replies", "haversack_last_edits"] {
            self.prepare(&format!("DELETE FROM {table} WHERE replica = ?1"), doing)?
                .execute([id.to_string()])
                .map_err(while_doing(doing))?;
        }
        removed += self
            .prepare("DELETE FROM haversack_replicas WHERE id = ?1", doing)?
            .execute([id.to_string()])
            .map_err(while_doing(doing))?;
        Ok(removed > 0)
    }

    pub(super) fn store_reply(&self, replica: ReplicaId, reply: &StoredReply) -> Result<()> {
        let doing = "keeping a reply";
        self.prepare(
            "INSERT OR REPLACE INTO haversack_replies VALUES (?1, ?2, ?3, ?4)",
            doing,
        )?
        .execute(params![
            replica.to_string(),
            reply.batch.0 as i64,
            reply.hash,
            reply.reply
        ])
        .map(|_| ())
        .map_err(while_doing(doing))
    }

    pub(super) fn store_last_edit(
        &self,
        replica: ReplicaId,
        collection: CollectionId,
        id: &GlobalId,
        edit: &LastEdit,
    ) -> Result<()> {
        let doing = "keeping the last edit of a replica";
        let layer = self.layer(collection)?;
        let sent = edit.sent.as_ref();
        self.prepare(
            "INSERT OR REPLACE INTO haversack_last_edits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            doing,
        )?
        .execute(params![
            replica.to_string(),
            collection.0,
            column::global_id_text(id)?,
            edit.generation.0 as i64,
            edit.hash,
            sent.map(|record| readable::to_text(&layer.collection, record)),
            to_json(&edit.outcome)?
        ])
        .map(|_| ())
        .map_err(while_doing(doing))
    }

    pub(super) fn prune_last_edits(&self, replica: ReplicaId, upto: Generation) -> Result<()> {
        let doing = "forgetting last edits of a replica";
        self.prepare(
            "DELETE FROM haversack_last_edits WHERE replica = ?1 AND generation <= ?2",
            doing,
        )?
        .execute(params![
            replica.to_string(),
            i64::try_from(upto.0).unwrap_or(i64::MAX)
        ])
        .map(|_| ())
        .map_err(while_doing(doing))
    }

    pub(super) fn store_conflict(&self, conflict: &Conflict) -> Result<()> {
        let doing = "keeping a conflict";
        let layer = self.layer(conflict.collection)?;
        let text = |version: &Option<Record>| {
            version
                .as_ref()
                .map(|record| readable::to_text(&layer.collection, record))
        };
        let resolution = conflict.resolution.as_ref();
        self.prepare(
            &format!(
                "INSERT INTO haversack_conflicts ({CONFLICT_COLUMNS}) VALUES \
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
                 ON CONFLICT (id) DO UPDATE SET ({CONFLICT_COLUMNS}) = \
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
            ),
            doing,
        )?
        .execute(params![
            conflict.id.to_string(),
            conflict.at.0,
            conflict.collection.0,
            column::global_id_text(&conflict.global_id)?,
            word(&conflict.kind)?,
            to_json(&conflict.fields)?,
            text(&conflict.base),
            text(&conflict.mine),
            text(&conflict.theirs),
            word(&conflict.policy)?,
            word(&conflict.winner)?,
            conflict.reason,
            conflict.replica.map(|id| id.to_string()),
            conflict.user,
            conflict.generation.0 as i64,
            resolution.map(|r| r.at.0),
            resolution.map(|r| r.user.as_str()),
            resolution.map(|r| r.kept.as_str()),
        ])
        .map(|_| ())
        .map_err(while_doing(doing))
    }

    pub(super) fn store_blob(&self, hash: BlobHash, content: &[u8], now: Timestamp) -> Result<()> {
        let doing = "keeping a blob";
        self.prepare(
            "INSERT INTO haversack_blobs VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (hash) DO UPDATE SET stored_at = max(stored_at, excluded.stored_at)",
            doing,
        )?
        .execute(params![hash.0, now.0, content.len() as i64, content])
        .map(|_| ())
        .map_err(while_doing(doing))
    }
}

fn record_of(
    schema: &Schema,
    collection: CollectionId,
    text: Option<String>,
) -> Result<Option<Record>> {
    let layer = schema.layer(collection)?;
    text.map(|text| readable::from_text(&layer.collection, &text))
        .transpose()
}

fn conflict_of(schema: &Schema, row: &Row<'_>) -> Result<Conflict> {
    let failed = while_doing("reading a conflict");
    let collection = CollectionId(row.get(2).map_err(&failed)?);
    let version = |at: usize| record_of(schema, collection, row.get(at).map_err(&failed)?);
    let id: String = row.get(0).map_err(&failed)?;
    let fields: String = row.get(5).map_err(&failed)?;
    let replica: Option<String> = row.get(12).map_err(&failed)?;
    let resolution = match row.get::<_, Option<i64>>(15).map_err(&failed)? {
        None => None,
        Some(at) => Some(Resolution {
            told: true,
            kept: row.get(17).map_err(&failed)?,
            user: row.get(16).map_err(&failed)?,
            at: Timestamp(at),
        }),
    };
    Ok(Conflict {
        id: ConflictId(Uuid::try_parse(&id).map_err(|e| corrupt(format!("conflict {id:?}: {e}")))?),
        at: Timestamp(row.get(1).map_err(&failed)?),
        collection,
        global_id: column::global_id(row.get_ref(3).map_err(&failed)?)?,
        kind: from_word::<ConflictKind>("a conflict", row.get(4).map_err(&failed)?)?,
        fields: from_json("a conflict's fields", &fields)?,
        base: version(6)?,
        mine: version(7)?,
        theirs: version(8)?,
        policy: from_word::<Policy>("a conflict", row.get(9).map_err(&failed)?)?,
        winner: from_word::<Winner>("a conflict", row.get(10).map_err(&failed)?)?,
        reason: row.get(11).map_err(&failed)?,
        replica: match replica {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|e| corrupt(format!("a conflict's replica: {e}")))?,
            ),
        },
        user: row.get(13).map_err(&failed)?,
        generation: Generation(row.get::<_, i64>(14).map_err(&failed)? as u64),
        resolution,
    })
}
