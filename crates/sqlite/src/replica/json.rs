//! Columns that hold JSON.

use haversack_model::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::damaged;

/// The text of a value for the column named.
pub(super) fn json<T: Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|why| damaged(what, why))
}
/// The value in a column's text.
pub(super) fn from_json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|why| damaged(what, why))
}
