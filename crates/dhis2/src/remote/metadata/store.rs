//! Metadata in a copy: the layers that follow from it, its own tables, and the references that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::local::RowVersion;
use haversack_model::{
    Collection, CollectionId, Generation, GlobalId, Record, ReplicaTx, Result, Revision,
};
use serde_json::Value as Json;

use super::{Metadata, at, text};
use crate::remote::layout::{
    self, Described, EntityType, INSTANCE, Layout, METADATA, MetadataTable, Program, Schema, Stage,
    Table, VIOLATIONS,
};
use crate::wire::geojson;
use crate::wire::tracker::Kind;

/// What storing metadata did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Objects that came, by type.
    pub objects: BTreeMap<&'static str, usize>,
    /// Objects that were new or changed.
    pub changed: usize,
    /// Objects that the server does not have any more, or does not show.
    pub removed: usize,
    /// References to objects that did not come.
    pub violations: usize,
}

/// What the names of settings begin with among the facts of a copy.
pub(crate) const SETTING: &str = "setting_";
const TYPE_ATTRIBUTES: &str = "/trackedEntityTypeAttributes/*/trackedEntityAttribute";
const PROGRAM_ATTRIBUTES: &str = "/programTrackedEntityAttributes/*/trackedEntityAttribute";
const STAGE_ELEMENTS: &str = "/programStageDataElements/*/dataElement";

/// The layers that a copy needs.
pub fn schema(metadata: &Metadata) -> Schema {
    let describe = Describe::new(metadata);
    let objects = |of: &str| metadata.objects.get(of).into_iter().flatten();
    let entity_types = objects("trackedEntityTypes").map(|(id, object)| EntityType {
        id: id.clone(),
        name: name(object),
        feature_type: text(object, "/featureType"),
        attributes: describe.all(object, TYPE_ATTRIBUTES, "trackedEntityAttributes"),
    });
    let programs = objects("programs").map(|(id, object)| {
        let stages = objects("programStages");
        let stages = stages.filter(|(_, stage)| text(stage, "/program/id") == *id);
        let registers = text(object, "/programType") != "WITHOUT_REGISTRATION";
        Program {
            id: id.clone(),
            name: name(object),
            entity_type: if registers {
                text(object, "/trackedEntityType/id")
            } else {
                String::new()
            },
            feature_type: text(object, "/featureType"),
            attributes: describe.all(object, PROGRAM_ATTRIBUTES, "trackedEntityAttributes"),
            stages: stages
                .map(|(id, stage)| Stage {
                    id: id.clone(),
                    name: name(stage),
                    feature_type: text(stage, "/featureType"),
                    elements: describe.all(stage, STAGE_ELEMENTS, "dataElements"),
                })
                .collect(),
        }
    });
    Schema {
        entity_types: entity_types.collect(),
        programs: programs.collect(),
    }
}

/// Attributes and data elements with what may be chosen.
struct Describe<'a> {
    metadata: &'a Metadata,
    /// Order, code and name, by option set.
    choices: BTreeMap<String, Vec<(i64, String, String)>>,
}

impl<'a> Describe<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        let mut choices: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (_, option) in metadata.objects.get("options").into_iter().flatten() {
            let order = option.get("sortOrder").and_then(Json::as_i64);
            let choice = (order.unwrap_or(0), text(option, "/code"), name(option));
            let set = text(option, "/optionSet/id");
            choices.entry(set).or_default().push(choice);
        }
        for list in choices.values_mut() {
            list.sort();
        }
        Self { metadata, choices }
    }
    fn one(&self, of: &str, id: &str) -> Option<Described> {
        let object = self.metadata.objects.get(of)?.get(id)?;
        let set = self.choices.get(&text(object, "/optionSet/id"));
        let options = set.into_iter().flatten();
        let options = options.map(|(_, code, name)| (code.clone(), name.clone()));
        Some(Described {
            id: id.to_owned(),
            name: name(object),
            value_type: text(object, "/valueType"),
            options: options.collect(),
        })
    }
    fn all(&self, object: &Json, place: &str, of: &str) -> Vec<Described> {
        let named = at(object, place).into_iter();
        named
            .filter_map(|reference| self.one(of, &text(reference, "/id")))
            .collect()
    }
}

fn name(object: &Json) -> String {
    let shown = text(object, "/displayName");
    if shown.is_empty() {
        text(object, "/name")
    } else {
        shown
    }
}

/// Stores it in one transaction. `facts` of the server and the user go to the table of the instance.
///
/// # Errors
/// The copy's.
pub fn store(
    tx: &mut dyn ReplicaTx,
    metadata: &Metadata,
    facts: &[(&str, String)],
) -> Result<Stored> {
    let present = tx.collections()?;
    let planned = layout::plan(&present, &schema(metadata));
    let changed = planned.iter().filter(|wanted| !present.contains(wanted));
    let changed: Vec<Collection> = changed.cloned().collect();
    if !changed.is_empty() {
        tx.store_collections(&changed)?;
    }
    let layout = Layout::of(&planned);
    let mut done = Stored::default();
    for of in METADATA {
        let (Some(objects), Some(table)) = (metadata.objects.get(of.of), layout.metadata(of.of))
        else {
            continue;
        };
        done.objects.insert(of.of, objects.len());
        let records = objects
            .iter()
            .map(|(id, object)| record(table, of, id, object));
        let kept = if of.of == "organisationUnits" {
            units_in_use(tx, &layout, table, objects)?
        } else {
            BTreeSet::new()
        };
        replace(tx, table, records, &kept, &mut done)?;
    }
    if let Some(table) = layout.table(VIOLATIONS) {
        let found = violations(table, metadata);
        done.violations = found.len();
        let none = BTreeSet::new();
        replace(tx, table, found.into_iter(), &none, &mut Stored::default())?;
    }
    if let Some(table) = layout.table(INSTANCE) {
        let settings = metadata.settings.iter();
        let settings =
            settings.map(|(name, value)| (format!("{SETTING}{name}"), value.to_string()));
        let facts = facts.iter();
        let facts = facts.map(|(name, value)| ((*name).to_owned(), value.clone()));
        for (name, value) in facts.chain(settings) {
            put(tx, table, &table.record(&name, &[("value", &value)]))?;
        }
        // What administrators take back does not hold any more.
        for id in tx.confirmed(table.id())? {
            let name = id.to_string();
            let name = name.strip_prefix(SETTING);
            if name.is_some_and(|name| !metadata.settings.contains_key(name)) {
                remove(tx, table.id(), &id)?;
            }
        }
    }
    Ok(done)
}

/// Stores organisation units that objects name and which are not in the user's scope.
pub(crate) fn put_units(tx: &mut dyn ReplicaTx, layout: &Layout, units: &[Json]) -> Result<()> {
    let of = METADATA.iter().find(|of| of.of == "organisationUnits");
    if let (Some(of), Some(table)) = (of, layout.metadata("organisationUnits")) {
        for unit in units {
            put(tx, table, &record(table, of, &text(unit, "/id"), unit))?;
        }
    }
    Ok(())
}

fn record(table: &Table, of: &MetadataTable, id: &str, object: &Json) -> Record {
    let (name, code, whole) = (name(object), text(object, "/code"), object.to_string());
    let mut record = table.record(id, &[("name", &name), ("code", &code), ("object", &whole)]);
    for (column, pointer) in of.columns {
        table.put(&mut record, column, &text(object, pointer));
    }
    if table.collection.geometry.is_some() {
        record.geometry = object.get("geometry").and_then(geojson::read);
    }
    record
}

/// Makes a table hold exactly these records, and those that are to be kept.
fn replace(
    tx: &mut dyn ReplicaTx,
    table: &Table,
    records: impl Iterator<Item = Record>,
    kept: &BTreeSet<String>,
    done: &mut Stored,
) -> Result<()> {
    let mut gone: BTreeSet<GlobalId> = tx.confirmed(table.id())?.into_iter().collect();
    for record in records {
        gone.remove(&record.global_id);
        done.changed += usize::from(put(tx, table, &record)?);
    }
    for id in gone {
        if !kept.contains(&id.to_string()) {
            remove(tx, table.id(), &id)?;
            done.removed += 1;
        }
    }
    Ok(())
}

/// Stores a record as the server has it; gives whether it differed. What somebody edited in it is not theirs to edit.
pub(crate) fn put(tx: &mut dyn ReplicaTx, table: &Table, record: &Record) -> Result<bool> {
    let id = table.id();
    let version = RowVersion {
        revision: content_revision(record),
        generation: Generation::ZERO,
    };
    if tx.entry(id, &record.global_id)?.is_some() {
        tx.remove_entry(id, &record.global_id)?;
    } else if tx.version(id, &record.global_id)? == Some(version) {
        return Ok(false);
    }
    tx.put_row(id, record)?;
    tx.store_version(id, &record.global_id, Some(version))?;
    Ok(true)
}

/// Removes a record and whatever was edited in it.
pub(crate) fn remove(tx: &mut dyn ReplicaTx, of: CollectionId, id: &GlobalId) -> Result<()> {
    tx.remove_entry(of, id)?;
    tx.remove_row(of, id)?;
    tx.store_version(of, id, None)
}

/// A number that is the same for the same content; never zero.
pub(crate) fn content_revision(record: &Record) -> Revision {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for value in &record.values {
        // One text per value, with its type.
        hash.update(format!("{value:?}\n").as_bytes());
    }
    if let Some(geometry) = &record.geometry {
        hash.update(geometry.as_wkb());
    }
    let bytes = hash.finalize();
    let number = bytes
        .iter()
        .take(7)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Revision(number.max(1))
}

/// Units that did not come, and which tracker data of the copy names.
fn units_in_use(
    tx: &dyn ReplicaTx,
    layout: &Layout,
    units: &Table,
    came: &BTreeMap<String, Json>,
) -> Result<BTreeSet<String>> {
    let confirmed = tx.confirmed(units.id())?;
    let mut gone: BTreeSet<String> = confirmed.iter().map(ToString::to_string).collect();
    gone.retain(|unit| !came.contains_key(unit));
    let mut used = BTreeSet::new();
    // The scan is only made where units have gone.
    if gone.is_empty() {
        return Ok(used);
    }
    for kind in [Kind::TrackedEntity, Kind::Enrollment, Kind::Event] {
        for table in layout.of_kind(kind) {
            for id in tx.confirmed(table.id())? {
                if let Some(row) = tx.row(table.id(), &id)? {
                    let unit = table.text(&row, "org_unit");
                    if gone.contains(&unit) {
                        used.insert(unit);
                    }
                }
            }
        }
    }
    Ok(used)
}

/// References to objects that did not come. Types that were not fetched are not judged.
fn violations(table: &Table, metadata: &Metadata) -> Vec<Record> {
    let mut found = BTreeMap::new();
    for of in METADATA {
        for (from, object) in metadata.objects.get(of.of).into_iter().flatten() {
            for (place, to_type) in of.references {
                let Some(known) = metadata.objects.get(to_type) else {
                    continue;
                };
                for reference in at(object, place) {
                    let to = text(reference, "/id");
                    if to.is_empty() || known.contains_key(&to) {
                        continue;
                    }
                    let key = format!("{from} {to}");
                    let cells = [
                        ("from_type", of.of),
                        ("from_uid", from),
                        ("member", place),
                        ("to_type", to_type),
                        ("to_uid", &to),
                    ];
                    let record = table.record(&key, &cells);
                    found.insert(key, record);
                }
            }
        }
    }
    found.into_values().collect()
}
