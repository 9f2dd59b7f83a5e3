//! INSPUR Cloud as its clients see it: the token endpoint, the IAM login, the SLB API and the instances API, from memory.
//!
//! [`State`] is pure: (state, request, now) → reply. It is strict where the wire is exact (names, types, spelling, headers),
//! so that a client that passes here encodes as the real API wants it, and odd where the real API is known to be odd
//! ([`Quirks`]). What is `Source:` below was seen on the wire by the 2020 Go client
//! (OpenInspur/cloud-provider-inspur, `pkg/cloud/`), what is `Assumed:` is this project's guess.

use std::sync::Arc;
use std::time::Duration;

use super::server::{Answer, Core, Incoming, Now, Reply};
use super::watched::Watched;
use crate::runtime::secret::Secret;

mod auth;
mod ecs;
mod fields;
mod instances;
mod query;
mod render;
mod slb;
mod state;
mod told;

#[cfg(test)]
mod tests;

pub use instances::{Distortion, InstanceSeed, Status};
pub use state::{Call, Health, Kind, Listener, Member, Phase, Slb, State};

/// The SLB API's base, as `slbUrl-pre` ends. Source: the old client's documentation.
pub const SLB_PATH: &str = "/regionsvc-cn-north/slb/v1/slbs";
/// The instances API's base, for `ecsUrl-pre`. Assumed.
pub const ECS_PATH: &str = "/regionsvc-cn-north/ecs/v1/instances";
/// The Keycloak token endpoint, for `keycloakUrl`.
pub const KEYCLOAK_PATH: &str = "/auth/realms/picp/protocol/openid-connect/token";
/// The IAM login, for `iam-url`. Source: INSPUR's open-platform guide.
pub const IAM_PATH: &str = "/auth/v1/token";

/// A simulated cloud. Clones are the same cloud.
#[derive(Clone)]
pub struct Cloud(Arc<Watched<State>>);

/// Who may use the cloud, and how it behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its tenants.
    pub accounts: Vec<Account>,
    /// How long a token from Keycloak is good.
    pub token_lifetime: Duration,
    /// How long creating and deleting an SLB takes.
    pub provisioning: Duration,
    /// Where answers may differ.
    pub quirks: Quirks,
}

/// One tenant and its ways to a token.
#[derive(Debug, Clone)]
pub struct Account {
    /// Owns SLBs and instances.
    pub user_id: String,
    /// `requested_subject` of the token exchange.
    pub subject: String,
    /// `client_id` of the token exchange.
    pub client_id: String,
    /// `client_secret` of the token exchange.
    pub client_secret: Secret,
    /// The name for the IAM login.
    pub iam_username: String,
    /// Its password.
    pub iam_password: Secret,
    /// A token that is always good.
    pub static_token: Secret,
}

impl Account {
    /// The tenant called `name`: user `user-<name>`, client `client-<name>`, subject and IAM name `<name>`, and secrets made
    /// of the name, each of which contains `s3cret` so that a test can look for it in a log.
    pub fn named(name: &str) -> Self {
        Self {
            user_id: format!("user-{name}"),
            subject: name.to_owned(),
            client_id: format!("client-{name}"),
            client_secret: Secret::new(format!("client+s3cret/{name}&=")),
            iam_username: name.to_owned(),
            iam_password: Secret::new(format!("password+s3cret/{name}\"")),
            static_token: Secret::new(format!("static-s3cret-{name}")),
        }
    }
}

impl Account {
    /// A cloud config for this tenant of the cloud at `url`, secret included, as the 2020 controller read it.
    ///
    /// Source: its documentation of `/etc/kubernetes/cloud-config`.
    pub fn cloud_config(&self, url: &str) -> String {
        let (client, secret, subject) = (&self.client_id, self.client_secret.expose(), &self.subject);
        format!(
            "slbUrl-pre={url}{SLB_PATH}\nkeycloakUrl={url}{KEYCLOAK_PATH}\ntoken-client-id={client}\n\
             client-secret={secret}\nrequested-subject={subject}\n"
        )
    }

    /// The same with the instances API.
    pub fn cloud_config_with_ecs(&self, url: &str) -> String {
        format!("{}ecsUrl-pre={url}{ECS_PATH}\n", self.cloud_config(url))
    }
}

impl Default for Options {
    /// One tenant called `demo`.
    fn default() -> Self {
        Self {
            accounts: vec![Account::named("demo")],
            token_lifetime: Duration::from_secs(300),
            provisioning: Duration::ZERO,
            quirks: Quirks::default(),
        }
    }
}

/// Where the real API's answers are known, or assumed, to differ from place to place. The default is the plainest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Numbers and the health-check flag. Source: answers of several regions.
    pub numbers: Numbers,
    /// A list without elements. Source: Go's `null` for an empty slice.
    pub empty_list: EmptyList,
    /// Describing an SLB that does not exist.
    pub unknown_slb: UnknownSlb,
    /// `code` of errors and of answers with data.
    pub code: Code,
    /// Whether objects carry fields that nobody knows.
    pub extra_fields: ExtraFields,
    /// A second listener on a taken port.
    pub taken_port: TakenPort,
    /// Removing a member that is not there.
    pub unknown_backend: UnknownBackend,
    /// Whether weights can be changed in place.
    pub member_update: MemberUpdate,
    /// Describing a single instance that does not exist.
    pub unknown_instance: UnknownInstance,
    /// Finding instances by name.
    pub name_match: NameMatch,
    /// A field of an instance that has no value.
    pub empty_text: EmptyText,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Numbers {
    /// `80`, and `"1"` for the health-check flag.
    #[default]
    AsNumbers,
    /// `"80"`, and `"1"`.
    AsStrings,
    /// `80`, and `1`.
    FlagAsNumber,
}

/// How an empty list is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyList {
    /// `[]`.
    #[default]
    Array,
    /// `null`.
    Null,
}

/// What describing an SLB that does not exist answers. Assumed: each of them, after the old client's checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownSlb {
    /// 200 and an empty list.
    #[default]
    EmptyList,
    /// 404.
    NotFound,
}

/// How `code` is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Code {
    /// `"404"`.
    #[default]
    Text,
    /// `404`.
    Number,
}

/// Whether objects carry fields that nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExtraFields {
    /// They do not.
    #[default]
    No,
    /// Of every JSON type.
    Yes,
}

/// What a second listener on a taken port gets. Assumed: either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TakenPort {
    /// 400.
    #[default]
    BadRequest,
    /// 409, which also means "busy".
    Conflict,
}

/// What removing a member that is not there gets. Assumed: either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownBackend {
    /// 404, and nothing is removed.
    #[default]
    NotFound,
    /// 200; the others are removed.
    Ignored,
}

/// Whether `PUT …/members` exists: it is this project's own contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemberUpdate {
    /// It does.
    #[default]
    Served,
    /// 405.
    Absent,
}

/// What describing a single instance that does not exist answers. Assumed: either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownInstance {
    /// 200 and an empty list.
    #[default]
    EmptyList,
    /// 404.
    NotFound,
}

/// Which instances a name finds. Assumed: either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NameMatch {
    /// Those that are called so.
    #[default]
    Exact,
    /// Those with the name anywhere in theirs.
    Contains,
}

/// How a field of an instance without a value is written. Assumed: any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyText {
    /// `""`.
    #[default]
    Text,
    /// `null`.
    Null,
    /// Not at all.
    Missing,
}

/// What an SLB is made of when a test puts one there.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Its id.
    pub id: String,
    /// The user it belongs to.
    pub owner: String,
    /// The address inside the VPC.
    pub business_ip: String,
    /// The public address; empty where none is bound.
    pub eip: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
}

impl Seed {
    /// An SLB of [`Account::named`] `demo`, with an internal and a public address.
    pub fn new(id: &str, business_ip: &str, eip: &str) -> Self {
        Self {
            id: id.to_owned(),
            owner: "user-demo".to_owned(),
            business_ip: business_ip.to_owned(),
            eip: eip.to_owned(),
            scheme: if eip.is_empty() {
                "internal"
            } else {
                "internet-facing"
            }
            .to_owned(),
        }
    }

    /// The same for another user.
    pub fn owned_by(mut self, user_id: &str) -> Self {
        self.owner = user_id.to_owned();
        self
    }
}

impl Default for Cloud {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Core for Cloud {
    fn respond(&self, request: &Incoming, now: Now) -> Answer {
        self.0.update(|state| state.respond(request, now)).into()
    }

    fn told(&self, _: &str, request: &Incoming) -> Option<Reply> {
        self.act_as_told(request)
    }
}

/// What tests and the demo do behind the API's back.
impl Cloud {
    /// A cloud without SLBs and instances.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Watched::new(State::new(options))))
    }

    /// Puts an SLB there, in place of one with that id.
    pub fn add_slb(&self, seed: Seed) {
        self.0.update(|state| state.add_slb(seed));
    }

    /// Takes an SLB away with all it has; whether it was there.
    pub fn delete_slb(&self, id: &str) -> bool {
        self.0.update(|state| state.take_slb(id))
    }

    /// Puts a listener there as somebody else would by hand, without health check and members; its id.
    ///
    /// # Panics
    /// When there is no such SLB.
    pub fn put_listener(&self, slb: &str, name: &str, protocol: &str, port: u16) -> String {
        self.0
            .update(|state| state.put_listener(slb, name, protocol, port))
    }

    /// Changes a listener behind the API's back.
    ///
    /// # Panics
    /// When there is no such listener.
    pub fn change_listener<R>(&self, slb: &str, id: &str, change: impl FnOnce(&mut Listener) -> R) -> R {
        self.0.update(|state| state.change_listener(slb, id, change))
    }

    /// Takes a listener away; whether it was there.
    pub fn take_listener(&self, slb: &str, id: &str) -> bool {
        self.0.update(|state| state.take_listener(slb, id))
    }

    /// Makes the next `writes` to an SLB fail with 409, as if it were busy with somebody else's change.
    ///
    /// # Panics
    /// When there is no such SLB.
    pub fn set_busy(&self, slb: &str, writes: u32) {
        self.0.update(|state| state.set_busy(slb, writes));
    }

    /// Makes every token worthless but the static ones.
    pub fn expire_tokens(&self) {
        self.0.update(State::expire_tokens);
    }

    /// Changes the secret of a client: the old one is refused from now on. Tokens that were issued for it go on.
    pub fn set_client_secret(&self, client_id: &str, secret: &Secret) {
        self.0.update(|state| {
            let accounts = state.options.accounts.iter_mut();
            accounts
                .filter(|account| account.client_id == client_id)
                .for_each(|account| account.client_secret = secret.clone());
        });
    }

    /// Changes how answers look, from now on.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.0.update(|state| state.options.quirks = quirks);
    }

    /// Changes how long tokens issued from now on are good.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.0.update(|state| state.options.token_lifetime = lifetime);
    }

    /// Looks at everything.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.0.read(look)
    }

    /// Waits until `look` finds what it wants, at most `timeout`. Looked at after each request and change.
    pub fn wait_until<R>(&self, timeout: Duration, look: impl FnMut(&State) -> Option<R>) -> Option<R> {
        self.0.wait_until(timeout, look)
    }

    /// Wakes all who wait, for one of them that has another reason to stop waiting.
    pub(super) fn wake(&self) {
        self.0.update(|_| ());
    }

    /// The listeners of an SLB, by port; empty when there is no such SLB.
    pub fn listeners(&self, slb: &str) -> Vec<Listener> {
        self.0.read(|state| state.listeners(slb))
    }

    /// The members of the listener on that port; empty when there is none.
    pub fn members(&self, slb: &str, protocol: &str, port: u16) -> Vec<Member> {
        self.listeners(slb)
            .into_iter()
            .find(|listener| listener.protocol == protocol && listener.port == port)
            .map(|listener| listener.members)
            .unwrap_or_default()
    }

    /// Every call that reached the API so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.0.read(|state| state.calls.clone())
    }

    /// How many calls so far satisfy `filter`.
    pub fn count(&self, filter: impl Fn(&Call) -> bool) -> usize {
        self.0
            .read(|state| state.calls.iter().filter(|call| filter(call)).count())
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.0.update(|state| state.calls.clear());
    }

    /// Every token issued so far, so that a test can look for them where they must not be.
    pub fn issued_tokens(&self) -> Vec<Secret> {
        self.0.read(State::issued_tokens)
    }

    /// SLBs, listeners, members and instances as text, for failure messages.
    pub fn snapshot(&self) -> String {
        self.0.read(State::to_string)
    }
}
