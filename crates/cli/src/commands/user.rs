//! `haversack user`: the users of a data directory and their grants.

use anyhow::{Context as _, Result, bail};
use haversack_model::CollectionId;
use haversack_server::grants::{Grant, parse_rights, right_word};
use haversack_server::{Server, clock};
use serde_json::json;

use crate::args::{UserAction, UserArgs};
use crate::credentials;
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, Output, count};

/// Runs the command.
pub(crate) fn run(args: &UserArgs, out: Output) -> Result<Outcome> {
    match &args.action {
        UserAction::Add {
            name,
            admin,
            password_stdin,
            data,
        } => {
            let server = Server::open(&data.data)?;
            let password = credentials::password(*password_stdin, &format!("Password for {name}"))?;
            server.accounts.add(name, &password, *admin, clock::now())?;
            out.result(&json!({"added": name, "admin": admin}), |out| {
                out.line(format_args!("Added {name}."));
                if !admin {
                    out.line(format_args!("{DIM}`haversack user grant {name} SERVICE read,edit,sync --data {}` lets it work.{DIM:#}", data.data.display()));
                }
            });
        }
        UserAction::Passwd {
            name,
            password_stdin,
            data,
        } => {
            let server = Server::open(&data.data)?;
            let password =
                credentials::password(*password_stdin, &format!("New password for {name}"))?;
            server.accounts.set_password(name, &password)?;
            out.result(&json!({"changed": name}), |out| {
                out.line("Changed; earlier tokens have ended.");
            });
        }
        UserAction::List { data } => list(&*Server::open(&data.data)?, out)?,
        UserAction::Grant {
            name,
            service,
            rights,
            rows,
            data,
        } => {
            let server = Server::open(&data.data)?;
            let special = name == "anonymous" || name == "*";
            if !special && !server.accounts.exists(name)? {
                bail!("there is no user {name:?}; `haversack user list` names them");
            }
            if rights == "none" {
                server.grants.remove(name, service)?;
            } else {
                server.grants.set(&Grant {
                    principal: name.clone(),
                    service: service.clone(),
                    rights: parse_rights(rights)?,
                    filters: rows
                        .iter()
                        .map(|text| parse_rows(text))
                        .collect::<Result<_>>()?,
                })?;
            }
            out.result(
                &json!({"user": name, "service": service, "rights": rights, "rows": rows}),
                |out| {
                    out.line(format_args!("{name} may now: {rights} on {service}."));
                },
            );
        }
        UserAction::Remove { name, data } => {
            Server::open(&data.data)?.accounts.remove(name)?;
            out.result(&json!({"removed": name}), |out| {
                out.line(format_args!("Removed {name}."));
            });
        }
    }
    Ok(Outcome::Done)
}

fn list(server: &Server, out: Output) -> Result<()> {
    let accounts = server.accounts.list()?;
    let grants = server.grants.list()?;
    let document = json!({
        "users": accounts.iter().map(|a| json!({"name": a.name, "admin": a.is_admin, "createdAt": a.created_at.0})).collect::<Vec<_>>(),
        "grants": grants,
    });
    out.result(&document, |out| {
        out.line(format_args!(
            "{BOLD}{}{BOLD:#}",
            count(accounts.len(), "user")
        ));
        out.table(
            &["name", "administrator"],
            accounts
                .iter()
                .map(|a| {
                    vec![
                        a.name.clone(),
                        if a.is_admin { "yes" } else { "" }.to_owned(),
                    ]
                })
                .collect(),
        );
        out.line("");
        out.line(format_args!(
            "{BOLD}{}{BOLD:#}",
            count(grants.len(), "grant")
        ));
        out.table(
            &["who", "service", "rights", "rows"],
            grants.iter().map(grant_row).collect(),
        );
    });
    Ok(())
}

fn grant_row(grant: &Grant) -> Vec<String> {
    let rights: Vec<&str> = grant
        .rights
        .iter()
        .map(|right| right_word(*right))
        .collect();
    let rows: Vec<String> = grant
        .filters
        .iter()
        .map(|(layer, filter)| format!("{layer}:{filter}"))
        .collect();
    vec![
        grant.principal.clone(),
        grant.service.clone(),
        if rights.is_empty() {
            "nothing".to_owned()
        } else {
            rights.join(",")
        },
        if rows.is_empty() {
            "all".to_owned()
        } else {
            rows.join("; ")
        },
    ]
}

/// Reads `LAYER:WHERE`.
fn parse_rows(text: &str) -> Result<(CollectionId, String)> {
    let (layer, filter) = text
        .split_once(':')
        .with_context(|| format!("{text:?} is not LAYER:WHERE"))?;
    let layer = layer
        .trim()
        .parse()
        .with_context(|| format!("{layer:?} is not the number of a layer"))?;
    Ok((CollectionId(layer), filter.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_filter_names_its_layer_first() {
        let (layer, filter) = parse_rows("0: district = 'a:b'").unwrap();
        assert_eq!(
            (layer, filter.as_str()),
            (CollectionId(0), "district = 'a:b'")
        );
        assert!(parse_rows("district = 'north'").is_err());
    }
}
