//! Values that the server reserved for this copy, so that a person registered offline gets a number that nobody else has.
//!
//! Owns: the pool of each attribute, and of each unit where the pattern holds its code: when it is filled, what of it may be given
//! out, that no value is given out twice, although the server may forget what it reserved (it was put back to a backup) and reserve it
//! once more. Does not own: the numbers themselves (the server).
//!
//! **Time.** What may be given out is decided by the later of this computer's clock and the newest time that the server told, and by
//! the date in the pattern as well as by the reservation, more strictly than the SDK. Rows are dropped by the server's time alone: a clock that
//! jumps ahead empties no pool. Source: `spec/dhis2.md` 10.

use haversack_model::host::ReservedValue;
use haversack_model::local::LocalReplica;
use haversack_model::{GlobalId, ReplicaTx, RowVersion, Timestamp};
use serde_json::Value;
use sha2::Digest as _;
use tracing::warn;

use super::error::{Error, Result};
use super::http::Answer;
use super::layout::{Layout, RESERVED_VALUES, Table};
use super::push::Courier;
use super::settings::Settings;
use crate::wire::pattern::{Given, TextPattern};
use crate::wire::{date, uid};

/// Values in a full pool, unless told otherwise.
pub const FULL: u64 = 100;
/// Most values that one request may ask for.
const MOST: u64 = 1000;
/// How often more values are asked for where some were given out before.
const MAX_AGAIN: usize = 20;
/// Topic of the values that were given out, by their ids: until when they are somebody's.
const GIVEN: &str = "dhis2 given values";
/// Topic of the sizes that were asked for, by attribute.
const SIZES: &str = "dhis2 pool sizes";

/// Whose values: an attribute, and the unit whose code its pattern holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Uid of the attribute.
    pub attribute: String,
    /// Its pattern.
    pub pattern: String,
    /// Uid and code of the unit; none unless the pattern needs its code.
    pub unit: Option<(String, String)>,
}

/// A server that cannot be reached: what is in the pool can be taken all the same.
#[derive(Clone, Debug)]
pub struct Away(pub String);

impl Away {
    fn refuse<T>(&self, path: &str) -> Result<T> {
        Err(Error::Answer {
            path: path.to_owned(),
            problem: format!("does not come: {}", self.0),
        })
    }
}

impl Courier for Away {
    fn ask(&self, path: &str, _: &[(&str, &str)]) -> Result<Value> {
        self.refuse(path)
    }
    fn post(&self, path: &str, _: &[(&str, &str)], _: Option<&Value>) -> Result<Answer> {
        self.refuse(path)
    }
    fn put(&self, path: &str, _: &[(&str, &str)]) -> Result<Answer> {
        self.refuse(path)
    }
    fn delete(&self, path: &str, _: &[(&str, &str)]) -> Result<Answer> {
        self.refuse(path)
    }
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Values in a full pool; what was last asked for, else what is chosen for apps, else [`FULL`]. It is remembered.
    pub full: Option<u64>,
    /// Below how many it is filled; else below half.
    pub threshold: Option<u64>,
}

/// How a pool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Values that may be given out.
    pub left: u64,
    /// How many of them came now.
    pub fetched: u64,
    /// Why not more came, if more were wanted.
    pub problem: Option<String>,
    /// Whether there are fewer than it should be filled at.
    pub is_low: bool,
    /// When the first of them ends, by the date in its pattern or by the reservation.
    pub ends_at: Option<Timestamp>,
}

/// A value that nobody else gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The value.
    pub value: String,
    /// How the pool stands without it.
    pub pool: Filled,
}

/// A value of the pool.
#[derive(Clone, Debug)]
struct Row {
    id: GlobalId,
    value: String,
    key: String,
    created_at: String,
    ends_at: Option<Timestamp>,
}

/// What a pool has, and the size that it should have.
struct Pool {
    rows: Vec<Row>,
    full: u64,
    threshold: u64,
}

impl Pool {
    fn state(&self, fetched: u64, problem: Option<String>) -> Filled {
        let left = self.rows.len() as u64;
        Filled {
            left,
            fetched,
            problem,
            is_low: left < self.threshold,
            ends_at: self.rows.iter().filter_map(|row| row.ends_at).min(),
        }
    }
}

/// Fills a pool if it is low. That the server does not give more is no error: the pool may simply be short.
///
/// # Errors
/// Those of the file.
pub fn fill(
    file: &mut dyn LocalReplica,
    courier: &dyn Courier,
    wanted: &Wanted,
    size: Size,
    now: Timestamp,
) -> Result<Filled> {
    let pool = {
        let mut tx = file.begin()?;
        if let Some(full) = size.full {
            tx.store_note(SIZES, &wanted.attribute, Some(&full.to_string()))?;
        }
        let pool = load(&*tx, wanted, size, now)?;
        tx.commit()?;
        pool
    };
    let left = pool.rows.len() as u64;
    if left >= pool.threshold {
        return Ok(pool.state(0, None));
    }
    let missing = pool.full.saturating_sub(left).clamp(1, MOST);
    let mut fetched = 0;
    let mut problem = None;
    for _ in 0..MAX_AGAIN {
        let told = match ask(courier, wanted, missing - fetched) {
            Ok(told) => told,
            Err(Error::Model(error)) => return Err(error.into()),
            Err(error) => {
                warn!(attribute = wanted.attribute, %error, "no values could be reserved");
                problem = Some(error.to_string());
                break;
            }
        };
        let mut tx = file.begin()?;
        let came = store(&mut *tx, wanted, &told)?;
        tx.commit()?;
        fetched += came;
        // Fewer than were asked for are the last ones, but for those that were left aside.
        if fetched >= missing || came == told.len() as u64 {
            break;
        }
    }
    if problem.is_none() && fetched < missing {
        problem = Some("the server has no more values".to_owned());
    }
    let pool = load(&*file.begin()?, wanted, size, now)?;
    Ok(pool.state(fetched, problem))
}

/// Takes a value out of the pool, which is filled first if it is low and the server can be reached.
///
/// # Errors
/// [`Error::NoReservedValues`] if there is none; those of the file.
pub fn take(
    file: &mut dyn LocalReplica,
    courier: &dyn Courier,
    wanted: &Wanted,
    size: Size,
    now: Timestamp,
) -> Result<Taken> {
    let filled = fill(file, courier, wanted, size, now)?;
    let mut tx = file.begin()?;
    let mut pool = load(&*tx, wanted, size, now)?;
    if pool.rows.is_empty() {
        return Err(Error::NoReservedValues {
            attribute: wanted.attribute.clone(),
            problem: filled.problem.unwrap_or_default(),
        });
    }
    let row = pool.rows.remove(0);
    give_out(&mut *tx, &row)?;
    tx.commit()?;
    Ok(Taken {
        value: row.value,
        pool: pool.state(filled.fetched, filled.problem),
    })
}

/// Takes so many values out of the pool in one transaction, which is filled first if it is low and the server can be reached.
///
/// # Errors
/// [`Error::NoReservedValues`] if there are fewer, and none is taken; those of the file.
pub fn take_all(
    file: &mut dyn LocalReplica,
    courier: &dyn Courier,
    wanted: &Wanted,
    (full, count): (u64, u64),
    now: Timestamp,
) -> Result<Vec<ReservedValue>> {
    let size = |full: u64| Size {
        full: Some(full),
        threshold: Some(count.max(full / 2)),
    };
    let mut filled = fill(file, courier, wanted, size(full.max(count)), now)?;
    if filled.left < count && full > count {
        // There may be fewer than a full pool, and yet enough.
        filled = fill(file, courier, wanted, size(count), now)?;
    }
    let mut tx = file.begin()?;
    let mut pool = load(&*tx, wanted, size(full), now)?;
    if (pool.rows.len() as u64) < count {
        let why = filled.problem.unwrap_or_default();
        return Err(Error::NoReservedValues {
            attribute: wanted.attribute.clone(),
            problem: format!("{} of {count} are left. {why}", pool.rows.len()),
        });
    }
    pool.rows
        .truncate(usize::try_from(count).unwrap_or(usize::MAX));
    for row in &pool.rows {
        give_out(&mut *tx, row)?;
    }
    tx.commit()?;
    let rows = pool.rows.into_iter();
    Ok(rows
        .map(|row| ReservedValue {
            value: row.value,
            key: row.key,
            expires_at: row.ends_at,
        })
        .collect())
}

/// All pools that the user of a copy may need: those of generated attributes; where the pattern holds the code of a unit, one for each
/// unit in which data is entered, that has a code that is long enough, and has a program of the attribute.
///
/// # Errors
/// Those of the file.
pub fn pools(tx: &dyn ReplicaTx) -> Result<Vec<Wanted>> {
    let layout = Layout::of(&tx.collections()?);
    let attributes = objects(tx, &layout, "trackedEntityAttributes")?;
    let programs = objects(tx, &layout, "programs")?;
    let units = objects(tx, &layout, "organisationUnits")?;
    let mut found = Vec::new();
    for attribute in &attributes {
        if attribute.get("generated").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let id = text(attribute, "/id");
        let wanted = Wanted {
            attribute: id.to_owned(),
            pattern: text(attribute, "/pattern").to_owned(),
            unit: None,
        };
        let Ok(pattern) = TextPattern::parse(&wanted.pattern) else {
            warn!(attribute = id, "its pattern cannot be read");
            continue;
        };
        if !pattern.needs_org_unit() {
            found.push(wanted);
            continue;
        }
        let of = |program: &&Value| {
            let values = list(program, "programTrackedEntityAttributes");
            values
                .iter()
                .any(|of| text(of, "/trackedEntityAttribute/id") == id)
        };
        let of: Vec<&Value> = programs.iter().filter(of).collect();
        for unit in &units {
            let code = text(unit, "/code");
            let is_entered = text(unit, "/haversackScope") == "capture";
            let given = Given {
                org_unit_code: Some(code),
                ..Given::default()
            };
            let has_code = !code.is_empty() && pattern.key(&given).is_ok();
            if is_entered && has_code && of.iter().any(|program| is_linked(program, unit)) {
                found.push(Wanted {
                    unit: Some((text(unit, "/id").to_owned(), code.to_owned())),
                    ..wanted.clone()
                });
            }
        }
    }
    Ok(found)
}

/// Whether a program is offered at a unit, as either of them says.
fn is_linked(program: &Value, unit: &Value) -> bool {
    let names = |of: &Value, members: &str, id: &str| {
        list(of, members)
            .iter()
            .any(|other| text(other, "/id") == id)
    };
    names(unit, "programs", text(program, "/id"))
        || names(program, "organisationUnits", text(unit, "/id"))
}

/// The metadata of a type, as it came.
fn objects(tx: &dyn ReplicaTx, layout: &Layout, of: &str) -> Result<Vec<Value>> {
    let Some(table) = layout.metadata(of) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for id in tx.confirmed(table.id())? {
        let row = tx.row(table.id(), &id)?;
        let object = row.map(|row| table.text(&row, "object"));
        found.extend(object.and_then(|text| serde_json::from_str(&text).ok()));
    }
    Ok(found)
}

fn text<'a>(of: &'a Value, at: &str) -> &'a str {
    of.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(of: &'a Value, member: &str) -> &'a [Value] {
    let found = of.get(member).and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

fn ask(courier: &dyn Courier, wanted: &Wanted, count: u64) -> Result<Vec<Value>> {
    let path = format!(
        "trackedEntityAttributes/{}/generateAndReserve",
        wanted.attribute
    );
    let count = count.to_string();
    let mut params = vec![("numberToReserve", count.as_str())];
    if let Some((_, code)) = &wanted.unit {
        params.push(("ORG_UNIT_CODE", code));
    }
    let told = courier.ask(&path, &params)?;
    match told {
        Value::Array(values) => Ok(values),
        _ => Err(Error::Answer {
            path,
            problem: "is no list of values".to_owned(),
        }),
    }
}

/// Keeps what the server gave, and drops what its time or the attribute's pattern has left behind.
fn store(tx: &mut dyn ReplicaTx, wanted: &Wanted, told: &[Value]) -> Result<u64> {
    let layout = Layout::of(&tx.collections()?);
    let Some(table) = layout.table(RESERVED_VALUES) else {
        return Err(no_table());
    };
    let unit = unit_of(wanted);
    let pattern = TextPattern::parse(&wanted.pattern).ok();
    let mut fetched = 0;
    let mut newest = None;
    for value in told {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("value").is_empty() {
            continue;
        }
        let created = date::parse(text("created"));
        newest = newest.max(created);
        let until = pattern.as_ref().zip(created);
        let until = until.and_then(|(pattern, created)| pattern.changes_at(created));
        let id = row_id(&wanted.attribute, text("value"));
        if tx.note(GIVEN, &id.to_string())?.is_some() {
            warn!(
                attribute = wanted.attribute,
                value = text("value"),
                "the server reserved a value once more that was given out here: it is left aside"
            );
            continue;
        }
        let record = table.record(
            &id.to_string(),
            &[
                ("attribute", &wanted.attribute),
                ("org_unit", unit),
                ("pattern", &wanted.pattern),
                ("key", text("key")),
                ("value", text("value")),
                ("created_at", text("created")),
                ("expires_at", text("expiryDate")),
                ("valid_until", &until.map(date::format).unwrap_or_default()),
            ],
        );
        tx.put_row(RESERVED_VALUES, &record)?;
        let version = RowVersion {
            generation: RowVersion::UNKNOWN.generation.next(),
            ..RowVersion::UNKNOWN
        };
        tx.store_version(RESERVED_VALUES, &id, Some(version))?;
        fetched += 1;
    }
    for (name, until) in tx.notes(GIVEN)? {
        let has_ended = date::parse(&until).zip(newest);
        if has_ended.is_some_and(|(end, now)| end <= now) {
            tx.store_note(GIVEN, &name, None)?;
        }
    }
    for (id, record) in all(tx)? {
        let text = |column: &str| table.text(&record, column);
        if text("attribute") != wanted.attribute {
            continue;
        }
        let has_ended = ends_at(table, &record).zip(newest);
        let has_ended = has_ended.is_some_and(|(end, now)| end <= now);
        if text("pattern") != wanted.pattern || has_ended {
            remove(tx, &id)?;
        }
    }
    Ok(fetched)
}

fn load(tx: &dyn ReplicaTx, wanted: &Wanted, size: Size, now: Timestamp) -> Result<Pool> {
    let layout = Layout::of(&tx.collections()?);
    let Some(table) = layout.table(RESERVED_VALUES) else {
        return Err(no_table());
    };
    let remembered = tx.note(SIZES, &wanted.attribute)?;
    let remembered = remembered.and_then(|text| text.parse().ok());
    let full = match size.full.or(remembered) {
        Some(full) => full,
        None => Settings::load(tx)?
            .reserved_values
            .unwrap_or(FULL)
            .min(MOST),
    };
    let unit = unit_of(wanted);
    let mut now = now;
    let mut rows = Vec::new();
    for (id, record) in all(tx)? {
        let text = |column: &str| table.text(&record, column);
        // The server has told this time, whatever the clock says.
        now = now.max(date::parse(&text("created_at")).unwrap_or_default());
        let fits = text("attribute") == wanted.attribute
            && text("org_unit") == unit
            && text("pattern") == wanted.pattern;
        if fits {
            rows.push(Row {
                id,
                value: text("value"),
                key: text("key"),
                created_at: text("created_at"),
                ends_at: ends_at(table, &record),
            });
        }
    }
    rows.retain(|row| row.ends_at.is_none_or(|end| end > now));
    rows.sort_by(|a, b| (&a.created_at, &a.value).cmp(&(&b.created_at, &b.value)));
    Ok(Pool {
        rows,
        full,
        threshold: size.threshold.unwrap_or(full / 2),
    })
}

fn all(tx: &dyn ReplicaTx) -> Result<Vec<(GlobalId, haversack_model::Record)>> {
    let mut found = Vec::new();
    for id in tx.confirmed(RESERVED_VALUES)? {
        if let Some(record) = tx.row(RESERVED_VALUES, &id)? {
            found.push((id, record));
        }
    }
    Ok(found)
}

fn ends_at(table: &Table, record: &haversack_model::Record) -> Option<Timestamp> {
    let of = |column: &str| date::parse(&table.text(record, column));
    let ends = [of("expires_at"), of("valid_until")];
    ends.into_iter().flatten().min()
}

/// Gives up all pools: the server may not know any more what it reserved.
pub(crate) fn give_up(tx: &mut dyn ReplicaTx) -> haversack_model::Result<()> {
    for id in tx.confirmed(RESERVED_VALUES)? {
        tx.remove_row(RESERVED_VALUES, &id)?;
        tx.store_version(RESERVED_VALUES, &id, None)?;
    }
    Ok(())
}

/// Takes a value out of the pool for good.
fn give_out(tx: &mut dyn ReplicaTx, row: &Row) -> Result<()> {
    let until = row.ends_at.map(date::format).unwrap_or_default();
    tx.store_note(GIVEN, &row.id.to_string(), Some(&until))?;
    remove(tx, &row.id)
}

fn remove(tx: &mut dyn ReplicaTx, id: &GlobalId) -> Result<()> {
    tx.remove_row(RESERVED_VALUES, id)?;
    Ok(tx.store_version(RESERVED_VALUES, id, None)?)
}

fn unit_of(wanted: &Wanted) -> &str {
    wanted.unit.as_ref().map_or("", |(uid, _)| uid)
}

fn row_id(attribute: &str, value: &str) -> GlobalId {
    let digest = sha2::Sha256::digest(format!("{attribute}/{value}").as_bytes());
    let bytes = digest.iter().take(16);
    let bits = bytes.fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
    GlobalId::Text(uid::from_random(bits).into())
}

fn no_table() -> Error {
    Error::Parameter {
        what: "file",
        problem: "it has no table of reserved values: it is no copy of a DHIS2 server".to_owned(),
    }
}
