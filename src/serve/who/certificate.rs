//! Certificates that callers show, and the authorities they are held against.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use super::request_header::NotText;
use super::user::User;
use crate::runtime::x509::{self, Malformed};

/// Authorities. Never none.
pub(super) struct Bundle(Vec<Authority>);

struct Authority {
    anchor: TrustAnchor<'static>,
    valid: (SystemTime, SystemTime),
}

/// Why text cannot serve as authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A block is damaged.
    #[error("it is not valid PEM")]
    NotPem,
    /// It is empty, or holds keys only.
    #[error("it holds no certificate in PEM")]
    Empty,
    /// There are certificates, but none that can be decoded.
    #[error("not one of its certificates can be decoded")]
    Undecodable,
}

/// Why a certificate proves nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// Unknown authority, expired, not for clients.
    #[error("the client's certificate is not accepted: {0}")]
    NotAccepted(rustls::Error),
    /// Every authority is too old.
    #[error("no authority of client certificates is valid now")]
    NoAuthority,
    /// It was accepted, and yet it cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A proxy that is not one of those allowed.
    #[error("the certificate's common name is not one of those allowed for front proxies")]
    NotAllowed,
    /// A header of a proxy's is no text.
    #[error(transparent)]
    NotText(#[from] NotText),
}

impl Bundle {
    /// The authorities in `pem`. Single certificates that cannot be used are skipped.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, BundleError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| BundleError::NotPem)?;
        if certificates.is_empty() {
            return Err(BundleError::Empty);
        }
        let found = certificates.len();
        let authorities: Vec<_> = certificates.into_iter().filter_map(authority).collect();
        match authorities.len() {
            0 => return Err(BundleError::Undecodable),
            used if used < found => {
                log::warn!(ignored = found - used; "some certificates cannot be used as authorities of clients");
            }
            _ => {}
        }
        Ok(Self(authorities))
    }

    /// Makes sure that the first of `chain` is a client's certificate of one of the authorities, and valid at `at`.
    pub(super) fn verify(&self, chain: &[CertificateDer<'static>], at: SystemTime) -> Result<(), Refused> {
        let Some((own, others)) = chain.split_first() else {
            return Err(Refused::NoAuthority);
        };
        let valid = |authority: &&Authority| (authority.valid.0..=authority.valid.1).contains(&at);
        // webpki does not look at an authority's own dates; Go does
        let roots: RootCertStore = self.0.iter().filter(valid).map(|a| a.anchor.clone()).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| Refused::NoAuthority)?;
        let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
        let verified = verifier.verify_client_cert(own, others, at);
        verified.map(drop).map_err(Refused::NotAccepted)
    }
}

fn authority(certificate: CertificateDer<'static>) -> Option<Authority> {
    let valid = x509::validity(&certificate).ok()?;
    let mut store = RootCertStore::empty();
    store.add(certificate).ok()?;
    let anchor = store.roots.pop()?;
    Some(Authority { anchor, valid })
}

/// Who a verified certificate is for: its common name, in its organizations; `None` when it names nobody.
pub(super) fn user(certificate: &CertificateDer<'_>) -> Result<Option<User>, Malformed> {
    let subject = x509::subject(certificate)?;
    let named = subject.common_name.filter(|name| !name.is_empty());
    Ok(named.map(|name| User {
        name,
        groups: subject.organizations,
        ..User::default()
    }))
}

/// Makes sure that a verified certificate is one of a front proxy's; `allowed` is empty for any name.
pub(super) fn check_proxy(certificate: &CertificateDer<'_>, allowed: &[String]) -> Result<(), Refused> {
    if allowed.is_empty() {
        return Ok(());
    }
    let name = x509::subject(certificate)?.common_name.unwrap_or_default();
    match allowed.contains(&name) {
        true => Ok(()),
        false => Err(Refused::NotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

    use super::*;
    use crate::http::testing::Ca;
    use crate::serve::who::testing::{client, der, now};

    #[test]
    fn only_valid_clients_of_a_known_authority_are_accepted() {
        let (ca, other) = (Ca::new("ca"), Ca::new("other"));
        let bundle = Bundle::parse(ca.certificate.as_bytes()).unwrap();
        let day = Duration::from_secs(86400);
        let of = |ca: &Ca| client(ca, "bob", &[], |_| {});
        for (case, certificate, at, want) in [
            ("good", of(&ca), now(), true),
            ("of another authority", of(&other), now(), false),
            (
                "without any purpose",
                client(&ca, "bob", &[], |params| params.extended_key_usages.clear()),
                now(),
                true,
            ),
            (
                "for servers only",
                client(&ca, "bob", &[], |params| {
                    params.extended_key_usages = vec![ServerAuth]
                }),
                now(),
                false,
            ),
            (
                "for both",
                client(&ca, "bob", &[], |params| {
                    params.extended_key_usages = vec![ServerAuth, ClientAuth]
                }),
                now(),
                true,
            ),
            (
                "expired",
                client(&ca, "bob", &[], |params| {
                    params.not_after = rcgen::date_time_ymd(2025, 12, 31)
                }),
                now(),
                false,
            ),
            (
                "not yet valid",
                client(&ca, "bob", &[], |params| {
                    params.not_before = rcgen::date_time_ymd(2026, 1, 3)
                }),
                now(),
                false,
            ),
            (
                "valid by then",
                client(&ca, "bob", &[], |params| {
                    params.not_before = rcgen::date_time_ymd(2026, 1, 3)
                }),
                now() + 2 * day,
                true,
            ),
            ("garbage", CertificateDer::from(vec![0x30, 0x82, 1]), now(), false),
        ] {
            let found = bundle.verify(&[certificate], at);
            assert_eq!(found.is_ok(), want, "{case}: {found:?}");
        }
        assert!(bundle.verify(&[], now()).is_err());
    }

    #[test]
    fn an_authority_that_expired_vouches_for_nobody() {
        let short = Ca::with("short", |params| {
            params.not_after = rcgen::date_time_ymd(2026, 1, 10)
        });
        let long = Ca::new("long");
        let bundle = Bundle::parse((short.certificate.clone() + &long.certificate).as_bytes()).unwrap();
        let later = now() + Duration::from_secs(30 * 86400);
        for (case, ca, at, want) in [
            ("before", &short, now(), true),
            ("after", &short, later, false),
            ("another one of the bundle", &long, later, true),
        ] {
            let found = bundle.verify(&[client(ca, "bob", &[], |_| {})], at);
            assert_eq!(found.is_ok(), want, "{case}: {found:?}");
        }
    }

    #[test]
    fn a_chain_may_lead_over_an_authority_in_between() {
        let root = Ca::new("root");
        let between = root.subordinate("between");
        let bundle = Bundle::parse(root.certificate.as_bytes()).unwrap();
        let own = client(&between, "bob", &[], |_| {});
        assert!(
            bundle.verify(std::slice::from_ref(&own), now()).is_err(),
            "something is missing"
        );
        assert!(bundle.verify(&[own, der(&between.certificate)], now()).is_ok());
    }

    #[test]
    fn text_that_names_no_authority_is_refused() {
        let ca = Ca::new("ca");
        let leaf = ca.issue(&["a"]);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (case, text, want) in [
            ("one", ca.certificate.clone(), None),
            ("nothing", String::new(), Some(BundleError::Empty)),
            ("a key", leaf.key, Some(BundleError::Empty)),
            ("words", "hello".into(), Some(BundleError::Empty)),
            ("no DER", broken.into(), Some(BundleError::Undecodable)),
            ("one of two", broken.to_owned() + &ca.certificate, None),
            (
                "cut",
                ca.certificate[..ca.certificate.len() / 2].to_owned(),
                Some(BundleError::NotPem),
            ),
        ] {
            let found = Bundle::parse(text.as_bytes());
            assert_eq!(found.as_ref().err(), want.as_ref(), "{case}");
        }
    }

    #[test]
    fn a_certificate_names_user_and_groups() {
        let ca = Ca::new("ca");
        for (case, certificate, want) in [
            (
                "groups",
                client(&ca, "bob", &["a", "b"], |_| {}),
                Some(("bob", vec!["a", "b"])),
            ),
            ("none", client(&ca, "bob", &[], |_| {}), Some(("bob", vec![]))),
            ("nobody", client(&ca, "", &["a"], |_| {}), None),
        ] {
            let found = user(&certificate).unwrap();
            let found = found.map(|user| (user.name, user.groups));
            let want = want.map(|(name, groups): (&str, Vec<&str>)| {
                (
                    name.to_owned(),
                    groups.into_iter().map(str::to_owned).collect::<Vec<_>>(),
                )
            });
            assert_eq!(found, want, "{case}");
        }
    }

    #[test]
    fn a_front_proxy_bears_an_allowed_name() {
        let ca = Ca::new("ca");
        let certificate = client(&ca, "front", &[], |_| {});
        for (allowed, want) in [
            (&[][..], true),
            (&["front"], true),
            (&["a", "front"], true),
            (&["a"], false),
        ] {
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            assert_eq!(check_proxy(&certificate, &allowed).is_ok(), want, "{allowed:?}");
        }
    }
}
