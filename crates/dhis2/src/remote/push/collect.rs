//! From the edits of a batch to tracker objects that can be sent.
//!
//! Owns: what of a record goes into a payload. An edit names what was changed alone, the server wants whole objects: so the record
//! as it was frozen is asked for, and of its attributes and data values only those that were changed are sent, removed ones as nulls.
//! What others changed meanwhile stays. Pure but for that question.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::{
    Changes, CollectionId, Edit, GlobalId, Record, RejectCode, Result, Value as Cell,
};
use serde_json::Value;

use super::outcome::{Fate, Sent};
use crate::remote::layout::{Layout, Role, Table, value_out};
use crate::wire::tracker::{
    Attribute, DataValue, Enrollment, Event, Kind, Note, Relationship, TrackedEntity,
};
use crate::wire::uid;

/// A tracker object on its way to the server.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Which edit of the batch it is; none if it is there for its notes alone.
    pub(super) at: Option<usize>,
    /// What the answer is read for.
    pub(super) sent: Sent,
    /// Itself, in the shape of the new API.
    pub(super) object: Value,
    /// Edits that are notes on it.
    pub(super) notes: Vec<usize>,
    /// A file that it names and which is not sent yet.
    pub(super) waits_for: Option<String>,
    /// Tracked entity, program and the unit that shall own it from now on.
    pub(super) hand_over: Option<(String, String, String)>,
}

impl Item {
    /// Kind and uid.
    pub(super) fn key(&self) -> (Option<Kind>, &str) {
        (self.sent.kind, &self.sent.uid)
    }
    /// Uids of the attributes or data elements of which values are sent.
    pub(super) fn fields(&self) -> Vec<&str> {
        let of = |list: &str, member: &str| -> Vec<&str> {
            let values = self.object.get(list).and_then(Value::as_array);
            let values = values.into_iter().flatten();
            values
                .filter_map(|value| value.get(member)?.as_str())
                .collect()
        };
        let mut all = of("attributes", "attribute");
        all.extend(of("dataValues", "dataElement"));
        all
    }
    /// The values of attributes and data elements that are sent.
    fn values(&self) -> impl Iterator<Item = &str> {
        let lists = ["attributes", "dataValues"].into_iter();
        let lists = lists.filter_map(|list| self.object.get(list)?.as_array());
        lists.flatten().filter_map(|one| one.get("value")?.as_str())
    }
    /// The value of an attribute or data element as it is sent.
    pub(super) fn value_of(&self, field: &str) -> Option<String> {
        let lists = [("attributes", "attribute"), ("dataValues", "dataElement")];
        lists.iter().find_map(|(list, member)| {
            let mut values = self.object.get(list)?.as_array()?.iter();
            let found =
                values.find(|value| value.get(member).and_then(Value::as_str) == Some(field))?;
            found.get("value")?.as_str().map(str::to_owned)
        })
    }
}

/// The objects of a batch, parents before children, and the edits about which nothing need be asked.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) items: Vec<Item>,
    pub(super) decided: BTreeMap<usize, Fate>,
}

/// What can be asked of the copy.
pub(super) trait Copy {
    /// A record as it was frozen, or as it is if it is in no batch.
    fn record(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Record>>;
    /// Whether a uid is that of a file which is not on the server yet.
    fn is_unsent_file(&self, uid: &str) -> Result<bool>;
    /// Whether the server may have an earlier state of a record that it never confirmed: its values are told one by one then.
    fn doubted(&self, collection: CollectionId, id: &GlobalId) -> Result<Option<Doubted>>;
}

/// The server may have a record though it never said so.
#[derive(Debug)]
pub(super) struct Doubted {
    /// The record as it was sent, if it was.
    pub(super) sent: Option<Record>,
}

/// Collects the objects of a batch.
///
/// # Errors
/// Those of the copy.
pub(super) fn collect(
    layout: &Layout,
    edits: &[(CollectionId, Edit)],
    copy: &dyn Copy,
) -> Result<Collected> {
    let mut collected = Collected::default();
    let mut notes = Vec::new();
    for (at, (collection, edit)) in edits.iter().enumerate() {
        let table = layout.table(*collection);
        let told = match table.map(|table| (table, &table.role)) {
            None => Err(refused("there is no such table of the server in this file")),
            Some((_, Role::Metadata { .. })) => Err(refused(
                "metadata is made on the server; an edit here has no effect",
            )),
            Some((_, Role::Kept)) => Err(refused("this table is the program's own")),
            // They go by ways of their own.
            Some((_, Role::DataValues | Role::Completions)) => continue,
            Some((_, Role::Files)) => Err(Fate::Waits("files are sent before".to_owned())),
            Some((table, Role::Notes)) => {
                notes.push((at, table, edit));
                continue;
            }
            Some((table, _)) => item(layout, table, at, edit, copy)?,
        };
        match told {
            Ok(item) => collected.items.push(item),
            Err(fate) => drop(collected.decided.insert(at, fate)),
        }
    }
    for (at, table, edit) in notes {
        add_note(layout, &mut collected, (at, table, edit), copy)?;
    }
    let order = |item: &Item| item.sent.kind;
    collected.items.sort_by_key(order);
    collected.hold_back();
    Ok(collected)
}

impl Collected {
    /// Takes out what waits for a file, and what cannot be stored without it.
    fn hold_back(&mut self) {
        let mut held: BTreeSet<(Kind, String)> = BTreeSet::new();
        let mut rest = Vec::new();
        // Parents come before their children.
        for item in std::mem::take(&mut self.items) {
            let mut parents = item.sent.parents.iter();
            let fate = match &item.waits_for {
                Some(file) => waits_for_file(file),
                None if parents.any(|parent| held.contains(parent)) => {
                    Fate::Waits("what it belongs to waits for a file".to_owned())
                }
                None => {
                    rest.push(item);
                    continue;
                }
            };
            for at in item.at.iter().chain(&item.notes) {
                self.decided.insert(*at, fate.clone());
            }
            if let (Some(kind), true) = (item.sent.kind, item.sent.is_new) {
                held.insert((kind, item.sent.uid));
            }
        }
        self.items = rest;
    }
}

fn refused(reason: &str) -> Fate {
    Fate::Refused(RejectCode::Refused, reason.to_owned())
}

/// What names a file that is not sent yet.
pub(super) fn waits_for_file(file: &str) -> Fate {
    Fate::Waits(format!("it waits for its file {file}"))
}

fn item(
    layout: &Layout,
    table: &Table,
    at: usize,
    edit: &Edit,
    copy: &dyn Copy,
) -> Result<std::result::Result<Item, Fate>> {
    let id = edit.global_id();
    let (record, changed, is_new) = match edit {
        Edit::Add { record, .. } => {
            let all = haversack_sync::merge::whole(record);
            let changed = copy.doubted(table.id(), id)?.map(|_| all);
            (record.clone(), changed, true)
        }
        Edit::Update { mine, .. } => match copy.record(table.id(), id)? {
            Some(record) => (record, Some(mine.clone()), false),
            None => return Ok(Err(refused("the record is not in the file any more"))),
        },
        Edit::Delete { base, .. } => {
            let base = base.as_ref().map(|base| &base.content);
            (of_base(table, id, base), None, false)
        }
    };
    let uid = id.to_string();
    if is_new && !uid::is_uid(&uid) {
        return Ok(Err(Fate::Refused(
            RejectCode::InvalidValue,
            format!(
                "E1048: {uid:?} is no uid: a letter and ten letters or digits. Make the record anew"
            ),
        )));
    }
    if table.is_stub(&record) && !matches!(edit, Edit::Delete { .. }) {
        return Ok(Err(Fate::Refused(
            RejectCode::Forbidden,
            "it is here only as the other side of a relationship and cannot be changed: undo the edit first, then download it by its uid and edit it".to_owned(),
        )));
    }
    let mut made = object(layout, table, &record, changed.as_ref(), copy)?;
    let named: Vec<String> = made.values().map(str::to_owned).collect();
    for value in named.into_iter().filter(|value| uid::is_uid(value)) {
        if copy.is_unsent_file(&value)? {
            made.waits_for = Some(value);
            break;
        }
    }
    made.at = Some(at);
    made.sent.is_new = is_new;
    made.sent.is_delete = matches!(edit, Edit::Delete { .. });
    let is_handed_over = matches!(edit, Edit::Update { mine, .. } if table.column("owner").is_some_and(|at| mine.values.contains_key(&at)));
    if !is_handed_over {
        made.hand_over = None;
    }
    Ok(Ok(made))
}

/// What is known of a deleted record.
pub(super) fn of_base(table: &Table, id: &GlobalId, base: Option<&Changes>) -> Record {
    let mut record = Record {
        global_id: id.clone(),
        object_id: None,
        values: vec![Cell::Null; table.collection.fields.len()],
        geometry: None,
    };
    if let Some(base) = base {
        base.apply_to(&mut record);
    }
    record
}

/// An object with the values that were changed; all that there are, if nothing is said of changes.
fn object(
    layout: &Layout,
    table: &Table,
    record: &Record,
    changed: Option<&Changes>,
    copy: &dyn Copy,
) -> Result<Item> {
    let mut hand_over = None;
    let (object, parents) = match table.role.kind() {
        Some(Kind::TrackedEntity) => {
            let mut entity = table.entity(record);
            entity.attributes = attributes(table, record, changed);
            (of_entity(entity), Vec::new())
        }
        Some(Kind::Enrollment) => {
            let (mut enrollment, owner) = table.enrollment(record);
            enrollment.attributes = attributes(table, record, changed);
            hand_over = owner.map(|o| (o.tracked_entity, o.program, o.org_unit));
            let parents = vec![(Kind::TrackedEntity, enrollment.tracked_entity.clone())];
            (of_enrollment(enrollment), parents)
        }
        Some(Kind::Event) => {
            let mut event = table.event(record);
            event.data_values = data_values(table, record, changed, &event.data_values);
            let mut parents = Vec::new();
            if !event.enrollment.is_empty() {
                parents.push((Kind::Enrollment, event.enrollment.clone()));
                if let Some(whose) = whose(layout, &event, copy)? {
                    parents.push((Kind::TrackedEntity, whose.clone()));
                    event.tracked_entity = whose;
                }
            }
            (of_event(event), parents)
        }
        _ => {
            let relationship = table.relationship(record);
            let sides = [relationship.from.object(), relationship.to.object()];
            let parents = sides.into_iter().flatten();
            let parents = parents.map(|(kind, uid)| (kind, uid.to_owned())).collect();
            (of_relationship(relationship), parents)
        }
    };
    Ok(Item {
        at: None,
        sent: Sent {
            kind: table.role.kind(),
            uid: record.global_id.to_string(),
            parents,
            ..Sent::default()
        },
        object,
        notes: Vec::new(),
        waits_for: None,
        hand_over,
    })
}

/// The tracked entity of an event's enrollment, if that is in the copy.
fn whose(layout: &Layout, event: &Event, copy: &dyn Copy) -> Result<Option<String>> {
    let Some(table) = layout.enrollments(&event.program) else {
        return Ok(None);
    };
    let id = GlobalId::Text(event.enrollment.as_str().into());
    let record = copy.record(table.id(), &id)?;
    let whose = record.map(|record| table.text(&record, "tracked_entity"));
    Ok(whose.filter(|uid| !uid.is_empty()))
}

/// Uid and value of the columns that are to be told; those that were emptied have none.
fn told<'a>(
    table: &'a Table,
    record: &'a Record,
    changed: Option<&'a Changes>,
) -> impl Iterator<Item = (&'a str, Option<String>)> {
    table.values().iter().filter_map(move |(at, uid)| {
        let value = record.values.get(*at).and_then(value_out);
        let is_told = match changed {
            Some(changed) => changed.values.contains_key(at),
            None => value.is_some(),
        };
        is_told.then_some((uid.as_str(), value))
    })
}

fn attributes(table: &Table, record: &Record, changed: Option<&Changes>) -> Vec<Attribute> {
    let told = told(table, record, changed);
    told.map(|(uid, value)| Attribute {
        attribute: uid.to_owned(),
        value,
        ..Attribute::default()
    })
    .collect()
}

fn data_values(
    table: &Table,
    record: &Record,
    changed: Option<&Changes>,
    known: &[DataValue],
) -> Vec<DataValue> {
    let told = told(table, record, changed);
    told.map(|(uid, value)| DataValue {
        data_element: uid.to_owned(),
        value,
        provided_elsewhere: known
            .iter()
            .any(|known| known.data_element == uid && known.provided_elsewhere),
        ..DataValue::default()
    })
    .collect()
}

/// A note goes with its parent, which is sent without changes of its own if it has none.
fn add_note(
    layout: &Layout,
    collected: &mut Collected,
    (at, table, edit): (usize, &Table, &Edit),
    copy: &dyn Copy,
) -> Result<()> {
    let Edit::Add { record, .. } = edit else {
        let fate = refused("the server does not change or delete notes: write another one");
        collected.decided.insert(at, fate);
        return Ok(());
    };
    let (note, kind, parent) = table.note(record);
    let found = collected
        .items
        .iter()
        .position(|item| item.key() == (kind, &parent) && !item.sent.is_delete);
    let place = if let Some(place) = found {
        place
    } else if let Some(item) = carrier(layout, kind, &parent, copy)? {
        collected.items.push(item);
        collected.items.len() - 1
    } else {
        let fate = refused("what the note is about is not in the file");
        collected.decided.insert(at, fate);
        return Ok(());
    };
    if let Some(item) = collected.items.get_mut(place) {
        item.notes.push(at);
        append(&mut item.object, "notes", of_note(&note));
    }
    Ok(())
}

fn carrier(
    layout: &Layout,
    kind: Option<Kind>,
    parent: &str,
    copy: &dyn Copy,
) -> Result<Option<Item>> {
    let Some(kind @ (Kind::Enrollment | Kind::Event)) = kind else {
        return Ok(None);
    };
    let id = GlobalId::Text(parent.into());
    for table in layout.of_kind(kind) {
        if let Some(record) = copy.record(table.id(), &id)? {
            let nothing = Changes::default();
            let mut item = object(layout, table, &record, Some(&nothing), copy)?;
            item.hand_over = None;
            return Ok(Some(item));
        }
    }
    Ok(None)
}

/// Adds to a list that may be absent.
pub(super) fn append(object: &mut Value, list: &str, item: Value) {
    if let Some(members) = object.as_object_mut() {
        let items = members
            .entry(list)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Some(items) = items.as_array_mut() {
            items.push(item);
        }
    }
}

fn of_entity(entity: TrackedEntity) -> Value {
    pruned(serde_json::to_value(entity))
}
fn of_enrollment(enrollment: Enrollment) -> Value {
    pruned(serde_json::to_value(enrollment))
}
fn of_event(event: Event) -> Value {
    pruned(serde_json::to_value(event))
}
fn of_relationship(relationship: Relationship) -> Value {
    pruned(serde_json::to_value(relationship))
}
fn of_note(note: &Note) -> Value {
    serde_json::json!({"note": note.note, "value": note.value})
}

/// Without what servers tell and do not take: their times, children, owners.
fn pruned(object: serde_json::Result<Value>) -> Value {
    // Plain structs of texts, flags and lists: writing them as JSON does not fail.
    let mut object = object.unwrap_or_default();
    if let Some(members) = object.as_object_mut() {
        for name in [
            "createdAt",
            "updatedAt",
            "deleted",
            "enrollments",
            "events",
            "relationships",
            "programOwners",
            "notes",
            "relationshipName",
            "bidirectional",
        ] {
            members.shift_remove(name);
        }
    }
    object
}
