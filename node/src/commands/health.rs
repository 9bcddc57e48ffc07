//! `atalaya health`: sends one HTTP request, for health checks in images without a shell.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use atalaya_config::duration;
use clap::Args;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};

use super::current_thread_runtime;
use super::stdout::print;
use crate::commands::exit::Failure;
use crate::http_client;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya health http://127.0.0.1:9100/readyz
  HEALTHCHECK CMD [\"atalaya\", \"health\", \"http://127.0.0.1:9100/readyz\"]     in a Dockerfile

Exit codes: 0 the response has a 2xx status; 64 wrong usage; 69 another status, no connection, or no
response in time.")]
pub(super) struct HealthArgs {
    /// URL for a GET request. Of several URLs, the first that accepts a connection decides.
    #[arg(value_name = "URL", required = true, value_parser = parse_url)]
    urls: Vec<Url>,

    /// Time limit of the request; exit 69 if it is exceeded.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "3s")]
    timeout: Duration,
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other}: is not a scheme of HTTP; use http://… or https://…")),
    }
}

/// Maximum size of a response in the output, in bytes. The rest is cut.
const MAX_SHOWN: usize = 4 * 1024;

pub(super) fn main(args: &HealthArgs) -> Result<(), Failure> {
    let timeout = args.timeout;
    current_thread_runtime()?.block_on(async {
        let check = async {
            let mut response = first_response(&args.urls).await?;
            let status = response.status();
            let text = read_start(&mut response).await;
            if status.is_success() {
                return Ok(text);
            }
            let text = String::from_utf8_lossy(&text);
            Err(Failure::unavailable(anyhow!("{} responds {status}: {}", response.url(), text.trim_end())))
        };
        let timed_out = |_| Failure::unavailable(anyhow!("no response within {timeout:?}"));
        let text = tokio::time::timeout(timeout, check).await.map_err(timed_out)??;
        print(&text)
    })
}

/// Returns the response of the first URL that accepts a connection.
async fn first_response(urls: &[Url]) -> Result<Response, Failure> {
    let mut errors = Vec::new();
    for url in urls {
        let client = client(url).context("cannot create an HTTP client").map_err(Failure::internal)?;
        match client.get(url.clone()).send().await {
            Ok(response) => return Ok(response),
            Err(error) if error.is_connect() => errors.push(format!("{:#}", anyhow::Error::new(error))),
            Err(error) => return Err(Failure::unavailable(error)),
        }
    }
    Err(Failure::unavailable(anyhow!("{}", errors.join("; "))))
}

/// Returns a client without proxy and without redirects: the check is about this server, which is on this machine or
/// near it.
fn client(url: &Url) -> reqwest::Result<Client> {
    let builder = http_client::builder().no_proxy().redirect(Policy::none());
    match url.scheme() {
        // Loading the system's certificates would take time for nothing.
        "http" => builder.tls_certs_only(std::iter::empty()).build(),
        _ => builder.build(),
    }
}

/// Returns the start of the body. Errors are ignored, because only the status decides.
async fn read_start(response: &mut Response) -> Vec<u8> {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk[..chunk.len().min(MAX_SHOWN - text.len())]);
        if text.len() == MAX_SHOWN {
            break;
        }
    }
    text
}
