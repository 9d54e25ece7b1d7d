//! Grants of single collections: every operation that touches one, with every level that a user may have of it.

use haversack_model::{CollectionId, Level, Right};
use serde_json::json;

use crate::web::{Client, Told};

/// What an operation needs of the collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// To see its documents.
    See,
    /// To change its documents.
    Edit,
    /// To change what it is.
    Alter,
}
use Needs::{Alter, Edit, See};

/// Every operation that names a collection: method, path, body. `{c}` is its name, `{id}` its number, `{b}` a batch, `{rev}` the
/// revision of its document `k`.
const OPERATIONS: &[(&str, &str, &str, Needs)] = &[
    ("GET", "/_api/collection/{c}", "", See),
    ("GET", "/_api/collection/{id}", "", See),
    ("GET", "/_api/collection/{c}/properties", "", See),
    ("GET", "/_api/collection/{c}/count", "", See),
    ("GET", "/_api/collection/{c}/figures", "", See),
    ("GET", "/_api/collection/{c}/revision", "", See),
    ("GET", "/_api/collection/{c}/checksum", "", See),
    ("GET", "/_api/collection/{c}/shards", "", See),
    ("PUT", "/_api/collection/{c}/load", "", See),
    ("PUT", "/_api/collection/{c}/unload", "", See),
    ("PUT", "/_api/collection/{c}/recalculateCount", "", See),
    ("PUT", "/_api/collection/{c}/loadIndexesIntoMemory", "", See),
    ("PUT", "/_api/collection/{c}/compact", "", See),
    ("GET", "/_api/document/{c}/k", "", See),
    ("HEAD", "/_api/document/{c}/k", "", See),
    ("PUT", "/_api/document/{c}?onlyget=true", r#"["k"]"#, See),
    ("GET", "/_api/index?collection={c}", "", See),
    ("GET", "/_api/index/{c}/0", "", See),
    (
        "POST",
        "/_api/cursor",
        r#"{"query":"FOR d IN {c} RETURN d"}"#,
        See,
    ),
    (
        "POST",
        "/_api/cursor",
        r#"{"query":"FOR d IN @@x RETURN d","bindVars":{"@x":"{c}"}}"#,
        See,
    ),
    (
        "GET",
        "/_api/replication/dump?collection={c}&batchId={b}",
        "",
        See,
    ),
    (
        "GET",
        "/_api/replication/dump?collection={id}&batchId={b}",
        "",
        See,
    ),
    (
        "POST",
        "/_api/replication/keys?collection={c}&batchId={b}",
        "",
        See,
    ),
    ("GET", "/_api/replication/keys/{b}-{id}", "", See),
    (
        "PUT",
        "/_api/replication/keys/{b}-{id}?type=keys&chunk=0&chunkSize=5000&low=k",
        "",
        See,
    ),
    (
        "PUT",
        "/_api/replication/keys/{b}-{id}?type=docs&chunk=0&chunkSize=5000&low=k",
        "[0]",
        See,
    ),
    (
        "GET",
        "/_api/replication/revisions/tree?collection={c}&batchId={b}",
        "",
        See,
    ),
    (
        "POST",
        "/_api/replication/revisions/tree?collection={c}&batchId={b}",
        "",
        See,
    ),
    (
        "PUT",
        "/_api/replication/revisions/ranges?collection={c}&batchId={b}",
        r#"[["_bpq8a-----","_zzzzzzzzzz"]]"#,
        See,
    ),
    (
        "PUT",
        "/_api/replication/revisions/documents?collection={c}&batchId={b}",
        r#"["{rev}"]"#,
        See,
    ),
    ("POST", "/_api/document/{c}", r#"{"x":1}"#, Edit),
    ("POST", "/_api/document?collection={c}", r#"{"x":1}"#, Edit),
    ("POST", "/_api/document/{c}", r#"[{"x":1}]"#, Edit),
    ("PUT", "/_api/document/{c}", r#"[{"_key":"k","x":1}]"#, Edit),
    (
        "PATCH",
        "/_api/document/{c}",
        r#"[{"_key":"k","x":1}]"#,
        Edit,
    ),
    ("DELETE", "/_api/document/{c}", r#"["k"]"#, Edit),
    ("PUT", "/_api/document/{c}/k", r#"{"x":1}"#, Edit),
    ("PATCH", "/_api/document/{c}/k", r#"{"x":1}"#, Edit),
    ("DELETE", "/_api/document/{c}/k", "", Edit),
    (
        "POST",
        "/_api/import?collection={c}&type=list",
        r#"[{"x":1}]"#,
        Edit,
    ),
    ("PUT", "/_api/collection/{c}/truncate", "", Edit),
    (
        "PUT",
        "/_api/collection/{c}/properties",
        r#"{"waitForSync":true}"#,
        Alter,
    ),
    (
        "PUT",
        "/_api/collection/{c}/rename",
        r#"{"name":"{c}x"}"#,
        Alter,
    ),
    (
        "POST",
        "/_api/index?collection={c}",
        r#"{"type":"persistent","fields":["y"]}"#,
        Alter,
    ),
    ("DELETE", "/_api/index/{c}/by_x", "", Alter),
    ("DELETE", "/_api/collection/{c}", "", Alter),
];

/// What lists collections: one that may not be seen is not in it.
const LISTS: &[&str] = &[
    "/_api/collection",
    "/_api/replication/inventory?batchId={b}",
    "/_api/replication/inventory?batchId={b}&global=true",
    "/_api/wal/tail?from=0",
    "/_api/wal/tail?from=0&collection={c}",
    "/_api/replication/logger-follow?from=0",
];

struct Ground {
    client: Client,
    /// Collections made so far.
    made: u32,
}

impl Ground {
    /// A collection with a document and an index; what its placeholders stand for.
    async fn collection(&mut self) -> Vec<(&'static str, String)> {
        let name = format!("secret{:04}", self.made);
        self.made += 1;
        self.client
            .fill(&name, json!([{"_key": "k", "n": 1}]))
            .await;
        let index = json!({"type": "persistent", "fields": ["x"], "name": "by_x"});
        let told = self
            .client
            .post(&format!("/_api/index?collection={name}"), index)
            .await;
        assert_eq!(told.status, 201, "{}", told.text);
        let found = self.client.get(&format!("/_api/collection/{name}")).await;
        let document = self.client.get(&format!("/_api/document/{name}/k")).await;
        let batch = self
            .client
            .post("/_api/replication/batch", json!({"ttl": 600}))
            .await;
        let text = |told: &Told, member: &str| told.json()[member].as_str().unwrap().to_owned();
        vec![
            ("{id}", text(&found, "id")),
            ("{b}", text(&batch, "id")),
            ("{rev}", text(&document, "_rev")),
            ("{c}", name),
        ]
    }
}

fn filled(template: &str, with: &[(&'static str, String)]) -> String {
    with.iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
}

#[tokio::test]
async fn every_operation_asks_for_the_grant_of_the_collection_that_it_names() {
    let mut ground = Ground {
        client: Client::new(),
        made: 0,
    };
    let all = [Right::Read, Right::Edit, Right::Sync, Right::Publish];
    let reader = [Right::Read, Right::Sync];
    for rights in [&all[..], &reader, &[]] {
        for level in [
            None,
            Some(Level::None),
            Some(Level::Read),
            Some(Level::Write),
        ] {
            let mut with = ground.collection().await;
            for is_named in [true, false] {
                for (method, path, body, needs) in OPERATIONS {
                    let id: u32 = with[0].1.parse().unwrap();
                    let of = is_named.then(|| CollectionId(id - 1));
                    let levels: Vec<_> = level.map(|level| (of, level)).into_iter().collect();
                    ground.client.host.grant("ada", rights, &levels);
                    let before = ground.client.host.mark();
                    let (path, body) = (filled(path, &with), filled(body, &with));
                    let told = ground
                        .client
                        .user("ada")
                        .send(method, &path, &[], &body)
                        .await;
                    let is_granted = match (needs, level) {
                        (_, Some(Level::None)) => false,
                        (See, _) => true,
                        (Edit, None) => rights.contains(&Right::Edit),
                        (Edit, Some(level)) => level == Level::Write,
                        (Alter, level) => {
                            rights.contains(&Right::Publish) && level != Some(Level::Read)
                        }
                    };
                    let is_granted = is_granted && !rights.is_empty();
                    let what =
                        format!("{method} {path} with {rights:?} and {level:?}, named {is_named}");
                    if is_granted {
                        assert!(told.status < 300, "{what}: {} {}", told.status, told.text);
                    } else {
                        assert_eq!(told.status, 403, "{what}: {}", told.text);
                        assert!(*method == "HEAD" || told.error() == (403, 11), "{what}");
                        assert_eq!(ground.client.host.mark(), before, "{what}");
                    }
                    if is_granted && *needs != See {
                        with = ground.collection().await;
                    }
                }
                for path in LISTS {
                    let path = filled(path, &with);
                    let told = ground.client.user("ada").get(&path).await;
                    let is_seen = level != Some(Level::None) && !rights.is_empty();
                    let name = format!("\"{}", with[3].1);
                    assert_eq!(
                        told.text.contains(&name),
                        is_seen,
                        "{path} with {rights:?} and {level:?}, named {is_named}: {}",
                        told.text
                    );
                }
            }
        }
    }
}

#[test]
fn operations_reach_collections_only_through_what_asks_for_the_grant() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let face = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/face");
    let mut found = Vec::new();
    files(&face, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for path in found {
        // `call` is where it is asked, `grants` is for administrators alone.
        let asks = ["call.rs", "grants.rs"]
            .iter()
            .any(|name| path.ends_with(name));
        let text = std::fs::read_to_string(&path).unwrap();
        for shortcut in [
            "known::find(",
            "known::all(",
            ".collection_named(",
            "use crate::known::{find",
            "use crate::known::{all",
        ] {
            assert!(
                asks || !text.contains(shortcut),
                "{} reaches a collection by `{shortcut}`: use Opened::find, find_writable, find_alterable or visible",
                path.display()
            );
        }
    }
}

#[tokio::test]
async fn a_query_that_is_open_ends_when_its_collection_is_taken_away() {
    let client = Client::new();
    let all = (0..10).map(|n| json!({"_key": format!("k{n}")}));
    client.fill("c", all.collect()).await;
    let reader = client.user("ada");
    let query = json!({"query": "FOR d IN c RETURN d", "batchSize": 2});
    let told = reader.post("/_api/cursor", query).await.json();
    let path = format!("/_api/cursor/{}", told["id"].as_str().unwrap());
    assert_eq!(reader.put(&path, json!({})).await.status, 200);
    let levels = [(Some(CollectionId(0)), Level::None)];
    client.host.grant("ada", &[Right::Read], &levels);
    assert_eq!(reader.put(&path, json!({})).await.error(), (404, 1600));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_replaces_only_what_its_giver_may_replace() {
    let (here, there) = (Client::new(), Client::new());
    here.fill("c", json!([{"_key": "new"}])).await;
    there.fill("c", json!([{"_key": "old"}])).await;
    let primary = here.listen().await;
    let all = [Right::Read, Right::Edit, Right::Sync, Right::Publish];
    let orderer = there.user("ada");
    let before = there.host.fingerprint();
    for of in [Some(CollectionId(0)), None] {
        for level in [Level::None, Level::Read] {
            there.host.grant("ada", &all, &[(of, level)]);
            let told = orderer.sync(&primary, &["c"], json!({})).await;
            assert_eq!(told.error(), (403, 11), "{of:?} {level:?}: {}", told.text);
            assert_eq!(there.host.fingerprint(), before);
        }
    }
    // One that is not here has the level of those that are not named.
    here.fill("d", json!([{"_key": "d"}])).await;
    let levels = [(None, Level::Read), (Some(CollectionId(0)), Level::Write)];
    there.host.grant("ada", &all, &levels);
    let told = orderer.sync(&primary, &["d"], json!({})).await;
    assert_eq!(told.error(), (403, 11), "{}", told.text);
    assert_eq!(there.host.fingerprint(), before);
    let told = orderer.sync(&primary, &["c"], json!({})).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(there.all("c").await, here.all("c").await);
}
