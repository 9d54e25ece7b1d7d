//! Who we are for a server: options, environment, standard input, a kept login, or a prompt; in that order.
//!
//! `haversack login` keeps tokens, never passwords, in one file that its owner alone can read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use haversack_server::native::remote::Credentials;
use serde::{Deserialize, Serialize};

use crate::args::ConnectArgs;

/// A login kept for one server.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeptLogin {
    /// User name, for people.
    pub(crate) user: String,
    /// The token.
    pub(crate) token: String,
    /// When it ends, in milliseconds since 1970.
    pub(crate) expires_at_ms: i64,
}

/// Logins by origin of the server.
#[derive(Default, Serialize, Deserialize)]
struct Logins {
    #[serde(default)]
    servers: BTreeMap<String, KeptLogin>,
    /// Proofs of secrets of DHIS2 users, by name and origin: hashes, for logins without the network.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    proofs: BTreeMap<String, String>,
}

/// Chooses the credentials for a server.
///
/// # Errors
/// If a password is needed and there is none, or the file of kept logins cannot be read.
pub(crate) fn choose(connect: &ConnectArgs, origin: &str) -> Result<Credentials> {
    if let Some(token) = &connect.token {
        return Ok(Credentials::Token(token.clone()));
    }
    if let Some(user) = &connect.user {
        return Ok(Credentials::Basic {
            user: user.clone(),
            password: password(
                connect.password_stdin,
                &format!("Password of {user} at {origin}"),
            )?,
        });
    }
    Ok(kept(origin)?.map_or(Credentials::Anonymous, |login| {
        Credentials::Token(login.token)
    }))
}

/// A password from standard input, the environment or a prompt.
///
/// # Errors
/// If there is none.
pub(crate) fn password(from_stdin: bool, prompt: &str) -> Result<String> {
    if from_stdin {
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .read_line(&mut line)
            .context("reading the password from standard input")?;
        let password = line.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("standard input holds no password");
        }
        return Ok(password.to_owned());
    }
    if let Ok(password) = std::env::var("HAVERSACK_PASSWORD") {
        return Ok(password);
    }
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("{prompt}: ")).context("reading the password");
    }
    bail!("a password is needed: pass --password-stdin or set HAVERSACK_PASSWORD")
}

/// The login kept for a server, if it has not ended.
pub(crate) fn kept(origin: &str) -> Result<Option<KeptLogin>> {
    let Some(path) = path() else {
        return Ok(None);
    };
    let now = jiff::Timestamp::now().as_millisecond();
    Ok(load(&path)?
        .servers
        .remove(origin)
        .filter(|login| login.expires_at_ms > now))
}

/// Keeps a login; gives the path of the file.
///
/// # Errors
/// If there is no configuration folder or it cannot be written.
pub(crate) fn keep(origin: &str, login: KeptLogin) -> Result<PathBuf> {
    let path = path().context("there is no configuration folder: set HOME or XDG_CONFIG_HOME")?;
    let mut logins = load(&path)?;
    logins.servers.insert(origin.to_owned(), login);
    store(&path, &logins)?;
    Ok(path)
}

/// Forgets a login. `false` if none was kept.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn forget(origin: &str) -> Result<bool> {
    let Some(path) = path() else {
        return Ok(false);
    };
    let mut logins = load(&path)?;
    let had = logins.servers.remove(origin).is_some();
    if had {
        store(&path, &logins)?;
    }
    Ok(had)
}

/// Keeps what proves the secret of a user without the network. Without a configuration folder there is no such login.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn keep_proof(origin: &str, user: &str, proof: &str) -> Result<()> {
    change_proofs(|proofs| {
        proofs.insert(format!("{user} {origin}"), proof.to_owned());
    })
}

/// What proves the secret of a user, if they logged in before.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn proof(origin: &str, user: &str) -> Result<Option<String>> {
    let Some(path) = path() else {
        return Ok(None);
    };
    Ok(load(&path)?.proofs.remove(&format!("{user} {origin}")))
}

/// Forgets it.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn forget_proof(origin: &str, user: &str) -> Result<()> {
    change_proofs(|proofs| {
        proofs.remove(&format!("{user} {origin}"));
    })
}

fn change_proofs(change: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<()> {
    let Some(path) = path() else {
        return Ok(());
    };
    let mut logins = load(&path)?;
    let before = logins.proofs.clone();
    change(&mut logins.proofs);
    if logins.proofs == before {
        return Ok(());
    }
    store(&path, &logins)
}

fn path() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("haversack/logins.toml"))
}

fn load(path: &Path) -> Result<Logins> {
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .with_context(|| format!("{} is damaged; remove it and log in again", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Logins::default()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn store(path: &Path, logins: &Logins) -> Result<()> {
    let folder = path.parent().context("the file has a folder")?;
    let aside = folder.join(format!("logins.{}.new", std::process::id()));
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&aside)?;
        file.write_all(
            toml::to_string_pretty(logins)
                .map_err(std::io::Error::other)?
                .as_bytes(),
        )?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn kept_logins_are_readable_by_their_owner_alone_and_come_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haversack/logins.toml");
        let mut logins = load(&path).unwrap();
        logins.servers.insert(
            "https://example.org".to_owned(),
            KeptLogin {
                user: "ada".to_owned(),
                token: "t0ken".to_owned(),
                expires_at_ms: 5,
            },
        );
        store(&path, &logins).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            load(&path).unwrap().servers["https://example.org"].token,
            "t0ken"
        );
    }
}
