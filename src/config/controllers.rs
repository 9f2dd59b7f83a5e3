//! The controllers by name, and which of them `--controllers` selects.

use crate::controllers;

/// A controller that upstream's controller manager has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controller {
    /// The canonical name.
    pub name: &'static str,
    /// The older, shorter name.
    pub alias: &'static str,
    /// Whether this program has it.
    pub here: bool,
}

/// All of them. Source: ccm-behaviour.md 2.3.
pub static CONTROLLERS: [Controller; 4] = [
    Controller {
        name: controllers::NODE,
        alias: "cloud-node",
        here: true,
    },
    Controller {
        name: controllers::NODE_LIFECYCLE,
        alias: "cloud-node-lifecycle",
        here: true,
    },
    Controller {
        name: controllers::SERVICE,
        alias: "service",
        here: true,
    },
    Controller {
        name: "node-route-controller",
        alias: "route",
        here: false,
    },
];

/// What `--controllers` says: names, `-names` and `*`, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(Vec<String>);

impl Selection {
    /// Aliases are replaced by names.
    ///
    /// # Errors
    /// The entries that name no controller.
    pub fn new(entries: impl IntoIterator<Item = String>) -> Result<Self, Vec<String>> {
        let (mut selected, mut unknown) = (Vec::new(), Vec::new());
        for entry in entries {
            let (minus, name) = match entry.strip_prefix('-') {
                Some(name) => ("-", name),
                None => ("", &*entry),
            };
            let known = CONTROLLERS.iter().find(|c| c.name == name || c.alias == name);
            match known {
                Some(controller) => selected.push(format!("{minus}{}", controller.name)),
                None if entry == "*" => selected.push(entry),
                None => unknown.push(name.to_owned()),
            }
        }
        if unknown.is_empty() {
            Ok(Self(selected))
        } else {
            Err(unknown)
        }
    }

    /// Whether the controller of that canonical name is to run: the first entry with its name decides, else whether there is
    /// a `*`. Source: kubernetes, staging/src/k8s.io/controller-manager/app, IsControllerEnabled.
    pub fn enables(&self, name: &str) -> bool {
        let named = self.0.iter().find_map(|entry| match entry.strip_prefix('-') {
            Some(disabled) if disabled == name => Some(false),
            None if entry == name => Some(true),
            _ => None,
        });
        named.unwrap_or_else(|| self.0.iter().any(|entry| entry == "*"))
    }

    /// The controllers that are enabled by name, not by `*`.
    pub fn named(&self) -> impl Iterator<Item = &'static Controller> {
        let named = |c: &&Controller| self.0.iter().any(|entry| entry == c.name) && self.enables(c.name);
        CONTROLLERS.iter().filter(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(list: &str) -> Result<Selection, Vec<String>> {
        Selection::new(
            list.split(',')
                .filter(|entry| !entry.is_empty())
                .map(str::to_owned),
        )
    }

    #[test]
    fn the_first_entry_that_names_a_controller_decides() {
        for (list, service, route) in [
            ("*", true, true),
            ("", false, false),
            ("service", true, false),
            ("service-lb-controller", true, false),
            ("-service", false, false),
            ("*,-service", false, true),
            ("-service,*", false, true),
            ("service,-service", true, false),
            ("-service-lb-controller,service", false, false),
            ("route,*,-route", true, true),
        ] {
            let selection = selection(list).unwrap();
            assert_eq!(selection.enables(controllers::SERVICE), service, "{list}");
            assert_eq!(selection.enables("node-route-controller"), route, "{list}");
        }
    }

    #[test]
    fn unknown_names_are_refused_together() {
        assert_eq!(
            selection("*,service-controller,-route-controller,service,-*"),
            Err(vec![
                "service-controller".into(),
                "route-controller".into(),
                "*".into()
            ])
        );
    }

    #[test]
    fn named_are_those_enabled_by_name() {
        let names = |list| {
            selection(list)
                .unwrap()
                .named()
                .map(|c| c.alias)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("*,-service"), [""; 0]);
        assert_eq!(names("route,cloud-node"), ["cloud-node", "route"]);
        assert_eq!(names("-route,route"), [""; 0]);
    }
}
