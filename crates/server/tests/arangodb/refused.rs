//! What is not offered, and how it is said.

use serde_json::json;

use crate::{ask, start};

#[test]
fn what_is_not_offered_is_refused_with_a_number_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder);
    let shop = json!({"name": "shop"});
    assert_eq!(ask(&server, "POST", "/_api/database", shop).0, 201);
    let ada = json!({"user": "ada", "passwd": "secret"});
    assert_eq!(ask(&server, "POST", "/_api/user", ada).0, 201);
    let order = json!({"endpoint": "tcp://127.0.0.1:1"});
    for (path, body, status, number, said) in [
        (
            "/_api/user/ada",
            json!({"active": false, "passwd": "another"}),
            501,
            9,
            "remove the user",
        ),
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
