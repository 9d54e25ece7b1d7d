//! Finds out what a URL leads to: a Haversack, spoken to natively, or another feature service.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use haversack_geoservices::remote::{self as geoservices, GeoServicesRemote};
use haversack_model::{Collection, Error as ModelError};
use haversack_server::native::remote::{Credentials, Trust, service_in_url};
use haversack_server::native::{Client, NativeRemote};

use crate::args::ConnectArgs;
use crate::credentials;
use crate::exit::{NeedsLogin, Unreachable};
use crate::output::Output;

/// What `haversack_header` calls the native protocol.
pub(crate) const NATIVE: &str = "native";

/// A service on a Haversack.
pub(crate) struct Native {
    /// The server.
    pub(crate) client: Client,
    /// Name of the service.
    pub(crate) service: String,
}

impl Native {
    /// The remote of the sync core, for a file with these collections.
    pub(crate) fn remote(&self, holding: &[Collection]) -> NativeRemote {
        NativeRemote::new(self.client.clone(), &self.service).holding(holding.iter().map(|c| c.id))
    }
}

/// Scheme, host and port of a URL, under which logins are kept.
///
/// # Errors
/// If it is not an http or https URL.
pub(crate) fn origin(url: &str) -> Result<String> {
    let parsed = reqwest::Url::parse(url).ok();
    let web = parsed.filter(|parsed| matches!(parsed.scheme(), "http" | "https"));
    let parsed = web.with_context(|| {
        format!("{url:?} is not the URL of a server: it must begin with https:// or http://")
    })?;
    Ok(parsed.origin().ascii_serialization())
}

/// A client for the origin of a URL, with the credentials that were asked for.
///
/// # Errors
/// If the URL or the certificate file does not do, or a password is missing.
pub(crate) fn client(url: &str, connect: &ConnectArgs) -> Result<Client> {
    with_credentials(url, chosen(url, connect)?, connect)
}

/// The credentials for a server. Says so if they would travel where others can read them.
pub(crate) fn chosen(url: &str, connect: &ConnectArgs) -> Result<Credentials> {
    let origin = origin(url)?;
    let credentials = credentials::choose(connect, &origin)?;
    if !matches!(credentials, Credentials::Anonymous) && travels_readably(url) {
        Output::new(false).warn(format_args!(
            "{origin} is spoken to without encryption: anyone on the way can read your login. Use https if you can"
        ));
    }
    Ok(credentials)
}

fn travels_readably(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| {
        let is_here = match url.host_str() {
            Some(host) => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            None => false,
        };
        url.scheme() == "http" && !is_here
    })
}

/// A client with given credentials.
pub(crate) fn with_credentials(
    url: &str,
    credentials: Credentials,
    connect: &ConnectArgs,
) -> Result<Client> {
    let trust = Trust {
        ca: connect.ca.clone(),
        pem: None,
        insecure: connect.insecure,
        pinned: None,
    };
    let client = Client::new(url, credentials, &trust)?;
    Ok(match connect.patience {
        Some(seconds) => client.with_patience(Duration::from_secs(seconds)),
        None => client,
    })
}

/// The service behind a feature service's URL, if a Haversack serves it; `None` for another server.
///
/// # Errors
/// If the server cannot be reached or refuses the credentials.
pub(crate) fn discover(url: &str, connect: &ConnectArgs) -> Result<Option<Native>> {
    let client = client(url, connect)?;
    if client
        .discover()
        .map_err(|error| explain(error, url))?
        .is_none()
    {
        return Ok(None);
    }
    let service = service_in_url(url).with_context(|| {
        format!("{url:?} is not the URL of a feature service; it looks like SERVER/arcgis/rest/services/NAME/FeatureServer")
    })?;
    Ok(Some(Native { client, service }))
}

/// A feature service of any make, spoken to in its own dialect.
///
/// # Errors
/// If it cannot be reached, refuses the credentials or is no feature service.
pub(crate) fn feature_service(url: &str, connect: &ConnectArgs) -> Result<GeoServicesRemote> {
    let credentials = match chosen(url, connect)? {
        Credentials::Anonymous => geoservices::Credentials::Anonymous,
        Credentials::Token(token) => geoservices::Credentials::Token(token),
        Credentials::Basic { user, password } => {
            geoservices::Credentials::Password { user, password }
        }
    };
    let mut options = geoservices::Options {
        ca: connect.ca.clone(),
        insecure: connect.insecure,
        ..geoservices::Options::default()
    };
    if let Some(seconds) = connect.patience {
        let patience = Duration::from_secs(seconds);
        options.silence = options.silence.min(patience);
        options.patience = options.patience.min(patience);
    }
    GeoServicesRemote::connect(url, credentials, options)
        .map_err(|error| explain(error.into(), url))
}

/// The sentence for what a server or the way to it said.
pub(crate) fn explain(error: ModelError, url: &str) -> anyhow::Error {
    let place = origin(url).unwrap_or_else(|_not_a_url| url.to_owned());
    match error {
        ModelError::Refused {
            code: 401 | 499 | 498,
            message,
        } => NeedsLogin(format!(
            "{place} asks for a login: {message}. Use --user NAME, or `haversack login {place} --user NAME` once for all later commands"
        ))
        .into(),
        ModelError::Refused { code: 403, message } => {
            NeedsLogin(format!("{place} does not allow this: {message}")).into()
        }
        ModelError::Network(source) => {
            let mut text = source.to_string();
            let mut inner = source.source();
            while let Some(cause) = inner {
                text = cause.to_string();
                inner = cause.source();
            }
            if text.contains("peer certificate") {
                return anyhow::anyhow!(
                    "the certificate of {place} is not trusted ({text}). Name it with --ca FILE: a Haversack has it as certificate.pem in its data directory"
                );
            }
            Unreachable(format!(
                "{place} did not answer ({text}). Nothing is lost: run the same command again when it can be reached"
            ))
            .into()
        }
        ModelError::Resync { .. } | ModelError::NewHistory { .. } => anyhow::anyhow!(
            "{place} cannot continue from what this file has seen last. `haversack sync` compares everything anew; unsent edits stay"
        ),
        ModelError::NoReplica(id) => anyhow::anyhow!(
            "{place} does not know the replica {id} under this login: it was released, or it belongs to another user. Your edits stay in the file; `haversack sync` with the login that checked it out registers a released file again and sends them"
        ),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_kept_by_scheme_host_and_port() {
        assert_eq!(
            origin("https://h:8443/arcgis/rest?x=1").unwrap(),
            "https://h:8443"
        );
        assert_eq!(origin("http://h/").unwrap(), "http://h");
        assert!(origin("ftp://h/").is_err());
    }

    #[test]
    fn a_login_beyond_this_machine_wants_https() {
        assert!(travels_readably("http://example.org/arcgis"));
        assert!(!travels_readably("https://example.org/arcgis"));
        for here in [
            "http://127.0.0.1:8080/x",
            "http://[::1]/x",
            "http://localhost",
        ] {
            assert!(!travels_readably(here), "{here}");
        }
    }

    #[test]
    fn a_refusal_for_lack_of_credentials_says_how_to_log_in() {
        let refused = ModelError::Refused {
            code: 401,
            message: "Token Required".to_owned(),
        };
        let text = explain(refused, "https://h/arcgis/rest/services/P/FeatureServer").to_string();
        assert!(text.contains("--user"), "{text}");
        assert!(text.contains("haversack login https://h"), "{text}");
    }
}
