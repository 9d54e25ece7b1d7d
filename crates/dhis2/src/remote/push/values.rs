//! Aggregate data on its way to the server: data values by data set, completions, and what the answers say of each.
//!
//! An import of values answers with one summary for all of them. What it says is traced to single values, by their numbers
//! where it tells these, else by the names in its sentences; where that fails the request is halved until it is one value alone.
//! So no value is called stored that was left out, and none refused for another's sake. Source: `spec/dhis2.md` 8 and 15.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::{CollectionId, Edit, GlobalId, RejectCode, ReplicaTx};
use serde_json::{Value as Json, json};

use super::Courier;
use super::collect::{Copy, of_base, waits_for_file};
use super::outcome::{Fate, ImportConflict, Told};
use crate::remote::error::{Error, Result};
use crate::remote::layout::{Layout, Role, Table};
use crate::wire::conflict_text;
use crate::wire::report::NotAReport;
use crate::wire::uid;
use crate::wire::version::Version;

/// Values in one request.
const AT_ONCE: usize = 1000;

/// An edit of aggregate data.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Which edit of the batch it is.
    pub(super) at: usize,
    /// Its record.
    pub(super) id: GlobalId,
    pub(super) is_completion: bool,
    is_delete: bool,
    /// As the server takes it.
    object: Json,
    data_set: String,
    /// Whether its combination is that of what has no categories.
    is_plain: bool,
}

impl Piece {
    /// What conflicts call it.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_completion {
            "completion"
        } else {
            "dataValue"
        }
    }
    fn text(&self, member: &str) -> &str {
        let text = self.object.get(member).and_then(Json::as_str);
        text.unwrap_or_default()
    }
}

/// What of the metadata decides how values are sent.
#[derive(Debug, Default)]
pub(super) struct Ground {
    /// Combinations of what has no categories.
    plain: BTreeSet<String>,
    /// A data set of each element.
    data_sets: BTreeMap<String, String>,
}

impl Ground {
    pub(super) fn load(tx: &dyn ReplicaTx, layout: &Layout) -> haversack_model::Result<Self> {
        let mut ground = Self::default();
        if let Some(table) = layout.metadata("categoryOptionCombos") {
            for id in tx.confirmed(table.id())? {
                let row = tx.row(table.id(), &id)?;
                if row.is_some_and(|row| table.text(&row, "name") == "default") {
                    ground.plain.insert(id.to_string());
                }
            }
        }
        let Some(table) = layout.metadata("dataSets") else {
            return Ok(ground);
        };
        for id in tx.confirmed(table.id())? {
            let Some(row) = tx.row(table.id(), &id)? else {
                continue;
            };
            let object: Json =
                serde_json::from_str(&table.text(&row, "object")).unwrap_or_default();
            let members = object["dataSetElements"].as_array().into_iter().flatten();
            for element in members.filter_map(|member| member["dataElement"]["id"].as_str()) {
                let of = ground.data_sets.entry(element.to_owned());
                of.or_insert_with(|| id.to_string());
            }
        }
        Ok(ground)
    }
}

/// Reads an edit of aggregate data.
///
/// # Errors
/// Those of the copy.
pub(super) fn piece(
    ground: &Ground,
    table: &Table,
    at: usize,
    edit: &Edit,
    copy: &dyn Copy,
) -> haversack_model::Result<std::result::Result<Piece, Fate>> {
    let id = edit.global_id();
    let refused = |reason: String| Ok(Err(Fate::Refused(RejectCode::InvalidValue, reason)));
    let is_delete = matches!(edit, Edit::Delete { .. });
    let record = match edit {
        Edit::Add { record, .. } => record.clone(),
        Edit::Update { .. } => match copy.record(table.id(), id)? {
            Some(record) => record,
            None => return refused("the record is not in the file any more".to_owned()),
        },
        Edit::Delete { base, .. } => {
            let sent = copy.doubted(table.id(), id)?;
            match (base, sent.and_then(|doubted| doubted.sent)) {
                (None, Some(sent)) => sent,
                (base, _) => of_base(table, id, base.as_ref().map(|base| &base.content)),
            }
        }
    };
    let key = table.aggregate_key(&record, None);
    if is_delete && key.missing(table).is_some() {
        // One that was refused before, or never sent: nothing is known of it because there is nothing.
        return Ok(Err(Fate::Stored));
    }
    if let Some(column) = key.missing(table) {
        return refused(format!("{column} is empty; say what it is about"));
    }
    let words = key.0.iter();
    let mut words = words.flat_map(|part| part.bytes());
    if !words.all(|byte| byte.is_ascii_alphanumeric()) {
        return refused("uids and periods are letters and digits".to_owned());
    }
    // The key of what the server confirmed is its identity there.
    if matches!(edit, Edit::Update { .. }) && *id != GlobalId::Text(key.uid().into()) {
        return refused(
            "what a value is about is not changed: undo this, delete the row and add another"
                .to_owned(),
        );
    }
    let is_completion = table.role == Role::Completions;
    let value = table.text(&record, "value");
    if !is_delete && uid::is_uid(&value) && copy.is_unsent_file(&value)? {
        return Ok(Err(waits_for_file(&value)));
    }
    let object = if is_completion {
        table.completion(&record, is_delete)
    } else {
        table.data_value(&record, is_delete)
    };
    let mut data_set = table.text(&record, "data_set");
    if data_set.is_empty() {
        let of = ground.data_sets.get(&table.text(&record, "data_element"));
        data_set = of.cloned().unwrap_or_default();
    }
    let combo = table.text(&record, "attribute_option_combo");
    let is_plain = combo.is_empty() || ground.plain.contains(&combo);
    Ok(Ok(Piece {
        at,
        id: id.clone(),
        is_completion,
        is_delete,
        object,
        data_set,
        is_plain,
    }))
}

/// Sends them; gives what became of each, by its place in `pieces`.
///
/// # Errors
/// Whatever leaves open what became of them.
pub(super) fn send_all(
    courier: &dyn Courier,
    version: Version,
    pieces: &[Piece],
) -> Result<Vec<Told>> {
    let mut sending = Sending {
        courier,
        pieces,
        told: vec![None; pieces.len()],
    };
    let of = |is_completion: bool| {
        let places = pieces.iter().enumerate();
        places.filter(move |(_, piece)| piece.is_completion == is_completion)
    };
    // Deletions first: a value may be entered anew in the same batch, and servers take them in order.
    let mut values: Vec<(String, bool, usize)> = of(false)
        .map(|(place, piece)| {
            let set = if version.values_by_data_set() {
                piece.data_set.clone()
            } else {
                String::new()
            };
            (set, !piece.is_delete, place)
        })
        .collect();
    values.sort();
    for group in values.chunk_by(|a, b| a.0 == b.0) {
        let set = group.first().map_or("", |(set, ..)| set.as_str());
        let places: Vec<usize> = group.iter().map(|(.., place)| *place).collect();
        for some in places.chunks(AT_ONCE) {
            sending.send(set, some)?;
        }
    }
    // What is taken back by its address goes one by one.
    let (alone, together): (Vec<_>, Vec<_>) =
        of(true).partition(|(_, piece)| piece.is_delete && piece.is_plain);
    for (place, piece) in alone {
        sending.take_back(place, piece)?;
    }
    let together: Vec<usize> = together.into_iter().map(|(place, _)| place).collect();
    for some in together.chunks(AT_ONCE) {
        sending.send("", some)?;
    }
    let told = sending.told.into_iter();
    Ok(told
        .map(|told| told.unwrap_or_else(|| waits("it was not sent")))
        .collect())
}

struct Sending<'a> {
    courier: &'a dyn Courier,
    pieces: &'a [Piece],
    told: Vec<Option<Told>>,
}

impl Sending<'_> {
    /// Sends values of one data set (empty: of any), or completions.
    fn send(&mut self, data_set: &str, places: &[usize]) -> Result<()> {
        let some: Vec<&Piece> = places
            .iter()
            .filter_map(|at| self.pieces.get(*at))
            .collect();
        let Some(first) = some.first() else {
            return Ok(());
        };
        let (path, list) = if first.is_completion {
            let of = "completeDataSetRegistrations";
            (of, of)
        } else {
            ("dataValueSets", "dataValues")
        };
        let objects: Vec<&Json> = some.iter().map(|piece| &piece.object).collect();
        let mut body = json!({ list: objects });
        if !data_set.is_empty() {
            body["dataSet"] = data_set.into();
        }
        let judged = match self.courier.post(path, &[], Some(&body)) {
            Ok(answer) => match judge(&answer.body, &some) {
                Ok(judged) => judged,
                Err(problem) if answer.status == 409 => Judged::AllOrNone(problem.told),
                Err(problem) => {
                    return Err(Error::Answer {
                        path: path.to_owned(),
                        problem: problem.to_string(),
                    });
                }
            },
            Err(Error::Refused {
                status: 400 | 404 | 413 | 414 | 422,
                message,
                ..
            }) => Judged::AllOrNone(message),
            Err(error) => return Err(error),
        };
        match judged {
            Judged::Each(each) => {
                for (place, told) in places.iter().zip(each) {
                    self.set(*place, told);
                }
            }
            Judged::AllOrNone(problem) => {
                let (left, right) = places.split_at(places.len() / 2);
                if let (Some(place), true) = (right.first(), left.is_empty()) {
                    let told = refused(first, &[(String::new(), problem)]);
                    self.set(*place, told);
                } else {
                    self.send(data_set, left)?;
                    self.send(data_set, right)?;
                }
            }
        }
        Ok(())
    }

    fn take_back(&mut self, place: usize, piece: &Piece) -> Result<()> {
        let params = [
            ("ds", piece.text("dataSet")),
            ("pe", piece.text("period")),
            ("ou", piece.text("organisationUnit")),
            ("multiOu", "false"),
        ];
        let path = "completeDataSetRegistrations";
        let told = match self.courier.delete(path, &params) {
            Ok(answer) if answer.status < 300 => stored(),
            Ok(answer) => match judge(&answer.body, &[piece]) {
                Ok(Judged::Each(mut each)) => each.pop().unwrap_or_else(stored),
                Ok(Judged::AllOrNone(problem)) => refused(piece, &[(String::new(), problem)]),
                Err(problem) => refused(piece, &[(String::new(), problem.told)]),
            },
            // There is none any more.
            Err(error) if error.status() == Some(404) => stored(),
            Err(Error::Refused {
                status: 400 | 422,
                message,
                ..
            }) => refused(piece, &[(String::new(), message)]),
            Err(error) => return Err(error),
        };
        self.set(place, told);
        Ok(())
    }

    fn set(&mut self, place: usize, told: Told) {
        if let Some(slot) = self.told.get_mut(place) {
            *slot = Some(told);
        }
    }
}

/// What an answer says of the values that were sent.
enum Judged {
    /// What became of each.
    Each(Vec<Told>),
    /// It cannot be traced: if there is one only it is refused.
    AllOrNone(String),
}

/// Reads a summary, wrapped (from 2.38 on) or bare.
fn judge(body: &Json, sent: &[&Piece]) -> std::result::Result<Judged, NotAReport> {
    let inner = body.get("response").filter(|inner| inner.is_object());
    let inner = inner.unwrap_or(body);
    let text = |of: &Json, name: &str| -> String {
        let found = of.get(name).and_then(Json::as_str);
        found.unwrap_or_default().to_owned()
    };
    let status = text(inner, "status");
    if inner.get("importCount").is_none() && text(inner, "responseType") != "ImportSummary" {
        let said = text(body, "message");
        let told = if said.is_empty() {
            body.to_string()
        } else {
            said
        };
        return Err(NotAReport {
            what: "import summary",
            told: told.chars().take(200).collect(),
        });
    }
    let conflicts = inner.get("conflicts").and_then(Json::as_array);
    let conflicts = conflicts.map_or(&[][..], Vec::as_slice);
    let description = text(inner, "description");
    let sentence = |conflict: &Json| {
        let (object, value) = (text(conflict, "object"), text(conflict, "value"));
        match (object.is_empty(), value.contains(&object)) {
            (true, _) | (_, true) => value,
            _ => format!("{object}: {value}"),
        }
    };
    let all = || {
        let said: Vec<String> = conflicts.iter().map(&sentence).collect();
        if said.is_empty() {
            description.clone()
        } else {
            said.join("; ")
        }
    };
    // An error is about the request: nothing of it was stored.
    if status == "ERROR" && (conflicts.is_empty() || sent.len() > 1) {
        return Ok(Judged::AllOrNone(all()));
    }
    let mut problems: Vec<Vec<(String, String)>> = vec![Vec::new(); sent.len()];
    for conflict in conflicts {
        let said = (text(conflict, "errorCode"), sentence(conflict));
        let numbers = conflict.get("indexes").and_then(Json::as_array);
        let numbers = numbers.into_iter().flatten().filter_map(Json::as_u64);
        let mut places: Vec<usize> = numbers
            .filter_map(|at| usize::try_from(at).ok())
            .filter(|at| *at < sent.len())
            .collect();
        if places.is_empty() {
            places = named(&said.1, sent);
            // A sentence about several is about one of them, or about all.
            if places.len() != 1 {
                return Ok(Judged::AllOrNone(all()));
            }
        }
        for at in places {
            if let Some(of) = problems.get_mut(at) {
                of.push(said.clone());
            }
        }
    }
    let each = sent.iter().zip(problems).map(|(piece, problems)| {
        if problems.is_empty() {
            stored()
        } else {
            refused(piece, &problems)
        }
    });
    Ok(Judged::Each(each.collect()))
}

/// The values that a sentence is about, by what it names of them: only those that fit best.
fn named(sentence: &str, sent: &[&Piece]) -> Vec<usize> {
    let words: Vec<&str> = sentence
        .split(|c: char| !c.is_ascii_alphanumeric())
        .collect();
    let score = |piece: &Piece| {
        let members = [
            "dataElement",
            "dataSet",
            "period",
            "orgUnit",
            "organisationUnit",
            "categoryOptionCombo",
            "attributeOptionCombo",
            "value",
        ];
        let mut texts = members.iter().map(|member| piece.text(member));
        let is_word = |text: &str| !text.is_empty() && words.contains(&text);
        texts.by_ref().filter(|text| is_word(text)).count()
    };
    let scores: Vec<usize> = sent.iter().map(|piece| score(piece)).collect();
    let best = scores.iter().copied().max().unwrap_or(0);
    let places = scores.iter().enumerate();
    let places = places.filter(|(_, score)| **score == best && best > 0);
    places.map(|(at, _)| at).collect()
}

fn stored() -> Told {
    Told {
        fate: Fate::Stored,
        conflicts: Vec::new(),
    }
}

fn waits(reason: &str) -> Told {
    Told {
        fate: Fate::Waits(reason.to_owned()),
        conflicts: Vec::new(),
    }
}

fn refused(piece: &Piece, problems: &[(String, String)]) -> Told {
    let conflicts: Vec<ImportConflict> = problems
        .iter()
        .map(|(code, message)| ImportConflict {
            kind: piece.kind().to_owned(),
            object: piece.id.to_string(),
            code: code.clone(),
            field: piece.text("dataElement").to_owned(),
            value: piece.text("value").to_owned(),
            is_warning: false,
            message: message.clone(),
            hint: conflict_text::hint(code).unwrap_or_default().to_owned(),
        })
        .collect();
    let first = conflicts.first();
    let reason = first.map_or_else(String::new, |first| {
        if first.code.is_empty() {
            first.message.clone()
        } else {
            format!("{}: {}", first.code, first.message)
        }
    });
    let code = match first.map_or("", |first| first.code.as_str()) {
        "E7617" | "E7600" | "E7610" => RejectCode::Forbidden,
        "E7619" | "E7621" => RejectCode::InvalidValue,
        _ => RejectCode::Refused,
    };
    Told {
        fate: Fate::Refused(code, reason),
        conflicts,
    }
}

/// Whether a collection is one of aggregate data.
pub(super) fn is_aggregate(layout: &Layout, of: CollectionId) -> bool {
    let role = layout.table(of).map(|table| &table.role);
    matches!(role, Some(Role::DataValues | Role::Completions))
}
