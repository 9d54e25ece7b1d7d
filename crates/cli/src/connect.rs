//! Finds out what a URL leads to: a Haversack, spoken to natively, or another feature service.

use anyhow::{Context as _, Result, bail};
use haversack_geoservices::remote::{self as geoservices, GeoServicesRemote};
use haversack_model::{Collection, Error as ModelError};
use haversack_server::native::remote::{Credentials, Trust, service_in_url};
use haversack_server::native::{Client, NativeRemote};

use crate::args::ConnectArgs;
use crate::credentials;
use crate::exit::{NeedsLogin, Unreachable};

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
    let parsed = reqwest::Url::parse(url).with_context(|| format!("{url:?} is not a URL"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        bail!("{url:?} must begin with https:// or http://");
    }
    Ok(parsed.origin().ascii_serialization())
}

/// A client for the origin of a URL, with the credentials that were asked for.
///
/// # Errors
/// If the URL or the certificate file does not do, or a password is missing.
pub(crate) fn client(url: &str, connect: &ConnectArgs) -> Result<Client> {
    let origin = origin(url)?;
    let credentials = credentials::choose(connect, &origin)?;
    with_credentials(url, credentials, connect)
}

/// A client with given credentials.
pub(crate) fn with_credentials(
    url: &str,
    credentials: Credentials,
    connect: &ConnectArgs,
) -> Result<Client> {
    let trust = Trust {
        ca: connect.ca.clone(),
        insecure: connect.insecure,
    };
    Ok(Client::new(url, credentials, &trust)?)
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
    let credentials = match credentials::choose(connect, &origin(url)?)? {
        Credentials::Anonymous => geoservices::Credentials::Anonymous,
        Credentials::Token(token) => geoservices::Credentials::Token(token),
        Credentials::Basic { user, password } => {
            geoservices::Credentials::Password { user, password }
        }
    };
    let options = geoservices::Options {
        ca: connect.ca.clone(),
        insecure: connect.insecure,
        ..geoservices::Options::default()
    };
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
            "{place} asks for a login ({message}): use --user NAME, or `haversack login {place}`"
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
            Unreachable(format!(
                "{place} did not answer ({text}). Nothing is lost: run the same command again when it can be reached"
            ))
            .into()
        }
        ModelError::NoReplica(id) => anyhow::anyhow!(
            "{place} does not know the replica {id}: it was released, or it expired. Your edits stay in the file; check out anew to go on"
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
    fn a_refusal_for_lack_of_credentials_says_how_to_log_in() {
        let refused = ModelError::Refused {
            code: 401,
            message: "Token Required".to_owned(),
        };
        let text = explain(refused, "https://h/arcgis/rest/services/P/FeatureServer").to_string();
        assert!(text.contains("haversack login https://h"), "{text}");
    }
}
