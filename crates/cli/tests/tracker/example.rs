//! The program that shows the Rust API does what an app does: log in, download, edit, send, tell of refusals and conflicts.

use serde_json::json;

use crate::{Server, edit, number};

#[path = "../../../dhis2/examples/copy.rs"]
#[allow(dead_code, reason = "its main function is the program's")]
mod copy;

#[test]
fn the_example_of_the_rust_api_goes_all_the_way() {
    let server = Server::start();
    let url = format!("http://{}", server.address);
    let path = server.copy();
    let run = || copy::synchronise(&url, ("ada", "secret"), &path).unwrap();
    let wrong = copy::synchronise(&url, ("ada", "wrong"), &path);
    assert!(wrong.is_err());
    assert!(!path.exists());
    let left = run();
    assert_eq!((left.refused.len(), left.conflicts.len()), (0, 0));
    assert_eq!(number(&path, "SELECT count(*) FROM Person"), 300);
    assert_eq!(number(&path, "SELECT count(*) FROM Follow_up_Visit"), 600);

    let name = "UPDATE Person SET given_name = 'edited' WHERE uid = ";
    edit(&path, &format!("{name} 'hvTe0000001'"));
    edit(&path, &format!("{name} 'hvTe0000002'"));
    let refused = "UPDATE Follow_up_enrollments SET age = -4 WHERE uid = 'hvEn0000003'";
    edit(&path, refused);
    let gone = json!({"trackedEntities": [{"trackedEntity": "hvTe0000002"}]});
    assert_eq!(server.import("DELETE", &gone)["stats"]["deleted"], 1);
    let theirs = json!({"trackedEntities": [{"trackedEntity": "hvTe0000004", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrName1", "value": "theirs"}]}]});
    let told = server.import("CREATE_AND_UPDATE", &theirs);
    assert_eq!(told["stats"]["updated"], 1, "{told}");
    let left = run();
    let of = |all: &[(String, String)]| -> Vec<String> {
        all.iter().map(|(uid, _)| uid.clone()).collect()
    };
    let mut refused = of(&left.refused);
    refused.sort();
    assert_eq!(refused, ["hvEn0000003", "hvTe0000002"], "{left:?}");
    assert_eq!(of(&left.conflicts), ["hvTe0000002"], "{left:?}");
    let here = |uid: &str, name: &str| {
        let sql =
            format!("SELECT count(*) FROM Person WHERE uid = '{uid}' AND given_name = '{name}'");
        number(&path, &sql) == 1
    };
    assert!(here("hvTe0000004", "theirs"));
    assert!(here("hvTe0000002", "edited"), "it is kept on this side");

    // Another copy has what was sent, and the correction after it.
    edit(
        &path,
        "UPDATE Follow_up_enrollments SET age = 44 WHERE uid = 'hvEn0000003'",
    );
    let left = run();
    assert_eq!(of(&left.refused), ["hvTe0000002"], "{left:?}");
    let elsewhere = server.folder.path().join("elsewhere.gpkg");
    copy::synchronise(&url, ("ada", "secret"), &elsewhere).unwrap();
    let sql = "SELECT count(*) FROM Person WHERE given_name = 'edited'";
    assert_eq!(number(&elsewhere, sql), 1);
    let sql = "SELECT age FROM Follow_up_enrollments WHERE uid = 'hvEn0000003'";
    assert_eq!(number(&elsewhere, sql), 44);
}
