//! What the tests with a real listener share: a server on the sample, clients, and a proxy that breaks connections.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test ends there")]

pub(crate) mod gate;
pub(crate) mod proxy;

use std::path::Path;

use haversack_model::local::LocalReplica as _;
use haversack_model::{CollectionId, Direction, GlobalId, Policy, Record, Value};
use haversack_server::native::remote::{Credentials, Trust};
use haversack_server::native::wire::{LayerRequest, ReplicaRequest};
use haversack_server::native::{Client, NativeRemote};
use haversack_server::{Handle, Options, clock};
use haversack_sqlite::replica::ReplicaFile;
use haversack_sync::client::{Summary, synchronise};

pub(crate) const POINTS: CollectionId = CollectionId(0);

/// A server on the sample, with the administrator `editor`, password `secret`.
pub(crate) fn start(dir: &tempfile::TempDir) -> Handle {
    let options = Options {
        dir: dir.path().join("data"),
        port: Some(0),
        sample: true,
        user: Some("editor".to_owned()),
        password: Some("secret".to_owned()),
        ..Options::default()
    };
    haversack_server::start(&options).unwrap()
}

pub(crate) fn editor() -> Credentials {
    Credentials::Basic {
        user: "editor".to_owned(),
        password: "secret".to_owned(),
    }
}

pub(crate) fn client(handle: &Handle, credentials: Credentials) -> Client {
    client_at(&handle.url(), handle, credentials)
}

pub(crate) fn client_at(url: &str, handle: &Handle, credentials: Credentials) -> Client {
    let trust = Trust {
        pem: None,
        ca: Some(handle.certificate()),
        insecure: false,
        pinned: None,
    };
    Client::new(url, credentials, &trust).unwrap()
}

pub(crate) fn remote(handle: &Handle) -> NativeRemote {
    NativeRemote::new(client(handle, editor()), "WildfireSync")
}

pub(crate) fn request(name: &str, url: &str) -> ReplicaRequest {
    ReplicaRequest {
        name: name.to_owned(),
        url: url.to_owned(),
        layers: Vec::new(),
        policy: Policy::Merge,
        direction: Direction::Bidirectional,
        attachments: true,
        spatial_index: true,
        key: None,
    }
}

pub(crate) fn layer(id: u32, condition: Option<&str>) -> LayerRequest {
    LayerRequest {
        collection: CollectionId(id),
        condition: condition.map(str::to_owned),
        bbox: None,
        bbox_srid: None,
    }
}

/// Checks a replica of everything out.
pub(crate) fn checkout(remote: &NativeRemote, name: &str, path: &Path) -> ReplicaFile {
    let request = request(
        name,
        "https://localhost/arcgis/rest/services/WildfireSync/FeatureServer",
    );
    let client = remote.client();
    client
        .checkout(remote.service(), &request, path, &mut |_, _, _| {})
        .unwrap();
    ReplicaFile::open(path).unwrap()
}

pub(crate) fn sync(
    file: &mut ReplicaFile,
    remote: &mut NativeRemote,
) -> haversack_model::Result<Summary> {
    synchronise(file, remote, &clock::now, &mut |_| {})
}

/// Changes a field as a program does that knows SQL and nothing of us.
pub(crate) fn edit_with_sql(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

pub(crate) fn row(
    file: &mut ReplicaFile,
    collection: CollectionId,
    id: &GlobalId,
) -> Option<Record> {
    file.begin().unwrap().row(collection, id).unwrap()
}

/// The first record of a layer in the server's store.
pub(crate) fn any_record(handle: &Handle, collection: CollectionId) -> Record {
    use haversack_model::store::Flow;
    use haversack_model::{Filter, Query, QueryRow, Store as _};
    let store = handle.server.services.store("WildfireSync").unwrap();
    let tx = store.begin_read().unwrap();
    let mut found = None;
    tx.query(&Query::records(collection, Filter::All), &mut |row| {
        if let QueryRow::Record(one) = row {
            found = Some(one.record);
        }
        Ok(Flow::Break(()))
    })
    .unwrap();
    found.unwrap()
}

/// The record in the server's store.
pub(crate) fn stored(handle: &Handle, collection: CollectionId, id: &GlobalId) -> Option<Record> {
    use haversack_model::Store as _;
    let store = handle.server.services.store("WildfireSync").unwrap();
    let tx = store.begin_read().unwrap();
    tx.record(collection, id).unwrap().map(|v| v.record)
}

/// Whether a replica holds what the server has for it, row for row.
pub(crate) fn is_equal(file: &ReplicaFile, remote: &NativeRemote) -> bool {
    let header = file.header().unwrap();
    let digests = remote
        .client()
        .digests(remote.service(), header.id)
        .unwrap();
    digests
        .collections
        .iter()
        .all(|one| file.digest(one.collection).unwrap() == one.digest)
}

pub(crate) fn text(value: &str) -> Value {
    Value::from(value)
}
