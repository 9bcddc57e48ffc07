//! An emulated Raspberry Pi 3B: Debian's kernel for it, a real `/dev/i2c-1` with thermometers, and a network in which
//! this machine is 10.0.2.2. The caller controls its power, its network, its clock and the temperature.
//!
//! `cargo xtask pi` and `cargo xtask bench pi` use it.

mod console;
mod image;
mod modules;
mod parts;
mod qmp;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

pub use console::{Console, Output};
pub use image::Image;
pub use parts::Parts;
pub use qmp::Qmp;

use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;

/// Address of this machine in the network of the Pi. Servers on this machine's loopback are reachable there.
pub const HOST: &str = "10.0.2.2";

/// Timeout from power-on to a shell: it takes seconds on an idle machine.
const BOOT: Duration = Duration::from_secs(180);
/// Line that `/init` writes when everything is set up.
const READY: &str = "pi: ready";
/// Name of the emulator's control socket in its folder.
const QMP: &str = "qmp.sock";

/// A thermometer on the I²C bus: a TMP105, which has the registers of the LM75.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thermometer {
    /// Name for [`Qmp::set_temperature`].
    pub id: &'static str,
    /// Address on `/dev/i2c-1`.
    pub address: u8,
}

pub const THERMOMETERS: [Thermometer; 2] =
    [Thermometer { id: "temp0", address: 0x48 }, Thermometer { id: "temp1", address: 0x49 }];

/// Clock of the Pi at power-on. A real one has no battery either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// 1970.
    Unset,
    /// The time of this machine.
    Set,
}

/// A running Pi. Dropping it is a power failure.
pub struct Pi {
    console: Console,
    qmp: Qmp,
    powered: Instant,
    /// Holds the image and the socket.
    _folder: Scratch,
}

impl Pi {
    /// Switches a Pi on and waits until its shell answers; `words` are added to the kernel's command line, for `/init`.
    #[track_caller]
    pub fn boot(parts: &Parts, image: &Image, clock: Clock, words: &[&str]) -> Self {
        let folder = Scratch::new("pi");
        let command = emulator(parts, image, clock, folder.path(), words);
        let powered = Instant::now();
        let mut console = Console::of(Process::spawn_piped(command));
        console.wait_for(READY, BOOT);
        // Input before the shell runs may be lost.
        console.must("true");
        let qmp = Qmp::connect(&folder.path().join(QMP)).expect("connect to the emulator");
        Self { console, qmp, powered, _folder: folder }
    }

    pub fn powered(&self) -> Instant {
        self.powered
    }

    /// Returns its serial console, with a shell at the other end.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Returns the control of the emulator: temperature, network.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Kills the emulator with SIGKILL: no program in the Pi can shut down, and its connections hang. Returns the
    /// emulator for its log, whose last line may be incomplete.
    pub fn cut_power(self) -> Process {
        self.console.kill()
    }

    /// Returns the emulator's control socket, for another program after this one has disconnected.
    pub fn socket(&self) -> PathBuf {
        self._folder.path().join(QMP)
    }
}

/// Returns the command that boots a Pi with a console on standard input and output, and its control socket in `folder`;
/// `words` are added to the kernel's command line. [`Pi::boot`] does that for programs; this function is for a person
/// at a terminal.
#[track_caller]
pub fn emulator(
    parts: &Parts,
    image: &Image,
    clock: Clock,
    folder: &Path,
    words: &[&str],
) -> std::process::Command {
    let ramdisk = folder.join("initramfs");
    std::fs::write(&ramdisk, image.bytes()).expect("write the image of the Pi");
    let mut line = "console=ttyS1,115200 quiet loglevel=3 panic=-1 rdinit=/init".to_owned();
    if clock == Clock::Set {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        line += &format!(" now={}", now.map_or(0, |now| now.as_secs()));
    }
    for word in words {
        line += " ";
        line += word;
    }
    let mut command = parent_death_command("qemu-system-aarch64");
    // One thread for all four processors is several times faster than four threads, because they mostly sleep.
    command.args(["-M", "raspi3b", "-accel", "tcg,thread=single", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&parts.kernel).arg("-dtb").arg(&parts.device_tree);
    command.arg("-initrd").arg(&ramdisk).args(["-append", &line]);
    for Thermometer { id, address } in THERMOMETERS {
        command.args(["-device", &format!("tmp105,id={id},bus=i2c-bus.1,address={address:#04x}")]);
    }
    if let Some(card) = &parts.card {
        // What the Pi has written is in this machine's page cache, and survives SIGKILL in every cache mode of QEMU: the
        // card keeps each block that it has acknowledged. What the Pi has not written is lost, as in a power cut.
        command.args(["-drive", &format!("file={},if=sd,format=raw,cache=writeback", card.display())]);
    }
    command.args(["-netdev", "user,id=net0", "-device", "usb-net,netdev=net0,id=nic0"]);
    // Ctrl-C goes to the Pi.
    command.args(["-chardev", "stdio,id=console,signal=off"]);
    command.args(["-serial", "null", "-serial", "chardev:console", "-monitor", "none"]);
    command.args(["-qmp", &format!("unix:{},server=on,wait=off", folder.join(QMP).display())]);
    command
}
