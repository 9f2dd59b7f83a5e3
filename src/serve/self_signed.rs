//! A certificate that nobody vouches for, so that there is TLS without any preparation.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Valid before it was made, for the sake of clocks that differ. Source: ccm-behaviour.md 2.8.
const BEFORE: Duration = Duration::from_secs(3600);
/// Valid for so long. Source: ccm-behaviour.md 2.8.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// In the name of whom it is for; the time when it was made follows. Source: ccm-behaviour.md 2.8.
const NAME: &str = "localhost@";

/// A certificate and its key, in PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Makes one for `localhost`, 127.0.0.1 and the address that is listened on, unless that is every address.
pub(super) fn make(bind: IpAddr, now: SystemTime) -> Result<Made, rcgen::Error> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !bind.is_unspecified() && bind != IpAddr::from([127, 0, 0, 1]) {
        names.push(bind.to_string());
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{NAME}{}", now.as_secs()));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    params.not_before = now - BEFORE;
    params.not_after = now + LIFE;
    // P-256
    let key = KeyPair::generate()?;
    Ok(Made {
        certificate: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

/// When a certificate that was made here (in DER) should give way to another: when four fifths of its life are over. `None` for one that
/// somebody else made.
pub(super) fn renewal(certificate: &[u8]) -> Option<SystemTime> {
    let prefix = NAME.as_bytes();
    let at = certificate
        .windows(prefix.len())
        .position(|window| window == prefix)?;
    // the byte before a short string is its length
    let length = usize::from(*certificate.get(at.checked_sub(1)?)?);
    let name = std::str::from_utf8(certificate.get(at..at + length)?).ok()?;
    let made = name.strip_prefix(NAME)?.parse().ok()?;
    UNIX_EPOCH
        .checked_add(Duration::from_secs(made))?
        .checked_add(LIFE / 5 * 4)
}

#[cfg(test)]
mod tests {
    use rustls::server::ParsedCertificate;
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, ServerName};

    use super::*;

    fn made(bind: &str) -> CertificateDer<'static> {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let made = make(bind.parse().unwrap(), now).unwrap();
        CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()
    }

    #[test]
    fn it_is_for_this_machine_and_the_address_listened_on() {
        for (bind, name, want) in [
            ("0.0.0.0", "localhost", true),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "0.0.0.0", false),
            ("10.0.0.7", "localhost", true),
            ("10.0.0.7", "10.0.0.7", true),
            ("fd00::7", "fd00::7", true),
            ("127.0.0.1", "10.0.0.7", false),
        ] {
            let certificate = made(bind);
            let parsed = ParsedCertificate::try_from(&certificate).unwrap();
            let name = ServerName::try_from(name).unwrap();
            let found = rustls::client::verify_server_name(&parsed, &name).is_ok();
            assert_eq!(found, want, "{bind} {name:?}");
        }
    }

    #[test]
    fn it_is_renewed_after_four_fifths_of_a_year() {
        let want = UNIX_EPOCH + Duration::from_secs(1_800_000_000 + 292 * 24 * 3600);
        assert_eq!(renewal(&made("0.0.0.0")), Some(want));
    }

    #[test]
    fn another_s_is_not_ours_to_renew() {
        for (case, bytes) in [
            ("another name", &b"\x16example.org@1800000000"[..]),
            ("no length", b"localhost@1800000000"),
            ("no time", b"\x0alocalhost@0"),
            ("cut short", b"\x14localhost@180000"),
            ("not a number", b"\x0dlocalhost@1x0"),
            ("a time beyond all", b"\x1elocalhost@99999999999999999999"),
            ("a time beyond dates", b"\x1elocalhost@18446744073709551615"),
        ] {
            assert_eq!(renewal(bytes), None, "{case}");
        }
    }
}
