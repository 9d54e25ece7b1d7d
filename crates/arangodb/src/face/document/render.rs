//! Records of the store as documents of the wire.

use haversack_model::documents::{body_of, key_of};
use haversack_model::{Collection, Versioned};

use crate::wire::document::render;

/// A record for the wire; `name` is its collection's there.
pub(crate) fn render_versioned(name: &str, collection: &Collection, found: &Versioned) -> String {
    let key = key_of(&found.record.global_id);
    render(
        name,
        &key,
        found.track.revision.0,
        &body_of(collection, &found.record),
    )
}
