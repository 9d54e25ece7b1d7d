//! One round: what devices did goes up, what others did comes down.
//!
//! Each step is one transaction, or several small ones; none is open while the network is waited for. A round that ends anywhere is continued by
//! the next one.

use std::collections::BTreeSet;

use haversack_model::documents::Pin;
use haversack_model::local::LocalReplica;
use haversack_model::{ReplicaTx, Timestamp};
use haversack_sync::client::{self, Step};

use super::install::{Installer, rank};
use super::rewind::CameWhole;
use super::{Error, House, Mark, OWN, Result, WHO, aggregate, name_of, named};
use crate::remote::copy::{self, CAME, KEEP};
use crate::remote::error::Error as RemoteError;
use crate::remote::files;
use crate::remote::layout::Layout;
use crate::remote::pull::{self, AggregateRequest, Downloaded, Request};
use crate::remote::push::{self, Importer, Pace, Uploader};
use crate::remote::server::Server;
use crate::remote::settings::Settings;

/// Documents that are written in one transaction of the face: devices wait for it.
const AT_ONCE: usize = 500;
/// For how long a country may be away before what devices changed can only be compared anew: two years.
const PINNED_MS: i64 = 2 * 365 * 24 * 3_600_000;
/// Name of the upper server's time when it was last asked.
pub(super) const SERVER_DATE: &str = "server date";

/// A round with a server that answers.
pub struct Round<'a> {
    /// The face.
    pub house: &'a House,
    /// The upper server.
    pub server: &'a Server,
    /// Whether its metadata is fetched, too.
    pub with_metadata: bool,
    /// Whether what its administrators chose for apps is heeded.
    pub as_chosen: bool,
    /// The wall clock.
    pub now: &'a dyn Fn() -> Timestamp,
}

impl std::fmt::Debug for Round<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Round")
            .field("server", &self.server.http.url())
            .finish_non_exhaustive()
    }
}

/// What a round did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Records of the copy that devices had changed.
    pub collected: usize,
    /// Edits that the upper server stored.
    pub sent: u64,
    /// Edits that it refused, and those that it said nothing of.
    pub refused: u64,
    /// Edits that met a change of the same field.
    pub clashes: usize,
    /// Metadata objects that changed.
    pub metadata: usize,
    /// Documents of the face that changed.
    pub installed: usize,
    /// Files that came.
    pub files: usize,
    /// Pages, data sets and files that failed; the next round asks for them again.
    pub failed_pages: usize,
    /// Whether objects came whose metadata is not here yet.
    pub lacks_metadata: bool,
    /// Whether the upper server was found put back to a backup.
    pub was_put_back: bool,
}

/// What can be done without the network: what devices did goes into the copy's outbox, what had come goes into the face.
///
/// # Errors
/// Those of the copy and of the face.
pub fn local(house: &House, copy: &mut dyn LocalReplica, now: Timestamp) -> Result<Done> {
    let mut done = Done::default();
    {
        // The face is read as it is while nobody else works on the copy: another round may have brought something into both meanwhile,
        // and older documents would then look like edits of devices.
        let mut tx = copy.begin()?;
        let read = house.instance.store().read_documents()?;
        if tx.note(CAME, KEEP)?.is_none() {
            copy::keep_names(&mut *tx)?;
        }
        done.collected = super::collect::collect(&house.instance, read.as_ref(), &mut *tx, now)?;
        decided(&mut *tx)?;
        tx.commit()?;
    }
    install(house, copy, now, &mut done)?;
    pin(house, copy, now)?;
    Ok(done)
}

/// Keeps the history of the face after the cursor, however long the country is away.
fn pin(house: &House, copy: &mut dyn LocalReplica, now: Timestamp) -> Result<()> {
    let (mark, id) = {
        let tx = copy.begin()?;
        (Mark::load(&*tx)?, tx.header()?.id.0)
    };
    let store = house.instance.store();
    let (pins, head) = {
        let read = store.read_documents()?;
        (read.pins()?, read.head()?)
    };
    let mine = pins.iter().find(|pin| pin.id == id);
    let Some(mark) = mark.filter(|mark| {
        let is_pinned = mine.is_some_and(|pin| pin.generation == mark.generation);
        mark.history == head.history && mark.generation >= head.floor && !is_pinned
    }) else {
        return Ok(());
    };
    let mut tx = store.write_documents(now)?;
    tx.pin(&Pin {
        id,
        generation: mark.generation,
        expires_at: Timestamp(now.0.saturating_add(PINNED_MS)),
    })?;
    tx.commit()?;
    Ok(())
}

/// A conflict that was decided in the copy: its record comes down as it is by now.
fn decided(tx: &mut dyn ReplicaTx) -> Result<()> {
    for decided in tx.untold_decisions()? {
        if let Some(mut conflict) = tx.conflict(decided.conflict)? {
            copy::came(tx, conflict.collection, &conflict.global_id)?;
            if let Some(resolution) = &mut conflict.resolution {
                resolution.told = true;
            }
            tx.store_conflict(&conflict)?;
        }
    }
    Ok(())
}

impl Round<'_> {
    /// Does it. `again` is the copy, opened once more.
    ///
    /// # Errors
    /// Those of the network, the copy and the face. What was done before stays.
    pub fn run(
        &self,
        copy: &mut dyn LocalReplica,
        again: Box<dyn LocalReplica + '_>,
        pace: Box<dyn Pace>,
    ) -> Result<Done> {
        let mut done = local(self.house, copy, (self.now)())?;
        if self.with_metadata {
            copy::sync_metadata(self.server, copy, (self.now)(), &mut |_| {})?;
            done.metadata = self.metadata(copy)?;
        }
        let is_earlier = self.is_earlier(copy)?;
        done.was_put_back = is_earlier;
        let down = self.download(copy, is_earlier)?;
        note(&mut done, &down);
        let (mut came, mut failed_sets) = self.aggregate(copy, is_earlier, &[], &mut done)?;
        came += down.put;
        if is_earlier {
            let older = super::rewind::untold_periods(&*copy.begin()?)?;
            if !older.is_empty() {
                failed_sets.extend(self.aggregate(copy, true, &older, &mut done)?.1);
            }
            let came_whole = CameWhole {
                tracker: down.failed.is_empty() && !down.no_units,
                failed_sets,
            };
            let mut tx = copy.begin()?;
            done.clashes = super::rewind::settle(&mut *tx, &came_whole, (self.now)())?;
            tx.commit()?;
        }
        let mut tx = copy.begin()?;
        done.clashes += super::rebase::rebase(&mut *tx, (self.now)())?;
        push::prepare(&mut *tx)?;
        let is_report = |of| aggregate::BOTH.iter().any(|(_, id)| *id == of);
        let has_reports = tx
            .entries()?
            .iter()
            .any(|entry| is_report(entry.collection));
        tx.commit()?;
        self.send_files(copy, &mut done)?;
        let importer = Importer {
            version: self.server.version,
            api: self.server.importer(),
        };
        let mut uploader = Uploader::new(&self.server.http, importer, again, pace);
        let summary = client::upload(copy, &mut uploader, client::MAX_BATCH, &mut |_: Step| {})?;
        done.sent = summary.applied;
        done.refused = summary.rejected.len() as u64 + summary.untold;
        if done.sent > 0 {
            let down = self.download(copy, false)?;
            note(&mut done, &down);
            if has_reports {
                self.aggregate(copy, false, &[], &mut done)?;
            }
        }
        self.tell_of_glass(copy, &mut done)?;
        if came > 0 || self.with_metadata {
            self.fetch_files(copy, &mut done)?;
        }
        let mut tx = copy.begin()?;
        super::rewind::find_witnesses(&mut *tx)?;
        tx.commit()?;
        install(self.house, copy, (self.now)(), &mut done)?;
        let mut tx = copy.begin()?;
        tx.store_note(OWN, SERVER_DATE, Some(&self.server.server_date))?;
        tidy(&mut *tx)?;
        tx.commit()?;
        Ok(done)
    }

    fn download(&self, copy: &mut dyn LocalReplica, full: bool) -> Result<Downloaded> {
        let request = Request {
            // A clinic is not an app: where nothing is chosen it holds what its devices may ask for.
            usual: usize::MAX / 4,
            // What was left out before would look as if it were lost.
            as_chosen: self.as_chosen && !full,
            full,
            ..Request::default()
        };
        let done = pull::download(self.server, copy, &request, self.now, &mut |_| {})?;
        Ok(done)
    }

    /// Downloads data values and completions, of these periods or (none) the usual ones; gives how many came, and the data sets
    /// that did not.
    fn aggregate(
        &self,
        copy: &mut dyn LocalReplica,
        full: bool,
        periods: &[String],
        done: &mut Done,
    ) -> Result<(usize, BTreeSet<String>)> {
        let request = AggregateRequest {
            full,
            as_chosen: self.as_chosen,
            periods: periods.to_vec(),
            ..AggregateRequest::default()
        };
        let down = pull::aggregate(self.server, copy, &request, self.now, &mut |_| {})?;
        done.failed_pages += down.failed.len();
        for failed in &down.failed {
            tracing::warn!(
                data_set = failed.data_set,
                reason = failed.reason,
                "a data set did not come from the upper server; the next round asks again"
            );
        }
        let failed = down.failed.into_iter().map(|one| one.data_set);
        Ok((down.put, failed.collect()))
    }

    /// Sends the files that edits name. One that cannot be sent holds up what names it, and nothing else.
    fn send_files(&self, copy: &mut dyn LocalReplica, done: &mut Done) -> Result<()> {
        let mut tx = copy.begin()?;
        super::files::offer_again(&mut *tx, (self.now)())?;
        tx.commit()?;
        match files::send(&self.server.http, copy) {
            Ok(sent) => {
                let mut tx = copy.begin()?;
                super::files::note_refused(&mut *tx, &sent.refused, (self.now)())?;
                tx.commit()?;
                for (file, reason) in &sent.refused {
                    tracing::warn!(file, reason, "the upper server does not take a file");
                }
            }
            Err(error) if ends_round(&error) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a file did not get to the upper server; the next round sends it again");
                done.failed_pages += 1;
            }
        }
        Ok(())
    }

    /// Fetches the files that values name: devices ask this server for them.
    fn fetch_files(&self, copy: &mut dyn LocalReplica, done: &mut Done) -> Result<()> {
        let chosen = Settings::load(&*copy.begin()?)?.max_file_bytes;
        let chosen = chosen.filter(|_| self.as_chosen);
        let most = chosen.unwrap_or(files::MAX_BYTES);
        let down = files::fetch(self.server, copy, most, &mut |_| {})?;
        let too_large = down.too_large.iter();
        let too_large = too_large.map(|file| (file.as_str(), "it is larger than files of devices"));
        let failed = down.failed.iter();
        let failed = failed.map(|(file, reason)| (file.as_str(), reason.as_str()));
        for (file, reason) in failed.chain(too_large) {
            tracing::warn!(file, reason, "a file did not come from the upper server");
        }
        done.failed_pages += down.failed.len();
        done.files += super::files::install(self.house, copy, (self.now)())?;
        Ok(())
    }

    /// Tells why the glass was broken here. What cannot be told now waits.
    fn tell_of_glass(&self, copy: &mut dyn LocalReplica, done: &mut Done) -> Result<()> {
        for broken in super::glass::untold(copy, (self.now)())? {
            match broken.tell(self.server) {
                Ok(()) => broken.forget(copy)?,
                Err(error) if ends_round(&error) => return Err(error.into()),
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "a reason for broken glass did not get to the upper server; the next round tells it again");
                    done.failed_pages += 1;
                }
                Err(error) => broken.refused(copy, &error)?,
            }
        }
        Ok(())
    }

    /// Whether the upper server was put back to a backup: what changed since the last mark is not told then. The copy is held until all of
    /// it was compared.
    fn is_earlier(&self, copy: &mut dyn LocalReplica) -> Result<bool> {
        let is_earlier = super::rewind::is_due(self.server, copy)?;
        if is_earlier {
            let mut tx = copy.begin()?;
            super::rewind::hold(&mut *tx)?;
            tx.commit()?;
            tracing::warn!(url = %self.server.http.url(), now = self.server.server_date, "the upper server was put back to a backup: everything is fetched anew");
        }
        Ok(is_earlier)
    }

    fn metadata(&self, copy: &mut dyn LocalReplica) -> Result<usize> {
        let store = self.house.instance.store();
        let mut face = store.write_documents((self.now)())?;
        let tx = copy.begin()?;
        let changed = super::metadata::install(&self.house.instance, face.as_mut(), &*tx)?;
        drop(tx);
        if changed > 0 {
            face.commit()?;
        }
        Ok(changed)
    }
}

fn note(done: &mut Done, down: &Downloaded) {
    done.failed_pages += down.failed.len();
    done.lacks_metadata |= !down.unknown.is_empty();
    for page in &down.failed {
        tracing::warn!(
            what = page.kind.collection(),
            program = page.program,
            page = page.page,
            reason = page.reason,
            "a page did not come from the upper server; the next round asks again"
        );
    }
}

/// Writes what came into the face, a part at a time, each together with what devices did until then.
fn install(
    house: &House,
    copy: &mut dyn LocalReplica,
    now: Timestamp,
    done: &mut Done,
) -> Result<()> {
    let names = came(&*copy.begin()?)?;
    for names in names.chunks(AT_ONCE) {
        let mut face = house.instance.store().write_documents(now)?;
        let mut tx = copy.begin()?;
        done.collected += super::collect::collect(&house.instance, &*face, &mut *tx, now)?;
        let mut installer = Installer::new(&house.instance, face.as_mut(), &*tx)?;
        installer.all(names)?;
        let written = installer.written;
        done.installed += written;
        for name in names {
            tx.store_note(CAME, name, None)?;
        }
        if written > 0 {
            // What is written now came from the copy.
            let head = face.commit()?;
            let mark = Mark {
                history: head.history,
                generation: head.generation,
            };
            mark.store(&mut *tx)?;
        }
        tx.commit()?;
    }
    Ok(())
}

/// The names of what came, parents first.
fn came(tx: &dyn ReplicaTx) -> Result<Vec<String>> {
    let layout = Layout::of(&tx.collections()?);
    let names = tx.notes(CAME)?.into_iter().map(|(name, _)| name);
    let mut names: Vec<(usize, String)> = names
        .filter(|name| name != KEEP)
        .map(|name| {
            let table = named(&name).and_then(|(collection, _)| layout.table(collection));
            (table.and_then(rank).unwrap_or(usize::MAX), name)
        })
        .collect();
    names.sort();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

/// Whether nothing more can be done with an upper server in this round.
pub(super) fn ends_round(error: &RemoteError) -> bool {
    matches!(
        error,
        RemoteError::BadCredentials
            | RemoteError::AccountDisabled
            | RemoteError::AccountLocked
            | RemoteError::Model(_)
    )
}

/// Says in conflicts whose edits they are about, and forgets whose edits were settled.
fn tidy(tx: &mut dyn ReplicaTx) -> Result<()> {
    super::files::tidy(tx)?;
    for mut conflict in tx.conflicts(true)? {
        let name = name_of(conflict.collection, &conflict.global_id);
        if conflict.user.is_empty()
            && let Some(user) = tx.note(WHO, &name)?.filter(|user| !user.is_empty())
        {
            conflict.user = user;
            tx.store_conflict(&conflict)?;
        }
    }
    for (name, _) in tx.notes(WHO)? {
        let is_open = match named(&name) {
            Some((collection, id)) => tx.entry(collection, &id)?.is_some(),
            None => false,
        };
        if !is_open {
            tx.store_note(WHO, &name, None)?;
        }
    }
    Ok(())
}

impl Error {
    /// Whether the upper server could not be reached, or is out of order for now.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Remote(error) if error.is_passing() || matches!(error, RemoteError::Model(haversack_model::Error::Network(_))))
    }
}
