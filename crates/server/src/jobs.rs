//! Long work as durable rows: a job that was asked for reaches an end, also over restarts.
//!
//! At most a few jobs of one owner run at a time and a few overall; the rest wait in order. A job that was running when the
//! server ended is run again by the next one, at most three times, and then fails with a reason.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use haversack_model::host::JobRunner;
use haversack_model::{Job, JobStatus, Principal, Timestamp};

use crate::clock::now;
use crate::db::Db;
use crate::error::{Error, Result, while_doing};
use crate::{Config, secret};

const COLUMNS: &str = "id, kind, owner, owner_is_admin, service, request, status, phase, done, total, result, submitted_at, updated_at";
const MAX_STARTS: i64 = 3;
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// The jobs of a server.
#[derive(Debug)]
pub struct Jobs {
    db: Db,
    runners: RwLock<HashMap<String, Arc<dyn JobRunner>>>,
    running: Mutex<State>,
    changed: Condvar,
    per_owner: usize,
    overall: usize,
    waiting_per_owner: u32,
    retention_ms: i64,
}

#[derive(Debug, Default)]
struct State {
    owners: HashMap<String, usize>,
    count: usize,
    stopping: bool,
    started: bool,
}

impl Jobs {
    /// The jobs in a database. None runs before [`Self::start`].
    pub fn new(db: Db, config: &Config) -> Self {
        Self {
            db,
            runners: RwLock::default(),
            running: Mutex::default(),
            changed: Condvar::new(),
            per_owner: config.jobs_per_owner.max(1) as usize,
            overall: config.jobs_running.max(1) as usize,
            waiting_per_owner: config.jobs_waiting_per_owner.max(1),
            retention_ms: config.job_retention_h.max(1) as i64 * 3_600_000,
        }
    }

    /// Names who runs jobs of a kind.
    pub fn register(&self, kind: &str, runner: Arc<dyn JobRunner>) {
        self.runners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind.to_owned(), runner);
    }

    /// Begins to work, when all runners are registered: jobs of an earlier run continue or fail with a reason.
    pub fn start(self: &Arc<Self>) -> Result<()> {
        {
            let connection = self.db.lock();
            connection
                .execute(
                    "UPDATE job SET status = 'failed', result = 'the server stopped three times while this ran', updated_at = ?1
                     WHERE status = 'running' AND starts >= ?2",
                    params![now().0, MAX_STARTS],
                )
                .and_then(|_count| {
                    connection.execute("UPDATE job SET status = 'pending' WHERE status = 'running'", [])
                })
                .map_err(while_doing("continuing jobs"))?;
        }
        self.state().started = true;
        self.work();
        Ok(())
    }

    /// Starts no more jobs, and waits for running ones until `deadline`. What is not done by then continues at the next start.
    pub fn stop(&self, deadline: Instant) {
        self.wait_for_end(deadline);
        // Runners hold the server, and with it the data directory.
        self.runners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn wait_for_end(&self, deadline: Instant) {
        let mut state = self.state();
        state.stopping = true;
        while state.count > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Adds a job to the queue.
    ///
    /// # Errors
    /// [`Error::Invalid`] if too many of the owner's wait already.
    pub fn add(
        self: &Arc<Self>,
        kind: &str,
        owner: &Principal,
        service: &str,
        request: String,
    ) -> Result<Job> {
        let job = Job {
            id: secret::random_uuid(),
            kind: kind.to_owned(),
            owner: owner.clone(),
            service: service.to_owned(),
            request,
            status: JobStatus::Pending,
            phase: String::new(),
            progress: (0, None),
            result: String::new(),
            submitted_at: now(),
            updated_at: now(),
        };
        {
            let connection = self.db.lock();
            let waiting: u32 = connection
                .query_row(
                    "SELECT count(*) FROM job WHERE owner = ?1 AND status = 'pending'",
                    [&owner.name],
                    |row| row.get(0),
                )
                .map_err(while_doing("counting jobs"))?;
            if waiting >= self.waiting_per_owner {
                return Err(Error::invalid(
                    "jobs",
                    format!("{waiting} of yours wait already; ask again when some are done"),
                ));
            }
            connection
                .execute(
                    "INSERT INTO job (id, seq, kind, owner, owner_is_admin, service, request, status, phase, done, result, starts, submitted_at, updated_at)
                     SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3, ?4, ?5, ?6, 'pending', '', 0, '', 0, ?7, ?7 FROM job",
                    params![
                        job.id.simple().to_string(),
                        job.kind,
                        owner.name,
                        owner.is_admin,
                        job.service,
                        job.request,
                        job.submitted_at.0
                    ],
                )
                .map_err(while_doing("adding a job"))?;
        }
        self.work();
        Ok(job)
    }

    /// A job.
    pub fn load(&self, id: Uuid) -> Result<Option<Job>> {
        self.db
            .lock()
            .query_row(
                &format!("SELECT {COLUMNS} FROM job WHERE id = ?1"),
                [id.simple().to_string()],
                read,
            )
            .optional()
            .map_err(while_doing("reading a job"))
    }

    /// Jobs of one owner, or of all, newest first.
    pub fn list(&self, owner: Option<&str>, limit: u32) -> Result<Vec<Job>> {
        let connection = self.db.lock();
        let doing = "listing jobs";
        let mut statement = connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM job WHERE ?1 IS NULL OR owner = ?1 ORDER BY seq DESC LIMIT ?2"
            ))
            .map_err(while_doing(doing))?;
        let rows = statement
            .query_map(params![owner, limit], read)
            .map_err(while_doing(doing))?;
        rows.collect::<Result<_, _>>().map_err(while_doing(doing))
    }

    /// Forgets old finished jobs.
    pub fn sweep(&self, now: Timestamp) -> Result<()> {
        self.db
            .lock()
            .execute(
                "DELETE FROM job WHERE status IN ('completed', 'failed') AND updated_at < ?1",
                [now.0.saturating_sub(self.retention_ms)],
            )
            .map(|_count| ())
            .map_err(while_doing("sweeping jobs"))
    }

    /// How many run now.
    pub fn running_count(&self) -> usize {
        self.state().count
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts as many waiting jobs as may run.
    fn work(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if !state.started || state.stopping || state.count >= self.overall {
                return;
            }
            let busy: Vec<&String> = state
                .owners
                .iter()
                .filter(|(_, count)| **count >= self.per_owner)
                .map(|(owner, _)| owner)
                .collect();
            let job = match self.claim(&busy) {
                Ok(Some(job)) => job,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "jobs cannot be started");
                    return;
                }
            };
            state.count += 1;
            *state.owners.entry(job.owner.name.clone()).or_default() += 1;
            drop(state);
            let jobs = Arc::clone(self);
            let owner = job.owner.name.clone();
            let spawned = std::thread::Builder::new()
                .name("job".to_owned())
                .spawn(move || {
                    jobs.run(&job);
                    jobs.done(&job.owner.name);
                    jobs.work();
                });
            if let Err(error) = spawned {
                tracing::error!(%error, "a job got no thread; it continues at the next start");
                self.done(&owner);
                return;
            }
        }
    }

    fn done(&self, owner: &str) {
        let mut state = self.state();
        state.count -= 1;
        if let Some(count) = state.owners.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                state.owners.remove(owner);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The next waiting job whose owner is not busy, marked as running.
    fn claim(&self, busy: &[&String]) -> Result<Option<Job>> {
        let busy = serde_json::to_string(busy).unwrap_or_else(|_not_json| "[]".to_owned());
        self.db
            .lock()
            .query_row(
                &format!(
                    "UPDATE job SET status = 'running', starts = starts + 1, updated_at = ?2 WHERE seq =
                       (SELECT min(seq) FROM job WHERE status = 'pending' AND owner NOT IN (SELECT value FROM json_each(?1)))
                     RETURNING {COLUMNS}"
                ),
                params![busy, now().0],
                read,
            )
            .optional()
            .map_err(while_doing("claiming a job"))
    }

    fn run(&self, job: &Job) {
        let runner = self
            .runners
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&job.kind)
            .cloned();
        tracing::info!(job = %job.id, kind = job.kind, service = job.service, "job started");
        let begun = Instant::now();
        let outcome = match runner {
            None => Err(format!("this server does no jobs of kind {:?}", job.kind)),
            Some(runner) => {
                let mut last: Option<(Instant, String)> = None;
                let mut progress = |phase: &str, done: u64, total: Option<u64>| {
                    let due = last.as_ref().is_none_or(|(at, before)| {
                        before != phase || at.elapsed() >= PROGRESS_EVERY
                    });
                    if due {
                        last = Some((Instant::now(), phase.to_owned()));
                        self.note_progress(job.id, phase, done, total);
                    }
                };
                catch_unwind(AssertUnwindSafe(|| runner.run(job, &mut progress))).unwrap_or_else(
                    |_panic| Err("the work ended unexpectedly; the log says more".to_owned()),
                )
            }
        };
        let (status, result) = match outcome {
            Ok(result) => ("completed", result),
            Err(reason) => ("failed", reason),
        };
        tracing::info!(job = %job.id, kind = job.kind, status, ms = begun.elapsed().as_millis() as u64, "job ended");
        metrics::counter!("haversack_jobs_total", "kind" => job.kind.clone(), "status" => status)
            .increment(1);
        let stored = self.db.lock().execute(
            "UPDATE job SET status = ?2, result = ?3, updated_at = ?4 WHERE id = ?1",
            params![job.id.simple().to_string(), status, result, now().0],
        );
        if let Err(error) = stored {
            tracing::error!(%error, job = %job.id, "the end of a job could not be stored; it runs again at the next start");
        }
    }

    fn note_progress(&self, id: Uuid, phase: &str, done: u64, total: Option<u64>) {
        let stored = self.db.lock().execute(
            "UPDATE job SET phase = ?2, done = ?3, total = ?4, updated_at = ?5 WHERE id = ?1",
            params![
                id.simple().to_string(),
                phase,
                done as i64,
                total.map(|t| t as i64),
                now().0
            ],
        );
        if let Err(error) = stored {
            tracing::warn!(%error, "progress of a job could not be stored");
        }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Job> {
    let damaged = |at: usize, e: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, e)
    };
    let id: String = row.get(0)?;
    let status: String = row.get(6)?;
    Ok(Job {
        id: Uuid::try_parse(&id).map_err(|e| damaged(0, Box::new(e)))?,
        kind: row.get(1)?,
        owner: Principal {
            name: row.get(2)?,
            is_admin: row.get(3)?,
        },
        service: row.get(4)?,
        request: row.get(5)?,
        status: match status.as_str() {
            "pending" => JobStatus::Pending,
            "running" => JobStatus::Running,
            "completed" => JobStatus::Completed,
            "failed" => JobStatus::Failed,
            other => return Err(damaged(6, format!("job status {other:?}").into())),
        },
        phase: row.get(7)?,
        progress: (
            row.get::<_, i64>(8)? as u64,
            row.get::<_, Option<i64>>(9)?.map(|t| t as u64),
        ),
        result: row.get(10)?,
        submitted_at: Timestamp(row.get(11)?),
        updated_at: Timestamp(row.get(12)?),
    })
}

#[cfg(test)]
mod tests;
