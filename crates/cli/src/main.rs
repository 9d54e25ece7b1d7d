//! The command `haversack`: parses the command line, runs one command, ends with a documented exit code.

mod args;
mod commands;
mod connect;
mod credentials;
mod directory;
mod exit;
mod output;
mod replica;
mod view;

use std::process::ExitCode;

use clap::Parser as _;
use serde_json::json;

use args::{Cli, Command};
use exit::Outcome;
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(cli.json);
    // A second provider cannot be there: nothing before us installs one.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let ended = run(&cli.command, out);
    if let Err(error) = &ended {
        if out.is_json() {
            out.json_line(
                &json!({"error": {"kind": exit::kind(error), "message": format!("{error:#}")}}),
            );
        }
        out.error(error);
    }
    exit::code(&ended)
}

fn run(command: &Command, out: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Demo(args) => commands::demo::run(args, out),
        Command::Serve(args) => commands::serve::run(args, out),
        Command::User(args) => commands::user::run(args, out),
        Command::Import(args) => commands::import::run(args, out),
        Command::Pull(args) => commands::pull::run(args, out),
        Command::Compare(args) => commands::compare::run(args, out),
        Command::Job(args) => commands::job::run(args, out),
        Command::Checkout(args) => commands::checkout::run(args, out),
        Command::Status(args) => commands::status::run(args, out),
        Command::Diff(args) => commands::diff::run(args, out),
        Command::Sync(args) => commands::sync::run(args, out),
        Command::Conflicts(args) => commands::conflicts::run(args, out),
        Command::Verify(args) => commands::verify::run(args, out),
        Command::Replicas(args) => commands::replicas::list(args, out),
        Command::Release(args) => commands::replicas::release(args, out),
        Command::Repair(args) => commands::repair::run(args, out),
        Command::Tracker(args) => commands::tracker::run(args, out),
        Command::Login(args) => commands::login::run(args, out),
        Command::Config(args) => commands::config::run(args, out),
    }
}
