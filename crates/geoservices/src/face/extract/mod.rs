//! Copies of data that nobody registers: file geodatabases, and changes between generations.

pub(crate) mod filegdb;
