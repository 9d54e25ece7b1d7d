//! A side in a service file: the store that servers keep collections in.
//!
//! A death is what a killed process leaves: file and log are copied as they stand, in the middle of a transaction if need be, and
//! the copy is opened as the next process would. Everything random of a store is set by the world, so that a seed replays.

use std::cell::{Cell, Ref, RefCell};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use haversack_model::copies::Merging;
use haversack_model::documents::{DocumentStore as _, DocumentWrite, Index, Properties, document};
use haversack_model::store::Store as _;
use haversack_model::{
    Collection, CollectionId, Error, Generation, GlobalId, HistoryId, Result, Service, Timestamp,
    WriteTx,
};
use haversack_sqlite::SqliteStore;
use haversack_sqlite::service::SqliteSecondary;
use haversack_sync::reconcile::{
    Base, Delivered, Deltas, FpKey, Item, LeafBits, Node, NodeRows, Primary, Proof, Secondary,
    SecondaryState, Span, Sum,
};
use rusqlite::{Connection, OptionalExtension as _, params};
use tempfile::TempDir;

use crate::memory::history;
use crate::side::{Copying, Death, Edit, Live, Side, id};

const RECORDS: CollectionId = CollectionId(0);
const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) struct InFile {
    folder: TempDir,
    files: Cell<u32>,
    opened: RefCell<Opened>,
    /// What a process that died in a merge left.
    left: RefCell<Option<Backup>>,
}

struct Opened {
    store: SqliteStore,
    path: PathBuf,
}

/// File and log.
#[derive(Clone)]
pub(crate) struct Backup(Vec<u8>, Vec<u8>);

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("gpkg-wal")
}

fn taken(path: &Path) -> Backup {
    let log = std::fs::read(log_of(path)).unwrap_or_default();
    Backup(std::fs::read(path).unwrap(), log)
}

fn put(path: &Path, Backup(file, log): &Backup) {
    std::fs::write(path, file).unwrap();
    if !log.is_empty() {
        std::fs::write(log_of(path), log).unwrap();
    }
}

fn service() -> Service {
    let mut service = Service::of_documents("world");
    let mut records = Collection::documents(RECORDS, "records", "records", false);
    records.indexes = vec![Index {
        id: "1".to_owned(),
        name: "values".to_owned(),
        kind: "persistent".to_owned(),
        fields: vec!["value".to_owned()],
        unique: true,
        sparse: false,
        properties: Properties::new(),
    }];
    service.collections.push(records);
    service
}

/// In memory where there is such a folder: whether a disk keeps what was synced is no question of a seed.
fn folder() -> TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    folder.unwrap()
}

/// An empty file, as every side begins; made once.
fn empty() -> &'static Backup {
    static EMPTY: OnceLock<Backup> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("empty.gpkg");
        drop(SqliteStore::create(&path, &service()).unwrap());
        taken(&path)
    })
}

/// A new file whose history and key are those of a number.
fn fresh(number: u8) -> Backup {
    let folder = folder();
    let path = folder.path().join("fresh.gpkg");
    put(&path, empty());
    let plain = Connection::open(&path).unwrap();
    let name = history(u128::from(number)).to_string();
    for sql in [
        "UPDATE haversack_counter SET history = ?1",
        "UPDATE haversack_histories SET history = ?1",
    ] {
        plain.execute(sql, [&name]).unwrap();
    }
    let key = "UPDATE haversack_summaries SET fp_key = ?1, stale = 1";
    plain.execute(key, [[number; 32]]).unwrap();
    drop(plain);
    taken(&path)
}

impl Opened {
    fn new(path: PathBuf, found: &Backup) -> Self {
        put(&path, found);
        // The reserve of a file is no question of a seed either: one without contents takes no time.
        let mut reserve = path.clone().into_os_string();
        reserve.push("-reserve");
        std::fs::File::create(reserve)
            .and_then(|file| file.set_len(8 << 20))
            .unwrap();
        let store = SqliteStore::open(&path).unwrap();
        Self { store, path }
    }
    fn plain(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }
}

impl InFile {
    fn opened(&self) -> Ref<'_, Opened> {
        self.opened.borrow()
    }
    fn free(&self) -> PathBuf {
        self.files.set(self.files.get() + 1);
        let name = format!("{}.gpkg", self.files.get());
        self.folder.path().join(name)
    }
    fn open(&self, found: &Backup) {
        let next = Opened::new(self.free(), found);
        let before = self.opened.replace(next);
        let path = before.path.clone();
        drop(before);
        std::fs::remove_file(path).unwrap();
    }
    /// Writes and commits. Where two records exchange values, both go first: no moment may see one value twice.
    fn edit(&self, edits: &[Edit]) -> Result<()> {
        let opened = self.opened();
        let mut refused = Ok(());
        for all_go_first in [false, true] {
            let mut tx = opened.store.begin_write(NOW)?;
            refused = make(tx.as_mut(), edits, all_go_first);
            if refused.is_ok() {
                tx.commit()?;
                return Ok(());
            }
        }
        refused
    }
    fn one_transaction(&self, work: impl FnOnce(&mut dyn WriteTx)) {
        let opened = self.opened();
        let mut tx = opened.store.begin_write(NOW).unwrap();
        work(tx.as_mut());
        tx.commit().unwrap();
    }
}

fn make(tx: &mut dyn WriteTx, edits: &[Edit], all_go_first: bool) -> Result<()> {
    for (id, _) in edits.iter().filter(|_| all_go_first) {
        tx.delete(RECORDS, id, None)?;
    }
    for (id, body) in edits {
        match (id, body) {
            (GlobalId::Text(key), Some(body)) => {
                tx.put(RECORDS, &document(key, body.as_str()), None)?;
            }
            _ => {
                tx.delete(RECORDS, id, None)?;
            }
        }
    }
    Ok(())
}

impl Side for InFile {
    type Backup = Backup;

    fn new(number: u8) -> Self {
        let folder = folder();
        let opened = Opened::new(folder.path().join("0.gpkg"), &fresh(number));
        Self {
            folder,
            files: Cell::new(0),
            opened: RefCell::new(opened),
            left: RefCell::default(),
        }
    }
    fn head(&self) -> (HistoryId, u64) {
        let head = self.opened().store.begin_read().unwrap().head().unwrap();
        (head.history, head.generation.0)
    }
    fn live(&self) -> Live {
        let opened = self.opened();
        let tx = opened.store.read_documents().unwrap();
        let mut live = Live::new();
        tx.by_key(RECORDS, None, &mut |found| {
            let body = found.record.values[0].as_text().unwrap().to_owned();
            live.insert(found.record.global_id, body);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        live
    }
    fn write(&self, edits: &[Edit]) -> Result<()> {
        self.edit(edits)
    }
    fn write_by_hand(&self, edits: &[Edit]) {
        let mut plain = self.opened().plain();
        let tx = plain.transaction().unwrap();
        for (id, body) in edits {
            let key = id.to_string();
            let Some(body) = body else {
                let gone = "DELETE FROM records WHERE _key = ?1";
                tx.execute(gone, [key]).unwrap();
                continue;
            };
            let changed = "UPDATE records SET document = ?2 WHERE _key = ?1";
            if tx.execute(changed, [&key, body]).unwrap() == 0 {
                let added = "INSERT INTO records (_key, document) VALUES (?1, ?2)";
                tx.execute(added, [&key, body]).unwrap();
            }
        }
        tx.commit().unwrap();
    }
    fn purge(&self, upto: u64) {
        self.one_transaction(|tx| {
            tx.prune_history(Generation(upto)).unwrap();
        });
    }
    fn backup(&self) -> Backup {
        taken(&self.opened().path)
    }
    fn put_back(&self, backup: &Backup) {
        self.open(backup);
    }
    fn start_history(&self, history: HistoryId, is_told: bool) {
        self.one_transaction(|tx| {
            tx.start_history(history).unwrap();
        });
        if !is_told {
            let forgotten = "UPDATE haversack_histories SET parent = NULL WHERE history = ?1";
            let plain = self.opened().plain();
            plain.execute(forgotten, [history.to_string()]).unwrap();
        }
    }
    fn die(&self) {
        let left = self.left.take().unwrap_or_else(|| self.backup());
        self.open(&left);
    }
    fn die_amid(&self, edits: &[Edit]) {
        {
            let opened = self.opened();
            let mut tx = opened.store.begin_write(NOW).unwrap();
            make(tx.as_mut(), edits, true).unwrap();
            *self.left.borrow_mut() = Some(taken(&opened.path));
        }
        self.die();
    }
    fn is_dead(&self) -> bool {
        self.left.borrow().is_some()
    }
    fn renew(&self, number: u8) {
        self.open(&fresh(number));
    }
    fn lose_cursor(&self) {
        let forgotten = "UPDATE haversack_upstreams SET proven_items = NULL, proven_high = NULL, proven_low = NULL";
        self.opened().plain().execute(forgotten, []).unwrap();
    }
    fn damage(&self, place: u64) -> bool {
        let plain = self.opened().plain();
        let how = "SELECT fp_key, bits FROM haversack_summaries WHERE side = 1";
        let made: Option<([u8; 32], u8)> = plain
            .query_row(how, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .unwrap();
        let Some((key, bits)) = made else {
            return false;
        };
        let mut stale = Deltas::new(LeafBits::new(bits).unwrap());
        let item = Item {
            global_id: id(u64::MAX - place),
            generation: Generation(place),
            deleted: false,
            content: 0,
        };
        stale.add(place, FpKey::new(key).numbered(&item));
        stale.fold_into(&mut PlainSums(&plain)).is_ok()
    }
    fn miscount(&self, level: u8, count: u64) {
        let miscounted = "UPDATE haversack_sums SET items = ?2 WHERE side = 1 AND level = ?1";
        let plain = self.opened().plain();
        plain
            .execute(miscounted, params![level, count as i64])
            .unwrap();
    }
    fn without_sums(&self, work: &mut dyn FnMut()) {
        let plain = self.opened().plain();
        let both = |sql: [&str; 2]| sql.map(|sql| plain.execute_batch(sql).unwrap());
        both([
            "CREATE TEMP TABLE before AS SELECT * FROM haversack_sums WHERE side = 0",
            "CREATE TEMP TABLE notes AS SELECT * FROM haversack_unfolded",
        ]);
        work();
        both([
            "DELETE FROM haversack_sums WHERE side = 0; INSERT INTO haversack_sums SELECT * FROM before",
            "DELETE FROM haversack_unfolded; INSERT INTO haversack_unfolded SELECT * FROM notes",
        ]);
    }
    fn check(&self) -> bool {
        let opened = self.opened();
        let found: String = opened
            .plain()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        found == "ok" && opened.store.check_summaries(RECORDS, NOW).unwrap()
    }
    fn with_primary<T>(&self, work: impl FnOnce(&dyn Primary) -> T) -> T {
        work(&self.opened().store.primary(RECORDS, NOW))
    }
    fn with_copy<T>(&self, death: Option<Death>, work: impl FnOnce(&mut dyn Copying) -> T) -> T {
        let opened = self.opened();
        let mut amid = Amid { side: self, death };
        let copy = opened.store.secondary(RECORDS, NOW).unwrap();
        work(&mut Held {
            copy: copy.with_merging(&mut amid),
            side: self,
            death,
        })
    }
    fn prepare(&self, file: &Path) -> bool {
        let store = &self.opened().store;
        store.prepare_collection(RECORDS, file, NOW).unwrap();
        true
    }
}

/// The sums of a copy's primary, by another program.
struct PlainSums<'a>(&'a Connection);

impl NodeRows for PlainSums<'_> {
    fn load_node(&mut self, node: Node) -> Result<Sum> {
        let row = "SELECT items, high, low FROM haversack_sums WHERE side = 1 AND level = ?1 AND idx = ?2";
        let found = self
            .0
            .query_row(row, params![node.level, node.index as i64], |row| {
                Ok(Sum {
                    count: row.get::<_, i64>(0)? as u64,
                    high: row.get::<_, i64>(1)? as u64,
                    low: row.get::<_, i64>(2)? as u64,
                })
            });
        Ok(found.optional().unwrap().unwrap_or_default())
    }
    fn store_node(&mut self, node: Node, sum: Sum) -> Result<()> {
        let row = "INSERT OR REPLACE INTO haversack_sums VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6)";
        let (count, high, low) = (sum.count as i64, sum.high as i64, sum.low as i64);
        let values = params![RECORDS.0, node.level, node.index as i64, count, high, low];
        self.0.execute(row, values).unwrap();
        Ok(())
    }
}

fn dead() -> Error {
    Error::Corrupt("the process is dead".to_owned())
}

/// Dies in the transaction of a merge.
struct Amid<'a> {
    side: &'a InFile,
    death: Option<Death>,
}

impl std::fmt::Debug for Amid<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Amid").finish_non_exhaustive()
    }
}

impl Amid<'_> {
    fn dies(&self, here: Death) -> Result<()> {
        if self.death == Some(here) {
            *self.side.left.borrow_mut() = Some(self.side.backup());
            return Err(dead());
        }
        Ok(())
    }
}

impl Merging for Amid<'_> {
    fn before(&mut self, _tx: &mut dyn DocumentWrite) -> Result<()> {
        self.dies(Death::BeforeMerge)
    }
    fn after(&mut self, _tx: &mut dyn DocumentWrite) -> Result<()> {
        self.dies(Death::BeforeCommit)
    }
}

/// A side as a copy.
struct Held<'a> {
    copy: SqliteSecondary<'a>,
    side: &'a InFile,
    death: Option<Death>,
}

impl Held<'_> {
    fn committed(&self) -> Result<()> {
        let side = self.side;
        let death = self.death;
        let amid = Amid { side, death };
        amid.dies(Death::AfterCommit)
    }
}

impl Copying for Held<'_> {
    fn save(&mut self, walk: Option<&str>) -> Result<()> {
        self.copy.save(walk)
    }
    fn saved(&self) -> Result<Option<String>> {
        self.copy.saved()
    }
    fn give_up(&mut self) -> Result<()> {
        self.copy.give_up()
    }
    fn take_prepared(&mut self, file: &Path) -> Result<Option<Proof>> {
        if !self.copy.is_new()? {
            return Ok(None);
        }
        let proof = self.copy.take_prepared(file)?;
        self.committed()?;
        Ok(Some(proof))
    }
}

impl Secondary for Held<'_> {
    fn state(&self) -> Result<SecondaryState> {
        self.copy.state()
    }
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        self.copy.nodes(level, from, upto, visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        self.copy.items(spans, visit)
    }
    fn tombstones(
        &self,
        upto: Generation,
        visit: &mut dyn FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        self.copy.tombstones(upto, visit)
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        self.copy.contents(visit)
    }
    fn held(&self, id: &GlobalId) -> Result<Option<Item>> {
        self.copy.held(id)
    }
    fn rekey(&mut self, key: &FpKey) -> Result<()> {
        self.copy.rekey(key)
    }
    fn begin(&mut self, base: Base) -> Result<()> {
        self.copy.begin(base)
    }
    fn stage(&mut self, record: Delivered) -> Result<()> {
        self.copy.stage(record)
    }
    fn mark_dropped(&mut self, id: &GlobalId) -> Result<()> {
        self.copy.mark_dropped(id)
    }
    fn adopt(&mut self, id: &GlobalId, generation: Generation) -> Result<()> {
        self.copy.adopt(id, generation)
    }
    fn commit(&mut self, proof: &Proof) -> Result<()> {
        self.copy.commit(proof)?;
        self.committed()
    }
}
