//! A program on a terminal: what it shows is read, keys are pressed.
//!
//! The terminal is a pseudo-terminal of the system. `setsid` makes it the one that the program is
//! controlled by, so that Ctrl-C is a signal and closing the window is one, as in real life.

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait;

/// Ctrl-C, as a terminal sends it.
pub const CTRL_C: &str = "\u{3}";

/// A terminal with a program on it. Dropping it kills the program.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: Option<File>,
    /// The program's side, held open so that its modes can be looked at after the program's end.
    line: Option<File>,
    reader: Option<Reader>,
    screen: Arc<Mutex<String>>,
    /// How much of the screen was looked at.
    seen: usize,
}

impl Terminal {
    /// Starts a command on a new terminal.
    pub fn start(command: &Command) -> Terminal {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("its other side");
        let name = ptsname(&keyboard, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = File::from(open(&name, flags, Mode::empty()).expect("its other side opens"));
        let end = || line.try_clone().expect("one more descriptor");
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            session.env(name, value.expect("variables are only set"));
        }
        let child = session.stdin(end()).stdout(end()).stderr(end()).spawn();
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Mutex::new(String::new()));
        let reader = Reader::start(&keyboard, Arc::clone(&screen));
        Terminal {
            child: child.expect("setsid, of util-linux"),
            keyboard: Some(keyboard),
            line: Some(line),
            reader: Some(reader),
            screen,
            seen: 0,
        }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().expect("the window is open");
        keyboard.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Waits until `text` shows, behind what was waited for before; the lines up to its end.
    pub fn shows(&mut self, text: &str) -> String {
        let (screen, from) = (Arc::clone(&self.screen), self.seen);
        let what = format!("{text:?} on the terminal");
        let look = || {
            let screen = screen.lock().expect("nobody panics with the screen");
            let at = screen[from..].find(text)? + text.len();
            let line = screen[from + at..].find('\n')?;
            Some((from + at + line, screen[from..from + at + line].to_owned()))
        };
        let (seen, lines) = wait::until(&what, wait::READY, look);
        self.seen = seen;
        lines
    }

    /// All that it has shown.
    pub fn screen(&self) -> String {
        self.screen.lock().expect("nobody panics with the screen").clone()
    }

    /// Whether it waits for whole lines and shows what is typed, as a shell wants it.
    pub fn sane(&self) -> bool {
        let line = self.line.as_ref().expect("the window is open");
        let modes = tcgetattr(line).expect("a terminal has modes").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Closes the window.
    pub fn close(&mut self) {
        drop(self.line.take());
        drop(self.keyboard.take());
        drop(self.reader.take());
    }

    /// Waits for the program's end.
    pub fn ends(&mut self, limit: Duration) -> ExitStatus {
        wait::until("the program's end", limit, || self.child.try_wait().expect("a child"))
    }
}

/// Reads what is shown; ends when it is dropped, since a window that is read is not closed.
#[derive(Debug)]
struct Reader {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(shown: &File, screen: Arc<Mutex<String>>) -> Reader {
        let mut shown = shown.try_clone().expect("one more descriptor");
        fcntl_setfl(&shown, OFlags::RDWR | OFlags::NONBLOCK).expect("a terminal need not block");
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let read = move || {
            let (mut bytes, mut rest) = ([0; 4096], Vec::new());
            while !end.load(Ordering::Relaxed) {
                match shown.read(&mut bytes) {
                    Ok(count) => rest.extend_from_slice(&bytes[..count]),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
                let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let lines: Vec<u8> = rest.drain(..whole).filter(|byte| *byte != b'\r').collect();
                let mut screen = screen.lock().expect("nobody panics with the screen");
                screen.push_str(&String::from_utf8_lossy(&lines));
            }
        };
        Reader { ended, thread: Some(std::thread::spawn(read)) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the terminal showed:\n{}", self.screen());
        }
    }
}
