//! `deploy/examples/service.yaml`, the Service of the story.

use serde_json::Value;

use super::Error;
use crate::runtime::yaml;

/// Where it is, as one would type it.
pub(super) const PATH: &str = "deploy/examples/service.yaml";
/// All of it.
pub(super) const TEXT: &str = include_str!("../../../deploy/examples/service.yaml");

/// The annotation that names the SLB.
const SLB_ID: &str = "service.beta.kubernetes.io/inspur-load-balancer-slbid";

/// What the example says.
#[derive(Debug)]
pub(super) struct Example {
    /// The object, as `kubectl` would send it.
    pub(super) object: Value,
    /// Its name.
    pub(super) name: String,
    /// Its SLB.
    pub(super) slb: String,
    /// Its only port.
    pub(super) port: u16,
    /// Where the Nodes answer for it.
    pub(super) node_port: u16,
}

impl Example {
    /// The embedded file, taken apart.
    ///
    /// # Errors
    /// When it is not what the story is about: a Service with one port, a node port and an SLB.
    pub(super) fn read() -> Result<Self, Error> {
        let mut object = yaml::parse(TEXT).map_err(|error| Error::NotAsTold(format!("{PATH}: {error}")))?;
        type_ports(&mut object);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        let port = match object["spec"]["ports"].as_array().map(Vec::as_slice) {
            Some([port]) => port,
            _ => &Value::Null,
        };
        let parts = (
            text(&object["metadata"]["name"]),
            text(&object["metadata"]["annotations"][SLB_ID]),
            number(&port["port"]),
            number(&port["nodePort"]),
        );
        let (Some(name), Some(slb), Some(port), Some(node_port)) = parts else {
            let wanted = "a name, an SLB's id, and one port with a node port";
            return Err(Error::NotAsTold(format!("{PATH} must have {wanted}")));
        };
        Ok(Self {
            object,
            name,
            slb,
            port,
            node_port,
        })
    }
}

/// YAML's scalars come as text; the API wants the numbers of ports as numbers.
fn type_ports(service: &mut Value) {
    let ports = service.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        for field in ["port", "targetPort", "nodePort"] {
            let number = port
                .get(field)
                .and_then(Value::as_str)
                .and_then(|text| text.parse::<u16>().ok());
            if let Some(number) = number {
                port.insert(field.to_owned(), number.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_example_is_what_the_story_is_about() {
        let example = Example::read().unwrap();
        assert_eq!(
            (example.name.as_str(), example.slb.as_str()),
            ("web", "slb-example")
        );
        assert_eq!((example.port, example.node_port), (80, 30080));
    }

    #[test]
    fn ports_become_numbers_and_names_stay() {
        let mut service = json!({"spec": {"ports": [{"name": "80", "port": "80", "targetPort": "http"}]}});
        type_ports(&mut service);
        assert_eq!(
            service["spec"]["ports"],
            json!([{"name": "80", "port": 80, "targetPort": "http"}])
        );
    }
}
