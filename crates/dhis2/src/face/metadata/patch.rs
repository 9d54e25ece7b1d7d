//! JSON Patch, as the dialect has it: `add`, `replace`, `remove` and `remove-by-id`.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::face::problem::{Problem, Result};

/// Most operations of one request, and most names of a path.
const MAX_OPERATIONS: usize = 10_000;
const MAX_DEPTH: usize = 20;

#[derive(Debug, Deserialize)]
struct Operation {
    op: String,
    path: String,
    #[serde(default)]
    value: Value,
    /// Which of a list goes, for `remove-by-id`.
    #[serde(default)]
    id: String,
}

/// Changes an object by a list of operations, or by an object of the members that change.
pub(super) fn apply(object: &mut Map<String, Value>, patch: Value) -> Result<()> {
    let operations = match patch {
        Value::Array(operations) => operations,
        // What clients of servers before 2.36 send.
        Value::Object(members) => {
            object.extend(members);
            return Ok(());
        }
        _ => return Err(Problem::bad("a list of operations is needed")),
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Problem::bad("there are too many operations"));
    }
    let mut whole = Value::Object(std::mem::take(object));
    for operation in operations {
        let operation: Operation = serde_json::from_value(operation)
            .map_err(|error| Problem::bad(format!("an operation cannot be read: {error}")))?;
        one(&mut whole, operation)?;
    }
    if let Value::Object(changed) = whole {
        *object = changed;
    }
    Ok(())
}

fn one(whole: &mut Value, operation: Operation) -> Result<()> {
    let invalid = || Problem::bad(format!("Invalid path {}", shown(&operation.path)));
    let names = operation.path.strip_prefix('/').ok_or_else(invalid)?;
    let mut names: Vec<String> = names
        .split('/')
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect();
    let last = names
        .pop()
        .filter(|last| !last.is_empty())
        .ok_or_else(invalid)?;
    if names.len() >= MAX_DEPTH || names.iter().any(String::is_empty) {
        return Err(invalid());
    }
    let is_append = last == "-";
    let mut parent = whole;
    let depth = names.len();
    for (at, name) in names.iter().enumerate() {
        // A list that is not there is an empty one.
        if is_append
            && at + 1 == depth
            && let Value::Object(members) = &mut *parent
            && members.get(name).is_none_or(Value::is_null)
        {
            members.insert(name.clone(), Value::Array(Vec::new()));
        }
        parent = child(parent, name).ok_or_else(invalid)?;
    }
    match (operation.op.as_str(), parent) {
        ("add", Value::Array(items)) if is_append => items.push(operation.value),
        ("add", Value::Array(items)) => {
            let at = last.parse().ok().filter(|at| *at <= items.len());
            items.insert(at.ok_or_else(invalid)?, operation.value);
        }
        ("replace", Value::Array(items)) => {
            let at: Option<usize> = last.parse().ok();
            let item = at.and_then(|at| items.get_mut(at));
            *item.ok_or_else(invalid)? = operation.value;
        }
        ("add" | "replace", Value::Object(members)) => {
            members.insert(last, operation.value);
        }
        ("remove", Value::Array(items)) => {
            let at: Option<usize> = last.parse().ok().filter(|at| *at < items.len());
            items.remove(at.ok_or_else(invalid)?);
        }
        ("remove", Value::Object(members)) => {
            members.shift_remove(&last).ok_or_else(invalid)?;
        }
        ("remove-by-id", Value::Object(members)) => {
            let items = members.get_mut(&last).and_then(Value::as_array_mut);
            let id = Value::String(operation.id.clone());
            items
                .ok_or_else(invalid)?
                .retain(|item| item.get("id") != Some(&id));
        }
        ("add" | "replace" | "remove" | "remove-by-id", _) => return Err(invalid()),
        (other, _) => {
            return Err(Problem::bad(format!(
                "the operation {} is not known",
                shown(other)
            )));
        }
    }
    Ok(())
}

fn child<'a>(parent: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    match parent {
        Value::Object(members) => members.get_mut(name),
        Value::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(patch: Value) -> Result<Value> {
        let object = json!({"id": "a", "name": "A", "units": [{"id": "x"}, {"id": "y"}], "style": {"a/b": 1}});
        let Value::Object(mut object) = object else {
            unreachable!()
        };
        apply(&mut object, patch)?;
        Ok(Value::Object(object))
    }

    #[test]
    fn operations_change_what_they_name() {
        for (patch, member, expected) in [
            (
                json!([{"op": "replace", "path": "/name", "value": "B"}]),
                "name",
                json!("B"),
            ),
            (
                json!([{"op": "add", "path": "/units/-", "value": {"id": "z"}}]),
                "units",
                json!([{"id": "x"}, {"id": "y"}, {"id": "z"}]),
            ),
            (
                json!([{"op": "add", "path": "/units/0", "value": 1}, {"op": "remove", "path": "/units/1"}]),
                "units",
                json!([1, {"id": "y"}]),
            ),
            (
                json!([{"op": "add", "path": "/groups/-", "value": {"id": "g"}}]),
                "groups",
                json!([{"id": "g"}]),
            ),
            (
                json!([{"op": "replace", "path": "/units", "value": []}]),
                "units",
                json!([]),
            ),
            (
                json!([{"op": "replace", "path": "/units/1/id", "value": "w"}]),
                "units",
                json!([{"id": "x"}, {"id": "w"}]),
            ),
            (
                json!([{"op": "remove-by-id", "path": "/units", "id": "x"}]),
                "units",
                json!([{"id": "y"}]),
            ),
            (
                json!([{"op": "remove", "path": "/name"}]),
                "name",
                Value::Null,
            ),
            (
                json!([{"op": "replace", "path": "/style/a~1b", "value": 2}]),
                "style",
                json!({"a/b": 2}),
            ),
            (json!({"name": "C"}), "name", json!("C")),
        ] {
            let told = applied(patch.clone()).unwrap();
            assert_eq!(
                told.get(member).unwrap_or(&Value::Null),
                &expected,
                "{patch}"
            );
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for patch in [
            json!(1),
            json!([1]),
            json!([{"op": "test", "path": "/name"}]),
            json!([{"op": "replace", "path": "name"}]),
            json!([{"op": "replace", "path": ""}]),
            json!([{"op": "replace", "path": "/"}]),
            json!([{"op": "replace", "path": "//x"}]),
            json!([{"op": "remove", "path": "/nothing"}]),
            json!([{"op": "remove", "path": "/units/9"}]),
            json!([{"op": "add", "path": "/units/9", "value": 1}]),
            json!([{"op": "add", "path": "/name/-", "value": 1}]),
            json!([{"op": "replace", "path": "/a/b/c", "value": 1}]),
            json!([{"op": "remove-by-id", "path": "/name", "id": "x"}]),
            json!([{"op": "replace", "path": "/a".repeat(100), "value": 1}]),
        ] {
            assert!(applied(patch.clone()).is_err(), "{patch}");
        }
    }
}
