//! `haversack serve`: runs a server until it is told to stop.

use std::time::Duration;

use anyhow::{Result, bail};
use haversack_model::Store as _;
use haversack_server::upstream::{Login, Secret};
use haversack_server::{Error as ServerError, Handle, Options};
use serde_json::json;

use crate::args::{LogFormat, ServeArgs};
use crate::exit::Outcome;
use crate::output::{BOLD, DIM, Output, YELLOW};
use crate::{connect, credentials, directory};

/// Begins this program anew with two arenas of the C library. It keeps what each thread once had, in as many as there are threads, and a
/// server has many (measured: a fifth of the peak). Whoever set their number keeps it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn with_few_arenas() {
    use std::os::unix::process::CommandExt as _;

    const ARENAS: &str = "MALLOC_ARENA_MAX";
    let mut args = std::env::args_os();
    let (Some(name), Ok(program)) = (args.next(), std::env::current_exe()) else {
        return;
    };
    if std::env::var_os(ARENAS).is_none() {
        let mut again = std::process::Command::new(program);
        // It comes back only if that cannot be done: then the server runs as it is.
        let _failure = again.arg0(name).args(args).env(ARENAS, "2").exec();
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn with_few_arenas() {}

/// Runs the command. With `--json` one line on standard output says where it listens.
pub(crate) fn run(args: &ServeArgs, out: Output) -> Result<Outcome> {
    with_few_arenas();
    let options = Options {
        dir: args.dir.clone(),
        address: args.host.map(|host| host.to_string()),
        port: args.port,
        insecure_http: args.insecure_http,
        sample: args.sample,
        user: args.user.clone(),
        password: args.password.clone(),
        log_format: args.log.map(|format| match format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }),
        allow_endpoints: args.allow_endpoint.clone(),
        endpoint_ca: args.endpoint_ca.clone(),
        upstream: args.upstream.clone(),
        upstream_interval: args.upstream_interval,
        upstream_user: args.upstream_user.clone(),
        upstream_password_file: args.upstream_password_file.clone(),
        upstream_login: login(args)?,
        ..Options::default()
    };
    directory::refuse_file(&args.dir)?;
    let served = haversack_server::serve(&options, &mut |handle| announce(handle, out));
    if let Err(ServerError::Listen { address, source }) = &served
        && source.kind() == std::io::ErrorKind::AddrInUse
    {
        bail!(
            "another program listens on {address} already; choose another port with --port, or 0 for any that is free"
        );
    }
    served?;
    Ok(Outcome::Done)
}

/// The login for the upper server, where it is in no file of passwords: from the environment, or a kept one.
fn login(args: &ServeArgs) -> Result<Option<Login>> {
    let secret = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(token) = secret("HAVERSACK_UPSTREAM_TOKEN") {
        return Ok(Some(Login::Token(Secret(token))));
    }
    if let Some(password) = secret("HAVERSACK_UPSTREAM_PASSWORD") {
        return Ok(Some(Login::Password(Secret(password))));
    }
    match &args.upstream {
        Some(url) if args.upstream_user.is_none() => {
            let kept = credentials::kept(&connect::origin(url)?)?;
            Ok(kept.map(|login| Login::Token(Secret(login.token))))
        }
        _ => Ok(None),
    }
}

/// Reads `30s`, `5m` or `2h`.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let number: u64 = number
        .parse()
        .map_err(|_no_number| "a time is a number with s, m or h: 30s, 5m, 2h".to_owned())?;
    match number.checked_mul(unit) {
        Some(seconds @ 1..=604_800) => Ok(Duration::from_secs(seconds)),
        _ => Err("the time is from 1s to a week".to_owned()),
    }
}

/// Whether a service is one for maps; the others are databases of documents.
fn has_layers(handle: &Handle, name: &str) -> bool {
    let store = handle.server.services.store(name);
    let service = store.and_then(|store| store.begin_read().ok()?.service().ok());
    service.is_some_and(|service| service.layers_and_tables().next().is_some())
}

fn announce(handle: &Handle, out: Output) {
    let names = handle.server.services.names();
    let url = handle.http_url();
    if out.is_json() {
        out.json_line(&json!({
            "url": url,
            "https": handle.url(),
            "certificate": handle.certificate(),
            "services": names,
            "firstLogin": handle.first_login.as_ref().map(|(user, password)| json!({"user": user, "password": password})),
        }));
        return;
    }
    out.line(format_args!(
        "{BOLD}Haversack serves {}{BOLD:#}",
        handle.server.dir.root().display()
    ));
    out.line(format_args!("  {url}   and   {}", handle.url()));
    let with_layers: Vec<&String> = names
        .iter()
        .filter(|name| has_layers(handle, name))
        .collect();
    for service in &with_layers {
        out.line(format_args!(
            "  {url}/arcgis/rest/services/{service}/FeatureServer"
        ));
    }
    if let Some((user, password)) = &handle.first_login {
        out.line(format_args!(
            "{YELLOW}The administrator is {user:?}, the password {password:?}.{YELLOW:#} It is shown this once; `haversack user passwd` changes it."
        ));
    }
    let next = match with_layers.first() {
        Some(service) => format!(
            "`haversack checkout {url}/arcgis/rest/services/{service}/FeatureServer -o FILE.gpkg` takes one offline."
        ),
        None => format!(
            "Nothing is published yet: `haversack import FILE --service NAME --data {}` does it.",
            handle.server.dir.root().display()
        ),
    };
    out.line(format_args!("{DIM}{next} Ctrl-C stops it.{DIM:#}"));
}
