//! `cargo xtask check`: format, lints, docs, walls, licences and text rules. Zero warnings or it fails.

use anyhow::{Result, bail};

use crate::command::{cargo, step};
use crate::{compat, metadata, text, walls};

/// Runs all checks; the cheap ones first.
///
/// # Errors
/// If one finds something.
pub fn run() -> Result<()> {
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    report("walls and licences", &walls::breaches(&metadata::load()?)?)?;
    report("text rules", &text::breaches()?)?;
    report("names in COMPAT.md", &compat::breaches()?)?;
    step(
        "lints",
        cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step(
        "documentation",
        cargo().env("RUSTDOCFLAGS", "-D warnings").args([
            "doc",
            "--workspace",
            "--no-deps",
            "--locked",
            "--quiet",
        ]),
    )?;
    println!("check: everything is in order");
    Ok(())
}

fn report(title: &str, breaches: &[String]) -> Result<()> {
    println!("==> {title}");
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("{title}:\n  {}", breaches.join("\n  "));
}
