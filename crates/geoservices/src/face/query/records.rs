//! Features as JSON, GeoJSON or protocol buffers, written as the store gives them.

use std::io::Write;

use haversack_model::query::Query;
use haversack_model::store::Flow;
use haversack_model::{Collection, Filter, QueryRow, ReadTx, Record};
use serde_json::Value;

use super::super::answer::{Answer, Spool};
use super::super::call::Opened;
use super::super::metadata::layer;
use super::super::problem::{Problem, Result};
use super::filter::reference;
use super::simplify::{Grid, thinned};
use super::{Encoding, encoding, order_by};
use crate::wire::crs::{self, Transform};
use crate::wire::feature::{Column, FeatureWriter};
use crate::wire::geometry::{GeometryOptions, geometry_type};
use crate::wire::json::{write_text, write_value};
use crate::wire::params::Params;

/// EPSG code of GeoJSON.
const WGS84: i32 = 4326;

/// How features are written.
#[derive(Debug)]
pub(crate) struct Style<'a> {
    pub(crate) collection: &'a Collection,
    pub(crate) columns: Vec<Column>,
    /// `None`: no geometry.
    pub(crate) geometry: Option<GeometryOptions>,
    /// Reference of the answer.
    pub(crate) srid: i32,
    pub(crate) transform: Option<Transform>,
    pub(crate) thin: Option<f64>,
    pub(crate) grid: Option<Grid>,
}

impl<'a> Style<'a> {
    /// Reads `outFields`, `outSR`, `returnGeometry` and what makes geometry coarser.
    pub(crate) fn of_params(
        params: &Params,
        collection: &'a Collection,
        encoding: Encoding,
    ) -> Result<Self> {
        let names = params.words("outFields")?;
        let columns = Column::select(collection, names.as_deref())?;
        let own = collection.geometry.as_ref().map_or(WGS84, |c| c.srid);
        let asked = params
            .text("outSR")
            .map(|text| reference(text, "outSR"))
            .transpose()?;
        let srid = asked.unwrap_or(match encoding {
            Encoding::GeoJson => WGS84,
            Encoding::Json | Encoding::Pbf => own,
        });
        let precision = params
            .integer("geometryPrecision", 0..=17)?
            .and_then(|p| u8::try_from(p).ok());
        let thin = params.number("maxAllowableOffset")?;
        if thin.is_some_and(|t| t < 0.0) {
            return Err(Problem::parameter(
                "maxAllowableOffset",
                "use a number from 0",
            ));
        }
        let wants = params.flag("returnGeometry", true)? && collection.geometry.is_some();
        let geometry = GeometryOptions {
            z: params.flag("returnZ", encoding == Encoding::GeoJson)?,
            m: params.flag("returnM", false)?,
            precision,
            srid: None,
        };
        let transform = if wants {
            Transform::between(own, srid).map_err(Problem::within("outSR"))?
        } else {
            None
        };
        Ok(Self {
            collection,
            columns,
            geometry: wants.then_some(geometry),
            srid,
            transform,
            thin: thin.filter(|t| *t > 0.0),
            grid: Grid::of_params(params)?.filter(|_| encoding == Encoding::Json),
        })
    }

    /// Whether z and m are written: they are asked for and the layer has them.
    pub(crate) fn z_and_m(&self) -> (bool, bool) {
        match (&self.collection.geometry, self.geometry) {
            (Some(column), Some(options)) => (options.z && column.has_z, options.m && column.has_m),
            _ => (false, false),
        }
    }

    /// The writer of this style.
    fn writer(&self) -> FeatureWriter<'_> {
        let writer = FeatureWriter::new(self.collection).columns(self.columns.clone());
        if self.thin.is_some() || self.grid.is_some() {
            // Those transform by themselves, before they make coarser.
            return writer.geometry(self.geometry.filter(|_| self.grid.is_none()));
        }
        writer
            .geometry(self.geometry)
            .transform(self.transform.as_ref())
    }

    /// A record as it is to be written by [`Self::writer`].
    fn prepared(&self, record: &Record) -> Result<Option<Record>> {
        let Some(tolerance) = self.thin.filter(|_| self.geometry.is_some()) else {
            return Ok(None);
        };
        let mut record = record.clone();
        record.geometry = self.placed(&record)?.map(|g| thinned(&g, tolerance));
        Ok(Some(record))
    }

    /// Its geometry in the reference of the answer.
    pub(crate) fn placed(&self, record: &Record) -> Result<Option<haversack_model::Geometry>> {
        Ok(match (&record.geometry, &self.transform) {
            (Some(geometry), Some(transform)) => Some(transform.geometry(geometry)?),
            (geometry, _) => geometry.clone(),
        })
    }

    /// Writes one feature.
    pub(crate) fn write(&self, out: &mut dyn Write, record: &Record) -> Result<()> {
        let writer = self.writer();
        let Some(grid) = self.grid.filter(|_| self.geometry.is_some()) else {
            let prepared = self.prepared(record)?;
            return Ok(writer.write(out, prepared.as_ref().unwrap_or(record))?);
        };
        let mut attributes = Vec::new();
        writer.write(&mut attributes, record)?;
        let io = |error| Problem::io("writing an answer", &error);
        // `{"attributes":{..}}` without its last brace.
        out.write_all(&attributes[..attributes.len() - 1])
            .map_err(io)?;
        out.write_all(b",\"geometry\":").map_err(io)?;
        let mut geometry = self.placed(record)?;
        if let (Some(geometry), Some(tolerance)) = (&mut geometry, self.thin) {
            *geometry = thinned(geometry, tolerance);
        }
        match geometry {
            Some(geometry) => grid.write(out, &geometry, self.z_and_m()).map_err(io)?,
            None => out.write_all(b"null").map_err(io)?,
        }
        out.write_all(b"}").map_err(io)
    }

    fn write_geojson(&self, out: &mut dyn Write, record: &Record) -> Result<()> {
        let prepared = self.prepared(record)?;
        let record = prepared.as_ref().unwrap_or(record);
        Ok(self.writer().write_geojson(out, record)?)
    }

    /// The `fields` of an answer with these columns.
    pub(crate) fn fields(&self) -> Vec<Value> {
        let collection = self.collection;
        let tell = |column: &Column| match *column {
            Column::ObjectId => layer::object_id_field(collection),
            Column::GlobalId => layer::global_id_field(collection),
            Column::Field(at) => layer::field(collection, &collection.fields[at]),
        };
        self.columns.iter().map(tell).collect()
    }
}

/// The records that match, one page of them.
pub(crate) fn answer(
    params: &Params,
    opened: &Opened,
    collection: &Collection,
    filter: Filter,
) -> Result<Answer> {
    let encoding = encoding(params)?;
    let style = Style::of_params(params, collection, encoding)?;
    let largest = u64::from(collection.max_record_count.max(1));
    let asked = super::count(params, "resultRecordCount")?;
    let page = asked.filter(|n| *n > 0).unwrap_or(largest).min(largest);
    let order = order_by(params, collection, &[], opened.now)?;
    let query = Query {
        order,
        offset: super::count(params, "resultOffset")?.unwrap_or(0),
        // One more, to know whether there is more.
        limit: Some(page + 1),
        ..Query::records(collection.id, filter)
    };
    let tx = opened.store.begin_read()?;
    match encoding {
        Encoding::Json => json(tx.as_ref(), &style, &query, page),
        Encoding::GeoJson => geojson(tx.as_ref(), &style, &query, page),
        Encoding::Pbf => super::pbf::answer(tx.as_ref(), &style, &query, page, params),
    }
}

/// Streams one page; `true` if there is more.
pub(crate) fn stream(
    tx: &dyn ReadTx,
    query: &Query,
    page: u64,
    visit: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<bool> {
    let (mut count, mut more) = (0, false);
    let mut problem = None;
    tx.query(query, &mut |row| {
        let QueryRow::Record(version) = row else {
            return Ok(Flow::Continue(()));
        };
        if count == page {
            more = true;
            return Ok(Flow::Break(()));
        }
        count += 1;
        match visit(version.record) {
            Ok(()) => Ok(Flow::Continue(())),
            Err(error) => {
                problem = Some(error);
                Ok(Flow::Break(()))
            }
        }
    })?;
    problem.map_or(Ok(more), Err)
}

fn json(tx: &dyn ReadTx, style: &Style<'_>, query: &Query, page: u64) -> Result<Answer> {
    let mut out = Spool::new();
    let io = |error| Problem::io("writing an answer", &error);
    head(&mut out, style).map_err(io)?;
    out.write_all(b"\"features\":[").map_err(io)?;
    let mut first = true;
    let more = stream(tx, query, page, &mut |record| {
        if !std::mem::take(&mut first) {
            out.write_all(b",").map_err(io)?;
        }
        style.write(&mut out, &record)
    })?;
    let end = if more {
        "],\"exceededTransferLimit\":true}"
    } else {
        "]}"
    };
    out.write_all(end.as_bytes()).map_err(io)?;
    Ok(Answer::Spooled {
        content: out,
        content_type: "application/json; charset=utf-8",
    })
}

/// Everything of a feature set before its features, from the opening brace on.
pub(crate) fn head(out: &mut dyn Write, style: &Style<'_>) -> std::io::Result<()> {
    let collection = style.collection;
    out.write_all(b"{\"objectIdFieldName\":")?;
    write_text(out, &collection.object_id_field)?;
    out.write_all(b",\"uniqueIdField\":{\"name\":")?;
    write_text(out, &collection.object_id_field)?;
    out.write_all(b",\"isSystemMaintained\":true},\"globalIdFieldName\":")?;
    write_text(out, &collection.global_id_field)?;
    if let (Some(column), Some(_)) = (&collection.geometry, style.geometry) {
        let (has_z, has_m) = style.z_and_m();
        out.write_all(b",\"geometryType\":")?;
        write_text(out, geometry_type(column.kind))?;
        out.write_all(b",\"spatialReference\":")?;
        write_value(out, &crs::to_json(style.srid))?;
        if has_z {
            out.write_all(b",\"hasZ\":true")?;
        }
        if has_m {
            out.write_all(b",\"hasM\":true")?;
        }
        if let Some(grid) = style.grid {
            out.write_all(b",\"transform\":")?;
            write_value(out, &grid.to_json())?;
        }
    }
    out.write_all(b",\"fields\":")?;
    write_value(out, &Value::Array(style.fields()))?;
    out.write_all(b",")
}

fn geojson(tx: &dyn ReadTx, style: &Style<'_>, query: &Query, page: u64) -> Result<Answer> {
    let mut out = Spool::new();
    let io = |error| Problem::io("writing an answer", &error);
    out.write_all(b"{\"type\":\"FeatureCollection\",")
        .map_err(io)?;
    if style.srid != WGS84 {
        let name = format!("urn:ogc:def:crs:EPSG::{}", style.srid);
        let crs = serde_json::json!({"type": "name", "properties": {"name": name}});
        write!(out, "\"crs\":{crs},").map_err(io)?;
    }
    out.write_all(b"\"features\":[").map_err(io)?;
    let mut first = true;
    let more = stream(tx, query, page, &mut |record| {
        if !std::mem::take(&mut first) {
            out.write_all(b",").map_err(io)?;
        }
        style.write_geojson(&mut out, &record)
    })?;
    // Under both names: the older one at the top, the newer one among the properties.
    let end = if more {
        "],\"exceededTransferLimit\":true,\"properties\":{\"exceededTransferLimit\":true}}"
    } else {
        "]}"
    };
    out.write_all(end.as_bytes()).map_err(io)?;
    Ok(Answer::Spooled {
        content: out,
        content_type: "application/geo+json; charset=utf-8",
    })
}
