//! How old the certificates are that we show.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::table::Row;
use crate::config::flags::Flags;
use crate::http::agent::Pem;
use crate::runtime::{chain, x509};
use crate::serve;

/// Shorter is too short for somebody who has to be asked for a new one.
const SOON: Duration = Duration::from_secs(14 * 86_400);

const DAY: u64 = 86_400;

/// Of the endpoint's certificates, as far as they are files.
pub(super) fn of_the_endpoint(flags: &Flags, now: SystemTime) -> Vec<Row> {
    const CHECK: &str = "certificate: endpoint";
    let Some(serving) = &flags.serving else {
        return vec![Row::skipped(CHECK, "there is no endpoint: --secure-port is 0")];
    };
    let first = match &serving.certificate {
        serve::Certificate::SelfSigned => Row::ok(CHECK, "made at each start, signed by itself"),
        serve::Certificate::Files { certificate, .. } => of_file(CHECK, certificate, now),
        serve::Certificate::Folder(folder) => {
            let path = folder.join("cloud-controller-manager.crt");
            if path.exists() {
                of_file(CHECK, &path, now)
            } else {
                Row::ok(
                    CHECK,
                    format!("will be made in {}, signed by itself", folder.display()),
                )
            }
        }
    };
    let others = serving
        .sni
        .iter()
        .map(|pair| of_file(CHECK, &pair.certificate, now));
    std::iter::once(first).chain(others).collect()
}

fn of_file(check: &str, path: &Path, now: SystemTime) -> Row {
    of(check, &Pem::File(path.to_owned()), now)
}

/// Of the first certificate in `pem`, which is the one that is shown.
pub(super) fn of(check: &str, pem: &Pem, now: SystemTime) -> Row {
    let bytes = match pem.read("certificate") {
        Ok(bytes) => bytes,
        Err(error) => return Row::failed(check, chain(&error)).advice("name a file that can be read"),
    };
    let first = CertificateDer::pem_slice_iter(&bytes).find_map(Result::ok);
    let validity = first.map(|der| x509::validity(&der));
    match validity {
        Some(Ok((from, until))) => judge(check, &pem.to_string(), from, until, now),
        Some(Err(error)) => Row::failed(check, format!("{pem}: {error}")).advice("replace it"),
        None => Row::failed(check, format!("{pem} holds no certificate in PEM")).advice("replace it"),
    }
}

fn judge(check: &str, from: &str, begins: SystemTime, ends: SystemTime, now: SystemTime) -> Row {
    let date = |time| humantime::format_rfc3339_seconds(time);
    if now < begins {
        let found = format!("{from} is not valid before {}", date(begins));
        return Row::failed(check, found).advice("wait until then, or set this machine's clock");
    }
    let Some(left) = ends.duration_since(now).ok().filter(|left| !left.is_zero()) else {
        return Row::failed(check, format!("{from} expired at {}", date(ends))).advice("replace it");
    };
    let found = format!("{from}: {} days left, until {}", left.as_secs() / DAY, date(ends));
    if left < SOON {
        Row::warning(check, found).advice("replace it in time; the new one is taken without a restart")
    } else {
        Row::ok(check, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Verdict;
    use super::*;

    #[test]
    fn a_certificate_fails_when_it_ended_and_warns_two_weeks_before() {
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * DAY);
        for (case, now, verdict, found) in [
            (
                "too early",
                9,
                Verdict::Failed,
                "c is not valid before 1970-01-11T00:00:00Z",
            ),
            (
                "its first day",
                10,
                Verdict::Ok,
                "c: 90 days left, until 1970-04-11T00:00:00Z",
            ),
            (
                "its last good day",
                86,
                Verdict::Ok,
                "c: 14 days left, until 1970-04-11T00:00:00Z",
            ),
            (
                "soon",
                87,
                Verdict::Warning,
                "c: 13 days left, until 1970-04-11T00:00:00Z",
            ),
            (
                "its end",
                100,
                Verdict::Failed,
                "c expired at 1970-04-11T00:00:00Z",
            ),
        ] {
            let row = judge("x", "c", day(10), day(100), day(now));
            assert_eq!((row.verdict, row.found.as_str()), (verdict, found), "{case}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.crt");
        let verdict = |text: Option<&str>| {
            text.inspect(|text| std::fs::write(&path, text).unwrap());
            let row = of_file("x", &path, SystemTime::now());
            (row.verdict, row.found)
        };
        let (missing, found) = verdict(None);
        assert!(
            missing == Verdict::Failed && found.contains("cannot read"),
            "{found}"
        );
        let (empty, found) = verdict(Some("nothing"));
        assert!(
            empty == Verdict::Failed && found.ends_with("holds no certificate in PEM"),
            "{found}"
        );
        let key = rcgen::KeyPair::generate().unwrap();
        let good = rcgen::CertificateParams::new(vec![])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let (good, found) = verdict(Some(&good.pem()));
        assert!(good == Verdict::Ok && found.contains("days left"), "{found}");
    }
}
