//! The HTTPS endpoint: health, metrics, configuration and status, and who may read them.

mod exchange;
mod options;
pub mod who;

pub use exchange::{Answer, Guard, Incoming};
pub use options::{
    Authentication, Authorization, Certificate, CipherSuite, Curve, Options, PathPattern, RequestHeader,
    SniPair, TlsVersion,
};
