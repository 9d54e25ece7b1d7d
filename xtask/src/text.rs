//! Rules of the style guide that a plain reading of the text can check.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command::{output, program, root};

/// No file of code is longer; past this nobody reads it whole.
const MAX_LINES: usize = 1000;

/// File names that say nothing of what is inside.
const NAMELESS: &[&str] = &["utils.rs", "helpers.rs", "common.rs", "misc.rs"];

/// Left-overs. Written in halves, so that this file does not find itself.
const LEFT_OVERS: &[(&str, &str)] = &[
    ("to", "do!("),
    ("unimple", "mented!("),
    ("#[ig", "nore"),
    ("FIX", "ME"),
    ("db", "g!("),
];

/// Words of one dialect's wire, which the core and the model never say outside comments.
const WIRE_WORDS: &[&str] = &[
    "serverGen",
    "replicaID",
    "replicaServerGen",
    "deleteIds",
    "layerServerGens",
    "trackedEntityInstance",
];

/// Every breach, as `path:line: what`.
///
/// # Errors
/// If git or a file cannot be read.
pub fn breaches() -> Result<Vec<String>> {
    let root = root();
    let listed = output(program("git").args(["ls-files", "-co", "--exclude-standard"]))?;
    let mut found = Vec::new();
    for path in listed.lines() {
        let is_code = ["rs", "py", "mjs", "js", "cjs", "sql"]
            .iter()
            .any(|ext| Path::new(path).extension().is_some_and(|e| e == *ext));
        let is_text = is_code
            || ["md", "toml", "json", "yml"]
                .iter()
                .any(|e| path.ends_with(&format!(".{e}")));
        if !is_text || !root.join(path).is_file() {
            continue;
        }
        let text =
            fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"))?;
        in_file(path, &text, is_code, &mut found);
    }
    Ok(found)
}

fn in_file(path: &str, text: &str, is_code: bool, found: &mut Vec<String>) {
    let name = path.rsplit('/').next().unwrap_or(path);
    if NAMELESS.contains(&name) {
        found.push(format!("{path}: name the file after the noun that it owns"));
    }
    if is_code && text.lines().count() > MAX_LINES {
        found.push(format!(
            "{path}: more than {MAX_LINES} lines; split it by noun"
        ));
    }
    let is_rust = Path::new(path).extension().is_some_and(|e| e == "rs");
    // `tests.rs` stands beside the file that it tests; a crate's root may take its header from the README.
    let is_headed = name == "tests.rs" || text.starts_with("//!") || text.starts_with("#![doc =");
    if is_rust && !is_headed {
        found.push(format!(
            "{path}:1: begin with `//!`: what it owns, who calls it"
        ));
    }
    let in_core = path.starts_with("crates/model/src") || path.starts_with("crates/sync/src");
    for (number, line) in text.lines().enumerate() {
        let at = number + 1;
        if is_code {
            for (head, tail) in LEFT_OVERS {
                if line.contains(&format!("{head}{tail}")) {
                    found.push(format!("{path}:{at}: left-over {head}{tail}"));
                }
            }
        }
        if in_core && !line.trim_start().starts_with("//") {
            for word in WIRE_WORDS.iter().filter(|word| line.contains(**word)) {
                found.push(format!(
                    "{path}:{at}: {word} belongs to the wire, not to the core"
                ));
            }
        }
        if names_a_registry(line) {
            found.push(format!("{path}:{at}: names the host of a package registry"));
        }
    }
}

fn names_a_registry(line: &str) -> bool {
    line.split("://").skip(1).any(|rest| {
        let host = rest.split(['/', '"', ' ', ')', '\'']).next().unwrap_or("");
        [
            "registry.",
            "index.",
            "pypi.",
            "npmjs.",
            "files.pythonhosted.",
        ]
        .iter()
        .any(|part| host.starts_with(part) || host.contains(&format!(".{part}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_of(path: &str, text: &str) -> usize {
        let mut found = Vec::new();
        in_file(path, text, true, &mut found);
        found.len()
    }

    #[test]
    fn a_file_without_a_header_is_noticed() {
        assert_eq!(
            breaches_of("crates/sync/src/merge.rs", "use std::fmt;\n"),
            1
        );
        assert_eq!(breaches_of("crates/sync/src/merge.rs", "//! Merges.\n"), 0);
    }

    #[test]
    fn a_wire_word_is_noticed_in_the_core_and_allowed_at_the_edge() {
        let text = "//! x\nlet serverGen = 1;\n";
        assert_eq!(breaches_of("crates/sync/src/delta.rs", text), 1);
        assert_eq!(breaches_of("crates/geoservices/src/wire/sync.rs", text), 0);
    }

    #[test]
    fn a_registry_is_noticed_by_its_host_alone() {
        assert!(names_a_registry(&format!(
            "see https{}registry.example.org/x",
            "://"
        )));
        assert!(!names_a_registry("see https://example.org/registry.html"));
    }
}
