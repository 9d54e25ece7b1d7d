//! The face's documents of one time, as records of the copy.
//!
//! Values that name files name those of the country, where it has them.

use std::collections::BTreeMap;

use haversack_model::documents::DocumentRead;
use haversack_model::{CollectionId, Generation, GlobalId, Record, Versioned};

use super::files::Names;
use super::{Result, aggregate};
use crate::face::instance::{Instance, Stored, key};
use crate::face::tracker::rows::{self, Object, Row};
use crate::remote::layout::{Layout, NOTES, RELATIONSHIPS, Table};
use crate::wire::tracker::{Enrollment, Event, Kind, Note, Relationship, TrackedEntity};
use crate::wire::uid;

/// Records by where they are in a copy.
pub(super) type Records = BTreeMap<(CollectionId, GlobalId), Record>;

/// The documents of the face, now or as of a generation.
pub(super) struct View<'a> {
    pub(super) instance: &'a Instance,
    pub(super) read: &'a dyn DocumentRead,
    pub(super) at: Option<Generation>,
    pub(super) names: &'a Names,
}

impl View<'_> {
    /// A document, deleted or not.
    fn document(&self, collection: &str, id: &str) -> Result<Option<Versioned>> {
        let collection = self.instance.collection(collection)?;
        Ok(match self.at {
            None => self.read.record(collection, &key(id))?,
            // Before the first change there was nothing.
            Some(Generation::ZERO) => None,
            Some(at) => self.read.record_as_of(collection, &key(id), at)?,
        })
    }

    /// A document, if it is there and not deleted.
    pub(super) fn live<T: Object>(&self, uid: &str) -> Result<Option<Row<T>>> {
        if !uid::is_uid(uid) {
            return Ok(None);
        }
        let found = self.document(T::KIND.collection(), uid)?;
        let row: Option<Row<T>> = found.as_ref().map(rows::read).transpose()?;
        Ok(row.filter(|row| !row.object.is_deleted()))
    }

    /// Who changed a document last, as one of its members tells.
    pub(super) fn by(&self, collection: &str, id: &str, member: &str) -> Result<String> {
        let found = self.document(collection, id)?;
        let found = found.as_ref().map(Stored::read).transpose()?;
        Ok(found.map_or_else(String::new, |found| found.text(member).to_owned()))
    }

    /// The record of a data value or a completion.
    pub(super) fn aggregate(&self, table: &Table, id: &str) -> Result<Records> {
        let mut found = Records::new();
        if let Some(collection) = aggregate::collection_of(table)
            && let Some(document) = self.document(collection, id)?
            && let Some(record) = aggregate::record(table, &Stored::read(&document)?)
        {
            self.add(&mut found, table, record);
        }
        Ok(found)
    }

    /// All records that follow from a document: with a tracked entity those of its enrollments, which hold attributes of it.
    pub(super) fn records(&self, layout: &Layout, kind: Kind, uid: &str) -> Result<Records> {
        let mut found = Records::new();
        match kind {
            Kind::TrackedEntity => {
                if let Some(row) = self.live::<TrackedEntity>(uid)? {
                    if let Some(table) = layout.entities(&row.object.tracked_entity_type) {
                        self.add(&mut found, table, table.of_entity(&row.object));
                    }
                    for child in &row.children {
                        self.enrollment(layout, child, &row.object, &mut found)?;
                    }
                }
            }
            Kind::Enrollment => {
                if let Some(row) = self.live::<Enrollment>(uid)? {
                    let entity = self.live::<TrackedEntity>(&row.object.tracked_entity)?;
                    let entity = entity.unwrap_or_default().object;
                    self.enrollment(layout, uid, &entity, &mut found)?;
                }
            }
            Kind::Event => {
                if let Some(row) = self.live::<Event>(uid)? {
                    if let Some(table) = layout.events(&row.object.program_stage) {
                        self.add(&mut found, table, table.of_event(&row.object));
                    }
                    self.notes(layout, &row.object.notes, (kind, uid), &mut found);
                }
            }
            Kind::Relationship => {
                if let Some(row) = self.live::<Relationship>(uid)?
                    && let Some(table) = layout.table(RELATIONSHIPS)
                {
                    self.add(&mut found, table, table.of_relationship(&row.object));
                }
            }
        }
        Ok(found)
    }

    fn enrollment(
        &self,
        layout: &Layout,
        uid: &str,
        entity: &TrackedEntity,
        found: &mut Records,
    ) -> Result<()> {
        if let Some(row) = self.live::<Enrollment>(uid)? {
            if let Some(table) = layout.enrollments(&row.object.program) {
                self.add(found, table, table.of_enrollment(&row.object, entity));
            }
            self.notes(layout, &row.object.notes, (Kind::Enrollment, uid), found);
        }
        Ok(())
    }

    fn notes(&self, layout: &Layout, notes: &[Note], parent: (Kind, &str), found: &mut Records) {
        if let Some(table) = layout.table(NOTES) {
            for note in notes {
                self.add(found, table, table.of_note(note, parent));
            }
        }
    }
    fn add(&self, found: &mut Records, table: &Table, mut record: Record) {
        self.names.go_up(table, &mut record);
        found.insert((table.id(), record.global_id.clone()), record);
    }
}
