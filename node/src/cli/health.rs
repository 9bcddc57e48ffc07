//! `atalaya health`.

use clap::Args;
use reqwest::Url;

/// `atalaya health`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya health http://127.0.0.1:9100/readyz
  HEALTHCHECK CMD [\"atalaya\", \"health\", \"http://127.0.0.1:9100/readyz\"]     in a Dockerfile

Exit codes: 0 it answers 2xx; 64 no address; 69 it answers anything else, or not in time.")]
pub struct HealthArgs {
    /// The address to ask, with GET. Of several, the first that anything listens at decides.
    #[arg(value_name = "URL", required = true, value_parser = address)]
    pub urls: Vec<Url>,

    /// Give up (exit 69) when it has taken so long.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub timeout: String,
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{other}: is no address of HTTP; expected http://… or https://…")),
    }
}
