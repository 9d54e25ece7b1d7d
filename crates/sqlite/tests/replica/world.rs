//! Layers as awkward as real data: names in many scripts, single geometries among multi ones, nulls, 71 columns.

use haversack_model::schema::GeometryKind;
use haversack_model::{Collection, FieldType, Geometry, GlobalId, Position, Record, Shape, Value};
use uuid::Uuid;

use crate::support::{field, layer};

/// A layer and what is in it.
pub(crate) type Filled = (Collection, Vec<Record>);

const NAMES: [&str; 12] = [
    "Äänekoski",
    "Łódź",
    "São Tomé",
    "Владивосток",
    "Πειραιάς",
    "الإسكندرية",
    "חיפה",
    "कोलकाता",
    "กรุงเทพ",
    "横浜港",
    "부산",
    "O'Brien \"Quay\"; -- 🚢",
];

fn name(at: usize) -> Value {
    format!("{} {at}", NAMES[at % NAMES.len()]).into()
}

fn place(at: usize) -> Position {
    let at = at as f64;
    Position::xy((at * 7.3) % 360.0 - 180.0, (at * 3.1) % 170.0 - 85.0)
}

/// A square of half a degree whose lower left corner is `at`, wound counter-clockwise.
fn square(at: &Position) -> Vec<Position> {
    [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5), (0.0, 0.0)]
        .map(|(x, y)| Position::xy(at.x + x, at.y + y))
        .to_vec()
}

fn filled(
    (id, name, kind): (u32, &str, GeometryKind),
    fields: &[(&str, FieldType)],
    count: usize,
    row: impl Fn(usize) -> (Vec<Value>, Shape),
) -> Filled {
    let fields = fields.iter().map(|(name, kind)| field(name, *kind));
    let records = (0..count).map(|at| {
        let (values, shape) = row(at);
        Record {
            global_id: GlobalId::Uuid(Uuid::from_u64_pair(u64::from(id), at as u64)),
            object_id: None,
            values,
            geometry: Some(Geometry::from_shape(&shape)),
        }
    });
    (
        layer(id, name, Some(kind), fields.collect()),
        records.collect(),
    )
}

/// 1,081 points with a rank from 3 to 8.
pub(crate) fn ports(id: u32) -> Filled {
    let fields = [
        ("scalerank", FieldType::BigInteger),
        ("name", FieldType::String),
        ("website", FieldType::String),
        ("natlscale", FieldType::Double),
    ];
    filled(
        (id, "10m ports", GeometryKind::Point),
        &fields,
        1081,
        |at| {
            let website = match at % 3 {
                0 => Value::Null,
                1 => "".into(),
                _ => format!("https://ports.example/{at}?q=1&r='x'").into(),
            };
            let values = vec![
                Value::Integer(3 + (at % 6) as i64),
                name(at),
                website,
                Value::Real(at as f64 / 3.0),
            ];
            (values, Shape::Point(Some(place(at))))
        },
    )
}

/// 60 lines, every third of several parts.
fn trails(id: u32) -> Filled {
    let fields = [("name", FieldType::String), ("length", FieldType::Double)];
    filled((id, "trails", GeometryKind::Polyline), &fields, 60, |at| {
        let part = |from: usize| (from..from + 5).map(place).collect::<Vec<_>>();
        let shape = if at % 3 == 0 {
            Shape::MultiLineString(vec![part(at), part(at + 100)])
        } else {
            Shape::LineString(part(at))
        };
        (vec![name(at), Value::Real(at as f64)], shape)
    })
}

/// 61 areas, every fourth of several parts.
fn areas(id: u32) -> Filled {
    let fields = [("name", FieldType::String)];
    filled(
        (id, "protected areas", GeometryKind::Polygon),
        &fields,
        61,
        |at| {
            let one = vec![square(&place(at))];
            let shape = if at % 4 == 0 {
                Shape::MultiPolygon(vec![one, vec![square(&place(at + 200))]])
            } else {
                Shape::Polygon(one)
            };
            (vec![name(at)], shape)
        },
    )
}

/// 177 areas with 71 columns, half of their values null.
fn countries(id: u32) -> Filled {
    let columns: Vec<String> = (1..71).map(|n| format!("COLUMN_{n}")).collect();
    let kinds = [FieldType::String, FieldType::BigInteger, FieldType::Double];
    let mut fields = vec![("NAME", FieldType::String)];
    let numbered = columns.iter().enumerate();
    fields.extend(numbered.map(|(at, column)| (column.as_str(), kinds[at % kinds.len()])));
    filled(
        (id, "110m countries", GeometryKind::Polygon),
        &fields,
        177,
        |at| {
            let rest = (0..70).map(|column| match (column % 3, (at + column) % 2) {
                (_, 0) => Value::Null,
                (0, _) => name(at + column),
                (1, _) => Value::Integer(i64::MAX - (at * column) as i64),
                _ => Value::Real((at * column) as f64 / 7.0),
            });
            let values = std::iter::once(name(at)).chain(rest).collect();
            (values, Shape::Polygon(vec![square(&place(at))]))
        },
    )
}

/// 1,200 points with a name.
pub(crate) fn towns(id: u32) -> Filled {
    let fields = [
        ("name", FieldType::String),
        ("people", FieldType::BigInteger),
    ];
    filled(
        (id, "50m towns", GeometryKind::Point),
        &fields,
        1200,
        |at| {
            (
                vec![name(at), Value::Integer(at as i64 * 999)],
                Shape::Point(Some(place(at))),
            )
        },
    )
}

/// One service's layers: [`ports`], lines, areas (at 2), countries (at 3), [`towns`].
pub(crate) fn world() -> Vec<Filled> {
    vec![ports(0), trails(1), areas(2), countries(3), towns(4)]
}

/// The same ports as a GeoJSON text, for programs that append them.
pub(crate) fn ports_as_geojson() -> String {
    let (layer, records) = ports(0);
    let features: Vec<_> = records
        .iter()
        .map(|record| {
            let Some(Shape::Point(Some(at))) = record.geometry.as_ref().map(Geometry::shape) else {
                panic!("a port is a point");
            };
            let properties: serde_json::Map<_, _> = layer
                .fields
                .iter()
                .zip(&record.values)
                .map(|(field, value)| {
                    let value = match value {
                        Value::Integer(n) => (*n).into(),
                        Value::Real(n) => (*n).into(),
                        Value::Text(text) => text.as_str().into(),
                        _ => serde_json::Value::Null,
                    };
                    (field.name.clone(), value)
                })
                .collect();
            serde_json::json!({
                "type": "Feature",
                "properties": properties,
                "geometry": {"type": "Point", "coordinates": [at.x, at.y]},
            })
        })
        .collect();
    serde_json::json!({"type": "FeatureCollection", "features": features}).to_string()
}
