//! `dataValueSets`: many values at once. `dataValues`: one.

use haversack_model::documents::{DocumentRead, DocumentWrite, document};
use haversack_model::{Right, Timestamp};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::completions::{self, Completion};
use super::{Ground, Strategy, Summary, Wanted, is_deleted, stored, words};
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::files;
use crate::face::instance::{Instance, Stored};
use crate::face::problem::{Problem, Result};
use crate::face::tracker::{rows, value};
use crate::wire::date;
use crate::wire::period::Period;

/// The collection.
pub(crate) const VALUES: &str = "dataValues";
/// Most characters of a value or a comment.
const MAX_LENGTH: usize = 50_000;

/// A value, as it is sent and told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DataValue {
    data_element: String,
    period: String,
    org_unit: String,
    category_option_combo: String,
    attribute_option_combo: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    stored_by: String,
    created: String,
    followup: bool,
    deleted: bool,
}

impl DataValue {
    /// The key of its document.
    fn key(&self) -> String {
        format!(
            "{}.{}.{}.{}.{}",
            self.data_element,
            self.period,
            self.org_unit,
            self.category_option_combo,
            self.attribute_option_combo
        )
    }
}

/// A body of many values, with what they have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    data_set: Option<String>,
    period: Option<String>,
    org_unit: Option<String>,
    attribute_option_combo: Option<String>,
    complete_date: Option<String>,
    data_values: Vec<Value>,
}

/// `GET` and `POST dataValueSets`.
pub(crate) fn sets(call: &Call) -> Result<Answer> {
    match call.method {
        Method::POST => import(call),
        _ => export(call),
    }
}

fn export(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let ground = Ground::load(call, &instance, tx.as_ref())?;
    let wanted = Wanted::of(call, &ground)?;
    let mut elements: std::collections::BTreeSet<String> = words(call, "dataElement").collect();
    for id in words(call, "dataSet") {
        let set = ground.readable(&id)?;
        elements.extend(
            set.elements
                .iter()
                .map(|member| member.data_element.id.clone()),
        );
    }
    if elements.is_empty() {
        return Err(Problem::Conflict(
            "name a dataSet or a dataElement".to_owned(),
        ));
    }
    elements.retain(|element| ground.reads_element(element));
    let with_deleted = call.flag("includeDeleted", false);
    let limit = call.number("limit", u64::MAX)?;
    let mut told = Vec::new();
    for element in elements {
        instance.each_with(tx.as_ref(), VALUES, &format!("{element}."), |found| {
            let is_asked_for = (with_deleted || !is_deleted(&found))
                && wanted.has(&ground, &found, found.text("orgUnit"));
            if is_asked_for && (told.len() as u64) < limit {
                told.push(tell(found));
            }
            Ok(())
        })?;
    }
    Ok(Answer::json(200, json!({"dataValues": told})))
}

fn tell(found: Stored) -> Value {
    let mut members = found.members;
    members.insert("lastUpdated".to_owned(), date::format(found.stamp).into());
    if members.get("deleted") == Some(&Value::Bool(false)) {
        members.remove("deleted");
    }
    Value::Object(members)
}

fn import(call: &Call) -> Result<Answer> {
    let body: Body = serde_json::from_value(Value::Object(call.object()?))
        .map_err(|error| Problem::bad(format!("the body is no data value set: {error}")))?;
    let is_dry = call.flag("dryRun", false);
    let summary = store_all(call, &body, Strategy::of(call)?, is_dry)?;
    Ok(summary.answer(is_dry))
}

/// Stores what can be stored, in one transaction.
fn store_all(call: &Call, body: &Body, strategy: Strategy, is_dry: bool) -> Result<Summary> {
    let instance = Instance::open(call, Right::Edit)?;
    let mut tx = instance.store().write_documents(call.host.now())?;
    let ground = Ground::load(call, &instance, tx.as_ref())?;
    if let Some(id) = &body.data_set {
        let set = ground.sets.get(id);
        let set = set.ok_or_else(|| Problem::Conflict(format!("there is no data set {id}")))?;
        if !set.access.writes_data(&ground.user) {
            return Err(Problem::Conflict(format!(
                "you may not enter data of data set {id}"
            )));
        }
    }
    let mut importing = Importing {
        instance: &instance,
        ground: &ground,
        who: &call.principal.name,
        strategy,
        now: rows::commit_time(tx.as_ref(), call.host.now())?,
        summary: Summary::default(),
    };
    for (at, given) in body.data_values.iter().enumerate() {
        match importing.read(tx.as_ref(), body, given)? {
            Ok(given) => importing.store(tx.as_mut(), &given)?,
            Err((object, code, why)) => importing.summary.refuse(at, (&object, code, why)),
        }
    }
    let mut summary = importing.summary;
    if let (Some(date), Some(set), true) = (
        &body.complete_date,
        &body.data_set,
        summary.conflicts.is_empty(),
    ) {
        let completed = Completion {
            data_set: set.clone(),
            period: body.period.clone().unwrap_or_default(),
            organisation_unit: body.org_unit.clone().unwrap_or_default(),
            attribute_option_combo: body.attribute_option_combo.clone().unwrap_or_default(),
            date: date.clone(),
            ..Completion::default()
        };
        // What was counted are values; a completion that is refused is told among the conflicts.
        let told = completions::store_all(call, &instance, tx.as_mut(), &ground, &[completed])?;
        summary.conflicts.extend(told.conflicts);
    }
    if !is_dry {
        tx.commit()?;
    }
    Ok(summary)
}

/// Why a value is not stored: its object, the code, the sentence.
type Refusal = (String, &'static str, String);

struct Importing<'a> {
    instance: &'a Instance,
    ground: &'a Ground,
    who: &'a str,
    strategy: Strategy,
    now: Timestamp,
    summary: Summary,
}

impl Importing<'_> {
    /// A value with what the request says of all of them; checked, but for whether it is there.
    fn read(
        &self,
        tx: &dyn DocumentRead,
        body: &Body,
        given: &Value,
    ) -> Result<std::result::Result<DataValue, Refusal>> {
        let one = match self.check(body, given) {
            Ok(one) => one,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let kind = self.ground.catalog.elements.get(&one.data_element);
        let kind = kind.map_or("", |element| element.value_type.as_str());
        if let (Some(value), false) = (&one.value, one.deleted)
            && files::wrong(self.instance, tx, (kind, value), None)?.is_some()
        {
            return Ok(refused(
                &one.data_element,
                "E7619",
                "value_not_valid_file_resource_uid",
            ));
        }
        Ok(Ok(one))
    }

    fn check(&self, body: &Body, given: &Value) -> std::result::Result<DataValue, Refusal> {
        let mut one = self.fill(body, given)?;
        let ground = self.ground;
        let element = ground.catalog.elements.get(&one.data_element);
        let sets = &ground.sets;
        let may_write = sets.allow(&one.data_element, |set| {
            set.access.writes_data(&ground.user)
        });
        let Some(element) = element.filter(|_| may_write) else {
            return refused(
                &one.data_element,
                "E7610",
                "there is no such data element that you may write",
            );
        };
        let Some(period) = Period::parse(&one.period) else {
            return refused(&one.period, "E7611", "it is no period");
        };
        if !ground.catalog.units.contains_key(&one.org_unit) {
            return refused(&one.org_unit, "E7612", "there is no such organisation unit");
        }
        for (id, code) in [
            (&one.category_option_combo, "E7613"),
            (&one.attribute_option_combo, "E7615"),
        ] {
            if !ground.has_combo(id) {
                return refused(id, code, "there is no such category option combo");
            }
        }
        if !ground.captures(&one.org_unit) {
            return refused(
                &one.org_unit,
                "E7617",
                "it is outside of where you enter data",
            );
        }
        if let Some(id) = &body.data_set
            && ground
                .sets
                .get(id)
                .is_some_and(|set| !set.has(&one.data_element))
        {
            return refused(
                &one.data_element,
                "E7633",
                &format!("it is not in data set {id}"),
            );
        }
        one.deleted |= self.strategy == Strategy::Delete;
        if one.deleted {
            return Ok(one);
        }
        if one.value.is_none() && one.comment.is_none() {
            return refused(
                &one.data_element,
                "E7618",
                "neither a value nor a comment is given",
            );
        }
        let is_long = |text: &Option<String>| {
            text.as_ref()
                .is_some_and(|text| text.chars().count() > MAX_LENGTH)
        };
        if is_long(&one.comment) {
            return refused(&one.data_element, "E7620", "the comment is too long");
        }
        if let Some(given) = &one.value {
            let misfit = value::misfit(&element.value_type, given);
            if let Some(misfit) = misfit
                .or_else(|| is_long(&one.value).then_some("value_length_greater_than_max_length"))
            {
                return refused(&one.data_element, "E7619", misfit);
            }
            let options = element
                .option_set
                .as_ref()
                .and_then(|set| ground.catalog.options.get(&set.id));
            if options.is_some_and(|options| !options.contains(given)) {
                return refused(
                    &one.data_element,
                    "E7621",
                    &format!("{given:?} is no option of it"),
                );
            }
        }
        if !sets.allow(&one.data_element, |set| set.is_open(period, ground.today)) {
            return refused(
                &one.period,
                "E7641",
                "it lies further ahead than its data set allows",
            );
        }
        Ok(one)
    }

    fn fill(&self, body: &Body, given: &Value) -> std::result::Result<DataValue, Refusal> {
        let mut members = given.as_object().cloned().unwrap_or_default();
        // Numbers and truth values are sent bare by some clients; an empty text is no value.
        if let Some(bare) = members
            .get_mut("value")
            .filter(|bare| bare.is_number() || bare.is_boolean())
        {
            *bare = bare.to_string().into();
        }
        let mut one: DataValue =
            serde_json::from_value(Value::Object(members)).map_err(|error| {
                (
                    "dataValue".to_owned(),
                    "",
                    format!("it is no data value: {error}"),
                )
            })?;
        let inherit = |own: &mut String, all: &Option<String>| {
            if let (true, Some(all)) = (own.is_empty(), all) {
                own.clone_from(all);
            }
        };
        inherit(&mut one.period, &body.period);
        inherit(&mut one.org_unit, &body.org_unit);
        inherit(
            &mut one.attribute_option_combo,
            &body.attribute_option_combo,
        );
        for combo in [
            &mut one.category_option_combo,
            &mut one.attribute_option_combo,
        ] {
            if combo.is_empty() {
                combo.clone_from(&self.ground.sets.default_combo);
            }
        }
        one.value = one.value.filter(|text| !text.is_empty());
        one.comment = one.comment.filter(|text| !text.is_empty());
        Ok(one)
    }

    fn store(&mut self, tx: &mut dyn DocumentWrite, given: &DataValue) -> Result<()> {
        let id = given.key();
        let known = stored(self.instance, tx, VALUES, &id)?;
        let lives = known.as_ref().is_some_and(|known| !is_deleted(known));
        let may = match self.strategy {
            Strategy::Create => !lives,
            Strategy::Update => lives,
            Strategy::CreateAndUpdate | Strategy::Delete => true,
        };
        if !may || (given.deleted && !lives) {
            self.summary.ignored += 1;
            return Ok(());
        }
        let of_known = |name: &str| known.as_ref().map(|known| known.text(name).to_owned());
        let mut now = given.clone();
        let created = of_known("created").filter(|_| lives);
        now.created = created.unwrap_or_else(|| date::format(self.now));
        self.who.clone_into(&mut now.stored_by);
        if given.deleted {
            now.value = of_known("value").filter(|text| !text.is_empty());
            now.comment = None;
        }
        let same = known.as_ref().is_some_and(|known| {
            let members = Value::Object(known.members.clone());
            let known: Option<DataValue> = serde_json::from_value(members).ok();
            known.is_some_and(|known| {
                let stored_by = known.stored_by.clone();
                known
                    == DataValue {
                        stored_by,
                        ..now.clone()
                    }
            })
        });
        match (same, given.deleted, lives) {
            (true, ..) => self.summary.ignored += 1,
            (_, true, _) => self.summary.deleted += 1,
            (_, _, true) => self.summary.updated += 1,
            (_, _, false) => self.summary.imported += 1,
        }
        if !same {
            let body = serde_json::to_string(&now)
                .map_err(|error| Problem::Internal(error.to_string()))?;
            tx.put(
                self.instance.collection(VALUES)?,
                &document(&id, body),
                None,
            )?;
        }
        Ok(())
    }
}

fn refused<T>(object: &str, code: &'static str, why: &str) -> std::result::Result<T, Refusal> {
    Err((object.to_owned(), code, format!("{object}: {why}")))
}

/// The value that `de`, `pe`, `ou`, `co` and `ao` name, or that the body holds.
fn named(call: &Call) -> Result<Map<String, Value>> {
    let is_sent = call.method == Method::POST && !call.body.trim_ascii().is_empty();
    let mut given = if is_sent { call.object()? } else { Map::new() };
    // What it is stored as is for this server to say.
    given.retain(|name, _| !matches!(name.as_str(), "created" | "storedBy" | "deleted"));
    for (short, name) in [
        ("de", "dataElement"),
        ("pe", "period"),
        ("ou", "orgUnit"),
        ("co", "categoryOptionCombo"),
        ("ao", "attributeOptionCombo"),
        ("value", "value"),
        ("comment", "comment"),
    ] {
        if let Some(text) = call.param(short) {
            given.insert(name.to_owned(), text.into());
        }
    }
    for needed in ["dataElement", "period", "orgUnit"] {
        if !given.contains_key(needed) {
            return Err(Problem::Conflict(format!("{needed} is not named")));
        }
    }
    Ok(given)
}

/// `GET`, `POST` and `DELETE dataValues`: one value.
pub(crate) fn one(call: &Call) -> Result<Answer> {
    let mut given = named(call)?;
    if call.method == Method::GET || call.method == Method::HEAD {
        let text = find(call)?;
        let text = text.ok_or_else(|| Problem::Conflict("Data value does not exist".to_owned()))?;
        // A list of the one value, as the dialect tells it.
        return Ok(Answer::json(200, json!([text])));
    }
    if call.method == Method::DELETE {
        given.insert("deleted".to_owned(), Value::Bool(true));
    } else if call.method != Method::POST {
        return Err(Problem::Method);
    }
    let body = Body {
        data_values: vec![Value::Object(given)],
        ..Body::default()
    };
    let summary = store_all(call, &body, Strategy::CreateAndUpdate, false)?;
    if !summary.conflicts.is_empty() {
        return Ok(summary.answer(false));
    }
    let status = if summary.imported > 0 { 201 } else { 200 };
    Ok(Answer::message(status, "The value is stored", &Value::Null))
}

/// The value that a request names, if whoever asks may see it.
pub(crate) fn find(call: &Call) -> Result<Option<String>> {
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let ground = Ground::load(call, &instance, tx.as_ref())?;
    let mut asked: DataValue = serde_json::from_value(Value::Object(named(call)?))
        .map_err(|error| Problem::bad(error.to_string()))?;
    for combo in [
        &mut asked.category_option_combo,
        &mut asked.attribute_option_combo,
    ] {
        if combo.is_empty() {
            combo.clone_from(&ground.sets.default_combo);
        }
    }
    let is_seen = ground.captures(&asked.org_unit) && ground.reads_element(&asked.data_element);
    let found = stored(&instance, tx.as_ref(), VALUES, &asked.key())?;
    let found = found.filter(|found| is_seen && !is_deleted(found));
    Ok(found.map(|found| found.text("value").to_owned()))
}
