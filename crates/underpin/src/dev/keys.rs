//! Single keys from the terminal, without waiting for a line end and without showing them.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read, stdin};
use std::sync::mpsc::Sender;

/// The terminal in single-key mode; dropping it sets it back.
#[derive(Debug)]
pub struct Keys {
    before: Termios,
}

impl Keys {
    /// Whether there is a person with keys.
    pub fn present() -> bool {
        stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Switches the terminal over and sends each key to `to`. Ctrl-C stays a signal. `None` if the
    /// terminal can't do that.
    pub fn read<T: Send + 'static>(
        to: Sender<T>,
        event: impl Fn(u8) -> T + Send + 'static,
    ) -> Option<Keys> {
        let before = tcgetattr(stdin()).ok()?;
        let mut single = before.clone();
        single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &single).ok()?;
        // The thread ends with the process: nothing else wakes it from its read.
        std::thread::spawn(move || {
            let mut key = [0];
            while stdin().read_exact(&mut key).is_ok() && to.send(event(key[0])).is_ok() {}
        });
        Some(Keys { before })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // If this fails the terminal is gone, and with it the reason to set it back.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
