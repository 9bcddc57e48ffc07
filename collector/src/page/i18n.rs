//! Languages of the page: their choice, and their formats of numbers, units and durations. Pure.

use super::messages::{ENGLISH, Messages, SPANISH};

/// Language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lang {
    En,
    Es,
}

impl Lang {
    /// Returns the texts in this language.
    pub(super) fn messages(self) -> &'static Messages {
        match self {
            Lang::En => &ENGLISH,
            Lang::Es => &SPANISH,
        }
    }

    /// Returns the other language.
    pub(super) fn other(self) -> Lang {
        match self {
            Lang::En => Lang::Es,
            Lang::Es => Lang::En,
        }
    }

    fn of(tag: &str) -> Option<Lang> {
        match tag.trim().split('-').next()?.to_ascii_lowercase().as_str() {
            "en" | "*" => Some(Lang::En),
            "es" => Some(Lang::Es),
            _ => None,
        }
    }

    /// Selects the language that is `requested`, or otherwise the one with the highest quality in `Accept-Language`;
    /// the first one wins a tie.
    pub(super) fn choose(requested: Option<&str>, accept: Option<&str>) -> Lang {
        if let Some(lang) = requested.and_then(Lang::of) {
            return lang;
        }
        let mut best = (0.0, Lang::En);
        for part in accept.unwrap_or_default().split(',') {
            let (tag, parameters) = part.split_once(';').unwrap_or((part, ""));
            let quality = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.parse::<f32>().ok());
            if let Some((lang, quality)) = Lang::of(tag).zip(quality)
                && quality > best.0
            {
                best = (quality, lang);
            }
        }
        best.1
    }

    /// Returns the usual name of a quantity.
    pub(super) fn quantity(self, name: Option<&str>) -> &str {
        let messages = self.messages();
        match name {
            None => messages.average,
            Some("temperature") => messages.temperature,
            Some("humidity") => messages.humidity,
            Some("pressure") => messages.pressure,
            Some("voltage") => messages.voltage,
            Some("current") => messages.current,
            Some("power") => messages.power,
            Some("illuminance") => messages.illuminance,
            Some("count") => messages.count,
            Some("ratio") => messages.ratio,
            Some(other) => other,
        }
    }

    /// Formats a number with this many decimals in this language, with separated thousands.
    pub(super) fn number(self, value: f64, decimals: usize) -> String {
        if !value.is_finite() || value.abs() >= 1e12 {
            return format!("{value:e}");
        }
        let text = format!("{:.decimals$}", value.abs());
        let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
        let mut grouped = String::new();
        for (at, digit) in whole.char_indices() {
            let left = whole.len() - at;
            if at > 0 && left % 3 == 0 && whole.len() > 4 {
                grouped.push('\u{202f}');
            }
            grouped.push(digit);
        }
        let minus =
            if value < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) { "−" } else { "" };
        match rest {
            "" => format!("{minus}{grouped}"),
            rest => format!("{minus}{grouped}{}{rest}", self.messages().decimal_separator),
        }
    }

    /// Formats a whole number.
    pub(super) fn count(self, value: impl TryInto<i64>) -> String {
        #[allow(clippy::cast_precision_loss, reason = "larger numbers are rounded")]
        self.number(value.try_into().unwrap_or(i64::MAX) as f64, 0)
    }

    /// Formats a measured number, with decimals that depend on its size.
    pub(super) fn measured(self, value: f64) -> String {
        self.number(value, decimals(value.abs()))
    }

    /// Formats a measured number with the symbol of its unit, such as `21.48 °C`.
    pub(super) fn with_unit(self, value: f64, senml: Option<&str>) -> String {
        format!("{} {}", self.measured(value), unit(senml)).trim_end().to_owned()
    }
}

/// Returns the number of decimals: at most two, and at most five digits in total.
pub(super) fn decimals(size: f64) -> usize {
    match size {
        size if size >= 10_000.0 => 0,
        size if size >= 1_000.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        size if size >= 0.001 => 4,
        _ => 6,
    }
}

/// Returns the usual symbol of a unit.
pub(super) fn unit(senml: Option<&str>) -> &str {
    match senml {
        None | Some("/" | "count") => "",
        Some("Cel") => "°C",
        Some("%RH") => "% RH",
        Some(other) => other,
    }
}

/// Formats a duration or an age in its largest units: `3 s`, `2 min`, `1 h 5 min`, `3 d`.
pub(super) fn span(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let seconds = seconds.clamp(0.0, 1e12) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 if (seconds / 60).is_multiple_of(60) => format!("{} h", seconds / 3_600),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_with_the_highest_quality_is_chosen() {
        for (requested, accept, expected) in [
            (None, None, Lang::En),
            (None, Some("es-ES,es;q=0.9,en;q=0.8"), Lang::Es),
            (None, Some("de, en;q=0.3, es;q=0.4"), Lang::Es),
            (None, Some("fr"), Lang::En),
            (None, Some("es;q=0"), Lang::En),
            (None, Some("es;q=x, ;;,"), Lang::En),
            (Some("es"), Some("en"), Lang::Es),
            (Some("en"), Some("es"), Lang::En),
            (Some("klingon"), Some("es"), Lang::Es),
        ] {
            assert_eq!(Lang::choose(requested, accept), expected, "{requested:?} {accept:?}");
        }
    }

    #[test]
    fn numbers_have_the_format_of_the_language() {
        assert_eq!(Lang::En.number(-1_234_567.891, 2), "−1\u{202f}234\u{202f}567.89");
        assert_eq!(Lang::Es.number(1234.5, 1), "1234,5");
        assert_eq!(Lang::En.number(-0.001, 2), "0.00");
        assert_eq!(Lang::En.measured(101_325.4), "101\u{202f}325");
        assert_eq!(Lang::Es.measured(79.456), "79,46");
        assert_eq!(Lang::En.measured(0.0123), "0.0123");
        assert_eq!(Lang::En.number(f64::MAX, 2), "1.7976931348623157e308");
    }

    #[test]
    fn spans_have_at_most_two_units() {
        for (seconds, text) in [
            (-1.0, "0 s"),
            (3.9, "3 s"),
            (60.0, "1 min"),
            (3_600.0, "1 h"),
            (3_900.0, "1 h 5 min"),
            (86_400.0, "1 d"),
            (f64::INFINITY, "11574074 d"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
