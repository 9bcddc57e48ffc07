//! Section of the page for the newest tasks of the fleet. It is read-only: tasks are submitted with `atalaya task`.

use maud::{Markup, html};

use super::gather::View;
use super::view::ago;
use super::words::Lang;
use crate::tasks::{Task, TaskState};

pub(super) fn tasks(view: &View) -> Markup {
    let lang = view.asked.lang;
    let told = view.told.as_ref().and_then(|(told, age)| Some((told.status.tasks.as_ref()?, *age)));
    let Some((tasks, age)) = told.filter(|(tasks, _)| !tasks.list.is_empty()) else {
        return html! { section #tasks hidden {} };
    };
    html! {
        section #tasks.card {
            div.head {
                h2 { (lang.say("Tasks", "Tareas")) }
                p.faint {
                    (lang.count(i64::try_from(tasks.live).unwrap_or(i64::MAX)))
                    (lang.say(" in progress or waiting", " en curso o en espera"))
                }
            }
            ul.tasks.old[age > 20.0] {
                @for task in &tasks.list { (row(task, age, lang)) }
            }
        }
    }
}

fn row(task: &Task, age: f64, lang: Lang) -> Markup {
    let (at, since) = match task.ended {
        Some(ended) => (Some(ended), lang.say("ended", "terminó")),
        None => (task.age, lang.say("submitted", "enviada")),
    };
    html! {
        li.(tone(task.state)) {
            p.name {
                span.light aria-hidden="true" {}
                strong { (task.action) }
                span.state { (words(task.state, lang)) }
            }
            p.faint {
                (task.id) " · " (nodes(task, lang))
                @if let Some(at) = at { " · " (since) " " (ago(lang, at + age)) }
            }
            @if task.all > 1 {
                progress max=(task.all) value=(task.done.saturating_add(task.failed).min(task.all))
                    aria-label=(lang.say("Nodes that have ended", "Nodos que han terminado")) {}
            }
            @if let Some(progress) = &task.progress { p lang="en" { (progress) } }
            @if let Some(reason) = &task.reason { p.problem lang="en" { (reason) } }
        }
    }
}

/// Formats the nodes of a task: `7 of 10 nodes, 1 failed`, or the node of a task for one node.
fn nodes(task: &Task, lang: Lang) -> String {
    if task.all <= 1 {
        return match &task.node {
            Some(node) => format!("{} {node}", lang.say("node", "nodo")),
            None => lang.say("one node", "un nodo").to_owned(),
        };
    }
    let count = |count: u64| lang.count(i64::try_from(count).unwrap_or(i64::MAX));
    let (done, all, failed) = (count(task.done), count(task.all), count(task.failed));
    let (of, nodes) = (lang.say("of", "de"), lang.say("nodes done", "nodos listos"));
    match task.failed {
        0 => format!("{done} {of} {all} {nodes}"),
        _ => format!("{done} {of} {all} {nodes}, {failed} {}", lang.say("failed", "con fallo")),
    }
}

/// Returns the colour of a state.
fn tone(state: TaskState) -> &'static str {
    match state {
        TaskState::Done => "ok",
        TaskState::Queued | TaskState::Waiting | TaskState::Assigned => "live",
        TaskState::Failed | TaskState::TimedOut | TaskState::Lost => "failing",
        TaskState::Cancelled | TaskState::Expired | TaskState::Skipped => "late",
        TaskState::Unknown => "unknown",
    }
}

fn words(state: TaskState, lang: Lang) -> &'static str {
    match state {
        TaskState::Queued => lang.say("queued", "en cola"),
        TaskState::Waiting => lang.say("waits for another attempt", "espera otro intento"),
        TaskState::Assigned => lang.say("in progress", "en curso"),
        TaskState::Done => lang.say("done", "hecha"),
        TaskState::Failed => lang.say("failed", "con fallo"),
        TaskState::TimedOut => lang.say("timed out", "agotó su tiempo"),
        TaskState::Cancelled => lang.say("cancelled", "cancelada"),
        TaskState::Lost => lang.say("lost", "perdida"),
        TaskState::Expired => lang.say("not started in time", "no empezó a tiempo"),
        TaskState::Skipped => lang.say("skipped", "omitida"),
        TaskState::Unknown => lang.say("unknown", "desconocido"),
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
