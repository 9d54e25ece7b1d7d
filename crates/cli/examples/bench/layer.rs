//! The rows that are measured with: points with ten attributes, made from their number, and the server that has them.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use haversack_model::schema::{CollectionKind, GeometryColumn, GeometryKind};
use haversack_model::{
    Collection, CollectionId, Field, FieldType, Geometry, GlobalId, Position, Record, Service,
    Shape, Store as _, Timestamp, Value,
};
use haversack_server::native::Client;
use haversack_server::native::remote::{Credentials, Trust};
use haversack_sqlite::SqliteStore;
use serde_json::Value as Json;
use uuid::Uuid;

/// Name of the large service, and its rows.
pub(crate) const BIG: &str = "Million";
/// How many rows the large service has.
pub(crate) const LARGE: u64 = 1_000_000;
/// Name of the small service.
pub(crate) const TINY: &str = "TenThousand";
/// How many rows the small service has.
pub(crate) const SMALL: u64 = 10_000;
/// The one layer of both.
pub(crate) const LAYER: CollectionId = CollectionId(0);
/// Its table on the server.
pub(crate) const TABLE: &str = "points";
const BATCH: u64 = 10_000;
pub(crate) const USER: &str = "bench";
pub(crate) const PASSWORD: &str = "bench-bench";

/// The definition of the layer.
pub(crate) fn collection() -> Collection {
    let kinds = [
        ("name", FieldType::String),
        ("category", FieldType::String),
        ("remarks", FieldType::String),
        ("owner", FieldType::String),
        ("count", FieldType::Integer),
        ("population", FieldType::BigInteger),
        ("height", FieldType::Double),
        ("width", FieldType::Double),
        ("checked_at", FieldType::Date),
        ("rank", FieldType::SmallInteger),
    ];
    let field = |(name, kind): (&str, FieldType)| Field {
        name: name.to_owned(),
        alias: name.to_owned(),
        kind,
        length: None,
        nullable: true,
        editable: true,
        domain: None,
        default: Value::Null,
    };
    Collection {
        id: LAYER,
        name: "Points".to_owned(),
        table: TABLE.to_owned(),
        kind: CollectionKind::Layer,
        description: String::new(),
        object_id_field: "OBJECTID".to_owned(),
        global_id_field: "GlobalID".to_owned(),
        display_field: Some("name".to_owned()),
        geometry: Some(GeometryColumn {
            name: "geom".to_owned(),
            kind: GeometryKind::Point,
            srid: 4326,
            has_z: false,
            has_m: false,
        }),
        fields: kinds.into_iter().map(field).collect(),
        has_attachments: false,
        relationships: Vec::new(),
        editor_fields: None,
        max_record_count: 2000,
        indexes: Vec::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

/// Row number `n`. Its place and values are spread by a multiplicative hash, the same on every run.
pub(crate) fn record(n: u64) -> Record {
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let unit = |bits: u64| (bits & 0xffff_ffff) as f64 / f64::from(u32::MAX);
    let (x, y) = (
        unit(spread) * 360.0 - 180.0,
        unit(spread >> 32) * 170.0 - 85.0,
    );
    Record {
        global_id: GlobalId::Uuid(Uuid::from_u128((u128::from(spread) << 64) | u128::from(n))),
        object_id: None,
        values: vec![
            Value::Text(format!("point {n}")),
            Value::Text(format!("category {}", n % 17)),
            Value::Text(format!("seen from the road, number {spread:x}")),
            Value::Text(format!("owner {}", n % 1009)),
            Value::Integer((n % 1000) as i64),
            Value::Integer((spread >> 20) as i64),
            Value::Real(unit(spread >> 7) * 100.0),
            Value::Real(unit(spread >> 13) * 10.0),
            Value::Integer(1_780_000_000_000 + (n as i64) * 1000),
            Value::Integer((n % 5) as i64),
        ],
        geometry: Some(Geometry::from_shape(&Shape::Point(Some(Position::xy(
            x, y,
        ))))),
    }
}

/// The service with that layer alone.
pub(crate) fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        title: name.to_owned(),
        description: String::new(),
        copyright: String::new(),
        capabilities: ["Create", "Delete", "Query", "Sync", "Update", "Editing"]
            .map(str::to_owned)
            .to_vec(),
        srid: 4326,
        schema_version: 1,
        collections: vec![collection()],
    }
}

/// Writes a service file with so many rows.
pub(crate) fn publish(services: &Path, name: &str, rows: u64) -> Result<()> {
    let store = SqliteStore::create(services.join(format!("{name}.gpkg")), &service(name))?;
    let mut next = 0;
    while next < rows {
        let mut tx = store.begin_write(Timestamp(1_780_000_000_000))?;
        for n in next..rows.min(next + BATCH) {
            tx.put(LAYER, &record(n), None)?;
        }
        tx.commit()?;
        next += BATCH;
    }
    Ok(())
}

/// The real program, serving.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    url: String,
}

impl Child {
    /// Starts it on a free port.
    pub(crate) fn start(data: &Path) -> Result<Self> {
        Self::start_with(data, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(data: &Path, more: &[&str]) -> Result<Self> {
        let mut process = Command::new(program()?)
            .args(["--json", "serve"])
            .arg(data)
            .args(["--port", "0", "--user", USER, "--password", PASSWORD])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let out = process.stdout.take().context("it has an output")?;
        BufReader::new(out).read_line(&mut line)?;
        let told: Json = serde_json::from_str(&line).context("the server did not start")?;
        let url = told["url"]
            .as_str()
            .context("it names its address")?
            .to_owned();
        Ok(Self { process, url })
    }

    /// A client of it, as its administrator.
    pub(crate) fn client(&self) -> Result<Client> {
        let credentials = Credentials::Basic {
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
        };
        Ok(Client::new(&self.url, credentials, &Trust::default())?)
    }

    /// Number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// URL of a service.
    pub(crate) fn service_url(&self, service: &str) -> String {
        format!("{}/arcgis/rest/services/{service}/FeatureServer", self.url)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let (_scheme, address) = self.url.split_once("://").context("it is a URL")?;
        Ok(address.trim_end_matches('/').parse()?)
    }

    /// CPU seconds that it used, of the kernel as well.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_name, after) = stat.rsplit_once(')').context("Linux tells the CPU time")?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = |at: usize| -> Result<f64> {
            let field = fields.get(at).context("Linux tells the CPU time")?;
            Ok(field.parse()?)
        };
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }

    /// Lets the peak of its memory begin anew.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        Ok(std::fs::write(
            format!("/proc/{}/clear_refs", self.process.id()),
            "5",
        )?)
    }

    /// The most memory that it had since that began, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        peak_of(self.process.id())
    }
}

/// The most memory that a process had, in bytes.
pub(crate) fn peak_of(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("Linux tells the peak")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

impl Drop for Child {
    fn drop(&mut self) {
        // Its work is thrown away with the folder.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// The command, beside which the examples are built.
pub(crate) fn program() -> Result<PathBuf> {
    let examples = std::env::current_exe()?;
    let release = examples
        .parent()
        .and_then(Path::parent)
        .context("the example lies in the build folder")?;
    Ok(release.join("haversack"))
}
