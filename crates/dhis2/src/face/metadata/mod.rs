//! Metadata: objects by their uids, in one collection for each type.
//!
//! Stored as they were sent; what a request asks for is projected from that, references are filled in from the objects that they name.

pub(crate) mod fields;
pub(crate) mod filter;
mod patch;
pub(crate) mod read;
pub(crate) mod single;
pub(crate) mod special;
pub(crate) mod write;

/// The types, by the names of their collections.
pub(crate) const TYPES: &[&str] = &[
    "attributes",
    "categories",
    "categoryCombos",
    "categoryOptionCombos",
    "categoryOptionGroupSets",
    "categoryOptionGroups",
    "categoryOptions",
    "constants",
    "dashboards",
    "dataElementGroupSets",
    "dataElementGroups",
    "dataElements",
    "dataEntryForms",
    "dataSets",
    "documents",
    "eventFilters",
    "eventVisualizations",
    "expressionDimensionItems",
    "icons",
    "indicatorGroupSets",
    "indicatorGroups",
    "indicatorTypes",
    "indicators",
    "legendSets",
    "maps",
    "optionGroups",
    "optionSets",
    "options",
    "organisationUnitGroupSets",
    "organisationUnitGroups",
    "organisationUnitLevels",
    "organisationUnits",
    "programIndicators",
    "programRuleActions",
    "programRuleVariables",
    "programRules",
    "programSections",
    "programStageSections",
    "programStageWorkingLists",
    "programStages",
    "programs",
    "relationshipTypes",
    "trackedEntityAttributes",
    "trackedEntityInstanceFilters",
    "trackedEntityTypes",
    "userGroups",
    "userRoles",
    "users",
    "validationRules",
    "visualizations",
];

/// Whether a name is that of a type.
pub(crate) fn is_type(name: &str) -> bool {
    TYPES.contains(&name)
}

/// The type of the objects that a member refers to: `programStages`, `programStage`, `parent`.
pub(crate) fn type_of_member(member: &str) -> Option<&'static str> {
    match member {
        "parent" | "ancestors" | "children" => return Some("organisationUnits"),
        _ => {}
    }
    let known = |name: &str| TYPES.iter().copied().find(|of| *of == name);
    known(member)
        .or_else(|| known(&format!("{member}s")))
        .or_else(|| known(&format!("{}ies", member.strip_suffix('y')?)))
}
