//! What the docs point at exists.

use std::path::{Path, PathBuf};

/// Every page: those at the top, and all below `docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut pages, mut folders) = (
        vec![root.join("README.md"), root.join("CHANGELOG.md")],
        vec![root.join("docs")],
    );
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Where the links of a page lead, outside code.
fn targets(markdown: &str) -> impl Iterator<Item = &str> {
    let prose = markdown.split("```").step_by(2);
    prose
        .flat_map(|text| text.split('`').step_by(2))
        .flat_map(|text| text.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_link_of_the_docs_leads_to_a_file() {
    let mut links = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in targets(&text).filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap_or_default();
            let path = page.parent().unwrap().join(file);
            assert!(
                file.is_empty() || path.exists(),
                "{}: {target} leads nowhere",
                page.display()
            );
            links += 1;
        }
    }
    assert!(links > 20, "links are found at all: {links}");
}

#[test]
fn every_page_for_operators_has_a_twin_in_chinese() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for page in pages() {
        let Ok(name) = page.strip_prefix(&docs) else {
            continue;
        };
        let for_developers = ["dependencies.md", "figures.md", "testing.md"]
            .iter()
            .any(|file| name.ends_with(file));
        let twin = docs.join("zh").join(name);
        assert!(
            name.starts_with("zh") || for_developers || twin.exists(),
            "{} is missing",
            twin.display()
        );
    }
}
