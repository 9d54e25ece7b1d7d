//! The ports of the American west coast, from south to north: names and places are facts.

use haversack_model::schema::GeometryKind;
use haversack_model::{
    CollectionId, FieldType, Geometry, GlobalId, Position, Record, Service, Shape, Value, WriteTx,
};

use super::{field, layer, required, service_of, text};
use crate::secret;

/// Name, state, longitude and latitude in degrees of WGS 84.
#[rustfmt::skip]
const PORTS: [(&str, &str, f64, f64); 36] = [
    ("San Diego", "California", -117.176, 32.711),
    ("Long Beach", "California", -118.216, 33.754),
    ("Los Angeles", "California", -118.262, 33.736),
    ("Port Hueneme", "California", -119.208, 34.148),
    ("Santa Barbara", "California", -119.690, 34.407),
    ("Morro Bay", "California", -120.858, 35.368),
    ("Monterey", "California", -121.889, 36.604),
    ("Moss Landing", "California", -121.788, 36.805),
    ("Redwood City", "California", -122.209, 37.512),
    ("San Francisco", "California", -122.391, 37.797),
    ("Oakland", "California", -122.302, 37.799),
    ("Richmond", "California", -122.366, 37.912),
    ("Benicia", "California", -122.139, 38.041),
    ("Stockton", "California", -121.331, 37.952),
    ("West Sacramento", "California", -121.544, 38.564),
    ("Eureka", "California", -124.180, 40.798),
    ("Crescent City", "California", -124.190, 41.746),
    ("Brookings", "Oregon", -124.269, 42.050),
    ("Coos Bay", "Oregon", -124.218, 43.372),
    ("Newport", "Oregon", -124.053, 44.627),
    ("Garibaldi", "Oregon", -123.912, 45.556),
    ("Astoria", "Oregon", -123.831, 46.190),
    ("Portland", "Oregon", -122.701, 45.571),
    ("Vancouver", "Washington", -122.692, 45.632),
    ("Kalama", "Washington", -122.852, 46.011),
    ("Longview", "Washington", -122.948, 46.106),
    ("Grays Harbor", "Washington", -123.926, 46.962),
    ("Neah Bay", "Washington", -124.614, 48.371),
    ("Port Angeles", "Washington", -123.433, 48.126),
    ("Port Townsend", "Washington", -122.753, 48.113),
    ("Olympia", "Washington", -122.904, 47.052),
    ("Tacoma", "Washington", -122.412, 47.268),
    ("Seattle", "Washington", -122.351, 47.588),
    ("Everett", "Washington", -122.222, 47.982),
    ("Anacortes", "Washington", -122.602, 48.518),
    ("Bellingham", "Washington", -122.512, 48.738),
];

/// The service, without its rows.
pub(super) fn service() -> Service {
    let fields = vec![
        required(text("name", "Name", 100)),
        text("state", "State", 40),
        field("longitude", "Longitude", FieldType::Double),
        field("latitude", "Latitude", FieldType::Double),
        text("remarks", "Remarks", 500),
    ];
    let mut service = service_of(
        "Ports",
        "Ports along west coast",
        "Query,Editing,Create,Update,Delete,Sync,Extract",
        4326,
        vec![layer(
            0,
            "Ports",
            "ports",
            GeometryKind::Point,
            4326,
            fields,
        )],
    );
    "Ports of the American west coast, from San Diego to Bellingham."
        .clone_into(&mut service.description);
    service
}

/// The rows.
pub(super) fn fill(tx: &mut dyn WriteTx) -> haversack_model::Result<()> {
    for (name, state, longitude, latitude) in PORTS {
        let place = Position::xy(longitude, latitude);
        let record = Record {
            global_id: GlobalId::Uuid(secret::random_uuid()),
            object_id: None,
            values: vec![
                Value::from(name),
                Value::from(state),
                Value::Real(longitude),
                Value::Real(latitude),
                Value::Null,
            ],
            geometry: Some(Geometry::from_shape(&Shape::Point(Some(place)))),
        };
        tx.put(CollectionId(0), &record, None)?;
    }
    Ok(())
}
