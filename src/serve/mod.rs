//! The HTTPS endpoint: health, metrics, configuration and status, and who may read them.

mod options;

pub use options::{
    Authentication, Authorization, Certificate, CipherSuite, Curve, Options, PathPattern, RequestHeader,
    SniPair, TlsVersion,
};
