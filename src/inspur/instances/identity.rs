//! Which instance a Node says it is. Pure.

use super::reason;
use crate::cloud::Error;
use crate::inspur::annotations::INSTANCE_ID;
use crate::k8s::types::Node;

/// The scheme of provider IDs.
pub(in crate::inspur) const SCHEME: &str = "incloud";

/// Longer ones would make the URL of a question about many too long. `Assumed:` ids are short and in printable ASCII.
const LONGEST_ID: usize = 128;

/// What a Node says of its instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// Its id.
    Id(Box<str>),
    /// Nothing: its name and its addresses have to tell.
    Unsaid,
}

/// What `node` says: its provider ID, else its annotation.
///
/// # Errors
/// [`Error::Rejected`] when that cannot be an instance of this cloud.
pub(super) fn identity(node: &Node) -> Result<Identity, Error> {
    let refuse = |message: String| {
        Err(Error::Rejected {
            reason: reason::ID_INVALID,
            message,
        })
    };
    if !node.provider_id.is_empty() {
        return match named_by(&node.provider_id) {
            Some(id) => Ok(Identity::Id(id.into())),
            None => refuse(format!(
                "the provider ID {:?} names no instance of this cloud: {SCHEME}://<instance id> would",
                short(&node.provider_id)
            )),
        };
    }
    match node.meta.annotations.get(INSTANCE_ID) {
        None | Some("") => Ok(Identity::Unsaid),
        Some(id) if is_id(id) => Ok(Identity::Id(id.into())),
        Some(text) => refuse(format!(
            "the annotation {INSTANCE_ID} is {:?}: an instance's id is up to {LONGEST_ID} letters, digits and signs without spaces and slashes",
            short(text)
        )),
    }
}

/// The instance that a provider ID names, in every form that was ever accepted: under `incloud` or `inspur`, and where it has
/// several segments, as the last.
pub(in crate::inspur) fn named_by(provider_id: &str) -> Option<&str> {
    let (scheme, path) = provider_id.split_once("://")?;
    let id = path.rsplit('/').next()?;
    (matches!(scheme, SCHEME | "inspur") && is_id(id)).then_some(id)
}

/// The provider ID of an instance.
pub(super) fn provider_id(id: &str) -> Box<str> {
    format!("{SCHEME}://{id}").into()
}

fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(fits)
}

/// As much as fits a sentence.
fn short(text: &str) -> String {
    text.chars().take(LONGEST_ID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_what_its_provider_id_says_or_else_its_annotation() {
        let long = "i".repeat(LONGEST_ID + 1);
        let id = |id: &str| Some(Identity::Id(id.into()));
        for (case, provider_id, annotation, want) in [
            ("a provider ID", "incloud://i-1", Some("i-2"), id("i-1")),
            ("an old scheme", "inspur://i-1", None, id("i-1")),
            ("with a zone", "incloud:///cn-north-3a/i-1", None, id("i-1")),
            (
                "an old one with a zone",
                "inspur:///cn-north-3a/i-1",
                None,
                id("i-1"),
            ),
            ("an annotation", "", Some("i-2"), id("i-2")),
            ("neither", "", None, Some(Identity::Unsaid)),
            ("an empty annotation", "", Some(""), Some(Identity::Unsaid)),
            ("another cloud's", "kind://docker/kind/n1", Some("i-2"), None),
            ("no scheme", "i-1", Some("i-2"), None),
            ("nothing after the scheme", "incloud://", Some("i-2"), None),
            ("nothing after the zone", "incloud:///cn-north-3a/", None, None),
            ("a space", "incloud://i 1", None, None),
            ("too long", &format!("incloud://{long}"), None, None),
            ("a sentence in the annotation", "", Some("ask bob"), None),
            ("a long annotation", "", Some(&long), None),
        ] {
            let mut node = Node {
                provider_id: provider_id.into(),
                ..Node::default()
            };
            node.meta.annotations = annotation.map(|id| (INSTANCE_ID, id)).into_iter().collect();
            let found = identity(&node);
            if let Err(error) = &found {
                assert_eq!(error.reason(), Some(reason::ID_INVALID), "{case}");
            }
            assert_eq!(found.ok(), want, "{case}");
        }
    }
}
