//! Attachments while online.

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code};

async fn add(client: &Client, name: &str, content: &[u8]) -> Value {
    let file = ("attachment", name, content);
    let answer = client
        .post_file(
            "0/1/addAttachment",
            &[("f", "json"), ("keywords", "bark")],
            file,
        )
        .await;
    assert_eq!(answer["addAttachmentResult"]["success"], true, "{answer}");
    answer["addAttachmentResult"].clone()
}

#[tokio::test]
async fn an_attachment_is_added_listed_fetched_changed_and_deleted() {
    let client = Client::new().user("ada");
    let added = add(&client, "leaf.png", b"not really a picture").await;
    let id = added["objectId"].as_i64().unwrap();
    let list = client
        .get(&format!("{SERVICE}/0/1/attachments?f=json"))
        .await;
    let info = &list["attachmentInfos"][0];
    assert_eq!(
        (&info["id"], &info["name"], &info["size"]),
        (&json!(id), &json!("leaf.png"), &json!(20))
    );
    assert_eq!(
        (&info["contentType"], &info["parentGlobalId"]),
        (&json!("image/png"), &json!(gid_text(1)))
    );
    assert_eq!(
        (&info["globalId"], &info["keywords"]),
        (&added["globalId"], &json!("bark"))
    );

    let path = format!("{SERVICE}/0/1/attachments/{id}");
    let (parts, body) = client.fetch(&path).await;
    assert_eq!(body, b"not really a picture");
    assert_eq!(parts.headers["content-type"], "image/png");
    assert!(
        parts.headers["content-disposition"]
            .to_str()
            .unwrap()
            .contains("leaf.png")
    );
    assert_eq!(
        parts.headers["content-security-policy"],
        "sandbox; default-src 'none'"
    );

    let params = [("attachmentId", id.to_string())];
    let params: Vec<_> = params
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let changed = client
        .post_file(
            "0/1/updateAttachment",
            &params,
            ("attachment", "bud.txt", b"bud"),
        )
        .await;
    assert_eq!(
        changed["updateAttachmentResult"]["globalId"], added["globalId"],
        "{changed}"
    );
    assert_eq!(client.fetch(&path).await.1, b"bud");

    let ids = format!("{id},999");
    let gone = client
        .post("0/1/deleteAttachments", &[("attachmentIds", &ids)])
        .await;
    assert_eq!(gone["deleteAttachmentResults"][0]["success"], true);
    assert_eq!(gone["deleteAttachmentResults"][1]["success"], false);
    let list = client
        .get(&format!("{SERVICE}/0/1/attachments?f=json"))
        .await;
    assert_eq!(list, json!({"attachmentInfos": []}));
}

#[tokio::test]
async fn what_a_browser_would_run_is_sent_as_bytes() {
    let client = Client::new().user("ada");
    let added = add(&client, "page.html", b"<script>alert(1)</script>").await;
    let path = format!("{SERVICE}/0/1/attachments/{}", added["objectId"]);
    let (parts, _) = client.fetch(&path).await;
    assert_eq!(parts.headers["content-type"], "application/octet-stream");
}

#[tokio::test]
async fn attachments_are_queried_over_many_features() {
    let client = Client::new().user("ada");
    add(&client, "a.png", b"12345").await;
    add(&client, "b.txt", b"1").await;
    let ask = async |params: &[(&str, &str)]| {
        let answer = client.post("0/queryAttachments", params).await;
        let groups = answer["attachmentGroups"].as_array().unwrap().clone();
        groups
            .iter()
            .map(|g| g["attachmentInfos"].as_array().map_or(0, Vec::len))
            .sum::<usize>()
    };
    assert_eq!(ask(&[("definitionExpression", "1=1")]).await, 2);
    assert_eq!(
        ask(&[("objectIds", "1"), ("attachmentTypes", "image/png")]).await,
        1
    );
    assert_eq!(
        ask(&[("globalIds", &gid_text(1)), ("size", "2,10")]).await,
        1
    );
    assert_eq!(ask(&[("objectIds", "2")]).await, 0);
    assert_eq!(
        ask(&[("definitionExpression", "1=1"), ("keywords", "bark")]).await,
        2
    );
    let counted = client
        .post(
            "0/queryAttachments",
            &[("objectIds", "1"), ("returnCountOnly", "true")],
        )
        .await;
    assert_eq!(counted["attachmentGroups"][0]["count"], 2);
    let urls = client
        .post(
            "0/queryAttachments",
            &[("objectIds", "1"), ("returnUrl", "true")],
        )
        .await;
    let url = crate::web::path_of(&urls["attachmentGroups"][0]["attachmentInfos"][0]["url"]);
    assert_eq!(client.fetch(&url).await.1, b"12345");
}

#[tokio::test]
async fn apply_edits_carries_attachments_with_their_own_ids() {
    let client = Client::new().user("ada");
    let id = gid_text(0xa1);
    let attachments = json!({"adds": [{
        "globalId": id, "parentGlobalId": gid_text(2), "name": "x.bin", "contentType": "application/pdf", "data": "aGVsbG8=",
    }]})
    .to_string();
    let params = [
        ("attachments", attachments.as_str()),
        ("useGlobalIds", "true"),
    ];
    let answer = client.post("0/applyEdits", &params).await;
    let result = &answer["attachments"]["addResults"][0];
    assert_eq!(
        (&result["success"], &result["globalId"]),
        (&json!(true), &json!(id)),
        "{answer}"
    );
    let path = format!("{SERVICE}/0/2/attachments/{}", result["objectId"]);
    assert_eq!(client.fetch(&path).await.1, b"hello");
    let deletes = json!({"deletes": [id]}).to_string();
    let answer = client
        .post(
            "0/applyEdits",
            &[("attachments", &deletes), ("useGlobalIds", "true")],
        )
        .await;
    assert_eq!(answer["attachments"]["deleteResults"][0]["success"], true);
    assert_eq!(code(&client.get(&path).await), 404);
}

#[tokio::test]
async fn an_attachment_without_a_parent_or_from_a_url_is_refused() {
    let client = Client::new().user("ada");
    let before = client.host.fingerprint();
    for (attachment, code) in [
        (
            json!({"parentGlobalId": gid_text(999), "name": "x", "data": "aA=="}),
            1011,
        ),
        (
            json!({"parentGlobalId": gid_text(1), "name": "x", "url": "http://127.0.0.1/secret"}),
            1017,
        ),
        (
            json!({"parentGlobalId": gid_text(1), "name": "x", "data": "?"}),
            1017,
        ),
        (
            json!({"parentGlobalId": gid_text(1), "name": "x", "uploadId": "i0"}),
            1017,
        ),
        (json!({"name": "x", "data": "aA=="}), 1017),
    ] {
        let attachments = json!({"adds": [attachment]}).to_string();
        let answer = client
            .post(
                "0/applyEdits",
                &[("attachments", &attachments), ("useGlobalIds", "true")],
            )
            .await;
        assert_eq!(
            answer["attachments"]["addResults"][0]["error"]["code"], code,
            "{answer}"
        );
        assert_eq!(client.host.fingerprint(), before);
    }
    assert_eq!(
        code(&client.get(&format!("{SERVICE}/1/1/attachments")).await),
        400
    );
}
