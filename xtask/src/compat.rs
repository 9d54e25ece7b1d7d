//! `COMPAT.md` says what works and names the test that shows it: every name it uses must exist, and nothing works without one.
//!
//! Names are written in code marks: `face::name` and `remote::name` are tests in `crates/geoservices/tests/face` and `../remote`,
//! `dhis2::name` in `crates/dhis2/tests`, `server::name` in the server's crate, `test_NN_script` is a script in `e2e/` and `test_NN_script::name` a test in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::root;

/// Where the tests are that a prefix stands for.
const PLACES: [(&str, &[&str]); 6] = [
    ("face", &["crates/geoservices/tests/face"]),
    (
        "remote",
        &[
            "crates/geoservices/tests/remote",
            "crates/geoservices/src/remote",
        ],
    ),
    ("dhis2", &["crates/dhis2/tests"]),
    (
        "arangodb",
        &["crates/arangodb/tests", "crates/server/tests/arangodb"],
    ),
    ("command", &["crates/cli/tests"]),
    ("server", &["crates/server/tests", "crates/server/src"]),
];

/// Every breach, as `COMPAT.md:line: what`.
///
/// # Errors
/// If a file cannot be read.
pub fn breaches() -> Result<Vec<String>> {
    let root = root();
    let text = fs::read_to_string(root.join("COMPAT.md")).context("reading COMPAT.md")?;
    let exists = |name: &Name<'_>| name.exists(&root);
    in_text(&text, &exists)
}

fn in_text(text: &str, exists: &dyn Fn(&Name<'_>) -> Result<bool>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if !line.starts_with('|') {
            continue;
        }
        let mut shown = 0;
        for name in line.split('`').skip(1).step_by(2).filter_map(Name::read) {
            shown += 1;
            if !exists(&name)? {
                found.push(format!(
                    "COMPAT.md:{}: there is no test {}",
                    at + 1,
                    name.text()
                ));
            }
        }
        if claims(line) && shown == 0 {
            found.push(format!(
                "COMPAT.md:{}: nothing shows that this works",
                at + 1
            ));
        }
    }
    Ok(found)
}

/// Whether a row of a table says that something works.
fn claims(line: &str) -> bool {
    let mut cells = line.split('|').skip(2);
    cells.next().is_some_and(|cell| {
        let cell = cell.trim();
        cell.starts_with("yes") || cell.starts_with("partly")
    })
}

/// The name of a test.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    /// A function in a crate's tests.
    Rust(&'a str, &'a str),
    /// A script, and perhaps a test in it.
    Script(&'a str, Option<&'a str>),
}

impl<'a> Name<'a> {
    fn read(code: &'a str) -> Option<Self> {
        let (first, rest) = match code.split_once("::") {
            Some((first, rest)) => (first, Some(rest)),
            None => (code, None),
        };
        let is_word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !is_word(first) || !rest.is_none_or(is_word) {
            return None;
        }
        if first.starts_with("test_") {
            return Some(Self::Script(first, rest));
        }
        let is_place = PLACES.iter().any(|(place, _)| *place == first);
        rest.filter(|_| is_place)
            .map(|rest| Self::Rust(first, rest))
    }

    fn text(&self) -> String {
        match self {
            Self::Rust(place, name) => format!("{place}::{name}"),
            Self::Script(script, None) => (*script).to_owned(),
            Self::Script(script, Some(name)) => format!("{script}::{name}"),
        }
    }

    fn exists(&self, root: &Path) -> Result<bool> {
        match self {
            Self::Rust(place, name) => {
                let folders = PLACES.iter().find(|(known, _)| known == place);
                let function = format!("fn {name}(");
                for folder in folders.map_or(&[][..], |(_, folders)| folders) {
                    for file in files(&root.join(folder))? {
                        if read(&file)?.contains(&function) {
                            return Ok(true);
                        }
                    }
                }
                Ok(false)
            }
            Self::Script(script, name) => {
                let places = ["py", "cjs"].map(|ext| root.join(format!("e2e/{script}.{ext}")));
                for path in places.iter().filter(|path| path.is_file()) {
                    let function = name.map(|name| format!("def {name}("));
                    if function.is_none_or(|f| read(path).is_ok_and(|text| text.contains(&f))) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            all.push(path);
        }
    }
    Ok(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_exist_and_a_claim_without_a_test_are_found() {
        let text = "| operation | | test |\n\
                    | `query` | yes | `face::there`, `test_10_there::done` |\n\
                    | `other` | yes | `face::gone` |\n\
                    | `third` | partly; some | by hand |\n\
                    | `fourth` | no | |\n";
        let exists = |name: &Name<'_>| Ok(!name.text().contains("gone"));
        assert_eq!(
            in_text(text, &exists).unwrap(),
            [
                "COMPAT.md:3: there is no test face::gone",
                "COMPAT.md:4: nothing shows that this works",
            ]
        );
    }

    #[test]
    fn code_that_names_no_test_is_passed_over() {
        for code in ["query", "f=json", "geoservices::remote", "face::", "e2e/x"] {
            assert_eq!(Name::read(code), None, "{code}");
        }
        assert_eq!(Name::read("face::a_b"), Some(Name::Rust("face", "a_b")));
        assert_eq!(
            Name::read("test_20_x::y"),
            Some(Name::Script("test_20_x", Some("y")))
        );
    }
}
