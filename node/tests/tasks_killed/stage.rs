//! A fleet with its own chroot, its processes, and the checks at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use atalaya::model::json::to_json;
use atalaya::model::task::record::{Record, State};
use atalaya::model::task::spec::{Promise, Spec, Target};
use atalaya::model::task::{TaskId, paths};
use atalaya_recipes::{Connection, Session, SessionOptions};
use atalaya_testbed::{Process, Scratch, ZooKeeper, clean_command, eventually};
use tokio::runtime::Runtime;
use zookeeper_client as zk;

use super::history;
use super::schedule::{ALL_END, Schedule};
use crate::common::{DEADLINE, TestEnv, Timing};

/// Session timeout of leaders and workers.
pub(crate) const SESSION: Duration = Duration::from_secs(3);

/// The servers of several fleets.
pub(crate) struct Servers<'a> {
    pub(crate) hosts: String,
    /// The server that keeps a log of transactions.
    pub(crate) journal: Option<&'a ZooKeeper>,
}

/// Plays all schedules, `parallel` of them at the same time, each below its own chroot.
pub(crate) fn play_all(servers: &Servers<'_>, schedules: &[Schedule], parallel: usize) {
    // To play some of them: part of their description.
    let wanted = std::env::var("TASKS_KILLED").unwrap_or_default();
    let schedules: Vec<&Schedule> =
        schedules.iter().filter(|one| one.to_string().contains(&wanted)).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..parallel.min(schedules.len()) {
            scope.spawn(|| {
                while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let play = || schedule.play(&Stage::new(servers, schedule.session_timeout()));
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(play)).is_err() {
                        failed.lock().unwrap().push(schedule.to_string());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} schedules failed: {failed:#?}", failed.len(), schedules.len());
}

/// Runs a future. The sessions of clients live on the same runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let build =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    RUNTIME.get_or_init(build).block_on(work)
}

/// A task that a client submits.
pub(crate) struct Submission {
    pub(crate) name: String,
    pub(crate) at_most_once: bool,
    /// The first execution on the worker `w1` does not end.
    pub(crate) holds: bool,
}

/// One fleet.
pub(crate) struct Stage<'a> {
    servers: &'a Servers<'a>,
    around: TestEnv,
    /// Environments of nodes behind a proxy.
    others: Mutex<Vec<TestEnv>>,
    chroot: String,
    session: Session,
    scratch: Scratch,
}

/// The witness: an exclusive lock for each task, and a line for each begin and end. All processes of an execution hold
/// the lock. `held` is the mark of the execution that does not end.
const SCRIPT: &str = r#"
witness=$1
exec 9> "$witness.$ATALAYA_TASK"
flock --nonblock 9 || echo "overlap $ATALAYA_TASK $ATALAYA_ATTEMPT $ATALAYA_NODE" >> "$witness"
echo "begin $ATALAYA_TASK $ATALAYA_ATTEMPT $ATALAYA_NODE" >> "$witness"
if [ "$2" = holds ] && [ "$ATALAYA_NODE" = w1 ] && mkdir "$witness.held" 2> /dev/null; then sleep 1000; fi
if [ "$2" = waits ]; then while ! [ -e "$witness.go" ]; do sleep 0.05; done; fi
sleep 0.2
case "$2" in fails:*:$ATALAYA_NODE:*) exit 1;; esac
echo "end $ATALAYA_TASK $ATALAYA_ATTEMPT $ATALAYA_NODE" >> "$witness"
"#;

impl<'a> Stage<'a> {
    pub(crate) fn new(servers: &'a Servers<'a>, session_timeout: Duration) -> Stage<'a> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let chroot = format!("/fleet{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let hosts = format!("{}{chroot}", servers.hosts);
        // Measurements play no part.
        let pace = Timing { session: session_timeout, period: Duration::from_secs(20) };
        let scratch = Scratch::new("tasks");
        let script = scratch.write("script", SCRIPT);
        let (script, witness) = (script.display(), scratch.path().join("witness"));
        let boards = format!(
            "[boards.w]\nbackend = \"sim\"\nsensors = [{{ name = \"s\", chip = \"random\" }}]\n\
             [boards.w.tasks]\nallow_unauthenticated = true\n[boards.w.tasks.work]\n\
             run = [\"/bin/sh\", \"{script}\", \"{}\", \"{{how}}\"]\nargs = {{ how = \"text\" }}\n",
            witness.display()
        );
        std::fs::write(scratch.path().join("boards.toml"), boards).unwrap();
        let session = block_on(async {
            let options = SessionOptions::new(servers.hosts.parse().unwrap(), Duration::from_secs(20));
            let session = Session::start(options);
            session.connection().await.ensure(&chroot).await.unwrap();
            session
        });
        Stage {
            servers,
            around: TestEnv::of(hosts, pace),
            others: Mutex::default(),
            chroot,
            session,
            scratch,
        }
    }

    pub(crate) fn chroot(&self) -> &str {
        &self.chroot
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Starts a node and waits until it leads.
    pub(crate) fn leader(&self, id: &str, fault: Option<&str>) -> Process {
        self.leader_at(id, None, fault)
    }

    /// Starts a node whose servers are at `hosts`, and waits until it leads.
    pub(crate) fn leader_at(&self, id: &str, hosts: Option<&str>, fault: Option<&str>) -> Process {
        let mut command = match hosts {
            None => self.around.command(id, &[]),
            Some(hosts) => {
                let around = TestEnv::of(format!("{hosts}{}", self.chroot), self.around.pace);
                let command = around.command(id, &[]);
                self.others.lock().unwrap().push(around);
                command
            }
        };
        if let Some(fault) = fault {
            command.env("ATALAYA_FAULT", fault);
        }
        Process::start(command, " leading epoch=", ALL_END)
    }

    pub(crate) fn follower(&self, id: &str) -> Process {
        self.around.follower(id, &[])
    }

    pub(crate) fn worker(&self, id: &str, fault: Option<&str>) -> Process {
        self.worker_at(id, None, fault)
    }

    /// Starts a worker whose servers are at `hosts`, and waits until it is ready.
    pub(crate) fn worker_at(&self, id: &str, hosts: Option<&str>, fault: Option<&str>) -> Process {
        let worker = self.start_worker(id, hosts, fault);
        worker.wait_for_line("ready for tasks", ALL_END);
        worker
    }

    pub(crate) fn start_worker(&self, id: &str, hosts: Option<&str>, fault: Option<&str>) -> Process {
        let mut command = clean_command(self.scratch.path(), env!("CARGO_BIN_EXE_atalaya"));
        let hosts = hosts.map_or(self.around.hosts.clone(), |hosts| format!("{hosts}{}", self.chroot));
        let timeout = format!("{}ms", self.around.pace.session.as_millis());
        let boards = self.file("boards.toml").display().to_string();
        command.args(["work", id, "--boards", &boards, "--board", "w", "--zookeeper", &hosts]);
        command.args(["--session-timeout", &timeout, "--connect-timeout", "30s"]);
        if let Some(fault) = fault {
            command.env("ATALAYA_FAULT", fault);
        }
        Process::spawn(command)
    }

    /// Deletes the election znode of the leader.
    pub(crate) fn depose_leader(&self) {
        let sequence = |name: &String| name.rsplit_once('_').map(|(_, number)| number.to_owned());
        let first = self.ls("/election").into_iter().min_by_key(sequence).unwrap();
        let path = format!("{}/election/{first}", self.chroot);
        block_on(async { self.session.connection().await.delete(&path, None).await }).unwrap();
    }

    /// Submits tasks from a client that dies afterwards. Returns each with true if it must not be started twice.
    pub(crate) fn submit(&self, tasks: impl IntoIterator<Item = Submission>) -> Vec<(TaskId, bool)> {
        let specs = tasks.into_iter().map(|task| Spec {
            promise: if task.at_most_once { Promise::AtMostOnce } else { Promise::AtLeastOnce },
            ..spec(&task.name, if task.holds { "holds" } else { "short" }, Target::Any)
        });
        specs.map(|spec| (self.submit_spec(&spec), spec.promise == Promise::AtMostOnce)).collect()
    }

    /// Submits one task from a client that ends without closing its session.
    pub(crate) fn submit_spec(&self, spec: &Spec) -> TaskId {
        let prefix = format!("{}{}/t-", self.chroot, paths::SPEC);
        let options = zk::CreateMode::PersistentSequential.with_acls(zk::Acls::anyone_all());
        block_on(async {
            // A lost reply must not leave a second task.
            let path = loop {
                if let Some(found) = self.find(&spec.id).await {
                    break found;
                }
                let Ok(client) = zk::Client::connect(&self.servers.hosts).await else { continue };
                if let Ok((_, sequence)) = client.create(&prefix, &to_json(spec), &options).await {
                    break format!("{prefix}{sequence}");
                }
            };
            TaskId::of_znode(path.rsplit('/').next().unwrap()).unwrap()
        })
    }

    /// Finds a task by the id of its submission.
    async fn find(&self, id: &str) -> Option<String> {
        let connection = self.session.connection().await;
        let _ = connection.sync().await;
        for (parent, key) in [(paths::SPEC, "/id"), (paths::STATE, "/spec/id")] {
            let parent = format!("{}{parent}", self.chroot);
            for name in connection.children_or_empty(&parent).await.unwrap_or_default() {
                let path = format!("{parent}/{name}");
                let Ok(Some((data, _))) = connection.get_opt(&path).await else { continue };
                let value: serde_json::Value = serde_json::from_slice(&data).unwrap_or_default();
                if value.pointer(key).is_some_and(|found| found == id) {
                    return Some(path);
                }
            }
        }
        None
    }

    /// Reads with the session of this test until the request succeeds.
    fn read<T, W>(&self, request: impl Fn(Connection) -> W) -> T
    where
        W: Future<Output = Result<T, atalaya_recipes::Error>>,
    {
        eventually("a reply of ZooKeeper", DEADLINE, || {
            block_on(async { request(self.session.connection().await).await.ok() })
        })
    }

    pub(crate) fn ls(&self, path: &str) -> Vec<String> {
        let path = format!("{}{path}", self.chroot);
        self.read(|connection| {
            let path = path.clone();
            async move { connection.children_or_empty(&path).await }
        })
    }

    pub(crate) fn find_record(&self, task: &TaskId) -> Option<Record> {
        let path = format!("{}{}", self.chroot, paths::state(task));
        let found = self.read(|connection| {
            let path = path.clone();
            async move { connection.get_opt(&path).await }
        });
        found.map(|(data, _)| Record::parse(&data).unwrap())
    }

    pub(crate) fn record(&self, task: TaskId) -> Record {
        self.find_record(&task).unwrap()
    }

    /// Returns the first task of the fleet.
    pub(crate) fn first_task(&self) -> TaskId {
        "0".parse().unwrap()
    }

    /// Returns the lines of the witness.
    pub(crate) fn witness(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("witness")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until all tasks are final, and calls `supervise` meanwhile.
    pub(crate) fn all_end(&self, tasks: &[(TaskId, bool)], mut supervise: impl FnMut()) {
        for (task, _) in tasks {
            eventually(&format!("{}: {task} is final", self.chroot), ALL_END, || {
                supervise();
                self.find_record(task).filter(|record| record.state.is_final())
            });
        }
    }

    /// Checks states, executions and znodes.
    pub(crate) fn check(&self, tasks: &[(TaskId, bool)]) {
        let witness = self.witness();
        assert!(!witness.iter().any(|line| line.starts_with("overlap")), "{witness:#?}");
        for (task, at_most_once) in tasks {
            let record = self.record(task.clone());
            let count = |what: &str| {
                let begin = format!("{what} {task} ");
                witness.iter().filter(|line| line.starts_with(&begin)).count()
            };
            if *at_most_once {
                assert!(count("begin") <= 1, "{task} must not be started twice: {witness:#?}");
                assert!(matches!(record.state, State::Done | State::Lost), "{task}: {record:?}");
            } else {
                assert_eq!(record.state, State::Done, "{task}: {record:?}");
            }
            assert!(record.state != State::Done || count("end") >= 1, "{task}: {record:?} {witness:#?}");
            assert_eq!(record.part.as_ref().map(|part| part.state), Some(record.state), "{record:?}");
        }
        self.nothing_is_left();
        assert_eq!(self.ls(paths::STATE).len(), tasks.len(), "each task is recorded once");
    }

    pub(crate) fn nothing_is_left(&self) {
        let mut left = BTreeMap::new();
        let is_clean = || {
            left.clear();
            let runs = self.ls(paths::RUN).into_iter().map(|node| format!("{}/{node}", paths::RUN));
            let fixed = [paths::SPEC, paths::CLAIM, paths::DONE, paths::CANCEL].map(str::to_owned);
            for parent in runs.chain(fixed) {
                let children = self.ls(&parent);
                if !children.is_empty() {
                    left.insert(parent, children);
                }
            }
            left.is_empty().then_some(())
        };
        let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("no znode left", DEADLINE, is_clean);
        }));
        assert!(clean.is_ok(), "{}: {left:?}", self.chroot);
    }

    /// Checks the committed transactions, if the server keeps a log.
    pub(crate) fn check_history(&self, tasks: &[(TaskId, bool)]) {
        if let Some(server) = self.servers.journal {
            let tasks: Vec<String> = tasks.iter().map(|(task, _)| task.to_string()).collect();
            history::check(&server.journal(0), &self.chroot, &tasks, SESSION);
        }
    }
}

/// Returns the specification of a task that the script of this fleet executes.
pub(crate) fn spec(id: &str, how: &str, to: Target) -> Spec {
    let spec = serde_json::json!({"id": id, "action": "work", "args": {"how": how}});
    Spec { to, ..Spec::parse(spec.to_string().as_bytes()).unwrap() }
}
