//! Settings of the chips: their description in the catalogue, and their checked values, of which a driver and a model
//! are built.

use std::fmt;

/// Description of a setting: a number below `settings` in boards.toml.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Setting {
    /// Key in boards.toml.
    pub key: &'static str,
    /// Meaning, with the unit.
    pub about: &'static str,
    /// Valid values.
    pub valid: Valid,
    /// Problem of any other value, in which `{}` represents the value. Empty for a problem that names the range.
    pub problem: &'static str,
    /// Remedy for any other value. Empty for one that lists the valid values.
    pub remedy: &'static str,
    /// Value without the key.
    pub default: DefaultValue,
}

/// Valid values of a setting.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    /// All numbers above zero.
    Positive,
    /// All numbers from the first to the second.
    Between(f64, f64),
    /// A few numbers.
    OneOf(&'static [f64]),
}

/// Value of a setting that boards.toml omits.
#[derive(Clone, Copy, Debug)]
pub enum DefaultValue {
    /// Always the same number.
    Number(f64),
    /// Number computed from other settings: the rule, and the function that computes it.
    Computed(&'static str, fn(&Settings) -> f64),
    /// No value; the text describes the behaviour of the chip.
    Unset(&'static str),
}

impl Setting {
    /// Creates the description of a setting whose messages name the valid values.
    pub(crate) const fn new(
        key: &'static str,
        about: &'static str,
        valid: Valid,
        default: DefaultValue,
    ) -> Setting {
        Setting { key, about, valid, problem: "", remedy: "", default }
    }

    /// Replaces the problem and the remedy of an invalid value.
    pub(crate) const fn invalid(self, problem: &'static str, remedy: &'static str) -> Setting {
        Setting { problem, remedy, ..self }
    }

    fn check(&self, value: f64) -> Result<(), InvalidSetting> {
        let valid = match self.valid {
            Valid::Positive => value > 0.0,
            Valid::Between(low, high) => (low..=high).contains(&value),
            Valid::OneOf(values) => values.contains(&value),
        };
        if valid {
            return Ok(());
        }
        let positive = match self.valid {
            Valid::Positive => true,
            Valid::Between(low, _) => low > 0.0,
            Valid::OneOf(values) => values.iter().all(|value| *value > 0.0),
        };
        let (problem, remedy) = if positive && value <= 0.0 {
            (format!("{value} is not positive"), "write a number above 0".to_owned())
        } else {
            let problem = match self.problem {
                "" => format!("{value} is not {}", self.valid),
                problem => problem.replace("{}", &value.to_string()),
            };
            let remedy = match (self.remedy, self.valid) {
                ("", Valid::OneOf(_)) => format!("write {}", self.valid),
                ("", _) => format!("write a number {}", self.valid),
                (remedy, _) => remedy.to_owned(),
            };
            (problem, remedy)
        };
        Err(InvalidSetting { key: self.key, problem, remedy })
    }
}

impl fmt::Display for Valid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Valid::Positive => f.write_str("above 0"),
            Valid::Between(low, high) => write!(f, "from {low} to {high}"),
            Valid::OneOf(values) => {
                let values: Vec<String> = values.iter().map(f64::to_string).collect();
                write!(f, "one of {}", values.join(", "))
            }
        }
    }
}

impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefaultValue::Number(number) => write!(f, "{number}"),
            DefaultValue::Computed(text, _) | DefaultValue::Unset(text) => f.write_str(text),
        }
    }
}

/// Check of a combination of settings. It may also limit a value.
pub type Adjust = fn(&mut Settings) -> Result<(), InvalidSetting>;

/// Error for a setting with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}; {remedy}")]
pub struct InvalidSetting {
    /// Key of the setting.
    pub key: &'static str,
    /// Problem of its value.
    pub problem: String,
    /// The user's next step.
    pub remedy: String,
}

/// Checked settings of a chip, with the defaults of the keys that boards.toml omits. Created by
/// [`crate::Chip::settings`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    numbers: Vec<(&'static str, f64)>,
    channel: Option<&'static str>,
}

impl Settings {
    /// Checks the values `given`, and adds the defaults.
    pub(crate) fn new(
        settings: &'static [Setting],
        adjust: Option<Adjust>,
        given: &[(&str, f64)],
        channel: Option<&'static str>,
    ) -> Result<Settings, InvalidSetting> {
        let mut checked = Settings { numbers: Vec::new(), channel };
        for setting in settings {
            let number = match (given.iter().find(|(key, _)| *key == setting.key), setting.default) {
                (Some((_, number)), _) => {
                    setting.check(*number)?;
                    *number
                }
                (None, DefaultValue::Number(number)) => number,
                (None, _) => continue,
            };
            checked.numbers.push((setting.key, number));
        }
        for setting in settings {
            if let (None, DefaultValue::Computed(_, compute)) = (checked.get(setting.key), setting.default) {
                let number = compute(&checked);
                checked.numbers.push((setting.key, number));
            }
        }
        adjust.map_or(Ok(()), |adjust| adjust(&mut checked))?;
        Ok(checked)
    }

    /// Returns the value of a setting; `None` if it has none, or if the chip has no such setting.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.numbers.iter().find(|(known, _)| *known == key).map(|(_, number)| *number)
    }

    /// Returns the value of a setting that has a default.
    ///
    /// # Panics
    /// The chip has no such setting, or its value is not set.
    #[expect(clippy::expect_used, reason = "the catalogue guarantees a value; a test reads every chip")]
    pub fn number(&self, key: &str) -> f64 {
        self.get(key).expect("a setting of this chip that has a default")
    }

    /// Returns the selected channel; `None` if the chip has no channels.
    pub fn channel(&self) -> Option<&'static str> {
        self.channel
    }

    /// Limits a number to `max`.
    pub(crate) fn limit(&mut self, key: &str, max: f64) {
        for (_, number) in self.numbers.iter_mut().filter(|(known, _)| *known == key) {
            *number = number.min(max);
        }
    }
}
