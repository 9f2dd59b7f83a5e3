//! How the HTTPS endpoint is served.

use std::net::{IpAddr, Ipv4Addr};

use super::{Given, Warning, values};
use crate::serve::{Certificate, CipherSuite, Curve, Options, SniPair, TlsVersion};

/// A cipher suite by Go's name.
struct Suite {
    name: &'static str,
    number: u16,
    version: TlsVersion,
}

const fn suite(name: &'static str, number: u16, version: TlsVersion) -> Suite {
    Suite {
        name,
        number,
        version,
    }
}

/// The cipher suites that there are here, in the order in which errors name them. Source: Go, crypto/tls/cipher_suites.go.
#[rustfmt::skip]
static SUITES: [Suite; 9] = [
    suite("TLS_AES_128_GCM_SHA256", 0x1301, TlsVersion::V13),
    suite("TLS_AES_256_GCM_SHA384", 0x1302, TlsVersion::V13),
    suite("TLS_CHACHA20_POLY1305_SHA256", 0x1303, TlsVersion::V13),
    suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 0xc02b, TlsVersion::V12),
    suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", 0xc02c, TlsVersion::V12),
    suite("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca9, TlsVersion::V12),
    suite("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", 0xc02f, TlsVersion::V12),
    suite("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0xc030, TlsVersion::V12),
    suite("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", 0xcca8, TlsVersion::V12),
];

/// What Kubernetes called two of them before Go's names had their end.
/// Source: kubernetes/component-base, cli/flag/ciphersuites_flag.go.
const OLD_NAMES: [&str; 2] = [
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
];

/// The key exchange groups that there are here: X25519, P-256, P-384. Source: IANA, TLS Supported Groups.
pub(crate) const CURVES: [u16; 3] = [29, 23, 24];

impl Given {
    /// `None` for no endpoint; what belongs to it is checked all the same.
    pub(super) fn serving(&mut self, warnings: &mut Vec<Warning>) -> Option<Options> {
        let options = Options {
            address: self
                .last("bind-address")
                .parse()
                .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: self.number("secure-port"),
            share_port: self.is_true("permit-port-sharing"),
            certificate: self.certificate(),
            sni: self
                .every("tls-sni-cert-key")
                .iter()
                .filter_map(|pair| sni_pair(pair))
                .collect(),
            min_version: self.min_version(warnings),
            cipher_suites: self.cipher_suites(),
            curves: self.curves(),
            authentication: self.authentication(),
            authorization: self.authorization(),
        };
        (options.port != 0).then_some(options)
    }

    fn certificate(&mut self) -> Certificate {
        match (self.path("tls-cert-file"), self.path("tls-private-key-file")) {
            (Some(certificate), Some(key)) => return Certificate::Files { certificate, key },
            (Some(_), None) => self.refuse("tls-cert-file", "must be given with --tls-private-key-file"),
            (None, Some(_)) => self.refuse("tls-private-key-file", "must be given with --tls-cert-file"),
            (None, None) => {}
        }
        self.path("cert-dir")
            .map_or(Certificate::SelfSigned, Certificate::Folder)
    }

    fn min_version(&mut self, warnings: &mut Vec<Warning>) -> TlsVersion {
        match self.last("tls-min-version") {
            "" | "VersionTLS12" => {}
            "VersionTLS13" => return TlsVersion::V13,
            old @ ("VersionTLS10" | "VersionTLS11") => {
                let found = old.to_owned();
                warnings.push(Warning::OldTls { found });
            }
            _ => self.refuse(
                "tls-min-version",
                "must be VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13",
            ),
        }
        TlsVersion::V12
    }

    /// As Go does, all of TLS 1.3 goes with a list that only chooses among those of TLS 1.2.
    fn cipher_suites(&mut self) -> Vec<CipherSuite> {
        let (flag, mut chosen) = ("tls-cipher-suites", Vec::<&Suite>::new());
        for name in self.list(flag) {
            match SUITES.iter().find(|suite| suite.is_named(&name)) {
                Some(suite) => chosen.push(suite),
                None => {
                    let names: Vec<_> = suite_names().collect();
                    self.refuse_found(flag, name, format!("must be one of {}", names.join(", ")));
                }
            }
        }
        let is_modern = |suite: &&Suite| suite.version == TlsVersion::V13;
        if !chosen.is_empty() && !chosen.iter().any(is_modern) {
            chosen.extend(SUITES.iter().filter(is_modern));
        }
        unique(chosen.iter().map(|suite| CipherSuite(suite.number)))
    }

    fn curves(&mut self) -> Vec<Curve> {
        let (flag, mut chosen) = ("tls-curve-preferences", Vec::new());
        for number in self.list(flag) {
            match CURVES.iter().find(|curve| number.parse() == Ok(**curve)) {
                Some(curve) => chosen.push(Curve(*curve)),
                None => self.refuse_found(flag, number, "must be one of 29 (X25519), 23 (P-256), 24 (P-384)"),
            }
        }
        unique(chosen.into_iter())
    }
}

/// What `--tls-cipher-suites` takes, but for old names.
pub(crate) fn suite_names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|suite| suite.name)
}

impl Suite {
    fn is_named(&self, name: &str) -> bool {
        let in_full = |old: &str| self.name.strip_suffix("_SHA256") == Some(old);
        self.name == name || (OLD_NAMES.contains(&name) && in_full(name))
    }
}

/// `certificate,key` or `certificate,key:name,…`. Source: kubernetes/component-base, cli/flag/namedcertkey_flag.go.
pub(super) fn sni_pair(text: &str) -> Option<SniPair> {
    let (files, names) = text
        .split_once(':')
        .map_or((text, None), |(files, names)| (files, Some(names)));
    let (certificate, key) = files.split_once(',')?;
    let (certificate, key) = (certificate.trim(), key.trim());
    let names: Vec<String> = names
        .iter()
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let sound = !certificate.is_empty() && !key.is_empty() && !key.contains(',');
    (sound && names.iter().all(|name| is_server_name(name))).then(|| SniPair {
        certificate: certificate.into(),
        key: key.into(),
        names,
    })
}

/// A DNS name, perhaps with `*` for its first label.
fn is_server_name(name: &str) -> bool {
    let fixed = name.strip_prefix("*.").unwrap_or(name);
    values::dns_name(fixed) && name.parse::<IpAddr>().is_err()
}

/// Each once, where it is first.
fn unique<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.fold(Vec::new(), |mut unique, one| {
        if !unique.contains(&one) {
            unique.push(one);
        }
        unique
    })
}

#[cfg(test)]
mod tests {
    use super::super::table::{Effect, FLAGS};
    use super::*;

    #[test]
    fn the_table_has_what_the_tls_library_has_and_the_docs_name_it() {
        let of_library = rustls::crypto::ring::ALL_CIPHER_SUITES;
        for suite in &SUITES {
            let found = of_library
                .iter()
                .find(|found| u16::from(found.suite()) == suite.number)
                .unwrap_or_else(|| panic!("{} is not there", suite.name));
            assert_eq!(
                found.tls13().is_some(),
                suite.version == TlsVersion::V13,
                "{}",
                suite.name
            );
            let name = format!("{:?}", found.suite()).replace("TLS13_", "TLS_");
            assert_eq!(name, suite.name);
        }
        assert_eq!(of_library.len(), SUITES.len());
        let groups = rustls::crypto::ring::ALL_KX_GROUPS;
        let groups: Vec<u16> = groups.iter().map(|group| group.name().into()).collect();
        assert_eq!(groups, CURVES);

        let said = FLAGS.iter().find(|flag| flag.name == "tls-cipher-suites");
        let Some(Effect::Works(said)) = said.map(|flag| flag.effect) else {
            panic!("tls-cipher-suites has no effect");
        };
        for suite in &SUITES {
            assert!(
                said.en.contains(suite.name) && said.zh.contains(suite.name),
                "{}",
                suite.name
            );
        }
    }

    #[test]
    fn a_certificate_for_names_is_read_as_upstream_reads_it() {
        let pair = |names: &[&str]| {
            Some(SniPair {
                certificate: "/a.crt".into(),
                key: "/a.key".into(),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            })
        };
        for (text, want) in [
            ("/a.crt,/a.key", pair(&[])),
            (" /a.crt , /a.key ", pair(&[])),
            ("/a.crt,/a.key:example.com", pair(&["example.com"])),
            ("/a.crt,/a.key:*.Example.com, b", pair(&["*.example.com", "b"])),
            ("", None),
            ("/a.crt", None),
            ("/a.crt,", None),
            (",/a.key", None),
            ("/a.crt,/a.key,/b.key", None),
            ("/a.crt,/a.key:", None),
            ("/a.crt,/a.key:a,", None),
            ("/a.crt,/a.key:a.*.b", None),
            ("/a.crt,/a.key:*", None),
            ("/a.crt,/a.key:10.0.0.1", None),
            ("/a.crt,/a.key:::1", None),
        ] {
            assert_eq!(sni_pair(text), want, "{text}");
        }
    }
}
