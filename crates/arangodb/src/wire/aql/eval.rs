//! Values of expressions, and the order of all values: null, booleans, numbers, texts, arrays, objects.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{Comparison, Expr};

impl Expr {
    /// Its value for a document. `random` gives the numbers of `RAND()`.
    pub fn value(&self, document: &Map<String, Value>, random: &mut dyn FnMut() -> f64) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Document => Value::Object(document.clone()),
            Self::Member(of, name) => {
                let name = name.value(document, random);
                match of.as_ref() {
                    Self::Document => member_of(document, &name),
                    other => match other.value(document, random) {
                        Value::Object(members) => member_of(&members, &name),
                        Value::Array(items) => element_of(&items, &name),
                        _ => Value::Null,
                    },
                }
            }
            Self::Array(items) => {
                let values = items.iter().map(|item| item.value(document, random));
                Value::Array(values.collect())
            }
            Self::Object(members) => {
                let values = members
                    .iter()
                    .map(|(name, value)| (name.clone(), value.value(document, random)));
                Value::Object(values.collect())
            }
            Self::Not(inner) => Value::Bool(!truth(&inner.value(document, random))),
            Self::And(left, right) => {
                let left = left.value(document, random);
                if truth(&left) {
                    right.value(document, random)
                } else {
                    left
                }
            }
            Self::Or(left, right) => {
                let left = left.value(document, random);
                if truth(&left) {
                    left
                } else {
                    right.value(document, random)
                }
            }
            Self::Compare(how, left, right) => {
                let (left, right) = (left.value(document, random), right.value(document, random));
                Value::Bool(compare(*how, &left, &right))
            }
            Self::Choose(condition, yes, no) => {
                let which = if truth(&condition.value(document, random)) {
                    yes
                } else {
                    no
                };
                which.value(document, random)
            }
            Self::Has(of, name) => {
                let name = name.value(document, random);
                let of = of.value(document, random);
                let members = of.as_object().zip(name.as_str());
                Value::Bool(members.is_some_and(|(members, name)| members.contains_key(name)))
            }
            Self::Random => Value::from(random()),
        }
    }

    /// Whether it is true for a document.
    pub fn holds(&self, document: &Map<String, Value>, random: &mut dyn FnMut() -> f64) -> bool {
        truth(&self.value(document, random))
    }
}

fn member_of(members: &Map<String, Value>, name: &Value) -> Value {
    let found = name.as_str().and_then(|name| members.get(name));
    found.cloned().unwrap_or(Value::Null)
}

fn element_of(items: &[Value], at: &Value) -> Value {
    let at = at.as_i64().and_then(|at| {
        let at = if at < 0 { at + items.len() as i64 } else { at };
        usize::try_from(at).ok()
    });
    at.and_then(|at| items.get(at))
        .cloned()
        .unwrap_or(Value::Null)
}

/// What counts as true: everything but null, false, zero and the empty text.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn compare(how: Comparison, left: &Value, right: &Value) -> bool {
    let is_in = || {
        let items = right.as_array();
        items.is_some_and(|items| items.iter().any(|item| order(left, item).is_eq()))
    };
    match how {
        Comparison::Equal => order(left, right).is_eq(),
        Comparison::Unequal => order(left, right).is_ne(),
        Comparison::Less => order(left, right).is_lt(),
        Comparison::LessOrEqual => order(left, right).is_le(),
        Comparison::Greater => order(left, right).is_gt(),
        Comparison::GreaterOrEqual => order(left, right).is_ge(),
        Comparison::In => is_in(),
        Comparison::NotIn => !is_in(),
    }
}

/// The order of any two values.
pub fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let all = (0..a.len().max(b.len())).map(|at| {
                let item = |items: &[Value]| items.get(at).cloned().unwrap_or(Value::Null);
                order(&item(a), &item(b))
            });
            first_difference(all)
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            let all = names.into_iter().map(|name| {
                let member = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or(Value::Null);
                order(&member(a), &member(b))
            });
            first_difference(all)
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

fn numbers(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    if let (Some(a), Some(b)) = (a.as_u64(), b.as_u64()) {
        return a.cmp(&b);
    }
    let float = |n: &Number| n.as_f64().unwrap_or_default();
    float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal)
}

fn first_difference(mut all: impl Iterator<Item = Ordering>) -> Ordering {
    all.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}
