use haversack_model::schema::CollectionKind;
use haversack_model::{
    Collection, CollectionId, Direction, Filter, Generation, GlobalId, ObjectId, Record, ReplicaId,
    Service, SyncModel, Timestamp, Value,
};
use haversack_sync::ForeignEdit;
use proptest::prelude::*;
use serde_json::{Map, json};
use uuid::Uuid;

use super::*;
use crate::wire::feature::tests::trees;
use crate::wire::feature::{FeatureWriter, IncomingFeature};
use crate::wire::params::Params;
use crate::{Error, Result};

const ALL_FORMATS: [DataFormat; 3] = [
    DataFormat::Json,
    DataFormat::Sqlite,
    DataFormat::FileGeodatabase,
];

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

fn params(pairs: &[(&str, &str)]) -> Params {
    let mut params = Params::new();
    for (name, value) in pairs {
        params.add(name, *value).expect("no NUL");
    }
    params
}

fn create(pairs: &[(&str, &str)]) -> Result<CreateReplica> {
    CreateReplica::read(&params(pairs), &service(), &ALL_FORMATS)
}

#[test]
fn what_the_python_client_sends_to_create_a_replica_is_read() {
    let request = create(&[
        ("replicaName", "field"),
        ("layers", "0,3"),
        ("layerQueries", r#"{",":{"queryOption":"all"},"0":{"where":"age > 3","useGeometry":"true"},"3":{"queryOption":"all"}}"#),
        ("geometryType", "esriGeometryEnvelope"),
        ("geometry", "-10.000,-10.000,10.000,10.000"),
        ("inSR", "4326"),
        ("returnAttachments", "True"),
        ("returnAttachmentsDatabyUrl", "false"),
        ("syncModel", "perLayer"),
        ("syncDirection", "bidirectional"),
        ("attachmentsSyncDirection", "upload"),
        ("async", "true"),
        ("dataFormat", "sqlite"),
        ("transportType", "esriTransportTypeURL"),
        ("replicaOptions", ""),
    ])
    .expect("legal");
    assert_eq!(request.sync_model, Some(SyncModel::PerLayer));
    assert_eq!(request.attachments_direction, AttachmentsDirection::Upload);
    assert!(request.attachments && !request.attachments_by_url && request.is_async);
    assert_eq!(
        (request.format, request.transport),
        (DataFormat::Sqlite, TransportType::Url)
    );
    assert_eq!(request.layers[0].condition.as_deref(), Some("age > 3"));
    assert_eq!(request.layers[1].query_option, QueryOption::All);
    let filter = |layer: &LayerQuery| {
        let service = service();
        let collection = service.collection(layer.id).expect("known").clone();
        layer.filter(&collection, request.area.as_ref(), Timestamp(0))
    };
    let Ok(Filter::And(both)) = filter(&request.layers[0]) else {
        panic!("a condition and an area");
    };
    let Filter::Spatial { geometry, .. } = &both[1] else {
        panic!("an area");
    };
    let bounds = geometry.envelope().expect("a box");
    assert!(
        (bounds.max_x - 1_113_194.907_932).abs() < 1e-3,
        "in the layer's reference: {bounds:?}"
    );
    assert_eq!(filter(&request.layers[1]).ok(), Some(Filter::All));
}

#[test]
fn defaults_of_a_replica_are_the_documented_ones() {
    let request = create(&[]).expect("legal");
    assert_eq!(request.sync_model, Some(SyncModel::PerReplica));
    assert_eq!(
        request.layers.iter().map(|l| l.id.0).collect::<Vec<_>>(),
        [0, 3]
    );
    assert_eq!(request.direction, Direction::Bidirectional);
    assert_eq!(request.attachments_direction, AttachmentsDirection::None);
    assert!(!request.attachments && request.attachments_by_url && !request.is_async);
    let attached = create(&[("returnAttachments", "true")]).expect("legal");
    assert_eq!(
        attached.attachments_direction,
        AttachmentsDirection::Bidirectional
    );
    assert_eq!(
        create(&[("syncModel", "none"), ("dataFormat", "filegdb")])
            .expect("legal")
            .sync_model,
        None
    );
}

#[test]
fn a_wrong_parameter_of_a_replica_is_named_with_the_legal_values() {
    for (pairs, words) in [
        (
            vec![("syncModel", "perRow")],
            "'syncModel': cannot be \"perRow\"; legal: perReplica, perLayer, none",
        ),
        (
            vec![("layers", "0,7")],
            "'layers': there is no layer 7; legal: 0, 3",
        ),
        (
            vec![("dataFormat", "csv"), ("syncModel", "none")],
            "legal: json, sqlite, filegdb",
        ),
        (vec![("dataFormat", "filegdb")], "syncModel=none only"),
        (
            vec![("attachmentsSyncDirection", "Download")],
            "legal: none, upload, bidirectional",
        ),
        (
            vec![("layerQueries", "[]")],
            "'layerQueries': must be a JSON object",
        ),
        (
            vec![("layerQueries", r#"{"0":{"queryOption":"some"}}"#)],
            "layerQueries[0].queryOption",
        ),
        (
            vec![("layerQueries", r#"{"0":{"useGeometry":"maybe"}}"#)],
            "layerQueries[0].useGeometry",
        ),
        (vec![("geometry", "1,2,3")], "'geometry'"),
        (vec![("replicaSR", "7")], "spatial reference 7"),
        (vec![("async", "perhaps")], "'async'"),
        (
            vec![
                ("transportType", "esriTransportTypeEmbedded"),
                ("async", "true"),
            ],
            "async=false only",
        ),
        (
            vec![("targetType", "server"), ("syncDirection", "bidirectional")],
            "legal: upload, download",
        ),
    ] {
        let refused = create(&pairs).expect_err(words).to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn a_where_clause_of_a_layer_is_checked_when_it_becomes_a_filter() {
    let request =
        create(&[("layerQueries", r#"{"0":{"where":"colour = 1"}}"#)]).expect("text only");
    let refused = request.layers[0]
        .filter(&trees(), None, Timestamp(0))
        .expect_err("unknown field");
    assert!(
        refused
            .to_string()
            .starts_with("'layerQueries[0].where': there is no field"),
        "{refused}"
    );
}

#[test]
fn both_models_of_a_synchronisation_are_read() {
    let layers = [CollectionId(0), CollectionId(3)];
    let read = |model, pairs: &[(&str, &str)]| Synchronize::read(&params(pairs), model, &layers);
    // The Python client's defaults on a replica with one generation.
    let one = read(
        SyncModel::PerReplica,
        &[
            ("replicaServerGen", "7"),
            ("syncLayers", "perReplica"),
            ("syncDirection", "snapshot"),
        ],
    );
    let one = one.expect("legal");
    assert_eq!(
        (one.direction, one.layers.len()),
        (SyncDirection::Snapshot, 2)
    );
    assert!(read(SyncModel::PerReplica, &[("syncDirection", "upload")]).is_ok());
    let each = read(
        SyncModel::PerLayer,
        &[
            (
                "syncLayers",
                r#"[{"id":3,"serverGen":5},{"id":0,"syncDirection":"upload"}]"#,
            ),
            ("syncDirection", "download"),
        ],
    )
    .expect("legal");
    assert_eq!(
        each.layers[0],
        SyncLayer {
            id: CollectionId(3),
            generation: Some(Generation(5)),
            direction: SyncDirection::Download
        }
    );
    assert_eq!(each.layers[1].direction, SyncDirection::Upload);
    for (model, pairs, words) in [
        (
            SyncModel::PerReplica,
            vec![],
            "'replicaServerGen': is required",
        ),
        (
            SyncModel::PerReplica,
            vec![("replicaServerGen", "-1")],
            "whole number",
        ),
        (
            SyncModel::PerReplica,
            vec![("replicaServerGen", "1"), ("syncDirection", "sideways")],
            "legal: bidirectional, upload",
        ),
        (
            SyncModel::PerReplica,
            vec![
                ("replicaServerGen", "1"),
                ("edits", "[]"),
                ("editsUploadId", "x"),
            ],
            "together",
        ),
        (SyncModel::PerLayer, vec![], "'syncLayers': is required"),
        (
            SyncModel::PerLayer,
            vec![("syncLayers", r#"[{"id":9,"serverGen":1}]"#)],
            "legal: 0, 3",
        ),
        (
            SyncModel::PerLayer,
            vec![("syncLayers", r#"[{"id":0}]"#)],
            "'syncLayers.serverGen': is required",
        ),
        (
            SyncModel::PerLayer,
            vec![(
                "syncLayers",
                r#"[{"id":0,"serverGen":1},{"id":0,"serverGen":2}]"#,
            )],
            "twice",
        ),
    ] {
        let refused = read(model, &pairs).expect_err(words).to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn changes_are_asked_for_with_one_range_or_one_per_layer() {
    let read = |pairs: &[(&str, &str)]| ExtractChanges::read(&params(pairs), &service());
    let all = read(&[("serverGens", "[3,9]"), ("returnInserts", "true")]).expect("legal");
    assert_eq!(all.ranges, vec![(Generation(3), Some(Generation(9))); 2]);
    assert!(all.inserts && !all.updates && all.is_async);
    let each = read(&[
        ("layers", "3"),
        (
            "layerServerGens",
            r#"[{"id":3,"serverGen":5},{"id":0,"minServerGen":1,"serverGen":2}]"#,
        ),
    ]);
    assert_eq!(each.expect("legal").ranges, [(Generation(5), None)]);
    let compare = read(&[
        ("serverGens", "1"),
        ("fieldsToCompare", r#"{"fields":["name"]}"#),
    ])
    .expect("legal");
    assert_eq!(compare.fields_to_compare, Some(vec!["name".to_owned()]));
    for (pairs, words) in [
        (vec![], "'layerServerGens': is required"),
        (vec![("serverGens", "1,2,3")], "one or two"),
        (vec![("serverGens", "-1")], "negative"),
        (
            vec![("layerServerGens", r#"[{"id":0,"serverGen":5}]"#)],
            "no item for layer 3",
        ),
        (
            vec![("layerServerGens", r#"[{"id":8,"serverGen":5}]"#)],
            "no layer 8",
        ),
    ] {
        let refused = read(&pairs).expect_err(words).to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

const A: &str = "{0000000A-0000-0000-0000-000000000000}";
const B: &str = "{0000000B-0000-0000-0000-000000000000}";

fn id(text: &str) -> GlobalId {
    GlobalId::parse_uuid(text).expect("a UUID")
}

fn edits(text: &str) -> Result<Vec<IncomingLayer>> {
    read_edits(text.as_bytes(), &service(), None)
}

#[test]
fn edits_are_read_in_every_form_that_clients_send() {
    let documented = format!(
        r#"[{{"id":0,"features":{{"adds":[{{"attributes":{{"GlobalID":"{A}","name":"oak"}},"geometry":{{"x":1,"y":2}}}}],
        "updates":[{{"attributes":{{"GlobalID":"{B}","age":5}}}}],"deleteIds":["{A}"]}},
        "attachments":{{"adds":[{{"globalId":"{A}","parentGlobalId":"{B}","contentType":"text/plain","name":"a.txt","data":"aGk="}}],
        "updates":[],"deleteIds":["{B}"]}}}}]"#
    );
    let flat = format!(
        r#"{{"edits":[{{"adds":[{{"attributes":{{"globalid":"{A}","NAME":"oak"}},"geometry":{{"x":1,"y":2}}}}],"id":0,
        "updates":[{{"attributes":{{"GlobalID":"{}","age":5}}}}],"deletes":"{A}",
        "attachments":{{"adds":[{{"globalId":"{A}","parentGlobalId":"{B}","contentType":"text/plain","name":"a.txt","data":"aGk="}}],
        "deleteIds":"{B}"}}}}]}}"#,
        B.to_lowercase()
    );
    for text in [documented, flat] {
        let layers = edits(&text).expect("edits");
        let [layer] = layers.as_slice() else {
            panic!("one layer");
        };
        let Ok(ForeignEdit::Add(record, given)) = &layer.adds[0].edit else {
            panic!("an add: {:?}", layer.adds);
        };
        assert_eq!(
            (&record.global_id, &record.values[0]),
            (&id(A), &Value::from("oak"))
        );
        assert_eq!(given.values.len(), 1);
        assert!(record.geometry.is_some());
        let Ok(ForeignEdit::Update { global_id, mine }) = &layer.updates[0].edit else {
            panic!("an update");
        };
        assert_eq!(
            (global_id, mine.values.get(&3)),
            (&id(B), Some(&Value::Integer(5)))
        );
        assert!(mine.geometry.is_none());
        assert_eq!(
            layer.deletes[0].edit.as_ref().ok(),
            Some(&ForeignEdit::Delete(id(A)))
        );
        let attachment = layer.attachment_adds[0].as_ref().expect("an attachment");
        assert_eq!(
            attachment.content,
            Some(UploadedContent::Data(b"hi".to_vec()))
        );
        assert_eq!(attachment.parent, Some(id(B)));
        assert_eq!(layer.attachment_deletes[0].as_ref().ok(), Some(&id(B)));
    }
}

#[test]
fn one_bad_edit_does_not_hinder_the_others() {
    let text = format!(
        r#"[{{"id":0,"features":{{"adds":[{{"attributes":{{"name":"no id"}}}},{{"attributes":{{"GlobalID":"{A}","age":"old"}}}},
        {{"attributes":{{"GlobalID":"{B}"}},"geometry":{{"paths":[]}}}},5,{{"attributes":{{"GlobalID":"{B}"}}}}],"deleteIds":[7,"x"]}},
        "attachments":{{"adds":[{{"name":"x"}},{{"globalId":"{A}","data":"***"}},{{"globalId":"{A}","url":"https://files.example/1"}}]}}}}]"#
    );
    let layers = edits(&text).expect("edits");
    let adds = &layers[0].adds;
    let why = |at: usize| adds[at].edit.as_ref().expect_err("bad").to_string();
    assert!(why(0).contains("'GlobalID': is required"), "{}", why(0));
    assert!(why(1).contains("field 'age'"), "{}", why(1));
    assert_eq!(
        adds[1].global_id,
        Some(id(A)),
        "the result can still name the row"
    );
    assert!(why(2).contains("the layer holds points"), "{}", why(2));
    assert!(why(3).contains("must be an object"), "{}", why(3));
    assert!(adds[4].edit.is_ok());
    assert!(layers[0].deletes.iter().all(|d| d.edit.is_err()));
    let attached = &layers[0].attachment_adds;
    assert!(attached[0].is_err() && attached[1].is_err());
    let linked = attached[2]
        .as_ref()
        .expect("an address is kept for the server to judge");
    assert_eq!(
        linked.content,
        Some(UploadedContent::Url("https://files.example/1".into()))
    );
}

#[test]
fn what_is_no_document_of_edits_is_refused() {
    for (text, words) in [
        ("", "EOF"),
        ("5", "expected an array of layers"),
        ("{}", "needs 'edits'"),
        (r#"[{"id":9}]"#, "there is no layer 9; legal: 0, 3"),
        (r#"[{"features":{}}]"#, "needs 'id'"),
        (r#"[{"id":0},{"id":0}]"#, "layer 0 occurs twice"),
        (r#"[{"id":0,"adds":[],"adds":[]}]"#, "occurs twice"),
        (
            r#"[{"id":0,"features":{"adds":[],"adds":[]}}]"#,
            "occurs twice",
        ),
        (r#"[{"id":0,"adds":[{"a":1,"a":2}]}]"#, "occurs twice"),
        (r#"[{"id":0,"adds":"x"}]"#, "expected an array"),
        (r#"[{"id":0}] x"#, "trailing"),
    ] {
        let refused = edits(text).expect_err(text).to_string();
        assert!(refused.contains(words), "{text}: {refused}");
    }
}

fn record(number: u128, name: &str) -> Record {
    let mut values = vec![Value::Null; 16];
    values[0] = Value::from(name);
    Record {
        global_id: GlobalId::Uuid(Uuid::from_u128(number)),
        object_id: Some(ObjectId(number as i64)),
        values,
        geometry: None,
    }
}

/// Writes down what a document holds.
#[derive(Debug, Default)]
struct Log(Vec<String>);

impl DocumentVisitor for Log {
    fn layer(&mut self, layer: CollectionId) -> Result<()> {
        self.0.push(format!("layer {layer}"));
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
        self.0.push(format!("{layer} {part:?} {name}"));
        Ok(())
    }
    fn removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        self.0.push(format!("{layer} removed {id}"));
        Ok(())
    }
    fn attachment(
        &mut self,
        layer: CollectionId,
        part: Part,
        line: IncomingAttachmentLine,
    ) -> Result<()> {
        self.0.push(format!(
            "{layer} {part:?} {} {:?} of {}",
            line.name, line.content, line.parent
        ));
        Ok(())
    }
    fn attachment_removed(&mut self, layer: CollectionId, id: GlobalId) -> Result<()> {
        self.0.push(format!("{layer} attachment removed {id}"));
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<(DocumentHead, Vec<String>)> {
    let mut log = Log::default();
    read_document(bytes, &service(), None, &mut log).map(|head| (head, log.0))
}

fn line<'a>(id: &'a GlobalId, data: Option<&'a [u8]>, url: Option<&'a str>) -> AttachmentLine<'a> {
    AttachmentLine {
        object_id: Some(ObjectId(1)),
        global_id: id,
        parent: A,
        content_type: "text/plain",
        name: "a \"b\".txt",
        size: 2,
        keywords: "",
        url,
        data,
    }
}

fn replica_document() -> Vec<u8> {
    let service = service();
    let mut out = Vec::new();
    let mut document = ReplicaDocument::begin(
        &mut out,
        "field",
        Some(ReplicaId(Uuid::from_u128(7))),
        TransportType::Url,
        ResponseType::Data,
        Some(SyncModel::PerLayer),
        &Generations::Layers(vec![
            (CollectionId(0), Generation(5)),
            (CollectionId(3), Generation(5)),
        ]),
    )
    .expect("memory");
    let [trees, visits] = service.collections.as_slice() else {
        panic!("two collections");
    };
    document
        .layer(trees, Some(4326), &json!([]))
        .expect("memory");
    let writer = FeatureWriter::new(trees).columns(vec![
        crate::wire::feature::Column::GlobalId,
        crate::wire::feature::Column::Field(0),
    ]);
    document
        .feature(&writer, &record(1, "oak"))
        .expect("memory");
    document
        .feature(&writer, &record(2, "ash"))
        .expect("memory");
    document
        .attachment(&line(&id(B), Some(b"hi"), None))
        .expect("memory");
    document
        .attachment(&line(&id(B), None, Some("https://h.example/1")))
        .expect("memory");
    document.layer(visits, None, &json!([])).expect("memory");
    document.end().expect("memory");
    out
}

#[test]
fn a_replica_document_is_read_as_it_was_written() {
    let out = replica_document();
    insta::assert_snapshot!(String::from_utf8(out.clone()).expect("text"));
    let (head, log) = read(&out).expect("a document");
    assert_eq!(
        log,
        [
            "layer 0".to_owned(),
            "0 All oak".to_owned(),
            "0 All ash".to_owned(),
            format!("0 All a \"b\".txt Data([104, 105]) of {A}"),
            format!("0 All a \"b\".txt Url(\"https://h.example/1\") of {A}"),
            "layer 3".to_owned(),
        ]
    );
    assert_eq!(
        head.layer_generations(),
        [
            (CollectionId(0), Generation(5)),
            (CollectionId(3), Generation(5))
        ]
    );
    assert_eq!(
        head.text("replicaID"),
        Some("00000000-0000-0000-0000-000000000007")
    );
}

fn edits_document() -> Vec<u8> {
    let trees = trees();
    let writer = FeatureWriter::new(&trees).columns(vec![
        crate::wire::feature::Column::GlobalId,
        crate::wire::feature::Column::Field(0),
    ]);
    let mut results = Map::new();
    results.insert(
        "addResults".into(),
        json!([{"globalId": A, "success": true}]),
    );
    let mut out = Vec::new();
    let mut document = EditsDocument::begin(&mut out).expect("memory");
    document.layer(CollectionId(0), &results).expect("memory");
    document.update(&writer, &record(1, "oak")).expect("memory");
    document.remove(&id(B)).expect("memory");
    document.add(&writer, &record(2, "ash")).expect("memory");
    document.update(&writer, &record(3, "elm")).expect("memory");
    document.attachments(&results).expect("memory");
    document.remove(&id(B)).expect("memory");
    document
        .add_attachment(&line(&id(A), None, Some("https://h.example/1")))
        .expect("memory");
    document.layer_of_ids(CollectionId(3)).expect("memory");
    document.object_id(2, ObjectId(9)).expect("memory");
    let changes = document
        .end(
            "field",
            Some(ReplicaId(Uuid::from_u128(7))),
            TransportType::Embedded,
            ResponseType::Edits,
            &Generations::Replica(Generation(9)),
        )
        .expect("memory");
    assert_eq!(changes, 7);
    out
}

#[test]
fn geometry_of_a_document_is_in_the_reference_that_its_layer_names() {
    struct Place(Option<haversack_model::Envelope>);
    impl DocumentVisitor for Place {
        fn layer(&mut self, _: CollectionId) -> Result<()> {
            Ok(())
        }
        fn feature(&mut self, _: CollectionId, _: Part, feature: IncomingFeature) -> Result<()> {
            self.0 = feature
                .changes
                .geometry
                .flatten()
                .and_then(|g| g.envelope());
            Ok(())
        }
        fn removed(&mut self, _: CollectionId, _: GlobalId) -> Result<()> {
            Ok(())
        }
        fn attachment(
            &mut self,
            _: CollectionId,
            _: Part,
            _: IncomingAttachmentLine,
        ) -> Result<()> {
            Ok(())
        }
        fn attachment_removed(&mut self, _: CollectionId, _: GlobalId) -> Result<()> {
            Ok(())
        }
    }
    let text = format!(
        r#"{{"layers":[{{"id":0,"spatialReference":{{"wkid":4326}},"features":[{{"attributes":{{"GlobalID":"{A}"}},"geometry":{{"x":10,"y":0}}}}]}}]}}"#
    );
    let mut place = Place(None);
    read_document(text.as_bytes(), &service(), None, &mut place).expect("a document");
    assert!((place.0.expect("a point").min_x - 1_113_194.907_932).abs() < 1e-3);
}

#[test]
fn a_document_of_changes_sorts_what_comes_in_any_order() {
    let out = edits_document();
    insta::assert_snapshot!(String::from_utf8(out.clone()).expect("text"));
    let (head, log) = read(&out).expect("a document");
    assert_eq!(
        log,
        [
            "0 Added ash".to_owned(),
            "0 Updated oak".to_owned(),
            "0 Updated elm".to_owned(),
            format!("0 removed {B}"),
            format!("0 Added a \"b\".txt Url(\"https://h.example/1\") of {A}"),
            format!("0 attachment removed {B}"),
        ]
    );
    assert_eq!(head.generation(), Some(Generation(9)));
    assert_eq!(head.results[0].1["addResults"][0]["success"], true);
}

#[test]
fn a_large_document_of_changes_waits_on_disk_and_not_in_memory() {
    let trees = trees();
    let writer = FeatureWriter::new(&trees);
    let mut out = Vec::new();
    let mut document = EditsDocument::begin(&mut out).expect("memory");
    document
        .layer(CollectionId(0), &Map::new())
        .expect("memory");
    for number in 0..10_000 {
        document
            .update(&writer, &record(number, "oak"))
            .expect("memory");
        document
            .remove(&GlobalId::Uuid(Uuid::from_u128(number)))
            .expect("memory");
    }
    document
        .end(
            "x",
            None,
            TransportType::Url,
            ResponseType::Edits,
            &Generations::None,
        )
        .expect("memory");
    let (_, log) = read(&out).expect("a document");
    assert_eq!(log.len(), 20_000);
}

#[test]
fn the_short_answer_names_the_file_twice() {
    let answer = short_answer(
        "field",
        None,
        ResponseType::Edits,
        &Generations::Replica(Generation(3)),
        Some("https://h.example/x.json"),
    );
    assert_eq!(answer["URL"], answer["resultUrl"]);
    assert_eq!(answer["replicaServerGen"], 3);
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
        let refused = read(text.as_bytes()).expect_err(text).to_string();
        assert!(refused.contains(words), "{text}: {refused}");
    }
    for whole in [replica_document(), edits_document()] {
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
    let refused = read(text.as_bytes()).expect_err("stopped");
    assert_eq!(refused.to_string(), "field 'name': the visitor had enough");
}

#[test]
fn an_error_answer_is_recognised_with_its_code_and_words() {
    let text = r#"{"error":{"code":400,"message":"Unable to complete operation.","details":["replica unknown"]}}"#;
    let (head, _) = read(text.as_bytes()).expect("JSON");
    assert_eq!(
        head.error(),
        Some((
            400,
            "Unable to complete operation.: replica unknown".to_owned()
        ))
    );
    assert!(!head.has_data);
}

fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        Just(replica_document()),
        Just(edits_document()),
        Just(format!(r#"[{{"id":0,"features":{{"adds":[{{"attributes":{{"GlobalID":"{A}"}}}}],"deleteIds":["{B}"]}}}}]"#).into_bytes()),
    ];
    (
        whole,
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    )
        .prop_map(|(mut bytes, changes)| {
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
        let _ = read(&bytes);
        let _ = read_edits(bytes.as_slice(), &service(), None);
    }

    #[test]
    fn any_parameters_give_a_request_or_an_error(
        pairs in proptest::collection::vec((prop_oneof![
            Just("layers"), Just("layerQueries"), Just("syncModel"), Just("syncLayers"), Just("geometry"), Just("serverGens"),
            Just("layerServerGens"), Just("replicaOptions"), Just("replicaServerGen"), Just("syncDirection"), Just("fieldsToCompare"),
        ], prop_oneof!["\\PC{0,12}", Just("[{\"id\":0,\"serverGen\":1}]".to_owned()), Just("{\"0\":{}}".to_owned()), Just("0".to_owned())]), 0..5),
    ) {
        let mut given = Params::new();
        for (name, value) in &pairs {
            given.add(name, value.clone()).expect("no NUL");
        }
        let _ = CreateReplica::read(&given, &service(), &ALL_FORMATS);
        let _ = ExtractChanges::read(&given, &service());
        let _ = Synchronize::read(&given, SyncModel::PerReplica, &[CollectionId(0)]);
        let _ = Synchronize::read(&given, SyncModel::PerLayer, &[CollectionId(0)]);
    }
}
