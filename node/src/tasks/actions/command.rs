//! Runs a command below a guardian process, from the worker's side: passes on renewals of the lease and the order to
//! stop, and collects the output and the report.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::guardian::{Cause, LeaseDeadlines, Report, now, stop_line};
use super::output::OutputTail;
use super::{Execution, ExecutionOutcome, LocalLease, StopReason, millis};
use crate::process::child_processes::own_program;
use crate::process::executions;

/// Maximum time from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// The same at the shutdown of the node, which must end within two seconds.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(800);
/// The same if the claim is lost: another worker may start the task soon.
const LOST_GRACE: Duration = Duration::from_millis(200);
/// Number of checks for a renewed lease per session timeout.
const LEASE_CHECKS: u32 = 40;
/// Maximum time to read the output after the last process has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Size of the buffer for the output, in bytes.
const BUFFER: usize = 64 * 1024;
/// Maximum size of the stdout of a guardian, in bytes.
const MAX_REPORT: u64 = 64 * 1024;
/// Variables of the node that a command inherits. All others are set by the action or by this module.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A command that is ready to be run.
pub(super) struct GuardedCommand {
    /// Program of the guardian; `None`: that of this process.
    pub(super) program: Option<PathBuf>,
    /// Argument vector of the command.
    pub(super) argv: Vec<String>,
    /// Variables in addition to the inherited ones.
    pub(super) env: BTreeMap<String, String>,
    /// Time limit.
    pub(super) run_for: Duration,
    /// Unique text for this execution, see [`executions`].
    pub(super) mark: String,
}

impl GuardedCommand {
    /// Runs the command until all of its processes have ended.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the guardian's stdin is closed, and it kills the processes.
    pub(super) async fn run(
        self,
        running: &watch::Sender<usize>,
        lease: impl Fn() -> LocalLease,
        progress: watch::Sender<String>,
        stop: impl Future<Output = StopReason>,
    ) -> Execution {
        // Read before the lease, so that the deadlines are not too late.
        let read_at = now();
        let first = lease();
        let Some(deadlines) = LeaseDeadlines::of(first, read_at) else {
            let outcome = ExecutionOutcome::Stopped(StopReason::LeaseEnding);
            return Execution::not_started(outcome, "the local lease of the session was about to end");
        };
        let mut guardian = match self.command(deadlines).spawn() {
            Ok(guardian) => RunningGuardian::new(guardian, running),
            Err(error) => {
                let reason = format!("the guardian process cannot be started: {error}");
                return Execution::not_started(ExecutionOutcome::Failed, reason);
            }
        };
        let (stdin, stdout, stderr) = guardian.take_pipes();
        let mut stopped = None;
        let mut output = OutputTail::default();
        let report = {
            let control = control(stdin, deadlines, lease, stop, &mut stopped);
            let ended = Notify::new();
            let report = async {
                let report = read_report(stdout).await;
                if report.is_none() {
                    // The guardian was itself killed. A process in an uninterruptible system call ends later.
                    executions::kill(&self.mark).await;
                }
                ended.notify_one();
                report
            };
            let output = async {
                tokio::select! {
                    () = read_output(stderr, &mut output, &progress) => {}
                    () = async { ended.notified().await; tokio::time::sleep(DRAIN_TIMEOUT).await } => {}
                }
            };
            let read = async { tokio::join!(report, output).0 };
            tokio::select! {
                report = read => report,
                () = control => None,
            }
        };
        let status = guardian.wait().await;
        let (output, output_cut) = output.finish();
        let (outcome, reason) = match &report {
            Some(report) => judge(report, stopped, self.run_for),
            None => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                (ExecutionOutcome::Failed, Some(format!("the guardian process has ended: {status}")))
            }
        };
        Execution {
            outcome,
            exit_code: report.as_ref().and_then(|report| report.code),
            signal: report.as_ref().and_then(|report| report.signal),
            duration: Duration::ZERO,
            output,
            output_cut,
            reason,
        }
    }

    fn command(&self, deadlines: LeaseDeadlines) -> Command {
        let mut command = match &self.program {
            Some(program) => std::process::Command::new(program),
            None => own_program(),
        };
        command.arg("guard").arg("--parent").arg(std::process::id().to_string());
        command.arg("--term-at").arg(deadlines.term_at.to_string());
        command.arg("--kill-at").arg(deadlines.kill_at.to_string());
        command.arg("--run-for-ms").arg(millis(self.run_for).to_string());
        command.arg("--grace-ms").arg(millis(GRACE).to_string());
        command.arg("--").args(&self.argv);
        command.env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
        command.envs(&self.env).env(executions::VARIABLE, &self.mark);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The signals of a terminal must not end the guardian.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Command::from(command)
    }
}

/// A guardian process that has not ended. It is counted, also after this is dropped.
struct RunningGuardian {
    /// `None` after its end.
    child: Option<Child>,
    running: watch::Sender<usize>,
}

impl RunningGuardian {
    fn new(child: Child, running: &watch::Sender<usize>) -> RunningGuardian {
        running.send_modify(|count| *count += 1);
        RunningGuardian { child: Some(child), running: running.clone() }
    }

    fn take_pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let Some(child) = &mut self.child else { return (None, None, None) };
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    }

    async fn wait(mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(io::ErrorKind::NotFound.into()) };
        let status = child.wait().await?;
        self.child = None;
        self.running.send_modify(|count| *count -= 1);
        Ok(status)
    }
}

impl Drop for RunningGuardian {
    fn drop(&mut self) {
        // The pipe to its stdin is closed, so it kills the processes and ends.
        let Some(mut child) = self.child.take() else { return };
        let running = self.running.clone();
        let wait = async move {
            let _ = child.wait().await;
            running.send_modify(|count| *count -= 1);
        };
        // Without a runtime, the process ends and nothing waits.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(wait);
        }
    }
}

/// Passes on renewals of the lease and the order to stop. Never ends: the guardian does, after an order or by itself.
async fn control(
    stdin: Option<ChildStdin>,
    mut sent: LeaseDeadlines,
    lease: impl Fn() -> LocalLease,
    stop: impl Future<Output = StopReason>,
    stopped: &mut Option<StopReason>,
) {
    let Some(mut stdin) = stdin else { return };
    let interval = lease().session_timeout / LEASE_CHECKS;
    let mut checks = tokio::time::interval(interval.max(Duration::from_millis(5)));
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stop);
    loop {
        let line = tokio::select! {
            biased;
            reason = &mut stop, if stopped.is_none() => {
                *stopped = Some(reason);
                stop_line(match reason {
                    StopReason::Cancelled => GRACE,
                    StopReason::Shutdown => SHUTDOWN_GRACE,
                    StopReason::LeaseEnding => LOST_GRACE,
                })
            }
            _ = checks.tick() => {
                let read_at = now();
                match LeaseDeadlines::of(lease(), read_at) {
                    Some(renewed) if renewed > sent => {
                        sent = renewed;
                        format!("{renewed}\n")
                    }
                    _ => continue,
                }
            }
        };
        // Fails if the guardian has ended. Then its report is read elsewhere.
        let _ = stdin.write_all(line.as_bytes()).await;
    }
}

async fn read_report(stdout: Option<impl AsyncRead + Unpin>) -> Option<Report> {
    let mut text = Vec::new();
    stdout?.take(MAX_REPORT).read_to_end(&mut text).await.ok()?;
    Report::find(&String::from_utf8_lossy(&text))
}

/// Reads until all processes that can write have ended.
async fn read_output(
    stderr: Option<impl AsyncRead + Unpin>,
    output: &mut OutputTail,
    progress: &watch::Sender<String>,
) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        if let Some(text) = output.push(&buffer[..length]) {
            progress.send_replace(text);
        }
    }
}

/// Returns the outcome, and the reason if it is not success.
fn judge(
    report: &Report,
    stopped: Option<StopReason>,
    run_for: Duration,
) -> (ExecutionOutcome, Option<String>) {
    let stopped_by = |reason| {
        let text = match reason {
            StopReason::Cancelled => "cancelled",
            StopReason::Shutdown => "the node shuts down",
            StopReason::LeaseEnding => "the session was lost, or its local lease was about to end",
        };
        (ExecutionOutcome::Stopped(reason), Some(text.to_owned()))
    };
    match report.cause {
        Cause::Ended => match (report.code, report.signal) {
            (Some(0), _) => (ExecutionOutcome::Done, None),
            (Some(code @ (126 | 127)), _) => (
                ExecutionOutcome::Failed,
                Some(format!("exit code {code}: the command, or a command in it, cannot be run")),
            ),
            (Some(code), _) => (ExecutionOutcome::Failed, Some(format!("exit code {code}"))),
            (None, Some(signal)) => (ExecutionOutcome::Failed, Some(format!("ended by signal {signal}"))),
            (None, None) => (ExecutionOutcome::Failed, Some("the exit code is unknown".to_owned())),
        },
        Cause::TimedOut => {
            (ExecutionOutcome::TimedOut, Some(format!("the time limit of {run_for:?} was reached")))
        }
        Cause::Stopped => stopped_by(stopped.unwrap_or(StopReason::Cancelled)),
        Cause::LeaseEnding | Cause::WorkerGone => stopped_by(StopReason::LeaseEnding),
    }
}
