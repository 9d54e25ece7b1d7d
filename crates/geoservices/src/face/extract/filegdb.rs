//! Copies as a zipped file geodatabase, made by GDAL in a process of its own.
//!
//! The rows go out as text files with a description of their types beside them, and `ogr2ogr` makes the geodatabase from
//! both. It runs in a private folder with limits on time, memory and file size and without this process's environment.
//! Global ids are written as GUIDs: a true GlobalID column would get new values from GDAL (`spec/geoservices.md` 9).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use haversack_model::query::Query;
use haversack_model::schema::{FieldType, GeometryKind};
use haversack_model::{Collection, CollectionId, Filter, ReadTx, Record, Value};
use zip::write::SimpleFileOptions;

use super::super::call::{Call, Opened};
use super::super::files;
use super::super::problem::{Problem, Result};
use super::super::query::records::{Style, stream};
use super::super::replica::document::Writer;

/// The program that makes file geodatabases.
const PROGRAM: &str = "ogr2ogr";
/// Longest run for one layer.
const MAX_TIME: Duration = Duration::from_mins(30);
/// Memory of the process in KiB, and size of one file it writes in blocks of 512 bytes.
const LIMITS: &str = "ulimit -v 4194304; ulimit -t 1800; ulimit -c 0; exec \"$@\"";

/// Whether the format can be made here; it is not advertised otherwise.
pub(crate) fn is_available() -> bool {
    program().is_some()
}

/// Where the program is, found once.
fn program() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path)
                .map(|folder| folder.join(PROGRAM))
                .find(|candidate| candidate.is_file())
        })
        .as_ref()
}

#[allow(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn failed(error: io::Error) -> Problem {
    Problem::io("writing a file geodatabase", &error)
}

/// Exports layers and answers the URL of the zip file.
pub(crate) fn export(
    call: &Call,
    opened: &Opened,
    tx: &dyn ReadTx,
    layers: &[(CollectionId, Filter, Option<Filter>)],
    srid: Option<i32>,
    name: &str,
) -> Result<String> {
    let folder = tempfile::tempdir().map_err(failed)?;
    let geodatabase = folder.path().join("data.gdb");
    let writer = Writer {
        call,
        opened,
        srid,
        attachments_by_url: true,
    };
    let mut taken = Vec::new();
    for (id, filter, _) in layers {
        let style = writer.style(*id)?;
        let table = unique_name(&style.collection.name, &mut taken);
        let rows = write_rows(tx, &style, filter, folder.path(), *id)?;
        let description = describe(&style, *id, &table);
        let source = folder.path().join(format!("layer{id}.vrt"));
        fs::write(&source, description).map_err(failed)?;
        convert(folder.path(), &source, &geodatabase, style.collection, rows)?;
    }
    let mut file = call.host.create_file(&call.principal, "zip")?;
    let zipped = zip_folder(
        &geodatabase,
        &file.path,
        &format!("{}.gdb", file.id.simple()),
    );
    if let Err(error) = zipped {
        call.host.remove_file(file.id)?;
        return Err(failed(error));
    }
    files::describe(call, &mut file, name)
}

/// A table name that a geodatabase accepts and that no other layer has.
fn unique_name(name: &str, taken: &mut Vec<String>) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .take(100)
        .collect();
    let start = if plain.starts_with(|c: char| c.is_alphabetic()) {
        ""
    } else {
        "L_"
    };
    let plain = format!("{start}{plain}");
    let mut unique = plain.clone();
    for number in 2.. {
        if !taken
            .iter()
            .any(|other| other.eq_ignore_ascii_case(&unique))
        {
            break;
        }
        unique = format!("{plain}_{number}");
    }
    taken.push(unique.clone());
    unique
}

fn column(at: usize) -> String {
    format!("c{at}")
}

fn write_rows(
    tx: &dyn ReadTx,
    style: &Style<'_>,
    filter: &Filter,
    folder: &Path,
    id: CollectionId,
) -> Result<u64> {
    let collection = style.collection;
    let file = File::create(folder.join(format!("layer{id}.csv"))).map_err(failed)?;
    let mut out = BufWriter::new(file);
    let mut titles = vec!["gid".to_owned()];
    titles.extend((0..collection.fields.len()).map(column));
    if collection.geometry.is_some() {
        titles.push("geom".to_owned());
    }
    writeln!(out, "{}", titles.join(",")).map_err(failed)?;
    let mut rows = 0;
    let query = Query::records(id, filter.clone());
    stream(tx, &query, u64::MAX - 1, &mut |record| {
        rows += 1;
        let line = row(style, &record)?;
        out.write_all(line.as_bytes()).map_err(failed)
    })?;
    out.flush().map_err(failed)?;
    Ok(rows)
}

fn row(style: &Style<'_>, record: &Record) -> Result<String> {
    let mut line = quoted(&record.global_id.braced());
    for (field, value) in style.collection.fields.iter().zip(&record.values) {
        line.push(',');
        line.push_str(&match value {
            Value::Null => String::new(),
            Value::Integer(ms) if field.kind == FieldType::Date => quoted(&date_text(*ms)),
            Value::Integer(n) => n.to_string(),
            Value::Real(x) => x.to_string(),
            Value::Text(text) => quoted(text),
            Value::Blob(bytes) => hex(bytes),
        });
    }
    if style.collection.geometry.is_some() {
        line.push(',');
        if let Some(geometry) = style.placed(record)? {
            line.push_str(&hex(geometry.as_wkb()));
        }
    }
    line.push('\n');
    Ok(line)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02X}");
        out
    })
}

fn date_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_outside| String::new(),
        |time| time.strftime("%Y/%m/%d %H:%M:%S%.3f+00").to_string(),
    )
}

/// The description that gives the text file its types.
fn describe(style: &Style<'_>, id: CollectionId, table: &str) -> String {
    let collection = style.collection;
    let mut xml = String::from("<OGRVRTDataSource>\n");
    let _ = writeln!(xml, "<OGRVRTLayer name=\"{}\">", escaped(table));
    let _ = writeln!(
        xml,
        "<SrcDataSource relativeToVRT=\"1\">layer{id}.csv</SrcDataSource>\n<SrcLayer>layer{id}</SrcLayer>\n\
         <OpenOptions><OOI key=\"EMPTY_STRING_AS_NULL\">YES</OOI><OOI key=\"AUTODETECT_TYPE\">NO</OOI></OpenOptions>"
    );
    match &collection.geometry {
        Some(geometry) => {
            let suffix = match (geometry.has_z, geometry.has_m) {
                (true, true) => "ZM",
                (true, false) => "25D",
                (false, true) => "M",
                (false, false) => "",
            };
            let kind = match geometry.kind {
                GeometryKind::Point => "wkbPoint",
                GeometryKind::Multipoint => "wkbMultiPoint",
                GeometryKind::Polyline => "wkbMultiLineString",
                GeometryKind::Polygon => "wkbMultiPolygon",
            };
            let _ = writeln!(
                xml,
                "<GeometryType>{kind}{suffix}</GeometryType>\n<LayerSRS>EPSG:{}</LayerSRS>\n\
                 <GeometryField encoding=\"WKB\" field=\"geom\"/>",
                style.srid
            );
        }
        None => xml.push_str("<GeometryType>wkbNone</GeometryType>\n"),
    }
    let _ = writeln!(
        xml,
        "<Field name=\"{}\" src=\"gid\" type=\"String\" width=\"38\"/>",
        escaped(&collection.global_id_field)
    );
    for (at, field) in collection.fields.iter().enumerate() {
        let (kind, subtype) = match field.kind {
            FieldType::SmallInteger => ("Integer", " subtype=\"Int16\""),
            FieldType::Integer => ("Integer", ""),
            FieldType::BigInteger => ("Integer64", ""),
            FieldType::Single => ("Real", " subtype=\"Float32\""),
            FieldType::Double => ("Real", ""),
            FieldType::Date => ("DateTime", ""),
            FieldType::Blob => ("Binary", ""),
            FieldType::String
            | FieldType::DateOnly
            | FieldType::TimeOnly
            | FieldType::TimestampOffset
            | FieldType::Guid => ("String", ""),
        };
        let width = match (field.kind, field.length) {
            (FieldType::Guid, _) => " width=\"38\"".to_owned(),
            (FieldType::String, Some(length)) => format!(" width=\"{length}\""),
            _ => String::new(),
        };
        let _ = writeln!(
            xml,
            "<Field name=\"{}\" src=\"{}\" type=\"{kind}\"{subtype}{width}/>",
            escaped(&field.name),
            column(at)
        );
    }
    xml.push_str("</OGRVRTLayer>\n</OGRVRTDataSource>\n");
    xml
}

fn escaped(text: &str) -> String {
    super::super::answer::escape(text)
}

/// Runs GDAL on one layer and checks that it wrote all rows: an empty geodatabase without an error is known to happen.
fn convert(
    folder: &Path,
    source: &Path,
    geodatabase: &Path,
    collection: &Collection,
    rows: u64,
) -> Result<()> {
    let program = program().ok_or_else(|| Problem::NotOffered("file geodatabases".to_owned()))?;
    let mut guids = vec![format!("{}=esriFieldTypeGUID", collection.global_id_field)];
    for field in collection
        .fields
        .iter()
        .filter(|f| f.kind == FieldType::Guid)
    {
        guids.push(format!("{}=esriFieldTypeGUID", field.name));
    }
    let types = format!("COLUMN_TYPES={}", guids.join(","));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", LIMITS, "sh"]).arg(program);
    command.args(["-f", "OpenFileGDB", "-lco", &types]);
    if geodatabase.exists() {
        command.args(["-update", "-append"]);
    }
    command.arg(geodatabase).arg(source);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("OGR_ENABLE_PARTIAL_REPROJECTION", "NO")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(
            File::create(folder.join("errors.txt")).map_err(failed)?,
        ));
    let mut child = command.spawn().map_err(failed)?;
    let deadline = Instant::now() + MAX_TIME;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Err(Problem::Model(haversack_model::Error::Timeout(
                u64::try_from(MAX_TIME.as_millis()).unwrap_or(u64::MAX),
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let errors = fs::read_to_string(folder.join("errors.txt")).unwrap_or_default();
    if !status.success() || errors.contains("ERROR") {
        return Err(Problem::Internal(format!(
            "ogr2ogr on layer {} with {rows} rows: {status}: {errors}",
            collection.id
        )));
    }
    Ok(())
}

fn zip_folder(folder: &Path, target: &Path, name: &str) -> io::Result<()> {
    let mut zip = zip::ZipWriter::new(File::create(target)?);
    let options = SimpleFileOptions::default().large_file(true);
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries.iter().filter(|path| path.is_file()) {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        zip.start_file(format!("{name}/{file_name}"), options)
            .map_err(io::Error::other)?;
        io::copy(&mut File::open(path)?, &mut zip)?;
    }
    zip.finish().map_err(io::Error::other)?.sync_all()
}
