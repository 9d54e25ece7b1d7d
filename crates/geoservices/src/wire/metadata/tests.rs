use haversack_model::schema::GeometryKind;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn object(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn root() -> Map<String, Json> {
    object(json!({
        "capabilities": "Query, Sync,Create", "description": "of a town", "copyrightText": "the town",
        "spatialReference": {"wkid": 102_100, "latestWkid": 3857},
        "layers": [{"id": 0, "name": "Trees"}], "tables": [{"id": 3, "name": "Visits"}],
        "syncCapabilities": {"supportsPerLayerSync": true, "supportsAsync": true},
    }))
}

fn layer() -> Map<String, Json> {
    object(json!({
        "id": 0, "name": "Trees & shrubs", "type": "Feature Layer", "geometryType": "esriGeometryPolygon",
        "hasZ": true, "extent": {"spatialReference": {"wkid": 4326}}, "hasAttachments": true, "maxRecordCount": 50,
        "objectIdField": "OBJECTID", "globalIdField": "GlobalID", "displayField": "name",
        "fields": [
            {"name": "OBJECTID", "type": "esriFieldTypeOID"},
            {"name": "GlobalID", "type": "esriFieldTypeGlobalID"},
            {"name": "name", "type": "esriFieldTypeString", "length": 40, "nullable": false, "defaultValue": "new"},
            {"name": "kind", "type": "esriFieldTypeSmallInteger", "length": 2, "domain":
                {"type": "codedValue", "name": "kinds", "codedValues": [{"name": "oak", "code": 1}, {"name": "odd", "code": "x"}]}},
            {"name": "age", "type": "esriFieldTypeInteger", "domain": {"type": "range", "name": "ages", "range": [0, 500]}},
            {"name": "shape", "type": "esriFieldTypeDouble", "editable": false},
            {"name": "scan", "type": "esriFieldTypeRaster"},
        ],
        "relationships": [{"id": 1, "name": "visits", "relatedTableId": 3, "cardinality": "esriRelCardinalityOneToMany",
            "role": "esriRelRoleOrigin", "keyField": "GlobalID", "composite": true}],
        "editFieldsInfo": {"creationDateField": "a", "creatorField": "b", "editDateField": "c", "editorField": "d"},
    }))
}

#[test]
fn a_service_is_read_from_its_root_and_layers() {
    assert_eq!(
        layer_ids(&root()).expect("ids"),
        [CollectionId(0), CollectionId(3)]
    );
    let told = SyncCapabilities::read(&root());
    assert!(told.per_layer && told.per_replica && told.jobs && !told.directions);
    let service = read_service("Parks", &root(), &[layer()]).expect("a service");
    assert_eq!(service.capabilities, ["Query", "Sync", "Create"]);
    let trees = &service.collections[0];
    assert_eq!(
        (trees.table.as_str(), trees.has_attachments),
        ("trees___shrubs", true)
    );
    let geometry = trees.geometry.as_ref().expect("polygons");
    assert_eq!(
        (geometry.kind, geometry.srid, geometry.has_z),
        (GeometryKind::Polygon, 4326, true)
    );
    assert_eq!(geometry.name, "geom", "a field has the usual name already");
    let names: Vec<&str> = trees.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["name", "kind", "age", "shape"]);
    assert_eq!(trees.fields[0].default, Value::from("new"));
    assert_eq!(
        (trees.fields[0].length, trees.fields[1].length),
        (Some(40), None)
    );
    assert!(
        matches!(&trees.fields[1].domain, Some(Domain::Coded { values, .. }) if values.len() == 1)
    );
    assert!(matches!(&trees.fields[2].domain, Some(Domain::Range { max, .. }) if *max > 499.0));
    assert!(trees.relationships[0].is_origin && trees.relationships[0].composite);
    assert_eq!(
        trees.editor_fields.as_ref().map(|e| e.editor.as_str()),
        Some("d")
    );
}

#[test]
fn another_shape_is_another_schema_version_and_another_text_is_not() {
    let version = |layer: Map<String, Json>| {
        read_service("Parks", &root(), &[layer])
            .expect("a service")
            .schema_version
    };
    let mut described = layer();
    described.insert("description".into(), json!("more words"));
    assert_eq!(version(layer()), version(described));
    let mut longer = layer();
    longer["fields"][2]["length"] = json!(41);
    assert_ne!(version(layer()), version(longer));
}

#[test]
fn what_cannot_be_synchronised_is_refused_by_name() {
    let mut without_id = layer();
    without_id.remove("globalIdField");
    without_id["fields"]
        .as_array_mut()
        .expect("fields")
        .remove(1);
    let mut volume = layer();
    volume["geometryType"] = json!("esriGeometryMultiPatch");
    let mut twice = layer();
    let again = twice["fields"][2].clone();
    twice["fields"].as_array_mut().expect("fields").push(again);
    for (layer, words) in [
        (without_id, "no GlobalID field"),
        (volume, "esriGeometryMultiPatch"),
        (twice, "twice"),
    ] {
        let refused = read_service("Parks", &root(), &[layer])
            .expect_err(words)
            .to_string();
        assert!(
            refused.contains(words) && refused.contains("Trees & shrubs"),
            "{refused}"
        );
    }
    assert!(
        layer_ids(&object(json!({"error": 1})))
            .expect_err("no layers")
            .to_string()
            .contains("FeatureServer")
    );
}

proptest! {
    #[test]
    fn a_layer_with_anything_in_it_gives_a_service_or_an_error(
        key in prop_oneof![Just("id"), Just("fields"), Just("geometryType"), Just("relationships"), Just("editFieldsInfo"), Just("extent"), Just("name")],
        value in prop_oneof![Just(json!(null)), any::<i64>().prop_map(Json::from), "\\PC{0,9}".prop_map(Json::from), Just(json!([])),
            Just(json!([{}])), Just(json!([{"name": ""}])), Just(json!({"spatialReference": {"wkid": "x"}}))],
    ) {
        let mut mangled = layer();
        mangled.insert(key.to_owned(), value);
        let _ = read_service("Parks", &root(), &[mangled]);
    }
}
