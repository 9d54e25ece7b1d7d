//! Turns datasets into layers of a service and writes their rows.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail};
use haversack_model::schema::{CollectionKind, GeometryColumn};
use haversack_model::{
    Collection, CollectionId, Field, FieldType, GlobalId, Record, Service, Store, Timestamp, Value,
};
use uuid::Uuid;

use super::{Dataset, Row, Source};

/// Rows of one transaction.
const BATCH: usize = 5000;
/// Largest page of a query of an imported layer.
const MAX_RECORD_COUNT: u32 = 2000;
/// What an imported service offers; what a user may do of it is for grants to say.
const CAPABILITIES: &[&str] = &[
    "Create",
    "Delete",
    "Query",
    "Sync",
    "Update",
    "Editing",
    "Uploads",
    "ChangeTracking",
    "Extract",
];

/// Where one dataset goes.
#[derive(Debug)]
pub(crate) struct Target {
    /// Number of the dataset in its source.
    pub(crate) dataset: usize,
    /// The layer or table.
    pub(crate) collection: Collection,
    /// Per field of the dataset: its place in the collection.
    pub(crate) places: Vec<Option<usize>>,
}

/// What was loaded into one layer.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Its number.
    pub(crate) layer: CollectionId,
    /// Its name.
    pub(crate) name: String,
    /// Rows.
    pub(crate) rows: u64,
}

/// The definition of a new service for a source.
pub(crate) fn new_service(name: &str, source: &dyn Source) -> (Service, Vec<Target>) {
    let targets = new_layers(source, &[]);
    let srid = source
        .datasets()
        .iter()
        .find(|d| d.kind.is_some())
        .map_or(4326, |d| d.srid);
    let service = Service {
        name: name.to_owned(),
        title: name.to_owned(),
        description: String::new(),
        copyright: String::new(),
        capabilities: CAPABILITIES.iter().map(|&word| word.to_owned()).collect(),
        srid,
        schema_version: 1,
        collections: targets.iter().map(|t| t.collection.clone()).collect(),
    };
    (service, targets)
}

/// New layers for all datasets of a source, beside those that a service has.
pub(crate) fn new_layers(source: &dyn Source, present: &[Collection]) -> Vec<Target> {
    let mut next = present.iter().map(|c| c.id.0 + 1).max().unwrap_or(0);
    let mut tables: HashSet<String> = present
        .iter()
        .map(|c| c.table.to_ascii_lowercase())
        .collect();
    let mut targets = Vec::new();
    for (at, dataset) in source.datasets().iter().enumerate() {
        let collection = new_collection(CollectionId(next), dataset, &mut tables);
        next += 1;
        targets.push(Target {
            dataset: at,
            places: (0..dataset.fields.len()).map(Some).collect(),
            collection,
        });
    }
    targets
}

/// A layer that exists, for a source of one dataset. Fields go by name; those that it does not have are left out.
///
/// # Errors
/// If the source does not fit.
pub(crate) fn existing_layer(source: &dyn Source, collection: &Collection) -> Result<Target> {
    let [dataset] = source.datasets() else {
        bail!(
            "the file holds {} layers; `--layer` takes a file with one",
            source.datasets().len()
        );
    };
    let kind = collection.geometry.as_ref().map(|g| g.kind);
    if dataset.kind.is_some() && dataset.kind != kind {
        bail!(
            "the file holds {:?} geometries, which do not fit into {}",
            dataset.kind,
            collection.name
        );
    }
    let srid = collection.geometry.as_ref().map(|g| g.srid);
    if dataset.kind.is_some() && srid != Some(dataset.srid) {
        bail!(
            "the file is in EPSG:{}, {} in EPSG:{}; convert it first with `ogr2ogr -t_srs`",
            dataset.srid,
            collection.name,
            srid.unwrap_or_default()
        );
    }
    let places = dataset
        .fields
        .iter()
        .map(|field| {
            let by_name = collection
                .field_index(&field.name)
                .or_else(|| collection.field_index(&plain(&field.name)));
            by_name.filter(|at| collection.fields[*at].editable)
        })
        .collect();
    Ok(Target {
        dataset: 0,
        collection: collection.clone(),
        places,
    })
}

fn new_collection(id: CollectionId, dataset: &Dataset, tables: &mut HashSet<String>) -> Collection {
    let geometry = dataset.kind.map(|kind| GeometryColumn {
        name: "geom".to_owned(),
        kind,
        srid: dataset.srid,
        has_z: dataset.has_z,
        has_m: dataset.has_m,
    });
    let mut taken: HashSet<String> = ["objectid", "globalid", "geom"].map(str::to_owned).into();
    let fields: Vec<Field> = dataset
        .fields
        .iter()
        .map(|field| Field {
            name: unique(&plain(&field.name), &mut taken),
            alias: field.name.clone(),
            kind: field.kind,
            length: field.length,
            nullable: true,
            editable: true,
            domain: None,
            default: Value::Null,
        })
        .collect();
    let display_field = fields
        .iter()
        .filter(|f| f.kind == FieldType::String)
        .min_by_key(|f| {
            (
                !f.name.eq_ignore_ascii_case("name"),
                !f.name.to_ascii_lowercase().contains("name"),
            )
        })
        .map(|f| f.name.clone());
    Collection {
        id,
        name: dataset.name.clone(),
        table: unique(&plain(&dataset.name).to_ascii_lowercase(), tables),
        kind: if geometry.is_some() {
            CollectionKind::Layer
        } else {
            CollectionKind::Table
        },
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field,
        geometry,
        fields,
        has_attachments: true,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: MAX_RECORD_COUNT,
    }
}

/// A name of ASCII letters, digits and `_` that begins with a letter.
fn plain(name: &str) -> String {
    let mut text: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(60)
        .collect();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        text.insert_str(0, "f_");
    }
    text
}

/// The name, with a number behind it if it is taken. Names are compared without case.
fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 1;
    while !taken.insert(candidate.to_ascii_lowercase()) {
        number += 1;
        candidate = format!("{name}_{number}");
    }
    candidate
}

/// Writes the rows of a dataset into its layer. A row whose identity exists there already replaces it, so that a load
/// that was interrupted can be repeated if the file has identities.
pub(crate) fn load(
    store: &dyn Store,
    source: &dyn Source,
    target: &Target,
    clock: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(u64),
) -> Result<Loaded> {
    let mut done = 0;
    let mut batch: Vec<Record> = Vec::with_capacity(BATCH);
    let mut write = |batch: &mut Vec<Record>| -> Result<()> {
        let mut tx = store.begin_write(clock())?;
        for record in batch.iter() {
            tx.put(target.collection.id, record, None)
                .with_context(|| format!("row {} of {}", done + 1, target.collection.name))?;
            done += 1;
        }
        tx.commit()?;
        batch.clear();
        progress(done);
        Ok(())
    };
    source.read(target.dataset, &mut |row| {
        batch.push(record(target, row));
        if batch.len() == BATCH {
            write(&mut batch)?;
        }
        Ok(())
    })?;
    if !batch.is_empty() {
        write(&mut batch)?;
    }
    Ok(Loaded {
        layer: target.collection.id,
        name: target.collection.name.clone(),
        rows: done,
    })
}

fn record(target: &Target, row: Row) -> Record {
    let mut values: Vec<Value> = target
        .collection
        .fields
        .iter()
        .map(|f| f.default.clone())
        .collect();
    for (value, place) in row.values.into_iter().zip(&target.places) {
        if let Some(place) = place {
            values[*place] = value;
        }
    }
    Record {
        global_id: GlobalId::Uuid(row.global_id.unwrap_or_else(Uuid::new_v4)),
        object_id: None,
        values,
        geometry: row.geometry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain_and_unique_without_case() {
        let mut taken: HashSet<String> = ["objectid".to_owned()].into();
        assert_eq!(unique(&plain("name:en"), &mut taken), "name_en");
        assert_eq!(unique(&plain("NAME_EN"), &mut taken), "NAME_EN_2");
        assert_eq!(unique(&plain("ObjectID"), &mut taken), "ObjectID_2");
        assert_eq!(plain("2nd"), "f_2nd");
        assert_eq!(plain("Größe"), "Gr__e");
    }
}
