//! Uploads in one part and in many.

use serde_json::{Value, json};

use crate::web::{Client, SERVICE, code};

fn id(answer: &Value) -> String {
    answer["item"]["itemID"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

#[tokio::test]
async fn a_file_is_uploaded_whole() {
    let client = Client::new().user("ada");
    let params = [
        ("filename", "edits.json"),
        ("description", "of today"),
        ("f", "json"),
    ];
    let answer = client
        .post_file("uploads/upload", &params, ("file", "x", b"{}"))
        .await;
    assert_eq!(
        (&answer["success"], &answer["item"]["committed"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(answer["item"]["itemName"], "edits.json");
    let info = client
        .get(&format!("{SERVICE}/uploads/{}?f=json", id(&answer)))
        .await;
    assert_eq!(info, answer["item"]);
}

#[tokio::test]
async fn parts_are_joined_in_the_order_of_the_commit() {
    let client = Client::new().user("ada");
    let item = id(&client
        .post("uploads/register", &[("itemName", "photo.jpg")])
        .await);
    for (number, content) in [("2", b"world"), ("1", b"xxxxx"), ("1", b"hello")] {
        let path = format!("uploads/{item}/uploadPart");
        let answer = client
            .post_file(&path, &[("partId", number)], ("file", "p", content))
            .await;
        assert_eq!(answer["success"], true, "{answer}");
    }
    let parts = client
        .get(&format!("{SERVICE}/uploads/{item}/parts?f=json"))
        .await;
    assert_eq!(parts, json!({"parts": ["1", "2"]}));
    let unfinished = client
        .post("0/1/addAttachment", &[("uploadId", &item)])
        .await;
    assert!(
        unfinished.to_string().contains("not committed"),
        "{unfinished}"
    );
    let missing = client
        .post(&format!("uploads/{item}/commit"), &[("parts", "1,2,3")])
        .await;
    assert!(missing.to_string().contains("'parts'"), "{missing}");
    for _ in 0..2 {
        let answer = client
            .post(&format!("uploads/{item}/commit"), &[("parts", "1,2")])
            .await;
        assert_eq!(
            answer["item"]["committed"], true,
            "asking twice does no harm"
        );
    }
    let added = client
        .post("0/1/addAttachment", &[("uploadId", &item)])
        .await;
    let attachment = &added["addAttachmentResult"]["objectId"];
    let (parts, body) = client
        .fetch(&format!("{SERVICE}/0/1/attachments/{attachment}"))
        .await;
    assert_eq!(body, b"helloworld");
    assert_eq!(parts.headers["content-type"], "image/jpeg");
}

#[tokio::test]
async fn an_upload_is_its_senders_alone_and_can_be_deleted() {
    let ada = Client::new().user("ada");
    let bob = ada.user("bob");
    let item = id(&ada
        .post_file("uploads/upload", &[("f", "json")], ("file", "x", b"{}"))
        .await);
    for path in [
        format!("uploads/{item}"),
        format!("uploads/{item}/delete"),
        format!("uploads/{item}/commit"),
    ] {
        assert_eq!(
            code(&bob.post(&path, &[("f", "json")]).await),
            404,
            "{path}"
        );
    }
    let bare = item.trim_start_matches('i');
    assert_eq!(
        code(&ada.get(&format!("/arcgis/rest/files/{bare}.upload")).await),
        404
    );
    let gone = ada
        .post(&format!("uploads/{item}/delete"), &[("f", "json")])
        .await;
    assert_eq!(gone, json!({"success": true}));
    assert_eq!(
        code(&ada.post(&format!("uploads/{item}"), &[("f", "json")]).await),
        404
    );
}

#[tokio::test]
async fn an_upload_in_parts_is_limited_like_any_other() {
    let client = Client::new().user("ada");
    let item = id(&client
        .post("uploads/register", &[("itemName", "big.bin")])
        .await);
    let half = vec![b'x'; crate::host::MAX_BODY / 2];
    for (number, fits) in [("1", true), ("2", true), ("3", false)] {
        let path = format!("uploads/{item}/uploadPart");
        let answer = client
            .post_file(&path, &[("partId", number)], ("file", "p", &half))
            .await;
        assert_eq!(answer["success"] == true, fits, "part {number}: {answer}");
    }
    let parts = client
        .get(&format!("{SERVICE}/uploads/{item}/parts?f=json"))
        .await;
    assert_eq!(parts, json!({"parts": ["1", "2"]}));
}
