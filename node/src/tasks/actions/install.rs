//! The action `boards.install`: replaces boards.toml with a file that a task distributes.
//!
//! The file is checked before it replaces the current one, which stays beside it with the suffix `.last-good`. Then the
//! node reloads it, as at SIGHUP. If the node rejects it, the current file returns.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use atalaya_config::Boards;
use tokio::sync::{mpsc, oneshot};

/// Request to the node to reload its configuration, with the receiver of the result if there is one.
pub type ReloadRequest = Option<oneshot::Sender<Result<(), String>>>;

/// Replaces the boards.toml of this node.
#[derive(Clone, Debug)]
pub struct BoardsInstaller {
    /// File that the node has read.
    pub(crate) file: PathBuf,
    /// Board of this node.
    pub(crate) board: Option<String>,
    pub(crate) reload: mpsc::Sender<ReloadRequest>,
}

impl BoardsInstaller {
    /// Installs `data` as boards.toml. Returns a text for the client.
    ///
    /// # Errors
    /// The reason why the node keeps its current file.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the file is either the new or the current one, complete in both cases. The node loads
    /// it at the next reload or start.
    pub(super) async fn install(&self, data: Vec<u8>) -> Result<String, String> {
        let text = String::from_utf8(data).map_err(|_| "the new boards.toml is not UTF-8".to_owned())?;
        let name = self.file.display().to_string();
        let boards = Boards::parse(&text, "the new boards.toml").map_err(|error| error.to_string())?;
        let (board, parsed) = boards.board(self.board.as_deref()).map_err(|error| error.to_string())?;
        let is_last = parsed.tasks.as_ref().is_none_or(|tasks| !tasks.install_boards);
        let installer = self.clone();
        let backup = tokio::task::spawn_blocking(move || installer.replace(text.as_bytes()));
        let backup = backup.await.map_err(|error| error.to_string())?;
        let backup = backup.map_err(|error| format!("cannot replace {name}: {error}"))?;
        if let Err(reason) = self.reload().await {
            let back = std::fs::copy(&backup, self.temporary()).and_then(|_| self.rename());
            return Err(match back {
                Ok(()) => format!("the node rejects the new boards.toml and keeps its current one: {reason}"),
                Err(error) => format!(
                    "the node rejects the new boards.toml: {reason}; {name} could not be restored from {}: {error}",
                    backup.display()
                ),
            });
        }
        let warning = if is_last { "\nthe new file does not allow boards.install on this board" } else { "" };
        Ok(format!("installed {name} with board {board}; the previous file is {}{warning}", backup.display()))
    }

    /// Writes the new file beside the current one, and exchanges them. Returns the path of the copy of the current file.
    fn replace(&self, data: &[u8]) -> std::io::Result<PathBuf> {
        let backup = with_suffix(&self.file, ".last-good");
        let temporary = self.temporary();
        let mut new = std::fs::File::create(&temporary)?;
        new.write_all(data)?;
        new.set_permissions(std::fs::metadata(&self.file)?.permissions())?;
        new.sync_all()?;
        std::fs::copy(&self.file, &backup)?;
        self.rename()?;
        Ok(backup)
    }

    fn temporary(&self) -> PathBuf {
        with_suffix(&self.file, ".new")
    }

    fn rename(&self) -> std::io::Result<()> {
        std::fs::rename(self.temporary(), &self.file)
    }

    /// Has the node reload its configuration.
    async fn reload(&self) -> Result<(), String> {
        let (reply, result) = oneshot::channel();
        let stopping = "the node is stopping";
        self.reload.send(Some(reply)).await.map_err(|_| stopping.to_owned())?;
        result.await.map_err(|_| stopping.to_owned())?
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: &str = "[boards.pi]\nbackend = \"sim\"\nsensors = [{ name = \"a\", chip = \"random\" }]\n";

    fn installer(folder: &tempfile::TempDir) -> (BoardsInstaller, mpsc::Receiver<ReloadRequest>) {
        let file = folder.path().join("boards.toml");
        std::fs::write(&file, CURRENT).unwrap();
        let (reload, requests) = mpsc::channel(1);
        (BoardsInstaller { file, board: Some("pi".into()), reload }, requests)
    }

    #[tokio::test]
    async fn accepted_file_replaces_the_current_one_which_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (installer, mut requests) = installer(&folder);
        let new = CURRENT.replace("\"a\"", "\"b\"");
        let (installed, ()) = tokio::join!(installer.install(new.clone().into_bytes()), async {
            requests.recv().await.unwrap().unwrap().send(Ok(())).unwrap();
        });
        assert!(installed.unwrap().contains("does not allow boards.install"));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!((read("boards.toml"), read("boards.toml.last-good")), (new, CURRENT.to_owned()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn rejected_file_is_replaced_by_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let (installer, mut requests) = installer(&folder);
        let new = CURRENT.replace("\"a\"", "\"b\"");
        let (installed, ()) = tokio::join!(installer.install(new.into_bytes()), async {
            requests.recv().await.unwrap().unwrap().send(Err("no such bus".into())).unwrap();
        });
        let reason = installed.unwrap_err();
        assert!(reason.contains("keeps its current one: no such bus"), "{reason}");
        assert_eq!(std::fs::read_to_string(folder.path().join("boards.toml")).unwrap(), CURRENT);
    }

    #[tokio::test]
    async fn wrong_file_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (installer, _requests) = installer(&folder);
        for (data, wanted) in [
            (b"[boards.pi]\nbackend = 7".to_vec(), "the new boards.toml:2"),
            (CURRENT.replace("boards.pi", "boards.other").into_bytes(), "no board `pi`"),
            (vec![0xff], "not UTF-8"),
        ] {
            let reason = installer.install(data).await.unwrap_err();
            assert!(reason.contains(wanted), "{reason}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
