//! Why nothing can be said of a Node, in one word, for logs.

/// A Node's provider ID or its annotation names no instance of this cloud.
pub(super) const ID_INVALID: &str = "InstanceIdInvalid";
/// Nothing in the cloud looks like the instance of a Node that does not name it.
pub(super) const NOT_FOUND: &str = "InstanceNotFound";
/// Several instances look like that of a Node that does not name it.
pub(super) const AMBIGUOUS: &str = "InstanceAmbiguous";
/// Two Nodes say that they are one instance.
pub(super) const SHARED: &str = "InstanceShared";
/// An address of an instance is no address.
pub(super) const ADDRESS_INVALID: &str = "InstanceAddressInvalid";
