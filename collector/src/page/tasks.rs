//! Section of the page for the newest tasks of the fleet. It is read-only: tasks are submitted with `atalaya task`.

use maud::{Markup, html};

use super::document::ago;
use super::i18n::Lang;
use super::model::PageModel;
use crate::tasks::{Task, TaskState};

pub(super) fn tasks(model: &PageModel) -> Markup {
    let lang = model.params.lang;
    let tasks = model.fleet.as_ref().and_then(|(fleet, age)| Some((fleet.status.tasks.as_ref()?, *age)));
    let Some((tasks, age)) = tasks.filter(|(tasks, _)| !tasks.list.is_empty()) else {
        return html! { section #tasks hidden {} };
    };
    html! {
        section #tasks.card {
            div.head {
                h2 { (lang.messages().tasks) }
                p.faint { (lang.messages().live_tasks.replace("{}", &lang.count(tasks.live))) }
            }
            ul.tasks.old[age > 20.0] {
                @for task in &tasks.list { (row(task, age, lang)) }
            }
        }
    }
}

fn row(task: &Task, age: f64, lang: Lang) -> Markup {
    let messages = lang.messages();
    let (class, state) = class_and_name(task.state, lang);
    let (at, event) = match task.ended {
        Some(ended) => (Some(ended), messages.ended),
        None => (task.age, messages.submitted),
    };
    html! {
        li.(class) {
            p.name {
                span.light aria-hidden="true" {}
                strong { (task.action) }
                span.state { (state) }
            }
            p.faint {
                (task.id) " · " (nodes(task, lang))
                @if let Some(at) = at { " · " (event) " " (ago(lang, at + age)) }
            }
            @if task.all > 1 {
                progress max=(task.all) value=(task.done.saturating_add(task.failed).min(task.all))
                    aria-label=(messages.nodes_ended) {}
            }
            @if let Some(progress) = &task.progress { p lang="en" { (progress) } }
            @if let Some(reason) = &task.reason { p.problem lang="en" { (reason) } }
        }
    }
}

/// Formats the nodes of a task: `7 of 10 nodes done, 1 failed`, or the node of a task for one node.
fn nodes(task: &Task, lang: Lang) -> String {
    let messages = lang.messages();
    if task.all <= 1 {
        let node = task.node.as_ref().map(|node| messages.node.replace("{}", node));
        return node.unwrap_or_else(|| messages.one_node.to_owned());
    }
    let (done, all) = (lang.count(task.done), lang.count(task.all));
    let done = messages.nodes_done.replace("{done}", &done).replace("{all}", &all);
    match task.failed {
        0 => done,
        failed => format!("{done}, {}", messages.nodes_failed.replace("{}", &lang.count(failed))),
    }
}

/// Returns the class of a state in the style sheet, and its name.
fn class_and_name(state: TaskState, lang: Lang) -> (&'static str, &'static str) {
    let messages = lang.messages();
    match state {
        TaskState::Queued => ("live", messages.task_queued),
        TaskState::Waiting => ("live", messages.task_waiting),
        TaskState::Assigned => ("live", messages.task_assigned),
        TaskState::Done => ("ok", messages.task_done),
        TaskState::Failed => ("failing", messages.task_failed),
        TaskState::TimedOut => ("failing", messages.task_timed_out),
        TaskState::Lost => ("failing", messages.task_lost),
        TaskState::Cancelled => ("late", messages.task_cancelled),
        TaskState::Expired => ("late", messages.task_expired),
        TaskState::Skipped => ("late", messages.task_skipped),
        TaskState::Unknown => ("unknown", messages.task_unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(done: u64, failed: u64, all: u64) -> Task {
        let text = format!(
            r#"{{"id": "t-0000000003", "action": "<b>x</b>", "state": "failed", "done": {done}, "failed": {failed},
                "all": {all}, "age": 4.0, "reason": "<script>alert(1)</script>"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn nodes_of_a_task_are_counted_in_both_languages() {
        assert_eq!(nodes(&task(7, 0, 10), Lang::En), "7 of 10 nodes done");
        assert_eq!(nodes(&task(7, 1, 10), Lang::Es), "7 de 10 nodos listos, 1 con fallo");
        assert_eq!(nodes(&task(0, 0, 1), Lang::En), "one node");
        assert_eq!(nodes(&Task { node: Some("pi3".to_owned()), ..task(0, 0, 1) }, Lang::Es), "nodo pi3");
    }

    #[test]
    fn texts_of_tasks_are_escaped() {
        let html = row(&task(1, 1, 1 << 62), 2.0, Lang::En).into_string();
        assert!(html.contains("&lt;script&gt;") && html.contains("&lt;b&gt;x"), "{html}");
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    }
}
