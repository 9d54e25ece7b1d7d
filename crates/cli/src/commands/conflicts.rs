//! `haversack conflicts`: list, show and decide conflicts, of a replica file or at a server.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use haversack_model::{
    Changes, Collection, Conflict, FieldType, Record, Resolution, Value, Winner,
};
use haversack_server::native::Client;
use haversack_server::native::wire::Decision;
use haversack_sync::client::{self, Choice};
use serde_json::{Value as Json, json};

use crate::args::{ConflictAction, ConflictsArgs, ConnectArgs, Keep};
use crate::connect::{self, Native};
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, count, time};
use crate::{replica, view};

/// Runs the command.
pub(crate) fn run(args: &ConflictsArgs, out: Output) -> Result<Outcome> {
    match &args.action {
        ConflictAction::List {
            place,
            all,
            connect,
        } => list(&Place::of(place, connect)?, *all, out),
        ConflictAction::Show { place, id, connect } => show(&Place::of(place, connect)?, id, out),
        ConflictAction::Resolve {
            place,
            id,
            keep,
            set,
            connect,
        } => resolve(&Place::of(place, connect)?, id, *keep, set, out),
    }
}

/// Where conflicts are kept.
enum Place {
    File(PathBuf),
    Server(String, Box<Native>),
    /// A server whose data synchronises with a DHIS2 server above it.
    Clinic(String, Box<Client>),
}

/// The conflicts of a place, with the definitions that they need to be read.
struct Kept {
    collections: Vec<Collection>,
    conflicts: Vec<Conflict>,
}

impl Place {
    fn of(text: &str, connection: &ConnectArgs) -> Result<Self> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let no_haversack = || format!("{text} is no Haversack: other servers keep no conflicts");
        if is_whole_server(text) {
            let client = connect::client(text, connection)?;
            let found = client.discover();
            let found = found.map_err(|error| connect::explain(error, text))?;
            found.with_context(no_haversack)?;
            return Ok(Self::Clinic(text.to_owned(), Box::new(client)));
        }
        let native = connect::discover(text, connection)?.with_context(no_haversack)?;
        Ok(Self::Server(text.to_owned(), Box::new(native)))
    }

    fn load(&self, open_only: bool) -> Result<Kept> {
        match self {
            Self::File(path) => {
                let mut file = replica::open(path)?;
                Ok(file.read(|tx| {
                    Ok(Kept {
                        collections: tx.collections()?,
                        conflicts: tx.conflicts(open_only)?,
                    })
                })?)
            }
            Self::Server(url, native) => {
                let explain = |error| connect::explain(error, url);
                let service = native.client.service(&native.service).map_err(explain)?;
                let mut collections = service.service.collections;
                let hidden = collections.iter().filter(|c| c.has_attachments);
                let hidden: Vec<_> = hidden.map(Collection::attachments).collect();
                collections.extend(hidden);
                let conflicts = native.client.conflicts(&native.service, !open_only);
                Ok(Kept {
                    collections,
                    conflicts: conflicts.map_err(explain)?,
                })
            }
            Self::Clinic(url, client) => {
                let found = client.upstream_conflicts(!open_only);
                let found = found.map_err(|error| connect::explain(error, url))?;
                let found = found.with_context(|| {
                    format!("{url} synchronises with no server above it; name a feature service: {url}/arcgis/rest/services/NAME/FeatureServer")
                })?;
                Ok(Kept {
                    collections: found.collections,
                    conflicts: found.conflicts,
                })
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url, _) | Self::Clinic(url, _) => f.write_str(url),
        }
    }
}

/// Whether a URL names a server as a whole, or its DHIS2 side.
fn is_whole_server(url: &str) -> bool {
    let path = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'));
    let path = path.map_or("", |(_, path)| path.trim_matches('/'));
    matches!(path, "" | "api")
}

fn list(place: &Place, all: bool, out: Output) -> Result<Outcome> {
    let kept = place.load(!all)?;
    let mut documents = Vec::new();
    let mut rows = Vec::new();
    for conflict in &kept.conflicts {
        let collection = view::collection(&kept.collections, conflict.collection)?;
        documents.push(view::conflict_json(collection, conflict));
        let mut row = vec![
            short(conflict),
            collection.name.clone(),
            view::title(
                collection,
                conflict.theirs.as_ref().or(conflict.mine.as_ref()),
                &conflict.global_id,
            ),
            conflict.reason.clone(),
        ];
        if matches!(place, Place::Server(..) | Place::Clinic(..)) {
            row.push(conflict.user.clone());
        }
        row.push(state(conflict.resolution.as_ref()));
        rows.push(row);
    }
    let open = kept
        .conflicts
        .iter()
        .filter(|c| c.resolution.is_none())
        .count();
    out.result(&Json::Array(documents), |out| {
        if rows.is_empty() {
            out.line("No conflicts.");
            return;
        }
        let titles: &[&str] = match place {
            Place::File(_) => &["id", "layer", "record", "what clashed", "state"],
            Place::Server(..) | Place::Clinic(..) => &[
                "id",
                "layer",
                "record",
                "what clashed",
                "uploaded by",
                "state",
            ],
        };
        out.table(titles, rows);
        if open > 0 {
            out.line("");
            out.line(format_args!(
                "`haversack conflicts show {place} ID` shows one side by side."
            ));
        }
    });
    Ok(if open == 0 {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

/// Who decided what, and when.
fn state(resolution: Option<&Resolution>) -> String {
    resolution.map_or_else(
        || "open".to_owned(),
        |r| format!("kept {} ({}, {})", r.kept, r.user, time(r.at)),
    )
}

fn show(place: &Place, id: &str, out: Output) -> Result<Outcome> {
    let kept = place.load(false)?;
    let conflict = find(&kept.conflicts, id)?;
    let collection = view::collection(&kept.collections, conflict.collection)?;
    out.result(&view::conflict_json(collection, conflict), |out| {
        print(collection, conflict, out);
        if conflict.resolution.is_none() {
            out.line("");
            out.line(format_args!("Decide with `haversack conflicts resolve {place} {} --keep mine|theirs|base`,", short(conflict)));
            out.line(match place {
                Place::File(_) => "or with `--set FIELD=VALUE` for a value of your own; then `haversack sync` sends the decision.",
                Place::Server(..) => "or with `--set FIELD=VALUE` for a value of your own; replicas learn of it with their next sync.",
                Place::Clinic(..) => "or with `--set FIELD=VALUE` for a value of your own; it goes up at once, and to devices with their next sync.",
            });
        }
    });
    Ok(if conflict.resolution.is_none() {
        Outcome::Attention
    } else {
        Outcome::Done
    })
}

/// Prints a conflict: what clashed, and its versions side by side.
pub(crate) fn print(collection: &Collection, conflict: &Conflict, out: Output) {
    let title = view::title(
        collection,
        conflict.base.as_ref().or(conflict.theirs.as_ref()),
        &conflict.global_id,
    );
    out.line(format_args!(
        "{BOLD}{title}{BOLD:#} in {} {DIM}conflict {}, {}{DIM:#}",
        collection.name,
        short(conflict),
        time(conflict.at)
    ));
    out.line(format_args!("{}", conflict.reason));
    let versions = [
        conflict.base.as_ref(),
        conflict.mine.as_ref(),
        conflict.theirs.as_ref(),
    ];
    let rows = view::differences(collection, &versions)
        .into_iter()
        .map(|row| {
            let mark = if conflict.fields.contains(&row.field) {
                "← clash"
            } else {
                ""
            };
            std::iter::once(row.field)
                .chain(row.values)
                .chain([mark.to_owned()])
                .collect()
        })
        .collect();
    out.table(&["", "base", "mine", "theirs", ""], rows);
    let stored = match conflict.winner {
        Winner::Mine => "The server stored mine.",
        Winner::Theirs => "The server kept theirs.",
        Winner::Merged => "The server kept theirs where it clashed, and took my other changes.",
    };
    out.line(stored);
    if let Some(resolution) = &conflict.resolution {
        out.line(format_args!(
            "{GREEN}Decided{GREEN:#} by {}, {}: {}.",
            resolution.user,
            time(resolution.at),
            resolution.kept
        ));
    }
}

fn resolve(
    place: &Place,
    id: &str,
    keep: Option<Keep>,
    set: &[String],
    out: Output,
) -> Result<Outcome> {
    let kept = place.load(false)?;
    let conflict = find(&kept.conflicts, id)?;
    if let Some(resolution) = &conflict.resolution {
        bail!(
            "conflict {} was decided already: {}",
            short(conflict),
            state(Some(resolution))
        );
    }
    let collection = view::collection(&kept.collections, conflict.collection)?;
    let choice = choose(collection, conflict, keep, set)?;
    match place {
        Place::File(path) => decide(&mut replica::open_to_write(path, out)?, conflict, choice)?,
        Place::Server(url, native) => {
            let told = native
                .client
                .resolve(&native.service, conflict.id, &decision_of(choice));
            told.map_err(|error| connect::explain(error, url))?;
        }
        Place::Clinic(url, client) => {
            let told = client.resolve_upstream(conflict.id, &decision_of(choice));
            told.map_err(|error| connect::explain(error, url))?;
        }
    }
    let left = kept
        .conflicts
        .iter()
        .filter(|c| c.resolution.is_none() && c.id != conflict.id)
        .count();
    out.result(
        &json!({"resolved": conflict.id.to_string(), "open": left}),
        |out| {
            match place {
                Place::File(path) => out.line(format_args!(
                    "{GREEN}Decided.{GREEN:#} `haversack sync {}` makes it known.",
                    path.display()
                )),
                Place::Server(..) => out.line(format_args!(
                    "{GREEN}Decided.{GREEN:#} Replicas learn of it with their next sync."
                )),
                Place::Clinic(..) => out.line(format_args!(
                    "{GREEN}Decided.{GREEN:#} It goes up at once, and to devices with their next sync."
                )),
            }
            if left > 0 {
                out.line(format_args!(
                    "{} left.",
                    count(left as u64, "open conflict")
                ));
            }
        },
    );
    Ok(Outcome::Done)
}

fn decision_of(choice: Choice) -> Decision {
    let (keep, record) = match choice {
        Choice::Mine => ("mine", None),
        Choice::Theirs => ("theirs", None),
        Choice::Base => ("base", None),
        Choice::Edited(record) => ("edited", Some(record)),
    };
    Decision {
        keep: keep.to_owned(),
        record,
    }
}

fn choose(
    collection: &Collection,
    conflict: &Conflict,
    keep: Option<Keep>,
    set: &[String],
) -> Result<Choice> {
    if set.is_empty() {
        return Ok(match keep {
            Some(Keep::Mine) => Choice::Mine,
            Some(Keep::Base) => Choice::Base,
            Some(Keep::Theirs) | None => Choice::Theirs,
        });
    }
    let start = match keep {
        Some(Keep::Mine) => &conflict.mine,
        Some(Keep::Base) => &conflict.base,
        Some(Keep::Theirs) | None => &conflict.theirs,
    };
    let mut record: Record = start
        .clone()
        .context("that version is a deletion: it has no fields to set")?;
    changes(collection, set)?.apply_to(&mut record);
    Ok(Choice::Edited(record))
}

/// Closes a conflict in the name of the local user.
pub(crate) fn decide(file: &mut replica::File, conflict: &Conflict, choice: Choice) -> Result<()> {
    let user = std::env::var("USER").unwrap_or_else(|_unset| "local".to_owned());
    let now = replica::now();
    replica::write(file, |tx| {
        client::resolve(tx, conflict.id, choice, &user, now)
    })
}

fn find<'a>(conflicts: &'a [Conflict], id: &str) -> Result<&'a Conflict> {
    let wanted = id.to_ascii_lowercase();
    let mut found = conflicts
        .iter()
        .filter(|c| c.id.to_string().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            bail!("there is no conflict {id:?} here; `haversack conflicts list` names them")
        }
        (Some(_), Some(_)) => {
            bail!("{id:?} is the beginning of more than one conflict; give more of it")
        }
    }
}

fn short(conflict: &Conflict) -> String {
    conflict.id.to_string().chars().take(8).collect()
}

/// Reads `FIELD=VALUE` settings by the fields' types.
fn changes(collection: &Collection, set: &[String]) -> Result<Changes> {
    let mut changes = Changes::default();
    for one in set {
        let (name, text) = one
            .split_once('=')
            .with_context(|| format!("{one:?} is not FIELD=VALUE"))?;
        let at = collection
            .field_index(name)
            .with_context(|| format!("there is no field {name:?} in {}", collection.name))?;
        changes
            .values
            .insert(at, parse(collection.fields[at].kind, name, text)?);
    }
    Ok(changes)
}

fn parse(kind: FieldType, name: &str, text: &str) -> Result<Value> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    Ok(match kind {
        FieldType::SmallInteger | FieldType::Integer | FieldType::BigInteger => Value::Integer(
            text.parse()
                .with_context(|| format!("{name}: {text:?} is not a whole number"))?,
        ),
        FieldType::Single | FieldType::Double => {
            let number: f64 = text
                .parse()
                .with_context(|| format!("{name}: {text:?} is not a number"))?;
            if !number.is_finite() {
                bail!("{name}: {text:?} is not a finite number");
            }
            Value::Real(number)
        }
        FieldType::Date => {
            let at: jiff::Timestamp = text.parse().with_context(|| {
                format!("{name}: {text:?} is not a time such as 2026-05-01T12:00:00Z")
            })?;
            Value::Integer(at.as_millisecond())
        }
        FieldType::Blob => bail!("{name}: bytes cannot be set on the command line"),
        _ => Value::Text(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_as_a_whole_is_told_from_a_feature_service() {
        for whole in ["https://box:8080", "https://box:8080/", "http://box/api"] {
            assert!(is_whole_server(whole), "{whole}");
        }
        assert!(!is_whole_server(
            "https://box/arcgis/rest/services/x/FeatureServer"
        ));
    }

    #[test]
    fn a_setting_is_read_by_the_type_of_its_field() {
        assert_eq!(
            parse(FieldType::Integer, "n", "7").unwrap(),
            Value::Integer(7)
        );
        assert_eq!(
            parse(FieldType::String, "s", "7").unwrap(),
            Value::from("7")
        );
        assert_eq!(parse(FieldType::String, "s", "").unwrap(), Value::Null);
        assert_eq!(
            parse(FieldType::Date, "d", "1970-01-01T00:00:01Z").unwrap(),
            Value::Integer(1000)
        );
        assert!(parse(FieldType::Double, "x", "inf").is_err());
        assert!(parse(FieldType::Integer, "n", "seven").is_err());
    }
}
