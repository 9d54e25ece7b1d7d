//! Copies of collections of other servers of this kind, for faces that are asked for a copy in another protocol.

use std::any::Any;

use haversack_arangodb::remote::remove_left;
use haversack_model::copies::{Copies, CopyError, Fetched, Merging, Wanted};
use haversack_model::documents::DocumentStore as _;
use haversack_model::{CollectionId, Error, Timestamp};
use haversack_sync::reconcile::{Limits, Options};

use super::download::DOWNLOADING;
use super::first_copy;
use super::pull::MOST_ROUNDS;
use super::reconcile_client::Fetching;
use super::remote::{Client, Credentials, Trust, is_silence};
use crate::{Server, clock};

impl Copies for Server {
    fn hold(&self, service: &str, collection: CollectionId) -> Option<Box<dyn Any + Send>> {
        let held = self.pulls.begin(service, collection).ok()?;
        Some(Box::new(held))
    }

    fn fetch(&self, wanted: &Wanted<'_>, merging: &mut dyn Merging) -> Result<Fetched, CopyError> {
        let (user, secret) = wanted.login;
        let credentials = match (user.is_empty(), secret.is_empty()) {
            (true, true) => Credentials::Anonymous,
            (true, false) => Credentials::Token(secret.to_owned()),
            (false, _) => Credentials::Basic {
                user: user.to_owned(),
                password: secret.to_owned(),
            },
        };
        let (host, addresses) = wanted.host;
        let trust = Trust {
            ca: haversack_model::Host::endpoint_ca(self),
            pem: wanted.more_ca.map(str::to_owned),
            insecure: wanted.insecure,
            pinned: Some((host.to_owned(), addresses.to_owned())),
        };
        let client = Client::new(wanted.url, credentials, &trust)?
            .with_patience(wanted.max_wait)
            .with_stop(wanted.stop.clone());
        // Whatever the server says here, the other protocols may do; only silence is the same for all.
        let found = client
            .service(wanted.service)
            .map_err(|error| match error {
                error if is_silence(&error) => CopyError::NoResponse(error.to_string()),
                error => CopyError::Refused(error.to_string()),
            })?;
        let Some(definition) = found.service.collection(wanted.collection) else {
            return Err(CopyError::Refused("it has no such collection".to_owned()));
        };
        let (service, collection) = wanted.into;
        let store = self.services.store(service);
        let store = store.ok_or(CopyError::Model(Error::NoCollection(collection)))?;
        let copy = store.secondary(collection, clock::now())?;
        let mut merging = Noted {
            merging,
            merged: false,
        };
        let mut copy = copy.with_merging(&mut merging);
        let how = Fetching {
            options: Options {
                limits: Limits {
                    max_rounds: MOST_ROUNDS,
                    ..Limits::default()
                },
                ..Options::default()
            },
            max_wait: Some(wanted.max_wait),
            stop: Some(wanted.stop.clone()),
            copy: String::new(),
        };
        let mut first = None;
        let there = (wanted.service, definition.name.as_str());
        let begun = first_copy::begin(
            &client,
            there,
            &store,
            &mut copy,
            &mut |what, done, _all| {
                if what == DOWNLOADING {
                    (wanted.progress)(0, done);
                }
            },
        );
        let fetched = begun.and_then(|begun| {
            first = begun;
            let items = begun.map_or(0, |first| first.items);
            client.fetch_collection(there.0, there.1, &mut copy, &how, &mut |walk| {
                let documents = walk.inserted + walk.replaced + walk.removed + walk.dropped;
                (wanted.progress)(items + documents, walk.bytes_received);
            })
        });
        drop(copy);
        if let (Some(first), Err(Error::Network(error))) = (first, &fetched) {
            // The collection is whole, in the transaction that took the file over; what came later is for the next order.
            tracing::info!(%error, "a copy is complete; whether there is more could not be asked");
            return Ok(Fetched {
                generation: first.proof.generation,
                matched: false,
                merged: true,
            });
        }
        let report = fetched.map_err(|error| match error {
            _ if how.is_stopped() => CopyError::Stopped,
            Error::Refused { message, .. } => CopyError::Refused(message),
            error @ Error::Network(_) => {
                // What arrived is worth waiting for; where nothing did, the other protocols may do better.
                let staged = store.read_documents().and_then(|tx| tx.staged(collection));
                let arrived =
                    staged.is_ok_and(|count| count > 0) || first_copy::is_begun(&store, collection);
                if is_silence(&error) || arrived {
                    CopyError::NoResponse(error.to_string())
                } else {
                    CopyError::Refused(error.to_string())
                }
            }
            error => CopyError::Model(error),
        })?;
        let proof = report
            .proof
            .ok_or_else(|| CopyError::Refused("nothing was proven".to_owned()))?;
        Ok(Fetched {
            generation: proof.generation,
            matched: report.adopted > 0,
            merged: merging.merged,
        })
    }
}

impl Server {
    /// Removes what copies that were cut left, if nobody went on with it for as long as prepared files are kept: then the other
    /// server has no file any more either.
    ///
    /// # Errors
    /// The store's, and those of the folder.
    pub fn sweep_copies(&self, now: Timestamp) -> crate::Result<()> {
        let kept = i64::try_from(self.config.file_retention_h.max(1)).unwrap_or(i64::MAX);
        let since = Timestamp(now.0.saturating_sub(kept.saturating_mul(3_600_000)));
        for name in self.services.names() {
            let Some(store) = self.services.store(&name) else {
                continue;
            };
            let hold = |collection| self.hold(&name, collection);
            let removed = remove_left(store.as_ref(), (now, since), &hold)?;
            if removed > 0 {
                tracing::info!(
                    service = name,
                    removed,
                    "what orders left that were cut was removed"
                );
            }
        }
        first_copy::sweep(&self.dir.services(), since)
    }
}

/// Notes whether it came to a merge.
#[derive(Debug)]
struct Noted<'a> {
    merging: &'a mut dyn Merging,
    merged: bool,
}

impl Merging for Noted<'_> {
    fn before(
        &mut self,
        tx: &mut dyn haversack_model::documents::DocumentWrite,
    ) -> haversack_model::Result<()> {
        self.merging.before(tx)
    }
    fn after(
        &mut self,
        tx: &mut dyn haversack_model::documents::DocumentWrite,
    ) -> haversack_model::Result<()> {
        self.merged = true;
        self.merging.after(tx)
    }
}
