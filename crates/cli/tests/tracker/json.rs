//! `--json`: whatever a command does, and however it ends, its output is one document.

use serde_json::Value as Json;

use crate::{Server, edit};

/// A command, the code that it ends with, and members of its document; none where it is an error.
type Case = (&'static [&'static str], i32, &'static [&'static str]);

const RUN: &[Case] = &[
    (
        &["login", "copy.gpkg"],
        0,
        &["file", "server", "user", "offline"],
    ),
    (
        &["metadata", "copy.gpkg"],
        0,
        &["version", "objects", "missingReferences", "skipped"],
    ),
    (
        &["download", "copy.gpkg"],
        0,
        &[
            "trackedEntities",
            "events",
            "protected",
            "failedPages",
            "aggregate",
        ],
    ),
    (
        &["download", "copy.gpkg", "--only", "tracker"],
        0,
        &["trackedEntities", "denied"],
    ),
    (
        &["download", "copy.gpkg", "--only", "aggregate", "--files"],
        0,
        &["aggregate", "files"],
    ),
    (
        &[
            "download",
            "copy.gpkg",
            "--uid",
            "hvTe0000001",
            "--program",
            "hvProgram01",
        ],
        0,
        &["trackedEntities"],
    ),
    (
        &[
            "download",
            "copy.gpkg",
            "--uid",
            "hvTe9999999",
            "--program",
            "hvProgram01",
        ],
        3,
        &["denied"],
    ),
    (
        &[
            "download",
            "copy.gpkg",
            "--only",
            "aggregate",
            "--data-sets",
            "hvDataSet99",
        ],
        3,
        &["aggregate"],
    ),
    (&["download", "copy.gpkg", "--periods", "soon"], 1, &[]),
    (
        &["status", "copy.gpkg"],
        0,
        &["objects", "states", "aggregated", "pending", "marks"],
    ),
    (&["conflicts", "copy.gpkg"], 0, &["conflicts", "refused"]),
    (
        &["upload", "copy.gpkg"],
        0,
        &[
            "sent",
            "stored",
            "refused",
            "untold",
            "waiting",
            "conflicts",
            "files",
        ],
    ),
    (&["reserve", "copy.gpkg", "--full", "5"], 0, &["pools"]),
    (
        &[
            "reserve",
            "copy.gpkg",
            "--attribute",
            "hvAttrRand1",
            "--take",
        ],
        0,
        &["pools"],
    ),
    (
        &[
            "break-glass",
            "copy.gpkg",
            "--entity",
            "hvTe9999999",
            "--program",
            "hvProgram01",
            "--reason",
            "x",
        ],
        1,
        &[],
    ),
    (&["login", "copy.gpkg", "-o", "copy.gpkg"], 1, &[]),
    (&["status", "nothing.gpkg"], 1, &[]),
];

/// With an edit that the server refuses.
const REFUSED: &[Case] = &[
    (
        &["upload", "copy.gpkg"],
        3,
        &["refused", "conflicts", "waiting"],
    ),
    (&["upload", "copy.gpkg", "--retry-errors"], 3, &["refused"]),
    (&["status", "copy.gpkg"], 3, &["importConflicts"]),
    (&["conflicts", "copy.gpkg"], 3, &["refused"]),
    (&["wipe", "copy.gpkg", "--level", "data"], 1, &[]),
    (&["wipe", "copy.gpkg", "--level", "metadata"], 0, &["level"]),
    (&["logout", "copy.gpkg"], 0, &["forgotten"]),
    (
        &[
            "wipe",
            "copy.gpkg",
            "--level",
            "everything",
            "--discard-unsent",
        ],
        0,
        &["level"],
    ),
];

fn check(server: &Server, cases: &[Case]) {
    for (args, code, members) in cases {
        let (ended, out, said) = server.output(args);
        assert_eq!(ended, *code, "{args:?}: {out} {said}");
        // One document: anything before or behind it is an error.
        let document: Json =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"));
        assert_eq!(
            document.get("error").is_some(),
            members.is_empty(),
            "{args:?}: {out}"
        );
        for member in *members {
            assert!(document.get(member).is_some(), "{args:?}: {member}: {out}");
        }
    }
}

#[test]
fn every_command_prints_one_document() {
    let server = Server::start();
    let url = format!("http://{}", server.address);
    let (code, out, _) = server.output(&["login", &url, "-o", "copy.gpkg"]);
    assert_eq!(code, 0);
    let told: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(told["user"], "ada");
    check(&server, RUN);
    edit(
        &server.copy(),
        "UPDATE Follow_up_enrollments SET age = -4 WHERE uid = 'hvEn0000001'",
    );
    check(&server, REFUSED);
}
