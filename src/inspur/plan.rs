//! What is and what should be, as the fewest calls between them, in the order to make them. Pure.
//!
//! The SLB may be shared: a listener that the owner did not make, by its name, is never touched, and one that sits on a wanted
//! port makes that port wait.

use std::collections::{BTreeMap, HashMap};

use super::desired::Wanted;
use super::model::{Backend, Frontend, Listener, ListenerSpec, Member};
use super::name::Owner;

/// One step. Each is safe to make when those before it were made, and to plan again when not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Removes a listener of ours with its members.
    Delete(Listener),
    /// Sets everything of a listener of ours.
    Update(Listener, ListenerSpec),
    /// Makes a listener and gives it its members.
    Create(Wanted),
    /// Adds members to a listener of ours, in one call.
    Add(Listener, Vec<Backend>),
    /// Removes members from a listener of ours, in one call.
    Remove(Listener, Vec<Member>),
}

/// A wanted frontend where somebody else's listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What was wanted.
    pub frontend: Frontend,
    /// What is there.
    pub holder: Listener,
}

/// What to do, and where nothing can be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order: deletes, updates, creates, members.
    pub actions: Vec<Action>,
    /// In the order of their frontends.
    pub conflicts: Vec<Conflict>,
}

/// The calls that turn `actual` into `desired`. `members` are those of the listeners in [`kept`], by their id; where they are
/// not known nothing is planned for them.
pub fn plan(
    owner: &Owner,
    desired: &BTreeMap<Frontend, Wanted>,
    actual: &[Listener],
    members: &HashMap<Box<str>, Vec<Member>>,
) -> Plan {
    let kept = kept(owner, desired, actual);
    let is_kept = |listener: &Listener| kept.values().any(|kept| kept.id == listener.id);
    let owned = actual.iter().filter(|listener| owner.owns(listener));
    let mut actions: Vec<_> = owned
        .filter(|l| !is_kept(l))
        .cloned()
        .map(Action::Delete)
        .collect();
    let (mut creates, mut changes, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    for (&frontend, wanted) in desired {
        let blocking = |listener: &&Listener| !owner.owns(listener) && listener.occupies(frontend);
        if let Some(&found) = kept.get(&frontend) {
            if found.settings.as_ref() != Some(&wanted.spec.settings) {
                actions.push(Action::Update(found.clone(), wanted.spec.clone()));
            }
            if let Some(members) = members.get(&found.id) {
                changes.extend(change_members(found, &wanted.members, members));
            }
        } else if let Some(holder) = actual.iter().find(blocking) {
            conflicts.push(Conflict {
                frontend,
                holder: holder.clone(),
            });
        } else {
            creates.push(Action::Create(wanted.clone()));
        }
    }
    actions.extend(creates.into_iter().chain(changes));
    Plan { actions, conflicts }
}

/// Everything that `owner` made among `actual`.
pub fn delete_all(owner: &Owner, actual: &[Listener]) -> Vec<Action> {
    let owned = actual.iter().filter(|listener| owner.owns(listener));
    owned.cloned().map(Action::Delete).collect()
}

/// The listeners of `owner` that stay, whose members have to be known. Of two on one frontend the first.
pub fn kept<'a>(
    owner: &Owner,
    desired: &BTreeMap<Frontend, Wanted>,
    actual: &'a [Listener],
) -> BTreeMap<Frontend, &'a Listener> {
    let mut kept = BTreeMap::new();
    for listener in actual.iter().filter(|listener| owner.owns(listener)) {
        if let Some(frontend) = listener.frontend().filter(|f| desired.contains_key(f)) {
            kept.entry(frontend).or_insert(listener);
        }
    }
    kept
}

/// New members come before old ones go, so that there is always somebody to answer; but the same port of the same instance
/// cannot be a member twice, so one whose address changed goes first (where it was sent before, nobody answers).
fn change_members(listener: &Listener, wanted: &[Backend], actual: &[Member]) -> Vec<Action> {
    let mut missing: BTreeMap<(&str, u16), &Backend> = wanted.iter().map(|b| (b.at(), b)).collect();
    let mut surplus: Vec<Member> = Vec::new();
    for member in actual {
        match missing.get(&member.at()) {
            Some(backend) if member.serves(backend) => {
                missing.remove(&member.at());
            }
            _ => surplus.push(member.clone()),
        }
    }
    let moved = surplus.iter().any(|member| missing.contains_key(&member.at()));
    let missing: Vec<Backend> = missing.into_values().cloned().collect();
    let add = (!missing.is_empty()).then(|| Action::Add(listener.clone(), missing));
    let remove = (!surplus.is_empty()).then(|| Action::Remove(listener.clone(), surplus));
    let order = if moved { [remove, add] } else { [add, remove] };
    order.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;
    use crate::inspur::model::{ForwardRule, HealthCheck, ListenerProtocol, Protocol, Settings};
    use crate::inspur::name::ClusterId;
    use crate::k8s::types::Service;

    fn owner(service: &str) -> Owner {
        let mut object = Service::default();
        object.meta.namespace = "shop".into();
        object.meta.name = service.into();
        Owner::new(&ClusterId::parse("c1").unwrap(), &object)
    }

    fn frontend(protocol: Protocol, port: u16) -> Frontend {
        Frontend::new(protocol, port).unwrap()
    }

    fn settings(rule: ForwardRule) -> Settings {
        Settings {
            rule,
            health: HealthCheck::Off,
        }
    }

    fn backend(server: &str, port: u16, last: u8) -> Backend {
        Backend {
            server_id: server.into(),
            server_name: server.into(),
            address: [10, 0, 0, last].into(),
            port: NonZeroU16::new(port).unwrap(),
        }
    }

    fn member(id: &str, server: &str, port: u16, last: u8) -> Member {
        Member {
            backend_id: Some(id.into()),
            server_id: server.into(),
            address: Some([10, 0, 0, last].into()),
            port,
        }
    }

    fn wanted(owner: &Owner, frontend: Frontend, members: Vec<Backend>) -> (Frontend, Wanted) {
        let spec = ListenerSpec {
            name: owner.listener_name(frontend),
            frontend,
            settings: settings(ForwardRule::RoundRobin),
        };
        (frontend, Wanted { spec, members })
    }

    fn made_by(owner: &Owner, id: &str, frontend: Frontend, settings: Option<Settings>) -> Listener {
        Listener {
            id: id.into(),
            name: owner.listener_name(frontend),
            protocol: ListenerProtocol::Plain(frontend.protocol),
            port: frontend.port.get(),
            settings,
        }
    }

    /// An SLB as far as it matters here.
    #[derive(Debug, Clone, PartialEq)]
    struct World {
        listeners: Vec<Listener>,
        members: HashMap<Box<str>, Vec<Member>>,
        next: u32,
    }

    impl World {
        fn id(&mut self) -> Box<str> {
            self.next += 1;
            format!("new-{}", self.next).into()
        }

        fn add(&mut self, listener: &str, backends: &[Backend]) {
            for b in backends {
                let backend_id = Some(self.id());
                let server_id = b.server_id.clone();
                let (address, port) = (Some(b.address), b.port.get());
                let members = self.members.entry(listener.into()).or_default();
                members.push(Member {
                    backend_id,
                    server_id,
                    address,
                    port,
                });
            }
        }

        fn apply(&mut self, action: &Action) {
            match action {
                Action::Delete(old) => self.listeners.retain(|l| l.id != old.id),
                Action::Update(old, spec) => {
                    let listener = self.listeners.iter_mut().find(|l| l.id == old.id).unwrap();
                    assert_eq!(listener.frontend(), Some(spec.frontend), "never changes in place");
                    (listener.name, listener.settings) = (spec.name.clone(), Some(spec.settings.clone()));
                }
                Action::Create(wanted) => {
                    let spec = &wanted.spec;
                    assert!(
                        !self.listeners.iter().any(|l| l.occupies(spec.frontend)),
                        "the port is free"
                    );
                    let (id, protocol) = (self.id(), ListenerProtocol::Plain(spec.frontend.protocol));
                    self.add(&id, &wanted.members);
                    let (name, port) = (spec.name.clone(), spec.frontend.port.get());
                    let settings = Some(spec.settings.clone());
                    self.listeners.push(Listener {
                        id,
                        name,
                        protocol,
                        port,
                        settings,
                    });
                }
                Action::Add(listener, backends) => self.add(&listener.id, backends),
                Action::Remove(listener, members) => {
                    let there = self.members.get_mut(&listener.id).unwrap();
                    there.retain(|m| !members.contains(m));
                }
            }
        }

        /// What `owner` has, in the terms of what is desired: settings, and server, port and address of each member.
        fn owned(&self, owner: &Owner) -> BTreeMap<Frontend, (Settings, Vec<String>)> {
            let shown = |l: &Listener| {
                let members = self.members.get(&l.id).into_iter().flatten();
                let mut shown: Vec<_> = members
                    .map(|m| format!("{} {} {:?}", m.server_id, m.port, m.address))
                    .collect();
                shown.sort();
                (l.settings.clone().unwrap(), shown)
            };
            let owned = self.listeners.iter().filter(|l| owner.owns(l));
            owned.map(|l| (l.frontend().unwrap(), shown(l))).collect()
        }

        fn foreign(&self, owner: &Owner) -> Vec<(Listener, Option<Vec<Member>>)> {
            let foreign = self.listeners.iter().filter(|l| !owner.owns(l));
            foreign
                .map(|l| (l.clone(), self.members.get(&l.id).cloned()))
                .collect()
        }
    }

    fn arb_frontend() -> impl Strategy<Value = Frontend> {
        (prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)], 1u16..6)
            .prop_map(|(protocol, port)| frontend(protocol, port))
    }

    fn arb_settings() -> impl Strategy<Value = Option<Settings>> {
        prop_oneof![
            Just(None),
            Just(Some(settings(ForwardRule::RoundRobin))),
            Just(Some(settings(ForwardRule::WeightedRoundRobin)))
        ]
    }

    fn arb_desired() -> impl Strategy<Value = BTreeMap<Frontend, Wanted>> {
        let members = proptest::collection::btree_set(0u8..5, 0..5);
        proptest::collection::vec((arb_frontend(), members), 0..5).prop_map(|all| {
            let mine = owner("web");
            let backends = |members: &std::collections::BTreeSet<u8>| {
                members
                    .iter()
                    .map(|n| backend(&format!("i-{n}"), 30080, *n))
                    .collect()
            };
            all.iter()
                .map(|(f, members)| wanted(&mine, *f, backends(members)))
                .collect()
        })
    }

    fn arb_world() -> impl Strategy<Value = World> {
        let maker = prop_oneof![Just("web"), Just("api"), Just("")];
        let members = proptest::collection::vec((0u8..6, 30080u16..30082, 0u8..6), 0..6);
        let listener = (maker, arb_frontend(), any::<bool>(), arb_settings(), members);
        proptest::collection::vec(listener, 0..8).prop_map(|all| {
            let mut world = World {
                listeners: vec![],
                members: HashMap::new(),
                next: 0,
            };
            for (i, (maker, f, http, settings, members)) in all.into_iter().enumerate() {
                let mut listener = made_by(&owner(maker), &format!("l-{i}"), f, settings);
                match (maker, http) {
                    ("", true) => (listener.name, listener.protocol) = ("".into(), ListenerProtocol::Http),
                    ("", false) => listener.name = "listener_30080_0".into(),
                    _ => {}
                }
                // a real SLB has one listener a port
                let f = listener
                    .frontend()
                    .unwrap_or(frontend(Protocol::Tcp, listener.port));
                if !world.listeners.iter().any(|l| l.occupies(f)) {
                    let id = |n: usize| format!("b-{i}-{n}");
                    let members = members.iter().enumerate();
                    let members = members.map(|(n, (s, p, a))| member(&id(n), &format!("i-{s}"), *p, *a));
                    world.members.insert(listener.id.clone(), members.collect());
                    world.listeners.push(listener);
                }
            }
            world
        })
    }

    proptest! {
        #[test]
        fn what_we_own_becomes_what_is_desired_and_nothing_else_changes(
            desired in arb_desired(),
            before in arb_world(),
        ) {
            let mine = owner("web");
            let mut world = before.clone();
            let first = plan(&mine, &desired, &world.listeners, &world.members);
            for action in &first.actions {
                world.apply(action);
            }
            let mut want = BTreeMap::new();
            for (f, w) in &desired {
                if !first.conflicts.iter().any(|c| c.frontend == *f) {
                    let shown = |b: &Backend| format!("{} {} {:?}", b.server_id, b.port, Some(b.address));
                    want.insert(*f, (w.spec.settings.clone(), w.members.iter().map(shown).collect::<Vec<_>>()));
                }
            }
            prop_assert_eq!(world.owned(&mine), want);
            prop_assert_eq!(world.foreign(&mine), before.foreign(&mine));
            for conflict in &first.conflicts {
                prop_assert!(conflict.holder.occupies(conflict.frontend) && !mine.owns(&conflict.holder));
            }
            let again = plan(&mine, &desired, &world.listeners, &world.members);
            prop_assert_eq!(again.actions, vec![]);
            prop_assert_eq!(again.conflicts, first.conflicts);
            for action in delete_all(&mine, &world.listeners) {
                world.apply(&action);
            }
            prop_assert_eq!(world.owned(&mine), BTreeMap::new());
            prop_assert_eq!(world.foreign(&mine), before.foreign(&mine));
        }

        #[test]
        fn a_plan_that_broke_off_anywhere_is_finished_by_the_next(
            desired in arb_desired(),
            before in arb_world(),
            done in 0usize..20,
        ) {
            let mine = owner("web");
            let (mut whole, mut broken) = (before.clone(), before.clone());
            let actions = plan(&mine, &desired, &before.listeners, &before.members).actions;
            actions.iter().for_each(|action| whole.apply(action));
            actions.iter().take(done).for_each(|action| broken.apply(action));
            let rest = plan(&mine, &desired, &broken.listeners, &broken.members).actions;
            rest.iter().for_each(|action| broken.apply(action));
            prop_assert_eq!(whole.owned(&mine), broken.owned(&mine));
        }
    }

    fn only(actual: Listener, members: Vec<Member>, wanted: Vec<(Frontend, Wanted)>) -> Plan {
        let members = HashMap::from([(actual.id.clone(), members)]);
        plan(&owner("web"), &wanted.into_iter().collect(), &[actual], &members)
    }

    #[test]
    fn a_removed_port_loses_its_listener_before_anything_else_happens() {
        let mine = owner("web");
        let (old, new) = (frontend(Protocol::Tcp, 80), frontend(Protocol::Tcp, 81));
        let listener = made_by(&mine, "l-1", old, None);
        let create = wanted(&mine, new, vec![]);
        let plan = only(listener.clone(), vec![], vec![create.clone()]);
        assert_eq!(plan.actions, [Action::Delete(listener), Action::Create(create.1)]);
    }

    #[test]
    fn tcp_and_udp_on_one_number_do_not_meet() {
        let mine = owner("web");
        let (tcp, udp) = (frontend(Protocol::Tcp, 53), frontend(Protocol::Udp, 53));
        let other = made_by(&owner("dns"), "l-1", udp, None);
        let create = wanted(&mine, tcp, vec![]);
        let plan = only(other, vec![], vec![create.clone()]);
        assert_eq!(
            (plan.actions, plan.conflicts),
            (vec![Action::Create(create.1)], vec![])
        );
    }

    #[test]
    fn members_are_added_in_one_call_before_others_are_removed_in_one() {
        let mine = owner("web");
        let f = frontend(Protocol::Tcp, 80);
        let listener = made_by(&mine, "l-1", f, Some(settings(ForwardRule::RoundRobin)));
        let (add, remove) = (
            |backends| Action::Add(listener.clone(), backends),
            |members| Action::Remove(listener.clone(), members),
        );
        let b = |n: u8| backend(&format!("i-{n}"), 30080, n);
        let m = |n: u8| member(&format!("b-{n}"), &format!("i-{n}"), 30080, n);
        let twin = |n: u8| member("twin", &format!("i-{n}"), 30080, n);
        let moved = member("b-1", "i-1", 30080, 99);
        let untold = Member {
            address: None,
            ..m(1)
        };
        let other_port = member("b-1", "i-1", 30081, 1);
        for (case, wanted_members, members, want) in [
            ("all there", vec![b(1), b(2)], vec![m(2), m(1)], vec![]),
            (
                "two join",
                vec![b(1), b(2), b(3)],
                vec![m(2)],
                vec![add(vec![b(1), b(3)])],
            ),
            (
                "two leave",
                vec![b(2)],
                vec![m(1), m(2), m(3)],
                vec![remove(vec![m(1), m(3)])],
            ),
            (
                "one joins, one leaves",
                vec![b(1)],
                vec![m(2)],
                vec![add(vec![b(1)]), remove(vec![m(2)])],
            ),
            (
                "one there twice",
                vec![b(1)],
                vec![m(1), twin(1)],
                vec![remove(vec![twin(1)])],
            ),
            (
                "another address",
                vec![b(1)],
                vec![moved.clone()],
                vec![remove(vec![moved.clone()]), add(vec![b(1)])],
            ),
            ("an address not told", vec![b(1)], vec![untold], vec![]),
            (
                "another node port",
                vec![b(1)],
                vec![other_port.clone()],
                vec![add(vec![b(1)]), remove(vec![other_port.clone()])],
            ),
            ("nobody left", vec![], vec![m(1)], vec![remove(vec![m(1)])]),
        ] {
            let plan = only(listener.clone(), members, vec![wanted(&mine, f, wanted_members)]);
            assert_eq!(plan.actions, want, "{case}");
        }
    }

    #[test]
    fn members_that_are_not_known_are_left_alone() {
        let mine = owner("web");
        let f = frontend(Protocol::Tcp, 80);
        let listener = made_by(&mine, "l-1", f, Some(settings(ForwardRule::RoundRobin)));
        let desired = [wanted(&mine, f, vec![backend("i-1", 30080, 1)])]
            .into_iter()
            .collect();
        assert_eq!(
            plan(&mine, &desired, &[listener], &HashMap::new()),
            Plan::default()
        );
    }

    #[test]
    fn ours_stays_although_something_unknown_sits_on_its_port() {
        let mine = owner("web");
        let f = frontend(Protocol::Tcp, 80);
        let ours = made_by(&mine, "l-2", f, Some(settings(ForwardRule::RoundRobin)));
        let unknown = Listener {
            id: "l-1".into(),
            name: "".into(),
            protocol: ListenerProtocol::Unknown,
            port: 80,
            settings: None,
        };
        let desired = [wanted(&mine, f, vec![])].into_iter().collect();
        assert_eq!(
            plan(&mine, &desired, &[unknown, ours], &HashMap::new()),
            Plan::default()
        );
    }
}
