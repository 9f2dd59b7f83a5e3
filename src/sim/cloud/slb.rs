//! The SLB API: which call, whether it is well formed and allowed, what it does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::auth::json_body;
use super::fields::{Fields, required};
use super::query::{self, Page};
use super::render::Problem;
use super::state::{Health, Kind, Listener, Member, Phase, Slb, State};
use super::{MemberUpdate, TakenPort, UnknownBackend, UnknownSlb};
use crate::sim::server::{Incoming, Now, Reply, percent_decode};

/// The longest name of a listener, in bytes. Assumed.
const NAME_LIMIT: usize = 64;

/// A call below the API's base: its kind, the SLB and the listener it names.
type Route = (Kind, Option<String>, Option<String>);

impl State {
    /// Acts on a call; what it was, for the list of calls.
    pub(super) fn respond_slb(
        &mut self,
        request: &Incoming,
        below: &str,
        now: Now,
    ) -> (Kind, Option<String>, Result<Reply, Problem>) {
        match route(request, below) {
            Err(problem) => (Kind::Unknown, None, Err(problem)),
            Ok((kind, slb, listener)) => {
                let (id, listener_id) = (slb.as_deref().unwrap_or(""), listener.as_deref().unwrap_or(""));
                let result = self.act(kind, id, listener_id, request, now);
                (kind, slb, result)
            }
        }
    }

    fn act(
        &mut self,
        kind: Kind,
        id: &str,
        listener_id: &str,
        request: &Incoming,
        now: Now,
    ) -> Result<Reply, Problem> {
        let user = self.admit(request, now)?;
        check_query(kind, request)?;
        match kind {
            Kind::DescribeSlb => return self.describe(&user, id),
            Kind::ListSlbs => return self.list_slbs(&user, request),
            Kind::CreateSlb => return self.create_slb(user, request, now),
            _ => {}
        }
        self.check_access(&user, id)?;
        if kind.is_write() {
            self.check_ready(id)?;
        }
        if !listener_id.is_empty() && self.listener(id, listener_id).is_none() {
            return Err(Problem::new(404, "the listener does not exist"));
        }
        match kind {
            Kind::RenameSlb => self.rename(id, request),
            Kind::DeleteSlb => Ok(self.delete_slb(id, now)),
            Kind::ListListeners => Ok(self.list_listeners(id)),
            Kind::GetListener => Ok(self.show_listener(id, listener_id)),
            Kind::CreateListener => self.create_listener(id, request),
            Kind::UpdateListener => self.update_listener(id, listener_id, request),
            Kind::DeleteListener => Ok(self.delete_listener(id, listener_id)),
            Kind::ListMembers => Ok(self.list_members(id, listener_id)),
            Kind::AddMembers => self.add_members(id, listener_id, request),
            Kind::UpdateMembers => self.update_members(id, listener_id, request),
            Kind::RemoveMembers => self.remove_members(id, listener_id, request),
            Kind::Token
            | Kind::Login
            | Kind::DescribeSlb
            | Kind::ListSlbs
            | Kind::CreateSlb
            | Kind::DescribeInstances
            | Kind::FindInstances
            | Kind::ListInstances
            | Kind::Unknown => Err(Problem::new(404, "no such call")),
        }
    }

    /// Assumed: 403 for somebody else's SLB, 404 below one that does not exist.
    fn check_access(&self, user: &str, id: &str) -> Result<&Slb, Problem> {
        match self.slb(id) {
            None => Err(Problem::new(404, "the SLB does not exist")),
            Some(slb) if slb.owner != user => Err(Problem::new(403, "the SLB belongs to another user")),
            Some(slb) => Ok(slb),
        }
    }

    /// Source: 409 while an SLB is busy with another change.
    fn check_ready(&mut self, id: &str) -> Result<(), Problem> {
        let slb = self.slb(id).expect("access was checked");
        let busy = || Err(Problem::new(409, "the SLB is busy with another change"));
        if slb.phase != Phase::Active {
            return busy();
        }
        if slb.busy > 0 {
            let left = slb.busy - 1;
            self.set_busy(id, left);
            return busy();
        }
        Ok(())
    }

    fn listener(&self, id: &str, listener_id: &str) -> Option<&Listener> {
        self.slb(id)?.listeners.get(listener_id)
    }

    fn describe(&self, user: &str, id: &str) -> Result<Reply, Problem> {
        let quirks = self.options.quirks;
        if self.slb(id).is_none() && quirks.unknown_slb == UnknownSlb::EmptyList {
            return Ok(Reply::json(200, &quirks.list(vec![])));
        }
        let slb = self.check_access(user, id)?;
        Ok(Reply::json(200, &Value::Array(vec![quirks.slb(slb)])))
    }

    /// Assumed: all of it, but that the answer is a list.
    fn list_slbs(&self, user: &str, request: &Incoming) -> Result<Reply, Problem> {
        let name = request.query("slbName");
        let quirks = self.options.quirks;
        let found = self
            .slbs()
            .filter(|slb| slb.owner == user && name.as_ref().is_none_or(|name| slb.name == *name));
        let page = Page::read(request)?.of(found);
        Ok(Reply::json(
            200,
            &quirks.list(page.map(|slb| quirks.slb(slb)).collect()),
        ))
    }

    /// Assumed: all of it.
    fn create_slb(&mut self, owner: String, request: &Incoming, now: Now) -> Result<Reply, Problem> {
        let body = json_body(request)?;
        let mut fields = Fields::of(&body)?;
        let name = fields.required_text("slbName")?.to_owned();
        let scheme = required(
            "scheme",
            fields.choice("scheme", &["internet-facing", "internal"])?,
        )?
        .to_owned();
        for name in ["vpcId", "subnetId", "specificationId", "chargeType"] {
            fields.text(name)?;
        }
        let eip = fields.text("eipId")?.unwrap_or("");
        let eip = if eip.is_empty() { "" } else { "203.0.113.10" }.to_owned();
        fields.done()?;
        let slb = Slb {
            id: self.next_id("slb"),
            owner,
            name,
            scheme,
            business_ip: "192.0.2.10".into(),
            eip,
            phase: Phase::Creating(now.monotonic + self.options.provisioning),
            listeners: BTreeMap::new(),
            busy: 0,
        };
        let reply = Reply::json(202, &self.options.quirks.slb(&slb));
        self.insert_slb(slb);
        Ok(reply)
    }

    fn rename(&mut self, id: &str, request: &Incoming) -> Result<Reply, Problem> {
        let body = json_body(request)?;
        let mut fields = Fields::of(&body)?;
        let name = fields.required_text("slbName")?.to_owned();
        fields.done()?;
        let quirks = self.options.quirks;
        let slb = self.change_slb(id);
        slb.name = name;
        Ok(Reply::json(200, &quirks.renamed(slb)))
    }

    /// Source: 202 with the code as text. Assumed: listeners go with it.
    fn delete_slb(&mut self, id: &str, now: Now) -> Reply {
        let (quirks, gone) = (self.options.quirks, now.monotonic + self.options.provisioning);
        let slb = self.change_slb(id);
        slb.phase = Phase::Deleting(gone);
        slb.listeners.clear();
        Reply::json(202, &quirks.done(202, vec![]))
    }

    fn list_listeners(&self, id: &str) -> Reply {
        let quirks = self.options.quirks;
        let listeners = self.slb(id).into_iter().flat_map(|slb| slb.listeners.values());
        let listeners = listeners.map(|listener| quirks.listener(id, listener)).collect();
        Reply::json(200, &quirks.list(listeners))
    }

    fn show_listener(&self, id: &str, listener_id: &str) -> Reply {
        let listener = self.listener(id, listener_id).expect("the listener was checked");
        Reply::json(200, &self.options.quirks.listener(id, listener))
    }

    fn create_listener(&mut self, id: &str, request: &Incoming) -> Result<Reply, Problem> {
        let mut listener = read_listener(id, &json_body(request)?)?;
        self.check_port_free(id, &listener)?;
        listener.id = self.next_id("listener");
        let (listener_id, new) = (listener.id.clone(), listener);
        self.change_slb(id).listeners.insert(listener_id.clone(), new);
        Ok(self.show_listener(id, &listener_id))
    }

    /// Assumed: one listener a protocol and port, where all protocols over TCP count as one.
    fn check_port_free(&self, id: &str, new: &Listener) -> Result<(), Problem> {
        let is_udp = |listener: &Listener| listener.protocol == "UDP";
        let taken = self
            .slb(id)
            .into_iter()
            .flat_map(|slb| slb.listeners.values())
            .any(|listener| listener.port == new.port && is_udp(listener) == is_udp(new));
        match (taken, self.options.quirks.taken_port) {
            (false, _) => Ok(()),
            (true, TakenPort::BadRequest) => Err(Problem::invalid("port", "another listener has it")),
            (true, TakenPort::Conflict) => Err(Problem::new(409, "port: another listener has it")),
        }
    }

    /// Source: the body replaces all settings, so what it leaves out gets its default. Assumed: protocol and port stay.
    fn update_listener(&mut self, id: &str, listener_id: &str, request: &Incoming) -> Result<Reply, Problem> {
        let new = read_listener(id, &json_body(request)?)?;
        let old = self.listener(id, listener_id).expect("the listener was checked");
        for (field, same) in [
            ("protocol", old.protocol == new.protocol),
            ("port", old.port == new.port),
        ] {
            if !same {
                return Err(Problem::invalid(field, "cannot be changed"));
            }
        }
        self.change_listener(id, listener_id, |listener| {
            *listener = Listener {
                id: std::mem::take(&mut listener.id),
                members: std::mem::take(&mut listener.members),
                ..new
            };
        });
        Ok(self.show_listener(id, listener_id))
    }

    fn delete_listener(&mut self, id: &str, listener_id: &str) -> Reply {
        self.take_listener(id, listener_id);
        Reply::empty(204)
    }

    fn list_members(&self, id: &str, listener_id: &str) -> Reply {
        let quirks = self.options.quirks;
        let listener = self.listener(id, listener_id).expect("the listener was checked");
        let members = listener.members.iter();
        let members = members.map(|member| quirks.member(listener_id, member)).collect();
        Reply::json(200, &quirks.list(members))
    }

    /// Assumed: a server and port that is there already is added once more.
    fn add_members(&mut self, id: &str, listener_id: &str, request: &Incoming) -> Result<Reply, Problem> {
        let body = json_body(request)?;
        let mut members = elements(&body)?
            .iter()
            .map(read_member)
            .collect::<Result<Vec<_>, _>>()?;
        for member in &mut members {
            member.backend_id = self.next_id("backend");
        }
        let quirks = self.options.quirks;
        let data = members.iter().map(|member| quirks.member_spec(member)).collect();
        self.change_listener(id, listener_id, |listener| listener.members.extend(members));
        Ok(Reply::json(200, &quirks.done(200, data)))
    }

    /// Assumed: all of it.
    fn update_members(&mut self, id: &str, listener_id: &str, request: &Incoming) -> Result<Reply, Problem> {
        let quirks = self.options.quirks;
        if quirks.member_update == MemberUpdate::Absent {
            return Err(Problem::new(405, "members cannot be changed"));
        }
        let body = json_body(request)?;
        let listener = self.listener(id, listener_id).expect("the listener was checked");
        let mut members = listener.members.clone();
        for element in elements(&body)? {
            let mut fields = Fields::of(element)?;
            let backend_id = fields.required_text("backendId")?;
            let weight = fields.required_int("weight", 0, 100)?;
            fields.done()?;
            members
                .iter_mut()
                .find(|member| member.backend_id == backend_id)
                .ok_or_else(|| Problem::new(404, "backendId: no such member"))?
                .weight = weight;
        }
        self.change_listener(id, listener_id, |listener| listener.members = members);
        Ok(Reply::json(200, &quirks.done(200, vec![])))
    }

    /// Source: ids as a JSON array in the query. Assumed: what an unknown id does.
    fn remove_members(&mut self, id: &str, listener_id: &str, request: &Incoming) -> Result<Reply, Problem> {
        let ids = query::ids(request, "backendIdList")?;
        let quirks = self.options.quirks;
        let listener = self.listener(id, listener_id).expect("the listener was checked");
        let known = |id: &String| listener.members.iter().any(|member| member.backend_id == *id);
        if quirks.unknown_backend == UnknownBackend::NotFound && !ids.iter().all(known) {
            return Err(Problem::new(404, "backendIdList: no such member"));
        }
        self.change_listener(id, listener_id, |listener| {
            listener
                .members
                .retain(|member| !ids.contains(&member.backend_id));
        });
        Ok(Reply::json(200, &quirks.done(200, vec![])))
    }
}

/// Which call it is. Paths are exact, trailing slashes too: creating a listener has one, nothing else has.
fn route(request: &Incoming, below: &str) -> Result<Route, Problem> {
    let parts: Vec<String> = below
        .split('/')
        .skip(1)
        .map(|part| percent_decode(part).ok_or_else(|| Problem::new(400, "the path is not encoded rightly")))
        .collect::<Result<_, _>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let found = |kind, slb: &str, listener: Option<&str>| {
        Ok((kind, Some(slb.to_owned()), listener.map(str::to_owned)))
    };
    match (request.method.as_str(), &parts[..]) {
        ("GET", []) => match request.query("slbId") {
            Some(id) => found(Kind::DescribeSlb, &id, None),
            None => Ok((Kind::ListSlbs, None, None)),
        },
        ("POST", []) => Ok((Kind::CreateSlb, None, None)),
        (_, ["", ..]) => Err(Problem::new(404, "the path names no SLB")),
        ("PUT", [id]) => found(Kind::RenameSlb, id, None),
        ("DELETE", [id]) => found(Kind::DeleteSlb, id, None),
        ("GET", [id, "listeners"]) => found(Kind::ListListeners, id, None),
        ("POST", [id, "listeners", ""]) => found(Kind::CreateListener, id, None),
        ("POST", [_, "listeners"]) => Err(Problem::new(405, "creating a listener needs the trailing slash")),
        (_, [_, "listeners", "", ..]) => Err(Problem::new(404, "the path names no listener")),
        ("GET", [id, "listeners", listener]) => found(Kind::GetListener, id, Some(listener)),
        ("PUT", [id, "listeners", listener]) => found(Kind::UpdateListener, id, Some(listener)),
        ("DELETE", [id, "listeners", listener]) => found(Kind::DeleteListener, id, Some(listener)),
        ("GET", [id, "listeners", listener, "members"]) => found(Kind::ListMembers, id, Some(listener)),
        ("POST", [id, "listeners", listener, "members"]) => found(Kind::AddMembers, id, Some(listener)),
        ("PUT", [id, "listeners", listener, "members"]) => found(Kind::UpdateMembers, id, Some(listener)),
        ("DELETE", [id, "listeners", listener, "members"]) => found(Kind::RemoveMembers, id, Some(listener)),
        (_, [_] | [_, "listeners"] | [_, "listeners", _] | [_, "listeners", _, "members"]) => {
            Err(Problem::new(405, "no such verb here"))
        }
        _ => Err(Problem::new(404, "no such path")),
    }
}

fn check_query(kind: Kind, request: &Incoming) -> Result<(), Problem> {
    let allowed: &[&str] = match kind {
        Kind::DescribeSlb => &["slbId"],
        Kind::ListSlbs => &["slbName", "pageNo", "pageSize"],
        Kind::RemoveMembers => &["backendIdList"],
        _ => &[],
    };
    query::check_names(request, allowed)
}

/// A listener's settings; its id is still empty. Source: the old client's `CreateListenerOpts`.
fn read_listener(slb: &str, body: &Value) -> Result<Listener, Problem> {
    let mut fields = Fields::of(body)?;
    if fields.required_text("slbId")? != slb {
        return Err(Problem::invalid("slbId", "is not the SLB in the path"));
    }
    let name = fields.required_text("listenerName")?.to_owned();
    if name.len() > NAME_LIMIT {
        return Err(Problem::invalid(
            "listenerName",
            &format!("has more than {NAME_LIMIT} bytes"),
        ));
    }
    let protocol = fields.choice("protocol", &["TCP", "UDP", "HTTP", "HTTPS"])?;
    let port = fields.required_port("port")?;
    let forward_rule = fields.choice("forwardRule", &["RR", "WRR"])?;
    let listener = Listener {
        id: String::new(),
        name,
        protocol: required("protocol", protocol)?.to_owned(),
        port,
        forward_rule: required("forwardRule", forward_rule)?.to_owned(),
        health: read_health(&mut fields)?,
        options: read_options(&mut fields)?,
        members: Vec::new(),
    };
    fields.done()?;
    Ok(listener)
}

/// Assumed: ranges, and that a check that is on needs all of its numbers.
fn read_health(fields: &mut Fields<'_>) -> Result<Health, Problem> {
    let on = required("isHealthCheck", fields.choice("isHealthCheck", &["0", "1"])?)? == "1";
    let default = Health::default();
    let kind = fields.choice("typeHealthCheck", &["tcp", "http"])?;
    let port = fields.int("portHealthCheck", 0, u16::MAX.into())?;
    let period = fields.int("periodHealthCheck", 1, 3600)?;
    let timeout = fields.int("timeoutHealthCheck", 1, 3600)?;
    let max = fields.int("maxHealthCheck", 1, 100)?;
    let domain = fields.text("domainHealthCheck")?;
    let path = fields.text("pathHealthCheck")?;
    if on {
        required("typeHealthCheck", kind)?;
        for (name, value) in [
            ("portHealthCheck", port),
            ("periodHealthCheck", period),
            ("timeoutHealthCheck", timeout),
            ("maxHealthCheck", max),
        ] {
            required(name, value)?;
        }
        if kind == Some("http") && !path.is_some_and(|path| path.starts_with('/')) {
            return Err(Problem::invalid("pathHealthCheck", "must begin with a slash"));
        }
    }
    Ok(Health {
        on,
        kind: kind.map_or(default.kind, str::to_owned),
        port: port.map_or(default.port, |port| {
            u16::try_from(port).expect("the range was checked")
        }),
        period_seconds: period.unwrap_or(default.period_seconds),
        timeout_seconds: timeout.unwrap_or(default.timeout_seconds),
        max_tries: max.unwrap_or(default.max_tries),
        domain: domain.map_or(default.domain, str::to_owned),
        path: path.map_or(default.path, str::to_owned),
    })
}

/// What is sent only when a Service asks for it. Assumed: all of it.
fn read_options(fields: &mut Fields<'_>) -> Result<BTreeMap<String, Value>, Problem> {
    let mut options = BTreeMap::new();
    for name in ["sessionPersistence", "proxyProtocol"] {
        if let Some(flag) = fields.choice(name, &["0", "1"])? {
            options.insert(name.to_owned(), flag.into());
        }
    }
    for name in ["sessionTimeout", "idleTimeout"] {
        if let Some(seconds) = fields.int(name, 1, 86_400)? {
            options.insert(name.to_owned(), seconds.into());
        }
    }
    if let Some(id) = fields.text("certificateId")? {
        options.insert("certificateId".to_owned(), id.into());
    }
    if let Some(access) = fields.value("accessControl") {
        let mut inner =
            Fields::of(access).map_err(|_| Problem::invalid("accessControl", "must be an object"))?;
        required("enabled", inner.choice("enabled", &["0", "1"])?)?;
        let cidrs = inner.value("cidrs").and_then(Value::as_array);
        if !cidrs.is_some_and(|cidrs| cidrs.iter().all(Value::is_string)) {
            return Err(Problem::invalid("cidrs", "must be a list of strings"));
        }
        inner.done()?;
        options.insert("accessControl".to_owned(), access.clone());
    }
    Ok(options)
}

/// Source: the old client's `CreateBackendOpts`. Assumed: the range of weights.
fn read_member(element: &Value) -> Result<Member, Problem> {
    let mut fields = Fields::of(element)?;
    let member = Member {
        backend_id: String::new(),
        server_id: fields.required_text("serverId")?.to_owned(),
        server_name: fields.required_text("serverName")?.to_owned(),
        server_ip: fields
            .required_text("serverIp")?
            .parse::<IpAddr>()
            .map_err(|_| Problem::invalid("serverIp", "must be an IP address"))?,
        port: fields.required_port("port")?,
        weight: fields.required_int("weight", 0, 100)?,
    };
    required("type", fields.choice("type", &["ECS"])?)?;
    fields.done()?;
    Ok(member)
}

/// The body as a list. Assumed: an empty one is refused.
fn elements(body: &Value) -> Result<&Vec<Value>, Problem> {
    body.as_array()
        .filter(|elements| !elements.is_empty())
        .ok_or_else(|| Problem::new(400, "the body must be a JSON array that is not empty"))
}
