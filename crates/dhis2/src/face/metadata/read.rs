//! Reads of metadata.

use haversack_model::Right;
use haversack_model::documents::DocumentRead;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::filter::{self, Filter};
use super::{TYPES, type_of_member};
use crate::face::answer::Answer;
use crate::face::call::Call;
use crate::face::instance::{Instance, Stored};
use crate::face::problem::{Problem, Result};
use crate::face::sharing::Access;
use crate::face::system::{User, user_name};
use crate::wire::date;

/// Objects on a page if the client does not say.
const PAGE_SIZE: u64 = 50;

/// A snapshot to read from.
struct Reader<'a> {
    instance: &'a Instance,
    tx: &'a dyn DocumentRead,
    /// Who asks.
    user: User,
    /// The user name of whoever asks, if that is the only user to see.
    only_user: Option<&'a str>,
}

/// What is shown only where something else is: the type, the member that names it, its type.
const PARTS: &[(&str, &str, &str)] = &[
    ("programIndicators", "program", "programs"),
    ("programRuleActions", "programRule", "programRules"),
    ("programRuleVariables", "program", "programs"),
    ("programRules", "program", "programs"),
    ("programSections", "program", "programs"),
    ("programStageSections", "programStage", "programStages"),
    ("programStages", "program", "programs"),
];

/// Whether an object may be seen, by its sharing and that of what it is a part of.
pub(crate) fn shows(
    instance: &Instance,
    tx: &dyn DocumentRead,
    user: &User,
    collection: &str,
    stored: &Stored,
) -> Result<bool> {
    if user.has_all() {
        return Ok(true);
    }
    if !Access::of(&stored.members).shows(user) {
        return Ok(false);
    }
    let part = PARTS.iter().find(|(of, ..)| *of == collection);
    let Some((_, member, of)) = part else {
        return Ok(true);
    };
    let whole = stored
        .members
        .get(*member)
        .and_then(|whole| whole.get("id"));
    let Some(whole) = whole.and_then(Value::as_str) else {
        return Ok(true);
    };
    match instance.object(tx, of, whole)? {
        Some(whole) => shows(instance, tx, user, of, &whole),
        None => Ok(true),
    }
}

impl<'a> Reader<'a> {
    fn of(call: &'a Call, instance: &'a Instance, tx: &'a dyn DocumentRead) -> Result<Self> {
        let user = User::find(&call.principal, instance, tx, call.host.now())?;
        let sees_users = instance.allows(Right::Publish) || user.may("F_USER_VIEW");
        let only_user = (!sees_users).then_some(call.principal.name.as_str());
        Ok(Self {
            instance,
            tx,
            user,
            only_user,
        })
    }
    /// Whether an object may be seen: by its sharing and that of what it is a part of; of users, who may not see them all sees themselves.
    fn sees(&self, collection: &str, stored: &Stored) -> Result<bool> {
        match self.only_user {
            Some(own) if collection == "users" => Ok(user_name(&stored.members) == Some(own)),
            _ => shows(self.instance, self.tx, &self.user, collection, stored),
        }
    }
    fn object(&self, collection: &str, id: &str) -> Result<Option<Stored>> {
        match self.instance.object(self.tx, collection, id)? {
            Some(stored) if self.sees(collection, &stored)? => Ok(Some(stored)),
            _ => Ok(None),
        }
    }
    fn each(&self, collection: &str, mut visit: impl FnMut(Stored) -> Result<()>) -> Result<()> {
        self.instance.each(self.tx, collection, |stored| {
            if self.sees(collection, &stored)? {
                visit(stored)
            } else {
                Ok(())
            }
        })
    }
    /// An object with what is told besides what was stored.
    fn told(&self, stored: Stored) -> Value {
        let mut members = stored.members;
        let shared = Access::of(&members);
        let may_publish = self.instance.allows(Right::Publish) && shared.may_change(&self.user);
        let may_read = shared.reads_data(&self.user);
        let may_edit = self.instance.allows(Right::Edit) && shared.writes_data(&self.user);
        if shared.is_shared() {
            members.shift_remove("access");
        }
        members.insert("id".to_owned(), json!(stored.id));
        members.insert("lastUpdated".to_owned(), json!(date::format(stored.stamp)));
        if let Some(name) = members.get("name").cloned() {
            members.entry("displayName").or_insert(name);
        }
        members.entry("access").or_insert_with(|| {
            json!({"read": true, "update": may_publish, "write": may_publish, "delete": may_publish, "externalize": false, "manage": may_publish,
                "data": {"read": may_read, "write": may_edit}})
        });
        Value::Object(members)
    }
    fn project(&self, fields: &Fields, object: Value) -> Result<Value> {
        fields.project(object, &|member, reference| {
            let id = reference.get("id").and_then(Value::as_str);
            let (Some(of), Some(id)) = (type_of_member(member), id) else {
                return Ok(None);
            };
            let Some(found) = self.instance.object(self.tx, of, id)? else {
                return Ok(None);
            };
            // Of what may not be seen the uid is told, and nothing that was stored beside it.
            Ok(Some(if self.sees(of, &found)? {
                self.told(found)
            } else {
                json!({ "id": id })
            }))
        })
    }
}

/// `GET <type>`: a page of its objects.
pub(crate) fn list(call: &Call, collection: &str) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let reader = Reader::of(call, &instance, tx.as_ref())?;
    let fields = Fields::parse(call.param("fields").unwrap_or("id,displayName"))?;
    let filters: Vec<Filter> = call
        .params("filter")
        .map(Filter::parse)
        .collect::<Result<_>>()?;
    let any_is_enough = call
        .param("rootJunction")
        .is_some_and(|junction| junction.eq_ignore_ascii_case("or"));
    let order = filter::order(call.param("order").unwrap_or("name:iasc,id:asc"))?;
    let of_set = of_data_set(call, &reader, collection)?;
    let mut found = Vec::new();
    reader.each(collection, |stored| {
        if !of_set
            .as_ref()
            .is_none_or(|elements| uses_only(&stored, elements))
        {
            return Ok(());
        }
        let object = reader.told(stored);
        let mut verdicts = filters.iter().map(|filter| filter.passes(&object));
        let passes = if any_is_enough && !filters.is_empty() {
            verdicts.any(|passes| passes)
        } else {
            verdicts.all(|passes| passes)
        };
        if passes {
            found.push(object);
        }
        Ok(())
    })?;
    found.sort_by(|a, b| filter::compare_by(&order, a, b));
    paged(call, &reader, &fields, collection, found)
}

/// The data elements of the set that `validationRules?dataSet=<uid>` names.
fn of_data_set(call: &Call, reader: &Reader<'_>, collection: &str) -> Result<Option<Vec<String>>> {
    let Some(id) = call
        .param("dataSet")
        .filter(|_| collection == "validationRules")
    else {
        return Ok(None);
    };
    let set = reader.object("dataSets", id)?;
    let set = set.ok_or_else(|| Problem::missing("dataSets", id))?;
    let elements = set.members.get("dataSetElements").and_then(Value::as_array);
    let elements = elements.into_iter().flatten();
    let ids = elements.filter_map(|member| member.get("dataElement")?.get("id")?.as_str());
    Ok(Some(ids.map(str::to_owned).collect()))
}

/// Whether both sides of a rule are made of these data elements alone, of one at least.
fn uses_only(rule: &Stored, elements: &[String]) -> bool {
    let side = |name: &str| rule.members.get(name)?.get("expression")?.as_str();
    let sides = [side("leftSide"), side("rightSide")];
    let operands = sides
        .into_iter()
        .flatten()
        .flat_map(|text| text.split("#{").skip(1));
    let mut operands = operands
        .map(|operand| operand.split(['.', '}']).next().unwrap_or_default())
        .peekable();
    operands.peek().is_some() && operands.all(|operand| elements.iter().any(|id| id == operand))
}

/// The page of a list that is asked for.
fn paged(
    call: &Call,
    reader: &Reader<'_>,
    fields: &Fields,
    name: &str,
    found: Vec<Value>,
) -> Result<Answer> {
    let total = found.len() as u64;
    let mut answer = Map::new();
    let objects = if call.flag("paging", true) {
        let (page, size) = (call.number("page", 1)?, call.number("pageSize", PAGE_SIZE)?);
        let pages = total.div_ceil(size).max(1);
        answer.insert(
            "pager".to_owned(),
            json!({"page": page, "pageSize": size, "pageCount": pages, "total": total}),
        );
        let from = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
        found
            .into_iter()
            .skip(from)
            .take(usize::try_from(size).unwrap_or(usize::MAX))
            .collect()
    } else {
        found
    };
    let objects: Vec<Value> = objects
        .into_iter()
        .map(|object| reader.project(fields, object))
        .collect::<Result<_>>()?;
    answer.insert(name.to_owned(), Value::Array(objects));
    Ok(Answer::json(200, Value::Object(answer)))
}

/// `GET <type>/<uid>/<list>`: a page of the objects to which a list in an object refers.
pub(crate) fn inner(call: &Call, collection: &str, id: &str, list: &str) -> Result<Answer> {
    let of = type_of_member(list).ok_or_else(Problem::no_such_path)?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let reader = Reader::of(call, &instance, tx.as_ref())?;
    let fields = Fields::parse(call.param("fields").unwrap_or("id,displayName"))?;
    let found = reader.object(collection, id)?;
    let found = found.ok_or_else(|| Problem::missing(collection, id))?;
    let items = found.members.get(list).and_then(Value::as_array);
    let ids = items.into_iter().flatten();
    let ids = ids.filter_map(|item| item.get("id").and_then(Value::as_str));
    let mut objects = Vec::new();
    for id in ids {
        let object = reader.object(of, id)?;
        objects.extend(object.map(|object| reader.told(object)));
    }
    paged(call, &reader, &fields, list, objects)
}

/// `GET <type>/<uid>`.
pub(crate) fn one(call: &Call, collection: &str, id: &str) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let reader = Reader::of(call, &instance, tx.as_ref())?;
    let fields = Fields::parse(call.param("fields").unwrap_or("*"))?;
    let found = reader.object(collection, id)?;
    let found = found.ok_or_else(|| Problem::missing(collection, id))?;
    let object = reader.told(found);
    Ok(Answer::json(200, reader.project(&fields, object)?))
}

/// `GET metadata`: all objects of all types, or of those that are asked for as `programs=true`.
pub(crate) fn everything(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let tx = instance.store().read_documents()?;
    let reader = Reader::of(call, &instance, tx.as_ref())?;
    let fields = Fields::parse(call.param("fields").unwrap_or("*"))?;
    let asked: Vec<&str> = TYPES
        .iter()
        .copied()
        .filter(|name| call.flag(name, false))
        .collect();
    let mut answer = Map::new();
    for name in TYPES {
        if !asked.is_empty() && !asked.contains(name) {
            continue;
        }
        let mut objects = Vec::new();
        reader.each(name, |stored| {
            let object = reader.told(stored);
            objects.push(reader.project(&fields, object)?);
            Ok(())
        })?;
        if !objects.is_empty() {
            answer.insert((*name).to_owned(), Value::Array(objects));
        }
    }
    Ok(Answer::json(200, Value::Object(answer)))
}
