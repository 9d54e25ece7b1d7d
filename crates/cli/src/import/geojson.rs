//! Reads GeoJSON feature collections as a stream. Features of different kinds become a dataset each.
//!
//! Source: RFC 7946; the `crs` member of its 2008 predecessor is understood too.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use haversack_model::schema::GeometryKind;
use haversack_model::{Geometry, GlobalId, Position, Shape, Value};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::shape::{Shaper, to_value};
use super::{Dataset, Row, Source, Visit, fit, stem};

/// A GeoJSON file whose shape is known.
#[derive(Debug)]
pub(super) struct GeoJson {
    path: PathBuf,
    datasets: Vec<Dataset>,
    /// Dataset of the features without geometry.
    shapeless: usize,
}

/// What the first pass learns of one kind.
#[derive(Default)]
struct Group {
    shaper: Shaper,
    rows: u64,
    has_z: bool,
}

impl GeoJson {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut groups: BTreeMap<Option<Rank>, Group> = BTreeMap::new();
        let crs = each_feature(path, &mut |number, feature| {
            let geometry = feature
                .geometry()
                .map_err(|problem| anyhow!("feature {number}: {problem}"))?;
            let rank = geometry.as_ref().map(Rank::of);
            let group = groups.entry(rank).or_default();
            group.rows += 1;
            if let Some(shape) = &geometry {
                shape.for_each_position(&mut |p| group.has_z |= p.z.is_some());
            }
            for (name, value) in &feature.properties {
                group.shaper.see(name, value);
            }
            Ok(())
        })?;
        // A layer that holds single and multiple points keeps all as multiple points.
        if groups.contains_key(&Some(Rank::Multipoint))
            && let Some(points) = groups.remove(&Some(Rank::Point))
        {
            merge(&mut groups, Some(Rank::Multipoint), points);
        }
        // Features without geometry join the largest layer; alone they are a table.
        if let Some(largest) = groups
            .iter()
            .filter(|(rank, _)| rank.is_some())
            .max_by_key(|(_, group)| group.rows)
            .map(|(rank, _)| *rank)
            && let Some(none) = groups.remove(&None)
        {
            merge(&mut groups, largest, none);
        }
        let srid = srid_of(crs.as_ref())?;
        let single = groups.len() == 1;
        let mut shapeless = (0, 0);
        let mut datasets = Vec::new();
        for (rank, group) in groups {
            if group.rows > shapeless.1 {
                shapeless = (datasets.len(), group.rows);
            }
            let name = match rank {
                Some(rank) if !single => format!("{} {}", stem(path), rank.plural()),
                _ => stem(path),
            };
            datasets.push(Dataset {
                name,
                srid,
                kind: rank.map(Rank::kind),
                has_z: group.has_z,
                has_m: false,
                fields: group
                    .shaper
                    .fields()
                    .into_iter()
                    .filter(|field| !field.name.eq_ignore_ascii_case("GlobalID"))
                    .collect(),
                rows: group.rows,
            });
        }
        if datasets.is_empty() {
            bail!("{} holds no features", path.display());
        }
        Ok(Self {
            path: path.to_owned(),
            datasets,
            shapeless: shapeless.0,
        })
    }

    fn dataset_of(&self, shape: Option<&Shape>) -> usize {
        let Some(shape) = shape else {
            return self.shapeless;
        };
        let kind = Rank::of(shape).kind();
        let exact = self.datasets.iter().position(|d| d.kind == Some(kind));
        exact
            .or_else(|| {
                self.datasets
                    .iter()
                    .position(|d| d.kind == Some(GeometryKind::Multipoint))
            })
            .unwrap_or(self.shapeless)
    }
}

impl Source for GeoJson {
    fn datasets(&self) -> &[Dataset] {
        &self.datasets
    }

    fn read(&self, dataset: usize, visit: Visit<'_>) -> Result<()> {
        let wanted = &self.datasets[dataset];
        each_feature(&self.path, &mut |number, feature| {
            let shape = feature
                .geometry()
                .map_err(|problem| anyhow!("feature {number}: {problem}"))?;
            if self.dataset_of(shape.as_ref()) != dataset {
                return Ok(());
            }
            let values = wanted
                .fields
                .iter()
                .map(|field| {
                    let value = feature.properties.get(&field.name);
                    value.map_or(Value::Null, |value| to_value(value, field.kind))
                })
                .collect();
            let geometry = shape.map(|shape| Geometry::from_shape(&shape));
            visit(Row {
                global_id: feature.global_id(),
                values,
                geometry: match wanted.kind {
                    Some(kind) => geometry.map(|geometry| fit(geometry, kind)),
                    None => None,
                },
            })
        })?;
        Ok(())
    }
}

fn merge(groups: &mut BTreeMap<Option<Rank>, Group>, into: Option<Rank>, from: Group) {
    let group = groups.entry(into).or_default();
    group.rows += from.rows;
    group.has_z |= from.has_z;
    group.shaper.absorb(from.shaper);
}

/// Kinds in the order in which their layers are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Point,
    Multipoint,
    Line,
    Polygon,
}

impl Rank {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Point(_) => Self::Point,
            Shape::MultiPoint(_) => Self::Multipoint,
            Shape::LineString(_) | Shape::MultiLineString(_) => Self::Line,
            Shape::Polygon(_) | Shape::MultiPolygon(_) => Self::Polygon,
        }
    }
    fn kind(self) -> GeometryKind {
        match self {
            Self::Point => GeometryKind::Point,
            Self::Multipoint => GeometryKind::Multipoint,
            Self::Line => GeometryKind::Polyline,
            Self::Polygon => GeometryKind::Polygon,
        }
    }
    fn plural(self) -> &'static str {
        match self {
            Self::Point | Self::Multipoint => "points",
            Self::Line => "lines",
            Self::Polygon => "areas",
        }
    }
}

/// One feature as it stands in the file.
#[derive(serde::Deserialize)]
struct Feature {
    #[serde(default)]
    id: Json,
    #[serde(default)]
    geometry: Json,
    #[serde(default, deserialize_with = "null_as_empty")]
    properties: Map<String, Json>,
}

fn null_as_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Json>, D::Error> {
    let properties: Option<Map<String, Json>> = serde::Deserialize::deserialize(deserializer)?;
    Ok(properties.unwrap_or_default())
}

impl Feature {
    fn geometry(&self) -> Result<Option<Shape>, String> {
        if self.geometry.is_null() {
            return Ok(None);
        }
        to_shape(&self.geometry).map(Some)
    }

    /// The feature's own UUID: property `GlobalID`, else its id.
    fn global_id(&self) -> Option<Uuid> {
        let named = self
            .properties
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("GlobalID"))
            .map(|(_, value)| value);
        [named, Some(&self.id)]
            .into_iter()
            .flatten()
            .find_map(|value| match GlobalId::parse_uuid(value.as_str()?) {
                Ok(GlobalId::Uuid(uuid)) => Some(uuid),
                _ => None,
            })
    }
}

fn to_shape(json: &Json) -> Result<Shape, String> {
    let kind = json["type"].as_str().ok_or("its geometry has no type")?;
    let at = &json["coordinates"];
    Ok(match kind {
        "Point" if at.as_array().is_some_and(Vec::is_empty) => Shape::Point(None),
        "Point" => Shape::Point(Some(to_position(at)?)),
        "MultiPoint" => Shape::MultiPoint(to_positions(at)?),
        "LineString" => Shape::LineString(to_positions(at)?),
        "MultiLineString" => Shape::MultiLineString(list(at, to_positions)?),
        "Polygon" => Shape::Polygon(list(at, to_positions)?),
        "MultiPolygon" => Shape::MultiPolygon(list(at, |rings| list(rings, to_positions))?),
        other => {
            return Err(format!(
                "a geometry of type {other} does not fit into a layer; split it into simple ones"
            ));
        }
    })
}

fn list<T>(json: &Json, each: impl Fn(&Json) -> Result<T, String>) -> Result<Vec<T>, String> {
    json.as_array()
        .ok_or("its coordinates are not nested as its type asks for")?
        .iter()
        .map(each)
        .collect()
}

fn to_positions(json: &Json) -> Result<Vec<Position>, String> {
    list(json, to_position)
}

fn to_position(json: &Json) -> Result<Position, String> {
    let numbers: Vec<f64> = list(json, |n| {
        n.as_f64().ok_or_else(|| format!("{n} is not a coordinate"))
    })?;
    match numbers[..] {
        [x, y] => Ok(Position::xy(x, y)),
        [x, y, z, ..] => Ok(Position {
            z: Some(z),
            ..Position::xy(x, y)
        }),
        _ => Err("a position needs two numbers".to_owned()),
    }
}

fn srid_of(crs: Option<&Json>) -> Result<i32> {
    let Some(name) = crs.and_then(|crs| crs["properties"]["name"].as_str()) else {
        return Ok(4326);
    };
    if name.ends_with("CRS84") {
        return Ok(4326);
    }
    name.rsplit(':')
        .next()
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("the coordinate system {name:?} is not known by an EPSG code"))
}

/// Is called with the number of a feature, from 1, and the feature.
type EachFeature<'a> = &'a mut dyn FnMut(u64, Feature) -> Result<()>;

/// Streams all features of a file; gives its `crs` member.
fn each_feature(path: &Path, each: EachFeature<'_>) -> Result<Option<Json>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut reader = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, file));
    let mut failed = None;
    let mut number = 0;
    let seed = Document {
        each: &mut |feature| {
            number += 1;
            each(number, feature).map_err(|error| failed = Some(error))
        },
    };
    let done = seed.deserialize(&mut reader);
    if let Some(error) = failed {
        return Err(error.context(format!("{} cannot be loaded", path.display())));
    }
    done.with_context(|| format!("{} is not a GeoJSON feature collection", path.display()))
}

/// Is given each feature; `Err` stops the reading, the reason is kept aside.
type OnFeature<'a> = &'a mut dyn FnMut(Feature) -> Result<(), ()>;

struct Document<'a> {
    each: OnFeature<'a>,
}
struct Features<'a> {
    each: OnFeature<'a>,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Option<Json>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Option<Json>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a feature collection")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut crs = None;
        let mut has_features = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "features" => {
                    has_features = true;
                    map.next_value_seed(Features {
                        each: &mut *self.each,
                    })?;
                }
                "crs" => crs = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_features {
            Ok(crs)
        } else {
            Err(serde::de::Error::missing_field("features"))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Features<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Features<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of features")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut features: A) -> Result<(), A::Error> {
        while let Some(feature) = features.next_element::<Feature>()? {
            (self.each)(feature).map_err(|()| serde::de::Error::custom("stopped"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use haversack_model::FieldType;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::Builder::new()
            .suffix(".geojson")
            .tempfile()
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn features_of_two_kinds_become_two_layers_and_the_shapeless_join_the_larger() {
        let file = file(
            r#"{"features":[
            {"type":"Feature","properties":{"a":1},"geometry":{"type":"Point","coordinates":[1,2]}},
            {"type":"Feature","properties":{"a":2},"geometry":{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}},
            {"type":"Feature","properties":{"a":3},"geometry":{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]]]}},
            {"type":"Feature","properties":null,"geometry":null}],"type":"FeatureCollection"}"#,
        );
        let source = GeoJson::open(file.path()).unwrap();
        let kinds: Vec<_> = source.datasets.iter().map(|d| (d.kind, d.rows)).collect();
        assert_eq!(
            kinds,
            [
                (Some(GeometryKind::Point), 1),
                (Some(GeometryKind::Polygon), 3)
            ]
        );
        let mut seen = Vec::new();
        source
            .read(1, &mut |row| {
                seen.push((row.values[0].clone(), row.geometry.is_some()));
                Ok(())
            })
            .unwrap();
        assert_eq!(
            seen,
            [
                (Value::Integer(2), true),
                (Value::Integer(3), true),
                (Value::Null, false)
            ]
        );
        assert_eq!(source.datasets[1].fields[0].kind, FieldType::Integer);
    }

    #[test]
    fn a_geometry_collection_is_refused_with_the_feature_that_has_it() {
        let file = file(
            r#"{"type":"FeatureCollection","features":[
            {"type":"Feature","properties":{},"geometry":{"type":"GeometryCollection","geometries":[]}}]}"#,
        );
        let refused = format!("{:#}", GeoJson::open(file.path()).unwrap_err());
        assert!(
            refused.contains("feature 1") && refused.contains("GeometryCollection"),
            "{refused}"
        );
    }

    #[test]
    fn a_uuid_in_the_file_is_the_identity_of_the_feature() {
        let file = file(
            r#"{"type":"FeatureCollection","features":[
            {"type":"Feature","properties":{"GlobalID":"{0A1B2C3D-0000-4000-8000-000000000001}"},"geometry":null},
            {"type":"Feature","id":"0a1b2c3d-0000-4000-8000-000000000002","properties":{},"geometry":null}]}"#,
        );
        let source = GeoJson::open(file.path()).unwrap();
        let mut ids = Vec::new();
        source
            .read(0, &mut |row| {
                ids.push(row.global_id.unwrap().as_u128() & 0xff);
                Ok(())
            })
            .unwrap();
        assert_eq!(ids, [1, 2]);
        assert!(source.datasets[0].fields.is_empty());
    }
}
