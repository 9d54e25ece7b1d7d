//! The face's documents of one time, as records of the copy.

use std::collections::BTreeMap;

use haversack_model::documents::DocumentRead;
use haversack_model::{CollectionId, Generation, GlobalId, Record};

use super::Result;
use crate::face::instance::{Instance, key};
use crate::face::tracker::rows::{self, Object, Row};
use crate::remote::layout::{Layout, NOTES, RELATIONSHIPS};
use crate::wire::tracker::{Enrollment, Event, Kind, Note, Relationship, TrackedEntity};
use crate::wire::uid;

/// Records by where they are in a copy.
pub(super) type Records = BTreeMap<(CollectionId, GlobalId), Record>;

/// The documents of the face, now or as of a generation.
pub(super) struct View<'a> {
    pub(super) instance: &'a Instance,
    pub(super) read: &'a dyn DocumentRead,
    pub(super) at: Option<Generation>,
}

impl View<'_> {
    /// A document, if it is there and not deleted.
    pub(super) fn live<T: Object>(&self, uid: &str) -> Result<Option<Row<T>>> {
        if !uid::is_uid(uid) {
            return Ok(None);
        }
        let collection = self.instance.collection(T::KIND.collection())?;
        let found = match self.at {
            None => self.read.record(collection, &key(uid))?,
            // Before the first change there was nothing.
            Some(Generation::ZERO) => None,
            Some(at) => self.read.record_as_of(collection, &key(uid), at)?,
        };
        let row: Option<Row<T>> = found.as_ref().map(rows::read).transpose()?;
        Ok(row.filter(|row| !row.object.is_deleted()))
    }

    /// Who changed an object last.
    pub(super) fn by(&self, kind: Kind, uid: &str) -> Result<String> {
        let collection = self.instance.collection(kind.collection())?;
        let found = self.read.record(collection, &key(uid))?;
        let body = found.as_ref().and_then(|found| found.record.values.first());
        let body = body.and_then(haversack_model::Value::as_text);
        let body: serde_json::Value =
            serde_json::from_str(body.unwrap_or_default()).unwrap_or_default();
        Ok(body["by"].as_str().unwrap_or_default().to_owned())
    }

    /// All records that follow from a document: with a tracked entity those of its enrollments, which hold attributes of it.
    pub(super) fn records(&self, layout: &Layout, kind: Kind, uid: &str) -> Result<Records> {
        let mut found = Records::new();
        match kind {
            Kind::TrackedEntity => {
                if let Some(row) = self.live::<TrackedEntity>(uid)? {
                    if let Some(table) = layout.entities(&row.object.tracked_entity_type) {
                        add(&mut found, table.id(), table.of_entity(&row.object));
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
                        add(&mut found, table.id(), table.of_event(&row.object));
                    }
                    notes(layout, &row.object.notes, (kind, uid), &mut found);
                }
            }
            Kind::Relationship => {
                if let Some(row) = self.live::<Relationship>(uid)?
                    && let Some(table) = layout.table(RELATIONSHIPS)
                {
                    add(&mut found, table.id(), table.of_relationship(&row.object));
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
                add(found, table.id(), table.of_enrollment(&row.object, entity));
            }
            notes(layout, &row.object.notes, (Kind::Enrollment, uid), found);
        }
        Ok(())
    }
}

fn add(found: &mut Records, collection: CollectionId, record: Record) {
    found.insert((collection, record.global_id.clone()), record);
}

fn notes(layout: &Layout, notes: &[Note], parent: (Kind, &str), found: &mut Records) {
    if let Some(table) = layout.table(NOTES) {
        for note in notes {
            add(found, table.id(), table.of_note(note, parent));
        }
    }
}
