//! `cargo xtask test`, `sim` and `bless`: everything that the project's own tests can show.
//!
//! All with the release profile: the simulator, the millions of rows and the real clients want it, and the one
//! build serves `cargo run --release -- demo` too (docs/decisions).

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, output, shared_folder, step};
use crate::{e2e, prepare};

/// Where the simulator's minute in the tests begins: one place, so that what is red is red again.
const TESTED_FROM: u64 = 200_000;
/// How the names of tests begin that read data which is not in the repository.
const REAL_DATA: &str = "the_real_data_";
/// Seed of tests that make up their cases: a change fails for what it changed. `cargo test` alone tries new cases each time.
const CASES_SEED: &str = "20261123";

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
    let mut tests = workspace_tests();
    let mut skipped = 0;
    if let Some(shared) = shared_folder() {
        tests.env("HAVERSACK_SHARED", shared);
    } else {
        skipped = skip_real_data(&mut tests)?;
    }
    step("unit and integration tests", &mut tests)?;
    simulate(Simulation {
        seconds: Some(60),
        from: Some(TESTED_FROM),
        ..Simulation::default()
    })?;
    e2e::run(&tools, &[], skipped)
}

fn workspace_tests() -> Command {
    let mut command = cargo();
    command.args(["test", "--release", "--workspace", "--locked", "--quiet"]);
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        command.env("PROPTEST_RNG_SEED", CASES_SEED);
    }
    command
}

/// Leaves out the tests whose names begin with [`REAL_DATA`], says which they are and gives their number.
fn skip_real_data(tests: &mut Command) -> Result<u32> {
    let listed = output(workspace_tests().args(["--", "--list"]))?;
    let mut skipped = 0;
    for name in listed.lines().filter(|line| line.contains(REAL_DATA)) {
        println!("skip {name}: the real data is not beside the checkout (../shared/fixtures)");
        skipped += 1;
    }
    tests.args(["--", "--skip", REAL_DATA]);
    Ok(skipped)
}

/// What to simulate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// One case to replay, with its events printed.
    pub seed: Option<u64>,
    /// How long to run fresh seeds after the fixed ones.
    pub seconds: Option<u64>,
    /// How many fresh seeds to run after the fixed ones.
    pub cases: Option<u64>,
    /// The first of the fresh seeds; the time tells it otherwise.
    pub from: Option<u64>,
    /// On the server's real store instead of the one in memory.
    pub on_sqlite: bool,
    /// Copies of collections instead of replicas; without `seconds`.
    pub collections: bool,
}

impl Simulation {
    /// Reads `--seed N`, `--seconds N`, `--cases N`, `--from N`, `--sqlite` and `--collections`.
    ///
    /// # Errors
    /// If there is anything else, or what follows is no number.
    pub fn parse(args: &[String]) -> Result<Self> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let slot = match name.as_str() {
                "--sqlite" => {
                    asked.on_sqlite = true;
                    continue;
                }
                "--collections" => {
                    asked.collections = true;
                    continue;
                }
                "--seed" => &mut asked.seed,
                "--seconds" => &mut asked.seconds,
                "--cases" => &mut asked.cases,
                "--from" => &mut asked.from,
                other => {
                    bail!(
                        "sim takes --seed N, --seconds N, --cases N, --from N, --sqlite and --collections, not {other}"
                    )
                }
            };
            let number = args.next().and_then(|text| text.parse().ok());
            *slot = Some(number.with_context(|| format!("{name} takes a number"))?);
        }
        Ok(asked)
    }
}

/// Runs the simulator of the sync core on all cores: its fixed seeds, then fresh ones until the time is up.
///
/// # Errors
/// If a case fails; the command that replays it is printed.
pub fn simulate(asked: Simulation) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--release", "--locked", "--quiet"]);
    let target = if asked.collections {
        "collections_sim"
    } else {
        "sim"
    };
    command.args(["-p", "haversack-sync", "--test", target]);
    command.args(["--", "--nocapture"]);
    if asked.on_sqlite {
        command.env("HAVERSACK_SIM_SQLITE", "1");
    }
    if let Some(seed) = asked.seed {
        command.env("HAVERSACK_SIM_SEED", seed.to_string());
    }
    if let Some(seconds) = asked.seconds {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let from = asked.from.or(now.ok().map(|now| now.as_secs()));
        let from = from.unwrap_or_default();
        println!("fresh seeds: cargo xtask sim --seconds {seconds} --from {from}");
        command.env("HAVERSACK_SIM_SECONDS", seconds.to_string());
        command.env("HAVERSACK_SIM_FROM", from.to_string());
    }
    if let Some(cases) = asked.cases {
        command.env("HAVERSACK_SIM_CASES", cases.to_string());
        command.env(
            "HAVERSACK_SIM_FROM",
            asked.from.unwrap_or_default().to_string(),
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Simulation> {
        let args: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        Simulation::parse(&args)
    }

    #[test]
    fn a_simulation_is_asked_for_by_seed_or_by_time() {
        assert_eq!(parsed("").expect("none"), Simulation::default());
        assert_eq!(parsed("--seed 7").expect("a seed").seed, Some(7));
        let long = parsed("--seconds 60 --from 5").expect("a time");
        assert_eq!((long.seconds, long.from), (Some(60), Some(5)));
        let copies = parsed("--collections --seed 7").expect("copies");
        assert_eq!((copies.collections, copies.seed), (true, Some(7)));
        assert!(parsed("--seed").is_err());
        assert!(parsed("60").is_err());
    }
}
