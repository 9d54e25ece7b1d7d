//! Runs the scripts of `e2e/` against the real binary and adds up what they say.
//!
//! A script prints one line per check: `ok   ..`, `FAIL ..` or `skip ..`. What it cannot check is a counted skip
//! with a reason, never silence.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, program, root, shared_folder, step};
use crate::prepare::{self, Tools};
use crate::{metadata, metadata::text};

/// No script may take longer.
const PATIENCE: Duration = Duration::from_mins(10);

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// `cargo xtask e2e [NAME ..]`: builds the command and runs the scripts whose names contain one of the words.
///
/// # Errors
/// If a check fails.
pub fn run_only(words: &[String]) -> Result<()> {
    let tools = prepare::run()?;
    step(
        "building the command",
        cargo().args(["build", "--release", "--locked"]),
    )?;
    run(&tools, words, 0)
}

/// Runs the scripts and prints `N passed, N failed, N skipped`, the skips of earlier steps included.
///
/// # Errors
/// If a check fails.
pub fn run(tools: &Tools, words: &[String], skipped: u32) -> Result<()> {
    let mut total = Tally {
        skipped,
        ..Tally::default()
    };
    for script in scripts()? {
        let name = script
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        println!("==> e2e: {name}");
        let begun = Instant::now();
        let tally = run_script(&mut command_for(&script, tools)?)?;
        println!(
            "    {name}: {} passed, {} failed, {} skipped, {:.0} s",
            tally.passed,
            tally.failed,
            tally.skipped,
            begun.elapsed().as_secs_f64()
        );
        total.passed += tally.passed;
        total.failed += tally.failed;
        total.skipped += tally.skipped;
    }
    println!(
        "{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.skipped
    );
    if total.failed > 0 {
        bail!("{} checks with real clients failed", total.failed);
    }
    if total.passed == 0 {
        bail!("no check ran");
    }
    Ok(())
}

fn scripts() -> Result<Vec<PathBuf>> {
    let folder = root().join("e2e");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(&folder).context("reading e2e/")? {
        let path = entry?.path();
        let is_script = path.extension().is_some_and(|e| e == "py" || e == "cjs");
        let is_test = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("test_"));
        if is_script && is_test {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}

/// The first lines of a script say `runs with: system python` when it needs Debian's GDAL bindings.
fn command_for(script: &Path, tools: &Tools) -> Result<Command> {
    let head: String = fs::read_to_string(script)?
        .lines()
        .take(12)
        .collect::<Vec<_>>()
        .join("\n");
    let mut command = if script.extension().is_some_and(|e| e == "cjs") {
        program("node")
    } else if head.contains("runs with: system python") {
        program(&tools.system_python)
    } else {
        program(&tools.python)
    };
    let target = metadata::load()?;
    command
        .arg(script)
        .env(
            "HAVERSACK_BIN",
            Path::new(text(&target, "target_directory")).join("release/haversack"),
        )
        .env("HAVERSACK_NODE", &tools.node_modules)
        .env("HAVERSACK_PYTHON", &tools.python)
        .env("NODE_PATH", &tools.node_modules)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    if let Some(folder) = shared_folder() {
        command.env("HAVERSACK_SHARED", folder);
    }
    Ok(command)
}

fn run_script(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} did not start", command.get_program().to_string_lossy()))?;
    let out = child.stdout.take().context("the script has no output")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            println!("  {line}");
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut tally = Tally::default();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.split_whitespace().next() {
                Some("ok") => tally.passed += 1,
                Some("FAIL") => tally.failed += 1,
                Some("skip" | "SKIP") => tally.skipped += 1,
                _ => {}
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                println!(
                    "  FAIL the script did not end within {} s",
                    PATIENCE.as_secs()
                );
                child.kill().context("stopping the script")?;
                tally.failed += 1;
                break;
            }
        }
    }
    let status = child.wait()?;
    drop(lines);
    // After a kill a grandchild may hold the pipe open: its reader is left to end with us.
    if tally.failed == 0 {
        let _ended = reader.join();
    }
    if !status.success() && tally.failed == 0 {
        println!("  FAIL the script ended with {status}");
        tally.failed += 1;
    }
    Ok(tally)
}
