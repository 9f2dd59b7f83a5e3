//! The ECS API: what instances there are. Source: inspur-api.md 4.

mod wire;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::call::{Call, Caller};
use super::exchange::Exchanges;
use super::token::Tokens;
use super::{Error, encode};
use crate::http::percent_encode;
use crate::inspur::model::Machine;
use crate::runtime::gate::Gate;

/// How many instances one call can be about, and how many one answer can hold.
pub const ASKED_AT_ONCE: usize = 100;

/// More pages than any account has instances for.
const MOST_PAGES: usize = 2_000;

/// Speaks the ECS API, one blocking method a question.
pub struct Ecs {
    caller: Caller,
}

impl Ecs {
    /// Talks to the API at `base`, which ends in `/instances`.
    pub fn new(base: &str, tokens: Arc<Tokens>, exchanges: Exchanges, gate: Gate) -> Self {
        let caller = Caller::new(base, tokens, exchanges, gate);
        Self { caller }
    }

    /// Those of `ids` (no more than [`ASKED_AT_ONCE`], none twice) that exist, as far as one answer tells.
    ///
    /// # Errors
    /// Everything that is no proof: also an answer that holds what was not asked for, and a 404 to a question about several.
    pub fn describe(&self, ids: &[&str]) -> Result<Vec<Machine>, Error> {
        let list = percent_encode(&encode::id_list(ids));
        let shown = match ids {
            [id] => format!("[{id}]"),
            [id, others @ ..] => format!("[{id} and {} more]", others.len()),
            [] => return Ok(Vec::new()),
        };
        let query = format!("?instanceIds={list}&{}", paging(1));
        let call =
            Call::get("describe_instances", query).shown_as(&format!("?instanceIds={shown}&{}", paging(1)));
        let found = match self.page(&call) {
            Err(Error::NotFound { .. }) if ids.len() == 1 => Vec::new(),
            found => found?,
        };
        let asked: HashSet<&str> = ids.iter().copied().collect();
        match found.iter().find(|machine| !asked.contains(&*machine.id)) {
            Some(other) => {
                Err(call.unintelligible(format!("it holds {}, which was not asked for", other.id)))
            }
            None => Ok(found),
        }
    }

    /// Those called exactly `name`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn named(&self, name: &str) -> Result<Vec<Machine>, Error> {
        let mut found = self.search(&format!("?instanceName={}", percent_encode(name)))?;
        found.retain(|machine| *machine.name == *name);
        Ok(found)
    }

    /// Those with the internal address `address`, in whatever VPC.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn at(&self, address: IpAddr) -> Result<Vec<Machine>, Error> {
        let mut found = self.search(&format!("?privateIp={}", percent_encode(&address.to_string())))?;
        found.retain(|machine| machine.internal_ips().any(|ip| ip == address));
        Ok(found)
    }

    /// All there are. One that comes or goes meanwhile may be missing, or another one in its stead.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn list(&self) -> Result<Vec<Machine>, Error> {
        self.pages("list_instances", |page| format!("?{}", paging(page)))
    }

    /// The answer to `query`, which may hold more than what matches: the cloud may search more loosely than we do. `Assumed:` it is
    /// paged as a list is.
    fn search(&self, query: &str) -> Result<Vec<Machine>, Error> {
        let found = self.pages("find_instances", |page| match page {
            1 => query.to_string(),
            page => format!("{query}&{}", paging(page)),
        });
        match found {
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            found => found,
        }
    }

    /// What is on all pages, each instance once.
    fn pages(&self, request: &'static str, query: impl Fn(usize) -> String) -> Result<Vec<Machine>, Error> {
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for page in 1..=MOST_PAGES {
            let call = Call::get(request, query(page));
            let found = match self.page(&call) {
                Err(Error::NotFound { .. }) if page > 1 => break,
                found => found?,
            };
            let (length, before) = (found.len(), all.len());
            all.extend(
                found
                    .into_iter()
                    .filter(|machine| seen.insert(machine.id.clone())),
            );
            let news = all.len() > before;
            if length == ASKED_AT_ONCE && !news {
                return Err(call.unintelligible("it holds what was on other pages".into()));
            }
            if !news || !may_be_cut(length) {
                break;
            }
        }
        Ok(all)
    }

    fn page(&self, call: &Call) -> Result<Vec<Machine>, Error> {
        let found = self.caller.read(call, wire::machines)?;
        if found.len() > ASKED_AT_ONCE {
            return Err(call.unintelligible(format!("it holds {} instances", found.len())));
        }
        Ok(found)
    }
}

fn paging(page: usize) -> String {
    format!("pageNo={page}&pageSize={ASKED_AT_ONCE}")
}

/// Whether more may follow a page of this length. A page shorter than asked for is the last, says the contract; but a cloud that
/// silently allows less than we ask for would then hide instances. `Assumed:` such a limit is a round number.
fn may_be_cut(length: usize) -> bool {
    length > 0 && length.is_multiple_of(10)
}

#[cfg(test)]
mod tests;
