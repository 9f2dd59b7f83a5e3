//! Actions as calls, in order. Every call asks the stop token first, so that the daemon can end between any two.

use log::info;

use super::api::Error;
use super::plan::Action;
use super::slb::Slb;
use crate::cloud::{self, Change, Leave};

/// Makes the calls for `actions`, on behalf of the Service called `service`, if there are any and there is `leave` for them. A
/// leave that is not given is no error of the SLB: what is known of it stays true.
///
/// # Errors
/// What the first call that failed met; those before it stand, those after it were not made, and the next plan goes on from
/// there.
pub fn apply(
    slb: &mut Slb<'_>,
    actions: &[Action],
    service: &str,
    leave: Leave<'_>,
) -> Result<Result<Change, cloud::Error>, Error> {
    if actions.is_empty() {
        return Ok(Ok(Change::None));
    }
    if let Err(refused) = leave() {
        return Ok(Err(refused));
    }
    for action in actions {
        apply_one(slb, action, service)?;
    }
    Ok(Ok(Change::Made))
}

fn apply_one(slb: &mut Slb<'_>, action: &Action, service: &str) -> Result<(), Error> {
    let id = slb.load_balancer().id.clone();
    match action {
        Action::Delete(listener) => {
            slb.delete(listener)?;
            info!(service, slb:% = id, listener:% = listener.name; "deleted a listener");
        }
        Action::Update(listener, spec) => {
            slb.update(listener, spec)?;
            info!(service, slb:% = id, listener:% = spec.name; "updated a listener");
        }
        Action::Create(wanted) => {
            let listener = slb.create(&wanted.spec)?;
            info!(service, slb:% = id, listener:% = listener.name; "created a listener");
            if !wanted.members.is_empty() {
                apply_one(slb, &Action::Add(listener, wanted.members.clone()), service)?;
            }
        }
        Action::Add(listener, backends) => {
            slb.add(listener, backends)?;
            info!(service, slb:% = id, listener:% = listener.name, members = backends.len(); "added members");
        }
        Action::Remove(listener, members) => {
            slb.remove(listener, members)?;
            info!(service, slb:% = id, listener:% = listener.name, members = members.len(); "removed members");
        }
    }
    Ok(())
}
