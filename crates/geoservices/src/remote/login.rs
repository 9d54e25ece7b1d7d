//! Tokens from the server's own token service.

use reqwest::Url;
use serde_json::Value as Json;

use super::http::{Credentials, Http};
use crate::wire::json::member;
use crate::{Error, Result};

/// Minutes that a token is asked for; it is renewed when it has ended.
const LIFETIME_MINUTES: &str = "60";

impl Http {
    /// Exchanges user name and password for a token.
    ///
    /// # Errors
    /// [`Error::Refused`] for wrong credentials, or if the token service is another host: passwords are not sent there.
    pub(super) fn log_in(&mut self) -> Result<()> {
        let Credentials::Password { user, password } = self.credentials.clone() else {
            return Ok(());
        };
        self.token = None;
        let url = self.token_service()?;
        let params = [
            ("username", user.as_str()),
            ("password", password.as_str()),
            ("client", "referer"),
            ("referer", "http"),
            ("expiration", LIFETIME_MINUTES),
        ];
        let answer = self.ask_at(&url, &params)?;
        let token = answer.get("token").and_then(Json::as_str);
        let token = token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Error::document("the token service", "gave no token"))?;
        self.token = Some(token.to_owned());
        Ok(())
    }

    /// Where tokens are made, as `rest/info` tells.
    fn token_service(&self) -> Result<Url> {
        let (root, _) = self
            .base()
            .path()
            .split_once("/rest/services")
            .ok_or_else(|| {
                let problem =
                    "has no /rest/services in it, so there is no place to log in; use a token";
                Error::parameter("url", problem)
            })?;
        let mut info = self.base().clone();
        info.set_path(&format!("{root}/rest/info"));
        let told = self.ask_at(&info, &[])?;
        let told = told.as_object().and_then(|told| member(told, "authInfo"));
        let told = told
            .and_then(Json::as_object)
            .and_then(|told| member(told, "tokenServicesUrl"));
        let url = if let Some(text) = told.and_then(Json::as_str) {
            self.named(text)?
        } else {
            let mut usual = self.base().clone();
            usual.set_path(&format!("{root}/sharing/rest/generateToken"));
            usual
        };
        if url.host_str() != self.base().host_str()
            || (self.base().scheme() == "https" && url.scheme() != "https")
        {
            return Err(Error::Refused {
                code: 0,
                message: format!(
                    "tokens are made at {}, another server; log in there and use the token",
                    url.host_str().unwrap_or_default()
                ),
            });
        }
        Ok(url)
    }
}
