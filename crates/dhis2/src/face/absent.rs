//! What other servers of the dialect have and this one has not, with what to do instead.

/// Addresses and sentences; `*` is any segment, `..` at the end whatever follows.
const TABLE: &[(&[&str], &str)] = &[
    (
        &["sharing", ".."],
        "this server tells and takes sharing with its object: read and change the member sharing of it",
    ),
    (
        &["analytics", ".."],
        "this server has no analytics: ask for the values with dataValueSets, and for tracker data with tracker",
    ),
    (
        &["userDataStore", ".."],
        "this server keeps no entries of single users: keep them in dataStore, with the user's name in the key",
    ),
    (
        &["dataStore", "*", "*", "metaData"],
        "this server tells nothing about an entry but its value: leave out metaData",
    ),
    (
        &["me", "authorization", "*"],
        "this server tells all authorities at once: ask me/authorization, and look for the one in the list",
    ),
    (
        &["me", "changePassword"],
        "this server takes no passwords by its API: its administrator sets them",
    ),
    (
        &["me", "password"],
        "this server takes no passwords by its API: its administrator sets them",
    ),
    (
        &["userSettings", "*"],
        "this server has no single settings: ask userSettings for all of them; they cannot be changed",
    ),
    (
        &["systemSettings", "*"],
        "this server has no single settings by address: ask systemSettings?key=NAME; they cannot be changed",
    ),
    (
        &["dataApprovals"],
        "this server has no approvals: values may be entered without; dataApprovals/multiple tells an empty list",
    ),
    (
        &["dataApprovals", "approvals"],
        "this server has no approvals: values may be entered without",
    ),
    (
        &["tracker", "*", "*", "changeLogs"],
        "this server tells no change log by this API: ask for the object, whose updatedAt says when it changed last",
    ),
    (
        &["tracker", "*", "*", "note"],
        "this server takes no note by itself: send the enrollment or event with it in notes to tracker",
    ),
    (
        &["enrollments", "*", "note"],
        "this server takes no note by itself: send the enrollment with it in notes",
    ),
    (
        &["events", "*", "note"],
        "this server takes no note by itself: send the event with it in notes",
    ),
    (
        &["enrollments", "*", "completed"],
        "this server changes no status by itself: send the enrollment with its new status",
    ),
    (
        &["enrollments", "*", "cancelled"],
        "this server changes no status by itself: send the enrollment with its new status",
    ),
    (
        &["trackedEntityInstances", "query"],
        "this server tells no tables of entities: ask trackedEntityInstances itself, with the same parameters",
    ),
    (
        &["events", "query"],
        "this server tells no tables of events: ask events itself, with the same parameters",
    ),
    (
        &["tracker", "events.csv"],
        "this server tells JSON alone: ask tracker/events",
    ),
    (
        &["tracker", "trackedEntities.csv"],
        "this server tells JSON alone: ask tracker/trackedEntities",
    ),
];

/// What is said of an address that others have.
pub(crate) fn why(words: &[&str]) -> Option<&'static str> {
    let is_one = |pattern: &[&str]| {
        let (pattern, words) = match pattern {
            [front @ .., ".."] => (front, words.get(..front.len())),
            exact => (exact, Some(words)),
        };
        words.is_some_and(|words| {
            words.len() == pattern.len()
                && pattern
                    .iter()
                    .zip(words)
                    .all(|(wanted, word)| *wanted == "*" || wanted == word)
        })
    };
    let mut found = TABLE.iter().filter(|(pattern, _)| is_one(pattern));
    found.next().map(|(_, sentence)| *sentence)
}
