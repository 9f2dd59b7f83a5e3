//! Reading a query strictly: every parameter by its exact name, encoded and in its range, and no other parameter.

use super::render::Problem;
use crate::sim::server::Incoming;

/// The largest page of a list, and how much is on one unless the call says. Assumed.
const PAGE_LIMIT: usize = 100;

/// Assumed: the real API may overlook what it does not know; here a misspelt name must show.
pub(super) fn check_names(request: &Incoming, allowed: &[&str]) -> Result<(), Problem> {
    let mut names = request.query_pairs().into_iter().map(|(name, _)| name);
    match names.find(|name| !allowed.contains(&name.as_str())) {
        Some(name) => Err(Problem::invalid(&name, "no such query parameter")),
        None => Ok(()),
    }
}

/// Ids as a percent-encoded JSON array; at least one. Source: the old client's `backendIdList`.
pub(super) fn ids(request: &Incoming, name: &str) -> Result<Vec<String>, Problem> {
    let invalid = |why: &str| Problem::invalid(name, why);
    if request.raw_query().contains(['[', ']', '"', ' ']) {
        return Err(invalid("must be percent-encoded"));
    }
    let text = request.query(name).ok_or_else(|| invalid("is missing"))?;
    serde_json::from_str::<Vec<String>>(&text)
        .ok()
        .filter(|ids| !ids.is_empty())
        .ok_or_else(|| invalid("must be a JSON array of strings that is not empty"))
}

/// Which part of a list is wanted: `pageNo`, from 1, of pages of `pageSize`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    number: usize,
    size: usize,
}

impl Page {
    /// The first page, and as much as goes on one, unless the call says. Assumed.
    pub(super) fn read(request: &Incoming) -> Result<Self, Problem> {
        let number = |name: &str, default: usize, limit: usize| match request.query(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=limit).contains(number))
                .ok_or_else(|| Problem::invalid(name, &format!("must be 1 to {limit}"))),
        };
        Ok(Self {
            number: number("pageNo", 1, 1_000_000)?,
            size: number("pageSize", PAGE_LIMIT, PAGE_LIMIT)?,
        })
    }

    /// That part of `all`.
    pub(super) fn of<T>(self, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        all.skip((self.number - 1) * self.size).take(self.size)
    }
}
