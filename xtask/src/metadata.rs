//! What cargo knows of the workspace: packages, their licences, who depends on whom.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, output, program};

/// `cargo metadata` for the platform that we run on, so that nothing of other platforms is downloaded.
///
/// # Errors
/// If cargo fails.
pub fn load() -> Result<Value> {
    let version = output(program("rustc").arg("-vV"))?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not name its host")?;
    let text = output(cargo().args([
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        host,
    ]))?;
    serde_json::from_str(&text).context("cargo metadata is not JSON")
}

/// Names of the packages that one package links in its normal (not test, not build) tree, itself included.
///
/// By `cargo tree`, not from [`load`]: metadata unites the features of the whole workspace, so it would show a
/// crate the dependencies that only its neighbours switch on.
///
/// # Errors
/// If cargo fails.
pub fn normal_tree(package: &str) -> Result<BTreeSet<String>> {
    let text = output(cargo().args([
        "tree", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}",
    ]))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// The packages of the metadata.
///
/// # Errors
/// If the metadata has none.
pub fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")
}

/// A text field of a package.
pub fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or("")
}
