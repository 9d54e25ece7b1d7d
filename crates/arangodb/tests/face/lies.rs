//! Primaries that lie where keys are compared: each lie is found out, and what was here is as it was.

use axum::response::Response;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::faults::{instead, must_fail, pair, with};

/// An answer with its JSON altered.
pub(crate) fn altered(response: Response, alter: impl FnOnce(&mut Value)) -> Response {
    let (parts, body) = response.into_parts();
    let body = tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current()
            .block_on(async { body.collect().await.unwrap().to_bytes() })
    });
    let mut told = serde_json::from_slice(&body).unwrap();
    alter(&mut told);
    instead(Response::from_parts(parts, body.into()), told.to_string())
}

/// What is altered of which answer: a part of its path, and how.
type Lie = (&'static str, &'static str, fn(&mut Value));

const LIES: &[Lie] = &[
    ("fewer documents than it counts", "/_api/job/", |told| {
        told["count"] = json!(51);
    }),
    ("more documents than it counts", "/_api/job/", |told| {
        told["count"] = json!(49);
    }),
    ("a count that is none", "/_api/job/", |told| {
        told["count"] = json!("many");
    }),
    ("no id of the list", "/_api/job/", |told| {
        told["id"] = Value::Null;
    }),
    ("no chunks", "?chunkSize=", |told| *told = json!([])),
    ("chunks without hashes", "?chunkSize=", |told| {
        told[0]["hash"] = Value::Null;
    }),
    (
        "a chunk that ends before it begins",
        "?chunkSize=",
        |told| {
            told[0]["high"] = json!("a");
        },
    ),
    ("a chunk twice", "?chunkSize=", |told| {
        let again = told[0].clone();
        told.as_array_mut().unwrap().push(again);
    }),
    ("a chunk that begins with no key", "?chunkSize=", |told| {
        told[0]["low"] = json!("");
    }),
    ("keys left out", "type=keys", |told| {
        told.as_array_mut().unwrap().truncate(20);
    }),
    ("keys in another order", "type=keys", |told| {
        told.as_array_mut().unwrap().swap(3, 4);
    }),
    ("keys without revisions", "type=keys", |told| {
        told[3] = json!(["k03"]);
    }),
    ("a page instead of keys", "type=keys", |told| {
        *told = json!({"a": "page"});
    }),
    ("no documents", "type=docs", |told| *told = json!([])),
    ("too many documents", "type=docs", |told| {
        let again = told[0].clone();
        told.as_array_mut().unwrap().push(again);
    }),
    ("a foreign document", "type=docs", |told| {
        told[0]["_id"] = json!("other/k07");
    }),
    ("another document", "type=docs", |told| {
        told[0]["_key"] = json!("k06");
        told[0]["_id"] = json!("c/k06");
    }),
    ("another revision", "type=docs", |told| {
        told[0]["_rev"] = json!("_k1ZYo-----");
    }),
    ("a place instead of a document", "type=docs", |told| {
        told[0] = Value::Null;
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_keys_that_lies_is_found_out() {
    for (why, place, lie) in LIES {
        let pair = pair().await;
        pair.2.fail(move |_, path, response| {
            Some(if path.contains("/revisions/") {
                with(501, "{}")
            } else if path.contains(place) && response.status() == 200 {
                altered(response, lie)
            } else {
                response
            })
        });
        must_fail(&pair, json!({"incremental": true}), (500, 1401), why).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_keys_that_is_refused_in_the_middle_ends_the_copy() {
    for place in [
        "/_api/replication/keys?",
        "?chunkSize=",
        "type=keys",
        "type=docs",
    ] {
        for (status, error) in [(404, 1402), (302, 1401), (500, 1402)] {
            let pair = pair().await;
            pair.2.fail(move |_, path, response| {
                Some(if path.contains("/revisions/") {
                    with(501, "{}")
                } else if path.contains(place) {
                    with(status, r#"{"error":true,"code":404,"errorNum":1600}"#)
                } else {
                    response
                })
            });
            let why = format!("{status} at {place}");
            let order = json!({"incremental": true});
            must_fail(&pair, order, (500, error), &why).await;
        }
    }
}
