//! Questions about one layer. Source: `spec/geoservices.md` 5, "query".

pub(crate) mod filter;
pub(crate) mod pbf;
pub(crate) mod records;
pub(crate) mod related;
pub(crate) mod simplify;
pub(crate) mod statistics;
pub(crate) mod validate;

use haversack_model::query::{Order, Query, Select, Statistic};
use haversack_model::store::Flow;
use haversack_model::{
    Collection, CollectionId, Filter, QueryRow, Right, Timestamp, Value as Field,
};
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::{Call, Opened};
use super::metadata::extent;
use super::problem::{Problem, Result};
use crate::wire::crs::{self, Transform};
use crate::wire::params::Params;
use crate::wire::sql;

/// The form of an answer with features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// EsriJSON.
    Json,
    /// GeoJSON.
    GeoJson,
    /// Protocol buffers.
    Pbf,
}

/// `query`.
pub(crate) fn query(call: &Call, name: &str, id: CollectionId) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    opened.offers("Query")?;
    let collection = opened.collection(id)?;
    let params = &call.params;
    check_words(params)?;
    let filter = filter::of_params(params, &opened, collection)?;
    let flag = |name: &str| params.flag(name, false);
    if params.text("outStatistics").is_some() {
        return statistics::statistics(params, &opened, collection, filter);
    }
    if flag("returnDistinctValues")? {
        return statistics::distinct(params, &opened, collection, filter);
    }
    let (count, extent) = (flag("returnCountOnly")?, flag("returnExtentOnly")?);
    if count || extent {
        return count_and_extent(params, &opened, collection, filter, (count, extent));
    }
    if flag("returnIdsOnly")? || flag("returnUniqueIdsOnly")? {
        return ids(params, &opened, collection, filter);
    }
    records::answer(params, &opened, collection, filter)
}

/// `<layer>/<object id>`: one feature.
pub(crate) fn one(call: &Call, name: &str, id: CollectionId, object_id: i64) -> Result<Answer> {
    let opened = call.open(name, Right::Read)?;
    opened.offers("Query")?;
    let collection = opened.collection(id)?;
    let mut params = call.params.clone();
    if params.text("outFields").is_none() {
        params.add("outFields", "*")?;
    }
    let style = records::Style::of_params(&params, collection, Encoding::Json)?;
    let ids = Filter::ObjectIds(vec![haversack_model::ObjectId(object_id)]);
    let filter = opened.access.filter(id).and(ids);
    let tx = opened.store.begin_read()?;
    let mut feature = Vec::new();
    records::stream(tx.as_ref(), &Query::records(id, filter), 1, &mut |record| {
        style.write(&mut feature, &record)
    })?;
    if feature.is_empty() {
        return Err(Problem::NotFound(format!("feature {object_id}")));
    }
    let feature: Value = serde_json::from_slice(&feature)
        .map_err(|error| Problem::Internal(format!("a feature as JSON: {error}")))?;
    Ok(Answer::Json(json!({"feature": feature})))
}

/// The encoding that `f` asks for.
pub(crate) fn encoding(params: &Params) -> Result<Encoding> {
    let words = [
        ("json", Encoding::Json),
        ("pjson", Encoding::Json),
        ("html", Encoding::Json),
        ("geojson", Encoding::GeoJson),
        ("pbf", Encoding::Pbf),
    ];
    Ok(params.choice("f", &words)?.unwrap_or(Encoding::Json))
}

/// A number of rows.
pub(crate) fn count(params: &Params, name: &str) -> Result<Option<u64>> {
    let number = params.integer(name, 0..=i64::MAX)?;
    Ok(number.and_then(|n| u64::try_from(n).ok()))
}

/// The sort keys of `orderByFields`.
pub(crate) fn order_by(
    params: &Params,
    collection: &Collection,
    statistics: &[Statistic],
    now: Timestamp,
) -> Result<Vec<Order>> {
    params.text("orderByFields").map_or(Ok(Vec::new()), |text| {
        sql::order_by(text, collection, statistics, now)
            .map_err(|error| Problem::sql("orderByFields", error))
    })
}

/// Enumerations that change nothing here are still checked: a misspelt one would silently mean something else.
fn check_words(params: &Params) -> Result<()> {
    params.choice(
        "sqlFormat",
        &[("none", ()), ("standard", ()), ("native", ())],
    )?;
    params.choice(
        "resultType",
        &[("none", ()), ("standard", ()), ("tile", ())],
    )?;
    // Without these the answer would be another one than was asked for.
    let zero = params.number("distance")?.is_none_or(|d| d == 0.0);
    for (name, is_harmless) in [
        ("distance", zero),
        ("historicMoment", params.text("historicMoment").is_none()),
    ] {
        if !is_harmless {
            return Err(Problem::parameter(name, "it is not offered here"));
        }
    }
    encoding(params).map(drop)
}

/// Runs a query that gives one row or few, and hands each on.
pub(crate) fn rows(opened: &Opened, query: &Query) -> Result<Vec<QueryRow>> {
    let tx = opened.store.begin_read()?;
    let mut rows = Vec::new();
    tx.query(query, &mut |row| {
        rows.push(row);
        Ok(Flow::Continue(()))
    })?;
    Ok(rows)
}

fn count_and_extent(
    params: &Params,
    opened: &Opened,
    collection: &Collection,
    filter: Filter,
    (count, wants_extent): (bool, bool),
) -> Result<Answer> {
    let mut told = json!({});
    if count {
        let query = Query {
            select: Select::Count,
            ..Query::records(collection.id, filter.clone())
        };
        let count = first_integer(&rows(opened, &query)?);
        if encoding(params)? == Encoding::Pbf {
            return pbf::count(count);
        }
        told["count"] = json!(count);
    }
    if wants_extent {
        let Some(column) = &collection.geometry else {
            return Err(Problem::parameter(
                "returnExtentOnly",
                "a table has no extent",
            ));
        };
        let srid = match params.text("outSR") {
            Some(text) => filter::reference(text, "outSR")?,
            None => column.srid,
        };
        let query = Query {
            select: Select::Extent,
            ..Query::records(collection.id, filter)
        };
        let found = rows(opened, &query)?.into_iter().find_map(|row| match row {
            QueryRow::Extent(extent) => extent,
            _ => None,
        });
        told["extent"] = match (found, Transform::between(column.srid, srid)?) {
            (Some(extent), Some(transform)) => extent::to_json(&transform.envelope(&extent)?, srid),
            (Some(extent), None) => extent::to_json(&extent, srid),
            // The words that the dialect has for "nowhere".
            (None, _) => json!({
                "xmin": "NaN", "ymin": "NaN", "xmax": "NaN", "ymax": "NaN",
                "spatialReference": crs::to_json(srid),
            }),
        };
    }
    Ok(Answer::Json(told))
}

/// The integer of a count.
pub(crate) fn first_integer(rows: &[QueryRow]) -> i64 {
    match rows.first() {
        Some(QueryRow::Values(values)) => values.first().and_then(Field::as_integer).unwrap_or(0),
        _ => 0,
    }
}

fn ids(
    params: &Params,
    opened: &Opened,
    collection: &Collection,
    filter: Filter,
) -> Result<Answer> {
    let order = order_by(params, collection, &[], opened.now)?;
    let query = Query {
        select: Select::Ids,
        order,
        offset: count(params, "resultOffset")?.unwrap_or(0),
        limit: count(params, "resultRecordCount")?.filter(|n| *n > 0),
        ..Query::records(collection.id, filter)
    };
    let tx = opened.store.begin_read()?;
    let mut ids = Vec::new();
    tx.query(&query, &mut |row| {
        if let QueryRow::Ids(id, _) = row {
            ids.push(id.0);
        }
        Ok(Flow::Continue(()))
    })?;
    if encoding(params)? == Encoding::Pbf {
        return pbf::ids(collection, &ids);
    }
    if encoding(params)? == Encoding::GeoJson {
        return Ok(Answer::Json(
            json!({"type": "FeatureCollection", "objectIds": ids, "features": []}),
        ));
    }
    Ok(Answer::Json(json!({
        "objectIdFieldName": collection.object_id_field,
        "objectIds": ids,
    })))
}
