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
    let order = match params.text("orderByFields") {
        Some(text) => sql::order_by(text, collection, &statistics, now)
            .map_err(|error| Problem::sql("orderByFields", error))?,
        None => Vec::new(),
    };
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
        Some(names) => Column::select(collection, Some(names))?,
        None => {
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
    let order = match params.text("orderByFields") {
        Some(text) => sql::order_by(text, collection, &[], opened.now)
            .map_err(|error| Problem::sql("orderByFields", error))?,
        None => Vec::new(),
    };
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
    let names: Vec<String> = fields
        .iter()
        .map(|field| field["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    let tx = opened.store.begin_read()?;
    if params.flag("returnCountOnly", false)? {
        let mut count = 0_u64;
        tx.query(&query, &mut |_| {
            count += 1;
            Ok(Flow::Continue(()))
        })?;
        return Ok(Answer::Json(json!({"count": count})));
    }
    let largest = u64::from(collection.max_record_count.max(1));
    let asked = super::count(params, "resultRecordCount")?;
    let page = asked.filter(|n| *n > 0).unwrap_or(largest).min(largest);
    query.offset = super::count(params, "resultOffset")?.unwrap_or(0);
    query.limit = Some(page + 1);
    let mut features = Vec::new();
    let mut more = false;
    tx.query(&query, &mut |row| {
        if let QueryRow::Values(values) = row {
            if features.len() as u64 == page {
                more = true;
                return Ok(Flow::Break(()));
            }
            let attributes: Map<String, Value> = names
                .iter()
                .cloned()
                .zip(values.iter().map(plain))
                .collect();
            features.push(json!({"attributes": attributes}));
        }
        Ok(Flow::Continue(()))
    })?;
    let mut told = json!({
        "displayFieldName": "",
        "fields": fields,
        "features": features,
    });
    if more {
        told["exceededTransferLimit"] = json!(true);
    }
    Ok(Answer::Json(told))
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
