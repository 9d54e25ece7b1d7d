//! Native clients: files that people edit, and the core's steps with messages between them.

use std::collections::{BTreeMap, BTreeSet};

use haversack_model::local::{FrozenBatch, LocalReplica, ReplicaHeader};
use haversack_model::remote::{BatchReply, RemoteChange};
use haversack_model::{
    BlobHash, CollectionId, Edit, Error, Generation, GlobalId, Outcome, Record, ReplicaTx, Result,
    Theirs, Timestamp,
};
use haversack_sync::client;

use crate::ground::{Key, short, token_of, tokens};
use crate::memory::SharedReplica;
use crate::memory::bug::Bug;
use crate::message::{Message, Party, Refusal, Reply, Request};
use crate::oracle::{Check, Local, tokens_of};
use crate::people::{Deed, deed};
use crate::sometimes::Rare;
use crate::world::World;

/// A native client.
#[derive(Debug)]
pub struct Native {
    pub file: SharedReplica,
    pub local: Local,
    pub clock: i64,
    /// Grows when the file is replaced: who waited for answers is gone.
    pub session: u64,
    /// Records that people here saw deleted.
    pub graves: Vec<Key>,
    /// Old copies of the file.
    pub backups: Vec<(SharedReplica, Local)>,
    /// The file was copied: conflicts may have been told to the other one.
    pub is_copied: bool,
    /// The server was restored after this client had begun.
    pub conflicts_lost: bool,
    /// Tokens that had been answered and that a restored server forgot, so that they were unsent again.
    pub forgotten: BTreeSet<u64>,
}

impl Native {
    pub fn new(file: SharedReplica) -> Self {
        Self {
            file,
            local: Local::default(),
            clock: 1_700_000_000_000,
            session: 0,
            graves: Vec::new(),
            backups: Vec::new(),
            is_copied: false,
            conflicts_lost: false,
            forgotten: BTreeSet::new(),
        }
    }

    pub fn rows(&self) -> BTreeMap<Key, Record> {
        let file = self.file.file();
        let rows = file.rows.iter();
        rows.map(|(key, row)| (key.clone(), (**row).clone()))
            .collect()
    }
}

/// A page's changes, for the trace.
pub fn told(page: &haversack_model::remote::Page) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for change in &page.changes {
        let (sign, key) = match change {
            RemoteChange::Put {
                collection, record, ..
            } => ('+', (*collection, record.global_id.clone())),
            RemoteChange::Remove {
                collection,
                global_id,
                ..
            } => ('-', (*collection, global_id.clone())),
        };
        let _written = write!(text, " {sign}{}", short(&key));
    }
    text
}

/// What a step in a transaction came to.
pub enum Stepped<T> {
    Done(T),
    /// The program was killed before the commit.
    Killed,
}

/// The pictures that a batch names, with their contents as far as they are in the file.
pub fn blobs_of(
    edits: &[(CollectionId, Edit)],
    blob: impl Fn(BlobHash) -> Option<Vec<u8>>,
) -> Vec<(BlobHash, Vec<u8>)> {
    let mut found = Vec::new();
    for (collection, edit) in edits {
        if let (Some(_), Edit::Add { record, .. }) = (collection.attachments_of(), edit) {
            let hash = record.values[haversack_model::schema::attachment_field::SHA256]
                .as_text()
                .and_then(BlobHash::from_hex);
            if let Some(hash) = hash
                && let Some(content) = blob(hash)
            {
                found.push((hash, content));
            }
        }
    }
    found
}

pub fn refused_in(reply: &BatchReply) -> BTreeSet<(CollectionId, GlobalId)> {
    let refused = reply
        .receipts
        .iter()
        .filter(|receipt| matches!(receipt.outcome, Outcome::Rejected { .. }));
    refused
        .map(|receipt| (receipt.collection, receipt.global_id.clone()))
        .collect()
}

impl World<'_> {
    /// One step of a native client in one transaction. Errors of the core are failures.
    pub fn step<T>(
        &mut self,
        at: usize,
        work: impl FnOnce(&mut dyn ReplicaTx, Timestamp) -> Result<T>,
    ) -> Check<Stepped<T>> {
        let native = &mut self.natives[at];
        let now = Timestamp(self.chance.tick(&mut native.clock));
        let mut file = native.file.handle();
        let mut tx = file.begin().map_err(|error| error.to_string())?;
        let done = work(&mut *tx, now).map_err(|error| format!("n{at}: {error}"))?;
        let kill = !self.calm && self.chance.percent(self.faults.client_crash);
        if kill {
            drop(tx);
            self.seen.saw(Rare::ClientCrash);
            self.trace.note(&format!("n{at} is killed"));
            return Ok(Stepped::Killed);
        }
        match tx.commit() {
            Ok(()) => {}
            Err(Error::Store { .. }) => return Ok(Stepped::Killed),
            Err(error) => return Err(format!("n{at}: {error}")),
        }
        self.observe(at)?;
        Ok(Stepped::Done(done))
    }

    /// Lets the oracle look at a file.
    pub fn observe(&mut self, at: usize) -> Check {
        let native = &mut self.natives[at];
        let events = native.file.take_events();
        let file = native.file.file();
        native
            .local
            .observe(&mut self.oracle, &file, &events)
            .map_err(|found| format!("n{at}: {found}"))
    }

    /// Someone edits the file with any program.
    pub fn native_edit(&mut self, at: usize) -> Check {
        let rows = self.natives[at].rows();
        let native = &mut self.natives[at];
        let shapes = native.file.file().collections.clone();
        let party = Party::Native(at);
        let done = deed(
            &mut self.chance,
            &mut self.oracle,
            party,
            self.habits,
            &shapes,
            &rows,
            &native.graves,
        );
        let Some(done) = done else { return Ok(()) };
        if !native.file.file().batches.is_empty() {
            self.seen.saw(Rare::EditedInFlight);
        }
        match done {
            Deed::Add {
                key,
                record,
                marks,
                blob,
            } => {
                self.trace
                    .note(&format!("n{at} adds {} {:?}", short(&key), record.values));
                let made = marks.iter().map(|(_, token)| *token).min();
                let made = made.unwrap_or(self.oracle.marks.len() as u64);
                self.oracle.replaced.push((party, key.clone(), made));
                if let Some(hash) = blob {
                    native.file.put_blob(hash, &hash.0);
                }
                native.file.edit(|file| file.edit_insert(key.0, record));
                native
                    .local
                    .set(&mut self.oracle, &native.file.file(), &key, &marks);
            }
            Deed::Update {
                key,
                changes,
                marks,
            } => {
                self.trace.note(&format!(
                    "n{at} sets {} {:?}{}",
                    short(&key),
                    changes.values,
                    if changes.geometry.is_some() {
                        " moved"
                    } else {
                        ""
                    }
                ));
                let row = &rows[&key];
                for &(at, token) in &marks {
                    if let Some(old) = row.values.get(at).and_then(token_of) {
                        self.oracle
                            .change(old, |mark| mark.followed_by.extend([token]));
                    }
                }
                native
                    .file
                    .edit(|file| file.edit_update(key.0, &key.1, &changes));
                native
                    .local
                    .set(&mut self.oracle, &native.file.file(), &key, &marks);
            }
            Deed::Delete { key } => {
                self.trace.note(&format!("n{at} deletes {}", short(&key)));
                native.file.edit(|file| file.edit_delete(key.0, &key.1));
                native
                    .local
                    .delete(&mut self.oracle, &native.file.file(), &key, party);
                native.graves.push(key);
            }
        }
        self.observe(at)
    }

    /// Freezes what is pending and sends it, or sends the unanswered batch again.
    pub fn native_send(&mut self, at: usize) -> Check {
        if self.natives[at].file.file().header.resyncing {
            return Ok(());
        }
        let frozen = self.step(at, |tx, now| {
            let Some(batch) = client::freeze(tx, now)? else {
                return Ok(None);
            };
            let blobs = blobs_of(&batch.edits, |hash| tx.blob(hash).ok().flatten());
            Ok(Some((tx.header()?, batch, blobs)))
        })?;
        let Stepped::Done(Some((header, batch, blobs))) = frozen else {
            return Ok(());
        };
        self.trace.note(&format!(
            "n{at} sends batch {} of {} edits: {}",
            batch.number,
            batch.edits.len(),
            batch
                .edits
                .iter()
                .map(|(c, e)| short(&(*c, e.global_id().clone())))
                .collect::<Vec<_>>()
                .join(" ")
        ));
        let request = Request::Push {
            header,
            batch,
            blobs,
        };
        self.up(Party::Native(at), request);
        Ok(())
    }

    pub fn native_pull(&mut self, at: usize) {
        let header = self.natives[at].file.file().header.clone();
        self.trace.note(&format!(
            "n{at} asks for changes after {}",
            header.cursor.generation
        ));
        let most = self.page_size;
        self.up(Party::Native(at), Request::Pull { header, most });
    }

    pub fn native_receive(&mut self, at: usize, reply: Reply) -> Check {
        match reply {
            Reply::Pushed {
                replica,
                batch,
                reply,
            } => self.native_answered(at, replica, &batch, &reply),
            Reply::Page { asked, page } => {
                self.native_page(at, &asked, &page)?;
                Ok(())
            }
            Reply::Renewed { asked, renewed } => {
                self.trace.note(&format!("n{at} gets a new identity"));
                self.forget_own(at);
                let mut is_taken = false;
                self.step(at, |tx, _| {
                    is_taken = client::renewed(tx, &asked, renewed)?;
                    Ok(())
                })?;
                if is_taken {
                    self.seen.saw(Rare::FileRenewed);
                } else {
                    self.trace.note("  it is stale");
                }
                Ok(())
            }
            Reply::Refused {
                asked,
                refusal,
                batch,
            } => self.native_refused(at, &asked, refusal, batch.as_ref()),
            Reply::Decided { asked, stand } => self.native_told(at, &asked, &stand),
            Reply::Exchanged(_) | Reply::Outdated { .. } | Reply::Done => Ok(()),
        }
    }

    /// What is pending in a copied file may take effect in the name of both copies.
    pub fn forget_own(&mut self, at: usize) {
        let native = &self.natives[at];
        let file = native.file.file();
        // Given up by a decision about other fields of the record, a text may still be in its row.
        let unsent = file.outbox.iter().flat_map(|(key, entry)| {
            let base = entry.base.as_ref().map(|(base, _)| base);
            let row = file.rows.get(key).into_iter().flat_map(|row| tokens(row));
            row.filter(move |(at, token)| {
                base.and_then(|base| token_of(base.values.get(*at)?)) != Some(*token)
            })
        });
        let unsent = unsent.map(|(_, token)| token);
        // What was edited again since it was frozen is in no row any more, and yet in the batch that both copies hold.
        let frozen = file.batches.values().flat_map(|batch| &batch.edits);
        let frozen = frozen.flat_map(|(_, edit)| tokens_of(edit));
        let pending: Vec<u64> = native.local.pending().chain(unsent).chain(frozen).collect();
        drop(file);
        for token in pending {
            self.oracle.change(token, |mark| mark.exempt = true);
        }
    }

    /// The program that got an answer has had the time to keep it.
    pub fn forget_answers(&mut self, at: usize) {
        let native = &mut self.natives[at];
        native.local.forget_answers(&native.file.file());
    }

    /// What was sent without an answer may take effect again in a new history, and, where the server does not know the
    /// former one, all that was ever sent: a later backup may have what an earlier one lacked. Copies of a file hold the same receipts: each sends again what the server forgot,
    /// and the later one cannot know that the other has, and what others have made of it since.
    pub fn forget_sent(&mut self, at: usize, fork: Generation) {
        let is_copied = self.natives[at].is_copied;
        let file = self.natives[at].file.file();
        let frozen = file.batches.values().flat_map(|batch| &batch.edits);
        let mut sent: Vec<u64> = frozen.flat_map(|(_, edit)| tokens_of(edit)).collect();
        if fork == Generation::ZERO || is_copied {
            sent.extend(file.receipts.iter().flat_map(|(.., edit)| tokens_of(edit)));
            sent.extend(&self.natives[at].forgotten);
        }
        let above = file.receipts.iter().filter(|(seen, ..)| *seen > fork);
        let forgotten: Vec<u64> = above.flat_map(|(.., edit)| tokens_of(edit)).collect();
        drop(file);
        self.natives[at].forgotten.extend(forgotten);
        for token in sent {
            self.oracle.change(token, |mark| mark.exempt = true);
        }
    }

    fn native_answered(
        &mut self,
        at: usize,
        replica: haversack_model::ReplicaId,
        batch: &FrozenBatch,
        reply: &BatchReply,
    ) -> Check {
        let number = batch.number;
        let native = &mut self.natives[at];
        if native.file.file().header.id != replica {
            return Ok(());
        }
        // A batch whose answer is kept may wait in front of it to be settled.
        let waiting = if native.file.file().batches.contains_key(&number) {
            Some(number)
        } else {
            native.file.file().batches.keys().next().copied()
        };
        if waiting != Some(number) {
            self.seen.saw(Rare::LateReply);
            if self.bug == Some(Bug::ReceiptWithoutBatchCheck)
                && let Some(waiting) = waiting
            {
                // The spoilt client settles whatever the receipts name.
                let named = refused_in(reply);
                let keys: Vec<Key> = reply
                    .receipts
                    .iter()
                    .map(|r| (r.collection, r.global_id.clone()))
                    .filter(|key| !named.contains(key))
                    .collect();
                self.step(at, |tx, _| {
                    for key in &keys {
                        if tx
                            .entry(key.0, &key.1)?
                            .is_some_and(|entry| entry.batch == Some(waiting))
                        {
                            tx.remove_entry(key.0, &key.1)?;
                        }
                    }
                    Ok(())
                })?;
                return Ok(());
            }
        }
        self.trace
            .note(&format!("n{at} gets the answer to batch {number}"));
        if waiting == Some(number) {
            if native
                .file
                .file()
                .batches
                .get(&number)
                .map(|waiting| &**waiting)
                != Some(batch)
            {
                // A number that the server refused was used again.
                return Ok(());
            }
            native.local.answered(number, reply);
        }
        let outcomes = self.step(at, |tx, now| client::apply_reply(tx, number, reply, now))?;
        self.forget_answers(at);
        if let Stepped::Done(outcomes) = outcomes {
            self.saw_outcomes(&outcomes);
            let file = self.natives[at].file.file();
            if !outcomes.is_empty() {
                for conflict in &reply.conflicts {
                    if !file.conflicts.contains_key(&conflict.id) {
                        return Err(format!(
                            "G6: n{at} was told of a conflict and does not keep it"
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    pub fn saw_outcomes(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match outcome {
                Outcome::Merged => self.seen.saw(Rare::Merged),
                Outcome::Rejected { .. } => self.seen.saw(Rare::Rejected),
                Outcome::Warned { .. } => self.seen.saw(Rare::Warned),
                Outcome::Conflict { .. } | Outcome::Applied => {}
            }
        }
    }

    fn native_page(
        &mut self,
        at: usize,
        asked: &ReplicaHeader,
        page: &haversack_model::remote::Page,
    ) -> Check {
        self.trace.note(&format!(
            "n{at} gets changes up to {}{}:{}",
            page.cursor.generation,
            if page.more { " (more follow)" } else { "" },
            told(page)
        ));
        let before = self.natives[at].file.file().outbox.clone();
        let stored = self.step(at, |tx, _| {
            client::apply_page(tx, asked, page).map(|gone| gone.is_some())
        })?;
        match stored {
            Stepped::Done(true) => {
                if page.more {
                    self.seen.saw(Rare::SeveralPages);
                }
                if page.schema.is_some() {
                    self.seen.saw(Rare::SchemaChange);
                }
                let file = self.natives[at].file.file();
                let news = file.outbox.iter().any(|(key, entry)| {
                    entry.theirs != Theirs::Unchanged
                        && before
                            .get(key)
                            .is_some_and(|old| old.theirs != entry.theirs)
                });
                drop(file);
                if news {
                    self.seen.saw(Rare::TheirsBesideMine);
                }
                self.saw_page(asked, page);
                if self.bug == Some(Bug::ClockCursor) && !page.more {
                    self.step(at, |tx, now| {
                        let mut header = tx.header()?;
                        header.synced_at = Some(now);
                        tx.store_header(&header)
                    })?;
                }
            }
            Stepped::Done(false) => {
                self.trace.note("  it is stale");
                self.seen.saw(Rare::StalePage);
            }
            Stepped::Killed => {}
        }
        Ok(())
    }

    fn native_refused(
        &mut self,
        at: usize,
        asked: &ReplicaHeader,
        refusal: Refusal,
        batch: Option<&FrozenBatch>,
    ) -> Check {
        let header = self.natives[at].file.file().header.clone();
        let is_mine = header.id == asked.id
            && header.next_batch == asked.next_batch
            && header.cursor == asked.cursor
            && header.download == asked.download;
        if !is_mine {
            return Ok(());
        }
        self.trace.note(&format!("n{at} is refused: {refusal:?}"));
        match refusal {
            Refusal::BatchReused(_) | Refusal::BatchOrder(..) | Refusal::NoReplica(_) => {
                self.up(Party::Native(at), Request::Renew { header });
            }
            Refusal::NewHistory(history, fork) => {
                self.new_history_seen(at, fork);
                // An answer that was lost is not known to the server that was put back: what it was about may take effect
                // once more.
                self.forget_sent(at, fork);
                self.step(at, |tx, _| client::start_new_history(tx, history, fork))?;
            }
            Refusal::Resync(_) => {
                let compared = batch.is_some_and(|batch| batch.cursor != header.cursor);
                if !compared {
                    self.resync_seen(at);
                }
                self.step(at, |tx, _| {
                    if batch.is_some() {
                        client::thaw_refused(tx)?;
                    }
                    if compared {
                        return Ok(());
                    }
                    client::start_resync(tx, header.cursor.history)
                })?;
            }
        }
        Ok(())
    }

    pub fn new_history_seen(&mut self, at: usize, fork: Generation) {
        self.seen.saw(Rare::NewHistory);
        let file = self.natives[at].file.file();
        if file
            .receipts
            .iter()
            .any(|(generation, ..)| *generation > fork)
        {
            self.seen.saw(Rare::SentAgainAfterRestore);
        }
    }

    pub fn resync_seen(&mut self, at: usize) {
        self.seen.saw(Rare::FullResync);
        if !self.natives[at].file.file().outbox.is_empty() {
            self.seen.saw(Rare::ResyncWithUnsent);
        }
    }

    pub fn up(&mut self, party: Party, request: Request) {
        let session = self.session(party);
        self.bag
            .push(Message::Up(party, session, Box::new(request)));
    }
}
