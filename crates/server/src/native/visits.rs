//! Pulls that are under way in a service: one that was made for a copy is removed again if none of them put anything into it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use haversack_model::Store as _;

use crate::Server;
use crate::error::Result;

/// The services that pulls are under way in, by name in lower case.
#[derive(Debug, Default)]
pub(crate) struct Visits(Mutex<HashMap<String, Visited>>);

#[derive(Clone, Copy, Debug, Default)]
struct Visited {
    pulls: usize,
    /// Whether one of them made the service, and none has succeeded yet.
    is_made: bool,
}

/// A pull that is under way in a service. Nobody takes the service away before it ends.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    server: &'a Server,
    service: &'a str,
}

impl<'a> Visit<'a> {
    /// Begins before the service is looked for.
    pub(super) fn begin(server: &'a Server, service: &'a str) -> Self {
        let visit = Self { server, service };
        visit.note(|visited| visited.pulls += 1);
        visit
    }
    /// The service was made for this.
    pub(super) fn made(&self) {
        self.note(|visited| visited.is_made = true);
    }
    /// It went well: the service stays, whatever becomes of the others.
    pub(super) fn keep(&self) {
        self.note(|visited| visited.is_made = false);
    }

    fn note(&self, change: impl FnOnce(&mut Visited)) {
        let visits = &self.server.pulls.visits.0;
        let mut all = visits.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(self.service.to_lowercase()).or_default());
    }

    fn end(&self) -> Result<()> {
        let visits = &self.server.pulls.visits.0;
        let mut all = visits.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.service.to_lowercase();
        let Some(visited) = all.get_mut(&name) else {
            return Ok(());
        };
        visited.pulls -= 1;
        let Visited { pulls: 0, is_made } = *visited else {
            return Ok(());
        };
        all.remove(&name);
        let services = &self.server.services;
        if is_made
            && let Some(store) = services.store(self.service)
            && store.begin_read()?.service()?.collections.is_empty()
        {
            // The next one waits until that is done, and makes it anew.
            services.remove(self.service)?;
        }
        Ok(())
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, service = self.service, "a service that was made for a copy that failed stays");
        }
    }
}
