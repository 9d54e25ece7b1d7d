//! Pages of downloads, in every shape that some version answers with.

use serde_json::Value;

use super::tracker::Kind;

/// A page of objects, not yet read further.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The objects, as they were sent.
    pub objects: Vec<Value>,
    /// Number of the page, if told.
    pub page: Option<u64>,
    /// How many pages there are, if told.
    pub page_count: Option<u64>,
    /// How many objects there are, if told.
    pub total: Option<u64>,
    /// Whether the objects have the names of the old API.
    pub is_old: bool,
}

/// An answer without the expected collection: cut, or of something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer holds no {0}")]
pub struct NotAPage(pub &'static str);

/// Reads a page: `trackedEntities`, `events` and so on with a `pager` from 2.41 on, `instances` with flat numbers below,
/// `trackedEntityInstances` or `events` of the old API, and a bare list.
///
/// # Errors
/// [`NotAPage`] if there is no list of the kind.
pub fn read(kind: Kind, is_old: bool, mut answer: Value) -> Result<Page, NotAPage> {
    let old = match kind {
        Kind::TrackedEntity => "trackedEntityInstances",
        other => other.collection(),
    };
    let mut page = Page {
        is_old,
        ..Page::default()
    };
    let number = |answer: &Value, name: &str| {
        let nested = answer.get("pager").and_then(|pager| pager.get(name));
        nested.or_else(|| answer.get(name)).and_then(Value::as_u64)
    };
    page.page = number(&answer, "page");
    page.page_count = number(&answer, "pageCount");
    page.total = number(&answer, "total");
    let names: &[&str] = if is_old {
        &[old]
    } else {
        &[kind.collection(), "instances"]
    };
    let list = match &mut answer {
        Value::Array(items) => Some(std::mem::take(items)),
        Value::Object(members) => names.iter().find_map(|name| match members.get_mut(*name) {
            Some(Value::Array(items)) => Some(std::mem::take(items)),
            _ => None,
        }),
        _ => None,
    };
    page.objects = list.ok_or(NotAPage(kind.collection()))?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_of_a_page_is_read() {
        let flat = json!({"page": 2, "pageSize": 50, "instances": [{}]});
        let nested =
            json!({"pager": {"page": 2, "pageCount": 3, "total": 120}, "events": [{}, {}]});
        let old = json!({"trackedEntityInstances": []});
        let read_flat = read(Kind::TrackedEntity, false, flat).unwrap();
        assert_eq!((read_flat.page, read_flat.objects.len()), (Some(2), 1));
        let read_nested = read(Kind::Event, false, nested).unwrap();
        assert_eq!(
            (read_nested.page_count, read_nested.total),
            (Some(3), Some(120))
        );
        assert!(
            read(Kind::TrackedEntity, true, old.clone())
                .unwrap()
                .objects
                .is_empty()
        );
        assert!(read(Kind::TrackedEntity, false, old).is_err());
        assert!(read(Kind::Event, false, json!({"httpStatus": "Conflict"})).is_err());
        assert!(read(Kind::Event, false, json!("cut")).is_err());
    }
}
