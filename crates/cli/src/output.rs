//! Everything that the command prints: text for people, one JSON document for programs, progress while it works.
//!
//! Results go to standard output, progress and warnings to standard error. With `--json` or without a terminal there is no
//! progress.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value as Json;

/// Where the command prints to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    indent: &'static str,
}

/// Emphasis.
pub(crate) const BOLD: Style = Style::new().bold();
/// What is well.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// What needs a look.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
/// What failed.
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, indent: "" }
    }

    /// The same, with text a little to the right.
    pub(crate) fn indented(self) -> Self {
        Self {
            indent: "     ",
            ..self
        }
    }

    /// Whether a program reads.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// A line for people.
    pub(crate) fn line(self, text: impl std::fmt::Display) {
        if !self.json {
            // A reader that went away (`| head`) is no failure of ours.
            let _gone = writeln!(anstream::stdout(), "{}{text}", self.indent);
        }
    }

    /// The result: text for people from `human`, or the document.
    pub(crate) fn result(self, document: &Json, human: impl FnOnce(Self)) {
        if self.json {
            let _gone = writeln!(std::io::stdout(), "{document:#}");
        } else {
            human(self);
        }
    }

    /// A list of which each document is printed as soon as it is known.
    pub(crate) fn json_list(self) -> JsonList {
        JsonList {
            json: self.json,
            separator: "[",
        }
    }

    /// One compact JSON line now, for results that come while the command goes on.
    pub(crate) fn json_line(self, document: &Json) {
        if self.json {
            let mut out = std::io::stdout();
            let _gone = writeln!(out, "{document}").and_then(|()| out.flush());
        }
    }

    /// A remark that does not stop the command.
    #[allow(clippy::unused_self, reason = "all output goes through one place")]
    pub(crate) fn warn(self, text: impl std::fmt::Display) {
        let _gone = writeln!(anstream::stderr(), "{YELLOW}note{YELLOW:#}: {text}");
    }

    /// Why the command failed, on standard error.
    #[allow(clippy::unused_self, reason = "all output goes through one place")]
    pub(crate) fn error(self, error: &anyhow::Error) {
        let _gone = writeln!(
            anstream::stderr(),
            "{RED}haversack{RED:#}: {}",
            sentence(error)
        );
    }

    /// A table without borders.
    pub(crate) fn table(self, head: &[&str], rows: Vec<Vec<String>>) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(head.iter().copied());
        for row in rows {
            table.add_row(row);
        }
        for line in table.to_string().lines() {
            self.line(line.trim_end());
        }
    }

    /// A bar for work whose amount becomes known on the way.
    pub(crate) fn progress(self, what: &'static str, unit: Unit) -> ProgressBar {
        let bar = ProgressBar::new_spinner();
        if self.json || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(unit.style(false));
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

/// A JSON list that is printed while it grows. Nothing without `--json`.
#[derive(Debug)]
pub(crate) struct JsonList {
    json: bool,
    separator: &'static str,
}

impl JsonList {
    /// Prints one more document.
    pub(crate) fn push(&mut self, document: &Json) {
        if self.json {
            let _gone = write!(std::io::stdout(), "{}\n{document:#}", self.separator);
            self.separator = ",";
        }
    }

    /// Closes the list.
    pub(crate) fn end(self) {
        if self.json {
            let open = if self.separator == "[" { "[" } else { "\n" };
            let _gone = writeln!(std::io::stdout(), "{open}]");
        }
    }
}

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Rows,
}

impl Unit {
    fn style(self, known: bool) -> ProgressStyle {
        let template = match (self, known) {
            (Self::Bytes, true) => {
                "{spinner} {msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
            }
            (Self::Bytes, false) => "{spinner} {msg} {bytes}, {bytes_per_sec}",
            (Self::Rows, true) => {
                "{spinner} {msg} [{bar:30}] {human_pos} of {human_len}, {per_sec}, {eta} left"
            }
            (Self::Rows, false) => "{spinner} {msg} {human_pos}",
        };
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_bad_template| ProgressStyle::default_bar())
    }
}

/// Moves a bar; once the total is known it becomes a real one.
pub(crate) fn advance(bar: &ProgressBar, unit: Unit, done: u64, total: Option<u64>) {
    if let Some(total) = total
        && bar.length() != Some(total)
    {
        bar.set_length(total);
        bar.set_style(unit.style(true));
    }
    bar.set_position(done);
}

/// An error with its causes; one that says its cause itself is not followed by it again.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let next = cause.to_string();
        if text.is_empty() {
            text = next;
        } else if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
    }
    text
}

/// `1 edit`, `2 edits`.
pub(crate) fn count(n: u64, one: &str) -> String {
    let plural = match one.strip_suffix('y') {
        Some(stem) if !one.ends_with("ay") => format!("{stem}ies"),
        _ => format!("{one}s"),
    };
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {plural}")
    }
}

/// A time for people, in UTC.
pub(crate) fn time(at: haversack_model::Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(
        |_out_of_range| at.to_string(),
        |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_counted_in_english() {
        assert_eq!(count(1, "edit"), "1 edit");
        assert_eq!(count(0, "entry"), "0 entries");
        assert_eq!(count(3, "day"), "3 days");
    }

    #[test]
    fn no_cause_is_told_twice() {
        let cause = std::io::Error::other("in use");
        let error = anyhow::Error::new(cause).context("cannot listen: in use");
        assert_eq!(sentence(&error), "cannot listen: in use");
        let error = anyhow::anyhow!("no space").context("saving");
        assert_eq!(sentence(&error), "saving: no space");
    }

    #[test]
    fn a_time_is_written_in_utc() {
        assert_eq!(
            time(haversack_model::Timestamp(0)),
            "1970-01-01 00:00:00 UTC"
        );
    }
}
