//! Prints filters as SQL conditions with bound parameters. No text of a client enters the SQL.
//!
//! The same filter can be printed for a layer's table or for its history, under any alias, and with parents as
//! they are or as of a generation.

use haversack_model::filter::{Comparison, Expr};
use haversack_model::{Collection, CollectionId, Error, Filter, Generation, Result, Value};

use super::expr::Class;
use super::spatial::relation_code;
use super::{Sql, blob, layer, quote_ident};

/// Prints for one collection under one alias.
#[derive(Clone)]
pub struct Printer<'a> {
    /// Finds the collections that filters on parents name.
    pub find: &'a dyn Fn(CollectionId) -> Option<&'a Collection>,
    /// Whose records are asked about.
    pub collection: &'a Collection,
    /// The alias of its table or history in the statement.
    pub alias: String,
    /// Look at parents as of this generation instead of now.
    pub as_of: Option<Generation>,
}

impl std::fmt::Debug for Printer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer")
            .field("collection", &self.collection.id)
            .field("alias", &self.alias)
            .field("as_of", &self.as_of)
            .finish_non_exhaustive()
    }
}

/// Longest list whose members are bound one by one.
const SHORT_LIST: usize = 16;

impl Printer<'_> {
    /// Prints a condition, three-valued.
    ///
    /// # Errors
    /// [`Error::NoField`] and [`Error::NoCollection`] for names that the schema does not have.
    pub fn filter(&self, sql: &mut Sql, filter: &Filter) -> Result<()> {
        match filter {
            Filter::All => {
                sql.push("1");
            }
            Filter::Nothing => {
                sql.push("0");
            }
            Filter::And(all) => self.joined(sql, all, " AND ", "1")?,
            Filter::Or(any) => self.joined(sql, any, " OR ", "0")?,
            Filter::Not(inner) => {
                sql.push("NOT (");
                self.filter(sql, inner)?;
                sql.push(")");
            }
            Filter::Compare { left, op, right } => self.comparison(sql, left, *op, right)?,
            Filter::Like {
                expr,
                pattern,
                escape,
            } => {
                sql.push("haversack_like(");
                self.expr(sql, expr)?;
                sql.push(", ").bind(pattern.clone()).push(", ");
                sql.bind(escape.map(String::from)).push(")");
            }
            Filter::In { expr, list } => self.list(sql, expr, list)?,
            Filter::IsNull(expr) => {
                sql.push("(");
                match expr {
                    // The column itself: a date that is no date is not null.
                    Expr::Field(name) => match self.collection.field_index(name) {
                        Some(at) => {
                            sql.push(&self.column(&self.collection.fields[at].name));
                        }
                        None => self.expr(sql, expr)?,
                    },
                    _ => self.expr(sql, expr)?,
                }
                sql.push(" IS NULL)");
            }
            Filter::ObjectIds(ids) => {
                let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
                sql.push(&self.column(&self.collection.object_id_field));
                members(sql, &serde_json::json!(ids));
            }
            Filter::GlobalIds(ids) => {
                let ids: Vec<String> = ids.iter().map(haversack_model::GlobalId::braced).collect();
                sql.push(&self.column(&self.collection.global_id_field));
                members(sql, &serde_json::json!(ids));
            }
            Filter::Spatial { relation, geometry } => match &self.collection.geometry {
                None => {
                    sql.push("0");
                }
                Some(own) => {
                    sql.push("haversack_relate(").push(&self.column(&own.name));
                    sql.push(", ").bind(relation_code(*relation)).push(", ");
                    sql.bind(blob::encode(geometry, own.srid).0).push(")");
                }
            },
            Filter::ParentMatches {
                field,
                parent,
                filter,
            } => self.parent(sql, field, *parent, filter)?,
        }
        Ok(())
    }

    /// Prints a condition for the end of a `WHERE`, with the R-tree as a first sieve for what must be near.
    ///
    /// # Errors
    /// As [`Self::filter`].
    pub fn condition(&self, sql: &mut Sql, filter: &Filter) -> Result<()> {
        self.filter(sql, filter)?;
        let conditions = match filter {
            Filter::And(all) => all.as_slice(),
            one => std::slice::from_ref(one),
        };
        for condition in conditions {
            let (Filter::Spatial { geometry, .. }, Some(own)) =
                (condition, &self.collection.geometry)
            else {
                continue;
            };
            let Some(near) = geometry.envelope() else {
                continue;
            };
            sql.push(" AND ")
                .push(&self.column(&self.collection.object_id_field));
            sql.push(" IN (SELECT id FROM ");
            sql.push(&quote_ident(&layer::rtree_name(
                &self.collection.table,
                &own.name,
            )));
            sql.push(" WHERE minx <= ").bind(near.max_x);
            sql.push(" AND maxx >= ").bind(near.min_x);
            sql.push(" AND miny <= ").bind(near.max_y);
            sql.push(" AND maxy >= ").bind(near.min_y);
            sql.push(")");
        }
        Ok(())
    }

    /// Joins conditions as a balanced tree, since SQLite limits depth.
    fn joined(&self, sql: &mut Sql, all: &[Filter], by: &str, empty: &str) -> Result<()> {
        match all {
            [] => {
                sql.push(empty);
            }
            [one] => self.filter(sql, one)?,
            more => {
                let (left, right) = more.split_at(more.len() / 2);
                sql.push("(");
                self.joined(sql, left, by, empty)?;
                sql.push(by);
                self.joined(sql, right, by, empty)?;
                sql.push(")");
            }
        }
        Ok(())
    }

    fn comparison(&self, sql: &mut Sql, left: &Expr, op: Comparison, right: &Expr) -> Result<()> {
        let (left_class, right_class) = (self.class(left), self.class(right));
        let operator = match op {
            Comparison::Equal => " = ",
            Comparison::NotEqual => " <> ",
            Comparison::Less => " < ",
            Comparison::LessOrEqual => " <= ",
            Comparison::Greater => " > ",
            Comparison::GreaterOrEqual => " >= ",
        };
        // SQL's own comparison where it means the same; it would order a text after all numbers.
        let native = left_class.is_like(right_class);
        sql.push(if native { "(" } else { "(haversack_compare(" });
        self.compared(sql, left, right_class)?;
        sql.push(if native { operator } else { ", " });
        self.compared(sql, right, left_class)?;
        if !native {
            sql.push(")").push(operator).push("0");
        }
        sql.push(")");
        Ok(())
    }

    fn list(&self, sql: &mut Sql, expr: &Expr, list: &[Expr]) -> Result<()> {
        let class = self.class(expr);
        let values = list.iter().map(|one| match one {
            Expr::Literal(Value::Integer(n)) if class.is_like(Class::Number) => {
                Some(serde_json::json!(n))
            }
            Expr::Literal(Value::Real(x)) if class.is_like(Class::Number) => {
                Some(serde_json::json!(x))
            }
            Expr::Literal(Value::Text(text)) if class == Class::Guid => {
                Some(serde_json::json!(super::expr::braced(text)))
            }
            Expr::Literal(Value::Text(text)) if class == Class::Text => {
                Some(serde_json::json!(text))
            }
            Expr::Time(time) if class.is_like(Class::Number) => Some(serde_json::json!(time.0)),
            _ => None,
        });
        let values: Option<Vec<_>> = values.collect();
        if let (Some(values), true) = (values, list.len() > SHORT_LIST) {
            // The plus keeps the column's affinity out of the comparison.
            let indexed = matches!(expr, Expr::ObjectId | Expr::GlobalId);
            sql.push(if indexed { "" } else { "+" });
            self.expr(sql, expr)?;
            members(sql, &serde_json::Value::Array(values));
            return Ok(());
        }
        // `x = a OR x = b` is what IN means, and nests evenly.
        let any: Vec<Filter> = list
            .iter()
            .map(|one| Filter::Compare {
                left: expr.clone(),
                op: Comparison::Equal,
                right: one.clone(),
            })
            .collect();
        self.joined(sql, &any, " OR ", "0")
    }

    fn parent(
        &self,
        sql: &mut Sql,
        field: &str,
        parent: CollectionId,
        filter: &Filter,
    ) -> Result<()> {
        let at = self
            .collection
            .field_index(field)
            .ok_or_else(|| Error::NoField {
                field: field.to_owned(),
                collection: self.collection.name.clone(),
            })?;
        let collection = (self.find)(parent).ok_or(Error::NoCollection(parent))?;
        let own = self.column(&self.collection.fields[at].name);
        // Without a parent's id the answer is unknown, not no.
        sql.push(&format!("CASE WHEN {own} IS NOT NULL THEN "));
        let own = format!("upper({own})");
        let alias = format!("{}p", self.alias);
        let inner = Printer {
            collection,
            alias: alias.clone(),
            ..self.clone()
        };
        let key = format!("{} = {own}", inner.column(&collection.global_id_field));
        let table = quote_ident(&collection.table);
        let Some(as_of) = self.as_of else {
            sql.push(&format!(
                "EXISTS (SELECT 1 FROM {table} {alias} WHERE {key} AND "
            ));
            inner.filter(sql, filter)?;
            sql.push(") END");
            return Ok(());
        };
        let object_id = inner.column(&collection.object_id_field);
        sql.push(&format!(
            "(EXISTS (SELECT 1 FROM {table} {alias} JOIN haversack_track {alias}k \
             ON {alias}k.collection = {} AND {alias}k.object_id = {object_id} \
             WHERE {key} AND {alias}k.content_generation <= ",
            parent.0
        ));
        sql.bind(as_of.0 as i64).push(" AND ");
        inner.filter(sql, filter)?;
        let history = quote_ident(&layer::history_name(&collection.table));
        sql.push(&format!(
            ") OR EXISTS (SELECT 1 FROM {history} {alias} \
             WHERE {key} AND {alias}.haversack_from <= "
        ));
        sql.bind(as_of.0 as i64)
            .push(&format!(" AND {alias}.haversack_until > "));
        sql.bind(as_of.0 as i64).push(" AND ");
        inner.filter(sql, filter)?;
        sql.push(")) END");
        Ok(())
    }
}

/// Prints membership in a list of any length, passed as one JSON parameter.
fn members(sql: &mut Sql, list: &serde_json::Value) {
    sql.push(" IN (SELECT value FROM json_each(");
    sql.bind(list.to_string()).push("))");
}
