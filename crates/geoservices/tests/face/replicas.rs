//! createReplica, the list, replica info, unregistering: the life of a replica but for its synchronisation.

use serde_json::{Value, json};

use crate::sample::gid_text;
use crate::web::{Client, SERVICE, code, path_of};

const EMBEDDED: (&str, &str) = ("transportType", "esriTransportTypeEmbedded");

async fn create(client: &Client, params: &[(&str, &str)]) -> Value {
    let answer = client.post("createReplica", params).await;
    assert!(answer["replicaID"].is_string(), "{answer}");
    answer
}

fn names(document: &Value, layer: usize) -> Vec<String> {
    let features = document["layers"][layer]["features"].as_array().unwrap();
    let name = |feature: &Value| feature["attributes"]["name"].as_str().unwrap().to_owned();
    features.iter().map(name).collect()
}

#[tokio::test]
async fn a_replica_comes_embedded_or_as_a_file_with_the_same_content() {
    let ada = Client::new().user("ada");
    for model in ["perReplica", "perLayer", "none"] {
        let params = [
            ("replicaName", "r"),
            ("layers", "0,2"),
            ("syncModel", model),
            ("f", "json"),
        ];
        let embedded = create(&ada, &[params[0], params[1], params[2], EMBEDDED]).await;
        let short = create(&ada, &params).await;
        assert_eq!(short["URL"], short["resultUrl"]);
        let path = path_of(&short["URL"]);
        assert!(
            path.split('.').next_back() == Some("json") && !path.contains('?'),
            "{path}"
        );
        let (parts, body) = ada.fetch(&path).await;
        assert_eq!(parts.headers["content-type"], "application/json");
        let document: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["layers"], embedded["layers"]);
        assert_eq!(document["responseType"], "esriReplicaResponseTypeData");
        assert_eq!(
            embedded["layers"][0]["features"].as_array().unwrap().len(),
            10
        );
        assert_eq!(
            names(&embedded, 1),
            ["inspection 101", "inspection 102", "inspection 103"]
        );
        let feature = &embedded["layers"][0]["features"][0];
        assert_eq!(feature["attributes"]["GlobalID"], gid_text(1));
        assert_eq!(feature["geometry"], json!({"x": 100.0, "y": 50.0}));
        assert_eq!(
            document.get("replicaServerGen").is_some(),
            model == "perReplica"
        );
        assert_eq!(
            document.get("layerServerGens").is_some(),
            model == "perLayer"
        );
    }
    let listed = ada.get(&format!("{SERVICE}/replicas?f=json")).await;
    assert_eq!(
        listed.as_array().unwrap().len(),
        4,
        "the copies are not registered"
    );
}

#[tokio::test]
async fn filters_choose_what_a_replica_holds() {
    let ada = Client::new().user("ada");
    let make = async |params: &[(&str, &str)]| {
        let mut all = vec![EMBEDDED, ("layers", "0,2")];
        all.extend(params);
        create(&ada, &all).await
    };
    let by_place = make(&[
        ("geometry", "150,0,350,100"),
        ("geometryType", "esriGeometryEnvelope"),
    ])
    .await;
    assert_eq!(names(&by_place, 0), ["tree 2", "tree 3"]);
    assert_eq!(names(&by_place, 1).len(), 3, "a table has no places");
    let degrees = make(&[
        (
            "geometry",
            r#"{"xmin":0.001348,"ymin":0,"xmax":0.003144,"ymax":0.000898}"#,
        ),
        ("inSR", "4326"),
    ])
    .await;
    assert_eq!(names(&degrees, 0), ["tree 2", "tree 3"]);
    let by_condition = make(&[(
        "layerQueries",
        r#"{"0":{"where":"height > 8"},",":{"where":"x"}}"#,
    )])
    .await;
    assert_eq!(names(&by_condition, 0), ["tree 9"]);
    let queries =
        r#"{"0":{"queryOption":"all"},"2":{"queryOption":"none","includeRelated":false}}"#;
    let all_of_it = make(&[("layerQueries", queries), ("geometry", "0,0,1,1")]).await;
    assert_eq!(
        (names(&all_of_it, 0).len(), names(&all_of_it, 1).len()),
        (10, 0)
    );
    let queries = r#"{"0":{"where":"OBJECTID = 9"},"2":{"queryOption":"none"}}"#;
    let related = make(&[("layerQueries", queries)]).await;
    assert_eq!(names(&related, 1), ["inspection 103"]);
    let queries = r#"{"0":{"where":"OBJECTID < 5","useGeometry":false}}"#;
    let no_place = make(&[("layerQueries", queries), ("geometry", "0,0,1,1")]).await;
    assert_eq!(names(&no_place, 0).len(), 4);
}

#[tokio::test]
async fn geometry_comes_in_the_reference_of_the_replica() {
    let ada = Client::new().user("ada");
    let replica = create(&ada, &[EMBEDDED, ("layers", "0"), ("replicaSR", "4326")]).await;
    let layer = &replica["layers"][0];
    assert_eq!(layer["spatialReference"]["wkid"], 4326);
    let x = layer["features"][0]["geometry"]["x"].as_f64().unwrap();
    assert!((x - 0.000_898_315).abs() < 1e-8, "{x}");
}

#[tokio::test]
async fn attachments_come_by_url_or_with_their_content() {
    let ada = Client::new().user("ada");
    ada.post_file(
        "0/1/addAttachment",
        &[("f", "json")],
        ("attachment", "x.txt", b"hello"),
    )
    .await;
    let params = [EMBEDDED, ("layers", "0"), ("returnAttachments", "true")];
    let by_url = create(&ada, &params).await;
    let attachment = &by_url["layers"][0]["attachments"][0];
    assert_eq!(attachment["parentGlobalId"], gid_text(1));
    assert_eq!(ada.fetch(&path_of(&attachment["url"])).await.1, b"hello");
    let with_content = create(
        &ada,
        &[
            params[0],
            params[1],
            params[2],
            ("returnAttachmentsDatabyUrl", "False"),
        ],
    )
    .await;
    let attachment = &with_content["layers"][0]["attachments"][0];
    assert_eq!(
        (&attachment["data"], &attachment["size"]),
        (&json!("aGVsbG8="), &json!(5))
    );
    let without = create(&ada, &[EMBEDDED, ("layers", "0")]).await;
    assert!(without["layers"][0].get("attachments").is_none());
}

#[tokio::test]
async fn a_replica_is_listed_described_and_gone_after_unregistering() {
    let ada = Client::new().user("ada");
    let params = [
        ("replicaName", "field work"),
        ("layers", "[0]"),
        ("syncModel", "perLayer"),
        (
            "layerQueries",
            r#"{"0":{"where":"kind = 1","queryOption":"useFilter"}}"#,
        ),
        ("geometry", "0,0,500,100"),
    ];
    let replica = create(&ada, &params).await;
    let id = replica["replicaID"].as_str().unwrap();
    let list = ada
        .get(&format!(
            "{SERVICE}/replicas?f=json&returnLastSyncDate=true"
        ))
        .await;
    assert_eq!(
        (&list[0]["replicaName"], &list[0]["replicaID"]),
        (&json!("field work"), &json!(id))
    );
    assert!(list[0]["lastSyncDate"].is_i64());
    for form in [id.to_owned(), id.to_lowercase(), format!("%7B{id}%7D")] {
        let info = ada.get(&format!("{SERVICE}/replicas/{form}?f=json")).await;
        assert_eq!(info["replicaOwner"], "ada", "{info}");
        assert_eq!(info["layerServerGens"], replica["layerServerGens"]);
        let layer = json!({"id": 0, "queryOption": "useFilter", "useGeometry": true, "includeRelated": true, "where": "kind = 1"});
        assert_eq!(info["layers"], json!([layer]));
    }
    let braced = format!("{{{id}}}");
    let gone = ada
        .post("unRegisterReplica", &[("replicaID", &braced)])
        .await;
    assert_eq!(gone, json!({"success": true}));
    assert_eq!(
        code(&ada.get(&format!("{SERVICE}/replicas/{id}?f=json")).await),
        400
    );
}

#[tokio::test]
async fn anothers_replica_is_as_unknown_as_one_that_never_was() {
    let client = Client::new();
    let (ada, bob, root) = (client.user("ada"), client.user("bob"), client.user("root"));
    let replica = create(&ada, &[("layers", "0")]).await;
    let id = replica["replicaID"].as_str().unwrap();
    let unknown = "00000000-0000-4000-8000-000000000000";
    for operation in ["unRegisterReplica", "synchronizeReplica"] {
        let ask = async |id: &str| {
            bob.post(operation, &[("replicaID", id), ("replicaServerGen", "1")])
                .await
        };
        assert_eq!(ask(id).await, ask(unknown).await, "{operation}");
        assert_eq!(code(&ask(id).await), 400);
    }
    let info = |id: &str| format!("{SERVICE}/replicas/{id}?f=json");
    assert_eq!(bob.get(&info(id)).await, bob.get(&info(unknown)).await);
    assert_eq!(
        bob.get(&format!("{SERVICE}/replicas?f=json")).await,
        json!([])
    );
    assert_eq!(
        code(&bob.get(&path_of(&replica["URL"])).await),
        404,
        "nor is its file"
    );
    assert_eq!(
        code(&bob.post("unRegisterReplica", &[("replicaID", "*")]).await),
        403
    );
    let all = root.get(&format!("{SERVICE}/replicas?f=json")).await;
    assert_eq!(all.as_array().unwrap().len(), 1);
    root.post("unRegisterReplica", &[("replicaID", "*")]).await;
    assert_eq!(
        ada.get(&format!("{SERVICE}/replicas?f=json")).await,
        json!([])
    );
}

#[tokio::test]
async fn rights_decide_what_may_be_made() {
    let client = Client::new();
    assert_eq!(
        code(&client.post("createReplica", &[("layers", "0")]).await),
        499
    );
    let eve = client.user("eve");
    let replica = create(&eve, &[("layers", "0"), EMBEDDED]).await;
    let info = eve
        .get(&format!(
            "{SERVICE}/replicas/{}?f=json",
            replica["replicaID"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        info["syncDirection"], "download",
        "who may not edit may not upload"
    );
    let copy = [
        ("layers", "0"),
        ("syncModel", "none"),
        ("dataFormat", "filegdb"),
    ];
    let answer = eve.post("createReplica", &copy).await;
    assert!([400, 403].contains(&code(&answer)), "{answer}");
}

#[tokio::test]
async fn a_result_file_can_be_fetched_in_ranges_and_again_by_its_owner() {
    let ada = Client::new().user("ada");
    let path = path_of(&create(&ada, &[("layers", "0")]).await["URL"]);
    let (_, whole) = ada.fetch(&format!("{path}?f=json&x=1")).await;
    let request = ada.request("GET", &path).header("Range", "bytes=10-19");
    let (parts, part) = ada
        .raw(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(parts.status, 206);
    assert_eq!(part, whole[10..20]);
    assert_eq!(
        parts.headers["content-range"],
        format!("bytes 10-19/{}", whole.len())
    );
    let request = ada
        .request("GET", &path)
        .header("Range", format!("bytes={}-", whole.len()));
    let (parts, _) = ada
        .raw(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(parts.status, 416);
}

#[tokio::test]
async fn a_file_geodatabase_is_made_where_the_tool_is() {
    let ada = Client::new().user("ada");
    let root = ada.get(&format!("{SERVICE}?f=json")).await;
    let params = [
        ("layers", "0,1,2"),
        ("syncModel", "none"),
        ("dataFormat", "filegdb"),
    ];
    let answer = ada.post("createReplica", &params).await;
    if root["supportedExportFormats"] == "" {
        assert!(
            answer.to_string().contains("'dataFormat'"),
            "what is not there is refused: {answer}"
        );
        return;
    }
    let path = path_of(&answer["URL"]);
    assert_eq!(path.split('.').next_back(), Some("zip"), "{path}");
    let (_, body) = ada.fetch(&path).await;
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(body)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    zip.extract(folder.path()).unwrap();
    let geodatabase = std::fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let told = std::process::Command::new("ogrinfo")
        .args(["-ro", "-al"])
        .arg(&geodatabase)
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    for expected in [
        "Layer name: Trees",
        "Feature Count: 10",
        "Layer name: Inspections",
        "POINT (100 50)",
        "tree 10",
        "1970/01/02 00:00:00",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(
        told.contains(&gid_text(1)) && told.contains(&gid_text(103)),
        "global ids are kept: {told}"
    );
    assert!(
        told.contains("height (Real) = (null)"),
        "null stays null: {told}"
    );
}

#[tokio::test]
async fn history_is_cleaned_up_twice_without_harm_by_who_administers() {
    let client = Client::new();
    let ada = client.user("ada");
    assert_eq!(
        code(&ada.post("cleanupChangeTracking", &[("layers", "0")]).await),
        403
    );
    let path = "/arcgis/rest/admin/services/Trees/FeatureServer/cleanupChangeTracking";
    for _ in 0..2 {
        let answer = client
            .user("root")
            .post_to(path, &[("layers", "[0]"), ("f", "json")])
            .await;
        assert_eq!(answer, json!({"success": true}));
    }
}

#[tokio::test]
async fn a_replica_that_would_be_too_large_is_refused_before_the_work() {
    let client = Client::new();
    let ada = client.user("ada");
    let layers = ("layers", "0");
    for content in [[b'x'; 600], [b'y'; 600]] {
        let answer = ada
            .post_file("0/1/addAttachment", &[], ("attachment", "a.txt", &content))
            .await;
        assert_eq!(answer["addAttachmentResult"]["success"], true, "{answer}");
    }
    let synced = create(&ada, &[layers, EMBEDDED]).await;
    let before = client.host.fingerprint();

    client.host.limit_copies(9, 1000);
    let refused = [
        ada.post("createReplica", &[layers, EMBEDDED]).await,
        ada.post("createReplica", &[layers, ("async", "true")])
            .await,
        ada.post("createReplica", &[layers, ("syncModel", "none")])
            .await,
        ada.post(
            "synchronizeReplica",
            &[
                ("replicaID", synced["replicaID"].as_str().unwrap()),
                ("syncDirection", "snapshot"),
            ],
        )
        .await,
    ];
    for answer in refused {
        assert_eq!(code(&answer), 400);
        let why = answer["error"]["details"][0].as_str().unwrap();
        assert!(
            why.starts_with("'layers': the copy would hold 10 rows and may hold 9"),
            "{why}"
        );
    }
    assert!(!client.host.run_jobs(), "no job was started");
    let part = [
        layers,
        EMBEDDED,
        ("layerQueries", r#"{"0":{"where":"height > 5"}}"#),
    ];
    assert_eq!(
        create(&ada, &part).await["layers"][0]["features"]
            .as_array()
            .unwrap()
            .len(),
        4
    );

    client.host.limit_copies(100, 1000);
    let attached = [layers, EMBEDDED, ("returnAttachments", "true")];
    create(&ada, &attached).await;
    let within = [
        layers,
        EMBEDDED,
        attached[2],
        ("returnAttachmentsDataByUrl", "false"),
    ];
    let answer = ada.post("createReplica", &within).await;
    let why = answer["error"]["details"][0].as_str().unwrap();
    assert!(
        why.starts_with("'returnAttachmentsDataByUrl': the copy would hold 1200 bytes"),
        "{why}"
    );
    assert_ne!(
        before,
        client.host.fingerprint(),
        "what is small enough was made"
    );
}
