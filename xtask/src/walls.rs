//! The walls of the house: which crate may know which, and which crates may not come in at all.
//!
//! Source: DESIGN 3. Called by `cargo xtask check` and by the test `tests/walls.rs`.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::metadata::{normal_tree, packages, text};

/// Crates that do no I/O, read no clock and draw no random numbers.
const PURE: &[&str] = &["haversack-model", "haversack-sync"];

/// What a pure crate must not have in its tree: runtimes, databases, networks, clocks, randomness.
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "async-std",
    "smol",
    "rusqlite",
    "libsqlite3-sys",
    "tokio-postgres",
    "postgres",
    "sqlx",
    "reqwest",
    "hyper",
    "axum",
    "http",
    "ureq",
    "rustls",
    "chrono",
    "jiff",
    "time",
    "rand",
    "rand_core",
    "getrandom",
    "fastrand",
    "tempfile",
];

/// Never in the tree of anything that we ship: a second TLS or SQLite stack.
const BANNED: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-sys",
    "aws-lc-rs",
    "sqlx-sqlite",
];

/// Crates of one rank, none of which may use another.
const STRANGERS: &[&[&str]] = &[
    &["haversack-sqlite", "haversack-postgres"],
    &[
        "haversack-geoservices",
        "haversack-arangodb",
        "haversack-dhis2",
    ],
];

/// Licences that a dependency may carry; in an `OR` one of them is enough.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "BlueOak-1.0.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "Unicode-3.0",
    "CC0-1.0",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "blessing",
];

/// Packages whose manifest names a file instead of a licence; each file was read.
const READ_LICENCES: &[(&str, &str)] = &[("riblt", "MIT")];

/// Everything that stands where it should not, one sentence each.
///
/// # Errors
/// If cargo fails.
pub fn breaches(metadata: &Value) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let ours = workspace_members(metadata)?;
    for name in PURE.iter().filter(|name| ours.contains(**name)) {
        let tree = normal_tree(name)?;
        for impure in IMPURE.iter().filter(|impure| tree.contains(**impure)) {
            found.push(format!(
                "{name} must stay pure, but {impure} is in its tree"
            ));
        }
        for other in tree.iter().filter(|other| ours.contains(*other)) {
            if !PURE.contains(&other.as_str()) {
                found.push(format!("{name} must not use {other}"));
            }
        }
    }
    for package in packages(metadata)? {
        let name = text(package, "name");
        if BANNED.contains(&name) {
            found.push(format!("{name} is banned, but something depends on it"));
        }
        if ours.contains(name) {
            found.extend(forbidden_uses(name, &normal_dependencies(package)));
        } else if !licence_allowed(licence(name, text(package, "license"))) {
            found.push(format!(
                "{name} has the licence {:?}, which is not on the list",
                text(package, "license")
            ));
        }
    }
    Ok(found)
}

/// Rules between our own crates, by their direct dependencies outside tests.
fn forbidden_uses(name: &str, uses: &BTreeSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    for group in STRANGERS.iter().filter(|group| group.contains(&name)) {
        for other in group
            .iter()
            .filter(|other| **other != name && uses.contains(**other))
        {
            found.push(format!("{name} and {other} must not know each other"));
        }
    }
    if name != "haversack" && uses.contains("haversack-server") {
        found.push(format!(
            "only the command may use the server, but {name} does"
        ));
    }
    if name == "haversack-sqlite" {
        for other in uses
            .iter()
            .filter(|u| u.starts_with("haversack-") && !PURE.contains(u))
        {
            found.push(format!(
                "a store knows the pure crates alone, but {name} uses {other}"
            ));
        }
    }
    if STRANGERS[1].contains(&name) && uses.contains("haversack-sqlite") {
        found.push(format!(
            "{name} must work on any store, but it uses haversack-sqlite"
        ));
    }
    found
}

fn workspace_members(metadata: &Value) -> Result<BTreeSet<String>> {
    Ok(packages(metadata)?
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| text(package, "name").to_owned())
        .collect())
}

fn normal_dependencies(package: &Value) -> BTreeSet<&str> {
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| text(dependency, "name"))
        .collect()
}

/// What a manifest says, or what its file was read to say.
fn licence<'a>(name: &str, named: &'a str) -> &'a str {
    let read = READ_LICENCES.iter().find(|(package, _)| *package == name);
    read.filter(|_| named.is_empty())
        .map_or(named, |(_, licence)| licence)
}

/// Reads an SPDX expression of names, `OR`, `AND`, `/` and parentheses.
fn licence_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    // Every part of an AND must offer one allowed choice. Parentheses around a choice do not change that as
    // long as no AND stands inside one; if it does, its parts are asked for too, which is only stricter.
    !expression.trim().is_empty()
        && expression.split(" AND ").all(|part| {
            part.split(" OR ")
                .any(|one| LICENCES.contains(&one.trim_matches(|c| " ()".contains(c))))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_allowed_when_one_of_its_licences_is() {
        assert!(licence_allowed("GPL-3.0 OR MIT"));
        assert!(licence_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(licence_allowed("MIT/Apache-2.0"));
        assert!(!licence_allowed("MIT AND GPL-3.0"));
        assert!(!licence_allowed("SSPL-1.0"));
        assert!(!licence_allowed(""));
    }

    #[test]
    fn a_store_that_learns_of_a_system_is_noticed() {
        let uses = BTreeSet::from(["haversack-model", "haversack-sync", "haversack-dhis2"]);
        assert_eq!(forbidden_uses("haversack-sqlite", &uses).len(), 1);
        let uses = BTreeSet::from(["haversack-model", "haversack-server"]);
        assert_eq!(forbidden_uses("haversack-geoservices", &uses).len(), 1);
    }
}
