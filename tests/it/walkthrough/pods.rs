//! What kubelet does with the Pods of the Deployment, as far as a page needs it: one runs where one is wanted, with the arguments,
//! ConfigMaps and Secrets that the API server has.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::controller_manager::token_of;
use crate::support::World;
use crate::support::api::text;
use crate::support::daemon::{Daemon, program, write};

/// The namespace of the controller.
pub const SYSTEM: &str = "/api/v1/namespaces/kube-system";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/kube-system/deployments/inspur-cloud-controller-manager";

/// The Pod of a Deployment.
pub struct Pods {
    folder: PathBuf,
    flags: Vec<String>,
    pod: Option<Daemon>,
}

impl Pods {
    /// With a folder for what is mounted, and flags behind those of the Deployment: the tests' own port and times.
    pub fn new(folder: PathBuf, flags: &[String]) -> Self {
        Self {
            folder,
            flags: flags.to_vec(),
            pod: None,
        }
    }

    /// The Pod, while it runs.
    pub fn pod(&self) -> Option<&Daemon> {
        self.pod.as_ref()
    }

    /// Starts a Pod where one is wanted, and ends it where none is.
    pub fn obey(&mut self, world: &World) {
        let wanted = world
            .api
            .get(DEPLOYMENT)
            .filter(|found| found["spec"]["replicas"] != 0);
        match (wanted, self.pod.take()) {
            (Some(deployment), None) => self.pod = Some(self.start(world, &deployment)),
            (None, Some(mut pod)) => {
                let status = pod.terminate();
                assert!(status.success(), "{status}: {}", pod.output());
            }
            (_, pod) => self.pod = pod,
        }
    }

    fn start(&self, world: &World, deployment: &Value) -> Daemon {
        let spec = &deployment["spec"]["template"]["spec"];
        let container = &spec["containers"][0];
        let [mount] = &list(&container["volumeMounts"])[..] else {
            panic!("the cloud config's folder is all that is mounted: {container}");
        };
        self.mount(world, &spec["volumes"][0]);
        let inside = format!("{}/", text(&mount["mountPath"]));
        let outside = format!("{}/", self.folder.display());
        let arguments = list(&container["args"]).into_iter().map(|argument| {
            let argument = text(&argument).to_owned();
            argument.replace(&inside, &outside)
        });
        // in a Pod these are the defaults
        let account = self.account(world, text(&spec["serviceAccountName"]));
        let account =
            ["", "authentication-", "authorization-"].map(|who| format!("--{who}kubeconfig={account}"));
        let mut command = Command::new(program());
        command.args(arguments).args(account).args(&self.flags);
        Daemon::run(command)
    }

    /// The files of a projected volume.
    fn mount(&self, world: &World, volume: &Value) {
        let _ = std::fs::remove_dir_all(&self.folder);
        std::fs::create_dir_all(&self.folder).expect("the folder is ours");
        for source in list(&volume["projected"]["sources"]) {
            let (plural, name) = match (source.get("configMap"), source.get("secret")) {
                (Some(map), _) => ("configmaps", text(&map["name"])),
                (_, Some(secret)) => ("secrets", text(&secret["name"])),
                _ => panic!("{source}"),
            };
            let object = world.api.get(&format!("{SYSTEM}/{plural}/{name}"));
            let object = object.unwrap_or_else(|| panic!("a Pod would wait for {plural}/{name}"));
            for (file, content) in object["data"].as_object().expect("it holds files") {
                let content = text(content);
                let content = match plural {
                    "secrets" => STANDARD.decode(content).expect("Secrets are in base64"),
                    _ => content.as_bytes().to_vec(),
                };
                std::fs::write(self.folder.join(file), content).expect("the folder is ours");
            }
        }
    }

    /// A kubeconfig with a token of the Pod's account.
    fn account(&self, world: &World, name: &str) -> String {
        let token = token_of(world, name);
        let folder = self.folder.parent().expect("it is in a machine's folder");
        let path = write(folder, "pod.kubeconfig", &world.api.kubeconfig_with(&token));
        path.display().to_string()
    }
}

/// The elements of a JSON array.
pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
