//! `haversack user`: the users of a data directory and their grants.

use anyhow::{Context as _, Result};
use haversack_model::CollectionId;
use haversack_server::clock;
use haversack_server::grants::{Grant, parse_rights};
use haversack_server::native::Client;
use serde_json::{Value as Json, json};

use crate::args::{UserAction, UserArgs};
use crate::credentials;
use crate::directory::Directory;
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
            let directory = Directory::open_existing(&data.data)?;
            let password = credentials::password(*password_stdin, &format!("Password for {name}"))?;
            match directory {
                Directory::Opened(server) => {
                    server.accounts.add(name, &password, *admin, clock::now())?;
                }
                Directory::Running(client) => {
                    send(
                        &client,
                        "POST",
                        "/v1/users",
                        Some(&json!({"name": name, "password": password, "is_admin": admin})),
                    )?;
                }
            }
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
            let directory = Directory::open_existing(&data.data)?;
            let password =
                credentials::password(*password_stdin, &format!("New password for {name}"))?;
            match directory {
                Directory::Opened(server) => server.accounts.set_password(name, &password)?,
                Directory::Running(client) => {
                    send(
                        &client,
                        "PUT",
                        &format!("/v1/users/{}/password", segment(name)),
                        Some(&json!({"password": password})),
                    )?;
                }
            }
            out.result(&json!({"changed": name}), |out| {
                out.line("Changed; earlier tokens have ended.");
            });
        }
        UserAction::List { data } => list(&Directory::open_existing(&data.data)?, out)?,
        UserAction::Grant {
            name,
            service,
            rights,
            rows,
            data,
        } => {
            let directory = Directory::open_existing(&data.data)?;
            if rights == "none" {
                match directory {
                    Directory::Opened(server) => {
                        server.grants.remove(name, service)?;
                    }
                    Directory::Running(client) => {
                        send(
                            &client,
                            "DELETE",
                            &format!("/v1/grants/{}/{}", segment(name), segment(service)),
                            None,
                        )?;
                    }
                }
            } else {
                let grant = Grant {
                    principal: name.clone(),
                    service: service.clone(),
                    rights: parse_rights(rights)?,
                    filters: rows
                        .iter()
                        .map(|text| parse_rows(text))
                        .collect::<Result<_>>()?,
                };
                match directory {
                    Directory::Opened(server) => server.grant(&grant)?,
                    Directory::Running(client) => {
                        send(
                            &client,
                            "PUT",
                            "/v1/grants",
                            Some(&serde_json::to_value(&grant)?),
                        )?;
                    }
                }
            }
            out.result(
                &json!({"user": name, "service": service, "rights": rights, "rows": rows}),
                |out| {
                    if rights == "none" {
                        out.line(format_args!("{name} has no grant on {service} any more."));
                    } else {
                        out.line(format_args!("{name} may now: {rights} on {service}."));
                    }
                },
            );
        }
        UserAction::Remove { name, data } => {
            match Directory::open_existing(&data.data)? {
                Directory::Opened(server) => server.accounts.remove(name)?,
                Directory::Running(client) => {
                    send(
                        &client,
                        "DELETE",
                        &format!("/v1/users/{}", segment(name)),
                        None,
                    )?;
                }
            }
            out.result(&json!({"removed": name}), |out| {
                out.line(format_args!("Removed {name}."));
            });
        }
    }
    Ok(Outcome::Done)
}

/// Asks the running server; its refusals are about what was asked, not about who we are.
fn send(client: &Client, method: &str, path: &str, body: Option<&Json>) -> Result<Json> {
    client
        .send(method, path, body)
        .map_err(|error| match error {
            haversack_model::Error::Refused { message, .. } => anyhow::anyhow!(message),
            other => other.into(),
        })
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn list(directory: &Directory, out: Output) -> Result<()> {
    let (accounts, grants) = match directory {
        Directory::Opened(server) => (
            serde_json::to_value(server.accounts.list()?)?,
            serde_json::to_value(server.grants.list()?)?,
        ),
        Directory::Running(client) => (
            send(client, "GET", "/v1/users", None)?,
            send(client, "GET", "/v1/grants", None)?,
        ),
    };
    let rows = |list: &Json| list.as_array().cloned().unwrap_or_default();
    let (accounts, grants) = (rows(&accounts), rows(&grants));
    let document =
        |a: &Json| json!({"name": a["name"], "admin": a["is_admin"], "createdAt": a["created_at"]});
    let documents: Vec<Json> = accounts.iter().map(document).collect();
    out.result(&json!({"users": documents, "grants": grants}), |out| {
        out.line(format_args!(
            "{BOLD}{}{BOLD:#}",
            count(accounts.len() as u64, "user")
        ));
        let of_account = |a: &Json| {
            vec![
                text(&a["name"]),
                if a["is_admin"] == true { "yes" } else { "" }.to_owned(),
            ]
        };
        out.table(
            &["name", "administrator"],
            accounts.iter().map(of_account).collect(),
        );
        out.line("");
        out.line(format_args!(
            "{BOLD}{}{BOLD:#}",
            count(grants.len() as u64, "grant")
        ));
        out.table(
            &["who", "service", "rights", "rows"],
            grants.iter().map(grant_row).collect(),
        );
    });
    Ok(())
}

fn grant_row(grant: &Json) -> Vec<String> {
    let joined = |list: &Json, each: &dyn Fn(&Json) -> String, none: &str| {
        let parts: Vec<String> = list.as_array().into_iter().flatten().map(each).collect();
        if parts.is_empty() {
            none.to_owned()
        } else {
            parts.join(", ")
        }
    };
    vec![
        text(&grant["principal"]),
        text(&grant["service"]),
        joined(
            &grant["rights"],
            &|right| text(right).to_lowercase(),
            "nothing",
        ),
        joined(
            &grant["filters"],
            &|filter| format!("{}:{}", filter[0], text(&filter[1])),
            "all",
        ),
    ]
}

fn text(json: &Json) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
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

    #[test]
    fn a_name_stays_one_segment_of_a_path() {
        assert_eq!(segment("*"), "%2A");
        assert_eq!(segment("a/b é"), "a%2Fb%20%C3%A9");
    }
}
