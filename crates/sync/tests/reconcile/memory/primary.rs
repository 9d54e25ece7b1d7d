//! The collection as others read it.

use haversack_model::store::Flow;
use haversack_model::{Generation, HistoryId, Result, Revision};
use haversack_sync::reconcile::{Delivered, Item, PrimaryState, Snapshot, Span, Sum};

use super::{Collection, content};

impl Snapshot for Collection {
    fn state(&self) -> Result<PrimaryState> {
        Ok(PrimaryState {
            history: self.history,
            generation: Generation(self.generation),
            floor: Generation(self.floor),
            key: self.key.clone(),
            bits: self.bits,
            root: self.nodes.root(),
        })
    }
    fn common_with(&self, history: HistoryId) -> Result<Option<Generation>> {
        Ok(self.common.get(&history).map(|upto| Generation(*upto)))
    }
    fn nodes(
        &self,
        level: u8,
        from: u64,
        upto: u64,
        visit: &mut dyn FnMut(u64, Sum) -> Result<()>,
    ) -> Result<()> {
        self.nodes.read(level, from, upto, visit)
    }
    fn items(&self, spans: &[Span], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        for span in spans {
            for (generation, id) in self.by_generation.range(span.from..=span.upto) {
                visit(Self::item(id, *generation, self.rows[id].deleted))?;
            }
        }
        Ok(())
    }
    fn records(
        &self,
        spans: &[Span],
        visit: &mut dyn FnMut(Delivered) -> Result<Flow>,
    ) -> Result<()> {
        for span in spans {
            for (generation, id) in self.by_generation.range(span.from..=span.upto) {
                let row = &self.rows[id];
                let record = Delivered {
                    global_id: id.clone(),
                    generation: Generation(*generation),
                    revision: Revision(row.revision),
                    body: (!row.deleted).then(|| row.body.clone()),
                };
                if visit(record)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
    fn contents(&self, visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        for (id, row) in self.rows.iter().filter(|(_, row)| !row.deleted) {
            visit(Item {
                content: content(&row.body),
                ..Self::item(id, row.generation, false)
            })?;
        }
        Ok(())
    }
}
