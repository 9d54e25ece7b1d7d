//! What somebody may see and write: by organisation units and by the access level of programs.
//!
//! Every read goes through here. Source: `spec/dhis2.md` 5.4; `GUARANTEES.md` G15.

use super::catalog::{Catalog, Program};
use crate::face::system::User;
use crate::wire::tracker::{Event, TrackedEntity};

/// Somebody before the catalog.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) user: &'a User,
    pub(crate) catalog: &'a Catalog,
}

/// Whether a path is at or below another one.
pub(crate) fn is_below(path: &str, root: &str) -> bool {
    let rest = path.strip_prefix(root);
    !root.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Scope<'_> {
    fn is_within(&self, unit: &str, roots: &[String]) -> bool {
        if self.user.has_all() {
            return true;
        }
        let unit = self.catalog.units.get(unit);
        unit.is_some_and(|unit| roots.iter().any(|root| is_below(&unit.path, root)))
    }
    /// Whether data of a unit may be entered.
    pub(crate) fn captures(&self, unit: &str) -> bool {
        self.is_within(unit, &self.user.capture)
    }
    /// Whether a unit may be searched; whoever enters data there may.
    pub(crate) fn searches(&self, unit: &str) -> bool {
        self.captures(unit) || self.is_within(unit, &self.user.search)
    }
    /// Whether data that a unit owns in a program may be seen.
    pub(crate) fn sees_owned(&self, program: &Program, owner: &str) -> bool {
        let in_scope = if program.is_open() {
            self.searches(owner)
        } else {
            self.captures(owner)
        };
        program.access.reads_data(self.user) && in_scope
    }
    fn reads_type(&self, of: &str) -> bool {
        let of = self.catalog.types.get(of);
        of.is_some_and(|of| of.access.reads_data(self.user))
    }
    /// Whether data of a program may be seen; of one that is gone nothing is said.
    pub(crate) fn reads_program(&self, id: &str) -> bool {
        let program = self.catalog.programs.get(id);
        program.is_none_or(|program| program.access.reads_data(self.user))
    }
    /// Whether events of a stage may be seen. Those of a program without registration are its own alone.
    pub(crate) fn reads_stage(&self, program: &Program, stage: &str) -> bool {
        let stage = self.catalog.stages.get(stage);
        !program.has_registration() || stage.is_none_or(|stage| stage.access.reads_data(self.user))
    }
    /// Whether relationships of a type may be seen.
    pub(crate) fn reads_ties(&self, of: &str) -> bool {
        let of = self.catalog.relationship_types.get(of);
        of.is_none_or(|of| of.access.reads_data(self.user))
    }
    /// Whether a tracked entity may be seen in a program: by the unit that owns it there, or through broken glass. One that was never in it is not.
    pub(crate) fn sees_in(&self, entity: &TrackedEntity, program: &str) -> bool {
        let owner = entity
            .program_owners
            .iter()
            .find(|owner| owner.program == program);
        let (Some(owner), Some(known)) = (owner, self.catalog.programs.get(program)) else {
            return false;
        };
        if !self.reads_type(&entity.tracked_entity_type) {
            return false;
        }
        let is_broken = known.access_level == "PROTECTED"
            && self.user.has_broken(&entity.tracked_entity, program);
        self.sees_owned(known, &owner.org_unit)
            || (is_broken && known.access.reads_data(self.user) && self.searches(&owner.org_unit))
    }
    /// Whether a tracked entity may be seen at all: by where it was registered, or in one of its programs.
    pub(crate) fn sees(&self, entity: &TrackedEntity) -> bool {
        let mut owners = entity.program_owners.iter();
        self.reads_type(&entity.tracked_entity_type)
            && (self.searches(&entity.org_unit)
                || owners.any(|owner| self.sees_in(entity, &owner.program)))
    }
    /// Whether an event may be seen; `entity` is the one of its enrollment.
    pub(crate) fn sees_event(&self, event: &Event, entity: Option<&TrackedEntity>) -> bool {
        let Some(program) = self.catalog.programs.get(&event.program) else {
            return false;
        };
        if program.has_registration() {
            return self.reads_stage(program, &event.program_stage)
                && entity.is_some_and(|entity| self.sees_in(entity, &event.program));
        }
        self.sees_owned(program, &event.org_unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_another_by_whole_names() {
        assert!(is_below("/a/b", "/a") && is_below("/a", "/a"));
        assert!(!is_below("/ab", "/a") && !is_below("/a", "/a/b") && !is_below("/a", ""));
    }
}
