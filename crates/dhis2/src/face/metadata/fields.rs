//! The `fields` parameter: `id,name,programStages[id,name],!access`.

use serde_json::{Map, Value};

use crate::face::problem::{Problem, Result};

/// Deepest nesting.
const MAX_DEPTH: usize = 12;

/// What of an object is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    all: bool,
    include: Vec<(String, Option<Self>)>,
    exclude: Vec<String>,
}

/// Gives the object that a reference names, for a member and the reference.
pub(crate) type Resolve<'a> = dyn Fn(&str, &Value) -> Result<Option<Value>> + 'a;

impl Fields {
    /// Reads the parameter.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut rest = text;
        let fields = list(&mut rest, 0)?;
        if !rest.is_empty() {
            return Err(wrong(rest));
        }
        Ok(fields)
    }

    /// What they leave of an object. References of which more is asked than they hold are filled in.
    pub(crate) fn project(&self, value: Value, resolve: &Resolve<'_>) -> Result<Value> {
        let Value::Object(mut members) = value else {
            return Ok(value);
        };
        let mut out = Map::new();
        if self.all {
            for (name, value) in &members {
                if !self.exclude.contains(name) {
                    out.insert(name.clone(), value.clone());
                }
            }
        }
        for (name, inner) in &self.include {
            let Some(value) = members.get_mut(name) else {
                continue;
            };
            let value = match inner {
                None => value.clone(),
                Some(inner) => inner.nested(name, value.take(), resolve)?,
            };
            out.insert(name.clone(), value);
        }
        Ok(Value::Object(out))
    }

    fn nested(&self, name: &str, value: Value, resolve: &Resolve<'_>) -> Result<Value> {
        match value {
            Value::Array(items) => {
                let items = items
                    .into_iter()
                    .map(|item| self.nested(name, item, resolve));
                Ok(Value::Array(items.collect::<Result<_>>()?))
            }
            Value::Object(members) => {
                let has_all = !self.all
                    && self
                        .include
                        .iter()
                        .all(|(name, _)| members.contains_key(name));
                let mut value = Value::Object(members);
                if !has_all && let Some(Value::Object(full)) = resolve(name, &value)? {
                    for (member, content) in full {
                        if value.get(&member).is_none() {
                            value[member.as_str()] = content;
                        }
                    }
                }
                self.project(value, resolve)
            }
            other => Ok(other),
        }
    }
}

fn wrong(rest: &str) -> Problem {
    let at: String = rest.chars().take(20).collect();
    Problem::bad(format!("the fields cannot be read at {at:?}"))
}

fn list(rest: &mut &str, depth: usize) -> Result<Fields> {
    if depth > MAX_DEPTH {
        return Err(Problem::bad("the fields are nested too deep"));
    }
    let mut fields = Fields::default();
    loop {
        let end = rest.find([',', '[', ']']).unwrap_or(rest.len());
        let name = rest[..end].trim();
        *rest = &rest[end..];
        let inner = match rest.strip_prefix('[') {
            Some(inside) => {
                *rest = inside;
                let inner = list(rest, depth + 1)?;
                *rest = rest.strip_prefix(']').ok_or_else(|| wrong(rest))?;
                Some(inner)
            }
            None => None,
        };
        let is_closed = inner.is_some();
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match (name, name.strip_prefix('!')) {
            ("", _) if inner.is_none() => {}
            ("*" | ":all" | ":owner" | ":persisted", _) => fields.all = true,
            (":identifiable", _) => fields.add(&["id", "name", "code", "created", "lastUpdated"]),
            (":nameable", _) => fields.add(&[
                "id",
                "name",
                "shortName",
                "description",
                "code",
                "created",
                "lastUpdated",
            ]),
            (_, Some(name)) if is_name(name) => fields.exclude.push(name.to_owned()),
            (name, _) if is_name(name) => fields.include.push((name.to_owned(), inner)),
            (name, _) => return Err(wrong(name)),
        }
        match rest.strip_prefix(',') {
            Some(more) => *rest = more,
            // Some clients forget the comma after a bracket, and no server has told them.
            None if is_closed && rest.starts_with(|c: char| c.is_ascii_alphanumeric()) => {}
            None => return Ok(fields),
        }
    }
}

impl Fields {
    fn add(&mut self, names: &[&str]) {
        self.include
            .extend(names.iter().map(|name| ((*name).to_owned(), None)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn project(fields: &str, value: Value) -> Value {
        let known = |member: &str, reference: &Value| {
            Ok((member == "parent" && reference["id"] == "p")
                .then(|| json!({"id": "p", "name": "Parent", "level": 1})))
        };
        Fields::parse(fields)
            .unwrap()
            .project(value, &known)
            .unwrap()
    }

    #[test]
    fn what_is_asked_for_is_left_and_references_are_filled_in() {
        let unit = || json!({"id": "a", "name": "A", "parent": {"id": "p"}, "groups": [{"id": "g", "x": 1}], "n": null});
        for (fields, expected) in [
            ("id", json!({"id": "a"})),
            ("id,parent", json!({"id": "a", "parent": {"id": "p"}})),
            (
                "parent[id,name]",
                json!({"parent": {"id": "p", "name": "Parent"}}),
            ),
            ("groups[x]", json!({"groups": [{"x": 1}]})),
            (
                "*,!groups,!n",
                json!({"id": "a", "name": "A", "parent": {"id": "p"}}),
            ),
            (":owner,!groups,!parent,!n", json!({"id": "a", "name": "A"})),
            ("missing,id", json!({"id": "a"})),
            (
                "parent[*]",
                json!({"parent": {"id": "p", "name": "Parent", "level": 1}}),
            ),
            ("", json!({})),
        ] {
            assert_eq!(project(fields, unit()), expected, "{fields}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let deep = "a[".repeat(20);
        for fields in [
            "a[",
            "a]",
            "a[b]]",
            "a;b",
            "a'b",
            "[a]",
            "a~rename(b)",
            &deep,
        ] {
            assert!(Fields::parse(fields).is_err(), "{fields}");
        }
    }
}
