//! Between aggregate data of the wire and records of a copy.
//!
//! The server knows data values and completions by what they are about, and gives them no uids. In a copy a record's uid follows
//! from that, so the same value has the same uid in every copy and after every download.

use haversack_model::Record;
use serde_json::{Value as Json, json};
use sha2::Digest as _;

use super::{Role, Table};
use crate::wire::uid;

/// The combination of what has no categories, on servers that do not tell it.
const USUAL_COMBO: &str = "HllvX50cXC0";

/// What a data value or a completion is about: an element or a data set, a period, a unit and combinations of category options.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AggregateKey(pub Vec<String>);

impl AggregateKey {
    /// The uid that its record has in a copy.
    pub fn uid(&self) -> String {
        let digest = sha2::Sha256::digest(self.0.join(".").as_bytes());
        let bits = digest
            .iter()
            .take(16)
            .fold(0, |bits: u128, byte| bits << 8 | u128::from(*byte));
        uid::from_random(bits)
    }
    /// The part that is missing, by the name of its column.
    pub fn missing(&self, table: &Table) -> Option<&'static str> {
        let all = self.0.iter().zip(columns(&table.role));
        let mut empty = all.filter(|(part, _)| part.is_empty());
        empty.next().map(|(_, column)| *column)
    }
}

fn columns(role: &Role) -> &'static [&'static str] {
    match role {
        Role::DataValues => &[
            "data_element",
            "period",
            "org_unit",
            "category_option_combo",
            "attribute_option_combo",
        ],
        Role::Completions => &["data_set", "period", "org_unit", "attribute_option_combo"],
        _ => &[],
    }
}

impl Table {
    /// What a record of aggregate data is about; `combo` stands for combinations that it does not name.
    pub fn aggregate_key(&self, record: &Record, combo: Option<&str>) -> AggregateKey {
        let parts = columns(&self.role).iter().map(|column| {
            let text = self.text(record, column);
            if text.is_empty() && column.ends_with("_combo") {
                combo.unwrap_or(USUAL_COMBO).to_owned()
            } else {
                text
            }
        });
        AggregateKey(parts.collect())
    }
    /// A record under the uid of what it is about, with the combinations that it did not name.
    pub fn under_key(&self, record: &Record, key: &AggregateKey) -> Record {
        let mut record = Record {
            global_id: haversack_model::GlobalId::Text(key.uid().into()),
            object_id: None,
            ..record.clone()
        };
        for (column, part) in columns(&self.role).iter().zip(&key.0) {
            self.put(&mut record, column, part);
        }
        record
    }

    /// The record of a data value, as a server tells it in a data set.
    pub fn of_data_value(&self, told: &Json, data_set: &str) -> Record {
        let mut record = self.empty("");
        for (column, member) in [
            ("data_element", "dataElement"),
            ("period", "period"),
            ("org_unit", "orgUnit"),
            ("category_option_combo", "categoryOptionCombo"),
            ("attribute_option_combo", "attributeOptionCombo"),
            ("value", "value"),
            ("comment", "comment"),
            ("stored_by", "storedBy"),
            ("created_at", "created"),
            ("updated_at", "lastUpdated"),
        ] {
            self.put(&mut record, column, text(told, member));
        }
        self.put(&mut record, "data_set", data_set);
        let follow_up = ["followup", "followUp"]
            .iter()
            .any(|name| told[*name] == true);
        self.put_flag(&mut record, "follow_up", follow_up);
        self.under_key(&record, &self.aggregate_key(&record, None))
    }
    /// The record of a completion.
    pub fn of_completion(&self, told: &Json) -> Record {
        let mut record = self.empty("");
        for (column, member) in [
            ("data_set", "dataSet"),
            ("period", "period"),
            ("org_unit", "organisationUnit"),
            ("attribute_option_combo", "attributeOptionCombo"),
            ("date", "date"),
            ("stored_by", "storedBy"),
            ("updated_at", "lastUpdated"),
        ] {
            self.put(&mut record, column, text(told, member));
        }
        self.under_key(&record, &self.aggregate_key(&record, None))
    }

    /// A data value as the server takes it. One without value and comment is a deletion.
    pub fn data_value(&self, record: &Record, is_delete: bool) -> Json {
        let mut told = json!({
            "dataElement": self.text(record, "data_element"),
            "period": self.text(record, "period"),
            "orgUnit": self.text(record, "org_unit"),
            "followup": self.flag(record, "follow_up"),
        });
        for (column, member) in [
            ("category_option_combo", "categoryOptionCombo"),
            ("attribute_option_combo", "attributeOptionCombo"),
            ("value", "value"),
            ("comment", "comment"),
        ] {
            let text = self.text(record, column);
            if !text.is_empty() {
                told[member] = text.into();
            }
        }
        let is_empty = told.get("value").is_none() && told.get("comment").is_none();
        if is_delete || is_empty {
            told["deleted"] = true.into();
        }
        told
    }
    /// A completion as the server takes it; one that is taken back is not completed.
    pub fn completion(&self, record: &Record, is_delete: bool) -> Json {
        let mut told = json!({
            "dataSet": self.text(record, "data_set"),
            "period": self.text(record, "period"),
            "organisationUnit": self.text(record, "org_unit"),
            "completed": !is_delete,
        });
        for (column, member) in [
            ("attribute_option_combo", "attributeOptionCombo"),
            ("date", "date"),
            ("stored_by", "storedBy"),
        ] {
            let text = self.text(record, column);
            if !text.is_empty() {
                told[member] = text.into();
            }
        }
        told
    }
}

fn text<'a>(of: &'a Json, member: &str) -> &'a str {
    of.get(member).and_then(Json::as_str).unwrap_or_default()
}
