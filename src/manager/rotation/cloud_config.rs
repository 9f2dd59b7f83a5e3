//! The cloud config as it is in force while its file changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::cloud_config::{self, Change, CloudConfig, Error, Loaded, Problem};
use crate::inspur::Controls;
use crate::inspur::api::Limit;
use crate::runtime::chain;
use crate::runtime::reload::Reloaded;
use crate::runtime::watched_file::{Seen, WatchedFile};

/// The config in force. It changes with its file, but for what counts only after a restart.
pub struct LiveCloudConfig(Mutex<Live>);

struct Live {
    file: WatchedFile,
    config: CloudConfig,
    effects: Option<Effects>,
}

/// What a change acts on.
pub struct Effects {
    /// Of the cloud in use.
    pub controls: Controls,
    /// Has every Service synced again: listeners without annotations of their own may have to change.
    pub defaults_changed: Box<dyn Fn() + Send + Sync>,
}

impl LiveCloudConfig {
    /// In force is what the program started with.
    pub fn new(config: CloudConfig) -> Self {
        Self(Mutex::new(Live {
            file: WatchedFile::new(&config.path, cloud_config::MAX_BYTES),
            config,
            effects: None,
        }))
    }

    /// What is in force now.
    pub fn config(&self) -> CloudConfig {
        self.lock().config.clone()
    }

    /// Has changes act from now on, and what is in force already: it may have changed since the cloud was made.
    pub fn attach(&self, effects: Effects) {
        let mut live = self.lock();
        live.effects = Some(effects);
        live.apply(&Change::of_all());
    }

    /// Looks at the file now. What can be used of a new version is in force when it returns; nobody is asked.
    pub fn reload(&self) -> Reloaded {
        let mut live = self.lock();
        if let Some(effects) = &live.effects {
            effects.controls.look_at_token_file();
        }
        let path = live.file.path().to_owned();
        let loaded = match live.file.look() {
            Ok(Seen::Same) => return Reloaded::Unchanged,
            Ok(Seen::Back) => return Reloaded::Changed,
            Ok(Seen::Other(bytes)) => (cloud_config::from_bytes(&path, &bytes), bytes),
            Err(source) => {
                let problem = Problem::Unreadable(source);
                let line = None;
                return live.refuse(&[Error { path, line, problem }]);
            }
        };
        match loaded {
            (
                Loaded {
                    config: Err(errors), ..
                },
                _,
            ) => live.refuse(&errors),
            (
                Loaded {
                    config: Ok(new),
                    warnings,
                },
                bytes,
            ) => {
                let is_news = live.file.settle(&bytes);
                if !is_news && new == live.config {
                    // what the program started with
                    return Reloaded::Unchanged;
                }
                for warning in warnings {
                    log::warn!(reason:% = warning; "suspicious configuration");
                }
                live.take_over(new)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn take_over(&mut self, new: CloudConfig) -> Reloaded {
        let (updated, change) = self.config.updated(new);
        self.config = updated;
        if change.is_effective() {
            self.apply(&change);
            log::info!(credentials = change.credentials, defaults = change.defaults, limit = change.limit; "use the new cloud config");
        }
        if change.fixed.is_empty() {
            return Reloaded::Changed;
        }
        log::warn!(keys = change.fixed.join(",").as_str(); "some changes of the cloud config need a restart; the old values go on");
        Reloaded::NeedsRestart
    }

    fn apply(&self, change: &Change) {
        let Some(Effects {
            controls,
            defaults_changed,
        }) = &self.effects
        else {
            return;
        };
        if change.credentials {
            controls.set_credentials(self.config.credentials.clone());
        }
        if change.limit {
            controls.set_limit(Limit {
                qps: self.config.api_qps,
                burst: self.config.api_burst,
            });
        }
        if change.defaults {
            controls.set_defaults(self.config.defaults.clone());
            defaults_changed();
        }
    }

    fn refuse(&mut self, errors: &[Error]) -> Reloaded {
        let errors: Vec<String> = errors.iter().map(|error| chain(error)).collect();
        let reason = errors.join("; ");
        if !self.file.refuse(&reason) {
            return Reloaded::Unchanged;
        }
        log::error!(error = reason.as_str(); "keep the old cloud config: the new one cannot be used");
        Reloaded::Refused
    }
}
