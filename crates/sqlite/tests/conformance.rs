//! The store on SQLite passes the suite of the model.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Held;
use haversack_model::{document_conformance, store_conformance};

store_conformance!(sqlite, Held::new);
document_conformance!(documents, Held::new);
