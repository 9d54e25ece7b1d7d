//! Login without the network: a secret that a server accepted once is proven by a salted hash (Argon2id) of it.
//!
//! Whoever keeps the text keeps it apart from the copy: that is handed around, and a password can be guessed from its hash.
//! Source: `spec/dhis2.md` 2.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

use super::error::{Error, Result};

/// Longest secret; hashing takes time.
const MAX_BYTES: usize = 1024;

/// What proves a secret, and does not tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof(String);

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// Why nobody is logged in without the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineRefusal {
    /// `BAD_CREDENTIALS`: it is another secret.
    BadCredentials,
    /// `NO_AUTHENTICATED_USER_OFFLINE`: this user was never logged in here, or their account was disabled.
    NeverLoggedIn,
}

impl OfflineRefusal {
    /// The word that apps know.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadCredentials => "BAD_CREDENTIALS",
            Self::NeverLoggedIn => "NO_AUTHENTICATED_USER_OFFLINE",
        }
    }
}

impl Proof {
    /// The proof of a password or token that a server has just accepted.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a secret that is too long.
    pub fn of(secret: &str) -> Result<Self> {
        let wrong = |problem: String| Error::Parameter {
            what: "password",
            problem,
        };
        if secret.len() > MAX_BYTES {
            return Err(wrong(format!("it is longer than {MAX_BYTES} bytes")));
        }
        let hash = Argon2::default().hash_password(secret.as_bytes());
        hash.map(|hash| Self(hash.to_string()))
            .map_err(|error| wrong(error.to_string()))
    }
    /// A proof that was kept; one that is damaged accepts nothing.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }
    /// The text to keep.
    pub fn text(&self) -> &str {
        &self.0
    }
    /// Whether it is this secret.
    pub fn accepts(&self, secret: &str) -> bool {
        let is_short = secret.len() <= MAX_BYTES;
        is_short
            && Argon2::default()
                .verify_password(secret.as_bytes(), self.0.as_str())
                .is_ok()
    }
}

/// Logs in without the network, with what was kept of this user at this server.
///
/// # Errors
/// Why not.
pub fn log_in_offline(
    kept: Option<&Proof>,
    secret: &str,
) -> std::result::Result<(), OfflineRefusal> {
    let proof = kept.ok_or(OfflineRefusal::NeverLoggedIn)?;
    if proof.accepts(secret) {
        Ok(())
    } else {
        Err(OfflineRefusal::BadCredentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_proven_and_not_told() {
        let proof = Proof::of("secret").unwrap();
        let again = Proof::from_text(proof.text());
        assert!(again.accepts("secret") && !again.accepts("Secret") && !again.accepts(""));
        assert!(!again.text().contains("secret") && !format!("{again:?}").contains('$'));
        assert_ne!(proof, Proof::of("secret").unwrap(), "it is salted");
        assert!(!Proof::from_text("damaged").accepts("damaged"));
        assert!(Proof::of(&"x".repeat(2000)).is_err());
        assert_eq!(log_in_offline(Some(&proof), "secret"), Ok(()));
        let refused = |kept| log_in_offline(kept, "other").unwrap_err().word();
        assert_eq!(refused(Some(&proof)), "BAD_CREDENTIALS");
        assert_eq!(refused(None), "NO_AUTHENTICATED_USER_OFFLINE");
    }
}
