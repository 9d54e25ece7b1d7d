//! What ArangoDB has and this server does not: each is refused with a sentence that says what to do instead.

use super::answer::Answer;
use super::call::Call;
use super::problem::{Problem, Result};
use crate::wire::errors::ErrorNum;
use http::Method;
use serde_json::json;

/// The first words of addresses, and what is said of them.
#[rustfmt::skip]
const SENTENCES: [(&[&str], &str); 19] = [
    (&["_api", "gharial"], "named graphs are not kept; edges are documents of edge collections, which are copied like all others"),
    (&["_api", "transaction"], "transactions over several requests are not offered; the documents of one request are one transaction"),
    (&["_api", "transaction-js"], "code is not run on this server; the documents of one request are one transaction"),
    (&["_api", "tasks"], "code is not run on this server; run what is to be done in time from outside, by cron"),
    (&["_api", "foxx"], "services are not run on this server; keep an ArangoDB for them, and copy its collections here"),
    (&["_api", "aqlfunction"], "functions of your own are not run on this server"),
    (&["_api", "traversal"], "graphs are not traversed on this server"),
    (&["_api", "edges"], "edges are found by a query: FOR e IN collection FILTER e._from == @vertex RETURN e"),
    (&["_api", "query"], "queries are not taken apart here; POST /_api/cursor runs those that drivers make"),
    (&["_api", "explain"], "queries are not explained here: each reads its one collection from one end to the other"),
    (&["_api", "query-cache"], "results of queries are not kept here"),
    (&["_api", "batch"], "requests are not bundled here; send arrays of documents"),
    (&["_api", "export"], "ask with a query instead: FOR d IN collection RETURN d"),
    (&["_api", "cluster"], "this server is no cluster"),
    (&["_api", "gss"], "this server is no cluster"),
    (&["_admin", "metrics"], "metrics are at /metrics"),
    (&["_admin", "statistics"], "metrics are at /metrics"),
    (&["_admin", "log"], "the log goes to the standard error output of the server"),
    (&["_admin", "aardvark"], "there is no web interface; drivers, and `haversack` itself, are the ways in"),
];

/// Answers what no operation does.
pub(super) fn answer(call: &Call, words: &[&str]) -> Result<Answer> {
    call.require_login()?;
    // Drivers list these whenever they open a database.
    match words {
        ["_api", "gharial"] if call.method == Method::GET => {
            return Ok(Answer::ok(200, json!({"graphs": []})));
        }
        ["_api", "foxx"] if call.method == Method::GET => return Ok(Answer::json(200, json!([]))),
        _ => {}
    }
    let sentence = SENTENCES.iter().find(|(first, _)| words.starts_with(first));
    Err(match sentence {
        Some((_, sentence)) => Problem::told(ErrorNum::NotImplemented, *sentence),
        None => Problem::told(ErrorNum::HttpNotFound, "unknown path"),
    })
}
