//! Loading rows into layers: made new, or existing ones.

use uuid::Uuid;

use haversack_model::schema::{GeometryColumn, GeometryKind};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Field, FieldType, GlobalId, Record, Service,
    Store as _, Value, WriteTx,
};
use haversack_sync::validate;

use super::{
    Loaded, Progress, Reader, Report, Request, SourceField, SourceLayer, SourceRow, convert,
    journal, names,
};
use crate::error::{Error, Result};
use crate::{Server, clock, secret};

const REPORT_EVERY: u64 = 5000;
const CAPABILITIES: [&str; 8] = [
    "Create",
    "Delete",
    "Query",
    "Sync",
    "Update",
    "Uploads",
    "Editing",
    "ChangeTracking",
];
const MAX_RECORD_COUNT: u32 = 2000;

/// Where each field of the file goes, and with which type it arrives there.
struct Plan {
    collection: Collection,
    /// Per field of the layer: the position in the file's row.
    sources: Vec<Option<usize>>,
    loaded: Loaded,
}

/// Loads every layer of a file.
pub(super) fn load(
    server: &Server,
    reader: &mut dyn Reader,
    request: &Request,
    key: Option<Uuid>,
    progress: Progress<'_>,
) -> Result<Report> {
    let layers = reader.layers().to_vec();
    if request.layer.is_some() && layers.len() != 1 {
        let found: Vec<_> = layers.iter().map(|l| l.name.as_str()).collect();
        let problem = format!("the file holds several: {}", found.join(", "));
        return Err(Error::invalid("layer", problem));
    }
    let mut load = |tx: &mut dyn WriteTx, plans: Vec<Plan>| -> Result<Vec<Loaded>> {
        let loaded = load_rows(tx, reader, plans, &layers, progress)?;
        if let Some(key) = key {
            journal::store(tx, key, &loaded)?;
        }
        Ok(loaded)
    };
    let layers = if let Some(store) = server.services.store(&request.service) {
        let mut tx = store.begin_write(clock::now())?;
        let plans = match request.layer {
            Some(id) => vec![append_to(tx.collection(id)?, &layers[0])?],
            None => new_layers(tx.as_mut(), &layers)?,
        };
        let loaded = load(tx.as_mut(), plans)?;
        tx.commit()?;
        loaded
    } else {
        if request.layer.is_some() {
            return Err(Error::Missing {
                what: "service",
                name: request.service.clone(),
            });
        }
        let mut service = empty_service(&request.service, &layers);
        let plans = add_layers(&mut service, &layers);
        let mut loaded = Vec::new();
        server.create_service(&service, |store| {
            let mut tx = store.begin_write(clock::now())?;
            loaded = load(tx.as_mut(), plans)?;
            tx.commit()?;
            Ok(())
        })?;
        loaded
    };
    Ok(Report {
        service: request.service.clone(),
        layers,
    })
}

/// Adds layers to a service that exists.
fn new_layers(tx: &mut dyn WriteTx, layers: &[SourceLayer]) -> Result<Vec<Plan>> {
    let mut service = tx.service()?;
    let plans = add_layers(&mut service, layers);
    service.schema_version += 1;
    tx.store_service(&service)?;
    Ok(plans)
}

/// Loads the rows of all layers in one transaction: a file that does not fit, or a crash, leaves nothing of it.
fn load_rows(
    tx: &mut dyn WriteTx,
    reader: &mut dyn Reader,
    plans: Vec<Plan>,
    layers: &[SourceLayer],
    progress: Progress<'_>,
) -> Result<Vec<Loaded>> {
    let total: u64 = layers.iter().map(|layer| layer.count).sum();
    let mut done = 0;
    let mut loaded = Vec::with_capacity(plans.len());
    for (at, mut plan) in plans.into_iter().enumerate() {
        reader.read(at, &mut |row| {
            plan.loaded.records += 1;
            let mut record = plan.record(row)?;
            keep_apart(tx, plan.collection.id, &mut record)?;
            tx.put(plan.collection.id, &record, None)?;
            done += 1;
            if done % REPORT_EVERY == 0 {
                progress("loading", done, Some(total));
            }
            Ok(())
        })?;
        progress("loading", done, Some(total));
        loaded.push(plan.loaded);
    }
    Ok(loaded)
}

fn empty_service(name: &str, layers: &[SourceLayer]) -> Service {
    Service {
        name: name.to_owned(),
        title: name.to_owned(),
        description: String::new(),
        copyright: String::new(),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        srid: layers
            .iter()
            .find_map(|layer| layer.geometry)
            .map_or(4326, |geometry| geometry.srid),
        schema_version: 1,
        collections: Vec::new(),
    }
}

fn add_layers(service: &mut Service, layers: &[SourceLayer]) -> Vec<Plan> {
    let mut plans = Vec::with_capacity(layers.len());
    for layer in layers {
        let next = service.collections.iter().map(|c| c.id.0 + 1).max();
        let collection = new_collection(CollectionId(next.unwrap_or(0)), layer, service);
        let renamed = layer.fields.iter().zip(&collection.fields);
        let renamed_fields = renamed
            .filter(|(from, to)| from.name != to.name)
            .map(|(from, to)| (from.name.clone(), to.name.clone()))
            .collect();
        plans.push(Plan {
            sources: (0..collection.fields.len()).map(Some).collect(),
            loaded: Loaded {
                layer: collection.id,
                name: collection.name.clone(),
                records: 0,
                ignored_fields: Vec::new(),
                renamed_fields,
            },
            collection: collection.clone(),
        });
        service.collections.push(collection);
    }
    plans
}

fn new_collection(id: CollectionId, layer: &SourceLayer, service: &Service) -> Collection {
    let wanted = layer.fields.iter().map(|f| f.name.as_str());
    let fields: Vec<Field> = names::field_names(wanted)
        .into_iter()
        .zip(&layer.fields)
        .map(|(name, from)| new_field(name, from))
        .collect();
    let display_field = fields
        .iter()
        .find(|f| f.name.eq_ignore_ascii_case("name"))
        .or_else(|| fields.iter().find(|f| f.kind == FieldType::String))
        .map(|f| f.name.clone());
    Collection {
        id,
        name: layer.name.clone(),
        table: names::table_name(&layer.name, service),
        kind: if layer.geometry.is_some() {
            CollectionKind::Layer
        } else {
            CollectionKind::Table
        },
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field,
        geometry: layer.geometry.map(|from| GeometryColumn {
            name: "geom".to_owned(),
            kind: from.kind,
            srid: from.srid,
            has_z: from.has_z,
            has_m: from.has_m,
        }),
        fields,
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: MAX_RECORD_COUNT,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

fn new_field(name: String, from: &SourceField) -> Field {
    Field {
        alias: from.name.clone(),
        name,
        kind: from.kind,
        length: from.length,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

/// Matches the fields of a file with those of a layer, by name, ignoring case.
fn append_to(collection: Collection, layer: &SourceLayer) -> Result<Plan> {
    let wanted = collection.geometry.as_ref();
    if let (Some(found), Some(wanted)) = (layer.geometry, wanted) {
        let is_kind = found.kind == wanted.kind
            || (found.kind == GeometryKind::Point && wanted.kind == GeometryKind::Multipoint);
        if !is_kind {
            let problem = format!(
                "the file holds {:?} geometries, the layer {:?}",
                found.kind, wanted.kind
            );
            return Err(Error::invalid("layer", problem));
        }
        if found.srid != wanted.srid {
            let problem = format!(
                "the file is in EPSG:{}, the layer in EPSG:{}; reproject the file first",
                found.srid, wanted.srid
            );
            return Err(Error::invalid("layer", problem));
        }
    } else if layer.geometry.is_some() {
        let problem = "the file holds geometries, the table none";
        return Err(Error::invalid("layer", problem));
    }
    let position = |name: &str| {
        let same = |f: &SourceField| f.name.eq_ignore_ascii_case(name);
        layer.fields.iter().position(same)
    };
    let sources: Vec<_> = collection
        .fields
        .iter()
        .map(|f| position(&f.name))
        .collect();
    let ignored = layer.fields.iter().enumerate();
    let ignored_fields = ignored
        .filter(|(at, _)| !sources.contains(&Some(*at)))
        .map(|(_, field)| field.name.clone())
        .collect();
    Ok(Plan {
        sources,
        loaded: Loaded {
            layer: collection.id,
            name: collection.name.clone(),
            records: 0,
            ignored_fields,
            renamed_fields: Vec::new(),
        },
        collection,
    })
}

impl Plan {
    /// The row as a record of the layer. Every value must fit: nothing is cut or guessed.
    fn record(&self, mut row: SourceRow) -> Result<Record> {
        let collection = &self.collection;
        let refused = |field: &Field, problem: String| {
            Error::invalid(
                format!("record {}, field {}", self.loaded.records, field.name),
                problem,
            )
        };
        let mut values = Vec::with_capacity(collection.fields.len());
        for (field, source) in collection.fields.iter().zip(&self.sources) {
            let Some(at) = source else {
                values.push(field.default.clone());
                continue;
            };
            let value = std::mem::take(&mut row.values[*at]);
            let value = convert::recast(field.kind, value)
                .ok_or_else(|| refused(field, "its value does not fit the type".to_owned()))?;
            values.push(validate::fit(field, &value).map_err(|problem| refused(field, problem))?);
        }
        let geometry = row.geometry.zip(collection.geometry.as_ref());
        Ok(Record {
            global_id: GlobalId::Uuid(row.global_id.unwrap_or_else(secret::random_uuid)),
            object_id: None,
            values,
            geometry: geometry.map(|(geometry, column)| {
                convert::fit(&geometry.shape(), column.kind, column.has_z, column.has_m)
            }),
        })
    }
}

/// A file that is imported twice adds its records twice: it replaces nothing.
fn keep_apart(tx: &mut dyn WriteTx, layer: CollectionId, record: &mut Record) -> Result<()> {
    while tx.track(layer, &record.global_id)?.is_some() {
        record.global_id = GlobalId::Uuid(secret::random_uuid());
    }
    Ok(())
}
