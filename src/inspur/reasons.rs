//! Reasons of Events on a Service, which its owner can look up.

/// An annotation cannot be read.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
/// No annotation names an SLB.
pub const LOAD_BALANCER_ID_MISSING: &str = "LoadBalancerIdMissing";
/// The SLB does not exist (any more).
pub const LOAD_BALANCER_NOT_FOUND: &str = "LoadBalancerNotFound";
/// The SLB is somebody else's.
pub const LOAD_BALANCER_FORBIDDEN: &str = "LoadBalancerForbidden";
/// Listeners on an SLB that the Service no longer names could not be removed yet.
pub const LOAD_BALANCER_LEFT_BEHIND: &str = "LoadBalancerLeftBehind";
/// Somebody else has the port.
pub const PORT_TAKEN: &str = "PortTaken";
/// The port's protocol is none that an SLB forwards.
pub const PROTOCOL_UNSUPPORTED: &str = "ProtocolUnsupported";
/// The port has no nodePort.
pub const NODE_PORT_MISSING: &str = "NodePortMissing";
/// A Node has no address that the SLB can reach.
pub const NODE_ADDRESS_MISSING: &str = "NodeAddressMissing";
