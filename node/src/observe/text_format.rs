//! Translation of OpenMetrics to the older text format of Prometheus (0.0.4), for other clients. No I/O.

/// Translates a page. In the older format the `HELP` and `TYPE` lines of a counter contain the suffix `_total`, and
/// types that only OpenMetrics has are gauges or untyped.
pub(super) fn from_open_metrics(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), words) => help = Some((name, words.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), kind) => {
                let (suffix, kind) = match kind {
                    Some("counter") => ("_total", "counter"),
                    Some("info") => ("_info", "gauge"),
                    Some("unknown") => ("", "untyped"),
                    Some("stateset") => ("", "gauge"),
                    kind => ("", kind.unwrap_or_default()),
                };
                if let Some((_, help)) = help.take().filter(|(described, _)| *described == name) {
                    text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                }
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            // UNIT and EOF.
            (Some("#"), ..) => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_format_describes_counters_by_their_whole_names() {
        let open = "# HELP a_b Words and words.\n# TYPE a_b counter\na_b_total{x=\"# TYPE\"} 1\n# HELP t T.\n# TYPE t_seconds gauge\n\
                    # UNIT t_seconds seconds\nt_seconds 0.5\n# HELP build B.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n# EOF\n";
        let plain = "# HELP a_b_total Words and words.\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE\"} 1\n\
                     # TYPE t_seconds gauge\nt_seconds 0.5\n# HELP build_info B.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n";
        assert_eq!(from_open_metrics(open), plain);
    }
}
