//! [`crate::cloud`], implemented for INSPUR Cloud.
//!
//! A sync reads what is on an SLB ([`slb`]), works out what should be there ([`desired`]), plans the fewest calls between the two
//! ([`plan`]) and makes them ([`apply`]). The API's spelling stays in [`api`]; who made a listener is in its [`name`].

#[cfg(test)]
mod agreement;
pub mod annotations;
pub mod api;
pub mod apply;
pub mod desired;
#[cfg(test)]
mod fake_slb;
mod health;
mod load_balancers;
pub mod model;
pub mod name;
pub mod plan;
pub mod reasons;
mod servers;
pub mod slb;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use crate::cloud::{CloudProvider, Instances, LoadBalancers};
use crate::http::Transport;
use crate::runtime::clock::Clock;
use crate::runtime::stop::StopToken;

use annotations::Defaults;
use api::{Client, Credentials, Exchanges, Limit, Retrying, Tokens};
use load_balancers::SlbLoadBalancers;
use name::ClusterId;
use slb::Slbs;

/// What the cloud config says of INSPUR Cloud.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who we are in the names of listeners.
    pub cluster_id: ClusterId,
    /// `slbUrl-pre`: where the SLB API is; ends in `/slbs`.
    pub slb_url: String,
    /// Who we are to the cloud.
    pub credentials: Credentials,
    /// How listeners are where no annotation says it.
    pub defaults: Defaults,
    /// How fast the SLB API is called.
    pub limit: Limit,
    /// How failed calls are repeated.
    pub retrying: Retrying,
}

/// INSPUR Cloud.
pub struct InspurCloud {
    load_balancers: SlbLoadBalancers,
}

impl InspurCloud {
    /// Speaks to the cloud and to its token service over `transport`. Waits end when `stop` is set.
    pub fn new(
        options: Options,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        stop: StopToken,
    ) -> Self {
        // two, since a throttled token service does not hold back the SLB API, nor the other way round
        let exchanges = || {
            let (transport, clock) = (Arc::clone(&transport), Arc::clone(&clock));
            Exchanges::new(transport, clock, stop.clone(), options.retrying)
        };
        let tokens = Tokens::new(options.credentials.clone(), exchanges());
        let client = Client::new(&options.slb_url, tokens, exchanges().limited(options.limit));
        Self {
            load_balancers: SlbLoadBalancers {
                cluster: options.cluster_id,
                defaults: options.defaults,
                slbs: Slbs::new(client, clock),
            },
        }
    }
}

impl CloudProvider for InspurCloud {
    fn name(&self) -> &'static str {
        "incloud"
    }

    fn load_balancers(&self) -> Option<&dyn LoadBalancers> {
        Some(&self.load_balancers)
    }

    fn instances(&self) -> Option<&dyn Instances> {
        None
    }
}
