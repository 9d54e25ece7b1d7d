//! `queryRelatedRecords`: the records at the other end of a relationship.

use std::collections::BTreeMap;

use haversack_model::filter::Expr;
use haversack_model::query::Query;
use haversack_model::{
    Collection, CollectionId, Filter, GlobalId, ObjectId, Record, Right, Value as Field,
};
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::edits::plan::ids_of;
use super::super::problem::{Problem, Result};
use super::records::{Style, stream};
use super::{Encoding, filter, order_by};
use crate::wire::crs;
use crate::wire::geometry::geometry_type;

/// `queryRelatedRecords`.
pub(crate) fn query(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    opened.offers("Query")?;
    let collection = opened.collection(id)?;
    let params = &call.params;
    params.required("relationshipId")?;
    let number = params.integer("relationshipId", 0..=i64::from(u32::MAX))?;
    let relationship = collection
        .relationships
        .iter()
        .find(|r| Some(i64::from(r.id)) == number)
        .ok_or_else(|| {
            Problem::parameter("relationshipId", "the layer has no such relationship")
        })?;
    let wanted = filter::object_ids(params, "objectIds")?
        .ok_or_else(|| Problem::parameter("objectIds", "it is required"))?;
    let other = opened.collection(relationship.related)?;
    let far_end = other
        .relationships
        .iter()
        .find(|r| r.id == relationship.id && r.is_origin != relationship.is_origin)
        .ok_or_else(|| Problem::NotFound("the other end of the relationship".to_owned()))?;
    let style = Style::of_params(params, other, Encoding::Json)?;
    let condition = filter::condition(params, "definitionExpression", &opened, other)?;
    let order = order_by(params, other, &[], opened.now)?;
    let tx = opened.store.begin_read()?;
    let visible = opened.access.filter(id).and(Filter::ObjectIds(wanted));
    // Key of a record here, and which records here have it.
    let mut here: BTreeMap<GlobalId, Vec<ObjectId>> = BTreeMap::new();
    let related_by = if relationship.is_origin {
        for (object_id, global_id) in ids_of(tx.as_ref(), id, visible)? {
            here.entry(global_id).or_default().push(object_id);
        }
        let keys = here
            .keys()
            .map(|key| Expr::Literal(Field::Text(key.braced())));
        Filter::In {
            expr: Expr::Field(far_end.key_field.clone()),
            list: keys.collect(),
        }
    } else {
        let at = key_position(collection, &relationship.key_field)?;
        stream(
            tx.as_ref(),
            &Query::records(id, visible),
            u64::MAX - 1,
            &mut |record| {
                if let (Some(key), Some(object_id)) = (key_of(&record, at), record.object_id) {
                    here.entry(key).or_default().push(object_id);
                }
                Ok(())
            },
        )?;
        Filter::GlobalIds(here.keys().cloned().collect())
    };
    let all = opened
        .access
        .filter(other.id)
        .and(condition)
        .and(related_by);
    let query = Query {
        order,
        ..Query::records(other.id, all)
    };
    let position = if relationship.is_origin {
        Some(key_position(other, &far_end.key_field)?)
    } else {
        None
    };
    let mut groups: BTreeMap<ObjectId, Vec<Value>> = BTreeMap::new();
    let largest = u64::from(other.max_record_count.max(1));
    let more = stream(tx.as_ref(), &query, largest, &mut |record| {
        let key = match position {
            Some(at) => key_of(&record, at),
            None => Some(record.global_id.clone()),
        };
        let Some(owners) = key.and_then(|key| here.get(&key)) else {
            return Ok(());
        };
        let mut text = Vec::new();
        style.write(&mut text, &record)?;
        let feature: Value = serde_json::from_slice(&text)
            .map_err(|error| Problem::Internal(format!("a feature as JSON: {error}")))?;
        for owner in owners {
            groups.entry(*owner).or_default().push(feature.clone());
        }
        Ok(())
    })?;
    Ok(Answer::Json(tell(call, other, &style, groups, more)?))
}

fn tell(
    call: &Call,
    other: &Collection,
    style: &Style<'_>,
    groups: BTreeMap<ObjectId, Vec<Value>>,
    more: bool,
) -> Result<Value> {
    let count_only = call.params.flag("returnCountOnly", false)?;
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|(id, records)| {
            if count_only {
                json!({"objectId": id.0, "count": records.len()})
            } else {
                json!({"objectId": id.0, "relatedRecords": records})
            }
        })
        .collect();
    let mut told = json!({"fields": style.fields(), "relatedRecordGroups": groups});
    if let (Some(column), Some(_)) = (&other.geometry, style.geometry) {
        told["geometryType"] = json!(geometry_type(column.kind));
        told["spatialReference"] = crs::to_json(style.srid);
        told["hasZ"] = json!(column.has_z);
        told["hasM"] = json!(column.has_m);
    }
    if more {
        told["exceededTransferLimit"] = json!(true);
    }
    Ok(told)
}

fn key_position(collection: &Collection, field: &str) -> Result<usize> {
    collection
        .field_index(field)
        .ok_or_else(|| Problem::NotFound(format!("the key field '{field}' of the relationship")))
}

fn key_of(record: &Record, at: usize) -> Option<GlobalId> {
    let text = record.values.get(at)?.as_text()?;
    GlobalId::parse_uuid(text).ok()
}
