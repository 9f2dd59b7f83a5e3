//! The controllers: each with its clients, recorder and threads. Their caches are filled from the beginning; they work once this replica
//! leads.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Daemon;
use super::endpoint::check_worker;
use super::rotation::Effects;
use crate::cloud::CloudProvider;
use crate::config::PROGRAM;
use crate::controllers::node::{NodeController, NodeSyncer, Share};
use crate::controllers::node_lifecycle::{self, Lifecycle, Limit, Rules};
use crate::controllers::service::{BackendView, Cache, ServiceController, Syncer};
use crate::controllers::{self, Running};
use crate::events::{EventRecorder, recorder};
use crate::informer::{Handler, Store, store};
use crate::inspur::InspurCloud;
use crate::k8s;
use crate::k8s::connect::ClientKind;
use crate::k8s::types::{Node, Service};
use crate::runtime::stop::{HookGuard, StopToken};
use crate::runtime::supervise::Supervisor;
use crate::workqueue::QueueMetrics;

/// The controllers that are enabled.
pub(super) struct Crew<'a> {
    daemon: &'a Daemon<'a>,
    /// Those who wait for our term, one for each controller.
    waiting: Vec<Recruit>,
    /// Has every Service synced again.
    resync: Arc<Mutex<Option<Arc<ServiceController>>>>,
    hired: bool,
    /// Wakes the workers when it is time to stop.
    hooks: Vec<HookGuard>,
    /// Held by every thread that writes.
    alive: Sender<()>,
    working: Receiver<()>,
    /// What they write with.
    writes: Vec<k8s::Client>,
    /// Of whom the controllers' recorders are namesakes.
    recorder: EventRecorder,
    flushing: Receiver<()>,
    /// What events are sent with.
    events: k8s::Client,
    running: Running,
    /// Who was started, by the names of [`Running`].
    started: Vec<&'static str>,
}

/// A controller that waits for our term.
struct Recruit {
    /// In [`Running`].
    name: &'static str,
    begin: Box<dyn FnOnce(Cache)>,
    threads: Vec<Worker>,
}

/// A thread that may write.
struct Worker {
    name: String,
    body: Box<dyn FnOnce(&StopToken) + Send>,
}

impl Recruit {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            begin: Box::new(|_| {}),
            threads: Vec::new(),
        }
    }

    fn thread(&mut self, name: impl Into<String>, body: impl FnOnce(&StopToken) + Send + 'static) {
        self.threads.push(Worker {
            name: name.into(),
            body: Box::new(body),
        });
    }
}

/// A crew that was told to stop.
pub(super) struct Leaving {
    /// Disconnected when the last thread that writes has ended.
    pub(super) working: Receiver<()>,
    /// What they write with.
    pub(super) writes: Vec<k8s::Client>,
    /// Disconnected when the last event is sent or given up.
    pub(super) flushing: Receiver<()>,
    /// What events are sent with.
    pub(super) events: k8s::Client,
}

impl<'a> Crew<'a> {
    /// Nobody yet, but for the thread that sends everybody's events.
    pub(super) fn new(daemon: &'a Daemon<'a>, threads: &mut Supervisor) -> Self {
        let ((alive, working), (unflushed, flushing)) = (bounded(0), bounded(0));
        // events are still sent when it is time to stop
        let events = daemon
            .api_server
            .client("events", ClientKind::Events, StopToken::never());
        let (clock, random) = (Arc::clone(&daemon.clock), Arc::clone(&daemon.random));
        let (recorder, sink) = recorder(PROGRAM, events.clone(), clock, random);
        recorder.measured(&daemon.metrics);
        let stop = daemon.stop.token();
        threads.spawn("events", move || {
            let _unflushed: Sender<()> = unflushed;
            sink.run(&stop);
        });
        Self {
            daemon,
            waiting: Vec::new(),
            resync: Arc::default(),
            hired: false,
            hooks: Vec::new(),
            alive,
            working,
            writes: Vec::new(),
            recorder,
            flushing,
            events,
            running: Running::new(&daemon.metrics),
            started: Vec::new(),
        }
    }

    /// Whether the controllers are ready to work.
    pub(super) fn is_hired(&self) -> bool {
        self.hired
    }

    /// Who takes events.
    pub(super) fn recorder(&self) -> EventRecorder {
        self.recorder.clone()
    }

    /// The cloud that the controllers will work with follows its config from now on.
    pub(super) fn attach(&mut self, cloud: &InspurCloud) {
        self.hired = true;
        let resync = Arc::clone(&self.resync);
        self.daemon.live.attach(Effects {
            controls: cloud.controls(),
            defaults_changed: Box::new(move || {
                let controller = resync.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(controller) = &*controller {
                    controller.sync_all();
                }
            }),
        });
    }

    /// Starts to work: one controller after the other, with pauses where the flags want them. Source: ccm-behaviour.md 2.1 (10).
    pub(super) fn begin(&mut self, threads: &mut Supervisor, cache: Cache) {
        let interval = self.daemon.config.flags.controller_start_interval;
        let mut delay = Duration::ZERO;
        for Recruit {
            name,
            begin,
            threads: workers,
        } in std::mem::take(&mut self.waiting)
        {
            begin(cache);
            self.running.begun(name);
            self.started.push(name);
            for Worker { name, body } in workers {
                let (stop, alive) = (self.daemon.stop.token(), self.alive.clone());
                threads.spawn(name, move || {
                    let _alive = alive;
                    if !stop.wait(delay) {
                        body(&stop);
                    }
                });
            }
            delay += self.daemon.random.between(interval, 2 * interval);
        }
    }

    /// What is left to wait for.
    pub(super) fn leave(self) -> Leaving {
        let Self {
            working,
            writes,
            flushing,
            events,
            running,
            started,
            ..
        } = self;
        started.into_iter().for_each(|name| running.ended(name));
        Leaving {
            working,
            writes,
            flushing,
            events,
        }
    }

    /// The service controller. Returns what it wants to hear of Nodes.
    pub(super) fn prepare_services(
        &mut self,
        threads: &mut Supervisor,
        cloud: Arc<dyn CloudProvider>,
        nodes: &Store<Node>,
    ) -> Handler<Node> {
        let (clock, random) = (Arc::clone(&self.daemon.clock), Arc::clone(&self.daemon.random));
        let (client, flags) = (self.client("service-controller"), &self.daemon.config.flags);
        let recorder = self.recorder.named("service-controller");
        let mut recruit = Recruit::new("service");
        let (writer, services) = store::<Service>();
        let syncer = Syncer::new(
            cloud,
            client,
            services.clone(),
            BackendView::new(nodes.clone()),
            recorder,
            Arc::clone(&clock),
        );
        let controller = Arc::new(
            ServiceController::new(
                syncer,
                services.clone(),
                Arc::clone(&clock),
                Arc::clone(&random),
                QueueMetrics::new(&self.daemon.metrics, "service"),
            )
            .measured(&self.daemon.metrics),
        );
        let ours = Arc::clone(&controller);
        recruit.begin = Box::new(move |cache| ours.set_leading(cache));
        *self.resync.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&controller));
        self.daemon.view.show_services(Arc::clone(&controller));
        let watched = Arc::clone(&controller);
        check_worker(&self.daemon.checks, controllers::SERVICE, move || {
            watched.longest_running()
        });
        let queue = Arc::clone(&controller);
        self.on_stop(move || queue.shut_down());
        self.daemon.reflect(
            "services",
            "reflect-service",
            threads,
            writer,
            vec![controller.service_handler()],
        );
        for worker in 0..flags.concurrent_service_syncs {
            let (controller, services, nodes) = (Arc::clone(&controller), services.clone(), nodes.clone());
            recruit.thread(format!("service-{worker}"), move |stop| {
                if services.wait_synced(stop) && nodes.wait_synced(stop) {
                    controller.run_worker();
                }
            });
        }
        let (resync, period) = (Arc::clone(&controller), flags.min_resync_period);
        recruit.thread("service-resync", move |stop| {
            resync.run_resync(period, &*clock, &random, stop)
        });
        self.waiting.push(recruit);
        controller.node_handler()
    }

    /// The node controller. Returns what it wants to hear of Nodes.
    pub(super) fn prepare_nodes(
        &mut self,
        cloud: Arc<dyn CloudProvider>,
        nodes: &Store<Node>,
    ) -> Handler<Node> {
        let (clock, random) = (Arc::clone(&self.daemon.clock), Arc::clone(&self.daemon.random));
        let (client, flags) = (self.client("node-controller"), &self.daemon.config.flags);
        let recorder = self.recorder.named("cloud-node-controller");
        let syncer = NodeSyncer::new(
            cloud,
            client,
            nodes.clone(),
            recorder,
            Arc::clone(&clock),
            Arc::clone(&random),
            &self.daemon.metrics,
        );
        let mut recruit = Recruit::new("cloud-node");
        let controller = Arc::new(NodeController::new(syncer, clock, random, &self.daemon.metrics));
        let watched = Arc::clone(&controller);
        check_worker(&self.daemon.checks, controllers::NODE, move || {
            watched.longest_running()
        });
        let queue = Arc::clone(&controller);
        self.on_stop(move || queue.shut_down());
        for worker in 0..flags.concurrent_node_syncs {
            let (controller, nodes) = (Arc::clone(&controller), nodes.clone());
            recruit.thread(format!("node-{worker}"), move |stop| {
                if nodes.wait_synced(stop) {
                    controller.run_worker();
                }
            });
        }
        let (threads_in_all, period) = (
            flags.concurrent_node_status_updates,
            flags.node_status_update_frequency,
        );
        for thread in 0..threads_in_all {
            let (controller, nodes) = (Arc::clone(&controller), nodes.clone());
            let share = Share {
                thread,
                threads: threads_in_all,
            };
            recruit.thread(format!("refresh-{thread}"), move |stop| {
                if nodes.wait_synced(stop) {
                    controller.run_refresh(share, period, stop);
                }
            });
        }
        self.waiting.push(recruit);
        controller.node_handler()
    }

    /// The node lifecycle controller.
    pub(super) fn prepare_lifecycle(&mut self, cloud: Arc<dyn CloudProvider>, nodes: Store<Node>) {
        let flags = &self.daemon.config.flags;
        let settings = node_lifecycle::Settings {
            period: flags.node_monitor_period,
            proof: Rules {
                distance: flags.node_monitor_period,
                confirmations: NonZeroU32::new(flags.node_deletion_confirmations)
                    .expect("the table of flags allows no 0"),
                startup_grace: flags.node_startup_grace_period,
            },
            brake: Limit {
                share_percent: flags.node_deletion_brake_percent,
                window: flags.node_deletion_brake_window,
            },
        };
        let client = self.client("node-controller");
        let recorder = self.recorder.named(node_lifecycle::COMPONENT);
        let clock = Arc::clone(&self.daemon.clock);
        let metrics = &self.daemon.metrics;
        let lifecycle = Arc::new(Lifecycle::new(
            cloud, client, nodes, recorder, settings, clock, metrics,
        ));
        let watched = Arc::clone(&lifecycle);
        check_worker(&self.daemon.checks, controllers::NODE_LIFECYCLE, move || {
            watched.longest_running()
        });
        self.daemon.view.show_lifecycle(Arc::clone(&lifecycle));
        let mut recruit = Recruit::new("cloud-node-lifecycle");
        recruit.thread("node-lifecycle", move |stop| lifecycle.run(stop));
        self.waiting.push(recruit);
    }

    /// A client that writes, as ourselves or as the service account of that name.
    fn client(&mut self, component: &str) -> k8s::Client {
        let (api_server, stop) = (&self.daemon.api_server, self.daemon.stop.token());
        let client = if self.daemon.config.flags.use_service_account_credentials {
            api_server.client_as(component, ClientKind::Controllers, stop)
        } else {
            api_server.client(component, ClientKind::Controllers, stop)
        };
        self.writes.push(client.clone());
        client
    }

    fn on_stop(&mut self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks.push(self.daemon.stop.token().on_stop(hook));
    }
}
