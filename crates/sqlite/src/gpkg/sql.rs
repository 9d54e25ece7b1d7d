//! SQL text under construction, with its parameters in order.

use rusqlite::types::Value;

/// A statement in the making. Text comes from our templates and quoted schema names; everything else is bound.
#[derive(Clone, Debug, Default)]
pub struct Sql {
    /// The text so far.
    pub text: String,
    /// Values of `?1`, `?2` and so on.
    pub params: Vec<Value>,
}

impl Sql {
    /// Starts with a template.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            params: Vec::new(),
        }
    }
    /// Adds a template.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }
    /// Adds a parameter.
    pub fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.params.push(value.into());
        self.text.push('?');
        self.text.push_str(&self.params.len().to_string());
        self
    }
}
