//! The flags of the settings, built from their table.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::setting::Setting;
use super::table::{METRICS_LISTEN, fleet_settings};

/// Values of the flags that set settings of the fleet.
#[derive(Clone, Debug, Default)]
pub struct FleetArgs {
    values: BTreeMap<&'static str, String>,
}

impl FleetArgs {
    /// Sets the flag of the setting `name`, as the command line does.
    ///
    /// # Panics
    /// In debug builds, if there is no such setting.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> FleetArgs {
        debug_assert!(fleet_settings().any(|setting| setting.name == name), "no setting {name}");
        self.values.insert(name, value.into());
        self
    }

    /// Sets the flag of the setting `name` if there is a value.
    #[must_use]
    pub(crate) fn with_optional(self, name: &'static str, value: Option<&String>) -> FleetArgs {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn get(&self, setting: &Setting) -> Option<&str> {
        self.values.get(setting.name).map(String::as_str)
    }
}

fn arg(setting: &'static Setting) -> Arg {
    let (default, variables) = (setting.default.text(), setting.variables().join(", "));
    let help = format!("{} [default: {default}] [env: {variables}]", setting.help);
    let heading = if setting.name == METRICS_LISTEN { "Monitoring" } else { "Fleet" };
    let arg = Arg::new(setting.name).long(setting.flag()).help(help).help_heading(heading);
    match setting.value_name {
        Some(value_name) => arg.value_name(value_name),
        None => arg.action(ArgAction::SetTrue),
    }
}

fn read(args: &mut FleetArgs, settings: impl Iterator<Item = &'static Setting>, matches: &ArgMatches) {
    for setting in settings {
        let value = match setting.value_name {
            Some(_) => matches.get_one::<String>(setting.name).cloned(),
            None => matches.get_flag(setting.name).then(|| false.to_string()),
        };
        if let Some(value) = value {
            args.values.insert(setting.name, value);
        }
    }
}

/// Values of the flags for the connection to ZooKeeper, for commands that need no other setting. `SERVERS` is false for
/// a command that knows the servers and only needs certificates and identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionFlags<const SERVERS: bool = true>(pub(crate) FleetArgs);

fn connection_settings(servers: bool) -> impl Iterator<Item = &'static Setting> {
    let is_wanted = move |name: &str| {
        name.starts_with("zookeeper_")
            || servers && (name == "zookeeper" || name == "session_timeout" || name.starts_with("acl"))
    };
    fleet_settings().filter(move |setting| is_wanted(setting.name))
}

impl<const SERVERS: bool> Args for ConnectionFlags<SERVERS> {
    fn augment_args(command: Command) -> Command {
        command.args(connection_settings(SERVERS).map(|setting| arg(setting).help_heading("ZooKeeper")))
    }

    fn augment_args_for_update(command: Command) -> Command {
        ConnectionFlags::<SERVERS>::augment_args(command)
    }
}

impl<const SERVERS: bool> FromArgMatches for ConnectionFlags<SERVERS> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ConnectionFlags<SERVERS>, clap::Error> {
        let mut flags = ConnectionFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        read(&mut self.0, connection_settings(SERVERS), matches);
        Ok(())
    }
}

impl Args for FleetArgs {
    fn augment_args(command: Command) -> Command {
        command.args(fleet_settings().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        FleetArgs::augment_args(command)
    }
}

impl FromArgMatches for FleetArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<FleetArgs, clap::Error> {
        let mut args = FleetArgs::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        read(self, fleet_settings(), matches);
        Ok(())
    }
}
