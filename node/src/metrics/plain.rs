//! OpenMetrics in the older words of Prometheus (text format 0.0.4), for those who do not ask for it. Pure.

/// Translates. There a counter is called `…_total` also where it is described, and what is known of OpenMetrics only is a
/// gauge or a comment less.
pub(crate) fn of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), words) => help = Some((name, words.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), kind) => {
                let (ending, kind) = match kind {
                    Some("counter") => ("_total", "counter"),
                    Some("info") => ("_info", "gauge"),
                    Some("unknown") => ("", "untyped"),
                    Some("stateset") => ("", "gauge"),
                    kind => ("", kind.unwrap_or_default()),
                };
                if let Some((_, help)) = help.take().filter(|(described, _)| *described == name) {
                    text.extend(["# HELP ", name, ending, " ", help, "\n"]);
                }
                text.extend(["# TYPE ", name, ending, " ", kind, "\n"]);
            }
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
    fn a_counter_is_described_by_its_whole_name() {
        let open = "# HELP a_b Words and words.\n# TYPE a_b counter\na_b_total{x=\"# TYPE\"} 1\n# HELP t T.\n# TYPE t_seconds gauge\n\
                    # UNIT t_seconds seconds\nt_seconds 0.5\n# HELP build B.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n# EOF\n";
        let plain = "# HELP a_b_total Words and words.\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE\"} 1\n\
                     # TYPE t_seconds gauge\nt_seconds 0.5\n# HELP build_info B.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n";
        assert_eq!(of(open), plain);
    }
}
