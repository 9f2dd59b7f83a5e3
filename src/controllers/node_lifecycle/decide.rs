//! What to do with a Node, from what is known of it. Pure.

use super::proof::Knowledge;
use crate::cloud::InstanceState;
use crate::k8s::types::{Node, Readiness, Taint};

/// The taint of a Node whose instance is shut down. Source: ccm-behaviour.md 4.2.
pub const SHUTDOWN_TAINT: &str = "node.cloudprovider.kubernetes.io/shutdown";
const NO_SCHEDULE: &str = "NoSchedule";

/// Annotation: with the value `true`, and no other, the Node is deleted in spite of the brake once it is proven gone. It
/// proves nothing.
pub const DELETION_WANTED: &str = "node.inspur.com/deletion-wanted";

/// What to do with a Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Keep,
    /// Its instance is shut down: keep pods away.
    Taint,
    /// It is Ready: let pods in.
    Untaint,
    /// Its instance seems to be gone: ask again later.
    Wait,
    /// Its instance is gone: delete it, unless the brake holds.
    Delete,
}

/// Whether the cloud must be asked about `node`: one that is not Ready, and that nobody deletes already.
///
/// A Node without a UID, which no API server makes, is left alone: nothing written could be kept from hitting a successor.
pub(super) fn must_ask(node: &Node) -> bool {
    !is_untouchable(node) && node.ready != Readiness::Ready
}

/// What to do with `node`; `known` is `None` where the cloud was not asked.
pub(super) fn decide(node: &Node, known: Option<Knowledge>) -> Decision {
    if is_untouchable(node) {
        return Decision::Keep;
    }
    if node.ready == Readiness::Ready {
        return match has_shutdown_taint(node) {
            true => Decision::Untaint,
            false => Decision::Keep,
        };
    }
    match known {
        None | Some(Knowledge::Doubt(_)) => Decision::Keep,
        Some(Knowledge::Exists(InstanceState::ShutDown)) if !has_shutdown_taint(node) => Decision::Taint,
        // the taint stays until the Node is Ready: a machine that starts serves nobody yet
        Some(Knowledge::Exists(_)) => Decision::Keep,
        Some(Knowledge::Suspected) => Decision::Wait,
        Some(Knowledge::Gone) => Decision::Delete,
    }
}

/// Whether the Node as just read, `fresh`, is still the one that was decided to delete, in a state that allows it. `held`:
/// the brake holds, so that only one whose deletion is wanted goes.
pub(super) fn may_delete(decided: &Node, fresh: &Node, held: bool) -> bool {
    fresh.meta.uid == decided.meta.uid
        && fresh.provider_id == decided.provider_id
        && must_ask(fresh)
        && (!held || is_deletion_wanted(fresh))
}

/// Whether somebody wants it deleted although so many are gone.
pub(super) fn is_deletion_wanted(node: &Node) -> bool {
    node.meta.annotations.get(DELETION_WANTED) == Some("true")
}

/// The taints to write so that `node` has the shutdown taint (or has it no more); `None` when nothing is to be written: it is so
/// already, or the Node as it is now is not one to be tainted (or untainted).
pub(super) fn retaint(node: &Node, wanted: Decision) -> Option<Vec<Taint>> {
    let (has, ready) = (has_shutdown_taint(node), node.ready == Readiness::Ready);
    let others = node.taints.iter().filter(|taint| !is_shutdown(taint)).cloned();
    match wanted {
        _ if is_untouchable(node) => None,
        Decision::Taint if !has && !ready => {
            Some(others.chain([Taint::new(SHUTDOWN_TAINT, NO_SCHEDULE)]).collect())
        }
        Decision::Untaint if has && ready => Some(others.collect()),
        _ => None,
    }
}

fn is_untouchable(node: &Node) -> bool {
    node.meta.is_deleting() || node.meta.uid.is_empty()
}

fn has_shutdown_taint(node: &Node) -> bool {
    node.taints.iter().any(is_shutdown)
}

fn is_shutdown(taint: &Taint) -> bool {
    &*taint.key == SHUTDOWN_TAINT && &*taint.effect == NO_SCHEDULE
}

#[cfg(test)]
mod tests {
    use super::super::proof::Doubt;
    use super::*;
    use crate::k8s::types::{ObjectMeta, Timestamp};

    fn node(ready: Readiness, taints: &[(&str, &str)]) -> Node {
        Node {
            meta: ObjectMeta {
                name: "n1".into(),
                uid: "u1".into(),
                ..ObjectMeta::default()
            },
            provider_id: "incloud://i-1".into(),
            ready,
            taints: taints
                .iter()
                .map(|(key, effect)| Taint::new(key, effect))
                .collect(),
            ..Node::default()
        }
    }

    const TAINT: (&str, &str) = (SHUTDOWN_TAINT, NO_SCHEDULE);

    #[test]
    fn a_decision_follows_from_readiness_taint_and_knowledge() {
        use Decision::{Delete, Keep, Taint, Untaint, Wait};
        use InstanceState::{Ended, ShutDown, Up};
        use Knowledge::{Exists, Gone, Suspected};
        use Readiness::{NotReady, Ready, Unknown};
        let doubt = Knowledge::Doubt;
        let (no, yes): (&[_], &[_]) = (&[], &[TAINT]);
        for (case, ready, taints, known, want) in [
            ("healthy", Ready, no, None, Keep),
            ("healthy again", Ready, yes, None, Untaint),
            ("Ready, whatever is said", Ready, no, Some(Gone), Keep),
            ("not asked about", NotReady, no, None, Keep),
            ("not asked about, tainted", NotReady, yes, None, Keep),
            ("down, runs", NotReady, no, Some(Exists(Up)), Keep),
            ("starts", NotReady, yes, Some(Exists(Up)), Keep),
            ("shut down", NotReady, no, Some(Exists(ShutDown)), Taint),
            (
                "unheard of, shut down",
                Unknown,
                no,
                Some(Exists(ShutDown)),
                Taint,
            ),
            ("shut down, tainted", NotReady, yes, Some(Exists(ShutDown)), Keep),
            ("ended", NotReady, no, Some(Exists(Ended)), Keep),
            ("no answer", Unknown, no, Some(doubt(Doubt::NoAnswer)), Keep),
            ("young", Unknown, no, Some(doubt(Doubt::Young)), Keep),
            ("missing", Unknown, no, Some(Suspected), Wait),
            ("gone", Unknown, no, Some(Gone), Delete),
            ("gone while shut down", NotReady, yes, Some(Gone), Delete),
        ] {
            assert_eq!(decide(&node(ready, taints), known), want, "{case}");
        }
    }

    #[test]
    fn a_node_that_is_being_deleted_or_has_no_uid_is_left_alone() {
        for (case, change) in [
            (
                "deleting",
                (|node| node.meta.deletion_timestamp = Some(Timestamp(1))) as fn(&mut Node),
            ),
            ("no UID", |node| node.meta.uid = "".into()),
        ] {
            let (mut down, mut ready) = (node(Readiness::Unknown, &[]), node(Readiness::Ready, &[TAINT]));
            change(&mut down);
            change(&mut ready);
            assert!(!must_ask(&down), "{case}");
            assert_eq!(decide(&down, Some(Knowledge::Gone)), Decision::Keep, "{case}");
            assert_eq!(decide(&ready, None), Decision::Keep, "{case}");
            assert_eq!(retaint(&down, Decision::Taint), None, "{case}");
            assert_eq!(retaint(&ready, Decision::Untaint), None, "{case}");
        }
    }

    #[test]
    fn a_node_is_deleted_only_as_it_was_decided_upon() {
        let decided = node(Readiness::Unknown, &[]);
        type Change = Box<dyn Fn(&mut Node)>;
        let wanted = |value: &str| -> Change {
            let value = value.to_string();
            Box::new(move |node| {
                node.meta.annotations = [(DELETION_WANTED, value.as_str())].into_iter().collect();
            })
        };
        let table: Vec<(&str, bool, Change, bool)> = vec![
            ("unchanged", false, Box::new(|_| {}), true),
            (
                "now not Ready for sure",
                false,
                Box::new(|n| n.ready = Readiness::NotReady),
                true,
            ),
            (
                "Ready again",
                false,
                Box::new(|n| n.ready = Readiness::Ready),
                false,
            ),
            (
                "another of the name",
                false,
                Box::new(|n| n.meta.uid = "u2".into()),
                false,
            ),
            (
                "another instance",
                false,
                Box::new(|n| n.provider_id = "incloud://i-2".into()),
                false,
            ),
            (
                "being deleted",
                false,
                Box::new(|n| n.meta.deletion_timestamp = Some(Timestamp(1))),
                false,
            ),
            ("held", true, Box::new(|_| {}), false),
            ("held but wanted", true, wanted("true"), true),
            ("held, not wanted", true, wanted("false"), false),
            ("held, nearly wanted", true, wanted("True"), false),
            ("held, wanted by nothing", true, wanted(""), false),
        ];
        for (case, held, change, want) in table {
            let mut fresh = decided.clone();
            change(&mut fresh);
            assert_eq!(may_delete(&decided, &fresh, held), want, "{case}");
        }
    }

    #[test]
    fn taints_of_others_stay_as_they_are_and_in_their_order() {
        use Decision::{Taint, Untaint};
        use Readiness::{Ready, Unknown};
        type Pairs = &'static [(&'static str, &'static str)];
        let table: [(&str, Readiness, Pairs, Decision, Option<Pairs>); 7] = [
            ("the first", Unknown, &[], Taint, Some(&[TAINT])),
            (
                "the last",
                Unknown,
                &[("a", "NoExecute"), (SHUTDOWN_TAINT, "NoExecute")],
                Taint,
                Some(&[("a", "NoExecute"), (SHUTDOWN_TAINT, "NoExecute"), TAINT]),
            ),
            ("there already", Unknown, &[TAINT], Taint, None),
            ("Ready meanwhile", Ready, &[], Taint, None),
            (
                "from between",
                Ready,
                &[("a", "NoExecute"), TAINT, (SHUTDOWN_TAINT, "NoExecute")],
                Untaint,
                Some(&[("a", "NoExecute"), (SHUTDOWN_TAINT, "NoExecute")]),
            ),
            ("gone already", Ready, &[("a", "NoExecute")], Untaint, None),
            ("down meanwhile", Unknown, &[TAINT], Untaint, None),
        ];
        for (case, ready, before, wanted, want) in table {
            let got = retaint(&node(ready, before), wanted);
            assert_eq!(
                got,
                want.map(|pairs| node(ready, pairs).taints.to_vec()),
                "{case}"
            );
        }
    }
}
