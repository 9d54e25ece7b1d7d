//! Loading rows into layers: made new, or existing ones.

use std::sync::Arc;

use uuid::Uuid;

use haversack_model::schema::{GeometryColumn, GeometryKind};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Field, FieldType, GlobalId, Record, Service, Store,
    Value, WriteTx,
};
use haversack_sync::validate;

use super::journal::Journal;
use super::{
    Loaded, Progress, Reader, Report, Request, SourceField, SourceLayer, SourceRow, convert, names,
};
use crate::error::{Error, Result};
use crate::{Server, clock, secret};

const BATCH: usize = 5000;
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
    let (store, plans) = prepare(server, &layers, request, key)?;
    let total: u64 = layers.iter().map(|layer| layer.count).sum();
    let mut done = 0;
    let mut journal = Journal {
        layers: plans.iter().map(|plan| plan.loaded.clone()).collect(),
        is_done: false,
    };
    for (at, plan) in plans.into_iter().enumerate() {
        let loaded_before = plan.loaded.records;
        let mut loader = Loader {
            store: store.as_ref(),
            plan,
            batch: Vec::with_capacity(BATCH),
            row: 0,
            at,
            key,
            journal: &mut journal,
        };
        reader.read(at, &mut |row| {
            if loader.row < loaded_before {
                loader.row += 1;
            } else {
                loader.take(row)?;
            }
            done += 1;
            if loader.batch.is_empty() {
                progress("loading", done, Some(total));
            }
            Ok(())
        })?;
        loader.flush()?;
        progress("loading", done, Some(total));
    }
    journal.is_done = true;
    if let Some(key) = key {
        let mut tx = store.begin_write(clock::now())?;
        journal.store(tx.as_mut(), key)?;
        tx.commit()?;
    }
    Ok(Report {
        service: request.service.clone(),
        layers: journal.layers,
    })
}

/// Makes what is missing, and finds out where every field goes.
fn prepare(
    server: &Server,
    layers: &[SourceLayer],
    request: &Request,
    key: Option<Uuid>,
) -> Result<(Arc<dyn Store>, Vec<Plan>)> {
    let store: Arc<dyn Store> = match server.services.store(&request.service) {
        Some(store) => store,
        None if request.layer.is_some() => {
            return Err(Error::Missing {
                what: "service",
                name: request.service.clone(),
            });
        }
        // Its layers come with the journal, in one transaction.
        None => server.create_service(&empty_service(&request.service, layers))?,
    };
    let plans = plans(store.as_ref(), layers, request, key)?;
    Ok((store, plans))
}

/// Makes the layers that are missing, or finds those that the journal names.
fn plans(
    store: &dyn Store,
    layers: &[SourceLayer],
    request: &Request,
    key: Option<Uuid>,
) -> Result<Vec<Plan>> {
    let mut tx = store.begin_write(clock::now())?;
    let begun = match key {
        Some(key) => Journal::load(tx.as_ref(), key)?,
        None => None,
    };
    if let Some(id) = request.layer {
        let mut plan = append_to(tx.collection(id)?, &layers[0])?;
        if let Some(loaded) = begun.and_then(|journal| journal.layers.into_iter().next()) {
            plan.loaded = loaded;
        }
        return Ok(vec![plan]);
    }
    if let Some(journal) = begun {
        let plan = |loaded: Loaded| {
            let collection = tx.collection(loaded.layer)?;
            Ok(Plan {
                sources: (0..collection.fields.len()).map(Some).collect(),
                loaded,
                collection,
            })
        };
        return journal.layers.into_iter().map(plan).collect();
    }
    let mut service = tx.service()?;
    let plans = add_layers(&mut service, layers);
    service.schema_version += 1;
    tx.store_service(&service)?;
    if let Some(key) = key {
        let journal = Journal {
            layers: plans.iter().map(|plan| plan.loaded.clone()).collect(),
            is_done: false,
        };
        journal.store(tx.as_mut(), key)?;
    }
    tx.commit()?;
    Ok(plans)
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

struct Loader<'a> {
    store: &'a dyn Store,
    plan: Plan,
    batch: Vec<Record>,
    row: u64,
    /// Which layer of the file.
    at: usize,
    key: Option<Uuid>,
    journal: &'a mut Journal,
}

impl Loader<'_> {
    fn take(&mut self, row: SourceRow) -> Result<()> {
        self.row += 1;
        let record = self.record(row)?;
        self.batch.push(record);
        if self.batch.len() == BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// The row as a record of the layer. Every value must fit: nothing is cut or guessed.
    fn record(&self, mut row: SourceRow) -> Result<Record> {
        let collection = &self.plan.collection;
        let refused = |field: &Field, problem: String| {
            Error::invalid(
                format!("record {}, field {}", self.row, field.name),
                problem,
            )
        };
        let mut values = Vec::with_capacity(collection.fields.len());
        for (field, source) in collection.fields.iter().zip(&self.plan.sources) {
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

    fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin_write(clock::now())?;
        for record in &mut self.batch {
            keep_apart(tx.as_mut(), self.plan.collection.id, record)?;
            tx.put(self.plan.collection.id, record, None)?;
        }
        let before = self.journal.layers[self.at].records;
        self.journal.layers[self.at].records = before + self.batch.len() as u64;
        if let Some(key) = self.key {
            self.journal.store(tx.as_mut(), key)?;
        }
        tx.commit()?;
        self.batch.clear();
        Ok(())
    }
}

/// A file that is imported twice adds its records twice: it replaces nothing.
fn keep_apart(tx: &mut dyn WriteTx, layer: CollectionId, record: &mut Record) -> Result<()> {
    while tx.track(layer, &record.global_id)?.is_some() {
        record.global_id = GlobalId::Uuid(secret::random_uuid());
    }
    Ok(())
}
