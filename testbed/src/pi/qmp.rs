//! Control of a running QEMU: one JSON object per line, over a socket.
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

/// Timeout of an answer. QEMU answers at once, unless the machine is very busy.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection; QEMU accepts one at a time.
pub struct Qmp {
    lines: BufReader<UnixStream>,
}

impl Qmp {
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut qmp = Self { lines: BufReader::new(stream) };
        let greeting = qmp.line()?;
        ensure!(greeting.get("QMP").is_some(), "it says {greeting} instead of a greeting");
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Sets the temperature of a thermometer in °C, from -40 to 125.
    pub fn set_temperature(&mut self, thermometer: &str, celsius: f64) -> anyhow::Result<()> {
        let path = format!("/machine/peripheral/{thermometer}");
        let thousandths = (celsius * 1000.0).round() as i64;
        self.execute("qom-set", &json!({"path": path, "property": "temperature", "value": thousandths}))
            .with_context(|| format!("cannot set {thermometer} to {celsius} °C"))
    }

    pub fn set_network(&mut self, up: bool) -> anyhow::Result<()> {
        // The network card of the Pi is on USB and ignores the state of its link; the other end does not.
        self.execute("set_link", &json!({"name": "net0", "up": up}))
    }

    /// Disconnects, so that another program can connect. This value cannot be used any more.
    pub fn hang_up(&mut self) {
        // An error means that the emulator has closed the connection already.
        let _ = self.lines.get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// Sends a command and waits for its answer; skips events in between.
    fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<()> {
        let request = json!({"execute": command, "arguments": arguments});
        self.lines.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let end = Instant::now() + ANSWER;
        while Instant::now() < end {
            let answer = self.line()?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                bail!("{}", error["desc"].as_str().unwrap_or("no reason given"));
            }
        }
        bail!("events, but no answer")
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "it has ended");
        Ok(serde_json::from_str(&line)?)
    }
}
