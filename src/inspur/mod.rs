//! [`crate::cloud`], implemented for INSPUR Cloud.
//!
//! A sync reads what is on an SLB ([`slb`]), works out what should be there ([`desired`]), plans the fewest calls between the two
//! ([`plan`]) and makes them ([`apply`]). The API's spelling stays in [`api`]; who made a listener is in its [`name`]. Which instance a Node is,
//! and what is known of it, is in `instances`.

#[cfg(test)]
mod agreement;
pub mod annotations;
pub mod api;
pub mod apply;
pub mod desired;
#[cfg(test)]
mod fake_slb;
mod health;
mod instances;
mod load_balancers;
pub mod model;
pub mod name;
pub mod plan;
pub mod reasons;
mod servers;
pub mod slb;
#[cfg(test)]
mod testing;

use std::sync::{Arc, Mutex, PoisonError};

use crate::cloud::{CloudProvider, Instances, LoadBalancers};
use crate::http::Transport;
use crate::http::bucket::TokenBucket;
use crate::metrics::Metrics;
use crate::runtime::clock::Clock;
use crate::runtime::gate::Gate;
use crate::runtime::stop::StopToken;

use annotations::Defaults;
use api::{Client, CloudMetrics, Credentials, Ecs, Exchanges, Limit, Retrying, Tokens};
use instances::{EcsInstances, Hearsay, Place};
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
    /// `ecsUrl-pre`: where the ECS API is; ends in `/instances`. `None`: what Nodes say of themselves is repeated.
    pub ecs_url: Option<String>,
    /// Where Nodes are, for those of which the ECS API does not tell it.
    pub region: Option<String>,
    /// Where in the region.
    pub zone: Option<String>,
    /// Who we are to the cloud.
    pub credentials: Credentials,
    /// How listeners are where no annotation says it.
    pub defaults: Defaults,
    /// How fast the SLB and ECS APIs are called, together.
    pub limit: Limit,
    /// How failed calls are repeated.
    pub retrying: Retrying,
}

/// INSPUR Cloud.
pub struct InspurCloud {
    load_balancers: SlbLoadBalancers,
    instances: Box<dyn Instances>,
    controls: Controls,
}

/// What of [`Options`] may change while it runs. Clones are of the same cloud.
#[derive(Clone)]
pub struct Controls {
    tokens: Arc<Tokens>,
    defaults: CurrentDefaults,
    limit: Arc<TokenBucket>,
}

impl Controls {
    /// Is somebody else to the cloud from the next call on.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.tokens.set_credentials(credentials);
    }

    /// Reads a file with a ready token again at the next call.
    pub fn look_at_token_file(&self) {
        self.tokens.look_again();
    }

    /// Counts for each Service from its next sync on.
    pub fn set_defaults(&self, defaults: Defaults) {
        self.defaults.set(defaults);
    }

    /// Counts from the next call on.
    pub fn set_limit(&self, limit: Limit) {
        self.limit.set_limit(limit.qps, limit.burst);
    }
}

/// How listeners are where no annotation says it, now.
#[derive(Clone)]
struct CurrentDefaults(Arc<Mutex<Arc<Defaults>>>);

impl CurrentDefaults {
    fn new(defaults: Defaults) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(defaults))))
    }

    fn get(&self) -> Arc<Defaults> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, defaults: Defaults) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(defaults);
    }
}

impl InspurCloud {
    /// Speaks to the cloud and to its token service over `transport`, measured in `metrics`; changes have to pass `gate`. Waits end when
    /// `stop` is set.
    pub fn new(
        options: Options,
        transport: Arc<dyn Transport>,
        gate: Gate,
        clock: Arc<dyn Clock>,
        stop: StopToken,
        metrics: &Metrics,
    ) -> Self {
        let metrics = CloudMetrics::new(metrics);
        // one each, since a throttled service does not hold back the others
        let exchanges = || {
            let (transport, clock) = (Arc::clone(&transport), Arc::clone(&clock));
            Exchanges::new(transport, clock, stop.clone(), options.retrying).measured(metrics.clone())
        };
        let tokens = Arc::new(Tokens::new(options.credentials, exchanges()));
        let Limit { qps, burst } = options.limit;
        let limit = Arc::new(TokenBucket::new(qps, burst, Arc::clone(&clock)));
        let limited = || exchanges().limited(Arc::clone(&limit));
        let client = Client::new(&options.slb_url, Arc::clone(&tokens), limited(), gate.clone());
        let place = Place {
            region: options.region.map(Into::into),
            zone: options.zone.map(Into::into),
        };
        let instances: Box<dyn Instances> = match &options.ecs_url {
            None => Box::new(Hearsay { place }),
            Some(url) => Box::new(EcsInstances::new(
                Ecs::new(url, Arc::clone(&tokens), limited(), gate),
                place,
                Arc::clone(&clock),
            )),
        };
        let controls = Controls {
            tokens,
            defaults: CurrentDefaults::new(options.defaults),
            limit,
        };
        Self {
            load_balancers: SlbLoadBalancers {
                cluster: options.cluster_id,
                defaults: controls.defaults.clone(),
                slbs: Slbs::new(client, clock),
            },
            instances,
            controls,
        }
    }

    /// What may change while it runs.
    pub fn controls(&self) -> Controls {
        self.controls.clone()
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
        Some(&*self.instances)
    }
}
