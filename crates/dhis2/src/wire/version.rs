//! What a server of some version speaks: which importer and exporter, and what their parameters are called.
//!
//! Source: `spec/dhis2.md` 1, 5.1, 5.4 and 8.

use std::fmt;
use std::str::FromStr;

/// A server's version: `2.41.0` is line 41, patch 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The line, 41 of `2.41.0`.
    pub line: u16,
    /// The patch; 0 if it is not told.
    pub patch: u16,
}

/// A version that cannot be read, or below 2.29.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of DHIS2 from 2.29 on")]
pub struct NotAVersion(pub String);

impl FromStr for Version {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let read = || {
            let rest = text.trim().strip_prefix("2.")?;
            let end = |part: &str| {
                let end = part.find(|c: char| !c.is_ascii_digit());
                end.unwrap_or(part.len())
            };
            let line = rest[..end(rest)].parse().ok()?;
            let rest = rest[end(rest)..].strip_prefix('.').unwrap_or_default();
            let patch = rest[..end(rest)].parse().unwrap_or(0);
            (line >= 29).then_some(Self { line, patch })
        };
        read().ok_or_else(|| NotAVersion(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}.{}", self.line, self.patch)
    }
}

/// One of the two tracker APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `trackedEntityInstances`, `events`: up to 2.41.
    Old,
    /// `tracker/..`: from 2.38 on.
    New,
}

/// What differs in the parameters of the new exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Uids of tracked entities.
    pub tracked_entities: &'static str,
    /// Uids of organisation units.
    pub org_units: &'static str,
    /// How they are meant.
    pub mode: &'static str,
    /// Uids of events.
    pub events: &'static str,
    /// What stands between uids.
    pub separator: &'static str,
}

impl Version {
    /// The version that the face answers as: of the line that has both APIs.
    pub const OURS: Self = Self { line: 41, patch: 0 };

    /// Which importer takes uploads; `chosen` is what the settings app of the server says.
    pub fn importer(self, chosen: Option<Api>) -> Api {
        match self.line {
            ..38 => Api::Old,
            38 | 39 => chosen.unwrap_or(Api::Old),
            40 | 41 => chosen.unwrap_or(Api::New),
            _ => Api::New,
        }
    }
    /// Which exporter gives downloads.
    pub fn exporter(self, chosen: Option<Api>) -> Api {
        match self.line {
            ..40 => Api::Old,
            40 | 41 => chosen.unwrap_or(Api::New),
            _ => Api::New,
        }
    }
    /// The strategy by which the old importer creates, updates and deletes in one request; 2.29 cannot delete in it.
    pub fn old_strategy(self) -> &'static str {
        if self.line == 29 {
            "CREATE_AND_UPDATE"
        } else {
            "SYNC"
        }
    }
    /// Parameters of the new exporter.
    pub fn parameters(self) -> Parameters {
        if self.line < 41 {
            Parameters {
                tracked_entities: "trackedEntity",
                org_units: "orgUnit",
                mode: "ouMode",
                events: "event",
                separator: ";",
            }
        } else {
            Parameters {
                tracked_entities: "trackedEntities",
                org_units: "orgUnits",
                mode: "orgUnitMode",
                events: "events",
                separator: ",",
            }
        }
    }
    /// Parameter that names the tracked entity for which the glass is broken.
    pub fn glass_parameter(self) -> &'static str {
        if self.line < 41 {
            "trackedEntityInstance"
        } else {
            "trackedEntity"
        }
    }
    /// Parameter that names the unit to which a tracked entity is handed over.
    pub fn transfer_parameter(self) -> &'static str {
        if self.line < 42 { "ou" } else { "orgUnit" }
    }
    /// Whether user name and roles stand in the user itself, and not in its `userCredentials`.
    pub fn user_is_flat(self) -> bool {
        self.line >= 38
    }
    /// Whether each data set takes a request of its own when data values are sent.
    pub fn values_by_data_set(self) -> bool {
        self.line >= 39
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: u16) -> Version {
        Version { line, patch: 0 }
    }

    #[test]
    fn versions_are_read_as_servers_write_them() {
        for (text, expected) in [
            ("2.41.0", (41, 0)),
            ("2.29", (29, 0)),
            ("2.42-SNAPSHOT", (42, 0)),
            ("2.40.4.1", (40, 4)),
            ("2.38.1-EMBARGOED", (38, 1)),
        ] {
            let version: Version = text.parse().unwrap();
            assert_eq!((version.line, version.patch), expected, "{text}");
        }
        for text in ["", "2.28", "2.", "3.1", "two", "2.x"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_line_has_its_importer_and_exporter() {
        use Api::{New, Old};
        for (number, import, export) in [
            (29, [Old, Old, Old], [Old, Old, Old]),
            (37, [Old, Old, Old], [Old, Old, Old]),
            (38, [Old, Old, New], [Old, Old, Old]),
            (39, [Old, Old, New], [Old, Old, Old]),
            (40, [New, Old, New], [New, Old, New]),
            (41, [New, Old, New], [New, Old, New]),
            (42, [New, New, New], [New, New, New]),
            (43, [New, New, New], [New, New, New]),
        ] {
            let chosen = [None, Some(Old), Some(New)];
            assert_eq!(chosen.map(|c| line(number).importer(c)), import, "{number}");
            assert_eq!(chosen.map(|c| line(number).exporter(c)), export, "{number}");
        }
    }

    #[test]
    fn parameters_change_their_names_with_the_line() {
        assert_eq!(line(40).parameters().tracked_entities, "trackedEntity");
        assert_eq!(line(41).parameters().separator, ",");
        assert_eq!(line(40).glass_parameter(), "trackedEntityInstance");
        assert_eq!(line(43).transfer_parameter(), "orgUnit");
        assert_eq!(line(41).transfer_parameter(), "ou");
        assert_eq!(line(29).old_strategy(), "CREATE_AND_UPDATE");
        assert_eq!(line(30).old_strategy(), "SYNC");
        assert!(line(38).user_is_flat() && !line(37).user_is_flat());
        assert!(line(39).values_by_data_set() && !line(38).values_by_data_set());
    }
}
