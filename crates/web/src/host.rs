//! Which Host headers a loopback port answers to.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether `host` (with or without a port) is an address, localhost, or one of `allowed`. An address
/// is always fine: only a name can be made to resolve to somewhere else.
pub(crate) fn is_local(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.parse::<Ipv4Addr>().is_ok()
        || bracketed(&name).is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || name == "localhost"
        || name.ends_with(".localhost")
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn bracketed(name: &str) -> Option<&str> {
    name.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_pass_and_names_do_not() {
        let allowed = ["db1.internal".to_string()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:7480",
            "[::1]",
            "[::1]:7480",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "app.localhost:80",
            "db1.internal:7480",
        ] {
            assert!(is_local(host, &allowed), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7480",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "notlocalhost",
            "::1",
            "[evil]",
        ] {
            assert!(!is_local(host, &allowed), "{host}");
        }
    }
}
