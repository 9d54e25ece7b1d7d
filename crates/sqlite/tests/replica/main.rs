//! Replica files, edited by real programs: GDAL 3.6 (`ogr2ogr`, `ogrinfo`, Python bindings) and Python's `sqlite3`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod capture;
mod journal;
mod prepare;
mod property;
mod prune;
mod repair;
mod support;
mod transaction;
mod world;
