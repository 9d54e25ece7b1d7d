//! `haversack tracker wipe`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use haversack_dhis2::remote::copy;
use haversack_model::local::LocalReplica as _;
use rusqlite::backup::Progress;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use super::args::{WipeArgs, WipeLevel};
use super::{check_new, open};
use crate::exit::Outcome;
use crate::output::{Output, count};
use crate::replica::{self, File, Options};

/// Runs the command.
pub(super) fn run(args: &WipeArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let (records, conflicts) = file.read(copy::unsent)?;
    let loses = args.level != WipeLevel::Metadata && records + conflicts > 0;
    if loses && !args.discard_unsent && args.export.is_none() {
        bail!(
            "{} holds {} that was never sent and {}; upload and decide them, keep all of it with --export FILE, or add --discard-unsent",
            args.file.display(),
            count(records as u64, "record"),
            count(conflicts as u64, "open conflict"),
        );
    }
    if let Some(target) = &args.export {
        check_new(target)?;
    }
    match args.level {
        WipeLevel::Metadata => {
            export(args, &mut file)?;
            replica::write(&mut file, |tx| copy::wipe_metadata(tx))?;
        }
        WipeLevel::Data => wipe_data(args, file)?,
        WipeLevel::Everything => {
            file.remove_reserve();
            // Nobody edits meanwhile: the file is held for writing until it is gone.
            let held = file.begin()?;
            export_held(args)?;
            std::fs::remove_file(&args.file)
                .with_context(|| format!("removing {}", args.file.display()))?;
            drop(held);
        }
    }
    let is_lost = loses && args.export.is_none();
    out.result(
        &json!({"file": args.file, "level": format!("{:?}", args.level).to_lowercase(), "discarded": if is_lost { records } else { 0 }, "export": args.export}),
        |out| match &args.export {
            Some(kept) => out.line(format_args!("Done. {} holds what there was.", kept.display())),
            None => out.line("Done."),
        },
    );
    Ok(Outcome::Done)
}

/// Keeps the whole file under another name, if that is asked for.
fn export(args: &WipeArgs, file: &mut File) -> Result<()> {
    let held = file.begin()?;
    export_held(args)?;
    drop(held);
    Ok(())
}

/// As [`export`], while the file is held for writing. It has its name only when it is whole and on the disk.
fn export_held(args: &WipeArgs) -> Result<()> {
    let Some(target) = &args.export else {
        return Ok(());
    };
    let aside = aside(target, ".exporting");
    if aside.exists() {
        std::fs::remove_file(&aside).with_context(|| format!("removing {}", aside.display()))?;
    }
    let keep = || -> Result<()> {
        let from = Connection::open_with_flags(&args.file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        from.backup("main", &aside, None::<fn(Progress)>)?;
        std::fs::File::open(&aside)?.sync_all()?;
        std::fs::rename(&aside, target)?;
        // Its name is to be on the disk too.
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    };
    keep().with_context(|| format!("keeping {}; nothing was removed", target.display()))
}

fn aside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A new file with the metadata takes the place of the old one, so that nothing of the data stays in free pages.
fn wipe_data(args: &WipeArgs, mut old: File) -> Result<()> {
    let path = args.file.as_path();
    let aside = aside(path, ".wiping");
    if aside.exists() {
        std::fs::remove_file(&aside).with_context(|| format!("removing {}", aside.display()))?;
    }
    let before = old.header()?;
    let header = copy::header(&before.url, &before.name);
    let options = Options {
        spatial_index: false,
    };
    let mut new = File::create(&aside, &copy::collections(), &header, options)?;
    // Nobody edits meanwhile: the old file is held for writing.
    let from = old.begin()?;
    export_held(args)?;
    replica::write(&mut new, |to| copy::copy_metadata(&*from, to))?;
    new.publish(path)?;
    Ok(())
}
