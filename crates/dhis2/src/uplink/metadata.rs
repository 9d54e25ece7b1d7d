//! Metadata of the copy, in the collections of the face.
//!
//! All of it is the country's: what is gone there goes here. Users, their roles and groups are this server's own.

use std::collections::BTreeSet;

use haversack_model::documents::{DocumentWrite, document};
use haversack_model::{GlobalId, ReplicaTx};
use serde_json::{Map, Value};

use super::Result;
use crate::face::instance::{Instance, key};
use crate::face::metadata::TYPES;
use crate::face::sharing;
use crate::remote::layout::{Layout, METADATA};

/// Makes the face's metadata that of the copy; gives how many objects changed. Types of which the copy has nothing stay as they are.
pub(super) fn install(
    instance: &Instance,
    face: &mut dyn DocumentWrite,
    copy: &dyn ReplicaTx,
) -> Result<usize> {
    let layout = Layout::of(&copy.collections()?);
    let mut changed = 0;
    for of in METADATA {
        let Some(table) = layout.metadata(of.of).filter(|_| TYPES.contains(&of.of)) else {
            continue;
        };
        let ids = copy.confirmed(table.id())?;
        if ids.is_empty() {
            continue;
        }
        let collection = instance.collection(of.of)?;
        let mut gone: BTreeSet<GlobalId> = BTreeSet::new();
        instance.each(&*face, of.of, |stored| {
            gone.insert(key(&stored.id));
            Ok(())
        })?;
        for id in ids {
            let Some(row) = copy.row(table.id(), &id)? else {
                continue;
            };
            let text = table.text(&row, "object");
            let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(&text) else {
                continue;
            };
            gone.remove(&id);
            // The user's of the copy, and told from the commit.
            object.shift_remove("haversackScope");
            object.shift_remove("lastUpdated");
            // It names users and groups of the country; what the login of this server may do stays, as `access`.
            for member in sharing::MEMBERS {
                object.shift_remove(member);
            }
            let known = instance.object(&*face, of.of, &id.to_string())?;
            if known.is_none_or(|known| known.members != object) {
                changed += 1;
                put(face, collection, &id, object)?;
            }
        }
        for id in gone {
            changed += usize::from(face.delete(collection, &id, None)?);
        }
    }
    Ok(changed)
}

fn put(
    face: &mut dyn DocumentWrite,
    collection: haversack_model::CollectionId,
    id: &GlobalId,
    object: Map<String, Value>,
) -> Result<()> {
    let body = Value::Object(object).to_string();
    face.put(collection, &document(&id.to_string(), body), None)?;
    Ok(())
}
