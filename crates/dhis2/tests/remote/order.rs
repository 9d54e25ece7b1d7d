//! Metadata: the order in which `spec/dhis2.md` 3 has everything asked for, and how much at once.

use haversack_dhis2::remote::metadata;
use serde_json::{Value as Json, json};

use crate::fake::{Asked, Does, Fake};

/// The table of the specification: what is asked for in each of its rows. The order within a row is free.
const ROWS: [&[&str]; 16] = [
    &["system/info"],
    &["loginConfig"],
    &[
        "dataStore/ANDROID_SETTINGS_APP/info",
        "dataStore/ANDROID_SETTINGS_APP/generalSettings",
        "dataStore/ANDROID_SETTINGS_APP/synchronization",
        "dataStore/ANDROID_SETTINGS_APP/appearance",
        "dataStore/ANDROID_SETTINGS_APP/analytics",
        "dataStore/ANDROID_SETTINGS_APP/customIntents",
    ],
    &["userSettings", "systemSettings"],
    &["constants", "categoryCombos"],
    &["me", "me/authorization"],
    &["organisationUnitLevels"],
    &["organisationUnits"],
    &["programs"],
    &["programStages"],
    &["trackedEntityTypes", "trackedEntityAttributes"],
    &[
        "programRules",
        "relationshipTypes",
        "optionSets",
        "options",
        "optionGroups",
    ],
    &[
        "trackedEntityInstanceFilters",
        "eventFilters",
        "programStageWorkingLists",
    ],
    &[
        "dataSets",
        "dataElements",
        "optionSets",
        "options",
        "validationRules",
    ],
    &[
        "categoryCombos",
        "categoryOptionCombos",
        "categories",
        "categoryOptions",
        "categoryOptions/orgUnits",
    ],
    &[
        "visualizations",
        "eventVisualizations",
        "programIndicators",
        "indicators",
        "indicatorTypes",
        "legendSets",
        "attributes",
        "expressionDimensionItems",
        "icons",
    ],
];

const NORTH: &str = "rootNorth01";
const SOUTH: &str = "rootSouth01";

/// A server with more of everything than goes into one request, for a user who searches in the north and enters data in a part of
/// the north and in the south.
fn large() -> Fake {
    let fake = Fake::start("2.41.0");
    let reference = |id: String| json!({ "id": id });
    for n in 0..120 {
        fake.add("programs", json!({"id": format!("program{n:04}"), "programType": "WITH_REGISTRATION",
            "trackedEntityType": {"id": format!("teType{n:05}")}, "categoryCombo": {"id": format!("combo{n:06}")}}));
        fake.add(
            "programStages",
            json!({"id": format!("stage{n:06}"),
            "programStageDataElements": [{"dataElement": {"id": format!("element{n:04}")}}]}),
        );
        fake.add("trackedEntityTypes", json!({"id": format!("teType{n:05}"),
            "trackedEntityTypeAttributes": [{"trackedEntityAttribute": {"id": format!("attrib{n:05}")}}]}));
        fake.add(
            "trackedEntityAttributes",
            json!({"id": format!("attrib{n:05}"), "optionSet": {"id": "optionsAttr"}}),
        );
    }
    let elements: Vec<Json> = (100..270)
        .map(|n| json!({"dataElement": {"id": format!("element{n:04}")}}))
        .collect();
    fake.add(
        "dataSets",
        json!({"id": "dataSet0001", "dataSetElements": elements, "indicators": [{"id": "indicator01"}]}),
    );
    for n in 0..270 {
        fake.add(
            "dataElements",
            json!({"id": format!("element{n:04}"), "optionSet": {"id": "optionsElem"},
            "categoryCombo": {"id": format!("combo{n:06}")}}),
        );
        fake.add("categoryCombos", json!({"id": format!("combo{n:06}"), "categories": [reference(format!("categ{:06}", n % 185))]}));
    }
    for n in 0..185 {
        fake.add("categories", json!({"id": format!("categ{n:06}"), "categoryOptions": [reference(format!("option{n:05}"))]}));
    }
    fake.add("validationRules", json!({"id": "validRule01"}));
    for of in ["visualizations", "eventVisualizations"] {
        let id = &format!("{of:x<11}")[..11];
        fake.add(of, json!({"id": id, "dataDimensionItems": [{"expressionDimensionItem": {"id": "expression1"}}]}));
    }
    fake.script(|asked| {
        let body = match asked.path.as_str() {
            "me" => json!({"id": "userAda0001", "username": "ada",
                "teiSearchOrganisationUnits": [{"id": NORTH, "path": format!("/{NORTH}")}],
                "organisationUnits": [{"id": "partNorth01", "path": format!("/{NORTH}/partNorth01")}, {"id": SOUTH, "path": format!("/{SOUTH}")}]}),
            "organisationUnits" => json!({"organisationUnits": units(asked)}),
            "dataStore/ANDROID_SETTINGS_APP/info" => json!({"androidSettingsVersion": "2.0"}),
            "dataStore/ANDROID_SETTINGS_APP/analytics" => {
                let chosen = json!([{"id": "visualizati"}, {"id": "eventVisual"}]);
                json!({"dhisVisualizations": {"home": [{"visualizations": chosen}]}})
            }
            _ => return None,
        };
        Some(Does::Answers(200, body))
    });
    fake
}

/// A page of units: a thousand in the north, so that the last of three is empty, and twenty in the south.
fn units(asked: &Asked) -> Vec<Json> {
    let number = |name: &str| asked.param(name).unwrap().parse::<usize>().unwrap();
    let root = asked.param("filter").unwrap();
    let root = root.strip_prefix("path:like:").unwrap();
    let all = if root == NORTH { 1000 } else { 20 };
    let programs: Vec<Json> = (0..120)
        .map(|n| json!({"id": format!("program{n:04}")}))
        .collect();
    (0..all)
        .skip((number("page") - 1) * number("pageSize"))
        .take(number("pageSize"))
        .map(|n| {
            let id = format!("{}{n:06}", &root[4..9]);
            let linked = if n == 0 { programs.clone() } else { Vec::new() };
            json!({"id": id, "path": format!("/{root}/{id}"), "programs": linked, "dataSets": [{"id": "dataSet0001"}]})
        })
        .collect()
}

fn of<'a>(asked: &'a [Asked], path: &str) -> Vec<&'a Asked> {
    asked.iter().filter(|asked| asked.path == path).collect()
}

/// How many uids each request for a type names in a property.
fn uids(asked: &[Asked], path: &str, property: &str) -> Vec<usize> {
    let begin = format!("{property}:in:[");
    let filters = of(asked, path).into_iter().map(|a| a.param("filter"));
    filters
        .filter_map(|filter| {
            let filter = filter?;
            let list = filter.strip_prefix(&begin)?.strip_suffix(']')?;
            Some(list.split(',').count())
        })
        .collect()
}

#[test]
fn everything_in_the_table_is_asked_for_in_the_order_of_the_table() {
    let fake = large();
    let server = fake.server();
    let connected = fake.asked("");
    assert_eq!(connected[0].path, "system/info");
    metadata::fetch(&server, &mut |_| {}).unwrap();
    let mut asked = fake.asked("");
    asked.insert(0, connected[0].clone());

    let mut row = 0;
    let mut missing: Vec<Vec<&str>> = ROWS.iter().map(|row| row.to_vec()).collect();
    for asked in &asked {
        let at = (row..ROWS.len()).find(|at| ROWS[*at].contains(&asked.path.as_str()));
        row = at.unwrap_or_else(|| panic!("{} after row {}", asked.path, row + 1));
        missing[row].retain(|path| *path != asked.path);
    }
    assert_eq!(missing.concat(), [""; 0], "never asked for");
    let combos = of(&asked, "categoryCombos");
    assert_eq!(
        combos[0].param("filter").as_deref(),
        Some("name:eq:default")
    );
    let keys = &of(&asked, "systemSettings")[0].query;
    assert_eq!(keys, "key=keyFlag&key=keyStyle");
}

#[test]
fn so_many_uids_and_so_many_units_are_asked_for_at_once() {
    let fake = large();
    let server = fake.server();
    fake.asked("");
    let found = metadata::fetch(&server, &mut |_| {}).unwrap();
    let asked = fake.asked("");
    for (path, property, sizes) in [
        ("programs", "id", &[50, 50, 20][..]),
        ("programStages", "program.id", &[64, 56]),
        ("trackedEntityTypes", "id", &[64, 56]),
        ("trackedEntityAttributes", "id", &[64, 56]),
        ("programRules", "program.id", &[64, 56]),
        ("optionSets", "id", &[1, 1]),
        ("options", "optionSet.id", &[1, 1]),
        ("dataSets", "id", &[1]),
        ("dataElements", "id", &[100, 100, 70]),
        ("categoryCombos", "id", &[130, 130, 10]),
        ("categories", "id", &[90, 90, 5]),
        ("visualizations", "id", &[1, 1]),
        ("eventVisualizations", "id", &[1]),
        ("programIndicators", "program.id", &[64, 56]),
    ] {
        assert_eq!(uids(&asked, path, property), sizes, "{path}");
    }
    for path in ["programs", "programStages", "dataSets"] {
        let readable = "filter=access.data.read%3Aeq%3Atrue";
        let all = of(&asked, path);
        assert!(all.iter().all(|a| a.query.contains(readable)), "{path}");
    }
    // All but units come without pages.
    let listed = asked.iter().filter(|a| a.param("fields").is_some());
    for asked in listed.filter(|a| !["me", "organisationUnits"].contains(&a.path.as_str())) {
        assert_eq!(asked.param("paging").as_deref(), Some("false"), "{asked:?}");
    }

    let pages: Vec<_> = of(&asked, "organisationUnits")
        .iter()
        .map(|asked| {
            ["filter", "order", "paging", "pageSize", "page"].map(|name| asked.param(name).unwrap())
        })
        .collect();
    let page = |root: &str, page: &str| {
        [&format!("path:like:{root}"), "id:asc", "true", "500", page].map(str::to_owned)
    };
    assert_eq!(
        pages,
        [
            page(NORTH, "1"),
            page(NORTH, "2"),
            page(NORTH, "3"),
            page(SOUTH, "1")
        ],
        "roots of the search scope, then those of the capture scope outside of it, until a page is short"
    );
    assert_eq!(found.objects["organisationUnits"].len(), 1020);
}
