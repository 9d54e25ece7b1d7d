//! From metadata to layers: what a copy should hold, and how one that exists grows into it.
//!
//! A layer keeps its number and a column its name for as long as the file lives, whatever the server renames. What the server
//! does not have any more stays: unsent work may be in it.

use std::collections::{BTreeMap, HashSet};

use haversack_model::schema::{Cardinality, EditorFields, GeometryKind, Relationship};
use haversack_model::{Collection, CollectionId, CollectionKind, Field};
use serde_json::json;

use super::columns::{self, Described, of_value, text};
use super::tables::{FIRST_LAYER, collection, fixed, flag, geometry};
use super::{Role, Table, property};

/// A tracked entity type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntityType {
    /// Its uid.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `POINT`, `POLYGON` or something else.
    pub feature_type: String,
    /// Its attributes.
    pub attributes: Vec<Described>,
}

/// A program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Its uid.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The type of those who are enrolled; empty without registration.
    pub entity_type: String,
    /// Where enrollments are.
    pub feature_type: String,
    /// Its attributes; those of its type are left to the type's layer.
    pub attributes: Vec<Described>,
    /// Its stages.
    pub stages: Vec<Stage>,
}

/// A program stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// Its uid.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where events are.
    pub feature_type: String,
    /// Its data elements.
    pub elements: Vec<Described>,
}

/// What the layers are made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// Types.
    pub entity_types: Vec<EntityType>,
    /// Programs.
    pub programs: Vec<Program>,
}

const TIMES: [&str; 4] = [
    "created_at",
    "updated_at",
    "created_at_client",
    "updated_at_client",
];

fn entity_columns() -> Vec<Field> {
    let mut all = vec![
        text("org_unit"),
        flag("inactive"),
        flag("potential_duplicate"),
    ];
    all.extend(own_columns());
    all
}

fn enrollment_columns() -> Vec<Field> {
    let texts = [
        "tracked_entity",
        "org_unit",
        "owner",
        "status",
        "enrolled_at",
        "occurred_at",
        "completed_at",
        "attribute_option_combo",
    ];
    let mut all: Vec<Field> = texts.map(text).into();
    all.push(flag("follow_up"));
    all.extend(own_columns());
    all
}

fn event_columns() -> Vec<Field> {
    let texts = [
        "enrollment",
        "org_unit",
        "status",
        "occurred_at",
        "scheduled_at",
        "completed_at",
        "attribute_option_combo",
        "attribute_category_options",
        "assigned_user",
        "assigned_username",
        "provided_elsewhere",
    ];
    let mut all: Vec<Field> = texts.map(text).into();
    all.push(flag("follow_up"));
    all.extend(own_columns());
    all
}

/// Columns of every layer: times, whether it is a mere stub of a relationship, and the children that the server told.
fn own_columns() -> impl Iterator<Item = Field> {
    let times = TIMES.into_iter().map(text);
    times.chain([flag("is_stub"), text("children")])
}

/// The collections that a file with `present` ones must have for `schema`. Those that are there already come first, grown.
pub fn plan(present: &[Collection], schema: &Schema) -> Vec<Collection> {
    let mut made = Planned::new(present);
    for entity_type in &schema.entity_types {
        let role = Role::TrackedEntities {
            entity_type: entity_type.id.clone(),
        };
        made.layer(
            &role,
            &entity_type.name,
            &entity_type.feature_type,
            entity_columns(),
            &entity_type.attributes,
        );
    }
    for program in &schema.programs {
        let of_type = schema
            .entity_types
            .iter()
            .find(|of| of.id == program.entity_type);
        let mut parent = None;
        if !program.entity_type.is_empty() {
            let is_of_type = |attribute: &&Described| {
                of_type.is_some_and(|of| of.attributes.iter().any(|a| a.id == attribute.id))
            };
            let attributes = program.attributes.iter();
            let attributes: Vec<_> = attributes.filter(|a| !is_of_type(a)).cloned().collect();
            let role = Role::Enrollments {
                program: program.id.clone(),
            };
            let name = format!("{} enrollments", program.name);
            let id = made.layer(
                &role,
                &name,
                &program.feature_type,
                enrollment_columns(),
                &attributes,
            );
            let entities = made.find(&Role::TrackedEntities {
                entity_type: program.entity_type.clone(),
            });
            made.relate(entities, id, "tracked_entity");
            parent = Some(id);
        }
        for stage in &program.stages {
            let role = Role::Events {
                stage: stage.id.clone(),
                program: program.id.clone(),
            };
            let name = format!("{} {}", program.name, stage.name);
            let id = made.layer(
                &role,
                &name,
                &stage.feature_type,
                event_columns(),
                &stage.elements,
            );
            made.relate(parent, id, "enrollment");
        }
    }
    made.all
}

struct Planned {
    all: Vec<Collection>,
}

impl Planned {
    fn new(present: &[Collection]) -> Self {
        let mut all = present.to_vec();
        for wanted in fixed() {
            match all.iter_mut().find(|there| there.id == wanted.id) {
                Some(there) => {
                    for field in wanted.fields {
                        if there.field_index(&field.name).is_none() {
                            there.fields.push(field);
                        }
                    }
                }
                None => all.push(wanted),
            }
        }
        Self { all }
    }
    fn find(&self, role: &Role) -> Option<CollectionId> {
        let found = self
            .all
            .iter()
            .find(|there| Role::of(there).as_ref() == Some(role));
        found.map(|there| there.id)
    }

    /// The layer of a role, made or grown.
    fn layer(
        &mut self,
        role: &Role,
        name: &str,
        feature_type: &str,
        columns: Vec<Field>,
        values: &[Described],
    ) -> CollectionId {
        let at = if let Some(id) = self.find(role) {
            self.all.iter().position(|there| there.id == id)
        } else {
            let highest = self.all.iter().map(|there| there.id.0).max();
            let id = CollectionId(highest.map_or(FIRST_LAYER, |id| id + 1).max(FIRST_LAYER));
            self.all.push(new_layer(id, role, name, feature_type));
            Some(self.all.len() - 1)
        };
        let Some(layer) = at.and_then(|at| self.all.get_mut(at)) else {
            return CollectionId(0);
        };
        name.clone_into(&mut layer.name);
        grow(layer, columns, values);
        layer.id
    }

    /// Ties children to the layer of their parents, so that these are sent first.
    fn relate(&mut self, parent: Option<CollectionId>, child: CollectionId, key: &str) {
        let Some(parent) = parent else { return };
        for layer in &mut self.all {
            let is_origin = layer.id == parent;
            if !is_origin && layer.id != child {
                continue;
            }
            if layer.relationships.iter().any(|end| end.id == child.0) {
                continue;
            }
            layer.relationships.push(Relationship {
                id: child.0,
                name: key.to_owned(),
                related: if is_origin { child } else { parent },
                is_origin,
                cardinality: Cardinality::OneToMany,
                key_field: if is_origin { "uid" } else { key }.to_owned(),
                composite: true,
            });
        }
    }
}

fn new_layer(id: CollectionId, role: &Role, name: &str, feature_type: &str) -> Collection {
    let (word, of, program) = match role {
        Role::TrackedEntities { entity_type } => ("trackedEntities", entity_type, None),
        Role::Enrollments { program } => ("enrollments", program, Some(program)),
        Role::Events { stage, program } => ("events", stage, Some(program)),
        // The other roles have fixed tables.
        Role::Relationships
        | Role::Notes
        | Role::DataValues
        | Role::Completions
        | Role::Files
        | Role::Metadata { .. }
        | Role::Kept => {
            return collection(id, name, "kept");
        }
    };
    let mut layer = collection(id, name, word);
    layer.kind = CollectionKind::Layer;
    layer.geometry = Some(geometry(match feature_type {
        "POLYGON" | "MULTI_POLYGON" => GeometryKind::Polygon,
        _ => GeometryKind::Point,
    }));
    // The server stamps these; they are no change of content.
    layer.editor_fields = Some(EditorFields {
        created_at: TIMES[0].to_owned(),
        creator: "created_by".to_owned(),
        edited_at: TIMES[1].to_owned(),
        editor: "updated_by".to_owned(),
    });
    layer.properties.insert(property::OF.to_owned(), json!(of));
    if let Some(program) = program {
        layer
            .properties
            .insert(property::PROGRAM.to_owned(), json!(program));
    }
    layer
}

/// Adds the columns that are missing. Names and lists of choices follow the server.
fn grow(layer: &mut Collection, columns: Vec<Field>, values: &[Described]) {
    for column in columns {
        if layer.field_index(&column.name).is_none() {
            layer.fields.push(column);
        }
    }
    let known = Table::of(layer);
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (at, uid) in known.iter().flat_map(Table::values) {
        if let Some(field) = layer.fields.get(*at) {
            named.insert(field.name.clone(), uid.clone());
        }
    }
    let mut taken: HashSet<String> = layer.fields.iter().map(|f| f.name.to_lowercase()).collect();
    taken.extend(["fid", "uid", "geom", "rowid", "oid"].map(str::to_owned));
    for value in values {
        let at = known.as_ref().and_then(|t| t.column_of_value(&value.id));
        if let Some(field) = at.and_then(|at| layer.fields.get_mut(at)) {
            field.alias.clone_from(&value.name);
            field.domain = columns::domain(value);
        } else {
            let field = of_value(value, &mut taken);
            named.insert(field.name.clone(), value.id.clone());
            layer.fields.push(field);
        }
    }
    layer
        .properties
        .insert(property::VALUES.to_owned(), json!(named));
}
