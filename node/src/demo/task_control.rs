//! Control of the tasks of a node from outside: it can stop them like SIGSTOP stops a process, and end them like SIGKILL.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::log_capture::CurrentNode;

/// State that is requested of the tasks of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Command {
    #[default]
    Run,
    /// Stop the next time that the task waits for anything.
    Hang,
    /// End, even while the task is stopped. Final.
    Exit,
}

#[derive(Debug, Default)]
pub(super) struct TaskControl {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    command: Command,
    /// Wakers of the tasks that wait, by number.
    waiting: BTreeMap<u64, Waker>,
    /// Number of tasks so far.
    tasks: u64,
}

impl TaskControl {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, command: Command) {
        let mut state = self.lock();
        if state.command != Command::Exit {
            state.command = command;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(Waker::wake);
    }

    /// Returns a task of node `node` that does nothing while the node is stopped, and ends when it is killed. Then it
    /// returns `None`.
    pub(super) fn control<T>(self: &Arc<Self>, node: u32, task: T) -> Controlled<T>
    where
        T: Future,
    {
        let mut state = self.lock();
        state.tasks += 1;
        let number = state.tasks;
        drop(state);
        Controlled { control: self.clone(), number, node, task: Some(Box::pin(task)) }
    }

    /// Returns the command for task `number`, which is woken by the next one.
    fn command(&self, number: u64, waker: &Waker) -> Command {
        let mut state = self.lock();
        match state.waiting.get_mut(&number) {
            Some(current) => current.clone_from(waker),
            None => drop(state.waiting.insert(number, waker.clone())),
        }
        state.command
    }
}

/// A controlled task, see [`TaskControl::control`].
#[derive(Debug)]
pub(super) struct Controlled<T> {
    control: Arc<TaskControl>,
    number: u64,
    node: u32,
    /// `None` after the end.
    task: Option<Pin<Box<T>>>,
}

impl<T: Future> Future for Controlled<T> {
    type Output = Option<T::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let command = self.control.command(self.number, cx.waker());
        let _current = CurrentNode::enter(self.node);
        match (command, &mut self.task) {
            (Command::Run, Some(task)) => task.as_mut().poll(cx).map(Some),
            // What woke the task stays, until the next command wakes it again.
            (Command::Hang, Some(_)) => Poll::Pending,
            (Command::Exit, _) | (_, None) => {
                self.task = None;
                Poll::Ready(None)
            }
        }
    }
}

impl<T> Drop for Controlled<T> {
    fn drop(&mut self) {
        self.control.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Maximum time for an event on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(60);

    /// A task that returns each number that it receives.
    fn echo(
        control: &Arc<TaskControl>,
    ) -> (mpsc::UnboundedSender<u32>, mpsc::UnboundedReceiver<u32>, tokio::task::JoinHandle<Option<()>>) {
        let (requests, mut received) = mpsc::unbounded_channel();
        let (sender, replies) = mpsc::unbounded_channel();
        let task = control.control(1, async move {
            while let Some(request) = received.recv().await {
                let _ = sender.send(request);
            }
        });
        (requests, replies, tokio::spawn(task))
    }

    #[tokio::test]
    async fn stopped_task_continues_where_it_was_stopped() {
        let control = Arc::new(TaskControl::default());
        let (requests, mut replies, task) = echo(&control);
        requests.send(1).unwrap();
        assert_eq!(replies.recv().await, Some(1));
        control.send(Command::Hang);
        requests.send(2).unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(replies.try_recv().is_err(), "the task is stopped");
        control.send(Command::Run);
        assert_eq!(tokio::time::timeout(DEADLINE, replies.recv()).await.unwrap(), Some(2));
        drop(requests);
        assert_eq!(task.await.unwrap(), Some(()));
    }

    #[tokio::test]
    async fn killed_task_is_dropped_also_while_it_is_stopped() {
        for first in [Command::Run, Command::Hang] {
            let control = Arc::new(TaskControl::default());
            let (alive, dropped) = oneshot::channel::<()>();
            let task = tokio::spawn(control.control(1, async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            }));
            tokio::task::yield_now().await;
            control.send(first);
            control.send(Command::Exit);
            control.send(Command::Run);
            assert_eq!(tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap(), None);
            assert!(dropped.await.is_err());
            // A task that is spawned later does not run at all.
            assert_eq!(control.control(1, std::future::ready(())).await, None);
            assert!(control.lock().waiting.is_empty());
        }
    }
}
