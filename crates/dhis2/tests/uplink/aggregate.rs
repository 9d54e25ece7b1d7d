//! Data values, completions and files pass both ways.

use haversack_dhis2::remote::files::MAX_BYTES;
use haversack_model::ConflictKind;
use serde_json::{Value, json};

use crate::world::{Place, World};

const MONTHS: [(&str, &str); 6] = [
    ("dataSet", "hvDataSet01"),
    ("startDate", "2026-01-01"),
    ("endDate", "2026-12-31"),
    ("orgUnit", "hvOuRoot001"),
    ("children", "true"),
    ("includeDeleted", "false"),
];

impl Place {
    pub(crate) fn enter(&self, values: &[(&str, &str)]) {
        let values: Vec<Value> = values.iter().map(|(period, value)| {
            let mut one = json!({"dataElement": "hvDeCases01", "period": period, "orgUnit": "hvOuFacil01", "value": value});
            if value.is_empty() {
                one["deleted"] = true.into();
            }
            one
        }).collect();
        self.enter_all(&values);
    }
    pub(crate) fn enter_all(&self, values: &[Value]) {
        let body = json!({"dataSet": "hvDataSet01", "dataValues": values});
        let told = self.http.post("dataValueSets", &[], Some(&body)).unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
    }
    /// Period and value of all that is there.
    pub(crate) fn values(&self) -> Vec<(String, String)> {
        let told = self.http.get("dataValueSets", &MONTHS).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = told["dataValues"].as_array().unwrap().iter();
        let mut all: Vec<_> = all
            .map(|one| (text(&one["period"]), text(&one["value"])))
            .collect();
        all.sort();
        all
    }
    pub(crate) fn complete(&self, period: &str, is_completed: bool) {
        let one = json!({"dataSet": "hvDataSet01", "period": period, "organisationUnit": "hvOuFacil01", "completed": is_completed});
        let path = "completeDataSetRegistrations";
        let told = self
            .http
            .post(path, &[], Some(&json!({ path: [one] })))
            .unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
    }
    pub(crate) fn completed(&self) -> Vec<String> {
        let path = "completeDataSetRegistrations";
        let told = self.http.get(path, &MONTHS).unwrap();
        let all = told[path].as_array().unwrap().iter();
        let mut all: Vec<_> = all
            .map(|one| one["period"].as_str().unwrap_or_default().to_owned())
            .collect();
        all.sort();
        all
    }
}

pub(crate) fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let all = of.iter();
    all.map(|(period, value)| ((*period).to_owned(), (*value).to_owned()))
        .collect()
}

impl World {
    pub(crate) fn assert_quiet(&self) {
        let again = self.round();
        assert_eq!(
            (again.collected, again.sent, again.installed, again.files),
            (0, 0, 0, 0),
            "{again:?}"
        );
    }
}

#[test]
fn values_and_completions_that_devices_enter_go_up_and_come_back_as_no_edit() {
    let world = World::new();
    world
        .clinic
        .enter(&[("202608", "8"), ("202609", "9"), ("202610", "10")]);
    world.clinic.complete("202608", true);
    world.clinic.complete("202609", true);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (5, 0), "{done:?}");
    let all = pairs(&[("202608", "8"), ("202609", "9"), ("202610", "10")]);
    assert_eq!(world.country.values(), all);
    assert_eq!(world.country.completed(), ["202608", "202609"]);
    world.assert_quiet();

    world.clinic.enter(&[("202608", "80"), ("202609", "")]);
    world.clinic.complete("202609", false);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (3, 0), "{done:?}");
    let all = pairs(&[("202608", "80"), ("202610", "10")]);
    assert_eq!(
        (world.country.values(), world.clinic.values()),
        (all.clone(), all)
    );
    assert_eq!(world.country.completed(), ["202608"]);
    world.assert_quiet();
    assert_eq!(world.state().waiting, 0);
}

#[test]
fn values_and_completions_of_the_country_come_down_and_go_up_as_no_edit() {
    let world = World::new();
    world
        .country
        .enter(&[("202608", "8"), ("202609", "9"), ("202610", "10")]);
    world.country.complete("202608", true);
    let done = world.round();
    assert_eq!((done.collected, done.sent), (0, 0), "{done:?}");
    assert_eq!(world.clinic.values(), world.country.values());
    assert_eq!(world.clinic.completed(), ["202608"]);
    world.assert_quiet();

    world.country.enter(&[("202608", "80"), ("202609", "")]);
    world.country.complete("202608", false);
    let done = world.round();
    assert_eq!((done.collected, done.sent), (0, 0), "{done:?}");
    let all = pairs(&[("202608", "80"), ("202610", "10")]);
    assert_eq!(world.clinic.values(), all);
    assert_eq!(world.clinic.completed(), [""; 0]);
    world.assert_quiet();
}

#[test]
fn a_value_that_both_sides_entered_is_a_conflict_that_keeps_both() {
    let world = World::new();
    world.clinic.enter(&[("202608", "8"), ("202609", "9")]);
    world.country.enter(&[("202608", "800"), ("202609", "9")]);
    let done = world.round();
    assert_eq!((done.clashes, done.refused), (1, 0), "{done:?}");
    let conflicts = world.conflicts();
    let [conflict] = conflicts.as_slice() else {
        panic!("{conflicts:?}");
    };
    assert_eq!(
        (conflict.kind, conflict.fields.as_slice()),
        (ConflictKind::AddAdd, ["value".to_owned()].as_slice())
    );
    assert!(format!("{:?}", conflict.theirs).contains("800"));
    let all = pairs(&[("202608", "8"), ("202609", "9")]);
    assert_eq!(
        (world.country.values(), world.clinic.values()),
        (all.clone(), all)
    );
    let clash = &world.state().clashes[0];
    assert_eq!(
        (clash.about.as_str(), clash.user.as_str()),
        ("hvDeCases01 202608 hvOuFacil01", "root")
    );
    world.assert_quiet();
}

#[test]
fn what_is_taken_back_and_entered_anew_on_one_day_is_no_conflict() {
    let world = World::new();
    for turn in 0..3 {
        world.clinic.enter(&[("202608", "8")]);
        world.clinic.complete("202608", true);
        world.round();
        assert_eq!(world.country.values(), pairs(&[("202608", "8")]), "{turn}");
        assert_eq!(world.country.completed(), ["202608"]);
        world.clinic.enter(&[("202608", "")]);
        world.clinic.complete("202608", false);
        world.round();
        assert_eq!(world.country.values(), []);
        assert_eq!(world.country.completed(), [""; 0]);
    }
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    world.assert_quiet();
}

#[test]
fn a_value_that_the_country_refuses_is_told_with_what_it_is_about() {
    let world = World::new();
    let strict = json!({"dataElements": [{"id": "hvDeCases01", "name": "Cases", "valueType": "INTEGER_POSITIVE", "domainType": "AGGREGATE", "categoryCombo": {"id": "hvCatCombo1"}}]});
    let told = world
        .country
        .http
        .post("metadata", &[], Some(&strict))
        .unwrap();
    assert_eq!(told.status, 200);
    world.clinic.enter(&[("202608", "-8"), ("202609", "9")]);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (1, 1), "{done:?}");
    let state = world.state();
    let [said] = state.said.as_slice() else {
        panic!("{state:?}");
    };
    assert_eq!(
        (said.conflict.code.as_str(), said.conflict.value.as_str()),
        ("E7619", "-8")
    );
    assert_eq!(
        (said.about.as_str(), said.user.as_str()),
        ("hvDeCases01 202608 hvOuFacil01", "root")
    );
    assert_eq!(world.country.values(), pairs(&[("202609", "9")]));
    world.clinic.enter(&[("202608", "88")]);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (1, 0), "{done:?}");
    assert!(world.state().said.is_empty());
}

/// Files of people and of reports.
impl World {
    pub(crate) fn with_files() -> Self {
        let world = Self::new();
        let of = |path: &str| world.country.http.get(path, &[("fields", "*")]).unwrap();
        let grow = |path: &str, list: &str, member: Value| {
            let mut object = of(path);
            object[list].as_array_mut().unwrap().push(member);
            object
        };
        let metadata = json!({
            "trackedEntityAttributes": [{"id": "hvAttrFile1", "name": "Consent", "valueType": "FILE_RESOURCE"}],
            "dataElements": [{"id": "hvDeReport1", "name": "Report", "valueType": "FILE_RESOURCE"}],
            "trackedEntityTypes": [grow("trackedEntityTypes/hvTeType001", "trackedEntityTypeAttributes", json!({"trackedEntityAttribute": {"id": "hvAttrFile1"}}))],
            "dataSets": [grow("dataSets/hvDataSet01", "dataSetElements", json!({"dataElement": {"id": "hvDeReport1"}}))],
        });
        let told = world
            .country
            .http
            .post("metadata", &[], Some(&metadata))
            .unwrap();
        assert_eq!(told.status, 200, "{}", told.body);
        world.round_with_metadata(true);
        world
    }
}

impl Place {
    pub(crate) fn add_file(&self, content: &[u8]) -> String {
        let told = self
            .http
            .post_file("fileResources", "a file.txt", "text/plain", content)
            .unwrap();
        let id = &told.body["response"]["fileResource"]["id"];
        id.as_str().unwrap().to_owned()
    }
    pub(crate) fn consents(&self, n: u32, file: &str) {
        self.send(&json!({"trackedEntities": [{"trackedEntity": format!("hvTe{n:07}"), "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
            "attributes": [{"attribute": "hvAttrFile1", "value": file}]}]}));
    }
    pub(crate) fn reports(&self, file: &str) {
        self.enter_all(&[json!({"dataElement": "hvDeReport1", "period": "202608", "orgUnit": "hvOuFacil01", "value": file})]);
    }
    pub(crate) fn consent(&self, n: u32) -> Option<Vec<u8>> {
        let path = format!("trackedEntityInstances/hvTe{n:07}/hvAttrFile1/file");
        let found = self.http.get_file(&path, &[], MAX_BYTES).ok()?;
        found.map(|file| file.content)
    }
    pub(crate) fn report(&self) -> Option<Vec<u8>> {
        let params = [
            ("de", "hvDeReport1"),
            ("pe", "202608"),
            ("ou", "hvOuFacil01"),
        ];
        let found = self.http.get_file("dataValues/files", &params, MAX_BYTES);
        found.ok()?.map(|file| file.content)
    }
    pub(crate) fn named_by(&self, n: u32) -> String {
        let told = self.entity(n);
        let mut all = told["attributes"].as_array().unwrap().iter();
        let found = all.find(|one| one["attribute"] == "hvAttrFile1").unwrap();
        found["value"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_file_goes_up_before_what_names_it_and_devices_keep_the_name_that_they_know() {
    let world = World::with_files();
    let (consent, report) = (
        world.clinic.add_file(b"signed"),
        world.clinic.add_file(b"numbers"),
    );
    world.clinic.consents(1, &consent);
    world.clinic.reports(&report);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (2, 0), "{done:?}");
    assert_eq!(world.country.consent(1).unwrap(), b"signed");
    assert_eq!(world.country.report().unwrap(), b"numbers");
    assert_ne!(
        world.country.named_by(1),
        consent,
        "it is the country's name"
    );
    assert_eq!(world.clinic.named_by(1), consent);
    world.assert_quiet();
    // What else changes in the record does not change the name, in either direction.
    let mut named = json!({"trackedEntities": [{"trackedEntity": "hvTe0000001", "trackedEntityType": "hvTeType001", "orgUnit": "hvOuFacil01",
        "attributes": [{"attribute": "hvAttrName1", "value": "device"}, {"attribute": "hvAttrFile1", "value": consent}]}]});
    world.clinic.send(&named);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (1, 0), "{:?}", world.state());
    named["trackedEntities"][0]["attributes"] =
        json!([{"attribute": "hvAttrName1", "value": "country"}]);
    world.country.send(&named);
    world.round();
    assert_eq!(world.clinic.name(1), "country");
    assert_eq!(world.clinic.named_by(1), consent);
    assert_eq!(world.country.consent(1).unwrap(), b"signed");
    assert!(world.conflicts().is_empty(), "{:?}", world.conflicts());
    world.assert_quiet();
}

#[test]
fn files_of_the_country_come_down_with_what_names_them() {
    let world = World::with_files();
    let (consent, report) = (
        world.country.add_file(b"signed there"),
        world.country.add_file(b"numbers there"),
    );
    world.country.consents(2, &consent);
    world.country.reports(&report);
    let done = world.round();
    assert_eq!(
        (done.collected, done.sent, done.files),
        (0, 0, 2),
        "{done:?}"
    );
    assert_eq!(world.clinic.consent(2).unwrap(), b"signed there");
    assert_eq!(world.clinic.report().unwrap(), b"numbers there");
    assert_eq!(world.clinic.named_by(2), consent);
    world.assert_quiet();
}

#[test]
fn a_file_that_the_country_does_not_take_is_told_and_holds_up_only_what_names_it() {
    let world = World::with_files();
    let file = world.clinic.add_file(b"");
    world.clinic.consents(1, &file);
    world.clinic.enter(&[("202608", "8")]);
    let done = world.round();
    assert_eq!(done.sent, 1, "{done:?}");
    let state = world.state();
    let [said] = state.said.as_slice() else {
        panic!("{state:?}");
    };
    assert_eq!(
        (said.conflict.kind.as_str(), said.conflict.object.as_str()),
        ("file", file.as_str())
    );
    assert_eq!(
        (said.about.as_str(), said.user.as_str()),
        ("a file.txt", "root")
    );
    // Another one is named instead: the first is forgotten.
    let file = world.clinic.add_file(b"signed");
    world.clinic.consents(1, &file);
    let done = world.round();
    assert_eq!((done.sent, done.refused), (1, 0), "{done:?}");
    assert_eq!(world.country.consent(1).unwrap(), b"signed");
    let state = world.state();
    assert_eq!((state.waiting, state.refused, state.said.len()), (0, 0, 0));
}
