//! The configuration file of a data directory, `haversack.toml`: every limit, wait and policy with its default.
//!
//! One macro holds name, type, default and meaning, so that the file, the listing of `haversack config` and the code
//! cannot drift apart.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, at_path};

/// One line of the listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Key in the file.
    pub name: &'static str,
    /// Value in force, as it would be written in the file.
    pub value: String,
    /// Value without a file.
    pub default: String,
    /// What it does.
    pub meaning: &'static str,
}

macro_rules! settings {
    ($($name:ident: $kind:ty = $default:expr, $meaning:literal;)*) => {
        /// Everything that can be set.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $(#[doc = $meaning] pub $name: $kind,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Config {
            /// All settings with value, default and meaning, in the order of the documentation.
            pub fn settings(&self) -> Vec<Setting> {
                let default = Self::default();
                vec![$(Setting {
                    name: stringify!($name),
                    value: written(&self.$name),
                    default: written(&default.$name),
                    meaning: $meaning,
                },)*]
            }
        }
    };
}

settings! {
    address: String = "127.0.0.1".to_owned(), "IP address to listen on. Beyond loopback, plain http is refused unless insecure_http says otherwise.";
    port: u16 = 8080, "Port to listen on, for https and http alike; 0 takes a free one and prints it.";
    base_url: String = String::new(), "Public URL (scheme, host, port) in links that the server writes; empty takes the request's own.";
    insecure_http: bool = false, "Accept plain http from other machines: passwords and tokens then travel readably.";
    cors_origins: Vec<String> = Vec::new(), "Origins of web pages that may call this server, such as `https://map.example.org`; http://localhost:* allows any port.";
    allow_endpoints: Vec<String> = Vec::new(), "Endpoints that the server itself may connect to when a client names one, such as tcp://127.0.0.1:*; none unless listed.";
    endpoint_ca: String = String::new(), "File of certificates (PEM) by which such endpoints may show who they are, beside those of the system; relative to the data directory.";
    log_format: String = "text".to_owned(), "text or json.";
    log_level: String = "info".to_owned(), "Filter of the log: error, warn, info, debug, trace, or target=level pairs.";
    max_body_bytes: u64 = 256 * 1024 * 1024, "Largest accepted request body.";
    max_import_bytes: u64 = 16 * 1024 * 1024 * 1024, "Largest file that an import takes, from those who may publish.";
    max_json_bytes: u64 = 32 * 1024 * 1024, "Largest JSON or batch body of the native API, after decompression.";
    header_timeout_s: u64 = 15, "Seconds within which a request's head must have arrived.";
    idle_timeout_s: u64 = 120, "Seconds after which a connection on which nothing moves is closed.";
    request_timeout_s: u64 = 600, "Seconds after which a request without an answer is given up with 503.";
    max_connections: u64 = 1000, "Connections open at the same time.";
    shutdown_s: u64 = 8, "Seconds that requests under way get to finish when the server is told to stop.";
    login_attempts: u32 = 20, "Wrong passwords in a row that one account or address of another machine may try before it must wait.";
    login_refill_s: u32 = 10, "Seconds after which one more attempt is allowed.";
    login_attempts_loopback: u32 = 1000, "The same for the machine itself.";
    login_cache_s: u64 = 300, "Seconds for which a verified user name and password need not be hashed again.";
    jobs_per_owner: u32 = 2, "Jobs of one owner that run at the same time.";
    jobs_running: u32 = 4, "Jobs of all owners that run at the same time.";
    jobs_waiting_per_owner: u32 = 50, "Jobs of one owner that may wait; more are refused.";
    job_retention_h: u64 = 168, "Hours for which finished jobs are remembered.";
    file_retention_h: u64 = 24, "Hours for which prepared and uploaded files are kept.";
    file_quota_bytes: u64 = 20 * 1024 * 1024 * 1024, "Bytes of prepared and uploaded files that one owner may have.";
    max_copy_rows: u64 = 5_000_000, "Rows of a replica or extract that an ArcGIS client may ask for; larger ones are refused before the work begins.";
    max_copy_bytes: u64 = 4 * 1024 * 1024 * 1024, "Bytes of attachments within such a replica.";
    files_per_owner: u32 = 1000, "Prepared and uploaded files, parts of uploads included, that one owner may have.";
    disk_reserve_bytes: u64 = 256 * 1024 * 1024, "Bytes that must stay free on the disk: with fewer, no file is prepared and no upload accepted.";
    page_changes: u64 = 5000, "Changes in one page of a native download.";
    history_generations: u64 = 1_000_000, "Generations for which tombstones and replaced versions are kept; never fewer than a live replica needs.";
    history_d: u64 = 365, "Days for which tombstones and replaced versions are kept, whichever limit is met first; never fewer than a live replica needs.";
    replica_expiry_d: u64 = 180, "Days without a sync after which a replica no longer holds history back; its next sync may have to compare everything anew.";
    replica_forget_d: u64 = 730, "Days without a sync after which a replica is forgotten; the next sync of its file registers it again.";
    upstream: String = String::new(), "URL of the DHIS2 server with which the tracker data here is synchronised; empty: none.";
    upstream_interval_s: u64 = 300, "Seconds from one synchronisation with it to the next.";
    upstream_metadata_s: u64 = 3600, "Seconds after which its metadata is fetched again.";
    upstream_reserved_values: u64 = 500, "Values of each generated attribute, and organisation unit where its pattern holds one, that are kept ready from there.";
    upstream_ignore_settings: bool = false, "Whether all is fetched from there, whatever its administrators chose for apps.";
    upstream_user: String = String::new(), "User name there.";
    upstream_password_file: String = String::new(), "File that holds the password there, readable by its owner alone; relative to the data directory.";
}

fn written<T: Serialize>(value: &T) -> String {
    toml::Value::try_from(value).map_or_else(|_not_a_value| String::new(), |v| v.to_string())
}

impl Config {
    /// Name of the file within a data directory.
    pub const FILE: &'static str = "haversack.toml";

    /// Reads the file of a data directory; the defaults if there is none.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown key or a value of another type, with its place.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(Self::FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(at_path("reading", path)(source)),
        };
        toml::from_str(&text).map_err(|source| Error::Config {
            path,
            source: Box::new(source),
        })
    }

    /// The file's text with only the settings that differ from the defaults, each under its meaning.
    pub fn to_file_text(&self) -> String {
        let mut text = String::from(
            "# Settings of this Haversack server. `haversack config` lists all of them with their defaults.\n",
        );
        for setting in self.settings() {
            if setting.value != setting.default {
                let Setting {
                    name,
                    value,
                    meaning,
                    ..
                } = setting;
                text.extend(["\n# ", meaning, "\n", name, " = ", &value, "\n"]);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_names_every_setting_with_a_value_and_a_meaning() {
        let settings = Config::default().settings();
        assert!(settings.len() > 20);
        for setting in settings {
            assert!(!setting.value.is_empty(), "{}", setting.name);
            assert_eq!(setting.value, setting.default);
            assert!(setting.meaning.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn a_written_file_reads_back_to_the_same_settings() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            port: 8443,
            cors_origins: vec!["http://localhost:*".to_owned()],
            ..Config::default()
        };
        let text = config.to_file_text();
        assert!(text.contains("port = 8443") && !text.contains("jobs_running"));
        std::fs::write(dir.path().join(Config::FILE), text).unwrap();
        assert_eq!(Config::load(dir.path()).unwrap(), config);
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(Config::FILE), "prot = 1\n").unwrap();
        let refused = Config::load(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("prot"), "{refused}");
    }
}
