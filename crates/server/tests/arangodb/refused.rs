//! What is not offered, and how it is said.

use serde_json::json;

use crate::{ask, start};

#[test]
fn what_is_not_offered_is_refused_with_a_number_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder);
    for (path, body) in [("/_api/database", json!({"name": "shop"}))] {
        assert!(ask(&server, "POST", path, body).0 < 300, "{path}");
    }
    let order = json!({"endpoint": "tcp://127.0.0.1:1"});
    for (path, body, status, number, said) in [
        (
            "/_api/replication/sync?global=true",
            order.clone(),
            501,
            9,
            "/_db/<name>/_api/replication/sync",
        ),
        (
            "/_db/shop/_api/replication/sync?global=true",
            order,
            403,
            11,
            "system database",
        ),
    ] {
        let (found, told) = ask(&server, "PUT", path, body);
        assert_eq!(
            (found, &told["errorNum"]),
            (status, &json!(number)),
            "{path}: {told}"
        );
        assert!(
            told["errorMessage"].as_str().unwrap().contains(said),
            "{told}"
        );
    }
}
