//! Values of generated attributes: given out once, kept until they expire.
//!
//! Everything happens in one write transaction of the instance, so of all who ask at once each gets other values, and what was answered is durable.
//! A value whose answer is lost is lost, never given out again. Source: `spec/dhis2.md` 10.

use std::ops::ControlFlow;

use haversack_model::documents::{DocumentWrite, document};
use haversack_model::host::ValuesAbove;
use haversack_model::{CollectionId, Filter, Query, QueryRow, Right, Timestamp};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::answer::Answer;
use super::call::Call;
use super::instance::{Instance, Stored, key};
use super::problem::{Problem, Result};
use super::sharing::Access;
use super::system::User;
use crate::wire::date;
use crate::wire::pattern::{BadPattern, Given, Segment, TextPattern};

/// Most values that one request may ask for.
const MAX_VALUES: u64 = 1000;
/// How long values are kept for who reserved them, in days.
const DAYS: u64 = 60;
/// How long a value that was only generated is kept.
const DAYS_OF_ONE: u64 = 3;
/// Most expired reservations that one request removes, so that none takes long.
const MAX_PRUNED: u64 = 500;
/// How often a random value is drawn before the pool counts as nearly empty.
const DRAWS: usize = 200;
const DAY_MS: i64 = 86_400_000;

/// `GET trackedEntityAttributes/<uid>/<operation>`.
pub(crate) fn dispatch(call: &Call, id: &str, operation: &str) -> Result<Answer> {
    call.require_get()?;
    let right = if operation == "requiredValues" {
        Right::Read
    } else {
        Right::Edit
    };
    let instance = Instance::open(call, right)?;
    let tx = instance.store().read_documents()?;
    let user = User::find(&call.principal, &instance, tx.as_ref(), call.host.now())?;
    let attribute = instance.object(tx.as_ref(), "trackedEntityAttributes", id)?;
    drop(tx);
    let attribute = attribute.filter(|known| Access::of(&known.members).shows(&user));
    let attribute = attribute.ok_or_else(|| Problem::missing("TrackedEntityAttribute", id))?;
    let text = attribute.text("pattern");
    if text.is_empty() {
        return Err(Problem::bad("Attribute does not contain pattern."));
    }
    let pattern = TextPattern::parse(text).map_err(|error| Problem::Conflict(error.to_string()))?;
    match operation {
        "requiredValues" => Ok(Answer::json(200, required(&pattern))),
        "generate" => {
            let days = call.number("expiration", DAYS_OF_ONE)?;
            let mut values = reserve(call, &instance, (id, &pattern), 1, days)?;
            Ok(Answer::json(200, values.pop().unwrap_or_default()))
        }
        _ => {
            let wanted = call.number("numberToReserve", 1)?;
            if wanted > MAX_VALUES {
                return Err(Problem::bad(format!(
                    "numberToReserve must be from 1 to {MAX_VALUES}"
                )));
            }
            let days = call.number("expiration", DAYS)?;
            Ok(Answer::json(
                200,
                Value::Array(reserve(call, &instance, (id, &pattern), wanted, days)?),
            ))
        }
    }
}

fn required(pattern: &TextPattern) -> Value {
    let mut needed = Vec::new();
    let mut optional = Vec::new();
    for segment in pattern.segments() {
        match segment {
            Segment::OrgUnitCode(_) => needed.push("ORG_UNIT_CODE"),
            Segment::Random(_) => optional.push("RANDOM"),
            Segment::Sequential(_) => optional.push("SEQUENTIAL"),
            Segment::CurrentDate(_) => optional.push("CURRENT_DATE"),
            Segment::Text(_) => {}
        }
    }
    json!({"REQUIRED": needed, "OPTIONAL": optional})
}

/// Gives values out, in one transaction.
fn reserve(
    call: &Call,
    instance: &Instance,
    (id, pattern): (&str, &TextPattern),
    wanted: u64,
    days: u64,
) -> Result<Vec<Value>> {
    if let Some(above) = call.host.values_above() {
        return from_above(call, instance, above, id, wanted);
    }
    let mut tx = instance.store().write_documents(call.host.now())?;
    let now = call.host.now();
    let given = Given {
        org_unit_code: call.param("ORG_UNIT_CODE"),
        now,
    };
    let conflict = |error: BadPattern| Problem::Conflict(error.to_string());
    let pool = Pool {
        values: instance.collection("reservedValues")?,
        counters: instance.collection("reservedCounters")?,
        taken: instance.collection("takenValues")?,
        attribute: id,
        key: pattern.key(&given).map_err(conflict)?,
        now,
    };
    let pieces = pool.pieces(tx.as_mut(), call, pattern, &given, wanted)?;
    let not_enough = || {
        Problem::Conflict(format!(
            "Not enough values left to reserve {wanted} values."
        ))
    };
    if (pieces.len() as u64) < wanted {
        return Err(not_enough());
    }
    // The year 9999 is far enough for whoever asks for more.
    let expires_at = Timestamp(
        now.0
            .saturating_add(i64::try_from(days.min(2_900_000)).unwrap_or(0) * DAY_MS),
    );
    let mut told = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let value = pattern.render(&given, &piece).map_err(conflict)?;
        let row = json!({"ownerObject": "TRACKEDENTITYATTRIBUTE", "ownerUid": id, "key": pool.key, "value": value,
            "created": date::format(now), "expiryDate": date::format(expires_at)});
        tx.put(
            pool.values,
            &document(&pool.row_of(&value), row.to_string()),
            None,
        )?;
        told.push(row);
    }
    pool.prune(tx.as_mut())?;
    tx.commit()?;
    Ok(told)
}

/// Gives out values that a server above this one reserved: it gives them to others, too, so none is made here.
fn from_above(
    call: &Call,
    instance: &Instance,
    above: &dyn ValuesAbove,
    id: &str,
    wanted: u64,
) -> Result<Vec<Value>> {
    let values = above
        .take(id, call.param("ORG_UNIT_CODE"), wanted)
        .map_err(|error| Problem::Conflict(error.to_string()))?;
    let now = call.host.now();
    let collection = instance.collection("reservedValues")?;
    let mut tx = instance.store().write_documents(now)?;
    let mut told = Vec::with_capacity(values.len());
    for value in values {
        let mut row = json!({"ownerObject": "TRACKEDENTITYATTRIBUTE", "ownerUid": id, "key": value.key, "value": value.value,
            "created": date::format(now)});
        if let Some(at) = value.expires_at {
            row["expiryDate"] = json!(date::format(at));
        }
        let row_id = document_of(id, &value.value);
        tx.put(collection, &document(&row_id, row.to_string()), None)?;
        told.push(row);
    }
    tx.commit()?;
    Ok(told)
}

/// Key of a document about a text of an attribute; texts are too long and too free to be keys themselves.
pub(crate) fn document_of(attribute: &str, text: &str) -> String {
    use std::fmt::Write as _;
    let hash = sha2::Sha256::digest(text.as_bytes());
    hash.iter().fold(format!("{attribute}."), |mut key, byte| {
        let _infallible = write!(key, "{byte:02x}");
        key
    })
}

/// The values of one attribute and key.
struct Pool<'a> {
    values: CollectionId,
    counters: CollectionId,
    /// Values of unique attributes that tracked entities have.
    taken: CollectionId,
    attribute: &'a str,
    key: String,
    now: Timestamp,
}

impl Pool<'_> {
    /// Removes reservations that have expired, those first that were made first.
    fn prune(&self, tx: &mut dyn DocumentWrite) -> Result<()> {
        let query = Query {
            limit: Some(MAX_PRUNED),
            ..Query::records(self.values, Filter::All)
        };
        let mut expired = Vec::new();
        tx.query(&query, &mut |row| {
            if let QueryRow::Record(found) = row {
                let at = Stored::read(&found).ok();
                let at = at.and_then(|stored| date::parse(stored.text("expiryDate")));
                if at.is_some_and(|at| at <= self.now) {
                    expired.push(found.record.global_id);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for id in expired {
            tx.delete(self.values, &id, None)?;
        }
        Ok(())
    }
    fn row_of(&self, value: &str) -> String {
        document_of(self.attribute, value)
    }
    /// Whether a value is in use, or given out and has not expired.
    fn is_taken(&self, tx: &dyn DocumentWrite, value: &str) -> Result<bool> {
        if tx.record(self.taken, &key(&self.row_of(value)))?.is_some() {
            return Ok(true);
        }
        let Some(found) = tx.record(self.values, &key(&self.row_of(value)))? else {
            return Ok(false);
        };
        let expires_at = date::parse(Stored::read(&found)?.text("expiryDate"));
        Ok(expires_at.is_none_or(|at| at > self.now))
    }

    /// Generated pieces of values that nobody has; fewer than wanted if there are no more.
    fn pieces(
        &self,
        tx: &mut dyn DocumentWrite,
        call: &Call,
        pattern: &TextPattern,
        given: &Given<'_>,
        wanted: u64,
    ) -> Result<Vec<String>> {
        match pattern.generated() {
            Some(Segment::Sequential(_)) => self.counted(tx, pattern, wanted),
            Some(_) => self.drawn(tx, call, pattern, given, wanted),
            // Without a generated piece there is exactly one value.
            None => {
                let value = pattern
                    .render(given, "")
                    .map_err(|error| Problem::Conflict(error.to_string()))?;
                let is_free = !self.is_taken(tx, &value)?;
                Ok(if is_free {
                    vec![String::new()]
                } else {
                    Vec::new()
                })
            }
        }
    }

    /// The next numbers. A number is never given out twice, also when its reservation has expired.
    fn counted(
        &self,
        tx: &mut dyn DocumentWrite,
        pattern: &TextPattern,
        wanted: u64,
    ) -> Result<Vec<String>> {
        let counter = document_of(self.attribute, &self.key);
        let last = match tx.record(self.counters, &key(&counter))? {
            Some(found) => Stored::read(&found)?
                .members
                .get("last")
                .and_then(Value::as_u64)
                .unwrap_or(0),
            None => 0,
        };
        let pieces: Vec<String> = (last + 1..=last + wanted)
            .map_while(|n| pattern.nth(n))
            .collect();
        let row = json!({"ownerUid": self.attribute, "key": self.key, "last": last + pieces.len() as u64});
        tx.put(self.counters, &document(&counter, row.to_string()), None)?;
        Ok(pieces)
    }

    fn drawn(
        &self,
        tx: &mut dyn DocumentWrite,
        call: &Call,
        pattern: &TextPattern,
        given: &Given<'_>,
        wanted: u64,
    ) -> Result<Vec<String>> {
        let mut pieces: Vec<String> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut draws_left = DRAWS + 20 * usize::try_from(wanted).unwrap_or(usize::MAX / 40);
        while (pieces.len() as u64) < wanted
            && draws_left > 0
            && (seen.len() as u128) < pattern.capacity()
        {
            draws_left -= 1;
            let mut bits = call.host.fresh_uuid().as_u128();
            // Six bits of a random UUID are fixed; twelve letters of at most 62 need 72 of the rest.
            bits = (bits >> 80) << 62 | (bits & ((1 << 62) - 1));
            let piece = pattern.random(|below| {
                let at = (bits % below as u128) as usize;
                bits /= below as u128;
                at
            });
            if !seen.insert(piece.clone()) {
                continue;
            }
            let value = pattern
                .render(given, &piece)
                .map_err(|error| Problem::Conflict(error.to_string()))?;
            if !self.is_taken(tx, &value)? {
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }
}
