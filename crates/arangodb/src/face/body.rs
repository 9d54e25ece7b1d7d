//! Bodies of requests.

use serde_json::{Map, Value};

use super::call::Call;
use super::problem::{Problem, Result};
use crate::wire::errors::ErrorNum;
use crate::wire::json;

impl Call {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        Ok(json::parse(&self.body)?)
    }
    /// The body as an object; an empty body is an empty one.
    pub(crate) fn object(&self) -> Result<Map<String, Value>> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        match self.json()? {
            Value::Object(members) => Ok(members),
            _ => Err(Problem::told(
                ErrorNum::HttpBadParameter,
                "expecting a JSON object in the body",
            )),
        }
    }
    /// The body as an array.
    pub(crate) fn array(&self) -> Result<Vec<Value>> {
        match self.json()? {
            Value::Array(items) => Ok(items),
            _ => Err(Problem::told(
                ErrorNum::HttpBadParameter,
                "expecting a JSON array in the body",
            )),
        }
    }
    /// A parameter of the query.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
    /// A parameter that must be there.
    pub(crate) fn needed(&self, name: &str) -> Result<&str> {
        let value = self.param(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Problem::bad_parameter(format!("'{name}' parameter is required")))
    }
    /// A yes or no; drivers write `true` and `1`.
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        match self.param(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1" | "yes" | "on" | "y") => true,
            Some("false" | "0" | "no" | "off" | "n") => false,
            _ => default,
        }
    }
    /// A number; `None` if absent.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.param(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let number = text.parse();
        number
            .map(Some)
            .map_err(|_not_a_number| Problem::bad_parameter(format!("'{name}' must be a number")))
    }
    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Seconds as numbers in a body; anything else is as if it were not there.
pub(crate) fn seconds(body: &Map<String, Value>, name: &str) -> Option<u64> {
    let number = body.get(name)?.as_f64()?;
    (number > 0.0).then_some(number.min(1e9) as u64)
}
