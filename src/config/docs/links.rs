//! What the docs point at exists.

use std::path::{Path, PathBuf};

/// Every page: those at the top, and all below `docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut pages, mut folders) = (
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
            .map(|name| root.join(name))
            .to_vec(),
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

/// What the headings of a page are called in links, as GitHub calls them.
fn anchors(page: &Path) -> impl Iterator<Item = String> {
    let text = std::fs::read_to_string(page).unwrap();
    let prose: Vec<String> = text.split("```").step_by(2).map(str::to_owned).collect();
    let headings = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with('#'));
        lines
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .collect()
    };
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let anchor = move |heading: String| heading.chars().filter(kept).collect::<String>().replace(' ', "-");
    prose.into_iter().flat_map(headings).map(anchor)
}

#[test]
fn every_link_of_the_docs_leads_to_a_file_and_its_heading() {
    let mut links = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for target in targets(&text).filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let leads = path.exists() && (anchor.is_empty() || anchors(&path).any(|there| there == anchor));
            assert!(leads, "{}: {target} leads nowhere", page.display());
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
