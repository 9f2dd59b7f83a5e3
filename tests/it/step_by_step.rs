//! The whole road in one thread, without a socket: reflectors, queue, sync, cloud and events are driven step by step, on a clock that
//! is moved by hand. What goes wrong once can be replayed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cloud_provider_inspur::cloud::CloudProvider;
use cloud_provider_inspur::controllers::service::{BackendView, Cache, ServiceController, Syncer};
use cloud_provider_inspur::events::{self, EventSink, recorder};
use cloud_provider_inspur::informer::{self, Reflector, store};
use cloud_provider_inspur::inspur::api::{Credentials, Limit, Retrying};
use cloud_provider_inspur::inspur::name::ClusterId;
use cloud_provider_inspur::inspur::{InspurCloud, Options};
use cloud_provider_inspur::k8s;
use cloud_provider_inspur::k8s::types::{Node, Service};
use cloud_provider_inspur::metrics::Metrics;
use cloud_provider_inspur::runtime::backoff::Backoff;
use cloud_provider_inspur::runtime::clock::{Clock, ManualClock};
use cloud_provider_inspur::runtime::gate::Gate;
use cloud_provider_inspur::runtime::random::Random;
use cloud_provider_inspur::runtime::secret_source::SecretSource;
use cloud_provider_inspur::runtime::stop::StopToken;
use cloud_provider_inspur::sim::api_server::{ApiServer, Resource};
use cloud_provider_inspur::sim::cloud::{Account, Cloud, SLB_PATH, Seed};
use cloud_provider_inspur::sim::faults::{Effect, Rule};
use cloud_provider_inspur::sim::server::InProcess;
use cloud_provider_inspur::workqueue::QueueMetrics;
use serde_json::json;

use crate::support::fixtures::{node, service};

/// Everything between the two simulators.
struct Steps {
    api: ApiServer,
    cloud: Cloud,
    api_transport: Arc<InProcess>,
    cloud_transport: Arc<InProcess>,
    clock: ManualClock,
    services: Reflector<Service>,
    nodes: Reflector<Node>,
    controller: ServiceController,
    events: EventSink,
}

impl Steps {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let (shared, random): (Arc<dyn Clock>, _) =
            (Arc::new(clock.clone()), Arc::new(Random::from_seed(seed)));
        let (tenant, cloud) = (Account::named("demo"), Cloud::new(Default::default()));
        cloud.add_slb(Seed::new("slb-1", "10.0.0.4", "203.0.113.1").owned_by(&tenant.user_id));
        let api = ApiServer::with_clock(seed, Arc::clone(&shared));
        api.open(true);

        let in_process =
            |core| Arc::new(InProcess::with_clock(core, Arc::clone(&shared)).patience(Duration::ZERO));
        let (api_transport, cloud_transport) = (
            in_process(Arc::new(api.clone())),
            in_process(Arc::new(cloud.clone())),
        );
        let client = k8s::Client::new("http://api", api_transport.clone(), StopToken::never());
        let inspur = inspur(cloud_transport.clone(), &shared, None);
        let (recorder, events) = recorder(
            "service-controller",
            client.clone(),
            Arc::clone(&shared),
            Arc::clone(&random),
        );
        let ((service_writer, services), (node_writer, nodes)) = (store(), store());
        let syncer = Syncer::new(
            inspur,
            client.clone(),
            services.clone(),
            BackendView::new(nodes),
            recorder,
            Arc::clone(&shared),
        );
        let controller = ServiceController::new(
            syncer,
            services,
            Arc::clone(&shared),
            Arc::clone(&random),
            QueueMetrics::default(),
        );
        controller.set_leading(Cache::Fresh);
        let handlers = (
            vec![controller.service_handler()],
            vec![controller.node_handler()],
        );
        Self {
            services: Reflector::new(
                client.clone(),
                service_writer,
                handlers.0,
                Arc::clone(&shared),
                Arc::clone(&random),
            ),
            nodes: Reflector::new(client, node_writer, handlers.1, shared, random),
            api,
            cloud,
            api_transport,
            cloud_transport,
            clock,
            controller,
            events,
        }
    }

    /// Takes every step that can be taken now; then lets time pass and does so again, until `seconds` have passed.
    fn run(&mut self, seconds: u64) {
        let stop = StopToken::never();
        for _ in 0..seconds * 10 {
            // a reflector that heard something has more to say
            while self.nodes.step(&stop) == informer::Step::Worked
                || self.services.step(&stop) == informer::Step::Worked
            {}
            while self.controller.step() {}
            while self.events.step() == events::Step::Worked {}
            self.clock.advance(Duration::from_millis(100));
        }
    }

    fn served(&self) -> Vec<(u16, usize)> {
        self.cloud
            .listeners("slb-1")
            .iter()
            .map(|listener| (listener.port, listener.members.len()))
            .collect()
    }
}

/// INSPUR Cloud over `transport`, without a pause between two attempts at a call.
pub fn inspur(
    transport: Arc<InProcess>,
    clock: &Arc<dyn Clock>,
    ecs_url: Option<String>,
) -> Arc<dyn CloudProvider> {
    let token = Account::named("demo").static_token;
    let options = Options {
        cluster_id: ClusterId::parse("steps").expect("a good id"),
        slb_url: format!("http://cloud{SLB_PATH}"),
        ecs_url,
        region: None,
        zone: None,
        credentials: Credentials::Static(SecretSource::Value(token)),
        defaults: Default::default(),
        limit: Limit::default(),
        retrying: Retrying {
            backoff: Backoff {
                initial: Duration::ZERO,
                cap: Duration::ZERO,
                jitter: 0.0,
            },
            ..Retrying::default()
        },
    };
    let (clock, stop) = (Arc::clone(clock), StopToken::never());
    let (gate, metrics) = (Gate::open(), Metrics::new());
    Arc::new(InspurCloud::new(options, transport, gate, clock, stop, &metrics))
}

#[test]
fn a_service_lives_and_dies_in_one_thread() {
    let mut steps = Steps::new(1);
    for name in ["n1", "n2"] {
        steps
            .api
            .create(Resource::Nodes, &node(name, "127.0.20.1"))
            .unwrap();
    }
    steps
        .api
        .create(
            Resource::Services,
            &service("web").slb("slb-1").port(80, 30080).json(),
        )
        .unwrap();
    steps.run(2);
    assert_eq!(steps.served(), [(80, 2)], "{}", steps.api_transport.log().text());
    steps.api.delete(Resource::Nodes, "", "n2");
    steps.run(2);
    assert_eq!(steps.served(), [(80, 1)]);
    steps.api.delete(Resource::Services, "default", "web");
    steps.run(2);
    assert_eq!(
        (
            steps.served(),
            steps.api.object(Resource::Services, "default", "web")
        ),
        (vec![], None)
    );
}

#[test]
fn the_same_seed_and_the_same_faults_make_the_same_calls() {
    let run = |seed| {
        let mut steps = Steps::new(seed);
        steps
            .cloud_transport
            .faults()
            .add(Rule::on("POST", "/listeners/", Effect::ActAndHangUp));
        steps
            .api_transport
            .faults()
            .add(Rule::on("PATCH", "/services/web", Effect::status(500)).times(3));
        steps
            .api
            .create(Resource::Nodes, &node("n1", "127.0.20.1"))
            .unwrap();
        steps
            .api
            .create(
                Resource::Services,
                &service("web").slb("slb-1").port(80, 30080).port(81, 30081).json(),
            )
            .unwrap();
        steps.run(60);
        steps
            .api
            .patch(
                Resource::Services,
                "default",
                "web",
                &json!({"spec": {"type": "ClusterIP"}}),
            )
            .unwrap();
        steps.run(30);
        assert_eq!(steps.served(), []);
        (
            steps.cloud_transport.log().text(),
            steps.api_transport.log().text(),
        )
    };
    let (first, again) = (run(7), run(7));
    assert_eq!(first.0, again.0);
    assert_eq!(first.1, again.1);
}
