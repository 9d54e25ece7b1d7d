//! What is asked for, in the words of each version. Source: `spec/dhis2.md` 5.1.

use serde_json::Value as Json;

use crate::remote::error::{Error, Result};
use crate::remote::server::Server;
use crate::wire::page::{self, Page};
use crate::wire::shape;
use crate::wire::tracker::Kind;
use crate::wire::version::Api;

const NEW_EVENT: &str = "event,enrollment,trackedEntity,program,programStage,orgUnit,status,occurredAt,scheduledAt,completedAt,followUp,followup,createdAt,updatedAt,createdAtClient,updatedAtClient,deleted,attributeOptionCombo,attributeCategoryOptions,assignedUser,geometry,dataValues[dataElement,value,providedElsewhere],notes[note,value,storedAt,storedBy]";
const NEW_TIE: &str = "relationships[relationship,relationshipType,createdAt,updatedAt,deleted,from[trackedEntity[trackedEntity],enrollment[enrollment],event[event]],to[trackedEntity[trackedEntity],enrollment[enrollment],event[event]]]";
const NEW_ENROLLMENT: &str = "enrollment,trackedEntity,program,orgUnit,status,enrolledAt,occurredAt,completedAt,followUp,createdAt,updatedAt,createdAtClient,updatedAtClient,deleted,attributeOptionCombo,geometry,attributes[attribute,value],notes[note,value,storedAt,storedBy]";
const NEW_ENTITY: &str = "trackedEntity,trackedEntityType,orgUnit,createdAt,updatedAt,createdAtClient,updatedAtClient,deleted,inactive,potentialDuplicate,geometry,attributes[attribute,value],programOwners[trackedEntity,program,orgUnit]";
const OLD_EVENT: &str = "event,enrollment,trackedEntityInstance,program,programStage,orgUnit,status,eventDate,dueDate,completedDate,followup,created,lastUpdated,createdAtClient,lastUpdatedAtClient,deleted,attributeOptionCombo,attributeCategoryOptions,assignedUser,assignedUserUsername,coordinate,geometry,dataValues[dataElement,value,providedElsewhere],notes[note,value,storedDate,storedBy]";
const OLD_TIE: &str =
    "relationships[relationship,relationshipType,created,lastUpdated,deleted,from,to]";
const OLD_ENROLLMENT: &str = "enrollment,trackedEntityInstance,program,orgUnit,status,enrollmentDate,incidentDate,completedDate,followup,created,lastUpdated,createdAtClient,lastUpdatedAtClient,deleted,attributeOptionCombo,coordinate,geometry,attributes[attribute,value],notes[note,value,storedDate,storedBy]";
const OLD_ENTITY: &str = "trackedEntityInstance,trackedEntityType,orgUnit,created,lastUpdated,createdAtClient,lastUpdatedAtClient,deleted,inactive,potentialDuplicate,coordinates,geometry,attributes[attribute,value],programOwners";

/// Everything of an object and what is in it.
fn fields(kind: Kind, api: Api) -> String {
    let (entity, enrollment, event, tie) = match api {
        Api::New => (NEW_ENTITY, NEW_ENROLLMENT, NEW_EVENT, NEW_TIE),
        Api::Old => (OLD_ENTITY, OLD_ENROLLMENT, OLD_EVENT, OLD_TIE),
    };
    match kind {
        Kind::Event => format!("{event},{tie}"),
        Kind::Enrollment => format!("{enrollment},{tie},events[{event},{tie}]"),
        Kind::TrackedEntity | Kind::Relationship => {
            format!("{entity},{tie},enrollments[{enrollment},{tie},events[{event},{tie}]]")
        }
    }
}

/// A part of the data that pages are asked of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// In which program.
    pub(super) program: String,
    /// Where; the old exporter and events take one or all.
    pub(super) units: Vec<String>,
    /// `SELECTED` or `DESCENDANTS`.
    pub(super) mode: &'static str,
    /// Only entities with an enrollment of this status.
    pub(super) status: Option<String>,
    /// Only what began on this day or later: entities by an enrollment, events by themselves.
    pub(super) begun: Option<String>,
    /// Only what changed since, by the server's clock.
    pub(super) since: Option<String>,
}

/// Objects of one page in the shape of the new API; with the first also how many there are, if the server counts them.
pub(super) fn page(
    server: &Server,
    kind: Kind,
    part: &Part,
    number: usize,
    size: usize,
) -> Result<(Vec<Json>, Option<usize>)> {
    let api = server.exporter();
    let mut asked = params(server, kind, part);
    asked.extend([
        ("fields", fields(kind, api)),
        // A count costs the server a look at everything.
        ("totalPages", (number == 1).to_string()),
        ("page", number.to_string()),
        ("pageSize", size.to_string()),
    ]);
    let page = answer(server, kind, &asked)?;
    let total = page.total.and_then(|total| usize::try_from(total).ok());
    Ok((objects_of(kind, api, page), total))
}

/// What is asked of all pages of a part.
fn params(server: &Server, kind: Kind, part: &Part) -> Vec<(&'static str, String)> {
    let names = server.version.parameters();
    let is_new = server.exporter() == Api::New;
    let (separator, mode) = if is_new {
        (names.separator, names.mode)
    } else {
        (";", "ouMode")
    };
    let units = part.units.join(separator);
    let unit = match kind {
        // Events are asked of one unit, in every version.
        Kind::Event => "orgUnit",
        _ if is_new => names.org_units,
        _ => "ou",
    };
    let order = if is_new {
        "createdAt:desc"
    } else {
        "created:desc"
    };
    let mut params = vec![
        (unit, units),
        (mode, part.mode.to_owned()),
        ("program", part.program.clone()),
        ("order", order.to_owned()),
        ("includeDeleted", "true".to_owned()),
        ("paging", "true".to_owned()),
    ];
    if let Some(status) = part.status.as_ref().filter(|_| kind != Kind::Event) {
        params.push(("programStatus", status.clone()));
    }
    if let Some(begun) = &part.begun {
        let name = match (is_new, kind == Kind::Event) {
            (true, true) => "occurredAfter",
            (true, false) => "enrollmentEnrolledAfter",
            (false, true) => "startDate",
            (false, false) => "programStartDate",
        };
        params.push((name, begun.clone()));
    }
    if let Some(since) = &part.since {
        let name = if is_new {
            "updatedAfter"
        } else {
            "lastUpdatedStartDate"
        };
        params.push((name, since.clone()));
    }
    if !is_new && kind == Kind::TrackedEntity {
        params.push(("includeAllAttributes", "true".to_owned()));
    }
    params
}

/// Single objects: as many as there are of these uids, wherever the user has access.
pub(super) fn some(server: &Server, kind: Kind, uids: &[&str]) -> Result<Vec<Json>> {
    let api = server.exporter();
    let names = server.version.parameters();
    let wanted = fields(kind, api);
    let mut params = vec![("fields", wanted.as_str()), ("includeDeleted", "true")];
    let list;
    match (api, kind) {
        (_, Kind::Enrollment) => {
            let mut found = Vec::new();
            for uid in uids {
                found.extend(one(server, kind, uid, None)?);
            }
            return Ok(found);
        }
        (Api::New, _) => {
            list = uids.join(names.separator);
            let name = if kind == Kind::Event {
                names.events
            } else {
                names.tracked_entities
            };
            params.extend([(name, list.as_str()), (names.mode, "ACCESSIBLE")]);
        }
        (Api::Old, _) => {
            list = uids.join(";");
            let name = if kind == Kind::Event {
                "event"
            } else {
                "trackedEntityInstance"
            };
            params.extend([(name, list.as_str()), ("ouMode", "ACCESSIBLE")]);
            if kind == Kind::TrackedEntity {
                params.push(("includeAllAttributes", "true"));
            }
        }
    }
    read(server, kind, collection(kind, api), &params)
}

/// One object by its address; `None` if there is none that the user may see.
pub(super) fn one(
    server: &Server,
    kind: Kind,
    uid: &str,
    program: Option<&str>,
) -> Result<Option<Json>> {
    let api = server.exporter();
    let wanted = fields(kind, api);
    let mut params = vec![("fields", wanted.as_str()), ("includeDeleted", "true")];
    params.extend(program.map(|program| ("program", program)));
    if api == Api::Old && kind == Kind::TrackedEntity {
        params.extend([("ouMode", "ACCESSIBLE"), ("includeAllAttributes", "true")]);
    }
    let is_word = uid.bytes().all(|b| b.is_ascii_alphanumeric()) && !uid.is_empty();
    if !is_word {
        return Err(Error::Parameter {
            what: "uid",
            problem: format!("{uid:?} has other characters than letters and digits"),
        });
    }
    let path = format!("{}/{uid}", collection(kind, api));
    match server.http.get(&path, &params) {
        Ok(object) if api == Api::Old => Ok(Some(shape::to_new(kind, object))),
        Ok(object) => Ok(Some(object)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn collection(kind: Kind, api: Api) -> &'static str {
    match (api, kind) {
        (Api::Old, Kind::TrackedEntity) => "trackedEntityInstances",
        (Api::Old, other) => other.collection(),
        (Api::New, Kind::TrackedEntity) => "tracker/trackedEntities",
        (Api::New, Kind::Enrollment) => "tracker/enrollments",
        (Api::New, Kind::Event) => "tracker/events",
        (Api::New, Kind::Relationship) => "tracker/relationships",
    }
}

fn read(server: &Server, kind: Kind, path: &str, params: &[(&str, &str)]) -> Result<Vec<Json>> {
    let api = server.exporter();
    Ok(objects_of(kind, api, page_of(server, kind, path, params)?))
}

fn answer(server: &Server, kind: Kind, params: &[(&'static str, String)]) -> Result<Page> {
    let path = collection(kind, server.exporter());
    let params: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
    page_of(server, kind, path, &params)
}

fn page_of(server: &Server, kind: Kind, path: &str, params: &[(&str, &str)]) -> Result<Page> {
    let answer = server.http.get(path, params)?;
    let is_old = server.exporter() == Api::Old;
    page::read(kind, is_old, answer).map_err(|error| Error::Answer {
        path: path.to_owned(),
        problem: format!("is cut: {error}"),
    })
}

fn objects_of(kind: Kind, api: Api, page: Page) -> Vec<Json> {
    if api == Api::New {
        return page.objects;
    }
    let objects = page.objects.into_iter();
    objects.map(|object| shape::to_new(kind, object)).collect()
}
