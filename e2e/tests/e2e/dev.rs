//! The first minute: `underpin dev`.

use underpin_e2e::cluster::Dev;
use underpin_e2e::resp;

#[test]
fn what_is_written_through_one_node_is_read_through_each() {
    let dev = Dev::start();
    assert_eq!(dev.addresses().len(), 3);
    for (writer, address) in dev.addresses().into_iter().enumerate() {
        let value = format!("by node {}", writer + 1);
        assert_eq!(resp::ask(address, &["SET", "hello", &value]).unwrap().text(), "OK");
        for reader in dev.addresses() {
            assert_eq!(resp::ask(reader, &["GET", "hello"]).unwrap().text(), value);
        }
    }
}

#[test]
fn data_in_a_folder_is_there_again() {
    let dev = Dev::start();
    assert_eq!(resp::ask(dev.addresses()[0], &["INCR", "visits"]).unwrap().number(), Some(1));
    let dev = dev.restart();
    assert_eq!(resp::ask(dev.addresses()[1], &["INCR", "visits"]).unwrap().number(), Some(2));
}
