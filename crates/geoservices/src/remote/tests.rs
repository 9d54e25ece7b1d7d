//! The remote against a stand-in: a few lines of HTTP that keep rows in memory and misbehave on request. It shows what
//! this client does with faults; what it does with a real server is shown by the end-to-end tests.

mod faults;
mod standin;
mod syncing;
