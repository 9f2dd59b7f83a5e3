//! Whom a certificate names, and when it is valid: as much of DER as that takes.
//!
//! Nothing here says that a certificate is to be believed. Bytes may come from anybody: whatever they are, the answer is an error
//! and never a panic. yasna, which is in the tree, is not used: skipping an element whose length is near the largest number overflows in it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What of a subject tells who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// The last one, if there are several. Source: Go, crypto/x509/pkix (FillFromRDNSequence).
    pub common_name: Option<String>,
    /// In the order in which they stand.
    pub organizations: Vec<String>,
}

/// The bytes are no certificate that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub struct Malformed(&'static str);

/// Whom the certificate in `der` names.
///
/// # Errors
/// It is no X.509 certificate, or a name is not spelt in one of the usual ways.
pub fn subject(der: &[u8]) -> Result<Subject, Malformed> {
    let mut subject = Subject::default();
    let mut names = Der(fields(der)?.subject);
    while let Some(mut set) = names.next_if_any(SET)? {
        while let Some(mut attribute) = set.next_if_any(SEQUENCE)? {
            let kind = attribute.next(OID)?.0;
            let (tag, value) = attribute.any()?;
            match kind {
                COMMON_NAME => subject.common_name = Some(text(tag, value)?),
                ORGANIZATION => subject.organizations.push(text(tag, value)?),
                _ => {}
            }
        }
    }
    Ok(subject)
}

/// From when to when the certificate in `der` is valid. What is before 1970 reads as 1970.
///
/// # Errors
/// It is no X.509 certificate.
pub fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), Malformed> {
    let mut validity = Der(fields(der)?.validity);
    let (tag, text) = validity.any()?;
    let not_before = time(tag, text)?;
    let (tag, text) = validity.any()?;
    Ok((not_before, time(tag, text)?))
}

struct Fields<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
}

/// Source: RFC 5280 4.1 (TBSCertificate).
fn fields(der: &[u8]) -> Result<Fields<'_>, Malformed> {
    let mut certificate = Der(der).next(SEQUENCE)?;
    let mut signed = certificate.next(SEQUENCE)?;
    if signed.0.first() == Some(&VERSION) {
        signed.any()?;
    }
    let _serial = signed.next(INTEGER)?;
    let _algorithm = signed.next(SEQUENCE)?;
    let _issuer = signed.next(SEQUENCE)?;
    let validity = signed.next(SEQUENCE)?.0;
    let subject = signed.next(SEQUENCE)?.0;
    Ok(Fields { validity, subject })
}

/// What is left to read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element, of whatever kind: its tag and what it holds.
    fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let [tag, length, rest @ ..] = self.0 else {
            return Err(Malformed("it ends too early"));
        };
        if tag & 0x1F == 0x1F {
            return Err(Malformed("it has a tag of several bytes"));
        }
        let (length, rest) = match *length {
            short @ 0..=0x7F => (usize::from(short), rest),
            long @ 0x81..=0x84 => {
                let bytes = usize::from(long & 0x7F);
                let (length, rest) = rest
                    .split_at_checked(bytes)
                    .ok_or(Malformed("it ends too early"))?;
                let length = length
                    .iter()
                    .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
                (usize::try_from(length).unwrap_or(usize::MAX), rest)
            }
            _ => return Err(Malformed("it has a length that cannot be")),
        };
        let (held, rest) = rest
            .split_at_checked(length)
            .ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok((*tag, held))
    }

    /// The next element, which is of that kind.
    fn next(&mut self, tag: u8) -> Result<Self, Malformed> {
        match self.any()? {
            (found, held) if found == tag => Ok(Self(held)),
            _ => Err(Malformed("its parts are not those of a certificate")),
        }
    }

    /// The same, or `None` at the end.
    fn next_if_any(&mut self, tag: u8) -> Result<Option<Self>, Malformed> {
        match self.0 {
            [] => Ok(None),
            _ => self.next(tag).map(Some),
        }
    }
}

/// A name, in one of the spellings that Go takes. Source: Go, crypto/x509/parser.go (parseASN1String).
fn text(tag: u8, bytes: &[u8]) -> Result<String, Malformed> {
    let bad = Malformed("a name holds characters that it cannot");
    let all = |fits: fn(&u8) -> bool| {
        let text = || bytes.iter().copied().map(char::from).collect();
        bytes.iter().all(fits).then(text).ok_or(bad)
    };
    match tag {
        UTF8_STRING => String::from_utf8(bytes.to_vec()).map_err(|_| bad),
        PRINTABLE_STRING => all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(byte)),
        IA5_STRING => all(u8::is_ascii),
        NUMERIC_STRING => all(|byte| byte.is_ascii_digit() || *byte == b' '),
        // all but a few characters of T.61 are those of Latin-1
        T61_STRING => all(|_| true),
        BMP_STRING => {
            let (pairs, []) = bytes.as_chunks::<2>() else {
                return Err(bad);
            };
            let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
            char::decode_utf16(units)
                .collect::<Result<_, _>>()
                .map_err(|_| bad)
        }
        _ => Err(Malformed("a name is spelt in an unknown way")),
    }
}

/// Source: RFC 5280 4.1.2.5.
fn time(tag: u8, bytes: &[u8]) -> Result<SystemTime, Malformed> {
    let bad = Malformed("it has a date that is none");
    let text = std::str::from_utf8(bytes).map_err(|_| bad)?;
    let digits = text.strip_suffix('Z').ok_or(bad)?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match (tag, digits.len()) {
        (UTC_TIME, 12) if all_digits && digits < "50" => format!("20{digits}"),
        (UTC_TIME, 12) if all_digits => format!("19{digits}"),
        (GENERALIZED_TIME, 14) if all_digits => digits.to_owned(),
        _ => return Err(bad),
    };
    let (year, month, day) = (&whole[..4], &whole[4..6], &whole[6..8]);
    if year < "1970" {
        return Ok(UNIX_EPOCH);
    }
    let (hour, minute, second) = (&whole[8..10], &whole[10..12], &whole[12..]);
    let date = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    humantime::parse_rfc3339(&date).map_err(|_| bad)
}

/// How long the certificate in `der` is still valid at `at`; zero when it is no longer. `None` when it cannot be read.
pub fn left(der: &[u8], at: SystemTime) -> Option<Duration> {
    let (_, not_after) = validity(der).ok()?;
    Some(not_after.duration_since(at).unwrap_or_default())
}

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const T61_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1E;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xA0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.4.10
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0A];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn a_subject_is_read_in_every_spelling() {
        for (case, value, want) in [
            ("UTF-8", DnValue::Utf8String("名 ü".into()), Some("名 ü")),
            (
                "printable",
                DnValue::PrintableString("a-b:c".try_into().unwrap()),
                Some("a-b:c"),
            ),
            ("IA5", DnValue::Ia5String("a@b".try_into().unwrap()), Some("a@b")),
            (
                "T.61",
                DnValue::TeletexString("abc".try_into().unwrap()),
                Some("abc"),
            ),
            ("UCS-2", DnValue::BmpString("名".try_into().unwrap()), Some("名")),
            ("UTF-32", DnValue::UniversalString("a".try_into().unwrap()), None),
        ] {
            let der = certificate(|params| params.distinguished_name.push(DnType::CommonName, value));
            let found = subject(&der);
            assert_eq!(
                found.as_ref().ok().and_then(|s| s.common_name.as_deref()),
                want,
                "{case}: {found:?}"
            );
        }
    }

    #[test]
    fn characters_outside_a_spelling_are_refused() {
        for (tag, bytes, want) in [
            (PRINTABLE_STRING, &b"a b"[..], Some("a b")),
            (PRINTABLE_STRING, b"a\0b", None),
            (PRINTABLE_STRING, b"a_b", None),
            (NUMERIC_STRING, b"12 3", Some("12 3")),
            (NUMERIC_STRING, b"1a", None),
            (IA5_STRING, b"\xfc", None),
            (T61_STRING, b"\xfc", Some("ü")),
            (UTF8_STRING, b"\xfc", None),
            (BMP_STRING, b"\0a\0", None),
            (BMP_STRING, b"\xd8\x00\0a", None),
        ] {
            assert_eq!(text(tag, bytes).ok().as_deref(), want, "{tag:x} {bytes:?}");
        }
    }

    /// An element of DER.
    fn element(tag: u8, held: &[u8]) -> Vec<u8> {
        let length = u16::try_from(held.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], held].concat()
    }

    /// A certificate as far as it is read, of a subject made of attributes, each in a set of its own.
    fn named(attributes: &[(&[u8], &str)]) -> Vec<u8> {
        let rdns: Vec<u8> = attributes
            .iter()
            .flat_map(|(kind, value)| {
                let pair = [element(OID, kind), element(UTF8_STRING, value.as_bytes())].concat();
                element(SET, &element(SEQUENCE, &pair))
            })
            .collect();
        let date = element(UTC_TIME, b"260102030405Z");
        let signed = [
            element(VERSION, &element(INTEGER, &[2])),
            element(INTEGER, &[1]),
            element(SEQUENCE, &[]),
            element(SEQUENCE, &[]),
            element(SEQUENCE, &[date.clone(), date].concat()),
            element(SEQUENCE, &rdns),
        ]
        .concat();
        element(SEQUENCE, &element(SEQUENCE, &signed))
    }

    #[test]
    fn organizations_are_groups_and_the_last_common_name_counts() {
        let der = named(&[
            (ORGANIZATION, "a"),
            (COMMON_NAME, "first"),
            (&[0x55, 0x04, 0x0B], "a unit"),
            (ORGANIZATION, "b"),
            (COMMON_NAME, "last"),
        ]);
        let want = Subject {
            common_name: Some("last".into()),
            organizations: vec!["a".into(), "b".into()],
        };
        assert_eq!(subject(&der), Ok(want));
        assert_eq!(subject(&named(&[])), Ok(Subject::default()));
    }

    #[test]
    fn validity_is_read_in_both_spellings() {
        let der = certificate(|params| {
            params.not_before = rcgen::date_time_ymd(2020, 2, 29);
            params.not_after = rcgen::date_time_ymd(2099, 12, 31);
        });
        let (from, to) = validity(&der).unwrap();
        assert_eq!(
            humantime::format_rfc3339(from).to_string(),
            "2020-02-29T00:00:00Z"
        );
        assert_eq!(humantime::format_rfc3339(to).to_string(), "2099-12-31T00:00:00Z");
        assert_eq!(
            left(&der, to - Duration::from_secs(5)),
            Some(Duration::from_secs(5))
        );
        assert_eq!(left(&der, to + Duration::from_secs(5)), Some(Duration::ZERO));
        for (tag, date, want) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1970-01-01T00:00:00Z")),
            (UTC_TIME, "991231235959Z", Some("1999-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (UTC_TIME, "20491231235959Z", None),
            (UTC_TIME, "261331235959Z", None),
            (UTC_TIME, "2612312359Z", None),
            (UTC_TIME, "26123123595+Z", None),
            (UTC_TIME, "261231235959+0100", None),
        ] {
            let found = time(tag, date.as_bytes()).ok();
            let found = found.map(|date| humantime::format_rfc3339(date).to_string());
            assert_eq!(found.as_deref(), want, "{date}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for der in [
            &[0x30, 0x80, 0, 0][..],
            &[0x30, 0x88, 255, 255, 255, 255, 255, 255, 255, 255, 0],
            &[0x30, 0x84, 255, 255, 255, 255, 0],
            &[0x30, 0x82, 1],
            &[0x3F, 0x81, 0x01, 0],
            &[],
        ] {
            assert!(subject(der).is_err() && validity(der).is_err(), "{der:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (subject(&bytes), validity(&bytes));
            let wrapped = element(SEQUENCE, &element(SEQUENCE, &bytes));
            let _ = (subject(&wrapped), validity(&wrapped));
        }

        #[test]
        fn a_damaged_certificate_is_never_a_panic(at in 0usize..400, with in any::<[u8; 3]>(), cut in 0usize..400) {
            let mut der = named(&[(ORGANIZATION, "a"), (COMMON_NAME, "b")]);
            for (offset, byte) in with.into_iter().enumerate() {
                let place = (at + offset) % der.len();
                der[place] = byte;
            }
            let _ = (subject(&der), validity(&der));
            der.truncate(cut);
            let _ = (subject(&der), validity(&der));
        }
    }
}
