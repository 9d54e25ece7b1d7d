//! The states of a record in a replica.
