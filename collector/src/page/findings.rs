//! Part of the section for the fleet: withheld values, outliers and groups of the newest cycle.

use maud::{Markup, html};

use super::i18n::Lang;
use crate::findings::Findings;

pub(super) fn findings(findings: &Findings, lang: Lang) -> Markup {
    let messages = lang.messages();
    html! {
        @for withheld in &findings.withheld {
            p.problem {
                (messages.withheld
                    .replace("{value}", &lang.with_unit(withheld.value, withheld.unit.as_deref()))
                    .replace("{nodes}", &withheld.nodes.to_string())
                    .replace("{needed}", &withheld.needed.to_string()))
            }
        }
        @if !findings.outliers.is_empty() {
            p.problem {
                (messages.outliers) ": "
                @for (position, outlier) in findings.outliers.iter().enumerate() {
                    @if position > 0 { ", " }
                    (outlier.node) " (" (lang.with_unit(outlier.value, outlier.unit.as_deref())) ")"
                }
                @if findings.more_outliers > 0 {
                    " " (messages.more_nodes.replace("{}", &findings.more_outliers.to_string()))
                }
            }
        }
        @if !findings.groups.is_empty() {
            div.scroll { table {
                caption { (messages.groups) }
                thead {
                    tr {
                        @for name in [messages.group, messages.value, messages.column_min, messages.column_max, messages.nodes] {
                            th scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for group in &findings.groups {
                        tr {
                            th scope="row" { (group.group) }
                            @for value in [group.value, group.min, group.max] {
                                td { (lang.with_unit(value, group.unit.as_deref())) }
                            }
                            td { (group.count) }
                        }
                    }
                }
            } }
        }
    }
}
