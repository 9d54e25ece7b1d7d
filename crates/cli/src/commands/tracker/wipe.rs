//! `haversack tracker wipe`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use haversack_dhis2::remote::copy;
use haversack_model::local::LocalReplica as _;
use serde_json::json;

use super::args::{WipeArgs, WipeLevel};
use super::open;
use crate::exit::Outcome;
use crate::output::{Output, count};
use crate::replica::{self, File, Options};

/// Runs the command.
pub(super) fn run(args: &WipeArgs, out: Output) -> Result<Outcome> {
    let mut file = open(&args.file, out)?;
    let (records, conflicts) = file.read(copy::unsent)?;
    let loses = args.level != WipeLevel::Metadata && records + conflicts > 0;
    if loses && !args.discard_unsent {
        bail!(
            "{} holds {} that was never sent and {}; upload and decide them, or keep a copy of the file and add --discard-unsent",
            args.file.display(),
            count(records as u64, "record"),
            count(conflicts as u64, "open conflict"),
        );
    }
    match args.level {
        WipeLevel::Metadata => {
            replica::write(&mut file, |tx| copy::wipe_metadata(tx))?;
        }
        WipeLevel::Data => wipe_data(&args.file, file)?,
        WipeLevel::Everything => {
            file.remove_reserve();
            drop(file);
            std::fs::remove_file(&args.file)
                .with_context(|| format!("removing {}", args.file.display()))?;
        }
    }
    out.result(
        &json!({"file": args.file, "level": format!("{:?}", args.level).to_lowercase(), "discarded": if loses { records } else { 0 }}),
        |out| out.line("Done."),
    );
    Ok(Outcome::Done)
}

/// A new file with the metadata takes the place of the old one, so that nothing of the data stays in free pages.
fn wipe_data(path: &Path, mut old: File) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".wiping");
    let aside = PathBuf::from(aside);
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
    replica::write(&mut new, |to| copy::copy_metadata(&*from, to))?;
    new.publish(path)?;
    Ok(())
}
