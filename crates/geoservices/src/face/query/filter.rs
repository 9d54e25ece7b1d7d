//! Which records a request means: `where`, ids and geometry, joined with what the principal may see.
//!
//! Every read and every edit by condition goes through [`of_params`], so the row filter of a grant can be forgotten nowhere.

use haversack_model::filter::SpatialRelation;
use haversack_model::{Collection, Filter, Geometry, ObjectId, Timestamp};

use super::super::call::Opened;
use super::super::problem::{Problem, Result};
use crate::wire::crs::{self, MERCATOR_LATITUDE, Transform};
use crate::wire::geometry::{self, kind_of_type};
use crate::wire::params::Params;
use crate::wire::sql;

/// Most ids in one request.
const MAX_IDS: usize = 10_000;

/// The names of spatial relations.
const RELATIONS: [(&str, SpatialRelation); 8] = [
    ("esriSpatialRelIntersects", SpatialRelation::Intersects),
    (
        "esriSpatialRelEnvelopeIntersects",
        SpatialRelation::EnvelopeIntersects,
    ),
    (
        "esriSpatialRelIndexIntersects",
        SpatialRelation::EnvelopeIntersects,
    ),
    ("esriSpatialRelContains", SpatialRelation::Contains),
    ("esriSpatialRelWithin", SpatialRelation::Within),
    ("esriSpatialRelCrosses", SpatialRelation::Crosses),
    ("esriSpatialRelOverlaps", SpatialRelation::Overlaps),
    ("esriSpatialRelTouches", SpatialRelation::Touches),
];

/// The filter of a request, grants included.
pub(crate) fn of_params(
    params: &Params,
    opened: &Opened,
    collection: &Collection,
) -> Result<Filter> {
    let mut filter = opened.access.filter(collection.id);
    filter = filter.and(condition(params, "where", opened, collection)?);
    if let Some(ids) = object_ids(params, "objectIds")? {
        filter = filter.and(Filter::ObjectIds(ids));
    }
    if let Some(ids) = params.global_ids("globalIds")? {
        if ids.len() > MAX_IDS {
            return Err(too_many("globalIds"));
        }
        filter = filter.and(Filter::GlobalIds(ids));
    }
    Ok(filter.and(spatial(params, collection)?))
}

/// A where clause by the name of its parameter; all records if it is absent.
pub(crate) fn condition(
    params: &Params,
    name: &str,
    opened: &Opened,
    collection: &Collection,
) -> Result<Filter> {
    params.text(name).map_or(Ok(Filter::All), |text| {
        parse_where(text, name, collection, opened.now)
    })
}

/// A where clause.
pub(crate) fn parse_where(
    text: &str,
    name: &str,
    collection: &Collection,
    now: Timestamp,
) -> Result<Filter> {
    sql::condition(text, collection, now).map_err(|error| Problem::sql(name, error))
}

/// A list of object ids.
pub(crate) fn object_ids(params: &Params, name: &str) -> Result<Option<Vec<ObjectId>>> {
    let Some(ids) = params.ids(name)? else {
        return Ok(None);
    };
    if ids.len() > MAX_IDS {
        return Err(too_many(name));
    }
    Ok(Some(ids.into_iter().map(ObjectId).collect()))
}

fn too_many(name: &str) -> Problem {
    Problem::parameter(name, &format!("send at most {MAX_IDS} ids at a time"))
}

/// The geometry filter of a request, in the collection's own reference.
pub(crate) fn spatial(params: &Params, collection: &Collection) -> Result<Filter> {
    let relation = params
        .choice("spatialRel", &RELATIONS)?
        .unwrap_or(SpatialRelation::Intersects);
    let named = params.text("geometryType");
    if let Some(name) = named.filter(|name| !is_geometry_type(name)) {
        let problem = format!(
            "{:?} is not a geometry type",
            name.chars().take(60).collect::<String>()
        );
        return Err(Problem::parameter("geometryType", &problem));
    }
    let in_sr = params
        .text("inSR")
        .map(|text| reference(text, "inSR"))
        .transpose()?;
    let Some(text) = params.text("geometry") else {
        return Ok(Filter::All);
    };
    let sent = geometry::from_text(text, "geometry").map_err(Problem::within("geometry"))?;
    let Some(column) = &collection.geometry else {
        // A table has no places: a geometry does not narrow it.
        return Ok(Filter::All);
    };
    let from = sent.srid.or(in_sr).unwrap_or(column.srid);
    let geometry = place(&sent.geometry, from, column.srid).map_err(Problem::within("geometry"))?;
    Ok(Filter::Spatial { relation, geometry })
}

fn is_geometry_type(name: &str) -> bool {
    name.eq_ignore_ascii_case("esriGeometryEnvelope") || kind_of_type(name).is_some()
}

/// A spatial reference; an unknown one is told with the name of its parameter.
pub(crate) fn reference(text: &str, name: &str) -> Result<i32> {
    crs::from_text(text, name).map_err(Problem::within(name))
}

/// Brings a geometry into another reference. The poles, which Web Mercator does not have, are cut off.
pub(crate) fn place(geometry: &Geometry, from: i32, to: i32) -> crate::Result<Geometry> {
    let Some(transform) = Transform::between(from, to)? else {
        return Ok(geometry.clone());
    };
    match transform.geometry(geometry) {
        Err(crate::Error::Reproject { .. }) if crs::is_geographic(from) => {
            let clamped = geometry.shape().map_positions(&mut |p| {
                let mut p = *p;
                p.y = p.y.clamp(-MERCATOR_LATITUDE, MERCATOR_LATITUDE);
                p.x = p.x.clamp(-180.0, 180.0);
                p
            });
            transform.geometry(&Geometry::from_shape(&clamped))
        }
        other => other,
    }
}
