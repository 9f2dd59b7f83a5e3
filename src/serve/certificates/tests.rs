//! Certificates on disk, good, bad and changing.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use super::*;
use crate::http::testing::{Ca, Leaf};
use crate::runtime::clock::ManualClock;
use crate::serve::options::SniPair;
use crate::serve::tests::world::{clock, der, files, in_days, options};

struct World {
    certificates: Certificates,
    metrics: Metrics,
    clock: ManualClock,
}

fn load(options: &Options) -> Result<World, CertificateError> {
    load_at(options, clock())
}

fn load_at(options: &Options, clock: ManualClock) -> Result<World, CertificateError> {
    let (metrics, keys) = (
        Metrics::new(),
        rustls::crypto::ring::default_provider().key_provider,
    );
    Ok(World {
        certificates: Certificates::load(options, keys, &metrics, Arc::new(clock.clone()))?,
        metrics,
        clock,
    })
}

impl World {
    /// What somebody sees who asks for `name` after a second or more.
    fn shown(&self, name: Option<&str>) -> CertificateDer<'static> {
        self.clock.advance(MAX_AGE);
        self.certificates.refresh();
        let shown = self.certificates.choose(name).shown();
        shown.end_entity_cert().unwrap().clone().into_owned()
    }

    /// How many new versions could be used, and how many not.
    fn reloads(&self) -> (u64, u64) {
        let count = |result| self.certificates.reloads.with_label_values(&[result]).get();
        (count(SUCCESS), count(ERROR))
    }
}

fn leaf() -> Leaf {
    Ca::new("ca").issue(&["localhost"])
}

fn of_files(folder: &Path, leaf: &Leaf) -> Options {
    Options {
        certificate: files(folder, leaf),
        ..options()
    }
}

fn of_folder(folder: &Path) -> Options {
    Options {
        certificate: Certificate::Folder(folder.to_owned()),
        ..options()
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (crt, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let (good, other) = (leaf(), leaf());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let secret = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    for (case, certificate, key_text, want) in [
        (
            "an empty certificate",
            "",
            good.key.as_str(),
            "certificate {crt} cannot be used: it holds no certificate in PEM (0 bytes)",
        ),
        (
            "garbage for a certificate",
            "garbage",
            &good.key,
            "certificate {crt} cannot be used: it holds no certificate in PEM (7 bytes)",
        ),
        (
            "a certificate that is none",
            broken,
            &good.key,
            "certificate {crt} cannot be used: invalid peer certificate",
        ),
        (
            "an empty key",
            &good.certificate,
            "",
            "key {key} cannot be used: it holds no private key in PEM",
        ),
        (
            "a certificate for a key",
            &good.certificate,
            &good.certificate,
            "key {key} cannot be used: it holds no private key in PEM",
        ),
        (
            "a key that is none",
            &good.certificate,
            secret,
            "key {key} cannot be used: it is no RSA, ECDSA (P-256, P-384) or Ed25519 key",
        ),
        (
            "another's key",
            &good.certificate,
            &other.key,
            "key {key} does not belong to the certificate {crt}",
        ),
    ] {
        let options = of_files(folder.path(), &good);
        std::fs::write(&crt, certificate).unwrap();
        std::fs::write(&key, key_text).unwrap();
        let error = chain(&load(&options).err().unwrap());
        let want = want
            .replace("{crt}", crt.to_str().unwrap())
            .replace("{key}", key.to_str().unwrap());
        assert!(
            error.starts_with(&format!("the endpoint's {want}")),
            "{case}: {error}"
        );
        assert!(!error.contains("c2VjcmV0"), "{case}: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.crt");
    let options = of_files(folder.path(), &leaf());
    for (case, change, want) in [
        (
            "missing",
            Box::new(|path: &Path| std::fs::remove_file(path).unwrap()) as Box<dyn Fn(&Path)>,
            "No such file",
        ),
        (
            "a directory",
            Box::new(|path| std::fs::create_dir(path).unwrap()),
            "directory",
        ),
        (
            "endless",
            Box::new(|path| {
                std::fs::remove_dir(path).unwrap();
                symlink("/dev/zero", path).unwrap();
            }),
            "too large",
        ),
    ] {
        change(&path);
        let error = chain(&load(&options).err().unwrap());
        let begin = format!("cannot read the endpoint's certificate {}: ", path.display());
        assert!(
            error.starts_with(&begin) && error.contains(want),
            "{case}: {error}"
        );
    }
}

#[test]
fn a_new_version_is_used_and_a_bad_one_refused_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, third) = (leaf(), leaf(), leaf());
    let world = load(&of_files(folder.path(), &first)).unwrap();
    assert_eq!((world.shown(None), world.reloads()), (der(&first), (0, 0)));
    files(folder.path(), &second);
    assert_eq!((world.shown(None), world.reloads()), (der(&second), (1, 0)));
    for (count, (case, break_it)) in [
        (
            "half a pair",
            Box::new(|folder: &Path| std::fs::write(folder.join("tls.crt"), leaf().certificate).unwrap())
                as Box<dyn Fn(&Path)>,
        ),
        (
            "nothing",
            Box::new(|folder| std::fs::write(folder.join("tls.key"), "").unwrap()),
        ),
        (
            "no file",
            Box::new(|folder| std::fs::remove_file(folder.join("tls.crt")).unwrap()),
        ),
        (
            "a directory",
            Box::new(|folder| std::fs::create_dir(folder.join("tls.crt")).unwrap()),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        break_it(folder.path());
        for _ in 0..2 {
            let refused = count as u64 + 1;
            assert_eq!(
                (world.shown(None), world.reloads()),
                (der(&second), (1, refused)),
                "{case}"
            );
        }
    }
    assert_eq!(world.certificates.reload(), Reloaded::Refused);
    assert_eq!(world.certificates.reload(), Reloaded::Unchanged, "it was told");
    assert_eq!(world.reloads(), (1, 4));
    std::fs::remove_dir(folder.path().join("tls.crt")).unwrap();
    files(folder.path(), &second);
    assert_eq!(
        world.certificates.reload(),
        Reloaded::Changed,
        "it is back to what is shown"
    );
    assert_eq!((world.shown(None), world.reloads()), (der(&second), (2, 4)));
    files(folder.path(), &third);
    assert_eq!((world.shown(None), world.reloads()), (der(&third), (3, 4)));
    assert_eq!(world.certificates.reload(), Reloaded::Changed, "somebody saw it");
}

#[test]
fn files_are_looked_at_once_a_second_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (leaf(), leaf());
    let world = load(&of_files(folder.path(), &first)).unwrap();
    files(folder.path(), &second);
    world.clock.advance(MAX_AGE - Duration::from_millis(1));
    world.certificates.refresh();
    assert_eq!(world.reloads(), (0, 0));
    world.clock.advance(Duration::from_millis(1));
    world.certificates.refresh();
    assert_eq!(world.reloads(), (1, 0));
}

#[test]
fn files_that_change_by_symlink_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (first, second) = (leaf(), leaf());
    for (version, leaf) in [("..1", &first), ("..2", &second)] {
        std::fs::create_dir(at(version)).unwrap();
        files(&at(version), leaf);
    }
    symlink("..1", at("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), at(file)).unwrap();
    }
    let world = load(&Options {
        certificate: Certificate::Files {
            certificate: at("tls.crt"),
            key: at("tls.key"),
        },
        ..options()
    })
    .unwrap();
    assert_eq!(world.shown(None), der(&first));
    // as the kubelet does it
    symlink("..2", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!((world.shown(None), world.reloads()), (der(&second), (1, 0)));
}

#[test]
fn names_lead_to_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let mut options = of_files(folder.path(), &leaf());
    let mut leaves = Vec::new();
    for (number, (inside, names)) in [
        ("inside.test", vec![]),
        ("x", vec!["*.wild.test"]),
        ("y", vec!["exact.wild.test", "Other.Test"]),
        ("z", vec!["exact.wild.test"]),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = folder.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        let leaf = ca.issue(&[inside]);
        let Certificate::Files { certificate, key } = files(&folder, &leaf) else {
            unreachable!("files are files")
        };
        leaves.push(der(&leaf));
        options.sni.push(SniPair {
            certificate,
            key,
            names: names.into_iter().map(str::to_owned).collect(),
        });
    }
    let world = load(&options).unwrap();
    for (name, want) in [
        (Some("inside.test"), Some(0)),
        (Some("a.wild.test"), Some(1)),
        (Some("A.WILD.test"), Some(1)),
        (Some("a.b.wild.test"), None),
        (Some("wild.test"), None),
        (Some(".wild.test"), None),
        (Some("exact.wild.test"), Some(2)),
        (Some("other.test"), Some(2)),
        (Some("x"), None),
        (Some("nowhere.test"), None),
        (None, None),
    ] {
        let shown = world.shown(name);
        let found = leaves.iter().position(|leaf| *leaf == shown);
        assert_eq!(found, want, "{name:?}");
    }
}

#[test]
fn one_bad_pair_does_not_keep_the_others_from_changing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sni")).unwrap();
    let (first, second, named) = (leaf(), leaf(), leaf());
    let mut options = of_files(folder.path(), &first);
    let Certificate::Files { certificate, key } = files(&folder.path().join("sni"), &named) else {
        unreachable!("files are files")
    };
    std::fs::write(&certificate, &named.certificate).unwrap();
    options.sni.push(SniPair {
        certificate: certificate.clone(),
        key,
        names: vec!["named.test".to_owned()],
    });
    let world = load(&options).unwrap();
    std::fs::write(&certificate, "garbage").unwrap();
    files(folder.path(), &second);
    assert_eq!(world.shown(None), der(&second));
    assert_eq!(world.shown(Some("named.test")), der(&named));
    assert_eq!(world.reloads(), (1, 1));
}

#[test]
fn a_self_signed_one_is_made_anew_before_it_ends() {
    let world = load(&options()).unwrap();
    let first = world.shown(None);
    world.clock.advance(Duration::from_secs(291 * 24 * 3600));
    assert_eq!(world.shown(None), first);
    world.clock.advance(Duration::from_secs(24 * 3600));
    let second = world.shown(None);
    assert_ne!(second, first);
    assert_eq!((world.shown(None), world.reloads()), (second, (1, 0)));
}

#[test]
fn a_folder_keeps_what_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/certificates");
    let world = load(&of_folder(&path)).unwrap();
    let first = world.shown(None);
    let mode = |name: &str| {
        let file = std::fs::metadata(path.join(name)).unwrap();
        file.permissions().mode() & 0o777
    };
    assert_eq!(mode("cloud-controller-manager.key"), 0o600);
    assert_eq!(mode("cloud-controller-manager.crt") & 0o022, 0);
    assert_eq!(
        std::fs::read_dir(&path).unwrap().count(),
        2,
        "nothing else is left"
    );
    assert_eq!(
        load(&of_folder(&path)).unwrap().shown(None),
        first,
        "the next start"
    );
    let late = ManualClock::new(in_days(300));
    let world = load_at(&of_folder(&path), late).unwrap();
    let second = world.shown(None);
    assert_ne!(second, first, "after four fifths of its life");
    assert_eq!(mode("cloud-controller-manager.key"), 0o600);
    world.clock.advance(Duration::from_secs(300 * 24 * 3600));
    assert_ne!(world.shown(None), second, "and while it runs");
    assert_eq!(world.shown(None), world.shown(None));
    assert_eq!(world.reloads(), (1, 0));
}

#[test]
fn a_folder_s_own_pair_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (given, another) = (leaf(), leaf());
    let (crt, key) = (
        folder.path().join("cloud-controller-manager.crt"),
        folder.path().join("cloud-controller-manager.key"),
    );
    std::fs::write(&crt, &given.certificate).unwrap();
    let error = chain(&load(&of_folder(folder.path())).err().unwrap());
    let want = format!("{} exists without {}", crt.display(), key.display());
    assert!(error.starts_with(&want), "{error}");
    std::fs::write(&key, &given.key).unwrap();
    let world = load_at(&of_folder(folder.path()), ManualClock::new(in_days(4000))).unwrap();
    assert_eq!(world.shown(None), der(&given));
    std::fs::write(&crt, &another.certificate).unwrap();
    std::fs::write(&key, &another.key).unwrap();
    assert_eq!(world.shown(None), der(&another), "changed by its owner");
    std::fs::remove_file(&crt).unwrap();
    assert!(load(&of_folder(folder.path())).is_err(), "the other half");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = chain(&load(&of_folder(&path)).err().unwrap());
    let want = format!("cannot keep the endpoint's certificate in {}: ", path.display());
    assert!(error.starts_with(&want), "{error}");
}

#[test]
fn reloads_are_counted_from_zero() {
    let world = load(&options()).unwrap();
    let text = world.metrics.text();
    for result in [SUCCESS, ERROR] {
        let want = format!("endpoint_certificate_reloads_total{{result=\"{result}\"}} 0");
        assert!(text.lines().any(|line| line == want), "{want}: {text}");
    }
}
