//! Control of a running QEMU: one JSON object per line, over a socket.
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Timeout of an answer. QEMU answers at once, unless the machine is very busy.
const ANSWER: Duration = Duration::from_secs(60);

/// A connection; QEMU accepts one at a time.
pub struct Qmp {
    lines: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the socket of a running emulator.
    #[track_caller]
    pub fn connect(socket: &Path) -> Self {
        match Self::try_connect(socket) {
            Ok(qmp) => qmp,
            Err(why) => panic!("no emulator answers at {}: {why}", socket.display()),
        }
    }

    /// Connects like [`connect`](Self::connect).
    pub fn try_connect(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(ANSWER)).map_err(|error| error.to_string())?;
        let mut qmp = Self { lines: BufReader::new(stream) };
        let greeting = qmp.line()?;
        if greeting.get("QMP").is_none() {
            return Err(format!("it says {greeting} instead of a greeting"));
        }
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Sets the temperature of a thermometer in °C, from -40 to 125.
    #[track_caller]
    pub fn set_temperature(&mut self, thermometer: &str, celsius: f64) {
        if let Err(why) = self.try_set_temperature(thermometer, celsius) {
            panic!("cannot set {thermometer} to {celsius} °C: {why}");
        }
    }

    /// Sets the temperature like [`set_temperature`](Self::set_temperature).
    pub fn try_set_temperature(&mut self, thermometer: &str, celsius: f64) -> Result<(), String> {
        let path = format!("/machine/peripheral/{thermometer}");
        let thousandths = (celsius * 1000.0).round() as i64;
        let arguments = json!({"path": path, "property": "temperature", "value": thousandths});
        self.execute("qom-set", &arguments).map(drop)
    }

    /// Disconnects the network, or connects it again.
    #[track_caller]
    pub fn set_network(&mut self, up: bool) {
        // The network card of the Pi is on USB and ignores the state of its link; the other end does not.
        if let Err(why) = self.execute("set_link", &json!({"name": "net0", "up": up})) {
            panic!("cannot set the network of the Pi to {up}: {why}");
        }
    }

    /// Disconnects, so that another program can connect. This value cannot be used any more.
    pub fn hang_up(&mut self) {
        // An error means that the emulator has closed the connection already.
        let _ = self.lines.get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// Sends a command and returns its answer; skips events in between.
    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, String> {
        let request = json!({"execute": command, "arguments": arguments});
        let sent = self.lines.get_mut().write_all(format!("{request}\n").as_bytes());
        sent.map_err(|error| error.to_string())?;
        let end = Instant::now() + ANSWER;
        while Instant::now() < end {
            let mut answer = self.line()?;
            if let Some(done) = answer.get_mut("return") {
                return Ok(done.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(error["desc"].as_str().unwrap_or("no reason given").to_owned());
            }
        }
        Err("events, but no answer".into())
    }

    fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => Err("it has ended".into()),
            Ok(_) => serde_json::from_str(&line).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Simulates an emulator that sends a greeting, and then answers each line with the next of `answers`. Returns the
    /// requests.
    fn scripted(answers: &'static [&'static str]) -> (tempfile::TempDir, thread::JoinHandle<Vec<Value>>) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("qmp")).unwrap();
        let emulator = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            lines.get_mut().write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut asked = Vec::new();
            for answer in answers {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                asked.push(serde_json::from_str(&line).unwrap());
                lines.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        (folder, emulator)
    }

    #[test]
    fn temperatures_go_out_in_thousandths_and_events_are_passed_over() {
        let answers =
            &["{\"return\": {}}\n", "{\"event\": \"RTC_CHANGE\"}\n{\"return\": {}}\n", "{\"return\": {}}\n"];
        let (folder, emulator) = scripted(answers);
        let mut qmp = Qmp::connect(&folder.path().join("qmp"));
        qmp.set_temperature("temp0", -5.5);
        qmp.set_network(false);
        let asked = emulator.join().unwrap();
        assert_eq!(asked[0]["execute"], "qmp_capabilities");
        assert_eq!(asked[1]["arguments"]["value"], -5500);
        assert_eq!(asked[1]["arguments"]["path"], "/machine/peripheral/temp0");
        assert_eq!(asked[2], json!({"execute": "set_link", "arguments": {"name": "net0", "up": false}}));
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let (folder, _emulator) = scripted(&[
            "{\"return\": {}}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"too hot\"}}\n",
        ]);
        let mut qmp = Qmp::connect(&folder.path().join("qmp"));
        assert_eq!(qmp.try_set_temperature("temp0", 999.0), Err("too hot".to_owned()));
    }

    #[test]
    fn an_emulator_that_ends_is_an_error() {
        let (folder, _emulator) = scripted(&["{\"return\": {}}\n"]);
        let mut qmp = Qmp::connect(&folder.path().join("qmp"));
        assert!(qmp.try_set_temperature("temp0", 20.0).is_err());
    }
}
