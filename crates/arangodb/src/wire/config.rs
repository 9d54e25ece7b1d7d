//! The order to synchronise and the configuration of an applier: one set of fields with their defaults.
//!
//! A field of another JSON type than expected is ignored, as are unknown ones. Source: `spec/arangodb.md` 3.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::key;

/// Which collections are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Restriction {
    /// All.
    #[default]
    None,
    /// Only these.
    Include(Vec<String>),
    /// All but these.
    Exclude(Vec<String>),
}

impl Restriction {
    /// Whether a collection is meant.
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Self::None => true,
            Self::Include(names) => names.iter().any(|known| known == name),
            Self::Exclude(names) => names.iter().all(|known| known != name),
        }
    }
}

/// A configuration that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    /// Names without a type, or a type without names.
    #[error("restrictType and restrictCollections must be given together")]
    Restriction,
    /// A type that is neither.
    #[error("restrictType must be include or exclude")]
    RestrictType,
    /// No endpoint.
    #[error("no endpoint was given")]
    NoEndpoint,
}

/// What a secondary was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Endpoint of the primary; empty if none was given.
    pub endpoint: String,
    /// Database on the primary; empty means the one of the same name.
    pub database: String,
    /// User name at the primary.
    pub username: String,
    /// Password at the primary; never told again.
    pub password: String,
    /// A token, used if there is no user name; never told again.
    pub jwt: String,
    restrict_type: String,
    restrict_collections: Vec<String>,
    /// Compare with what is there and fetch what differs.
    pub incremental: bool,
    /// Copy collections whose names begin with `_`.
    pub include_system: bool,
    /// Copy `_jobs` and `_queues`.
    pub include_queues: bool,
    /// How long one answer of the primary may take during a sync, retries included.
    pub initial_sync_max_wait: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// Attempts to connect.
    pub max_connect_retries: u64,
    /// First chunk of a dump in bytes; 0 leaves it to the primary.
    pub chunk_size: u64,
    /// Fields that a copy does not look at, as they were given or by default.
    other: Map<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        let other = json!({
            "verbose": false, "skipCreateDrop": false, "autoStart": false, "autoResync": false, "autoResyncRetries": 2,
            "adaptivePolling": true, "requireFromPresent": true, "ignoreErrors": 0, "lockTimeoutRetries": 0,
            "sslProtocol": 0, "idleMinWaitTime": 1, "idleMaxWaitTime": 2.5, "connectionRetryWaitTime": 15,
        });
        Self {
            endpoint: String::new(),
            database: String::new(),
            username: String::new(),
            password: String::new(),
            jwt: String::new(),
            restrict_type: String::new(),
            restrict_collections: Vec::new(),
            incremental: false,
            include_system: true,
            include_queues: false,
            initial_sync_max_wait: Duration::from_mins(5),
            request_timeout: Duration::from_mins(10),
            connect_timeout: Duration::from_secs(10),
            max_connect_retries: 100,
            chunk_size: 0,
            other: other.as_object().cloned().unwrap_or_default(),
        }
    }
}

impl Config {
    /// Takes over the fields of a body.
    pub fn merge(&mut self, body: &Map<String, Value>) {
        let texts = [
            ("endpoint", &mut self.endpoint),
            ("database", &mut self.database),
            ("username", &mut self.username),
            ("password", &mut self.password),
            ("jwt", &mut self.jwt),
            ("restrictType", &mut self.restrict_type),
        ];
        for (name, field) in texts {
            if let Some(Value::String(text)) = body.get(name) {
                field.clone_from(text);
            }
        }
        if let Some(Value::Array(names)) = body.get("restrictCollections") {
            let names = names.iter().filter_map(Value::as_str);
            self.restrict_collections = names.map(str::to_owned).collect();
        }
        let flags = [
            ("incremental", &mut self.incremental),
            ("includeSystem", &mut self.include_system),
            ("includeFoxxQueues", &mut self.include_queues),
        ];
        for (name, field) in flags {
            if let Some(Value::Bool(flag)) = body.get(name) {
                *field = *flag;
            }
        }
        let waits = [
            ("initialSyncMaxWaitTime", &mut self.initial_sync_max_wait),
            ("requestTimeout", &mut self.request_timeout),
            ("connectTimeout", &mut self.connect_timeout),
        ];
        for (name, field) in waits {
            let seconds = body.get(name).and_then(Value::as_f64);
            let seconds = seconds.filter(|&seconds| seconds > 0.0);
            if let Some(wait) = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()) {
                *field = wait;
            }
        }
        let counts = [
            ("maxConnectRetries", &mut self.max_connect_retries),
            ("chunkSize", &mut self.chunk_size),
        ];
        for (name, field) in counts {
            if let Some(count) = body.get(name).and_then(Value::as_u64) {
                *field = count;
            }
        }
        for (name, field) in &mut self.other {
            if let Some(value) = body.get(name)
                && std::mem::discriminant(value) == std::mem::discriminant(field)
            {
                *field = value.clone();
            }
        }
    }

    /// Which collections are meant.
    ///
    /// # Errors
    /// [`BadConfig`]; an endpoint is needed, too.
    pub fn restriction(&self) -> Result<Restriction, BadConfig> {
        if self.endpoint.is_empty() {
            return Err(BadConfig::NoEndpoint);
        }
        let names = self.restrict_collections.clone();
        match (self.restrict_type.as_str(), names.is_empty()) {
            ("", true) => Ok(Restriction::None),
            ("include", false) => Ok(Restriction::Include(names)),
            ("exclude", false) => Ok(Restriction::Exclude(names)),
            ("" | "include" | "exclude", _) => Err(BadConfig::Restriction),
            _ => Err(BadConfig::RestrictType),
        }
    }

    /// Whether a collection of the primary is to be copied.
    pub fn wants(&self, restriction: &Restriction, name: &str) -> bool {
        restriction.allows(name)
            && !key::is_never_replicated(name, self.include_queues)
            && (self.include_system || !key::is_system(name))
    }

    /// What may be told of it: everything but the secrets.
    pub fn to_json(&self) -> Value {
        // Whole ones without a fraction: clients read them into integers.
        let seconds = |wait: Duration| match wait.subsec_nanos() {
            0 => Value::from(wait.as_secs()),
            _ => Value::from(wait.as_secs_f64()),
        };
        let mut members = json!({
            "endpoint": self.endpoint,
            "database": self.database,
            "username": self.username,
            "restrictType": self.restrict_type,
            "restrictCollections": self.restrict_collections,
            "incremental": self.incremental,
            "includeSystem": self.include_system,
            "includeFoxxQueues": self.include_queues,
            "initialSyncMaxWaitTime": seconds(self.initial_sync_max_wait),
            "requestTimeout": seconds(self.request_timeout),
            "connectTimeout": seconds(self.connect_timeout),
            "maxConnectRetries": self.max_connect_retries,
            "chunkSize": self.chunk_size,
        });
        for (name, value) in &self.other {
            members[name.as_str()] = value.clone();
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(body: &Value) -> Config {
        let mut config = Config::default();
        config.merge(body.as_object().unwrap());
        config
    }

    #[test]
    fn every_documented_field_has_its_default_and_is_taken_over() {
        assert_eq!(config(&json!({})), Config::default());
        let told = json!({
            "endpoint": "tcp://a:1", "database": "d", "username": "u", "incremental": true, "includeSystem": false,
            "restrictType": "include", "restrictCollections": ["a", "b"], "includeFoxxQueues": true,
            "initialSyncMaxWaitTime": 0.5, "requestTimeout": 7, "connectTimeout": 1.5, "maxConnectRetries": 3,
            "chunkSize": 4096, "verbose": true, "autoResync": true, "idleMinWaitTime": 3.5,
        });
        let config = config(&told).to_json();
        for (name, value) in told.as_object().unwrap() {
            assert_eq!(&config[name], value, "{name}");
        }
    }

    #[test]
    fn wrong_types_and_unknown_fields_are_ignored() {
        let odd = json!({
            "database": 7, "incremental": "yes", "restrictCollections": "a", "initialSyncMaxWaitTime": "7",
            "chunkSize": -1, "maxConnectRetries": [], "async": true, "progress": false, "verbose": 1,
        });
        assert_eq!(config(&odd), Config::default());
    }

    #[test]
    fn a_wait_of_nothing_is_ignored() {
        for wait in [json!(0), json!(-1), json!(-0.5)] {
            let config = config(&json!({"initialSyncMaxWaitTime": wait}));
            assert_eq!(config.initial_sync_max_wait, Duration::from_mins(5));
        }
    }

    #[test]
    fn names_and_type_of_a_restriction_belong_together() {
        let restriction = |kind: &str, names: Value| {
            config(&json!({"endpoint": "tcp://a:1", "restrictType": kind, "restrictCollections": names}))
                .restriction()
        };
        assert_eq!(restriction("", json!([])), Ok(Restriction::None));
        assert!(restriction("include", json!(["a"])).unwrap().allows("a"));
        assert!(!restriction("include", json!(["a"])).unwrap().allows("A"));
        assert!(!restriction("exclude", json!(["a"])).unwrap().allows("a"));
        assert_eq!(restriction("", json!(["a"])), Err(BadConfig::Restriction));
        assert_eq!(
            restriction("include", json!([])),
            Err(BadConfig::Restriction)
        );
        assert_eq!(
            restriction("some", json!(["a"])),
            Err(BadConfig::RestrictType)
        );
        assert_eq!(Config::default().restriction(), Err(BadConfig::NoEndpoint));
    }

    #[test]
    fn secrets_are_never_told() {
        let config =
            config(&json!({"endpoint": "tcp://a:1", "password": "CANARY", "jwt": "CANARY"}));
        assert!(!config.to_json().to_string().contains("CANARY"));
    }
}
