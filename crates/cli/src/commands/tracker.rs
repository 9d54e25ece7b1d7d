//! `haversack tracker`: copies of the tracker data of a DHIS2 server.

pub(crate) mod args;
mod download;
mod login;
mod reserve;
mod show;
mod upload;
mod wipe;

use anyhow::{Context as _, Result, bail};
use haversack_dhis2::remote::PROTOCOL;
use haversack_dhis2::remote::copy;
use haversack_dhis2::remote::error::Error;
use haversack_dhis2::remote::http;
use haversack_dhis2::remote::server::Server;
use haversack_server::native::remote::Credentials;

use crate::args::ConnectArgs;
use crate::connect;
use crate::credentials as kept;
use crate::exit::{NeedsLogin, Outcome, Unreachable};
use crate::output::Output;
use crate::replica::{self, File};
use args::{TrackerAction, TrackerArgs};

/// Runs the command.
pub(crate) fn run(args: &TrackerArgs, out: Output) -> Result<Outcome> {
    match &args.action {
        TrackerAction::Login(args) => login::login(args, out),
        TrackerAction::Logout(args) => login::logout(args, out),
        TrackerAction::Metadata(args) => login::metadata(args, out),
        TrackerAction::Download(args) => download::run(args, out),
        TrackerAction::Upload(args) => upload::run(args, out),
        TrackerAction::Reserve(args) => reserve::run(args, out),
        TrackerAction::Status(args) => show::status(args, out),
        TrackerAction::Conflicts(args) => show::conflicts(args, out),
        TrackerAction::BreakGlass(args) => download::break_glass(args, out),
        TrackerAction::Wipe(args) => wipe::run(args, out),
    }
}

/// How much of a copy is kept in memory. Its pages are small and mostly new; with more of it nothing is faster (measured: 10,000 tracked
/// entities in 8.7 s, with 16,000 KiB in 9.3 s), and a phone has better use for it.
const CACHE_KIB: u32 = 4000;

/// Opens a copy in order to write to it.
fn open(path: &std::path::Path, out: Output) -> Result<File> {
    let file = replica::open_to_write(path, out)?;
    let protocol = file.header()?.protocol;
    if protocol != PROTOCOL {
        bail!(
            "{} is no copy of a DHIS2 server; `haversack tracker login` makes one",
            path.display()
        );
    }
    file.set_cache(CACHE_KIB)?;
    Ok(file)
}

/// Who we are for a server. Asks for a password, so it is called once.
fn credentials(url: &str, args: &ConnectArgs) -> Result<http::Credentials> {
    Ok(match connect::chosen(url, args)? {
        Credentials::Anonymous => {
            return Err(NeedsLogin(format!(
                "{url} wants to know who you are: add --user NAME, or --token TOKEN"
            ))
            .into());
        }
        Credentials::Token(token) => http::Credentials::Token(token),
        Credentials::Basic { user, password } => http::Credentials::Basic { user, password },
    })
}

/// The server of a URL, asked once.
fn server(url: &str, credentials: http::Credentials, args: &ConnectArgs) -> Result<Server> {
    reach(url, credentials, args).map_err(|error| explain(error, url))
}

fn reach(url: &str, credentials: http::Credentials, args: &ConnectArgs) -> Result<Server, Error> {
    let mut options = http::Options {
        ca: args.ca.clone(),
        insecure: args.insecure,
        ..http::Options::default()
    };
    if let Some(seconds) = args.patience {
        options.silence = std::time::Duration::from_secs(seconds);
    }
    Server::connect(url, credentials, &options)
}

/// The server of a copy.
fn server_of(file: &mut File, args: &ConnectArgs) -> Result<Server> {
    let url = file.header()?.url;
    let credentials = credentials(&url, args)?;
    server_as(file, credentials, args)
}

/// The server of a copy, for somebody.
fn server_as(
    file: &mut File,
    credentials: http::Credentials,
    args: &ConnectArgs,
) -> Result<Server> {
    let url = file.header()?.url;
    match reach(&url, credentials, args) {
        Err(Error::AccountDisabled) => Err(end_account(file, &url)?),
        other => other.map_err(|error| explain(error, &url)),
    }
}

/// An account that the server disabled is not logged in to any more, here neither. The file stays: what was not sent is in it,
/// and only its owner may throw that away.
fn end_account(file: &mut File, url: &str) -> Result<anyhow::Error> {
    let origin = connect::origin(url)?;
    let of = file.read(|tx| copy::fact(tx, "username"))?;
    kept::forget(&origin)?;
    kept::forget_proof(&origin, &of.unwrap_or_default())?;
    Ok(NeedsLogin(format!(
        "{url}: {}. Its login was forgotten. The copy is still here: `haversack tracker wipe {} --level everything` removes it, with --export FILE if something was not sent",
        Error::AccountDisabled,
        file.path().display()
    ))
    .into())
}

/// The sentence for what a server or the way to it said.
fn explain(error: Error, url: &str) -> anyhow::Error {
    match error {
        Error::BadCredentials | Error::AccountDisabled | Error::AccountLocked => {
            NeedsLogin(format!("{url}: {error}")).into()
        }
        Error::Network { .. } => Unreachable(format!("{url} cannot be reached: {error}")).into(),
        error => anyhow::Error::new(error),
    }
}

/// A file that must not be there yet, in a folder that is.
fn check_new(path: &std::path::Path) -> Result<()> {
    if path.exists() {
        bail!(
            "{} exists already; choose another name or remove it",
            path.display()
        );
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => bail!("there is no folder {}", folder.display()),
        None => Ok(()),
    }
}

/// The name of a file without its folder and ending.
fn stem(path: &std::path::Path) -> Result<String> {
    let stem = path.file_stem().context("the file needs a name")?;
    Ok(stem.to_string_lossy().into_owned())
}
