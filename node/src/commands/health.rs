//! `atalaya health`: one question by HTTP, for images without a shell.

use anyhow::{Context as _, anyhow};
use atalaya_hal::duration;
use clap::Args;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};

use super::stdout::print;
use crate::commands::exit::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya health http://127.0.0.1:9100/readyz
  HEALTHCHECK CMD [\"atalaya\", \"health\", \"http://127.0.0.1:9100/readyz\"]     in a Dockerfile

Exit codes: 0 it answers 2xx; 64 no address; 69 it answers anything else, or not in time.")]
pub(super) struct HealthArgs {
    /// The address to ask, with GET. Of several, the first that anything listens at decides.
    #[arg(value_name = "URL", required = true, value_parser = address)]
    urls: Vec<Url>,

    /// Give up (exit 69) when it has taken so long.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    timeout: String,
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other}: is no address of HTTP; expected http://… or https://…")),
    }
}

/// As much of an answer as is shown, in bytes.
const LONGEST_ANSWER: usize = 4 * 1024;

pub(super) fn main(args: &HealthArgs) -> Result<(), Failure> {
    let timeout =
        duration::parse(&args.timeout).map_err(|error| Failure::usage(anyhow!("--timeout: {error}")))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    runtime.block_on(async {
        let asked = async {
            let mut answer = first_answer(&args.urls).await?;
            let status = answer.status();
            let text = beginning(&mut answer).await;
            if status.is_success() {
                return Ok(text);
            }
            let text = String::from_utf8_lossy(&text);
            Err(Failure::unavailable(anyhow!("{} answers {status}: {}", answer.url(), text.trim_end())))
        };
        let late = |_| Failure::unavailable(anyhow!("no answer within {timeout:?}"));
        let text = tokio::time::timeout(timeout, asked).await.map_err(late)??;
        print(&text)
    })
}

/// What the first of them says that anybody listens at.
async fn first_answer(urls: &[Url]) -> Result<Response, Failure> {
    let mut silent = Vec::new();
    for url in urls {
        match client(url)
            .context("cannot make an HTTP client")
            .map_err(Failure::internal)?
            .get(url.clone())
            .send()
            .await
        {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_connect() => silent.push(anyhow::Error::new(error)),
            Err(error) => return Err(Failure::unavailable(error)),
        }
    }
    let all: Vec<String> = silent.iter().map(|error| format!("{error:#}")).collect();
    Err(Failure::unavailable(anyhow!("{}", all.join("; "))))
}

/// It is this machine, or one beside it, that is asked: no proxy is, and what redirects is not what was meant.
fn client(url: &Url) -> reqwest::Result<Client> {
    let builder = Client::builder().no_proxy().redirect(Policy::none());
    match url.scheme() {
        // The machine's certificates would be read for nothing.
        "http" => builder.tls_certs_only(std::iter::empty()).build(),
        _ => builder.build(),
    }
}

/// The beginning of what it says; the verdict is in the status, so that an answer that breaks off is as good.
async fn beginning(answer: &mut Response) -> Vec<u8> {
    let mut text = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        text.extend_from_slice(&part[..part.len().min(LONGEST_ANSWER - text.len())]);
        if text.len() == LONGEST_ANSWER {
            break;
        }
    }
    text
}
