//! The `filter` parameter: `property:operator:value`, repeated; and `order`.
//!
//! Evaluated on the objects themselves: no text of a client reaches a database.

use std::cmp::Ordering;

use serde_json::Value;

use crate::face::problem::{Problem, Result};

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    path: Vec<String>,
    operator: Operator,
    is_negated: bool,
    operand: String,
    list: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Eq,
    IEq,
    In,
    Like,
    ILike,
    Starts,
    Ends,
    Greater,
    GreaterEq,
    Less,
    LessEq,
    Null,
    Empty,
}

impl Filter {
    /// Reads one condition.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Problem::bad(format!(
                "the filter {:?} cannot be read",
                text.chars().take(80).collect::<String>()
            ))
        };
        let mut parts = text.splitn(3, ':');
        let path = parts.next().unwrap_or_default();
        let operator = parts.next().ok_or_else(wrong)?;
        let operand = parts.next();
        let bare = operator.strip_prefix('!');
        let (operator, needs_operand) = match bare.unwrap_or(operator) {
            "eq" => (Operator::Eq, true),
            "ne" | "neq" if bare.is_none() => (Operator::Eq, true),
            "ieq" => (Operator::IEq, true),
            "in" => (Operator::In, true),
            "like" => (Operator::Like, true),
            "ilike" => (Operator::ILike, true),
            "$like" | "$ilike" | "startsWith" => (Operator::Starts, true),
            "like$" | "ilike$" | "endsWith" => (Operator::Ends, true),
            "gt" => (Operator::Greater, true),
            "ge" => (Operator::GreaterEq, true),
            "lt" => (Operator::Less, true),
            "le" => (Operator::LessEq, true),
            "null" => (Operator::Null, false),
            "empty" => (Operator::Empty, false),
            _ => return Err(wrong()),
        };
        let is_negated = bare.is_some() || matches!(text.split(':').nth(1), Some("ne" | "neq"));
        let operand = match operand {
            Some(operand) => operand.to_owned(),
            None if needs_operand => return Err(wrong()),
            None => String::new(),
        };
        let list = if operator == Operator::In {
            let inner = operand
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .ok_or_else(wrong)?;
            inner
                .split(',')
                .map(|item| item.trim().to_owned())
                .collect()
        } else {
            Vec::new()
        };
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !path.iter().all(is_name) {
            return Err(wrong());
        }
        Ok(Self {
            path,
            operator,
            is_negated,
            operand,
            list,
        })
    }
    /// Whether an object passes. Of a list along the path, one that passes is enough.
    pub(crate) fn passes(&self, object: &Value) -> bool {
        let mut found = Vec::new();
        collect(object, &self.path, &mut found);
        let holds = match self.operator {
            Operator::Null => found.iter().all(|value| value.is_null()),
            Operator::Empty => found
                .iter()
                .all(|value| value.as_array().is_some_and(Vec::is_empty)),
            _ => found.iter().any(|value| self.compares(value)),
        };
        holds != self.is_negated
    }
    fn compares(&self, value: &Value) -> bool {
        let Some(text) = text_of(value) else {
            return false;
        };
        let lower = || (text.to_lowercase(), self.operand.to_lowercase());
        match self.operator {
            Operator::Eq => text == self.operand,
            Operator::IEq => {
                let (text, operand) = lower();
                text == operand
            }
            Operator::In => self.list.contains(&text),
            Operator::Like => text.contains(&self.operand),
            Operator::ILike => {
                let (text, operand) = lower();
                text.contains(&operand)
            }
            Operator::Starts => {
                let (text, operand) = lower();
                text.starts_with(&operand)
            }
            Operator::Ends => {
                let (text, operand) = lower();
                text.ends_with(&operand)
            }
            Operator::Greater => compare(&text, &self.operand).is_gt(),
            Operator::GreaterEq => compare(&text, &self.operand).is_ge(),
            Operator::Less => compare(&text, &self.operand).is_lt(),
            Operator::LessEq => compare(&text, &self.operand).is_le(),
            Operator::Null | Operator::Empty => false,
        }
    }
}

fn collect<'a>(value: &'a Value, path: &[String], found: &mut Vec<&'a Value>) {
    match (value, path) {
        (value, []) => found.push(value),
        (Value::Array(items), path) => items.iter().for_each(|item| collect(item, path, found)),
        (value, [first, rest @ ..]) => {
            collect(value.get(first).unwrap_or(&Value::Null), rest, found);
        }
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Numbers by their value, other texts by their letters.
fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

/// One key of an order.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    member: String,
    is_descending: bool,
    ignores_case: bool,
}

impl Order {
    /// What it orders by.
    pub(crate) fn member(&self) -> &str {
        &self.member
    }
}

/// Reads `name:asc,id:desc`.
pub(crate) fn order(text: &str) -> Result<Vec<Order>> {
    let keys = text.split(',').filter(|key| !key.is_empty()).map(|key| {
        let (member, direction) = key.split_once(':').unwrap_or((key, "asc"));
        let (is_descending, ignores_case) = match direction {
            "asc" => (false, false),
            "iasc" => (false, true),
            "desc" => (true, false),
            "idesc" => (true, true),
            _ => return Err(Problem::bad("an order is member:asc or member:desc")),
        };
        let is_name = !member.is_empty() && member.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_name {
            return Err(Problem::bad("an order is member:asc or member:desc"));
        }
        Ok(Order {
            member: member.to_owned(),
            is_descending,
            ignores_case,
        })
    });
    keys.collect()
}

/// How two objects stand in an order.
pub(crate) fn compare_by(order: &[Order], a: &Value, b: &Value) -> Ordering {
    for key in order {
        let text = |object: &Value| {
            let text = text_of(object.get(&key.member).unwrap_or(&Value::Null)).unwrap_or_default();
            if key.ignores_case {
                text.to_lowercase()
            } else {
                text
            }
        };
        let by = compare(&text(a), &text(b));
        let by = if key.is_descending { by.reverse() } else { by };
        if by.is_ne() {
            return by;
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_as_the_dialect_has_them() {
        let object = json!({"id": "a1", "name": "North clinic", "level": 10, "parent": {"id": "p"}, "programs": [{"id": "x"}, {"id": "y"}],
            "access": {"data": {"read": true}}, "none": null, "list": []});
        for (filter, passes) in [
            ("id:eq:a1", true),
            ("id:!eq:a1", false),
            ("id:ne:a2", true),
            ("id:in:[b,a1]", true),
            ("id:!in:[b,a1]", false),
            ("name:like:clinic", true),
            ("name:like:Clinic", false),
            ("name:ilike:CLINIC", true),
            ("name:$like:north", true),
            ("name:like$:north", false),
            ("level:gt:9", true),
            ("level:le:9", false),
            ("parent.id:eq:p", true),
            ("programs.id:eq:y", true),
            ("programs.id:eq:z", false),
            ("access.data.read:eq:true", true),
            ("none:null", true),
            ("missing:null", true),
            ("id:!null", true),
            ("list:empty", true),
        ] {
            assert_eq!(
                Filter::parse(filter).unwrap().passes(&object),
                passes,
                "{filter}"
            );
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for filter in [
            "",
            "id",
            "id:eq",
            "id:xx:1",
            "id:in:a,b",
            "i d:eq:1",
            "id';drop:eq:1",
            "a..b:eq:1",
            ":eq:1",
        ] {
            assert!(Filter::parse(filter).is_err(), "{filter}");
        }
        for text in ["name:up", "na me:asc", "name;drop:asc"] {
            assert!(order(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_ordered_by_their_value() {
        let by = order("level:desc,name:iasc").unwrap();
        let of = |level: u32, name: &str| json!({"level": level, "name": name});
        assert!(compare_by(&by, &of(10, "a"), &of(9, "a")).is_lt());
        assert!(compare_by(&by, &of(9, "B"), &of(9, "a")).is_gt());
    }
}
