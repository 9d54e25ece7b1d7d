//! From another Haversack: natively, at the cost of what differs, where the host can do that.
//!
//! Such a primary says so in `logger-state.server`; no path of a primary is probed otherwise. Where it refuses, the protocols of
//! ArangoDB go on. Documents and definition change in one transaction. Source: `spec/arangodb.md` 15.4 and 17; DESIGN 6.

use std::cell::RefCell;
use std::time::Instant;

use haversack_model::copies::{CopyError, Merging, Wanted};
use haversack_model::documents::{DocumentWrite, Index};
use haversack_model::{CollectionId, Generation};

use super::primary::{Found, Primary};
use super::stage::Origin;
use super::target::Target;
use super::{Error, Order, Result};

/// Makes one collection equal to the primary's; the generation of the primary to which it is equal, or `None` if it must be copied
/// by the other protocols.
pub(super) fn fetch(
    order: &Order<'_>,
    primary: &Primary<'_>,
    found: &Found,
    target: &Target,
) -> Result<Option<Generation>> {
    let Some(copies) = order
        .copies
        .filter(|_| primary.is_haversack && order.dry_run.is_none())
    else {
        return Ok(None);
    };
    let number = found.parameters.id.parse::<u32>().ok();
    let Some(number) = number.and_then(|number| number.checked_sub(1)) else {
        return Ok(None);
    };
    let name = &found.parameters.name;
    (order.progress)(&format!("comparing collection '{name}'"));
    let shown = RefCell::new(Instant::now());
    let config = order.config;
    let wanted = Wanted {
        url: &order.endpoint.url(),
        more_ca: order.more_ca,
        insecure: order.insecure,
        host: (&order.endpoint.host, primary.addresses()),
        login: if config.username.is_empty() {
            ("", &config.jwt)
        } else {
            (&config.username, &config.password)
        },
        service: order.there(),
        collection: CollectionId(number),
        into: (order.database, target.id),
        max_wait: config.initial_sync_max_wait,
        stop: &order.stop,
        progress: &|documents, bytes| {
            if shown.borrow().elapsed().as_millis() >= 200 {
                let text =
                    format!("fetching collection '{name}': {documents} documents, {bytes} bytes");
                (order.progress)(&text);
                *shown.borrow_mut() = Instant::now();
            }
        },
    };
    let mut merging = Definition {
        target,
        found,
        indexes: target.indexes(order, found),
    };
    let fetched = match copies.fetch(&wanted, &mut merging) {
        Ok(fetched) => fetched,
        Err(CopyError::Refused(why)) => {
            tracing::info!(
                why,
                "the primary is not copied natively; ArangoDB's protocols go on"
            );
            return Ok(None);
        }
        Err(CopyError::NoResponse(why)) => return Err(Error::NoResponse(why)),
        Err(CopyError::Stopped) => return Err(Error::Stopped),
        Err(CopyError::Model(error)) => return Err(error.into()),
    };
    if !fetched.merged {
        // The documents were equal; the definition may not be.
        let mut tx = order.store.write_documents((order.now)())?;
        merging.before(tx.as_mut())?;
        merging.after(tx.as_mut())?;
        tx.commit()?;
    }
    if fetched.matched {
        // Documents that were found equal by content may have other revisions, which this protocol promises to copy.
        target.begin(order, &Origin::of(primary, found, false))?;
        super::by_tree::fetch(order, primary, found, target, false)?;
        return Ok(Some(primary.generation()));
    }
    Ok(Some(fetched.generation))
}

/// What changes of the collection together with its documents.
#[derive(Debug)]
struct Definition<'a> {
    target: &'a Target,
    found: &'a Found,
    indexes: Vec<Index>,
}

impl Merging for Definition<'_> {
    fn before(&mut self, tx: &mut dyn DocumentWrite) -> haversack_model::Result<()> {
        self.target.make_room(tx, &self.indexes)
    }
    fn after(&mut self, tx: &mut dyn DocumentWrite) -> haversack_model::Result<()> {
        self.target.define(tx, &self.indexes, self.found)
    }
}
