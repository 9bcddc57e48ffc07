use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::layout::{FREE, finished_data};
use super::*;

fn znode<'a>(id: &'a str, data: &'a str) -> Znode<'a> {
    Znode { id, data: data.as_bytes(), version: 0, created: 1, modified: 1, is_ephemeral: true }
}

fn pairs(tasks: &[(&str, &str)], workers: &[(&str, &str)]) -> Vec<(String, String)> {
    let tasks: Vec<_> = tasks.iter().map(|(id, data)| znode(id, data)).collect();
    let workers: Vec<_> = workers.iter().map(|(id, data)| znode(id, data)).collect();
    plan(&tasks, &workers, &BTreeSet::new()).into_iter().map(|found| (found.task, found.worker)).collect()
}

fn pair(task: &str, worker: &str) -> (String, String) {
    (task.to_owned(), worker.to_owned())
}

#[test]
fn unassigned_tasks_go_to_free_workers() {
    let assigned = pairs(
        &[("t1", ""), ("t2", "t2"), ("t3", "0"), ("t4", "0")],
        &[("w1", "non"), ("w2", "idle"), ("w3", ""), ("w4", "t9")],
    );
    assert_eq!(assigned, [pair("t1", "w1"), pair("t2", "w2"), pair("t3", "w3")]);
}

#[test]
fn held_and_finished_tasks_are_not_assigned_again() {
    assert_eq!(pairs(&[("t1", "t1,w1"), ("t2", "t2=5")], &[("w1", "t1"), ("w2", "non")]), []);
    // The task of a worker that has finished it and reports that it is free.
    assert_eq!(pairs(&[("t1", "t1=5")], &[("w1", "non")]), []);
}

#[test]
fn task_of_a_worker_that_is_gone_or_started_again_is_assigned_again() {
    assert_eq!(pairs(&[("t1", "t1,w1")], &[("w2", "non")]), [pair("t1", "w2")]);
    assert_eq!(pairs(&[("t1", "t1,w1")], &[("w1", "non")]), [pair("t1", "w1")]);
    assert_eq!(pairs(&[("t1", "t1,w1")], &[]), []);
}

#[test]
fn task_that_a_python_leader_gave_only_to_the_worker_is_held() {
    assert_eq!(pairs(&[("t1", "0")], &[("w1", "t1"), ("w2", "non")]), []);
}

#[test]
fn worker_that_marks_itself_as_busy_with_another_text_holds_the_tasks_that_name_it() {
    assert_eq!(
        pairs(&[("t1", "t1,w1"), ("t2", "t2,w11")], &[("w1", "busy"), ("w2", "non")]),
        [pair("t2", "w2")]
    );
}

#[test]
fn persistent_worker_gets_no_task() {
    let stale = Znode { is_ephemeral: false, ..znode("w1", "non") };
    assert_eq!(plan(&[znode("t1", "")], &[stale], &BTreeSet::new()), []);
}

#[test]
fn task_whose_id_means_a_free_worker_is_not_assigned() {
    assert_eq!(pairs(&[("idle", ""), ("non", ""), (" t", "")], &[("w1", "non")]), []);
}

#[test]
fn deferred_task_is_not_assigned_again_but_may_be_assigned_first() {
    let deferred = BTreeSet::from(["t1".to_owned(), "t2".to_owned()]);
    let tasks = [znode("t1", "t1,w1"), znode("t2", "")];
    let plan = plan(&tasks, &[znode("w1", "non"), znode("w2", "non")], &deferred);
    assert_eq!(plan.iter().map(|step| &*step.task).collect::<Vec<_>>(), ["t2"]);
}

#[test]
fn oldest_task_and_longest_free_worker_come_first() {
    let tasks = [Znode { created: 9, ..znode("a", "") }, Znode { created: 3, ..znode("b", "") }];
    let workers = [Znode { modified: 8, ..znode("x", "non") }, Znode { modified: 2, ..znode("y", "non") }];
    let plan = plan(&tasks, &workers, &BTreeSet::new());
    assert_eq!((&*plan[0].task, &*plan[0].worker), ("b", "y"));
    assert_eq!((&*plan[1].task, &*plan[1].worker), ("a", "x"));
}

/// Znode of the model.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    data: String,
    version: i32,
    created: i64,
}

/// A model of ZooKeeper with tasks, workers, and executions.
#[derive(Default)]
struct Model {
    tasks: BTreeMap<String, Stored>,
    workers: BTreeMap<String, Stored>,
    /// Tasks and workers as the leader has read them last.
    seen: (BTreeMap<String, Stored>, BTreeMap<String, Stored>),
    zxid: i64,
    results: BTreeMap<(String, i64), usize>,
}

#[derive(Clone, Debug)]
enum Act {
    Submit(u8),
    Delete(u8),
    Start(u8),
    Die(u8),
    Finish(u8),
    Read,
    Assign,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0_u8..4).prop_map(Act::Submit),
        (0_u8..4).prop_map(Act::Delete),
        (0_u8..3).prop_map(Act::Start),
        (0_u8..3).prop_map(Act::Die),
        (0_u8..3).prop_map(Act::Finish),
        Just(Act::Read),
        Just(Act::Assign),
        Just(Act::Assign),
    ]
}

fn znodes(stored: &BTreeMap<String, Stored>) -> Vec<Znode<'_>> {
    stored
        .iter()
        .map(|(id, stored)| Znode {
            id,
            data: stored.data.as_bytes(),
            version: stored.version,
            created: stored.created,
            modified: stored.created + i64::from(stored.version),
            is_ephemeral: true,
        })
        .collect()
}

impl Model {
    fn create(&mut self, is_task: bool, id: String) {
        self.zxid += 1;
        let created = self.zxid;
        let data = if is_task { String::new() } else { FREE.to_owned() };
        let list = if is_task { &mut self.tasks } else { &mut self.workers };
        list.entry(id).or_insert(Stored { data, version: 0, created });
    }

    fn set(list: &mut BTreeMap<String, Stored>, id: &str, data: String) {
        let stored = list.get_mut(id).unwrap();
        (stored.data, stored.version) = (data, stored.version + 1);
    }

    /// Writes what the leader plans, as transactions that check the versions. Returns the number that succeeded.
    fn assign(&mut self) -> usize {
        let plan = plan(&znodes(&self.seen.0), &znodes(&self.seen.1), &BTreeSet::new());
        let mut done = 0;
        for step in plan {
            let at = |list: &BTreeMap<String, Stored>, id: &str| list.get(id).map(|stored| stored.version);
            if at(&self.tasks, &step.task) == Some(step.task_version)
                && at(&self.workers, &step.worker) == Some(step.worker_version)
            {
                Model::set(&mut self.tasks, &step.task, step.task_data);
                Model::set(&mut self.workers, &step.worker, step.task);
                done += 1;
            }
        }
        done
    }

    fn finish(&mut self, worker: &str) {
        let Some(stored) = self.workers.get(worker).cloned() else { return };
        if stored.data == FREE {
            return;
        }
        if let Some(task) = self.tasks.get(&stored.data).cloned()
            && !matches!(TaskState::parse(&stored.data, task.data.as_bytes()), TaskState::Finished(_))
        {
            *self.results.entry((stored.data.clone(), task.created)).or_default() += 1;
            Model::set(&mut self.tasks, &stored.data, finished_data(&stored.data, "1"));
        }
        Model::set(&mut self.workers, worker, FREE.to_owned());
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Submit(id) => self.create(true, format!("t{id}")),
            Act::Delete(id) => drop(self.tasks.remove(&format!("t{id}"))),
            Act::Start(id) => self.create(false, format!("w{id}")),
            Act::Die(id) => drop(self.workers.remove(&format!("w{id}"))),
            Act::Finish(id) => self.finish(&format!("w{id}")),
            Act::Read => self.seen = (self.tasks.clone(), self.workers.clone()),
            Act::Assign => drop(self.assign()),
        }
    }
}

proptest! {
    /// For any data, each task and each worker is planned at most once, workers are free, and neither held nor finished
    /// tasks are planned. Either all waiting tasks or all free workers are used.
    #[test]
    fn plan_is_sound_for_any_data(
        tasks in prop::collection::btree_map("[a-d]", "(|0|[a-d]|[a-d],[w-z]|[a-d]=1|.{0,6})", 0..5),
        workers in prop::collection::btree_map("[w-z]", "(|non|idle|[a-e]|.{0,4})", 0..5),
    ) {
        let of = |list: &BTreeMap<String, String>| -> Vec<(String, String)> { list.clone().into_iter().collect() };
        let (task_list, worker_list) = (of(&tasks), of(&workers));
        let task_znodes: Vec<_> = task_list.iter().map(|(id, data)| znode(id, data)).collect();
        let worker_znodes: Vec<_> = worker_list.iter().map(|(id, data)| znode(id, data)).collect();
        let plan = plan(&task_znodes, &worker_znodes, &BTreeSet::new());
        let distinct = |of: fn(&Assignment) -> &str| plan.iter().map(of).collect::<BTreeSet<_>>().len();
        prop_assert_eq!(distinct(|step| &step.task), plan.len());
        prop_assert_eq!(distinct(|step| &step.worker), plan.len());
        for step in &plan {
            prop_assert_eq!(WorkerState::parse(workers[&step.worker].as_bytes()), WorkerState::Free);
            let state = TaskState::parse(&step.task, tasks[&step.task].as_bytes());
            prop_assert!(!matches!(state, TaskState::Finished(_)));
            let held = WorkerState::Busy(step.task.clone());
            prop_assert!(!workers.values().any(|data| WorkerState::parse(data.as_bytes()) == held));
        }
        let is_free = |data: &&String| WorkerState::parse(data.as_bytes()) == WorkerState::Free;
        let free = workers.values().filter(is_free).count();
        let unassigned = tasks.iter().filter(|(id, data)| {
            let held = WorkerState::Busy((*id).clone());
            TaskState::parse(id, data.as_bytes()) == TaskState::Unassigned
                && !workers.values().any(|data| WorkerState::parse(data.as_bytes()) == held)
        });
        prop_assert!(plan.len() == free || plan.len() >= unassigned.count());
    }

    /// However old the leader's view is, no task is held by two workers, no result is recorded twice, and when the leader
    /// has read everything and workers finish, all tasks are finished.
    #[test]
    fn each_task_gets_exactly_one_result(acts in prop::collection::vec(act(), 0..120)) {
        let mut model = Model::default();
        for act in &acts {
            model.apply(act);
            let mut held: Vec<&str> =
                model.workers.values().map(|stored| stored.data.as_str()).filter(|data| *data != FREE).collect();
            held.sort_unstable();
            let distinct: BTreeSet<&str> = held.iter().copied().collect();
            if acts.iter().all(|act| !matches!(act, Act::Delete(_))) {
                prop_assert_eq!(distinct.len(), held.len(), "two workers hold one task: {:?}", held);
            }
        }
        model.apply(&Act::Start(0));
        for _ in 0..10 {
            (0..3).for_each(|worker| model.apply(&Act::Finish(worker)));
            model.apply(&Act::Read);
            model.apply(&Act::Assign);
        }
        (0..3).for_each(|worker| model.apply(&Act::Finish(worker)));
        for (id, task) in &model.tasks {
            prop_assert!(matches!(TaskState::parse(id, task.data.as_bytes()), TaskState::Finished(_)), "{id}: {task:?}");
            prop_assert_eq!(model.results[&(id.clone(), task.created)], 1);
        }
        prop_assert!(model.results.values().all(|count| *count == 1));
    }
}
