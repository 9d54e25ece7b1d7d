//! The header of a replica file, as rows that people can read.

use haversack_model::local::ReplicaHeader;
use haversack_model::{
    BatchNumber, Cursor, Direction, Generation, Policy, Result, Seal, Timestamp,
};
use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::{Doing, damaged};
use super::migrate;

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|why| damaged("haversack_header", why))
}

/// Writes all of the header.
pub(crate) fn store(conn: &Connection, header: &ReplicaHeader) -> Result<()> {
    let sql = "INSERT INTO haversack_header (name, value) VALUES (?1, ?2) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    let rows = [
        ("format", Some(migrate::NEWEST.to_string())),
        ("replica", Some(header.id.to_string())),
        ("name", Some(header.name.clone())),
        ("url", Some(header.url.clone())),
        ("protocol", Some(header.protocol.clone())),
        ("history", Some(header.cursor.history.to_string())),
        ("generation", Some(header.cursor.generation.to_string())),
        ("seal", header.cursor.seal.map(Seal::to_hex)),
        ("layer_generations", Some(json(&header.layer_cursors)?)),
        ("direction", Some(json(&header.direction)?)),
        ("policy", Some(json(&header.policy)?)),
        ("next_batch", Some(header.next_batch.to_string())),
        ("schema_version", Some(header.schema_version.to_string())),
        ("resyncing", Some(json(&header.resyncing)?)),
        ("download", Some(json(&header.download)?)),
        ("ahead", Some(json(&header.ahead)?)),
        ("synced_at_ms", header.synced_at.map(|at| at.to_string())),
        ("filter", Some(header.filter.clone())),
    ];
    let doing = "writing the header";
    let mut statement = conn.prepare_cached(sql).doing(doing)?;
    for (name, value) in rows {
        statement.execute(params![name, value]).doing(doing)?;
    }
    Ok(())
}

/// Reads the header.
pub(crate) fn load(conn: &Connection) -> Result<ReplicaHeader> {
    let doing = "reading the header";
    let rows: std::collections::HashMap<String, Option<String>> = conn
        .prepare_cached("SELECT name, value FROM haversack_header")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .doing(doing)?;
    let header = Rows(rows);
    migrate::check(header.text("format")?)?;
    Ok(ReplicaHeader {
        id: header.parsed("replica")?,
        name: header.text("name")?.to_owned(),
        url: header.text("url")?.to_owned(),
        protocol: header.text("protocol")?.to_owned(),
        cursor: Cursor {
            history: header.parsed("history")?,
            generation: Generation(header.parsed("generation")?),
            seal: match header.0.get("seal") {
                Some(Some(text)) => Some(seal("haversack_header", text)?),
                _ => None,
            },
        },
        layer_cursors: header.json("layer_generations")?,
        direction: header.json::<Direction>("direction")?,
        policy: header.json::<Policy>("policy")?,
        next_batch: BatchNumber(header.parsed("next_batch")?),
        schema_version: header.parsed("schema_version")?,
        resyncing: header.json("resyncing")?,
        download: header.json("download")?,
        ahead: match header.0.get("ahead") {
            Some(Some(_)) => header.json("ahead")?,
            // An older program wrote the file.
            _ => haversack_model::Versions::default(),
        },
        synced_at: match header.0.get("synced_at_ms") {
            Some(Some(_)) => Some(Timestamp(header.parsed("synced_at_ms")?)),
            _ => None,
        },
        filter: header.text("filter")?.to_owned(),
    })
}

/// Reads a seal.
pub(crate) fn seal(place: &str, text: &str) -> Result<Seal> {
    Seal::from_hex(text).ok_or_else(|| damaged(place, format!("seal {text:?}")))
}

struct Rows(std::collections::HashMap<String, Option<String>>);

impl Rows {
    fn text(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .and_then(Option::as_deref)
            .ok_or_else(|| damaged("haversack_header", format!("{name} is missing")))
    }
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T> {
        self.text(name)?
            .parse()
            .map_err(|why| damaged("haversack_header", format!("{name}: {why}")))
    }
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_str(self.text(name)?)
            .map_err(|why| damaged("haversack_header", format!("{name}: {why}")))
    }
}
