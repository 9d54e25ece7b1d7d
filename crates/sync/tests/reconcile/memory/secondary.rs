//! The collection as a copy of another one, with its stage.

use std::collections::HashMap;

use haversack_model::{Error, Generation, GlobalId, Result};
use haversack_sync::reconcile::{
    Base, Delivered, Deltas, FpKey, Item, Proof, Secondary, SecondaryState, Span, Sum,
};

use super::{Collection, Row, Rows, Staged, content};

impl Secondary for Collection {
    fn state(&self) -> Result<SecondaryState> {
        let root = self.up_nodes.root();
        let newest = self.by_up.last().map_or(0, |(up, _)| *up);
        // What was added here has no item, so that the sums alone do not tell of it.
        let complete = self.proven == Some(root) && !self.unnumbered;
        Ok(SecondaryState {
            history: self.up_history,
            key: self.up_key.clone(),
            bits: self.up_bits,
            root,
            since: Generation(if self.proven.is_some() {
                self.up_since
            } else {
                newest
            }),
            complete,
            has_records: !self.rows.is_empty(),
        })
    }
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        self.up_nodes.read(level, from, upto, visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let mut staged: Vec<Item> = Vec::new();
        for (id, entry) in &self.stage {
            match entry {
                Staged::Put(record) => staged.push(record.item()),
                Staged::Adopted(up) => staged.push(Self::item(id, *up, false)),
                Staged::Dropped => {}
            }
        }
        staged.sort_by_key(|item| item.generation);
        for span in spans {
            let mut all: Vec<Item> = Vec::new();
            let from = staged.partition_point(|item| item.generation.0 < span.from);
            let upto = staged.partition_point(|item| item.generation.0 <= span.upto);
            all.extend_from_slice(&staged[from..upto]);
            if self.base == Base::Kept {
                let smallest = GlobalId::parse_uuid(&"0".repeat(32)).expect("it is a UUID");
                let run = self.by_up.range((span.from, smallest)..);
                let run = run.take_while(|(up, _)| *up <= span.upto);
                let run = run.filter(|(_, id)| !self.stage.contains_key(id));
                all.extend(run.map(|(up, id)| Self::item(id, *up, self.rows[id].deleted)));
                all.sort_by_key(|item| item.generation);
            }
            all.into_iter().try_for_each(&mut *visit)?;
        }
        Ok(())
    }
    fn tombstones(
        &self,
        upto: Generation,
        visit: &mut dyn FnMut(Item) -> Result<()>,
    ) -> Result<()> {
        let mut all = Vec::new();
        let whole = Span {
            from: 0,
            upto: upto.0,
        };
        Secondary::items(self, &[whole], &mut |item| {
            all.push(item);
            Ok(())
        })?;
        all.into_iter()
            .filter(|item| item.deleted)
            .try_for_each(visit)
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let base = self.rows.iter().filter(|(id, row)| {
            self.base != Base::Void && !row.deleted && !self.stage.contains_key(*id)
        });
        for (id, row) in base {
            let up = if self.base == Base::Kept { row.up } else { 0 };
            visit(Item {
                content: content(&row.body),
                ..Self::item(id, up, false)
            })?;
        }
        for (id, staged) in &self.stage {
            let (up, hash) = match staged {
                Staged::Put(Delivered {
                    generation,
                    body: Some(body),
                    ..
                }) => (generation.0, content(body)),
                Staged::Adopted(up) => (*up, content(&self.rows[id].body)),
                _ => continue,
            };
            visit(Item {
                content: hash,
                ..Self::item(id, up, false)
            })?;
        }
        Ok(())
    }
    fn held(&self, id: &GlobalId) -> Result<Option<Item>> {
        Ok(match self.stage.get(id) {
            Some(Staged::Put(record)) => Some(record.item()),
            Some(Staged::Adopted(up)) => Some(Self::item(id, *up, false)),
            Some(Staged::Dropped) => None,
            None => {
                let row = self.rows.get(id).filter(|_| self.base != Base::Void);
                let up = |row: &Row| if self.base == Base::Kept { row.up } else { 0 };
                row.filter(|row| !row.deleted || up(row) > 0)
                    .map(|row| Self::item(id, up(row), row.deleted))
            }
        })
    }
    fn rekey(&mut self, key: &FpKey) -> Result<()> {
        self.up_key = Some(key.clone());
        self.rebuild_up();
        Ok(())
    }
    fn begin(&mut self, base: Base) -> Result<()> {
        self.base = base;
        self.stage = HashMap::new();
        Ok(())
    }
    fn stage(&mut self, record: Delivered) -> Result<()> {
        let id = record.global_id.clone();
        self.stage.insert(id, Staged::Put(record));
        Ok(())
    }
    fn mark_dropped(&mut self, id: &GlobalId) -> Result<()> {
        self.stage.insert(id.clone(), Staged::Dropped);
        Ok(())
    }
    fn adopt(&mut self, id: &GlobalId, generation: Generation) -> Result<()> {
        if let Some(Staged::Put(record)) = self.stage.get_mut(id) {
            record.generation = generation;
        } else {
            let adopted = Staged::Adopted(generation.0);
            self.stage.insert(id.clone(), adopted);
        }
        Ok(())
    }
    fn commit(&mut self, proof: &Proof) -> Result<()> {
        // What the summary becomes is known before anything is touched.
        let key = self.up_key.clone().expect("a walk tells the key");
        if self.forgets_a_staged_record {
            let one = self.stage.keys().next().cloned();
            one.map(|id| self.stage.remove(&id));
        }
        let mut up = Deltas::new(self.up_bits);
        let base = std::mem::replace(&mut self.base, Base::Kept);
        let gone: Vec<GlobalId> = match base {
            Base::Kept => Vec::new(),
            _ => self
                .rows
                .keys()
                .filter(|id| !self.stage.contains_key(*id))
                .cloned()
                .collect(),
        };
        let is_kept = base == Base::Kept;
        for id in self.stage.keys().filter(|_| is_kept) {
            if let Some(row) = self.rows.get(id).filter(|row| row.up > 0) {
                up.remove(row.up, key.numbered(&Self::item(id, row.up, row.deleted)));
            }
        }
        for (id, staged) in &self.stage {
            let item = match staged {
                Staged::Put(record) => record.item(),
                Staged::Adopted(generation) => Self::item(id, *generation, false),
                Staged::Dropped => continue,
            };
            up.add(item.generation.0, key.numbered(&item));
        }
        // Whatever does not build on the base is a new summary, so a damaged one does not outlive a full copy.
        let mut nodes = if is_kept {
            self.up_nodes.clone()
        } else {
            Rows::default()
        };
        up.fold_into(&mut nodes)?;
        if nodes.root() != proof.root {
            self.base = base;
            return Err(Error::Corrupt("the copy is not what was proven".to_owned()));
        }
        self.up_nodes = nodes;
        let mut here = Deltas::new(self.bits);
        let mut stage: Vec<(GlobalId, Staged)> = self.stage.drain().collect();
        stage.extend(gone.into_iter().map(|id| (id, Staged::Dropped)));
        // Local generations in the order of the primary's.
        stage.sort_by_key(|(id, staged)| match staged {
            Staged::Put(record) => (record.generation.0, id.clone()),
            _ => (0, id.clone()),
        });
        for (id, staged) in stage {
            self.merge(&mut here, &id, staged);
        }
        if std::mem::take(&mut self.unnumbered) {
            let live = self
                .rows
                .iter()
                .filter(|(_, row)| !row.deleted && row.up == 0);
            for id in live.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                self.change(&mut here, id, None, None);
            }
        }
        here.fold_into(&mut self.nodes)?;
        self.up_history = Some(proof.history);
        self.up_since = proof.generation.0;
        self.up_floor = proof.floor.0;
        self.proven = Some(proof.root);
        Ok(())
    }
}

impl Collection {
    /// Merges one staged record; equal content takes no generation.
    fn merge(&mut self, here: &mut Deltas, id: &GlobalId, staged: Staged) {
        if let Some(row) = self.rows.get_mut(id)
            && row.up > 0
        {
            self.by_up.remove(&(row.up, id.clone()));
            row.up = 0;
        }
        let before = self.rows.get(id);
        let is_live = before.is_some_and(|row| !row.deleted);
        let up = match staged {
            Staged::Put(record) => {
                let is_equal = match (&record.body, before) {
                    (Some(body), Some(row)) => is_live && row.body == *body,
                    (None, _) => !is_live && before.is_some(),
                    _ => false,
                };
                if !is_equal {
                    self.change(here, id.clone(), record.body, Some(record.revision));
                }
                record.generation.0
            }
            Staged::Adopted(up) => up,
            Staged::Dropped => {
                if is_live {
                    self.change(here, id.clone(), None, None);
                } else if before.is_some_and(|row| row.generation == 0) {
                    self.rows.remove(id);
                }
                return;
            }
        };
        self.by_up.insert((up, id.clone()));
        self.rows.get_mut(id).expect("it was just written").up = up;
    }
}
