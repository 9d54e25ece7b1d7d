//! The loop of a sync: upload, download, and the ways out of a past that cannot be continued.

use haversack_model::local::{FrozenBatch, LocalReplica, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, RemoteChange};
use haversack_model::schema::attachment_field;
use haversack_model::{
    BatchNumber, BlobHash, Direction, Edit, Error, Outcome, RejectCode, Remote, ReplicaTx, Result,
    Timestamp, Value,
};

use super::echo::Sent;
use super::freeze::{freeze_after, freeze_at_most};
use super::reply::{keep_answer, settle_answered, settle_sent};
use super::{MAX_BATCH, Step, Summary};
use super::{
    apply_decisions, apply_page, renewed, start_new_history, start_resync, thaw_refused,
    to_exchange,
};

/// How often one sync may begin anew because identity or history changed under it.
const MAX_RECOVERIES: usize = 8;

/// How many decisions, and questions for them, go in one message.
const MAX_DECISIONS: usize = 1000;

/// Synchronises until nothing is left to do on either side: batches up, pages down. Safe to interrupt anywhere and
/// to repeat.
///
/// # Errors
/// Those of the file and of the remote. What was settled before stays settled.
pub fn synchronise(
    local: &mut dyn LocalReplica,
    remote: &mut dyn Remote,
    clock: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(Step),
) -> Result<Summary> {
    synchronise_in_batches(local, remote, MAX_BATCH, clock, progress)
}

/// As [`synchronise`], with at most so many edits in a batch.
///
/// # Errors
/// As [`synchronise`].
pub fn synchronise_in_batches(
    local: &mut dyn LocalReplica,
    remote: &mut dyn Remote,
    most: usize,
    clock: &dyn Fn() -> Timestamp,
    progress: &mut dyn FnMut(Step),
) -> Result<Summary> {
    let mut run = Run::new(local, remote, most, progress);
    loop {
        let uploaded = run.upload()?;
        if run.download()? && uploaded {
            break;
        }
    }
    run.exchange_decisions()?;
    let now = clock();
    run.write(|tx| {
        let mut header = tx.header()?;
        header.synced_at = Some(now);
        tx.store_header(&header)
    })?;
    Ok(run.summary)
}

/// Sends what is pending, at most so many edits in a batch, and fetches nothing. Safe to interrupt anywhere and to repeat.
///
/// # Errors
/// As [`synchronise`].
pub fn upload(
    local: &mut dyn LocalReplica,
    remote: &mut dyn Remote,
    most: usize,
    progress: &mut dyn FnMut(Step),
) -> Result<Summary> {
    let mut run = Run::new(local, remote, most, progress);
    run.upload()?;
    Ok(run.summary)
}

fn write<T>(
    local: &mut dyn LocalReplica,
    work: impl FnOnce(&mut dyn ReplicaTx) -> Result<T>,
) -> Result<T> {
    let mut tx = local.begin()?;
    let result = work(&mut *tx)?;
    tx.commit()?;
    Ok(result)
}

/// What is done in the file while the server works on a batch.
struct Meanwhile {
    /// The batch before it, with its answer.
    settle: Option<(FrozenBatch, BatchReply)>,
    /// The number of the batch under way, and most edits of the one after it, if there may be one.
    freeze: Option<(BatchNumber, usize)>,
}

/// What was done meanwhile.
#[derive(Default)]
struct Done {
    /// The answer that was settled.
    settled: Option<BatchReply>,
    /// The batch that was frozen.
    frozen: Option<(ReplicaHeader, FrozenBatch)>,
}

impl Meanwhile {
    fn run(self, tx: &mut dyn ReplicaTx) -> Result<Done> {
        let mut done = Done::default();
        if let Some((batch, reply)) = self.settle
            && settle_sent(tx, &batch, &reply)?
        {
            done.settled = Some(reply);
        }
        if let Some((under_way, most)) = self.freeze
            && let Some(batch) = freeze_after(tx, under_way, most)?
        {
            done.frozen = Some((tx.header()?, batch));
        }
        Ok(done)
    }
}

/// Whether an answer says nothing of any edit.
fn is_untold(reply: &BatchReply) -> bool {
    let mut outcomes = reply.receipts.iter().map(|receipt| &receipt.outcome);
    outcomes.all(|outcome| {
        matches!(
            outcome,
            Outcome::Rejected {
                code: RejectCode::Untold,
                ..
            }
        )
    })
}

struct Run<'a> {
    local: &'a mut dyn LocalReplica,
    remote: &'a mut dyn Remote,
    most: usize,
    progress: &'a mut dyn FnMut(Step),
    summary: Summary,
    sent: Sent,
    recoveries: usize,
}

impl<'a> Run<'a> {
    fn new(
        local: &'a mut dyn LocalReplica,
        remote: &'a mut dyn Remote,
        most: usize,
        progress: &'a mut dyn FnMut(Step),
    ) -> Self {
        Self {
            local,
            remote,
            most,
            progress,
            summary: Summary::default(),
            sent: Sent::default(),
            recoveries: 0,
        }
    }

    fn write<T>(&mut self, work: impl FnOnce(&mut dyn ReplicaTx) -> Result<T>) -> Result<T> {
        write(self.local, work)
    }

    /// Sends all that is pending. `false`: something has changed that must be downloaded before more is sent.
    ///
    /// While the server works on a full batch, the answer to the one before it is settled and the next one is frozen. The
    /// server remembers one answer, so each is kept in the file before the next batch goes.
    fn upload(&mut self) -> Result<bool> {
        let mut settled = 0;
        let (answered, header) = self.write(|tx| Ok((settle_answered(tx)?, tx.header()?)))?;
        for reply in &answered {
            settled += self.count(reply);
        }
        // A full resync that was cut is finished first: its cursor may lie below what the server remembers.
        if header.resyncing {
            return Ok(false);
        }
        let mut next = None;
        let mut kept = None;
        // Whether a whole batch got no answer: what waits again would get none for ever.
        let mut is_stuck = false;
        loop {
            let most = self.most;
            let (header, batch) = if let Some(next) = next.take() {
                next
            } else if is_stuck {
                return Ok(true);
            } else {
                let found = self.write(|tx| {
                    let batch = freeze_at_most(tx, most)?;
                    Ok((tx.header()?, batch))
                })?;
                let (header, Some(batch)) = found else {
                    return Ok(true);
                };
                (header, batch)
            };
            self.push_blobs(&header, &batch)?;
            (self.progress)(Step::Uploading(batch.edits.len()));
            let meanwhile = Meanwhile {
                settle: kept.take(),
                freeze: (batch.edits.len() >= most && !is_stuck).then_some((batch.number, most)),
            };
            let (reply, done) = self.push(&header, &batch, meanwhile)?;
            is_stuck |= reply.as_ref().is_ok_and(is_untold);
            if let Some(reply) = &done.settled {
                settled += self.count(reply);
                (self.progress)(Step::Uploaded(settled));
            }
            match reply {
                Ok(reply) if done.frozen.is_some() => {
                    self.write(|tx| keep_answer(tx, &batch, &reply))?;
                    kept = Some((batch, reply));
                    next = done.frozen;
                }
                Ok(reply) => {
                    if self.write(|tx| settle_sent(tx, &batch, &reply))? {
                        settled += self.count(&reply);
                    }
                    (self.progress)(Step::Uploaded(settled));
                }
                Err(Error::Resync { .. }) if batch.cursor != header.cursor => {
                    // It was not stored, and everything was compared anew since it was frozen.
                    self.write(thaw_refused)?;
                }
                Err(error) => {
                    if !self.recover(&header, error, true)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Fetches all pages. `false`: there may be something to send again.
    fn download(&mut self) -> Result<bool> {
        let mut stored = 0;
        let mut complete = true;
        loop {
            let header = self.write(|tx| tx.header())?;
            if header.direction == Direction::Upload {
                return Ok(true);
            }
            match self.remote.pull(&header) {
                Ok(page) => {
                    self.pull_blobs(&header, &page)?;
                    let sent = std::mem::take(&mut self.sent);
                    let stored_now = self.write(|tx| {
                        let mut news = sent.news(tx, &page)?;
                        let gone = apply_page(tx, &header, &page)?;
                        Ok(gone.map(|gone| {
                            news.removed += gone;
                            news
                        }))
                    });
                    self.sent = sent;
                    let Some(news) = stored_now? else {
                        // Another process stored a page first: go on from there.
                        continue;
                    };
                    // Another process may have pruned content that nothing named until now.
                    self.pull_blobs(&header, &page)?;
                    stored += page.changes.len() as u64;
                    self.summary.put += news.put;
                    self.summary.removed += news.removed;
                    (self.progress)(Step::Downloaded(stored));
                    if !page.more {
                        return Ok(complete);
                    }
                }
                Err(error) => {
                    // What waits now, such as edits that the server forgot, goes up when all is here.
                    complete &= self.recover(&header, error, false)?;
                }
            }
        }
    }

    /// Follows the server where the past cannot be continued; gives whether uploading can go on at once.
    ///
    /// # Errors
    /// The error itself if there is no way on.
    fn recover(&mut self, header: &ReplicaHeader, error: Error, uploading: bool) -> Result<bool> {
        self.recoveries += 1;
        if self.recoveries > MAX_RECOVERIES {
            return Err(error);
        }
        match error {
            Error::BatchReused(_) | Error::BatchOrder { .. } | Error::NoReplica(_) => {
                let identity = self.remote.renew(header)?;
                if !self.write(|tx| renewed(tx, header, identity))? {
                    // Another process was faster: go on from there.
                    return Ok(true);
                }
                self.summary.resynced |= !identity.continues;
                (self.progress)(match error {
                    Error::NoReplica(_) => Step::RegisteredAgain,
                    _ => Step::Renewed,
                });
                Ok(identity.continues)
            }
            Error::NewHistory { history, fork } => {
                self.write(|tx| start_new_history(tx, history, fork))?;
                self.resync_begun();
                Ok(false)
            }
            Error::Resync { .. } => {
                let history = header.cursor.history;
                self.write(|tx| {
                    // A refused batch is in no server. One that merely waits for its answer may be, and stays as it is.
                    if uploading {
                        thaw_refused(tx)?;
                    }
                    start_resync(tx, history)
                })?;
                self.resync_begun();
                Ok(false)
            }
            error => Err(error),
        }
    }

    /// Closes conflicts on both sides, after the edits that decisions are made of.
    fn exchange_decisions(&mut self) -> Result<()> {
        let (header, (decided, open)) = self.write(|tx| Ok((tx.header()?, to_exchange(tx)?)))?;
        let mut decided = decided.chunks(MAX_DECISIONS);
        let mut open = open.chunks(MAX_DECISIONS);
        loop {
            let (told, asked) = (decided.next(), open.next());
            if told.is_none() && asked.is_none() {
                return Ok(());
            }
            let stand = self.remote.exchange_decisions(
                &header,
                told.unwrap_or_default(),
                asked.unwrap_or_default(),
            )?;
            self.write(|tx| apply_decisions(tx, &stand))?;
        }
    }

    fn resync_begun(&mut self) {
        self.summary.resynced = true;
        (self.progress)(Step::Resync);
    }

    /// Sends a batch. What can be done meanwhile has been done afterwards, whatever became of the batch.
    fn push(
        &mut self,
        header: &ReplicaHeader,
        batch: &FrozenBatch,
        meanwhile: Meanwhile,
    ) -> Result<(Result<BatchReply>, Done)> {
        if meanwhile.settle.is_none() && meanwhile.freeze.is_none() {
            return Ok((self.remote.push(header, batch), Done::default()));
        }
        let local = &mut *self.local;
        let mut meanwhile = Some(meanwhile);
        let mut done = None;
        let mut work = || {
            if let Some(meanwhile) = meanwhile.take() {
                done = Some(write(local, |tx| meanwhile.run(tx)));
            }
        };
        let reply = self.remote.push_while(header, batch, &mut work);
        work();
        let done = done.transpose()?.unwrap_or_default();
        Ok((reply, done))
    }

    /// Counts what an answer says; gives how many edits it is about.
    fn count(&mut self, reply: &BatchReply) -> u64 {
        self.sent.note(reply);
        for receipt in &reply.receipts {
            match &receipt.outcome {
                Outcome::Applied | Outcome::Warned { .. } => self.summary.applied += 1,
                Outcome::Merged => self.summary.merged += 1,
                Outcome::Conflict { .. } => self.summary.conflicts += 1,
                Outcome::Rejected {
                    code: RejectCode::Untold,
                    ..
                } => self.summary.untold += 1,
                Outcome::Rejected { reason, .. } => {
                    let (collection, id) = (receipt.collection, receipt.global_id.clone());
                    let rejected = (collection, id, reason.clone());
                    self.summary.rejected.push(rejected);
                }
            }
        }
        reply.receipts.len() as u64
    }

    /// Content of attachments goes ahead of the batch that names it. What the server refuses fails that attachment.
    fn push_blobs(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<()> {
        let mut hashes: Vec<BlobHash> = Vec::new();
        for (collection, edit) in &batch.edits {
            if collection.attachments_of().is_none() {
                continue;
            }
            let value = match edit {
                Edit::Add { record, .. } => record.values.get(attachment_field::SHA256),
                Edit::Update { mine, .. } => mine.values.get(&attachment_field::SHA256),
                Edit::Delete { .. } => None,
            };
            hashes.extend(value.and_then(Value::as_text).and_then(BlobHash::from_hex));
        }
        let all = hashes.len() as u64;
        for (done, hash) in hashes.into_iter().enumerate() {
            let content = self.write(|tx| tx.blob(hash))?;
            if let Some(content) = content {
                match self.remote.push_blob(header, hash, &content) {
                    Ok(()) | Err(Error::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            (self.progress)(Step::Blobs(done as u64 + 1, all));
        }
        Ok(())
    }

    /// Content is here before the page that names it is stored: a cut sync fetches it again.
    fn pull_blobs(&mut self, header: &ReplicaHeader, page: &Page) -> Result<()> {
        let attachments: Vec<_> = page
            .changes
            .iter()
            .filter_map(|change| match change {
                RemoteChange::Put {
                    collection, record, ..
                } if collection.attachments_of().is_some() => {
                    let hash = record.values.get(attachment_field::SHA256)?.as_text()?;
                    Some((*collection, &record.global_id, BlobHash::from_hex(hash)?))
                }
                _ => None,
            })
            .collect();
        let all = attachments.len() as u64;
        for (done, (collection, id, hash)) in attachments.into_iter().enumerate() {
            if self.write(|tx| tx.blob(hash))?.is_none() {
                match self.remote.pull_blob(header, collection, id, hash) {
                    Ok(content) => self.write(|tx| tx.store_blob(hash, &content))?,
                    Err(Error::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            (self.progress)(Step::BlobsFetched(done as u64 + 1, all));
        }
        Ok(())
    }
}
