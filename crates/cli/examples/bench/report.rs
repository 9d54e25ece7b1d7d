//! The table of figures, and the file in which it is kept.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// What a ratio must keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// One measurement.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) ratio: f64,
    pub(crate) bound: Bound,
}

impl Figure {
    /// Whether the bound holds.
    pub(crate) fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.ratio <= most,
            Bound::AtLeast(least) => self.ratio >= least,
        }
    }
}

/// The figures as a Markdown table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| measured | ratio | wanted | |\n| --- | --- | --- | --- |\n");
    for figure in figures {
        let wanted = match figure.bound {
            Bound::AtMost(most) => format!("at most {most}"),
            Bound::AtLeast(least) => format!("at least {least}"),
        };
        let verdict = if figure.is_met() { "met" } else { "**missed**" };
        // Writing to a string cannot fail.
        let _ok = writeln!(
            text,
            "| **{}**: {} | {:.3} | {wanted} | {verdict} |",
            figure.name, figure.what, figure.ratio
        );
    }
    text
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md")
}

/// Replaces a section of `docs/benchmarks.md`, or adds it at the end. The others stay as they are.
pub(crate) fn write_section(section: &str) -> Result<()> {
    let path = path();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let heading = section.lines().next().unwrap_or_default();
    let mut kept: Vec<&str> = split(&text);
    let section = format!("{section}\nMachine: {}\n\n", machine());
    match kept
        .iter()
        .position(|old| old.lines().next() == Some(heading))
    {
        Some(at) => kept[at] = &section,
        None => kept.push(&section),
    }
    let text = kept.iter().map(|part| format!("{}\n", part.trim_end()));
    let text = text.collect::<Vec<_>>().join("\n");
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// What stands before the first `## ` and each section from there on.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begins = 0;
    for (at, _) in text.match_indices("\n## ") {
        parts.push(&text[begins..=at]);
        begins = at + 1;
    }
    parts.push(&text[begins..]);
    parts
}

/// Replaces what stands before the sections of `docs/benchmarks.md`, which other measurements and people wrote.
pub(crate) fn write(table: &str, notes: &str) -> Result<()> {
    let path = path();
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let sections = split(&old);
    let kept = sections.iter().skip(1).fold(String::new(), |all, part| {
        all + "\n" + part.trim_end() + "\n"
    });
    let text = format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`; run it on your machine. Each figure is a ratio of two things measured in the same run on the\n\
         same machine, disk and rows, so that it means something elsewhere, too. The files of a checkout are prepared on request, never\n\
         cached; everything that is called durable was written with `synchronous=FULL`. Medians of several rounds.\n\n\
         {table}\n\
         {notes}\n\
         Machine: {}\n{kept}",
        machine()
    );
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or(": unknown");
        line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let cpu = value(&read("/proc/cpuinfo"), "model name");
    let memory = value(&read("/proc/meminfo"), "MemTotal:");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg")
        .split_whitespace()
        .next()
        .unwrap_or("?")
        .to_owned();
    let first_line = |program: &str, arg: &str| {
        let out = Command::new(program).arg(arg).output();
        out.map_or_else(
            |_absent| "absent".to_owned(),
            |out| {
                String::from_utf8_lossy(&out.stdout)
                    .lines()
                    .next()
                    .unwrap_or("")
                    .trim()
                    .to_owned()
            },
        )
    };
    format!(
        "{cpu}, {cores} cores, {memory} of memory, load {load} at the end; {}; {}; SQLite {}.",
        first_line("rustc", "--version"),
        first_line("ogr2ogr", "--version"),
        rusqlite::version()
    )
}
