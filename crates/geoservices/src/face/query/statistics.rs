//! Distinct values and statistics: rows that are computed, without identity and geometry.

use haversack_model::filter::Expr;
use haversack_model::query::{Query, Select, Statistic, StatisticKind};
use haversack_model::store::Flow;
use haversack_model::{Collection, Filter, QueryRow, Value as Field};
use serde_json::{Map, Value, json};

use super::super::answer::Answer;
use super::super::call::Opened;
use super::super::metadata::layer;
use super::super::problem::{Problem, Result};
use super::{Encoding, encoding, order_by, pbf};
use crate::wire::feature::Column;
use crate::wire::params::Params;
use crate::wire::sql::{self, GroupKey};

/// `outStatistics`, with `groupByFieldsForStatistics` and `having`.
pub(crate) fn statistics(
    params: &Params,
    opened: &Opened,
    collection: &Collection,
    filter: Filter,
) -> Result<Answer> {
    let now = opened.now;
    let asked = params.json("outStatistics")?.unwrap_or(Value::Null);
    let statistics =
        sql::statistics(&asked, collection, now).map_err(Problem::within("outStatistics"))?;
    let keys = match params.text("groupByFieldsForStatistics") {
        Some(text) => sql::group_by(text, collection, now)
            .map_err(|error| Problem::sql("groupByFieldsForStatistics", error))?,
        None => Vec::new(),
    };
    let having = match params.text("having") {
        Some(text) => sql::having(text, collection, &statistics, &keys, now)
            .map_err(|error| Problem::sql("having", error))?,
        None => Filter::All,
    };
    let mut fields: Vec<Value> = keys.iter().map(|key| key_field(collection, key)).collect();
    fields.extend(statistics.iter().map(|s| statistic_field(collection, s)));
    let order = order_by(params, collection, &statistics, now)?;
    let query = Query {
        select: Select::Statistics {
            group_by: keys.into_iter().map(|key| key.expr).collect(),
            statistics,
            having,
        },
        order,
        ..Query::records(collection.id, filter)
    };
    rows(params, opened, collection, query, &fields)
}

/// `returnDistinctValues`: the combinations of `outFields`.
pub(crate) fn distinct(
    params: &Params,
    opened: &Opened,
    collection: &Collection,
    filter: Filter,
) -> Result<Answer> {
    let names = params.words("outFields")?;
    let columns = match names.as_deref() {
        Some(names) if names.iter().any(|name| name == "*") => {
            (0..collection.fields.len()).map(Column::Field).collect()
        }
        Some(names) if !names.is_empty() => Column::select(collection, Some(names))?,
        _ => {
            return Err(Problem::parameter(
                "outFields",
                "name the fields whose distinct values are wanted",
            ));
        }
    };
    let expr = |column: &Column| match *column {
        Column::ObjectId => Expr::ObjectId,
        Column::GlobalId => Expr::GlobalId,
        Column::Field(at) => Expr::Field(collection.fields[at].name.clone()),
    };
    let field = |column: &Column| match *column {
        Column::ObjectId => layer::object_id_field(collection),
        Column::GlobalId => layer::global_id_field(collection),
        Column::Field(at) => layer::field(collection, &collection.fields[at]),
    };
    let order = order_by(params, collection, &[], opened.now)?;
    let query = Query {
        select: Select::Distinct(columns.iter().map(expr).collect()),
        order,
        ..Query::records(collection.id, filter)
    };
    let fields: Vec<Value> = columns.iter().map(field).collect();
    rows(params, opened, collection, query, &fields)
}

/// Answers computed rows: their number, or one page of them.
fn rows(
    params: &Params,
    opened: &Opened,
    collection: &Collection,
    mut query: Query,
    fields: &[Value],
) -> Result<Answer> {
    let tx = opened.store.begin_read()?;
    if params.flag("returnCountOnly", false)? {
        let mut count = 0_i64;
        tx.query(&query, &mut |_| {
            count += 1;
            Ok(Flow::Continue(()))
        })?;
        return match encoding(params)? {
            Encoding::Pbf => pbf::count(count),
            Encoding::Json | Encoding::GeoJson => Ok(Answer::Json(json!({"count": count}))),
        };
    }
    let largest = u64::from(collection.max_record_count.max(1));
    let asked = super::count(params, "resultRecordCount")?;
    let page = asked.filter(|n| *n > 0).unwrap_or(largest).min(largest);
    query.offset = super::count(params, "resultOffset")?.unwrap_or(0);
    query.limit = Some(page + 1);
    let mut rows = Vec::new();
    let mut more = false;
    tx.query(&query, &mut |row| {
        if let QueryRow::Values(values) = row {
            if rows.len() as u64 == page {
                more = true;
                return Ok(Flow::Break(()));
            }
            rows.push(values);
        }
        Ok(Flow::Continue(()))
    })?;
    Ok(match encoding(params)? {
        Encoding::Pbf => pbf::table(fields, &rows, more)?,
        Encoding::Json => Answer::Json(json_of(fields, &rows, more)),
        Encoding::GeoJson => Answer::Json(geojson_of(fields, &rows, more)),
    })
}

fn json_of(fields: &[Value], rows: &[Vec<Field>], more: bool) -> Value {
    let features = rows
        .iter()
        .map(|row| json!({"attributes": attributes(fields, row)}));
    let mut told = json!({
        "displayFieldName": "",
        "fields": fields,
        "features": features.collect::<Vec<_>>(),
    });
    if more {
        told["exceededTransferLimit"] = json!(true);
    }
    told
}

fn geojson_of(fields: &[Value], rows: &[Vec<Field>], more: bool) -> Value {
    let features = rows.iter().map(|row| {
        let properties = attributes(fields, row);
        json!({"type": "Feature", "geometry": null, "properties": properties})
    });
    let mut told = json!({
        "type": "FeatureCollection",
        "features": features.collect::<Vec<_>>(),
    });
    if more {
        told["exceededTransferLimit"] = json!(true);
        told["properties"] = json!({"exceededTransferLimit": true});
    }
    told
}

/// The values of a row by the names of its fields.
fn attributes(fields: &[Value], row: &[Field]) -> Map<String, Value> {
    let name = |field: &Value| field["name"].as_str().unwrap_or_default().to_owned();
    fields.iter().map(name).zip(row.iter().map(plain)).collect()
}

/// A computed value.
fn plain(value: &Field) -> Value {
    match value {
        Field::Null | Field::Blob(_) => Value::Null,
        Field::Integer(n) => json!(n),
        Field::Real(x) => json!(x),
        Field::Text(text) => json!(text),
    }
}

fn key_field(collection: &Collection, key: &GroupKey) -> Value {
    let mut told = match &key.expr {
        Expr::ObjectId => layer::object_id_field(collection),
        Expr::GlobalId => layer::global_id_field(collection),
        Expr::Field(name) => match collection.field_index(name) {
            Some(at) => layer::field(collection, &collection.fields[at]),
            None => computed_field("esriFieldTypeString"),
        },
        _ => computed_field("esriFieldTypeString"),
    };
    told["name"] = json!(key.name);
    told
}

fn statistic_field(collection: &Collection, statistic: &Statistic) -> Value {
    let of = match &statistic.expr {
        Some(Expr::Field(name)) => collection.field_index(name),
        _ => None,
    };
    let kind = match (statistic.kind, of) {
        (StatisticKind::Count | StatisticKind::CountDistinct, _) => "esriFieldTypeInteger",
        (StatisticKind::Min | StatisticKind::Max, Some(at)) => {
            layer::type_names(collection.fields[at].kind).0
        }
        _ => "esriFieldTypeDouble",
    };
    let mut told = computed_field(kind);
    told["name"] = json!(statistic.name);
    told["alias"] = json!(statistic.name);
    told
}

fn computed_field(kind: &str) -> Value {
    json!({
        "name": "",
        "type": kind,
        "alias": "",
        "sqlType": "sqlTypeOther",
        "domain": null,
        "defaultValue": null,
    })
}
