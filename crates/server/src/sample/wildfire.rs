//! `WildfireSync`: points, lines and areas of a wildfire response, and inspections that belong to the points.

use haversack_geoservices::wire::geometry::normalised;
use haversack_model::schema::{GeometryKind, Relationship, attachment_field};
use haversack_model::{
    BlobHash, Collection, CollectionId, Domain, Field, FieldType, Geometry, GlobalId, Record,
    Service, Shape, Value, WriteTx,
};
use sha2::{Digest as _, Sha256};

use super::chance::Chance;
use super::{
    ONE_TO_MANY, coded, field, layer, picture, required, service_of, shapes, table_of, text,
    tracking, tracking_fields,
};
use crate::secret;

pub(super) const POINTS: CollectionId = CollectionId(0);
pub(super) const LINES: CollectionId = CollectionId(1);
pub(super) const AREAS: CollectionId = CollectionId(2);
pub(super) const INSPECTIONS: CollectionId = CollectionId(3);

const SEED: u64 = 2_026;
const POINT_COUNT: usize = 400;
const LINE_COUNT: usize = 240;
const AREA_COUNT: usize = 200;
const INSPECTION_COUNT: usize = 300;
const ATTACHMENT_EVERY: usize = 16;
/// 1 June 2026, 08:00 UTC.
const SEASON_START_MS: i64 = 1_780_300_800_000;
const SEASON_MINUTES: i64 = 120 * 24 * 60;
const AUTHOR: &str = "sample";

const PLACES: [&str; 24] = [
    "Alder", "Bear", "Cedar", "Crow", "Deer", "Eagle", "Elk", "Fern", "Granite", "Hawk", "Juniper",
    "Lone Oak", "Madrone", "Miller", "Otter", "Pine", "Quail", "Red", "Salmon", "Summit",
    "Trinity", "Walker", "Willow", "Wolf",
];
const FEATURES: [&str; 8] = [
    "Creek", "Ridge", "Canyon", "Butte", "Flat", "Gulch", "Meadow", "Pass",
];
const POINT_KINDS: [(&str, &str); 5] = [
    ("origin", "Point of origin"),
    ("spot", "Spot fire"),
    ("water", "Water source"),
    ("camp", "Camp"),
    ("hazard", "Hazard"),
];
const STATUS: [(&str, &str); 4] = [
    ("reported", "Reported"),
    ("active", "Active"),
    ("contained", "Contained"),
    ("out", "Out"),
];
const LINE_KINDS: [(&str, &str); 4] = [
    ("hand", "Hand line"),
    ("dozer", "Dozer line"),
    ("road", "Road as line"),
    ("planned", "Planned line"),
];
const AREA_KINDS: [(&str, &str); 3] = [
    ("perimeter", "Perimeter"),
    ("burnout", "Burnout"),
    ("closure", "Closure"),
];
const INSPECTORS: [&str; 6] = ["Arroyo", "Baker", "Chen", "Dubois", "Eriksen", "Flores"];

/// The service, without its rows.
pub(super) fn service() -> Service {
    let mut service = service_of(
        "WildfireSync",
        "Wildfire response",
        "Create,Delete,Query,Sync,Update,Uploads,Editing,ChangeTracking",
        3857,
        vec![points(), lines(), areas(), inspections()],
    );
    "A made-up fire season, free to edit and to take offline.".clone_into(&mut service.description);
    service
}

fn tracked(mut collection: Collection) -> Collection {
    collection.fields.extend(tracking_fields());
    collection.editor_fields = Some(tracking());
    collection
}

fn with_default(field: Field, default: Value) -> Field {
    Field { default, ..field }
}

fn points() -> Collection {
    let severity = Field {
        domain: Some(Domain::Range {
            name: "Severity".to_owned(),
            min: 1.0,
            max: 5.0,
        }),
        ..field("severity", "Severity", FieldType::SmallInteger)
    };
    let fields = vec![
        required(text("name", "Name", 100)),
        coded(text("kind", "Kind", 20), "PointKind", &POINT_KINDS),
        with_default(
            coded(text("status", "Status", 20), "Status", &STATUS),
            Value::from("reported"),
        ),
        severity,
        field("acres", "Acres", FieldType::Double),
        field("personnel", "Personnel", FieldType::Integer),
        field("reported_at", "Reported", FieldType::Date),
        field("contained_at", "Contained", FieldType::Date),
        text("remarks", "Remarks", 500),
    ];
    let kind = GeometryKind::Point;
    let mut points = tracked(layer(
        0,
        "Wildfire Response Points",
        "response_points",
        kind,
        3857,
        fields,
    ));
    points.has_attachments = true;
    points.relationships = vec![relationship(INSPECTIONS, true, "GlobalID")];
    points
}

fn lines() -> Collection {
    let fields = vec![
        required(text("name", "Name", 100)),
        coded(text("kind", "Kind", 20), "LineKind", &LINE_KINDS),
        field("width_m", "Width in metres", FieldType::Single),
        field("crew", "Crew", FieldType::Integer),
        field("finished_at", "Finished", FieldType::Date),
        text("remarks", "Remarks", 500),
    ];
    let kind = GeometryKind::Polyline;
    tracked(layer(
        1,
        "Wildfire Response Lines",
        "response_lines",
        kind,
        3857,
        fields,
    ))
}

fn areas() -> Collection {
    let fields = vec![
        required(text("name", "Name", 100)),
        coded(text("kind", "Kind", 20), "AreaKind", &AREA_KINDS),
        field("hectares", "Hectares", FieldType::Double),
        field(
            "contained_pct",
            "Contained, percent",
            FieldType::SmallInteger,
        ),
        field("mapped_at", "Mapped", FieldType::Date),
        text("remarks", "Remarks", 500),
    ];
    let kind = GeometryKind::Polygon;
    tracked(layer(
        2,
        "Wildfire Response Polygons",
        "response_polygons",
        kind,
        3857,
        fields,
    ))
}

fn inspections() -> Collection {
    let fields = vec![
        field("point_id", "Point", FieldType::Guid),
        text("name", "Name", 100),
        text("inspector", "Inspector", 60),
        field("inspected_at", "Inspected", FieldType::Date),
        field("score", "Score", FieldType::Integer),
        text("remarks", "Remarks", 500),
    ];
    let mut inspections = tracked(table_of(3, "Inspections", "inspections", fields));
    inspections.relationships = vec![relationship(POINTS, false, "point_id")];
    inspections
}

fn relationship(related: CollectionId, is_origin: bool, key_field: &str) -> Relationship {
    Relationship {
        id: 0,
        name: "Inspections of points".to_owned(),
        related,
        is_origin,
        cardinality: ONE_TO_MANY,
        key_field: key_field.to_owned(),
        composite: false,
    }
}

/// The rows.
pub(super) fn fill(tx: &mut dyn WriteTx) -> haversack_model::Result<()> {
    let mut season = Season {
        chance: Chance::new(SEED),
    };
    let mut point_ids = Vec::with_capacity(POINT_COUNT);
    for at in 0..POINT_COUNT {
        let record = season.point();
        tx.put(POINTS, &record, None)?;
        if at % ATTACHMENT_EVERY == 0 {
            attach(tx, &record.global_id, at)?;
        }
        point_ids.push(record.global_id);
    }
    for _ in 0..LINE_COUNT {
        tx.put(LINES, &season.line(), None)?;
    }
    for _ in 0..AREA_COUNT {
        tx.put(AREAS, &season.area(), None)?;
    }
    for _ in 0..INSPECTION_COUNT {
        let record = season.inspection(&point_ids);
        tx.put(INSPECTIONS, &record, None)?;
    }
    Ok(())
}

struct Season {
    chance: Chance,
}

impl Season {
    fn name(&mut self) -> String {
        let place = self.chance.pick(&PLACES);
        let feature = self.chance.pick(&FEATURES);
        format!("{place} {feature}")
    }

    fn code(&mut self, domain: &[(&str, &str)]) -> Value {
        Value::from(self.chance.pick(domain).0)
    }

    fn time(&mut self) -> i64 {
        SEASON_START_MS + self.chance.whole(0, SEASON_MINUTES) * 60_000
    }

    fn now_and_then(&mut self, n: u64, text: &str) -> Value {
        if self.chance.once_in(n) {
            Value::from(text)
        } else {
            Value::Null
        }
    }

    /// Adds what editor tracking would have stamped.
    fn record(values: Vec<Value>, at: i64, geometry: Option<Geometry>) -> Record {
        let mut values = values;
        for _ in 0..2 {
            values.extend([Value::from(AUTHOR), Value::Integer(at)]);
        }
        Record {
            global_id: GlobalId::Uuid(secret::random_uuid()),
            object_id: None,
            values,
            geometry,
        }
    }

    fn point(&mut self) -> Record {
        let reported = self.time();
        let status = self.code(&STATUS);
        let is_over = matches!(status.as_text(), Some("contained" | "out"));
        let contained = reported + self.chance.whole(2, 400) * 3_600_000;
        let values = vec![
            Value::from(self.name()),
            self.code(&POINT_KINDS),
            status,
            Value::Integer(self.chance.whole(1, 5)),
            Value::Real(self.chance.number(0.1, 900.0, 1)),
            Value::Integer(self.chance.whole(0, 180)),
            Value::Integer(reported),
            if is_over {
                Value::Integer(contained)
            } else {
                Value::Null
            },
            self.now_and_then(3, "Access by the forest road only."),
        ];
        let place = shapes::place(&mut self.chance);
        Self::record(values, reported, Some(shapes::point(place)))
    }

    fn line(&mut self) -> Record {
        let finished = self.time();
        let values = vec![
            Value::from(self.name()),
            self.code(&LINE_KINDS),
            // A value that a 32-bit float holds exactly.
            Value::Real(self.chance.whole(2, 24) as f64 * 0.25),
            Value::Integer(self.chance.whole(3, 40)),
            Value::Integer(finished),
            self.now_and_then(5, "Needs another pass."),
        ];
        let legs = self.chance.whole(3, 12);
        let first = shapes::wander(&mut self.chance, legs);
        let shape = if self.chance.once_in(6) {
            let second = shapes::wander(&mut self.chance, 4);
            Shape::MultiLineString(vec![first, second])
        } else {
            Shape::LineString(first)
        };
        Self::record(
            values,
            finished,
            Some(normalised(&Geometry::from_shape(&shape))),
        )
    }

    fn area(&mut self) -> Record {
        let mapped = self.time();
        let radius = self.chance.number(300.0, 9000.0, 1);
        let hectares = (radius * radius * 2.4 / 1000.0).round() / 10.0;
        let values = vec![
            Value::from(self.name()),
            self.code(&AREA_KINDS),
            Value::Real(hectares),
            Value::Integer(self.chance.whole(0, 20) * 5),
            Value::Integer(mapped),
            self.now_and_then(4, "Mapped from the air."),
        ];
        let centre = shapes::place(&mut self.chance);
        let has_hole = self.chance.once_in(4);
        let first = shapes::area(&mut self.chance, centre, radius, has_hole);
        let shape = if self.chance.once_in(5) {
            let beside = haversack_model::Position::xy(centre.x + radius * 2.5, centre.y);
            let second = shapes::area(&mut self.chance, beside, radius * 0.4, false);
            Shape::MultiPolygon(vec![first, second])
        } else {
            Shape::Polygon(first)
        };
        Self::record(
            values,
            mapped,
            Some(normalised(&Geometry::from_shape(&shape))),
        )
    }

    fn inspection(&mut self, points: &[GlobalId]) -> Record {
        let inspected = self.time();
        let point = self.chance.pick(points).braced();
        let inspector = *self.chance.pick(&INSPECTORS);
        let values = vec![
            Value::from(point),
            Value::from(format!("Inspection by {inspector}")),
            Value::from(inspector),
            Value::Integer(inspected),
            Value::Integer(self.chance.whole(0, 100)),
            self.now_and_then(4, "Come back after rain."),
        ];
        Self::record(values, inspected, None)
    }
}

/// Every sixteenth point has a picture, and some of these a note as well.
fn attach(tx: &mut dyn WriteTx, parent: &GlobalId, at: usize) -> haversack_model::Result<()> {
    let picture = picture::png((at * 7 % 256) as u8);
    store_attachment(tx, parent, "smoke.png", "image/png", &picture)?;
    if at.is_multiple_of(ATTACHMENT_EVERY * 4) {
        let note = format!("Seen from the lookout, report {at}.\n");
        store_attachment(tx, parent, "note.txt", "text/plain", note.as_bytes())?;
    }
    Ok(())
}

fn store_attachment(
    tx: &mut dyn WriteTx,
    parent: &GlobalId,
    name: &str,
    content_type: &str,
    content: &[u8],
) -> haversack_model::Result<()> {
    let hash = BlobHash(Sha256::digest(content).into());
    tx.store_blob(hash, content)?;
    let mut values = vec![Value::Null; 6];
    values[attachment_field::PARENT] = Value::from(parent.braced());
    values[attachment_field::NAME] = Value::from(name);
    values[attachment_field::CONTENT_TYPE] = Value::from(content_type);
    values[attachment_field::SIZE] = Value::Integer(content.len() as i64);
    values[attachment_field::SHA256] = Value::from(hash.to_string());
    let record = Record {
        global_id: GlobalId::Uuid(secret::random_uuid()),
        object_id: None,
        values,
        geometry: None,
    };
    tx.put(POINTS.attachments(), &record, None)?;
    Ok(())
}
