//! What is refused because another unit owns it: the glass is broken where that is allowed, and just that is sent again.
//!
//! Source: `spec/dhis2.md` 5.4: an enrollment that gets E1102 or an event that gets E1000 from the new importer, or an enrollment that
//! the old one leaves out, in a protected program at a unit outside the user's capture scope.

use std::collections::BTreeMap;

use serde_json::Value;
use tracing::warn;

use super::Courier;
use super::collect::Item;
use super::outcome::{Fate, Told};
use crate::wire::tracker::Kind;
use crate::wire::version::{Api, Version};

/// Why the glass is broken, before the user's own reason.
const REASON: &str = "Haversack sync";

/// What was learned about programs and units during one upload.
#[derive(Debug, Default)]
pub(super) struct Glass {
    protected: BTreeMap<String, bool>,
    scope: Option<Vec<String>>,
    inside: BTreeMap<String, bool>,
    broken: BTreeMap<(String, String), bool>,
}

impl Glass {
    /// Whether it may be sent again now. Questions that fail count as no: the refusal stands.
    pub(super) fn opens(
        &mut self,
        courier: &dyn Courier,
        version: Version,
        item: &Item,
        first_reason: Option<&str>,
    ) -> bool {
        let text = |name: &str| item.object.get(name).and_then(Value::as_str);
        let (Some(program), Some(unit)) = (text("program"), text("orgUnit")) else {
            return false;
        };
        let Some((_, entity)) = item
            .sent
            .parents
            .iter()
            .find(|of| of.0 == Kind::TrackedEntity)
        else {
            return false;
        };
        if !self.is_protected(courier, program) || self.is_inside(courier, unit) {
            return false;
        }
        let key = (entity.clone(), program.to_owned());
        if let Some(known) = self.broken.get(&key) {
            return *known;
        }
        let reason = match first_reason {
            Some(first) => format!("{REASON}: {first}"),
            None => REASON.to_owned(),
        };
        let params = [
            (version.glass_parameter(), entity.as_str()),
            ("program", program),
            ("reason", &reason),
        ];
        let is_broken = match courier.post("tracker/ownership/override", &params, None) {
            Ok(answer) => answer.status < 300,
            Err(error) => {
                warn!(entity, program, %error, "the glass could not be broken");
                false
            }
        };
        self.broken.insert(key, is_broken);
        is_broken
    }

    fn is_protected(&mut self, courier: &dyn Courier, program: &str) -> bool {
        if let Some(known) = self.protected.get(program) {
            return *known;
        }
        let told = courier.ask(&format!("programs/{program}"), &[("fields", "accessLevel")]);
        let level = told.ok();
        let level = level.as_ref().and_then(|told| told.get("accessLevel"));
        let is_protected = level.and_then(Value::as_str) == Some("PROTECTED");
        self.protected.insert(program.to_owned(), is_protected);
        is_protected
    }

    /// Whether a unit is one in which the user enters data. What cannot be told counts as inside: the glass stays whole.
    fn is_inside(&mut self, courier: &dyn Courier, unit: &str) -> bool {
        if let Some(known) = self.inside.get(unit) {
            return *known;
        }
        if self.scope.is_none() {
            let told = courier.ask("me", &[("fields", "organisationUnits[id]")]);
            let roots = told.ok().and_then(|told| {
                let roots = told.get("organisationUnits")?.as_array()?.clone();
                let ids = roots.iter().filter_map(|unit| unit.get("id")?.as_str());
                Some(ids.map(str::to_owned).collect())
            });
            self.scope = roots;
        }
        let path = courier.ask(&format!("organisationUnits/{unit}"), &[("fields", "path")]);
        let path = path.ok().and_then(|told| {
            let path = told.get("path")?.as_str()?;
            Some(path.to_owned())
        });
        let is_inside = match (&self.scope, path) {
            (Some(roots), Some(path)) => path
                .split('/')
                .any(|step| roots.iter().any(|root| root == step)),
            _ => true,
        };
        self.inside.insert(unit.to_owned(), is_inside);
        is_inside
    }
}

/// Whether broken glass could change what became of an object.
pub(super) fn may_help(api: Api, item: &Item, told: &Told) -> bool {
    let has = |code: &str| told.conflicts.iter().any(|conflict| conflict.code == code);
    match (api, item.sent.kind) {
        (Api::New, Some(Kind::Enrollment)) => has("E1102"),
        (Api::New, Some(Kind::Event)) => has("E1000") || has("E1102"),
        (Api::Old, Some(Kind::Enrollment)) => matches!(told.fate, Fate::Waits(_)),
        _ => false,
    }
}
