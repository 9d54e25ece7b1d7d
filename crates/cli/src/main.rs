//! The command `haversack`: parses the command line, runs one command, ends with a documented exit code.

mod args;
mod credentials;
mod exit;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let out = output::Output::new(cli.json);
    exit::code(&run(&cli, out))
}

fn run(cli: &args::Cli, out: output::Output) -> anyhow::Result<exit::Outcome> {
    out.line(format_args!("{:?}", cli.command));
    Ok(exit::Outcome::Done)
}
