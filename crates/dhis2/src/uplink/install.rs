//! Down: records of the copy become documents of the face.
//!
//! Only what differs is written, so that what is equal takes no generation and devices hear of news alone. A record that is not in the copy
//! any more is told as deleted. Parents are told of their children, as after an import.

use std::collections::{BTreeSet, HashMap};

use haversack_model::documents::{DocumentRead, DocumentWrite, document};
use haversack_model::{GlobalId, Record, ReplicaTx};
use serde_json::json;

use super::edit::is_same;
use super::files::Names;
use super::{Result, aggregate, named};
use crate::face::instance::{Instance, key};
use crate::face::reserve::document_of;
use crate::face::tracker::rows::{self, Object, Row};
use crate::remote::layout::{Layout, NOTES, Table};
use crate::wire::geojson;
use crate::wire::tracker::{
    Attribute, Enrollment, Event, Kind, Note, ProgramOwner, Relationship, TrackedEntity,
};

/// Writes records into the face, in one of its transactions.
pub(super) struct Installer<'a> {
    pub(super) instance: &'a Instance,
    pub(super) face: &'a mut dyn DocumentWrite,
    copy: &'a dyn ReplicaTx,
    layout: Layout,
    names: Names,
    /// What aggregate data of a collection are about, by their uids in the copy; read when it is asked for.
    pub(super) keys: HashMap<String, HashMap<String, String>>,
    /// Attributes of which no two people have the same value.
    unique: BTreeSet<String>,
    /// Documents that were written.
    pub(super) written: usize,
}

impl<'a> Installer<'a> {
    pub(super) fn new(
        instance: &'a Instance,
        face: &'a mut dyn DocumentWrite,
        copy: &'a dyn ReplicaTx,
    ) -> Result<Self> {
        let layout = Layout::of(&copy.collections()?);
        let mut unique = BTreeSet::new();
        let read: &dyn DocumentRead = &*face;
        instance.each(read, "trackedEntityAttributes", |attribute| {
            if attribute.members.get("unique") == Some(&json!(true)) {
                unique.insert(attribute.id);
            }
            Ok(())
        })?;
        Ok(Self {
            instance,
            face,
            copy,
            layout,
            names: Names::load(copy)?,
            keys: HashMap::new(),
            unique,
            written: 0,
        })
    }

    /// Writes the records of these names, parents before children.
    pub(super) fn all(&mut self, names: &[String]) -> Result<()> {
        let mut found: Vec<(usize, Table, GlobalId)> = Vec::new();
        for name in names {
            let Some((collection, id)) = named(name) else {
                continue;
            };
            let Some(table) = self.layout.table(collection).cloned() else {
                continue;
            };
            let Some(rank) = rank(&table) else {
                continue;
            };
            found.push((rank, table, id));
        }
        found.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
        for (_, table, id) in &found {
            self.one(table, id)?;
        }
        Ok(())
    }

    fn one(&mut self, table: &Table, id: &GlobalId) -> Result<()> {
        let uid = id.to_string();
        let mut record = self.copy.row(table.id(), id)?;
        if let Some(record) = &mut record {
            let face = (self.instance, &*self.face as &dyn DocumentRead);
            self.names.come_down(table, record, face)?;
        }
        if let Some(collection) = aggregate::collection_of(table) {
            return match record {
                Some(record) => self.aggregate(table, collection, &record),
                None => self.take_back(collection, &uid),
            };
        }
        match (table.role.kind(), record) {
            (Some(Kind::TrackedEntity), Some(record)) => self.entity(table, &record)?,
            (Some(Kind::TrackedEntity), None) => self.bury::<TrackedEntity>(&uid)?,
            (Some(Kind::Enrollment), Some(record)) => self.enrollment(table, &record)?,
            (Some(Kind::Enrollment), None) => self.bury::<Enrollment>(&uid)?,
            (Some(Kind::Event), Some(record)) => self.event(table, &record)?,
            (Some(Kind::Event), None) => self.bury::<Event>(&uid)?,
            (Some(Kind::Relationship), Some(record)) => self.relationship(table, &record)?,
            (Some(Kind::Relationship), None) => self.bury::<Relationship>(&uid)?,
            (None, Some(record)) => self.note(table, &record)?,
            (None, None) => {}
        }
        Ok(())
    }

    fn load<T: Object>(&self, uid: &str) -> Result<Option<Row<T>>> {
        Ok(rows::load::<T>(self.instance, &*self.face, uid)?)
    }
    fn store<T: Object>(&mut self, row: Row<T>) -> Result<bool> {
        let is_news = rows::store(self.instance, self.face, row, "")?;
        self.written += usize::from(is_news);
        Ok(is_news)
    }
    fn touch(&mut self, kind: Kind, uid: &str) -> Result<()> {
        Ok(rows::touch(self.instance, self.face, kind, uid)?)
    }

    fn entity(&mut self, table: &Table, record: &Record) -> Result<()> {
        let mut object = table.entity(record);
        let known = self.load::<TrackedEntity>(&object.tracked_entity)?;
        if let Some(known) = &known
            && !known.object.deleted
            && is_same(table, &table.of_entity(&known.object), record)
        {
            return Ok(());
        }
        let mut row = known.unwrap_or_default();
        object.program_owners = std::mem::take(&mut row.object.program_owners);
        object.attributes = std::mem::take(&mut row.object.attributes);
        keep_place(&mut object.geometry, row.object.geometry.as_ref(), record);
        self.set_attributes(&mut object, table, record)?;
        row.object = object;
        self.store(row)?;
        Ok(())
    }

    /// Sets the attributes that a table holds; others stay.
    fn set_attributes(
        &mut self,
        entity: &mut TrackedEntity,
        table: &Table,
        record: &Record,
    ) -> Result<()> {
        let known = table.of_entity(entity);
        for (at, id) in table.values() {
            let value = record.values.get(*at);
            if known.values.get(*at) == value {
                continue;
            }
            let text = value.and_then(crate::remote::layout::value_out);
            let place = entity.attributes.iter().position(|a| a.attribute == *id);
            let old = place.and_then(|place| entity.attributes[place].value.clone());
            if old == text {
                continue;
            }
            self.give_value(id, old.as_deref(), text.as_deref(), &entity.tracked_entity)?;
            match (place, text) {
                (Some(place), Some(text)) => entity.attributes[place].value = Some(text),
                (Some(place), None) => drop(entity.attributes.remove(place)),
                (None, Some(text)) => entity.attributes.push(Attribute {
                    attribute: id.clone(),
                    value: Some(text),
                    ..Attribute::default()
                }),
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Notes who has the value of a unique attribute.
    fn give_value(
        &mut self,
        attribute: &str,
        old: Option<&str>,
        new: Option<&str>,
        entity: &str,
    ) -> Result<()> {
        if !self.unique.contains(attribute) {
            return Ok(());
        }
        let collection = self.instance.collection("takenValues")?;
        if let Some(old) = old {
            let id = key(&document_of(attribute, old));
            self.face.delete(collection, &id, None)?;
        }
        if let Some(new) = new {
            let row = json!({"attribute": attribute, "value": new, "trackedEntity": entity});
            let row = document(&document_of(attribute, new), row.to_string());
            self.face.put(collection, &row, None)?;
        }
        Ok(())
    }

    /// The document of a parent; it is written first if it is in the copy alone.
    fn parent<T: Object>(&mut self, uid: &str) -> Result<Option<Row<T>>> {
        if let Some(row) = self.load::<T>(uid)?.filter(|row| !row.object.is_deleted()) {
            return Ok(Some(row));
        }
        let id = GlobalId::Text(uid.into());
        let tables: Vec<Table> = self.layout.of_kind(T::KIND).cloned().collect();
        for table in tables {
            if self.copy.row(table.id(), &id)?.is_some() {
                self.one(&table, &id)?;
                return self.load::<T>(uid);
            }
        }
        Ok(None)
    }

    fn enrollment(&mut self, table: &Table, record: &Record) -> Result<()> {
        let (mut object, owner) = table.enrollment(record);
        let Some(mut parent) = self.parent::<TrackedEntity>(&object.tracked_entity)? else {
            tracing::warn!(
                enrollment = object.enrollment,
                "an enrollment whose tracked entity did not come is left out"
            );
            return Ok(());
        };
        let known = self.load::<Enrollment>(&object.enrollment)?;
        let uid = object.tracked_entity.clone();
        let is_known = known.as_ref().is_some_and(|known| {
            !known.object.deleted
                && parent.children.contains(&object.enrollment)
                && is_same(
                    table,
                    &table.of_enrollment(&known.object, &parent.object),
                    record,
                )
        });
        if is_known {
            return Ok(());
        }
        if !parent.children.contains(&object.enrollment) {
            parent.children.push(object.enrollment.clone());
        }
        let unit = owner.map_or_else(|| object.org_unit.clone(), |owner| owner.org_unit);
        let owners = &mut parent.object.program_owners;
        match owners.iter_mut().find(|o| o.program == object.program) {
            Some(owner) => owner.org_unit = unit,
            None => owners.push(ProgramOwner {
                tracked_entity: uid.clone(),
                program: object.program.clone(),
                org_unit: unit,
            }),
        }
        self.set_attributes(&mut parent.object, table, record)?;
        self.store(parent)?;
        let mut row = known.unwrap_or_default();
        // They are kept with the tracked entity.
        object.attributes.clear();
        object.notes = std::mem::take(&mut row.object.notes);
        keep_place(&mut object.geometry, row.object.geometry.as_ref(), record);
        row.object = object;
        self.store(row)?;
        self.touch(Kind::TrackedEntity, &uid)
    }

    fn event(&mut self, table: &Table, record: &Record) -> Result<()> {
        let mut object = table.event(record);
        let known = self.load::<Event>(&object.event)?;
        let is_known = known.as_ref().is_some_and(|known| {
            !known.object.deleted && is_same(table, &table.of_event(&known.object), record)
        });
        if is_known {
            return Ok(());
        }
        let enrollment = object.enrollment.clone();
        if !enrollment.is_empty() {
            let Some(mut parent) = self.parent::<Enrollment>(&enrollment)? else {
                tracing::warn!(
                    event = object.event,
                    "an event whose enrollment did not come is left out"
                );
                return Ok(());
            };
            object
                .tracked_entity
                .clone_from(&parent.object.tracked_entity);
            if !parent.children.contains(&object.event) {
                parent.children.push(object.event.clone());
                self.store(parent)?;
            }
        }
        let mut row = known.unwrap_or_default();
        object.notes = std::mem::take(&mut row.object.notes);
        keep_place(&mut object.geometry, row.object.geometry.as_ref(), record);
        // When a value was first set here is kept.
        for value in &mut object.data_values {
            let mut all = row.object.data_values.iter();
            if let Some(old) = all.find(|old| old.data_element == value.data_element) {
                value.created_at.clone_from(&old.created_at);
                if old.value == value.value {
                    value.updated_at.clone_from(&old.updated_at);
                }
            }
        }
        let entity = object.tracked_entity.clone();
        row.object = object;
        self.store(row)?;
        self.touch(Kind::Enrollment, &enrollment)?;
        self.touch(Kind::TrackedEntity, &entity)
    }

    fn relationship(&mut self, table: &Table, record: &Record) -> Result<()> {
        let object = table.relationship(record);
        let known = self.load::<Relationship>(&object.relationship)?;
        // They are never changed.
        if known.as_ref().is_some_and(|known| !known.object.deleted) {
            return Ok(());
        }
        for side in [&object.from, &object.to] {
            match side.object() {
                Some((Kind::TrackedEntity, uid)) => {
                    self.tie::<TrackedEntity>(uid, &object.relationship)?;
                }
                Some((Kind::Enrollment, uid)) => {
                    self.tie::<Enrollment>(uid, &object.relationship)?;
                }
                Some((Kind::Event, uid)) => self.tie::<Event>(uid, &object.relationship)?,
                _ => {}
            }
        }
        let mut row = known.unwrap_or_default();
        row.object = object;
        self.store(row)?;
        Ok(())
    }
    fn tie<T: Object>(&mut self, uid: &str, relationship: &str) -> Result<()> {
        if let Some(mut row) = self.load::<T>(uid)?
            && !row.ties.iter().any(|tie| tie == relationship)
        {
            row.ties.push(relationship.to_owned());
            self.store(row)?;
        }
        Ok(())
    }

    fn note(&mut self, table: &Table, record: &Record) -> Result<()> {
        let (note, kind, parent) = table.note(record);
        match kind {
            Some(Kind::Enrollment) => {
                if let Some(mut row) = self.load::<Enrollment>(&parent)?
                    && add_note(&mut row.object.notes, note)
                {
                    let entity = row.object.tracked_entity.clone();
                    self.store(row)?;
                    self.touch(Kind::TrackedEntity, &entity)?;
                }
            }
            Some(Kind::Event) => {
                if let Some(mut row) = self.load::<Event>(&parent)?
                    && add_note(&mut row.object.notes, note)
                {
                    let of = (
                        row.object.enrollment.clone(),
                        row.object.tracked_entity.clone(),
                    );
                    self.store(row)?;
                    self.touch(Kind::Enrollment, &of.0)?;
                    self.touch(Kind::TrackedEntity, &of.1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells that an object is deleted, with the relationships that name it.
    fn bury<T: Object>(&mut self, uid: &str) -> Result<()> {
        let Some(mut row) = self.load::<T>(uid)?.filter(|row| !row.object.is_deleted()) else {
            return Ok(());
        };
        for tie in row.ties.clone() {
            if T::KIND != Kind::Relationship {
                self.bury::<Relationship>(&tie)?;
            }
        }
        let parents = self.let_go(&row)?;
        row.object.set_deleted();
        self.store(row)?;
        for (kind, uid) in parents {
            self.touch(kind, &uid)?;
        }
        Ok(())
    }
    /// Gives back what a deleted object held; gives whose family it was of.
    fn let_go<T: Object>(&mut self, row: &Row<T>) -> Result<Vec<(Kind, String)>> {
        let object = serde_json::to_value(&row.object).unwrap_or_default();
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        if T::KIND == Kind::TrackedEntity {
            for attribute in object["attributes"].as_array().into_iter().flatten() {
                let (id, value) = (&attribute["attribute"], &attribute["value"]);
                let id = id.as_str().unwrap_or_default();
                self.give_value(id, value.as_str(), None, "")?;
            }
            return Ok(Vec::new());
        }
        Ok(vec![
            (Kind::Enrollment, text("enrollment")),
            (Kind::TrackedEntity, text("trackedEntity")),
        ])
    }
}

/// Parents have lower ranks than what belongs to them; what is no data has none.
pub(super) fn rank(table: &Table) -> Option<usize> {
    match table.role.kind() {
        Some(Kind::TrackedEntity) => Some(0),
        Some(Kind::Enrollment) => Some(1),
        Some(Kind::Event) => Some(2),
        None if table.id() == NOTES => Some(3),
        Some(Kind::Relationship) => Some(4),
        None if aggregate::collection_of(table).is_some() => Some(5),
        None => None,
    }
}

fn add_note(notes: &mut Vec<Note>, note: Note) -> bool {
    let is_new = !notes.iter().any(|there| there.note == note.note);
    if is_new {
        notes.push(note);
    }
    is_new
}

/// Keeps a place as it was written, if it is the same one.
fn keep_place(
    came: &mut Option<serde_json::Value>,
    known: Option<&serde_json::Value>,
    record: &Record,
) {
    if known.is_some() && known.and_then(geojson::read) == record.geometry {
        *came = known.cloned();
    }
}
