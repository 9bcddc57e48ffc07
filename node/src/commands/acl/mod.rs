//! `atalaya acl show|apply`: compares the ACLs of a fleet's znodes with the policy, and sets them.

mod walk;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use atalaya_recipes::{Acl, AuthId, Connection, Permission, Session};
use clap::{Args, Subcommand};
use serde_json::json;
use tracing::{info, warn};

use self::walk::{AclState, AclWalk, Visit};
use super::args::{ConnectionArgs, Output};
use super::load_settings;
use super::signals::stop_signal;
use super::stdout::print;
use super::tools::connection::with_settings;
use crate::commands::exit::Failure;
use crate::model::acl_policy::{AclPolicy, PathClass, format_acl, format_id};
use crate::model::fleet_paths::FleetPaths;
use crate::model::text;
use crate::settings::zookeeper_access::ZooKeeperAccess;
use crate::settings::{Settings, SettingsError};

#[derive(Debug, Subcommand)]
pub(super) enum AclCommand {
    /// Compare the ACLs of the fleet's znodes with the policy (setting acl). Changes nothing.
    #[command(after_help = "\
Examples:
  atalaya acl show                                    with the policy of boards.toml
  atalaya acl show --acl fleet --acl-fleet sasl:fleet --acl-admin sasl:admin
  atalaya acl show --output json | jq -r 'select(.state == \"different\") | .path'

Prints a line for each znode whose ACL differs, and the number of znodes per class of path. Letters are \
those of zkCli.sh: c create children, d delete children, r read, w write, a set the ACL. A client without \
the permission a does not see the hashes of scheme digest, so it cannot compare them.

Exit codes: 0 all ACLs are those of the policy; 1 an ACL differs; 69 ZooKeeper not reached; 75 connection \
lost; 76 TLS handshake failed; 77 the identity or a request was refused; 78 wrong configuration.")]
    Show(AclShowArgs),
    /// Set the ACLs of the fleet's znodes to the policy (setting acl), also while the fleet runs.
    #[command(after_help = "\
Examples:
  atalaya acl apply --dry-run                         print what would be changed
  atalaya acl apply --zookeeper-user admin --zookeeper-password-file /etc/atalaya/admin-password
  atalaya acl apply --acl open                        back to znodes that any client can write

Sets only ACLs that differ: after an interruption, run the command again. Use the identity of an \
administrator; without acl_admin, that of a node. First give all nodes and tools their identity and the \
new policy, see \"Migrating an existing tree\" in docs/security.md.

Exit codes: 0 all ACLs are those of the policy; 69 ZooKeeper not reached; 75 interrupted by a signal or by \
a lost connection; 76 TLS handshake failed; 77 the identity or a request was refused, or the policy would \
lock out this client; 78 wrong configuration, or ZooKeeper does not know a scheme.")]
    Apply(AclApplyArgs),
}

#[derive(Debug, Args)]
pub(super) struct AclShowArgs {
    /// Output format; json prints an object per znode whose ACL differs, and then one per class of path.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    fleet: AclArgs,
}

#[derive(Debug, Args)]
pub(super) struct AclApplyArgs {
    /// Change nothing; print the ACLs that would be set.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    fleet: AclArgs,
}

#[derive(Debug, Args)]
struct AclArgs {
    /// Configuration file [default: boards.toml in the current folder] [env: ATALAYA_BOARDS].
    #[arg(long, value_name = "FILE", help_heading = "Fleet")]
    boards: Option<PathBuf>,

    /// Parent znode of the measurements [default: boards.toml, or /mediciones] [env: ATALAYA_MEASUREMENTS].
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    measurements: Option<String>,

    /// Parent znode of the contenders of the election [default: boards.toml, or /election] [env: ATALAYA_ELECTION].
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    election: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Maximum number of znodes that are named in the log because they cannot be changed.
const MAX_LOGGED: usize = 20;
/// Interval of the log lines about the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn main(command: &AclCommand) -> Result<(), Failure> {
    let (AclCommand::Show(AclShowArgs { fleet, .. }) | AclCommand::Apply(AclApplyArgs { fleet, .. })) =
        command;
    let flags = (fleet.connection.flags.0.clone())
        .with_optional("measurements", fleet.measurements.as_ref())
        .with_optional("election", fleet.election.as_ref());
    let (_, settings) = load_settings(fleet.boards.as_ref(), &flags)?;
    let access = ZooKeeperAccess::read(&settings).map_err(SettingsError::from)?;
    with_settings(&settings, &access, fleet.connection.connect_timeout, async |session| match command {
        AclCommand::Show(args) => show(&session, &settings, access.policy(), args.output).await,
        AclCommand::Apply(args) => apply(&session, &settings, &access, args.dry_run).await,
    })
}

/// Prints the znodes whose ACLs differ from the policy, and a summary. Fails if there are such znodes.
pub(super) async fn show(
    session: &Session,
    settings: &Settings,
    policy: &AclPolicy,
    output: Output,
) -> Result<(), Failure> {
    let connection = session.connection().await;
    connection.sync().await?;
    let walk = AclWalk { connection: &connection, policy, apply: false };
    let mut summary = Summary::default();
    let paths = FleetPaths::new(&settings.measurements, &settings.election);
    walk.run(&paths, |visit| {
        summary.count(&visit);
        match line(&visit, policy, output) {
            Some(line) => print(format!("{line}\n").as_bytes()),
            None => Ok(()),
        }
    })
    .await?;
    print(summary.text(policy, output).as_bytes())?;
    summary.result()
}

/// Returns the line about a znode whose ACL is not that of the policy, or could not be compared.
fn line(visit: &Visit, policy: &AclPolicy, output: Output) -> Option<String> {
    let (state, acl) = match &visit.state {
        AclState::Correct | AclState::Changed => return None,
        AclState::Different(acl) | AclState::NotChangeable(acl) => ("different", format_acl(acl)),
        AclState::Unreadable => ("unreadable", String::new()),
        AclState::NotListable => ("children unreadable", String::new()),
    };
    let (path, class) = (&visit.path, visit.class().name());
    Some(match output {
        Output::Json => {
            let policy = format_acl(&policy.acl(path));
            json!({"path": path, "class": class, "state": state, "acl": acl, "policy": policy}).to_string()
        }
        // Names of znodes and identities come from other programs.
        Output::Table => text::sanitize_line(&format!("{state:<10}  {path}  {acl}")).trim_end().to_owned(),
    })
}

/// Sets the ACLs that differ from the policy, or prints them.
async fn apply(
    session: &Session,
    settings: &Settings,
    access: &ZooKeeperAccess,
    dry_run: bool,
) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let policy = access.policy();
    let connection = session.connection().await;
    connection.sync().await?;
    check_own_permissions(&connection, access).await?;
    if settings.zookeeper.chroot().is_none() && !policy.is_open() {
        warn!(
            "the connect string has no chroot, so the ACL of the root is set too: other programs can no longer create \
             znodes there"
        );
    }
    let walk = AclWalk { connection: &connection, policy, apply: !dry_run };
    let paths = FleetPaths::new(&settings.measurements, &settings.election);
    let mut summary = Summary::default();
    let mut last_progress = Instant::now();
    let visited = |visit: Visit| {
        summary.count(&visit);
        if last_progress.elapsed() >= PROGRESS_INTERVAL {
            last_progress = Instant::now();
            info!(visited = summary.visited(), changed = summary.changed, "setting ACLs");
        }
        match &visit.state {
            AclState::Different(acl) => {
                let (old, new) = (format_acl(acl), format_acl(&policy.acl(&visit.path)));
                let text = format!("would set  {}  {new}  (now {old})", visit.path);
                print(format!("{}\n", text::sanitize_line(&text)).as_bytes())
            }
            state => {
                summary.log_refused(&visit.path, state);
                Ok(())
            }
        }
    };
    let signal = tokio::select! {
        biased;
        signal = stop => Some(signal),
        walked = walk.run(&paths, visited) => walked.map(|()| None)?,
    };
    let (visited, changed) = (summary.visited(), summary.changed);
    if let Some(signal) = signal {
        return Err(Failure::temp_fail(anyhow!(
            "stopped by {signal} after {visited} znodes, of which {changed} were changed; run the command again to \
             continue"
        )));
    }
    let text = match dry_run {
        true => format!("{} of {visited} ACLs would be set\n", summary.different()),
        false => format!("{changed} of {visited} ACLs were set\n"),
    };
    print(text.as_bytes())?;
    match summary.refused.first() {
        Some(problem) => Err(Failure::no_permission(anyhow!(
            "{} of {visited} ACLs could not be set; the first: {problem}",
            summary.refused_count
        ))),
        None => Ok(()),
    }
}

/// Fails if the policy does not give this client the permission to set ACLs: it could neither finish nor undo the
/// change.
async fn check_own_permissions(connection: &Connection, access: &ZooKeeperAccess) -> Result<(), Failure> {
    let policy = access.policy();
    let users = match connection.identities().await {
        Ok(users) => users,
        // Servers before 3.7 do not have this request.
        Err(error) if !error.is_connection_loss() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if users.iter().any(|user| user.scheme() == "super") {
        return Ok(());
    }
    // The servers return digest identities without hashes, and addresses as scheme ip.
    let users = users.iter().filter(|user| !matches!(user.scheme(), "digest" | "ip"));
    let users = users.map(|user| AuthId::new(user.scheme(), user.user()));
    let mut identities: Vec<AuthId> = users.chain(access.own_identity().cloned()).collect();
    identities.dedup();
    if policy.is_administrator(&identities) {
        return Ok(());
    }
    let list = |ids: &mut dyn Iterator<Item = &AuthId>| ids.map(format_id).collect::<Vec<_>>().join(" or ");
    let own =
        if identities.is_empty() { "which has no identity".to_owned() } else { list(&mut identities.iter()) };
    let administrators = list(&mut policy.administrators());
    Err(Failure::no_permission(anyhow!(
        "refused: with this policy, this client ({own}) could not set ACLs any more, so it could neither finish nor \
         undo the change; connect as {administrators} (zookeeper_user or zookeeper_certificate), or add this client to \
         acl_admin"
    )))
}

/// Numbers of znodes of a class.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    correct: usize,
    different: usize,
    unreadable: usize,
}

#[derive(Debug, Default)]
struct Summary {
    state: Counts,
    configuration: Counts,
    changed: usize,
    /// Number of znodes whose ACL could not be set or read.
    refused_count: usize,
    /// The first of them, with the remedy.
    refused: Vec<String>,
}

impl Summary {
    fn count(&mut self, visit: &Visit) {
        let counts = match visit.class() {
            PathClass::State => &mut self.state,
            PathClass::Configuration => &mut self.configuration,
        };
        match visit.state {
            AclState::Correct => counts.correct += 1,
            AclState::Different(_) | AclState::NotChangeable(_) => counts.different += 1,
            AclState::Unreadable | AclState::NotListable => counts.unreadable += 1,
            AclState::Changed => {
                counts.correct += 1;
                self.changed += 1;
            }
        }
    }

    fn classes(&self) -> [(PathClass, Counts); 2] {
        [(PathClass::State, self.state), (PathClass::Configuration, self.configuration)]
    }

    fn visited(&self) -> usize {
        let all = |(_, counts): (_, Counts)| counts.correct + counts.different + counts.unreadable;
        self.classes().map(all).iter().sum()
    }

    fn different(&self) -> usize {
        self.state.different + self.configuration.different
    }

    /// Logs and keeps the reason why the ACL of a znode could not be set, if there is one.
    fn log_refused(&mut self, path: &str, state: &AclState) {
        let problem = match state {
            AclState::NotChangeable(acl) => {
                format!("{path}: this client lacks the ADMIN permission, which {} has", admins(acl))
            }
            AclState::Unreadable => format!(
                "{path}: this client may not read the ACL, which needs the READ or the ADMIN permission; use the \
                 identity that created the znode, or a superuser"
            ),
            AclState::NotListable => format!("{path}: this client may not list the children"),
            AclState::Correct | AclState::Changed | AclState::Different(_) => return,
        };
        self.refused_count += 1;
        if self.refused.len() < MAX_LOGGED {
            let problem = text::sanitize_line(&problem).into_owned();
            // The first one is part of the error message.
            if !self.refused.is_empty() {
                warn!("cannot set the ACL of {problem}");
            }
            self.refused.push(problem);
        }
    }

    /// Returns a table, or a JSON object per class.
    fn text(&self, policy: &AclPolicy, output: Output) -> String {
        let mut text = String::new();
        if output == Output::Table {
            text.push_str("class          correct  different  unreadable  ACL of the policy\n");
        }
        for (class, counts) in self.classes() {
            let Counts { correct, different, unreadable } = counts;
            let (class, policy) = (class.name(), format_acl(&policy.class_acl(class)));
            // Writing to a string does not fail.
            let _ = match output {
                Output::Table => writeln!(
                    text,
                    "{class:<13}  {correct:>7}  {different:>9}  {unreadable:>10}  {}",
                    text::sanitize_line(&policy)
                ),
                Output::Json => writeln!(
                    text,
                    "{}",
                    json!({"class": class, "correct": correct, "different": different,
                           "unreadable": unreadable, "policy": policy})
                ),
            };
        }
        text
    }

    fn result(&self) -> Result<(), Failure> {
        let unreadable: usize = self.classes().iter().map(|(_, counts)| counts.unreadable).sum();
        match (self.different(), unreadable) {
            (0, 0) => Ok(()),
            (different, 0) => Err(Failure::different(anyhow!(
                "{different} of {} ACLs differ from the policy; set them with: atalaya acl apply",
                self.visited()
            ))),
            (_, unreadable) => Err(Failure::no_permission(anyhow!(
                "{unreadable} of {} ACLs or lists of children cannot be read by this client; use the identity of an \
                 administrator",
                self.visited()
            ))),
        }
    }
}

/// Returns the identities that may set an ACL, for a message.
fn admins(acl: &[Acl]) -> String {
    let admins = acl.iter().filter(|entry| entry.permission().has(Permission::ADMIN));
    let admins: Vec<String> = admins.map(|entry| format_id(entry.auth_id())).collect();
    if admins.is_empty() { "no client but a superuser".to_owned() } else { admins.join(" or ") }
}
