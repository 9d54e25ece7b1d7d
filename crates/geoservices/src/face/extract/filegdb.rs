//! Copies as a zipped file geodatabase, made by GDAL in a process of its own.

use std::path::PathBuf;
use std::sync::OnceLock;

/// The program that makes file geodatabases.
const PROGRAM: &str = "ogr2ogr";

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
