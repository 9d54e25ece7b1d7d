//! The order to synchronise: checks what was asked and where it leads, then lets the remote do it. Source: `spec/arangodb.md` 3.

use std::sync::Arc;
use std::time::Duration;

use haversack_model::Right;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::grants::UNNAMED;
use super::super::problem::{Problem, Result};
use super::super::route::SYSTEM;
use super::logger;
use crate::known::server_number;
use crate::remote::{self, Order};
use crate::wire::config::{BadConfig, Config};
use crate::wire::endpoint::Endpoint;
use crate::wire::errors::ErrorNum;

/// How long the primary keeps a batch without hearing of us.
const BATCH_TTL: Duration = Duration::from_hours(2);

/// `PUT sync`.
pub(super) fn order(call: &Call) -> Result<Answer> {
    let opened = call.open(Right::Publish)?;
    if call.flag("global", false) {
        if opened.name != SYSTEM {
            return Err(Problem::told(
                ErrorNum::Forbidden,
                "a global synchronisation is ordered from the system database",
            ));
        }
        return Err(Problem::told(
            ErrorNum::NotImplemented,
            "all databases at once are not synchronised here; order it in each: PUT /_db/<name>/_api/replication/sync",
        ));
    }
    let mut config = Config::default();
    config.merge(&call.object()?);
    config.restriction().map_err(|error| match error {
        BadConfig::NoEndpoint => Problem::bad_parameter(error.to_string()),
        _ => Problem::told(ErrorNum::InvalidApplierConfig, error.to_string()),
    })?;
    let endpoint = Endpoint::parse(&config.endpoint)
        .map_err(|error| Problem::bad_parameter(error.to_string()))?;
    if !call.host().allows_endpoint(&endpoint.canonical()) {
        return Err(Problem::told(
            ErrorNum::Forbidden,
            remote::Error::NotAllowed.to_string(),
        ));
    }
    let appliers = &call.face.appliers;
    let running = appliers.begin(&opened.name, &call.principal.name, &config)?;
    call.host().stop_with_me(&running.stop);
    let outcome = remote::synchronise(&Order {
        store: opened.store.as_ref(),
        database: &opened.name,
        config: &config,
        endpoint,
        server: server_number(call.host().server_id()),
        batch_ttl: BATCH_TTL,
        next_id: &|| call.face.ids.next(),
        now: &|| call.host().now(),
        progress: &|message| {
            appliers.show(&opened.name, logger::time(call.host().now()), message);
        },
        stop: Arc::clone(&running.stop),
        ca: call.host().endpoint_ca(),
        more_ca: None,
        insecure: false,
        copies: call.host().copies(),
        local: None,
        since: None,
        may_replace: &|collection| opened.access.may_alter(collection.unwrap_or(UNNAMED)),
        dry_run: None,
    });
    match outcome {
        Ok(told) => {
            appliers.show(&opened.name, logger::time(call.host().now()), "finished");
            Ok(Answer::json(200, told.to_json()))
        }
        Err(error) => {
            let number = error.number();
            let message = if number == ErrorNum::Internal {
                tracing::error!(%error, database = opened.name, "a synchronisation failed");
                number.text().to_owned()
            } else {
                error.to_string()
            };
            appliers.fail(&opened.name, number.number(), &message);
            Err(Problem::told(number, message))
        }
    }
}
