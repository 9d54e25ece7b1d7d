//! Accounts, their passwords and their tokens.
//!
//! Passwords are kept as argon2id, tokens as blake3. Every change of a password raises the account's epoch, and with it all
//! its tokens and cached credentials end.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use haversack_model::host::{Binding, LoginError, Origin, Token};
use haversack_model::{Principal, Timestamp};

use crate::attempts::Attempts;
use crate::db::Db;
use crate::error::{Error, Result, while_doing};
use crate::{Config, secret};

/// An account, as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name; case does not distinguish accounts.
    pub name: String,
    /// Whether it has every right on every service.
    pub is_admin: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The name under which commands on the data directory act; nobody can take it.
pub const OPERATOR: &str = "operator";
/// What grants call everybody without a login. Nobody may be called so.
pub const ANONYMOUS: &str = "anonymous";
const MIN_PASSWORD_CHARS: usize = 6;
const MAX_PASSWORD_BYTES: usize = 1024;
const HASHES_AT_ONCE: usize = 4;

/// All accounts of a server.
#[derive(Debug)]
pub struct Accounts {
    db: Db,
    attempts: Attempts,
    cache: Mutex<HashMap<[u8; 32], Cached>>,
    cache_key: [u8; 32],
    cache_for: Duration,
    gate: Gate,
}

#[derive(Clone, Debug)]
struct Cached {
    name: String,
    epoch: i64,
    until: Instant,
}

struct Row {
    name: String,
    password: String,
    is_admin: bool,
    epoch: i64,
}

impl Accounts {
    /// The accounts in a database.
    pub fn new(db: Db, config: &Config) -> Self {
        Self {
            db,
            attempts: Attempts::new(config),
            cache: Mutex::new(HashMap::new()),
            cache_key: secret::random_bytes(),
            cache_for: Duration::from_secs(config.login_cache_s),
            gate: Gate::new(HASHES_AT_ONCE),
        }
    }

    /// All accounts by name.
    pub fn list(&self) -> Result<Vec<Account>> {
        let connection = self.db.lock();
        let doing = "listing accounts";
        let mut statement = connection
            .prepare_cached("SELECT name, is_admin, created_at FROM account ORDER BY name")
            .map_err(while_doing(doing))?;
        let rows = statement
            .query_map([], |row| {
                Ok(Account {
                    name: row.get(0)?,
                    is_admin: row.get(1)?,
                    created_at: Timestamp(row.get(2)?),
                })
            })
            .map_err(while_doing(doing))?;
        rows.collect::<Result<_, _>>().map_err(while_doing(doing))
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or password that does not do, [`Error::Exists`] for a taken name.
    pub fn add(&self, name: &str, password: &str, is_admin: bool, now: Timestamp) -> Result<()> {
        check_name(name)?;
        let hash = self.hash(password)?;
        let added = self
            .db
            .lock()
            .execute(
                "INSERT INTO account (name, password, is_admin, epoch, created_at)
                 VALUES (?1, ?2, ?3, 1, ?4) ON CONFLICT (name) DO NOTHING",
                params![name, hash, is_admin, now.0],
            )
            .map_err(while_doing("adding an account"))?;
        if added == 0 {
            return Err(Error::Exists {
                what: "user",
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// Changes a password; all tokens of the account end.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such account.
    pub fn set_password(&self, name: &str, password: &str) -> Result<()> {
        let hash = self.hash(password)?;
        let changed = self
            .db
            .lock()
            .execute(
                "UPDATE account SET password = ?2, epoch = epoch + 1 WHERE name = ?1",
                params![name, hash],
            )
            .map_err(while_doing("changing a password"))?;
        self.forget_cached();
        found(changed, name)
    }

    /// Removes an account, its grants and its tokens. What it made stays.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the last administrator, [`Error::Missing`] if there is no such account.
    pub fn remove(&self, name: &str) -> Result<()> {
        let doing = "removing an account";
        let mut connection = self.db.lock();
        let tx = connection.transaction().map_err(while_doing(doing))?;
        let others: i64 = tx
            .query_row(
                "SELECT count(*) FROM account WHERE is_admin AND name <> ?1",
                [name],
                |row| row.get(0),
            )
            .map_err(while_doing(doing))?;
        let removed = tx
            .execute("DELETE FROM account WHERE name = ?1", [name])
            .map_err(while_doing(doing))?;
        found(removed, name)?;
        if others == 0 {
            return Err(Error::invalid(
                name,
                "the last administrator cannot be removed",
            ));
        }
        for sql in [
            "DELETE FROM token WHERE account = ?1",
            "DELETE FROM access WHERE principal = ?1",
            "DELETE FROM collection_access WHERE principal = ?1",
        ] {
            tx.execute(sql, [name]).map_err(while_doing(doing))?;
        }
        tx.commit().map_err(while_doing(doing))?;
        drop(connection);
        self.forget_cached();
        Ok(())
    }

    /// Whether there is an account of this name.
    pub fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.load(name)?.is_some())
    }

    /// The principal of a name and password; `None` if they do not fit.
    ///
    /// # Errors
    /// [`LoginError::TooManyAttempts`].
    pub fn login(
        &self,
        name: &str,
        password: &str,
        address: &str,
    ) -> Result<Option<Principal>, LoginError> {
        let now = Instant::now();
        let key = self.cache_key_of(name, password);
        if let Some(principal) = self.cached(&key, now) {
            return Ok(Some(principal));
        }
        if let Some(wait) = self.attempts.wait(name, address, now) {
            return Err(LoginError::TooManyAttempts {
                retry_after_s: wait.as_secs() as u32 + 1,
            });
        }
        let account = self.load(name).unwrap_or_else(|error| {
            tracing::error!(%error, "an account could not be read");
            None
        });
        // An unknown name costs the same hash, so that the answer's time tells nothing.
        let hash = account
            .as_ref()
            .map_or_else(|| no_ones_hash().to_owned(), |row| row.password.clone());
        let fits =
            password.len() <= MAX_PASSWORD_BYTES && self.gate.pass(|| verify(password, &hash));
        match account {
            Some(row) if fits => {
                let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                if cache.len() >= 10_000 {
                    cache.clear();
                }
                cache.insert(
                    key,
                    Cached {
                        name: row.name.clone(),
                        epoch: row.epoch,
                        until: now + self.cache_for,
                    },
                );
                Ok(Some(row.principal()))
            }
            _ => {
                self.attempts.count_failure(name, address, now);
                Ok(None)
            }
        }
    }

    /// A new token for an account.
    pub fn issue_token(
        &self,
        principal: &Principal,
        now: Timestamp,
        lifetime_ms: u64,
        binding: &Binding,
    ) -> Result<Token> {
        // The whole text is hashed: a token without its binding is another, unknown one.
        let text = secret::random_token() + &binding.suffix();
        let expires_at = Timestamp(now.0.saturating_add_unsigned(lifetime_ms));
        let doing = "issuing a token";
        let connection = self.db.lock();
        let added = connection
            .execute(
                "INSERT INTO token (hash, account, epoch, expires_at)
                 SELECT ?1, name, epoch, ?3 FROM account WHERE name = ?2",
                params![token_hash(&text), principal.name, expires_at.0],
            )
            .map_err(while_doing(doing))?;
        found(added, &principal.name)?;
        Ok(Token { text, expires_at })
    }

    /// The principal of a token; `None` if unknown, expired, revoked or bound to another place.
    pub fn verify_token(
        &self,
        token: &str,
        origin: Origin<'_>,
        now: Timestamp,
    ) -> Result<Option<Principal>> {
        if !Binding::allows(token, origin) {
            return Ok(None);
        }
        self.db
            .lock()
            .prepare_cached(
                "SELECT account.name, account.is_admin FROM token JOIN account
                 ON account.name = token.account AND account.epoch = token.epoch
                 WHERE token.hash = ?1 AND token.expires_at > ?2",
            )
            .and_then(|mut statement| {
                statement
                    .query_row(params![token_hash(token), now.0], |row| {
                        Ok(Principal {
                            name: row.get(0)?,
                            is_admin: row.get(1)?,
                        })
                    })
                    .optional()
            })
            .map_err(while_doing("verifying a token"))
    }

    /// Ends a token.
    pub fn revoke_token(&self, token: &str) -> Result<()> {
        self.db
            .lock()
            .execute("DELETE FROM token WHERE hash = ?1", [token_hash(token)])
            .map(|_count| ())
            .map_err(while_doing("revoking a token"))
    }

    /// Forgets expired tokens and old attempts.
    pub fn sweep(&self, now: Timestamp) -> Result<()> {
        self.attempts.sweep(Instant::now());
        self.db
            .lock()
            .execute("DELETE FROM token WHERE expires_at <= ?1", [now.0])
            .map(|_count| ())
            .map_err(while_doing("sweeping tokens"))
    }

    fn load(&self, name: &str) -> Result<Option<Row>> {
        self.db
            .lock()
            .query_row(
                "SELECT name, password, is_admin, epoch FROM account WHERE name = ?1",
                [name],
                |row| {
                    Ok(Row {
                        name: row.get(0)?,
                        password: row.get(1)?,
                        is_admin: row.get(2)?,
                        epoch: row.get(3)?,
                    })
                },
            )
            .optional()
            .map_err(while_doing("reading an account"))
    }

    fn hash(&self, password: &str) -> Result<String> {
        if password.chars().count() < MIN_PASSWORD_CHARS {
            return Err(Error::invalid(
                "password",
                format!("it needs at least {MIN_PASSWORD_CHARS} characters"),
            ));
        }
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(Error::invalid(
                "password",
                format!("it may have {MAX_PASSWORD_BYTES} bytes at most"),
            ));
        }
        self.gate.pass(|| hash_password(password))
    }

    fn cache_key_of(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.cache_key);
        hasher.update(name.to_lowercase().as_bytes());
        hasher.update(&[0]);
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn cached(&self, key: &[u8; 32], now: Instant) -> Option<Principal> {
        let cached = {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.get(key).cloned()?
        };
        if cached.until <= now {
            return None;
        }
        let row = self.load(&cached.name).ok()??;
        (row.epoch == cached.epoch).then(|| row.principal())
    }

    fn forget_cached(&self) {
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Row {
    fn principal(&self) -> Principal {
        Principal {
            name: self.name.clone(),
            is_admin: self.is_admin,
        }
    }
}

fn found(count: usize, name: &str) -> Result<()> {
    if count == 0 {
        return Err(Error::Missing {
            what: "user",
            name: name.to_owned(),
        });
    }
    Ok(())
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=64).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.@".contains(c));
    if !fits {
        return Err(Error::invalid(
            format!("user name {name:?}"),
            "it must be 1 to 64 letters, digits or any of _ - . @",
        ));
    }
    if name.eq_ignore_ascii_case(ANONYMOUS) {
        return Err(Error::invalid(
            format!("user name {name:?}"),
            "it stands for everybody without a login, who needs no account: grant it rights",
        ));
    }
    if name.eq_ignore_ascii_case(OPERATOR) {
        return Err(Error::invalid(
            format!("user name {name:?}"),
            "it is reserved for commands on the data directory",
        ));
    }
    Ok(())
}

fn token_hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

fn hash_password(password: &str) -> Result<String> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|e| Error::PasswordHash(e.to_string()))
}

fn verify(password: &str, hash: &str) -> bool {
    Argon2::default()
        .verify_password(password.as_bytes(), hash)
        .is_ok()
}

/// The hash of a password that nobody knows.
fn no_ones_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash_password(&secret::random_token()).unwrap_or_default())
}

/// Lets a few at a time pass: each hash takes 19 MiB.
#[derive(Debug)]
struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn new(free: usize) -> Self {
        Self {
            free: Mutex::new(free),
            changed: Condvar::new(),
        }
    }

    fn pass<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self
                .changed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        drop(free);
        let result = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_one();
        result
    }
}

#[cfg(test)]
mod tests;
