//! Attachments in synchronizeReplica: both ways, with contents or by URL, or not at all.

use serde_json::{Value, json};

use crate::device::{Device, none};
use crate::sample::gid_text;
use crate::web::{Client, path_of};

#[tokio::test]
async fn attachments_travel_both_ways_under_their_own_ids() {
    for (embedded, by_url) in [(true, "false"), (false, "true")] {
        let client = Client::new();
        let (ada, bob) = (client.user("ada"), client.user("bob"));
        let with = [
            ("returnAttachments", "true"),
            ("attachmentsSyncDirection", "bidirectional"),
        ];
        let mut first = Device::new(&ada, "perLayer", embedded, &with).await;
        let mut second = Device::new(&bob, "perReplica", embedded, &with).await;
        let id = gid_text(0xa1);
        let sent = json!([{"id": 0, "attachments": {"adds": [{
            "globalId": id, "parentGlobalId": gid_text(1), "name": "x.txt", "contentType": "text/plain", "data": "aGVsbG8=",
        }]}}]);
        let told = first.sync("bidirectional", &sent).await;
        assert_eq!(
            told["edits"][0]["attachments"]["addResults"][0]["globalId"], id,
            "{told}"
        );
        let answer = second
            .ask(
                "bidirectional",
                &none(),
                &[("returnAttachmentDatabyURL", by_url)],
            )
            .await;
        let document = second.document(&answer).await;
        second.take(&document);
        let arrived = &second.attachments[&id];
        assert_eq!(arrived["parentGlobalId"], gid_text(1));
        if embedded {
            assert_eq!(arrived["data"], "aGVsbG8=");
        } else {
            assert_eq!(bob.fetch(&path_of(&arrived["url"])).await.1, b"hello");
        }
        let gone = json!([{"id": 0, "attachments": {"deleteIds": [id]}}]);
        second.sync("bidirectional", &gone).await;
        first.attachments.insert(id.clone(), Value::Null);
        first.sync("bidirectional", &none()).await;
        assert!(first.attachments.is_empty());
    }
}

#[tokio::test]
async fn attachments_stay_home_when_they_are_not_synchronised() {
    let client = Client::new();
    let ada = client.user("ada");
    let device = Device::new(
        &ada,
        "perReplica",
        true,
        &[
            ("returnAttachments", "true"),
            ("attachmentsSyncDirection", "none"),
        ],
    )
    .await;
    ada.post_file(
        "0/1/addAttachment",
        &[("f", "json")],
        ("attachment", "x.txt", b"x"),
    )
    .await;
    let sent = json!([{"id": 0, "attachments": {"adds": [{"globalId": gid_text(0xa2), "parentGlobalId": gid_text(1), "data": "aA=="}]}}]);
    let told = device.ask("bidirectional", &sent, &[]).await;
    assert_eq!(
        told["edits"][0]["attachments"]["addResults"][0]["success"], false,
        "never silently"
    );
    assert_eq!(told["edits"][0]["attachments"]["adds"], none());
}
