//! The API to which reports go: its address, its token, and the HTTP client.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use atalaya_hal::boards::ApiMethod;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use tokio::runtime::Handle;

use crate::leader::delivery::response;
use crate::model::node_id::NodeId;
use crate::settings::api_token::ApiToken;

/// Where reports go. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Api {
    pub(in crate::leader) url: Url,
    pub(in crate::leader) method: ApiMethod,
    /// What the requests say they come from.
    agent: String,
    /// What it wants to see.
    token: Option<ApiToken>,
    /// Made by the first who has to report: it takes more memory than all the rest of a node.
    client: Arc<OnceLock<Client>>,
    /// Whether it last answered as a collector of ours.
    pub(in crate::leader) collects: Arc<AtomicBool>,
    /// The runtime with which requests wait for the network; `None`: the one that they are made in.
    pub(in crate::leader) network: Option<Handle>,
}

impl Api {
    /// The one at `url`, for the node called `id`.
    pub fn new(id: &NodeId, url: Url, method: ApiMethod) -> Api {
        let agent = format!("atalaya/{} (node {})", env!("CARGO_PKG_VERSION"), id.as_str().escape_default());
        Api {
            url,
            method,
            agent,
            token: None,
            client: Arc::default(),
            collects: Arc::default(),
            network: None,
        }
    }

    /// Lets requests use the network through that runtime: for nodes whose own has no I/O.
    #[must_use]
    pub fn through(mut self, network: Option<Handle>) -> Api {
        self.network = network;
        self
    }

    /// Shows it this token with each request.
    #[must_use]
    pub fn showing(mut self, token: Option<ApiToken>) -> Api {
        self.token = token;
        self
    }

    /// Whether it is the same as that one.
    pub fn is(&self, other: &Api) -> bool {
        self.url == other.url && self.method == other.method && self.token == other.token
    }

    /// A request to it, with its token if it goes to its origin. Everything that is sent to an API begins here.
    ///
    /// # Errors
    /// The client cannot be set up.
    pub fn request(&self, method: Method, url: Url) -> reqwest::Result<RequestBuilder> {
        let is_its_own = url.origin() == self.url.origin();
        let request = self.client()?.request(method, url);
        let token = self.token.as_ref().filter(|token| is_its_own && token.is_for(&self.url));
        let Some(token) = token.and_then(ApiToken::header) else {
            return Ok(request);
        };
        // In the place of a password in the address. A redirect to another origin goes without it.
        Ok(request.headers(HeaderMap::from_iter([(AUTHORIZATION, token)])))
    }

    /// It does not know who reports, or does not let them: that is nothing about a report. What to do about it, in
    /// words.
    pub(in crate::leader) fn turned_away(&self, status: StatusCode) -> String {
        match &self.token {
            None => format!("it answers {status}, and there is no token to show (api_token_file)"),
            Some(token) if !token.is_for(&self.url) => {
                format!("it answers {status}, and {token} is not sent there: {}", token.bound_to())
            }
            Some(token) => {
                token.read_again();
                format!("it answers {status} to {token}")
            }
        }
    }

    /// Its address, if it is a collector of ours, and the runtime with which requests wait for the network.
    pub(in crate::leader) fn collector(&self) -> Option<(&Url, Option<&Handle>)> {
        self.collects.load(Ordering::Relaxed).then_some((&self.url, self.network.as_ref()))
    }

    /// Returns true if its requests carry the node's own token.
    pub(in crate::leader) fn has_token(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.is_for(&self.url))
    }

    fn client(&self) -> reqwest::Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder =
            Client::builder().user_agent(&self.agent).redirect(response::redirects(self.method));
        if self.url.scheme() == "http" {
            // The machine's certificates would be read for nothing.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        if self.is_here() {
            // The environment may name a proxy; to that one, "here" would be somewhere else.
            builder = builder.no_proxy();
        }
        let client = builder.build()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Whether it is on this very machine.
    pub(in crate::leader) fn is_here(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        address.map_or(host == "localhost", |address| address.is_loopback())
    }

    /// The address for logs: without password and query, which may be secrets.
    pub(in crate::leader) fn shown(&self) -> String {
        let mut url = self.url.clone();
        // Both fail only for addresses that can have neither.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.into()
    }
}
