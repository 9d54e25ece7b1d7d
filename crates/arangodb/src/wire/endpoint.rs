//! Where a primary is: endpoint strings.
//!
//! Source: `spec/arangodb.md` 1 and 17; `GUARANTEES.md` 4.2, 2.

/// Port of an endpoint that names none.
pub const DEFAULT_PORT: u16 = 8529;

/// A server on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the connection is encrypted.
    pub is_tls: bool,
    /// Host name or address; without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A text that names no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Nothing was given.
    #[error("no endpoint was given")]
    Empty,
    /// Another scheme.
    #[error("the endpoint must begin with tcp://, ssl://, http:// or https://")]
    Scheme,
    /// A host or port that is none.
    #[error("the endpoint must be a host and perhaps a port, such as tcp://db.example:8529")]
    Host,
}

impl Endpoint {
    /// Reads `tcp://host:port` and its relatives.
    ///
    /// # Errors
    /// [`BadEndpoint`]; user names, paths and sockets of this machine are refused, too.
    pub fn parse(text: &str) -> Result<Self, BadEndpoint> {
        let (is_tls, host, port) = split(text)?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|&port| port > 0)
                .ok_or(BadEndpoint::Host)?,
        };
        Ok(Self {
            is_tls,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// The URL of the server, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        if self.host.contains(':') {
            format!("{scheme}://[{}]:{}", self.host, self.port)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }

    /// The endpoint with its port: what a list of endpoints is asked about.
    pub fn canonical(&self) -> String {
        self.url()
            .replacen("https://", "ssl://", 1)
            .replacen("http://", "tcp://", 1)
    }
}

fn split(text: &str) -> Result<(bool, &str, Option<&str>), BadEndpoint> {
    if text.is_empty() {
        return Err(BadEndpoint::Empty);
    }
    let (scheme, rest) = text.split_once("://").ok_or(BadEndpoint::Scheme)?;
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "tcp" | "http" | "http+tcp" => false,
        "ssl" | "https" | "http+ssl" => true,
        _ => return Err(BadEndpoint::Scheme),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or(BadEndpoint::Host)?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_not_an_address| BadEndpoint::Host)?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(BadEndpoint::Host),
        }
    } else {
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let named = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if host.is_empty() || !host.chars().all(named) {
            return Err(BadEndpoint::Host);
        }
        (host, port)
    };
    Ok((is_tls, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_reference_is_read() {
        for (text, url) in [
            ("tcp://db.example:8529", "http://db.example:8529"),
            ("tcp://db.example", "http://db.example:8529"),
            ("ssl://10.0.0.1:1", "https://10.0.0.1:1"),
            ("http+tcp://a:2", "http://a:2"),
            ("http+ssl://a:2", "https://a:2"),
            ("HTTP://A:2/", "http://a:2"),
            ("https://[::1]:8529", "https://[::1]:8529"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().url(), url);
        }
    }

    #[test]
    fn what_is_no_host_and_port_is_refused() {
        for text in [
            "",
            "db:8529",
            "unix:///run/db.sock",
            "file:///etc/passwd",
            "tcp://user:pw@db:1",
            "tcp://user@db:1",
            "tcp://db:1/path",
            "tcp://db:0",
            "tcp://db:65536",
            "tcp://:1",
            "tcp://[zz]:1",
            "tcp://db:*",
            "tcp://a b:1",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_asked_about_is_what_is_connected_to() {
        for (text, canonical) in [
            ("http://DB.example", "tcp://db.example:8529"),
            ("https://db.example/", "ssl://db.example:8529"),
            ("tcp://[::1]:1", "tcp://[::1]:1"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.canonical(), canonical);
            assert_eq!(Endpoint::parse(canonical).unwrap(), endpoint);
        }
    }
}
