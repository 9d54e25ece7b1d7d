//! The requests by which objects are sent, in their order.
//!
//! Owns: what goes together. The new importer takes flat lists: deletions first, so that what is made anew finds its place free,
//! then all else in one request. The old one takes families: tracked entities in chunks of 20 with what is below them, then
//! enrollments and events whose parents are not sent, then relationships; deletions go along, except at 2.29, which has no
//! strategy for that. Pure.
//!
//! Source: `spec/dhis2.md` 6 and 7.1. Enrollments and events that are sent without their parents go to the addresses
//! of their own kind: a parent that was not changed is not written anew.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::collect::{Item, append};
use crate::wire::shape;
use crate::wire::tracker::Kind;
use crate::wire::version::{Api, Version};

/// Families in one request to the old importer.
const OLD_CHUNK: usize = 20;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// It writes to the new importer.
    Write,
    /// It deletes by the new importer.
    Delete,
    /// It sends families, of which the roots are of this kind, to the old importer.
    Families(Kind),
    /// It deletes one object by the old API.
    DeleteOld(Kind),
}

/// A request. A family stays together: its root, and what is sent below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: Verb,
    /// Places of the objects.
    pub(super) families: Vec<Vec<usize>>,
}

impl Request {
    fn new(verb: Verb, families: Vec<Vec<usize>>) -> Self {
        Self { verb, families }
    }
    /// Places of all its objects.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.families.iter().flatten().copied()
    }
    /// Two requests with half of the families each; `None` if there is one only.
    pub(super) fn halves(&self) -> Option<(Self, Self)> {
        let (first, second) = self.families.split_at(self.families.len() / 2);
        (!first.is_empty()).then(|| {
            (
                Self::new(self.verb, first.to_vec()),
                Self::new(self.verb, second.to_vec()),
            )
        })
    }
    /// Path, below `/api/`.
    pub(super) fn path(&self, items: &[Item]) -> String {
        match self.verb {
            Verb::Write | Verb::Delete => "tracker".to_owned(),
            Verb::Families(kind) => old_collection(kind).to_owned(),
            Verb::DeleteOld(kind) => {
                let first = self.places().next().and_then(|at| items.get(at));
                let uid = first.map_or("", |item| item.sent.uid.as_str());
                format!("{}/{uid}", old_collection(kind))
            }
        }
    }
    /// Parameters.
    pub(super) fn params(&self, version: Version) -> Vec<(&'static str, &'static str)> {
        match self.verb {
            Verb::Write => vec![
                ("async", "true"),
                ("atomicMode", "OBJECT"),
                ("importStrategy", "CREATE_AND_UPDATE"),
                ("reportMode", "WARNINGS"),
            ],
            Verb::Delete => vec![
                ("async", "true"),
                ("atomicMode", "OBJECT"),
                ("importStrategy", "DELETE"),
            ],
            // Relationships are never updated, and their address knows no other strategy.
            Verb::Families(Kind::Relationship) => vec![("strategy", "CREATE_AND_UPDATE")],
            Verb::Families(_) => vec![("strategy", version.old_strategy())],
            Verb::DeleteOld(_) => Vec::new(),
        }
    }
    /// Body; null if it has none.
    pub(super) fn body(&self, items: &[Item]) -> Value {
        match self.verb {
            Verb::Write => self.flat(items, |item| item.object.clone()),
            Verb::Delete => self.flat(items, |item| {
                let member = item.sent.kind.map_or("uid", Kind::member);
                json!({ member: item.sent.uid })
            }),
            Verb::Families(kind) => {
                let all: Vec<Value> = self
                    .families
                    .iter()
                    .filter_map(|family| nested(family, items))
                    .map(|root| shape::to_old(kind, root))
                    .collect();
                json!({ old_collection(kind): all })
            }
            Verb::DeleteOld(_) => Value::Null,
        }
    }
    fn flat(&self, items: &[Item], object: impl Fn(&Item) -> Value) -> Value {
        let mut lists = Map::new();
        for kind in Kind::ALL {
            let of_kind = self.places().filter_map(|at| items.get(at));
            let of_kind = of_kind.filter(|item| item.sent.kind == Some(kind));
            lists.insert(kind.collection().to_owned(), of_kind.map(&object).collect());
        }
        Value::Object(lists)
    }
}

/// The collection of the old API.
fn old_collection(kind: Kind) -> &'static str {
    match kind {
        Kind::TrackedEntity => "trackedEntityInstances",
        other => other.collection(),
    }
}

/// A root with what is below it, in the shape of the new API.
fn nested(family: &[usize], items: &[Item]) -> Option<Value> {
    let item = |at: &usize| items.get(*at);
    let with_flag = |item: &Item| {
        let mut object = item.object.clone();
        if item.sent.is_delete {
            object["deleted"] = json!(true);
        }
        object
    };
    let (root, below) = family.split_first()?;
    let root = item(root)?;
    let mut object = with_flag(root);
    let below: Vec<&Item> = below.iter().filter_map(item).collect();
    let events_of = |enrollment: &Item, object: &mut Value| {
        let events = below
            .iter()
            .filter(|of| of.sent.kind == Some(Kind::Event) && belongs(of, enrollment));
        for event in events {
            append(object, "events", with_flag(event));
        }
    };
    match root.sent.kind {
        Some(Kind::TrackedEntity) => {
            for enrollment in below
                .iter()
                .filter(|of| of.sent.kind == Some(Kind::Enrollment))
            {
                let mut child = with_flag(enrollment);
                events_of(enrollment, &mut child);
                append(&mut object, "enrollments", child);
            }
        }
        Some(Kind::Enrollment) => events_of(root, &mut object),
        _ => {}
    }
    Some(object)
}

fn belongs(child: &Item, parent: &Item) -> bool {
    let nearest = child.sent.parents.first();
    nearest.is_some_and(|(kind, uid)| parent.sent.kind == Some(*kind) && parent.sent.uid == *uid)
}

/// The requests for objects, which come with parents before children.
pub(super) fn plan(items: &[Item], api: Api, version: Version) -> Vec<Request> {
    match api {
        Api::New => flat(items),
        Api::Old => families(items, version),
    }
}

fn flat(items: &[Item]) -> Vec<Request> {
    let of = |is_delete: bool| -> Vec<Vec<usize>> {
        let places = items.iter().enumerate();
        let of = places.filter(|(_, item)| item.sent.is_delete == is_delete);
        of.map(|(at, _)| vec![at]).collect()
    };
    let requests = [
        Request::new(Verb::Delete, of(true)),
        Request::new(Verb::Write, of(false)),
    ];
    let all = requests.into_iter();
    all.filter(|request| !request.families.is_empty()).collect()
}

fn families(items: &[Item], version: Version) -> Vec<Request> {
    let mut requests = Vec::new();
    // 2.29 deletes objects one by one, all others relationships alone.
    let deletes_alone = |item: &Item| {
        item.sent.is_delete && (item.sent.kind == Some(Kind::Relationship) || version.line == 29)
    };
    let alone: BTreeSet<usize> = (0..items.len())
        .filter(|at| deletes_alone(&items[*at]))
        .collect();
    // Children first: a parent takes them along, and they would not be found.
    for at in alone.iter().rev() {
        if let Some(kind) = items[*at].sent.kind {
            requests.push(Request::new(Verb::DeleteOld(kind), vec![vec![*at]]));
        }
    }
    let mut placed = alone;
    for kind in Kind::ALL {
        let mut all = Vec::new();
        for (at, root) in items.iter().enumerate() {
            if root.sent.kind != Some(kind) || !placed.insert(at) {
                continue;
            }
            let mut family = vec![at];
            // Parents come before their children, so one pass finds all generations.
            for (below, child) in items.iter().enumerate().skip(at + 1) {
                let nests = matches!(child.sent.kind, Some(Kind::Enrollment | Kind::Event));
                let has_parent = family.iter().any(|parent| belongs(child, &items[*parent]));
                if nests && has_parent && placed.insert(below) {
                    family.push(below);
                }
            }
            all.push(family);
        }
        let chunk = match kind {
            Kind::TrackedEntity | Kind::Enrollment => OLD_CHUNK,
            Kind::Event | Kind::Relationship => all.len().max(1),
        };
        let chunks = all.chunks(chunk);
        requests.extend(chunks.map(|chunk| Request::new(Verb::Families(kind), chunk.to_vec())));
    }
    requests
}
