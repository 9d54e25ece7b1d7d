//! What apps keep by namespace and key.

use serde_json::json;

use crate::web::Client;

#[tokio::test]
async fn entries_are_made_replaced_listed_and_removed() {
    let client = Client::new().await.user("ada");
    let (space, entry) = ("/api/dataStore/my-app", "/api/dataStore/my-app/a%20key.v1");
    assert_eq!(client.get(space).await.status, 404);
    assert_eq!(client.get(entry).await.status, 404);
    assert_eq!(
        client.post(entry, json!({"a": [1, null]})).await.status,
        201
    );
    assert_eq!(
        client.post(entry, json!(2)).await.status,
        409,
        "it is there"
    );
    assert_eq!(client.json(entry).await, json!({"a": [1, null]}));
    assert_eq!(client.send("PUT", entry, "\"text\"").await.status, 200);
    assert_eq!(client.json(entry).await, json!("text"));
    assert_eq!(
        client
            .send("PUT", &format!("{space}/b"), "true")
            .await
            .status,
        201
    );
    assert_eq!(
        client
            .send("PUT", "/api/dataStore/my-app2/b", "1")
            .await
            .status,
        201
    );
    assert_eq!(client.json(space).await, json!(["a key.v1", "b"]));
    assert_eq!(
        client.json("/api/dataStore").await,
        json!(["my-app", "my-app2"])
    );
    assert_eq!(client.send("DELETE", entry, "").await.status, 200);
    assert_eq!(client.send("DELETE", entry, "").await.status, 404);
    assert_eq!(client.send("DELETE", space, "").await.status, 200);
    assert_eq!(client.json("/api/dataStore").await, json!(["my-app2"]));
}

#[tokio::test]
async fn who_may_only_read_does_not_write_and_bad_names_and_values_are_refused() {
    let client = Client::new().await;
    assert_eq!(
        client.post("/api/dataStore/a/b", json!(1)).await.status,
        201
    );
    let eve = client.user("eve");
    assert_eq!(eve.json("/api/dataStore/a/b").await, json!(1));
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(
            eve.send(method, "/api/dataStore/a/b", "2").await.status,
            403,
            "{method}"
        );
    }
    assert_eq!(
        client
            .user("mallory")
            .get("/api/dataStore/a/b")
            .await
            .status,
        403
    );
    assert_eq!(client.get("/api/dataStore/a.b").await.status, 400);
    assert_eq!(
        client
            .send("PUT", "/api/dataStore/a/b", "{no json")
            .await
            .status,
        400
    );
    assert_eq!(client.json("/api/dataStore/a/b").await, json!(1));
}
