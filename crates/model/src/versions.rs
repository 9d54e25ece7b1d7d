//! Sets of versions, small where they come from batches.

use serde::{Deserialize, Serialize};

use crate::{Generation, Revision, RowVersion};

/// A set of versions of a service's records. In a batch generation and revision grow together, so it is kept as runs of
/// both; a generation alone would name another version after the service was restored to a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Run>")]
pub struct Versions(Vec<Run>);

/// So many versions from this one on, in which both counters grow by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    generation: u64,
    revision: u64,
    count: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.generation.saturating_add(self.count)
    }
}

impl From<Vec<Run>> for Versions {
    fn from(mut runs: Vec<Run>) -> Self {
        runs.sort_by_key(|run| run.generation);
        Self(runs)
    }
}

impl Versions {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
    /// Adds a version; another one of its generation gives way.
    pub fn insert(&mut self, version: RowVersion) {
        let (generation, revision) = (version.generation.0, version.revision.0);
        if self.contains(version) {
            return;
        }
        self.split(generation);
        let at = self.0.partition_point(|run| run.generation < generation);
        if let Some(before) = at.checked_sub(1).and_then(|at| self.0.get_mut(at))
            && before.end() == generation
            && before.revision.checked_add(before.count) == Some(revision)
        {
            before.count += 1;
            return;
        }
        let run = Run {
            generation,
            revision,
            count: 1,
        };
        self.0.insert(at, run);
    }
    /// Takes a generation out of the run that it is in.
    fn split(&mut self, generation: u64) {
        let at = self.0.partition_point(|run| run.generation <= generation);
        let Some(at) = at.checked_sub(1) else { return };
        let run = self.0[at];
        if run.end() <= generation {
            return;
        }
        let before = generation - run.generation;
        let parts = [
            Run {
                count: before,
                ..run
            },
            Run {
                generation: generation + 1,
                revision: run.revision.saturating_add(before + 1),
                count: run.count - before - 1,
            },
        ];
        self.0
            .splice(at..=at, parts.into_iter().filter(|part| part.count > 0));
    }
    /// Whether a version is in it.
    pub fn contains(&self, version: RowVersion) -> bool {
        let generation = version.generation.0;
        let at = self.0.partition_point(|run| run.generation <= generation);
        let Some(run) = at.checked_sub(1).and_then(|at| self.0.get(at)) else {
            return false;
        };
        let offset = generation - run.generation;
        offset < run.count && run.revision.checked_add(offset) == Some(version.revision.0)
    }
    /// Forgets what is at or below a generation.
    pub fn drop_upto(&mut self, generation: Generation) {
        self.0.retain_mut(|run| {
            let gone = (generation.0.saturating_add(1)).saturating_sub(run.generation);
            let gone = gone.min(run.count);
            run.generation += gone;
            run.revision = run.revision.saturating_add(gone);
            run.count -= gone;
            run.count > 0
        });
    }
    /// The versions at or below a generation, oldest first. Only for sets that this program made: a run of another's
    /// may be as long as it likes.
    pub fn upto(&self, generation: Generation) -> impl Iterator<Item = RowVersion> {
        let all = self.0.iter().flat_map(|run| {
            (0..run.count).map(|offset| RowVersion {
                generation: Generation(run.generation + offset),
                revision: Revision(run.revision + offset),
            })
        });
        all.take_while(move |version| version.generation <= generation)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn version(generation: u64, revision: u64) -> RowVersion {
        RowVersion {
            generation: Generation(generation),
            revision: Revision(revision),
        }
    }

    #[test]
    fn the_versions_of_a_batch_are_one_run() {
        let mut set = Versions::default();
        for n in 0..2000 {
            set.insert(version(10 + n, 500 + n));
        }
        assert_eq!(set.0.len(), 1);
        assert!(set.contains(version(2009, 2499)) && !set.contains(version(2010, 2500)));
        assert!(!set.contains(version(11, 500)), "of another revision");
    }

    #[test]
    fn a_set_from_elsewhere_may_hold_anything() {
        let text = r#"[{"generation":9,"revision":9,"count":18446744073709551615},{"generation":1,"revision":18446744073709551615,"count":5}]"#;
        let mut set: Versions = serde_json::from_str(text).unwrap();
        assert!(set.contains(version(12, 12)) && !set.contains(version(2, 0)));
        set.drop_upto(Generation(20));
        assert!(!set.contains(version(12, 12)) && set.contains(version(21, 21)));
        set.insert(version(30, 1));
        assert!(set.contains(version(30, 1)) && set.contains(version(31, 31)));
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_generations(
            steps in prop::collection::vec((0..12_u64, 0..14_u64, any::<bool>()), 0..40),
        ) {
            let (mut set, mut map) = (Versions::default(), BTreeMap::new());
            for (generation, revision, drops) in steps {
                if drops && revision < 2 {
                    set.drop_upto(Generation(generation));
                    map.retain(|at, _| *at > generation);
                } else {
                    set.insert(version(generation, revision));
                    map.insert(generation, revision);
                }
                let wanted: Vec<_> = map.iter().map(|(g, r)| version(*g, *r)).collect();
                prop_assert_eq!(set.upto(Generation(99)).collect::<Vec<_>>(), wanted);
                for (g, r) in (0..12).flat_map(|g| (0..14).map(move |r| (g, r))) {
                    prop_assert_eq!(set.contains(version(g, r)), map.get(&g) == Some(&r));
                }
                let text = serde_json::to_string(&set).unwrap();
                prop_assert_eq!(serde_json::from_str::<Versions>(&text).unwrap(), set.clone());
            }
        }
    }
}
