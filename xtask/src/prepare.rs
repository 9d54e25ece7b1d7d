//! Installs what the tests and the measurements need: Debian packages, Python packages into `.cache/venv`, npm packages into
//! `.cache/node` and `.cache/peers`. Quick when everything is there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{exists, output, program, root, step};

/// Python with the packages of `e2e/requirements.txt`, and the folder of the npm packages.
#[derive(Debug)]
pub struct Tools {
    /// Interpreter of the virtual environment.
    pub python: PathBuf,
    /// The system's interpreter, which has Debian's GDAL bindings and QGIS.
    pub system_python: PathBuf,
    /// `node_modules` with the packages of `e2e/package.json`.
    pub node_modules: PathBuf,
}

/// Installs what is missing.
///
/// # Errors
/// If something is missing and cannot be installed; the message says what to do.
pub fn run() -> Result<Tools> {
    debian_packages()?;
    let cache = root().join(".cache");
    fs::create_dir_all(&cache).context("creating .cache")?;
    Ok(Tools {
        python: python_packages(&cache.join("venv"))?,
        system_python: PathBuf::from("/usr/bin/python3"),
        node_modules: node_packages(&cache.join("node"), "e2e/package.json")?,
    })
}

/// Installs the programs that measurements are made beside; gives the folder of their npm packages.
///
/// # Errors
/// If something is missing and cannot be installed; the message says what to do.
pub fn peers() -> Result<PathBuf> {
    install(&[
        ("rsync", exists("rsync")),
        ("nodejs", exists("node")),
        ("npm", exists("npm")),
    ])?;
    let manifest = "crates/cli/examples/bench/peers/package.json";
    node_packages(&root().join(".cache/peers"), manifest)
}

fn debian_packages() -> Result<()> {
    let system_python = |code: &str| {
        program("/usr/bin/python3")
            .args(["-c", code])
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let wanted = [
        ("gdal-bin", exists("ogr2ogr") && exists("ogrinfo")),
        ("python3-gdal", system_python("from osgeo import ogr")),
        ("python3-venv", system_python("import ensurepip, venv")),
        ("sqlite3", exists("sqlite3")),
        ("python3-qgis", system_python("import qgis.core")),
        (
            "qgis-providers",
            Path::new("/usr/lib/qgis/crssync").exists(),
        ),
        (
            "libsqlite3-mod-spatialite",
            system_python(
                "import sqlite3; db = sqlite3.connect(':memory:'); db.enable_load_extension(True); \
                 db.load_extension('mod_spatialite')",
            ),
        ),
        ("nodejs", exists("node")),
        ("npm", exists("npm")),
    ];
    install(&wanted)
}

/// Installs Debian packages that are not here.
fn install(wanted: &[(&str, bool)]) -> Result<()> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(_, here)| !here)
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!(
        "sudo apt-get install --no-install-recommends {}",
        missing.join(" ")
    );
    if !exists("apt-get") {
        bail!(
            "this needs {}; install them and try again",
            missing.join(", ")
        );
    }
    let is_root = output(program("id").arg("-u"))?.trim() == "0";
    let may_sudo = exists("sudo") && output(program("sudo").args(["-n", "true"])).is_ok();
    let apt = || {
        let mut command = program(if is_root { "apt-get" } else { "sudo" });
        if !is_root {
            command.args(["-n", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    if !is_root && !may_sudo {
        bail!(
            "this needs Debian packages that are not installed. Run this, then try again:\n  {by_hand}"
        );
    }
    step("apt-get update", apt().args(["-qq", "update"]))?;
    step(
        &format!("installing {}", missing.join(", ")),
        apt()
            .args(["-qq", "-y", "install", "--no-install-recommends"])
            .args(&missing),
    )
}

fn python_packages(venv: &Path) -> Result<PathBuf> {
    let python = venv.join("bin/python");
    let wanted = fs::read_to_string(root().join("e2e/requirements.txt"))?;
    let stamp = venv.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    if !python.exists() {
        step(
            "creating .cache/venv",
            program("/usr/bin/python3").args(["-m", "venv"]).arg(venv),
        )?;
    }
    step(
        "installing Python packages into .cache/venv (some minutes the first time)",
        program(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            "e2e/requirements.txt",
        ]),
    )?;
    fs::write(&stamp, wanted)?;
    Ok(python)
}

fn node_packages(folder: &Path, manifest: &str) -> Result<PathBuf> {
    let modules = folder.join("node_modules");
    let wanted = fs::read_to_string(root().join(manifest))?;
    let stamp = folder.join("installed.json");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(modules);
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join("package.json"), &wanted)?;
    step(
        &format!("installing the npm packages of {manifest}"),
        program("npm").current_dir(folder).args([
            "install",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--silent",
        ]),
    )?;
    fs::write(&stamp, wanted)?;
    Ok(modules)
}
