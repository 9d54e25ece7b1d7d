//! `cargo xtask bench`: the project's numbers, measured in one run as ratios.

use anyhow::Result;

use crate::command::{cargo, step};
use crate::prepare;

/// Runs the measurements of `crates/cli/examples/bench/`, which prints the table and writes `docs/benchmarks.md`.
///
/// # Errors
/// If a measurement cannot be made or misses its target.
pub fn run(only: &[String]) -> Result<()> {
    step(
        "building the command",
        cargo().args(["build", "--release", "--locked"]),
    )?;
    let mut command = cargo();
    if only.first().is_none_or(|part| part == "collections") {
        command.env("HAVERSACK_BENCH_PEERS", prepare::peers()?);
    }
    command.args([
        "run",
        "--release",
        "--locked",
        "--quiet",
        "-p",
        "haversack",
        "--example",
        "bench",
        "--",
    ]);
    command.args(only);
    step("measuring", &mut command)
}
