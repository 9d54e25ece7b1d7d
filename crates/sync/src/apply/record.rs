//! One edit of one record: add, update, delete against what the server has.

use haversack_model::edit::Base;
use haversack_model::{
    Changes, Conflict, ConflictId, ConflictKind, Generation, GlobalId, Outcome, Record, RejectCode,
    Result, Value, Versioned, Winner,
};

use super::{Applying, Shape, is_all_of, not_found, rejected};
use crate::merge::{three_way, winner};
use crate::validate::Refusal;

/// The three versions of a conflict.
pub(super) struct Clash {
    pub(super) kind: ConflictKind,
    pub(super) base: Option<Record>,
    pub(super) mine: Option<Record>,
    pub(super) theirs: Option<Record>,
    pub(super) fields: Vec<String>,
    pub(super) winner: Winner,
    pub(super) reason: String,
}

impl Applying<'_, '_, '_> {
    pub(super) fn add(
        &mut self,
        shape: &Shape,
        mut record: Record,
        undelete: bool,
        current: Option<Versioned>,
    ) -> Result<Outcome> {
        let id = record.global_id.clone();
        if let Some(current) = current {
            for &at in &shape.stamped {
                record.values[at].clone_from(&current.record.values[at]);
            }
            if record.same_content(&current.record) {
                return Ok(Outcome::Applied);
            }
            if self.by.replica.is_none() {
                return Ok(rejected((
                    RejectCode::Refused,
                    format!("there is a record {id} already"),
                )));
            }
            let differing = Changes::between(&current.record, &record);
            let clash = Clash {
                kind: ConflictKind::AddAdd,
                base: None,
                mine: Some(record.clone()),
                theirs: Some(current.record.clone()),
                fields: names(shape, &differing),
                winner: winner(self.by.policy, ConflictKind::AddAdd, false),
                reason: format!("both sides added {id} with different content"),
            };
            return self.conflict(shape, &id, clash, Some((record, Some(&current))));
        }
        let tombstone = self.tx.track(shape.collection.id, &id)?;
        if let Some(tombstone) = tombstone {
            let seen = (self.cursor_of)(shape.collection.id)
                .is_some_and(|cursor| tombstone.generation <= cursor);
            if !(undelete || seen || self.by.replica.is_none()) {
                return self.update_of_deleted(shape, &id, None, record);
            }
        }
        match self.store(shape, record, None)? {
            Ok(()) => Ok(Outcome::Applied),
            Err(refusal) => Ok(rejected(refusal)),
        }
    }

    pub(super) fn update(
        &mut self,
        shape: &Shape,
        id: &GlobalId,
        mut mine: Changes,
        base: Option<&Base>,
        current: Option<Versioned>,
    ) -> Result<Outcome> {
        let Some(current) = current else {
            return self.update_of_absent(shape, id, &mine, base);
        };
        if let Err(refusal) = drop_read_only(shape, &mut mine, &current.record) {
            return Ok(rejected(refusal));
        }
        let base_revision = base.map(|base| base.revision);
        let known = match base {
            // The same version: all of it is known, whatever the sender kept of it.
            Some(base) if base.revision == current.track.revision => {
                crate::merge::whole(&current.record)
            }
            Some(base) => base.content.clone(),
            // An online edit that names no version means the present one.
            None if self.by.replica.is_none() => crate::merge::whole(&current.record),
            None => Changes::default(),
        };
        let merge = three_way(&known, &mine, &current.record);
        let mut combined = current.record.clone();
        merge.free.apply_to(&mut combined);
        if merge.clashes.is_empty() {
            if merge.free.is_empty() {
                return Ok(Outcome::Applied);
            }
            let others_changed =
                base_revision.is_some_and(|revision| revision != current.track.revision);
            return Ok(match self.store(shape, combined, Some(&current))? {
                Ok(()) if others_changed => Outcome::Merged,
                Ok(()) => Outcome::Applied,
                Err(refusal) => rejected(refusal),
            });
        }
        let chosen = winner(
            self.by.policy,
            ConflictKind::UpdateUpdate,
            !merge.free.is_empty(),
        );
        let base_record = match base {
            Some(base) => Some(self.version_of(shape, id, base, &current.record)?),
            None => None,
        };
        let mut mine_record = base_record
            .clone()
            .unwrap_or_else(|| current.record.clone());
        mine.apply_to(&mut mine_record);
        let fields = names(shape, &merge.clashes);
        let target = match chosen {
            Winner::Theirs => None,
            Winner::Merged => Some(combined),
            Winner::Mine => {
                merge.clashes.apply_to(&mut combined);
                Some(combined)
            }
        };
        let clash = Clash {
            kind: ConflictKind::UpdateUpdate,
            base: base_record,
            mine: Some(mine_record),
            theirs: Some(current.record.clone()),
            reason: format!("both sides changed {}", fields.join(", ")),
            fields,
            winner: chosen,
        };
        self.conflict(
            shape,
            id,
            clash,
            target.map(|record| (record, Some(&current))),
        )
    }

    fn update_of_absent(
        &mut self,
        shape: &Shape,
        id: &GlobalId,
        mine: &Changes,
        base: Option<&Base>,
    ) -> Result<Outcome> {
        let tombstone = self.tx.track(shape.collection.id, id)?;
        // A version that a replica names did exist: the tombstone has been collected since.
        let did_exist = tombstone.is_some() || (self.by.replica.is_some() && base.is_some());
        if !did_exist {
            return Ok(rejected(not_found(id)));
        }
        if self.by.replica.is_none() && base.is_none() {
            return Ok(rejected((
                RejectCode::Deleted,
                format!("the record {id} was deleted"),
            )));
        }
        let history = self.tx.history(shape.collection.id, id)?;
        let named = history
            .iter()
            .find(|version| base.is_some_and(|base| base.revision == version.track.revision));
        let mut record = named
            .or_else(|| history.first())
            .map_or_else(|| blank(shape, id), |version| version.record.clone());
        record.object_id = None;
        if let Some(base) = base {
            base.content.apply_to(&mut record);
        }
        let base_record = base.map(|_| record.clone());
        mine.apply_to(&mut record);
        self.update_of_deleted(shape, id, base_record, record)
    }

    /// Mine changes, or adds again, what the server deleted.
    fn update_of_deleted(
        &mut self,
        shape: &Shape,
        id: &GlobalId,
        base: Option<Record>,
        mine: Record,
    ) -> Result<Outcome> {
        let chosen = winner(self.by.policy, ConflictKind::UpdateDelete, false);
        let clash = Clash {
            kind: ConflictKind::UpdateDelete,
            base,
            mine: Some(mine.clone()),
            theirs: None,
            fields: Vec::new(),
            winner: chosen,
            reason: format!("the server had deleted {id}, and this side changed it"),
        };
        let target = (chosen == Winner::Mine).then_some((mine, None));
        self.conflict(shape, id, clash, target)
    }

    pub(super) fn delete(
        &mut self,
        shape: &Shape,
        id: &GlobalId,
        base: Option<&Base>,
        current: Option<Versioned>,
    ) -> Result<Outcome> {
        // What is gone already, or never was, is as the sender wants it.
        let Some(current) = current else {
            return Ok(Outcome::Applied);
        };
        let unchanged = match base {
            None => self.by.replica.is_none(),
            Some(base) => {
                base.revision == current.track.revision || is_all_of(shape, &base.content, &current)
            }
        };
        if unchanged {
            self.remove(shape, &current)?;
            return Ok(Outcome::Applied);
        }
        let chosen = winner(self.by.policy, ConflictKind::DeleteUpdate, false);
        let base_record = match base {
            Some(base) => Some(self.version_of(shape, id, base, &current.record)?),
            None => None,
        };
        let clash = Clash {
            kind: ConflictKind::DeleteUpdate,
            base: base_record,
            mine: None,
            theirs: Some(current.record.clone()),
            fields: Vec::new(),
            winner: chosen,
            reason: format!("this side deleted {id}, and the server had changed it"),
        };
        if chosen == Winner::Mine {
            self.remove(shape, &current)?;
        }
        self.conflict(shape, id, clash, None)
    }

    /// Stores the winner, if it is not there already, and the conflict.
    fn conflict(
        &mut self,
        shape: &Shape,
        id: &GlobalId,
        clash: Clash,
        target: Option<(Record, Option<&Versioned>)>,
    ) -> Result<Outcome> {
        if let (Winner::Mine | Winner::Merged, Some((record, current))) = (clash.winner, target)
            && let Err(refusal) = self.store(shape, record, current)?
        {
            return Ok(rejected(refusal));
        }
        let mine_won = clash.winner == Winner::Mine;
        let conflict = self.note_conflict(shape, id, clash);
        Ok(Outcome::Conflict { conflict, mine_won })
    }

    pub(super) fn note_conflict(
        &mut self,
        shape: &Shape,
        id: &GlobalId,
        clash: Clash,
    ) -> ConflictId {
        let conflict = ConflictId((self.ids.0)());
        self.conflicts.push(Conflict {
            id: conflict,
            collection: shape.collection.id,
            global_id: id.clone(),
            kind: clash.kind,
            base: clash.base,
            mine: clash.mine,
            theirs: clash.theirs,
            fields: clash.fields,
            policy: self.by.policy,
            winner: clash.winner,
            reason: clash.reason,
            replica: self.by.replica,
            user: self.by.user.to_owned(),
            at: self.now,
            generation: Generation::ZERO,
            resolution: None,
        });
        conflict
    }

    /// The whole record of the version that a base names: from history, else the present one with what the base holds.
    fn version_of(
        &self,
        shape: &Shape,
        id: &GlobalId,
        base: &Base,
        current: &Record,
    ) -> Result<Record> {
        let history = self.tx.history(shape.collection.id, id)?;
        let exact = history
            .into_iter()
            .find(|version| version.track.revision == base.revision);
        let mut record = exact.map_or_else(|| current.clone(), |version| version.record);
        base.content.apply_to(&mut record);
        Ok(record)
    }

    /// Stamps and stores a record, unless a rule refuses it.
    fn store(
        &mut self,
        shape: &Shape,
        mut record: Record,
        current: Option<&Versioned>,
    ) -> Result<Result<(), Refusal>> {
        let collection = shape.collection.id;
        self.stamp(shape, &mut record, current);
        if let Err(refusal) = self.check_attachment(shape, &record)? {
            return Ok(Err(refusal));
        }
        let guarded = shape.grant != haversack_model::Filter::All;
        if guarded && !self.all_or_nothing {
            self.tx.savepoint()?;
        }
        let before = self.membership_of(shape, &record.global_id)?;
        self.object_id = Some(self.tx.put(collection, &record, self.by.replica)?);
        if guarded
            && !self
                .tx
                .matches(collection, &record.global_id, &shape.grant)?
        {
            if !self.all_or_nothing {
                self.tx.rollback_to_savepoint()?;
            }
            return Ok(Err((
                RejectCode::Forbidden,
                format!("{} would lie outside this user's reach", record.global_id),
            )));
        }
        self.touch_where_changed(shape, &record.global_id, &before)?;
        Ok(Ok(()))
    }

    fn stamp(&self, shape: &Shape, record: &mut Record, current: Option<&Versioned>) {
        let Some(names) = &shape.collection.editor_fields else {
            return;
        };
        let (time, user) = (Value::Integer(self.now.0), Value::from(self.by.user));
        for (name, value, at_creation) in [
            (&names.created_at, &time, true),
            (&names.creator, &user, true),
            (&names.edited_at, &time, false),
            (&names.editor, &user, false),
        ] {
            if let Some(at) = shape.collection.field_index(name) {
                record.values[at] = match current {
                    Some(current) if at_creation => current.record.values[at].clone(),
                    _ => value.clone(),
                };
            }
        }
    }
}

/// Drops fields that clients may not set where the sender merely repeats them; a real change is refused.
fn drop_read_only(shape: &Shape, mine: &mut Changes, current: &Record) -> Result<(), Refusal> {
    for (at, field) in shape.collection.fields.iter().enumerate() {
        if field.editable {
            continue;
        }
        if let Some(value) = mine.values.remove(&at)
            && current.values.get(at) != Some(&value)
        {
            return Err((
                RejectCode::InvalidValue,
                format!("{} cannot be set", field.name),
            ));
        }
    }
    Ok(())
}

/// A record of which nothing but the id is known.
fn blank(shape: &Shape, id: &GlobalId) -> Record {
    Record {
        global_id: id.clone(),
        object_id: None,
        values: shape
            .collection
            .fields
            .iter()
            .map(|f| f.default.clone())
            .collect(),
        geometry: None,
    }
}

/// Names of changed fields, the geometry under its column name.
fn names(shape: &Shape, changes: &Changes) -> Vec<String> {
    let fields = changes
        .values
        .keys()
        .filter_map(|&at| shape.collection.fields.get(at));
    let mut names: Vec<_> = fields.map(|field| field.name.clone()).collect();
    if changes.geometry.is_some() {
        let column = shape.collection.geometry.as_ref();
        names.push(column.map_or_else(|| "geometry".to_owned(), |column| column.name.clone()));
    }
    names
}
