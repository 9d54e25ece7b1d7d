//! People who work on the server itself: online, with plain SQL, and two at once.

use haversack_model::Edit;

use crate::ground::{self, Key, PLOTS};
use crate::message::{Party, Request};
use crate::oracle::{Check, rows};
use crate::people::{Deed, Habits, deed};
use crate::sometimes::Rare;
use crate::world::{World, fail};

impl World<'_> {
    /// Someone edits on the server itself.
    pub fn online(&mut self, only_adds: bool) -> Check {
        let tx = self.server.store.begin_read().map_err(fail)?;
        let held = rows(&*tx).map_err(fail)?;
        let shapes = self.shapes(&ground::all())?;
        drop(tx);
        let held = held
            .into_iter()
            .map(|(key, row)| (key, row.record))
            .collect();
        let graves: Vec<Key> = self.oracle.ever_dead.iter().cloned().collect();
        let mut habits = self.habits;
        if only_adds {
            habits = Habits {
                updates: 0,
                deletes: 0,
                undeletes: 0,
                wrong: 0,
                ..habits
            };
        }
        let mut edits = Vec::new();
        for _ in 0..=self.chance.below(3) {
            let done = deed(
                &mut self.chance,
                &mut self.oracle,
                Party::Online,
                habits,
                &shapes,
                &held,
                &graves,
            );
            match done {
                Some(Deed::Add {
                    key, record, blob, ..
                }) => {
                    self.uploaded.extend(blob);
                    if graves.contains(&key) {
                        self.seen.saw(Rare::Undelete);
                    }
                    edits.push((
                        key.0,
                        Edit::Add {
                            record,
                            undelete: false,
                        },
                    ));
                }
                Some(Deed::Update { key, changes, .. }) => edits.push((
                    key.0,
                    Edit::Update {
                        global_id: key.1,
                        mine: changes,
                        base: None,
                    },
                )),
                Some(Deed::Delete { key }) => edits.push((
                    key.0,
                    Edit::Delete {
                        global_id: key.1,
                        base: None,
                    },
                )),
                None => {}
            }
        }
        edits.dedup_by(|a, b| a.1.global_id() == b.1.global_id());
        self.put_blobs()?;
        let request = Request::Online {
            user: self.chance.below(3),
            edits,
            all_or_nothing: self.chance.percent(20),
        };
        self.trace.note("someone edits online");
        self.serve(Party::Online, 0, &request, !only_adds)?;
        Ok(())
    }

    /// Stores the pictures that were uploaded ahead of edits.
    pub fn put_blobs(&mut self) -> Check {
        if self.uploaded.is_empty() {
            return Ok(());
        }
        let mut tx = self.server.begin(&mut self.chance).map_err(fail)?;
        for hash in self.uploaded.drain(..) {
            tx.store_blob(hash, &hash.0).map_err(fail)?;
        }
        tx.commit().map_err(fail)?;
        Ok(())
    }

    /// Someone writes into the tables: names of records without children.
    pub fn direct(&mut self) -> Check {
        let tx = self.server.store.begin_read().map_err(fail)?;
        let held = rows(&*tx).map_err(fail)?;
        drop(tx);
        let plots: Vec<_> = held.keys().filter(|key| key.0 == PLOTS).cloned().collect();
        let Some(key) = self.chance.pick(&plots).cloned() else {
            return Ok(());
        };
        let number = self.oracle.mark(Party::Online, &key, 0);
        let mut mine = haversack_model::Changes::default();
        mine.values.insert(0, ground::token(number));
        let edit = if self.chance.percent(20) {
            Edit::Delete {
                global_id: key.1.clone(),
                base: None,
            }
        } else {
            Edit::Update {
                global_id: key.1.clone(),
                mine,
                base: None,
            }
        };
        self.trace
            .note(&format!("someone writes {} with SQL", ground::short(&key)));
        let edits = vec![(key.0, edit)];
        self.serve(Party::Online, 0, &Request::Direct { edits }, true)?;
        Ok(())
    }

    /// Two transactions commit in the order opposite to that of their writes, with a pull between.
    pub fn race(&mut self, native: usize) -> Check {
        let held = std::mem::replace(&mut self.faults.held, 100);
        self.direct()?;
        self.faults.held = 0;
        self.online(false)?;
        self.faults.held = held;
        let header = self.natives[native].file.file().header.clone();
        let most = self.page_size;
        let party = Party::Native(native);
        let request = Request::Pull { header, most };
        if let Some(reply) = self.serve(party, self.session(party), &request, false)? {
            self.native_receive(native, reply)?;
        }
        self.commit_open()
    }
}
