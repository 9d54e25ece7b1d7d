//! Who may read and write a metadata object and its data: the object's sharing.
//!
//! An object without sharing is open to whoever may use the instance; superusers are let through always. Both spellings are read: `sharing` with
//! `public`, `owner`, `users` and `userGroups`, and the older `publicAccess`, `user`, `userAccesses` and `userGroupAccesses`. What other servers
//! have told as `access` of whoever asked them holds besides, for everybody. Source: `spec/dhis2.md` 3 and 7.3.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::system::User;

/// The members of an object in which sharing is told, in both spellings.
pub(crate) const MEMBERS: [&str; 4] = [
    "sharing",
    "publicAccess",
    "userAccesses",
    "userGroupAccesses",
];

/// What may be done: `rwrw----`, as the text of a grant has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four letters of one text")]
struct Grant {
    read: bool,
    write: bool,
    reads_data: bool,
    writes_data: bool,
}

impl Grant {
    fn of(text: &str) -> Self {
        let has = |at: usize, letter: u8| text.as_bytes().get(at) == Some(&letter);
        let writes_data = has(3, b'w');
        Self {
            read: has(0, b'r'),
            write: has(1, b'w'),
            // Who enters data sees them.
            reads_data: has(2, b'r') || writes_data,
            writes_data,
        }
    }
}

/// The sharing of an object that has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sharing {
    public: Grant,
    owner: String,
    users: BTreeMap<String, Grant>,
    groups: BTreeMap<String, Grant>,
}

fn text<'a>(object: Option<&'a Value>, member: &str) -> Option<&'a str> {
    object?.get(member)?.as_str()
}

impl Sharing {
    fn of(members: &Map<String, Value>) -> Option<Self> {
        let told = match members.get("sharing") {
            Some(Value::Object(sharing)) => Self::of_new(sharing),
            _ => Self::of_old(members),
        };
        // Objects of types that have no sharing are exported with an empty one.
        let (public, sharing) = told;
        let is_open = public.is_none() && sharing.users.is_empty() && sharing.groups.is_empty();
        (!is_open).then(|| Self {
            public: public.unwrap_or_default(),
            ..sharing
        })
    }
    fn of_new(sharing: &Map<String, Value>) -> (Option<Grant>, Self) {
        let grants = |member: &str| {
            let all = sharing.get(member).and_then(Value::as_object);
            let all = all.into_iter().flatten();
            all.map(|(id, grant)| {
                let access = text(Some(grant), "access").unwrap_or_default();
                (id.clone(), Grant::of(access))
            })
            .collect()
        };
        let public = sharing.get("public").and_then(Value::as_str);
        let owner = sharing.get("owner").and_then(Value::as_str);
        let read = Self {
            public: Grant::default(),
            owner: owner.unwrap_or_default().to_owned(),
            users: grants("users"),
            groups: grants("userGroups"),
        };
        (public.map(Grant::of), read)
    }
    fn of_old(members: &Map<String, Value>) -> (Option<Grant>, Self) {
        let grants = |member: &str, longer: &str| {
            let all = members.get(member).and_then(Value::as_array);
            let all = all.into_iter().flatten();
            all.filter_map(|grant| {
                let id = text(Some(grant), "id").or(text(Some(grant), longer))?;
                let access = text(Some(grant), "access").unwrap_or_default();
                Some((id.to_owned(), Grant::of(access)))
            })
            .collect()
        };
        let public = members.get("publicAccess").and_then(Value::as_str);
        let read = Self {
            public: Grant::default(),
            owner: text(members.get("user"), "id")
                .unwrap_or_default()
                .to_owned(),
            users: grants("userAccesses", "userUid"),
            groups: grants("userGroupAccesses", "userGroupUid"),
        };
        (public.map(Grant::of), read)
    }
    fn allows(&self, user: &User, what: impl Fn(&Grant) -> bool) -> bool {
        user.has_all()
            || what(&self.public)
            || self.users.get(user.id()).is_some_and(&what)
            || user
                .groups()
                .iter()
                .any(|group| self.groups.get(group).is_some_and(&what))
    }
    /// Owners read and change the object; its data are another matter.
    fn is_owned_by(&self, user: &User) -> bool {
        !self.owner.is_empty() && self.owner == user.id()
    }
}

/// Who may do what with an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    sharing: Option<Sharing>,
    /// What holds for everybody, as another server told it of whoever asked there.
    is_unreadable: bool,
    is_unwritable: bool,
}

impl Access {
    /// Reads it from the members of an object.
    pub(crate) fn of(members: &Map<String, Value>) -> Self {
        let data = members.get("access").and_then(|access| access.get("data"));
        let is_refused =
            |name: &str| data.and_then(|data| data.get(name)) == Some(&Value::Bool(false));
        Self {
            sharing: Sharing::of(members),
            is_unreadable: is_refused("read"),
            is_unwritable: is_refused("write"),
        }
    }
    /// Whether the object has sharing.
    pub(crate) fn is_shared(&self) -> bool {
        self.sharing.is_some()
    }
    fn allows(&self, user: &User, what: impl Fn(&Grant) -> bool) -> bool {
        let sharing = self.sharing.as_ref();
        sharing.is_none_or(|sharing| sharing.allows(user, what))
    }
    fn owns(&self, user: &User) -> bool {
        let sharing = self.sharing.as_ref();
        sharing.is_some_and(|sharing| sharing.is_owned_by(user))
    }
    /// Whether somebody may see the object.
    pub(crate) fn shows(&self, user: &User) -> bool {
        self.owns(user) || self.allows(user, |grant| grant.read)
    }
    /// Whether somebody who may publish may change the object.
    pub(crate) fn may_change(&self, user: &User) -> bool {
        self.owns(user) || self.allows(user, |grant| grant.write)
    }
    /// Whether somebody may see its data.
    pub(crate) fn reads_data(&self, user: &User) -> bool {
        !self.is_unreadable && self.allows(user, |grant| grant.reads_data)
    }
    /// Whether somebody may enter and change its data.
    pub(crate) fn writes_data(&self, user: &User) -> bool {
        !self.is_unwritable && self.allows(user, |grant| grant.writes_data)
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Map::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn access(object: &Value) -> Access {
        Access::of(object.as_object().unwrap())
    }

    #[test]
    fn letters_grant_what_they_stand_for() {
        let grant = |text| {
            let grant = Grant::of(text);
            [grant.read, grant.write, grant.reads_data, grant.writes_data]
        };
        assert_eq!(grant("r-------"), [true, false, false, false]);
        assert_eq!(grant("rw------"), [true, true, false, false]);
        assert_eq!(grant("--r-----"), [false, false, true, false]);
        assert_eq!(grant("---w----"), [false, false, true, true]);
        for odd in ["", "wr", "RWRW", "--------", "xé", "\u{1F600}"] {
            assert_eq!(grant(odd), [false; 4], "{odd}");
        }
    }

    #[test]
    fn both_spellings_say_the_same() {
        let new = json!({"sharing": {"public": "r-------", "owner": "o", "users": {"u": {"id": "u", "access": "rwrw----"}},
            "userGroups": {"g": {"access": "--r-----"}}}});
        let old = json!({"publicAccess": "r-------", "user": {"id": "o"}, "userAccesses": [{"id": "u", "access": "rwrw----"}],
            "userGroupAccesses": [{"userGroupUid": "g", "access": "--r-----"}]});
        assert_eq!(access(&new).sharing, access(&old).sharing);
        assert!(access(&new).is_shared());
    }

    #[test]
    fn an_empty_sharing_is_none() {
        for object in [
            json!({}),
            json!({"sharing": {"external": false, "users": {}, "userGroups": {}}}),
            json!({"sharing": null, "publicAccess": null, "userAccesses": []}),
        ] {
            assert!(!access(&object).is_shared(), "{object}");
        }
        let named = json!({"sharing": {"users": {"u": {"access": "r-------"}}}});
        assert!(access(&named).is_shared(), "who is not named is shut out");
    }

    proptest! {
        #[test]
        fn no_text_of_a_grant_breaks_it(text in ".{0,12}") {
            let grant = Grant::of(&text);
            prop_assert!(!grant.writes_data || grant.reads_data);
        }
    }
}
