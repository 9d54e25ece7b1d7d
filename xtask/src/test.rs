//! `cargo xtask test`, `sim` and `bless`: everything that the project's own tests can show.
//!
//! All with the release profile: the simulator, the millions of rows and the real clients want it, and the one
//! build serves `cargo run --release -- demo` too (docs/decisions).

use anyhow::Result;

use crate::command::{cargo, step};
use crate::{e2e, prepare};

/// Installs what is needed, then runs every test.
///
/// # Errors
/// If any fails.
pub fn run() -> Result<()> {
    let tools = prepare::run()?;
    step(
        "building the command",
        cargo().args(["build", "--release", "--locked"]),
    )?;
    step(
        "unit and integration tests",
        cargo().args(["test", "--release", "--workspace", "--locked", "--quiet"]),
    )?;
    simulate(None)?;
    e2e::run(&tools, &[])
}

/// Runs the simulator of the sync core: its fixed seeds, then more of them until the time is up.
///
/// # Errors
/// If a case fails; its seed is printed.
pub fn simulate(seconds: Option<&str>) -> Result<()> {
    let mut command = cargo();
    command.args([
        "test",
        "--release",
        "--locked",
        "--quiet",
        "-p",
        "haversack-sync",
        "--test",
        "sim",
        "--",
        "--nocapture",
    ]);
    if let Some(seconds) = seconds {
        command.env("HAVERSACK_SIM_SECONDS", seconds);
    }
    step("simulator", &mut command)
}

/// Runs the tests and accepts every changed snapshot; review the diff before you commit it.
///
/// # Errors
/// If a test fails for another reason.
pub fn bless() -> Result<()> {
    step(
        "accepting snapshots",
        cargo().env("INSTA_UPDATE", "always").args([
            "test",
            "--release",
            "--workspace",
            "--locked",
            "--quiet",
        ]),
    )
}
