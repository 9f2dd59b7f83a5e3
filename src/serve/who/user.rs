//! Who calls.

use std::collections::BTreeMap;
use std::fmt;

/// A caller, as the cluster knows it. `Debug` shows no more than the name: the rest may have come in headers.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct User {
    /// Never empty.
    pub name: String,
    /// May be empty.
    pub uid: String,
    /// In the order in which they were told.
    pub groups: Vec<String>,
    /// What else is known, by lower-case key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Nobody in particular.
    pub(super) fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// The same, and in the group of all who are known. Source: apiserver pkg/authentication/group/authenticated_group_adder.go.
    pub(super) fn authenticated(mut self) -> Self {
        if self.name != ANONYMOUS && !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    pub(super) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|mine| mine == group)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({:?})", self.name)
    }
}

const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do everything.
pub(super) const MASTERS: &str = "system:masters";
