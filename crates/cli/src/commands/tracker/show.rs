//! `haversack tracker status` and `conflicts`.

use std::collections::BTreeMap;

use anyhow::Result;
use haversack_dhis2::remote::PROTOCOL;
use haversack_dhis2::remote::layout::{IMPORT_CONFLICTS, Layout, MARKS, Role, VIOLATIONS};
use haversack_dhis2::remote::{copy, families};
use haversack_dhis2::uplink;
use haversack_dhis2::wire::tracker::Kind;
use haversack_model::ReplicaTx;
use haversack_sync::states;
use serde_json::{Value as Json, json};

use super::args::FileArgs;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, GREEN, Output, YELLOW, count};
use crate::{replica, view};

/// Runs `status`. Ends with [`Outcome::Attention`] if something waits for a decision.
pub(super) fn status(args: &FileArgs, out: Output) -> Result<Outcome> {
    let mut file = replica::open(&args.file)?;
    if file.header()?.protocol != PROTOCOL {
        anyhow::bail!("{} is no copy of a DHIS2 server", args.file.display());
    }
    let held = file.status()?;
    let layout = Layout::of(&file.collections());
    let (facts, marks, stubs, refused, missing, families) = file.read(|tx| {
        let mut facts = BTreeMap::new();
        for name in ["version", "username", "metadata_at", "capture"] {
            facts.insert(name, copy::fact(tx, name)?);
        }
        Ok((
            facts,
            rows(tx, &layout, MARKS)?,
            stubs(tx, &layout)?,
            rows(tx, &layout, IMPORT_CONFLICTS)?.len(),
            rows(tx, &layout, VIOLATIONS)?.len(),
            families::counts(tx)?,
        ))
    })?;
    let mut kinds: BTreeMap<&'static str, BTreeMap<&'static str, u64>> = BTreeMap::new();
    let mut states: BTreeMap<&'static str, u64> = BTreeMap::new();
    for layer in &held.layers {
        let role = layout.table(layer.collection).map(|table| &table.role);
        let Some(name) = role.filter(|role| role.is_data()).map(Role::collection) else {
            continue;
        };
        let of = kinds.entry(name).or_default();
        *of.entry("rows").or_default() += layer.rows;
        let mut add = |state: &'static str, n: u64| {
            *of.entry(state).or_default() += n;
            *states.entry(state).or_default() += n;
        };
        if layer.to_delete > 0 {
            add("TO_DELETE", layer.to_delete);
        }
        for (state, n) in &layer.states {
            add(view::state(*state, false), *n);
        }
    }
    if stubs > 0 {
        states.insert("RELATIONSHIP", stubs);
    }
    let families: BTreeMap<&'static str, BTreeMap<&'static str, u64>> = families
        .iter()
        .map(|(kind, counts)| {
            let counts = counts.iter().map(|(state, n)| (states::name(*state), *n));
            (kind.collection(), counts.collect())
        })
        .collect();
    let document = json!({
        "file": args.file,
        "server": held.header.url,
        "facts": facts,
        "objects": kinds,
        "states": states,
        "aggregated": families,
        "pending": held.pending,
        "openConflicts": held.open_conflicts,
        "importConflicts": refused,
        "missingReferences": missing,
        "marks": marks,
        "lastDownload": held.header.synced_at.map(|at| at.0),
    });
    let fact = |name: &str| facts.get(name).cloned().flatten().unwrap_or_default();
    out.result(&document, |out| {
        out.line(format_args!(
            "{BOLD}{}{BOLD:#}, a copy of {} ({}) for {}",
            args.file.display(),
            held.header.url,
            fact("version"),
            fact("username")
        ));
        out.line(format_args!(
            "{DIM}metadata of {}{DIM:#}",
            fact("metadata_at")
        ));
        for (kind, counts) in &kinds {
            let more: Vec<String> = counts
                .iter()
                .filter(|(name, n)| **name != "rows" && **n > 0)
                .map(|(name, n)| format!("{n} {name}"))
                .collect();
            let rows = counts.get("rows").copied().unwrap_or(0);
            out.line(format_args!("  {kind}: {rows}  {}", more.join(", ")));
            if let Some(worst) = families.get(kind) {
                let worst: Vec<String> = worst.iter().map(|(of, n)| format!("{n} {of}")).collect();
                out.line(format_args!(
                    "    with what belongs to them: {}",
                    worst.join(", ")
                ));
            }
        }
        if stubs > 0 {
            out.line(format_args!(
                "  {} only as the far side of a relationship",
                count(stubs, "object")
            ));
        }
        if held.pending == 0 && held.open_conflicts == 0 && refused == 0 {
            out.line(format_args!("{GREEN}Nothing waits.{GREEN:#}"));
        }
        if held.pending > 0 {
            out.line(format_args!("{} to send.", count(held.pending, "record")));
        }
        if held.open_conflicts > 0 || refused > 0 {
            out.line(format_args!(
                "{YELLOW}{}, {}{YELLOW:#}: `haversack tracker conflicts {}`.",
                count(held.open_conflicts, "open conflict"),
                count(refused as u64, "refusal"),
                args.file.display()
            ));
        }
    });
    Ok(
        if held.open_conflicts > 0 || refused > 0 || states.contains_key("ERROR") {
            Outcome::Attention
        } else {
            Outcome::Done
        },
    )
}

/// Runs `conflicts`.
pub(super) fn conflicts(args: &FileArgs, out: Output) -> Result<Outcome> {
    let mut file = replica::open(&args.file)?;
    let layout = Layout::of(&file.collections());
    let (open, refused) = file.read(|tx| {
        let mut refused = rows(tx, &layout, IMPORT_CONFLICTS)?;
        // The copy of a clinic knows who of it made the edit.
        let users = uplink::users(tx)?;
        for one in &mut refused {
            if let Some(user) = one["object"].as_str().and_then(|uid| users.get(uid)) {
                one["user"] = json!(user);
            }
        }
        Ok((tx.conflicts(true)?, refused))
    })?;
    let kind = |of| {
        layout
            .table(of)
            .map_or("record", |table| table.role.member())
    };
    let clashes: Vec<Json> = open
        .iter()
        .map(|conflict| {
            json!({"id": conflict.id.to_string(), "kind": kind(conflict.collection),
                "object": conflict.global_id.to_string(), "reason": conflict.reason, "user": conflict.user})
        })
        .collect();
    out.result(&json!({"conflicts": clashes, "refused": refused}), |out| {
        if open.is_empty() && refused.is_empty() {
            out.line(format_args!("{GREEN}None.{GREEN:#}"));
        }
        for conflict in &open {
            out.line(format_args!(
                "{YELLOW}conflict{YELLOW:#} {} {}: {}.{} `haversack conflicts show {} {}`",
                kind(conflict.collection),
                conflict.global_id,
                conflict.reason,
                by(&conflict.user),
                args.file.display(),
                conflict.id
            ));
        }
        for one in &refused {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            out.line(format_args!(
                "{YELLOW}{}{YELLOW:#} {} {} {}: {} {}{}",
                text("status"),
                text("kind"),
                text("object"),
                text("code"),
                text("message"),
                text("hint"),
                by(&text("user"))
            ));
        }
    });
    Ok(if open.is_empty() && refused.is_empty() {
        Outcome::Done
    } else {
        Outcome::Attention
    })
}

/// Who entered it, if that is known.
fn by(user: &str) -> String {
    if user.is_empty() {
        String::new()
    } else {
        format!(" Entered by {user}.")
    }
}

/// The rows of a table as objects of texts.
fn rows(
    tx: &dyn ReplicaTx,
    layout: &Layout,
    id: haversack_model::CollectionId,
) -> haversack_model::Result<Vec<Json>> {
    let Some(table) = layout.table(id) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for key in tx.confirmed(id)? {
        if let Some(row) = tx.row(id, &key)? {
            let cells = table.collection.fields.iter();
            let object: serde_json::Map<String, Json> = cells
                .map(|field| (field.name.clone(), json!(table.text(&row, &field.name))))
                .collect();
            found.push(Json::Object(object));
        }
    }
    Ok(found)
}

/// How many objects are the mere far side of a relationship.
fn stubs(tx: &dyn ReplicaTx, layout: &Layout) -> haversack_model::Result<u64> {
    let mut count = 0;
    if let Some(ties) = layout.table(haversack_dhis2::remote::layout::RELATIONSHIPS) {
        let mut seen = std::collections::BTreeSet::new();
        for id in tx.confirmed(ties.id())? {
            let Some(row) = tx.row(ties.id(), &id)? else {
                continue;
            };
            seen.insert(table_side(ties, &row, "from_uid"));
            seen.insert(table_side(ties, &row, "to_uid"));
        }
        for kind in [Kind::TrackedEntity, Kind::Enrollment, Kind::Event] {
            for table in layout.of_kind(kind) {
                for uid in &seen {
                    let id = haversack_model::GlobalId::Text(uid.as_str().into());
                    let row = tx.row(table.id(), &id)?;
                    count += u64::from(row.is_some_and(|row| table.is_stub(&row)));
                }
            }
        }
    }
    Ok(count)
}

fn table_side(
    table: &haversack_dhis2::remote::layout::Table,
    row: &haversack_model::Record,
    side: &str,
) -> String {
    table.text(row, side)
}
