//! `haversack login`: exchanges a password for a token and keeps it for later commands.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use haversack_server::native::remote::Credentials;
use serde_json::json;

use crate::args::LoginArgs;
use crate::connect;
use crate::credentials::{self, KeptLogin};
use crate::exit::Outcome;
use crate::output::{GREEN, Output, time};

/// How long a kept login lasts.
const LIFETIME: Duration = Duration::from_hours(30 * 24);

/// Runs the command.
pub(crate) fn run(args: &LoginArgs, out: Output) -> Result<Outcome> {
    let origin = connect::origin(&args.url)?;
    if args.forget {
        let had = credentials::forget(&origin)?;
        out.result(&json!({"forgotten": had}), |out| {
            out.line(if had {
                "Forgotten."
            } else {
                "No login was kept for it."
            });
        });
        return Ok(Outcome::Done);
    }
    let user = args
        .connect
        .user
        .clone()
        .context("which user? Add --user NAME")?;
    let password = credentials::password(
        args.connect.password_stdin,
        &format!("Password of {user} at {origin}"),
    )?;
    let client = connect::with_credentials(&args.url, Credentials::Anonymous, &args.connect)?;
    if client
        .discover()
        .map_err(|error| connect::explain(error, &origin))?
        .is_none()
    {
        bail!(
            "{origin} is not a Haversack; pass --user and --password-stdin to each command instead"
        );
    }
    let login = client
        .log_in(&user, &password, LIFETIME)
        .map_err(|error| connect::explain(error, &origin))?;
    let path = credentials::keep(
        &origin,
        KeptLogin {
            user: login.user.clone(),
            token: login.token,
            expires_at_ms: login.expires_at.0,
        },
    )?;
    out.result(&json!({"user": login.user, "server": origin, "expiresAt": login.expires_at.0, "file": path}), |out| {
        out.line(format_args!("{GREEN}Logged in{GREEN:#} to {origin} as {} until {}.", login.user, time(login.expires_at)));
    });
    Ok(Outcome::Done)
}
