//! Rule variables: where each takes its value from.

use std::collections::BTreeMap;

use super::facts::{Kind, Known};

/// Where a variable takes its value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A data element of the event at hand.
    Current(String),
    /// A data element of the newest event that has it, of one stage or of any.
    Newest {
        element: String,
        stage: Option<String>,
    },
    /// A data element of the newest event before the one at hand.
    Previous(String),
    /// An attribute of the tracked entity.
    Attribute(String),
    /// What rules assign to it.
    Calculated,
    /// A fixed value.
    Constant(String),
}

/// A rule variable of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) kind: Kind,
    /// Names of options by their codes, if it takes the name of its option and not the code.
    pub(crate) options: BTreeMap<String, String>,
}

/// An event as rules see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Occurrence<'a> {
    pub(crate) stage: &'a str,
    /// When it happened; a text that sorts.
    pub(crate) at: String,
    /// Values of data elements.
    pub(crate) values: Vec<(&'a str, &'a str)>,
}

impl Occurrence<'_> {
    fn value(&self, element: &str) -> Option<&str> {
        let found = self.values.iter().find(|(id, _)| *id == element);
        found.map(|(_, value)| *value)
    }
}

/// What rules are asked about: an enrollment, or one of its events, or an event without one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject<'a> {
    /// Values of attributes.
    pub(crate) attributes: Vec<(&'a str, &'a str)>,
    /// All events, the newest first.
    pub(crate) events: Vec<Occurrence<'a>>,
    /// Which of them is at hand.
    pub(crate) current: Option<usize>,
}

impl<'a> Subject<'a> {
    fn current(&self) -> Option<&Occurrence<'a>> {
        self.events.get(self.current?)
    }
    /// Values of an element with their days, the newest first.
    fn entered(&self, element: &str, stage: Option<&str>) -> Vec<(String, String)> {
        let of_stage = |event: &&Occurrence<'_>| stage.is_none_or(|stage| stage == event.stage);
        let events = self.events.iter().filter(of_stage);
        events
            .filter_map(|event| Some((event.value(element)?.to_owned(), event.at.clone())))
            .collect()
    }
}

impl Variable {
    /// Whether it takes its value from other events than the one at hand.
    pub(crate) fn looks_around(&self) -> bool {
        matches!(self.source, Source::Newest { .. } | Source::Previous(_))
    }
    /// What is known of it.
    pub(super) fn known(&self, of: &Subject<'_>) -> Known {
        match &self.source {
            Source::Current(element) => {
                let event = of.current();
                let value = event.and_then(|event| Some((event.value(element)?, &event.at)));
                let all = value.map(|(value, at)| (value.to_owned(), at.clone()));
                self.first(all.into_iter().collect())
            }
            Source::Newest { element, stage } => self.first(of.entered(element, stage.as_deref())),
            Source::Previous(element) => {
                let at = of
                    .current()
                    .map(|event| event.at.clone())
                    .unwrap_or_default();
                let mut all = of.entered(element, None);
                all.retain(|(_, entered)| *entered < at);
                self.first(all)
            }
            Source::Attribute(id) => {
                let found = of.attributes.iter().find(|(known, _)| known == id);
                let all = found.map(|(_, value)| ((*value).to_owned(), String::new()));
                self.first(all.into_iter().collect())
            }
            Source::Constant(text) => self.first(vec![(text.clone(), String::new())]),
            Source::Calculated => self.first(Vec::new()),
        }
    }
    fn first(&self, all: Vec<(String, String)>) -> Known {
        let date = all
            .first()
            .map(|(_, at)| at.get(..10).unwrap_or_default().to_owned());
        let named = |code: String| self.options.get(&code).cloned().unwrap_or(code);
        let candidates: Vec<String> = all.into_iter().map(|(value, _)| named(value)).collect();
        Known {
            kind: self.kind,
            value: candidates.first().cloned(),
            candidates,
            date: date.filter(|day| !day.is_empty()),
        }
    }
}
