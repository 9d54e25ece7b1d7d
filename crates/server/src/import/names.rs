//! Names: kept as they are wherever that is possible.

use haversack_model::{Collection, Service};

/// Names that a layer's own columns have, and that SQLite keeps for itself.
const TAKEN: [&str; 7] = [
    "OBJECTID", "GlobalID", "geom", "fid", "rowid", "oid", "_rowid_",
];

/// A name for each field: its own, unless that is empty, taken, or holds what no client can write.
pub(super) fn field_names<'a>(wanted: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut used: Vec<String> = TAKEN.iter().map(|name| name.to_lowercase()).collect();
    wanted
        .map(|name| {
            let mut clean: String = name
                .trim_matches(' ')
                .chars()
                .map(|c| if c.is_control() || c == '"' { '_' } else { c })
                .collect();
            if clean.is_empty() {
                "field".clone_into(&mut clean);
            }
            let unique = unique(&clean, |name| used.contains(&name.to_lowercase()));
            used.push(unique.to_lowercase());
            unique
        })
        .collect()
}

/// An SQL identifier without surprises for a layer's table, unused in the service.
pub(super) fn table_name(name: &str, service: &Service) -> String {
    let mut clean: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .take(50)
        .collect();
    if !clean.starts_with(|c: char| c.is_ascii_lowercase()) {
        clean.insert_str(0, "t_");
    }
    if ["gpkg", "rtree", "sqlite", "haversack"]
        .iter()
        .any(|p| clean.starts_with(p))
    {
        clean.insert_str(0, "t_");
    }
    let taken = |name: &str| {
        let has = |c: &Collection| c.table.eq_ignore_ascii_case(name);
        service.collections.iter().any(has)
    };
    unique(&clean, taken)
}

fn unique(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    (1..u32::MAX)
        .map(|n| format!("{name}_{n}"))
        .find(|candidate| !is_taken(candidate))
        .expect("numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_unless_they_cannot_be() {
        let wanted = ["NAME", "名前", "objectid", "a b-c", "", "name", "x\"y\n"];
        assert_eq!(
            field_names(wanted.into_iter()),
            [
                "NAME",
                "名前",
                "objectid_1",
                "a b-c",
                "field",
                "name_1",
                "x_y_"
            ]
        );
    }
}
