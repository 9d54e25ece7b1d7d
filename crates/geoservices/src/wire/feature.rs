//! Features: a record's attributes and geometry in JSON, both ways.
//!
//! Attribute values are read by the type of their field: integers and doubles stay apart, dates are milliseconds, GUIDs
//! become braced upper case. Unknown attributes are skipped, as clients send computed ones back.

mod read;
mod value;
mod write;

pub(crate) use read::global_id;
pub use read::{FeatureReader, IncomingFeature};
pub(crate) use value::date_text;
pub use value::{read_value, write_field_value, write_plain_value};
pub use write::{Column, FeatureWriter};

#[cfg(test)]
pub(crate) mod tests;
