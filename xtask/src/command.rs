//! Runs programs in the workspace's root and turns their failures into sentences.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// What lies beside the project and not in it: the folder `shared` with the acceptance scripts and the real data, beside
/// this checkout or, for a linked worktree, beside the main one. `HAVERSACK_SHARED` names another.
pub fn shared_folder() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("HAVERSACK_SHARED").filter(|given| !given.is_empty()) {
        return Some(PathBuf::from(given));
    }
    let beside = |checkout: &Path| {
        let folder = checkout.parent()?.join("shared");
        folder.is_dir().then_some(folder)
    };
    let mut git = program("git");
    git.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
    beside(&root()).or_else(|| beside(Path::new(output(&mut git).ok()?.trim()).parent()?))
}

/// The cargo that runs us.
///
/// What it told us about our own package must not reach the builds that it does for us: build scripts (ring's) watch
/// those variables, and half of the workspace would be compiled again.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Any other program, in the root.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Runs a step with its output shown, and says what it is and how long it took.
///
/// # Errors
/// If the program cannot be started or fails.
pub fn step(title: &str, command: &mut Command) -> Result<()> {
    println!("==> {title}");
    let begun = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{title}: {} did not start", show(command)))?;
    if !status.success() {
        bail!("{title} failed ({}): {status}", show(command));
    }
    println!("    {title}: {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Runs a program and gives what it wrote to standard output.
///
/// # Errors
/// If the program cannot be started or fails; the message holds the end of its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} did not start", show(command)))?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr);
        let tail: Vec<&str> = text.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{} failed: {}", show(command), tail.join("\n"));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether a program can be run at all.
pub fn exists(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

fn show(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args().take(12) {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
