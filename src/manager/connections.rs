//! The ways to the API server and to the cloud, from flags, files and the environment.

use std::sync::Arc;

use super::Error;
use crate::config::cloud_config::CloudConfig;
use crate::config::flags::Flags;
use crate::config::{Config, PROGRAM};
use crate::http::agent::{Agent, Pem, Roots, Settings};
use crate::http::proxy::ProxyRules;
use crate::inspur;
use crate::inspur::api::{Credentials, Limit, Retrying};
use crate::inspur::name::ClusterId;
use crate::k8s::ClientMetrics;
use crate::k8s::connect::{ConnectOptions, Connector, connect};
use crate::runtime::clock::{Clock, SystemClock};
use crate::runtime::gate::Gate;
use crate::runtime::stop::Stop;

/// What would keep the daemon from starting whatever the cloud config says; for when that cannot be used, so that all is told at once.
/// Reads files and the environment, and asks nobody.
pub fn faults_beside_the_cloud_config(flags: &Flags) -> Vec<Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let gate = Gate::open();
    let api_server = api_server(flags, &Stop::new(), &gate, &clock, ClientMetrics::default()).err();
    let proxy = ProxyRules::from_env(|name| std::env::var(name).ok()).err();
    api_server.into_iter().chain(proxy.map(Error::from)).collect()
}

pub(crate) fn api_server(
    flags: &Flags,
    stop: &Stop,
    gate: &Gate,
    clock: &Arc<dyn Clock>,
    metrics: ClientMetrics,
) -> Result<Connector, Error> {
    Ok(connect(ConnectOptions {
        kubeconfig: flags.kubeconfig.as_deref(),
        master: flags.master.as_deref(),
        qps: flags.kube_api_qps.unwrap_or(0.0),
        burst: flags.kube_api_burst,
        stop: stop.token(),
        gate: gate.clone(),
        clock: Arc::clone(clock),
        metrics,
    })?)
}

/// Connects to the cloud and its token service, through the environment's proxy.
pub(crate) fn cloud_agent(config: &Config) -> Result<Arc<Agent>, Error> {
    let cloud = &config.cloud;
    let plain = |url: &str| url.starts_with("http://");
    let token_url = match &cloud.credentials {
        Credentials::Keycloak { url, .. } | Credentials::Iam { url, .. } => url,
        Credentials::Static(_) => &cloud.slb_url,
    };
    let roots = match &cloud.ca_file {
        Some(path) => Roots::Pem(Pem::File(path.clone())),
        // a simulator on loopback: a machine without a bundle must not fail for want of one
        None if plain(&cloud.slb_url) && plain(token_url) => Roots::Nobody,
        None => Roots::System,
    };
    let mut settings = Settings::new(format!("{PROGRAM}/{}", env!("CARGO_PKG_VERSION")), roots);
    settings.proxy = ProxyRules::from_env(|name| std::env::var(name).ok())?;
    settings.max_idle = config.flags.concurrent_service_syncs;
    Agent::new(settings).map(Arc::new).map_err(Error::Cloud)
}

pub(crate) fn cloud_options(cloud: &CloudConfig, cluster_id: ClusterId) -> inspur::Options {
    inspur::Options {
        cluster_id,
        slb_url: cloud.slb_url.clone(),
        ecs_url: cloud.ecs_url.clone(),
        region: cloud.region.clone(),
        zone: cloud.zone.clone(),
        credentials: cloud.credentials.clone(),
        defaults: cloud.defaults.clone(),
        retrying: Retrying::default(),
        limit: Limit {
            qps: cloud.api_qps,
            burst: cloud.api_burst,
        },
    }
}
