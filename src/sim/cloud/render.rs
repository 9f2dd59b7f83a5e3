//! The cloud's objects and errors as its API spells them, with all its oddities.

use serde_json::{Map, Value, json};

use super::instances::InstanceSeed;
use super::state::{Listener, Member, Phase, Slb};
use super::{Code, EmptyList, EmptyText, ExtraFields, Numbers, Quirks};
use crate::sim::server::Reply;

/// An error of the API.
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    message: String,
}

impl Problem {
    pub(super) fn new(status: u16, message: &str) -> Self {
        Self {
            status,
            message: message.to_owned(),
        }
    }

    /// A 400 that names the field.
    pub(super) fn invalid(field: &str, why: &str) -> Self {
        Self::new(400, &format!("{field}: {why}"))
    }

    /// Source: `{"code", "message"}` in every error of the API.
    pub(super) fn reply(&self, quirks: Quirks) -> Reply {
        let body = json!({"code": quirks.code(self.status), "message": self.message});
        Reply::json(self.status, &body)
    }
}

impl Quirks {
    fn number(self, number: u32) -> Value {
        match self.numbers {
            Numbers::AsNumbers | Numbers::FlagAsNumber => json!(number),
            Numbers::AsStrings => json!(number.to_string()),
        }
    }

    fn flag(self, on: bool) -> Value {
        match self.numbers {
            Numbers::AsNumbers | Numbers::AsStrings => json!(if on { "1" } else { "0" }),
            Numbers::FlagAsNumber => json!(u8::from(on)),
        }
    }

    fn code(self, status: u16) -> Value {
        match self.code {
            Code::Text => json!(status.to_string()),
            Code::Number => json!(status),
        }
    }

    pub(super) fn list(self, elements: Vec<Value>) -> Value {
        match self.empty_list {
            EmptyList::Null if elements.is_empty() => Value::Null,
            EmptyList::Null | EmptyList::Array => Value::Array(elements),
        }
    }

    /// The answer of changes that return no object: `{"code", "message", "data"}`.
    pub(super) fn done(self, status: u16, data: Vec<Value>) -> Value {
        json!({"code": self.code(status), "message": "success", "data": self.list(data)})
    }

    fn object(self, mut object: Value) -> Value {
        let map: Option<&mut Map<String, Value>> = object.as_object_mut();
        if let (ExtraFields::Yes, Some(map)) = (self.extra_fields, map) {
            map.insert("x-text".into(), json!("y"));
            map.insert("x-number".into(), json!(1.5e300));
            map.insert("x-null".into(), Value::Null);
            map.insert("x-nested".into(), json!([{"slbId": ["not", "the", "id"]}, true]));
        }
        object
    }

    /// Source: the old client's `LoadBalancer`. Assumed: the spelling of `state` but for `ACTIVE`.
    pub(super) fn slb(self, slb: &Slb) -> Value {
        let state = match slb.phase {
            Phase::Creating(_) => "CREATING",
            Phase::Active => "ACTIVE",
            Phase::Deleting(_) => "DELETING",
        };
        let listeners = u32::try_from(slb.listeners.len()).expect("an SLB has few listeners");
        self.object(json!({
            "regionId": "cn-north-3",
            "createdTime": "2020-03-01T10:00:00.000Z",
            "expiredTime": Value::Null,
            "specificationId": "1",
            "specificationName": "small",
            "slbId": slb.id,
            "slbName": slb.name,
            "scheme": slb.scheme,
            "businessIp": slb.business_ip,
            "vpcId": "vpc-1",
            "vpcName": "vpc",
            "subnetId": "subnet-1",
            "eipId": if slb.eip.is_empty() { "" } else { "eip-1" },
            "eipAddress": slb.eip,
            "listenerCount": self.number(listeners),
            "slbType": "shared",
            "state": state,
            "userId": slb.owner,
        }))
    }

    /// The answer to a rename has three more. Source: the old client's `ModifyLoadBalancer` answer.
    pub(super) fn renamed(self, slb: &Slb) -> Value {
        let mut object = self.slb(slb);
        for (name, value) in [
            ("chargeType", "hourlySettlement"),
            ("purchaseTime", "1"),
            ("type", "shared"),
        ] {
            object[name] = json!(value);
        }
        object
    }

    /// Source: the old client's `Listener`.
    pub(super) fn listener(self, slb: &str, listener: &Listener) -> Value {
        let health = &listener.health;
        let mut object = json!({
            "slbId": slb,
            "listenerId": listener.id,
            "listenerName": listener.name,
            "protocol": listener.protocol,
            "port": self.number(listener.port.into()),
            "forwardRule": listener.forward_rule,
            "isHealthCheck": self.flag(health.on),
            "typeHealthCheck": health.kind,
            "portHealthCheck": self.number(health.port.into()),
            "periodHealthCheck": self.number(health.period_seconds),
            "timeoutHealthCheck": self.number(health.timeout_seconds),
            "maxHealthCheck": self.number(health.max_tries),
            "domainHealthCheck": health.domain,
            "pathHealthCheck": health.path,
        });
        for (name, value) in &listener.options {
            object[name] = value.clone();
        }
        self.object(object)
    }

    /// Assumed: all of it.
    pub(super) fn instance(self, instance: &InstanceSeed) -> Value {
        let texts = |texts: &[String]| self.list(texts.iter().map(|text| json!(text)).collect());
        let tags = match self.empty_list {
            EmptyList::Null if instance.tags.is_empty() => Value::Null,
            EmptyList::Null | EmptyList::Array => json!(instance.tags),
        };
        let mut object = json!({
            "instanceId": instance.id,
            "status": instance.status.to_string(),
            "privateIps": texts(&instance.private_ips),
            "ipv6s": texts(&instance.ipv6s),
            "tags": tags,
        });
        for (name, text) in [
            ("instanceName", &instance.name),
            ("hostName", &instance.host_name),
            ("instanceType", &instance.instance_type),
            ("regionId", &instance.region),
            ("zoneId", &instance.zone),
            ("vpcId", &instance.vpc),
            ("subnetId", &instance.subnet),
            ("eipAddress", &instance.eip),
        ] {
            match self.empty_text {
                EmptyText::Missing if text.is_empty() => {}
                EmptyText::Null if text.is_empty() => object[name] = Value::Null,
                EmptyText::Text | EmptyText::Null | EmptyText::Missing => object[name] = json!(text),
            }
        }
        self.object(object)
    }

    /// Source: the old client's `Backend`.
    pub(super) fn member(self, listener: &str, member: &Member) -> Value {
        let mut object = self.member_spec(member);
        object["backendId"] = json!(member.backend_id);
        object["listenerId"] = json!(listener);
        self.object(object)
    }

    /// Source: the old client's `BackendList.Data`.
    pub(super) fn member_spec(self, member: &Member) -> Value {
        json!({
            "serverId": member.server_id,
            "serverName": member.server_name,
            "serverIp": member.server_ip.to_string(),
            "port": self.number(member.port.into()),
            "type": "ECS",
            "weight": self.number(member.weight),
        })
    }
}
