//! What a client asks first: the server's version and time, who it is logged in as, and settings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use haversack_model::documents::DocumentRead;
use haversack_model::{Principal, Right, Timestamp};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::call::Call;
use super::instance::{Instance, Stored};
use super::metadata::fields::Fields;
use super::problem::Result;
use super::tracker::ownership;
use crate::wire::date;
use crate::wire::version::Version;

/// `GET ping`.
pub(crate) fn ping(call: &Call) -> Result<Answer> {
    call.require_get()?;
    Ok(Answer::text(
        200,
        "text/plain;charset=UTF-8",
        "pong".to_owned(),
    ))
}

/// `GET loginConfig`.
pub(crate) fn login_config(call: &Call) -> Result<Answer> {
    call.require_get()?;
    Ok(Answer::json(
        200,
        json!({"apiVersion": Version::OURS.to_string(), "applicationTitle": "Haversack", "oidcProviders": [],
            "selfRegistrationEnabled": false, "emailConfigured": false, "allowAccountRecovery": false}),
    ))
}

/// `GET system/info`. `serverDate` is the stamp of the next commit: whoever asks for changes from then on misses none.
pub(crate) fn info(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let stamp = instance.store().read_documents()?.head()?.stamp;
    let mut told = json!({
        "version": Version::OURS.to_string(), "serverDate": date::format(Timestamp(stamp.0 + 1)), "dateFormat": "yyyy-MM-dd",
        "calendar": "iso8601", "serverTimeZoneId": "Etc/UTC", "systemName": "Haversack",
        "systemId": call.host.server_id().hyphenated().to_string(), "encryption": false,
    });
    if let Some(base) = call.host.base_url() {
        told["contextPath"] = Value::String(base);
    }
    answer(call, told)
}

/// `GET me`.
pub(crate) fn me(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let user = User::load(call, &instance)?;
    answer(call, Value::Object(user.told))
}

/// `GET me/authorization`.
pub(crate) fn authorities(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let instance = Instance::open(call, Right::Read)?;
    let user = User::load(call, &instance)?;
    Ok(Answer::json(200, json!(user.authorities)))
}

/// `GET userSettings`.
pub(crate) fn user_settings(call: &Call) -> Result<Answer> {
    call.require_get()?;
    Ok(Answer::json(
        200,
        json!({"keyUiLocale": "en", "keyDbLocale": Value::Null}),
    ))
}

/// `GET systemSettings`, those of the keys that were asked for.
pub(crate) fn system_settings(call: &Call) -> Result<Answer> {
    call.require_get()?;
    let all = json!({"keyFlag": "", "keyStyle": "light_blue/light_blue.css"});
    let asked: Vec<&str> = call.params("key").collect();
    let settings: Map<String, Value> = all
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| asked.is_empty() || asked.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(Answer::json(200, Value::Object(settings)))
}

fn answer(call: &Call, told: Value) -> Result<Answer> {
    let fields = Fields::parse(call.param("fields").unwrap_or("*"))?;
    Ok(Answer::json(200, fields.project(told, &|_, _| Ok(None))?))
}

/// Who asks, as the dialect knows users: the object of this user name in `users`, its roles in `userRoles`. An administrator of the server without
/// one has every authority, and capture and search scope on every topmost organisation unit that is here.
#[derive(Debug)]
pub(crate) struct User {
    id: String,
    told: Map<String, Value>,
    authorities: Vec<String>,
    /// Uids of the user groups.
    groups: BTreeSet<String>,
    /// Paths of the units below which data may be entered.
    pub(crate) capture: Vec<String>,
    /// Paths of the units below which data may be searched.
    pub(crate) search: Vec<String>,
    /// Tracked entities and programs for which the glass is broken.
    broken: BTreeSet<(String, String)>,
}

impl User {
    /// The uid.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
    /// Uids of the roles.
    pub(crate) fn roles(&self) -> BTreeSet<String> {
        let roles = list_of(&self.told, "userRoles");
        let ids = roles.filter_map(|role| role.get("id").and_then(Value::as_str));
        ids.map(str::to_owned).collect()
    }
    /// The groups that the user is in.
    pub(crate) fn groups(&self) -> &BTreeSet<String> {
        &self.groups
    }
    /// Name for the login.
    pub(crate) fn name(&self) -> &str {
        self.told
            .get("username")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
    /// Whether an authority is granted.
    pub(crate) fn may(&self, authority: &str) -> bool {
        self.has_all() || self.authorities.iter().any(|granted| granted == authority)
    }
    /// Whether every authority is granted.
    pub(crate) fn has_all(&self) -> bool {
        self.authorities.iter().any(|granted| granted == "ALL")
    }
    fn load(call: &Call, instance: &Instance) -> Result<Self> {
        let tx = instance.store().read_documents()?;
        Self::find(&call.principal, instance, tx.as_ref(), call.host.now())
    }
    /// Whether the glass is broken for a tracked entity in a program.
    pub(crate) fn has_broken(&self, entity: &str, program: &str) -> bool {
        self.broken
            .contains(&(entity.to_owned(), program.to_owned()))
    }
    /// Finds a principal.
    pub(crate) fn find(
        principal: &Principal,
        instance: &Instance,
        tx: &dyn DocumentRead,
        now: Timestamp,
    ) -> Result<Self> {
        let people = People::load(instance, tx)?;
        let broken = people.broken.iter().filter(|broken| {
            broken.user == principal.name && broken.until.is_some_and(|until| until > now)
        });
        let broken = broken.map(|broken| (broken.entity.clone(), broken.program.clone()));
        let broken = broken.collect();
        let roots = if principal.is_admin {
            people.roots.clone()
        } else {
            Vec::new()
        };
        let (id, mut told) = people.users.get(&principal.name).map_or_else(
            || (own_id(&principal.name), Map::new()),
            |user| (user.id.clone(), user.members.clone()),
        );
        let roles = list_of(&told, "userRoles");
        let mut authorities: Vec<String> = roles
            .filter_map(|role| people.roles.get(role.get("id").and_then(Value::as_str)?))
            .flatten()
            .cloned()
            .collect();
        if principal.is_admin {
            authorities.push("ALL".to_owned());
        }
        authorities.sort();
        authorities.dedup();
        told.insert("id".to_owned(), json!(id));
        told.insert("username".to_owned(), json!(principal.name));
        for (member, default) in [
            ("name", json!(principal.name)),
            ("displayName", json!(principal.name)),
            ("firstName", json!(principal.name)),
            ("surname", json!("")),
            ("userGroups", json!([])),
            ("userRoles", json!([])),
            ("organisationUnits", json!(roots)),
            ("teiSearchOrganisationUnits", json!(roots)),
        ] {
            told.entry(member).or_insert(default);
        }
        for scope in ["organisationUnits", "teiSearchOrganisationUnits"] {
            for unit in told
                .get_mut(scope)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                let known = unit.get("id").and_then(Value::as_str).unwrap_or_default();
                if let Some(known) = instance.object(tx, "organisationUnits", known)? {
                    *unit = json!({"id": known.id, "path": known.text("path")});
                }
            }
        }
        let paths = |scope: &str| -> Vec<String> {
            let units = list_of(&told, scope);
            let paths = units.filter_map(|unit| unit.get("path").and_then(Value::as_str));
            paths.map(str::to_owned).collect()
        };
        let (capture, search) = (
            paths("organisationUnits"),
            paths("teiSearchOrganisationUnits"),
        );
        told.insert("authorities".to_owned(), json!(authorities));
        told.insert(
            "userCredentials".to_owned(),
            json!({"id": id, "username": principal.name, "userRoles": told.get("userRoles")}),
        );
        // A group knows its users, and a user their groups; either is enough.
        let own = list_of(&told, "userGroups");
        let own = own.filter_map(|group| group.get("id").and_then(Value::as_str));
        let mut groups: BTreeSet<String> = own.map(str::to_owned).collect();
        groups.extend(people.groups.get(&id).into_iter().flatten().cloned());
        Ok(Self {
            id,
            told,
            authorities,
            groups,
            capture,
            search,
            broken,
        })
    }
}

/// A list among members.
fn list_of<'a>(members: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    let list = members.get(name).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// The name by which a user logs in.
pub(crate) fn user_name(members: &Map<String, Value>) -> Option<&str> {
    let nested = members.get("userCredentials");
    let nested = nested.and_then(|inner| inner.get("username"));
    members.get("username").or(nested).and_then(Value::as_str)
}

/// Glass that somebody broke.
#[derive(Debug)]
struct Broken {
    user: String,
    entity: String,
    program: String,
    until: Option<Timestamp>,
}

/// What is stored of users: the objects of `users` by their names, what roles grant, who is in which group, roots of organisation units, and broken glass.
#[derive(Debug, Default)]
pub(crate) struct People {
    users: BTreeMap<String, Stored>,
    roles: BTreeMap<String, Vec<String>>,
    /// The groups that name a user, by the user's uid.
    groups: BTreeMap<String, BTreeSet<String>>,
    roots: Vec<Value>,
    broken: Vec<Broken>,
}

impl People {
    fn load(instance: &Instance, tx: &dyn DocumentRead) -> Result<Arc<Self>> {
        let of = [
            "users",
            "userRoles",
            "userGroups",
            "organisationUnits",
            ownership::BROKEN,
        ];
        let kept = &instance.memory().people;
        kept.get(instance, tx, &of, || Self::read(instance, tx))
    }
    fn read(instance: &Instance, tx: &dyn DocumentRead) -> Result<Self> {
        let mut people = Self::default();
        instance.each(tx, "users", |user| {
            if let Some(name) = user_name(&user.members) {
                people.users.insert(name.to_owned(), user);
            }
            Ok(())
        })?;
        instance.each(tx, "userRoles", |role| {
            let granted = list_of(&role.members, "authorities");
            let granted = granted.filter_map(Value::as_str).map(str::to_owned);
            let granted = granted.collect();
            people.roles.insert(role.id, granted);
            Ok(())
        })?;
        instance.each(tx, "userGroups", |group| {
            for user in list_of(&group.members, "users") {
                let user = user.get("id").and_then(Value::as_str).unwrap_or_default();
                let of = people.groups.entry(user.to_owned()).or_default();
                of.insert(group.id.clone());
            }
            Ok(())
        })?;
        let mut paths = BTreeSet::new();
        instance.each(tx, "organisationUnits", |unit| {
            paths.insert(unit.text("path").to_owned());
            Ok(())
        })?;
        // A part of a country has its tops below units that are not here.
        let is_root = |path: &&String| {
            let above = path.rsplit_once('/').map(|(above, _)| above);
            above.is_none_or(|above| !paths.contains(above))
        };
        for path in paths.iter().filter(is_root) {
            let id = path.rsplit('/').next().unwrap_or_default();
            people.roots.push(json!({"id": id, "path": path}));
        }
        instance.each(tx, ownership::BROKEN, |one| {
            people.broken.push(Broken {
                user: one.text("user").to_owned(),
                entity: one.text("trackedEntity").to_owned(),
                program: one.text("program").to_owned(),
                until: date::parse(one.text("until")),
            });
            Ok(())
        })?;
        Ok(people)
    }
}

/// A uid that is always the same for a user without an object.
fn own_id(name: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(name.as_bytes());
    let bits = hash
        .iter()
        .take(16)
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    crate::wire::uid::from_random(bits)
}
