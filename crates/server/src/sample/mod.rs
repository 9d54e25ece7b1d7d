//! The sample that `--sample` publishes: the same content on every machine, made from a fixed seed; ids are random.
//!
//! `WildfireSync` is public as a sample server's is: anonymous may query, edit and synchronise. `Ports` may be read by all.
//! The DHIS2 instance and the documents of `_system` are for who is granted them.

use std::sync::Arc;

use haversack_model::schema::{Cardinality, EditorFields, GeometryColumn, GeometryKind};
use haversack_model::{
    Collection, CollectionId, CollectionKind, Domain, Field, FieldType, Right, Service, Value,
};

use crate::error::Result;
use crate::grants::Grant;
use crate::{Server, clock};

mod chance;
mod clinic;
mod documents;
mod picture;
mod ports;
mod shapes;
mod wildfire;

/// Largest page of a query, above the number of rows of every layer.
const MAX_RECORD_COUNT: u32 = 2000;

/// Publishes what of the sample is not there yet.
pub(crate) fn publish(server: &Arc<Server>) -> Result<()> {
    clinic::publish(server)?;
    documents::publish(server)?;
    for (service, fill, rights) in [
        (
            wildfire::service(),
            wildfire::fill as fn(&mut dyn haversack_model::WriteTx) -> haversack_model::Result<()>,
            vec![Right::Read, Right::Edit, Right::Sync],
        ),
        (ports::service(), ports::fill, vec![Right::Read]),
    ] {
        if server.services.store(&service.name).is_some() {
            continue;
        }
        // The grant goes first: a service that is there has it, whatever interrupts this.
        server.grants.set(&Grant {
            principal: "anonymous".to_owned(),
            service: service.name.clone(),
            rights,
            filters: Vec::new(),
        })?;
        server.create_service(&service, |store| {
            let mut tx = store.begin_write(clock::now())?;
            fill(tx.as_mut())?;
            tx.commit()?;
            Ok(())
        })?;
    }
    Ok(())
}

fn field(name: &str, alias: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        alias: alias.to_owned(),
        kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    }
}

fn text(name: &str, alias: &str, length: u32) -> Field {
    Field {
        length: Some(length),
        ..field(name, alias, FieldType::String)
    }
}

fn required(field: Field) -> Field {
    Field {
        nullable: false,
        ..field
    }
}

fn coded(field: Field, name: &str, values: &[(&str, &str)]) -> Field {
    Field {
        domain: Some(Domain::Coded {
            name: name.to_owned(),
            values: values
                .iter()
                .map(|(code, label)| (Value::from(*code), (*label).to_owned()))
                .collect(),
        }),
        ..field
    }
}

/// The four fields that the server stamps.
fn tracking_fields() -> [Field; 4] {
    let stamped = |name, alias, kind, length| Field {
        editable: false,
        length,
        ..field(name, alias, kind)
    };
    [
        stamped("created_user", "Created by", FieldType::String, Some(128)),
        stamped("created_date", "Created", FieldType::Date, None),
        stamped(
            "last_edited_user",
            "Edited by",
            FieldType::String,
            Some(128),
        ),
        stamped("last_edited_date", "Edited", FieldType::Date, None),
    ]
}

fn tracking() -> EditorFields {
    EditorFields {
        created_at: "created_date".to_owned(),
        creator: "created_user".to_owned(),
        edited_at: "last_edited_date".to_owned(),
        editor: "last_edited_user".to_owned(),
    }
}

fn layer(
    id: u32,
    name: &str,
    table: &str,
    kind: GeometryKind,
    srid: i32,
    fields: Vec<Field>,
) -> Collection {
    Collection {
        kind: CollectionKind::Layer,
        geometry: Some(GeometryColumn {
            name: "geom".to_owned(),
            kind,
            srid,
            has_z: false,
            has_m: false,
        }),
        ..table_of(id, name, table, fields)
    }
}

fn table_of(id: u32, name: &str, table: &str, fields: Vec<Field>) -> Collection {
    Collection {
        id: CollectionId(id),
        name: name.to_owned(),
        table: table.to_owned(),
        kind: CollectionKind::Table,
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: Some("name".to_owned()),
        geometry: None,
        fields,
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: MAX_RECORD_COUNT,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

fn service_of(
    name: &str,
    title: &str,
    capabilities: &str,
    srid: i32,
    collections: Vec<Collection>,
) -> Service {
    Service {
        name: name.to_owned(),
        title: title.to_owned(),
        description: String::new(),
        copyright: String::new(),
        capabilities: capabilities.split(',').map(str::to_owned).collect(),
        srid,
        schema_version: 1,
        collections,
    }
}

/// One origin record has many related ones.
const ONE_TO_MANY: Cardinality = Cardinality::OneToMany;

#[cfg(test)]
mod tests;
