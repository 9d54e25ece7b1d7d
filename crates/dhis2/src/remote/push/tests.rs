//! Uploads against a stand-in.

mod jobs;
mod orders;
mod outcomes;
mod standin;
