//! The core against a store and replica files in memory: the table of conflicts, uploads of foreign clients, edits
//! with rights, families of records, and text scripts of whole syncs.

#[path = "../sim/memory/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the simulator uses more of it"
)]
mod memory;

mod apply_rules;
mod brief_answers;
mod columns;
mod conflict_table;
mod decisions;
mod foreign_clients;
mod ground;
mod importer;
mod loopback;
mod native_pages;
mod overlapping;
mod races;
mod restored;
mod resync;
mod scene;
mod scripts;
mod settled_by_pages;
