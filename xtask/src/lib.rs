//! The project's own tools, started by `cargo xtask`: no tool has to be installed first.
//!
//! One module per recipe; [`command`] runs programs, [`metadata`] reads what cargo knows of the workspace.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people at a terminal; what it prints is its result"
)]

pub mod bench;
pub mod check;
pub mod command;
pub mod compat;
pub mod e2e;
pub mod metadata;
pub mod prepare;
pub mod test;
pub mod text;
pub mod walls;
