//! From a page of objects to changes of the copy, in one transaction.
//!
//! Unsent work is protected by the sync core, record by record: what the server has is kept beside it. A deletion by the server
//! of something that was edited here becomes a conflict, which holds both sides. Source: `spec/dhis2.md` 5.3.

use std::collections::BTreeSet;

use haversack_model::local::{Removal, RowVersion};
use haversack_model::remote::{Page, RemoteChange};
use haversack_model::{
    CollectionId, Conflict, ConflictId, ConflictKind, Cursor, Generation, GlobalId, Policy, Record,
    ReplicaTx, Result, Theirs, Timestamp, Winner,
};
use haversack_sync::client::apply_page;
use uuid::Uuid;

use super::Downloaded;
use crate::remote::copy;
use crate::remote::layout::{Layout, NOTES, RELATIONSHIPS, Table, metadata_table};
use crate::remote::metadata::content_revision;
use crate::wire::tracker::{Enrollment, Event, Kind, Note, Relationship, TrackedEntity};

/// What a page tells, taken apart.
pub(super) struct Changes<'a> {
    pub(super) layout: &'a Layout,
    tx: &'a mut dyn ReplicaTx,
    list: Vec<RemoteChange>,
    generation: Generation,
    /// Other sides of relationships that the copy does not hold.
    pub(super) missing: BTreeSet<(Kind, String)>,
    /// Organisation units that the copy does not know.
    pub(super) units: BTreeSet<String>,
    /// Objects of types, programs and stages that the copy does not know.
    pub(super) unknown: BTreeSet<String>,
    as_stubs: bool,
}

impl<'a> Changes<'a> {
    pub(super) fn new(layout: &'a Layout, tx: &'a mut dyn ReplicaTx) -> Result<Self> {
        let generation = tx.header()?.cursor.generation.next();
        Ok(Self {
            layout,
            tx,
            list: Vec::new(),
            generation,
            missing: BTreeSet::new(),
            units: BTreeSet::new(),
            unknown: BTreeSet::new(),
            as_stubs: false,
        })
    }
    /// What follows is the mere other side of relationships.
    pub(super) fn as_stubs(&mut self) {
        self.as_stubs = true;
    }

    /// A tracked entity with what is in it, asked for in a program or (`None`) in all.
    pub(super) fn entity(&mut self, entity: &TrackedEntity, program: Option<&str>) -> Result<()> {
        let uid = entity.tracked_entity.as_str();
        let Some(table) = self.layout.entities(&entity.tracked_entity_type) else {
            // A deleted one may come without its type.
            if !(entity.deleted && self.remove_entity_anywhere(uid)?) {
                self.unknown(&entity.tracked_entity_type);
            }
            return Ok(());
        };
        let known = self.known(table, uid)?;
        let before = known.map_or_else(Vec::new, |record| table.children(&record));
        if entity.deleted {
            for child in &before {
                self.remove_enrollment(child)?;
            }
            for child in &entity.enrollments {
                self.remove_enrollment(&child.enrollment)?;
            }
            self.remove(table.id(), uid);
            return self.relationships(&entity.relationships);
        }
        self.unit(&entity.org_unit)?;
        let mut told = BTreeSet::new();
        for enrollment in &entity.enrollments {
            if self.enrollment(enrollment, entity)? {
                told.insert(enrollment.enrollment.clone());
            }
        }
        let mut record = table.of_entity(entity);
        let mut children = told.clone();
        for child in before {
            if told.contains(&child) || entity.enrollments.iter().any(|e| e.enrollment == child) {
                continue;
            }
            if self.is_told_with(&child, program)? {
                // It has gone without a word.
                self.remove_enrollment(&child)?;
            } else {
                children.insert(child);
            }
        }
        let children: Vec<&str> = children.iter().map(String::as_str).collect();
        table.put(&mut record, "children", &children.join(","));
        self.put(table, record)?;
        self.relationships(&entity.relationships)
    }

    /// An enrollment with what is in it; gives whether it is there.
    fn enrollment(&mut self, enrollment: &Enrollment, entity: &TrackedEntity) -> Result<bool> {
        let uid = enrollment.enrollment.as_str();
        if enrollment.deleted {
            self.remove_enrollment(uid)?;
            for event in &enrollment.events {
                self.remove_event(&event.event)?;
            }
            self.relationships(&enrollment.relationships)?;
            return Ok(false);
        }
        let Some(table) = self.layout.enrollments(&enrollment.program) else {
            self.unknown(&enrollment.program);
            return Ok(false);
        };
        self.unit(&enrollment.org_unit)?;
        let known = self.known(table, uid)?;
        let before = known.map_or_else(Vec::new, |record| table.children(&record));
        for child in before {
            if !enrollment.events.iter().any(|event| event.event == child) {
                self.remove_event(&child)?;
            }
        }
        for event in &enrollment.events {
            self.event(event, Some(enrollment))?;
        }
        self.notes(&enrollment.notes, Kind::Enrollment, uid)?;
        self.put(table, table.of_enrollment(enrollment, entity))?;
        self.relationships(&enrollment.relationships)?;
        Ok(true)
    }

    /// An event of an enrollment, or of none.
    pub(super) fn event(&mut self, event: &Event, of: Option<&Enrollment>) -> Result<()> {
        if event.deleted {
            self.remove_event(&event.event)?;
            return self.relationships(&event.relationships);
        }
        let Some(table) = self.layout.events(&event.program_stage) else {
            self.unknown(&event.program_stage);
            return Ok(());
        };
        self.unit(&event.org_unit)?;
        self.notes(&event.notes, Kind::Event, &event.event)?;
        let mut record = table.of_event(event);
        if let Some(of) = of.filter(|_| event.enrollment.is_empty()) {
            table.put(&mut record, "enrollment", &of.enrollment);
        }
        self.put(table, record)?;
        self.relationships(&event.relationships)
    }

    /// An enrollment by itself, whose tracked entity may not be here.
    pub(super) fn bare_enrollment(&mut self, enrollment: &Enrollment) -> Result<()> {
        let of = TrackedEntity {
            tracked_entity: enrollment.tracked_entity.clone(),
            ..TrackedEntity::default()
        };
        self.enrollment(enrollment, &of)?;
        Ok(())
    }

    fn notes(&mut self, notes: &[Note], kind: Kind, parent: &str) -> Result<()> {
        let Some(table) = self.layout.table(NOTES) else {
            return Ok(());
        };
        for note in notes.iter().filter(|note| !note.note.is_empty()) {
            self.put(table, table.of_note(note, (kind, parent)))?;
        }
        Ok(())
    }
    fn relationships(&mut self, ties: &[Relationship]) -> Result<()> {
        // Those of a stub are not fetched.
        if self.as_stubs {
            return Ok(());
        }
        let Some(table) = self.layout.table(RELATIONSHIPS) else {
            return Ok(());
        };
        for tie in ties.iter().filter(|tie| !tie.relationship.is_empty()) {
            if tie.deleted {
                self.remove(table.id(), &tie.relationship);
                continue;
            }
            for (kind, uid) in [&tie.from, &tie.to].into_iter().filter_map(|s| s.object()) {
                self.missing.insert((kind, uid.to_owned()));
            }
            self.put(table, table.of_relationship(tie))?;
        }
        Ok(())
    }

    /// The server's last known version of a record.
    fn known(&self, table: &Table, uid: &str) -> Result<Option<Record>> {
        let id = GlobalId::Text(uid.into());
        if let Some(entry) = self.tx.entry(table.id(), &id)? {
            return Ok(match entry.theirs {
                Theirs::Row { record, .. } => Some(record),
                Theirs::Removed(_) => None,
                Theirs::Unchanged => entry.base.map(|(record, _)| record),
            });
        }
        if self.tx.version(table.id(), &id)?.is_none() {
            return Ok(None);
        }
        self.tx.row(table.id(), &id)
    }
    /// Whether the server would have told an enrollment in an answer about this program.
    fn is_told_with(&self, uid: &str, program: Option<&str>) -> Result<bool> {
        let Some(program) = program else {
            return Ok(true);
        };
        match self.layout.enrollments(program) {
            Some(table) => Ok(self.known(table, uid)?.is_some()),
            None => Ok(false),
        }
    }

    pub(super) fn put(&mut self, table: &Table, mut record: Record) -> Result<()> {
        if self.as_stubs && table.role.kind().is_some() {
            table.set_stub(&mut record);
        }
        let version = RowVersion {
            revision: content_revision(&record),
            generation: self.generation,
        };
        let (collection, id) = (table.id(), &record.global_id);
        let known = self.tx.version(collection, id)?;
        let is_same = known.is_some_and(|known| known.revision == version.revision);
        if is_same && self.tx.entry(collection, id)?.is_none() {
            return Ok(());
        }
        self.list.push(RemoteChange::Put {
            collection,
            record,
            version,
        });
        Ok(())
    }
    /// Whether the copy has a record, or work on it.
    pub(super) fn holds(&self, table: &Table, id: &GlobalId) -> Result<bool> {
        Ok(self.tx.version(table.id(), id)?.is_some() || self.tx.entry(table.id(), id)?.is_some())
    }
    /// Whether the server never told of a record that was added here.
    pub(super) fn is_new(&self, table: &Table, id: &GlobalId) -> Result<bool> {
        let entry = self.tx.entry(table.id(), id)?;
        Ok(entry.is_some_and(|entry| entry.base.is_none() && entry.theirs == Theirs::Unchanged))
    }
    pub(super) fn remove(&mut self, collection: CollectionId, uid: &str) {
        self.list.push(RemoteChange::Remove {
            collection,
            global_id: GlobalId::Text(uid.into()),
            removal: Removal::Deleted,
        });
    }
    /// Removes an object from whichever layer holds it; gives the table and what was known of it.
    fn remove_of(&mut self, kind: Kind, uid: &str) -> Result<Option<(CollectionId, Vec<String>)>> {
        let id = GlobalId::Text(uid.into());
        for table in self.layout.of_kind(kind) {
            if self.holds(table, &id)? {
                let known = self.known(table, uid)?;
                let children = known.map_or_else(Vec::new, |record| table.children(&record));
                self.remove(table.id(), uid);
                return Ok(Some((table.id(), children)));
            }
        }
        Ok(None)
    }
    fn remove_entity_anywhere(&mut self, uid: &str) -> Result<bool> {
        let Some((_, children)) = self.remove_of(Kind::TrackedEntity, uid)? else {
            return Ok(false);
        };
        for child in children {
            self.remove_enrollment(&child)?;
        }
        Ok(true)
    }
    fn remove_enrollment(&mut self, uid: &str) -> Result<()> {
        if let Some((_, events)) = self.remove_of(Kind::Enrollment, uid)? {
            for event in events {
                self.remove_event(&event)?;
            }
        }
        Ok(())
    }
    fn remove_event(&mut self, uid: &str) -> Result<()> {
        self.remove_of(Kind::Event, uid)?;
        Ok(())
    }

    fn unit(&mut self, uid: &str) -> Result<()> {
        let Some(units) = metadata_table("organisationUnits").filter(|_| !uid.is_empty()) else {
            return Ok(());
        };
        if !self.units.contains(uid)
            && self
                .tx
                .version(units, &GlobalId::Text(uid.into()))?
                .is_none()
        {
            self.units.insert(uid.to_owned());
        }
        Ok(())
    }
    fn unknown(&mut self, of: &str) {
        self.unknown.insert(of.to_owned());
    }

    /// Leaves out of what is missing what the copy holds, or is about to.
    fn settle_missing(&mut self) -> Result<()> {
        let mut missing = std::mem::take(&mut self.missing);
        for change in &self.list {
            if let RemoteChange::Put {
                collection, record, ..
            } = change
                && let Some(kind) = self.layout.table(*collection).and_then(|t| t.role.kind())
            {
                missing.remove(&(kind, record.global_id.to_string()));
            }
        }
        for (kind, uid) in missing {
            let id = GlobalId::Text(uid.as_str().into());
            let mut is_here = false;
            for table in self.layout.of_kind(kind) {
                is_here |= self.tx.version(table.id(), &id)?.is_some()
                    || self.tx.entry(table.id(), &id)?.is_some();
            }
            if !is_here {
                self.missing.insert((kind, uid));
            }
        }
        Ok(())
    }

    /// Stores all of it.
    pub(super) fn store(mut self, now: Timestamp, done: &mut Downloaded) -> Result<Rest> {
        self.settle_missing()?;
        for change in &self.list {
            match change {
                RemoteChange::Put {
                    collection, record, ..
                } => match self.tx.entry(*collection, &record.global_id)? {
                    Some(_) => done.protected += 1,
                    None => done.put += 1,
                },
                RemoteChange::Remove {
                    collection,
                    global_id,
                    ..
                } => match self.tx.entry(*collection, global_id)? {
                    Some(_) => done.protected += 1,
                    None if self.tx.version(*collection, global_id)?.is_some() => done.removed += 1,
                    None => {}
                },
            }
        }
        let header = self.tx.header()?;
        let removed: Vec<(CollectionId, GlobalId)> = self
            .list
            .iter()
            .filter_map(|change| match change {
                RemoteChange::Remove {
                    collection,
                    global_id,
                    ..
                } => Some((*collection, global_id.clone())),
                RemoteChange::Put { .. } => None,
            })
            .collect();
        for change in &self.list {
            match change {
                RemoteChange::Put {
                    collection, record, ..
                } => copy::came(self.tx, *collection, &record.global_id)?,
                RemoteChange::Remove {
                    collection,
                    global_id,
                    ..
                } => copy::came(self.tx, *collection, global_id)?,
            }
        }
        let page = Page {
            schema: None,
            changes: self.list,
            cursor: Cursor::bare(header.cursor.history, self.generation),
            layer_cursors: Vec::new(),
            more: false,
            download: None,
            held: haversack_model::Versions::default(),
        };
        apply_page(self.tx, &header, &page)?;
        for (collection, id) in removed {
            done.conflicts +=
                usize::from(keep_both(self.tx, collection, &id, self.generation, now)?);
        }
        Ok(Rest {
            missing: self.missing,
            units: self.units,
            unknown: self.unknown,
        })
    }
}

/// What is still to be fetched after a page.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) missing: BTreeSet<(Kind, String)>,
    pub(super) units: BTreeSet<String>,
    pub(super) unknown: BTreeSet<String>,
}

impl Rest {
    pub(super) fn add(&mut self, other: Self) {
        self.missing.extend(other.missing);
        self.units.extend(other.units);
        self.unknown.extend(other.unknown);
    }
}

/// What was edited here and deleted there is a conflict; gives whether it is a new one.
fn keep_both(
    tx: &mut dyn ReplicaTx,
    collection: CollectionId,
    id: &GlobalId,
    generation: Generation,
    at: Timestamp,
) -> Result<bool> {
    let Some(entry) = tx.entry(collection, id)?.filter(|entry| !entry.deleted) else {
        return Ok(false);
    };
    if entry.theirs != Theirs::Removed(Removal::Deleted) {
        return Ok(false);
    }
    // The same deletion is told again and again.
    let known = tx.conflicts(true)?;
    if known
        .iter()
        .any(|c| c.collection == collection && c.global_id == *id)
    {
        return Ok(false);
    }
    let conflict = Conflict {
        id: ConflictId(Uuid::new_v4()),
        collection,
        global_id: id.clone(),
        kind: ConflictKind::UpdateDelete,
        base: entry.base.map(|(record, _)| record),
        mine: tx.row(collection, id)?,
        theirs: None,
        fields: Vec::new(),
        policy: Policy::Merge,
        winner: Winner::Mine,
        reason: "it was edited here and deleted on the server; both are kept until you decide"
            .to_owned(),
        replica: Some(tx.header()?.id),
        user: String::new(),
        at,
        generation,
        resolution: None,
    };
    tx.store_conflict(&conflict)?;
    Ok(true)
}

/// Drops the relationships that end at an object which cannot be had, unless they are unsent; gives how many.
pub(super) fn drop_ties(layout: &Layout, tx: &mut dyn ReplicaTx, uid: &str) -> Result<usize> {
    let Some(table) = layout.table(RELATIONSHIPS) else {
        return Ok(0);
    };
    let mut dropped = 0;
    for id in tx.confirmed(table.id())? {
        let Some(row) = tx.row(table.id(), &id)? else {
            continue;
        };
        let ends_there = ["from_uid", "to_uid"]
            .iter()
            .any(|side| table.text(&row, side) == uid);
        if ends_there && tx.entry(table.id(), &id)?.is_none() {
            tx.remove_row(table.id(), &id)?;
            tx.store_version(table.id(), &id, None)?;
            copy::came(tx, table.id(), &id)?;
            dropped += 1;
        }
    }
    Ok(dropped)
}
