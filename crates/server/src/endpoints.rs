//! Which other servers this one may connect to for a client: those that the operator listed, and no other.
//!
//! A client that names an endpoint makes the server a messenger into its own network, so nothing is allowed by default.
//! Rule source: GUARANTEES 4.2.2. The schemes of ArangoDB stand beside those of the web: `tcp` is `http`, `ssl` is `https`.

/// An endpoint taken apart: host in lower case, whether it is encrypted, and the port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts<'a> {
    is_tls: bool,
    host: String,
    port: &'a str,
}

/// Scheme, host and port; the port's default is that of the scheme.
fn parts(endpoint: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = endpoint.trim().split_once("://")?;
    let (is_tls, default) = match scheme.to_ascii_lowercase().as_str() {
        "tcp" | "http+tcp" => (false, "8529"),
        "ssl" | "http+ssl" => (true, "8529"),
        "http" => (false, "80"),
        "https" => (true, "443"),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A user name before the host would make it look like another one.
    if authority.contains('@') {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':').unwrap_or(default))
        }
        None => authority.split_once(':').unwrap_or((authority, default)),
    };
    let is_port = port == "*" || port.parse::<u16>().is_ok();
    (!host.is_empty() && is_port).then(|| Parts {
        is_tls,
        host: host.to_ascii_lowercase(),
        port,
    })
}

/// Whether an endpoint is one of the list. In the list a port may be `*`.
pub fn allows(list: &[String], endpoint: &str) -> bool {
    let Some(asked) = parts(endpoint).filter(|asked| asked.port != "*") else {
        return false;
    };
    list.iter().filter_map(|one| parts(one)).any(|one| {
        let same_port = one.port == "*" || one.port.parse::<u16>() == asked.port.parse::<u16>();
        one.is_tls == asked.is_tls && one.host == asked.host && same_port
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_allowed() {
        let list = [
            "tcp://127.0.0.1:*",
            "https://Primary.example",
            "ssl://[::1]:1",
        ];
        let list = list.map(str::to_owned);
        for (endpoint, allowed) in [
            ("tcp://127.0.0.1:8529", true),
            ("http://127.0.0.1:9000/_db/x", true),
            ("http+tcp://127.0.0.1", true),
            ("https://127.0.0.1:8529", false),
            ("tcp://127.0.0.2:8529", false),
            ("tcp://127.0.0.1.evil.example:1", false),
            ("tcp://user@127.0.0.1:8529", false),
            ("tcp://127.0.0.1:8529@evil.example", false),
            ("tcp://127.0.0.1:*", false),
            ("https://primary.example/a", true),
            ("https://primary.example:443", true),
            ("https://primary.example:444", false),
            ("https://[::1]:1", true),
            ("unix:///run/x", false),
            ("127.0.0.1:8529", false),
            ("", false),
        ] {
            assert_eq!(allows(&list, endpoint), allowed, "{endpoint}");
        }
        assert!(!allows(&[], "tcp://127.0.0.1:8529"));
    }
}
