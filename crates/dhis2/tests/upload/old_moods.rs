//! The old importer in every mood: families and their summaries.

use serde_json::{Value, json};

use crate::states::State;

impl State {
    /// Takes families; gives the import summaries.
    pub(crate) fn old(&mut self, path: &str, body: &Value) -> Value {
        let mut all = Vec::new();
        for object in body[path].as_array().unwrap() {
            all.extend(self.family(object));
        }
        let is_refused = all.iter().any(|one| one["status"] == "ERROR");
        json!({"httpStatus": "whatever", "status": if is_refused { "ERROR" } else { "OK" },
            "response": {"responseType": "ImportSummaries", "importSummaries": all}})
    }

    /// The summary of an object with those of what is in it; none where it is left out.
    fn family(&mut self, object: &Value) -> Option<Value> {
        let is_enrollment = object["enrollment"].is_string();
        let member = if is_enrollment {
            "enrollment"
        } else {
            "trackedEntityInstance"
        };
        let uid = object[member].as_str().unwrap();
        let parent = object["trackedEntityInstance"].as_str().unwrap_or_default();
        let mut told = json!({"responseType": "ImportSummary", "status": "SUCCESS", "reference": uid, "conflicts": []});
        let is_delete = object["deleted"] == true;
        let is_orphan = is_enrollment && !is_delete && !self.rows.contains_key(parent);
        let before = self.rows.clone();
        let fate = self.fate();
        if is_orphan {
            refuse(&mut told, "Tracked entity instance is not there");
            return Some(told);
        }
        if is_delete {
            if self.rows.remove(uid).is_none() && !is_enrollment {
                // Of what it does not know it says no uid.
                let words = format!(
                    "Tracked entity instance {uid} cannot be deleted as it is not present in the system"
                );
                return Some(
                    json!({"responseType": "ImportSummary", "status": "ERROR", "description": words}),
                );
            }
        } else {
            self.store(object, uid);
        }
        match fate {
            // What it took before it takes again.
            1 if before != self.rows => {
                self.rows = before;
                refuse(&mut told, "so it is");
                return Some(told);
            }
            // It takes it without what it warns of.
            2 if !is_delete => {
                let left_out = if is_enrollment {
                    "status"
                } else {
                    "hvAttrAge01"
                };
                let row = self.rows.get_mut(uid).unwrap();
                if row.remove(left_out).is_some() {
                    let words = json!({"object": left_out, "value": "value_not_numeric"});
                    told["status"] = "WARNING".into();
                    told["conflicts"] = json!([words]);
                }
            }
            4 => {
                self.rows = before;
                return None;
            }
            _ => {}
        }
        let mut below = Vec::new();
        for child in object["enrollments"].as_array().into_iter().flatten() {
            let mut child = child.clone();
            child["trackedEntityInstance"] = uid.into();
            below.extend(self.family(&child));
        }
        told["enrollments"] = json!({"responseType": "ImportSummaries", "importSummaries": below});
        // It was done, and is not told.
        (self.fate() != 3).then_some(told)
    }
}

fn refuse(told: &mut Value, words: &str) {
    told["status"] = "ERROR".into();
    told["conflicts"] = json!([{"object": "Attribute.value", "value": words}]);
}
