//! The documents that describe a service; reviewing a change of a snapshot is reviewing the API.

use crate::web::{Client, SERVICE, code};

/// Everything that differs from run to run or from machine to machine.
macro_rules! snapshot {
    ($name:literal, $value:expr) => {
        insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false}, {
            insta::assert_json_snapshot!($name, $value, {
                ".**.lastSyncDate" => "[time]",
                ".**.lastEditDate" => "[time]",
                ".supportedExportFormats" => "[formats of this machine]",
            });
        });
    };
}

#[tokio::test]
async fn the_service_describes_itself() {
    let root = Client::new().get(&format!("{SERVICE}?f=json")).await;
    snapshot!("service", root);
}

#[tokio::test]
async fn a_layer_describes_itself() {
    let layer = Client::new().get(&format!("{SERVICE}/0?f=json")).await;
    snapshot!("layer", layer);
}

#[tokio::test]
async fn a_table_has_no_geometry() {
    let table = Client::new().get(&format!("{SERVICE}/2?f=json")).await;
    snapshot!("table", table);
}

#[tokio::test]
async fn the_catalogue_lists_what_may_be_read() {
    let client = Client::new();
    let catalogue = client.get("/arcgis/rest/services?f=json").await;
    assert_eq!(catalogue["services"][0]["name"], "Trees");
    client.host.grant("", &[], Vec::new());
    let catalogue = client.get("/arcgis/rest/services?f=json").await;
    assert_eq!(catalogue["services"], serde_json::json!([]));
    assert_eq!(code(&client.get(&format!("{SERVICE}?f=json")).await), 499);
}

#[tokio::test]
async fn all_layers_come_in_one_document() {
    let all = Client::new().get(&format!("{SERVICE}/layers?f=json")).await;
    assert_eq!(all["layers"][1]["name"], "Beds");
    assert_eq!(all["tables"][0]["type"], "Table");
}

#[tokio::test]
async fn the_administrative_tree_is_the_same() {
    let client = Client::new();
    let public = client.get(&format!("{SERVICE}?f=json")).await;
    for path in ["Trees/FeatureServer", "Trees.FeatureServer"] {
        let path = format!("/arcgis/rest/admin/services/{path}?f=json");
        assert_eq!(client.get(&path).await, public);
    }
}

#[tokio::test]
async fn urls_are_made_from_the_address_that_the_client_used() {
    let catalogue = Client::new().get("/arcgis/rest/services?f=json").await;
    let url = catalogue["services"][0]["url"].as_str().unwrap();
    assert_eq!(
        url,
        "http://server.example:8443/arcgis/rest/services/Trees/FeatureServer"
    );
}
