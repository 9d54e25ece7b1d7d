//! The document of a layer or table.

use haversack_model::schema::{Cardinality, Domain, Field, FieldType, GeometryKind};
use haversack_model::{Collection, ReadTx, Value as FieldValue};
use serde_json::{Map, Value, json};

use super::super::call::{Call, Opened};
use super::super::portal::{VERSION, items};
use super::super::problem::Result;
use super::extent;
use super::service::{QUERY_FORMATS, allows};
use crate::wire::crs;
use crate::wire::geometry::geometry_type;

/// The document.
pub(crate) fn describe(
    call: &Call,
    opened: &Opened,
    tx: &dyn ReadTx,
    collection: &Collection,
) -> Result<Value> {
    let mut told = json!({
        "currentVersion": VERSION,
        "id": collection.id.0,
        "name": collection.name,
        "type": if collection.geometry.is_some() { "Feature Layer" } else { "Table" },
        "serviceItemId": items::id_of(call, &opened.name),
        "parentLayer": null,
        "subLayers": [],
        "defaultVisibility": true,
        "minScale": 0,
        "maxScale": 0,
        "description": collection.description,
        "copyrightText": opened.service.copyright,
        "displayField": display_field(collection),
        "objectIdField": collection.object_id_field,
        "globalIdField": collection.global_id_field,
        "typeIdField": null,
        "subtypeField": null,
        "fields": fields(collection),
        "indexes": indexes(collection),
        "types": [],
        "templates": templates(collection),
        "relationships": relationships(collection),
        "hasAttachments": collection.has_attachments,
        "attachmentProperties": attachment_properties(collection),
        "htmlPopupType": "esriServerHTMLPopupTypeAsHTMLText",
        "capabilities": opened.service.capabilities.join(","),
        "maxRecordCount": collection.max_record_count,
        "standardMaxRecordCount": collection.max_record_count,
        "tileMaxRecordCount": collection.max_record_count,
        "maxRecordCountFactor": 1,
        "supportedQueryFormats": QUERY_FORMATS,
        "useStandardizedQueries": true,
        "isDataVersioned": false,
        "isDataArchived": false,
        "allowGeometryUpdates": collection.geometry.is_some() && allows(opened, "Update"),
        "ownershipBasedAccessControlForFeatures": null,
        "dateFieldsTimeReference": {"timeZone": "UTC", "respectsDaylightSaving": false},
        "editingInfo": {"lastEditDate": tx.head()?.stamp.0},
    });
    for (name, flag) in supports(opened, collection) {
        told[name] = json!(flag);
    }
    told["advancedQueryCapabilities"] = query_capabilities(collection);
    if let Some(column) = &collection.geometry {
        let extent = extent::of_layer(tx, opened, collection)?;
        told["geometryType"] = json!(geometry_type(column.kind));
        told["hasZ"] = json!(column.has_z);
        told["hasM"] = json!(column.has_m);
        told["extent"] = extent::published(extent, column.srid);
        told["sourceSpatialReference"] = crs::to_json(column.srid);
        told["drawingInfo"] = drawing_info(column.kind);
        told["geometryField"] = json!({
            "name": column.name,
            "type": "esriFieldTypeGeometry",
            "alias": column.name,
        });
    }
    if let Some(editor) = &collection.editor_fields {
        told["editFieldsInfo"] = json!({
            "creationDateField": editor.created_at,
            "creatorField": editor.creator,
            "editDateField": editor.edited_at,
            "editorField": editor.editor,
        });
    }
    Ok(told)
}

fn supports(opened: &Opened, collection: &Collection) -> [(&'static str, bool); 14] {
    let sync = opened.service.has_capability("Sync");
    let editing = allows(opened, "Update");
    [
        ("supportsAdvancedQueries", true),
        ("supportsStatistics", true),
        ("supportsRollbackOnFailureParameter", editing),
        ("supportsApplyEditsWithGlobalIds", editing),
        ("supportsCalculate", editing),
        ("supportsTruncate", false),
        ("supportsValidateSql", true),
        ("supportsAppend", false),
        (
            "supportsAttachmentsByUploadId",
            collection.has_attachments && opened.service.has_capability("Uploads"),
        ),
        ("supportsAttachmentsResizing", false),
        ("supportsAsyncCalculate", false),
        (
            "supportsCoordinatesQuantization",
            collection.geometry.is_some(),
        ),
        ("syncCanReturnChanges", sync),
        ("canModifyLayer", false),
    ]
}

fn query_capabilities(collection: &Collection) -> Value {
    json!({
        "supportsPagination": true,
        "supportsPaginationOnAggregatedQueries": true,
        "supportsQueryRelatedPagination": false,
        "supportsOrderBy": true,
        "supportsDistinct": true,
        "supportsStatistics": true,
        "supportsCountDistinct": true,
        "supportsHavingClause": true,
        "supportsSqlExpression": true,
        "supportsReturningQueryExtent": collection.geometry.is_some(),
        "supportsReturningGeometryCentroid": false,
        "supportsQueryWithDistance": false,
        "supportsQueryWithResultType": true,
        "supportsQueryAttachments": collection.has_attachments,
        "supportsTopFeaturesQuery": false,
        "supportsAdvancedQueryRelated": false,
    })
}

/// The field to show for a record.
fn display_field(collection: &Collection) -> &str {
    collection
        .display_field
        .as_deref()
        .unwrap_or(&collection.object_id_field)
}

/// All columns of a layer, in the order of its documents.
pub(crate) fn fields(collection: &Collection) -> Vec<Value> {
    let mut all = vec![object_id_field(collection), global_id_field(collection)];
    all.extend(collection.fields.iter().map(|f| field(collection, f)));
    all
}

/// The object id as a field.
pub(crate) fn object_id_field(collection: &Collection) -> Value {
    json!({
        "name": collection.object_id_field,
        "type": "esriFieldTypeOID",
        "alias": collection.object_id_field,
        "sqlType": "sqlTypeInteger",
        "nullable": false,
        "editable": false,
        "domain": null,
        "defaultValue": null,
    })
}

/// The global id as a field.
pub(crate) fn global_id_field(collection: &Collection) -> Value {
    json!({
        "name": collection.global_id_field,
        "type": "esriFieldTypeGlobalID",
        "alias": collection.global_id_field,
        "sqlType": "sqlTypeOther",
        "length": 38,
        "nullable": false,
        "editable": false,
        "domain": null,
        "defaultValue": null,
    })
}

/// An attribute as a field.
pub(crate) fn field(collection: &Collection, field: &Field) -> Value {
    let (kind, sql, length) = type_names(field.kind);
    let stamped = collection.editor_fields.as_ref().is_some_and(|e| {
        [&e.created_at, &e.creator, &e.edited_at, &e.editor].contains(&&field.name)
    });
    let mut told = json!({
        "name": field.name,
        "type": kind,
        "alias": if field.alias.is_empty() { &field.name } else { &field.alias },
        "sqlType": sql,
        "nullable": field.nullable,
        "editable": field.editable && !stamped,
        "domain": field.domain.as_ref().map(domain),
        "defaultValue": value(&field.default),
    });
    if let Some(length) = field.length.or(length) {
        told["length"] = json!(length);
    }
    told
}

/// Type names of a field and its usual length.
pub(crate) fn type_names(kind: FieldType) -> (&'static str, &'static str, Option<u32>) {
    match kind {
        FieldType::SmallInteger => ("esriFieldTypeSmallInteger", "sqlTypeSmallInt", None),
        FieldType::Integer => ("esriFieldTypeInteger", "sqlTypeInteger", None),
        FieldType::BigInteger => ("esriFieldTypeBigInteger", "sqlTypeBigInt", None),
        FieldType::Single => ("esriFieldTypeSingle", "sqlTypeReal", None),
        FieldType::Double => ("esriFieldTypeDouble", "sqlTypeFloat", None),
        FieldType::String => (
            "esriFieldTypeString",
            "sqlTypeNVarchar",
            Some(1_073_741_822),
        ),
        FieldType::Date => ("esriFieldTypeDate", "sqlTypeTimestamp2", Some(8)),
        FieldType::DateOnly => ("esriFieldTypeDateOnly", "sqlTypeDate", Some(10)),
        FieldType::TimeOnly => ("esriFieldTypeTimeOnly", "sqlTypeTime", Some(8)),
        FieldType::TimestampOffset => (
            "esriFieldTypeTimestampOffset",
            "sqlTypeTimestampWithTimezone",
            Some(34),
        ),
        FieldType::Guid => ("esriFieldTypeGUID", "sqlTypeOther", Some(38)),
        FieldType::Blob => ("esriFieldTypeBlob", "sqlTypeOther", None),
    }
}

fn domain(domain: &Domain) -> Value {
    match domain {
        Domain::Coded { name, values } => {
            let values = values
                .iter()
                .map(|(code, text)| json!({"name": text, "code": value(code)}));
            json!({
                "type": "codedValue",
                "name": name,
                "codedValues": values.collect::<Vec<_>>(),
                "mergePolicy": "esriMPTDefaultValue",
                "splitPolicy": "esriSPTDefaultValue",
            })
        }
        Domain::Range { name, min, max } => json!({
            "type": "range",
            "name": name,
            "range": [min, max],
            "mergePolicy": "esriMPTDefaultValue",
            "splitPolicy": "esriSPTDefaultValue",
        }),
    }
}

/// A value of a schema as JSON.
fn value(value: &FieldValue) -> Value {
    match value {
        FieldValue::Null | FieldValue::Blob(_) => Value::Null,
        FieldValue::Integer(n) => json!(n),
        FieldValue::Real(x) => json!(x),
        FieldValue::Text(text) => json!(text),
    }
}

fn indexes(collection: &Collection) -> Vec<Value> {
    let index = |name: &str, field: &str, unique: bool| {
        json!({
            "name": name,
            "fields": field,
            "isAscending": true,
            "isUnique": unique,
            "description": "",
        })
    };
    let mut all = vec![
        index("object_id", &collection.object_id_field, true),
        index("global_id", &collection.global_id_field, true),
    ];
    if let Some(column) = &collection.geometry {
        all.push(index("place", &column.name, false));
    }
    all
}

fn templates(collection: &Collection) -> Vec<Value> {
    let attributes: Map<String, Value> = collection
        .fields
        .iter()
        .filter(|f| f.editable)
        .map(|f| (f.name.clone(), value(&f.default)))
        .collect();
    vec![json!({
        "name": collection.name,
        "description": "",
        "drawingTool": collection.geometry.as_ref().map(|column| drawing_tool(column.kind)),
        "prototype": {"attributes": attributes},
    })]
}

fn drawing_tool(kind: GeometryKind) -> &'static str {
    match kind {
        GeometryKind::Point | GeometryKind::Multipoint => "esriFeatureEditToolPoint",
        GeometryKind::Polyline => "esriFeatureEditToolLine",
        GeometryKind::Polygon => "esriFeatureEditToolPolygon",
    }
}

fn relationships(collection: &Collection) -> Vec<Value> {
    let tell = |relationship: &haversack_model::schema::Relationship| {
        json!({
            "id": relationship.id,
            "name": relationship.name,
            "relatedTableId": relationship.related.0,
            "cardinality": match relationship.cardinality {
                Cardinality::OneToOne => "esriRelCardinalityOneToOne",
                Cardinality::OneToMany => "esriRelCardinalityOneToMany",
            },
            "role": if relationship.is_origin { "esriRelRoleOrigin" } else { "esriRelRoleDestination" },
            "keyField": relationship.key_field,
            "composite": relationship.composite,
        })
    };
    collection.relationships.iter().map(tell).collect()
}

fn attachment_properties(collection: &Collection) -> Vec<Value> {
    if !collection.has_attachments {
        return Vec::new();
    }
    ["name", "size", "keywords", "contentType"]
        .iter()
        .map(|name| json!({"name": name, "isEnabled": true}))
        .collect()
}

fn drawing_info(kind: GeometryKind) -> Value {
    let line = json!({
        "type": "esriSLS", "style": "esriSLSSolid", "color": [26, 82, 118, 255], "width": 1.5,
    });
    let symbol = match kind {
        GeometryKind::Point | GeometryKind::Multipoint => json!({
            "type": "esriSMS", "style": "esriSMSCircle", "color": [192, 57, 43, 255], "size": 8,
            "angle": 0, "xoffset": 0, "yoffset": 0, "outline": line,
        }),
        GeometryKind::Polyline => line,
        GeometryKind::Polygon => json!({
            "type": "esriSFS", "style": "esriSFSSolid", "color": [39, 174, 96, 90], "outline": line,
        }),
    };
    json!({"renderer": {"type": "simple", "symbol": symbol, "label": "", "description": ""}, "transparency": 0})
}
