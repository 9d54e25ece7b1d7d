//! Opens replica files and runs transactions on them.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use haversack_geoservices::remote::{self as geoservices, CheckoutRequest, GeoServicesRemote};
use haversack_model::local::LocalReplica as _;
use haversack_model::{Error, Policy, Remote, ReplicaId, ReplicaTx, Timestamp};
use haversack_server::native::remote::service_in_url;
pub(crate) use haversack_sqlite::replica::Options;
pub(crate) use haversack_sqlite::replica::ReplicaFile as File;

use crate::args::ConnectArgs;
use crate::connect::{self, Native};
use crate::exit::NeedsRepair;
use crate::output::Output;

/// Opens a replica file, whatever state it is in.
///
/// # Errors
/// If it is not a replica file.
pub(crate) fn open_any(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| match error {
        // It names the file.
        error @ Error::Invalid { .. } => error.into(),
        error => anyhow::Error::new(error).context(format!("opening {}", path.display())),
    })
}

/// Opens a replica file whose edits are captured.
///
/// # Errors
/// [`NeedsRepair`] if some may have been missed.
pub(crate) fn open(path: &Path) -> Result<File> {
    let file = open_any(path)?;
    let problems = file.problems()?;
    if problems.is_empty() {
        return Ok(file);
    }
    Err(NeedsRepair(format!(
        "{}: {}. Run `haversack repair {}` first",
        path.display(),
        haversack_sqlite::replica::in_words(&problems),
        path.display()
    ))
    .into())
}

/// Opens a replica file in order to write to it. Says so if another program holds it, since that means waiting.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_to_write(path: &Path, out: Output) -> Result<File> {
    let mut file = open(path)?;
    if file.is_locked()? {
        out.warn(format_args!(
            "another program is saving to {}; waiting for it",
            path.display()
        ));
    }
    Ok(file)
}

/// Writes in one transaction.
pub(crate) fn write<T>(
    file: &mut File,
    write: impl FnOnce(&mut dyn ReplicaTx) -> haversack_model::Result<T>,
) -> Result<T> {
    let mut tx = file.begin()?;
    let done = write(&mut *tx)?;
    tx.commit()?;
    Ok(done)
}

/// Whether a full disk is what a command failed of.
pub(crate) fn is_disk_full(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| matches!(cause.downcast_ref(), Some(Error::DiskFull)))
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// The server of a replica file.
pub(crate) enum Origin {
    /// A Haversack.
    Native(Box<Native>),
    /// Another feature service.
    GeoServices(Box<GeoServicesRemote>),
}

impl Origin {
    /// The server that a file was checked out from.
    ///
    /// # Errors
    /// If credentials are missing or the file's protocol is not known.
    pub(crate) fn of(file: &File, connect: &ConnectArgs) -> Result<Self> {
        let header = file.header()?;
        match header.protocol.as_str() {
            connect::NATIVE => {
                let service = service_in_url(&header.url).with_context(|| {
                    format!("{:?} is not the URL of a feature service", header.url)
                })?;
                Ok(Self::Native(Box::new(Native {
                    client: connect::client(&header.url, connect)?,
                    service,
                })))
            }
            geoservices::PROTOCOL => Ok(Self::GeoServices(Box::new(connect::feature_service(
                &header.url,
                connect,
            )?))),
            haversack_dhis2::remote::PROTOCOL => bail!(
                "{} is a copy of a DHIS2 server: `haversack tracker` downloads and uploads it",
                file.path().display()
            ),
            other => bail!(
                "{} speaks the protocol {other:?}, which this program does not know",
                file.path().display()
            ),
        }
    }

    /// As the sync core speaks to it, for this file.
    pub(crate) fn remote(self, file: &File) -> Box<dyn Remote> {
        match self {
            Self::Native(native) => Box::new(native.remote(&file.collections())),
            Self::GeoServices(remote) => remote,
        }
    }

    /// Fetches what the file would hold if it were checked out now, into a file of its own.
    ///
    /// # Errors
    /// The server's.
    pub(crate) fn fetch_fresh(
        &mut self,
        file: &File,
        target: &Path,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<File> {
        let header = file.header()?;
        match self {
            Self::Native(native) => {
                let again = native
                    .client
                    .fetch_again(&native.service, header.id, target, progress);
                let remote = native.remote(&file.collections());
                match (again, remote.registration(&header)) {
                    // Released: the next sync registers it again. This comparison gets a registration of its own.
                    (Err(Error::NoReplica(_)), Some(request)) => native
                        .client
                        .checkout(&native.service, &request, target, progress)
                        .map(|id| {
                            let _expires = native.client.release(&native.service, id);
                        }),
                    (fetched, _) => fetched,
                }
                .map_err(|error| connect::explain(error, &header.url))?;
            }
            Self::GeoServices(remote) => {
                let kept: serde_json::Value = serde_json::from_str(&header.filter)
                    .context("the header's filter is damaged")?;
                let request = serde_json::from_value(kept["request"].clone())
                    .context("the header's filter is damaged")?;
                let id = take(
                    remote,
                    request,
                    header.policy,
                    (target, Options::default()),
                    progress,
                )?;
                // The registration served this comparison alone; one that stays behind expires.
                let _released = remote.unregister(id);
            }
        }
        open(target)
    }
}

/// Checks a part of a foreign feature service out into a new file, which appears under its name only when it is whole.
///
/// # Errors
/// The server's, or the file's; no file is left behind then.
pub(crate) fn take(
    remote: &mut GeoServicesRemote,
    request: CheckoutRequest,
    policy: Policy,
    (target, options): (&Path, Options),
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<ReplicaId> {
    let url = remote.url().to_owned();
    let explain = |error: haversack_geoservices::Error| connect::explain(error.into(), &url);
    let _alone = Alone::at(target)?;
    let filling = filling(target);
    give_back(remote, &filling, &url)?;
    let checkout = remote
        .checkout(request, policy, &mut |phase| progress(phase, 0, None))
        .map_err(explain)?;
    let id = checkout.header().id;
    let filled = File::create(&filling, checkout.collections(), checkout.header(), options)
        .map_err(anyhow::Error::from)
        .and_then(|mut file| {
            checkout
                .fill(remote, &mut file, &mut |done, total| {
                    progress("writing the file", done, Some(total));
                })
                .map_err(explain)?;
            Ok(file.publish(target)?)
        });
    if let Err(error) = filled {
        // The first error is the one to tell.
        let _removed = std::fs::remove_file(&filling);
        let _released = remote.unregister(id);
        return Err(error);
    }
    Ok(id)
}

/// No other checkout writes to this target, over whichever wire: all hold the lock of the part that a native one fetches into.
struct Alone {
    part: PathBuf,
    held: std::fs::File,
}

impl Alone {
    fn at(target: &Path) -> Result<Self> {
        let mut part = target.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let held = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&part)
            .with_context(|| format!("making {}", part.display()))?;
        match held.try_lock() {
            // Another one may have made it since this one looked.
            Ok(()) if target.exists() => bail!("{} exists already", target.display()),
            Ok(()) => Ok(Self { part, held }),
            Err(TryLockError::WouldBlock) => bail!(
                "{}: another checkout is writing this file",
                target.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", part.display()))
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // With bytes in it, it is what a cut native checkout goes on from.
        if self.held.metadata().is_ok_and(|found| found.len() == 0) {
            let _best_effort = std::fs::remove_file(&self.part);
        }
    }
}

/// The name of a file while its rows are written.
fn filling(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".filling");
    name.into()
}

/// Throws away what a program that was killed has left, and gives its registration back.
fn give_back(remote: &mut GeoServicesRemote, left: &Path, url: &str) -> Result<()> {
    if !left.exists() {
        return Ok(());
    }
    let begun = File::open(left).and_then(|file| file.header());
    if let Ok(header) = begun
        && header.url == url
    {
        remote
            .unregister(header.id)
            .map_err(|error| connect::explain(error.into(), url))?;
    }
    std::fs::remove_file(left).with_context(|| format!("removing {}", left.display()))
}
