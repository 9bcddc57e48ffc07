//! A program in a terminal: its screen, key presses, window sizes.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::signals::{self, Signal};
use crate::spawn::with_parent_death;

/// A program in a pseudo-terminal, and the screen that a terminal would show. Dropping it ends the program.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    parser: Arc<Mutex<vt100::Parser>>,
}

fn side(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).expect("a window has a width and a height")
}

impl Terminal {
    /// Starts `command` in a window of `width` by `height` cells. A cleared environment is not copied.
    #[track_caller]
    pub fn spawn(command: Command, (width, height): (u16, u16)) -> Terminal {
        let command = with_parent_death(command);
        let size = PtySize { rows: height, cols: width, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let mut builder = CommandBuilder::new(command.get_program());
        builder.args(command.get_args());
        builder.env("TERM", "xterm-256color");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => builder.env(name, value),
                None => builder.env_remove(name),
            }
        }
        if let Some(folder) = command.get_current_dir() {
            builder.cwd(folder);
        }
        let child = pair.slave.spawn_command(builder).expect("the program starts");
        // This is the last copy of that end outside the program. Without it, reading ends when the program does.
        drop(pair.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(side(height), side(width), 0)));
        let mut shown = pair.master.try_clone_reader().expect("what the terminal shows");
        let keys = pair.master.take_writer().expect("the terminal's keys");
        let parsing = parser.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(read @ 1..) = shown.read(&mut bytes) {
                parsing.lock().process(&bytes[..read]);
            }
        });
        Terminal { master: pair.master, keys, child, parser }
    }

    /// Passes the screen to `look`, and returns the result.
    pub fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.parser.lock().screen())
    }

    /// Returns the text on the screen, one line for each row.
    pub fn text(&self) -> String {
        self.look(|screen| {
            let (_, width) = screen.size();
            screen.rows(0, width.get()).map(|row| row.trim_end().to_owned() + "\n").collect()
        })
    }

    /// Waits until the screen shows `words`, and returns its text.
    #[track_caller]
    pub fn wait_for(&self, words: &str, deadline: Duration) -> String {
        self.wait_until(&format!("\"{words}\" on the screen"), deadline, |text| text.contains(words))
    }

    /// Waits until the text on the screen is as `wanted`, and returns it.
    #[track_caller]
    pub fn wait_until(&self, what: &str, deadline: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + deadline;
        loop {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < end, "no {what} within {deadline:?}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys: characters, or the sequences that a terminal sends for other keys.
    #[track_caller]
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("keys are taken");
    }

    #[track_caller]
    pub fn resize(&mut self, (width, height): (u16, u16)) {
        let size = PtySize { rows: height, cols: width, pixel_width: 0, pixel_height: 0 };
        self.parser.lock().screen_mut().set_size(side(height), side(width));
        self.master.resize(size).expect("another size");
    }

    #[track_caller]
    pub fn signal_term(&self) {
        signals::send(self.child.process_id().expect("the program runs"), Signal::Term);
    }

    /// Waits until the program has ended, and returns its exit code.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> u32 {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.exit_code();
            }
            assert!(Instant::now() < end, "it has not ended within {deadline:?}:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
