//! The simulators by hand: INSPUR Cloud with a data plane that forwards, and a small Kubernetes API, on loopback.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use cloud_provider_inspur::logging;
use cloud_provider_inspur::runtime::stop::Stop;
use cloud_provider_inspur::sim::api_server::ApiServer;
use cloud_provider_inspur::sim::cloud::{Account, Cloud, InstanceSeed, Seed};
use cloud_provider_inspur::sim::demo::{self, Ending, cluster};
use cloud_provider_inspur::sim::server::{Core, Server};
use cloud_provider_inspur::sim::traffic::Traffic;

const HELP: &str = "\
inspur-sim: INSPUR Cloud on this machine, to try the controller without an account

Usage: inspur-sim [flags]
       inspur-sim demo [--keep] [--daemon PATH]

Without `demo`, the simulators by themselves:

  --cloud-listen ADDRESS:PORT   where the cloud's APIs listen (127.0.0.1:0, any port)
  --slb ID=ADDRESS[,eip=IP][,owner=USER]
                                an SLB, its internal and its public address; repeatable. Listeners of SLBs on
                                loopback addresses, such as 127.0.10.1, are really served
  --instance ID=NAME,IP[,ZONE]  a running instance; repeatable. With any, the cloud config has the instances API
  --time-scale FACTOR           health checks run at their period times this (0.01: 10 s become 100 ms)
  --latency DURATION            every call to the cloud takes that long (0s)
  --cloud-config-out FILE       writes a cloud config for the controller there
  --api-listen ADDRESS:PORT     where the Kubernetes API listens (127.0.0.1:0, any port)
  --node NAME=IP                a Ready Node with that address; repeatable
  --api-latency DURATION        every call to the Kubernetes API takes that long (0s)
  --kubeconfig-out FILE         writes a kubeconfig there, for the controller and kubectl
  --seed NUMBER                 UIDs and ports follow from it; two clusters need two (1)
  --faults FILE                 a script of faults for both, as POST /_sim/faults takes it
  -v LEVEL                      log level (2); 4 and more show every request
  --help                        this text

Prints where it listens, then `ready`, and runs until SIGINT or SIGTERM. Meanwhile instances come, stop and go by the cloud's
/_sim/instances: POST ID=NAME,IP[,ZONE] there; POST STOPPED to /_sim/instances/ID; DELETE that.

`demo` tells a Service's whole life between the simulators and the controller; exit code 1 when it does not go as told:

  --keep                        stays up with a living Service, and prints how to play with it
  --daemon PATH                 the controller (inspur-cloud-controller-manager beside this program)
";

/// The controller's program, beside this one.
const CONTROLLER: &str = "inspur-cloud-controller-manager";

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Demo(options)) => return ended(tell(&options)),
        Ok(Command::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("inspur-sim: {message}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    logging::init(
        logging::Format::Text,
        options.verbosity,
        logging::Modules::default(),
    );
    ended(run(&options))
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("inspur-sim: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What to do.
#[derive(Debug)]
enum Command {
    Run(Box<Options>),
    Demo(DemoOptions),
    Help,
}

/// The flags.
#[derive(Debug)]
struct Options {
    cloud_listen: SocketAddr,
    slbs: Vec<Seed>,
    instances: Vec<InstanceSeed>,
    time_scale: f64,
    latency: Duration,
    cloud_config_out: Option<PathBuf>,
    api_listen: SocketAddr,
    nodes: Vec<(String, IpAddr)>,
    api_latency: Duration,
    kubeconfig_out: Option<PathBuf>,
    seed: u64,
    faults: Option<PathBuf>,
    verbosity: u32,
}

impl Default for Options {
    fn default() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            cloud_listen: any_port,
            slbs: Vec::new(),
            instances: Vec::new(),
            time_scale: 0.01,
            latency: Duration::ZERO,
            cloud_config_out: None,
            api_listen: any_port,
            nodes: Vec::new(),
            api_latency: Duration::ZERO,
            kubeconfig_out: None,
            seed: 1,
            faults: None,
            verbosity: 2,
        }
    }
}

/// The flags of `demo`.
#[derive(Debug, PartialEq, Eq)]
struct DemoOptions {
    ending: Ending,
    daemon: Option<PathBuf>,
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.next_if(|first| first == "demo").is_some() {
        return parse_demo(arguments);
    }
    let mut parser = Parser::from_args(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next().map_err(text)? {
        let flag = match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long(name) => format!("--{name}"),
            Arg::Short(name) => format!("-{name}"),
            Arg::Value(value) => return Err(format!("{value:?} is not a flag")),
        };
        let mut value = || parser.value().and_then(|value| value.string()).map_err(text);
        match flag.as_str() {
            "--cloud-listen" => options.cloud_listen = loopback(&value()?)?,
            "--slb" => options.slbs.push(slb(&value()?)?),
            "--instance" => options.instances.push(instance(&value()?)?),
            "--time-scale" => options.time_scale = time_scale(&value()?)?,
            "--latency" => options.latency = duration(&value()?)?,
            "--cloud-config-out" => options.cloud_config_out = Some(value()?.into()),
            "--api-listen" => options.api_listen = loopback(&value()?)?,
            "--node" => options.nodes.push(node(&value()?)?),
            "--api-latency" => options.api_latency = duration(&value()?)?,
            "--kubeconfig-out" => options.kubeconfig_out = Some(value()?.into()),
            "--seed" => options.seed = value()?.parse().map_err(|_| "--seed takes a number".to_owned())?,
            "--faults" => options.faults = Some(value()?.into()),
            "-v" => options.verbosity = value()?.parse().map_err(|_| "-v takes a number".to_owned())?,
            unknown => return Err(format!("{unknown} is not a flag")),
        }
    }
    Ok(Command::Run(Box::new(options)))
}

fn parse_demo(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_args(arguments);
    let mut options = DemoOptions {
        ending: Ending::Gone,
        daemon: None,
    };
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Command::Help),
            Arg::Long("keep") => options.ending = Ending::Open,
            Arg::Long("daemon") => options.daemon = Some(parser.value().map_err(text)?.into()),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Command::Demo(options))
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// The simulators let anybody in, so that they listen to this machine alone.
fn loopback(value: &str) -> Result<SocketAddr, String> {
    value
        .parse::<SocketAddr>()
        .ok()
        .filter(|address| address.ip().is_loopback())
        .ok_or_else(|| format!("{value:?} is not a loopback address and port, such as 127.0.0.1:0"))
}

fn slb(value: &str) -> Result<Seed, String> {
    let wrong = |why: &str| format!("--slb {value:?}: {why}");
    let (id, rest) = value
        .split_once('=')
        .filter(|(id, _)| !id.is_empty())
        .ok_or_else(|| wrong("must be ID=ADDRESS"))?;
    let mut parts = rest.split(',');
    let is_ip = |text: &str| text.parse::<IpAddr>().is_ok();
    let address = parts
        .next()
        .filter(|address| is_ip(address))
        .ok_or_else(|| wrong("the address is no IP address"))?;
    let (mut eip, mut owner) = ("", None);
    for part in parts {
        match part.split_once('=') {
            Some(("eip", ip)) if is_ip(ip) => eip = ip,
            Some(("owner", user)) => owner = Some(user),
            _ => return Err(wrong("only eip=IP and owner=USER may follow")),
        }
    }
    let seed = Seed::new(id, address, eip);
    Ok(match owner {
        Some(owner) => seed.owned_by(owner),
        None => seed,
    })
}

fn instance(value: &str) -> Result<InstanceSeed, String> {
    value.parse().map_err(|error| format!("--instance {error}"))
}

fn node(value: &str) -> Result<(String, IpAddr), String> {
    value
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .and_then(|(name, ip)| Some((name.to_owned(), ip.parse().ok()?)))
        .ok_or_else(|| format!("--node {value:?}: must be NAME=IP"))
}

fn time_scale(value: &str) -> Result<f64, String> {
    value
        .parse::<f64>()
        .ok()
        .filter(|factor| *factor > 0.0 && *factor <= 1000.0)
        .ok_or_else(|| format!("--time-scale {value:?} is not a factor between 0 and 1000"))
}

fn duration(value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value)
        .map_err(|error| format!("{value:?} is not a duration such as 20ms: {error}"))
}

fn run(options: &Options) -> Result<(), String> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(text)?;
    let cloud = Cloud::default();
    for slb in &options.slbs {
        cloud.add_slb(slb.clone());
    }
    for instance in &options.instances {
        cloud.add_instance(instance.clone());
    }
    let api = ApiServer::new(options.seed);
    api.admin_token(cluster::TOKEN);
    api.open(true);
    for (name, ip) in &options.nodes {
        cluster::add_node(&api, name, *ip).map_err(|why| format!("--node {name}: {why}"))?;
    }
    let script = match &options.faults {
        Some(path) => Some((path, std::fs::read(path).map_err(|error| at(path, &error))?)),
        None => None,
    };
    let start = |address: SocketAddr, core: Arc<dyn Core>, latency: Duration| -> Result<Server, String> {
        let server =
            Server::start(address, core).map_err(|error| format!("cannot listen on {address}: {error}"))?;
        server.faults().set_latency(latency);
        if let Some((path, script)) = &script {
            server
                .faults()
                .add_json(script)
                .map_err(|error| at(path, &error))?;
        }
        Ok(server)
    };
    let cloud_server = start(options.cloud_listen, Arc::new(cloud.clone()), options.latency)?;
    let api_server = start(options.api_listen, Arc::new(api), options.api_latency)?;
    let traffic = Traffic::start(cloud, options.time_scale).map_err(text)?;
    if let Some(path) = &options.cloud_config_out {
        write(path, &cloud_config(options, &cloud_server.url()))?;
    }
    if let Some(path) = &options.kubeconfig_out {
        write(path, &cluster::kubeconfig(&api_server.url()))?;
    }
    println!("cloud {}", cloud_server.url());
    println!("api {}", api_server.url());
    println!("ready");
    signals.forever().next();
    traffic.shutdown();
    api_server.shutdown();
    cloud_server.shutdown();
    Ok(())
}

/// The instances API is in it when there are instances.
fn cloud_config(options: &Options, url: &str) -> String {
    let account = Account::named("demo");
    match options.instances.is_empty() {
        true => account.cloud_config(url),
        false => account.cloud_config_with_ecs(url),
    }
}

/// Tells the demo, and cleans up whichever signal ends it.
fn tell(options: &DemoOptions) -> Result<(), String> {
    let controller = match &options.daemon {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(text)?.with_file_name(CONTROLLER),
    };
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).map_err(text)?;
    let (stop, handle) = (Stop::new(), signals.handle());
    let token = stop.token();
    let watcher = std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            // ends without a signal when the story has ended
            if signals.forever().next().is_some() {
                stop.stop();
            }
        })
        .map_err(text)?;
    let options = demo::Options {
        controller,
        ending: options.ending,
    };
    let told = demo::run(&options, &token, &mut std::io::stdout().lock());
    handle.close();
    // a panic there was printed when it happened
    let _ = watcher.join();
    told.map_err(|failure| failure.line())
}

fn write(path: &Path, content: &str) -> Result<(), String> {
    std::fs::write(path, content).map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &dyn Display) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        match parse(arguments.iter().map(OsString::from))? {
            Command::Run(options) => Ok(*options),
            Command::Demo(options) => Err(format!("{options:?}")),
            Command::Help => Err("help".into()),
        }
    }

    #[test]
    fn flags_are_read() {
        let options = options(&[
            "--slb=slb-1=10.0.0.1,eip=127.0.10.1",
            "--slb",
            "slb-2=127.0.10.2,owner=user-other",
            "--node=node-1=127.0.20.1",
            "--instance=i-1=node-1,127.0.20.1",
            "--instance=i-2=node-2,2001:db8::2,cn-north-3b",
            "--latency",
            "20ms",
            "-v4",
        ])
        .unwrap();
        let slbs: Vec<(&str, &str, &str)> = options
            .slbs
            .iter()
            .map(|slb| (slb.id.as_str(), slb.eip.as_str(), slb.owner.as_str()))
            .collect();
        assert_eq!(
            slbs,
            [("slb-1", "127.0.10.1", "user-demo"), ("slb-2", "", "user-other")]
        );
        let want = [
            InstanceSeed::new("i-1", "node-1", "127.0.20.1"),
            InstanceSeed::new("i-2", "node-2", "2001:db8::2").in_zone("cn-north-3b"),
        ];
        assert_eq!(options.instances, want);
        assert_eq!(
            (options.latency, options.verbosity),
            (Duration::from_millis(20), 4)
        );
    }

    #[test]
    fn the_cloud_config_has_the_instances_api_when_there_are_instances() {
        for (arguments, want) in [
            (&[][..], false),
            (&["--node=node-1=127.0.20.1"], false),
            (&["--instance=i-1=node-1,127.0.20.1"], true),
        ] {
            let config = cloud_config(&options(arguments).unwrap(), "http://127.0.0.1:1");
            assert_eq!(config.contains("ecsUrl-pre="), want, "{arguments:?}: {config}");
        }
    }

    #[test]
    fn the_demo_has_flags_of_its_own() {
        let demo = |arguments: &[&str]| match parse(arguments.iter().map(OsString::from)) {
            Ok(Command::Demo(options)) => Ok((options.ending, options.daemon)),
            other => Err(format!("{other:?}")),
        };
        let path = Some(PathBuf::from("/x"));
        for (arguments, want) in [
            (&["demo"][..], (Ending::Gone, None)),
            (&["demo", "--keep"], (Ending::Open, None)),
            (&["demo", "--daemon=/x", "--keep"], (Ending::Open, path.clone())),
            (&["demo", "--daemon", "/x"], (Ending::Gone, path)),
        ] {
            assert_eq!(demo(arguments), Ok(want), "{arguments:?}");
        }
        for wrong in [
            &["demo", "--slb"][..],
            &["demo", "x"],
            &["demo", "--daemon"],
            &["--keep"],
            &["-v4", "demo"],
        ] {
            assert!(demo(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_flag_is_said() {
        for (arguments, want) in [
            (&["--slbs", "x"][..], "--slbs is not a flag"),
            (&["--slb", "slb-1"], "must be ID=ADDRESS"),
            (&["--slb", "slb-1=here"], "no IP address"),
            (&["--slb", "slb-1=127.0.0.1,port=1"], "only eip=IP"),
            (&["--cloud-listen", "0.0.0.0:80"], "not a loopback address"),
            (&["--latency", "fast"], "not a duration"),
            (&["--node", "node-1"], "must be NAME=IP"),
            (
                &["--instance", "i-1"],
                "--instance \"i-1\" must be ID=NAME,IP[,ZONE]",
            ),
            (&["--time-scale", "0"], "not a factor"),
            (&["--latency"], "missing argument"),
            (&["stray"], "is not a flag"),
            (&["--help"], "help"),
        ] {
            let error = options(arguments).unwrap_err();
            assert!(error.contains(want), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn every_flag_is_in_the_help() {
        for line in include_str!("inspur-sim.rs").lines() {
            let arm = line
                .trim()
                .strip_prefix('"')
                .and_then(|line| line.split_once("\" => "));
            if let Some((flag, _)) = arm.filter(|(flag, _)| flag.starts_with('-')) {
                assert!(HELP.contains(&format!("  {flag} ")), "{flag} is not in --help");
            }
        }
    }
}
