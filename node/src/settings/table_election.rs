//! Rows of the [table](super) for the contenders for leadership.

use super::{as_text, name_of};
use crate::settings::Source;
use crate::settings::setting::{ChangeMode, DefaultValue, Field, Setting};
use crate::settings::values::{InvalidValue, LEAD_MODES, contenders, one_of};

pub(super) const LEAD: Setting = Setting {
    name: "lead",
    value_name: None,
    variables: &["ATALAYA_LEAD"],
    help: "Never contend for leadership (lead = false). auto: contend while there are fewer contenders than the limit; \
           true: always",
    default: DefaultValue::Value("auto"),
    change: ChangeMode::Fixed,
    in_file: Some(|boards| as_text(&boards.fleet.lead, |lead| name_of(LEAD_MODES, lead))),
    show: |settings| Some(name_of(LEAD_MODES, &settings.lead)),
    field: field!(lead, |text, _| one_of("value", LEAD_MODES, text)),
};

pub(super) const CONTENDERS: Setting = Setting {
    name: "contenders",
    value_name: Some("COUNT"),
    variables: &["ATALAYA_CONTENDERS"],
    help: "Maximum number of contenders for leadership with lead = auto; the other nodes wait until one leaves",
    default: DefaultValue::Value("7"),
    change: ChangeMode::Fixed,
    in_file: Some(|boards| as_text(&boards.fleet.contenders, u16::to_string)),
    show: |settings| Some(settings.contenders.to_string()),
    field: field!(contenders, |text, _| contenders(text)),
};
