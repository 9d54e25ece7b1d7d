//! One case from its seed to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use haversack_model::HistoryId;

use crate::chance::Chance;
use crate::ground;
use crate::memory::MemoryStore;
use crate::memory::bug::Bug;
use crate::oracle::Check;
use crate::server::SimStore;
use crate::sometimes::Sometimes;
use crate::stores::SqliteFile;
use crate::trace::Trace;
use crate::world::World;

/// What the server keeps its service in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Memory,
    Sqlite,
}

/// A case to run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub seed: u64,
    pub bug: Option<Bug>,
    pub on: On,
    pub print: bool,
}

/// What became of a case.
#[derive(Debug)]
pub struct Done {
    pub failure: Option<String>,
    pub seen: Sometimes,
    pub hash: u64,
    pub events: u64,
}

impl Case {
    pub fn run(self) -> Done {
        let mut chance = Chance::new(self.seed);
        let service = ground::service(chance.percent(50));
        let history = HistoryId(chance.uuid());
        match self.on {
            On::Memory => self.run_on(&MemoryStore::new(service, history, self.bug), chance),
            On::Sqlite => self.run_on(&SqliteFile::new(&service, history), chance),
        }
    }

    fn run_on(self, store: &dyn SimStore, chance: Chance) -> Done {
        let mut world = World::new(store, chance, self.bug, Trace::new(self.print));
        let outcome = catch_unwind(AssertUnwindSafe(|| drive(&mut world)));
        let failure = match outcome {
            Ok(checked) => checked.err(),
            Err(panic) => Some(match panic.downcast_ref::<String>() {
                Some(text) => format!("panic: {text}"),
                None => "panic".to_owned(),
            }),
        };
        Done {
            failure,
            seen: std::mem::take(&mut world.seen),
            hash: world.trace.hash(),
            events: world.trace.count(),
        }
    }
}

fn drive(world: &mut World<'_>) -> Check {
    world.populate()?;
    for _ in 0..80 + world.chance.below(160) {
        world.act()?;
    }
    world.come_to_rest()
}
