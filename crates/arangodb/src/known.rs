//! Collections as the wire names them.
//!
//! A layer or table of a feature service is a collection, too: its name with what this dialect does not allow replaced by `_`.
//! What the dialect keeps with a collection is in its properties. A copy that is being built beside the collections is none yet.

use haversack_model::{Collection, CollectionKind, Service};
use serde_json::Value;
use uuid::Uuid;

use crate::wire::key;
use crate::wire::parameters::{CollectionType, Parameters, kept_properties};

/// Property that holds the identity across copies.
pub(crate) const GUID: &str = "globallyUniqueId";
/// Property of a collection in which two documents may share a revision: the revision tree cannot be used.
pub(crate) const REVISIONS_REPEAT: &str = "revisionsRepeat";
/// Property of a collection that is being built.
pub(crate) const UNFINISHED: &str = "unfinished";
/// Property of such a collection: when an order last worked on it, in milliseconds.
pub(crate) const WORKED_ON: &str = "workedOn";

/// Collections that can be seen, in the order of their creation.
pub(crate) fn all(service: &Service) -> impl Iterator<Item = &Collection> {
    service
        .collections
        .iter()
        .filter(|collection| !collection.properties.contains_key(UNFINISHED))
}

/// A collection by its name, number or global id.
pub(crate) fn find<'a>(service: &'a Service, text: &str) -> Option<&'a Collection> {
    let named = |collection: &&Collection| wire_name(service, collection) == text;
    let by_name = all(service).find(named);
    by_name.or_else(|| {
        all(service)
            .find(|collection| wire_id(collection) == text || guid(service, collection) == text)
    })
}

/// The number of a collection, as text; never zero.
pub(crate) fn wire_id(collection: &Collection) -> String {
    (u64::from(collection.id.0) + 1).to_string()
}

/// The name of a collection.
pub(crate) fn wire_name(service: &Service, collection: &Collection) -> String {
    if collection.is_documents() {
        return collection.name.clone();
    }
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let mut name: String = collection.name.chars().take(200).map(plain).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, "layer_");
    }
    let is_taken = service.collections.iter().any(|other| {
        other.id != collection.id
            && (other.name == name
                || (other.id < collection.id
                    && !other.is_documents()
                    && other.name.chars().map(plain).eq(name.chars())))
    });
    if is_taken {
        name = format!("{name}_{}", collection.id);
    }
    name
}

/// The identity of a collection across copies.
pub(crate) fn guid(service: &Service, collection: &Collection) -> String {
    let kept = collection.properties.get(GUID).and_then(Value::as_str);
    kept.map_or_else(
        || format!("{}/layer{}", service.name, collection.id),
        str::to_owned,
    )
}

/// Gives a collection that is made an identity of its own; `number` is given once on a server.
pub fn identify(collection: &mut Collection, server: Uuid, number: u64) {
    let guid = Value::from(fresh_guid(server, number));
    collection.properties.insert(GUID.to_owned(), guid);
}

/// A new identity.
pub(crate) fn fresh_guid(server: Uuid, id: u64) -> String {
    format!("h{:X}/{id}", server_number(server))
}

/// The number that stands for this server on the wire: never zero, exact in JavaScript, the same as long as the server's own id is.
pub fn server_number(server: Uuid) -> u64 {
    let bytes = server.as_bytes();
    let number = bytes[..6]
        .iter()
        .fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    number.max(1)
}

/// A collection's parameters.
pub(crate) fn parameters(service: &Service, collection: &Collection) -> Parameters {
    let properties = collection.properties.clone().into_iter().collect();
    Parameters {
        id: wire_id(collection),
        name: wire_name(service, collection),
        kind: kind(collection),
        guid: guid(service, collection),
        deleted: false,
        sync_by_revision: !collection.properties.contains_key(REVISIONS_REPEAT),
        kept: kept_properties(&properties),
    }
}

/// Documents or edges.
pub(crate) fn kind(collection: &Collection) -> CollectionType {
    if collection.kind == (CollectionKind::Documents { edges: true }) {
        CollectionType::Edge
    } else {
        CollectionType::Document
    }
}

/// Whether a name may be given to a new collection.
pub(crate) fn is_free_name(service: &Service, name: &str) -> bool {
    key::is_collection_name(name)
        && service
            .collections
            .iter()
            .all(|collection| wire_name(service, collection) != name)
}

#[cfg(test)]
mod tests {
    use haversack_model::CollectionId;

    use super::*;

    fn service() -> Service {
        let mut service = Service::of_documents("db");
        for (id, name, is_layer) in [
            (0, "Big trees", true),
            (1, "Big_trees", true),
            (2, "plain", false),
            (3, "7", true),
        ] {
            let mut collection = Collection::documents(CollectionId(id), name, name, false);
            if is_layer {
                collection.kind = CollectionKind::Table;
            }
            service.collections.push(collection);
        }
        service
    }

    #[test]
    fn layers_have_names_that_the_dialect_allows_and_no_two_the_same() {
        let service = service();
        let names: Vec<_> = all(&service).map(|c| wire_name(&service, c)).collect();
        assert_eq!(names, ["Big_trees_0", "Big_trees_1", "plain", "layer_7"]);
        for (at, name) in names.iter().enumerate() {
            assert!(key::is_collection_name(name));
            assert_eq!(find(&service, name).unwrap().id.0 as usize, at);
        }
        assert_eq!(find(&service, "3").unwrap().name, "plain", "by number");
    }

    #[test]
    fn what_is_being_built_is_not_there() {
        let mut service = service();
        service.collections[2]
            .properties
            .insert(UNFINISHED.to_owned(), true.into());
        assert!(find(&service, "plain").is_none());
        assert_eq!(all(&service).count(), 3);
    }

    #[test]
    fn the_number_of_a_server_is_decimal_and_not_zero() {
        assert_eq!(server_number(Uuid::nil()), 1);
        assert!(server_number(Uuid::max()) < 1 << 53);
    }
}
