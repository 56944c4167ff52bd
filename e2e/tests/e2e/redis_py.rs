//! An unmodified redis-py exercises every command.

use std::process::Command;
use underpin_e2e::cluster::Dev;
use underpin_e2e::place;

#[test]
fn redis_py_exercises_every_command() {
    let python = place::python();
    let found = Command::new(&python).args(["-c", "import redis"]).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "{} has no redis-py: run `pip install redis`, or name another with UNDERPIN_PYTHON",
        python.display()
    );
    let dev = Dev::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/redis_py/exercise.py");
    for address in dev.addresses() {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let output = Command::new(&python).args([script, &host, &port]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        println!("{address}: {said}");
        assert!(output.status.success(), "{address}: {said}{wrong}");
    }
}
