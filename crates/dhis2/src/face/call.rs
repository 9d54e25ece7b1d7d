//! One request, as the operations see it.

use std::sync::Arc;

use bytes::Bytes;
use haversack_model::{Host, Principal};
use http::Method;
use serde_json::{Map, Value};

use super::files;
use super::memory::Memory;
use super::problem::{Problem, Result};
use crate::wire::json;

/// A request after routing and login.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) host: Arc<dyn Host>,
    /// What is remembered between requests.
    pub(crate) memory: Arc<Memory>,
    /// Who asks.
    pub(crate) principal: Principal,
    /// Where it goes.
    pub(crate) segments: Vec<String>,
    /// Its method.
    pub(crate) method: Method,
    /// Its query.
    pub(crate) query: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: Bytes,
    /// The file in it, if it is a form with one.
    pub(crate) file: Option<files::Part>,
}

impl Call {
    /// Refuses who is nobody.
    pub(crate) fn require_login(&self) -> Result<()> {
        if self.principal.is_anonymous() {
            return Err(Problem::Unauthorized);
        }
        Ok(())
    }
    /// Refuses every method but GET and HEAD.
    pub(crate) fn require_get(&self) -> Result<()> {
        if self.method == Method::GET || self.method == Method::HEAD {
            return Ok(());
        }
        Err(Problem::Method)
    }
    /// The first value of a parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params(name).next()
    }
    /// All values of a parameter.
    pub(crate) fn params<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.query.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
    /// A yes or no.
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        match self.param(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            _ => default,
        }
    }
    /// A number of at least 1.
    pub(crate) fn number(&self, name: &str, default: u64) -> Result<u64> {
        let Some(text) = self.param(name).filter(|text| !text.is_empty()) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| *number > 0);
        number
            .ok_or_else(|| Problem::bad(format!("{name} must be a number from 1 on, not {text:?}")))
    }
    /// The body as an object.
    pub(crate) fn object(&self) -> Result<Map<String, Value>> {
        Ok(json::parse_object(&self.body)?)
    }
}
