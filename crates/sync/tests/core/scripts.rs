//! Runs the text scripts of `tests/scripts`: commands, `----`, what they print.
//!
//! | command | what it does |
//! | --- | --- |
//! | `server add N f=v ..`, `server set N f=v ..`, `server delete N` | an online edit of tree N |
//! | `server show`, `server conflicts` | the trees, the open conflicts |
//! | `server backup`, `server restore` | keeps a copy; puts it back and starts a new history |
//! | `server forget` | collects tombstones and history as far as no replica needs them |
//! | `P checkout [policy=..] [f=v]` | a replica, filtered |
//! | `P add/set/delete ..`, `P attach N NAME` | a local edit, as a GIS program makes it |
//! | `P sync`, `P sync page=1`, `P sync cut` | a sync; in pages of one; with the first answer lost |
//! | `P show`, `P conflicts`, `P preview`, `P status` | the rows with their states, and so on |
//! | `P resolve mine/theirs/base` | decides the oldest open conflict |
//! | `P discard N`, `P retry` | gives edits up, tries refused ones again |
//! | `P copy-to Q`, `P may f=v`, `P may all` | copies the file; changes the grant of its user |
//!
//! Trees have `name`, `height`, `grower` and `at=x,y`. Set `BLESS=1` to write what the commands print now.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use haversack_model::conflict::Winner;
use haversack_model::local::LocalReplica;
use haversack_model::remote::BatchReply;
use haversack_model::schema::attachment_field;
use haversack_model::store::Flow;
use haversack_model::{
    Access, BlobHash, Changes, Conflict, Filter, Geometry, GlobalId, HistoryId, Policy, Query,
    QueryRow, Record, Shape, Store, Value,
};
use haversack_sync::client::{self, Choice};
use haversack_sync::states;

use crate::ground::{Ground, TREES, all_rights, equals, id, point, tree};
use crate::loopback::Loopback;
use crate::memory::MemoryReplica;

struct Phone {
    file: MemoryReplica,
    access: Access,
}

/// Puts a copy of the server back.
type Restore = Box<dyn Fn(&Ground)>;

struct World {
    ground: Ground,
    phones: BTreeMap<String, Phone>,
    replies: RefCell<Vec<BatchReply>>,
    restore: Option<Restore>,
}

fn number(id: &GlobalId) -> String {
    match id {
        GlobalId::Uuid(uuid) => uuid.as_u128().to_string(),
        GlobalId::Text(text) => text.to_string(),
    }
}

fn changes(words: &[&str]) -> Changes {
    let mut changes = Changes::default();
    for word in words {
        let (name, value) = word.split_once('=').expect("field=value");
        let at = match name {
            "name" => 0,
            "height" => 1,
            "grower" => 2,
            "at" => {
                let (x, y) = value.split_once(',').expect("x,y");
                let parse = |text: &str| text.parse().expect("a number");
                changes.geometry = Some(Some(point(parse(x), parse(y))));
                continue;
            }
            other => panic!("no field {other}"),
        };
        changes.values.insert(at, as_value(at, value));
    }
    changes
}

fn as_value(at: usize, text: &str) -> Value {
    match text {
        "null" => Value::Null,
        _ if at == 1 => text
            .parse::<i64>()
            .map_or_else(|_| text.into(), Value::Integer),
        _ => text.into(),
    }
}

fn filter(word: &str) -> Filter {
    let (name, value) = word.split_once('=').expect("field=value");
    equals(name, as_value(usize::from(name == "height"), value))
}

fn values(record: &Record) -> String {
    let mut text = number(&record.global_id);
    for (name, value) in ["name", "height", "grower"].iter().zip(&record.values) {
        match value {
            Value::Null => {}
            Value::Integer(n) => write!(text, " {name}={n}").expect("text"),
            Value::Text(t) => write!(text, " {name}={t}").expect("text"),
            other => write!(text, " {name}={other:?}").expect("text"),
        }
    }
    if let Some(Shape::Point(Some(at))) = record.geometry.as_ref().map(Geometry::shape) {
        write!(text, " at={},{}", at.x, at.y).expect("text");
    }
    text
}

fn conflict_line(conflict: &Conflict) -> String {
    let side = |record: &Option<Record>| record.as_ref().map_or_else(|| "none".to_owned(), values);
    let winner = match conflict.winner {
        Winner::Mine => "mine",
        Winner::Theirs => "theirs",
        Winner::Merged => "merged",
    };
    let fields = match conflict.fields.join(",") {
        none if none.is_empty() => String::new(),
        fields => format!(" in {fields}"),
    };
    format!(
        "{:?}{fields}, {winner} stands\n  base   {}\n  mine   {}\n  theirs {}\n",
        conflict.kind,
        side(&conflict.base),
        side(&conflict.mine),
        side(&conflict.theirs)
    )
}

impl World {
    fn new() -> Self {
        Self {
            ground: Ground::new(),
            phones: BTreeMap::new(),
            replies: RefCell::new(Vec::new()),
            restore: None,
        }
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        match &words[..] {
            ["server", rest @ ..] => self.server(rest),
            [phone, "checkout", options @ ..] => self.checkout(phone, options),
            [phone, "copy-to", other] => {
                let from = &self.phones[*phone];
                let copy = Phone {
                    file: from.file.clone(),
                    access: from.access.clone(),
                };
                self.phones.insert((*other).to_owned(), copy);
                String::new()
            }
            [phone, "sync", options @ ..] => self.sync(phone, options),
            [phone, "preview"] => self.preview(phone),
            [phone, rest @ ..] => self.local(phone, rest),
            [] => String::new(),
        }
    }

    fn server(&mut self, words: &[&str]) -> String {
        let number = |text: &str| text.parse::<u128>().expect("a number");
        match words {
            ["add", of, fields @ ..] => {
                let mut record = tree(number(of), "", 0);
                record.values = vec![Value::Null; 3];
                changes(fields).apply_to(&mut record);
                self.ground.add(&record);
            }
            ["set", of, fields @ ..] => self.ground.update(number(of), changes(fields)),
            ["delete", of] => self.ground.delete(number(of)),
            ["backup"] => {
                let state = self.ground.store.backup();
                self.restore = Some(Box::new(move |ground| {
                    ground.store.restore(Arc::clone(&state));
                }));
            }
            ["restore"] => {
                let restore = self.restore.as_ref().expect("a backup");
                restore(&self.ground);
                let store = &self.ground.store;
                let mut tx = store.begin_write(self.ground.now()).expect("a transaction");
                tx.start_history(HistoryId(self.ground.fresh()))
                    .expect("a history");
                tx.commit().expect("a commit");
            }
            ["forget"] => {
                let store = &self.ground.store;
                let mut tx = store.begin_write(self.ground.now()).expect("a transaction");
                let head = tx.head().expect("a head").generation;
                tx.prune_history(head).expect("pruned");
                tx.commit().expect("a commit");
            }
            ["show"] => {
                let tx = self.ground.store.begin_read().expect("a snapshot");
                let mut lines = Vec::new();
                tx.query(&Query::records(TREES, Filter::All), &mut |row| {
                    if let QueryRow::Record(row) = row {
                        lines.push((row.record.global_id.clone(), values(&row.record)));
                    }
                    Ok(Flow::Continue(()))
                })
                .expect("a query");
                lines.sort();
                return lines.into_iter().map(|(_, line)| line + "\n").collect();
            }
            ["conflicts"] => {
                let tx = self.ground.store.begin_read().expect("a snapshot");
                let mut text = String::new();
                tx.conflicts(true, &mut |conflict| {
                    text += &conflict_line(&conflict);
                    Ok(Flow::Continue(()))
                })
                .expect("conflicts");
                return text;
            }
            other => panic!("no such command: server {other:?}"),
        }
        String::new()
    }

    fn checkout(&mut self, phone: &str, options: &[&str]) -> String {
        let (mut policy, mut own) = (Policy::Merge, Filter::All);
        for option in options {
            match *option {
                "policy=merge" => policy = Policy::Merge,
                "policy=client" => policy = Policy::Client,
                "policy=server" => policy = Policy::Server,
                other => own = filter(other),
            }
        }
        let file = self
            .loopback(phone, all_rights(), 1000)
            .checkout(phone, policy, own);
        let access = all_rights();
        self.phones.insert(phone.to_owned(), Phone { file, access });
        self.sync(phone, &[])
    }

    fn loopback(&self, user: &str, access: Access, page_size: usize) -> Loopback<'_> {
        // Copies of a file belong to one user: names with the same first part.
        let user = user.split('-').next().unwrap_or(user);
        Loopback {
            ground: &self.ground,
            user: user.to_owned(),
            access,
            page_size,
            lose_reply: false,
            replies: &self.replies,
        }
    }

    fn sync(&mut self, phone: &str, options: &[&str]) -> String {
        let mut taken = self.phones.remove(phone).expect("a phone");
        let page_size = if options.contains(&"page=1") { 1 } else { 1000 };
        let mut remote = self.loopback(phone, taken.access.clone(), page_size);
        remote.lose_reply = options.contains(&"cut");
        let clock = || self.ground.now();
        let done = client::synchronise(&mut taken.file, &mut remote, &clock, &mut |_| {});
        self.phones.insert(phone.to_owned(), taken);
        match done {
            Err(error) => format!("error: {error}\n"),
            Ok(done) => {
                let mut parts = Vec::new();
                for (count, what) in [
                    (done.applied, "applied"),
                    (done.merged, "merged"),
                    (done.conflicts, "in conflict"),
                    (done.rejected.len() as u64, "refused"),
                    (done.put, "fetched"),
                    (done.removed, "removed"),
                ] {
                    if count > 0 {
                        parts.push(format!("{count} {what}"));
                    }
                }
                if done.resynced {
                    parts.push("compared anew".to_owned());
                }
                if parts.is_empty() {
                    parts.push("nothing to do".to_owned());
                }
                let mut text = parts.join(", ") + "\n";
                for (_, id, reason) in &done.rejected {
                    writeln!(
                        text,
                        "  {}: {}",
                        number(id),
                        reason.replace(&id.to_string(), &number(id))
                    )
                    .expect("text");
                }
                text
            }
        }
    }

    fn preview(&mut self, phone: &str) -> String {
        let mut taken = self.phones.remove(phone).expect("a phone");
        let before = format!("{:?}", taken.file);
        let mut remote = self.loopback(phone, taken.access.clone(), 1000);
        let preview = client::preview(&mut taken.file, &mut remote).expect("a preview");
        assert_eq!(
            format!("{:?}", taken.file),
            before,
            "a preview stores nothing"
        );
        self.phones.insert(phone.to_owned(), taken);
        let mut text = String::new();
        for planned in preview.uploads {
            let side =
                |record: &Option<Record>| record.as_ref().map_or_else(|| "none".to_owned(), values);
            let verdict = if planned.conflict { "conflict" } else { "fine" };
            writeln!(
                text,
                "{}: {verdict}; base {}; mine {}; theirs {}",
                number(&planned.global_id),
                side(&planned.base),
                side(&planned.mine),
                side(&planned.theirs)
            )
            .expect("text");
        }
        for (collection, put, removed) in preview.downloads {
            writeln!(
                text,
                "collection {collection}: {put} to fetch, {removed} to remove"
            )
            .expect("text");
        }
        text
    }

    fn local(&mut self, phone: &str, words: &[&str]) -> String {
        let ground = &self.ground;
        let phone = self.phones.get_mut(phone).expect("a phone");
        let file = &mut phone.file;
        let parse = |text: &str| id(text.parse().expect("a number"));
        match words {
            ["add", of, fields @ ..] => {
                let mut record = tree(of.parse().expect("a number"), "", 0);
                record.values = vec![Value::Null; 3];
                changes(fields).apply_to(&mut record);
                file.edit_insert(TREES, record);
            }
            ["set", of, fields @ ..] => assert!(
                file.edit_update(TREES, &parse(of), &changes(fields)),
                "no row {of}"
            ),
            ["delete", of] => assert!(file.edit_delete(TREES, &parse(of)), "no row {of}"),
            ["attach", of, name, flags @ ..] => {
                let content = name.as_bytes();
                let hash = BlobHash(*blake3::hash(content).as_bytes());
                if !flags.contains(&"without-content") {
                    let mut tx = file.begin().expect("a transaction");
                    tx.store_blob(hash, content).expect("a blob");
                    tx.commit().expect("a commit");
                }
                let mut fields = vec![Value::Null; 6];
                fields[attachment_field::PARENT] = parse(of).braced().into();
                fields[attachment_field::NAME] = (*name).into();
                fields[attachment_field::SHA256] = hash.to_string().into();
                let record = Record {
                    global_id: GlobalId::Uuid(ground.fresh()),
                    object_id: None,
                    values: fields,
                    geometry: None,
                };
                file.edit_insert(TREES.attachments(), record);
            }
            ["may", "all"] => phone.access = all_rights(),
            ["may", word] => phone.access.filters = vec![(TREES, filter(word))],
            ["discard", of] => {
                let mut tx = file.begin().expect("a transaction");
                client::discard(&mut *tx, TREES, &parse(of)).expect("discarded");
                tx.commit().expect("a commit");
            }
            ["retry"] => {
                let mut tx = file.begin().expect("a transaction");
                let count = client::retry(&mut *tx).expect("retried");
                tx.commit().expect("a commit");
                return format!("{count} pending again\n");
            }
            ["resolve", choice] => {
                let choice = match *choice {
                    "mine" => Choice::Mine,
                    "theirs" => Choice::Theirs,
                    "base" => Choice::Base,
                    other => panic!("no choice {other}"),
                };
                let mut tx = file.begin().expect("a transaction");
                let open = tx.conflicts(true).expect("conflicts");
                let oldest = open.first().expect("an open conflict").id;
                client::resolve(&mut *tx, oldest, choice, "ann", ground.now()).expect("resolved");
                tx.commit().expect("a commit");
            }
            ["show"] => return rows(file),
            ["conflicts"] => {
                let tx = file.begin().expect("a transaction");
                let open = tx.conflicts(true).expect("conflicts");
                return open.iter().map(conflict_line).collect();
            }
            other => panic!("no such command: {other:?}"),
        }
        String::new()
    }
}

/// The rows of a file with their states, deletions that wait included, and the names of attachments.
fn rows(file: &MemoryReplica) -> String {
    let mut lines = BTreeMap::new();
    for ((collection, id), row) in file.rows() {
        let line = match collection.attachments_of() {
            Some(_) => {
                let name = row.values[attachment_field::NAME]
                    .as_text()
                    .unwrap_or_default();
                format!("attachment {name}")
            }
            None => values(row),
        };
        lines.insert((*collection, id.clone()), line);
    }
    for entry in file.outbox() {
        let line = lines
            .entry((entry.collection, entry.global_id.clone()))
            .or_insert_with(|| number(&entry.global_id));
        write!(line, " [{}", states::shown(entry)).expect("text");
        match &entry.reason {
            Some(reason) => write!(
                line,
                ": {}]",
                reason.replace(&entry.global_id.to_string(), "it")
            )
            .expect("text"),
            None => line.push(']'),
        }
    }
    lines.into_values().map(|line| line + "\n").collect()
}

fn run_script(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a script");
    let mut world = World::new();
    let mut output = String::new();
    let mut commands = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        output += line;
        output.push('\n');
        if line == "----" {
            for command in commands.drain(..) {
                output += &world.run(command);
            }
            // What is expected ends at an empty line.
            while lines.peek().is_some_and(|line| !line.is_empty()) {
                lines.next();
            }
        } else if !line.starts_with('#') && !line.is_empty() {
            commands.push(line);
        }
    }
    assert!(
        commands.is_empty(),
        "{}: commands without ----",
        path.display()
    );
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &output).expect("a script written");
    }
    assert!(
        text == output || std::env::var_os("BLESS").is_some(),
        "{} prints now:\n{output}",
        path.display()
    );
}

macro_rules! script {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
            run_script(&scripts.join(concat!(stringify!($name), ".txt")));
        }
    )*};
}

script!(
    two_phones_merge_by_field_and_keep_the_one_real_conflict,
    an_answer_that_was_lost_is_not_applied_twice,
    a_copied_file_takes_its_own_identity,
    a_restored_server_gets_back_what_it_forgot,
    rows_enter_and_leave_with_the_filter,
    a_replica_that_was_away_too_long_compares_anew,
    attachments_wait_for_their_record,
    a_conflict_is_closed_by_a_decision,
);
