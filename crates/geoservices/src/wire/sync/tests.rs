use haversack_model::schema::CollectionKind;
use haversack_model::{
    Changes, Collection, CollectionId, Generation, GlobalId, Record, Service, Value,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::wire::feature::IncomingFeature;
use crate::wire::feature::tests::trees;
use crate::{Error, Result};

/// Layer 0 with trees, table 3 of visits.
fn service() -> Service {
    let visits = Collection {
        id: CollectionId(3),
        name: "Visits".into(),
        table: "visits".into(),
        kind: CollectionKind::Table,
        geometry: None,
        has_attachments: false,
        ..trees()
    };
    Service {
        name: "Parks".into(),
        title: "Parks".into(),
        description: String::new(),
        copyright: String::new(),
        capabilities: vec!["Query".into(), "Sync".into()],
        srid: 3857,
        schema_version: 1,
        collections: vec![trees(), visits],
    }
}

const A: &str = "{0000000A-0000-0000-0000-000000000000}";
const B: &str = "{0000000B-0000-0000-0000-000000000000}";

fn id(text: &str) -> GlobalId {
    GlobalId::parse_uuid(text).expect("a UUID")
}

/// Writes down what a document holds.
#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
    places: Vec<Option<haversack_model::Envelope>>,
}

impl DocumentVisitor for Log {
    fn layer(&mut self, layer: CollectionId) -> Result<()> {
        self.lines.push(format!("layer {layer}"));
        Ok(())
    }
    fn feature(&mut self, layer: CollectionId, part: Part, feature: IncomingFeature) -> Result<()> {
        let name = feature
            .changes
            .values
            .get(&0)
            .and_then(Value::as_text)
            .unwrap_or("-")
            .to_owned();
        if name == "stop" {
            return Err(Error::field("name", "the visitor had enough"));
        }
        self.places.push(
            feature
                .changes
                .geometry
                .flatten()
                .and_then(|g| g.envelope()),
        );
        self.lines.push(format!("{layer} {part:?} {name}"));
        Ok(())
    }
    fn removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        self.lines.push(format!("{layer} removed {id}"));
        Ok(())
    }
    fn attachment(
        &mut self,
        layer: CollectionId,
        part: Part,
        line: IncomingAttachmentLine,
    ) -> Result<()> {
        self.lines.push(format!(
            "{layer} {part:?} {} {:?} of {}",
            line.name, line.content, line.parent
        ));
        Ok(())
    }
    fn attachment_removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        self.lines.push(format!("{layer} attachment removed {id}"));
        Ok(())
    }
}

fn read(text: &str) -> Result<(DocumentHead, Vec<String>)> {
    let mut log = Log::default();
    read_document(text.as_bytes(), &service(), None, &mut log).map(|head| (head, log.lines))
}

/// In the form of the specification, section 6.
fn replica_document() -> String {
    json!({
        "replicaName": "field", "replicaID": "00000000-0000-0000-0000-000000000007",
        "transportType": "esriTransportTypeUrl", "responseType": "esriReplicaResponseTypeData", "syncModel": "perLayer",
        "layerServerGens": [{"id": 0, "serverGen": 5, "serverSibGen": -1}, {"id": 3, "serverGen": 6}],
        "layers": [
            {"id": 0, "objectIdFieldName": "OBJECTID", "globalIdFieldName": "GlobalID", "fields": [],
             "spatialReference": {"wkid": 4326},
             "features": [
                {"attributes": {"OBJECTID": 1, "GlobalID": A, "name": "oak"}, "geometry": {"x": 10, "y": 0}},
                {"attributes": {"GlobalID": B, "name": "ash"}, "geometry": null},
             ],
             "attachments": [
                {"attachmentId": 1, "globalId": B, "parentGlobalId": A, "contentType": "text/plain", "name": "a.txt", "size": 2, "data": "aGk="},
                {"attachmentId": 2, "globalId": A, "parentGlobalId": A, "contentType": "text/plain", "name": "b.txt", "size": 2, "url": "https://h.example/2"},
             ]},
            {"id": 3, "features": []},
        ],
    })
    .to_string()
}

fn changes_document() -> String {
    json!({
        "edits": [
            {"id": 0, "addResults": [{"globalId": A, "success": true}],
             "features": {"adds": [{"attributes": {"GlobalID": A, "name": "ash"}}],
                          "updates": [{"attributes": {"GlobalID": B, "name": "oak"}}], "deleteIds": [B]},
             "attachments": {"addResults": [{"globalId": B, "success": false}], "adds": [], "updates": [], "deleteIds": [A]}},
            {"id": 3, "updates": [{"attributes": {"GlobalID": B, "name": "flat"}}], "deletes": [{"attributes": {"GlobalID": A}}]},
        ],
        "replicaServerGen": 9, "responseType": "esriReplicaResponseTypeEdits",
    })
    .to_string()
}

#[test]
fn a_replica_document_is_handed_on_in_its_order() {
    let (head, lines) = read(&replica_document()).expect("a document");
    assert_eq!(
        lines,
        [
            "layer 0".to_owned(),
            "0 All oak".to_owned(),
            "0 All ash".to_owned(),
            format!("0 All a.txt Data([104, 105]) of {A}"),
            format!("0 All b.txt Url(\"https://h.example/2\") of {A}"),
            "layer 3".to_owned(),
        ]
    );
    assert_eq!(
        head.layer_generations(),
        [
            (CollectionId(0), Generation(5)),
            (CollectionId(3), Generation(6))
        ]
    );
    assert_eq!(
        head.text("replicaID"),
        Some("00000000-0000-0000-0000-000000000007")
    );
}

#[test]
fn geometry_of_a_document_is_in_the_reference_that_its_layer_names() {
    let mut log = Log::default();
    read_document(replica_document().as_bytes(), &service(), None, &mut log).expect("a document");
    let place = log.places[0].expect("a point");
    assert!((place.min_x - 1_113_194.907_932).abs() < 1e-3, "{place:?}");
}

#[test]
fn a_document_of_changes_is_read_in_both_forms() {
    let (head, lines) = read(&changes_document()).expect("a document");
    assert_eq!(
        lines,
        [
            "0 Added ash".to_owned(),
            "0 Updated oak".to_owned(),
            format!("0 removed {B}"),
            format!("0 attachment removed {A}"),
            "3 Updated flat".to_owned(),
            format!("3 removed {A}"),
        ]
    );
    assert_eq!(head.generation(), Some(Generation(9)));
    assert_eq!(head.results[0].1["addResults"][0]["success"], true);
    assert_eq!(
        head.attachment_results[0].1["addResults"][0]["success"],
        false
    );
}

#[test]
fn generations_written_as_text_are_read_too() {
    let (head, _) = read(r#"{"layerServerGens":"[{\"id\":0,\"serverGen\":4}]"}"#).expect("JSON");
    assert_eq!(head.layer_generations(), [(CollectionId(0), Generation(4))]);
}

#[test]
fn a_document_that_lies_or_breaks_off_is_refused() {
    for (text, words) in [
        ("", "EOF"),
        ("[]", "expected an object"),
        (
            r#"{"layers":[{"id":9,"features":[]}]}"#,
            "there is no layer 9",
        ),
        (r#"{"layers":[{"features":[]}]}"#, "must come before"),
        (r#"{"layers":[{}]}"#, "needs 'id'"),
        (
            r#"{"layers":[{"id":0,"features":[{"attributes":{"name":"x"}}]}]}"#,
            "'GlobalID': is missing",
        ),
        (
            r#"{"layers":[{"id":0,"features":[{"attributes":{"GlobalID":"x"}}]}]}"#,
            "global id",
        ),
        (
            r#"{"layers":[{"id":0,"features":[{"attributes":{"age":"old"}}]}]}"#,
            "field 'age'",
        ),
        (
            r#"{"layers":[{"id":0,"features":[],"features":[]}]}"#,
            "occurs twice",
        ),
        (
            r#"{"edits":[{"id":0,"features":{"adds":7}}]}"#,
            "expected an array",
        ),
        (
            r#"{"edits":[{"id":0,"features":{"deleteIds":["x"]}}]}"#,
            "global id",
        ),
        (r#"{"a":1,"a":2}"#, "occurs twice"),
        (r#"{"layers":5}"#, "an array of layers"),
        (
            r#"{"layers":[{"id":0,"attachments":[{"name":"x"}]}]}"#,
            "missing in an attachment",
        ),
    ] {
        let refused = read(text).expect_err(text).to_string();
        assert!(refused.contains(words), "{text}: {refused}");
    }
    for whole in [replica_document(), changes_document()] {
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut after {end} bytes");
        }
    }
}

#[test]
fn an_error_of_the_visitor_comes_out_as_it_was() {
    let text = format!(
        r#"{{"layers":[{{"id":0,"features":[{{"attributes":{{"GlobalID":"{A}","name":"stop"}}}}]}}]}}"#
    );
    let refused = read(&text).expect_err("stopped");
    assert_eq!(refused.to_string(), "field 'name': the visitor had enough");
}

#[test]
fn an_error_answer_is_recognised_with_its_code_and_words() {
    let text = r#"{"error":{"code":400,"message":"Unable to complete operation.","details":["replica unknown"]}}"#;
    let (head, _) = read(text).expect("JSON");
    assert_eq!(
        head.error(),
        Some((
            400,
            "Unable to complete operation.: replica unknown".to_owned()
        ))
    );
    assert!(!head.has_data);
}

#[test]
fn an_upload_names_what_was_set_and_nothing_that_the_server_makes() {
    let trees = trees();
    let mut record = Record {
        global_id: id(A),
        object_id: None,
        values: vec![Value::Null; 16],
        geometry: None,
    };
    record.values[0] = Value::from("oak");
    record.values[13] = Value::from("somebody else");
    let mut changes = Changes::default();
    changes.values.insert(3, Value::Integer(41));
    changes.values.insert(15, Value::from("somebody else"));
    let mut upload = LayerUpload::new(&trees);
    upload.adds.push(record);
    upload.updates.push((id(B), changes));
    upload.deletes.push(id(A));
    upload.attachment_adds.push(AttachmentUpload {
        global_id: id(B),
        parent: Some(A.to_owned()),
        name: Some("a.txt".into()),
        content_type: None,
        keywords: None,
        content: Some(UploadContent::Data(b"hi")),
    });
    let mut out = Vec::new();
    write_upload(&mut out, &[upload]).expect("memory");
    let told: Json = serde_json::from_slice(&out).expect("JSON");
    let features = &told[0]["features"];
    assert_eq!(features["adds"][0]["attributes"]["name"], "oak");
    assert!(
        features["adds"][0]["attributes"]
            .get("created_user")
            .is_none()
    );
    assert_eq!(
        features["updates"][0],
        json!({"attributes": {"GlobalID": B, "age": 41}})
    );
    assert_eq!(features["deleteIds"], json!([A]));
    assert_eq!(
        told[0]["attachments"]["adds"][0],
        json!({"globalId": B, "parentGlobalId": A, "name": "a.txt", "data": "aGk="})
    );
}

fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![Just(replica_document()), Just(changes_document())];
    (
        whole,
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    )
        .prop_map(|(text, changes)| {
            let mut bytes = text.into_bytes();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
}

proptest! {
    #[test]
    fn mangled_documents_never_panic(bytes in mangled()) {
        let _ = read_document(bytes.as_slice(), &service(), None, &mut Log::default());
    }
}
