//! `cargo xtask <recipe>`: the only entrance to checking, testing and measuring the project.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for people at a terminal; what it prints is its result"
)]

use std::process::ExitCode;

use xtask::{bench, check, e2e, prepare, test};

const HELP: &str = "\
cargo xtask <recipe>

  check            format, lints, docs, walls between crates, licences, text rules
  test             installs what the tests need, then runs all of them, real clients included
  e2e [NAME ..]    only the tests with real clients (those whose file name contains NAME)
  sim              the simulator of the sync core: fixed seeds (--seconds N: then fresh ones for so long, --cases N: so many,
                   --from N: from this one on, --seed N: replays one case and prints its events, --sqlite: on the real store,
                   --collections: copies of collections instead of replicas)
  bench [NAME]     measures, prints a table and writes docs/benchmarks.md (NAME: only that measurement, nothing written;
                   tracker [N]: with N tracked entities, collections [N [PART]]: with N documents; the full
                   number writes its section; parts are copies, differences, writers, far and upkeep)
  bless            accepts changed snapshots of protocol answers
  prepare          only installs what the tests need";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("check") => check::run(),
        Some("test") => test::run(),
        Some("e2e") => e2e::run_only(rest),
        Some("sim") => test::Simulation::parse(rest).and_then(test::simulate),
        Some("bench") => bench::run(rest),
        Some("bless") => test::bless(),
        Some("prepare") => prepare::run().map(|_tools| ()),
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
