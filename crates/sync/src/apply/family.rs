//! What an edit of one record means for others: attachments and composite children go with their parent, attachments
//! need one, and a record whose membership in some replica depends on its parent is touched when that changes.

use std::collections::BTreeSet;

use haversack_model::filter::{Comparison, Expr};
use haversack_model::schema::attachment_field;
use haversack_model::store::Flow;
use haversack_model::{
    BlobHash, CollectionId, CollectionKind, ConflictKind, Edit, Filter, GlobalId, Query, QueryRow,
    Record, RejectCode, Result, Select, Value, Versioned, Winner,
};

use super::record::Clash;
use super::{Applying, Shape};
use crate::delta::looks_at_a_parent;
use crate::merge::widen;
use crate::validate::Refusal;

/// Records of `child` are in some replica because their parent, named in `field`, matches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watch {
    child: CollectionId,
    field: String,
    parent: CollectionId,
    filter: Filter,
}

impl Applying<'_, '_, '_> {
    /// Deletes a record with its attachments and composite children.
    pub(super) fn remove(&mut self, shape: &Shape, current: &Versioned) -> Result<()> {
        let mut seen = BTreeSet::new();
        self.remove_family(shape, current, &mut seen)
    }

    fn remove_family(
        &mut self,
        shape: &Shape,
        current: &Versioned,
        seen: &mut BTreeSet<(CollectionId, GlobalId)>,
    ) -> Result<()> {
        let (collection, id) = (shape.collection.id, &current.record.global_id);
        if !seen.insert((collection, id.clone())) {
            return Ok(());
        }
        for (child, field, key) in self.owned_by(shape, &current.record)? {
            let child_shape = self.shape(child)?;
            for child_id in self.children(child, &field, key)? {
                let Some(child) = self.tx.record(child, &child_id)? else {
                    continue;
                };
                if !seen.contains(&(child_shape.collection.id, child_id)) {
                    self.note_unseen_child(shape.collection.id, &child_shape, &child)?;
                }
                self.remove_family(&child_shape, &child, seen)?;
            }
        }
        let before = self.membership_of(shape, id)?;
        self.tx.delete(collection, id, self.by.replica)?;
        self.touch_where_changed(shape, id, &before)
    }

    /// A child that others changed since the sender looked is lost by the deletion: it is kept in a conflict.
    fn note_unseen_child(
        &mut self,
        parent: CollectionId,
        shape: &Shape,
        child: &Versioned,
    ) -> Result<()> {
        // A sender that has a cursor per layer may have seen less of the children; or nothing, where it does not have them.
        let cursor = (self.cursor_of)(shape.collection.id).or_else(|| (self.cursor_of)(parent));
        let unseen = cursor.is_some_and(|cursor| child.track.generation > cursor);
        if !unseen || self.is_own(shape, child)? {
            return Ok(());
        }
        let id = child.record.global_id.clone();
        let clash = Clash {
            kind: ConflictKind::DeleteUpdate,
            base: None,
            mine: None,
            theirs: Some(child.record.clone()),
            fields: Vec::new(),
            winner: Winner::Mine,
            reason: format!("this side deleted the record that {id} belongs to"),
        };
        self.note_conflict(shape, &id, clash);
        Ok(())
    }

    /// Whether a record is what its deleter made of it. Where that was merged with what others had set, a sender without
    /// batches, which may not have looked since, does not know it; of what this very request changes its receipt tells.
    fn is_own(&self, shape: &Shape, record: &Versioned) -> Result<bool> {
        if record.track.origin != self.by.replica {
            return Ok(false);
        }
        let (of, id) = (shape.collection.id, &record.record.global_id);
        let last = match self.by.replica {
            Some(replica) => self.tx.last_edit(replica, of, id)?,
            None => None,
        };
        let Some(mut sent) = last.and_then(|last| last.sent) else {
            return Ok(true);
        };
        widen(&mut sent, &shape.collection);
        for &at in &shape.stamped {
            sent.values[at].clone_from(&record.record.values[at]);
        }
        let is_changed_now = self.edits.iter().any(|(collection, edit)| {
            let is_deletion = matches!(edit, Edit::Delete { .. });
            *collection == of && edit.global_id() == id && !is_deletion
        });
        Ok(is_changed_now || sent.same_content(&record.record))
    }

    /// Collections whose records go with this one, the field that names it there, and its key in that field.
    fn owned_by(
        &self,
        shape: &Shape,
        record: &Record,
    ) -> Result<Vec<(CollectionId, String, Value)>> {
        let mut owned = Vec::new();
        let braced = Value::Text(record.global_id.braced());
        if shape.collection.has_attachments {
            let attachments = shape.collection.id.attachments();
            owned.push((attachments, "parent".to_owned(), braced.clone()));
        }
        for relationship in &shape.collection.relationships {
            if !relationship.is_origin || !relationship.composite {
                continue;
            }
            let related = self.tx.collection(relationship.related)?;
            let other_end = related
                .relationships
                .iter()
                .find(|other| other.id == relationship.id && !other.is_origin);
            let Some(other_end) = other_end else {
                continue;
            };
            let key = match shape.collection.field_index(&relationship.key_field) {
                Some(at) => record.values[at].clone(),
                None => braced.clone(),
            };
            if !key.is_null() {
                owned.push((relationship.related, other_end.key_field.clone(), key));
            }
        }
        Ok(owned)
    }

    fn children(&self, child: CollectionId, field: &str, key: Value) -> Result<Vec<GlobalId>> {
        let filter = Filter::Compare {
            left: Expr::Field(field.to_owned()),
            op: Comparison::Equal,
            right: Expr::Literal(key),
        };
        let mut query = Query::records(child, filter);
        query.select = Select::Ids;
        let mut ids = Vec::new();
        self.tx.query(&query, &mut |row| {
            if let QueryRow::Ids(_, id) = row {
                ids.push(id);
            }
            Ok(Flow::Continue(()))
        })?;
        Ok(ids)
    }

    /// An attachment needs a live record to belong to, and its content must have arrived before it.
    pub(super) fn check_attachment(
        &self,
        shape: &Shape,
        record: &Record,
    ) -> Result<Result<(), Refusal>> {
        let CollectionKind::Attachments { parent } = shape.collection.kind else {
            return Ok(Ok(()));
        };
        let named = record.values[attachment_field::PARENT].as_text();
        let named = named.and_then(|text| GlobalId::parse_uuid(text).ok());
        let lives = match &named {
            Some(id) => self
                .tx
                .track(parent, id)?
                .is_some_and(|track| !track.deleted),
            None => false,
        };
        if !lives {
            return Ok(Err((
                RejectCode::NoParent,
                format!(
                    "the record that attachment {} belongs to does not exist",
                    record.global_id
                ),
            )));
        }
        let hash = record.values[attachment_field::SHA256].as_text();
        match hash.and_then(BlobHash::from_hex) {
            Some(hash) if self.tx.has_blob(hash)? => Ok(Ok(())),
            _ => Ok(Err((
                RejectCode::NoBlob,
                format!(
                    "the content of attachment {} has not arrived",
                    record.global_id
                ),
            ))),
        }
    }

    /// For each watch on this collection, whether the record matches; empty if there is none.
    pub(super) fn membership_of(&mut self, shape: &Shape, id: &GlobalId) -> Result<Vec<bool>> {
        let watches = self.watches()?;
        let mine = watches
            .iter()
            .filter(|watch| watch.parent == shape.collection.id);
        let filters: Vec<_> = mine.map(|watch| watch.filter.clone()).collect();
        let mut matches = Vec::with_capacity(filters.len());
        for filter in &filters {
            matches.push(self.tx.matches(shape.collection.id, id, filter)?);
        }
        Ok(matches)
    }

    /// Touches the children whose membership changed with this record.
    pub(super) fn touch_where_changed(
        &mut self,
        shape: &Shape,
        id: &GlobalId,
        before: &[bool],
    ) -> Result<()> {
        if before.is_empty() {
            return Ok(());
        }
        let after = self.membership_of(shape, id)?;
        let watches = self.watches()?;
        let mine = watches
            .iter()
            .filter(|watch| watch.parent == shape.collection.id);
        let changed: Vec<_> = mine
            .zip(before.iter().zip(&after))
            .filter(|(_, (before, after))| before != after)
            .map(|(watch, _)| (watch.child, watch.field.clone()))
            .collect();
        for (child, field) in changed {
            self.touch_children(child, &field, id)?;
        }
        Ok(())
    }

    fn touch_children(
        &mut self,
        child: CollectionId,
        field: &str,
        parent: &GlobalId,
    ) -> Result<()> {
        let below: Vec<_> = self
            .watches()?
            .iter()
            .filter(|watch| watch.parent == child && looks_at_a_parent(&watch.filter))
            .map(|watch| (watch.child, watch.field.clone()))
            .collect();
        for id in self.children(child, field, Value::Text(parent.braced()))? {
            self.tx.touch(child, &id)?;
            for (grandchild, field) in &below {
                self.touch_children(*grandchild, field, &id)?;
            }
        }
        Ok(())
    }

    fn watches(&mut self) -> Result<&[Watch]> {
        if self.watched.is_none() {
            let mut watches = Vec::new();
            for replica in self.tx.replicas()? {
                for layer in &replica.layers {
                    // Former filters too: a cursor may still stand where one held.
                    for (_, filter) in &layer.filters {
                        collect_watches(layer.collection, filter, &mut watches);
                    }
                }
            }
            self.watched = Some(watches);
        }
        Ok(self.watched.as_deref().unwrap_or_default())
    }
}

fn collect_watches(child: CollectionId, filter: &Filter, watches: &mut Vec<Watch>) {
    match filter {
        Filter::ParentMatches {
            field,
            parent,
            filter,
        } => {
            let watch = Watch {
                child,
                field: field.clone(),
                parent: *parent,
                filter: (**filter).clone(),
            };
            if !watches.contains(&watch) {
                watches.push(watch);
            }
            collect_watches(*parent, filter, watches);
        }
        Filter::And(all) | Filter::Or(all) => {
            for one in all {
                collect_watches(child, one, watches);
            }
        }
        Filter::Not(one) => collect_watches(child, one, watches),
        _ => {}
    }
}
