//! Metadata: fetched in its order and in chunks that fit into an address, stored in one transaction.
//!
//! All of it is read each time; what did not come back is removed. References to objects that did not come do not fail
//! the download: they are listed. Source: `spec/dhis2.md` 3.

mod store;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::error::{Error, Result};
use super::server::{self, Server};

pub(crate) use store::{SETTING, content_revision, put, put_units, remove};
pub use store::{Stored, schema, store};

/// Objects of a page of organisation units.
const UNITS_ON_PAGE: usize = 500;
const PROGRAMS: usize = 50;
const OF_PROGRAMS: usize = 64;
const ELEMENTS: usize = 100;
const COMBOS: usize = 130;
const CATEGORIES: usize = 90;

const FIELDS: &str = "*";
const UNIT_FIELDS: &str = "id,code,name,displayName,shortName,path,openingDate,closedDate,level,geometry,parent[id],programs[id],dataSets[id]";
const READABLE: &str = "access.data.read:eq:true";

/// A root of what the user may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Its uid.
    pub id: String,
    /// Its path from the top.
    pub path: String,
}

/// Who is logged in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// Uid.
    pub id: String,
    /// Name for the login.
    pub username: String,
    /// Where data may be entered.
    pub capture: Vec<Root>,
    /// Where data may be searched.
    pub search: Vec<Root>,
    /// What else is allowed.
    pub authorities: Vec<String>,
}

/// All that was fetched.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Who is logged in.
    pub user: User,
    /// Objects by type and uid.
    pub objects: BTreeMap<&'static str, BTreeMap<String, Json>>,
    /// Documents of the settings app, and other settings, by name.
    pub settings: BTreeMap<String, Json>,
    /// Types that the server does not give, with its words. What the copy has of them stays.
    pub skipped: Vec<(&'static str, String)>,
}

/// Who is logged in.
///
/// # Errors
/// The server's.
pub fn user(server: &Server) -> Result<User> {
    let credentials = if server.version.user_is_flat() {
        "username,userRoles[id]"
    } else {
        "userCredentials[id,username,userRoles[id]]"
    };
    let fields = format!(
        "id,code,name,displayName,{credentials},organisationUnits[id,path],teiSearchOrganisationUnits[id,path]"
    );
    let me = server.http.get("me", &[("fields", &fields)])?;
    let name = me
        .get("username")
        .or_else(|| me.pointer("/userCredentials/username"));
    let roots = |member: &str| {
        let all = me.get(member).and_then(Json::as_array);
        let roots = all.into_iter().flatten().map(|unit| Root {
            id: text(unit, "/id"),
            path: text(unit, "/path"),
        });
        roots.filter(|root| !root.id.is_empty()).collect()
    };
    let granted = server.http.get("me/authorization", &[])?;
    let granted = granted.as_array().into_iter().flatten();
    Ok(User {
        id: text(&me, "/id"),
        username: name.and_then(Json::as_str).unwrap_or_default().to_owned(),
        capture: roots("organisationUnits"),
        search: roots("teiSearchOrganisationUnits"),
        authorities: granted
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
    })
}

/// Organisation units by their uids.
///
/// # Errors
/// The server's.
pub(crate) fn units(server: &Server, uids: &[String]) -> Result<Vec<Json>> {
    let filter = format!("id:in:[{}]", uids.join(","));
    let params = [
        ("fields", UNIT_FIELDS),
        ("filter", &filter),
        ("paging", "false"),
    ];
    match server.http.get("organisationUnits", &params)? {
        Json::Object(mut members) => match members.remove("organisationUnits") {
            Some(Json::Array(objects)) => Ok(objects),
            _ => Err(cut("organisationUnits")),
        },
        _ => Err(cut("organisationUnits")),
    }
}

/// Fetches all of it. `progress` is told the type that is asked for.
///
/// # Errors
/// The server's, for the types that tracker data needs.
pub fn fetch(server: &Server, progress: &mut dyn FnMut(&str)) -> Result<Metadata> {
    let mut fetch = Fetch {
        server,
        progress,
        found: Metadata::default(),
    };
    fetch.settings()?;
    fetch.optional("constants", &[])?;
    // Whatever names no combination is of this one.
    fetch.optional("categoryCombos", &[("filter", "name:eq:default")])?;
    fetch.found.user = user(server)?;
    fetch.optional("organisationUnitLevels", &[])?;
    fetch.units()?;
    fetch.programs()?;
    fetch.data_sets()?;
    fetch.categories()?;
    fetch.rest()?;
    Ok(fetch.found)
}

struct Fetch<'a> {
    server: &'a Server,
    progress: &'a mut dyn FnMut(&str),
    found: Metadata,
}

impl Fetch<'_> {
    fn settings(&mut self) -> Result<()> {
        (self.progress)("settings");
        if let Some(login) = server::document(&self.server.http, "loginConfig")? {
            self.found.settings.insert("loginConfig".to_owned(), login);
        }
        for name in [
            "info",
            "generalSettings",
            "synchronization",
            "appearance",
            "analytics",
            "customIntents",
        ] {
            let Some(document) = server::setting(&self.server.http, name)? else {
                // Where the app is not installed all are missing; single ones may not have been chosen.
                if name == "info" {
                    self.first_settings()?;
                    break;
                }
                continue;
            };
            self.found.settings.insert(name.to_owned(), document);
        }
        for (name, path, params) in [
            ("userSettings", "userSettings", vec![]),
            (
                "systemSettings",
                "systemSettings",
                vec![("key", "keyFlag"), ("key", "keyStyle")],
            ),
        ] {
            let document = self.server.http.get(path, &params)?;
            self.found.settings.insert(name.to_owned(), document);
        }
        Ok(())
    }

    /// Documents of the first version of the settings app.
    fn first_settings(&mut self) -> Result<()> {
        for name in ["general_settings", "dataSet_settings", "program_settings"] {
            let path = format!("dataStore/ANDROID_SETTING_APP/{name}");
            if let Some(document) = server::document(&self.server.http, &path)? {
                self.found.settings.insert(name.to_owned(), document);
            }
        }
        Ok(())
    }

    /// Per root of the search scope, then per root of the capture scope outside of it.
    fn units(&mut self) -> Result<()> {
        let user = &self.found.user;
        let is_in = |path: &str, roots: &[Root]| {
            let mut paths = roots.iter().map(|root| root.path.as_str());
            paths.any(|root| path == root || path.starts_with(&format!("{root}/")))
        };
        let outside = user.capture.iter();
        let outside = outside.filter(|root| !is_in(&root.path, &user.search));
        let roots: Vec<Root> = user.search.iter().chain(outside).cloned().collect();
        let capture = user.capture.clone();
        // Nothing may be all there is.
        self.found.objects.entry("organisationUnits").or_default();
        for root in roots {
            let filter = format!("path:like:{}", root.id);
            let size = UNITS_ON_PAGE.to_string();
            for page in 1_usize.. {
                let number = page.to_string();
                let params = [
                    ("fields", UNIT_FIELDS),
                    ("filter", &filter),
                    ("order", "id:asc"),
                    ("paging", "true"),
                    ("pageSize", &size),
                    ("page", &number),
                ];
                let objects = self.ask("organisationUnits", &params)?;
                let is_short = objects.len() < UNITS_ON_PAGE;
                for mut unit in objects {
                    let scope = if is_in(&text(&unit, "/path"), &capture) {
                        "capture"
                    } else {
                        "search"
                    };
                    unit["haversackScope"] = scope.into();
                    self.keep("organisationUnits", unit);
                }
                if is_short {
                    break;
                }
            }
        }
        Ok(())
    }

    fn programs(&mut self) -> Result<()> {
        let linked = self.named("organisationUnits", "/programs/*");
        // Rules need their variables and actions whole.
        self.by_with(
            "programs",
            ("id", &linked),
            PROGRAMS,
            &[READABLE],
            "*,programRuleVariables[*],programSections[*]",
        )?;
        let programs = self.uids("programs");
        self.by(
            "programStages",
            "program.id",
            &programs,
            OF_PROGRAMS,
            &[READABLE],
        )?;
        let types = self.named("programs", "/trackedEntityType");
        self.by_uid("trackedEntityTypes", &types, OF_PROGRAMS, &[])?;
        let mut attributes = self.named(
            "programs",
            "/programTrackedEntityAttributes/*/trackedEntityAttribute",
        );
        attributes.extend(self.named(
            "trackedEntityTypes",
            "/trackedEntityTypeAttributes/*/trackedEntityAttribute",
        ));
        self.by_uid("trackedEntityAttributes", &attributes, OF_PROGRAMS, &[])?;
        self.by_with(
            "programRules",
            ("program.id", &programs),
            OF_PROGRAMS,
            &[],
            "*,programRuleActions[*]",
        )?;
        self.optional("relationshipTypes", &[])?;
        let sets = self.named("trackedEntityAttributes", "/optionSet");
        self.option_sets(&sets)?;
        self.optional("optionGroups", &[])?;
        for of in [
            "trackedEntityInstanceFilters",
            "eventFilters",
            "programStageWorkingLists",
        ] {
            self.optional(of, &[])?;
        }
        Ok(())
    }

    fn data_sets(&mut self) -> Result<()> {
        let linked = self.named("organisationUnits", "/dataSets/*");
        self.by_uid("dataSets", &linked, OF_PROGRAMS, &[READABLE])?;
        let mut elements = self.named("dataSets", "/dataSetElements/*/dataElement");
        let of_stages = "/programStageDataElements/*/dataElement";
        elements.extend(self.named("programStages", of_stages));
        self.by_uid("dataElements", &elements, ELEMENTS, &[])?;
        let known = self.uids("optionSets");
        let sets = self.named("dataElements", "/optionSet");
        let more: BTreeSet<String> = sets.difference(&known).cloned().collect();
        self.option_sets(&more)?;
        let mut rules = BTreeSet::new();
        for set in self.uids("dataSets") {
            let params = [
                ("dataSet", set.as_str()),
                ("fields", "id"),
                ("paging", "false"),
            ];
            match self.ask("validationRules", &params) {
                Ok(objects) => rules.extend(objects.iter().map(|rule| text(rule, "/id"))),
                Err(error) => self.skip("validationRules", error)?,
            }
        }
        self.by_uid("validationRules", &rules, OF_PROGRAMS, &[])
    }

    fn option_sets(&mut self, uids: &BTreeSet<String>) -> Result<()> {
        self.by_uid("optionSets", uids, OF_PROGRAMS, &[])?;
        self.by("options", "optionSet.id", uids, OF_PROGRAMS, &[])
    }

    fn categories(&mut self) -> Result<()> {
        let mut combos = BTreeSet::new();
        for of in ["programs", "dataSets", "dataElements"] {
            combos.extend(self.named(of, "/categoryCombo"));
        }
        self.by_uid("categoryCombos", &combos, COMBOS, &[])?;
        let categories = self.named("categoryCombos", "/categories/*");
        let known = self.uids("categoryCombos");
        self.by(
            "categoryOptionCombos",
            "categoryCombo.id",
            &known,
            COMBOS,
            &[],
        )?;
        self.by_uid("categories", &categories, CATEGORIES, &[])?;
        let options = self.named("categories", "/categoryOptions/*");
        self.by_uid("categoryOptions", &options, CATEGORIES, &[])?;
        self.units_of_options(&options)
    }

    /// Units that options are limited to; an option that is not named is for all.
    fn units_of_options(&mut self, options: &BTreeSet<String>) -> Result<()> {
        let all: Vec<&str> = options.iter().map(String::as_str).collect();
        for some in all.chunks(CATEGORIES) {
            let list = some.join(",");
            let params = [("categoryOptions", list.as_str())];
            let http = &self.server.http;
            let told = match http.get("categoryOptions/orgUnits", &params) {
                Ok(Json::Object(told)) => told,
                Ok(_) => continue,
                Err(error) => return self.skip("categoryOptions/orgUnits", error),
            };
            for (option, units) in told {
                let objects = self.found.objects.get_mut("categoryOptions");
                let object = objects.and_then(|objects| objects.get_mut(&option));
                if let Some(object) = object {
                    object["haversackOrgUnits"] = units;
                }
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<()> {
        let programs = self.uids("programs");
        self.by(
            "programIndicators",
            "program.id",
            &programs,
            OF_PROGRAMS,
            &[],
        )?;
        let indicators = self.named("dataSets", "/indicators/*");
        self.by_uid("indicators", &indicators, OF_PROGRAMS, &[])?;
        for of in ["indicatorTypes", "legendSets", "attributes"] {
            self.optional(of, &[])?;
        }
        self.visualizations()?;
        // Only those that people drew come from the server; the others are in apps.
        if self.server.version.line >= 41 {
            self.optional("icons", &[("type", "CUSTOM")])?;
        }
        Ok(())
    }

    /// Those that the settings app chooses, one in a request: they are large.
    fn visualizations(&mut self) -> Result<()> {
        let mut wanted = BTreeSet::new();
        if let Some(analytics) = self.found.settings.get("analytics") {
            chosen_visualizations(analytics, &mut wanted);
        }
        self.by_uid("visualizations", &wanted, 1, &[])?;
        let found = self.uids("visualizations");
        let rest = wanted.difference(&found).cloned().collect();
        self.by_uid("eventVisualizations", &rest, 1, &[])?;
        let items = self.named(
            "visualizations",
            "/dataDimensionItems/*/expressionDimensionItem",
        );
        self.by_uid("expressionDimensionItems", &items, OF_PROGRAMS, &[])
    }

    /// All objects of a type that a copy can do without.
    fn optional(&mut self, of: &'static str, params: &[(&str, &str)]) -> Result<()> {
        let mut all = vec![("fields", FIELDS), ("paging", "false")];
        all.extend_from_slice(params);
        match self.ask(of, &all) {
            Ok(objects) => {
                // Nothing may be all there is.
                self.found.objects.entry(of).or_default();
                for object in objects {
                    self.keep(of, object);
                }
                Ok(())
            }
            Err(error) => self.skip(of, error),
        }
    }
    fn skip(&mut self, of: &'static str, error: Error) -> Result<()> {
        match error {
            Error::Refused { message, .. } => {
                self.found.skipped.push((of, message));
                Ok(())
            }
            error => Err(error),
        }
    }
    /// The objects of these uids.
    fn by_uid(
        &mut self,
        of: &'static str,
        uids: &BTreeSet<String>,
        at_once: usize,
        filters: &[&str],
    ) -> Result<()> {
        self.by(of, "id", uids, at_once, filters)
    }
    /// The objects in which a property is one of these uids.
    fn by(
        &mut self,
        of: &'static str,
        property: &str,
        uids: &BTreeSet<String>,
        at_once: usize,
        filters: &[&str],
    ) -> Result<()> {
        self.by_with(of, (property, uids), at_once, filters, FIELDS)
    }
    /// As [`Self::by`], with these members of them.
    fn by_with(
        &mut self,
        of: &'static str,
        (property, uids): (&str, &BTreeSet<String>),
        at_once: usize,
        filters: &[&str],
        fields: &str,
    ) -> Result<()> {
        self.found.objects.entry(of).or_default();
        let all: Vec<&str> = uids.iter().map(String::as_str).collect();
        for some in all.chunks(at_once) {
            let first = format!("{property}:in:[{}]", some.join(","));
            let mut params = vec![("fields", fields), ("paging", "false"), ("filter", &first)];
            params.extend(filters.iter().map(|filter| ("filter", *filter)));
            for object in self.ask(of, &params)? {
                self.keep(of, object);
            }
        }
        Ok(())
    }

    fn ask(&mut self, of: &'static str, params: &[(&str, &str)]) -> Result<Vec<Json>> {
        (self.progress)(of);
        match self.server.http.get(of, params)? {
            Json::Object(mut members) => match members.remove(of) {
                Some(Json::Array(objects)) => Ok(objects),
                _ => Err(cut(of)),
            },
            _ => Err(cut(of)),
        }
    }
    fn keep(&mut self, of: &'static str, object: Json) {
        // Icons have keys instead of uids.
        let mut id = text(&object, "/id");
        if id.is_empty() {
            id = text(&object, "/key");
        }
        if !id.is_empty() {
            let objects = self.found.objects.entry(of).or_default();
            objects.insert(id, object);
        }
    }
    fn uids(&self, of: &str) -> BTreeSet<String> {
        let objects = self.found.objects.get(of);
        objects
            .into_iter()
            .flat_map(|o| o.keys())
            .cloned()
            .collect()
    }
    /// The uids that objects of a type name in a place.
    fn named(&self, of: &str, place: &str) -> BTreeSet<String> {
        let objects = self.found.objects.get(of).into_iter().flatten();
        objects
            .flat_map(|(_, object)| at(object, place))
            .map(|reference| text(reference, "/id"))
            .filter(|id| !id.is_empty())
            .collect()
    }
}

/// Uids in lists called `visualizations`, wherever the settings hold them.
fn chosen_visualizations(settings: &Json, found: &mut BTreeSet<String>) {
    match settings {
        Json::Object(members) => {
            for (name, member) in members {
                if name == "visualizations" {
                    let chosen = at(member, "/*").into_iter().map(|one| text(one, "/id"));
                    found.extend(chosen.filter(|id| !id.is_empty()));
                }
                chosen_visualizations(member, found);
            }
        }
        Json::Array(items) => {
            for item in items {
                chosen_visualizations(item, found);
            }
        }
        _ => {}
    }
}

fn cut(of: &str) -> Error {
    Error::Answer {
        path: of.to_owned(),
        problem: format!("holds no {of}"),
    }
}

/// The text at a place of a document; empty if there is none.
fn text(object: &Json, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Number(number)) => number.to_string(),
        Some(Json::Bool(flag)) => flag.to_string(),
        _ => String::new(),
    }
}

/// What is at a place, in which `*` stands for each item of a list.
fn at<'a>(object: &'a Json, place: &str) -> Vec<&'a Json> {
    let mut found = vec![object];
    for step in place.split('/').filter(|step| !step.is_empty()) {
        let mut next = Vec::new();
        for value in found {
            if step == "*" {
                next.extend(value.as_array().into_iter().flatten());
            } else {
                next.extend(value.get(step).filter(|there| !there.is_null()));
            }
        }
        found = next;
    }
    found
}
