//! GeoJSON, read feature by feature: memory does not grow with the file.
//!
//! Source: RFC 7946; for `crs` GeoJSON 2008, section 3.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value as Json};

use haversack_model::Shape;
use haversack_model::schema::GeometryKind;

use super::infer::Seen;
use super::{
    Progress, Reader, SourceField, SourceGeometry, SourceLayer, SourceRow, convert, invalid,
};
use crate::error::{Error, Result, at_path};

const WGS84: i32 = 4326;
const REPORT_EVERY: u64 = 5000;

#[derive(Debug, Deserialize)]
struct Feature {
    #[serde(default)]
    id: Json,
    #[serde(default)]
    properties: Option<Map<String, Json>>,
    #[serde(default)]
    geometry: Json,
}

/// Kinds of geometry that share a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Points,
    Lines,
    Areas,
}

impl Family {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Point(_) | Shape::MultiPoint(_) => Self::Points,
            Shape::LineString(_) | Shape::MultiLineString(_) => Self::Lines,
            Shape::Polygon(_) | Shape::MultiPolygon(_) => Self::Areas,
        }
    }
    fn word(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::Lines => "lines",
            Self::Areas => "areas",
        }
    }
}

/// A GeoJSON file.
#[derive(Debug)]
pub(super) struct GeoJson {
    path: PathBuf,
    layers: Vec<SourceLayer>,
    families: Vec<Option<Family>>,
    /// Names of the properties, in the order of the fields; the feature's own id last, if it is a field.
    properties: Vec<String>,
    id_is_field: bool,
    global_id: Option<String>,
}

#[derive(Default)]
struct Survey {
    names: Vec<String>,
    seen: std::collections::HashMap<String, Seen>,
    id: Seen,
    has_id: bool,
    families: Vec<(Family, u64)>,
    without_geometry: u64,
    has_multipoint: bool,
    has_z: bool,
}

impl Survey {
    fn note(&mut self, feature: &Feature) -> Result<(), String> {
        for (name, value) in feature.properties.iter().flatten() {
            if !self.seen.contains_key(name) {
                self.names.push(name.clone());
            }
            self.seen.entry(name.clone()).or_default().note(value);
        }
        if !feature.id.is_null() {
            self.has_id = true;
            self.id.note(&feature.id);
        }
        let Some(shape) = convert::geometry(&feature.geometry)? else {
            self.without_geometry += 1;
            return Ok(());
        };
        self.has_multipoint |= matches!(shape, Shape::MultiPoint(_));
        shape.for_each_position(&mut |p| self.has_z |= p.z.is_some());
        let family = Family::of(&shape);
        match self.families.iter_mut().find(|(known, _)| *known == family) {
            Some((_, count)) => *count += 1,
            None => self.families.push((family, 1)),
        }
        Ok(())
    }
}

impl GeoJson {
    /// Reads the file once, to find out what is in it.
    pub(super) fn open(path: &Path, name: &str, progress: Progress<'_>) -> Result<Self> {
        let mut survey = Survey::default();
        let mut count = 0;
        let head = each_feature(path, &mut |feature| {
            count += 1;
            if count % REPORT_EVERY == 0 {
                progress("reading", count, None);
            }
            survey
                .note(&feature)
                .map_err(|problem| invalid(path, format!("feature {count}: {problem}")))
        })?;
        survey.families.sort_by_key(|(family, _)| *family);
        let srid = head.srid.unwrap_or(WGS84);
        // A property that says GlobalID and holds nothing but different UUIDs is the identity of its records.
        let global_id = survey
            .names
            .iter()
            .find(|name| name.eq_ignore_ascii_case("GlobalID"))
            .cloned();
        let global_id = match global_id {
            Some(name) if all_are_ids(path, &name)? => Some(name),
            _ => None,
        };
        survey.names.retain(|name| Some(name) != global_id.as_ref());
        let id_is_field =
            survey.has_id && !survey.names.iter().any(|n| n.eq_ignore_ascii_case("id"));
        let mut fields: Vec<_> = survey
            .names
            .iter()
            .map(|name| field(name, &survey.seen[name]))
            .collect();
        if id_is_field {
            fields.push(field("id", &survey.id));
        }
        let layer = |name: String, family: Option<Family>, count| SourceLayer {
            name,
            fields: fields.clone(),
            geometry: family.map(|family| SourceGeometry {
                kind: match family {
                    Family::Points if survey.has_multipoint => GeometryKind::Multipoint,
                    Family::Points => GeometryKind::Point,
                    Family::Lines => GeometryKind::Polyline,
                    Family::Areas => GeometryKind::Polygon,
                },
                srid,
                has_z: survey.has_z,
                has_m: false,
            }),
            count,
        };
        let (layers, families) = match survey.families.as_slice() {
            [] => (vec![layer(name.to_owned(), None, count)], vec![None]),
            [(family, _)] => (
                vec![layer(name.to_owned(), Some(*family), count)],
                vec![Some(*family)],
            ),
            several => several
                .iter()
                .enumerate()
                .map(|(at, (family, count))| {
                    // Records without geometry go to the first layer.
                    let without = if at == 0 { survey.without_geometry } else { 0 };
                    let name = format!("{name} {}", family.word());
                    (layer(name, Some(*family), count + without), Some(*family))
                })
                .unzip(),
        };
        Ok(Self {
            path: path.to_owned(),
            layers,
            families,
            properties: survey.names,
            id_is_field,
            global_id,
        })
    }

    fn row(&self, layer: usize, feature: &Feature) -> Result<Option<SourceRow>, String> {
        let shape = convert::geometry(&feature.geometry)?;
        let family = shape.as_ref().map(Family::of);
        let is_here = match family {
            Some(family) => self.families[layer] == Some(family),
            None => layer == 0,
        };
        if !is_here {
            return Ok(None);
        }
        let of = &self.layers[layer];
        let property = |name: &String| feature.properties.as_ref()?.get(name);
        let mut found: Vec<&Json> = self
            .properties
            .iter()
            .map(|name| property(name).unwrap_or(&Json::Null))
            .collect();
        if self.id_is_field {
            found.push(&feature.id);
        }
        let values = of.fields.iter().zip(found).map(|(field, json)| {
            convert::value(field.kind, json)
                .ok_or_else(|| format!("{} holds {json}, which does not fit", field.name))
        });
        let id = self.global_id.as_ref().and_then(property);
        Ok(Some(SourceRow {
            values: values.collect::<Result<_, _>>()?,
            geometry: shape
                .zip(of.geometry)
                .map(|(shape, of)| convert::fit(&shape, of.kind, of.has_z, of.has_m)),
            global_id: id.and_then(Json::as_str).and_then(parse_id),
        }))
    }
}

fn field(name: &str, seen: &Seen) -> SourceField {
    SourceField {
        name: name.to_owned(),
        kind: seen.kind(),
        length: None,
    }
}

/// A UUID in any of the forms that clients write.
pub(super) fn parse_id(text: &str) -> Option<uuid::Uuid> {
    match haversack_model::GlobalId::parse_uuid(text).ok()? {
        haversack_model::GlobalId::Uuid(uuid) => Some(uuid),
        haversack_model::GlobalId::Text(_) => None,
    }
}

fn all_are_ids(path: &Path, name: &str) -> Result<bool> {
    let mut ids = std::collections::HashSet::new();
    let mut all = true;
    each_feature(path, &mut |feature| {
        let id = feature.properties.as_ref().and_then(|p| p.get(name));
        let id = id.and_then(Json::as_str).and_then(parse_id);
        all &= id.is_some_and(|id| ids.insert(id));
        Ok(())
    })?;
    Ok(all)
}

impl Reader for GeoJson {
    fn layers(&self) -> &[SourceLayer] {
        &self.layers
    }
    fn read(&mut self, layer: usize, visit: &mut dyn FnMut(SourceRow) -> Result<()>) -> Result<()> {
        let mut number = 0_u64;
        each_feature(&self.path, &mut |feature| {
            number += 1;
            let row = self.row(layer, &feature);
            let row =
                row.map_err(|problem| invalid(&self.path, format!("feature {number}: {problem}")))?;
            row.map_or(Ok(()), &mut *visit)
        })
        .map(|_head| ())
    }
}

/// What a file says beside its features.
#[derive(Debug, Default)]
struct Head {
    srid: Option<i32>,
}

type Visit<'a> = &'a mut dyn FnMut(Feature) -> Result<()>;

/// Calls `visit` for every feature.
fn each_feature(path: &Path, visit: Visit<'_>) -> Result<Head> {
    let mut file = File::open(path).map_err(at_path("opening", path))?;
    skip_mark(&mut file).map_err(at_path("reading", path))?;
    let mut own = None;
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 18, file));
    let seed = Collection {
        visit,
        failed: &mut own,
    };
    let read = seed
        .deserialize(&mut json)
        .and_then(|head| json.end().map(|()| head));
    match (own, read) {
        // An error of the visitor went through the parser only to stop it.
        (Some(error), _) => Err(error),
        (None, Ok(head)) => Ok(head),
        (None, Err(error)) => Err(invalid(
            path,
            format!("it is no GeoJSON feature collection: {error}"),
        )),
    }
}

/// Some programs begin the file with a byte order mark.
fn skip_mark(file: &mut File) -> std::io::Result<()> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut first = [0; 3];
    let count = file.read(&mut first)?;
    if count < 3 || first != [0xef, 0xbb, 0xbf] {
        file.seek(SeekFrom::Start(0))?;
    }
    Ok(())
}

struct Collection<'a> {
    visit: Visit<'a>,
    failed: &'a mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for Collection<'_> {
    type Value = Head;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Head, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collection<'_> {
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of type FeatureCollection")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head, A::Error> {
        let mut head = Head::default();
        let mut has_features = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "type" => {
                    let kind: String = map.next_value()?;
                    if kind != "FeatureCollection" {
                        return Err(A::Error::custom(format!("its type is {kind:?}")));
                    }
                }
                "crs" => {
                    let crs: Json = map.next_value()?;
                    head.srid = srid_of(&crs).map_err(A::Error::custom)?;
                }
                "features" => {
                    has_features = true;
                    map.next_value_seed(Features {
                        visit: &mut *self.visit,
                        failed: &mut *self.failed,
                    })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_features {
            Ok(head)
        } else {
            Err(A::Error::missing_field("features"))
        }
    }
}

struct Features<'a> {
    visit: Visit<'a>,
    failed: &'a mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for Features<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Features<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of features")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(feature) = list.next_element::<Feature>()? {
            if let Err(error) = (self.visit)(feature) {
                *self.failed = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// The EPSG code of a `crs` member. A null one means that none is known: then the standard's own holds.
fn srid_of(crs: &Json) -> Result<Option<i32>, String> {
    if crs.is_null() {
        return Ok(None);
    }
    let name = crs
        .pointer("/properties/name")
        .and_then(Json::as_str)
        .ok_or("its crs has no name")?;
    if name.ends_with("CRS84") {
        return Ok(Some(WGS84));
    }
    let code = name.rsplit(':').next().and_then(|code| code.parse().ok());
    if name.to_ascii_uppercase().contains("EPSG") && code.is_some() {
        return Ok(code);
    }
    Err(format!("its crs {name:?} is not an EPSG code"))
}
