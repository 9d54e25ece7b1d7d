//! The applier: its configuration, and its state, which is where a synchronisation shows how far it is.
//!
//! Continuous replication is not offered: an applier can be configured and never runs. Source: `spec/arangodb.md` 9.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haversack_model::{Principal, Right};
use serde_json::{Map, Value, json};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::problem::{Problem, Result};
use super::logger;
use crate::wire::config::Config;
use crate::wire::errors::ErrorNum;

/// One applier for each database.
#[derive(Debug, Default)]
pub(crate) struct Appliers(Mutex<BTreeMap<String, Applier>>);

#[derive(Debug, Default)]
struct Applier {
    config: Option<Config>,
    sync: Option<Running>,
    progress: Progress,
    last_error: Option<(u16, String)>,
    endpoint: String,
    remote_database: String,
}

#[derive(Debug)]
struct Running {
    owner: String,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Progress {
    time: String,
    message: String,
}

/// A synchronisation that is under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    appliers: &'a Appliers,
    database: String,
    pub(super) stop: Arc<AtomicBool>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(applier) = self.appliers.lock().get_mut(&self.database) {
            applier.sync = None;
        }
    }
}

impl Appliers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Applier>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Begins a synchronisation of a database; one at a time.
    pub(super) fn begin(&self, database: &str, owner: &str, config: &Config) -> Result<Guard<'_>> {
        let mut all = self.lock();
        let applier = all.entry(database.to_owned()).or_default();
        if applier.sync.is_some() {
            return Err(Problem::of(ErrorNum::ApplierRunning));
        }
        let stop = Arc::new(AtomicBool::new(false));
        applier.sync = Some(Running {
            owner: owner.to_owned(),
            stop: Arc::clone(&stop),
        });
        applier.last_error = None;
        applier.endpoint.clone_from(&config.endpoint);
        applier.remote_database.clone_from(&config.database);
        Ok(Guard {
            appliers: self,
            database: database.to_owned(),
            stop,
        })
    }
    /// Shows how far a synchronisation is.
    pub(super) fn show(&self, database: &str, time: String, message: &str) {
        if let Some(applier) = self.lock().get_mut(database) {
            applier.progress = Progress {
                time,
                message: message.to_owned(),
            };
        }
    }
    /// Keeps why a synchronisation ended.
    pub(super) fn fail(&self, database: &str, number: u16, message: &str) {
        if let Some(applier) = self.lock().get_mut(database) {
            applier.last_error = Some((number, message.to_owned()));
        }
    }
    /// Asks what a user runs on a database to stop.
    pub(crate) fn stop_all_of(&self, database: &str, principal: &Principal) {
        let all = self.lock();
        let running = all.get(database).and_then(|applier| applier.sync.as_ref());
        if let Some(running) =
            running.filter(|running| principal.is_admin || running.owner == principal.name)
        {
            running.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// What continuous replication is answered with.
pub(super) fn not_continuous() -> Problem {
    Problem::told(
        ErrorNum::NotImplemented,
        "continuous replication by an applier is not offered; order a synchronisation",
    )
}

fn told(call: &Call, database: &str) -> Value {
    let now = logger::time(call.host().now());
    let all = call.face.appliers.lock();
    let none = Applier::default();
    let applier = all.get(database).unwrap_or(&none);
    let error = match &applier.last_error {
        None => json!({"errorNum": 0}),
        Some((number, message)) => {
            json!({"errorNum": number, "errorMessage": message, "time": applier.progress.time})
        }
    };
    json!({
        "state": {
            "running": false, "phase": if applier.sync.is_some() { "initial" } else { "inactive" },
            "lastAppliedContinuousTick": null, "lastProcessedContinuousTick": null, "lastAvailableContinuousTick": null,
            "safeResumeTick": null, "ticksBehind": 0,
            "progress": {"time": applier.progress.time, "message": applier.progress.message, "failedConnects": 0},
            "totalRequests": 0, "totalFailedConnects": 0, "totalEvents": 0, "totalDocuments": 0, "totalRemovals": 0,
            "totalResyncs": 0, "totalOperationsExcluded": 0, "totalSkippedOperations": 0,
            "totalApplyTime": 0, "totalFetchTime": 0, "averageApplyTime": 0, "lastError": error, "time": now,
        },
        "server": logger::server(call), "endpoint": applier.endpoint, "database": applier.remote_database,
    })
}

/// `GET applier-state`.
pub(super) fn state(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Read)?;
    Ok(Answer::json(200, told(call, &opened.name)))
}

/// `GET applier-state-all`.
pub(super) fn state_all(call: &Call) -> Result<Answer> {
    call.require_admin()?;
    call.require_system()?;
    let names: Vec<String> = call.face.appliers.lock().keys().cloned().collect();
    let all = names.into_iter().map(|name| {
        let state = told(call, &name);
        (name, state)
    });
    Ok(Answer::json(200, Value::Object(all.collect::<Map<_, _>>())))
}

/// `GET` and `PUT applier-config`.
pub(super) fn config(call: &Call, is_change: bool) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    let mut config = {
        let all = call.face.appliers.lock();
        all.get(&opened.name)
            .and_then(|applier| applier.config.clone())
            .unwrap_or_default()
    };
    if is_change {
        config.merge(&call.object()?);
        config
            .restriction()
            .map_err(|error| Problem::told(ErrorNum::InvalidApplierConfig, error.to_string()))?;
        if config.database.is_empty() {
            config.database.clone_from(&opened.name);
        }
        let mut all = call.face.appliers.lock();
        all.entry(opened.name).or_default().config = Some(config.clone());
    }
    Ok(Answer::json(200, config.to_json()))
}

/// `PUT applier-start`.
pub(super) fn start(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    let all = call.face.appliers.lock();
    if all
        .get(&opened.name)
        .is_none_or(|applier| applier.config.is_none())
    {
        return Err(Problem::told(
            ErrorNum::InvalidApplierConfig,
            "no endpoint configured",
        ));
    }
    Err(not_continuous())
}

/// `PUT applier-stop`: stops the synchronisation that is under way.
pub(super) fn stop(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    {
        let all = call.face.appliers.lock();
        if let Some(running) = all
            .get(&opened.name)
            .and_then(|applier| applier.sync.as_ref())
        {
            running.stop.store(true, Ordering::Relaxed);
        }
    }
    Ok(Answer::json(200, told(call, &opened.name)))
}

/// `DELETE applier-state`.
pub(super) fn forget(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    {
        let mut all = call.face.appliers.lock();
        let is_idle = all
            .get(&opened.name)
            .is_none_or(|applier| applier.sync.is_none());
        if !is_idle {
            return Err(Problem::of(ErrorNum::ApplierRunning));
        }
        all.remove(&opened.name);
    }
    Ok(Answer::json(200, told(call, &opened.name)))
}
