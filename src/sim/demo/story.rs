//! The steps, in order.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::{self, Width, text};
use super::controller::Controller;
use super::curl::{curl, url};
use super::example::{self, Example};
use super::stage::{Entrance, Node, Stage};
use super::teller::Teller;
use super::{Ending, Error, Options};
use crate::runtime::stop::StopToken;
use crate::sim::api_server::Resource;
use crate::sim::cloud::Listener;

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(5);
/// How long a condition may take to come true: far longer than it ever does.
const PATIENCE: Duration = Duration::from_secs(30);
/// The port that the Service changes to.
const NEW_PORT: u16 = 8080;
/// How often the Service is asked, to hear from every Node.
const ASKED: usize = 4;

/// The story from where the controller runs, and all it needs.
struct Story<'a, 'out> {
    teller: &'a mut Teller<'out>,
    stop: &'a StopToken,
    example: &'a Example,
    stage: &'a Stage,
    controller: Controller,
}

/// Tells all of it.
pub(super) fn tell(options: &Options, stop: &StopToken, teller: &mut Teller<'_>) -> Result<(), Error> {
    let begun = Instant::now();
    teller.step("A cloud with two machines, and a cluster with one Node")?;
    let example = Example::read()?;
    let stage = Stage::build(&example, options.ending)?;
    set_the_scene(&example, &stage, teller)?;
    teller.step("The controller starts")?;
    let controller = Controller::start(&options.controller, stage.folder())?;
    let mut story = Story {
        teller,
        stop,
        example: &example,
        stage: &stage,
        controller,
    };
    let told = story.tell(options.ending);
    if told.is_err() && !matches!(told, Err(Error::Interrupted)) {
        story.controller.kill();
        // where nobody listens any more there is no use in telling that
        let _ = story.aftermath();
    }
    told?;
    if options.ending == Ending::Open {
        return Ok(());
    }
    let took = begun.elapsed().as_secs_f64();
    Ok(teller.aside(&format!("All went as told, in {took:.1} s."))?)
}

/// What is there before the controller.
fn set_the_scene(example: &Example, stage: &Stage, teller: &mut Teller<'_>) -> Result<(), Error> {
    let (cloud, api) = (stage.cloud_server.url(), stage.api_server.url());
    let (slb, address) = (&example.slb, stage.address);
    teller.says(&format!(
        "INSPUR Cloud, simulated: {cloud}, with the SLB {slb} at {address}\nKubernetes, simulated: {api}"
    ))?;
    cluster::register_node(&stage.api, &stage.nodes[0].name).map_err(Error::NotAsTold)?;
    teller.typed("kubectl get nodes -o wide")?;
    let nodes = cluster::table(&stage.api, "/api/v1/nodes", Width::Wide).map_err(Error::NotAsTold)?;
    teller.table(&nodes)?;
    let port = example.node_port;
    let text = format!("On each machine a web server answers with the Node's name, on node port {port}.");
    Ok(teller.says(&text)?)
}

impl Story<'_, '_> {
    fn tell(&mut self, ending: Ending) -> Result<(), Error> {
        let stage = self.stage;
        let [one, two] = &stage.nodes;
        self.controller_watches()?;
        self.initialised(one)?;
        self.node_arrives(two)?;
        self.service_is_applied()?;
        let entrance = self.both_answer()?;
        if ending == Ending::Open {
            self.play(entrance)?;
            return self.controller_stops("The end");
        }
        self.node_goes(entrance, one, two)?;
        let entrance = self.port_changes(entrance, one)?;
        self.events_tell()?;
        self.service_is_deleted(entrance)?;
        self.controller_stops("The controller stops")
    }

    fn controller_watches(&mut self) -> Result<(), Error> {
        self.teller.typed(&self.controller.command)?;
        let log = self.stage.api_server.log();
        self.until("the controller watches Services and Nodes", |_| {
            let watched = |path: &str| {
                log.count(|call| call.target.starts_with(path) && call.target.contains("watch=")) > 0
            };
            (watched("/api/v1/services?") && watched("/api/v1/nodes?")).then_some(())
        })?;
        let (id, log) = (self.controller.id(), self.controller.log.display());
        let text = format!("It watches Services and Nodes, as process {id}. Its log: {log}");
        Ok(self.teller.says(&text)?)
    }

    fn service_is_applied(&mut self) -> Result<(), Error> {
        let Example { name, port, .. } = self.example;
        self.teller.step("A Service is applied")?;
        self.teller.typed(&format!("cat {}", example::PATH))?;
        self.teller.says(example::TEXT)?;
        self.teller
            .typed(&format!("kubectl apply -f {}", example::PATH))?;
        let created = self.stage.api.create(Resource::Services, &self.example.object);
        created.map_err(Error::NotAsTold)?;
        self.teller.says(&format!("service/{name} created"))?;
        let external_ip = self.until("it has its EXTERNAL-IP", |story| story.external_ip())?;
        expect(external_ip == self.stage.address.to_string(), || {
            format!("its EXTERNAL-IP is {external_ip}")
        })?;
        self.until("its listener has both Nodes as members", |story| {
            story.serves(*port, &story.stage.nodes)
        })?;
        self.service_shown()
    }

    fn both_answer(&mut self) -> Result<Entrance, Error> {
        self.teller.step("Both Nodes answer")?;
        self.answered_by(self.example.port, &self.stage.nodes)
    }

    /// The Node as it stands once the controller has finished what its kubelet began.
    fn initialised(&mut self, node: &Node) -> Result<Value, Error> {
        let found = self.until("its instance is found and the taint is off", |story| {
            let found = story.stage.api.object(Resource::Nodes, "", &node.name)?;
            let is_done = found["spec"]["providerID"].is_string()
                && found["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
            is_done.then_some(found)
        })?;
        let want = format!("incloud://{}", node.instance);
        expect(found["spec"]["providerID"] == want.as_str(), || {
            format!("its provider ID is {}, not {want}", found["spec"]["providerID"])
        })?;
        let addresses = found["status"]["addresses"].as_array();
        let ip = json!({"type": "InternalIP", "address": node.ip.to_string()});
        expect(addresses.is_some_and(|all| all.contains(&ip)), || {
            format!("its addresses are {addresses:?}")
        })?;
        Ok(found)
    }

    fn node_arrives(&mut self, node: &Node) -> Result<(), Error> {
        self.teller.step("A Node arrives")?;
        let text = "A kubelet with --cloud-provider=external registers it, closed to pods until somebody knows its machine:";
        self.teller.says(text)?;
        let registered = cluster::register_node(&self.stage.api, &node.name).map_err(Error::NotAsTold)?;
        self.teller.table(&cluster::described(&registered))?;
        let initialised = self.initialised(node)?;
        self.teller.says("The controller finds the instance:")?;
        self.teller
            .typed(&format!("kubectl describe node {}", node.name))?;
        Ok(self.teller.table(&cluster::described(&initialised))?)
    }

    fn node_goes(&mut self, entrance: Entrance, stays: &Node, goes: &Node) -> Result<(), Error> {
        self.teller.step("A Node's machine is terminated")?;
        let (cloud, id) = (self.stage.cloud_server.url(), &goes.instance);
        self.teller
            .typed(&format!("curl -X DELETE {cloud}/_sim/instances/{id}"))?;
        let was_there = self.stage.cloud.remove_instance(id);
        expect(was_there, || format!("there is no instance {id}"))?;
        cluster::silence_node(&self.stage.api, &goes.name).map_err(Error::NotAsTold)?;
        self.teller
            .says("Its kubelet falls silent, and Kubernetes calls the Node NotReady.")?;
        self.until("the Node is deleted", |story| {
            let node = story.stage.api.object(Resource::Nodes, "", &goes.name);
            node.is_none().then_some(())
        })?;
        let event = self.until("an Event says so", |story| {
            let mut events = story.events_of(&goes.name).into_iter();
            events.find(|event| event["reason"] == "DeletingNode")
        })?;
        let sure = "The controller has asked twice, and the answers had the other instance but not this one:";
        self.teller.says(sure)?;
        self.teller.says(&text(&event["message"]))?;
        self.teller.typed("kubectl get nodes")?;
        let nodes = cluster::table(&self.stage.api, "/api/v1/nodes", Width::Narrow);
        self.teller.table(&nodes.map_err(Error::NotAsTold)?)?;
        let (port, left) = (entrance.wanted.port(), std::slice::from_ref(stays));
        self.until("the Node is no member any more", |story| story.serves(port, left))?;
        self.slb_shown()?;
        self.answered_by(port, left).map(drop)
    }

    fn port_changes(&mut self, old: Entrance, node: &Node) -> Result<Entrance, Error> {
        self.teller.step("The port changes")?;
        let patch = json!([{"op": "replace", "path": "/spec/ports/0/port", "value": NEW_PORT}]);
        let name = &self.example.name;
        self.teller
            .typed(&format!("kubectl patch service {name} --type json -p '{patch}'"))?;
        cluster::json_patch(&self.stage.api, &self.path(), &patch).map_err(Error::NotAsTold)?;
        self.teller.says(&format!("service/{name} patched"))?;
        let nodes = std::slice::from_ref(node);
        self.until("the only listener is on the new port", |story| {
            story.serves(NEW_PORT, nodes)
        })?;
        self.service_shown()?;
        let new = self.answered_by(NEW_PORT, nodes)?;
        self.nobody_answers(old.actual)?;
        Ok(new)
    }

    fn events_tell(&mut self) -> Result<(), Error> {
        self.teller.step("The Service's Events tell the story")?;
        // made, and made again for the new port
        let wanted = [
            ("EnsuringLoadBalancer", 2),
            ("EnsuredLoadBalancer", 2),
            ("UpdatedLoadBalancer", 1),
        ];
        let events = self.until("its Events tell of all that", |story| {
            let events = story.events();
            let told = |(reason, times): &(&str, u64)| {
                let same = events.iter().filter(|event| event["reason"] == *reason);
                same.filter_map(|event| event["count"].as_u64()).sum::<u64>() >= *times
            };
            wanted.iter().all(told).then_some(events)
        })?;
        let bad = events.iter().find(|event| event["type"] != "Normal");
        expect(bad.is_none(), || {
            format!(
                "there is a warning: {}",
                text(&bad.unwrap_or(&Value::Null)["message"])
            )
        })?;
        self.teller
            .typed(&format!("kubectl describe service {}", self.example.name))?;
        let head = ["Type", "Reason", "Times", "From", "Message"]
            .map(str::to_owned)
            .to_vec();
        let rows = events.iter().map(|event| {
            let cells = ["/type", "/reason", "/count", "/source/component", "/message"];
            cells
                .map(|cell| text(event.pointer(cell).unwrap_or(&Value::Null)))
                .to_vec()
        });
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        self.teller.says("Events:")?;
        Ok(self.teller.table(&rows)?)
    }

    fn service_is_deleted(&mut self, entrance: Entrance) -> Result<(), Error> {
        let Example { name, slb, .. } = self.example;
        self.teller.step("The Service is deleted")?;
        self.teller.typed(&format!("kubectl delete service {name}"))?;
        let deleted = self.stage.api.delete(Resource::Services, "default", name);
        expect(deleted, || format!("there is no Service {name}"))?;
        self.until("it disappears", |story| story.service().is_none().then_some(()))?;
        self.teller.says(&format!("service \"{name}\" deleted"))?;
        let listeners = self.stage.cloud.listeners(slb);
        expect(listeners.is_empty(), || {
            format!("{} listeners are left", listeners.len())
        })?;
        let is_there = self.stage.cloud.read(|state| state.slb(slb).is_some());
        expect(is_there, || "the SLB itself is gone".into())?;
        self.slb_shown()?;
        self.until("its port closes", |story| story.stage.is_closed().then_some(()))?;
        self.nobody_answers(entrance.actual)
    }

    fn controller_stops(&mut self, title: &'static str) -> Result<(), Error> {
        self.teller.step(title)?;
        self.teller.typed(&format!("kill {}", self.controller.id()))?;
        let status = self.controller.terminate()?;
        expect(status.code() == Some(0), || format!("it ended with {status}"))?;
        Ok(self.teller.says("It stopped, with exit code 0.")?)
    }

    /// Stays up until somebody has seen enough.
    fn play(&mut self, entrance: Entrance) -> Result<(), Error> {
        let (folder, log) = (self.stage.folder().display(), self.controller.log.display());
        let (cloud, name) = (self.stage.cloud_server.url(), &self.example.name);
        let (port, address) = (self.example.node_port, url(entrance.actual));
        let text = format!(
            "In another terminal, for instance:\n\
             \x20 export KUBECONFIG={folder}/kubeconfig\n\
             \x20 kubectl get svc -w\n\
             \x20 kubectl describe svc {name}\n\
             \x20 kubectl edit svc {name}          # the Nodes answer on node port {port}\n\
             \x20 curl {cloud}/_sim/instances  # the machines; POST STOPPED to one of them, or DELETE it\n\
             \x20 curl {address}\n\
             \x20 curl {cloud}/_sim/requests   # what the controller asked of the cloud\n\
             \x20 tail -f {log}\n\
             It all goes on until Ctrl-C; {folder} stays."
        );
        self.teller.step("Yours to play with")?;
        self.teller.says(&text)?;
        while !self.stop.wait(GLANCE * 20) {
            self.controller.check()?;
        }
        Ok(())
    }

    /// What helps to find out why a step did not go as told.
    fn aftermath(&mut self) -> io::Result<()> {
        let log = std::fs::read_to_string(&self.controller.log)?;
        self.teller.aside("That is not as told. What the cloud has:")?;
        self.teller.says(&self.stage.cloud.snapshot())?;
        self.teller.aside("What the controller logged:")?;
        self.teller.says(&log)
    }

    // What the steps are made of ------------------------------------------------------------------------------------------

    /// Looks until `look` finds something; what ends the story early is noticed meanwhile.
    fn until<R>(&mut self, what: &str, look: impl Fn(&Self) -> Option<R>) -> Result<R, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.stop.is_set() {
                return Err(Error::Interrupted);
            }
            self.controller.check()?;
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let patience = PATIENCE.as_secs();
                let text = format!("{what}: it has not come to that within {patience} s");
                return Err(Error::NotAsTold(text));
            }
            self.stop.wait(GLANCE);
        }
    }

    /// Asks `port` some times, once it is open, and shows the answers: they must come from exactly `nodes`.
    fn answered_by(&mut self, port: u16, nodes: &[Node]) -> Result<Entrance, Error> {
        let entrance = self.until("its port is open and every member healthy", |story| {
            story.stage.entrance(port, nodes)
        })?;
        let Entrance { wanted, actual } = entrance;
        if actual != wanted {
            let text = format!("(We may not listen on port {port} here; {actual} stands in for {wanted}.)");
            self.teller.says(&text)?;
        }
        let mut missing: Vec<String> = nodes
            .iter()
            .map(|node| format!("hello from {}", node.name))
            .collect();
        let known = missing.clone();
        for _ in 0..ASKED {
            self.teller.typed(&format!("curl {}", url(actual)))?;
            let answer = curl(actual).map_err(|error| Error::NotAsTold(format!("curl: {error}")))?;
            self.teller.says(&answer)?;
            expect(known.contains(&answer), || {
                format!("{answer:?} is from somebody else")
            })?;
            missing.retain(|hello| *hello != answer);
        }
        expect(missing.is_empty(), || format!("nobody said {missing:?}"))?;
        Ok(entrance)
    }

    fn nobody_answers(&mut self, address: SocketAddr) -> Result<(), Error> {
        self.teller.typed(&format!("curl {}", url(address)))?;
        match curl(address) {
            Err(error) => Ok(self.teller.says(&format!("curl: {error}"))?),
            Ok(answer) => Err(Error::NotAsTold(format!("somebody answers: {answer:?}"))),
        }
    }

    fn service_shown(&mut self) -> Result<(), Error> {
        self.teller
            .typed(&format!("kubectl get service {}", self.example.name))?;
        let service = cluster::table(&self.stage.api, &self.path(), Width::Narrow);
        self.teller.table(&service.map_err(Error::NotAsTold)?)?;
        Ok(self.slb_shown()?)
    }

    fn slb_shown(&mut self) -> io::Result<()> {
        self.teller.says(&self.stage.slb_text(&self.example.slb))
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/default/services/{}", self.example.name)
    }

    fn service(&self) -> Option<Value> {
        self.stage
            .api
            .object(Resource::Services, "default", &self.example.name)
    }

    fn external_ip(&self) -> Option<String> {
        let service = self.service()?;
        let ip = service.pointer("/status/loadBalancer/ingress/0/ip")?;
        ip.as_str().map(str::to_owned)
    }

    /// The Service's Events, oldest first.
    fn events(&self) -> Vec<Value> {
        self.events_of(&self.example.name)
    }

    /// The Events about the object of that name, oldest first.
    fn events_of(&self, name: &str) -> Vec<Value> {
        let events = self.stage.api.objects(Resource::Events).into_values();
        let mut events: Vec<Value> = events
            .filter(|event| event["involvedObject"]["name"] == name)
            .collect();
        // ends in the nanosecond of its making
        events.sort_by_key(|event| text(&event["metadata"]["name"]));
        events
    }

    /// Whether the SLB has one listener, checked and on `port`, whose members are `nodes` on the node port.
    fn serves(&self, port: u16, nodes: &[Node]) -> Option<()> {
        match self.stage.cloud.listeners(&self.example.slb).as_slice() {
            [listener] if listener.port == port && listener.health.on => {
                has_members(listener, nodes, self.example.node_port).then_some(())
            }
            _ => None,
        }
    }
}

fn expect(as_told: bool, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    match as_told {
        true => Ok(()),
        false => Err(Error::NotAsTold(otherwise())),
    }
}

fn has_members(listener: &Listener, nodes: &[Node], node_port: u16) -> bool {
    let is_member = |node: &Node| {
        let mut members = listener.members.iter();
        members.any(|member| member.server_ip == node.ip && member.port == node_port)
    };
    listener.members.len() == nodes.len() && nodes.iter().all(is_member)
}
